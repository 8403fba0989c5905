//! The comparison as one HTML page, which needs nothing else: no script, no style sheet, no image.

use std::io;

use super::markdown::anchor;
use super::{Cell, Comparison, Contrast, Matrix, Row, SUBJECT};
use crate::evidence;
use crate::text::unmarked as text;

const STYLE: &str = "body{font:14px/1.4 system-ui,sans-serif;margin:2em;color:#222;background:#fff}\
table{border-collapse:collapse;margin:1em 0}th,td{border:1px solid #ccc;padding:.2em .6em;text-align:left;vertical-align:top}\
thead th{position:sticky;top:0;background:#f4f4f4}td.pass{background:#e6f4e6}td.fail{background:#f8d7d7;font-weight:bold}\
td.warn{background:#fdf1cf}td.error{background:#ecd9f2}td.skip,td.none{color:#888}pre{overflow:auto;background:#f7f7f7;padding:.6em}\
summary{cursor:pointer}:target{outline:2px solid #36c}";

/// Writes the page.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write(comparison: &Comparison<'_>, out: &mut dyn io::Write) -> io::Result<()> {
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>cnitest: comparison</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>Comparison</h1>\n"
    )?;
    subjects(comparison, out)?;
    for (number, matrix) in comparison.matrices.iter().enumerate() {
        if let Some(name) = matrix.name {
            writeln!(out, "<h2>{}</h2>", text(name))?;
        }
        for contrast in Contrast::ALL {
            table(comparison, matrix, number, contrast, out)?;
        }
    }
    writeln!(out, "<h2>Evidence</h2>")?;
    for (number, matrix) in comparison.matrices.iter().enumerate() {
        details(comparison, matrix, number, out)?;
    }
    writeln!(out, "</body>\n</html>")
}

fn subjects(comparison: &Comparison<'_>, out: &mut dyn io::Write) -> io::Result<()> {
    write!(out, "<table>\n<thead><tr>")?;
    for head in SUBJECT {
        write!(out, "<th>{head}</th>")?;
    }
    writeln!(out, "</tr></thead>")?;
    for subject in &comparison.subjects {
        let summary = subject.summary;
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td><a href=\"{}\">{}</a></td></tr>",
            text(&subject.label),
            text(subject.kind),
            text(&subject.supported_versions.join(", ")),
            summary.pass,
            summary.fail,
            summary.warn,
            summary.skip,
            summary.error,
            address(subject.file),
            text(subject.file),
        )?;
    }
    writeln!(out, "</table>")
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
    write!(
        out,
        "<h3>{} ({})</h3>\n<table>\n<thead><tr><th>requirement</th><th>level</th>",
        contrast.title(),
        rows.len()
    )?;
    for index in &matrix.subjects {
        write!(out, "<th>{}</th>", text(&comparison.subjects[*index].label))?;
    }
    writeln!(out, "</tr></thead>")?;
    for row in rows {
        let statement = text(row.statement);
        write!(
            out,
            "<tr><td title=\"{statement}\">{}</td><td>{}</td>",
            text(row.requirement),
            text(&row.level)
        )?;
        for (column, found) in row.cells.iter().enumerate() {
            data(number, row, column, found, out)?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</table>")
}

fn data(
    matrix: usize,
    row: &Row<'_>,
    column: usize,
    found: &Cell<'_>,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let class = found.verdict.map_or("none", |verdict| verdict.as_str());
    write!(out, "<td class=\"{class}\" title=\"{}\">", text(&found.reason))?;
    match found.deviates() {
        true => write!(out, "<a href=\"#{}\">{}</a></td>", anchor(matrix, row, column), found.word()),
        false => write!(out, "{}</td>", found.word()),
    }
}

fn details(
    comparison: &Comparison<'_>,
    matrix: &Matrix<'_>,
    number: usize,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    for row in matrix.rows.iter().filter(|row| row.deviates()) {
        writeln!(
            out,
            "<h3>{}</h3>\n<p>{} {}</p>",
            text(row.requirement),
            text(&row.level),
            text(row.statement)
        )?;
        for (column, found) in row.deviating() {
            let label = &comparison.subjects[matrix.subjects[column]].label;
            // Open: a browser does not open what a link leads to.
            write!(
                out,
                "<details open id=\"{}\"><summary>{}: {} {}</summary>",
                anchor(number, row, column),
                text(label),
                found.word(),
                text(&found.versions.join(", ")),
            )?;
            for pointer in &found.evidence {
                write!(out, "<div><a href=\"{}\">{}</a></div>", address(pointer), text(pointer))?;
            }
            if let Some(result) = found.shown {
                write!(out, "<pre>{}</pre>", text(&evidence::text(result)))?;
            }
            writeln!(out, "</details>")?;
        }
    }
    Ok(())
}

/// A file and a place in it as an address: relative to the page, whatever the file is called.
fn address(file: &str) -> String {
    let (path, place) = match file.split_once("#/") {
        Some((path, place)) => (path, format!("#/{place}")),
        None => (file, String::new()),
    };
    let mut out = String::new();
    if !path.starts_with(['/', '.']) {
        out.push_str("./");
    }
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                out.push(byte.into())
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out + &text(&place)
}
