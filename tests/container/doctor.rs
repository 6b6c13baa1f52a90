//! `doctor`: its rows agree with what containers of this host get, and it changes nothing.

use crate::harness::{Outcome, Sandbox, host_command, is_oxrun};
use serde_json::Value;
use std::fs;

macro_rules! only_oxrun {
    () => {
        if !is_oxrun() {
            skip!("`doctor` is oxrun's own");
        }
    };
}

fn rows(outcome: &Outcome) -> Vec<Value> {
    outcome.json()["rows"].as_array().unwrap().clone()
}

#[track_caller]
fn row<'a>(rows: &'a [Value], what: &str) -> &'a Value {
    rows.iter().find(|row| row["what"] == what).unwrap_or_else(|| panic!("{what}: {rows:#?}"))
}

#[test]
fn this_host_as_root() {
    only_oxrun!();
    let t = Sandbox::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let outcome = t.runtime(&["doctor", "--format", "json"]).ok();
    assert_eq!(outcome.stderr, "");
    let found = rows(&outcome);
    for what in ["openat2", "fsopen", "clone3", "pidfd", "close_range", "mount", "pid", "state directory"] {
        let row = row(&found, what);
        assert!(row["state"] == "yes" && row["essential"] == true && row["remedy"].is_null(), "{row}");
    }
    for (kind, file) in [("time", "time"), ("cgroup", "cgroup"), ("network", "net")] {
        let there = fs::metadata(format!("/proc/self/ns/{file}")).is_ok();
        assert_eq!(row(&found, kind)["state"] == "yes", there, "{kind}");
    }
    let v2 = fs::metadata("/sys/fs/cgroup/cgroup.controllers").is_ok();
    assert_eq!(row(&found, "hierarchy")["meaning"] == "v2", v2);
    let apparmor =
        fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|t| t.trim() == "Y");
    assert_eq!(row(&found, "AppArmor")["state"] == "yes", apparmor);
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
    assert!(!t.state_dir().exists(), "doctor makes nothing");
    t.assert_clean();
}

#[test]
fn the_table_has_remedies() {
    only_oxrun!();
    let t = Sandbox::new();
    let text = t.runtime(&["doctor"]).ok().stdout;
    assert!(text.starts_with("AREA ") && text.ends_with("Containers can run here.\n"), "{text}");
    let found = rows(&t.runtime(&["doctor", "-f", "json"]).ok());
    let missing = found.iter().filter(|row| row["state"] != "yes" && !row["remedy"].is_null());
    let indented = text.lines().filter(|line| line.starts_with("    ")).count();
    assert_eq!(missing.count(), indented, "{text}");
}

/// Without a directory for states no container can run.
#[test]
fn what_is_essential_decides_the_status() {
    only_oxrun!();
    let t = Sandbox::rootless();
    t.runtime(&["doctor"]).ok();
    let outcome = t.runtime(&["--root", "/proc/no", "doctor", "--format", "json"]).exits(1);
    let found = rows(&outcome);
    let row = row(&found, "state directory");
    assert!(row["state"] == "no" && row["remedy"].as_str().unwrap().contains("--root"), "{row}");
    assert_eq!(outcome.json()["runs"], false);
    assert!(
        t.runtime(&["--root", "/proc/no", "doctor"]).exits(1).stdout.contains("Containers cannot run here")
    );
}

#[test]
fn ids_of_an_ordinary_user() {
    only_oxrun!();
    let t = Sandbox::rootless();
    let found = rows(&t.runtime(&["doctor", "--format", "json"]).ok());
    let name = host_command("id", &["-nu", "1000"]);
    let name = if name.code == 0 { name.stdout.trim().to_owned() } else { "#1000".to_owned() };
    let ranges = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let has = ranges.lines().any(|line| line.starts_with(&format!("{name}:")) || line.starts_with("1000:"));
    if rustix::process::geteuid().is_root() {
        assert_eq!(row(&found, &format!("uids of `{name}`"))["state"] == "yes", has);
    }
}
