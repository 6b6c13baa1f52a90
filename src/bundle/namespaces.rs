//! Namespaces: which are made and which joined, with their id maps and clock offsets. Called by
//! `lower.rs`.

use super::plan::{NamespaceKind, Namespaces};
use super::problems::{Problems, Warnings};
use super::{id_maps, spec};
use std::path::PathBuf;

/// Lowers `linux.namespaces`, the id maps and `timeOffsets`.
pub fn lower(linux: &spec::Linux, problems: &mut Problems, warnings: &mut Warnings) -> Namespaces {
    let mut namespaces = lower_list(&linux.namespaces, problems);
    lower_id_maps(&mut namespaces, linux, problems, warnings);
    lower_time_offsets(&mut namespaces, linux, problems);
    refuse_foreign_mounts(&namespaces, problems);
    namespaces
}

/// A new user namespace has no power over a mount namespace that was there before it: the kernel lets
/// nobody of it in.
fn refuse_foreign_mounts(namespaces: &Namespaces, problems: &mut Problems) {
    let joined = namespaces.join.iter().find(|join| join.kind == NamespaceKind::Mount);
    if let Some(join) = joined.filter(|_| namespaces.creates(NamespaceKind::User)) {
        let text = "cannot be joined together with a new user namespace: join the user namespace that owns it, \
                    or make a new mount namespace";
        problems.add(format!("linux.namespaces[{}].path", join.index), text);
    }
}

fn lower_list(list: &[spec::Namespace], problems: &mut Problems) -> Namespaces {
    let mut namespaces = Namespaces::default();
    for (i, namespace) in list.iter().enumerate() {
        let path = format!("linux.namespaces[{i}]");
        let Some(kind) = NamespaceKind::ALL.into_iter().find(|kind| kind.name() == namespace.kind) else {
            let text = unknown_kind(&namespace.kind);
            let known = NamespaceKind::ALL.into_iter().map(NamespaceKind::name);
            problems.add_unknown(format!("{path}.type"), text, [&namespace.kind], known);
            continue;
        };
        if namespaces.has(kind) {
            problems.add(format!("{path}.type"), format!("`{}` is given twice", kind.name()));
        } else if namespace.path.is_empty() {
            namespaces.create.push(kind);
        } else if namespace.path.starts_with('/') {
            let path = PathBuf::from(&namespace.path);
            namespaces.join.push(super::plan::Join { kind, path, index: i });
        } else {
            problems
                .add(format!("{path}.path"), format!("`{}` is relative: must be absolute", namespace.path));
        }
    }
    namespaces
}

fn unknown_kind(kind: &str) -> String {
    let known: Vec<&str> = NamespaceKind::ALL.iter().map(|kind| kind.name()).collect();
    match kind {
        "" => format!("missing: one of {}", known.join(", ")),
        kind => format!("unknown namespace type `{kind}`: one of {}", known.join(", ")),
    }
}

fn lower_id_maps(
    namespaces: &mut Namespaces,
    linux: &spec::Linux,
    problems: &mut Problems,
    warnings: &mut Warnings,
) {
    let maps = [("linux.uidMappings", &linux.uid_mappings), ("linux.gidMappings", &linux.gid_mappings)];
    let [uid_map, gid_map] = maps.map(|(path, map)| id_maps::lower(map, path, problems));
    for (path, map) in maps {
        if namespaces.creates(NamespaceKind::User) && map.is_empty() {
            problems.add(path, "missing: a new user namespace needs uidMappings and gidMappings");
        } else if namespaces.joins(NamespaceKind::User) && !map.is_empty() {
            warnings.note(path, "not written, the user namespace that is joined has its own");
        } else if !namespaces.has(NamespaceKind::User) && !map.is_empty() {
            problems.add(path, "needs a new user namespace: add {\"type\":\"user\"} to linux.namespaces");
        }
    }
    if namespaces.creates(NamespaceKind::User) {
        (namespaces.uid_map, namespaces.gid_map) = (uid_map, gid_map);
    }
}

fn lower_time_offsets(namespaces: &mut Namespaces, linux: &spec::Linux, problems: &mut Problems) {
    for (clock, offset) in &linux.time_offsets {
        let path = format!("linux.timeOffsets.{clock}");
        if offset.nanosecs > 999_999_999 {
            problems.add(format!("{path}.nanosecs"), format!("{} exceeds 999999999", offset.nanosecs));
        }
        let value = Some((offset.secs, offset.nanosecs));
        match clock.as_str() {
            "boottime" => namespaces.boottime = value,
            "monotonic" => namespaces.monotonic = value,
            _ => problems.add(path, "unknown clock: boottime or monotonic"),
        }
    }
    if !linux.time_offsets.is_empty() && !namespaces.creates(NamespaceKind::Time) {
        let text = "needs a new time namespace: add {\"type\":\"time\"} to linux.namespaces";
        problems.add("linux.timeOffsets", text);
    }
}
