//! Links and paths of the image that lead outside: mounts, devices, /dev, /proc and /sys, passwd
//! (R1, R2, R6).

use super::{Dev, Owner, everywhere, outside, replace_by_link, safe, snapshot, without_dev};
use crate::config;
use crate::harness::{Sandbox, host_command, is_oxrun};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn proc_and_sys_may_not_be_links() {
    for name in ["proc", "sys"] {
        let mut t = Sandbox::new();
        let place = outside(&t);
        let before = snapshot(&place);
        fs::create_dir(t.rootfs().join("decoy")).unwrap();
        for target in ["/decoy", "decoy", "../../outside", "/tmp"] {
            replace_by_link(&t, name, target);
            t.args(&["true"]);
            t.create().failed().one_line();
            t.assert_clean();
            assert_eq!(snapshot(&place), before);
            fs::remove_file(t.rootfs().join(name)).unwrap();
        }
    }
}

#[test]
fn dev_as_a_link_without_a_mount_does_not_touch_its_target() {
    let mut t = Sandbox::new();
    config::drop_mount(&mut t.config, "/dev");
    config::drop_mount(&mut t.config, "/dev/pts");
    config::drop_mount(&mut t.config, "/dev/shm");
    config::drop_mount(&mut t.config, "/dev/mqueue");
    let place = outside(&t);
    let before = snapshot(&place);
    for target in [place.clone(), "../../outside".to_string()] {
        replace_by_link(&t, "dev", &target);
        let outcome = t.run_args(&["true"]);
        if !is_oxrun() && snapshot(&place) != before {
            skip!("another runtime is open to this (CVE-2026-41579)");
        }
        assert_eq!(snapshot(&place), before, "{outcome:?}");
        t.assert_clean();
    }
}

#[test]
fn dev_as_a_link_with_a_mount_stays_inside() {
    let mut t = Sandbox::new();
    let place = outside(&t);
    let before = snapshot(&place);
    replace_by_link(&t, "dev", &place);
    t.run_args(&["true"]);
    if !is_oxrun() && snapshot(&place) != before {
        skip!("another runtime makes links in the target of the link");
    }
    assert_eq!(snapshot(&place), before);
    t.assert_clean();
}

#[test]
fn mount_targets_never_lead_outside() {
    let mut t = Sandbox::new();
    let place = outside(&t);
    let before = snapshot(&place);
    let above = "../".repeat(20);
    for (destination, target) in [
        ("/link/sub", place.clone()),
        ("/link", place.clone()),
        ("/link/pts", format!("{above}{}", place.trim_start_matches('/'))),
        ("/link/new/deep", format!("/proc/1/root{place}")),
        ("/link/x", "/proc/self/cwd".to_string()),
        ("/link/../../../x", place.clone()),
    ] {
        replace_by_link(&t, "link", &target);
        let good = t.config.clone();
        config::add_mount(&mut t.config, destination, "tmpfs", "tmpfs", &[]);
        t.run_args(&["true"]);
        assert_eq!(snapshot(&place), before, "{destination} with {target}");
        t.assert_clean();
        t.config = good;
    }
}

#[test]
fn bind_targets_are_not_made_outside() {
    let mut t = Sandbox::new();
    let place = outside(&t);
    let before = snapshot(&place);
    fs::write(t.path("source"), "x").unwrap();
    let source = t.path("source");
    symlink(format!("{place}/new-file"), t.rootfs().join("direct")).unwrap();
    symlink(&place, t.rootfs().join("parent")).unwrap();
    for destination in ["/direct", "/parent/new-file", "/parent/sub/new-file"] {
        let good = t.config.clone();
        config::add_mount(&mut t.config, destination, "bind", &source, &["bind"]);
        t.run_args(&["true"]);
        assert_eq!(snapshot(&place), before, "{destination}");
        t.assert_clean();
        t.config = good;
    }
}

#[test]
fn devices_are_not_made_outside() {
    let mut t = Sandbox::new();
    let place = outside(&t);
    let before = snapshot(&place);
    symlink(&place, t.rootfs().join("away")).unwrap();
    symlink(format!("{place}/new"), t.rootfs().join("direct")).unwrap();
    for path in ["/away/node", "/direct", "/away/null", "/../../outside/node"] {
        t.config["linux"]["devices"] =
            json!([{"path": path, "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]);
        t.run_args(&["true"]);
        assert_eq!(snapshot(&place), before, "{path}");
        t.assert_clean();
    }
}

#[test]
fn passwd_of_the_image_is_read_inside() {
    let mut t = Sandbox::new();
    fs::write(t.path("secret"), "root:x:0:0:root:/leaked:/bin/sh\n").unwrap();
    let above = format!("{}{}", "../".repeat(20), t.path("secret").trim_start_matches('/'));
    for target in
        [t.path("secret"), above, format!("/proc/1/root{}", t.path("secret")), "/dev/zero".to_string()]
    {
        fs::remove_file(t.rootfs().join("etc/passwd")).unwrap();
        symlink(&target, t.rootfs().join("etc/passwd")).unwrap();
        let outcome = t.run_args(&["payload", "report"]);
        if outcome.code == 0 {
            assert!(!outcome.stdout.contains("HOME=/leaked"), "{target}");
        }
        t.assert_clean();
    }
    fs::remove_file(t.rootfs().join("etc/passwd")).unwrap();
    host_command("mkfifo", &[t.rootfs().join("etc/passwd").to_str().unwrap()]).ok();
    if !is_oxrun() {
        skip!("another runtime waits for a writer of a fifo /etc/passwd");
    }
    t.run_args(&["true"]).ok();
}

#[test]
fn links_lead_nowhere_in_any_variant() {
    if !is_oxrun() {
        skip!("another runtime follows some of these links");
    }
    everywhere(|t, _, owner| {
        let place = t.path("outside");
        fs::write(t.path("source"), "x").unwrap();
        let above = format!("{}{}", "../".repeat(20), place.trim_start_matches('/'));
        let cases = [
            (place.clone(), "/link/new/deep"),
            (above, "/link/pts"),
            (format!("/proc/1/root{place}"), "/link/x"),
            ("/proc/self/cwd/../outside".to_string(), "/link/y"),
        ];
        for (target, destination) in cases {
            replace_by_link(t, "link", &target);
            let good = t.config.clone();
            config::add_mount(&mut t.config, destination, "tmpfs", "tmpfs", &[]);
            let source = t.path("source");
            config::add_mount(&mut t.config, "/link/bound", "bind", &source, &["bind"]);
            if owner != Owner::Rootless {
                t.config["linux"]["devices"] =
                    json!([{"path": "/link/node", "type": "c", "major": 1, "minor": 3}]);
            }
            safe(t.run_args(&["true"]));
            t.config = good;
        }
    });
}

#[test]
fn proc_and_sys_links_are_refused_in_any_variant() {
    everywhere(|t, _, owner| {
        for name in ["proc", "sys"] {
            for target in ["/decoy", "../../outside"] {
                replace_by_link(t, name, target);
                t.args(&["true"]);
                let outcome = t.create();
                // Without root /sys is the host's, bound: a link leads it to another place inside.
                if name == "sys" && owner == Owner::Rootless && outcome.code == 0 {
                    t.finish();
                } else {
                    outcome.failed().one_line();
                }
                fs::remove_file(t.rootfs().join(name)).unwrap();
            }
            fs::create_dir(t.rootfs().join(name)).unwrap();
        }
    });
}

#[test]
fn devices_and_links_of_dev_stay_inside_in_any_variant() {
    if !is_oxrun() {
        skip!("another runtime follows a /dev that is a link");
    }
    everywhere(|t, dev, _| {
        let outcome = safe(t.run_args(&["payload", "do", "readlink /dev/ptmx", "stat /dev/null"]));
        match dev {
            Dev::Link => assert!(outcome.code != 0, "{outcome:?}"),
            _ => {
                let inside = outcome.ok().json();
                assert_eq!(inside[0]["ok"], "pts/ptmx");
                assert_eq!(inside[1]["ok"]["type"], "char");
            }
        }
    });
}

/// Whether a file was opened for more than being looked at while `act` ran.
fn opens(path: &std::path::Path, act: impl FnOnce()) -> bool {
    use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
    let watch = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    add_watch(&watch, path, WatchFlags::OPEN).unwrap();
    act();
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    Reader::new(watch, &mut buffer).next().is_ok()
}

#[test]
fn special_files_of_the_image_are_not_opened() {
    if !is_oxrun() {
        skip!("another runtime opens what the image has there");
    }
    let mut t = Sandbox::new();
    without_dev(&mut t);
    let passwd = t.rootfs().join("etc/passwd");
    fs::remove_file(&passwd).unwrap();
    host_command("mkfifo", &[passwd.to_str().unwrap()]).ok();
    assert!(!opens(&passwd, || drop(t.run_args(&["true"]).ok())));
    assert!(opens(&passwd, || drop(fs::OpenOptions::new().read(true).write(true).open(&passwd).unwrap())));
    let ptmx = t.rootfs().join("dev/pts/ptmx");
    fs::create_dir_all(ptmx.parent().unwrap()).unwrap();
    host_command("mkfifo", &[ptmx.to_str().unwrap()]).ok();
    t.config["process"]["terminal"] = json!(true);
    t.write_config();
    let outcome = |t: &Sandbox| t.runtime(&["run", &t.id]).failed().says(&["devpts"]).one_line();
    assert!(!opens(&ptmx, || drop(outcome(&t))));
    t.assert_clean();
}
