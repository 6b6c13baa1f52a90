//! Finding the program to execute, inside the container and with its final identity, so that
//! `create` fails for what cannot be run. Called by init before it says that it is ready.

use super::refusal::{self, View};
use crate::error::Failed;
use crate::rootfs::path::Root;
use anyhow::Result;
use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;
use std::ffi::{CStr, CString};

/// Where programs are looked for when the environment has no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The path to execute for the first argument: itself when it has a slash, else the first match in
/// the PATH of the container's environment.
pub fn find(root: &Root, name: &CStr, env: &[CString]) -> Result<CString> {
    let bytes = name.to_bytes();
    if bytes.contains(&b'/') {
        executable(name).map_err(|errno| refused(root, name, errno))?;
        return Ok(name.to_owned());
    }
    let path = env.iter().find_map(|e| e.to_bytes().strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
    let mut denied = None;
    for directory in path.split(|b| *b == b':') {
        let candidate = join(directory, bytes)?;
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => denied = Some((candidate, error)),
        }
    }
    match denied {
        Some((candidate, errno)) => Err(refused(root, &candidate, errno).into()),
        None => Err(not_in_path(root, &name.to_string_lossy(), path).into()),
    }
}

fn not_in_path(root: &Root, name: &str, path: &[u8]) -> Failed {
    let hint = match refusal::near_in_path(&View::own(root), path, name) {
        Some(near) => format!("there is `{near}`"),
        None if name.contains(char::is_whitespace) => {
            "it has a blank: each argument is a string of its own in process.args".to_string()
        }
        None => "check process.args and PATH in process.env".to_string(),
    };
    let path = String::from_utf8_lossy(path);
    let reason = format!("executable file not found in $PATH ({path}): {hint}");
    Failed::because(format!("exec `{name}`"), reason, Errno::NOENT)
}

/// The error of a program that may not be executed.
fn refused(root: &Root, program: &CStr, errno: Errno) -> Failed {
    let failed = Failed::new(format!("exec `{}`", program.to_string_lossy()), errno);
    failed.with_note(refusal::explain(&View::own(root), program.to_bytes(), errno))
}

/// The error of execve(2); without a view nothing can be looked at.
pub fn not_executed(
    program: &str,
    args: &[CString],
    env: &[CString],
    errno: Errno,
    view: Option<&View>,
) -> Failed {
    let failed = Failed::new(format!("exec `{program}`"), errno);
    match view {
        _ if errno == Errno::TOOBIG => failed.with_note(Some(refusal::too_long(args, env))),
        Some(view) => failed.with_note(refusal::explain(view, program.as_bytes(), errno)),
        None => failed,
    }
}

fn join(directory: &[u8], name: &[u8]) -> Result<CString> {
    let directory = if directory.is_empty() { b"." } else { directory };
    Ok(CString::new([directory, b"/", name].concat())?)
}

/// Whether the process may execute a file, by its effective ids and capabilities.
#[expect(clippy::disallowed_methods, reason = "R1: an answer for the caller; execve finds the program anew")]
fn executable(path: &CStr) -> rustix::io::Result<()> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::ACCESS);
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}
