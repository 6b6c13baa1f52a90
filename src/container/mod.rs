//! The host side: what the commands do to containers, one file per verb, and what those share:

pub mod error;
pub mod hooks;
pub mod identity;
