//! The few ptrace(2) requests that the tracer needs, for one architecture, as functions that cannot be
//! used wrongly but on a process that is not stopped. Only `tracer` calls them.

use std::io::{Error, Result};

/// What a stopped process is about to do or has done (PTRACE_GET_SYSCALL_INFO).
#[derive(Debug, Clone, Copy)]
pub enum Syscall {
    /// Entering one.
    Entry { number: i64, arguments: [u64; 6] },
    /// Leaving one.
    Exit,
    /// Neither.
    None,
}

/// Why waitpid(2) returned.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    /// The process ended: exit status, or 128 + signal.
    Ended(i32),
    /// It stands before or behind a system call.
    Syscall,
    /// It made another process.
    Cloned,
    /// It executes another program from now on.
    Executed,
    /// It was stopped by the tracer, or has just been made.
    Stopped,
    /// A signal is about to be delivered.
    Signal(i32),
}

const OPTIONS: i32 = libc::PTRACE_O_EXITKILL
    | libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACEEXEC;

/// Offsets in `struct user` of x86-64: the number of the call, and its result.
const ORIG_RAX: u64 = 15 * 8;
const RAX: u64 = 10 * 8;

fn request(request: libc::c_uint, pid: i32, address: u64, data: u64) -> Result<i64> {
    // SAFETY: the callers pass integers, or the address of something that lives during the call.
    let result = unsafe { libc::ptrace(request, pid, address, data) };
    if result == -1 { Err(Error::last_os_error()) } else { Ok(result) }
}

/// Begins to trace a process and all that it will make; it does not stop.
pub fn seize(pid: i32) -> Result<()> {
    request(libc::PTRACE_SEIZE, pid, 0, OPTIONS as u64).map(drop)
}

/// Stops a process, wherever it is.
pub fn interrupt(pid: i32) -> Result<()> {
    request(libc::PTRACE_INTERRUPT, pid, 0, 0).map(drop)
}

/// Lets a process go on; with `to_syscall` to the next end of a system call.
pub fn resume(pid: i32, to_syscall: bool, signal: i32) -> Result<()> {
    let how = if to_syscall { libc::PTRACE_SYSCALL } else { libc::PTRACE_CONT };
    request(how, pid, 0, signal as u64).map(drop)
}

/// Leaves a stopped process alone.
pub fn detach(pid: i32) -> Result<()> {
    request(libc::PTRACE_DETACH, pid, 0, 0).map(drop)
}

/// The process that a clone has made.
pub fn cloned(pid: i32) -> Result<i32> {
    let mut message = 0u64;
    request(libc::PTRACE_GETEVENTMSG, pid, 0, (&raw mut message) as u64)?;
    Ok(message as i32)
}

/// Where a process stands.
pub fn syscall(pid: i32) -> Result<Syscall> {
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        op: u8,
        _reserved: [u8; 3],
        _arch: u32,
        _pointers: [u64; 2],
        number: i64,
        arguments: [u64; 7],
    }
    let mut info = Info::default();
    let size = size_of::<Info>() as u64;
    request(libc::PTRACE_GET_SYSCALL_INFO, pid, size, (&raw mut info) as u64)?;
    Ok(match info.op {
        1 => {
            let mut arguments = [0; 6];
            arguments.copy_from_slice(&info.arguments[..6]);
            Syscall::Entry { number: info.number, arguments }
        }
        2 => Syscall::Exit,
        _ => Syscall::None,
    })
}

/// Before a call: it will not be made.
pub fn skip_call(pid: i32) -> Result<()> {
    request(libc::PTRACE_POKEUSER, pid, ORIG_RAX, u64::MAX).map(drop)
}

/// Behind a call: its result is this one.
pub fn set_result(pid: i32, result: i64) -> Result<()> {
    request(libc::PTRACE_POKEUSER, pid, RAX, result as u64).map(drop)
}

/// The next thing that a traced process or a child of this thread did; none, without `block`, when
/// there is nothing. Children of other threads are theirs.
pub fn wait(block: bool) -> Result<Option<(i32, Event)>> {
    let mut status = 0;
    let flags = libc::__WALL | libc::__WNOTHREAD | if block { 0 } else { libc::WNOHANG };
    // SAFETY: `status` is writable during the call.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, flags) };
    match pid {
        -1 => Err(Error::last_os_error()),
        0 => Ok(None),
        _ => Ok(Some((pid, event(status)))),
    }
}

fn event(status: i32) -> Event {
    if libc::WIFEXITED(status) {
        return Event::Ended(libc::WEXITSTATUS(status));
    }
    if libc::WIFSIGNALED(status) {
        return Event::Ended(128 + libc::WTERMSIG(status));
    }
    let signal = libc::WSTOPSIG(status);
    match status >> 16 {
        libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => Event::Cloned,
        libc::PTRACE_EVENT_EXEC => Event::Executed,
        libc::PTRACE_EVENT_STOP => Event::Stopped,
        _ if signal == libc::SIGTRAP | 0x80 => Event::Syscall,
        _ => Event::Signal(signal),
    }
}

/// A zero-terminated string of a stopped process; what can be read of it.
pub fn string_at(pid: i32, address: u64) -> String {
    let mut text = Vec::new();
    let mut at = address;
    while text.len() < 4096 {
        // Not beyond the page, which may be the last one.
        let mut part = [0u8; 256];
        let length = part.len().min(4096 - (at as usize & 4095));
        let here = libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: length };
        let there = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: length };
        // SAFETY: `part` is writable and at least that long; the other address is the other process's.
        let read = unsafe { libc::process_vm_readv(pid, &here, 1, &there, 1, 0) };
        if read <= 0 {
            break;
        }
        let part = &part[..read as usize];
        match part.iter().position(|byte| *byte == 0) {
            Some(end) => {
                text.extend_from_slice(&part[..end]);
                break;
            }
            None => text.extend_from_slice(part),
        }
        at += read as u64;
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Ends a process.
pub fn kill(pid: i32) {
    // SAFETY: plain integers.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}
