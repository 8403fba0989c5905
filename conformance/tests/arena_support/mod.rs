//! What the tests of arenas and executions share.

use std::path::{Path, PathBuf};
use std::process::Command;

use cnitest::arena::{Arena, ArenaConfig};
use cnitest::invoke::{Execution, Invocation};

/// Names the agent's executable when the tests run from a copy, as another user.
const AGENT: &str = "CNITEST_TEST_AGENT";

/// The agent is the command under test.
pub(crate) fn config() -> ArenaConfig {
    let agent =
        std::env::var_os(AGENT).map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_cnitest")), PathBuf::from);
    ArenaConfig { agent_executable: agent, ..ArenaConfig::default() }
}

/// A new arena.
pub(crate) fn arena() -> Arena {
    Arena::start(&config()).unwrap_or_else(|error| panic!("these tests need namespaces: {error}"))
}

/// A shell command as an execution.
pub(crate) fn shell(command: &str) -> Invocation {
    Invocation::new("/bin/sh").args(["-c", command]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
}

/// Waits in a shell until so many processes are this command: one in the background is a shell at first.
pub(crate) fn until_run(count: usize, command: &str) -> String {
    let lines = "for file in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$file; echo; done 2>/dev/null";
    format!("until [ $({lines} | grep -cx '{command} ') -ge {count} ]; do :; done")
}

/// Runs a shell command that must succeed.
pub(crate) fn run(arena: &mut Arena, command: &str) -> Execution {
    let execution = arena.execute(&shell(command)).expect("the arena answers");
    assert!(execution.outcome.success(), "{command}: {}\n{}", execution.outcome, execution.stderr_text());
    execution
}

/// Whether this process is root, for whom there is no user namespace.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

/// Runs all other tests of this binary as an ordinary user; `this` is the name of the calling test.
/// Does nothing when the tests already run as one.
pub(crate) fn repeat_as_ordinary_user(this: &str) {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let mode = |path: &Path| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, permissions).expect("permissions");
    };
    mode(folder.path());
    let place = |name: &str, from: &Path| {
        let to = folder.path().join(name);
        std::fs::copy(from, &to).expect("copied");
        mode(&to);
        to
    };
    let tests = place("tests", &std::env::current_exe().expect("own path"));
    let agent = place("agent", &config().agent_executable);
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(tests)
        .args(["--skip", this])
        .env(AGENT, agent)
        .current_dir("/")
        .output()
        .expect("setpriv starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains("running 0 tests"), "{text}");
}
