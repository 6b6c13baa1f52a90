//! Checkpoint and restore that are cut short: the command is interrupted, or CRIU dies at one of its steps.
//! The container goes on, or nothing is left. By CRIU itself, which runs a script at its steps.

use crate::checkpoint::{Driver, checkpoint, count, counting, goes_on, needs_criu, restore, start};
use crate::harness::{Outcome, Sandbox, write_program};
use serde_json::json;
use std::fs;

/// Makes CRIU call a script at each step, which at the step `at` sends a signal to CRIU or to what started it.
fn signal_at(t: &mut Sandbox, at: &str, signal: &str, to: &str) {
    let reached = t.path("reached");
    let script = format!(
        "#!/bin/sh\n[ \"$CRTOOLS_SCRIPT_ACTION\" = {at} ] || exit 0\n\
         parent() {{ sed -n 's/^PPid:[^0-9]*//p' /proc/$1/status; }}\n\
         criu=$$\nwhile read -r name < /proc/$criu/comm && [ \"$name\" != criu ]; do criu=$(parent $criu); done\n\
         runtime=$(parent $criu)\necho {at} > {reached}\nkill -{signal} ${to}\n"
    );
    write_program(&t.dir().join("script"), &script);
    let file = t.path("criu.conf");
    fs::write(&file, format!("action-script {}\n", t.path("script"))).unwrap();
    t.config["annotations"] = json!({"org.criu.config": file});
}

/// Takes the script away.
fn quiet(t: &Sandbox) {
    fs::write(t.path("criu.conf"), "").unwrap();
}

/// Removed files that are open have a name again while CRIU opens them; if it is killed then, the name stays
/// and is in the way of the next restore.
fn remove_ghosts(t: &Sandbox) {
    for file in fs::read_dir(t.rootfs().join("tmp")).unwrap().flatten() {
        if file.file_name().to_string_lossy().ends_with(".ghost") {
            fs::remove_file(file.path()).unwrap();
        }
    }
}

/// The step was reached.
#[track_caller]
fn reached(t: &Sandbox, step: &str) {
    assert_eq!(fs::read_to_string(t.path("reached")).unwrap_or_default().trim(), step);
    fs::remove_file(t.path("reached")).unwrap();
}

fn dump(t: &Sandbox, options: &[&str]) -> Outcome {
    let (images, work) = (t.path("cut"), t.path("work"));
    let words = ["checkpoint", "--image-path", &images, "--work-path", &work];
    t.runtime(&words.iter().chain(options).copied().chain([t.id.as_str()]).collect::<Vec<_>>())
}

fn restoring(t: &Sandbox) -> Outcome {
    let (images, work) = (t.path("images"), t.path("work"));
    t.runtime(&["restore", "--detach", "--image-path", &images, "--work-path", &work, &t.id])
}

/// At the first step no process is stopped yet, at the second all are, at the third all is written.
const DUMP_STEPS: [&str; 3] = ["pre-dump", "network-lock", "post-dump"];

/// Dumps that a signal cuts short at each of the steps; then one that is not, and its restore.
fn cut_short_at(steps: &[&str], signal: &str, to: &str, words: &str) {
    let mut t = counting(Driver::Files);
    signal_at(&mut t, "none", signal, to);
    start(&t, Driver::Files);
    goes_on(&t, 0);
    let pid = t.pid();
    for step in steps {
        signal_at(&mut t, step, signal, to);
        dump(&t, &[]).failed().one_line().says(&[words]);
        reached(&t, step);
        assert_eq!((t.status().as_str(), t.pid()), ("running", pid));
        goes_on(&t, count(&t));
    }
    quiet(&t);
    checkpoint(&t, "images", &[]);
    let at = count(&t);
    restore(&t, Driver::Files, "images", &[]);
    goes_on(&t, at);
}

#[test]
fn an_interrupted_dump_lets_the_container_go_on() {
    needs_criu!();
    // A signal that comes at the last step comes too late.
    cut_short_at(&DUMP_STEPS[..2], "TERM", "runtime", "interrupted by signal 15 (terminated)");
}

#[test]
fn a_dump_whose_criu_dies_lets_the_container_go_on() {
    needs_criu!();
    cut_short_at(&DUMP_STEPS, "KILL", "criu", "CRIU ended without an answer");
}

#[test]
fn a_restore_that_is_cut_short_leaves_nothing() {
    needs_criu!();
    let mut t = counting(Driver::Files);
    signal_at(&mut t, "none", "KILL", "criu");
    start(&t, Driver::Files);
    goes_on(&t, 0);
    checkpoint(&t, "images", &[]);
    for step in ["pre-restore", "setup-namespaces", "post-setup-namespaces", "post-restore"] {
        for (signal, to, words) in
            [("KILL", "criu", "CRIU ended without an answer"), ("INT", "runtime", "interrupted by signal 2")]
        {
            // After that the processes go on: it would come too late.
            if (signal, step) == ("INT", "post-restore") {
                continue;
            }
            signal_at(&mut t, step, signal, to);
            restoring(&t).failed().one_line().says(&[words]);
            reached(&t, step);
            t.assert_clean();
        }
        remove_ghosts(&t);
    }
    quiet(&t);
    let at = count(&t);
    restore(&t, Driver::Files, "images", &[]);
    goes_on(&t, at);
}
