//! A mount namespace of its own for everything that is measured.

use std::ffi::CString;
use std::io::Error;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Leaves the host's mount namespace; what is mounted from here on is seen by the measured programs
/// alone and goes with this process.
pub fn leave_host() -> Result<(), String> {
    // SAFETY: plain flags and constant strings; this process has one thread.
    let results = unsafe {
        [
            libc::unshare(libc::CLONE_NEWNS),
            libc::mount(
                std::ptr::null(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_PRIVATE | libc::MS_REC,
                std::ptr::null(),
            ),
        ]
    };
    match results {
        [0, 0] => Ok(()),
        _ => Err(format!("a mount namespace of its own (as root): {}", Error::last_os_error())),
    }
}

/// Some runtimes refuse a hybrid host, where cgroup2 with controllers is mounted beside v1: then
/// cgroup2 is not seen in this mount namespace, and all runtimes are measured on v1 alone.
pub fn hide_unified() -> bool {
    let directory = Path::new("/sys/fs/cgroup/unified");
    let controllers = std::fs::read_to_string(directory.join("cgroup.controllers"));
    let hide = controllers.is_ok_and(|text| !text.trim().is_empty());
    if hide {
        unmount(directory);
    }
    hide
}

/// A new tmpfs.
pub fn tmpfs(place: &Path) -> Result<(), String> {
    let target = CString::new(place.as_os_str().as_bytes()).unwrap_or_default();
    let (kind, options) = (c"tmpfs".as_ptr(), c"mode=755".as_ptr());
    // SAFETY: all strings live during the call.
    let result = unsafe { libc::mount(kind, target.as_ptr(), kind, 0, options.cast()) };
    match result {
        0 => Ok(()),
        _ => Err(format!("mount a tmpfs on {}: {}", place.display(), Error::last_os_error())),
    }
}

/// Removes a mount.
pub fn unmount(place: &Path) {
    let target = CString::new(place.as_os_str().as_bytes()).unwrap_or_default();
    // SAFETY: the string lives during the call.
    unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
}
