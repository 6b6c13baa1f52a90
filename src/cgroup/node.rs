//! One cgroup: a directory in one hierarchy, opened once and used by descriptor. Makes, reads,
//! writes, walks and removes it. v1 has one node per hierarchy, v2 has one; both managers are
//! built on this and nothing else touches the cgroup filesystem.

use super::layout::{CGROUP_MAGIC, CGROUP2_MAGIC};
use crate::error::{Context, anyhow, bail, text};
use crate::hostfs;
use crate::progress::Progress;
use crate::sort::sort;
use anyhow::Result;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::cell::OnceCell;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where a node is: what later commands need to find it again; part of state.json.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// v1 controllers of the hierarchy (`cpu`, `cpuacct`; or `name=systemd`); empty on cgroup2.
    #[serde(default)]
    pub controllers: Vec<String>,
    /// Where the hierarchy is mounted.
    pub mountpoint: PathBuf,
    /// The cgroup below the mount point, normalised, without leading `/`.
    pub path: String,
    /// How many of the path's last components this container made; removed with it.
    #[serde(default)]
    pub made: usize,
}

impl Place {
    /// The directory on the host.
    pub fn directory(&self) -> PathBuf {
        self.mountpoint.join(&self.path)
    }

    /// Whether it is in a cgroup2 hierarchy.
    pub fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }
}

/// The caller may not change the cgroup tree; found by `downcast_ref` where running without a
/// cgroup is an alternative.
#[derive(Debug)]
pub struct NotPermitted(String);

impl std::fmt::Display for NotPermitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotPermitted {}

/// An error about a cgroup, `NotPermitted` where that is the reason.
fn failure(what: String, errno: Errno) -> anyhow::Error {
    match errno {
        Errno::ACCESS | Errno::PERM | Errno::ROFS => {
            let remedy = "run as root, with --cgroup-manager systemd, or in a cgroup delegated to this user, as \
                          `systemd-run --user --scope -p Delegate=yes` makes one";
            anyhow::Error::new(NotPermitted(format!("{what}: {}: {remedy}", text(errno))))
        }
        _ => anyhow!("{what}: {}", text(errno)),
    }
}

/// A cgroup and its descriptor.
#[derive(Debug)]
pub struct Node {
    /// Where it is.
    pub place: Place,
    /// It was made just now, by this process.
    pub fresh: bool,
    directory: OnceCell<OwnedFd>,
}

impl Node {
    /// A node that is opened when first used.
    pub fn new(place: Place) -> Node {
        Node { place, fresh: false, directory: OnceCell::new() }
    }

    /// The hierarchy's root, checked to be a cgroup filesystem of the right version (R5).
    pub fn root(&self) -> Result<OwnedFd> {
        let at = &self.place.mountpoint;
        let root = hostfs::open(at, OFlags::PATH | OFlags::DIRECTORY)
            .map_err(|e| failure(format!("open cgroup hierarchy `{}`", at.display()), e))?;
        let magic = rustix::fs::fstatfs(&root).context("statfs of the cgroup hierarchy")?.f_type;
        if magic.cast_unsigned() != self.magic() {
            bail!(
                "`{}` is not a cgroup filesystem of the expected version: something is mounted over it",
                at.display()
            );
        }
        Ok(root)
    }

    /// The descriptor of the directory, opened when first asked for.
    pub fn directory(&self) -> Result<BorrowedFd<'_>> {
        if let Some(fd) = self.directory.get() {
            return Ok(fd.as_fd());
        }
        let fd = open_below(self.root()?.as_fd(), &self.place.path)
            .map_err(|e| failure(format!("open cgroup `{}`", self.place.directory().display()), e))?;
        Ok(self.directory.get_or_init(|| fd).as_fd())
    }

    /// Whether the directory is there.
    pub fn exists(&self) -> bool {
        // One that cannot be looked at for another reason is there.
        match self.root() {
            Ok(root) => {
                !matches!(open_below(root.as_fd(), &self.place.path), Err(Errno::NOENT | Errno::NODEV))
            }
            Err(_) => hostfs::filesystem_type(&self.place.mountpoint) != Err(Errno::NOENT),
        }
    }

    /// Makes the directory and its missing parents, and opens it.
    pub fn make(&mut self) -> Result<()> {
        let root = self.root()?;
        // A parent may vanish between the two mkdirs when another container that made it ends.
        for _ in 0..16 {
            match make_path(root.as_fd(), &self.place.path) {
                Ok(made) => {
                    self.place.made = made;
                    self.fresh = made > 0;
                    match open_below(root.as_fd(), &self.place.path) {
                        Ok(fd) => drop(self.directory.set(fd)),
                        Err(Errno::NOENT) => continue,
                        Err(errno) => {
                            unmake(root.as_fd(), &self.place.path, made);
                            return Err(self.explain_make(errno));
                        }
                    }
                    return Ok(());
                }
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(self.explain_make(errno)),
            }
        }
        Err(self.explain_make(Errno::NOENT))
    }

    fn explain_make(&self, errno: Errno) -> anyhow::Error {
        let what = format!("create cgroup `{}`", self.place.directory().display());
        match errno {
            Errno::NOSPC => {
                anyhow!("{what}: {}: the kernel's number of memory cgroups (65535) is used up", text(errno))
            }
            Errno::AGAIN => anyhow!(
                "{what}: {}: a parent's cgroup.max.depth or cgroup.max.descendants is reached",
                text(errno)
            ),
            _ => failure(what, errno),
        }
    }

    /// Reads a control file.
    pub fn read(&self, file: &str) -> Result<String> {
        let name = || format!("read `{}`", self.place.directory().join(file).display());
        read_at(self.directory()?, file).map_err(|e| failure(name(), e))
    }

    /// Reads a control file; none where it or the cgroup is not there.
    pub fn read_if_any(&self, file: &str) -> Option<String> {
        read_at(self.directory().ok()?, file).ok()
    }

    /// Reads a control file; none only where the cgroup is not there.
    pub fn read_if_there(&self, file: &str) -> Result<Option<String>> {
        match self.read(file) {
            Err(_) if !self.exists() => Ok(None),
            read => read.map(Some),
        }
    }

    /// Whether there is such a control file.
    pub fn has(&self, file: &str) -> bool {
        let Ok(directory) = self.directory() else { return false };
        rustix::fs::accessat(directory, file, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
    }

    /// Names of its control files.
    pub fn files(&self) -> Vec<String> {
        let Some(entries) = self.directory().ok().and_then(|d| Dir::read_from(d).ok()) else {
            return Vec::new();
        };
        entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Writes a value to a control file in one write; the bare errno, for who can explain it.
    pub fn try_write(&self, file: &str, value: &str) -> Result<(), Errno> {
        let directory = self.directory().map_err(|_| Errno::NOENT)?;
        write_at(directory, file, value)
    }

    /// Writes a value to a control file in one write.
    pub fn write(&self, file: &str, value: &str) -> Result<()> {
        let name = || format!("write `{value}` to `{}`", self.place.directory().join(file).display());
        write_at(self.directory()?, file, value).map_err(|e| failure(name(), e))
    }

    /// Writes a value to a control file that is open.
    pub fn write_open(&self, fd: &OwnedFd, file: &str, value: &str) -> Result<()> {
        let name = || format!("write `{value}` to `{}`", self.place.directory().join(file).display());
        write_whole(fd, value).map_err(|e| failure(name(), e))
    }

    /// Opens a control file for writing, more than once or by someone else.
    pub fn open_for_write(&self, file: &str) -> Result<OwnedFd> {
        let name = || format!("open `{}`", self.place.directory().join(file).display());
        open_file(self.directory()?, file, OFlags::WRONLY).map_err(|e| failure(name(), e))
    }

    /// The same by one path, for who needs nothing else of the cgroup: in a cgroup filesystem nobody can
    /// put a link, and what is opened is checked to be in one.
    pub fn open_for_one_write(&self, file: &str) -> Result<OwnedFd> {
        match self.open_by_path(file, OFlags::WRONLY) {
            Ok(fd) => Ok(fd),
            // That says which part of the path is missing.
            Err(_) => self.open_for_write(file),
        }
    }

    /// Another descriptor of the directory, for clone3(2).
    pub fn open_again(&self) -> Result<OwnedFd> {
        if self.directory.get().is_none()
            && let Ok(fd) = self.open_by_path("", OFlags::RDONLY | OFlags::DIRECTORY)
        {
            return Ok(fd);
        }
        self.directory()?.try_clone_to_owned().context("duplicate a cgroup descriptor")
    }

    fn open_by_path(&self, file: &str, access: OFlags) -> Result<OwnedFd, Errno> {
        let path = self.place.directory();
        let path = if file.is_empty() { path } else { path.join(file) };
        let fd = hostfs::open(&path, access | OFlags::NOFOLLOW)?;
        let magic = rustix::fs::fstatfs(&fd)?.f_type.cast_unsigned();
        if magic == self.magic() { Ok(fd) } else { Err(Errno::XDEV) }
    }

    /// The kind of its filesystem.
    fn magic(&self) -> u64 {
        if self.place.is_v2() { CGROUP2_MAGIC } else { CGROUP_MAGIC }
    }

    /// All processes in it and in the cgroups below it; none where it is not there.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        if !self.exists() {
            return Ok(pids);
        }
        self.walk(|directory| match read_at(directory, "cgroup.procs") {
            Ok(text) => {
                pids.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()));
                Ok(())
            }
            // Threaded cgroups list their processes in the cgroup above them, which is walked too.
            Err(Errno::NOTSUP | Errno::NOENT | Errno::NODEV) => Ok(()),
            Err(errno) => Err(errno),
        })?;
        sort(&mut pids);
        pids.dedup();
        Ok(pids)
    }

    /// Visits the directory and all below it, parents first. One descriptor is open at a time, so
    /// that a container which nests cgroups deeply exhausts nothing here.
    pub fn walk(&self, mut visit: impl FnMut(BorrowedFd<'_>) -> Result<(), Errno>) -> Result<()> {
        let mut step = || -> Result<(), Errno> {
            let top = self.directory().map_err(|_| Errno::NOENT)?;
            let mut at = open_below(top, ".")?;
            visit(at.as_fd())?;
            let mut pending = vec![children(at.as_fd())?];
            while let Some(names) = pending.last_mut() {
                if let Some(name) = names.pop() {
                    match open_directory(at.as_fd(), &name) {
                        Ok(child) => at = child,
                        Err(Errno::NOENT) => continue,
                        Err(errno) => return Err(errno),
                    }
                    visit(at.as_fd())?;
                    pending.push(children(at.as_fd())?);
                } else {
                    pending.pop();
                    if !pending.is_empty() {
                        at = open_directory(at.as_fd(), c"..")?;
                    }
                }
            }
            Ok(())
        };
        match step() {
            // Whoever else manages the tree removed it meanwhile.
            Err(Errno::NOENT | Errno::NODEV) => Ok(()),
            other => other,
        }
        .map_err(|e| failure(format!("walk cgroup `{}`", self.place.directory().display()), e))
    }

    /// Removes it, and the parents it made that are empty, if nothing is in it.
    pub fn remove_empty(&mut self) -> Result<bool> {
        let root = match self.root() {
            Err(_) if hostfs::filesystem_type(&self.place.mountpoint) == Err(Errno::NOENT) => {
                return Ok(true);
            }
            root => root?,
        };
        match rustix::fs::unlinkat(&root, self.place.path.as_str(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::BUSY | Errno::NOTEMPTY) => return Ok(false),
            Err(e) => {
                return Err(failure(format!("remove cgroup `{}`", self.place.directory().display()), e));
            }
        }
        self.directory = OnceCell::new();
        if let Some((parent, _)) = self.place.path.rsplit_once('/') {
            unmake(root.as_fd(), parent, self.place.made.saturating_sub(1));
        }
        Ok(true)
    }

    /// The same with all cgroups below it. Dying processes are waited for until `deadline`; when some
    /// are still in it then, it is left as it is: false.
    pub fn remove(&mut self, deadline: Instant) -> Result<bool> {
        while !self.remove_empty()? {
            if !self.wait_empty(deadline)? {
                return Ok(false);
            }
            let Ok(top) = open_below(self.root()?.as_fd(), &self.place.path) else { continue };
            if remove_below(top) != Ok(true) {
                // Nobody is left, but the last one is not quite gone: there is no event for that.
                std::thread::sleep(Duration::from_millis(1));
            }
            if Instant::now() > deadline {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until no process is left or it is time; false when it is time.
    fn wait_empty(&self, deadline: Instant) -> Result<bool> {
        if self.place.is_v2() {
            return self.wait_event("populated", "0", deadline);
        }
        let progress = Progress::begin();
        loop {
            let pids = self.processes()?;
            if pids.is_empty() {
                return Ok(true);
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return Ok(false) };
            let Some(first) = pids.into_iter().find_map(pidfd) else { continue };
            let mut wait = [PollFd::new(&first, PollFlags::IN)];
            progress.poll(&mut wait, Some(left), || self.expectation()).context("poll a process")?;
        }
    }

    /// Waits until a line of cgroup.events (v2) has a value or it is time; false when it is time.
    pub fn wait_event(&self, key: &str, value: &str, deadline: Instant) -> Result<bool> {
        let name = self.place.directory().join("cgroup.events");
        let directory = match self.directory() {
            Err(_) if !self.exists() => return Ok(true),
            other => other?,
        };
        let file = match open_file(directory, "cgroup.events", OFlags::RDONLY) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NODEV) => return Ok(true),
            Err(e) => return Err(failure(format!("open `{}`", name.display()), e)),
        };
        let progress = Progress::begin();
        loop {
            let mut buffer = [0u8; 128];
            let n = match rustix::io::pread(&file, &mut buffer, 0) {
                Ok(n) => n,
                Err(Errno::NODEV) => return Ok(true),
                Err(e) => return Err(failure(format!("read `{}`", name.display()), e)),
            };
            if field(&String::from_utf8_lossy(&buffer[..n]), key) == Some(value) {
                return Ok(true);
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return Ok(false) };
            let mut wait = [PollFd::new(&file, PollFlags::PRI)];
            progress.poll(&mut wait, Some(left), || self.expectation()).context("poll cgroup.events")?;
        }
    }

    /// What a wait is for.
    fn expectation(&self) -> String {
        format!("waiting for the processes in cgroup `{}`", self.place.directory().display())
    }
}

/// The value of a `key value` line.
pub fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
}

/// A pidfd, where the process is still there.
pub fn pidfd(pid: i32) -> Option<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid)?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

/// Never through a symbolic link or another mount.
const BELOW: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_XDEV);

/// Opens a cgroup directory below another.
pub fn open_below(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { "." } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(root, path, flags, Mode::empty(), BELOW)
}

fn open_directory(at: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

fn open_file(directory: BorrowedFd<'_>, file: &str, access: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(directory, file, access | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Makes a directory and its missing parents; how many were made.
fn make_path(root: BorrowedFd<'_>, path: &str) -> Result<usize, Errno> {
    let mut made = 0;
    let first = rustix::fs::mkdirat(root, path, Mode::from_raw_mode(0o755));
    let result = match (first, path.rsplit_once('/')) {
        (Err(Errno::NOENT), Some((parent, _))) => {
            made = make_path(root, parent)?;
            rustix::fs::mkdirat(root, path, Mode::from_raw_mode(0o755))
        }
        (result, _) => result,
    };
    match result {
        Ok(()) => Ok(made + 1),
        Err(Errno::EXIST) => Ok(0),
        Err(errno) => {
            if let Some((parent, _)) = path.rsplit_once('/') {
                unmake(root, parent, made);
            }
            Err(errno)
        }
    }
}

/// Removes a directory that was made, and the parents made for it, as far as they are empty.
fn unmake(root: BorrowedFd<'_>, path: &str, made: usize) {
    let mut path = path;
    for _ in 0..made {
        if rustix::fs::unlinkat(root, path, AtFlags::REMOVEDIR).is_err() {
            return;
        }
        let Some((parent, _)) = path.rsplit_once('/') else { return };
        path = parent;
    }
}

/// Removes all cgroups below one, deepest first; whether any was removed. Stops at the first that
/// is busy.
fn remove_below(top: OwnedFd) -> Result<bool, Errno> {
    let mut at = top;
    let mut names: Vec<CString> = Vec::new();
    let mut any = false;
    loop {
        if let Some(name) = children(at.as_fd())?.pop() {
            at = open_directory(at.as_fd(), &name)?;
            names.push(name);
        } else if let Some(name) = names.pop() {
            at = open_directory(at.as_fd(), c"..")?;
            match rustix::fs::unlinkat(&at, &name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => any = true,
                Err(errno) => return Err(errno),
            }
        } else {
            return Ok(any);
        }
    }
}

/// Names of the cgroups right below one.
fn children(directory: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    if rustix::fs::fstat(directory)?.st_nlink == 2 {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The text of a control file.
pub fn read_at(directory: BorrowedFd<'_>, file: &str) -> Result<String, Errno> {
    let fd = open_file(directory, file, OFlags::RDONLY)?;
    let mut text = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        match rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut buffer))? {
            0 => return Ok(String::from_utf8_lossy(&text).into_owned()),
            n => text.extend_from_slice(&buffer[..n]),
        }
    }
}

/// The text of a short control file, by its path below a hierarchy's root.
pub fn read_below(root: BorrowedFd<'_>, path: &str) -> Result<String, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(root, path, flags, Mode::empty(), BELOW)?;
    // One read gives all of such a file.
    let mut buffer = [0u8; 256];
    let length = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut buffer))?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Writes a value to a control file in one write, as cgroup files want it.
pub fn write_at(directory: BorrowedFd<'_>, file: &str, value: &str) -> Result<(), Errno> {
    write_whole(&open_file(directory, file, OFlags::WRONLY)?, value)
}

fn write_whole(fd: &OwnedFd, value: &str) -> Result<(), Errno> {
    // An empty value must reach the kernel; a write of no bytes does not.
    let bytes = if value.is_empty() { b"\n" } else { value.as_bytes() };
    let n = rustix::io::retry_on_intr(|| rustix::io::write(fd, bytes))?;
    if n == bytes.len() { Ok(()) } else { Err(Errno::IO) }
}
