//! Wrong input of every kind: a non-zero exit, one line that names the thing, nothing left.

use crate::harness::{Sandbox, is_oxrun, note_skip, runtime};
use serde_json::{Value, json};
use std::fs;

/// One wrong config: what is done to a good one, and what the error has to name (a JSON path; it
/// is asked of oxrun alone).
type Case = (&'static str, &'static str, fn(&mut Value));

#[track_caller]
fn check(cases: &[Case]) {
    for (what, path, spoil) in cases {
        let mut t = Sandbox::new();
        spoil(&mut t.config);
        let pid_file = t.path("pid");
        let outcome = t.create_with(&["--pid-file", &pid_file]);
        if !is_oxrun() && outcome.code == 0 {
            note_skip(&format!("another runtime accepts this: {what}"));
            continue;
        }
        assert!(outcome.code != 0, "{what}: accepted");
        let outcome = outcome.failed().one_line();
        let named = outcome.stderr.contains(path);
        assert!(!is_oxrun() || named, "{what}: the error does not name {path}: {}", outcome.stderr);
        assert!(fs::metadata(&pid_file).is_err(), "{what}: pid file left");
        if is_oxrun() {
            let check = t.runtime(&["check"]);
            assert_eq!(check.code, 1, "{what}: `check` finds nothing: {}", check.stdout);
        }
        t.assert_clean();
        t.run().failed().one_line();
        t.assert_clean();
    }
}

#[test]
fn wrong_values_of_process() {
    check(&[
        ("cwd relative", "process.cwd", |c| c["process"]["cwd"] = json!("tmp")),
        ("cwd empty", "process.cwd", |c| c["process"]["cwd"] = json!("")),
        ("args empty", "process.args", |c| c["process"]["args"] = json!([])),
        ("limit of unknown type", "process.rlimits[0]", |c| {
            c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOPE", "soft": 1, "hard": 1}]);
        }),
        ("uid negative", "process.user", |c| c["process"]["user"]["uid"] = json!(-1)),
        ("uid beyond 32 bits", "process.user", |c| c["process"]["user"]["uid"] = json!(4294967296u64)),
        ("uid a string", "process.user", |c| c["process"]["user"]["uid"] = json!("0")),
        ("env a string", "process.env", |c| c["process"]["env"] = json!("A=b")),
        ("no_new_privileges a string", "process.noNewPrivileges", |c| {
            c["process"]["noNewPrivileges"] = json!("yes");
        }),
        ("soft limit above hard", "process.rlimits[0]", |c| {
            c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 20, "hard": 10}]);
        }),
        ("oom score out of range", "process.oomScoreAdj", |c| c["process"]["oomScoreAdj"] = json!(2000)),
    ]);
}

#[test]
fn wrong_values_of_root_and_version() {
    check(&[
        ("no version", "ociVersion", |c| {
            c.as_object_mut().unwrap().remove("ociVersion");
        }),
        ("root missing", "root", |c| {
            c.as_object_mut().unwrap().remove("root");
        }),
        ("root is not there", "nowhere", |c| c["root"]["path"] = json!("nowhere")),
        ("root is a file", "config.json", |c| c["root"]["path"] = json!("config.json")),
        ("root path a number", "root.path", |c| c["root"]["path"] = json!(7)),
        ("unknown propagation", "linux.rootfsPropagation", |c| {
            c["linux"]["rootfsPropagation"] = json!("sideways");
        }),
        ("mounts an object", "mounts", |c| c["mounts"] = json!({})),
        ("annotation a number", "annotations", |c| c["annotations"] = json!({"key": 1})),
    ]);
}

#[test]
fn wrong_values_of_namespaces() {
    check(&[
        ("unknown type", "linux.namespaces[0]", |c| c["linux"]["namespaces"][0]["type"] = json!("galaxy")),
        ("twice the same", "linux.namespaces", |c| {
            c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "pid"}));
        }),
        ("path is not there", "/no/such/namespace", |c| {
            c["linux"]["namespaces"][1] = json!({"type": "network", "path": "/no/such/namespace"});
        }),
        ("path to another type", "linux.namespaces", |c| {
            c["linux"]["namespaces"][1] = json!({"type": "network", "path": "/proc/self/ns/uts"});
        }),
        ("path relative", "linux.namespaces[1]", |c| {
            c["linux"]["namespaces"][1] = json!({"type": "network", "path": "ns/net"});
        }),
        ("path of 70,000 bytes", "linux.namespaces[1]", |c| {
            let path = format!("/{}", "x".repeat(70_000));
            c["linux"]["namespaces"][1] = json!({"type": "network", "path": path});
        }),
        ("hostname without namespace", "hostname", |c| crate::config::drop_namespace(c, "uts")),
        ("user namespace without maps", "linux.uidMappings", |c| {
            crate::config::add_namespace(c, "user", "");
        }),
        ("map with a negative id", "linux.uidMappings[0]", |c| {
            crate::config::add_user_namespace(c, 100_000);
            c["linux"]["uidMappings"][0]["hostID"] = json!(-1);
        }),
        ("overlapping map", "uid", |c| {
            crate::config::add_user_namespace(c, 100_000);
            let twice = json!([{"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": 5, "hostID": 5000, "size": 10}]);
            c["linux"]["uidMappings"] = twice;
        }),
    ]);
}

#[test]
fn wrong_values_of_linux() {
    check(&[
        ("unknown device type", "linux.devices[0]", |c| {
            c["linux"]["devices"] = json!([{"path": "/dev/x", "type": "z", "major": 1, "minor": 3}]);
        }),
        ("sysctl of no namespace", "linux.sysctl", |c| c["linux"]["sysctl"] = json!({"kernel.panic": "1"})),
        ("sysctl kernel.hostname", "linux.sysctl", |c| {
            c["linux"]["sysctl"] = json!({"kernel.hostname": "x"})
        }),
        ("sysctl that is not there", "net.no.such", |c| c["linux"]["sysctl"] = json!({"net.no.such": "1"})),
        ("sysctl of the host's network", "linux.sysctl", |c| {
            crate::config::drop_namespace(c, "network");
            c["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
        }),
        ("sysctl with a path that climbs", "linux.sysctl", |c| {
            c["linux"]["sysctl"] = json!({"net/../kernel/panic": "1"});
        }),
        ("seccomp action", "linux.seccomp", |c| {
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_NOPE", "syscalls": []});
        }),
        ("seccomp operator", "linux.seccomp", |c| {
            let rule = json!({"names": ["read"], "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_NOPE"}]});
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
        }),
        ("seccomp architecture", "linux.seccomp", |c| {
            c["linux"]["seccomp"] =
                json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NOPE"]});
        }),
        ("seccomp flag", "linux.seccomp", |c| {
            let rules = json!([{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]);
            let flags = json!(["SECCOMP_FILTER_FLAG_NOPE"]);
            c["linux"]["seccomp"] =
                json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags, "syscalls": rules});
        }),
    ]);
}

#[test]
fn wrong_values_of_mounts() {
    check(&[
        ("source is not there", "/no/such/source", |c| {
            crate::config::add_mount(c, "/mnt", "bind", "/no/such/source", &["rbind"]);
        }),
        ("unknown file system", "nofs", |c| crate::config::add_mount(c, "/mnt", "nofs", "none", &[])),
        ("option the file system refuses", "/mnt", |c| {
            crate::config::add_mount(c, "/mnt", "tmpfs", "tmpfs", &["no-such-option"]);
        }),
        ("destination missing", "mounts[7].destination", |c| {
            c["mounts"].as_array_mut().unwrap().push(json!({"type": "tmpfs", "source": "tmpfs"}));
        }),
        ("one map without the other", "mounts[7]", |c| {
            let map = json!([{"containerID": 0, "hostID": 1, "size": 1}]);
            c["mounts"].as_array_mut().unwrap().push(json!(
                {"destination": "/mnt", "source": "/tmp", "options": ["bind", "idmap"], "uidMappings": map}));
        }),
    ]);
}

#[test]
fn wrong_values_of_hooks() {
    check(&[
        ("relative path", "hooks.prestart[0].path", |c| {
            c["hooks"] = json!({"prestart": [{"path": "bin/true"}]})
        }),
        ("negative timeout", "hooks.prestart[0].timeout", |c| {
            c["hooks"] = json!({"prestart": [{"path": "/bin/true", "timeout": -1}]});
        }),
        ("zero timeout", "hooks.poststop[0].timeout", |c| {
            c["hooks"] = json!({"poststop": [{"path": "/bin/true", "timeout": 0}]});
        }),
        ("path missing", "hooks.createRuntime[0].path", |c| {
            c["hooks"] = json!({"createRuntime": [{"args": ["x"]}]})
        }),
        ("an object for a list", "hooks.poststart", |c| {
            c["hooks"] = json!({"poststart": {"path": "/bin/true"}})
        }),
    ]);
}

#[test]
fn wrong_values_that_are_easily_overlooked() {
    check(&[
        ("version of another major", "ociVersion", |c| c["ociVersion"] = json!("2.0.0")),
        ("version that is none", "ociVersion", |c| c["ociVersion"] = json!("latest")),
        ("limit twice", "process.rlimits[1]", |c| {
            let limit = json!({"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024});
            c["process"]["rlimits"] = json!([limit, limit]);
        }),
        ("limit without hard", "process.rlimits[0].hard", |c| {
            c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 1}]);
        }),
        ("annotation with empty key", "annotations", |c| c["annotations"] = json!({"": "x"})),
        ("offset without namespace", "linux.timeOffsets", |c| {
            c["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 10}});
        }),
        ("unknown clock", "linux.timeOffsets", |c| {
            crate::config::add_namespace(c, "time", "");
            c["linux"]["timeOffsets"] = json!({"realtime": {"secs": 10}});
        }),
        ("unknown scheduler", "process.scheduler", |c| {
            c["process"]["scheduler"] = json!({"policy": "SCHED_NOPE"})
        }),
        ("args with a NUL", "process.args[0]", |c| c["process"]["args"] = json!(["a\u{0}b"])),
        ("uid that means nobody", "process.user.uid", |c| c["process"]["user"]["uid"] = json!(4294967295u32)),
        ("cgroup path that climbs", "linux.cgroupsPath", |c| c["linux"]["cgroupsPath"] = json!("/a/../../b")),
        ("seccomp index", "linux.seccomp", |c| {
            let rule = json!({"names": ["read"], "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]});
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
        }),
        ("map of size zero", "linux.uidMappings[0]", |c| {
            crate::config::add_user_namespace(c, 100_000);
            c["linux"]["uidMappings"][0]["size"] = json!(0);
        }),
        ("maps without a namespace", "linux.uidMappings", |c| {
            c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
        }),
        ("user id outside the map", "process.user", |c| {
            crate::config::add_user_namespace(c, 100_000);
            c["process"]["user"]["uid"] = json!(70_000);
        }),
    ]);
}

#[test]
fn every_problem_is_reported_at_once() {
    if !is_oxrun() {
        skip!("another runtime reports the first problem");
    }
    let mut t = Sandbox::new();
    t.config["process"]["cwd"] = json!("relative");
    t.config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOPE", "soft": 1, "hard": 1}]);
    t.config["linux"]["namespaces"][0]["type"] = json!("galaxy");
    let error = t.create().failed().one_line().stderr;
    for path in ["process.cwd", "process.rlimits[0]", "linux.namespaces[0]"] {
        assert!(error.contains(path), "{path} is not in: {error}");
    }
}

#[test]
fn unknown_properties_are_ignored() {
    let mut t = Sandbox::new();
    t.config["future"] = json!({"a": [1, 2]});
    t.config["process"]["future"] = json!(true);
    t.config["linux"]["future"] = json!("x");
    t.config["mounts"][0]["future"] = json!(1);
    t.config["windows"] = json!({"layerFolders": []});
    t.config["annotations"] = json!({"org.example.unknown": "x"});
    t.run_args(&["true"]).ok();
}

#[test]
fn every_minor_version_is_accepted() {
    let mut t = Sandbox::new();
    for version in ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.1", "1.3.0"] {
        t.config["ociVersion"] = json!(version);
        t.run_args(&["true"]).ok();
    }
}

#[test]
fn missing_bundle_and_config() {
    let t = Sandbox::new();
    let nowhere = t.path("nowhere");
    for command in ["create", "run"] {
        let outcome = t.runtime(&[command, "--bundle", &nowhere, &t.id]).failed();
        outcome.says(&["no such file or directory"]).says(&["nowhere"]).one_line();
        t.runtime(&[command, &t.id]).failed().says(&["config.json"]).one_line();
        t.assert_clean();
    }
}

#[test]
fn broken_json() {
    let t = Sandbox::new();
    for text in ["", "{", "[]", "null", "{\"ociVersion\": }", "\u{1f980}", "{\"ociVersion\": \"1.0.2\"} x"] {
        fs::write(t.bundle().join("config.json"), text).unwrap();
        let outcome = t.runtime(&["create", &t.id]).failed().one_line();
        assert!(!is_oxrun() || outcome.stderr.contains("config.json"), "{text:?}: {}", outcome.stderr);
        t.assert_clean();
    }
    fs::write(t.bundle().join("config.json"), b"{\"ociVersion\": \"\xff\xfe\"}").unwrap();
    t.runtime(&["create", &t.id]).failed();
    fs::remove_file(t.bundle().join("config.json")).unwrap();
    fs::create_dir(t.bundle().join("config.json")).unwrap();
    t.runtime(&["create", &t.id]).failed().one_line();
    t.assert_clean();
}

#[test]
fn deep_and_large_json_is_no_crash() {
    let t = Sandbox::new();
    let deep = "[".repeat(200_000);
    fs::write(t.bundle().join("config.json"), format!("{{\"annotations\": {deep}")).unwrap();
    t.runtime(&["create", &t.id]).failed();
    t.assert_clean();
}

#[test]
fn invalid_ids() {
    let mut t = Sandbox::new();
    t.args(&["true"]).write_config();
    let long = "x".repeat(2000);
    let mut ids = vec!["this/is/invalid", ".", "..", "foo bar", "../escape", "a\nb", "ü", "/", "a/", ""];
    if is_oxrun() {
        ids.extend([".foo", long.as_str()]);
    }
    for id in ids {
        let outcome = t.runtime(&["create", "--pid-file", &t.path("pid"), id]).failed();
        assert!(fs::metadata(t.path("pid")).is_err(), "{id:?}");
        assert!(!is_oxrun() || outcome.stderr.contains("invalid"), "{id:?}: {}", outcome.stderr);
        for command in ["state", "start", "kill", "delete"] {
            t.runtime(&[command, id]).failed();
        }
        t.assert_clean();
    }
    assert!(!t.dir().join("escape").exists());
}

#[test]
fn unwritable_pid_file() {
    let mut t = Sandbox::new();
    t.args(&["true"]).write_config();
    for command in ["create", "run"] {
        let outcome = t.runtime(&[command, "--pid-file", "/no/such/directory/pid", &t.id]).failed();
        outcome.says(&["/no/such/directory"]).one_line();
        t.assert_clean();
    }
}

#[test]
fn console_socket_problems() {
    let mut t = Sandbox::new();
    t.config["process"]["terminal"] = json!(true);
    t.args(&["true"]);
    t.create_with(&["--console-socket", &t.path("no-socket")]).failed().says(&["no-socket"]).one_line();
    t.assert_clean();
    let dead = t.path("dead");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    t.create_with(&["--console-socket", &dead]).failed().says(&["connection refused"]).one_line();
    t.assert_clean();
    fs::write(t.path("plain"), "").unwrap();
    t.create_with(&["--console-socket", &t.path("plain")]).failed().one_line();
    t.assert_clean();
    t.create().failed().says(&["console"]).one_line();
    t.assert_clean();
    t.config["process"]["terminal"] = json!(false);
    t.create_with(&["--console-socket", &t.path("no-socket")]).failed().says(&["console"]).one_line();
    t.assert_clean();
}

#[test]
fn unknown_commands_and_flags() {
    let t = Sandbox::new();
    t.runtime(&["create", "--no-such-flag", &t.id]).failed().says(&["no-such-flag"]);
    t.runtime(&["--no-such-flag", "list"]).failed().says(&["no-such-flag"]);
    t.runtime(&["no-such-command"]).failed().says(&["no-such-command", "No help topic"]);
    t.runtime(&["--log-format", "nope", "list"]).failed();
    t.runtime(&["state", &t.id, "extra"]).failed();
    t.runtime(&["create", "--bundle"]).failed().says(&[
        "needs an argument",
        "requires an argument",
        "missing argument",
    ]);
    t.runtime(&["list", "--format", "nope"]).failed();
}

#[test]
fn state_directory_that_cannot_be() {
    let mut t = Sandbox::new();
    t.args(&["true"]).write_config();
    fs::write(t.path("file"), "").unwrap();
    for root in [t.path("file"), "/proc/oxrun".to_string(), "/sys/oxrun".to_string()] {
        let mut command = std::process::Command::new(runtime());
        command.args(["--root", &root, "run", &t.id]).current_dir(t.bundle());
        t.spawn(command).wait().failed().one_line();
        t.assert_clean();
    }
}

#[test]
fn asking_for_the_systemd_driver_is_a_clear_error() {
    let mut t = Sandbox::new();
    if !is_oxrun() {
        skip!("other runtimes have the systemd driver");
    }
    if crate::host::has_systemd() {
        skip!("systemd runs here");
    }
    t.args(&["true"]).write_config();
    t.runtime(&["--systemd-cgroup", "run", &t.id]).failed().says(&["systemd"]).one_line();
    t.runtime(&["--cgroup-manager", "systemd", "run", &t.id]).failed().says(&["systemd"]).one_line();
    t.runtime(&["--cgroup-manager", "nope", "run", &t.id]).failed().says(&["nope"]).one_line();
    t.runtime(&["--cgroup-manager", "cgroupfs", "run", &t.id]).ok();
    t.assert_clean();
}
