//! The host side: what the commands do to containers, one file per verb, and what those share:
//! the state directory, identities of processes, hooks, the terminal, waiting in the foreground.

pub mod checkpoint;
pub mod create;
pub mod delete;
mod entrance;
pub mod error;
pub mod events;
pub mod exec;
mod external;
pub mod foreground;
pub mod gc;
mod handover;
pub mod hooks;
pub mod identity;
mod image;
mod images;
pub mod inspect;
pub mod kill;
pub mod launch;
pub mod list;
pub mod matching;
pub mod mounts;
mod netdevice;
pub mod notify;
pub mod pause;
mod pidfile;
pub mod ps;
pub mod rdt;
pub mod restore;
mod rtnetlink;
pub mod run;
pub mod spec;
mod staging;
pub mod start;
pub mod state;
pub mod statedir;
mod subcgroup;
mod tenant;
pub mod terminal;
pub mod top;
pub mod update;

use crate::bundle::Host;
use crate::bundle::plan::Plan;
use crate::bundle::spec::Spec;
use crate::error::Context;
use anyhow::Result;
use statedir::{Entry, State};

/// config.json of a container that exists, as `create` kept it.
fn spec_of(entry: &Entry, state: &State) -> Result<Spec> {
    crate::bundle::parse(&entry.read_config()?).with_context(|| format!("config.json of `{}`", state.id))
}

/// The plan of a container that exists, for its hooks and for other processes in it.
fn plan_of(entry: &Entry, state: &State) -> Result<Plan> {
    lower_again(&spec_of(entry, state)?, state, &Host::probe()?)
}

fn lower_again(spec: &Spec, state: &State, host: &Host) -> Result<Plan> {
    let options = crate::bundle::Options { bundle: state.bundle.clone(), no_pivot: false };
    crate::bundle::lower(spec, &options, host).with_context(|| format!("config.json of `{}`", state.id))
}
