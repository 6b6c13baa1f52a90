//! What this host offers, found out by asking the kernel, never by version numbers. Used by `check` for what a
//! bundle needs, by `doctor` for all of it, and by who executes a program of the host. Nothing here changes
//! anything.

use crate::bundle::lists::parse_list;
use crate::bundle::plan::NamespaceKind;
use crate::hostfs;
use rustix::fs::FileType;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Whether the kernel has something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is there.
    Ready,
    /// A module is installed that the kernel loads when it is needed.
    Module,
    /// Neither.
    Missing,
}

/// A line of a file of the kernel.
pub fn line(path: &str) -> Option<String> {
    hostfs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Whether the kernel has namespaces of a kind.
pub fn has_namespaces(kind: NamespaceKind) -> bool {
    hostfs::exists(&Path::new("/proc/self/ns").join(kind.proc_name()))
}

/// The file with the number of namespaces of a kind that a user may have (namespaces(7)).
pub fn most_namespaces_file(kind: NamespaceKind) -> String {
    format!("/proc/sys/user/max_{}_namespaces", kind.proc_name())
}

/// That number.
pub fn most_namespaces(kind: NamespaceKind) -> Option<u64> {
    line(&most_namespaces_file(kind))?.parse().ok()
}

/// The filesystems that the kernel has by now.
pub fn filesystems() -> Vec<String> {
    let text = hostfs::read_to_string("/proc/filesystems").unwrap_or_default();
    text.lines().filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect()
}

/// Whether the kernel has a filesystem: `fuse.sshfs` is one of fuse.
pub fn filesystem(kind: &str) -> Presence {
    let kind = kind.split('.').next().unwrap_or(kind);
    match filesystems().iter().any(|known| known == kind) {
        true => Presence::Ready,
        false if has_module(kind) => Presence::Module,
        false => Presence::Missing,
    }
}

/// Whether there is a module for a filesystem, by its alias or its name.
fn has_module(filesystem: &str) -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let directory = Path::new("/lib/modules").join(release);
    let (alias, file) = (format!("alias fs-{filesystem} "), format!("/{filesystem}.ko"));
    let has =
        |name: &str, words: &str| hostfs::read(directory.join(name)).is_ok_and(|text| contains(&text, words));
    has("modules.alias", &alias) || has("modules.dep", &file)
}

fn contains(text: &[u8], words: &str) -> bool {
    text.windows(words.len()).any(|window| window == words.as_bytes())
}

/// Whether the kernel runs with AppArmor.
pub fn has_apparmor() -> bool {
    line("/sys/module/apparmor/parameters/enabled").is_some_and(|text| text == "Y")
}

/// The profiles that are loaded; none where they cannot be read.
pub fn apparmor_profiles() -> Option<Vec<String>> {
    let text = hostfs::read_to_string("/sys/kernel/security/apparmor/profiles").ok()?;
    Some(text.lines().filter_map(|line| Some(line.rsplit_once(" (")?.0.to_owned())).collect())
}

/// SELINUX_MAGIC of linux/magic.h.
const SELINUX_MAGIC: u64 = 0xf97c_ff8c;

/// Whether the kernel runs with SELinux.
pub fn has_selinux() -> bool {
    hostfs::filesystem_type("/sys/fs/selinux") == Ok(SELINUX_MAGIC)
}

/// The CPUs, or the memory nodes, that are in use.
pub fn online(what: &str) -> Option<Vec<u32>> {
    parse_list(&line(&format!("/sys/devices/system/{what}/online"))?, 8192).ok()
}

/// A range of ids of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// The first.
    pub first: u64,
    /// How many.
    pub count: u64,
}

impl Ids {
    /// Whether all of the other are in it.
    pub fn holds(&self, first: u64, count: u64) -> bool {
        first >= self.first && first + count <= self.first + self.count
    }
}

/// The ranges that `/etc/subuid` or `/etc/subgid` (`which`: uid, gid) give a user.
pub fn subordinate(which: &str, uid: u32, name: &str) -> Vec<Ids> {
    let text = hostfs::read(format!("/etc/sub{which}")).unwrap_or_default();
    ranges(&String::from_utf8_lossy(&text), uid, name)
}

fn ranges(text: &str, uid: u32, name: &str) -> Vec<Ids> {
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let ids = Ids { first: fields.next()?.parse().ok()?, count: fields.next()?.parse().ok()? };
        (owner == name || owner.parse() == Ok(uid)).then_some(ids)
    };
    text.lines().filter_map(range).collect()
}

/// The ids that this process's user namespace has outside, as it sees them inside.
pub fn own_map(which: &str) -> Vec<Ids> {
    let text = line(&format!("/proc/self/{which}_map")).unwrap_or_default();
    let range = |line: &str| {
        let mut fields = line.split_whitespace();
        let first = fields.next()?.parse().ok()?;
        Some(Ids { first, count: fields.nth(1)?.parse().ok()? })
    };
    text.lines().filter_map(range).collect()
}

/// A program of the system.
pub fn program(name: &str) -> Option<PathBuf> {
    let directories = crate::namespaces::HELPER_PATH.split(':').map(Path::new);
    directories.map(|directory| directory.join(name)).find(|path| hostfs::exists(path))
}

/// A program by its name in the directories of a PATH; those that are not absolute are not searched.
pub fn in_path(path: &OsStr, name: &Path) -> Option<PathBuf> {
    let directories = std::env::split_paths(path).filter(|directory| directory.is_absolute());
    directories.map(|directory| directory.join(name)).find(|path| is_program(path))
}

/// Whether a path of the host is that of a file that can be executed.
pub fn is_program(path: &Path) -> bool {
    hostfs::stat(path)
        .is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::RegularFile && s.st_mode & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_number() {
        let text = "ann:100000:65536\n# x\n1000:300000:10\nbob:1:1\nbad:x:y\n";
        let expected = [Ids { first: 100_000, count: 65_536 }, Ids { first: 300_000, count: 10 }];
        assert_eq!(ranges(text, 1000, "ann"), expected);
        assert!(expected[1].holds(300_000, 10) && !expected[1].holds(300_001, 10));
    }

    #[test]
    fn programs_are_files_that_can_be_executed_in_absolute_directories() {
        let directory = tempfile::tempdir().unwrap();
        let name = Path::new("tool");
        let path = directory.path().join("a").join(name);
        std::fs::create_dir_all(&path).unwrap();
        let search =
            |list: &str| in_path(OsStr::new(&list.replace("DIR", directory.path().to_str().unwrap())), name);
        assert_eq!(search("DIR/a"), None, "a directory");
        let there = directory.path().join(name);
        std::fs::write(&there, "").unwrap();
        assert_eq!(search("DIR/a:DIR"), None, "it cannot be executed");
        std::fs::set_permissions(&there, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(search(".::DIR/a:DIR"), Some(there));
    }

    #[test]
    fn this_kernel() {
        assert_eq!(filesystem("proc"), Presence::Ready);
        assert_eq!(filesystem("no-such"), Presence::Missing);
        assert!(has_namespaces(NamespaceKind::Pid) && !own_map("uid").is_empty());
        assert!(online("cpu").is_some_and(|cpus| cpus.contains(&0)));
        assert!(contains(b"abc", "bc") && !contains(b"abc", "bd"));
    }
}
