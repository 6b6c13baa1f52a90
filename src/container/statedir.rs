//! The state directory: `<root>/<id>/` with `state.json`, `config.json` and, between create and
//! start, `start.sock`. Opened once and used by descriptor; an id appears and disappears by one
//! rename, so it exists wholly or not at all; the lock of a container is flock(2) on its directory.
//! Every command goes through here first (R22, R23).
//!
//! The lock belongs to the open description, which a cloned init inherits: `create` must say
//! `unlock` itself when it is done, and init closes the descriptor without unlocking.

use super::error::Error;
use super::identity::Identity;
pub use super::state::{Phase, State, Status, check_id};
use crate::error::{failed, text};
use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags};
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
            anyhow::anyhow!(
                "create state of `{id}` in `{root}`: {}; choose another directory with --root",
                text(errno)
            )
        };
        let (temporary, dir) = self.make_locked_dir().map_err(in_root)?;
        let entry = Entry { root: self.root.try_clone()?, dir, id: id.to_string() };
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
            // What cannot be removed is swept up by a later command; the first error counts.
            let _ = remove_tree(self.root.as_fd(), &temporary, &entry.dir);
        }
        placed.map(|()| entry)
    }

    /// A new directory `.new-PID-N`, locked. A sweep that comes between making and locking takes it
    /// away; then another one is made.
    fn make_locked_dir(&self) -> Result<(String, OwnedFd), Errno> {
        let mut busy = Errno::EXIST;
        for _ in 0..100 {
            let name = scratch_name(".new");
            match rustix::fs::mkdirat(&self.root, &name, PRIVATE_DIR) {
                Err(Errno::EXIST) => continue,
                made => made?,
            }
            match open_dir(self.root.as_fd(), Path::new(&name)) {
                Ok(dir) if try_flock(&dir, Lock::Exclusive)? && is_linked(&self.root, &name, &dir)? => {
                    return Ok((name, dir));
                }
                Ok(_) | Err(Errno::NOENT) => busy = Errno::BUSY,
                Err(errno) => return Err(errno),
            }
        }
        Err(busy)
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

    /// The container with an id; `Error::NotFound` if there is none.
    pub fn open_entry(&self, id: &str) -> Result<Entry> {
        check_id(id)?;
        match open_dir(self.root.as_fd(), Path::new(id)) {
            Ok(dir) => Ok(Entry { root: self.root.try_clone()?, dir, id: id.to_string() }),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Err(not_found(id)),
            Err(errno) => Err(failed(format!("open state of `{id}`"))(errno)),
        }
    }

    /// All ids, sorted.
    pub fn list(&self) -> Result<Vec<String>> {
        let mut ids = self.names()?;
        ids.retain(|name| !name.starts_with('.'));
        ids.sort();
        Ok(ids)
    }

    /// Removes what killed runtimes left under temporary names; returns how many. What is locked
    /// belongs to a running command.
    pub fn sweep_debris(&self) -> Result<usize> {
        let mut swept = 0;
        for name in self.names()? {
            if !(name.starts_with(".new-") || name.starts_with(".gone-")) {
                continue;
            }
            let Ok(dir) = open_dir(self.root.as_fd(), Path::new(&name)) else { continue };
            if try_flock(&dir, Lock::Exclusive).unwrap_or(false)
                && is_linked(&self.root, &name, &dir).unwrap_or(false)
            {
                remove_tree(self.root.as_fd(), &name, &dir)
                    .map_err(failed(format!("remove leftover `{name}`")))?;
                swept += 1;
            }
        }
        Ok(swept)
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
        let operation = match lock {
            Lock::Exclusive => FlockOperation::LockExclusive,
            Lock::Shared => FlockOperation::LockShared,
        };
        loop {
            match rustix::fs::flock(&self.dir, operation) {
                Ok(()) => return self.check_linked(),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(format!("lock `{}`", self.id))(errno)),
            }
        }
    }

    /// Takes the lock if nobody has it; false if somebody has.
    #[cfg(test)]
    pub fn try_lock(&self, lock: Lock) -> Result<bool> {
        let taken = try_flock(&self.dir, lock).map_err(failed(format!("lock `{}`", self.id)))?;
        if taken {
            self.check_linked()?;
        }
        Ok(taken)
    }

    /// Gives the lock back, also for processes cloned since. `create` must do this at its end.
    pub fn unlock(&self) -> Result<()> {
        rustix::fs::flock(&self.dir, FlockOperation::Unlock).map_err(failed(format!("unlock `{}`", self.id)))
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

    /// Replaces `state.json` at once. The caller has the exclusive lock.
    pub fn write_state(&self, state: &State) -> Result<()> {
        let bytes = serde_json::to_vec(state).with_context(|| format!("write {STATE} of `{}`", self.id))?;
        self.write_file(STATE, &bytes)
    }

    /// `config.json` as `create` read it.
    pub fn read_config(&self) -> Result<Vec<u8>> {
        self.read_file(CONFIG).map_err(failed(format!("read {CONFIG} of `{}`", self.id)))
    }

    /// The status by the state and the processes it names; never `Paused`. `Created` and `Running`
    /// come with init's pidfd.
    pub fn status(&self, state: &State) -> Result<(Status, Option<OwnedFd>)> {
        if state.phase == Phase::Creating {
            let at_work = state.creator.alive()?.is_some();
            return Ok((if at_work { Status::Creating } else { Status::Stopped }, None));
        }
        match state.init.as_ref().map(Identity::alive).transpose()?.flatten() {
            None => Ok((Status::Stopped, None)),
            Some(init) if self.has_start_socket()? => Ok((Status::Created, Some(init))),
            Some(init) => Ok((Status::Running, Some(init))),
        }
    }

    fn has_start_socket(&self) -> Result<bool> {
        match rustix::fs::statat(&self.dir, START_SOCKET, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(failed(format!("examine {START_SOCKET} of `{}`", self.id))(errno)),
        }
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
        file.read_to_end(&mut bytes).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        Ok(bytes)
    }

    /// Writes a file under a temporary name and renames it.
    fn write_file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let temporary = format!(".{name}");
        let write = || -> Result<(), Errno> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file =
                std::fs::File::from(rustix::fs::openat(&self.dir, &temporary, flags, PRIVATE_FILE)?);
            file.write_all(bytes).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
            rustix::fs::renameat(&self.dir, &temporary, &self.dir, name)
        };
        write().map_err(failed(format!("write {name} of `{}`", self.id)))
    }
}

fn start_socket() -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

fn not_found(id: &str) -> anyhow::Error {
    Error::NotFound { id: id.to_string() }.into()
}

fn root_error(verb: &str, path: &Path, errno: Errno) -> anyhow::Error {
    anyhow::anyhow!(
        "{verb} state directory `{}`: {}; choose another with --root",
        path.display(),
        text(errno)
    )
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
    let make = || match rustix::fs::mkdir(path, PRIVATE_DIR) {
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
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    /// A root directory of its own for a test, removed with it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("oxrun-state-{name}-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Scratch(path)
        }

        fn dir(&self) -> StateDir {
            StateDir::open_or_create(&self.0.join("a/b")).unwrap()
        }

        fn path(&self, below: &str) -> PathBuf {
            self.0.join("a/b").join(below)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn creating(id: &str) -> State {
        State {
            version: State::VERSION,
            oci_version: "1.3.0".into(),
            id: id.into(),
            phase: Phase::Creating,
            creator: Identity::own().unwrap(),
            init: None,
            bundle: "/bundle".into(),
            rootfs: "/bundle/rootfs".into(),
            created: "2026-01-01T00:00:00Z".into(),
            owner: 0,
            cgroup: serde_json::json!({"v2": "/x"}),
            own_pid_namespace: true,
            own_mount_namespace: true,
            new_keyring: true,
            poststart: false,
            poststop: false,
            rdt: None,
            terminal: false,
            annotations: BTreeMap::new(),
        }
    }

    fn dead() -> Identity {
        Identity { pid: 1, start_time: u64::MAX, boot_id: "x".into() }
    }

    fn kind(error: &anyhow::Error) -> Option<&Error> {
        error.downcast_ref()
    }

    fn leftovers(scratch: &Scratch) -> Vec<String> {
        let entries = std::fs::read_dir(scratch.path("")).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|n| n.starts_with('.'))
            .collect()
    }

    #[test]
    fn what_is_reserved_is_found_and_removed() {
        let scratch = Scratch::new("roundtrip");
        let dir = scratch.dir();
        assert_eq!(dir.path, scratch.path("").components().collect::<PathBuf>());
        let entry = dir.reserve(&creating("one"), b"{}").unwrap();
        dir.reserve(&creating("a.b+c"), b"{}").unwrap();
        assert_eq!(dir.list().unwrap(), ["a.b+c", "one"]);
        let found = dir.open_entry("one").unwrap();
        assert_eq!(found.state().unwrap(), creating("one"));
        assert_eq!(found.read_config().unwrap(), b"{}");
        entry.write_state(&State { version: State::VERSION + 1, ..creating("one") }).unwrap();
        assert!(found.state().unwrap_err().to_string().contains("newer"));
        assert!(!found.try_lock(Lock::Shared).unwrap(), "reserve leaves it locked");
        entry.unlock().unwrap();
        assert!(found.try_lock(Lock::Exclusive).unwrap());
        found.remove().unwrap();
        assert_eq!(dir.list().unwrap(), ["a.b+c"]);
        assert_eq!(leftovers(&scratch), [""; 0]);
        let gone = dir.open_entry("one").unwrap_err();
        assert_eq!(gone.to_string(), "container does not exist: `one`");
        assert!(Error::is_not_found(&gone));
        // Who still has it open and gets the lock now must not work on it.
        assert!(Error::is_not_found(&entry.lock(Lock::Exclusive).unwrap_err()));
        assert!(Error::is_not_found(&entry.state().unwrap_err()));
    }

    #[test]
    fn everything_is_private() {
        let scratch = Scratch::new("modes");
        let entry = scratch.dir().reserve(&creating("x"), b"{}").unwrap();
        let _socket = entry.bind_start_socket().unwrap();
        let mode =
            |below: &str| std::fs::metadata(scratch.path(below)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(
            [mode(""), mode("x"), mode("x/state.json"), mode("x/config.json")],
            [0o700, 0o700, 0o600, 0o600]
        );
    }

    #[test]
    fn of_many_at_once_exactly_one_wins() {
        let scratch = Scratch::new("race");
        scratch.dir();
        for round in 0..20 {
            let id = format!("r{round}");
            let wins: Vec<bool> = std::thread::scope(|scope| {
                let one = || match scratch.dir().reserve(&creating(&id), b"{}") {
                    Ok(_entry) => true,
                    Err(error) => {
                        assert_eq!(kind(&error), Some(&Error::Exists { id: id.clone(), debris: false }));
                        false
                    }
                };
                let sweeper = scope.spawn(|| scratch.dir().sweep_debris().unwrap());
                let all: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
                sweeper.join().unwrap();
                all.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(wins.iter().filter(|won| **won).count(), 1, "round {round}");
        }
        assert_eq!(leftovers(&scratch), [""; 0]);
    }

    #[test]
    fn what_a_killed_create_left_is_debris() {
        let scratch = Scratch::new("debris");
        let dir = scratch.dir();
        let debris = |id| Error::is_debris(&dir.reserve(&creating(id), b"{}").unwrap_err());
        // Its creator is dead.
        dir.reserve(&State { creator: dead(), ..creating("x") }, b"{}").unwrap();
        assert!(debris("x"));
        let entry = dir.open_entry("x").unwrap();
        entry.lock(Lock::Exclusive).unwrap();
        entry.remove().unwrap();
        // Its creator is at work, then has finished.
        let entry = dir.reserve(&creating("x"), b"{}").unwrap();
        assert!(!debris("x"));
        entry.write_state(&State { phase: Phase::Created, creator: dead(), ..creating("x") }).unwrap();
        entry.unlock().unwrap();
        assert!(!debris("x"));
        // Its state cannot be read: debris unless somebody is busy with it.
        std::fs::write(scratch.path("x/state.json"), b"{\"version\":").unwrap();
        assert!(debris("x"));
        entry.lock(Lock::Exclusive).unwrap();
        assert!(!debris("x"));
    }

    #[test]
    fn sweeping_spares_what_is_locked() {
        let scratch = Scratch::new("sweep");
        let dir = scratch.dir();
        std::fs::create_dir_all(scratch.path(".new-1-2-3/deep/er")).unwrap();
        std::fs::write(scratch.path(".new-1-2-3/deep/file"), b"x").unwrap();
        std::fs::create_dir(scratch.path(".gone-1-2-3")).unwrap();
        symlink("/", scratch.path(".gone-1-2-3/link")).unwrap();
        let (busy, _locked) = dir.make_locked_dir().unwrap();
        assert_eq!(dir.sweep_debris().unwrap(), 2);
        assert_eq!(leftovers(&scratch), [busy]);
        assert_eq!(dir.list().unwrap(), [""; 0]);
    }

    #[test]
    fn roots_of_others_are_refused() {
        let scratch = Scratch::new("roots");
        let path = scratch.0.join("r");
        assert!(StateDir::open(&path).unwrap().is_none());
        let refusal = |path: &Path| StateDir::open_or_create(path).unwrap_err().to_string();
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o770)).unwrap();
        assert!(refusal(&path).contains("others may write to it (mode 770)"));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        StateDir::open_or_create(&path).unwrap();
        chown(&path, Some(4711), None).unwrap();
        assert!(refusal(&path).contains("belongs to uid 4711, not 0"));
        chown(&path, Some(0), None).unwrap();
        symlink(&path, scratch.0.join("link")).unwrap();
        assert!(refusal(&scratch.0.join("link")).contains("not a directory"));
        std::fs::write(scratch.0.join("file"), b"").unwrap();
        assert!(
            refusal(&scratch.0.join("file/x"))
                .contains("file/x`: not a directory; choose another with --root")
        );
        // /proc stands for a read-only root here: nothing can be made in it, even by root.
        let unwritable = refusal(Path::new("/proc/oxrun"));
        assert!(unwritable.contains("create state directory `/proc/oxrun`: no such file"), "{unwritable}");
        let unwritable = StateDir::open_or_create(Path::new("/proc")).unwrap();
        let error = unwritable.reserve(&creating("x"), b"{}").unwrap_err().to_string();
        assert!(
            error.starts_with("create state of `x` in `/proc`: no such file or directory; choose"),
            "{error}"
        );
    }

    #[test]
    fn ids_are_checked_first() {
        let scratch = Scratch::new("ids");
        let dir = scratch.dir();
        for error in [dir.reserve(&creating("../x"), b"{}").unwrap_err(), dir.open_entry("..").unwrap_err()] {
            assert!(matches!(kind(&error), Some(Error::Usage(_))), "{error}");
        }
    }

    #[test]
    fn the_status_follows_process_and_socket() {
        let scratch = Scratch::new("status");
        let entry = scratch.dir().reserve(&creating("x"), b"{}").unwrap();
        let status = |state: &State| entry.status(state).unwrap().0;
        assert_eq!(status(&creating("x")), Status::Creating);
        assert_eq!(status(&State { creator: dead(), ..creating("x") }), Status::Stopped);
        let created = State { phase: Phase::Created, init: Some(Identity::own().unwrap()), ..creating("x") };
        let socket = entry.bind_start_socket().unwrap();
        assert_eq!(status(&created), Status::Created);
        assert!(entry.status(&created).unwrap().1.is_some());
        assert_eq!(status(&State { init: Some(dead()), ..created.clone() }), Status::Stopped);
        let start = entry.connect_start_socket().unwrap();
        let init = rustix::net::accept(&socket).unwrap();
        rustix::io::write(&start, b"go").unwrap();
        assert_eq!(rustix::io::read(&init, &mut [0; 8][..]).unwrap(), 2);
        drop(socket);
        let refused = entry.connect_start_socket().unwrap_err();
        assert_eq!(refused.to_string(), "cannot start a container that has stopped");
        entry.unlink_start_socket().unwrap();
        entry.unlink_start_socket().unwrap();
        assert_eq!(status(&created), Status::Running);
        let refused = entry.connect_start_socket().unwrap_err();
        assert_eq!(
            kind(&refused),
            Some(&Error::WrongState("cannot start an already running container".into()))
        );
    }
}
