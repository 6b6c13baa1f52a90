//! Entering a running container from a process that was cloned for it: the namespaces that the host
//! side left to it, and the root. Called by `init::exec` and `init::remount`.

use super::{become_root_inside, identity};
use crate::error::Doing;
use crate::rootfs::path::Root;
use crate::sys::clone::setns;
use anyhow::Result;
use std::os::fd::OwnedFd;

/// The rest of the way in; made by the host side, inherited through the clone.
#[derive(Debug)]
pub struct Way {
    /// pidfd of the container's init.
    pub init: OwnedFd,
    /// CLONE_NEW… flags of the namespaces of init that are still to be entered.
    pub namespaces: u64,
    /// Whether the container's user namespace is not the runtime's.
    pub user_namespace: bool,
    /// The container's root where it has no mount namespace of its own.
    pub root: Option<OwnedFd>,
    /// Whether the host side is root on the host.
    pub privileged: bool,
    /// Whether the container's user namespace allows setgroups.
    pub may_set_groups: bool,
}

impl Way {
    /// Its descriptors.
    pub fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        [&self.init].into_iter().chain(&self.root)
    }

    /// Enters what the host side would have entered `before`, then what is left, and becomes root of the
    /// user namespace.
    pub fn enter_namespaces(&self, before: u64) -> Result<()> {
        if before != 0 {
            setns(&self.init, before).doing(|| "enter the container's namespaces")?;
        }
        if self.namespaces != 0 {
            setns(&self.init, self.namespaces).doing(|| "enter the container's namespaces")?;
        }
        if self.user_namespace {
            become_root_inside(self.privileged)?;
        }
        // Entering a user namespace makes the process dumpable or not by sysctl; it must not be.
        identity::forbid_tracing()
    }

    /// In a mount namespace of its own the container's root was entered with that.
    pub fn enter_root(&self) -> Result<Root> {
        if let Some(root) = &self.root {
            rustix::process::fchdir(root).doing(|| "enter the container's root")?;
            crate::rootfs::change_root()?;
        }
        Root::own().doing(|| "open the container's root")
    }
}
