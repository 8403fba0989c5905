//! A finding as text for an issue tracker.

use std::fmt::Write as _;

use cni_spec::catalogue;
use cnitest_reports::model::Run;

use super::Finding;

/// Markdown ready to be pasted: what is wrong, by which requirement, what was seen, and a script that shows it.
pub fn markdown(run: &Run, finding: &Finding) -> String {
    let result = &finding.result;
    let evidence = result.evidence.as_ref();
    let mut out = String::new();
    let requirement = catalogue::requirement(finding.cause.requirement);
    let _ = writeln!(out, "## {}: {}\n", run.subject.name, result.title);
    if let Some(requirement) = requirement {
        let _ =
            writeln!(out, "CNI {} ({}): {}\n", finding.scenario.version, result.level, requirement.statement);
    }
    if let Some(evidence) = evidence {
        let _ = writeln!(out, "- Expected: {}", evidence.expected);
        let _ = writeln!(out, "- Seen: {}\n", evidence.observed);
        if !evidence.kernel_difference.is_empty() {
            let lines: Vec<&str> = evidence.kernel_difference.iter().map(String::as_str).collect();
            let _ = writeln!(out, "What differs afterwards:\n\n```\n{}\n```\n", lines.join("\n"));
        }
        if let Some(last) = evidence.executions.last() {
            let stderr = last.stderr.trim();
            if !stderr.is_empty() {
                let shown: Vec<&str> = stderr.lines().take(20).collect();
                let _ = writeln!(out, "stderr of the last execution:\n\n```\n{}\n```\n", shown.join("\n"));
            }
        }
    }
    if let Some(script) = &result.reproducer {
        let _ = writeln!(
            out,
            "This script shows it; it needs `unshare`, `ip` and `mount`, runs in namespaces of its own and leaves \
             nothing:\n\n```sh\n{}\n```\n",
            script.trim_end()
        );
    }
    let _ = writeln!(
        out,
        "Found by cnitest {} with seed {}, plugin SHA-256 {}, kernel {} ({}).",
        run.tool.version, run.seed, run.subject.sha256, run.environment.kernel, run.environment.privilege
    );
    out
}
