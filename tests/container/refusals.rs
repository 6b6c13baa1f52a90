//! What is said when a command cannot be done as things are: each with the state of the container, the
//! options that exclude each other, or the file that is not what it should be.

use crate::config;
use crate::console::listen;
use crate::harness::{Outcome, Sandbox, is_oxrun, write_program};
use serde_json::json;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

macro_rules! only_oxrun {
    () => {
        if !is_oxrun() {
            skip!("texts of oxrun");
        }
    };
}

/// A container that runs.
fn running(global: &[&str]) -> Sandbox {
    let mut t = Sandbox::new();
    t.args(&["payload", "sleep", "600"]).write_config();
    let words: Vec<&str> = global.iter().chain(&["run", "-d", &t.id]).copied().collect();
    t.runtime(&words).ok();
    t
}

#[track_caller]
fn refused(t: &Sandbox, words: &[&str], said: &str) -> Outcome {
    let words: Vec<String> = words.iter().map(|word| word.replace("ID", &t.id)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    t.runtime(&words).failed().says(&[&said.replace("ID", &t.id)]).one_line()
}

#[test]
fn in_the_wrong_state() {
    only_oxrun!();
    let t = running(&[]);
    for (words, said) in [
        (&["start", "ID"][..], "cannot start an already running container"),
        (&["resume", "ID"], "container not paused"),
        (&["delete", "ID"], "cannot delete container ID that is not stopped: running"),
        (&["ps", "ID", "--nonsense"], "run ps(1) of the host: "),
        (&["ps", "ID", "-o", "comm"], "to its format"),
    ] {
        refused(&t, words, said);
    }
    t.runtime(&["pause", &t.id]).ok();
    refused(&t, &["pause", "ID"], "container already paused");
    refused(&t, &["start", "ID"], "cannot start an already running container");
    t.runtime(&["kill", &t.id, "KILL"]).ok();
    t.wait_status("stopped");
    for (words, said) in [
        (&["start", "ID"][..], "cannot start a container that has stopped"),
        (&["pause", "ID"], "container not running: it is stopped"),
        (&["update", "--pids-limit", "7", "ID"], "container not running"),
        (&["events", "ID"], "container with id ID is not running"),
        (&["events", "--format", "table", "ID"], "container with id ID is not running"),
        (&["exec", "ID", "true"], "cannot exec in a stopped container"),
        (&["mounts", "add", "ID", "/dev/null"], "read mounts from `/dev/null`"),
        (&["kill", "ID", "TERM"], "container not running"),
    ] {
        refused(&t, words, said);
    }
    t.finish();
}

#[test]
fn mounts_that_cannot_be_added() {
    only_oxrun!();
    let mut t = running(&[]);
    let (list, there) = (t.path("mounts.json"), t.path("bundle"));
    let of = |mount: serde_json::Value| fs::write(&list, json!([mount]).to_string()).unwrap();
    let words = ["mounts", "add", "ID", &list];
    of(json!({"destination": 7}));
    refused(&t, &words, "mounts[0].destination");
    of(json!({"destination": "/x", "type": "none", "source": there, "options": ["bind", "copy-symlink"]}));
    refused(&t, &words, "mounts[0]: copy-symlink is for the creation of a container alone");
    of(json!({"destination": "/x", "type": "none", "source": there, "options": ["bind"]}));
    t.runtime(&["kill", &t.id, "KILL"]).ok();
    t.wait_status("stopped");
    refused(&t, &words, "container not running");
    t.finish();
    config::share_mounts(&mut t.config);
    t.write_config();
    t.runtime(&["run", "-d", &t.id]).ok();
    refused(&t, &words, "the container has the host's mount namespace: mount on the host");
    t.finish();
}

/// The copy of config.json that later commands read was changed by somebody.
#[test]
fn where_the_kept_config_is_broken() {
    only_oxrun!();
    let t = running(&[]);
    let kept = t.state_dir().join(&t.id).join("config.json");
    let good = fs::read_to_string(&kept).unwrap();
    for (text, said) in [
        ("nonsense".to_string(), "config.json of `ID`: "),
        (good.replace("\"pid\"", "\"pdi\""), "config.json of `ID`: linux.namespaces["),
    ] {
        fs::write(&kept, text).unwrap();
        refused(&t, &["exec", "ID", "true"], said);
    }
    fs::write(&kept, good).unwrap();
    t.finish();
}

/// A filter with an agent is loaded before init has said that it is ready; this one does not let it.
#[test]
fn by_a_filter_that_ends_init() {
    only_oxrun!();
    let mut t = Sandbox::new();
    let socket = t.path("agent");
    let _agent = listen(socket.as_ref());
    t.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket,
        "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_NOTIFY"},
            {"names": ["sendto", "sendmsg", "munmap"], "action": "SCMP_ACT_KILL_PROCESS"}]});
    t.args(&["true"]).write_config();
    refused(&t, &["create", "ID"], "container init was killed by the seccomp filter (bad system call)");
    t.assert_clean();
}

#[test]
fn without_a_cgroup() {
    only_oxrun!();
    let t = running(&["--cgroup-manager", "disabled"]);
    for (words, said) in [
        (&["events", "--stats", "ID"][..], "statistics: the container has no cgroup of its own"),
        (
            &["exec", "--cgroup", "a", "ID", "true"],
            "--cgroup: the container has no cgroup of its own: leave the option out",
        ),
        (&["pause", "ID"], "freeze: the container has no cgroup of its own"),
        (&["update", "--pids-limit", "7", "ID"], "the container has no cgroup of its own to set limits in"),
    ] {
        refused(&t, words, said);
    }
    t.finish();
}

#[test]
fn by_options_that_exclude_each_other() {
    only_oxrun!();
    let mut t = running(&[]);
    let socket = t.path("console");
    let _listener = listen(socket.as_ref());
    let said =
        "--console-socket is given, but the process has no terminal: add --tty or leave the option out";
    refused(&t, &["exec", "--console-socket", &socket, "ID", "true"], said);
    let mut command = t.command(&["exec", &t.id]);
    command.arg(OsStr::from_bytes(b"\xff"));
    t.spawn(command).wait().failed().says(&["is not UTF-8"]).one_line();
    t.finish();
    t.config["process"]["terminal"] = json!(true);
    t.write_config();
    let said = "--console-socket cannot be used in the foreground: add --detach";
    refused(&t, &["run", "--console-socket", &socket, "ID"], said);
    t.config["process"]["terminal"] = json!(false);
    t.write_config();
    let said =
        "--console-socket is given, but process.terminal is false: set it to true or leave the option out";
    refused(&t, &["create", "--console-socket", &socket, "ID"], said);
    t.assert_clean();
}

#[test]
fn by_programs_of_the_host() {
    only_oxrun!();
    let t = running(&[]);
    std::fs::create_dir(t.path("bin")).unwrap();
    write_program(&t.dir().join("bin/ps"), "#!/bin/sh\nexit 0\n");
    let mut command = t.command(&["ps", &t.id]);
    command.env("PATH", t.path("bin"));
    t.spawn(command).wait().failed().says(&["ps(1) printed nothing"]).one_line();
    let mut command = t.command(&["ps", &t.id]);
    command.env("PATH", "/no/such");
    t.spawn(command).wait().failed().says(&["run ps(1) of the host: no such file or directory"]).one_line();
    t.finish();
}

#[test]
fn of_a_container_without_a_process() {
    only_oxrun!();
    let mut t = Sandbox::new();
    t.config.as_object_mut().unwrap().remove("process");
    t.create().ok();
    let said = "the container has no process to take settings from: use --process FILE";
    refused(&t, &["exec", "ID", "true"], said);
    t.finish();
}

/// Nobody is there to be told that the container is ready.
#[test]
fn of_a_manager_that_is_not_there() {
    only_oxrun!();
    let mut t = Sandbox::new();
    let file = t.path("go");
    std::fs::write(&file, "").unwrap();
    config::add_mount(&mut t.config, "/go", "bind", &file, &["bind"]);
    t.args(&["payload", "notify", "/go", "READY=1"]).write_config();
    let mut command = t.command(&["run", "-d", &t.id]);
    command.env("NOTIFY_SOCKET", t.path("nobody"));
    let outcome = t.spawn(command).wait().failed().one_line();
    outcome.says(&["tell the service manager (NOTIFY_SOCKET): no such file or directory"]);
    t.finish();
}

#[test]
fn of_a_user_without_a_manager() {
    only_oxrun!();
    let t = Sandbox::rootless();
    t.write_config();
    let create = |runtime: &str| {
        let mut command = t.command(&["--systemd-cgroup", "create", &t.id]);
        command.env("XDG_RUNTIME_DIR", runtime).env("DBUS_SESSION_BUS_ADDRESS", "");
        t.spawn(command).wait().failed().one_line()
    };
    create("").says(&["the user's systemd cannot be found: set XDG_RUNTIME_DIR (/run/user/UID)"]);
    create("/no/such").says(&["the user's systemd cannot be reached: log in, or `loginctl enable-linger`"]);
    t.assert_clean();
}

#[test]
fn of_image_layouts() {
    only_oxrun!();
    let t = Sandbox::new();
    let layout = t.path("layout");
    std::fs::create_dir_all(format!("{layout}/blobs/sha256")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(format!("{layout}/{name}"), text).unwrap();
    let spec = |said: &str| refused(&t, &["spec", "--from", &layout], said);
    write("index.json", "nonsense");
    spec("/layout/index.json`: expected");
    write("index.json", r#"{"manifests":[{"digest":"sha256:aa"}]}"#);
    write("blobs/sha256/aa", r#"{"manifests":[{"digest":"sha256:aa"}]}"#);
    spec("indexes within indexes");
    std::fs::remove_file(format!("{layout}/blobs/sha256/aa")).unwrap();
    std::fs::create_dir(format!("{layout}/blobs/sha256/aa")).unwrap();
    spec("/layout/blobs/sha256/aa`: it is not a regular file");
    std::fs::remove_dir(format!("{layout}/blobs/sha256/aa")).unwrap();
    write("blobs/sha256/aa", r#"{"config":{"digest":"sha256:bb"}}"#);
    write("blobs/sha256/bb", r#"{"config":{"Cmd":["sh"],"User":"7"}}"#);
    let said = "the image's user is 7, but --rootless maps your own id alone, as 0";
    refused(&t, &["spec", "--rootless", "--from", &layout], said);
}
