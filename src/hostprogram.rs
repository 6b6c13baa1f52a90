//! Running a program of the host for what it prints, with nothing on its standard input: newuidmap and
//! newgidmap for the id maps of an ordinary user, ps(1) for `ps`. What it prints goes into memory, so that
//! there is nothing to wait for but its end.

use crate::sys::process::{Exit, wait_pidfd};
use crate::sys::{signal, spawn};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::ffi::CString;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How a program ended and what it printed.
#[derive(Debug)]
pub struct Output {
    /// Whether it ended with exit status 0.
    pub success: bool,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// Runs `path` with arguments (the name of the program is put before them) and an environment, to its end.
/// Fails when it cannot be executed.
pub fn output(
    path: &Path,
    arguments: impl IntoIterator<Item = CString>,
    env: &[CString],
) -> Result<Output, Errno> {
    // A disposition inherited as "ignored" would make the kernel throw the exit status away.
    signal::set_default(libc::SIGCHLD)?;
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
    let args: Vec<CString> = [path.clone()].into_iter().chain(arguments).collect();
    let (nothing, _) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stdout, stderr) = (memory()?, memory()?);
    let child = spawn::start(&spawn::Program {
        path: &path,
        args: &args,
        env,
        cwd: None,
        stdio: [nothing.as_fd(), stdout.as_fd(), stderr.as_fd()],
        ends_with_caller: true,
    })?;
    let exit = wait_pidfd(&child.pidfd).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    if let Some(refusal) = child.refusal() {
        return Err(refusal.errno);
    }
    Ok(Output { success: exit == Exit::Code(0), stdout: text(stdout), stderr: text(stderr) })
}

fn memory() -> Result<OwnedFd, Errno> {
    rustix::fs::memfd_create("output", MemfdFlags::CLOEXEC)
}

fn text(file: OwnedFd) -> String {
    let (mut file, mut bytes) = (std::fs::File::from(file), Vec::new());
    // It is memory of this process.
    let _ = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_prints_and_how_it_ends() {
        let shell = |script: &str| {
            let arguments = ["-c", script].map(|text| CString::new(text).unwrap());
            output(Path::new("/bin/sh"), arguments, &[c"A=b".into()]).unwrap()
        };
        let said = shell("echo $A; echo err >&2; cat; exit 3");
        assert!(!said.success && said.stdout == "b\n" && said.stderr == "err\n", "{said:?}");
        assert!(shell("").success && !shell("kill -9 $$").success);
        assert_eq!(shell("yes | head -c 1000000").stdout.len(), 1_000_000);
        assert_eq!(output(Path::new("/no/such"), [], &[]).unwrap_err(), Errno::NOENT);
    }
}
