//! The process itself: the steps from a finished surrounding to execve, the same for a container's
//! first process and for one that `exec` adds. Called by `init` and `init::exec`; the order of the
//! steps is that of security R25.

use super::sync::{Channel, Message};
use super::{filters, identity, program, refusal};
use crate::bundle::plan::{Capabilities, Plan, Process};
use crate::container::terminal::{self, Newlines};
use crate::error::{Doing, bail};
use crate::procfs::Procfs;
use crate::rootfs::device;
use crate::rootfs::path::{Links, Missing, Root};
use crate::sys::{process as sys, signal};
use crate::trace;
use anyhow::Result;
use rustix::fs::{FileType, Mode, OFlags};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

/// What the steps work with.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The container: its filter, personality and memory policy are those of every process.
    pub plan: &'a Plan,
    /// What this process is to be.
    pub process: &'a Process,
    /// The conversation with the host side.
    pub channel: &'a Channel,
    /// The host's procfs.
    pub procfs: &'a Procfs,
    /// The container's root, which is this process's root too.
    pub root: &'a Root,
    /// Make a working directory that is missing.
    pub make_cwd: bool,
    /// Whether the user namespace allows setgroups: not one that an ordinary user made.
    pub may_set_groups: bool,
    /// The highest capability of the kernel.
    pub last_capability: u32,
    /// The last steps are those of `last`.
    pub leaves: bool,
    /// The process goes on as another one, which gets the scheduler itself.
    pub goes_inside: bool,
}

/// What is ready for the exec.
#[derive(Debug)]
pub struct Ready {
    /// What is executed.
    pub program: CString,
    /// The final environment, which hooks inherit.
    pub env: Vec<CString>,
    /// The filter is loaded already, because its listener had to be sent.
    filtered: bool,
    /// The capabilities of the process.
    pub capabilities: Capabilities,
    /// The permitted set that the final one is taken from.
    pub permitted: u64,
    /// The capabilities are set after the filter.
    pub late: bool,
}

impl Ready {
    /// The last steps: filter, capabilities, hooks under both, and the program. After the filter only
    /// capset(2), execve(2) and, with ambient capabilities, prctl(2) are called.
    pub fn execute(
        &self,
        plan: &Plan,
        process: &Process,
        preserve_fds: u32,
        hooks: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        // R8: whatever is still open but what the caller handed over.
        sys::cloexec_from(preserve_fds.saturating_add(3)).doing(|| "mark descriptors to be closed")?;
        signal::reset_for_exec().doing(|| "reset signals")?;
        if !self.filtered {
            identity::late_limits(process)?;
        }
        if let Some(filter) = plan.seccomp.as_ref().filter(|_| !self.filtered) {
            trace::step("load the seccomp filter", || filters::load(filter))?;
            if self.late {
                identity::capabilities(&self.capabilities, self.permitted)?;
            }
        }
        hooks()?;
        let errno = sys::execve(&self.program, &process.args, &self.env);
        let may_look = refusal::may_look(plan.seccomp.as_ref());
        let root = may_look.then(|| Root::own().ok()).flatten();
        let view = root.as_ref().map(refusal::View::own);
        let program = self.program.to_string_lossy();
        Err(program::not_executed(&program, &process.args, &self.env, errno, view.as_ref()).into())
    }
}

/// Tells of the last steps, under the filter: only where it is known to allow that.
pub fn tell_trace(plan: &Plan, channel: &Channel) -> Result<()> {
    let allowed = |number| plan.seccomp.as_ref().is_none_or(|filter| filter.allows(number));
    match trace::is_on() && allowed(libc::SYS_sendmsg) {
        true => channel.tell_trace(),
        false => Ok(()),
    }
}

/// A new terminal from the container's own devpts: its master end sent to the host side, itself made
/// standard input, output and error (`sys::pty`). `place` gets the slave first.
pub fn take_terminal(
    (root, procfs): (&Root, &Procfs),
    channel: &Channel,
    (process, newlines): (&Process, Newlines),
    place: impl FnOnce(&OwnedFd) -> Result<()>,
    attach: fn(OwnedFd) -> rustix::io::Result<()>,
) -> Result<()> {
    if !process.terminal {
        return Ok(());
    }
    let pty = terminal::open_pty(device::open_ptmx(root, procfs)?, newlines, process.console_size)?;
    place(&pty.slave)?;
    channel.send_with(&Message::Console, Some(pty.master.as_fd()))?;
    drop(pty.master);
    let owner = rustix::process::Uid::from_raw(process.uid);
    rustix::fs::fchown(&pty.slave, Some(owner), None).doing(|| "give the terminal to process.user.uid")?;
    attach(pty.slave).doing(|| "take the terminal")
}

impl Setting<'_> {
    /// Everything about the process that can fail, so that `create` fails and not `start`.
    pub fn become_process(&self) -> Result<Ready> {
        let process = self.process;
        identity::scheduling(self.plan, process, !self.goes_inside)?;
        let env = with_home(self.root, self.procfs, process)?;
        self.find_cwd()?;
        let entered = identity::enter_cwd(self.root, &process.cwd);
        identity::labels(self.procfs, process)?;
        identity::limits(process)?;
        let capabilities = process.capabilities.unwrap_or_default();
        identity::bounding(&capabilities, self.last_capability)?;
        identity::no_new_privileges(process)?;
        identity::own_stdio(process)?;
        let groups = match (self.plan.extensions.keep_groups, self.may_set_groups) {
            (true, _) => identity::Groups::Keep,
            (false, true) => identity::Groups::Set,
            (false, false) => identity::Groups::Denied,
        };
        identity::user(process, groups)?;
        // The change of user set this by sysctl (security R9).
        identity::forbid_tracing()?;
        // A directory that only the user may enter, or only the runtime: one of both must do.
        if entered.is_err() {
            identity::hold_until_filter(&capabilities)?;
            identity::enter_cwd(self.root, &process.cwd)?;
        }
        if let Some(umask) = process.umask {
            rustix::process::umask(Mode::from_raw_mode(umask));
        }
        let permitted = identity::permitted_now()?;
        // Without no_new_privs, loading a filter needs CAP_SYS_ADMIN.
        let late = self.plan.seccomp.is_some() && !process.no_new_privileges;
        if late {
            identity::hold_until_filter(&capabilities)?;
        } else {
            let others = if self.leaves { identity::LEAVING } else { 0 };
            identity::capabilities_and(&capabilities, permitted, others)?;
        }
        // The lowering refuses an empty list.
        let name = process.args.first().map_or(c"", CString::as_c_str);
        let program = program::find(self.root, name, &env)?;
        if let Some(filter) = &self.plan.seccomp {
            filters::check(filter, process)?;
        }
        // A filter with a listener is loaded now, so that a missing agent fails `create`.
        let notifying = self.plan.seccomp.as_ref().filter(|filter| filter.listener.is_some());
        if let Some(filter) = notifying {
            // The filter may forbid it, or ask about it.
            identity::late_limits(self.process)?;
            filters::load_notifying(filter, self.channel)?;
            if late {
                identity::capabilities(&capabilities, permitted)?;
            }
        }
        let filtered = notifying.is_some();
        Ok(Ready { program, env, filtered, capabilities, permitted, late })
    }

    /// Refuses a working directory behind a magic link, which chdir would follow out of the container
    /// (CVE-2024-21626); makes one that is missing where that is wanted.
    fn find_cwd(&self) -> Result<()> {
        let cwd = self.process.cwd.to_string_lossy();
        let found = match self.make_cwd {
            true => self.root.find_or_create(&cwd, Missing::Directory, Links::Follow).map(drop),
            false => self.root.open(&cwd, OFlags::PATH, Links::Follow).map(drop),
        };
        match found {
            Err(rustix::io::Errno::LOOP) => {
                bail!("process.cwd `{cwd}` leads through a magic link or too many links: use a plain path")
            }
            // What cannot be made or searched now is told by chdir.
            _ => Ok(()),
        }
    }
}

/// The environment with HOME, which the container's passwd file gives when the caller does not.
fn with_home(root: &Root, procfs: &Procfs, process: &Process) -> Result<Vec<CString>> {
    let mut env = process.env.clone();
    let given = env.iter().any(|e| e.to_bytes().strip_prefix(b"HOME=").is_some_and(|home| !home.is_empty()));
    if !given {
        env.retain(|e| !e.to_bytes().starts_with(b"HOME="));
        env.push(CString::new(format!("HOME={}", identity::home(&passwd(root, procfs), process.uid)))?);
    }
    Ok(env)
}

/// The container's /etc/passwd, at most 1 MiB of it; empty when it cannot be read.
fn passwd(root: &Root, procfs: &Procfs) -> String {
    // R6: looked at before it is opened for reading, as the image may have a device there.
    let Ok(found) = root.open("/etc/passwd", OFlags::PATH, Links::Follow) else { return String::new() };
    let stat = rustix::fs::fstat(&found);
    if !stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile) {
        return String::new();
    }
    let Ok(file) = procfs.reopen(&found, OFlags::RDONLY) else { return String::new() };
    let mut content = Vec::new();
    let mut reader = std::io::Read::take(std::fs::File::from(file), 1 << 20);
    match std::io::Read::read_to_end(&mut reader, &mut content) {
        Ok(_) => String::from_utf8_lossy(&content).into_owned(),
        Err(_) => String::new(),
    }
}
