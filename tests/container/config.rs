//! config.json as a JSON value: the default one and small changes to it. Called by the harness
//! and by every test that wants something special.

use serde_json::{Value, json};

/// What `spec` writes, without a terminal, with a writable root and a marker in the environment
/// by which the harness finds the processes of a test.
pub fn default(marker: &str) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": process(marker),
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "box",
        "mounts": mounts(),
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                {"type": "cgroup"},
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

fn process(marker: &str) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "terminal": false,
        "user": {"uid": 0, "gid": 0},
        "args": ["payload", "report"],
        "env": ["PATH=/usr/local/bin:/usr/bin:/bin", "TERM=xterm", format!("OXRUN_TEST={marker}")],
        "cwd": "/",
        "capabilities": {
            "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": true,
    })
}

fn mounts() -> Value {
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
         "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs",
         "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
         "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
    ])
}

/// Appends a mount.
pub fn add_mount(config: &mut Value, destination: &str, kind: &str, source: &str, options: &[&str]) {
    let mount = json!({"destination": destination, "type": kind, "source": source, "options": options});
    config["mounts"].as_array_mut().unwrap().push(mount);
}

/// Removes the mount on a destination.
pub fn drop_mount(config: &mut Value, destination: &str) {
    config["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != destination);
}

/// Removes the namespaces of a kind, so that the host's is inherited.
pub fn drop_namespace(config: &mut Value, kind: &str) {
    config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != kind);
}

/// Adds a namespace; an empty path makes a new one.
pub fn add_namespace(config: &mut Value, kind: &str, path: &str) {
    drop_namespace(config, kind);
    let namespace = if path.is_empty() { json!({"type": kind}) } else { json!({"type": kind, "path": path}) };
    config["linux"]["namespaces"].as_array_mut().unwrap().push(namespace);
}

/// A new user namespace that maps 0..65536 to `outside` and up.
pub fn add_user_namespace(config: &mut Value, outside: u32) {
    add_namespace(config, "user", "");
    let map = json!([{"containerID": 0, "hostID": outside, "size": 65536}]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
}

/// The same capabilities in the bounding, effective and permitted sets.
pub fn set_capabilities(config: &mut Value, names: &[&str]) {
    config["process"]["capabilities"] = json!({"bounding": names, "effective": names, "permitted": names});
}

/// A hook that runs a shell script on the host's shell.
pub fn shell_hook(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
}

/// The host's mount namespace, and nothing that needs another.
pub fn share_mounts(config: &mut Value) {
    drop_namespace(config, "mount");
    config["linux"]["maskedPaths"] = json!([]);
    config["linux"]["readonlyPaths"] = json!([]);
    drop_mount(config, "/sys");
    drop_mount(config, "/sys/fs/cgroup");
}
