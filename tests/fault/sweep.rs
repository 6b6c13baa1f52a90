//! Puts one fault after the other into a command: records its system calls, then lets each fail once
//! and kills each process at each. After every fault: it ended, it said what it could not do or did all
//! the same what it was to do, and `delete --force` leaves nothing.

use crate::faults;
use crate::harmless;
use crate::harness::runtime;
use crate::scenarios::{Scenario, Verb};
use crate::tracer::{self, Action, At, Call, Fault, Trace};
use rustix::process::{Pid, WaitOptions, waitpid};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// What came of the faults.
#[derive(Debug, Default)]
struct Counts {
    failed: usize,
    succeeded: usize,
    died: usize,
    killed: usize,
}

/// How one fault ended.
enum End {
    /// The command failed and said why.
    Failed,
    /// It did what it was to do.
    Succeeded,
    /// It died for lack of memory, or before its first line.
    Died,
    /// It was killed.
    Killed,
}

/// No command takes longer; an emulated or busy machine has more patience.
fn limit() -> Duration {
    let times = std::env::var("TEST_PATIENCE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(60) * times.unwrap_or(1)
}

/// After so many findings a scenario ends.
const ENOUGH: usize = 30;

/// With FAULT_AT=ROLE:NUMBER only that call, as findings name it.
fn is_asked_for(fault: &Fault) -> bool {
    let name = || format!("{}:{}", fault.role, fault.index());
    std::env::var("FAULT_AT").map_or(true, |asked| asked == name())
}

/// With FAULT=all every call, else one in so many.
fn step() -> usize {
    match std::env::var("FAULT").as_deref() {
        Ok("all") => 1,
        Ok(number) => number.parse().expect("FAULT=all, or FAULT=N for every N-th system call"),
        Err(_) => 97,
    }
}

/// All faults of a scenario, counted in a line of standard error; panics with all that went wrong.
pub fn sweep(scenario: Scenario) {
    let sweep = Sweep::new(scenario);
    let (calls, faults) = sweep.faults();
    let mut counts = Counts::default();
    let mut wrong = Vec::new();
    let began = Instant::now();
    for fault in &faults {
        if wrong.len() >= ENOUGH {
            wrong.push("and no further ones were made".to_string());
            break;
        }
        match sweep.one_or_panic(fault) {
            Ok(End::Failed) => counts.failed += 1,
            Ok(End::Succeeded) => counts.succeeded += 1,
            Ok(End::Died) => counts.died += 1,
            Ok(End::Killed) => counts.killed += 1,
            Err(text) => wrong.push(text),
        }
    }
    let found = if wrong.is_empty() { "FAULT" } else { "FOUND" };
    let line = format!(
        "{found} | {} | {calls} | {} | {} | {} | {} | {} |\n",
        sweep.scenario.name,
        faults.len(),
        counts.failed,
        counts.succeeded,
        counts.died,
        counts.killed
    );
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    assert!(
        wrong.is_empty(),
        "{} of {} faults in {:?}:\n{}",
        wrong.len(),
        faults.len(),
        began.elapsed(),
        wrong.join("\n")
    );
}

struct Sweep {
    scenario: Scenario,
    recorded: Trace,
    /// What is to be seen after success.
    expected: Value,
    log: fs::File,
}

impl Sweep {
    /// Runs the command without a fault.
    fn new(scenario: Scenario) -> Sweep {
        scenario.t.write_config();
        let directory = concat!(env!("CARGO_TARGET_TMPDIR"), "/fault");
        fs::create_dir_all(directory).unwrap();
        let log =
            fs::File::create(format!("{directory}/{}", scenario.name.replace([' ', ','], "-"))).unwrap();
        let mut sweep = Sweep { scenario, recorded: Trace::default(), expected: Value::Null, log };
        // The first one makes mount points in the root filesystem, which later ones find.
        let first = sweep.run(None);
        sweep.clean_up(&first).unwrap();
        sweep.recorded = sweep.run(None);
        assert!(!sweep.recorded.hung && sweep.recorded.status == 0, "{:?}", sweep.recorded);
        sweep.expected = sweep.scenario.observe(&sweep.recorded.stdout);
        sweep.clean_up(&sweep.recorded).unwrap();
        sweep
    }

    fn run(&self, fault: Option<&Fault>) -> Trace {
        let init = self.scenario.prepare();
        let (out, err) = (self.scenario.t.dir().join("traced.out"), self.scenario.t.dir().join("traced.err"));
        tracer::run(&self.scenario.command(), runtime(), (&out, &err), init, fault, limit())
    }

    /// How many calls there are that can fail, and the faults to make: every so many calls of each
    /// process two, beginning in the middle.
    fn faults(&self) -> (usize, Vec<Fault>) {
        let (step, mut calls, mut faults) = (step(), 0, Vec::new());
        for (role, list) in &self.recorded.calls {
            for (index, call) in list.iter().enumerate() {
                calls += 1;
                if calls % step != step / 2 {
                    continue;
                }
                let fault = |action| Fault { role: role.clone(), at: At::Index(index), action };
                if faults::can_fail(call) {
                    faults.push(fault(Action::Fail));
                }
                faults.push(fault(Action::Kill));
            }
        }
        faults.retain(is_asked_for);
        (calls, faults)
    }

    /// One fault; what is wrong after it, also where that shows by a wait that was too long.
    fn one_or_panic(&self, fault: &Fault) -> Result<End, String> {
        let result = catch_unwind(AssertUnwindSafe(|| self.one(fault)));
        result.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            let text = format!(
                "{}: {} #{} {:?}: {text}",
                self.scenario.name,
                fault.role,
                fault.index(),
                fault.action
            );
            writeln!(&self.log, "WRONG\t{text}").unwrap();
            let cleaned = self.clean_up(&Trace::default());
            Err(format!("{text}{}", cleaned.err().map(|left| format!("; {left}")).unwrap_or_default()))
        })
    }

    /// One fault; what is wrong after it.
    fn one(&self, fault: &Fault) -> Result<End, String> {
        let trace = self.run(Some(fault));
        let end = self.judge(fault, &trace);
        let cleaned = self.clean_up(&trace);
        let met = match &trace.met {
            Some((call, 0)) => format!("killed at {call}"),
            Some((call, errno)) => format!("{call} = {}", std::io::Error::from_raw_os_error(*errno)),
            None => "not met".to_string(),
        };
        let place = format!("{} #{}: {met}", fault.role, fault.index());
        let said = trace.stderr.trim_end();
        let shown = match &end {
            Ok(End::Failed) => "failed",
            Ok(End::Succeeded) => "succeeded",
            Ok(End::Died) => "died",
            Ok(End::Killed) => "killed",
            Err(_) => "WRONG",
        };
        writeln!(&self.log, "{shown}\t{place}\t{}\t{said}", trace.status).unwrap();
        let describe = |text: String| {
            format!("{}: {place}: status {}: {text}\n    {said}", self.scenario.name, trace.status)
        };
        let end = end.map_err(&describe)?;
        cleaned.map_err(describe)?;
        Ok(end)
    }

    fn judge(&self, fault: &Fault, trace: &Trace) -> Result<End, String> {
        if trace.hung {
            return Err("it hangs".into());
        }
        let Some((call, errno)) = &trace.met else {
            // The process took another way, where it has fewer calls: as without a fault.
            return if trace.status == 0 { Ok(End::Succeeded) } else { Err("failed without a fault".into()) };
        };
        if trace.status == 0 {
            return self.judge_success(fault, trace);
        }
        if fault.action == Action::Kill && fault.role == "host" {
            return if trace.status == 128 + 9 { Ok(End::Killed) } else { Err("was not killed".into()) };
        }
        // It could undo nothing, as if it had been killed.
        if trace.status >= 128 && trace.status != 255 {
            let may = harmless::may_die(&fault.role, fault.index(), call);
            return if may { Ok(End::Died) } else { Err("died".into()) };
        }
        if let Some(wrong) = self.scenario.wrong_after_failure() {
            return Err(wrong);
        }
        self.judge_text(fault, call, *errno, trace)
    }

    fn judge_success(&self, fault: &Fault, trace: &Trace) -> Result<End, String> {
        let Some((call, errno)) = &trace.met else { return Ok(End::Succeeded) };
        let retried = *errno == libc::EINTR;
        // Init had said that it was ready, or had been reaped by its parent before `start` looked at it.
        let ended = (fault.action == Action::Kill
            || [libc::SYS_recvmsg, libc::SYS_close_range, libc::SYS_accept4].contains(&call.number))
            && matches!(self.scenario.verb, Verb::Create | Verb::Start);
        if ended && self.scenario.t.status() == "stopped" {
            return Ok(End::Killed);
        }
        if self.waits_for_start(fault) && self.ends_soon() {
            return Ok(End::Killed);
        }
        // What a poststop hook does is only warned about (runtime.md, Lifecycle).
        let warned = trace.stderr.contains("level=warning") && trace.stderr.contains("poststop");
        if !retried && !warned && harmless::reason(&fault.role, fault.index(), call, fault.action).is_none() {
            return Err("succeeded, which is not on the list of what may (tests/fault/harmless.rs)".into());
        }
        let seen = self.scenario.observe(&trace.stdout);
        // Some devices are mounts then.
        let (seen, expected) = match call.number == libc::SYS_mknodat {
            true => (without_devices(seen), without_devices(self.expected.clone())),
            false => (seen, self.expected.clone()),
        };
        if seen == expected {
            Ok(End::Succeeded)
        } else {
            Err(format!("succeeded, but {}", difference(&expected, &seen)))
        }
    }

    /// Whether init had said that it was ready, so that create had succeeded, when it met the fault.
    fn waits_for_start(&self, fault: &Fault) -> bool {
        let calls = self.recorded.calls.get(&fault.role).filter(|_| fault.role == "host/0");
        let waits = calls.and_then(|calls| calls.iter().position(|call| call.number == libc::SYS_recvfrom));
        self.scenario.verb == Verb::Create && waits.is_some_and(|at| fault.index() >= at)
    }

    /// Whether the container's first process ends within a moment.
    fn ends_soon(&self) -> bool {
        let end = Instant::now() + Duration::from_millis(500);
        loop {
            match self.scenario.t.status() == "stopped" {
                false if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
                stopped => return stopped,
            }
        }
    }

    /// One line, that names more than the reason.
    fn judge_text(&self, fault: &Fault, call: &Call, errno: i32, trace: &Trace) -> Result<End, String> {
        let errors: Vec<&str> = trace
            .stderr
            .lines()
            .filter(|line| line.contains("level=error") || !line.contains("level="))
            .collect();
        // Said by the process that had no memory; the other says that it ended.
        if errors.len() > 1 && fault.role != "host" && errors[0].starts_with("memory allocation of") {
            return Ok(End::Died);
        }
        let [line] = errors[..] else { return Err(format!("said {} lines", errors.len())) };
        if fault.action == Action::Kill {
            let names = line.contains("was killed")
                || line.contains("killed by signal 9")
                || line.contains("ended")
                || harmless::tells_otherwise(&fault.role, call, line);
            return if names {
                Ok(End::Failed)
            } else {
                Err("does not say that the process was killed".into())
            };
        }
        let text = std::io::Error::from_raw_os_error(errno).to_string().to_lowercase();
        let reason = text.split(" (os error").next().unwrap_or_default();
        match line.to_lowercase().find(reason) {
            Some(at) if line[..at].contains(": ") || line[..at].contains(" `") => Ok(End::Failed),
            Some(_) => Err("does not name the step".into()),
            None if harmless::tells_otherwise(&fault.role, call, line) => Ok(End::Failed),
            None => Err("does not say why".into()),
        }
    }

    /// What the next one does: `delete --force`, or where `create` was killed, `create` of the same id.
    fn clean_up(&self, trace: &Trace) -> Result<(), String> {
        let (t, id) = (&self.scenario.t, self.scenario.t.id.as_str());
        let killed_create = self.scenario.verb == Verb::Create && trace.status == 128 + 9;
        if killed_create && trace.met.as_ref().is_some_and(|(call, _)| call.number % 2 == 0) {
            self.scenario.make_device();
            let again = t.spawn(self.scenario.command()).wait();
            if again.code != 0 && !again.stderr.contains("exist") {
                return Err(format!("create of the same id: {}", again.stderr));
            }
        }
        let init = self.scenario.init();
        let deleted = t.runtime(&["delete", "--force", id]);
        if deleted.code != 0 {
            return Err(format!("delete --force: {}", deleted.stderr));
        }
        for pid in trace.left.iter().copied().chain(init) {
            reap(pid);
        }
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let left = t.leftovers();
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                t.remove_leftovers();
                return Err(format!("left after delete --force: {left:?}"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The parent of what the runtime leaves is this process.
fn reap(pid: i32) {
    let end = Instant::now() + Duration::from_secs(2);
    while let (Ok(None), true) = (waitpid(Pid::from_raw(pid), WaitOptions::NOHANG), Instant::now() < end) {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Without the mounts of single devices.
fn without_devices(mut seen: Value) -> Value {
    let is_device = |mount: &Value| {
        mount["type"] == "devtmpfs" && mount["point"].as_str().is_some_and(|point| point.starts_with("/dev/"))
    };
    if let Some(mounts) = seen.pointer_mut("/2/mounts").and_then(Value::as_array_mut) {
        mounts.retain(|mount| !is_device(mount));
    }
    seen
}

/// Where two values differ, in words.
fn difference(expected: &Value, seen: &Value) -> String {
    fn walk(path: &str, a: &Value, b: &Value, found: &mut BTreeMap<String, String>) {
        match (a, b) {
            (Value::Object(a), Value::Object(b)) => {
                for key in a.keys().chain(b.keys()) {
                    let get =
                        |from: &serde_json::Map<String, Value>| from.get(key).cloned().unwrap_or_default();
                    walk(&format!("{path}.{key}"), &get(a), &get(b), found);
                }
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                a.iter()
                    .zip(b)
                    .enumerate()
                    .for_each(|(n, (a, b))| walk(&format!("{path}[{n}]"), a, b, found));
            }
            _ if a == b => {}
            _ => drop(found.insert(path.to_string(), format!("{path} is {b} instead of {a}"))),
        }
    }
    let mut found = BTreeMap::new();
    walk("", expected, seen, &mut found);
    found.into_values().collect::<Vec<_>>().join("; ")
}
