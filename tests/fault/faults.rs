//! Which error a system call fails with, what it is about, and which failures are harmless: the
//! operation may then succeed, for the reason given.

use libc::*;

/// The result that replaces that of a call.
#[derive(Debug, Clone, Copy)]
pub struct Injection {
    pub result: i64,
    pub errno: i32,
    /// The call is made all the same; only its result is another.
    pub perform: bool,
}

/// Where in the arguments it says what the call is about.
#[derive(Debug, Clone, Copy)]
pub enum Object {
    /// A path.
    Path(usize),
    /// A path below the directory in the argument before it.
    PathAt(usize),
    /// A descriptor.
    File(usize),
    /// A number (prctl).
    Number(usize),
    /// A descriptor, and what to do with it (fcntl).
    Command,
    Nothing,
}
use Object::*;

/// A system call: number, name, object, and errors that it may have on a host in trouble. No errors:
/// the call cannot fail but by its arguments.
type Row = (c_long, &'static str, Object, &'static [c_int]);

const MEMORY: &[c_int] = &[ENOMEM];
const OPEN: &[c_int] = &[EMFILE, EACCES, ENFILE, ENOMEM];
const MOUNT: &[c_int] = &[ENOMEM, EPERM, ENOSPC];
const NEVER: &[c_int] = &[];

const ROWS: &[Row] = &[
    (SYS_access, "access", Path(0), &[EACCES, EIO]),
    (SYS_stat, "stat", Path(0), &[EIO, EACCES]),
    (SYS_lstat, "lstat", Path(0), &[EIO, EACCES]),
    (SYS_pipe, "pipe", Nothing, &[EMFILE, ENFILE]),
    (SYS_fork, "fork", Nothing, &[EAGAIN, ENOMEM]),
    (SYS_vfork, "vfork", Nothing, &[EAGAIN, ENOMEM]),
    (SYS_accept4, "accept4", File(0), &[EMFILE, ENOMEM]),
    (SYS_arch_prctl, "arch_prctl", Nothing, NEVER),
    (SYS_bind, "bind", Nothing, &[ENOSPC, ENOMEM]),
    (SYS_bpf, "bpf", Nothing, &[EPERM, ENOMEM]),
    (SYS_brk, "brk", Nothing, MEMORY),
    (SYS_capget, "capget", Nothing, &[EPERM]),
    (SYS_capset, "capset", Nothing, &[EPERM]),
    (SYS_chdir, "chdir", Path(0), &[EACCES, EIO]),
    (SYS_chmod, "chmod", Path(0), &[EROFS, EIO]),
    (SYS_chroot, "chroot", Path(0), &[EPERM, EIO]),
    (SYS_clock_nanosleep, "clock_nanosleep", Nothing, &[EINTR]),
    (SYS_clone, "clone", Nothing, &[EAGAIN, ENOMEM]),
    (SYS_clone3, "clone3", Nothing, &[EAGAIN, ENOMEM]),
    (SYS_close, "close", File(0), &[EIO, EINTR]),
    (SYS_close_range, "close_range", Nothing, &[ENOMEM, EMFILE]),
    (SYS_connect, "connect", Nothing, &[EACCES, EAGAIN]),
    (SYS_dup3, "dup3", File(0), &[EMFILE]),
    (SYS_dup, "dup", File(0), &[EMFILE]),
    (SYS_dup2, "dup2", File(0), &[EMFILE]),
    (SYS_epoll_create1, "epoll_create1", Nothing, &[EMFILE, ENOMEM]),
    (SYS_epoll_ctl, "epoll_ctl", File(0), &[ENOMEM, ENOSPC]),
    (SYS_epoll_wait, "epoll_wait", File(0), &[EINTR]),
    (SYS_eventfd2, "eventfd2", Nothing, &[EMFILE]),
    (SYS_execve, "execve", Path(0), &[ENOMEM, EACCES, EIO]),
    (SYS_exit, "exit", Nothing, NEVER),
    (SYS_exit_group, "exit_group", Nothing, NEVER),
    (SYS_faccessat2, "faccessat2", PathAt(1), &[EACCES, EIO]),
    (SYS_faccessat, "faccessat", PathAt(1), &[EACCES, EIO]),
    (SYS_fchdir, "fchdir", File(0), &[EACCES, EIO]),
    (SYS_fchmod, "fchmod", File(0), &[EPERM, EIO]),
    (SYS_fchmodat, "fchmodat", PathAt(1), &[EPERM, EIO]),
    (SYS_fchmodat2, "fchmodat2", PathAt(1), &[EPERM, EIO]),
    (SYS_fchown, "fchown", File(0), &[EPERM, EIO]),
    (SYS_fchownat, "fchownat", PathAt(1), &[EPERM, EIO]),
    (SYS_fcntl, "fcntl", Command, &[EMFILE, ENOMEM]),
    (SYS_flock, "flock", File(0), &[ENOLCK, EINTR]),
    (SYS_fsconfig, "fsconfig", Path(2), MOUNT),
    (SYS_fsmount, "fsmount", Nothing, MOUNT),
    (SYS_fsopen, "fsopen", Nothing, MOUNT),
    (SYS_fspick, "fspick", PathAt(1), MOUNT),
    (SYS_fstat, "fstat", File(0), &[EIO, ENOMEM]),
    (SYS_fstatfs, "fstatfs", File(0), &[EIO, ENOMEM]),
    (SYS_ftruncate, "ftruncate", File(0), &[EIO]),
    (SYS_futex, "futex", Nothing, NEVER),
    (SYS_getcwd, "getcwd", Nothing, MEMORY),
    (SYS_getdents64, "getdents64", File(0), &[EIO, ENOMEM]),
    (SYS_getegid, "getegid", Nothing, NEVER),
    (SYS_geteuid, "geteuid", Nothing, NEVER),
    (SYS_getgid, "getgid", Nothing, NEVER),
    (SYS_getgroups, "getgroups", Nothing, NEVER),
    (SYS_getpgid, "getpgid", Nothing, NEVER),
    (SYS_getpid, "getpid", Nothing, NEVER),
    (SYS_getppid, "getppid", Nothing, NEVER),
    (SYS_getrandom, "getrandom", Nothing, &[EAGAIN]),
    (SYS_gettid, "gettid", Nothing, NEVER),
    (SYS_getuid, "getuid", Nothing, NEVER),
    (SYS_getxattr, "getxattr", Path(0), &[EIO]),
    (SYS_fgetxattr, "fgetxattr", File(0), &[EIO]),
    (SYS_ioctl, "ioctl", File(0), &[EIO, ENOMEM]),
    (SYS_ioprio_set, "ioprio_set", Nothing, &[EPERM]),
    (SYS_keyctl, "keyctl", Nothing, &[EDQUOT, ENOMEM]),
    (SYS_kill, "kill", Nothing, &[EPERM]),
    (SYS_linkat, "linkat", PathAt(1), &[ENOSPC, EIO]),
    (SYS_listen, "listen", File(0), MEMORY),
    (SYS_lseek, "lseek", File(0), &[EIO]),
    (SYS_madvise, "madvise", Nothing, MEMORY),
    (SYS_memfd_create, "memfd_create", Nothing, &[EMFILE, ENOMEM]),
    (SYS_mkdir, "mkdir", Path(0), &[ENOSPC, EROFS, EACCES]),
    (SYS_mkdirat, "mkdirat", PathAt(1), &[ENOSPC, EROFS, EACCES]),
    (SYS_mknodat, "mknodat", PathAt(1), &[ENOSPC, EPERM]),
    (SYS_mmap, "mmap", Nothing, MEMORY),
    (SYS_mount, "mount", Path(1), MOUNT),
    (SYS_mount_setattr, "mount_setattr", PathAt(1), MOUNT),
    (SYS_move_mount, "move_mount", PathAt(3), MOUNT),
    (SYS_mprotect, "mprotect", Nothing, MEMORY),
    (SYS_mremap, "mremap", Nothing, MEMORY),
    (SYS_munmap, "munmap", Nothing, MEMORY),
    (SYS_newfstatat, "newfstatat", PathAt(1), &[EIO, EACCES]),
    (SYS_open, "open", Path(0), OPEN),
    (SYS_open_tree, "open_tree", PathAt(1), &[EMFILE, ENOMEM, EPERM]),
    (SYS_openat, "openat", PathAt(1), OPEN),
    (SYS_openat2, "openat2", PathAt(1), OPEN),
    (SYS_personality, "personality", Nothing, &[EPERM]),
    (SYS_pidfd_getfd, "pidfd_getfd", Nothing, &[EMFILE, EPERM]),
    (SYS_pidfd_open, "pidfd_open", Nothing, &[EMFILE, ENOMEM]),
    (SYS_pidfd_send_signal, "pidfd_send_signal", Nothing, &[EPERM]),
    (SYS_pipe2, "pipe2", Nothing, &[EMFILE, ENFILE]),
    (SYS_pivot_root, "pivot_root", Nothing, &[EPERM, EBUSY]),
    (SYS_poll, "poll", Nothing, &[ENOMEM, EINTR]),
    (SYS_ppoll, "ppoll", Nothing, &[ENOMEM, EINTR]),
    (SYS_prctl, "prctl", Number(0), &[EPERM, ENOMEM]),
    (SYS_pread64, "pread64", File(0), &[EIO]),
    (SYS_prlimit64, "prlimit64", Nothing, &[EPERM]),
    (SYS_pwrite64, "pwrite64", File(0), &[EIO, ENOSPC]),
    (SYS_read, "read", File(0), &[EIO, ENOMEM]),
    (SYS_readlink, "readlink", Path(0), &[EIO, EACCES]),
    (SYS_readlinkat, "readlinkat", PathAt(1), &[EIO, EACCES]),
    (SYS_recvfrom, "recvfrom", File(0), &[ENOMEM, EINTR]),
    (SYS_recvmsg, "recvmsg", File(0), &[ENOMEM, EINTR]),
    (SYS_rename, "rename", Path(0), &[ENOSPC, EIO]),
    (SYS_renameat, "renameat", PathAt(3), &[ENOSPC, EIO]),
    (SYS_renameat2, "renameat2", PathAt(3), &[ENOSPC, EIO]),
    (SYS_rmdir, "rmdir", Path(0), &[EBUSY, EIO]),
    (SYS_rseq, "rseq", Nothing, &[EINVAL]),
    (SYS_rt_sigaction, "rt_sigaction", Nothing, &[EINVAL]),
    (SYS_rt_sigprocmask, "rt_sigprocmask", Nothing, &[EINVAL]),
    (SYS_rt_sigreturn, "rt_sigreturn", Nothing, NEVER),
    (SYS_rt_sigtimedwait, "rt_sigtimedwait", Nothing, &[EINTR]),
    (SYS_sched_getaffinity, "sched_getaffinity", Nothing, &[EINVAL]),
    (SYS_sched_setaffinity, "sched_setaffinity", Nothing, &[EINVAL, EPERM]),
    (SYS_sched_setattr, "sched_setattr", Nothing, &[EPERM]),
    (SYS_sched_yield, "sched_yield", Nothing, NEVER),
    (SYS_seccomp, "seccomp", Number(0), &[ENOMEM, EINVAL]),
    (SYS_sendfile, "sendfile", File(0), &[EIO, ENOSPC]),
    (SYS_sendmsg, "sendmsg", File(0), &[ENOBUFS, EPIPE, EINTR]),
    (SYS_sendto, "sendto", File(0), &[ENOBUFS, EPIPE, EINTR]),
    (SYS_set_mempolicy, "set_mempolicy", Nothing, &[ENOMEM]),
    (SYS_set_robust_list, "set_robust_list", Nothing, &[EINVAL]),
    (SYS_set_tid_address, "set_tid_address", Nothing, NEVER),
    (SYS_setdomainname, "setdomainname", Nothing, &[EPERM]),
    (SYS_setgroups, "setgroups", Nothing, &[EPERM, ENOMEM]),
    (SYS_sethostname, "sethostname", Nothing, &[EPERM]),
    (SYS_setns, "setns", File(0), &[EPERM, ENOMEM]),
    (SYS_setpgid, "setpgid", Nothing, &[EPERM]),
    (SYS_setresgid, "setresgid", Nothing, &[EAGAIN, EPERM]),
    (SYS_setresuid, "setresuid", Nothing, &[EAGAIN, EPERM]),
    (SYS_setsid, "setsid", Nothing, &[EPERM]),
    (SYS_setsockopt, "setsockopt", File(0), &[ENOMEM]),
    (SYS_getsockopt, "getsockopt", File(0), &[ENOMEM]),
    (SYS_getsockname, "getsockname", File(0), &[ENOBUFS]),
    (SYS_setxattr, "setxattr", Path(0), &[ENOSPC]),
    (SYS_shutdown, "shutdown", File(0), &[ENOBUFS]),
    (SYS_sigaltstack, "sigaltstack", Nothing, MEMORY),
    (SYS_signalfd4, "signalfd4", Nothing, &[EMFILE, ENOMEM]),
    (SYS_socket, "socket", Nothing, &[EMFILE, ENOBUFS]),
    (SYS_socketpair, "socketpair", Nothing, &[EMFILE, ENFILE]),
    (SYS_statfs, "statfs", Path(0), &[EIO, EACCES]),
    (SYS_statx, "statx", PathAt(1), &[EIO, EACCES]),
    (SYS_symlinkat, "symlinkat", PathAt(2), &[ENOSPC, EIO]),
    (SYS_timerfd_create, "timerfd_create", Nothing, &[EMFILE]),
    (SYS_timerfd_settime, "timerfd_settime", File(0), &[ENOMEM]),
    (SYS_umask, "umask", Nothing, NEVER),
    (SYS_umount2, "umount2", Path(0), &[EBUSY, ENOMEM]),
    (SYS_uname, "uname", Nothing, NEVER),
    (SYS_unlink, "unlink", Path(0), &[EIO, EROFS]),
    (SYS_unlinkat, "unlinkat", PathAt(1), &[EIO, EROFS]),
    (SYS_unshare, "unshare", Number(0), &[ENOMEM, ENOSPC, EPERM]),
    (SYS_utimensat, "utimensat", PathAt(1), &[EIO]),
    (SYS_wait4, "wait4", Nothing, &[EINTR]),
    (SYS_waitid, "waitid", Nothing, &[EINTR, ECHILD]),
    (SYS_write, "write", File(0), &[ENOSPC, EIO]),
    (SYS_writev, "writev", File(0), &[ENOSPC, EIO]),
];

fn row(number: i64) -> &'static Row {
    ROWS.iter()
        .find(|row| row.0 == number)
        .unwrap_or_else(|| panic!("system call {number}: give it a row in tests/fault/faults.rs"))
}

/// The name of a call.
pub fn name(number: i64) -> &'static str {
    row(number).1
}

/// Where it says what it is about.
pub fn object_of(number: i64) -> Object {
    row(number).2
}

/// Whether it can fail at all. F_GETFD, with which debug builds look at descriptors, cannot.
pub fn can_fail(call: &crate::tracer::Call) -> bool {
    let looks = call.number == SYS_fcntl && call.object.ends_with(" 0x1");
    !row(call.number).3.is_empty() && !looks
}

/// How the call number `count` of a process fails; calls of one kind take turns with their errors.
pub fn injection(number: i64, count: usize) -> Option<Injection> {
    let errors = row(number).3;
    let errno = *errors.get(count % errors.len().max(1))?;
    // brk(2) has no errno: it answers with the break as it is, which is then too low.
    let result = if number == SYS_brk { 0 } else { -i64::from(errno) };
    // close(2) gives the descriptor back whatever it says.
    Some(Injection { result, errno, perform: number == SYS_close })
}
