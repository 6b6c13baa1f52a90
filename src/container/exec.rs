//! `exec`: another process in a container, cloned into it by the way that `entrance` describes; then
//! the conversation with it until its program runs, and in the foreground waiting for its end.

use super::delete::cgroup_of;
use super::entrance::Entrance;
use super::error::Error;
use super::foreground::{self, Console, Signals};
use super::handover::Handover;
use super::identity::ended_unexecuted;
use super::pidfile::PidFile;
use super::statedir::{Entry, State, StateDir, Status};
use super::terminal::{self, HostTerminal, Newlines};
use super::{inspect, launch, subcgroup, tenant};
use crate::bundle::host::Host;
use crate::bundle::plan::{Plan, Process};
use crate::cgroup::{Join, Location};
use crate::cli::exec::Exec;
use crate::error::{Context, Doing, anyhow, bail};
use crate::init::exec::{self as inside, Job};
use crate::init::last;
use crate::init::sync::{Channel, LastStep, Message};
use crate::procfs::Procfs;
use crate::seccomp::notify::{self, Agent};
use crate::sys::clone::{Forked, ToldPid, clone3, told_pid};
use crate::sys::process::{self as sys, Exit};
use crate::sys::signal;
use crate::trace;
use anyhow::Result;
use rustix::process::{PidfdFlags, pidfd_open};
use std::cell::OnceCell;
use std::os::fd::{AsFd, OwnedFd};

/// Runs the process; the answer is its exit status, 0 when detached.
pub fn exec(states: &StateDir, args: &Exec) -> Result<u8> {
    let handover = Handover::to_process(args.preserve_fds)?;
    let host = Host::probe()?;
    let entry = states.open_entry(&args.id)?;
    let state = entry.state()?;
    let (status, init) = check_status(&entry, &state, args.ignore_paused)?;
    let spec = super::spec_of(&entry, &state)?;
    let plan = super::lower_again(&spec, &state, &host)?;
    let process = tenant::process(args, &spec, &host)?;
    let outside = Outside::open(args, &process, &plan)?;
    let way = WayIn::open(args, &state, &plan, init, &host)?;
    // Blocked before the process exists, so that it has its own dispositions, and none is lost.
    let signals = match args.detach {
        true => signal::block_all().map(|_| None).doing(|| "block signals")?,
        false => Some(Signals::block()?),
    };
    let newlines = Newlines::of(outside.console.as_ref());
    let making =
        Making { args, handover, state: &state, plan: &plan, process: &process, newlines, host: &host };
    let notifies = outside.agent.is_some();
    let born = trace::step("enter and clone", || match way.entrance.by_itself().filter(|_| !notifies) {
        Some(before) => clone_outside(&making, &way, before),
        None => enter_and_clone(&making, &way),
    })?;
    let mut talk = Talk { making: &making, status, outside: &outside, born, way: Some(way), master: None };
    let mut executed = trace::step("until the program runs", || talk.until_executed());
    if executed.as_ref().is_err_and(|error| error.is::<NoRoom>()) {
        talk.born.kill();
        let (_, init) = check_status(&entry, &state, args.ignore_paused)?;
        let way = WayIn::open(args, &state, &plan, init, &host)?;
        talk.born = trace::step("enter and clone", || enter_and_clone(&making, &way))?;
        executed = trace::step("until the program runs", || talk.until_executed());
    }
    if let Err(error) = executed.and_then(|()| talk.announce()) {
        talk.born.kill();
        return Err(error);
    }
    crate::debug!("the program runs in `{}`, pid {}", args.id, talk.born.pid);
    trace::flush();
    let Talk { mut born, master, .. } = talk;
    let Some(signals) = signals else {
        born.reap_maker();
        return Ok(0);
    };
    // Nobody else looks after the process.
    let code = wait(&born, signals, master, outside.terminal).inspect_err(|_| born.kill())?;
    born.reap_maker();
    Ok(code)
}

/// A process that hides until its program runs needs room for two for a moment, which the container does
/// not have.
#[derive(Debug)]
struct NoRoom;

impl std::fmt::Display for NoRoom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the container has no room for another process")
    }
}

impl std::error::Error for NoRoom {}

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

/// What leads into the container.
struct WayIn {
    cgroups: Cgroups,
    entrance: Entrance,
}

impl WayIn {
    fn open(args: &Exec, state: &State, plan: &Plan, init: Init, host: &Host) -> Result<WayIn> {
        let cgroups = trace::step("open the cgroups", || Cgroups::open(args, state, init.pid))?;
        Ok(WayIn { cgroups, entrance: Entrance::open(plan, init.pid, init.pidfd, host)? })
    }
}

/// The cgroups that the process goes to.
struct Cgroups {
    join: Join,
    /// Where it goes otherwise on cgroup v2: where this process is now. None when a place was asked for.
    init: Option<(Location, i32)>,
    elsewhere: OnceCell<Option<OwnedFd>>,
}

impl Cgroups {
    fn open(args: &Exec, state: &State, init: i32) -> Result<Cgroups> {
        let location = cgroup_of(state)?.location();
        let join = subcgroup::join(&location, &args.cgroups, init)?;
        let init = args.cgroups.is_empty().then_some((location, init));
        Ok(Cgroups { join, init, elsewhere: OnceCell::new() })
    }

    /// Looked for at the first call, which must come before this process goes inside.
    fn elsewhere(&self) -> Option<&OwnedFd> {
        let find = || self.init.as_ref().and_then(|(location, init)| subcgroup::of_init(location, *init));
        self.elsewhere.get_or_init(find).as_ref()
    }
}

/// The new process as its maker sees it.
struct Born {
    pid: i32,
    pidfd: OwnedFd,
    channel: Channel,
    /// The host's procfs, to look at it from inside the container.
    procfs: Procfs,
    /// The process that went inside, as soon as there is one.
    inside: ToldPid,
    /// The process that has made it, which ends then.
    maker: Option<OwnedFd>,
}

impl Born {
    /// Waits for the end of the maker, which may have been waited for with other children.
    fn reap_maker(&mut self) {
        if let Some(maker) = self.maker.take() {
            let _ = sys::wait_pidfd(&maker);
        }
    }

    /// Ends the process and reaps it.
    fn kill(&mut self) {
        // A process that is gone already needs no signal and no wait.
        let _ = sys::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
        let _ = sys::wait_pidfd(&self.pidfd);
        self.reap_maker();
        // One that went inside, and was not heard of because its maker was killed, is a child of this process.
        let unheard =
            self.inside.get().filter(|pid| *pid != self.pid).and_then(rustix::process::Pid::from_raw);
        let opened = unheard.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        if let Some(pidfd) = opened {
            let _ = sys::pidfd_send_signal(&pidfd, libc::SIGKILL);
            let _ = sys::wait_pidfd(&pidfd);
        }
    }
}

/// What the new process is made from.
struct Making<'a> {
    args: &'a Exec,
    handover: Handover,
    state: &'a State,
    plan: &'a Plan,
    process: &'a Process,
    newlines: Newlines,
    host: &'a Host,
}

/// Clones the process where this one is; it enters the container itself.
fn clone_outside(making: &Making, way: &WayIn, before: u64) -> Result<Born> {
    // Nobody may trace what the new process inherits (security R9).
    sys::prctl(libc::PR_SET_DUMPABLE, 0).doing(|| "forbid tracing")?;
    let procfs = prepare(making)?;
    clone(making, way, procfs, Some(before))
}

/// Enters the container with this process, and clones the new one in it.
fn enter_and_clone(making: &Making, way: &WayIn) -> Result<Born> {
    let procfs = prepare(making)?;
    way.cgroups.elsewhere();
    way.entrance.enter()?;
    clone(making, way, procfs, None)
}

/// What the new process inherits from this one.
fn prepare(making: &Making) -> Result<Procfs> {
    let procfs = Procfs::open()?;
    launch::raise_hard_limits(Some(making.process), 0)?;
    launch::set_oom_score(Some(making.process), &procfs, &procfs.own_name()?)?;
    if let Some(place) = &making.state.rdt {
        // The new process inherits the group; its own id could not be written any more.
        place.join(rustix::process::getpid().as_raw_nonzero().get())?;
    }
    Ok(procfs)
}

fn clone(making: &Making, way: &WayIn, procfs: Procfs, before: Option<u64>) -> Result<Born> {
    let cgroups = &way.cgroups;
    let (ours, theirs) = Channel::pair()?;
    let inside = told_pid().doing(|| "get memory for the id of a process")?;
    let into = cgroups.join.into.as_ref();
    let forked = match clone3(0, into) {
        Err(error) if subcgroup::may_be_elsewhere(&error) => match cgroups.elsewhere() {
            Some(elsewhere) => clone3(0, Some(elsewhere)),
            None => Err(error),
        },
        forked => forked,
    };
    match forked.map_err(subcgroup::explain)? {
        Forked::Child => {
            drop(ours);
            trace::begin_inside(trace::is_on());
            inside::run(Job {
                id: &making.args.id,
                plan: making.plan,
                process: making.process,
                channel: theirs,
                way: &way.entrance.way,
                before,
                told: inside.address(),
                cgroup_tasks: &cgroups.join.tasks,
                procfs,
                newlines: making.newlines,
                keyring: making.state.new_keyring,
                preserve_fds: making.handover.all,
                last_capability: making.host.last_capability,
            })
        }
        Forked::Parent { pid, pidfd } => Ok(Born { pid, pidfd, channel: ours, procfs, inside, maker: None }),
    }
}

/// The conversation with the new process.
struct Talk<'a> {
    making: &'a Making<'a>,
    status: Status,
    outside: &'a Outside<'a>,
    born: Born,
    /// Until the process is in the container.
    way: Option<WayIn>,
    master: Option<OwnedFd>,
}

impl Talk<'_> {
    /// Ends well when the program runs: the process said that it was ready, and then the channel
    /// was closed by execve; or another one, that it has made, was told of, which is only then.
    fn until_executed(&mut self) -> Result<()> {
        let mut ready = false;
        loop {
            let message = match self.born.channel.receive()? {
                Some(message) => message,
                None if ready && !ended_unexecuted(&self.born.procfs, self.born.pid) => return Ok(()),
                None => return self.died(),
            };
            match message {
                (Message::Console, Some(master)) => self.take_terminal(master)?,
                (Message::SeccompListener(number), _) => {
                    let agent = self.outside.agent.as_ref().context("the filter has no agent")?;
                    let init = self.making.state.init.as_ref().map_or(0, |init| init.pid);
                    let Born { pid, pidfd, channel, .. } = &self.born;
                    let loading = notify::Loading { pid: *pid, pidfd, channel, number };
                    if !agent.hand_over(self.status.name(), &self.making.args.id, init, &loading)? {
                        return self.died();
                    }
                }
                (Message::Ready, _) => {
                    ready = true;
                    // While the process takes its last steps, and not when somebody waits for this one.
                    self.way = None;
                }
                (Message::Successor(pid), Some(pidfd)) => {
                    self.succeed(pid, pidfd);
                    if ready && !ended_unexecuted(&self.born.procfs, pid) {
                        return Ok(());
                    }
                }
                (Message::LastStep(told), root) => return self.explain(&told, root),
                (Message::Failed(failed), _) => bail!(failed),
                (other, _) => bail!("the process said {other:?}, which was not expected"),
            }
        }
    }

    /// The process went inside as another one.
    fn succeed(&mut self, pid: i32, pidfd: OwnedFd) {
        self.born.pid = pid;
        self.born.maker = Some(std::mem::replace(&mut self.born.pidfd, pidfd));
    }

    /// One of the last steps failed. A process that is inside by then is heard of when it has ended, which it
    /// does when it need not be looked at any more.
    fn explain(&mut self, told: &LastStep, root: Option<OwnedFd>) -> Result<()> {
        let error = match last::may_do_without(told) {
            true => NoRoom.into(),
            false => last::explain_of(told, root, self.making.plan, self.making.process),
        };
        self.born.channel.say_no_more()?;
        while let Some((message, fd)) = self.born.channel.receive()? {
            if let (Message::Successor(pid), Some(pidfd)) = (message, fd) {
                self.succeed(pid, pidfd);
            }
        }
        Err(error)
    }

    /// The program begins with the size of the caller's terminal.
    fn take_terminal(&mut self, master: OwnedFd) -> Result<()> {
        if let Some(host) = &self.outside.terminal {
            host.copy_size(&master)?;
        }
        self.master = Some(master);
        Ok(())
    }

    /// It ended without a word: the kernel or somebody else ended it.
    fn died(&self) -> Result<()> {
        match sys::wait_pidfd(&self.born.pidfd).doing(|| "wait for the process")? {
            Exit::Signal(libc::SIGSYS) => {
                bail!("the process was killed by the seccomp filter (bad system call) before its program ran")
            }
            Exit::Signal(number) => bail!(
                "the process was killed by signal {number} before its program ran: the container ended, or has no memory left"
            ),
            Exit::Code(code) => bail!("the process ended with status {code} before its program ran"),
        }
    }

    /// Tells who asked for it; the pid file last, as it stands for success.
    fn announce(&mut self) -> Result<()> {
        if let (Some(socket), Some(master)) = (&self.outside.console, &self.master) {
            terminal::send_fd("--console-socket", socket, master.as_fd(), "/dev/ptmx")?;
            self.master = None;
        }
        if let Some(socket) = &self.outside.pidfd {
            terminal::send_fd("--pidfd-socket", socket, self.born.pidfd.as_fd(), "pidfd")?;
        }
        match &self.outside.pid_file {
            Some(file) => file.write(self.born.pid),
            None => Ok(()),
        }
    }
}

fn wait(born: &Born, signals: Signals, master: Option<OwnedFd>, host: Option<HostTerminal>) -> Result<u8> {
    let (input, output) = (std::io::stdin(), std::io::stdout());
    let console = master.map(|master| Console { master, input: input.as_fd(), output: output.as_fd(), host });
    let pid = rustix::process::Pid::from_raw(born.pid).context("the process has no pid")?;
    Ok(foreground::supervise(&born.pidfd, pid, signals, console, None)? as u8)
}
