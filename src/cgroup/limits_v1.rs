//! The resources of config.json as settings of cgroup v1 files (kernel, admin-guide/cgroup-v1).
//! Pure; called by `check` while config.json is checked and by `v1::Cgroup` to write them. A zero
//! means "leave alone" where engines send zeros for what the user has not set.

use super::limits::{hugepage_size, is_limit, rdma_line, text_list};
use super::setting::Setting;
use crate::bundle::Problems;
use crate::bundle::spec::{BlockIo, Cpu, Memory, Network, Resources, ThrottleDevice};

/// All settings of the resources but the device rules, in the order to write them.
pub fn settings(resources: &Resources, problems: &mut Problems) -> Vec<Setting> {
    let mut out = Vec::new();
    if let Some(cpu) = &resources.cpu {
        cpuset_settings(cpu, problems, &mut out);
        cpu_settings(cpu, problems, &mut out);
    }
    if let Some(memory) = &resources.memory {
        memory_settings(memory, problems, &mut out);
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|p| p.limit)
        && is_limit("pids.limit", limit, problems)
    {
        out.push(Setting::new("pids.limit", "pids.max", super::limits::pids(limit)));
    }
    if let Some(block) = &resources.block_io {
        block_settings(block, &mut out);
    }
    for (i, page) in resources.hugepage_limits.iter().enumerate() {
        if let Some(size) = hugepage_size(&page.page_size, i, problems) {
            let json = format!("hugepageLimits[{i}]");
            out.push(Setting::new(&json, &format!("hugetlb.{size}.limit_in_bytes"), page.limit));
            let reserved = Setting::new(&json, &format!("hugetlb.{size}.rsvd.limit_in_bytes"), page.limit);
            out.push(Setting { optional: true, ..reserved });
        }
    }
    if let Some(network) = &resources.network {
        network_settings(network, problems, &mut out);
    }
    for (device, limit) in &resources.rdma {
        out.extend(rdma_line(device, limit, problems));
    }
    if !resources.unified.is_empty() {
        let text = "invalid configuration: needs cgroup v2, this host has cgroup v1; use the other resources";
        problems.add("linux.resources.unified", text);
    }
    out
}

fn cpuset_settings(cpu: &Cpu, problems: &mut Problems, out: &mut Vec<Setting>) {
    for (json, file, value) in
        [("cpu.cpus", "cpuset.cpus", &cpu.cpus), ("cpu.mems", "cpuset.mems", &cpu.mems)]
    {
        if text_list(json, value, problems) {
            out.push(Setting::new(json, file, value));
        }
    }
}

fn cpu_settings(cpu: &Cpu, problems: &mut Problems, out: &mut Vec<Setting>) {
    if let Some(shares) = cpu.shares.filter(|v| *v != 0) {
        out.push(Setting::new("cpu.shares", "cpu.shares", shares));
    }
    if let Some(period) = cpu.period.filter(|v| *v != 0) {
        out.push(Setting::new("cpu.period", "cpu.cfs_period_us", period));
    }
    if let Some(quota) = cpu.quota.filter(|v| *v != 0)
        && is_limit("cpu.quota", quota, problems)
    {
        out.push(Setting::new("cpu.quota", "cpu.cfs_quota_us", quota));
    }
    if let Some(burst) = cpu.burst {
        super::limits::check_burst(cpu, problems);
        let setting = Setting::new("cpu.burst", "cpu.cfs_burst_us", burst);
        out.push(Setting { optional: burst == 0, ..setting });
    }
    if let Some(period) = cpu.realtime_period.filter(|v| *v != 0) {
        out.push(Setting::new("cpu.realtimePeriod", "cpu.rt_period_us", period));
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|v| *v != 0) {
        out.push(Setting::new("cpu.realtimeRuntime", "cpu.rt_runtime_us", runtime));
    }
    if let Some(idle) = cpu.idle {
        super::limits::check_idle(idle, problems);
        let setting = Setting::new("cpu.idle", "cpu.idle", idle);
        out.push(Setting { optional: idle == 0, ..setting });
    }
}

fn memory_settings(memory: &Memory, problems: &mut Problems, out: &mut Vec<Setting>) {
    // Old kernels take this only before there are processes and limits.
    if let Some(hierarchy) = memory.use_hierarchy {
        out.push(Setting::new("memory.useHierarchy", "memory.use_hierarchy", u8::from(hierarchy)));
    }
    let mut limit = |json: &str, file: &str, value: Option<i64>| {
        if let Some(value) = value.filter(|v| *v != 0)
            && is_limit(json, value, problems)
        {
            out.push(Setting::new(json, file, value));
        }
    };
    limit("memory.limit", "memory.limit_in_bytes", memory.limit);
    limit("memory.reservation", "memory.soft_limit_in_bytes", memory.reservation);
    limit("memory.kernel", "memory.kmem.limit_in_bytes", memory.kernel);
    limit("memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp);
    let swap = memory.swap.filter(|v| *v != 0);
    limit("memory.swap", "memory.memsw.limit_in_bytes", swap.filter(|v| *v != -1));
    if swap == Some(-1) || (swap.is_none() && memory.limit == Some(-1)) {
        let unlimited = Setting::new("memory.swap", "memory.memsw.limit_in_bytes", -1);
        out.push(Setting { optional: true, ..unlimited });
    }
    super::limits::check_swap(memory, problems);
    if let Some(swappiness) = super::limits::swappiness(memory, problems) {
        out.push(Setting::new("memory.swappiness", "memory.swappiness", swappiness));
    }
    if let Some(disable) = memory.disable_oom_killer {
        out.push(Setting::new("memory.disableOOMKiller", "memory.oom_control", u8::from(disable)));
    }
}

fn block_settings(block: &BlockIo, out: &mut Vec<Setting>) {
    let either = |json: &str, name: &str, value: String, key: Option<String>| {
        let choices = vec![(format!("blkio.bfq.{name}"), value.clone()), (format!("blkio.{name}"), value)];
        Setting { json: format!("linux.resources.{json}"), choices, optional: false, key }
    };
    if let Some(weight) = block.weight.filter(|v| *v != 0) {
        out.push(either("blockIO.weight", "weight", weight.to_string(), None));
    }
    if let Some(weight) = block.leaf_weight.filter(|v| *v != 0) {
        out.push(Setting::new("blockIO.leafWeight", "blkio.leaf_weight", weight));
    }
    for (i, device) in block.weight_device.iter().enumerate() {
        let key = format!("{}:{}", device.major, device.minor);
        let json = format!("blockIO.weightDevice[{i}]");
        if let Some(weight) = device.weight.filter(|v| *v != 0) {
            out.push(either(&json, "weight_device", format!("{key} {weight}"), Some(key.clone())));
        }
        if let Some(weight) = device.leaf_weight.filter(|v| *v != 0) {
            let setting = Setting::new(&json, "blkio.leaf_weight_device", format!("{key} {weight}"));
            out.push(Setting { key: Some(key), ..setting });
        }
    }
    let mut throttle = |json: &str, file: &str, devices: &[ThrottleDevice]| {
        for (i, device) in devices.iter().enumerate() {
            let key = format!("{}:{}", device.major, device.minor);
            let value = format!("{key} {}", device.rate);
            let setting =
                Setting::new(&format!("blockIO.{json}[{i}]"), &format!("blkio.throttle.{file}"), value);
            out.push(Setting { key: Some(key), ..setting });
        }
    };
    throttle("throttleReadBpsDevice", "read_bps_device", &block.throttle_read_bps_device);
    throttle("throttleWriteBpsDevice", "write_bps_device", &block.throttle_write_bps_device);
    throttle("throttleReadIOPSDevice", "read_iops_device", &block.throttle_read_iops_device);
    throttle("throttleWriteIOPSDevice", "write_iops_device", &block.throttle_write_iops_device);
}

fn network_settings(network: &Network, problems: &mut Problems, out: &mut Vec<Setting>) {
    if let Some(class) = network.class_id.filter(|v| *v != 0) {
        out.push(Setting::new("network.classID", "net_cls.classid", class));
    }
    for (i, priority) in network.priorities.iter().enumerate() {
        let json = format!("network.priorities[{i}]");
        if priority.name.is_empty() || priority.name.contains(char::is_whitespace) {
            problems.add(format!("linux.resources.{json}.name"), "not the name of a network interface");
            continue;
        }
        let value = format!("{} {}", priority.name, priority.priority);
        let setting = Setting::new(&json, "net_prio.ifpriomap", value);
        out.push(Setting { key: Some(priority.name.clone()), ..setting });
    }
}
