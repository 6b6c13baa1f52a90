//! `update`: each limit as the kernel has it afterwards, from options and from JSON, and nothing
//! changed when something is wrong. `pause` and `resume`.

use crate::harness::{Outcome, Sandbox, is_oxrun};
use crate::host;
use serde_json::json;
use std::fs;
use std::path::PathBuf;

fn running(t: &mut Sandbox) {
    t.args(&["payload", "sleep", "1000"]);
    t.create().ok();
    t.start().ok();
}

#[track_caller]
fn update(t: &Sandbox, flags: &[&str]) -> Outcome {
    let words: Vec<&str> = ["update"].iter().chain(flags).copied().chain([t.id.as_str()]).collect();
    t.runtime(&words)
}

/// `update --resources FILE`.
#[track_caller]
fn update_json(t: &Sandbox, text: &str) -> Outcome {
    let path = t.path("resources.json");
    fs::write(&path, text).unwrap();
    update(t, &["-r", &path])
}

fn file(t: &Sandbox, controller: &str, name: &str) -> PathBuf {
    host::cgroup_of(t.pid(), controller).unwrap().join(name)
}

/// A control file by its v1 or v2 name.
fn value(t: &Sandbox, controller: &str, v1: &str, v2: &str) -> String {
    let name = if host::is_cgroup_v2() { v2 } else { v1 };
    fs::read_to_string(file(t, controller, name)).unwrap().trim().to_string()
}

fn memory(t: &Sandbox) -> String {
    value(t, "memory", "memory.limit_in_bytes", "memory.max")
}

fn pids(t: &Sandbox) -> String {
    value(t, "pids", "pids.max", "pids.max")
}

#[test]
fn every_option_reaches_the_kernel() {
    let mut t = Sandbox::new();
    running(&mut t);
    update(&t, &["--memory", "50M", "--pids-limit", "77", "--cpu-share", "512"]).ok();
    assert_eq!(memory(&t), (50 << 20).to_string());
    assert_eq!(pids(&t), "77");
    let shares = value(&t, "cpu", "cpu.shares", "cpu.weight");
    assert!(shares == "512" || (host::is_cgroup_v2() && shares != "100"), "{shares}");
    update(&t, &["--memory-reservation", "33554432"]).ok();
    assert_eq!(value(&t, "memory", "memory.soft_limit_in_bytes", "memory.low"), (32 << 20).to_string());
    update(&t, &["--cpu-period", "200000", "--cpu-quota", "50000"]).ok();
    let quota = |t: &Sandbox| match host::is_cgroup_v2() {
        true => value(t, "cpu", "", "cpu.max"),
        false => format!(
            "{} {}",
            value(t, "cpu", "cpu.cfs_quota_us", ""),
            value(t, "cpu", "cpu.cfs_period_us", "")
        ),
    };
    assert_eq!(quota(&t), "50000 200000");
    update(&t, &["--cpu-quota", "60000"]).ok();
    assert_eq!(quota(&t), "60000 200000");
    update(&t, &["--cpuset-cpus", "0", "--cpuset-mems", "0"]).ok();
    assert_eq!(value(&t, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    update(&t, &["--pids-limit", "-1"]).ok();
    assert_eq!(pids(&t), "max");
    assert_eq!(memory(&t), (50 << 20).to_string(), "what is not given stays");
}

#[test]
fn burst_and_idle_reach_the_kernel() {
    let mut t = Sandbox::new();
    running(&mut t);
    update(&t, &["--cpu-period", "100000", "--cpu-quota", "50000", "--cpu-burst", "10000"]).ok();
    assert_eq!(value(&t, "cpu", "cpu.cfs_burst_us", "cpu.max.burst"), "10000");
    update(&t, &["--cpu-idle", "1"]).ok();
    assert_eq!(value(&t, "cpu", "cpu.idle", "cpu.idle"), "1");
}

#[test]
fn options_that_the_kernel_has_no_file_for_are_refused() {
    if !is_oxrun() {
        skip!("another runtime ignores some of them");
    }
    let mut t = Sandbox::new();
    running(&mut t);
    let has = |controller: &str, name: &str| file(&t, controller, name).exists();
    for (option, amount, there, named) in [
        ("--cpu-rt-runtime", "1000", has("cpu", "cpu.rt_runtime_us"), "cpu.realtimeRuntime"),
        (
            "--blkio-weight",
            "500",
            has("blkio", "blkio.weight") || has("blkio", "blkio.bfq.weight"),
            "blockIO.weight",
        ),
        ("--kernel-memory", "1M", has("memory", "memory.kmem.limit_in_bytes"), "memory.kernel"),
        ("--kernel-memory-tcp", "1M", has("memory", "memory.kmem.tcp.limit_in_bytes"), "memory.kernelTCP"),
    ] {
        // On v2 the file may come with the controller, which the update switches on.
        if host::is_cgroup_v2() && option == "--blkio-weight" {
            continue;
        }
        // systemd has a limit of its own for units that are given none.
        let before = pids(&t);
        let outcome = update(&t, &["--pids-limit", "55", option, amount]);
        if there {
            outcome.ok();
            assert_eq!(pids(&t), "55");
            update(&t, &["--pids-limit", "-1"]).ok();
        } else {
            outcome.failed().says(&[named]).one_line();
            assert_eq!(pids(&t), before, "{option}: the other limit is back");
        }
    }
    if has("memory", "memory.kmem.tcp.limit_in_bytes") {
        assert_eq!(value(&t, "memory", "memory.kmem.tcp.limit_in_bytes", ""), (1 << 20).to_string());
    }
}

#[test]
fn options_may_come_after_the_id() {
    if !is_oxrun() {
        skip!("another runtime takes options before the id alone");
    }
    let mut t = Sandbox::new();
    running(&mut t);
    t.runtime(&["update", &t.id, "--pids-limit", "66"]).ok();
    assert_eq!(pids(&t), "66");
}

#[test]
fn resources_as_json() {
    let mut t = Sandbox::new();
    running(&mut t);
    update_json(&t, r#"{"memory": {"limit": 41943040}, "pids": {"limit": 55}}"#).ok();
    assert_eq!((memory(&t), pids(&t)), ((40 << 20).to_string(), "55".to_string()));
    update_json(&t, r#"{"CPU": {"Cpus": "0", "MEMS": "0"}, "Memory": {"LIMIT": 31457280}}"#).ok();
    assert_eq!(memory(&t), (30 << 20).to_string());
    assert_eq!(value(&t, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    let stdin = t.path("stdin.json");
    fs::write(&stdin, r#"{"pids": {"limit": 44}}"#).unwrap();
    for flag in [&["--resources", "-"][..], &["--resources=-"]] {
        let words: Vec<&str> = ["update"].iter().chain(flag).copied().chain([t.id.as_str()]).collect();
        let mut command = t.command(&words);
        command.stdin(fs::File::open(&stdin).unwrap());
        t.spawn(command).wait().ok();
        assert_eq!(pids(&t), "44");
    }
    for text in ["", "[]", "{\"memory\": 7}", "{\"memory\": {\"limit\": \"5M\"}}"] {
        update_json(&t, text).failed();
    }
    update(&t, &["-r", &t.path("none")]).failed().says(&["no such file"]);
}

#[test]
fn memory_and_swap_move_together() {
    let mut t = Sandbox::new();
    running(&mut t);
    if !host::is_cgroup_v2() && !file(&t, "memory", "memory.memsw.limit_in_bytes").exists() {
        skip!("no swap accounting");
    }
    let swap = |t: &Sandbox| value(t, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
    let expected =
        |total: i64, limit: i64| if host::is_cgroup_v2() { total - limit } else { total }.to_string();
    for (limit, total) in [(30 << 20, 50 << 20), (60 << 20, 80 << 20), (20 << 20, 20 << 20)] {
        update(&t, &["--memory", &limit.to_string(), "--memory-swap", &total.to_string()]).ok();
        assert_eq!((memory(&t), swap(&t)), (limit.to_string(), expected(total, limit)));
    }
    update(&t, &["--memory", "-1"]).ok();
    let unlimited = |text: String| text == "max" || text == "9223372036854771712";
    assert!(unlimited(memory(&t)) && unlimited(swap(&t)), "{} {}", memory(&t), swap(&t));
}

#[test]
fn one_wrong_value_leaves_all_as_it_was() {
    if !is_oxrun() {
        skip!("another runtime undoes nothing");
    }
    let mut t = Sandbox::new();
    running(&mut t);
    update(&t, &["--memory", "50M", "--pids-limit", "50", "--cpu-share", "512"]).ok();
    let shares = value(&t, "cpu", "cpu.shares", "cpu.weight");
    for wrong in [
        r#"{"memory": {"limit": 62914560}, "pids": {"limit": 60}, "cpu": {"shares": 600, "period": 100}}"#,
        r#"{"memory": {"limit": 62914560}, "pids": {"limit": 60}, "cpu": {"shares": 600, "cpus": "999"}}"#,
        r#"{"memory": {"limit": 62914560, "swap": 1}, "pids": {"limit": 60}}"#,
        r#"{"memory": {"limit": 62914560}, "hugepageLimits": [{"pageSize": "3MB", "limit": 1}], "pids": {"limit": 60}}"#,
    ] {
        update_json(&t, wrong).failed().one_line();
        let now = (memory(&t), pids(&t), value(&t, "cpu", "cpu.shares", "cpu.weight"));
        assert_eq!(now, ((50 << 20).to_string(), "50".to_string(), shares.clone()), "{wrong}");
    }
}

#[test]
fn devices_are_left_alone() {
    let mut t = Sandbox::new();
    running(&mut t);
    let readable = |t: &Sandbox| {
        let inside =
            t.runtime(&["exec", &t.id, "payload", "do", "open /dev/zero r", "open /dev/kmsg r"]).ok().json();
        inside[0]["ok"].clone()
    };
    for n in 0..10 {
        update_json(
            &t,
            &json!({"devices": [{"allow": false, "access": "rwm"}], "pids": {"limit": 90 + n}}).to_string(),
        )
        .ok();
        assert_eq!(readable(&t), true);
    }
}

#[test]
fn paused_containers_stay_paused_and_stopped_ones_are_refused() {
    let mut t = Sandbox::new();
    running(&mut t);
    let init = t.pid();
    t.runtime(&["pause", &t.id]).ok();
    assert_eq!(t.status(), "paused");
    update(&t, &["--pids-limit", "33"]).ok();
    assert_eq!((t.status(), pids(&t)), ("paused".to_string(), "33".to_string()));
    t.runtime(&["pause", &t.id]).failed();
    t.runtime(&["resume", &t.id]).ok();
    assert_eq!(t.status(), "running");
    t.runtime(&["resume", &t.id]).failed().says(&["container not paused"]).one_line();
    let other = t.other_id("x");
    for command in ["pause", "resume", "update"] {
        t.runtime(&[command, &other]).failed().says(&["does not exist"]).one_line();
    }
    t.kill("KILL").ok();
    t.reap(init);
    update(&t, &["--pids-limit", "33"]).failed();
    t.runtime(&["pause", &t.id]).failed();
    t.runtime(&["resume", &t.id]).failed();
}

#[test]
fn paused_processes_do_not_run() {
    let mut t = Sandbox::new();
    t.args(&["sh", "-c", "while :; do echo x; done > /tmp/out"]);
    t.create().ok();
    t.start().ok();
    let size = || fs::metadata(t.rootfs().join("tmp/out")).map(|m| m.len()).unwrap_or(0);
    crate::harness::wait_until("output", || size() > 0);
    t.runtime(&["pause", &t.id]).ok();
    let before = size();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(size(), before);
    t.runtime(&["resume", &t.id]).ok();
    crate::harness::wait_until("more output", || size() > before);
}

#[test]
fn cache_schemata_need_a_group() {
    let mut t = Sandbox::new();
    running(&mut t);
    for option in ["--l3-cache-schema=L3:0=f", "--mem-bw-schema=MB:0=10"] {
        let before = pids(&t);
        let outcome = update(&t, &["--pids-limit", "55", option]).failed().one_line();
        outcome.says_in_oxrun("need a container made with linux.intelRdt");
        if is_oxrun() {
            assert_eq!(pids(&t), before, "{option}: the other limit is back");
        }
    }
}
