//! `start`: tells a waiting init to execute its program and learns how that went; then poststart
//! hooks. Also the second half of `run`.

use super::create::Created;
use super::delete;
use super::error::Error;
use super::hooks;
use super::identity::ended_unexecuted;
use super::inspect;
use super::notify::Proxy;
use super::statedir::{Entry, Lock, StateDir, Status};
use crate::error::{anyhow, bail, errno_of};
use crate::init::last;
use crate::init::sync::{Channel, LastStep, Message};
use crate::procfs::Procfs;
use anyhow::Result;
use std::os::fd::OwnedFd;

/// Starts a created container by its id.
pub fn start(states: &StateDir, id: &str) -> Result<()> {
    let entry = states.open_entry(id)?;
    entry.lock(Lock::Exclusive)?;
    let state = entry.state()?;
    let (status, init) = entry.status(&state)?;
    match status {
        // Init could not answer, and whoever deletes the container would wait for this command's lock.
        Status::Created if inspect::with_paused(status, &state)? == Status::Paused => {
            bail!(Error::WrongState("cannot start a container in the paused state: resume it first".into()))
        }
        Status::Created => {}
        Status::Running | Status::Paused => {
            bail!(Error::WrongState("cannot start an already running container".into()))
        }
        Status::Stopped => bail!(Error::WrongState("cannot start a container that has stopped".into())),
        Status::Creating => bail!(Error::WrongState("cannot start a container that is being created".into())),
    }
    let notifications = Proxy::open(&entry)?;
    let channel = Channel::new(entry.connect_start_socket()?);
    // From here on the container counts as started, also when this process is killed: init ends
    // when the connection ends without a word.
    entry.unlink_start_socket()?;
    let pid = state.init.as_ref().map_or(0, |init| init.pid);
    tell(&channel, pid, |told, root| Ok(last::explain(told, root, &super::plan_of(&entry, &state)?)))?;
    if state.poststart {
        let plan = super::plan_of(&entry, &state)?;
        poststart(&entry, hooks::poststart(&plan, id, pid))?;
    }
    // Who waits for the container to be ready must not keep others from deleting it.
    entry.unlock()?;
    match (notifications, init) {
        (Some(notifications), Some(init)) => notifications.wait(pid, &init),
        _ => Ok(()),
    }
}

/// Starts a container that this process has just created.
pub fn start_created(created: &Created) -> Result<()> {
    let explain = |told: &LastStep, root| Ok(last::explain(told, root, &created.plan));
    tell(&created.launched.channel, created.launched.pid, explain)?;
    let id = created.entry.id();
    poststart(&created.entry, hooks::poststart(&created.plan, id, created.launched.pid))
}

/// Says Start; end of file means that the program runs, or that init was killed before.
fn tell(
    channel: &Channel,
    init: i32,
    explain: impl FnOnce(&LastStep, Option<OwnedFd>) -> Result<anyhow::Error>,
) -> Result<()> {
    let procfs = Procfs::open()?;
    let killed = || anyhow!("container init (pid {init}) was killed before its program was executed");
    channel.send(&Message::Start(crate::trace::is_on())).map_err(|error| match errno_of(&error) {
        libc::EPIPE | libc::ECONNRESET => killed(),
        _ => error,
    })?;
    // The filter, startContainer hooks, execve.
    match crate::trace::step("until the program runs", || channel.receive())? {
        None if ended_unexecuted(&procfs, init) => Err(killed()),
        None => Ok(()),
        // The specification wants an error, its validation suite success: callers get both.
        Some((Message::NothingToRun, _)) => {
            crate::error!("the container has no process: nothing was executed; add `process` to config.json");
            Ok(())
        }
        Some((Message::Failed(failed), _)) => bail!(failed),
        Some((Message::LastStep(told), root)) => Err(explain(&told, root)?),
        Some((other, _)) => bail!("init said {other:?}, which was not expected"),
    }
}

/// A failing poststart hook stops the container (spec 1.3, Lifecycle).
fn poststart(entry: &Entry, result: Result<()>) -> Result<()> {
    if result.is_err() {
        entry.state().and_then(|state| delete::end_processes(entry, &state))?;
    }
    result
}
