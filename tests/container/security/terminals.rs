//! The terminal and /dev/console, with links in their places (R7).

use super::{Dev, Owner, everywhere, outside, snapshot};
use crate::harness::{Sandbox, is_oxrun, note_skip};
use crate::{config, console};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn console_link_is_not_followed() {
    let mut t = Sandbox::new();
    for destination in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
        config::drop_mount(&mut t.config, destination);
    }
    config::add_mount(
        &mut t.config,
        "/dev/pts",
        "devpts",
        "devpts",
        &["newinstance", "ptmxmode=0666", "mode=0620"],
    );
    let place = outside(&t);
    let before = snapshot(&place);
    fs::write(t.rootfs().join("etc/victim"), "victim").unwrap();
    for target in
        [format!("{place}/console"), "/etc/victim".to_string(), "/proc/sys/kernel/msgmax".to_string()]
    {
        let _ = fs::remove_file(t.rootfs().join("dev/console"));
        symlink(&target, t.rootfs().join("dev/console")).unwrap();
        t.config["process"]["terminal"] = json!(true);
        t.args(&["payload", "do", "stat /etc/victim"]);
        let path = t.path("console.sock");
        let _ = fs::remove_file(&path);
        let listener = console::listen(path.as_ref());
        let outcome = t.create_with(&["--console-socket", &path]);
        if outcome.code == 0 {
            let (mut master, _) = console::receive(&listener);
            t.start().ok();
            let result: Value = serde_json::from_str(master.rest().trim()).unwrap();
            if !is_oxrun() && result[0]["ok"]["type"] != "file" {
                note_skip("another runtime is open to this (CVE-2025-52565)");
            } else {
                assert_eq!(
                    result[0]["ok"]["type"], "file",
                    "{target}: the terminal is mounted on a file of the image"
                );
            }
        }
        t.finish();
        t.assert_clean();
        assert_eq!(snapshot(&place), before, "{target}");
    }
}

#[test]
fn console_is_never_elsewhere_in_any_variant() {
    everywhere(|t, dev, owner| {
        if dev != Dev::Mounted {
            config::add_mount(
                &mut t.config,
                "/dev/pts",
                "devpts",
                "devpts",
                &["newinstance", "ptmxmode=0666", "mode=0620"],
            );
        }
        if dev == Dev::Absent {
            symlink("/etc/passwd", t.rootfs().join("dev/console")).unwrap();
        }
        t.config["process"]["terminal"] = json!(true);
        t.args(&["payload", "do", "stat /etc/passwd", "statl /dev/console"]);
        let path = t.path("console.sock");
        let listener = console::listen(path.as_ref());
        if owner == Owner::Rootless {
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        }
        let outcome = t.create_with(&["--console-socket", &path]);
        if !is_oxrun() && outcome.code == 0 && dev != Dev::Mounted {
            note_skip("another runtime follows the link");
        } else if outcome.code == 0 {
            let (mut master, _) = console::receive(&listener);
            t.start().ok();
            let result: Value = serde_json::from_str(master.rest().trim()).unwrap();
            assert_eq!(result[0]["ok"]["type"], "file", "/dev {dev:?}, {owner:?}: {result}");
            let (kind, major) = (&result[1]["ok"]["type"], result[1]["ok"]["major"].as_u64());
            assert!(kind == "char" && major.is_some_and(|n| (136..=143).contains(&n)), "{result}");
        } else {
            outcome.failed().one_line();
            assert!(dev != Dev::Mounted, "{owner:?}");
        }
        t.finish();
    });
}

#[test]
fn every_process_leads_its_own_session() {
    // Else it could type into its caller's terminal (TIOCSTI).
    everywhere(|t, dev, _| {
        if dev == Dev::Link {
            return;
        }
        let report = t.report();
        assert_eq!(report["sid"], report["pid"], "{report}");
        t.args(&["payload", "sleep", "5000"]);
        t.create().ok();
        t.start().ok();
        let report = t.runtime(&["exec", &t.id, "payload", "report"]).ok().json();
        assert_eq!(report["sid"], report["pid"], "{report}");
        t.finish();
    });
}
