//! Delegation: executing the plugin that `ipam.type` names, or one that a configuration holds as a whole.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cni_spec::error::{CniError, UNAVAILABLE};
use cni_spec::parameters::{Variable, plugin_type};
use cni_spec::result::AddResult;
use cni_spec::{Operation, Version, keys};

use crate::fields::{Fields, invalid};
use crate::refusal::{DELEGATE, Refusal};
use crate::skel::{Request, invalid_document};

/// The most of a delegate's output in bytes that an error repeats.
const EXCERPT: usize = 200;

/// A delegated plugin.
#[derive(Debug, Clone)]
pub(crate) struct Delegate {
    name: String,
    /// What messages call it.
    role: &'static str,
    /// Its own input and the interface that it is for; an IPAM plugin gets those of this execution.
    own: Option<(Vec<u8>, String)>,
}

/// CHECK, GC or STATUS of the IPAM plugin, if the configuration names one.
pub(crate) fn forward(request: &Request) -> Result<(), Refusal> {
    Delegate::of(request)?.map_or(Ok(()), |delegate| delegate.forward(request))
}

/// DEL of the IPAM plugin, if the configuration names one: a configuration that ADD refused had none.
pub(crate) fn release(request: &Request) -> Result<(), Refusal> {
    Delegate::of(request).ok().flatten().map_or(Ok(()), |delegate| delegate.del(request))
}

impl Delegate {
    /// The delegate of a configuration; `None` if it asks for none.
    pub(crate) fn of(request: &Request) -> Result<Option<Delegate>, Refusal> {
        let Some(ipam) = request.fields().get(keys::IPAM) else { return Ok(None) };
        let fields = Fields::at(keys::IPAM, ipam)?;
        let Some(name) = fields.string(keys::TYPE)?.filter(|name| !name.is_empty()) else { return Ok(None) };
        // Whatever the version: a path is never executed (`deleg.ipam-name-valid`).
        plugin_type(name, Version::LATEST).map_err(|error| invalid_document("ipam.type", &error))?;
        Ok(Some(Delegate { name: name.to_owned(), role: "IPAM plugin", own: None }))
    }

    /// The plugin of a configuration of its own, for an interface.
    pub(crate) fn whole(fields: Fields<'_>, input: Vec<u8>, ifname: String) -> Result<Delegate, Refusal> {
        let name = fields
            .string(keys::TYPE)?
            .ok_or_else(|| invalid(&fields.place(keys::TYPE), "missing: name the plugin"))?;
        plugin_type(name, Version::LATEST)
            .map_err(|error| invalid_document(&fields.place(keys::TYPE), &error))?;
        Ok(Delegate { name: name.to_owned(), role: "delegate", own: Some((input, ifname)) })
    }

    /// ADD: what the delegate returns. When it fails, it has been executed again with DEL.
    pub(crate) fn add(&self, request: &Request) -> Result<AddResult, Refusal> {
        let added = self.execute(request, Operation::Add).and_then(|output| {
            let value = serde_json::from_slice(&output)
                .map_err(|error| self.odd(format!("printed no JSON: {error}")))?;
            AddResult::parse(&value, request.version)
                .map_err(|error| self.odd(format!("returned a wrong {error}")))
        });
        if added.is_err() {
            self.withdraw(request);
        }
        added
    }

    /// The DEL that follows an ADD which failed; what it answers is only logged.
    pub(crate) fn withdraw(&self, request: &Request) {
        if let Err(error) = self.execute(request, Operation::Del) {
            request.log(format_args!("undoing what the {} did: {error}", self.role));
        }
    }

    /// DEL. An IPAM plugin that is not installed cannot be needed for good: its absence is only logged. What another
    /// plugin made stays without it.
    pub(crate) fn del(&self, request: &Request) -> Result<(), Refusal> {
        match self.find(request) {
            Err(error) if self.own.is_some() => Err(error),
            Ok(_) => self.execute(request, Operation::Del).map(|_| ()),
            Err(error) => {
                request.log(format_args!("addresses may stay reserved: {error}"));
                Ok(())
            }
        }
    }

    /// CHECK and GC, and STATUS: there the absence of the delegate means that ADD cannot be served.
    pub(crate) fn forward(&self, request: &Request) -> Result<(), Refusal> {
        if request.operation == Operation::Status {
            self.find(request).map_err(|error| Refusal::new(UNAVAILABLE, error.msg.clone()))?;
        }
        self.execute(request, request.operation).map(|_| ())
    }

    /// The executable: the first of that name in the directories of `CNI_PATH`, or, where that is not set, beside
    /// this executable.
    fn find(&self, request: &Request) -> Result<PathBuf, Refusal> {
        let (directories, place): (Vec<PathBuf>, _) = match request.variable(Variable::Path) {
            Some(path) => (std::env::split_paths(path).collect(), format!("CNI_PATH ({path})")),
            None => {
                let own = std::env::current_exe().ok().and_then(|own| own.parent().map(Path::to_owned));
                (own.into_iter().collect(), "the plugin's directory (CNI_PATH is not set)".to_owned())
            }
        };
        let is_executable = |path: &PathBuf| {
            path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        };
        let mut candidates = directories
            .iter()
            .filter(|directory| !directory.as_os_str().is_empty())
            .map(|directory| directory.join(&self.name));
        candidates.find(is_executable).ok_or_else(|| {
            Refusal::new(
                DELEGATE,
                format!("no executable {:?} in {place}: install the {}", self.name, self.role),
            )
        })
    }

    fn odd(&self, problem: String) -> Refusal {
        Refusal::new(DELEGATE, format!("{} {:?} {problem}", self.role, self.name))
    }

    /// Executes the delegate with the environment and the input of this execution, or its own; its standard error is ours.
    fn execute(&self, request: &Request, operation: Operation) -> Result<Vec<u8>, Refusal> {
        let path = self.find(request)?;
        let failed =
            |error: std::io::Error| self.odd(format!("({}) cannot be executed: {error}", path.display()));
        let mut command = Command::new(&path);
        command
            .env_clear()
            .envs(request.environment.iter().map(|(key, value)| (key, value)))
            .env(Variable::Command.as_str(), operation.as_str());
        if let Some((_, ifname)) = self.own.as_ref().filter(|_| operation.is_attachment()) {
            command.env(Variable::Ifname.as_str(), ifname);
        }
        let input = self.own.as_ref().map_or(&request.raw, |(input, _)| input);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(failed)?;
        let mut output = Vec::new();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (written, read) = std::thread::scope(|scope| {
            // Beside the reading: neither side may wait for the other with a full pipe.
            let writer = scope.spawn(|| stdin.map_or(Ok(()), |mut stdin| stdin.write_all(input)));
            let read = stdout.map_or(Ok(0), |mut stdout| stdout.read_to_end(&mut output));
            (writer.join(), read)
        });
        let status = child.wait().map_err(failed)?;
        read.map_err(failed)?;
        if let Ok(Err(error)) = written
            && error.kind() != ErrorKind::BrokenPipe
        {
            return Err(failed(error));
        }
        if status.success() { Ok(output) } else { Err(self.error(&output, status)) }
    }

    /// The delegate's error, with its code.
    fn error(&self, output: &[u8], status: std::process::ExitStatus) -> Refusal {
        let parsed = serde_json::from_slice(output).ok().and_then(|value| CniError::parse(&value).ok());
        if let Some(error) = parsed {
            let msg = format!("{} {:?}: {}", self.role, self.name, error.msg);
            return Refusal::from(CniError { msg, ..error });
        }
        let text = String::from_utf8_lossy(output);
        let text = &text[..text.floor_char_boundary(EXCERPT)];
        self.odd(format!("failed without an error object ({status}); it printed {text:?}"))
    }
}
