//! `ps`: the processes of a container by its cgroup, as numbers or as the lines of the host's ps(1).

use super::delete::cgroup_of;
use super::hooks;
use super::statedir::StateDir;
use crate::cgroup::Location;
use crate::error::{Context, Doing, bail};
use crate::namespaces::HELPER_PATH;
use crate::{hostprogram, probe};
use anyhow::Result;
use rustix::io::Errno;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The process ids, ascending, in the runtime's pid namespace.
pub fn pids(states: &StateDir, id: &str) -> Result<Vec<i32>> {
    let entry = states.open_entry(id)?;
    let state = entry.state()?;
    let cgroup = cgroup_of(&state)?;
    if cgroup.location() != Location::None {
        return cgroup.processes();
    }
    // Without a cgroup of its own only the first process is known.
    let alive = entry.status(&state)?.1.is_some();
    Ok(state.init.iter().filter(|_| alive).map(|init| init.pid).collect())
}

/// The header of ps(1) and the lines of the given processes. `arguments` are for ps(1); none is -ef.
pub fn table(pids: &[i32], arguments: &[OsString]) -> Result<String> {
    let default = [OsString::from("-ef")];
    let arguments = if arguments.is_empty() { &default } else { arguments };
    let arguments: Vec<CString> =
        arguments.iter().map(|word| CString::new(word.as_bytes())).collect::<Result<_, _>>()?;
    // R16: a program of the host, for the caller, with its rights and its environment.
    let path = std::env::var_os("PATH").unwrap_or_else(|| HELPER_PATH.into());
    let output = probe::in_path(&path, Path::new("ps"))
        .ok_or(Errno::NOENT)
        .and_then(|ps| hostprogram::output(&ps, arguments, &hooks::own_environment()))
        .doing(|| "run ps(1) of the host")?;
    if !output.success && output.stdout.is_empty() {
        bail!("run ps(1) of the host: {}", output.stderr.lines().next().unwrap_or("it failed"));
    }
    filter(&output.stdout, pids)
}

fn filter(text: &str, pids: &[i32]) -> Result<String> {
    let (header, lines) = text.split_once('\n').context("ps(1) printed nothing")?;
    let column = header.split_whitespace().position(|title| title == "PID");
    let column = column.context("the output of ps(1) has no column PID: add pid to its format")?;
    let wanted = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    let lines = lines.lines().filter(wanted);
    Ok([header].into_iter().chain(lines).flat_map(|line| [line, "\n"]).collect())
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn lines_are_chosen_by_the_column_of_that_title() {
        let text = "UID  PID PPID CMD\nroot 10 12 a 11\nroot 11 10 b\nroot 12 1 c\n";
        assert_eq!(filter(text, &[11, 99]).unwrap(), "UID  PID PPID CMD\nroot 11 10 b\n");
        assert_eq!(filter(text, &[]).unwrap(), "UID  PID PPID CMD\n");
        assert!(filter("UID CMD\nx y\n", &[1]).unwrap_err().to_string().contains("no column PID"));
    }
}
