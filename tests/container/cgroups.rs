//! Control groups: where the container is, its limits and their effects, removal. The values are
//! read in the files of whichever version the host has.

use crate::harness::{Sandbox, is_oxrun};
use crate::{config, host};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

macro_rules! needs_v2 {
    () => {
        if !host::is_cgroup_v2() {
            skip!("of cgroup v2 alone");
        }
    };
}

/// A created container, and the text of one of its control files.
fn created(resources: Value) -> Sandbox {
    let mut t = Sandbox::new();
    for (key, value) in resources.as_object().unwrap() {
        t.config["linux"]["resources"][key] = value.clone();
    }
    t.args(&["payload", "sleep", "5000"]);
    t.create().ok();
    t
}

fn directory(t: &Sandbox, controller: &str) -> PathBuf {
    host::cgroup_of(t.pid(), controller).unwrap_or_else(|| panic!("no {controller} controller"))
}

#[track_caller]
fn value(t: &Sandbox, controller: &str, v1: &str, v2: &str) -> String {
    let file = directory(t, controller).join(if host::is_cgroup_v2() { v2 } else { v1 });
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    text.trim_end().to_string()
}

#[test]
fn memory_limits() {
    let t = created(json!({"memory": {"limit": 64 << 20, "reservation": 32 << 20}}));
    assert_eq!(value(&t, "memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    assert_eq!(value(&t, "memory", "memory.soft_limit_in_bytes", "memory.low"), (32 << 20).to_string());
}

#[test]
fn memory_and_swap_limits() {
    let both = if host::is_cgroup_v2() { "memory.swap.max" } else { "memory.memsw.limit_in_bytes" };
    let t = created(json!({}));
    if !directory(&t, "memory").join(both).exists() {
        skip!("this kernel does not account swap");
    }
    drop(t);
    let t = created(json!({"memory": {"limit": 64 << 20, "swap": 96 << 20}}));
    let expected = if host::is_cgroup_v2() { 32 << 20 } else { 96 << 20 };
    assert_eq!(value(&t, "memory", both, both), expected.to_string());
}

#[test]
fn memory_unlimited() {
    let t = created(json!({"memory": {"limit": -1, "swap": -1}}));
    let text = value(&t, "memory", "memory.limit_in_bytes", "memory.max");
    assert!(text == "max" || text.parse::<u64>().unwrap() > 1 << 60, "{text}");
}

#[test]
fn memory_limit_is_enforced() {
    let mut t = Sandbox::new();
    t.config["linux"]["resources"]["memory"] = json!({"limit": 32 << 20, "swap": 32 << 20});
    t.run_args(&["payload", "do", "alloc 8"]).ok();
    let outcome = t.run_args(&["payload", "do", "alloc 64"]);
    assert_eq!(outcome.code, 137, "{outcome:?}");
    t.assert_clean();
}

#[test]
fn cpu_settings() {
    let t = created(json!({"cpu": {"shares": 512, "quota": 20000, "period": 50000}}));
    if host::is_cgroup_v2() {
        assert_eq!(value(&t, "cpu", "", "cpu.max"), "20000 50000");
        assert!(value(&t, "cpu", "", "cpu.weight").parse::<u64>().unwrap() < 100);
    } else {
        assert_eq!(value(&t, "cpu", "cpu.shares", ""), "512");
        assert_eq!(value(&t, "cpu", "cpu.cfs_quota_us", ""), "20000");
        assert_eq!(value(&t, "cpu", "cpu.cfs_period_us", ""), "50000");
    }
}

#[test]
fn cpu_quota_and_period_alone() {
    let t = created(json!({"cpu": {"period": 200000}}));
    let text = value(&t, "cpu", "cpu.cfs_period_us", "cpu.max");
    assert!(["200000", "max 200000"].contains(&text.as_str()), "{text}");
    let t = created(json!({"cpu": {"quota": 30000}}));
    let text = value(&t, "cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(["30000", "30000 100000"].contains(&text.as_str()), "{text}");
}

#[test]
fn cpusets() {
    let t = created(json!({"cpu": {"cpus": "0", "mems": "0"}}));
    assert_eq!(value(&t, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    assert_eq!(value(&t, "cpuset", "cpuset.mems", "cpuset.mems"), "0");
    assert_eq!(host::process_status(t.pid(), "Cpus_allowed_list"), "0");
}

#[test]
fn cpuset_is_usable_without_settings() {
    let t = created(json!({}));
    if !host::is_cgroup_v2() {
        let parent = directory(&t, "cpuset").parent().unwrap().join("cpuset.cpus");
        assert_eq!(value(&t, "cpuset", "cpuset.cpus", ""), fs::read_to_string(parent).unwrap().trim_end());
    }
    t.start().ok();
}

#[test]
fn pids_limit() {
    let t = created(json!({"pids": {"limit": 42}}));
    assert_eq!(value(&t, "pids", "pids.max", "pids.max"), "42");
    let t = created(json!({"pids": {"limit": -1}}));
    assert_eq!(value(&t, "pids", "pids.max", "pids.max"), "max");
}

#[test]
fn pids_limit_is_enforced() {
    let mut t = Sandbox::new();
    t.config["linux"]["resources"]["pids"] = json!({"limit": 6});
    let result = t.actions(&["forks 20"]);
    assert_eq!(result[0]["ok"]["err"], "EAGAIN");
    assert_eq!(result[0]["ok"]["made"], 5);
}

#[test]
fn block_io_weight() {
    let t = created(json!({}));
    let files = ["blkio.bfq.weight", "blkio.weight", "io.bfq.weight", "io.weight"];
    let Some(file) = files
        .iter()
        .find(|f| directory(&t, if host::is_cgroup_v2() { "io" } else { "blkio" }).join(f).exists())
    else {
        skip!("this kernel has no weights of block devices");
    };
    drop(t);
    let t = created(json!({"blockIO": {"weight": 300}}));
    assert!(
        value(&t, if host::is_cgroup_v2() { "io" } else { "blkio" }, file, file).contains("300")
            || *file == "io.weight"
    );
}

#[test]
fn block_io_throttle() {
    let Some((major, minor)) = block_device() else {
        skip!("no block device on this host");
    };
    let controller = if host::is_cgroup_v2() { "io" } else { "blkio" };
    if !host::has_controller(controller) {
        skip!("no {controller} controller on this host");
    }
    let t = created(
        json!({"blockIO": {"throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": 1048576}]}}),
    );
    let text = value(&t, controller, "blkio.throttle.read_bps_device", "io.max");
    assert!(text.contains(&format!("{major}:{minor}")) && text.contains("1048576"), "{text}");
}

/// The first block device with a queue.
fn block_device() -> Option<(u64, u64)> {
    let entries = fs::read_dir("/sys/block").ok()?;
    let mut numbers = entries.flatten().filter_map(|e| {
        let text = fs::read_to_string(e.path().join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    numbers.find(|(major, _)| ![1, 7].contains(major))
}

#[test]
fn weight_zero_is_no_setting() {
    created(json!({"blockIO": {"weight": 0}, "cpu": {"shares": 0}, "memory": {}, "pids": {}})).finish();
}

#[test]
fn devices_are_denied_unless_allowed() {
    let mut t = Sandbox::new();
    config::set_capabilities(&mut t.config, &["CAP_MKNOD", "CAP_DAC_OVERRIDE"]);
    // No driver is behind 1:200: an open that the control group allows ends with ENXIO.
    let words = [
        "mknod /dev/odd c 1 200",
        "open /dev/odd r",
        "mknod /dev/zero2 c 1 5",
        "open /dev/zero2 r",
        "open /dev/null rw",
    ];
    let result = t.actions(&words);
    assert_eq!(result[1]["err"], "EPERM", "{result}");
    assert_eq!(result[3]["ok"], true, "default devices are always allowed: {result}");
    assert_eq!(result[4]["ok"], true);
    let rule = json!({"allow": true, "type": "c", "major": 1, "minor": 200, "access": "r"});
    t.config["linux"]["resources"]["devices"].as_array_mut().unwrap().push(rule);
    let result = t.actions(&["mknod /dev/odd c 1 200", "open /dev/odd r", "open /dev/odd w"]);
    assert_eq!(result[1]["err"], "ENXIO", "{result}");
    assert_eq!(result[2]["err"], "EPERM", "{result}");
}

#[test]
fn device_rules_with_wildcards() {
    let mut t = Sandbox::new();
    config::set_capabilities(&mut t.config, &["CAP_MKNOD", "CAP_DAC_OVERRIDE"]);
    t.config["linux"]["resources"]["devices"] = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "access": "rwm"},
        {"allow": true, "type": "b", "access": "m"},
    ]);
    let words = [
        "mknod /dev/block b 7 0",
        "open /dev/block r",
        "mknod /dev/odd c 1 200",
        "open /dev/odd rw",
        "open /dev/null rw",
    ];
    let result = t.actions(&words);
    assert_eq!(result[0]["ok"], 0, "{result}");
    assert_eq!(result[1]["err"], "EPERM", "{result}");
    assert_eq!(result[3]["err"], "ENXIO", "{result}");
    assert_eq!(result[4]["ok"], true, "{result}");
}

#[test]
fn everything_allowed() {
    let mut t = Sandbox::new();
    config::set_capabilities(&mut t.config, &["CAP_MKNOD", "CAP_DAC_OVERRIDE"]);
    t.config["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]);
    let result = t.actions(&["mknod /dev/odd c 1 200", "open /dev/odd rw"]);
    assert_eq!(result[1]["err"], "ENXIO", "{result}");
}

#[test]
fn absolute_path_is_below_the_root_of_the_hierarchy() {
    needs_cgroupfs!();
    let mut t = Sandbox::new();
    t.config["linux"]["cgroupsPath"] = json!(format!("/{}outer/inner", t.id));
    t.args(&["payload", "sleep", "5000"]);
    t.create().ok();
    let path = directory(&t, "pids");
    assert!(path.ends_with(format!("{}outer/inner", t.id)), "{}", path.display());
    t.finish();
    assert!(!path.exists());
    // The parent may have been made by the engine: it may stay, but not be in use.
    for left in host::cgroups_with(&t.id).iter().rev() {
        fs::remove_dir(left).unwrap();
    }
}

#[test]
fn relative_path_is_always_the_same_place() {
    needs_cgroupfs!();
    let mut t = Sandbox::new();
    t.config["linux"]["cgroupsPath"] = json!(format!("{}relative", t.id));
    t.args(&["payload", "sleep", "5000"]);
    t.create().ok();
    let first = directory(&t, "pids");
    assert!(first.ends_with(format!("{}relative", t.id)), "{}", first.display());
    t.finish();
    t.create().ok();
    assert_eq!(directory(&t, "pids"), first);
    t.finish();
    t.assert_clean();
}

#[test]
fn container_is_in_every_hierarchy() {
    let t = created(json!({}));
    let table = fs::read_to_string(format!("/proc/{}/cgroup", t.pid())).unwrap();
    for line in table.lines() {
        assert!(line.contains(&t.id), "{line}");
    }
}

#[test]
fn group_in_use_is_refused_and_stays_as_it_is() {
    needs_cgroupfs!();
    let mut t = Sandbox::new();
    if !is_oxrun() {
        skip!("another runtime shares a control group that is in use");
    }
    t.config["linux"]["cgroupsPath"] = json!(format!("/{}shared", t.id));
    t.args(&["payload", "sleep", "5000"]);
    t.create().ok();
    let other = t.other_id("second");
    t.runtime(&["create", &other]).failed().says(&["not empty"]).one_line();
    t.runtime(&["delete", "--force", &other]).ok();
    assert_eq!(t.status(), "created", "the container in the group was killed");
    t.finish();
    t.assert_clean();
}

#[test]
fn empty_group_may_be_there_before() {
    needs_cgroupfs!();
    let mut t = Sandbox::new();
    t.config["linux"]["cgroupsPath"] = json!(format!("/{}mine", t.id));
    let hierarchy = if host::is_cgroup_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/pids" };
    fs::create_dir(format!("{hierarchy}/{}mine", t.id)).unwrap();
    t.run_args(&["true"]).ok();
    t.assert_clean();
}

#[test]
fn limits_of_an_unknown_controller_are_an_error() {
    if host::is_cgroup_v2() || host::has_controller("hugetlb") {
        skip!("this host has the controllers");
    }
    let mut t = Sandbox::new();
    t.config["linux"]["resources"]["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 4194304}]);
    t.args(&["true"]);
    let outcome = t.create();
    if !is_oxrun() && outcome.code == 0 {
        skip!("another runtime ignores a limit it cannot set");
    }
    outcome.failed().says(&["hugetlb", "hugepage"]).one_line();
    t.assert_clean();
}

#[test]
fn unified_settings() {
    let mut t = Sandbox::new();
    t.config["linux"]["resources"]["unified"] = json!({"pids.max": "55"});
    t.args(&["payload", "sleep", "5000"]);
    if host::is_cgroup_v2() {
        t.create().ok();
        assert_eq!(value(&t, "pids", "", "pids.max"), "55");
    } else {
        t.create().failed().says(&["unified"]).one_line();
        t.assert_clean();
    }
}

#[test]
fn removal_tolerates_what_has_moved_in() {
    let t = created(json!({}));
    t.start().ok();
    let deep = directory(&t, "pids").join("a/b/c");
    fs::create_dir_all(&deep).unwrap();
    t.finish();
    t.assert_clean();
}

/// Where cgroups of an absolute path are: in the one hierarchy, or in that of a v1 controller.
fn hierarchy(controller: &str) -> PathBuf {
    let root = PathBuf::from("/sys/fs/cgroup");
    if host::is_cgroup_v2() { root } else { root.join(controller) }
}

/// A cgroup that a test makes beside the runtime, and those below it; gone when dropped.
struct Own(Vec<PathBuf>);

impl Own {
    fn new(paths: &[PathBuf]) -> Own {
        paths.iter().for_each(|path| fs::create_dir(path).unwrap());
        Own(paths.to_vec())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            // After a failed test somebody may still be in it.
            let _ = fs::remove_dir(path);
        }
    }
}

#[test]
fn controllers_are_enabled_by_need_from_the_top_down() {
    needs_v2!();
    needs_cgroupfs!();
    let mut t = Sandbox::new();
    t.config["linux"]["cgroupsPath"] = json!(format!("/{0}outer/{0}inner", t.id));
    t.config["linux"]["resources"]["cpu"] = json!({"shares": 512});
    t.args(&["payload", "sleep", "5000"]);
    t.create().ok();
    let outer = directory(&t, "cpu").parent().unwrap().join("cgroup.subtree_control");
    let enabled = fs::read_to_string(outer).unwrap();
    assert_eq!(enabled.trim(), "cpu memory pids", "what the limit needs, and what engines read");
    t.finish();
    t.assert_clean();
}

#[test]
fn frozen_group_is_refused_and_stays_as_it_is() {
    needs_cgroupfs!();
    let mut t = Sandbox::new();
    let group = hierarchy("freezer").join(format!("{}frozen", t.id));
    let own = Own::new(std::slice::from_ref(&group));
    let (file, on, off) = match host::is_cgroup_v2() {
        true => ("cgroup.freeze", "1", "0"),
        false => ("freezer.state", "FROZEN", "THAWED"),
    };
    fs::write(group.join(file), on).unwrap();
    t.config["linux"]["cgroupsPath"] = json!(format!("/{}frozen", t.id));
    t.args(&["true"]);
    t.create().failed().says(&["frozen"]).one_line();
    assert_eq!(fs::read_to_string(group.join(file)).unwrap().trim(), on);
    t.assert_no_containers();
    fs::write(group.join(file), off).unwrap();
    t.run().ok();
    drop(own);
    t.assert_clean();
}

#[test]
fn group_in_a_threaded_subtree_is_refused() {
    needs_v2!();
    needs_cgroupfs!();
    let mut t = Sandbox::new();
    let outer = hierarchy("").join(format!("{}outer", t.id));
    let own = Own::new(&[outer.clone(), outer.join("threads")]);
    fs::write(outer.join("threads/cgroup.type"), "threaded").unwrap();
    t.config["linux"]["cgroupsPath"] = json!(format!("/{}outer/threads/box", t.id));
    t.args(&["true"]);
    t.create().failed().says(&["threaded"]).one_line();
    assert!(!outer.join("threads/box").exists());
    drop(own);
    t.assert_clean();
}

#[test]
fn threaded_groups_inside_are_listed_killed_and_removed() {
    needs_v2!();
    let mut t = Sandbox::new();
    t.args(&["sh", "-c", "payload sleep 999 & payload sleep 1000; true"]);
    t.create().ok();
    t.start().ok();
    let inside = directory(&t, "");
    let pids = || t.runtime(&["ps", "--format", "json", &t.id]).ok().json();
    crate::harness::wait_until("three processes", || pids().as_array().unwrap().len() == 3);
    let before = pids();
    for group in ["plain", "plain/threads"] {
        fs::create_dir(inside.join(group)).unwrap();
    }
    // A cgroup with a threaded one below it: the process is listed in the upper one.
    let last = before.as_array().unwrap().last().unwrap().to_string();
    fs::write(inside.join("plain/cgroup.procs"), &last).unwrap();
    fs::write(inside.join("plain/threads/cgroup.type"), "threaded").unwrap();
    fs::write(inside.join("plain/threads/cgroup.threads"), &last).unwrap();
    assert_eq!(pids(), before);
    t.finish();
    assert!(!inside.exists());
    t.assert_clean();
}

#[test]
fn processes_are_born_in_the_group() {
    needs_v2!();
    let mut t = Sandbox::new();
    t.config["linux"]["resources"]["pids"] = json!({"limit": 1});
    t.args(&["payload", "sleep", "5000"]);
    t.create().ok();
    t.start().ok();
    // Only a process that is made in the cgroup counts against its limit; one that is moved does not.
    t.runtime(&["exec", &t.id, "true"]).failed().says(&["pids.max"]).one_line();
    t.runtime(&["update", "--pids-limit", "2", &t.id]).ok();
    t.runtime(&["exec", &t.id, "true"]).ok();
    t.finish();
    t.config["linux"]["resources"]["pids"] = json!({});
    t.config["linux"]["resources"]["unified"] = json!({"pids.max": "0"});
    t.create().failed().says(&["pids.max", "TasksMax"]).one_line();
    t.assert_clean();
}

#[test]
fn unified_settings_of_every_kind() {
    needs_v2!();
    let t = created(json!({"unified": {
        "memory.high": "67108864", "memory.oom.group": "1", "cpu.weight": "50", "cpu.max": "20000",
        "cgroup.max.descendants": "7",
    }}));
    for (file, want) in [
        ("memory.high", "67108864"),
        ("memory.oom.group", "1"),
        ("cpu.weight", "50"),
        ("cpu.max", "20000 100000"),
        ("cgroup.max.descendants", "7"),
    ] {
        assert_eq!(value(&t, "", "", file), want, "{file}");
    }
    t.finish();
    let mut t = t;
    for (file, text) in [
        ("memory.nonsense", "1"),
        ("nonsense.max", "1"),
        ("memory.high", "much"),
        ("../pids.max", "1"),
        ("cgroup.procs", "1"),
        ("cgroup.freeze", "1"),
    ] {
        t.config["linux"]["resources"]["unified"] = json!({file: text});
        t.create().failed().says(&[&format!("linux.resources.unified.{file}")]).one_line();
        t.assert_clean();
    }
}
