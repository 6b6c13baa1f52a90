//! Options and properties of checkpoint and restore that show in the container, by CRIU itself.

use crate::checkpoint::{Driver, bind, checkpoint, count, counting, goes_on, needs_criu, restore, start};
use crate::harness::{Sandbox, host_command, wait_until};
use serde_json::json;
use std::fs;

/// A container that holds something which is only written with an option.
fn holding(t: &mut Sandbox, what: &str, path: &str) {
    t.args(&["payload", "hold", what, path]);
    start(t, Driver::Files);
    wait_until("the container to hold it", || t.rootfs().join("tmp/holding").exists());
}

/// Without the option the dump is refused with these words and the container goes on; with it, it is
/// written and made again.
fn needs_option(what: &str, path: &str, option: &str, words: &[&str]) {
    let mut t = Sandbox::new();
    holding(&mut t, what, path);
    let images = t.path("refused");
    t.runtime(&["checkpoint", "--image-path", &images, &t.id]).failed().one_line().says(words);
    assert_eq!(t.status(), "running");
    checkpoint(&t, "images", &[option]);
    restore(&t, Driver::Files, "images", &[option]);
}

#[test]
fn locks_need_an_option() {
    needs_criu!();
    needs_option("lock", "/tmp/lock", "--file-locks", &["file lock"]);
}

#[test]
fn connections_need_an_option() {
    needs_criu!();
    needs_option("tcp", "-", "--tcp-established", &["tcp", "TCP"]);
}

#[test]
fn removed_files_may_need_an_option() {
    needs_criu!();
    let mut t = Sandbox::new();
    holding(&mut t, "removed", "/tmp/file");
    let images = t.path("refused");
    t.runtime(&["checkpoint", "--image-path", &images, &t.id]).failed().says(&["link-remap"]);
    assert_eq!(t.status(), "running");
    checkpoint(&t, "images", &["--link-remap"]);
    restore(&t, Driver::Files, "images", &[]);
}

/// The file that the annotation names is read, and so is another one than the system's.
#[test]
fn the_configuration_is_the_callers() {
    needs_criu!();
    let mut t = counting(Driver::Files);
    let file = t.path("criu.conf");
    fs::write(&file, "log-file=of-the-caller.log\n").unwrap();
    t.config["annotations"] = json!({"org.criu.config": file});
    start(&t, Driver::Files);
    goes_on(&t, 0);
    checkpoint(&t, "images", &[]);
    assert!(t.dir().join("work/of-the-caller.log").exists());
    restore(&t, Driver::Files, "images", &[]);
    t.finish();
    t.config["annotations"] = json!({"org.criu.config": t.path("missing.conf")});
    t.write_config();
    let images = t.path("images");
    t.runtime(&["restore", "-d", "--image-path", &images, &t.id])
        .failed()
        .says(&["org.criu.config"])
        .one_line();
    t.assert_clean();
}

/// Mount points in bind mounts and in the root filesystem are made where they are missing; links as
/// destinations lead to the same places.
#[test]
fn mount_points_are_made_again() {
    needs_criu!();
    let mut t = counting(Driver::Files);
    for name in ["outer", "inner", "linked", "below"] {
        fs::create_dir_all(t.dir().join(name)).unwrap();
        fs::write(t.dir().join(name).join("name"), name).unwrap();
    }
    fs::write(t.path("file"), "a file").unwrap();
    fs::create_dir(t.rootfs().join("real")).unwrap();
    std::os::unix::fs::symlink("/real", t.rootfs().join("link")).unwrap();
    bind(&mut t, "/outer", "outer", &["rbind"]);
    bind(&mut t, "/outer/inner", "inner", &["rbind", "ro"]);
    bind(&mut t, "/outer/file", "file", &["bind", "ro"]);
    bind(&mut t, "/link/linked", "linked", &["bind"]);
    start(&t, Driver::Files);
    goes_on(&t, 0);
    checkpoint(&t, "images", &[]);
    fs::remove_dir(t.dir().join("outer/inner")).unwrap();
    fs::remove_file(t.dir().join("outer/file")).unwrap();
    fs::remove_dir(t.rootfs().join("real/linked")).unwrap();
    fs::remove_file(t.dir().join("outer/name")).unwrap();
    fs::remove_dir(t.rootfs().join("outer")).unwrap();
    let at = count(&t);
    restore(&t, Driver::Files, "images", &[]);
    goes_on(&t, at);
    let names = ["cat", "/outer/inner/name", "/outer/file", "/real/linked/name"];
    let seen = t.runtime(&[&["exec", t.id.as_str()], &names[..]].concat()).ok();
    assert_eq!(seen.stdout, "innera filelinked");
}

/// CRIU forgets options of mounts that are alike; what config.json wants holds nevertheless, and a
/// changed config.json counts.
#[test]
fn protections_hold_after_the_restore() {
    needs_criu!();
    let mut t = counting(Driver::Files);
    for name in ["one", "two", "three"] {
        fs::create_dir(t.dir().join(name)).unwrap();
        bind(&mut t, &format!("/{name}"), name, &["rbind", "ro", "nosuid"]);
    }
    fs::create_dir(t.rootfs().join("secret")).unwrap();
    fs::create_dir(t.rootfs().join("fixed")).unwrap();
    fs::write(t.rootfs().join("secret/x"), "").unwrap();
    start(&t, Driver::Files);
    goes_on(&t, 0);
    let options = |t: &Sandbox| -> Vec<String> {
        let table = t.runtime(&["exec", &t.id, "cat", "/proc/self/mountinfo"]).ok().stdout;
        let line = |line: &str| {
            let fields: Vec<&str> = line.split(' ').collect();
            format!("{} {}", fields[4], fields[5])
        };
        let mut lines: Vec<String> = table.lines().map(line).collect();
        lines.sort();
        lines
    };
    let before = options(&t);
    checkpoint(&t, "images", &[]);
    restore(&t, Driver::Files, "images", &[]);
    assert_eq!(options(&t), before);
    t.finish();
    t.config["linux"]["maskedPaths"].as_array_mut().unwrap().push(json!("/secret"));
    t.config["linux"]["readonlyPaths"].as_array_mut().unwrap().push(json!("/fixed"));
    t.config["linux"]["maskedPaths"].as_array_mut().unwrap().push(json!("/etc/passwd"));
    t.write_config();
    restore(&t, Driver::Files, "images", &[]);
    t.runtime(&["exec", &t.id, "ls", "/secret/x"]).failed();
    t.runtime(&["exec", &t.id, "touch", "/fixed/x"]).failed().says(&["Read-only"]);
    assert_eq!(t.runtime(&["exec", &t.id, "cat", "/etc/passwd"]).ok().stdout, "");
}

/// With `ignore` the processes are where config.json says now.
#[test]
fn another_cgroup_can_be_given() {
    needs_criu!();
    for options in [&["--manage-cgroups-mode", "ignore"][..], &[]] {
        let mut t = counting(Driver::Files);
        start(&t, Driver::Files);
        goes_on(&t, 0);
        checkpoint(&t, "images", options);
        t.config["linux"]["cgroupsPath"] = json!(format!("/oxt/{}elsewhere", t.id));
        t.write_config();
        let at = count(&t);
        restore(&t, Driver::Files, "images", options);
        goes_on(&t, at);
        let pids = t.runtime(&["ps", "-f", "json", &t.id]).ok().json();
        for pid in pids.as_array().unwrap() {
            let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
            assert!(cgroup.lines().any(|line| line.ends_with("elsewhere")), "{cgroup}");
        }
        assert_eq!(pids.as_array().unwrap().len(), 2);
    }
}

/// CRIU cannot write most devices; with an empty namespace they are taken from the host again.
#[test]
fn network_devices_come_back() {
    needs_criu!();
    let mut t = counting(Driver::Files);
    let device = format!("oxc{}", std::process::id() % 100_000);
    if host_command("ip", &["link", "add", &device, "type", "dummy"]).code != 0 {
        skip!("the kernel has no dummy devices");
    }
    host_command("ip", &["link", "delete", &device]).ok();
    let make = || {
        host_command("ip", &["link", "add", &device, "type", "dummy"]).ok();
        host_command("ip", &["address", "add", "198.51.100.7/24", "dev", &device]).ok();
    };
    make();
    t.config["linux"]["netDevices"] = json!({&device: {"name": "inside0"}});
    start(&t, Driver::Files);
    goes_on(&t, 0);
    let images = t.path("refused");
    t.runtime(&["checkpoint", "--image-path", &images, &t.id]).failed().one_line().says(&["link"]);
    checkpoint(&t, "images", &["--empty-ns", "network"]);
    make();
    let at = count(&t);
    restore(&t, Driver::Files, "images", &["--empty-ns", "network"]);
    goes_on(&t, at);
    let shown = t.runtime(&["exec", &t.id, "ip", "address", "show", "inside0"]).ok();
    assert!(shown.stdout.contains("198.51.100.7/24"), "{}", shown.stdout);
    t.finish();
}

#[test]
fn a_pidfd_is_sent() {
    needs_criu!();
    let t = counting(Driver::Files);
    start(&t, Driver::Files);
    goes_on(&t, 0);
    checkpoint(&t, "images", &[]);
    let path = t.path("pidfd.sock");
    let listener = crate::console::listen(path.as_ref());
    restore(&t, Driver::Files, "images", &["--pidfd-socket", &path]);
    let (pidfd, _) = crate::console::receive_fd(&listener);
    let pid = t.pid();
    rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).unwrap();
    assert_eq!(t.reap(pid), 128 + 9);
}

/// Whatever is in the images, a restore that fails leaves nothing.
#[test]
fn garbage_in_the_images_is_an_error() {
    needs_criu!();
    let mut t = Sandbox::new();
    // A restored process finds its sleep interrupted, and busybox's ends then.
    t.args(&["sh", "-c", "while :; do sleep 600; done"]);
    start(&t, Driver::Files);
    checkpoint(&t, "images", &[]);
    let images = t.path("images");
    let mut seen = 0;
    for kind in ["inventory", "pstree", "core-1", "files", "cgroup", "mountpoints-", "pagemap-1", "seccomp"] {
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names = fs::read_dir(&images).unwrap().flatten().map(name);
        let Some(name) = names.find(|name| name.starts_with(kind)) else { continue };
        let file = t.dir().join("images").join(name);
        let whole = fs::read(&file).unwrap();
        let random: Vec<u8> = (0..70_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        // Another kind of file, a length of 4 GiB, and no end.
        let long = [&whole[..8.min(whole.len())], &[0xff; 4], &random].concat();
        for bad in [&random[..], &whole[..whole.len().min(8)], &long] {
            fs::write(&file, bad).unwrap();
            let outcome = t.runtime(&["restore", "-d", "--image-path", &images, &t.id]);
            // Without its entries a file may be as good as with them.
            if outcome.code == 0 {
                t.finish();
            } else {
                outcome.failed().says(&["CRIU"]).one_line();
                seen += 1;
            }
            t.assert_clean();
        }
        fs::write(&file, &whole).unwrap();
    }
    assert!(seen > 10, "{seen}");
    restore(&t, Driver::Files, "images", &[]);
}
