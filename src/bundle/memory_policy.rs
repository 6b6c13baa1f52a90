//! Memory: NUMA policy (`linux.memoryPolicy`) and personality. Called by `lower.rs`.

use super::lists::parse_list;
use super::plan::MemoryPolicy;
use super::problems::Problems;
use super::scheduler::find;
use super::spec;

/// MPOL_* modes (linux/mempolicy.h).
pub const MODES: [(&str, u32); 7] = [
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];

/// MPOL_F_* flags (linux/mempolicy.h).
pub const FLAGS: [(&str, u32); 3] = [
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_STATIC_NODES", 1 << 15),
];

/// The kernel is built for at most 1024 nodes (MAX_NUMNODES).
const MAX_NODES: u32 = 1024;

/// Lowers `linux.memoryPolicy`.
pub fn lower(given: &spec::MemoryPolicy, problems: &mut Problems) -> Option<MemoryPolicy> {
    let path = "linux.memoryPolicy";
    let mode = find(&given.mode, &MODES, &format!("{path}.mode"), problems);
    let nodes = parse_list(&given.nodes, MAX_NODES);
    if let Err(fault) = &nodes {
        problems.add(format!("{path}.nodes"), fault);
    }
    let mut flags = 0;
    for (i, flag) in given.flags.iter().enumerate() {
        flags |= find(flag, &FLAGS, &format!("{path}.flags[{i}]"), problems).unwrap_or(0);
    }
    let (mode, nodes) = (mode?, nodes.ok()?);
    let count = nodes.len();
    match given.mode.as_str() {
        name @ ("MPOL_DEFAULT" | "MPOL_LOCAL") if count > 0 => {
            problems.add(format!("{path}.nodes"), format!("{name} takes no nodes, {count} are given"));
        }
        "MPOL_DEFAULT" | "MPOL_LOCAL" | "MPOL_PREFERRED" => {}
        name if count == 0 => problems.add(format!("{path}.nodes"), format!("missing: {name} needs nodes")),
        _ => {}
    }
    Some(MemoryPolicy { mode: mode | flags, nodes })
}

/// Lowers `linux.personality` (personality(2)).
pub fn lower_personality(given: &spec::Personality, problems: &mut Problems) -> Option<u64> {
    const DOMAINS: [(&str, u64); 2] = [("LINUX", 0), ("LINUX32", 8)];
    if !given.flags.is_empty() {
        problems.add("linux.personality.flags", "no flags are supported: leave it out");
    }
    find(&given.domain, &DOMAINS, "linux.personality.domain", problems)
}
