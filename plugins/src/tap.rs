//! `tap`: a device through which a program, for example a virtual machine, sends and gets Ethernet frames.
//!
//! Keys: `multiQueue`, `mtu`, `mac`, `owner`, `group`, `selinuxContext`, `bridge`, `ipam`. Without `ipam` the device has no addresses.
//!
//! ```json
//! { "type": "tap", "owner": 107, "group": 107, "bridge": "br0" }
//! ```
//!
//! A device has the SELinux context of the process that makes it. For `selinuxContext` the plugin executes itself in that
//! context, to make the device and nothing else; the policy has to allow it.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use crate::contained::{self, Making, Source, unlike};
use crate::delegate::Delegate;
use crate::fields::{Fields, invalid};
use crate::netlink::Socket;
use crate::netlink::link::{self, Change, Link};
use crate::netlink::tun::{self, TAP, TUN_GROUP, TUN_MULTI_QUEUE, TUN_OWNER, TUN_TYPE, Tap};
use crate::refusal::{KERNEL, Refusal};
use crate::skel::{Outcome, Plugin, Request};
use crate::veth;

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "tap",
    about: "a device for the Ethernet frames of a program: multiQueue, mtu, mac, owner, group, selinuxContext, bridge, ipam; \
            runtimeConfig.mac, args.cni.mac or the CNI_ARGS key MAC set the hardware address.",
    add,
    del: contained::del,
    check,
    gc: contained::gc,
    status,
    #[cfg(feature = "fuzzing")]
    understand,
};

/// The variable that tells the plugin, which executes itself in another SELinux context, what device to make.
pub(crate) const ORDER: &str = "CNITEST_TAP_ORDER";
/// The kernel's name for the kind.
const KIND: &str = "tun";

struct Settings<'a> {
    multi_queue: bool,
    owner: Option<u32>,
    group: Option<u32>,
    mtu: Option<u32>,
    context: Option<&'a str>,
    bridge: Option<&'a str>,
}

impl<'a> Settings<'a> {
    fn read(fields: Fields<'a>) -> Result<Settings<'a>, Refusal> {
        let text = |key| Ok::<_, Refusal>(fields.string(key)?.filter(|text| !text.is_empty()));
        Ok(Settings {
            multi_queue: fields.flag("multiQueue")?,
            owner: fields.u32("owner")?,
            group: fields.u32("group")?,
            mtu: veth::read_mtu(fields)?,
            context: text("selinuxContext")?,
            bridge: text("bridge")?,
        })
    }

    /// The bridge, which is in the container.
    fn find_bridge(&self, container: &mut Socket) -> Result<Option<Link>, Refusal> {
        let Some(name) = self.bridge else { return Ok(None) };
        match container.link(name)? {
            Some(link) => Ok(Some(link)),
            None => Err(invalid("bridge", format!("the container has no link {name}: name one that it has"))),
        }
    }

    /// What CHECK finds wrong with the device.
    fn problem(&self, link: &Link, bridge: Option<&Link>) -> Option<String> {
        let differs =
            |what, key, asked: Option<u32>| asked.and_then(|asked| unlike(what, asked, link.number(key)));
        if link.number(TUN_TYPE) != Some(TAP) {
            return Some("it is no tap device".to_owned());
        }
        if let Some(bridge) = bridge.filter(|bridge| link.master != Some(bridge.index)) {
            return Some(format!("it is no port of {}", bridge.name));
        }
        differs("owner", TUN_OWNER, self.owner).or_else(|| differs("group", TUN_GROUP, self.group)).or_else(
            || differs("number of queues (0 for one)", TUN_MULTI_QUEUE, Some(self.multi_queue.into())),
        )
    }
}

fn add(request: &Request) -> Outcome {
    let settings = Settings::read(request.fields())?;
    let mac = contained::read_mac(request)?;
    let delegate = Delegate::of(request)?;
    let change = Change { mac, mtu: settings.mtu, ..Change::default() };
    contained::add(
        request,
        Source::of(delegate.as_ref()),
        |container, name| {
            settings.find_bridge(container)?;
            let Settings { multi_queue, owner, group, context, .. } = settings;
            let tap = Tap { name, multi_queue, owner, group };
            request.netns()?.run(|| match context {
                Some(context) => make_in_context(&tap, context),
                None => make(&tap),
            })?
        },
        |making| shape(making, &settings, change),
    )
}

fn make(tap: &Tap<'_>) -> Result<(), Refusal> {
    tun::make(tap).map_err(|error| match error.raw_os_error() {
        Some(libc::EBUSY) => contained::left_over(tap.name),
        Some(libc::ENOENT | libc::ENODEV) => {
            let problem = format!("cannot open /dev/net/tun: {error}: load the module tun");
            Refusal::new(KERNEL, problem)
        }
        _ => Refusal::new(KERNEL, format!("cannot make the tap device {}: {error}", tap.name)),
    })
}

/// Executes this very program in an SELinux context, to make the device; runs inside the container's namespace.
fn make_in_context(tap: &Tap<'_>, context: &str) -> Result<(), Refusal> {
    let failed = |what: &str, problem: &dyn std::fmt::Display| {
        Refusal::new(KERNEL, format!("selinuxContext: cannot {what} in {context}: {problem}"))
    };
    let order = serde_json::to_string(tap).map_err(|error| failed("make a tap device", &error))?;
    // Holds for what this thread executes next, and the thread ends with this.
    std::fs::write("/proc/thread-self/attr/exec", context).map_err(|error| {
        if error.raw_os_error() == Some(libc::EINVAL) {
            let problem = format!("found {context:?}, which the policy does not know, or SELinux is off");
            return invalid("selinuxContext", format!("{problem}: name another, or remove it"));
        }
        failed("execute anything", &error)
    })?;
    let output = Command::new("/proc/self/exe")
        .arg0(PLUGIN.name)
        .env_clear()
        .env(ORDER, order)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed("execute the plugin", &error))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(failed("make a tap device", &said.trim()))
        }
    }
}

/// What the plugin does when it has executed itself.
pub(crate) fn carry_out(order: &OsStr) -> ExitCode {
    let outcome = match order.to_str().map(serde_json::from_str::<Tap<'_>>) {
        Some(Ok(tap)) => make(&tap).map_err(|error| error.to_string()),
        _ => Err(format!("{ORDER} is for the plugin itself: do not set it")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be reading.
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Sets what the device gets while it is down.
fn shape(making: &mut Making<'_>, settings: &Settings<'_>, change: Change) -> Result<(), Refusal> {
    let mut steps = Vec::new();
    if change.mac.is_some() || change.mtu.is_some() {
        steps.push(link::change(&making.link.name, making.link.index, change));
    }
    if let Some(bridge) = settings.find_bridge(&mut making.container)? {
        steps.push(link::make_port(&making.link, bridge.index));
    }
    making.container.apply(steps)?;
    Ok(())
}

fn check(request: &Request) -> Outcome {
    let settings = Settings::read(request.fields())?;
    request.required_prev_result()?;
    let mut container = request.netns()?.run(Socket::route)??;
    let bridge = match settings.bridge {
        None => None,
        Some(name) => match container.link(name)? {
            None => return veth::differs(format!("the bridge {name} is missing")),
            found => found,
        },
    };
    contained::check(request, KIND, |link| settings.problem(link, bridge.as_ref()))
}

fn status(request: &Request) -> Outcome {
    Settings::read(request.fields())?;
    contained::read_mac(request)?;
    contained::status(request)
}

#[cfg(feature = "fuzzing")]
fn understand(request: &Request) -> Result<(), Refusal> {
    Settings::read(request.fields())?;
    contained::read_mac(request)?;
    request.dns()?;
    Delegate::of(request)?;
    crate::fuzzing::common(request)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_read() {
        let config = json!({
            "multiQueue": true, "owner": 0, "group": 107, "mtu": 1400, "selinuxContext": "", "bridge": "br0"
        });
        let settings =
            Settings::read(Fields::root(config.as_object().expect("an object"))).expect("settings");
        assert_eq!((settings.owner, settings.group, settings.mtu), (Some(0), Some(107), Some(1400)));
        assert_eq!((settings.multi_queue, settings.context, settings.bridge), (true, None, Some("br0")));
        for (config, place) in
            [(json!({ "owner": -1 }), "owner: "), (json!({ "multiQueue": 1 }), "multiQueue: ")]
        {
            let read = Settings::read(Fields::root(config.as_object().expect("an object")));
            assert!(read.is_err_and(|error| error.msg.starts_with(place)), "{config}");
        }
    }

    #[test]
    fn differences_are_named() {
        let attribute = |kind: u16, payload: &[u8]| {
            let mut bytes = (4 + payload.len() as u16).to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(payload);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let data = [attribute(1, &107_u32.to_ne_bytes()), attribute(3, &[2]), attribute(7, &[0])].concat();
        let link = Link { name: "eth0".to_owned(), data, master: Some(5), ..Link::default() };
        let bridge = Link { name: "br0".to_owned(), index: 5, ..Link::default() };
        let problem = |config: serde_json::Value, bridge: &Link| {
            let settings = Settings::read(Fields::root(config.as_object().expect("an object")));
            settings.expect("settings").problem(&link, Some(bridge))
        };
        assert_eq!(problem(json!({ "owner": 107 }), &bridge), None);
        assert_eq!(problem(json!({ "owner": 1 }), &bridge).as_deref(), Some("its owner is 107, not 1"));
        assert_eq!(problem(json!({ "group": 1 }), &bridge).as_deref(), Some("the kernel tells no group"));
        assert!(problem(json!({ "multiQueue": true }), &bridge).is_some());
        let other = Link { index: 6, ..bridge.clone() };
        assert_eq!(problem(json!({}), &other).as_deref(), Some("it is no port of br0"));
    }

    #[test]
    fn orders_are_read_back() {
        let tap = Tap { name: "i0", multi_queue: true, owner: None, group: Some(7) };
        let order = serde_json::to_string(&tap).expect("plain values");
        assert_eq!(serde_json::from_str::<Tap<'_>>(&order).expect("the same"), tap);
        assert_eq!(carry_out(OsStr::new("{}")), ExitCode::FAILURE);
    }
}
