//! Namespaces: new, joined by path, inherited; id maps, clocks, hostname, loopback.

use crate::harness::{Sandbox, is_oxrun, wait_until};
use crate::{config, host};
use serde_json::{Value, json};
use std::fs;

const KINDS: [(&str, &str); 8] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("cgroup", "cgroup"),
    ("user", "user"),
    ("time", "time"),
];

fn of_host(file: &str) -> Value {
    json!(fs::read_link(format!("/proc/self/ns/{file}")).unwrap().to_str().unwrap())
}

/// Two containers: the first sleeps, the second reports from within namespaces of the first.
fn report_joined(first: &Sandbox, second: &mut Sandbox, kinds: &[&str]) -> Value {
    let pid = first.pid();
    for (kind, file) in KINDS.iter().filter(|(kind, _)| kinds.contains(kind)) {
        config::add_namespace(&mut second.config, kind, &format!("/proc/{pid}/ns/{file}"));
    }
    second.report()
}

fn of_process(pid: i32, file: &str) -> Value {
    json!(fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap().to_str().unwrap())
}

fn sleeping(mut t: Sandbox) -> Sandbox {
    t.args(&["payload", "sleep", "5000"]);
    t.create().ok();
    t.start().ok();
    t
}

#[test]
fn listed_kinds_are_new_the_others_the_hosts() {
    let mut t = Sandbox::new();
    let report = t.report();
    for (kind, file) in KINDS {
        let listed = !["user", "time"].contains(&kind);
        assert_eq!(report["namespaces"][file] != of_host(file), listed, "{kind}");
    }
    assert_eq!(report["pid"], 1);
}

#[test]
fn each_kind_can_be_inherited() {
    for (kind, file) in KINDS.iter().filter(|(kind, _)| !["mount", "user", "time"].contains(kind)) {
        let mut t = Sandbox::new();
        config::drop_namespace(&mut t.config, kind);
        match *kind {
            "uts" => {
                t.config.as_object_mut().unwrap().remove("hostname");
            }
            "ipc" => config::drop_mount(&mut t.config, "/dev/mqueue"),
            _ => {}
        }
        let report = t.report();
        assert_eq!(report["namespaces"][file], of_host(file), "{kind}");
        assert!(*kind != "pid" || report["pid"] != 1);
    }
}

#[test]
fn each_kind_can_be_joined() {
    let first = sleeping(Sandbox::new());
    let kinds = ["pid", "network", "ipc", "uts", "cgroup"];
    let mut second = Sandbox::new();
    second.config.as_object_mut().unwrap().remove("hostname");
    let report = report_joined(&first, &mut second, &kinds);
    for (kind, file) in KINDS.iter().filter(|(kind, _)| kinds.contains(kind)) {
        assert_eq!(report["namespaces"][file], of_process(first.pid(), file), "{kind}");
    }
    assert_eq!(report["hostname"], "box");
    assert_ne!(report["pid"], 1);
    assert_ne!(report["namespaces"]["mnt"], of_process(first.pid(), "mnt"));
}

#[test]
fn joined_namespaces_outlive_the_one_who_joined() {
    let first = sleeping(Sandbox::new());
    let mut second = Sandbox::new();
    report_joined(&first, &mut second, &["network", "ipc"]);
    second.assert_clean();
    assert_eq!(first.status(), "running");
}

#[test]
fn delete_of_one_in_a_shared_pid_namespace_spares_the_other() {
    if !is_oxrun() {
        skip!("another runtime leaves the orphans of such a container");
    }
    let first = sleeping(Sandbox::new());
    let mut second = Sandbox::new();
    config::add_namespace(&mut second.config, "pid", &format!("/proc/{}/ns/pid", first.pid()));
    second.args(&["payload", "orphans", "2"]);
    second.create().ok();
    second.start().ok();
    wait_until("orphans", || second.printed().contains("ready"));
    let pid = second.pid();
    second.runtime(&["delete", "--force", &second.id]).ok();
    // The first process of the namespace cannot end before this one is reaped.
    second.reap(pid);
    second.assert_clean();
    assert_eq!(first.status(), "running");
}

#[test]
fn hostname_is_set() {
    let mut t = Sandbox::new();
    t.config["hostname"] = json!("a-name.example");
    assert_eq!(t.report()["hostname"], "a-name.example");
    assert_ne!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(), "a-name.example");
}

#[test]
fn domainname_is_set() {
    let mut t = Sandbox::new();
    t.config["domainname"] = json!("example.org");
    let report = t.report();
    if !is_oxrun() && report["domainname"] != "example.org" {
        skip!("another runtime knows no domainname");
    }
    assert_eq!(report["domainname"], "example.org");
}

#[test]
fn loopback_is_up() {
    let mut t = Sandbox::new();
    assert_eq!(
        t.actions(&["lo", "ls /sys/class/net", "bind-port 127.0.0.1:80"]),
        json!([
            {"ok": true}, {"ok": ["lo"]}, {"ok": true},
        ])
    );
}

#[test]
fn own_control_group_namespace_starts_at_its_root() {
    let mut t = Sandbox::new();
    let report = t.report();
    for line in report["cgroups"].as_str().unwrap().lines() {
        assert!(line.ends_with(":/"), "{line}");
    }
    config::drop_namespace(&mut t.config, "cgroup");
    let report = t.report();
    let lines = report["cgroups"].as_str().unwrap().to_string();
    assert!(lines.lines().any(|l| l.contains(&t.id)), "{lines}");
}

#[test]
fn user_namespace_maps_ids() {
    let mut t = Sandbox::new();
    t.map_users(100_000);
    let report = t.report();
    assert_ne!(report["namespaces"]["user"], of_host("user"));
    for map in ["uid_map", "gid_map"] {
        let words: Vec<&str> = report[map].as_str().unwrap().split_whitespace().collect();
        assert_eq!(words, ["0", "100000", "65536"]);
    }
    assert_eq!(report["status"]["Uid"], "0 0 0 0");
    t.args(&["payload", "sleep", "5000"]);
    t.create().ok();
    t.start().ok();
    assert_eq!(host::process_status(t.pid(), "Uid"), "100000 100000 100000 100000");
    assert_eq!(host::process_status(t.pid(), "Gid"), "100000 100000 100000 100000");
}

#[test]
fn user_namespace_with_several_ranges_and_another_user() {
    let mut t = Sandbox::new();
    t.map_users(100_000);
    let ranges = json!([
        {"containerID": 0, "hostID": 100000, "size": 1000},
        {"containerID": 1000, "hostID": 300000, "size": 10},
        {"containerID": 5000, "hostID": 400000, "size": 1},
    ]);
    t.config["linux"]["uidMappings"] = ranges.clone();
    t.config["linux"]["gidMappings"] = ranges;
    t.config["process"]["user"] = json!({"uid": 1001, "gid": 5000, "additionalGids": [1002]});
    t.args(&["payload", "sleep", "5000"]);
    t.create().ok();
    t.start().ok();
    let pid = t.pid();
    assert_eq!(host::process_status(pid, "Uid"), "300001 300001 300001 300001");
    assert_eq!(host::process_status(pid, "Gid"), "400000 400000 400000 400000");
    assert_eq!(host::process_status(pid, "Groups"), "300002");
}

#[test]
fn user_namespace_has_devices_and_mounts() {
    let mut t = Sandbox::new();
    t.map_users(100_000);
    let result = t.actions(&[
        "stat /dev/null",
        "write /dev/null x",
        "read /dev/zero",
        "stat /dev/tty",
        "ptmx",
        "touch /new",
    ]);
    assert_eq!(result[0]["ok"]["type"], "char");
    assert_eq!((&result[0]["ok"]["major"], &result[0]["ok"]["minor"]), (&json!(1), &json!(3)));
    assert_eq!(result[1]["ok"], true);
    assert!(result[2]["ok"].is_string());
    assert_eq!(result[3]["ok"]["major"], 5);
    assert_eq!(result[4]["ok"]["gid"], 5);
    assert_eq!(result[5]["ok"], true);
}

#[test]
fn user_namespace_without_new_network_keeps_sysfs_readable() {
    let mut t = Sandbox::new();
    t.map_users(100_000);
    config::drop_namespace(&mut t.config, "network");
    // A new sysfs needs the network namespace: the host's is bound instead, which engines ask for.
    config::drop_mount(&mut t.config, "/sys");
    config::drop_mount(&mut t.config, "/sys/fs/cgroup");
    config::add_mount(&mut t.config, "/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]);
    assert!(t.actions(&["ls /sys"])[0]["ok"].is_array());
}

#[test]
fn user_namespace_of_another_container_can_be_joined() {
    let mut first = Sandbox::new();
    first.map_users(100_000);
    let first = sleeping(first);
    let mut second = Sandbox::new();
    let root = second.rootfs().display().to_string();
    crate::harness::host_command("chown", &["-hR", "100000:100000", &root]).ok();
    if !is_oxrun() {
        skip!("another runtime needs the maps again to join a user namespace");
    }
    let report = report_joined(&first, &mut second, &["user", "network", "ipc"]);
    assert_eq!(report["namespaces"]["user"], of_process(first.pid(), "user"));
    assert_eq!(report["namespaces"]["net"], of_process(first.pid(), "net"));
    let words: Vec<&str> = report["uid_map"].as_str().unwrap().split_whitespace().collect();
    assert_eq!(words, ["0", "100000", "65536"]);
}

#[test]
fn user_and_pid_namespace_of_another_container_can_be_joined() {
    let mut first = Sandbox::new();
    first.map_users(100_000);
    let first = sleeping(first);
    let mut second = Sandbox::new();
    let root = second.rootfs().display().to_string();
    crate::harness::host_command("chown", &["-hR", "100000:100000", &root]).ok();
    if !is_oxrun() {
        skip!("another runtime needs the maps again to join a user namespace");
    }
    let report = report_joined(&first, &mut second, &["user", "pid"]);
    assert_eq!(report["namespaces"]["pid"], of_process(first.pid(), "pid"));
    assert_ne!(report["pid"], 1);
}

#[test]
fn time_namespace_with_offsets() {
    let mut t = Sandbox::new();
    if !is_oxrun() {
        skip!("another runtime knows no time namespaces");
    }
    config::add_namespace(&mut t.config, "time", "");
    let report = t.report();
    assert_ne!(report["namespaces"]["time"], of_host("time"));
    t.config["linux"]["timeOffsets"] =
        json!({"monotonic": {"secs": 1000000, "nanosecs": 5}, "boottime": {"secs": 2000000}});
    let offsets = t.report()["timens"].as_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(offsets, "monotonic 1000000 5 boottime 2000000 0");
    let clocks = &t.actions(&["uptime"])[0]["ok"];
    assert!(clocks[0].as_i64().unwrap() > 1_000_000 && clocks[1].as_i64().unwrap() > 2_000_000, "{clocks}");
}

#[test]
fn sysctls_of_own_namespaces() {
    let mut t = Sandbox::new();
    t.config["linux"]["sysctl"] = json!({
        "net.ipv4.ip_forward": "1", "kernel.msgmax": "8000", "fs.mqueue.msg_max": "11", "kernel.shm_rmid_forced": "1",
        "net/ipv4/ip_unprivileged_port_start": "7",
    });
    let forward = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    let result = t.actions(&[
        "read /proc/sys/net/ipv4/ip_forward",
        "read /proc/sys/kernel/msgmax",
        "read /proc/sys/fs/mqueue/msg_max",
        "read /proc/sys/net/ipv4/ip_unprivileged_port_start",
    ]);
    assert_eq!(result, json!([{"ok": "1\n"}, {"ok": "8000\n"}, {"ok": "11\n"}, {"ok": "7\n"}]));
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), forward);
}

#[test]
fn session_keyring_is_its_own() {
    let mut t = Sandbox::new();
    t.config["linux"]["maskedPaths"] = json!([]);
    if fs::metadata("/proc/keys").is_err() {
        skip!("this kernel has no /proc/keys");
    }
    let name = format!("_ses.{}", t.id);
    let keys = t.actions(&["syscall 250 0 -3 0", "read /proc/keys"]);
    assert!(keys[1]["ok"].as_str().unwrap().contains(&name), "{keys}");
    let mut shared = Sandbox::new();
    shared.config["linux"]["maskedPaths"] = json!([]);
    shared.args(&["payload", "do", "read /proc/keys"]).write_config();
    shared.runtime(&["run", "--no-new-keyring", &shared.id]).ok();
    assert!(!shared.printed().contains(&format!("_ses.{}", shared.id)));
}
