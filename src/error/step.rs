//! The one table of codes: a code is the step that failed, which follows from the file that the error
//! was made in, and the kind of failure, which follows from the error number. docs/errors.md is made
//! from it.

use crate::bundle::Problems;
use crate::container::error::Error;

/// Declares an enum whose variants have a name and texts.
macro_rules! table {
    ($(#[$meta:meta])* $table:ident { $($variant:ident $name:literal $first:literal, $second:literal;)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum $table { $($variant,)* }

        impl $table {
            /// The name in codes.
            pub fn name(self) -> &'static str {
                match self { $($table::$variant => $name,)* }
            }

            /// All, each with its two texts for docs/errors.md.
            #[cfg(test)]
            pub const ALL: &[($table, &'static str, &'static str)] =
                &[$(($table::$variant, $first, $second),)*];
        }
    };
}

table! {
    /// A part of the work: what it is, and where to look when it fails.
    Step {
        Usage "usage" "The command line is read.", "`oxrun COMMAND --help` shows the options.";
        Config "config" "The bundle is read and config.json checked.",
            "The message lists all problems of the bundle at once, each with its place.";
        State "state" "The container is found and its state compared with what is asked for.",
            "`oxrun list` and `oxrun state ID` show what there is; `--root` must be the same in all commands.";
        Runtime "runtime" "The runtime prepares itself, clones the container's process and talks to it.",
            "`--debug` shows the steps; limits of processes, descriptors and memory are the usual reasons.";
        Namespace "namespace" "Namespaces are made or joined, and ids mapped.",
            "/etc/subuid, /etc/subgid and /proc/sys/user say which namespaces and id ranges the caller has.";
        Setup "setup" "Inside its namespaces, the container is set up: names, sysctls, keyring.",
            "The member of config.json that the text names decides.";
        Mount "mount" "The root filesystem and the mounts are made.",
            "The text names source, target and member.";
        Device "device" "Device nodes are made, or bound from the host in a user namespace.",
            "linux.devices, and the default devices on /dev.";
        Mask "mask" "Paths are hidden or made read-only.", "linux.maskedPaths and linux.readonlyPaths.";
        Cgroup "cgroup" "The cgroup is made, limited, read or removed.",
            "/proc/self/cgroup and cgroup.controllers show what there is; linux.cgroupsPath and linux.resources decide.";
        Seccomp "seccomp" "The seccomp filter is compiled, loaded, or handed to its agent.",
            "`oxrun seccomp explain` shows what a profile does.";
        Identity "identity" "The process becomes its user, with its capabilities, labels and limits.",
            "The members of process in config.json.";
        Hook "hook" "A hook is run.", "The text names kind and number; the hook's own error output is with it.";
        Terminal "terminal" "The terminal is made and handed over.",
            "process.terminal and --console-socket belong together.";
        Network "network" "Network devices are moved.", "linux.netDevices, and `ip link` on the host.";
        Rdt "rdt" "The resctrl group is made.", "linux.intelRdt; /sys/fs/resctrl must be mounted.";
        Exec "exec" "The program is found and executed.", "The text in brackets says what is wrong with the file.";
        Checkpoint "checkpoint" "The container is checkpointed or restored.",
            "The log of CRIU is in the work directory.";
        Log "log" "The log is opened.", "--log and --log-format.";
    }
}

table! {
    /// How it failed: the cause, and what to do.
    Kind {
        NotFound "not-found" "What is named is not there.", "Name another one, or make it first.";
        Denied "denied" "The kernel or a security module forbids it to this caller.",
            "Run as root, give the right, or use a user namespace; `dmesg` may show a module's refusal.";
        Exists "exists" "There is one already.", "Choose another name, or remove the old one.";
        Busy "busy" "Somebody else uses it.", "Wait for or end the other user.";
        Limit "limit" "A limit of memory, processes, descriptors, sizes or space is reached.",
            "Raise the limit that the text names, or use less.";
        Unsupported "unsupported" "This kernel or filesystem does not have it.",
            "Leave the feature out, or use a newer kernel.";
        Invalid "invalid" "The value is not one that can be taken.", "Correct the value that the text names.";
        Timeout "timeout" "The other side did not answer in time.", "Look at the process that was asked.";
        Lost "lost" "The other side of a connection is gone.", "Look at the process that should listen.";
        WrongState "wrong-state" "The container is not in a state for this.",
            "`oxrun state ID` shows its state.";
        Refused "refused" "The runtime itself refuses; the text says why and what to do.", "As the text says.";
        Failed "failed" "The kernel gave another error number.", "The number is in `errno`; see errno(3).";
    }
}

/// Which step a file belongs to; the first prefix that fits.
const FILES: &[(&str, Step)] = &[
    ("src/cli/", Step::Usage),
    ("src/lib.rs", Step::State),
    ("src/log.rs", Step::Log),
    ("src/bundle/", Step::Config),
    ("src/check/", Step::Config),
    ("src/hostfs.rs", Step::Runtime),
    ("src/seccomp/", Step::Seccomp),
    ("src/init/filters.rs", Step::Seccomp),
    ("src/init/identity.rs", Step::Identity),
    ("src/init/process.rs", Step::Identity),
    ("src/init/program.rs", Step::Exec),
    ("src/init/remount.rs", Step::Mount),
    ("src/init/sync.rs", Step::Runtime),
    ("src/init/join.rs", Step::Namespace),
    ("src/init/", Step::Setup),
    ("src/namespaces.rs", Step::Namespace),
    ("src/rootfs/device.rs", Step::Device),
    ("src/rootfs/hide.rs", Step::Mask),
    ("src/rootfs/", Step::Mount),
    ("src/cgroup/", Step::Cgroup),
    ("src/container/subcgroup.rs", Step::Cgroup),
    ("src/container/events.rs", Step::Cgroup),
    ("src/container/update.rs", Step::Cgroup),
    ("src/container/entrance.rs", Step::Namespace),
    ("src/container/hooks.rs", Step::Hook),
    ("src/container/mounts.rs", Step::Mount),
    ("src/container/netdevice.rs", Step::Network),
    ("src/container/rtnetlink.rs", Step::Network),
    ("src/container/rdt.rs", Step::Rdt),
    ("src/container/spec.rs", Step::Config),
    ("src/container/tenant.rs", Step::Config),
    ("src/container/terminal.rs", Step::Terminal),
    ("src/container/foreground.rs", Step::Terminal),
    ("src/container/checkpoint", Step::Checkpoint),
    ("src/container/restore", Step::Checkpoint),
    ("src/criu/", Step::Checkpoint),
    ("src/container/images.rs", Step::Checkpoint),
    ("src/container/external.rs", Step::Checkpoint),
    ("src/container/staging.rs", Step::Checkpoint),
    ("src/container/create.rs", Step::Runtime),
    ("src/container/run.rs", Step::Runtime),
    ("src/container/exec.rs", Step::Runtime),
    ("src/container/launch.rs", Step::Runtime),
    ("src/container/handover.rs", Step::Runtime),
    ("src/container/notify.rs", Step::Runtime),
    ("src/container/pidfile.rs", Step::Runtime),
    ("src/container/", Step::State),
];

impl Step {
    /// The step of an error by the file it was made in (`src/rootfs/mount.rs:51`).
    pub fn of_file(file: &str) -> Step {
        FILES.iter().find(|(prefix, _)| file.starts_with(prefix)).map_or(Step::Runtime, |(_, step)| *step)
    }
}

impl Kind {
    /// The kind of an error number; 0 is none.
    pub fn of(errno: i32) -> Kind {
        match errno {
            0 => Kind::Refused,
            libc::ENOENT | libc::ENOTDIR | libc::ENXIO | libc::ENODEV | libc::ESRCH => Kind::NotFound,
            libc::EPERM | libc::EACCES | libc::EROFS => Kind::Denied,
            libc::EEXIST | libc::ENOTEMPTY => Kind::Exists,
            libc::EBUSY | libc::ETXTBSY => Kind::Busy,
            libc::EMFILE | libc::ENFILE | libc::ENOSPC | libc::ENOMEM | libc::EDQUOT | libc::EAGAIN => {
                Kind::Limit
            }
            libc::E2BIG | libc::EUSERS => Kind::Limit,
            libc::ENOSYS | libc::EOPNOTSUPP | libc::ENOEXEC | libc::EPROTONOSUPPORT => Kind::Unsupported,
            libc::EAFNOSUPPORT => Kind::Unsupported,
            libc::EINVAL | libc::ELOOP | libc::ENAMETOOLONG | libc::EBADF | libc::EISDIR => Kind::Invalid,
            libc::ERANGE | libc::EDOM | libc::ENOTTY => Kind::Invalid,
            libc::ETIMEDOUT => Kind::Timeout,
            libc::EPIPE | libc::ECONNREFUSED | libc::ECONNRESET | libc::ENOTCONN => Kind::Lost,
            _ => Kind::Failed,
        }
    }
}

/// The errors that have a type of their own.
pub fn of_typed(error: &anyhow::Error) -> Option<(Step, Kind)> {
    if error.is::<Problems>() {
        return Some((Step::Config, Kind::Invalid));
    }
    Some(match error.downcast_ref::<Error>()? {
        Error::NotFound { .. } => (Step::State, Kind::NotFound),
        Error::Exists { .. } => (Step::State, Kind::Exists),
        Error::WrongState(_) => (Step::State, Kind::WrongState),
        Error::Usage(_) => (Step::Usage, Kind::Invalid),
    })
}
