//! The host side: what the commands do to containers, one file per verb, and what those share:
//! the state directory, identities of processes, hooks, the terminal, waiting in the foreground.

pub mod create;
pub mod delete;
pub mod error;
pub mod foreground;
pub mod hooks;
pub mod identity;
pub mod inspect;
pub mod kill;
mod launch;
mod netdevice;
mod pidfile;
mod rdt;
mod rtnetlink;
pub mod run;
pub mod spec;
pub mod start;
pub mod state;
pub mod statedir;
pub mod terminal;

use crate::bundle::plan::Plan;
use anyhow::Result;
use statedir::{Entry, State};

/// The plan of a container that exists, from the copy of config.json that `create` kept; for its
/// hooks only.
fn plan_of(entry: &Entry, state: &State) -> Result<Plan> {
    let spec = crate::bundle::parse(&entry.read_config()?)
        .map_err(|problems| anyhow::anyhow!("config.json of `{}`: {problems}", state.id))?;
    let options = crate::bundle::Options { bundle: state.bundle.clone(), no_pivot: false };
    crate::bundle::lower(&spec, &options, &crate::bundle::Host::probe()?)
        .map_err(|problems| anyhow::anyhow!("config.json of `{}`: {problems}", state.id))
}
