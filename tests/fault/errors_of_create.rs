//! The errors of making a container and of looking after it: the launch, hooks, the foreground, the
//! terminal, readiness, the pid file, mounts of a running container.

use crate::config;
use crate::errors::{cause, cause_in};
use crate::harness::Sandbox;
use serde_json::json;
use std::process::Command;

#[test]
fn launch() {
    cause(
        r"
        nothing: create --pid-file DIR/pid ID ! host unlinkat #0 = EROFS
            write pid file `DIR/pid`: read-only file system
        nothing: create --pid-file DIR/pid ID ! host renameat /pid = ENOSPC
            write pid file `DIR/pid`: no space left on device
        nothing: create ID ! host sendmsg = ENOBUFS
            send to the other side: no buffer space available
        nothing: create --pid-file DIR/pid ID ! host flock /ID = ENOLCK
            unlock `ID`: no locks available
        nothing: create ID ! host openat /.config.json = ENOSPC
            write config.json of `ID`: no space left on device
        nothing: create ID ! host prctl 0x4 = EINVAL
            forbid tracing: invalid argument
        nothing: create ID ! host rt_sigprocmask #0 = EINVAL
            block signals: invalid argument
        nothing: create ID ! host rt_sigprocmask #1 = EINVAL
            restore the signal mask: invalid argument
        nothing: create ID ! host clone3 = ENOSPC
            no space left on device; a limit in /proc/sys/user/max_*_namespaces is reached
        nothing: create ID ! host clone3 = EPERM
            operation not permitted; creating them needs root, or a user namespace in linux.namespaces
        nothing: create ID ! host clone3 = EAGAIN
            resource temporarily unavailable; the limit of processes (RLIMIT_NPROC or pids.max) is reached
        nothing: create ID ! host prlimit64 #1 = EPERM
            read RLIMIT_NOFILE: operation not permitted
        nothing: create ID ! host/0 sethostname = KILL
            container init was killed by signal 9 before it was ready
        nothing: create ID ! host open /proc/self/cgroup = EMFILE
            read /proc/self/cgroup: too many open files
        nothing: create ID ! host fcntl /unified/ID 0x406 = EMFILE
            duplicate a cgroup descriptor: too many open files
        nothing: create ID ! host openat /devices.deny = EMFILE
            linux.resources.devices: open `/sys/fs/cgroup/devices/ID/devices.deny`: too many open files
        nothing: create ID ! host write /devices.deny = EPERM
            linux.resources.devices: write `a` to `/sys/fs/cgroup/devices/ID/devices.deny`: operation not permitted
        nothing: create ID ! host write /cpuset.cpus = ENOSPC
            give cpuset `/sys/fs/cgroup/cpuset/ID` its parent's CPUs: no space left on device
        nothing: create ID ! host mkdirat /pids/ID = ENOSPC
            no space left on device: the kernel's number of memory cgroups (65535) is used up
        nothing: create ID ! host mkdirat ID = EAGAIN
            a parent's cgroup.max.depth or cgroup.max.descendants is reached
        nothing: create ID ! host fstatfs /sys/fs/cgroup/pids = EIO
            statfs of the cgroup hierarchy
        ",
    );
}

fn changed(table: &str, change: impl FnOnce(&mut Sandbox)) {
    cause_in(table, change, Sandbox::command);
}

#[test]
fn hooks() {
    let table = r"
        nothing: create ID ! host rt_sigaction #1 = EINVAL
            error running createRuntime hook #0: `/bin/true`: reset SIGCHLD: invalid argument
        nothing: create ID ! host rt_sigaction #2 = EINVAL
            error running createRuntime hook #0: `/bin/true`: ignore SIGPIPE: invalid argument
        nothing: create ID ! host pipe2 = EMFILE
            `/bin/true`: make a pipe for the hook: too many open files
        nothing: create ID ! host fcntl ] 0x406 = EMFILE
            `/bin/true`: duplicate a descriptor for the hook: too many open files
        nothing: create ID ! host clone = EAGAIN
            `/bin/true`: start a process for it: resource temporarily unavailable
        nothing: create ID ! host fcntl ] 0x3 = EIO
            `/bin/true`: read the flags of a pipe: input/output error
        nothing: create ID ! host fcntl ] 0x4 = EIO
            `/bin/true`: set up a pipe: input/output error
        nothing: create ID ! host ppoll = ENOMEM
            `/bin/true`: wait for the hook: cannot allocate memory
        nothing: create ID ! host waitid = EINVAL
            `/bin/true`: wait for the hook: invalid argument
        ";
    changed(table, |t| t.config["hooks"] = json!({"createRuntime": [{"path": "/bin/true"}]}));
    let table = r"
        nothing: create ID ! host write ] = EIO
            `/bin/sleep`: write the state to its stdin: input/output error
        ";
    let sleep = json!({"path": "/bin/sleep", "args": ["sleep", "1"]});
    changed(table, |t| t.config["hooks"] = json!({"createRuntime": [sleep]}));
}

#[test]
fn foreground() {
    cause(
        r"
        nothing: run ID ! host rt_sigprocmask = EINVAL
            block signals: invalid argument
        nothing: run ID ! host prctl 0x24 = EINVAL
            become a subreaper: invalid argument
        ",
    );
    let table = r"
        nothing: run ID ! host pidfd_send_signal = EPERM
            pass signal 12 on to the container: operation not permitted
        ";
    changed(table, |t| {
        config::drop_namespace(&mut t.config, "pid");
        t.args(&["sh", "-c", "kill -USR2 $PPID; exit 0"]);
    });
    let table = r"
        nothing: run ID ! host wait4 = 0
            it ended, but is not a child of this process
        ";
    changed(table, |t| {
        t.args(&["true"]);
    });
}

#[test]
fn terminal() {
    let table = r"
        nothing: run ID ! host/0 ioctl /ptmx #0 = EIO
            unlock the new terminal; is /dev/ptmx a ptmx of devpts?: input/output error
        nothing: run ID ! host/0 ioctl /ptmx #1 = EIO
            open the other side of the terminal: input/output error
        nothing: run ID ! host/0 ioctl /pts/0 #0 = EIO
            read the modes of the new terminal: input/output error
        nothing: run ID ! host/0 ioctl /pts/0 #1 = EIO
            set the modes of the new terminal: input/output error
        nothing: run ID ! host/0 ioctl /ptmx #2 = EIO
            set the size of the terminal: input/output error
        nothing: run ID ! host fcntl /ptmx 0x3 = EIO
            read the flags of the terminal: input/output error
        nothing: run ID ! host fcntl /ptmx 0x4 = EIO
            set up the terminal: input/output error
        ";
    changed(table, |t| {
        t.config["process"]["terminal"] = json!(true);
        t.config["process"]["consoleSize"] = json!({"height": 10, "width": 20});
        t.args(&["true"]);
    });
}

/// A service manager is there.
fn notified(t: &Sandbox, words: &[&str]) -> Command {
    let mut command = t.command(words);
    command.env("NOTIFY_SOCKET", t.path("manager"));
    command
}

#[test]
fn readiness() {
    let table = r"
        nothing: create ID ! host mkdirat /notify = ENOSPC
            make the directory for NOTIFY_SOCKET: no space left on device
        nothing: run ID ! host bind = ENOSPC
            open the container's notification socket (NOTIFY_SOCKET): no space left on device
        nothing: run -d ID ! host ppoll = ENOMEM
            wait for the container to be ready: cannot allocate memory
        ";
    cause_in(table, |_| {}, notified);
}

#[test]
fn mounts_of_a_running_container() {
    let table = r"
        running: mounts add ID DIR/mounts ! host openat DIR/mounts = EMFILE
            read mounts from `DIR/mounts`: too many open files
        running: mounts add ID DIR/mounts ! host read DIR/mounts = EIO
            read mounts from `DIR/mounts`: input/output error
        running: mounts add ID DIR/mounts ! host rt_sigprocmask = EINVAL
            block signals: invalid argument
        running: mounts add ID DIR/mounts ! host clone3 = EAGAIN
            clone a process into the container: resource temporarily unavailable
        running: mounts add ID DIR/mounts ! host waitid = ECHILD
            wait for the process in the container: no child processes
        running: mounts add ID DIR/mounts ! host/0 move_mount = KILL
            the process in the container was killed
        ";
    changed(table, |t| {
        let mounts = json!([{"destination": "/mnt", "source": "/usr", "options": ["bind"]}]);
        std::fs::write(t.path("mounts"), mounts.to_string()).unwrap();
    });
}

#[test]
fn without_a_mount_namespace() {
    let table = r"
        nothing: create ID ! host statx /rootfs = EIO
            look at the root filesystem `DIR/bundle/rootfs`: input/output error
        stopped: delete ID ! host umount2 /rootfs = EPERM
            unmount `DIR/bundle/rootfs`: operation not permitted
        running: exec ID true ! host open DIR/bundle/rootfs = EMFILE
            open the container's root `DIR/bundle/rootfs`: too many open files
        ";
    changed(table, |t| config::share_mounts(&mut t.config));
}

#[test]
fn sources_of_mounts() {
    let table = r"
        nothing: create ID ! host open . = EMFILE
            keep the working directory: too many open files
        nothing: create ID ! host open /proc/self/ns/mnt = EMFILE
            keep the mount namespace: too many open files
        nothing: create ID ! host setns = EPERM
            enter the container's mount namespace: operation not permitted
        nothing: create ID ! host open_tree /data = EMFILE
            clone `DIR/data`: too many open files
        nothing: create ID ! host setns #1 = EPERM
            return to the host's mount namespace: operation not permitted
        nothing: create ID ! host fchdir = EIO
            return to the working directory: input/output error
        nothing: create ID ! host mount_setattr = EINVAL
            map the ids of the mount; the filesystem or the kernel may not support it: invalid argument
        nothing: create ID ! host clone3 #1 = EAGAIN
            create a user namespace for the id map: resource temporarily unavailable
        nothing: create ID ! host open /ns/user = EMFILE
            open the user namespace: too many open files
        nothing: create ID ! host waitid = ECHILD
            wait for the owner of the id map: no child processes
        ";
    changed(table, |t| {
        t.map_users(100_000);
        let data = t.path("data");
        std::fs::create_dir(&data).unwrap();
        config::add_mount(&mut t.config, "/mnt", "bind", &data, &["bind", "idmap"]);
        let last = t.config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
        last["uidMappings"] = json!([{"containerID": 0, "hostID": 7000, "size": 1000}]);
        last["gidMappings"] = last["uidMappings"].clone();
    });
}

#[test]
fn score_of_memory() {
    let table = r"
        nothing: create ID ! host openat2 /oom_score_adj = EMFILE
            read oom_score_adj: too many open files
        nothing: create ID ! host write /oom_score_adj = EACCES
            set process.oomScoreAdj to 100 (lowering it needs CAP_SYS_RESOURCE on the host): permission denied
        ";
    changed(table, |t| t.config["process"]["oomScoreAdj"] = json!(100));
}

#[test]
fn processes_before_their_program() {
    let table = r"
        running: exec ID true ! host/0 capset = KILL
            the process was killed by signal 9 before its program ran: the container ended, or has no memory left
        running: exec ID true ! host rt_sigprocmask = EINVAL
            block signals: invalid argument
        ";
    cause(table);
}

fn as_root_of_a_user_namespace(t: &Sandbox, words: &[&str]) -> Command {
    let words: Vec<&str> = ["--cgroup-manager", "disabled"].iter().chain(words).copied().collect();
    t.in_user_namespace("true", &words)
}

#[test]
fn namespaces_without_a_way_back() {
    let table = r"
        nothing: create ID ! host clone3 = EAGAIN
            clone a process that joins namespaces: resource temporarily unavailable
        nothing: create ID ! host waitid = ECHILD
            wait for the process that joined namespaces: no child processes
        nothing: create ID ! host/0 clone3 = EAGAIN
            create the namespaces 
        nothing: create ID ! host/0 clone3 = KILL
            the process that joined namespaces ended without a word
        ";
    let change = |t: &mut Sandbox| {
        config::add_namespace(&mut t.config, "time", "");
        config::drop_mount(&mut t.config, "/sys/fs/cgroup");
    };
    cause_in(table, change, as_root_of_a_user_namespace);
}
