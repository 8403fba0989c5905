//! One execution of a plugin, checked.

use std::collections::HashSet;
use std::io::Write;

use cni_spec::error::{INVALID_CONFIGURATION, INVALID_ENVIRONMENT};
use cni_spec::parameters::{CniArgs, Parameters, Variable, interface_name, network_name};
use cni_spec::result::{AddResult, Dns, Interface};
use cni_spec::{Operation, Version, keys};
use serde_json::{Map, Value};

use super::{Environment, invalid_document};
use crate::attachment::{Attachment, network_prefix};
use crate::fields::{Fields, elements, invalid, member};
use crate::netns::Netns;
use crate::refusal::Refusal;

/// One execution.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) operation: Operation,
    pub(crate) version: Version,
    /// The network configuration.
    pub(crate) config: Map<String, Value>,
    /// The same as it came.
    pub(crate) raw: Vec<u8>,
    pub(crate) environment: Environment,
    /// The attachment; container and interface are empty for GC and STATUS.
    pub(crate) attachment: Attachment,
    /// `prevResult`; on DEL `None` also if it cannot be read.
    pub(crate) prev_result: Option<AddResult>,
    parameters: Parameters,
    netns: Option<Netns>,
}

impl Request {
    pub(super) fn new(
        operation: Operation,
        version: Version,
        config: Map<String, Value>,
        raw: Vec<u8>,
        parameters: &Parameters,
        environment: Environment,
    ) -> Result<Request, Refusal> {
        let fields = Fields::root(&config);
        let network =
            fields.string(keys::NAME)?.ok_or_else(|| invalid(keys::NAME, "missing: name the network"))?;
        network_name(network, Version::LATEST).map_err(|error| invalid_document(keys::NAME, &error))?;
        let strict = operation != Operation::Del;
        // DEL has to succeed after an ADD that failed because of the configuration.
        if strict {
            check_types(fields)?;
        }
        let prev_result = match fields.get(keys::PREV_RESULT) {
            None => None,
            Some(value) => match AddResult::parse(value, version) {
                Ok(result) => Some(result),
                Err(_) if !strict => None,
                Err(error) => return Err(invalid_document(keys::PREV_RESULT, &error)),
            },
        };
        let text = |variable| {
            parameters.get(variable).filter(|_| operation.is_attachment()).unwrap_or_default().to_owned()
        };
        let attachment = Attachment {
            network: network.to_owned(),
            container: text(Variable::ContainerId),
            ifname: text(Variable::Ifname),
        };
        let parameters = parameters.clone();
        Ok(Request {
            operation,
            version,
            raw,
            environment,
            attachment,
            prev_result,
            parameters,
            netns: None,
            config,
        })
    }

    /// An ADD with a configuration, without a namespace.
    #[cfg(test)]
    pub(crate) fn sample(config: &Value) -> Request {
        let mut config = config.as_object().cloned().unwrap_or_default();
        config.entry(keys::NAME).or_insert_with(|| "net".into());
        let parameters = Parameters::from_pairs([
            (Variable::ContainerId.as_str(), "c1"),
            (Variable::Ifname.as_str(), "eth0"),
        ]);
        let raw = Value::Object(config.clone()).to_string().into_bytes();
        Request::new(Operation::Add, Version::LATEST, config, raw, &parameters, Vec::new())
            .expect("a configuration that the specification allows")
    }

    /// Opens the container's namespace, if the operation needs it.
    pub(super) fn open_netns(&mut self) -> Result<(), Refusal> {
        if matches!(self.operation, Operation::Add | Operation::Check) {
            self.netns = Some(open_netns(&self.parameters)?);
        }
        Ok(())
    }

    /// The plugin's configuration.
    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields::root(&self.config)
    }

    /// The value of a variable, if it is set and not empty.
    pub(crate) fn variable(&self, variable: Variable) -> Option<&str> {
        self.parameters.get(variable)
    }

    /// The container's namespace, which ADD and CHECK have.
    pub(crate) fn netns(&self) -> Result<&Netns, Refusal> {
        self.netns.as_ref().ok_or_else(|| Refusal::new(INVALID_ENVIRONMENT, "CNI_NETNS is missing: set it"))
    }

    /// The container's namespace as the runtime named it.
    pub(crate) fn sandbox(&self) -> Option<String> {
        self.variable(Variable::Netns).map(str::to_owned)
    }

    /// The container's namespace for DEL: `None` if it is gone, or if its path now leads to our own.
    pub(crate) fn netns_if_any(&self) -> Option<Netns> {
        open_netns(&self.parameters).ok()
    }

    /// `CNI_ARGS`, in which only some keys are known unless it says to ignore others.
    pub(crate) fn cni_args(&self, known: &[&str]) -> Result<CniArgs, Refusal> {
        let args = self.any_cni_args()?;
        match args.unknown(known) {
            None => Ok(args),
            Some(key) => {
                let problem = format!("CNI_ARGS: unknown key {key:?}: remove it or add IgnoreUnknown=1");
                Err(Refusal::new(INVALID_ENVIRONMENT, problem))
            }
        }
    }

    /// `CNI_ARGS` with whatever keys, as some of them are for a delegated plugin.
    pub(crate) fn any_cni_args(&self) -> Result<CniArgs, Refusal> {
        self.parameters.cni_args().map_err(|error| Refusal::from(error.to_cni_error()))
    }

    /// A value that the runtime passes: by `runtimeConfig`, or by `args.cni`.
    pub(crate) fn passed(&self, key: &str) -> Option<(String, &Value)> {
        let fields = self.fields();
        let runtime = fields.get(keys::RUNTIME_CONFIG).and_then(|runtime| member(runtime, key));
        let args = || member(member(fields.get("args")?, "cni")?, key);
        runtime
            .map(|value| (format!("runtimeConfig.{key}"), value))
            .or_else(|| args().map(|value| (format!("args.cni.{key}"), value)))
    }

    /// The DNS settings of the configuration.
    pub(crate) fn dns(&self) -> Result<Option<Dns>, Refusal> {
        self.fields()
            .get("dns")
            .map(|value| Dns::parse(value).map_err(|error| invalid_document("dns", &error)))
            .transpose()
    }

    /// The `prevResult` that ADD of a chained plugin needs.
    pub(crate) fn result_of_others(&self) -> Result<&AddResult, Refusal> {
        self.prev_result.as_ref().ok_or_else(|| {
            let problem = "prevResult is missing: put the plugin behind one that makes the interface";
            Refusal::new(INVALID_CONFIGURATION, problem)
        })
    }

    /// The `prevResult` that CHECK needs.
    pub(crate) fn required_prev_result(&self) -> Result<&AddResult, Refusal> {
        self.prev_result.as_ref().ok_or_else(|| {
            Refusal::new(
                INVALID_CONFIGURATION,
                "prevResult is missing: pass the result of the attachment's ADD",
            )
        })
    }

    /// The member of a result's `interfaces` that is the attachment's, with its index.
    pub(crate) fn own_interface<'a>(&self, result: &'a AddResult) -> Option<(usize, &'a Interface)> {
        let is_own = |interface: &Interface| {
            interface.name == self.attachment.ifname
                && interface.sandbox.as_deref().is_some_and(|s| !s.is_empty())
        };
        result.interfaces.iter().enumerate().find(|(_, interface)| is_own(interface))
    }

    /// The attachments of this network that GC has to leave alone.
    ///
    /// An absent list is an error: it must not be taken for an empty one. With both names of the key, an attachment
    /// in one of the lists is valid.
    pub(crate) fn valid_attachments(&self) -> Result<HashSet<Attachment>, Refusal> {
        let mut valid = HashSet::new();
        let mut found = false;
        for key in [keys::VALID_ATTACHMENTS, keys::VALID_ATTACHMENTS_TAGGED] {
            let Some(list) = self.config.get(key) else { continue };
            found = true;
            for (place, item) in elements(key, list)? {
                let fields = Fields::at(&place, item)?;
                let text =
                    |key| fields.string(key)?.ok_or_else(|| invalid(&fields.place(key), "missing: add it"));
                let (container, ifname) = (text(keys::CONTAINER_ID)?, text(keys::IFNAME)?);
                interface_name(ifname)
                    .map_err(|error| invalid_document(&fields.place(keys::IFNAME), &error))?;
                valid.insert(Attachment {
                    network: self.attachment.network.clone(),
                    container: container.to_owned(),
                    ifname: ifname.to_owned(),
                });
            }
        }
        match found {
            true => Ok(valid),
            false => {
                Err(invalid(keys::VALID_ATTACHMENTS, "missing: list the attachments that are still valid"))
            }
        }
    }

    /// Tells labels of this network's attachments that GC is to clean up after.
    pub(crate) fn stale_labels(&self) -> Result<impl Fn(&str) -> bool, Refusal> {
        let prefix = network_prefix(&self.attachment.network);
        let valid: HashSet<String> =
            self.valid_attachments()?.iter().map(|attachment| attachment.label()).collect();
        Ok(move |label: &str| label.starts_with(&prefix) && !valid.contains(label))
    }

    /// Writes a line to the log, which is standard error.
    pub(crate) fn log(&self, line: impl std::fmt::Display) {
        // A log that nobody can read is no reason to fail.
        let _ = writeln!(std::io::stderr(), "{} {}: {line}", self.operation, self.attachment.label());
    }
}

/// Keys that the specification defines have the type that it says (`error.wrong-types`).
fn check_types(fields: Fields<'_>) -> Result<(), Refusal> {
    fields.string(keys::TYPE)?;
    for key in [keys::IPAM, keys::RUNTIME_CONFIG, "args"] {
        fields.object(key)?;
    }
    if let Some(dns) = fields.get("dns") {
        Dns::parse(dns).map_err(|error| invalid_document("dns", &error))?;
    }
    Ok(())
}

fn open_netns(parameters: &Parameters) -> Result<Netns, Refusal> {
    let path = parameters.get(Variable::Netns).unwrap_or_default();
    let netns = Netns::open(path)?;
    if netns.is_same(&Netns::current()?) {
        let problem = format!("CNI_NETNS: {path} is the plugin's own namespace: name the container's");
        return Err(Refusal::new(INVALID_ENVIRONMENT, problem));
    }
    Ok(netns)
}
