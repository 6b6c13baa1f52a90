//! Cgroups made by systemd: units, their properties, what stays after a reload, removal. Left out
//! where systemd is not process 1; `make test-v2` boots a machine where it is.

use crate::harness::{Sandbox, host_command, is_oxrun, patience};
use crate::host;
use serde_json::json;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

macro_rules! needs_systemd {
    () => {
        if !host::has_systemd() {
            skip!("systemd is not running here");
        }
    };
}

const MANAGER: &str = "--systemd-cgroup";

fn sandbox() -> Sandbox {
    let mut t = Sandbox::new();
    t.config["linux"]["cgroupsPath"] = json!(format!("system.slice:oxt:{}", t.id));
    t.args(&["payload", "sleep", "5000"]);
    t
}

fn unit(t: &Sandbox) -> String {
    format!("oxt-{}.scope", t.id)
}

fn create(t: &Sandbox) {
    t.write_config();
    t.runtime(&[MANAGER, "create", &t.id]).ok();
}

fn property(t: &Sandbox, name: &str) -> String {
    host_command("systemctl", &["show", "-P", name, &unit(t)]).ok().stdout.trim().to_string()
}

fn loaded(pattern: &str) -> String {
    let args = ["list-units", "--all", "--plain", "--no-legend", pattern];
    host_command("systemctl", &args).ok().stdout.trim().to_string()
}

fn directory(t: &Sandbox) -> PathBuf {
    host::cgroup_of(t.pid(), "pids").unwrap()
}

#[track_caller]
fn value(t: &Sandbox, file: &str) -> String {
    fs::read_to_string(directory(t).join(file)).unwrap().trim().to_string()
}

#[test]
fn scope_is_made_and_removed() {
    needs_systemd!();
    let t = sandbox();
    create(&t);
    assert!(directory(&t).ends_with(format!("system.slice/{}", unit(&t))), "{}", directory(&t).display());
    assert_eq!(property(&t, "ActiveState"), "active");
    assert_eq!(property(&t, "Delegate"), "yes");
    let processes = value(&t, "cgroup.procs");
    assert_eq!(processes, t.pid().to_string(), "only init is in the scope");
    t.start().ok();
    t.finish();
    assert_eq!(loaded(&unit(&t)), "");
    t.assert_clean();
}

#[test]
fn slices_with_dashes_are_nested() {
    needs_systemd!();
    let mut t = sandbox();
    t.config["linux"]["cgroupsPath"] = json!(format!("oxt-inner.slice:p:{}", t.id));
    create(&t);
    let end = format!("oxt.slice/oxt-inner.slice/p-{}.scope", t.id);
    assert!(directory(&t).ends_with(&end), "{}", directory(&t).display());
    t.finish();
    host_command("systemctl", &["stop", "oxt-inner.slice", "oxt.slice"]).ok();
    t.assert_clean();
}

#[test]
fn limits_are_properties_and_stay_after_a_reload() {
    needs_systemd!();
    if !host::is_cgroup_v2() {
        skip!("the values are those of cgroup v2");
    }
    let mut t = sandbox();
    t.config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
    t.config["linux"]["resources"]["pids"] = json!({"limit": 1});
    t.config["linux"]["resources"]["cpu"] = json!({"quota": 30000, "shares": 512, "cpus": "0"});
    create(&t);
    let expected =
        [("memory.max", "67108864"), ("pids.max", "1"), ("cpu.max", "30000 100000"), ("cpuset.cpus", "0")];
    for (file, want) in expected {
        assert_eq!(value(&t, file), want, "{file}");
    }
    assert_eq!(property(&t, "MemoryMax"), "67108864");
    host_command("systemctl", &["daemon-reload"]).ok();
    for (file, want) in expected {
        assert_eq!(value(&t, file), want, "{file} after the reload");
    }
    t.runtime(&["update", "--pids-limit", "20", "--memory", "33554432", "--cpu-quota", "20000", &t.id]).ok();
    host_command("systemctl", &["daemon-reload"]).ok();
    assert_eq!(property(&t, "TasksMax"), "20");
    for (file, want) in [("memory.max", "33554432"), ("pids.max", "20"), ("cpu.max", "20000 100000")] {
        assert_eq!(value(&t, file), want, "{file} after the update and a reload");
    }
}

#[test]
fn device_rules_stay_after_a_reload() {
    needs_systemd!();
    let mut t = sandbox();
    crate::config::set_capabilities(&mut t.config, &["CAP_MKNOD", "CAP_DAC_OVERRIDE"]);
    let rule = json!({"allow": true, "type": "c", "major": 1, "minor": 200, "access": "r"});
    t.config["linux"]["resources"]["devices"].as_array_mut().unwrap().push(rule);
    let words = [
        "payload",
        "do",
        "mknod /dev/odd c 1 200",
        "open /dev/odd r",
        "open /dev/odd w",
        "open /dev/null rw",
    ];
    t.args(&words);
    create(&t);
    host_command("systemctl", &["daemon-reload"]).ok();
    t.start().ok();
    t.wait_status("stopped");
    let printed = t.printed();
    let result: serde_json::Value =
        serde_json::from_str(printed.lines().find(|l| l.starts_with('[')).unwrap_or("null")).unwrap();
    assert_eq!(result[1]["err"], "ENXIO", "allowed: {printed}");
    assert_eq!(result[2]["err"], "EPERM", "denied: {printed}");
    assert_eq!(result[3]["ok"], true, "{printed}");
}

#[test]
fn annotations_are_typed_and_few() {
    needs_systemd!();
    let mut t = sandbox();
    t.config["annotations"] = json!({"org.systemd.property.TimeoutStopSec": "7"});
    create(&t);
    assert_eq!(property(&t, "TimeoutStopUSec"), "7s");
    t.finish();
    for (name, text) in [("ExecStopPost", "'/bin/true'"), ("TimeoutStopUSec", "'soon'"), ("User", "'root'")] {
        t.config["annotations"] = json!({format!("org.systemd.property.{name}"): text});
        t.write_config();
        let outcome = t.runtime(&[MANAGER, "create", &t.id]).failed();
        outcome.says_in_oxrun(&format!("org.systemd.property.{name}")).one_line();
        t.assert_clean();
    }
}

#[test]
fn wrong_names_are_refused() {
    needs_systemd!();
    let mut t = sandbox();
    for path in ["/a/b", "a:b", "x:y:z", "a--b.slice:p:n", "system.slice:p:a/../b", "../x.slice:p:n"] {
        t.config["linux"]["cgroupsPath"] = json!(path);
        t.write_config();
        t.runtime(&[MANAGER, "create", &t.id]).failed().says_in_oxrun("cgroupsPath").one_line();
        t.assert_clean();
    }
}

#[test]
fn a_unit_in_use_is_refused_and_left_alone() {
    needs_systemd!();
    let t = sandbox();
    create(&t);
    let other = t.other_id("second");
    t.runtime(&[MANAGER, "create", &other]).failed().says_in_oxrun(&unit(&t)).one_line();
    t.runtime(&["delete", "--force", &other]).ok();
    assert_eq!(t.status(), "created");
    assert_eq!(property(&t, "ActiveState"), "active");
}

#[test]
fn failed_units_are_reset() {
    needs_systemd!();
    let mut t = sandbox();
    // Init of a pid namespace does not end by SIGTERM, and a stop that takes too long is a failure.
    t.config["annotations"] = json!({"org.systemd.property.TimeoutStopSec": "1"});
    create(&t);
    t.start().ok();
    host_command("systemctl", &["stop", &unit(&t)]).ok();
    assert_eq!(property(&t, "ActiveState"), "failed");
    t.wait_status("stopped");
    t.finish();
    assert_eq!(loaded(&unit(&t)), "");
    t.assert_clean();
}

#[test]
fn failed_create_leaves_no_unit() {
    needs_systemd!();
    let mut t = sandbox();
    t.args(&["/no/such/program"]);
    t.write_config();
    t.runtime(&[MANAGER, "create", &t.id]).failed().one_line();
    assert_eq!(loaded(&unit(&t)), "");
    t.assert_clean();
}

/// A directory with a socket `private` on which nobody ever answers.
fn deaf(t: &Sandbox) -> (String, UnixListener) {
    let directory = t.path("run/systemd");
    fs::create_dir_all(&directory).unwrap();
    let listener = UnixListener::bind(format!("{directory}/private")).unwrap();
    host_command("chmod", &["-R", "a+rwX", &t.path("run")]).ok();
    (directory, listener)
}

#[test]
fn a_bus_that_hangs_is_an_error_in_time() {
    if !is_oxrun() {
        skip!("a promise of oxrun");
    }
    let t = Sandbox::rootless();
    let _listener = deaf(&t);
    t.write_config();
    for (time, says) in [("", "waited 5 s"), ("2", "waited 2 s"), ("soon", "OXRUN_SYSTEMD_TIMEOUT")] {
        let mut command = t.command(&[MANAGER, "create", &t.id]);
        command.env("XDG_RUNTIME_DIR", t.path("run")).env("OXRUN_SYSTEMD_TIMEOUT", time);
        let outcome = t.spawn(command).wait().failed().says(&[says]).one_line();
        outcome.says(&[&format!("oxrun-{}.scope", t.id)]);
        t.assert_clean();
    }
}

#[test]
fn a_manager_that_hangs_is_an_error_in_time() {
    needs_systemd!();
    let t = sandbox();
    create(&t);
    let (directory, _listener) = deaf(&t);
    let hidden = format!("mount --bind {directory} /run/systemd");
    let other = t.other_id("second");
    let call = |words: &[&str]| {
        let mut command = t.after_mounts(&hidden, words);
        command.env("OXRUN_SYSTEMD_TIMEOUT", "2");
        t.spawn(command).wait()
    };
    fs::write(t.bundle().join("config.json"), second(&t).to_string()).unwrap();
    let outcome = call(&[MANAGER, "create", &other]).failed().says_in_oxrun("waited 2 s").one_line();
    outcome.says_in_oxrun(&format!("oxt-{other}.scope"));
    let before = (value(&t, "pids.max"), property(&t, "TasksMax"));
    call(&["update", "--pids-limit", "77", &t.id]).failed().says_in_oxrun("waited 2 s").one_line();
    assert_eq!((value(&t, "pids.max"), property(&t, "TasksMax")), before, "the update is undone");
    call(&["delete", "--force", &t.id]).failed().says_in_oxrun("waited 2 s").one_line();
    t.finish();
    assert_eq!(loaded(&format!("oxt-{}*", t.id)), "");
    t.assert_clean();
}

/// The config with the unit of another container.
fn second(t: &Sandbox) -> serde_json::Value {
    let mut config = t.config.clone();
    config["linux"]["cgroupsPath"] = json!(format!("system.slice:oxt:{}", t.other_id("second")));
    config
}

/// Process 1 itself stops, with all that it has accepted. For a machine of its own: no other test
/// gets an answer meanwhile.
#[test]
#[ignore = "freezes process 1; `make test-v2`"]
fn a_frozen_process_1_is_an_error_in_time() {
    needs_systemd!();
    if !host::is_cgroup_v2() {
        skip!("of cgroup v2 alone");
    }
    let freezer = "/sys/fs/cgroup/init.scope/cgroup.freeze";
    let t = sandbox();
    t.write_config();
    fs::write(freezer, "1").unwrap();
    let mut command = t.command(&[MANAGER, "create", &t.id]);
    command.env("OXRUN_SYSTEMD_TIMEOUT", "5");
    let outcome = t.spawn(command).wait();
    fs::write(freezer, "0").unwrap();
    outcome.failed().says_in_oxrun("waited 5 s").says_in_oxrun(&unit(&t)).one_line();
    assert_eq!(loaded(&unit(&t)), "");
    t.assert_clean();
    create(&t);
    t.finish();
    assert_eq!(loaded(&unit(&t)), "");
}

/// A job that is accepted and then waits for another that takes its time.
#[test]
fn a_job_that_does_not_end_is_taken_back() {
    needs_systemd!();
    let mut t = sandbox();
    let slow = format!("{}slow.service", t.id);
    let words = ["--no-block", "--unit", &slow, "-p", "Type=oneshot", "sleep", "5000"];
    host_command("systemd-run", &words).ok();
    t.config["annotations"] = json!({"org.systemd.property.After": format!("['{slow}']")});
    t.write_config();
    let mut command = t.command(&[MANAGER, "create", &t.id]);
    // Long enough for the job to be accepted.
    command.env("OXRUN_SYSTEMD_TIMEOUT", (5 + 3 * patience()).to_string());
    let outcome = t.spawn(command).wait();
    let left = loaded(&unit(&t));
    host_command("systemctl", &["stop", &slow]).ok();
    outcome.failed().says_in_oxrun("the end of its start job").says_in_oxrun(&unit(&t)).one_line();
    assert_eq!(left, "");
    t.assert_clean();
}

#[test]
fn the_system_bus_serves_where_the_private_socket_does_not() {
    needs_systemd!();
    let t = sandbox();
    t.write_config();
    let closed = "mount --bind /dev/null /run/systemd/private";
    t.spawn(t.after_mounts(closed, &[MANAGER, "create", &t.id])).wait().ok();
    assert_eq!(property(&t, "ActiveState"), "active");
    t.spawn(t.after_mounts(closed, &["delete", "--force", &t.id])).wait().ok();
    assert_eq!(loaded(&unit(&t)), "");
    t.assert_clean();
}

#[test]
fn nobody_to_ask_is_a_clear_error() {
    needs_systemd!();
    let t = sandbox();
    t.write_config();
    fs::create_dir(t.path("empty")).unwrap();
    let hidden = format!("for d in systemd dbus; do mount --bind {} /run/$d; done", t.path("empty"));
    let outcome = t.spawn(t.after_mounts(&hidden, &[MANAGER, "create", &t.id])).wait().failed().one_line();
    outcome.says_in_oxrun("systemd cannot be reached").says_in_oxrun(&unit(&t));
    t.assert_clean();
}

#[test]
fn commands_that_only_look_ask_nobody() {
    needs_systemd!();
    let t = sandbox();
    create(&t);
    t.start().ok();
    let (directory, listener) = deaf(&t);
    let hidden = format!("for d in systemd dbus; do mount --bind {directory} /run/$d; done");
    let id = t.id.as_str();
    for words in [
        vec!["state", id],
        vec!["ps", id],
        vec!["events", "--stats", id],
        vec!["exec", id, "true"],
        vec!["pause", id],
        vec!["state", id],
        vec!["resume", id],
        vec!["list"],
        vec!["kill", id, "USR1"],
        vec!["kill", "--all", id, "KILL"],
    ] {
        t.spawn(t.after_mounts(&hidden, &words)).wait().ok();
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "somebody connected to systemd's socket");
    t.finish();
    t.assert_clean();
}

/// A cgroup that somebody made where the unit's is to be.
fn occupied(t: &Sandbox) -> PathBuf {
    let hierarchy = if host::is_cgroup_v2() { "" } else { "systemd/" };
    let directory = PathBuf::from(format!("/sys/fs/cgroup/{hierarchy}system.slice/{}", unit(t)));
    fs::create_dir(&directory).unwrap();
    directory
}

#[test]
fn a_cgroup_with_processes_is_refused_and_left_alone() {
    needs_systemd!();
    let t = sandbox();
    let directory = occupied(&t);
    let mut stranger = std::process::Command::new("sleep").arg("5000").spawn().unwrap();
    let pid = stranger.id().to_string();
    fs::write(directory.join("cgroup.procs"), &pid).unwrap();
    t.write_config();
    let outcome = t.runtime(&[MANAGER, "create", &t.id]);
    let alive = stranger.try_wait().unwrap().is_none();
    let there = fs::read_to_string(directory.join("cgroup.procs")).unwrap();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    outcome.failed().says_in_oxrun("not empty").one_line();
    assert!(alive, "the process was killed");
    assert_eq!(there.trim(), pid);
    assert_eq!(loaded(&unit(&t)), "");
    fs::remove_dir(directory).unwrap();
    t.assert_clean();
}

#[test]
fn a_frozen_cgroup_is_refused() {
    needs_systemd!();
    if !host::is_cgroup_v2() {
        skip!("systemd has no freezer on cgroup v1");
    }
    let t = sandbox();
    let directory = occupied(&t);
    fs::write(directory.join("cgroup.freeze"), "1").unwrap();
    t.write_config();
    t.runtime(&[MANAGER, "create", &t.id]).failed().says_in_oxrun("frozen").one_line();
    assert_eq!(loaded(&unit(&t)), "");
    fs::write(directory.join("cgroup.freeze"), "0").unwrap();
    create(&t);
    t.finish();
    t.assert_clean();
}

#[test]
fn refused_limits_leave_no_unit() {
    needs_systemd!();
    let mut t = sandbox();
    let good = t.config["linux"]["resources"].clone();
    for (member, limits) in [
        ("cpu", json!({"cpus": "4000"})),
        ("cpu", json!({"period": 1})),
        ("hugepageLimits", json!([{"pageSize": "3MB", "limit": 1}])),
        ("memory", json!({"limit": 4096})),
    ] {
        t.config["linux"]["resources"] = good.clone();
        t.config["linux"]["resources"][member] = limits;
        t.write_config();
        t.runtime(&[MANAGER, "create", &t.id]).failed().one_line();
        assert_eq!(loaded(&unit(&t)), "", "{member}");
        t.assert_clean();
    }
}

/// Calls the runtime for a hundred containers, by eight at a time.
fn for_hundred(t: &Sandbox, words: &(dyn Fn(&str) -> Vec<String> + Sync)) {
    let next = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= 100 {
                        return;
                    }
                    let words = words(&t.other_id(&number.to_string()));
                    t.runtime(&words.iter().map(String::as_str).collect::<Vec<_>>()).ok();
                }
            });
        }
    });
}

#[test]
#[ignore = "long; `make test-v2`"]
fn a_hundred_at_once_leave_nothing() {
    needs_systemd!();
    let mut t = sandbox();
    t.config["linux"]["cgroupsPath"] = json!("");
    t.args(&["payload", "sleep", "5000"]).write_config();
    let units = || loaded(&format!("oxrun-{}*", t.id)).lines().count();
    let call = |words: &'static [&str]| {
        move |id: &str| words.iter().map(ToString::to_string).chain([id.to_string()]).collect()
    };
    for_hundred(&t, &call(&[MANAGER, "create"]));
    assert_eq!((units(), host::cgroups_with(&t.id).len()), (100, 100));
    for_hundred(&t, &call(&["start"]));
    for_hundred(&t, &call(&["delete", "--force"]));
    assert_eq!(units(), 0);
    t.assert_clean();
}

#[test]
fn many_at_once_leave_nothing() {
    needs_systemd!();
    let mut t = sandbox();
    t.config["linux"]["cgroupsPath"] = json!("");
    t.args(&["true"]).write_config();
    let ids: Vec<String> = (0..12).map(|number| t.other_id(&number.to_string())).collect();
    std::thread::scope(|scope| {
        for id in &ids {
            let t = &t;
            scope.spawn(move || t.runtime(&[MANAGER, "run", id]).ok());
        }
    });
    assert_eq!(loaded(&format!("oxrun-{}*", t.id)), "");
    t.assert_clean();
}

#[test]
fn unit_of_another_is_not_stopped_with_a_half_made_container() {
    needs_systemd!();
    if !is_oxrun() {
        skip!("another runtime has other states");
    }
    // A create that was killed before it had its unit, and whose unit's name is another's by now.
    let t = sandbox();
    create(&t);
    t.start().ok();
    for command in [&["gc", "--force"][..], &["delete", "--force", "half"]] {
        let (from, to) = (t.state_dir().join(&t.id), t.state_dir().join("half"));
        host_command("cp", &["-a", from.to_str().unwrap(), to.to_str().unwrap()]).ok();
        let text = fs::read_to_string(to.join("state.json")).unwrap();
        let mut state: serde_json::Value = serde_json::from_str(&text).unwrap();
        state["id"] = json!("half");
        state["phase"] = json!("creating");
        state["creator"]["start_time"] = json!(1);
        state["init"] = json!(null);
        state["cgroup"]["systemd"]["cgroups"] = json!("none");
        fs::write(to.join("state.json"), state.to_string()).unwrap();
        t.runtime(command).ok();
        assert!(!to.exists(), "{command:?}");
        assert_eq!(t.status(), "running", "{command:?}");
        assert_eq!(property(&t, "ActiveState"), "active", "{command:?}");
    }
    t.finish();
    assert_eq!(loaded(&unit(&t)), "");
}
