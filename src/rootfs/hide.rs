//! Masked and read-only paths, done in the entered root. A masked file shows the host's /dev/null,
//! a masked directory an empty read-only tmpfs that all of them share (security R6, R12). Called by
//! init after the root was entered.

use super::MountFeatures;
use super::mount::{clone_fd, move_onto, new_filesystem};
use super::path::{Links, Root, is_directory, stat};
use crate::error::{Context, Doing, bail};
use crate::procfs::Procfs;
use crate::sys::mount::{self as sys, Change};
use anyhow::Result;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use std::os::fd::OwnedFd;

/// The host's /dev/null, opened before the root was entered and checked to be it; on a read-only
/// mount, so that nobody inside can change the mode or owner of the host's node, and a private one, so that
/// what is mounted over a mask is not mounted over the host's node.
pub fn host_null(features: MountFeatures) -> Result<OwnedFd> {
    let null = crate::hostfs::open("/dev/null", OFlags::PATH | OFlags::NOFOLLOW)
        .doing(|| "open /dev/null of the host")?;
    let stat = stat(&null).doing(|| "check /dev/null of the host")?;
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if !is_device || stat.st_rdev != rustix::fs::makedev(1, 3) {
        bail!("/dev/null of the host is not the null device: make it anew with mknod");
    }
    let tree = clone_fd(&null, false).doing(|| "clone /dev/null of the host")?;
    if features.mount_setattr {
        sys::mount_setattr(&tree, PROTECTED).doing(|| "make the mask read-only")?;
    }
    Ok(tree)
}

/// What a mask is mounted as.
const PROTECTED: Change = Change {
    set: (sys::MOUNT_ATTR_RDONLY | sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NOEXEC) as u64,
    clear: 0,
    propagation: libc::MS_PRIVATE,
    recursive: false,
};

/// What covers masked paths. The first path gets the mount itself, the others clones of it: a mount
/// that is not attached can be cloned by new kernels only.
struct Covers<'a> {
    null: Option<&'a OwnedFd>,
    null_attached: bool,
    empty: Option<OwnedFd>,
    procfs: &'a Procfs,
    features: MountFeatures,
}

/// Hides `paths`; those that are missing need no hiding.
pub fn mask(
    root: &Root,
    paths: &[String],
    null: Option<&OwnedFd>,
    procfs: &Procfs,
    features: MountFeatures,
) -> Result<()> {
    let mut covers = Covers { null, null_attached: false, empty: None, procfs, features };
    for (index, path) in paths.iter().enumerate() {
        covers.mask(root, path).with_context(|| format!("mask `{path}` (linux.maskedPaths[{index}])"))?;
    }
    Ok(())
}

impl Covers<'_> {
    fn mask(&mut self, root: &Root, path: &str) -> Result<()> {
        match existing(root, path)? {
            None => Ok(()),
            Some(target) if is_directory(&target).doing(|| "look at the path")? => {
                self.cover_directory(&target)
            }
            Some(target) => self.cover_file(&target),
        }
    }

    /// An empty read-only tmpfs, one for all directories.
    fn cover_directory(&mut self, target: &OwnedFd) -> Result<()> {
        if let Some(tmpfs) = &self.empty {
            let clone = clone_fd(tmpfs, false).doing(|| "clone the empty directory")?;
            return move_onto(&clone, target).doing(|| "cover it");
        }
        let option = |key: &str, value: &str| (key.to_string(), Some(value.to_string()));
        let data = [option("size", "0k"), option("nr_inodes", "1")];
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let tmpfs = new_filesystem("tmpfs", "tmpfs", 0, &data, attributes)?;
        move_onto(&tmpfs, target).doing(|| "cover it")?;
        self.empty = Some(tmpfs);
        Ok(())
    }

    fn cover_file(&mut self, target: &OwnedFd) -> Result<()> {
        let null = self.null.context("no null device was opened")?;
        if self.null_attached {
            let clone = clone_fd(null, false).doing(|| "clone the null device")?;
            move_onto(&clone, target).doing(|| "cover it")?;
            return self.protect(&clone);
        }
        move_onto(null, target).doing(|| "cover it")?;
        self.null_attached = true;
        self.protect(null)
    }

    fn protect(&self, mask: &OwnedFd) -> Result<()> {
        if self.features.mount_setattr {
            return Ok(());
        }
        let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NOEXEC;
        let steps = [libc::MS_PRIVATE, flags | libc::MS_REMOUNT | libc::MS_BIND];
        set_attached(self.procfs, mask, &steps).context("make the mask read-only")
    }
}

/// Linux 5.10 and 5.11 can set a mount's flags only once it is attached, and by a path: that of its
/// descriptor in the host's procfs, as the container's /proc may be anything (R3).
fn set_attached(procfs: &Procfs, mount: &OwnedFd, steps: &[u64]) -> Result<()> {
    use std::os::fd::AsRawFd;
    let name = std::ffi::CString::new(mount.as_raw_fd().to_string())?;
    procfs.enter_own_fds()?;
    let set = steps.iter().try_for_each(|flags| sys::mount_flags(&name, *flags)).doing(|| "set its flags");
    // Not to be left in a directory of the host.
    super::enter_root_directory().and(set)
}

/// Makes `paths` read-only with all mounts below; those that are missing are skipped.
pub fn make_readonly(root: &Root, paths: &[String], procfs: &Procfs, features: MountFeatures) -> Result<()> {
    for (index, path) in paths.iter().enumerate() {
        readonly_one(root, path, procfs, features)
            .with_context(|| format!("make `{path}` read-only (linux.readonlyPaths[{index}])"))?;
    }
    Ok(())
}

fn readonly_one(root: &Root, path: &str, procfs: &Procfs, features: MountFeatures) -> Result<()> {
    let Some(target) = existing(root, path)? else { return Ok(()) };
    let tree = clone_fd(&target, true).doing(|| "clone it")?;
    let change = Change { set: u64::from(sys::MOUNT_ATTR_RDONLY), recursive: true, ..Change::default() };
    if features.mount_setattr {
        sys::mount_setattr(&tree, change).doing(|| "set it read-only")?;
        return move_onto(&tree, &target).doing(|| "attach it");
    }
    move_onto(&tree, &target).doing(|| "attach it")?;
    let flags = rustix::fs::fstatfs(&tree).doing(|| "look at it")?.f_flags as u64
        & (libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC);
    let flags = flags | libc::MS_RDONLY | libc::MS_REMOUNT | libc::MS_BIND;
    set_attached(procfs, &tree, &[flags]).context("set it read-only")
}

/// The path if it is there.
fn existing(root: &Root, path: &str) -> Result<Option<OwnedFd>> {
    match root.open(path, OFlags::PATH, Links::Follow) {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        other => other.map(Some).doing(|| "find it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_never_left_unmasked_for_lack_of_a_null_device() {
        let procfs = Procfs::open().unwrap();
        let features = MountFeatures::probe();
        let mut covers = Covers { null: None, null_attached: false, empty: None, procfs: &procfs, features };
        let file = crate::hostfs::open("/proc/self/status", OFlags::PATH).unwrap();
        assert_eq!(covers.cover_file(&file).unwrap_err().to_string(), "no null device was opened");
    }
}
