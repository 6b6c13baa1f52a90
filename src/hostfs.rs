//! Files of the host, by path: those of the system and those that the caller names. R1: this is the one
//! door to path calls; what a container can change is never opened here but beneath `rootfs::path::Root`.
//! clippy.toml refuses std::fs and the path calls of rustix everywhere else.
#![allow(clippy::disallowed_methods, reason = "R1: paths of the host alone")]

use rustix::fs::{Mode, OFlags, Stat};
use rustix::path::Arg;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// open(2), always close-on-exec (R8); makes nothing.
pub fn open(path: impl Arg, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
}

/// open(2) that makes a missing file with a mode.
pub fn open_or_create(path: impl Arg, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, flags | OFlags::CREATE | OFlags::CLOEXEC, mode)
}

/// A file to read from.
pub fn file(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// The bytes of a file; in as few calls as files of /proc take, which do not know their size.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let file = open(path.as_ref(), OFlags::RDONLY)?;
    let mut content = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        match rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut buffer))? {
            0 => return Ok(content),
            length => content.extend_from_slice(buffer.get(..length).unwrap_or_default()),
        }
    }
}

/// The text of a file.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Writes to a file that is there, all with one write(2).
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let file = open(path, OFlags::WRONLY)?;
    let written = rustix::io::write(&file, text.as_bytes())?;
    if written == text.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// The names in a directory, for messages: those that are no text are left out.
pub fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = std::fs::read_dir(directory)?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// Whether something is there. An answer for people and for choices among the host's own files; what is
/// then used is opened and checked.
pub fn exists(path: &Path) -> bool {
    path.exists()
}

/// Whether a directory is there; see `exists`.
pub fn is_directory(path: &Path) -> bool {
    path.is_dir()
}

/// stat(2).
pub fn stat(path: impl Arg) -> rustix::io::Result<Stat> {
    rustix::fs::stat(path)
}

/// f_type of statfs(2).
pub fn filesystem_type(path: impl Arg) -> rustix::io::Result<u64> {
    rustix::fs::statfs(path).map(|s| s.f_type.cast_unsigned())
}

/// The mount that a directory is on (STATX_MNT_ID, Linux 5.8).
pub fn mount_id(path: &Path) -> rustix::io::Result<u64> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID).map(|stat| stat.stx_mnt_id)
}

/// The path without links and dots.
pub fn canonical(path: &Path) -> io::Result<PathBuf> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let found = crate::sys::process::real_path(&path)?;
    Ok(std::ffi::OsString::from_vec(found.into_bytes()).into())
}

/// mkdir(2).
pub fn make_directory(path: &Path, mode: Mode) -> rustix::io::Result<()> {
    rustix::fs::mkdir(path, mode)
}

/// rmdir(2).
pub fn remove_directory(path: &Path) -> rustix::io::Result<()> {
    rustix::fs::rmdir(path)
}
