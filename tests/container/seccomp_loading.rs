//! When the filter is loaded, what the runtime still does under it, and filters that annotations give
//! or change. Numbers of system calls are those of x86_64.

use crate::config;
use crate::harness::Sandbox;
use serde_json::{Value, json};

/// What a static program calls between execve and its end.
const STATIC_PROGRAM: [&str; 22] = [
    "arch_prctl",
    "brk",
    "close",
    "execve",
    "exit_group",
    "getrandom",
    "gettid",
    "mmap",
    "mprotect",
    "munmap",
    "newfstatat",
    "openat",
    "poll",
    "prlimit64",
    "read",
    "readlink",
    "rseq",
    "rt_sigaction",
    "sched_getaffinity",
    "set_robust_list",
    "set_tid_address",
    "sigaltstack",
];

/// A profile that allows nothing but some calls.
fn nothing_but(default: &str, names: &[&str]) -> Value {
    json!({"defaultAction": default, "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]})
}

fn all_but(names: &[&str], action: &str) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": names, "action": action}]})
}

fn with(profile: Value, new_privileges: bool) -> Sandbox {
    let mut t = Sandbox::new();
    t.config["linux"]["seccomp"] = profile;
    t.config["process"]["noNewPrivileges"] = json!(new_privileges);
    t.config["process"]["capabilities"]["ambient"] = json!([]);
    t.args(&["payload", "exit", "7"]);
    t
}

/// The container exits 7 under `run` and under `create` and `start`.
#[track_caller]
fn starts(t: &Sandbox) {
    t.run().exits(7);
    t.create().ok();
    let pid = t.pid();
    t.start().ok();
    assert_eq!(t.reap(pid), 7);
    t.delete().ok();
    t.assert_clean();
}

#[test]
fn a_static_program_needs_no_call_of_the_runtime_s() {
    for default in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL", "SCMP_ACT_ERRNO"] {
        starts(&with(nothing_but(default, &STATIC_PROGRAM), true));
        let names = [&STATIC_PROGRAM[..], &["capset"]].concat();
        starts(&with(nothing_but(default, &names), false));
        let mut t = with(nothing_but(default, &[&names[..], &["prctl"]].concat()), false);
        config::set_capabilities(&mut t.config, &["CAP_CHOWN"]);
        t.config["process"]["capabilities"]["ambient"] = json!(["CAP_CHOWN"]);
        starts(&t);
    }
}

#[test]
fn a_program_that_needs_more_is_killed() {
    let names: Vec<&str> = STATIC_PROGRAM.iter().copied().filter(|name| *name != "brk").collect();
    let t = with(nothing_but("SCMP_ACT_KILL_PROCESS", &names), true);
    t.run().exits(128 + 31);
    t.assert_clean();
}

#[test]
fn a_filter_under_which_nothing_can_start_fails_create() {
    for action in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        for new_privileges in [true, false] {
            let t = with(all_but(&["execve"], action), new_privileges);
            t.create().failed().one_line().says_in_oxrun("linux.seccomp denies execve");
            t.assert_clean();
            t.run().failed();
            t.assert_clean();
        }
        let t = with(all_but(&["capset"], action), false);
        t.create()
            .failed()
            .one_line()
            .says_in_oxrun("denies capset, with which process.capabilities are set");
        t.assert_clean();
        starts(&with(all_but(&["capset", "prctl", "seccomp"], action), true));
        starts(&with(all_but(&["prctl", "seccomp"], action), false));
        let mut t = with(all_but(&["prctl"], action), false);
        config::set_capabilities(&mut t.config, &["CAP_CHOWN"]);
        t.config["process"]["capabilities"]["ambient"] = json!(["CAP_CHOWN"]);
        t.create().failed().says_in_oxrun("denies prctl");
        t.assert_clean();
    }
}

#[test]
fn a_hook_killed_by_the_filter_is_an_error_that_says_so() {
    for new_privileges in [true, false] {
        let mut t = with(all_but(&["mkdir", "mkdirat"], "SCMP_ACT_KILL_PROCESS"), new_privileges);
        t.config["hooks"] = json!({"startContainer": [{"path": "/bin/mkdir", "args": ["mkdir", "/made"]}]});
        t.create().ok();
        let outcome = t.start().failed().one_line();
        outcome.says_in_oxrun("error running startContainer hook").says_in_oxrun("bad system call");
        t.wait_status("stopped");
        t.delete().ok();
        t.assert_clean();
        t.run().failed().says_in_oxrun("bad system call");
        t.assert_clean();
    }
}

#[test]
fn exec_is_under_the_same_filter() {
    let mut t = with(all_but(&["getpriority"], "SCMP_ACT_ERRNO"), false);
    t.args(&["payload", "sleep", "1000"]);
    t.create().ok();
    t.start().ok();
    let exec = |words: &[&str]| t.runtime(&[&["exec", &t.id, "payload"], words].concat()).ok().json();
    assert_eq!(exec(&["do", "syscall 140 0 0"]), json!([{"err": "EPERM"}]));
    let status = &exec(&["report"])["status"];
    assert_eq!((&status["Seccomp"], &status["Seccomp_filters"]), (&json!("2"), &json!("1")));
    t.finish();
}

/// getpriority gives ENETDOWN, everything else is allowed.
const RAW: &str = "IAAAAAAAAAAVAAABjAAAAAYAAABkAAUABgAAAAAA/38=";

#[test]
fn a_raw_filter_stands_in_for_the_profile() {
    for new_privileges in [true, false] {
        for profile in [json!(null), all_but(&["getpriority"], "SCMP_ACT_KILL")] {
            let mut t = with(profile, new_privileges);
            t.config["annotations"] = json!({"run.oci.seccomp_bpf_data": RAW});
            let result = t.actions(&["syscall 140 0 0", "syscall 39"]);
            assert_eq!(result, json!([{"err": "ENETDOWN"}, {"ok": 1}]));
            assert_eq!(t.report()["status"]["Seccomp_filters"], "1");
        }
    }
}

#[test]
fn a_raw_filter_that_the_kernel_would_refuse_fails_create() {
    for (data, message) in [
        ("", "0 instructions"),
        ("no base64", "not base64"),
        ("AAAA", "3 bytes are not instructions"),
        ("IAAAAAAAAAA=", "the last one must return"),
        ("BQAAAAEAAAAGAAAAAAD/fw==", "instruction 0 (code 0x05, k 0x1): jumps behind the end"),
    ] {
        let mut t = with(json!(null), true);
        t.config["annotations"] = json!({"run.oci.seccomp_bpf_data": data});
        let outcome = t.create().failed().one_line();
        outcome.says_in_oxrun("annotations.run.oci.seccomp_bpf_data: ").says_in_oxrun(message);
        t.assert_clean();
    }
}

#[test]
fn unknown_names_can_be_made_errors() {
    let mut t = with(all_but(&["getpriority", "no_such_call"], "SCMP_ACT_ERRNO"), true);
    t.config["annotations"] = json!({"run.oci.seccomp_fail_unknown_syscall": "1"});
    t.create().failed().one_line().says_in_oxrun("unknown system calls").says(&["no_such_call"]);
    t.assert_clean();
    t.config["linux"]["seccomp"]["syscalls"][0]["names"] = json!(["getpriority"]);
    starts(&t);
}

#[test]
fn tracing_without_a_tracer_is_enosys() {
    let mut t = with(all_but(&["getpriority"], "SCMP_ACT_TRACE"), true);
    assert_eq!(t.actions(&["syscall 140 0 0"]), json!([{"err": "ENOSYS"}]));
}
