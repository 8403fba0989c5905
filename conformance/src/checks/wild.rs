//! Bugs found in the wild, and the checks that would have shown them: `wild.toml`.

use std::sync::OnceLock;

use serde::Deserialize;

/// A bug of released software.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bug {
    /// Stable name: B and three digits.
    pub id: String,
    /// Whose it was.
    pub project: String,
    /// When it was found.
    pub year: u16,
    /// What happened, in one sentence.
    pub what: String,
    /// The first release without it, or `no`; nothing where that is not known.
    pub fixed: Option<String>,
    /// An issue or pull request (`owner/repository#number`), a commit or a tag (`owner/repository@name`).
    pub source: String,
    /// Whether a check would have shown it.
    pub shown: Shown,
}

/// Whether a check would have shown a bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// These checks play the situation.
    By(Vec<String>),
    /// It takes this besides a plugin's executable.
    Needs(String),
    /// No check plays the situation yet, for this reason.
    Open(String),
}

impl Bug {
    /// The ids of the checks that would have shown it.
    pub fn checks(&self) -> &[String] {
        match &self.shown {
            Shown::By(checks) => checks,
            Shown::Needs(_) | Shown::Open(_) => &[],
        }
    }

    /// `plugins/portmap, 2019`
    pub fn place(&self) -> String {
        format!("{}, {}", self.project, self.year)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    bug: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    project: String,
    year: u16,
    what: String,
    fixed: Option<String>,
    source: String,
    checks: Option<Vec<String>>,
    needs: Option<String>,
    open: Option<String>,
}

/// Every bug, by id.
pub fn all() -> &'static [Bug] {
    static BUGS: OnceLock<Vec<Bug>> = OnceLock::new();
    BUGS.get_or_init(|| parse(include_str!("../../wild.toml")).expect("wild.toml is parsed by a test"))
}

/// The bug of that id.
pub fn find(id: &str) -> Option<&'static Bug> {
    all().iter().find(|bug| bug.id == id)
}

/// The bugs that a check would have shown.
pub fn of_check(check: &str) -> impl Iterator<Item = &'static Bug> {
    all().iter().filter(move |bug| bug.checks().iter().any(|id| id == check))
}

fn parse(text: &str) -> Result<Vec<Bug>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let bug = |entry: Entry| {
        let Entry { id, project, year, what, fixed, source, checks, needs, open } = entry;
        let shown = match (checks, needs, open) {
            (Some(checks), None, None) if !checks.is_empty() => Shown::By(checks),
            (None, Some(needs), None) => Shown::Needs(needs),
            (None, None, Some(open)) => Shown::Open(open),
            _ => return Err(format!("{id} has not exactly one of checks, needs and open")),
        };
        Ok(Bug { id, project, year, what, fixed, source, shown })
    };
    file.bug.into_iter().map(bug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bugs may lack a check. A ratchet: it only goes down.
    const OPEN: usize = 0;

    #[test]
    fn ids_are_unique_and_in_order() {
        let ids: Vec<&str> = all().iter().map(|bug| bug.id.as_str()).collect();
        assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
        let formed = |id: &&str| id.len() == 4 && id.starts_with('B') && id[1..].parse::<u16>().is_ok();
        assert_eq!(ids.iter().filter(|id| formed(id)).count(), 126);
    }

    #[test]
    fn checks_exist() {
        for bug in all() {
            for id in bug.checks() {
                assert!(crate::checks::find(id).is_some(), "{}: no check {id}", bug.id);
            }
        }
        assert!(of_check("del.repeated").any(|bug| bug.id == "B009"));
        assert_eq!(of_check("no.such-check").count(), 0);
    }

    #[test]
    fn few_bugs_lack_a_check() {
        let lacks = |bug: &&Bug| matches!(bug.shown, Shown::Open(_));
        let open: Vec<&str> = all().iter().filter(lacks).map(|bug| bug.id.as_str()).collect();
        assert_eq!(open.len(), OPEN, "{open:?}");
    }

    #[test]
    fn bugs_are_described() {
        for bug in all() {
            let Bug { id, what, source, .. } = bug;
            assert!(what.ends_with('.'), "{id}: {what}");
            assert!((2015..2100).contains(&bug.year), "{id}: {}", bug.year);
            let named = source
                .split_once(['#', '@'])
                .is_some_and(|(repository, name)| repository.split('/').count() == 2 && !name.is_empty());
            assert!(named, "{id}: {source}");
        }
    }

    #[test]
    fn an_entry_has_one_verdict() {
        let entry = |verdict: &str| {
            parse(&format!(
                "[[bug]]\nid = 'B001'\nproject = 'p'\nyear = 2020\nwhat = 'w.'\nsource = 'o/r#1'\n{verdict}"
            ))
        };
        for verdict in ["", "checks = []", "needs = 'x'\nopen = 'y'", "checks = ['a']\nneeds = 'x'"] {
            assert!(entry(verdict).is_err_and(|error| error.contains("B001")), "{verdict}");
        }
        assert_eq!(entry("needs = 'x'").expect("one verdict")[0].shown, Shown::Needs("x".to_owned()));
        assert!(entry("unknown = 1").is_err());
    }
}
