//! The image changed while a container is made: a directory and a link exchanged all the time
//! (R1, R2).

use super::{outside, snapshot, without_dev};
use crate::config;
use crate::harness::{Outcome, Sandbox, is_oxrun};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// How often a container is made in a race; another runtime may lose soon.
fn rounds() -> usize {
    if is_oxrun() { 30 } else { 5 }
}

/// Runs the container again and again while two paths of its root are exchanged all the time.
fn while_exchanging(t: &Sandbox, one: &str, other: &str) -> Vec<Outcome> {
    t.write_config();
    let paths: [PathBuf; 2] = [one, other].map(|name| t.rootfs().join(name));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = renameat_with(CWD, &paths[0], CWD, &paths[1], RenameFlags::EXCHANGE);
                // Else the lock of the directory is never free for whom this is to race with.
                std::thread::sleep(std::time::Duration::from_micros(20));
            }
        });
        let outcomes: Vec<_> = (0..rounds()).map(|_| t.runtime(&["run", &t.id])).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        outcomes
    })
}

/// Whatever becomes of each, nothing outside may change and nothing be left.
#[track_caller]
fn hold_outside(t: &Sandbox, one: &str, other: &str) -> Vec<Outcome> {
    let place = t.path("outside");
    let before = snapshot(&place);
    let outcomes = while_exchanging(t, one, other);
    let after = snapshot(&place);
    if !is_oxrun() && after != before {
        crate::harness::note_skip("another runtime loses this race");
        return Vec::new();
    }
    assert_eq!(after, before);
    t.assert_clean();
    outcomes
}

#[test]
fn directory_of_targets_exchanged() {
    for owner in [false, true] {
        let mut t = Sandbox::new();
        let place = outside(&t);
        fs::create_dir(t.rootfs().join("flip")).unwrap();
        symlink(&place, t.rootfs().join("flop")).unwrap();
        config::add_mount(&mut t.config, "/flip/sub", "tmpfs", "tmpfs", &[]);
        config::add_mount(&mut t.config, "/flip/sub2/deep", "tmpfs", "tmpfs", &[]);
        t.config["linux"]["devices"] = json!([{"path": "/flip/node", "type": "c", "major": 1, "minor": 3}]);
        if owner {
            t.map_users(100_000);
        }
        t.args(&["true"]);
        hold_outside(&t, "flip", "flop");
    }
}

#[test]
fn dev_exchanged() {
    let mut t = Sandbox::new();
    let place = outside(&t);
    without_dev(&mut t);
    symlink(&place, t.rootfs().join("vde")).unwrap();
    t.args(&["true"]);
    hold_outside(&t, "dev", "vde");
}

#[test]
fn proc_exchanged() {
    let mut t = Sandbox::new();
    let place = outside(&t);
    fs::create_dir_all(format!("{place}/sys/net/ipv4")).unwrap();
    fs::write(format!("{place}/sys/net/ipv4/ip_forward"), "outside").unwrap();
    symlink(&place, t.rootfs().join("corp")).unwrap();
    t.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    t.args(&["true"]);
    hold_outside(&t, "proc", "corp");
    assert_eq!(fs::read_to_string(format!("{place}/sys/net/ipv4/ip_forward")).unwrap(), "outside");
}

#[test]
fn null_exchanged() {
    let mut t = Sandbox::new();
    outside(&t);
    without_dev(&mut t);
    fs::write(t.rootfs().join("dev/null"), "").unwrap();
    symlink("/proc/sys/kernel/msgmax", t.rootfs().join("dev/llun")).unwrap();
    t.config["linux"]["maskedPaths"] = json!(["/proc/version"]);
    t.config["linux"]["devices"] = json!([]);
    t.args(&["payload", "do", "read /proc/version"]);
    for outcome in hold_outside(&t, "dev/null", "dev/llun") {
        assert!(outcome.code != 0 || outcome.json()[0]["ok"] == "" || !is_oxrun(), "{outcome:?}");
    }
}

#[test]
fn working_directory_exchanged() {
    let mut t = Sandbox::new();
    outside(&t);
    fs::create_dir(t.rootfs().join("work")).unwrap();
    symlink("/proc/self/fd/5", t.rootfs().join("krow")).unwrap();
    t.config["process"]["cwd"] = json!("/work");
    t.args(&["pwd"]);
    for outcome in hold_outside(&t, "work", "krow") {
        assert!(
            outcome.code != 0 || ["/work\n", "/krow\n"].contains(&outcome.stdout.as_str()),
            "{outcome:?}"
        );
    }
}

#[test]
fn files_that_are_read_exchanged() {
    // A device has taken the place of a file between looking and opening, or not: it is never opened.
    let mut t = Sandbox::new();
    outside(&t);
    fs::create_dir(t.rootfs().join("full")).unwrap();
    fs::write(t.rootfs().join("full/file"), "text").unwrap();
    crate::harness::host_command("mkfifo", &[t.rootfs().join("full/fifo").to_str().unwrap()]).ok();
    config::add_mount(&mut t.config, "/full", "tmpfs", "tmpfs", &["tmpcopyup"]);
    t.args(&["true"]);
    // A fifo that is opened for reading waits for a writer for ever.
    hold_outside(&t, "full/file", "full/fifo");
    let etc = t.rootfs().join("etc");
    crate::harness::host_command("mkfifo", &[etc.join("fifo").to_str().unwrap()]).ok();
    let outcomes = hold_outside(&t, "etc/passwd", "etc/fifo");
    assert!(outcomes.iter().all(|outcome| outcome.code == 0 || !is_oxrun()), "{outcomes:?}");
}

#[test]
fn sys_exchanged() {
    let mut t = Sandbox::new();
    let place = outside(&t);
    fs::create_dir_all(format!("{place}/fs/cgroup")).unwrap();
    symlink(&place, t.rootfs().join("syt")).unwrap();
    t.args(&["true"]);
    hold_outside(&t, "sys", "syt");
}

#[test]
fn masked_and_readonly_paths_exchanged() {
    let mut t = Sandbox::new();
    let place = outside(&t);
    for name in ["hidden", "kept"] {
        fs::create_dir(t.rootfs().join(name)).unwrap();
        fs::write(t.rootfs().join(name).join("null"), "secret").unwrap();
    }
    symlink(&place, t.rootfs().join("neddih")).unwrap();
    t.config["linux"]["maskedPaths"] = json!(["/hidden/null", "/hidden"]);
    t.config["linux"]["readonlyPaths"] = json!(["/kept", "/hidden"]);
    t.args(&["payload", "do", "write /kept/null x", "mkdir /hidden/x"]);
    for outcome in hold_outside(&t, "hidden", "neddih") {
        if outcome.code == 0 {
            let result = outcome.json();
            assert_eq!(result[0]["err"], "EROFS", "{result}");
        }
    }
}

#[test]
fn console_exchanged() {
    // The terminal's place, a file and a link out of the root in turn (CVE-2025-52565).
    let mut t = Sandbox::new();
    let place = outside(&t);
    without_dev(&mut t);
    let options = ["newinstance", "ptmxmode=0666", "mode=0620"];
    config::add_mount(&mut t.config, "/dev/pts", "devpts", "devpts", &options);
    fs::write(t.rootfs().join("dev/console"), "").unwrap();
    symlink(format!("{place}/console"), t.rootfs().join("dev/elosnoc")).unwrap();
    t.config["process"]["terminal"] = json!(true);
    t.args(&["true"]);
    // In the foreground the terminal is the runtime's own; its end is that of the container.
    hold_outside(&t, "dev/console", "dev/elosnoc");
    assert_eq!(crate::host::mounts_with(&[&place]), [""; 0]);
}
