//! The JSON report.

use std::io;

use serde::Serialize;

use crate::model::RunSet;

/// Writes one run as an object of its own, any other number as the set; indented, with a newline at the end.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write(set: &RunSet, out: &mut dyn io::Write) -> io::Result<()> {
    match set.runs.as_slice() {
        [run] => document(run, out),
        _ => document(set, out),
    }
}

fn document(value: &impl Serialize, out: &mut dyn io::Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    out.write_all(b"\n")
}
