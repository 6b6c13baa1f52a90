//! What cgroup hierarchies this host has, where they are mounted, and which cgroup the runtime
//! itself is in. Probed once per command, by statfs(2) of the usual places and one read of
//! /proc/self/cgroup; mountinfo is read only where a hierarchy is not in its usual place.

use crate::error::{Context, bail};
use crate::hostfs;
use crate::sort::sort;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Magic of a cgroup v1 filesystem (linux/magic.h).
pub const CGROUP_MAGIC: u64 = 0x0027_e0eb;
/// Magic of a cgroup2 filesystem.
pub const CGROUP2_MAGIC: u64 = 0x6367_7270;

const ROOT: &str = "/sys/fs/cgroup";

/// One mounted cgroup v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its controllers, or the one entry `name=…`.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// The runtime's own cgroup in it, below the mount point, without leading `/`.
    pub own: String,
}

/// What a layout offers to this process.
#[derive(Debug)]
pub struct Offer {
    /// Which cgroups, in words.
    pub version: &'static str,
    /// The controllers that cgroups made here can have, sorted.
    pub controllers: Vec<String>,
    /// Where cgroups are made.
    pub parent: PathBuf,
}

/// The host's hierarchies.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// v1 hierarchies; empty on a pure v2 host.
    pub(super) legacy: Vec<Hierarchy>,
    /// Mount point of cgroup2 and the runtime's own cgroup there (pure v2 or hybrid).
    pub(super) unified: Option<(PathBuf, String)>,
}

impl Layout {
    /// Looks at this host.
    pub fn probe() -> Result<Layout> {
        let own = hostfs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
        if magic(Path::new(ROOT)) == Some(CGROUP2_MAGIC) {
            let unified = own.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_string);
            return Ok(Layout { legacy: Vec::new(), unified: Some((ROOT.into(), unified_own(unified))) });
        }
        let mut mounts = Mounts::default();
        let mut layout = Layout::default();
        for line in own.lines() {
            layout.take(line, &mut mounts)?;
        }
        Ok(layout)
    }

    /// Whether the host has cgroup v2 alone.
    pub fn is_v2(&self) -> bool {
        self.legacy.is_empty() && self.unified.is_some()
    }

    /// What there is for people to know.
    pub fn offer(&self) -> Offer {
        let words = |path: &Path| {
            let text = hostfs::read_to_string(path.join("cgroup.controllers")).unwrap_or_default();
            text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let mut controllers: Vec<String> = self.legacy.iter().flat_map(|h| h.controllers.clone()).collect();
        let (version, parent) = match (&self.unified, self.legacy.first()) {
            (Some((mountpoint, own)), None) => {
                // Containers are made beside the runtime's own cgroup.
                let parent = own.rsplit_once('/').map_or("", |(parent, _)| parent);
                controllers = words(&mountpoint.join(parent));
                ("v2", mountpoint.join(parent))
            }
            (Some(_), Some(first)) => ("v1, and v2 without controllers", first.mountpoint.join(&first.own)),
            (None, Some(first)) => ("v1", first.mountpoint.join(&first.own)),
            (None, None) => ("none", PathBuf::from(ROOT)),
        };
        sort(&mut controllers);
        Offer { version, controllers, parent }
    }

    /// Takes in one line of /proc/self/cgroup: `4:memory:/path`.
    fn take(&mut self, line: &str, mounts: &mut Mounts) -> Result<()> {
        let mut fields = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            bail!("read /proc/self/cgroup: line `{line}` has no three fields");
        };
        if id == "0" {
            if let Some(mountpoint) = mounts.find(&["unified"], CGROUP2_MAGIC, controllers)? {
                self.unified = Some((mountpoint, unified_own(Some(path.into()))));
            }
            return Ok(());
        }
        let name = controllers.strip_prefix("name=").unwrap_or(controllers);
        let swapped = name.split(',').rev().collect::<Vec<_>>().join(",");
        let Some(mountpoint) = mounts.find(&[name, &swapped], CGROUP_MAGIC, controllers)? else {
            return Ok(());
        };
        let own = own_below(&mountpoint, path);
        self.legacy.push(Hierarchy {
            controllers: controllers.split(',').map(str::to_string).collect(),
            mountpoint,
            own,
        });
        Ok(())
    }
}

fn unified_own(path: Option<String>) -> String {
    path.unwrap_or_default().trim_start_matches('/').to_string()
}

/// The runtime's own cgroup below a mount point. In a container without a cgroup namespace the
/// kernel names it from the host's root while the mount shows that very cgroup as its root.
fn own_below(mountpoint: &Path, path: &str) -> String {
    let path = path.trim_start_matches('/');
    if hostfs::is_directory(&mountpoint.join(path)) { path.to_string() } else { String::new() }
}

/// The filesystem magic at a path, if there is one.
fn magic(path: &Path) -> Option<u64> {
    hostfs::filesystem_type(path).ok()
}

/// The cgroup mounts of mountinfo, read when first needed.
#[derive(Default)]
struct Mounts(Option<Vec<(PathBuf, Vec<String>)>>);

impl Mounts {
    /// The mount point of a hierarchy: one of the usual names below /sys/fs/cgroup, else what
    /// mountinfo says; none where it is not mounted.
    fn find(&mut self, names: &[&str], want: u64, controllers: &str) -> Result<Option<PathBuf>> {
        for name in names {
            let usual = Path::new(ROOT).join(name);
            if magic(&usual) == Some(want) {
                return Ok(Some(usual));
            }
        }
        if self.0.is_none() {
            let text = hostfs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
            self.0 = Some(text.lines().filter_map(cgroup_mount).collect());
        }
        let wanted: Vec<&str> = controllers.split(',').filter(|c| !c.is_empty()).collect();
        let found = self.0.iter().flatten().find(|(_, options)| {
            let v2 = options.is_empty();
            v2 == (want == CGROUP2_MAGIC) && wanted.iter().all(|c| options.iter().any(|o| o == c))
        });
        Ok(found.map(|(path, _)| path.clone()))
    }
}

/// Mount point and superblock options of a mountinfo line, if it is a cgroup mount; the options
/// are empty for cgroup2.
fn cgroup_mount(line: &str) -> Option<(PathBuf, Vec<String>)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mountpoint = PathBuf::from(mount.split(' ').nth(4)?);
    let mut fields = filesystem.split(' ');
    let options = match fields.next()? {
        "cgroup2" => Vec::new(),
        "cgroup" => fields.nth(1)?.split(',').map(str::to_string).collect(),
        _ => return None,
    };
    Some((mountpoint, options))
}

/// A cgroup path of config.json, normalised: no empty, `.` or `..` components, no leading `/`.
/// `..` is refused wherever it stands (R14), so that no path leaves its parent.
pub(super) fn normalise(path: &str) -> Result<String> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => bail!("cgroup path `{path}` contains `..`: name the cgroup directly (linux.cgroupsPath)"),
            _ if part.contains(['\n', '\0']) => {
                bail!("cgroup path {path:?} contains a control character (linux.cgroupsPath)")
            }
            _ => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// The readers of mountinfo, and of paths from config.json, which must stay below their parent.
#[cfg(fuzzing)]
pub fn fuzz(text: &str) {
    text.lines().for_each(|line| drop(cgroup_mount(line)));
    if let Ok(path) = normalise(text) {
        assert!(!path.starts_with('/') && path.split('/').all(|part| part != ".."), "{path}");
        assert_eq!(normalise(&path).ok().as_ref(), Some(&path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_paths_are_normalised_and_never_escape() {
        assert_eq!(normalise("//a/./b/").unwrap(), "a/b");
        for bad in ["..", "/..", "a/../b", "/a/..", "../../etc", "a\nb"] {
            assert!(normalise(bad).is_err(), "{bad}");
        }
        assert_eq!(normalise("/a..b/...").unwrap(), "a..b/...");
    }

    #[test]
    fn cgroup_of_a_process_in_another_form_is_an_error() {
        let error = Layout::default().take("nonsense", &mut Mounts::default()).unwrap_err().to_string();
        assert_eq!(error, "read /proc/self/cgroup: line `nonsense` has no three fields");
    }

    #[test]
    fn cgroup_mounts_are_found_in_mountinfo() {
        let line = "33 31 0:30 / /cg/cpu rw shared:3 - cgroup cgroup rw,cpu,cpuacct";
        let (path, options) = cgroup_mount(line).unwrap();
        assert_eq!(path, Path::new("/cg/cpu"));
        assert!(options.contains(&"cpuacct".to_string()));
        assert_eq!(
            cgroup_mount("41 31 0:38 / /cg/u rw - cgroup2 cgroup2 rw").unwrap().1,
            Vec::<String>::new()
        );
        assert!(cgroup_mount("41 31 0:38 / / rw - ext4 /dev/sda rw").is_none());
    }

    #[test]
    fn cgroup_layout_of_this_host_has_mounted_hierarchies() {
        let layout = Layout::probe().unwrap();
        for h in &layout.legacy {
            assert_eq!(magic(&h.mountpoint), Some(CGROUP_MAGIC), "{h:?}");
        }
        if let Some((path, _)) = &layout.unified {
            assert_eq!(magic(path), Some(CGROUP2_MAGIC));
        }
        assert_eq!(layout.is_v2(), magic(Path::new(ROOT)) == Some(CGROUP2_MAGIC));
    }
}
