//! `cnitest churn`, with bundled plugins and with plugins in shell.

use std::path::Path;

use serde_json::{Value, json};

use crate::common::{Folder, cnitest, refused};

/// A plugin that answers, and does something first.
fn plugin(folder: &Folder, first: &str) {
    folder.plugin(
        "p",
        &format!(
            "cat >/dev/null; {first}\n[ $CNI_COMMAND = ADD ] && echo \"{{\\\"cniVersion\\\":\\\"1.0.0\\\",\\\"ips\\\":[{{\\\"address\\\":\\\"${{ip:-10.0.0.1}}/16\\\"}}]}}\"; exit 0"
        ),
    );
    let list = json!({"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "p"}]});
    std::fs::write(folder.path().join("net.conflist"), list.to_string()).expect("written");
}

/// The run that these arguments make, judged by its schema, and the exit status.
fn churn(folder: Option<&Path>, arguments: &[&str]) -> (Value, i32) {
    let mut command = cnitest();
    command.args(["churn", "--format", "json"]).args(arguments);
    if let Some(folder) = folder {
        command.arg(folder.join("net.conflist")).arg("--plugin-dir").arg(folder);
    }
    let output = command.output().expect("cnitest starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let run: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    let schema: Value = serde_json::from_str(cnitest_reports::churn::schema()).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let errors: Vec<String> = validator.iter_errors(&run).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    (run, output.status.code().expect("exits"))
}

fn skipped() -> bool {
    let reason = refused();
    if let Some(reason) = &reason {
        eprintln!("skipped: {reason}");
    }
    reason.is_some()
}

#[test]
fn bundled_plugins_come_and_go() {
    if skipped() {
        return;
    }
    let (run, status) = churn(None, &["--containers", "12", "--concurrency", "3", "--check"]);
    assert_eq!((status, &run["clean"]), (0, &json!(true)), "{run:#}");
    let load = &run["load"];
    assert_eq!((&load["attachments"], &load["mostAtOnce"]), (&json!(12), &json!(3)));
    // Three operations of two plugins.
    assert_eq!(load["executions"], 12 * 3 * 2);
    let titles: Vec<String> = load["plugins"]
        .as_array()
        .expect("plugins")
        .iter()
        .map(|timing| format!("{} {} {}", timing["plugin"], timing["operation"], timing["latency"]["count"]))
        .collect();
    assert_eq!(titles.len(), 6);
    assert!(titles.iter().all(|title| title.ends_with(" 12")), "{titles:?}");
    let delegated = run["quiet"].as_array().expect("quiet").iter().filter(|quiet| quiet["delegated"] == true);
    let delegated: Vec<&Value> = delegated.map(|quiet| &quiet["plugin"]).collect();
    assert_eq!(delegated, ["host-local"; 2]);
    let quiet = run["quiet"].as_array().expect("quiet");
    let kib = |quiet: &Value, key: &str| quiet[key].as_u64().expect("a number");
    assert!(
        quiet
            .iter()
            .all(|quiet| kib(quiet, "privateKib") > 10 && kib(quiet, "peakKib") > kib(quiet, "privateKib")),
        "{quiet:?}"
    );
}

#[test]
fn an_open_loop_counts_waiting() {
    if skipped() {
        return;
    }
    let folder = Folder::new();
    plugin(&folder, "sleep 0.02; ip=10.0.0.$(($$ % 250))");
    // Fifty arrive at once, and one at a time takes its turn.
    let arguments = ["--containers", "50", "--concurrency", "1", "--rate", "10000"];
    let (run, _) = churn(Some(folder.path()), &arguments);
    let add = &run["load"]["operations"][0];
    let median = |of: &str| add[of]["p50Us"].as_u64().expect("a time");
    assert!(median("response") > 10 * median("latency"), "{add}");
}

#[test]
fn failures_leaks_and_duplicates_are_told() {
    if skipped() {
        return;
    }
    let folder = Folder::new();
    let fails = "case $CNI_COMMAND$CNI_CONTAINERID in ADD*3) echo \"{\\\"code\\\":11,\\\"msg\\\":\\\"no room for $CNI_CONTAINERID\\\"}\"; exit 1;; esac";
    plugin(
        &folder,
        &format!("{fails}; [ $CNI_COMMAND = ADD ] && : >/run/leaked-$CNI_CONTAINERID; sleep 0.01"),
    );
    let (run, status) = churn(Some(folder.path()), &["--containers", "20", "--concurrency", "4"]);
    assert_eq!((status, &run["clean"]), (1, &json!(false)));
    let failure = &run["failures"][0];
    assert_eq!(
        (&failure["operation"], &failure["plugin"], &failure["what"]),
        (&json!("ADD"), &json!("p"), &json!("code 11: no room for #"))
    );
    let failed = run["load"]["operations"][0]["failed"].as_u64().expect("a count");
    let gone = run["load"]["attachments"].as_u64().expect("a count");
    assert_eq!((failed + gone, failed), (20, 2));
    assert_eq!(
        (&run["leaks"]["count"], run["leaks"]["kinds"].as_array().map(Vec::len)),
        (&json!(18), Some(1))
    );
    assert!(run["duplicates"]["count"].as_u64().is_some_and(|count| count > 0), "all have the same address");
}

#[test]
fn the_bundled_chain_is_on_as_many_bridges_as_asked_for() {
    if skipped() {
        return;
    }
    let (run, status) = churn(None, &["--containers", "6", "--concurrency", "3", "--bridges", "3"]);
    assert_eq!((status, &run["clean"]), (0, &json!(true)), "{run:#}");
    assert_eq!(run["subject"]["networks"], json!(["churn", "churn-1", "churn-2"]));
    let (run, _) = churn(None, &["--containers", "1"]);
    assert_eq!(run["subject"]["networks"], json!(["churn"]));
}

#[test]
fn growth_has_a_point_for_each_size() {
    if skipped() {
        return;
    }
    let folder = Folder::new();
    plugin(&folder, "ip=10.0.$(($$ / 250 % 250)).$(($$ % 250))");
    let (run, _) = churn(Some(folder.path()), &["--growth=1,3"]);
    let points = run["growth"]["points"].as_array().expect("points");
    let sizes: Vec<(u64, &str)> = points
        .iter()
        .map(|point| {
            assert_eq!(point["latency"]["count"], 40);
            (point["attachments"].as_u64().expect("a size"), point["operation"].as_str().expect("a name"))
        })
        .collect();
    assert_eq!(sizes, [(1, "ADD"), (1, "DEL"), (3, "ADD"), (3, "DEL")]);
    assert_eq!(run["growth"]["fits"].as_array().map(Vec::len), Some(4));
    assert_eq!(run["leaks"]["count"], 0);
}

#[test]
fn a_soak_sees_what_becomes_ever_more() {
    if skipped() {
        return;
    }
    let folder = Folder::new();
    plugin(&folder, "[ $CNI_COMMAND = ADD ] && : >/run/leaked-$CNI_CONTAINERID; ip=10.0.0.$(($$ % 250))");
    let (run, status) = churn(Some(folder.path()), &["--soak", "--containers", "40"]);
    assert_eq!((status, run["soak"]["windows"].as_array().map(Vec::len)), (1, Some(20)));
    let drifts = run["soak"]["drifts"].as_array().expect("drifts");
    let files = drifts.iter().find(|drift| drift["figure"] == "files").expect("files");
    assert_eq!(files["grows"], true);
}

#[test]
fn runs_are_compared() {
    if skipped() {
        return;
    }
    let folder = Folder::new();
    plugin(&folder, "ip=10.0.0.$(($$ % 250))");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (fast, slow) = (file("fast.json"), file("slow.json"));
    let measure = |report: &str| {
        churn(
            Some(folder.path()),
            &["--containers", "40", "--concurrency", "1", "--report", &format!("json={report}")],
        )
    };
    measure(&fast);
    plugin(&folder, "sleep 0.3; ip=10.0.0.$(($$ % 250))");
    measure(&slow);
    let compare = |run: &str, against: &str| {
        cnitest().args(["churn", "--run", run, "--against", against]).output().expect("cnitest starts")
    };
    assert_eq!(compare(&fast, &fast).status.code(), Some(0));
    assert_eq!(compare(&slow, &fast).status.code(), Some(1));
    let page = file("page.html");
    let output = cnitest()
        .args(["churn", "--run", &fast, "--against", &fast, "--report", &format!("html={page}")])
        .output()
        .expect("cnitest starts");
    assert_eq!(output.status.code(), Some(0));
    assert!(std::fs::read_to_string(&page).expect("a page").contains("<svg "));
}

#[test]
fn what_cannot_be_measured_is_said() {
    if skipped() {
        return;
    }
    let folder = Folder::new();
    plugin(&folder, "echo '{\"code\":7,\"msg\":\"never\"}'; exit 1");
    let list = folder.path().join("net.conflist").display().to_string();
    let dir = folder.path().display().to_string();
    let says = |arguments: &[&str], words: &str| {
        let output = cnitest().arg("churn").args(arguments).output().expect("cnitest starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{said}");
    };
    says(&[&list, "--plugin-dir", &dir], "nothing can be attached: p ADD: code 7: never");
    says(&[&list], "no plugin \"p\" in bundled plugins");
    says(&[&list, &list, "--plugin-dir", &dir], "two networks are called \"net\"");
    says(&["/nonexistent.conflist"], "cannot read /nonexistent.conflist");
    says(&["--rate", "0"], "a number of containers in a second");
}
