//! The container's filesystem, built by init from the plan: the root attached in the new mount
//! namespace, the mounts in order, devices and links (`build`), then entered (`enter`), and last
//! what is hidden or read-only (`seal`). Everything is done by descriptors; see `path` for how
//! a path inside the root is found.

pub mod cgroup;
mod copyup;
pub mod device;
pub mod hide;
pub mod mount;
pub mod namespace;
pub mod path;
mod pivot;
pub mod reseal;
mod userns;

use crate::bundle::plan::{NamespaceKind, Plan};
use crate::error::{Context, Doing, bail};
use crate::procfs::Procfs;
use crate::sys::mount::{self as sys, Change};
use crate::trace;
use anyhow::Result;
use path::Root;
use rustix::fs::OFlags;
use std::os::fd::OwnedFd;

/// What the running kernel offers for mounts; probed once by the host side.
#[derive(Debug, Clone, Copy)]
pub struct MountFeatures {
    /// mount_setattr(2), Linux 5.12.
    pub mount_setattr: bool,
}

impl MountFeatures {
    /// Finds out by calling: an invalid descriptor is refused as such only where the call exists.
    pub fn probe() -> MountFeatures {
        let exists = match std::env::var_os("OXRUN_WITHOUT").filter(|w| w == "mount_setattr") {
            Some(_) => false,
            None => sys::probe_mount_setattr(),
        };
        MountFeatures { mount_setattr: exists }
    }
}

/// Asks the host side for what init may not open, map or mount itself: the source of the bind mount
/// with this index, as a detached mount with the mount's id map, or its new sysfs.
pub type AskHost<'a> = dyn FnMut(usize) -> Result<OwnedFd> + 'a;

/// The root being built.
pub struct Builder<'a> {
    /// What to build.
    pub plan: &'a Plan,
    /// The kernel's features.
    pub host: MountFeatures,
    /// The host's procfs.
    pub procfs: &'a Procfs,
    /// The container's cgroups, to be mounted.
    pub cgroups: &'a crate::cgroup::View,
    /// Whether the container has a user namespace of its own.
    pub in_user_namespace: bool,
    /// The root: the attached mount of the root filesystem.
    pub root: Root,
    /// Whether every source of a bind mount comes from the host side.
    pub sources_from_host: bool,
    /// The host's mount namespace, where this process has left it already.
    left: Option<namespace::Left>,
    /// What parts mounts that are cloned in the host's own mount namespace from it; a clone in a copy of
    /// that is parted already.
    parting: Change,
    /// Mounts that become read-only when all targets below them were made.
    readonly_later: Vec<OwnedFd>,
    ask_host: &'a mut AskHost<'a>,
}

impl<'a> Builder<'a> {
    /// Makes the mount namespace private towards the host, and attaches the root filesystem
    /// over its own directory; or enters the namespace `own` that was made of it.
    pub fn attach_root(
        plan: &'a Plan,
        own: Option<&OwnedFd>,
        host: MountFeatures,
        procfs: &'a Procfs,
        cgroups: &'a crate::cgroup::View,
        ask_host: &'a mut AskHost<'a>,
    ) -> Result<Builder<'a>> {
        let in_user_namespace = plan.namespaces.has(NamespaceKind::User);
        let propagation = propagation(plan);
        let left = own.map(namespace::enter).transpose()?;
        if plan.namespaces.has(NamespaceKind::Mount) {
            sys::mount_flags(c"/", propagation).doing(|| "set the propagation of the mount namespace")?;
        }
        let root = match &left {
            Some(_) => Root::own().doing(|| "open the root filesystem")?,
            None => Root::new(attach_over_itself(plan)?),
        };
        Ok(Builder {
            plan,
            host,
            procfs,
            cgroups,
            in_user_namespace,
            root,
            sources_from_host: false,
            parting: if left.is_some() { parting(plan) } else { Change::default() },
            left,
            readonly_later: Vec::new(),
            ask_host,
        })
    }

    /// For a root that is entered already: the container runs. Sources of bind mounts are the host's.
    pub fn in_running(
        plan: &'a Plan,
        host: MountFeatures,
        procfs: &'a Procfs,
        cgroups: &'a crate::cgroup::View,
        root: Root,
        ask_host: &'a mut AskHost<'a>,
    ) -> Builder<'a> {
        let in_user_namespace = plan.namespaces.has(NamespaceKind::User);
        Builder {
            plan,
            host,
            procfs,
            cgroups,
            in_user_namespace,
            root,
            sources_from_host: true,
            parting: parting(plan),
            left: None,
            readonly_later: Vec::new(),
            ask_host,
        }
    }

    /// Mounts, devices and links, in the order of the specification.
    pub fn build(&mut self) -> Result<()> {
        for mount in &self.plan.mounts {
            trace::step_of("mount", || mount.destination.clone(), || mount::mount(self, mount))?;
        }
        if self.makes_devices() {
            trace::step("make devices", || device::create_all(self))?;
        }
        self.make_readonly_what_waited()
    }

    /// A tmpfs that is read-only becomes so when the targets in it were made.
    pub fn make_readonly_what_waited(&mut self) -> Result<()> {
        let readonly = Change { set: u64::from(sys::MOUNT_ATTR_RDONLY), ..Change::default() };
        for mount in std::mem::take(&mut self.readonly_later) {
            self.set_attributes(&mount, readonly)?;
        }
        Ok(())
    }

    /// A /dev that is the host's own, bound in, is left as it is.
    fn makes_devices(&self) -> bool {
        use crate::bundle::plan::MountSource;
        !self
            .plan
            .mounts
            .iter()
            .any(|m| m.destination == "/dev" && matches!(m.source, MountSource::Bind { .. }))
    }

    /// Makes the built root the root directory, and lets go of the host's.
    pub fn enter(self) -> Result<Root> {
        if self.left.is_some() {
            pivot::settle(self.plan.root_propagation)?;
        } else if self.plan.namespaces.has(NamespaceKind::Mount) {
            pivot::enter(&self.root, self.plan.no_pivot, self.plan.root_propagation)?;
        } else {
            pivot::chroot(&self.root)?;
        }
        Root::own().doing(|| "open the new root")
    }

    /// Does something for which the host's files have to be seen.
    pub fn on_host<T>(&self, what: impl FnOnce() -> Result<T>) -> Result<T> {
        match &self.left {
            Some(left) => left.on_host(what),
            None => what(),
        }
    }

    /// The detached source of a bind mount that only the host side may open or map.
    pub fn source_from_host(&mut self, index: usize) -> Result<OwnedFd> {
        (self.ask_host)(index).context("open the source on the host")
    }

    /// A bind mount over `/` becomes the root.
    pub fn replace_root(&mut self, tree: OwnedFd) -> Result<()> {
        self.attach_with(&tree, self.root.fd(), self.parting).context("attach the mount to the root")?;
        self.root = Root::new(tree);
        Ok(())
    }
}

/// How mounts of the host are propagated in the container's mount namespace.
fn propagation(plan: &Plan) -> u64 {
    match plan.root_propagation {
        0 => libc::MS_SLAVE | libc::MS_REC,
        // An unbindable root could not be cloned; it becomes so when it was entered.
        given if given & libc::MS_UNBINDABLE != 0 => libc::MS_PRIVATE | libc::MS_REC,
        given => given,
    }
}

/// What makes a clone of a mount of the host a mount of the container (R2): nothing that is mounted on it in
/// the container may appear on the host, unless the plan wants that.
fn parting(plan: &Plan) -> Change {
    let propagation = propagation(plan) & (libc::MS_SLAVE | libc::MS_PRIVATE);
    Change { propagation, recursive: true, ..Change::default() }
}

/// Makes the root directory of this process its working directory.
#[expect(clippy::disallowed_methods, reason = "R8: `/` is no path that somebody could exchange")]
fn enter_root_directory() -> Result<()> {
    rustix::process::chdir("/").doing(|| "enter the new root")
}

/// Makes the root directory of this process that of the working directory (R1: entered by descriptor).
#[expect(clippy::disallowed_methods, reason = "R1: `.` is no path that somebody could exchange")]
pub fn change_root() -> Result<()> {
    rustix::process::chroot(".").doing(|| "change the root directory")
}

/// Clones the root filesystem's mounts and attaches them over the directory itself, so that it is
/// a mount that can become the root.
fn attach_over_itself(plan: &Plan) -> Result<OwnedFd> {
    let shown = plan.rootfs.display();
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let directory =
        crate::hostfs::open(&plan.rootfs, flags).doing(|| format!("open the root filesystem `{shown}`"))?;
    if plan.namespaces.has(NamespaceKind::Mount) {
        make_parent_private(plan, &directory)?;
    } else {
        part_from_mount_below(&directory)?;
    }
    let tree = mount::clone_fd(&directory, true).doing(|| format!("clone the root filesystem `{shown}`"))?;
    mount::move_onto(&tree, &directory).doing(|| format!("attach the root filesystem `{shown}`"))?;
    Ok(tree)
}

/// Without a mount namespace: what the caller has mounted on the root filesystem's directory, if it is a
/// shared bind mount of just that, would go when the container's mount on it goes. The kernel unmounts by
/// propagation what is in the same place in a peer, and there that place is the directory itself.
fn part_from_mount_below(directory: &OwnedFd) -> Result<()> {
    rustix::process::fchdir(directory).doing(|| "enter the root filesystem to find its mount")?;
    match sys::mount_flags(c".", libc::MS_PRIVATE) {
        // There is none.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        other => other.doing(|| "make the mount on the root filesystem private"),
    }
}

/// A shared root propagation leaves the parent mount shared, which pivot_root(2) refuses.
fn make_parent_private(plan: &Plan, directory: &OwnedFd) -> Result<()> {
    if plan.root_propagation & libc::MS_SHARED == 0 {
        return Ok(());
    }
    rustix::process::fchdir(directory).doing(|| "enter the root filesystem to find its mount")?;
    let mut above = String::from(".");
    for _ in 0..64 {
        let name = std::ffi::CString::new(above.clone()).unwrap_or_default();
        match sys::mount_flags(&name, libc::MS_PRIVATE) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => above.push_str("/.."),
            other => return other.doing(|| "make the parent of the root filesystem private"),
        }
    }
    bail!("the root filesystem is too deep: its mount point was not found")
}

/// Makes the whole root read-only.
pub fn make_readonly(root: &Root, features: MountFeatures) -> Result<()> {
    let change = Change { set: u64::from(sys::MOUNT_ATTR_RDONLY), ..Change::default() };
    if features.mount_setattr {
        return sys::mount_setattr(root.fd(), change).doing(|| "make the root read-only");
    }
    let kept = rustix::fs::fstatfs(root.fd()).doing(|| "look at the root")?.f_flags as u64;
    let kept = kept & (libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC);
    sys::mount_flags(c"/", kept | libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY)
        .doing(|| "make the root read-only")
}
