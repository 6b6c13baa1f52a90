//! Many containers in a row and side by side leave the host as it was. The long version
//! (`make soak`) compares everything on the host; it wants a machine of its own.

use crate::harness::Sandbox;
use crate::host;
use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

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
fn everything() -> [BTreeSet<String>; 3] {
    let mounts = host::mounts_with(&[""]).into_iter().collect();
    let cgroups = host::cgroups().iter().map(|c| c.display().to_string()).collect();
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|e| e.file_name().to_string_lossy().parse::<u32>().ok());
    let names = pids
        .filter_map(|pid| Some(format!("{pid} {}", fs::read_to_string(format!("/proc/{pid}/comm")).ok()?)));
    // Kernel threads come and go.
    [mounts, cgroups, names.filter(|line| !line.contains("kworker")).collect()]
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
    // What other programs on the machine do meanwhile is over some seconds later.
    let end = Instant::now() + Duration::from_secs(60);
    let mut new = difference(&before, &everything());
    while !new.is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(200));
        new = difference(&before, &everything());
    }
    assert!(new.is_empty(), "left or lost on the host: {new:#?}");
}

/// Mounts and control groups that are there in one picture only, and processes that are new.
fn difference(before: &[BTreeSet<String>; 3], after: &[BTreeSet<String>; 3]) -> Vec<String> {
    let lasting = before[..2].iter().zip(&after[..2]).flat_map(|(b, a)| b.symmetric_difference(a));
    lasting.chain(after[2].difference(&before[2])).cloned().collect()
}

#[test]
fn lifecycles_at_once() {
    let mut t = Sandbox::new();
    t.args(&["payload", "sleep", "5000"]).write_config();
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
