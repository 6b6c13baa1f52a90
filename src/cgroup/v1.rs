//! The container's cgroups on a host with cgroup v1 (also hybrid, where cgroup2 is mounted beside
//! it without controllers): one node per hierarchy. `Manager` hands every operation on to here.

use super::devices_v1::Policy;
use super::layout::{Layout, normalise};
use super::limits_v1;
use super::node::{Node, Place, field};
use super::setting::{self, Old, Setting};
use super::{HierarchyView, Join, check_usage, found, signal_all};
use crate::bundle::Problems;
use crate::bundle::plan::{CgroupPlan, DeviceRule};
use crate::bundle::spec::Resources;
use crate::error;
use crate::error::{Context, anyhow, bail};
use anyhow::Result;
use rustix::io::Errno;
use std::time::{Duration, Instant};

/// How long freezing may take.
const FREEZE_TIME: Duration = Duration::from_secs(2);

/// The container's cgroups: one node per v1 hierarchy and the cgroup2 one of a hybrid host.
#[derive(Debug)]
pub struct Cgroup {
    /// v1 hierarchies.
    pub nodes: Vec<Node>,
    /// cgroup2 without controllers.
    pub unified: Option<Node>,
}

impl Cgroup {
    /// Decides the paths: absolute below the hierarchy, else below the runtime's own cgroup.
    pub fn new(layout: &Layout, plan: &CgroupPlan, id: &str) -> Result<Cgroup> {
        let path = |own: &str| -> Result<String> {
            let given = normalise(if plan.path.is_empty() { id } else { &plan.path })?;
            let path = if plan.path.starts_with('/') { given } else { normalise(&format!("{own}/{given}"))? };
            if path.is_empty() {
                bail!(
                    "cgroup path `{}` is the root cgroup: name one below it (linux.cgroupsPath)",
                    plan.path
                );
            }
            Ok(path)
        };
        let mut nodes = Vec::new();
        for h in &layout.legacy {
            let (controllers, mountpoint) = (h.controllers.clone(), h.mountpoint.clone());
            nodes.push(Node::new(Place { controllers, mountpoint, path: path(&h.own)?, made: 0 }));
        }
        let unified = match &layout.unified {
            Some((mountpoint, own)) => {
                let mountpoint = mountpoint.clone();
                Some(Node::new(Place { controllers: Vec::new(), mountpoint, path: path(own)?, made: 0 }))
            }
            None => None,
        };
        Ok(Cgroup { nodes, unified })
    }

    fn all(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().chain(&self.unified)
    }

    /// The node of a controller.
    pub fn node(&self, controller: &str) -> Result<&Node> {
        self.nodes.iter().find(|n| n.place.controllers.iter().any(|c| c == controller)).ok_or_else(|| {
            anyhow!(
                "cgroup controller `{controller}` is not there: this host has no such v1 hierarchy mounted"
            )
        })
    }

    fn node_of(&self, setting: &Setting) -> Result<&Node> {
        self.node(setting.controller()).with_context(|| setting.json.clone())
    }

    /// Makes what is missing in every hierarchy; on failure what was made is gone again.
    pub fn create(&mut self) -> Result<()> {
        let result = self.make_all();
        if result.is_err() {
            let now = Instant::now();
            for node in self.nodes.iter_mut().chain(&mut self.unified).filter(|n| n.place.made > 0) {
                let _ = node.remove(now);
            }
        }
        result
    }

    fn make_all(&mut self) -> Result<()> {
        for node in self.nodes.iter_mut().chain(&mut self.unified) {
            node.make()?;
            if node.place.made == 0 {
                super::refuse_populated(node, None)?;
            }
        }
        self.fit()
    }

    /// Makes them ready to be entered.
    fn fit(&self) -> Result<()> {
        if let Ok(node) = self.node("cpuset") {
            inherit_cpuset(node)?;
        }
        if self.is_frozen()? {
            bail!("container's cgroup unexpectedly frozen: thaw it or choose another linux.cgroupsPath");
        }
        Ok(())
    }

    /// Makes what is missing beside what systemd made, where the first process is already in.
    pub fn adopt(&mut self, first: i32) -> Result<()> {
        for node in self.nodes.iter_mut().chain(&mut self.unified) {
            node.make()?;
            if node.place.made == 0 {
                super::refuse_populated(node, Some(first))?;
            }
        }
        self.fit()
    }

    /// Applies limits and, where there are any, device rules.
    pub fn apply(&self, resources: &Resources, devices: &[DeviceRule]) -> Result<()> {
        let mut problems = Problems::default();
        let settings = limits_v1::settings(resources, &mut problems);
        found(&problems)?;
        if let Ok(memory) = self.node("memory") {
            let usage = |file: &str| memory.read_if_any(file)?.trim().parse().ok();
            let both = || (usage("memory.usage_in_bytes"), usage("memory.memsw.usage_in_bytes"));
            check_usage(resources, both)?;
        }
        setting::write_all(&settings, |s| self.node_of(s))?;
        if devices.is_empty() { Ok(()) } else { self.set_devices(devices) }
    }

    /// What `apply` with these resources would change, as it is now.
    pub fn snapshot(&self, resources: &Resources) -> Vec<Old> {
        let settings = limits_v1::settings(resources, &mut Problems::default());
        setting::snapshot(&settings, |s| self.node_of(s))
    }

    /// Brings old values back.
    pub fn restore(&self, olds: &[Old]) -> Result<()> {
        setting::write_all(&setting::restoring(olds), |s| self.node_of(s))
    }

    fn set_devices(&self, rules: &[DeviceRule]) -> Result<()> {
        let target = Policy::fold(rules).map_err(|e| anyhow!("linux.resources.devices: {e}"))?;
        let node = self.node("devices").context("linux.resources.devices")?;
        let now = Policy::parse(&node.read("devices.list")?);
        let write = |from: &Policy, to: &Policy| -> Result<()> {
            let mut open = None;
            for (file, line) in from.writes_to(to) {
                if open.as_ref().is_none_or(|(name, _)| *name != file) {
                    open = Some((file, node.open_for_write(file).context("linux.resources.devices")?));
                }
                let Some((_, fd)) = &open else { continue };
                node.write_open(fd, file, &line).context("linux.resources.devices")?;
            }
            Ok(())
        };
        write(&now, &target).inspect_err(|_| {
            let _ = node.read("devices.list").map(|list| write(&Policy::parse(&list), &now));
        })
    }

    /// The `tasks` files for init to write `0` to, and the cgroup2 directory to be cloned into.
    pub fn join(&self) -> Result<Join> {
        let into = match &self.unified {
            Some(node) => Some(node.open_again()?),
            None => None,
        };
        let tasks = self.nodes.iter().map(|n| n.open_for_one_write("tasks")).collect::<Result<_>>()?;
        Ok(Join { into, tasks })
    }

    /// Moves a process into every hierarchy.
    #[cfg(test)]
    pub fn add_process(&self, pid: i32) -> Result<()> {
        self.all().try_for_each(|node| node.write("cgroup.procs", &pid.to_string()))
    }

    /// All processes, of the hierarchy that shows them best.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let best = ["freezer", "devices", "memory"].iter().find_map(|c| self.node(c).ok());
        match best.or_else(|| self.all().next()) {
            Some(node) => node.processes(),
            None => Ok(Vec::new()),
        }
    }

    /// Signals all processes; SIGKILL also reaches those that fork meanwhile or are frozen.
    pub fn kill(&self, signal: i32) -> Result<()> {
        if signal != libc::SIGKILL {
            return signal_all(|| self.processes(), signal);
        }
        let frozen = self.freeze().is_ok();
        let result = signal_all(|| self.processes(), signal);
        if frozen || self.is_frozen().unwrap_or(false) {
            self.thaw_subtree()?;
        }
        result
    }

    /// Freezes. The kernel can get stuck in FREEZING when a process enters meanwhile, so it is
    /// told again; thawed when it takes too long or fails.
    pub fn freeze(&self) -> Result<()> {
        self.freeze_in_time().inspect_err(|_| drop(self.thaw()))
    }

    fn freeze_in_time(&self) -> Result<()> {
        let node = self.node("freezer")?;
        let deadline = Instant::now() + FREEZE_TIME;
        for round in 1u32.. {
            node.write("freezer.state", "FROZEN")?;
            if node.read("freezer.state")?.trim() == "FROZEN" {
                return Ok(());
            }
            if Instant::now() > deadline {
                break;
            }
            if round.is_multiple_of(25) {
                node.write("freezer.state", "THAWED")?;
            }
            std::thread::sleep(Duration::from_micros(if round < 10 { 50 } else { 1000 }));
        }
        bail!("freeze `{}`: a process does not stop within 2 s; it runs on", node.place.directory().display())
    }

    /// Thaws.
    pub fn thaw(&self) -> Result<()> {
        self.node("freezer")?.write("freezer.state", "THAWED")
    }

    fn thaw_subtree(&self) -> Result<()> {
        self.node("freezer")?.walk(|directory| {
            match super::node::write_at(directory, "freezer.state", "THAWED") {
                Err(Errno::NOENT | Errno::NODEV) => Ok(()),
                other => other,
            }
        })
    }

    /// Whether it is frozen, by itself or by a parent.
    pub fn is_frozen(&self) -> Result<bool> {
        // Without the hierarchy nothing can be frozen.
        let Ok(node) = self.node("freezer") else { return Ok(false) };
        let state = node.read_if_there("freezer.state")?;
        Ok(state.is_some_and(|s| s.trim() != "THAWED"))
    }

    /// Removes those that are empty, until one is not: false.
    pub fn remove_empty(&mut self) -> Result<bool> {
        for node in self.nodes.iter_mut().chain(&mut self.unified) {
            if !node.remove_empty()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes all of them; false when others' processes are in one.
    pub fn remove(&mut self, deadline: Instant) -> Result<bool> {
        let mut gone = true;
        let mut first = None;
        for node in self.nodes.iter_mut().chain(&mut self.unified) {
            match node.remove(deadline) {
                Ok(removed) => gone &= removed,
                Err(error) => drop(first.get_or_insert(error)),
            }
        }
        first.map_or(Ok(gone), Err)
    }

    /// Whether any of them is there.
    pub fn exists(&self) -> bool {
        self.all().any(Node::exists)
    }

    /// Processes killed for lack of memory.
    pub fn oom_kill_count(&self) -> Option<u64> {
        field(&self.node("memory").ok()?.read_if_any("memory.oom_control")?, "oom_kill")?.parse().ok()
    }

    /// What the hierarchies look like inside the container.
    pub fn view(&self) -> Vec<HierarchyView> {
        self.all().map(hierarchy_view).collect()
    }
}

fn hierarchy_view(node: &Node) -> HierarchyView {
    let place = &node.place;
    let name = place.mountpoint.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let controllers = place.controllers.join(",");
    let named = controllers.starts_with("name=");
    let symlinks = match place.controllers.as_slice() {
        [_, _, ..] => {
            place.controllers.iter().filter(|c| **c != name).map(|c| (c.clone(), name.clone())).collect()
        }
        _ => Vec::new(),
    };
    HierarchyView {
        mount_data: if named { format!("none,{controllers}") } else { controllers },
        container_path: place.directory(),
        symlinks,
        name,
    }
}

/// A new cpuset has neither CPUs nor memory nodes and takes no process: it gets its parent's, and
/// the parent its own parent's where that is new too.
fn inherit_cpuset(node: &Node) -> Result<()> {
    let root = node.root()?;
    fill_cpuset(&root, &node.place.path).map(drop).map_err(|e| {
        anyhow!("give cpuset `{}` its parent's CPUs: {}", node.place.directory().display(), error::text(e))
    })
}

/// Answers with what the cgroup has then.
fn fill_cpuset(root: &std::os::fd::OwnedFd, path: &str) -> Result<[String; 2], Errno> {
    use super::node::{open_below, read_at, write_at};
    use std::os::fd::AsFd;
    let own = open_below(root.as_fd(), path)?;
    let read = |file| read_at(own.as_fd(), file).map(|text| text.trim().to_string());
    let mut now = [read("cpuset.cpus")?, read("cpuset.mems")?];
    if path.is_empty() || now.iter().all(|value| !value.is_empty()) {
        return Ok(now);
    }
    let parent = fill_cpuset(root, path.rsplit_once('/').map_or("", |(parent, _)| parent))?;
    for ((file, now), parent) in ["cpuset.cpus", "cpuset.mems"].into_iter().zip(&mut now).zip(parent) {
        if now.is_empty() {
            write_at(own.as_fd(), file, &parent)?;
            *now = parent;
        }
    }
    Ok(now)
}
