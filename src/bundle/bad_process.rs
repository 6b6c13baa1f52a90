//! Tests: values in `process` (program, user, rights, limits, scheduling) that the specification forbids, one
//! fault each.

use super::bad_input::{check, config, faults};

#[test]
fn process_basics() {
    check(&[
        (
            "7.03",
            "/process/consoleSize",
            "{\"height\":65536,\"width\":1}",
            "process.consoleSize.height",
            "65536",
        ),
        ("7.04", "/process/cwd", "-", "process.cwd", "missing"),
        ("7.04", "/process/cwd", "\"tmp\"", "process.cwd", "`tmp` is relative"),
        ("7.05", "/process/env/0", "\"PATH\"", "process.env[0]", "`PATH` is not NAME=VALUE"),
        ("7.05", "/process/env/1", "\"=x\"", "process.env[1]", "name before `=` is empty"),
        ("7.05", "/process/env/1", "\"A=\\u0000\"", "process.env[1]", "NUL byte"),
        ("7.06", "/process/args", "-", "process.args", "missing"),
        ("7.06", "/process/args", "[]", "process.args", "missing"),
        ("7.06", "/process/args", "[\"\"]", "process.args[0]", "empty"),
        ("7.08", "/process/user/uid", "4294967295", "process.user.uid", "is not an id"),
        ("7.08", "/process/user/gid", "4294967295", "process.user.gid", "is not an id"),
        ("7.09", "/process/user/umask", "512", "process.user.umask", "512 (01000) is more than 511"),
        (
            "7.10",
            "/process/user/additionalGids",
            "[4294967295]",
            "process.user.additionalGids[0]",
            "not an id",
        ),
        (
            "7.12",
            "/process/rlimits/0/type",
            "\"RLIMIT_X\"",
            "process.rlimits[0].type",
            "unknown limit `RLIMIT_X`",
        ),
        (
            "7.12",
            "/process/rlimits/0/type",
            "\"NOFILE\"",
            "process.rlimits[0].type",
            "unknown limit `NOFILE`",
        ),
        ("7.12", "/process/rlimits/0/type", "-", "process.rlimits[0].type", "missing"),
        ("7.12", "/process/rlimits/0/soft", "-", "process.rlimits[0].soft", "missing"),
        ("7.12", "/process/rlimits/0/hard", "-", "process.rlimits[0].hard", "missing"),
        (
            "7.12",
            "/process/rlimits/0/soft",
            "1025",
            "process.rlimits[0].soft",
            "1025 is above the hard limit 1024",
        ),
        (
            "7.12",
            "/process/rlimits/-",
            "{\"type\":\"RLIMIT_NOFILE\",\"soft\":1,\"hard\":1}",
            "process.rlimits[1].type",
            "`RLIMIT_NOFILE` is given twice",
        ),
        (
            "7.16",
            "/process/oomScoreAdj",
            "1001",
            "process.oomScoreAdj",
            "1001 is out of range: -1000 to 1000",
        ),
        ("7.16", "/process/oomScoreAdj", "-1001", "process.oomScoreAdj", "out of range"),
    ]);
}

#[test]
fn scheduling() {
    let s = |members: &str| format!("{{\"policy\":\"SCHED_OTHER\",{members}}}");
    let d = |r: u64, d: u64, p: u64| {
        format!("{{\"policy\":\"SCHED_DEADLINE\",\"runtime\":{r},\"deadline\":{d},\"period\":{p}}}")
    };
    let (p, at) = ("/process/scheduler", |m: &str| format!("process.scheduler.{m}"));
    check(&[
        ("7.17", p, "{}", &at("policy"), "missing: one of SCHED_OTHER, SCHED_FIFO"),
        ("7.17", p, "{\"policy\":\"OTHER\"}", &at("policy"), "unknown value `OTHER`"),
        ("7.18", p, &s("\"nice\":20"), &at("nice"), "20 is out of range: -20 to 19"),
        (
            "7.18",
            p,
            "{\"policy\":\"SCHED_IDLE\",\"nice\":1}",
            &at("nice"),
            "SCHED_OTHER and SCHED_BATCH only",
        ),
        ("7.18", p, &s("\"priority\":1"), &at("priority"), "SCHED_FIFO and SCHED_RR only"),
        (
            "7.18",
            p,
            "{\"policy\":\"SCHED_FIFO\"}",
            &at("priority"),
            "0 is out of range for SCHED_FIFO: 1 to 99",
        ),
        ("7.18", p, "{\"policy\":\"SCHED_RR\",\"priority\":100}", &at("priority"), "100 is out of range"),
        ("7.18", p, "{\"policy\":\"SCHED_RR\",\"priority\":-1}", &at("priority"), "-1 is out of range"),
        ("7.18", p, &s("\"runtime\":1"), &at("runtime"), "SCHED_DEADLINE only"),
        ("7.18", p, &d(0, 1, 1), &at("runtime"), "0 is too short: at least 1024 ns"),
        ("7.18", p, &d(2000, 1999, 0), &at("deadline"), "1999 is less than the runtime 2000"),
        ("7.18", p, &d(2000, 3000, 2999), &at("period"), "2999 is less than the deadline 3000"),
        ("7.18", p, &d(2000, 3000, 1 << 63), &at("period"), "less than 2^63"),
        ("7.19", p, &s("\"flags\":[\"SCHED_FLAG_RECLAIM\",\"X\"]"), &at("flags[1]"), "unknown value `X`"),
        ("7.21", "/process/ioPriority", "{\"class\":\"X\"}", "process.ioPriority.class", "IOPRIO_CLASS_RT"),
        ("7.21", "/process/ioPriority", "{\"priority\":1}", "process.ioPriority.class", "missing"),
        (
            "7.21",
            "/process/ioPriority",
            "{\"class\":\"IOPRIO_CLASS_BE\",\"priority\":8}",
            "process.ioPriority.priority",
            "8 is out of range: 0 to 7",
        ),
        (
            "7.22",
            "/process/execCPUAffinity/initial",
            "\"a\"",
            "process.execCPUAffinity.initial",
            "`a` is not a",
        ),
        ("7.22", "/process/execCPUAffinity/final", "\"3-1\"", "process.execCPUAffinity.final", "ends before"),
    ]);
    let cpuset = ("/linux/resources/cpu/cpus", "\"0\"");
    let faults = faults(&config(&[(p, &d(2000, 3000, 0)), cpuset]));
    assert!(faults.len() == 1 && faults[0].contains("SCHED_DEADLINE cannot be used together"), "{faults:?}");
}

#[test]
fn more_groups_than_the_kernel_takes() {
    let groups = format!("[{}7]", "7,".repeat(65_536));
    let text = "65537 groups; the kernel takes at most 65536";
    check(&[("6.01", "/process/user/additionalGids", &groups, "process.user.additionalGids", text)]);
}
