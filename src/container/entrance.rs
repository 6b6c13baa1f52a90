//! The way into a running container for a process that joins it. Everything that needs the host is
//! opened first; then this process enters the container's namespaces for good and clones the
//! process into them, so that it is born inside and nothing of the host is in reach of the
//! container. What stays outside is the user namespace (the host's privileges are still needed)
//! and the cgroup namespace (clone3 into a cgroup wants to see it); those the new process enters
//! itself. Used by `exec` and `mounts`.

use super::error::Error;
use super::identity::{ended, exiting};
use crate::bundle::host::Host;
use crate::bundle::plan::{NamespaceKind, Plan};
use crate::error::{Doing, bail};
use crate::init::join::Way;
use crate::namespaces;
use crate::sys::clone::setns;
use crate::sys::exe;
use crate::sys::process as sys;
use anyhow::Result;
use rustix::fs::OFlags;
use std::os::fd::OwnedFd;

/// The way in, opened but not gone yet.
#[derive(Debug)]
pub struct Entrance {
    /// Namespaces that this process enters itself.
    before: u64,
    /// What is left to the new process.
    pub way: Way,
}

impl Entrance {
    /// Looks at the namespaces of a container's first process.
    pub fn open(plan: &Plan, pid: i32, init: OwnedFd, host: &Host) -> Result<Entrance> {
        let (privileged, may_set_groups) = (host.is_privileged(), host.may_set_groups());
        let all = match namespaces::differing(pid, &plan.namespaces.create) {
            // On its way out it has no namespaces any more, though it has not ended yet.
            Err(_) if ended(&init)? || exiting(pid) => {
                bail!(Error::WrongState("container not running".into()))
            }
            all => all?,
        };
        let (user, cgroup) = (NamespaceKind::User.flag(), NamespaceKind::Cgroup.flag());
        // Without privileges on the host they come from the user namespace, so that is first.
        let after = all & if privileged { user | cgroup } else { cgroup };
        let root = (all & NamespaceKind::Mount.flag() == 0).then(|| open_root(plan)).transpose()?;
        // It was there all the time, so what was looked at is its own.
        if ended(&init)? {
            bail!(Error::WrongState("container not running".into()));
        }
        let way = Way {
            init,
            namespaces: after,
            user_namespace: all & user != 0,
            root,
            privileged,
            may_set_groups,
        };
        Ok(Entrance { before: all & !after, way })
    }

    /// The namespaces to enter, when the new process can be born outside and hide until its program runs: it
    /// goes to a pid namespace of the container's own at the very end (`init::last`).
    pub fn by_itself(&self) -> Option<u64> {
        (self.before & NamespaceKind::Pid.flag() != 0).then_some(self.before)
    }

    /// The point of no return: from here on this process touches no path.
    pub fn enter(&self) -> Result<()> {
        let parting = exe::part_from_executable(self.before & NamespaceKind::User.flag() != 0)
            .doing(|| "part from the runtime's executable")?;
        let forbid_tracing = || sys::prctl(libc::PR_SET_DUMPABLE, 0).doing(|| "forbid tracing");
        // Nobody may trace this process or read its memory when it is in reach (security R9).
        forbid_tracing()?;
        if self.before != 0 {
            setns(&self.way.init, self.before).doing(|| "enter the container's namespaces")?;
            forbid_tracing()?;
        }
        if let Some(parting) = parting {
            parting.finish().doing(|| "part from the runtime's executable")?;
        }
        Ok(())
    }
}

fn open_root(plan: &Plan) -> Result<OwnedFd> {
    crate::hostfs::open(&plan.rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW)
        .doing(|| format!("open the container's root `{}`", plan.rootfs.display()))
}
