//! Fault injection: every system call of the runtime fails once, and the runtime and its init are killed
//! at every one. `make fault` does all of it; `cargo test` a selection. A file per concept: `ptrace` the
//! kernel's interface, `tracer` one traced run, `faults` the errors of each call, `scenarios` the commands,
//! `sweep` one fault after the other, `harmless` what may succeed all the same, `errors` the texts of single
//! faults. Needs root and x86-64.
#![cfg(target_arch = "x86_64")]
#![allow(missing_docs, dead_code)]
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

#[path = "../container/config.rs"]
mod config;
#[macro_use]
#[allow(unused_macros)]
#[path = "../container/harness.rs"]
mod harness;
#[path = "../container/fake_systemd.rs"]
mod fake_systemd;
#[path = "../container/host.rs"]
mod host;

mod errors;
mod errors_of_cgroup_v2;
mod errors_of_checkpoint;
mod errors_of_commands;
mod errors_of_create;
mod errors_of_files;
mod errors_of_init;
mod errors_of_networks;
mod errors_of_restore;
mod errors_of_systemd;
mod faults;
mod harmless;
mod ptrace;
mod scenarios;
mod sweep;
mod tracer;

use harness::{is_oxrun, note_skip};
use scenarios::{Scenario, Verb};

fn faults_in(name: &'static str, verb: Verb, change: fn(Scenario) -> Scenario) {
    if !is_oxrun() {
        return note_skip("only oxrun promises this");
    }
    sweep::sweep(change(Scenario::new(name, verb)));
}

fn plain(scenario: Scenario) -> Scenario {
    scenario
}

#[test]
fn create() {
    faults_in("create", Verb::Create, plain);
}

#[test]
fn create_with_everything() {
    faults_in("create, everything", Verb::Create, Scenario::with_everything);
}

#[test]
fn create_in_a_user_namespace() {
    faults_in("create, user namespace", Verb::Create, Scenario::with_users);
}

#[test]
fn create_without_a_mount_namespace() {
    faults_in("create, no mount namespace", Verb::Create, Scenario::without_mount_namespace);
}

#[test]
fn start() {
    faults_in("start", Verb::Start, plain);
}

#[test]
fn start_with_everything() {
    faults_in("start, everything", Verb::Start, Scenario::with_everything);
}

#[test]
fn exec() {
    faults_in("exec", Verb::Exec, plain);
}

#[test]
fn exec_detached() {
    faults_in("exec --detach", Verb::ExecDetached, plain);
}

#[test]
fn delete() {
    faults_in("delete", Verb::Delete, plain);
}

#[test]
fn delete_force() {
    faults_in("delete --force", Verb::DeleteForce, plain);
}

#[test]
fn delete_with_everything() {
    faults_in("delete --force, everything", Verb::DeleteForce, Scenario::with_everything);
}

#[test]
fn kill() {
    faults_in("kill", Verb::Kill, plain);
}

#[test]
fn pause() {
    faults_in("pause", Verb::Pause, plain);
}

#[test]
fn resume() {
    faults_in("resume", Verb::Resume, plain);
}

#[test]
fn update() {
    faults_in("update", Verb::Update, plain);
}
