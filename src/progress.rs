//! Says on a terminal what a command waits for, once that takes longer than a second; nothing otherwise, and
//! nothing before. There is no thread for it: whoever waits in poll(2) does so here, and work in many parts
//! looks in between two of them. Used by what talks to systemd and CRIU, waits for cgroups, and removes
//! containers.

use crate::log;
use rustix::event::{PollFd, Timespec, poll};
use rustix::io::Errno;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long nothing is said.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long after one word the next comes, of work in many parts.
const AGAIN: Duration = Duration::from_secs(5);

/// Something that may take long, in one wait or in many.
#[derive(Debug)]
pub struct Progress {
    /// When something is to be said.
    due: Cell<Instant>,
    /// Something was.
    said: Cell<bool>,
}

impl Progress {
    /// It begins.
    pub fn begin() -> Progress {
        Progress { due: Cell::new(Instant::now() + PATIENCE), said: Cell::new(false) }
    }

    /// poll(2), which says `what` it waits for when that is due, once; goes on when a signal interrupts it.
    pub fn poll(
        &self,
        fds: &mut [PollFd<'_>],
        timeout: Option<Duration>,
        what: impl Fn() -> String,
    ) -> Result<usize, Errno> {
        let end = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = end.map(left_until);
            let silence = (!self.said.get()).then(|| left_until(self.due.get()));
            let part = left.into_iter().chain(silence).min();
            match poll(fds, part.map(timespec).as_ref()) {
                Err(Errno::INTR) => {}
                Ok(0) if part != left => self.tell(&what),
                other => return other,
            }
        }
    }

    /// Says it when it is due; of work in many parts, between two of them.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        let now = Instant::now();
        if now < self.due.get() {
            return;
        }
        self.due.set(now + AGAIN);
        self.said.set(true);
        log::notice(&what());
    }
}

fn left_until(time: Instant) -> Duration {
    time.saturating_duration_since(Instant::now())
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::PollFlags;

    #[test]
    fn a_poll_ends_at_its_time_whether_something_was_said_or_not() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut fds = [PollFd::new(&reader, PollFlags::IN)];
        for is_due in [false, true] {
            let progress = Progress::begin();
            if is_due {
                progress.due.set(Instant::now());
            }
            let (begin, time) = (Instant::now(), Duration::from_millis(5));
            assert_eq!(progress.poll(&mut fds, Some(time), String::new), Ok(0));
            assert!(begin.elapsed() >= time);
            assert_eq!(progress.said.get(), is_due);
        }
        rustix::io::write(&writer, b"x").unwrap();
        assert_eq!(Progress::begin().poll(&mut fds, None, String::new), Ok(1));
    }

    #[test]
    fn it_is_said_once_and_of_many_parts_not_at_each() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let mut fds = [PollFd::new(&reader, PollFlags::IN)];
        let (progress, times) = (Progress::begin(), Cell::new(0));
        let word = || {
            times.set(times.get() + 1);
            String::from("a test, which is no terminal's business")
        };
        progress.tell(word);
        assert_eq!(times.get(), 0);
        progress.due.set(Instant::now());
        progress.poll(&mut fds, Some(Duration::from_millis(5)), word).unwrap();
        progress.tell(word);
        assert_eq!(times.get(), 1);
        progress.due.set(Instant::now());
        progress.poll(&mut fds, Some(Duration::ZERO), word).unwrap();
        assert_eq!(times.get(), 1);
        progress.tell(word);
        assert_eq!(times.get(), 2);
    }
}
