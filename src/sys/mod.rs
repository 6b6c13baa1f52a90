//! The unsafe fence (R24): thin wrappers around system calls that rustix lacks, one topic per file. Each
//! wrapper turns -1 into an error and does nothing else. Nothing outside this module is unsafe.

#![allow(unsafe_code)]

pub mod bpf;
pub mod clone;
pub mod exe;
pub mod leave;
pub mod memory;
pub mod mount;
pub mod netlink;
pub mod process;
pub mod pty;
pub mod signal;
pub mod spawn;
pub mod start;
#[cfg(test)]
mod tests;

use std::io;

/// Turns the return value of a raw system call into a result.
fn check(value: libc::c_long) -> io::Result<libc::c_long> {
    if value < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}
