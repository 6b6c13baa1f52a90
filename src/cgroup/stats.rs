//! Usage of a container's cgroups, in the JSON that callers of `events --stats` know: keys and
//! their order, what is left out when zero, nanoseconds and bytes. `Manager::stats` makes it.

use super::node::{Node, field};
use super::rdt_stats::IntelRdt;
use super::v1;
use crate::decimal;
use serde::Serialize;
use std::collections::BTreeMap;

/// The `data` member of a stats event.
#[derive(Debug, Default, Serialize)]
pub struct Stats {
    cpu: Cpu,
    cpuset: Cpuset,
    memory: Memory,
    pids: Pids,
    blkio: Block,
    hugetlb: BTreeMap<String, Huge>,
    /// Filled by `events`, as resctrl is no cgroup.
    pub intel_rdt: IntelRdt,
    network_interfaces: Option<Vec<u64>>,
}

#[derive(Debug, Default, Serialize)]
struct Cpu {
    usage: CpuUsage,
    throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Pressure>,
}

/// Nanoseconds.
#[derive(Debug, Default, Serialize)]
struct CpuUsage {
    #[serde(skip_serializing_if = "is_zero")]
    total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu_user: Vec<u64>,
    kernel: u64,
    user: u64,
}

/// Periods, and nanoseconds.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    throttled_periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    throttled_time: u64,
}

#[derive(Debug, Default, Serialize)]
struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cpus: Vec<u16>,
    cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mems: Vec<u16>,
    mem_hardwall: u64,
    mem_exclusive: u64,
    memory_migrate: u64,
    memory_spread_page: u64,
    memory_spread_slab: u64,
    memory_pressure: u64,
    sched_load_balance: u64,
    sched_relax_domain_level: i64,
}

/// Bytes.
#[derive(Debug, Default, Serialize)]
struct MemoryEntry {
    limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    max: u64,
    failcnt: u64,
}

#[derive(Debug, Default, Serialize)]
struct Memory {
    #[serde(skip_serializing_if = "is_zero")]
    cache: u64,
    usage: MemoryEntry,
    swap: MemoryEntry,
    kernel: MemoryEntry,
    #[serde(rename = "kernelTCP")]
    kernel_tcp: MemoryEntry,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Pressure>,
}

#[derive(Debug, Default, Serialize)]
struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    current: u64,
    #[serde(skip_serializing_if = "is_zero")]
    limit: u64,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Block {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_bytes_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_serviced_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_queue_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_time_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_wait_time_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_merged_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_time_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sectors_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Pressure>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct BlockEntry {
    #[serde(skip_serializing_if = "is_zero")]
    major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    minor: u64,
    op: String,
    #[serde(skip_serializing_if = "is_zero")]
    value: u64,
}

/// Bytes.
#[derive(Debug, Default, Serialize)]
struct Huge {
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    max: u64,
    failcnt: u64,
}

/// Pressure stall information.
#[derive(Debug, Default, Serialize)]
struct Pressure {
    #[serde(skip_serializing_if = "Option::is_none")]
    some: Option<PressureLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    full: Option<PressureLine>,
}

/// Percent of time, and microseconds in all.
#[derive(Debug, Default, PartialEq, Serialize)]
struct PressureLine {
    avg10: f64,
    avg60: f64,
    avg300: f64,
    total: u64,
}

/// The few numbers that people look at.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// CPU time in ns.
    pub cpu: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// Its limit in bytes; none when there is none.
    pub limit: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes read from and written to block devices.
    pub io: (u64, u64),
    /// Tenths of a percent of the last 10 s in which something waited for CPU, memory, and I/O; none without
    /// PSI.
    pub waits: [Option<u64>; 3],
}

impl Stats {
    /// The few numbers that people look at.
    pub fn usage(&self) -> Usage {
        let sum = |op: &str| {
            let entries = self.blkio.io_service_bytes_recursive.iter();
            entries.filter(|entry| entry.op == op).map(|entry| entry.value).sum()
        };
        let wait = |psi: &Option<Pressure>| Some((psi.as_ref()?.some.as_ref()?.avg10 * 10.0 + 0.5) as u64);
        let limit = self.memory.usage.limit;
        Usage {
            cpu: self.cpu.usage.total,
            memory: self.memory.usage.usage,
            // cgroup v1 says "none" by the largest number of whole pages.
            limit: (limit > 0 && limit < 1 << 62).then_some(limit),
            pids: self.pids.current,
            io: (sum("Read"), sum("Write")),
            waits: [wait(&self.cpu.psi), wait(&self.memory.psi), wait(&self.blkio.psi)],
        }
    }
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Usage on cgroup v1. Controllers that are not mounted are left at zero.
pub fn of_v1(cgroup: &v1::Cgroup) -> Stats {
    let node = |controller: &str| cgroup.node(controller).ok();
    Stats {
        cpu: v1_cpu(node("cpu"), node("cpuacct")),
        cpuset: node("cpuset").map(v1_cpuset).unwrap_or_default(),
        memory: node("memory").map(v1_memory).unwrap_or_default(),
        pids: node("pids").map(pids).unwrap_or_default(),
        blkio: node("blkio").map(v1_block).unwrap_or_default(),
        hugetlb: node("hugetlb").map(|n| huge(n, "usage_in_bytes")).unwrap_or_default(),
        ..Stats::default()
    }
}

/// Usage on cgroup v2. Controllers that are not enabled are left at zero.
pub fn of_v2(node: &Node) -> Stats {
    Stats {
        cpu: v2_cpu(node),
        memory: v2_memory(node),
        pids: pids(node),
        blkio: v2_block(node),
        hugetlb: huge(node, "current"),
        ..Stats::default()
    }
}

/// A file with one number; `max` is the largest one, a missing file zero.
fn number(node: &Node, file: &str) -> u64 {
    match node.read_if_any(file).as_deref().map(str::trim) {
        Some("max") => u64::MAX,
        Some(text) => text.parse().unwrap_or(0),
        None => 0,
    }
}

/// A file with several numbers.
fn numbers(node: &Node, file: &str) -> Vec<u64> {
    let text = node.read_if_any(file).unwrap_or_default();
    text.split_whitespace().filter_map(|n| n.parse().ok()).collect()
}

/// A file of `key value` lines.
fn table(node: &Node, file: &str) -> BTreeMap<String, u64> {
    let text = node.read_if_any(file).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    let mut table = BTreeMap::new();
    table.extend(pairs.filter_map(|(k, v)| Some((k.into(), v.parse().ok()?))));
    table
}

/// `0-2,5` as 0, 1, 2, 5.
fn list(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

fn v1_cpu(cpu: Option<&Node>, account: Option<&Node>) -> Cpu {
    let stat = cpu.map(|n| table(n, "cpu.stat")).unwrap_or_default();
    let value = |key: &str| stat.get(key).copied().unwrap_or(0);
    let throttling = Throttling {
        periods: value("nr_periods"),
        throttled_periods: value("nr_throttled"),
        throttled_time: value("throttled_time"),
    };
    let Some(node) = account else { return Cpu { throttling, ..Cpu::default() } };
    // Lines of CPU, user and system time below a header.
    let all = numbers(node, "cpuacct.usage_all");
    let column = |i: usize| all.chunks_exact(3).map(|line| line[i]).collect();
    let usage = CpuUsage {
        total: number(node, "cpuacct.usage"),
        percpu: numbers(node, "cpuacct.usage_percpu"),
        percpu_kernel: column(2),
        percpu_user: column(1),
        kernel: number(node, "cpuacct.usage_sys"),
        user: number(node, "cpuacct.usage_user"),
    };
    Cpu { usage, throttling, psi: None }
}

fn v1_cpuset(node: &Node) -> Cpuset {
    let value = |file: &str| number(node, &format!("cpuset.{file}"));
    let read = |file: &str| node.read_if_any(file).unwrap_or_default();
    Cpuset {
        cpus: list(&read("cpuset.cpus")),
        cpu_exclusive: value("cpu_exclusive"),
        mems: list(&read("cpuset.mems")),
        mem_hardwall: value("mem_hardwall"),
        mem_exclusive: value("mem_exclusive"),
        memory_migrate: value("memory_migrate"),
        memory_spread_page: value("memory_spread_page"),
        memory_spread_slab: value("memory_spread_slab"),
        memory_pressure: value("memory_pressure"),
        sched_load_balance: value("sched_load_balance"),
        sched_relax_domain_level: read("cpuset.sched_relax_domain_level").trim().parse().unwrap_or(0),
    }
}

fn v1_memory(node: &Node) -> Memory {
    let entry = |kind: &str| MemoryEntry {
        limit: number(node, &format!("memory.{kind}limit_in_bytes")),
        usage: number(node, &format!("memory.{kind}usage_in_bytes")),
        max: number(node, &format!("memory.{kind}max_usage_in_bytes")),
        failcnt: number(node, &format!("memory.{kind}failcnt")),
    };
    let raw = table(node, "memory.stat");
    Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: entry(""),
        swap: entry("memsw."),
        kernel: entry("kmem."),
        kernel_tcp: entry("kmem.tcp."),
        raw,
        psi: None,
    }
}

fn pids(node: &Node) -> Pids {
    let limit = number(node, "pids.max");
    Pids { current: number(node, "pids.current"), limit: if limit == u64::MAX { 0 } else { limit } }
}

/// Of the two sets of counters, that of the scheduler in use has lines.
fn v1_block(node: &Node) -> Block {
    let read = |prefix: &str, name: &str| {
        v1_entries(&node.read_if_any(&format!("blkio.{prefix}.{name}")).unwrap_or_default())
    };
    let entries = |name: &str| {
        let own = read("bfq", name);
        if own.is_empty() { read("throttle", name) } else { own }
    };
    Block {
        io_service_bytes_recursive: entries("io_service_bytes_recursive"),
        io_serviced_recursive: entries("io_serviced_recursive"),
        // Only kernels built to debug the scheduler have these.
        io_queue_recursive: read("bfq", "io_queued_recursive"),
        io_service_time_recursive: read("bfq", "io_service_time_recursive"),
        io_wait_time_recursive: read("bfq", "io_wait_time_recursive"),
        io_merged_recursive: read("bfq", "io_merged_recursive"),
        io_time_recursive: read("bfq", "time_recursive"),
        sectors_recursive: read("bfq", "sectors_recursive"),
        psi: None,
    }
}

/// Lines such as `8:0 Read 4096` and `8:0 4096`; the grand total at the end is left out.
fn v1_entries(text: &str) -> Vec<BlockEntry> {
    let entry = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let (op, value) = rest.split_once(' ').unwrap_or(("", rest));
        let (major, minor, value) = (major.parse().ok()?, minor.parse().ok()?, value.parse().ok()?);
        Some(BlockEntry { major, minor, op: op.to_string(), value })
    };
    text.lines().filter_map(entry).collect()
}

fn v2_cpu(node: &Node) -> Cpu {
    let stat = table(node, "cpu.stat");
    let value = |key: &str| stat.get(key).copied().unwrap_or(0);
    let nanoseconds = |key: &str| value(key).saturating_mul(1000);
    let usage = CpuUsage {
        total: nanoseconds("usage_usec"),
        kernel: nanoseconds("system_usec"),
        user: nanoseconds("user_usec"),
        ..CpuUsage::default()
    };
    let throttling = Throttling {
        periods: value("nr_periods"),
        throttled_periods: value("nr_throttled"),
        throttled_time: nanoseconds("throttled_usec"),
    };
    Cpu { usage, throttling, psi: pressure(node, "cpu.pressure") }
}

fn v2_memory(node: &Node) -> Memory {
    let raw = table(node, "memory.stat");
    let usage = MemoryEntry {
        limit: number(node, "memory.max"),
        usage: number(node, "memory.current"),
        max: number(node, "memory.peak"),
        failcnt: table(node, "memory.events").get("max").copied().unwrap_or(0),
    };
    // As on v1, swap is memory and swap together.
    let swap = MemoryEntry {
        limit: usage.limit.saturating_add(number(node, "memory.swap.max")),
        usage: usage.usage.saturating_add(number(node, "memory.swap.current")),
        max: number(node, "memory.swap.peak"),
        failcnt: 0,
    };
    Memory {
        cache: raw.get("file").copied().unwrap_or(0),
        usage,
        swap,
        raw,
        psi: pressure(node, "memory.pressure"),
        ..Memory::default()
    }
}

fn v2_block(node: &Node) -> Block {
    let text = node.read_if_any("io.stat").unwrap_or_default();
    let pick = |keys: [(&str, &str); 3]| v2_entries(&text, keys);
    Block {
        io_service_bytes_recursive: pick([("rbytes", "Read"), ("wbytes", "Write"), ("dbytes", "Discard")]),
        io_serviced_recursive: pick([("rios", "Read"), ("wios", "Write"), ("dios", "Discard")]),
        psi: pressure(node, "io.pressure"),
        ..Block::default()
    }
}

/// Lines such as `8:0 rbytes=4096 wbytes=0`.
fn v2_entries(text: &str, keys: [(&str, &str); 3]) -> Vec<BlockEntry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let Some((device, counters)) = line.split_once(' ') else { continue };
        let Some((Ok(major), Ok(minor))) = device.split_once(':').map(|(a, b)| (a.parse(), b.parse())) else {
            continue;
        };
        for counter in counters.split(' ') {
            let Some((key, value)) = counter.split_once('=') else { continue };
            if let (Some((_, op)), Ok(value)) = (keys.iter().find(|(k, _)| *k == key), value.parse()) {
                entries.push(BlockEntry { major, minor, op: (*op).to_string(), value });
            }
        }
    }
    entries
}

/// Huge pages by size; the sizes are those the kernel has files for.
fn huge(node: &Node, usage: &str) -> BTreeMap<String, Huge> {
    let mut sizes = BTreeMap::new();
    for file in node.files() {
        let Some(size) = file.strip_prefix("hugetlb.").and_then(|f| f.split_once('.')).map(|(size, _)| size)
        else {
            continue;
        };
        if sizes.contains_key(size) {
            continue;
        }
        // Reservations are what limits are on; old kernels count faults alone.
        let reserved = format!("hugetlb.{size}.rsvd.{usage}");
        let file = if node.has(&reserved) { reserved } else { format!("hugetlb.{size}.{usage}") };
        let events = node.read_if_any(&format!("hugetlb.{size}.events")).unwrap_or_default();
        let refused = field(&events, "max").and_then(|n| n.parse().ok());
        let huge = Huge {
            usage: number(node, &file),
            max: if usage == "current" {
                0
            } else {
                number(node, &file.replace(usage, "max_usage_in_bytes"))
            },
            failcnt: refused.unwrap_or_else(|| number(node, &file.replace("usage_in_bytes", "failcnt"))),
        };
        sizes.insert(size.to_string(), huge);
    }
    sizes
}

fn pressure(node: &Node, file: &str) -> Option<Pressure> {
    let text = node.read_if_any(file)?;
    Some(Pressure { some: pressure_line(&text, "some"), full: pressure_line(&text, "full") })
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=92083`
fn pressure_line(text: &str, kind: &str) -> Option<PressureLine> {
    let line = field(text, kind)?;
    let value = |key: &str| line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    // The kernel writes two digits after the point.
    let percent = |key: &str| Some(decimal::parse(value(key)?, 2)? as f64 / 100.0);
    Some(PressureLine {
        avg10: percent("avg10")?,
        avg60: percent("avg60")?,
        avg300: percent("avg300")?,
        total: value("total")?.parse().ok()?,
    })
}

/// The readers of files, on any text.
#[cfg(fuzzing)]
pub fn fuzz(text: &str) {
    let _ = list(text);
    let (v1, v2) = (
        v1_entries(text),
        v2_entries(text, [("rbytes", "Read"), ("wbytes", "Write"), ("dbytes", "Discard")]),
    );
    let pressure = Pressure { some: pressure_line(text, "some"), full: pressure_line(text, "full") };
    let stats = Stats {
        blkio: Block { io_service_bytes_recursive: v1, io_serviced_recursive: v2, psi: Some(pressure) },
        ..Stats::default()
    };
    let shown = serde_json::to_vec(&stats);
    assert!(shown.is_ok(), "statistics that cannot be shown: {shown:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_stats_files_are_read() {
        assert_eq!(list("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(list("\n"), [0u16; 0]);
        let read = BlockEntry { major: 8, minor: 16, op: "Read".into(), value: 7 };
        assert_eq!(v1_entries("8:16 Read 7\nTotal 7\n"), [read]);
        let sectors = BlockEntry { major: 8, minor: 0, op: String::new(), value: 9 };
        assert_eq!(v1_entries("8:0 9\n"), [sectors]);
        let entries = v2_entries(
            "8:0 rbytes=1 wbytes=2 rios=3\n",
            [("rbytes", "Read"), ("wbytes", "Write"), ("d", "")],
        );
        assert_eq!(entries.iter().map(|e| e.value).collect::<Vec<_>>(), [1, 2]);
        let line = pressure_line("full avg10=1.50 avg60=0.00 avg300=0.00 total=9\n", "full").unwrap();
        assert_eq!(line, PressureLine { avg10: 1.5, avg60: 0.0, avg300: 0.0, total: 9 });
    }

    #[test]
    fn cgroup_stats_have_the_keys_callers_read() {
        let want = r#"{"cpu":{"usage":{"kernel":0,"user":0},"throttling":{}},"cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0},"memory":{"usage":{"limit":0,"failcnt":0},"swap":{"limit":0,"failcnt":0},"kernel":{"limit":0,"failcnt":0},"kernelTCP":{"limit":0,"failcnt":0}},"pids":{},"blkio":{},"hugetlb":{},"intel_rdt":{},"network_interfaces":null}"#;
        assert_eq!(serde_json::to_string(&Stats::default()).unwrap(), want);
    }
}
