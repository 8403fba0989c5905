//! What people judged about deviations after reading the source, read from a TOML file.
//!
//! A file is a list of `[[judgement]]` tables. Each says which deviations it is about (`plugins`, `requirements` and,
//! where needed, `checks` and `releases`), what was judged (`verdict`, `text`), where it comes from (`source`) and what
//! became of it (`fixed`). [`Judgements::parse`] refuses what it cannot use, and says where that stands.

mod error;
mod raw;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

pub use self::error::JudgementError;
use crate::model::{Run, RunSet, SkipCause, Verdict};

/// The judgements of a file, in its order.
#[derive(Debug, Clone)]
pub struct Judgements {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    judgement: Judgement,
    plugins: GlobSet,
    requirements: GlobSet,
    checks: Option<GlobSet>,
}

/// What was judged about one class of deviations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// Its name in the file and in reports.
    pub id: String,
    /// Globs of the plugins' names.
    pub plugins: Vec<String>,
    /// Globs of the ids of the requirements that lead the deviations.
    pub requirements: Vec<String>,
    /// Globs of the checks' names; empty means any.
    pub checks: Vec<String>,
    /// The releases of the plugins in which it shows; empty means all that are tested.
    pub releases: Vec<String>,
    /// What it amounts to.
    pub verdict: Opinion,
    /// Why, in Markdown.
    pub text: String,
    /// Where in the source it comes from, the decisive place first.
    pub source: Vec<Source>,
    /// The release that fixed it; `None` when none has.
    pub fixed: Option<Fix>,
    /// Rows of the corpus of known bugs, for example `B112`.
    pub bugs: Vec<String>,
    /// Issues and pull requests, as `owner/repository#number`.
    pub upstream: Vec<String>,
}

/// What a deviation amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Opinion {
    /// The specification asks for something else, and the program could do it.
    Deviation,
    /// The program does not try to: a missing feature rather than a slip.
    KnownLimitation,
    /// Another reading of the specification allows it.
    SpecOpen,
}

/// A place in the source of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// `owner/name`.
    pub repository: String,
    /// The file, from the root of the repository.
    pub path: String,
    /// The tag that was read.
    pub tag: String,
    /// The function, method or table.
    pub function: String,
    /// First and last line, `10-20`, or one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<String>,
}

/// What fixed a deviation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// The first release without it.
    pub release: String,
    /// The commit, when it is known.
    pub commit: Option<String>,
}

impl Judgements {
    /// Reads the text of a file; `name` is what errors call it.
    ///
    /// # Errors
    /// When the text is no TOML of this shape, or says something that cannot hold.
    pub fn parse(name: &str, text: &str) -> Result<Judgements, JudgementError> {
        raw::read(name, text).map(|entries| Judgements { entries })
    }

    /// Every judgement, in the order of the file.
    pub fn all(&self) -> impl Iterator<Item = &Judgement> {
        self.entries.iter().map(|entry| &entry.judgement)
    }

    /// Every judgement that is about this release of the plugins (about any, when it is not known which it is), and that would have
    /// been shown if it held: of what it is about a case was decided, and none skipped for what the host lacks.
    pub fn expected<'a>(
        &'a self,
        release: Option<&'a str>,
        set: &'a RunSet,
    ) -> impl Iterator<Item = &'a Judgement> {
        let played: Vec<(&str, Played<'_>)> =
            set.runs.iter().map(|run| (run.subject.name.as_str(), Played::of(run))).collect();
        let would_show = move |entry: &&Entry| {
            let shows = |(check, requirement): &(&str, &str)| entry.covers(check, requirement);
            let own = || {
                played.iter().filter(|(plugin, _)| entry.plugins.is_match(plugin)).map(|(_, played)| played)
            };
            own().any(|played| played.decided.iter().any(shows))
                && !own().any(|played| played.lacking.iter().any(shows))
        };
        self.entries
            .iter()
            .filter(move |entry| entry.judgement.is_about(release))
            .filter(would_show)
            .map(|entry| &entry.judgement)
    }

    /// The first judgement in the file that is about this deviation.
    pub fn find(
        &self,
        release: Option<&str>,
        plugin: &str,
        check: &str,
        requirement: &str,
    ) -> Option<&Judgement> {
        let about = |entry: &&Entry| {
            entry.judgement.is_about(release)
                && entry.plugins.is_match(plugin)
                && entry.covers(check, requirement)
        };
        self.entries.iter().find(about).map(|entry| &entry.judgement)
    }
}

impl Entry {
    fn covers(&self, check: &str, requirement: &str) -> bool {
        self.requirements.is_match(requirement)
            && self.checks.as_ref().is_none_or(|checks| checks.is_match(check))
    }
}

/// What became of a run's cases: checks, each with a requirement that it decides.
#[derive(Default)]
struct Played<'a> {
    /// A case was decided.
    decided: BTreeSet<(&'a str, &'a str)>,
    /// A case was skipped that another host, or a longer run, decides.
    lacking: BTreeSet<(&'a str, &'a str)>,
}

impl<'a> Played<'a> {
    fn of(run: &'a Run) -> Played<'a> {
        let mut played = Played::default();
        for result in &run.results {
            let into = match (result.verdict, result.skip_cause) {
                (Verdict::Skip, Some(SkipCause::Host | SkipCause::Ended)) => &mut played.lacking,
                (Verdict::Skip | Verdict::Error, _) => continue,
                _ => &mut played.decided,
            };
            into.extend(result.requirements.iter().map(|id| (result.check.as_str(), id.as_str())));
        }
        played
    }
}

impl Judgement {
    fn is_about(&self, release: Option<&str>) -> bool {
        match release {
            Some(release) if !self.releases.is_empty() => {
                self.releases.iter().any(|known| known == without_build(release))
            }
            _ => true,
        }
    }

    /// Whether it claims a fix in a release that is no newer than this one, in which it was seen.
    pub(crate) fn is_fixed_before(&self, release: &str) -> bool {
        let fixed = self.fixed.as_ref().and_then(|fix| numbers(&fix.release));
        fixed.zip(numbers(without_build(release))).is_some_and(|(fixed, seen)| fixed <= seen)
    }
}

impl Opinion {
    /// For a reader.
    pub const fn as_str(self) -> &'static str {
        match self {
            Opinion::Deviation => "deviation",
            Opinion::KnownLimitation => "known limitation",
            Opinion::SpecOpen => "the specification leaves it open",
        }
    }
}

impl fmt::Display for Opinion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// `1.9.1` of `1.9.1+ds1-1`.
fn without_build(release: &str) -> &str {
    release.split_once('+').map_or(release, |(release, _)| release)
}

/// The numbers of a release such as `v1.9.1`.
fn numbers(release: &str) -> Option<Vec<u64>> {
    let release = release.strip_prefix('v').unwrap_or(release);
    release.split('.').map(|number| number.parse().ok()).collect()
}

/// A set of globs; `Err` is the glob that is none.
fn globs(patterns: &[String]) -> Result<GlobSet, String> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(GlobBuilder::new(pattern).build().map_err(|_| pattern.clone())?);
    }
    set.build().map_err(|_| patterns.join(", "))
}

/// The line of a text, counted from 1, in which a range begins.
fn line(text: &str, span: &Range<usize>) -> usize {
    text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"
[[judgement]]
id = "tap-rename"
plugins = ["tap", "veth*"]
requirements = ["add.existing-ifname-errors"]
checks = ["add.*"]
releases = ["1.8.0", "1.9.1"]
verdict = "deviation"
text = "The error is shadowed."
source = [{ repository = "o/p", path = "tap.go", tag = "v1.9.1", function = "createTap", lines = "1-2" }]
fixed = { release = "v1.10.0", commit = "abc1234" }
bugs = ["B001"]
upstream = ["o/p#1"]
"#;

    fn refused(from: &str, to: &str) -> String {
        assert!(ONE.contains(from));
        Judgements::parse("j.toml", &ONE.replace(from, to)).expect_err("refused").to_string()
    }

    #[test]
    fn a_judgement_is_found_by_all_that_it_names() {
        let judgements = Judgements::parse("j.toml", ONE).expect("valid");
        let found = |release, plugin, check, requirement| {
            judgements.find(release, plugin, check, requirement).map(|judgement| judgement.id.as_str())
        };
        let id = "add.existing-ifname-errors";
        assert_eq!(found(Some("1.9.1"), "tap", "add.existing", id), Some("tap-rename"));
        assert_eq!(found(Some("1.9.1+ds1-1"), "veth0", "add.existing", id), Some("tap-rename"));
        assert_eq!(found(None, "tap", "add.existing", id), Some("tap-rename"));
        assert_eq!(found(Some("1.9.10"), "tap", "add.existing", id), None);
        assert_eq!(found(None, "tapp", "add.existing", id), None);
        assert_eq!(found(None, "tap", "del.existing", id), None);
        assert_eq!(found(None, "tap", "add.existing", "del.idempotent"), None);
    }

    #[test]
    fn a_fix_lies_after_the_release_that_shows_it() {
        let judgements = Judgements::parse("j.toml", ONE).expect("valid");
        let judgement = &judgements.entries[0].judgement;
        assert!(!judgement.is_fixed_before("1.9.1+ds1-1"));
        assert!(judgement.is_fixed_before("1.10.0"));
        assert!(judgement.is_fixed_before("1.11.0"));
        assert!(!judgement.is_fixed_before("unknown"));
    }

    #[test]
    fn an_error_names_file_line_and_what_to_do() {
        assert_eq!(
            refused("add.existing-ifname-errors", "add.no-such"),
            "j.toml:5: judgement \"tap-rename\": \"add.no-such\" is no requirement; \
             `cnitest list requirements` prints them"
        );
        assert_eq!(
            refused("\"add.*\"", "\"add.[\""),
            "j.toml:6: judgement \"tap-rename\": \"add.[\" is no glob; write names with `*` for any characters"
        );
        assert_eq!(
            refused("The error is shadowed.", " "),
            "j.toml:9: judgement \"tap-rename\": `text` is empty; say in a sentence or two what was judged and why"
        );
        assert_eq!(
            refused(
                "[{ repository = \"o/p\", path = \"tap.go\", tag = \"v1.9.1\", function = \"createTap\", lines = \"1-2\" }]",
                "[]"
            ),
            "j.toml:10: judgement \"tap-rename\": `source` is empty; name the place upstream that was read"
        );
        assert_eq!(
            refused("{ release = \"v1.10.0\", commit = \"abc1234\" }", "\"soon\""),
            "j.toml:11: judgement \"tap-rename\": `fixed` is \"soon\"; write \"no\" or { release = \"v1.2.3\", commit = \"abc1234\" }"
        );
        assert!(
            refused("\"deviation\"", "\"bad\"").starts_with("j.toml:8: "),
            "{}",
            refused("\"deviation\"", "\"bad\"")
        );
        assert!(refused("verdict = \"deviation\"\n", "").starts_with("j.toml:2: missing field `verdict`"));
        let twice = Judgements::parse("j.toml", &format!("{ONE}{ONE}")).expect_err("twice").to_string();
        assert_eq!(twice, "j.toml:16: there are two judgements \"tap-rename\"; give each an id of its own");
    }
}
