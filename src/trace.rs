//! Where the time goes (`--trace FILE`, `OXRUN_TRACE`): each step of the host side and of init with its
//! start and length, as trace events that Perfetto and chrome://tracing open. `main` opens it; steps
//! anywhere are wrapped in `step`, which is one look at a static while nothing is traced. Init has no
//! descriptor of the file: it tells its steps over the conversation with the host side (`init::sync`),
//! before the messages Ready and Failed and, where the filter allows it, before the program.
//!
//! The file is one JSON array, whole after each command: each appends its events, so that create, start
//! and delete of a container, or all that an engine calls, can be seen on one time line.

use crate::error::{Context, Doing, bail, shown};
use crate::hostfs;
use anyhow::Result;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde_json::{Value, json};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whether steps are kept.
static ON: AtomicBool = AtomicBool::new(false);
static TRACE: Mutex<Trace> = Mutex::new(Trace { file: None, events: Vec::new() });

/// How the file ends.
const END: &[u8] = b"\n]\n";
/// Bytes of steps in one message to the host side, less than the longest text of a message.
const PIECE: usize = 8 * 1024;
/// The tracks of a command in the picture.
const HOST: u32 = 1;
const INIT: u32 = 2;

struct Trace {
    /// Where events go; none in init.
    file: Option<OwnedFd>,
    /// What was not written yet.
    events: Vec<Event>,
}

/// One step. Times are of the wall clock, which a time namespace does not move, since 1970.
struct Event {
    name: String,
    /// What the step was about, such as a mount's target.
    of: Option<String>,
    begin: Duration,
    length: Duration,
    track: u32,
}

fn trace() -> MutexGuard<'static, Trace> {
    TRACE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Begins to trace into a file, which is made (mode 0600) or appended to; called once by `main`.
pub fn open(path: &Path, command: &str) -> Result<()> {
    let doing = || format!("trace into `{}` (--trace, OXRUN_TRACE)", path.display());
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = hostfs::open_or_create(path, flags, Mode::RUSR | Mode::WUSR).doing(doing)?;
    end_of(&file).with_context(doing)?;
    let pid = own_pid();
    let name = |kind: &str, track: u32, name: String| json!({"name": kind, "ph": "M", "pid": pid, "tid": track, "args": {"name": name}});
    let names = [
        name("process_name", HOST, format!("oxrun {command} ({})", own_pid())),
        name("thread_name", HOST, "host side".to_string()),
        name("thread_name", INIT, "init".to_string()),
    ];
    append(&file, &names).with_context(doing)?;
    trace().file = Some(file);
    ON.store(true, Ordering::Relaxed);
    Ok(())
}

/// Whether steps are kept.
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Does the work as a step of this name.
#[inline]
pub fn step<T>(name: &str, work: impl FnOnce() -> T) -> T {
    step_of(name, String::new, work)
}

/// The same, saying what it is about.
#[inline]
pub fn step_of<T>(name: &str, of: impl FnOnce() -> String, work: impl FnOnce() -> T) -> T {
    let begin = is_on().then(now);
    let result = work();
    if let Some(begin) = begin {
        keep(name, of(), begin);
    }
    result
}

#[cold]
fn keep(name: &str, of: String, begin: Duration) {
    let of = (!of.is_empty()).then_some(of);
    let length = now().saturating_sub(begin);
    trace().events.push(Event { name: name.to_string(), of, begin, length, track: HOST });
}

/// In a process cloned from the host side: steps are its own, and there is no file. `on` is whether
/// the command that it works for traces, which is `start` when that has come.
pub fn begin_inside(on: bool) {
    if is_on() || on {
        trace().events.clear();
        trace().file = None;
    }
    ON.store(on, Ordering::Relaxed);
}

/// The steps since the last time, for messages to the host side.
pub fn take_pieces() -> Vec<String> {
    if !is_on() {
        return Vec::new();
    }
    let mut pieces: Vec<String> = Vec::new();
    for event in std::mem::take(&mut trace().events) {
        let times = [event.begin, event.length].map(|time| time.as_nanos() as u64);
        let line = json!([event.name, event.of, times[0], times[1]]).to_string() + "\n";
        match pieces.last_mut() {
            Some(piece) if piece.len() + line.len() <= PIECE => piece.push_str(&line),
            _ => pieces.push(line),
        }
    }
    pieces
}

/// Takes in what init told. What is not of its shape is left out: a trace stops no container.
pub fn absorb(piece: &str) {
    if !is_on() {
        return;
    }
    for line in piece.lines() {
        let Ok((name, of, begin, length)) = serde_json::from_str::<(String, Option<String>, u64, u64)>(line)
        else {
            continue;
        };
        let [begin, length] = [begin, length].map(Duration::from_nanos);
        trace().events.push(Event { name, of, begin, length, track: INIT });
    }
}

/// Writes what is there; at the end of the command, and before a long wait.
pub fn flush() {
    if !is_on() {
        return;
    }
    let mut trace = trace();
    let events: Vec<Value> = std::mem::take(&mut trace.events).iter().map(Event::json).collect();
    let Some(file) = trace.file.as_ref().filter(|_| !events.is_empty()) else { return };
    if let Err(error) = append(file, &events) {
        crate::warn!("write the trace: {}", shown(&error));
    }
}

impl Event {
    fn json(&self) -> Value {
        let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
        let (begin, length) = (micros(self.begin), micros(self.length));
        let mut event = json!({
            "name": self.name, "ph": "X", "ts": begin, "dur": length, "pid": own_pid(), "tid": self.track,
        });
        if let (Some(of), Some(members)) = (&self.of, event.as_object_mut()) {
            members.insert("args".to_string(), json!({ "of": of }));
        }
        event
    }
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// Where events go in a trace, an empty file included; an error for any other file.
fn end_of(file: &OwnedFd) -> Result<u64> {
    let stat = rustix::fs::fstat(file).doing(|| "look at it")?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        bail!("it is no regular file");
    }
    let size = stat.st_size as u64;
    if size == 0 {
        return Ok(0);
    }
    let end = size.saturating_sub(END.len() as u64);
    let mut last = [0; END.len()];
    let length = rustix::io::pread(file, &mut last, end).doing(|| "read its end")?;
    if last.get(..length) != Some(END) {
        bail!("it holds something else than a trace: name a new file");
    }
    Ok(end)
}

/// Appends to the array; other commands may be doing the same.
fn append(file: &OwnedFd, events: &[Value]) -> Result<()> {
    rustix::fs::flock(file, FlockOperation::LockExclusive).doing(|| "lock it")?;
    let end = end_of(file)?;
    let lines: Vec<String> = events.iter().map(Value::to_string).collect();
    let mut text = if end == 0 { "[\n" } else { ",\n" }.to_string();
    text.push_str(&lines.join(",\n"));
    let bytes = [text.as_bytes(), END].concat();
    let written = rustix::io::pwrite(file, &bytes, end).doing(|| "write to it")?;
    rustix::fs::flock(file, FlockOperation::Unlock).doing(|| "unlock it")?;
    if written < bytes.len() {
        bail!("no space left for it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_append_and_the_file_is_always_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trace.json");
        let open = || {
            let flags = OFlags::RDWR;
            hostfs::open_or_create(&path, flags, Mode::RUSR | Mode::WUSR).unwrap()
        };
        for count in 1..4 {
            append(&open(), &[json!({"n": count}), json!({"of": "\"]\n"})]).unwrap();
            let all: Vec<Value> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            assert_eq!(all.len(), 2 * count);
        }
        std::fs::write(&path, "something else").unwrap();
        assert!(append(&open(), &[json!(1)]).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"something else");
    }
}
