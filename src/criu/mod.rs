//! CRIU, the program that writes process trees to images and makes them again, driven by its RPC
//! (criu.org/RPC): `criu swrk` is started with one end of a socket pair and asked there. Here are the
//! messages, the process and its log; what a container needs of it is in `container::checkpoint` and
//! `container::restore`.

mod interrupt;
mod log;
pub mod messages;
mod swrk;

pub use log::clean;
pub use swrk::{Setting, Step, Swrk, find};

use messages::Version;

/// The oldest that is used: it has external pid namespaces and the freezer of cgroup v2.
pub const OLDEST: Version = Version { major: 3, minor: 16 };
