//! What the lowering must know of the machine: a handful of facts, probed once per command.

use crate::error::{Context, Doing};
use crate::hostfs;
use rustix::io::Errno;
use std::sync::OnceLock;

/// Facts about the machine and the caller.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Effective user id of the runtime.
    pub euid: u32,
    /// Whether the runtime itself is in a user namespace other than the initial one.
    pub in_user_namespace: bool,
    /// Whether /sys/fs/cgroup is the unified hierarchy.
    pub cgroup_v2: bool,
    /// The highest capability number of the kernel.
    pub last_capability: u32,
}

/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

impl Host {
    /// Looks at the machine.
    pub fn probe() -> anyhow::Result<Host> {
        let last = read("/proc/sys/kernel/cap_last_cap")?;
        Ok(Host {
            euid: rustix::process::geteuid().as_raw(),
            in_user_namespace: in_user_namespace()?,
            cgroup_v2: is_cgroup_v2()?,
            last_capability: last.trim().parse().context("read `/proc/sys/kernel/cap_last_cap`")?,
        })
    }

    /// Whether the caller is root on the host.
    pub fn is_privileged(&self) -> bool {
        self.euid == 0 && !self.in_user_namespace
    }

    /// Whether the caller may set groups and write any id map: root, also of a user namespace, unless
    /// that one denies it (user_namespaces(7)).
    pub fn may_set_groups(&self) -> bool {
        let denied = || hostfs::read_to_string("/proc/self/setgroups").is_ok_and(|s| s.trim() == "deny");
        self.is_privileged() || self.euid == 0 && !denied()
    }
}

/// Whether the runtime was started in a user namespace other than the initial one; asked once.
pub fn in_user_namespace() -> anyhow::Result<bool> {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    match KNOWN.get() {
        Some(known) => Ok(*known),
        None => read("/proc/self/uid_map").map(|map| *KNOWN.get_or_init(|| !is_initial_map(&map))),
    }
}

/// Whether the unified hierarchy is mounted where all look for it; nothing need be.
fn is_cgroup_v2() -> anyhow::Result<bool> {
    match hostfs::filesystem_type("/sys/fs/cgroup") {
        Ok(magic) => Ok(magic == CGROUP2_MAGIC),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno).doing(|| "look at `/sys/fs/cgroup`"),
    }
}

fn read(path: &str) -> anyhow::Result<String> {
    hostfs::read_to_string(path).with_context(|| format!("read `{path}`: /proc must be mounted"))
}

/// The initial user namespace maps every id to itself (user_namespaces(7)).
fn is_initial_map(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_initial_map() {
        assert!(is_initial_map("         0          0 4294967295\n"));
        assert!(!is_initial_map("         0       1000          1\n"));
        assert!(!is_initial_map("0 0 4294967295\n1 1 1\n"));
        assert!(!is_initial_map(""));
    }

    #[test]
    fn probes_this_machine() {
        let host = Host::probe().unwrap();
        assert!((30..64).contains(&host.last_capability), "{host:?}");
    }
}
