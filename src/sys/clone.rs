//! clone3(2), setns(2) and unshare(2). Called by `container::launch` for init and exec, and by
//! init for the namespaces that it joins or creates itself.

use super::check;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Which side of a clone this is.
#[derive(Debug)]
pub enum Forked {
    /// The new process.
    Child,
    /// The caller, with the child's pid in the caller's pid namespace and its pidfd.
    Parent {
        /// Process id.
        pid: i32,
        /// Stable reference to the process.
        pidfd: OwnedFd,
    },
}

/// clone3(2) without a new stack: a fork with `flags` (CLONE_NEW…), a pidfd, and where given a
/// cgroup v2 directory that the child starts in (CLONE_INTO_CGROUP, Linux 5.7). With CLONE_PARENT
/// in `flags` the exit signal is that of the caller, else it is SIGCHLD.
pub fn clone3(flags: u64, cgroup: Option<&OwnedFd>) -> io::Result<Forked> {
    let mut pidfd: i32 = -1;
    let parent = flags & libc::CLONE_PARENT as u64 != 0;
    let mut args = linux_raw_sys::general::clone_args {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: (&raw mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: if parent { 0 } else { libc::SIGCHLD as u64 },
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    if let Some(fd) = cgroup {
        args.flags |= linux_raw_sys::general::CLONE_INTO_CGROUP;
        args.cgroup = fd.as_raw_fd() as u64;
    }
    // SAFETY: the process has one thread, so the child's copy of memory is consistent; the
    // argument block and the pidfd slot live until the call returns; no stack is given.
    let pid = unsafe { check(libc::syscall(libc::SYS_clone3, &raw mut args, size_of_val(&args)))? };
    if pid == 0 {
        return Ok(Forked::Child);
    }
    // SAFETY: the kernel stored a new descriptor, owned by nobody else, in `pidfd`.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Forked::Parent { pid: pid as i32, pidfd })
}

/// setns(2): enters the namespaces of `fd`, a namespace file or a pidfd, that `flags` names.
pub fn setns(fd: impl AsFd, flags: u64) -> io::Result<()> {
    // SAFETY: plain integers; the process has one thread.
    unsafe { check(libc::setns(fd.as_fd().as_raw_fd(), flags as i32).into())? };
    Ok(())
}

/// unshare(2).
pub fn unshare(flags: u64) -> io::Result<()> {
    // SAFETY: plain integers; the process has one thread and shares nothing that Rust relies on.
    unsafe { check(libc::unshare(flags as i32).into())? };
    Ok(())
}

/// ioctl_ns(2) NS_GET_NSTYPE: the CLONE_NEW… flag of a namespace file.
pub fn namespace_type(fd: impl AsFd) -> io::Result<u64> {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: the request takes no argument and returns an integer.
    let kind = unsafe { check(libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_NSTYPE).into())? };
    Ok(kind as u64)
}

/// Where the kernel writes the id of a process that a child of this one clones (CLONE_PARENT_SETTID): memory
/// shared with that child, so that this one knows of the process whatever becomes of the child.
#[derive(Debug)]
pub struct ToldPid(*mut i32);

/// Memory for one id, to be made before the child is.
pub fn told_pid() -> io::Result<ToldPid> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh mapping, which stays as long as the process.
    let place = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<i32>(), protection, flags, -1, 0) };
    if place == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(ToldPid(place.cast())) }
}

impl ToldPid {
    /// Its address, the same in the child.
    pub fn address(&self) -> u64 {
        self.0 as u64
    }

    /// The id; none as long as there is no process.
    pub fn get(&self) -> Option<i32> {
        // SAFETY: the mapping is there for good, and the kernel writes the number as a whole.
        Some(unsafe { self.0.read_volatile() }).filter(|pid| *pid > 0)
    }
}
