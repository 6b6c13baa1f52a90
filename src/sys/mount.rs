//! mount_setattr(2) and the old mount(2) for what has no descriptor form on Linux 5.10. Called by
//! `rootfs`.

use super::check;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

pub use linux_raw_sys::general::{
    MOUNT_ATTR__ATIME, MOUNT_ATTR_IDMAP, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY, MOUNT_ATTR_STRICTATIME,
};

/// What mount_setattr(2) changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// MOUNT_ATTR_* bits to set.
    pub set: u64,
    /// MOUNT_ATTR_* bits to clear.
    pub clear: u64,
    /// MS_PRIVATE, MS_SHARED, MS_SLAVE or MS_UNBINDABLE; 0 leaves it.
    pub propagation: u64,
    /// With all mounts below (AT_RECURSIVE).
    pub recursive: bool,
}

fn setattr(fd: i32, change: Change, userns: u64) -> io::Result<()> {
    let attr = linux_raw_sys::general::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: userns,
    };
    let flags = libc::AT_EMPTY_PATH | if change.recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the attribute block outlives the call and its size is passed along.
    unsafe {
        check(libc::syscall(
            libc::SYS_mount_setattr,
            fd,
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of_val(&attr),
        ))?
    };
    Ok(())
}

/// mount_setattr(2) (Linux 5.12) on the mount that `fd` is the root of.
pub fn mount_setattr(fd: impl AsFd, change: Change) -> io::Result<()> {
    setattr(fd.as_fd().as_raw_fd(), change, 0)
}

/// mount_setattr(2) with MOUNT_ATTR_IDMAP: maps the ids of a detached mount by a user namespace.
pub fn mount_idmap(fd: impl AsFd, userns: impl AsFd, recursive: bool) -> io::Result<()> {
    let change = Change { set: u64::from(MOUNT_ATTR_IDMAP), recursive, ..Change::default() };
    setattr(fd.as_fd().as_raw_fd(), change, userns.as_fd().as_raw_fd() as u64)
}

/// mount(2) without source, type and data: changes propagation or, with MS_REMOUNT | MS_BIND, the
/// flags of the mount at `target`.
pub fn mount_flags(target: &CStr, flags: u64) -> io::Result<()> {
    // SAFETY: `target` is a C string; null is allowed for the other pointers.
    unsafe {
        check(
            libc::mount(
                std::ptr::null(),
                target.as_ptr(),
                std::ptr::null(),
                flags as libc::c_ulong,
                std::ptr::null(),
            )
            .into(),
        )?
    };
    Ok(())
}

/// Whether mount_setattr(2) exists: an invalid descriptor is an error of its own only then.
pub fn probe_mount_setattr() -> bool {
    !matches!(setattr(-1, Change::default(), 0), Err(error) if error.raw_os_error() == Some(libc::ENOSYS))
}
