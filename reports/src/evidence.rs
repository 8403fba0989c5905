//! Evidence as text: what was expected, what happened, and what was executed, exactly.

use crate::model::{CaseResult, Evidence, ExecutionEvidence, Verdict};
use crate::page::{FAINT, Limit, Page};
use crate::text::{duration, indented};

/// Where labels of evidence begin.
const INDENT: usize = 6;
/// Where the texts behind them begin.
const COLUMN: usize = 16;

/// Which executions are shown in full, and how much of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// The execution that decided, down to what fits a screen; the others in a line each.
    Decisive,
    /// All of everything.
    Everything,
}

impl Detail {
    fn limit(self) -> Limit {
        match self {
            Detail::Decisive => Limit { lines: 40, columns: 400 },
            Detail::Everything => Limit { lines: usize::MAX, columns: usize::MAX },
        }
    }
}

/// The evidence of a result as plain text of at most 100 columns, but for what programs printed. Empty when there is
/// neither evidence nor reason.
pub fn text(result: &CaseResult) -> String {
    let mut page = Page::new(100, false);
    render(&mut page, result, Detail::Everything);
    page.into_text()
}

pub(crate) fn render(page: &mut Page, result: &CaseResult, detail: Detail) {
    match &result.evidence {
        Some(evidence) if !evidence.observed.is_empty() => {
            field(page, "expected", &evidence.expected);
            field(page, "happened", &evidence.observed);
            // A case that deviated and then could not be played to its end has grounds beyond what it observed.
            if result.verdict == Verdict::Error {
                field(page, "reason", &result.grounds().collect::<Vec<_>>().join("\n"));
            }
        }
        _ => field(page, "reason", &result.grounds().collect::<Vec<_>>().join("\n")),
    }
    result.notes().for_each(|note| field(page, "note", note));
    if let Some(evidence) = &result.evidence {
        executions(page, evidence, detail);
        difference(page, evidence, detail);
    }
}

pub(crate) fn field(page: &mut Page, label: &str, text: &str) {
    page.field(INDENT, label, FAINT, COLUMN, text);
}

fn executions(page: &mut Page, evidence: &Evidence, detail: Detail) {
    let decisive = decisive(evidence);
    for (index, execution) in evidence.executions.iter().enumerate() {
        let mut cost = format!("took {}", duration(execution.wall_ms));
        if execution.peak_rss_kib > 0 {
            cost += &format!(", cpu {}, {} KiB", duration(execution.cpu_ms), execution.peak_rss_kib);
        }
        field(page, "executed", &format!("{}: {} ({cost})", execution.label, execution.exit));
        if detail == Detail::Everything || Some(index) == decisive {
            exchange(page, execution, detail.limit());
        }
    }
}

/// The last execution that the observation names, otherwise the last one that the expectation names, otherwise the last one.
fn decisive(evidence: &Evidence) -> Option<usize> {
    let executions = &evidence.executions;
    let named = |text: &str| executions.iter().rposition(|execution| names(text, &execution.label));
    named(&evidence.observed).or_else(|| named(&evidence.expected)).or(executions.len().checked_sub(1))
}

/// Whether a text holds a label as a word of its own.
fn names(text: &str, label: &str) -> bool {
    let word = |c: char| c.is_alphanumeric();
    !label.is_empty()
        && text
            .match_indices(label)
            .any(|(at, found)| !text[..at].ends_with(word) && !text[at + found.len()..].starts_with(word))
}

fn exchange(page: &mut Page, execution: &ExecutionEvidence, limit: Limit) {
    block(page, "program", &execution.program, limit);
    let lines = execution.environment.iter().map(|(name, value)| format!("{name}={value}"));
    block(page, "environment", &lines.collect::<Vec<_>>().join("\n"), limit);
    block(page, "stdin", &indented(&execution.stdin), limit);
    block(page, "stdout", &output(&execution.stdout, execution.stdout_truncated), limit);
    block(page, "stderr", &output(&execution.stderr, execution.stderr_truncated), limit);
}

fn output(text: &str, truncated: bool) -> String {
    match truncated {
        true => format!("{}\n[cnitest kept no more than this]", text.trim_end_matches('\n')),
        false => indented(text),
    }
}

fn difference(page: &mut Page, evidence: &Evidence, detail: Detail) {
    if !evidence.kernel_difference.is_empty() {
        page.paragraph(INDENT, FAINT, "kernel difference (- before, + after)");
        page.verbatim(INDENT + 2, &evidence.kernel_difference.join("\n"), detail.limit());
    }
}

fn block(page: &mut Page, title: &str, text: &str, limit: Limit) {
    match text.is_empty() {
        true => page.paragraph(INDENT + 2, FAINT, &format!("{title}: empty")),
        false => {
            page.paragraph(INDENT + 2, FAINT, title);
            page.verbatim(INDENT + 4, text, limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execution(label: &str) -> ExecutionEvidence {
        ExecutionEvidence {
            label: label.to_owned(),
            program: "/bin/x".to_owned(),
            environment: Vec::new(),
            stdin: String::new(),
            exit: "exit status 0".to_owned(),
            stdout: String::new(),
            stderr: String::new(),
            stdout_truncated: false,
            stderr_truncated: false,
            wall_ms: 1.0,
            cpu_ms: 1.0,
            peak_rss_kib: 1,
        }
    }

    #[test]
    fn the_execution_that_the_observation_names_is_decisive() {
        let mut evidence = Evidence {
            expected: "success".to_owned(),
            observed: "the first DEL exit status 1; ADDED nothing".to_owned(),
            executions: ["ADD", "DEL", "CHECK"].map(execution).into(),
            kernel_difference: Vec::new(),
        };
        assert_eq!(decisive(&evidence), Some(1));
        evidence.observed = "eth0 stayed behind".to_owned();
        assert_eq!(decisive(&evidence), Some(2));
        evidence.executions.clear();
        assert_eq!(decisive(&evidence), None);
    }
}
