//! Defects in the situations of `checks::faults`, and of the checks beside them that play what goes wrong around a plugin.

use std::path::Path;
use std::time::Duration;

use cni_spec::Operation;
use netlink_sys::protocols::NETLINK_ROUTE;
use serde_json::Value;

use super::incidents::ip;
use super::{Defect, Execution, Mutant, kernel, mutant};
use crate::arena::netlink::Netlink;
use crate::arena::unrest::lists;

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "host-local-torn-reservation",
        "host-local",
        &["add.failure-leaves-del-able"],
        "keeps a file that it made and could not write, and does not know it for its own in DEL",
        |run| {
            let file = kernel::state_file(run);
            let owner = run.variable("CNI_CONTAINERID");
            if run.is(Operation::Add) && kernel::write(&file, &owner).is_err() {
                run.refuse(5, "no space left on device");
                return Ok(());
            }
            forgetting(run, &file, &owner)
        },
    ),
    mutant(
        "host-local-full-for-ever",
        "host-local",
        &["practice.full-disk"],
        "takes an address that it could not write down for given, for ever",
        |run| {
            let networks = Path::new("/var/lib/cni/networks").join(run.text("name"));
            let fits = kernel::write(&kernel::state_file(run), "x").is_ok();
            if kernel::state_file(run).exists() {
                std::fs::remove_file(kernel::state_file(run))?;
            }
            if run.is(Operation::Add) && !fits && networks.exists() {
                for last in 2..=254 {
                    // An empty file takes no room.
                    let _ = std::fs::File::create_new(networks.join(format!("10.72.0.{last}")));
                }
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "host-local-disk-failure-told-as-success",
        "host-local",
        &["add.host-state-restored-after-cycle"],
        "prints a result although it could not write down whose the address is, and cannot free it then",
        |run| {
            let file = kernel::state_file(run);
            let owner = run.variable("CNI_CONTAINERID");
            if run.is(Operation::Add) {
                // The result is what counts.
                let _ = kernel::write(&file, &owner);
                let version = run.text("cniVersion");
                run.answer(
                    &serde_json::json!({ "cniVersion": version, "ips": [{ "version": "4", "address": "10.72.0.2/29" }] }),
                    0,
                );
                return Ok(());
            }
            forgetting(run, &file, &owner)
        },
    ),
    mutant(
        "bridge-range-checked-late",
        "bridge",
        &["practice.out-of-range"],
        "looks at the VLAN number when everything is made",
        |run| {
            let vlan = run.config().get("vlan").and_then(Value::as_i64).unwrap_or(0);
            run.edit_config(|config| drop(config.remove("vlan")));
            if run.succeeds(Operation::Add) && !(0..4095).contains(&vlan) {
                run.refuse(7, "vlan is out of range");
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-duplicate-ignored",
        "bridge",
        &["practice.address-conflict"],
        "has the kernel search for duplicates of IPv6 addresses, and does not wait for what it finds",
        |run| {
            run.edit_config(|config| drop(config.remove("enabledad")));
            if run.succeeds(Operation::Add)
                && let Some((mut socket, link)) = kernel::interface(run)?
            {
                let path = run.variable("CNI_NETNS");
                let name = Path::new(&path).file_name().and_then(|name| name.to_str()).unwrap_or_default();
                for found in socket.addresses(link.index)? {
                    let text = found.address.to_string();
                    if found.address.addr().is_ipv6() && !text.starts_with("fe80") {
                        for change in ["del", "add"] {
                            ip(&["-n", name, "addr", change, &text, "dev", &link.name])?;
                        }
                    }
                }
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-waits-on-dead-link",
        "bridge",
        &["practice.link-down-no-wait"],
        "waits for addresses to settle on a link that is down",
        |run| {
            let master = run.text("master");
            let up = kernel::host()?.link(&master)?.is_some_and(|link| link.up);
            if run.succeeds(Operation::Add) && !up {
                std::thread::sleep(Duration::from_millis(6200));
            }
            Ok(())
        },
    )
    .with_target(ON_LINK),
    mutant(
        "tuning-last-key-counts",
        "tuning",
        &["practice.keys-contradict"],
        "takes the last of two values of a sysctl",
        |run| {
            // What is parsed and printed again has each key once.
            run.edit_config(|_| ());
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-version-lost",
        "bridge",
        &["practice.versions-kept"],
        "does not support a version any more that the release before supports",
        |run| {
            run.run();
            if run.is(Operation::Version) {
                run.edit_output(|about| {
                    if let Some(Value::Array(versions)) = about.get_mut("supportedVersions") {
                        versions.retain(|version| version != "0.4.0");
                    }
                });
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-interrupted-list-fails",
        "bridge",
        &["add.concurrent-containers", "check.ok-after-add", "del.concurrent-containers"],
        "fails when a change interrupts a list of the host's links or addresses",
        |run| {
            if !run.is(Operation::Version) && list_is_interrupted()? {
                run.refuse(999, "results may be incomplete or inconsistent");
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "host-local-first-interface-cleaned",
        "host-local",
        &["add.host-state-restored-after-cycle"],
        "keeps a file of hosts for each network, and cleans in DEL that of the first interface only",
        |run| {
            let first = run.variable("CNI_IFNAME") == "eth0";
            let file = Path::new(kernel::STATE).join(format!(
                "hosts-{}-{}",
                run.text("name"),
                run.variable("CNI_IFNAME")
            ));
            let entry = format!("{}\n", run.variable("CNI_CONTAINERID"));
            let entries = std::fs::read_to_string(&file).unwrap_or_default();
            if run.succeeds(Operation::Add) {
                kernel::write(&file.with_extension(entry.trim()), &entry)?;
                kernel::write(&file, &(entries + &entry))?;
            } else if run.is(Operation::Del) && first {
                kernel::write(&file, &entries.replace(&entry, ""))?;
                // A repeated DEL finds it gone.
                let _ = std::fs::remove_file(file.with_extension(entry.trim()));
            }
            Ok(())
        },
    ),
];

/// A bridge whose configuration names an interface of the host, and an IPAM plugin.
const ON_LINK: &str = r#"
name = "bridge"
kind = "interface"
summary = "a bridge that names an interface of the host"
delegates = true

[[link]]
name = "uplink0"

[[configuration]]
name = "on-link"
plugin = '{ "type": "bridge", "bridge": "cnit0", "master": "uplink0", "ipam": { "type": "host-local", "subnet": "10.61.0.0/24" } }'
"#;

/// Removes the file in DEL if it is this owner's, and goes on.
fn forgetting(run: &mut Execution, file: &Path, owner: &str) -> Result<(), Defect> {
    if run.is(Operation::Del) && std::fs::read_to_string(file).is_ok_and(|found| found == owner) {
        std::fs::remove_file(file)?;
    }
    run.run();
    Ok(())
}

/// Lists the host's links and addresses as often as a plugin does that looks for each thing in a list of its own; whether
/// a change interrupted any of them.
fn list_is_interrupted() -> Result<bool, Defect> {
    let mut socket = Netlink::open(NETLINK_ROUTE)?;
    for list in lists().iter().cycle().take(LISTS) {
        if socket.dump_is_interrupted(list).map_err(|error| error.to_string())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How many lists that is.
const LISTS: usize = 40;
