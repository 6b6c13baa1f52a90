//! Tests: values at the edges of their ranges, long strings and long lists.

use super::bad_input::{config, faults, plan};
use super::spec::{Memory, Resources, Spec};
use super::{lower_process, parse};

#[test]
fn numbers_keep_their_full_range() {
    for value in [0, 1, -1, i64::from(i32::MIN), 1 << 31, (1 << 32) - 1, 1 << 32, i64::MIN, i64::MAX] {
        let memory: Memory = parse(format!("{{\"limit\":{value},\"swap\":{value}}}").as_bytes()).unwrap();
        assert_eq!((memory.limit, memory.swap), (Some(value), Some(value)));
    }
    for value in [0, 1 << 31, (1 << 32) - 1, 1 << 63, u64::MAX] {
        let text = format!("{{\"cpu\":{{\"period\":{value}}},\"hugepageLimits\":[{{\"limit\":{value}}}]}}");
        let resources: Resources = parse(text.as_bytes()).unwrap();
        assert_eq!(resources.cpu.unwrap().period, Some(value));
        assert_eq!(resources.hugepage_limits[0].limit, value);
    }
}

#[test]
fn zero_and_absent_differ() {
    let pids = |text: &str| parse::<Resources>(text.as_bytes()).unwrap().pids.map(|pids| pids.limit);
    assert_eq!(pids("{\"pids\":{\"limit\":0}}"), Some(Some(0)));
    assert_eq!(pids("{\"pids\":{\"limit\":null}}"), Some(None));
    assert_eq!(pids("{\"pids\":{}}"), Some(None));
    assert_eq!(pids("{\"pids\":null}"), None);
    assert_eq!(pids("{}"), None);
}

#[test]
fn ids_at_the_edges() {
    for (uid, good) in
        [("0", true), ("2147483648", true), ("4294967294", true), ("4294967295", false), ("-1", false)]
    {
        let faults = faults(&config(&[("/process/user/uid", uid), ("/process/user/gid", uid)]));
        assert_eq!(faults.len(), if good { 0 } else { 2 }, "{uid}: {faults:?}");
    }
}

#[test]
fn long_strings() {
    let long = "x".repeat(64 << 10);
    let text = format!("\"{long}\"");
    let plan = plan(&config(&[
        ("/process/env/1", &format!("\"A={long}\"")),
        ("/process/args/0", &text),
        ("/process/cwd", &format!("\"/{long}\"")),
        ("/annotations", &format!("{{{text}:{text}}}")),
        ("/root/path", &text),
    ]))
    .unwrap();
    assert_eq!(plan.process.unwrap().args[0].as_bytes().len(), 64 << 10);
    assert_eq!(plan.annotations[&long], long);
    for pointer in ["/hostname", "/ociVersion", "/process/rlimits/0/type", "/linux/rootfsPropagation"] {
        assert_eq!(faults(&config(&[(pointer, &text)])).len(), 1, "{pointer}");
    }
}

#[test]
fn ten_thousand_variables() {
    let env: Vec<String> = (0..10_000).map(|i| format!("\"V{}={i}\"", i % 9_000)).collect();
    let process: super::spec::Process =
        parse(format!("{{\"args\":[\"a\"],\"cwd\":\"/\",\"env\":[{}]}}", env.join(",")).as_bytes()).unwrap();
    let (mut problems, mut warnings) = Default::default();
    let lowered = lower_process(&process, "", &super::bad_input::HOST, &mut problems, &mut warnings);
    assert!(problems.is_empty());
    assert_eq!(lowered.env.len(), 9_000);
    assert_eq!(lowered.env[0], c"V1000=1000".to_owned());
    assert_eq!(lowered.env[8_999], c"V999=9999".to_owned(), "the last of two");
}

#[test]
fn a_thousand_mounts() {
    let mounts: Vec<String> = (0..1_000)
        .map(|i| {
            format!("{{\"destination\":\"/m/{i}\",\"type\":\"tmpfs\",\"options\":[\"ro\",\"mode=755\"]}}")
        })
        .collect();
    let plan = plan(&config(&[("/mounts", &format!("[{}]", mounts.join(",")))])).unwrap();
    assert_eq!(plan.mounts.len(), 1_000);
    assert_eq!((plan.mounts[999].destination.as_str(), plan.mounts[999].index), ("/m/999", 999));
}

#[test]
fn as_many_map_lines_as_the_kernel_takes() {
    let user = ("/linux/namespaces/-", "{\"type\":\"user\"}");
    for (count, good) in [(340, true), (341, false)] {
        let lines: Vec<String> =
            (0..count).map(|i| format!("{{\"containerID\":{i},\"hostID\":{},\"size\":1}}", 2 * i)).collect();
        let map = format!("[{}]", lines.join(","));
        let result = plan(&config(&[user, ("/linux/uidMappings", &map), ("/linux/gidMappings", &map)]));
        match result {
            Ok(plan) => assert!(good && plan.namespaces.uid_map.len() == 340),
            Err(problems) => {
                let expected = "linux.uidMappings: 341 lines; the kernel takes at most 340";
                assert!(!good && problems.to_string().starts_with(expected), "{problems}");
            }
        }
    }
}

#[test]
fn the_largest_map() {
    let user = ("/linux/namespaces/-", "{\"type\":\"user\"}");
    let map = "[{\"containerID\":0,\"hostID\":0,\"size\":4294967295}]";
    let plan = plan(&config(&[user, ("/linux/uidMappings", map), ("/linux/gidMappings", map)])).unwrap();
    assert_eq!(plan.namespaces.uid_map[0].size, u32::MAX);
}

#[test]
fn deep_nesting_is_no_crash() {
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    let deep = |member: &str| parse::<Spec>(format!("{{\"x\":{open}{close}{member}}}").as_bytes());
    assert!(deep("").is_ok(), "unknown members are skipped, whatever is in them");
    let problems = deep(",\"hostname\":1").unwrap_err().to_string();
    assert!(problems.starts_with("invalid type: integer `1`, expected a string at line 1"), "{problems}");
    let problems = deep(",\"hostname\":\"\\u0000\"").unwrap_err().to_string();
    assert!(problems.contains("recursion limit exceeded"), "{problems}");
}

#[test]
fn problems_are_one_line_whatever_the_document_holds() {
    let twice = r#"{"a\nb\u001b[2J":1,"a\nb\u001b[2J":2,"hostname":3}"#;
    let problems = parse::<Spec>(twice.as_bytes()).unwrap_err().to_string();
    assert!(problems.contains(r"a\nb\u{1b}[2J: given twice"), "{problems}");
    assert!(!problems.contains(char::is_control), "{problems:?}");
}
