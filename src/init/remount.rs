//! The side of the container of `mounts`: mounts made or taken away in a running container, by a
//! process cloned into it. All of them or none. `run` never returns.

use super::join::Way;
use super::sync::{Channel, Message};
use crate::bundle::plan::{Mount, MountSource, Plan};
use crate::cgroup;
use crate::error::{Context, Doing, Failed, bail};
use crate::procfs::Procfs;
use crate::rootfs::path::{Links, Root};
use crate::rootfs::{Builder, MountFeatures, mount};
use crate::sys::process as sys;
use anyhow::Result;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use std::os::fd::{AsRawFd, OwnedFd};

/// What is to be done; made by the host side, inherited through the clone.
#[derive(Debug)]
pub struct Job<'a> {
    /// The way in.
    pub way: Way,
    /// The conversation with the host side.
    pub channel: Channel,
    /// The host's procfs.
    pub procfs: Procfs,
    /// Add or remove.
    pub change: Change<'a>,
}

/// What is to be done.
#[derive(Debug)]
pub enum Change<'a> {
    /// Make the mounts of the plan.
    Add {
        /// The container, with the mounts to add in the place of its own.
        plan: &'a Plan,
        /// Detached sources of bind mounts, by index.
        trees: Vec<Option<OwnedFd>>,
        /// The container's cgroups, for mounts of type cgroup.
        view: cgroup::View,
        /// What the kernel offers for mounts.
        features: MountFeatures,
    },
    /// Take away what is mounted on these absolute paths, the last first.
    Remove(&'a [String]),
}

/// Does the job; ends in _exit.
pub fn run(mut job: Job) -> ! {
    let told = match live(&mut job) {
        Ok(()) => job.channel.send(&Message::Ready),
        Err(error) => job.channel.send(&Message::Failed(Failed::of(&error))),
    };
    sys::exit_now(i32::from(told.is_err()))
}

fn live(job: &mut Job) -> Result<()> {
    close_inherited(job)?;
    job.way.enter_namespaces(0)?;
    rustix::process::umask(Mode::empty());
    let root = job.way.enter_root()?;
    match &mut job.change {
        Change::Remove(destinations) => {
            destinations.iter().rev().try_for_each(|path| remove(&root, &job.procfs, path))
        }
        Change::Add { plan, trees, view, features } => {
            let mut ask = |index: usize| {
                trees.get_mut(index).and_then(Option::take).context("the source was not opened")
            };
            let mut builder = Builder::in_running(plan, *features, &job.procfs, view, root, &mut ask);
            add(&mut builder, plan)
        }
    }
}

fn close_inherited(job: &Job) -> Result<()> {
    let trees = match &job.change {
        Change::Add { trees, .. } => trees.as_slice(),
        Change::Remove(_) => &[],
    };
    let own = [job.channel.fd(), job.procfs.fd()];
    let all = own.into_iter().chain(job.way.descriptors()).chain(trees.iter().flatten());
    let mut keep: Vec<u32> = all.map(|fd| fd.as_raw_fd() as u32).collect();
    sys::close_all_but(&mut keep).doing(|| "close inherited descriptors")
}

fn add(builder: &mut Builder, plan: &Plan) -> Result<()> {
    for (done, one) in plan.mounts.iter().enumerate() {
        if let Err(error) = mount::mount(builder, one) {
            undo(builder, plan.mounts.get(..done).unwrap_or_default());
            return Err(error);
        }
    }
    builder.make_readonly_what_waited()
}

/// Takes away what was added before one failed; what cannot be was not a mount.
fn undo(builder: &Builder, added: &[Mount]) {
    let is_mount = |m: &&Mount| !matches!(m.source, MountSource::Remount | MountSource::Propagation);
    for one in added.iter().rev().filter(is_mount) {
        let _ = remove(&builder.root, builder.procfs, &one.destination);
    }
}

/// R2: what is unmounted is what was found without following a link, and held by a descriptor; a link
/// of the container could lead to one of its masks.
#[expect(clippy::disallowed_methods, reason = "R2: the path is that of the own descriptor")]
fn remove(root: &Root, procfs: &Procfs, destination: &str) -> Result<()> {
    let doing = || format!("unmount `{destination}`");
    let target = match root.open(destination, OFlags::PATH, Links::Never) {
        Err(Errno::LOOP) => {
            bail!("{}: a component is a symbolic link; give the path without links", doing())
        }
        found => found.doing(doing)?,
    };
    procfs.enter_own_fds()?;
    match rustix::mount::unmount(target.as_raw_fd().to_string(), UnmountFlags::DETACH) {
        Err(Errno::INVAL) => bail!("{}: nothing is mounted there", doing()),
        other => other.doing(doing),
    }
}
