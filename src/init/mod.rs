//! The container's side: everything between the clone and execve, in order. `run` never returns;
//! what fails is told to the host side (or to `start`) and ends the process. Security R25 is this
//! file: each step stands where it does for the reason in its comment.

pub mod exec;
mod filters;
pub mod identity;
mod image;
pub mod join;
pub mod last;
pub mod process;
pub mod program;
pub mod refusal;
pub mod remount;
pub mod sync;

use crate::bundle::plan::{NamespaceKind, Plan};
use crate::cgroup;
use crate::container::hooks::{self, EnvWhenAbsent};
use crate::container::terminal::Newlines;
use crate::error::{Doing, Failed, bail, text};
use crate::namespaces::{self, Joined};
use crate::procfs::Procfs;
use crate::rootfs::path::Root;
use crate::rootfs::{self, Builder, MountFeatures, device, hide};
use crate::sys::clone::{Forked, clone3, unshare};
use crate::sys::exe::{self, Parting};
use crate::sys::process as sys;
use crate::sys::pty;
use crate::trace;
use anyhow::Result;
use last::{Last, Wait};
use rustix::fs::Mode;
use rustix::io::Errno;
use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use sync::{Channel, Message};

/// More descriptors than a process can have (fs.nr_open's ceiling).
const MAX_FDS: u32 = 1 << 20;

/// What init needs beside the plan; made by the host side, inherited through the clone.
#[derive(Debug)]
pub struct Job<'a> {
    /// The container's id.
    pub id: &'a str,
    /// What to make.
    pub plan: &'a Plan,
    /// The conversation with the host side.
    pub channel: Channel,
    /// The listening start.sock; none for `run`, which says Start on the channel.
    pub start: Option<OwnedFd>,
    /// cgroup v1: the `tasks` file of each hierarchy.
    pub cgroup_tasks: Vec<OwnedFd>,
    /// The container's cgroups, for mounts of type cgroup.
    pub cgroup_view: cgroup::View,
    /// Namespaces to join.
    pub joined: Vec<Joined>,
    /// The host's procfs.
    pub procfs: Procfs,
    /// What the kernel offers for mounts.
    pub features: MountFeatures,
    /// What the process' terminal makes of newlines.
    pub newlines: Newlines,
    /// The mount namespace made of the root filesystem, for init to enter; none: it was born in its own.
    pub mount_namespace: Option<OwnedFd>,
    /// Give the process a session keyring of its own.
    pub new_keyring: bool,
    /// Descriptors from 3 up that the process keeps.
    pub preserve_fds: u32,
    /// Whether init parts from the executable file; else the host side has done that.
    pub parts_itself: bool,
    /// What only root of the user namespace can do about it.
    pub parting: Option<Parting>,
    /// Whether the host side is root on the host.
    pub privileged: bool,
    /// Whether a new user namespace allows setgroups.
    pub may_set_groups: bool,
    /// Where the output of hooks goes.
    pub hook_outputs: hooks::Outputs,
    /// The highest capability of the kernel.
    pub last_capability: u32,
}

impl Job<'_> {
    /// Whether the last steps are those of `last`: nobody can look at init before they are done, and
    /// none of them needs the program.
    fn leaves(&self) -> bool {
        let notifies = self.plan.seccomp.as_ref().is_some_and(|filter| filter.listener.is_some());
        self.parts_itself
            && !notifies
            && self.plan.hooks.start_container.is_empty()
            && self.plan.process.is_some()
    }
}

/// Does the job; ends in execve or in _exit(1).
pub fn run(job: Job) -> ! {
    let mut reporter = None;
    if let Err(error) = live(&job, &mut reporter) {
        let failed = Message::Failed(Failed::of(&error));
        let channel = reporter.as_ref().unwrap_or(&job.channel);
        // Whoever waits is told; when nobody does any more there is nobody to tell.
        let _ = channel.tell_trace().and_then(|()| channel.send(&failed));
    }
    sys::exit_now(1)
}

/// From the clone to the exec. `reporter` becomes the connection of `start` once there is one.
fn live(job: &Job, reporter: &mut Option<Channel>) -> Result<()> {
    let (root, ready) = prepare(job)?;
    // Nothing that is still alive here owns a descriptor, but the job and the root, which are never dropped.
    let root = ManuallyDrop::new(root);
    let leaves = job.leaves();
    close_for_waiting(job, job.channel.fd(), leaves.then(|| root.fd()))?;
    job.channel.tell_trace()?;
    if let (true, Some(process), Some(ready)) = (leaves, &job.plan.process, &ready) {
        let (plan, channel) = (job.plan, &job.channel);
        let last = Last { plan, process, ready, channel, root: root.fd(), id: job.id };
        return last.leave(job.start.as_ref().map_or(Wait::Channel, Wait::Socket));
    }
    job.channel.send(&Message::Ready)?;
    if let Some(listener) = &job.start {
        // A creator that dies before the state names init takes init with it: nobody could find it.
        job.channel.expect(&Message::Recorded)?;
        close_for_waiting(job, listener, None)?;
    }
    wait_for_start(job, reporter)?;
    match (&job.plan.process, ready) {
        (Some(process), Some(ready)) => {
            let hooks = || {
                run_hooks(job, "startContainer", "created", EnvWhenAbsent::Given(&ready.env))?;
                process::tell_trace(job.plan, reporter.as_ref().unwrap_or(&job.channel))
            };
            ready.execute(job.plan, process, job.preserve_fds, hooks)
        }
        _ => nothing_to_execute(job, reporter),
    }
}

/// Everything that can fail, so that `create` fails and not `start`.
fn prepare(job: &Job) -> Result<(Root, Option<process::Ready>)> {
    close_inherited(job)?;
    let own_parting = match job.parts_itself && !job.leaves() {
        true => part_from_executable(job.plan)?,
        false => None,
    };
    job.channel.expect(&Message::Begin)?;
    trace::step("enter the cgroups", || enter_cgroups(&job.cgroup_tasks))?;
    identity::all_cpus()?;
    let parting = own_parting.as_ref().or(job.parting.as_ref());
    trace::step("enter the namespaces", || enter_namespaces(job, parting))?;
    await_network_devices(job)?;
    // Files and directories that the runtime makes have the modes that it says.
    let umask = rustix::process::umask(Mode::empty());
    set_names(job.plan)?;
    // The host's null device is opened while the host's files can be seen (security R6).
    let null = (!job.plan.masked_paths.is_empty()).then(|| hide::host_null(job.features)).transpose()?;
    let root = build_root(job)?;
    // A session of its own, so that no terminal of the caller can be reached (TIOCSTI).
    rustix::process::setsid().doing(|| "start a new session")?;
    let Some(process) = &job.plan.process else {
        seal_root(job, &root, null.as_ref())?;
        return Ok((root, None));
    };
    // Before masks: /dev/pts is then as the mounts left it (CVE-2025-52565).
    let place = |slave: &OwnedFd| device::console(&root, slave);
    let what = (process, job.newlines);
    process::take_terminal((&root, &job.procfs), &job.channel, what, place, pty::attach)?;
    trace::step("write sysctls", || write_sysctls(job))?;
    trace::step("mask and make read-only", || seal_root(job, &root, null.as_ref()))?;
    rustix::process::umask(umask);
    let setting = process::Setting {
        plan: job.plan,
        process,
        channel: &job.channel,
        procfs: &job.procfs,
        root: &root,
        make_cwd: true,
        may_set_groups: job.may_set_groups || !namespaces::setgroups_denied(&job.procfs)?,
        last_capability: job.last_capability,
        leaves: job.leaves(),
        goes_inside: false,
    };
    let ready = trace::step("become the process", || setting.become_process())?;
    Ok((root, Some(ready)))
}

/// R8: what the host side had open for itself (the state directory, sockets) is not for init; the
/// caller's descriptors that the process keeps are.
fn close_inherited(job: &Job) -> Result<()> {
    let mut keep: Vec<u32> = [job.channel.fd(), job.procfs.fd()]
        .into_iter()
        .chain(&job.start)
        .chain(&job.cgroup_tasks)
        .chain(&job.mount_namespace)
        .chain(job.parting.as_ref().map(Parting::fd))
        .chain(job.joined.iter().map(|j| &j.fd))
        .map(|fd| fd.as_raw_fd() as u32)
        .collect();
    keep.extend(job.hook_outputs.descriptors().map(|fd| fd.as_raw_fd() as u32));
    keep.extend(preserved(job.preserve_fds));
    sys::close_all_but(&mut keep).doing(|| "close inherited descriptors")
}

/// Parts from the executable before anything of a container can see this process (security R10).
pub fn part_from_executable(plan: &Plan) -> Result<Option<Parting>> {
    let in_user_namespace = plan.namespaces.has(NamespaceKind::User);
    parted(trace::step("part from the executable", || exe::part_from_executable(in_user_namespace)))
}

fn parted<T>(result: std::io::Result<T>) -> Result<T> {
    result.doing(|| "part from the runtime's executable")
}

/// While init waits, a process in its pid namespace may look at it: it holds nothing of the host but
/// what it waits on, and files for the output of hooks.
fn close_for_waiting(job: &Job, waits_on: &OwnedFd, root: Option<&OwnedFd>) -> Result<()> {
    let mut keep = vec![waits_on.as_raw_fd() as u32];
    keep.extend(root.map(|root| root.as_raw_fd() as u32));
    keep.extend(job.start.as_ref().map(|listener| listener.as_raw_fd() as u32));
    if !job.plan.hooks.start_container.is_empty() {
        keep.extend(job.hook_outputs.descriptors().map(|fd| fd.as_raw_fd() as u32));
    }
    keep.extend(preserved(job.preserve_fds));
    sys::close_all_but(&mut keep).doing(|| "close descriptors")
}

/// The numbers of the caller's descriptors that the process keeps.
fn preserved(count: u32) -> std::ops::Range<u32> {
    3..count.saturating_add(3).min(MAX_FDS)
}

/// v1: writing 0 moves the writer, and `tasks` takes no global lock. First, so that all memory from
/// here on is the container's, and before the cgroup namespace, whose root it becomes.
fn enter_cgroups(tasks: &[OwnedFd]) -> Result<()> {
    for tasks in tasks {
        match rustix::io::write(tasks, b"0") {
            Err(Errno::INVAL) => bail!(
                "enter the container's cgroup: {}: a real-time process (chrt) may not be in a cpu cgroup without \
                 linux.resources.cpu.realtimeRuntime",
                text(Errno::INVAL)
            ),
            written => written.doing(|| "enter the container's cgroup")?,
        };
    }
    Ok(())
}

fn enter_namespaces(job: &Job, parting: Option<&Parting>) -> Result<()> {
    let plan = &job.plan.namespaces;
    namespaces::join(&job.joined, plan)?;
    if plan.has(NamespaceKind::User) {
        become_root_inside(job.privileged && !job.plan.extensions.keep_groups)?;
        if let Some(parting) = parting {
            parted(parting.finish())?;
        }
    }
    let flags = namespaces::flags_after_join(plan);
    if flags != 0 {
        unshare(flags).doing(|| "create the namespaces")?;
    }
    if namespaces::needs_successor(plan) {
        enter_pid_namespace(job)?;
    }
    if plan.creates(NamespaceKind::Cgroup) {
        unshare(NamespaceKind::Cgroup.flag()).doing(|| "create the cgroup namespace")?;
    }
    if plan.creates(NamespaceKind::Network) {
        bring_loopback_up()?;
    }
    if job.new_keyring {
        join_keyring(job.id)?;
    }
    Ok(())
}

/// The host side moves network devices in; before sysctls and hooks, which may be about them.
fn await_network_devices(job: &Job) -> Result<()> {
    if job.plan.net_devices.is_empty() {
        return Ok(());
    }
    job.channel.send(&Message::InNamespaces)?;
    job.channel.expect(&Message::DevicesGiven)
}

/// In a user namespace ids are those of its map; files are made as its root.
fn become_root_inside(drop_groups: bool) -> Result<()> {
    use rustix::process::{Gid, Uid};
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    if drop_groups {
        rustix::thread::set_thread_groups(&[]).doing(|| "drop the host's groups")?;
    }
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .doing(|| "become root of the user namespace (map gid 0)")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
        .doing(|| "become root of the user namespace (map uid 0)")?;
    // The change of ids made the process dumpable or not by sysctl; it must not be (security R9).
    identity::forbid_tracing()
}

/// The one case with a second clone: a pid namespace below a joined user namespace. The successor
/// is a sibling, so that its parent is whoever started the runtime.
fn enter_pid_namespace(job: &Job) -> Result<()> {
    if let Some(pid) = job.joined.iter().find(|j| j.kind == NamespaceKind::Pid) {
        namespaces::join_one(pid)?;
    }
    match clone3(libc::CLONE_PARENT as u64, None).doing(|| "clone into the pid namespace")? {
        Forked::Child => Ok(()),
        Forked::Parent { pid, pidfd } => {
            job.channel.send_with(&Message::Successor(pid), Some(pidfd.as_fd()))?;
            sys::exit_now(0)
        }
    }
}

fn bring_loopback_up() -> Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    // Any socket is of the network namespace; the kernel may be without IPv4.
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .doing(|| "make a socket in the network namespace")?;
    sys::loopback_up(&socket).doing(|| "bring the loopback interface up")
}

fn join_keyring(id: &str) -> Result<()> {
    let name = CString::new(format!("_ses.{id}"))?;
    match sys::join_session_keyring(&name) {
        // A kernel without keyrings has none that could be shared.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        other => other.doing(|| "make a session keyring (--no-new-keyring goes without)"),
    }
}

/// Mounts and devices, with the hooks of the host side and of createContainer, which run while the
/// host's files can still be seen; then the new root is entered.
fn build_root(job: &Job) -> Result<Root> {
    let mut ask = |index| ask_host(job, index);
    let own = job.mount_namespace.as_ref();
    let step = if own.is_some() { "enter the mount namespace of the root" } else { "attach the root" };
    let mut builder = trace::step(step, || {
        Builder::attach_root(job.plan, own, job.features, &job.procfs, &job.cgroup_view, &mut ask)
    })?;
    builder.build()?;
    trace::step("wait for the host side's hooks", || wait_for_host_hooks(job))?;
    run_hooks(job, "createContainer", "creating", EnvWhenAbsent::Given(&[]))?;
    trace::step("enter the root", || builder.enter())
}

/// Asks the host side for a descriptor that init may not open.
fn ask_host(job: &Job, index: usize) -> Result<OwnedFd> {
    job.channel.send(&Message::AskSource(index as u32))?;
    match job.channel.receive()? {
        Some((Message::Given, Some(fd))) => Ok(fd),
        Some((Message::Refused(text), _)) => bail!("{text}"),
        _ => deserted(),
    }
}

/// The host side has ended, or says what it never says: nobody is there to be told.
fn deserted() -> ! {
    sys::exit_now(1)
}

/// prestart and createRuntime hooks run on the host side, when the namespaces and mounts are there.
fn wait_for_host_hooks(job: &Job) -> Result<()> {
    let hooks = &job.plan.hooks;
    if hooks.prestart.is_empty() && hooks.create_runtime.is_empty() {
        return Ok(());
    }
    job.channel.send(&Message::RootfsReady)?;
    job.channel.expect(&Message::HooksDone)
}

/// Hooks of the container's side. The state on their standard input has the pid as seen inside.
fn run_hooks(job: &Job, kind: &str, status: &str, env: EnvWhenAbsent) -> Result<()> {
    let list = match kind {
        "createContainer" => &job.plan.hooks.create_container,
        _ => &job.plan.hooks.start_container,
    };
    if list.is_empty() {
        return Ok(());
    }
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    let state = hooks::state_json(job.plan, job.id, status, pid)?;
    let cwd = (kind == "createContainer").then_some(job.plan.bundle.as_path());
    let stdout = job.hook_outputs.stdout.as_ref().map(AsFd::as_fd);
    let stderr = job.hook_outputs.stderr.as_ref().map(AsFd::as_fd);
    hooks::run(list, kind, &hooks::Setting { state: &state, env, cwd, stdout, stderr })
}

fn set_names(plan: &Plan) -> Result<()> {
    if let Some(name) = &plan.hostname {
        sys::sethostname(name).doing(|| format!("set the hostname to `{name}`"))?;
    }
    if let Some(name) = &plan.domainname {
        sys::setdomainname(name).doing(|| format!("set the domainname to `{name}`"))?;
    }
    Ok(())
}

/// Masks, read-only paths and the read-only root: last, as they hinder what comes before.
fn seal_root(job: &Job, root: &Root, null: Option<&OwnedFd>) -> Result<()> {
    hide::make_readonly(root, &job.plan.readonly_paths, &job.procfs, job.features)?;
    hide::mask(root, &job.plan.masked_paths, null, &job.procfs, job.features)?;
    if job.plan.root_readonly {
        rootfs::make_readonly(root, job.features)?;
    }
    Ok(())
}

/// Sysctls are of the namespaces that init is in; written through the host's procfs, which no
/// mount of the container covers.
fn write_sysctls(job: &Job) -> Result<()> {
    for (key, value) in &job.plan.sysctls {
        job.procfs
            .write(&format!("sys/{key}"), value.as_bytes())
            .doing(|| format!("set sysctl `{}` to `{value}` (linux.sysctl)", key.replace('/', ".")))?;
    }
    Ok(())
}

/// Waits for `start`, on the channel (`run`) or on start.sock. A connection that ends without
/// saying Start was a `start` that died: the container ends with it.
fn wait_for_start(job: &Job, reporter: &mut Option<Channel>) -> Result<()> {
    let Some(listener) = &job.start else {
        return expect_start(&job.channel);
    };
    let connection = loop {
        match rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC) {
            Ok(connection) => break connection,
            Err(Errno::INTR) => {}
            Err(_) => deserted(),
        }
    };
    let connection = reporter.insert(Channel::new(connection));
    expect_start(connection)
}

/// Whoever starts decides anew whether steps are traced.
fn expect_start(channel: &Channel) -> Result<()> {
    match channel.receive()? {
        Some((Message::Start(traced), _)) => {
            trace::begin_inside(traced);
            Ok(())
        }
        other => bail!("expected Start from the other side, received {other:?}"),
    }
}

/// A container without a process can be created. `start` has nothing to execute then: the container
/// ends at once, and `start` says so.
fn nothing_to_execute(job: &Job, reporter: &Option<Channel>) -> Result<()> {
    reporter.as_ref().unwrap_or(&job.channel).send(&Message::NothingToRun)?;
    sys::exit_now(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_start_starts() {
        let (a, b) = Channel::pair().unwrap();
        a.send(&Message::Start(false)).unwrap();
        expect_start(&b).unwrap();
        a.send(&Message::Begin).unwrap();
        let error = expect_start(&b).unwrap_err().to_string();
        assert_eq!(error, "expected Start from the other side, received Some((Begin, None))");
    }
}
