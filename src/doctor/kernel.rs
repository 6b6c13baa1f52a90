//! What the kernel offers, by calling it: mounts, processes, namespaces, seccomp. What could change something is
//! done in a child that ends at once, or to a descriptor that is closed again. Called by `doctor`.

use super::report::{Rows, State};
use crate::bundle::Host;
use crate::bundle::plan::{IdMap, MountIdMap, NamespaceKind};
use crate::container::launch;
use crate::hostfs;
use crate::probe::{self, Presence};
use crate::procfs::Procfs;
use crate::rootfs::mount::clone_tree;
use crate::seccomp;
use crate::sys::clone::{Forked, clone3};
use crate::sys::process::{self as sys, Exit};
use crate::sys::{self as calls};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::FsOpenFlags;
use rustix::process::PidfdFlags;
use std::path::Path;

const UPDATE: &str = "use a newer kernel: 5.10 or later has it";

/// Looks at all of it.
pub fn look(host: &Host, rows: &mut Rows) {
    rows.area("kernel");
    let name = rustix::system::uname();
    let release = format!("{} {}", name.release().to_string_lossy(), name.machine().to_string_lossy());
    rows.add_row("version", State::Yes, release, "");
    mounts(host, rows);
    processes(rows);
    namespaces(host, rows);
    filters(rows);
}

fn mounts(host: &Host, rows: &mut Rows) {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let opened = rustix::fs::openat2(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve);
    rows.add_row("openat2", opened.is_ok(), "no path leads out of a root filesystem", UPDATE);
    rows.essential();
    let opened = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC);
    rows.add_row("fsopen", !matches!(opened, Err(Errno::NOSYS)), "mounts are made by descriptor", UPDATE);
    rows.essential();
    let setattr = calls::mount::probe_mount_setattr();
    let remedy = "a kernel from 5.12 on has it; without it read-only mounts are made in two steps, and `rro` is refused";
    rows.add_row(
        "mount_setattr",
        if setattr { State::Yes } else { State::Partly },
        "attributes of whole trees of mounts",
        remedy,
    );
    let (state, why) = id_mapped_mounts(host);
    rows.add_row(
        "id-mapped mounts",
        state,
        "`idmap`: files of the host with other owners in a container",
        why,
    );
}

/// Tried with a clone of `/` that is never attached.
fn id_mapped_mounts(host: &Host) -> (State, String) {
    if !host.is_privileged() {
        return (State::Partly, "root alone can tell".into());
    }
    let line = IdMap { inside: 0, outside: 100_000, size: 1000 };
    let map = MountIdMap { uid_map: vec![line], gid_map: vec![line], recursive: false };
    let tried = clone_tree(Path::new("/"), false, false)
        .map_err(anyhow::Error::from)
        .and_then(|tree| launch::map_ids(&tree, &map, &Procfs::open()?, 0));
    match tried {
        Ok(()) => (State::Yes, String::new()),
        Err(error) => (State::No, format!("tried with `/`: {}", crate::error::shown(&error))),
    }
}

fn processes(rows: &mut Rows) {
    let (_, ended) = child(0, || true);
    rows.add_row("clone3", ended, "a process is made with all its namespaces at once", UPDATE);
    rows.essential();
    let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty());
    rows.add_row("pidfd", own.is_ok(), "signals reach the right process", UPDATE);
    rows.essential();
    // No descriptor has so high a number.
    let closed = sys::cloexec_from(u32::MAX - 1);
    rows.add_row(
        "close_range",
        closed.is_ok(),
        "no descriptor of the runtime gets into a container",
        "a kernel from 5.11 on has it",
    );
    rows.essential();
}

/// Runs something in a new process with these namespaces: the error number of the clone, and whether it succeeded.
fn child(flags: u64, work: impl FnOnce() -> bool) -> (i32, bool) {
    match clone3(flags, None) {
        Ok(Forked::Child) => sys::exit_now(i32::from(!work())),
        Ok(Forked::Parent { pidfd, .. }) => (0, matches!(sys::wait_pidfd(&pidfd), Ok(Exit::Code(0)))),
        Err(error) => (error.raw_os_error().unwrap_or(0), false),
    }
}

fn namespaces(host: &Host, rows: &mut Rows) {
    rows.area("namespaces");
    for kind in NamespaceKind::ALL.into_iter().filter(|kind| *kind != NamespaceKind::User) {
        let needed = matches!(kind, NamespaceKind::Mount | NamespaceKind::Pid);
        let remedy = match probe::most_namespaces(kind) {
            Some(0) => format!("`{}` is 0: write a larger number to it", probe::most_namespaces_file(kind)),
            _ => "use a kernel that is built with them".into(),
        };
        let there = probe::has_namespaces(kind) && probe::most_namespaces(kind) != Some(0);
        rows.add_row(kind.name(), there, meaning(kind), remedy);
        if needed {
            rows.essential();
        }
    }
    let user = NamespaceKind::User.flag();
    let (errno, there) = child(user, || true);
    let remedy = match (errno, probe::most_namespaces(NamespaceKind::User)) {
        (_, Some(0)) => "`/proc/sys/user/max_user_namespaces` is 0: write a larger number to it",
        (libc::EPERM | libc::EACCES, _) => {
            "see /proc/sys/kernel/unprivileged_userns_clone and apparmor_restrict_unprivileged_userns, or run as root"
        }
        _ => "use a kernel that is built with them",
    };
    rows.add_row("user", there, "root of a container is nobody on the host; containers without root", remedy);
    if !host.is_privileged() {
        rows.essential();
    }
    if probe::filesystem("overlay") == Presence::Ready {
        let overlay = || rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).is_ok();
        let (_, there) = child(user | NamespaceKind::Mount.flag(), overlay);
        let remedy = "a kernel from 5.11 on has it; engines take fuse-overlayfs instead";
        rows.add_row(
            "overlay in a user namespace",
            there,
            "engines without root keep images in layers",
            remedy,
        );
    }
}

fn meaning(kind: NamespaceKind) -> &'static str {
    match kind {
        NamespaceKind::User => "ids",
        NamespaceKind::Mount => "mounts of its own",
        NamespaceKind::Cgroup => "the container sees its own part of the cgroup tree",
        NamespaceKind::Ipc => "message queues and shared memory of its own",
        NamespaceKind::Uts => "a host name of its own",
        NamespaceKind::Network => "a network of its own",
        NamespaceKind::Pid => "processes of its own",
        NamespaceKind::Time => "linux.timeOffsets",
    }
}

fn filters(rows: &mut Rows) {
    rows.area("seccomp");
    let actions = probe::line("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let there = !actions.is_empty();
    let shown = if there { actions.clone() } else { "linux.seccomp".into() };
    rows.add_row("filters", there, shown, "use a kernel that is built with CONFIG_SECCOMP_FILTER");
    let notifies = actions.split(' ').any(|action| action == "user_notif");
    rows.add_row("notification", notifies, "SCMP_ACT_NOTIFY: an agent answers system calls", UPDATE);
    for (bit, name) in seccomp::flag_names(u64::MAX) {
        let state = if sys::seccomp_has_flag(bit) { State::Yes } else { State::Partly };
        rows.add_row(name, state, "a flag of linux.seccomp.flags", "leave it out, or use a newer kernel");
    }
    let jit =
        hostfs::read_to_string("/proc/sys/net/core/bpf_jit_enable").is_ok_and(|text| text.trim() != "0");
    let state = if jit { State::Yes } else { State::Partly };
    rows.add_row(
        "compiled by the kernel",
        state,
        "filters cost next to nothing",
        "write 1 to /proc/sys/net/core/bpf_jit_enable",
    );
}
