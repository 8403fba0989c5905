//! Certificates: written, verified, refused.

use std::collections::BTreeSet;

use cnitest::checks::Concerns;
use serde_json::Value;

use crate::common::{Folder, run};
use crate::plugin::{possible, shell_plugin};

/// Refuses ADD and every operation that it does not know.
const REFUSES: &str = "cat >/dev/null; echo '{\"code\":4,\"msg\":\"CNI_CONTAINERID\"}'; exit 1 ;;\n\
                       *) cat >/dev/null; echo '{\"code\":4,\"msg\":\"CNI_COMMAND\"}'; exit 1";
/// Accepts everything.
const ACCEPTS: &str = "cat >/dev/null; echo '{\"cniVersion\":\"1.0.0\"}'";

/// Exit status, stdout and stderr.
fn said(arguments: &[&str]) -> (i32, String, String) {
    let output = run(arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("exits"), text(&output.stdout), text(&output.stderr))
}

/// A JSON file that cnitest wrote; a certificate has its schema.
fn json(path: &str) -> Value {
    let value: Value = serde_json::from_slice(&std::fs::read(path).expect("written")).expect("JSON");
    if value.get("certificateVersion").is_some() {
        let schema = include_str!("../../../schemas/report/certificate.schema.json");
        let schema =
            jsonschema::validator_for(&serde_json::from_str(schema).expect("JSON")).expect("a schema");
        let problems: Vec<String> = schema.iter_errors(&value).map(|error| error.to_string()).collect();
        assert_eq!(problems, Vec::<String>::new());
    }
    value
}

fn path(folder: &Folder, name: &str) -> String {
    folder.path().join(name).to_str().expect("text").to_owned()
}

fn section<'a>(certificate: &'a Value, name: &str) -> &'a Value {
    let all = certificate["features"].as_array().expect("a list");
    all.iter().find(|section| section["name"] == name).unwrap_or_else(|| panic!("no {name}: {certificate}"))
}

#[test]
fn a_bundled_plugin_is_certified_and_the_certificate_can_be_repeated() {
    if !possible() {
        return;
    }
    let folder = Folder::new();
    let (file, saved) = (path(&folder, "certificate.json"), path(&folder, "run.json"));
    let reports = [format!("certificate={file}"), format!("json={saved}")];
    let (status, text, _) =
        said(&["plugin", "static", "--seed", "7", "--report", &reports[0], "--report", &reports[1]]);
    assert_eq!(status, 0, "{text}");
    let certificate = json(&file);
    assert_eq!(certificate["result"], "conformant", "{}", certificate["limits"]);
    assert_eq!((&certificate["profile"], &certificate["seed"]), (&Value::from("ipam"), &Value::from(7)));
    assert_eq!(certificate["core"]["status"], "passed");
    assert_eq!(section(&certificate, "status")["status"], "passed");
    assert_eq!(section(&certificate, "bandwidth")["status"], "unsupported");
    assert!(section(&certificate, "bandwidth")["note"].is_string());

    // A saved run says the same.
    let again = path(&folder, "again.json");
    assert_eq!(said(&["report", &saved, "--report", &format!("certificate={again}")]).0, 0);
    assert_eq!(json(&again), certificate);

    let (status, text, errors) = said(&["verify", &file, "static"]);
    assert_eq!(status, 0, "{text}{errors}");
    assert!(text.contains("the one that was certified"), "{text}");
    assert!(text.ends_with("The certificate of static holds.\n"), "{text}");
}

#[test]
fn capabilities_are_told_by_the_configurations_that_hand_them_over() {
    if !possible() {
        return;
    }
    let folder = Folder::new();
    let file = path(&folder, "certificate.json");
    let only = ["--only", "add.succeeds", "--only", "version.answers"];
    let report = format!("certificate={file}");
    let target = path(&folder, "mine.toml");
    let text = "name = \"subject\"\nkind = \"chained\"\nsummary = \"mine\"\n[[configuration]]\nname = \"forwarding\"\nplugin = '''\n\
                { \"type\": \"subject\", \"runtimeConfig\": { \"portMappings\": [] } }'''\n";
    std::fs::write(&target, text).expect("written");
    let plugin = shell_plugin(&folder, ACCEPTS);
    said(&[&["plugin", &plugin, "--target", &target], &only[..], &["--report", &report]].concat());
    let certificate = json(&file);
    assert_eq!(certificate["profile"], "chained");
    let limit = &certificate["limits"][0];
    assert_eq!(limit["reason"], "left out by --only add.succeeds --only version.answers");
    assert!(limit["checks"].as_array().expect("a list").contains(&Value::from("del.repeated")), "{limit}");
    let feature = section(&certificate, "portMappings");
    let checks: Vec<&Value> =
        feature["checks"].as_array().expect("a list").iter().map(|check| &check["check"]).collect();
    assert_eq!(checks, ["add.succeeds"], "what asks nothing but the protocol tells nothing of it");
    assert_eq!((&feature["status"], &feature["note"]), (&Value::from("passed"), &Value::Null));
    let gc = section(&certificate, "gc");
    assert_eq!(gc["note"], "GC exists from CNI 1.1.0, which the plugin does not support");
    assert_eq!(gc["status"], "unsupported");
}

#[test]
fn what_changed_since_is_told_both_ways() {
    if !possible() {
        return;
    }
    let folder = Folder::new();
    let (bad, good) = (path(&folder, "bad.json"), path(&folder, "good.json"));
    let only = ["--only", "execution.exit-status"];
    let certify = |plugin: &str, file: &str| {
        let report = format!("certificate={file}");
        said(&[&["plugin", plugin], &only[..], &["--report", &report]].concat());
        json(file)
    };
    let plugin = shell_plugin(&folder, ACCEPTS);
    assert_eq!(certify(&plugin, &bad)["result"], "not-conformant");
    shell_plugin(&folder, REFUSES);
    let certificate = certify(&plugin, &good);
    assert_eq!((&certificate["profile"], &certificate["result"]), (&Value::Null, &Value::from("undecided")));

    // What passed fails now: another executable, and another behaviour.
    shell_plugin(&folder, ACCEPTS);
    let (status, text, _) = said(&["verify", &good, &plugin, "--other-build"]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("WORSE  core: fail of exec.exit-nonzero-on-failure in CNI 1.0.0"), "{text}");
    // The other way round, only the executable is another.
    shell_plugin(&folder, REFUSES);
    let (status, text, _) = said(&["verify", &bad, &plugin]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("BETTER core: no more fail of exec.exit-nonzero-on-failure"), "{text}");
    assert!(text.contains("another one: its digest differs"), "{text}");
    assert_eq!(said(&["verify", &bad, &plugin, "--other-build"]).0, 0);
    // A run will do as well as a certificate.
    let saved = path(&folder, "run.json");
    said(&[&["plugin", &plugin], &only[..], &["--report", &format!("json={saved}")]].concat());
    let (status, text, errors) = said(&["verify", &saved, &plugin]);
    assert_eq!(status, 0, "{text}{errors}");
}

#[test]
fn a_certificate_carries_its_target_file() {
    if !possible() {
        return;
    }
    let folder = Folder::new();
    let (target, file) = (path(&folder, "mine.toml"), path(&folder, "certificate.json"));
    let text = "name = \"static\"\nkind = \"ipam\"\nsummary = \"mine\"\n[[configuration]]\nname = \"mine\"\nplugin = '''\n\
                { \"type\": \"static\", \"ipam\": { \"type\": \"static\", \"addresses\": [{ \"address\": \"10.1.2.3/24\" }] } }'''\n";
    std::fs::write(&target, text).expect("written");
    let (report, only) = (format!("certificate={file}"), ["--only", "ipam.*", "--spec-version", "1.0.0"]);
    let (status, out, errors) =
        said(&[&["plugin", "static", "--target", &target, "--report", &report], &only[..]].concat());
    assert_eq!(status, 0, "{out}{errors}");
    std::fs::remove_file(&target).expect("removed");
    let certificate = json(&file);
    assert_eq!(certificate["options"]["targetFile"]["text"], text);
    assert_eq!(certificate["result"], "conformant-as-tested");
    let reasons: Vec<&str> = certificate["limits"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|limit| limit["reason"].as_str())
        .collect();
    assert!(
        reasons.iter().any(|reason| reason.starts_with("left out by --spec-version: CNI 0.1.0")),
        "{reasons:?}"
    );
    let (status, text, errors) = said(&["verify", &file, "static"]);
    assert_eq!(status, 0, "{text}{errors}");
    assert!(text.contains("CNI 1.0.0\n") && text.contains("target file"), "{text}");
}

#[test]
fn several_plugins_have_one_document() {
    if !possible() {
        return;
    }
    let folder = Folder::new();
    let file = path(&folder, "certificates.json");
    let report = format!("certificate={file}");
    said(&["plugin", "static", "loopback", "--only", "version.answers", "--report", &report]);
    let set = json(&file);
    let names: Vec<&Value> =
        set["certificates"].as_array().expect("a list").iter().map(|one| &one["subject"]["name"]).collect();
    assert_eq!(names, ["static", "loopback"]);
    let (status, text, _) = said(&["verify", &file, "loopback"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("Certificate of loopback") && !text.contains("Certificate of static"), "{text}");
    let (status, _, errors) = said(&["verify", &file, "host-local"]);
    assert_eq!(status, 2);
    assert!(errors.contains("says nothing about host-local; it is about static, loopback"), "{errors}");
}

#[test]
fn what_is_no_certificate_is_refused() {
    let folder = Folder::new();
    let refused = |text: &str| {
        let file = path(&folder, "certificate.json");
        std::fs::write(&file, text).expect("written");
        let (status, _, errors) = said(&["verify", &file, "loopback"]);
        assert_eq!(status, 2);
        errors.replace(folder.path().to_str().expect("text"), "DIR")
    };
    let all = [
        said(&["verify", "/nonexistent/certificate.json", "loopback"]).2,
        refused("certificate"),
        refused("{}"),
        refused(r#"{"certificateVersion": "9"}"#),
        refused(r#"{"certificateVersion": "1", "tool": 3}"#),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn profiles_are_listed_with_all_of_their_checks() {
    let profiles: Value =
        serde_json::from_slice(&run(&["list", "profiles", "--format", "json"]).stdout).expect("JSON");
    let (_, text, _) = said(&["list", "profiles"]);
    let mut listed = BTreeSet::new();
    let names: Vec<&str> =
        profiles.as_array().expect("a list").iter().filter_map(|profile| profile["name"].as_str()).collect();
    assert_eq!(names, ["interface", "chained", "ipam", "meta"]);
    for profile in profiles.as_array().expect("a list") {
        let head = format!("{}: ", profile["name"].as_str().expect("a name"));
        assert!(text.lines().any(|line| line.starts_with(&head)), "{head}");
        let mut seen = BTreeSet::new();
        for feature in profile["features"].as_array().expect("a list") {
            let head = format!("  {}: ", feature["name"].as_str().expect("a name"));
            assert!(text.lines().any(|line| line.starts_with(&head)), "{head}");
            for check in feature["checks"].as_array().expect("a list") {
                let check = check.as_str().expect("a name");
                assert!(seen.insert(check), "{check} twice in {head}");
                listed.insert(check.to_owned());
            }
        }
    }
    let of_one_release = cnitest::checks::all()
        .filter(|check| !check.concerns.needs_other_release() && check.concerns != Concerns::Runtime);
    let all: BTreeSet<String> = of_one_release.map(|check| check.id.to_owned()).collect();
    assert_eq!(listed, all);
    let words: BTreeSet<String> = text.split_whitespace().map(str::to_owned).collect();
    assert!(all.is_subset(&words), "{:?}", all.difference(&words));
}
