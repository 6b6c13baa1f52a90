//! `exec`: another process in a container. Everything that needs the host is opened first; then this
//! process enters the container's namespaces for good and clones the process into them, so that it
//! is born inside and nothing of the host is in reach of the container. What stays outside is the
//! user namespace (the host's privileges are still needed) and the cgroup namespace (clone3 into a
//! cgroup wants to see it); those the new process enters itself.

use super::delete::cgroup_of;
use super::error::Error;
use super::foreground::{self, Console};
use super::pidfile::PidFile;
use super::statedir::{Entry, State, StateDir, Status};
use super::terminal::{self, HostTerminal};
use super::{inspect, launch, subcgroup, tenant};
use crate::bundle::host::Host;
use crate::bundle::plan::{NamespaceKind, Plan, Process};
use crate::cgroup::Join;
use crate::cli::exec::Exec;
use crate::container::identity::ended;
use crate::error::Doing;
use crate::init::exec::{self as inside, Job};
use crate::init::sync::{Channel, Message};
use crate::namespaces;
use crate::procfs::Procfs;
use crate::seccomp::notify::{self, Agent};
use crate::sys::clone::{Forked, clone3, setns};
use crate::sys::process::{self as sys, Exit};
use crate::sys::{exe, signal};
use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, OwnedFd};

/// Runs the process; the answer is its exit status, 0 when detached.
pub fn exec(states: &StateDir, args: &Exec) -> Result<u8> {
    let host = Host::probe()?;
    let entry = states.open_entry(&args.id)?;
    let state = entry.state()?;
    let (status, init) = check_status(&entry, &state, args.ignore_paused)?;
    let spec = super::spec_of(&entry, &state)?;
    let plan = super::lower_again(&spec, &state)?;
    let process = tenant::process(args, &spec, &host)?;
    let outside = Outside::open(args, &process, &plan)?;
    let entrance = Entrance::open(args, &state, &plan, init, &host)?;
    // Blocked before the process exists, so that it has its own dispositions, and none is lost.
    signal::block_all().doing(|| "block signals")?;
    let born = enter_and_clone(args, &state, &plan, &process, entrance)?;
    let mut talk = Talk { args, state: &state, status, outside: &outside, born: &born, master: None };
    if let Err(error) = talk.until_executed().and_then(|()| talk.announce()) {
        born.kill();
        return Err(error);
    }
    match args.detach {
        true => Ok(0),
        false => wait(&born, talk.master.take(), outside.terminal),
    }
}

/// Only a container with a first process can take another one.
fn check_status(entry: &Entry, state: &State, ignore_paused: bool) -> Result<(Status, Init)> {
    let (status, pidfd) = entry.status(state)?;
    let status = inspect::with_paused(status, state)?;
    let refuse = |text: &str| Err(Error::WrongState(text.into()).into());
    match (status, pidfd, &state.init) {
        (Status::Paused, ..) if !ignore_paused => {
            refuse("cannot exec in a paused container (use --ignore-paused to override)")
        }
        (Status::Stopped, ..) => refuse("cannot exec in a stopped container"),
        (_, Some(pidfd), Some(identity)) => Ok((status, Init { pid: identity.pid, pidfd })),
        _ => refuse("cannot exec in a container that is being created"),
    }
}

/// The container's first process.
struct Init {
    pid: i32,
    pidfd: OwnedFd,
}

/// What belongs to the host and is still needed when this process is inside.
struct Outside<'a> {
    console: Option<OwnedFd>,
    pidfd: Option<OwnedFd>,
    pid_file: Option<PidFile>,
    agent: Option<Agent<'a>>,
    terminal: Option<HostTerminal>,
}

impl<'a> Outside<'a> {
    fn open(args: &Exec, process: &Process, plan: &'a Plan) -> Result<Outside<'a>> {
        match (&args.console_socket, process.terminal) {
            (None, true) if args.detach => {
                bail!(
                    "cannot allocate a terminal for a detached process: use --console-socket, or no terminal"
                )
            }
            (Some(_), false) => {
                bail!(
                    "--console-socket is given, but the process has no terminal: add --tty or leave the option out"
                )
            }
            _ => {}
        }
        let connect = |flag, path: &Option<std::path::PathBuf>| {
            path.as_ref().map(|path| terminal::connect_socket(flag, path)).transpose()
        };
        let (input, output, errors) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let watched = process.terminal && !args.detach && args.console_socket.is_none();
        let notifies = plan.seccomp.as_ref().is_some_and(|filter| filter.listener.is_some());
        Ok(Outside {
            console: connect("--console-socket", &args.console_socket)?,
            pidfd: connect("--pidfd-socket", &args.pidfd_socket)?,
            pid_file: args.pid_file.as_deref().map(PidFile::prepare).transpose()?,
            agent: notifies.then(|| notify::connect(plan)).transpose()?,
            terminal: watched
                .then(|| HostTerminal::find(&[input.as_fd(), output.as_fd(), errors.as_fd()]))
                .flatten(),
        })
    }
}

/// The way in.
struct Entrance {
    init: Init,
    /// Namespaces that this process enters before the clone, and that the new one enters after.
    before: u64,
    after: u64,
    user_namespace: bool,
    root: Option<OwnedFd>,
    join: Join,
    /// Where else on cgroup v2: where init is now.
    elsewhere: Option<OwnedFd>,
    procfs: Procfs,
    privileged: bool,
    last_capability: u32,
}

impl Entrance {
    fn open(args: &Exec, state: &State, plan: &Plan, init: Init, host: &Host) -> Result<Entrance> {
        let privileged = host.euid == 0 && !host.in_user_namespace;
        let all = namespaces::differing(init.pid)?;
        let (user, cgroup) = (NamespaceKind::User.flag(), NamespaceKind::Cgroup.flag());
        // Without privileges on the host they come from the user namespace, so that is first.
        let after = all & if privileged { user | cgroup } else { cgroup };
        let location = cgroup_of(state)?.location();
        let join = subcgroup::join(&location, &args.cgroups, init.pid)?;
        let elsewhere = args.cgroups.is_empty().then(|| subcgroup::of_init(&location, init.pid)).flatten();
        let root = (all & NamespaceKind::Mount.flag() == 0).then(|| open_root(plan)).transpose()?;
        if ended(&init.pidfd)? {
            bail!(Error::WrongState("cannot exec in a stopped container".into()));
        }
        Ok(Entrance {
            init,
            before: all & !after,
            after,
            user_namespace: all & user != 0,
            root,
            join,
            elsewhere,
            procfs: Procfs::open()?,
            privileged,
            last_capability: host.last_capability,
        })
    }
}

fn open_root(plan: &Plan) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(&plan.rootfs, flags, Mode::empty())
        .doing(|| format!("open the container's root `{}`", plan.rootfs.display()))
}

/// The new process as its maker sees it.
struct Born {
    pid: i32,
    pidfd: OwnedFd,
    channel: Channel,
}

impl Born {
    /// Ends the process and reaps it.
    fn kill(&self) {
        // A process that is gone already needs no signal and no wait.
        let _ = sys::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
        let _ = sys::wait_pidfd(&self.pidfd);
    }
}

/// The point of no return: from here on this process touches no path.
fn enter_and_clone(
    args: &Exec,
    state: &State,
    plan: &Plan,
    process: &Process,
    entrance: Entrance,
) -> Result<Born> {
    exe::part_from_executable().doing(|| "part from the runtime's executable")?;
    launch::raise_hard_limits(Some(process), 0)?;
    let forbid_tracing = || sys::prctl(libc::PR_SET_DUMPABLE, 0).doing(|| "forbid tracing");
    // Nobody may trace this process or read its memory when it is in reach (security R9).
    forbid_tracing()?;
    let (ours, theirs) = Channel::pair()?;
    if entrance.before != 0 {
        setns(&entrance.init.pidfd, entrance.before).doing(|| "enter the container's namespaces")?;
        forbid_tracing()?;
    }
    let into = entrance.join.into.as_ref();
    let forked = match (clone3(0, into), &entrance.elsewhere) {
        (Err(error), Some(elsewhere)) if subcgroup::may_be_elsewhere(&error) => clone3(0, Some(elsewhere)),
        (forked, _) => forked,
    };
    match forked.map_err(subcgroup::explain)? {
        Forked::Child => {
            drop(ours);
            inside::run(Job {
                id: &args.id,
                plan,
                process,
                channel: theirs,
                init: entrance.init.pidfd,
                namespaces: entrance.after,
                user_namespace: entrance.user_namespace,
                root: entrance.root,
                cgroup_tasks: entrance.join.tasks,
                procfs: entrance.procfs,
                keyring: state.new_keyring,
                preserve_fds: args.preserve_fds,
                privileged: entrance.privileged,
                last_capability: entrance.last_capability,
            })
        }
        Forked::Parent { pid, pidfd } => Ok(Born { pid, pidfd, channel: ours }),
    }
}

/// The conversation with the new process.
struct Talk<'a> {
    args: &'a Exec,
    state: &'a State,
    status: Status,
    outside: &'a Outside<'a>,
    born: &'a Born,
    master: Option<OwnedFd>,
}

impl Talk<'_> {
    /// Ends well when the program runs: the process said that it was ready, and then the channel
    /// was closed by execve.
    fn until_executed(&mut self) -> Result<()> {
        let mut ready = false;
        loop {
            let message = match self.born.channel.receive()? {
                Some(message) => message,
                None if ready => return Ok(()),
                None => return self.died(),
            };
            match message {
                (Message::Console, Some(master)) => self.deliver(master)?,
                (Message::SeccompListener, Some(listener)) => {
                    let agent = self.outside.agent.as_ref().context("the filter has no agent")?;
                    let init = self.state.init.as_ref().map_or(0, |init| init.pid);
                    agent.send(self.status.name(), &self.args.id, init, self.born.pid, &listener)?;
                    self.born.channel.send(&Message::ListenerSent)?;
                }
                (Message::Ready, _) => ready = true,
                (Message::Failed(_, text), _) => return Err(anyhow!(text)),
                (other, _) => bail!("the process said {other:?}, which was not expected"),
            }
        }
    }

    fn deliver(&mut self, master: OwnedFd) -> Result<()> {
        match &self.outside.console {
            Some(socket) => terminal::send_fd("--console-socket", socket, master.as_fd(), "/dev/ptmx"),
            None => {
                if let Some(host) = &self.outside.terminal {
                    host.copy_size(&master)?;
                }
                self.master = Some(master);
                Ok(())
            }
        }
    }

    /// It ended without a word: the kernel or somebody else ended it.
    fn died(&self) -> Result<()> {
        match sys::wait_pidfd(&self.born.pidfd).doing(|| "wait for the process")? {
            Exit::Signal(libc::SIGSYS) => {
                bail!("the process was killed by the seccomp filter (bad system call) before it was ready")
            }
            Exit::Signal(number) => bail!(
                "the process was killed by signal {number} before it was ready: the container ended, or has no memory left"
            ),
            Exit::Code(code) => bail!("the process ended with status {code} before it was ready"),
        }
    }

    /// Tells who asked for it; the pid file last, as it stands for success.
    fn announce(&self) -> Result<()> {
        if let Some(socket) = &self.outside.pidfd {
            terminal::send_fd("--pidfd-socket", socket, self.born.pidfd.as_fd(), "pidfd")?;
        }
        match &self.outside.pid_file {
            Some(file) => file.write(self.born.pid),
            None => Ok(()),
        }
    }
}

fn wait(born: &Born, master: Option<OwnedFd>, host: Option<HostTerminal>) -> Result<u8> {
    let (input, output) = (std::io::stdin(), std::io::stdout());
    let console = master.map(|master| Console { master, input: input.as_fd(), output: output.as_fd(), host });
    let pid = rustix::process::Pid::from_raw(born.pid).context("the process has no pid")?;
    Ok(foreground::supervise(&born.pidfd, pid, console)? as u8)
}
