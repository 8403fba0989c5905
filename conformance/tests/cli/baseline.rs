//! Baselines on the command line.

use serde_json::Value;

use crate::common::{Folder, cnitest, run};
use crate::plugin::{possible, shell_plugin};

/// A plugin that refuses every ADD with code 4, whatever was wrong, and names one variable.
const REFUSES: &str = "cat >/dev/null; echo '{\"code\":4,\"msg\":\"CNI_CONTAINERID\"}'; exit 1";
/// A plugin that accepts every ADD.
const ACCEPTS: &str = "cat >/dev/null; echo '{\"cniVersion\":\"1.0.0\"}'";

/// Exit status, stdout and stderr.
fn said(arguments: &[&str]) -> (i32, String, String) {
    let output = run(arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("exits"), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_baseline_accepts_what_is_known_and_nothing_else() {
    if !possible() {
        return;
    }
    let folder = Folder::new();
    let file = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (baseline, report, saved) =
        (file("known.toml"), format!("baseline={}", file("known.toml")), file("run.json"));
    let json = format!("json={saved}");
    let plugin = shell_plugin(&folder, ACCEPTS);
    let only =
        ["plugin", plugin.as_str(), "--only", "parameters.all-missing", "--only", "execution.exit-status"];
    let (status, _, _) = said(&[&only[..], &["--report", &report, "--report", &json]].concat());
    assert_eq!(status, 1);
    let written = std::fs::read_to_string(&baseline).expect("written");
    assert!(written.contains("check = \"parameters.all-missing\""), "{written}");

    // The same from the saved run.
    let other = file("other.toml");
    assert_eq!(said(&["report", &saved, "--report", &format!("baseline={other}")]).0, 0);
    assert_eq!(std::fs::read_to_string(&other).expect("written"), written);

    // A reason is kept where the file is written again, also by a run that plays less.
    let reasoned = written.replacen("requirements", "reason = \"as agreed\"\nrequirements", 1);
    std::fs::write(&baseline, &reasoned).expect("written");
    let (status, text, _) = said(&[&only[..], &["--baseline", &baseline]].concat());
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("NOT CONFORMANT") && text.contains("): as agreed"), "{text}");
    let (status, _, _) =
        said(&[&only[..2], &["--only", "parameters.all-missing", "--report", &report]].concat());
    assert_eq!(status, 1);
    let again = std::fs::read_to_string(&baseline).expect("written");
    assert_eq!(again.matches("[[deviation]]").count(), written.matches("[[deviation]]").count());
    assert!(again.contains("reason = \"as agreed\""), "{again}");

    // What was left out is neither fixed nor stale; what passes now is told, in the report too.
    let (status, text, _) = said(&[&only[..4], &["--baseline", &baseline]].concat());
    assert_eq!((status, text.contains("FIXED"), text.contains("STALE")), (0, false, false), "{text}");
    shell_plugin(&folder, REFUSES);
    let (status, text, _) = said(&[&only[..], &["--baseline", &baseline, "--report", &json]].concat());
    assert!(text.contains("FIXED execution.exit-status: now passes in CNI 1.0.0"), "{text}");
    assert_eq!(status, 0, "{text}");
    let saved: Value = serde_json::from_slice(&std::fs::read(&saved).expect("saved")).expect("JSON");
    assert_eq!(saved["baseline"]["file"], Value::String(baseline.clone()));
    assert!(!saved["baseline"]["unexpectedPasses"].as_array().expect("a list").is_empty(), "{saved}");

    // Something new fails the run, known deviations or not.
    let (status, text, _) =
        said(&["plugin", &plugin, "--only", "parameters.*", "--baseline", &baseline, "--strict"]);
    assert_eq!(status, 1, "{text}");
}

#[test]
fn a_baseline_with_a_mistake_is_refused_before_anything_runs_and_never_overwritten() {
    let folder = Folder::new();
    let file = folder.path().join("known.toml");
    let text = "[[deviation]]\nplugin = \"bridge\"\ncheck = \"del.repeatd\"\ncase = \"gateway\"\n\
                verdict = \"fail\"\nrequirements = [\"del.idempotent\"]\n";
    std::fs::write(&file, text).expect("written");
    let path = file.to_str().expect("text");
    let (status, _, errors) = said(&["plugin", "/nonexistent", "--baseline", path]);
    assert_eq!(status, 2, "{errors}");
    let (status, _, errors) = said(&["plugin", "loopback", "--baseline", path]);
    assert_eq!(status, 2);
    assert!(errors.contains("known.toml, line 3: there is no check \"del.repeatd\""), "{errors}");
    assert!(errors.contains("did you mean \"del.repeated\"?"), "{errors}");
    let (status, _, errors) = said(&["plugin", "loopback", "--baseline", "/nonexistent/known.toml"]);
    assert_eq!(status, 2);
    assert!(errors.contains("cannot read the baseline /nonexistent/known.toml"), "{errors}");
    if !possible() {
        return;
    }
    let output = cnitest()
        .args(["plugin", "loopback", "--only", "version.answers", "--report", &format!("baseline={path}")])
        .output()
        .expect("cnitest starts");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(&file).expect("there"), text);
}
