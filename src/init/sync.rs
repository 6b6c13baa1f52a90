//! The conversation between the host side and init: one socket pair, one message type.
//!
//! ```text
//!       host side                                             init
//!    clone3 ─────────────────────────────────────────▶  waits
//!    id maps, hard limits
//!       ── Begin ────────────────────────────────────▶  cgroup, namespaces, mounts, devices
//!       ◀────────────────────────── InNamespaces ────    (only with network devices)
//!       ── DevicesGiven ─────────────────────────────▶
//!       ◀──────────── AskSource ─────────────────────    (user namespaces and id maps)
//!       ── Given {fd} or Refused {text} ─────────────▶
//!       ◀─────────────────────────── RootfsReady ────    (only with hooks of the host side)
//!    prestart, createRuntime hooks
//!       ── HooksDone ────────────────────────────────▶  createContainer hooks, new root, masks
//!       ◀──────────────────────── Console {fd} ──────    (only with a terminal)
//!       ◀─────────── SeccompListener (its number) ───    (only when the filter notifies)
//!       ── Given (it will be fetched) or Refused ────▶  filter
//!       ◀──────────────── SeccompListener {fd} ──────    (only when Refused)
//!       ── ListenerSent ─────────────────────────────▶
//!       ◀───────────────────────────────── Ready ────    all that can fail before exec is done
//!    state "created"
//!       ── Recorded (only with start.sock) ──────────▶  lets go of the host side, waits on start.sock
//!    pid file
//!       ── Start (here for `run`, on start.sock for `start`) ─▶  filter, startContainer hooks, execve
//!       ◀── end of file: running    ◀── Failed: why not
//! ```
//!
//! At any time init may say `Failed`; end of file before `Ready` means that it died, and its pidfd
//! says how.

use crate::error::{Doing, Failed, bail};
use anyhow::Result;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Longest text of a message in bytes; longer ones are cut.
const MAX_TEXT: usize = 16 * 1024;

/// One message; descriptors travel beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Id maps are written and limits set: go on.
    Begin,
    /// Init is in its namespaces and waits for network devices.
    InNamespaces,
    /// They are there.
    DevicesGiven,
    /// Init wants the source of a bind mount, by index.
    AskSource(u32),
    /// The descriptor asked for.
    Given,
    /// It could not be had.
    Refused(String),
    /// Namespaces and mounts are there.
    RootfsReady,
    /// The host side's hooks ran.
    HooksDone,
    /// The terminal's master end.
    Console,
    /// The seccomp listener, by the number that it has or will have in the sender.
    SeccompListener(i32),
    /// The agent has it.
    ListenerSent,
    /// All done but the start.
    Ready,
    /// The state names init, so it may outlive its creator.
    Recorded,
    /// Execute the program; true if whoever starts it traces.
    Start(bool),
    /// The process went on as another one (its pid, beside it its pidfd).
    Successor(i32),
    /// Steps that init has done, with their times (`trace`); at any time, and only when asked for.
    Trace(String),
    /// There is no process to execute.
    NothingToRun,
    /// It went wrong.
    Failed(Failed),
    /// One of the last steps (`last`) went wrong; beside it the container's root.
    LastStep(LastStep),
}

/// A step of `last` that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastStep {
    /// The error number; 0 when the answer was not the expected one.
    pub errno: i32,
    /// Which step.
    pub step: u8,
    /// The program to execute.
    pub program: String,
}

impl Message {
    /// As it is sent: a byte for the kind, a number in four, text.
    pub fn encode(&self) -> Vec<u8> {
        let told;
        let (kind, number, text): (u8, i32, &str) = match self {
            Message::Begin => (1, 0, ""),
            Message::AskSource(index) => (2, *index as i32, ""),
            Message::Given => (4, 0, ""),
            Message::Refused(text) => (5, 0, text),
            Message::RootfsReady => (6, 0, ""),
            Message::HooksDone => (7, 0, ""),
            Message::Console => (8, 0, ""),
            Message::SeccompListener(number) => (9, *number, ""),
            Message::ListenerSent => (10, 0, ""),
            Message::Ready => (11, 0, ""),
            Message::Start(traced) => (12, i32::from(*traced), ""),
            Message::Trace(text) => (30, 0, text),
            Message::Successor(pid) => (13, *pid, ""),
            Message::Failed(failed) => {
                told = format!("{}\0{failed}", failed.sites());
                (14, failed.errno(), &told)
            }
            Message::LastStep(LastStep { errno, step, program }) => {
                told = format!("{}{program}", char::from(*step));
                (19, *errno, &told)
            }
            Message::InNamespaces => (16, 0, ""),
            Message::DevicesGiven => (17, 0, ""),
            Message::NothingToRun => (15, 0, ""),
            Message::Recorded => (18, 0, ""),
        };
        let text = text.as_bytes();
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(text.get(..MAX_TEXT).unwrap_or(text));
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Message> {
        let (Some(kind), Some(number)) = (bytes.first(), bytes.get(1..5).and_then(|n| n.try_into().ok()))
        else {
            bail!("a message between the runtime's processes is cut short");
        };
        let number = i32::from_le_bytes(number);
        let text = || String::from_utf8_lossy(bytes.get(5..).unwrap_or_default()).into_owned();
        Ok(match kind {
            1 => Message::Begin,
            2 => Message::AskSource(number as u32),
            4 => Message::Given,
            5 => Message::Refused(text()),
            6 => Message::RootfsReady,
            7 => Message::HooksDone,
            8 => Message::Console,
            9 => Message::SeccompListener(number),
            10 => Message::ListenerSent,
            11 => Message::Ready,
            12 => Message::Start(number != 0),
            30 => Message::Trace(text()),
            13 => Message::Successor(number),
            14 => {
                let text = text();
                let (sites, text) = text.split_once('\0').unwrap_or(("", &text));
                Message::Failed(Failed::told(number, sites.to_string(), text.to_string()))
            }
            15 => Message::NothingToRun,
            16 => Message::InNamespaces,
            17 => Message::DevicesGiven,
            18 => Message::Recorded,
            19 => {
                let (text, step) = (text(), bytes.get(5).copied().unwrap_or_default());
                Message::LastStep(LastStep {
                    errno: number,
                    step,
                    program: text.get(1..).unwrap_or("").into(),
                })
            }
            other => bail!("unknown message {other} between the runtime's processes"),
        })
    }
}

/// The reader of messages: what it accepts survives being sent on.
#[cfg(fuzzing)]
pub fn fuzz(data: &[u8]) {
    if let Ok(message) = Message::decode(data) {
        let again = Message::decode(&message.encode());
        assert!(again.is_ok_and(|again| std::mem::discriminant(&again) == std::mem::discriminant(&message)));
    }
}

/// One end of the conversation, also of a connection to start.sock.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Both ends.
    pub fn pair() -> Result<(Channel, Channel)> {
        let (a, b) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .doing(|| "make the socket pair to init")?;
        Ok((Channel(a), Channel(b)))
    }

    /// An end that is there already.
    pub fn new(fd: OwnedFd) -> Channel {
        Channel(fd)
    }

    /// The descriptor, to wait on.
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Says something.
    pub fn send(&self, message: &Message) -> Result<()> {
        self.send_with(message, None)
    }

    /// Says something with a descriptor.
    pub fn send_with(&self, message: &Message, fd: Option<BorrowedFd>) -> Result<()> {
        let bytes = message.encode();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<BorrowedFd> = fd.into_iter().collect();
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(self.0.as_fd(), &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)
        })
        .doing(|| "send to the other side")?;
        Ok(())
    }

    /// Ends this side's part: the other side, which waits for it, hears nothing any more, but may still speak.
    pub fn say_no_more(&self) -> Result<()> {
        rustix::net::shutdown(&self.0, rustix::net::Shutdown::Write).doing(|| "end the conversation")
    }

    /// Tells the other side of the steps since the last time, where they are traced.
    pub fn tell_trace(&self) -> Result<()> {
        crate::trace::take_pieces().into_iter().try_for_each(|piece| self.send(&Message::Trace(piece)))
    }

    /// Waits for the next message; none at the end of the conversation. Steps are kept on the way.
    pub fn receive(&self) -> Result<Option<(Message, Option<OwnedFd>)>> {
        loop {
            match self.receive_any()? {
                Some((Message::Trace(piece), _)) => crate::trace::absorb(&piece),
                other => return Ok(other),
            }
        }
    }

    fn receive_any(&self) -> Result<Option<(Message, Option<OwnedFd>)>> {
        let mut bytes = vec![0u8; MAX_TEXT + 5];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let length = loop {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            let received =
                rustix::net::recvmsg(self.0.as_fd(), &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC);
            match received {
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::CONNRESET) => return Ok(None),
                other => break other.doing(|| "receive from the other side")?.bytes,
            }
        };
        if length == 0 {
            return Ok(None);
        }
        let mut fd = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                fd = fds.last();
            }
        }
        Ok(Some((Message::decode(bytes.get(..length).unwrap_or_default())?, fd)))
    }

    /// Waits for one kind of message; anything else is an error.
    pub fn expect(&self, wanted: &Message) -> Result<()> {
        match self.receive()? {
            Some((message, _)) if message == *wanted => Ok(()),
            Some((message, _)) => bail!("expected {wanted:?} from the other side, received {message:?}"),
            None => bail!("the other side of the runtime ended while {wanted:?} was awaited"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_descriptors_arrive_as_sent() {
        let (a, b) = Channel::pair().unwrap();
        let pipe = rustix::pipe::pipe().unwrap();
        a.send_with(&Message::Console, Some(pipe.0.as_fd())).unwrap();
        let failed = Failed::told(2, "src/x.rs:1 src/y.rs:2".into(), "mount `x`: no".into());
        a.send(&Message::Failed(failed.clone())).unwrap();
        let (message, fd) = b.receive().unwrap().unwrap();
        assert_eq!((message, fd.is_some()), (Message::Console, true));
        assert_eq!(b.receive().unwrap().unwrap().0, Message::Failed(failed));
        let last = Message::LastStep(LastStep { errno: 2, step: 7, program: "/bin/x".into() });
        a.send(&last).unwrap();
        assert_eq!(b.receive().unwrap().unwrap().0, last);
        drop(a);
        assert!(b.receive().unwrap().is_none());
    }

    #[test]
    fn a_conversation_that_goes_wrong_is_an_error() {
        let error = |result: Result<()>| result.unwrap_err().to_string();
        let decode = |bytes: &[u8]| error(Message::decode(bytes).map(drop));
        assert_eq!(decode(&[99, 0, 0, 0, 0]), "unknown message 99 between the runtime's processes");
        assert_eq!(decode(&[1]), "a message between the runtime's processes is cut short");
        let (a, b) = Channel::pair().unwrap();
        a.send(&Message::Begin).unwrap();
        let other = error(b.expect(&Message::Ready));
        assert_eq!(other, "expected Ready from the other side, received Begin");
        drop(a);
        let ended = error(b.expect(&Message::Ready));
        assert_eq!(ended, "the other side of the runtime ended while Ready was awaited");
        assert_eq!(error(b.send(&Message::Begin)), "send to the other side: broken pipe");
        let no_socket = Channel::new(crate::hostfs::open("/dev/null", rustix::fs::OFlags::RDONLY).unwrap());
        let refused = "receive from the other side: socket operation on non-socket";
        assert_eq!(error(no_socket.receive().map(drop)), refused);
    }
}
