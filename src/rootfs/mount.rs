//! One mount of the configuration: made detached, given its attributes while nobody sees it, and
//! moved onto a target that is held by a descriptor (security R2). Called by `rootfs::build` for
//! each entry of `mounts`, in order.

use super::Builder;
use super::path::{Found, Links, Missing, is_directory};
use crate::bundle::plan::{Mount, MountAttributes, MountSource, SymlinkSource};
use crate::error::{Context, Doing, bail, reworded};
use crate::procfs::PROC_SUPER_MAGIC;
use crate::sys::mount::{self as sys, Change};
use anyhow::Result;
use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// All attributes that a bind mount's options replace together, as a remount does.
const ORDINARY: u64 = (sys::MOUNT_ATTR_RDONLY
    | sys::MOUNT_ATTR_NOSUID
    | sys::MOUNT_ATTR_NODEV
    | sys::MOUNT_ATTR_NOEXEC
    | sys::MOUNT_ATTR_NOSYMFOLLOW) as u64;

/// Files of procfs that may be replaced by a bind mount (everything else below /proc is refused).
const PROC_FILES: [&str; 10] = [
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
];

/// Does one mount; the error names source, destination and index.
pub fn mount(builder: &mut Builder, mount: &Mount) -> Result<()> {
    let result = match &mount.source {
        MountSource::Bind { path, recursive, symlink, .. } => {
            bind(builder, mount, path, *recursive, *symlink)
        }
        MountSource::Filesystem { kind, source, super_flags, data } => {
            filesystem(builder, mount, kind, source, *super_flags, data)
        }
        MountSource::Cgroup { data } => super::cgroup::mount(builder, mount, data),
        MountSource::Remount | MountSource::Propagation => change_existing(builder, mount),
    };
    result.with_context(|| {
        format!("mount `{}` on `{}` (mounts[{}])", source_name(mount), mount.destination, mount.index)
    })
}

fn source_name(mount: &Mount) -> &str {
    match &mount.source {
        MountSource::Bind { given, .. } => given,
        MountSource::Filesystem { kind, .. } => kind,
        MountSource::Cgroup { .. } => "cgroup",
        MountSource::Remount => "remount",
        MountSource::Propagation => "propagation",
    }
}

// ---- bind mounts ------------------------------------------------------------------------------

fn bind(
    builder: &mut Builder,
    m: &Mount,
    path: &Path,
    recursive: bool,
    symlink: SymlinkSource,
) -> Result<()> {
    if symlink == SymlinkSource::Copy && copy_symlink(builder, m, path)? {
        return Ok(());
    }
    let tree = open_source(builder, m, path, recursive, symlink != SymlinkSource::Follow)?;
    let missing =
        if is_directory(&tree).doing(|| "look at the source")? { Missing::Directory } else { Missing::File };
    if builder.host.mount_setattr {
        bind_attributes(builder, &tree, &m.attributes)?;
        return attach(builder, m, tree, missing);
    }
    let attached = rustix::io::fcntl_dupfd_cloexec(&tree, 3).doing(|| "keep the mount")?;
    attach(builder, m, tree, missing)?;
    bind_attributes(builder, &attached, &m.attributes)
}

/// Clones the source, as the container's side may or, where only the host may reach it or map its
/// ids, through the host side.
fn open_source(
    builder: &mut Builder,
    m: &Mount,
    path: &Path,
    recursive: bool,
    nofollow: bool,
) -> Result<OwnedFd> {
    if builder.sources_from_host || m.id_map.is_some() {
        return builder.source_from_host(m.index);
    }
    match builder.on_host(|| Ok(clone_tree(path, recursive, nofollow)))? {
        Err(Errno::ACCESS) if builder.in_user_namespace => builder.source_from_host(m.index),
        Err(Errno::NOENT) => bail!("source does not exist: create it on the host or correct the path"),
        other => other.doing(|| "open the source"),
    }
}

/// open_tree(2) with OPEN_TREE_CLONE on a path of the host.
pub fn clone_tree(path: &Path, recursive: bool, nofollow: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if nofollow {
        flags |= OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    }
    rustix::mount::open_tree(CWD, path, flags)
}

/// A clone of the mount that a descriptor is on.
pub fn clone_fd(fd: &OwnedFd, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(fd, "", flags)
}

/// With `copy-symlink`, a source that is a symbolic link is made again in the container.
fn copy_symlink(builder: &mut Builder, m: &Mount, path: &Path) -> Result<bool> {
    let target = match builder.on_host(|| Ok(rustix::fs::readlinkat(CWD, path, Vec::new())))? {
        Ok(target) => target,
        Err(Errno::INVAL) => return Ok(false),
        Err(error) => return Err(error).doing(|| "read the source"),
    };
    let (parent, name) =
        builder.root.parent_of(&m.destination, Links::Follow).doing(|| "create the target's directory")?;
    match rustix::fs::symlinkat(&target, &parent, name) {
        Err(Errno::EXIST) if rustix::fs::readlinkat(&parent, name, Vec::new()).is_ok_and(|t| t == target) => {
            Ok(true)
        }
        other => other.doing(|| "create the symbolic link").map(|()| true),
    }
}

/// R20: sets what the options say on a detached bind mount: none leaves all as it is; any replaces the
/// ordinary flags, save those that a user namespace may not clear and that nobody asked to. Access
/// times are replaced only when one of their options is given, as by a remount.
fn bind_attributes(builder: &Builder, tree: &OwnedFd, wanted: &MountAttributes) -> Result<()> {
    if wanted.set | wanted.clear != 0 {
        let current = current_attributes(tree)?;
        let clear = (ORDINARY & current & !wanted.set) | cleared_times(wanted);
        let change = Change { set: wanted.set, clear, ..Change::default() };
        match builder.set_attributes(tree, change) {
            Err(error) if crate::error::errno_of(&error) == libc::EPERM && builder.in_user_namespace => {
                keep_locked(builder, tree, wanted, current)?;
            }
            other => other?,
        }
    }
    recursive_attributes(builder, tree, wanted)
}

const NODIRATIME: u64 = sys::MOUNT_ATTR_NODIRATIME as u64;
const ATIME: u64 = sys::MOUNT_ATTR__ATIME as u64;

/// The access times that are cleared: what is named, and `nodiratime` where another is named.
fn cleared_times(wanted: &MountAttributes) -> u64 {
    let named = wanted.clear & (ATIME | NODIRATIME);
    if named & ATIME != 0 { (named | NODIRATIME) & !(wanted.set & NODIRATIME) } else { named }
}

/// The same without clearing what is locked, unless an option names it. `nosymfollow` is never
/// locked.
fn keep_locked(builder: &Builder, tree: &OwnedFd, wanted: &MountAttributes, current: u64) -> Result<()> {
    let free = u64::from(sys::MOUNT_ATTR_NOSYMFOLLOW) & current & !wanted.set;
    let clear = wanted.clear & (current | ATIME) | free;
    builder.set_attributes(tree, Change { set: wanted.set, clear, ..Change::default() })
}

/// R20: for all mounts below, or not at all.
fn recursive_attributes(builder: &Builder, tree: &OwnedFd, wanted: &MountAttributes) -> Result<()> {
    if wanted.recursive_set | wanted.recursive_clear == 0 {
        return Ok(());
    }
    let change = Change {
        set: wanted.recursive_set,
        clear: wanted.recursive_clear,
        recursive: true,
        ..Change::default()
    };
    if !builder.host.mount_setattr {
        bail!("recursive mount options need Linux 5.12 or newer");
    }
    sys::mount_setattr(tree, change).doing(|| "set the recursive mount options")
}

/// The MOUNT_ATTR_* bits of a mount, by statvfs(3).
fn current_attributes(fd: &OwnedFd) -> Result<u64> {
    let flags = rustix::fs::fstatfs(fd).doing(|| "read the mount's flags")?.f_flags as u64;
    const BITS: [(u64, u32); 6] = [
        (libc::ST_RDONLY, sys::MOUNT_ATTR_RDONLY),
        (libc::ST_NOSUID, sys::MOUNT_ATTR_NOSUID),
        (libc::ST_NODEV, sys::MOUNT_ATTR_NODEV),
        (libc::ST_NOEXEC, sys::MOUNT_ATTR_NOEXEC),
        (libc::ST_NODIRATIME, sys::MOUNT_ATTR_NODIRATIME),
        (0x2000, sys::MOUNT_ATTR_NOSYMFOLLOW),
    ];
    Ok(BITS.iter().filter(|(st, _)| flags & st != 0).map(|(_, attr)| u64::from(*attr)).sum())
}

// ---- new filesystems --------------------------------------------------------------------------

fn filesystem(
    builder: &mut Builder,
    m: &Mount,
    kind: &str,
    source: &str,
    super_flags: u64,
    data: &[(String, Option<String>)],
) -> Result<()> {
    let links = if ordinary_directory(kind) { Links::Never } else { target_links(m) };
    let target = match find_target(builder, m, Missing::Directory, links, None) {
        Err(error) if ordinary_directory(kind) && crate::error::errno_of(&error) == libc::ELOOP => {
            bail!(
                "{kind} must be mounted on ordinary directory: a component of the target is a symbolic link"
            )
        }
        other => other?,
    };
    let mut data = data.to_vec();
    inherit_mode(kind, &target, &mut data)?;
    if let Some(label) = builder.plan.mount_label.as_ref().filter(|_| !ordinary_directory(kind)) {
        data.push((builder.plan.extensions.mount_context.into(), Some(label.clone())));
    }
    // Targets below a tmpfs are made in it, so it becomes read-only when all mounts are done.
    let later = kind == "tmpfs" && m.attributes.set & u64::from(sys::MOUNT_ATTR_RDONLY) != 0;
    let (mut attributes, mut super_flags) = (m.attributes.set as u32, super_flags);
    if later {
        attributes &= !sys::MOUNT_ATTR_RDONLY;
        super_flags &= !libc::MS_RDONLY;
    }
    let attributes = MountAttrFlags::from_bits_retain(attributes);
    let tree = match new_filesystem(kind, source, super_flags, &data, attributes) {
        Err(error) if builder.in_user_namespace && crate::error::errno_of(&error) == libc::EPERM => {
            super::userns::fallback(builder, kind, m.index, error)?
        }
        other => other?,
    };
    recursive_attributes(builder, &tree, &m.attributes)?;
    if m.copy_up {
        super::copyup::copy(builder.procfs, &target.fd, &tree)
            .context("copy the target's content into the tmpfs")?;
    }
    place(builder, m, &tree, &target, Change::default())?;
    if later {
        builder.readonly_later.push(tree);
    }
    Ok(())
}

/// Filesystems whose target must be a real directory at that very place (CVE-2019-19921).
fn ordinary_directory(kind: &str) -> bool {
    matches!(kind, "proc" | "sysfs")
}

/// A tmpfs over a directory that is there takes over its mode, unless a mode is given.
fn inherit_mode(kind: &str, target: &Found, data: &mut Vec<(String, Option<String>)>) -> Result<()> {
    if kind != "tmpfs" || target.created || data.iter().any(|(key, _)| key == "mode") {
        return Ok(());
    }
    let mode = super::path::stat(&target.fd).doing(|| "look at the target's mode")?.st_mode & 0o7777;
    data.push(("mode".into(), Some(format!("{mode:o}"))));
    Ok(())
}

/// fsopen, fsconfig, fsmount: a detached mount of a new filesystem. The error carries what the
/// filesystem itself says.
pub fn new_filesystem(
    kind: &str,
    source: &str,
    super_flags: u64,
    data: &[(String, Option<String>)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd> {
    let context = match rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(Errno::NODEV) => bail!("the kernel has no filesystem `{kind}`: see /proc/filesystems"),
        other => other.doing(|| "open the filesystem")?,
    };
    configure(&context, source, super_flags, data)
        .and_then(|()| rustix::mount::fsconfig_create(&context).doing(|| "create the filesystem"))
        .map_err(|error| said_by_kernel(&context, error))?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .doing(|| "make the mount")
        .map_err(|error| said_by_kernel(&context, error))
}

fn configure(
    context: &OwnedFd,
    source: &str,
    super_flags: u64,
    data: &[(String, Option<String>)],
) -> Result<()> {
    if !source.is_empty() && source != "none" {
        rustix::mount::fsconfig_set_string(context, "source", source).doing(|| "set the source")?;
    }
    const FLAGS: [(u64, &str); 5] = [
        (libc::MS_RDONLY, "ro"),
        (libc::MS_SYNCHRONOUS, "sync"),
        (libc::MS_DIRSYNC, "dirsync"),
        (libc::MS_MANDLOCK, "mand"),
        (1 << 25, "lazytime"),
    ];
    for (_, name) in FLAGS.iter().filter(|(bit, _)| super_flags & bit != 0) {
        rustix::mount::fsconfig_set_flag(context, *name).doing(|| format!("set option `{name}`"))?;
    }
    for (key, value) in data {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(context, key.as_str(), value.as_str()),
            None => rustix::mount::fsconfig_set_flag(context, key.as_str()),
        }
        .doing(|| format!("set option `{key}`"))?;
    }
    Ok(())
}

/// Whether a filesystem takes options, for one who only looks: none is made. Not every filesystem says so
/// before it is.
pub fn try_options(kind: &str, super_flags: u64, data: &[(String, Option<String>)]) -> Result<()> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).doing(|| "open the filesystem")?;
    configure(&context, "", super_flags, data).map_err(|error| said_by_kernel(&context, error))
}

/// Adds the messages that the filesystem left for this context.
fn said_by_kernel(context: &OwnedFd, error: anyhow::Error) -> anyhow::Error {
    let mut said = Vec::new();
    let mut buffer = [0u8; 512];
    while let Ok(length @ 1..) = rustix::io::read(context, &mut buffer) {
        let line = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).trim().to_string();
        said.push(line.get(2..).unwrap_or_default().to_string());
    }
    if said.is_empty() { error } else { reworded(&error, |why| format!("{}: {why}", said.join(", "))) }
}

// ---- targets ----------------------------------------------------------------------------------

fn target_links(m: &Mount) -> Links {
    if m.follow_destination { Links::Follow } else { Links::NotLast }
}

/// Finds or makes the target; a target below /proc is refused but for a few files. `bound` is what a bind
/// mount shows.
pub fn find_target(
    builder: &Builder,
    m: &Mount,
    missing: Missing,
    links: Links,
    bound: Option<&OwnedFd>,
) -> Result<Found> {
    let found = builder
        .root
        .find_or_create(&m.destination, missing, links)
        .doing(|| "find or create the target in the container")?;
    refuse_inside_proc(builder, m, &found.fd, bound)?;
    refuse_other_kind(&found.fd, missing)?;
    Ok(found)
}

/// The kernel mounts directories on directories, and everything else on anything else.
fn refuse_other_kind(target: &OwnedFd, source: Missing) -> Result<()> {
    match (source, is_directory(target).doing(|| "look at the kind of the target")?) {
        (Missing::Directory, false) => bail!("the target is not a directory, but what is mounted is one"),
        (Missing::File, true) => bail!("the target is a directory, but what is mounted is not a directory"),
        _ => Ok(()),
    }
}

/// Mounts over procfs could redirect what is later written there (CVE-2019-16884).
fn refuse_inside_proc(builder: &Builder, m: &Mount, target: &OwnedFd, bound: Option<&OwnedFd>) -> Result<()> {
    if !is_procfs(target).doing(|| "look at the filesystem of the target")? {
        return Ok(());
    }
    let path = builder.procfs.path_of(target)?;
    let inside = path.rsplit_once("/proc/").map(|(_, rest)| rest).unwrap_or_default();
    let is_root = super::path::stat(target).doing(|| "look at the target below /proc")?.st_ino == 1;
    let shows_proc = match (&m.source, bound) {
        (MountSource::Filesystem { kind, .. }, _) => kind == "proc",
        (_, Some(tree)) => is_procfs(tree).doing(|| "look at the filesystem of the source")?,
        _ => false,
    };
    if (is_root && shows_proc) || PROC_FILES.contains(&inside) {
        return Ok(());
    }
    bail!("the target is inside /proc, which may not be covered: mount it elsewhere")
}

fn is_procfs(fd: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(rustix::fs::fstatfs(fd)?.f_type as u64 == PROC_SUPER_MAGIC)
}

fn attach(builder: &mut Builder, m: &Mount, tree: OwnedFd, missing: Missing) -> Result<()> {
    if m.destination == "/" {
        return builder.replace_root(tree);
    }
    let target = find_target(builder, m, missing, target_links(m), Some(&tree))?;
    if m.destination == "/proc"
        && missing == Missing::Directory
        && !is_procfs(&tree).doing(|| "look at the filesystem that is to be /proc")?
    {
        bail!("only procfs may be mounted on /proc: the source is another filesystem");
    }
    place(builder, m, &tree, &target, builder.parting)
}

/// Moves a detached mount onto its target, with `change`, and sets its propagation.
pub fn place(builder: &Builder, m: &Mount, tree: &OwnedFd, target: &Found, change: Change) -> Result<()> {
    builder.attach_with(tree, &target.fd, change)?;
    set_propagation(builder, tree, &m.propagation)
}

/// move_mount(2) of a detached mount onto a descriptor.
pub fn move_onto(tree: &OwnedFd, target: &OwnedFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", target, "", flags)
}

/// Applies propagation changes in the order they were given.
pub fn set_propagation(builder: &Builder, mount: &OwnedFd, changes: &[u64]) -> Result<()> {
    for flags in changes {
        let recursive = flags & libc::MS_REC != 0;
        let change = Change { propagation: flags & !libc::MS_REC, recursive, ..Change::default() };
        builder.set_attributes(mount, change)?;
    }
    Ok(())
}

/// `remount`, or options for what is mounted there already.
fn change_existing(builder: &mut Builder, m: &Mount) -> Result<()> {
    let target = builder
        .root
        .open(&m.destination, OFlags::PATH, target_links(m))
        .doing(|| "find what is to be changed")?;
    bind_attributes(builder, &target, &m.attributes)?;
    set_propagation(builder, &target, &m.propagation)
}

impl Builder<'_> {
    /// mount_setattr(2); on Linux 5.10 and 5.11 the old mount(2) on the attached mount, which it
    /// can only do for one mount at a time and for what is already attached.
    pub fn set_attributes(&self, mount: &OwnedFd, change: Change) -> Result<()> {
        if change.set | change.clear | change.propagation == 0 {
            return Ok(());
        }
        if !self.host.mount_setattr {
            return self.old_mount(mount, change);
        }
        sys::mount_setattr(mount, change).doing(|| "set the mount's options")
    }

    /// Attaches a detached mount with options, which are set before anybody sees it where the kernel
    /// can do that.
    pub fn attach_with(&self, tree: &OwnedFd, target: &OwnedFd, change: Change) -> Result<()> {
        if self.host.mount_setattr {
            self.set_attributes(tree, change)?;
        }
        move_onto(tree, target).doing(|| "attach the mount to its target")?;
        if self.host.mount_setattr { Ok(()) } else { self.set_attributes(tree, change) }
    }

    fn old_mount(&self, mount: &OwnedFd, change: Change) -> Result<()> {
        self.procfs.enter_own_fds()?;
        let name = std::ffi::CString::new(mount.as_raw_fd().to_string())?;
        let recursive = if change.recursive { libc::MS_REC } else { 0 };
        if change.propagation != 0 {
            sys::mount_flags(&name, change.propagation | recursive).doing(|| "set the propagation")?;
        }
        if change.set | change.clear == 0 {
            return Ok(());
        }
        let kept = current_attributes(mount)? & !change.clear;
        let flags = old_flags(kept | change.set) | libc::MS_REMOUNT | libc::MS_BIND;
        sys::mount_flags(&name, flags)
            .doing(|| "set the mount's options (which Linux 5.12 or newer can do before attaching)")
    }
}

/// MOUNT_ATTR_* as MS_* flags.
fn old_flags(attributes: u64) -> u64 {
    const BITS: [(u32, u64); 6] = [
        (sys::MOUNT_ATTR_RDONLY, libc::MS_RDONLY),
        (sys::MOUNT_ATTR_NOSUID, libc::MS_NOSUID),
        (sys::MOUNT_ATTR_NODEV, libc::MS_NODEV),
        (sys::MOUNT_ATTR_NOEXEC, libc::MS_NOEXEC),
        (sys::MOUNT_ATTR_NODIRATIME, libc::MS_NODIRATIME),
        (sys::MOUNT_ATTR_NOSYMFOLLOW, 256),
    ];
    let mut flags: u64 = BITS.iter().filter(|(a, _)| attributes & u64::from(*a) != 0).map(|(_, f)| f).sum();
    match attributes & u64::from(sys::MOUNT_ATTR__ATIME) {
        a if a == u64::from(sys::MOUNT_ATTR_NOATIME) => flags |= libc::MS_NOATIME,
        a if a == u64::from(sys::MOUNT_ATTR_STRICTATIME) => flags |= libc::MS_STRICTATIME,
        _ => {}
    }
    flags
}
