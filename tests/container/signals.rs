//! `run` in the foreground as a good citizen: signals on their way in, orphans on their way out.

use crate::harness::{Sandbox, wait_until};
use crate::{config, host};
use rustix::process::Signal;
use std::fs;

#[test]
fn run_passes_signals_on() {
    let mut t = Sandbox::new();
    t.args(&["payload", "trap", "1", "2", "3", "10", "12", "15"]).write_config();
    let mut running = t.spawn(t.command(&["run", &t.id]));
    running.wait_for("ready");
    let signals = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::TERM];
    for signal in signals {
        running.signal(signal);
        running.wait_for(&format!("signal {}\n", signal.as_raw()));
    }
    running.wait().ok();
    t.assert_clean();
}

#[test]
fn run_survives_signals_that_the_container_ignores() {
    let mut t = Sandbox::new();
    t.args(&["sh", "-c", "trap '' TERM INT; echo ready; sleep 0.3; exit 5"]).write_config();
    let mut running = t.spawn(t.command(&["run", &t.id]));
    running.wait_for("ready");
    running.signal(Signal::TERM);
    running.signal(Signal::INT);
    running.wait().exits(5);
}

#[test]
fn run_ends_with_the_signal_that_ended_the_container() {
    let mut t = Sandbox::new();
    config::drop_namespace(&mut t.config, "pid");
    t.args(&["payload", "sleep", "5000"]).write_config();
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let running = t.spawn(t.command(&["run", &t.id]));
        wait_until("running", || {
            let state = t.runtime(&["state", &t.id]);
            state.code == 0 && state.json()["status"] == "running"
        });
        running.signal(signal);
        running.wait().exits(code);
        t.assert_clean();
    }
}

#[test]
fn run_is_told_of_a_kill_from_elsewhere() {
    let mut t = Sandbox::new();
    t.args(&["payload", "trap", "10", "15"]).write_config();
    let mut running = t.spawn(t.command(&["run", &t.id]));
    running.wait_for("ready");
    t.kill("KILL").ok();
    running.wait().exits(137);
    t.assert_clean();
}

/// Zombies among the children of a process.
fn zombies_of(parent: i32) -> usize {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    children.split_whitespace().filter(|pid| host::process_state(pid.parse().unwrap()) == Some('Z')).count()
}

#[test]
fn run_reaps_orphans_as_a_subreaper() {
    let mut t = Sandbox::new();
    config::drop_namespace(&mut t.config, "pid");
    // Grandchildren whose parent is gone end while the container lives on.
    let script = "for i in 1 2 3 4 5; do (sleep 0.1 &) ; done; sleep 0.4; echo ready; sleep 5000";
    t.args(&["sh", "-c", script]).write_config();
    let mut running = t.spawn(t.command(&["run", &t.id]));
    running.wait_for("ready");
    wait_until("no zombies", || zombies_of(running.pid()) == 0);
    t.kill("KILL").ok();
    running.wait().exits(137);
    t.assert_clean();
}

#[test]
fn run_ends_although_orphans_hold_on() {
    let mut t = Sandbox::new();
    config::drop_namespace(&mut t.config, "pid");
    t.args(&["sh", "-c", "(sleep 5000 &) ; exit 3"]).write_config();
    t.spawn(t.command(&["run", &t.id])).wait().exits(3);
    t.assert_clean();
}

#[test]
fn children_of_the_container_die_with_its_first_process() {
    let mut t = Sandbox::new();
    t.args(&["sh", "-c", "sleep 5000 & sleep 5000 & exit 0"]);
    t.run().ok();
    t.assert_clean();
}
