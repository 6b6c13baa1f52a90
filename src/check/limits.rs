//! Whether this host can set the limits of a bundle: cgroups and their controllers, CPUs and memory nodes, sizes of
//! huge pages, block devices. Called by `check`.

use super::Subject;
use super::report::Findings;
use crate::bundle::lists::parse_list;
use crate::bundle::spec::BlockIo;
use crate::cgroup::{self, Manager};
use crate::container::create::Settings;
use crate::hostfs;
use crate::near;
use crate::probe;
use std::path::Path;

/// Looks at all of it.
pub fn look(subject: &Subject, manager: &Manager, settings: Settings, findings: &mut Findings) {
    let resources = &subject.plan.cgroup.resources;
    let named = !subject.plan.cgroup.path.is_empty();
    for (path, text) in cgroup::lacks(manager, resources, named, settings.tolerate_missing_rights) {
        findings.host(path, text);
    }
    numbers(subject, findings);
    huge_pages(subject, findings);
    if let Some(block) = &resources.block_io {
        block_devices(block, findings);
    }
}

/// CPUs and memory nodes, which the kernel refuses where they are not in use.
fn numbers(subject: &Subject, findings: &mut Findings) {
    let cpu = subject.plan.cgroup.resources.cpu.clone().unwrap_or_default();
    let policy = subject.plan.memory_policy.as_ref().map(|policy| policy.nodes.clone()).unwrap_or_default();
    let listed = |text: &str| parse_list(text, 8192).unwrap_or_default();
    let lists = [
        ("linux.resources.cpu.cpus", listed(&cpu.cpus), "cpu", "CPU"),
        ("linux.resources.cpu.mems", listed(&cpu.mems), "node", "memory node"),
        ("linux.memoryPolicy.nodes", policy, "node", "memory node"),
    ];
    for (path, wanted, what, name) in lists {
        let Some(online) = probe::online(what).filter(|_| !wanted.is_empty()) else { continue };
        if let Some(missing) = wanted.iter().find(|number| !online.contains(number)) {
            let last = online.last().copied().unwrap_or(0);
            findings.host(path, format!("this host has no {name} {missing} in use: the last one is {last}"));
        }
    }
}

fn huge_pages(subject: &Subject, findings: &mut Findings) {
    let sizes: Vec<String> = hostfs::names(Path::new("/sys/kernel/mm/hugepages")).unwrap_or_default();
    let sizes: Vec<String> = sizes.iter().filter_map(|name| size_of(name)).collect();
    for (i, page) in subject.plan.cgroup.resources.hugepage_limits.iter().enumerate() {
        if !sizes.contains(&page.page_size) {
            let at = format!("linux.resources.hugepageLimits[{i}].pageSize");
            let known = if sizes.is_empty() { "none".to_owned() } else { sizes.join(", ") };
            findings
                .host(at, format!("this host has no huge pages of `{}`: there are {known}", page.page_size));
            findings.suggest_name(
                near::nearest(&page.page_size, sizes.iter().map(String::as_str)).map(str::to_owned),
            );
        }
    }
}

/// `hugepages-2048kB` is `2MB`.
fn size_of(name: &str) -> Option<String> {
    let mut size: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    let mut unit = "KB";
    for next in ["MB", "GB"] {
        if size.is_multiple_of(1024) {
            (size, unit) = (size / 1024, next);
        }
    }
    Some(format!("{size}{unit}"))
}

fn block_devices(block: &BlockIo, findings: &mut Findings) {
    let weights = block.weight_device.iter().map(|d| (d.major, d.minor)).collect();
    let throttled =
        |list: &[crate::bundle::spec::ThrottleDevice]| list.iter().map(|d| (d.major, d.minor)).collect();
    let lists: [(&str, Vec<(i64, i64)>); 5] = [
        ("weightDevice", weights),
        ("throttleReadBpsDevice", throttled(&block.throttle_read_bps_device)),
        ("throttleWriteBpsDevice", throttled(&block.throttle_write_bps_device)),
        ("throttleReadIOPSDevice", throttled(&block.throttle_read_iops_device)),
        ("throttleWriteIOPSDevice", throttled(&block.throttle_write_iops_device)),
    ];
    for (name, devices) in lists {
        for (i, (major, minor)) in devices.into_iter().enumerate() {
            if !hostfs::exists(Path::new(&format!("/sys/dev/block/{major}:{minor}"))) {
                let at = format!("linux.resources.blockIO.{name}[{i}]");
                findings.host(at, format!("this host has no block device {major}:{minor}"));
                findings.suggest("`lsblk` lists them");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::size_of;

    #[test]
    fn sizes_have_the_names_of_the_specification() {
        let table = [("hugepages-2048kB", "2MB"), ("hugepages-1048576kB", "1GB"), ("hugepages-64kB", "64KB")];
        for (name, size) in table {
            assert_eq!(size_of(name).as_deref(), Some(size));
        }
        assert_eq!(size_of("x"), None);
    }
}
