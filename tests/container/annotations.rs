//! Annotations that change what is done: `run.oci.…`.

use crate::config;
use crate::harness::{Sandbox, is_oxrun};
use serde_json::json;
use std::fs;
use std::os::unix::net::UnixListener;

macro_rules! only_oxrun {
    () => {
        if !is_oxrun() {
            skip!("annotations of this family are not for every runtime");
        }
    };
}

fn annotated(key: &str, value: &str) -> Sandbox {
    let mut t = Sandbox::new();
    t.config["annotations"] = json!({key: value});
    t
}

#[test]
fn unknown_ones_of_the_family_are_a_warning() {
    only_oxrun!();
    let mut t = annotated("run.oci.surprise", "1");
    t.config["annotations"]["org.example.other"] = json!("");
    let outcome = t.run_args(&["true"]).ok();
    let warning = "annotations.run.oci.surprise: unknown and without effect";
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    outcome.says(&[warning]);
}

#[test]
fn wrong_values() {
    only_oxrun!();
    for (key, value, words) in [
        ("run.oci.hooks.stdout", "relative", "`relative` is not absolute"),
        ("run.oci.hooks.stderr", "", "`` is not absolute"),
        ("run.oci.pidfd_receiver", "x", "`x` is not absolute"),
        ("run.oci.keep_original_groups", "maybe", "`maybe` is neither 1 nor 0"),
        ("run.oci.seccomp_fail_unknown_syscall", "2", "`2` is neither 1 nor 0"),
        ("run.oci.mount_context_type", "seclabel", "unknown value `seclabel`"),
    ] {
        let t = annotated(key, value);
        t.create().failed().says(&[&format!("annotations.{key}: {words}")]).one_line();
        t.assert_clean();
    }
}

#[test]
fn output_of_hooks_is_appended_to_files() {
    only_oxrun!();
    let mut t = Sandbox::new();
    let (out, err) = (t.path("out"), t.path("err"));
    fs::write(&out, "before\n").unwrap();
    t.config["annotations"] = json!({"run.oci.hooks.stdout": out, "run.oci.hooks.stderr": err});
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        let hook = config::shell_hook(&format!("cat > /dev/null; echo {kind}; echo wrong {kind} >&2"));
        t.config["hooks"][kind] = json!([hook]);
    }
    let inside = json!({"path": "/bin/sh", "args": ["sh", "-c", "echo startContainer; echo wrong startContainer >&2"]});
    t.config["hooks"]["startContainer"] = json!([inside]);
    t.args(&["payload", "do", "report-fds /proc/self/fd"]);
    let fds = t.run().ok().json()[0]["ok"].clone();
    assert_eq!(fds.as_object().unwrap().len(), 3, "the process has none of them: {fds}");
    let kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    let mut said: Vec<String> = fs::read_to_string(&out).unwrap().lines().map(str::to_string).collect();
    assert_eq!(said.remove(0), "before");
    // The program and poststart begin at the same time, but hooks are in order.
    assert_eq!(said, kinds);
    let wrong: Vec<String> = fs::read_to_string(&err).unwrap().lines().map(str::to_string).collect();
    assert_eq!(wrong, kinds.map(|kind| format!("wrong {kind}")));
}

#[test]
fn output_of_hooks_with_create_and_start() {
    only_oxrun!();
    let mut t = Sandbox::new();
    let out = t.path("out");
    t.config["annotations"] = json!({"run.oci.hooks.stdout": out});
    let inside = json!({"path": "/bin/sh", "args": ["sh", "-c", "echo inside"]});
    t.config["hooks"]["startContainer"] = json!([inside]);
    t.map_users(100_000);
    t.args(&["payload", "exit", "0"]);
    t.create().ok();
    let pid = t.pid();
    t.start().ok();
    assert_eq!(t.reap(pid), 0);
    t.delete().ok();
    assert_eq!(fs::read_to_string(&out).unwrap(), "inside\n");
}

#[test]
fn output_of_hooks_that_cannot_be_written() {
    only_oxrun!();
    let mut t = annotated("run.oci.hooks.stdout", "/nowhere/at/all");
    t.run_args(&["true"]).ok();
    t.config["hooks"]["createRuntime"] = json!([config::shell_hook("true")]);
    let said = t.create().failed();
    said.says(&["open `/nowhere/at/all` for the output of hooks (annotations.run.oci.hooks.stdout)"]);
    t.assert_clean();
}

#[test]
fn groups_of_the_caller_can_be_kept() {
    only_oxrun!();
    for (value, expected) in [("1", "7 9"), ("0", "")] {
        let mut t = annotated("run.oci.keep_original_groups", value);
        t.args(&["payload", "report"]).write_config();
        let command = t.prepared(&["with-groups", "7,9"], &["run", &t.id]);
        let report = t.spawn(command).wait().ok().json();
        assert_eq!(report["status"]["Groups"], expected);
    }
    let mut t = annotated("run.oci.keep_original_groups", "1");
    t.config["process"]["user"]["additionalGids"] = json!([5]);
    t.run_args(&["true"])
        .ok()
        .says(&["process.user.additionalGids: without effect with run.oci.keep_original_groups"]);
}

#[test]
fn pidfd_goes_to_its_receiver() {
    only_oxrun!();
    let mut t = Sandbox::new();
    let socket = t.path("receiver");
    let listener = UnixListener::bind(&socket).unwrap();
    t.config["annotations"] = json!({"run.oci.pidfd_receiver": socket});
    t.args(&["payload", "sleep", "5000"]);
    t.create().ok();
    let (connection, _) = listener.accept().unwrap();
    let pidfd = receive(&connection);
    let info =
        fs::read_to_string(format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&pidfd))).unwrap();
    let pid = info.lines().find_map(|l| l.strip_prefix("Pid:")).unwrap().trim().to_string();
    assert_eq!(pid, t.pid().to_string());
    t.finish();
    drop(listener);
    t.create().failed().says(&["run.oci.pidfd_receiver"]);
    t.assert_clean();
}

fn receive(connection: &std::os::unix::net::UnixStream) -> std::os::fd::OwnedFd {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0u8; 64];
    let mut slices = [std::io::IoSliceMut::new(&mut byte)];
    recvmsg(connection, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    control
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        })
        .expect("a descriptor")
}

#[test]
fn unknown_system_calls_can_be_an_error() {
    only_oxrun!();
    let mut t = annotated("run.oci.seccomp_fail_unknown_syscall", "1");
    t.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "not_a_call"], "action": "SCMP_ACT_ERRNO"}]});
    t.create()
        .failed()
        .says(&["linux.seccomp.syscalls: unknown system calls"])
        .says(&["not_a_call"])
        .one_line();
    t.assert_clean();
    t.config["annotations"] = json!({});
    t.run_args(&["true"]).ok();
}

#[test]
fn kind_of_the_mount_label() {
    only_oxrun!();
    if fs::metadata("/sys/fs/selinux/enforce").is_ok() {
        skip!("this host has SELinux");
    }
    // Without SELinux the kernel says which option it was given.
    for (value, option) in
        [("context", "context"), ("fscontext", "fscontext"), ("rootcontext", "rootcontext")]
    {
        let mut t = annotated("run.oci.mount_context_type", value);
        t.config["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0:c1,c2");
        t.create().failed().says(&[&format!("set option `{option}`")]).one_line();
        t.assert_clean();
    }
}
