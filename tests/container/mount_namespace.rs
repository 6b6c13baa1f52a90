//! The mount namespace, made of the root filesystem alone where the kernel can do that (Linux 7.0,
//! OPEN_TREE_NAMESPACE), else from a copy of the host's: which way is taken when, and that a container
//! cannot tell. The tests of mounts, namespaces and security go whichever way the kernel allows.

use crate::harness::{Sandbox, is_oxrun};
use crate::{config, host};
use serde_json::{Value, json};
use std::fs;

/// open_tree(2) refuses OPEN_TREE_NAMESPACE, as kernels before 7.0 do.
const OLDER: [&str; 2] = ["with-einval", "428,2,2"];

macro_rules! needs_oxrun {
    () => {
        if !is_oxrun() {
            skip!("another runtime has no --trace to tell");
        }
    };
}

/// Whether the kernel has the flag.
fn newer() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    release.split('.').next().unwrap().parse::<u32>().unwrap() >= 7
}

/// Runs the container and says what it printed, and whether the namespace was made of the root.
fn run(t: &Sandbox, preparation: &[&str], options: &[&str]) -> (String, bool) {
    let trace = t.path("trace.json");
    let _ = fs::remove_file(&trace);
    t.write_config();
    let words: Vec<&str> =
        ["--trace", &trace, "run"].iter().chain(options).copied().chain([t.id.as_str()]).collect();
    let command = match preparation {
        [] => t.command(&words),
        some => t.prepared(some, &words),
    };
    let said = t.spawn(command).wait().ok().stdout;
    let steps: Vec<Value> = serde_json::from_slice(&fs::read(&trace).unwrap()).unwrap();
    let has = |name: &str| steps.iter().any(|step| step["name"] == name);
    let made = has("enter the mount namespace of the root");
    assert_ne!(made, has("attach the root"), "one of both ways");
    (said, made)
}

/// The mount table without the numbers that differ from run to run: ids, peer groups, devices.
fn table(said: &str) -> Vec<String> {
    let strip = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let kept = words[3..].iter().map(|word| match word.split_once(':') {
            Some((kind @ ("shared" | "master" | "propagate_from"), _)) => kind.to_string(),
            _ => word.to_string(),
        });
        kept.collect::<Vec<_>>().join(" ")
    };
    let mut lines: Vec<String> = said.lines().map(strip).collect();
    lines.sort();
    lines
}

/// Mounts of every kind, with what is found on the host while they are made.
fn with_all_mounts(t: &mut Sandbox) {
    let (file, directory) = (t.path("file"), t.path("directory"));
    fs::write(&file, "of the host").unwrap();
    fs::create_dir_all(format!("{directory}/inner")).unwrap();
    fs::create_dir(t.rootfs().join("run")).unwrap();
    let link = t.path("link");
    std::os::unix::fs::symlink("directory", &link).unwrap();
    config::add_mount(&mut t.config, "/run", "tmpfs", "tmpfs", &["nosuid"]);
    config::add_mount(&mut t.config, "/run/file", "bind", &file, &["bind", "ro"]);
    config::add_mount(&mut t.config, "/run/directory", "bind", &directory, &["rbind", "noexec"]);
    config::add_mount(&mut t.config, "/run/linked", "bind", &link, &["rbind"]);
    config::add_mount(&mut t.config, "/run/link", "bind", &link, &["bind", "copy-symlink"]);
    config::add_mount(&mut t.config, "/proc/uptime", "bind", &file, &["bind"]);
    t.config["linux"]["maskedPaths"] = json!(["/proc/keys", "/proc/kcore", "/proc/acpi"]);
    t.config["linux"]["readonlyPaths"] = json!(["/proc/sys", "/proc/bus"]);
}

#[test]
fn a_container_cannot_tell_how_it_was_made() {
    needs_oxrun!();
    let show = "cat /proc/self/mountinfo; echo -; ls /run /run/directory; readlink /run/link; cat /run/file";
    for propagation in ["", "private", "rslave"] {
        let mut t = Sandbox::new();
        with_all_mounts(&mut t);
        if !propagation.is_empty() {
            t.config["linux"]["rootfsPropagation"] = json!(propagation);
        }
        t.args(&["sh", "-c", show]);
        let (said, made) = run(&t, &[], &[]);
        assert_eq!(made, newer(), "what the kernel offers is used");
        let (older, made) = run(&t, &OLDER, &[]);
        assert!(!made);
        let parts = |said: &str| {
            let (mounts, rest) = said.split_once("-\n").unwrap();
            (table(mounts), rest.to_string())
        };
        assert_eq!(parts(&said), parts(&older), "{propagation}");
        t.assert_clean();
    }
}

#[test]
fn ids_of_a_mount_are_mapped_either_way() {
    needs_oxrun!();
    let mut t = Sandbox::new();
    let source = t.path("mapped");
    fs::create_dir(&source).unwrap();
    config::add_mount(&mut t.config, "/mnt", "bind", &source, &["rbind", "idmap"]);
    let last = t.config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
    for kind in ["uidMappings", "gidMappings"] {
        last[kind] = json!([{"containerID": 0, "hostID": 5000, "size": 10}]);
    }
    t.args(&["stat", "-c", "%u:%g", "/mnt"]);
    for way in [&[][..], &OLDER] {
        assert_eq!(run(&t, way, &[]).0, "5000:5000\n", "{way:?}");
    }
    t.assert_clean();
}

#[test]
fn the_root_can_be_exchanged_inside() {
    needs_oxrun!();
    let mut t = Sandbox::new();
    config::set_capabilities(&mut t.config, &["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"]);
    config::add_mount(&mut t.config, "/mnt", "tmpfs", "tmpfs", &[]);
    // As a runtime inside would do, and what is below the root when it is taken away.
    let script = "cd /mnt && mkdir old bin && cp /bin/busybox bin/ && pivot_root . old && cd / && \
        /bin/busybox ls / && /bin/busybox umount -l /old && /bin/busybox ls /old && \
        { /bin/busybox umount -l / || true; } && /bin/busybox ls /";
    t.args(&["busybox", "sh", "-c", script]);
    for way in [&[][..], &OLDER] {
        assert_eq!(run(&t, way, &[]).0, "bin\nold\nbin\nold\n", "{way:?}");
    }
    t.assert_clean();
}

/// What needs the copy of the host's mounts gets it on every kernel.
#[test]
fn the_copy_of_the_host_s_mounts_is_made_where_it_is_needed() {
    needs_oxrun!();
    let mut cases: Vec<(&str, Sandbox)> = Vec::new();
    let mut case = |name, change: &dyn Fn(&mut Sandbox)| {
        let mut t = Sandbox::new();
        t.args(&["true"]);
        change(&mut t);
        cases.push((name, t));
    };
    case("user namespace", &|t| t.map_users(100_000));
    for kind in ["prestart", "createRuntime", "createContainer"] {
        case(kind, &|t| t.config["hooks"][kind] = json!([{"path": "/bin/true"}]));
    }
    case("shared", &|t| t.config["linux"]["rootfsPropagation"] = json!("shared"));
    case("unbindable", &|t| t.config["linux"]["rootfsPropagation"] = json!("unbindable"));
    case("no new namespace", &|t| {
        config::drop_namespace(&mut t.config, "mount");
        (t.config["linux"]["maskedPaths"], t.config["linux"]["readonlyPaths"]) = (json!([]), json!([]));
        t.config["mounts"] = json!([]);
    });
    case("another root", &|t| {
        let root = t.rootfs().display().to_string();
        config::add_mount(&mut t.config, "/", "bind", &root, &["rbind"]);
    });
    case("a source in the root", &|t| {
        let inside = t.rootfs().join("tmp").display().to_string();
        fs::create_dir_all(&inside).unwrap();
        config::add_mount(&mut t.config, "/mnt", "bind", &inside, &["rbind"]);
    });
    for (name, t) in &cases {
        assert!(!run(t, &[], &[]).1, "{name}");
        t.assert_clean();
    }
    let mut t = Sandbox::new();
    t.args(&["true"]);
    assert!(!run(&t, &[], &["--no-pivot"]).1, "--no-pivot");
    assert_eq!(run(&t, &[], &[]).1, newer(), "none of these");
    if !newer() {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        skip!("Linux {} makes no mount namespace of a tree; the older way is tested", kernel.trim());
    }
    assert!(host::mounts_with(&[&t.id]).is_empty());
}

/// On a host whose mounts are shared, as systemd makes them.
#[test]
fn what_is_mounted_inside_is_not_mounted_outside() {
    for way in [&[][..], &OLDER] {
        let mut t = Sandbox::new();
        config::set_capabilities(&mut t.config, &["CAP_SYS_ADMIN", "CAP_MKNOD"]);
        with_all_mounts(&mut t);
        let script = "for d in / /run/directory /run/directory/inner /run/linked/inner; do \
                mount -t tmpfs inside $d; done; \
            for f in /run/file /proc/keys /proc/kcore /proc/uptime; do mount --bind /bin/busybox $f; done; \
            grep -c inside /proc/self/mountinfo";
        t.args(&["sh", "-c", script]).write_config();
        let (before, after) = (t.path("before"), t.path("after"));
        let payload = crate::harness::payload().display().to_string();
        let prepared =
            if way.is_empty() { String::new() } else { format!("{payload} {} -- ", way.join(" ")) };
        let around = format!(
            "mount --make-rshared /; cat /proc/self/mountinfo > {before}; {prepared}\"$0\" \"$@\"; \
             cat /proc/self/mountinfo > {after}; exit"
        );
        let said = t.spawn(t.after_mounts(&around, &["run", &t.id])).wait().ok().stdout;
        assert!(said.trim().parse::<u32>().unwrap() >= 3, "the mounts are made: {said}");
        assert_eq!(fs::read_to_string(before).unwrap(), fs::read_to_string(after).unwrap());
        t.assert_clean();
    }
}

#[test]
fn added_mounts_are_no_way_to_the_host_either() {
    needs_oxrun!();
    let mut t = Sandbox::new();
    let source = t.path("added");
    fs::create_dir(&source).unwrap();
    t.args(&["payload", "sleep", "5000"]);
    t.create().ok();
    t.start().ok();
    let list = t.path("mounts.json");
    let mount = json!([{"destination": "/added", "type": "bind", "source": source, "options": ["rbind"]}]);
    fs::write(&list, mount.to_string()).unwrap();
    t.spawn(t.after_mounts("mount --make-rshared /", &["mounts", "add", &t.id, &list])).wait().ok();
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", t.pid())).unwrap();
    let line = mounts.lines().find(|line| line.contains(" /added ")).unwrap();
    assert!(!line.contains(" shared:"), "{line}");
    t.finish();
    t.assert_clean();
}
