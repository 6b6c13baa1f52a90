//! Cgroups made by systemd: units, their properties, what stays after a reload, removal. Left out
//! where systemd is not process 1; `make test-v2` boots a machine where it is.

use crate::harness::{Sandbox, host_command, is_oxrun, runtime};
use crate::host;
use serde_json::json;
use std::fs;
use std::path::PathBuf;

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
    t.args(&["payload", "sleep", "60"]);
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
    t.config["annotations"] =
        json!({"org.systemd.property.RuntimeMaxSec": "8", "org.systemd.property.KillSignal": "9"});
    create(&t);
    t.start().ok();
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

/// The manager does not answer: here a socket on which nobody does.
#[test]
fn a_bus_that_hangs_is_an_error_in_time() {
    if !is_oxrun() {
        skip!("a promise of oxrun");
    }
    let t = Sandbox::rootless();
    let directory = t.dir().join("run/systemd");
    fs::create_dir_all(&directory).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(directory.join("private")).unwrap();
    host_command("chmod", &["-R", "a+rwX", &t.path("run")]).ok();
    t.write_config();
    let mut command = t.command(&[MANAGER, "create", &t.id]);
    command.env("XDG_RUNTIME_DIR", t.path("run"));
    let start = std::time::Instant::now();
    t.spawn(command).wait().failed().says(&["waited 5 s"]).one_line();
    assert!(start.elapsed().as_secs() >= 4);
    t.assert_clean();
}

/// 100 containers, eight at a time, and then nothing is left of them.
#[test]
fn many_at_once_leave_nothing() {
    needs_systemd!();
    let t = sandbox();
    let mut config = t.config.clone();
    config["linux"]["cgroupsPath"] = json!("");
    fs::write(t.bundle().join("config.json"), config.to_string()).unwrap();
    let script = "one() { i=$(expr $1 + 0); \
        \"$R\" --root \"$S\" --systemd-cgroup create \"$ID$1\" && \"$R\" --root \"$S\" start \"$ID$1\" && \
        \"$R\" --root \"$S\" delete --force \"$ID$1\" || echo bad $1; }; \
        for w in 0 1 2 3 4 5 6 7; do (i=$w; while [ $i -lt 100 ]; do one $i </dev/null >/dev/null 2>>\"$S.err\" \
        || echo bad $i >> \"$S.err\"; i=$((i+8)); done) & done; wait; cat \"$S.err\"";
    let mut child = std::process::Command::new("sh")
        .args(["-c", script])
        .current_dir(t.bundle())
        .env("R", runtime())
        .env("S", t.state_dir())
        .env("ID", &t.id)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut said).unwrap();
    child.wait().unwrap();
    assert_eq!(said, "");
    assert_eq!(loaded(&format!("oxrun-{}*", t.id)), "");
    t.assert_clean();
}
