//! The command line from outside: exit status, stdout, stderr and the log, as callers see them.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs::{File, read_to_string, remove_file, write};
use std::path::PathBuf;
use std::process::{Command, Output};

fn oxrun(arguments: &[&str]) -> Output {
    // No environment, but the record of errors (`make errors`).
    let record = std::env::var_os("OXRUN_ERRORS_SEEN").map(|file| ("OXRUN_ERRORS_SEEN", file));
    Command::new(env!("CARGO_BIN_EXE_oxrun")).args(arguments).env_clear().envs(record).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("oxrun-cli-{}-{name}", std::process::id()))
}

#[test]
fn version_and_help_go_to_stdout() {
    let version = oxrun(&["--version"]);
    assert!(version.status.success() && version.stderr.is_empty());
    let lines: Vec<_> = text(&version.stdout).lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("oxrun version "), "{lines:?}");
    assert!(lines[1].starts_with("commit: ") && lines[2].starts_with("spec: 1."), "{lines:?}");
    for arguments in [&["--help"][..], &["create", "--help"], &["state", "-h"], &[]] {
        let help = oxrun(arguments);
        assert!(help.status.success() && help.stderr.is_empty());
        assert!(text(&help.stdout).starts_with("NAME:\n   oxrun "), "{arguments:?}");
    }
}

#[test]
fn usage_errors_are_one_log_line_on_stderr() {
    let table: [&[&str]; 4] =
        [&["foo", "-h"], &["create"], &["create", "--nope", "x"], &["--log-format", "invalid", "list"]];
    for arguments in table {
        let output = oxrun(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(output.stdout.is_empty());
        let stderr = text(&output.stderr);
        assert!(stderr.starts_with("time=\"20") && stderr.contains(" level=error msg=\""), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    assert!(text(&oxrun(&["foo", "-h"]).stderr).contains("No help topic for 'foo'"));
}

#[test]
fn a_failure_is_one_json_value_in_the_log_and_plain_on_stderr() {
    let file = temporary("json");
    let path = file.to_str().unwrap();
    let output = oxrun(&["--log", path, "--log-format=json", "create", "--nope", "x"]);
    let log = read_to_string(&file).unwrap();
    remove_file(&file).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let value: serde_json::Value = serde_json::from_str(&log).unwrap();
    assert_eq!(value["level"], "error");
    let message = value["msg"].as_str().unwrap();
    assert!(message.contains("--nope"), "{message}");
    assert!(value["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(text(&output.stderr), format!("{message}\n"));
}

#[test]
fn the_log_is_appended_to() {
    let file = temporary("append");
    write(&file, "before\n").unwrap();
    let target = format!("--log=file:{}", file.display());
    assert!(!oxrun(&[&target, "create"]).status.success());
    let log = read_to_string(&file).unwrap();
    remove_file(&file).unwrap();
    assert!(log.starts_with("before\ntime=\""), "{log}");
    assert_eq!(log.lines().count(), 2);
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error() {
    for target in ["invalid:/path", "/nonexistent/dir/log", ""] {
        let output = oxrun(&["--log", target, "--version"]);
        assert_eq!(output.status.code(), Some(1), "{target}");
        assert!(output.stdout.is_empty() && text(&output.stderr).contains(target));
    }
    let missing = oxrun(&["--log", "/nonexistent/dir/log", "--version"]);
    assert!(text(&missing.stderr).contains("no such file or directory\""));
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_oxrun")).arg("--help").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("write to stdout: no space left on device"));
}

#[test]
fn seccomp_explain_reads_a_profile_or_a_config() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let explain = |arguments: &[&str]| oxrun(&[&["seccomp", "explain"], arguments].concat());
    let said = |arguments: &[&str]| {
        let output = explain(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    for name in ["docker-config.json", "docker-seccomp-oci.json"] {
        let file = format!("{data}/{name}");
        assert!(said(&[&file]).contains(" instructions of 4096; "), "{name}");
        let socket = said(&[&file, "--arch", "x86_64", "socket", "38"]);
        assert!(
            socket.starts_with("socket (0x29) on SCMP_ARCH_X86_64: SCMP_ACT_ERRNO(1) after "),
            "{socket}"
        );
        let other = said(&["--arch=x86_64", &file, "41", "0x27"]);
        assert!(other.starts_with("socket (0x29) on SCMP_ARCH_X86_64: SCMP_ACT_ALLOW after "), "{other}");
        let all_bits = said(&["--arch=x86_64", "--", &file, "socket", "-1"]);
        assert!(all_bits.contains("load arg0 high: 0xffffffff"), "{all_bits}");
    }
    let engine = format!("{data}/docker-default-seccomp.json");
    let (bare, none) = (temporary("bare.json"), temporary("none.json"));
    write(&bare, r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"x"}]}"#)
        .unwrap();
    write(&none, r#"{"ociVersion":"1.0.0","linux":{}}"#).unwrap();
    let (bare_path, none_path) = (bare.to_str().unwrap(), none.to_str().unwrap());
    for (arguments, message) in [
        (&["/nonexistent"][..], "read `/nonexistent`: no such file or directory"),
        (&[&engine], "this is a profile for container engines"),
        (&[bare_path], "linux.seccomp.syscalls[0].action: unknown action `x`"),
        (&[none_path], "the config has no linux.seccomp"),
        (&[none_path, "read", "1x"], "read the argument `1x`"),
        (&[none_path, "read", "1", "2", "3", "4", "5", "6", "7"], "too many arguments"),
    ] {
        let output = explain(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output.stderr).contains(message), "{arguments:?}: {}", text(&output.stderr));
    }
    assert!(text(&oxrun(&["seccomp", "compile", "x"]).stderr).contains("there is `seccomp explain`"));
    remove_file(&bare).unwrap();
    remove_file(&none).unwrap();
}

/// What is said of arguments that can never work, in one line that says what to do.
#[test]
fn wrong_arguments_are_explained() {
    let table: &[(&[&str], &str)] = &[
        (
            &["checkpoint", "--manage-cgroups-mode", "x", "c"],
            "read `--manage-cgroups-mode`: unknown mode `x`: use soft, full, strict or ignore",
        ),
        (
            &["checkpoint", "--network-lock", "x", "c"],
            "read `--network-lock`: unknown method `x`: use iptables, nftables or skip",
        ),
        (&["checkpoint", "--empty-ns", "pid", "c"], "namespace `pid` cannot be left empty: only network can"),
        (&["checkpoint", "--page-server", "x", "c"], "`x` is not ADDRESS:PORT, such as 192.0.2.7:27277"),
        (&["restore", "--lsm-profile", "x", "c"], "`x` is not TYPE:NAME: the type is apparmor or selinux"),
        (&["spec", "--example", "shell", "--from", "x"], "--example and --from cannot be used together"),
        (&["spec", "--example", "x"], "unknown example `x`: use shell, service, rootless or host-network"),
        (&["seccomp", "x", "y"], "unknown command `seccomp x`: there is `seccomp explain`"),
        (
            &["seccomp", "explain"],
            "`seccomp explain` needs a profile: a file with linux.seccomp, or a config.json",
        ),
        (
            &["seccomp", "explain", "x", "personality", "y"],
            "read the argument `y`: a number in 64 bits, such as 38 or 0x26",
        ),
        (&["events", "--format", "x", "c"], "invalid format option `x`: use json or table"),
        (&["events", "--follow", "c"], "--follow is for --format table: JSON events are followed without it"),
        (
            &["events", "--stats", "--format", "table", "c"],
            "--stats is for JSON: leave it out with --format table",
        ),
        (&["events"], "`oxrun events` needs <container-id>"),
        (&["mounts", "x", "c", "f"], "unknown action `x` of mounts: use add or remove"),
        (&["list", "--format", "x"], "invalid format option `x`: use table or json"),
        (
            &["--root", "/no/such", "events", "--format", "table"],
            "show containers: state directory `/no/such` does not exist",
        ),
        (&["--root", "/no/such", "events", "--format", "table", "c"], "container does not exist: `c`"),
        (&["--root", "/no/such", "list"], "list containers: state directory `/no/such` does not exist"),
        (&["--root", "/no/such", "state", "c"], "container does not exist: `c`"),
        (
            &["events", "--interval", "99999999999h", "c"],
            "is not a duration: use one like 5s, 100ms or 1m30s",
        ),
        (&["events", "--interval", "0s", "c"], "it must be longer than zero"),
        (&["--debug=x", "list"], "--debug"),
        (&["list", "--quiet=x"], "--quiet"),
        (&["check", "--format", "yaml"], "invalid format option `yaml`: use text or json"),
        (&["-x"], "see `oxrun --help`"),
        (&["list", "-x"], "see `oxrun list --help`"),
        (&["list", "--quiet=maybe"], "`--quiet=maybe` is neither true nor false"),
        (&["state", "a", "b"], "too many arguments for `oxrun state`, beginning with `b`"),
        (&["state", ""], "invalid container ID: it is empty"),
    ];
    for (arguments, said) in table {
        let output = oxrun(arguments);
        let stderr = text(&output.stderr);
        assert!(stderr.contains(&said.replace('"', "\\\"")), "{arguments:?} should say {said}: {stderr}");
        assert_eq!((output.status.success(), stderr.lines().count()), (false, 1), "{arguments:?}: {stderr}");
    }
}

#[test]
fn what_is_no_text_is_named() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let odd = OsStr::from_bytes(b"\xff");
    let table: &[(&[&OsStr], &str)] = &[
        (&["state".as_ref(), odd], "is not UTF-8"),
        (&["--log-level".as_ref(), odd, "list".as_ref()], "read `--log-level`: `"),
        (&["exec".as_ref(), "--cap".as_ref(), odd, "c".as_ref(), "x".as_ref()], "read `--cap`: `"),
        (
            &["--log".as_ref(), OsStr::from_bytes(b"syslog:\xff"), "list".as_ref()],
            "read the identifier of the log target",
        ),
    ];
    for (arguments, said) in table {
        let output = Command::new(env!("CARGO_BIN_EXE_oxrun")).args(*arguments).output().unwrap();
        let stderr = text(&output.stderr);
        assert!(stderr.contains(said), "{arguments:?} should say {said}: {stderr}");
        assert_eq!((output.status.success(), stderr.lines().count()), (false, 1), "{arguments:?}: {stderr}");
    }
}
