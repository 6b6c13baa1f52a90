//! A small D-Bus client for the few calls that the systemd driver makes: one connection, calls
//! answered in order, one signal. Everything has a deadline, so that a bus or a service manager
//! that hangs is an error and not a hanging runtime. Used by `systemd.rs` alone.
//! Wire format: the D-Bus specification, "Message Protocol"; messages sent are little endian.

use crate::error::{Context, Doing, bail, errno_of, failed};
use crate::progress::Progress;
use anyhow::Result;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a whole conversation may take, where OXRUN_SYSTEMD_TIMEOUT says nothing else (seconds).
const TIME: u64 = 5;
/// The longest that can be asked for; callers give up long before.
const LONGEST_TIME: u64 = 3600;
/// No answer that is waited for here is nearly as long (bytes); the specification allows 128 MiB.
const LONGEST: usize = 1 << 20;

/// A value of an argument or of a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `t`
    U64(u64),
    /// `s`
    Text(String),
    /// `ay`
    Bytes(Vec<u8>),
    /// `as`
    Texts(Vec<String>),
    /// `au`
    Numbers(Vec<u32>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
    /// `a(sv)`: properties of a unit
    Properties(Vec<(String, Value)>),
    /// `a(sa(sv))` without any entry: no auxiliary units
    NoUnits,
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Value::Bool(_) => "b",
            Value::I32(_) => "i",
            Value::U32(_) => "u",
            Value::U64(_) => "t",
            Value::Text(_) => "s",
            Value::Bytes(_) => "ay",
            Value::Texts(_) => "as",
            Value::Numbers(_) => "au",
            Value::Pairs(_) => "a(ss)",
            Value::Properties(_) => "a(sv)",
            Value::NoUnits => "a(sa(sv))",
        }
    }
}

/// A method call.
#[derive(Debug)]
pub struct Call<'a> {
    /// The object's path.
    pub path: &'a str,
    /// The interface.
    pub interface: &'a str,
    /// The method.
    pub method: &'a str,
    /// The arguments.
    pub arguments: Vec<Value>,
}

/// An error that the other side answered with.
#[derive(Debug)]
pub struct Refusal {
    /// Its name, such as `org.freedesktop.systemd1.UnitExists`.
    pub name: String,
    /// What it says.
    pub text: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.text.is_empty() { f.write_str(&self.name) } else { f.write_str(&self.text) }
    }
}

impl std::error::Error for Refusal {}

/// A message that came in.
#[derive(Debug, Default)]
pub struct Message {
    kind: u8,
    big_endian: bool,
    reply_to: u32,
    member: String,
    error: String,
    signature: String,
    body: Vec<u8>,
}

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// A connection to a service manager.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    /// Where it leads, for errors.
    peer: PathBuf,
    /// Connected to a bus, where the receiver has to be named, and not to the manager itself.
    bus: bool,
    serial: u32,
    /// What systemd is to do, for whoever waits for it: `stop unit …`.
    task: String,
    progress: Progress,
    /// How long everything may take, and so until when.
    time: Duration,
    deadline: Instant,
    /// Bytes received and not used yet.
    input: Vec<u8>,
    /// Signals that came before they were waited for.
    signals: Vec<Message>,
}

impl Connection {
    /// Connects to the manager of the system: by its own socket as root, else by the system bus.
    pub fn system(task: &str, time: Duration) -> Result<Connection> {
        let private = Path::new("/run/systemd/private");
        match Connection::open(private, false, task, time) {
            Err(error) if is_absent(&error) => {}
            other => return other,
        }
        Connection::open(Path::new("/run/dbus/system_bus_socket"), true, task, time)
            .context("systemd cannot be reached: is it running? (the driver cgroupfs does without)")
    }

    /// Connects to the manager of the user: by its own socket, else by the user's bus.
    pub fn user(task: &str, time: Duration) -> Result<Connection> {
        let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
        if let Some(directory) = &runtime {
            match Connection::open(&directory.join("systemd/private"), false, task, time) {
                Err(error) if is_absent(&error) => {}
                other => return other,
            }
        }
        let address = variable("DBUS_SESSION_BUS_ADDRESS").and_then(|text| socket_of(&text));
        match address.or_else(|| runtime.map(|directory| directory.join("bus"))) {
            Some(path) => Connection::open(&path, true, task, time)
                .context("the user's systemd cannot be reached: log in, or `loginctl enable-linger`"),
            None => bail!(
                "the user's systemd cannot be found: set XDG_RUNTIME_DIR (/run/user/UID) or DBUS_SESSION_BUS_ADDRESS"
            ),
        }
    }

    fn open(path: &Path, bus: bool, task: &str, time: Duration) -> Result<Connection> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .doing(|| "make a socket")?;
        let address = SocketAddrUnix::new(path).doing(|| format!("connect to `{}`", path.display()))?;
        rustix::net::connect(&socket, &address).doing(|| format!("connect to `{}`", path.display()))?;
        let mut connection = Connection {
            socket,
            peer: path.to_path_buf(),
            bus,
            serial: 0,
            task: task.to_string(),
            progress: Progress::begin(),
            time,
            deadline: Instant::now() + time,
            input: Vec::new(),
            signals: Vec::new(),
        };
        connection.authenticate()?;
        if bus {
            connection.greet()?;
        }
        Ok(connection)
    }

    /// SASL EXTERNAL: the kernel tells the other side who this is. No name is given, as that of
    /// a user namespace would not be the one that the other side sees.
    fn authenticate(&mut self) -> Result<()> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n", "authenticate")?;
        for want in ["DATA", "OK "] {
            let line = self.line()?;
            if !line.starts_with(want) {
                bail!("authenticate at `{}`: it said `{line}`", self.peer.display());
            }
        }
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.input.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.input.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            self.receive("the answer to the authentication")?;
        }
    }

    fn greet(&mut self) -> Result<()> {
        let bus = |method, arguments| Call {
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            method,
            arguments,
        };
        self.call_to("org.freedesktop.DBus", &bus("Hello", Vec::new()), "the bus's greeting")?;
        let rule = "type='signal',sender='org.freedesktop.systemd1',\
                    interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
        let add = bus("AddMatch", vec![Value::Text(rule.into())]);
        self.call_to("org.freedesktop.DBus", &add, "the bus to send signals")?;
        Ok(())
    }

    /// Calls a method of the service manager; an error answered is a `Refusal`. `what` says in
    /// errors what is waited for.
    pub fn call(&mut self, call: &Call, what: &str) -> Result<Message> {
        let of = || call.method.to_string();
        crate::trace::step_of("call systemd", of, || self.call_to("org.freedesktop.systemd1", call, what))
    }

    fn call_to(&mut self, destination: &str, call: &Call, what: &str) -> Result<Message> {
        self.serial += 1;
        let serial = self.serial;
        self.send(&encode(serial, self.bus.then_some(destination), call), what)?;
        loop {
            let message = self.message(what)?;
            match message.kind {
                METHOD_RETURN if message.reply_to == serial => return Ok(message),
                ERROR if message.reply_to == serial => {
                    let text = message.reader().text().unwrap_or_default();
                    return Err(anyhow::Error::new(Refusal { name: message.error, text }));
                }
                SIGNAL => self.signals.push(message),
                _ => {}
            }
        }
    }

    /// Waits for the end of a job of systemd: its result (`done`, `failed`, `timeout`, …).
    pub fn job_result(&mut self, job: &str, what: &str) -> Result<String> {
        crate::trace::step_of("wait for systemd", || what.to_string(), || self.wait_for_job(job, what))
    }

    fn wait_for_job(&mut self, job: &str, what: &str) -> Result<String> {
        loop {
            while let Some(signal) = self.signals.pop() {
                if let Some(result) = removed_job(&signal, job) {
                    return Ok(result);
                }
            }
            let message = self.message(what)?;
            if message.kind == SIGNAL {
                self.signals.push(message);
            }
        }
    }

    fn message(&mut self, what: &str) -> Result<Message> {
        loop {
            if let Some(length) = message_length(&self.input)?
                && self.input.len() >= length
            {
                let bytes: Vec<u8> = self.input.drain(..length).collect();
                return decode(&bytes);
            }
            self.receive(what)?;
        }
    }

    /// Receives some bytes.
    fn receive(&mut self, what: &str) -> Result<()> {
        let mut buffer = [0u8; 4096];
        loop {
            match rustix::net::recv(&self.socket, &mut buffer, RecvFlags::empty()) {
                Ok((0, _)) => bail!("`{}` ended the connection instead of {what}", self.peer.display()),
                Ok((n, _)) => {
                    self.input.extend_from_slice(&buffer[..n]);
                    return Ok(());
                }
                Err(Errno::AGAIN) => self.wait(PollFlags::IN, what)?,
                Err(Errno::INTR) => {}
                Err(e) => return Err(failed(format!("receive from `{}`", self.peer.display()))(e)),
            }
        }
    }

    fn send(&mut self, bytes: &[u8], what: &str) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::net::send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(n) => rest = &rest[n..],
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, what)?,
                Err(Errno::INTR) => {}
                Err(e) => return Err(failed(format!("send to `{}`", self.peer.display()))(e)),
            }
        }
        Ok(())
    }

    fn wait(&self, events: PollFlags, what: &str) -> Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("waited {} s at `{}` for {what}", self.time.as_secs(), self.peer.display());
        }
        let mut fds = [PollFd::new(&self.socket, events)];
        let waited =
            self.progress.poll(&mut fds, Some(left), || format!("waiting for systemd to {}", self.task));
        waited.map(drop).map_err(|e| failed(format!("poll `{}`", self.peer.display()))(e))
    }
}

/// How long a whole conversation may take.
pub fn time() -> Result<Duration> {
    let Some(text) = variable("OXRUN_SYSTEMD_TIMEOUT") else { return Ok(Duration::from_secs(TIME)) };
    match text.parse() {
        Ok(seconds @ 1..=LONGEST_TIME) => Ok(Duration::from_secs(seconds)),
        _ => bail!("OXRUN_SYSTEMD_TIMEOUT is `{text}`: give seconds, 1 to {LONGEST_TIME}"),
    }
}

/// A variable of the environment that is not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether nobody serves a socket, or not this user.
fn is_absent(error: &anyhow::Error) -> bool {
    let absent = [Errno::NOENT, Errno::CONNREFUSED, Errno::ACCESS, Errno::PERM, Errno::NOTDIR];
    absent.iter().any(|errno| errno.raw_os_error() == errno_of(error))
}

/// The socket of a bus address `unix:path=/run/user/1000/bus,guid=…`, the first of several.
fn socket_of(address: &str) -> Option<PathBuf> {
    let of_one = |one: &str| {
        let keys = one.strip_prefix("unix:")?;
        keys.split(',').find_map(|key| key.strip_prefix("path=")).map(PathBuf::from)
    };
    address.split(';').find_map(of_one)
}

/// The result in a JobRemoved signal (`uoss`), if it is about this job.
fn removed_job(signal: &Message, job: &str) -> Option<String> {
    if signal.member != "JobRemoved" || signal.signature != "uoss" {
        return None;
    }
    let mut reader = signal.reader();
    reader.u32().ok()?;
    let path = reader.text().ok()?;
    reader.text().ok()?;
    let result = reader.text().ok()?;
    (path == job).then_some(result)
}

/// A message being written: every value is aligned to its size.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        while !self.0.len().is_multiple_of(to) {
            self.0.push(0);
        }
    }

    fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.0.extend(text.bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.bytes());
        self.0.push(0);
    }

    /// An array: its length in bytes, without the padding before its first element, then those.
    fn array(&mut self, alignment: usize, write: impl FnOnce(&mut Writer)) {
        self.u32(0);
        let length_at = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        write(self);
        let length = (self.0.len() - start) as u32;
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(v) => self.u32(u32::from(*v)),
            Value::I32(v) => self.u32(v.cast_unsigned()),
            Value::U32(v) => self.u32(*v),
            Value::U64(v) => {
                self.align(8);
                self.0.extend(v.to_le_bytes());
            }
            Value::Text(v) => self.text(v),
            Value::Bytes(v) => self.array(1, |w| w.0.extend(v)),
            Value::Texts(v) => self.array(4, |w| v.iter().for_each(|text| w.text(text))),
            Value::Numbers(v) => self.array(4, |w| v.iter().for_each(|number| w.u32(*number))),
            Value::Pairs(v) => self.array(8, |w| {
                for (first, second) in v {
                    w.align(8);
                    w.text(first);
                    w.text(second);
                }
            }),
            Value::Properties(v) => self.array(8, |w| {
                for (name, value) in v {
                    w.align(8);
                    w.text(name);
                    w.signature(value.signature());
                    w.value(value);
                }
            }),
            Value::NoUnits => self.array(8, |_| {}),
        }
    }

    /// One field of a message's header.
    fn field(&mut self, code: u8, signature: &str, text: &str) {
        self.align(8);
        self.0.push(code);
        self.signature(signature);
        if signature == "g" { self.signature(text) } else { self.text(text) }
    }
}

/// A method call as bytes.
fn encode(serial: u32, destination: Option<&str>, call: &Call) -> Vec<u8> {
    let mut body = Writer::default();
    call.arguments.iter().for_each(|value| body.value(value));
    let signature: String = call.arguments.iter().map(Value::signature).collect();
    let mut out = Writer(vec![b'l', METHOD_CALL, 0, 1]);
    out.u32(body.0.len() as u32);
    out.u32(serial);
    out.array(8, |w| {
        w.field(1, "o", call.path);
        w.field(2, "s", call.interface);
        w.field(3, "s", call.method);
        if let Some(destination) = destination {
            w.field(6, "s", destination);
        }
        if !signature.is_empty() {
            w.field(8, "g", &signature);
        }
    });
    out.align(8);
    out.0.extend(body.0);
    out.0
}

/// The whole length of the message that begins here, once enough of it is there.
fn message_length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(start) = bytes.get(..16) else { return Ok(None) };
    let mut reader = Reader { bytes: start, at: 4, big_endian: start[0] == b'B' };
    let body = reader.u32()? as usize;
    reader.u32()?;
    let fields = reader.u32()? as usize;
    let length = 16usize.saturating_add(fields.saturating_add(7) & !7).saturating_add(body);
    if !matches!(start[0], b'l' | b'B') || start[3] != 1 || length > LONGEST {
        bail!("systemd sent something that is no D-Bus message");
    }
    Ok(Some(length))
}

fn decode(bytes: &[u8]) -> Result<Message> {
    let mut reader = Reader { bytes, at: 4, big_endian: bytes.first() == Some(&b'B') };
    let mut message = Message {
        kind: bytes.get(1).copied().unwrap_or(0),
        big_endian: reader.big_endian,
        ..Default::default()
    };
    let body = reader.u32()? as usize;
    reader.u32()?;
    let end = 16 + reader.u32()? as usize;
    while reader.at < end {
        reader.align(8);
        let code = reader.byte()?;
        match (code, reader.signature()?.as_str()) {
            (3, "s") => message.member = reader.text()?,
            (4, "s") => message.error = reader.text()?,
            (8, "g") => message.signature = reader.signature()?,
            (5, "u") => message.reply_to = reader.u32()?,
            (_, "u") => drop(reader.u32()?),
            (_, "s" | "o") => drop(reader.text()?),
            (_, "g") => drop(reader.signature()?),
            (_, other) => bail!("systemd sent a D-Bus message with a header field of type `{other}`"),
        }
    }
    message.body = bytes.get(bytes.len().saturating_sub(body)..).unwrap_or_default().to_vec();
    Ok(message)
}

impl Message {
    /// The first argument as text or object path.
    pub fn text(&self) -> Result<String> {
        if !self.signature.starts_with(['s', 'o']) {
            bail!("systemd answered with `{}` instead of a text", self.signature);
        }
        self.reader().text()
    }

    /// The first argument as text in a variant.
    pub fn variant_text(&self) -> Result<String> {
        let mut reader = self.reader();
        if self.signature != "v" || reader.signature()? != "s" {
            bail!("systemd answered with `{}` instead of a text", self.signature);
        }
        reader.text()
    }

    fn reader(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0, big_endian: self.big_endian }
    }
}

/// A message being read; nothing outside it is ever looked at.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.at..).and_then(|rest| rest.get(..count));
        let taken = rest.context("a D-Bus message from systemd is cut short")?;
        self.at += count;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?.first().copied().unwrap_or(0))
    }

    fn u32(&mut self) -> Result<u32> {
        self.align(4);
        let bytes: [u8; 4] = self.take(4)?.try_into()?;
        Ok(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn text(&mut self) -> Result<String> {
        let length = self.u32()? as usize;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.byte()?;
        Ok(text)
    }

    fn signature(&mut self) -> Result<String> {
        let length = self.byte()? as usize;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.byte()?;
        Ok(text)
    }
}

/// What a hostile peer's bytes can reach: the reader of messages, and of the signal that is waited for.
#[cfg(fuzzing)]
pub fn fuzz(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some(length)) = message_length(rest)
        && let Some((bytes, after)) = rest.split_at_checked(length)
    {
        if let Ok(message) = decode(bytes) {
            let _ = (message.text(), message.variant_text());
            let _ = removed_job(&message, "/org/freedesktop/systemd1/job/1");
        }
        rest = after;
    }
    let _ = decode(data);
    let _ = std::str::from_utf8(data).map(socket_of);
}

#[cfg(test)]
mod tests;
