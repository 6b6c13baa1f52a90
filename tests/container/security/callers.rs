//! What a caller hands on from others: ids, users, capabilities, long values; the state directory
//! (R11, R13, R14, R23).

use super::{Dev, Owner, everywhere, outside, snapshot};
use crate::config;
use crate::harness::{Sandbox, is_oxrun, note_skip};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

#[test]
fn inheritable_set_is_empty_unless_asked_for() {
    let mut t = Sandbox::new();
    config::set_capabilities(&mut t.config, &["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_NET_RAW"]);
    assert_eq!(t.report()["status"]["CapInh"], "0000000000000000");
}

#[test]
fn climbing_ids_touch_nothing() {
    let t = Sandbox::new();
    let place = outside(&t);
    let before = snapshot(&place);
    fs::create_dir_all(t.state_dir()).unwrap();
    fs::write(format!("{place}/state.json"), "{}").unwrap();
    fs::remove_file(format!("{place}/state.json")).unwrap();
    t.write_config();
    for id in ["..", "../outside", "./../outside", "../../..", "x/../../outside"] {
        for command in ["create", "run", "state", "start", "delete"] {
            t.runtime(&[command, id]).failed();
        }
        let _ = t.runtime(&["delete", "--force", id]);
        assert!(Path::new(&place).join("marker").exists(), "{id}");
    }
    assert_eq!(snapshot(&place).keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
}

#[test]
fn state_directory_is_closed_to_others() {
    let mut t = Sandbox::new();
    t.args(&["payload", "sleep", "5000"]);
    t.create().ok();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&t.state_dir().join(&t.id)) & 0o066, 0);
    if is_oxrun() {
        assert_eq!(mode(&t.state_dir().join(&t.id)), 0o700);
        assert_eq!(mode(&t.state_dir()), 0o700);
    }
}

#[test]
fn very_long_values_are_clean_errors() {
    let long = "x".repeat(70_000);
    for spoil in [
        (|c, l| c["linux"]["namespaces"][1] = json!({"type": "network", "path": format!("/{l}")}))
            as fn(&mut Value, &str),
        |c, l| config::add_mount(c, &format!("/{l}"), "tmpfs", "tmpfs", &[]),
        |c, l| config::add_mount(c, "/mnt", "bind", &format!("/{l}"), &["bind"]),
        |c, l| c["hostname"] = json!(l),
        |c, l| c["process"]["cwd"] = json!(format!("/{l}")),
        |c, l| c["root"]["path"] = json!(l),
        |c, l| c["linux"]["cgroupsPath"] = json!(format!("/{l}")),
        |c, l| c["process"]["args"] = json!([format!("/{l}")]),
    ] {
        let mut t = Sandbox::new();
        t.args(&["true"]);
        spoil(&mut t.config, &long);
        let outcome = t.create();
        if !is_oxrun() && outcome.code == 0 {
            note_skip("another runtime accepts a value of 70,000 bytes");
            continue;
        }
        outcome.failed().one_line();
        t.assert_clean();
    }
}

#[test]
fn exec_adds_no_inheritable_capability() {
    let mut t = Sandbox::new();
    t.args(&["payload", "sleep", "5000"]);
    t.create().ok();
    t.start().ok();
    let words = ["exec", "--cap", "CAP_NET_RAW", "--cap", "CAP_SYS_ADMIN", &t.id, "payload", "report"];
    let status = t.runtime(&words).ok().json()["status"].clone();
    assert_eq!(status["CapInh"], "0000000000000000", "{status}");
    t.finish();
}

#[test]
fn no_socket_is_abstract() {
    // Abstract names are shared by all in a network namespace, that of the host too.
    let mut t = Sandbox::new();
    config::drop_namespace(&mut t.config, "network");
    t.args(&["payload", "sleep", "5000"]);
    t.create().ok();
    let fds = fs::read_dir(format!("/proc/{}/fd", t.pid())).unwrap().flatten();
    let inodes: Vec<String> = fds
        .filter_map(|fd| {
            let link = fs::read_link(fd.path()).ok()?.display().to_string();
            Some(link.strip_prefix("socket:[")?.trim_end_matches(']').to_string())
        })
        .collect();
    let table = fs::read_to_string("/proc/net/unix").unwrap();
    let own: Vec<&str> = table
        .lines()
        .filter(|l| l.split_whitespace().nth(6).is_some_and(|i| inodes.iter().any(|n| n == i)))
        .collect();
    assert!(!own.is_empty() || !is_oxrun(), "init waits on a socket: {inodes:?}");
    assert!(own.iter().all(|line| !line.contains('@')), "{own:?}");
    t.finish();
}

#[test]
fn ids_groups_and_capabilities_hold_in_any_variant() {
    everywhere(|t, dev, owner| {
        if dev == Dev::Link {
            return;
        }
        // A name of digits in the image, and capabilities that a file could make inheritable.
        fs::write(t.rootfs().join("etc/passwd"), "1:x:0:0::/evil:/bin/sh\nroot:x:0:0::/root:/bin/sh\n")
            .unwrap();
        let rootless = owner == Owner::Rootless;
        let uid = if rootless { 0 } else { 1 };
        t.config["process"]["user"] = json!({"uid": uid, "gid": uid});
        let holds = |report: &Value, who: &str| {
            let status = &report["status"];
            let four = [uid; 4].map(|id| id.to_string()).join(" ");
            assert_eq!((&status["Uid"], &status["Gid"]), (&json!(four), &json!(four)), "{who}: {status}");
            assert_eq!(status["CapInh"], "0000000000000000", "{who}: {status}");
            // An ordinary user cannot leave groups, and has none here.
            assert!(status["Groups"] == "" || rootless, "{who}: {status}");
        };
        holds(&t.report(), "init");
        t.args(&["payload", "sleep", "60"]);
        t.create().ok();
        t.start().ok();
        let user = uid.to_string();
        let words = ["exec", "--user", &user, "--cap", "CAP_NET_RAW", &t.id, "payload", "report"];
        holds(&t.runtime(&words).ok().json(), "exec");
        t.finish();
    });
}
