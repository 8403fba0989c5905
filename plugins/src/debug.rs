//! `debug`: writes down how it was executed, passes `prevResult` through, and answers as the configuration says.

use std::fs::File;
use std::io::{self, Write};

use cni_spec::Operation;
use serde_json::{Map, Value, json};

use crate::fields::{Fields, invalid};
use crate::refusal::Refusal;
use crate::skel::{Answer, Outcome, Plugin, Request, io_failure};

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "debug",
    about: "a chained plugin for tests: appends one JSON line for each execution to the file logFile and passes \
            prevResult through, or answers what answer.<OPERATION> says {stdout, stderr, exitCode}.",
    add: execute,
    del: execute,
    check: execute,
    gc: execute,
    status: execute,
    #[cfg(feature = "fuzzing")]
    understand,
};

fn execute(request: &Request) -> Outcome {
    let fields = request.fields();
    let answer = match fields.object("answer")? {
        None => None,
        Some(_) => scripted(request)?,
    };
    if let Some(text) = answer.as_ref().and_then(|answer| answer.stderr.as_deref()) {
        // A test that closed standard error does not look at it.
        let _ = io::stderr().write_all(text.as_bytes());
    }
    if let Some(path) = fields.string("logFile")? {
        record(request, path)
            .map_err(|error| io_failure(format!("logFile: cannot append to {path}"), &error))?;
    }
    if let Some(answer) = answer {
        return Ok(answer.answer);
    }
    match request.operation {
        Operation::Add => Ok(Answer::Result(Box::new(request.prev_result.clone().unwrap_or_default()))),
        Operation::Check => request.required_prev_result().map(|_| Answer::Silence),
        Operation::Gc => request.valid_attachments().map(|_| Answer::Silence),
        _ => Ok(Answer::Silence),
    }
}

/// Appends the execution with one write, so that lines of plugins that run at the same time do not mix.
fn record(request: &Request, path: &str) -> io::Result<()> {
    let mut environment = Map::new();
    for (key, value) in &request.environment {
        environment.insert(key.to_string_lossy().into_owned(), value.to_string_lossy().into());
    }
    let mut line = json!({
        "operation": request.operation.as_str(),
        "environment": environment,
        "stdin": request.config,
    })
    .to_string();
    line.push('\n');
    let mut file = File::options().create(true).append(true).open(path)?;
    file.lock()?;
    file.write_all(line.as_bytes())
}

/// What the configuration has the plugin answer.
struct Scripted {
    answer: Answer,
    stderr: Option<String>,
}

/// What `answer` says for the operation.
fn scripted(request: &Request) -> Result<Option<Scripted>, Refusal> {
    let Some(value) =
        request.config.get("answer").and_then(|answers| answers.get(request.operation.as_str()))
    else {
        return Ok(None);
    };
    let place = format!("answer.{}", request.operation);
    let fields = Fields::at(&place, value)?;
    let status = fields.u32("exitCode")?.unwrap_or(0);
    let status =
        u8::try_from(status).map_err(|_| invalid(&fields.place("exitCode"), "use a number from 0 to 255"))?;
    let stderr = fields.string("stderr")?.map(str::to_owned);
    let stdout = fields.get("stdout").map(Value::to_string).unwrap_or_default();
    Ok(Some(Scripted { answer: Answer::Verbatim(stdout, status), stderr }))
}

#[cfg(feature = "fuzzing")]
fn understand(request: &Request) -> Result<(), Refusal> {
    request.fields().object("answer")?;
    scripted(request)?;
    request.fields().string("logFile")?;
    crate::fuzzing::common(request)
}
