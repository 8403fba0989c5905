//! The reproducer: what a case did, as a shell script that needs no cnitest.
//!
//! The script makes namespaces of its own (`unshare`), repeats each step with `ip`, `env` and here-documents, and ends
//! with the assertion that the plugin failed. Where a request holds the result of an earlier ADD, the script puts the
//! hardware addresses and interface names of its own ADD in the place of those recorded.

use std::ffi::OsStr;
use std::fmt::Write as _;

use serde_json::Value;

use super::case::{Case, pretty};
use crate::invoke::{Invocation, Stdin};

/// One thing that a case did.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A container's namespace was made.
    AddNetns(String),
    /// A container's namespace was deleted.
    DeleteNetns(String),
    /// A command of `ip` or another tool.
    Shell(String),
    /// A file was written.
    File {
        /// Where.
        path: String,
        /// What.
        text: String,
        /// Permission bits.
        mode: u32,
    },
    /// The plugin was executed.
    Execute {
        /// The operation.
        label: String,
        /// How.
        invocation: Box<Invocation>,
    },
    /// The plugin was executed several times at the same moment.
    Together(Vec<(String, Invocation)>),
    /// The state of host and containers was looked at: the snapshot of this number.
    State(usize),
}

/// What a conformant plugin would have done, as a script can tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assertion {
    /// The execution of that index exits with status 0.
    Succeeds(usize),
    /// The execution exits with another status.
    Fails(usize),
    /// Its error object has one of these codes.
    Code(usize, Vec<u32>),
    /// It succeeds, or prints an error object: it does not fall over.
    Lives(usize),
    /// Its stdout holds this text, white space aside.
    StdoutHas(usize, String),
    /// Its stdout does not hold this text, white space aside.
    StdoutLacks(usize, String),
    /// Its stderr holds this text.
    StderrHas(usize, String),
    /// A file has this line.
    FileHas(String, String),
    /// A file does not exist, or lacks this line.
    FileLacks(String, String),
    /// It prints nothing on stdout.
    Silent(usize),
    /// A shell command succeeds.
    Shell(String),
    /// Two looks at the state do not differ by these lines.
    Unchanged {
        /// The number of the snapshot before.
        before: usize,
        /// The number of the snapshot after.
        after: usize,
        /// How they differ: the kinds and signs of the lines say what a script has to look at.
        lines: Vec<String>,
    },
}

/// stdout holds one JSON document: a text that begins as one, and no second one behind it.
pub(super) fn one_document(index: usize) -> Assertion {
    let stdout = format!("tr -d ' \\t\\n' </run/cnitest/{index}.out");
    Assertion::Shell(format!("{stdout} | grep -q '^[{{[].*[]}}]$' && ! {{ {stdout} | grep -Fq '}}{{'; }}"))
}

const PROLOGUE: &str = r#"set -u
if [ -z "${CNITEST_INSIDE-}" ]; then
    user=; [ "$(id -u)" = 0 ] || user='--user --map-root-user'
    CNITEST_INSIDE=1 exec unshare $user --net --mount --pid --ipc --uts --fork --mount-proc sh "$0" "$@"
fi
mount -t tmpfs tmpfs /run && mkdir -p /run/netns /run/cnitest && ip link set lo up
[ -d /var/lib/cni ] && mount -t tmpfs tmpfs /var/lib/cni || mount -t tmpfs tmpfs /var/lib
"#;

/// From so many lines on a script has its documents on one line each: one that fits a screen is read.
const LONG: usize = 60;

/// Writes the script for a case, ending in the assertion of its first and gravest deviation.
pub fn script(case: &Case<'_>, heading: &[String], assertion: Option<&Assertion>) -> String {
    let roomy = render(case, heading, assertion, false);
    if roomy.lines().count() < LONG { roomy } else { render(case, heading, assertion, true) }
}

/// The steps up to the last that the assertion looks at.
fn needed<'s>(steps: &'s [Step], assertion: Option<&Assertion>) -> &'s [Step] {
    let executions = |steps: &[Step]| -> usize {
        let of = |step: &Step| match step {
            Step::Execute { .. } => 1,
            Step::Together(all) => all.len(),
            _ => 0,
        };
        steps.iter().map(of).sum()
    };
    let end = match assertion {
        Some(
            Assertion::Succeeds(index)
            | Assertion::Fails(index)
            | Assertion::Code(index, _)
            | Assertion::Lives(index)
            | Assertion::StdoutHas(index, _)
            | Assertion::StdoutLacks(index, _)
            | Assertion::StderrHas(index, _)
            | Assertion::Silent(index),
        ) => (1..=steps.len()).find(|end| executions(&steps[..*end]) > *index),
        Some(Assertion::Unchanged { after, .. }) => {
            let is_last = |step: &Step| matches!(step, Step::State(number) if number == after);
            steps.iter().position(is_last).map(|place| place + 1)
        }
        _ => None,
    };
    &steps[..end.unwrap_or(steps.len())]
}

fn render(case: &Case<'_>, heading: &[String], assertion: Option<&Assertion>, tight: bool) -> String {
    let steps = needed(&case.steps, assertion);
    let mut out = String::from("#!/bin/sh\n");
    for line in heading {
        let _ = writeln!(out, "# {}", line.replace('\n', " "));
    }
    out.push_str("# Needs unshare, ip and mount; runs in namespaces of its own and leaves nothing. Usage: sh FILE [PLUGIN]\n");
    out.push_str(PROLOGUE);
    let _ = writeln!(out, "plugin=${{1:-{}}}", quote(&case.subject.program.display().to_string()));
    if let Some(other) = &case.subject.other {
        let _ = writeln!(
            out,
            "other=${{2:-{}}} # the other release",
            quote(&other.program.display().to_string())
        );
    }
    out.push_str(CALL);
    let looks = match assertion {
        Some(Assertion::Unchanged { before, after, lines }) => {
            out.push_str(&state_function(case, lines));
            vec![*before, *after]
        }
        _ => Vec::new(),
    };
    let renews = |invocation: &Invocation| !recorded_names(case, usize::MAX, invocation).is_empty();
    let any_renews = steps.iter().any(|step| match step {
        Step::Execute { invocation, .. } => renews(invocation),
        Step::Together(all) => all.iter().any(|(_, invocation)| renews(invocation)),
        _ => false,
    });
    if any_renews {
        out.push_str(RENEW);
    }
    let mut index = 0;
    for step in steps {
        match step {
            Step::AddNetns(name) => {
                let _ = writeln!(out, "ip netns add {name}");
            }
            Step::DeleteNetns(name) => {
                let _ = writeln!(out, "ip netns del {name}");
            }
            Step::Shell(command) => {
                let _ = writeln!(out, "{command}");
            }
            Step::File { path, text, mode } => file(&mut out, path, text, *mode),
            Step::State(number) if looks.contains(number) => {
                let _ = writeln!(out, "state >/run/cnitest/state.{number}");
            }
            Step::State(_) => {}
            Step::Execute { label, invocation } => {
                execute(&mut out, case, index, (label, invocation), "", tight);
                index += 1;
            }
            Step::Together(all) => {
                for (label, invocation) in all {
                    execute(&mut out, case, index, (label, invocation), " &", tight);
                    index += 1;
                }
                out.push_str("wait\n");
            }
        }
    }
    assertion_text(&mut out, assertion);
    out
}

/// A shell function that prints the parts of the state in which snapshots differ by these lines, a line each that begins
/// with the place. Namespaces that the case deletes are left out: all that was in them is gone anyhow.
fn state_function(case: &Case<'_>, lines: &[String]) -> String {
    let mentions =
        |words: &[&str]| lines.iter().any(|line| line.split(' ').any(|word| words.contains(&word)));
    let mut parts = Vec::new();
    if mentions(&["link", "address", "rule", "route", "neighbour"]) {
        parts.push("for what in link addr rule; do ip ${ns:+-n $ns} -o $what; done | sed 's/^[0-9]*: //; s/@if[0-9]*//; s/valid_lft.*//'");
        parts.push("ip ${ns:+-n $ns} route show table all");
        parts.push("ip ${ns:+-n $ns} -6 route show table all | grep -v 'proto kernel'");
    }
    if mentions(&["nftables", "iptables", "ipset"]) {
        parts.push("$run nft list ruleset 2>/dev/null | sed 's/packets [0-9]* bytes [0-9]*//'");
        parts.push("$run iptables-save 2>/dev/null | grep -v '^#' | sed 's/\\[[0-9:]*\\]//'");
        parts.push("$run ip6tables-save 2>/dev/null | grep -v '^#' | sed 's/\\[[0-9:]*\\]//'");
    }
    if mentions(&["qdisc", "filter"]) {
        parts.push("$run tc qdisc show | grep -v noqueue");
    }
    if mentions(&["fdb"]) {
        parts.push("$run bridge fdb show");
    }
    let sysctls: Vec<&str> =
        lines.iter().filter_map(|line| line.split(" sysctl ").nth(1)?.split(' ').next()).collect();
    let settings;
    if !sysctls.is_empty() {
        let names: Vec<String> = sysctls.iter().map(|name| quote(name)).collect();
        settings = format!(
            "for name in {}; do $run sh -c \"cd /proc/sys && grep -H . $name\" 2>/dev/null; done",
            names.join(" ")
        );
        parts.push(&settings);
    }
    let deleted = case.steps.iter().filter_map(|step| match step {
        Step::DeleteNetns(name) => Some(format!(" | grep -vx {name}")),
        _ => None,
    });
    let deleted: String = deleted.collect();
    let mut text = String::from("state() {\n");
    if !parts.is_empty() {
        let _ = writeln!(text, "    for ns in host $(ip netns list | cut -d' ' -f1 | sort{deleted}); do (");
        text.push_str("        place=$ns; run=\"ip netns exec $ns\"; [ \"$ns\" != host ] || { ns=; run=; }\n        {\n");
        for part in parts {
            let _ = writeln!(text, "            {part}");
        }
        text.push_str("        } | sed \"s/^/$place /\" )\n    done\n");
    }
    if mentions(&["file"]) {
        text.push_str("    find /run /var/lib /etc -xdev \\( -type f -o -type d \\) ! -path '/run/cnitest*' ! -path '/run/netns/c[0-9]*' 2>/dev/null | sort -u\n");
    }
    text.push_str("}\n");
    text
}

/// `call N LABEL COMMAND...` runs a command, tells what came of it and keeps that under a number; `status N` is its exit
/// status.
const CALL: &str = r#"status() { cat "/run/cnitest/$1.status"; }
call() {
    n=/run/cnitest/$1; label=$2; shift 2
    "$@" >"$n.out" 2>"$n.err"; echo $? >"$n.status"
    echo "== $label: exit status $(cat "$n.status")"; cat "$n.out" "$n.err"; echo
}
"#;

/// `renew N NAME...` reads a document and puts the names and addresses that execution N printed in the place of those that
/// it printed when it was recorded, in order.
const RENEW: &str = r#"renew() {
    n=$1; shift
    grep -oE '"(mac|name)": *"[^"]*"' "/run/cnitest/$n.out" | sed 's/^[^:]*: *"//; s/"$//' >"/run/cnitest/$n.names"
    printf '%s\n' "$@" | paste -d' ' - "/run/cnitest/$n.names" | sed 's/^\([^ ]*\) \(.*\)$/s|"\1"|"\2"|g/' >"/run/cnitest/$n.sed"
    sed -f "/run/cnitest/$n.sed"
}
"#;

fn file(out: &mut String, path: &str, text: &str, mode: u32) {
    let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
    let _ = writeln!(out, "mkdir -p {}; cat >{} <<'CNITEST_FILE'", quote(folder), quote(path));
    out.push_str(text);
    if !text.ends_with('\n') {
        out.push('\n');
    }
    let _ = writeln!(out, "CNITEST_FILE\nchmod {mode:o} {}", quote(path));
}

/// Writes the call of a plugin.
fn execute(
    out: &mut String,
    case: &Case<'_>,
    index: usize,
    (label, invocation): (&str, &Invocation),
    end: &str,
    tight: bool,
) {
    let mut call = format!("call {index} {}", quote(label));
    if invocation.timeout != case.subject.timeout {
        let _ = write!(call, " timeout -s KILL {:.6}", invocation.timeout.as_secs_f64());
    }
    call.push_str(" env -i");
    for (name, value) in &invocation.environment {
        let _ =
            write!(call, " {}", quote(&format!("{}={}", name.to_string_lossy(), value.to_string_lossy())));
    }
    for word in std::iter::once(invocation.program.as_os_str())
        .chain(invocation.args.iter().map(|argument| argument.as_os_str()))
    {
        let _ = write!(call, " {}", program(case, word));
    }
    let close = if invocation.working_directory.as_os_str() == "/" {
        ""
    } else {
        call = format!("(cd {} && {call}", quote(&invocation.working_directory.display().to_string()));
        ")"
    };
    let bytes = match &invocation.stdin {
        Stdin::Closed => return line(out, &format!("{call} <&-{close}{end}")),
        Stdin::Directory => return line(out, &format!("{call} </{close}{end}")),
        Stdin::OpenForever(bytes) => {
            let (pipe, content) = (format!("/run/cnitest/{index}.fifo"), pieces(bytes).join("; "));
            line(out, &format!("mkfifo {pipe}; {{ {content}; exec sleep 60; }} >{pipe} &"));
            return line(out, &format!("{call} <{pipe}{close}{end}"));
        }
        Stdin::Bytes(bytes) if !bytes.is_empty() => bytes,
        Stdin::Empty | Stdin::Bytes(_) => return line(out, &format!("{call} </dev/null{close}{end}")),
    };
    let Some(text) = plain(bytes) else {
        return line(out, &format!("{{ {}; }} | {call}{close}{end}", pieces(bytes).join("; ")));
    };
    let document = if tight { tightened(text) } else { text.to_owned() };
    let renewals = recorded_names(case, index, invocation);
    let renewals = renewals.iter().map(|(earlier, names)| format!("renew {earlier} {}", names.join(" ")));
    let mut commands: Vec<String> = renewals.chain([call]).collect();
    commands[0].push_str(" <<'CNITEST_STDIN'");
    line(out, &format!("{}{close}{end}", commands.join(" | ")));
    line(out, &format!("{document}\nCNITEST_STDIN"));
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// A word of a command; the plugin under test and the other release of it are named by their variables.
fn program(case: &Case<'_>, word: &OsStr) -> String {
    let other = case.subject.other.as_ref().map(|other| other.program.as_os_str());
    if word == case.subject.program.as_os_str() {
        "\"$plugin\"".to_owned()
    } else if Some(word) == other {
        "\"$other\"".to_owned()
    } else {
        quote(&word.to_string_lossy())
    }
}

/// The names and hardware addresses that executions before the `limit`-th printed, quoted and in order, where the request
/// repeats any of them in its prevResult.
fn recorded_names(case: &Case<'_>, limit: usize, invocation: &Invocation) -> Vec<(usize, Vec<String>)> {
    let Stdin::Bytes(bytes) = &invocation.stdin else { return Vec::new() };
    let request: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let Some(previous) = request.get("prevResult").map(Value::to_string) else { return Vec::new() };
    let earlier = case.executions.iter().enumerate().take(limit);
    let printed = earlier.filter(|(_, (_, answer))| {
        answer.document().is_some_and(|result| result.get("interfaces").is_some())
    });
    printed
        .map(|(index, (_, answer))| (index, names_in(&answer.execution.stdout_text())))
        .filter(|(_, names)| names.iter().any(|name| previous.contains(&format!("\"{name}\""))))
        .map(|(index, names)| (index, names.iter().map(|name| quote(name)).collect()))
        .collect()
}

/// The values of `"mac"` and `"name"` in a text, in order, as the script finds them.
fn names_in(text: &str) -> Vec<String> {
    let value = |rest: &str| {
        let rest = rest.strip_prefix("mac\"").or_else(|| rest.strip_prefix("name\""))?;
        let rest = rest.strip_prefix(':')?.trim_start_matches(' ').strip_prefix('"')?;
        Some(rest.split('"').next()?.to_owned())
    };
    text.match_indices('"').filter_map(|(at, _)| value(&text[at + 1..])).collect()
}

/// The text, if a here-document can hold it to the letter but for the last newline.
fn plain(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let fits = text.len() <= 16 * 1024
        && !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t')
        && !text.contains("CNITEST_STDIN")
        && !text.starts_with('\u{feff}');
    fits.then_some(text.trim_end_matches('\n'))
}

/// The text on one line, where it is a document as cnitest writes it: any other says something by how it is written.
fn tightened(text: &str) -> String {
    let document: Option<Value> = serde_json::from_str(text).ok();
    document
        .filter(|document| pretty(document) == text)
        .map_or_else(|| text.to_owned(), |one| one.to_string())
}

/// Shell commands that print the bytes: long runs of one byte are made by `tr`, the rest by `printf`.
fn pieces(bytes: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    let mut literal = String::new();
    let mut rest = bytes;
    while let Some(&byte) = rest.first() {
        let run = rest.iter().take_while(|next| **next == byte).count();
        if run >= 512 {
            if !literal.is_empty() {
                all.push(format!("printf '{literal}'"));
                literal.clear();
            }
            all.push(format!("head -c {run} /dev/zero | tr '\\0' '\\{byte:03o}'"));
            rest = &rest[run..];
        } else {
            match byte {
                b'%' => literal.push_str("%%"),
                b'\'' | b'\\' => {
                    let _ = write!(literal, "\\{byte:03o}");
                }
                b' '..=b'~' => literal.push(char::from(byte)),
                _ => {
                    let _ = write!(literal, "\\{byte:03o}");
                }
            }
            rest = &rest[1..];
        }
    }
    if !literal.is_empty() || all.is_empty() {
        all.push(format!("printf '{literal}'"));
    }
    all
}

fn assertion_text(out: &mut String, assertion: Option<&Assertion>) {
    let output = |index: &usize| format!("/run/cnitest/{index}.out");
    let printed = |index: &usize, text: &str| {
        let text: String = text.split_ascii_whitespace().collect();
        format!("tr -d ' \\t\\n' <{} | grep -Fq -e {}", output(index), quote(&text))
    };
    let condition = match assertion {
        Some(Assertion::Succeeds(index)) => format!("[ \"$(status {index})\" = 0 ]"),
        Some(Assertion::Fails(index)) => format!("[ \"$(status {index})\" != 0 ]"),
        Some(Assertion::Lives(index)) => {
            format!("[ \"$(status {index})\" = 0 ] || grep -q '\"code\"' {}", output(index))
        }
        Some(Assertion::Code(index, codes)) => {
            let codes: Vec<String> = codes.iter().map(u32::to_string).collect();
            format!("grep -Eq '\"code\": *({})([^0-9]|$)' {}", codes.join("|"), output(index))
        }
        Some(Assertion::StdoutHas(index, text)) => printed(index, text),
        Some(Assertion::StdoutLacks(index, text)) => format!("! {{ {}; }}", printed(index, text)),
        Some(Assertion::StderrHas(index, text)) => {
            format!("grep -Fq -e {} /run/cnitest/{index}.err", quote(text))
        }
        Some(Assertion::FileHas(path, line)) => format!("grep -Fxq -e {} {}", quote(line), quote(path)),
        Some(Assertion::FileLacks(path, line)) => {
            format!("! grep -Fxqs -e {} {}", quote(line), quote(path))
        }
        Some(Assertion::Silent(index)) => format!("[ -z \"$(tr -d ' \\t\\n' <{})\" ]", output(index)),
        Some(Assertion::Shell(command)) => command.clone(),
        Some(Assertion::Unchanged { before, after, lines }) => {
            // Only what came, or only what went, where the case judges nothing else.
            let all = |sign: &str| lines.iter().all(|line| line.starts_with(sign));
            let wanted = if all("+ ") {
                "^>"
            } else if all("- ") {
                "^<"
            } else {
                "^[<>]"
            };
            format!("! diff /run/cnitest/state.{before} /run/cnitest/state.{after} | grep '{wanted}'")
        }
        None => {
            out.push_str(
                "echo \"compare the output above with the expectation in the head of this script\"\n",
            );
            return;
        }
    };
    let _ = writeln!(
        out,
        "if {condition}; then echo 'PASS: not reproduced'; else echo 'FAIL: reproduced'; exit 1; fi"
    );
}

fn quote(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@+".contains(c);
    if !text.is_empty() && text.chars().all(safe) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_survives_the_shell() {
        for text in ["", "plain", "two words", "it's", "$x `y` \"z\" \\", "a\nb"] {
            let output = std::process::Command::new("/bin/sh")
                .args(["-c", &format!("printf %s {}", quote(text))])
                .output()
                .expect("sh runs");
            assert_eq!(String::from_utf8_lossy(&output.stdout), text);
        }
    }

    #[test]
    fn names_are_found_in_order() {
        let text = r#"{"interfaces":[{"name":"br0","mac": "02:00:00:00:00:01"},{"mac":"x","name":"eth0"}],"names":"no"}"#;
        assert_eq!(names_in(text), ["br0", "02:00:00:00:00:01", "x", "eth0"]);
    }

    #[test]
    fn odd_bytes_survive_the_shell() {
        let mut bytes = vec![b'a', 0, 0xff, b'%', b'\'', b'\\', b'\n'];
        bytes.extend(std::iter::repeat_n(b'[', 5000));
        bytes.extend(b"\xef\xbb\xbf end 7");
        let output = std::process::Command::new("/bin/sh")
            .args(["-c", &pieces(&bytes).join("; ")])
            .output()
            .expect("sh runs");
        assert_eq!(output.stdout, bytes);
    }
}
