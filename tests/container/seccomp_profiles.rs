//! The default profiles of container engines on the real kernel. They come in a format of their own,
//! with rules for some capabilities and architectures, which `resolve` makes an OCI profile of, as the
//! engines do. Numbers of system calls are those of x86_64.

use crate::config;
use crate::harness::Sandbox;
use serde_json::{Value, json};

const ACCT: i64 = 163;
const CLONE3: i64 = 435;
const GETPID: i64 = 39;
const MOUNT: i64 = 165;
const SOCKET: i64 = 41;

/// The profile for a container on x86_64 with some capabilities.
fn resolve(profile: &Value, capabilities: &[&str]) -> Value {
    let has = |rule: &Value, list: &str, kind: &str, mine: &[&str]| -> Option<Vec<bool>> {
        let wanted = rule[list][kind].as_array().filter(|wanted| !wanted.is_empty())?;
        Some(wanted.iter().map(|wanted| mine.contains(&wanted.as_str().unwrap())).collect())
    };
    let applies = |rule: &&Value| {
        let machine = ["amd64", "x32"];
        has(rule, "includes", "caps", capabilities).is_none_or(|has| has.iter().all(|has| *has))
            && has(rule, "includes", "arches", &machine).is_none_or(|has| has.contains(&true))
            && has(rule, "excludes", "caps", capabilities).is_none_or(|has| !has.contains(&true))
            && has(rule, "excludes", "arches", &machine).is_none_or(|has| !has.contains(&true))
    };
    let rules: Vec<Value> = profile["syscalls"]
        .as_array()
        .unwrap()
        .iter()
        .filter(applies)
        .map(|rule| {
            let mut resolved = json!({"names": rule["names"], "action": rule["action"]});
            for member in ["errnoRet", "args"] {
                if !rule[member].is_null() {
                    resolved[member] = rule[member].clone();
                }
            }
            resolved
        })
        .collect();
    json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    })
}

/// What calls give in a container under a profile; nothing is mounted and no accounting begins, as
/// their arguments are null.
fn try_calls(profile: &Value, capabilities: &[&str], calls: &[&str]) -> Vec<Value> {
    try_calls_under(&resolve(profile, capabilities), calls)
}

/// The same under an OCI profile.
fn try_calls_under(seccomp: &Value, calls: &[&str]) -> Vec<Value> {
    let mut results = Vec::new();
    for new_privileges in [true, false] {
        let mut t = Sandbox::new();
        t.config["linux"]["seccomp"] = seccomp.clone();
        t.config["process"]["noNewPrivileges"] = json!(new_privileges);
        // What the kernel itself would allow; the profile is made for `capabilities`.
        config::set_capabilities(&mut t.config, &["CAP_SYS_ADMIN", "CAP_SYS_PACCT"]);
        results.push(t.actions(calls));
    }
    assert_eq!(results[0], results[1]);
    results.remove(0).as_array().unwrap().clone()
}

fn answers(results: &[Value]) -> Vec<&str> {
    results.iter().map(|result| result["err"].as_str().unwrap_or("ok")).collect()
}

fn calls(extra: &[&str]) -> Vec<String> {
    [GETPID, MOUNT, ACCT, CLONE3, 600]
        .iter()
        .map(|number| format!("syscall {number} 0 0 0 0 0"))
        .chain(extra.iter().map(ToString::to_string))
        .collect()
}

#[test]
fn docker_s_profile_acts() {
    if cfg!(not(target_arch = "x86_64")) {
        skip!("system call numbers of x86_64");
    }
    let profile: Value = serde_json::from_str(include_str!("../data/docker-default-seccomp.json")).unwrap();
    let vsock = format!("syscall {SOCKET} 40 1 0");
    let unix = format!("syscall {SOCKET} 1 1 0");
    let calls = calls(&[&vsock, &unix]);
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    let results = try_calls(&profile, &[], &calls);
    // clone3 and what is newer than the profile: not there. AF_VSOCK: not allowed.
    assert_eq!(answers(&results), ["ok", "EPERM", "EPERM", "ENOSYS", "ENOSYS", "EPERM", "ok"]);
    let results = try_calls(&profile, &["CAP_SYS_ADMIN", "CAP_SYS_PACCT"], &calls);
    let answers = answers(&results);
    assert_ne!(answers[1], "EPERM", "mount reaches the kernel");
    assert_ne!(answers[3], "ENOSYS", "clone3 reaches the kernel");
    assert_eq!(answers[4], "ENOSYS");
}

#[test]
fn podman_s_profile_acts() {
    if cfg!(not(target_arch = "x86_64")) {
        skip!("system call numbers of x86_64");
    }
    let path = "/usr/share/containers/seccomp.json";
    let Ok(text) = std::fs::read_to_string(path) else {
        skip!("{path} is missing: apt-get install golang-github-containers-common");
    };
    let profile: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(profile["defaultErrnoRet"], 38, "another version than this test was written for");
    let netlink_audit = format!("syscall {SOCKET} 16 3 9");
    let calls = calls(&[&netlink_audit, "syscall 246 0 0 0 0"]);
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    let results = try_calls(&profile, &[], &calls);
    let answers_without = answers(&results);
    // Calls for capabilities that the container lacks have a rule of their own (EPERM); the default
    // is ENOSYS; an audit socket is EINVAL; kexec_load is denied by name.
    assert_eq!((answers_without[0], answers_without[2], answers_without[4]), ("ok", "EPERM", "ENOSYS"));
    assert_ne!(answers_without[1], "EPERM", "mount is allowed, for user namespaces");
    assert_eq!(answers_without[5..], ["EINVAL", "EPERM"]);
    let results = try_calls(&profile, &["CAP_SYS_ADMIN", "CAP_SYS_PACCT"], &calls);
    assert_ne!(answers(&results)[2], "EPERM", "acct reaches the kernel");
}

/// `tests/data/containerd-seccomp.json` is what containerd 1.6.20 wrote into the config.json of a
/// container with its default profile and default capabilities.
#[test]
fn containerd_s_profile_acts() {
    if cfg!(not(target_arch = "x86_64")) {
        skip!("system call numbers of x86_64");
    }
    let profile: Value = serde_json::from_str(include_str!("../data/containerd-seccomp.json")).unwrap();
    let calls = calls(&[&format!("syscall {SOCKET} 1 1 0")]);
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    let results = try_calls_under(&profile, &calls);
    assert_eq!(answers(&results), ["ok", "EPERM", "EPERM", "ENOSYS", "ENOSYS", "ok"]);
}
