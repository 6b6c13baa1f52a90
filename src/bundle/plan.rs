//! The plan: a container as it will be made, with every string of config.json already turned into
//! flags, masks, ids and C strings. Owned and immutable. Made by `lower.rs` before anything is
//! done to the kernel; the host side reads it, init inherits it through the clone, and nothing of
//! it is ever serialised.

use super::problems::Warnings;
use super::spec;
use crate::seccomp::Filter;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::PathBuf;

/// Everything about one container.
#[derive(Debug)]
pub struct Plan {
    /// `ociVersion` of config.json.
    pub oci_version: String,
    /// The bundle directory, absolute, without symbolic links.
    pub bundle: PathBuf,
    /// The root filesystem on the host, absolute.
    pub rootfs: PathBuf,
    /// `root.readonly`.
    pub root_readonly: bool,
    /// `linux.rootfsPropagation` as mount flags (`MS_SHARED | MS_REC` …); 0 is not given.
    pub root_propagation: u64,
    /// Leave the old root with MS_MOVE and chroot instead of pivot_root (`--no-pivot`).
    pub no_pivot: bool,
    /// Namespaces to create and to join, and id maps.
    pub namespaces: Namespaces,
    /// `hostname` in the container's UTS namespace.
    pub hostname: Option<String>,
    /// `domainname` in the container's UTS namespace.
    pub domainname: Option<String>,
    /// Mounts in the order of config.json.
    pub mounts: Vec<Mount>,
    /// Devices of `linux.devices` and the default ones, without duplicates.
    pub devices: Vec<Device>,
    /// Paths that are hidden.
    pub masked_paths: Vec<String>,
    /// Paths that become read-only.
    pub readonly_paths: Vec<String>,
    /// `linux.mountLabel`.
    pub mount_label: Option<String>,
    /// Sysctls as path below /proc/sys (`net/ipv4/ip_forward`) and value; all allowed (R15).
    pub sysctls: Vec<(String, String)>,
    /// Where in the cgroup tree and with what limits.
    pub cgroup: CgroupPlan,
    /// `process`; a container can be created without, but not started.
    pub process: Option<Process>,
    /// Hooks by kind.
    pub hooks: Hooks,
    /// `linux.seccomp`, compiled.
    pub seccomp: Option<Filter>,
    /// `linux.personality` as personality(2) takes it.
    pub personality: Option<u64>,
    /// `linux.memoryPolicy` for set_mempolicy(2).
    pub memory_policy: Option<MemoryPolicy>,
    /// Network devices to move in: name on the host, new name.
    pub net_devices: Vec<(String, String)>,
    /// `linux.intelRdt` as given.
    pub intel_rdt: Option<spec::IntelRdt>,
    /// What annotations ask for beyond the specification.
    pub extensions: Extensions,
    /// Annotations as given.
    pub annotations: BTreeMap<String, String>,
    /// What is not an error but should be known, one line each; logged once by the caller.
    pub warnings: Warnings,
}

/// What annotations (`run.oci.…`) ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extensions {
    /// File that the standard output of hooks is appended to.
    pub hook_stdout: Option<PathBuf>,
    /// File that the standard error of hooks is appended to.
    pub hook_stderr: Option<PathBuf>,
    /// Leave the supplementary groups of the caller.
    pub keep_groups: bool,
    /// Socket that a pidfd of the container's process is sent to.
    pub pidfd_receiver: Option<PathBuf>,
    /// The mount option that carries `linux.mountLabel`.
    pub mount_context: &'static str,
}

/// The kinds of namespaces, in the specification's spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NamespaceKind {
    /// `user`
    User,
    /// `mount`
    Mount,
    /// `cgroup`
    Cgroup,
    /// `ipc`
    Ipc,
    /// `uts`
    Uts,
    /// `network`
    Network,
    /// `pid`
    Pid,
    /// `time`
    Time,
}

impl NamespaceKind {
    /// All kinds.
    pub const ALL: [NamespaceKind; 8] = [
        NamespaceKind::User,
        NamespaceKind::Mount,
        NamespaceKind::Cgroup,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::Network,
        NamespaceKind::Pid,
        NamespaceKind::Time,
    ];

    /// The name in config.json.
    pub fn name(self) -> &'static str {
        match self {
            NamespaceKind::User => "user",
            NamespaceKind::Mount => "mount",
            NamespaceKind::Cgroup => "cgroup",
            NamespaceKind::Ipc => "ipc",
            NamespaceKind::Uts => "uts",
            NamespaceKind::Network => "network",
            NamespaceKind::Pid => "pid",
            NamespaceKind::Time => "time",
        }
    }

    /// The file below /proc/PID/ns.
    pub fn proc_name(self) -> &'static str {
        match self {
            NamespaceKind::Mount => "mnt",
            NamespaceKind::Network => "net",
            other => other.name(),
        }
    }

    /// The CLONE_NEW… flag (clone(2), time_namespaces(7)).
    pub fn flag(self) -> u64 {
        let flag = match self {
            NamespaceKind::User => libc::CLONE_NEWUSER,
            NamespaceKind::Mount => libc::CLONE_NEWNS,
            NamespaceKind::Cgroup => libc::CLONE_NEWCGROUP,
            NamespaceKind::Ipc => libc::CLONE_NEWIPC,
            NamespaceKind::Uts => libc::CLONE_NEWUTS,
            NamespaceKind::Network => libc::CLONE_NEWNET,
            NamespaceKind::Pid => libc::CLONE_NEWPID,
            NamespaceKind::Time => 0x80,
        };
        flag as u64
    }
}

/// A namespace to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Its kind.
    pub kind: NamespaceKind,
    /// Its file, absolute.
    pub path: PathBuf,
    /// Index in `linux.namespaces`, for messages.
    pub index: usize,
}

/// What is new, what is joined, and how ids and clocks are mapped.
#[derive(Debug, Clone, Default)]
pub struct Namespaces {
    /// The runtime is in a user namespace itself, which forbids the way back out of a pid namespace.
    pub confined: bool,
    /// Kinds to create, without duplicates.
    pub create: Vec<NamespaceKind>,
    /// Kinds to join and the absolute path of each, without duplicates.
    pub join: Vec<Join>,
    /// `linux.uidMappings`; empty without a new user namespace.
    pub uid_map: Vec<IdMap>,
    /// `linux.gidMappings`.
    pub gid_map: Vec<IdMap>,
    /// Offsets of the boottime clock, seconds and nanoseconds.
    pub boottime: Option<(i64, u32)>,
    /// Offsets of the monotonic clock.
    pub monotonic: Option<(i64, u32)>,
}

impl Namespaces {
    /// Whether a kind is created new.
    pub fn creates(&self, kind: NamespaceKind) -> bool {
        self.create.contains(&kind)
    }

    /// Whether a kind is joined.
    pub fn joins(&self, kind: NamespaceKind) -> bool {
        self.join.iter().any(|j| j.kind == kind)
    }

    /// Whether a kind is not the host's: created or joined.
    pub fn has(&self, kind: NamespaceKind) -> bool {
        self.creates(kind) || self.joins(kind)
    }
}

/// One line of uid_map or gid_map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// First id inside.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub size: u32,
}

/// One mount of config.json.
#[derive(Debug, Clone)]
pub struct Mount {
    /// Index in `mounts`, for messages.
    pub index: usize,
    /// Path in the container, absolute, normalised (no `.`, `..`, `//`).
    pub destination: String,
    /// What is mounted.
    pub source: MountSource,
    /// Attributes named in the options.
    pub attributes: MountAttributes,
    /// Propagation changes in order, as mount(2) flags (`MS_PRIVATE | MS_REC` …).
    pub propagation: Vec<u64>,
    /// Id map of the mount.
    pub id_map: Option<MountIdMap>,
    /// Follow a final symbolic link of the destination (false with `dest-nofollow`).
    pub follow_destination: bool,
    /// Copy what the target holds into the new tmpfs (`tmpcopyup`).
    pub copy_up: bool,
}

/// What a mount shows.
#[derive(Debug, Clone)]
pub enum MountSource {
    /// A file or directory of the host.
    Bind {
        /// On the host, absolute (relative sources are joined to the bundle).
        path: PathBuf,
        /// With what is mounted below it (`rbind`).
        recursive: bool,
        /// What to do with a symbolic link as the source.
        symlink: SymlinkSource,
        /// The text of the config's source, for messages.
        given: String,
    },
    /// A new filesystem.
    Filesystem {
        /// Type (`proc`, `tmpfs`, …).
        kind: String,
        /// Source string, `none` where absent.
        source: String,
        /// Superblock flags (MS_SYNCHRONOUS, MS_RDONLY …) as mount(2) has them.
        super_flags: u64,
        /// Options for the filesystem: key and value.
        data: Vec<(String, Option<String>)>,
    },
    /// The container's view of the cgroup tree (`type: cgroup`, also `cgroup2`).
    Cgroup {
        /// Options for the filesystem on cgroup v2.
        data: Vec<(String, Option<String>)>,
    },
    /// Only new attributes for what is mounted at the destination (`remount`).
    Remount,
    /// Only new propagation or attributes for what is mounted there (no bind, type none).
    Propagation,
}

/// A symbolic link as the source of a bind mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymlinkSource {
    /// Follow it (default).
    Follow,
    /// Mount the link itself (`src-nofollow`).
    NoFollow,
    /// Create the same link in the container instead of mounting (`copy-symlink`).
    Copy,
}

/// Mount attributes as MOUNT_ATTR_* bits (mount_setattr(2)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountAttributes {
    /// Bits to set on the mount.
    pub set: u64,
    /// Bits to clear on the mount (named by options such as `rw`, `exec`, `dev`, `suid`).
    pub clear: u64,
    /// Bits to set on the mount and all below it (`rro`, `rnosuid` …).
    pub recursive_set: u64,
    /// Bits to clear on the mount and all below it.
    pub recursive_clear: u64,
}

/// The id map of a mount.
#[derive(Debug, Clone)]
pub struct MountIdMap {
    /// uid lines; empty means the container's own user namespace.
    pub uid_map: Vec<IdMap>,
    /// gid lines.
    pub gid_map: Vec<IdMap>,
    /// For all mounts below too (`ridmap`).
    pub recursive: bool,
}

/// One device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where in config.json (`linux.devices[2]`), or `default device`.
    pub origin: String,
    /// Path in the container, absolute, normalised.
    pub path: String,
    /// File type bits: S_IFCHR, S_IFBLK or S_IFIFO.
    pub kind: u32,
    /// Major number; 0 for a fifo.
    pub major: u32,
    /// Minor number; 0 for a fifo.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner inside the container.
    pub uid: u32,
    /// Group inside the container.
    pub gid: u32,
}

/// Where the cgroup is and what it limits.
#[derive(Debug, Clone, Default)]
pub struct CgroupPlan {
    /// `linux.cgroupsPath` as given; empty is the runtime's choice.
    pub path: String,
    /// Limits as given, checked.
    pub resources: spec::Resources,
    /// The device rules in effect: the given ones, then those every container has.
    pub devices: Vec<DeviceRule>,
    /// Whether cgroup files are handed to the container's root (checklist 8.15), and to which
    /// uid on the host.
    pub delegate: Option<u32>,
}

/// One device rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    /// Allow or deny.
    pub allow: bool,
    /// Which devices.
    pub kind: DeviceKind,
    /// Major number; none is any.
    pub major: Option<u32>,
    /// Minor number; none is any.
    pub minor: Option<u32>,
    /// May be read.
    pub read: bool,
    /// May be written.
    pub write: bool,
    /// May be made by mknod.
    pub mknod: bool,
}

/// Kinds of devices in a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// `a`: block and character.
    All,
    /// `b`
    Block,
    /// `c`
    Char,
}

/// A process: init, or one to exec.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// The program and its arguments; at least one.
    pub args: Vec<CString>,
    /// The environment, each name once, last wins; HOME may be missing (init adds it).
    pub env: Vec<CString>,
    /// Working directory, absolute.
    pub cwd: CString,
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// File mode creation mask; none leaves the caller's.
    pub umask: Option<u32>,
    /// Supplementary groups inside.
    pub groups: Vec<u32>,
    /// Capability sets; none leaves what the user id gives.
    pub capabilities: Option<Capabilities>,
    /// `noNewPrivileges`.
    pub no_new_privileges: bool,
    /// Resource limits: RLIMIT_* number, soft, hard.
    pub rlimits: Vec<Rlimit>,
    /// Value for /proc/self/oom_score_adj.
    pub oom_score_adj: Option<i32>,
    /// Give it a terminal.
    pub terminal: bool,
    /// Rows and columns of the terminal.
    pub console_size: Option<(u16, u16)>,
    /// AppArmor profile.
    pub apparmor: Option<CString>,
    /// SELinux label.
    pub selinux: Option<CString>,
    /// Scheduler attributes.
    pub scheduler: Option<Scheduler>,
    /// ioprio_set(2) value: class and priority.
    pub io_priority: Option<u16>,
    /// CPUs before and after the cgroup is entered; for exec'd processes only.
    pub exec_affinity_initial: Option<Vec<u32>>,
    /// CPUs of the exec'd process.
    pub exec_affinity_final: Option<Vec<u32>>,
}

/// One limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// RLIMIT_* number.
    pub resource: u32,
    /// Name for messages (`RLIMIT_NOFILE`).
    pub name: &'static str,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// The five sets as bit masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Bounding set.
    pub bounding: u64,
    /// Effective set.
    pub effective: u64,
    /// Inheritable set.
    pub inheritable: u64,
    /// Permitted set.
    pub permitted: u64,
    /// Ambient set.
    pub ambient: u64,
}

/// sched_setattr(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheduler {
    /// SCHED_* number.
    pub policy: u32,
    /// SCHED_FLAG_* bits.
    pub flags: u64,
    /// Nice value.
    pub nice: i32,
    /// Real-time priority.
    pub priority: u32,
    /// Nanoseconds.
    pub runtime: u64,
    /// Nanoseconds.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
}

/// set_mempolicy(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// MPOL_* mode with MPOL_F_* flags.
    pub mode: u32,
    /// NUMA nodes.
    pub nodes: Vec<u32>,
}

/// The hooks, checked.
#[derive(Debug, Clone, Default)]
pub struct Hooks {
    /// In the host's namespaces, after the namespaces exist.
    pub prestart: Vec<Hook>,
    /// The same moment, after prestart.
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, before pivot_root.
    pub create_container: Vec<Hook>,
    /// In the container, before the process is executed.
    pub start_container: Vec<Hook>,
    /// In the host's namespaces, after the process was executed.
    pub poststart: Vec<Hook>,
    /// In the host's namespaces, after the container is gone.
    pub poststop: Vec<Hook>,
}

/// One hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Absolute path.
    pub path: CString,
    /// Whole argv; the path alone where absent.
    pub args: Vec<CString>,
    /// Whole environment; none where absent.
    pub env: Option<Vec<CString>>,
    /// Seconds until it is killed.
    pub timeout: Option<u32>,
}
