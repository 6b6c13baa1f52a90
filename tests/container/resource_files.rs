//! Single properties of `linux.resources`, each as the kernel's file then reads. What a host has no
//! file for is left out there, with the reason; on cgroup v2 those of v1 alone are refused.

use crate::harness::{Sandbox, note_skip};
use crate::host;
use serde_json::{Value, json};
use std::fs;

struct Case {
    property: &'static str,
    value: Value,
    controller: &'static str,
    v1: &'static str,
    v2: &'static str,
    expected: &'static str,
}

/// `linux.resources` with one property by its path (`cpu.idle`), added to `with`.
fn resources(with: Value, property: &str, value: &Value) -> Value {
    let mut all = with;
    let (object, member) = property.split_once('.').unwrap();
    if !all[object].is_object() {
        all[object] = json!({});
    }
    all[object][member] = value.clone();
    all
}

#[track_caller]
fn check(with: Value, case: &Case) {
    let mut t = Sandbox::new();
    t.args(&["payload", "sleep", "5000"]);
    let file = if host::is_cgroup_v2() { case.v2 } else { case.v1 };
    let there = !file.is_empty() && host::has_cgroup_file(case.controller, file, &t.id);
    for (key, value) in resources(with, case.property, &case.value).as_object().unwrap() {
        t.config["linux"]["resources"][key] = value.clone();
    }
    let path = format!("linux.resources.{}", case.property);
    match there {
        false if file.is_empty() => {
            t.create().failed().says(&[&path]);
        }
        false => note_skip(&format!("{path}: this host has no {file}")),
        true => {
            t.create().ok();
            let file = host::cgroup_of(t.pid(), case.controller).unwrap().join(file);
            let text = fs::read_to_string(&file).unwrap();
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains(case.expected), "{path}: {} has `{words}`", file.display());
        }
    }
}

#[test]
fn cpu_burst_idle_and_realtime() {
    let quota = json!({"cpu": {"quota": 50000, "period": 100000}});
    check(
        quota,
        &Case {
            property: "cpu.burst",
            value: json!(20000),
            controller: "cpu",
            v1: "cpu.cfs_burst_us",
            v2: "cpu.max.burst",
            expected: "20000",
        },
    );
    check(
        json!({}),
        &Case {
            property: "cpu.idle",
            value: json!(1),
            controller: "cpu",
            v1: "cpu.idle",
            v2: "cpu.idle",
            expected: "1",
        },
    );
    check(
        json!({"cpu": {"realtimePeriod": 500000}}),
        &Case {
            property: "cpu.realtimeRuntime",
            value: json!(5000),
            controller: "cpu",
            v1: "cpu.rt_runtime_us",
            v2: "",
            expected: "5000",
        },
    );
    check(
        json!({"cpu": {"realtimeRuntime": 5000}}),
        &Case {
            property: "cpu.realtimePeriod",
            value: json!(500000),
            controller: "cpu",
            v1: "cpu.rt_period_us",
            v2: "",
            expected: "500000",
        },
    );
}

#[test]
fn memory_of_version_1() {
    for (member, value, file, expected) in [
        ("memory.swappiness", json!(7), "memory.swappiness", "7"),
        ("memory.disableOOMKiller", json!(true), "memory.oom_control", "oom_kill_disable 1"),
    ] {
        check(json!({}), &Case { property: member, value, controller: "memory", v1: file, v2: "", expected });
    }
    check(
        json!({}),
        &Case {
            property: "memory.useHierarchy",
            value: json!(true),
            controller: "memory",
            v1: "memory.use_hierarchy",
            v2: "memory.max",
            expected: if host::is_cgroup_v2() { "max" } else { "1" },
        },
    );
    let limit = json!({"memory": {"limit": 67108864}});
    check(
        limit,
        &Case {
            property: "memory.checkBeforeUpdate",
            value: json!(true),
            controller: "memory",
            v1: "memory.limit_in_bytes",
            v2: "memory.max",
            expected: "67108864",
        },
    );
}

/// A disk of this host, major and minor number.
fn disk() -> Option<(u64, u64)> {
    let entries = fs::read_dir("/sys/block").ok()?;
    let mut numbers = entries.flatten().filter_map(|entry| {
        let text = fs::read_to_string(entry.path().join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    numbers.find(|(major, _)| ![1, 7].contains(major))
}

#[test]
fn throttles_of_block_devices() {
    let Some((major, minor)) = disk() else {
        skip!("no block device on this host");
    };
    for (member, v1, expected) in [
        ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "1048576"),
        ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "1048577"),
        ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "1000"),
        ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "1001"),
    ] {
        let rate: u64 = expected.parse().unwrap();
        let property = format!("blockIO.{member}").leak();
        let controller = if host::is_cgroup_v2() { "io" } else { "blkio" };
        let value = json!([{"major": major, "minor": minor, "rate": rate}]);
        check(json!({}), &Case { property, value, controller, v1, v2: "io.max", expected });
    }
}

#[test]
fn pids_at_the_edges() {
    for (value, expected) in [(json!(-1), "max"), (json!(4194304), "4194304"), (json!(3), "3")] {
        check(
            json!({}),
            &Case {
                property: "pids.limit",
                value,
                controller: "pids",
                v1: "pids.max",
                v2: "pids.max",
                expected,
            },
        );
    }
}

#[test]
fn controllers_that_are_not_there() {
    for (member, value, controller) in [
        ("network", json!({"classID": 1}), "net_cls"),
        ("network", json!({"priorities": [{"name": "lo", "priority": 3}]}), "net_prio"),
        ("rdma", json!({"mlx5_1": {"hcaHandles": 3, "hcaObjects": 100}}), "rdma"),
        ("hugepageLimits", json!([{"pageSize": "2MB", "limit": 4194304}]), "hugetlb"),
    ] {
        if host::has_controller(controller) {
            note_skip(&format!("this host has {controller}"));
            continue;
        }
        let mut t = Sandbox::new();
        t.config["linux"]["resources"][member] = value;
        t.create().failed().says(&[&format!("linux.resources.{member}")]).one_line();
        t.assert_clean();
    }
}
