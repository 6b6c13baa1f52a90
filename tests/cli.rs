//! The command line from outside: exit status, stdout, stderr and the log, as callers see them.
#![allow(clippy::unwrap_used)]

use std::fs::{File, read_to_string, remove_file, write};
use std::path::PathBuf;
use std::process::{Command, Output};

fn oxrun(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_oxrun")).args(arguments).env_clear().output().unwrap()
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
