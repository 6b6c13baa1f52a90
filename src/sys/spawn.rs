//! Starting a program in a new process, the way the runtime itself needs it for hooks: cloned with a
//! pidfd, in its own process group, with given descriptors for 0 to 2 and nothing else open,
//! signals as a program expects them, executed by path. Works in the host side and in init, also
//! under a seccomp filter that knows only clone(2), not clone3.
#![allow(unsafe_code)]

use rustix::io::Errno;
use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Above this, descriptors are not looked for when the kernel or a filter refuses close_range.
const HIGHEST_FD: RawFd = 65_536;

/// A program to start.
pub struct Program<'a> {
    /// Absolute path; no PATH search.
    pub path: &'a CStr,
    /// The whole argv.
    pub args: &'a [CString],
    /// The whole environment.
    pub env: &'a [CString],
    /// Working directory; none leaves the caller's.
    pub cwd: Option<&'a CStr>,
    /// What becomes descriptor 0, 1 and 2. All must be above 2.
    pub stdio: [BorrowedFd<'a>; 3],
    /// Whether it is killed when the caller ends before it.
    pub ends_with_caller: bool,
}

/// A started program.
pub struct Child {
    /// Its process id, and the id of its process group.
    pub pid: rustix::process::Pid,
    /// It, safe from the reuse of the id; readable once it has ended.
    pub pidfd: OwnedFd,
    /// Holds a `Refusal` once the child ended without executing the program; end of file otherwise.
    refusal: OwnedFd,
}

/// Why the program was not executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What failed: "execute", "change directory", "set up".
    pub step: &'static str,
    /// Why.
    pub errno: Errno,
}

const STEPS: [&str; 3] = ["set up", "change directory", "execute"];

/// Starts a program. That it cannot be executed shows in `Child::refusal` after its end.
pub fn start(program: &Program<'_>) -> Result<Child, Errno> {
    let argv = pointers(program.args);
    let envp = pointers(program.env);
    let (refusal, report) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let mut pidfd: RawFd = -1;
    let caller = rustix::process::getpid();
    match clone_with_pidfd(&mut pidfd)? {
        0 => child(program, caller, &argv, &envp, report.as_raw_fd()),
        pid => {
            // SAFETY: the kernel just made this descriptor for us.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = rustix::process::Pid::from_raw(pid).ok_or(Errno::SRCH)?;
            // The child does the same; whoever is first makes the group exist. Too late is fine.
            let _ = rustix::process::setpgid(Some(pid), Some(pid));
            Ok(Child { pid, pidfd, refusal })
        }
    }
}

impl Child {
    /// Why the program was not executed, to be asked after the child's end.
    pub fn refusal(&self) -> Option<Refusal> {
        let mut record = [0u8; 8];
        match rustix::io::read(&self.refusal, &mut record) {
            Ok(8) => {
                let [step, errno] = [&record[..4], &record[4..]]
                    .map(|half| half.try_into().map(i32::from_ne_bytes).unwrap_or_default());
                let step = usize::try_from(step).ok().and_then(|i| STEPS.get(i)).unwrap_or(&STEPS[0]);
                Some(Refusal { step, errno: Errno::from_raw_os_error(errno) })
            }
            _ => None,
        }
    }

    /// Kills the child and its process group.
    #[expect(clippy::disallowed_methods, reason = "R22: a child that was not waited for keeps its id")]
    pub fn kill(&self) {
        // Either may be gone already, and that is what is wanted.
        let _ = rustix::process::kill_process_group(self.pid, rustix::process::Signal::KILL);
        let _ = super::signal::send(std::os::fd::AsFd::as_fd(&self.pidfd), libc::SIGKILL);
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// fork(2) that also makes a pidfd: 0 in the child, the child's id in the parent.
fn clone_with_pidfd(pidfd: &mut RawFd) -> Result<i32, Errno> {
    let flags = (libc::CLONE_PIDFD | libc::SIGCHLD) as libc::c_ulong;
    let pidfd = std::ptr::from_mut(pidfd);
    // SAFETY: without CLONE_VM and with no stack given this is fork(2): the child runs on its own
    // copy of everything. The third argument is where CLONE_PIDFD stores the descriptor; the order
    // of the two after it differs between architectures, and both are unused.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, pidfd, 0usize, 0usize) };
    match result {
        -1 => Err(Errno::from_raw_os_error(last_errno())),
        pid => Ok(pid as i32),
    }
}

/// The child's side. It allocates nothing and takes no lock, so that it is right even where the
/// parent has threads (the tests).
fn child(
    program: &Program<'_>,
    caller: rustix::process::Pid,
    argv: &[*const c_char],
    envp: &[*const c_char],
    report: RawFd,
) -> ! {
    let mut report = report;
    let (step, errno) = match set_up(program, caller, &mut report) {
        Err(failure) => failure,
        Ok(()) => {
            // SAFETY: path and both arrays are null-terminated and live in this copy of the memory.
            unsafe { libc::execve(program.path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
            (2, last_errno())
        }
    };
    let mut record = [0u8; 8];
    record[..4].copy_from_slice(&i32::to_ne_bytes(step));
    record[4..].copy_from_slice(&errno.to_ne_bytes());
    // SAFETY: the record is 8 bytes long, and the process ends here.
    unsafe {
        libc::write(report, record.as_ptr().cast(), record.len());
        libc::_exit(127)
    }
}

/// Everything between clone and execve; on failure the index of the step and the error number.
fn set_up(program: &Program<'_>, caller: rustix::process::Pid, report: &mut RawFd) -> Result<(), (i32, i32)> {
    let set_up = |errno: Errno| (0, errno.raw_os_error());
    rustix::process::setpgid(None, None).map_err(set_up)?;
    for (target, source) in (0..).zip(&program.stdio) {
        duplicate(source.as_raw_fd(), target, 0).map_err(set_up)?;
    }
    if *report != 3 {
        duplicate(*report, 3, libc::O_CLOEXEC).map_err(set_up)?;
        *report = 3;
    }
    close_from(4);
    if let Some(cwd) = program.cwd {
        #[expect(clippy::disallowed_methods, reason = "R16: the bundle, which is the caller's")]
        rustix::process::chdir(cwd).map_err(|errno| (1, errno.raw_os_error()))?;
    }
    super::signal::reset_for_exec().map_err(set_up)?;
    if program.ends_with_caller {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(set_up)?;
        if rustix::process::getppid() != Some(caller) {
            return Err(set_up(Errno::SRCH));
        }
    }
    Ok(())
}

fn duplicate(from: RawFd, to: RawFd, flags: i32) -> Result<(), Errno> {
    // SAFETY: plain numbers; this is the child's own descriptor table, which nobody else uses.
    match unsafe { libc::dup3(from, to, flags) } {
        -1 => Err(Errno::from_raw_os_error(last_errno())),
        _ => Ok(()),
    }
}

/// Closes every descriptor from `first` on. A filter may refuse close_range; then one by one.
fn close_from(first: RawFd) {
    // SAFETY: this is the child's own descriptor table, and what is closed is not used again.
    unsafe {
        if libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) != 0 {
            for fd in first..HIGHEST_FD {
                libc::close(fd);
            }
        }
    }
}

fn last_errno() -> i32 {
    // SAFETY: the location is this thread's own.
    unsafe { *libc::__errno_location() }
}

/// Runs a test in a process of its own, with one thread and none of the other tests' descriptors;
/// 0 if it did not panic.
#[cfg(test)]
pub fn in_child(test: impl FnOnce()) -> i32 {
    // SAFETY: fork(2) by the C library, which leaves its allocator usable in the child.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        close_from(3);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
        if let Err(panic) = &outcome {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("panic");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{text}\n").as_bytes());
        }
        // SAFETY: ends this process only, without running the harness's exit handlers.
        unsafe { libc::_exit(i32::from(outcome.is_err())) }
    }
    let mut status = 0;
    // SAFETY: waits for the child just made; the pointer lives during the call.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    if waited == pid { libc::WEXITSTATUS(status) + 256 * libc::WTERMSIG(status) } else { -1 }
}

/// Makes system calls of the calling test process answer ENOSYS.
#[cfg(test)]
pub fn deny(numbers: &[libc::c_long]) {
    const RETURN_ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = vec![instruction(0x20, 0, 0, 0)]; // load the number of the call
    for number in numbers {
        filter.push(instruction(0x15, 0, 1, *number as u32)); // if it is this one
        filter.push(instruction(0x06, 0, 0, RETURN_ENOSYS));
    }
    filter.push(instruction(0x06, 0, 0, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the filter lives during the call and len says how long it is.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn works_under_a_filter_without_clone3_and_close_range() {
        let status = in_child(|| {
            let null =
                rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty()).unwrap();
            let leak = rustix::io::dup(&null).unwrap();
            assert!(leak.as_raw_fd() > 3);
            deny(&[libc::SYS_clone3, libc::SYS_close_range]);
            let args = [c"sh", c"-c", c"exit $(ls /proc/self/fd | wc -l)"].map(CString::from);
            let env = [c"PATH=/usr/bin:/bin".into()];
            let stdio = [null.as_fd(); 3];
            let program = Program {
                path: c"/bin/sh",
                args: &args,
                env: &env,
                cwd: None,
                stdio,
                ends_with_caller: false,
            };
            let child = start(&program).unwrap();
            let (_, status) =
                rustix::process::waitpid(Some(child.pid), rustix::process::WaitOptions::empty())
                    .unwrap()
                    .unwrap();
            assert_eq!(status.exit_status(), Some(4), "0 to 2 and the directory being listed");
        });
        assert_eq!(status, 0);
    }
}
