//! What has to be so before the program does anything, called by its entry point. The binary has no
//! start-up of Rust's standard library, which reads /proc/self/maps and sets up a second stack to
//! say in nicer words that the first one ran over: 20 system calls and 100 KB that no command needs.

use super::signal;
use std::io;

/// Sees that descriptors 0 to 2 are open, so that nothing which is opened later is taken for standard
/// output, and that writing to a closed pipe is an error and not the end of the process.
pub fn prepare() -> io::Result<()> {
    for fd in 0..=2 {
        // SAFETY: plain integers; nothing is changed.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0 {
            continue;
        }
        // SAFETY: a C string. The descriptor is the lowest free one and stays open for good.
        unsafe { super::check(libc::open(c"/dev/null".as_ptr(), libc::O_RDWR).into())? };
    }
    signal::ignore(libc::SIGPIPE)?;
    Ok(())
}
