//! The default config of an engine runs unchanged: only what names things of that engine's host
//! (root, sources of bind mounts, the prestart hook, the program, ids) points to what is here.

use crate::harness::{Sandbox, host_command, is_oxrun};
use crate::host;
use serde_json::{Value, json};
use std::fs;

const CONFIG: &str = include_str!("../data/docker-config.json");

/// A bundle with the engine's config.
fn engine() -> Sandbox {
    let mut t = Sandbox::new();
    t.config = serde_json::from_str(CONFIG).unwrap();
    let sources = ["resolv.conf", "hostname", "hosts"].map(|name| (name, t.path(name)));
    for (mount, (name, path)) in engine_binds(&mut t.config).into_iter().zip(sources) {
        fs::write(&path, format!("{name}\n")).unwrap();
        mount["source"] = json!(path);
    }
    t.config["root"]["path"] = json!(t.rootfs().to_str().unwrap());
    t.config["hooks"]["prestart"][0]["path"] = json!("/bin/true");
    t.config["linux"]["cgroupsPath"] = json!(format!("system.slice:docker:{}", t.id));
    t.config["process"]["env"].as_array_mut().unwrap().push(json!(format!("OXRUN_TEST={}", t.id)));
    if !host::has_capability(24) {
        // Without CAP_SYS_RESOURCE nobody can raise the limit above the test's own.
        let own = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        t.config["process"]["rlimits"][0] = json!({"type": "RLIMIT_NOFILE", "soft": own, "hard": own});
    }
    // The engine loads its profile itself.
    let loaded = fs::read_to_string("/sys/kernel/security/apparmor/profiles").unwrap_or_default();
    if !loaded.lines().any(|line| line.starts_with("docker-default ")) {
        t.config["process"].as_object_mut().unwrap().remove("apparmorProfile");
    }
    t.args(&["payload", "report"]);
    t
}

fn engine_binds(config: &mut Value) -> Vec<&mut Value> {
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.iter_mut().filter(|m| m["type"] == "bind").collect()
}

#[test]
fn config_runs_unchanged() {
    let mut t = engine();
    let report = t.report();
    assert_eq!(report["hostname"], "0123456789ab");
    assert_eq!(report["status"]["Seccomp"], "2");
    assert_eq!(report["status"]["CapEff"], "00000000a80425fb");
    assert_eq!(report["status"]["CapInh"], "0000000000000000");
    assert_eq!(report["status"]["NoNewPrivs"], "0");
    assert_eq!(report["status"]["Groups"], "0 10");
    assert_eq!(report["pid"], 1);
    let points: Vec<&str> =
        report["mounts"].as_array().unwrap().iter().map(|m| m["point"].as_str().unwrap()).collect();
    for point in [
        "/proc",
        "/dev",
        "/dev/pts",
        "/sys",
        "/sys/fs/cgroup",
        "/dev/mqueue",
        "/dev/shm",
        "/etc/resolv.conf",
        "/etc/hosts",
    ] {
        assert!(points.contains(&point), "{point} is missing: {points:?}");
    }
    t.assert_clean();
}

#[test]
fn values_are_in_force() {
    let mut t = engine();
    t.args(&["payload", "sleep", "5000"]);
    t.create().ok();
    let pid = t.pid();
    let file = |controller: &str, v1: &str, v2: &str| {
        let name = if host::is_cgroup_v2() { v2 } else { v1 };
        fs::read_to_string(host::cgroup_of(pid, controller).unwrap().join(name)).unwrap().trim().to_string()
    };
    assert_eq!(file("memory", "memory.limit_in_bytes", "memory.max"), "536870912");
    assert_eq!(file("pids", "pids.max", "pids.max"), "4096");
    let path = host::cgroup_of(pid, "pids").unwrap();
    assert!(path.to_str().unwrap().contains(&t.id), "{}", path.display());
    t.finish();
    t.assert_clean();
}

#[test]
fn files_and_sysctls_of_the_engine_are_there() {
    let mut t = engine();
    let result = t.actions(&[
        "read /etc/resolv.conf",
        "read /proc/sys/net/ipv4/ip_unprivileged_port_start",
        "bind-port 127.0.0.1:80",
        "read /proc/interrupts",
        "mkdir /sys/fs/cgroup/pids/x",
    ]);
    assert_eq!(result[0]["ok"], "resolv.conf\n");
    assert_eq!(result[1]["ok"], "0\n");
    assert_eq!(result[2]["ok"], true);
    assert_eq!(result[3]["ok"], "", "masked");
    assert!(result[4]["err"].is_string());
}

#[test]
fn lifecycle_as_the_engine_drives_it() {
    let mut t = engine();
    t.args(&["payload", "trap", "15"]).write_config();
    let (log, pid_file) = (t.path("log.json"), t.path("init.pid"));
    let bundle = t.bundle().display().to_string();
    let global = ["--log", &log, "--log-format", "json"];
    let call = |words: &[&str]| {
        let words: Vec<&str> = global.iter().copied().chain(words.iter().copied()).collect();
        t.runtime(&words)
    };
    call(&["create", "--bundle", &bundle, "--pid-file", &pid_file, &t.id]).ok();
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    call(&["start", &t.id]).ok();
    crate::harness::wait_until("ready", || t.printed().contains("ready"));
    call(&["kill", &t.id, "15"]).ok();
    assert_eq!(t.reap(pid), 0);
    call(&["delete", &t.id]).ok();
    call(&["delete", "--force", &t.id]).ok();
    t.assert_clean();
    assert_eq!(fs::read_to_string(&log).unwrap_or_default(), "", "nothing is logged when all is well");
}

#[test]
fn missing_program_is_logged_for_the_engine() {
    let mut t = engine();
    t.args(&["no-such-program"]).write_config();
    let log = t.path("log.json");
    t.runtime(&["--log", &log, "--log-format", "json", "create", &t.id]).failed();
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let error = lines.iter().rev().find(|l| l["level"] == "error").unwrap();
    assert!(error["msg"].as_str().unwrap().contains("executable file not found in $PATH"), "{error}");
    t.assert_clean();
}

/// An AppArmor profile of its own name, in the kernel as long as the value is there.
struct Profile(String);

impl Profile {
    fn load(t: &Sandbox) -> Profile {
        let file = t.path("profile");
        let rules =
            "file, capability, network, mount, umount, pivot_root, signal, ptrace, unix, deny /denied w,";
        let flags = "flags=(attach_disconnected,mediate_deleted)";
        fs::write(&file, format!("profile {} {flags} {{ {rules} }}\n", t.id)).unwrap();
        host_command("apparmor_parser", &["--skip-cache", "--replace", &file]).ok();
        Profile(file)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        let _ = std::process::Command::new("apparmor_parser").args(["--remove", &self.0]).status();
    }
}

#[test]
fn apparmor_profile_is_in_force() {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    if !enabled.starts_with('Y') || !std::path::Path::new("/sbin/apparmor_parser").exists() {
        skip!("this host has no AppArmor, or no apparmor_parser");
    }
    let mut t = engine();
    let profile = Profile::load(&t);
    t.config["process"]["apparmorProfile"] = json!(t.id);
    t.config["process"]["args"] = json!(["payload", "sleep", "5000"]);
    t.create().ok();
    t.start().ok();
    let script = "cat /proc/self/attr/apparmor/current; echo x > /allowed; echo x > /denied";
    let outcome = t.runtime(&["exec", &t.id, "sh", "-c", script]).failed();
    assert_eq!(outcome.stdout.trim(), format!("{} (enforce)", t.id));
    assert!(outcome.stderr.contains("/denied") && !outcome.stderr.contains("/allowed"), "{}", outcome.stderr);
    let current = fs::read_to_string(format!("/proc/{}/attr/apparmor/current", t.pid())).unwrap();
    assert_eq!(current.trim(), format!("{} (enforce)", t.id));
    t.finish();
    drop(profile);
    t.create().failed().says(&["apparmor", "AppArmor"]).one_line();
    t.assert_clean();
}

#[test]
fn apparmor_without_apparmor() {
    if std::path::Path::new("/sys/kernel/security/apparmor").exists() {
        skip!("this host has AppArmor");
    }
    let mut t = engine();
    t.config["process"]["apparmorProfile"] = json!("docker-default");
    let outcome = t.run();
    if !is_oxrun() && outcome.code == 0 {
        skip!("another runtime ignores a profile that cannot be applied");
    }
    outcome.failed().says(&["apparmor", "AppArmor"]).one_line();
    t.assert_clean();
}
