//! Plugins that do something wrong with the limits, the device or the name servers that a runtime asks for.
//!
//! No reference plugin knows these capabilities. Each of these does what is asked for, but for its defect, around one that
//! has nothing to do with it, and is tested with a target that claims the capability.

use std::process::Command;

use cni_spec::Operation;
use serde_json::{Value, json};

use super::{Defect, Execution, Mutant, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    mutant("tuning-bandwidth-bytes-for-bits", "tuning", FOLLOW, "takes bits a second for bytes", |run| {
        shape(run, |limits| {
            for limit in [&mut limits.ingress, &mut limits.egress].into_iter().flatten() {
                limit.rate *= 8;
            }
        })
    })
    .with_target(LIMITING),
    mutant("tuning-bandwidth-burst-invented", "tuning", FOLLOW, "has a burst of its own", |run| {
        shape(run, |limits| {
            for limit in [&mut limits.ingress, &mut limits.egress].into_iter().flatten() {
                limit.burst = 80_000;
            }
        })
    })
    .with_target(LIMITING),
    mutant(
        "tuning-bandwidth-directions-swapped",
        "tuning",
        FOLLOW,
        "limits what comes to the container as asked for what leaves it, and the other way round",
        |run| shape(run, |limits| std::mem::swap(&mut limits.ingress, &mut limits.egress)),
    )
    .with_target(LIMITING),
    mutant("tuning-bandwidth-halves-ignored", "tuning", FOLLOW, "limits both directions or none", |run| {
        shape(run, |limits| {
            if limits.ingress.is_none() || limits.egress.is_none() {
                (limits.ingress, limits.egress) = (None, None);
            }
        })
    })
    .with_target(LIMITING),
    mutant(
        "tuning-bandwidth-other-half-limited",
        "tuning",
        FOLLOW,
        "limits the direction for which nothing is asked as the other",
        |run| {
            shape(run, |limits| {
                let any = limits.ingress.or(limits.egress);
                limits.ingress = limits.ingress.or(any);
                limits.egress = limits.egress.or(any);
            })
        },
    )
    .with_target(LIMITING),
    mutant(
        "tuning-bandwidth-not-led-through",
        "tuning",
        FOLLOW,
        "makes the device that limits what leaves the container, and leads nothing through it",
        |run| shape(run, |limits| limits.protocol = None),
    )
    .with_target(LIMITING),
    mutant(
        "tuning-bandwidth-of-ipv4-only",
        "tuning",
        FOLLOW,
        "limits what leaves the container by IPv4 only",
        |run| shape(run, |limits| limits.protocol = Some("ip")),
    )
    .with_target(LIMITING),
    mutant(
        "tuning-bandwidth-of-the-configuration-ignored",
        "tuning",
        FOLLOW,
        "limits what a runtime asks for, and not what its configuration does",
        |run| {
            let asked =
                run.config().get("runtimeConfig").is_some_and(|passed| passed.get("bandwidth").is_some());
            match asked {
                true => shape(run, |_| ()),
                false => {
                    run.run();
                    Ok(())
                }
            }
        },
    )
    .with_target(LIMITING),
    mutant(
        "ptp-device-id-first-of-the-bus",
        "ptp",
        FOLLOW,
        "takes the first device of the bus, whichever the runtime names",
        |run| {
            let Some(id) = device_id(run).and_then(|id| id.as_str().map(str::to_owned)) else {
                run.run();
                return Ok(());
            };
            if !run.is(Operation::Add) || !std::path::Path::new(PCI).join(id).exists() {
                run.run();
                return Ok(());
            }
            let mut found: Vec<_> = std::fs::read_dir(PCI)?
                .collect::<Result<Vec<_>, _>>()?
                .iter()
                .map(|one| one.path())
                .collect();
            found.sort();
            let first = found.first().ok_or("the bus is empty")?;
            let link = std::fs::read_dir(first.join("net"))?.next().ok_or("the device has no link")??;
            let link = link.file_name().to_string_lossy().into_owned();
            let (netns, name) = (run.variable("CNI_NETNS"), run.variable("CNI_IFNAME"));
            let mac = std::fs::read_to_string(format!("/sys/class/net/{link}/address"))?;
            ip(&["link", "set", "dev", &link, "netns", &netns, "name", &name])?;
            let version = run.text("cniVersion");
            let interface = json!({ "name": name, "mac": mac.trim(), "sandbox": netns });
            run.answer(&json!({ "cniVersion": version, "interfaces": [interface], "ips": [] }), 0);
            Ok(())
        },
    )
    .with_target(TAKING_DEVICES),
    mutant(
        "ptp-absent-device-ignored",
        "ptp",
        &["conv.error-if-not-actionable"],
        "makes an interface of its own where the device that the runtime names does not exist",
        |run| {
            match device_id(run) {
                Some(Value::String(id)) if id.split(':').count() == 3 => run.run(),
                Some(id) => run.refuse(7, &format!("{id} is no PCI address")),
                None => run.run(),
            }
            Ok(())
        },
    )
    .with_target(TAKING_DEVICES),
    mutant("tuning-aliases-by-network-only", "tuning", FOLLOW, "refuses aliases that are a list", |run| {
        match aliases(run) {
            Some(Value::Array(_)) => run.refuse(7, "runtimeConfig.aliases is no object"),
            _ => run.run(),
        }
        Ok(())
    })
    .with_target(TAKING_ALIASES),
    mutant("tuning-aliases-first-only", "tuning", FOLLOW, "keeps the first of several aliases", |run| {
        name_containers(run, |names| names.truncate(1), |_| true)
    })
    .with_target(TAKING_ALIASES),
    mutant("tuning-aliases-stay", "tuning", FOLLOW, "leaves the aliases in place in DEL", |run| {
        match run.is(Operation::Del) {
            true => {
                run.run();
                Ok(())
            }
            false => name_containers(run, |_| (), |_| true),
        }
    })
    .with_target(TAKING_ALIASES),
    mutant(
        "tuning-aliases-of-all-deleted",
        "tuning",
        &["del.only-own-attachment"],
        "deletes the aliases of every container in DEL",
        |run| name_containers(run, |_| (), |_| false),
    )
    .with_target(TAKING_ALIASES),
    mutant(
        "ptp-runtime-dns-servers-only",
        "ptp",
        FOLLOW,
        "reports the name servers that the runtime gives, and neither its search domains nor its options",
        |run| {
            let given = run.config().get("runtimeConfig").and_then(|passed| passed.get("dns")).cloned();
            run.edit_result(Operation::Add, |result| {
                if let Some(given) = given {
                    result.insert("dns".into(), json!({ "nameservers": given["servers"] }));
                }
            });
            Ok(())
        },
    )
    .with_target(TAKING_DNS),
    mutant(
        "ptp-malformed-dns-ignored",
        "ptp",
        &["conv.error-if-not-actionable"],
        "leaves out the search domains that are no list",
        |run| {
            let given = run.config().get("runtimeConfig").and_then(|passed| passed.get("dns")).cloned();
            let given = given.unwrap_or_else(|| json!({}));
            let is_list = |key: &str| given.get(key).is_none_or(Value::is_array);
            if !given.is_object() || !is_list("servers") || !is_list("options") {
                run.refuse(7, "runtimeConfig.dns is malformed");
                return Ok(());
            }
            run.edit_result(Operation::Add, |result| {
                let mut dns = json!({});
                for (from, to) in [("servers", "nameservers"), ("searches", "search"), ("options", "options")]
                {
                    if let Some(list) = given.get(from).filter(|list| list.is_array()) {
                        dns[to] = list.clone();
                    }
                }
                result.insert("dns".into(), dns);
            });
            Ok(())
        },
    )
    .with_target(TAKING_DNS),
];

const FOLLOW: &[&str] = &["conv.follow-plugin"];
const PCI: &str = "/sys/bus/pci/devices";

const LIMITING: &str = r#"
name = "tuning"
kind = "chained"
summary = "limits the container's traffic"

[requires]
links = ["veth", "ifb"]
qdiscs = ["tbf", "ingress"]
programs = ["tc", "ip"]

[[capability]]
name = "bandwidth"
by = ["runtimeConfig"]
replaces = ["ingressRate", "ingressBurst", "egressRate", "egressBurst"]

[[configuration]]
name = "both-directions"
plugin = '''
{ "type": "tuning", "ingressRate": 8000000, "ingressBurst": 800000, "egressRate": 16000000, "egressBurst": 800000 }'''
"#;

const TAKING_DEVICES: &str = r#"
name = "ptp"
kind = "interface"
summary = "takes a device"
delegates = true

[requires]
links = ["veth"]
plugins = ["host-local"]
programs = ["ip"]

[[capability]]
name = "deviceID"
by = ["runtimeConfig"]

[[configuration]]
name = "veth-without-a-device"
plugin = '''
{ "type": "ptp", "ipam": { "type": "host-local", "subnet": "10.97.0.0/24" } }'''
"#;

const TAKING_DNS: &str = r#"
name = "ptp"
kind = "interface"
summary = "reports the name servers that the runtime gives"
delegates = true

[requires]
links = ["veth"]
plugins = ["host-local"]

[[capability]]
name = "dns"
by = ["runtimeConfig"]

[[configuration]]
name = "plain"
plugin = '''
{ "type": "ptp", "ipam": { "type": "host-local", "subnet": "10.97.0.0/24" } }'''
"#;

const HOSTS: &str = "/run/cnitest-mutant-hosts";

const TAKING_ALIASES: &str = r#"
name = "tuning"
kind = "chained"
summary = "writes names of containers into a file"

[requires]
links = ["veth"]

[[capability]]
name = "aliases"
by = ["runtimeConfig"]
hosts-file = "/run/cnitest-mutant-hosts"

[[configuration]]
name = "names-only"
plugin = '''
{ "type": "tuning" }'''
"#;

fn aliases(run: &mut Execution) -> Option<Value> {
    run.config().get("runtimeConfig")?.get("aliases").cloned()
}

/// Keeps a line for each address of a container, with the container's ID at its end as a remark. DEL takes the lines of
/// the container, and keeps of the others those for which `keep` holds.
fn name_containers(
    run: &mut Execution,
    change: impl FnOnce(&mut Vec<String>),
    keep: impl Fn(&str) -> bool,
) -> Result<(), Defect> {
    let names = aliases(run).unwrap_or_default();
    let mut names: Vec<String> =
        names.as_array().into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect();
    let previous = run.config().get("prevResult").cloned().unwrap_or_default();
    let mark = format!("#{}", run.variable("CNI_CONTAINERID"));
    run.run();
    let old = std::fs::read_to_string(HOSTS).unwrap_or_default();
    if run.is(Operation::Add) && run.succeeded() {
        change(&mut names);
        let addresses =
            previous["ips"].as_array().into_iter().flatten().filter_map(|ip| ip["address"].as_str());
        let lines: Vec<String> = addresses
            .filter_map(|address| address.split('/').next())
            .map(|address| format!("{address}\t{} {mark}\n", names.join(" ")))
            .collect();
        std::fs::write(HOSTS, old + &lines.concat())?;
    } else if run.is(Operation::Del) {
        let kept: Vec<&str> = old
            .split_inclusive('\n')
            .filter(|line| !line.trim_end().ends_with(&mark) && keep(line))
            .collect();
        std::fs::write(HOSTS, kept.concat())?;
    }
    Ok(())
}

/// Bits a second, and bits.
#[derive(Clone, Copy)]
struct Limit {
    rate: u64,
    burst: u64,
}

/// What to limit, and which Ethernet protocol to lead through the device that limits what leaves the container.
struct Limits {
    ingress: Option<Limit>,
    egress: Option<Limit>,
    protocol: Option<&'static str>,
}

/// Limits the traffic of the interface in front as the configuration and the runtime ask, after this change.
fn shape(run: &mut Execution, change: impl FnOnce(&mut Limits)) -> Result<(), Defect> {
    let config = run.config();
    let passed = config.get("runtimeConfig").and_then(|passed| passed.get("bandwidth")).cloned();
    let asked = passed.unwrap_or_else(|| Value::Object(config.clone()));
    if !run.succeeds(Operation::Add) {
        return Ok(());
    }
    let limit = |rate: &str, burst: &str| {
        let (rate, burst) = (asked[rate].as_u64()?, asked[burst].as_u64()?);
        (rate > 0).then_some(Limit { rate, burst })
    };
    let mut limits = Limits {
        ingress: limit("ingressRate", "ingressBurst"),
        egress: limit("egressRate", "egressBurst"),
        protocol: Some("all"),
    };
    change(&mut limits);
    let front = config.get("prevResult").and_then(|result| result["interfaces"].as_array()?.first().cloned());
    let front = front.and_then(|front| Some(front["name"].as_str()?.to_owned()));
    let front = front.ok_or("no interface is in front")?;
    let bucket = |link: &str, limit: Limit| {
        let (rate, burst) = (format!("{}bit", limit.rate), format!("{}b", limit.burst / 8));
        tc(&["qdisc", "add", "dev", link, "root", "tbf", "rate", &rate, "burst", &burst, "limit", "1000000"])
    };
    if let Some(limit) = limits.ingress {
        bucket(&front, limit)?;
    }
    if let Some(limit) = limits.egress {
        let ifb = format!("ifb-{front}");
        ip(&["link", "add", &ifb, "up", "type", "ifb"])?;
        bucket(&ifb, limit)?;
        tc(&["qdisc", "add", "dev", &front, "ingress"])?;
        if let Some(protocol) = limits.protocol {
            let all = ["filter", "add", "dev", &front, "parent", "ffff:", "protocol", protocol];
            let to = ["u32", "match", "u32", "0", "0", "action", "mirred", "egress", "redirect", "dev", &ifb];
            tc(&[&all[..], &to[..]].concat())?;
        }
    }
    Ok(())
}

fn device_id(run: &mut Execution) -> Option<Value> {
    run.config().get("runtimeConfig")?.get("deviceID").cloned()
}

fn tc(arguments: &[&str]) -> Result<(), Defect> {
    tool("tc", arguments)
}

fn ip(arguments: &[&str]) -> Result<(), Defect> {
    tool("ip", arguments)
}

fn tool(name: &str, arguments: &[&str]) -> Result<(), Defect> {
    match Command::new(name).args(arguments).status()?.success() {
        true => Ok(()),
        false => Err(format!("{name} refuses {}", arguments.join(" ")).into()),
    }
}
