//! Scenarios that showed something new, in memory and on disk.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cni_schemas::generate::{Random, Source as _};
use sha2::{Digest, Sha256};

use super::lock;
use super::scenario::Scenario;

/// Why a corpus cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// The folder or a file in it could not be used.
    #[error("corpus {}: {source}", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is no scenario.
    #[error("corpus {}: {source}; remove the file, or use the release that wrote it", path.display())]
    Scenario {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: serde_json::Error,
    },
}

/// How many are looked at to take the one with the rarest behaviour.
const LOOKED_AT: usize = 3;

/// The corpus of one plugin.
#[derive(Debug)]
pub(super) struct Corpus {
    folder: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: Vec<Kept>,
    /// The names of all, with their place among those that were played.
    names: BTreeMap<String, Option<usize>>,
    /// Kept by an earlier run, and not yet played in this one.
    unplayed: VecDeque<Scenario>,
}

#[derive(Debug)]
struct Kept {
    scenario: Scenario,
    /// What nothing had shown before it, if that is known.
    shows: Option<u64>,
}

impl Corpus {
    /// The corpus in the folder of that plugin below `folder`; in memory only without one.
    ///
    /// # Errors
    /// When the folder cannot be made or read, or a file in it is no scenario.
    pub(super) fn open(folder: Option<&Path>, plugin: &str) -> Result<Corpus, CorpusError> {
        let Some(folder) = folder.map(|folder| folder.join(plugin)) else {
            return Ok(Corpus { folder: None, state: Mutex::default() });
        };
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| CorpusError::Io { path, source }
        };
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        let mut state = State::default();
        let mut files = fs::read_dir(&folder)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(failed(&folder))?
            .into_iter()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect::<Vec<_>>();
        files.sort();
        for path in files {
            let text = fs::read_to_string(&path).map_err(failed(&path))?;
            let scenario: Scenario = serde_json::from_str(&text)
                .map_err(|source| CorpusError::Scenario { path: path.clone(), source })?;
            state.names.insert(name(&scenario), None);
            state.unplayed.push_back(scenario);
        }
        Ok(Corpus { folder: Some(folder), state: Mutex::new(state) })
    }

    /// One that an earlier run kept and that this one has not played yet.
    pub(super) fn unplayed(&self) -> Option<Scenario> {
        let mut state = lock(&self.state);
        let scenario = state.unplayed.pop_front()?;
        let place = state.kept.len();
        state.names.insert(name(&scenario), Some(place));
        state.kept.push(Kept { scenario: scenario.clone(), shows: None });
        Some(scenario)
    }

    /// One of those that were played: of a few, the later ones rather, the one whose behaviour was seen least. `seen` says
    /// how often a behaviour was.
    pub(super) fn pick(&self, random: &mut Random, seen: &dyn Fn(u64) -> u32) -> Option<Scenario> {
        let state = lock(&self.state);
        let count = u32::try_from(state.kept.len()).ok().filter(|count| *count > 0)?;
        let some = (0..LOOKED_AT).map(|_| &state.kept[random.below(count).max(random.below(count)) as usize]);
        some.min_by_key(|kept| kept.shows.map_or(u32::MAX, seen)).map(|kept| kept.scenario.clone())
    }

    /// Keeps a scenario that showed something new. A file that cannot be written is not worth ending a run for.
    pub(super) fn keep(&self, scenario: &Scenario, shows: Option<u64>) {
        let name = name(scenario);
        let mut state = lock(&self.state);
        if let Some(known) = state.names.get(&name).copied() {
            if let Some(kept) = known.and_then(|place| state.kept.get_mut(place)) {
                kept.shows = kept.shows.or(shows);
            }
            return;
        }
        let place = state.kept.len();
        state.names.insert(name.clone(), Some(place));
        state.kept.push(Kept { scenario: scenario.clone(), shows });
        drop(state);
        if let Some(folder) = &self.folder {
            let text = serde_json::to_string_pretty(scenario).unwrap_or_default();
            // Whole or not at all: the run may be killed.
            let unfinished = folder.join(format!(".{name}"));
            let written = fs::write(&unfinished, text)
                .and_then(|()| fs::rename(&unfinished, folder.join(format!("{name}.json"))));
            if let Err(error) = written {
                eprintln!("cnitest: cannot keep a scenario in {}: {error}", folder.display());
            }
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        lock(&self.state).names.len()
    }
}

fn name(scenario: &Scenario) -> String {
    let text = serde_json::to_string(scenario).unwrap_or_default();
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use cni_spec::Version;
    use serde_json::Map;

    use super::*;

    fn scenario(name: &str) -> Scenario {
        Scenario {
            origin: Default::default(),
            version: Version::V1_1_0,
            configuration: name.to_owned(),
            plugin: Map::new(),
            args: None,
            settle: true,
            steps: Vec::new(),
        }
    }

    #[test]
    fn what_one_run_kept_the_next_one_plays_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = Corpus::open(Some(folder.path()), "bridge").unwrap();
        assert_eq!(first.unplayed(), None);
        first.keep(&scenario("a"), Some(1));
        first.keep(&scenario("a"), Some(2));
        first.keep(&scenario("b"), None);
        assert_eq!(first.len(), 2);
        let second = Corpus::open(Some(folder.path()), "bridge").unwrap();
        let mut names: Vec<String> = Vec::new();
        while let Some(one) = second.unplayed() {
            names.push(one.configuration);
        }
        names.sort();
        assert_eq!(names, ["a", "b"]);
        assert!(second.pick(&mut Random::new(1), &|_| 1).is_some());
        assert_eq!(Corpus::open(Some(folder.path()), "ptp").unwrap().len(), 0);
    }

    #[test]
    fn what_is_seen_seldom_is_picked_often() {
        let corpus = Corpus::open(None, "bridge").unwrap();
        for (name, shows) in [("common", 1), ("rare", 2)] {
            corpus.keep(&scenario(name), Some(shows));
        }
        let mut random = Random::new(1);
        let picked = (0..100)
            .filter_map(|_| corpus.pick(&mut random, &|behaviour| if behaviour == 1 { 1000 } else { 1 }));
        assert!(picked.filter(|one| one.configuration == "rare").count() > 80);
    }

    #[test]
    fn a_file_that_is_no_scenario_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("bridge")).unwrap();
        fs::write(folder.path().join("bridge/x.json"), "{\"version\": \"1.1.0\"}").unwrap();
        let error = Corpus::open(Some(folder.path()), "bridge").unwrap_err().to_string();
        assert!(error.contains("x.json") && error.contains("missing field"), "{error}");
    }
}
