//! A mount namespace made from the root filesystem alone: open_tree(2) with OPEN_TREE_NAMESPACE (Linux
//! 7.0). The container's process is cloned without a new mount namespace and enters this one, whose root
//! is the root filesystem already: the host's mounts are never copied, so nothing of them has to be parted
//! from, and there is no root to pivot from. `launch` makes it, `Builder::attach_root` enters it. Where the
//! kernel or the plan does not allow it, the clone makes a copy of the host's mounts as ever.

use crate::bundle::plan::{MountSource, NamespaceKind, Plan};
use crate::error::Doing;
use crate::sys::clone::setns;
use anyhow::Result;
use rustix::fs::OFlags;
use rustix::mount::OpenTreeFlags;
use rustix::thread::CapabilitySet;
use std::os::fd::OwnedFd;

/// uapi/linux/mount.h.
const OPEN_TREE_NAMESPACE: u32 = 1 << 1;

/// Makes the namespace. None where the plan needs the host's mounts in it, or where the kernel refuses,
/// for whatever reason: the older way then works or says why not.
pub fn of_root(plan: &Plan) -> Option<OwnedFd> {
    // In a user namespace proc and sysfs may only be mounted where one can be seen (mount_too_revealing of
    // fs/namespace.c), and in this one is none.
    if !suits(plan) || crate::bundle::host::in_user_namespace().unwrap_or(true) {
        return None;
    }
    // Entering it needs what pivot_root(2) does not.
    let capabilities = rustix::thread::capabilities(None).ok()?;
    if !capabilities.effective.contains(CapabilitySet::SYS_CHROOT | CapabilitySet::SYS_ADMIN) {
        return None;
    }
    let root = crate::hostfs::open(&plan.rootfs, OFlags::PATH | OFlags::DIRECTORY).ok()?;
    let flags = OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::from_bits_retain(OPEN_TREE_NAMESPACE);
    rustix::mount::open_tree(&root, "", flags).ok()
}

/// What the copy of the host's mounts is needed for: hooks that run in the namespace or look into it while
/// the host's files can be seen; a new user namespace, which has to own it; a root whose mounts go back to
/// the host (`shared`), may not be cloned (`unbindable`), or is another mount than the root filesystem.
fn suits(plan: &Plan) -> bool {
    let (namespaces, hooks) = (&plan.namespaces, &plan.hooks);
    let hooks = [&hooks.prestart, &hooks.create_runtime, &hooks.create_container];
    namespaces.creates(NamespaceKind::Mount)
        && !namespaces.has(NamespaceKind::User)
        && hooks.iter().all(|list| list.is_empty())
        && !plan.no_pivot
        && plan.root_propagation & (libc::MS_SHARED | libc::MS_UNBINDABLE) == 0
        && !plan.mounts.iter().any(|mount| mount.destination == "/" || is_beneath_root(&mount.source, plan))
}

/// A source in the root filesystem shows what earlier mounts put there, by the host's path.
fn is_beneath_root(source: &MountSource, plan: &Plan) -> bool {
    matches!(source, MountSource::Bind { path, .. } if path.starts_with(&plan.rootfs))
}

/// The host's mount namespace, for the moments in which something of the host is needed.
#[derive(Debug)]
pub struct Left {
    host: OwnedFd,
    host_root: OwnedFd,
    own: OwnedFd,
}

/// Enters the namespace; the root directory of this process is then the root filesystem.
pub fn enter(own: &OwnedFd) -> Result<Left> {
    let keep = || "keep the host's mount namespace";
    let left = Left {
        host: crate::hostfs::open("/proc/self/ns/mnt", OFlags::RDONLY).doing(keep)?,
        host_root: crate::hostfs::open("/", OFlags::PATH | OFlags::DIRECTORY).doing(keep)?,
        own: rustix::io::fcntl_dupfd_cloexec(own, 3).doing(keep)?,
    };
    left.back()?;
    Ok(left)
}

impl Left {
    /// Does something where the host's files can be seen.
    pub fn on_host<T>(&self, what: impl FnOnce() -> Result<T>) -> Result<T> {
        setns(&self.host, NamespaceKind::Mount.flag()).doing(|| "return to the host's mount namespace")?;
        rustix::process::fchdir(&self.host_root).doing(|| "return to the host's root directory")?;
        super::change_root()?;
        let done = what();
        self.back()?;
        done
    }

    fn back(&self) -> Result<()> {
        setns(&self.own, NamespaceKind::Mount.flag()).doing(|| "enter the mount namespace of the root")
    }
}
