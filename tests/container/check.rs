//! `check`: every rule on a bundle that breaks it (those about the host are in `check_host`), and that its word is what `create` does: with an error, or
//! something that the host lacks, creating fails; with warnings alone it succeeds.

use crate::config;
use crate::harness::{Outcome, Sandbox, host_command, is_oxrun, write_program};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};
use std::fs;
use std::io::Read;

macro_rules! only_oxrun {
    () => {
        if !is_oxrun() {
            skip!("`check` is oxrun's own");
        }
    };
}

/// What is done to a good bundle, and one thing that must be found: level, path, part of the message, part of
/// the suggestion.
pub type Case = (fn(&mut Sandbox), &'static str, &'static str, &'static str, &'static str);

/// A bundle in which nothing is found.
pub fn good() -> Sandbox {
    let mut t = Sandbox::new();
    t.args(&["true"]);
    t.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_ERRNO"}]});
    t
}

fn check(t: &Sandbox, args: &[&str]) -> Outcome {
    t.write_config();
    t.runtime(&[&["check"], args].concat())
}

pub fn findings(t: &Sandbox) -> (i32, Vec<Value>) {
    let outcome = check(t, &["--format", "json"]);
    assert_eq!(outcome.stderr, "");
    (outcome.code, outcome.json()["findings"].as_array().unwrap().clone())
}

#[track_caller]
pub fn expect(cases: &[Case]) {
    for (spoil, level, path, message, suggestion) in cases {
        let mut t = good();
        spoil(&mut t);
        let (code, found) = findings(&t);
        let text = |finding: &Value, member: &str| finding[member].as_str().unwrap_or_default().to_owned();
        let matches = |finding: &&Value| {
            text(finding, "level") == *level
                && text(finding, "path") == *path
                && text(finding, "message").contains(message)
                && text(finding, "suggestion").contains(suggestion)
        };
        assert!(found.iter().any(|f| matches(&f)), "{path}: {message}: {found:#?}");
        assert_eq!(code, if *level == "warning" { 2 } else { 1 }, "{path}: {found:#?}");
        let before = t.leftovers();
        assert!(before.is_empty(), "check left {before:?}");
        let created = t.create();
        if *level == "warning" {
            created.ok();
            t.finish();
        } else {
            created.failed();
        }
    }
}

#[test]
fn a_good_bundle() {
    only_oxrun!();
    let t = good();
    let outcome = check(&t, &[]).ok();
    let bundle = t.bundle().canonicalize().unwrap();
    assert_eq!(
        (outcome.stdout, outcome.stderr),
        (format!("{}: nothing found\n", bundle.display()), String::new())
    );
    t.assert_clean();
    assert!(!t.state_dir().exists(), "check makes nothing");
    let text = fs::read_to_string(t.bundle().join("config.json")).unwrap();
    fs::write(t.bundle().join("other.json"), text.replace("\"pid\"", "\"pdi\"")).unwrap();
    let path = t.bundle().display().to_string();
    t.runtime(&["check", &path]).ok();
    t.runtime(&["check", "-b", &path]).ok();
    t.runtime(&["check", "--config", "other.json", &path]).exits(1);
    t.runtime(&["check", "-b", &path, &path]).failed().says(&["the bundle is given twice"]);
    t.runtime(&["check", "/no/such"]).exits(1).says(&["open bundle `/no/such`"]);
}

#[test]
fn what_spec_writes_has_no_errors() {
    only_oxrun!();
    let t = Sandbox::new();
    for example in ["shell", "service", "rootless", "host-network"] {
        let _ = fs::remove_file(t.bundle().join("config.json"));
        t.runtime(&["spec", "--example", example]).ok();
        t.runtime(&["check"]).exits(2);
    }
}

/// What oxrun refuses anywhere, with what may have been meant.
#[test]
fn errors() {
    only_oxrun!();
    expect(&[
        (
            |t| t.config["process"]["user"]["uid"] = json!("x"),
            "error",
            "process.user.uid",
            "invalid type",
            "",
        ),
        (
            |t| t.config["linux"]["namespaces"][0]["type"] = json!("pdi"),
            "error",
            "linux.namespaces[0].type",
            "one of user, mount",
            "did you mean `pid`?",
        ),
        (
            |t| config::add_mount(&mut t.config, "/m", "none", "/tmp", &["bind", "noexce"]),
            "error",
            "mounts[7].options",
            "unknown option `noexce`",
            "`noexec`",
        ),
        (
            |t| t.config["process"]["rlimits"][0]["type"] = json!("RLIMIT_NOFILES"),
            "error",
            "process.rlimits[0].type",
            "unknown limit",
            "`RLIMIT_NOFILE`",
        ),
        (
            |t| t.config["linux"]["seccomp"]["syscalls"][0]["action"] = json!("SCMP_ACT_ERNO"),
            "error",
            "linux.seccomp.syscalls[0].action",
            "unknown action",
            "`SCMP_ACT_ERRNO`",
        ),
        (
            |t| t.config["linux"]["rootfsPropagation"] = json!("rprivat"),
            "error",
            "linux.rootfsPropagation",
            "unknown propagation",
            "`rprivate`",
        ),
        (
            |t| t.config["process"]["scheduler"] = json!({"policy": "SCHED_BATCHED"}),
            "error",
            "process.scheduler.policy",
            "unknown value",
            "`SCHED_BATCH`",
        ),
        (|t| t.config["root"]["path"] = json!("rootfz"), "error", "root.path", "no such file", "rootfs`"),
        (
            |t| {
                t.args(&["tru"]);
            },
            "error",
            "process.args[0]",
            "in no directory of PATH",
            "`true`",
        ),
        (
            |t| {
                t.args(&["/bin/non"]);
            },
            "error",
            "process.args[0]",
            "is not in the container",
            "",
        ),
        (
            |t| {
                fs::write(t.rootfs().join("bin/plain"), "#!/bin/sh\n").unwrap();
                t.args(&["plain"]);
            },
            "error",
            "process.args[0]",
            "chmod +x",
            "",
        ),
    ]);
}

/// What only shows when the program is started, after `create` has succeeded.
#[test]
fn programs_that_cannot_be_executed() {
    only_oxrun!();
    for (text, why) in
        [("#!/bin/sh\r\n", "carriage return"), ("#!/no/such\n", "/no/such"), ("echo\n", "it is text")]
    {
        let mut t = good();
        write_program(&t.rootfs().join("bin/script"), text);
        t.args(&["script"]);
        let (code, found) = findings(&t);
        assert!(code == 1 && found[0]["message"].as_str().unwrap().contains(why), "{found:?}");
        t.run().failed();
        // It may come with a mount, or by a hook.
        config::add_mount(&mut t.config, "/usr/bin", "tmpfs", "tmpfs", &[]);
        assert_eq!(findings(&t).0, 0);
        config::drop_mount(&mut t.config, "/usr/bin");
        t.config["hooks"] = json!({"createRuntime": [config::shell_hook("true")]});
        assert_eq!(findings(&t).0, 2);
    }
}

#[test]
fn what_has_no_effect() {
    only_oxrun!();
    expect(&[
        (
            |t| config::set_capabilities(&mut t.config, &["CAP_CHOWM"]),
            "warning",
            "process.capabilities",
            "unknown capabilities are ignored",
            "did you mean `CAP_CHOWN`?",
        ),
        (
            |t| t.config["linux"]["seccomp"]["syscalls"][0]["names"] = json!(["opennat", "mount", "umuont2"]),
            "warning",
            "linux.seccomp",
            "opennat",
            "`openat` for `opennat`, `umount2` for `umuont2`",
        ),
        (
            |t| t.config["linux"]["readonlypaths"] = json!([]),
            "warning",
            "linux.readonlypaths",
            "unknown member",
            "`readonlyPaths`",
        ),
        (
            |t| t.config["annotations"] = json!({"run.oci.keep_original_group": "1"}),
            "warning",
            "annotations.run.oci.keep_original_group",
            "unknown and without effect",
            "`run.oci.keep_original_groups`",
        ),
    ]);
}

#[test]
fn risks_of_namespaces_and_rights() {
    only_oxrun!();
    expect(&[
        (
            |t| config::drop_namespace(&mut t.config, "pid"),
            "warning",
            "linux.namespaces",
            "the pid namespace is the host's",
            "add {\"type\":\"pid\"}",
        ),
        (
            |t| config::drop_namespace(&mut t.config, "network"),
            "warning",
            "linux.namespaces",
            "localhost",
            "network",
        ),
        (
            |t| config::drop_namespace(&mut t.config, "ipc"),
            "warning",
            "linux.namespaces",
            "message queues",
            "ipc",
        ),
        (
            |t| {
                config::drop_namespace(&mut t.config, "uts");
                t.config["hostname"] = json!("");
            },
            "warning",
            "linux.namespaces",
            "the name of the host",
            "uts",
        ),
        (
            |t| {
                config::drop_namespace(&mut t.config, "mount");
                (t.config["linux"]["maskedPaths"], t.config["linux"]["readonlyPaths"]) =
                    (json!([]), json!([]));
                t.config["mounts"] = json!([]);
            },
            "warning",
            "linux.namespaces",
            "its mounts are made on the host",
            "mount",
        ),
        (
            |t| config::add_namespace(&mut t.config, "ipc", "/proc/self/ns/ipc"),
            "warning",
            "linux.namespaces[5].path",
            "the host's own ipc namespace",
            "",
        ),
        (
            |t| config::set_capabilities(&mut t.config, &["CAP_SYS_ADMIN"]),
            "warning",
            "process.capabilities",
            "CAP_SYS_ADMIN: it mounts",
            "user namespace",
        ),
        (
            |t| config::set_capabilities(&mut t.config, &["CAP_SYS_MODULE"]),
            "warning",
            "process.capabilities",
            "loads code",
            "",
        ),
        (
            |t| config::set_capabilities(&mut t.config, &["CAP_SYS_RAWIO"]),
            "warning",
            "process.capabilities",
            "ports",
            "",
        ),
        (
            |t| config::set_capabilities(&mut t.config, &["CAP_DAC_READ_SEARCH"]),
            "warning",
            "process.capabilities",
            "open_by_handle_at",
            "",
        ),
        (
            |t| config::set_capabilities(&mut t.config, &["CAP_BPF"]),
            "warning",
            "process.capabilities",
            "CAP_BPF",
            "",
        ),
        (
            |t| {
                config::set_capabilities(&mut t.config, &["CAP_SYS_PTRACE"]);
                config::drop_namespace(&mut t.config, "pid");
            },
            "warning",
            "process.capabilities",
            "takes over any process",
            "",
        ),
        (
            |t| t.config["process"]["capabilities"] = Value::Null,
            "warning",
            "process.capabilities",
            "root keeps every",
            "oxrun spec",
        ),
        (
            |t| t.config["process"]["noNewPrivileges"] = json!(false),
            "warning",
            "process.noNewPrivileges",
            "set-user-ID",
            "true",
        ),
        (|t| t.config["linux"]["seccomp"] = Value::Null, "warning", "linux.seccomp", "missing", "profile"),
        (
            |t| t.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW"}),
            "warning",
            "linux.seccomp",
            "allows everything",
            "profile",
        ),
    ]);
}

#[test]
fn risks_of_files() {
    only_oxrun!();
    expect(&[
        (
            |t| t.config["linux"]["maskedPaths"] = json!([]),
            "warning",
            "linux.maskedPaths",
            "/proc/keys",
            "oxrun spec",
        ),
        (
            |t| t.config["linux"]["readonlyPaths"] = json!(["/proc/sys"]),
            "warning",
            "linux.readonlyPaths",
            "/proc/sysrq-trigger",
            "oxrun spec",
        ),
        (
            |t| {
                t.config["linux"]["readonlyPaths"] =
                    json!(["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger"])
            },
            "warning",
            "linux.readonlyPaths",
            "`/proc/sys/kernel/core_pattern` can be written",
            "add `/proc/sys`",
        ),
        (
            |t| config::add_mount(&mut t.config, "/mnt", "proc", "proc", &[]),
            "warning",
            "linux.readonlyPaths",
            "`/mnt/sys/kernel/core_pattern`",
            "/mnt/sys",
        ),
        (
            |t| t.config["mounts"][5]["options"] = json!([]),
            "warning",
            "mounts[5].options",
            "uevent_helper",
            "`ro`",
        ),
        (
            |t| {
                config::drop_namespace(&mut t.config, "cgroup");
                t.config["mounts"][6]["options"] = json!([]);
            },
            "warning",
            "mounts[6].options",
            "`/sys/fs/cgroup` can be written",
            "`ro`",
        ),
        (
            |t| config::add_mount(&mut t.config, "/m", "none", "/etc", &["rbind"]),
            "warning",
            "mounts[7].source",
            "write the host's `/etc`",
            "`ro`",
        ),
        (
            |t| config::add_mount(&mut t.config, "/m", "none", "/tmp", &["rbind", "rshared"]),
            "warning",
            "mounts[7].options",
            "appear on the host",
            "rslave",
        ),
        (
            |t| {
                t.config["linux"]["devices"] =
                    json!([{"type": "b", "path": "/dev/disk", "major": 7, "minor": 0}])
            },
            "warning",
            "linux.devices[0]",
            "`/dev/disk` is a disk",
            "",
        ),
        (
            |t| {
                t.config["linux"]["devices"] =
                    json!([{"type": "c", "path": "/dev/mem", "major": 1, "minor": 1}])
            },
            "warning",
            "linux.devices[0]",
            "the memory of the machine",
            "",
        ),
        (
            |t| {
                t.config["linux"]["devices"] =
                    json!([{"type": "c", "path": "/dev/kmem", "major": 1, "minor": 2}])
            },
            "warning",
            "linux.devices[0]",
            "the memory of the kernel",
            "",
        ),
        (
            |t| {
                t.config["linux"]["devices"] =
                    json!([{"type": "c", "path": "/dev/port", "major": 1, "minor": 4}])
            },
            "warning",
            "linux.devices[0]",
            "the ports of the machine",
            "",
        ),
        (
            |t| t.config["linux"]["rootfsPropagation"] = json!("rshared"),
            "warning",
            "linux.rootfsPropagation",
            "appear on the host",
            "`private` or `slave`",
        ),
        (
            |t| t.config["hooks"] = json!({"poststop": [{"path": "/no/such"}]}),
            "warning",
            "hooks.poststop[0].path",
            "no such file",
            "",
        ),
        (
            |t| t.config["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]),
            "warning",
            "linux.resources.devices[0]",
            "every disk",
            "major and minor",
        ),
    ]);
    for (allowed, rule) in [
        (0, json!({"allow": true, "type": "b", "access": "m"})),
        (2, json!({"allow": true, "type": "b", "access": "r"})),
    ] {
        let mut t = good();
        t.config["linux"]["resources"]["devices"] = json!([rule]);
        assert_eq!(findings(&t).0, allowed);
    }
}

/// A socket that is bound, a directory with one, and through the usual link.
#[test]
fn control_sockets() {
    only_oxrun!();
    for source in [
        "/run/docker.sock",
        "/var/run/docker.sock",
        "/run/containerd/containerd.sock",
        "/run/podman/podman.sock",
        "/run/crio/crio.sock",
        "/run/buildkit/buildkitd.sock",
        "/run/systemd/private",
        "/run/dbus/system_bus_socket",
    ] {
        let mut t = good();
        config::add_mount(&mut t.config, "/m", "none", source, &["bind", "ro"]);
        let (_, found) = findings(&t);
        let finding = found.iter().find(|f| f["level"] == "warning").unwrap_or_else(|| panic!("{found:?}"));
        assert!(finding["message"].as_str().unwrap().contains("root on the host"), "{finding}");
    }
}

#[test]
fn in_a_user_namespace_root_is_nobody_special() {
    only_oxrun!();
    let mut t = good();
    t.map_users(200_000);
    config::set_capabilities(&mut t.config, &["CAP_SYS_ADMIN", "CAP_SYS_MODULE"]);
    t.config["linux"]["readonlyPaths"] = json!([]);
    t.config["linux"]["maskedPaths"] = json!([]);
    let (code, found) = findings(&t);
    assert_eq!(code, 0, "{found:?}");
    t.create().ok();
    t.finish();
}

#[test]
fn a_document_that_is_no_json() {
    only_oxrun!();
    let t = good();
    fs::write(t.bundle().join("config.json"), "{\"a\":1,}").unwrap();
    let outcome = t.runtime(&["check", "--format", "json"]).exits(1);
    let found = &outcome.json()["findings"][0];
    assert!(
        found["path"] == "" && found["message"].as_str().unwrap().contains("at line 1 column 8"),
        "{found}"
    );
    t.runtime(&["check"]).exits(1);
}

#[test]
fn colour_is_for_terminals() {
    only_oxrun!();
    let mut t = good();
    t.config["linux"]["seccomp"] = Value::Null;
    assert!(!check(&t, &[]).exits(2).stdout.contains('\x1b'));
    for (variable, coloured) in [("", true), ("1", false)] {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = fs::File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let mut command = t.command(&["check"]);
        command.env("NO_COLOR", variable);
        t.spawn_on(command, &slave).wait().exits(2);
        let mut buffer = [0; 4096];
        let length = fs::File::from(master).read(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]);
        assert!(text.contains("warning") && text.contains('\x1b') == coloured, "{text:?}");
    }
}

#[test]
fn the_help_names_the_status() {
    only_oxrun!();
    let help = host_command(crate::harness::runtime().to_str().unwrap(), &["check", "--help"]).ok().stdout;
    assert!(help.contains("exit status is 0 when nothing was found, 1 when"), "{help}");
}
