//! `delete`: ends what is left of a container's processes, removes its cgroups and its state, and
//! runs poststop hooks. Works on whatever a killed runtime left half made.

use super::error::Error;
use super::hooks;
use super::identity::exiting;
use super::statedir::{Entry, Lock, Phase, State, StateDir, Status};
use crate::cgroup::{Location, Manager};
use crate::error::{Doing, bail, shown};
use crate::progress::Progress;
use crate::sys::process as sys;
use crate::trace;
use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::UnmountFlags;
use std::path::Path;

/// Deletes a container; `force` ends it first, and an unknown one is then no error.
pub fn delete(states: Option<&StateDir>, id: &str, force: bool) -> Result<()> {
    super::statedir::check_id(id)?;
    let opened = match states {
        Some(states) => states.open_entry(id).and_then(|entry| entry.lock(Lock::Exclusive).map(|()| entry)),
        None => Err(Error::NotFound { id: id.to_string() }.into()),
    };
    let entry = match opened {
        Err(error) if force && Error::is_not_found(&error) => {
            // A `create` that was killed before the id was there has left its directory under another name.
            return states.map_or(Ok(()), |states| states.sweep_debris().map(drop));
        }
        other => other?,
    };
    let state = match entry.state() {
        // Nothing can be known of it but that it is there. What another version wrote, that one reads.
        Err(_) if force && entry.is_broken()? => return entry.remove(),
        other => other?,
    };
    let (status, _) = entry.status(&state)?;
    let status = super::inspect::with_paused(status, &state)?;
    if !force && !matches!(status, Status::Stopped | Status::Created) {
        bail!(Error::WrongState(format!(
            "cannot delete container {id} that is not stopped: {} (kill it first, or use --force)",
            status.name()
        )));
    }
    remove(entry, &state)?;
    if let (true, Some(states)) = (force, states) {
        states.sweep_debris()?;
    }
    Ok(())
}

/// What a killed `create` left of an id, if it is still that.
pub fn remove_debris(states: &StateDir, id: &str) -> Result<()> {
    let entry = states.open_entry(id)?;
    entry.lock(Lock::Exclusive)?;
    match entry.state() {
        Ok(state) if state.phase == Phase::Creating && state.creator.alive()?.is_none() => {
            remove(entry, &state)
        }
        Ok(_) => Ok(()),
        Err(_) => entry.remove(),
    }
}

/// Ends all processes and removes everything, poststop hooks last.
pub fn remove(entry: Entry, state: &State) -> Result<()> {
    trace::step("end its processes", || end_init(&entry, state))?;
    let mut cgroup = cgroup_of(state)?;
    // Mostly nobody is left. What stands in the way is told by the second try.
    let removed = trace::step("remove the cgroups", || cgroup.remove_empty()).unwrap_or(false);
    if !removed {
        kill_the_rest(&cgroup, state)?;
    }
    if !state.own_mount_namespace {
        unmount_host_root(&state.rootfs, state.root_mount)?;
    }
    if !removed && !trace::step("remove the cgroups that were in use", || cgroup.remove())? {
        crate::debug!("the cgroup of `{}` is still in use by others", entry.id());
    }
    if let Some(rdt) = &state.rdt {
        rdt.remove()?;
    }
    let plan = state.poststop.then(|| super::plan_of(&entry, state));
    let id = entry.id().to_string();
    trace::step("remove the state", || entry.remove())?;
    match plan {
        Some(Ok(plan)) => hooks::poststop(&plan, &id),
        Some(Err(error)) => crate::warn!("poststop hooks of `{id}` cannot run: {}", shown(&error)),
        None => {}
    }
    Ok(())
}

/// Kills init and waits for its end; without a pid namespace of its own, all that is in the cgroup.
pub fn end_processes(entry: &Entry, state: &State) -> Result<()> {
    end_init(entry, state)?;
    kill_the_rest(&cgroup_of(state)?, state)
}

fn end_init(entry: &Entry, state: &State) -> Result<()> {
    if let (_, Some(init)) = entry.status(state)? {
        match sys::pidfd_send_signal(&init, libc::SIGKILL) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            other => other.doing(|| format!("kill container `{}`", entry.id()))?,
        }
        // A frozen process of cgroup v1 dies only when it is thawed.
        let cgroup = cgroup_of(state)?;
        if cgroup.is_frozen()? {
            cgroup.thaw()?;
        }
        wait_for_end(&init, state)?;
    }
    Ok(())
}

fn kill_the_rest(cgroup: &Manager, state: &State) -> Result<()> {
    // While a container is made its cgroup may still be found to be another's; an init without its
    // creator ends by itself.
    if state.phase == Phase::Creating {
        return Ok(());
    }
    cgroup.kill(libc::SIGKILL)
}

/// How often, at intervals of a second, a killed process is looked at before it is given up.
const PATIENCE: u32 = 10;

/// Waits for the end of a killed init. An init whose pid namespace is shared ends only when everything
/// in it was waited for; it counts as ended when it executes nothing any more.
fn wait_for_end(pidfd: &std::os::fd::OwnedFd, state: &State) -> Result<()> {
    let pid = state.init.as_ref().map_or(0, |init| init.pid);
    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
    let progress = Progress::begin();
    for _ in 0..PATIENCE {
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&second)) {
            Ok(0) if exiting(pid) => return Ok(()),
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            other => return other.map(drop).doing(|| "wait for the container's end"),
        }
        progress.tell(|| format!("waiting for the end of container `{}` (pid {pid})", state.id));
    }
    bail!(
        "container `{}` (pid {pid}) was killed but has not ended: it hangs in the kernel, see /proc/{pid}/stack",
        state.id
    )
}

/// The cgroups that the state names.
pub fn cgroup_of(state: &State) -> Result<Manager> {
    Ok(Manager::from_location(state.cgroup.as_ref().unwrap_or(&Location::None)))
}

/// Without a mount namespace the root filesystem was mounted over itself on the host, and
/// everything else below that. What was mounted there `before` is the caller's.
#[expect(
    clippy::disallowed_methods,
    reason = "R2: the path is the caller's own, and its last link is not followed"
)]
pub fn unmount_host_root(rootfs: &Path, before: Option<u64>) -> Result<()> {
    if before.is_some() && crate::hostfs::mount_id(rootfs).ok() == before {
        return Ok(());
    }
    match rustix::mount::unmount(rootfs, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error).doing(|| format!("unmount `{}`", rootfs.display())),
    }
}
