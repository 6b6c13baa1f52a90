//! Containers written to images and made again by CRIU, as a whole. CRIU and the kernel have to get along,
//! which they do not everywhere: `make test-criu` boots a machine where they do.

use crate::console;
use crate::harness::{Sandbox, host_command, wait_until};
use crate::{config, host};
use rustix::process::{Pid, WaitOptions, waitpid};
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

/// Leaves tests of CRIU out where nobody said that it works.
macro_rules! needs_criu {
    () => {
        if std::env::var_os("TEST_CRIU").is_none() {
            skip!("`make test-criu` boots a machine whose kernel and CRIU get along");
        }
    };
}
pub(crate) use needs_criu;

const CAP_SYS_RESOURCE: u32 = 24;

/// What CRIU can do on this kernel.
pub fn has_feature(name: &str) -> bool {
    let mut check = std::process::Command::new("criu");
    check.args(["check", "--feature", name]).output().unwrap().status.success()
}

/// Who makes the cgroup.
#[derive(Clone, Copy, PartialEq)]
pub enum Driver {
    Files,
    Systemd,
}

/// A container that counts, in a bundle that says so.
pub fn counting(driver: Driver) -> Sandbox {
    let mut t = Sandbox::new();
    t.args(&["payload", "survive", "/tmp/journal", "/tmp/stop"]);
    t.config["linux"]["resources"]["memory"] = json!({"limit": 128 << 20});
    t.config["linux"]["resources"]["pids"] = json!({"limit": 64});
    t.config["linux"]["cgroupsPath"] = match driver {
        Driver::Files => json!(format!("/oxt/{}", t.id)),
        Driver::Systemd => json!(format!("system.slice:oxt:{}", t.id)),
    };
    t
}

/// Adds a bind mount of something in the test's directory.
pub fn bind(t: &mut Sandbox, destination: &str, name: &str, options: &[&str]) {
    let source = t.path(name);
    config::add_mount(&mut t.config, destination, "bind", &source, options);
}

/// Calls with the driver's option.
pub fn by<'a>(driver: Driver, words: &[&'a str]) -> Vec<&'a str> {
    let option = (driver == Driver::Systemd).then_some("--systemd-cgroup");
    option.into_iter().chain(words.iter().copied()).collect()
}

/// A call whose container gets the null device for input, output and errors: a file of the host would have
/// to be given again as it was.
#[track_caller]
pub fn quietly(t: &Sandbox, words: &[&str]) {
    let log = t.path("log");
    let mut command = t.command(&[&["--log", &log], words].concat());
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{words:?}: {}", fs::read_to_string(log).unwrap_or_default());
}

/// Starts it detached.
#[track_caller]
pub fn start(t: &Sandbox, driver: Driver) {
    t.write_config();
    quietly(t, &by(driver, &["run", "-d", &t.id]));
}

/// The last number that it wrote down; all before are there once and in order.
#[track_caller]
pub fn count(t: &Sandbox) -> usize {
    let journal = fs::read_to_string(t.rootfs().join("tmp/journal")).unwrap_or_default();
    let complete = journal.rsplit_once('\n').map_or("", |(lines, _)| lines);
    for (number, line) in complete.lines().enumerate() {
        assert_eq!(line, number.to_string(), "the journal has a gap or a repetition");
    }
    complete.lines().count()
}

/// Waits until it has gone on from there.
#[track_caller]
pub fn goes_on(t: &Sandbox, from: usize) {
    wait_until("the container to count", || count(t) > from + 2);
}

/// `checkpoint` into a directory of the test; the process is gone then, and so is the container.
#[track_caller]
pub fn checkpoint(t: &Sandbox, images: &str, options: &[&str]) {
    let pid = t.pid();
    let (images, work) = (t.path(images), t.path("work"));
    let words = ["checkpoint", "--image-path", &images, "--work-path", &work];
    t.runtime(&words.iter().chain(options).copied().chain([t.id.as_str()]).collect::<Vec<_>>()).ok();
    t.runtime(&["state", &t.id]).failed().says(&["does not exist"]);
    t.reap(pid);
    t.assert_clean();
}

/// `restore --detach` from there.
#[track_caller]
pub fn restore(t: &Sandbox, driver: Driver, images: &str, options: &[&str]) {
    let (images, work) = (t.path(images), t.path("work"));
    let words = ["restore", "--detach", "--image-path", &images, "--work-path", &work];
    let words: Vec<&str> = words.iter().chain(options).copied().chain([t.id.as_str()]).collect();
    quietly(t, &by(driver, &words));
    let log = || fs::read_to_string(t.dir().join("work/restore.log")).unwrap_or_default();
    assert_eq!(t.status(), "running", "{}", log());
}

fn limit(t: &Sandbox, controller: &str, v1: &str, v2: &str) -> String {
    let directory = host::cgroup_of(t.pid(), controller).unwrap();
    let file = if host::is_cgroup_v2() { v2 } else { v1 };
    fs::read_to_string(directory.join(file)).unwrap().trim().to_string()
}

fn survives_twice(driver: Driver) {
    let t = counting(driver);
    start(&t, driver);
    goes_on(&t, 0);
    let path = |pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let before = path(t.pid());
    for round in ["one", "two"] {
        checkpoint(&t, round, &[]);
        let at = count(&t);
        let file = t.path("pid");
        restore(&t, driver, round, &["--pid-file", &file]);
        assert_eq!(fs::read_to_string(&file).unwrap(), t.pid().to_string());
        goes_on(&t, at);
        assert_eq!(path(t.pid()), before, "the cgroup");
        assert_eq!(limit(&t, "memory", "memory.limit_in_bytes", "memory.max"), (128 << 20).to_string());
        assert_eq!(limit(&t, "pids", "pids.max", "pids.max"), "64");
        let answer = t.runtime(&["exec", &t.id, "nc", "127.0.0.1", "7000"]).ok();
        assert!(answer.stdout.starts_with("round "), "the TCP listener: {}", answer.stdout);
        let processes = t.runtime(&["ps", "--format", "json", &t.id]).ok().json();
        assert_eq!(processes.as_array().unwrap().len(), 2, "it and its child: {processes}");
    }
    let pid = t.pid();
    fs::write(t.rootfs().join("tmp/stop"), "").unwrap();
    assert_eq!(t.reap(pid), 7, "the exit status reaches the restored process's parent");
    t.wait_status("stopped");
    t.delete().ok();
    t.assert_clean();
}

#[test]
fn survives_twice_on_cgroupfs() {
    needs_criu!();
    survives_twice(Driver::Files);
}

#[test]
fn survives_twice_on_systemd() {
    needs_criu!();
    if !host::has_systemd() {
        skip!("systemd is not running here");
    }
    survives_twice(Driver::Systemd);
}

/// A chain of pre-dumps; the container goes on between them.
fn pre_dump_chain(driver: Driver) {
    if !has_feature("mem_dirty_track") {
        skip!("no memory tracking here");
    }
    let t = counting(driver);
    start(&t, driver);
    goes_on(&t, 0);
    let work = t.path("work");
    for (images, parent) in [("pre1", None), ("pre2", Some("../pre1"))] {
        let path = t.path(images);
        let mut words = vec!["checkpoint", "--pre-dump", "--image-path", &path, "--work-path", &work];
        words.extend(parent.into_iter().flat_map(|parent| ["--parent-path", parent]));
        words.push(&t.id);
        t.runtime(&words).ok();
        assert_eq!(t.status(), "running");
        goes_on(&t, count(&t));
    }
    let at = count(&t);
    checkpoint(&t, "last", &["--parent-path", "../pre2", "--auto-dedup"]);
    assert!(count(&t) >= at);
    let parent = fs::canonicalize(t.dir().join("last/parent")).unwrap();
    assert_eq!(parent, fs::canonicalize(t.path("pre2")).unwrap());
    let refused = t.path("pre1");
    t.runtime(&["restore", "-d", "--image-path", &refused, &t.id])
        .failed()
        .says(&["no pstree.img"])
        .one_line();
    let at = count(&t);
    restore(&t, driver, "last", &[]);
    goes_on(&t, at);
}

#[test]
fn pre_dumps_and_the_rest_make_a_container() {
    needs_criu!();
    pre_dump_chain(Driver::Files);
}

#[test]
fn pre_dumps_and_the_rest_make_a_container_on_systemd() {
    needs_criu!();
    if !host::has_systemd() {
        skip!("systemd is not running here");
    }
    pre_dump_chain(Driver::Systemd);
}

fn left_running(driver: Driver) {
    let t = counting(driver);
    start(&t, driver);
    goes_on(&t, 0);
    let (images, pid) = (t.path("images"), t.pid());
    // Twice, as engines say it.
    t.runtime(&["checkpoint", "--image-path", &images, "--leave-running", "--leave-running", &t.id]).ok();
    assert!(t.dir().join("images/dump.log").exists(), "without --work-path the log is beside the images");
    assert_eq!((t.status().as_str(), t.pid()), ("running", pid));
    goes_on(&t, count(&t));
    t.runtime(&["restore", "-d", "--image-path", &images, &t.id]).failed().says(&["already exists"]);
    goes_on(&t, count(&t));
    // A paused container stays paused.
    t.runtime(&["pause", &t.id]).ok();
    t.runtime(&["checkpoint", "--image-path", &t.path("paused"), "--leave-running", &t.id]).ok();
    assert_eq!(t.status(), "paused");
    t.runtime(&["resume", &t.id]).ok();
    goes_on(&t, count(&t));
    t.runtime(&["pause", &t.id]).ok();
    checkpoint(&t, "from-paused", &[]);
    let at = count(&t);
    restore(&t, driver, "from-paused", &[]);
    goes_on(&t, at);
}

#[test]
fn goes_on_where_it_is_left_running() {
    needs_criu!();
    left_running(Driver::Files);
}

#[test]
fn goes_on_where_it_is_left_running_on_systemd() {
    needs_criu!();
    if !host::has_systemd() {
        skip!("systemd is not running here");
    }
    left_running(Driver::Systemd);
}

/// Memory comes when it is touched, from a server that the dump becomes.
fn lazily(driver: Driver, port: &str) {
    if !host::has_capability(CAP_SYS_RESOURCE) {
        skip!("CRIU may not raise its limit of open files here");
    }
    let t = counting(driver);
    start(&t, driver);
    goes_on(&t, 0);
    let (images, work, server) = (t.path("images"), t.path("work"), format!("127.0.0.1:{port}"));
    let pid = t.pid();
    let (read, write) = std::io::pipe().unwrap();
    let options = ["--lazy-pages", "--page-server", &server, "--status-fd", "1", "--image-path", &images];
    let words = [&["checkpoint"], &options[..], &["--work-path", &work, &t.id]].concat();
    let mut dump = t.command(&words);
    dump.stdout(write);
    let errors = fs::File::create(t.path("dump.err")).unwrap();
    dump.stderr(errors);
    let mut dumping = dump.spawn().unwrap();
    drop(dump);
    let mut byte = [1u8; 1];
    std::io::Read::read_exact(&mut { read }, &mut byte).unwrap_or_else(|e| {
        panic!("the dump says when it serves: {e}: {}", fs::read_to_string(t.path("dump.err")).unwrap())
    });
    assert_eq!(byte, [0]);
    let mut fetch = std::process::Command::new("criu")
        .args([
            "lazy-pages",
            "--page-server",
            "--address",
            "127.0.0.1",
            "--port",
            port,
            "-D",
            &images,
            "-W",
            &work,
        ])
        .spawn()
        .unwrap();
    wait_until("the server of pages", || t.dir().join("work/lazy-pages.socket").exists());
    let other = t.other_id("lazy");
    let words = [
        "restore",
        "--detach",
        "--lazy-pages",
        "--manage-cgroups-mode",
        "ignore",
        "--image-path",
        &images,
        "--work-path",
        &work,
        &other,
    ];
    // The first one is still there: another cgroup.
    let at = count(&t);
    let mut moved = t.config.clone();
    moved["linux"]["cgroupsPath"] =
        json!(t.config["linux"]["cgroupsPath"].as_str().unwrap().to_string() + "lazy");
    fs::write(t.bundle().join("config.json"), moved.to_string()).unwrap();
    t.runtime(&by(driver, &words)).ok();
    goes_on(&t, at);
    assert!(dumping.wait().unwrap().success(), "{}", fs::read_to_string(t.path("dump.err")).unwrap());
    assert!(fetch.wait().unwrap().success());
    let _ = waitpid(Pid::from_raw(pid), WaitOptions::NOHANG);
    t.runtime(&["state", &t.id]).failed();
    goes_on(&t, count(&t));
    t.runtime(&["delete", "--force", &other]).ok();
}

#[test]
fn memory_comes_lazily() {
    needs_criu!();
    lazily(Driver::Files, "27277");
}

#[test]
fn memory_comes_lazily_on_systemd() {
    needs_criu!();
    if !host::has_systemd() {
        skip!("systemd is not running here");
    }
    lazily(Driver::Systemd, "27278");
}

/// A dump that cannot be done: a socket whose other end is outside. The container goes on as it was.
fn unsupported(driver: Driver) {
    let mut t = counting(driver);
    let listener = std::os::unix::net::UnixListener::bind(t.dir().join("outside.sock")).unwrap();
    bind(&mut t, "/outside.sock", "outside.sock", &["bind"]);
    start(&t, driver);
    goes_on(&t, 0);
    let (_peer, _) = listener.accept().unwrap();
    let (images, work) = (t.path("images"), t.path("work"));
    let dump = ["checkpoint", "--image-path", &images, "--work-path", &work, &t.id];
    let refused = t.runtime(&dump).failed().one_line().says(&["unix"]);
    assert!(
        refused.stderr.contains("CRIU: ") && refused.stderr.contains("work/dump.log"),
        "{}",
        refused.stderr
    );
    assert_eq!(t.status(), "running");
    goes_on(&t, count(&t));
    t.finish();
}

#[test]
fn what_cannot_be_written_goes_on() {
    needs_criu!();
    unsupported(Driver::Files);
}

#[test]
fn what_cannot_be_written_goes_on_on_systemd() {
    needs_criu!();
    if !host::has_systemd() {
        skip!("systemd is not running here");
    }
    unsupported(Driver::Systemd);
}

#[test]
fn a_terminal_comes_back() {
    needs_criu!();
    let mut t = Sandbox::new();
    t.config["process"]["terminal"] = json!(true);
    t.args(&["sh", "-c", "stty -echo; echo up; while read x; do echo got $x; done"]).write_config();
    let path = t.path("console.sock");
    let listener = console::listen(path.as_ref());
    t.runtime(&["run", "-d", "--console-socket", &path, &t.id]).ok();
    let (mut master, _) = console::receive(&listener);
    master.wait_for("up");
    for round in ["one", "two"] {
        checkpoint(&t, round, &[]);
        drop(master);
        t.runtime(&["restore", "-d", "--image-path", &t.path(round), &t.id])
            .failed()
            .says(&["use --console-socket"])
            .one_line();
        t.config["process"]["terminal"] = json!(false);
        t.write_config();
        t.runtime(&["restore", "-d", "--image-path", &t.path(round), &t.id])
            .failed()
            .says(&["the images have a terminal, which nobody would hold"])
            .one_line();
        t.assert_clean();
        t.config["process"]["terminal"] = json!(true);
        t.write_config();
        restore(&t, Driver::Files, round, &["--console-socket", &path]);
        (master, _) = console::receive(&listener);
        master.write(&format!("{round}\n"));
        master.wait_for(&format!("got {round}"));
    }
}

#[test]
fn restored_in_the_foreground_it_is_waited_for_and_removed() {
    needs_criu!();
    let t = counting(Driver::Files);
    start(&t, Driver::Files);
    goes_on(&t, 0);
    checkpoint(&t, "images", &[]);
    let at = count(&t);
    let images = t.path("images");
    let restored = t.spawn(t.command(&["restore", "--image-path", &images, &t.id]));
    goes_on(&t, at);
    assert_eq!(t.status(), "running");
    fs::write(t.rootfs().join("tmp/stop"), "").unwrap();
    restored.wait().exits(7);
    t.assert_clean();
}

/// Standard input and output are those of who restores.
#[test]
fn output_goes_to_whoever_restores() {
    needs_criu!();
    let mut t = Sandbox::new();
    t.args(&["sh", "-c", "while read x; do echo got $x; done; exit 3"]).write_config();
    let talk = |words: &[&str]| {
        let mut command = t.command(words);
        let (read, write) = std::io::pipe().unwrap();
        let (answers, output) = std::io::pipe().unwrap();
        command.stdin(read).stdout(output).stderr(fs::File::create(t.path("errors")).unwrap());
        (command.spawn().unwrap(), write, BufReader::new(answers))
    };
    let said = |answers: &mut BufReader<std::io::PipeReader>| {
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        line
    };
    let (mut run, mut write, mut answers) = talk(&["run", "-d", &t.id]);
    assert!(run.wait().unwrap().success());
    write.write_all(b"one\n").unwrap();
    assert_eq!(said(&mut answers), "got one\n");
    checkpoint(&t, "images", &[]);
    let images = t.path("images");
    let (mut restored, mut write, mut answers) = talk(&["restore", "--image-path", &images, &t.id]);
    write.write_all(b"two\n").unwrap();
    assert_eq!(said(&mut answers), "got two\n", "{}", fs::read_to_string(t.path("errors")).unwrap());
    drop(write);
    assert_eq!(restored.wait().unwrap().code(), Some(3));
}

#[test]
fn a_failed_restore_leaves_nothing() {
    needs_criu!();
    let t = counting(Driver::Files);
    start(&t, Driver::Files);
    goes_on(&t, 0);
    checkpoint(&t, "images", &[]);
    let pages = t.dir().join("images/mountpoints-13.img");
    let broken = fs::read_dir(t.path("images")).unwrap().flatten().map(|entry| entry.path());
    let broken = broken
        .into_iter()
        .find(|p| p.file_name().unwrap().to_string_lossy().starts_with("mm-"))
        .unwrap_or(pages);
    let whole = fs::read(&broken).unwrap();
    fs::write(&broken, &whole[..whole.len() / 2]).unwrap();
    let images = t.path("images");
    let failed = t.runtime(&["restore", "-d", "--image-path", &images, &t.id]).failed().one_line();
    assert!(failed.stderr.contains("CRIU: ") && failed.stderr.contains("restore.log"), "{}", failed.stderr);
    t.assert_clean();
    fs::write(&broken, &whole).unwrap();
    // What is wanted after the processes are there can fail too: they are ended again.
    let mut refused = t.config.clone();
    refused["hooks"] = json!({"createRuntime": [config::shell_hook("exit 3")]});
    fs::write(t.bundle().join("config.json"), refused.to_string()).unwrap();
    t.runtime(&["restore", "-d", "--image-path", &images, &t.id])
        .failed()
        .says(&["error running createRuntime hook"])
        .one_line();
    t.assert_clean();
    refused["hooks"] = json!(null);
    refused["linux"]["resources"]["unified"] = json!({"memory.nonsense": "1"});
    if host::is_cgroup_v2() {
        fs::write(t.bundle().join("config.json"), refused.to_string()).unwrap();
        t.runtime(&["restore", "-d", "--image-path", &images, &t.id])
            .failed()
            .says(&["memory.nonsense"])
            .one_line();
        t.assert_clean();
    }
    t.write_config();
    let at = count(&t);
    restore(&t, Driver::Files, "images", &[]);
    goes_on(&t, at);
}

/// What an executed process has begun is init's child when that has ended, and in the images.
#[test]
fn what_an_executed_process_began_survives() {
    needs_criu!();
    let t = counting(Driver::Files);
    start(&t, Driver::Files);
    goes_on(&t, 0);
    let mut executed = 0;
    for round in ["one", "two"] {
        let command = "sleep 600 </dev/null >/dev/null 2>&1 & echo $!";
        let pid: i32 = t.runtime(&["exec", &t.id, "sh", "-c", command]).ok().stdout.trim().parse().unwrap();
        assert_ne!(pid, executed);
        executed = pid;
        checkpoint(&t, round, &[]);
        let at = count(&t);
        restore(&t, Driver::Files, round, &[]);
        goes_on(&t, at);
        let program = format!("/proc/{executed}/comm");
        assert_eq!(t.runtime(&["exec", &t.id, "cat", &program]).ok().stdout, "sleep\n");
    }
}

/// CRIU would lose it.
#[test]
fn an_executed_process_is_in_the_way() {
    needs_criu!();
    let t = counting(Driver::Files);
    start(&t, Driver::Files);
    goes_on(&t, 0);
    t.runtime(&["exec", "-d", &t.id, "sleep", "5000"]).ok();
    let images = t.path("images");
    let dump = ["checkpoint", "--image-path", &images, &t.id];
    let words = "(`sleep`) was put into the container from outside, by exec: ";
    t.runtime(&dump).failed().one_line().says(&[words]);
    goes_on(&t, count(&t));
    // Where the container goes on nothing is lost.
    let left = t.runtime(&[&dump[..3], &["--leave-running", &t.id]].concat()).ok();
    assert!(left.stderr.contains(words) && left.stderr.contains("not in the images"), "{}", left.stderr);
    goes_on(&t, count(&t));
    let pids = t.runtime(&["ps", "-f", "json", &t.id]).ok().json();
    let others = pids.as_array().unwrap().iter().map(|pid| pid.as_i64().unwrap() as i32);
    let executed = others.max().unwrap();
    t.kill("KILL").ok();
    // It is this process's child, and its end is awaited by that of the pid namespace.
    assert_eq!(t.reap(executed), 128 + 9);
    t.finish();
}

#[test]
fn works_in_a_user_namespace() {
    needs_criu!();
    let mut t = counting(Driver::Files);
    t.map_users(100_000);
    start(&t, Driver::Files);
    goes_on(&t, 0);
    checkpoint(&t, "images", &[]);
    let at = count(&t);
    restore(&t, Driver::Files, "images", &[]);
    goes_on(&t, at);
    assert_eq!(host::process_status(t.pid(), "Uid").split_whitespace().next(), Some("100000"));
}

/// A network namespace that is joined by path stays as it is.
#[test]
fn a_joined_network_namespace_is_kept() {
    needs_criu!();
    let mut t = counting(Driver::Files);
    let name = format!("oxt{}", std::process::id());
    host_command("ip", &["netns", "add", &name]).ok();
    let path = format!("/run/netns/{name}");
    config::add_namespace(&mut t.config, "network", &path);
    host_command("ip", &["-n", &name, "link", "set", "lo", "up"]).ok();
    start(&t, Driver::Files);
    goes_on(&t, 0);
    let inode = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let before = inode(t.pid());
    checkpoint(&t, "images", &[]);
    let at = count(&t);
    restore(&t, Driver::Files, "images", &[]);
    goes_on(&t, at);
    assert_eq!(inode(t.pid()), before);
    t.finish();
    host_command("ip", &["netns", "delete", &name]).ok();
}

/// So do others that are joined, with what is in them.
#[test]
fn other_joined_namespaces_are_kept() {
    needs_criu!();
    let mut other = Sandbox::new();
    other.config["hostname"] = json!("theirs");
    other.args(&["sleep", "600"]).write_config();
    quietly(&other, &["run", "-d", &other.id]);
    let mut t = counting(Driver::Files);
    t.config["hostname"] = json!(null);
    for kind in ["ipc", "uts"] {
        config::add_namespace(&mut t.config, kind, &format!("/proc/{}/ns/{kind}", other.pid()));
    }
    start(&t, Driver::Files);
    goes_on(&t, 0);
    checkpoint(&t, "images", &[]);
    let at = count(&t);
    restore(&t, Driver::Files, "images", &[]);
    goes_on(&t, at);
    for kind in ["ipc", "uts"] {
        let inode = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert_eq!(inode(t.pid()), inode(other.pid()), "{kind}");
    }
    assert_eq!(t.runtime(&["exec", &t.id, "hostname"]).ok().stdout, "theirs\n");
    t.finish();
    other.finish();
}

/// So does a pid namespace, where the processes come back under the ids that they had. Its first process takes in
/// those that lost their parent; else their ids stay in use.
#[test]
fn a_joined_pid_namespace_is_kept() {
    needs_criu!();
    let mut other = Sandbox::new();
    other.args(&["sh", "-c", "while :; do sleep 1; done"]).write_config();
    quietly(&other, &["run", "-d", &other.id]);
    let mut t = counting(Driver::Files);
    config::add_namespace(&mut t.config, "pid", &format!("/proc/{}/ns/pid", other.pid()));
    start(&t, Driver::Files);
    goes_on(&t, 0);
    let seen = |pid: i32| {
        let inside = host::process_status(pid, "NSpid").split_whitespace().last().unwrap().to_string();
        (fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap(), inside)
    };
    let before = seen(t.pid());
    assert_eq!(before.0, seen(other.pid()).0);
    checkpoint(&t, "images", &[]);
    let at = count(&t);
    restore(&t, Driver::Files, "images", &[]);
    goes_on(&t, at);
    let pid = t.pid();
    assert_eq!(seen(pid), before);
    t.kill("KILL").ok();
    // It is this process's child, and its end is awaited by that of the pid namespace.
    assert_eq!(t.reap(pid), 128 + 9);
    t.finish();
    other.finish();
}
