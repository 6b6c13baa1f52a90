//! The errors of init and of a process that `exec` adds: from the clone to the program, but for the files,
//! which are in `errors_of_files`.

use crate::config;
use crate::errors::{cause, cause_in};
use crate::harness::Sandbox;
use crate::host;
use serde_json::json;
use std::os::unix::net::UnixListener;

fn changed(table: &str, change: impl FnOnce(&mut Sandbox)) {
    cause_in(table, change, Sandbox::command);
}

#[test]
fn what_the_host_side_needs() {
    cause(
        r"
        nothing: create ID ! host open /cap_last_cap = EMFILE
            read `/proc/sys/kernel/cap_last_cap`: /proc must be mounted: too many open files
        nothing: create ID ! host statx /config.json/ = EIO
            /config.json`: input/output error
        nothing: create ID ! host open /proc = EMFILE
            open /proc: too many open files
        nothing: create ID ! host fstatfs /proc = EIO
            check /proc: input/output error
        nothing: create ID ! host fstat /proc = EIO
            check /proc: input/output error
        nothing: create ID ! host socketpair = EMFILE
            make the socket pair to init: too many open files
        nothing: create ID ! host recvmsg = ENOMEM
            receive from the other side: cannot allocate memory
        nothing: create ID ! host/0 sendto = ENOBUFS
            wait for start: no buffer space available
    ",
    );
}

#[test]
fn first_steps() {
    let table = r"
        nothing: create ID ! host/0 close_range = ENOMEM
            close inherited descriptors: cannot allocate memory
        nothing: create ID ! host/0 memfd_create = EMFILE
            make the file that stands for the executable: too many open files
        nothing: create ID ! host/0 sched_setaffinity = EINVAL
            use all CPUs: invalid argument
        nothing: create ID ! host/0 unshare 0x2000000 = ENOSPC
            create the cgroup namespace: no space left on device
        nothing: create ID ! host/0 socket = EMFILE
            make a socket in the network namespace: too many open files
        nothing: create ID ! host/0 ioctl ] = EIO
            bring the loopback interface up: input/output error
        nothing: create ID ! host/0 keyctl = EDQUOT
            make a session keyring (--no-new-keyring goes without): disk quota exceeded
        nothing: create ID ! host/0 sethostname = EPERM
            set the hostname to `box`: operation not permitted
        nothing: create ID ! host/0 setdomainname = EPERM
            set the domainname to `domain`: operation not permitted
        nothing: create ID ! host/0 setsid = EPERM
            start a new session: operation not permitted
        nothing: create ID ! host/0 close_range #5 = ENOMEM
            close descriptors: cannot allocate memory
        ";
    changed(table, |t| {
        t.config["ociVersion"] = json!("1.3.0");
        t.config["domainname"] = json!("domain");
    });
}

#[test]
fn cgroup_v1() {
    if host::is_cgroup_v2() {
        skip!("this host has cgroup v2");
    }
    cause(
        r"
        nothing: create ID ! host/0 write /tasks = ENOSPC
            enter the container's cgroup: no space left on device
        running: exec ID true ! host/0 write /tasks = ENOSPC
            enter the container's cgroup: no space left on device
    ",
    );
}

#[test]
fn terminal() {
    let mut listener = None;
    let table = r"
        nothing: create --console-socket DIR/console ID ! host/0 openat2 /dev/pts/ptmx = EACCES
            process.terminal needs a devpts mount on /dev/pts: permission denied
        nothing: create --console-socket DIR/console ID ! host/0 fstatfs /ptmx = EIO
            check /dev/pts: input/output error
        nothing: create --console-socket DIR/console ID ! host/0 readlinkat /proc/self = EIO
            open /dev/pts/ptmx of the container: input/output error
        nothing: create --console-socket DIR/console ID ! host/0 openat2 /dev #8 = EMFILE
            open /dev: too many open files
        nothing: create --console-socket DIR/console ID ! host/0 openat /dev/console = ENOSPC
            create `console`: no space left on device
        nothing: create --console-socket DIR/console ID ! host/0 openat /dev/console #1 = EMFILE
            open the node: too many open files
        nothing: create --console-socket DIR/console ID ! host/0 fstat /dev/console = EIO
            look at the target: input/output error
        nothing: create --console-socket DIR/console ID ! host/0 open_tree /pts/0/ = EMFILE
            clone the terminal: too many open files
        nothing: create --console-socket DIR/console ID ! host/0 move_mount /dev/console/ = EPERM
            bind the terminal on /dev/console: operation not permitted
        nothing: create --console-socket DIR/console ID ! host/0 sendmsg = ENOBUFS
            send to the other side: no buffer space available
        nothing: create --console-socket DIR/console ID ! host/0 fchown /pts/0 = EIO
            give the terminal to process.user.uid: input/output error
        nothing: create --console-socket DIR/console ID ! host/0 ioctl /pts/0 #0 = EIO
            take the terminal: input/output error
        ";
    changed(table, |t| {
        t.config["process"]["terminal"] = json!(true);
        listener = Some(UnixListener::bind(t.path("console")).unwrap());
    });
}

#[test]
fn identity() {
    let table = r"
        nothing: create ID ! host/0 prctl 0x2f = ENOMEM
            clear the ambient capabilities: cannot allocate memory
        nothing: create ID ! host/0 prctl 0x2f #1 = ENOMEM
            raise ambient capability 5: cannot allocate memory
        nothing: create ID ! host/0 prctl 0x18 = EPERM
            from the bounding set: operation not permitted
        nothing: create ID ! host/0 prctl 0x26 = ENOMEM
            set no_new_privs: cannot allocate memory
        nothing: create ID ! host/0 prctl 0x8 = EPERM
            keep capabilities over the change of user: operation not permitted
        nothing: create ID ! host/0 prctl 0x8 #1 = EPERM
            stop keeping capabilities: operation not permitted
        nothing: create ID ! host/0 setgroups = EPERM
            set process.user.additionalGids: operation not permitted
        nothing: create ID ! host/0 setresgid = EPERM
            set process.user.gid to 0 (is it in linux.gidMappings?): operation not permitted
        nothing: create ID ! host/0 setresuid = EPERM
            set process.user.uid to 0 (is it in linux.uidMappings?): operation not permitted
        nothing: create ID ! host/0 prctl 0x4 = EPERM
            forbid tracing: operation not permitted
        nothing: create ID ! host/0 capget = EPERM
            read the capabilities: operation not permitted
        nothing: create ID ! host/0 capset = EPERM
            set process.capabilities: operation not permitted
        ";
    changed(table, |t| {
        t.config["process"]["capabilities"]["inheritable"] = json!(["CAP_KILL"]);
        t.config["process"]["capabilities"]["ambient"] = json!(["CAP_KILL"]);
    });
}

/// A process with everything that a process can have, under a filter.
fn somebody(t: &mut Sandbox) {
    let config = &mut t.config;
    config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [5]});
    config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 3});
    config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 4});
    config["process"]["noNewPrivileges"] = json!(false);
    config["ociVersion"] = json!("1.3.0");
    let linux = &mut config["linux"];
    linux["personality"] = json!({"domain": "LINUX32"});
    linux["memoryPolicy"] = json!({"mode": "MPOL_PREFERRED", "nodes": "0"});
    linux["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]});
}

#[test]
fn scheduling_and_standard_descriptors() {
    let table = r"
        nothing: create ID ! host/0 fchown /traced.out = EIO
            give the standard descriptors to process.user.uid: input/output error
        nothing: create ID ! host/0 personality = EPERM
            set the personality (linux.personality): operation not permitted
        nothing: create ID ! host/0 set_mempolicy = ENOMEM
            set the memory policy (linux.memoryPolicy): cannot allocate memory
        nothing: create ID ! host/0 sched_setattr = EPERM
            set the scheduler (process.scheduler): operation not permitted
        nothing: create ID ! host/0 ioprio_set = EPERM
            set the I/O priority (process.ioPriority): operation not permitted
        nothing: create ID ! host/0 capset = EPERM
            hold the capabilities that loading the filter needs: operation not permitted
        ";
    changed(table, somebody);
}

/// Done when the program is not mapped any more.
#[test]
fn last_steps() {
    let table = r"
        nothing: create ID ! host/0 rt_sigaction = EINVAL
            reset signals: invalid argument
        nothing: create ID ! host/0 munmap = ENOMEM
            let go of the program's memory: cannot allocate memory
        created: start ID ! init recvfrom = ENOMEM
            wait for start: cannot allocate memory
        created: start ID ! init recvfrom = 0
            wait for start: the other side of the runtime ended
        created: start ID ! init prlimit64 = EPERM
            set RLIMIT_NOFILE to 1024:1024 (process.rlimits; raising a hard limit needs CAP_SYS_RESOURCE on the host): operation not permitted
        created: start ID ! init rt_sigprocmask = EINVAL
            reset signals: invalid argument
        created: start ID ! init seccomp = ENOMEM
            load the seccomp filter (linux.seccomp): cannot allocate memory
        created: start ID ! init capset = EPERM
            set process.capabilities: operation not permitted
        created: start ID ! init execve = ENOMEM
            : cannot allocate memory
        running: exec ID true ! host/0/0 sched_setattr = EPERM
            set the scheduler (process.scheduler): operation not permitted
        ";
    changed(table, somebody);
}

/// The same with hooks under the filter, which need the program.
#[test]
fn last_steps_with_hooks() {
    let table = r"
        nothing: create ID ! host/0 memfd_create = EMFILE
            part from the runtime's executable: too many open files
        created: start ID ! init close_range = ENOMEM
            mark descriptors to be closed: cannot allocate memory
        created: start ID ! init rt_sigaction #9 = EINVAL
            reset signals: invalid argument
        created: start ID ! init prlimit64 = EPERM
            set RLIMIT_NOFILE to 1024:1024 (process.rlimits; raising a hard limit needs CAP_SYS_RESOURCE on the host): operation not permitted
        created: start ID ! init seccomp = ENOMEM
            load the seccomp filter (linux.seccomp): cannot allocate memory
        ";
    changed(table, |t| {
        somebody(t);
        t.config["hooks"] = json!({"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", ":"]}]});
    });
}

#[test]
fn seccomp_listener() {
    let mut agent = None;
    let table = r"
        nothing: create ID ! host/0 fcntl ] 0x406 = EMFILE
            find a free descriptor: too many open files
        nothing: create ID ! host pidfd_getfd #1 = EMFILE
            fetch the seccomp listener: too many open files
        ";
    changed(table, |t| {
        let socket = t.path("agent");
        agent = Some(UnixListener::bind(&socket).unwrap());
        t.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket,
            "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_NOTIFY"}]});
    });
}

/// A container whose namespaces another one joins.
fn neighbour(change: impl FnOnce(&mut Sandbox)) -> Sandbox {
    let mut t = Sandbox::new();
    change(&mut t);
    t.args(&["payload", "sleep", "600"]);
    t.create().ok();
    t.start().ok();
    t
}

#[test]
fn joined_namespaces_and_clocks() {
    let other = neighbour(|_| {});
    let pid = other.pid();
    let table = r"
        nothing: create ID ! host setns = EPERM
            join the pid namespace: operation not permitted
        nothing: create ID ! host unshare 0x80 = ENOSPC
            create the time namespace: no space left on device
        nothing: create ID ! host write /timens_offsets = EACCES
            set the monotonic clock's offset (linux.timeOffsets): permission denied
        nothing: create ID ! host setns #1 = EPERM
            leave the pid namespace: operation not permitted
        nothing: create ID ! host/0 setns = EPERM
            join the network namespace: operation not permitted
        ";
    changed(table, |t| {
        for (kind, file) in [("network", "net"), ("pid", "pid")] {
            config::add_namespace(&mut t.config, kind, &format!("/proc/{pid}/ns/{file}"));
        }
        config::add_namespace(&mut t.config, "time", "");
        t.config["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 7, "nanosecs": 0}});
    });
    other.finish();
}

#[test]
fn joined_user_namespace() {
    let other = neighbour(|t| t.map_users(100_000));
    let pid = other.pid();
    let table = r"
        nothing: create ID ! host/0 setns #1 = EPERM
            join the user namespace: operation not permitted
        nothing: create ID ! host/0 setgroups = EPERM
            drop the host's groups: operation not permitted
        nothing: create ID ! host/0 setresgid = EPERM
            become root of the user namespace (map gid 0): operation not permitted
        nothing: create ID ! host/0 setresuid = EPERM
            become root of the user namespace (map uid 0): operation not permitted
        nothing: create ID ! host/0 unshare = ENOSPC
            create the namespaces: no space left on device
        nothing: create ID ! host/0 clone3 = EAGAIN
            clone into the pid namespace: resource temporarily unavailable
        ";
    changed(table, |t| {
        t.map_users(100_000);
        let linux = t.config["linux"].as_object_mut().unwrap();
        linux.remove("uidMappings");
        linux.remove("gidMappings");
        for (kind, file) in [("user", "user"), ("network", "net")] {
            config::add_namespace(&mut t.config, kind, &format!("/proc/{pid}/ns/{file}"));
        }
    });
    other.finish();
}

#[test]
fn id_maps() {
    let table = r"
        nothing: create ID ! host write /uid_map = EPERM
            write the uid map (linux.uidMappings): operation not permitted
        ";
    changed(table, |t| t.map_users(100_000));
}

#[test]
fn ordinary_user() {
    if !rustix::process::geteuid().is_root() {
        skip!("the tracer has to be root");
    }
    let table = r"
        nothing: create ID ! host openat2 /setgroups = EACCES
            deny setgroups in the user namespace: permission denied
        nothing: create ID ! host/0 openat2 /setgroups = EACCES
            read whether setgroups is denied: permission denied
        ";
    changed(table, |t| {
        *t = Sandbox::rootless();
        t.args(&["payload", "sleep", "600"]);
    });
}

#[test]
fn exec() {
    let table = r"
        running: exec ID true ! host newfstatat /self/ns/time = EACCES
            examine the runtime's time namespace: permission denied
        running: exec ID true ! host newfstatat /ns/time #1 = EACCES
            examine the container's time namespace: permission denied
        running: exec ID true ! host/0 close_range = ENOMEM
            close inherited descriptors: cannot allocate memory
        running: exec ID true ! host/0 setns = EPERM
            enter the container's namespaces: operation not permitted
        running: exec ID true ! host/0 setns #1 = EPERM
            enter the container's namespaces: operation not permitted
        running: exec ID true ! host/0 open / = EMFILE
            open the container's root: too many open files
        ";
    changed(table, |t| t.map_users(100_000));
}

/// A filter with an agent is loaded before init has said that it is ready; this one does not let it.
#[test]
fn killed_by_the_filter() {
    let mut agent = None;
    let table = r"
        nothing: create ID ! host waitid = ECHILD
            wait for init: no child processes
        ";
    changed(table, |t| {
        let socket = t.path("agent");
        agent = Some(UnixListener::bind(&socket).unwrap());
        t.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket,
            "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_NOTIFY"},
                {"names": ["sendto", "sendmsg", "munmap"], "action": "SCMP_ACT_KILL_PROCESS"}]});
    });
}

#[test]
fn terminal_of_exec() {
    let mut listener = None;
    let table = r"
        running: exec -t --detach --console-socket DIR/console ID true ! host/0/0 ioctl = EIO
            take the terminal: input/output error
        ";
    changed(table, |t| listener = Some(UnixListener::bind(t.path("console")).unwrap()));
}
