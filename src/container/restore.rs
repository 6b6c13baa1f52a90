//! `restore`: a container is made from a bundle as `create` makes it, but its processes come from the
//! images of a checkpoint. CRIU makes them while they stand still; before they go on, they are in the
//! container's cgroup with its limits, and the state is written. A step that fails undoes all before it.

use super::checkpoint::common_options;
use super::create::{self, Settings, Sockets};
use super::external::{self, Inherited};
use super::foreground::{self, Signals};
use super::identity::Identity;
use super::images::Directories;
use super::netdevice::{self, Moved};
use super::notify::{self, Proxy};
use super::pidfile::PidFile;
use super::statedir::{Entry, Phase, State, StateDir};
use super::{hooks, rdt, run, staging, terminal};
use crate::bundle::Host;
use crate::bundle::plan::{NamespaceKind, Plan};
use crate::bundle::spec::Resources;
use crate::cgroup::{Location, Manager, View};
use crate::cli::checkpoint::Restore;
use crate::criu::messages::{CgroupRoot, ExternalMount, Kind, Options};
use crate::criu::{self, Setting, Step, Swrk};
use crate::error::{Context, Doing, bail, failed};
use crate::hostfs;
use crate::procfs::Procfs;
use crate::rootfs::path::Root;
use crate::rootfs::{Builder, MountFeatures, hide, reseal};
use crate::sys::process as sys;
use anyhow::Result;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// CRIU's log in the work directory.
const LOG: &str = "restore.log";
/// The directory in the container's state directory that the root filesystem is mounted on for CRIU.
const ROOT: &str = "criu-root";

/// Makes a container from images; the answer is the exit status of its process, 0 when detached.
pub fn restore(states: &StateDir, settings: Settings, args: &Restore, criu: Option<&Path>) -> Result<u8> {
    // Blocked before the process exists, so that none is lost.
    let signals = (!args.detach).then(Signals::block).transpose()?;
    if !args.detach && !args.create.no_subreaper {
        foreground::become_subreaper()?;
    }
    let Restored { entry, first, master } = make(states, settings, args, criu)?;
    let notifications = Proxy::open(&entry)?;
    let Some(signals) = signals else { return Ok(0) };
    master.as_ref().map_or(Ok(()), run::take_size)?;
    let status = run::wait(first.pid, &first.pidfd, signals, master, notifications.as_ref());
    run::remove(entry)?;
    Ok(status? as u8)
}

/// A container that runs again.
struct Restored {
    entry: Entry,
    first: First,
    /// The terminal's master end when nobody else received it.
    master: Option<OwnedFd>,
}

/// The container's first process, a child of this one.
#[derive(Debug)]
struct First {
    pid: i32,
    pidfd: OwnedFd,
}

/// What the steps share.
struct Making<'a> {
    args: &'a Restore,
    plan: &'a Plan,
    host: &'a Host,
    program: PathBuf,
    directories: Directories,
    /// The container's state directory.
    place: PathBuf,
}

fn make(states: &StateDir, settings: Settings, args: &Restore, criu: Option<&Path>) -> Result<Restored> {
    let id = &args.create.id;
    super::statedir::check_id(id)?;
    let host = Host::probe()?;
    let program = criu::find(criu)?;
    let directories = Directories::to_read(&args.common)?;
    let (config, mut plan) = create::read_plan(&args.create, &host, None)?;
    plan.warnings.log();
    if !plan.namespaces.has(NamespaceKind::Mount) {
        bail!("a container without a mount namespace (linux.namespaces) cannot be restored");
    }
    let sockets = Sockets::connect(&args.create, &plan, args.detach)?;
    let pid_file = args.create.pid_file.as_deref().map(PidFile::prepare).transpose()?;
    // CRIU works in the container's cgroup: the limits come when it is done.
    let limits = std::mem::take(&mut plan.cgroup.resources);
    let mut cgroup = create::cgroup_of(settings, &plan, id, &host)?;
    plan.cgroup.resources = limits;
    let mut rdt = rdt::Place::find(plan.intel_rdt.as_ref(), id)?;
    let mut state = create::creating_state(&args.create, &plan, &cgroup, rdt.clone())?;
    let entry = create::reserve(states, &mut state, &plan, &config)?;
    if let Err(error) = cgroup.create() {
        entry.remove()?;
        return Err(error);
    }
    let making = Making { args, plan: &plan, host: &host, program, directories, place: states.path_of(id)? };
    let made = rdt::make(rdt.as_mut(), plan.intel_rdt.as_ref()).and_then(|()| {
        let mut steps = Steps {
            making: &making,
            entry: &entry,
            cgroup: &cgroup,
            sockets,
            pid_file,
            state,
            moved: None,
            first: None,
            master: None,
        };
        let done = making.run_criu(&entry, &cgroup, rdt.as_ref(), &mut steps);
        done.inspect_err(|_| steps.undo())?;
        let first = steps.first.context("CRIU restored no process")?;
        entry.unlock()?;
        Ok((first, steps.master))
    });
    match made {
        Ok((first, master)) => Ok(Restored { entry, first, master }),
        Err(error) => {
            rdt.iter_mut().for_each(rdt::Place::undo);
            create::undo(entry, &mut cgroup, &plan, None);
            Err(error).context(format!("restore `{id}`"))
        }
    }
}

/// CRIU, waiting for its request.
struct Started {
    criu: Swrk,
    options: Options,
    directories: Directories,
}

impl Making<'_> {
    /// Has CRIU make the processes.
    fn run_criu(
        &self,
        entry: &Entry,
        cgroup: &Manager,
        rdt: Option<&rdt::Place>,
        steps: &mut Steps,
    ) -> Result<()> {
        // What may be in the images is given a place in any case.
        notify::make_directory(entry)?;
        external::make_targets(self.plan)?;
        self.directories.new_log(LOG)?;
        let maps = &self.plan.namespaces.gid_map;
        if let Some(map) = maps.iter().find(|map| map.inside == 0) {
            self.directories.let_in(map.outside)?;
        }
        rustix::fs::mkdirat(entry.dir(), ROOT, Mode::RWXU)
            .map_err(failed("make a mount point for the root filesystem"))?;
        let started = staging::staged(self.plan, &self.place.join(ROOT), || self.start_criu(cgroup));
        let Started { criu, options, directories } = started?;
        // When it answers it is in the cgroup.
        criu.version()?;
        cgroup.entered(&Resources::default())?;
        if let Some(place) = rdt {
            place.join(criu.pid)?;
        }
        let response = criu.run(Kind::Restore, options, &mut |step| steps.look(step))?;
        if !response.success {
            let why = criu.why(&response, &directories.work, LOG);
            bail!("CRIU: {why}; its log is `{}`", directories.log_path(LOG).display());
        }
        drop(criu);
        rustix::fs::unlinkat(entry.dir(), ROOT, AtFlags::REMOVEDIR).map_err(failed("remove the mount point"))
    }

    /// Starts CRIU in its namespace, with directories that are seen from there.
    fn start_criu(&self, cgroup: &Manager) -> Result<Started> {
        let directories = self.directories.opened_again()?;
        let procfs = Procfs::open()?;
        let namespaces = external::namespaces_to_restore(self.plan)?;
        let inherited = self.inherited(&namespaces)?;
        let options = Options {
            root: Some(external::text(&self.place.join(ROOT))?.to_string()),
            restore_as_sibling: Some(true),
            external_mounts: self.mounts(cgroup, &procfs)?,
            cgroup_roots: cgroup_roots(cgroup),
            inherited_fds: inherited.list,
            join_namespaces: namespaces.joined,
            lsm_profile: self.args.lsm_profile.clone(),
            lsm_mount_context: self.args.lsm_mount_context.clone(),
            ..common_options(&self.args.common, cgroup, &self.plan.annotations, &directories, LOG)?
        };
        let setting =
            Setting { cgroup: cgroup.join()?, inherited: inherited.fds.iter().collect(), own_group: false };
        Ok(Started { criu: Swrk::start(&self.program, &setting)?, options, directories })
    }

    /// What processes have of the host, from the caller instead of the images.
    fn inherited(&self, namespaces: &external::Namespaces) -> Result<Inherited> {
        let mut inherited = Inherited::default();
        let null = hostfs::open("/dev/null", OFlags::RDWR).doing(|| "open /dev/null")?;
        let (input, output, errors) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let names = self.directories.read_descriptors()?;
        inherited.add_files(&names, [input.as_fd(), output.as_fd(), errors.as_fd()], &null)?;
        for (name, namespace) in &namespaces.inherited {
            inherited.add(name, namespace.as_fd())?;
        }
        Ok(inherited)
    }

    fn mounts(&self, cgroup: &Manager, procfs: &Procfs) -> Result<Vec<ExternalMount>> {
        let mut mounts = external::mounts_to_restore(self.plan, &cgroup.view(), procfs)?;
        let notifications = external::text(&self.place.join(notify::DIRECTORY))?.to_string();
        mounts.push(ExternalMount { key: notify::INSIDE.into(), value: notifications });
        Ok(mounts)
    }
}

/// Gives the restored mounts the protections that config.json wants.
fn protect(plan: &Plan, pidfd: &OwnedFd) -> Result<()> {
    let (procfs, features) = (Procfs::open()?, MountFeatures::probe());
    let null = (!plan.masked_paths.is_empty()).then(|| hide::host_null(features)).transpose()?;
    staging::inside(pidfd, || {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let root = hostfs::open(Path::new("/"), flags).doing(|| "open the container's root")?;
        let mut ask = |_| bail!("no mount is made anew");
        let cgroups = View::default();
        let builder = Builder::in_running(plan, features, &procfs, &cgroups, Root::new(root), &mut ask);
        reseal::reseal(&builder, null.as_ref())
    })
}

/// Where the first process's cgroups are now, whatever they were. Beside v1 hierarchies the name of cgroup2
/// is empty to CRIU, which would make the earlier one again.
fn cgroup_roots(cgroup: &Manager) -> Vec<CgroupRoot> {
    let root = |controller: Option<&str>, path: &str| CgroupRoot {
        controller: controller.map(String::from),
        path: format!("/{path}"),
    };
    match cgroup.location().files() {
        Location::V2(place) => vec![root(None, &place.path)],
        Location::V1(places) => places
            .iter()
            .flat_map(|place| {
                let names = place.controllers.iter().map(String::as_str);
                let unnamed = place.controllers.is_empty().then_some("");
                names.chain(unnamed).map(|name| root(Some(name), &place.path))
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// What is done at CRIU's steps.
struct Steps<'a> {
    making: &'a Making<'a>,
    entry: &'a Entry,
    cgroup: &'a Manager,
    sockets: Sockets,
    pid_file: Option<PidFile>,
    state: State,
    moved: Option<Moved>,
    first: Option<First>,
    master: Option<OwnedFd>,
}

impl Steps<'_> {
    fn look(&mut self, step: Step) -> Result<()> {
        match (step.name.as_str(), step.pid, step.fd) {
            ("setup-namespaces", Some(pid), _) => self.namespaces_are_there(pid),
            ("orphan-pts-master", _, Some(master)) => self.terminal_is_there(master),
            ("post-restore", Some(pid), _) => self.processes_are_there(pid),
            _ => Ok(()),
        }
    }

    /// Whoever sets up the network does that at the hooks.
    fn namespaces_are_there(&mut self, pid: i32) -> Result<()> {
        let plan = self.making.plan;
        if self.making.args.common.empty_network {
            netdevice::bring_loopback_up(pid).context("--empty-ns network")?;
        }
        self.moved = netdevice::give_missing(&plan.net_devices, pid)?;
        hooks::before_pivot(plan, &self.making.args.create.id, pid)
    }

    fn terminal_is_there(&mut self, master: OwnedFd) -> Result<()> {
        match &self.sockets.console {
            Some(socket) => terminal::send_fd("--console-socket", socket, master.as_fd(), "/dev/ptmx"),
            None if self.making.args.detach => bail!(
                "the images have a terminal, which nobody would hold: set process.terminal and use --console-socket"
            ),
            None => {
                self.master = Some(master);
                Ok(())
            }
        }
    }

    /// All processes are there, and stand still: what `create` does when init is ready.
    fn processes_are_there(&mut self, pid: i32) -> Result<()> {
        let process = Pid::from_raw(pid).context("CRIU names no process")?;
        let pidfd = pidfd_open(process, PidfdFlags::empty()).map_err(failed("open the restored process"))?;
        let First { pidfd, .. } = self.first.insert(First { pid, pidfd });
        let (plan, host) = (self.making.plan, self.making.host);
        let devices = if host.is_privileged() { plan.cgroup.devices.as_slice() } else { &[] };
        protect(plan, pidfd)?;
        self.cgroup.apply(&plan.cgroup.resources, devices)?;
        if let Some(uid) = plan.cgroup.delegate {
            self.cgroup.delegate(uid)?;
        }
        self.state.phase = Phase::Created;
        (self.state.freezer, self.state.cgroup) = (self.cgroup.freezer(), Some(self.cgroup.location()));
        self.state.init = Some(Identity::of(process)?);
        self.sockets.send_pidfd(pidfd)?;
        self.entry.write_state(&self.state)?;
        self.pid_file.as_ref().map_or(Ok(()), |file| file.write(pid))
    }

    /// Ends what was restored; the rest is undone as for `create`.
    fn undo(&mut self) {
        if let Some(moved) = &mut self.moved {
            moved.put_back();
        }
        if let Some(First { pidfd, .. }) = &self.first {
            // A process that is gone already needs no signal and no wait.
            let _ = sys::pidfd_send_signal(pidfd, libc::SIGKILL);
            let _ = sys::wait_pidfd(pidfd);
        }
    }
}
