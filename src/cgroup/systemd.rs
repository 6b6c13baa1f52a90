//! Cgroups made by systemd: the container is a transient scope, delegated to this runtime. systemd
//! makes and removes the cgroup and is told the limits, so that it keeps them; everything else goes
//! straight to the cgroup files by the managers of v1 and v2, without the bus. `Manager` hands
//! creation, updates and removal on to here.
//!
//! A scope begins with a process in it, but init is to be cloned into the finished cgroup. So a
//! holder, a child of the runtime that does nothing, is in it first, and ends when init is in.

use super::dbus::{self, Call, Connection, Refusal, Value};
use super::layout::Layout;
use super::node::{Node, Place};
use super::setting::Setting;
use super::{Manager, limits_v1, limits_v2, refuse_populated, unit, v1, v2};
use crate::bundle::Problems;
use crate::bundle::plan::{CgroupPlan, DeviceRule};
use crate::bundle::spec::{Pids, Resources};
use crate::error::{Context, Doing, bail, shown};
use crate::sys::clone::{Forked, clone3};
use crate::sys::process as sys;
use anyhow::Result;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};
use unit::Names;

const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// How long taking back a start may take.
const ABANDON_TIME: Duration = Duration::from_secs(2);

/// What later commands need to know of a scope; part of state.json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name, `prefix-name.scope`.
    pub name: String,
    /// It belongs to the user's manager and not to the system's.
    #[serde(default)]
    pub user: bool,
}

/// What a scope is made with.
#[derive(Debug)]
struct Wanted {
    layout: Layout,
    /// Where systemd will put its cgroup.
    path: String,
    properties: Vec<(String, Value)>,
}

/// A container's scope.
#[derive(Debug)]
pub struct Scope {
    /// The unit.
    pub unit: Unit,
    /// Its cgroups; none as long as it is not made.
    pub files: Box<Manager>,
    wanted: Option<Wanted>,
    holder: RefCell<Option<Holder>>,
}

impl Scope {
    /// Decides name and properties; makes nothing and asks nobody.
    pub fn new(
        layout: Layout,
        plan: &CgroupPlan,
        id: &str,
        annotations: &BTreeMap<String, String>,
        user: bool,
    ) -> Result<Scope> {
        let names = Names::new(&plan.path, id, user)?;
        let text = |name: &str, value: &str| (name.to_string(), Value::Text(value.to_string()));
        let yes = |name: &str| (name.to_string(), Value::Bool(true));
        let mut properties = vec![
            text("Description", &format!("container {id}")),
            text("Slice", &names.slice),
            yes("Delegate"),
            yes("MemoryAccounting"),
            yes("CPUAccounting"),
            yes("TasksAccounting"),
            yes(if layout.is_v2() { "IOAccounting" } else { "BlockIOAccounting" }),
            ("DefaultDependencies".to_string(), Value::Bool(false)),
        ];
        properties.extend(unit::limits(&settings(&plan.resources, layout.is_v2(), &|_| None), &|_| None));
        if !user {
            properties.extend(unit::devices(&plan.devices));
        }
        for (name, value) in unit::annotations(annotations)? {
            properties.retain(|(known, _)| *known != name);
            properties.push((name, value));
        }
        let path = names.cgroup(user.then(|| rustix::process::geteuid().as_raw()));
        Ok(Scope {
            unit: Unit { name: names.scope, user },
            files: Box::new(Manager::None),
            wanted: Some(Wanted { layout, path, properties }),
            holder: RefCell::default(),
        })
    }

    /// The scope of a container made before.
    pub fn made(unit: Unit, files: Manager) -> Scope {
        Scope { unit, files: Box::new(files), wanted: None, holder: RefCell::default() }
    }

    /// Connects to do something with the unit: `stop`.
    fn connect(&self, task: &str) -> Result<Connection> {
        self.connect_for(task, dbus::time()?)
    }

    fn connect_for(&self, task: &str, time: Duration) -> Result<Connection> {
        let task = format!("{task} unit `{}`", self.unit.name);
        if self.unit.user { Connection::user(&task, time) } else { Connection::system(&task, time) }
    }

    /// Has systemd make the scope and waits until it is there. On failure the holder is gone,
    /// and with it the scope.
    pub fn create(&mut self) -> Result<()> {
        let Some(wanted) = self.wanted.take() else { return Ok(()) };
        let name = self.unit.name.clone();
        let result = self.start(wanted).with_context(|| format!("start systemd unit `{name}`"));
        if result.is_err() {
            self.holder.take();
            *self.files = Manager::None;
        }
        result
    }

    fn start(&mut self, wanted: Wanted) -> Result<()> {
        check_unused(&wanted)?;
        let mut bus = self.connect("start")?;
        let holder = Holder::start()?;
        let pid = holder.pid;
        let mut properties = wanted.properties;
        properties.push(("PIDs".to_string(), Value::Numbers(vec![pid.cast_unsigned()])));
        self.holder.replace(Some(holder));
        let job = self.start_unit(&mut bus, properties)?;
        let started = self.await_start(&mut bus, &job, &wanted.layout, pid);
        if started.is_err() {
            self.holder.take();
            self.abandon();
        }
        started
    }

    fn await_start(&mut self, bus: &mut Connection, job: &str, layout: &Layout, holder: i32) -> Result<()> {
        match bus.job_result(job, "the end of its start job")?.as_str() {
            "done" => {}
            result => bail!("its start job ended as `{result}`: see `journalctl -u {}`", self.unit.name),
        }
        let path = self.control_group(bus)?.context("systemd made no cgroup for it")?;
        *self.files = files(layout, &path)?;
        if let Manager::V1(cgroup) = &mut *self.files {
            cgroup.adopt(holder)?;
        }
        Ok(())
    }

    /// Takes back a start that was accepted: its job, which may still wait, and the unit. As the
    /// caller has waited long enough, only a systemd that answers at once is asked.
    fn abandon(&self) {
        let result = self.connect_for("stop", ABANDON_TIME).and_then(|mut bus| self.stop_by(&mut bus));
        if let Err(error) = result {
            crate::warn!("take back the start of systemd unit `{}`: {}", self.unit.name, shown(&error));
        }
    }

    /// StartTransientUnit; a failed unit of that name, left over by an earlier container, is reset.
    fn start_unit(&self, bus: &mut Connection, properties: Vec<(String, Value)>) -> Result<String> {
        let start = manager(
            "StartTransientUnit",
            vec![
                Value::Text(self.unit.name.clone()),
                Value::Text("fail".into()),
                Value::Properties(properties),
                Value::NoUnits,
            ],
        );
        let what = "the start to be accepted";
        match bus.call(&start, what) {
            Err(error) if is_refusal(&error, "UnitExists") => {
                self.reset(bus)?;
                let again = bus.call(&start, what);
                again.context("choose another linux.cgroupsPath or stop the unit")?.text()
            }
            other => other?.text(),
        }
    }

    /// The cgroup's path below the hierarchy, if it has one.
    fn control_group(&self, bus: &mut Connection) -> Result<Option<String>> {
        let scope = Value::Text("org.freedesktop.systemd1.Scope".into());
        let call = Call {
            path: &unit::object_path(&self.unit.name),
            interface: "org.freedesktop.DBus.Properties",
            method: "Get",
            arguments: vec![scope, Value::Text("ControlGroup".into())],
        };
        let path = bus.call(&call, "its cgroup's path")?.variant_text()?;
        Ok(Some(super::layout::normalise(&path)?).filter(|path| !path.is_empty()))
    }

    /// Applies limits and device rules to the files. An update also tells systemd, which would
    /// else bring the old limits back.
    pub fn apply(&self, resources: &Resources, devices: &[DeviceRule]) -> Result<()> {
        if self.holder.borrow().is_some() {
            let room = with_room(resources);
            return self.files.apply(room.as_ref().unwrap_or(resources), devices);
        }
        self.files.apply(resources, devices)?;
        let mut properties = self.limits(resources);
        properties.extend(unit::devices(devices));
        if properties.is_empty() {
            return Ok(());
        }
        let name = Value::Text(self.unit.name.clone());
        let arguments = vec![name, Value::Bool(true), Value::Properties(properties)];
        let call = manager("SetUnitProperties", arguments);
        let result = self
            .connect("set properties of")
            .and_then(|mut bus| bus.call(&call, "its new properties to be accepted"));
        result.with_context(|| format!("set properties of systemd unit `{}`", self.unit.name)).map(drop)
    }

    /// Properties for limits that are in force already.
    fn limits(&self, resources: &Resources) -> Vec<(String, Value)> {
        let v2 = matches!(*self.files, Manager::V2(_));
        let current = |file: &str| {
            let node = match &*self.files {
                Manager::V2(c) => &c.node,
                Manager::V1(c) => c.node(file.split('.').next()?).ok()?,
                _ => return None,
            };
            node.read_if_any(file)
        };
        unit::limits(&settings(resources, v2, &current), &current)
    }

    /// Init is in the cgroup: the holder is not needed any more, nor its place among the processes.
    pub fn entered(&self, resources: &Resources) -> Result<()> {
        if self.holder.take().is_none() {
            return Ok(());
        }
        match with_room(resources) {
            Some(_) => self.files.apply(&processes(resources), &[]),
            None => Ok(()),
        }
    }

    /// Removes the cgroups and the unit, also one that failed; false when others' processes are
    /// still in it, and then it stays.
    pub fn remove(&mut self, deadline: Instant) -> Result<bool> {
        self.holder.take();
        // A create that was killed early left no more than the name, which may be another's unit.
        if matches!(*self.files, Manager::None) && self.has_processes()? {
            return Ok(false);
        }
        if !self.files.remove_until(deadline)? {
            return Ok(false);
        }
        self.stop().with_context(|| format!("stop systemd unit `{}`", self.unit.name))?;
        Ok(true)
    }

    /// Whether processes are in the cgroups of the unit as systemd knows it.
    fn has_processes(&self) -> Result<bool> {
        match self.control_group(&mut self.connect("find the cgroup of")?) {
            Ok(Some(path)) => Ok(!files(&Layout::probe()?, &path)?.processes()?.is_empty()),
            Ok(None) => Ok(false),
            Err(error) if error.is::<Refusal>() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn stop(&self) -> Result<()> {
        self.stop_by(&mut self.connect("stop")?)
    }

    fn stop_by(&self, bus: &mut Connection) -> Result<()> {
        let arguments = vec![Value::Text(self.unit.name.clone()), Value::Text("replace".into())];
        match bus.call(&manager("StopUnit", arguments), "the stop to be accepted") {
            Ok(job) => drop(bus.job_result(&job.text()?, "the end of its stop job")?),
            Err(error) if is_refusal(&error, "NoSuchUnit") => {}
            Err(error) => return Err(error),
        }
        self.reset(bus)
    }

    /// A unit that failed stays loaded until it is reset.
    fn reset(&self, bus: &mut Connection) -> Result<()> {
        let reset = manager("ResetFailedUnit", vec![Value::Text(self.unit.name.clone())]);
        match bus.call(&reset, "the unit to be reset") {
            Err(error) if !is_refusal(&error, "NoSuchUnit") => Err(error),
            _ => Ok(()),
        }
    }
}

/// Where a limit of one process would keep init out beside the holder: the same with a limit of two.
fn with_room(resources: &Resources) -> Option<Resources> {
    let by_limit = resources.pids.as_ref().is_some_and(|p| p.limit.is_some_and(|n| n == 0 || n == 1));
    let by_file = resources.unified.get(PIDS_MAX).is_some_and(|n| n.trim() == "1");
    let mut room = resources.clone();
    if by_limit {
        room.pids = Some(Pids { limit: Some(2) });
    }
    if by_file {
        room.unified.insert(PIDS_MAX.to_string(), "2".to_string());
    }
    (by_limit || by_file).then_some(room)
}

/// The limits of processes alone.
fn processes(resources: &Resources) -> Resources {
    let unified = resources.unified.iter().filter(|(file, _)| *file == PIDS_MAX);
    Resources {
        pids: resources.pids.clone(),
        unified: unified.map(|(file, value)| (file.clone(), value.clone())).collect(),
        ..Resources::default()
    }
}

const PIDS_MAX: &str = "pids.max";

fn manager(method: &str, arguments: Vec<Value>) -> Call<'_> {
    Call { path: "/org/freedesktop/systemd1", interface: MANAGER, method, arguments }
}

fn is_refusal(error: &anyhow::Error, name: &str) -> bool {
    let refusal = error.downcast_ref::<Refusal>();
    refusal.and_then(|r| r.name.strip_prefix("org.freedesktop.systemd1.")).is_some_and(|n| n == name)
}

/// The limits as settings; what cannot be applied is told when they are.
fn settings(resources: &Resources, v2: bool, current: &dyn Fn(&str) -> Option<String>) -> Vec<Setting> {
    let mut problems = Problems::default();
    match v2 {
        true => limits_v2::settings(resources, current, &mut problems),
        false => limits_v1::settings(resources, &mut problems),
    }
}

/// Refuses a cgroup that is there already, with processes or frozen: systemd would take it over and
/// end the processes with the container. The unit of another container is found like this too.
fn check_unused(wanted: &Wanted) -> Result<()> {
    let (layout, path) = (&wanted.layout, &wanted.path);
    let at = |controllers: &[String], mountpoint: &Path| {
        let (controllers, mountpoint) = (controllers.to_vec(), mountpoint.to_path_buf());
        Node::new(Place { controllers, mountpoint, path: path.clone(), made: 0 })
    };
    if let (true, Some((mountpoint, _))) = (layout.is_v2(), &layout.unified) {
        let cgroup = v2::Cgroup { node: at(&[], mountpoint) };
        return if cgroup.node.exists() { cgroup.check_fit() } else { Ok(()) };
    }
    let own = layout.legacy.iter().find(|h| h.controllers.iter().any(|c| c == "name=systemd"));
    let node = own.map(|h| at(&h.controllers, &h.mountpoint)).filter(Node::exists);
    node.map_or(Ok(()), |node| refuse_populated(&node, None))
}

/// The manager of the cgroups at a path.
fn files(layout: &Layout, path: &str) -> Result<Manager> {
    let place = |controllers: &[String], mountpoint: &std::path::Path| {
        let (controllers, mountpoint) = (controllers.to_vec(), mountpoint.to_path_buf());
        Node::new(Place { controllers, mountpoint, path: path.to_string(), made: 0 })
    };
    let unified = layout.unified.as_ref().map(|(mountpoint, _)| place(&[], mountpoint));
    let nodes: Vec<Node> = layout.legacy.iter().map(|h| place(&h.controllers, &h.mountpoint)).collect();
    match unified {
        Some(node) if nodes.is_empty() => {
            node.directory()?;
            Ok(Manager::V2(v2::Cgroup { node }))
        }
        unified => Ok(Manager::V1(v1::Cgroup { nodes, unified })),
    }
}

/// A process that keeps a scope from being empty; ended with the value, and by itself with the
/// runtime.
#[derive(Debug)]
struct Holder {
    pid: i32,
    pidfd: OwnedFd,
    /// Nothing is ever written; its end is the holder's.
    _alive: OwnedFd,
}

impl Holder {
    fn start() -> Result<Holder> {
        let (end, alive) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).context("make a pipe")?;
        match clone3(0, None).doing(|| "clone the first process of the unit")? {
            Forked::Child => {
                // An error leaves descriptors open for the short time that the holder lives.
                let _ = sys::close_all_but(&mut vec![end.as_raw_fd().cast_unsigned()]);
                while rustix::io::read(&end, &mut [0u8; 1]) == Err(Errno::INTR) {}
                sys::exit_now(0)
            }
            Forked::Parent { pid, pidfd } => Ok(Holder { pid, pidfd, _alive: alive }),
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // One that ended before needs no signal; it is this process's child, so it can be waited for.
        let _ = sys::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
        let _ = sys::wait_pidfd(&self.pidfd);
    }
}
