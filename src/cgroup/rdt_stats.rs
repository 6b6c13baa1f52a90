//! The `intel_rdt` member of a stats event: what resctrl says about a container's group, in the keys
//! that callers of `events --stats` know. Called by `events` for containers made with linux.intelRdt.

use crate::hostfs;
use crate::sort::sort;
use rustix::fs::{Dir, OFlags};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Empty for a container without linux.intelRdt.
#[derive(Debug, Default, Serialize)]
pub struct IntelRdt {
    #[serde(skip_serializing_if = "Option::is_none")]
    l3_cache_info: Option<CacheInfo>,
    #[serde(skip_serializing_if = "String::is_empty")]
    l3_cache_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    l3_cache_schema: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_bw_info: Option<BandwidthInfo>,
    #[serde(skip_serializing_if = "String::is_empty")]
    mem_bw_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    mem_bw_schema: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mbm_stats: Option<Vec<Traffic>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmt_stats: Option<Vec<Occupancy>>,
}

/// What the L3 caches can be divided into.
#[derive(Debug, Serialize)]
struct CacheInfo {
    #[serde(skip_serializing_if = "String::is_empty")]
    cbm_mask: String,
    #[serde(skip_serializing_if = "is_zero")]
    min_cbm_bits: u64,
    #[serde(skip_serializing_if = "is_zero")]
    num_closids: u64,
}

/// What memory bandwidth can be divided into; percent.
#[derive(Debug, Serialize)]
struct BandwidthInfo {
    #[serde(skip_serializing_if = "is_zero")]
    bandwidth_gran: u64,
    #[serde(skip_serializing_if = "is_zero")]
    delay_linear: u64,
    #[serde(skip_serializing_if = "is_zero")]
    min_bandwidth: u64,
    #[serde(skip_serializing_if = "is_zero")]
    num_closids: u64,
}

/// Bytes that went through one L3 cache.
#[derive(Debug, Serialize)]
struct Traffic {
    #[serde(skip_serializing_if = "is_zero")]
    mbm_total_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    mbm_local_bytes: u64,
}

/// Bytes of one L3 cache in use.
#[derive(Debug, Serialize)]
struct Occupancy {
    #[serde(skip_serializing_if = "is_zero")]
    llc_occupancy: u64,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Reads what there is of `group`, and of its monitoring group where the container has one. `root` is
/// where resctrl is mounted. What the CPU does not have, and a group that is gone, is left out.
pub fn of(root: &Path, group: &Path, monitor: Option<&Path>) -> IntelRdt {
    let info =
        |kind: &str| Some(root.join("info").join(kind)).filter(|directory| hostfs::is_directory(directory));
    let cache = info("L3").map(|directory| CacheInfo {
        cbm_mask: text(&directory.join("cbm_mask")),
        min_cbm_bits: number(&directory.join("min_cbm_bits")),
        num_closids: number(&directory.join("num_closids")),
    });
    let bandwidth = info("MB").map(|directory| BandwidthInfo {
        bandwidth_gran: number(&directory.join("bandwidth_gran")),
        delay_linear: number(&directory.join("delay_linear")),
        min_bandwidth: number(&directory.join("min_bandwidth")),
        num_closids: number(&directory.join("num_closids")),
    });
    let schemata = |directory: &Path| text(&directory.join("schemata"));
    let (of_root, of_group) = (schemata(root), schemata(group));
    let features = info("L3_MON").map(|directory| text(&directory.join("mon_features"))).unwrap_or_default();
    let has = |name: &str| features.lines().any(|feature| feature.trim() == name);
    let nodes = nodes(&monitor.unwrap_or(group).join("mon_data"));
    let traffic = |node: &PathBuf| Traffic {
        mbm_total_bytes: number(&node.join("mbm_total_bytes")),
        mbm_local_bytes: number(&node.join("mbm_local_bytes")),
    };
    let occupancy = |node: &PathBuf| Occupancy { llc_occupancy: number(&node.join("llc_occupancy")) };
    IntelRdt {
        l3_cache_schema_root: line(&of_root, "L3", cache.is_some()),
        l3_cache_schema: line(&of_group, "L3", cache.is_some()),
        l3_cache_info: cache,
        mem_bw_schema_root: line(&of_root, "MB", bandwidth.is_some()),
        mem_bw_schema: line(&of_group, "MB", bandwidth.is_some()),
        mem_bw_info: bandwidth,
        mbm_stats: (has("mbm_total_bytes") || has("mbm_local_bytes"))
            .then(|| nodes.iter().map(traffic).collect()),
        cmt_stats: has("llc_occupancy").then(|| nodes.iter().map(occupancy).collect()),
    }
}

fn text(path: &Path) -> String {
    hostfs::read_to_string(path).map(|text| text.trim_end().to_string()).unwrap_or_default()
}

fn number(path: &Path) -> u64 {
    text(path).parse().unwrap_or(0)
}

/// The line of a schemata file for a resource, where the CPU has it.
fn line(schemata: &str, resource: &str, present: bool) -> String {
    let found = schemata
        .lines()
        .map(str::trim)
        .find(|line| line.strip_prefix(resource).is_some_and(|rest| rest.starts_with([':', 'C', 'D'])));
    found.filter(|_| present).unwrap_or_default().to_string()
}

/// The directories of the L3 caches in `mon_data`, in their order.
fn nodes(directory: &Path) -> Vec<PathBuf> {
    let opened = hostfs::open(directory, OFlags::RDONLY | OFlags::DIRECTORY).and_then(Dir::new);
    let entries = opened.into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut nodes: Vec<PathBuf> =
        names.filter(|name| name.starts_with("mon_L3_")).map(|name| directory.join(name)).collect();
    sort(&mut nodes);
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_rdt_stats_have_the_keys_callers_read() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for (file, text) in [
            ("info/L3/cbm_mask", "fffff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3/num_closids", "16\n"),
            ("info/MB/bandwidth_gran", "10\n"),
            ("info/MB/delay_linear", "1\n"),
            ("info/MB/min_bandwidth", "10\n"),
            ("info/MB/num_closids", "8\n"),
            ("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n"),
            ("schemata", "    MB:0=100;1=100\n    L3:0=fffff;1=fffff\n"),
            ("box/schemata", "    MB:0= 50;1=100\n    L3:0=0000f;1=fffff\n"),
            ("box/mon_data/mon_L3_00/llc_occupancy", "4096\n"),
            ("box/mon_data/mon_L3_00/mbm_total_bytes", "10\n"),
            ("box/mon_data/mon_L3_00/mbm_local_bytes", "7\n"),
            ("box/mon_data/mon_L3_01/llc_occupancy", "Unavailable\n"),
            ("box/mon_groups/box/mon_data/mon_L3_00/mbm_total_bytes", "3\n"),
        ] {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let json = |stats: &IntelRdt| serde_json::to_string(stats).unwrap();
        assert_eq!(
            json(&of(root, &root.join("box"), None)),
            r#"{"l3_cache_info":{"cbm_mask":"fffff","min_cbm_bits":1,"num_closids":16},"#.to_owned()
                + r#""l3_cache_schema_root":"L3:0=fffff;1=fffff","l3_cache_schema":"L3:0=0000f;1=fffff","#
                + r#""mem_bw_info":{"bandwidth_gran":10,"delay_linear":1,"min_bandwidth":10,"num_closids":8},"#
                + r#""mem_bw_schema_root":"MB:0=100;1=100","mem_bw_schema":"MB:0= 50;1=100","#
                + r#""mbm_stats":[{"mbm_total_bytes":10,"mbm_local_bytes":7},{}],"cmt_stats":[{"llc_occupancy":4096},{}]}"#
        );
        let monitored = of(root, &root.join("box"), Some(&root.join("box/mon_groups/box")));
        assert!(json(&monitored).contains(r#""mbm_stats":[{"mbm_total_bytes":3}]"#), "{monitored:?}");
        assert_eq!(json(&of(&root.join("absent"), &root.join("absent/box"), None)), "{}");
    }
}
