//! Waiting for a container in the foreground: `run` and `exec` without `--detach`. Signals go on to
//! the container's process, every orphan that comes to this process is reaped, bytes are carried
//! between the user's descriptors and the container's terminal, and the end of the container's
//! process becomes an exit status. All signals must be blocked before that process is made.

use super::notify::Proxy;
use super::terminal::{HostTerminal, RawMode, open_slave, size_of};
use crate::error::{bail, failed};
use crate::sys::signal;
use anyhow::Result;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes carried at once. A pipe that polls writable takes this many without blocking (PIPE_BUF), so
/// the user's descriptors need not be made nonblocking, which whoever shares them would notice.
const CHUNK: usize = 4096;
/// More than a terminal holds after its last writer is gone, in bytes.
const MOST_LEFT: usize = 1 << 20;

/// The container's terminal and what it is connected to.
#[derive(Debug)]
pub struct Console<'a> {
    /// The user's side of the container's terminal.
    pub master: OwnedFd,
    /// What is typed: standard input.
    pub input: BorrowedFd<'a>,
    /// Where output goes: standard output.
    pub output: BorrowedFd<'a>,
    /// Whose size the container's terminal follows.
    pub host: Option<HostTerminal>,
}

/// Makes this process the one that orphans of the container come to; to be called before the
/// container is made, unless `--no-subreaper`.
pub fn become_subreaper() -> Result<()> {
    // Any value but none switches it on; the kernel reads it as a flag.
    rustix::process::set_child_subreaper(Some(Pid::INIT)).map_err(failed("become a subreaper"))
}

/// All signals to this process, blocked, and exit statuses of its children kept: what `supervise` needs and
/// what may fail before there is a process to look after.
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks them. What is cloned afterwards has them blocked too, and the dispositions as they were.
    pub fn block() -> Result<Signals> {
        signal::block_all().map_err(failed("block signals"))?;
        // Inherited as "ignored", the kernel would throw exit statuses away.
        signal::set_default(libc::SIGCHLD).map_err(failed("reset SIGCHLD"))?;
        Ok(Signals(signal::descriptor(signal::Set::ALL).map_err(failed("make a signal descriptor"))?))
    }
}

/// Waits until the container's process, a child of this one, has ended; returns its exit code, or 128
/// and the number of the signal that killed it. The user's terminal is raw meanwhile.
pub fn supervise(
    pidfd: &OwnedFd,
    pid: Pid,
    signals: Signals,
    console: Option<Console<'_>>,
    notifications: Option<&Proxy>,
) -> Result<i32> {
    let raw = console.as_ref().map(|console| RawMode::enter(console.input)).transpose()?;
    let mut watch =
        Watch { pidfd, pid, signals: signals.0, relay: console.map(Relay::new).transpose()?, notifications };
    let status = watch.until_ended()?;
    watch.finish()?;
    drop(raw);
    Ok(status)
}

/// What is looked after while the container runs.
struct Watch<'a> {
    pidfd: &'a OwnedFd,
    pid: Pid,
    signals: OwnedFd,
    relay: Option<Relay<'a>>,
    notifications: Option<&'a Proxy>,
}

impl Watch<'_> {
    fn until_ended(&mut self) -> Result<i32> {
        loop {
            let ended = self.wait()?;
            while let Some(number) = signal::next(&self.signals).map_err(failed("read a signal"))? {
                self.pass_on(number)?;
            }
            if let Some(proxy) = self.notifications {
                proxy.pass_on(None)?;
            }
            if let Some(status) = reap(self.pid)? {
                return Ok(status);
            }
            if ended {
                bail!("wait for process {}: it ended, but is not a child of this process", self.pid);
            }
            if let Some(relay) = &mut self.relay {
                relay.carry()?;
            }
        }
    }

    /// Waits until something can be done; true if the container's process has ended.
    fn wait(&self) -> Result<bool> {
        let mut fds = vec![PollFd::new(self.pidfd, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
        fds.extend(self.notifications.map(|proxy| PollFd::from_borrowed_fd(proxy.fd(), PollFlags::IN)));
        fds.extend(self.relay.iter().flat_map(Relay::interests));
        match poll(&mut fds, None) {
            Ok(_) => Ok(!fds[0].revents().is_empty()),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(failed("wait for the container")(errno)),
        }
    }

    fn pass_on(&self, number: i32) -> Result<()> {
        let host =
            self.relay.as_ref().and_then(|relay| relay.console.host.as_ref().map(|host| (host, relay)));
        match (number, host) {
            (libc::SIGWINCH, Some((host, relay))) => host.copy_size(&relay.console.master),
            _ if is_our_own(number) => Ok(()),
            _ => match signal::send(self.pidfd.as_fd(), number) {
                Ok(()) | Err(Errno::SRCH) => Ok(()),
                Err(errno) => Err(failed(format!("pass signal {number} on to the container"))(errno)),
            },
        }
    }

    /// Carries the output that is left. Whoever does not want to wait for its reader sends a signal.
    fn finish(&mut self) -> Result<()> {
        let Some(relay) = &mut self.relay else { return Ok(()) };
        let mut carried = 0;
        while carried < MOST_LEFT {
            carried += relay.read_screen();
            if relay.screen.is_empty() {
                break;
            }
            let mut fds = [
                PollFd::from_borrowed_fd(relay.console.output, PollFlags::OUT),
                PollFd::new(&self.signals, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(failed("wait for the reader of the output")(errno)),
            }
            let room = !fds[0].revents().is_empty();
            if let Some(number) = signal::next(&self.signals).map_err(failed("read a signal"))?
                && number != libc::SIGWINCH
                && !is_our_own(number)
            {
                break;
            }
            if room {
                relay.write_screen();
            }
        }
        Ok(())
    }
}

/// Signals that are about this process: its children, its sockets and pipes, its terminal access.
fn is_our_own(number: i32) -> bool {
    matches!(number, libc::SIGCHLD | libc::SIGURG | libc::SIGPIPE | libc::SIGTTIN | libc::SIGTTOU)
}

/// Takes in every child that has ended; the status of the container's process if it is among them.
fn reap(init: Pid) -> Result<Option<i32>> {
    // __WALL: also children that were cloned without a signal for their end.
    let options = WaitOptions::NOHANG | WaitOptions::from_bits_retain(libc::__WALL as u32);
    let mut status = None;
    loop {
        match rustix::process::wait(options) {
            Ok(Some((pid, ended))) if pid == init => status = Some(exit_status(ended)),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(Errno::CHILD) => return Ok(status),
            Err(errno) => return Err(failed("wait for children")(errno)),
        }
    }
}

fn exit_status(ended: WaitStatus) -> i32 {
    match (ended.exit_status(), ended.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(number)) => 128 + number,
        (None, None) => 255,
    }
}

/// Bytes on their way.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    written: usize,
}

impl Chunk {
    fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.written = 0;
    }

    /// Fills the empty chunk with what can be read now; what was read, or why nothing was.
    fn fill(&mut self, from: BorrowedFd<'_>) -> Result<usize, Errno> {
        self.bytes.resize(CHUNK, 0);
        self.written = 0;
        let read = rustix::io::read(from, &mut self.bytes[..]);
        self.bytes.truncate(*read.as_ref().unwrap_or(&0));
        read
    }

    /// Writes what can be written now.
    fn flush(&mut self, to: BorrowedFd<'_>) -> Result<(), Errno> {
        match rustix::io::write(to, &self.bytes[self.written..]) {
            Ok(count) => self.written += count,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    }
}

/// The bytes between user and container. Nothing is read before what was read last is written.
struct Relay<'a> {
    console: Console<'a>,
    /// Kept open so that the terminal does not hang up between two of its users in the container.
    _slave: OwnedFd,
    keys: Chunk,
    screen: Chunk,
    input_open: bool,
}

impl<'a> Relay<'a> {
    fn new(console: Console<'a>) -> Result<Relay<'a>> {
        let flags =
            rustix::fs::fcntl_getfl(&console.master).map_err(failed("read the flags of the terminal"))?;
        rustix::fs::fcntl_setfl(&console.master, flags | OFlags::NONBLOCK)
            .map_err(failed("set up the terminal"))?;
        let slave = open_slave(&console.master)?;
        if let (Some(host), None) = (&console.host, size_of(&console.master)) {
            host.copy_size(&console.master)?; // config.json gave no size
        }
        let (keys, screen) = Default::default();
        Ok(Relay { console, _slave: slave, keys, screen, input_open: true })
    }

    fn reads_keys(&self) -> bool {
        self.input_open && self.keys.is_empty()
    }

    /// What to wait for.
    fn interests(&self) -> impl Iterator<Item = PollFd<'_>> {
        let mut master = PollFlags::empty();
        master.set(PollFlags::IN, self.screen.is_empty());
        master.set(PollFlags::OUT, !self.keys.is_empty());
        let input = self.reads_keys().then(|| PollFd::from_borrowed_fd(self.console.input, PollFlags::IN));
        let output =
            (!self.screen.is_empty()).then(|| PollFd::from_borrowed_fd(self.console.output, PollFlags::OUT));
        [Some(PollFd::new(&self.console.master, master)), input, output].into_iter().flatten()
    }

    /// Moves what can be moved without waiting.
    fn carry(&mut self) -> Result<()> {
        if self.reads_keys() && is_ready(self.console.input, PollFlags::IN)? {
            self.read_keys();
        }
        if !self.keys.is_empty() {
            self.keys
                .flush(self.console.master.as_fd())
                .map_err(failed("write to the container's terminal"))?;
        }
        self.read_screen();
        if !self.screen.is_empty() && is_ready(self.console.output, PollFlags::OUT)? {
            self.write_screen();
        }
        Ok(())
    }

    /// At the end of the input, or when it cannot be read (in the background: EIO), the container
    /// simply gets no more.
    fn read_keys(&mut self) {
        match self.keys.fill(self.console.input) {
            Ok(1..) | Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(_) | Err(_) => self.input_open = false,
        }
    }

    /// Reads output if the last is written; how much was read.
    fn read_screen(&mut self) -> usize {
        if !self.screen.is_empty() {
            return 0;
        }
        // The slave is held here, so the only reason to get nothing is that there is nothing.
        self.screen.fill(self.console.master.as_fd()).unwrap_or(0)
    }

    /// Output that nobody reads is dropped, so that the container can go on.
    fn write_screen(&mut self) {
        if self.screen.flush(self.console.output).is_err() {
            self.screen.clear();
        }
    }
}

fn is_ready(fd: BorrowedFd<'_>, events: PollFlags) -> Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, events)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut fds, Some(&now)) {
        Ok(_) => Ok(!fds[0].revents().is_empty()),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(failed("poll")(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::terminal::{Pty, test_pty};
    use super::*;
    use crate::sys::spawn;
    use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
    use std::io::{PipeReader, PipeWriter, Read, Write};

    /// Runs a test as the runtime runs: in a process of its own, with one thread, signals blocked.
    fn alone(test: impl FnOnce()) {
        let status = spawn::in_child(|| {
            signal::block_all().unwrap();
            become_subreaper().unwrap();
            test();
        });
        assert_eq!(status, 0, "the test's own process failed; its message is above");
    }

    /// Starts a shell as the container's process.
    fn container(script: &str, stdio: [BorrowedFd<'_>; 3]) -> spawn::Child {
        let args = ["sh", "-c", script].map(|arg| std::ffi::CString::new(arg).unwrap());
        let env = [c"PATH=/usr/bin:/bin".into()];
        let program = spawn::Program {
            path: c"/bin/sh",
            args: &args,
            env: &env,
            cwd: None,
            stdio,
            ends_with_caller: false,
        };
        spawn::start(&program).unwrap()
    }

    fn null() -> OwnedFd {
        rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, rustix::fs::Mode::empty()).unwrap()
    }

    /// Runs a script without a terminal.
    fn status_of(script: &str) -> i32 {
        let null = null();
        let child = container(script, [null.as_fd(); 3]);
        supervise(&child.pidfd, child.pid, Signals::block().unwrap(), None, None).unwrap()
    }

    /// Runs a script on a terminal between two descriptors.
    fn status_on_terminal(script: &str, input: BorrowedFd<'_>, output: BorrowedFd<'_>) -> i32 {
        let Pty { master, slave } = test_pty(None);
        let child = container(script, [slave.as_fd(); 3]);
        drop(slave);
        supervise(
            &child.pidfd,
            child.pid,
            Signals::block().unwrap(),
            Some(Console { master, input, output, host: None }),
            None,
        )
        .unwrap()
    }

    fn text(mut pipe: PipeReader) -> String {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn exit_codes_and_signals_become_the_status() {
        alone(|| {
            assert_eq!(status_of("exit 0"), 0);
            assert_eq!(status_of("exit 7"), 7);
            assert_eq!(status_of("kill -TERM $$"), 143);
        });
    }

    #[test]
    fn orphans_are_reaped_but_do_not_end_it() {
        alone(|| {
            assert_eq!(status_of("(exit 5 &); (exit 6 &); sleep 0.2; exit 3"), 3);
            assert_eq!(rustix::process::wait(WaitOptions::NOHANG).err(), Some(Errno::CHILD));
        });
    }

    #[test]
    fn signals_are_passed_on_except_our_own() {
        alone(|| {
            let (null, (mut ready, writer)) = (null(), std::io::pipe().unwrap());
            let script = "trap 'exit 4' CHLD URG PIPE TTIN; trap : USR1; trap 'exit 9' 37
                          echo ready; while :; do read x; done";
            let typed = std::io::pipe().unwrap();
            let child = container(script, [typed.0.as_fd(), writer.as_fd(), null.as_fd()]);
            ready.read_exact(&mut [0; 6]).unwrap();
            // The one that ends it has the highest number and so is read last.
            for number in [libc::SIGURG, libc::SIGTTIN, libc::SIGUSR1, 37] {
                signal::send(own_pidfd().as_fd(), number).unwrap();
            }
            assert_eq!(supervise(&child.pidfd, child.pid, Signals::block().unwrap(), None, None).unwrap(), 9);
        });
    }

    fn own_pidfd() -> OwnedFd {
        rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty()).unwrap()
    }

    #[test]
    fn input_and_output_are_carried() {
        alone(|| {
            let ((input, mut typist), (reader, output)) =
                (std::io::pipe().unwrap(), std::io::pipe().unwrap());
            typist.write_all(b"hello\n").unwrap();
            drop(typist); // the end of the input is not the end of the container
            let status =
                status_on_terminal("read x; sleep 0.1; echo got $x; exit 2", input.as_fd(), output.as_fd());
            drop(output);
            assert_eq!((status, text(reader).as_str()), (2, "hello\ngot hello\n"));
        });
    }

    #[test]
    fn a_slow_reader_gets_everything() {
        alone(|| {
            let (null, (reader, output)) = (null(), std::io::pipe().unwrap());
            let (count, printed) = std::io::pipe().unwrap();
            let slow = container("sleep 0.3; wc -c", [reader.as_fd(), printed.as_fd(), null.as_fd()]);
            drop((reader, printed));
            let script = "stty -opost; head -c 300000 /dev/zero";
            assert_eq!(status_on_terminal(script, null.as_fd(), output.as_fd()), 0);
            drop((output, slow));
            assert_eq!(text(count).trim(), "300000");
        });
    }

    #[test]
    fn a_file_is_typed_no_faster_than_it_is_read() {
        alone(|| {
            let (null, (reader, output)) = (null(), std::io::pipe().unwrap());
            let file = rustix::fs::memfd_create("typed", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
            rustix::io::write(&file, "12345678901234567890123456789\n".repeat(5000).as_bytes()).unwrap();
            rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).unwrap();
            let script = "stty -echo; sleep 0.1; head -c 150000 | wc -c";
            assert_eq!(status_on_terminal(script, file.as_fd(), output.as_fd()), 0);
            drop((output, null));
            assert!(text(reader).ends_with("150000\n"));
        });
    }

    #[test]
    fn closed_output_does_not_stop_the_container() {
        alone(|| {
            let (reader, output): (PipeReader, PipeWriter) = std::io::pipe().unwrap();
            drop(reader);
            let status =
                status_on_terminal("head -c 300000 /dev/zero; exit 4", null().as_fd(), output.as_fd());
            assert_eq!(status, 4);
        });
    }

    #[test]
    fn a_terminal_without_users_for_a_while_stays() {
        alone(|| {
            let (null, (reader, output)) = (null(), std::io::pipe().unwrap());
            let script = "tty=$(tty); exec 0<&- 1>&- 2>&-; sleep 0.4; echo back > $tty";
            assert_eq!(status_on_terminal(script, null.as_fd(), output.as_fd()), 0);
            drop(output);
            assert_eq!(text(reader), "back\n");
            // And waiting for it is waiting: hardly any processor time, in hundredths of a second.
            let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
            let after_name = stat.rsplit(')').next().unwrap();
            let times = after_name.split_whitespace().skip(11).take(2);
            assert!(times.map(|time| time.parse::<u32>().unwrap()).sum::<u32>() < 10);
        });
    }

    #[test]
    fn a_terminal_without_a_size_gets_that_of_the_user() {
        alone(|| {
            for (given, expected) in [(None, "20 70\n"), (Some((5, 6)), "5 6\n")] {
                let (null, (reader, output)) = (null(), std::io::pipe().unwrap());
                let (user, Pty { master, slave }) = (test_pty(Some((20, 70))), test_pty(given));
                let child = container("sleep 0.1; stty size", [slave.as_fd(); 3]);
                let host = HostTerminal::find(&[user.slave.as_fd()]);
                let console = Console { master, input: null.as_fd(), output: output.as_fd(), host };
                assert_eq!(
                    supervise(&child.pidfd, child.pid, Signals::block().unwrap(), Some(console), None)
                        .unwrap(),
                    0
                );
                drop(output);
                assert_eq!(text(reader), expected);
            }
        });
    }

    #[test]
    fn the_users_terminal_is_raw_meanwhile_and_its_size_followed() {
        alone(|| {
            let user = test_pty(Some((20, 70)));
            rustix::process::setsid().unwrap();
            rustix::process::ioctl_tiocsctty(&user.slave).unwrap();
            let is_cooked = || tcgetattr(&user.slave).unwrap().local_modes.contains(LocalModes::ICANON);
            let raw = RawMode::enter(user.slave.as_fd()).unwrap();
            assert!(raw.is_some() && !is_cooked());
            drop(raw);
            assert!(is_cooked());

            // A new size, for which the kernel sends SIGWINCH, and a line typed before.
            let size = Winsize { ws_row: 33, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 };
            tcsetwinsize(&user.master, size).unwrap();
            rustix::io::write(&user.master, b"go\n").unwrap();
            let Pty { master, slave } = test_pty(Some((1, 1)));
            let child = container("read x; stty size", [slave.as_fd(); 3]);
            let host = HostTerminal::find(&[user.slave.as_fd()]);
            assert!(host.as_ref().is_some_and(|host| host.size() == Some((33, 99))));
            let console = Console { master, input: user.slave.as_fd(), output: user.slave.as_fd(), host };
            assert_eq!(
                supervise(&child.pidfd, child.pid, Signals::block().unwrap(), Some(console), None).unwrap(),
                0
            );
            assert!(is_cooked());
            // A terminal hands out what it has in pieces.
            rustix::fs::fcntl_setfl(&user.master, OFlags::NONBLOCK).unwrap();
            let (mut screen, mut piece) = (Vec::new(), [0; 256]);
            while let Ok(length @ 1..) = rustix::io::read(&user.master, &mut piece[..]) {
                screen.extend_from_slice(&piece[..length]);
            }
            let screen = String::from_utf8_lossy(&screen);
            assert!(screen.contains("33 99"), "{screen:?}");
        });
    }

    /// Descriptors from here on cannot be made or polled (poll(2): EINVAL).
    fn without_descriptors(test: impl FnOnce() -> Result<()>) -> String {
        crate::sys::process::set_rlimit(0, libc::RLIMIT_NOFILE, 0, 0).unwrap();
        test().unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_carried_is_an_error() {
        alone(|| {
            let Pty { master, slave: _slave } = test_pty(None);
            let null = null();
            let console = Console { master, input: null.as_fd(), output: null.as_fd(), host: None };
            let mut relay = Relay::new(console).unwrap();
            assert_eq!(without_descriptors(|| relay.carry()), "poll: invalid argument");
        });
        alone(|| {
            let read_only = OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
            let master = rustix::fs::open("/dev/ptmx", read_only, rustix::fs::Mode::empty()).unwrap();
            rustix::pty::unlockpt(&master).unwrap();
            let null = null();
            let console = Console { master, input: null.as_fd(), output: null.as_fd(), host: None };
            let mut relay = Relay::new(console).unwrap();
            relay.keys.bytes = b"x".to_vec();
            let error = relay.carry().unwrap_err().to_string();
            assert_eq!(error, "write to the container's terminal: bad file descriptor");
        });
    }

    #[test]
    fn output_that_is_left_needs_descriptors_too() {
        for (limited, expected) in [
            (true, "wait for the reader of the output: invalid argument"),
            (false, "read a signal: is a directory"),
        ] {
            alone(|| {
                let Pty { master, slave: _slave } = test_pty(None);
                let (null, pidfd) = (null(), own_pidfd());
                let console = Console { master, input: null.as_fd(), output: null.as_fd(), host: None };
                let mut relay = Relay::new(console).unwrap();
                relay.screen.bytes = b"x".to_vec();
                // Signals are not read from a directory.
                let signals = match limited {
                    true => Signals::block().unwrap().0,
                    false => rustix::fs::open("/", OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap(),
                };
                let mut watch =
                    Watch { pidfd: &pidfd, pid: Pid::INIT, signals, relay: Some(relay), notifications: None };
                let error = match limited {
                    true => without_descriptors(|| watch.finish()),
                    false => watch.finish().unwrap_err().to_string(),
                };
                assert_eq!(error, expected);
            });
        }
    }
}
