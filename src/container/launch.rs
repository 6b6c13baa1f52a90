//! The clone, and the host side's part of the conversation with init (drawn in `init::sync`) up to
//! the moment when init has only to be told to start. Called by `create` for `create` and `run`.

use super::hooks;
use super::netdevice::{self, Moved};
use super::rdt::Place;
use super::terminal::Newlines;
use crate::bundle::plan::{DeviceRule, Mount, MountIdMap, MountSource, NamespaceKind, Plan, Process};
use crate::cgroup::Manager;
use crate::error::{Context, Doing, Failed, anyhow, bail, errno_of, shown};
use crate::hostfs;
use crate::init::sync::{Channel, Message};
use crate::init::{self, Job, last};
use crate::namespaces::{self, Detour, Joined};
use crate::procfs::Procfs;
use crate::rootfs::mount::{clone_tree, new_filesystem};
use crate::rootfs::{MountFeatures, namespace};
use crate::seccomp::notify;
use crate::sys::clone::{Forked, clone3, setns};
use crate::sys::process::{self as sys, Exit};
use crate::sys::signal;
use crate::trace;
use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::mount::MountAttrFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What the host side decides beside the plan.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The plan.
    pub plan: &'a Plan,
    /// The container's cgroups, made.
    pub cgroup: &'a Manager,
    /// Device rules of the cgroup; none leaves those in force.
    pub devices: &'a [DeviceRule],
    /// The container's resctrl group, made.
    pub rdt: Option<&'a Place>,
    /// The listening start.sock; none for `run`.
    pub start: Option<OwnedFd>,
    /// Connection to the receiver of the terminal; none keeps the terminal for the caller.
    pub console: Option<OwnedFd>,
    /// Give the process its own session keyring.
    pub new_keyring: bool,
    /// Descriptors from 3 up that the process keeps.
    pub preserve_fds: u32,
    /// The host's facts.
    pub host: &'a crate::bundle::Host,
}

/// Init, ready to be started.
#[derive(Debug)]
pub struct Launched {
    /// Pid in the caller's pid namespace.
    pub pid: i32,
    /// Stable reference to it.
    pub pidfd: OwnedFd,
    /// The conversation, for `run` to say Start on.
    pub channel: Channel,
    /// The terminal's master end when nobody else received it.
    pub master: Option<OwnedFd>,
    /// Whether sources of bind mounts are found in the host's own mount namespace, not in a copy of it.
    shares_mounts: bool,
    /// Network devices that were moved into the container.
    moved: Option<Moved>,
}

impl Launched {
    /// Ends init and reaps it; network devices go back first.
    pub fn kill(&mut self) {
        if let Some(moved) = &mut self.moved {
            moved.put_back();
        }
        // A process that is gone already needs no signal and no wait.
        let _ = sys::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
        let _ = sys::wait_pidfd(&self.pidfd);
    }

    /// Tells init that the state names it, so that it needs this process no more.
    pub fn tell_recorded(&self) -> Result<()> {
        self.channel.send(&Message::Recorded).map_err(|error| match errno_of(&error) {
            libc::EPIPE | libc::ECONNRESET if ends_soon(&self.pidfd) => match sys::wait_pidfd(&self.pidfd) {
                Ok(Exit::Signal(signal)) => killed(signal),
                _ => error,
            },
            _ => error,
        })
    }
}

fn killed(signal: i32) -> anyhow::Error {
    anyhow!("container init was killed by signal {signal} before it was ready")
}

/// Clones init and talks to it until it is ready. When it fails, init is gone.
pub fn launch(launch: Launch) -> Result<Launched> {
    let procfs = Procfs::open()?;
    let joined = namespaces::open_joined(&launch.plan.namespaces)?;
    limit(&launch)?;
    // In a pid namespace of its own nobody can look at init: there it does this itself.
    let parts_itself = launch.plan.namespaces.creates(NamespaceKind::Pid);
    let parting = match parts_itself {
        true => None,
        false => init::part_from_executable(launch.plan)?,
    };
    // From here on nobody may trace this process or read its memory (security R9). In a rootless
    // run the id maps are written first, which a process that is not dumpable would refuse.
    let privileged = launch.host.is_privileged();
    let may_set_groups = launch.host.may_set_groups();
    if privileged {
        sys::prctl(libc::PR_SET_DUMPABLE, 0).doing(|| "forbid tracing")?;
    }
    let join = launch.cgroup.join()?;
    let inside = [&launch.plan.hooks.create_container, &launch.plan.hooks.start_container];
    let hook_outputs = match inside.iter().all(|list| list.is_empty()) {
        true => hooks::Outputs::default(),
        false => hooks::Outputs::open(launch.plan)?,
    };
    let (ours, theirs) = Channel::pair()?;
    // No signal may arrive in init before it has its own dispositions.
    let mask = signal::block_all().doing(|| "block signals")?;
    let mount_namespace =
        trace::step("make a mount namespace of the root", || namespace::of_root(launch.plan));
    let mut flags = namespaces::clone_flags(&launch.plan.namespaces);
    if mount_namespace.is_some() {
        flags &= !NamespaceKind::Mount.flag();
    }
    let one_way = namespaces::is_one_way(&launch.plan.namespaces);
    let clone = if one_way { clone_by_another } else { clone_on_detour };
    let cloned =
        trace::step("clone init", || clone(launch.plan, flags, &joined, &procfs, join.into.as_ref()));
    let (forked, detour) = cloned?;
    match forked {
        Forked::Child => {
            drop(ours);
            trace::begin_inside(trace::is_on());
            init::run(Job {
                id: launch.id,
                plan: launch.plan,
                channel: theirs,
                start: launch.start,
                cgroup_tasks: join.tasks,
                cgroup_view: launch.cgroup.view(),
                joined,
                procfs,
                features: MountFeatures::probe(),
                newlines: Newlines::of(launch.console.as_ref()),
                mount_namespace,
                new_keyring: launch.new_keyring,
                preserve_fds: launch.preserve_fds,
                parts_itself,
                parting,
                privileged,
                may_set_groups,
                hook_outputs,
                last_capability: launch.host.last_capability,
            })
        }
        Forked::Parent { pid, pidfd } => {
            drop(theirs);
            signal::set_mask(mask).doing(|| "restore the signal mask")?;
            let shares_mounts = mount_namespace.is_some();
            let mut launched =
                Launched { pid, pidfd, channel: ours, master: None, shares_mounts, moved: None };
            let talked = detour.leave().and_then(|()| {
                let converse = || converse(&launch, &procfs, may_set_groups, &mut launched);
                trace::step("until init is ready", converse)
            });
            match talked {
                Ok(()) => Ok(launched),
                Err(error) => {
                    launched.kill();
                    Err(error)
                }
            }
        }
    }
}

/// Clones init; the host side is then where `Detour` went, until it leaves.
fn clone_on_detour(
    plan: &Plan,
    flags: u64,
    joined: &[Joined],
    procfs: &Procfs,
    cgroup: Option<&OwnedFd>,
) -> Result<(Forked, Detour)> {
    let detour = Detour::enter(&plan.namespaces, joined, procfs)?;
    let forked = clone3(flags, cgroup);
    Ok((forked.map_err(|error| explain_clone(&error, plan))?, detour))
}

/// The same where there is no way back: another process goes, clones init as a child of this one,
/// and ends.
fn clone_by_another(
    plan: &Plan,
    flags: u64,
    joined: &[Joined],
    procfs: &Procfs,
    cgroup: Option<&OwnedFd>,
) -> Result<(Forked, Detour)> {
    let (ours, theirs) = Channel::pair()?;
    // From a cgroup namespace nothing can be cloned into a cgroup out of it where namespaces are boundaries
    // of delegation (cgroup2's `nsdelegate`): init is born where its parent is.
    let leaves = joined.iter().any(|join| join.kind == NamespaceKind::Cgroup);
    let (first, then) = if leaves { (cgroup, None) } else { (None, cgroup) };
    match clone3(0, first).doing(|| "clone a process that joins namespaces")? {
        Forked::Child => {
            let entered = Detour::enter(&plan.namespaces, joined, procfs);
            let flags = flags | libc::CLONE_PARENT as u64;
            let forked =
                entered.and_then(|_| clone3(flags, then).map_err(|error| explain_clone(&error, plan)));
            let said = match forked {
                Ok(Forked::Child) => return Ok((Forked::Child, Detour::default())),
                Ok(Forked::Parent { pid, pidfd }) => {
                    theirs.send_with(&Message::Successor(pid), Some(pidfd.as_fd()))
                }
                Err(error) => theirs.send(&Message::Failed(Failed::of(&error))),
            };
            sys::exit_now(said.is_err().into())
        }
        Forked::Parent { pidfd: other, .. } => {
            drop(theirs);
            let said = ours.receive()?;
            sys::wait_pidfd(&other).doing(|| "wait for the process that joined namespaces")?;
            match said {
                Some((Message::Successor(pid), Some(pidfd))) => {
                    Ok((Forked::Parent { pid, pidfd }, Detour::default()))
                }
                Some((Message::Failed(failed), _)) => bail!(failed),
                _ => bail!("the process that joined namespaces ended without a word"),
            }
        }
    }
}

fn explain_clone(error: &std::io::Error, plan: &Plan) -> anyhow::Error {
    let why = crate::error::why(error);
    let kinds: Vec<&str> = plan.namespaces.create.iter().map(|k| k.name()).collect();
    let hint = match error.raw_os_error() {
        Some(libc::ENOSPC) => "; a limit in /proc/sys/user/max_*_namespaces is reached",
        Some(libc::EPERM) => "; creating them needs root, or a user namespace in linux.namespaces",
        Some(libc::EAGAIN) => "; the limit of processes (RLIMIT_NPROC or pids.max) is reached",
        _ => "",
    };
    anyhow!("create the namespaces {}: {why}{hint}", kinds.join(", "))
}

/// Limits the cgroup, before there is a process in it: on v2 init is born under its limits.
fn limit(launch: &Launch) -> Result<()> {
    let plan = &launch.plan.cgroup;
    trace::step("apply limits and device rules", || launch.cgroup.apply(&plan.resources, launch.devices))?;
    plan.delegate.map_or(Ok(()), |uid| launch.cgroup.delegate(uid))
}

/// The host side's part, message by message.
fn converse(launch: &Launch, procfs: &Procfs, may_set_groups: bool, launched: &mut Launched) -> Result<()> {
    launch.cgroup.entered(&launch.plan.cgroup.resources)?;
    namespaces::write_id_maps(procfs, launched.pid, &launch.plan.namespaces, may_set_groups)?;
    raise_hard_limits(launch.plan.process.as_ref(), launched.pid)?;
    set_oom_score(launch.plan.process.as_ref(), procfs, &launched.pid.to_string())?;
    if let Some(place) = launch.rdt {
        place.join(launched.pid)?;
    }
    say(launch, launched, &Message::Begin, None)?;
    loop {
        let Some((message, fd)) = launched.channel.receive()? else { return died(launch, launched, None) };
        match (message, fd) {
            (Message::InNamespaces, _) => {
                launched.moved = Some(netdevice::give(&launch.plan.net_devices, launched.pid)?);
                say(launch, launched, &Message::DevicesGiven, None)?;
            }
            (Message::AskSource(index), _) => match give_source(launch.plan, index, procfs, launched) {
                Ok(fd) => say(launch, launched, &Message::Given, Some(fd.as_fd()))?,
                Err(error) => say(launch, launched, &Message::Refused(shown(&error)), None)?,
            },
            (Message::RootfsReady, _) => {
                hooks::before_pivot(launch.plan, launch.id, launched.pid)?;
                say(launch, launched, &Message::HooksDone, None)?;
            }
            (Message::Console, Some(master)) => deliver_console(launch, launched, master)?,
            (Message::SeccompListener(number), _) => {
                let Launched { pid, pidfd, channel, .. } = &*launched;
                let loading = notify::Loading { pid: *pid, pidfd, channel, number };
                if !notify::connect(launch.plan)?.hand_over("creating", launch.id, *pid, &loading)? {
                    return died(launch, launched, None);
                }
            }
            (Message::Successor(pid), Some(pidfd)) => {
                sys::wait_pidfd(&launched.pidfd).doing(|| "wait for the process that init left")?;
                (launched.pid, launched.pidfd) = (pid, pidfd);
            }
            (Message::Ready, _) => return Ok(()),
            (Message::Failed(failed), _) => bail!(failed),
            (Message::LastStep(told), root) => return Err(last::explain(&told, root, launch.plan)),
            (other, _) => bail!("init said {other:?}, which was not expected"),
        }
    }
}

/// Tells init something. When it is not there any more, the error is about its end.
fn say(launch: &Launch, launched: &Launched, message: &Message, fd: Option<BorrowedFd>) -> Result<()> {
    launched.channel.send_with(message, fd).or_else(|error| match errno_of(&error) {
        libc::EPIPE | libc::ECONNRESET if ends_soon(&launched.pidfd) => died(launch, launched, Some(error)),
        // It lives, and waits for what was not sent.
        _ => Err(error),
    })
}

/// Whether a process that has closed its descriptors ends within a second.
fn ends_soon(pidfd: &OwnedFd) -> bool {
    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
    rustix::event::poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&second)).is_ok_and(|ready| ready > 0)
}

/// Init ended without a word: the kernel or somebody else ended it.
fn died(launch: &Launch, launched: &Launched, error: Option<anyhow::Error>) -> Result<()> {
    if let Some((Message::Failed(failed), _)) = launched.channel.receive().ok().flatten() {
        bail!(failed);
    }
    let exit = sys::wait_pidfd(&launched.pidfd).doing(|| "wait for init")?;
    if launch.cgroup.oom_kill_count().is_some_and(|count| count > 0) {
        bail!("container init was OOM-killed: linux.resources.memory.limit is too low");
    }
    match exit {
        Exit::Signal(libc::SIGSYS) => {
            bail!("container init was killed by the seccomp filter (bad system call)")
        }
        Exit::Signal(signal) => Err(killed(signal)),
        Exit::Code(code) => match error {
            Some(error) => Err(error),
            None => bail!("container init ended with status {code} before it was ready"),
        },
    }
}

/// Raising a hard limit needs the host's CAP_SYS_RESOURCE, which init may not have; lowering is left
/// to init, as low limits would be in its own way.
pub fn raise_hard_limits(process: Option<&Process>, pid: i32) -> Result<()> {
    for limit in process.iter().flat_map(|p| &p.rlimits) {
        let (soft, hard) = sys::get_rlimit(limit.resource).doing(|| format!("read {}", limit.name))?;
        if limit.hard > hard {
            sys::set_rlimit(pid, limit.resource, soft, limit.hard).doing(|| {
                format!(
                    "raise {} to {} (process.rlimits; the runtime's own hard limit is {hard}, and raising it needs CAP_SYS_RESOURCE)",
                    limit.name, limit.hard
                )
            })?;
        }
    }
    Ok(())
}

/// oom_score_adj of the process `pid`, from the host side: the file of an init in a user namespace
/// belongs to the host's root, and lowering needs the host's privileges. A value that is there already
/// needs no write.
pub fn set_oom_score(process: Option<&Process>, procfs: &Procfs, pid: &str) -> Result<()> {
    let Some(value) = process.and_then(|p| p.oom_score_adj) else { return Ok(()) };
    let file = format!("{pid}/oom_score_adj");
    let wanted = value.to_string();
    let current = procfs.read(&file).doing(|| "read oom_score_adj")?;
    if current.trim_ascii() == wanted.as_bytes() {
        return Ok(());
    }
    procfs.write(&file, wanted.as_bytes()).doing(|| {
        format!("set process.oomScoreAdj to {value} (lowering it needs CAP_SYS_RESOURCE on the host)")
    })
}

/// The source of a bind mount, with its id map; or a sysfs.
fn give_source(plan: &Plan, index: u32, procfs: &Procfs, launched: &Launched) -> Result<OwnedFd> {
    let mount = plan.mounts.iter().find(|m| m.index == index as usize);
    let mount = mount.with_context(|| format!("mounts[{index}] does not exist"))?;
    if let MountSource::Filesystem { kind, super_flags, data, .. } = &mount.source {
        return new_sysfs(kind, *super_flags, data, mount.attributes.set, launched);
    }
    let tree = open_source(mount, launched)?;
    if let Some(map) = &mount.id_map {
        map_ids(&tree, map, procfs, launched.pid)?;
    }
    Ok(tree)
}

/// Clones the source of a bind mount with the host's privileges, but in init's mount namespace, so
/// that earlier mounts are seen and the clone can be attached there.
fn open_source(mount: &Mount, launched: &Launched) -> Result<OwnedFd> {
    let MountSource::Bind { path, recursive, symlink, .. } = &mount.source else {
        bail!("mounts[{}] is not a bind mount", mount.index);
    };
    let clone = || {
        clone_tree(path, *recursive, *symlink != crate::bundle::plan::SymlinkSource::Follow)
            .doing(|| format!("clone `{}`", path.display()))
    };
    if launched.shares_mounts {
        return clone();
    }
    let cwd = hostfs::open(".", OFlags::PATH | OFlags::DIRECTORY).doing(|| "keep the working directory")?;
    let home = hostfs::open("/proc/self/ns/mnt", OFlags::RDONLY).doing(|| "keep the mount namespace")?;
    setns(&launched.pidfd, NamespaceKind::Mount.flag()).doing(|| "enter the container's mount namespace")?;
    let tree = clone();
    setns(&home, NamespaceKind::Mount.flag()).doing(|| "return to the host's mount namespace")?;
    rustix::process::fchdir(&cwd).doing(|| "return to the working directory")?;
    tree
}

/// A sysfs of the network namespace that init joined, which its user namespace does not own: only the
/// owner may mount it, and it shows the network of whoever mounts it.
fn new_sysfs(
    kind: &str,
    super_flags: u64,
    data: &[(String, Option<String>)],
    attributes: u64,
    launched: &Launched,
) -> Result<OwnedFd> {
    let home = hostfs::open("/proc/self/ns/net", OFlags::RDONLY).doing(|| "keep the network namespace")?;
    setns(&launched.pidfd, NamespaceKind::Network.flag())
        .doing(|| "enter the container's network namespace")?;
    let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
    let tree = new_filesystem(kind, "", super_flags, data, attributes);
    setns(&home, NamespaceKind::Network.flag()).doing(|| "return to the host's network namespace")?;
    tree
}

/// Maps the ids of a detached mount for the container whose first process is `init`.
pub fn map_ids(tree: &OwnedFd, map: &MountIdMap, procfs: &Procfs, init: i32) -> Result<()> {
    let owner = id_map_owner(map, procfs, init)?;
    crate::sys::mount::mount_idmap(tree, &owner, map.recursive)
        .doing(|| "map the ids of the mount; the filesystem or the kernel may not support it")
}

/// A user namespace with the id map of a mount: the container's own, or one made for the map by a
/// child that waits until it was opened.
fn id_map_owner(map: &MountIdMap, procfs: &Procfs, init: i32) -> Result<OwnedFd> {
    if map.uid_map.is_empty() {
        return user_namespace_of(init);
    }
    let (ours, theirs) = Channel::pair()?;
    match clone3(NamespaceKind::User.flag(), None).doing(|| "create a user namespace for the id map")? {
        Forked::Child => {
            drop(ours);
            // Ends when the other side lets go.
            let _ = theirs.receive();
            sys::exit_now(0)
        }
        Forked::Parent { pid, pidfd } => {
            drop(theirs);
            let maps = crate::bundle::plan::Namespaces {
                create: vec![NamespaceKind::User],
                uid_map: map.uid_map.clone(),
                gid_map: map.gid_map.clone(),
                ..Default::default()
            };
            let opened =
                namespaces::write_id_maps(procfs, pid, &maps, true).and_then(|()| user_namespace_of(pid));
            drop(ours);
            sys::wait_pidfd(&pidfd).doing(|| "wait for the owner of the id map")?;
            opened
        }
    }
}

fn user_namespace_of(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/user");
    hostfs::open(path, OFlags::RDONLY).doing(|| "open the user namespace")
}

/// Hands the terminal to its receiver, or keeps it for `run` in the foreground.
fn deliver_console(launch: &Launch, launched: &mut Launched, master: OwnedFd) -> Result<()> {
    match &launch.console {
        Some(socket) => super::terminal::send_fd("--console-socket", socket, master.as_fd(), "/dev/ptmx"),
        None => {
            launched.master = Some(master);
            Ok(())
        }
    }
}
