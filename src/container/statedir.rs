//! The state directory: `<root>/<id>/` with `state.json`, `config.json` and, between create and
//! start, `start.sock`. Opened once and used by descriptor; an id appears and disappears by one
//! rename, so it exists wholly or not at all; the lock of a container is flock(2) on its directory.
//! Every command goes through here first (R22, R23).
//!
//! The lock belongs to the open description, which a cloned init inherits: `create` must say
//! `unlock` itself when it is done, and init closes the descriptor without unlocking.

use super::error::Error;
pub use super::state::{Glance, Phase, State, Status, check_id};
use crate::error::{Context, Doing, anyhow, bail, failed, text};
use crate::sort::{sort, sort_by};
use anyhow::Result;
use rustix::fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

const STATE: &str = "state.json";
const CONFIG: &str = "config.json";
const START_SOCKET: &str = "start.sock";
const PRIVATE_DIR: Mode = Mode::RWXU;
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// How to hold a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Alone: for every change.
    Exclusive,
    /// With other readers.
    Shared,
}

/// The directory with all containers of one `--root`.
#[derive(Debug)]
pub struct StateDir {
    root: OwnedFd,
    path: PathBuf,
}

impl StateDir {
    /// Opens the directory, or returns none if it does not exist.
    pub fn open(path: &Path) -> Result<Option<StateDir>> {
        match open_dir(CWD, path) {
            Ok(root) => StateDir::checked(root, path).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(root_error("open", path, errno)),
        }
    }

    /// Opens the directory and makes it, 0700, if it does not exist.
    pub fn open_or_create(path: &Path) -> Result<StateDir> {
        if let Some(there) = StateDir::open(path)? {
            return Ok(there);
        }
        make_dirs(path).map_err(|errno| root_error("create", path, errno))?;
        let root = open_dir(CWD, path).map_err(|errno| root_error("open", path, errno))?;
        StateDir::checked(root, path)
    }

    /// Refuses a directory in which somebody else could place or replace containers.
    fn checked(root: OwnedFd, path: &Path) -> Result<StateDir> {
        let stat = rustix::fs::fstat(&root).map_err(|errno| root_error("examine", path, errno))?;
        let us = rustix::process::geteuid().as_raw();
        let shown = path.display();
        if stat.st_uid != us {
            bail!(
                "use state directory `{shown}`: belongs to uid {}, not {us}; choose another with --root",
                stat.st_uid
            );
        }
        if stat.st_mode & 0o022 != 0 {
            let mode = stat.st_mode & 0o7777;
            bail!(
                "use state directory `{shown}`: others may write to it (mode {mode:o}); run chmod 700 on it"
            );
        }
        Ok(StateDir { root, path: path.to_path_buf() })
    }

    /// Where the directory of a container is, or will be; absolute.
    pub fn path_of(&self, id: &str) -> Result<PathBuf> {
        std::path::absolute(self.path.join(id)).context("find the state directory")
    }

    /// Makes the directory of a new container, locked exclusively. An id that is in use is
    /// `Error::Exists`; with `debris` if a killed runtime left it and the caller should clean up
    /// (`open`, `lock`, `remove`) and try again.
    pub fn reserve(&self, creating: &State, config: &[u8]) -> Result<Entry> {
        let id = creating.id.as_str();
        check_id(id)?;
        let in_root = |errno| {
            let root = self.path.display();
            anyhow!(
                "create state of `{id}` in `{root}`: {}; choose another directory with --root",
                text(errno)
            )
        };
        // Before there is something to take back.
        let root = self.root_again()?;
        let (temporary, dir) = self.make_locked_dir().map_err(in_root)?;
        let entry = Entry { root, dir, id: id.to_string() };
        let filled = entry.write_file(CONFIG, config).and_then(|()| entry.write_state(creating));
        let placed = filled.and_then(|()| {
            let (root, flags) = (&self.root, RenameFlags::NOREPLACE);
            match rustix::fs::renameat_with(root, &temporary, root, id, flags) {
                Ok(()) => Ok(()),
                Err(Errno::EXIST) => Err(Error::Exists { id: id.into(), debris: self.is_debris(id) }.into()),
                Err(errno) => Err(in_root(errno)),
            }
        });
        if placed.is_err() {
            self.unmake(&temporary, &entry.dir);
        }
        placed.map(|()| entry)
    }

    /// A new directory `.new-PID-N`, locked. A sweep that comes between making and locking takes it
    /// away; then another one is made. Who only looks at it is waited for.
    fn make_locked_dir(&self) -> Result<(String, OwnedFd), Errno> {
        let mut busy = Errno::EXIST;
        for _ in 0..100 {
            let name = scratch_name(".new");
            match rustix::fs::mkdirat(&self.root, &name, PRIVATE_DIR) {
                Err(Errno::EXIST) => continue,
                made => made?,
            }
            let locked = open_dir(self.root.as_fd(), Path::new(&name)).and_then(|dir| {
                flock(&dir, Lock::Exclusive)?;
                Ok(is_linked(&self.root, &name, &dir)?.then_some(dir))
            });
            match locked {
                Ok(Some(dir)) => return Ok((name, dir)),
                Ok(None) | Err(Errno::NOENT) => busy = Errno::BUSY,
                Err(errno) => {
                    // Nothing is in it; if it cannot be removed a later command sweeps it up.
                    let _ = rustix::fs::unlinkat(&self.root, &name, AtFlags::REMOVEDIR);
                    return Err(errno);
                }
            }
        }
        Err(busy)
    }

    /// Takes back what `reserve` has made, without opening anything: there may be no descriptor left. What
    /// cannot be removed is swept up by a later command; the first error counts.
    fn unmake(&self, temporary: &str, dir: &OwnedFd) {
        for file in [CONFIG, STATE] {
            for name in [file.to_string(), temporary_of(file)] {
                let _ = rustix::fs::unlinkat(dir, name, AtFlags::empty());
            }
        }
        let _ = rustix::fs::unlinkat(&self.root, temporary, AtFlags::REMOVEDIR);
    }

    /// Whether an existing id is what a killed runtime left: its creator died at work, or there is no
    /// readable state and nobody is changing that.
    fn is_debris(&self, id: &str) -> bool {
        let Ok(entry) = self.open_entry(id) else { return false };
        match entry.state() {
            Ok(state) if state.phase == Phase::Creating => matches!(state.creator.alive(), Ok(None)),
            Ok(_) => false,
            Err(_) => matches!(try_flock(&entry.dir, Lock::Shared), Ok(true)),
        }
    }

    fn root_again(&self) -> Result<OwnedFd> {
        self.root.try_clone().doing(|| format!("duplicate the state directory `{}`", self.path.display()))
    }

    /// The container with an id; `Error::NotFound` if there is none.
    pub fn open_entry(&self, id: &str) -> Result<Entry> {
        check_id(id)?;
        match open_dir(self.root.as_fd(), Path::new(id)) {
            Ok(dir) => Ok(Entry { root: self.root_again()?, dir, id: id.to_string() }),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Err(not_found(id)),
            Err(errno) => Err(failed(format!("open state of `{id}`"))(errno)),
        }
    }

    /// What a look at a container shows, with no lock and few system calls; none where the state is not
    /// one that has all of it. The buffer is for the next look.
    pub fn glance(&self, id: &str, buffer: &mut Vec<u8>) -> Result<Option<(Glance, Status)>> {
        let (flags, path) = (OFlags::RDONLY | OFlags::CLOEXEC, format!("{id}/{STATE}"));
        let below = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let Ok(file) = rustix::fs::openat2(&self.root, path, flags, Mode::empty(), below) else {
            return Ok(None);
        };
        // A longer one is for those who read it whole.
        buffer.resize(16 << 10, 0);
        let Ok(length) = rustix::io::read(&file, buffer.as_mut_slice()) else { return Ok(None) };
        let glance: Option<Glance> = serde_json::from_slice(buffer.get(..length).unwrap_or_default()).ok();
        let Some(glance) = glance.filter(|glance| glance.version <= State::VERSION) else { return Ok(None) };
        let waits = || has_start_socket(self.root.as_fd(), &format!("{id}/{START_SOCKET}"), id);
        let status = glance.processes().status(waits)?.0;
        Ok(Some((glance, status)))
    }

    /// All ids, sorted; also of what cannot be read.
    pub fn list(&self) -> Result<Vec<String>> {
        let mut ids = self.names()?;
        ids.retain(|name| !name.starts_with('.'));
        sort(&mut ids);
        Ok(ids)
    }

    /// What killed runtimes left under temporary names, each locked by its value. What somebody else
    /// has locked belongs to a running command.
    pub fn debris(&self) -> Result<Vec<Debris>> {
        let mut found = Vec::new();
        for name in self.names()? {
            if !(name.starts_with(".new-") || name.starts_with(".gone-")) {
                continue;
            }
            let Ok(dir) = open_dir(self.root.as_fd(), Path::new(&name)) else { continue };
            if try_flock(&dir, Lock::Exclusive).unwrap_or(false)
                && is_linked(&self.root, &name, &dir).unwrap_or(false)
            {
                found.push(Debris { root: self.root_again()?, dir, name });
            }
        }
        sort_by(&mut found, |a, b| a.name < b.name);
        Ok(found)
    }

    /// Removes all `debris`; returns how many there were.
    pub fn sweep_debris(&self) -> Result<usize> {
        let found = self.debris()?;
        let count = found.len();
        found.into_iter().try_for_each(Debris::remove)?;
        Ok(count)
    }

    /// Names of all directories.
    fn names(&self) -> Result<Vec<String>> {
        let read = || -> Result<Vec<String>, Errno> {
            let mut names = Vec::new();
            for entry in Dir::read_from(&self.root)? {
                let entry = entry?;
                let is_dir = matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
                match entry.file_name().to_str() {
                    Ok(name) if is_dir && name != "." && name != ".." => names.push(name.to_string()),
                    _ => {}
                }
            }
            Ok(names)
        };
        read().map_err(|errno| root_error("read", &self.path, errno))
    }
}

/// A directory under a temporary name whose maker is dead, locked.
#[derive(Debug)]
pub struct Debris {
    root: OwnedFd,
    dir: OwnedFd,
    name: String,
}

impl Debris {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Removes it with all that is in it.
    pub fn remove(self) -> Result<()> {
        remove_tree(self.root.as_fd(), &self.name, &self.dir)
            .map_err(failed(format!("remove leftover `{}`", self.name)))
    }
}

/// The directory of one container.
#[derive(Debug)]
pub struct Entry {
    root: OwnedFd,
    dir: OwnedFd,
    id: String,
}

impl Entry {
    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Takes the lock, waiting for whoever has it. If the container was deleted meanwhile, this is
    /// `Error::NotFound`.
    pub fn lock(&self, lock: Lock) -> Result<()> {
        flock(&self.dir, lock).map_err(failed(format!("lock `{}`", self.id)))?;
        self.check_linked()
    }

    /// Takes the lock if nobody has it; false if somebody has.
    pub fn try_lock(&self, lock: Lock) -> Result<bool> {
        let taken = try_flock(&self.dir, lock).map_err(failed(format!("lock `{}`", self.id)))?;
        if taken {
            self.check_linked()?;
        }
        Ok(taken)
    }

    /// Gives the lock back, also for processes cloned since. `create` must do this at its end.
    pub fn unlock(&self) -> Result<()> {
        let unlock = || rustix::fs::flock(&self.dir, FlockOperation::Unlock);
        rustix::io::retry_on_intr(unlock).map_err(failed(format!("unlock `{}`", self.id)))
    }

    fn check_linked(&self) -> Result<()> {
        match is_linked(&self.root, &self.id, &self.dir) {
            Ok(true) => Ok(()),
            Ok(false) => Err(not_found(&self.id)),
            Err(errno) => Err(failed(format!("examine state of `{}`", self.id))(errno)),
        }
    }

    /// `state.json`. A container deleted at this moment is `Error::NotFound`.
    pub fn state(&self) -> Result<State> {
        let what = || format!("read {STATE} of `{}`; delete --force removes a broken container", self.id);
        let bytes = match self.read_file(STATE) {
            Ok(bytes) => bytes,
            Err(Errno::NOENT) => {
                self.check_linked()?;
                return Err(failed(what())(Errno::NOENT));
            }
            Err(errno) => return Err(failed(what())(errno)),
        };
        let state: State = serde_json::from_slice(&bytes).with_context(what)?;
        if state.version > State::VERSION {
            let (id, version, known) = (&self.id, state.version, State::VERSION);
            bail!(
                "read {STATE} of `{id}`: format {version} is newer than {known}; use the version that wrote it"
            );
        }
        Ok(state)
    }

    /// Whether `state.json` says nothing to any version of this program: it is missing, or no JSON
    /// with a version.
    pub fn is_broken(&self) -> Result<bool> {
        #[derive(serde::Deserialize)]
        struct Versioned {
            #[serde(rename = "version")]
            _version: u32,
        }
        match self.read_file(STATE) {
            Ok(bytes) => Ok(serde_json::from_slice::<Versioned>(&bytes).is_err()),
            Err(Errno::NOENT) => Ok(true),
            Err(errno) => Err(failed(format!("read {STATE} of `{}`", self.id))(errno)),
        }
    }

    /// When the directory or what it lists was last changed, in seconds since 1970.
    pub fn last_change(&self) -> Result<i64> {
        let stat = rustix::fs::fstat(&self.dir).map_err(failed(format!("examine state of `{}`", self.id)))?;
        Ok(stat.st_mtime.max(stat.st_ctime))
    }

    /// Replaces `state.json` at once. The caller has the exclusive lock.
    pub fn write_state(&self, state: &State) -> Result<()> {
        self.write_file(STATE, &serde_json::to_vec(state)?)
    }

    /// `config.json` as `create` read it.
    pub fn read_config(&self) -> Result<Vec<u8>> {
        self.read_file(CONFIG).map_err(failed(format!("read {CONFIG} of `{}`", self.id)))
    }

    /// The status by the state and the processes it names; never `Paused`. `Created` and `Running`
    /// come with init's pidfd.
    pub fn status(&self, state: &State) -> Result<(Status, Option<OwnedFd>)> {
        state.processes().status(|| has_start_socket(self.dir.as_fd(), START_SOCKET, &self.id))
    }

    /// Makes the socket on which init waits for `start`, listening.
    pub fn bind_start_socket(&self) -> Result<OwnedFd> {
        let bind = || -> Result<OwnedFd, Errno> {
            let socket = start_socket()?;
            rustix::net::bind(&socket, &self.start_address()?)?;
            rustix::net::listen(&socket, 1)?;
            Ok(socket)
        };
        bind().map_err(failed(format!("make {START_SOCKET} of `{}`", self.id)))
    }

    /// Connects to the waiting init. Without the socket the container was started before.
    pub fn connect_start_socket(&self) -> Result<OwnedFd> {
        let connect = || -> Result<OwnedFd, Errno> {
            let socket = start_socket()?;
            rustix::net::connect(&socket, &self.start_address()?)?;
            Ok(socket)
        };
        connect().map_err(|errno| match errno {
            Errno::NOENT => Error::WrongState("cannot start an already running container".into()).into(),
            Errno::CONNREFUSED => {
                Error::WrongState("cannot start a container that has stopped".into()).into()
            }
            errno => failed(format!("connect to {START_SOCKET} of `{}`", self.id))(errno),
        })
    }

    /// Removes the socket: from now on the container counts as started.
    pub fn unlink_start_socket(&self) -> Result<()> {
        match rustix::fs::unlinkat(&self.dir, START_SOCKET, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed(format!("remove {START_SOCKET} of `{}`", self.id))(errno)),
        }
    }

    /// By descriptor, because a socket address holds only 107 bytes of path.
    fn start_address(&self) -> Result<SocketAddrUnix, Errno> {
        SocketAddrUnix::new(format!("/proc/self/fd/{}/{START_SOCKET}", self.dir.as_raw_fd()))
    }

    /// Removes the container's directory: the id at once, then what it held. The caller has the
    /// exclusive lock.
    pub fn remove(self) -> Result<()> {
        self.check_linked()?;
        let gone = scratch_name(".gone");
        let remove = || -> Result<(), Errno> {
            rustix::fs::renameat(&self.root, &self.id, &self.root, &gone)?;
            remove_tree(self.root.as_fd(), &gone, &self.dir)
        };
        remove().map_err(failed(format!("remove state of `{}`", self.id)))
    }

    fn read_file(&self, name: &str) -> Result<Vec<u8>, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = std::fs::File::from(rustix::fs::openat(&self.dir, name, flags, Mode::empty())?);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| number_of(&error))?;
        Ok(bytes)
    }

    /// Writes a file under a temporary name and gives it its name, at once also where there is one.
    fn write_file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let temporary = temporary_of(name);
        let write = || -> Result<(), Errno> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file =
                std::fs::File::from(rustix::fs::openat(&self.dir, &temporary, flags, PRIVATE_FILE)?);
            file.write_all(bytes).map_err(|error| number_of(&error))?;
            self.place(&temporary, name)
        };
        write().map_err(failed(format!("write {name} of `{}`", self.id)))
    }

    /// Renames a file over one that may be there. Exchanged first: ext4 writes a file to the disk when
    /// it is renamed over another, which the state of a container is not worth.
    fn place(&self, temporary: &str, name: &str) -> Result<(), Errno> {
        match rustix::fs::renameat_with(&self.dir, temporary, &self.dir, name, RenameFlags::EXCHANGE) {
            Ok(()) => rustix::fs::unlinkat(&self.dir, temporary, AtFlags::empty()),
            // There is none, or the filesystem cannot do that.
            Err(Errno::NOENT | Errno::INVAL) => rustix::fs::renameat(&self.dir, temporary, &self.dir, name),
            Err(errno) => Err(errno),
        }
    }
}

/// Whether a container waits for `start`.
fn has_start_socket(at: BorrowedFd<'_>, path: &str, id: &str) -> Result<bool> {
    match rustix::fs::statat(at, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(failed(format!("examine {START_SOCKET} of `{id}`"))(errno)),
    }
}

/// The standard library's own errors have no number: no memory for what is read, nothing written.
fn number_of(error: &std::io::Error) -> Errno {
    let own = if error.kind() == std::io::ErrorKind::OutOfMemory { Errno::NOMEM } else { Errno::IO };
    Errno::from_io_error(error).unwrap_or(own)
}

/// The name that a file of a container has while it is written.
fn temporary_of(name: &str) -> String {
    format!(".{name}")
}

fn start_socket() -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

fn not_found(id: &str) -> anyhow::Error {
    Error::NotFound { id: id.to_string() }.into()
}

fn root_error(verb: &str, path: &Path, errno: Errno) -> anyhow::Error {
    anyhow!("{verb} state directory `{}`: {}; choose another with --root", path.display(), text(errno))
}

/// A name nobody else has: the pid keeps processes apart, the time and a count one process's names.
fn scratch_name(prefix: &str) -> String {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{prefix}-{}-{:x}-{count}", std::process::id(), now.as_nanos())
}

fn open_dir(parent: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, path, flags, Mode::empty())
}

/// Makes a directory and those above it, 0700; one that is there is fine.
fn make_dirs(path: &Path) -> Result<(), Errno> {
    let make = || match crate::hostfs::make_directory(path, PRIVATE_DIR) {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    };
    match (make(), path.parent()) {
        (Err(Errno::NOENT), Some(parent)) if !parent.as_os_str().is_empty() => {
            make_dirs(parent)?;
            make()
        }
        (made, _) => made,
    }
}

fn flock(dir: &OwnedFd, lock: Lock) -> Result<(), Errno> {
    let operation = match lock {
        Lock::Exclusive => FlockOperation::LockExclusive,
        Lock::Shared => FlockOperation::LockShared,
    };
    rustix::io::retry_on_intr(|| rustix::fs::flock(dir, operation))
}

fn try_flock(dir: &OwnedFd, lock: Lock) -> Result<bool, Errno> {
    let operation = match lock {
        Lock::Exclusive => FlockOperation::NonBlockingLockExclusive,
        Lock::Shared => FlockOperation::NonBlockingLockShared,
    };
    match rustix::fs::flock(dir, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Whether a name still leads to an open directory.
fn is_linked(root: &OwnedFd, name: &str, dir: &OwnedFd) -> Result<bool, Errno> {
    let open = rustix::fs::fstat(dir)?;
    match rustix::fs::statat(root, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (open.st_dev, open.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Removes an open directory with all it holds, never following a link.
fn remove_tree(parent: BorrowedFd<'_>, name: &str, dir: &OwnedFd) -> Result<(), Errno> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let inner = entry.file_name();
        if matches!(inner.to_bytes(), b"." | b"..") {
            continue;
        }
        match rustix::fs::unlinkat(dir, inner, AtFlags::empty()) {
            Err(Errno::ISDIR) => {
                let inner = inner.to_str().map_err(|_| Errno::ILSEQ)?;
                remove_tree(dir.as_fd(), inner, &open_dir(dir.as_fd(), Path::new(inner))?)?;
            }
            removed => removed?,
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

#[cfg(test)]
mod tests;
