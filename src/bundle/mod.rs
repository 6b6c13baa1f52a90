//! The bundle: reading config.json and turning it into a `Plan`. Pure but for reading the file;
//! called first by every command that makes a container or a process.

pub mod json;
pub mod plan;
pub mod spec;
