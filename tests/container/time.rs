//! Time namespaces: offsets of the two clocks as the process and a child of it see them, alone and
//! together with user and pid namespaces.

use crate::config;
use crate::harness::{Sandbox, is_oxrun};
use serde_json::{Value, json};

macro_rules! only_oxrun {
    () => {
        if !is_oxrun() {
            skip!("another runtime knows no time namespaces");
        }
    };
}

fn with_offsets(offsets: Value) -> Sandbox {
    let mut t = Sandbox::new();
    config::add_namespace(&mut t.config, "time", "");
    t.config["linux"]["timeOffsets"] = offsets;
    t
}

fn seen(t: &mut Sandbox) -> String {
    t.report()["timens"].as_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn no_offsets_are_zero() {
    only_oxrun!();
    assert_eq!(seen(&mut with_offsets(json!({}))), "monotonic 0 0 boottime 0 0");
}

#[test]
fn one_clock_alone_and_negative() {
    only_oxrun!();
    let mut t = with_offsets(json!({"boottime": {"secs": -1, "nanosecs": 999999999}}));
    assert_eq!(seen(&mut t), "monotonic 0 0 boottime -1 999999999");
    let mut t = with_offsets(json!({"monotonic": {"secs": 7}}));
    assert_eq!(seen(&mut t), "monotonic 7 0 boottime 0 0");
}

#[test]
fn init_is_in_the_namespace_and_its_children_too() {
    only_oxrun!();
    let mut t = with_offsets(json!({"boottime": {"secs": 100000000}}));
    let script = "readlink /proc/self/ns/time; readlink /proc/1/ns/time; readlink /proc/1/ns/time_for_children; \
        cut -d. -f1 /proc/uptime";
    let said = t.run_args(&["sh", "-c", script]).ok().stdout;
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0] == lines[1] && lines[1] == lines[2], "{said}");
    assert!(lines[3].parse::<u64>().unwrap() > 100000000, "{said}");
}

#[test]
fn with_a_user_namespace() {
    only_oxrun!();
    let mut t = with_offsets(json!({"monotonic": {"secs": 5}, "boottime": {"secs": 6}}));
    t.map_users(100_000);
    assert_eq!(seen(&mut t), "monotonic 5 0 boottime 6 0");
}

#[test]
fn offsets_that_the_kernel_refuses() {
    only_oxrun!();
    for secs in [i64::MIN, -(1 << 40), i64::MAX] {
        let t = with_offsets(json!({"monotonic": {"secs": secs}}));
        t.create().failed().says(&["set the monotonic clock's offset (linux.timeOffsets)"]).one_line();
        t.assert_clean();
    }
}

#[test]
fn the_runtime_itself_stays_in_its_namespace() {
    only_oxrun!();
    // The state's clocks are the host's: a container that is created can be found and started.
    let mut t = with_offsets(json!({"boottime": {"secs": 100000000}}));
    t.args(&["payload", "exit", "3"]);
    t.create().ok();
    assert_eq!(t.status(), "created");
    let pid = t.pid();
    t.start().ok();
    assert_eq!(t.reap(pid), 3);
    t.delete().ok();
}
