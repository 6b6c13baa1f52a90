//! What `state` and `list` know of containers, read from their state files and the kernel, without config.json
//! and without a lock.

use super::delete::cgroup_of;
use super::error::Error;
use super::statedir::{Glance, State, StateDir, Status};
use crate::cgroup::Freezers;
use crate::cli::output::{Owners, StateView};
use crate::error::shown;
use anyhow::Result;

/// One container.
pub fn state(states: &StateDir, id: &str) -> Result<StateView> {
    Looker::default().look(states, id)
}

/// Those of some containers that can be read; one that is being made or removed is left out, a broken one
/// is a warning.
pub fn look_at(states: &StateDir, ids: &[String]) -> Vec<StateView> {
    let mut looker = Looker::default();
    let mut views = Vec::with_capacity(ids.len());
    for id in ids {
        match looker.look(states, id) {
            Ok(view) => views.push(view),
            Err(error) if Error::is_not_found(&error) => {}
            Err(error) => crate::warn!("container `{id}`: {}", shown(&error)),
        }
    }
    views
}

/// A running or created container whose cgroup is frozen is paused.
pub fn with_paused(status: Status, state: &State) -> Result<Status> {
    Ok(if can_be_paused(status) && cgroup_of(state)?.is_frozen()? { Status::Paused } else { status })
}

fn can_be_paused(status: Status) -> bool {
    matches!(status, Status::Running | Status::Created)
}

/// What looks at many containers share.
#[derive(Default)]
struct Looker {
    freezers: Freezers,
    owners: Owners,
    /// What a state file is read into.
    buffer: Vec<u8>,
}

impl Looker {
    fn look(&mut self, states: &StateDir, id: &str) -> Result<StateView> {
        let Some((glance, status)) = states.glance(id, &mut self.buffer)? else {
            return self.read_whole(states, id);
        };
        let paused = can_be_paused(status) && self.freezers.is_frozen(&glance.freezer)?;
        Ok(self.view(glance, if paused { Status::Paused } else { status }))
    }

    /// A state that has no cgroup, is of an older version or cannot be read.
    fn read_whole(&mut self, states: &StateDir, id: &str) -> Result<StateView> {
        let entry = states.open_entry(id)?;
        let state = entry.state()?;
        let status = with_paused(entry.status(&state)?.0, &state)?;
        let State { version, oci_version, id, phase, creator, init, bundle, rootfs, .. } = state;
        let (created, owner, annotations) = (state.created, state.owner, state.annotations);
        let freezer = Default::default();
        let glance = Glance {
            version,
            oci_version,
            id,
            phase,
            creator,
            init,
            bundle,
            rootfs,
            created,
            owner,
            freezer,
            annotations,
        };
        Ok(self.view(glance, status))
    }

    fn view(&mut self, glance: Glance, status: Status) -> StateView {
        let pid = match status {
            Status::Stopped => 0,
            _ => glance.init.map_or(0, |init| init.pid),
        };
        StateView {
            oci_version: glance.oci_version,
            id: glance.id,
            pid,
            status: status.name(),
            bundle: glance.bundle.to_string_lossy().into_owned(),
            rootfs: glance.rootfs.to_string_lossy().into_owned(),
            created: glance.created,
            annotations: glance.annotations,
            owner: self.owners.name(glance.owner),
        }
    }
}
