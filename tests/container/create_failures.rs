//! A `create` that fails leaves nothing: each step of it is made to fail in turn, by the config
//! or by what is on the host, in the order in which the steps run.

use crate::config;
use crate::harness::{Sandbox, host_command, is_oxrun};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;

/// Creates, expects the failure to name something, and nothing to be left; then the repaired
/// config works under the same id.
#[track_caller]
fn fails_cleanly(texts: &[&str], spoil: impl FnOnce(&mut Sandbox)) {
    let mut t = Sandbox::new();
    t.args(&["true"]);
    let good = t.config.clone();
    spoil(&mut t);
    let pid_file = t.path("pid");
    let outcome = t.create_with(&["--pid-file", &pid_file]);
    if !is_oxrun() && outcome.code == 0 {
        skip!("another runtime accepts this");
    }
    outcome.failed().says(texts).one_line();
    assert!(fs::metadata(&pid_file).is_err(), "pid file left");
    t.assert_clean();
    t.config = good;
    t.run().ok();
    t.assert_clean();
}

#[test]
fn cgroup_limit_refused() {
    fails_cleanly(&["memory", "invalid argument"], |t| {
        t.config["linux"]["resources"]["memory"] = json!({"limit": 4294967296i64, "swap": 1073741824});
    });
}

#[test]
fn cpuset_refused() {
    fails_cleanly(&["cpuset"], |t| t.config["linux"]["resources"]["cpu"] = json!({"cpus": "4000-4001"}));
}

#[test]
fn cpu_period_refused() {
    fails_cleanly(&["cpu"], |t| t.config["linux"]["resources"]["cpu"] = json!({"period": 1}));
}

#[test]
fn cgroup_cannot_be_made() {
    // A file of the hierarchy's root stands where a directory would have to be made.
    fails_cleanly(&["not a directory", "file exists"], |t| {
        t.config["linux"]["cgroupsPath"] = json!(format!("/cgroup.procs/{}", t.id));
    });
}

#[test]
fn memory_limit_below_what_a_start_needs() {
    let mut t = Sandbox::new();
    t.args(&["true"]);
    t.config["linux"]["resources"]["memory"] = json!({"limit": 4096});
    t.create_with(&["--pid-file", &t.path("pid")]).failed();
    t.assert_clean();
}

#[test]
fn user_map_refused() {
    fails_cleanly(&["map", "newuidmap", "uid", "invalid"], |t| {
        config::add_user_namespace(&mut t.config, 100_000);
        let overlap = json!([{"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": 5, "hostID": 5000, "size": 10}]);
        t.config["linux"]["uidMappings"] = overlap;
    });
}

#[test]
fn namespace_to_join_of_another_kind() {
    fails_cleanly(&["network", "/proc/self/ns/uts", "net namespace"], |t| {
        config::add_namespace(&mut t.config, "network", "/proc/self/ns/uts");
    });
}

#[test]
fn first_mount_fails() {
    fails_cleanly(&["/no/such/source"], |t| {
        let mount = json!({"destination": "/mnt", "source": "/no/such/source", "options": ["bind"]});
        t.config["mounts"].as_array_mut().unwrap().insert(0, mount);
    });
}

#[test]
fn last_mount_fails() {
    fails_cleanly(&["/no/such/source"], |t| {
        config::add_mount(&mut t.config, "/mnt", "bind", "/no/such/source", &["bind"]);
    });
}

#[test]
fn mount_target_cannot_be_made() {
    fails_cleanly(&["/etc/passwd"], |t| {
        config::add_mount(&mut t.config, "/etc/passwd/below", "tmpfs", "tmpfs", &[]);
    });
}

#[test]
fn mount_target_is_of_another_kind() {
    fails_cleanly(&["/etc/passwd"], |t| {
        config::add_mount(&mut t.config, "/etc/passwd", "tmpfs", "tmpfs", &[])
    });
}

#[test]
fn mount_data_refused() {
    fails_cleanly(&["/mnt"], |t| {
        config::add_mount(&mut t.config, "/mnt", "tmpfs", "tmpfs", &["size=nonsense"])
    });
}

#[test]
fn device_that_cannot_be_made() {
    fails_cleanly(&["passwd"], |t| {
        t.config["linux"]["devices"] =
            json!([{"path": "/etc/passwd/x", "type": "c", "major": 1, "minor": 3}]);
    });
}

#[test]
fn sysctl_value_refused() {
    fails_cleanly(&["ip_forward"], |t| {
        t.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "nonsense"})
    });
}

#[test]
fn masked_path_through_a_file() {
    let mut t = Sandbox::new();
    t.args(&["true"]);
    t.config["linux"]["maskedPaths"] = json!(["/etc/passwd/below", "/no/such/path"]);
    // What cannot exist needs no mask (ENOTDIR as well as ENOENT).
    let outcome = t.run();
    if !is_oxrun() && outcome.code != 0 {
        skip!("another runtime takes ENOTDIR for an error");
    }
    t.assert_clean();
}

#[test]
fn hook_of_each_kind_fails_create() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        for (position, hooks) in [(0, vec!["exit 3", "touch NEVER"]), (1, vec!["true", "exit 3"])] {
            let mut t = Sandbox::new();
            t.args(&["true"]);
            let never = t.path("never");
            let hooks: Vec<_> =
                hooks.iter().map(|h| config::shell_hook(&h.replace("NEVER", &never))).collect();
            t.config["hooks"] = json!({kind: hooks});
            let outcome = t.create_with(&["--pid-file", &t.path("pid")]).failed().one_line();
            assert!(outcome.stderr.contains(&format!("#{position}")), "{}", outcome.stderr);
            let kinds = [kind, &kind.to_lowercase()];
            let outcome = if is_oxrun() { outcome.says(&kinds) } else { outcome };
            outcome.says(&["exit status 3", "status 3", "exited with 3"]);
            assert!(fs::metadata(&never).is_err(), "a hook after the failed one ran");
            assert!(fs::metadata(t.path("pid")).is_err(), "pid file left");
            t.assert_clean();
        }
    }
}

#[test]
fn hook_that_is_not_there() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        fails_cleanly(&["/no/such/hook"], |t| t.config["hooks"] = json!({kind: [{"path": "/no/such/hook"}]}));
    }
}

#[test]
fn hook_that_takes_too_long() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let mut t = Sandbox::new();
        t.args(&["true"]);
        // Another runtime kills the hook itself, not what it started, and waits for that. A hook
        // that is waited for to its end is a call that hangs.
        let mut hook = config::shell_hook(if is_oxrun() { "sleep 5000; true" } else { "exec sleep 5000" });
        hook["timeout"] = json!(1);
        t.config["hooks"] = json!({kind: [hook]});
        t.create().failed();
        t.assert_clean();
    }
}

#[test]
fn missing_program() {
    fails_cleanly(&["not found", "no such file"], |t| {
        t.args(&["no-such-program"]);
    });
}

#[test]
fn seccomp_flag_refused() {
    fails_cleanly(&["seccomp", "NOPE"], |t| {
        let rules = json!([{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]);
        let flags = json!(["SECCOMP_FILTER_FLAG_NOPE"]);
        t.config["linux"]["seccomp"] =
            json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags, "syscalls": rules});
    });
}

#[test]
fn seccomp_filter_that_forbids_the_start() {
    let mut t = Sandbox::new();
    t.args(&["true"]);
    let rules = json!([{"names": ["execve"], "action": "SCMP_ACT_ERRNO"}]);
    t.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
    t.run().failed();
    t.assert_clean();
}

#[test]
fn dead_console_socket() {
    let mut t = Sandbox::new();
    t.args(&["true"]);
    t.config["process"]["terminal"] = json!(true);
    let dead = t.path("dead");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    t.create_with(&["--console-socket", &dead, "--pid-file", &t.path("pid")]).failed();
    assert!(fs::metadata(t.path("pid")).is_err());
    t.assert_clean();
}

#[test]
fn pid_file_cannot_be_written() {
    let mut t = Sandbox::new();
    t.args(&["true"]);
    for place in ["/no/such/directory/pid", "/proc/pid", "/"] {
        t.create_with(&["--pid-file", place]).failed();
        t.assert_clean();
    }
}

#[test]
fn limit_that_is_not_allowed() {
    let mut t = Sandbox::new();
    if crate::host::has_capability(24) {
        // Nothing may be above fs.nr_open, for root as well.
        let limit = 1u64 << 40;
        t.config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": limit, "hard": limit}]);
    } else {
        t.config["process"]["rlimits"] = json!([{"type": "RLIMIT_NICE", "soft": 20, "hard": 30}]);
    }
    t.args(&["true"]);
    let outcome = t.create_with(&["--pid-file", &t.path("pid")]);
    if !is_oxrun() && outcome.code == 0 {
        skip!("another runtime sets limits after `create`");
    }
    outcome.failed().says(&["rlimit", "RLIMIT"]).one_line();
    t.assert_clean();
}

#[test]
fn root_that_is_a_dangling_link() {
    fails_cleanly(&["link"], |t| {
        symlink("/no/such/directory", t.bundle().join("link")).unwrap();
        t.config["root"]["path"] = json!("link");
    });
}

#[test]
fn runtime_killed_in_the_middle_is_cleaned_by_force() {
    if !is_oxrun() {
        skip!("another runtime leaves a half made container that `delete --force` does not find");
    }
    let mut t = Sandbox::new();
    t.args(&["true"]);
    let ready = t.path("ready");
    t.config["hooks"] =
        json!({"createRuntime": [config::shell_hook(&format!("touch {ready}; exec sleep 20"))]});
    t.write_config();
    let running = t.spawn(t.command(&["create", &t.id]));
    crate::harness::wait_until("the hook", || fs::metadata(&ready).is_ok());
    running.signal(rustix::process::Signal::KILL);
    running.wait();
    t.runtime(&["delete", "--force", &t.id]).ok();
    t.assert_no_containers();
    assert!(crate::host::cgroups_with(&t.id).is_empty());
    // The hook too, which is not in the container.
    crate::harness::wait_until("the hook's end", || crate::host::processes_with(&t.id).is_empty());
}

#[test]
fn resctrl_that_is_not_mounted() {
    let mounted = std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ");
    if !is_oxrun() || mounted {
        skip!("this host has resctrl, or another runtime is tested");
    }
    fails_cleanly(&["linux.intelRdt: no resctrl filesystem is mounted"], |t| {
        t.config["linux"]["intelRdt"] = json!({"closID": "gold", "l3CacheSchema": "L3:0=f"});
    });
    fails_cleanly(&["linux.intelRdt: no resctrl filesystem is mounted"], |t| {
        t.config["linux"]["intelRdt"] = json!({"enableMonitoring": true});
    });
}

#[test]
fn mount_of_the_caller_stays_without_a_mount_namespace() {
    // The engine has mounted the root filesystem; what fails may take away the container's mounts alone.
    for (early, propagation) in [(true, "--make-shared"), (false, "--make-shared"), (false, "--make-private")]
    {
        let mut t = Sandbox::new();
        config::drop_namespace(&mut t.config, "mount");
        t.config["linux"].as_object_mut().unwrap().remove("maskedPaths");
        t.config["linux"].as_object_mut().unwrap().remove("readonlyPaths");
        let root = t.rootfs().display().to_string();
        // It is a peer of the mount that it is made of, where that is shared.
        let bundle = t.bundle().display().to_string();
        host_command("mount", &["--bind", &bundle, &bundle]).ok();
        host_command("mount", &["--make-private", &bundle]).ok();
        host_command("mount", &[propagation, &bundle]).ok();
        host_command("mount", &["--bind", &root, &root]).ok();
        let own = || crate::host::mounts_with(&[&root]).len();
        assert_eq!(own(), 1);
        if early {
            t.config["linux"]["resources"]["cpu"] = json!({"cpus": "4000-4001"});
            t.args(&["true"]);
        } else {
            t.args(&["/no/such/program"]);
        }
        t.create().failed();
        let left = own();
        // Also one that was made and is deleted.
        t.config["linux"]["resources"] = json!({});
        t.args(&["true"]);
        t.create().ok();
        t.finish();
        let after = own();
        host_command("umount", &["-R", "-l", &bundle]).ok();
        assert_eq!((left, after), (1, 1), "early: {early}, {propagation}");
    }
}

#[test]
fn mounts_of_a_killed_create_without_a_mount_namespace() {
    if !is_oxrun() {
        skip!("only oxrun promises this");
    }
    let mut t = Sandbox::new();
    config::drop_namespace(&mut t.config, "mount");
    t.config["linux"].as_object_mut().unwrap().remove("maskedPaths");
    t.config["linux"].as_object_mut().unwrap().remove("readonlyPaths");
    t.config["hooks"] = json!({"createRuntime": [config::shell_hook("kill -KILL $PPID")]});
    t.create().exits(137);
    // The next one of that id finds the mounts of the first still there.
    t.config["hooks"] = json!({});
    t.args(&["true"]).create().ok();
    t.finish();
    t.assert_clean();
}

#[test]
fn directory_of_a_create_killed_before_its_id_was_there() {
    if !is_oxrun() {
        skip!("only oxrun promises this");
    }
    let t = Sandbox::new();
    fs::create_dir_all(t.state_dir().join(".new-1-1-1")).unwrap();
    fs::set_permissions(t.state_dir(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    t.finish();
    t.assert_clean();
}
