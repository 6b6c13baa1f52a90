//! The listener of a filter that notifies: handed to the agent's socket together with the
//! container process state (spec: config-linux.md, Seccomp). Called by the host side when a
//! process is about to load the filter: a container's first one, or one of `exec`.

use crate::bundle::plan::Plan;
use crate::container::hooks;
use crate::container::terminal;
use crate::error::{Context, Doing, bail};
use crate::init::sync::{Channel, Message};
use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use serde_json::json;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Between two looks for the listener; loading a filter takes about 200 µs.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000 };

/// A connection to the agent of `linux.seccomp.listenerPath`.
#[derive(Debug)]
pub struct Agent<'a> {
    plan: &'a Plan,
    metadata: &'a str,
    socket: OwnedFd,
}

/// Connects to the agent.
pub fn connect(plan: &Plan) -> Result<Agent<'_>> {
    let agent = plan.seccomp.as_ref().and_then(|f| f.listener.as_ref()).context("the filter has no agent")?;
    let socket = terminal::connect_socket("linux.seccomp.listenerPath", Path::new(&agent.path))
        .context("failed to connect with seccomp agent")?;
    Ok(Agent { plan, metadata: &agent.metadata, socket })
}

/// A process that is about to load the filter: from then on each of its system calls may wait for
/// the agent, also the ones with which it would send the listener. So the listener is fetched.
#[derive(Debug)]
pub struct Loading<'a> {
    /// Its pid as the runtime sees it.
    pub pid: i32,
    /// Stable reference to it.
    pub pidfd: &'a OwnedFd,
    /// The conversation with it.
    pub channel: &'a Channel,
    /// The number that the listener will have there.
    pub number: i32,
}

impl Agent<'_> {
    /// Sends exactly one state with the listener of `process`, in the container whose first process
    /// is `init`, and lets it go on. False when the process ended without a word.
    pub fn hand_over(&self, status: &str, id: &str, init: i32, process: &Loading) -> Result<bool> {
        let Some(listener) = take(process)? else { return Ok(false) };
        self.send(status, id, init, process.pid, &listener)?;
        process.channel.send(&Message::ListenerSent)?;
        Ok(true)
    }

    fn send(&self, status: &str, id: &str, init: i32, pid: i32, listener: &OwnedFd) -> Result<()> {
        let state: serde_json::Value =
            serde_json::from_slice(&hooks::state_json(self.plan, id, status, init)?)?;
        let mut message = json!({
            "ociVersion": crate::cli::help::SPEC_VERSION,
            "fds": ["seccompFd"],
            "pid": pid,
            "state": state,
        });
        if let (Some(members), false) = (message.as_object_mut(), self.metadata.is_empty()) {
            members.insert("metadata".into(), json!(self.metadata));
        }
        terminal::send_fd("linux.seccomp.listenerPath", &self.socket, listener.as_fd(), &message.to_string())
    }
}

/// Lets the process load its filter and gets the listener; none when the process ended.
fn take(process: &Loading) -> Result<Option<OwnedFd>> {
    let fetch = || pidfd_getfd(process.pidfd, process.number, PidfdGetfdFlags::empty());
    if fetch().err() != Some(Errno::BADF) {
        // Not allowed here: a runtime without CAP_SYS_PTRACE in the first user namespace.
        process.channel.send(&Message::Refused(String::new()))?;
        return sent(process.channel);
    }
    process.channel.send(&Message::Given)?;
    loop {
        let mut channel = [PollFd::new(process.channel.fd(), PollFlags::IN)];
        let waited = match fetch() {
            Ok(listener) => return Ok(Some(listener)),
            Err(Errno::BADF | Errno::SRCH) => poll(&mut channel, Some(&PAUSE)),
            Err(error) => Err(error),
        };
        match waited {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return sent(process.channel),
            Err(error) => return Err(error).doing(|| "fetch the seccomp listener"),
        }
    }
}

/// What the process says instead of being fetched from: the listener, or why there is none.
fn sent(channel: &Channel) -> Result<Option<OwnedFd>> {
    match channel.receive()? {
        None => Ok(None),
        Some((Message::SeccompListener(_), Some(listener))) => Ok(Some(listener)),
        Some((Message::Failed(failed), _)) => bail!(failed),
        Some((other, _)) => bail!("expected the seccomp listener, received {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::bad_input::{config, plan};
    use crate::error::Failed;

    #[test]
    fn what_a_process_says_instead_of_its_listener_is_an_error() {
        let said = |message: Message| {
            let (ours, theirs) = Channel::pair().unwrap();
            theirs.send(&message).unwrap();
            sent(&ours).unwrap_err().to_string()
        };
        let failed = Failed::told(libc::EBUSY, "src/x.rs:1".into(), "load the filter: busy".into());
        assert_eq!(said(Message::Failed(failed)), "load the filter: busy");
        assert_eq!(said(Message::Console), "expected the seccomp listener, received Console");
        let (ours, theirs) = Channel::pair().unwrap();
        drop(theirs);
        assert!(sent(&ours).unwrap().is_none(), "it ended without a word");
    }

    #[test]
    fn without_an_agent_there_is_nothing_to_connect_to() {
        let error = connect(&plan(&config(&[])).unwrap()).unwrap_err().to_string();
        assert_eq!(error, "the filter has no agent");
    }
}
