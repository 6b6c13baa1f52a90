//! `checkpoint`: a running container is written to images by CRIU and then removed, unless it is to go on.
//! When it cannot be written it goes on as it was.

use super::delete::{self, cgroup_of};
use super::error::Error;
use super::external::{self, MountTable};
use super::images::Directories;
use super::inspect;
use super::statedir::{Entry, Lock, State, StateDir, Status};
use crate::bundle::plan::{NamespaceKind, Plan};
use crate::cgroup::Manager;
use crate::cli::checkpoint::{Checkpoint, Common};
use crate::criu::messages::{CgroupsMode, ExternalMount, Features, Kind, Options};
use crate::criu::{self, Setting, Swrk};
use crate::error::{Context, Doing, bail, failed, shown};
use crate::hostfs;
use crate::procfs::Procfs;
use crate::rootfs::path::Root;
use anyhow::Result;
use rustix::fs::{FileType, OFlags};
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

/// The annotation that names a configuration file for CRIU.
const CONFIG_ANNOTATION: &str = "org.criu.config";
/// The file that is read without it, if it is there.
const CONFIG: &str = "/etc/criu/oxrun.conf";
/// CRIU's log in the work directory.
const LOG: &str = "dump.log";
/// The step at which pages are served.
const SERVING: &str = "status-ready";

/// Writes a container to images; `criu` is the program given for it.
pub fn checkpoint(states: &StateDir, args: &Checkpoint, criu: Option<&Path>) -> Result<()> {
    args.check()?;
    let entry = states.open_entry(&args.id)?;
    entry.lock(Lock::Exclusive)?;
    let state = entry.state()?;
    let (status, init) = entry.status(&state)?;
    let status = inspect::with_paused(status, &state)?;
    let (Status::Running | Status::Paused, Some(_)) = (status, init) else {
        bail!(Error::WrongState(format!(
            "cannot checkpoint a container that is {}: start it",
            status.name()
        )));
    };
    let program = criu::find(criu)?;
    let directories = Directories::to_write(&args.common)?;
    if let Some(parent) = &args.parent {
        directories.check_parent(parent)?;
    }
    let serving = args.status_fd.map(open_status).transpose()?;
    let plan = super::plan_of(&entry, &state)?;
    let cgroup = cgroup_of(&state)?;
    let options = options(args, &entry, &state, &plan, &cgroup, &directories)?;
    dump(&program, args, options, &directories, serving.as_ref())
        .inspect_err(|_| let_go_on(&cgroup, status))
        .with_context(|| format!("checkpoint `{}`", args.id))?;
    if args.leave_running || args.pre_dump {
        return Ok(());
    }
    delete::remove(entry, &state)
}

/// A CRIU that was killed may have left the cgroup frozen.
fn let_go_on(cgroup: &Manager, status: Status) {
    if status == Status::Running && cgroup.is_frozen().unwrap_or(true) {
        cgroup.thaw().unwrap_or_else(|error| crate::warn!("let the container go on: {}", shown(&error)));
    }
}

/// The descriptor of `--status-fd`.
fn open_status(number: RawFd) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{number}");
    hostfs::open(path, OFlags::WRONLY).doing(|| format!("open descriptor {number} (--status-fd) to write"))
}

fn dump(
    program: &Path,
    args: &Checkpoint,
    options: Options,
    directories: &Directories,
    serving: Option<&OwnedFd>,
) -> Result<()> {
    directories.new_log(LOG)?;
    directories.forget_parent()?;
    let criu = Swrk::start(program, &Setting { own_group: true, ..Setting::default() })?;
    criu.version()?;
    check_features(&criu, args)?;
    let kind = if args.pre_dump { Kind::PreDump } else { Kind::Dump };
    let response = criu.run(kind, options, &mut |step| match serving.filter(|_| step.name == SERVING) {
        Some(fd) => rustix::io::write(fd, b"\0").map(drop).map_err(failed("write to --status-fd")),
        None => Ok(()),
    })?;
    if !response.success {
        let (why, log) = (criu.why(&response, &directories.work, LOG), directories.log_path(LOG));
        bail!("CRIU: {why}; its log is `{}`", log.display());
    }
    Ok(())
}

/// What the options need of the kernel is asked before the container is stopped for it.
fn check_features(criu: &Swrk, args: &Checkpoint) -> Result<()> {
    let wanted = Features {
        memory_tracking: (args.pre_dump || args.parent.is_some()).then_some(true),
        lazy_pages: args.common.lazy_pages.then_some(true),
    };
    if wanted == Features::default() {
        return Ok(());
    }
    let found = criu.features(wanted)?;
    if wanted.memory_tracking.is_some() && found.memory_tracking != Some(true) {
        bail!(
            "--pre-dump and --parent-path need memory tracking, which this kernel or CRIU lacks: see CONFIG_MEM_SOFT_DIRTY"
        );
    }
    if wanted.lazy_pages.is_some() && found.lazy_pages != Some(true) {
        bail!("--lazy-pages needs userfaultfd, which this kernel or CRIU lacks: see CONFIG_USERFAULTFD");
    }
    Ok(())
}

fn options(
    args: &Checkpoint,
    entry: &Entry,
    state: &State,
    plan: &Plan,
    cgroup: &Manager,
    directories: &Directories,
) -> Result<Options> {
    let procfs = Procfs::open()?;
    let pid = state.init.as_ref().map_or(0, |init| init.pid);
    let table = MountTable::of(&procfs, &pid.to_string())?;
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let root = hostfs::open(format!("/proc/{pid}/root"), flags).doing(|| "open the container's root")?;
    let mut mounts = external::mounts_to_dump(plan, &cgroup.view(), &table, &Root::new(root))?;
    if super::notify::has_directory(entry)? {
        let inside = super::notify::INSIDE.to_string();
        mounts.push(ExternalMount { key: inside.clone(), value: inside });
    }
    let pids = if matches!(cgroup, Manager::None) { vec![pid] } else { cgroup.processes()? };
    if let Some(stranger) = pids.iter().copied().find(|one| is_stranger(&procfs, pid, *one)) {
        say_stranger(&procfs, stranger, args.leave_running || args.pre_dump)?;
    }
    let files = external::files_to_dump(&procfs, &table, pid, &pids, args.common.shell_job)?;
    if !args.pre_dump {
        directories.write_descriptors(&files.names)?;
    }
    let mut external = external::namespaces_to_dump(plan, pid)?;
    external.extend(files.external);
    Ok(Options {
        pid: Some(pid),
        leave_running: Some(args.leave_running),
        parent_images: args.parent.as_deref().map(external::text).transpose()?.map(String::from),
        track_memory: args.pre_dump.then_some(true),
        link_remap: args.link_remap.then_some(true),
        tcp_skip_in_flight: args.tcp_skip_in_flight.then_some(true),
        page_server: args.page_server.clone(),
        network_lock: args.network_lock.map(Into::into),
        freeze_cgroup: freezer(cgroup)?,
        external_mounts: mounts,
        external,
        ..common_options(&args.common, cgroup, &plan.annotations, directories, LOG)?
    })
}

/// CRIU writes a tree of processes. One that was put into the container from outside, and whose parent is
/// there still, is left out: it would be lost with the container, and is only not in the images where the
/// container goes on.
fn say_stranger(procfs: &Procfs, stranger: i32, goes_on: bool) -> Result<()> {
    let name = procfs.read(&format!("{stranger}/comm")).unwrap_or_default();
    let name = criu::clean(String::from_utf8_lossy(&name).trim());
    if goes_on {
        crate::warn!(
            "process {stranger} (`{name}`) was put into the container from outside, by exec: it is not in the images"
        );
        return Ok(());
    }
    bail!(
        "process {stranger} (`{name}`) was put into the container from outside, by exec: CRIU writes the first \
         process and what that began; end it first, or use --leave-running"
    )
}

/// Whether a process that is there does not descend from the first one.
fn is_stranger(procfs: &Procfs, init: i32, pid: i32) -> bool {
    let mut current = pid;
    while current != init {
        match parent_of(procfs, current) {
            // It has ended meanwhile.
            None => return false,
            Some(0 | 1) => return true,
            Some(parent) => current = parent,
        }
    }
    false
}

fn parent_of(procfs: &Procfs, pid: i32) -> Option<i32> {
    let status = procfs.read(&format!("{pid}/status")).ok()?;
    let status = String::from_utf8_lossy(&status).into_owned();
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// The cgroup with all processes of the container.
fn freezer(cgroup: &Manager) -> Result<Option<String>> {
    cgroup.path_of("freezer").map(|path| external::text(&path).map(String::from)).transpose()
}

/// What `checkpoint` and `restore` say alike.
pub fn common_options(
    args: &Common,
    cgroup: &Manager,
    annotations: &BTreeMap<String, String>,
    directories: &Directories,
    log: &str,
) -> Result<Options> {
    let cgroups = match cgroup {
        Manager::None => CgroupsMode::Ignore,
        _ => args.cgroups.unwrap_or(CgroupsMode::Soft),
    };
    Ok(Options {
        images: directories.images.as_raw_fd(),
        work: Some(directories.work.as_raw_fd()),
        log_level: Some(4),
        log_file: Some(log.to_string()),
        notify: Some(true),
        external_masters: Some(true),
        evasive_devices: Some(true),
        orphan_terminals: Some(true),
        tcp_established: args.tcp_established.then_some(true),
        tcp_close: args.tcp_close.then_some(true),
        external_unix_sockets: args.external_unix_sockets.then_some(true),
        shell_job: args.shell_job.then_some(true),
        file_locks: args.file_locks.then_some(true),
        lazy_pages: args.lazy_pages.then_some(true),
        auto_dedup: args.auto_dedup.then_some(true),
        empty_namespaces: args.empty_network.then_some(NamespaceKind::Network.flag() as u32),
        manage_cgroups: Some(cgroups.into()),
        config_file: config_file(annotations)?,
        ..Options::default()
    })
}

/// The configuration for CRIU that the caller or the host's administrator wants.
fn config_file(annotations: &BTreeMap<String, String>) -> Result<Option<String>> {
    match annotations.get(CONFIG_ANNOTATION) {
        Some(path) if path.is_empty() => Ok(None),
        Some(path) if !Path::new(path).is_absolute() => {
            bail!("annotation {CONFIG_ANNOTATION}: `{path}` is not absolute")
        }
        Some(path) if !is_file(path) => bail!("annotation {CONFIG_ANNOTATION}: no file `{path}`"),
        Some(path) => Ok(Some(path.clone())),
        None => Ok(is_file(CONFIG).then(|| CONFIG.to_string())),
    }
}

fn is_file(path: &str) -> bool {
    hostfs::stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}
