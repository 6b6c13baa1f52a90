//! Signals as the kernel counts them, 1 to 64 with none reserved: masks, dispositions, signalfd,
//! and sending by pidfd. The host side blocks all signals before it makes a process and reads them
//! from a signalfd; init and hooks reset everything before they execute a program.
#![allow(unsafe_code)]

use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The highest signal number of Linux (signal(7)).
pub const LAST: i32 = 64;

/// A set of signals: bit n-1 stands for signal n, as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set(pub u64);

impl Set {
    /// No signal.
    pub const NONE: Set = Set(0);
    /// Every signal. SIGKILL and SIGSTOP are left out by the kernel itself.
    pub const ALL: Set = Set(u64::MAX);
}

/// `struct sigaction` of the kernel. The restorer is part of it on x86_64 and aarch64.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Action {
    handler: usize,
    flags: usize,
    restorer: usize,
    mask: u64,
}

/// Replaces the signal mask and returns the one before.
pub fn set_mask(new: Set) -> Result<Set, Errno> {
    let mut old = 0u64;
    // SAFETY: both pointers are to 8 byte sets that live during the call, as the size says.
    let result = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const new.0, &raw mut old, 8usize)
    };
    check(result)?;
    Ok(Set(old))
}

/// Blocks every signal and returns the mask before; done before a process is made, so that none
/// is lost or handled in between.
pub fn block_all() -> Result<Set, Errno> {
    set_mask(Set::ALL)
}

/// Blocks these signals as well, and returns the mask before.
pub fn block(signals: Set) -> Result<Set, Errno> {
    let mut old = 0u64;
    // SAFETY: both pointers are to 8 byte sets that live during the call, as the size says.
    let result = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const signals.0, &raw mut old, 8usize)
    };
    check(result)?;
    Ok(Set(old))
}

/// Whether a signal is ignored.
pub fn is_ignored(signal: i32) -> Result<bool, Errno> {
    let mut now = Action::default();
    let none = std::ptr::null::<Action>();
    // SAFETY: nothing is set, and the answer is a kernel sigaction that lives during the call.
    let result = unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, none, &raw mut now, 8usize) };
    check(result)?;
    Ok(now.handler == libc::SIG_IGN)
}

/// Makes the process as a program expects it after execve: every disposition the default one,
/// nothing blocked, no signal at the parent's death. Allocates nothing: fit for after a clone.
pub fn reset_for_exec() -> Result<(), Errno> {
    default_dispositions()?;
    set_mask(Set::NONE)?;
    Ok(())
}

/// The same without the mask.
pub fn default_dispositions() -> Result<(), Errno> {
    for signal in 1..=LAST {
        if signal != libc::SIGKILL && signal != libc::SIGSTOP {
            set_default(signal)?;
        }
    }
    rustix::process::set_parent_process_death_signal(None)
}

/// Gives a signal its default disposition.
pub fn set_default(signal: i32) -> Result<(), Errno> {
    replace_action(signal, &Action::default()).map(|_| ())
}

/// Ignores a signal.
pub fn ignore(signal: i32) -> Result<(), Errno> {
    let ignore = Action { handler: libc::SIG_IGN, ..Action::default() };
    replace_action(signal, &ignore).map(|_| ())
}

/// SIGPIPE is ignored while this lives, so that writing to a closed pipe is only EPIPE.
pub struct PipeIgnored {
    before: Action,
}

impl PipeIgnored {
    /// Starts ignoring SIGPIPE.
    pub fn new() -> Result<PipeIgnored, Errno> {
        let ignore = Action { handler: libc::SIG_IGN, ..Action::default() };
        Ok(PipeIgnored { before: replace_action(libc::SIGPIPE, &ignore)? })
    }
}

impl Drop for PipeIgnored {
    fn drop(&mut self) {
        // The disposition was valid a moment ago; there is no way for this to fail.
        let _ = replace_action(libc::SIGPIPE, &self.before);
    }
}

fn replace_action(signal: i32, new: &Action) -> Result<Action, Errno> {
    let mut old = Action::default();
    // SAFETY: both point to a kernel sigaction that lives during the call. Only SIG_DFL, SIG_IGN or
    // what the kernel itself returned is ever installed.
    let result = unsafe {
        libc::syscall(libc::SYS_rt_sigaction, signal, std::ptr::from_ref(new), &raw mut old, 8usize)
    };
    check(result)?;
    Ok(old)
}

/// A nonblocking descriptor that yields the blocked signals of a set.
pub fn descriptor(signals: Set) -> Result<OwnedFd, Errno> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the set is 8 bytes, as the size says, and lives during the call.
    let result = unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const signals.0, 8usize, flags) };
    let fd = check(result)?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The next signal of a `descriptor`; none when none is waiting.
pub fn next(descriptor: &OwnedFd) -> Result<Option<i32>, Errno> {
    let mut info = [0u8; 128]; // struct signalfd_siginfo; the number comes first
    match rustix::io::read(descriptor, &mut info) {
        Ok(_) => Ok(Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Sends a signal, also 0 and the real-time ones, to the process of a pidfd.
pub fn send(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    let null = std::ptr::null::<u8>();
    // SAFETY: no siginfo is passed; the kernel reads no memory of ours.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_fd().as_raw_fd(), signal, null, 0) };
    check(result).map(|_| ())
}

/// The signal in words ("killed", "bad system call"), as shells print it.
pub fn words(signal: i32) -> String {
    const WORDS: [&str; 31] = [
        "hangup",
        "interrupt",
        "quit",
        "illegal instruction",
        "trace/breakpoint trap",
        "aborted",
        "bus error",
        "floating point exception",
        "killed",
        "user defined signal 1",
        "segmentation fault",
        "user defined signal 2",
        "broken pipe",
        "alarm clock",
        "terminated",
        "stack fault",
        "child exited",
        "continued",
        "stopped (signal)",
        "stopped",
        "stopped (tty input)",
        "stopped (tty output)",
        "urgent I/O condition",
        "CPU time limit exceeded",
        "file size limit exceeded",
        "virtual timer expired",
        "profiling timer expired",
        "window changed",
        "I/O possible",
        "power failure",
        "bad system call",
    ];
    match usize::try_from(signal - 1).ok().and_then(|index| WORDS.get(index)) {
        Some(words) => (*words).to_string(),
        None => format!("signal {signal}"),
    }
}

fn check(result: libc::c_long) -> Result<i32, Errno> {
    match result {
        // SAFETY: the location is this thread's own.
        -1 => Err(Errno::from_raw_os_error(unsafe { *libc::__errno_location() })),
        value => Ok(value as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{PidfdFlags, getpid, pidfd_open};

    #[test]
    fn blocked_signals_arrive_by_descriptor() {
        let before = block_all().unwrap();
        let signals = descriptor(Set::ALL).unwrap();
        assert_eq!(next(&signals).unwrap(), None);
        // Only this thread has them blocked, so they are sent to the thread, and include one that
        // the C library keeps for itself.
        for signal in [libc::SIGUSR1, 33, LAST] {
            // SAFETY: tgkill on our own thread with a blocked signal.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), signal) };
            assert_eq!(next(&signals).unwrap(), Some(signal));
        }
        assert_eq!(set_mask(before).unwrap().0 & (1 << 9), 1 << 9);
    }

    #[test]
    fn sending_reports_what_the_kernel_says() {
        let me = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        assert_eq!(send(me.as_fd(), 0), Ok(()));
        assert_eq!(send(me.as_fd(), 65), Err(Errno::INVAL));
    }

    #[test]
    fn words_of_signals() {
        assert_eq!(words(libc::SIGHUP), "hangup");
        assert_eq!(words(libc::SIGSYS), "bad system call");
        assert_eq!(words(40), "signal 40");
    }
}
