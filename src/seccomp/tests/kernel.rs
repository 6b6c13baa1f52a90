//! Compiled programs on the real kernel: what it accepts, and each action seen to act.

use super::*;
use std::io::Write;
use std::process::{Command, Stdio};

/// What becomes of a process that loads a filter and then makes a call; nothing where no filter
/// can be loaded.
fn act(filter: &Filter, syscall: &str, args: &[u64]) -> Option<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seccomp-load.py");
    let mut child =
        Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    let program: Vec<_> = filter.program.iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect();
    let number = NATIVE.number(arch::call(syscall).unwrap()).unwrap();
    let job = json!({"program": program, "flags": filter.flags, "number": number, "args": args});
    write!(child.stdin.take().unwrap(), "{job}").unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.code() == Some(77) {
        eprintln!("skipped: filters cannot be loaded here");
        return None;
    }
    Some(String::from_utf8(output.stdout).unwrap().trim().to_string())
}

/// getpriority(PRIO_PROCESS, 0) under a filter with one rule for it.
fn getpriority(rule: serde_json::Value, flags: serde_json::Value) -> Option<String> {
    let mut rule = rule;
    rule["names"] = json!(["getpriority"]);
    let (filter, problems, _) = read(json!({
        "defaultAction": "SCMP_ACT_ALLOW", "flags": flags, "syscalls": [rule], "listenerPath": "/a",
        "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    }));
    assert_eq!(problems, [""; 0]);
    act(&filter, "getpriority", &[0, 0])
}

#[test]
fn every_action_acts() {
    let does = |action: &str| getpriority(json!({"action": action}), json!(null));
    let Some(allowed) = does("SCMP_ACT_ALLOW") else { return };
    assert!(allowed.starts_with("returned "), "{allowed}");
    assert_eq!(does("SCMP_ACT_LOG"), Some(allowed));
    assert_eq!(does("SCMP_ACT_ERRNO").as_deref(), Some("errno 1"));
    assert_eq!(
        getpriority(json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 100}), json!(null)).as_deref(),
        Some("errno 100")
    );
    // Without a tracer.
    assert_eq!(does("SCMP_ACT_TRACE").as_deref(), Some("errno 38"));
    for action in ["SCMP_ACT_TRAP", "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS"] {
        assert_eq!(does(action).as_deref(), Some("signal 31"), "{action}");
    }
    assert_eq!(does("SCMP_ACT_NOTIFY").as_deref(), Some("notified 140 errno 99"));
}

#[test]
fn the_kernel_takes_every_flag() {
    let flags = json!(super::super::flags());
    let found = getpriority(json!({"action": "SCMP_ACT_NOTIFY"}), flags.clone());
    assert!(found.is_none_or(|found| found == "notified 140 errno 99"));
    let found = getpriority(json!({"action": "SCMP_ACT_ERRNO"}), flags);
    assert!(found.is_none_or(|found| found == "errno 1"));
}

#[test]
fn arguments_decide() {
    let args = json!([{"index": 1, "value": 0x1_0000_0005u64, "op": "SCMP_CMP_GT"}]);
    let rules = json!([{"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7, "args": args}]);
    let (filter, ..) = read(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
    let Some(below) = act(&filter, "getpriority", &[9, 0x1_0000_0005]) else { return };
    assert_eq!(below, "errno 22");
    assert_eq!(act(&filter, "getpriority", &[9, 0x1_0000_0006]).as_deref(), Some("errno 7"));
    assert_eq!(act(&filter, "getpriority", &[9, 0x2_0000_0000]).as_deref(), Some("errno 7"));
}

#[test]
fn the_default_profile_loads_and_acts() {
    let filter = property::compiled(&docker());
    let Some(allowed) = act(&filter, "getpid", &[]) else { return };
    assert!(allowed.starts_with("returned "), "{allowed}");
    assert_eq!(act(&filter, "kexec_load", &[]).as_deref(), Some("errno 1"));
    assert_eq!(act(&filter, "clone3", &[]).as_deref(), Some("errno 38"));
    assert_eq!(act(&filter, "socket", &[38, 1, 0]).as_deref(), Some("errno 1"));
    assert_eq!(act(&filter, "rseq_slice_yield", &[]).as_deref(), Some("errno 38"));
}
