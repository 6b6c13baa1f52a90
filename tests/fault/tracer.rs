//! Runs a command of the runtime under ptrace(2), follows every process that it makes until that
//! executes a program, and makes one system call of one of them fail, or kills the process there.
//!
//! A process has a role, so that it is the same one in every run: `host` is the runtime, `host/0` its
//! first child (init, or the process of exec), `init` an init that waited already.

use crate::faults::{self, Injection};
use crate::ptrace::{self, Event, Syscall};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens at a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is not made and fails, by one of the errors of `faults`.
    Fail,
    /// It is not made, and this is its result: minus an error number, or a count.
    Return(i64),
    /// The process is killed before it.
    Kill,
}

/// One fault of one run.
#[derive(Debug, Clone)]
pub struct Fault {
    pub role: String,
    pub at: At,
    pub action: Action,
}

impl Fault {
    /// The number of the call; none of a sweep's has no number.
    pub fn index(&self) -> usize {
        match self.at {
            At::Index(index) => index,
            At::Call { .. } => usize::MAX,
        }
    }
}

/// Which system call of a process.
#[derive(Debug, Clone)]
pub enum At {
    /// By its number among all, from 0.
    Index(usize),
    /// By its name and how what it is about ends; how many such calls come before; also all later ones.
    Call { name: String, object: String, before: usize, all: bool },
}

/// A system call, as far as it matters here.
#[derive(Debug, Clone)]
pub struct Call {
    pub number: i64,
    /// Path, or what a descriptor leads to; empty where there is neither.
    pub object: String,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({})", faults::name(self.number), self.object)
    }
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Trace {
    /// Exit status of the runtime, or 128 + signal.
    pub status: i32,
    /// What it and its children said.
    pub stdout: String,
    pub stderr: String,
    /// It had to be ended because it did not end.
    pub hung: bool,
    /// The call that the fault met, and the error that it got.
    pub met: Option<(Call, i32)>,
    /// Every call of every process; only when nothing was to fail.
    pub calls: BTreeMap<String, Vec<Call>>,
    /// Processes that execute a program or wait for `start`: they may outlive the runtime.
    pub left: Vec<i32>,
    /// All that it made.
    pub made: Vec<i32>,
}

struct Tracee {
    role: String,
    children: usize,
    /// How many system calls it has begun.
    calls: usize,
    counted: bool,
    /// What the call that it is in will have for a result.
    result: Option<i64>,
}

struct Tracer<'a> {
    fault: Option<&'a Fault>,
    runtime: &'a Path,
    root: i32,
    tracees: BTreeMap<i32, Tracee>,
    /// Processes whose maker has not said yet that it made them; whether they have ended meanwhile.
    unknown: BTreeMap<i32, bool>,
    trace: Trace,
    ended: bool,
    /// How many calls were like the one of the fault and came before it.
    alike: usize,
    watched: Arc<Mutex<BTreeSet<i32>>>,
}

/// Runs `command` with its output in `out` and `err`; `init` is a waiting init that belongs to it.
pub fn run(
    command: &Command,
    runtime: &Path,
    files: (&Path, &Path),
    init: Option<i32>,
    fault: Option<&Fault>,
    limit: Duration,
) -> Trace {
    let watched = Arc::new(Mutex::new(BTreeSet::new()));
    let (root, mut gate) = start(command, files);
    let mut tracer = Tracer {
        fault,
        runtime,
        root,
        tracees: BTreeMap::new(),
        unknown: BTreeMap::new(),
        trace: Trace::default(),
        ended: false,
        alike: 0,
        watched: watched.clone(),
    };
    if let Some(init) = init {
        tracer.seize(init, "init", true);
        ptrace::interrupt(init).unwrap();
    }
    tracer.seize(root, "host", false);
    gate.write_all(b"\n").unwrap();
    drop(gate);
    let (done, hung) = watchdog(watched, limit);
    tracer.follow();
    drop(done);
    let mut trace = tracer.trace;
    trace.hung = hung.join().unwrap();
    trace.stdout = fs::read_to_string(files.0).unwrap_or_default();
    trace.stderr = fs::read_to_string(files.1).unwrap_or_default();
    trace
}

/// A shell that becomes the command when something is written to it.
#[allow(clippy::zombie_processes)] // The tracer waits for it.
fn start(command: &Command, (out, err): (&Path, &Path)) -> (i32, std::process::ChildStdin) {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "read _; exec \"$@\" </dev/null", "sh"]).arg(command.get_program());
    shell.args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        shell.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    // A group of its own: nothing that is meant for the tests reaches it.
    shell.process_group(0);
    shell.stdout(File::create(out).unwrap()).stderr(File::create(err).unwrap()).stdin(Stdio::piped());
    let mut child = shell.spawn().unwrap();
    (child.id() as i32, child.stdin.take().unwrap())
}

/// Ends what is still traced when the time is over; its answer is whether it had to.
fn watchdog(
    watched: Arc<Mutex<BTreeSet<i32>>>,
    limit: Duration,
) -> (Sender<()>, std::thread::JoinHandle<bool>) {
    let (done, wait) = channel::<()>();
    let thread = std::thread::spawn(move || {
        let hung = wait.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        if hung {
            watched.lock().unwrap().iter().for_each(|pid| ptrace::kill(*pid));
        }
        hung
    });
    (done, thread)
}

impl Tracer<'_> {
    fn seize(&mut self, pid: i32, role: &str, counted: bool) {
        ptrace::seize(pid).unwrap_or_else(|e| panic!("seize {role} {pid}: {e}"));
        self.add(pid, role.to_string(), counted);
    }

    fn add(&mut self, pid: i32, role: String, counted: bool) {
        self.watched.lock().unwrap().insert(pid);
        self.tracees.insert(pid, Tracee { role, children: 0, calls: 0, counted, result: None });
    }

    fn forget(&mut self, pid: i32) {
        self.watched.lock().unwrap().remove(&pid);
        self.tracees.remove(&pid);
    }

    /// Until all have ended, execute a program, or wait for `start` when the runtime has ended.
    fn follow(&mut self) {
        while !self.tracees.is_empty() {
            match ptrace::wait(!self.ended) {
                Ok(Some((pid, event))) => self.on(pid, event),
                Ok(None) if self.all_idle() => return self.leave_all(),
                Ok(None) => std::thread::sleep(Duration::from_micros(200)),
                Err(_) => return,
            }
        }
    }

    fn on(&mut self, pid: i32, event: Event) {
        if !self.tracees.contains_key(&pid) {
            let ended = matches!(event, Event::Ended(_));
            self.unknown.insert(pid, ended);
            return;
        }
        match event {
            Event::Ended(status) => {
                if pid == self.root {
                    self.trace.status = status;
                    self.ended = true;
                }
                self.forget(pid);
            }
            Event::Syscall => self.on_syscall(pid),
            Event::Cloned => self.on_clone(pid),
            Event::Executed => self.on_exec(pid),
            Event::Stopped => self.resume(pid, 0),
            Event::Signal(signal) => self.resume(pid, signal),
        }
    }

    fn on_clone(&mut self, pid: i32) {
        // The maker may have been killed at this moment; then its child is found by nobody, and ends.
        if let (Ok(child), Some(parent)) = (ptrace::cloned(pid), self.tracees.get_mut(&pid)) {
            let role = format!("{}/{}", parent.role, parent.children);
            let counted = parent.counted;
            parent.children += 1;
            self.trace.made.push(child);
            match self.unknown.remove(&child) {
                Some(true) => {}
                waits => {
                    self.add(child, role, counted);
                    if waits.is_some() {
                        self.resume(child, 0);
                    }
                }
            }
        }
        self.resume(pid, 0);
    }

    fn on_exec(&mut self, pid: i32) {
        if pid != self.root {
            self.trace.left.push(pid);
            self.forget(pid);
            let _ = ptrace::detach(pid);
            return;
        }
        let executes = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        if let Some(tracee) = self.tracees.get_mut(&pid) {
            tracee.counted = executes == self.runtime;
        }
        self.resume(pid, 0);
    }

    fn on_syscall(&mut self, pid: i32) {
        let place = ptrace::syscall(pid);
        let may_meet = self.fault.is_some_and(|fault| self.may_meet(fault));
        let Some(tracee) = self.tracees.get_mut(&pid) else { return };
        match place {
            Ok(Syscall::Entry { number, arguments }) if tracee.counted => {
                let index = tracee.calls;
                tracee.calls += 1;
                match self.fault {
                    None => {
                        let call = Call { number, object: object(pid, number, &arguments) };
                        self.trace.calls.entry(tracee.role.clone()).or_default().push(call);
                    }
                    Some(fault) if may_meet && fault.role == tracee.role => {
                        if self.is_at(&fault.at, index, pid, number, &arguments) {
                            let call = Call { number, object: object(pid, number, &arguments) };
                            if self.meet(pid, fault.action, call) {
                                return;
                            }
                        }
                    }
                    Some(_) => {}
                }
            }
            Ok(Syscall::Exit) => {
                if let Some(result) = tracee.result.take() {
                    let _ = ptrace::set_result(pid, result);
                }
            }
            _ => {}
        }
        self.resume(pid, 0);
    }

    /// Whether the fault is still to come.
    fn may_meet(&self, fault: &Fault) -> bool {
        self.trace.met.is_none() || matches!(fault.at, At::Call { all: true, .. })
    }

    /// Whether this is the call of the fault.
    fn is_at(&mut self, at: &At, index: usize, pid: i32, number: i64, arguments: &[u64; 6]) -> bool {
        match at {
            At::Index(wanted) => *wanted == index,
            At::Call { name, object: end, before, all } => {
                let alike = faults::name(number) == name.as_str()
                    && object(pid, number, arguments).ends_with(end.as_str());
                self.alike += usize::from(alike);
                alike && (self.alike == before + 1 || (*all && self.alike > *before))
            }
        }
    }

    /// The moment of the fault; whether it killed the process.
    fn meet(&mut self, pid: i32, action: Action, call: Call) -> bool {
        let Some(tracee) = self.tracees.get_mut(&pid) else { return false };
        // Calls differ a little from run to run: here may stand one that cannot fail.
        if action == Action::Fail && !faults::can_fail(&call) {
            return false;
        }
        if action == Action::Kill {
            self.trace.met = Some((call, 0));
            ptrace::kill(pid);
            return true;
        }
        let injection = match action {
            Action::Return(result) => Some(Injection { result, errno: (-result) as i32, perform: false }),
            _ => faults::injection(call.number, tracee.calls),
        };
        let Some(Injection { result, errno, perform }) = injection else { return false };
        if !perform {
            let _ = ptrace::skip_call(pid);
        }
        tracee.result = Some(result);
        self.trace.met = Some((call, errno));
        false
    }

    /// Only the process of the fault stops at system calls, until the fault was met.
    fn resume(&self, pid: i32, signal: i32) {
        let Some(tracee) = self.tracees.get(&pid) else { return };
        let to_syscall = tracee.result.is_some()
            || self.fault.is_none_or(|fault| self.may_meet(fault) && fault.role == tracee.role);
        // It may have been killed by somebody meanwhile.
        let _ = ptrace::resume(pid, to_syscall, signal);
    }

    /// Whether each that is left waits for a `start` (accept4 on start.sock).
    fn all_idle(&self) -> bool {
        self.tracees.keys().all(|pid| {
            let now = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
            let number = now.split(' ').next().and_then(|n| n.parse::<i64>().ok());
            number == Some(libc::SYS_accept4) || number == Some(libc::SYS_accept)
        })
    }

    fn leave_all(&mut self) {
        let pids: Vec<i32> = self.tracees.keys().copied().collect();
        pids.iter().for_each(|pid| drop(ptrace::interrupt(*pid)));
        while !self.tracees.is_empty() {
            let Ok(Some((pid, event))) = ptrace::wait(true) else { return };
            if !matches!(event, Event::Ended(_)) {
                let _ = ptrace::detach(pid);
                self.trace.left.push(pid);
            }
            self.forget(pid);
        }
    }
}

/// What a call is about: its path, or the file behind its descriptor.
fn object(pid: i32, number: i64, arguments: &[u64; 6]) -> String {
    let file = |fd: u64| {
        let link = PathBuf::from(format!("/proc/{pid}/fd/{}", fd as i32));
        fs::read_link(link).map(|l| l.display().to_string()).unwrap_or_default()
    };
    match faults::object_of(number) {
        faults::Object::Path(index) => ptrace::string_at(pid, arguments[index]),
        faults::Object::PathAt(index) => {
            let path = ptrace::string_at(pid, arguments[index]);
            match path.starts_with('/') || arguments[index - 1] as i32 == libc::AT_FDCWD {
                true => path,
                false => format!("{}/{path}", file(arguments[index - 1])),
            }
        }
        faults::Object::File(index) => file(arguments[index]),
        faults::Object::Command => format!("{} {:#x}", file(arguments[0]), arguments[1]),
        faults::Object::Number(index) => format!("{:#x}", arguments[index]),
        faults::Object::Nothing => String::new(),
    }
}
