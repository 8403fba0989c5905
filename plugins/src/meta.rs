//! `meta`: executes the plugins of `delegates`, in order, and answers what the first returns.
//!
//! Nothing is kept between executions: what to delegate follows from the configuration, so that a DEL that failed can be
//! repeated as often as it takes.

use cni_spec::error::INVALID_ENVIRONMENT;
use cni_spec::parameters::{Variable, interface_name};
use cni_spec::result::AddResult;
use cni_spec::{Operation, keys};
use serde_json::{Map, Value};

use crate::delegate::Delegate;
use crate::fields::{Fields, elements, invalid};
use crate::netlink::Socket;
use crate::refusal::{EXISTS, Refusal};
use crate::skel::{Answer, Outcome, Plugin, Request};

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "meta",
    about: "executes the plugins of delegates [{type, ...}], in order; the first makes CNI_IFNAME and gives the result, \
            the others make CNI_IFNAME-1 and so on.",
    add,
    del,
    check: forward_all,
    gc: forward_all,
    status: forward_all,
    #[cfg(feature = "fuzzing")]
    understand,
};

/// The key of the delegates.
const DELEGATES: &str = "delegates";

/// Keys of the request that concern every delegate.
const PASSED_ON: [&str; 3] = [keys::PREV_RESULT, keys::RUNTIME_CONFIG, "args"];

/// Keys of the request that list the attachments to keep.
const VALID: [&str; 2] = [keys::VALID_ATTACHMENTS, keys::VALID_ATTACHMENTS_TAGGED];

fn delegates(request: &Request) -> Result<Vec<Delegate>, Refusal> {
    let list = request.fields().elements(DELEGATES)?;
    if list.is_empty() {
        return Err(invalid(DELEGATES, "missing: name the plugins to execute"));
    }
    let count = list.len();
    let read = |(index, (place, value)): (usize, (String, &Value))| {
        let fields = Fields::at(&place, value)?;
        let ifname = match request.operation.is_attachment() {
            true => interface(request.variable(Variable::Ifname).unwrap_or_default(), index)?,
            false => String::new(),
        };
        Delegate::whole(fields, input(request, value, count)?, ifname)
    };
    list.into_iter().enumerate().map(read).collect()
}

/// The interface of a delegate.
fn interface(own: &str, index: usize) -> Result<String, Refusal> {
    if index == 0 {
        return Ok(own.to_owned());
    }
    let name = format!("{own}-{index}");
    interface_name(&name).map_err(|error| {
        Refusal::new(INVALID_ENVIRONMENT, format!("CNI_IFNAME: for {DELEGATES}: {error}"))
    })?;
    Ok(name)
}

/// What a delegate reads: its own configuration, as part of this request.
fn input(request: &Request, own: &Value, count: usize) -> Result<Vec<u8>, Refusal> {
    let mut config: Map<String, Value> = own.as_object().cloned().unwrap_or_default();
    let name = request.config.get(keys::NAME).cloned().unwrap_or_default();
    // The delegates are parts of one network.
    config.insert(keys::NAME.to_owned(), name);
    config.insert(keys::CNI_VERSION.to_owned(), request.version.as_str().into());
    for key in PASSED_ON {
        if let Some(value) = request.config.get(key) {
            config.insert(key.to_owned(), value.clone());
        }
    }
    for key in VALID {
        if let Some(list) = request.config.get(key) {
            config.insert(key.to_owned(), valid(key, list, count)?);
        }
    }
    Ok(Value::Object(config).to_string().into_bytes())
}

/// The attachments to keep, with the interfaces of every delegate: they may be of one network.
fn valid(key: &str, list: &Value, count: usize) -> Result<Value, Refusal> {
    let mut all = Vec::new();
    for (_, entry) in elements(key, list)? {
        all.push(entry.clone());
        let Some(ifname) = entry.get(keys::IFNAME).and_then(Value::as_str) else { continue };
        // A name that is too long is one that no delegate made.
        for name in (1..count).filter_map(|index| interface(ifname, index).ok()) {
            let mut other = entry.clone();
            other[keys::IFNAME] = name.into();
            all.push(other);
        }
    }
    Ok(all.into())
}

/// Refuses an attachment that is there: a delegate that finds out for itself gets DEL, which would take it away.
fn refuse_second(request: &Request, count: usize) -> Result<(), Refusal> {
    let mut container = request.netns()?.run(Socket::route)??;
    for index in 0..count {
        let name = interface(&request.attachment.ifname, index)?;
        if container.link(&name)?.is_some() {
            let problem =
                format!("the container has an interface {name} already (CNI_IFNAME): run DEL first");
            return Err(Refusal::new(EXISTS, problem));
        }
    }
    Ok(())
}

fn add(request: &Request) -> Outcome {
    let delegates = delegates(request)?;
    refuse_second(request, delegates.len())?;
    let mut result: Option<AddResult> = None;
    for (index, delegate) in delegates.iter().enumerate() {
        match delegate.add(request) {
            Ok(added) => result = Some(result.map_or_else(|| added.clone(), |first| joined(first, &added))),
            Err(error) => {
                delegates[..index].iter().rev().for_each(|done| done.withdraw(request));
                return Err(error);
            }
        }
    }
    Ok(Answer::Result(Box::new(result.unwrap_or_default())))
}

/// The result of the first delegate, with the interfaces and addresses of another behind its own.
fn joined(mut first: AddResult, other: &AddResult) -> AddResult {
    let shift = i64::try_from(first.interfaces.len()).unwrap_or(i64::MAX);
    first.interfaces.extend(other.interfaces.iter().cloned());
    for ip in &other.ips {
        let mut ip = ip.clone();
        ip.interface = ip.interface.map(|index| index.saturating_add(shift));
        first.ips.push(ip);
    }
    first
}

/// DEL of every delegate, in reverse order. A configuration that ADD refused had nothing done.
fn del(request: &Request) -> Outcome {
    match delegates(request) {
        Err(error) => {
            request.log(format_args!("nothing to delete: {error}"));
            Ok(Answer::Silence)
        }
        Ok(delegates) => first_error(request, delegates.iter().rev().map(|delegate| delegate.del(request))),
    }
}

/// CHECK, GC and STATUS.
fn forward_all(request: &Request) -> Outcome {
    if request.operation == Operation::Check {
        request.required_prev_result()?;
    }
    if request.operation == Operation::Gc {
        request.valid_attachments()?;
    }
    first_error(request, delegates(request)?.iter().map(|delegate| delegate.forward(request)))
}

/// The first error, after everything has been tried; the others are logged.
fn first_error(request: &Request, outcomes: impl Iterator<Item = Result<(), Refusal>>) -> Outcome {
    let mut first = None;
    for error in outcomes.filter_map(Result::err) {
        match &first {
            None => first = Some(error),
            Some(_) => request.log(&error),
        }
    }
    first.map_or(Ok(Answer::Silence), Err)
}

#[cfg(feature = "fuzzing")]
fn understand(request: &Request) -> Result<(), Refusal> {
    let delegates = delegates(request)?;
    assert!(!delegates.is_empty());
    crate::fuzzing::common(request)
}

#[cfg(test)]
mod tests {
    use cni_spec::Version;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_delegate_has_the_interface_and_others_names_of_their_own() {
        assert_eq!(interface("eth0", 0).expect("its own"), "eth0");
        assert_eq!(interface("eth0", 2).expect("short"), "eth0-2");
        assert!(interface("abcdefghijklmno", 0).is_ok());
        assert!(interface("abcdefghijklmno", 1).is_err_and(|error| error.msg.contains("CNI_IFNAME")));
    }

    #[test]
    fn attachments_to_keep_are_those_of_every_delegate() {
        let list = json!([{ "containerID": "c", "ifname": "eth0" }]);
        let all = valid("key", &list, 2).expect("a list");
        assert_eq!(
            all,
            json!([{ "containerID": "c", "ifname": "eth0" }, { "containerID": "c", "ifname": "eth0-1" }])
        );
        assert!(valid("key", &json!(5), 2).is_err());
    }

    #[test]
    fn addresses_of_other_delegates_name_their_own_interfaces() {
        let result = |address: &str, name: &str| {
            let document = json!({
                "cniVersion": "1.1.0", "interfaces": [{ "name": name, "sandbox": "/n" }],
                "ips": [{ "address": address, "interface": 0 }]
            });
            AddResult::parse(&document, Version::V1_1_0).expect("a result")
        };
        let both = joined(result("10.1.0.2/16", "eth0"), &result("10.2.0.2/16", "eth0-1"));
        assert_eq!(both.interface_of(&both.ips[1]).map(|one| one.name.as_str()), Some("eth0-1"));
        assert_eq!(both.interface_of(&both.ips[0]).map(|one| one.name.as_str()), Some("eth0"));
    }
}
