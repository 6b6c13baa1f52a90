//! What limits have in common on cgroup v1 and v2: checks of single values and conversions. Used
//! by `limits_v1.rs` and `limits_v2.rs`. Pure.

use super::setting::Setting;
use crate::bundle::Problems;
use crate::bundle::spec::{Cpu, Memory, Rdma, Resources};

/// Checks resources against what this host's cgroup version can do, noting all that cannot be
/// applied. Reads nothing.
pub fn check(resources: &Resources, v2: bool, problems: &mut Problems) {
    if v2 {
        super::limits_v2::settings(resources, &|_| None, problems);
    } else {
        super::limits_v1::settings(resources, problems);
    }
}

/// Whether a value is a limit: not below -1, which is unlimited.
pub fn is_limit(json: &str, value: i64, problems: &mut Problems) -> bool {
    if value < -1 {
        problems
            .add(format!("linux.resources.{json}"), format!("{value} is neither a limit nor -1 (unlimited)"));
    }
    value >= -1
}

/// Whether a list of CPUs or nodes is given; one with other characters than a list has is noted.
pub fn text_list(json: &str, value: &str, problems: &mut Problems) -> bool {
    if !value.chars().all(|c| c.is_ascii_digit() || ",-:/ \n".contains(c)) {
        problems.add(format!("linux.resources.{json}"), format!("`{value}` is not a list such as `0-3,7`"));
        return false;
    }
    !value.trim().is_empty()
}

/// The value for pids.max. 0 becomes 1, the container's first process: with 0 none could start.
pub fn pids(limit: i64) -> String {
    super::setting::max_or(if limit == 0 { 1 } else { limit })
}

/// The swappiness to set; the largest number is how engines send -1, not set.
pub fn swappiness(memory: &Memory, problems: &mut Problems) -> Option<u64> {
    let value = memory.swappiness.filter(|v| *v != u64::MAX)?;
    if value > 100 {
        problems.add("linux.resources.memory.swappiness", format!("{value} is not between 0 and 100"));
    }
    Some(value)
}

/// Notes a memory+swap limit below the memory limit.
pub fn check_swap(memory: &Memory, problems: &mut Problems) {
    if let (Some(limit), Some(swap)) = (memory.limit, memory.swap)
        && limit > 0
        && swap > 0
        && swap < limit
    {
        let text = format!("memory+swap limit {swap} should be >= memory limit {limit}");
        problems.add("linux.resources.memory.swap", text);
    }
}

/// Notes a burst above a positive quota.
pub fn check_burst(cpu: &Cpu, problems: &mut Problems) {
    if let (Some(burst), Some(quota)) = (cpu.burst, cpu.quota)
        && quota > 0
        && burst > quota.unsigned_abs()
    {
        problems.add("linux.resources.cpu.burst", format!("{burst} us is more than the quota of {quota} us"));
    }
}

/// Notes an idle value that is neither 0 nor 1.
pub fn check_idle(idle: i64, problems: &mut Problems) {
    if idle != 0 && idle != 1 {
        problems.add("linux.resources.cpu.idle", format!("{idle} is neither 0 nor 1"));
    }
}

/// A page size as control files name it (`2MB`), if it is one.
pub fn hugepage_size<'a>(size: &'a str, index: usize, problems: &mut Problems) -> Option<&'a str> {
    let digits = size.strip_suffix('B').and_then(|s| s.strip_suffix(['K', 'M', 'G'])).unwrap_or("");
    if digits.is_empty() || digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        let text = format!("`{size}` is not a page size such as `2MB` or `1GB`");
        problems.add(format!("linux.resources.hugepageLimits[{index}].pageSize"), text);
        return None;
    }
    Some(size)
}

/// The setting of one RDMA device; the file is the same on v1 and v2.
pub fn rdma_line(device: &str, limit: &Rdma, problems: &mut Problems) -> Option<Setting> {
    let json = format!("rdma.{device}");
    let mut value = device.to_string();
    if let Some(n) = limit.hca_handles {
        value.push_str(&format!(" hca_handle={n}"));
    }
    if let Some(n) = limit.hca_objects {
        value.push_str(&format!(" hca_object={n}"));
    }
    if device.is_empty() || device.contains(char::is_whitespace) {
        problems.add(format!("linux.resources.{json}"), "not the name of an RDMA device");
        return None;
    }
    if value == device {
        problems.add(format!("linux.resources.{json}"), "needs hcaHandles or hcaObjects");
        return None;
    }
    let setting = Setting::new(&json, "rdma.max", value);
    Some(Setting { key: Some(device.to_string()), ..setting })
}

/// cpu.weight (1 to 10000) for cpu.shares (2 to 262144): a curve through (2, 1), (1024, 100) and
/// (262144, 10000), exponent = (l² + 125 l) / 612 - 7 / 34 with l = log2(shares).
pub fn cpu_weight(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let l = (shares as f64).log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    // Rounding errors must not lift the exact points: 1024 is 100, not 101.
    (10f64.powf(exponent) - 1e-9).ceil() as u64
}

/// io.weight (1 to 10000) for a blkio weight (10 to 1000), linearly.
pub fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_weights_are_converted() {
        for (shares, weight) in [(1, 1), (2, 1), (512, 59), (1024, 100), (2048, 174), (262_144, 10_000)] {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
        for (weight, io) in [(10, 1), (750, 7475), (1000, 10_000)] {
            assert_eq!(io_weight(weight), io);
        }
    }

    #[test]
    fn cgroup_resources_that_cannot_be_applied_are_named() {
        let bad = r#"{"memory":{"limit":-2,"swap":5,"swappiness":101},"cpu":{"idle":2,"quota":10,"burst":11,
            "cpus":"a"},"pids":{"limit":-3},"hugepageLimits":[{"pageSize":"02MB","limit":1}],
            "rdma":{"mlx":{}},"unified":{"memory.high/..":"1"},"network":{"priorities":[{"name":"","priority":1}]}}"#;
        let resources: Resources = serde_json::from_str(bad).unwrap();
        for v2 in [false, true] {
            let mut problems = Problems::default();
            check(&resources, v2, &mut problems);
            let paths: Vec<_> = problems.0.iter().map(|p| p.path.as_str()).collect();
            let wanted =
                ["memory.limit", "memory.swappiness", "cpu.idle", "cpu.burst", "cpu.cpus", "pids.limit"];
            for want in wanted {
                assert!(
                    paths.contains(&format!("linux.resources.{want}").as_str()),
                    "{v2} {want} in {paths:?}"
                );
            }
            for want in ["hugepageLimits", "rdma", "unified", "network"] {
                assert!(
                    paths.iter().any(|p| p.starts_with(&format!("linux.resources.{want}"))),
                    "{v2} {want}"
                );
            }
        }
    }

    #[test]
    fn cgroup_zeros_of_engines_set_nothing() {
        let zeros = r#"{"memory":{"limit":0,"reservation":0,"swap":0},"cpu":{"shares":0,"quota":0,"period":0},
            "blockIO":{"weight":0},"network":{"classID":0}}"#;
        let resources: Resources = serde_json::from_str(zeros).unwrap();
        let mut problems = Problems::default();
        assert_eq!(super::super::limits_v1::settings(&resources, &mut problems), []);
        assert_eq!(super::super::limits_v2::settings(&resources, &|_| None, &mut problems), []);
        assert!(problems.is_empty());
    }
}
