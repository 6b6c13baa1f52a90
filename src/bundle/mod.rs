//! The bundle: reading config.json and turning it into a `Plan`. Pure but for reading the file and
//! `Host::probe`; called first by every command that makes a container or a process. `lower` is
//! the way in; each of the other files lowers what it is named after.

mod annotations;
mod capabilities;
pub mod default_spec;
mod devices;
mod file;
mod hooks;
pub mod host;
mod id_maps;
pub mod json;
pub mod lists;
mod lower;
pub mod memory_policy;
mod mount_options;
mod mounts;
mod namespaces;
mod net_devices;
pub mod plan;
pub mod problems;
mod process;
mod scheduler;
pub mod spec;
mod sysctl;

#[cfg(test)]
pub mod bad_input;
#[cfg(test)]
mod bad_linux;
#[cfg(test)]
mod bad_process;
#[cfg(test)]
mod edges;
#[cfg(test)]
mod good_input;
#[cfg(test)]
mod oracle;

pub use capabilities::{names as capability_names, number as capability_number};
pub use file::{Bundle, read};
pub use host::Host;
pub use json::{parse, unknown_members};
pub use lower::{Options, lower, lower_all};
#[cfg(fuzzing)]
pub use mount_options::fuzz as fuzz_mount_options;
pub use mount_options::{option_names as mount_option_names, plain_names as plain_mount_options};
pub use problems::{Problem, Problems, Warnings};
pub use process::lower as lower_process;
