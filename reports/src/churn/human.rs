//! The table for a person.

use std::io;

use anstyle::{AnsiColor, Style as Ansi};

use super::compare::{Comparison, Figure};
use super::statistics::Estimate;
use super::{ChurnRun, Distribution, Growth, GrowthPoint, Load, Quiet, Soak, Timing};
use crate::human::Style;
use crate::page::{BOLD, FAINT, PLAIN, Page, bold};
use crate::text::{clip, columns, count, duration};

/// Kinds of failure and of leak that are shown; the JSON has all.
const SHOWN: usize = 10;
/// Where figures begin.
const FIELD: usize = 16;

/// Writes a run.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write(run: &ChurnRun, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let mut page = Page::new(style.width.max(60), style.color);
    head(&mut page, run);
    if let Some(load) = &run.load {
        self::load(&mut page, load);
    }
    if let Some(growth) = &run.growth {
        self::growth(&mut page, growth);
    }
    if let Some(soak) = &run.soak {
        self::soak(&mut page, soak);
    }
    quiet(&mut page, &run.quiet);
    troubles(&mut page, run);
    out.write_all(page.into_text().as_bytes())
}

fn head(page: &mut Page, run: &ChurnRun) {
    let whose = run.subject.plugin_dir.as_deref().unwrap_or("bundled");
    let names: Vec<&str> = run
        .subject
        .plugins
        .iter()
        .filter(|plugin| !plugin.delegated)
        .map(|plugin| plugin.name.as_str())
        .collect();
    let delegated: Vec<&str> = run
        .subject
        .plugins
        .iter()
        .filter(|plugin| plugin.delegated)
        .map(|plugin| plugin.name.as_str())
        .collect();
    let mut chain = names.join(", ");
    if !delegated.is_empty() {
        chain += &format!(" (delegating to {})", delegated.join(", "));
    }
    page.field(0, "plugins", BOLD, FIELD, &format!("{chain}: {whose}"));
    let networks = count(run.subject.networks.len() as u64, "network");
    page.field(
        0,
        "configuration",
        BOLD,
        FIELD,
        &format!("{}, {networks}, CNI {}", run.subject.configuration, run.subject.spec_version),
    );
    let machine = &run.environment;
    let mut text =
        format!("{} on {}, kernel {}", count(machine.processors, "processor"), machine.arch, machine.kernel);
    if let Some(load) = machine.load_average.filter(|load| *load >= 0.5) {
        text += &format!("; the machine was not quiet: load average {load:.1} before the run");
    }
    page.field(0, "machine", BOLD, FIELD, &text);
}

/// Lays out a table: the first column to the left, the others to the right.
fn table(page: &mut Page, heads: &[&str], rows: &[Vec<String>]) {
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| columns(cell));
            cells.max().unwrap_or(0).max(columns(heads[column]))
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::from("  ");
        for (column, cell) in cells.enumerate() {
            let room = " ".repeat(widths[column].saturating_sub(columns(cell)));
            text += &if column == 0 { format!("{cell}{room}") } else { format!("  {room}{cell}") };
        }
        text
    };
    let head = page.paint(FAINT, &line(&mut heads.iter().copied()));
    page.line(&head);
    for row in rows {
        page.line(&line(&mut row.iter().map(String::as_str)));
    }
}

fn micros(us: f64) -> String {
    match us {
        us if us < 9_995.0 => format!("{:.2} ms", us / 1000.0),
        us => duration(us / 1000.0),
    }
}

fn load(page: &mut Page, load: &Load) {
    page.gap();
    page.line(&page.paint(BOLD, "coming and going"));
    let elapsed = duration(load.elapsed_ms);
    page.paragraph(
        2,
        PLAIN,
        &format!(
            "{} came and went in {elapsed}: {:.1} in a second; {} executions, at most {} at a time, at most {} there at a time",
            count(load.attachments, "attachment"),
            load.throughput,
            load.executions,
            load.most_at_once,
            load.most_attached
        ),
    );
    page.gap();
    let row = |title: String, times: &Distribution, cpu: Option<&Distribution>, failed: u64| {
        let at = |us: u64| micros(us as f64);
        vec![
            title,
            times.count.to_string(),
            at(times.p50_us),
            at(times.p90_us),
            at(times.p99_us),
            at(times.p999_us),
            at(times.max_us),
            cpu.map_or_else(|| "-".to_owned(), |cpu| micros(cpu.mean_us)),
            failed.to_string(),
        ]
    };
    let rows = |timings: &[Timing]| -> Vec<Vec<String>> {
        timings
            .iter()
            .flat_map(|timing| {
                let own = row(timing.title(), &timing.latency, Some(&timing.cpu), timing.failed);
                let response = timing
                    .response
                    .as_ref()
                    .map(|times| row(format!("{} with waiting", timing.title()), times, None, timing.failed));
                [own].into_iter().chain(response)
            })
            .collect()
    };
    let mut all = rows(&load.operations);
    all.extend(rows(&load.plugins));
    table(page, &["", "count", "50 %", "90 %", "99 %", "99.9 %", "longest", "CPU", "failed"], &all);
}

fn estimate(estimate: &Estimate) -> String {
    format!("{:.2} ({:.2} to {:.2})", estimate.value, estimate.low, estimate.high)
}

fn growth(page: &mut Page, growth: &Growth) {
    page.gap();
    page.line(&page.paint(BOLD, "one more among ever more"));
    let row = |point: &GrowthPoint| {
        vec![
            point.operation.clone(),
            point.attachments.to_string(),
            micros(point.latency.p50_us as f64),
            estimate(&point.latency_ratio),
            micros(point.cpu.p50_us as f64),
            estimate(&point.cpu_ratio),
        ]
    };
    for operation in ["ADD", "DEL"] {
        let rows: Vec<Vec<String>> =
            growth.points.iter().filter(|point| point.operation == operation).map(row).collect();
        if !rows.is_empty() {
            table(
                page,
                &["", "among", "latency", "times that of one alone", "CPU", "times that of one alone"],
                &rows,
            );
        }
    }
    page.gap();
    for fit in &growth.fits {
        let text = format!(
            "grows with the power {} of the number of attachments (0: not at all, 1: in proportion)",
            estimate(&fit.exponent)
        );
        page.field(2, &format!("{} {}", fit.operation, fit.cost), PLAIN, FIELD, &text);
    }
    if let Some(ended) = &growth.ended {
        page.field(2, "ended early", bold(AnsiColor::Yellow), FIELD, ended);
    }
}

fn soak(page: &mut Page, soak: &Soak) {
    page.gap();
    page.line(&page.paint(BOLD, "over time"));
    let rows: Vec<Vec<String>> = soak
        .windows
        .iter()
        .map(|window| {
            vec![
                duration(window.start_ms),
                window.attachments.to_string(),
                micros(window.add_p50_us as f64),
                micros(window.add_p99_us as f64),
                micros(window.del_p50_us as f64),
                micros(window.cpu_us),
                window.held.links.to_string(),
                window.held.rules.to_string(),
                window.held.files.to_string(),
            ]
        })
        .collect();
    let heads = ["from", "count", "ADD 50 %", "ADD 99 %", "DEL 50 %", "CPU", "links", "rules", "files"];
    table(page, &heads, &rows);
    page.gap();
    let percent = |share: f64| format!("{:+.1} %", share * 100.0);
    for drift in &soak.drifts {
        let change = &drift.change;
        let text = format!(
            "{} from the first window to the last ({} to {})",
            percent(change.value),
            percent(change.low),
            percent(change.high)
        );
        let style = if drift.grows { bold(AnsiColor::Yellow) } else { PLAIN };
        page.field(2, &drift.figure, style, FIELD, &text);
    }
}

fn quiet(page: &mut Page, quiet: &[Quiet]) {
    page.gap();
    page.line(&page.paint(BOLD, "one after another, nothing else going on"));
    let row = |one: &Quiet| {
        let name = format!("{} {}", one.plugin, one.operation);
        vec![
            if one.delegated { format!("{name}, delegated") } else { name },
            micros(one.latency.p50_us as f64),
            micros(one.cpu.p50_us as f64),
            kib(one.peak_kib),
            kib(one.private_kib),
        ]
    };
    table(page, &["", "latency", "CPU", "memory", "its own"], &quiet.iter().map(row).collect::<Vec<_>>());
}

/// Memory, which is not known where nobody may look at a process.
fn kib(kib: u64) -> String {
    match kib {
        0 => "unknown".to_owned(),
        kib => format!("{kib} KiB"),
    }
}

fn troubles(page: &mut Page, run: &ChurnRun) {
    page.gap();
    let red = bold(AnsiColor::Red);
    for failure in run.failures.iter().take(SHOWN) {
        let label = format!("{} {} failed", failure.plugin, failure.operation);
        page.field(0, &label, red, FIELD, &format!("{}: {}", times(failure.count), clip(&failure.what, 400)));
    }
    more(page, run.failures.len(), "kinds of failure");
    for leak in run.leaks.kinds.iter().take(SHOWN) {
        page.field(0, "left", red, FIELD, &format!("{}: {}", times(leak.count), leak.example));
    }
    more(page, run.leaks.kinds.len(), "kinds of leak");
    for change in run.leaks.changed.iter().take(SHOWN) {
        page.field(0, "changed", FAINT, FIELD, change);
    }
    more(page, run.leaks.changed.len(), "changes");
    for example in &run.duplicates.examples {
        page.field(0, "twice", red, FIELD, example);
    }
    if let Some(first) = run.failures.first() {
        page.gap();
        page.line(&page.paint(BOLD, "the first of the most frequent failures"));
        let execution = &first.first;
        page.field(2, "executed", PLAIN, FIELD, &format!("{}: {}", execution.program, execution.exit));
        let variables: Vec<String> =
            execution.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        page.field(2, "environment", PLAIN, FIELD, &variables.join(" "));
        for (label, text) in
            [("stdin", &execution.stdin), ("stdout", &execution.stdout), ("stderr", &execution.stderr)]
        {
            if !text.is_empty() {
                page.field(2, label, PLAIN, FIELD, &clip(text, 2000));
            }
        }
    }
    page.gap();
    let (style, word): (Ansi, _) = match run.clean {
        true => (bold(AnsiColor::Green), "clean"),
        false => (red, "not clean"),
    };
    page.field(
        0,
        word,
        style,
        0,
        &format!(
            "{}, {}, {} at the same time",
            count(run.failed(), "failure"),
            count(run.leaks.count, "leak"),
            match run.duplicates.count {
                0 => "no address twice".to_owned(),
                many => format!("addresses twice: {many},"),
            }
        ),
    );
}

fn times(number: u64) -> String {
    if number == 1 { "once".to_owned() } else { format!("{number} times") }
}

fn more(page: &mut Page, all: usize, what: &str) {
    if all > SHOWN {
        page.paragraph(0, FAINT, &format!("and {} more {what}; the JSON has all", all - SHOWN));
    }
}

/// Writes a comparison.
///
/// # Errors
/// When `out` cannot be written to.
pub fn compare(comparison: &Comparison, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let mut page = Page::new(style.width.max(60), style.color);
    page.line(&page.paint(BOLD, "compared"));
    let row = |figure: &Figure| {
        vec![
            figure.title.clone(),
            figure.before.clone(),
            figure.after.clone(),
            figure.ratio.as_ref().map_or_else(|| "-".to_owned(), estimate),
            if figure.regression { "slower".to_owned() } else { String::new() },
        ]
    };
    let rows: Vec<Vec<String>> = comparison.figures.iter().map(row).collect();
    table(&mut page, &["", "before", "after", "ratio", ""], &rows);
    for note in &comparison.notes {
        page.paragraph(2, FAINT, note);
    }
    page.gap();
    let threshold = format!("{:.0} %", comparison.threshold * 100.0);
    let (style, text) = match comparison.regressions() {
        0 => (bold(AnsiColor::Green), format!("nothing is more than {threshold} worse beyond doubt")),
        many => (
            bold(AnsiColor::Red),
            format!("{} worse by more than {threshold} beyond doubt", count(many as u64, "figure")),
        ),
    };
    page.paragraph(0, style, &text);
    out.write_all(page.into_text().as_bytes())
}
