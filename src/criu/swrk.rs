//! The CRIU process of one command: found, started with one end of a socket pair, asked, listened to
//! while it reports its steps, and waited for. It gets nothing of this process but that socket and
//! the descriptors that restored processes inherit. It does not outlive the command: questions have a time
//! limit, work has none but ends when the command is interrupted, and its end is noticed by its pidfd.

use super::interrupt::Interrupts;
use super::log;
use super::messages::{Features, Kind, Options, Request, Response, Version};
use crate::cgroup::Join;
use crate::error::{Context, Doing, anyhow, bail, ensure, failed, shown};
use crate::hostfs;
use crate::probe;
use crate::progress::Progress;
use crate::sys::clone::{Forked, clone3};
use crate::sys::process::{self as sys, Exit};
use crate::sys::signal;
use anyhow::Result;
use prost::Message;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, Shutdown,
    SocketFlags, SocketType,
};
use std::ffi::{CString, OsStr, OsString};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest message taken, in bytes; CRIU's answers have a few hundred.
const LONGEST: usize = 64 << 10;
/// How long CRIU may take for an answer that needs no work, where OXRUN_CRIU_TIMEOUT says nothing else
/// (seconds). An answer about features takes a second: it starts other programs.
const TIME: u64 = 30;
/// The longest that can be asked for.
const LONGEST_TIME: u64 = 3600;
/// How long to undo its work after an interruption, and to end after its last answer.
const GRACE: u64 = 10;
/// Where programs of the system are, also where PATH does not say so.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program: the one at a path that was given, else found by its name, `criu` where none was given, in
/// $PATH and in the directories of the system.
pub fn find(given: Option<&Path>) -> Result<PathBuf> {
    let name = given.unwrap_or(Path::new("criu"));
    if name.as_os_str().as_bytes().contains(&b'/') {
        let shown = name.display();
        ensure!(
            probe::is_program(name),
            "`{shown}` (--criu) is no program: give the path of CRIU, or its name in $PATH"
        );
        // It may be started from another directory.
        return Ok(std::path::absolute(name).unwrap_or_else(|_| name.to_path_buf()));
    }
    probe::in_path(&search_path(), name).with_context(|| {
        format!(
            "CRIU is not installed: no `{}` in $PATH; most distributions have it in the package `criu` \
             (apt-get install criu, dnf install criu, apk add criu)",
            name.display()
        )
    })
}

/// $PATH, and what it lacks of the system's directories: CRIU itself calls ip, iptables and tar.
fn search_path() -> OsString {
    match std::env::var_os("PATH").filter(|path| !path.is_empty()) {
        Some(mut path) => {
            path.push(":");
            path.push(SYSTEM_PATH);
            path
        }
        None => SYSTEM_PATH.into(),
    }
}

/// What CRIU is started with.
#[derive(Debug, Default)]
pub struct Setting<'a> {
    /// The cgroups that it, and with it what it restores, begins in.
    pub cgroup: Join,
    /// Descriptors that keep their number in it; all above 2.
    pub inherited: Vec<&'a OwnedFd>,
    /// Whether what is typed on the terminal interrupts the command alone and not CRIU, which would not
    /// undo anything. Restored processes may need the terminal, and so the same process group.
    pub own_group: bool,
}

/// A step that CRIU has reached; it waits until it was looked at.
#[derive(Debug)]
pub struct Step {
    /// `post-restore` and so on (criu(8), --action-script).
    pub name: String,
    /// The container's first process, where it is known.
    pub pid: Option<i32>,
    /// The master of a terminal, with `orphan-pts-master`.
    pub fd: Option<OwnedFd>,
}

/// What it has been asked for.
struct Work {
    progress: Progress,
    task: &'static str,
}

/// What there is to hear of it.
enum Heard {
    Message(Response, Option<OwnedFd>),
    /// It has closed the socket, or ended.
    End,
    /// The command is to end.
    Interrupt(i32),
    /// Nothing, in the time given.
    Nothing,
}

/// The running process.
#[derive(Debug)]
pub struct Swrk {
    /// Its process id.
    pub pid: i32,
    socket: OwnedFd,
    pidfd: OwnedFd,
    /// What it said before it had a log.
    said: OwnedFd,
    interrupts: Interrupts,
}

impl Swrk {
    /// Starts the program `path`.
    pub fn start(path: &Path, setting: &Setting) -> Result<Swrk> {
        let kind = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (socket, theirs) = rustix::net::socketpair(kind.0, kind.1, kind.2, None)
            .map_err(failed("make the socket pair to CRIU"))?;
        let said = rustix::fs::memfd_create("criu-stderr", MemfdFlags::CLOEXEC)
            .map_err(failed("make a file for CRIU's messages"))?;
        let doing = || format!("start `{}`", path.display());
        // Before there is something to undo.
        let interrupts = Interrupts::hold()?;
        match clone3(0, setting.cgroup.into.as_ref()).doing(doing)? {
            Forked::Child => {
                if let Err(error) = execute(path, setting, &theirs, &said) {
                    // Read by the other side when it finds that this process has ended.
                    let _ = rustix::io::write(&said, shown(&error).as_bytes());
                }
                sys::exit_now(127)
            }
            Forked::Parent { pid, pidfd } => Ok(Swrk { pid, socket, pidfd, said, interrupts }),
        }
    }

    /// Asks which CRIU it is; old ones are refused.
    pub fn version(&self) -> Result<Version> {
        let request = Request { kind: Kind::Version.into(), keep_open: Some(true), ..Request::default() };
        let response = self.ask(&request, Kind::Version)?;
        let version =
            response.version.filter(|_| response.success).context("CRIU did not tell its version")?;
        if version < super::OLDEST {
            let (Version { major, minor }, oldest) = (version, super::OLDEST);
            bail!("CRIU {major}.{minor} is too old: {}.{} or newer is needed", oldest.major, oldest.minor);
        }
        Ok(version)
    }

    /// Asks what of `wanted` it can do on this kernel.
    pub fn features(&self, wanted: Features) -> Result<Features> {
        let request = Request {
            kind: Kind::FeatureCheck.into(),
            keep_open: Some(true),
            features: Some(wanted),
            ..Request::default()
        };
        let response = self.ask(&request, Kind::FeatureCheck)?;
        response.features.filter(|_| response.success).context("CRIU did not tell its features")
    }

    /// A question that is answered at once.
    fn ask(&self, request: &Request, kind: Kind) -> Result<Response> {
        let seconds = time()?;
        self.send(request)?;
        let work = Work { progress: Progress::begin(), task: "answer" };
        match self.hear(&work, Some(after(seconds)))? {
            Heard::Message(response, _) if response.kind() == kind => Ok(response),
            Heard::Message(response, _) => bail!("CRIU answered {:?} to {kind:?}", response.kind()),
            Heard::End => Err(self.died()),
            Heard::Interrupt(signal) => Err(interrupted(signal)),
            Heard::Nothing => bail!("CRIU has not answered for {seconds} seconds: is `criu` CRIU?"),
        }
    }

    /// Has a dump or restore done; `look` sees every step, and its error ends the work, as does an
    /// interruption. The answer may say that CRIU failed; an error says why it did not come to that.
    pub fn run(
        &self,
        kind: Kind,
        options: Options,
        look: &mut dyn FnMut(Step) -> Result<()>,
    ) -> Result<Response> {
        let options = Some(Box::new(options));
        let request = Request { kind: kind.into(), options, ..Request::default() };
        self.send(&request)?;
        let task = if kind == Kind::Restore { "restore the processes" } else { "write the image" };
        let work = Work { progress: Progress::begin(), task };
        // The first refusal is the reason of all that follows.
        let mut refused: Option<anyhow::Error> = None;
        let mut stop: Option<(i32, Instant)> = None;
        loop {
            let (response, fd) = match self.hear(&work, stop.map(|(_, time)| time))? {
                Heard::Message(response, fd) => (response, fd),
                Heard::End => return Err(refused.or(stopped(stop)).unwrap_or_else(|| self.died())),
                Heard::Interrupt(signal) if stop.is_none() => {
                    // At its next step it undoes its work.
                    crate::debug!("interrupted by {}", signal::words(signal));
                    stop = Some((signal, after(GRACE)));
                    continue;
                }
                Heard::Interrupt(_) | Heard::Nothing => {
                    self.end(0);
                    return Err(refused.or(stopped(stop)).unwrap_or_else(|| self.died()));
                }
            };
            if response.kind() != Kind::Notify {
                // An interruption that came when all was done came too late.
                let reason = refused.or_else(|| stopped(stop.filter(|_| !response.success)));
                return match reason {
                    Some(error) => Err(error),
                    None if response.success && response.kind() != kind => {
                        bail!("CRIU answered another request than {kind:?}: is `criu` CRIU?")
                    }
                    None => Ok(response),
                };
            }
            let notify = response.notify.unwrap_or_default();
            let step = Step { name: notify.step.unwrap_or_default(), pid: notify.pid, fd };
            crate::debug!("CRIU is at {}", log::clean(&step.name));
            if stop.is_none() {
                stop = self.interrupts.next()?.map(|signal| (signal, after(GRACE)));
            }
            if stop.is_none() && refused.is_none() {
                // It may run hooks, which can take as long as they like.
                refused = self.interrupts.let_through(|| look(step)).err();
            }
            let answer = Request {
                kind: Kind::Notify.into(),
                notify_success: Some(stop.is_none() && refused.is_none()),
                ..Request::default()
            };
            self.send(&answer)?;
        }
    }

    fn send(&self, request: &Request) -> Result<()> {
        match rustix::net::send(&self.socket, &request.encode_to_vec(), SendFlags::NOSIGNAL) {
            Ok(_) => Ok(()),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(self.died()),
            Err(errno) => Err(failed("send a request to CRIU")(errno)),
        }
    }

    /// The next message, or what comes instead until a time.
    fn hear(&self, work: &Work, until: Option<Instant>) -> Result<Heard> {
        if let Some(other) = self.wait(work, until)? {
            return Ok(other);
        }
        let mut bytes = vec![0u8; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let received =
            match rustix::net::recvmsg(&self.socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::CONNRESET) => return Ok(Heard::End),
                other => other.map_err(failed("receive an answer of CRIU"))?,
            };
        let mut fd = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                fd = fds.last();
            }
        }
        if received.bytes == 0 {
            return Ok(Heard::End);
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            bail!("an answer of CRIU is longer than {LONGEST} bytes: is `criu` CRIU?");
        }
        let bytes = bytes.get(..received.bytes).unwrap_or_default();
        let response = Response::decode(bytes)
            .map_err(|error| anyhow!("an answer of CRIU is not as documented ({error}): is `criu` CRIU?"))?;
        Ok(Heard::Message(response, fd))
    }

    /// Waits for a message; what came instead.
    fn wait(&self, work: &Work, until: Option<Instant>) -> Result<Option<Heard>> {
        let ready = |fds: &mut [PollFd<'_>], until: Option<Instant>| {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let ready = work.progress.poll(fds, left, || format!("waiting for CRIU to {}", work.task));
            ready.map_err(failed("wait for CRIU"))
        };
        loop {
            let mut fds = [&self.socket, &self.pidfd, self.interrupts.descriptor()]
                .map(|fd| PollFd::new(fd, PollFlags::IN));
            let none = ready(&mut fds, until)? == 0;
            let [message, end, signal] = fds.map(|fd| !fd.revents().is_empty());
            if message {
                return Ok(None);
            }
            if end {
                // Its last words may have come meanwhile. Its children may keep the socket open.
                let words = ready(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(Instant::now()))?;
                return Ok((words == 0).then_some(Heard::End));
            }
            if let Some(signal) = signal.then(|| self.interrupts.next()).transpose()?.flatten() {
                return Ok(Some(Heard::Interrupt(signal)));
            }
            if none {
                return Ok(Some(Heard::Nothing));
            }
        }
    }

    /// It ended, or closed its socket, without an answer.
    fn died(&self) -> anyhow::Error {
        // It has a moment to end by itself, for its status to be told.
        let how = match self.end(1) {
            Some(Exit::Signal(libc::SIGKILL)) => "ended without an answer".to_string(),
            Some(Exit::Signal(number)) => format!("was ended by {}", signal::words(number)),
            Some(Exit::Code(code)) => format!("ended with status {code}"),
            None => "ended".to_string(),
        };
        match self.said() {
            Some(said) => anyhow!("CRIU {how}: {said}"),
            None => anyhow!("CRIU {how} and said nothing"),
        }
    }

    /// The last line that it wrote to its standard error.
    pub fn said(&self) -> Option<String> {
        let mut bytes = [0u8; 4096];
        let length = rustix::io::pread(&self.said, &mut bytes, 0).ok()?;
        let text = String::from_utf8_lossy(bytes.get(..length)?).into_owned();
        text.lines().rev().find(|line| !line.trim().is_empty()).map(|line| log::clean(line.trim()))
    }

    /// Waits for its end, and brings it about after some seconds. None if it was waited for before.
    fn end(&self, seconds: u64) -> Option<Exit> {
        let moment = Timespec { tv_sec: seconds.cast_signed(), tv_nsec: 0 };
        // One that is gone needs no signal.
        let _ = poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&moment));
        let _ = sys::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
        sys::wait_pidfd(&self.pidfd).ok()
    }

    /// Why it failed: the decisive lines of its log in the work directory, else what it said.
    pub fn why(&self, response: &Response, work: &OwnedFd, log: &str) -> String {
        let errno = || response.errno.map(|n| crate::error::why(&std::io::Error::from_raw_os_error(n)));
        log::decisive(work, log)
            .or_else(|| response.error.as_deref().map(|e| log::clean(e.trim())).filter(|e| !e.is_empty()))
            .or_else(|| self.said())
            .or_else(errno)
            .unwrap_or_else(|| "it gives no reason".into())
    }
}

impl Drop for Swrk {
    /// Whatever was heard last, nothing of it goes on when the command does.
    fn drop(&mut self) {
        // It reads the end of its requests.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        self.end(GRACE);
    }
}

/// How long an answer may take.
fn time() -> Result<u64> {
    match std::env::var("OXRUN_CRIU_TIMEOUT") {
        Ok(text) if !text.is_empty() => match text.parse() {
            Ok(seconds @ 1..=LONGEST_TIME) => Ok(seconds),
            _ => bail!("OXRUN_CRIU_TIMEOUT is `{text}`: give seconds, 1 to {LONGEST_TIME}"),
        },
        _ => Ok(TIME),
    }
}

fn after(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

fn stopped(stop: Option<(i32, Instant)>) -> Option<anyhow::Error> {
    stop.map(|(signal, _)| interrupted(signal))
}

fn interrupted(signal: i32) -> anyhow::Error {
    anyhow!("interrupted by signal {signal} ({})", signal::words(signal))
}

/// In the new process: becomes CRIU. Returns only on failure.
fn execute(path: &Path, setting: &Setting, socket: &OwnedFd, said: &OwnedFd) -> Result<()> {
    for tasks in &setting.cgroup.tasks {
        rustix::io::write(tasks, b"0").doing(|| "enter the container's cgroup")?;
    }
    if setting.own_group {
        rustix::process::setpgid(None, None).doing(|| "make a process group")?;
    }
    let null = hostfs::open("/dev/null", OFlags::RDWR).doing(|| "open /dev/null")?;
    rustix::stdio::dup2_stdin(&null).doing(|| "set standard input")?;
    rustix::stdio::dup2_stdout(&null).doing(|| "set standard output")?;
    rustix::stdio::dup2_stderr(said).doing(|| "set standard error")?;
    // Before all others are closed behind the back of their owners.
    drop(null);
    let kept = || setting.inherited.iter().copied().chain([socket]);
    sys::close_all_but(
        &mut kept().map(|fd| fd.as_raw_fd() as u32).chain([said.as_raw_fd() as u32]).collect(),
    )
    .doing(|| "close descriptors")?;
    for fd in kept() {
        rustix::io::fcntl_setfd(fd.as_fd(), rustix::io::FdFlags::empty()).doing(|| "keep a descriptor")?;
    }
    signal::reset_for_exec().map_err(failed("reset signals"))?;
    let program = CString::new(path.as_os_str().as_bytes())?;
    let number = CString::new(socket.as_raw_fd().to_string())?;
    let error = sys::execve(&program, &[c"criu".into(), c"swrk".into(), number], &environment());
    Err(anyhow!("execute `{}`: {}", path.display(), crate::error::text(error)))
}

/// The caller's variables, with the longer PATH.
fn environment() -> Vec<CString> {
    let path = (OsString::from("PATH"), search_path());
    std::env::vars_os()
        .filter(|(name, _)| name != OsStr::new("PATH"))
        .chain([path])
        .filter_map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            CString::new(name.into_vec()).ok()
        })
        .collect()
}
