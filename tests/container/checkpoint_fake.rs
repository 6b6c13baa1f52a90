//! checkpoint and restore up to CRIU, with a program in its place that says what it was asked, or answers
//! badly: what is asked for each option, and that no answer hurts.

use crate::harness::{Outcome, Sandbox, wait_until, write_program};
use crate::{config, console, host};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Speaks CRIU's protocol far enough: `MODE` says how. Requests are kept as they came.
const FAKE: &str = r#"#!/usr/bin/env python3
import os, socket, sys, time
mode = os.environ.get("FAKE_MODE", "good")
here = os.path.dirname(os.path.abspath(__file__))
assert sys.argv[1] == "swrk"
s = socket.socket(fileno=int(sys.argv[2]))
def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128]); n >>= 7
    return out + bytes([n])
def version(major, minor):
    inner = b"\x08" + varint(major) + b"\x10" + varint(minor)
    return b"\x08\x0a\x10\x01\x52" + varint(len(inner)) + inner
def failure(kind):
    text = b"Error: no luck today"
    return b"\x08" + bytes([kind]) + b"\x10\x00\x4a" + varint(len(text)) + text
while True:
    request = s.recv(1 << 20)
    if not request:
        break
    kind = request[1]
    with open(f"{here}/request-{kind}", "wb") as f:
        f.write(request)
    if mode == "hangs":
        with open(f"{here}/pid", "w") as f:
            f.write(str(os.getpid()))
        time.sleep(600)
    if mode == "silent-death":
        sys.exit(3)
    if mode == "leaves-a-child":
        if os.fork() != 0:
            sys.exit(3)
        s.recv(1)
        break
    if mode == "last-words":
        print("Error: cannot read my configuration", file=sys.stderr); sys.exit(1)
    if mode == "garbage":
        s.send(b"\xff" * 40); continue
    if mode == "long":
        s.send(b"\x08\x0a" + b"x" * 100000); continue
    if kind == 10:
        s.send(version(*((3, 9) if mode == "old" else (4, 1))))
    elif kind == 9 and mode == "blind":
        s.send(failure(kind))
    elif kind == 9:
        has = b"\x00" if mode == "featureless" else b"\x01"
        s.send(b"\x08\x09\x10\x01\x42\x04\x08" + has + b"\x10" + has)
    elif mode == "dies-later":
        os.kill(os.getpid(), 9)
    elif mode in ("works", "works-for-ever"):
        with open(f"{here}/pid.new", "w") as f:
            f.write(str(os.getpid()))
        os.rename(f"{here}/pid.new", f"{here}/pid")
        while mode != "works" or not os.path.exists(f"{here}/step"):
            time.sleep(0.01)
        s.send(b"\x08\x06\x10\x01\x2a\x08\x0a\x04what\x10\x07")
        with open(f"{here}/answer", "wb") as f:
            f.write(s.recv(1000))
        s.send(failure(kind))
    elif mode == "wrong-kind":
        s.send(b"\x08\x03\x10\x01")
    elif mode == "serves":
        s.send(b"\x08\x06\x10\x01\x2a\x0e\x0a\x0cstatus-ready")
        s.recv(1000)
        s.send(b"\x08" + bytes([kind]) + b"\x10\x01")
    elif mode == "steps":
        s.send(b"\x08\x06\x10\x01\x2a\x08\x0a\x04what\x10\x07")
        with open(f"{here}/answer", "wb") as f:
            f.write(s.recv(1000))
        s.send(failure(kind))
    else:
        s.send(failure(kind) if mode != "good" or kind == 2 else b"\x08" + bytes([kind]) + b"\x10\x01")
"#;

/// A sandbox with the program, and the calls that find it.
struct Faked(Sandbox);

impl Faked {
    fn new() -> Faked {
        let t = Sandbox::new();
        fs::create_dir(t.dir().join("fake")).unwrap();
        write_program(&t.dir().join("fake/criu"), FAKE);
        Faked(t)
    }

    fn running() -> Faked {
        let mut faked = Faked::new();
        faked.0.args(&["payload", "sleep", "5000"]).write_config();
        faked.0.runtime(&["run", "-d", &faked.0.id]).ok();
        faked
    }

    fn command(&self, mode: &str, words: &[&str]) -> Command {
        let mut command = self.0.command(words);
        let path = format!("{}:{}", self.0.path("fake"), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("FAKE_MODE", mode);
        command
    }

    fn call(&self, mode: &str, words: &[&str]) -> Outcome {
        self.0.spawn(self.command(mode, words)).wait()
    }

    /// `checkpoint` with options.
    fn checkpoint(&self, mode: &str, options: &[&str]) -> Outcome {
        let images = self.0.path("images");
        let words = ["checkpoint", "--image-path", &images];
        self.call(mode, &words.iter().chain(options).copied().chain([self.0.id.as_str()]).collect::<Vec<_>>())
    }

    /// `restore` with options, from images that are none.
    fn restore(&self, mode: &str, options: &[&str]) -> Outcome {
        fs::create_dir_all(self.0.dir().join("images")).unwrap();
        fs::write(self.0.dir().join("images/pstree.img"), "").unwrap();
        self.0.write_config();
        let images = self.0.path("images");
        let words = ["restore", "--detach", "--image-path", &images];
        self.call(mode, &words.iter().chain(options).copied().chain([self.0.id.as_str()]).collect::<Vec<_>>())
    }

    /// The options of the last request of a kind.
    fn asked(&self, kind: u8) -> Vec<Field> {
        let request = fs::read(self.0.dir().join(format!("fake/request-{kind}"))).unwrap();
        let options = fields(&request).into_iter().find(|field| field.number == 2).unwrap();
        fields(&options.bytes)
    }
}

/// A field of a message: its number, and its value either way (protobuf.dev, Encoding).
#[derive(Debug)]
struct Field {
    number: u64,
    value: u64,
    bytes: Vec<u8>,
}

fn fields(mut message: &[u8]) -> Vec<Field> {
    let varint = |message: &mut &[u8]| {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = message[0];
            *message = &message[1..];
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                break;
            }
        }
        value
    };
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let value = varint(&mut message);
        let length = if key & 7 == 2 { value as usize } else { 0 };
        found.push(Field { number: key >> 3, value, bytes: message[..length].to_vec() });
        message = &message[length..];
    }
    found
}

fn value(fields: &[Field], number: u64) -> Option<u64> {
    fields.iter().find(|field| field.number == number).map(|field| field.value)
}

fn text(fields: &[Field], number: u64) -> Option<String> {
    let field = fields.iter().find(|field| field.number == number)?;
    Some(String::from_utf8_lossy(&field.bytes).into_owned())
}

/// Options of a dump, and the field that each one sets, by its number in CRIU's rpc.proto.
#[test]
fn every_option_of_checkpoint_reaches_criu() {
    let faked = Faked::running();
    let bare = ["--leave-running"];
    faked.checkpoint("good", &bare).ok();
    let plain = faked.asked(1);
    assert_eq!(value(&plain, 3), Some(1), "leave_running");
    assert_eq!(value(&plain, 2), Some(faked.0.pid() as u64), "pid");
    assert_eq!(text(&plain, 10).as_deref(), Some("dump.log"));
    assert_eq!(value(&plain, 34), Some(3), "cgroups softly");
    let freezer = text(&plain, 44).unwrap();
    assert!(freezer.starts_with("/sys/fs/cgroup/") && freezer.contains(&faked.0.id), "{freezer}");
    let switches = [
        ("--tcp-established", 5),
        ("--tcp-close", 52),
        ("--tcp-skip-in-flight", 46),
        ("--ext-unix-sk", 4),
        ("--shell-job", 7),
        ("--file-locks", 8),
        ("--auto-dedup", 16),
        ("--link-remap", 18),
    ];
    for (option, field) in switches {
        assert_eq!(value(&plain, field), None, "{option}");
        faked.checkpoint("good", &["--leave-running", option]).ok();
        assert_eq!(value(&faked.asked(1), field), Some(1), "{option}");
    }
    for (option, given, field, wanted) in [
        ("--manage-cgroups-mode", "ignore", 34, 0),
        ("--manage-cgroups-mode", "full", 34, 4),
        ("--manage-cgroups-mode", "strict", 34, 5),
        ("--network-lock", "iptables", 64, 1),
        ("--network-lock", "nftables", 64, 2),
        ("--network-lock", "skip", 64, 3),
        ("--empty-ns", "network", 38, 0x4000_0000),
    ] {
        faked.checkpoint("good", &["--leave-running", option, given]).ok();
        assert_eq!(value(&faked.asked(1), field), Some(wanted), "{option} {given}");
    }
    let served = ["--leave-running", "--lazy-pages", "--page-server", "[::1]:27277", "--status-fd", "1"];
    let told = faked.checkpoint("serves", &served).ok();
    assert_eq!(told.stdout, "\0", "--status-fd");
    let lazy = faked.asked(1);
    assert_eq!(value(&lazy, 48), Some(1));
    let elsewhere = ["--leave-running", "--lazy-pages", "--page-server", "[::1]:27277", "--status-fd", "77"];
    let images = faked.0.path("images");
    let onto_full = ["--status-fd", "0", "--image-path", &images, &faked.0.id];
    let mut full = faked.command("serves", &[&["checkpoint"], &served[..4], &onto_full].concat());
    full.stdin(File::options().write(true).open("/dev/full").unwrap());
    faked.0.spawn(full).wait().failed().says(&["write to --status-fd: no space left on device"]).one_line();
    faked.checkpoint("serves", &elsewhere).failed().says(&["open descriptor 77 (--status-fd)"]).one_line();
    let server = fields(&lazy.iter().find(|field| field.number == 11).unwrap().bytes);
    assert_eq!((text(&server, 1).as_deref(), value(&server, 2)), (Some("::1"), Some(27277)));
}

#[test]
fn pre_dumps_and_parents_reach_criu() {
    let faked = Faked::running();
    fs::create_dir(faked.0.dir().join("pre")).unwrap();
    faked.checkpoint("good", &["--pre-dump", "--parent-path", "../pre"]).ok();
    let asked = faked.asked(13);
    assert_eq!((text(&asked, 14).as_deref(), value(&asked, 15)), (Some("../pre"), Some(1)));
    assert_eq!(faked.0.status(), "running");
    // The link of an earlier dump is not left to the next one.
    symlink("../other", faked.0.dir().join("images/parent")).unwrap();
    faked.checkpoint("good", &["--leave-running"]).ok();
    assert!(!faked.0.dir().join("images/parent").is_symlink());
    for (parent, words) in
        [("/tmp", "is absolute"), ("../missing", "no such file"), ("../../x", "leads out of the directory")]
    {
        let refused = faked.checkpoint("good", &["--parent-path", parent]).failed().one_line();
        assert!(
            refused.stderr.contains("--parent-path") && refused.stderr.contains(words),
            "{}",
            refused.stderr
        );
    }
    faked.checkpoint("featureless", &["--pre-dump"]).failed().says(&["need memory tracking"]).one_line();
    let lazy = ["--lazy-pages", "--page-server", "127.0.0.1:1"];
    faked.checkpoint("featureless", &lazy).failed().says(&["needs userfaultfd"]).one_line();
    faked.checkpoint("good", &["--lazy-pages"]).failed().says(&["needs --page-server"]).one_line();
    faked.checkpoint("good", &["--status-fd", "1"]).failed().says(&["needs --lazy-pages"]).one_line();
    faked
        .checkpoint("good", &[lazy[0], lazy[1], lazy[2], "--pre-dump"])
        .failed()
        .says(&["exclude each other"]);
    assert_eq!(faked.0.status(), "running");
}

/// Mounts of the host, and descriptors that are the host's, are named.
#[test]
fn what_is_the_hosts_is_named() {
    let mut faked = Faked::new();
    let t = &mut faked.0;
    fs::create_dir(t.rootfs().join("real")).unwrap();
    symlink("/real", t.rootfs().join("link")).unwrap();
    config::add_mount(&mut t.config, "/link/data", "bind", "/tmp", &["bind"]);
    t.args(&["payload", "sleep", "5000"]).write_config();
    t.runtime(&["run", "-d", &t.id]).ok();
    faked.checkpoint("good", &["--leave-running"]).ok();
    let asked = faked.asked(1);
    let mounts: Vec<(Option<String>, Option<String>)> = asked
        .iter()
        .filter(|field| field.number == 23)
        .map(|field| fields(&field.bytes))
        .map(|pair| (text(&pair, 1), text(&pair, 2)))
        .collect();
    let named = |point: &str, name: &str| {
        assert!(mounts.contains(&(Some(point.into()), Some(name.into()))), "{point} {mounts:?}");
    };
    named("/real/data", "/real/data");
    named("/proc/keys", "/dev/null");
    // Standard input is the null device of the host, output a file of the host.
    let images = fs::read_to_string(faked.0.dir().join("images/descriptors.json")).unwrap();
    let names: Vec<String> = serde_json::from_str(&images).unwrap();
    let external: Vec<String> = asked
        .iter()
        .filter(|field| field.number == 37)
        .map(|field| String::from_utf8_lossy(&field.bytes).into_owned())
        .collect();
    assert_eq!(names[0], "/dev/null");
    assert_eq!(names.len(), 4, "input, output, errors, and the null device: {names:?}");
    for name in &names[1..] {
        assert!(name.starts_with("file[") && external.contains(name), "{names:?} {external:?}");
    }
}

#[test]
fn every_option_of_restore_reaches_criu() {
    let mut faked = Faked::new();
    faked.0.args(&["payload", "sleep", "5000"]);
    let refused = faked.restore("good", &[]).failed().says(&["CRIU: Error: no luck today"]).one_line();
    assert!(refused.stderr.contains("images/restore.log"), "{}", refused.stderr);
    faked.0.assert_clean();
    let plain = faked.asked(2);
    assert_eq!((value(&plain, 26), text(&plain, 10).as_deref()), (Some(1), Some("restore.log")));
    assert!(text(&plain, 13).unwrap().contains(&faked.0.id), "the root is in the state directory");
    for (option, field) in [
        ("--tcp-established", 5),
        ("--tcp-close", 52),
        ("--ext-unix-sk", 4),
        ("--shell-job", 7),
        ("--file-locks", 8),
        ("--lazy-pages", 48),
        ("--auto-dedup", 16),
    ] {
        assert_eq!(value(&plain, field), None, "{option}");
        faked.restore("good", &[option]).failed();
        assert_eq!(value(&faked.asked(2), field), Some(1), "{option}");
    }
    faked.restore("good", &["--lsm-profile", "apparmor:x", "--lsm-mount-context", "y"]).failed();
    let asked = faked.asked(2);
    assert_eq!((text(&asked, 53).as_deref(), text(&asked, 63).as_deref()), (Some("apparmor:x"), Some("y")));
    faked.restore("good", &["--empty-ns", "network", "--manage-cgroups-mode", "ignore"]).failed();
    let asked = faked.asked(2);
    assert_eq!((value(&asked, 38), value(&asked, 34)), (Some(0x4000_0000), Some(0)));
    faked.0.assert_clean();
}

#[test]
fn bad_answers_are_errors_and_hurt_nobody() {
    let faked = Faked::running();
    let table = [
        ("silent-death", "CRIU ended with status 3 and said nothing"),
        ("leaves-a-child", "CRIU ended with status 3 and said nothing"),
        ("last-words", "CRIU ended with status 1: Error: cannot read my configuration"),
        ("garbage", "is not as documented"),
        ("long", "is longer than"),
        ("old", "CRIU 3.9 is too old"),
        ("dies-later", "CRIU ended without an answer"),
        ("wrong-kind", "CRIU answered another request"),
        ("steps", "CRIU: Error: no luck today"),
        ("bad", "CRIU: Error: no luck today"),
    ];
    for (mode, words) in table {
        faked.checkpoint(mode, &[]).failed().says(&[words]).one_line();
        assert_eq!(faked.0.status(), "running", "{mode}");
    }
    // A step that means nothing here is let pass: NOTIFY, success.
    assert_eq!(fs::read(faked.0.dir().join("fake/answer")).unwrap(), [0x08, 6, 0x18, 1]);
    faked.0.finish();
    for (mode, words) in table {
        faked.restore(mode, &[]).failed().says(&[words]).one_line();
        faked.0.assert_clean();
    }
}

/// Its process, which is gone when the command is.
#[track_caller]
fn is_gone(faked: &Faked) {
    let pid: i32 = fs::read_to_string(faked.0.dir().join("fake/pid")).unwrap().parse().unwrap();
    assert_eq!(host::process_state(pid), None, "CRIU, {pid}");
    fs::remove_file(faked.0.dir().join("fake/pid")).unwrap();
}

#[test]
fn a_criu_that_does_not_answer_is_not_waited_for() {
    let faked = Faked::running();
    let images = faked.0.path("images");
    let dump = ["checkpoint", "--image-path", &images, &faked.0.id];
    for (time, words) in [
        ("3", "CRIU has not answered for 3 seconds: is `criu` CRIU?"),
        ("0", "OXRUN_CRIU_TIMEOUT is `0`: give seconds, 1 to 3600"),
        ("soon", "OXRUN_CRIU_TIMEOUT is `soon`: give seconds, 1 to 3600"),
    ] {
        let mut command = faked.command("hangs", &dump);
        command.env("OXRUN_CRIU_TIMEOUT", time);
        faked.0.spawn(command).wait().failed().says(&[words]).one_line();
        if faked.0.dir().join("fake/pid").exists() {
            is_gone(&faked);
        }
        assert_eq!(faked.0.status(), "running");
    }
}

/// Interrupted, it is told at its next step; one that reaches none is ended by a second signal.
#[test]
fn an_interruption_ends_the_work_of_criu() {
    let faked = Faked::running();
    let images = faked.0.path("images");
    fs::create_dir_all(&images).unwrap();
    fs::write(faked.0.dir().join("images/pstree.img"), "").unwrap();
    let other = faked.0.other_id("restored");
    let words = "interrupted by signal 15 (terminated)";
    for words_of_command in [
        &["checkpoint", "--image-path", &images, &faked.0.id][..],
        &["restore", "--detach", "--image-path", &images, &other],
        &["restore", "--image-path", &images, &other],
    ] {
        for mode in ["works", "works-for-ever"] {
            let mut command = faked.command(mode, words_of_command);
            command.process_group(0);
            let running = faked.0.spawn(command);
            wait_until("CRIU to work", || faked.0.dir().join("fake/pid").exists());
            if words_of_command[0] == "checkpoint" {
                // As a terminal sends it: to the command and what it has started.
                kill_process_group(Pid::from_raw(running.pid()).unwrap(), Signal::TERM).unwrap();
            } else {
                running.signal(Signal::TERM);
            }
            wait_until("the signal to be taken", || {
                host::process_status(running.pid(), "ShdPnd") == "0000000000000000"
            });
            if mode == "works" {
                fs::write(faked.0.dir().join("fake/step"), "").unwrap();
            } else {
                running.signal(Signal::INT);
            }
            running.wait().failed().says(&[words]).one_line();
            is_gone(&faked);
            if mode == "works" {
                // NOTIFY, no success.
                assert_eq!(fs::read(faked.0.dir().join("fake/answer")).unwrap(), [0x08, 6, 0x18, 0]);
                fs::remove_file(faked.0.dir().join("fake/step")).unwrap();
            }
            assert_eq!(faked.0.status(), "running");
            faked.0.runtime(&["state", &other]).failed();
        }
    }
}

/// Nothing is said to programs, which wait just as long.
#[test]
fn what_is_waited_for_is_said_on_a_terminal_alone() {
    let begin = |options: &[&str], terminal: Option<&File>| {
        let faked = Faked::running();
        let images = faked.0.path("images");
        let words = ["checkpoint", "--image-path", &images, &faked.0.id];
        let command = faked.command("works", &options.iter().copied().chain(words).collect::<Vec<_>>());
        let running = match terminal {
            Some(terminal) => faked.0.spawn_on(command, terminal),
            None => faked.0.spawn(command),
        };
        wait_until("CRIU to work", || faked.0.dir().join("fake/pid").exists());
        (faked, running)
    };
    let (mut json_master, json_terminal) = console::pair();
    let (mut master, terminal) = console::pair();
    let all = [
        begin(&[], None),
        begin(&["--log-format", "json"], Some(&json_terminal)),
        begin(&[], Some(&terminal)),
    ];
    master.wait_for("oxrun: waiting for CRIU to write the image\r\n");
    let [by_file, ..] = all.map(|(faked, running)| {
        fs::write(faked.0.dir().join("fake/step"), "").unwrap();
        running.wait().failed()
    });
    by_file.says(&["no luck today"]).one_line();
    drop(json_terminal);
    let json = json_master.rest();
    assert_eq!((json.lines().count(), json.contains("no luck today")), (1, true), "{json}");
}

#[test]
fn a_frozen_container_is_let_go_on_when_criu_dies() {
    let faked = Faked::running();
    faked.0.runtime(&["pause", &faked.0.id]).ok();
    faked.checkpoint("dies-later", &[]).failed();
    assert_eq!(faked.0.status(), "paused", "it was paused before");
    faked.0.runtime(&["resume", &faked.0.id]).ok();
}

/// By its path or by its name, in each command that calls it.
#[test]
fn another_criu_can_be_given() {
    let faked = Faked::running();
    let (t, images) = (&faked.0, faked.0.path("images"));
    let other = t.path("fake/other");
    fs::rename(t.path("fake/criu"), &other).unwrap();
    let asked = |criu: &str, words: &[&str]| {
        let outcome = faked.call("good", &[&["--criu", criu], words].concat());
        (outcome, fs::remove_file(t.path("fake/request-10")).is_ok())
    };
    for criu in [other.as_str(), "../fake/other", "other"] {
        let checkpoint = ["checkpoint", "--leave-running", "--image-path", &images, &t.id];
        let (outcome, was_asked) = asked(criu, &checkpoint);
        outcome.ok();
        assert!(was_asked, "{criu}");
    }
    let (doctor, was_asked) = asked(&other, &["doctor"]);
    assert!(was_asked && doctor.ok().stdout.contains("4.1, with --pre-dump"));
    fs::write(t.path("images/pstree.img"), "").unwrap();
    let (restore, was_asked) = asked(&other, &["restore", "-d", "--image-path", &images, &t.other_id("r")]);
    restore.failed().says(&["CRIU: Error: no luck today"]);
    assert!(was_asked);
    for (criu, says) in
        [("/no/such", "`/no/such` (--criu) is no program"), ("oxt-none", "no `oxt-none` in $PATH")]
    {
        let (outcome, _) = asked(criu, &["checkpoint", "--image-path", &images, &t.id]);
        outcome.failed().says(&[says]).one_line();
    }
}

#[test]
fn without_criu_the_error_says_what_to_install() {
    let mut t = Sandbox::new();
    t.args(&["payload", "sleep", "5000"]).write_config();
    t.runtime(&["run", "-d", &t.id]).ok();
    // The directories of the system are looked through as well, so there must be none.
    let hide = "mount -t tmpfs none /usr/sbin";
    if std::path::Path::new("/usr/bin/criu").exists() || std::path::Path::new("/usr/local/sbin/criu").exists()
    {
        skip!("criu is where other programs are that the test needs");
    }
    let (id, images) = (t.id.clone(), t.path("images"));
    let missing = |words: &[&str]| {
        let mut command = t.after_mounts(hide, words);
        command.env("PATH", "/usr/bin:/bin");
        t.spawn(command).wait().failed().says(&["install criu"]).one_line();
    };
    missing(&["checkpoint", "--image-path", &images, &id]);
    assert_eq!(t.status(), "running");
    assert!(!t.dir().join("images").exists());
    t.finish();
    missing(&["restore", "--image-path", &images, &id]);
    t.assert_clean();
}

#[test]
fn only_what_runs_can_be_written() {
    let faked = Faked::running();
    faked.0.finish();
    faked.checkpoint("good", &[]).failed().says(&["does not exist"]).one_line();
    faked.0.create().ok();
    faked
        .checkpoint("good", &[])
        .failed()
        .says(&["cannot checkpoint a container that is created"])
        .one_line();
    faked.0.finish();
}

/// A process from outside, a mount that CRIU cannot make again, and settings of CRIU that are none.
#[test]
fn what_cannot_be_written_is_refused() {
    let mut faked = Faked::new();
    let t = &mut faked.0;
    t.args(&["payload", "sleep", "5000"]).write_config();
    t.runtime(&["run", "-d", &t.id]).ok();
    let pid_file = t.path("pid");
    t.runtime(&["exec", "--detach", "--pid-file", &pid_file, &t.id, "sleep", "5000"]).ok();
    let pid: i32 = fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    faked
        .checkpoint("good", &[])
        .failed()
        .says(&["was put into the container from outside, by exec"])
        .one_line();
    let t = &mut faked.0;
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    t.reap(pid);
    t.finish();
    let map = serde_json::json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
    let there = t.path("fake");
    config::add_mount(&mut t.config, "/mnt", "bind", &there, &["bind", "ro"]);
    let last = t.config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
    (last["uidMappings"], last["gidMappings"]) = (map.clone(), map);
    t.write_config();
    t.runtime(&["run", "-d", &t.id]).ok();
    faked.checkpoint("good", &[]).failed().says(&["the id-mapped mount `/mnt` (mounts[7])"]).one_line();
    faked.0.finish();
    config::drop_mount(&mut faked.0.config, "/mnt");
    for (file, says) in [("criu.conf", "`criu.conf` is not absolute"), ("/no/such", "no file `/no/such`")] {
        faked.0.config["annotations"] = serde_json::json!({"org.criu.config": file});
        faked.0.write_config();
        faked.0.runtime(&["run", "-d", &faked.0.id]).ok();
        faked.checkpoint("good", &[]).failed().says(&[says]).one_line();
        faked.0.finish();
    }
}

/// The messages to CRIU are UTF-8, and the container's root is below the state directory.
#[test]
fn a_state_directory_that_criu_cannot_be_told_of() {
    let faked = Faked::new();
    faked.0.write_config();
    fs::create_dir(faked.0.dir().join("images")).unwrap();
    fs::write(faked.0.dir().join("images/pstree.img"), "").unwrap();
    let mut command = faked.command("good", &[]);
    command.arg("--root").arg(faked.0.dir().join(OsStr::from_bytes(b"state-\xff")));
    command.args(["restore", "-d", "--image-path", &faked.0.path("images"), &faked.0.id]);
    faked.0.spawn(command).wait().failed().says(&["is not UTF-8: CRIU cannot be told of it"]).one_line();
    faked.0.assert_clean();
}

#[test]
fn hostile_images_are_refused_before_criu_is_asked() {
    let faked = Faked::new();
    fs::create_dir(faked.0.dir().join("images")).unwrap();
    symlink("/etc/shadow", faked.0.dir().join("images/pages-1.img")).unwrap();
    faked.restore("good", &[]).failed().says(&["`pages-1.img` is no regular file"]).one_line();
    fs::remove_file(faked.0.dir().join("images/pages-1.img")).unwrap();
    symlink("../../../etc", faked.0.dir().join("images/parent")).unwrap();
    faked.restore("good", &[]).failed().says(&["leads out of the directory"]).one_line();
    fs::remove_file(faked.0.dir().join("images/parent")).unwrap();
    assert!(!faked.0.dir().join("fake/request-2").exists());
    // Names in the list of descriptors choose nothing but the caller's own.
    let list = faked.0.dir().join("images/descriptors.json");
    fs::write(&list, r#"["pipe:[7]", "/etc/shadow", "extRootNetNS", "file[1:2]"]"#).unwrap();
    faked.restore("good", &[]).failed();
    let names: Vec<Option<String>> = faked
        .asked(2)
        .iter()
        .filter(|field| field.number == 27)
        .map(|field| text(&fields(&field.bytes), 1))
        .collect();
    assert_eq!(names, [Some("pipe:[7]".into()), Some("file[1:2]".into())]);
    fs::write(&list, "[1]").unwrap();
    faked.restore("good", &[]).failed().says(&["descriptors.json"]).one_line();
    faked.0.assert_clean();
}

/// CRIU that cannot look at the kernel still says which one it is.
#[test]
fn doctor_tells_the_version_of_a_criu_without_features() {
    let faked = Faked::new();
    for (mode, state, meaning, remedy) in [
        ("good", "yes", "4.1, with --pre-dump, with --lazy-pages", None),
        ("blind", "partly", "4.1", Some("CRIU did not tell its features")),
        ("old", "partly", "checkpoint and restore", Some("CRIU 3.9 is too old: 3.16 or newer is needed")),
    ] {
        let rows = faked.call(mode, &["doctor", "--format", "json"]).ok().json()["rows"].clone();
        let row = rows.as_array().unwrap().iter().find(|row| row["what"] == "CRIU").unwrap().clone();
        let found = (row["state"].as_str(), row["meaning"].as_str(), row["remedy"].as_str());
        assert_eq!(found, (Some(state), Some(meaning), remedy));
    }
}

#[test]
fn features_say_that_there_is_checkpoint() {
    let features = Sandbox::new().runtime(&["features"]).ok().json();
    assert_eq!(features["annotations"]["org.opencontainers.runc.checkpoint.enabled"], "true");
    let unsafe_ones = features["potentiallyUnsafeConfigAnnotations"].as_array().unwrap();
    assert!(unsafe_ones.contains(&serde_json::json!("org.criu.config")), "{unsafe_ones:?}");
}
