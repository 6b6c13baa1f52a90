//! Paths beneath a container's root (security R1). `Root` owns a descriptor of the root directory;
//! everything inside is found from it by openat2 with RESOLVE_IN_ROOT and without magic links, and
//! missing directories and files are made one component at a time. Used by all of `rootfs` and by
//! init for the few files that it reads in the container.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// How often a symbolic link may lead to another one, as in the kernel.
const MAX_LINKS: usize = 40;
/// How often a lookup that raced with a rename is tried again (openat2(2), EAGAIN).
const MAX_RETRIES: usize = 128;

/// What a path that is missing is made as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A directory, mode 0755.
    Directory,
    /// An empty file, mode 0644.
    File,
}

/// Whether symbolic links may be part of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Everywhere, resolved inside the root.
    Follow,
    /// Not as the last component.
    NotLast,
    /// Nowhere.
    Never,
}

/// A directory that paths are resolved in and cannot leave.
#[derive(Debug)]
pub struct Root(OwnedFd);

/// A path that was found, or made.
#[derive(Debug)]
pub struct Found {
    /// O_PATH descriptor.
    pub fd: OwnedFd,
    /// Whether it had to be made.
    pub created: bool,
}

impl Root {
    /// The root behind a directory descriptor.
    pub fn new(fd: OwnedFd) -> Root {
        Root(fd)
    }

    /// The root directory of this process, once that is the container's.
    pub fn own() -> rustix::io::Result<Root> {
        crate::hostfs::open("/", OFlags::PATH | OFlags::DIRECTORY).map(Root)
    }

    /// The directory itself.
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Opens an existing path with `flags`.
    pub fn open(&self, path: &str, flags: OFlags, links: Links) -> rustix::io::Result<OwnedFd> {
        let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        if links == Links::Never {
            resolve |= ResolveFlags::NO_SYMLINKS;
        }
        let mut flags = flags | OFlags::CLOEXEC;
        if links == Links::NotLast {
            flags |= OFlags::NOFOLLOW;
        }
        let path = if path.is_empty() { "." } else { path };
        let mut result = Err(Errno::AGAIN);
        for _ in 0..MAX_RETRIES {
            result = rustix::fs::openat2(&self.0, path, flags, Mode::empty(), resolve);
            if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
        }
        result
    }

    /// Finds a path, and makes what is missing of it: parents as directories, the last component
    /// as `missing` says. Symbolic links that point nowhere are followed inside the root and
    /// their targets made.
    pub fn find_or_create(&self, path: &str, missing: Missing, links: Links) -> rustix::io::Result<Found> {
        match self.open(path, OFlags::PATH, links) {
            Ok(fd) => Ok(Found { fd, created: false }),
            Err(Errno::NOENT) => Ok(Found { fd: Walk::new(self, links)?.run(path, missing)?, created: true }),
            Err(error) => Err(error),
        }
    }

    /// The parent directory of `path`, made if missing, and the last component's name. The parent
    /// is found without following a link as its last component when `links` says so.
    pub fn parent_of<'p>(&self, path: &'p str, links: Links) -> rustix::io::Result<(OwnedFd, &'p str)> {
        let trimmed = path.trim_end_matches('/');
        let (parent, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
        if name.is_empty() || name == "." || name == ".." {
            return Err(Errno::INVAL);
        }
        Ok((self.find_or_create(parent, Missing::Directory, links)?.fd, name))
    }
}

/// A walk that makes what is missing, holding the directories it came through, so that `..` leads
/// back to where it came from and never above the root.
struct Walk {
    stack: Vec<OwnedFd>,
    links: Links,
    followed: usize,
}

impl Walk {
    fn new(root: &Root, links: Links) -> rustix::io::Result<Walk> {
        Ok(Walk { stack: vec![rustix::io::fcntl_dupfd_cloexec(&root.0, 3)?], links, followed: 0 })
    }

    fn here(&self) -> rustix::io::Result<&OwnedFd> {
        self.stack.last().ok_or(Errno::INVAL)
    }

    fn run(mut self, path: &str, missing: Missing) -> rustix::io::Result<OwnedFd> {
        let mut rest: VecDeque<String> = components(path);
        while let Some(name) = rest.pop_front() {
            match name.as_str() {
                ".." => {
                    if self.stack.len() > 1 {
                        self.stack.pop();
                    }
                }
                name => self.step(name, &mut rest, missing)?,
            }
        }
        self.stack.pop().ok_or(Errno::INVAL)
    }

    /// Enters one component, or replaces it by what a link says.
    fn step(&mut self, name: &str, rest: &mut VecDeque<String>, missing: Missing) -> rustix::io::Result<()> {
        let last = rest.is_empty();
        let entry = match self.enter(name) {
            Err(Errno::NOENT) => {
                self.make(name, if last { missing } else { Missing::Directory })?;
                self.enter(name)?
            }
            other => other?,
        };
        let stat = rustix::fs::fstat(&entry)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            self.stack.push(entry);
            return Ok(());
        }
        self.follow(&entry, last, rest)
    }

    fn follow(&mut self, link: &OwnedFd, last: bool, rest: &mut VecDeque<String>) -> rustix::io::Result<()> {
        self.followed += 1;
        let refused = self.links == Links::Never || (self.links == Links::NotLast && last);
        if refused || self.followed > MAX_LINKS {
            return Err(Errno::LOOP);
        }
        let target = rustix::fs::readlinkat(link, "", Vec::new())?;
        let target = target.to_str().map_err(|_| Errno::ILSEQ)?;
        if target.starts_with('/') {
            self.stack.truncate(1);
        }
        for name in components(target).into_iter().rev() {
            rest.push_front(name);
        }
        Ok(())
    }

    /// Opens a single component without following it. A magic link is never followed here: it
    /// reads as an ordinary link, whose text is resolved inside the root.
    fn enter(&self, name: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self.here()?, name, flags, Mode::empty())
    }

    fn make(&self, name: &str, missing: Missing) -> rustix::io::Result<()> {
        let result = match missing {
            Missing::Directory => rustix::fs::mkdirat(self.here()?, name, Mode::from_raw_mode(0o755)),
            Missing::File => {
                let flags =
                    OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
                rustix::fs::openat(self.here()?, name, flags, Mode::from_raw_mode(0o644)).map(drop)
            }
        };
        match result {
            Err(Errno::EXIST) => Ok(()),
            other => other,
        }
    }
}

fn components(path: &str) -> VecDeque<String> {
    path.split('/').filter(|c| !c.is_empty() && *c != ".").map(str::to_owned).collect()
}

/// fstat(2).
pub fn stat(fd: &OwnedFd) -> rustix::io::Result<Stat> {
    rustix::fs::fstat(fd)
}

/// Whether a descriptor is a directory.
pub fn is_directory(fd: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(FileType::from_raw_mode(stat(fd)?.st_mode) == FileType::Directory)
}

/// The flags of an empty path that names the descriptor itself.
pub const EMPTY_PATH: AtFlags = AtFlags::EMPTY_PATH;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn scratch() -> (std::path::PathBuf, Root) {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("oxrun-path-{}-{n}", std::process::id()));
        std::fs::create_dir_all(dir.join("root")).unwrap();
        let fd = crate::hostfs::open(dir.join("root"), OFlags::PATH).unwrap();
        (dir, Root::new(fd))
    }

    #[test]
    fn links_stay_inside_and_dangling_ones_are_made() {
        let (dir, root) = scratch();
        symlink("../../../outside/x", dir.join("root/up")).unwrap();
        symlink("/made/deep", dir.join("root/abs")).unwrap();
        root.find_or_create("/up/file", Missing::File, Links::Follow).unwrap();
        root.find_or_create("/abs", Missing::Directory, Links::Follow).unwrap();
        assert!(dir.join("root/outside/x/file").is_file());
        assert!(dir.join("root/made/deep").is_dir());
        assert!(!dir.join("outside").exists());
        assert!(dir.join("root/abs").is_symlink());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn links_are_refused_where_they_must_not_be() {
        let (dir, root) = scratch();
        symlink("/nowhere", dir.join("root/link")).unwrap();
        assert_eq!(
            root.find_or_create("/link", Missing::File, Links::NotLast).map(|f| f.created).ok(),
            Some(false),
            "an existing link opened without following is the link itself"
        );
        let error = root.find_or_create("/link/x", Missing::File, Links::Never).err();
        assert_eq!(error, Some(Errno::LOOP));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_loop_of_links_ends() {
        let (dir, root) = scratch();
        symlink("b", dir.join("root/a")).unwrap();
        symlink("a", dir.join("root/b")).unwrap();
        assert!(root.find_or_create("/a/x", Missing::File, Links::Follow).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
