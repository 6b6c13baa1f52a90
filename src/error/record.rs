//! The record of errors that tests meet: a build with debug assertions appends the places of every error
//! that is reported to the file that OXRUN_ERRORS_SEEN names, where it is there. `make errors` reads it. In
//! a release these functions do nothing.

/// Opens the record: the process may enter namespaces in which the path leads elsewhere. Called first.
pub fn open() {
    #[cfg(debug_assertions)]
    file::open();
}

/// An error was made. Unit tests count that as seen by a test.
pub fn seen(_sites: &str) {
    #[cfg(test)]
    reported(_sites);
}

/// An error was reported; its places in the source, with blanks between them.
pub fn reported(_sites: &str) {
    #[cfg(debug_assertions)]
    file::append(_sites);
}

#[cfg(debug_assertions)]
mod file {
    use rustix::fs::{OFlags, fstat};
    use std::os::fd::OwnedFd;
    use std::path::PathBuf;
    use std::sync::OnceLock;

    /// The open record and its inode: a process of the container closes what it inherits, and the number
    /// may be another file then.
    static RECORD: OnceLock<Option<(OwnedFd, u64)>> = OnceLock::new();

    /// Out of the way of descriptors that are handed to a container by their number.
    const HIGH: i32 = 200;

    fn find() -> Option<OwnedFd> {
        let path = PathBuf::from(std::env::var_os("OXRUN_ERRORS_SEEN")?);
        let file = crate::hostfs::open(path, OFlags::WRONLY | OFlags::APPEND).ok()?;
        Some(rustix::io::fcntl_dupfd_cloexec(&file, HIGH).unwrap_or(file))
    }

    pub fn open() -> Option<&'static OwnedFd> {
        let record = RECORD.get_or_init(|| {
            let file = find()?;
            let inode = fstat(&file).ok()?.st_ino;
            Some((file, inode))
        });
        let (file, inode) = record.as_ref()?;
        fstat(file).is_ok_and(|stat| stat.st_ino == *inode).then_some(file)
    }

    pub fn append(sites: &str) {
        let lines: String = sites.split(' ').map(|site| format!("{site}\n")).collect();
        let write = |file: &OwnedFd| rustix::io::write(file, lines.as_bytes());
        // Nothing depends on it. A process that closes what it inherits may still find the file by its path.
        let _ = match open() {
            Some(file) => write(file).ok(),
            None => find().as_ref().and_then(|file| write(file).ok()),
        };
    }
}
