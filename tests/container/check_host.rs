//! `check`: the rules about what the kernel, this host and the caller lack.

use crate::check::{Case, expect, findings, good};
use crate::config;
use crate::harness::{Sandbox, is_oxrun};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

macro_rules! only_oxrun {
    () => {
        if !is_oxrun() {
            skip!("`check` is oxrun's own");
        }
    };
}

/// What a call of `check` finds, by path: message and suggestion.
fn found_by(t: &Sandbox, command: Command, path: &str) -> (String, String) {
    let outcome = t.spawn(command).wait().exits(1);
    let report = outcome.json();
    let of = |finding: &Value| finding["path"] == path;
    let finding = report["findings"].as_array().unwrap().iter().find(|finding| of(finding));
    let finding = finding.unwrap_or_else(|| panic!("{path}: {report:#}"));
    assert_eq!(finding["level"], "host");
    let text = |member: &str| finding[member].as_str().unwrap_or_default().to_string();
    (text("message"), text("suggestion"))
}

const CHECK: [&str; 3] = ["check", "--format", "json"];

#[test]
fn what_the_host_lacks() {
    only_oxrun!();
    expect(&[
        (
            |t| t.config["linux"]["namespaces"][1] = json!({"type": "network", "path": "/no/such"}),
            "host",
            "linux.namespaces[1].path",
            "no such file",
            "",
        ),
        (
            |t| t.config["linux"]["namespaces"][1] = json!({"type": "network", "path": "/proc/self/ns/uts"}),
            "host",
            "linux.namespaces[1].path",
            "is not a namespace of type network",
            "",
        ),
        (
            |t| {
                fs::create_dir(t.path("there")).unwrap();
                let source = t.path("thare");
                config::add_mount(&mut t.config, "/m", "none", &source, &["bind"]);
            },
            "host",
            "mounts[7].source",
            "no such file",
            "/there`?",
        ),
        (
            |t| config::add_mount(&mut t.config, "/m", "tmpfz", "x", &[]),
            "host",
            "mounts[7].type",
            "no filesystem `tmpfz`",
            "`tmpfs`",
        ),
        (
            |t| config::add_mount(&mut t.config, "/m", "tmpfs", "x", &["nosuidd"]),
            "host",
            "mounts[7].options",
            "nosuidd",
            "`nosuid`",
        ),
        (
            |t| t.config["hooks"] = json!({"createRuntime": [{"path": "/bin/busyboxx"}]}),
            "host",
            "hooks.createRuntime[0].path",
            "no such file",
            "did you mean `/bin/busybox`?",
        ),
        (
            |t| {
                t.config["process"]["rlimits"][0] =
                    json!({"type": "RLIMIT_NOFILE", "soft": 1, "hard": u64::MAX})
            },
            "host",
            "process.rlimits[0].hard",
            "nr_open",
            "",
        ),
        (
            |t| t.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forwad": "1"}),
            "host",
            "linux.sysctl.net.ipv4.ip_forwad",
            "has no `/proc/sys/net/ipv4/ip_forwad`",
            "`ip_forward`",
        ),
        (
            |t| t.config["linux"]["netDevices"] = json!({"loo": {}}),
            "host",
            "linux.netDevices.loo",
            "no interface `loo`",
            "`lo`",
        ),
        (
            |t| t.config["linux"]["resources"]["cpu"] = json!({"cpus": "4095"}),
            "host",
            "linux.resources.cpu.cpus",
            "no CPU 4095",
            "",
        ),
        (
            |t| t.config["linux"]["resources"]["cpu"] = json!({"mems": "1000"}),
            "host",
            "linux.resources.cpu.mems",
            "no memory node 1000",
            "",
        ),
        (
            |t| t.config["linux"]["resources"]["hugepageLimits"] = json!([{"pageSize": "3MB", "limit": 1}]),
            "host",
            "linux.resources.hugepageLimits[0].pageSize",
            "no huge pages of `3MB`",
            "",
        ),
        (
            |t| {
                t.config["linux"]["resources"]["blockIO"] =
                    json!({"throttleReadBpsDevice": [{"major": 4000, "minor": 0, "rate": 1}]})
            },
            "host",
            "linux.resources.blockIO.throttleReadBpsDevice[0]",
            "no block device 4000:0",
            "lsblk",
        ),
        (
            |t| {
                t.config["ociVersion"] = json!("1.3.0");
                t.config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "1000"})
            },
            "host",
            "linux.memoryPolicy.nodes",
            "no memory node 1000",
            "",
        ),
        (
            |t| t.config["hooks"] = json!({"prestart": [{"path": "/etc"}]}),
            "host",
            "hooks.prestart[0].path",
            "is no regular file",
            "",
        ),
        (
            |t| t.config["hooks"] = json!({"createContainer": [{"path": "/etc/passwd"}]}),
            "host",
            "hooks.createContainer[0].path",
            "may not be executed",
            "",
        ),
        (
            |t| t.config["linux"]["cgroupsPath"] = json!("/a/../b"),
            "host",
            "linux.cgroupsPath",
            "contains `..`",
            "",
        ),
    ]);
}

#[test]
fn what_depends_on_the_kernel() {
    only_oxrun!();
    let there = |path: &str| fs::metadata(path).is_ok();
    let cases: [(bool, Case); 5] = [
        (
            !there("/sys/kernel/security/apparmor"),
            (
                |t| t.config["process"]["apparmorProfile"] = json!("x"),
                "host",
                "process.apparmorProfile",
                "without AppArmor",
                "",
            ),
        ),
        (
            !there("/sys/fs/selinux/enforce"),
            (
                |t| t.config["process"]["selinuxLabel"] = json!("a:b:c:s0"),
                "host",
                "process.selinuxLabel",
                "without SELinux",
                "",
            ),
        ),
        (
            !there("/sys/fs/selinux/enforce"),
            (
                |t| t.config["linux"]["mountLabel"] = json!("a:b:c:s0"),
                "host",
                "linux.mountLabel",
                "without SELinux",
                "leave the property out",
            ),
        ),
        (
            !fs::read_to_string("/proc/mounts").unwrap().contains(" resctrl "),
            (
                |t| t.config["linux"]["intelRdt"] = json!({"closID": "x"}),
                "host",
                "linux.intelRdt",
                "no resctrl filesystem",
                "",
            ),
        ),
        (
            !there("/proc/self/ns/time"),
            (
                |t| config::add_namespace(&mut t.config, "time", ""),
                "host",
                "linux.namespaces[6].type",
                "no time namespaces",
                "",
            ),
        ),
    ];
    for (_, case) in cases.into_iter().filter(|(lacking, _)| *lacking) {
        expect(&[case]);
    }
}

#[test]
fn ids_of_an_ordinary_user() {
    only_oxrun!();
    let mut t = Sandbox::rootless();
    t.args(&["true"]);
    t.write_config();
    t.runtime(&["check"]).exits(2);
    t.config["linux"]["uidMappings"][0]["hostID"] = json!(77);
    let (code, found) = findings(&t);
    let finding = found.iter().find(|f| f["level"] == "host").unwrap_or_else(|| panic!("{found:?}"));
    let path = finding["path"].as_str().unwrap();
    assert!(code == 1 && path.starts_with("linux.uidMappings"), "{finding}");
    t.create().failed();
    t.config["linux"]["uidMappings"][0]["hostID"] = json!(1000);
    t.config["linux"]["resources"] = json!({"pids": {"limit": 5}});
    let (code, found) = findings(&t);
    assert!(code == 1 && found[0]["path"] == "linux.cgroupsPath", "{found:?}");
    t.create().failed();
}

/// Each list of block devices has its own place.
#[test]
fn block_devices() {
    only_oxrun!();
    for (name, value) in [
        ("weightDevice", json!({"major": 4000, "minor": 7, "weight": 100})),
        ("throttleWriteBpsDevice", json!({"major": 4000, "minor": 7, "rate": 1})),
        ("throttleReadIOPSDevice", json!({"major": 4000, "minor": 7, "rate": 1})),
        ("throttleWriteIOPSDevice", json!({"major": 4000, "minor": 7, "rate": 1})),
    ] {
        let mut t = good();
        t.config["linux"]["resources"]["blockIO"] = json!({name: [value]});
        t.write_config();
        let at = format!("linux.resources.blockIO.{name}[0]");
        let (message, suggestion) = found_by(&t, t.command(&CHECK), &at);
        assert_eq!(message, "this host has no block device 4000:7");
        assert!(suggestion.contains("lsblk"), "{suggestion}");
    }
}

/// A hook that runs after the container was started.
#[test]
fn hooks_that_are_run_late() {
    only_oxrun!();
    let mut t = good();
    t.config["hooks"] = json!({"poststart": [{"path": "/no/such"}]});
    t.write_config();
    let (message, _) = found_by(&t, t.command(&CHECK), "hooks.poststart[0].path");
    assert_eq!(message, "`/no/such`: no such file or directory");
    t.run().failed();
}

/// The kernel of this call does not know any flag of filters.
#[test]
fn flags_of_the_filter() {
    only_oxrun!();
    let mut t = good();
    t.config["linux"]["seccomp"]["flags"] = json!(["SECCOMP_FILTER_FLAG_LOG"]);
    t.write_config();
    assert_eq!(findings(&t).0, 0);
    // seccomp(2) is EINVAL from here on: BPF in words, the number of the call at 0 of seccomp_data.
    let script = "import ctypes, os, struct, sys\n\
        nr = int(sys.argv[1])\n\
        rows = [(0x20, 0, 0, 0), (0x15, 0, 1, nr), (0x06, 0, 0, 0x50000 | 22), (0x06, 0, 0, 0x7fff0000)]\n\
        code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *row) for row in rows))\n\
        program = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', len(rows), ctypes.addressof(code)))\n\
        call = ctypes.CDLL(None, use_errno=True).prctl\n\
        call.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4\n\
        assert call(38, 1, 0, 0, 0) == 0 and call(22, 2, ctypes.addressof(program), 0, 0) == 0\n\
        os.execv(sys.argv[2], sys.argv[2:])\n";
    let call = t.command(&CHECK);
    let mut command = Command::new("python3");
    command
        .args(["-c", script, &libc::SYS_seccomp.to_string()])
        .arg(call.get_program())
        .args(call.get_args());
    command.current_dir(t.bundle());
    let (message, suggestion) = found_by(&t, command, "linux.seccomp.flags");
    assert_eq!(message, "this kernel does not have SECCOMP_FILTER_FLAG_LOG");
    assert_eq!(suggestion, "leave it out");
}

#[test]
fn namespaces_that_nobody_may_make() {
    only_oxrun!();
    let t = good();
    t.write_config();
    let command = t.in_user_namespace("echo 0 > /proc/sys/user/max_ipc_namespaces", &CHECK);
    let (message, suggestion) = found_by(&t, command, "linux.namespaces[2].type");
    assert_eq!(message, "no ipc namespace may be made: `/proc/sys/user/max_ipc_namespaces` is 0");
    assert!(suggestion.contains("write a larger number"), "{suggestion}");
}

/// A kernel that says that it runs with AppArmor, with one profile.
#[test]
fn profiles_of_apparmor() {
    only_oxrun!();
    let mut t = good();
    let script = "mount -t tmpfs none /sys/module; mkdir -p /sys/module/apparmor/parameters; \
                  echo Y > /sys/module/apparmor/parameters/enabled; \
                  mount -t tmpfs none /sys/kernel/security; mkdir /sys/kernel/security/apparmor; \
                  echo 'oxt-guard (enforce)' > /sys/kernel/security/apparmor/profiles";
    for (name, hint) in [("oxt-gard", "did you mean `oxt-guard`?"), ("other", "load it by apparmor_parser")] {
        t.config["process"]["apparmorProfile"] = json!(name);
        t.write_config();
        let (message, suggestion) = found_by(&t, t.after_mounts(script, &CHECK), "process.apparmorProfile");
        assert_eq!((message, suggestion.as_str()), (format!("no profile `{name}` is loaded"), hint));
    }
}

/// In a user namespace devices are bound from the host.
#[test]
fn devices_of_a_user_namespace() {
    only_oxrun!();
    let mut t = good();
    t.map_users(200_000);
    t.config["linux"]["devices"] = json!([{"type": "c", "path": "/dev/oxt-none", "major": 1, "minor": 3}]);
    t.write_config();
    let (message, _) = found_by(&t, t.command(&CHECK), "linux.devices[0]");
    assert_eq!(message, "`/dev/oxt-none` is not on this host, from where it would be bound");
    t.create().failed();
}

#[test]
fn limits_above_the_callers_own() {
    only_oxrun!();
    let mut t = Sandbox::rootless();
    t.args(&["true"]);
    t.config["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 1, "hard": 2_000_000}]);
    t.write_config();
    let mut command = Command::new("sh");
    let call = t.command(&CHECK);
    command
        .args(["-c", "ulimit -H -c 1000; exec \"$0\" \"$@\""])
        .arg(call.get_program())
        .args(call.get_args());
    command.current_dir(t.bundle());
    let (message, _) = found_by(&t, command, "process.rlimits[0].hard");
    assert!(message.contains("only root may raise it"), "{message}");
}

/// Root of a user namespace maps what that one has; an ordinary user what the helpers give.
#[test]
fn ids_that_are_not_the_callers() {
    only_oxrun!();
    let mut t = good();
    t.map_users(7);
    t.write_config();
    // A user namespace with a hundred ids, where groups may be set.
    let script = "import ctypes, os, sys\n\
        made, tell_made = os.pipe()\n\
        mapped, tell_mapped = os.pipe()\n\
        pid = os.fork()\n\
        if pid == 0:\n    \
            assert ctypes.CDLL(None).unshare(0x10000000) == 0\n    \
            os.write(tell_made, b'x')\n    \
            os.read(mapped, 1)\n    \
            os.execv(sys.argv[1], sys.argv[1:])\n\
        os.read(made, 1)\n\
        for which in ('uid', 'gid'):\n    \
            open(f'/proc/{pid}/{which}_map', 'w').write('0 0 100')\n\
        os.write(tell_mapped, b'x')\n\
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n";
    let call = t.command(&CHECK);
    let mut command = Command::new("python3");
    command.args(["-c", script]).arg(call.get_program()).args(call.get_args()).current_dir(t.bundle());
    let (message, _) = found_by(&t, command, "linux.uidMappings[0]");
    assert!(message.contains("are not all in the user namespace that oxrun runs in"), "{message}");
    if !rustix::process::geteuid().is_root() {
        skip!("root hides the helpers");
    }
    let mut t = Sandbox::rootless();
    t.args(&["true"]);
    t.config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 77, "size": 10}]);
    t.write_config();
    let hide = "mount -t tmpfs none /mnt; chmod 755 /mnt; cp /usr/bin/setpriv /mnt; mount --bind /mnt /usr/bin; hash -r";
    let (message, suggestion) = found_by(&t, t.after_mounts(hide, &CHECK), "linux.uidMappings");
    assert_eq!(message, "needs newuidmap, which is not there");
    assert!(suggestion.contains("package uidmap"), "{suggestion}");
}
