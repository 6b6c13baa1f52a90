//! The one table of commands and flags. The parser and the help texts read it, so a command or
//! flag exists exactly when it has a row here; a new command is a row, a variant of `Command` and
//! a function that makes it from what was given.

use super::command::{self, Command};
use super::parse::Matches;
use super::{checkpoint, exec, update};
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

const fn list(long: &'static str, short: &'static [char], value: &'static str, help: &'static str) -> Flag {
    Flag { long, short, value: Some(value), repeatable: true, help }
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
    value(
        "trace",
        &[],
        "FILE",
        "add each step and its time to FILE, to be opened in Perfetto or chrome://tracing (or OXRUN_TRACE=FILE)",
    ),
    value("cgroup-manager", &[], "MANAGER", "what manages cgroups: cgroupfs (default), systemd or disabled"),
    value(
        "criu",
        &[],
        "PROGRAM",
        "the CRIU of checkpoint and restore, by path or name (default: criu in $PATH)",
    ),
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
const REGEX: Flag =
    switch("regex", &['r'], "the id is a regular expression: do it to every container whose id has a match");
const FORMAT: Flag = value("format", &['f'], "FORMAT", "shape of the output: table (default) or json");

const IMAGE_PATH: Flag =
    value("image-path", &[], "DIR", "the directory of the images (default: checkpoint in the current one)");
const WORK_PATH: Flag =
    value("work-path", &[], "DIR", "the directory of logs and passing files (default: that of the images)");
const TCP_ESTABLISHED: Flag = switch("tcp-established", &[], "keep established TCP connections");
const TCP_CLOSE: Flag = switch("tcp-close", &[], "close established TCP connections");
const EXT_UNIX_SK: Flag = switch("ext-unix-sk", &[], "unix sockets may be connected to the outside");
const SHELL_JOB: Flag = switch("shell-job", &[], "the terminal, or the session's leader, may be outside");
const LAZY_PAGES: Flag = switch("lazy-pages", &[], "transfer memory when it is touched (userfaultfd)");
const FILE_LOCKS: Flag = switch("file-locks", &[], "keep file locks");
const MANAGE_CGROUPS: Flag = value(
    "manage-cgroups-mode",
    &[],
    "CGROUPS",
    "how cgroups below the container's are kept: soft (default), full, strict or ignore",
);
const EMPTY_NS: Flag = value("empty-ns", &[], "NAMESPACE", "leave out what is in this namespace: network");
const AUTO_DEDUP: Flag =
    switch("auto-dedup", &[], "free pages of earlier images that are not needed any more");

const ID_HELP: &str = "<container-id>";

/// All commands, in alphabetical order.
pub static COMMANDS: &[CommandRow] = &[
    CommandRow {
        name: "check",
        arguments: "[bundle]",
        least: 0,
        most: 1,
        raw_after: None,
        summary: "say everything that is wrong with a bundle",
        description: "Looks at a bundle without making anything and lists, each with its place in config.json, what is\n\
            wrong (error), what this host lacks for it (host), and what is risky or without effect (warning).\n\
            The exit status is 0 when nothing was found, 1 when `oxrun create` would fail, and 2 with warnings\n\
            alone. docs/check.md has the rules and the JSON.",
        flags: &[
            BUNDLE,
            value("config", &[], "FILE", "read this file instead of config.json in the bundle"),
            value("format", &['f'], "FORMAT", "shape of the output: text (default) or json"),
        ],
        build: command::check,
    },
    CommandRow {
        name: "checkpoint",
        arguments: ID_HELP,
        least: 1,
        most: 1,
        raw_after: None,
        summary: "write a running container to images",
        description: "Writes a running or paused container, its processes, memory and open files, to images from\n\
            which `oxrun restore` makes it again, and removes it. CRIU does it and must be installed\n\
            (see docs/checkpoint.md).",
        flags: &[
            IMAGE_PATH,
            WORK_PATH,
            value("parent-path", &[], "DIR", "the images of an earlier --pre-dump, relative to --image-path"),
            switch("leave-running", &[], "let the container go on"),
            switch("pre-dump", &[], "write memory alone and let the container go on"),
            TCP_ESTABLISHED,
            TCP_CLOSE,
            switch("tcp-skip-in-flight", &[], "leave out TCP connections that are not accepted yet"),
            EXT_UNIX_SK,
            SHELL_JOB,
            LAZY_PAGES,
            value("status-fd", &[], "N", "write a null byte to this descriptor when pages are served"),
            value(
                "page-server",
                &[],
                "ADDRESS:PORT",
                "send pages there; with --lazy-pages, serve them there",
            ),
            FILE_LOCKS,
            MANAGE_CGROUPS,
            EMPTY_NS,
            AUTO_DEDUP,
            switch("link-remap", &[], "give removed files that are still open a name"),
            value(
                "network-lock",
                &[],
                "METHOD",
                "how packets are held back meanwhile: iptables (default), nftables or skip",
            ),
        ],
        build: checkpoint::checkpoint,
    },
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
        flags: &[
            switch(
                "force",
                &['f'],
                "kill the container first if it runs; a container that does not exist is no error",
            ),
            REGEX,
        ],
        build: command::delete,
    },
    CommandRow {
        name: "doctor",
        arguments: "",
        least: 0,
        most: 0,
        raw_after: None,
        summary: "say what this host offers to containers",
        description: "Asks the kernel and the programs of this host what they offer to containers of this user, and lists\n\
            it with what it is good for and, where it is missing, the remedy. Nothing is changed. The exit\n\
            status is 0 when containers can run here, else 1.",
        flags: &[FORMAT],
        build: command::doctor,
    },
    CommandRow {
        name: "events",
        arguments: "[container-id]",
        least: 0,
        most: 1,
        raw_after: None,
        summary: "show statistics and events of a container",
        description: "Prints statistics at an interval, and events such as out of memory when they happen, each as a\n\
            line of JSON, until the container is gone. With --format table a row for each container, or for\n\
            the one that is named, says what it uses: CPU, memory, processes, I/O, and the percentage of the\n\
            last 10 s in which something waited for CPU, memory or I/O.",
        flags: &[
            switch("stats", &[], "print statistics once and end"),
            value("interval", &[], "DURATION", "time between statistics, like 100ms or 1m30s (default: 5s)"),
            value("format", &['f'], "FORMAT", "json (default) or table, which needs no container-id"),
            switch("follow", &[], "with --format table: again at each interval, in place on a terminal"),
        ],
        build: command::events,
    },
    CommandRow {
        name: "exec",
        arguments: "<container-id> <command> [arguments...]",
        least: 1,
        most: usize::MAX,
        raw_after: Some(1),
        summary: "run another process in a container",
        description: "Runs a command in a container, or the process that a file describes as config.json does.\n\
            What follows the id belongs to the command. The exit status is the command's, 128 and the\n\
            number of the signal that ended it, or 255 if it could not be run.",
        flags: &[
            value("process", &['p'], "FILE", "read the process from this JSON file"),
            list("env", &['e'], "NAME=VALUE", "set an environment variable; may be repeated"),
            value("cwd", &[], "DIR", "working directory in the container"),
            value("user", &['u'], "UID[:GID]", "user and group"),
            list("additional-gids", &['g'], "GID", "add a group; may be repeated"),
            list("cap", &['c'], "NAME", "add a capability; may be repeated"),
            switch("no-new-privs", &[], "the process and its children cannot gain privileges"),
            value("apparmor", &[], "NAME", "AppArmor profile"),
            value("process-label", &[], "NAME", "SELinux label"),
            switch("tty", &['t'], "give it a terminal"),
            DETACH,
            CONSOLE_SOCKET,
            PID_FILE,
            PIDFD_SOCKET,
            PRESERVE_FDS,
            list(
                "cgroup",
                &[],
                "[CONTROLLER:]PATH",
                "run in this existing cgroup below the container's; may be repeated",
            ),
            switch("ignore-paused", &[], "in a paused container wait until it is resumed"),
        ],
        build: exec::build,
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
        name: "gc",
        arguments: "",
        least: 0,
        most: 0,
        raw_after: None,
        summary: "list or remove what killed runtimes left",
        description: "Lists what no caller can own any more under --root: temporary names of commands that were\n\
            killed, containers whose create was killed, and those of before the host was started; with\n\
            the cgroups and systemd units that they name. Stopped containers are not among them: their\n\
            callers delete them. Nothing is removed without --force.",
        flags: &[switch("force", &[], "remove what is listed"), FORMAT],
        build: command::gc,
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
        flags: &[switch("all", &['a'], "send it to every process of the container"), REGEX],
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
        name: "mounts",
        arguments: "add|remove <container-id> <file>",
        least: 3,
        most: 3,
        raw_after: None,
        summary: "add mounts to a running container or remove them",
        description: "Adds the mounts that the file lists, in the form of `mounts` in config.json, to a running\n\
            container, or removes what is mounted on their destinations. All are added or none.",
        flags: &[],
        build: command::mounts,
    },
    CommandRow {
        name: "pause",
        arguments: ID_HELP,
        least: 1,
        most: 1,
        raw_after: None,
        summary: "suspend all processes of a container",
        description: "Stops every process of a container until `oxrun resume`.",
        flags: &[],
        build: command::pause,
    },
    CommandRow {
        name: "ps",
        arguments: "<container-id> [ps options]",
        least: 1,
        most: usize::MAX,
        raw_after: Some(1),
        summary: "show the processes of a container",
        description: "Shows the processes of a container through ps(1); what follows the id are its options.",
        flags: &[FORMAT],
        build: command::ps,
    },
    CommandRow {
        name: "restore",
        arguments: ID_HELP,
        least: 1,
        most: 1,
        raw_after: None,
        summary: "make a container from the images of a checkpoint",
        description: "Makes a container from a bundle and the images that `oxrun checkpoint` wrote, and lets it go\n\
            on where it was. Cgroup, limits, mounts and namespaces are those of config.json.",
        flags: &[
            IMAGE_PATH,
            WORK_PATH,
            BUNDLE,
            CONSOLE_SOCKET,
            PID_FILE,
            PIDFD_SOCKET,
            DETACH,
            NO_SUBREAPER,
            NO_PIVOT,
            NO_NEW_KEYRING,
            TCP_ESTABLISHED,
            TCP_CLOSE,
            EXT_UNIX_SK,
            SHELL_JOB,
            LAZY_PAGES,
            FILE_LOCKS,
            MANAGE_CGROUPS,
            EMPTY_NS,
            AUTO_DEDUP,
            value("lsm-profile", &[], "TYPE:NAME", "give the processes this apparmor or selinux profile"),
            value("lsm-mount-context", &[], "CONTEXT", "give mounts this SELinux context"),
        ],
        build: checkpoint::restore,
    },
    CommandRow {
        name: "resume",
        arguments: ID_HELP,
        least: 1,
        most: 1,
        raw_after: None,
        summary: "let the processes of a paused container go on",
        description: "Undoes `oxrun pause`.",
        flags: &[],
        build: command::resume,
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
        least: 1,
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
        description: "Writes a config.json that runs `sh` from the directory rootfs beside it, an example of another\n\
            kind, or what an image asks for whose layers are unpacked in rootfs. An existing file is\n\
            left alone.",
        flags: &[
            BUNDLE,
            switch("rootless", &[], "write one that works without root"),
            value(
                "example",
                &[],
                "KIND",
                "what to write: shell (default), service, rootless or host-network",
            ),
            value(
                "from",
                &[],
                "LAYOUT[:TAG]",
                "take program, environment and user from an image in this OCI image layout",
            ),
        ],
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
    CommandRow {
        name: "update",
        arguments: ID_HELP,
        least: 1,
        most: 1,
        raw_after: None,
        summary: "change the limits of a container",
        description: "Changes limits of a container while it runs, all or none. Sizes are bytes, or numbers with k, m\n\
            or g; what is not given stays as it is.",
        flags: &[
            value(
                "resources",
                &['r'],
                "FILE",
                "read linux.resources as JSON from this file, or from stdin for `-`",
            ),
            value("blkio-weight", &[], "N", "block I/O weight, 10 to 1000"),
            value("cpu-period", &[], "N", "microseconds of the period that --cpu-quota counts in"),
            value("cpu-quota", &[], "N", "microseconds of CPU time per period, -1 for no limit"),
            value("cpu-burst", &[], "N", "microseconds of unused quota that may be saved up"),
            value("cpu-share", &[], "N", "CPU weight relative to other containers"),
            value("cpu-rt-period", &[], "N", "microseconds of the real-time period"),
            value("cpu-rt-runtime", &[], "N", "microseconds of real-time CPU time per period"),
            value("cpu-idle", &[], "N", "1 to run only when the CPUs are idle, else 0"),
            value("cpuset-cpus", &[], "LIST", "CPUs, like 0-2,7"),
            value("cpuset-mems", &[], "LIST", "memory nodes, like 0-1"),
            value("memory", &[], "SIZE", "memory limit, -1 for none"),
            value("memory-reservation", &[], "SIZE", "soft memory limit, -1 for none"),
            value("memory-swap", &[], "SIZE", "limit of memory and swap together, -1 for none"),
            value("kernel-memory", &[], "SIZE", "limit of kernel memory, on old kernels with cgroup v1"),
            value("kernel-memory-tcp", &[], "SIZE", "limit of TCP buffers, on cgroup v1"),
            value("pids-limit", &[], "N", "limit of processes and threads, -1 for none"),
            value("l3-cache-schema", &[], "SCHEMA", "Intel RDT schema of the L3 cache"),
            value("mem-bw-schema", &[], "SCHEMA", "Intel RDT schema of the memory bandwidth"),
        ],
        build: update::build,
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
