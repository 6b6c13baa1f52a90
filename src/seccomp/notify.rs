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

/// Connects to `linux.seccomp.listenerPath` and sends exactly one state with the listener.
pub fn send(plan: &Plan, id: &str, pid: i32, listener: &OwnedFd) -> Result<()> {
    let agent = plan.seccomp.as_ref().and_then(|f| f.listener.as_ref()).context("the filter has no agent")?;
    let state: serde_json::Value = serde_json::from_slice(&hooks::state_json(plan, id, "creating", pid)?)?;
    let mut message = json!({
        "ociVersion": crate::cli::help::SPEC_VERSION,
        "fds": ["seccompFd"],
        "pid": pid,
        "state": state,
    });
    if let (Some(members), false) = (message.as_object_mut(), agent.metadata.is_empty()) {
        members.insert("metadata".into(), json!(agent.metadata));
    }
    let socket = terminal::connect_socket("linux.seccomp.listenerPath", Path::new(&agent.path))
        .context("failed to connect with seccomp agent")?;
    terminal::send_fd("linux.seccomp.listenerPath", &socket, listener.as_fd(), &message.to_string())
}
