//! The log: one line per event, in the shape that engines read. Opened once by `main` from the
//! global options, written to from everywhere through `debug!`, `info!`, `warn!` and `error!`,
//! also by init, because a line is one plain write(2) without a lock.
//!
//! Where a line goes: without `--log` to stderr, in the chosen format. With `--log` to the target;
//! an error goes to stderr too, as plain text, because some engines read only that. An engine may
//! parse the file as a single JSON value after a failure, so with `--log` and `--log-format json`
//! only errors are written unless `--log-level` or `--debug` asks for more. In every other case
//! warnings are written too.

use crate::error::{About, Context, bail, text};
use crate::hostfs;
use anyhow::Result;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// How much a line matters, most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The command failed.
    Error,
    /// The command goes on, but somebody should know.
    Warning,
    /// Good to know.
    Info,
    /// For finding faults.
    Debug,
}

impl Level {
    /// The level named by `--log-level`.
    pub fn parse(name: &str) -> Result<Level> {
        match name {
            "error" => Ok(Level::Error),
            "warning" | "warn" => Ok(Level::Warning),
            "info" => Ok(Level::Info),
            "debug" => Ok(Level::Debug),
            _ => bail!("unknown log level `{name}`: use error, warning, info or debug"),
        }
    }

    /// The name in a log line.
    fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }

    /// The severity of syslog(3).
    fn severity(self) -> u8 {
        match self {
            Level::Error => 3,
            Level::Warning => 4,
            Level::Info => 6,
            Level::Debug => 7,
        }
    }
}

/// The shape of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// `time="…" level=error msg="…"`
    #[default]
    Text,
    /// `{"level":"error","msg":"…","time":"…"}`
    Json,
}

impl Format {
    /// The format named by `--log-format`.
    pub fn parse(name: &str) -> Result<Format> {
        match name {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => bail!("unknown log format `{name}`: use text or json"),
        }
    }
}

/// Where `--log` sends the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Appended to a file, made with mode 0644 where it is missing.
    File(PathBuf),
    /// The local syslog daemon, under this identifier.
    Syslog(String),
    /// The systemd journal, under this identifier.
    Journald(String),
}

impl Target {
    /// Reads `FILE`, `file:FILE`, `syslog:IDENTIFIER` or `journald:IDENTIFIER`. A word before the
    /// first colon is a kind of target unless it holds a slash.
    pub fn parse(text: &OsStr) -> Result<Target> {
        let bytes = text.as_bytes();
        let colon = bytes.iter().position(|b| *b == b':');
        let (kind, rest) = match colon {
            Some(at) if !bytes[..at].contains(&b'/') => (&bytes[..at], &bytes[at + 1..]),
            _ => (&b"file"[..], bytes),
        };
        if rest.is_empty() {
            bail!("nothing named in the log target `{}`: use FILE or file:FILE", text.display());
        }
        let identifier = || {
            let name = std::str::from_utf8(rest).context("read the identifier of the log target")?;
            if name.contains(|c: char| c.is_control()) {
                bail!("control character in the identifier of the log target {name:?}");
            }
            Ok(name.to_owned())
        };
        match kind {
            b"file" => Ok(Target::File(PathBuf::from(OsStr::from_bytes(rest)))),
            b"syslog" => Ok(Target::Syslog(identifier()?)),
            b"journald" => Ok(Target::Journald(identifier()?)),
            _ => bail!(
                "unknown log target `{}`: use file:FILE, journald:IDENTIFIER or syslog:IDENTIFIER",
                text.display()
            ),
        }
    }
}

/// What the global options say about the log.
#[derive(Debug, Default)]
pub struct Settings<'a> {
    /// `--log`; none is stderr.
    pub target: Option<&'a Target>,
    /// `--log-format`.
    pub format: Format,
    /// `--log-level`.
    pub level: Option<Level>,
    /// `--debug`, the same as level debug.
    pub debug: bool,
}

impl Settings<'_> {
    /// The least important level that is written.
    fn threshold(&self) -> Level {
        match self {
            Settings { debug: true, .. } => Level::Debug,
            Settings { level: Some(level), .. } => *level,
            Settings { target: Some(Target::File(_)), format: Format::Json, .. } => Level::Error,
            _ => Level::Warning,
        }
    }
}

/// An open log.
#[derive(Debug)]
struct Log {
    threshold: Level,
    format: Format,
    sink: Sink,
}

/// The open end of a target.
#[derive(Debug)]
enum Sink {
    Stderr,
    File(OwnedFd),
    Syslog(OwnedFd, String),
    Journald(OwnedFd, String),
}

/// Set once by `open`; before that, stderr as text.
static LOG: OnceLock<Log> = OnceLock::new();
static DEFAULT: Log = Log { threshold: Level::Warning, format: Format::Text, sink: Sink::Stderr };

/// Opens the log; to be called once, before anything is logged. The descriptor closes on exec. A log
/// daemon that is away keeps no command from its work: standard error takes the place of its log.
pub fn open(settings: &Settings) -> Result<()> {
    let mut absent = None;
    let mut daemon = |path| connect(path).map_err(|errno| absent = Some((path, errno))).ok();
    let sink = match settings.target {
        None => Sink::Stderr,
        Some(Target::File(path)) => Sink::File(open_file(path)?),
        Some(Target::Syslog(name)) => {
            daemon("/dev/log").map_or(Sink::Stderr, |fd| Sink::Syslog(fd, name.clone()))
        }
        Some(Target::Journald(name)) => {
            daemon("/run/systemd/journal/socket").map_or(Sink::Stderr, |fd| Sink::Journald(fd, name.clone()))
        }
    };
    let log = Log { threshold: settings.threshold(), format: settings.format, sink };
    if LOG.set(log).is_err() {
        bail!("open the log: it is open already");
    }
    if let Some((path, errno)) = absent {
        crate::warn!("connect to `{path}` for the log: {}; logging to standard error", text(errno));
    }
    Ok(())
}

fn open_file(path: &PathBuf) -> Result<OwnedFd> {
    let mode = Mode::from_raw_mode(0o644);
    hostfs::open_or_create(path, OFlags::WRONLY | OFlags::APPEND, mode)
        .with_context(|| format!("open the log file `{}` (--log)", path.display()))
}

fn connect(path: &str) -> Result<OwnedFd, Errno> {
    let socket = UnixDatagram::unbound().and_then(|socket| socket.connect(path).map(|()| socket));
    socket.map(OwnedFd::from).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Writes one line where its level is enabled; called through the macros. A log that cannot be
/// written to is not an error of the command.
pub fn write(level: Level, message: fmt::Arguments) {
    write_about(level, message, None);
}

/// The same, and what programs want to know of an error: in JSON lines as `code`, `step`, `object` and
/// `errno`.
fn write_about(level: Level, message: fmt::Arguments, about: Option<&About>) {
    let log = LOG.get().unwrap_or(&DEFAULT);
    if level > log.threshold {
        return;
    }
    let message = message.to_string();
    let stderr = std::io::stderr();
    let line = || line(log.format, level, &message, SystemTime::now(), about);
    match &log.sink {
        Sink::Stderr => write_all(stderr.as_fd(), line().as_bytes()),
        Sink::File(fd) => write_all(fd.as_fd(), line().as_bytes()),
        Sink::Syslog(fd, name) => write_all(fd.as_fd(), syslog_datagram(level, name, &message).as_bytes()),
        Sink::Journald(fd, name) => write_all(fd.as_fd(), &journal_datagram(level, name, &message)),
    }
    if level == Level::Error && !matches!(log.sink, Sink::Stderr) {
        write_all(stderr.as_fd(), plain(&message).as_bytes());
    }
}

/// One write(2), more only if the kernel takes less.
fn write_all(fd: BorrowedFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Tells whoever sits at a terminal what goes on: a plain line on stderr where that is one. Nothing for
/// programs, which have their log, or ask for JSON.
pub fn notice(message: &str) {
    let stderr = std::io::stderr();
    if LOG.get().unwrap_or(&DEFAULT).format == Format::Text && stderr.is_terminal() {
        write_all(stderr.as_fd(), format!("oxrun: {}", plain(message)).as_bytes());
    }
}

/// Logs the error that ends the command.
pub fn failure(error: &anyhow::Error) {
    let about = About::of(error);
    write_about(Level::Error, format_args!("{}", describe(error)), Some(&about));
}

fn line(format: Format, level: Level, message: &str, time: SystemTime, about: Option<&About>) -> String {
    let (level, time) = (level.name(), rfc3339(time));
    match format {
        Format::Text => format!("time=\"{time}\" level={level} msg={}\n", quote(message)),
        Format::Json => {
            let message = serde_json::Value::from(message);
            let more = about.map(members).unwrap_or_default();
            format!("{{\"level\":\"{level}\",\"msg\":{message},\"time\":\"{time}\"{more}}}\n")
        }
    }
}

/// The further members of a JSON line about an error; `object` and `errno` where there are any.
fn members(about: &About) -> String {
    let mut members = format!(",\"code\":\"{}\",\"step\":\"{}\"", about.code(), about.step.name());
    if let Some(object) = &about.object {
        members += &format!(",\"object\":{}", serde_json::Value::from(object.as_str()));
    }
    if about.errno != 0 {
        members += &format!(",\"errno\":{}", about.errno);
    }
    members
}

/// The message for stderr beside a log file: itself, without what could drive a terminal.
fn plain(message: &str) -> String {
    let mut out = String::with_capacity(message.len() + 1);
    for c in message.trim_end().chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() => push_escaped(&mut out, c),
            c => out.push(c),
        }
    }
    out.push('\n');
    out
}

/// RFC 3164 without time and host, which the daemon adds; facility daemon (3).
fn syslog_datagram(level: Level, name: &str, message: &str) -> String {
    let priority = (3 << 3) | level.severity();
    format!("<{priority}>{name}[{}]: {}", std::process::id(), plain(message).trim_end())
}

/// The journal's native protocol; the message with its length, as it may hold newlines.
fn journal_datagram(level: Level, name: &str, message: &str) -> Vec<u8> {
    let head = format!("PRIORITY={}\nSYSLOG_IDENTIFIER={name}\nMESSAGE\n", level.severity());
    let mut datagram = head.into_bytes();
    datagram.extend_from_slice(&(message.len() as u64).to_le_bytes());
    datagram.extend_from_slice(message.as_bytes());
    datagram.push(b'\n');
    datagram
}

/// Double quotes and escapes as Go's `%q` makes them, which readers of such lines undo.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            c if c.is_ascii() || c.escape_debug().count() > 1 => push_escaped(&mut out, c),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn push_escaped(out: &mut String, c: char) {
    let code = u32::from(c);
    // Writing to a String cannot fail.
    let _ = match c {
        '\x07' => out.write_str("\\a"),
        '\x08' => out.write_str("\\b"),
        '\x0c' => out.write_str("\\f"),
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        '\x0b' => out.write_str("\\v"),
        c if c.is_ascii() => write!(out, "\\x{code:02x}"),
        _ if code < 0x10000 => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

/// The error with all its causes, on one line. Texts of system errors are written the way engines
/// match them, lower case and without the number: `no such file or directory`.
pub fn describe(error: &anyhow::Error) -> String {
    let mut out = String::new();
    for cause in error.chain() {
        if !out.is_empty() {
            out.push_str(": ");
        }
        out.push_str(&cause_text(cause));
    }
    out
}

fn cause_text(cause: &(dyn std::error::Error + 'static)) -> String {
    let io = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
    let code = io.or_else(|| cause.downcast_ref::<rustix::io::Errno>().map(|errno| errno.raw_os_error()));
    code.map_or_else(|| cause.to_string(), |code| crate::error::why(&std::io::Error::from_raw_os_error(code)))
}

/// The time in UTC with nanoseconds, `2026-11-23T21:12:57.656551227Z` (RFC 3339); times before
/// 1970 become 1970. The calendar is the proleptic Gregorian one, counted from 1 March of year 0.
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86400 + 719_468, since.as_secs() % 86400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let nanos = since.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// Logs the failure of the command: to the log, and to stderr.
#[macro_export]
macro_rules! error {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Error, format_args!($($arg)*)) };
}

/// Logs what somebody should know.
#[macro_export]
macro_rules! warn {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Warning, format_args!($($arg)*)) };
}

/// Logs what is good to know.
#[macro_export]
macro_rules! info {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Info, format_args!($($arg)*)) };
}

/// Logs for finding faults.
#[macro_export]
macro_rules! debug {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Debug, format_args!($($arg)*)) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64, nanos: u32) -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds, nanos)
    }

    #[test]
    fn times_are_rfc3339() {
        let table = [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_399, 1, "2000-02-28T23:59:59.000000001Z"),
            (951_782_400, 0, "2000-02-29T00:00:00.000000000Z"),
            (951_868_800, 0, "2000-03-01T00:00:00.000000000Z"),
            (1_709_164_800, 0, "2024-02-29T00:00:00.000000000Z"),
            (1_735_689_599, 999_999_999, "2024-12-31T23:59:59.999999999Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z"),
        ];
        for (seconds, nanos, text) in table {
            assert_eq!(rfc3339(at(seconds, nanos)), text);
        }
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(5)), "1970-01-01T00:00:00.000000000Z");
    }

    #[test]
    fn quotes_like_go() {
        let table = [
            ("plain", r#""plain""#),
            ("a \"b\" \\", r#""a \"b\" \\""#),
            ("l1\nl2\t\x1b\x7f\x00\x07", r#""l1\nl2\t\x1b\x7f\x00\a""#),
            ("grün 日本 \u{1f980}", "\"grün 日本 \u{1f980}\""),
            ("\u{200b}\u{85}\u{e0001}", r#""\u200b\u0085\U000e0001""#),
        ];
        for (text, quoted) in table {
            assert_eq!(quote(text), quoted);
        }
    }

    #[test]
    fn lines_have_the_known_shape() {
        let time = at(0, 0);
        assert_eq!(
            line(Format::Text, Level::Error, "no \"x\"", time, None),
            "time=\"1970-01-01T00:00:00.000000000Z\" level=error msg=\"no \\\"x\\\"\"\n"
        );
        assert_eq!(
            line(Format::Json, Level::Warning, "a\n\"b\"\x1b", time, None),
            "{\"level\":\"warning\",\"msg\":\"a\\n\\\"b\\\"\\u001b\",\"time\":\"1970-01-01T00:00:00.000000000Z\"}\n"
        );
        assert_eq!(plain("one\x1b[2J\ttwo\n"), "one\\x1b[2J\ttwo\n");
        assert!(syslog_datagram(Level::Error, "web", "x").starts_with("<27>web["));
        assert_eq!(
            journal_datagram(Level::Debug, "web", "a\nb"),
            b"PRIORITY=7\nSYSLOG_IDENTIFIER=web\nMESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n"
        );
    }

    #[test]
    fn a_daemon_gets_one_datagram() {
        let path = std::env::temp_dir().join(format!("oxrun-log-{}", std::process::id()));
        let server = UnixDatagram::bind(&path).unwrap();
        let client = connect(path.to_str().unwrap());
        std::fs::remove_file(&path).unwrap();
        write_all(client.unwrap().as_fd(), syslog_datagram(Level::Warning, "web", "a\n").as_bytes());
        let mut buffer = [0; 100];
        let length = server.recv(&mut buffer).unwrap();
        let expected = format!("<28>web[{}]: a", std::process::id());
        assert_eq!(std::str::from_utf8(&buffer[..length]).unwrap(), expected);
    }

    #[test]
    fn targets() {
        let file = |path: &str| Some(Target::File(path.into()));
        let table = [
            ("log.json", file("log.json")),
            ("/run/a:b/log", file("/run/a:b/log")),
            ("./a:b", file("./a:b")),
            ("file:a:b", file("a:b")),
            ("file:/x", file("/x")),
            ("syslog:web", Some(Target::Syslog("web".into()))),
            ("journald:web", Some(Target::Journald("web".into()))),
            ("invalid:/path", None),
            ("syslog:", None),
            ("file:", None),
            ("syslog:a\nb", None),
            (":", None),
            ("", None),
        ];
        for (text, target) in table {
            assert_eq!(Target::parse(text.as_ref()).ok(), target, "{text}");
        }
    }

    #[test]
    fn a_json_log_file_holds_errors_alone_unless_asked() {
        let file = Target::File("x".into());
        let json = |level, debug| Settings { target: Some(&file), format: Format::Json, level, debug };
        assert_eq!(json(None, false).threshold(), Level::Error);
        assert_eq!(json(Some(Level::Info), false).threshold(), Level::Info);
        assert_eq!(json(None, true).threshold(), Level::Debug);
        assert_eq!(json(Some(Level::Error), true).threshold(), Level::Debug);
        let text = Settings { target: Some(&file), ..Settings::default() };
        assert_eq!(text.threshold(), Level::Warning);
        assert_eq!(Settings::default().threshold(), Level::Warning);
    }

    #[test]
    fn the_log_is_opened_once() {
        let status = crate::sys::spawn::in_child(|| {
            open(&Settings::default()).unwrap();
            let error = open(&Settings::default()).unwrap_err().to_string();
            assert_eq!(error, "open the log: it is open already");
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn levels_and_formats_by_name() {
        assert_eq!(Level::parse("warn").ok(), Some(Level::Warning));
        assert!(Level::parse("loud").is_err());
        assert_eq!(Format::parse("json").ok(), Some(Format::Json));
        assert!(Format::parse("invalid").is_err());
        assert!(Level::Error < Level::Debug);
    }

    #[test]
    fn system_errors_read_as_engines_match_them() {
        let table = [
            (libc::ENOENT, "no such file or directory"),
            (libc::EACCES, "permission denied"),
            (libc::EPERM, "operation not permitted"),
            (libc::EISDIR, "is a directory"),
            (libc::ESRCH, "no such process"),
            (libc::EBUSY, "device or resource busy"),
            (99999, "unknown error 99999"),
        ];
        for (errno, text) in table {
            assert_eq!(crate::error::why(&std::io::Error::from_raw_os_error(errno)), text);
        }
        let io = std::fs::File::open("/nonexistent").context("open").context("read the config").unwrap_err();
        assert_eq!(describe(&io), "read the config: open: no such file or directory");
        let errno = anyhow::Error::from(rustix::io::Errno::PERM).context("mount `/a`");
        assert_eq!(describe(&errno), "mount `/a`: operation not permitted");
        assert_eq!(describe(&anyhow::anyhow!("Plain")), "Plain");
    }

    #[test]
    fn a_missing_directory_or_daemon_is_an_error_with_its_path() {
        let missing = Target::File("/nonexistent/dir/log".into());
        let settings = Settings { target: Some(&missing), ..Settings::default() };
        let text = format!("{:#}", open(&settings).unwrap_err());
        assert!(text.contains("/nonexistent/dir/log"), "{text}");
        assert!(connect("/nonexistent/log").is_err());
    }
}
