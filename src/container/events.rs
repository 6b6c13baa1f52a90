//! `events`: statistics of a container's cgroups at an interval, and a line for each time it was out
//! of memory, as JSON on standard output until its first process has ended.

use super::delete::cgroup_of;
use super::error::Error;
use super::rdt::Place;
use super::state::Status;
use super::statedir::StateDir;
use crate::cgroup::{Manager, Stats};
use crate::cli::output;
use crate::error::{Context, Doing, bail};
use crate::hostfs;
use anyhow::Result;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use serde::Serialize;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// One line.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Stats>,
}

fn print(kind: &str, id: &str, data: Option<Stats>) -> Result<()> {
    output::print(&format!("{}\n", serde_json::to_string(&Event { kind, id, data })?))
}

/// Prints the statistics once, or all events.
pub fn events(states: &StateDir, id: &str, once: bool, interval: Duration) -> Result<()> {
    let entry = states.open_entry(id)?;
    let state = entry.state()?;
    let (Status::Created | Status::Running, Some(init)) = entry.status(&state)? else {
        bail!(Error::WrongState(format!("container with id {id} is not running")));
    };
    let cgroup = cgroup_of(&state)?;
    if once {
        return print("stats", id, Some(stats(&cgroup, state.rdt.as_ref())?));
    }
    let memory = MemoryEvents::watch(&cgroup)?;
    let watch = Watch { id, cgroup: &cgroup, rdt: state.rdt.as_ref(), init: &init, memory, interval };
    watch.until_ended()
}

fn stats(cgroup: &Manager, rdt: Option<&Place>) -> Result<Stats> {
    let mut stats = cgroup.stats().context("statistics: the container has no cgroup of its own")?;
    stats.intel_rdt = rdt.map(Place::stats).unwrap_or_default();
    Ok(stats)
}

/// What is waited for.
struct Watch<'a> {
    id: &'a str,
    cgroup: &'a Manager,
    rdt: Option<&'a Place>,
    init: &'a OwnedFd,
    memory: Option<MemoryEvents>,
    interval: Duration,
}

impl Watch<'_> {
    fn until_ended(mut self) -> Result<()> {
        let mut next = Instant::now() + self.interval;
        loop {
            let (ended, memory) = self.wait(next.saturating_duration_since(Instant::now()))?;
            if memory || ended {
                let times = self.memory.as_mut().map_or(Ok(0), |events| events.times(self.cgroup))?;
                (0..times).try_for_each(|_| print("oom", self.id, None))?;
            }
            if ended {
                return Ok(());
            }
            if Instant::now() >= next {
                print("stats", self.id, Some(stats(self.cgroup, self.rdt)?))?;
                next += self.interval;
            }
        }
    }

    /// Waits at most so long: whether the first process has ended, and whether there is something
    /// about memory.
    fn wait(&self, left: Duration) -> Result<(bool, bool)> {
        let mut fds = vec![PollFd::new(self.init, PollFlags::IN)];
        if let Some(events) = &self.memory {
            let flags = if events.is_v2 { PollFlags::PRI } else { PollFlags::IN };
            fds.push(PollFd::new(&events.file, flags));
        }
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut fds, Some(&left)) {
            Err(rustix::io::Errno::INTR) => return Ok((false, false)),
            other => other.doing(|| "wait for events")?,
        };
        let fired = |i: usize| fds.get(i).is_some_and(|fd| !fd.revents().is_empty());
        Ok((fired(0), fired(1)))
    }
}

/// Being told that the container is out of memory.
struct MemoryEvents {
    /// v2: memory.events. v1: an eventfd that the kernel counts up.
    file: OwnedFd,
    is_v2: bool,
    /// v2: how many processes were killed when it was last read.
    killed: u64,
}

impl MemoryEvents {
    /// None where the cgroup has no memory controller.
    fn watch(cgroup: &Manager) -> Result<Option<MemoryEvents>> {
        let Some(directory) = cgroup.path_of("memory") else { return Ok(None) };
        let open = |name: &str, access: OFlags| hostfs::open(directory.join(name), access);
        if let Ok(file) = open("memory.events", OFlags::RDONLY) {
            let mut events = MemoryEvents { file, is_v2: true, killed: 0 };
            // The first read arms the poll.
            events.times(cgroup)?;
            return Ok(Some(events));
        }
        let doing = || format!("watch for lack of memory in `{}`", directory.display());
        let (Ok(control), Ok(register)) =
            (open("memory.oom_control", OFlags::RDONLY), open("cgroup.event_control", OFlags::WRONLY))
        else {
            return Ok(None);
        };
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let file = rustix::event::eventfd(0, flags).doing(doing)?;
        let line = format!("{} {}", file.as_raw_fd(), control.as_raw_fd());
        rustix::io::write(&register, line.as_bytes()).doing(doing)?;
        Ok(Some(MemoryEvents { file, is_v2: false, killed: 0 }))
    }

    /// How many times since it was last asked.
    fn times(&mut self, cgroup: &Manager) -> Result<u64> {
        if self.is_v2 {
            let mut text = [0u8; 4096];
            // The cgroup may be gone.
            let _ = rustix::io::pread(&self.file, &mut text, 0);
            let now = cgroup.oom_kill_count().unwrap_or(self.killed);
            let before = std::mem::replace(&mut self.killed, now);
            return Ok(now.saturating_sub(before));
        }
        let mut count = [0u8; 8];
        match rustix::io::read(&self.file, &mut count) {
            Ok(8) if self.is_there(cgroup) => Ok(u64::from_ne_bytes(count)),
            _ => Ok(0),
        }
    }

    /// The removal of the cgroup counts an eventfd up too.
    fn is_there(&self, cgroup: &Manager) -> bool {
        cgroup.path_of("memory").is_some_and(|directory| hostfs::exists(&directory))
    }
}
