//! User namespaces: id maps of every shape, devices and privileged mounts inside, and all kinds of
//! namespaces of another container joined together with its user namespace.

use crate::config;
use crate::harness::{Sandbox, host_command, is_oxrun};
use serde_json::{Value, json};
use std::fs;

macro_rules! only_oxrun {
    () => {
        if !is_oxrun() {
            skip!("only oxrun promises this");
        }
    };
}

fn map(inside: u64, outside: u64, size: u64) -> Value {
    json!({"containerID": inside, "hostID": outside, "size": size})
}

/// A container whose root is `outside`, with exactly these maps.
fn mapped(outside: u32, lines: Vec<Value>) -> Sandbox {
    let mut t = Sandbox::new();
    t.map_users(outside);
    t.config["linux"]["uidMappings"] = json!(lines);
    t.config["linux"]["gidMappings"] = json!(lines);
    // Its group need not be in the map.
    t.config["mounts"][2]["options"] = json!(["newinstance", "ptmxmode=0666", "mode=0620"]);
    t
}

/// The maps as words, line after line.
fn words(text: &Value) -> Vec<u64> {
    text.as_str().unwrap().split_whitespace().map(|w| w.parse().unwrap()).collect()
}

#[test]
fn several_ranges_are_written_as_given() {
    let mut t = mapped(200_000, vec![map(0, 200_000, 1), map(10, 300_000, 5), map(1000, 400_000, 100)]);
    t.config["process"]["user"] = json!({"uid": 1001, "gid": 12, "additionalGids": [10, 1099]});
    let report = t.report();
    let expected = [0, 200_000, 1, 10, 300_000, 5, 1000, 400_000, 100];
    assert_eq!(
        (words(&report["uid_map"]), words(&report["gid_map"])),
        (expected.to_vec(), expected.to_vec())
    );
    assert_eq!(
        (&report["status"]["Uid"], &report["status"]["Groups"]),
        (&json!("1001 1001 1001 1001"), &json!("10 1099"))
    );
}

#[test]
fn as_many_lines_as_the_kernel_takes() {
    let lines: Vec<Value> = (0..340).map(|n| map(n * 2, 2000 + n * 3, 1)).collect();
    let mut t = mapped(2000, lines);
    assert_eq!(words(&t.report()["uid_map"]).len(), 340 * 3);
    t.config["linux"]["uidMappings"].as_array_mut().unwrap().push(map(9000, 9000, 1));
    t.create().failed().says(&["linux.uidMappings: 341 lines; the kernel takes at most 340"]);
    t.assert_clean();
}

#[test]
fn map_that_is_too_long_as_text() {
    only_oxrun!();
    let lines: Vec<Value> = (0..340).map(|n| map(n * 2, 2_000_000 + n * 3, 1)).collect();
    let t = mapped(2_000_000, lines);
    t.create()
        .failed()
        .says(&["(linux.uidMappings) has "])
        .says(&["the kernel takes less than 4096"])
        .one_line();
    t.assert_clean();
}

#[test]
fn all_ids_of_the_host() {
    let mut t = mapped(0, vec![map(0, 0, 4_294_967_295)]);
    t.config["process"]["user"] = json!({"uid": 4_294_967_294u32, "gid": 4_294_967_294u32});
    let report = t.report();
    assert_eq!(words(&report["uid_map"]), [0, 0, 4_294_967_295]);
    assert_eq!(report["status"]["Uid"], "4294967294 4294967294 4294967294 4294967294");
}

#[test]
fn ids_outside_the_map_are_refused() {
    only_oxrun!();
    for (user, words) in [
        (json!({"uid": 5, "gid": 0}), "process.user.uid: 5 is not in linux.uidMappings"),
        (json!({"uid": 0, "gid": 6}), "process.user.gid: 6 is not in linux.gidMappings"),
        (json!({"uid": 0, "gid": 0, "additionalGids": [7]}), "process.user.additionalGids[0]: 7 is not in"),
    ] {
        let mut t = mapped(200_000, vec![map(0, 200_000, 1)]);
        t.config["process"]["user"] = user;
        t.create().failed().says(&[words]).one_line();
        t.assert_clean();
    }
}

#[test]
fn map_without_root_is_an_error() {
    only_oxrun!();
    let mut t = mapped(200_000, vec![map(5, 200_000, 1)]);
    t.config["process"]["user"] = json!({"uid": 5, "gid": 5});
    t.create().failed().says(&["become root of the user namespace (map "]).one_line();
    t.assert_clean();
}

#[test]
fn devices_are_bound_and_locked() {
    let mut t = Sandbox::new();
    t.map_users(100_000);
    t.config["linux"]["devices"] = json!([
        {"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o600, "uid": 7, "gid": 7},
        {"path": "/nodes/pipe", "type": "p", "fileMode": 0o640, "uid": 3, "gid": 4},
    ]);
    let result = t.actions(&[
        "write /dev/null x",
        "stat /dev/kmsg",
        "stat /nodes/pipe",
        "readlink /dev/stdout",
        "ptmx",
    ]);
    assert_eq!(result[0]["ok"], true);
    assert_eq!((&result[1]["ok"]["type"], &result[1]["ok"]["minor"]), (&json!("char"), &json!(11)));
    // It is the host's own node: with the host's mode, and an owner that is not in the map.
    let host = std::os::unix::fs::MetadataExt::mode(&fs::metadata("/dev/kmsg").unwrap()) & 0o7777;
    assert_eq!(result[1]["ok"]["mode"], format!("{host:o}"));
    assert_eq!(result[1]["ok"]["uid"], 65534);
    let pipe = &result[2]["ok"];
    assert_eq!(
        (&pipe["type"], &pipe["mode"], &pipe["uid"], &pipe["gid"]),
        (&json!("fifo"), &json!("640"), &json!(3), &json!(4))
    );
    assert_eq!(result[3]["ok"], "/proc/self/fd/1");
    assert!(result[4]["ok"].is_object(), "{result}");
    let report = t.report();
    let of = |point: &str| {
        let all = report["mounts"].as_array().unwrap();
        all.iter().find(|m| m["point"] == point).unwrap_or_else(|| panic!("{point}: {report}"))["options"]
            .clone()
    };
    for point in ["/dev/null", "/dev/kmsg"] {
        let options = of(point).to_string();
        assert!(options.contains("nosuid") && options.contains("noexec"), "{point}: {options}");
    }
}

#[test]
fn device_that_the_host_lacks() {
    only_oxrun!();
    let mut t = Sandbox::new();
    t.map_users(100_000);
    t.config["linux"]["devices"] = json!([{"path": "/dev/not-there", "type": "c", "major": 1, "minor": 3}]);
    t.create().failed().says(&["create device `/dev/not-there` (linux.devices[0])"]).one_line();
    t.config["linux"]["devices"] = json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 3}]);
    t.create().failed().says(&["create device `/dev/kmsg` (linux.devices[0])"]).one_line();
    t.assert_clean();
}

#[test]
fn tmpfs_with_its_data_inside() {
    let mut t = Sandbox::new();
    t.map_users(100_000);
    config::add_mount(&mut t.config, "/t", "tmpfs", "tmpfs", &["size=1m", "mode=750", "uid=7", "gid=8"]);
    let result = t.actions(&["stat /t", "touch /t/new"]);
    let facts = &result[0]["ok"];
    assert_eq!((&facts["mode"], &facts["uid"], &facts["gid"]), (&json!("750"), &json!(7), &json!(8)));
}

#[test]
fn masks_and_read_only_paths_inside() {
    let mut t = Sandbox::new();
    t.map_users(100_000);
    // With CAP_SYS_ADMIN it could take away what covers its own files, as its mount namespace is its own.
    config::set_capabilities(&mut t.config, &["CAP_DAC_OVERRIDE"]);
    let result = t.actions(&[
        "umount /proc/keys",
        "write /proc/sys/kernel/msgmax 9",
        "mount none /proc/sys none 0x20",
    ]);
    assert_eq!(result, json!([{"err": "EPERM"}, {"err": "EROFS"}, {"err": "EPERM"}]));
}

/// A sleeping container with a user namespace; and a second one with the owner of its files.
fn sleeping_and_other() -> (Sandbox, Sandbox) {
    let mut first = Sandbox::new();
    first.map_users(100_000);
    config::add_namespace(&mut first.config, "time", "");
    first.config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1234}});
    first.args(&["payload", "sleep", "5000"]);
    first.create().ok();
    first.start().ok();
    let second = Sandbox::new();
    host_command("chown", &["-hR", "100000:100000", &second.rootfs().display().to_string()]).ok();
    (first, second)
}

const KINDS: [(&str, &str); 7] = [
    ("user", "user"),
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

#[test]
fn all_kinds_of_another_container_are_joined() {
    only_oxrun!();
    let (first, mut second) = sleeping_and_other();
    let pid = first.pid();
    for (kind, file) in KINDS {
        config::add_namespace(&mut second.config, kind, &format!("/proc/{pid}/ns/{file}"));
    }
    second.config.as_object_mut().unwrap().remove("hostname");
    let report = second.report();
    for (kind, file) in KINDS {
        let theirs = fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap().display().to_string();
        assert_eq!(report["namespaces"][file], theirs, "{kind}");
    }
    assert!(report["timens"].as_str().unwrap().contains("1234"));
    assert_eq!(words(&report["uid_map"]), [0, 100_000, 65536]);
}

#[test]
fn user_namespace_joined_with_each_kind_new() {
    only_oxrun!();
    let (first, mut second) = sleeping_and_other();
    let pid = first.pid();
    config::add_namespace(&mut second.config, "user", &format!("/proc/{pid}/ns/user"));
    config::add_namespace(&mut second.config, "time", "");
    second.config["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 99}});
    let report = second.report();
    for (kind, file) in KINDS.into_iter().skip(1) {
        let theirs = fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap().display().to_string();
        let hosts = fs::read_link(format!("/proc/self/ns/{file}")).unwrap().display().to_string();
        assert_ne!(report["namespaces"][file], theirs, "{kind}");
        assert_ne!(report["namespaces"][file], hosts, "{kind}");
    }
    assert_eq!(report["pid"], 1);
    assert!(report["timens"].as_str().unwrap().contains("99"), "{report}");
    let user = fs::read_link(format!("/proc/{pid}/ns/user")).unwrap().display().to_string();
    assert_eq!(report["namespaces"]["user"], user);
    second.assert_clean();
}

#[test]
fn user_namespace_by_a_bound_file() {
    only_oxrun!();
    let (first, mut second) = sleeping_and_other();
    let file = second.path("userns");
    fs::write(&file, "").unwrap();
    config::add_namespace(&mut second.config, "user", &file);
    second.write_config();
    let script = format!("mount --bind /proc/{}/ns/user {file}", first.pid());
    let report = second.spawn(second.after_mounts(&script, &["run", &second.id])).wait().ok().json();
    assert_eq!(words(&report["uid_map"]), [0, 100_000, 65536]);
}

#[test]
fn created_successor_is_the_containers_process() {
    only_oxrun!();
    let (first, mut second) = sleeping_and_other();
    for (kind, file) in [("user", "user"), ("pid", "pid")] {
        config::add_namespace(&mut second.config, kind, &format!("/proc/{}/ns/{file}", first.pid()));
    }
    second.args(&["payload", "exit", "9"]);
    second.create().ok();
    assert_eq!(second.status(), "created");
    let pid = second.pid();
    second.start().ok();
    assert_eq!(second.reap(pid), 9);
    second.delete().ok();
    second.assert_clean();
}

#[test]
fn namespaces_that_the_host_owns_with_a_new_user_namespace() {
    only_oxrun!();
    let mut first = Sandbox::new();
    first.args(&["payload", "sleep", "5000"]);
    first.create().ok();
    let of_first = |kind: &str| format!("/proc/{}/ns/{kind}", first.pid());
    let mut t = Sandbox::new();
    t.map_users(100_000);
    let name = format!("{}net", t.id);
    host_command("ip", &["netns", "add", &name]).ok();
    let file = format!("/run/netns/{name}");
    config::add_namespace(&mut t.config, "network", &file);
    config::add_namespace(&mut t.config, "uts", &of_first("uts"));
    config::add_namespace(&mut t.config, "cgroup", &of_first("cgroup"));
    t.config.as_object_mut().unwrap().remove("hostname");
    use std::os::unix::fs::MetadataExt;
    let wanted = format!("net:[{}]", fs::metadata(&file).unwrap().ino());
    host_command("ip", &["-n", &name, "link", "add", "ox0", "type", "veth", "peer", "name", "ox1"]).ok();
    let outcome = t.run_args(&["payload", "report"]);
    let listed = t.run_args(&["payload", "do", "ls /sys/class/net", "write /sys/class/net/ox0/mtu 1400"]);
    host_command("ip", &["netns", "del", &name]).ok();
    let report = outcome.ok().json();
    assert_eq!(report["namespaces"]["net"], wanted);
    // Its sysfs shows that network, not the host's, and stays as read-only as the configuration says.
    let listed = listed.ok().json();
    assert_eq!(listed[0]["ok"], json!(["lo", "ox0", "ox1"]), "{listed}");
    assert!(listed[1]["err"].is_string(), "{listed}");
    let uts = fs::read_link(of_first("uts")).unwrap().display().to_string();
    assert_eq!(report["namespaces"]["uts"], uts);
    assert_eq!(words(&report["uid_map"]), [0, 100_000, 65536]);
}
