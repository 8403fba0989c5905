//! The parameters of an execution: the `CNI_` environment variables, which operation needs which, and their values.

mod args;
mod value;

use std::fmt;

pub use self::args::{ArgsError, CniArgs};
pub use self::value::{
    IFNAME_MAX, Problem, ValueError, container_id, interface_name, network_name, plugin_type,
};
use crate::{Operation, UnknownName, Version, error};

named! {
    /// An environment variable of the protocol.
    Variable("variable") {
        /// The operation.
        Command = "CNI_COMMAND",
        /// The container's ID.
        ContainerId = "CNI_CONTAINERID",
        /// The path of the container's network namespace, or another isolation domain.
        Netns = "CNI_NETNS",
        /// The name of the interface inside the container.
        Ifname = "CNI_IFNAME",
        /// Extra arguments: see [`CniArgs`].
        Args = "CNI_ARGS",
        /// The directories to search for plugins.
        Path = "CNI_PATH",
    }
}

/// Whether an operation uses a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It has to be set and not empty.
    Required,
    /// It may be set.
    Optional,
    /// It has no meaning: the plugin must not need it.
    Unused,
}

impl Variable {
    /// The rule for an operation under a version. For an operation that the version does not define, the rule of
    /// the version that introduced it.
    pub fn need(self, operation: Operation, version: Version) -> Need {
        use Operation::{Add, Check, Del, Gc};
        match (self, operation) {
            (Variable::Command, _) => Need::Required,
            (Variable::ContainerId, Add | Del) if version < Version::V0_4_0 => Need::Optional,
            (Variable::Netns, Del) if version >= Version::V0_4_0 => Need::Optional,
            (Variable::ContainerId | Variable::Netns | Variable::Ifname, Add | Del | Check) => Need::Required,
            (Variable::Args, Add | Del | Check) => Need::Optional,
            (Variable::Path, Gc) => Need::Required,
            (Variable::Path, Operation::Version) => Need::Unused,
            (Variable::Path, _) => Need::Optional,
            _ => Need::Unused,
        }
    }
}

/// The requirement that is broken when an execution lacks a variable that the operation needs, other than CNI_COMMAND.
pub const fn required_by(operation: Operation) -> &'static str {
    match operation {
        Operation::Add => "add.required-env",
        Operation::Del => "del.required-env",
        Operation::Check => "check.required-env",
        // GC's need of CNI_PATH is stated for the runtime; a plugin that can do without harms nobody.
        _ => "param.path-required-skel",
    }
}

/// The values of the variables, as they came; an empty value counts as absent (`param.required-empty-equals-missing`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters {
    /// `CNI_COMMAND`.
    pub command: Option<String>,
    /// `CNI_CONTAINERID`.
    pub container_id: Option<String>,
    /// `CNI_NETNS`.
    pub netns: Option<String>,
    /// `CNI_IFNAME`.
    pub ifname: Option<String>,
    /// `CNI_ARGS`.
    pub args: Option<String>,
    /// `CNI_PATH`.
    pub path: Option<String>,
}

/// Parameters that do not allow the execution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// Required variables are missing or empty.
    #[error("required environment variables are missing for {}: set {}", operation.map_or("any operation", Operation::as_str), List(variables))]
    Missing {
        /// The operation, where it is known.
        operation: Option<Operation>,
        /// The missing variables.
        variables: Vec<Variable>,
    },
    /// `CNI_COMMAND` names no operation.
    #[error("CNI_COMMAND: {0}")]
    Command(UnknownName),
    /// The version does not have the operation.
    #[error("{operation} does not exist in CNI version {version}: use {} or newer", operation.since())]
    NotDefined {
        /// The operation.
        operation: Operation,
        /// The version.
        version: Version,
    },
    /// A value breaks a rule.
    #[error("{variable}: {error}")]
    Value {
        /// The variable.
        variable: Variable,
        /// What is wrong.
        error: ValueError,
    },
    /// `CNI_ARGS` cannot be read.
    #[error("CNI_ARGS: {0}")]
    Args(ArgsError),
}

impl ParameterError {
    /// The error code with which a plugin reports it.
    pub fn code(&self) -> u32 {
        match self {
            ParameterError::NotDefined { .. } => error::INCOMPATIBLE_VERSION,
            _ => error::INVALID_ENVIRONMENT,
        }
    }

    /// The error object; the message names the variables (`error.code-4-names-vars`).
    pub fn to_cni_error(&self) -> error::CniError {
        error::CniError::new(self.code(), self.to_string())
    }
}

struct List<'a>(&'a [Variable]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|variable| variable.as_str()).collect::<Vec<_>>().join(", "))
    }
}

impl Parameters {
    /// Picks the protocol's variables out of an environment; the last of several values counts.
    pub fn from_pairs<K: AsRef<str>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Parameters {
        let mut parameters = Parameters::default();
        for (key, value) in pairs {
            if let Ok(variable) = key.as_ref().parse() {
                *parameters.slot(variable) = Some(value.into());
            }
        }
        parameters
    }

    /// The variables that are set, in the order of [`Variable::ALL`].
    pub fn to_pairs(&self) -> Vec<(&'static str, &str)> {
        let set = Variable::ALL.into_iter().filter_map(|v| self.raw(v).map(|value| (v.as_str(), value)));
        set.collect()
    }

    /// The value of a variable, if it is set and not empty.
    pub fn get(&self, variable: Variable) -> Option<&str> {
        self.raw(variable).filter(|value| !value.is_empty())
    }

    /// Sets a variable.
    pub fn set(&mut self, variable: Variable, value: impl Into<String>) {
        *self.slot(variable) = Some(value.into());
    }

    fn raw(&self, variable: Variable) -> Option<&str> {
        match variable {
            Variable::Command => self.command.as_deref(),
            Variable::ContainerId => self.container_id.as_deref(),
            Variable::Netns => self.netns.as_deref(),
            Variable::Ifname => self.ifname.as_deref(),
            Variable::Args => self.args.as_deref(),
            Variable::Path => self.path.as_deref(),
        }
    }

    fn slot(&mut self, variable: Variable) -> &mut Option<String> {
        match variable {
            Variable::Command => &mut self.command,
            Variable::ContainerId => &mut self.container_id,
            Variable::Netns => &mut self.netns,
            Variable::Ifname => &mut self.ifname,
            Variable::Args => &mut self.args,
            Variable::Path => &mut self.path,
        }
    }

    /// The operation that `CNI_COMMAND` names.
    ///
    /// # Errors
    /// When the variable is missing, or names no operation exactly.
    pub fn operation(&self) -> Result<Operation, ParameterError> {
        match self.get(Variable::Command) {
            None => Err(ParameterError::Missing { operation: None, variables: vec![Variable::Command] }),
            Some(text) => text.parse().map_err(ParameterError::Command),
        }
    }

    /// Checks everything that a version asks of the parameters and answers the operation.
    ///
    /// The rules for values are those of the version ([`container_id`], [`interface_name`]); only variables that the
    /// operation uses are looked at.
    ///
    /// # Errors
    /// The first problem, in this order: the command, the operation's existence in the version, missing variables,
    /// values, `CNI_ARGS`.
    pub fn validate(&self, version: Version) -> Result<Operation, ParameterError> {
        let operation = self.operation()?;
        if operation.since() > version {
            return Err(ParameterError::NotDefined { operation, version });
        }
        let required = |variable: &Variable| variable.need(operation, version) == Need::Required;
        let variables: Vec<Variable> = Variable::ALL
            .into_iter()
            .filter(required)
            .filter(|variable| self.get(*variable).is_none())
            .collect();
        if !variables.is_empty() {
            return Err(ParameterError::Missing { operation: Some(operation), variables });
        }
        if operation.is_attachment() {
            if let Some(text) = self.get(Variable::ContainerId) {
                let variable = Variable::ContainerId;
                container_id(text, version).map_err(|error| ParameterError::Value { variable, error })?;
            }
            if let Some(text) = self.get(Variable::Ifname) {
                let variable = Variable::Ifname;
                interface_name(text).map_err(|error| ParameterError::Value { variable, error })?;
            }
            self.cni_args()?;
        }
        Ok(operation)
    }

    /// `CNI_ARGS` as pairs; absent means none.
    ///
    /// # Errors
    /// When the text does not follow the format: see [`CniArgs::parse`].
    pub fn cni_args(&self) -> Result<CniArgs, ParameterError> {
        CniArgs::parse(self.get(Variable::Args).unwrap_or_default()).map_err(ParameterError::Args)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn complete(operation: Operation) -> Parameters {
        Parameters::from_pairs([
            ("CNI_COMMAND", operation.as_str()),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", "/run/netns/x"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", "IgnoreUnknown=1"),
            ("CNI_PATH", "/opt/cni/bin"),
            ("PATH", "/bin"),
        ])
    }

    #[test]
    fn complete_parameters_are_valid_from_the_operations_first_version_on() {
        for operation in Operation::ALL {
            for version in Version::ALL {
                let result = complete(operation).validate(version);
                if version < operation.since() {
                    let error = result.unwrap_err();
                    assert_eq!((error.code(), error), (1, ParameterError::NotDefined { operation, version }));
                } else {
                    assert_eq!(result, Ok(operation));
                }
            }
        }
    }

    #[test]
    fn needs_follow_the_version() {
        use Need::{Optional, Required, Unused};
        let needs = |operation, version| Variable::ALL.map(|variable| variable.need(operation, version));
        let latest = Version::LATEST;
        assert_eq!(
            needs(Operation::Add, latest),
            [Required, Required, Required, Required, Optional, Optional]
        );
        assert_eq!(
            needs(Operation::Check, latest),
            [Required, Required, Required, Required, Optional, Optional]
        );
        assert_eq!(
            needs(Operation::Del, latest),
            [Required, Required, Optional, Required, Optional, Optional]
        );
        assert_eq!(needs(Operation::Gc, latest), [Required, Unused, Unused, Unused, Unused, Required]);
        assert_eq!(needs(Operation::Status, latest), [Required, Unused, Unused, Unused, Unused, Optional]);
        assert_eq!(needs(Operation::Version, latest), [Required, Unused, Unused, Unused, Unused, Unused]);
        let old = Version::V0_3_1;
        assert_eq!(needs(Operation::Del, old), [Required, Optional, Required, Required, Optional, Optional]);
    }

    #[test]
    fn every_missing_variable_is_named() {
        let error = Parameters::from_pairs([("CNI_COMMAND", "ADD"), ("CNI_IFNAME", "")])
            .validate(Version::LATEST)
            .unwrap_err();
        let cni = error.to_cni_error();
        assert_eq!(cni.code, error::INVALID_ENVIRONMENT);
        for name in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"] {
            assert!(cni.msg.contains(name), "{}", cni.msg);
        }
        assert!(
            Parameters::default().validate(Version::LATEST).unwrap_err().to_string().contains("CNI_COMMAND")
        );
    }

    #[test]
    fn bad_values_name_their_variable() {
        for (variable, value) in [
            (Variable::Command, "add"),
            (Variable::ContainerId, "../x"),
            (Variable::Ifname, "a/b"),
            (Variable::Args, "A=B;"),
        ] {
            let mut parameters = complete(Operation::Add);
            parameters.set(variable, value);
            let error = parameters.validate(Version::LATEST).unwrap_err();
            assert!(error.to_string().contains(variable.as_str()), "{error}");
            assert_eq!(error.code(), error::INVALID_ENVIRONMENT);
        }
    }

    #[test]
    fn unused_variables_are_not_looked_at() {
        let mut parameters = complete(Operation::Gc);
        parameters.set(Variable::ContainerId, "../x");
        parameters.set(Variable::Args, ";;");
        assert_eq!(parameters.validate(Version::LATEST), Ok(Operation::Gc));
    }

    proptest! {
        #![proptest_config(crate::testing::fixed())]

        #[test]
        fn pairs_survive(values in prop::array::uniform6(prop::option::of(".{0,12}"))) {
            let pairs = Variable::ALL.into_iter().zip(values).filter_map(|(variable, value)| Some((variable.as_str(), value?)));
            let pairs: Vec<(&str, String)> = pairs.collect();
            let parameters = Parameters::from_pairs(pairs.clone());
            let back: Vec<(&str, String)> = parameters.to_pairs().into_iter().map(|(key, value)| (key, value.to_owned())).collect();
            prop_assert_eq!(back, pairs);
            for version in Version::ALL {
                let _ = parameters.validate(version);
            }
        }
    }
}
