//! The comparison as Markdown.

use std::io;

use super::{Comparison, Contrast, Matrix, Row, SUBJECT};
use crate::evidence;
use crate::markdown::escape::{block, cell, code, prose};

/// Writes the comparison: the matrix, then the evidence that its cells link to.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write(comparison: &Comparison<'_>, out: &mut dyn io::Write) -> io::Result<()> {
    subjects(comparison, out)?;
    for (number, matrix) in comparison.matrices.iter().enumerate() {
        if let Some(name) = matrix.name {
            writeln!(out, "\n# {}", prose(name))?;
        }
        for contrast in Contrast::ALL {
            table(comparison, matrix, number, contrast, out)?;
        }
    }
    for (number, matrix) in comparison.matrices.iter().enumerate() {
        details(comparison, matrix, number, out)?;
    }
    Ok(())
}

fn subjects(comparison: &Comparison<'_>, out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(out, "| {} |", SUBJECT.join(" | "))?;
    writeln!(out, "|{}", " --- |".repeat(SUBJECT.len()))?;
    for subject in &comparison.subjects {
        let summary = subject.summary;
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            cell(&prose(&subject.label)),
            cell(&prose(subject.kind)),
            cell(&prose(&subject.supported_versions.join(", "))),
            summary.pass,
            summary.fail,
            summary.warn,
            summary.skip,
            summary.error,
            cell(&code(subject.file)),
        )?;
    }
    Ok(())
}

fn table(
    comparison: &Comparison<'_>,
    matrix: &Matrix<'_>,
    number: usize,
    contrast: Contrast,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let rows: Vec<&Row<'_>> = matrix.of(contrast).collect();
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n## {}\n", contrast.title())?;
    let labels = matrix.subjects.iter().map(|index| cell(&prose(&comparison.subjects[*index].label)));
    writeln!(out, "| requirement | level | {} |", labels.collect::<Vec<_>>().join(" | "))?;
    writeln!(out, "| --- | --- |{}", " --- |".repeat(matrix.subjects.len()))?;
    for row in rows {
        let cells = row.cells.iter().enumerate().map(|(column, found)| match found.deviates() {
            true => format!("[**{}**](#{})", found.word(), anchor(number, row, column)),
            false => found.word().to_owned(),
        });
        let cells = cells.collect::<Vec<_>>().join(" | ");
        writeln!(out, "| {} | {} | {cells} |", code(row.requirement), row.level)?;
    }
    Ok(())
}

/// Names a cell in the page.
pub(super) fn anchor(matrix: usize, row: &Row<'_>, column: usize) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let id: String = row.requirement.chars().map(plain).collect();
    format!("m{matrix}-{id}-s{column}")
}

fn details(
    comparison: &Comparison<'_>,
    matrix: &Matrix<'_>,
    number: usize,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let rows: Vec<&Row<'_>> = matrix.rows.iter().filter(|row| row.deviates()).collect();
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n## Evidence{}",
        matrix.name.map_or_else(String::new, |name| format!(": {}", prose(name)))
    )?;
    for row in rows {
        writeln!(out, "\n### {}\n\n{} {}", code(row.requirement), row.level, prose(row.statement))?;
        for (column, found) in row.deviating() {
            let label = &comparison.subjects[matrix.subjects[column]].label;
            let name = anchor(number, row, column);
            write!(out, "\n<a id=\"{name}\"></a>\n**{}**: {}", prose(label), found.word())?;
            if !found.versions.is_empty() {
                write!(out, " in CNI {}", prose(&found.versions.join(", ")))?;
            }
            let first = found.evidence.first().map_or("", String::as_str);
            match found.evidence.len() {
                0 | 1 => writeln!(out, " ({})", code(first))?,
                more => writeln!(out, " ({} and {} more)", code(first), more - 1)?,
            }
            if let Some(result) = found.shown {
                writeln!(out, "\n{}", block(&evidence::text(result)))?;
            }
        }
    }
    Ok(())
}
