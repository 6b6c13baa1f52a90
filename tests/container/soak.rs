//! Many containers in a row and side by side leave the host as it was. The long version
//! (`make soak`) compares everything on the host; it wants a machine of its own.

use crate::harness::Sandbox;
use crate::host;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

/// `run`s of `true`: that many, from so many threads.
fn runs(t: &Sandbox, total: u32, threads: u32) {
    let next = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= total {
                        return;
                    }
                    t.runtime(&["run", &t.other_id(&number.to_string())]).ok();
                }
            });
        }
    });
}

/// The host in three lists: mounts, control groups, processes by name.
fn everything() -> (Vec<String>, Vec<std::path::PathBuf>, Vec<String>) {
    let mut mounts: Vec<String> = host::mounts_with(&[""]);
    mounts.sort();
    let mut processes: Vec<String> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|e| e.file_name().to_string_lossy().parse::<u32>().ok())
        .filter_map(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| format!("{pid} {name}"))
        })
        // Kernel threads come and go.
        .filter(|line| !line.contains("kworker"))
        .collect();
    processes.sort();
    (mounts, host::cgroups(), processes)
}

#[test]
fn fifty_in_a_row_and_two_dozen_at_once() {
    let mut t = Sandbox::new();
    t.args(&["true"]).write_config();
    runs(&t, 50, 1);
    t.assert_clean();
    runs(&t, 24, 8);
    t.assert_clean();
}

#[test]
#[ignore = "long; `make soak`"]
fn a_thousand_in_a_row_and_two_hundred_by_eight() {
    let mut t = Sandbox::new();
    t.args(&["true"]).write_config();
    runs(&t, 1, 1);
    let before = everything();
    runs(&t, 1000, 1);
    runs(&t, 200, 8);
    t.assert_clean();
    let after = everything();
    assert_eq!(before.0, after.0, "mounts");
    assert_eq!(before.1, after.1, "control groups");
    let new: Vec<&String> = after.2.iter().filter(|p| !before.2.contains(p)).collect();
    assert!(new.is_empty(), "processes: {new:?}");
}

#[test]
fn lifecycles_at_once() {
    let mut t = Sandbox::new();
    t.args(&["payload", "sleep", "60"]).write_config();
    std::thread::scope(|scope| {
        for number in 0..6 {
            let t = &t;
            scope.spawn(move || {
                let id = t.other_id(&number.to_string());
                t.runtime(&["create", &id]).ok();
                t.runtime(&["start", &id]).ok();
                t.runtime(&["list"]).ok();
                t.runtime(&["kill", &id, "KILL"]).ok();
                crate::harness::wait_until("stopped", || {
                    t.runtime(&["state", &id]).ok().json()["status"] == "stopped"
                });
                t.runtime(&["delete", &id]).ok();
            });
        }
    });
    t.assert_clean();
}
