//! What the process may use of the machine's time and memory: scheduler, I/O priority, CPUs, NUMA
//! policy, personality and limits, each read back inside the container.

use crate::harness::{Sandbox, is_oxrun, note_skip};
use crate::host;
use serde_json::{Value, json};
use std::path::Path;

macro_rules! only_oxrun {
    () => {
        if !is_oxrun() {
            skip!("newer than this runtime");
        }
    };
}

/// Lets real-time tasks run in the container's cgroup, where the kernel asks for that.
fn allow_realtime(t: &mut Sandbox) {
    if Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        t.config["linux"]["resources"]["cpu"] = json!({"realtimePeriod": 1000000, "realtimeRuntime": 20000});
    }
}

#[track_caller]
fn scheduled(scheduler: Value) -> Value {
    let mut t = Sandbox::new();
    if ["SCHED_FIFO", "SCHED_RR"].contains(&scheduler["policy"].as_str().unwrap()) {
        allow_realtime(&mut t);
    }
    t.config["process"]["scheduler"] = scheduler;
    t.actions(&["scheduler"])[0]["ok"].clone()
}

fn facts(policy: u32, flags: u32, nice: i32, priority: u32) -> Value {
    json!({"policy": policy, "flags": flags, "nice": nice, "priority": priority})
}

/// Without the times, which every policy but one leaves to the kernel.
fn without_times(mut value: Value) -> Value {
    value.as_object_mut().unwrap().remove("times");
    value
}

#[test]
fn policies_of_ordinary_tasks() {
    only_oxrun!();
    for (policy, number, nice) in
        [("SCHED_OTHER", 0, -7), ("SCHED_OTHER", 0, 0), ("SCHED_BATCH", 3, 19), ("SCHED_IDLE", 5, 0)]
    {
        let seen = scheduled(json!({"policy": policy, "nice": nice}));
        assert_eq!(without_times(seen), facts(number, 0, nice, 0), "{policy}");
    }
}

#[test]
fn policies_of_realtime_tasks() {
    only_oxrun!();
    let seen = scheduled(json!({"policy": "SCHED_FIFO", "priority": 7}));
    assert_eq!(without_times(seen), facts(1, 0, 0, 7));
    let seen = scheduled(json!({"policy": "SCHED_RR", "priority": 99}));
    assert_eq!(without_times(seen), facts(2, 0, 0, 99));
}

#[test]
fn a_realtime_caller_is_told_what_the_cgroup_lacks() {
    if !Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        skip!("this kernel has no budget for real-time processes in cgroups");
    }
    let mut t = Sandbox::new();
    t.args(&["payload", "report"]);
    let says: &[&str] = if is_oxrun() {
        &["enter the container's cgroup: invalid argument: a real-time process (chrt)", "realtimeRuntime"]
    } else {
        &["invalid argument"]
    };
    let run = |t: &Sandbox| t.spawn(t.by_program(&["chrt", "-f", "1"], &["run", &t.id])).wait();
    t.write_config();
    run(&t).failed().says(says);
    allow_realtime(&mut t);
    t.write_config();
    run(&t).ok();
}

#[test]
fn deadline_with_its_times_and_flags() {
    only_oxrun!();
    let times = json!({"policy": "SCHED_DEADLINE", "runtime": 1000000, "deadline": 9000000, "period": 10000000,
        "flags": ["SCHED_FLAG_RESET_ON_FORK"]});
    let seen = scheduled(times);
    assert_eq!(seen["times"], json!([1000000, 9000000, 10000000]));
    assert_eq!(without_times(seen), facts(6, 1, 0, 0));
    let flags = json!({"policy": "SCHED_DEADLINE", "runtime": 1000000, "deadline": 10000000,
        "flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_RESET_ON_FORK"]});
    let seen = scheduled(flags);
    assert_eq!(seen["times"], json!([1000000, 10000000, 10000000]));
    assert_eq!(seen["flags"], 7);
}

#[test]
fn flags_that_keep() {
    only_oxrun!();
    let kept = json!({"policy": "SCHED_IDLE", "flags": ["SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS"]});
    assert_eq!(without_times(scheduled(kept)), facts(0, 0, 0, 0));
}

#[test]
fn scheduler_that_the_kernel_refuses() {
    only_oxrun!();
    for scheduler in [
        json!({"policy": "SCHED_ISO"}),
        json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_UTIL_CLAMP_MIN"]}),
    ] {
        let mut t = Sandbox::new();
        t.config["process"]["scheduler"] = scheduler;
        t.create().failed().says(&["set the scheduler (process.scheduler): "]).one_line();
        t.assert_clean();
    }
}

#[test]
fn io_priority_of_each_class() {
    only_oxrun!();
    for (class, number) in [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)] {
        for priority in [0, 7] {
            let mut t = Sandbox::new();
            t.config["process"]["ioPriority"] = json!({"class": class, "priority": priority});
            assert_eq!(t.actions(&["ioprio"])[0]["ok"], number << 13 | priority, "{class} {priority}");
        }
    }
}

#[test]
fn affinity_for_exec_leaves_init_alone() {
    let mut t = Sandbox::new();
    let all = crate::host::process_status(std::process::id() as i32, "Cpus_allowed_list");
    t.config["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "0"});
    assert_eq!(t.report()["status"]["Cpus_allowed_list"], all);
}

#[test]
fn memory_policies() {
    only_oxrun!();
    if !Path::new("/proc/self/numa_maps").exists() {
        skip!("this kernel knows no NUMA");
    }
    for (policy, words) in [
        (json!({"mode": "MPOL_DEFAULT"}), "default"),
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), "bind:0"),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}), "bind=static:0"),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}), "bind=balancing:0"),
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}), "interleave:0"),
        (json!({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}), "weighted interleave:0"),
        (
            json!({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}),
            "prefer=relative:0",
        ),
        (json!({"mode": "MPOL_PREFERRED"}), "local"),
        (json!({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}), "prefer (many):0"),
        (json!({"mode": "MPOL_LOCAL", "nodes": ""}), "local"),
    ] {
        if words.starts_with("weighted") && !host::is_linux(6, 9) {
            note_skip("this kernel has no MPOL_WEIGHTED_INTERLEAVE");
            continue;
        }
        let mut t = Sandbox::new();
        t.config["linux"]["memoryPolicy"] = policy.clone();
        let answer = t.actions(&["read /proc/self/numa_maps"]);
        let maps = answer[0]["ok"].as_str().unwrap();
        let stack = maps.lines().find(|l| l.contains(" stack ")).unwrap_or_else(|| panic!("{maps}"));
        let (_, seen) = stack.split_once(' ').unwrap();
        assert!(seen.starts_with(&format!("{words} stack")), "{policy}: {stack}");
    }
}

#[test]
fn memory_policy_of_a_node_that_is_not_there() {
    only_oxrun!();
    let mut t = Sandbox::new();
    t.config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "1000"});
    t.create().failed().says(&["set the memory policy (linux.memoryPolicy): "]).one_line();
    t.assert_clean();
}

#[test]
fn personality_with_a_filter_that_forbids_it() {
    only_oxrun!();
    let mut t = Sandbox::new();
    t.config["linux"]["personality"] = json!({"domain": "LINUX32"});
    t.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ERRNO"}]});
    let answer = t.run_args(&["uname", "-m"]).ok().stdout;
    assert_eq!(answer, "i686\n");
}

/// The hard limits of this process by their short names.
fn own_hard_limits() -> std::collections::BTreeMap<String, u64> {
    use rustix::process::{Resource, getrlimit};
    let all = [
        ("AS", Resource::As),
        ("CORE", Resource::Core),
        ("CPU", Resource::Cpu),
        ("DATA", Resource::Data),
        ("FSIZE", Resource::Fsize),
        ("LOCKS", Resource::Locks),
        ("MEMLOCK", Resource::Memlock),
        ("MSGQUEUE", Resource::Msgqueue),
        ("NICE", Resource::Nice),
        ("NPROC", Resource::Nproc),
        ("RSS", Resource::Rss),
        ("RTPRIO", Resource::Rtprio),
        ("RTTIME", Resource::Rttime),
        ("SIGPENDING", Resource::Sigpending),
        ("STACK", Resource::Stack),
    ];
    all.into_iter()
        .map(|(name, kind)| (name.to_string(), getrlimit(kind).maximum.unwrap_or(u64::MAX)))
        .collect()
}

#[test]
fn limits_of_all_kinds_at_the_edges() {
    let own = own_hard_limits();
    for value in [1u64 << 31, u64::from(u32::MAX), 1 << 32, 1 << 63, u64::MAX] {
        // Raising a hard limit needs a capability of the host that containers of CI lack.
        // And 2^63 is negative where the kernel counts seconds or bytes of files: the program ends.
        let signed = |name: &str| ["CPU", "RTTIME", "FSIZE", "CORE"].contains(&name) && value == 1 << 63;
        let may = |name: &str| (crate::host::has_capability(24) || own[name] >= value) && !signed(name);
        // Of those for memory, each alone leaves a program the rest; all together need not.
        let (memory, others): (Vec<&str>, Vec<&str>) = own
            .keys()
            .map(String::as_str)
            .filter(|n| may(n))
            .partition(|n| ["AS", "DATA", "STACK"].contains(n));
        let groups = memory.iter().map(|name| vec![*name]).chain([others.clone()]);
        for names in groups {
            let mut t = Sandbox::new();
            let limit = |name: &&str| json!({"type": format!("RLIMIT_{name}"), "soft": value, "hard": value});
            t.config["process"]["rlimits"] = names.iter().map(limit).collect();
            let limits = t.report()["limits"].clone();
            for name in names {
                assert_eq!(limits[format!("RLIMIT_{name}")], json!([value, value]), "{name}");
            }
        }
    }
}

#[test]
fn limits_of_zero() {
    let mut t = Sandbox::new();
    let names =
        ["CORE", "FSIZE", "LOCKS", "MEMLOCK", "MSGQUEUE", "NICE", "NPROC", "RSS", "RTPRIO", "SIGPENDING"];
    let limit = |name: &&str| json!({"type": format!("RLIMIT_{name}"), "soft": 0, "hard": 0});
    t.config["process"]["rlimits"] = names.iter().map(limit).collect();
    // What it says goes to a pipe: no file may grow.
    t.config["process"]["args"] = json!(["sh", "-c", "ulimit -c; ulimit -f; ulimit -l"]);
    t.write_config();
    let mut command = t.command(&["run", &t.id]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let output = command.output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "0\n0\n0\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn few_descriptors_are_no_obstacle_for_the_start() {
    only_oxrun!();
    let mut t = Sandbox::new();
    t.config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 3, "hard": 3}]);
    t.args(&["payload", "exit", "7"]);
    t.create().ok();
    let pid = t.pid();
    t.start().ok();
    assert_eq!(t.reap(pid), 7);
    t.delete().ok();
    t.run().exits(7);
}

#[test]
fn tiny_memory_limits_end_the_program_and_not_the_start() {
    only_oxrun!();
    let mut t = Sandbox::new();
    t.config["process"]["rlimits"] = json!([{"type": "RLIMIT_DATA", "soft": 0, "hard": 0}]);
    t.args(&["payload", "exit", "7"]);
    t.create().ok();
    t.finish();
}
