//! The last steps of init, as a list that is done when the program is not mapped any more (`sys::leave`): let
//! go of it, part from the executable file, say Ready and wait for `start`, load the filter, execute. Used where
//! nothing is left to do that needs the program; else `process::Ready::execute` does the same by calls. When a
//! step fails, the other side of the conversation says why (`explain`).
//!
//! A process that `exec` makes is born outside of the container's pid namespace, where nothing of the container
//! can see it, and enters all else; only when it has let go of the program it goes on inside, as a clone that
//! shares its memory, while it tells the other side about it and ends.

use super::identity::{self, LEAVING};
use super::process::Ready;
use super::sync::{Channel, LastStep, Message};
use super::{filters, program, refusal};
use crate::bundle::plan::{Plan, Process};
use crate::error::{Doing, Failed};
use crate::rootfs::path::Root;
use crate::sys::exe;
use crate::sys::leave::{After, Arg, Place, Script};
use crate::sys::process as sys;
use crate::sys::signal;
use anyhow::Result;
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};

/// The steps, as they are called when they fail.
mod step {
    pub const LET_GO: u8 = 1;
    pub const PART: u8 = 2;
    pub const CAPABILITIES: u8 = 3;
    pub const TALK: u8 = 4;
    pub const FILTER: u8 = 5;
    pub const SIGNALS: u8 = 6;
    pub const EXECUTE: u8 = 7;
    pub const GO_INSIDE: u8 = 8;
    pub const SESSION: u8 = 9;
    pub const TERMINAL: u8 = 10;
    pub const SCHEDULER: u8 = 11;
    /// And the number of the resource.
    pub const LIMIT: u8 = 32;
}

/// How a process waits for being started.
#[derive(Debug, Clone, Copy)]
pub enum Wait<'a> {
    /// For Start on the channel (`run`).
    Channel,
    /// For a connection to this socket, and Start on that (`create`), when the state names the process.
    Socket(&'a OwnedFd),
}

/// What the list is made of.
#[derive(Debug)]
pub struct Last<'a> {
    /// The container.
    pub plan: &'a Plan,
    /// The process.
    pub process: &'a Process,
    /// What is ready.
    pub ready: &'a Ready,
    /// The conversation with the host side.
    pub channel: &'a Channel,
    /// The container's root, for whoever has to say why the program could not be executed.
    pub root: &'a OwnedFd,
    /// The container's id.
    pub id: &'a str,
}

impl Last<'_> {
    /// Does the steps; comes back only when they could not be begun.
    pub fn leave(&self, wait: Wait) -> Result<()> {
        self.begin(|script| {
            if !self.ready.late {
                self.drop_capabilities(script);
            }
            self.wait(script, wait);
        })
    }

    /// The same for a process that goes on as another one in the pid namespace that it has entered.
    /// Its id is written to `told`.
    pub fn leave_inside(&self, told: u64) -> Result<()> {
        self.begin(|script| {
            self.go_inside(script, told);
            if !self.ready.late {
                self.drop_capabilities(script);
            }
        })
    }

    fn begin(&self, then: impl FnOnce(&mut Script)) -> Result<()> {
        let file = exe::empty_sealed_file().doing(|| "make the file that stands for the executable")?;
        signal::default_dispositions().doing(|| "reset signals")?;
        let mut script = Script::default();
        let (failure, text) = self.failure(&mut script);
        self.part(&mut script, &file);
        then(&mut script);
        self.execute(&mut script);
        let teller = self.channel.fd().as_raw_fd() as u64;
        script.run(teller, failure, text).doing(|| "get memory for the last steps")
    }

    /// The message of a step that fails, with the root beside it; and where its text is.
    fn failure(&self, script: &mut Script) -> (Arg, Arg) {
        let program = self.ready.program.to_string_lossy().into_owned();
        let told = LastStep { errno: 0, step: 0, program };
        let bytes = Message::LastStep(told).encode();
        let text = script.bytes(&bytes);
        (message(script, text, bytes.len(), self.root.as_raw_fd()).0, text)
    }

    /// Lets go of the program and of its file, which needs a capability that the process may not have.
    fn part(&self, script: &mut Script, file: &OwnedFd) {
        let Ready { capabilities, permitted, late, .. } = *self.ready;
        script.name(step::CAPABILITIES);
        if !late {
            let held = permitted & (capabilities.permitted | LEAVING);
            capset(script, (held, held, capabilities.inheritable & permitted));
        }
        script.name(step::LET_GO);
        script.let_go();
        script.name(step::PART);
        exe::replace(script, file, format!("oxrun init {}", self.id).as_bytes());
        script.call(libc::SYS_close, &[fd(file)], After::Must);
    }

    /// Goes on as a clone: a child of the host side, which hears of it when its program runs or it has ended.
    fn go_inside(&self, script: &mut Script, told: u64) {
        script.name(step::GO_INSIDE);
        let bytes = Message::Successor(0).encode();
        let text = script.bytes(&[bytes.as_slice(), &[0; 8]].concat());
        let (successor, pidfd) = message(script, text, bytes.len(), -1);
        let shared = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PARENT;
        let flags = shared | libc::CLONE_PIDFD | libc::CLONE_PARENT_SETTID;
        // struct clone_args in its first version: flags, pidfd, parent_tid; no exit signal, no stack of its own.
        let mut args = [Arg::Value(0); 8];
        (args[0], args[1], args[3]) = (Arg::Value(flags as u64), pidfd, Arg::Value(told));
        let (args, size) = (script.words(&args), Arg::Value(64));
        // The inside skips what its maker does then.
        script.call(libc::SYS_clone3, &[args, size], After::ZeroSkips(2));
        script.store(after(text, 1));
        let (channel, flags) = (fd(self.channel.fd()), Arg::Value(libc::MSG_NOSIGNAL as u64));
        script.call(libc::SYS_sendmsg, &[channel, successor, flags], After::Must);
        script.call(libc::SYS_exit_group, &[], After::Must);
        script.name(step::SESSION);
        script.call(libc::SYS_setsid, &[], After::Must);
        if self.process.terminal {
            script.name(step::TERMINAL);
            let take = [0, u64::from(libc::TIOCSCTTY as u32), 0].map(Arg::Value);
            script.call(libc::SYS_ioctl, &take, After::Must);
        }
        if let Some(scheduler) = &self.process.scheduler {
            script.name(step::SCHEDULER);
            let attributes = script.bytes(&sys::sched_attr_bytes(scheduler));
            script.call(libc::SYS_sched_setattr, &[Arg::Value(0), attributes], After::Must);
        }
    }

    fn drop_capabilities(&self, script: &mut Script) {
        let Ready { capabilities, permitted, .. } = *self.ready;
        script.name(step::CAPABILITIES);
        let kept = capabilities.permitted & permitted;
        capset(script, (capabilities.effective & kept, kept, capabilities.inheritable & permitted));
        for capability in (0..64).filter(|c| capabilities.ambient & (1 << c) != 0) {
            let (option, raise) = (libc::PR_CAP_AMBIENT as u64, libc::PR_CAP_AMBIENT_RAISE as u64);
            // Only what is permitted and inheritable can be raised; the lowering warned about the rest.
            script.call(libc::SYS_prctl, &[option, raise, capability].map(Arg::Value), After::May);
        }
    }

    /// The conversation until Start.
    fn wait(&self, script: &mut Script, wait: Wait) {
        script.name(step::TALK);
        let channel = fd(self.channel.fd());
        let heard = script.bytes(&[0; 32]);
        say(script, channel, &Message::Ready);
        let start = Message::Start(false);
        let Wait::Socket(listener) = wait else { return hear(script, channel, heard, &start) };
        hear(script, channel, heard, &Message::Recorded);
        script.call(libc::SYS_close, &[channel], After::Must);
        let cloexec = Arg::Value(libc::SOCK_CLOEXEC as u64);
        script.call(libc::SYS_accept4, &[fd(listener), Arg::Value(0), Arg::Value(0), cloexec], After::Must);
        script.store(Place::Teller);
        script.store(Place::FirstArgument(1));
        hear(script, Arg::Value(0), heard, &start);
    }

    /// The filter, and the program under it.
    fn execute(&self, script: &mut Script) {
        for limit in self.process.rlimits.iter().filter(|limit| identity::is_in_the_way(limit)) {
            script.name(step::LIMIT + limit.resource as u8);
            let values = script.words(&[limit.soft, limit.hard].map(Arg::Value));
            let (own, resource) = (Arg::Value(0), Arg::Value(limit.resource.into()));
            script.call(libc::SYS_prlimit64, &[own, resource, values], After::Must);
        }
        script.name(step::SIGNALS);
        let none = script.words(&[Arg::Value(0)]);
        let (set, size) = (Arg::Value(libc::SIG_SETMASK as u64), Arg::Value(8));
        script.call(libc::SYS_rt_sigprocmask, &[set, none, Arg::Value(0), size], After::Must);
        if let Some(filter) = &self.plan.seccomp {
            script.name(step::FILTER);
            let code: Vec<u8> = filter.program.iter().flat_map(|i| i.bytes()).collect();
            let code = script.bytes(&code);
            let program = script.words(&[Arg::Value(filter.program.len() as u64), code]);
            let mode = Arg::Value(libc::SECCOMP_SET_MODE_FILTER.into());
            script.call(libc::SYS_seccomp, &[mode, Arg::Value(filter.flags), program], After::Must);
        }
        if self.ready.late {
            self.drop_capabilities(script);
        }
        script.name(step::EXECUTE);
        let program = script.bytes(self.ready.program.to_bytes_with_nul());
        let (args, env) = (strings(script, &self.process.args), strings(script, &self.ready.env));
        script.call(libc::SYS_execve, &[program, args, env], After::Must);
    }
}

fn fd(fd: &OwnedFd) -> Arg {
    Arg::Value(fd.as_raw_fd() as u64)
}

/// An array of C strings.
fn strings(script: &mut Script, strings: &[CString]) -> Arg {
    let mut words: Vec<Arg> = strings.iter().map(|s| script.bytes(s.to_bytes_with_nul())).collect();
    words.push(Arg::Value(0));
    script.words(&words)
}

/// capset(2): effective, permitted and inheritable capabilities.
fn capset(script: &mut Script, (effective, permitted, inheritable): (u64, u64, u64)) {
    const VERSION_3: u64 = 0x2008_0522;
    let header = script.words(&[Arg::Value(VERSION_3)]);
    let half = |shift: u32| [effective, permitted, inheritable].map(|set| (set >> shift) as u32);
    let sets: Vec<u8> = [half(0), half(32)].concat().into_iter().flat_map(u32::to_ne_bytes).collect();
    let sets = script.bytes(&sets);
    script.call(libc::SYS_capset, &[header, sets], After::Must);
}

fn say(script: &mut Script, channel: Arg, message: &Message) {
    let bytes = message.encode();
    let (text, length) = (script.bytes(&bytes), bytes.len() as u64);
    let flags = Arg::Value(libc::MSG_NOSIGNAL as u64);
    script.call(libc::SYS_sendto, &[channel, text, Arg::Value(length), flags], After::Equals(length));
}

/// Waits for a message of a kind; whether it traces makes no difference here.
fn hear(script: &mut Script, channel: Arg, heard: Arg, message: &Message) {
    let bytes = message.encode();
    let length = bytes.len() as u64;
    script.call(libc::SYS_recvfrom, &[channel, heard, Arg::Value(32)], After::Equals(length));
    script.compare(heard, bytes.first().copied().unwrap_or_default());
}

/// Where a result goes: behind some bytes of a text.
fn after(text: Arg, bytes: usize) -> Place {
    match text {
        Arg::At(at) => Place::At(at + bytes),
        Arg::Value(value) => Place::At(value as usize + bytes),
    }
}

/// A `struct msghdr` for bytes with a descriptor, and where the descriptor's number is.
fn message(script: &mut Script, text: Arg, length: usize, fd: i32) -> (Arg, Arg) {
    let (socket, rights) = (libc::SOL_SOCKET as u64, (libc::SCM_RIGHTS as u64) << 32);
    // One control message with one descriptor has 20 bytes, and takes 24 (cmsg(3)).
    let control = script.words(&[20, socket | rights].map(Arg::Value));
    let number = script.words(&[Arg::Value(u64::from(fd as u32))]);
    let part = script.words(&[text, Arg::Value(length as u64)]);
    let zero = Arg::Value(0);
    let header = script.words(&[zero, zero, part, Arg::Value(1), control, Arg::Value(24), zero]);
    (header, number)
}

/// Whether a process could not go on inside for want of something that it needs only for that: a number of
/// processes, or memory.
pub fn may_do_without(told: &LastStep) -> bool {
    told.step == step::GO_INSIDE && [libc::EAGAIN, libc::ENOMEM].contains(&told.errno)
}

/// What a step that failed means; `root` is the container's.
pub fn explain(told: &LastStep, root: Option<OwnedFd>, plan: &Plan) -> anyhow::Error {
    let none = Process::default();
    explain_of(told, root, plan, plan.process.as_ref().unwrap_or(&none))
}

/// The same for a process that is not the plan's.
pub fn explain_of(told: &LastStep, root: Option<OwnedFd>, plan: &Plan, process: &Process) -> anyhow::Error {
    if told.errno == 0 {
        return Failed::because("wait for start", "the other side of the runtime ended", Errno::PIPE).into();
    }
    let errno = Errno::from_raw_os_error(told.errno);
    let failed = match told.step {
        step::LET_GO => Failed::new("let go of the program's memory", errno),
        step::PART => Failed::new("part from the runtime's executable", errno),
        step::CAPABILITIES => Failed::new("set process.capabilities", errno),
        step::SIGNALS => Failed::new("reset signals", errno),
        step::FILTER => match &plan.seccomp {
            Some(filter) => return filters::refused(&errno.into(), filter),
            None => Failed::new("load the seccomp filter", errno),
        },
        step::GO_INSIDE => Failed::new("clone the process into the container's pid namespace", errno),
        step::SESSION => Failed::new("start a new session", errno),
        step::TERMINAL => Failed::new("take the terminal", errno),
        step::SCHEDULER => Failed::new("set the scheduler (process.scheduler)", errno),
        step::EXECUTE => {
            let root = root.map(Root::new);
            let view = root.as_ref().map(|root| refusal::View::of(root, process));
            program::not_executed(&told.program, &process.args, &process.env, errno, view.as_ref())
        }
        resource if resource >= step::LIMIT => {
            let found =
                process.rlimits.iter().find(|limit| limit.resource == u32::from(resource - step::LIMIT));
            let what = found.map_or_else(|| "set a limit".to_string(), identity::setting_limit);
            Failed::new(what, errno)
        }
        _ => Failed::new("wait for start", errno),
    };
    failed.into()
}
