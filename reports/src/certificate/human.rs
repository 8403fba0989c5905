//! Certificates, and what came of repeating them, for a person.

use std::fmt;
use std::io;

use anstyle::{AnsiColor, Style as Ansi};

use super::{Broken, Certificate, CertificateResult, Direction, Holds, Section, Status, Verification};
use crate::human::Style;
use crate::model::Verdict;
use crate::page::{BOLD, FAINT, PLAIN, Page, bold};
use crate::text::{clip, columns, count, some_of};

const COLUMN: usize = 13;
/// The widest status.
const WIDEST: usize = "passed as tested".len();
/// Where the names of sections begin.
const INDENT: usize = 2 + WIDEST + 2;
/// Items of a list that are named.
const NAMED: usize = 6;
/// The least width that is laid out for.
const NARROWEST: usize = 60;

impl fmt::Display for CertificateResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            CertificateResult::Conformant => "CONFORMANT",
            CertificateResult::ConformantAsTested => "CONFORMANT AS FAR AS TESTED",
            CertificateResult::NotConformant => "NOT CONFORMANT",
            CertificateResult::Undecided => "UNDECIDED",
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Status::Passed => "passed",
            Status::PassedAsTested => "passed as tested",
            Status::Partial => "partial",
            Status::Failed => "failed",
            Status::Unsupported => "unsupported",
            Status::Untested => "untested",
            Status::Undecided => "undecided",
        })
    }
}

/// Writes what a certificate says, and then, if it was repeated, what came of that.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write_human(
    certificate: &Certificate,
    verification: Option<&Verification>,
    style: &Style,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut page = Page::new(style.width.max(NARROWEST), style.color);
    claims(&mut page, certificate);
    if let Some(verification) = verification {
        repetition(&mut page, certificate, verification);
    }
    out.write_all(page.into_text().as_bytes())
}

fn claims(page: &mut Page, certificate: &Certificate) {
    let name = page.paint(BOLD, &clip(&certificate.subject.name, 40));
    let result = page.paint(result_style(certificate.result), &certificate.result.to_string());
    page.line(&format!("Certificate of {name}: {result}"));
    let mut field = |label: &str, text: &str| page.field(2, label, FAINT, COLUMN, text);
    field("profile", certificate.profile.as_deref().unwrap_or("unknown: no target says what the plugin is"));
    field(
        "versions",
        &match certificate.spec_versions.as_slice() {
            [] => "none".to_owned(),
            versions => format!("CNI {}", versions.join(", ")),
        },
    );
    field(
        "executable",
        &format!("{} (sha256 {})", certificate.subject.path, digest(&certificate.subject.sha256)),
    );
    field("made by", &made_by(certificate));
    field("on", &host(certificate));
    for limit in &certificate.limits {
        let checks: Vec<&str> = limit.checks.iter().map(String::as_str).collect();
        let cases = if limit.cases > 0 { format!("{}: ", count(limit.cases, "case")) } else { String::new() };
        let named =
            if checks.is_empty() { String::new() } else { format!(" ({})", some_of(&checks, NAMED, ", ")) };
        page.field(2, "not tested", FAINT, COLUMN, &format!("{cases}{}{named}", limit.reason));
    }
    page.gap();
    let widest = certificate.sections().map(|section| columns(&section.name)).max().unwrap_or(0).clamp(4, 24);
    for section in certificate.sections().filter(|section| section.status != Status::Unsupported) {
        let told =
            if section.name == certificate.core.name { &[] } else { certificate.core.deviations.as_slice() };
        line(page, section, widest, told);
    }
    let unsupported: Vec<&str> = certificate
        .sections()
        .filter(|section| section.status == Status::Unsupported)
        .map(|section| section.name.as_str())
        .collect();
    if !unsupported.is_empty() {
        page.field(2, "unsupported", FAINT, INDENT, &unsupported.join(", "));
    }
}

/// A section; deviations that were `told` already are only counted.
fn line(page: &mut Page, section: &Section, widest: usize, told: &[Broken]) {
    let status = page.paint(status_style(section.status), &format!("{:<WIDEST$}", section.status));
    let counts: Vec<String> = Verdict::ALL
        .into_iter()
        .filter(|verdict| section.summary.count(*verdict) > 0)
        .map(|verdict| format!("{} {verdict}", section.summary.count(verdict)))
        .collect();
    page.line(&format!("  {status}  {:<widest$}  {}", clip(&section.name, widest), counts.join("  ")));
    let is_told = |broken: &&Broken| {
        told.iter().any(|one| (&one.check, &one.requirement) == (&broken.check, &broken.requirement))
    };
    let (old, new): (Vec<&Broken>, Vec<&Broken>) = section.deviations.iter().partition(is_told);
    for broken in new {
        page.paragraph(INDENT, PLAIN, &deviation(broken));
    }
    if !old.is_empty() {
        page.paragraph(INDENT, FAINT, &format!("{} of the core", count(old.len() as u64, "deviation")));
    }
    if matches!(section.status, Status::Untested | Status::PassedAsTested) {
        for skipped in section.untested() {
            page.paragraph(INDENT, FAINT, &format!("{}: {}", count(skipped.cases, "case"), skipped.reason));
        }
    }
}

fn deviation(broken: &Broken) -> String {
    let versions = match broken.spec_versions.as_slice() {
        [] => String::new(),
        versions => format!(" in CNI {}", versions.join(", ")),
    };
    format!("{} {} {}{versions} ({})", broken.verdict, broken.level, broken.requirement, broken.check)
}

fn made_by(certificate: &Certificate) -> String {
    let options = &certificate.options;
    let mut text =
        format!("{} {}, seed {}", certificate.tool.name, certificate.tool.version, certificate.seed);
    if certificate.strict {
        text.push_str(", strict");
    }
    for (option, values) in
        [("--only", &options.only), ("--skip", &options.skip), ("--spec-version", &options.spec_versions)]
    {
        values.iter().for_each(|value| text.push_str(&format!(", {option} {value}")));
    }
    if let Some(target) = &options.target_file {
        text.push_str(&format!(", target file {}", target.file));
    }
    format!("{text}, {}", certificate.started)
}

fn host(certificate: &Certificate) -> String {
    let environment = &certificate.environment;
    let lacks = match environment.missing_features.as_slice() {
        [] => String::new(),
        missing => format!("; lacks {}", missing.join(", ")),
    };
    format!("Linux {} {}, as {}{lacks}", environment.kernel, environment.arch, environment.privilege)
}

fn digest(sha256: &str) -> &str {
    if sha256.is_empty() { "unknown" } else { sha256 }
}

fn repetition(page: &mut Page, certificate: &Certificate, verification: &Verification) {
    page.gap();
    let (before, now) = verification.result;
    page.line("Repeated:");
    let executable = match verification.same_executable {
        true => "the one that was certified",
        false if certificate.subject.sha256.is_empty() => "the certificate has no digest to compare with",
        false => "another one: its digest differs",
    };
    page.field(2, "executable", FAINT, COLUMN, executable);
    for circumstance in &verification.circumstances {
        page.field(2, "differs", FAINT, COLUMN, circumstance);
    }
    let result = match before == now {
        true => format!("{now}, as certified"),
        false => format!("{now}; certified was {before}"),
    };
    page.field(2, "result", FAINT, COLUMN, &result);
    page.gap();
    for change in &verification.changes {
        let (word, color) = match change.direction {
            Direction::Worse => ("WORSE", AnsiColor::Red),
            Direction::Unrepeated => ("OPEN", AnsiColor::Magenta),
            Direction::Better => ("BETTER", AnsiColor::Green),
        };
        page.field(0, word, bold(color), 7, &format!("{}: {}", change.section, change.what));
    }
    page.gap();
    let name = clip(&certificate.subject.name, 40);
    let better = verification.changes.iter().any(|change| change.direction == Direction::Better);
    let worse = verification.changes.iter().any(|change| change.direction == Direction::Worse);
    let text = match verification.holds {
        Holds::Yes if !verification.same_executable => {
            format!(
                "The certificate of {name} was for another executable; what it says holds for this one too."
            )
        }
        Holds::Yes if better => {
            format!("The certificate of {name} holds, and could be renewed: something is better.")
        }
        Holds::Yes => format!("The certificate of {name} holds."),
        Holds::No if !worse => format!(
            "The certificate of {name} does not hold: this is not the executable that was certified (`--other-build` \
             compares the behaviour alone)."
        ),
        Holds::No => format!("The certificate of {name} does not hold."),
        Holds::Undecided => {
            format!(
                "Whether the certificate of {name} holds is undecided: not everything could be repeated here."
            )
        }
    };
    page.paragraph(0, BOLD, &text);
}

fn result_style(result: CertificateResult) -> Ansi {
    bold(match result {
        CertificateResult::Conformant | CertificateResult::ConformantAsTested => AnsiColor::Green,
        CertificateResult::NotConformant => AnsiColor::Red,
        CertificateResult::Undecided => AnsiColor::Magenta,
    })
}

fn status_style(status: Status) -> Ansi {
    bold(match status {
        Status::Passed | Status::PassedAsTested => AnsiColor::Green,
        Status::Partial => AnsiColor::Yellow,
        Status::Failed => AnsiColor::Red,
        Status::Unsupported | Status::Untested => AnsiColor::Blue,
        Status::Undecided => AnsiColor::Magenta,
    })
}
