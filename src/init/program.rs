//! Finding the program to execute, inside the container and with its final identity, so that
//! `create` fails for what cannot be run. Called by init before it says that it is ready.

use crate::error::why;
use anyhow::{Result, anyhow, bail};
use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;
use std::ffi::{CStr, CString};

/// Where programs are looked for when the environment has no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The path to execute for the first argument: itself when it has a slash, else the first match in
/// the PATH of the container's environment.
pub fn find(name: &CStr, env: &[CString]) -> Result<CString> {
    let bytes = name.to_bytes();
    let shown = name.to_string_lossy();
    if bytes.contains(&b'/') {
        executable(name).map_err(|error| anyhow!("exec `{shown}`: {}", refused(error)))?;
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
    if let Some((candidate, error)) = denied {
        bail!("exec `{}`: {}", candidate.to_string_lossy(), refused(error));
    }
    bail!(
        "exec `{shown}`: executable file not found in $PATH ({}): check process.args and PATH in process.env",
        String::from_utf8_lossy(path)
    )
}

fn join(directory: &[u8], name: &[u8]) -> Result<CString> {
    let directory = if directory.is_empty() { b"." } else { directory };
    Ok(CString::new([directory, b"/", name].concat())?)
}

/// Whether the process may execute a file, by its effective ids and capabilities.
fn executable(path: &CStr) -> rustix::io::Result<()> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::ACCESS);
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

fn refused(error: Errno) -> String {
    match error {
        Errno::ACCESS => "permission denied (not an executable file for this user)".to_string(),
        Errno::NOENT => "no such file or directory".to_string(),
        other => why(&other.into()),
    }
}
