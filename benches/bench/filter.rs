//! The finished seccomp filter of a process, read back from the kernel: the floor loads the same
//! instructions that oxrun made of Docker's profile.

use std::io::Error;
use std::path::Path;

/// ptrace(2); not in the C library's headers on every architecture.
const GET_FILTER: libc::c_uint = 0x420c;

/// Writes the last filter of `pid`, a child of this process, to a file. Needs CAP_SYS_ADMIN and a
/// kernel with CONFIG_CHECKPOINT_RESTORE.
pub fn save(pid: i32, path: &Path) -> Result<(), String> {
    let code = read(pid).map_err(|error| format!("read the filter of {pid}: {error}"))?;
    std::fs::write(path, code).map_err(|error| format!("write {}: {error}", path.display()))
}

fn read(pid: i32) -> Result<Vec<u8>, Error> {
    let mut code = vec![0u8; 4096 * 8];
    // SAFETY: the process is a child; the buffer has room for the longest filter (4096 instructions),
    // and the status lives during the calls.
    let length = unsafe {
        let mut status = 0;
        check(libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0))?;
        check(libc::ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0))?;
        check(libc::waitpid(pid, &raw mut status, 0).into())?;
        let length = check(libc::ptrace(GET_FILTER, pid, 0, code.as_mut_ptr()));
        check(libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0))?;
        length?
    };
    code.truncate(length as usize * 8);
    Ok(code)
}

fn check(result: libc::c_long) -> Result<libc::c_long, Error> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}
