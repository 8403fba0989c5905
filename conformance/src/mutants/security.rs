//! Defects that somebody could use, and defects of what surrounds an execution.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use cni_spec::Operation;
use serde_json::{Value, json};

use super::{Mutant, kernel, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "host-local-paths-escape",
        "host-local",
        &["practice.paths-contained"],
        "removes the folder of the network in DEL, wherever its name leads",
        |run| {
            let name = run.text("name");
            run.run();
            if run.is(Operation::Del) && name.contains("..") {
                // Nothing there is as good as removed.
                let _ = fs::remove_dir_all(Path::new("/var/lib/cni/networks").join(name));
            }
            Ok(())
        },
    ),
    mutant(
        "static-arguments-executed",
        "static",
        &["practice.paths-contained"],
        "has a shell look at CNI_ARGS",
        |run| {
            let arguments = run.variable("CNI_ARGS");
            Command::new("/bin/sh")
                .arg("-c")
                .arg(format!("echo {arguments}"))
                .stdout(std::process::Stdio::null())
                .status()?;
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-arguments-slash-refused",
        "bridge",
        &["param.args-ignoreunknown"],
        "looks for a slash in CNI_ARGS where it means CNI_IFNAME",
        |run| {
            run.run();
            if run.is(Operation::Add) && run.variable("CNI_ARGS").contains('/') {
                run.run_as(Operation::Del);
                run.refuse(999, "the interface name contains a slash");
            }
            Ok(())
        },
    ),
    mutant(
        "static-text-other-variable",
        "static",
        &["exec.env-inherited"],
        "refuses an environment that is no UTF-8",
        |run| {
            let odd = std::env::vars_os().any(|(_, value)| value.to_str().is_none());
            run.run();
            if odd {
                run.refuse(4, "the environment is no UTF-8");
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-mtu-overflow",
        "bridge",
        &["practice.odd-values"],
        "crashes on an mtu that does not fit",
        |run| {
            let mtu = run.config().get("mtu").cloned();
            if let Some(Value::Number(mtu)) = mtu
                && mtu.as_u64().is_none_or(|mtu| u32::try_from(mtu).is_err())
            {
                eprintln!("mutant panicked at mtu.rs: overflow");
                run.status = 101;
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "ptp-netns-pipe-hangs",
        "ptp",
        &["practice.netns-no-hang"],
        "waits for somebody to write into a CNI_NETNS that is a pipe",
        |run| {
            // An error is what the plugin will say, too.
            drop(fs::File::open(run.variable("CNI_NETNS")));
            run.run();
            Ok(())
        },
    ),
    mutant(
        "host-local-files-for-all",
        "host-local",
        &["practice.state-files-private"],
        "lets everybody read and write its files",
        |run| {
            let folder = Path::new("/var/lib/cni/networks").join(run.text("name"));
            if run.succeeds(Operation::Add) {
                for entry in fs::read_dir(folder)? {
                    let path = entry?.path();
                    if path.is_file() {
                        fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
                    }
                }
            }
            Ok(())
        },
    ),
    mutant(
        "static-secrets-logged",
        "static",
        &["practice.secrets-not-shown"],
        "logs its environment on stderr",
        |run| {
            eprintln!("static: CNI_ARGS={}", run.variable("CNI_ARGS"));
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-takes-router-advertisements",
        "bridge",
        &["practice.host-ignores-router-advertisements"],
        "lets its bridge take router advertisements",
        |run| {
            let bridge = run.text("bridge");
            if run.succeeds(Operation::Add) {
                fs::write(format!("/proc/sys/net/ipv6/conf/{bridge}/accept_ra"), "2")?;
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-nat-rule-first",
        "bridge",
        &["practice.nat-rules-last"],
        "puts a rule in front of the nat chains",
        |run| {
            if run.succeeds(Operation::Add) {
                let rule =
                    ["-w", "-t", "nat", "-I", "PREROUTING", "-p", "tcp", "--dport", "9999", "-j", "RETURN"];
                Command::new("iptables").args(rule).status()?;
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-torn-files",
        "bridge",
        &["del.best-effort"],
        "fails DEL for ever when its file is empty",
        |run| {
            let path = kernel::state_file(run);
            if run.is(Operation::Del) && fs::read(&path).is_ok_and(|text| text.is_empty()) {
                run.refuse(999, "unexpected end of JSON input");
                return Ok(());
            }
            if run.succeeds(Operation::Add) {
                kernel::write(&path, "{}")?;
            } else if run.is(Operation::Del) && path.exists() {
                fs::remove_file(&path)?;
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-odd-tools",
        "bridge",
        &["error.json-on-stdout-nonzero-exit"],
        "indexes into what iptables answers",
        |run| {
            if run.is(Operation::Del) {
                let listed = Command::new("iptables").args(["-w", "-t", "nat", "-S"]).output()?.stdout;
                if !String::from_utf8_lossy(&listed).contains("-P PREROUTING") {
                    eprintln!("mutant panicked at tools.rs: index out of bounds");
                    run.status = 101;
                    return Ok(());
                }
            }
            run.run();
            Ok(())
        },
    ),
    mutant("static-key-twice", "static", &["practice.keys-unique"], "prints cniVersion twice", |run| {
        let version = json!(run.text("cniVersion"));
        run.run();
        if let Some(rest) = run.stdout.strip_prefix(b"{") {
            let mut text = format!("{{\"cniVersion\":{version},").into_bytes();
            text.extend_from_slice(rest);
            run.stdout = text;
        }
        Ok(())
    }),
    mutant(
        "static-needs-search-path",
        "static",
        &["exec.plugin-is-executable"],
        "is found only with a search path, as a script with env(1) is",
        |run| {
            if run.variable("PATH").is_empty() {
                eprintln!("env: interpreter: No such file or directory");
                run.status = 127;
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-needs-directory",
        "static",
        &["exec.cwd-independent"],
        "fails without a working directory",
        |run| {
            run.run();
            if std::env::current_dir().is_err() {
                run.refuse(999, "getwd: no such file or directory");
            }
            Ok(())
        },
    ),
    mutant(
        "static-heeds-arguments",
        "static",
        &["exec.argv-ignored"],
        "takes an argument for a request for help",
        |run| {
            if std::env::args_os().len() > 1 {
                run.stdout = b"usage: static\n".to_vec();
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-needs-stderr",
        "static",
        &["exec.stderr-free-form"],
        "fails when its log cannot be written",
        |run| {
            run.run();
            if std::io::stderr().write_all(b"static: done\n").is_err() {
                run.refuse(5, "cannot write the log");
            }
            Ok(())
        },
    ),
    mutant(
        "static-large-input-unread",
        "static",
        &["exec.large-input"],
        "reads no more of stdin than fits into a pipe, and does not mind",
        |run| {
            use std::io::Read as _;
            let mut start = Vec::new();
            std::io::stdin().take(64 << 10).read_to_end(&mut start)?;
            let whole = start.len() < 64 << 10;
            run.set_input(start);
            run.run();
            if !whole {
                let version = "1.1.0";
                run.answer(&json!({ "cniVersion": version, "ips": [], "dns": {} }), 0);
            }
            Ok(())
        },
    ),
];
