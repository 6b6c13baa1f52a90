//! The errors of cgroup v2, also on a host where its controllers are those of cgroup v1: its hierarchy is
//! then mounted alone, in a mount namespace of each call.

use crate::config;
use crate::errors::cause_in;
use crate::harness::Sandbox;
use serde_json::json;
use std::process::Command;

fn alone(t: &Sandbox, words: &[&str]) -> Command {
    t.after_mounts("mount -t cgroup2 none /sys/fs/cgroup", words)
}

fn change(t: &mut Sandbox) {
    t.config["linux"]["cgroupsPath"] = json!(format!("/{}", t.id));
}

#[test]
fn cgroup() {
    let table = r"
        nothing: create ID ! host bpf = EINVAL
            linux.resources.devices: load the device program: invalid argument
        nothing: create ID ! host bpf #1 = EINVAL
            linux.resources.devices: attach the device program: invalid argument
        nothing: create ID ! host fcntl /ID 0x406 = EMFILE
            duplicate a cgroup descriptor: too many open files
        nothing: create ID ! host openat /cgroup.subtree_control = EMFILE
            read `/sys/fs/cgroup//cgroup.subtree_control`: too many open files
        running: kill --all ID KILL ! host write /cgroup.kill = EIO
            write `1` to `/sys/fs/cgroup/ID/cgroup.kill`: input/output error
        running: pause ID ! host pread64 /cgroup.events #0+ = 0
            freeze `/sys/fs/cgroup/ID`: a process does not stop within 2 s; it runs on
        running: pause ID ! host pread64 /cgroup.events = EIO
            read `/sys/fs/cgroup/ID/cgroup.events`: input/output error
        running: pause ID ! host openat /cgroup.events = EMFILE
            open `/sys/fs/cgroup/ID/cgroup.events`: too many open files
        ";
    cause_in(table, change, alone);
    let table = r"
        nothing: create ID ! host bpf #1 = EPERM
            query device programs: operation not permitted
        ";
    let there_before = |t: &Sandbox, words: &[&str]| {
        // Made before, and so left by the runtime.
        let directory = format!("/sys/fs/cgroup/{}", t.id);
        let step = if words[0] == "create" { "mkdir" } else { "rmdir" };
        t.after_mounts(&format!("mount -t cgroup2 none /sys/fs/cgroup; {step} {directory} || :"), words)
    };
    cause_in(table, change, there_before);
    let table = r"
        nothing: create ID ! host fchownat /ID/cgroup.procs = EPERM
            give `/sys/fs/cgroup/ID/cgroup.procs` to user 100000: operation not permitted
        ";
    let in_users = |t: &mut Sandbox| {
        change(t);
        t.map_users(100_000);
        config::add_mount(&mut t.config, "/sys/fs/cgroup", "cgroup", "cgroup", &["rw"]);
    };
    cause_in(table, in_users, alone);
    let table = r"
        nothing: create ID ! host open /proc/self/mountinfo = EMFILE
            read /proc/self/mountinfo: too many open files
        ";
    let hidden = |t: &Sandbox, words: &[&str]| t.after_mounts("mount -t tmpfs none /sys/fs/cgroup", words);
    cause_in(table, |_| {}, hidden);
}
