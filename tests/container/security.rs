//! Known ways out of a container, each with the losing state set up beforehand and the safe
//! outcome asserted: create fails, or works, but nothing outside is touched.

use crate::console;
use crate::harness::{Sandbox, host_command, is_oxrun, note_skip, runtime, write_program};
use crate::{config, host};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

/// A directory outside the root filesystem with files that must stay as they are.
fn outside(t: &Sandbox) -> String {
    let path = t.path("outside");
    fs::create_dir_all(format!("{path}/pts")).unwrap();
    for name in ["ptmx", "null", "fd", "stdin", "console", "marker"] {
        fs::write(format!("{path}/{name}"), name).unwrap();
    }
    path
}

/// Names, kinds, sizes and modification of everything in a directory.
fn snapshot(path: &str) -> BTreeMap<String, (u32, u64, i64, u64)> {
    let entries = fs::read_dir(path).unwrap().flatten();
    entries
        .map(|e| {
            let meta = fs::symlink_metadata(e.path()).unwrap();
            (
                e.file_name().to_string_lossy().into_owned(),
                (meta.mode(), meta.size(), meta.mtime(), meta.ino()),
            )
        })
        .collect()
}

/// Replaces a directory of the root filesystem by a link.
fn replace_by_link(t: &Sandbox, name: &str, target: &str) {
    let path = t.rootfs().join(name);
    let _ = fs::remove_dir_all(&path);
    symlink(target, path).unwrap();
}

fn sha256(path: &Path) -> String {
    let out = host_command("sha256sum", &[path.to_str().unwrap()]).ok().stdout;
    out.split(' ').next().unwrap().to_string()
}

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
fn masks_do_not_come_from_a_null_that_is_none() {
    // The image's /dev/null is a link to a file that must not become writable or a mask; a value
    // of the container's own IPC namespace stands in for a global one.
    let mut t = Sandbox::new();
    for destination in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
        config::drop_mount(&mut t.config, destination);
    }
    fs::write(t.rootfs().join("trap"), "trap").unwrap();
    for target in ["/proc/sys/kernel/msgmax", "/trap"] {
        let _ = fs::remove_file(t.rootfs().join("dev/null"));
        symlink(target, t.rootfs().join("dev/null")).unwrap();
        t.config["linux"]["maskedPaths"] = json!(["/proc/version"]);
        t.args(&[
            "payload",
            "do",
            "read /proc/version",
            "open /proc/version w",
            "open /proc/sys/kernel/msgmax w",
        ]);
        let outcome = t.run();
        if !is_oxrun() && outcome.stdout.is_empty() {
            note_skip("another runtime gives the process the image's /dev/null for its output");
        } else if outcome.code == 0 {
            let result = outcome.json();
            if !is_oxrun() && result[0]["ok"] != "" {
                skip!("another runtime is open to this (CVE-2025-31133)");
            }
            assert_eq!(result[0]["ok"], "", "masked by a real /dev/null: {result}");
            assert!(result[2]["err"].is_string(), "{result}");
        }
        t.assert_clean();
    }
}

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
fn cwd_by_descriptor_is_refused() {
    let mut t = Sandbox::new();
    t.args(&["ls"]);
    for number in (3..24).chain([40, 64]) {
        for cwd in [format!("/proc/self/fd/{number}"), format!("/proc/self/fd/{number}/../../..")] {
            t.config["process"]["cwd"] = json!(cwd);
            let outcome = t.run();
            if outcome.code == 0 {
                let inside: Vec<String> = fs::read_dir(t.rootfs())
                    .unwrap()
                    .flatten()
                    .map(|e| e.file_name().to_string_lossy().into())
                    .collect();
                assert!(
                    outcome.stdout.lines().all(|l| inside.contains(&l.to_string())),
                    "{cwd}: {}",
                    outcome.stdout
                );
            }
        }
    }
    symlink("/proc/self/fd/7", t.rootfs().join("seven")).unwrap();
    t.config["process"]["cwd"] = json!("/seven");
    assert!(t.run().code != 0);
    t.assert_clean();
}

#[test]
fn cwd_by_another_process_root_stays_inside() {
    let mut t = Sandbox::new();
    for cwd in ["/proc/1/root/tmp", "/proc/self/cwd"] {
        t.config["process"]["cwd"] = json!(cwd);
        let outcome = t.run_args(&["pwd"]);
        assert!(
            outcome.code != 0
                || ["/tmp\n", "/\n", "/proc/1/root/tmp\n", "/proc/self/cwd\n"]
                    .contains(&outcome.stdout.as_str()),
            "{outcome:?}"
        );
    }
}

#[test]
fn own_binary_is_out_of_reach() {
    let before = sha256(runtime());
    let mut t = Sandbox::new();
    config::drop_namespace(&mut t.config, "pid");
    config::set_capabilities(&mut t.config, &["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE"]);
    // The entry point is the runtime itself, as an interpreter.
    write_program(&t.rootfs().join("entry"), "#!/proc/self/exe\n");
    t.run_args(&["/entry"]);
    t.run_args(&["/proc/self/exe", "--version"]);
    assert_eq!(sha256(runtime()), before);
    t.assert_clean();
}

#[test]
fn exe_of_a_created_container_cannot_be_written() {
    let before = sha256(runtime());
    let mut first = Sandbox::new();
    first.args(&["payload", "sleep", "60"]);
    first.create().ok();
    // A second container in the same pid namespace, with every capability, tries the first's init.
    let mut second = Sandbox::new();
    config::add_namespace(&mut second.config, "pid", &format!("/proc/{}/ns/pid", first.pid()));
    config::set_capabilities(&mut second.config, &["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN"]);
    let result = second.actions(&["open /proc/1/exe w", "open /proc/1/exe rw", "readlink /proc/1/exe"]);
    for answer in &result.as_array().unwrap()[..2] {
        let errors = ["ETXTBSY", "EROFS", "EPERM", "EACCES"];
        assert!(errors.iter().any(|e| answer["err"] == *e), "{result}");
    }
    assert_eq!(sha256(runtime()), before);
    let host_exe = fs::metadata(runtime()).unwrap();
    let exe = fs::metadata(format!("/proc/{}/exe", first.pid())).unwrap();
    if !is_oxrun() {
        skip!("another runtime protects its file by a read-only mount instead of a copy");
    }
    assert!((exe.dev(), exe.ino()) != (host_exe.dev(), host_exe.ino()), "init runs from the host's own file");
}

#[test]
fn created_process_cannot_be_traced_by_its_user() {
    let mut first = Sandbox::new();
    first.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    first.args(&["payload", "sleep", "60"]);
    first.create().ok();
    let mut second = Sandbox::new();
    second.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    second.config["process"]["capabilities"] = json!({});
    config::add_namespace(&mut second.config, "pid", &format!("/proc/{}/ns/pid", first.pid()));
    let result = second.actions(&[
        "ls /proc/1/fd",
        "readlink /proc/1/root",
        "readlink /proc/1/exe",
        "syscall 101 16 1 0 0",
    ]);
    for answer in result.as_array().unwrap() {
        assert!(answer["err"] == "EACCES" || answer["err"] == "EPERM", "{result}");
    }
}

#[test]
fn label_writes_need_a_real_proc() {
    if !is_oxrun() {
        skip!("another runtime accepts some of these mounts");
    }
    let mut t = Sandbox::new();
    let fake = t.path("fake");
    fs::create_dir_all(format!("{fake}/self/attr")).unwrap();
    fs::write(format!("{fake}/self/attr/exec"), "").unwrap();
    config::add_mount(&mut t.config, "/proc", "bind", &fake, &["bind"]);
    t.args(&["true"]);
    t.create().failed().one_line();
    t.assert_clean();
    let mut t = Sandbox::new();
    config::add_mount(&mut t.config, "/proc/self/attr", "tmpfs", "tmpfs", &[]);
    t.args(&["true"]);
    t.create().failed().one_line();
    t.assert_clean();
}

#[test]
fn sysctls_are_written_to_the_real_proc() {
    let mut t = Sandbox::new();
    t.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    // The image's own /proc holds a file of that name.
    fs::create_dir_all(t.rootfs().join("proc/sys/net/ipv4")).unwrap();
    fs::write(t.rootfs().join("proc/sys/net/ipv4/ip_forward"), "image").unwrap();
    config::drop_mount(&mut t.config, "/proc");
    t.config["linux"]["maskedPaths"] = json!([]);
    t.config["linux"]["readonlyPaths"] = json!([]);
    let outcome = t.run_args(&["true"]);
    if !is_oxrun() {
        skip!("another runtime cannot do without /proc");
    }
    outcome.ok();
    assert_eq!(fs::read_to_string(t.rootfs().join("proc/sys/net/ipv4/ip_forward")).unwrap(), "image");
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
    t.args(&["payload", "sleep", "60"]);
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
fn control_groups_cannot_be_written_from_inside() {
    for user_namespace in [false, true] {
        let mut t = Sandbox::new();
        if user_namespace {
            t.map_users(100_000);
        }
        config::drop_namespace(&mut t.config, "cgroup");
        config::set_capabilities(&mut t.config, &["CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"]);
        let directory = if host::is_cgroup_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/pids" };
        let words = [format!("mkdir {directory}/oxrun-made"), format!("write {directory}/cgroup.procs 1")];
        let result = t.actions(&[&words[0], &words[1]]);
        for answer in result.as_array().unwrap() {
            assert!(answer["err"].is_string(), "{result}");
        }
    }
}

#[test]
fn root_exchanged_during_create_stays_safe() {
    // A neighbour with access to the root filesystem exchanges a directory and a link all the time.
    let mut t = Sandbox::new();
    let place = outside(&t);
    let before = snapshot(&place);
    fs::create_dir(t.rootfs().join("flip")).unwrap();
    symlink(&place, t.rootfs().join("flop")).unwrap();
    config::add_mount(&mut t.config, "/flip/sub", "tmpfs", "tmpfs", &[]);
    config::add_mount(&mut t.config, "/flip/sub2/deep", "tmpfs", "tmpfs", &[]);
    t.config["linux"]["devices"] = json!([{"path": "/flip/node", "type": "c", "major": 1, "minor": 3}]);
    t.args(&["true"]).write_config();
    let (one, two) = (t.rootfs().join("flip"), t.rootfs().join("flop"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE);
            }
        });
        let rounds = if is_oxrun() { 40 } else { 5 };
        let outcomes: Vec<_> = (0..rounds).map(|_| t.runtime(&["run", &t.id])).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        outcomes
    });
    let after = snapshot(&place);
    if !is_oxrun() && after != before {
        skip!("another runtime loses this race");
    }
    assert_eq!(after, before);
    t.assert_clean();
}
