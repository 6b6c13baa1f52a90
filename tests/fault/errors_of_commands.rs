//! The errors of commands on containers that are there, and of the state directory.

use crate::config;
use crate::errors::{cause, cause_in};
use crate::harness::Sandbox;
use serde_json::json;
use std::fs;

#[test]
fn state_directory() {
    cause(
        r"
        nothing: --root DIR/other create ID ! host mkdirat /other = ENOSPC
            create state directory `DIR/other`: no space left on device; choose another with --root
        broken: create IDx ! host mkdirat = EDQUOT
            create state of `IDx` in `DIR/state`: disk quota exceeded; choose another directory with --root
        nothing: list ! host rt_sigaction = EINVAL
            prepare standard descriptors and signals: invalid argument
        nothing: list ! host openat /state = EACCES
            open state directory `DIR/state`: permission denied; choose another with --root
        broken: list ! host fstat /state = EIO
            examine state directory `DIR/state`: input/output error; choose another with --root
        broken: list ! host getdents64 /state = EIO
            read state directory `DIR/state`: input/output error; choose another with --root
        running: kill ID 0 ! host openat /state/ID = EACCES
            open state of `ID`: permission denied
        running: kill ID 0 ! host fcntl /state 0x406 = EMFILE
            duplicate the state directory `DIR/state`: too many open files
        running: kill ID 0 ! host openat /state.json = EACCES
            read state.json of `ID`; delete --force removes a broken container: permission denied
        running: pause ID ! host flock /ID = ENOLCK
            lock `ID`: no locks available
        running: pause ID ! host fstat /ID = EIO
            examine state of `ID`: input/output error
        created: start ID ! host flock /ID #1 = ENOLCK
            unlock `ID`: no locks available
        running: gc ! host flock /ID = ENOLCK
            `ID` is left alone: lock `ID`: no locks available
        broken: gc ! host fstat /ID #1 = EIO
            `ID` is left alone: examine state of `ID`: input/output error
        broken: gc ! host open /proc/stat = EMFILE
            read /proc/stat: too many open files
        broken: gc ! host read /proc/stat = 0
            read /proc/stat: no btime in it
        running: exec ID true ! host openat /config.json = EACCES
            read config.json of `ID`: permission denied
        stopped: delete ID ! host renameat = EROFS
            remove state of `ID`: read-only file system
    ",
    );
}

#[test]
fn start_socket() {
    cause(
        r"
        nothing: create ID ! host bind = ENOSPC
            make start.sock of `ID`: no space left on device
        created: state ID ! host newfstatat /start.sock = EACCES
            examine start.sock of `ID`: permission denied
        created: start ID ! host connect = EACCES
            connect to start.sock of `ID`: permission denied
        created: start ID ! host unlinkat /start.sock = EROFS
            remove start.sock of `ID`: read-only file system
    ",
    );
}

#[test]
fn processes_by_identity() {
    cause(
        r"
        nothing: create ID ! host open /stat = EMFILE
            /stat: too many open files
        nothing: create ID ! host fstat [pidfd] = EIO
            look at the pidfd of 
        nothing: create ID ! host newfstatat DIR/bundle = EIO
            open bundle `DIR/bundle`: input/output error
        nothing: create ID ! host statfs /sys/fs/cgroup = EACCES
            look at `/sys/fs/cgroup`: permission denied
        nothing: create ID ! host read /stat = 0
            /stat: not in its known form
        nothing: create ID ! host open /boot_id = EMFILE
            read /proc/sys/kernel/random/boot_id; is /proc mounted?: too many open files
        running: kill ID 0 ! host pidfd_open = EMFILE
            open process 
        running: kill ID 0 ! host fstat [pidfd] = EIO
            look at the pidfd of 
        running: kill ID 0 ! host fstatfs [pidfd] = EIO
            look at the pidfd of 
        running: kill ID 0 ! host ppoll = ENOMEM
            poll a process: cannot allocate memory
    ",
    );
}

#[test]
fn ending_and_signalling() {
    cause(
        r"
        running: kill ID TERM ! host pidfd_send_signal = EPERM
            send signal 15 to container `ID`: operation not permitted
        running: kill ID TERM ! host pidfd_send_signal = ESRCH
            container not running
        running: delete --force ID ! host pidfd_send_signal = EPERM
            kill container `ID`: operation not permitted
        running: delete --force ID ! host ppoll #2 = ENOMEM
            wait for the container's end: cannot allocate memory
    ",
    );
}

#[test]
fn events() {
    cause(
        r"
        running: events ID ! host ppoll #1 = ENOMEM
            wait for events: cannot allocate memory
        running: events ID ! host eventfd2 = EMFILE
            watch for lack of memory in `
        running: events ID ! host write /cgroup.event_control = ENOSPC
            watch for lack of memory in `
    ",
    );
}

#[test]
fn exec() {
    cause(
        r"
        running: exec ID true ! host ppoll #1 = 1
            container not running
        running: exec ID true ! host/0 memfd_create = EMFILE
            make the file that stands for the executable: too many open files
        running: exec ID true ! host prctl 0x4 = EINVAL
            forbid tracing: invalid argument
        running: exec ID true ! host/0 setns = EPERM
            enter the container's namespaces: operation not permitted
        running: exec ID true ! host/0 clone3 = EPERM
            clone the process into the container's pid namespace: operation not permitted
        running: exec ID true ! host/0/0 setsid = EPERM
            start a new session: operation not permitted
        running: exec ID true ! host/0/0 prlimit64 = EPERM
            set RLIMIT_NOFILE to
        running: exec ID true ! host/0 prctl 0x4 = EINVAL
            forbid tracing: invalid argument
        running: exec ID true ! host rt_sigprocmask = EINVAL
            block signals: invalid argument
        running: exec --detach ID true ! host rt_sigprocmask = EINVAL
            block signals: invalid argument
        running: exec ID true ! host clone3 = EAGAIN
            adding the process to cgroups: resource temporarily unavailable; the limit of processes
        running: exec ID true ! host rt_sigaction #1 = EINVAL
            reset SIGCHLD: invalid argument
        running: exec ID true ! host signalfd4 = EMFILE
            make a signal descriptor: too many open files
        running: exec ID true ! host read [signalfd] = EIO
            read a signal: input/output error
        running: exec ID true ! host ppoll #2 = ENOMEM
            wait for the container: cannot allocate memory
        running: exec ID true ! host wait4 = EFAULT
            wait for children: bad address
    ",
    );
}

/// Where the container's processes can see this one, it parts from the executable before it enters.
#[test]
fn exec_where_it_is_seen() {
    let table = r"
        running: exec ID true ! host memfd_create = EMFILE
            part from the runtime's executable: too many open files
        running: exec ID true ! host setns = EPERM
            enter the container's namespaces: operation not permitted
        running: exec ID true ! host prctl 0x4 #1 = EPERM
            forbid tracing: operation not permitted
        running: exec ID true ! host/0 setsid = EPERM
            start a new session: operation not permitted
    ";
    cause_in(table, |t| config::drop_namespace(&mut t.config, "pid"), Sandbox::command);
}

/// What a process does in the kernel that does not end it or does not stop it.
#[test]
fn processes_that_do_not_obey() {
    cause(
        r"
        running: delete --force ID ! host pidfd_send_signal = 0
            was killed but has not ended: it hangs in the kernel, see /proc/
        running: list ! host openat2 /freezer.state = EIO
            freezer.state`: input/output error
        nothing: check ! host fsopen #1 = EMFILE
            open the filesystem: too many open files
        running: update --pids-limit 50 ID ! host write /pids.max #0+ = EIO
            ; and the old limits could not be set again: 
        running: pause ID ! host read /freezer.state #1+ = 0
            freeze `/sys/fs/cgroup/freezer/ID`: a process does not stop within 2 s; it runs on
        ",
    );
}

#[test]
fn log_and_trace() {
    cause(
        r"
        nothing: --log syslog:x features ! host socket = EMFILE
            connect to `/dev/log` for the log: too many open files; logging to standard error
        nothing: --trace DIR/trace features ! host open DIR/trace = EMFILE
            trace into `DIR/trace` (--trace, OXRUN_TRACE): too many open files
        nothing: --trace DIR/trace features ! host fstat DIR/trace = EIO
            trace into `DIR/trace` (--trace, OXRUN_TRACE): look at it: input/output error
        nothing: --trace DIR/trace features ! host flock DIR/trace = ENOLCK
            trace into `DIR/trace` (--trace, OXRUN_TRACE): lock it: no locks available
        nothing: --trace DIR/trace features ! host pwrite64 DIR/trace = ENOSPC
            trace into `DIR/trace` (--trace, OXRUN_TRACE): write to it: no space left on device
        nothing: --trace DIR/trace features ! host pwrite64 DIR/trace = 1
            trace into `DIR/trace` (--trace, OXRUN_TRACE): no space left for it
        nothing: --trace DIR/good features ! host flock DIR/good #1 = ENOLCK
            trace into `DIR/good` (--trace, OXRUN_TRACE): unlock it: no locks available
        nothing: --trace DIR/good features ! host pread64 DIR/good = EIO
            trace into `DIR/good` (--trace, OXRUN_TRACE): read its end: input/output error
        nothing: features ! host write = ENOSPC
            write to stdout: no space left on device
        nothing: spec --bundle DIR ! host write DIR/config.json = ENOSPC
            write `DIR/config.json` (a file that is there is kept: remove it first): no space left on device
        running: ps ID ! host pipe2 = EMFILE
            run ps(1) of the host: too many open files
        running: update -r /dev/zero ID ! host read /dev/zero = EIO
            read resources from `/dev/zero`: input/output error
        running: exec --process /dev/zero ID ! host read /dev/zero = EIO
            read process file `/dev/zero` (--process): input/output error
        ",
    );
}

#[test]
fn mounts_of_a_running_container() {
    let table = r"
        running: mounts add ID DIR/list ! host mount_setattr = EPERM
            mounts[0]: 
        ";
    let change = |t: &mut Sandbox| {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
        let mount = json!([{"destination": "/x", "type": "none", "source": t.path("bundle"), "options": ["bind"],
            "uidMappings": map, "gidMappings": map}]);
        fs::write(t.path("list"), mount.to_string()).unwrap();
    };
    cause_in(table, change, Sandbox::command);
}

#[test]
fn a_table_of_mounts_for_resctrl() {
    let table = r"
        nothing: create ID ! host open /proc/self/mountinfo = EMFILE
            read the mount table: too many open files
        ";
    cause_in(table, |t| t.config["linux"]["intelRdt"] = json!({"closID": "x"}), Sandbox::command);
}
