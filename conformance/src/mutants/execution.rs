//! What a mutant can do with one execution.

use std::ffi::OsString;
use std::io::{Cursor, Read, Write};
use std::process::ExitCode;

use cni_plugins::Environment;
use cni_spec::{Operation, Version};
use serde_json::{Map, Value, json};

/// Why a mutant could not do its wrong: a fault of the mutant, not of what it is tested with.
pub type Defect = Box<dyn std::error::Error + Send + Sync>;

/// One execution of a mutant: what came in, and what goes out.
#[derive(Debug)]
pub struct Execution {
    base: &'static str,
    environment: Environment,
    stdin: Option<Vec<u8>>,
    /// What is printed in the end.
    pub stdout: Vec<u8>,
    /// The exit status in the end.
    pub status: u8,
}

impl Execution {
    /// The execution that this process is.
    pub(super) fn of_process(base: &'static str) -> Execution {
        Execution {
            base,
            environment: std::env::vars_os().collect(),
            stdin: None,
            stdout: Vec::new(),
            status: 0,
        }
    }

    // ---- what came in

    /// Whether CNI_COMMAND names the operation.
    pub fn is(&self, operation: Operation) -> bool {
        self.variable("CNI_COMMAND") == operation.as_str()
    }

    /// The value of a variable; nothing when it is not set or no text.
    pub fn variable(&self, name: &str) -> String {
        let found = self.environment.iter().find(|(key, _)| key == name);
        found.and_then(|(_, value)| value.to_str()).unwrap_or_default().to_owned()
    }

    /// Sets a variable for the plugin.
    pub fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.environment.push((OsString::from(name), OsString::from(value)));
    }

    /// Removes a variable for the plugin.
    pub fn unset(&mut self, name: &str) {
        self.environment.retain(|(key, _)| key != name);
    }

    /// All of stdin; nothing when it cannot be read, which the plugin finds out for itself then.
    pub fn input(&mut self) -> Vec<u8> {
        if self.stdin.is_none() {
            let mut bytes = Vec::new();
            self.stdin = std::io::stdin().read_to_end(&mut bytes).is_ok().then_some(bytes);
        }
        self.stdin.clone().unwrap_or_default()
    }

    /// Replaces stdin for the plugin.
    pub fn set_input(&mut self, bytes: impl Into<Vec<u8>>) {
        self.stdin = Some(bytes.into());
    }

    /// The network configuration; an empty one when stdin holds no object.
    pub fn config(&mut self) -> Map<String, Value> {
        match serde_json::from_slice(&self.input()) {
            Ok(Value::Object(config)) => config,
            _ => Map::new(),
        }
    }

    /// A key of the configuration as text.
    pub fn text(&mut self, key: &str) -> String {
        self.config().get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// Changes the network configuration that the plugin gets. Does nothing when stdin holds no object.
    pub fn edit_config(&mut self, change: impl FnOnce(&mut Map<String, Value>)) {
        if let Ok(Value::Object(mut config)) = serde_json::from_slice(&self.input()) {
            change(&mut config);
            self.set_input(Value::Object(config).to_string());
        }
    }

    // ---- the plugin

    /// Executes the plugin; what it answers replaces what there was.
    pub fn run(&mut self) {
        // It may be executed again; VERSION does not wait for the end of stdin.
        if !self.is(Operation::Version) {
            self.input();
        }
        let stdin: Box<dyn Read + Send> = match &self.stdin {
            Some(bytes) => Box::new(Cursor::new(bytes.clone())),
            None => Box::new(std::io::stdin()),
        };
        self.stdout.clear();
        let status = cni_plugins::run(self.base, self.environment.clone(), stdin, &mut self.stdout);
        self.status = status.unwrap_or(2);
    }

    /// Executes the plugin for another operation and forgets what it answers.
    pub fn run_as(&mut self, operation: Operation) {
        self.input();
        let kept = (self.environment.clone(), self.stdout.clone(), self.status);
        self.set("CNI_COMMAND", operation.as_str());
        self.run();
        (self.environment, self.stdout, self.status) = kept;
    }

    // ---- what goes out

    /// Whether the plugin succeeded.
    pub fn succeeded(&self) -> bool {
        self.status == 0
    }

    /// Answers an error object and exit status 1.
    pub fn refuse(&mut self, code: u32, msg: &str) {
        let version = match self.text("cniVersion") {
            text if text.is_empty() => Version::LATEST.to_string(),
            text => text,
        };
        self.answer(&json!({ "cniVersion": version, "code": code, "msg": msg }), 1);
    }

    /// Answers this document with this exit status.
    pub fn answer(&mut self, document: &Value, status: u8) {
        self.stdout = document.to_string().into_bytes();
        self.status = status;
    }

    /// Answers nothing, with exit status 0.
    pub fn pretend(&mut self) {
        self.stdout.clear();
        self.status = 0;
    }

    /// Executes the plugin; whether it was asked for this operation and succeeded.
    pub fn succeeds(&mut self, operation: Operation) -> bool {
        self.run();
        self.is(operation) && self.succeeded()
    }

    /// Changes the object that is printed, whatever it is.
    pub fn edit_output(&mut self, change: impl FnOnce(&mut Map<String, Value>)) {
        if let Ok(Value::Object(mut object)) = serde_json::from_slice(&self.stdout) {
            change(&mut object);
            self.stdout = Value::Object(object).to_string().into_bytes();
        }
    }

    /// Executes the plugin and, if it succeeds in this operation, changes the result that it prints.
    pub fn edit_result(&mut self, operation: Operation, change: impl FnOnce(&mut Map<String, Value>)) {
        if self.succeeds(operation) {
            self.edit_output(change);
        }
    }

    /// Executes the plugin and, if it fails, changes the error object.
    pub fn edit_error(&mut self, change: impl FnOnce(&mut Map<String, Value>)) {
        self.run();
        if !self.succeeded() {
            self.edit_output(change);
        }
    }

    /// Executes the plugin and reports an error that has one code with another.
    pub fn recode(&mut self, from: u32, to: u32) {
        self.edit_error(|error| {
            if error.get("code") == Some(&json!(from)) {
                error.insert("code".into(), json!(to));
            }
        });
    }

    /// Executes the plugin, and pretends that an operation succeeded whatever came of it.
    pub fn always_succeed(&mut self, operation: Operation) {
        self.run();
        if self.is(operation) && !self.succeeded() {
            self.pretend();
        }
    }

    /// Prints, and gives the exit status.
    pub(super) fn finish(self) -> ExitCode {
        // Nobody may be reading.
        let _ = std::io::stdout().write_all(&self.stdout).and_then(|()| std::io::stdout().flush());
        ExitCode::from(self.status)
    }
}
