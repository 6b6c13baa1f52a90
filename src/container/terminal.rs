//! Terminals: making a pty from the container's own devpts (R7), handing its master to the caller's
//! console socket, and the user's own terminal while a container runs in the foreground. The pty is
//! made by init, the rest is the host side's.

use crate::error::{anyhow, bail, failed, text};
use anyhow::Result;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};
use rustix::pty::OpenptFlags;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, Winsize, isatty,
    tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr, tcsetwinsize,
};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Longest path in a socket address, in bytes (unix(7): 108 with the null byte).
const LONGEST_ADDRESS: usize = 107;

/// Both sides of a new terminal.
#[derive(Debug)]
pub struct Pty {
    /// The side of the user.
    pub master: OwnedFd,
    /// The side of the process; not the terminal of anybody's session yet.
    pub slave: OwnedFd,
}

/// What the terminal makes of a newline that the process prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newlines {
    /// Nothing: the runtime carries the output to the user's terminal, which turns it.
    Bare,
    /// Carriage return and newline, as terminals do: the master's new owner may have none that does.
    Turned,
}

impl Newlines {
    /// By whether the master goes to a console socket.
    pub fn of(console_socket: Option<&OwnedFd>) -> Newlines {
        console_socket.map_or(Newlines::Bare, |_| Newlines::Turned)
    }
}

/// Makes a terminal from an opened `ptmx` (O_RDWR | O_NOCTTY | O_CLOEXEC) of the container's devpts.
/// The slave comes from the master itself, not by a path. `size` is rows and columns.
pub fn open_pty(ptmx: OwnedFd, newlines: Newlines, size: Option<(u16, u16)>) -> Result<Pty> {
    rustix::pty::unlockpt(&ptmx)
        .map_err(failed("unlock the new terminal; is /dev/ptmx a ptmx of devpts?"))?;
    let slave = open_slave(&ptmx)?;
    if newlines == Newlines::Bare {
        let mut modes = tcgetattr(&slave).map_err(failed("read the modes of the new terminal"))?;
        modes.output_modes.remove(OutputModes::ONLCR);
        tcsetattr(&slave, OptionalActions::Now, &modes)
            .map_err(failed("set the modes of the new terminal"))?;
    }
    if let Some((rows, columns)) = size {
        resize(&ptmx, window(rows, columns))?;
    }
    Ok(Pty { master: ptmx, slave })
}

/// The slave of a master, opened without becoming anybody's controlling terminal.
pub fn open_slave(master: &OwnedFd) -> Result<OwnedFd> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    rustix::pty::ioctl_tiocgptpeer(master, flags).map_err(failed("open the other side of the terminal"))
}

fn window(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn resize(master: &OwnedFd, size: Winsize) -> Result<()> {
    tcsetwinsize(master, size).map_err(failed("set the size of the terminal"))
}

/// Connects to the socket of `--console-socket` or `--pidfd-socket` (`flag`). Done before anything is
/// made, so that a dead socket costs nothing.
pub fn connect_socket(flag: &str, path: &Path) -> Result<OwnedFd> {
    let connect = || -> Result<OwnedFd, Errno> {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        if path.as_os_str().len() <= LONGEST_ADDRESS {
            rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        } else {
            connect_far(&socket, path)?;
        }
        Ok(socket)
    };
    connect().map_err(|errno| {
        let (shown, why) = (path.display(), text(errno));
        anyhow!("connect to `{shown}` ({flag}): {why}; a stream socket must be listening there")
    })
}

/// Connects to a path that is too long for an address, by a descriptor of its directory.
fn connect_far(socket: &OwnedFd, path: &Path) -> Result<(), Errno> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::NAMETOOLONG);
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(CWD, parent, flags, Mode::empty())?;
    let near = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
    rustix::net::connect(socket, &SocketAddrUnix::new(near)?)
}

/// Hands a descriptor to the peer in one message: the pty's master to a console socket, with the name
/// of the terminal as its bytes, or a pidfd. `name` is not empty, `flag` is for messages.
pub fn send_fd(flag: &str, socket: &OwnedFd, fd: BorrowedFd<'_>, name: &str) -> Result<()> {
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        bail!("send a descriptor to the socket of {flag}: no room for it");
    }
    loop {
        match rustix::net::sendmsg(
            socket,
            &[IoSlice::new(name.as_bytes())],
            &mut control,
            SendFlags::NOSIGNAL,
        ) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => bail!("send to the socket of {flag}: {}; its reader has gone", text(errno)),
        }
    }
}

/// The terminal of the user in front of the runtime.
#[derive(Debug)]
pub struct HostTerminal(OwnedFd);

impl HostTerminal {
    /// The first terminal among `candidates` (the standard descriptors), else the controlling one.
    pub fn find(candidates: &[BorrowedFd<'_>]) -> Option<HostTerminal> {
        let given = candidates.iter().find(|fd| isatty(fd)).and_then(|fd| fcntl_dupfd_cloexec(fd, 3).ok());
        let own = || crate::hostfs::open("/dev/tty", OFlags::RDWR | OFlags::NOCTTY).ok();
        given.or_else(own).map(HostTerminal)
    }

    /// Rows and columns; none if the terminal does not know.
    pub fn size(&self) -> Option<(u16, u16)> {
        size_of(&self.0)
    }

    /// Gives the container's terminal the size of this one.
    pub fn copy_size(&self, master: &OwnedFd) -> Result<()> {
        match self.size() {
            Some((rows, columns)) => resize(master, window(rows, columns)),
            None => Ok(()),
        }
    }
}

/// Rows and columns of a terminal; none if they were never set.
pub fn size_of(terminal: &OwnedFd) -> Option<(u16, u16)> {
    let size = tcgetwinsize(terminal).ok()?;
    (size.ws_row != 0 && size.ws_col != 0).then_some((size.ws_row, size.ws_col))
}

/// A terminal in raw mode while this lives.
#[derive(Debug)]
pub struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// Puts `input` into raw mode, so that every key goes to the container. None where that is not
    /// ours to do: no terminal, or one that another process group is using.
    pub fn enter(input: BorrowedFd<'_>) -> Result<Option<RawMode>> {
        let foreground = || tcgetpgrp(input).is_ok_and(|group| group == rustix::process::getpgrp());
        if !isatty(input) || !foreground() {
            return Ok(None);
        }
        let before = tcgetattr(input).map_err(failed("read the modes of your terminal"))?;
        let terminal = fcntl_dupfd_cloexec(input, 3).map_err(failed("duplicate your terminal"))?;
        let raw = raw_of(&before);
        tcsetattr(&terminal, OptionalActions::Now, &raw).map_err(failed("set your terminal to raw mode"))?;
        Ok(Some(RawMode { terminal, before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring, and there is nobody to tell.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Raw as cfmakeraw(3) has it, but with output processing: newlines arrive bare.
fn raw_of(modes: &Termios) -> Termios {
    let mut raw = modes.clone();
    raw.input_modes.remove(
        InputModes::IGNBRK
            | InputModes::BRKINT
            | InputModes::PARMRK
            | InputModes::ISTRIP
            | InputModes::INLCR
            | InputModes::IGNCR
            | InputModes::ICRNL
            | InputModes::IXON,
    );
    raw.local_modes.remove(
        LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN,
    );
    raw.special_codes[SpecialCodeIndex::VMIN] = 1;
    raw.special_codes[SpecialCodeIndex::VTIME] = 0;
    raw
}

/// A pty of the host for tests, as `open_pty` makes it for the foreground.
#[cfg(test)]
pub fn test_pty(size: Option<(u16, u16)>) -> Pty {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    open_pty(rustix::fs::open("/dev/ptmx", flags, Mode::empty()).unwrap(), Newlines::Bare, size).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    fn read(fd: &OwnedFd) -> String {
        let mut buffer = [0u8; 256];
        let length = rustix::io::read(fd, &mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn a_pty_has_bare_newlines_and_its_size() {
        let pty = test_pty(Some((10, 110)));
        rustix::io::write(&pty.slave, b"a\nb\n").unwrap();
        assert_eq!(read(&pty.master), "a\nb\n");
        let size = tcgetwinsize(&pty.slave).unwrap();
        assert_eq!((size.ws_row, size.ws_col), (10, 110));
        assert!(rustix::io::fcntl_getfd(&pty.slave).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }

    #[test]
    fn a_process_is_put_on_it() {
        let status = crate::sys::spawn::in_child(|| {
            let Pty { master, slave } = test_pty(None);
            std::mem::forget(master); // closing it would hang up on this process
            crate::sys::pty::attach(slave).unwrap();
            let me = rustix::process::getpid();
            for fd in [std::io::stdin().as_fd(), std::io::stdout().as_fd(), std::io::stderr().as_fd()] {
                assert_eq!(rustix::termios::tcgetsid(fd).unwrap(), me);
                assert_eq!(tcgetpgrp(fd).unwrap(), me);
            }
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn what_is_no_ptmx_is_refused() {
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).unwrap();
        assert!(
            open_pty(null, Newlines::Bare, None)
                .unwrap_err()
                .to_string()
                .starts_with("unlock the new terminal")
        );
    }

    /// A listening socket below a directory with a name of `length` bytes, both removed at the end.
    fn with_listener(length: usize, test: impl FnOnce(&Path, UnixListener)) {
        let dir: PathBuf =
            std::env::temp_dir().join(format!("oxrun-tty-{}-{}", std::process::id(), "d".repeat(length)));
        std::fs::create_dir(&dir).unwrap();
        let dir_fd = rustix::fs::open(&dir, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/s", dir_fd.as_raw_fd()));
        test(&dir.join("s"), listener.unwrap());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    fn receive(socket: BorrowedFd<'_>) -> (String, Vec<OwnedFd>) {
        let (mut data, mut space) = ([0u8; 4096], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))]);
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(
            socket,
            &mut [std::io::IoSliceMut::new(&mut data)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
        .unwrap();
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        (String::from_utf8_lossy(&data[..got.bytes]).into_owned(), fds.flatten().collect())
    }

    #[test]
    fn a_console_socket_gets_the_master() {
        for length in [1, 200] {
            with_listener(length, |path, listener| {
                let socket = connect_socket("--console-socket", path).unwrap();
                let pty = test_pty(None);
                send_fd("--console-socket", &socket, pty.master.as_fd(), "/dev/pts/0").unwrap();
                let (name, fds) = receive(listener.accept().unwrap().0.as_fd());
                assert_eq!((name.as_str(), fds.len()), ("/dev/pts/0", 1));
                rustix::io::write(&pty.slave, b"hello\n").unwrap();
                assert_eq!(read(&fds[0]), "hello\n");
            });
        }
    }

    #[test]
    fn dead_sockets_are_named() {
        let refusal = |path: &Path| connect_socket("--console-socket", path).unwrap_err().to_string();
        assert_eq!(
            refusal(Path::new("/no/such")),
            "connect to `/no/such` (--console-socket): no such file or directory; a stream socket must be listening there"
        );
        with_listener(2, |path, listener| {
            drop(listener);
            assert!(refusal(path).contains("connection refused"));
        });
        with_listener(3, |path, listener| {
            let socket = connect_socket("--pidfd-socket", path).unwrap();
            drop(listener);
            let null = test_pty(None).master;
            let error = send_fd("--pidfd-socket", &socket, null.as_fd(), "pidfd").unwrap_err().to_string();
            assert!(error.starts_with("send to the socket of --pidfd-socket: "), "{error}");
        });
    }

    #[test]
    fn a_terminal_not_in_our_foreground_is_left_alone() {
        let pty = test_pty(None);
        assert!(RawMode::enter(pty.slave.as_fd()).unwrap().is_none());
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY, Mode::empty()).unwrap();
        assert!(RawMode::enter(null.as_fd()).unwrap().is_none());
    }

    #[test]
    fn raw_mode_keeps_the_output_side() {
        let pty = test_pty(None);
        let mut modes = tcgetattr(&pty.slave).unwrap();
        modes.output_modes.insert(OutputModes::ONLCR | OutputModes::OPOST);
        let raw = raw_of(&modes);
        assert_eq!(raw.output_modes, modes.output_modes);
        assert!(!raw.local_modes.intersects(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG));
        assert!(!raw.input_modes.contains(InputModes::ICRNL));
    }

    #[test]
    fn sizes_are_copied() {
        let (user, container) = (test_pty(Some((33, 99))), test_pty(Some((1, 1))));
        let host = HostTerminal::find(&[user.slave.as_fd()]).unwrap();
        host.copy_size(&container.master).unwrap();
        let size = tcgetwinsize(&container.slave).unwrap();
        assert_eq!((size.ws_row, size.ws_col), (33, 99));
    }
}
