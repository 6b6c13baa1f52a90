//! `state` and `list`: what is known of containers, read from their state files and the kernel,
//! without config.json and without a lock.

use super::delete::cgroup_of;
use super::error::Error;
use super::statedir::{State, StateDir, Status};
use crate::cli::output::{StateView, owner};
use crate::error::shown;
use anyhow::Result;

/// One container.
pub fn state(states: &StateDir, id: &str) -> Result<StateView> {
    let entry = states.open_entry(id)?;
    let state = entry.state()?;
    let (status, _) = entry.status(&state)?;
    view(state, status)
}

/// All containers that can be read; one that is being made or removed is left out, a broken one
/// is a warning.
pub fn list(states: &StateDir) -> Result<Vec<StateView>> {
    let mut views = Vec::new();
    for id in states.list()? {
        match self::state(states, &id) {
            Ok(view) => views.push(view),
            Err(error) if Error::is_not_found(&error) => {}
            Err(error) => crate::warn!("container `{id}`: {}", shown(&error)),
        }
    }
    Ok(views)
}

/// A running or created container whose cgroup is frozen is paused.
pub fn with_paused(status: Status, state: &State) -> Result<Status> {
    let can_be = matches!(status, Status::Running | Status::Created);
    Ok(if can_be && cgroup_of(state)?.is_frozen()? { Status::Paused } else { status })
}

fn view(state: State, status: Status) -> Result<StateView> {
    let status = with_paused(status, &state)?;
    let pid = match status {
        Status::Stopped => 0,
        _ => state.init.as_ref().map_or(0, |init| init.pid),
    };
    Ok(StateView {
        oci_version: state.oci_version,
        id: state.id,
        pid,
        status: status.name(),
        bundle: state.bundle.to_string_lossy().into_owned(),
        rootfs: state.rootfs.to_string_lossy().into_owned(),
        created: state.created,
        annotations: state.annotations,
        owner: owner(state.owner),
    })
}
