//! The host side: what the commands do to containers, one file per verb, and what those share:
//! the state directory, identities of processes, hooks, the terminal, waiting in the foreground.

pub mod error;
pub mod foreground;
pub mod hooks;
pub mod identity;
pub mod state;
pub mod statedir;
pub mod terminal;
