//! The resources of config.json as settings of cgroup v2 files (kernel, admin-guide/cgroup-v2):
//! what is written in v1 terms converted, `unified` as it is. Called by `check` while config.json
//! is checked and by `v2::Cgroup` to write them; pure but for the current values it asks for.

use super::limits::{cpu_weight, hugepage_size, io_weight, is_limit, rdma_line, text_list};
use super::setting::{Setting, max_or};
use crate::bundle::Problems;
use crate::bundle::spec::{BlockIo, Cpu, Memory, Resources, ThrottleDevice};

/// All settings of the resources but the device rules, in the order to write them. `current`
/// reads a control file, for values that only make sense together with one set before.
pub fn settings(
    resources: &Resources,
    current: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems,
) -> Vec<Setting> {
    let mut out = Vec::new();
    if let Some(cpu) = &resources.cpu {
        for (json, file, value) in
            [("cpu.cpus", "cpuset.cpus", &cpu.cpus), ("cpu.mems", "cpuset.mems", &cpu.mems)]
        {
            if text_list(json, value, problems) {
                out.push(Setting::new(json, file, value));
            }
        }
        cpu_settings(cpu, current, problems, &mut out);
    }
    if let Some(memory) = &resources.memory {
        memory_settings(memory, current, problems, &mut out);
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|p| p.limit)
        && is_limit("pids.limit", limit, problems)
    {
        out.push(Setting::new("pids.limit", "pids.max", super::limits::pids(limit)));
    }
    if let Some(block) = &resources.block_io {
        block_settings(block, problems, &mut out);
    }
    for (i, page) in resources.hugepage_limits.iter().enumerate() {
        if let Some(size) = hugepage_size(&page.page_size, i, problems) {
            let json = format!("hugepageLimits[{i}]");
            out.push(Setting::new(&json, &format!("hugetlb.{size}.max"), page.limit));
            let reserved = Setting::new(&json, &format!("hugetlb.{size}.rsvd.max"), page.limit);
            out.push(Setting { optional: true, ..reserved });
        }
    }
    network_problems(resources, problems);
    for (device, limit) in &resources.rdma {
        out.extend(rdma_line(device, limit, problems));
    }
    unified_settings(resources, problems, &mut out);
    out
}

fn cpu_settings(
    cpu: &Cpu,
    current: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems,
    out: &mut Vec<Setting>,
) {
    if let Some(shares) = cpu.shares.filter(|v| *v != 0) {
        out.push(Setting::new("cpu.shares", "cpu.weight", cpu_weight(shares)));
    }
    let period = cpu.period.filter(|v| *v != 0);
    let quota = cpu.quota.filter(|v| *v != 0).filter(|v| is_limit("cpu.quota", *v, problems));
    if let Some(value) = cpu_max(quota, period, current) {
        let json = if quota.is_some() { "cpu.quota" } else { "cpu.period" };
        out.push(Setting::new(json, "cpu.max", value));
    }
    if let Some(burst) = cpu.burst {
        super::limits::check_burst(cpu, problems);
        let setting = Setting::new("cpu.burst", "cpu.max.burst", burst);
        out.push(Setting { optional: burst == 0, ..setting });
    }
    if let Some(idle) = cpu.idle {
        super::limits::check_idle(idle, problems);
        let setting = Setting::new("cpu.idle", "cpu.idle", idle);
        out.push(Setting { optional: idle == 0, ..setting });
    }
    let realtime = [
        ("realtimePeriod", cpu.realtime_period.is_some_and(|v| v != 0)),
        ("realtimeRuntime", cpu.realtime_runtime.is_some_and(|v| v != 0)),
    ];
    for (name, _) in realtime.into_iter().filter(|(_, given)| *given) {
        problems.add(format!("linux.resources.cpu.{name}"), "cgroup v2 has no realtime limits; leave it out");
    }
}

/// The value of cpu.max; a half that is not given stays as it is.
fn cpu_max(
    quota: Option<i64>,
    period: Option<u64>,
    current: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    let period_text = period.map(|p| format!(" {p}")).unwrap_or_default();
    match (quota, period) {
        (None, None) => None,
        (Some(quota), _) => Some(format!("{}{period_text}", max_or(quota))),
        (None, Some(_)) => {
            let now = current("cpu.max").unwrap_or_default();
            Some(format!("{}{period_text}", now.split_whitespace().next().unwrap_or("max")))
        }
    }
}

fn memory_settings(
    memory: &Memory,
    current: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems,
    out: &mut Vec<Setting>,
) {
    let before = problems.0.len();
    let limit = memory.limit.filter(|v| *v != 0).filter(|v| is_limit("memory.limit", *v, problems));
    let reservation = memory.reservation.filter(|v| *v != 0);
    super::limits::check_swap(memory, problems);
    if problems.0.len() == before
        && let Some(swap) = swap_max(memory, limit, current, problems)
    {
        let setting = Setting::new("memory.swap", "memory.swap.max", max_or(swap));
        // Without swap accounting there is nothing to limit; only a real limit needs the file.
        out.push(Setting { optional: swap <= 0, ..setting });
    }
    if let Some(limit) = limit {
        out.push(Setting::new("memory.limit", "memory.max", max_or(limit)));
    }
    if let Some(low) = reservation.filter(|v| is_limit("memory.reservation", *v, problems)) {
        out.push(Setting::new("memory.reservation", "memory.low", max_or(low)));
    }
    memory_problems(memory, problems);
}

/// memory.swap.max for a limit of memory and swap together.
fn swap_max(
    memory: &Memory,
    limit: Option<i64>,
    current: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems,
) -> Option<i64> {
    let Some(swap) = memory.swap.filter(|v| *v != 0) else {
        return (limit == Some(-1)).then_some(-1);
    };
    if swap == -1 || !is_limit("memory.swap", swap, problems) {
        return Some(-1);
    }
    let limit = limit.or_else(|| current("memory.max")?.trim().parse().ok());
    match limit {
        Some(limit) if limit > 0 && swap >= limit => Some(swap - limit),
        Some(limit) if limit > 0 => {
            let text = format!("memory+swap limit {swap} should be >= memory limit {limit}");
            problems.add("linux.resources.memory.swap", text);
            None
        }
        _ => {
            let text = "unable to set swap limit without memory limit (memory.limit) on cgroup v2";
            problems.add("linux.resources.memory.swap", text);
            None
        }
    }
}

fn memory_problems(memory: &Memory, problems: &mut Problems) {
    let mut refuse = |given: bool, name: &str, why: &str| {
        if given {
            problems.add(format!("linux.resources.memory.{name}"), format!("cgroup v2 {why}; leave it out"));
        }
    };
    let limited = |value: Option<i64>| value.is_some_and(|v| v != 0 && v != -1);
    refuse(limited(memory.kernel), "kernel", "has no limit of kernel memory");
    refuse(limited(memory.kernel_tcp), "kernelTCP", "has no limit of TCP memory");
    refuse(memory.disable_oom_killer == Some(true), "disableOOMKiller", "cannot disable the OOM killer");
    refuse(memory.use_hierarchy == Some(false), "useHierarchy", "is always hierarchical");
    if super::limits::swappiness(memory, problems).is_some() {
        problems.add("linux.resources.memory.swappiness", "cgroup v2 has no swappiness; leave it out");
    }
}

fn network_problems(resources: &Resources, problems: &mut Problems) {
    let Some(network) = &resources.network else { return };
    if network.class_id.is_some_and(|v| v != 0) {
        problems.add("linux.resources.network.classID", "cgroup v2 has no network classes; leave it out");
    }
    if !network.priorities.is_empty() {
        problems
            .add("linux.resources.network.priorities", "cgroup v2 has no network priorities; leave it out");
    }
}

fn block_settings(block: &BlockIo, problems: &mut Problems, out: &mut Vec<Setting>) {
    let mut weight = |json: &str, key: Option<String>, weight: u16| {
        let prefix = key.as_ref().map(|k| format!("{k} ")).unwrap_or_default();
        if !(10..=1000).contains(&weight) {
            problems.add(format!("linux.resources.{json}"), format!("{weight} is not between 10 and 1000"));
            return;
        }
        let choices = vec![
            ("io.bfq.weight".to_string(), format!("{prefix}{weight}")),
            ("io.weight".to_string(), format!("{prefix}{}", io_weight(weight))),
        ];
        out.push(Setting { json: format!("linux.resources.{json}"), choices, optional: false, key });
    };
    if let Some(value) = block.weight.filter(|v| *v != 0) {
        weight("blockIO.weight", None, value);
    }
    for (i, device) in block.weight_device.iter().enumerate() {
        if let Some(value) = device.weight.filter(|v| *v != 0) {
            let key = format!("{}:{}", device.major, device.minor);
            weight(&format!("blockIO.weightDevice[{i}].weight"), Some(key), value);
        }
    }
    let leaf = block.leaf_weight.is_some_and(|v| v != 0);
    if leaf || block.weight_device.iter().any(|d| d.leaf_weight.is_some_and(|v| v != 0)) {
        problems.add("linux.resources.blockIO.leafWeight", "cgroup v2 has no leaf weights; leave it out");
    }
    let mut throttle = |json: &str, word: &str, devices: &[ThrottleDevice]| {
        for (i, device) in devices.iter().enumerate() {
            let key = format!("{}:{}", device.major, device.minor);
            // 0 takes the limit away in v1; v2 says max.
            let rate = if device.rate == 0 { "max".to_string() } else { device.rate.to_string() };
            let value = format!("{key} {word}={rate}");
            let setting = Setting::new(&format!("blockIO.{json}[{i}]"), "io.max", value);
            out.push(Setting { key: Some(key), ..setting });
        }
    };
    throttle("throttleReadBpsDevice", "rbps", &block.throttle_read_bps_device);
    throttle("throttleWriteBpsDevice", "wbps", &block.throttle_write_bps_device);
    throttle("throttleReadIOPSDevice", "riops", &block.throttle_read_iops_device);
    throttle("throttleWriteIOPSDevice", "wiops", &block.throttle_write_iops_device);
}

/// `unified`: file names and values as given; tables such as io.max take one line per write.
fn unified_settings(resources: &Resources, problems: &mut Problems, out: &mut Vec<Setting>) {
    for (file, value) in &resources.unified {
        let json = format!("unified.{file}");
        if file.contains(['/', '\0']) || !file.contains('.') || file.starts_with('.') {
            problems
                .add(format!("linux.resources.{json}"), "not a cgroup v2 file name such as `memory.high`");
            continue;
        }
        if file.starts_with("cgroup.") && MEMBERSHIP.contains(&file.as_str()) {
            let text =
                "decides which processes are in the cgroup or whether they run, which is the runtime's job";
            problems.add(format!("linux.resources.{json}"), text);
            continue;
        }
        let lines: Vec<&str> = value.lines().filter(|l| !l.is_empty()).collect();
        for line in if lines.is_empty() { vec![""] } else { lines } {
            let key = line.split_once(' ').map(|(key, _)| key.to_string());
            let keyed = matches!(file.as_str(), "io.max" | "rdma.max" | "io.latency" | "misc.max");
            out.push(Setting { key: key.filter(|_| keyed), ..Setting::new(&json, file, line) });
        }
    }
}

/// Files that are not limits.
const MEMBERSHIP: [&str; 5] =
    ["cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze", "cgroup.subtree_control"];

#[cfg(test)]
mod tests {
    use super::*;

    fn lower(json: &str, current: &dyn Fn(&str) -> Option<String>) -> (Vec<(String, String)>, Problems) {
        let mut problems = Problems::default();
        let resources: Resources = serde_json::from_str(json).unwrap();
        let settings = settings(&resources, current, &mut problems);
        (settings.into_iter().map(|mut s| s.choices.remove(0)).collect(), problems)
    }

    fn pair(file: &str, value: &str) -> (String, String) {
        (file.to_string(), value.to_string())
    }

    #[test]
    fn cgroup_v1_terms_are_converted() {
        let (got, problems) = lower(
            r#"{"memory":{"limit":100,"swap":150,"reservation":50},"cpu":{"shares":1024,"quota":-1,"period":5000},
               "pids":{"limit":0},"blockIO":{"weight":750,"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":9}]},
               "unified":{"io.max":"8:0 rbps=1\n8:16 rbps=2"}}"#,
            &|_| None,
        );
        assert!(problems.is_empty(), "{problems}");
        let want = [
            pair("cpu.weight", "100"),
            pair("cpu.max", "max 5000"),
            pair("memory.swap.max", "50"),
            pair("memory.max", "100"),
            pair("memory.low", "50"),
            pair("pids.max", "1"),
            pair("io.bfq.weight", "750"),
            pair("io.max", "8:0 rbps=9"),
            pair("io.max", "8:0 rbps=1"),
            pair("io.max", "8:16 rbps=2"),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn cgroup_halves_are_completed_from_what_is_set() {
        let now = |file: &str| Some(if file == "cpu.max" { "7000 100000\n" } else { "100\n" }.to_string());
        let (got, problems) = lower(r#"{"memory":{"swap":130},"cpu":{"period":50000}}"#, &now);
        assert_eq!(got, [pair("cpu.max", "7000 50000"), pair("memory.swap.max", "30")]);
        assert!(problems.is_empty());
        let (_, problems) = lower(r#"{"memory":{"swap":130}}"#, &|_| None);
        assert_eq!(problems.0[0].path, "linux.resources.memory.swap");
    }

    #[test]
    fn cgroup_v1_terms_that_v2_has_not_are_named() {
        let table = [
            (
                r#"{"cpu":{"realtimeRuntime":1}}"#,
                "cpu.realtimeRuntime: cgroup v2 has no realtime limits; leave it out",
            ),
            (
                r#"{"memory":{"swap":9,"limit":5,"kernel":7}}"#,
                "memory.kernel: cgroup v2 has no limit of kernel memory; leave it out",
            ),
            (
                r#"{"memory":{"swap":9}}"#,
                "memory.swap: unable to set swap limit without memory limit (memory.limit) on cgroup v2",
            ),
            (
                r#"{"memory":{"kernelTCP":7}}"#,
                "memory.kernelTCP: cgroup v2 has no limit of TCP memory; leave it out",
            ),
            (
                r#"{"memory":{"swappiness":7}}"#,
                "memory.swappiness: cgroup v2 has no swappiness; leave it out",
            ),
            (
                r#"{"memory":{"disableOOMKiller":true}}"#,
                "memory.disableOOMKiller: cgroup v2 cannot disable the OOM killer; leave it out",
            ),
            (
                r#"{"network":{"classID":7}}"#,
                "network.classID: cgroup v2 has no network classes; leave it out",
            ),
            (
                r#"{"network":{"priorities":[{"name":"a","priority":1}]}}"#,
                "network.priorities: cgroup v2 has no network priorities; leave it out",
            ),
            (r#"{"blockIO":{"weight":7}}"#, "blockIO.weight: 7 is not between 10 and 1000"),
            (
                r#"{"blockIO":{"leafWeight":70}}"#,
                "blockIO.leafWeight: cgroup v2 has no leaf weights; leave it out",
            ),
            (
                r#"{"unified":{"cgroup.kill":"1"}}"#,
                "unified.cgroup.kill: decides which processes are in the cgroup or whether they run, which is the runtime's job",
            ),
            (r#"{"rdma":{"a b":{"hcaHandles":1}}}"#, "rdma.a b: not the name of an RDMA device"),
            (r#"{"rdma":{"mlx":{}}}"#, "rdma.mlx: needs hcaHandles or hcaObjects"),
        ];
        for (json, said) in table {
            let (_, problems) = lower(json, &|_| None);
            assert!(problems.to_string().contains(&format!("linux.resources.{said}")), "{json}: {problems}");
        }
        // What was set before is as little as what is given.
        let now = |_: &str| Some("100\n".to_string());
        let (_, problems) = lower(r#"{"memory":{"swap":9}}"#, &now);
        assert!(
            problems.to_string().contains("memory+swap limit 9 should be >= memory limit 100"),
            "{problems}"
        );
    }

    #[test]
    fn cgroup_unified_names_no_other_files() {
        for file in ["../memory.max", "memory", ".x", "cgroup.procs", "cgroup.kill"] {
            let (got, problems) = lower(&format!(r#"{{"unified":{{"{file}":"1"}}}}"#), &|_| None);
            assert!(got.is_empty() && problems.0.len() == 1, "{file}");
        }
    }
}
