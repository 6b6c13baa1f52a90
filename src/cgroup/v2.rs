//! The container's cgroup on a host with cgroup v2 alone: one node. Enables controllers from the
//! top down, converts limits, attaches the device program. `Manager` hands every operation on to
//! here.

use super::device_program;
use super::layout::{Layout, normalise};
use super::limits_v2;
use super::node::{Node, Place, field, open_below, read_at, write_at};
use super::setting::{self, Old, Setting};
use super::{HierarchyView, Join, check_usage, found, signal_all};
use crate::bundle::Problems;
use crate::bundle::plan::{CgroupPlan, DeviceRule};
use crate::bundle::spec::Resources;
use crate::error;
use crate::error::{Context, Doing, anyhow, bail};
use crate::sys::bpf;
use anyhow::Result;
use rustix::fs::AtFlags;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// The name of device programs, by which a program of this runtime is known.
const PROGRAM_NAME: &str = "oxrun_devices";

/// Controllers that engines read for every container (usage, OOM kills); enabled where they can
/// be, needed by no limit.
const WANTED: [&str; 2] = ["memory", "pids"];

/// How long freezing may take.
const FREEZE_TIME: Duration = Duration::from_secs(2);

/// The container's cgroup.
#[derive(Debug)]
pub struct Cgroup {
    /// Its one directory.
    pub node: Node,
}

impl Cgroup {
    /// Decides the path: absolute below the hierarchy, else beside the runtime's own cgroup. That
    /// one has processes, at least the runtime, so it cannot give controllers to one below it.
    pub fn new(layout: &Layout, plan: &CgroupPlan, id: &str) -> Result<Cgroup> {
        let (mountpoint, own) = layout.unified.clone().context("cgroup v2 is not mounted")?;
        let given = normalise(if plan.path.is_empty() { id } else { &plan.path })?;
        let parent = own.rsplit_once('/').map_or("", |(parent, _)| parent);
        let path = if plan.path.starts_with('/') { given } else { normalise(&format!("{parent}/{given}"))? };
        if path.is_empty() {
            bail!("cgroup path `{}` is the root cgroup: name one below it (linux.cgroupsPath)", plan.path);
        }
        Ok(Cgroup { node: Node::new(Place { controllers: Vec::new(), mountpoint, path, made: 0 }) })
    }

    /// Makes what is missing; on failure what was made is gone again.
    pub fn create(&mut self) -> Result<()> {
        self.node.make()?;
        let result = self.check_fit();
        if result.is_err() && self.node.place.made > 0 {
            let _ = self.node.remove(Instant::now());
        }
        result
    }

    /// Refuses one that others use.
    pub fn check_fit(&self) -> Result<()> {
        let events = self.node.read("cgroup.events")?;
        if field(&events, "populated") != Some("0") {
            super::refuse_populated(&self.node, None)?;
        }
        if field(&events, "frozen") == Some("1") {
            bail!("container's cgroup unexpectedly frozen: thaw it or choose another linux.cgroupsPath");
        }
        let kind = self.node.read("cgroup.type")?;
        if kind.trim() != "domain" {
            let path = self.node.place.directory();
            let text =
                "a parent is threaded and takes no processes of containers; choose another linux.cgroupsPath";
            bail!("cgroup `{}` is of type `{}`: {text}", path.display(), kind.trim());
        }
        Ok(())
    }

    /// Applies limits and, where there are any, device rules.
    pub fn apply(&self, resources: &Resources, devices: &[DeviceRule]) -> Result<()> {
        let mut problems = Problems::default();
        let settings = limits_v2::settings(resources, &|file| self.node.read_if_any(file), &mut problems);
        found(&problems)?;
        self.enable(&settings)?;
        check_usage(resources, || {
            let usage = |file: &str| self.node.read_if_any(file)?.trim().parse::<u64>().ok();
            let memory = usage("memory.current");
            (memory, memory.zip(usage("memory.swap.current")).map(|(memory, swap)| memory + swap))
        })?;
        setting::write_all(&settings, |_| Ok(&self.node))?;
        if devices.is_empty() { Ok(()) } else { self.set_devices(devices).context("linux.resources.devices") }
    }

    /// What `apply` with these resources would change, as it is now.
    pub fn snapshot(&self, resources: &Resources) -> Vec<Old> {
        let current = |file: &str| self.node.read_if_any(file);
        let settings = limits_v2::settings(resources, &current, &mut Problems::default());
        setting::snapshot(&settings, |_| Ok(&self.node))
    }

    /// Brings old values back.
    pub fn restore(&self, olds: &[Old]) -> Result<()> {
        setting::write_all(&setting::restoring(olds), |_| Ok(&self.node))
    }

    /// Enables the controllers of the settings (and those wanted, where possible) in every cgroup
    /// from the root to the parent.
    fn enable(&self, settings: &[Setting]) -> Result<()> {
        let here = self.node.read("cgroup.controllers")?;
        let has = |controller: &str| here.split_whitespace().any(|c| c == controller);
        let missing: Vec<&Setting> = settings
            .iter()
            .filter(|s| s.controller() != "cgroup" && !s.optional && !has(s.controller()))
            .collect();
        let wanted: Vec<&str> = WANTED.into_iter().filter(|c| !has(c)).collect();
        if missing.is_empty() && wanted.is_empty() {
            return Ok(());
        }
        let root = self.node.root()?;
        let path = self.node.place.path.as_str();
        let parents = path.match_indices('/').map(|(i, _)| &path[..i]);
        for parent in std::iter::once("").chain(parents) {
            let level = Level::open(&root, &self.node.place.mountpoint, parent)?;
            for setting in &missing {
                level.enable(setting.controller()).with_context(|| setting.json.clone())?;
            }
            for controller in &wanted {
                let _ = level.enable(controller);
            }
        }
        Ok(())
    }

    fn set_devices(&self, rules: &[DeviceRule]) -> Result<()> {
        let code = device_program::compile(rules);
        let program = load(&code).doing(|| "load the device program")?;
        let directory = self.node.directory()?;
        let mut own = if self.node.fresh { Vec::new() } else { own_programs(directory)? }.into_iter();
        let replaced = own.next();
        bpf::attach(directory, program.as_fd(), replaced.as_ref().map(AsFd::as_fd))
            .doing(|| "attach the device program")?;
        for old in own {
            bpf::detach(directory, old.as_fd()).doing(|| "detach an old device program")?;
        }
        Ok(())
    }

    /// The directory to be cloned into.
    pub fn join(&self) -> Result<Join> {
        Ok(Join { into: Some(self.node.open_again()?), tasks: Vec::new() })
    }

    /// Moves a process in.
    #[cfg(test)]
    pub fn add_process(&self, pid: i32) -> Result<()> {
        self.node.write("cgroup.procs", &pid.to_string())
    }

    /// Signals all processes; SIGKILL by `cgroup.kill` where the kernel has it (5.14).
    pub fn kill(&self, signal: i32) -> Result<()> {
        if !self.node.exists() {
            return Ok(());
        }
        if signal == libc::SIGKILL && !holds_self(&self.node)? {
            match self.node.try_write("cgroup.kill", "1") {
                // systemd may remove the cgroup as soon as the last process is gone.
                Ok(()) | Err(Errno::NODEV) => return Ok(()),
                Err(Errno::NOENT | Errno::OPNOTSUPP) => {}
                Err(e) => {
                    let path = self.node.place.directory();
                    bail!("write `1` to `{}/cgroup.kill`: {}", path.display(), error::text(e));
                }
            }
        }
        signal_all(|| self.node.processes(), signal)
    }

    /// Freezes and waits until all processes are; on failure it is thawed again.
    pub fn freeze(&self) -> Result<()> {
        self.node.write("cgroup.freeze", "1")?;
        let frozen = self.node.wait_event("frozen", "1", Instant::now() + FREEZE_TIME);
        if frozen.inspect_err(|_| drop(self.thaw()))? {
            return Ok(());
        }
        self.thaw()?;
        bail!(
            "freeze `{}`: a process does not stop within 2 s; it runs on",
            self.node.place.directory().display()
        )
    }

    /// Thaws.
    pub fn thaw(&self) -> Result<()> {
        self.node.write("cgroup.freeze", "0")
    }

    /// Processes killed for lack of memory, here and below.
    pub fn oom_kill_count(&self) -> Option<u64> {
        field(&self.node.read_if_any("memory.events")?, "oom_kill")?.parse().ok()
    }

    /// Hands the directory and its delegatable files to a user; files that are not there are
    /// skipped.
    pub fn delegate(&self, uid: u32) -> Result<()> {
        let list = crate::hostfs::read_to_string("/sys/kernel/cgroup/delegate");
        let list = list.unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".into());
        let directory = self.node.directory()?;
        let owner = Some(rustix::fs::Uid::from_raw(uid));
        for file in std::iter::once(".").chain(list.lines().filter(|l| !l.is_empty() && !l.contains('/'))) {
            match rustix::fs::chownat(directory, file, owner, None, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => {
                    let path = self.node.place.directory().join(file);
                    bail!("give `{}` to user {uid}: {}", path.display(), error::text(e));
                }
            }
        }
        Ok(())
    }

    /// What the hierarchy looks like inside the container.
    pub fn view(&self) -> Vec<HierarchyView> {
        vec![HierarchyView {
            name: String::new(),
            mount_data: String::new(),
            container_path: self.node.place.directory(),
            symlinks: Vec::new(),
        }]
    }
}

/// Whether this very process is in the cgroup; `cgroup.kill` would end it.
fn holds_self(node: &Node) -> Result<bool> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    Ok(node.processes()?.contains(&own))
}

/// A cgroup on the way to the container's.
struct Level<'a> {
    fd: OwnedFd,
    mountpoint: &'a Path,
    path: &'a str,
    enabled: String,
}

impl<'a> Level<'a> {
    fn open(root: &OwnedFd, mountpoint: &'a Path, path: &'a str) -> Result<Level<'a>> {
        let name = || mountpoint.join(path).display().to_string();
        let read = || -> Result<(OwnedFd, String), Errno> {
            let fd = open_below(root.as_fd(), path)?;
            let enabled = read_at(fd.as_fd(), "cgroup.subtree_control")?;
            Ok((fd, enabled))
        };
        let (fd, enabled) =
            read().map_err(|e| anyhow!("read `{}/cgroup.subtree_control`: {}", name(), error::text(e)))?;
        Ok(Level { fd, mountpoint, path, enabled })
    }

    /// Gives a controller to the cgroups below. Where there are processes, the kernel refuses some
    /// controllers, and with the others makes the cgroup threaded, so that none below it takes a
    /// container any more: that is refused here.
    fn enable(&self, controller: &str) -> Result<()> {
        if self.enabled.split_whitespace().any(|c| c == controller) {
            return Ok(());
        }
        if self.is_inner() {
            return Err(self.explain(controller, Errno::BUSY));
        }
        write_at(self.fd.as_fd(), "cgroup.subtree_control", &format!("+{controller}"))
            .map_err(|errno| self.explain(controller, errno))
    }

    /// Whether it has processes and is not the root, to which the rule does not apply.
    fn is_inner(&self) -> bool {
        read_at(self.fd.as_fd(), "cgroup.type").is_ok()
            && read_at(self.fd.as_fd(), "cgroup.procs").is_ok_and(|pids| !pids.is_empty())
    }

    fn explain(&self, controller: &str, error: Errno) -> anyhow::Error {
        let path = self.mountpoint.join(self.path);
        let what = format!("enable cgroup controller `{controller}` in `{}`", path.display());
        let available = read_at(self.fd.as_fd(), "cgroup.controllers").unwrap_or_default();
        let why = match error {
            Errno::BUSY => {
                let procs = read_at(self.fd.as_fd(), "cgroup.procs").unwrap_or_default();
                let pids = procs.lines().take(5).collect::<Vec<_>>().join(", ");
                format!(
                    "it has processes of its own ({pids}), and a cgroup v2 with processes cannot give controllers \
                     to those below it (no-internal-process rule): move them into a cgroup of their own or choose \
                     another linux.cgroupsPath"
                )
            }
            Errno::NOENT | Errno::INVAL => {
                let available = available.trim();
                format!("the controller is not there: the kernel or the parent gives `{available}` only")
            }
            Errno::OPNOTSUPP => "the cgroup is threaded, which this controller does not support".to_string(),
            Errno::ACCESS | Errno::PERM => format!(
                "the controller is not delegated to this user: as root, add `{controller}` to Delegate= of \
                 user@.service and log in again"
            ),
            _ => String::new(),
        };
        anyhow!("{what}: {}: {why}", error::text(error))
    }
}

/// Loads a program. Kernels before 5.11 count it as locked memory, so a refusal is tried again
/// without that limit, which is put back for the sake of the container.
fn load(code: &[bpf::Instruction]) -> std::io::Result<OwnedFd> {
    match bpf::load_device_program(code, PROGRAM_NAME) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            let old = rustix::process::getrlimit(Resource::Memlock);
            rustix::process::setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None })
                .map_err(|_| error)?;
            let result = bpf::load_device_program(code, PROGRAM_NAME);
            rustix::process::setrlimit(Resource::Memlock, old)?;
            result
        }
        other => other,
    }
}

/// Whether the kernel takes device programs; the one that is tried is gone when this returns.
pub fn can_load_device_rules() -> bool {
    load(&device_program::compile(&[])).is_ok()
}

/// The programs on a cgroup that this runtime put there.
fn own_programs(directory: BorrowedFd<'_>) -> Result<Vec<OwnedFd>> {
    let all = bpf::attached(directory).context("query device programs")?;
    Ok(all.into_iter().filter(|(name, _)| name == PROGRAM_NAME).map(|(_, fd)| fd).collect())
}
