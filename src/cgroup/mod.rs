//! Control groups, by the cgroup filesystem or by systemd: where a container's cgroups are, making them, limits,
//! device rules, joining, freezing, killing, removing, statistics. The host side of `create` makes
//! a `Manager` from the plan; later commands make it from the `Location` in state.json.

mod dbus;
mod device_program;
mod devices_v1;
mod freezers;
mod lack;
mod layout;
mod limits;
mod limits_v1;
mod limits_v2;
#[cfg(test)]
mod live_tests;
mod node;
pub mod rdt_stats;
mod setting;
mod stats;
mod systemd;
mod unit;
mod v1;
mod v2;

/// Every reader of cgroup files and of mountinfo, on any text.
#[cfg(fuzzing)]
pub fn fuzz_files(text: &str) {
    stats::fuzz(text);
    layout::fuzz(text);
    setting::fuzz(text);
    devices_v1::fuzz(text);
}

#[cfg(fuzzing)]
pub use dbus::fuzz as fuzz_dbus;
pub use freezers::Freezers;
pub use lack::{lacks, systemd as ask_systemd};
pub use layout::Layout;
pub use limits::check;
pub use node::{NotPermitted, Place};
pub use setting::Old;
pub use stats::{Stats, Usage};
pub use unit::ANNOTATION as SYSTEMD_ANNOTATION;
pub use v2::can_load_device_rules;

use crate::bundle::Problems;
use crate::bundle::plan::{CgroupPlan, DeviceRule};
use crate::bundle::spec::Resources;
use crate::error;
use crate::error::{anyhow, bail};
use crate::sys::signal;
use anyhow::Result;
use node::Node;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long removal waits for dying processes; those of others are then left alone.
const REMOVE_TIME: Duration = Duration::from_secs(2);

/// Where a container's cgroups are; part of state.json, and enough for every later command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// It has none of its own.
    #[default]
    None,
    /// One per v1 hierarchy, then that of cgroup2 on a hybrid host.
    V1(Vec<Place>),
    /// The one on a v2 host.
    V2(Place),
    /// Those of a unit of systemd.
    Systemd {
        /// The unit.
        unit: systemd::Unit,
        /// Where its cgroups are; `None` as long as it is being made.
        cgroups: Box<Location>,
    },
}

impl Location {
    /// Where the cgroups are, whoever made them.
    pub fn files(&self) -> &Location {
        match self {
            Location::Systemd { cgroups, .. } => cgroups,
            other => other,
        }
    }
}

/// What a process needs to get into the cgroups.
#[derive(Debug, Default)]
pub struct Join {
    /// The cgroup2 directory for clone3's CLONE_INTO_CGROUP.
    pub into: Option<OwnedFd>,
    /// `tasks` of every v1 hierarchy, for the still single-threaded process to write `0` to.
    pub tasks: Vec<OwnedFd>,
}

/// The container's cgroups as mounts inside it.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Whether there is one cgroup2 hierarchy and nothing else.
    pub v2: bool,
    /// The hierarchies; one on v2, none without cgroups.
    pub hierarchies: Vec<HierarchyView>,
}

/// One hierarchy as a mount inside the container.
#[derive(Debug, Clone, Default)]
pub struct HierarchyView {
    /// Name of the directory in /sys/fs/cgroup (`cpu,cpuacct`, `systemd`, `unified`).
    pub name: String,
    /// Options to mount it with (`cpu,cpuacct`; `none,name=systemd`); empty for cgroup2.
    pub mount_data: String,
    /// The container's own directory in it on the host.
    pub container_path: PathBuf,
    /// Links beside it: name and target (`cpu` to `cpu,cpuacct`).
    pub symlinks: Vec<(String, String)>,
}

/// A container's cgroups.
#[derive(Debug)]
pub enum Manager {
    /// On a host with cgroup v1, also hybrid.
    V1(v1::Cgroup),
    /// On a host with cgroup v2 alone.
    V2(v2::Cgroup),
    /// Made by systemd, on either.
    Systemd(systemd::Scope),
    /// No cgroup of its own.
    None,
}

impl Manager {
    /// Decides where the cgroups will be; makes nothing.
    pub fn new(layout: &Layout, plan: &CgroupPlan, id: &str) -> Result<Manager> {
        if layout.is_v2() {
            return Ok(Manager::V2(v2::Cgroup::new(layout, plan, id)?));
        }
        if layout.legacy.is_empty() {
            bail!("no cgroup filesystem below /sys/fs/cgroup: mount one or use --cgroup-manager disabled");
        }
        Ok(Manager::V1(v1::Cgroup::new(layout, plan, id)?))
    }

    /// The same by systemd: by that of the system, or (`user`) that of the caller. Asks nobody yet.
    pub fn of_systemd(
        layout: Layout,
        plan: &CgroupPlan,
        id: &str,
        annotations: &BTreeMap<String, String>,
        user: bool,
    ) -> Result<Manager> {
        Ok(Manager::Systemd(systemd::Scope::new(layout, plan, id, annotations, user)?))
    }

    /// The cgroups of a container made before.
    pub fn from_location(location: &Location) -> Manager {
        match location {
            Location::None => Manager::None,
            Location::V2(place) => Manager::V2(v2::Cgroup { node: Node::new(place.clone()) }),
            Location::Systemd { unit, cgroups } => {
                Manager::Systemd(systemd::Scope::made(unit.clone(), Manager::from_location(cgroups)))
            }
            Location::V1(places) => {
                let (unified, nodes): (Vec<Node>, Vec<Node>) =
                    places.iter().cloned().map(Node::new).partition(|n| n.place.is_v2());
                Manager::V1(v1::Cgroup { nodes, unified: unified.into_iter().next() })
            }
        }
    }

    /// Where they are.
    pub fn location(&self) -> Location {
        match self {
            Manager::None => Location::None,
            Manager::V2(c) => Location::V2(c.node.place.clone()),
            Manager::Systemd(s) => {
                Location::Systemd { unit: s.unit.clone(), cgroups: Box::new(s.files.location()) }
            }
            Manager::V1(c) => {
                Location::V1(c.nodes.iter().chain(&c.unified).map(|n| n.place.clone()).collect())
            }
        }
    }

    /// Makes the directories that are missing. Fails where the cgroup is frozen or has processes;
    /// an error that is `NotPermitted` says that this user may not make cgroups there. On failure
    /// what was made is gone and the manager is `None`: the rest is others'.
    pub fn create(&mut self) -> Result<()> {
        let result = match self {
            Manager::Systemd(s) => s.create(),
            Manager::None => Ok(()),
            Manager::V1(c) => c.create(),
            Manager::V2(c) => c.create(),
        };
        if result.is_err() {
            *self = Manager::None;
        }
        result
    }

    /// Applies limits, then device rules (all of them, in order; an empty list leaves those in
    /// force alone). Only what is given changes, so it serves create and update.
    pub fn apply(&self, resources: &Resources, devices: &[DeviceRule]) -> Result<()> {
        match self {
            Manager::Systemd(s) => s.apply(resources, devices),
            Manager::None => refuse_limits(resources),
            Manager::V1(c) => c.apply(resources, devices),
            Manager::V2(c) => c.apply(resources, devices),
        }
    }

    /// What `apply` with these resources would overwrite, for `restore`. Device rules are applied
    /// last and all or nothing, so they are not in it.
    pub fn snapshot(&self, resources: &Resources) -> Vec<Old> {
        match self {
            Manager::Systemd(s) => s.files.snapshot(resources),
            Manager::None => Vec::new(),
            Manager::V1(c) => c.snapshot(resources),
            Manager::V2(c) => c.snapshot(resources),
        }
    }

    /// Brings back what `snapshot` read.
    pub fn restore(&self, olds: &[Old]) -> Result<()> {
        match self {
            Manager::Systemd(s) => s.files.restore(olds),
            Manager::None => Ok(()),
            Manager::V1(c) => c.restore(olds),
            Manager::V2(c) => c.restore(olds),
        }
    }

    /// What the container's first process needs to get in.
    pub fn join(&self) -> Result<Join> {
        match self {
            Manager::Systemd(s) => s.files.join(),
            Manager::None => Ok(Join::default()),
            Manager::V1(c) => c.join(),
            Manager::V2(c) => c.join(),
        }
    }

    /// Moves a running process in. Slow: the kernel waits for all CPUs.
    #[cfg(test)]
    pub fn add_process(&self, pid: i32) -> Result<()> {
        match self {
            Manager::Systemd(s) => s.files.add_process(pid),
            Manager::None => Ok(()),
            Manager::V1(c) => c.add_process(pid),
            Manager::V2(c) => c.add_process(pid),
        }
    }

    /// All processes, also those in cgroups below; ascending, as seen from here.
    pub fn processes(&self) -> Result<Vec<i32>> {
        match self {
            Manager::Systemd(s) => s.files.processes(),
            Manager::None => Ok(Vec::new()),
            Manager::V1(c) => c.processes(),
            Manager::V2(c) => c.node.processes(),
        }
    }

    /// Signals all processes but this one. SIGKILL misses none that fork meanwhile and ends
    /// frozen ones too; nothing is waited for.
    pub fn kill(&self, signal: i32) -> Result<()> {
        match self {
            Manager::Systemd(s) => s.files.kill(signal),
            Manager::None => Ok(()),
            Manager::V1(c) => c.kill(signal),
            Manager::V2(c) => c.kill(signal),
        }
    }

    /// Stops all processes; returns when they are stopped.
    pub fn freeze(&self) -> Result<()> {
        match self {
            Manager::Systemd(s) => s.files.freeze(),
            Manager::None => bail!("freeze: the container has no cgroup of its own"),
            Manager::V1(c) => c.freeze(),
            Manager::V2(c) => c.freeze(),
        }
    }

    /// Lets them run again.
    pub fn thaw(&self) -> Result<()> {
        match self {
            Manager::Systemd(s) => s.files.thaw(),
            Manager::None => bail!("thaw: the container has no cgroup of its own"),
            Manager::V1(c) => c.thaw(),
            Manager::V2(c) => c.thaw(),
        }
    }

    /// The one whose files say whether they are frozen.
    pub fn freezer(&self) -> Option<Place> {
        match self {
            Manager::Systemd(s) => s.files.freezer(),
            Manager::None => None,
            Manager::V1(c) => c.node("freezer").ok().map(|node| node.place.clone()),
            Manager::V2(c) => Some(c.node.place.clone()),
        }
    }

    /// Whether they are frozen.
    pub fn is_frozen(&self) -> Result<bool> {
        self.freezer().map_or(Ok(false), |place| Freezers::default().is_frozen(&place))
    }

    /// Removes the cgroups where nothing is in them, which the kernel knows best: neither frozen nor
    /// listed before. Else, and where systemd does it, false.
    pub fn remove_empty(&mut self) -> Result<bool> {
        match self {
            Manager::Systemd(_) => Ok(false),
            Manager::None => Ok(true),
            Manager::V1(c) => c.remove_empty(),
            Manager::V2(c) => c.node.remove_empty(),
        }
    }

    /// Removes the cgroups, those below them, and the empty parents made for them; waits up to 2 s
    /// for dying processes. False when processes are still in one, which then stays.
    pub fn remove(&mut self) -> Result<bool> {
        let deadline = Instant::now() + REMOVE_TIME;
        match self {
            Manager::Systemd(s) => s.remove(deadline),
            other => other.remove_until(deadline),
        }
    }

    fn remove_until(&mut self, deadline: Instant) -> Result<bool> {
        match self {
            Manager::None => Ok(true),
            Manager::V1(c) => c.remove(deadline),
            Manager::V2(c) => c.node.remove(deadline),
            Manager::Systemd(s) => s.remove(deadline),
        }
    }

    /// Init is in: what kept a unit from being empty until then is not needed any more. `resources`
    /// are those applied before.
    pub fn entered(&self, resources: &Resources) -> Result<()> {
        match self {
            Manager::Systemd(s) => s.entered(resources),
            _ => Ok(()),
        }
    }

    /// Whether any of the cgroups is there.
    pub fn exists(&self) -> bool {
        match self {
            Manager::Systemd(s) => s.files.exists(),
            Manager::None => false,
            Manager::V1(c) => c.exists(),
            Manager::V2(c) => c.node.exists(),
        }
    }

    /// How many processes the kernel has killed for lack of memory; none where it does not say.
    pub fn oom_kill_count(&self) -> Option<u64> {
        match self {
            Manager::Systemd(s) => s.files.oom_kill_count(),
            Manager::None => None,
            Manager::V1(c) => c.oom_kill_count(),
            Manager::V2(c) => c.oom_kill_count(),
        }
    }

    /// What is in use now, for `events`; none without cgroups.
    pub fn stats(&self) -> Option<Stats> {
        match self {
            Manager::Systemd(s) => s.files.stats(),
            Manager::None => None,
            Manager::V1(c) => Some(stats::of_v1(c)),
            Manager::V2(c) => Some(stats::of_v2(&c.node)),
        }
    }

    /// Hands the cgroup to a user of the host (checklist 8.15): the directory and the files that
    /// the kernel lists for delegation. cgroup v1 is never handed over.
    pub fn delegate(&self, uid: u32) -> Result<()> {
        match self {
            Manager::Systemd(s) => s.files.delegate(uid),
            Manager::None | Manager::V1(_) => Ok(()),
            Manager::V2(c) => c.delegate(uid),
        }
    }

    /// The directory of a controller (`memory`, `name=systemd`) on the host, the one directory on
    /// v2; an empty name is the cgroup2 directory.
    pub fn path_of(&self, controller: &str) -> Option<PathBuf> {
        match self {
            Manager::Systemd(s) => s.files.path_of(controller),
            Manager::None => None,
            Manager::V2(c) => Some(c.node.place.directory()),
            Manager::V1(c) if controller.is_empty() => c.unified.as_ref().map(|n| n.place.directory()),
            Manager::V1(c) => c.node(controller).ok().map(|n| n.place.directory()),
        }
    }

    /// What to mount for the container.
    pub fn view(&self) -> View {
        match self {
            Manager::Systemd(s) => s.files.view(),
            Manager::None => View::default(),
            Manager::V1(c) => View { v2: false, hierarchies: c.view() },
            Manager::V2(c) => View { v2: true, hierarchies: c.view() },
        }
    }
}

/// An error of all problems, if there are any.
fn found(problems: &Problems) -> Result<()> {
    if problems.is_empty() { Ok(()) } else { Err(anyhow!("{problems}")) }
}

/// Whether there are limits, beside device rules.
pub fn has_limits(resources: &Resources) -> bool {
    let limits = Resources { devices: Vec::new(), ..resources.clone() };
    limits != Resources::default()
}

fn refuse_limits(resources: &Resources) -> Result<()> {
    if !has_limits(resources) {
        return Ok(());
    }
    bail!("linux.resources: the container has no cgroup of its own to set limits in; leave the limits out")
}

/// Refuses a cgroup that has processes beside the runtime's own one, naming some.
fn refuse_populated(node: &Node, own: Option<i32>) -> Result<()> {
    let mut pids = node.processes()?;
    pids.retain(|pid| Some(*pid) != own);
    if pids.is_empty() {
        return Ok(());
    }
    let some: Vec<String> = pids.iter().take(5).map(ToString::to_string).collect();
    let path = node.place.directory();
    bail!(
        "container's cgroup is not empty: `{}` has {} processes ({}); choose another linux.cgroupsPath or end them",
        path.display(),
        pids.len(),
        some.join(", ")
    )
}

/// With `checkBeforeUpdate`, refuses limits below what is in use (bytes of memory, and with swap).
fn check_usage(resources: &Resources, usage: impl FnOnce() -> (Option<u64>, Option<u64>)) -> Result<()> {
    let Some(wanted) = resources.memory.as_ref().filter(|m| m.check_before_update == Some(true)) else {
        return Ok(());
    };
    let (memory, with_swap) = usage();
    let below = |limit: Option<i64>, usage: Option<u64>| {
        let (limit, usage) = (u64::try_from(limit?).ok().filter(|l| *l > 0)?, usage?);
        (limit < usage).then_some((limit, usage))
    };
    if let Some((limit, usage)) = below(wanted.limit, memory) {
        bail!("linux.resources.memory.limit: rejecting memory limit {limit}: {usage} bytes are in use");
    }
    if let Some((limit, usage)) = below(wanted.swap, with_swap) {
        bail!("linux.resources.memory.swap: rejecting memory+swap limit {limit}: {usage} bytes are in use");
    }
    Ok(())
}

/// Signals all listed processes but this one, and lists again until there is no new one; for other
/// signals than SIGKILL, once. A process is signalled by a pidfd opened before the list that has
/// it was read, so that no stranger with a reused number is hit.
fn signal_all(list: impl Fn() -> Result<Vec<i32>>, number: i32) -> Result<()> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let mut known: Vec<(i32, OwnedFd)> = Vec::new();
    let mut listed = list()?;
    loop {
        let new: Vec<i32> = listed
            .iter()
            .copied()
            .filter(|pid| *pid > 0 && *pid != own && !known.iter().any(|(other, _)| other == pid))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let pidfds: Vec<(i32, OwnedFd)> =
            new.into_iter().filter_map(|pid| Some((pid, node::pidfd(pid)?))).collect();
        listed = list()?;
        for (pid, pidfd) in pidfds {
            if !listed.contains(&pid) {
                continue;
            }
            match signal::send(pidfd.as_fd(), number) {
                Ok(()) | Err(Errno::SRCH) => known.push((pid, pidfd)),
                Err(e) => bail!("send signal {number} to process {pid}: {}", error::text(e)),
            }
        }
        if number != libc::SIGKILL {
            return Ok(());
        }
    }
}
