//! The comparison for a terminal.

use std::io;

use anstyle::AnsiColor;

use super::{Cell, Comparison, Contrast, Matrix, Row};
use crate::human::Style;
use crate::model::Verdict;
use crate::page::{BOLD, FAINT, PLAIN, Page, bold};
use crate::text::{clip, columns, count};

/// Characters of a cell.
const CELL: usize = 6;

/// Writes the comparison. Verbose shows the rows in which all is the same, too.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write(comparison: &Comparison<'_>, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let mut page = Page::new(style.width.max(60), style.color);
    for matrix in &comparison.matrices {
        page.gap();
        heading(&mut page, comparison, matrix);
        part(&mut page, matrix, Contrast::Verdict);
        part(&mut page, matrix, Contrast::Tested);
        same(&mut page, matrix, style.verbose);
    }
    alone(&mut page, comparison);
    page.gap();
    let differing: usize =
        comparison.matrices.iter().map(|matrix| matrix.of(Contrast::Verdict).count()).sum();
    page.paragraph(
        0,
        BOLD,
        &match differing {
            0 => "No requirement is decided differently.".to_owned(),
            1 => "1 requirement is decided differently.".to_owned(),
            more => format!("{more} requirements are decided differently."),
        },
    );
    out.write_all(page.into_text().as_bytes())
}

fn heading(page: &mut Page, comparison: &Comparison<'_>, matrix: &Matrix<'_>) {
    if let Some(name) = matrix.name {
        page.paragraph(0, BOLD, name);
    }
    for (number, index) in matrix.subjects.iter().enumerate() {
        let subject = &comparison.subjects[*index];
        let summary = subject.summary;
        let text = format!(
            "{}: {} pass, {} fail, {} warn, {} skip, {} error; CNI {}; {}",
            subject.label,
            summary.pass,
            summary.fail,
            summary.warn,
            summary.skip,
            summary.error,
            subject.supported_versions.join(", "),
            subject.file,
        );
        page.field(2, &format!("[{}]", number + 1), PLAIN, 7, &text);
    }
}

fn part(page: &mut Page, matrix: &Matrix<'_>, contrast: Contrast) {
    let rows: Vec<&Row<'_>> = matrix.of(contrast).collect();
    if rows.is_empty() {
        return;
    }
    page.gap();
    page.paragraph(0, BOLD, &format!("{}:", contrast.title()));
    numbers(page, matrix);
    for row in rows {
        line(page, row);
        for (number, cell) in row.cells.iter().enumerate().filter(|(_, cell)| !cell.reason.is_empty()) {
            // What is skipped everywhere for one reason need not be told of each.
            if contrast == Contrast::Verdict || cell.deviates() || cell.verdict == Some(Verdict::Skip) {
                let label = format!("[{}]", number + 1);
                let start = 2 + row.cells.len() * CELL;
                page.field(start, &label, FAINT, start + 5, &clip(&told(cell), 400));
            }
        }
    }
}

/// The reason, and the versions where that says something.
fn told(cell: &Cell<'_>) -> String {
    match cell.versions.is_empty() {
        true => cell.reason.clone(),
        false => format!("{} (CNI {})", cell.reason, cell.versions.join(", ")),
    }
}

fn numbers(page: &mut Page, matrix: &Matrix<'_>) {
    let heads: String =
        (1..=matrix.subjects.len()).map(|number| format!("{:<CELL$}", format!("[{number}]"))).collect();
    page.line(&format!("  {heads}"));
}

fn line(page: &mut Page, row: &Row<'_>) {
    let cells: String = row
        .cells
        .iter()
        .map(|cell| {
            let word = cell.word();
            let shown = if cell.deviates() { word.to_uppercase() } else { word.to_owned() };
            let gap = " ".repeat(CELL.saturating_sub(columns(&shown)));
            format!("{}{gap}", page.paint(style(cell), &shown))
        })
        .collect();
    let level = page.paint(FAINT, &row.level);
    page.line(&format!("  {cells}{} {level}", row.requirement));
}

fn style(cell: &Cell<'_>) -> anstyle::Style {
    match cell.verdict {
        Some(Verdict::Fail) => bold(AnsiColor::Red),
        Some(Verdict::Warn) => bold(AnsiColor::Yellow),
        Some(Verdict::Error) => bold(AnsiColor::Magenta),
        Some(Verdict::Pass) => AnsiColor::Green.on_default(),
        Some(Verdict::Skip) | None => FAINT,
    }
}

fn same(page: &mut Page, matrix: &Matrix<'_>, verbose: bool) {
    let rows: Vec<&Row<'_>> = matrix.of(Contrast::Same).collect();
    let deviating = || rows.iter().filter(|row| row.deviates());
    let number = |verdict: Verdict| {
        rows.iter().filter(|row| row.cells.iter().all(|cell| cell.verdict == Some(verdict))).count() as u64
    };
    page.gap();
    page.paragraph(
        0,
        BOLD,
        &format!(
            "{}: {}, of which {} pass, {} fail, {} warn and {} could be asked of none.",
            Contrast::Same.title(),
            count(rows.len() as u64, "requirement"),
            number(Verdict::Pass),
            number(Verdict::Fail),
            number(Verdict::Warn),
            rows.iter().filter(|row| !row.cells.iter().any(Cell::is_decided)).count(),
        ),
    );
    if verbose {
        numbers(page, matrix);
        rows.iter().for_each(|row| line(page, row));
    } else if deviating().next().is_some() {
        numbers(page, matrix);
        deviating().for_each(|row| line(page, row));
    }
}

fn alone(page: &mut Page, comparison: &Comparison<'_>) {
    if comparison.alone.is_empty() {
        return;
    }
    let names: Vec<String> = comparison
        .alone
        .iter()
        .map(|index| &comparison.subjects[*index])
        .map(|subject| format!("{} (only in {})", subject.label, subject.file))
        .collect();
    page.gap();
    page.field(0, "not compared", FAINT, 14, &names.join(", "));
}
