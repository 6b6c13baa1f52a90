//! Seccomp profiles as the container's process meets them. Numbers of system calls are those of
//! x86_64; other architectures are left out.

use crate::config;
use crate::harness::{Sandbox, is_oxrun};
use serde_json::{Value, json};

const GETPRIORITY: i64 = 140;
const PERSONALITY: i64 = 135;
const ACCT: i64 = 163;
const UNSHARE: i64 = 272;
const KEYCTL: i64 = 250;
const MOUNT: i64 = 165;
const CLONE3: i64 = 435;
const GETPID: i64 = 39;
const UMASK: i64 = 95;
const SETPRIORITY: i64 = 141;

/// A bundle with a profile.
fn with_profile(profile: Value) -> Sandbox {
    let mut t = Sandbox::new();
    t.config["linux"]["seccomp"] = profile;
    t
}

fn allow_but(rules: Value) -> Sandbox {
    with_profile(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
}

/// The profile of Docker's default config.
fn docker_profile() -> Value {
    let text = include_str!("../data/docker-config.json");
    serde_json::from_str::<Value>(text).unwrap()["linux"]["seccomp"].clone()
}

macro_rules! x86_64_only {
    () => {
        if cfg!(not(target_arch = "x86_64")) {
            skip!("system call numbers of x86_64");
        }
    };
}

#[test]
fn docker_s_profile_allows_and_denies() {
    x86_64_only!();
    let mut t = with_profile(docker_profile());
    config::set_capabilities(&mut t.config, &["CAP_SYS_ADMIN", "CAP_SYS_PACCT", "CAP_SYS_PTRACE"]);
    let numbers = [GETPID, UMASK, ACCT, KEYCTL, MOUNT, UNSHARE];
    let actions: Vec<String> = numbers.iter().map(|n| format!("syscall {n} 0x7e020000 0 0 0 0")).collect();
    let result = t.actions(&actions.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(result[0]["ok"], 1);
    assert!(result[1]["ok"].is_number());
    for (number, answer) in numbers[2..].iter().zip(&result.as_array().unwrap()[2..]) {
        assert_eq!(answer["err"], "EPERM", "{number}: {result}");
    }
}

#[test]
fn docker_s_profile_answers_enosys_to_what_is_newer() {
    x86_64_only!();
    let mut t = with_profile(docker_profile());
    let result = t.actions(&[&format!("syscall {CLONE3} 0 0"), "syscall 600", "syscall 1000 1 2 3"]);
    assert_eq!(result[0]["err"], "ENOSYS", "clone3 has an errnoRet of its own: {result}");
    assert_eq!(result[1]["err"], "ENOSYS", "{result}");
    assert_eq!(result[2]["err"], "ENOSYS", "{result}");
}

#[test]
fn filter_is_there_once() {
    let mut t = with_profile(docker_profile());
    for new_privileges in [true, false] {
        t.config["process"]["noNewPrivileges"] = json!(new_privileges);
        let status = &t.report()["status"];
        assert_eq!(status["Seccomp"], "2");
        assert_eq!(status["Seccomp_filters"], "1");
        assert_eq!(status["NoNewPrivs"], if new_privileges { "1" } else { "0" });
    }
}

#[test]
fn no_profile_no_filter() {
    assert_eq!(Sandbox::new().report()["status"]["Seccomp"], "0");
}

#[test]
fn works_for_a_user_without_capabilities() {
    let mut t = with_profile(docker_profile());
    t.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    t.config["process"]["noNewPrivileges"] = json!(false);
    t.config["process"]["capabilities"] = json!({});
    assert_eq!(t.report()["status"]["Seccomp"], "2");
}

#[test]
fn errno_is_as_given() {
    x86_64_only!();
    let mut t = allow_but(json!([
        {"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 100},
        {"names": ["personality"], "action": "SCMP_ACT_ERRNO"},
    ]));
    let result = t.actions(&[&format!("syscall {GETPRIORITY} 0 0"), &format!("syscall {PERSONALITY} 0")]);
    assert_eq!(result, json!([{"err": "ENETDOWN"}, {"err": "EPERM"}]));
}

#[test]
fn default_errno_is_as_given() {
    x86_64_only!();
    let mut profile = docker_profile();
    profile["defaultErrnoRet"] = json!(38);
    let mut t = with_profile(profile);
    let result = t.actions(&[&format!("syscall {ACCT} 0")]);
    assert_eq!(result[0]["err"], "ENOSYS");
}

#[test]
fn arguments_are_compared() {
    x86_64_only!();
    // getpriority(which, who): the first argument decides, in every way of comparing.
    for (op, value, two, hits, misses) in [
        ("SCMP_CMP_EQ", 1, 0, vec![1], vec![0, 2]),
        ("SCMP_CMP_NE", 1, 0, vec![0, 2], vec![1]),
        ("SCMP_CMP_LT", 1, 0, vec![0], vec![1, 2]),
        ("SCMP_CMP_LE", 1, 0, vec![0, 1], vec![2]),
        ("SCMP_CMP_GT", 1, 0, vec![2], vec![0, 1]),
        ("SCMP_CMP_GE", 1, 0, vec![1, 2], vec![0]),
        ("SCMP_CMP_MASKED_EQ", 1, 1, vec![1], vec![0, 2]),
    ] {
        let argument = json!({"index": 0, "value": value, "valueTwo": two, "op": op});
        let mut t = allow_but(json!([
            {"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 100, "args": [argument]},
        ]));
        for (which, hit) in hits.iter().map(|w| (w, true)).chain(misses.iter().map(|w| (w, false))) {
            let result = t.actions(&[&format!("syscall {GETPRIORITY} {which} 0")]);
            assert_eq!(result[0]["err"] == "ENETDOWN", hit, "{op} {which}: {result}");
        }
    }
}

#[test]
fn conditions_of_a_rule_are_all_needed_and_rules_are_alternatives() {
    x86_64_only!();
    let condition = |index: u32, value: u64| json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"});
    let rule = |args: Value| json!({"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 100, "args": args});
    let mut t =
        allow_but(json!([rule(json!([condition(0, 1), condition(1, 7)])), rule(json!([condition(0, 2)])),]));
    for (words, hit) in [("1 7", true), ("1 8", false), ("0 7", false), ("2 9", true)] {
        let result = t.actions(&[&format!("syscall {GETPRIORITY} {words}")]);
        assert_eq!(result[0]["err"] == "ENETDOWN", hit, "{words}: {result}");
    }
}

#[test]
fn whole_64_bits_are_compared() {
    x86_64_only!();
    let argument = json!({"index": 1, "value": 0x1_0000_0005u64, "op": "SCMP_CMP_EQ"});
    let mut t = allow_but(
        json!([{"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 100, "args": [argument]}]),
    );
    for (value, hit) in
        [("0x100000005", true), ("0x5", false), ("0x200000005", false), ("0x100000004", false)]
    {
        let result = t.actions(&[&format!("syscall {GETPRIORITY} 0 {value}")]);
        assert_eq!(result[0]["err"] == "ENETDOWN", hit, "{value}: {result}");
    }
}

#[test]
fn killing_actions_kill() {
    x86_64_only!();
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        let mut t = allow_but(json!([{"names": ["setpriority"], "action": action}]));
        t.run_args(&["payload", "do", &format!("syscall {SETPRIORITY} 0 0 0")]).exits(128 + 31);
        t.assert_clean();
    }
}

#[test]
fn logging_action_allows() {
    x86_64_only!();
    let mut t = allow_but(json!([{"names": ["getpriority"], "action": "SCMP_ACT_LOG"}]));
    assert!(t.actions(&[&format!("syscall {GETPRIORITY} 0 0")])[0]["ok"].is_number());
}

#[test]
fn flags_are_taken() {
    for flags in [
        json!([]),
        json!(["SECCOMP_FILTER_FLAG_LOG"]),
        json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]),
        json!(["SECCOMP_FILTER_FLAG_TSYNC"]),
        json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]),
    ] {
        let mut t = allow_but(json!([{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]));
        t.config["linux"]["seccomp"]["flags"] = flags.clone();
        let outcome = t.run_args(&["payload", "report"]);
        if !is_oxrun() && outcome.code != 0 {
            crate::harness::note_skip(&format!("another runtime does not know the flags {flags}"));
            continue;
        }
        assert_eq!(outcome.ok().json()["status"]["Seccomp"], "2", "{flags}");
    }
}

#[test]
fn unknown_names_are_ignored() {
    let mut t = allow_but(json!([
        {"names": ["no_such_call", "acct", "another_one"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["only_unknown"], "action": "SCMP_ACT_KILL"},
    ]));
    assert_eq!(t.actions(&[&format!("syscall {ACCT} 0")])[0]["err"], "EPERM");
}

#[test]
fn redundant_rules_are_ignored() {
    let mut t = allow_but(json!([
        {"names": ["getpid"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["acct"], "action": "SCMP_ACT_ERRNO"},
    ]));
    assert_eq!(t.actions(&[&format!("syscall {GETPID}")])[0]["ok"], 1);
}

#[test]
fn start_survives_the_denial_of_newer_calls() {
    let names = [
        "close_range",
        "fsopen",
        "fsconfig",
        "fsmount",
        "fspick",
        "openat2",
        "open_tree",
        "move_mount",
        "mount_setattr",
        "pidfd_open",
        "statx",
        "clone3",
        "faccessat2",
    ];
    let mut t = allow_but(json!([{"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]));
    for new_privileges in [true, false] {
        t.config["process"]["noNewPrivileges"] = json!(new_privileges);
        assert_eq!(t.run_args(&["echo", "here"]).ok().stdout, "here\n");
    }
}

#[test]
fn start_container_hook_is_under_the_filter() {
    x86_64_only!();
    let mut t = allow_but(json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL"}]));
    t.config["hooks"] = json!({"startContainer": [{"path": "/bin/mkdir", "args": ["mkdir", "/made"]}]});
    let outcome = t.run_args(&["true"]);
    if !is_oxrun() && outcome.code == 0 {
        skip!("another runtime runs this hook before the filter");
    }
    outcome.failed();
    assert!(!t.rootfs().join("made").exists());
    t.assert_clean();
}
