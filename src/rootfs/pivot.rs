//! Entering the new root. pivot_root(2) stacks the old root below the new one, from where it is
//! detached; without pivot (a root on initramfs) the new root is moved over the old one. In a mount
//! namespace made of the root (`namespace`) it is entered already. Called by `Builder::enter`.

use super::path::Root;
use crate::error::Doing;
use crate::sys::mount::mount_flags;
use anyhow::Result;
use rustix::fs::OFlags;
use rustix::mount::UnmountFlags;

/// Makes `root` the root directory of this mount namespace.
pub fn enter(root: &Root, no_pivot: bool, propagation: u64) -> Result<()> {
    if no_pivot { move_root(root) } else { pivot(root, propagation) }
}

/// Without a mount namespace of its own, the container's root is only a changed root directory; the
/// host side unmounts what was mounted below it when the container is deleted.
pub fn chroot(root: &Root) -> Result<()> {
    rustix::process::fchdir(root.fd()).doing(|| "enter the root filesystem")?;
    super::change_root()?;
    super::enter_root_directory()
}

#[expect(clippy::disallowed_methods, reason = "R2: `.` is no path that somebody could exchange")]
fn pivot(root: &Root, propagation: u64) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let old = crate::hostfs::open("/", flags).doing(|| "open the old root")?;
    rustix::process::fchdir(root.fd()).doing(|| "enter the root filesystem")?;
    rustix::process::pivot_root(".", ".")
        .doing(|| "pivot_root (a root filesystem on initramfs needs --no-pivot)".to_string())?;
    rustix::process::fchdir(&old).doing(|| "return to the old root")?;
    // Unmounting must not travel to the host; a slave also gets no new mounts of it from here on.
    mount_flags(c".", libc::MS_SLAVE | libc::MS_REC).doing(|| "part from the host's mounts")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).doing(|| "detach the old root")?;
    settle(propagation)
}

/// The last step in a root that is entered.
pub fn settle(propagation: u64) -> Result<()> {
    super::enter_root_directory()?;
    if propagation == 0 {
        return Ok(());
    }
    mount_flags(c"/", propagation).doing(|| "set the propagation of the root")
}

/// MS_MOVE and chroot: the old mounts stay below, so those that could be reached (proc and sysfs,
/// which a user namespace could mount again in full) are detached first.
#[expect(clippy::disallowed_methods, reason = "R2: `.` and `/` are no paths that somebody could exchange")]
fn move_root(root: &Root) -> Result<()> {
    rustix::process::fchdir(root.fd()).doing(|| "enter the root filesystem")?;
    detach_revealing_mounts()?;
    rustix::mount::mount_move(".", "/").doing(|| "move the root filesystem over the old root")?;
    super::change_root()?;
    super::enter_root_directory()
}

#[expect(clippy::disallowed_methods, reason = "R2: mount points of the host, outside the new root")]
fn detach_revealing_mounts() -> Result<()> {
    let mounts = crate::hostfs::read_to_string("/proc/self/mountinfo").doing(|| "read the mount table")?;
    let here = rustix::process::getcwd(Vec::new()).doing(|| "find the root filesystem")?;
    let here = here.to_string_lossy().into_owned();
    for point in mounts.lines().filter_map(revealing).filter(|p| !beneath(p, &here)) {
        mount_flags(&c_string(&point)?, libc::MS_SLAVE | libc::MS_REC)
            .doing(|| format!("part from the host's `{point}`"))?;
        match rustix::mount::unmount(point.as_str(), UnmountFlags::DETACH) {
            // Still in use as a parent, or gone with its parent: cover it instead.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            other => other.doing(|| format!("detach the host's `{point}`"))?,
        }
    }
    Ok(())
}

/// The mount point of a proc or sysfs mount in a line of mountinfo.
fn revealing(line: &str) -> Option<String> {
    let (left, right) = line.split_once(" - ")?;
    let kind = right.split(' ').next()?;
    matches!(kind, "proc" | "sysfs").then(|| left.split(' ').nth(4).unwrap_or_default().replace("\\040", " "))
}

fn beneath(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn c_string(text: &str) -> Result<std::ffi::CString> {
    Ok(std::ffi::CString::new(text)?)
}
