//! Tests: for every value that the specification forbids, a config.json with exactly that fault,
//! and the JSON path and text of the error. `config` and `faults` serve the other test files too.

use super::plan::Plan;
use super::spec::Spec;
use super::{Host, Options, Problems, default_spec::Form, lower, parse};
use serde_json::Value;

/// A machine with cgroup v2 and all capabilities, as root.
pub const HOST: Host = Host { euid: 0, in_user_namespace: false, cgroup_v2: true, last_capability: 40 };

/// The default config with the members at some JSON pointers replaced; `-` removes a member.
pub fn config(changes: &[(&str, &str)]) -> String {
    let mut config: Value = serde_json::from_str(&Form::shell(None, true).text()).unwrap();
    for (pointer, value) in changes {
        set(&mut config, pointer, value);
    }
    config.to_string()
}

/// Replaces, appends or removes one value, making the objects on the way.
fn set(mut at: &mut Value, pointer: &str, new: &str) {
    let (parents, last) = pointer.rsplit_once('/').unwrap();
    for name in parents.split('/').skip(1) {
        at = match at {
            Value::Array(items) => &mut items[name.parse::<usize>().unwrap()],
            other => {
                if !other.is_object() {
                    *other = Value::Object(serde_json::Map::new());
                }
                &mut other[name]
            }
        };
    }
    let value = || serde_json::from_str(new).unwrap_or_else(|e| panic!("{new}: {e}"));
    match at {
        Value::Array(items) if last == "-" => items.push(value()),
        Value::Array(items) => items[last.parse::<usize>().unwrap()] = value(),
        Value::Object(members) if new == "-" => {
            members.remove(last).unwrap();
        }
        other => {
            if other.is_null() {
                *other = Value::Object(serde_json::Map::new());
            }
            other[last] = value();
        }
    }
}

/// Parses and lowers.
pub fn plan(text: &str) -> Result<Plan, Problems> {
    let spec: Spec = parse(text.as_bytes())?;
    lower(&spec, &Options { bundle: "/bundle".into(), no_pivot: false }, &HOST)
}

/// The problems of a config, as `path: text`.
pub fn faults(text: &str) -> Vec<String> {
    match plan(text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(|p| format!("{}: {}", p.path, p.text)).collect(),
    }
}

/// Each row: checklist line, pointer, value, JSON path of the error, part of its text.
fn check(rows: &[(&str, &str, &str, &str, &str)]) {
    for (line, pointer, value, path, text) in rows {
        let faults = faults(&config(&[(pointer, value)]));
        assert_eq!(faults.len(), 1, "{line}: {pointer} = {value}: {faults:?}");
        let fault = &faults[0];
        assert!(
            fault.starts_with(&format!("{path}: ")) && fault.contains(text),
            "{line}: {pointer} = {value}\n got: {fault}\nwant: {path}: …{text}…"
        );
        assert!(!fault.contains('\n'), "{fault}");
    }
}

#[test]
fn versions_and_types() {
    check(&[
        ("1.03", "/ociVersion", "-", "ociVersion", "missing"),
        ("1.03", "/ociVersion", "\"\"", "ociVersion", "missing"),
        ("1.03", "/ociVersion", "\"1.0\"", "ociVersion", "`1.0` is not a version such as 1.3.0"),
        ("1.03", "/ociVersion", "\"v1.0.0\"", "ociVersion", "not a version"),
        ("1.03", "/ociVersion", "\"1.0.01\"", "ociVersion", "not a version"),
        ("1.03", "/ociVersion", "\"1.0.0-\"", "ociVersion", "not a version"),
        ("1.03", "/ociVersion", "\"1.0.0-01\"", "ociVersion", "not a version"),
        ("1.03", "/ociVersion", "\"1.0.0+a_b\"", "ociVersion", "not a version"),
        ("1.03", "/ociVersion", "\"2.0.0\"", "ociVersion", "`2.0.0` is not supported: 1.0.0 to 1.3.x are"),
        ("1.03", "/ociVersion", "\"0.9.9\"", "ociVersion", "not supported"),
        ("1.05", "/ociVersion", "1", "ociVersion", "invalid type: number, expected a string"),
        ("1.05", "/process", "[]", "process", "invalid type: array, expected an object"),
        ("1.05", "/process/terminal", "1", "process.terminal", "expected a boolean"),
        ("1.05", "/process/args", "\"sh\"", "process.args", "invalid type: string, expected an array"),
        ("1.05", "/process/args", "[\"sh\",null]", "process.args[1]", "invalid type: null"),
        ("1.05", "/process/args", "[1]", "process.args[0]", "invalid type: number, expected a string"),
        ("1.05", "/root", "[\"rootfs\"]", "root", "invalid type: array, expected an object"),
        ("1.05", "/mounts", "[null]", "mounts[0]", "invalid type: null"),
        ("1.07", "/process/user/uid", "-1", "process.user.uid", "`-1`, expected u32"),
        ("1.07", "/process/user/uid", "4294967296", "process.user.uid", "expected u32"),
        ("1.07", "/process/user/uid", "1.5", "process.user.uid", "expected u32"),
        ("1.07", "/process/user/uid", "\"0\"", "process.user.uid", "expected u32"),
        (
            "1.07",
            "/linux/resources/blockIO/weight",
            "65536",
            "linux.resources.blockIO.weight",
            "expected u16",
        ),
        (
            "1.07",
            "/process/rlimits/0/hard",
            "18446744073709551616",
            "process.rlimits[0].hard",
            "expected u64",
        ),
        (
            "1.07",
            "/linux/resources/cpu/quota",
            "9223372036854775808",
            "linux.resources.cpu.quota",
            "expected i64",
        ),
        ("1.07", "/process/oomScoreAdj", "2147483648", "process.oomScoreAdj", "expected i32"),
    ]);
}

#[test]
fn hooks() {
    check(&[
        ("4.04", "/hooks/prestart", "[{}]", "hooks.prestart[0].path", "missing"),
        (
            "4.04",
            "/hooks/createRuntime",
            "[{\"path\":\"x\"}]",
            "hooks.createRuntime[0].path",
            "`x` is relative",
        ),
        (
            "4.04",
            "/hooks/createContainer",
            "[{\"path\":\"./x\"}]",
            "hooks.createContainer[0].path",
            "absolute",
        ),
        ("4.04", "/hooks/startContainer", "[{\"path\":\"x\"}]", "hooks.startContainer[0].path", "absolute"),
        (
            "4.04",
            "/hooks/poststart",
            "[{\"path\":\"/a\"},{\"path\":\"x\"}]",
            "hooks.poststart[1].path",
            "absolute",
        ),
        ("4.04", "/hooks/poststop", "[{\"path\":\"x\"}]", "hooks.poststop[0].path", "absolute"),
        (
            "4.07",
            "/hooks/prestart",
            "[{\"path\":\"/a\",\"timeout\":0}]",
            "hooks.prestart[0].timeout",
            "0 is out of",
        ),
        (
            "4.07",
            "/hooks/prestart",
            "[{\"path\":\"/a\",\"timeout\":-1}]",
            "hooks.prestart[0].timeout",
            "-1 is out",
        ),
        (
            "4.07",
            "/hooks/prestart",
            "[{\"path\":\"/a\",\"timeout\":4294967296}]",
            "hooks.prestart[0].timeout",
            "out",
        ),
    ]);
}

#[test]
fn root_hostname_annotations() {
    let long = format!("\"{}\"", "h".repeat(65));
    check(&[
        ("5.01", "/root", "-", "root", "missing"),
        ("5.01", "/root", "null", "root", "missing"),
        ("5.02", "/root/path", "-", "root.path", "missing"),
        ("5.02", "/root/path", "\"a\\u0000b\"", "root.path", "NUL byte"),
        ("5.04", "/hostname", &long, "hostname", "65 bytes are too long: at most 64"),
        ("5.05", "/domainname", &long, "domainname", "too long"),
        ("5.06", "/annotations", "{\"\":\"x\"}", "annotations", "empty key"),
        ("5.06", "/annotations", "{\"a\":1}", "annotations.a", "expected a string"),
        ("5.06", "/annotations", "{\"a\":null}", "annotations.a", "invalid type: null"),
    ]);
    let no_uts = [("/linux/namespaces", "[]"), ("/linux/maskedPaths", "[]"), ("/linux/readonlyPaths", "[]")];
    let faults = faults(&config(&[no_uts.as_slice(), &[("/domainname", "\"d\"")]].concat()));
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("hostname: needs a uts namespace"), "{faults:?}");
    assert!(faults[1].starts_with("domainname: needs a uts namespace"), "{faults:?}");
}

#[test]
fn mounts() {
    let bind =
        |more: &str| format!("{{\"destination\":\"/x\",\"source\":\"/s\",\"options\":[\"bind\"{more}]}}");
    let tmpfs =
        |options: &str| format!("{{\"destination\":\"/x\",\"type\":\"tmpfs\",\"options\":[{options}]}}");
    let map = "[{\"containerID\":0,\"hostID\":1,\"size\":1}]";
    let with =
        |maps: &str| format!("{{\"destination\":\"/x\",\"source\":\"/s\",\"options\":[\"bind\"],{maps}}}");
    check(&[
        ("6.02", "/mounts/-", "{\"type\":\"tmpfs\"}", "mounts[7].destination", "missing"),
        (
            "6.02",
            "/mounts/-",
            "{\"destination\":\"\",\"type\":\"tmpfs\"}",
            "mounts[7].destination",
            "missing",
        ),
        (
            "6.03",
            "/mounts/-",
            "{\"destination\":\"/x\",\"options\":[\"bind\"]}",
            "mounts[7].source",
            "missing",
        ),
        ("6.04", "/mounts/-", "{\"destination\":\"/x\"}", "mounts[7].type", "missing"),
        ("6.04", "/mounts/-", "{\"destination\":\"/x\",\"type\":\"none\"}", "mounts[7].type", "missing"),
        (
            "6.08",
            "/mounts/-",
            &bind(",\"tmpcopyup\""),
            "mounts[7].options",
            "`tmpcopyup` is for the type tmpfs",
        ),
        ("6.08", "/mounts/-", &tmpfs("\"src-nofollow\""), "mounts[7].options", "for bind mounts only"),
        ("6.08", "/mounts/-", &tmpfs("\"copy-symlink\""), "mounts[7].options", "for bind mounts only"),
        ("6.09", "/mounts/-", &with(&format!("\"uidMappings\":{map}")), "mounts[7].gidMappings", "missing"),
        ("6.09", "/mounts/-", &with(&format!("\"gidMappings\":{map}")), "mounts[7].uidMappings", "missing"),
        (
            "6.10",
            "/mounts/-",
            &with(&format!("\"gidMappings\":{map},\"uidMappings\":[{{\"containerID\":0,\"size\":1}}]")),
            "mounts[7].uidMappings[0].hostID",
            "missing",
        ),
        ("6.11", "/mounts/-", &bind(",\"idmap\""), "mounts[7].options", "needs uidMappings and gidMappings"),
        ("6.11", "/mounts/-", &bind(",\"ridmap\""), "mounts[7].options", "needs uidMappings and gidMappings"),
        (
            "6.13",
            "/mounts/0/destination",
            "\"/.\"",
            "mounts[0].destination",
            "would hide the root filesystem",
        ),
        ("6.05", "/mounts/-", &bind(",\"RO\""), "mounts[7].options", "unknown option `RO`"),
        ("6.05", "/mounts/0/source", "\"a\\u0000\"", "mounts[0].source", "NUL byte"),
        ("6.05", "/mounts/1/options/0", "\"a\\u0000\"", "mounts[1].options[0]", "NUL byte"),
    ]);
}

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
fn namespaces() {
    let ns = "/linux/namespaces/-";
    let user = |maps: &str| {
        config(&[(ns, "{\"type\":\"user\"}"), ("/linux/gidMappings", ONE), ("/linux/uidMappings", maps)])
    };
    const ONE: &str = "[{\"containerID\":0,\"hostID\":0,\"size\":1}]";
    check(&[
        (
            "8.02",
            ns,
            "{\"type\":\"net\"}",
            "linux.namespaces[6].type",
            "unknown namespace type `net`: one of user",
        ),
        ("8.02", ns, "{}", "linux.namespaces[6].type", "missing"),
        ("8.02", ns, "{\"type\":\"pid\"}", "linux.namespaces[6].type", "`pid` is given twice"),
        (
            "8.02",
            ns,
            "{\"type\":\"pid\",\"path\":\"/x\"}",
            "linux.namespaces[6].type",
            "`pid` is given twice",
        ),
        ("8.03", ns, "{\"type\":\"time\",\"path\":\"x\"}", "linux.namespaces[6].path", "`x` is relative"),
        ("8.05", "/linux/uidMappings", ONE, "linux.uidMappings", "needs a new user namespace"),
        ("8.05", "/linux/gidMappings", ONE, "linux.gidMappings", "needs a new user namespace"),
        ("8.06", "/linux/timeOffsets/boottime/secs", "1", "linux.timeOffsets", "needs a new time namespace"),
    ]);
    for (maps, path, text) in [
        ("[]", "linux.uidMappings", "missing: a new user namespace needs"),
        ("[{}]", "linux.uidMappings[0].containerID", "missing"),
        ("[{\"containerID\":0,\"size\":1}]", "linux.uidMappings[0].hostID", "missing"),
        ("[{\"containerID\":0,\"hostID\":0}]", "linux.uidMappings[0].size", "missing"),
        ("[{\"containerID\":0,\"hostID\":0,\"size\":0}]", "linux.uidMappings[0].size", "at least 1"),
        (
            "[{\"containerID\":4294967295,\"hostID\":0,\"size\":1}]",
            "linux.uidMappings[0].containerID",
            "exceed",
        ),
        ("[{\"containerID\":0,\"hostID\":1,\"size\":4294967295}]", "linux.uidMappings[0].hostID", "exceed"),
        (
            "[{\"containerID\":5,\"hostID\":0,\"size\":2},{\"containerID\":4,\"hostID\":9,\"size\":2}]",
            "linux.uidMappings[1].containerID",
            "ids overlap those of linux.uidMappings[0]",
        ),
        (
            "[{\"containerID\":0,\"hostID\":0,\"size\":2},{\"containerID\":4,\"hostID\":1,\"size\":2}]",
            "linux.uidMappings[1].hostID",
            "ids overlap those of linux.uidMappings[0]",
        ),
    ] {
        let faults = faults(&user(maps));
        assert!(
            faults.iter().any(|f| f.starts_with(&format!("{path}: ")) && f.contains(text)),
            "{maps}: {faults:?}"
        );
    }
    for (member, path) in [("uid", "uid"), ("gid", "gid"), ("additionalGids/-", "additionalGids[0]")] {
        let members = [
            (ns, "{\"type\":\"user\"}"),
            ("/linux/gidMappings", ONE),
            ("/linux/uidMappings", ONE),
            ("/process/user/additionalGids", "[]"),
            (&format!("/process/user/{member}"), "7"),
        ];
        let faults = faults(&config(&members));
        assert!(
            faults.len() == 1 && faults[0].starts_with(&format!("process.user.{path}: 7 is not in")),
            "{faults:?}"
        );
    }
    let mounts = "{\"type\":\"mount\",\"path\":\"/proc/1/ns/mnt\"}";
    let joined = [("/linux/namespaces", "[]"), (ns, mounts), (ns, "{\"type\":\"user\"}")];
    let maps = [("/linux/gidMappings", ONE), ("/linux/uidMappings", ONE)];
    let faults = faults(&config(&[&joined[..], &maps[..]].concat()));
    let text = "linux.namespaces[0].path: cannot be joined together with a new user namespace";
    assert!(faults.iter().any(|fault| fault.starts_with(text)), "{faults:?}");
    let time = |pointer, value| self::faults(&config(&[(ns, "{\"type\":\"time\"}"), (pointer, value)]));
    let faults = time("/linux/timeOffsets/realtime", "{}");
    assert_eq!(faults, ["linux.timeOffsets.realtime: unknown clock: boottime or monotonic"]);
    let faults = time("/linux/timeOffsets/boottime/nanosecs", "1000000000");
    assert_eq!(faults, ["linux.timeOffsets.boottime.nanosecs: 1000000000 exceeds 999999999"]);
}

#[test]
fn rootless_without_a_user_namespace() {
    let spec: Spec = parse(config(&[]).as_bytes()).unwrap();
    let problems = lower(&spec, &Options::default(), &Host { euid: 1000, ..HOST }).unwrap_err();
    assert!(problems.to_string().starts_with("linux.namespaces: user 1000 is not root"), "{problems}");
}

#[test]
fn devices() {
    let at = "/linux/devices";
    let device = |members: &str| format!("[{{\"type\":\"c\",\"path\":\"/dev/x\",{members}}}]");
    let rule = "/linux/resources/devices/0";
    check(&[
        ("8.08", at, "[{\"path\":\"/d\",\"major\":1,\"minor\":1}]", "linux.devices[0].type", "missing"),
        (
            "8.08",
            at,
            "[{\"type\":\"x\",\"path\":\"/d\",\"major\":1,\"minor\":1}]",
            "linux.devices[0].type",
            "`x`",
        ),
        ("8.08", at, "[{\"type\":\"p\"}]", "linux.devices[0].path", "missing"),
        ("8.08", at, "[{\"type\":\"p\",\"path\":\"dev/x\"}]", "linux.devices[0].path", "`dev/x` is relative"),
        ("8.08", at, "[{\"type\":\"p\",\"path\":\"/..\"}]", "linux.devices[0].path", "cannot be a device"),
        ("8.08", at, &device("\"major\":1"), "linux.devices[0].minor", "missing"),
        ("8.08", at, &device("\"minor\":1"), "linux.devices[0].major", "missing"),
        (
            "8.08",
            at,
            &device("\"major\":-1,\"minor\":1"),
            "linux.devices[0].major",
            "-1 is out of range: 0 to 4095",
        ),
        ("8.08", at, &device("\"major\":4096,\"minor\":1"), "linux.devices[0].major", "out of range"),
        ("8.08", at, &device("\"major\":1,\"minor\":1048576"), "linux.devices[0].minor", "out of range"),
        (
            "12",
            at,
            &device("\"major\":1,\"minor\":1,\"fileMode\":512"),
            "linux.devices[0].fileMode",
            "more than 511",
        ),
        (
            "12",
            at,
            &device("\"major\":1,\"minor\":1,\"fileMode\":25014"), // a block device's type bits
            "linux.devices[0].fileMode",
            "more than 511",
        ),
        (
            "8.08",
            at,
            &device("\"major\":1,\"minor\":1,\"uid\":4294967295"),
            "linux.devices[0].uid",
            "not an id",
        ),
        (
            "8.08",
            at,
            "[{\"type\":\"p\",\"path\":\"/p\"},{\"type\":\"c\",\"path\":\"//p/\",\"major\":1,\"minor\":1}]",
            "linux.devices[1].path",
            "`/p` is given by linux.devices[0] already",
        ),
        ("9.01", rule, "{\"type\":\"p\",\"access\":\"r\"}", "linux.resources.devices[0].type", "a, b or c"),
        ("9.01", rule, "{\"allow\":true}", "linux.resources.devices[0].access", "missing"),
        ("9.01", rule, "{\"access\":\"rx\"}", "linux.resources.devices[0].access", "`rx` has other letters"),
        ("9.01", rule, "{\"access\":\"r\",\"major\":-2}", "linux.resources.devices[0].major", "out of range"),
        (
            "9.01",
            rule,
            "{\"access\":\"r\",\"minor\":4294967296}",
            "linux.resources.devices[0].minor",
            "out of",
        ),
    ]);
}

#[test]
fn network_devices() {
    let at = "/linux/netDevices";
    check(&[
        ("8.12", at, "{\"\":{}}", "linux.netDevices.", "it is empty"),
        ("8.12", at, "{\"a/b\":{}}", "linux.netDevices.a/b", "`a/b` is not the name of an interface"),
        ("8.12", at, "{\"..\":{}}", "linux.netDevices...", "reserved"),
        ("8.12", at, "{\"eth%d\":{}}", "linux.netDevices.eth%d", "`%` cannot be part of it"),
        ("8.12", at, "{\"aaaaaaaaaaaaaaaa\":{}}", "linux.netDevices.aaaaaaaaaaaaaaaa", "longer than 15"),
        ("8.12", at, "{\"a\":{\"name\":\"aaaaaaaaaaaaaaaa\"}}", "linux.netDevices.a.name", "longer than 15"),
        ("8.12", at, "{\"a\":{\"name\":\"b c\"}}", "linux.netDevices.a.name", "spaces"),
        ("8.12", at, "{\"a\":{\"name\":\"e%s\"}}", "linux.netDevices.a.name", "one `%d`"),
        ("8.12", at, "{\"a\":{\"name\":\"e%d%d\"}}", "linux.netDevices.a.name", "one `%d`"),
        (
            "8.12",
            at,
            "{\"a\":{\"name\":\"x\"},\"b\":{\"name\":\"x\"}}",
            "linux.netDevices.b.name",
            "new name of `a`",
        ),
    ]);
    let faults = faults(&config(&[("/linux/namespaces/1/type", "\"time\""), (at, "{\"a\":{}}")]));
    assert!(faults.len() == 1 && faults[0].starts_with("linux.netDevices: needs a network"), "{faults:?}");
}

#[test]
fn the_rest_of_linux() {
    let memory = "/linux/memoryPolicy";
    check(&[
        ("10.02", "/linux/intelRdt/closID", "\"..\"", "linux.intelRdt.closID", "`..` is not"),
        ("10.02", "/linux/intelRdt/closID", "\".\"", "linux.intelRdt.closID", "`.` is not"),
        ("10.02", "/linux/intelRdt/closID", "\"a/b\"", "linux.intelRdt.closID", "`a/b` is not"),
        (
            "10.03",
            "/linux/intelRdt/l3CacheSchema",
            "\"L3:0=f\\n\"",
            "linux.intelRdt.l3CacheSchema",
            "one line",
        ),
        (
            "10.03",
            "/linux/intelRdt/memBwSchema",
            "\"0=f\"",
            "linux.intelRdt.memBwSchema",
            "begins with `MB:`",
        ),
        ("10.03", "/linux/intelRdt/memBwSchema", "\"MB:\\n\"", "linux.intelRdt.memBwSchema", "one line"),
        ("10.03", "/linux/intelRdt/schemata", "[\"a\",\"b\\n\"]", "linux.intelRdt.schemata[1]", "one line"),
        ("10.07", memory, "{}", "linux.memoryPolicy.mode", "missing: one of MPOL_DEFAULT"),
        (
            "10.07",
            memory,
            "{\"mode\":\"INTERLEAVE\"}",
            "linux.memoryPolicy.mode",
            "unknown value `INTERLEAVE`",
        ),
        ("10.07", memory, "{\"mode\":\"MPOL_BIND\"}", "linux.memoryPolicy.nodes", "MPOL_BIND needs nodes"),
        (
            "10.07",
            memory,
            "{\"mode\":\"MPOL_DEFAULT\",\"nodes\":\"0-7\"}",
            "linux.memoryPolicy.nodes",
            "MPOL_DEFAULT takes no nodes, 8 are given",
        ),
        (
            "10.07",
            memory,
            "{\"mode\":\"MPOL_BIND\",\"nodes\":\"9876543210\"}",
            "linux.memoryPolicy.nodes",
            "9876543210 is out of range",
        ),
        (
            "10.07",
            memory,
            "{\"mode\":\"MPOL_LOCAL\",\"flags\":[\"x\"]}",
            "linux.memoryPolicy.flags[0]",
            "`x`",
        ),
        ("10.17", "/linux/rootfsPropagation", "\"x\"", "linux.rootfsPropagation", "unknown propagation `x`"),
        ("10.18", "/linux/maskedPaths", "[\"proc\"]", "linux.maskedPaths[0]", "not absolute"),
        ("10.19", "/linux/readonlyPaths", "[\"/a\",\"\"]", "linux.readonlyPaths[1]", "not absolute"),
        ("10.21", "/linux/personality", "{}", "linux.personality.domain", "missing: one of LINUX, LINUX32"),
        (
            "10.21",
            "/linux/personality/domain",
            "\"linux\"",
            "linux.personality.domain",
            "unknown value `linux`",
        ),
        (
            "10.21",
            "/linux/personality",
            "{\"domain\":\"LINUX\",\"flags\":[\"x\"]}",
            "linux.personality.flags",
            "no flags are supported",
        ),
    ]);
}

#[test]
fn sysctls() {
    let one = |key: &str| faults(&config(&[("/linux/sysctl", &format!("{{\"{key}\":\"1\"}}"))]));
    for (key, text) in [
        ("kernel.panic", "belongs to the whole machine"),
        ("vm.swappiness", "belongs to the whole machine"),
        ("fs.mqueuex.a", "belongs to the whole machine"),
        ("kernel.shmall.x", "belongs to the whole machine"),
        ("netx.a", "belongs to the whole machine"),
        ("net/../kernel/panic", "not the name of a sysctl"),
        ("net.//.kernel.panic", "not the name of a sysctl"),
        ("net..a", "not the name of a sysctl"),
        ("net.", "not the name of a sysctl"),
        ("net.a b", "not the name of a sysctl"),
        ("", "not the name of a sysctl"),
        ("kernel.hostname", "set `hostname` instead"),
        ("user.max_user_namespaces", "needs a user namespace"),
    ] {
        let faults = one(key);
        assert!(faults.len() == 1 && faults[0].contains(text), "{key}: {faults:?}");
        assert!(faults[0].starts_with(&format!("linux.sysctl.{key}: ")), "{faults:?}");
    }
    for (kind, key) in
        [("network", "net.ipv4.ip_forward"), ("ipc", "kernel.sem"), ("ipc", "fs.mqueue.msg_max")]
    {
        let index = if kind == "network" { 1 } else { 2 };
        let pointer = format!("/linux/namespaces/{index}/type");
        let faults =
            faults(&config(&[(&pointer, "\"time\""), ("/linux/sysctl", &format!("{{\"{key}\":\"1\"}}"))]));
        assert!(faults.len() == 1 && faults[0].contains(&format!("needs a {kind} namespace")), "{faults:?}");
    }
    let both = "{\"net.ipv4.ip_forward\":\"1\",\"net/ipv4/ip_forward\":\"0\"}";
    assert!(faults(&config(&[("/linux/sysctl", both)]))[0].contains("given twice"));
    let faults =
        faults(&config(&[("/domainname", "\"d\""), ("/linux/sysctl", "{\"kernel.domainname\":\"e\"}")]));
    assert!(faults.len() == 1 && faults[0].contains("contradicts `domainname`"), "{faults:?}");
}

#[test]
fn paths_and_propagation_need_a_mount_namespace() {
    let propagation = ("/linux/rootfsPropagation", "\"shared\"");
    let faults = faults(&config(&[("/linux/namespaces/4/type", "\"time\""), propagation]));
    assert_eq!(faults.len(), 3, "{faults:?}");
    for (fault, path) in faults.iter().zip(["rootfsPropagation", "maskedPaths", "readonlyPaths"]) {
        assert!(fault.starts_with(&format!("linux.{path}: needs a mount namespace")), "{fault}");
    }
}

#[test]
fn all_problems_at_once_in_order() {
    let faults = faults(&config(&[
        ("/linux/rootfsPropagation", "\"x\""),
        ("/ociVersion", "\"x\""),
        ("/process/cwd", "\"x\""),
        ("/mounts/0/destination", "\"\""),
        ("/hooks/poststop", "[{}]"),
        ("/linux/namespaces/0/type", "\"x\""),
    ]));
    let paths: Vec<_> = faults.iter().map(|f| f.split(": ").next().unwrap()).collect();
    let expected = [
        "ociVersion",
        "process.cwd",
        "mounts[0].destination",
        "hooks.poststop[0].path",
        "linux.namespaces[0].type",
        "linux.rootfsPropagation",
    ];
    assert_eq!(paths, expected);
}

#[test]
fn all_wrong_types_at_once() {
    let faults =
        faults(&config(&[("/root/path", "1"), ("/process/user/uid", "-1"), ("/linux/devices", "[[]]")]));
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(faults[2].starts_with("linux.devices[0]: invalid type: array"), "{faults:?}");
}

#[test]
fn syntax_errors_have_line_and_column() {
    for (text, expected) in [
        ("", "not valid JSON: EOF while parsing a value at line 1 column 0"),
        ("{\n \"ociVersion\" 1}", "not valid JSON: expected `:` at line 2 column 15"),
        ("{} x", "not valid JSON: trailing characters at line 1 column 4"),
        ("[]", "invalid type: array, expected an object"),
        ("null", "invalid type: null, expected an object"),
    ] {
        let problems = parse::<Spec>(text.as_bytes()).unwrap_err();
        assert_eq!(problems.to_string(), expected);
    }
    assert!(parse::<Spec>(b"{\"hostname\":\"\xff\"}").unwrap_err().to_string().contains("line 1 column"));
}

#[test]
fn members_given_twice() {
    for (text, path) in [
        ("{\"root\":{},\"root\":{}}", "root"),
        ("{\"process\":{\"user\":{\"uid\":0,\"uid\":1}}}", "process.user.uid"),
        ("{\"annotations\":{\"a\":\"\",\"a\":\"\"}}", "annotations.a"),
        ("{\"mounts\":[{},{\"type\":\"\",\"type\":\"\"}]}", "mounts[1].type"),
    ] {
        let problems = parse::<Spec>(text.as_bytes()).unwrap_err();
        assert_eq!(problems.to_string(), format!("{path}: given twice in one object"), "{text}");
    }
}

#[test]
fn values_with_a_nul_byte() {
    let nul = super::json::NUL;
    let device = r#"[{"path":"/dev/a\u0000","type":"c","major":1,"minor":3}]"#;
    check(&[
        (
            "1.05",
            "/annotations/run.oci.hooks.stdout",
            r#""/a\u0000""#,
            "annotations.run.oci.hooks.stdout",
            nul,
        ),
        ("1.05", "/linux/devices", device, "linux.devices[0].path", nul),
        ("1.05", "/root/path", r#""a\u0000""#, "root.path", nul),
        ("1.05", "/linux/maskedPaths", r#"["/a\u0000"]"#, "linux.maskedPaths[0]", nul),
        ("1.05", "/process/args", r#"["a\u0000"]"#, "process.args[0]", nul),
        (
            "1.05",
            "/linux/sysctl",
            r#"{"net.ipv4.ip_forward":"1\u0000"}"#,
            "linux.sysctl.net.ipv4.ip_forward",
            nul,
        ),
    ]);
    // A name is looked at where the document does not fit its types.
    let faults = faults(&config(&[("/annotations", r#"{"a\u0000b":1}"#)]));
    assert!(faults.len() == 2 && faults[0].ends_with(nul), "{faults:?}");
}

#[test]
fn more_groups_than_the_kernel_takes() {
    let groups = format!("[{}7]", "7,".repeat(65_536));
    let text = "65537 groups; the kernel takes at most 65536";
    check(&[("6.01", "/process/user/additionalGids", &groups, "process.user.additionalGids", text)]);
}

#[test]
fn maps_that_are_no_objects() {
    let text = "invalid type: array, expected an object";
    check(&[("1.05", "/annotations", "[]", "annotations", text), ("1.05", "/linux", "[]", "linux", text)]);
}
