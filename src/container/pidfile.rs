//! The pid file: decimal digits and nothing else, complete or not there (clients read it raw). The
//! directory is opened before anything is made, so that a wrong path fails early. Called by
//! `create` and `exec`.

use crate::error::{Context, Doing};
use anyhow::Result;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A pid file that can be written.
#[derive(Debug)]
pub struct PidFile {
    directory: OwnedFd,
    name: OsString,
    shown: PathBuf,
}

impl PidFile {
    /// Opens the directory of `path` and sees that a file can be made there.
    pub fn prepare(path: &Path) -> Result<PidFile> {
        let doing = || format!("write pid file `{}`", path.display());
        let name = path.file_name().with_context(|| format!("{}: it names no file", doing()))?.to_owned();
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, parent, flags, Mode::empty()).doing(doing)?;
        let file = PidFile { directory, name, shown: path.to_path_buf() };
        file.create().doing(doing)?;
        rustix::fs::unlinkat(&file.directory, file.temporary(), AtFlags::empty()).doing(doing)?;
        Ok(file)
    }

    fn temporary(&self) -> OsString {
        let mut name = OsString::from(".");
        name.push(&self.name);
        name.push(format!(".{}", std::process::id()));
        name
    }

    fn create(&self) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.directory, self.temporary(), flags, Mode::from_raw_mode(0o644))
    }

    /// Takes a file that was written away again.
    pub fn remove(&self) {
        // What failed after it was written is told.
        let _ = rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty());
    }

    /// Writes the pid beside the file and renames it there.
    pub fn write(&self, pid: i32) -> Result<()> {
        let write = || -> rustix::io::Result<()> {
            let file = self.create()?;
            rustix::io::write(&file, pid.to_string().as_bytes())?;
            rustix::fs::renameat(&self.directory, self.temporary(), &self.directory, &self.name)
        };
        write()
            .inspect_err(|_| {
                // Only what this process made is removed; it may not be there.
                let _ = rustix::fs::unlinkat(&self.directory, self.temporary(), AtFlags::empty());
            })
            .doing(|| format!("write pid file `{}`", self.shown.display()))
    }
}
