//! What weakens a container: each rule is a function that looks at the plan and says what a process in
//! the container could do with it. Few, and each a known way to the host. In a user namespace, or
//! without root, those that need root on the host do not apply. Called by `check`.

use super::Subject;
use super::report::Findings;
use crate::bundle::capability_number;
use crate::bundle::plan::{Capabilities, Mount, MountSource, NamespaceKind};
use crate::hostfs;
use linux_raw_sys::general::MOUNT_ATTR_RDONLY;
use std::path::Path;

/// Looks for all of them.
pub fn look(subject: &Subject, findings: &mut Findings) {
    let rules = [
        host_namespaces,
        capabilities,
        no_new_privileges,
        seccomp,
        open_proc,
        writable_proc,
        writable_sys,
        writable_cgroups,
        control_sockets,
        host_directories,
        propagation,
        device_nodes,
        device_rules,
    ];
    for rule in rules {
        rule(subject, findings);
    }
}

/// Namespaces without which the container is on the host, and what that means.
const SHARED: [(NamespaceKind, &str); 5] = [
    (NamespaceKind::Pid, "it sees the processes of the host and can signal those of its users"),
    (NamespaceKind::Network, "it reaches what listens on the host's localhost and on abstract sockets"),
    (NamespaceKind::Ipc, "it shares message queues and shared memory with the host"),
    (NamespaceKind::Uts, "it has the name of the host"),
    (NamespaceKind::Mount, "its mounts are made on the host"),
];

fn host_namespaces(subject: &Subject, findings: &mut Findings) {
    let namespaces = &subject.plan.namespaces;
    let known = |kind: &str| NamespaceKind::ALL.iter().any(|known| known.name() == kind);
    if subject.spec.linux.namespaces.iter().any(|namespace| !known(&namespace.kind)) {
        // One of them may have been meant by the unknown word.
        return;
    }
    for (kind, what) in SHARED {
        let name = kind.name();
        if !namespaces.has(kind) {
            findings.warning("linux.namespaces", format!("the {name} namespace is the host's: {what}"));
            findings.suggest(format!("add {{\"type\":\"{name}\"}}"));
        }
        for join in namespaces.join.iter().filter(|join| join.kind == kind && is_own(kind, &join.path)) {
            let path = format!("linux.namespaces[{}].path", join.index);
            findings.warning(path, format!("leads to the host's own {name} namespace: {what}"));
        }
    }
}

/// Whether a file is the namespace that this process is in.
fn is_own(kind: NamespaceKind, path: &Path) -> bool {
    let own = hostfs::stat(format!("/proc/self/ns/{}", kind.proc_name()).as_str());
    matches!((own, hostfs::stat(path)), (Ok(own), Ok(other)) if (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
}

/// Capabilities with which root of a container has the host, and how.
const STRONG: [(&str, &str); 5] = [
    ("CAP_SYS_ADMIN", "it mounts, and reaches the many parts of the kernel that ask for nothing else"),
    ("CAP_SYS_MODULE", "it loads code into the kernel"),
    ("CAP_SYS_RAWIO", "it reaches memory and ports of the machine"),
    ("CAP_DAC_READ_SEARCH", "it opens files outside its root by their handles (open_by_handle_at)"),
    ("CAP_BPF", "it loads programs that read the memory of the kernel"),
];

fn capabilities(subject: &Subject, findings: &mut Findings) {
    let Some(process) = subject.plan.process.as_ref().filter(|_| !subject.is_confined()) else { return };
    let Some(sets) = process.capabilities else {
        if process.uid == 0 {
            findings.warning("process.capabilities", "missing: root keeps every capability");
            findings.suggest("list those that the program needs, as `oxrun spec` does");
        }
        return;
    };
    let Capabilities { bounding, effective, inheritable, permitted, ambient } = sets;
    let any = bounding | effective | inheritable | permitted | ambient;
    let shares_pids = !subject.plan.namespaces.has(NamespaceKind::Pid);
    let traces = [("CAP_SYS_PTRACE", "with the host's pid namespace it takes over any process")];
    for (name, what) in STRONG.into_iter().chain(traces.into_iter().filter(|_| shares_pids)) {
        if capability_number(name).is_some_and(|number| any & (1 << number) != 0) {
            findings.warning("process.capabilities", format!("{name}: {what}"));
            findings.suggest("leave it out, or add a user namespace");
        }
    }
}

fn no_new_privileges(subject: &Subject, findings: &mut Findings) {
    if subject.plan.process.as_ref().is_some_and(|process| !process.no_new_privileges) {
        let text =
            "false: set-user-ID programs of the root filesystem give their rights to whoever starts them";
        findings.warning("process.noNewPrivileges", text);
        findings.suggest("set it to true");
    }
}

fn seccomp(subject: &Subject, findings: &mut Findings) {
    let hint = "take the profile of an engine; `oxrun seccomp explain` shows what one does";
    let profile = subject.spec.linux.seccomp.as_ref();
    if subject.plan.seccomp.is_none() && profile.is_none() {
        findings.warning("linux.seccomp", "missing: every system call of the kernel can be made");
        findings.suggest(hint);
    } else if profile.is_some_and(|p| p.default_action == "SCMP_ACT_ALLOW" && p.syscalls.is_empty()) {
        findings.warning("linux.seccomp", "allows everything: every system call of the kernel can be made");
        findings.suggest(hint);
    }
}

/// Files of /proc that show the host.
const SHOWING: [&str; 8] =
    ["kcore", "keys", "timer_list", "sched_debug", "latency_stats", "acpi", "scsi", "asound"];
/// Directories and files of /proc that change the host, but `sys`.
const CHANGING: [&str; 4] = ["bus", "fs", "irq", "sysrq-trigger"];

fn open_proc(subject: &Subject, findings: &mut Findings) {
    let plan = subject.plan;
    for (_, at) in filesystems(subject, "proc") {
        let there = |name: &&&str| hostfs::exists(&Path::new("/proc").join(name));
        let path_of = |name: &str| format!("{}/{name}", at.trim_end_matches('/'));
        let masked = |path: &String| covers(&plan.masked_paths, path);
        let open: Vec<String> =
            SHOWING.iter().filter(there).map(|name| path_of(name)).filter(|path| !masked(path)).collect();
        if !open.is_empty() {
            let text =
                format!("not hidden: {}, which show memory, keys and timers of the host", open.join(", "));
            findings.warning("linux.maskedPaths", text);
            findings.suggest("add them, as in the config.json of `oxrun spec`");
        }
        let locked = |path: &String| masked(path) || covers(&plan.readonly_paths, path);
        let open: Vec<String> =
            CHANGING.iter().map(|name| path_of(name)).filter(|path| !locked(path)).collect();
        if !open.is_empty() {
            findings.warning(
                "linux.readonlyPaths",
                format!("can be written: {}, which change the host", open.join(", ")),
            );
            findings.suggest("add them, as in the config.json of `oxrun spec`");
        }
    }
}

fn writable_proc(subject: &Subject, findings: &mut Findings) {
    let plan = subject.plan;
    for (_, at) in filesystems(subject, "proc").filter(|(mount, _)| !is_read_only(mount)) {
        let sys = format!("{}/sys", at.trim_end_matches('/'));
        let pattern = format!("{sys}/kernel/core_pattern");
        if !covers(&plan.readonly_paths, &pattern) && !covers(&plan.masked_paths, &pattern) {
            let text = format!("`{pattern}` can be written: it names a program that the host runs as root");
            findings.warning("linux.readonlyPaths", text);
            findings.suggest(format!("add `{sys}`"));
        }
    }
}

fn writable_sys(subject: &Subject, findings: &mut Findings) {
    for (mount, at) in filesystems(subject, "sysfs").filter(|(mount, _)| !is_read_only(mount)) {
        let text = format!(
            "`{at}` can be written: settings of devices, and in kernel/uevent_helper a program that the host runs as root"
        );
        findings.warning(format!("mounts[{}].options", mount.index), text);
        findings.suggest("add `ro`");
    }
}

/// The new filesystems of a kind, where root of the container is root on the host.
fn filesystems<'a>(subject: &'a Subject, wanted: &'a str) -> impl Iterator<Item = (&'a Mount, &'a str)> {
    let of_kind =
        move |mount: &&Mount| matches!(&mount.source, MountSource::Filesystem { kind, .. } if kind == wanted);
    let mounts = subject.plan.mounts.iter().filter(|_| !subject.is_confined());
    mounts.filter(of_kind).map(|mount| (mount, mount.destination.as_str()))
}

fn writable_cgroups(subject: &Subject, findings: &mut Findings) {
    let own = subject.plan.namespaces.has(NamespaceKind::Cgroup);
    let cgroups = subject.plan.mounts.iter().filter(|m| matches!(m.source, MountSource::Cgroup { .. }));
    for mount in cgroups.filter(|mount| !is_read_only(mount)) {
        let text = match subject.host.cgroup_v2 {
            true if own => continue,
            true => {
                "can be written without a cgroup namespace: the limits of the container are its own to change"
            }
            false if subject.is_confined() => continue,
            false => "can be written: in cgroup v1 release_agent names a program that the host runs as root",
        };
        findings
            .warning(format!("mounts[{}].options", mount.index), format!("`{}` {text}", mount.destination));
        findings.suggest("add `ro`");
    }
}

/// Sockets whose owner does what it is asked, as root.
const SOCKETS: [&str; 7] = [
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
    "/run/buildkit/buildkitd.sock",
    "/run/systemd/private",
    "/run/dbus/system_bus_socket",
];

fn control_sockets(subject: &Subject, findings: &mut Findings) {
    for (mount, source) in binds(subject) {
        // The usual link /var/run may be missing here, and the socket too.
        let source = source
            .strip_prefix("/var")
            .ok()
            .filter(|s| s.starts_with("run"))
            .map_or(source.clone(), |s| Path::new("/").join(s));
        let handed = |socket: &&&str| {
            let socket = Path::new(socket);
            source == socket || socket.starts_with(&source) && hostfs::exists(socket)
        };
        if let Some(socket) = SOCKETS.iter().find(handed) {
            let text = format!("hands over `{socket}`: whoever reaches it is root on the host");
            findings.warning(format!("mounts[{}].source", mount.index), text);
        }
    }
}

/// Directories of the host that decide what it does.
const DIRECTORIES: [&str; 15] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/proc",
    "/root",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib/containerd",
    "/var/lib/docker",
    "/var/lib/kubelet",
];

fn host_directories(subject: &Subject, findings: &mut Findings) {
    for (mount, source) in binds(subject).filter(|(mount, _)| !is_read_only(mount)) {
        if !subject.is_confined() && DIRECTORIES.iter().any(|directory| source == Path::new(directory)) {
            let text = format!("the container may write the host's `{}`", source.display());
            findings.warning(format!("mounts[{}].source", mount.index), text);
            findings.suggest("add `ro`, or bind only the directory that is needed");
        }
    }
}

/// Bind mounts and their sources without links, where those are there.
fn binds<'a>(subject: &'a Subject) -> impl Iterator<Item = (&'a Mount, std::path::PathBuf)> {
    subject.plan.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Bind { path, .. } => {
            Some((mount, hostfs::canonical(path).unwrap_or_else(|_| path.clone())))
        }
        _ => None,
    })
}

fn propagation(subject: &Subject, findings: &mut Findings) {
    let shared = |flags: u64| flags & libc::MS_SHARED != 0;
    let text = "mounts that the container makes there appear on the host";
    if shared(subject.plan.root_propagation) {
        findings.warning("linux.rootfsPropagation", format!("shared: {text}"));
        findings.suggest("use `private` or `slave`");
    }
    for (mount, _) in binds(subject).filter(|(mount, _)| mount.propagation.iter().any(|flags| shared(*flags)))
    {
        findings.warning(format!("mounts[{}].options", mount.index), format!("shared: {text}"));
        findings.suggest("use `rslave` or `rprivate`");
    }
}

/// Character devices that are the machine itself: major and minor number, what it is.
const MACHINE: [(u32, u32, &str); 3] = [
    (1, 1, "the memory of the machine"),
    (1, 2, "the memory of the kernel"),
    (1, 4, "the ports of the machine"),
];

fn device_nodes(subject: &Subject, findings: &mut Findings) {
    for device in subject.plan.devices.iter().filter(|_| !subject.is_confined()) {
        let machine =
            MACHINE.iter().find(|(major, minor, _)| (*major, *minor) == (device.major, device.minor));
        let what = match device.kind {
            libc::S_IFBLK => "a disk: whoever reads it passes by all permissions of its files",
            libc::S_IFCHR => match machine {
                Some((_, _, what)) => what,
                None => continue,
            },
            _ => continue,
        };
        findings.warning(&device.origin, format!("`{}` is {what}", device.path));
    }
}

fn device_rules(subject: &Subject, findings: &mut Findings) {
    for (i, rule) in subject.spec.linux.resources.iter().flat_map(|r| &r.devices).enumerate() {
        let uses = rule.access.contains(['r', 'w']);
        let any = rule.major.is_none_or(|major| major < 0);
        if rule.allow && uses && any && !subject.is_confined() && matches!(rule.kind.as_str(), "" | "a" | "b")
        {
            let text = "allows every disk of the host";
            findings.warning(format!("linux.resources.devices[{i}]"), text);
            findings.suggest("name the device by major and minor");
        }
    }
}

/// Whether one of the paths is this one, or a directory that it is in.
fn covers(paths: &[String], path: &str) -> bool {
    paths.iter().any(|covering| Path::new(path).starts_with(covering))
}

fn is_read_only(mount: &Mount) -> bool {
    (mount.attributes.set | mount.attributes.recursive_set) & u64::from(MOUNT_ATTR_RDONLY) != 0
}
