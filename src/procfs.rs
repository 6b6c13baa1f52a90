//! The one door to /proc (security R3): a descriptor of the host's procfs, opened before anything of
//! a container exists and checked to be procfs and its root. Files are opened beneath it without
//! crossing a mount or a symbolic link, so neither a container nor a mount over a file can redirect
//! a write. Used by the host side for id maps and oom_score_adj and by init for labels and sysctls.

use crate::error::{Doing, bail};
use anyhow::Result;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::os::fd::OwnedFd;

/// f_type of procfs (statfs(2)).
pub const PROC_SUPER_MAGIC: u64 = 0x9fa0;
/// The inode number of a procfs root.
const PROC_ROOT_INODE: u64 = 1;

/// A checked procfs root.
#[derive(Debug)]
pub struct Procfs(OwnedFd);

impl Procfs {
    /// Opens and checks the host's /proc.
    pub fn open() -> Result<Procfs> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let fd = crate::hostfs::open("/proc", flags).doing(|| "open /proc")?;
        let magic = rustix::fs::fstatfs(&fd).doing(|| "check /proc")?.f_type as u64;
        let inode = rustix::fs::fstat(&fd).doing(|| "check /proc")?.st_ino;
        if magic != PROC_SUPER_MAGIC || inode != PROC_ROOT_INODE {
            bail!("/proc of the host is not a procfs root: mount procfs there");
        }
        Ok(Procfs(fd))
    }

    /// The descriptor of the root.
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Opens a file below the root, never through a link or another mount.
    pub fn file(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_XDEV;
        rustix::fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    /// Writes a whole value with one write(2).
    pub fn write(&self, path: &str, value: &[u8]) -> rustix::io::Result<()> {
        let file = self.file(path, OFlags::WRONLY | OFlags::NOFOLLOW)?;
        let written = rustix::io::write(&file, value)?;
        if written == value.len() { Ok(()) } else { Err(rustix::io::Errno::IO) }
    }

    /// Reads a small file whole.
    pub fn read(&self, path: &str) -> rustix::io::Result<Vec<u8>> {
        let file = self.file(path, OFlags::RDONLY | OFlags::NOFOLLOW)?;
        let mut content = Vec::new();
        let mut buffer = [0u8; 4096];
        loop {
            match rustix::io::read(&file, &mut buffer)? {
                0 => return Ok(content),
                n => content.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            }
        }
    }

    /// Opens what an O_PATH descriptor was found to be (R6): the path that led to it might lead to a
    /// device by now. The one magic link that is followed is this process's own.
    pub fn reopen(&self, fd: &OwnedFd, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        use std::os::fd::AsRawFd;
        let own = rustix::fs::readlinkat(&self.0, "self", Vec::new())?;
        let directory = format!("{}/fd", own.to_string_lossy());
        let directory = self.file(&directory, OFlags::PATH | OFlags::DIRECTORY)?;
        let name = fd.as_raw_fd().to_string();
        rustix::fs::openat(&directory, name, flags | OFlags::CLOEXEC, Mode::empty())
    }

    /// The directory name of the calling process in this procfs (`1234`): its pid as the procfs
    /// sees it, which is not getpid() inside a pid namespace.
    pub fn own_name(&self) -> Result<String> {
        let name = rustix::fs::readlinkat(&self.0, "self", Vec::new()).doing(|| "read /proc/self")?;
        Ok(name.to_string_lossy().into_owned())
    }

    /// The path in the caller's mount namespace of what a descriptor is open on, for messages and
    /// checks only.
    pub fn path_of(&self, fd: &OwnedFd) -> Result<String> {
        use std::os::fd::AsRawFd;
        let link = format!("{}/fd/{}", self.own_name()?, fd.as_raw_fd());
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let link = self.file(&link, flags).doing(|| "find the path of a descriptor")?;
        let path = rustix::fs::readlinkat(&link, "", Vec::new()).doing(|| "read the path of a descriptor")?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// Makes the directory of the caller's own descriptors the working directory, so that `N`
    /// names descriptor N for the calls that have no descriptor form.
    pub fn enter_own_fds(&self) -> Result<()> {
        let directory = format!("{}/fd", self.own_name()?);
        let fd =
            self.file(&directory, OFlags::PATH | OFlags::DIRECTORY).doing(|| "open the own descriptors")?;
        rustix::process::fchdir(&fd).doing(|| "enter the own descriptors")
    }
}
