//! The root filesystem as the container sees it: mounts, flags, propagation, devices, symbolic
//! links, masked and read-only paths.

use crate::harness::{Sandbox, host_command, is_oxrun, write_program};
use crate::{config, host};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

/// The topmost mount on a path.
#[track_caller]
fn mount_at(report: &Value, point: &str) -> Value {
    let all = report["mounts"].as_array().unwrap().iter().rev();
    all.clone()
        .find(|m| m["point"] == point)
        .unwrap_or_else(|| panic!("nothing on {point}: {report}"))
        .clone()
}

fn has(mount: &Value, option: &str) -> bool {
    let lists = [&mount["options"], &mount["super"]];
    lists.iter().any(|list| list.as_array().unwrap().iter().any(|o| o == option))
}

fn has_own(mount: &Value, option: &str) -> bool {
    mount["options"].as_array().unwrap().iter().any(|o| o == option)
}

#[test]
fn default_mounts() {
    let mut t = Sandbox::new();
    let report = t.report();
    for (point, kind, flags) in [
        ("/proc", "proc", vec!["rw"]),
        ("/dev", "tmpfs", vec!["rw", "nosuid", "size=65536k", "mode=755"]),
        ("/dev/pts", "devpts", vec!["rw", "nosuid", "noexec", "gid=5", "mode=620", "ptmxmode=666"]),
        ("/dev/shm", "tmpfs", vec!["rw", "nosuid", "noexec", "nodev", "size=65536k"]),
        ("/dev/mqueue", "mqueue", vec!["rw", "nosuid", "noexec", "nodev"]),
        ("/sys", "sysfs", vec!["ro", "nosuid", "noexec", "nodev"]),
    ] {
        let mount = mount_at(&report, point);
        assert_eq!(mount["type"], kind, "{point}");
        for flag in flags {
            assert!(has(&mount, flag), "{point} without {flag}: {mount}");
        }
    }
    let cgroup = mount_at(&report, "/sys/fs/cgroup");
    assert_eq!(cgroup["type"], if host::is_cgroup_v2() { "cgroup2" } else { "tmpfs" });
    if !is_oxrun() && has_own(&cgroup, "rw") {
        skip!("another runtime leaves the tmpfs with the v1 hierarchies writable");
    }
    assert!(has_own(&cgroup, "ro"));
}

#[test]
fn nothing_of_the_host_is_left_below_the_root() {
    let mut t = Sandbox::new();
    let report = t.report();
    let root = mount_at(&report, "/");
    assert!(root["root"].as_str().unwrap().ends_with("/bundle/rootfs"), "{root}");
    for mount in report["mounts"].as_array().unwrap() {
        let point = mount["point"].as_str().unwrap();
        assert!(
            ["/", "/proc", "/dev", "/sys"].iter().any(|p| point == *p || point.starts_with(&format!("{p}/"))),
            "{mount}"
        );
    }
    assert_eq!(report["mounts"].as_array().unwrap().iter().filter(|m| m["point"] == "/").count(), 1);
    let outside = t.actions(&["ls /..", "stat /../../etc/passwd"]);
    assert_eq!(outside[0]["ok"].as_array().unwrap().len(), fs::read_dir(t.rootfs()).unwrap().count());
}

#[test]
fn without_pivot_the_host_is_out_of_reach_too() {
    let mut t = Sandbox::new();
    t.args(&["payload", "do", "ls /", "stat /bin/payload", "read /proc/self/status"]).write_config();
    let result = t.runtime(&["run", "--no-pivot", &t.id]).ok().json();
    assert!(result[1]["ok"].is_object());
    assert_eq!(result[0]["ok"].as_array().unwrap().len(), fs::read_dir(t.rootfs()).unwrap().count());
    t.assert_clean();
}

#[test]
fn read_only_root() {
    let mut t = Sandbox::new();
    t.config["root"]["readonly"] = json!(true);
    let result = t.actions(&["touch /new", "touch /dev/shm/new", "touch /etc/passwd"]);
    assert_eq!(result, json!([{"err": "EROFS"}, {"ok": true}, {"err": "EROFS"}]));
    let report = t.report();
    assert!(has_own(&mount_at(&report, "/"), "ro"));
    assert!(has_own(&mount_at(&report, "/dev"), "rw"));
}

#[test]
fn read_only_tmpfs_on_dev() {
    let mut t = Sandbox::new();
    let options = json!(["nosuid", "strictatime", "mode=755", "size=65536k", "ro"]);
    t.config["mounts"][1]["options"] = options;
    let result = t.actions(&["touch /dev/new", "write /dev/null x", "readlink /dev/fd"]);
    assert_eq!(result, json!([{"err": "EROFS"}, {"ok": true}, {"ok": "/proc/self/fd"}]));
}

#[test]
fn default_devices_and_links() {
    let mut t = Sandbox::new();
    let nodes =
        [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
    let actions: Vec<String> = nodes.iter().map(|(name, _, _)| format!("stat /dev/{name}")).collect();
    let result = t.actions(&actions.iter().map(String::as_str).collect::<Vec<_>>());
    for ((name, major, minor), answer) in nodes.iter().zip(result.as_array().unwrap()) {
        let node = &answer["ok"];
        assert_eq!((&node["type"], &node["mode"]), (&json!("char"), &json!("666")), "{name}");
        assert_eq!((&node["major"], &node["minor"]), (&json!(major), &json!(minor)), "{name}");
        assert_eq!((&node["uid"], &node["gid"]), (&json!(0), &json!(0)), "{name}");
    }
    for (link, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        assert_eq!(t.actions(&[&format!("readlink /dev/{link}")]), json!([{"ok": target}]), "{link}");
    }
    let used =
        t.actions(&["write /dev/full x", "read /dev/null", "ptmx", "ls /dev/pts", "stat /dev/console"]);
    assert!(used[0]["err"].is_string());
    assert_eq!(used[1]["ok"], "");
    assert_eq!((&used[2]["ok"]["gid"], &used[2]["ok"]["mode"]), (&json!(5), &json!("620")));
    assert_eq!(used[4]["err"], "ENOENT", "no terminal, no console");
}

#[test]
fn devices_of_the_config() {
    let mut t = Sandbox::new();
    t.config["linux"]["devices"] = json!([
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 10, "gid": 11},
        {"path": "/nodes/deep/block", "type": "b", "major": 7, "minor": 1, "fileMode": 0o600},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o622},
        {"path": "/dev/unbuffered", "type": "u", "major": 1, "minor": 3},
    ]);
    config::set_capabilities(&mut t.config, &["CAP_DAC_OVERRIDE"]);
    t.config["linux"]["resources"]["devices"].as_array_mut().unwrap().push(json!(
        {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm"}));
    let result = t.actions(&[
        "stat /dev/mine",
        "stat /nodes/deep/block",
        "stat /dev/pipe",
        "stat /dev/unbuffered",
        "read /dev/mine",
    ]);
    let facts = |n: usize| {
        let node = &result[n]["ok"];
        (
            node["type"].as_str().unwrap().to_string(),
            node["mode"].as_str().unwrap().to_string(),
            node["minor"].as_u64().unwrap(),
        )
    };
    assert_eq!(facts(0), ("char".into(), "640".into(), 5));
    assert_eq!((&result[0]["ok"]["uid"], &result[0]["ok"]["gid"]), (&json!(10), &json!(11)));
    assert_eq!(facts(1), ("block".into(), "600".into(), 1));
    assert_eq!((facts(2).0, facts(2).1), ("fifo".into(), "622".into()));
    assert_eq!((facts(3).0, facts(3).2), ("char".into(), 3));
    assert!(result[4]["ok"].is_string());
}

#[test]
fn default_devices_may_be_listed_again() {
    let mut t = Sandbox::new();
    t.config["linux"]["devices"] = json!([
        {"path": "/dev/tty", "type": "c", "major": 5, "minor": 0, "fileMode": 0o666},
        {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2, "fileMode": 0o666},
    ]);
    if is_oxrun() {
        // another runtime then forgets to allow it in the control group.
        let null = json!({"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666});
        t.config["linux"]["devices"].as_array_mut().unwrap().push(null);
    }
    let result = t.actions(&["write /dev/null x", "ptmx", "stat /dev/tty"]);
    assert_eq!((&result[0]["ok"], &result[2]["ok"]["mode"]), (&json!(true), &json!("666")));
    assert!(result[1]["ok"].is_object(), "{result}");
}

#[test]
fn bind_mount_of_a_directory() {
    let mut t = Sandbox::new();
    let source = t.path("data");
    fs::create_dir(&source).unwrap();
    fs::write(format!("{source}/file"), "text").unwrap();
    config::add_mount(&mut t.config, "/made/here", "bind", &source, &["bind"]);
    let result = t.actions(&["read /made/here/file", "touch /made/here/new", "stat /made"]);
    assert_eq!((&result[0]["ok"], &result[1]["ok"]), (&json!("text"), &json!(true)));
    assert_eq!(result[2]["ok"]["mode"], "755");
    assert!(fs::metadata(format!("{source}/new")).is_ok());
}

#[test]
fn bind_mount_of_a_file_and_a_socket() {
    let mut t = Sandbox::new();
    fs::write(t.path("file"), "text").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(t.path("socket")).unwrap();
    let (file, socket) = (t.path("file"), t.path("socket"));
    config::add_mount(&mut t.config, "/new/file", "bind", &file, &["bind", "ro"]);
    config::add_mount(&mut t.config, "/run/socket", "bind", &socket, &["bind"]);
    let result =
        t.actions(&["read /new/file", "write /new/file x", "connect /run/socket", "stat /run/socket"]);
    assert_eq!(
        (&result[0]["ok"], &result[1]["err"], &result[2]["ok"]),
        (&json!("text"), &json!("EROFS"), &json!(true))
    );
    assert_eq!(result[3]["ok"]["type"], "socket");
    assert_eq!(fs::read_to_string(t.path("file")).unwrap(), "text");
    assert!(fs::symlink_metadata(t.rootfs().join("new/file")).unwrap().is_file());
}

#[test]
fn flags_of_bind_mounts() {
    let mut t = Sandbox::new();
    let source = t.path("data");
    fs::create_dir(&source).unwrap();
    for (point, options) in [
        ("/a", vec!["bind", "ro"]),
        ("/b", vec!["rbind", "nosuid", "nodev", "noexec"]),
        ("/c", vec!["bind", "rw", "noatime"]),
        ("/d", vec!["bind", "ro", "nodiratime", "strictatime"]),
        ("/e", vec!["bind", "nosuid", "suid", "ro", "rw"]),
    ] {
        config::add_mount(&mut t.config, point, "bind", &source, &options);
    }
    let report = t.report();
    let at = |point: &str| mount_at(&report, point);
    assert!(has_own(&at("/a"), "ro"));
    assert!(["nosuid", "nodev", "noexec", "rw"].iter().all(|f| has_own(&at("/b"), f)), "{}", at("/b"));
    assert!(has_own(&at("/c"), "rw") && has_own(&at("/c"), "noatime"));
    assert!(has_own(&at("/d"), "ro") && has_own(&at("/d"), "nodiratime"));
    assert!(has_own(&at("/e"), "rw") && !has_own(&at("/e"), "nosuid"), "the last one wins: {}", at("/e"));
}

#[test]
fn bind_flags_are_real() {
    let mut t = Sandbox::new();
    let source = t.path("data");
    fs::create_dir(&source).unwrap();
    write_program(std::path::Path::new(&format!("{source}/tool")), "#!/bin/sh\necho ran\n");
    host_command("mknod", &["-m", "666", &format!("{source}/null"), "c", "1", "3"]).ok();
    config::add_mount(&mut t.config, "/strict", "bind", &source, &["bind", "noexec", "nodev", "ro"]);
    config::add_mount(&mut t.config, "/loose", "bind", &source, &["bind"]);
    let words = [
        "exec /strict/tool",
        "read /strict/null",
        "touch /strict/new",
        "exec /loose/tool",
        "read /loose/null",
    ];
    let result = t.actions(&words);
    assert_eq!(result[0]["err"], "EACCES");
    assert_eq!(result[1]["err"], "EACCES");
    assert_eq!(result[2]["err"], "EROFS");
    assert_eq!(result[3]["ok"]["out"], "ran\n");
    assert_eq!(result[4]["ok"], "");
}

#[test]
fn recursive_binds_bring_submounts() {
    let mut t = Sandbox::new();
    let below = host::mounts_with(&[" /sys/fs/cgroup "]);
    if below.is_empty() {
        skip!("no mount below /sys on this host");
    }
    config::add_mount(&mut t.config, "/flat", "bind", "/sys", &["bind", "ro"]);
    config::add_mount(&mut t.config, "/deep", "bind", "/sys", &["rbind", "ro"]);
    let report = t.report();
    let points: Vec<&str> =
        report["mounts"].as_array().unwrap().iter().map(|m| m["point"].as_str().unwrap()).collect();
    assert!(points.contains(&"/deep/fs/cgroup") && !points.contains(&"/flat/fs/cgroup"), "{points:?}");
    assert!(has_own(&mount_at(&report, "/deep"), "ro"));
    assert!(has_own(&mount_at(&report, "/deep/fs/cgroup"), "rw"), "`ro` is for the top only");
}

#[test]
fn recursively_read_only() {
    let mut t = Sandbox::new();
    config::add_mount(&mut t.config, "/deep", "bind", "/sys", &["rbind", "rro", "rnosuid"]);
    let report = t.report();
    for mount in report["mounts"].as_array().unwrap() {
        let point = mount["point"].as_str().unwrap();
        if point == "/deep" || point.starts_with("/deep/") {
            assert!(has_own(mount, "ro") && has_own(mount, "nosuid"), "{mount}");
        }
    }
}

#[test]
fn propagation_of_mounts() {
    let mut t = Sandbox::new();
    let source = t.path("data");
    fs::create_dir(&source).unwrap();
    config::add_mount(&mut t.config, "/private", "bind", &source, &["bind", "private"]);
    config::add_mount(&mut t.config, "/shared", "bind", &source, &["bind", "shared"]);
    config::add_mount(&mut t.config, "/rshared", "bind", &source, &["rbind", "rshared"]);
    config::add_mount(&mut t.config, "/unbindable", "bind", &source, &["bind", "unbindable"]);
    let report = t.report();
    let propagation = |point: &str| mount_at(&report, point)["propagation"].as_str().unwrap().to_string();
    assert_eq!(propagation("/private"), "");
    assert!(propagation("/shared").starts_with("shared:"), "{}", propagation("/shared"));
    assert!(propagation("/rshared").starts_with("shared:"), "{}", propagation("/rshared"));
    assert_eq!(propagation("/unbindable"), "unbindable");
}

#[test]
fn propagation_of_the_root() {
    for (value, expected) in
        [("shared", "shared:"), ("private", ""), ("rprivate", ""), ("unbindable", "unbindable")]
    {
        let mut t = Sandbox::new();
        t.config["linux"]["rootfsPropagation"] = json!(value);
        let outcome = t.run();
        if !is_oxrun() && outcome.code != 0 {
            crate::harness::note_skip(&format!("another runtime cannot make the root {value}"));
            continue;
        }
        let root = mount_at(&outcome.ok().json(), "/");
        let propagation = root["propagation"].as_str().unwrap();
        if !is_oxrun() && value == "shared" && propagation.is_empty() {
            crate::harness::note_skip("another runtime makes only the mounts outside the root shared");
            continue;
        }
        assert!(
            propagation.starts_with(expected) && propagation.is_empty() == expected.is_empty(),
            "{value}: {root}"
        );
    }
}

#[test]
fn tmpfs_with_data_and_modes() {
    let mut t = Sandbox::new();
    fs::create_dir(t.rootfs().join("sticky")).unwrap();
    fs::set_permissions(t.rootfs().join("sticky"), fs::Permissions::from_mode(0o1751)).unwrap();
    config::add_mount(&mut t.config, "/sticky", "tmpfs", "tmpfs", &["size=1m"]);
    config::add_mount(&mut t.config, "/given", "tmpfs", "tmpfs", &["mode=710", "uid=5", "gid=6", "nosuid"]);
    config::add_mount(&mut t.config, "/fresh", "tmpfs", "tmpfs", &["noexec"]);
    let result = t.actions(&["stat /sticky", "stat /given", "stat /fresh"]);
    assert_eq!(result[0]["ok"]["mode"], "1751", "the mode of what is covered");
    let given = &result[1]["ok"];
    assert_eq!((&given["mode"], &given["uid"], &given["gid"]), (&json!("710"), &json!(5), &json!(6)));
    let modes: &[&str] = if is_oxrun() { &["1777"] } else { &["755", "1777"] };
    assert!(modes.iter().any(|m| result[2]["ok"]["mode"] == *m), "{}", result[2]);
    let report = t.report();
    assert!(has(&mount_at(&report, "/sticky"), "size=1024k"));
    assert_eq!(fs::metadata(t.rootfs().join("sticky")).unwrap().mode() & 0o7777, 0o1751);
}

#[test]
fn tmpcopyup_keeps_content() {
    let mut t = Sandbox::new();
    fs::create_dir_all(t.rootfs().join("seed/sub")).unwrap();
    fs::write(t.rootfs().join("seed/file"), "text").unwrap();
    fs::set_permissions(t.rootfs().join("seed/file"), fs::Permissions::from_mode(0o604)).unwrap();
    config::add_mount(&mut t.config, "/seed", "tmpfs", "tmpfs", &["tmpcopyup"]);
    let result = t.actions(&["read /seed/file", "stat /seed/file", "touch /seed/new", "ls /seed"]);
    assert_eq!((&result[0]["ok"], &result[1]["ok"]["mode"]), (&json!("text"), &json!("604")));
    assert_eq!(result[3]["ok"], json!(["file", "new", "sub"]));
    assert!(!t.rootfs().join("seed/new").exists());
}

#[test]
fn mounts_are_made_in_order() {
    let mut t = Sandbox::new();
    let source = t.path("data");
    fs::create_dir(&source).unwrap();
    config::add_mount(&mut t.config, "/base", "tmpfs", "tmpfs", &[]);
    config::add_mount(&mut t.config, "/base/below", "bind", &source, &["bind"]);
    config::add_mount(&mut t.config, "/mnt", "tmpfs", "first", &[]);
    config::add_mount(&mut t.config, "/mnt", "tmpfs", "second", &["ro"]);
    let report = t.report();
    assert_eq!(mount_at(&report, "/mnt")["source"], "second");
    mount_at(&report, "/base/below");
    assert!(!t.rootfs().join("base/below").exists(), "the target was made in the tmpfs");
}

#[test]
fn sources_and_destinations_may_be_relative() {
    let mut t = Sandbox::new();
    fs::create_dir(t.bundle().join("data")).unwrap();
    fs::write(t.bundle().join("data/file"), "text").unwrap();
    config::add_mount(&mut t.config, "/abs", "bind", "data", &["bind"]);
    config::add_mount(&mut t.config, "rel/ative", "bind", "./data", &["bind"]);
    config::add_mount(&mut t.config, "/odd//path/./x/../y", "bind", "data", &["bind"]);
    let result = t.actions(&["read /abs/file", "read /rel/ative/file", "read /odd/path/y/file"]);
    assert_eq!(result, json!([{"ok": "text"}, {"ok": "text"}, {"ok": "text"}]));
}

#[test]
fn links_in_targets_are_resolved_inside_the_root() {
    let mut t = Sandbox::new();
    fs::create_dir(t.rootfs().join("real")).unwrap();
    symlink("/real", t.rootfs().join("absolute")).unwrap();
    symlink("../../../../real", t.rootfs().join("climbing")).unwrap();
    symlink("/made/up", t.rootfs().join("dangling")).unwrap();
    config::add_mount(&mut t.config, "/absolute/one", "tmpfs", "one", &[]);
    config::add_mount(&mut t.config, "/climbing/two", "tmpfs", "two", &[]);
    config::add_mount(&mut t.config, "/dangling/three", "tmpfs", "three", &[]);
    let report = t.report();
    assert_eq!(mount_at(&report, "/real/one")["source"], "one");
    assert_eq!(mount_at(&report, "/real/two")["source"], "two");
    assert_eq!(mount_at(&report, "/made/up/three")["source"], "three");
    assert!(!std::path::Path::new("/made/up").exists() && !std::path::Path::new("/real").exists());
}

#[test]
fn last_component_may_be_a_link() {
    let mut t = Sandbox::new();
    let file = t.path("file");
    fs::write(&file, "text").unwrap();
    symlink("/etc/target", t.rootfs().join("etc/resolv.conf")).unwrap();
    symlink("/made/dir", t.rootfs().join("linkdir")).unwrap();
    config::add_mount(&mut t.config, "/etc/resolv.conf", "bind", &file, &["bind"]);
    config::add_mount(&mut t.config, "/linkdir", "tmpfs", "tmpfs", &[]);
    let report = t.report();
    mount_at(&report, "/etc/target");
    mount_at(&report, "/made/dir");
    assert!(!std::path::Path::new("/etc/target").exists());
}

#[test]
fn masked_paths_are_empty_and_locked() {
    let mut t = Sandbox::new();
    fs::create_dir(t.rootfs().join("hidden")).unwrap();
    fs::write(t.rootfs().join("hidden/file"), "secret").unwrap();
    fs::write(t.rootfs().join("secret"), "secret").unwrap();
    t.config["linux"]["maskedPaths"] =
        json!(["/hidden", "/secret", "/proc/version", "/no/such/path", "/hidden"]);
    let result = t.actions(&[
        "ls /hidden",
        "read /secret",
        "read /proc/version",
        "touch /hidden/new",
        "umount /hidden",
        "umount /secret",
        "rm /secret",
    ]);
    assert_eq!(result[0]["ok"], json!([]));
    assert_eq!(result[1]["ok"], "");
    assert_eq!(result[2]["ok"], "");
    assert_eq!(result[3]["err"], "EROFS");
    assert_eq!((&result[4]["err"], &result[5]["err"]), (&json!("EPERM"), &json!("EPERM")));
    assert_eq!(result[6]["err"], "EBUSY");
}

#[test]
fn masked_paths_stay_hidden_with_a_read_only_root() {
    let mut t = Sandbox::new();
    fs::write(t.rootfs().join("secret"), "secret").unwrap();
    t.config["root"]["readonly"] = json!(true);
    t.config["linux"]["maskedPaths"] = json!(["/secret", "/sys/firmware"]);
    let result = t.actions(&["read /secret", "ls /sys/firmware", "rm /secret"]);
    assert_eq!(result[0]["ok"], "");
    assert_eq!(result[1]["ok"], json!([]));
    assert!(result[2]["err"].is_string());
}

#[test]
fn read_only_paths() {
    let mut t = Sandbox::new();
    fs::create_dir(t.rootfs().join("fixed")).unwrap();
    fs::write(t.rootfs().join("fixed/file"), "text").unwrap();
    t.config["linux"]["readonlyPaths"] = json!(["/fixed", "/proc/sys", "/proc/timer_list", "/no/such/path"]);
    let result = t.actions(&[
        "touch /fixed/new",
        "write /fixed/file x",
        "write /proc/sys/kernel/msgmax 1",
        "read /fixed/file",
    ]);
    for answer in &result.as_array().unwrap()[..3] {
        assert_eq!(answer["err"], "EROFS", "{result}");
    }
    assert_eq!(result[3]["ok"], "text");
    let report = t.report();
    assert!(has_own(&mount_at(&report, "/proc/sys"), "ro"));
}

#[test]
fn read_only_paths_keep_the_flags_of_their_mount() {
    let mut t = Sandbox::new();
    t.config["mounts"][0]["options"] = json!(["nosuid", "noexec", "nodev"]);
    let mount = mount_at(&t.report(), "/proc/sys");
    assert!(["ro", "nosuid", "noexec", "nodev"].iter().all(|f| has_own(&mount, f)), "{mount}");
}

#[test]
fn control_groups_are_read_only_inside() {
    for namespace in [true, false] {
        let mut t = Sandbox::new();
        if !namespace {
            config::drop_namespace(&mut t.config, "cgroup");
        }
        let report = t.report();
        let mounts = report["mounts"].as_array().unwrap();
        let below = mounts.iter().filter(|m| m["point"].as_str().unwrap().starts_with("/sys/fs/cgroup"));
        let points: Vec<String> = below.map(|m| m["point"].as_str().unwrap().to_string()).collect();
        assert!(!points.is_empty());
        config::set_capabilities(&mut t.config, &["CAP_DAC_OVERRIDE"]);
        for point in points {
            if !is_oxrun() && point == "/sys/fs/cgroup" && !host::is_cgroup_v2() {
                crate::harness::note_skip(
                    "another runtime leaves the tmpfs with the v1 hierarchies writable",
                );
                continue;
            }
            let words = [format!("mkdir {point}/oxrun-made"), format!("ls {point}")];
            let result = t.actions(&[&words[0], &words[1]]);
            assert_eq!(result[0]["err"], "EROFS", "{point}");
            assert!(!result[1]["ok"].as_array().unwrap().is_empty(), "{point} is empty");
        }
    }
}

#[test]
fn control_group_mount_shows_the_own_group() {
    let mut t = Sandbox::new();
    t.config["linux"]["resources"]["pids"] = json!({"limit": 77});
    let file = if host::is_cgroup_v2() { "/sys/fs/cgroup/pids.max" } else { "/sys/fs/cgroup/pids/pids.max" };
    assert_eq!(t.actions(&[&format!("read {file}")]), json!([{"ok": "77\n"}]));
    config::drop_namespace(&mut t.config, "cgroup");
    assert_eq!(t.actions(&[&format!("read {file}")]), json!([{"ok": "77\n"}]));
}

#[test]
fn proc_without_new_pid_namespace_still_works() {
    let mut t = Sandbox::new();
    config::drop_namespace(&mut t.config, "pid");
    let result = t.actions(&["read /proc/self/comm"]);
    assert_eq!(result, json!([{"ok": "payload\n"}]));
}

#[test]
fn container_without_any_mounts() {
    let mut t = Sandbox::new();
    t.config["mounts"] = json!([]);
    t.config["linux"]["maskedPaths"] = json!([]);
    t.config["linux"]["readonlyPaths"] = json!([]);
    let outcome = t.run_args(&["echo", "here"]);
    if !is_oxrun() && outcome.code != 0 {
        skip!("another runtime cannot do without /proc");
    }
    assert_eq!(outcome.ok().stdout, "here\n");
    t.assert_clean();
}

#[test]
fn mount_that_covers_the_root_of_a_tmpfs_file_system_is_used() {
    let mut t = Sandbox::new();
    let source = t.path("data");
    fs::create_dir(&source).unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o700)).unwrap();
    t.map_users(100_000);
    let inner = format!("{source}/inner");
    fs::create_dir(&inner).unwrap();
    fs::write(format!("{inner}/file"), "text").unwrap();
    // The source can be reached by the host's root alone.
    config::add_mount(&mut t.config, "/mnt", "bind", &inner, &["bind"]);
    let outcome = t.run_args(&["payload", "do", "read /mnt/file"]);
    if !is_oxrun() && outcome.code != 0 {
        skip!("another runtime opens this source too late");
    }
    assert_eq!(outcome.ok().json(), json!([{"ok": "text"}]));
}

/// Linux 5.10 and 5.11 have no mount_setattr(2): options of bind mounts are set once they are
/// attached. `OXRUN_WITHOUT` makes the runtime go that way on any kernel.
#[test]
fn options_are_set_without_mount_setattr_too() {
    if !is_oxrun() {
        skip!("only oxrun can be told to go without");
    }
    for cgroup_namespace in [false, true] {
        let mut t = Sandbox::new();
        let namespaces = t.config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|n| n["type"] != "cgroup");
        if cgroup_namespace {
            namespaces.push(json!({"type": "cgroup"}));
        }
        config::add_mount(&mut t.config, "/bound", "bind", "/etc", &["bind", "ro", "nosuid"]);
        config::add_mount(&mut t.config, "/sys/fs/cgroup", "cgroup", "cgroup", &["ro"]);
        t.config["linux"]["maskedPaths"] = json!(["/proc/keys", "/proc/kcore", "/proc/acpi"]);
        t.config["linux"]["readonlyPaths"].as_array_mut().unwrap().push(json!("/proc/uptime"));
        t.args(&["cat", "/proc/mounts"]).write_config();
        let mut command = t.command(&["run", &t.id]);
        command.env("OXRUN_WITHOUT", "mount_setattr");
        let mounts = t.spawn(command).wait().ok().stdout;
        let flags = |path: &str| -> Vec<String> {
            let line = mounts.lines().rfind(|line| line.split(' ').nth(1) == Some(path));
            let line = line.unwrap_or_else(|| panic!("{path} is not mounted:\n{mounts}"));
            line.split(' ').nth(3).unwrap().split(',').map(str::to_string).collect()
        };
        assert!(flags("/bound").contains(&"ro".into()) && flags("/bound").contains(&"nosuid".into()));
        assert!(flags("/sys/fs/cgroup").contains(&"ro".into()), "{mounts}");
        assert!(flags("/proc/keys").contains(&"ro".into()), "{mounts}");
        assert!(flags("/proc/uptime").contains(&"ro".into()), "{mounts}");
        for line in mounts.lines().filter(|line| line.contains(" cgroup ") || line.contains(" cgroup2 ")) {
            assert!(line.split(' ').nth(3).unwrap().split(',').any(|flag| flag == "ro"), "{line}");
        }
        t.assert_clean();
    }
}
