//! What a process can do to itself and to others that rustix has no safe call for: execve, prctl,
//! capset, close_range, signals by pidfd, limits, scheduling, keyrings, seccomp, personality.
//! Called by `init` and by the host side.

use super::check;
use crate::sort::sort;
use std::ffi::CStr;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// _exit(2): ends the process without running any destructor or exit handler.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: takes an integer and does not return.
    unsafe { libc::_exit(status) }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// execve(2); returns only on failure.
pub fn execve(path: &CStr, args: &[CString], env: &[CString]) -> rustix::io::Errno {
    let (argv, envp) = (pointers(args), pointers(env));
    // SAFETY: all strings are C strings that live until the call; both arrays end with null.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    // SAFETY: the call failed and set errno, which this reads.
    rustix::io::Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// realpath(3): the path without links and dots, into a buffer of PATH_MAX bytes, so that the C library
/// needs no memory of its own.
pub fn real_path(path: &CStr) -> io::Result<CString> {
    let mut buffer = [0 as libc::c_char; libc::PATH_MAX as usize];
    // SAFETY: `path` is a C string, and the buffer is as long as realpath(3) asks for.
    if unsafe { libc::realpath(path.as_ptr(), buffer.as_mut_ptr()) }.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call wrote a C string into the buffer.
    Ok(unsafe { CStr::from_ptr(buffer.as_ptr()) }.to_owned())
}

/// close_range(2) with CLOSE_RANGE_CLOEXEC (Linux 5.11): marks all descriptors from `first` up.
pub fn cloexec_from(first: u32) -> io::Result<()> {
    // SAFETY: only sets the close-on-exec flag; nothing is closed here.
    unsafe { check(libc::syscall(libc::SYS_close_range, first, u32::MAX, 4u32))? };
    Ok(())
}

/// Closes all descriptors from 3 up but those in `keep` (close_range(2), Linux 5.9), whoever owns
/// them: for a process that ends in execve or _exit and runs no destructor.
pub fn close_all_but(keep: &mut Vec<u32>) -> io::Result<()> {
    keep.retain(|fd| *fd > 2);
    sort(keep);
    let mut first = 3;
    for fd in keep.iter().copied().chain([u32::MAX]) {
        if fd > first {
            let last = if fd == u32::MAX { fd } else { fd - 1 };
            // SAFETY: the owners of the closed descriptors never use or drop them, see above.
            unsafe { check(libc::syscall(libc::SYS_close_range, first, last, 0u32))? };
        }
        first = fd.saturating_add(1);
    }
    Ok(())
}

/// pidfd_send_signal(2); 0 checks that the process is there. Takes real-time signals too.
pub fn pidfd_send_signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    // SAFETY: plain integers and a null siginfo, which the call allows.
    unsafe {
        check(libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0u32,
        ))?
    };
    Ok(())
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With a status.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

/// waitid(2) on a child by its pidfd, until it has ended.
pub fn wait_pidfd(pidfd: impl AsFd) -> io::Result<Exit> {
    loop {
        // SAFETY: siginfo_t is plain data for which all zeroes is a valid value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let fd = pidfd.as_fd().as_raw_fd() as libc::id_t;
        // SAFETY: `info` is writable and outlives the call.
        let result = unsafe {
            check(libc::waitid(libc::P_PIDFD, fd, &raw mut info, libc::WEXITED | libc::__WALL).into())
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        // SAFETY: waitid succeeded for a child, so the fields of SIGCHLD are filled.
        let status = unsafe { info.si_status() };
        return Ok(if info.si_code == libc::CLD_EXITED { Exit::Code(status) } else { Exit::Signal(status) });
    }
}

/// prctl(2) with one integer argument.
pub fn prctl(option: i32, value: u64) -> io::Result<i32> {
    // SAFETY: callers pass options whose argument is an integer.
    let result = unsafe { check(libc::prctl(option, value, 0u64, 0u64, 0u64).into())? };
    Ok(result as i32)
}

/// prctl(PR_CAP_AMBIENT, …).
pub fn ambient(operation: i32, capability: u32) -> io::Result<()> {
    // SAFETY: plain integers.
    unsafe {
        check(libc::prctl(libc::PR_CAP_AMBIENT, operation as u64, u64::from(capability), 0u64, 0u64).into())?
    };
    Ok(())
}

/// capset(2) version 3 for the calling thread: effective, permitted, inheritable bits.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    let half = |shift: u32| Data {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: header and data have the layout of version 3 and outlive the call.
    unsafe { check(libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()))? };
    Ok(())
}

/// prlimit(2) on `pid` (0: the caller): sets soft and hard.
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` outlives the call; the old value is not asked for.
    unsafe { check(libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const limit, 0usize))? };
    Ok(())
}

/// The caller's own soft and hard limit.
pub fn get_rlimit(resource: u32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable and outlives the call.
    unsafe { check(libc::syscall(libc::SYS_prlimit64, 0, resource, 0usize, &raw mut limit))? };
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// sched_setattr(2) for the caller.
pub fn sched_setattr(attr: &crate::bundle::plan::Scheduler) -> io::Result<()> {
    let raw = sched_attr_bytes(attr);
    // SAFETY: the block has the kernel's first layout and outlives the call.
    unsafe { check(libc::syscall(libc::SYS_sched_setattr, 0, raw.as_ptr(), 0u32))? };
    Ok(())
}

/// `struct sched_attr` in its first layout: size, policy, flags, nice, priority, runtime, deadline, period.
pub fn sched_attr_bytes(attr: &crate::bundle::plan::Scheduler) -> [u8; 48] {
    let pair = |low: u32, high: u32| u64::from_ne_bytes(both(low, high));
    let words = [
        pair(48, attr.policy),
        attr.flags,
        pair(attr.nice as u32, attr.priority),
        attr.runtime,
        attr.deadline,
        attr.period,
    ];
    let mut bytes = [0; 48];
    for (slot, word) in bytes.chunks_exact_mut(8).zip(words) {
        slot.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

/// Two numbers as they follow each other in memory.
fn both(low: u32, high: u32) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (low.to_ne_bytes(), high.to_ne_bytes());
    [a, b, c, d, e, f, g, h]
}

/// ioprio_set(2) for the caller.
pub fn set_io_priority(value: u16) -> io::Result<()> {
    // SAFETY: plain integers; 1 is IOPRIO_WHO_PROCESS.
    unsafe { check(libc::syscall(libc::SYS_ioprio_set, 1, 0, i32::from(value)))? };
    Ok(())
}

/// personality(2).
pub fn personality(value: u64) -> io::Result<()> {
    // SAFETY: a plain integer.
    unsafe { check(libc::syscall(libc::SYS_personality, value))? };
    Ok(())
}

/// set_mempolicy(2): mode with flags, and a set of NUMA nodes.
pub fn set_mempolicy(mode: u32, nodes: &[u32]) -> io::Result<()> {
    let highest = nodes.iter().max().copied().unwrap_or(0) as usize;
    let mut mask = vec![0u64; highest / 64 + 1];
    for node in nodes {
        if let Some(word) = mask.get_mut(*node as usize / 64) {
            *word |= 1 << (node % 64);
        }
    }
    let (pointer, bits) =
        if nodes.is_empty() { (std::ptr::null(), 0) } else { (mask.as_ptr(), mask.len() * 64 + 1) };
    // SAFETY: the mask is as long as the bits given (the kernel reads one less) or null with 0.
    unsafe { check(libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits))? };
    Ok(())
}

/// keyctl(KEYCTL_JOIN_SESSION_KEYRING): a new session keyring of that name.
pub fn join_session_keyring(name: &CStr) -> io::Result<()> {
    // SAFETY: `name` is a C string.
    unsafe { check(libc::syscall(libc::SYS_keyctl, 1, name.as_ptr()))? };
    Ok(())
}

/// seccomp(SECCOMP_SET_MODE_FILTER): loads a program; with SECCOMP_FILTER_FLAG_NEW_LISTENER in
/// `flags` the answer is the listener's descriptor.
pub fn seccomp(program: &[crate::seccomp::Instruction], flags: u64) -> io::Result<()> {
    set_filter(program, flags).map(drop)
}

/// The same with SECCOMP_FILTER_FLAG_NEW_LISTENER: the listener.
pub fn seccomp_listener(program: &[crate::seccomp::Instruction], flags: u64) -> io::Result<OwnedFd> {
    let fd = set_filter(program, flags | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
    // SAFETY: with the listener flag the kernel returned a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn set_filter(program: &[crate::seccomp::Instruction], flags: u64) -> io::Result<i64> {
    #[repr(C)]
    struct Program {
        length: u16,
        filter: *const crate::seccomp::Instruction,
    }
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let raw = Program { length, filter: program.as_ptr() };
    // SAFETY: the instructions have the layout of sock_filter and outlive the call.
    unsafe { check(libc::syscall(libc::SYS_seccomp, 1, flags, &raw const raw)) }
}

/// Whether the kernel knows a flag of SECCOMP_SET_MODE_FILTER: it looks at the flags first, and then
/// finds no program (EFAULT).
pub fn seccomp_has_flag(flag: u64) -> bool {
    // WAIT_KILLABLE_RECV is only taken together with a listener.
    let flags = flag | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let none = std::ptr::null::<u8>();
    // SAFETY: without a program the kernel loads nothing.
    unsafe { libc::syscall(libc::SYS_seccomp, 1, flags, none) };
    io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

/// SIOCSIFFLAGS: brings the loopback interface of the current network namespace up.
pub fn loopback_up(socket: impl AsFd) -> io::Result<()> {
    // SAFETY: ifreq is plain data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *slot = *byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: the request outlives the call and is of the type that SIOCSIFFLAGS takes.
    unsafe {
        let flags = libc::SIOCSIFFLAGS as libc::Ioctl;
        check(libc::ioctl(socket.as_fd().as_raw_fd(), flags, &raw const request).into())?
    };
    Ok(())
}

/// setdomainname(2).
pub fn setdomainname(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length describe the string.
    unsafe { check(libc::setdomainname(name.as_ptr().cast(), name.len()).into())? };
    Ok(())
}

/// sethostname(2).
pub fn sethostname(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length describe the string.
    unsafe { check(libc::sethostname(name.as_ptr().cast(), name.len()).into())? };
    Ok(())
}

/// Whether a descriptor is open and stays so on exec, as those that the caller handed over do.
pub fn is_inherited(fd: i32) -> bool {
    // SAFETY: plain integers; nothing is changed.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC == 0
}
