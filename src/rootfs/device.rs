//! Device nodes and the links of /dev (runtime-linux.md): made relative to descriptors of their
//! directories; in a user namespace the host's device is bound instead. Also the console's place.
//! Called by `Builder::build`, and by init for /dev/console.

use super::Builder;
use super::mount::{clone_fd, clone_tree, move_onto};
use super::path::{EMPTY_PATH, Links, Missing, Root, stat};
use crate::bundle::plan::Device;
use crate::error::{Context, Doing, bail};
use crate::procfs::Procfs;
use crate::sys::mount::{self as sys, Change};
use anyhow::Result;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;

/// All devices of the plan, then /dev/ptmx and the standard links.
pub fn create_all(builder: &mut Builder) -> Result<()> {
    let plan = builder.plan;
    for device in &plan.devices {
        create(builder, device)
            .with_context(|| format!("create device `{}` ({})", device.path, device.origin))?;
    }
    let dev = builder
        .root
        .find_or_create("/dev", Missing::Directory, Links::Never)
        .doing(|| "open /dev of the container")?
        .fd;
    ptmx(&dev)?;
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        link(&dev, name, target)?;
    }
    link_core(builder, &dev)
}

/// /dev/core leads to /proc/kcore where there is one.
fn link_core(builder: &Builder, dev: &OwnedFd) -> Result<()> {
    match builder.root.open("/proc/kcore", OFlags::PATH, Links::Never) {
        Ok(_) => link(dev, "core", "/proc/kcore"),
        Err(_) => Ok(()),
    }
}

/// A link that is there already, or something else in its place, is the image's choice.
fn link(dev: &OwnedFd, name: &str, target: &str) -> Result<()> {
    match rustix::fs::symlinkat(target, dev, name) {
        Err(Errno::EXIST) => Ok(()),
        other => other.doing(|| format!("link /dev/{name} to {target}")),
    }
}

/// /dev/ptmx is always the container's own.
fn ptmx(dev: &OwnedFd) -> Result<()> {
    match rustix::fs::unlinkat(dev, "ptmx", AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error).doing(|| "remove /dev/ptmx of the image"),
    }
    rustix::fs::symlinkat("pts/ptmx", dev, "ptmx").doing(|| "link /dev/ptmx to pts/ptmx")
}

fn create(builder: &mut Builder, device: &Device) -> Result<()> {
    let (parent, name) = builder
        .root
        .parent_of(&device.path, Links::Never)
        .doing(|| "open its directory (symbolic links are not followed there)")?;
    // A fifo is no device to the kernel: anybody may make one.
    if builder.in_user_namespace && device.kind != libc::S_IFIFO {
        return bind(builder, &parent, name, device);
    }
    let kind = FileType::from_raw_mode(device.kind);
    let number = rustix::fs::makedev(device.major, device.minor);
    match rustix::fs::mknodat(&parent, name, kind, Mode::from_raw_mode(device.mode), number) {
        Ok(()) => {}
        Err(Errno::EXIST) if is_device(&open_node(&parent, name)?, device)? => {}
        Err(Errno::EXIST) => {
            bail!("another file is there already: remove it from the root filesystem")
        }
        Err(Errno::PERM) => return bind(builder, &parent, name, device),
        Err(error) => return Err(error).doing(|| "mknod"),
    }
    if device.uid != 0 || device.gid != 0 {
        let node = open_node(&parent, name)?;
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        rustix::fs::chownat(&node, "", Some(uid), Some(gid), EMPTY_PATH).doing(|| "set its owner")?;
    }
    Ok(())
}

fn open_node(parent: &OwnedFd, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty()).doing(|| "open the node")
}

/// Whether what is there already is that device, as it must be (config-linux.md, Devices).
fn is_device(node: &OwnedFd, device: &Device) -> Result<bool> {
    let found = stat(node).doing(|| "look at what is there")?;
    let same_kind = found.st_mode & libc::S_IFMT == device.kind;
    let number = rustix::fs::makedev(device.major, device.minor);
    Ok(same_kind && (device.kind == libc::S_IFIFO || found.st_rdev == number))
}

/// In a user namespace: the host's node of the same path, bound over an empty file.
fn bind(builder: &Builder, parent: &OwnedFd, name: &str, device: &Device) -> Result<()> {
    let tree = builder.on_host(|| {
        let host = crate::hostfs::open(device.path.as_str(), OFlags::PATH | OFlags::NOFOLLOW)
            .doing(|| "open the device on the host, as device nodes cannot be made in a user namespace")?;
        if !is_device(&host, device)? {
            bail!("the host has another device there, which would be bound: correct type, major and minor");
        }
        clone_fd(&host, false).doing(|| "clone the host's device")
    })?;
    let mut set = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NOEXEC;
    if !builder.in_user_namespace {
        // Else root inside could change mode and owner of the host's node.
        set |= sys::MOUNT_ATTR_RDONLY;
    }
    let change = Change { set: u64::from(set), ..builder.parting };
    builder.attach_with(&tree, &empty_file(parent, name)?, change).context("bind the host's device")
}

/// An empty regular file made for a mount, or the non-link that is there.
fn empty_file(parent: &OwnedFd, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
    match rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o666)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error).doing(|| format!("create `{name}`")),
    }
    let node = open_node(parent, name)?;
    let found = stat(&node).doing(|| "look at the target")?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
        bail!("`{name}` is a symbolic link: remove it from the root filesystem");
    }
    Ok(node)
}

/// Binds the terminal onto /dev/console of the entered root (security R7).
pub fn console(root: &Root, terminal: &OwnedFd) -> Result<()> {
    let (dev, name) = root.parent_of("/dev/console", Links::Never).doing(|| "open /dev")?;
    let target = empty_file(&dev, name)?;
    let tree = clone_fd(terminal, false).doing(|| "clone the terminal")?;
    move_onto(&tree, &target).doing(|| "bind the terminal on /dev/console")
}

/// The container's own /dev/pts/ptmx, checked to be that of a devpts before it is opened for a new
/// terminal (R6: the image may have any other device there).
pub fn open_ptmx(root: &Root, procfs: &Procfs) -> Result<OwnedFd> {
    const DEVPTS_MAGIC: u64 = 0x1cd1;
    let ptmx = root
        .open("/dev/pts/ptmx", OFlags::PATH, Links::Never)
        .doing(|| "open /dev/pts/ptmx of the container: process.terminal needs a devpts mount on /dev/pts")?;
    let magic = rustix::fs::fstatfs(&ptmx).doing(|| "check /dev/pts")?.f_type as u64;
    if magic != DEVPTS_MAGIC {
        bail!("/dev/pts of the container is not a devpts: mount one there");
    }
    procfs.reopen(&ptmx, OFlags::RDWR | OFlags::NOCTTY).doing(|| "open /dev/pts/ptmx of the container")
}

/// A clone of a path of the host, for the fallbacks in a user namespace.
pub fn clone_host(path: &Path) -> Result<OwnedFd> {
    clone_tree(path, true, false).doing(|| format!("clone `{}` of the host", path.display()))
}
