//! The built-in adapters, on the runtimes that are installed.

use std::process::Command;

use serde_json::Value;

use crate::common::{refused, results, run};

/// Each attaches and detaches in the order of the network, and leaves no process, mount or control group behind.
#[test]
fn installed_runtimes_are_driven() {
    if let Some(reason) = refused() {
        eprintln!("skipped: {reason}");
        return;
    }
    let groups = || {
        Command::new("find").args(["/sys/fs/cgroup", "-type", "d"]).output().map(|found| found.stdout).ok()
    };
    for name in ["podman", "buildah", "containerd-ctr", "containerd-cri", "crio", "nerdctl"] {
        let before = groups();
        let output =
            run(&["runtime", name, "--only", "runtime.order", "--spec-version", "1.0.0", "--format", "json"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let Ok(run) = serde_json::from_slice::<Value>(&output.stdout) else { panic!("{name}: {said}") };
        let found = results(&run, "runtime.order");
        let reasons: Vec<&str> = found.iter().filter_map(|result| result["reason"].as_str()).collect();
        let unable = ["is not here", "cannot run containers here"];
        if found.is_empty() || reasons.iter().any(|reason| unable.iter().any(|words| reason.contains(words)))
        {
            eprintln!("skipped: {name}: {}", reasons.first().unwrap_or(&"not installed"));
            continue;
        }
        assert!(found.iter().all(|result| result["verdict"] == "pass"), "{name}: {reasons:?}");
        assert_eq!(groups(), before, "{name} left a control group");
    }
}
