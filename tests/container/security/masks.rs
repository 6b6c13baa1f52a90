//! Masks and read-only paths over a /dev and a /proc that are not what they seem (R3, R6, R12).

use super::{Dev, everywhere, safe};
use crate::config;
use crate::harness::{Sandbox, is_oxrun, note_skip};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn masks_do_not_come_from_a_null_that_is_none() {
    // The image's /dev/null is a link to a file that must not become writable or a mask; a value
    // of the container's own IPC namespace stands in for a global one.
    let mut t = Sandbox::new();
    for destination in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
        config::drop_mount(&mut t.config, destination);
    }
    fs::write(t.rootfs().join("trap"), "trap").unwrap();
    for target in ["/proc/sys/kernel/msgmax", "/trap"] {
        let _ = fs::remove_file(t.rootfs().join("dev/null"));
        symlink(target, t.rootfs().join("dev/null")).unwrap();
        t.config["linux"]["maskedPaths"] = json!(["/proc/version"]);
        t.args(&[
            "payload",
            "do",
            "read /proc/version",
            "open /proc/version w",
            "open /proc/sys/kernel/msgmax w",
        ]);
        let outcome = t.run();
        if !is_oxrun() && outcome.stdout.is_empty() {
            note_skip("another runtime gives the process the image's /dev/null for its output");
        } else if outcome.code == 0 {
            let result = outcome.json();
            if !is_oxrun() && result[0]["ok"] != "" {
                skip!("another runtime is open to this (CVE-2025-31133)");
            }
            assert_eq!(result[0]["ok"], "", "masked by a real /dev/null: {result}");
            assert!(result[2]["err"].is_string(), "{result}");
        }
        t.assert_clean();
    }
}

#[test]
fn masks_hold_in_any_variant() {
    everywhere(|t, dev, _| {
        if dev == Dev::Absent {
            symlink("/proc/sys/kernel/msgmax", t.rootfs().join("dev/null")).unwrap();
        }
        t.config["linux"]["maskedPaths"] = json!(["/proc/version", "/proc/fs"]);
        t.args(&[
            "payload",
            "do",
            "read /proc/version",
            "open /proc/sys/kernel/msgmax w",
            "chmod /proc/version 666",
            "ls /proc/fs",
            "mkdir /proc/fs/x",
        ]);
        let outcome = t.run();
        if !is_oxrun() && (outcome.code != 0 || outcome.stdout.is_empty()) {
            note_skip("another runtime cannot do this, or has no output");
            return;
        }
        let outcome = safe(outcome);
        if outcome.code != 0 {
            return;
        }
        let result = outcome.json();
        assert_eq!(result[0]["ok"], "", "{result}");
        assert!(result[1]["err"].is_string(), "{result}");
        assert!(result[2]["err"].is_string() || !is_oxrun(), "{result}");
        assert_eq!(result[3]["ok"], json!([]), "{result}");
        assert!(result[4]["err"].is_string(), "{result}");
    });
}

#[test]
fn masks_of_old_kernels_need_no_proc_of_the_container() {
    if !is_oxrun() {
        skip!("another runtime has no such switch");
    }
    // A mask is made read-only after it was attached; what the image has as /proc is not asked where.
    for (kernel, proc) in [("", false), ("mount_setattr", false), ("mount_setattr", true)] {
        let mut t = Sandbox::new();
        config::drop_mount(&mut t.config, "/proc");
        fs::create_dir(t.rootfs().join("trap")).unwrap();
        if proc {
            fs::create_dir_all(t.rootfs().join("proc/self/fd")).unwrap();
            for number in 0..32 {
                symlink("/trap", t.rootfs().join(format!("proc/self/fd/{number}"))).unwrap();
            }
        }
        fs::write(t.rootfs().join("etc/secret"), "secret").unwrap();
        fs::write(t.rootfs().join("etc/other"), "secret").unwrap();
        t.config["linux"]["maskedPaths"] = json!(["/etc/secret", "/etc/other"]);
        t.config["linux"]["readonlyPaths"] = json!([]);
        let actions = ["chmod /etc/secret 777", "chmod /etc/other 777", "read /etc/secret", "mkdir /trap/x"];
        t.args(&[&["payload", "do"], &actions[..]].concat()).write_config();
        let mut command = t.command(&["run", &t.id]);
        command.env("OXRUN_WITHOUT", kernel);
        let result = t.spawn(command).wait().ok().json();
        assert_eq!((&result[0]["err"], &result[1]["err"]), (&json!("EROFS"), &json!("EROFS")), "{result}");
        assert_eq!((&result[2]["ok"], &result[3]["ok"]), (&json!(""), &json!(true)), "{result}");
        t.assert_clean();
    }
}
