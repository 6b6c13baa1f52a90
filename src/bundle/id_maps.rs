//! Id maps: the lines of `uidMappings` and `gidMappings`, of the container and of its mounts.
//! Called by `namespaces.rs` and `mounts.rs`.

use super::plan::IdMap;
use super::problems::Problems;
use super::spec::IdMapping;
use crate::sort::sort_by;

/// The most lines that the kernel takes (user_namespaces(7)).
pub const MAX_LINES: usize = 340;

/// Checks and takes one map.
pub fn lower(mappings: &[IdMapping], path: &str, problems: &mut Problems) -> Vec<IdMap> {
    if mappings.len() > MAX_LINES {
        problems.add(path, format!("{} lines; the kernel takes at most {MAX_LINES}", mappings.len()));
        return Vec::new();
    }
    let lines: Vec<Option<IdMap>> = mappings
        .iter()
        .enumerate()
        .map(|(i, mapping)| lower_line(mapping, &format!("{path}[{i}]"), problems))
        .collect();
    check_overlap(&lines, path, "containerID", |line| line.inside, problems);
    check_overlap(&lines, path, "hostID", |line| line.outside, problems);
    lines.into_iter().flatten().collect()
}

fn lower_line(mapping: &IdMapping, path: &str, problems: &mut Problems) -> Option<IdMap> {
    let mut member = |value: Option<u32>, name: &str| {
        if value.is_none() {
            problems.add(format!("{path}.{name}"), "missing: each line needs containerID, hostID and size");
        }
        value
    };
    let inside = member(mapping.container_id, "containerID");
    let outside = member(mapping.host_id, "hostID");
    let size = member(mapping.size, "size");
    let line = IdMap { inside: inside?, outside: outside?, size: size? };
    if line.size == 0 {
        problems.add(format!("{path}.size"), "0 ids: must be at least 1");
        return None;
    }
    for (first, name) in [(line.inside, "containerID"), (line.outside, "hostID")] {
        if first.checked_add(line.size).is_none() {
            problems
                .add(format!("{path}.{name}"), format!("{first} and size {} exceed 4294967295", line.size));
            return None;
        }
    }
    Some(line)
}

fn check_overlap(
    lines: &[Option<IdMap>],
    path: &str,
    name: &str,
    first: fn(&IdMap) -> u32,
    problems: &mut Problems,
) {
    let mut sorted: Vec<(usize, u32, u32)> = lines
        .iter()
        .enumerate()
        .filter_map(|(i, line)| line.as_ref().map(|l| (i, first(l), first(l) + l.size)))
        .collect();
    sort_by(&mut sorted, |(_, a, _), (_, b, _)| a < b);
    for pair in sorted.windows(2) {
        if let [(a, _, end), (b, begin, _)] = pair
            && begin < end
        {
            let (early, late) = (a.min(b), a.max(b));
            problems.add(format!("{path}[{late}].{name}"), format!("ids overlap those of {path}[{early}]"));
        }
    }
}

/// The id outside for one inside.
pub fn outside(map: &[IdMap], inside: u32) -> Option<u32> {
    let line = map.iter().find(|line| inside >= line.inside && inside - line.inside < line.size)?;
    Some(line.outside + (inside - line.inside))
}
