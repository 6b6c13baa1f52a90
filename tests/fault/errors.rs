//! Errors that only a failing system call brings: each row of a table lets one call of one command have
//! another result, and says what must then be said. The sweep (`sweep`) makes every call fail and looks at
//! the form of what is said; here are the texts. The tables are in `errors_of_…`.
//!
//! A row has two lines: `running: state ID ! host pidfd_open = EMFILE` is what there is before, the command,
//! and whose call of which name gets which result (an error, a number, or KILL for the end of the process);
//! the line below is the text. What the call is about, or how that ends, and how many like it come before
//! may follow its name: `openat /state.json #1 = EACCES`, and `#1+` where all later ones go the same way.
//! `ID` and `DIR` are the sandbox's.

use crate::harness::{Sandbox, host_command, is_oxrun, note_skip, runtime, wait_until};
use crate::host;
use crate::tracer::{self, Action, At, Fault};
use libc::*;
use rustix::process::{Pid, WaitOptions, waitpid};
use std::fs;
use std::process::Command;
use std::time::Duration;

/// One error.
#[derive(Debug)]
struct Row<'a> {
    /// The first line.
    line: &'a str,
    before: &'a str,
    command: &'a str,
    role: &'a str,
    call: &'a str,
    object: &'a str,
    earlier: usize,
    all: bool,
    action: Action,
    says: &'a str,
}

impl<'a> Row<'a> {
    fn parse(line: &'a str, says: &'a str) -> Option<Row<'a>> {
        let (before, rest) = line.split_once(": ")?;
        let (command, fault) = rest.split_once(" ! ")?;
        let (place, result) = fault.rsplit_once(" = ")?;
        let (place, earlier) = place.split_once(" #").unwrap_or((place, "0"));
        let (role, call) = place.split_once(' ')?;
        let (call, object) = call.split_once(' ').unwrap_or((call, ""));
        let number = errno(result).map(|n| -i64::from(n)).or_else(|| result.parse().ok());
        let action = if result == "KILL" { Action::Kill } else { Action::Return(number?) };
        let all = earlier.ends_with('+');
        let (earlier, says) = (earlier.trim_end_matches('+').parse().ok()?, says.trim());
        Some(Row { line, before, command, role, call, object, earlier, all, action, says })
    }
}

fn errno(name: &str) -> Option<c_int> {
    let names = [
        ("EACCES", EACCES),
        ("EAGAIN", EAGAIN),
        ("ECHILD", ECHILD),
        ("EDQUOT", EDQUOT),
        ("EFAULT", EFAULT),
        ("EINVAL", EINVAL),
        ("EIO", EIO),
        ("EMFILE", EMFILE),
        ("ENOBUFS", ENOBUFS),
        ("ENOLCK", ENOLCK),
        ("ENODEV", ENODEV),
        ("ENOMEM", ENOMEM),
        ("ENOSPC", ENOSPC),
        ("EPERM", EPERM),
        ("EROFS", EROFS),
        ("ESRCH", ESRCH),
    ];
    names.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// Causes all errors of a table.
#[track_caller]
pub fn cause(table: &str) {
    cause_in(table, |_| {}, Sandbox::command);
}

/// The same with another container than the default one, and the command called in another way.
#[track_caller]
pub fn cause_in(table: &str, change: impl FnOnce(&mut Sandbox), way: fn(&Sandbox, &[&str]) -> Command) {
    if !is_oxrun() {
        return note_skip("texts of oxrun");
    }
    let mut t = Sandbox::new();
    t.args(&["payload", "sleep", "600"]);
    change(&mut t);
    t.write_config();
    let lines: Vec<&str> = table.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let rows: Vec<Row> = lines
        .chunks(2)
        .map(|two| Row::parse(two[0], two[1]).unwrap_or_else(|| panic!("no row: {two:?}")))
        .collect();
    let wrong: Vec<String> = rows.iter().filter_map(|row| one(&t, row, way)).collect();
    assert!(wrong.is_empty(), "{} of {} errors:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// What is wrong with one of them.
fn one(t: &Sandbox, row: &Row, way: fn(&Sandbox, &[&str]) -> Command) -> Option<String> {
    let init = prepare(t, row.before, way);
    let fill = |text: &str| text.replace("ID", &t.id).replace("DIR", &t.dir().display().to_string());
    let words: Vec<String> = row.command.split(' ').map(fill).collect();
    let command = way(t, &words.iter().map(String::as_str).collect::<Vec<_>>());
    let at =
        At::Call { name: row.call.to_string(), object: fill(row.object), before: row.earlier, all: row.all };
    let fault = Fault { role: row.role.to_string(), at, action: row.action };
    let waiting = init.filter(|_| row.before == "created");
    let (out, err) = (t.dir().join("traced.out"), t.dir().join("traced.err"));
    let trace =
        tracer::run(&command, runtime(), (&out, &err), waiting, Some(&fault), Duration::from_secs(60));
    let says = fill(row.says).replace('"', "\\\"");
    // `check` says on standard output what the host lacks.
    let printed = fs::read_to_string(&out).unwrap_or_default();
    let said = trace.stderr.lines().chain(printed.lines());
    let lines = said.filter(|line| line.contains(&says)).count();
    let errors = trace.stderr.lines().filter(|line| !line.contains("level=warning")).count();
    let problem = match lines {
        _ if trace.hung => "it hangs".to_string(),
        _ if trace.met.is_none() => format!("the call was not made: {}", trace.stderr.trim_end()),
        1 if errors <= 1 => String::new(),
        _ => format!("said: {}", trace.stderr.trim_end()),
    };
    // A child that the runtime did not wait for keeps a pid namespace from its end.
    let own = |pid: &i32| host::process_state(*pid) == Some('Z');
    trace.made.iter().copied().filter(own).for_each(reap);
    t.spawn(way(t, &["delete", "--force", &t.id])).wait().ok();
    trace.left.iter().copied().chain(init).for_each(reap);
    (!problem.is_empty()).then(|| format!("{}\n    {}\n  {problem}", row.line, row.says))
}

/// The container's first process, where there is one.
fn prepare(t: &Sandbox, before: &str, way: fn(&Sandbox, &[&str]) -> Command) -> Option<i32> {
    match before {
        "nothing" => return None,
        "broken" => {
            let directory = t.state_dir().join(&t.id);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("state.json"), "nonsense").unwrap();
            host_command("chmod", &["-R", "go=", &t.state_dir().display().to_string()]).ok();
            return None;
        }
        "created" | "running" | "stopped" => {}
        _ => panic!("nothing, broken, created, running or stopped, and not {before}"),
    }
    let pid_file = t.path("pid");
    let call = |words: &[&str]| t.spawn(way(t, words)).wait().ok();
    call(&["create", "--pid-file", &pid_file, &t.id]);
    let init = fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    if before == "created" {
        // `create` ends a moment before init has come to wait for `start`.
        wait_until("init to wait", || {
            let call = fs::read_to_string(format!("/proc/{init}/syscall")).unwrap_or_default();
            call.split(' ').next() == Some(SYS_accept4.to_string().as_str())
        });
    } else {
        call(&["start", &t.id]);
    }
    if before == "stopped" {
        call(&["kill", &t.id, "KILL"]);
        wait_until("the container's end", || host::process_state(init).is_none_or(|state| state == 'Z'));
    }
    Some(init)
}

/// The parent of what the runtime leaves is this process.
fn reap(pid: i32) {
    for _ in 0..1000 {
        match waitpid(Pid::from_raw(pid), WaitOptions::NOHANG) {
            Ok(None) => std::thread::sleep(Duration::from_millis(1)),
            _ => return,
        }
    }
}
