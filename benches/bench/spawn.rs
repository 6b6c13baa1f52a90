//! Starting programs with little noise: posix_spawn(3), which shares memory with the new process
//! until it executes, as a shell or an engine would start a runtime at best; and waiting for them.
//! This process is a subreaper, so a container's first process becomes its child when the runtime
//! that made it has ended, and is reaped at once, as an engine's shim does.

use std::ffi::{CString, c_char};
use std::os::fd::RawFd;
use std::time::Instant;

/// No command takes longer than this, in seconds.
const PATIENCE: u32 = 120;

/// What a command runs with for standard input, output and error.
#[derive(Clone, Copy)]
pub struct Stdio(pub [RawFd; 3]);

/// Starts and reaps.
pub struct Spawner {
    /// /dev/null for input and output, and a file for errors.
    pub quiet: Stdio,
    /// Processes that were reaped on the way, with their statuses.
    reaped: Vec<(i32, i32)>,
}

/// A command, ready to be started as often as wanted.
pub struct Command {
    argv: Vec<CString>,
}

impl Command {
    /// From words.
    pub fn new<T: AsRef<str>>(words: &[T]) -> Command {
        let argv = words.iter().map(|w| CString::new(w.as_ref()).unwrap_or_default()).collect();
        Command { argv }
    }

    fn text(&self) -> String {
        self.argv.iter().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }
}

extern "C" fn ignore(_: libc::c_int) {}

impl Spawner {
    /// Makes this process a subreaper and opens what commands run with.
    pub fn new() -> Spawner {
        // SAFETY: plain calls with constant strings; the handler does nothing.
        let (null, errors) = unsafe {
            libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = ignore as *const () as usize;
            libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
            (
                libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC),
                libc::memfd_create(c"errors".as_ptr(), libc::MFD_CLOEXEC),
            )
        };
        Spawner { quiet: Stdio([null, null, errors]), reaped: Vec::new() }
    }

    /// Runs a command to its end; the time between both in microseconds, or what it said.
    pub fn time(&mut self, command: &Command) -> Result<f64, String> {
        self.time_with(command, self.quiet)
    }

    /// The same with other descriptors.
    pub fn time_with(&mut self, command: &Command, stdio: Stdio) -> Result<f64, String> {
        self.reaped.clear();
        self.forget_errors();
        let begin = Instant::now();
        let pid = spawn(command, stdio)?;
        let status = self.wait(pid);
        let micros = begin.elapsed().as_secs_f64() * 1e6;
        match status {
            0 => Ok(micros),
            status => Err(self.failure(command, status)),
        }
    }

    /// Runs all commands, at most `width` at once; the time for all of them.
    pub fn time_parallel(&mut self, commands: &[Command], width: usize) -> Result<f64, String> {
        self.reaped.clear();
        self.forget_errors();
        let mut running = Vec::new();
        let mut failure = None;
        let begin = Instant::now();
        for command in commands {
            while running.len() >= width {
                let (pid, status) = Self::wait_any();
                if let Some(at) = running.iter().position(|(p, _)| *p == pid) {
                    let (_, command) = running.swap_remove(at);
                    if status != 0 {
                        failure.get_or_insert((command, status));
                    }
                } else {
                    self.reaped.push((pid, status));
                }
            }
            running.push((spawn(command, self.quiet)?, command));
        }
        for (pid, command) in running {
            let status = self.wait(pid);
            if status != 0 {
                failure.get_or_insert((command, status));
            }
        }
        let micros = begin.elapsed().as_secs_f64() * 1e6;
        failure.map_or(Ok(micros), |(command, status)| Err(self.failure(command, status)))
    }

    /// Starts a command and leaves it running.
    pub fn start(&mut self, command: &Command) -> Result<i32, String> {
        spawn(command, self.quiet)
    }

    /// Waits for one child, also one that was reaped meanwhile; its status as wait(2) gives it.
    pub fn wait(&mut self, pid: i32) -> i32 {
        if let Some(at) = self.reaped.iter().position(|(p, _)| *p == pid) {
            return self.reaped.swap_remove(at).1;
        }
        // SAFETY: plain numbers.
        unsafe { libc::alarm(PATIENCE) };
        loop {
            let (ended, status) = Self::wait_any();
            if ended == pid {
                // SAFETY: plain numbers.
                unsafe { libc::alarm(0) };
                return status;
            }
            if ended == -1 {
                // SAFETY: the alarm rang (or there is no such child): the process is to end.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                if std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH) {
                    return -1;
                }
            }
            self.reaped.push((ended, status));
        }
    }

    fn wait_any() -> (i32, i32) {
        let mut status = 0;
        // SAFETY: the status lives during the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        (pid, status)
    }

    /// Reaps what has ended.
    pub fn reap(&mut self) {
        let mut status = 0;
        // SAFETY: the status lives during the call.
        while unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } > 0 {}
    }

    fn forget_errors(&self) {
        // SAFETY: the descriptor is this process's own memory file.
        unsafe {
            libc::ftruncate(self.quiet.0[2], 0);
            libc::lseek(self.quiet.0[2], 0, libc::SEEK_SET);
        }
    }

    fn failure(&self, command: &Command, status: i32) -> String {
        let mut buffer = [0u8; 2000];
        // SAFETY: the buffer is as long as is said.
        let length = unsafe { libc::pread(self.quiet.0[2], buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let said = String::from_utf8_lossy(&buffer[..length.max(0) as usize]).trim().to_string();
        format!("`{}`: status {status:#x}: {said}", command.text())
    }
}

/// posix_spawn(3) with the given descriptors as 0 to 2 and nothing else.
fn spawn(command: &Command, stdio: Stdio) -> Result<i32, String> {
    let mut argv: Vec<*mut c_char> = command.argv.iter().map(|a| a.as_ptr().cast_mut()).collect();
    argv.push(std::ptr::null_mut());
    let path = c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let envp = [path.as_ptr().cast_mut(), std::ptr::null_mut()];
    let mut pid = 0;
    // SAFETY: the actions are initialised before use and destroyed after; both arrays end with null
    // and live during the call. All descriptors of this process but those three close on exec.
    let error = unsafe {
        let mut actions: libc::posix_spawn_file_actions_t = std::mem::zeroed();
        libc::posix_spawn_file_actions_init(&raw mut actions);
        for (target, fd) in (0..).zip(stdio.0) {
            libc::posix_spawn_file_actions_adddup2(&raw mut actions, fd, target);
        }
        let result = libc::posix_spawn(
            &raw mut pid,
            argv[0],
            &raw const actions,
            std::ptr::null(),
            argv.as_ptr(),
            envp.as_ptr(),
        );
        libc::posix_spawn_file_actions_destroy(&raw mut actions);
        result
    };
    match error {
        0 => Ok(pid),
        _ => Err(format!("start `{}`: {}", command.text(), std::io::Error::from_raw_os_error(error))),
    }
}
