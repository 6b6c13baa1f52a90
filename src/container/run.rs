//! `run`: create and start in one process, then either leave the container alone (`--detach`) or wait
//! for it in the foreground and remove it.

use super::create::{Settings, StartBy, create};
use super::foreground::{self, Console, Signals};
use super::notify::Proxy;
use super::statedir::{Entry, Lock, StateDir};
use super::terminal::HostTerminal;
use super::{delete, start};
use crate::cli::command::Run;
use crate::error::Context;
use anyhow::Result;
use std::os::fd::{AsFd, OwnedFd};

/// Runs a container; the answer is the exit status of its process, 0 when detached.
pub fn run(states: &StateDir, settings: Settings, args: &Run) -> Result<u8> {
    // Blocked before the process exists, so that none is lost.
    let signals = (!args.detach).then(Signals::block).transpose()?;
    if !args.detach && !args.create.no_subreaper {
        foreground::become_subreaper()?;
    }
    let mut created = create(states, settings, &args.create, StartBy::Channel, args.detach)?;
    created.launched.master.as_ref().map_or(Ok(()), take_size)?;
    let notifications = Proxy::open(&created.entry)?;
    if let Err(error) = start::start_created(&created) {
        created.launched.kill();
        remove(created.entry)?;
        return Err(error);
    }
    crate::trace::flush();
    let launched = &mut created.launched;
    let Some(signals) = signals else {
        notifications.map_or(Ok(()), |proxy| proxy.wait(launched.pid, &launched.pidfd))?;
        return Ok(0);
    };
    let status = crate::trace::step("the container runs", || {
        wait(launched.pid, &launched.pidfd, signals, launched.master.take(), notifications.as_ref())
    });
    if status.is_err() {
        // Nobody else looks after it.
        launched.kill();
    }
    if !args.keep {
        remove(created.entry)?;
    }
    Ok(status? as u8)
}

/// The container's terminal begins with the size of the user's.
pub fn take_size(master: &OwnedFd) -> Result<()> {
    let (input, output, errors) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    match HostTerminal::find(&[input.as_fd(), output.as_fd(), errors.as_fd()]) {
        Some(host) => host.copy_size(master),
        None => Ok(()),
    }
}

/// Waits for a container in the foreground, and carries bytes to and from its terminal; the answer is
/// the exit status of its process.
pub fn wait(
    pid: i32,
    pidfd: &OwnedFd,
    signals: Signals,
    master: Option<OwnedFd>,
    notifications: Option<&Proxy>,
) -> Result<i32> {
    let (input, output, errors) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let console = master.map(|master| Console {
        master,
        input: input.as_fd(),
        output: output.as_fd(),
        host: HostTerminal::find(&[input.as_fd(), output.as_fd(), errors.as_fd()]),
    });
    let pid = rustix::process::Pid::from_raw(pid).context("the container has no pid")?;
    foreground::supervise(pidfd, pid, signals, console, notifications)
}

/// Removes a container that has ended.
pub fn remove(entry: Entry) -> Result<()> {
    entry.lock(Lock::Exclusive)?;
    let state = entry.state()?;
    delete::remove(entry, &state)
}
