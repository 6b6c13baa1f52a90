//! The listener of a filter that notifies: handed to the agent's socket together with the
//! container process state (spec: config-linux.md, Seccomp). Called by the host side when init has
//! loaded the filter.

use crate::bundle::plan::Plan;
use crate::container::hooks;
use crate::container::terminal;
use anyhow::{Context, Result};
use serde_json::json;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

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

impl Agent<'_> {
    /// Sends exactly one state with the listener: of the process `pid` in the container whose
    /// first process is `init`.
    pub fn send(&self, status: &str, id: &str, init: i32, pid: i32, listener: &OwnedFd) -> Result<()> {
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
