//! Writing a baseline.

use std::io;

use super::Baseline;

const HEAD: &str = "\
# Deviations that are known: `cnitest plugin --baseline` accepts them, and fails on any other.
# `--report baseline=FILE` writes this file again; a `reason = \"...\"` that you add is kept.
";

impl Baseline {
    /// Writes it as TOML: one entry for each case, sorted, so that two baselines can be compared with `diff`.
    ///
    /// # Errors
    /// When `out` cannot be written to.
    pub fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        out.write_all(HEAD.as_bytes())?;
        for entry in &self.entries {
            writeln!(out, "\n[[deviation]]")?;
            writeln!(out, "plugin = {}", text(&entry.plugin))?;
            writeln!(out, "check = {}", text(&entry.check))?;
            writeln!(out, "case = {}", text(&entry.case))?;
            if let Some(version) = &entry.spec_version {
                writeln!(out, "spec-version = {}", text(version))?;
            }
            writeln!(out, "verdict = {}", text(entry.verdict.as_str()))?;
            let ids: Vec<String> = entry.requirements.iter().map(|id| text(id)).collect();
            writeln!(out, "requirements = [{}]", ids.join(", "))?;
            if let Some(reason) = &entry.reason {
                writeln!(out, "reason = {}", text(reason))?;
            }
        }
        for one in &self.differences {
            writeln!(out, "\n[[difference]]")?;
            writeln!(out, "plugin = {}", text(&one.plugin))?;
            writeln!(out, "operation = {}", text(&one.operation))?;
            writeln!(out, "kind = {}", text(one.kind.as_str()))?;
            writeln!(out, "how = {}", text(&one.how))?;
            if let Some(reason) = &one.reason {
                writeln!(out, "reason = {}", text(reason))?;
            }
        }
        Ok(())
    }
}

/// A text as a basic string of TOML.
fn text(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out + "\""
}
