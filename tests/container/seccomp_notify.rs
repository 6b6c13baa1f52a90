//! SCMP_ACT_NOTIFY: the agent is a process of `payload agent`, which gets the listener from this one.
//! Numbers of system calls are those of x86_64.

use crate::console::{listen, readable, receive_message};
use crate::harness::{Sandbox, is_oxrun, payload};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command};

const GETPRIORITY: &str = "syscall 140 0 0";

/// A bundle whose profile notifies of some calls, and the socket of its agent.
fn notifying(names: &[&str]) -> (Sandbox, UnixListener) {
    let mut t = Sandbox::new();
    let path = t.path("agent");
    t.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": path,
        "listenerMetadata": "some \"words\"",
        "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}],
    });
    t.config["annotations"] = json!({"a": "b"});
    let socket = listen(path.as_ref());
    (t, socket)
}

/// What one connection brought.
struct Delivery {
    state: Value,
    listener: OwnedFd,
    connection: UnixStream,
}

#[track_caller]
fn receive(socket: &UnixListener) -> Delivery {
    assert!(readable(socket), "nobody connected");
    let (connection, _) = socket.accept().unwrap();
    let (listener, data) = receive_message(&connection);
    Delivery { state: serde_json::from_slice(&data).unwrap(), listener, connection }
}

impl Delivery {
    /// The process that answers; ended with the value.
    fn serve(self, how: &[&str], log: &str) -> Agent {
        let mut command = Command::new(payload());
        command.arg("agent").args(how).stdin(self.listener).stdout(File::create(log).unwrap());
        Agent(command.spawn().unwrap())
    }
}

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

/// `run` of a getpriority, with an agent that answers in some way; the result.
fn answered(t: &mut Sandbox, socket: &UnixListener, how: &[&str]) -> Value {
    t.args(&["payload", "do", GETPRIORITY]).write_config();
    let run = t.spawn(t.command(&["run", &t.id]));
    let _agent = receive(socket).serve(how, &t.path("log"));
    run.wait().ok().json()[0].clone()
}

#[test]
fn the_agent_answers() {
    let (mut t, socket) = notifying(&["getpriority"]);
    for new_privileges in [true, false] {
        t.config["process"]["noNewPrivileges"] = json!(new_privileges);
        assert_eq!(answered(&mut t, &socket, &["errno", "100"]), json!({"err": "ENETDOWN"}));
        assert_eq!(answered(&mut t, &socket, &["value", "77"]), json!({"ok": 77}));
        assert_eq!(answered(&mut t, &socket, &["continue"]), json!({"ok": 20}));
    }
}

#[test]
fn the_state_is_the_specification_s() {
    let (mut t, socket) = notifying(&["getpriority"]);
    t.args(&["payload", "do", GETPRIORITY]).write_config();
    let create = t.spawn(t.command(&["create", &t.id]));
    let mut delivery = receive(&socket);
    create.wait().ok();
    let (pid, bundle) = (t.pid(), t.bundle().canonicalize().unwrap());
    let version = delivery.state["ociVersion"].clone();
    assert!(version.as_str().unwrap().starts_with("1."));
    let expected = json!({
        "ociVersion": version,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": "some \"words\"",
        "state": {
            "ociVersion": delivery.state["state"]["ociVersion"],
            "id": t.id,
            "status": "creating",
            "pid": pid,
            "bundle": bundle,
            "annotations": {"a": "b"},
        },
    });
    assert_eq!(delivery.state, expected);
    let mut more = Vec::new();
    delivery.connection.read_to_end(&mut more).unwrap();
    assert!(more.is_empty(), "one message for each connection");
    assert_eq!(t.status(), "created");
    let _agent = delivery.serve(&["errno", "100"], &t.path("log"));
    t.start().ok();
    t.reap(pid);
    assert!(t.printed().contains("ENETDOWN"), "{}", t.printed());
    t.delete().ok();
    t.assert_clean();
}

#[test]
fn metadata_is_left_out_when_there_is_none() {
    let (mut t, socket) = notifying(&["getpriority"]);
    t.config["linux"]["seccomp"]["listenerMetadata"] = json!("");
    t.args(&["true"]).write_config();
    let run = t.spawn(t.command(&["run", &t.id]));
    assert!(receive(&socket).state.get("metadata").is_none());
    run.wait().ok();
}

/// What the runtime itself calls after the filter may be notified of too.
const OWN_CALLS: [&str; 24] = [
    "sendmsg",
    "recvmsg",
    "close",
    "close_range",
    "accept4",
    "read",
    "open",
    "openat",
    "openat2",
    "fcntl",
    "stat",
    "fstat",
    "newfstatat",
    "statx",
    "faccessat",
    "faccessat2",
    "prctl",
    "capset",
    "capget",
    "execve",
    "poll",
    "ppoll",
    "rt_sigprocmask",
    "rt_sigaction",
];

#[test]
fn calls_of_the_runtime_may_be_notified_of() {
    let (mut t, socket) = notifying(&OWN_CALLS);
    for new_privileges in [true, false] {
        t.config["process"]["noNewPrivileges"] = json!(new_privileges);
        t.args(&["echo", "here"]).write_config();
        let create = t.spawn(t.command(&["create", &t.id]));
        let agent = receive(&socket).serve(&["continue"], &t.path("log"));
        create.wait().ok();
        let pid = t.pid();
        t.start().ok();
        assert_eq!(t.reap(pid), 0);
        drop(agent);
        let log = std::fs::read_to_string(t.path("log")).unwrap();
        assert!(log.lines().any(|line| line.starts_with("59 ")), "execve was seen: {log}");
        t.delete().ok();
        let run = t.spawn(t.command(&["run", &t.id]));
        let _agent = receive(&socket).serve(&["continue"], &t.path("log"));
        assert_eq!(run.wait().ok().stdout, "here\n");
    }
    assert_eq!(t.printed().matches("here").count(), 4);
}

#[test]
fn an_agent_that_cannot_be_reached_fails_create() {
    let (mut t, socket) = notifying(&["getpriority"]);
    // A socket that nobody listens on any more.
    drop(socket);
    let (dead, file, none) = (t.path("agent"), t.path("file"), t.path("none"));
    File::create(&file).unwrap();
    for path in [dead.as_str(), &file, &none, "@abstract", "/", "", &format!("/tmp/{}", "x".repeat(200))] {
        t.config["linux"]["seccomp"]["listenerPath"] = json!(path);
        for new_privileges in [true, false] {
            t.config["process"]["noNewPrivileges"] = json!(new_privileges);
            let outcome = t.args(&["true"]).create().failed().one_line();
            if !path.is_empty() {
                outcome.says(&["failed to connect with seccomp agent"]);
            }
            t.assert_clean();
            t.run().failed();
            t.assert_clean();
        }
    }
}

#[test]
fn an_abstract_socket_is_no_agent() {
    use std::os::linux::net::SocketAddrExt;
    let (mut t, _) = notifying(&["getpriority"]);
    let address = std::os::unix::net::SocketAddr::from_abstract_name(t.id.as_bytes()).unwrap();
    let _socket = UnixListener::bind_addr(&address).unwrap();
    for path in [format!("@{}", t.id), format!("\0{}", t.id)] {
        t.config["linux"]["seccomp"]["listenerPath"] = json!(path);
        t.args(&["true"]).create().failed().one_line();
        t.assert_clean();
    }
}

#[test]
fn a_dead_agent_means_enosys() {
    let (mut t, socket) = notifying(&["getpriority"]);
    t.args(&["payload", "do", GETPRIORITY, GETPRIORITY]).write_config();
    let run = t.spawn(t.command(&["run", &t.id]));
    drop(receive(&socket));
    assert_eq!(run.wait().ok().json(), json!([{"err": "ENOSYS"}, {"err": "ENOSYS"}]));
    assert_eq!(answered(&mut t, &socket, &["die"]), json!({"err": "ENOSYS"}), "dies while it is asked");
}

#[test]
fn the_agent_s_death_while_the_runtime_waits_ends_create() {
    let (mut t, socket) = notifying(&["sendmsg", "accept4", "capset"]);
    t.config["process"]["noNewPrivileges"] = json!(false);
    t.args(&["true"]).write_config();
    let create = t.spawn(t.command(&["create", &t.id]));
    drop(receive(&socket));
    create.wait().failed();
    t.assert_clean();
}

#[test]
fn without_a_rule_that_notifies_there_is_no_agent() {
    let (mut t, socket) = notifying(&["getpriority"]);
    t.config["linux"]["seccomp"]["syscalls"][0]["action"] = json!("SCMP_ACT_ERRNO");
    t.config["linux"]["seccomp"]["listenerMetadata"] = json!("");
    socket.set_nonblocking(true).unwrap();
    assert_eq!(t.actions(&[GETPRIORITY]), json!([{"err": "EPERM"}]));
    assert!(socket.accept().is_err(), "somebody connected");
    t.config["linux"]["seccomp"]["listenerPath"] = json!("/nonexistent");
    t.actions(&[GETPRIORITY]);
}

#[test]
fn in_a_user_namespace_and_as_an_ordinary_user() {
    let (mut t, socket) = notifying(&["getpriority", "sendmsg"]);
    t.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    t.config["process"]["capabilities"] = json!({});
    // The agent of this one must say "continue" for sendmsg.
    assert_eq!(answered(&mut t, &socket, &["continue"]), json!({"ok": 20}));
    t.map_users(200_000);
    assert_eq!(answered(&mut t, &socket, &["continue"]), json!({"ok": 20}));
}

#[test]
fn a_runtime_that_may_not_trace_is_sent_the_listener() {
    let set = ["--bounding-set", "-sys_ptrace"];
    if !Command::new("setpriv").args(set).arg("true").status().is_ok_and(|s| s.success()) {
        skip!("setpriv cannot drop CAP_SYS_PTRACE");
    }
    let without = |t: &Sandbox| {
        let command = t.command(&["run", &t.id]);
        let mut other = Command::new("setpriv");
        other.args(set).arg(command.get_program()).args(command.get_args()).current_dir(t.bundle());
        other
    };
    let (mut t, socket) = notifying(&["getpriority"]);
    t.args(&["payload", "do", GETPRIORITY]).write_config();
    let run = t.spawn(without(&t));
    let _agent = receive(&socket).serve(&["errno", "100"], &t.path("log"));
    assert_eq!(run.wait().ok().json(), json!([{"err": "ENETDOWN"}]));
    t.config["linux"]["seccomp"]["syscalls"][0]["names"] = json!(["sendmsg"]);
    t.write_config();
    let outcome = t.spawn(without(&t)).wait().failed();
    outcome.says_in_oxrun("linux.seccomp must allow sendmsg");
    t.assert_clean();
}

#[test]
fn exec_has_a_listener_of_its_own() {
    let (mut t, socket) = notifying(&["getpriority", "sendmsg", "execve"]);
    for new_privileges in [true, false] {
        t.config["process"]["noNewPrivileges"] = json!(new_privileges);
        t.args(&["payload", "sleep", "1000"]).write_config();
        let create = t.spawn(t.command(&["create", &t.id]));
        let _agent = receive(&socket).serve(&["continue"], &t.path("log"));
        create.wait().ok();
        t.start().ok();
        let pid_file = t.path("pid");
        let words = ["exec", "--pid-file", &pid_file, &t.id, "payload", "do", GETPRIORITY];
        let exec = t.spawn(t.command(&words));
        let delivery = receive(&socket);
        let state = delivery.state.clone();
        let _other = delivery.serve(&["continue"], &t.path("log2"));
        assert_eq!(exec.wait().ok().json(), json!([{"ok": 20}]));
        let pid: i64 = std::fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
        assert_eq!(state["pid"], pid);
        assert_eq!(state["fds"], json!(["seccompFd"]));
        assert_eq!(state["state"]["pid"], t.pid());
        if is_oxrun() {
            assert_eq!(state["state"]["status"], "running");
        }
        let dead = t.spawn(t.command(&words));
        drop(receive(&socket));
        // execve itself is answered ENOSYS now.
        dead.wait().failed();
        t.finish();
    }
    drop(socket);
    t.assert_clean();
}
