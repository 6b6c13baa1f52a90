//! Readiness for a service manager (sd_notify(3)): when NOTIFY_SOCKET is set, the container gets a
//! socket of its own below /run/notify, and `READY=1` that arrives there is told to the manager, with
//! the id of the container's process if this one will not stay. Nothing else goes through.

use super::statedir::Entry;
use crate::bundle::spec::{Mount, Spec};
use crate::error::{Doing, failed};
use anyhow::Result;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The directory in the container's state directory.
pub const DIRECTORY: &str = "notify";
/// The socket in it.
const SOCKET: &str = "notify.sock";
/// Where the container has the directory.
pub const INSIDE: &str = "/run/notify";

/// The manager's socket, if there is one.
pub fn manager() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())
}

/// Adds the directory, which will be in the state directory `state`, and the variable.
pub fn add_to(spec: &mut Spec, state: &Path) {
    let source: PathBuf = state.join(DIRECTORY);
    spec.mounts.push(Mount {
        destination: INSIDE.into(),
        source: source.to_string_lossy().into_owned(),
        options: ["bind", "nosuid", "noexec", "nodev", "ro"].map(String::from).to_vec(),
        ..Mount::default()
    });
    if let Some(process) = &mut spec.process {
        process.env.push(format!("NOTIFY_SOCKET={INSIDE}/{SOCKET}"));
    }
}

/// Makes the directory, which everybody in the container may enter.
pub fn make_directory(entry: &Entry) -> Result<()> {
    let make = || -> rustix::io::Result<()> {
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(entry.dir(), DIRECTORY, mode)?;
        rustix::fs::chmodat(entry.dir(), DIRECTORY, mode, AtFlags::empty())
    };
    make().doing(|| "make the directory for NOTIFY_SOCKET")
}

/// Whether there is such a directory.
pub fn has_directory(entry: &Entry) -> Result<bool> {
    match rustix::fs::statat(entry.dir(), DIRECTORY, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(failed("look at the directory for NOTIFY_SOCKET")(errno)),
    }
}

/// The container's socket, listened to.
#[derive(Debug)]
pub struct Proxy {
    socket: OwnedFd,
    manager: OsString,
}

impl Proxy {
    /// Opens the socket before the program starts. None without a manager, and for a container that
    /// was made without.
    pub fn open(entry: &Entry) -> Result<Option<Proxy>> {
        let Some(manager) = manager() else { return Ok(None) };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let open = || -> rustix::io::Result<OwnedFd> {
            let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
            let directory = entry.dir().as_raw_fd();
            let path = format!("/proc/self/fd/{directory}/{DIRECTORY}/{SOCKET}");
            rustix::net::bind(&socket, &SocketAddrUnix::new(path.as_str())?)?;
            let (name, mode) = (format!("{DIRECTORY}/{SOCKET}"), Mode::from_raw_mode(0o777));
            rustix::fs::chmodat(entry.dir(), name, mode, AtFlags::empty())?;
            Ok(socket)
        };
        match open() {
            Ok(socket) => Ok(Some(Proxy { socket, manager })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed("open the container's notification socket (NOTIFY_SOCKET)")(errno)),
        }
    }

    /// To wait on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads what has arrived and tells the manager if the container is ready; whether it is.
    pub fn pass_on(&self, main_pid: Option<i32>) -> Result<bool> {
        let mut ready = false;
        let mut buffer = [0u8; 4096];
        loop {
            match rustix::net::recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((_, length)) => ready |= says_ready(buffer.get(..length).unwrap_or_default()),
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        if ready {
            let pid = main_pid.map(|pid| format!("MAINPID={pid}\n")).unwrap_or_default();
            self.tell(&format!("{pid}READY=1\n"))
                .map_err(failed("tell the service manager (NOTIFY_SOCKET)"))?;
        }
        Ok(ready)
    }

    /// An address that begins with `@` is an abstract one.
    fn tell(&self, text: &str) -> rustix::io::Result<()> {
        let address = match self.manager.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddrUnix::new_abstract_name(name)?,
            None => SocketAddrUnix::new(Path::new(&self.manager))?,
        };
        let kind = (AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC);
        let socket = rustix::net::socket_with(kind.0, kind.1, kind.2, None)?;
        rustix::net::sendto(&socket, text.as_bytes(), SendFlags::NOSIGNAL, &address)?;
        Ok(())
    }

    /// Waits until the container is ready or its first process has ended.
    pub fn wait(&self, pid: i32, pidfd: &OwnedFd) -> Result<()> {
        loop {
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(pidfd, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(failed("wait for the container to be ready")(errno)),
            }
            let ended = !fds[1].revents().is_empty();
            if self.pass_on(Some(pid))? || ended {
                return Ok(());
            }
        }
    }
}

fn says_ready(datagram: &[u8]) -> bool {
    datagram.split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}

/// The reader of what the container sends.
#[cfg(fuzzing)]
pub fn fuzz(data: &[u8]) -> bool {
    says_ready(data)
}

#[cfg(test)]
mod tests {
    use super::says_ready;

    #[test]
    fn only_readiness_counts() {
        assert!(says_ready(b"READY=1") && says_ready(b"STATUS=up\nREADY=1\nMAINPID=7"));
        assert!(!says_ready(b"STATUS=READY=1") && !says_ready(b"") && !says_ready(b"READY=10"));
    }
}
