//! Changes of the parameters of an execution. What is wrong with each follows from `cni_spec::parameters`.

use cni_spec::parameters::{Need, Parameters, Variable, container_id, interface_name, required_by};
use cni_spec::{Operation, Version, error};

/// An environment that breaks one rule of the parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentMutation {
    /// The variable.
    pub variable: Variable,
    /// Its value; `None`: it is not set.
    pub value: Option<String>,
    /// The requirement that the value breaks.
    pub requirement: &'static str,
    /// The error code of the answer; none before 1.0.0, which had no such code.
    pub code: Option<u32>,
}

impl EnvironmentMutation {
    /// The parameters with the change.
    pub fn apply(&self, parameters: &Parameters) -> Parameters {
        let others = parameters.to_pairs().into_iter().filter(|(name, _)| *name != self.variable.as_str());
        let mut changed = Parameters::from_pairs(others);
        if let Some(value) = &self.value {
            changed.set(self.variable, value.clone());
        }
        changed
    }
}

/// Values that some rule may forbid; the rules decide.
const VALUES: [&str; 14] = [
    "-x",
    ".x",
    "_x",
    "a/b",
    "../x",
    "a b",
    "a:b",
    "é",
    "a\n",
    ".",
    "..",
    "0123456789abcdef",
    "🐧🐧🐧🐧",
    "a\tb",
];

/// Every mutation for an operation under a version: required variables missing and empty, and values that are against a rule.
pub fn mutations(operation: Operation, version: Version) -> Vec<EnvironmentMutation> {
    let code = (version >= Version::V1_0_0).then_some(error::INVALID_ENVIRONMENT);
    let mut all = Vec::new();
    for variable in Variable::ALL {
        if variable.need(operation, version) == Need::Required {
            let missing = match variable {
                Variable::Command => "param.command-missing-rejected",
                _ => required_by(operation),
            };
            let requirement = "param.required-empty-equals-missing";
            all.push(EnvironmentMutation { variable, value: None, requirement: missing, code });
            all.push(EnvironmentMutation { variable, value: Some(String::new()), requirement, code });
        }
        if variable.need(operation, version) == Need::Unused {
            continue;
        }
        let requirement = |value: &str| match variable {
            Variable::Command if value.parse::<Operation>().is_err() => {
                Some("param.command-unknown-rejected")
            }
            Variable::ContainerId => container_id(value, version).err().map(|error| error.requirement),
            Variable::Ifname => interface_name(value).err().map(|error| error.requirement),
            _ => None,
        };
        for value in VALUES {
            if let Some(requirement) = requirement(value) {
                all.push(EnvironmentMutation { variable, value: Some(value.to_owned()), requirement, code });
            }
        }
    }
    let lower = operation.as_str().to_lowercase();
    let requirement = "param.command-case-sensitive";
    all.push(EnvironmentMutation { variable: Variable::Command, value: Some(lower), requirement, code });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_refused_by_the_rules_and_names_a_requirement() {
        let base = Parameters::from_pairs([
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", "/run/netns/c1"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
        ]);
        let all = mutations(Operation::Add, Version::V1_1_0);
        assert!(all.len() > 30, "{}", all.len());
        for mutation in all {
            assert!(cni_spec::catalogue::requirement(mutation.requirement).is_some(), "{mutation:?}");
            let changed = mutation.apply(&base);
            assert!(changed.validate(Version::V1_1_0).is_err(), "{mutation:?}");
        }
        assert!(
            mutations(Operation::Status, Version::V1_1_0).iter().all(|m| m.variable == Variable::Command)
        );
    }
}
