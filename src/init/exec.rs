//! The side of the container of `exec`: everything between the clone and execve of a process that
//! joins a running container. The host side has entered all namespaces but those that this process
//! must enter itself, so it is born inside. `run` never returns.

use super::process::{self, Setting};
use super::sync::{Channel, Message};
use super::{become_root_inside, enter_cgroups, identity, join_keyring};
use crate::bundle::plan::{Plan, Process};
use crate::error::{Doing, errno_of};
use crate::procfs::Procfs;
use crate::rootfs::path::Root;
use crate::sys::clone::setns;
use crate::sys::process as sys;
use anyhow::Result;
use rustix::fs::{Mode, OFlags};
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
    /// pidfd of the container's init.
    pub init: OwnedFd,
    /// CLONE_NEW… flags of the namespaces of init that are still to be entered.
    pub namespaces: u64,
    /// Whether the container's user namespace is not the runtime's.
    pub user_namespace: bool,
    /// The container's root where it has no mount namespace of its own.
    pub root: Option<OwnedFd>,
    /// cgroup v1: the `tasks` file of each hierarchy.
    pub cgroup_tasks: Vec<OwnedFd>,
    /// The host's procfs.
    pub procfs: Procfs,
    /// Give the process the container's session keyring.
    pub keyring: bool,
    /// Descriptors from 3 up that the process keeps.
    pub preserve_fds: u32,
    /// Whether the host side is root on the host.
    pub privileged: bool,
    /// The highest capability of the kernel.
    pub last_capability: u32,
}

/// Does the job; ends in execve or in _exit(1).
pub fn run(job: Job) -> ! {
    if let Err(error) = live(&job) {
        // Whoever waits is told; when nobody does any more there is nobody to tell.
        let _ = job.channel.send(&Message::Failed(errno_of(&error), format!("{error:#}")));
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
    enter_cgroups(&job.cgroup_tasks)?;
    enter_namespaces(job)?;
    // A session of its own, so that no terminal of the caller can be reached (TIOCSTI).
    rustix::process::setsid().doing(|| "start a new session")?;
    let root = enter_root(job)?;
    process::take_terminal(&root, &job.channel, process, |_| Ok(()))?;
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
        may_set_groups: job.privileged || !job.user_namespace,
        last_capability: job.last_capability,
    };
    let ready = setting.become_process()?;
    job.channel.send(&Message::Ready)?;
    ready.execute(job.plan, process, job.preserve_fds, || Ok(()))
}

/// First of all: a process of the container may look at this one already.
fn close_inherited(job: &Job) -> Result<()> {
    let mut keep: Vec<u32> = [job.channel.fd(), job.procfs.fd(), &job.init]
        .into_iter()
        .chain(&job.root)
        .chain(&job.cgroup_tasks)
        .map(|fd| fd.as_raw_fd() as u32)
        .collect();
    keep.extend(super::preserved(job.preserve_fds));
    sys::close_all_but(&mut keep).doing(|| "close inherited descriptors")
}

fn enter_namespaces(job: &Job) -> Result<()> {
    if job.namespaces != 0 {
        setns(&job.init, job.namespaces).doing(|| "enter the container's namespaces")?;
    }
    if job.user_namespace {
        become_root_inside(job.privileged)?;
    }
    // Entering a user namespace makes the process dumpable or not by sysctl; it must not be.
    sys::prctl(libc::PR_SET_DUMPABLE, 0).doing(|| "forbid tracing")?;
    if job.keyring {
        join_keyring(job.id)?;
    }
    Ok(())
}

/// In a mount namespace of its own the container's root was entered with that.
fn enter_root(job: &Job) -> Result<Root> {
    if let Some(root) = &job.root {
        rustix::process::fchdir(root).doing(|| "enter the container's root")?;
        rustix::process::chroot(".").doing(|| "change the root directory")?;
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty()).doing(|| "open the container's root")?;
    Ok(Root::new(root))
}
