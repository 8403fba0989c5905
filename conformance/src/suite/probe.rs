//! What must be known before cases can be listed: does the plugin start, what does it support, what can work here.

use cni_spec::error::{CniError, UNSUPPORTED_FIELD};
use cni_spec::{Operation, Version};
use cnitest_reports::model::SkipCause;

use super::subject::Found;
use super::{Options, cni_path};
use crate::adapter::Adapter;
use crate::arena::{Arena, ArenaError};
use crate::checks::stage;
use crate::checks::{self, Case, Documents, Observations, Other, Setting, Stop, Subject};
use crate::invoke::{Invocation, Outcome};
use crate::target::{Configuration, Requires, Target};

/// What was found out about a plugin before its cases.
#[derive(Debug)]
pub struct Probe {
    /// The plugin, with its versions.
    pub subject: Subject,
    /// The configurations that can work here; without a target, a bare one.
    pub configurations: Vec<Configuration>,
    /// The configurations that cannot.
    pub unusable: Vec<Unusable>,
    /// The first of those that cannot, when none can: what asks nothing but the protocol is asked with it.
    pub spare: Vec<Configuration>,
    /// Why nothing can be played, when the plugin does not even start or hangs.
    pub unstartable: Option<String>,
    /// Kernel features and programs that were wanted and are missing.
    pub missing: Vec<String>,
    /// What the report says of the target.
    pub note: Option<String>,
    /// The spec versions that the other release said it supports, to the letter.
    pub other_advertised: Vec<String>,
}

/// A configuration that cannot work here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// Its name.
    pub name: String,
    /// What it lacks.
    pub reason: String,
    /// [`SkipCause::NotApplicable`] when the plugin does not support the version that it needs, otherwise
    /// [`SkipCause::Host`].
    pub cause: SkipCause,
}

impl Probe {
    /// Executes VERSION and tries what the target requires.
    ///
    /// # Errors
    /// When the arena fails.
    pub fn new(
        arena: &mut Arena,
        found: &Found,
        other: Option<&Found>,
        target: Option<&Target>,
        options: &Options,
    ) -> Result<Probe, ArenaError> {
        if let Some(adapter) = &found.runtime {
            return Probe::of_runtime(arena, found, adapter, options);
        }
        let mut subject = Subject {
            program: found.program.clone(),
            name: found.name.clone(),
            cni_path: cni_path(found),
            versions: Vec::new(),
            advertised: Vec::new(),
            timeout: options.timeout,
            other: None,
            runtime: None,
        };
        let execution = arena.execute(&version_request(found, options))?;
        let mut unstartable = None;
        match &execution.outcome {
            Outcome::NotStarted { message, .. } => {
                unstartable = Some(format!("the plugin cannot be started: {message}"));
            }
            Outcome::TimedOut { .. } => {
                unstartable = Some(format!("VERSION did not end: {}", execution.outcome));
            }
            Outcome::Exited(_) | Outcome::Signaled(_) => {
                subject.advertised = Documents::parse(&execution.stdout).supported_versions();
            }
        }
        subject.versions = known(&subject.advertised);
        let mut other_advertised = Vec::new();
        if let Some(other) = other {
            let execution = arena.execute(&version_request(other, options))?;
            other_advertised = Documents::parse(&execution.stdout).supported_versions();
            let versions = known(&other_advertised);
            subject.other =
                Some(Other { program: other.program.clone(), cni_path: cni_path(other), versions });
        }
        let mut note = None;
        if subject.versions.is_empty() && unstartable.is_none() {
            subject.versions.push(Version::LATEST);
            note =
                Some(format!("VERSION names no version that cnitest knows; tested as {}", Version::LATEST));
        }
        let mut probe = Probe {
            subject,
            configurations: Vec::new(),
            unusable: Vec::new(),
            spare: Vec::new(),
            unstartable,
            missing: Vec::new(),
            note,
            other_advertised,
        };
        match target {
            Some(target) => probe.choose_configurations(arena, target)?,
            None => {
                probe.configurations.push(Configuration::bare(&found.name));
                probe.note.get_or_insert_with(|| {
                    "no target describes this plugin, so that only protocol checks run; a target file adds the \
                     checks of what ADD, CHECK and DEL do (`cnitest target init`)"
                        .to_owned()
                });
            }
        }
        arena.reset()?;
        Ok(probe)
    }

    /// What must be known of a runtime: whether it is there.
    fn of_runtime(
        arena: &mut Arena,
        found: &Found,
        adapter: &Adapter,
        options: &Options,
    ) -> Result<Probe, ArenaError> {
        let mut missing = Vec::new();
        for program in &adapter.find {
            let look = ["/bin/sh", "-c", "command -v \"$1\"", "sh", program].map(str::to_owned);
            let look = stage::invocation(&look, &found.values(), adapter, options.timeout);
            if !arena.execute(&look)?.outcome.success() {
                missing.push(format!("program {program}"));
            }
        }
        let install = adapter.install.as_ref().map(|how| format!("; install it: {how}"));
        let mut unstartable = (!missing.is_empty()).then(|| {
            format!("{} is not here: {}{}", adapter.name, missing.join(", "), install.unwrap_or_default())
        });
        if unstartable.is_none() && adapter.containers {
            let make = ["/bin/sh", "-c", "mknod /run/device c 1 3 && rm /run/device"].map(str::to_owned);
            let make = stage::invocation(&make, &found.values(), adapter, options.timeout);
            if !arena.execute(&make)?.outcome.success() {
                missing.push("device nodes".to_owned());
                unstartable = Some(format!(
                    "{} cannot run containers here: no device can be made; run cnitest as root",
                    adapter.name
                ));
            }
        }
        let mut note = None;
        if unstartable.is_none() && !adapter.version.is_empty() {
            let invocation = stage::invocation(&adapter.version, &found.values(), adapter, options.timeout);
            let answer = arena.execute(&invocation)?;
            note = answer
                .stdout_text()
                .lines()
                .find(|line| !line.trim().is_empty())
                .map(|line| line.trim().to_owned());
        }
        arena.reset()?;
        let versions = adapter.spec_versions(note.as_deref());
        let subject = Subject {
            program: found.program.clone(),
            name: found.name.clone(),
            cni_path: Vec::new(),
            advertised: versions.iter().map(Version::to_string).collect(),
            versions,
            timeout: adapter.takes.unwrap_or(options.timeout).max(options.timeout),
            other: None,
            runtime: Some(adapter.clone()),
        };
        Ok(Probe {
            configurations: vec![Configuration { name: String::new(), ..Configuration::bare(&found.name) }],
            subject,
            unusable: Vec::new(),
            spare: Vec::new(),
            unstartable,
            missing,
            note,
            other_advertised: Vec::new(),
        })
    }

    fn choose_configurations(&mut self, arena: &mut Arena, target: &Target) -> Result<(), ArenaError> {
        let common = self.lacking(arena, &target.requires)?;
        for configuration in &target.configurations {
            let mut lacking = common.clone();
            lacking.extend(self.lacking(arena, &configuration.requires)?);
            if lacking.is_empty()
                && let Some(refusal) = self.refused_field(arena, target, configuration)?
            {
                lacking.push((SkipCause::NotApplicable, format!("the plugin has no such field: {refusal}")));
            }
            if lacking.is_empty() {
                self.configurations.push(configuration.clone());
                continue;
            }
            let cause = lacking.iter().map(|(cause, _)| *cause).min().unwrap_or(SkipCause::Host);
            let reasons: Vec<String> = lacking.into_iter().map(|(_, reason)| reason).collect();
            let reason = reasons.join("; ");
            self.unusable.push(Unusable { name: configuration.name.clone(), reason, cause });
        }
        if self.configurations.is_empty() && self.can_make_links(arena, target)? {
            self.spare.extend(target.configurations.first().cloned());
        }
        self.missing.sort();
        self.missing.dedup();
        Ok(())
    }

    /// What the plugin says when it refuses ADD with code 2 for a field that not every such plugin has.
    fn refused_field(
        &self,
        arena: &mut Arena,
        target: &Target,
        configuration: &Configuration,
    ) -> Result<Option<String>, ArenaError> {
        let (fields, version) = (&configuration.requires.fields, self.subject.versions.last());
        let (Some(version), Some(check)) = (version, checks::find("add.succeeds")) else { return Ok(None) };
        if fields.is_empty() {
            return Ok(None);
        }
        let observations = Observations::default();
        let setting = Setting {
            check,
            subject: &self.subject,
            target: Some(target),
            configuration,
            version: *version,
            variant: "",
            observations: &observations,
        };
        let mut case = Case::new(setting, arena);
        let answer = case.attachment().and_then(|attachment| case.operate(Operation::Add, &attachment));
        arena.reset()?;
        let error = match answer {
            Ok(answer) if answer.refused() => answer.error(),
            Ok(_) => None,
            Err(Stop::Arena(error)) => return Err(error),
            // The checks of ADD say why.
            Err(_) => None,
        };
        let names = |error: &CniError| fields.iter().any(|field| error.msg.contains(field.as_str()));
        let refusal = error.filter(|error| error.code == UNSUPPORTED_FIELD && names(error));
        Ok(refusal.map(|error| error.msg))
    }

    /// Whether the links that the target wants before an ADD can be made.
    fn can_make_links(&self, arena: &mut Arena, target: &Target) -> Result<bool, ArenaError> {
        for link in &target.links {
            if !arena.probe_link_kind(&link.kind)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn lacking(
        &mut self,
        arena: &mut Arena,
        requires: &Requires,
    ) -> Result<Vec<(SkipCause, String)>, ArenaError> {
        let mut lacking = Vec::new();
        for kind in &requires.links {
            if !arena.probe_link_kind(kind)? {
                self.missing.push(format!("link kind {kind}"));
                lacking.push((SkipCause::Host, format!("the kernel cannot make links of kind {kind}")));
            }
        }
        for kind in &requires.qdiscs {
            if !arena.probe_qdisc_kind(kind)? {
                self.missing.push(format!("queueing discipline {kind}"));
                lacking
                    .push((SkipCause::Host, format!("the kernel has no queueing discipline of kind {kind}")));
            }
        }
        for feature in &requires.kernel {
            if !arena.probe_feature(*feature)? {
                self.missing.push(feature.describe().to_owned());
                lacking.push((SkipCause::Host, format!("the kernel lacks {}", feature.describe())));
            }
        }
        for program in &requires.programs {
            if !arena.has_program(program)? {
                self.missing.push(format!("program {program}"));
                lacking.push((SkipCause::Host, format!("the program {program} is not installed")));
            }
        }
        for plugin in &requires.plugins {
            let found =
                self.subject.cni_path.iter().any(|folder| {
                    folder.join(plugin).is_file() || cni_plugins::NAMES.contains(&plugin.as_str())
                });
            if !found {
                lacking.push((SkipCause::Host, format!("the delegated plugin {plugin} is not in CNI_PATH")));
            }
        }
        if let Some(version) = &requires.spec_version
            && !self.subject.advertised.contains(version)
        {
            let reason = format!("the plugin does not support CNI {version}");
            lacking.push((SkipCause::NotApplicable, reason));
        }
        Ok(lacking)
    }
}

/// VERSION, as a runtime asks for it.
fn version_request(found: &Found, options: &Options) -> Invocation {
    Invocation::new(&found.program)
        .env("CNI_COMMAND", "VERSION")
        .input(format!("{{\"cniVersion\":\"{}\"}}", Version::LATEST))
        .timeout(options.timeout)
}

/// The versions among these that cnitest knows, oldest first.
fn known(advertised: &[String]) -> Vec<Version> {
    let named = |version: &Version| advertised.iter().any(|text| text == version.as_str());
    Version::ALL.into_iter().filter(named).collect()
}
