//! Loading the seccomp filter, last of all (R19), and what must be known before: the runtime makes a few
//! system calls after it, which the filter may deny. Called by `init::process` alone.

use super::sync::{Channel, Message};
use crate::bundle::plan::Process;
use crate::error::{Doing, anyhow, bail};
use crate::seccomp::Filter;
use crate::sys::process as sys;
use anyhow::Result;
use rustix::io::fcntl_dupfd_cloexec;
use std::io::Error;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Refuses a filter under which no program could be started, so that `create` fails and not `start`.
pub fn check(filter: &Filter, process: &Process) -> Result<()> {
    if filter.denies(libc::SYS_execve) {
        bail!("linux.seccomp denies execve, so that no program can be started: allow it");
    }
    if process.no_new_privileges {
        return Ok(());
    }
    let ambient = process.capabilities.is_some_and(|sets| sets.ambient != 0);
    for (call, name, used) in [(libc::SYS_capset, "capset", true), (libc::SYS_prctl, "prctl", ambient)] {
        if used && filter.denies(call) {
            bail!(
                "linux.seccomp denies {name}, with which process.capabilities are set after the filter: \
                 allow it, or set process.noNewPrivileges"
            );
        }
    }
    Ok(())
}

/// Loads a filter that does not notify.
pub fn load(filter: &Filter) -> Result<()> {
    sys::seccomp(&filter.program, filter.flags).map_err(|error| refused(&error, filter))
}

/// Loads a filter that notifies. After that each call may wait for the agent, so the host side gets
/// the listener out of this process by its number, the lowest that is free; only where that is not
/// allowed it is sent.
pub fn load_notifying(filter: &Filter, channel: &Channel) -> Result<()> {
    let free = fcntl_dupfd_cloexec(channel.fd(), 0).doing(|| "find a free descriptor")?;
    let number = free.as_raw_fd();
    drop(free);
    channel.send(&Message::SeccompListener(number))?;
    let fetched = match channel.receive()? {
        Some((Message::Given, _)) => true,
        Some((Message::Refused(_), _)) => false,
        _ => super::deserted(),
    };
    if !fetched && !filter.allows(libc::SYS_sendmsg) {
        bail!("linux.seccomp must allow sendmsg, with which the listener is handed over without root");
    }
    let listener = sys::seccomp_listener(&filter.program, filter.flags);
    let listener: OwnedFd = listener.map_err(|error| refused(&error, filter))?;
    if !fetched {
        channel.send_with(&Message::SeccompListener(number), Some(listener.as_fd()))?;
    }
    // While this process has the listener too, the agent's death answers no call.
    channel.expect(&Message::ListenerSent)
}

/// Why the kernel did not take a filter.
pub fn refused(error: &Error, filter: &Filter) -> anyhow::Error {
    let why = crate::error::why(error);
    let unknown = || crate::seccomp::flag_names(filter.flags).find(|(bit, _)| !sys::seccomp_has_flag(*bit));
    let hint = match error.raw_os_error() {
        Some(libc::EINVAL) => match unknown() {
            Some((_, name)) => format!("; this kernel does not have the flag {name} (linux.seccomp.flags)"),
            None => String::new(),
        },
        Some(libc::EBUSY) => "; the runtime itself is under a filter with a listener, and the kernel \
            allows one: leave SCMP_ACT_NOTIFY out"
            .to_string(),
        _ => String::new(),
    };
    anyhow!("load the seccomp filter (linux.seccomp): {why}{hint}")
}
