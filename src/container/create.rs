//! `create`, and the first half of `run`: the bundle becomes a plan, the id is reserved, the cgroup
//! made and limited, init launched, and the state written. A step that fails undoes all before it
//! (spec: runtime.md, Errors).

use super::delete;
use super::error::Error;
use super::handover::Handover;
use super::hooks;
use super::identity::Identity;
use super::launch::{Launch, Launched, launch};
use super::notify;
use super::pidfile::PidFile;
use super::rdt;
use super::statedir::{Entry, Phase, State, StateDir};
use super::terminal;
use crate::bundle::Host;
use crate::bundle::plan::{NamespaceKind, Plan};
use crate::bundle::{self, Options};
use crate::cgroup::{self, Manager};
use crate::cli::command::{CgroupManager, Create};
use crate::error::{Context, Doing, bail, shown};
use crate::hostfs;
use crate::trace;
use anyhow::Result;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::SystemTime;

/// How init will be told to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartBy {
    /// By `start`, through start.sock.
    Socket,
    /// By this process, through the channel.
    Channel,
}

/// What the whole invocation shares.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Who makes the cgroup.
    pub cgroups: CgroupManager,
    /// Go without where the caller may not make any and config.json names none (`--rootless`).
    pub tolerate_missing_rights: bool,
}

/// A created container, still in the hands of its creator.
#[derive(Debug)]
pub struct Created {
    /// Its directory, unlocked.
    pub entry: Entry,
    /// Init.
    pub launched: Launched,
    /// The plan it was made from.
    pub plan: Plan,
}

/// Makes a container whose init waits to be started.
pub fn create(
    states: &StateDir,
    settings: Settings,
    args: &Create,
    start: StartBy,
    detached: bool,
) -> Result<Created> {
    super::statedir::check_id(&args.id)?;
    let handover = Handover::to_container(args.preserve_fds)?;
    let host = Host::probe()?;
    let notifies = notify::manager().map(|_| states.path_of(&args.id)).transpose()?;
    let (config, mut plan) =
        trace::step("read and check config.json", || read_plan(args, &host, notifies.as_deref()))?;
    if let Some(process) = &mut plan.process {
        handover.announce(&mut process.env);
    }
    plan.warnings.log();
    let sockets = Sockets::connect(args, &plan, detached)?;
    let pid_file = args.pid_file.as_deref().map(PidFile::prepare).transpose()?;
    let mut cgroup = cgroup_of(settings, &plan, &args.id, &host)?;
    let mut rdt = rdt::Place::find(plan.intel_rdt.as_ref(), &args.id)?;
    let mut creating = creating_state(args, &plan, &cgroup, rdt.clone())?;
    let entry = trace::step("take the id", || reserve(states, &mut creating, &plan, &config))?;
    let root_mount = creating.root_mount;
    // A cgroup that cannot be made, or that others are in, is left as it is.
    let made = trace::step("make the cgroups", || cgroup.create());
    if let Err(error) = made.or_else(|error| go_without(&plan, settings, error)) {
        entry.remove()?;
        return Err(error);
    }
    let made = rdt::make(rdt.as_mut(), plan.intel_rdt.as_ref()).and_then(|()| {
        let making =
            Making { args, plan: &plan, host: &host, start, preserve_fds: handover.all, rdt: rdt.as_ref() };
        make(&making, &entry, &mut cgroup, sockets, pid_file, creating)
    });
    match made {
        Ok((_, launched)) => Ok(Created { entry, launched, plan }),
        Err(error) => {
            rdt.iter_mut().for_each(rdt::Place::undo);
            undo(entry, &mut cgroup, &plan, root_mount);
            Err(error)
        }
    }
}

/// Decides where the cgroup will be; makes nothing.
pub fn cgroup_of(settings: Settings, plan: &Plan, id: &str, host: &Host) -> Result<Manager> {
    match settings.cgroups {
        CgroupManager::Disabled => Ok(Manager::None),
        CgroupManager::Cgroupfs => Manager::new(&cgroup::Layout::probe()?, &plan.cgroup, id),
        CgroupManager::Systemd => {
            let layout = cgroup::Layout::probe()?;
            Manager::of_systemd(layout, &plan.cgroup, id, &plan.annotations, !host.is_privileged())
        }
    }
}

/// Who may make no cgroup, and asks for none and for no limits, goes without.
fn go_without(plan: &Plan, settings: Settings, error: anyhow::Error) -> Result<()> {
    if !error.is::<cgroup::NotPermitted>() || !settings.tolerate_missing_rights {
        return Err(error);
    }
    if !plan.cgroup.path.is_empty() || cgroup::has_limits(&plan.cgroup.resources) {
        return Err(error).context("rootless: linux.cgroupsPath and linux.resources need a delegated cgroup");
    }
    crate::debug!("no cgroup of its own: {error:#}");
    if !plan.namespaces.creates(NamespaceKind::Pid) {
        crate::warn!(
            "no cgroup and no private pid namespace: what the container leaves behind cannot be found and \
             killed. Such configuration is strongly discouraged"
        );
    }
    Ok(())
}

/// Reads and lowers config.json.
pub(super) fn read_plan(args: &Create, host: &Host, notifies: Option<&Path>) -> Result<(Vec<u8>, Plan)> {
    let directory = args.bundle.as_deref().unwrap_or(Path::new("."));
    let mut bundle = bundle::read(directory, args.config.as_deref())?;
    if let Some(state) = notifies {
        notify::add_to(&mut bundle.spec, state);
    }
    let options = Options { bundle: bundle.path, no_pivot: args.no_pivot };
    let plan = bundle::lower(&bundle.spec, &options, host).context("config.json")?;
    Ok((bundle.text, plan))
}

/// The annotation that names another receiver of the pidfd.
const PIDFD_RECEIVER: &str = "annotations.run.oci.pidfd_receiver";

/// Receivers of the terminal and of the pidfd, connected before anything is made.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// Gets the terminal.
    pub console: Option<OwnedFd>,
    pidfd: Option<OwnedFd>,
    pidfd_receiver: Option<OwnedFd>,
}

impl Sockets {
    pub fn connect(args: &Create, plan: &Plan, detached: bool) -> Result<Sockets> {
        let terminal = plan.process.as_ref().is_some_and(|p| p.terminal);
        match (&args.console_socket, terminal) {
            (None, true) if detached => {
                bail!(
                    "cannot allocate a terminal for a detached container: use --console-socket, or set process.terminal to false"
                )
            }
            (Some(_), false) => {
                bail!(
                    "--console-socket is given, but process.terminal is false: set it to true or leave the option out"
                )
            }
            (Some(_), true) if !detached => {
                bail!("--console-socket cannot be used in the foreground: add --detach")
            }
            _ => {}
        }
        let connect = |flag, path: &Option<_>| {
            path.as_ref().map(|path: &std::path::PathBuf| terminal::connect_socket(flag, path)).transpose()
        };
        Ok(Sockets {
            console: connect("--console-socket", &args.console_socket)?,
            pidfd: connect("--pidfd-socket", &args.pidfd_socket)?,
            pidfd_receiver: connect(PIDFD_RECEIVER, &plan.extensions.pidfd_receiver)?,
        })
    }

    /// Hands the container's first process to whoever asked for it.
    pub fn send_pidfd(&self, pidfd: &OwnedFd) -> Result<()> {
        for (name, socket) in [("--pidfd-socket", &self.pidfd), (PIDFD_RECEIVER, &self.pidfd_receiver)] {
            if let Some(socket) = socket {
                terminal::send_fd(name, socket, pidfd.as_fd(), "pidfd")?;
            }
        }
        Ok(())
    }
}

pub(super) fn creating_state(
    args: &Create,
    plan: &Plan,
    cgroup: &Manager,
    rdt: Option<rdt::Place>,
) -> Result<State> {
    Ok(State {
        version: State::VERSION,
        oci_version: plan.oci_version.clone(),
        id: args.id.clone(),
        phase: Phase::Creating,
        creator: Identity::own()?,
        init: None,
        bundle: plan.bundle.clone(),
        rootfs: plan.rootfs.clone(),
        created: crate::log::rfc3339(SystemTime::now()),
        owner: rustix::process::getuid().as_raw(),
        freezer: cgroup.freezer(),
        cgroup: Some(cgroup.location()),
        rdt,
        own_pid_namespace: plan.namespaces.creates(NamespaceKind::Pid),
        own_mount_namespace: plan.namespaces.has(NamespaceKind::Mount),
        root_mount: root_mount(plan)?,
        new_keyring: !args.no_new_keyring,
        terminal: plan.process.as_ref().is_some_and(|p| p.terminal),
        poststart: !plan.hooks.poststart.is_empty(),
        poststop: !plan.hooks.poststop.is_empty(),
        annotations: plan.annotations.clone(),
    })
}

/// What the root filesystem is on before the container's mounts, where those will be the host's.
fn root_mount(plan: &Plan) -> Result<Option<u64>> {
    if plan.namespaces.has(NamespaceKind::Mount) {
        return Ok(None);
    }
    let found = hostfs::mount_id(&plan.rootfs);
    found.doing(|| format!("look at the root filesystem `{}`", plan.rootfs.display())).map(Some)
}

/// Takes the id; what a killed `create` left of it is cleaned up first.
pub(super) fn reserve(states: &StateDir, creating: &mut State, plan: &Plan, config: &[u8]) -> Result<Entry> {
    match states.reserve(creating, config) {
        Err(error) if Error::is_debris(&error) => {
            delete::remove_debris(states, &creating.id)?;
            // What was seen before were the mounts of what is gone now.
            creating.root_mount = root_mount(plan)?;
            states.reserve(creating, config)
        }
        other => other,
    }
}

/// What the steps of making share.
struct Making<'a> {
    args: &'a Create,
    plan: &'a Plan,
    host: &'a Host,
    start: StartBy,
    preserve_fds: u32,
    rdt: Option<&'a rdt::Place>,
}

fn make(
    making: &Making,
    entry: &Entry,
    cgroup: &mut Manager,
    mut sockets: Sockets,
    pid_file: Option<PidFile>,
    mut state: State,
) -> Result<(State, Launched)> {
    crate::debug!("made the cgroup of `{}`", making.args.id);
    if let Some(filter) = &making.plan.seccomp {
        crate::debug!("seccomp filter flags: {}", filter.flags);
    }
    // Device programs need the host's root; in a user namespace no device node can be made anyway.
    let devices = if making.host.is_privileged() { making.plan.cgroup.devices.as_slice() } else { &[] };
    let start = (making.start == StartBy::Socket).then(|| entry.bind_start_socket()).transpose()?;
    if notify::manager().is_some() {
        notify::make_directory(entry)?;
    }
    let mut launched = launch(Launch {
        id: &making.args.id,
        plan: making.plan,
        cgroup,
        devices,
        rdt: making.rdt,
        start,
        console: sockets.console.take(),
        new_keyring: !making.args.no_new_keyring,
        preserve_fds: making.preserve_fds,
        host: making.host,
    })?;
    crate::debug!("init of `{}` is ready, pid {}", making.args.id, launched.pid);
    let finish = || -> Result<State> {
        let pid = rustix::process::Pid::from_raw(launched.pid).context("init has no pid")?;
        state.phase = Phase::Created;
        // With the parents that had to be made, which go with the container.
        (state.freezer, state.cgroup) = (cgroup.freezer(), Some(cgroup.location()));
        state.init = Some(Identity::of(pid)?.with_pidfd(&launched.pidfd)?);
        sockets.send_pidfd(&launched.pidfd)?;
        entry.write_state(&state)?;
        if making.start == StartBy::Socket {
            launched.tell_recorded()?;
        }
        if let Some(file) = &pid_file {
            file.write(launched.pid)?;
        }
        entry.unlock().inspect_err(|_| pid_file.iter().for_each(PidFile::remove))?;
        Ok(state)
    };
    match trace::step("record the state", finish) {
        Ok(state) => Ok((state, launched)),
        Err(error) => {
            launched.kill();
            Err(error)
        }
    }
}

/// Leaves nothing of a container that could not be made; init is gone already.
pub(super) fn undo(entry: Entry, cgroup: &mut Manager, plan: &Plan, root_mount: Option<u64>) {
    let id = entry.id().to_string();
    let warn = |what: &str, result: Result<()>| {
        if let Err(error) = result {
            crate::warn!("clean up after the failed create of `{id}`: {what}: {}", shown(&error));
        }
    };
    if !plan.namespaces.has(NamespaceKind::Mount) {
        warn("unmount", delete::unmount_host_root(&plan.rootfs, root_mount));
    }
    // Mostly nobody is in it, and removing that takes the fewest descriptors.
    if !cgroup.remove_empty().unwrap_or(false) {
        warn("remove the cgroup", cgroup.kill(libc::SIGKILL).and_then(|()| cgroup.remove()).map(drop));
    }
    warn("remove the state", entry.remove());
    hooks::poststop(plan, &id);
}
