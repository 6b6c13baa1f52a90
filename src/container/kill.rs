//! `kill`: a signal for a container's init, by pidfd; for all of its processes by the cgroup when
//! asked, or when a shared pid namespace lets them outlive init (R9, R22: never by a bare pid).

use super::delete::cgroup_of;
use super::error::Error;
use super::statedir::{StateDir, Status};
use crate::error::{Doing, bail};
use crate::sys::process as sys;
use anyhow::Result;

/// Sends `signal` (0 only asks whether it could be sent).
pub fn kill(states: &StateDir, id: &str, signal: i32, all: bool) -> Result<()> {
    let entry = states.open_entry(id)?;
    let state = entry.state()?;
    let (status, init) = entry.status(&state)?;
    if status == Status::Creating {
        bail!(Error::WrongState("container not running: it is being created".into()));
    }
    let whole_cgroup = all || (signal == libc::SIGKILL && !state.own_pid_namespace);
    if whole_cgroup && kill_all(&state, signal)? {
        return Ok(());
    }
    let Some(init) = init else {
        if all {
            return Ok(());
        }
        bail!(Error::WrongState("container not running".into()));
    };
    match sys::pidfd_send_signal(&init, signal) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
            bail!(Error::WrongState("container not running".into()))
        }
        other => other.doing(|| format!("send signal {signal} to container `{id}`"))?,
    }
    if signal == libc::SIGKILL {
        // A frozen process of cgroup v1 dies only when it is thawed. One that was not is dead by now,
        // and its cgroup may be gone.
        let cgroup = cgroup_of(&state)?;
        if let Err(error) = cgroup.thaw()
            && cgroup.exists()
            && !super::identity::ended(&init)?
        {
            return Err(error);
        }
    }
    Ok(())
}

/// Signals every process of the cgroup; false when there is none.
fn kill_all(state: &super::statedir::State, signal: i32) -> Result<bool> {
    let cgroup = cgroup_of(state)?;
    if cgroup.processes()?.is_empty() {
        return Ok(false);
    }
    if signal != 0 {
        cgroup.kill(signal)?;
    }
    Ok(true)
}
