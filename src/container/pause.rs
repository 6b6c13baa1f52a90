//! `pause` and `resume`: all processes of a container stopped by its cgroup, and let go on.

use super::delete::cgroup_of;
use super::error::Error;
use super::inspect;
use super::statedir::{Lock, StateDir, Status};
use crate::error::bail;
use anyhow::Result;

/// Stops all processes of a container.
pub fn pause(states: &StateDir, id: &str) -> Result<()> {
    let entry = states.open_entry(id)?;
    entry.lock(Lock::Exclusive)?;
    let state = entry.state()?;
    match inspect::with_paused(entry.status(&state)?.0, &state)? {
        Status::Running | Status::Created => cgroup_of(&state)?.freeze(),
        Status::Paused => bail!(Error::WrongState("container already paused".into())),
        other => bail!(Error::WrongState(format!("container not running: it is {}", other.name()))),
    }
}

/// Lets them go on. What a paused container's dead init left frozen is let go too.
pub fn resume(states: &StateDir, id: &str) -> Result<()> {
    let entry = states.open_entry(id)?;
    entry.lock(Lock::Exclusive)?;
    let cgroup = cgroup_of(&entry.state()?)?;
    if !cgroup.is_frozen()? {
        bail!(Error::WrongState("container not paused".into()));
    }
    cgroup.thaw()
}
