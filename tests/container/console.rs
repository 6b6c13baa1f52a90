//! Terminals for tests: the receiving end of `--console-socket`, and a terminal of one's own for
//! `run` in the foreground. All reads have a limit.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::Winsize;
use std::fs::{File, OpenOptions};
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// The master side of a terminal and everything read from it so far.
pub struct Master {
    file: File,
    text: String,
}

impl Master {
    /// Waits until all that was read so far contains a text.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        while !self.text.contains(text) {
            assert!(self.read_more(), "the terminal ended before {text:?}: {:?}", self.text);
        }
    }

    /// Everything until the other side hangs up.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        while self.read_more() {}
        self.text.clone()
    }

    pub fn write(&mut self, text: &str) {
        self.file.write_all(text.as_bytes()).unwrap();
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.file, size).unwrap();
    }

    pub fn size(&self) -> (u16, u16) {
        let size = rustix::termios::tcgetwinsize(&self.file).unwrap();
        (size.ws_row, size.ws_col)
    }

    /// One read; false at the end.
    #[track_caller]
    fn read_more(&mut self) -> bool {
        assert!(readable(&self.file), "the terminal is silent; so far: {:?}", self.text);
        let mut bytes = [0; 4096];
        match self.file.read(&mut bytes) {
            Ok(0) | Err(_) => false,
            Ok(length) => {
                self.text.push_str(&String::from_utf8_lossy(&bytes[..length]));
                true
            }
        }
    }
}

/// Whether there is something to read within ten seconds.
pub fn readable(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 10, tv_nsec: 0 })).unwrap() == 1
}

/// Listens for a runtime that sends a terminal.
pub fn listen(path: &Path) -> UnixListener {
    UnixListener::bind(path).unwrap()
}

/// Takes the connection of the runtime and the terminal out of its one message.
#[track_caller]
pub fn receive(listener: &UnixListener) -> (Master, Vec<u8>) {
    let (fd, data) = receive_fd(listener);
    assert!(rustix::termios::isatty(&fd), "what was sent is no terminal");
    (Master { file: File::from(fd), text: String::new() }, data)
}

/// The one descriptor and the data of the one message of a connection.
#[track_caller]
pub fn receive_fd(listener: &UnixListener) -> (OwnedFd, Vec<u8>) {
    assert!(readable(listener), "nobody connected");
    receive_message(&listener.accept().unwrap().0)
}

/// The next message of a connection: its one descriptor and its data.
#[track_caller]
pub fn receive_message(stream: &UnixStream) -> (OwnedFd, Vec<u8>) {
    assert!(readable(stream), "nothing was sent");
    let mut data = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut data)];
    let message = recvmsg(stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    let length = message.bytes;
    let mut fds: Vec<OwnedFd> = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            fds.extend(rights);
        }
    }
    assert_eq!(fds.len(), 1, "one descriptor is sent");
    assert!(length >= 1, "at least one byte is sent");
    (fds.remove(0), data[..length].to_vec())
}

/// A new terminal: its master, and the other side for a process.
pub fn pair() -> (Master, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let path = name.to_str().unwrap();
    let custom = std::os::unix::fs::OpenOptionsExt::custom_flags(
        OpenOptions::new().read(true).write(true),
        libc::O_NOCTTY,
    )
    .open(path)
    .unwrap();
    (Master { file: File::from(master), text: String::new() }, custom)
}
