//! Terminals: handed out over a console socket, and `run` in the foreground on the caller's own.

use crate::console::{self, Master};
use crate::harness::{Running, Sandbox, is_oxrun, wait_until};
use rustix::process::Signal;
use rustix::termios::{LocalModes, OutputModes, tcgetattr};
use serde_json::{Value, json};
use std::fs::{self, File};

/// A container with a terminal whose master came over the socket; created, not started.
fn created(t: &mut Sandbox, args: &[&str]) -> (Master, Vec<u8>) {
    t.config["process"]["terminal"] = json!(true);
    let path = t.path("console.sock");
    let _ = fs::remove_file(&path);
    let listener = console::listen(path.as_ref());
    t.args(args);
    t.create_with(&["--console-socket", &path]).ok();
    console::receive(&listener)
}

/// `run` on a terminal of its own; the master, the terminal itself, and the command.
fn on_terminal(t: &mut Sandbox, args: &[&str]) -> (Master, File, Running) {
    t.config["process"]["terminal"] = json!(true);
    t.args(args).write_config();
    let (master, other) = console::pair();
    let mut command = t.prepared(&["with-tty"], &["run", &t.id]);
    command.stdin(other.try_clone().unwrap());
    let running = t.spawn_on(command, &other);
    (master, other, running)
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text.trim()).unwrap_or_else(|e| panic!("{e}: {text:?}"))
}

#[test]
fn console_socket_gets_the_terminal() {
    let mut t = Sandbox::new();
    let (mut master, data) = created(&mut t, &["payload", "report"]);
    assert!(!data.is_empty() && data.len() < 4096);
    t.start().ok();
    let report = json_of(&master.rest());
    for number in 0..3 {
        let tty = &report["tty"][number];
        assert_eq!((&tty["terminal"], &tty["major"]), (&json!(true), &json!(136)), "{tty}");
        assert!(tty["link"].as_str().unwrap().starts_with("/dev/pts/"), "{tty}");
        assert_eq!((&tty["uid"], &tty["gid"]), (&json!(0), &json!(5)));
    }
    assert_eq!(report["sid"], 1);
    let open: Vec<&String> = report["fds"].as_object().unwrap().keys().collect();
    assert_eq!(open, ["0", "1", "2"], "{}", report["fds"]);
}

#[test]
fn detached_run_sends_the_terminal_too() {
    let mut t = Sandbox::new();
    t.config["process"]["terminal"] = json!(true);
    t.args(&["payload", "size"]).write_config();
    let path = t.path("console.sock");
    let listener = console::listen(path.as_ref());
    t.runtime(&["run", "-d", "--console-socket", &path, &t.id]).ok();
    let (mut master, _) = console::receive(&listener);
    master.wait_for("size ");
    master.resize(33, 99);
    master.wait_for("size 33x99");
}

#[test]
fn newlines_over_a_socket_are_turned_by_the_terminal() {
    let mut t = Sandbox::new();
    let (mut master, _) = created(&mut t, &["sh", "-c", "echo one; read line; echo two"]);
    t.start().ok();
    master.wait_for("one\r\n");
    let path = t.path("second.sock");
    let listener = console::listen(path.as_ref());
    let pid_file = t.path("exec.pid");
    let flags = ["exec", "--detach", "--tty", "--pid-file", &pid_file, "--console-socket", &path];
    t.runtime(&[&flags[..], &[&t.id, "echo", "three"]].concat()).ok();
    assert_eq!(console::receive(&listener).0.rest(), "three\r\n");
    t.reap(fs::read_to_string(&pid_file).unwrap().parse().unwrap());
    master.write("\n");
    assert!(master.rest().ends_with("two\r\n"));
}

#[test]
fn long_socket_paths_work() {
    let mut t = Sandbox::new();
    t.config["process"]["terminal"] = json!(true);
    t.args(&["true"]).write_config();
    let deep = t.path(&"d".repeat(100));
    fs::create_dir(&deep).unwrap();
    // Bound elsewhere and moved: the whole path is longer than an address may be.
    let listener = console::listen(&t.dir().join("console.sock"));
    fs::rename(t.path("console.sock"), format!("{deep}/console.sock")).unwrap();
    let outcome = t.create_with(&["--console-socket", &format!("{deep}/console.sock")]);
    if !is_oxrun() && outcome.code != 0 {
        skip!("another runtime takes no socket path above 107 bytes");
    }
    outcome.ok();
    console::receive(&listener);
}

#[test]
fn console_is_the_same_terminal() {
    let mut t = Sandbox::new();
    let words = [
        "payload",
        "do",
        "statl /dev/console",
        "statl /proc/self/fd/0",
        "statfs /dev/console",
        "write /dev/console x",
    ];
    let (mut master, _) = created(&mut t, &words);
    t.start().ok();
    let text = master.rest();
    let result = json_of(text.trim_start_matches('x'));
    assert_eq!((&result[0]["ok"]["type"], &result[0]["ok"]["major"]), (&json!("char"), &json!(136)));
    assert_eq!(result[0]["ok"]["minor"], result[1]["ok"]["minor"]);
    assert_eq!(result[2]["ok"], "1cd1", "/dev/console is on devpts");
    assert_eq!(result[3]["ok"], true);
}

#[test]
fn terminal_belongs_to_the_user() {
    let mut t = Sandbox::new();
    t.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    let (mut master, _) = created(&mut t, &["payload", "report"]);
    t.start().ok();
    let report = json_of(&master.rest());
    assert_eq!((&report["tty"][0]["uid"], &report["tty"][0]["gid"]), (&json!(1000), &json!(5)));
}

#[test]
fn terminal_is_the_controlling_one() {
    let mut t = Sandbox::new();
    let (mut master, _) = created(&mut t, &["sh", "-c", "echo to-tty > /dev/tty; exec payload trap 2"]);
    let pid = t.pid();
    t.start().ok();
    master.wait_for("to-tty");
    master.wait_for("ready");
    // Line discipline: an interrupt character becomes a signal for the foreground group.
    master.write("\u{1a}\u{3}");
    master.wait_for("signal 2");
    assert_eq!(t.reap(pid), 0);
}

#[test]
fn terminal_takes_input() {
    let mut t = Sandbox::new();
    let (mut master, _) = created(&mut t, &["payload", "stdio"]);
    t.start().ok();
    master.write("hello\n");
    master.wait_for("got hello");
    master.write("\u{4}");
    master.wait_for("end");
}

#[test]
fn console_size_is_set() {
    let mut t = Sandbox::new();
    t.config["process"]["consoleSize"] = json!({"height": 10, "width": 110});
    let (mut master, _) = created(&mut t, &["payload", "size"]);
    t.start().ok();
    master.wait_for("size 10x110");
    assert_eq!(master.size(), (10, 110));
}

#[test]
fn receiver_that_goes_away_hangs_up() {
    let mut t = Sandbox::new();
    let (mut master, _) = created(&mut t, &["sh", "-c", "echo ready; exec cat"]);
    let pid = t.pid();
    t.start().ok();
    master.wait_for("ready");
    drop(master);
    // The read of `cat` ends or fails; the first process of a pid namespace ignores SIGHUP.
    assert!([0, 1, 129].contains(&t.reap(pid)));
}

#[test]
fn terminal_with_read_only_root_and_without_dev() {
    let mut t = Sandbox::new();
    t.config["root"]["readonly"] = json!(true);
    let (mut master, _) = created(&mut t, &["payload", "report"]);
    t.start().ok();
    assert_eq!(json_of(&master.rest())["tty"][0]["terminal"], true);
}

#[test]
fn terminal_in_a_user_namespace() {
    let mut t = Sandbox::new();
    t.map_users(100_000);
    let (mut master, _) = created(&mut t, &["payload", "report"]);
    t.start().ok();
    let report = json_of(&master.rest());
    assert_eq!((&report["tty"][0]["terminal"], &report["tty"][0]["uid"]), (&json!(true), &json!(0)));
}

#[test]
fn create_lets_go_of_its_output() {
    let mut t = Sandbox::new();
    t.config["process"]["terminal"] = json!(true);
    t.args(&["payload", "sleep", "5000"]).write_config();
    let path = t.path("console.sock");
    let listener = console::listen(path.as_ref());
    let command = t.command(&["create", "--console-socket", &path, &t.id]);
    assert!(crate::harness::output_of(command).status.success());
    let _terminal = console::receive(&listener);
    t.finish();
}

#[test]
fn foreground_run_has_a_terminal_inside() {
    let mut t = Sandbox::new();
    let (mut master, other, running) = on_terminal(&mut t, &["payload", "report"]);
    let outcome = running.wait();
    drop(other);
    let text = master.rest();
    assert_eq!(outcome.code, 0, "{text}");
    assert!(
        text.ends_with("}\r\n") && !text.contains("\r\r"),
        "no staircase on the caller's terminal: {text:?}"
    );
    let report = json_of(&text);
    assert!((0..3).all(|n| report["tty"][n]["terminal"] == true), "{}", report["tty"]);
    assert!(report["tty"][0]["link"].as_str().unwrap().starts_with("/dev/pts/"));
    t.assert_clean();
}

#[test]
fn foreground_output_in_a_file_has_bare_newlines() {
    let mut t = Sandbox::new();
    t.config["process"]["terminal"] = json!(true);
    t.args(&["sh", "-c", "echo one; echo two; stty size"]).write_config();
    let (_master, other) = console::pair();
    let mut command = t.prepared(&["with-tty"], &["run", &t.id]);
    command.stdin(other.try_clone().unwrap());
    let outcome = t.spawn(command).wait().ok();
    assert!(outcome.stdout.starts_with("one\ntwo\n"), "{:?}", outcome.stdout);
    assert!(!outcome.stdout.contains('\r'), "{:?}", outcome.stdout);
}

#[test]
fn foreground_run_is_raw_and_restores() {
    let mut t = Sandbox::new();
    let (mut master, other, running) = on_terminal(&mut t, &["payload", "stdio"]);
    wait_until("raw mode", || !tcgetattr(&other).unwrap().local_modes.contains(LocalModes::ICANON));
    let raw = tcgetattr(&other).unwrap();
    assert!(!raw.local_modes.intersects(LocalModes::ECHO | LocalModes::ISIG));
    master.write("hello\n");
    master.wait_for("got hello");
    master.write("\u{4}");
    running.wait().ok();
    let after = tcgetattr(&other).unwrap();
    assert!(after.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG));
    assert!(after.output_modes.contains(OutputModes::OPOST));
}

#[test]
fn foreground_run_restores_after_a_failure_and_a_signal() {
    let mut t = Sandbox::new();
    let (_master, other, running) = on_terminal(&mut t, &["no-such-program"]);
    running.wait().failed();
    assert!(tcgetattr(&other).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO));
    let mut t = Sandbox::new();
    let (mut master, other, running) = on_terminal(&mut t, &["payload", "trap", "15"]);
    master.wait_for("ready");
    running.signal(Signal::TERM);
    running.wait().ok();
    assert!(tcgetattr(&other).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO));
}

#[test]
fn foreground_run_passes_the_exit_status() {
    let mut t = Sandbox::new();
    let (_master, _other, running) = on_terminal(&mut t, &["payload", "exit", "42"]);
    running.wait().exits(42);
}

#[test]
fn foreground_run_loses_no_output() {
    let mut t = Sandbox::new();
    let (mut master, other, running) = on_terminal(&mut t, &["seq", "1", "3000"]);
    master.wait_for("3000");
    running.wait().ok();
    drop(other);
    let text = master.rest();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    assert_eq!(lines.len(), 3000);
    assert_eq!((lines[0], lines[2999]), ("1", "3000"));
}

#[test]
fn foreground_run_follows_the_size() {
    let mut t = Sandbox::new();
    let (mut master, _other, running) = on_terminal(&mut t, &["payload", "size"]);
    master.wait_for("size ");
    for (rows, columns) in [(30, 100), (50, 132)] {
        master.resize(rows, columns);
        master.wait_for(&format!("size {rows}x{columns}"));
    }
    t.kill("KILL").ok();
    running.wait().exits(137);
}

#[test]
fn control_characters_reach_the_container() {
    let mut t = Sandbox::new();
    let (mut master, _other, running) = on_terminal(&mut t, &["payload", "trap", "2"]);
    master.wait_for("ready");
    master.write("\u{3}");
    master.wait_for("signal 2");
    running.wait().ok();
}
