//! Defects of DEL.

use std::path::Path;

use cni_spec::Operation;
use serde_json::json;

use super::{Execution, Mutant, mutant};
use super::{delegation, kernel};

pub(super) const MUTANTS: &[Mutant] = &[
    mutant("bridge-del-fails", "bridge", &["del.best-effort"], "fails the first DEL, and no other", |run| {
        let there = kernel::interface(run).is_ok_and(|found| found.is_some());
        run.run();
        if run.is(Operation::Del) && there {
            run.refuse(999, "the chain CNI-1 does not exist");
        }
        Ok(())
    }),
    mutant("bridge-del-prints", "bridge", &["del.result-empty"], "prints a result in DEL", |run| {
        if run.succeeds(Operation::Del) {
            let version = run.text("cniVersion");
            run.answer(&json!({ "cniVersion": version }), 0);
        }
        Ok(())
    }),
    mutant(
        "bridge-del-status-1",
        "bridge",
        &["exec.exit-zero-on-success", "del.best-effort"],
        "exits DEL with status 1 although it did everything",
        |run| {
            run.run();
            if run.is(Operation::Del) {
                run.status = 1;
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-del-removes-nothing",
        "bridge",
        &["del.removes-interface"],
        "does nothing in DEL",
        |run| {
            if !run.is(Operation::Del) {
                run.run();
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-del-keeps-file",
        "bridge",
        &["add.host-state-restored-after-cycle"],
        "keeps a file for each attachment",
        |run| {
            if run.succeeds(Operation::Add) {
                kernel::write(&kernel::state_file(run), "")?;
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-del-keeps-masquerading",
        "bridge",
        &["add.host-state-restored-after-cycle"],
        "leaves a masquerading rule for each attachment",
        |run| {
            if run.succeeds(Operation::Add) && run.config().get("ipMasq") == Some(&json!(true)) {
                let label = format!("left/{}", run.variable("CNI_CONTAINERID"));
                let result: serde_json::Value = serde_json::from_slice(&run.stdout)?;
                let address = result["ips"][0]["address"].as_str().or(result["ip4"]["ip"].as_str());
                cni_plugins::nft::add(&label, &[address.unwrap_or_default().parse()?])?;
            }
            Ok(())
        },
    ),
    mutant("bridge-del-once", "bridge", &["del.idempotent"], "fails the second DEL", |run| {
        let there = kernel::interface(run).is_ok_and(|found| found.is_some());
        run.run();
        if run.is(Operation::Del) && !there {
            run.refuse(999, "the interface does not exist");
        }
        Ok(())
    }),
    mutant(
        "bridge-del-needs-prevresult",
        "bridge",
        &["del.missing-prevresult-succeeds"],
        "fails DEL without prevResult",
        |run| {
            let given = run.config().contains_key("prevResult");
            run.run();
            let old = run.text("cniVersion").as_str() < "0.4.0";
            if run.is(Operation::Del) && !given && !old {
                run.refuse(7, "prevResult is missing");
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-del-without-prevresult-does-nothing",
        "bridge",
        &["del.missing-prevresult-succeeds"],
        "does nothing in DEL without prevResult",
        |run| {
            let old = run.text("cniVersion").as_str() < "0.4.0";
            if run.is(Operation::Del) && !run.config().contains_key("prevResult") && !old {
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-del-odd-prevresult",
        "bridge",
        &["error.json-on-stdout-nonzero-exit", "del.prevresult-invalid"],
        "falls over in DEL when prevResult is no result",
        |run| {
            let odd = run.config().get("prevResult").is_some_and(|previous| !previous.is_object());
            if run.is(Operation::Del) && odd {
                super::input::panicked(run);
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-del-needs-netns",
        "bridge",
        &["del.missing-netns-succeeds"],
        "fails DEL when the namespace is gone",
        |run| {
            let netns = run.variable("CNI_NETNS");
            let gone = !netns.is_empty() && !Path::new(&netns).exists();
            run.run();
            if run.is(Operation::Del) && gone {
                run.refuse(999, "failed to open netns");
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-del-needs-netns-variable",
        "bridge",
        &["del.missing-netns-env-succeeds"],
        "fails DEL without CNI_NETNS",
        |run| {
            run.run();
            if run.is(Operation::Del) && run.variable("CNI_NETNS").is_empty() {
                run.refuse(4, "CNI_NETNS is missing");
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-del-needs-interface",
        "bridge",
        &["del.missing-interface-succeeds"],
        "fails DEL when the interface is gone",
        |run| {
            let gone = kernel::container(run).is_ok() && kernel::interface(run)?.is_none();
            run.run();
            if run.is(Operation::Del) && gone {
                run.refuse(999, "Link not found");
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-del-needs-addresses",
        "bridge",
        &["del.missing-interface-succeeds"],
        "fails DEL when the interface has no address",
        |run| {
            let bare = match kernel::interface(run)? {
                Some((mut socket, link)) => {
                    !socket.addresses(link.index)?.iter().any(|one| one.scope == libc::RT_SCOPE_UNIVERSE)
                }
                None => false,
            };
            let ipam = run.config().contains_key("ipam");
            run.run();
            if run.is(Operation::Del) && bare && ipam {
                run.refuse(999, "the interface has no address");
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-del-forgets-delegate-without-netns",
        "bridge",
        &["del.delegates-when-netns-gone"],
        "does not execute the IPAM plugin when the namespace is gone",
        |run| {
            let netns = run.variable("CNI_NETNS");
            if run.is(Operation::Del) && !netns.is_empty() && !Path::new(&netns).exists() {
                run.edit_config(|config| drop(config.remove("ipam")));
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-del-never-added-fails",
        "bridge",
        &["del.never-added-succeeds"],
        "fails DEL of a container that it does not know",
        |run| {
            let added = kernel::state_file(run);
            run.run();
            if run.is(Operation::Add) {
                kernel::write(&added, "")?;
            }
            if run.is(Operation::Del) && !added.exists() {
                run.refuse(3, "the container is unknown");
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-del-after-failed-add-fails",
        "bridge",
        &["del.after-failed-add-succeeds"],
        "fails DEL of a container whose ADD did not succeed",
        |run| {
            let added = kernel::state_file(run);
            if run.succeeds(Operation::Add) {
                kernel::write(&added, "")?;
            }
            if run.is(Operation::Del) && !added.exists() {
                run.refuse(3, "the container is unknown");
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-del-after-killed-add-leaks",
        "bridge",
        &["del.after-killed-add"],
        "needs in DEL what ADD writes at its end",
        |run| {
            let added = kernel::state_file(run);
            if run.is(Operation::Del)
                && !added.exists()
                && kernel::interface(run).is_ok_and(|found| found.is_some())
            {
                return Ok(());
            }
            if run.succeeds(Operation::Add) {
                kernel::write(&added, "")?;
            }
            if run.is(Operation::Del) {
                let _ = std::fs::remove_file(&added);
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-del-removes-all",
        "bridge",
        &["del.only-own-attachment"],
        "removes every port of the bridge in DEL",
        |run| {
            run.run();
            if run.is(Operation::Del) {
                remove_host_ends()?;
            }
            Ok(())
        },
    ),
    mutant(
        "host-local-del-removes-all",
        "host-local",
        &["del.only-own-attachment"],
        "frees the addresses of every container in DEL",
        |run| {
            run.run();
            if run.is(Operation::Del) {
                release_everything(run);
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-del-keeps-rules-of-host",
        "bridge",
        &["del.missing-netns-succeeds", "del.delegates-when-netns-gone"],
        "leaves the masquerading rules when the namespace is gone",
        |run| {
            let netns = run.variable("CNI_NETNS");
            if run.is(Operation::Del) && !netns.is_empty() && !Path::new(&netns).exists() {
                delegation::delegate(run, Operation::Del);
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "host-local-del-by-prefix",
        "host-local",
        &["del.only-own-attachment", "add.state-key"],
        "frees the addresses of containers whose ID begins with the container's",
        |run| {
            run.run();
            if run.is(Operation::Del) {
                let whole = run.variable("CNI_CONTAINERID");
                let shorter: String = whole.chars().take(whole.len().saturating_sub(1)).collect();
                run.set("CNI_CONTAINERID", &shorter);
                run.run();
            }
            Ok(())
        },
    ),
    mutant(
        "host-local-del-by-container",
        "host-local",
        &["add.state-key", "del.only-own-attachment"],
        "frees the addresses of all interfaces of the container",
        |run| {
            run.run();
            if run.is(Operation::Del) {
                for ifname in ["eth0", "eth1"] {
                    run.set("CNI_IFNAME", ifname);
                    run.run();
                }
            }
            Ok(())
        },
    ),
    mutant(
        "static-del-needs-daemon",
        "static",
        &["del.noncritical-release-failure"],
        "fails DEL when the daemon cannot give the lease back",
        |run| {
            run.run();
            if run.is(Operation::Del) {
                run.refuse(999, "cannot reach the daemon");
            }
            Ok(())
        },
    )
    .with_target(super::status::UNATTENDED),
    mutant(
        "bridge-del-needs-name-of-interface",
        "bridge",
        &["del.missing-interface-succeeds"],
        "fails DEL when the interface has another name by now",
        |run| {
            let renamed = match kernel::container(run) {
                Ok(mut socket) => socket.link("renamed0")?.is_some(),
                Err(_) => false,
            };
            run.run();
            if run.is(Operation::Del) && renamed {
                run.refuse(999, "the interface was renamed");
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-del-believes-prevresult",
        "bridge",
        &["del.only-own-attachment"],
        "removes the host's interfaces that prevResult lists, whosever they are",
        |run| {
            let previous = run.config().get("prevResult").cloned().unwrap_or_default();
            run.run();
            if run.is(Operation::Del) {
                for interface in previous["interfaces"].as_array().into_iter().flatten() {
                    let name = interface["name"].as_str().unwrap_or_default();
                    if name.starts_with('v') {
                        kernel::host()?.delete_link(name)?;
                    }
                }
            }
            Ok(())
        },
    ),
    mutant(
        "host-local-del-needs-its-files",
        "host-local",
        &["del.best-effort"],
        "fails DEL when its files are gone",
        |run| {
            let name = run.text("name");
            let folder = Path::new("/var/lib/cni/networks").join(name);
            let gone = folder.exists() && !holds_file(&folder);
            run.run();
            if run.is(Operation::Del) && gone {
                run.refuse(999, "the reservation is gone");
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-del-needs-configuration-of-add",
        "bridge",
        &["del.best-effort"],
        "fails DEL when the configuration is not the one that ADD got",
        |run| {
            let noted = kernel::state_file(run);
            let mtu = run.config().get("mtu").map(ToString::to_string).unwrap_or_default();
            run.run();
            if run.is(Operation::Add) {
                kernel::write(&noted, &mtu)?;
            }
            if run.is(Operation::Del) && std::fs::read_to_string(&noted).is_ok_and(|known| known != mtu) {
                run.refuse(999, "the configuration has changed");
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-del-any-interface",
        "bridge",
        &["del.only-own-attachment", "add.state-key"],
        "removes the container's eth0 whatever CNI_IFNAME says",
        |run| {
            run.run();
            if run.is(Operation::Del)
                && let Ok(mut socket) = kernel::container(run)
            {
                socket.delete_link("eth0")?;
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-del-foreign-interface",
        "bridge",
        &["del.foreign-interface-untouched"],
        "removes every interface of the container in DEL",
        |run| {
            run.run();
            if run.is(Operation::Del)
                && let Ok(mut socket) = kernel::container(run)
            {
                for link in socket.links(None)? {
                    if link.name != "lo" {
                        let _ = socket.delete_link(&link.name);
                    }
                }
            }
            Ok(())
        },
    ),
];

/// Removes the host's ends of all attachments.
fn remove_host_ends() -> Result<(), super::Defect> {
    let mut host = kernel::host()?;
    for link in host.links(None)? {
        if link.kind == "veth" && link.name.starts_with('v') {
            let _ = host.delete_link(&link.name);
        }
    }
    Ok(())
}

/// Whether there is a file in a folder or below it.
fn holds_file(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| path.is_file() || path.is_dir() && holds_file(&path))
}

/// Frees every reservation of the network through GC with nothing valid.
pub(super) fn release_everything(run: &mut Execution) {
    run.edit_config(|config| {
        config.insert("cniVersion".into(), json!("1.1.0"));
        config.insert("cni.dev/valid-attachments".into(), json!([]));
    });
    run.run_as(Operation::Gc);
}
