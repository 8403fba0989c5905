//! Reports that are read back: runs, summaries, baselines, judgements, certificates. They come from other machines.

use cni_spec::catalogue;
use cnitest_reports::baseline::{Baseline, Names};
use cnitest_reports::certificate::CertificateSet;
use cnitest_reports::judgement::Judgements;
use cnitest_reports::model::RunSet;
use cnitest_reports::{ReportKind, report as write};

fn names() -> (Vec<&'static str>, Vec<&'static str>) {
    let checks = cnitest::checks::all().map(|check| check.id).collect();
    (checks, catalogue::requirements().iter().map(|requirement| requirement.id).collect())
}

/// A run, a baseline or judgements. Whatever was read is written in every form, and what is read from that is the same.
pub fn report(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if text.trim_start().starts_with('{') {
        if let Ok(set) = RunSet::parse(text) {
            run(&set);
        }
        return;
    }
    let (checks, requirements) = names();
    let names = Names { checks: &checks, requirements: &requirements };
    if let Ok(baseline) = Baseline::parse(text, "fuzz", names) {
        let mut out = Vec::new();
        baseline.write(&mut out).expect("memory");
        let written = String::from_utf8(out).expect("a baseline is text");
        let again = Baseline::parse(&written, "again", names).expect("what we write parses");
        let mut twice = Vec::new();
        again.write(&mut twice).expect("memory");
        assert_eq!(written.as_bytes(), twice);
    }
    let _ = Judgements::parse("fuzz", text);
}

fn run(set: &RunSet) {
    for kind in ReportKind::ALL {
        let mut out = Vec::new();
        write(kind, set, &mut out).expect("memory");
        let written = String::from_utf8(out).expect("a report is text");
        if kind == ReportKind::Json && set.runs.len() == 1 {
            assert_eq!(&RunSet::parse(&written).expect("what we write parses"), set);
        }
    }
}

/// A certificate.
pub fn certificate(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(set) = CertificateSet::parse(text) else { return };
    let mut out = Vec::new();
    set.write(&mut out).expect("memory");
    let written = String::from_utf8(out).expect("a certificate is text");
    assert_eq!(CertificateSet::parse(&written).expect("what we write parses"), set);
}
