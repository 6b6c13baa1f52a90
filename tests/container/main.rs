//! Behavioural tests: the built binary against the real kernel, a file per area. They need root.
//! `RUNTIME=/path/to/another cargo test` runs them against another runtime; what only oxrun
//! promises is then left out, with the reason printed.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::disallowed_methods)]

#[macro_use]
mod harness;
mod config;
mod console;
mod fake_systemd;
mod host;

mod annotations;
mod bad_input;
mod cgroups;
mod check;
mod check_host;
mod checkpoint;
mod checkpoint_fake;
mod checkpoint_interrupted;
mod checkpoint_options;
mod concurrency;
mod create_failures;
mod docker;
mod doctor;
mod edges;
mod errors;
mod exec;
mod exec_errors;
mod gc;
mod hooks;
mod host_limits;
mod lifecycle;
mod mount_namespace;
mod mount_options;
mod mounts;
mod namespaces;
mod network_devices;
mod observe;
mod output;
mod process;
mod progress;
mod refusals;
mod resource_files;
mod rootless;
mod scheduling;
mod seccomp;
mod seccomp_loading;
mod seccomp_notify;
mod seccomp_profiles;
mod security;
mod signals;
mod soak;
mod spec;
mod systemd;
mod systemd_errors;
mod terminal;
mod time;
mod trace;
mod update;
mod userns;
