//! Mutants: deliberately broken plugins, which prove the checks.
//!
//! Each [`Mutant`] is a reference plugin with one defect around it and says which requirements the defect breaks. The
//! suite must find it through a check that decides one of these: [`selftest`](crate::selftest) plays it. A mutant sees
//! what its plugin is executed with, has the plugin executed, and sees what it answers ([`Execution`]): between these it
//! does its wrong.
//!
//! In an arena a mutant is this executable under the plugin's own name, in a folder with the mutant's name
//! ([`Mutant::path`]), so that it is tested with the plugin's target.

mod add;
mod chained;
mod check;
mod concurrency;
mod connectivity;
mod conventions;
mod del;
mod delegation;
mod execution;
mod faults;
mod gc;
pub mod hostile;
mod incidents;
mod input;
mod ipam;
mod kernel;
mod lease;
mod meta;
mod result;
mod runtime;
mod security;
mod shaping;
mod skew;
mod status;
mod version;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cni_spec::Version;

pub use execution::{Defect, Execution};

use crate::runtime::policy::Policy;

/// The folder below [`PLUGIN_DIR`](crate::arena::PLUGIN_DIR) that holds the folders of the mutants.
const FOLDER: &str = "mutants";

/// A reference plugin with one defect.
pub struct Mutant {
    /// Its name: the plugin's, and what is wrong with it.
    pub name: &'static str,
    /// The reference plugin, or runtime, that it is but for the defect.
    pub base: &'static str,
    /// The requirements that it breaks. A check that decides one of them has to find it.
    pub breaks: &'static [&'static str],
    /// The defect, in one line.
    pub about: &'static str,
    /// The text of the target that it is tested with; nothing for the plugin's own.
    pub target: Option<&'static str>,
    /// It is tested without a target, as a plugin that cnitest knows nothing about.
    pub bare: bool,
    /// A version in which it shows, where it does not in the newest ones.
    pub also_in: Option<Version>,
    /// What it does wrong.
    pub play: Play,
}

/// What a mutant does wrong.
#[derive(Clone, Copy)]
pub enum Play {
    /// Executes a plugin.
    Plugin(fn(&mut Execution) -> Result<(), Defect>),
    /// Decides for the runtime.
    Runtime(fn() -> Box<dyn Policy>),
}

/// A mutant; the order is that of the fields.
const fn mutant(
    name: &'static str,
    base: &'static str,
    breaks: &'static [&'static str],
    about: &'static str,
    play: fn(&mut Execution) -> Result<(), Defect>,
) -> Mutant {
    Mutant { name, base, breaks, about, target: None, bare: false, also_in: None, play: Play::Plugin(play) }
}

impl std::fmt::Debug for Mutant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mutant").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Mutant {
    /// The mutant, tested with another target than the plugin's own.
    const fn with_target(self, text: &'static str) -> Mutant {
        Mutant { target: Some(text), ..self }
    }

    /// The mutant, tested without a target.
    const fn without_target(self) -> Mutant {
        Mutant { bare: true, ..self }
    }

    /// The mutant, tested in this version too.
    const fn also_in(self, version: Version) -> Mutant {
        Mutant { also_in: Some(version), ..self }
    }

    /// How the runtime decides that it is, if it is one.
    pub fn policy(&self) -> Option<Box<dyn Policy>> {
        match self.play {
            Play::Plugin(_) => None,
            Play::Runtime(policy) => Some(policy()),
        }
    }

    /// Whether it is a runtime.
    pub fn is_runtime(&self) -> bool {
        matches!(self.play, Play::Runtime(_))
    }

    /// Where it is below [`PLUGIN_DIR`](crate::arena::PLUGIN_DIR).
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(self.name).join(self.base)
    }

    /// Behaves as the mutant: environment, standard input, output and error are those of the process.
    pub fn main(&self) -> ExitCode {
        let mut execution = Execution::of_process(self.base);
        let Play::Plugin(play) = self.play else {
            eprintln!("mutant {}: it is a runtime, and answers `exec` alone", self.name);
            return ExitCode::from(99);
        };
        if let Err(defect) = play(&mut execution) {
            eprintln!("mutant {}: {defect}", self.name);
            return ExitCode::from(99);
        }
        execution.finish()
    }
}

/// Every mutant.
pub fn all() -> impl Iterator<Item = &'static Mutant> {
    [
        version::MUTANTS,
        input::MUTANTS,
        result::MUTANTS,
        add::MUTANTS,
        delegation::MUTANTS,
        meta::MUTANTS,
        chained::MUTANTS,
        ipam::MUTANTS,
        lease::MUTANTS,
        check::MUTANTS,
        del::MUTANTS,
        status::MUTANTS,
        gc::MUTANTS,
        concurrency::MUTANTS,
        connectivity::MUTANTS,
        conventions::MUTANTS,
        shaping::MUTANTS,
        security::MUTANTS,
        incidents::MUTANTS,
        faults::MUTANTS,
        skew::MUTANTS,
        runtime::MUTANTS,
    ]
    .into_iter()
    .flatten()
}

/// Plugins made as mutants are, but without a defect: they do what no reference plugin does, and must pass everything.
pub fn unbroken() -> impl Iterator<Item = &'static Mutant> {
    [&lease::LEASED].into_iter()
}

/// The mutant, or unbroken plugin, of that name.
pub fn find(name: &str) -> Option<&'static Mutant> {
    all().chain(unbroken()).find(|mutant| mutant.name == name)
}

/// The mutant that this process was called as, if it was.
pub fn called_as() -> Option<&'static Mutant> {
    let called = PathBuf::from(std::env::args_os().next()?);
    let folder = called.parent()?;
    if folder.parent()?.file_name()? != FOLDER {
        return None;
    }
    let mutant = find(folder.file_name()?.to_str()?)?;
    (called.file_name()? == mutant.base).then_some(mutant)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::checks;

    #[test]
    fn names_are_unique_and_say_the_plugin() {
        let mut seen = BTreeSet::new();
        for mutant in all().chain(unbroken()) {
            assert!(seen.insert(mutant.name), "{} is there twice", mutant.name);
            if mutant.is_runtime() {
                assert!(mutant.name.starts_with("runtime-"), "{}", mutant.name);
                assert!(
                    crate::adapter::builtin(mutant.base).is_some(),
                    "{}: no {}",
                    mutant.name,
                    mutant.base
                );
                continue;
            }
            assert!(cni_plugins::NAMES.contains(&mutant.base), "{}: no plugin {}", mutant.name, mutant.base);
            assert!(mutant.name.starts_with(&format!("{}-", mutant.base)), "{}", mutant.name);
        }
    }

    #[test]
    fn targets_of_mutants_can_be_read() {
        let texts = all().chain(unbroken()).filter_map(|mutant| Some((mutant.name, mutant.target?)));
        for (name, text) in texts {
            assert!(crate::target::Target::parse(text, name).is_ok(), "{name}: {text}");
        }
    }

    #[test]
    fn what_a_mutant_breaks_is_decided_by_a_check() {
        for mutant in all() {
            assert!(!mutant.breaks.is_empty(), "{} breaks nothing", mutant.name);
            for id in mutant.breaks {
                assert!(cni_spec::catalogue::requirement(id).is_some(), "{}: no {id}", mutant.name);
                assert!(
                    checks::all()
                        .filter(|check| (check.concerns == checks::Concerns::Runtime) == mutant.is_runtime())
                        .any(|check| check.requirements.contains(id)),
                    "{}: no check decides {id}",
                    mutant.name
                );
            }
        }
        assert!(unbroken().all(|plugin| plugin.breaks.is_empty()));
    }
}
