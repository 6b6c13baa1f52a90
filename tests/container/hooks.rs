//! Hooks of all six kinds: order, state on standard input, environment, working directory,
//! namespaces, failure.

use crate::harness::{Sandbox, is_oxrun};
use crate::{config, host};
use serde_json::{Value, json};
use std::fs;

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A bundle in which each kind has two hooks that note what they see in files `KIND.N.*` and add
/// a line to `log`. The directory is at the same path inside, for the hook that runs there.
fn noting() -> Sandbox {
    let mut t = Sandbox::new();
    let notes = t.path("notes");
    fs::create_dir(&notes).unwrap();
    config::add_mount(&mut t.config, &notes, "bind", &notes, &["bind"]);
    let mut hooks = serde_json::Map::new();
    for kind in KINDS {
        let entries: Vec<Value> = (0..2).map(|n| noting_hook(&notes, &format!("{kind}.{n}"))).collect();
        hooks.insert(kind.to_string(), json!(entries));
    }
    t.config["hooks"] = Value::Object(hooks);
    t
}

fn noting_hook(notes: &str, name: &str) -> Value {
    let script = format!(
        "echo {name} >> {notes}/log; cat > {notes}/{name}.state; pwd > {notes}/{name}.cwd; \
         tr '\\0' '\\n' < /proc/self/environ > {notes}/{name}.env; ls -1 /proc/self/fd > {notes}/{name}.fds; \
         readlink /proc/self/ns/mnt > {notes}/{name}.mnt; readlink /proc/self/ns/pid > {notes}/{name}.pid; \
         echo \"$0 $*\" > {notes}/{name}.args"
    );
    json!({"path": "/bin/sh", "args": ["sh", "-c", script, "own-name", "one", "two"], "env": [format!("HOOK={name}"), "PATH=/bin:/usr/bin"]})
}

fn note(t: &Sandbox, name: &str) -> String {
    fs::read_to_string(t.path(&format!("notes/{name}")))
        .unwrap_or_else(|e| panic!("{name}: {e}"))
        .trim_end()
        .to_string()
}

/// another runtime calls poststart at the end of `create`, not of `start`.
fn poststart_is_early() -> bool {
    !is_oxrun()
}

fn log(t: &Sandbox) -> Vec<String> {
    note(t, "log").lines().map(str::to_string).collect()
}

fn both(kinds: &[&str]) -> Vec<String> {
    kinds.iter().flat_map(|kind| [format!("{kind}.0"), format!("{kind}.1")]).collect()
}

#[test]
fn run_in_order_at_their_moments() {
    if poststart_is_early() {
        skip!("another runtime calls poststart at the end of `create`");
    }
    let mut t = noting();
    let written = t.path("notes/log");
    t.args(&["sh", "-c", &format!("echo program >> {written}; exec sleep 5000")]);
    t.create().ok();
    assert_eq!(log(&t), both(&KINDS[..3]));
    t.start().ok();
    crate::harness::wait_until("the program", || log(&t).len() == 11);
    let after: Vec<String> = log(&t)[6..].to_vec();
    assert_eq!(after[..2], both(&["startContainer"]));
    let rest: Vec<String> = after.into_iter().filter(|l| l != "program").collect();
    assert_eq!(rest, both(&["startContainer", "poststart"]));
    t.kill("KILL").ok();
    t.wait_status("stopped");
    t.delete().ok();
    assert_eq!(log(&t)[11..], both(&["poststop"]));
    t.assert_clean();
}

#[test]
fn run_of_everything_calls_all() {
    let mut t = noting();
    t.run_args(&["true"]).ok();
    let mut order = KINDS;
    if poststart_is_early() {
        order.swap(3, 4);
    }
    assert_eq!(log(&t), both(&order));
    t.assert_clean();
}

#[test]
fn state_is_on_standard_input() {
    let mut t = noting();
    t.config["annotations"] = json!({"org.example.key": "value"});
    t.args(&["payload", "sleep", "5000"]);
    t.create().ok();
    let pid = t.pid();
    t.start().ok();
    t.finish();
    let poststart = if poststart_is_early() { "created" } else { "running" };
    let expected = ["creating", "creating", "creating", "created", poststart, "stopped"];
    for (kind, status) in KINDS.iter().zip(expected) {
        let state: Value = serde_json::from_str(&note(&t, &format!("{kind}.0.state"))).unwrap();
        assert_eq!(state["id"], t.id, "{kind}");
        assert_eq!(state["status"], status, "{kind}");
        assert_eq!(state["bundle"], fs::canonicalize(t.bundle()).unwrap().to_str().unwrap(), "{kind}");
        assert_eq!(state["annotations"]["org.example.key"], "value", "{kind}");
        assert!(state["ociVersion"].as_str().unwrap().starts_with("1."), "{kind}");
        match *kind {
            "prestart" | "createRuntime" | "poststart" => assert_eq!(state["pid"], pid, "{kind}"),
            "createContainer" | "startContainer" if is_oxrun() => assert_eq!(state["pid"], 1, "{kind}"),
            _ => {}
        }
    }
}

#[test]
fn environment_and_arguments_are_their_own() {
    let mut t = noting();
    t.run_args(&["true"]).ok();
    for kind in KINDS {
        for number in 0..2 {
            let name = format!("{kind}.{number}");
            let mut env: Vec<String> = note(&t, &format!("{name}.env")).lines().map(str::to_string).collect();
            env.sort();
            assert_eq!(env, [format!("HOOK={name}"), "PATH=/bin:/usr/bin".to_string()], "{name}");
            assert_eq!(note(&t, &format!("{name}.args")), "own-name one two", "{name}");
        }
    }
}

#[test]
fn environment_is_inherited_when_not_given() {
    let mut t = noting();
    for kind in KINDS {
        t.config["hooks"][kind][0].as_object_mut().unwrap().remove("env");
    }
    t.args(&["true"]).write_config();
    let mut command = t.command(&["run", &t.id]);
    command.env("FROM_CALLER", "yes");
    t.spawn(command).wait().ok();
    for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
        let env = note(&t, &format!("{kind}.0.env"));
        if !is_oxrun() && !env.contains("FROM_CALLER=yes") {
            skip!("another runtime gives {kind} an empty environment");
        }
        assert!(env.contains("FROM_CALLER=yes"), "{kind}: {env}");
    }
    let inside = note(&t, "startContainer.0.env");
    assert!(inside.contains("TERM=xterm") && !inside.contains("FROM_CALLER"), "{inside}");
}

#[test]
fn working_directory_is_the_bundle() {
    let mut t = noting();
    t.args(&["true"]).write_config();
    let bundle = fs::canonicalize(t.bundle()).unwrap().display().to_string();
    let mut command = t.command(&["run", "--bundle", &bundle, &t.id]);
    command.current_dir("/");
    let outcome = t.spawn(command).wait().ok();
    drop(outcome);
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        let cwd = note(&t, &format!("{kind}.0.cwd"));
        if !is_oxrun() && cwd.ends_with("/rootfs") {
            crate::harness::note_skip(&format!("another runtime calls {kind} in the root filesystem"));
            continue;
        }
        assert_eq!(cwd, bundle, "{kind}");
    }
    assert_eq!(note(&t, "startContainer.0.cwd"), "/");
}

#[test]
fn namespaces_are_the_right_ones() {
    let mut t = noting();
    t.args(&["payload", "sleep", "5000"]);
    t.create().ok();
    let link =
        |file: &str| fs::read_link(format!("/proc/{}/ns/{file}", t.pid())).unwrap().display().to_string();
    let (mount, pid) = (link("mnt"), link("pid"));
    t.start().ok();
    t.finish();
    let own = fs::read_link("/proc/self/ns/mnt").unwrap().display().to_string();
    for kind in KINDS {
        let inside = ["createContainer", "startContainer"].contains(&kind);
        let expected = if inside { &mount } else { &own };
        assert_eq!(&note(&t, &format!("{kind}.0.mnt")), expected, "{kind}");
        assert_eq!(note(&t, &format!("{kind}.0.pid")) == pid, inside, "{kind}");
    }
}

#[test]
fn no_descriptors_leak_into_hooks() {
    let mut t = noting();
    let secret = t.path("secret");
    fs::write(&secret, "x").unwrap();
    t.args(&["true"]).write_config();
    let command = t.prepared(&["with-fd", &format!("{secret},4,5,9,40")], &["run", &t.id]);
    t.spawn(command).wait().ok();
    for kind in KINDS {
        let open: Vec<String> = note(&t, &format!("{kind}.0.fds")).lines().map(str::to_string).collect();
        // Descriptor 3 is the directory that `ls` lists.
        let more: Vec<&String> =
            open.iter().filter(|fd| !["0", "1", "2", "3"].contains(&fd.as_str())).collect();
        if !is_oxrun() && !more.is_empty() {
            skip!("another runtime leaks {more:?} into {kind}");
        }
        assert!(more.is_empty(), "{kind}: {more:?}");
    }
}

#[test]
fn mounts_are_there_for_create_container() {
    let mut t = noting();
    let notes = t.path("notes");
    let root = fs::canonicalize(t.rootfs()).unwrap().display().to_string();
    let script = format!("test -e {root}/proc/self/stat && echo yes > {notes}/seen; true");
    t.config["hooks"] = json!({"createContainer": [config::shell_hook(&script)]});
    t.run_args(&["true"]).ok();
    assert_eq!(note(&t, "seen"), "yes");
}

#[test]
fn network_namespace_is_reachable_for_create_runtime() {
    let mut t = noting();
    let notes = t.path("notes");
    let script =
        format!("pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); readlink /proc/$pid/ns/net > {notes}/net");
    t.config["hooks"] = json!({"createRuntime": [config::shell_hook(&script)]});
    let report = t.report();
    assert_eq!(report["namespaces"]["net"], note(&t, "net"));
}

#[test]
fn failing_start_container_stops_the_container() {
    let mut t = noting();
    t.config["hooks"]["startContainer"][1] = config::shell_hook("exit 4");
    let marker = t.path("notes/ran");
    t.args(&["touch", &marker]);
    t.run().failed().says_in_oxrun("startContainer");
    assert!(fs::metadata(&marker).is_err(), "the program ran");
    t.assert_clean();
    let ran: Vec<String> = log(&t).into_iter().filter(|l| !l.starts_with("post")).collect();
    assert_eq!(ran, both(&KINDS[..4])[..7]);
}

#[test]
fn failing_start_container_fails_start() {
    let mut t = noting();
    t.config["hooks"]["startContainer"][1] = config::shell_hook("exit 4");
    t.args(&["true"]);
    t.create().ok();
    let start = t.start();
    if !is_oxrun() && start.code == 0 {
        skip!("the start of another runtime returns before this hook");
    }
    start.failed().says(&["startContainer"]).one_line();
    t.wait_status("stopped");
    t.delete().ok();
    t.assert_clean();
    assert!(log(&t).ends_with(&both(&["poststop"])));
}

#[test]
fn failing_poststart_stops_the_container() {
    let mut t = noting();
    t.config["ociVersion"] = json!("1.3.0");
    t.config["hooks"]["poststart"][0] = config::shell_hook("exit 4");
    t.args(&["payload", "sleep", "5000"]);
    t.run().failed().says_in_oxrun("poststart");
    t.assert_clean();
    assert!(!log(&t).contains(&"poststart.1".to_string()), "a hook after the failed one ran");
}

#[test]
fn failing_poststop_is_a_warning() {
    let mut t = noting();
    t.config["hooks"]["poststop"][0] = config::shell_hook("exit 4");
    t.args(&["true"]);
    t.create().ok();
    t.kill("KILL").ok();
    t.wait_status("stopped");
    let outcome = t.delete();
    if !is_oxrun() && outcome.code != 0 {
        skip!("another runtime takes it for an error");
    }
    outcome.ok().says_in_oxrun("poststop");
    if !is_oxrun() {
        skip!("another runtime stops at the first hook that fails");
    }
    assert!(log(&t).contains(&"poststop.1".to_string()), "the hooks after it run");
    t.assert_clean();
}

#[test]
fn failed_create_runs_poststop() {
    let mut t = noting();
    t.config["hooks"]["createRuntime"][1] = config::shell_hook("exit 4");
    t.args(&["true"]);
    t.create().failed();
    t.assert_clean();
    if !is_oxrun() && !log(&t).contains(&"poststop.0".to_string()) {
        skip!("another runtime runs no poststop hooks after a failed create");
    }
    assert_eq!(log(&t), ["prestart.0", "prestart.1", "createRuntime.0", "poststop.0", "poststop.1"]);
}

#[test]
fn hook_s_error_output_is_in_the_message() {
    let mut t = Sandbox::new();
    t.config["hooks"] = json!({"createRuntime": [config::shell_hook("echo the-reason >&2; exit 9")]});
    t.args(&["true"]);
    t.create().failed().says(&["the-reason"]).says(&["9"]).one_line();
    t.assert_clean();
}

#[test]
fn hook_that_does_not_read_its_input_is_fine() {
    let mut t = Sandbox::new();
    t.config["annotations"] = json!({"long": "x".repeat(300_000)});
    t.config["hooks"] =
        json!({"createRuntime": [{"path": "/bin/true"}], "poststop": [{"path": "/bin/true"}]});
    let outcome = t.run_args(&["true"]);
    if !is_oxrun() && outcome.code != 0 {
        skip!("another runtime wants its hooks to read: {}", outcome.stderr);
    }
    outcome.ok();
    t.assert_clean();
}

#[test]
fn hook_that_leaves_a_child_behind_does_not_hang() {
    let mut t = Sandbox::new();
    let child = t.path("child");
    let script = format!("sleep 5000 >/dev/null 2>&1 </dev/null & echo $! > {child}");
    t.config["hooks"] = json!({"createRuntime": [config::shell_hook(&script)]});
    t.run_args(&["true"]).ok();
    let child = fs::read_to_string(child).unwrap().trim().parse().unwrap();
    let child = rustix::process::Pid::from_raw(child).unwrap();
    rustix::process::kill_process(child, rustix::process::Signal::KILL).expect("the child is still there");
    crate::harness::wait_until("the child's end", || host::processes_with(&t.id).is_empty());
}

#[test]
fn timeout_is_no_matter_for_a_quick_hook() {
    let mut t = Sandbox::new();
    t.config["hooks"] = json!({"createRuntime": [{"path": "/bin/true", "timeout": 5}]});
    t.run_args(&["true"]).ok();
}
