//! Tests of the compiler as a whole: what is refused, and what compiled programs do.

mod kernel;
mod libseccomp;
mod measure;
mod property;
mod raw;
mod reference;
mod seccompiler;

use super::arch::{self, Arch};
use super::interpreter::{Call, run};
use super::*;
use serde_json::json;

fn docker() -> Seccomp {
    serde_json::from_str(include_str!("../../tests/data/docker-seccomp-oci.json")).unwrap()
}

#[test]
fn a_profile_with_everything_compiles() {
    let (_, problems, warnings) = read(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": super::architectures(),
        "flags": super::flags(),
        "listenerPath": "/run/agent",
        "listenerMetadata": "x",
        "syscalls": super::action_names().iter().map(|action| json!({
            "names": ["openat", "no_such_call"],
            "action": action,
            "args": super::operators().iter().enumerate().map(|(i, op)| json!({
                "index": i % 6, "value": i, "op": op,
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    }));
    assert_eq!(problems, [""; 0]);
    assert_eq!(warnings.0.len(), 1, "{warnings:?}");
    assert!(warnings.0[0].text.contains("no_such_call"), "{warnings:?}");
}

fn read(spec: serde_json::Value) -> (Filter, Vec<String>, Warnings) {
    let spec: Seccomp = serde_json::from_value(spec).unwrap();
    let (mut problems, mut warnings) = (Problems::default(), Warnings::default());
    let filter = compile(&spec, "linux.seccomp", Unknown::Skipped, &mut problems, &mut warnings);
    (filter, problems.0.iter().map(|p| format!("{}: {}", p.path, p.text)).collect(), warnings)
}

/// What is wrong with a profile that is right but for some members.
fn wrong(members: serde_json::Value) -> Vec<String> {
    let mut spec = json!({"defaultAction": "SCMP_ACT_ALLOW"});
    for (name, value) in members.as_object().unwrap() {
        spec[name] = value.clone();
    }
    read(spec).1
}

fn wrong_rule(members: serde_json::Value) -> Vec<String> {
    let mut rule = json!({"names": ["read"], "action": "SCMP_ACT_ERRNO"});
    for (name, value) in members.as_object().unwrap() {
        rule[name] = value.clone();
    }
    wrong(json!({"listenerPath": "/a", "syscalls": [{"names": ["open"], "action": "SCMP_ACT_LOG"}, rule]}))
}

#[test]
fn faults_are_found_where_they_are() {
    let starts = |found: Vec<String>, expected: &str| {
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?} instead of {expected}");
    };
    starts(wrong(json!({"defaultAction": ""})), "linux.seccomp.defaultAction: action is required");
    starts(wrong(json!({"defaultAction": "ALLOW"})), "linux.seccomp.defaultAction: unknown action `ALLOW`");
    starts(
        wrong(json!({"defaultAction": "SCMP_ACT_NOTIFY"})),
        "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY",
    );
    starts(
        wrong(json!({"defaultErrnoRet": 1})),
        "linux.seccomp.defaultErrnoRet: SCMP_ACT_ALLOW has no errno",
    );
    starts(
        wrong(json!({"architectures": ["SCMP_ARCH_X86", "X86"]})),
        "linux.seccomp.architectures[1]: unknown",
    );
    starts(wrong(json!({"flags": ["SECCOMP_FILTER_FLAG_NEW"]})), "linux.seccomp.flags[0]: unknown flag");
    starts(wrong(json!({"listenerMetadata": "x"})), "linux.seccomp.listenerMetadata: ");
    starts(
        wrong(json!({"syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]})),
        "linux.seccomp.listenerPath: is required",
    );
    starts(wrong_rule(json!({"names": []})), "linux.seccomp.syscalls[1].names: ");
    starts(wrong_rule(json!({"action": ""})), "linux.seccomp.syscalls[1].action: action is required");
    starts(wrong_rule(json!({"errnoRet": 4096})), "linux.seccomp.syscalls[1].errnoRet: 4096 is more");
    starts(
        wrong_rule(json!({"action": "SCMP_ACT_KILL", "errnoRet": 1})),
        "linux.seccomp.syscalls[1].errnoRet: SCMP_ACT_KILL has no errno",
    );
    starts(
        wrong_rule(json!({"action": "SCMP_ACT_NOTIFY", "names": ["read", "write"]})),
        "linux.seccomp.syscalls[1].names[1]: SCMP_ACT_NOTIFY cannot be used for the write syscall, \
         with which runtimes hand the listener over",
    );
    let args = |op: &str, index: u32| json!({"args": [{"index": index, "value": 1, "op": op}]});
    starts(wrong_rule(args("EQ", 0)), "linux.seccomp.syscalls[1].args[0].op: unknown operator `EQ`");
    starts(wrong_rule(args("SCMP_CMP_EQ", 6)), "linux.seccomp.syscalls[1].args[0].index: is 6");
    assert_eq!(wrong_rule(args("SCMP_CMP_EQ", 5)), [""; 0]);
}

#[test]
fn too_long_a_program_is_refused() {
    let args = |i: u64| json!([{"index": 0, "value": i * 3, "op": "SCMP_CMP_EQ"}]);
    let rule = |i| json!({"names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "args": args(i)});
    let rules = |n: u64| json!({"syscalls": (0..n).map(rule).collect::<Vec<_>>()});
    assert_eq!(wrong(rules(1000)), [""; 0]);
    let found = wrong(rules(4000));
    assert!(found.len() == 1 && found[0].contains("the kernel takes 4096"), "{found:?}");
}

#[test]
fn flags_become_bits() {
    let flags =
        |flags: serde_json::Value| read(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags})).0.flags;
    assert_eq!(flags(json!(null)), 4);
    assert_eq!(flags(json!([])), 0);
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_TSYNC"])), 0);
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"])), 6);
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])), 0);
}

#[test]
fn a_listener_comes_with_a_rule_that_notifies() {
    let profile = |action: &str| {
        read(json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/a", "listenerMetadata": "b",
            "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            "syscalls": [{"names": ["mkdir"], "action": action}],
        }))
        .0
    };
    let filter = profile("SCMP_ACT_NOTIFY");
    let listener = filter.listener.unwrap();
    assert_eq!((listener.path.as_str(), listener.metadata.as_str(), filter.flags), ("/a", "b", 0x28));
    let filter = profile("SCMP_ACT_ERRNO");
    assert!(filter.listener.is_none() && filter.flags == 0);
}

#[test]
fn newer_calls_return_enosys() {
    let run = |default: &str, name: &str, number: u32| {
        let rules = json!([{"names": ["clone3"], "action": "SCMP_ACT_TRAP"}]);
        let (filter, ..) = read(json!({
            "defaultAction": default, "architectures": ["SCMP_ARCH_MIPSEL64"], "syscalls": rules,
        }));
        let arch = Arch::named(name).unwrap();
        let call = Call { number, audit: arch.audit, big_endian: false, args: [0; 6] };
        run(&filter.program, &call).unwrap().0
    };
    assert_eq!(run("SCMP_ACT_KILL_PROCESS", "SCMP_ARCH_X86_64", 434), policy::KILL_PROCESS);
    assert_eq!(run("SCMP_ACT_KILL_PROCESS", "SCMP_ARCH_X86_64", 435), policy::TRAP);
    assert_eq!(run("SCMP_ACT_KILL_PROCESS", "SCMP_ARCH_X86_64", 436), policy::ERRNO | 38);
    assert_eq!(run("SCMP_ACT_KILL_PROCESS", "SCMP_ARCH_MIPSEL64", 5436), policy::ERRNO | 89);
    assert_eq!(run("SCMP_ACT_KILL_PROCESS", "SCMP_ARCH_X86_64", 0x4000_0000), policy::KILL_THREAD);
    assert_eq!(run("SCMP_ACT_LOG", "SCMP_ARCH_X86_64", 436), policy::LOG);
    assert_eq!(run("SCMP_ACT_TRACE", "SCMP_ARCH_X86_64", 436), policy::TRACE | 1);
    assert_eq!(run("SCMP_ACT_KILL_PROCESS", "SCMP_ARCH_X86", 436), policy::KILL_THREAD);
}

#[test]
fn explanations_tell_what_happens() {
    let ask = |arch: Option<&str>, syscall: Option<&str>, args: &[u64]| {
        let query =
            Query { arch: arch.map(Into::into), syscall: syscall.map(Into::into), args: args.to_vec() };
        explain(&docker(), &query).map_err(|e| e.to_string())
    };
    let whole = ask(None, None, &[]).unwrap();
    assert!(whole.contains("SCMP_ARCH_X86_64 and SCMP_ARCH_X32 (audit 0xc000003e)"), "{whole}");
    assert!(whole.contains("41 socket") && whole.contains("if arg0 < 0x26"), "{whole}");
    assert!(whole.contains("SCMP_ACT_ERRNO(38)"), "{whole}");
    let first = |text: String| text.lines().next().unwrap_or_default().to_string();
    let socket = ask(None, Some("socket"), &[38]).unwrap();
    assert!(socket.contains("return SCMP_ACT_ERRNO(1)"), "{socket}");
    assert!(first(socket).starts_with("socket (0x29) on SCMP_ARCH_X86_64: SCMP_ACT_ERRNO(1) after "));
    let allowed = first(ask(Some("x86"), Some("socketcall"), &[1]).unwrap());
    assert!(allowed.starts_with("socketcall (0x66) on SCMP_ARCH_X86: SCMP_ACT_ALLOW after "), "{allowed}");
    assert!(ask(Some("arm"), Some("read"), &[]).unwrap().contains("does not list SCMP_ARCH_ARM"));
    assert!(ask(None, Some("socketcall"), &[]).unwrap_err().contains("it exists on SCMP_ARCH_X86,"));
    assert!(ask(None, Some("red"), &[]).unwrap_err().contains("find system call `red`"));
    assert!(ask(Some("vax"), None, &[]).unwrap_err().contains("must be one of SCMP_ARCH_X86_64"));
}
