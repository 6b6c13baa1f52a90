//! `--trace` and OXRUN_TRACE: whole trace-event JSON after each command, the steps of both sides and
//! hooks in it, and nothing of the file in the container.

use crate::harness::{Sandbox, is_oxrun};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A sandbox and the file to trace into; none for another runtime.
fn tracing() -> Option<(Sandbox, String)> {
    if !is_oxrun() {
        crate::harness::note_skip("another runtime has no --trace");
        return None;
    }
    let t = Sandbox::new();
    let file = t.path("trace.json");
    Some((t, file))
}

/// The steps of a trace: those of the host side (track 1) and of init (2), with what they are about.
fn steps(file: &str) -> Vec<(u64, String, String)> {
    let events: Vec<Value> = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let steps = events.iter().filter(|e| e["ph"] == "X");
    let steps = steps.map(|e| {
        assert!(e["ts"].as_f64().unwrap() > 0.0 && e["dur"].as_f64().unwrap() >= 0.0, "{e}");
        let of = e["args"]["of"].as_str().unwrap_or("").to_string();
        (e["tid"].as_u64().unwrap(), e["name"].as_str().unwrap().to_string(), of)
    });
    steps.collect()
}

#[track_caller]
fn assert_has(steps: &[(u64, String, String)], track: u64, names: &[&str]) {
    for name in names {
        assert!(steps.iter().any(|s| s.0 == track && s.1 == *name), "no `{name}` on {track}: {steps:?}");
    }
}

#[test]
fn run_with_all_hooks_shows_every_step() {
    let Some((mut t, file)) = tracing() else { return };
    let kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    let listing = t.path("descriptors");
    let script = format!("ls -l /proc/self/fd >> {listing}; exit 0");
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]);
    t.config["hooks"] = kinds.iter().map(|kind| (kind.to_string(), hook.clone())).collect();
    t.args(&["payload", "report"]).write_config();
    let report = t.runtime(&["--trace", &file, "run", &t.id]).ok().json();
    let steps = steps(&file);
    assert_has(&steps, 1, &["run", "read and check config.json", "make the cgroups", "clone init"]);
    assert_has(&steps, 1, &["until init is ready", "record the state", "until the program runs"]);
    assert_has(&steps, 1, &["the container runs", "remove the cgroups", "remove the state"]);
    assert_has(
        &steps,
        2,
        &["enter the cgroups", "enter the namespaces", "mount", "make devices", "enter the root"],
    );
    assert_has(&steps, 2, &["mask and make read-only", "become the process"]);
    assert_has(&steps, 1, &["prestart hook", "createRuntime hook", "poststart hook", "poststop hook"]);
    assert_has(&steps, 2, &["createContainer hook", "startContainer hook"]);
    assert!(steps.iter().filter(|s| s.1.ends_with(" hook")).all(|s| s.2 == "/bin/sh"), "{steps:?}");
    assert!(steps.iter().any(|s| s.1 == "mount" && s.2 == "/proc"), "{steps:?}");
    let open: Vec<&String> = report["fds"].as_object().unwrap().keys().collect();
    assert_eq!(open, ["0", "1", "2"], "{}", report["fds"]);
    let listed = fs::read_to_string(&listing).unwrap();
    assert!(listed.contains("pipe") && !listed.contains("trace.json"), "{listed}");
    t.assert_clean();
}

#[test]
fn commands_of_a_life_share_one_file() {
    let Some((mut t, file)) = tracing() else { return };
    t.args(&["sleep", "5000"]).write_config();
    let call = |words: &[&str]| {
        let mut command = t.command(words);
        command.env("OXRUN_TRACE", &file);
        t.spawn(command).wait()
    };
    call(&["create", &t.id]).ok();
    let created = steps(&file);
    assert_has(&created, 1, &["create", "until init is ready"]);
    assert_has(&created, 2, &["become the process"]);
    for entry in fs::read_dir(format!("/proc/{}/fd", t.pid())).unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap();
        assert!(!target.ends_with("trace.json"), "init waits with {}", target.display());
    }
    call(&["start", &t.id]).ok();
    call(&["exec", &t.id, "true"]).ok();
    call(&["state", &t.id]).ok();
    call(&["delete", "--force", &t.id]).ok();
    let all = steps(&file);
    assert!(all.starts_with(&created), "what was there stays");
    assert_has(&all, 1, &["start", "exec", "enter and clone", "state", "delete", "end its processes"]);
    assert!(all.iter().filter(|s| s.0 == 2 && s.1 == "become the process").count() == 2, "{all:?}");
    t.assert_clean();
}

#[test]
fn what_failed_is_shown_too() {
    let Some((mut t, file)) = tracing() else { return };
    t.args(&["no-such-program"]).write_config();
    t.runtime(&["--trace", &file, "run", &t.id]).failed().says(&["no-such-program"]);
    let steps = steps(&file);
    assert_has(&steps, 1, &["run", "until init is ready"]);
    assert_has(&steps, 2, &["enter the root", "become the process"]);
    t.assert_clean();
}

#[test]
fn a_filter_that_forbids_telling_is_obeyed() {
    let Some((mut t, file)) = tracing() else { return };
    t.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["sendmsg"], "action": "SCMP_ACT_KILL_PROCESS"}],
    });
    t.args(&["true"]).write_config();
    t.runtime(&["--trace", &file, "run", &t.id]).ok();
    assert_has(&steps(&file), 1, &["until the program runs"]);
    // With hooks under the filter the process itself tells of it.
    t.config["linux"]["seccomp"]["syscalls"][0]["names"] = json!(["swapon"]);
    t.config["hooks"] = json!({"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", ":"]}]});
    t.write_config();
    t.runtime(&["--trace", &file, "run", &t.id]).ok();
    assert_has(&steps(&file), 2, &["load the seccomp filter"]);
    t.assert_clean();
}

#[test]
fn only_a_trace_is_appended_to() {
    let Some((t, file)) = tracing() else { return };
    fs::write(&file, "precious").unwrap();
    t.write_config();
    t.runtime(&["--trace", &file, "run", &t.id]).failed().says(&["something else than a trace"]).one_line();
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    let missing = t.path("missing/trace.json");
    t.runtime(&["--trace", &missing, "run", &t.id]).failed().says(&["--trace", "no such file"]).one_line();
    t.runtime(&["--trace", "/dev/null", "list"]).failed().says(&["no regular file"]).one_line();
    assert!(!Path::new(&missing).exists());
    t.assert_clean();
}
