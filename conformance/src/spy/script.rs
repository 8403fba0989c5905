//! What spies answer.

use std::collections::BTreeSet;

use cni_spec::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Record, result_of};

/// What spies answer: the first rule that fits, or what a plugin without a defect would.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Script {
    /// The rules, first come first.
    pub rules: Vec<Rule>,
}

/// An answer, and when it is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// The spy's name, or `*`.
    pub plugin: String,
    /// The operation as CNI_COMMAND names it, or `*`.
    pub command: String,
    /// The only calls of this spy with this operation, counted from 1; all of them when empty.
    pub calls: BTreeSet<u32>,
    /// The answer.
    pub answer: Answer,
}

impl Rule {
    /// Has a spy answer every execution with an operation so; `*` stands for any.
    pub fn new(plugin: &str, command: &str, answer: Answer) -> Rule {
        Rule { plugin: plugin.to_owned(), command: command.to_owned(), calls: BTreeSet::new(), answer }
    }

    /// On this call too, and on none that was not named.
    #[must_use]
    pub fn on_call(mut self, call: u32) -> Rule {
        self.calls.insert(call);
        self
    }

    fn fits(&self, record: &Record, call: u32) -> bool {
        let names = |pattern: &str, name: &str| pattern == "*" || pattern == name;
        names(&self.plugin, &record.plugin)
            && names(&self.command, record.command())
            && (self.calls.is_empty() || self.calls.contains(&call))
    }
}

/// How an execution is answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// Milliseconds until it is answered.
    pub delay_ms: u64,
    /// It is never answered.
    pub hang: bool,
    /// Signals that would end it are written down and have no effect.
    pub stubborn: bool,
    /// Printed to stdout instead of what a plugin without a defect prints, to the letter.
    pub print: Option<String>,
    /// Printed to stderr.
    pub stderr: Option<String>,
    /// The exit status; 0 when left out.
    pub exit: Option<u8>,
    /// The signal that it dies of after it has answered.
    pub signal: Option<i32>,
    /// The versions of VERSION's answer; all of them when empty.
    pub versions: Vec<String>,
}

impl Answer {
    /// An error object with this code, and exit status 1.
    pub fn fails(code: u32) -> Answer {
        let error = json!({
            "cniVersion": Version::LATEST.as_str(),
            "code": code,
            "msg": format!("spy-refusal-{code}"),
            "details": format!("spy-details-{code}"),
        });
        Answer { print: Some(error.to_string()), exit: Some(1), ..Answer::default() }
    }

    /// This text on stdout and exit status 0.
    pub fn prints(text: impl Into<String>) -> Answer {
        Answer { print: Some(text.into()), ..Answer::default() }
    }

    /// What is right, but later.
    pub fn after(milliseconds: u64) -> Answer {
        Answer { delay_ms: milliseconds, ..Answer::default() }
    }

    /// Nothing, for ever.
    pub fn never() -> Answer {
        Answer { hang: true, ..Answer::default() }
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        self.exit.unwrap_or(0)
    }

    /// What is printed.
    pub fn stdout(&self, record: &Record) -> String {
        if let Some(text) = &self.print {
            return text.clone();
        }
        match record.command() {
            "ADD" => result_of(record).to_string(),
            "VERSION" => {
                let all = || Version::ALL.iter().map(|version| version.as_str().to_owned()).collect();
                let versions: Vec<String> = match self.versions.is_empty() {
                    true => all(),
                    false => self.versions.clone(),
                };
                let asked = record.request().get("cniVersion").cloned();
                let version = asked.unwrap_or_else(|| Value::from(Version::LATEST.as_str()));
                json!({ "cniVersion": version, "supportedVersions": versions }).to_string()
            }
            _ => String::new(),
        }
    }
}

impl Script {
    /// The answer to an execution; `call` counts those of this spy with this operation.
    pub fn answer(&self, record: &Record, call: u32) -> Answer {
        let rule = self.rules.iter().find(|rule| rule.fits(record, call));
        rule.map(|rule| rule.answer.clone()).unwrap_or_default()
    }
}
