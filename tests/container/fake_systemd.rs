//! A service manager in a thread: speaks D-Bus on a socket far enough for the systemd driver, makes no unit,
//! and answers as a test says. Cgroups are made by the runtime where this one says that they are, so it
//! needs cgroup v1. Used by `systemd_errors`.

use crate::harness::Sandbox;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// What a method call is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// As systemd would when all is well.
    Good,
    /// An error of this name, below `org.freedesktop.systemd1`, with this text.
    Error(&'static str, &'static str),
    /// A job that ends so.
    Job(&'static str),
    /// A value of type `u`, which nobody expects.
    Number,
    /// Nothing but the end of the connection.
    Hangup,
    /// Bytes that are no message.
    Garbage,
}

/// Starts it below the sandbox's directory; `cgroup` is where the unit's cgroup is said to be. Its thread
/// ends with the process.
pub fn start(t: &Sandbox, cgroup: &str, answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) {
    let directory = t.path("fake/systemd");
    std::fs::create_dir_all(&directory).unwrap();
    let listener = UnixListener::bind(format!("{directory}/private")).unwrap();
    let cgroup = cgroup.to_string();
    let manager = Arc::new(Manager { cgroup, calls: Mutex::default(), answer: Box::new(answer) });
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let manager = manager.clone();
            // The end of a connection is the runtime's business.
            std::thread::spawn(move || drop(manager.serve(stream.unwrap())));
        }
    });
}

struct Manager {
    cgroup: String,
    /// The methods that were called.
    calls: Mutex<Vec<String>>,
    answer: Box<Decide>,
}

/// The answer to a method, by how many calls of it came before.
type Decide = dyn Fn(&str, usize) -> Answer + Send + Sync;

/// A call of the runtime that finds this manager in the place of the host's.
pub fn command(t: &Sandbox, words: &[&str]) -> Command {
    let directory = t.path("fake/systemd");
    let script =
        format!("mount -t tmpfs none /run; mkdir /run/systemd; mount --bind {directory} /run/systemd");
    let mut command = t.after_mounts(&script, words);
    command.env("OXRUN_SYSTEMD_TIMEOUT", "20");
    command
}

impl Manager {
    fn serve(&self, mut stream: UnixStream) -> std::io::Result<()> {
        let mut line = Vec::new();
        while !line.ends_with(b"BEGIN\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        stream.write_all(b"DATA\r\nOK 0123456789abcdef\r\n")?;
        loop {
            let mut head = [0; 16];
            stream.read_exact(&mut head)?;
            let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
            let (body, serial, fields) = (number(4) as usize, number(8), number(12) as usize);
            let mut rest = vec![0; fields.next_multiple_of(8) + body];
            stream.read_exact(&mut rest)?;
            let answer = self.answer(method_of(&rest[..fields]));
            for message in answers(method_of(&rest[..fields]), serial, &self.cgroup, &answer) {
                stream.write_all(&message)?;
            }
            if answer == Answer::Hangup {
                return Ok(());
            }
        }
    }

    fn answer(&self, method: &str) -> Answer {
        let mut calls = self.calls.lock().unwrap();
        let earlier = calls.iter().filter(|call| **call == method).count();
        calls.push(method.to_string());
        (self.answer)(method, earlier)
    }
}

/// The method among the header fields.
fn method_of(fields: &[u8]) -> &'static str {
    ["StartTransientUnit", "SetUnitProperties", "StopUnit", "ResetFailedUnit", "Get"]
        .into_iter()
        .find(|method| fields.windows(method.len()).any(|part| part == method.as_bytes()))
        .unwrap()
}

const JOB: &str = "/org/freedesktop/systemd1/job/7";

fn answers(method: &str, serial: u32, cgroup: &str, answer: &Answer) -> Vec<Vec<u8>> {
    let job = |result: &str| vec![message(2, serial, &[], "o", &text(JOB)), removed(result)];
    match answer {
        Answer::Good if ["StartTransientUnit", "StopUnit"].contains(&method) => job("done"),
        Answer::Good if method == "Get" => {
            vec![message(2, serial, &[], "v", &[&b"\x01s\0\0"[..], &text(cgroup)].concat())]
        }
        Answer::Good => vec![message(2, serial, &[], "", &[])],
        Answer::Job(result) => job(result),
        Answer::Error(name, words) => {
            let name = format!("org.freedesktop.systemd1.{name}");
            vec![message(3, serial, &[(4, "s", &name)], "s", &text(words))]
        }
        Answer::Number => vec![message(2, serial, &[], "u", &7u32.to_le_bytes())],
        Answer::Garbage => vec![vec![0xff; 16]],
        Answer::Hangup => Vec::new(),
    }
}

/// The signal that a job has ended.
fn removed(result: &str) -> Vec<u8> {
    let mut body = 7u32.to_le_bytes().to_vec();
    for part in [JOB, "x.scope", result] {
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend(text(part));
    }
    message(4, 0, &[(3, "s", "JobRemoved")], "uoss", &body)
}

/// A text as it stands in a message, its beginning aligned.
fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes()[..], text.as_bytes(), b"\0"].concat()
}

/// A message: kind, what it answers (0: nothing), header fields, and its body.
fn message(kind: u8, reply_to: u32, fields: &[(u8, &str, &str)], signature: &str, body: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    let begin = |head: &mut Vec<u8>, code: u8, kind: &str| {
        head.resize(head.len().next_multiple_of(8), 0);
        head.extend([code, 1, kind.as_bytes()[0], 0]);
    };
    for (code, kind, value) in fields {
        begin(&mut head, *code, kind);
        head.extend(text(value));
    }
    if reply_to > 0 {
        begin(&mut head, 5, "u");
        head.extend(reply_to.to_le_bytes());
    }
    if !signature.is_empty() {
        begin(&mut head, 8, "g");
        head.push(signature.len() as u8);
        head.extend(signature.as_bytes());
        head.push(0);
    }
    let mut out = vec![b'l', kind, 0, 1];
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(1u32.to_le_bytes());
    out.extend((head.len() as u32).to_le_bytes());
    out.extend(&head);
    out.resize(out.len().next_multiple_of(8), 0);
    out.extend(body);
    out
}
