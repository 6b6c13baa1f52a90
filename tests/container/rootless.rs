//! Containers of an ordinary user. Run by root, each call becomes one, without any cgroup; run by
//! one in a delegated cgroup (`make test-v2` does both), what needs the delegation is tested too.

use crate::harness::{Sandbox, host_command, is_oxrun};
use crate::host;
use serde_json::json;
use std::fs;

/// Whether this user may make cgroups: the tests then run in a cgroup of the user's manager.
fn is_delegated() -> bool {
    host::is_cgroup_v2() && !rustix::process::geteuid().is_root()
}

macro_rules! needs_delegation {
    () => {
        if !is_delegated() {
            skip!("no cgroup is delegated to this user: `make test-v2` runs it as one with");
        }
    };
}

fn own_id() -> u32 {
    if rustix::process::geteuid().is_root() { 1000 } else { rustix::process::geteuid().as_raw() }
}

fn sleeping() -> Sandbox {
    let mut t = Sandbox::rootless();
    t.args(&["payload", "sleep", "5000"]);
    t
}

#[test]
fn runs_as_root_of_a_user_namespace() {
    let mut t = Sandbox::rootless();
    let words = "id -u; cat /proc/self/uid_map /proc/self/setgroups; cat /proc/self/cgroup | wc -l";
    let said = t.run_args(&["sh", "-c", words]).ok().stdout;
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words[..5], ["0", "0", &own_id().to_string(), "1", "deny"], "{said}");
}

#[test]
fn lifecycle() {
    let t = sleeping();
    t.create().ok();
    assert_eq!(t.status(), "created");
    t.start().ok();
    assert_eq!(t.status(), "running");
    let said = t.runtime(&["exec", &t.id, "sh", "-c", "id -u; hostname"]).ok().stdout;
    assert!(said.starts_with("0\n"), "{said}");
    t.kill("KILL").ok();
    t.wait_status("stopped");
    t.delete().ok();
    t.assert_clean();
}

#[test]
fn processes_that_nobody_can_find_again_are_a_warning() {
    if is_delegated() {
        skip!("here is a cgroup to find them by");
    }
    let mut t = Sandbox::rootless();
    let warning = "Such configuration is strongly discouraged";
    assert!(!t.run_args(&["true"]).ok().stderr.contains(warning));
    let namespaces = t.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "pid");
    let mounts = t.config["mounts"].as_array_mut().unwrap();
    let proc = mounts.iter_mut().find(|mount| mount["destination"] == "/proc").unwrap();
    *proc = json!({"destination": "/proc", "source": "/proc", "options": ["rbind"]});
    let said = t.run().ok().stderr;
    assert!(!is_oxrun() || said.contains(warning), "{said}");
}

#[test]
fn the_binary_is_out_of_reach() {
    let mut t = Sandbox::rootless();
    t.args(&["payload", "sleep", "5000"]);
    t.create().ok();
    let exe = fs::read_link(format!("/proc/{}/exe", t.pid()));
    if !rustix::process::geteuid().is_root() {
        assert!(exe.is_err(), "{exe:?}");
        return;
    }
    let shown = exe.unwrap().display().to_string();
    assert!(!is_oxrun() || shown.contains("memfd"), "{shown}");
}

#[test]
fn sys_of_the_host_can_be_bound() {
    let mut t = Sandbox::rootless();
    t.run_args(&["ls", "/sys/kernel"]).ok();
}

#[test]
fn several_ids_are_mapped_by_the_helpers() {
    let name = "/usr/bin/newuidmap";
    let own = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let user = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name_of = user.lines().find(|l| l.split(':').nth(2) == Some(&own_id().to_string()));
    let Some(user) = name_of.and_then(|l| l.split(':').next()) else {
        skip!("user {} has no name here", own_id());
    };
    let Some(first) = own.lines().find_map(|l| l.strip_prefix(&format!("{user}:"))?.split(':').next()) else {
        skip!("user {user} has no ids in /etc/subuid");
    };
    if !fs::exists(name).unwrap() {
        skip!("{name} is not installed");
    }
    let first: u64 = first.parse().unwrap();
    let mut t = Sandbox::rootless();
    let map = json!([
        {"containerID": 0, "hostID": own_id(), "size": 1},
        {"containerID": 1, "hostID": first, "size": 1000},
    ]);
    t.config["linux"]["uidMappings"] = map.clone();
    t.config["linux"]["gidMappings"] = map;
    t.config["process"]["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [7]});
    t.config["process"]["cwd"] = json!("/");
    let said = t.run_args(&["sh", "-c", "id -u; id -g; id -G"]).ok().stdout;
    assert_eq!(said, "5\n6\n6 7\n");
    t.config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    t.run().failed().says(&["uidMappings", "newuidmap"]).one_line();
    t.assert_clean();
}

#[test]
fn groups_cannot_be_set_with_one_id() {
    let mut t = Sandbox::rootless();
    t.config["process"]["user"] = json!({"uid": 0, "gid": 0, "additionalGids": [7]});
    t.run_args(&["true"]).failed().says(&["additionalGids", "additional gids"]).one_line();
    t.assert_clean();
}

#[test]
fn limits_without_delegation_are_an_error_that_names_it() {
    if is_delegated() {
        skip!("this user has a cgroup");
    }
    let mut t = Sandbox::rootless();
    t.config["linux"]["resources"] = json!({"pids": {"limit": 9}});
    t.run_args(&["true"]).failed().says(&["delegated", "permission denied"]).one_line();
    t.assert_clean();
}

#[test]
fn a_path_outside_the_delegation_is_an_error() {
    needs_cgroupfs!();
    let mut t = Sandbox::rootless();
    t.config["linux"]["cgroupsPath"] = json!(format!("/{}", t.id));
    t.run_args(&["true"]).failed().says(&["ermission denied", "delegated"]).one_line();
    t.assert_clean();
}

#[test]
fn limits_in_a_delegated_cgroup() {
    needs_delegation!();
    let mut t = sleeping();
    t.config["linux"]["resources"] = json!({"pids": {"limit": 9}, "memory": {"limit": 64 << 20}});
    t.create().ok();
    let directory = host::cgroup_of(t.pid(), "pids").unwrap();
    let value = |file: &str| fs::read_to_string(directory.join(file)).unwrap().trim().to_string();
    assert_eq!((value("pids.max").as_str(), value("memory.max").as_str()), ("9", "67108864"));
    t.start().ok();
    t.runtime(&["update", "--pids-limit", "12", &t.id]).ok();
    assert_eq!(value("pids.max"), "12");
    t.runtime(&["pause", &t.id]).ok();
    assert_eq!(t.status(), "paused");
    t.runtime(&["resume", &t.id]).ok();
    t.finish();
    assert!(!directory.exists());
    t.assert_clean();
}

#[test]
fn the_user_s_systemd_makes_scopes() {
    needs_delegation!();
    if !host::has_systemd() {
        skip!("systemd is not running here");
    }
    let mut t = sleeping();
    t.config["linux"]["resources"] = json!({"pids": {"limit": 9}});
    t.config["linux"]["cgroupsPath"] = json!(format!("user.slice:oxt:{}", t.id));
    t.write_config();
    t.runtime(&["--systemd-cgroup", "create", &t.id]).ok();
    let directory = host::cgroup_of(t.pid(), "pids").unwrap();
    let unit = format!("oxt-{}.scope", t.id);
    assert!(directory.ends_with(format!("user.slice/{unit}")), "{}", directory.display());
    host_command("systemctl", &["--user", "daemon-reload"]).ok();
    assert_eq!(fs::read_to_string(directory.join("pids.max")).unwrap(), "9\n");
    t.start().ok();
    t.runtime(&["exec", &t.id, "true"]).ok();
    t.runtime(&["update", "--pids-limit", "12", &t.id]).ok();
    host_command("systemctl", &["--user", "daemon-reload"]).ok();
    assert_eq!(fs::read_to_string(directory.join("pids.max")).unwrap(), "12\n");
    t.runtime(&["pause", &t.id]).ok();
    assert_eq!(t.status(), "paused");
    t.runtime(&["resume", &t.id]).ok();
    t.finish();
    let args = ["--user", "list-units", "--all", "--plain", "--no-legend", &unit];
    assert_eq!(host_command("systemctl", &args).ok().stdout, "");
    t.assert_clean();
}

#[test]
fn the_user_s_bus_serves_where_the_private_socket_does_not() {
    needs_delegation!();
    if !host::has_systemd() {
        skip!("systemd is not running here");
    }
    let mut t = sleeping();
    t.config["linux"]["cgroupsPath"] = json!(format!("user.slice:oxt:{}", t.id));
    t.write_config();
    let own = std::env::var("XDG_RUNTIME_DIR").unwrap();
    let call = |address: &str, words: &[&str]| {
        let mut command = t.command(words);
        command.env("XDG_RUNTIME_DIR", t.path("")).env("DBUS_SESSION_BUS_ADDRESS", address);
        t.spawn(command).wait()
    };
    let address = format!("unix:path={own}/bus");
    call(&address, &["--systemd-cgroup", "create", &t.id]).ok();
    let unit = format!("oxt-{}.scope", t.id);
    let state = host_command("systemctl", &["--user", "show", "-P", "ActiveState", &unit]).ok().stdout;
    assert_eq!(state, "active\n");
    call(&address, &["delete", "--force", &t.id]).ok();
    let nobody = format!("unix:path={}", t.path("nobody"));
    let outcome = call(&nobody, &["--systemd-cgroup", "create", &t.id]).failed().one_line();
    outcome.says(&["enable-linger"]);
    t.assert_clean();
}

#[test]
fn a_controller_that_is_not_delegated_is_named_with_the_way_to_get_it() {
    needs_delegation!();
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = format!("/sys/fs/cgroup{}/cgroup.controllers", own.trim().trim_start_matches("0::"));
    if !controllers.contains("hugetlb") || fs::read_to_string(own).unwrap().contains("hugetlb") {
        skip!("hugetlb is delegated here, or not there at all");
    }
    let mut t = sleeping();
    t.config["linux"]["resources"] = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]});
    let outcome = t.create().failed().one_line();
    outcome.says(&["linux.resources.hugepageLimits[0]"]).says(&["`hugetlb` to Delegate="]);
    t.assert_clean();
}

#[test]
fn a_network_is_joined_by_its_path() {
    let mut t = Sandbox::rootless();
    let file = t.path("network");
    fs::write(&file, "").unwrap();
    let made = format!("unshare --net={file} true; stat -Lc %i {file} > {file}.number");
    fs::write(format!("{file}.number"), "").unwrap();
    host_command("chmod", &["a+rw", &file, &format!("{file}.number")]).ok();
    t.args(&["readlink", "/proc/self/ns/net"]);
    crate::config::add_namespace(&mut t.config, "network", &file);
    let joined = |t: &Sandbox| {
        t.write_config();
        let said = t.spawn(t.in_user_namespace(&made, &["run", &t.id])).wait().ok().stdout;
        let number = fs::read_to_string(format!("{file}.number")).unwrap();
        assert_eq!(said.trim(), format!("net:[{}]", number.trim()));
    };
    // A user namespace in the one around it, and that one itself.
    for key in ["uidMappings", "gidMappings"] {
        t.config["linux"][key] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    }
    joined(&t);
    crate::config::drop_namespace(&mut t.config, "user");
    for key in ["uidMappings", "gidMappings"] {
        t.config["linux"].as_object_mut().unwrap().remove(key);
    }
    joined(&t);
    t.assert_clean();
}

/// A call of the runtime on a terminal of its own.
fn on_terminal(t: &Sandbox, args: &[&str]) -> String {
    let line = t.command(args);
    let words: Vec<String> = std::iter::once(line.get_program())
        .chain(line.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &words.join(" "), "/dev/null"]).current_dir(t.bundle());
    script.stdin(std::process::Stdio::null());
    t.spawn(script).wait().ok().stdout
}

#[test]
fn terminal_in_the_foreground() {
    let mut t = Sandbox::rootless();
    t.config["process"]["terminal"] = json!(true);
    t.args(&["tty"]);
    t.write_config();
    let said = on_terminal(&t, &["run", &t.id]);
    assert!(said.contains("/dev/pts/0"), "{said}");
    t.assert_clean();
}

#[test]
fn terminal_of_exec() {
    let t = sleeping();
    t.create().ok();
    t.start().ok();
    let said = on_terminal(&t, &["exec", "--tty", &t.id, "sh", "-c", "tty; echo uid=$(id -u)"]);
    assert!(said.contains("/dev/pts/0") && said.contains("uid=0"), "{said}");
    t.finish();
    t.assert_clean();
}

#[test]
fn groups_are_refused_where_setgroups_is_denied() {
    let t = sleeping();
    t.write_config();
    t.runtime(&["run", "--detach", &t.id]).ok();
    let exec = ["exec", "--additional-gids", "5", &t.id, "true"];
    let outcome = t.runtime(&exec).failed().one_line();
    outcome.says_in_oxrun("the user namespace denies setgroups; map the groups with newgidmap");
    t.finish();
}

/// Several ids are mapped by programs that a host may lack.
#[test]
fn helpers_that_are_not_there_are_named() {
    if !is_oxrun() {
        skip!("the words are oxrun's");
    }
    if !rustix::process::geteuid().is_root() {
        skip!("root hides the helpers");
    }
    let mut t = sleeping();
    for ids in ["uidMappings", "gidMappings"] {
        let one = t.config["linux"][ids][0]["hostID"].clone();
        t.config["linux"][ids] = json!([{"containerID": 0, "hostID": one, "size": 1},
            {"containerID": 1, "hostID": 200_000, "size": 10}]);
    }
    t.write_config();
    let hide = "mount -t tmpfs none /mnt; cp /usr/bin/setpriv /mnt; chmod 755 /mnt; \
                mount --bind /mnt /usr/bin; hash -r";
    let outcome = t.spawn(t.after_mounts(hide, &["create", &t.id])).wait().failed().one_line();
    outcome
        .says(&["the uid map (linux.uidMappings) needs newuidmap, which is not there: install it (uidmap)"]);
    t.assert_clean();
}
