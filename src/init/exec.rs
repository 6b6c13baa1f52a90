//! The side of the container of `exec`: everything between the clone and execve of a process that
//! joins a running container. It enters the namespaces that the host side has left to it: all, when it goes
//! on inside at the very end (`last`), else those that it must enter itself. `run` never returns.

use super::join::Way;
use super::last::Last;
use super::process::{self, Setting};
use super::sync::{Channel, Message};
use super::{enter_cgroups, identity, join_keyring};
use crate::bundle::plan::{Plan, Process};
use crate::container::terminal::Newlines;
use crate::error::{Doing, Failed};
use crate::procfs::Procfs;
use crate::sys::process as sys;
use crate::sys::pty;
use crate::trace;
use anyhow::Result;
use std::os::fd::{AsRawFd, OwnedFd};

/// What the process needs; made by the host side, inherited through the clone.
#[derive(Debug)]
pub struct Job<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The container.
    pub plan: &'a Plan,
    /// The process.
    pub process: &'a Process,
    /// The conversation with the host side.
    pub channel: Channel,
    /// The way in.
    pub way: &'a Way,
    /// Namespaces that the host side has not entered, when it stays outside.
    pub before: Option<u64>,
    /// Where the id of the process inside is told then (`sys::clone::ToldPid`).
    pub told: u64,
    /// cgroup v1: the `tasks` file of each hierarchy.
    pub cgroup_tasks: &'a [OwnedFd],
    /// The host's procfs.
    pub procfs: Procfs,
    /// What its terminal makes of newlines.
    pub newlines: Newlines,
    /// Give the process the container's session keyring.
    pub keyring: bool,
    /// Descriptors from 3 up that the process keeps.
    pub preserve_fds: u32,
    /// The highest capability of the kernel.
    pub last_capability: u32,
}

/// Does the job; ends in execve or in _exit(1).
pub fn run(job: Job) -> ! {
    if let Err(error) = live(&job) {
        // Whoever waits is told; when nobody does any more there is nobody to tell.
        let failed = Message::Failed(Failed::of(&error));
        let _ = job.channel.tell_trace().and_then(|()| job.channel.send(&failed));
    }
    sys::exit_now(1)
}

fn live(job: &Job) -> Result<()> {
    let process = job.process;
    close_inherited(job)?;
    match &process.exec_affinity_initial {
        Some(cpus) => identity::cpus(cpus, "initial")?,
        None => identity::all_cpus()?,
    }
    trace::step("enter the cgroups", || enter_cgroups(job.cgroup_tasks))?;
    trace::step("enter the namespaces", || job.way.enter_namespaces(job.before.unwrap_or(0)))?;
    if job.keyring {
        join_keyring(job.id)?;
    }
    let goes_inside = job.before.is_some();
    if !goes_inside {
        // A session of its own, so that no terminal of the caller can be reached (TIOCSTI).
        rustix::process::setsid().doing(|| "start a new session")?;
    }
    let root = job.way.enter_root()?;
    let attach = if goes_inside { pty::connect } else { pty::attach };
    let what = (process, job.newlines);
    process::take_terminal((&root, &job.procfs), &job.channel, what, |_| Ok(()), attach)?;
    match &process.exec_affinity_final {
        Some(cpus) => identity::cpus(cpus, "final")?,
        // The cgroup may allow others than before.
        None => identity::all_cpus()?,
    }
    let setting = Setting {
        plan: job.plan,
        process,
        channel: &job.channel,
        procfs: &job.procfs,
        root: &root,
        make_cwd: false,
        may_set_groups: job.way.may_set_groups || !crate::namespaces::setgroups_denied(&job.procfs)?,
        last_capability: job.last_capability,
        leaves: goes_inside,
        goes_inside,
    };
    let ready = trace::step("become the process", || setting.become_process())?;
    job.channel.tell_trace()?;
    job.channel.send(&Message::Ready)?;
    if goes_inside {
        // R8: what it has of the host must not be seen in the container.
        let mut keep = vec![job.channel.fd().as_raw_fd() as u32, root.fd().as_raw_fd() as u32];
        keep.extend(super::preserved(job.preserve_fds));
        sys::close_all_but(&mut keep).doing(|| "close descriptors")?;
        let (plan, channel, id) = (job.plan, &job.channel, job.id);
        return Last { plan, process, ready: &ready, channel, root: root.fd(), id }.leave_inside(job.told);
    }
    ready.execute(job.plan, process, job.preserve_fds, || process::tell_trace(job.plan, &job.channel))
}

/// First of all: a process of the container may look at this one already.
fn close_inherited(job: &Job) -> Result<()> {
    let mut keep: Vec<u32> = [job.channel.fd(), job.procfs.fd()]
        .into_iter()
        .chain(job.way.descriptors())
        .chain(job.cgroup_tasks)
        .map(|fd| fd.as_raw_fd() as u32)
        .collect();
    keep.extend(super::preserved(job.preserve_fds));
    sys::close_all_but(&mut keep).doing(|| "close inherited descriptors")
}
