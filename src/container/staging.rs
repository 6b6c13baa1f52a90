//! The mount namespace that CRIU restores from. CRIU wants the root filesystem as a mount of its own that
//! nothing lies over; it is made in a namespace that ends with CRIU, so that nothing is left on the host
//! whatever happens. The runtime enters it to start CRIU there and comes back. Used by `restore`.

use crate::bundle::plan::{NamespaceKind, Plan};
use crate::error::Doing;
use crate::hostfs;
use crate::rootfs;
use crate::rootfs::mount::{clone_fd, clone_tree, move_onto};
use crate::sys::clone::{setns, unshare};
use crate::sys::mount::mount_flags;
use anyhow::Result;
use rustix::fs::OFlags;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The way back to the host's mounts.
#[derive(Debug)]
struct Home {
    namespace: OwnedFd,
    root: OwnedFd,
    cwd: OwnedFd,
}

/// Does something in a new mount namespace, in which the root filesystem is mounted on `target`.
pub fn staged<T>(plan: &Plan, target: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let home = Home::keep()?;
    unshare(NamespaceKind::Mount.flag()).doing(|| "create a mount namespace for CRIU")?;
    let done = furnish(plan, target).and_then(|()| work());
    home.return_to()?;
    done
}

/// Does something in the mount namespace of a process.
pub fn inside<T>(process: &OwnedFd, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let home = Home::keep()?;
    setns(process, NamespaceKind::Mount.flag()).doing(|| "enter the container's mount namespace")?;
    let done = work();
    home.return_to()?;
    done
}

impl Home {
    fn keep() -> Result<Home> {
        let directory = OFlags::PATH | OFlags::DIRECTORY;
        Ok(Home {
            namespace: hostfs::open(Path::new("/proc/self/ns/mnt"), OFlags::RDONLY)
                .doing(|| "keep the mount namespace")?,
            root: hostfs::open(Path::new("/"), directory).doing(|| "keep the root directory")?,
            cwd: hostfs::open(Path::new("."), directory).doing(|| "keep the working directory")?,
        })
    }

    /// Returns to the host's mounts; the root directory may have been another than the namespace's.
    fn return_to(self) -> Result<()> {
        setns(&self.namespace, NamespaceKind::Mount.flag())
            .doing(|| "return to the host's mount namespace")?;
        rustix::process::fchdir(&self.root).doing(|| "return to the root directory")?;
        rootfs::change_root()?;
        rustix::process::fchdir(&self.cwd).doing(|| "return to the working directory")
    }
}

fn furnish(plan: &Plan, target: &Path) -> Result<()> {
    mount_flags(c"/", libc::MS_SLAVE | libc::MS_REC).doing(|| "set the propagation of CRIU's mounts")?;
    let shown = plan.rootfs.display();
    let directory = OFlags::PATH | OFlags::DIRECTORY;
    let rootfs =
        hostfs::open(&plan.rootfs, directory).doing(|| format!("open the root filesystem `{shown}`"))?;
    let tree = clone_fd(&rootfs, true).doing(|| format!("clone the root filesystem `{shown}`"))?;
    let target =
        hostfs::open(target, directory | OFlags::NOFOLLOW).doing(|| "open the mount point for it")?;
    move_onto(&tree, &target).doing(|| format!("attach the root filesystem `{shown}`"))?;
    if plan.no_pivot { leave_ramdisk() } else { Ok(()) }
}

/// pivot_root(2), which CRIU uses, does not work from a ramdisk: over it goes a clone of all mounts, which
/// is a mount that can be left.
fn leave_ramdisk() -> Result<()> {
    let all = clone_tree(Path::new("/"), true, false).doing(|| "clone the ramdisk's mounts")?;
    let root = hostfs::open(Path::new("/"), OFlags::PATH | OFlags::DIRECTORY).doing(|| "open the ramdisk")?;
    move_onto(&all, &root).doing(|| "attach the clone")?;
    rustix::process::fchdir(&all).doing(|| "enter the clone")?;
    rootfs::change_root()
}
