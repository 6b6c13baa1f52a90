//! The one table of commands and flags. The parser and the help texts read it, so a command or
//! flag exists exactly when it has a row here; a new command is a row, a variant of `Command` and
//! a function that makes it from what was given.

use super::command::{self, Command};
use super::parse::Matches;
use anyhow::Result;

/// One option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// The name after `--`, also taken after a single `-`.
    pub long: &'static str,
    /// The letters after `-`.
    pub short: &'static [char],
    /// What the value is called in the help; none for a switch, which may be given as
    /// `--switch=true` and `--switch=false`.
    pub value: Option<&'static str>,
    /// Each occurrence adds to a list; otherwise the last one counts.
    pub repeatable: bool,
    /// One line for the help.
    pub help: &'static str,
}

/// One command.
#[derive(Debug)]
pub struct CommandRow {
    /// Its name.
    pub name: &'static str,
    /// Its positional arguments, as the usage line shows them.
    pub arguments: &'static str,
    /// How many positional arguments it needs.
    pub least: usize,
    /// How many it takes.
    pub most: usize,
    /// After this many positional arguments the rest is not ours to read, options included.
    pub raw_after: Option<usize>,
    /// A few words for the list of commands.
    pub summary: &'static str,
    /// What it does, in full sentences.
    pub description: &'static str,
    /// Its options, besides `--help`.
    pub flags: &'static [Flag],
    /// Makes the typed command.
    pub build: fn(&Matches) -> Result<Command>,
}

const fn switch(long: &'static str, short: &'static [char], help: &'static str) -> Flag {
    Flag { long, short, value: None, repeatable: false, help }
}

const fn value(long: &'static str, short: &'static [char], value: &'static str, help: &'static str) -> Flag {
    Flag { long, short, value: Some(value), repeatable: false, help }
}

/// Every command has it.
pub const HELP: Flag = switch("help", &['h'], "show this help");

/// Options before the command.
pub static GLOBAL: &[Flag] = &[
    switch("debug", &[], "log everything, for finding faults"),
    value("log", &[], "TARGET", "log to FILE or file:FILE, syslog:NAME, journald:NAME instead of stderr"),
    value("log-format", &[], "FORMAT", "shape of log lines: text (default) or json"),
    value("log-level", &[], "LEVEL", "least important level to log: error, warning, info or debug"),
    value(
        "root",
        &[],
        "DIR",
        "directory of the containers' states (default: /run/oxrun, or $XDG_RUNTIME_DIR/oxrun without root)",
    ),
    switch("systemd-cgroup", &[], "let systemd manage cgroups; cgroupsPath is then slice:prefix:name"),
    value("cgroup-manager", &[], "MANAGER", "what manages cgroups: cgroupfs (default), systemd or disabled"),
    value("rootless", &[], "MODE", "tolerate missing rights to cgroups: true, false or auto (default)"),
    HELP,
    switch("version", &['v', 'V'], "show the version"),
];

const BUNDLE: Flag = value("bundle", &['b'], "DIR", "the bundle directory (default: the current one)");
const CONFIG: Flag = value("config", &['f'], "FILE", "read this file instead of config.json in the bundle");
const CONSOLE_SOCKET: Flag =
    value("console-socket", &[], "SOCKET", "send the terminal's master side over this unix socket");
const PID_FILE: Flag = value("pid-file", &[], "FILE", "write the process id to this file");
const PIDFD_SOCKET: Flag =
    value("pidfd-socket", &[], "SOCKET", "send a pidfd of the process over this unix socket");
const PRESERVE_FDS: Flag =
    value("preserve-fds", &[], "N", "hand over N more descriptors, after stdio and those of LISTEN_FDS");
const NO_PIVOT: Flag =
    switch("no-pivot", &[], "change the root without pivot_root, for a root filesystem on a ramdisk");
const NO_NEW_KEYRING: Flag =
    switch("no-new-keyring", &[], "keep the caller's session keyring instead of making a new one");
const NO_SUBREAPER: Flag = switch("no-subreaper", &[], "do not become a subreaper");
const DETACH: Flag = switch("detach", &['d'], "return once the process runs instead of waiting for it");
const KEEP: Flag = switch("keep", &[], "keep the container after its process has ended");
const FORMAT: Flag = value("format", &['f'], "FORMAT", "shape of the output: table (default) or json");

const ID_HELP: &str = "<container-id>";

/// All commands, in alphabetical order.
pub static COMMANDS: &[CommandRow] = &[
    CommandRow {
        name: "create",
        arguments: ID_HELP,
        least: 1,
        most: 1,
        raw_after: None,
        summary: "create a container",
        description: "Makes a container from a bundle: a directory with a config.json and a root filesystem.\n\
            The container's process waits; `oxrun start` lets it run its program. The id must be\n\
            unique among the containers of one --root.",
        flags: &[
            BUNDLE,
            CONFIG,
            CONSOLE_SOCKET,
            PID_FILE,
            PIDFD_SOCKET,
            PRESERVE_FDS,
            NO_PIVOT,
            NO_NEW_KEYRING,
            NO_SUBREAPER,
        ],
        build: command::create,
    },
    CommandRow {
        name: "delete",
        arguments: ID_HELP,
        least: 1,
        most: 1,
        raw_after: None,
        summary: "remove a container and all it holds",
        description: "Removes a stopped container: its state, its cgroup and what else was made for it.",
        flags: &[switch(
            "force",
            &['f'],
            "kill the container first if it runs; a container that does not exist is no error",
        )],
        build: command::delete,
    },
    CommandRow {
        name: "features",
        arguments: "",
        least: 0,
        most: 0,
        raw_after: None,
        summary: "show what this binary supports",
        description: "Prints the features structure of the OCI runtime specification as JSON. It depends on\n\
            the binary alone, not on the host.",
        flags: &[],
        build: command::features,
    },
    CommandRow {
        name: "kill",
        arguments: "<container-id> [signal]",
        least: 1,
        most: 2,
        raw_after: None,
        summary: "send a signal to a container's process",
        description: "Sends a signal (default: SIGTERM) to the container's process. The signal is a name with\n\
            or without SIG, in any case, or a number from 0 to 64.",
        flags: &[switch("all", &['a'], "send it to every process of the container")],
        build: command::kill,
    },
    CommandRow {
        name: "list",
        arguments: "",
        least: 0,
        most: 0,
        raw_after: None,
        summary: "list the containers",
        description: "Lists the containers whose state is under --root, sorted by id.",
        flags: &[FORMAT, switch("quiet", &['q'], "print ids alone, one per line")],
        build: command::list,
    },
    CommandRow {
        name: "run",
        arguments: ID_HELP,
        least: 1,
        most: 1,
        raw_after: None,
        summary: "create and start a container, and wait for it",
        description: "Makes a container from a bundle and runs its program: create, start and, once the\n\
            program has ended, delete. The exit status is the program's, or 128 and the number of\n\
            the signal that ended it.",
        flags: &[
            BUNDLE,
            CONFIG,
            CONSOLE_SOCKET,
            PID_FILE,
            PIDFD_SOCKET,
            PRESERVE_FDS,
            DETACH,
            KEEP,
            NO_PIVOT,
            NO_NEW_KEYRING,
            NO_SUBREAPER,
        ],
        build: command::run,
    },
    CommandRow {
        name: "seccomp",
        arguments: "explain <profile> [syscall [argument...]]",
        least: 2,
        most: 9,
        raw_after: None,
        summary: "show what a seccomp profile does",
        description: "Prints the size of the filter that a profile is compiled to and what becomes of every system\n\
            call; with a system call (name or number) and its arguments (numbers, others are 0) what\n\
            becomes of that call, and each instruction on the way. The profile is a file: a config.json,\n\
            or its linux.seccomp alone. `--` goes before a negative argument.",
        flags: &[value(
            "arch",
            &[],
            "ARCH",
            "the call's architecture, such as x86 (default: this machine's)",
        )],
        build: command::seccomp,
    },
    CommandRow {
        name: "spec",
        arguments: "",
        least: 0,
        most: 0,
        raw_after: None,
        summary: "write a config.json to start from",
        description: "Writes a config.json that runs `sh` from the directory rootfs beside it. An existing\n\
            file is left alone.",
        flags: &[BUNDLE, switch("rootless", &[], "write one that works without root")],
        build: command::spec,
    },
    CommandRow {
        name: "start",
        arguments: ID_HELP,
        least: 1,
        most: 1,
        raw_after: None,
        summary: "run the program of a created container",
        description: "Lets the waiting process of a created container run the program of its config.json.",
        flags: &[],
        build: command::start,
    },
    CommandRow {
        name: "state",
        arguments: ID_HELP,
        least: 1,
        most: 1,
        raw_after: None,
        summary: "show the state of a container",
        description: "Prints the state of a container as JSON.",
        flags: &[],
        build: command::state,
    },
];

/// The row of a command.
pub fn find(name: &str) -> Option<&'static CommandRow> {
    COMMANDS.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_sorted() {
        let names: Vec<_> = COMMANDS.iter().map(|row| row.name).collect();
        assert!(names.is_sorted());
        let scopes = COMMANDS.iter().map(|row| row.flags).chain([&GLOBAL[..GLOBAL.len() - 2]]);
        for flags in scopes {
            let mut long = BTreeSet::from([HELP.long]);
            let mut short = BTreeSet::from(['h']);
            for flag in flags {
                assert!(long.insert(flag.long), "--{}", flag.long);
                assert!(flag.short.iter().all(|c| short.insert(*c)), "--{}", flag.long);
                assert!(!flag.help.contains('\n') && !flag.help.is_empty());
            }
        }
    }
}
