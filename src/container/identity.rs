//! Who a process is beyond its id: id, start time and boot id together name one process for ever
//! (R22). Written into the state by `create`, asked by every command before it believes a pid.

use crate::error::{Context, bail, failed};
use crate::procfs::Procfs;
use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

/// One process, distinguishable from a later one with the same id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its id in the pid namespace of the runtime.
    pub pid: i32,
    /// When it started, in clock ticks since boot (proc_pid_stat(5), field 22).
    pub start_time: u64,
    /// Which boot (random(4), boot_id).
    pub boot_id: String,
    /// The inode number of its pidfds, which no other process of a boot has, where the kernel gives such
    /// numbers (pidfs, Linux 6.9): then /proc need not be asked. States of older versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pidfs: Option<u64>,
}

impl Identity {
    /// The identity of a process that is known to be there (a child not waited for, or ourselves).
    pub fn of(pid: Pid) -> Result<Identity> {
        let pid = pid.as_raw_nonzero().get();
        let stat = read_stat(pid).map_err(failed(format!("read /proc/{pid}/stat")))?;
        let (_, start_time) =
            stat.with_context(|| format!("read /proc/{pid}/stat: not in its known form"))?;
        Ok(Identity { pid, start_time, boot_id: boot_id()?, pidfs: None })
    }

    /// The same with what a pidfd of the process says.
    pub fn with_pidfd(self, pidfd: &OwnedFd) -> Result<Identity> {
        let pidfs = pidfs_inode(pidfd).map_err(failed(format!("look at the pidfd of {}", self.pid)))?;
        Ok(Identity { pidfs, ..self })
    }

    /// The identity of this process.
    pub fn own() -> Result<Identity> {
        Identity::of(rustix::process::getpid())
    }

    /// Whether it is a process of the running kernel, alive or not, and not of one before.
    pub fn is_of_this_boot(&self) -> Result<bool> {
        Ok(self.boot_id == boot_id()?)
    }

    /// A pidfd of the process, or none when it has ended; a zombie has ended.
    pub fn alive(&self) -> Result<Option<OwnedFd>> {
        if !self.is_of_this_boot()? {
            return Ok(None);
        }
        let Some(pid) = Pid::from_raw(self.pid.max(0)) else { return Ok(None) };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            // No such process, or the id now belongs to a thread.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed(format!("open process {pid}"))(errno)),
        };
        let same = match self.pidfs {
            Some(inode) => {
                let now = pidfs_inode(&pidfd).map_err(failed(format!("look at the pidfd of {pid}")))?;
                now == Some(inode)
            }
            None => self.is_in_proc()?,
        };
        // If the process of the pidfd is still there now, what was read belongs to it.
        Ok((same && !ended(&pidfd)?).then_some(pidfd))
    }

    /// Whether the process that has the id now started when this one did, and is no zombie.
    fn is_in_proc(&self) -> Result<bool> {
        let pid = self.pid;
        match read_stat(pid) {
            Ok(Some((state, start))) => Ok(start == self.start_time && !matches!(state, b'Z' | b'X')),
            Ok(None) => bail!("read /proc/{pid}/stat: not in its known form"),
            Err(Errno::NOENT | Errno::SRCH) => Ok(false),
            Err(errno) => Err(failed(format!("read /proc/{pid}/stat"))(errno)),
        }
    }
}

/// The inode number of a pidfd; none on kernels where all have the same (before Linux 6.9).
fn pidfs_inode(pidfd: &OwnedFd) -> Result<Option<u64>, Errno> {
    const PID_FS_MAGIC: u64 = 0x5049_4446;
    static KNOWN: OnceLock<bool> = OnceLock::new();
    let has_numbers = match KNOWN.get() {
        Some(known) => *known,
        None => {
            let kind = rustix::fs::fstatfs(pidfd)?.f_type.cast_unsigned();
            *KNOWN.get_or_init(|| kind == PID_FS_MAGIC)
        }
    };
    has_numbers.then(|| rustix::fs::fstat(pidfd).map(|stat| stat.st_ino)).transpose()
}

/// Whether the process of a pidfd has ended.
pub fn ended(pidfd: &OwnedFd) -> Result<bool> {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    loop {
        match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("poll a process")(errno)),
        }
    }
}

/// Whether a process is on its way out and executes nothing any more (PF_EXITING, sched.h), though its
/// end may take until others in its pid namespace were waited for.
pub fn exiting(pid: i32) -> bool {
    const PF_EXITING: u64 = 4;
    let Ok(text) = read_small(&format!("/proc/{pid}/stat")) else { return true };
    flags_of(&text).is_some_and(|flags| flags & PF_EXITING != 0)
}

/// Whether a cloned process ended without having executed a program (PF_EXITING and PF_FORKNOEXEC,
/// sched.h); false when it cannot be known, because somebody has reaped it.
pub fn ended_unexecuted(procfs: &Procfs, pid: i32) -> bool {
    const EXITING_UNEXECUTED: u64 = 0x4 | 0x40;
    let stat = procfs.read(&format!("{pid}/stat")).unwrap_or_default();
    flags_of(&String::from_utf8_lossy(&stat))
        .is_some_and(|flags| flags & EXITING_UNEXECUTED == EXITING_UNEXECUTED)
}

/// The flags of a line of /proc/PID/stat (its 9th field).
fn flags_of(stat: &str) -> Option<u64> {
    let after_name = stat.rfind(')').and_then(|end| stat.get(end + 1..))?;
    after_name.split_ascii_whitespace().nth(6)?.parse().ok()
}

/// State letter and start time of a process; none when the file does not look as documented.
fn read_stat(pid: i32) -> Result<Option<(u8, u64)>, Errno> {
    let text = read_small(&format!("/proc/{pid}/stat"))?;
    // The second field is the name in parentheses, which may itself hold parentheses and spaces.
    let after_name = text.rfind(')').and_then(|end| text.get(end + 1..)).unwrap_or_default();
    let mut fields = after_name.split_ascii_whitespace();
    let state = fields.next().and_then(|state| state.bytes().next());
    let start_time = fields.nth(18).and_then(|time| time.parse().ok()); // 22nd of the line
    Ok(state.zip(start_time))
}

/// Which boot this is; asked once.
fn boot_id() -> Result<String> {
    static KNOWN: OnceLock<String> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(known.clone());
    }
    let path = "/proc/sys/kernel/random/boot_id";
    let text = read_small(path).map_err(failed(format!("read {path}; is /proc mounted?")))?;
    Ok(KNOWN.get_or_init(|| text.trim_end().to_string()).clone())
}

/// Reads a file of /proc that fits into one page.
fn read_small(path: &str) -> Result<String, Errno> {
    let file = crate::hostfs::open(path, OFlags::RDONLY)?;
    let mut buffer = [0u8; 4096];
    let length = rustix::io::read(&file, &mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_is_alive_until_it_is_a_zombie() {
        let mut child = Command::new("/bin/cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let identity = Identity::of(Pid::from_child(&child)).unwrap();
        let pidfd = identity.alive().unwrap().expect("it runs");
        let with_inode = identity.clone().with_pidfd(&pidfd).unwrap();
        assert!(with_inode.alive().unwrap().is_some());
        drop(child.stdin.take());
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        poll(&mut fds, None).unwrap();
        assert!(identity.alive().unwrap().is_none(), "a zombie counts as gone");
        assert!(with_inode.alive().unwrap().is_none(), "a zombie counts as gone");
        child.wait().unwrap();
        assert!(identity.alive().unwrap().is_none());
    }

    #[test]
    fn another_process_with_the_same_id_is_not_it() {
        let own = Identity::own().unwrap();
        let with_inode = own.clone().with_pidfd(&own.alive().unwrap().unwrap()).unwrap();
        for own in [own, with_inode] {
            assert!(own.alive().unwrap().is_some());
            let other = match own.pidfs {
                Some(inode) => Identity { pidfs: Some(inode - 1), ..own.clone() },
                None => Identity { start_time: own.start_time - 1, ..own.clone() },
            };
            assert!(other.alive().unwrap().is_none());
            let boot_id = "00000000-0000-0000-0000-000000000000".into();
            assert!(Identity { boot_id, ..own.clone() }.alive().unwrap().is_none());
            assert!(Identity { pid: 0, ..own.clone() }.alive().unwrap().is_none());
            assert!(Identity { pid: -1, ..own }.alive().unwrap().is_none());
        }
    }

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        // The start time of a process with a hostile name, found by comm of the main thread.
        let mut child = Command::new("/bin/sh")
            .args(["-c", "printf 'a) Z 1 (b' > /proc/self/comm; echo; read x"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0u8; 1];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        let identity = Identity::of(Pid::from_child(&child)).unwrap();
        assert!(identity.alive().unwrap().is_some());
        assert!(identity.start_time > 0);
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
