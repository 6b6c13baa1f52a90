//! Tests: for every value that the specification forbids, a config.json with exactly that fault,
//! and the JSON path and text of the error. `config`, `faults` and
//! `check` serve the other test files too. What is wrong in `process` is in `bad_process`, in `linux` in `bad_linux`.

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
pub fn check(rows: &[(&str, &str, &str, &str, &str)]) {
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
fn maps_that_are_no_objects() {
    let text = "invalid type: array, expected an object";
    check(&[("1.05", "/annotations", "[]", "annotations", text), ("1.05", "/linux", "[]", "linux", text)]);
}
