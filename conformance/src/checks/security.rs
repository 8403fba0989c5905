//! Hostile input: names that try to escape, commands in arguments, secrets, odd values, torn files and tools that answer
//! nonsense.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use cni_spec::{Operation, Version};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::case::{Answer, Attachment, Call, Case, Stop};
use super::cycle;
use super::protocol::{changed_add, expect_lives, must_hold, operation, version_call};
use super::reproducer::{Assertion, Step};
use super::{Check, Concerns, Scope, changes};
use crate::arena::Place;
use crate::arena::snapshot::{FileKind, Snapshot};
use crate::invoke::{Outcome, Stdin};
use crate::target::Kind;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "security.paths",
        title: "A name or ID with ../ makes the plugin change nothing outside its own folders",
        requirements: &["practice.paths-contained", "error.json-on-stdout-nonzero-exit"],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &[
            "ADD name",
            "ADD CNI_CONTAINERID",
            "ADD CNI_IFNAME",
            "DEL name",
            "DEL CNI_CONTAINERID",
            "DEL CNI_IFNAME",
            "CHECK name",
            "GC name",
        ],
        run: paths,
    },
    Check {
        id: "security.arguments",
        title: "What CNI_ARGS holds is data: nothing of it is executed, and no text in it crashes the plugin",
        requirements: &[
            "practice.paths-contained",
            "param.args-ignoreunknown",
            "error.json-on-stdout-nonzero-exit",
        ],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["shell commands", "slashes", "new lines", "format characters", "100 KiB"],
        run: arguments,
    },
    Check {
        id: "security.text",
        title: "ADD lives through variables that are no UTF-8, and through an environment of a megabyte",
        requirements: &["error.json-on-stdout-nonzero-exit", "exec.env-inherited"],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &[
            "CNI_CONTAINERID",
            "CNI_NETNS",
            "CNI_IFNAME",
            "CNI_ARGS",
            "CNI_PATH",
            "other variable",
            "1000 variables",
        ],
        run: text,
    },
    Check {
        id: "security.odd-values",
        title: "ADD lives through odd numbers and names where its configuration has some",
        requirements: &["practice.odd-values"],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["2^53 + 1", "2^64", "-1", "1e3", "NUL byte", "path", "100 KiB"],
        run: odd_values,
    },
    Check {
        id: "security.netns",
        title: "ADD with a CNI_NETNS that is a trap is refused in time",
        requirements: &[
            "param.netns-invalid-add",
            "practice.netns-no-hang",
            "error.json-on-stdout-nonzero-exit",
        ],
        concerns: Concerns::Kinds(&[Kind::Interface]),
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["named pipe", "endless device", "symlink to itself", "stdin"],
        run: netns,
    },
    Check {
        id: "security.state-files",
        title: "Files that ADD leaves are for their owner alone, with umask 0 as well",
        requirements: &["practice.state-files-private"],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &[],
        run: state_files,
    },
    Check {
        id: "security.secrets",
        title: "Secrets in CNI_ARGS and runtimeConfig show up in no output and no file",
        requirements: &["practice.secrets-not-shown"],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["ADD", "failing ADD", "DEL"],
        run: secrets,
    },
    Check {
        id: "security.router-advertisements",
        title: "The host takes no router advertisement by a link that ADD made",
        requirements: &["practice.host-ignores-router-advertisements"],
        concerns: Concerns::Kinds(&[Kind::Interface]),
        scope: Scope::Attachments,
        since: Version::V1_0_0,
        variants: &[],
        run: router_advertisements,
    },
    Check {
        id: "security.nat-order",
        title: "ADD puts no rule in front of those that stand in the nat chains of the host",
        requirements: &["practice.nat-rules-last"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V1_0_0,
        variants: &[],
        run: nat_order,
    },
    Check {
        id: "security.torn-files",
        title: "DEL does not fail for ever when a crash has emptied the files that ADD wrote",
        requirements: &["del.best-effort", "error.json-on-stdout-nonzero-exit"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V1_0_0,
        variants: &[],
        run: torn_files,
    },
    Check {
        id: "security.odd-tools",
        title: "DEL does not fall over, nor claim success, when the host's firewall tools answer nonsense",
        requirements: &[
            "error.json-on-stdout-nonzero-exit",
            "error.msg",
            "add.host-state-restored-after-cycle",
        ],
        concerns: Concerns::Attaching,
        scope: Scope::Configurations,
        since: Version::V0_1_0,
        variants: &["nothing", "garbage", "status 4", "not installed"],
        run: odd_tools,
    },
    Check {
        id: "security.keys-unique",
        title: "No object that the plugin prints has the same key twice",
        requirements: &["practice.keys-unique"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_2_0,
        variants: &["VERSION", "refused ADD", "ADD"],
        run: keys_unique,
    },
];

// ---- escaping

/// A name that occurs nowhere else.
const VICTIM: &str = "cnitest-victim";

/// Folders in which names with `../` could end, seen from where plugins usually keep their files.
const PLACES: [&str; 6] =
    ["/run", "/run/cni", "/var/lib", "/var/lib/cni", "/var/lib/cni/networks", "/var/lib/cni/results"];

fn paths(case: &mut Case<'_>) -> Result<(), Stop> {
    let (name, field) = case.variant.split_once(' ').unwrap_or((case.variant, ""));
    let operation = operation(case, name)?;
    let valid = cycle::attached(case)?;
    plant(case, &valid)?;
    let before = case.snapshot()?;
    for up in 1..=4 {
        let escaping = format!("{}{VICTIM}", "../".repeat(up));
        let mut attachment = valid.clone();
        attachment.result = valid.result.clone();
        match field {
            "name" => drop(attachment.plugin.insert("name".to_owned(), json!(escaping))),
            "CNI_IFNAME" => attachment.ifname = escaping.clone(),
            _ => attachment.container_id = escaping.clone(),
        }
        let call = case.call(operation, &attachment).label(format!("{name} with {field} {escaping:?}"));
        let answer = case.run(call)?;
        expect_lives(case, &answer);
    }
    let after = case.snapshot()?;
    // What is under these names was put there to be found; nothing else of that name may come.
    let touched: Vec<String> =
        changes::between(case, &before, &after).into_iter().filter(|line| line.contains(VICTIM)).collect();
    let observed = touched.first().cloned().unwrap_or_default();
    let expected = format!("{name} with {field} ../{VICTIM} leaves everything of that name alone");
    case.evidence(touched.iter().cloned());
    let assertion =
        Assertion::Unchanged { before: before.number, after: after.number, lines: touched.clone() };
    case.expect_as(touched.is_empty(), "practice.paths-contained", expected, observed, assertion);
    Ok(())
}

/// Puts files where names with `../` could lead, which look as if they belonged to the attachment.
fn plant(case: &mut Case<'_>, attachment: &Attachment) -> Result<(), Stop> {
    let owner = format!("{}\r\n{}", attachment.container_id, attachment.ifname);
    let listed = attachment.result.as_ref().and_then(|result| result.get("ips")).and_then(Value::as_array);
    let mut names = vec!["file".to_owned(), "last_reserved_ip.0".to_owned()];
    names.extend(listed.into_iter().flatten().filter_map(|ip| {
        let address = ip.get("address").and_then(Value::as_str)?;
        Some(address.split('/').next()?.to_owned())
    }));
    for place in PLACES {
        for name in &names {
            case.write_file(&format!("{place}/{VICTIM}/{name}"), &owner, 0o600)?;
        }
        case.write_file(&format!("{place}/{VICTIM}.json"), "{}", 0o600)?;
    }
    Ok(())
}

// ---- arguments

/// What a command in CNI_ARGS would make.
const CAUGHT: &str = "/run/cnitest-caught";

fn arguments(case: &mut Case<'_>) -> Result<(), Stop> {
    let own = case.configuration.args.as_ref().map(|args| format!("{args};")).unwrap_or_default();
    let ignore = if own.contains("IgnoreUnknown") { "" } else { "IgnoreUnknown=1;" };
    let touch = format!("touch {CAUGHT}");
    let value = match case.variant {
        "shell commands" => format!("$({touch})`{touch}`|{touch}&{touch}\u{20}'\"#"),
        "slashes" => "a/b/../../../etc/passwd".to_owned(),
        "new lines" => format!("a\n{touch}\n\r\tb"),
        "format characters" => "%s%n%d{}{0}\\x00\\".to_owned(),
        _ => "a".repeat(100 << 10),
    };
    let args = format!("{own}{ignore}K8S_POD_NAME={value}");
    let label = format!("ADD with {} in CNI_ARGS", case.variant);
    let (answer, attachment) = changed_add(case, |call| call.set("CNI_ARGS", &args).label(label))?;
    expect_lives(case, &answer);
    if case.variant == "slashes" {
        case.expect_success(&answer, "param.args-ignoreunknown");
    }
    let deletion = case.call(Operation::Del, &attachment).set("CNI_ARGS", &args);
    let deleted = case.run(deletion.label(format!("DEL with {} in CNI_ARGS", case.variant)))?;
    expect_lives(case, &deleted);
    let executed = case.arena.read_file(CAUGHT).is_ok();
    let assertion = Assertion::Shell(format!("[ ! -e {CAUGHT} ]"));
    let expected = "no command in CNI_ARGS is executed";
    case.expect_as(!executed, "practice.paths-contained", expected, "one was executed", assertion);
    Ok(())
}

fn text(case: &mut Case<'_>) -> Result<(), Stop> {
    let variant = case.variant;
    let label = match variant {
        "1000 variables" => "ADD with 1000 variables of 1000 bytes".to_owned(),
        _ => format!("ADD with bytes that are no UTF-8 in {variant}"),
    };
    let (answer, _) = changed_add(case, |call| {
        let call = call.label(label);
        match variant {
            "1000 variables" => {
                let long = "x".repeat(1000);
                (0..1000).fold(call, |call, index| call.set(&format!("X_CNITEST_{index}"), &long))
            }
            "other variable" => call.after("export X_CNITEST=\"$(printf 'a\\377\\200b')\""),
            "CNI_ARGS" => call.after("export CNI_ARGS=\"$(printf 'IgnoreUnknown=1;A=\\377')\""),
            _ => call.after(&format!("export {variant}=\"${variant}$(printf '\\377\\200')\"")),
        }
    })?;
    expect_lives(case, &answer);
    if matches!(variant, "other variable" | "1000 variables") {
        case.expect_success(&answer, "exec.env-inherited");
    }
    Ok(())
}

// ---- values

fn odd_values(case: &mut Case<'_>) -> Result<(), Stop> {
    let (numbers, value): (bool, &str) = match case.variant {
        "2^53 + 1" => (true, "9007199254740993"),
        "2^64" => (true, "18446744073709551616"),
        "-1" => (true, "-1"),
        "1e3" => (true, "1e3"),
        "NUL byte" => (false, "\"a\\u0000b\""),
        "path" => (false, "\"../../x\""),
        _ => (false, ""),
    };
    let long = format!("\"{}\"", "a".repeat(100 << 10));
    let value = if value.is_empty() { long.as_str() } else { value };
    let known = case.configuration.plugin.iter();
    let fitting =
        known.filter(|(key, old)| *key != "type" && if numbers { old.is_number() } else { old.is_string() });
    let mut keys: Vec<String> = fitting.map(|(key, _)| key.clone()).collect();
    // Well-known numbers are tried where the plugin may know them, too.
    if numbers && keys.is_empty() {
        keys.push("mtu".to_owned());
    }
    if keys.is_empty() {
        return Err(Stop::skip("the configuration has no text of its own to replace".to_owned()));
    }
    for key in keys {
        let attachment = case.attachment()?;
        let label = format!("ADD with {} as {key}", case.variant);
        let call = case.call(Operation::Add, &attachment).label(label);
        let call = replaced(call, &key, value);
        let answer = case.run(call)?;
        let lives = answer.succeeded() || (answer.refused() && answer.error().is_some());
        let expected = format!("{} succeeds, or fails with an error object", answer.label);
        let assertion = Assertion::Lives(answer.index);
        case.expect_as(lives, "practice.odd-values", expected, answer.summary(), assertion);
        case.operate(Operation::Del, &attachment)?;
    }
    Ok(())
}

/// Puts a piece of JSON text, which need be no value that Rust could hold, in the place of a value.
fn replaced(call: Call, key: &str, text: &str) -> Call {
    const MARK: &str = "cnitest-replaced";
    let marked = call.edit(|request| drop(request.insert(key.to_owned(), json!(MARK))));
    let Stdin::Bytes(bytes) = &marked.stdin else { return marked };
    let whole = String::from_utf8_lossy(bytes).replace(&format!("\"{MARK}\""), text);
    marked.text(whole)
}

fn netns(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    let (path, shell) = match case.variant {
        "named pipe" => ("/run/cnitest-pipe", Some("mkfifo /run/cnitest-pipe")),
        "endless device" => ("/dev/zero", None),
        "symlink to itself" => ("/run/cnitest-loop", Some("ln -s cnitest-loop /run/cnitest-loop")),
        _ => ("/proc/self/fd/0", None),
    };
    let call = case.call(Operation::Add, &attachment).set("CNI_NETNS", path);
    let call = shell.iter().fold(call, |call, commands| call.after(commands));
    let answer = case.run(call.label(format!("ADD with a {} as CNI_NETNS", case.variant)))?;
    let hangs = matches!(answer.execution.outcome, Outcome::TimedOut { .. });
    let expected = format!("{} ends in time", answer.label);
    if !case.expect(!hangs, "practice.netns-no-hang", expected, answer.summary()) {
        return Ok(());
    }
    let why = format!("{path} is no network namespace");
    case.expect_refusal(&answer, "param.netns-invalid-add", &why);
    Ok(())
}

// ---- files

/// The files that came between two snapshots, but for logs and what the configuration names.
fn new_files(case: &Case<'_>, before: &Snapshot, after: &Snapshot) -> Vec<PathBuf> {
    let added: BTreeSet<String> = changes::judged(case, before, after)
        .into_iter()
        .filter(|line| line.starts_with("+ file "))
        .filter_map(|line| line.split_whitespace().nth(2).map(str::to_owned))
        .collect();
    let new = after.files.keys().filter(|path| !before.files.contains_key(*path));
    new.filter(|path| added.contains(&path.display().to_string())).cloned().collect()
}

fn state_files(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    let before = case.snapshot()?;
    let call = case.call(Operation::Add, &attachment).after("umask 0").label("ADD with umask 0");
    let answer = case.run(call)?;
    case.require_result(&answer)?;
    let after = case.snapshot()?;
    let files = new_files(case, &before, &after);
    if files.is_empty() {
        return Err(Stop::skip("ADD leaves no file".to_owned()));
    }
    for path in files {
        let Some(state) = after.files.get(&path) else { continue };
        let (forbidden, expected) = match state.kind {
            // An empty one, such as a lock, tells nobody anything.
            FileKind::File if state.size == 0 => (0o022, "nobody but its owner can write"),
            FileKind::File => (0o077, "nobody but its owner can read or write"),
            FileKind::Directory => (0o022, "nobody but its owner can write to"),
            _ => continue,
        };
        let shown = path.display();
        let observed = format!("{shown} has mode {:04o}", state.mode);
        let assertion =
            Assertion::Shell(format!("[ -z \"$(find '{shown}' -maxdepth 0 -perm /{forbidden:o})\" ]"));
        let expected = format!("{shown} is a {} that {expected}", state.kind);
        let private = state.mode & forbidden == 0;
        case.expect_as(private, "practice.state-files-private", expected, observed, assertion);
    }
    Ok(())
}

/// A text that occurs nowhere else.
const CANARY: &str = "cnitest-canary-7f3a9c";

fn secrets(case: &mut Case<'_>) -> Result<(), Stop> {
    let own = case.configuration.args.as_ref().map(|args| format!("{args};")).unwrap_or_default();
    let args = format!("{own}IgnoreUnknown=1;X_TOKEN={CANARY}");
    let hide = |call: Call| {
        call.set("CNI_ARGS", &args).edit(|request| {
            for key in ["runtimeConfig", "args"] {
                if let Value::Object(known) = request.entry(key).or_insert_with(|| json!({})) {
                    known.insert("x-cnitest-token".to_owned(), json!(CANARY));
                }
            }
        })
    };
    let attachment = case.attachment()?;
    let before = case.snapshot()?;
    let call = hide(case.call(Operation::Add, &attachment));
    let call = match case.variant {
        "failing ADD" => call.set("CNI_NETNS", "/run/netns/nonexistent"),
        _ => call,
    };
    let mut answer = case.run(call.label(format!("{} with a secret", case.variant)))?;
    match case.variant {
        "failing ADD" if !answer.refused() => {
            return Err(Stop::unmet(answer.summary()));
        }
        "failing ADD" => {}
        _ => case.require_result(&answer)?,
    }
    if case.variant == "DEL" {
        let call = hide(case.call(Operation::Del, &attachment)).label("DEL with a secret");
        answer = case.run(call)?;
    }
    let requirement = "practice.secrets-not-shown";
    for (stream, bytes) in [("stdout", &answer.execution.stdout), ("stderr", &answer.execution.stderr)] {
        let shown = String::from_utf8_lossy(bytes).contains(CANARY);
        let expected = format!("{stream} of {} lacks the secret", answer.label);
        let file =
            format!("/run/cnitest/{}.{}", answer.index, if stream == "stdout" { "out" } else { "err" });
        let assertion = Assertion::Shell(format!("! grep -q {CANARY} {file}"));
        case.expect_as(!shown, requirement, expected, format!("{stream} shows it"), assertion);
    }
    let after = case.snapshot()?;
    for path in new_files(case, &before, &after) {
        if after.files.get(&path).is_none_or(|state| state.kind != FileKind::File) {
            continue;
        }
        // A file that went away meanwhile holds nothing.
        let bytes = case.arena.read_file(&path).unwrap_or_default();
        let shown = String::from_utf8_lossy(&bytes).contains(CANARY);
        let name = path.display();
        let assertion = Assertion::Shell(format!("! grep -q {CANARY} '{name}'"));
        let expected = format!("{name} lacks the secret");
        case.expect_as(!shown, requirement, expected, format!("{name} holds it"), assertion);
    }
    Ok(())
}

fn torn_files(case: &mut Case<'_>) -> Result<(), Stop> {
    must_hold(case, "del.best-effort")?;
    let mut attachment = case.attachment()?;
    let before = case.snapshot()?;
    case.add(&mut attachment)?;
    let after = case.snapshot()?;
    let files: Vec<PathBuf> = new_files(case, &before, &after)
        .into_iter()
        .filter(|path| after.files.get(path).is_some_and(|state| state.kind == FileKind::File))
        .filter(|path| after.files.get(path).is_some_and(|state| state.size > 0))
        .collect();
    if files.is_empty() {
        return Err(Stop::skip("ADD writes no file".to_owned()));
    }
    for path in &files {
        case.write_file(&path.display().to_string(), "", 0o600)?;
    }
    let call = case.call(Operation::Del, &attachment).label("DEL after its files were emptied");
    let first = case.run(call.clone())?;
    // A complaint is in order, as long as it is one and not for ever.
    if !expect_lives(case, &first) || first.succeeded() {
        return Ok(());
    }
    let again = case.run(call.label("second DEL after its files were emptied"))?;
    expect_lives(case, &again);
    case.expect_success(&again, "del.best-effort");
    Ok(())
}

// ---- the host

fn router_advertisements(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    let before = case.snapshot()?;
    let mut attachment = attachment;
    case.add(&mut attachment)?;
    let after = case.snapshot()?;
    let mut looked = false;
    for name in cycle::new_host_links(&before, &after) {
        // What arrives at the port of a bridge is the bridge's.
        let is_port = after.host.link(&name).is_some_and(|link| link.master.is_some());
        let setting = |case: &mut Case<'_>, key: &str| {
            case.arena.sysctl(&Place::Host, &format!("net/ipv6/conf/{name}/{key}")).ok()
        };
        let Some(accepted) = setting(case, "accept_ra") else { continue };
        if is_port || setting(case, "disable_ipv6").as_deref() == Some("1") {
            continue;
        }
        looked = true;
        let forwarding = setting(case, "forwarding").unwrap_or_default();
        // 1 means: unless the host forwards.
        let takes = accepted == "2" || accepted == "1" && forwarding == "0";
        let observed = format!("{name} has accept_ra {accepted} and forwarding {forwarding}");
        let expected = format!("the host takes no router advertisement by {name}");
        case.expect(!takes, "practice.host-ignores-router-advertisements", expected, observed);
    }
    match looked {
        true => Ok(()),
        false => Err(Stop::skip("ADD makes no link on the host that takes part in IPv6".to_owned())),
    }
}

/// A chain that somebody else filled.
const OTHERS: &str = "CNITEST-OTHERS";

fn nat_order(case: &mut Case<'_>) -> Result<(), Stop> {
    if !case.arena.has_program("iptables")? {
        return Err(Stop::lacking("the program iptables is not installed".to_owned()));
    }
    let chains = ["PREROUTING", "OUTPUT"];
    let mut commands = vec![vec!["-N", OTHERS]];
    commands.extend(chains.map(|chain| vec!["-A", chain, "-j", OTHERS]));
    for arguments in commands {
        let argv: Vec<&str> = ["iptables", "-t", "nat"].into_iter().chain(arguments).collect();
        case.steps.push(Step::Shell(argv.join(" ")));
        let made = case.arena.run_tool(&argv)?;
        if !made.outcome.success() {
            return Err(Stop::skip(format!("{} fails here: {}", argv.join(" "), made.stderr_text().trim())));
        }
    }
    let mut attachment = case.attachment()?;
    case.add(&mut attachment)?;
    for chain in chains {
        let listed = case.arena.run_tool(&["iptables", "-t", "nat", "-S", chain])?.stdout_text();
        let first = listed.lines().find(|line| line.starts_with("-A")).unwrap_or("no rule").to_owned();
        let ours = format!("-A {chain} -j {OTHERS}");
        let expected = format!("the jump to {OTHERS} is still the first rule of nat {chain}");
        let assertion =
            Assertion::Shell(format!("[ \"$(iptables -t nat -S {chain} | grep -m 1 '^-A')\" = '{ours}' ]"));
        let observed = format!("the first rule is {first}");
        case.expect_as(first == ours, "practice.nat-rules-last", expected, observed, assertion);
    }
    Ok(())
}

/// Programs by which plugins ask for the state of the firewall.
pub(super) const TOOLS: [&str; 7] =
    ["iptables", "ip6tables", "iptables-save", "iptables-restore", "ip6tables-save", "nft", "ipset"];

fn odd_tools(case: &mut Case<'_>) -> Result<(), Stop> {
    cycle::settle(case)?;
    let mut attachment = case.attachment()?;
    let before = case.snapshot()?;
    case.add(&mut attachment)?;
    let body = match case.variant {
        "nothing" => "exit 0",
        "garbage" => "printf '\\377\\000-A\\n-A CNI\\n{\"nftables\": 5}\\n'; exit 0",
        _ => "echo 'Resource temporarily unavailable' >&2; exit 4",
    };
    let folder = "/run/cnitest-tools";
    let installed = case.variant != "not installed";
    for tool in TOOLS.iter().filter(|_| installed) {
        case.write_file(&format!("{folder}/{tool}"), &format!("#!/bin/sh\n{body}\n"), 0o755)?;
    }
    let call = case.call(Operation::Del, &attachment);
    let path = call.environment.get("PATH").cloned().unwrap_or_default();
    let (path, how) = match installed {
        true => (format!("{folder}:{path}"), format!("tools that answer {}", case.variant)),
        false => (folder.to_owned(), "tools that are not installed".to_owned()),
    };
    let answer = case.run(call.set("PATH", &path).label(format!("DEL with {how}")))?;
    let lives = expect_lives(case, &answer);
    if let Some(error) = answer.error().filter(|_| !answer.succeeded()) {
        let expected = format!("the error object of {} says what is wrong", answer.label);
        let assertion = Assertion::StdoutLacks(answer.index, "\"msg\":\"\"".to_owned());
        case.expect_as(!error.msg.trim().is_empty(), "error.msg", expected, "its msg is empty", assertion);
    }
    // Tools that lie cannot be seen through; of those that fail, a plugin has to tell.
    if lives && answer.succeeded() && matches!(case.variant, "status 4" | "not installed") {
        let after = case.snapshot()?;
        let what = format!("ADD, followed by a {} that succeeds,", answer.label);
        case.expect_unchanged(&before, &after, "add.host-state-restored-after-cycle", &what, |line| {
            !line.contains(" nftables ") && !line.contains(" iptables ")
        });
    }
    Ok(())
}

// ---- keys

fn keys_unique(case: &mut Case<'_>) -> Result<(), Stop> {
    let answer: Answer = match case.variant {
        "VERSION" => {
            let call = version_call(case);
            case.run(call)?
        }
        "refused ADD" => {
            let attachment = case.attachment()?;
            let call = case.call(Operation::Add, &attachment).unset("CNI_IFNAME").label("a refused ADD");
            case.run(call)?
        }
        _ if case.target.is_none_or(|target| target.no_attachments.is_some()) => {
            return Err(Stop::skip("it is not known how to attach containers with this plugin".to_owned()));
        }
        _ => {
            let mut attachment = case.attachment()?;
            case.add(&mut attachment)?
        }
    };
    if answer.document().is_none() {
        return Err(Stop::unmet(answer.summary()));
    }
    let twice = key_twice(&answer.execution.stdout);
    let observed = format!("{} prints the key {:?} twice", answer.label, twice.clone().unwrap_or_default());
    let expected = format!("no object that {} prints has a key twice", answer.label);
    case.expect(twice.is_none(), "practice.keys-unique", expected, observed);
    Ok(())
}

/// The first key that an object of a JSON text has twice. Text that is no JSON has none.
pub(super) fn key_twice(text: &[u8]) -> Option<String> {
    let mut found = None;
    let mut parser = serde_json::Deserializer::from_slice(text);
    // What follows a fault is not JSON: other checks say so.
    let _ = parser.deserialize_any(Keys(&mut found));
    found
}

/// Reads any value and keeps the first key that an object has twice.
struct Keys<'a>(&'a mut Option<String>);

impl<'de> serde::de::DeserializeSeed<'de> for Keys<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Keys(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if !seen.insert(key.clone()) && self.0.is_none() {
                *self.0 = Some(key);
            }
            entries.next_value_seed(Keys(self.0))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_there_twice_are_found_at_any_depth() {
        assert_eq!(key_twice(br#"{"a":1,"b":[{"c":{},"d":null,"c":1.5}],"a":2}"#), Some("c".to_owned()));
        assert_eq!(key_twice(br#"{"a":1,"a":2}"#), Some("a".to_owned()));
        assert_eq!(key_twice(br#"[{"a":-1},{"a":"x"},{"b":true}]"#), None);
        assert_eq!(key_twice(b"{\"a\":1,"), None);
        assert_eq!(key_twice(b"[".repeat(100_000).as_slice()), None);
    }

    #[test]
    fn any_text_can_replace_a_value() {
        let call = Call {
            label: String::new(),
            environment: Default::default(),
            stdin: Stdin::Bytes(b"{\"mtu\":1400}".to_vec()),
            arguments: Vec::new(),
            directory: PathBuf::from("/"),
            program: None,
            shell: None,
            killed_after: None,
        };
        let call = replaced(call, "mtu", "18446744073709551616");
        let Stdin::Bytes(bytes) = call.stdin else { panic!("stdin holds bytes") };
        assert_eq!(String::from_utf8_lossy(&bytes), "{\n  \"mtu\": 18446744073709551616\n}");
    }
}
