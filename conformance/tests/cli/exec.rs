//! `cnitest exec`, with plugins in shell that touch nothing.

use std::process::Command;

use serde_json::json;

use crate::common::{Folder, cnitest};

/// A folder with the network `net`, whose plugin answers in 1.1.0 or fails where the file `fail` is.
fn world() -> Folder {
    let folder = Folder::new();
    folder.plugin(
        "p",
        "cat >/dev/null; [ -e \"${0%/*}/fail\" ] && { echo '{\"code\":11,\"msg\":\"come back later\"}'; exit 1; }\n\
         [ $CNI_COMMAND = ADD ] && echo \"{\\\"cniVersion\\\":\\\"1.1.0\\\",\\\"interfaces\\\":[{\\\"name\\\":\\\"$CNI_IFNAME\\\",\\\"sandbox\\\":\\\"$CNI_CONTAINERID\\\"}]}\"\n\
         [ $CNI_COMMAND = VERSION ] && echo '{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"1.0.0\"]}'; exit 0",
    );
    let list = json!({"cniVersion": "1.1.0", "name": "net", "plugins": [{"type": "p"}]});
    std::fs::write(folder.path().join("net.conflist"), list.to_string()).expect("written");
    std::fs::write(folder.path().join("netns"), "").expect("written");
    folder
}

fn exec(folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = cnitest();
    command.arg("exec").args(arguments).arg("--cache-dir").arg(folder.path().join("cache"));
    command.env("NETCONFPATH", folder.path()).env("CNI_PATH", folder.path()).current_dir(folder.path());
    for name in ["CAP_ARGS", "CNI_ARGS", "CNI_IFNAME"] {
        command.env_remove(name);
    }
    command
}

/// The commands as a user sees them, the folder's name replaced.
fn transcript(folder: &Folder, commands: &[&[&str]]) -> String {
    let mut all = String::new();
    for arguments in commands {
        let output = exec(folder, arguments).output().expect("cnitest starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        all += &format!(
            "$ cnitest exec {}\n{}{}exit status {}\n",
            arguments.join(" "),
            text(&output.stdout),
            text(&output.stderr),
            output.status.code().expect("exits")
        );
    }
    all.replace(folder.path().to_str().expect("text"), "FOLDER")
}

#[test]
fn a_container_comes_and_goes() {
    let folder = world();
    let id = ["--container-id", "c1"];
    let with = |operation| [&[operation, "net", "netns"][..], &id[..]].concat();
    insta::assert_snapshot!(
        "exec_operations",
        transcript(
            &folder,
            &[
                &["status", "net"],
                &["version", "net"],
                &with("check"),
                &with("add"),
                &with("add"),
                &with("check"),
                &["gc", "net"],
                &with("check"),
                &with("del"),
                &with("del"),
                &["add", "net", "netns", "--container-id", "c2", "-i", "eth9"],
                &["gc", "net", "--all"],
                &["check", "net", "--container-id", "c2", "-i", "eth9"],
            ]
        )
    );
}

#[test]
fn errors_say_what_to_do() {
    let folder = world();
    std::fs::write(folder.path().join("fail"), "").expect("written");
    insta::assert_snapshot!(
        "exec_errors",
        transcript(
            &folder,
            &[
                &["add", "net", "netns", "--container-id", "c1"],
                &["add", "net", "nowhere", "--container-id", "c1"],
                &["add", "other", "netns", "--container-id", "c1"],
                &["add", "../net", "netns", "--container-id", "c1"],
                &["del", "net", "netns", "--container-id", "../../c1"],
                &["gc", "net", "--keep", "c1"],
                &["add", "net"],
            ]
        )
    );
}

#[test]
fn what_is_no_namespace_is_neither_made_one_nor_removed() {
    let folder = world();
    insta::assert_snapshot!(
        "exec_namespaces",
        transcript(
            &folder,
            &[
                &["add", "net", "netns", "--make-netns", "--container-id", "c1"],
                &["del", "net", "netns", "--remove-netns", "--container-id", "c1"],
                &["del", "net", "nowhere", "--remove-netns", "--container-id", "c1"],
                &["add", "net", "--make-netns", "--container-id", "c1"],
            ]
        )
    );
    assert!(folder.path().join("netns").exists());
}

#[test]
fn variables_are_those_of_cnitool() {
    let folder = world();
    let output = exec(&folder, &["add", "net", "netns"]).env("CNI_IFNAME", "lan0").output().expect("starts");
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a result");
    assert_eq!(result["interfaces"][0]["name"], "lan0");
    assert!(result["interfaces"][0]["sandbox"].as_str().expect("an ID").starts_with("cnitool-"));
    for (name, value) in [("CAP_ARGS", "[]"), ("CNI_ARGS", "A;B")] {
        let output = exec(&folder, &["del", "net", "netns"]).env(name, value).output().expect("starts");
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(name));
    }
}
