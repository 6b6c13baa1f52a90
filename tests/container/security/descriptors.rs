//! Descriptors and directories of the host that a process might keep, and looking at one that
//! waits (R8, R9).

use super::{everywhere, safe};
use crate::config;
use crate::harness::{Sandbox, is_oxrun};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn cwd_by_descriptor_is_refused() {
    let mut t = Sandbox::new();
    t.args(&["ls"]);
    for number in (3..24).chain([40, 64]) {
        for cwd in [format!("/proc/self/fd/{number}"), format!("/proc/self/fd/{number}/../../..")] {
            t.config["process"]["cwd"] = json!(cwd);
            let outcome = t.run();
            if outcome.code == 0 {
                let inside: Vec<String> = fs::read_dir(t.rootfs())
                    .unwrap()
                    .flatten()
                    .map(|e| e.file_name().to_string_lossy().into())
                    .collect();
                assert!(
                    outcome.stdout.lines().all(|l| inside.contains(&l.to_string())),
                    "{cwd}: {}",
                    outcome.stdout
                );
            }
        }
    }
    symlink("/proc/self/fd/7", t.rootfs().join("seven")).unwrap();
    t.config["process"]["cwd"] = json!("/seven");
    assert!(t.run().code != 0);
    t.assert_clean();
}

#[test]
fn cwd_by_another_process_root_stays_inside() {
    let mut t = Sandbox::new();
    for cwd in ["/proc/1/root/tmp", "/proc/self/cwd"] {
        t.config["process"]["cwd"] = json!(cwd);
        let outcome = t.run_args(&["pwd"]);
        assert!(
            outcome.code != 0
                || ["/tmp\n", "/\n", "/proc/1/root/tmp\n", "/proc/self/cwd\n"]
                    .contains(&outcome.stdout.as_str()),
            "{outcome:?}"
        );
    }
}

#[test]
fn created_process_cannot_be_traced_by_its_user() {
    let mut first = Sandbox::new();
    first.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    first.args(&["payload", "sleep", "5000"]);
    first.create().ok();
    let mut second = Sandbox::new();
    second.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    second.config["process"]["capabilities"] = json!({});
    config::add_namespace(&mut second.config, "pid", &format!("/proc/{}/ns/pid", first.pid()));
    let result = second.actions(&[
        "ls /proc/1/fd",
        "readlink /proc/1/root",
        "readlink /proc/1/exe",
        "syscall 101 16 1 0 0",
    ]);
    for answer in result.as_array().unwrap() {
        assert!(answer["err"] == "EACCES" || answer["err"] == "EPERM", "{result}");
    }
}

#[test]
fn no_descriptor_is_a_way_out_in_any_variant() {
    everywhere(|t, _, _| {
        symlink("/proc/self/fd/7", t.rootfs().join("seven")).unwrap();
        let own: Vec<String> = fs::read_dir(t.rootfs())
            .unwrap()
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into())
            .collect();
        t.args(&["ls"]);
        for cwd in ["/proc/self/fd/5", "/proc/self/fd/7/../../..", "/proc/thread-self/fd/6", "/seven"] {
            t.config["process"]["cwd"] = json!(cwd);
            let outcome = t.run();
            assert!(outcome.code != 0 || !is_oxrun(), "{cwd}: {outcome:?}");
            let inside = outcome.stdout.lines().all(|line| own.iter().any(|name| name == line));
            assert!(inside, "{cwd}: {}", outcome.stdout);
        }
        t.config["process"]["cwd"] = json!("/");
        let outcome = safe(t.run_args(&["payload", "report"]));
        if outcome.code == 0 {
            let report = outcome.json();
            let numbers: Vec<&String> = report["fds"].as_object().unwrap().keys().collect();
            assert!(numbers.iter().all(|n| ["0", "1", "2"].contains(&n.as_str())), "{}", report["fds"]);
        }
    });
}
