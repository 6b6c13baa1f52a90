//! `run`: create and start in one process, then either leave the container alone (`--detach`) or wait
//! for it in the foreground and remove it.

use super::create::{Created, Settings, StartBy, create};
use super::foreground::{self, Console};
use super::notify::Proxy;
use super::statedir::{Lock, StateDir};
use super::terminal::HostTerminal;
use super::{delete, start};
use crate::cli::command::Run;
use crate::error::{Context, Doing};
use crate::sys::signal;
use anyhow::Result;
use std::os::fd::AsFd;

/// Runs a container; the answer is the exit status of its process, 0 when detached.
pub fn run(states: &StateDir, settings: Settings, args: &Run) -> Result<u8> {
    if !args.detach {
        // Blocked before the process exists, so that none is lost.
        signal::block_all().doing(|| "block signals")?;
        if !args.create.no_subreaper {
            foreground::become_subreaper()?;
        }
    }
    let mut created = create(states, settings, &args.create, StartBy::Channel, args.detach)?;
    take_size(&created)?;
    let notifications = Proxy::open(&created.entry)?;
    if let Err(error) = start::start_created(&created) {
        created.launched.kill();
        remove(created)?;
        return Err(error);
    }
    crate::trace::flush();
    if args.detach {
        let launched = &created.launched;
        notifications.map_or(Ok(()), |proxy| proxy.wait(launched.pid, &launched.pidfd))?;
        return Ok(0);
    }
    let status = crate::trace::step("the container runs", || wait(&mut created, notifications.as_ref()));
    if !args.keep {
        remove(created)?;
    }
    Ok(status? as u8)
}

/// The container's terminal begins with the size of the user's.
fn take_size(created: &Created) -> Result<()> {
    let (input, output, errors) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let Some(master) = &created.launched.master else { return Ok(()) };
    match HostTerminal::find(&[input.as_fd(), output.as_fd(), errors.as_fd()]) {
        Some(host) => host.copy_size(master),
        None => Ok(()),
    }
}

fn wait(created: &mut Created, notifications: Option<&Proxy>) -> Result<i32> {
    let (input, output, errors) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let console = created.launched.master.take().map(|master| Console {
        master,
        input: input.as_fd(),
        output: output.as_fd(),
        host: HostTerminal::find(&[input.as_fd(), output.as_fd(), errors.as_fd()]),
    });
    let pid = rustix::process::Pid::from_raw(created.launched.pid).context("the container has no pid")?;
    foreground::supervise(&created.launched.pidfd, pid, console, notifications)
}

fn remove(created: Created) -> Result<()> {
    created.entry.lock(Lock::Exclusive)?;
    let state = created.entry.state()?;
    delete::remove(created.entry, &state)
}
