//! `tmpcopyup`: what a directory of the image holds, copied into the tmpfs that covers it. Walks by
//! descriptors only and copies directories, files, links and other nodes with owner, mode and times.
//! Called by `mount::filesystem`.

use crate::error::Doing;
use crate::procfs::Procfs;
use anyhow::Result;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use std::ffi::CStr;
use std::os::fd::OwnedFd;

/// Copies all that is in `from` into `to`.
pub fn copy(procfs: &Procfs, from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, ".", flags, Mode::empty()).doing(|| "open the directory")?;
    let target = rustix::fs::openat(to, ".", flags, Mode::empty()).doing(|| "open the tmpfs")?;
    copy_directory(procfs, &source, &target)
}

fn copy_directory(procfs: &Procfs, from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let entries = rustix::fs::Dir::read_from(from).doing(|| "read the directory")?;
    for entry in entries {
        let entry = entry.doing(|| "read the directory")?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy_entry(procfs, from, to, name)?;
        }
    }
    Ok(())
}

fn copy_entry(procfs: &Procfs, from: &OwnedFd, to: &OwnedFd, name: &CStr) -> Result<()> {
    let shown = name.to_string_lossy();
    let stat =
        rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).doing(|| format!("look at `{shown}`"))?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let source =
                rustix::fs::openat(from, name, flags, Mode::empty()).doing(|| format!("open `{shown}`"))?;
            rustix::fs::mkdirat(to, name, mode).doing(|| format!("create `{shown}`"))?;
            let target =
                rustix::fs::openat(to, name, flags, Mode::empty()).doing(|| format!("open `{shown}`"))?;
            copy_directory(procfs, &source, &target)?;
            finish(&target, &stat, mode).doing(|| format!("set owner, mode and times of `{shown}`"))
        }
        FileType::Symlink => {
            let target =
                rustix::fs::readlinkat(from, name, Vec::new()).doing(|| format!("read `{shown}`"))?;
            rustix::fs::symlinkat(&target, to, name).doing(|| format!("create `{shown}`"))?;
            chown(to, name, &stat).doing(|| format!("set the owner of `{shown}`"))
        }
        FileType::RegularFile => {
            let file = copy_file(procfs, from, to, name).doing(|| format!("copy `{shown}`"))?;
            finish(&file, &stat, mode).doing(|| format!("set owner, mode and times of `{shown}`"))
        }
        kind => {
            rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev).doing(|| format!("create `{shown}`"))?;
            chown(to, name, &stat).doing(|| format!("set the owner of `{shown}`"))
        }
    }
}

/// R6: what is opened is the file that was looked at, and never a device that took its place.
fn copy_file(procfs: &Procfs, from: &OwnedFd, to: &OwnedFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::openat(from, name, look, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) != FileType::RegularFile {
        return Err(rustix::io::Errno::AGAIN);
    }
    let source = procfs.reopen(&found, OFlags::RDONLY)?;
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(to, name, write, Mode::from_raw_mode(0o600))?;
    while rustix::fs::sendfile(&target, &source, None, 1 << 20)? > 0 {}
    Ok(target)
}

/// Owner before mode, as a change of owner clears set-id bits; then the times.
fn finish(fd: &OwnedFd, stat: &Stat, mode: Mode) -> rustix::io::Result<()> {
    rustix::fs::fchown(fd, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(fd, mode)?;
    let time = |seconds: i64, nanos: u64| Timespec { tv_sec: seconds, tv_nsec: nanos as i64 };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    rustix::fs::futimens(fd, &times)
}

fn chown(directory: &OwnedFd, name: &CStr, stat: &Stat) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}
