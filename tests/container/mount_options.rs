//! Every option of mounts (config.md, Linux mount options), as the container sees the result:
//! flags set and cleared, recursively and not, locked ones, propagation, id maps, sources and
//! targets of all kinds, and filesystems with their data.

use crate::config;
use crate::harness::{Outcome, Sandbox, host_command, is_oxrun};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

macro_rules! only_oxrun {
    () => {
        if !is_oxrun() {
            skip!("newer than this runtime");
        }
    };
}

#[track_caller]
fn mount_at(report: &Value, point: &str) -> Value {
    let all = report["mounts"].as_array().unwrap().iter().rev();
    all.clone()
        .find(|m| m["point"] == point)
        .unwrap_or_else(|| panic!("nothing on {point}: {report}"))
        .clone()
}

/// The flags of the mount itself, sorted, without `rw`.
#[track_caller]
fn flags(report: &Value, point: &str) -> String {
    let mount = mount_at(report, point);
    let list = mount["options"].as_array().unwrap().iter();
    let mut names: Vec<&str> = list.map(|o| o.as_str().unwrap()).filter(|o| *o != "rw").collect();
    names.sort_unstable();
    names.join(",")
}

/// A tmpfs on `data` of the test's directory, with flags, and a second one below it on `data/sub`;
/// in the mount namespace of the runtime call alone.
fn tmpfs_script(t: &Sandbox, options: &str) -> String {
    let data = t.path("data");
    fs::create_dir_all(&data).unwrap();
    format!(
        "mount -t tmpfs -o mode=755 tmpfs {data}; mkdir {data}/sub; mount -t tmpfs tmpfs {data}/sub; \
         touch {data}/file {data}/sub/file; mount -o remount,bind,{options} {data}; \
         mount -o remount,bind,{options} {data}/sub"
    )
}

#[track_caller]
fn run_after(t: &Sandbox, script: &str) -> Outcome {
    t.write_config();
    t.spawn(t.after_mounts(script, &["run", &t.id])).wait()
}

/// Mounts the flagged tmpfs on /a with `options`; the flags of /a and /a/sub.
#[track_caller]
fn bound(source_flags: &str, options: &[&str], userns: bool) -> (String, String) {
    let mut t = Sandbox::new();
    if userns {
        t.map_users(100_000);
    }
    let data = t.path("data");
    let script = tmpfs_script(&t, source_flags);
    config::add_mount(&mut t.config, "/a", "bind", &data, options);
    let report = run_after(&t, &script).ok().json();
    (flags(&report, "/a"), flags(&report, "/a/sub"))
}

#[test]
fn bind_alone_keeps_all_flags() {
    for userns in [false, true] {
        let (own, below) = bound("ro,nosuid,nodev,noexec,noatime,nodiratime", &["rbind"], userns);
        assert_eq!(own, "noatime,nodev,nodiratime,noexec,nosuid,ro");
        assert_eq!(below, own);
    }
}

#[test]
fn any_flag_replaces_those_of_the_source() {
    for (options, expected) in [
        (vec!["rbind", "rw"], "noatime,nodiratime"),
        (vec!["rbind", "ro"], "noatime,nodiratime,ro"),
        (vec!["rbind", "nosuid"], "noatime,nodiratime,nosuid"),
        (vec!["rbind", "suid", "dev", "exec"], "noatime,nodiratime"),
        (vec!["rbind", "nodev", "noexec", "relatime"], "nodev,noexec,relatime"),
        (vec!["rbind", "strictatime"], ""),
        (vec!["rbind", "noatime"], "noatime"),
        (vec!["rbind", "nodiratime", "noatime"], "noatime,nodiratime"),
        (vec!["rbind", "diratime"], "noatime"),
        (vec!["rbind", "nosymfollow"], "noatime,nodiratime,nosymfollow"),
    ] {
        if !is_oxrun() && options.contains(&"nosymfollow") {
            continue;
        }
        let (own, below) = bound("nosuid,nodev,noexec,noatime,nodiratime", &options, false);
        assert_eq!(own, expected, "{options:?}");
        assert_eq!(below, "noatime,nodev,nodiratime,noexec,nosuid", "{options:?} is for the top only");
    }
}

#[test]
fn locked_flags_stay_in_a_user_namespace() {
    only_oxrun!();
    for (options, expected) in [
        (vec!["rbind", "nosuid"], "noatime,nodev,noexec,nosuid,ro"),
        (vec!["rbind", "ro", "nosymfollow"], "noatime,nodev,noexec,nosuid,nosymfollow,ro"),
        (vec!["rbind", "noatime"], "noatime,nodev,noexec,nosuid,ro"),
        (vec!["rbind", "symfollow"], "noatime,nodev,noexec,nosuid,ro"),
    ] {
        let (own, _) = bound("ro,nosuid,nodev,noexec,noatime", &options, true);
        assert_eq!(own, expected, "{options:?}");
    }
}

#[test]
fn clearing_a_locked_flag_is_an_error() {
    only_oxrun!();
    for option in ["rw", "suid", "dev", "exec", "strictatime", "relatime", "rrw", "rsuid", "rdev", "rexec"] {
        let mut t = Sandbox::new();
        t.map_users(100_000);
        let data = t.path("data");
        let script = tmpfs_script(&t, "ro,nosuid,nodev,noexec,noatime");
        config::add_mount(&mut t.config, "/a", "bind", &data, &["rbind", option]);
        let outcome = run_after(&t, &script).failed();
        outcome.says(&["mounts[7]"]).says(&["operation not permitted"]);
        t.assert_clean();
    }
}

#[test]
fn recursive_options_are_for_all_mounts_below() {
    only_oxrun!();
    for (source, option, expected) in [
        ("relatime", "rro", "relatime,ro"),
        ("relatime", "rnosuid", "nosuid,relatime"),
        ("relatime", "rnodev", "nodev,relatime"),
        ("relatime", "rnoexec", "noexec,relatime"),
        ("relatime", "rnodiratime", "nodiratime,relatime"),
        ("relatime", "rnosymfollow", "nosymfollow,relatime"),
        ("relatime", "rnoatime", "noatime"),
        ("relatime", "rstrictatime", ""),
        ("ro", "rrw", "relatime"),
        ("nosuid", "rsuid", "relatime"),
        ("nodev", "rdev", "relatime"),
        ("noexec", "rexec", "relatime"),
        ("nodiratime", "rdiratime", "relatime"),
        ("nosymfollow", "rsymfollow", "relatime"),
        ("noatime", "ratime", "relatime"),
        ("noatime", "rrelatime", "relatime"),
        ("strictatime", "rnostrictatime", "relatime"),
        ("noatime", "rnorelatime", "relatime"),
    ] {
        let (own, below) = bound(source, &["rbind", option], false);
        assert_eq!((own.as_str(), below.as_str()), (expected, expected), "{source} {option}");
    }
    let (own, below) = bound("relatime", &["rbind", "ro", "rnosuid"], false);
    assert_eq!((own.as_str(), below.as_str()), ("nosuid,relatime,ro", "nosuid,relatime"));
}

#[test]
fn recursive_options_without_submounts() {
    only_oxrun!();
    let mut t = Sandbox::new();
    config::add_mount(&mut t.config, "/a", "tmpfs", "tmpfs", &["rro", "rnosuid"]);
    assert_eq!(flags(&t.report(), "/a"), "nosuid,relatime,ro");
}

#[test]
fn flags_of_new_filesystems() {
    let mut t = Sandbox::new();
    let cases = [
        (vec!["ro"], "relatime,ro"),
        (vec!["defaults"], "relatime"),
        (vec!["nosuid", "nodev", "noexec"], "nodev,noexec,nosuid,relatime"),
        (vec!["nosuid", "suid", "nodev", "dev", "noexec", "exec"], "relatime"),
        (vec!["noatime"], "noatime"),
        (vec!["strictatime"], ""),
        (vec!["noatime", "atime"], "relatime"),
        (vec!["nodiratime"], "nodiratime,relatime"),
        (vec!["nodiratime", "diratime"], "relatime"),
        (vec!["ro", "rw"], "relatime"),
        (vec!["silent", "loud", "async", "iversion", "noiversion"], "relatime"),
    ];
    for (index, (options, _)) in cases.iter().enumerate() {
        config::add_mount(&mut t.config, &format!("/m{index}"), "tmpfs", "tmpfs", options);
    }
    let report = t.report();
    for (index, (options, expected)) in cases.iter().enumerate() {
        assert_eq!(flags(&report, &format!("/m{index}")), *expected, "{options:?}");
    }
}

#[test]
fn flags_of_the_superblock() {
    only_oxrun!();
    let mut t = Sandbox::new();
    for (point, options) in [
        ("/sync", vec!["sync"]),
        ("/dirsync", vec!["dirsync"]),
        ("/lazytime", vec!["lazytime"]),
        ("/mand", vec!["mand", "nomand", "sync", "async", "lazytime", "nolazytime"]),
    ] {
        config::add_mount(&mut t.config, point, "tmpfs", "tmpfs", &options);
    }
    config::add_mount(&mut t.config, "/ro", "ramfs", "ramfs", &["ro"]);
    let report = t.report();
    let has = |point: &str, word: &str| {
        mount_at(&report, point)["super"].as_array().unwrap().iter().any(|o| o == word)
    };
    assert!(
        has("/sync", "sync")
            && has("/dirsync", "dirsync")
            && has("/lazytime", "lazytime")
            && has("/ro", "ro")
    );
    assert!(!has("/mand", "sync") && !has("/mand", "lazytime") && !has("/mand", "mand"));
}

#[test]
fn remount_changes_what_is_there() {
    only_oxrun!();
    let mut t = Sandbox::new();
    config::add_mount(&mut t.config, "/a", "tmpfs", "tmpfs", &["nosuid"]);
    config::add_mount(&mut t.config, "/a", "tmpfs", "tmpfs", &["remount", "ro", "nodev"]);
    config::add_mount(&mut t.config, "/nothing", "tmpfs", "tmpfs", &["remount", "ro"]);
    t.create().failed().says(&["mounts[9]"]);
    t.config["mounts"].as_array_mut().unwrap().pop();
    assert_eq!(flags(&t.report(), "/a"), "nodev,relatime,ro");
}

#[test]
fn propagation_options_one_after_another() {
    only_oxrun!();
    let mut t = Sandbox::new();
    let data = t.path("data");
    let script = format!("{}; mount --make-rshared {data}", tmpfs_script(&t, "relatime"));
    for (point, options) in [
        ("/kept", vec!["rbind"]),
        ("/slave", vec!["rbind", "slave"]),
        ("/rslave", vec!["rbind", "rslave"]),
        ("/both", vec!["rbind", "rslave", "rshared"]),
        ("/private", vec!["rbind", "rprivate"]),
        ("/shared", vec!["rbind", "private", "shared"]),
        ("/unbindable", vec!["bind", "unbindable"]),
        ("/runbindable", vec!["rbind", "runbindable"]),
    ] {
        config::add_mount(&mut t.config, point, "bind", &data, &options);
    }
    let report = run_after(&t, &script).ok().json();
    let kinds = |point: &str| {
        let text = mount_at(&report, point)["propagation"].as_str().unwrap().to_string();
        text.split(' ').map(|w| w.split(':').next().unwrap().to_string()).collect::<Vec<_>>().join(" ")
    };
    assert!(kinds("/slave").starts_with("master"), "{}", kinds("/slave"));
    assert!(kinds("/rslave/sub").starts_with("master"), "{}", kinds("/rslave/sub"));
    assert_eq!((kinds("/both"), kinds("/both/sub")), ("shared master".into(), "shared master".into()));
    assert_eq!((kinds("/private"), kinds("/private/sub")), (String::new(), String::new()));
    assert!(kinds("/shared") == "shared" && kinds("/shared/sub") != "shared");
    assert_eq!((kinds("/unbindable"), kinds("/runbindable/sub")), ("unbindable".into(), "unbindable".into()));
}

#[test]
fn propagation_for_what_is_mounted_already() {
    only_oxrun!();
    let mut t = Sandbox::new();
    config::add_mount(&mut t.config, "/a", "tmpfs", "tmpfs", &[]);
    config::add_mount(&mut t.config, "/a", "none", "", &["shared"]);
    let mount = mount_at(&t.report(), "/a");
    assert!(mount["propagation"].as_str().unwrap().starts_with("shared:"), "{mount}");
}

// ---- id maps ----------------------------------------------------------------------------------

fn map(inside: u32, outside: u32, size: u32) -> Value {
    json!({"containerID": inside, "hostID": outside, "size": size})
}

/// A directory with files of ids 0, 1, 1000 and 70000.
fn owned_files(t: &Sandbox) -> String {
    let data = t.path("data");
    fs::create_dir(&data).unwrap();
    for id in ["0", "1", "1000", "70000"] {
        let file = format!("{data}/of{id}");
        fs::write(&file, "x").unwrap();
        host_command("chown", &[&format!("{id}:{id}"), &file]).ok();
    }
    fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();
    data
}

fn owners(t: &mut Sandbox, point: &str) -> Vec<(u64, u64)> {
    let actions: Vec<String> =
        ["0", "1", "1000", "70000"].iter().map(|id| format!("stat {point}/of{id}")).collect();
    let result = t.actions(&actions.iter().map(String::as_str).collect::<Vec<_>>());
    let ids = |answer: &Value| (answer["ok"]["uid"].as_u64().unwrap(), answer["ok"]["gid"].as_u64().unwrap());
    result.as_array().unwrap().iter().map(ids).collect()
}

const NOBODY: (u64, u64) = (65534, 65534);

#[test]
fn id_maps_of_a_mount_without_user_namespace() {
    only_oxrun!();
    let mut t = Sandbox::new();
    let data = owned_files(&t);
    config::add_mount(&mut t.config, "/a", "bind", &data, &["bind", "idmap"]);
    t.config["mounts"][7]["uidMappings"] = json!([map(0, 5000, 1), map(1000, 9, 1)]);
    t.config["mounts"][7]["gidMappings"] = json!([map(0, 6000, 2)]);
    let seen = owners(&mut t, "/a");
    assert_eq!(seen, [(5000, 6000), (65534, 6001), (9, 65534), NOBODY]);
    // New files belong to the id that the map leads back to; others cannot be made.
    config::set_capabilities(&mut t.config, &["CAP_SETUID", "CAP_DAC_OVERRIDE"]);
    t.config["process"]["user"] = json!({"uid": 5000, "gid": 6000});
    assert_eq!(t.actions(&["touch /a/new"])[0]["ok"], true);
    let new = fs::metadata(format!("{data}/new")).unwrap();
    assert_eq!((new.uid(), new.gid()), (0, 0));
    t.config["process"]["user"] = json!({"uid": 77, "gid": 77});
    assert_eq!(t.actions(&["touch /a/other"])[0]["err"], "EOVERFLOW");
}

#[test]
fn id_maps_of_a_mount_in_a_user_namespace() {
    only_oxrun!();
    for option in [vec!["bind"], vec!["bind", "idmap"], vec!["rbind", "ridmap"]] {
        let mut t = Sandbox::new();
        let data = owned_files(&t);
        t.map_users(100_000);
        config::add_mount(&mut t.config, "/a", "bind", &data, &option);
        t.config["mounts"][7]["uidMappings"] = json!([map(0, 100_000, 65536)]);
        t.config["mounts"][7]["gidMappings"] = json!([map(0, 100_000, 65536)]);
        assert_eq!(owners(&mut t, "/a"), [(0, 0), (1, 1), (1000, 1000), NOBODY], "{option:?}");
    }
}

#[test]
fn id_map_of_the_container_itself() {
    only_oxrun!();
    let mut t = Sandbox::new();
    let data = owned_files(&t);
    t.map_users(100_000);
    config::add_mount(&mut t.config, "/plain", "bind", &data, &["bind"]);
    config::add_mount(&mut t.config, "/a", "bind", &data, &["bind", "idmap"]);
    config::add_mount(&mut t.config, "relative/b", "bind", &data, &["rbind", "ridmap", "shared"]);
    assert_eq!(owners(&mut t, "/a"), [(0, 0), (1, 1), (1000, 1000), NOBODY]);
    assert_eq!(owners(&mut t, "/relative/b"), [(0, 0), (1, 1), (1000, 1000), NOBODY]);
    assert_eq!(owners(&mut t, "/plain")[0], NOBODY);
    let mount = mount_at(&t.report(), "/relative/b");
    assert!(mount["propagation"].as_str().unwrap().starts_with("shared:"), "{mount}");
}

#[test]
fn recursive_id_maps_reach_submounts() {
    only_oxrun!();
    for (option, below) in [("idmap", 0), ("ridmap", 5000)] {
        let mut t = Sandbox::new();
        let data = t.path("data");
        let script = tmpfs_script(&t, "relatime");
        config::add_mount(&mut t.config, "/a", "bind", &data, &["rbind", option]);
        t.config["mounts"][7]["uidMappings"] = json!([map(0, 5000, 1)]);
        t.config["mounts"][7]["gidMappings"] = json!([map(0, 5000, 1)]);
        t.args(&["payload", "do", "stat /a/file", "stat /a/sub/file"]);
        let outcome = run_after(&t, &script);
        if outcome.stderr.contains("the filesystem or the kernel may not support it") {
            skip!("this kernel maps no ids on tmpfs (Linux 6.3 does)");
        }
        let result = outcome.ok().json();
        assert_eq!(
            (&result[0]["ok"]["uid"], &result[1]["ok"]["uid"]),
            (&json!(5000), &json!(below)),
            "{option}"
        );
    }
}

#[test]
fn many_id_mapped_mounts_need_few_descriptors() {
    only_oxrun!();
    let mut t = Sandbox::new();
    let data = owned_files(&t);
    for number in 0..20u32 {
        config::add_mount(&mut t.config, &format!("/m{number}"), "bind", &data, &["bind", "idmap"]);
        let at = 7 + number as usize;
        t.config["mounts"][at]["uidMappings"] = json!([map(0, 5000 + number, 1)]);
        t.config["mounts"][at]["gidMappings"] = json!([map(0, 5000 + number, 1)]);
    }
    t.args(&["payload", "do", "stat /m0/of0", "stat /m19/of0"]).write_config();
    let command = t.prepared(&["with-nofile", "48"], &["run", &t.id]);
    t.config["process"]["rlimits"] = json!([]);
    t.write_config();
    let result = t.spawn(command).wait().ok().json();
    assert_eq!((&result[0]["ok"]["uid"], &result[1]["ok"]["uid"]), (&json!(5000), &json!(5019)));
}

// ---- sources and targets ----------------------------------------------------------------------

#[test]
fn sources_of_all_kinds() {
    let mut t = Sandbox::new();
    let dir = t.dir().to_path_buf();
    fs::write(dir.join("file"), "text").unwrap();
    host_command("mkfifo", &[&t.path("fifo")]).ok();
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
    symlink("file", dir.join("link")).unwrap();
    symlink("nowhere", dir.join("dangling")).unwrap();
    for name in ["file", "fifo", "socket", "link"] {
        let source = t.path(name);
        config::add_mount(&mut t.config, &format!("/new/{name}"), "bind", &source, &["bind"]);
    }
    config::add_mount(&mut t.config, "/null", "bind", "/dev/null", &["bind"]);
    let result =
        t.actions(&["stat /new/file", "stat /new/fifo", "stat /new/socket", "stat /new/link", "stat /null"]);
    let kinds: Vec<&str> =
        result.as_array().unwrap().iter().map(|r| r["ok"]["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["file", "fifo", "socket", "file", "char"]);
    let dangling = t.path("dangling");
    config::add_mount(&mut t.config, "/dangling", "bind", &dangling, &["bind"]);
    t.create().failed().says(&["no such file or directory", "source does not exist"]);
    t.assert_clean();
}

#[test]
fn symbolic_links_as_sources() {
    only_oxrun!();
    let mut t = Sandbox::new();
    fs::write(t.path("file"), "text").unwrap();
    symlink("file", t.path("link")).unwrap();
    symlink("/made/up", t.path("dangling")).unwrap();
    let (file, link, dangling) = (t.path("file"), t.path("link"), t.path("dangling"));
    config::add_mount(&mut t.config, "/copied/deep", "bind", &link, &["bind", "copy-symlink"]);
    config::add_mount(&mut t.config, "/dangling", "bind", &dangling, &["bind", "copy-symlink"]);
    config::add_mount(&mut t.config, "/plain", "bind", &file, &["bind", "copy-symlink"]);
    let result = t.actions(&["readlink /copied/deep", "readlink /dangling", "read /plain"]);
    assert_eq!(result, json!([{"ok": "file"}, {"ok": "/made/up"}, {"ok": "text"}]));
    t.actions(&["readlink /dangling"]);
    symlink("/else", t.rootfs().join("taken")).unwrap();
    config::add_mount(&mut t.config, "/taken", "bind", &link, &["bind", "copy-symlink"]);
    t.create().failed().says(&["mounts[10]"]);
    t.assert_clean();
}

#[test]
fn links_mounted_as_links() {
    only_oxrun!();
    let mut t = Sandbox::new();
    fs::write(t.path("file"), "text").unwrap();
    symlink("/elsewhere", t.path("link")).unwrap();
    symlink("/else", t.rootfs().join("there")).unwrap();
    let (file, link) = (t.path("file"), t.path("link"));
    config::add_mount(&mut t.config, "/there", "bind", &link, &["bind", "src-nofollow", "dest-nofollow"]);
    config::add_mount(&mut t.config, "/file", "bind", &file, &["bind", "src-nofollow"]);
    let result = t.actions(&["readlink /there", "read /file"]);
    assert_eq!(result, json!([{"ok": "/elsewhere"}, {"ok": "text"}]));
}

#[test]
fn last_link_of_a_target_is_not_followed() {
    only_oxrun!();
    let mut t = Sandbox::new();
    fs::write(t.path("file"), "text").unwrap();
    fs::write(t.rootfs().join("target"), "old").unwrap();
    symlink("/target", t.rootfs().join("link")).unwrap();
    let file = t.path("file");
    config::add_mount(&mut t.config, "/link", "bind", &file, &["bind", "dest-nofollow"]);
    let result = t.actions(&["read /link", "read /target"]);
    assert_eq!(result, json!([{"ok": "text"}, {"ok": "old"}]));
}

#[test]
fn bind_mount_over_the_root() {
    only_oxrun!();
    let mut t = Sandbox::new();
    let root = t.rootfs().display().to_string();
    config::add_mount(&mut t.config, "/", "bind", &root, &["rbind", "nosuid"]);
    // What is mounted first is hidden by it: the rest comes after.
    let mut mounts = t.config["mounts"].as_array().unwrap().clone();
    mounts.rotate_right(1);
    t.config["mounts"] = json!(mounts);
    let report = t.report();
    assert!(flags(&report, "/").contains("nosuid"), "{}", flags(&report, "/"));
    mount_at(&report, "/dev/pts");
    t.assert_clean();
}

#[test]
fn new_filesystem_over_the_root_is_refused() {
    only_oxrun!();
    for destination in ["/", "//", "/x/..", "/."] {
        let mut t = Sandbox::new();
        config::add_mount(&mut t.config, destination, "tmpfs", "tmpfs", &[]);
        t.create().failed().says(&["mounts[7].destination"]).one_line();
        t.assert_clean();
    }
}

#[test]
fn odd_spellings_of_targets() {
    let mut t = Sandbox::new();
    let data = t.path("data");
    fs::create_dir(&data).unwrap();
    config::add_mount(&mut t.config, "//a//b/", "bind", &data, &["bind"]);
    config::add_mount(&mut t.config, "/c/./d", "tmpfs", "tmpfs", &[]);
    let report = t.report();
    mount_at(&report, "/a/b");
    mount_at(&report, "/c/d");
}

#[test]
fn made_targets_inherit_the_group_of_their_directory() {
    let mut t = Sandbox::new();
    let parent = t.rootfs().join("parent");
    fs::create_dir(&parent).unwrap();
    host_command("chown", &["0:1234", &parent.display().to_string()]).ok();
    fs::set_permissions(&parent, fs::Permissions::from_mode(0o2755)).unwrap();
    config::add_mount(&mut t.config, "/parent/a/b", "tmpfs", "tmpfs", &[]);
    let result = t.actions(&["stat /parent/a"]);
    assert_eq!((&result[0]["ok"]["mode"], &result[0]["ok"]["gid"]), (&json!("2755"), &json!(1234)));
}

#[test]
fn target_of_the_wrong_kind() {
    let mut t = Sandbox::new();
    fs::write(t.rootfs().join("file"), "").unwrap();
    let data = t.path("data");
    fs::create_dir(&data).unwrap();
    config::add_mount(&mut t.config, "/file", "bind", &data, &["bind"]);
    t.create().failed().says(&["not a directory"]);
    t.assert_clean();
}

// ---- filesystems ------------------------------------------------------------------------------

#[test]
fn overlay_with_its_directories() {
    let mut t = Sandbox::new();
    for name in ["lower1", "lower2", "upper", "work"] {
        fs::create_dir(t.path(name)).unwrap();
    }
    fs::write(t.path("lower1/one"), "1").unwrap();
    fs::write(t.path("lower2/two"), "2").unwrap();
    let lower = format!("lowerdir={}:{}", t.path("lower1"), t.path("lower2"));
    let (upper, work) = (format!("upperdir={}", t.path("upper")), format!("workdir={}", t.path("work")));
    config::add_mount(&mut t.config, "/merged", "overlay", "overlay", &[&lower, &upper, &work]);
    let result = t.actions(&["read /merged/one", "read /merged/two", "touch /merged/new", "statfs /merged"]);
    assert_eq!(result, json!([{"ok": "1"}, {"ok": "2"}, {"ok": true}, {"ok": "794c7630"}]));
    assert!(fs::metadata(t.path("upper/new")).is_ok());
}

#[test]
fn filesystems_of_the_kernel_with_data() {
    let mut t = Sandbox::new();
    config::add_mount(&mut t.config, "/r", "ramfs", "ramfs", &["mode=711"]);
    config::add_mount(&mut t.config, "/t", "tmpfs", "tmpfs", &["size=1m,nr_inodes=100", "mode=700"]);
    let result = t.actions(&["statfs /r", "statfs /t", "stat /t"]);
    assert_eq!(result[0]["ok"], "858458f6");
    assert_eq!((&result[1]["ok"], &result[2]["ok"]["mode"]), (&json!("1021994"), &json!("700")));
    let words = mount_at(&t.report(), "/t")["super"].to_string();
    assert!(words.contains("size=1024k") && words.contains("nr_inodes=100"), "{words}");
}

#[test]
fn filesystem_that_is_unknown_or_refuses_its_data() {
    only_oxrun!();
    let mut t = Sandbox::new();
    config::add_mount(&mut t.config, "/x", "nosuchfs", "none", &[]);
    t.create().failed().says(&["the kernel has no filesystem `nosuchfs`"]).one_line();
    t.config["mounts"][7]["type"] = json!("tmpfs");
    t.config["mounts"][7]["options"] = json!(["size=abc"]);
    t.create().failed().says(&["mounts[7]"]).one_line();
    t.assert_clean();
}

#[test]
fn tmpcopyup_keeps_owners_modes_links_and_times() {
    only_oxrun!();
    let mut t = Sandbox::new();
    let data = t.rootfs().join("data");
    fs::create_dir_all(data.join("deep/er")).unwrap();
    fs::write(data.join("deep/file"), "text").unwrap();
    fs::set_permissions(data.join("deep/file"), fs::Permissions::from_mode(0o4751)).unwrap();
    host_command("chown", &["-h", "7:8", &data.join("deep").display().to_string()]).ok();
    fs::set_permissions(data.join("deep"), fs::Permissions::from_mode(0o1775)).unwrap();
    symlink("deep/file", data.join("link")).unwrap();
    host_command("mkfifo", &["-m", "640", &data.join("fifo").display().to_string()]).ok();
    config::add_mount(&mut t.config, "/data", "tmpfs", "tmpfs", &["tmpcopyup"]);
    t.args(&[
        "payload",
        "do",
        "stat /data/deep",
        "stat /data/deep/file",
        "read /data/link",
        "stat /data/fifo",
        "statfs /data",
    ])
    .write_config();
    let command = t.prepared(&["with-umask", "077"], &["run", &t.id]);
    let result = t.spawn(command).wait().ok().json();
    let facts = |n: usize| {
        (result[n]["ok"]["type"].clone(), result[n]["ok"]["mode"].clone(), result[n]["ok"]["uid"].clone())
    };
    assert_eq!(facts(0), (json!("dir"), json!("1775"), json!(7)));
    assert_eq!(facts(1), (json!("file"), json!("4751"), json!(0)));
    assert_eq!(result[2]["ok"], "text");
    assert_eq!(facts(3), (json!("fifo"), json!("640"), json!(0)));
    assert_eq!(result[4]["ok"], "1021994");
    config::add_mount(&mut t.config, "/etc", "ramfs", "ramfs", &["tmpcopyup"]);
    t.create().failed().says(&["mounts[8].options: `tmpcopyup` is for the type tmpfs only"]);
}

#[test]
fn proc_and_sys_must_be_real_directories() {
    for (name, kind) in [("proc", "proc"), ("sys", "sysfs")] {
        let t = Sandbox::new();
        fs::remove_dir(t.rootfs().join(name)).unwrap();
        fs::create_dir(t.rootfs().join("elsewhere")).unwrap();
        symlink("/elsewhere", t.rootfs().join(name)).unwrap();
        let outcome = t.create().failed();
        if is_oxrun() {
            outcome.says(&[&format!("{kind} must be mounted on ordinary directory")]);
        }
        t.assert_clean();
    }
}

#[test]
fn targets_inside_proc_are_refused() {
    let mut t = Sandbox::new();
    fs::write(t.path("file"), "0.00 0.00\n").unwrap();
    let file = t.path("file");
    config::add_mount(&mut t.config, "/proc/uptime", "bind", &file, &["bind", "ro"]);
    assert_eq!(t.actions(&["read /proc/uptime"])[0]["ok"], "0.00 0.00\n");
    config::add_mount(&mut t.config, "/proc/self/attr", "tmpfs", "tmpfs", &[]);
    t.create().failed().says(&["inside /proc"]);
    t.assert_clean();
}

#[test]
fn user_namespace_without_own_pid_or_network_namespace() {
    only_oxrun!();
    let mut t = Sandbox::new();
    t.map_users(100_000);
    config::drop_namespace(&mut t.config, "network");
    config::drop_namespace(&mut t.config, "pid");
    let result = t.actions(&["ls /sys/class/net", "read /proc/self/comm", "statfs /sys", "statfs /proc"]);
    assert!(result[0]["ok"].as_array().is_some_and(|l| !l.is_empty()), "{result}");
    assert_eq!(result[1]["ok"], "payload\n");
    assert_eq!((&result[2]["ok"], &result[3]["ok"]), (&json!("62656572"), &json!("9fa0")));
    t.assert_clean();
}

#[test]
fn thousand_mounts() {
    let mut t = Sandbox::new();
    for number in 0..1000 {
        config::add_mount(&mut t.config, &format!("/many/m{number}"), "tmpfs", "tmpfs", &["size=4k"]);
    }
    t.args(&["sh", "-c", "grep -c /many/ /proc/self/mounts"]);
    assert_eq!(t.run().ok().stdout, "1000\n");
    t.assert_clean();
}
