//! A terminal for commands that want one.

use super::spawn::Stdio;
use std::os::fd::RawFd;

/// Both ends; they live as long as this process.
pub struct Terminal {
    master: RawFd,
    slave: RawFd,
}

impl Terminal {
    /// A new one.
    pub fn new() -> Result<Terminal, String> {
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        // SAFETY: plain numbers; the name lives as long as it is used, in this one-threaded process.
        let (master, slave) = unsafe {
            let master = libc::posix_openpt(flags | libc::O_NONBLOCK);
            libc::grantpt(master);
            libc::unlockpt(master);
            let name = libc::ptsname(master);
            (master, if name.is_null() { -1 } else { libc::open(name, flags) })
        };
        if slave < 0 {
            return Err(format!("open a terminal: {}", std::io::Error::last_os_error()));
        }
        Ok(Terminal { master, slave })
    }

    /// For a command's input, output and errors.
    pub fn stdio(&self) -> Stdio {
        Stdio([self.slave; 3])
    }

    /// What was printed since it was last asked.
    pub fn printed(&self) -> String {
        let mut all = Vec::new();
        let mut buffer = [0u8; 4096];
        loop {
            // SAFETY: the buffer is as long as is said; the master does not block.
            let length = unsafe { libc::read(self.master, buffer.as_mut_ptr().cast(), buffer.len()) };
            if length <= 0 {
                return String::from_utf8_lossy(&all).trim().to_string();
            }
            all.extend_from_slice(&buffer[..length as usize]);
        }
    }
}
