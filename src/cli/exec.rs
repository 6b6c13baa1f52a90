//! `exec` as it was asked for: a process given by a file, or by options and a command line.

use super::command::Command;
use super::parse::Matches;
use super::quantity;
use crate::error::{Context, anyhow, bail};
use anyhow::Result;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// `exec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// Which container.
    pub id: String,
    /// What runs.
    pub process: Process,
    /// Give it a terminal; with a process file, its `terminal` asks for one too.
    pub tty: bool,
    /// Do not wait for the process.
    pub detach: bool,
    /// Unix socket that gets the terminal.
    pub console_socket: Option<PathBuf>,
    /// File that gets the process id.
    pub pid_file: Option<PathBuf>,
    /// Unix socket that gets a pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// Descriptors handed over, from 3 on (after those of LISTEN_FDS).
    pub preserve_fds: u32,
    /// Cgroups below the container's to run in; none is the container's own.
    pub cgroups: Vec<SubCgroup>,
    /// Wait in a paused container instead of failing.
    pub ignore_paused: bool,
}

/// Where the process comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Process {
    /// A file with the `process` object of config.json.
    File(PathBuf),
    /// The container's `process`, changed by options.
    Options(Options),
}

/// What options change; what is absent is as in config.json.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The program and its arguments; at least one.
    pub args: Vec<OsString>,
    /// `NAME=VALUE`, added to the environment.
    pub env: Vec<OsString>,
    /// Working directory in the container.
    pub cwd: Option<PathBuf>,
    /// User, and group where given.
    pub user: Option<(u32, Option<u32>)>,
    /// Groups, added.
    pub additional_gids: Vec<u32>,
    /// Capability names, added.
    pub capabilities: Vec<String>,
    /// No new privileges.
    pub no_new_privileges: Option<bool>,
    /// AppArmor profile.
    pub apparmor: Option<String>,
    /// SELinux label.
    pub process_label: Option<String>,
}

/// `[CONTROLLER[,CONTROLLER]:]PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubCgroup {
    /// Hierarchies it is meant for; empty is all.
    pub controllers: Vec<String>,
    /// Below the container's cgroup, without `..`.
    pub path: String,
}

/// Options that say what a process file says.
const PROCESS_OPTIONS: [&str; 8] =
    ["env", "cwd", "user", "additional-gids", "cap", "no-new-privs", "apparmor", "process-label"];

/// From the arguments.
pub fn build(matches: &Matches) -> Result<Command> {
    let exec = Exec {
        id: matches.id()?,
        process: process(matches)?,
        tty: matches.switch("tty"),
        detach: matches.switch("detach"),
        console_socket: matches.path("console-socket")?,
        pid_file: matches.path("pid-file")?,
        pidfd_socket: matches.path("pidfd-socket")?,
        preserve_fds: matches.number("preserve-fds")?.unwrap_or(0),
        cgroups: matches.texts("cgroup")?.iter().map(|text| sub_cgroup(text)).collect::<Result<_>>()?,
        ignore_paused: matches.switch("ignore-paused"),
    };
    Ok(Command::Exec(exec))
}

fn process(matches: &Matches) -> Result<Process> {
    let Some(file) = matches.path("process")? else {
        return Ok(Process::Options(options(matches)?));
    };
    if let Some(option) = PROCESS_OPTIONS.iter().find(|option| matches.last(option).is_some()) {
        bail!("`--{option}` and `--process` exclude each other: say it in the process file");
    }
    if let Some(extra) = matches.arguments_after_id().first() {
        bail!("`{}` and `--process` exclude each other: the process file names the program", extra.display());
    }
    Ok(Process::File(file))
}

fn options(matches: &Matches) -> Result<Options> {
    let args = matches.arguments_after_id().to_vec();
    if args.is_empty() {
        bail!("`oxrun exec` needs a command after the container's id, or `--process FILE`");
    }
    Ok(Options {
        args,
        env: matches.all("env").map(|variable| environment(variable.to_owned())).collect::<Result<_>>()?,
        cwd: matches.path("cwd")?,
        user: matches.parsed("user", user)?,
        additional_gids: groups(matches)?,
        capabilities: matches.texts("cap")?,
        no_new_privileges: matches.last("no-new-privs").map(|_| matches.switch("no-new-privs")),
        apparmor: matches.text("apparmor")?.map(str::to_owned),
        process_label: matches.text("process-label")?.map(str::to_owned),
    })
}

fn environment(variable: OsString) -> Result<OsString> {
    match variable.as_bytes().iter().position(|b| *b == b'=') {
        Some(1..) => Ok(variable),
        _ => Err(anyhow!("read `--env`: `{}` is not NAME=VALUE", variable.display())),
    }
}

/// `UID` or `UID:GID`.
fn user(text: &str) -> Result<(u32, Option<u32>)> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid)),
        None => (text, None),
    };
    Ok((quantity::id(uid)?, gid.map(quantity::id).transpose()?))
}

fn groups(matches: &Matches) -> Result<Vec<u32>> {
    let texts = matches.texts("additional-gids")?;
    texts.iter().map(|text| quantity::id(text).context("read `--additional-gids`")).collect()
}

fn sub_cgroup(text: &str) -> Result<SubCgroup> {
    let (controllers, path) = match text.split_once(':') {
        Some((controllers, path)) => (controllers.split(',').map(str::to_owned).collect(), path),
        None => (Vec::new(), text),
    };
    if controllers.iter().any(String::is_empty) {
        bail!("read `--cgroup`: empty controller in `{text}`: use CONTROLLER:PATH or PATH");
    }
    if path.is_empty() || path.split('/').any(|part| part == "..") {
        bail!("read `--cgroup`: bad sub cgroup path `{path}`: use one below the container's, without `..`");
    }
    Ok(SubCgroup { controllers, path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    fn exec(arguments: &[&str]) -> Result<Exec> {
        let arguments = ["exec"].iter().chain(arguments).map(OsString::from);
        match parse(arguments)?.command? {
            Command::Exec(exec) => Ok(exec),
            other => panic!("{other:?}"),
        }
    }

    fn with_options(arguments: &[&str]) -> Options {
        match exec(arguments).unwrap().process {
            Process::Options(options) => options,
            Process::File(file) => panic!("{}", file.display()),
        }
    }

    #[test]
    fn as_engines_call() {
        let shim = exec(&["--process", "/tmp/p", "--detach", "--pid-file", "/b/e.pid", "c"]).unwrap();
        assert_eq!(shim.process, Process::File("/tmp/p".into()));
        assert!(shim.detach && !shim.tty && shim.pid_file == Some("/b/e.pid".into()));
        let monitor = exec(&[
            "--pid-file",
            "/p",
            "--process",
            "/f",
            "--detach",
            "--tty",
            "--console-socket",
            "/s",
            "c",
        ]);
        assert!(monitor.unwrap().tty);
    }

    #[test]
    fn all_options() {
        let options = with_options(&[
            "-e",
            "A=1",
            "--env",
            "B=",
            "--env=C=x=y",
            "--cwd",
            "/w",
            "-u",
            "1000:100",
            "-g",
            "5",
            "--additional-gids",
            "6",
            "-c",
            "CAP_KILL",
            "--cap=CAP_CHOWN",
            "--no-new-privs",
            "--apparmor",
            "p",
            "--process-label",
            "l",
            "c",
            "sh",
        ]);
        let expected = Options {
            args: vec!["sh".into()],
            env: vec!["A=1".into(), "B=".into(), "C=x=y".into()],
            cwd: Some("/w".into()),
            user: Some((1000, Some(100))),
            additional_gids: vec![5, 6],
            capabilities: vec!["CAP_KILL".into(), "CAP_CHOWN".into()],
            no_new_privileges: Some(true),
            apparmor: Some("p".into()),
            process_label: Some("l".into()),
        };
        assert_eq!(options, expected);
        assert_eq!(with_options(&["--no-new-privs=false", "c", "sh"]).no_new_privileges, Some(false));
        assert_eq!(with_options(&["c", "sh"]).no_new_privileges, None);
        assert_eq!(with_options(&["-u", "7", "c", "sh"]).user, Some((7, None)));
        let exec =
            exec(&["-td", "--ignore-paused", "--preserve-fds=2", "--pidfd-socket", "/s", "c", "sh"]).unwrap();
        assert!(exec.tty && exec.detach && exec.ignore_paused);
        assert_eq!((exec.preserve_fds, exec.pidfd_socket), (2, Some("/s".into())));
    }

    #[test]
    fn the_command_keeps_its_options() {
        for command in
            [&["ls", "-t", "--tty", "--", "-d"][..], &["--help"], &["sh", "-c", "exit 42"], &["--", "x"]]
        {
            let arguments: Vec<_> = ["-t", "c"].iter().chain(command).copied().collect();
            assert_eq!(with_options(&arguments).args, command);
        }
        assert_eq!(with_options(&["--", "c", "ls", "-l"]).args, ["ls", "-l"]);
        assert_eq!(with_options(&["c", ""]).args, [""]);
    }

    #[test]
    fn cgroups() {
        let of = |text| exec(&["--cgroup", text, "c", "sh"]).map(|exec| exec.cgroups[0].clone());
        let expected = |controllers: &[&str], path: &str| SubCgroup {
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
            path: path.to_owned(),
        };
        assert_eq!(of("/").unwrap(), expected(&[], "/"));
        assert_eq!(of("pids:sub").unwrap(), expected(&["pids"], "sub"));
        assert_eq!(of("cpu,cpuacct:a/b").unwrap(), expected(&["cpu", "cpuacct"], "a/b"));
        assert_eq!(of("..a").unwrap(), expected(&[], "..a"));
        let two = exec(&["--cgroup", "pids:x", "--cgroup", "cpu:y", "c", "sh"]).unwrap();
        assert_eq!(two.cgroups.len(), 2);
        for text in ["..", "a/../b", "pids:..", "pids:", "", ":x", "pids,:x"] {
            assert!(of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn wrong_use() {
        let table: [(&[&str], &str); 11] = [
            (&[], "`oxrun exec` needs <container-id>"),
            (&["c"], "`oxrun exec` needs a command"),
            (&["", "sh"], "invalid container ID"),
            (&["--process", "/f", "c", "sh"], "`sh` and `--process` exclude each other"),
            (&["--process", "/f", "-e", "A=1", "c"], "`--env` and `--process` exclude each other"),
            (&["--process", "", "c"], "`--process` is empty"),
            (&["-e", "A", "c", "sh"], "read `--env`: `A` is not NAME=VALUE"),
            (&["-e", "=x", "c", "sh"], "read `--env`: `=x` is not NAME=VALUE"),
            (&["-u", "root", "c", "sh"], "read `--user`: `root` is not an id"),
            (&["-u", "1:", "c", "sh"], "read `--user`: `` is not an id"),
            (&["-g", "4294967295", "c", "sh"], "read `--additional-gids`: `4294967295` is not an id"),
        ];
        for (arguments, message) in table {
            let error = format!("{:#}", exec(arguments).unwrap_err());
            assert!(error.starts_with(message), "{arguments:?}: {error}");
        }
    }
}
