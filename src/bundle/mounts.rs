//! Mounts: `mounts` with their options made flags. Called by `lower.rs`.

use super::lists::normalise;
use super::mount_options::{self, MountOptions};
use super::plan::{Mount, MountAttributes, MountIdMap, MountSource, SymlinkSource};
use super::problems::{Problems, Warnings};
use super::{id_maps, spec};
use std::path::Path;

/// What the mounts depend on besides themselves.
pub struct Context<'a> {
    /// The bundle directory, for relative sources.
    pub bundle: &'a Path,
    /// Whether the container has a user namespace, whose map `idmap` takes.
    pub user_namespace: bool,
}

/// Lowers all mounts, in order.
pub fn lower(
    mounts: &[spec::Mount],
    context: &Context<'_>,
    problems: &mut Problems,
    warnings: &mut Warnings,
) -> Vec<Mount> {
    let mut lowered = Vec::with_capacity(mounts.len());
    for (i, mount) in mounts.iter().enumerate() {
        let mut one = One { mount, path: format!("mounts[{i}]"), problems, warnings };
        lowered.extend(one.lower(i, context));
    }
    lowered
}

/// One mount while it is looked at.
struct One<'a> {
    mount: &'a spec::Mount,
    path: String,
    problems: &'a mut Problems,
    warnings: &'a mut Warnings,
}

impl One<'_> {
    /// Options for a filesystem where none is made. A value (`mode=755`) is for a filesystem and can be
    /// nothing else, so mount(2) and this ignore it; a bare word may be a flag that was misspelt.
    fn refuse_data(&mut self, data: &[(String, Option<String>)]) {
        for (key, value) in data {
            match value {
                Some(_) => {
                    let text = format!("`{key}` has no effect: there is no new filesystem to take it");
                    self.warn("options", text);
                }
                None => {
                    let (path, known) = (format!("{}.options", self.path), mount_options::plain_names());
                    let text = format!("unknown option `{key}`: it is no mount flag");
                    self.problems.add_unknown(path, text, [key], known);
                }
            }
        }
    }

    fn lower(&mut self, index: usize, context: &Context<'_>) -> Option<Mount> {
        let options = MountOptions::new(&self.mount.options);
        let destination = self.destination();
        let id_map = self.id_map(&options, context.user_namespace);
        let source = self.source(&options, context.bundle);
        let (destination, source) = (destination?, source?);
        self.check_fit(&options, &destination, &source, id_map.is_some());
        Some(Mount {
            index,
            destination,
            source,
            attributes: options.attributes,
            propagation: options.propagation,
            id_map,
            follow_destination: !options.destination_nofollow,
            copy_up: options.copy_up,
        })
    }

    fn problem(&mut self, member: &str, text: impl Into<String>) {
        self.problems.add(format!("{}.{member}", self.path), text);
    }

    fn warn(&mut self, member: &str, text: impl Into<String>) {
        self.warnings.note(format!("{}.{member}", self.path), text);
    }

    fn destination(&mut self) -> Option<String> {
        let given = &self.mount.destination;
        if given.is_empty() {
            self.problem("destination", "missing: the absolute path in the container");
            return None;
        }
        if given.contains('\0') {
            self.problem("destination", super::json::NUL);
            return None;
        }
        let destination = normalise(given);
        if !given.starts_with('/') {
            self.warn("destination", format!("`{given}` is relative, taken as `{destination}`"));
        }
        Some(destination)
    }

    fn source(&mut self, options: &MountOptions, bundle: &Path) -> Option<MountSource> {
        let kind = self.mount.kind.as_str();
        if options.remount {
            return Some(MountSource::Remount);
        }
        if options.bind.is_some() || kind == "bind" {
            return self.bind(options, bundle);
        }
        match kind {
            "cgroup" | "cgroup2" => Some(MountSource::Cgroup { data: options.data.clone() }),
            "" | "none" if !options.propagation.is_empty() => Some(MountSource::Propagation),
            "none" if options.attributes != MountAttributes::default() => Some(MountSource::Propagation),
            "" | "none" => {
                self.problem("type", "missing: name a filesystem type, or give the option `bind` or `rbind`");
                None
            }
            kind => Some(MountSource::Filesystem {
                kind: kind.to_string(),
                source: if self.mount.source.is_empty() { "none".into() } else { self.mount.source.clone() },
                super_flags: options.super_flags,
                data: options.data.clone(),
            }),
        }
    }

    fn bind(&mut self, options: &MountOptions, bundle: &Path) -> Option<MountSource> {
        let given = self.mount.source.clone();
        if given.is_empty() {
            self.problem("source", "missing: a bind mount needs the path of a file or directory");
            return None;
        }
        Some(MountSource::Bind {
            path: bundle.join(&given),
            recursive: options.bind == Some(true),
            symlink: options.symlink.unwrap_or(SymlinkSource::Follow),
            given,
        })
    }

    fn id_map(&mut self, options: &MountOptions, user_namespace: bool) -> Option<MountIdMap> {
        let mount = self.mount;
        let uid_map =
            id_maps::lower(&mount.uid_mappings, &format!("{}.uidMappings", self.path), self.problems);
        let gid_map =
            id_maps::lower(&mount.gid_mappings, &format!("{}.gidMappings", self.path), self.problems);
        match (mount.uid_mappings.is_empty(), mount.gid_mappings.is_empty()) {
            (true, false) => self.problem("uidMappings", "missing: gidMappings must not be given alone"),
            (false, true) => self.problem("gidMappings", "missing: uidMappings must not be given alone"),
            (true, true) if options.id_map.is_none() => return None,
            (true, true) if !user_namespace => {
                let text =
                    "`idmap` needs uidMappings and gidMappings here or a user namespace of the container";
                self.problem("options", text);
            }
            _ => {}
        }
        Some(MountIdMap { uid_map, gid_map, recursive: options.id_map == Some(true) })
    }

    /// What an option asks of a mount that cannot have it.
    fn check_fit(&mut self, options: &MountOptions, destination: &str, source: &MountSource, id_map: bool) {
        let bind = matches!(source, MountSource::Bind { .. });
        let filesystem = matches!(source, MountSource::Filesystem { .. });
        let cgroup = matches!(source, MountSource::Cgroup { .. });
        if (filesystem || cgroup) && destination == "/" {
            self.problem("destination", "a new filesystem on `/` would hide the root filesystem");
        }
        if options.copy_up && !(filesystem && self.mount.kind == "tmpfs") {
            self.problem("options", "`tmpcopyup` is for the type tmpfs only");
        }
        if options.symlink.is_some() && !bind {
            self.problem("options", "`copy-symlink` and `src-nofollow` are for bind mounts only");
        }
        if id_map && !bind {
            self.problem("options", "only bind mounts can have an id map");
        }
        if !filesystem && !cgroup {
            self.refuse_data(&options.data);
        }
        if filesystem && options.super_names.iter().any(|name| name.ends_with("iversion")) {
            self.warn("options", "`iversion` without effect: filesystems decide about it themselves");
        }
        if !filesystem && !options.super_names.is_empty() {
            let names = options.super_names.join("`, `");
            self.warn("options", format!("`{names}` without effect: only a new filesystem has these"));
        }
    }
}
