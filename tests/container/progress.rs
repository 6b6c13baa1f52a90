//! What is waited for is said on a terminal, after a while: by commands that wait for systemd, for a process
//! that does not end, and of many containers for each. Of CRIU it is in `checkpoint_fake`. A test makes the
//! wait last until its word was read, so that it depends on no clock.

use crate::console::{self, Master};
use crate::fake_systemd::{self, Answer};
use crate::harness::{Running, Sandbox, is_oxrun, wait_until};
use crate::host;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

macro_rules! needs_words {
    () => {
        if !is_oxrun() {
            skip!("the words are oxrun's");
        }
    };
}

/// Starts a command on a terminal of its own.
fn on_terminal(t: &Sandbox, command: Command) -> (Running, Master) {
    let (master, terminal) = console::pair();
    (t.spawn_on(command, &terminal), master)
}

/// Waits for a file that a test makes.
fn until_there(file: &Path) {
    wait_until("the test to go on", || file.exists());
}

/// A sandbox whose container is a unit of a systemd that waits with its answer to each `method` until the
/// file is there.
fn slow_systemd(method: &'static str) -> (Sandbox, PathBuf) {
    let mut t = Sandbox::new();
    t.config["linux"]["cgroupsPath"] = json!(format!("system.slice:oxt:{}", t.id));
    t.args(&["payload", "sleep", "5000"]).write_config();
    let file = t.dir().join("go-on");
    let wait_for = file.clone();
    fake_systemd::start(&t, &format!("/{}fake", t.id), move |called, _| {
        if called == method {
            until_there(&wait_for);
        }
        Answer::Good
    });
    (t, file)
}

/// Another container of the sandbox, which is no unit.
fn add_plain(t: &mut Sandbox) -> String {
    let id = t.other_id("z");
    t.config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
    t.write_config();
    t.runtime(&["create", &id]).ok();
    id
}

#[test]
fn of_many_containers_the_wait_and_how_many_are_done() {
    needs_words!();
    if host::is_cgroup_v2() {
        skip!("the cgroup of such a unit would be systemd's to make");
    }
    let (mut t, go_on) = slow_systemd("StopUnit");
    t.spawn(fake_systemd::command(&t, &["--systemd-cgroup", "create", &t.id])).wait().ok();
    let other = add_plain(&mut t);
    let pattern = format!("^{}", t.id);
    let command = fake_systemd::command(&t, &["delete", "--force", "--regex", &pattern]);
    let (running, mut terminal) = on_terminal(&t, command);
    terminal.wait_for(&format!("oxrun: waiting for systemd to stop unit `oxt-{}.scope`\r\n", t.id));
    fs::write(&go_on, "").unwrap();
    running.wait().ok();
    let words = terminal.rest();
    assert!(words.ends_with(&format!("oxrun: 1 of 2 containers done, next is `{other}`\r\n")), "{words}");
    assert_eq!(words.lines().count(), 2, "{words}");
    t.assert_clean();
}

#[test]
fn of_a_create_that_was_killed_what_gc_waits_for() {
    needs_words!();
    if host::is_cgroup_v2() {
        skip!("the cgroup of such a unit would be systemd's to make");
    }
    let (mut t, go_on) = slow_systemd("StartTransientUnit");
    let (create, mut terminal) =
        on_terminal(&t, fake_systemd::command(&t, &["--systemd-cgroup", "create", &t.id]));
    terminal.wait_for(&format!("oxrun: waiting for systemd to start unit `oxt-{}.scope`\r\n", t.id));
    create.signal(rustix::process::Signal::KILL);
    create.wait();
    let other = add_plain(&mut t);
    // The manager has the earlier call in its hands, and takes up the next one after it.
    let (gc, mut terminal) = on_terminal(&t, fake_systemd::command(&t, &["gc", "--force"]));
    terminal.wait_for(&format!("oxrun: waiting for systemd to find the cgroup of unit `oxt-{}.scope`", t.id));
    fs::write(&go_on, "").unwrap();
    gc.wait().ok();
    let words = terminal.rest();
    let next = format!("oxrun: looked at 1 of 2 containers, next is `{other}`\r\n");
    assert!(words.contains(&next), "{words}");
    t.runtime(&["delete", "--force", &other]).ok();
    t.assert_clean();
}

/// Holds a process back from its end until it is dropped, as a tracer does.
struct Held(Child);

impl Held {
    fn new(pid: i32) -> Held {
        let script = "import ctypes, sys\n\
                      trace = ctypes.CDLL(None, use_errno=True).ptrace\n\
                      trace.argtypes = [ctypes.c_long] * 4\n\
                      SEIZE, TRACEEXIT = 0x4206, 0x40\n\
                      assert trace(SEIZE, int(sys.argv[1]), 0, TRACEEXIT) == 0, ctypes.get_errno()\n\
                      print('held', flush=True)\nsys.stdin.read()\n";
        let mut command = Command::new("python3");
        command.args(["-c", script, &pid.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut word = [0; 5];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut word).unwrap();
        Held(child)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn of_a_process_that_does_not_end() {
    needs_words!();
    let mut t = Sandbox::new();
    t.args(&["payload", "sleep", "5000"]).write_config();
    t.runtime(&["run", "--detach", &t.id]).ok();
    let pid = t.pid();
    let held = Held::new(pid);
    let (delete, mut terminal) = on_terminal(&t, t.command(&["delete", "--force", &t.id]));
    terminal.wait_for(&format!("oxrun: waiting for the end of container `{}` (pid {pid})\r\n", t.id));
    drop(held);
    delete.wait().ok();
    assert_eq!(terminal.rest().lines().count(), 1);
    t.assert_clean();
}

/// Init waits for it, and is on its way out itself; it is the cgroup that is not empty.
#[test]
fn of_a_cgroup_whose_process_does_not_end() {
    needs_words!();
    let mut t = Sandbox::new();
    t.args(&["payload", "sleep", "5000"]).write_config();
    t.runtime(&["run", "--detach", &t.id]).ok();
    let pid_file = t.path("pid");
    t.runtime(&["exec", "--detach", "--pid-file", &pid_file, &t.id, "sleep", "5000"]).ok();
    let pid = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    let held = Held::new(pid);
    let (delete, mut terminal) = on_terminal(&t, t.command(&["delete", "--force", &t.id]));
    terminal.wait_for("oxrun: waiting for the processes in cgroup `/sys/fs/cgroup/");
    drop(held);
    // Its parent is this process, and init waits for it.
    t.reap(pid);
    delete.wait().ok();
    // Where that came too late for it, its cgroup is left.
    t.remove_leftovers();
}
