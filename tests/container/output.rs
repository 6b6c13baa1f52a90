//! What the commands print: version, help, logs, `spec`, `features`; the shapes callers parse.

use crate::config;
use crate::harness::{Sandbox, host_command, is_oxrun, runtime};
use serde_json::{Value, json};
use std::fs;

fn plain(args: &[&str]) -> crate::harness::Outcome {
    host_command(runtime().to_str().unwrap(), args)
}

#[test]
fn version_has_three_lines() {
    for flag in ["--version", "-v"] {
        let out = plain(&[flag]).ok();
        let lines: Vec<&str> = out.stdout.lines().collect();
        let name = if is_oxrun() { "oxrun" } else { "runc" };
        assert!(lines[0].starts_with(&format!("{name} version ")), "{lines:?}");
        let version = lines[0].rsplit(' ').next().unwrap();
        assert!(version.split('.').count() >= 3 && version.as_bytes()[0].is_ascii_digit(), "{version}");
        assert!(lines[1].starts_with("commit: "), "{lines:?}");
        assert!(lines[2].starts_with("spec: 1."), "{lines:?}");
        assert!(!is_oxrun() || lines.len() == 3);
        assert_eq!(out.stderr, "");
    }
}

#[test]
fn help_has_the_usual_layout() {
    for flag in ["--help", "-h"] {
        let out = plain(&[flag]).ok().stdout;
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[0], "NAME:");
        assert!(
            lines[1].trim_start().starts_with(runtime().file_name().unwrap().to_str().unwrap()),
            "{}",
            lines[1]
        );
        for command in ["create", "start", "state", "kill", "delete", "list", "run", "spec", "features"] {
            let known = out
                .lines()
                .any(|l| l.split_whitespace().next().is_some_and(|w| w.trim_end_matches(',') == command));
            assert!(known || (!is_oxrun() && command == "features"), "{command} is not in the help");
        }
    }
}

#[test]
fn every_command_has_help() {
    let name = runtime().file_name().unwrap().to_str().unwrap();
    for command in ["create", "start", "state", "kill", "delete", "list", "run", "spec"] {
        for flag in ["--help", "-h"] {
            let out = plain(&[command, flag]).ok().stdout;
            assert!(out.starts_with("NAME:\n"), "{command}: {out}");
            assert!(out.lines().nth(1).unwrap().contains(&format!("{name} {command}")), "{command}: {out}");
        }
    }
}

#[test]
fn spec_is_the_usual_one_and_runs() {
    let t = Sandbox::new();
    let file = t.bundle().join("config.json");
    t.runtime(&["spec"]).ok();
    let mut spec: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(spec["process"]["terminal"], true);
    assert_eq!(spec["process"]["args"], serde_json::json!(["sh"]));
    assert_eq!(spec["process"]["cwd"], "/");
    assert_eq!(spec["process"]["noNewPrivileges"], true);
    assert_eq!(spec["process"]["rlimits"][0]["type"], "RLIMIT_NOFILE");
    assert_eq!((&spec["root"]["path"], &spec["root"]["readonly"]), (&"rootfs".into(), &true.into()));
    let points: Vec<&str> =
        spec["mounts"].as_array().unwrap().iter().map(|m| m["destination"].as_str().unwrap()).collect();
    assert_eq!(points, ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"]);
    let kinds: Vec<&str> =
        spec["linux"]["namespaces"].as_array().unwrap().iter().map(|n| n["type"].as_str().unwrap()).collect();
    assert!(["pid", "network", "ipc", "uts", "mount"].iter().all(|k| kinds.contains(k)), "{kinds:?}");
    for set in ["bounding", "effective", "permitted"] {
        let mut names: Vec<&str> = spec["process"]["capabilities"][set]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c.as_str().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"], "{set}");
    }
    assert!(spec["process"]["capabilities"]["inheritable"].as_array().is_none_or(|c| c.is_empty()));
    spec["process"]["terminal"] = false.into();
    spec["process"]["args"] = serde_json::json!(["echo", "it runs"]);
    fs::write(&file, spec.to_string()).unwrap();
    assert_eq!(t.runtime(&["run", &t.id]).ok().stdout, "it runs\n");
}

#[test]
fn spec_keeps_an_existing_file() {
    let t = Sandbox::new();
    fs::write(t.bundle().join("config.json"), "mine").unwrap();
    t.runtime(&["spec"]).failed().says(&["exists"]);
    assert_eq!(fs::read_to_string(t.bundle().join("config.json")).unwrap(), "mine");
}

#[test]
fn spec_for_another_bundle_and_rootless() {
    let t = Sandbox::new();
    let other = t.path("other");
    fs::create_dir(&other).unwrap();
    t.runtime(&["spec", "--bundle", &other]).ok();
    assert!(fs::metadata(format!("{other}/config.json")).is_ok());
    t.runtime(&["spec", "--rootless"]).ok();
    let spec: Value =
        serde_json::from_str(&fs::read_to_string(t.bundle().join("config.json")).unwrap()).unwrap();
    let kinds: Vec<&str> =
        spec["linux"]["namespaces"].as_array().unwrap().iter().map(|n| n["type"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"user") && !kinds.contains(&"network"), "{kinds:?}");
    assert_eq!(spec["linux"]["uidMappings"][0]["containerID"], 0);
    assert_eq!(spec["linux"]["uidMappings"][0]["size"], 1);
}

#[test]
fn features_is_json() {
    let out = plain(&["features"]);
    if !is_oxrun() && out.code != 0 {
        skip!("another runtime.5 of Debian has no complete `features`");
    }
    let features = out.ok().json();
    assert!(features["ociVersionMin"].as_str().unwrap().starts_with("1."));
    assert!(features["ociVersionMax"].as_str().unwrap().starts_with("1."));
    let list = |value: &Value| {
        value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    let hooks = list(&features["hooks"]);
    for hook in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        assert!(hooks.contains(&hook.to_string()), "{hook}");
    }
    for namespace in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"] {
        assert!(list(&features["linux"]["namespaces"]).contains(&namespace.to_string()), "{namespace}");
    }
    assert!(list(&features["mountOptions"]).contains(&"rro".to_string()));
    assert!(list(&features["linux"]["capabilities"]).contains(&"CAP_SYS_ADMIN".to_string()));
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
}

/// An error that every runtime has: state of an unknown id, with global flags.
fn error_with(t: &Sandbox, flags: &[&str]) -> crate::harness::Outcome {
    let words: Vec<&str> = flags.iter().copied().chain(["state", "no-such-id"]).collect();
    t.runtime(&words).failed()
}

#[test]
fn errors_are_one_line_of_logfmt() {
    let t = Sandbox::new();
    let text = error_with(&t, &[]).stderr;
    assert!(
        text.starts_with("time=\"") && text.contains("level=error msg=\"") && text.ends_with("\"\n"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn log_file_gets_the_error_too() {
    let t = Sandbox::new();
    let log = t.path("log");
    let outcome = error_with(&t, &["--log", &log]);
    assert!(outcome.stderr.contains("does not exist"), "{}", outcome.stderr);
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("level=error") && text.contains("does not exist"), "{text}");
    error_with(&t, &["--log", &log]);
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 2, "lines are appended");
}

#[test]
fn json_log_is_what_engines_parse() {
    let t = Sandbox::new();
    let log = t.path("log.json");
    error_with(&t, &[&format!("--log={log}"), "--log-format=json"]);
    let text = fs::read_to_string(&log).unwrap();
    let entry: Value = serde_json::from_str(&text).expect("exactly one JSON value");
    assert_eq!(entry["level"], "error");
    assert!(entry["msg"].as_str().unwrap().contains("does not exist"));
    let time = entry["time"].as_str().unwrap();
    assert!(
        time.as_bytes()[4] == b'-'
            && time.as_bytes()[10] == b'T'
            && (time.ends_with('Z') || time.contains('+')),
        "{time}"
    );
}

/// The JSON line of a failed command.
fn json_error(t: &Sandbox, args: &[&str]) -> Value {
    let log = t.path("log.json");
    let _ = fs::remove_file(&log);
    let words: Vec<&str> = ["--log", &log, "--log-format", "json"].iter().chain(args).map(|s| &**s).collect();
    t.runtime(&words).failed();
    serde_json::from_str(&fs::read_to_string(&log).unwrap()).expect("exactly one JSON value")
}

#[test]
fn json_errors_have_code_step_object_and_number() {
    if !is_oxrun() {
        skip!("only oxrun's errors have codes");
    }
    let mut t = Sandbox::new();
    t.args(&["true"]);
    let good = t.config.clone();
    let about = |error: &Value| {
        let text = |key: &str| error[key].as_str().unwrap_or("-").to_string();
        (text("code"), text("step"), text("object"), error["errno"].as_i64())
    };
    let expect = |code: &str, object: &str, errno| {
        let step = code.split('-').next().unwrap();
        (code.to_string(), step.to_string(), object.to_string(), errno)
    };
    // On the host side, by a type of its own.
    let unknown = t.other_id("x");
    let error = json_error(&t, &["state", &unknown]);
    assert_eq!(about(&error), expect("state-not-found", &unknown, None));
    // In init, from a system call.
    config::add_mount(&mut t.config, "/mnt", "bind", "/no/such/source", &["bind"]);
    t.write_config();
    let error = json_error(&t, &["create", &t.id]);
    assert_eq!(about(&error), expect("mount-refused", "/no/such/source", None), "{error}");
    // Of config.json, with the path of the first problem.
    t.config = good.clone();
    t.config["root"]["path"] = json!("");
    t.config["hostname"] = json!("x".repeat(65));
    t.write_config();
    let error = json_error(&t, &["create", &t.id]);
    assert_eq!(about(&error), expect("config-invalid", "root.path", None), "{error}");
    // By the process itself.
    t.config = good;
    t.args(&["nope"]).write_config();
    let error = json_error(&t, &["run", &t.id]);
    assert_eq!(about(&error), expect("exec-not-found", "nope", Some(2)), "{error}");
    t.assert_clean();
}

#[test]
fn log_goes_to_the_system_log_and_to_the_journal() {
    if !is_oxrun() {
        skip!("only oxrun logs to daemons");
    }
    let t = Sandbox::new();
    let socket = t.path("daemon");
    let daemon = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    daemon.set_read_timeout(Some(std::time::Duration::from_secs(10) * crate::harness::patience())).unwrap();
    for (target, above, place) in
        [("syslog:box", "/dev", "/dev/log"), ("journald:box", "/run", "/run/systemd/journal/socket")]
    {
        let script = format!(
            "mount -t tmpfs x {above}; mkdir -p $(dirname {place}); : > {place}; mount --bind {socket} {place}"
        );
        let command = t.after_mounts(&script, &["--log", target, "state", "no-such-id"]);
        let outcome = t.spawn(command).wait().failed();
        assert!(outcome.stderr.contains("does not exist"), "{}", outcome.stderr);
        let mut datagram = [0u8; 4096];
        let size = daemon.recv(&mut datagram).expect("a datagram");
        let text = String::from_utf8_lossy(&datagram[..size]);
        assert!(text.contains("box") && text.contains("container does not exist"), "{text:?}");
        let priority = if target.starts_with("syslog") { "<27>box[" } else { "PRIORITY=3\n" };
        assert!(text.starts_with(priority), "{text:?}");
    }
    t.runtime(&["--log", "mail:box", "state", "no-such-id"]).failed();
}

#[test]
fn a_log_daemon_that_is_away_keeps_nobody_from_working() {
    if !is_oxrun() {
        skip!("only oxrun logs to daemons");
    }
    let t = Sandbox::new();
    for (target, above) in [("syslog:box", "/dev"), ("journald:box", "/run")] {
        let script = format!("mount -t tmpfs x {above}");
        let outcome = t.spawn(t.after_mounts(&script, &["--log", target, "features"])).wait().ok();
        assert!(outcome.json()["ociVersionMin"].is_string());
        assert!(outcome.stderr.contains("logging to standard error"), "{}", outcome.stderr);
    }
}

#[test]
fn log_file_that_cannot_be_opened_is_an_error() {
    let t = Sandbox::new();
    t.runtime(&["--log", "/no/such/directory/log", "list"]).failed();
}

#[test]
fn commands_say_what_they_do_when_debugged() {
    if !is_oxrun() {
        skip!("other runtimes do not know the flag yet, or say it otherwise");
    }
    let mut t = Sandbox::new();
    t.config["linux"]["seccomp"] = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}],
    });
    t.args(&["payload", "sleep", "60"]).write_config();
    let said = t.runtime(&["--debug", "create", &t.id]).ok().stderr;
    assert!(said.contains("level=debug") && said.contains("seccomp filter flags: 2"), "{said}");
    t.start().ok();
    let said = t.runtime(&["--debug", "exec", &t.id, "true"]).ok().stderr;
    assert!(said.contains("level=debug"), "{said}");
}

#[test]
fn debug_lines_go_to_the_log() {
    let mut t = Sandbox::new();
    t.args(&["true"]).write_config();
    let log = t.path("log");
    let outcome = t.runtime(&["--debug", "run", &t.id]).ok();
    assert!(outcome.stderr.contains("level=debug"), "{}", outcome.stderr);
    let outcome = t.runtime(&["--debug", "--log", &log, "run", &t.id]).ok();
    assert!(!outcome.stderr.contains("level=debug"), "{}", outcome.stderr);
    assert!(fs::read_to_string(&log).unwrap().contains("level=debug"));
    let json = t.path("log.json");
    t.runtime(&["--debug", "--log", &json, "--log-format", "json", "run", &t.id]).ok();
    let text = fs::read_to_string(&json).unwrap();
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        assert!(entry["level"].is_string() && entry["msg"].is_string() && entry["time"].is_string());
    }
    assert!(text.contains("\"level\":\"debug\""));
}

#[test]
fn nothing_is_printed_when_all_is_well() {
    let mut t = Sandbox::new();
    t.args(&["payload", "sleep", "5000"]);
    for outcome in [t.create(), t.start(), t.kill("KILL")] {
        let outcome = outcome.ok();
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
    }
    t.wait_status("stopped");
    let outcome = t.delete().ok();
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
}
