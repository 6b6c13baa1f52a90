//! What the runtime says about a config that asks for what cannot be, and about a host that is not as it
//! should be: each in one line that names the member and says what to do. What it says when a system call
//! fails is in `tests/fault/texts.rs`.

use crate::config;
use crate::harness::{Sandbox, host_command, is_oxrun, write_program};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// What is done to a good sandbox, and what `create` then says.
type Case = (fn(&mut Sandbox), &'static str);

#[track_caller]
fn check(cases: &[Case]) {
    if !is_oxrun() {
        skip!("these are texts of oxrun");
    }
    for (spoil, text) in cases {
        let mut t = Sandbox::new();
        t.args(&["true"]);
        spoil(&mut t);
        t.create().failed().one_line().says(&[text]);
        t.assert_clean();
    }
}

fn mount(t: &mut Sandbox, destination: &str, kind: &str, source: &str, options: &[&str]) {
    config::add_mount(&mut t.config, destination, kind, source, options);
}

/// Without mounts, so that the image has all.
fn bare(t: &mut Sandbox) {
    t.config["mounts"] = json!([]);
    t.config["linux"]["maskedPaths"] = json!([]);
    t.config["linux"]["readonlyPaths"] = json!([]);
}

#[test]
fn about_mounts() {
    check(&[
        (
            |t| mount(t, "/etc", "bind", "/etc/hostname", &["bind"]),
            "mount `/etc/hostname` on `/etc` (mounts[7]): the target is a directory, but what is mounted is not a directory",
        ),
        (
            |t| mount(t, "/etc/passwd", "bind", "/etc", &["bind"]),
            "mount `/etc` on `/etc/passwd` (mounts[7]): the target is not a directory, but what is mounted is one",
        ),
        (
            |t| {
                bare(t);
                mount(t, "/proc", "bind", "/etc", &["bind"]);
            },
            "only procfs may be mounted on /proc: the source is another filesystem",
        ),
        (
            |t| mount(t, "/proc/sys", "tmpfs", "tmpfs", &[]),
            "mount `tmpfs` on `/proc/sys` (mounts[7]): the target is inside /proc, which may not be covered: mount it elsewhere",
        ),
        (
            |t| mount(t, "/mnt", "nofs", "x", &[]),
            "the kernel has no filesystem `nofs`: see /proc/filesystems",
        ),
        // What the filesystem itself says comes first.
        (
            |t| mount(t, "/mnt", "tmpfs", "tmpfs", &["size=nonsense"]),
            "mount `tmpfs` on `/mnt` (mounts[7]): tmpfs: Bad value for 'size': set option `size`: invalid argument",
        ),
    ]);
}

#[test]
fn about_the_root() {
    check(&[(
        |t| {
            let deep = Path::new("bundle").join("d/".repeat(80));
            fs::create_dir_all(t.dir().join(&deep)).unwrap();
            t.config["root"]["path"] = json!(t.dir().join(&deep).display().to_string());
            t.config["linux"]["rootfsPropagation"] = json!("shared");
        },
        "the root filesystem is too deep: its mount point was not found",
    )]);
}

#[test]
fn about_devices() {
    check(&[
        (
            |t| {
                bare(t);
                fs::write(t.rootfs().join("dev/null"), "").unwrap();
            },
            "create device `/dev/null` (default device): another file is there already: remove it from the root filesystem",
        ),
        (
            |t| {
                bare(t);
                t.map_users(100_000);
                symlink("/etc/passwd", t.rootfs().join("dev/null")).unwrap();
            },
            "`null` is a symbolic link: remove it from the root filesystem",
        ),
        (
            |t| {
                t.map_users(100_000);
                t.config["linux"]["devices"] =
                    json!([{"path": "/dev/zero", "type": "c", "major": 1, "minor": 3}]);
            },
            "the host has another device there, which would be bound: correct type, major and minor",
        ),
        (
            |t| {
                t.map_users(100_000);
                t.config["linux"]["devices"] =
                    json!([{"path": "/dev/no-such", "type": "c", "major": 1, "minor": 3}]);
            },
            "create device `/dev/no-such` (linux.devices[0]): open the device on the host, as device nodes \
             cannot be made in a user namespace: no such file or directory",
        ),
    ]);
}

#[test]
fn about_the_process() {
    check(&[(
        |t| t.config["process"]["cwd"] = json!("/proc/self/fd/0"),
        "process.cwd `/proc/self/fd/0` leads through a magic link or too many links: use a plain path",
    )]);
}

#[test]
fn about_a_terminal() {
    if !is_oxrun() {
        skip!("these are texts of oxrun");
    }
    for (there, text) in [
        (
            false,
            "open /dev/pts/ptmx of the container: process.terminal needs a devpts mount on /dev/pts: no such file or directory",
        ),
        (true, "/dev/pts of the container is not a devpts: mount one there"),
    ] {
        let mut t = Sandbox::new();
        bare(&mut t);
        fs::create_dir(t.rootfs().join("dev/pts")).unwrap();
        if there {
            fs::write(t.rootfs().join("dev/pts/ptmx"), "").unwrap();
        }
        t.config["process"]["terminal"] = json!(true);
        let socket = t.path("console");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        t.create_with(&["--console-socket", &socket]).failed().one_line().says(&[text]);
        t.assert_clean();
    }
}

#[test]
fn about_labels_without_a_security_module() {
    if !is_oxrun()
        || fs::read_to_string("/sys/kernel/security/lsm").is_ok_and(|list| list.contains("selinux"))
    {
        skip!("this kernel has SELinux, or the text is not oxrun's");
    }
    let mut t = Sandbox::new();
    t.config["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0");
    let text = "set process.selinuxLabel `system_u:system_r:container_t:s0`: ";
    t.create().failed().one_line().says(&[text]);
    t.assert_clean();
}

/// A call on a host where mounts have changed something; what it says.
#[track_caller]
fn on_such_a_host(t: &Sandbox, script: &str, text: &str) {
    t.write_config();
    t.spawn(t.after_mounts(script, &["run", &t.id])).wait().failed().one_line().says(&[text]);
    t.assert_clean();
}

#[test]
fn about_the_host() {
    if !is_oxrun() {
        skip!("these are texts of oxrun");
    }
    let t = Sandbox::new();
    let fake = t.path("fake");
    fs::create_dir_all(format!("{fake}/self")).unwrap();
    fs::write(format!("{fake}/nonsense"), "nonsense\n").unwrap();
    fs::create_dir_all(format!("{fake}/sys/kernel/random")).unwrap();
    for file in [
        "self/uid_map",
        "self/cgroup",
        "self/mountinfo",
        "self/stat",
        "stat",
        "sys/kernel/cap_last_cap",
        "sys/kernel/random/boot_id",
    ] {
        fs::write(format!("{fake}/{file}"), fs::read(format!("/proc/{file}")).unwrap()).unwrap();
    }
    on_such_a_host(
        &t,
        &format!("mount --bind {fake}/nonsense /proc/sys/kernel/cap_last_cap"),
        "read `/proc/sys/kernel/cap_last_cap`: invalid digit found in string",
    );
    on_such_a_host(
        &t,
        &format!("mkdir {fake}/$$; cat /proc/$$/stat >{fake}/$$/stat; mount --bind {fake} /proc"),
        "/proc of the host is not a procfs root: mount procfs there",
    );
    on_such_a_host(
        &t,
        "mount --bind /dev/zero /dev/null",
        "/dev/null of the host is not the null device: make it anew with mknod",
    );
}

#[test]
fn about_mounts_without_mount_setattr() {
    if !is_oxrun() {
        skip!("only oxrun can be told to go without");
    }
    let mut t = Sandbox::new();
    mount(&mut t, "/bound", "bind", "/etc", &["rbind", "rro"]);
    t.write_config();
    let mut command = t.command(&["create", &t.id]);
    command.env("OXRUN_WITHOUT", "mount_setattr");
    let text = "mount `/etc` on `/bound` (mounts[7]): recursive mount options need Linux 5.12 or newer";
    t.spawn(command).wait().failed().one_line().says(&[text]);
    t.assert_clean();
}

/// One line of /proc/self/uid_map that an ordinary user may not write.
fn two_ids() -> Value {
    json!([{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 200_000, "size": 10}])
}

#[test]
fn about_the_helpers_that_map_ids() {
    if !is_oxrun() || !rustix::process::geteuid().is_root() {
        skip!("root has to change what the helpers are, and the text is oxrun's");
    }
    let mut t = Sandbox::rootless();
    t.config["linux"]["uidMappings"] = two_ids();
    let helper = t.path("helper");
    write_program(Path::new(&helper), "#!/bin/sh\necho no such range >&2\nexit 1\n");
    let there = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/sbin"]
        .map(|directory| format!("{directory}/newuidmap"))
        .into_iter()
        .find(|path| Path::new(path).exists());
    let (with, without) = match &there {
        Some(path) => {
            let plain = t.path("plain");
            fs::write(&plain, "no program").unwrap();
            (format!("mount --bind {helper} {path}"), format!("mount --bind {plain} {path}"))
        }
        None => {
            let place = "mount -t tmpfs tmpfs /usr/local/sbin; cp";
            let (name, mode) = ("/usr/local/sbin/newuidmap", "chmod 644 /usr/local/sbin/newuidmap");
            (format!("{place} {helper} {name}"), format!("{place} {helper} {name}; {mode}"))
        }
    };
    on_such_a_host(
        &t,
        &with,
        "the uid map (linux.uidMappings) is refused by newuidmap: no such range; the ids that are this user's are in /etc/subuid",
    );
    on_such_a_host(&t, &without, "run newuidmap: permission denied");
    if there.is_none() {
        let text = "the uid map (linux.uidMappings) needs newuidmap, which is not there: install it (uidmap)";
        on_such_a_host(&t, "true", text);
    }
}

#[test]
fn about_a_new_proc_in_a_user_namespace_where_the_host_s_is_covered() {
    if !is_oxrun() {
        skip!("the text is oxrun's");
    }
    let mut t = Sandbox::rootless();
    for key in ["uidMappings", "gidMappings"] {
        t.config["linux"][key] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    }
    t.write_config();
    let command = t.in_user_namespace("mount --bind /etc /proc/irq", &["create", &t.id]);
    let text = "the host's own proc is partly covered, so a user namespace may not mount a new one: ";
    t.spawn(command).wait().failed().one_line().says(&[text]);
    t.assert_clean();
}

#[test]
fn about_profiles_to_explain() {
    if !is_oxrun() {
        skip!("only oxrun explains");
    }
    let t = Sandbox::new();
    let file = t.path("profile");
    let explain = |text: &str| {
        fs::write(&file, text).unwrap();
        host_command(crate::harness::runtime().to_str().unwrap(), &["seccomp", "explain", &file])
    };
    for (text, said) in [
        ("{", "read `"),
        ("{\"ociVersion\": \"1.0.0\"}", "the config has no linux.seccomp"),
        ("{\"linux\": {\"seccomp\": {\"defaultAction\": 7}}}", "read linux.seccomp of `"),
        ("{\"defaultAction\": 7}", "read `"),
        (
            "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"archMap\": []}",
            "this is a profile for container engines",
        ),
        (
            "{\"ociVersion\": \"1.0.0\", \"annotations\": {\"run.oci.seccomp_bpf_data\": \"x\"}}",
            "is BPF already",
        ),
    ] {
        explain(text).failed().one_line().says(&[said]);
    }
    fs::remove_file(&file).unwrap();
    let runtime = crate::harness::runtime().to_str().unwrap();
    host_command(runtime, &["seccomp", "explain", &file])
        .failed()
        .one_line()
        .says(&["no such file or directory"]);
}
