//! The one terminal operation that needs raw descriptors: putting a terminal on 0, 1 and 2 of the
//! calling process. Called by init when the process has a terminal.
#![allow(unsafe_code)]

use rustix::io::Errno;
use std::os::fd::{AsRawFd, OwnedFd};

/// Makes the calling process the leader of a new session whose terminal is `slave`, and puts it on
/// descriptors 0, 1 and 2. `slave` must be above 2.
pub fn attach(slave: OwnedFd) -> Result<(), Errno> {
    // A process that already leads a session keeps it.
    match rustix::process::setsid() {
        Ok(_) | Err(Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    rustix::process::ioctl_tiocsctty(&slave)?;
    connect(slave)
}

/// Puts a terminal on descriptors 0, 1 and 2, whatever the session. `slave` must be above 2.
pub fn connect(slave: OwnedFd) -> Result<(), Errno> {
    for target in 0..=2 {
        // SAFETY: 0 to 2 are open in every process of the runtime (std sees to it) and are owned by
        // nobody; dup3 replaces them as a whole.
        if unsafe { libc::dup3(slave.as_raw_fd(), target, 0) } < 0 {
            // SAFETY: the location is this thread's own.
            return Err(Errno::from_raw_os_error(unsafe { *libc::__errno_location() }));
        }
    }
    Ok(())
}
