//! The same traps on kernels that lack a system call, which a filter pretends: what can't be done safely
//! without it is refused, and nothing outside changes (R1, R2, R9, R12).

use super::{outside, replace_by_link, safe, snapshot, without_dev};
use crate::config;
use crate::harness::{Sandbox, is_oxrun};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;

/// Calls of Linux 5.1 to 5.12, with the numbers that all architectures share.
const CALLS: [(&str, u32); 9] = [
    ("pidfd_send_signal", 424),
    ("open_tree", 428),
    ("move_mount", 429),
    ("fsopen", 430),
    ("pidfd_open", 434),
    ("clone3", 435),
    ("close_range", 436),
    ("openat2", 437),
    ("mount_setattr", 442),
];

/// A container with every trap at once, and the directory outside.
fn trapped() -> (Sandbox, String) {
    let mut t = Sandbox::new();
    let place = outside(&t);
    without_dev(&mut t);
    replace_by_link(&t, "link", &place);
    symlink(format!("{place}/console"), t.rootfs().join("dev/console")).unwrap();
    config::add_mount(&mut t.config, "/link/sub/deep", "tmpfs", "tmpfs", &[]);
    t.config["linux"]["maskedPaths"] = json!(["/proc/version"]);
    t.config["linux"]["devices"] = json!([{"path": "/dev/made", "type": "c", "major": 1, "minor": 3}]);
    t.args(&["payload", "do", "read /proc/version", "chmod /proc/version 666"]).write_config();
    (t, place)
}

#[test]
fn traps_hold_without_any_newer_call() {
    if !is_oxrun() {
        skip!("another runtime has other ways without these calls");
    }
    for (name, number) in CALLS {
        let (t, place) = trapped();
        let before = snapshot(&place);
        let command = t.prepared(&["with-enosys", &number.to_string()], &["run", &t.id]);
        let outcome = safe(t.spawn(command).wait());
        assert_eq!(snapshot(&place), before, "without {name}");
        if outcome.code == 0 {
            let result = outcome.json();
            assert_eq!(result[0]["ok"], "", "without {name}: {result}");
            assert!(result[1]["err"].is_string(), "without {name}: {result}");
        } else {
            assert!(name != "mount_setattr", "Linux 5.10 has no {name} and is enough: {}", outcome.stderr);
        }
        t.finish();
        t.assert_clean();
    }
}

#[test]
fn links_hold_without_any_newer_call() {
    if !is_oxrun() {
        skip!("another runtime has other ways without these calls");
    }
    for (name, number) in CALLS {
        for directory in ["proc", "sys", "dev"] {
            let (t, place) = trapped();
            let _ = fs::remove_dir_all(t.rootfs().join(directory));
            symlink(&place, t.rootfs().join(directory)).unwrap();
            let before = snapshot(&place);
            let command = t.prepared(&["with-enosys", &number.to_string()], &["create", &t.id]);
            t.spawn(command).wait().failed().one_line();
            assert_eq!(snapshot(&place), before, "{directory} without {name}");
            t.finish();
            t.assert_clean();
        }
    }
}
