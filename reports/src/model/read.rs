//! Reading a report back.

use serde_json::Value;

use super::{CaseResult, Outcome, REPORT_VERSION, Run, RunSet, Summary, Verdict};

/// Why a text is not a report that can be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not JSON, or JSON of another shape.
    #[error("not a report of cnitest: {0}; write one with `--report json=FILE`")]
    Shape(#[from] serde_json::Error),
    /// A format that this release does not know.
    #[error(
        "the report has reportVersion {found}, but this release reads {REPORT_VERSION:?}; use the cnitest that wrote it"
    )]
    Version {
        /// What the report says, as JSON.
        found: String,
    },
    /// The totals contradict the results.
    #[error(
        "the run of {subject:?} has a summary or verdict that does not follow from its results; take the report as cnitest wrote it"
    )]
    Inconsistent {
        /// Name of the subject.
        subject: String,
    },
}

impl RunSet {
    /// Reads a JSON report: a single run, which becomes a set of one, or a set.
    ///
    /// # Errors
    /// When the text is no report, is of another format version, or contradicts itself.
    pub fn parse(text: &str) -> Result<RunSet, ReadError> {
        let value: Value = serde_json::from_str(text)?;
        require_version(&value)?;
        let set = match value.get("runs") {
            Some(_) => serde_json::from_value(value)?,
            None => RunSet::new(vec![serde_json::from_value(value)?]),
        };
        set.runs.iter().try_for_each(Run::require_consistent)?;
        Ok(set)
    }
}

impl Run {
    fn require_consistent(&self) -> Result<(), ReadError> {
        let conformant = self.outcome() == Outcome::Conformant;
        if self.report_version != REPORT_VERSION {
            return Err(ReadError::Version { found: format!("{:?}", self.report_version) });
        }
        if self.summary != Summary::of(&self.results) || self.conformant != conformant {
            return Err(ReadError::Inconsistent { subject: self.subject.name.clone() });
        }
        if !self.known_follows_from_results() {
            return Err(ReadError::Inconsistent { subject: self.subject.name.clone() });
        }
        Ok(())
    }

    /// Only deviations are known, and as many as the baseline says.
    fn known_follows_from_results(&self) -> bool {
        let known = |result: &&CaseResult| result.known.is_some();
        let deviates = |result: &CaseResult| matches!(result.verdict, Verdict::Fail | Verdict::Warn);
        let number = self.results.iter().filter(known).count() as u64;
        self.results.iter().filter(known).all(deviates)
            && number == self.baseline.as_ref().map_or(0, |baseline| baseline.known)
    }
}

/// A version that differs is said before a key is missed. What has no version at all is no report.
fn require_version(value: &Value) -> Result<(), ReadError> {
    match value.get("reportVersion") {
        Some(found) if found != REPORT_VERSION => Err(ReadError::Version { found: found.to_string() }),
        _ => Ok(()),
    }
}
