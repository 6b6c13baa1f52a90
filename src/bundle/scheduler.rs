//! Scheduling: CPU scheduler, I/O priority and CPU lists of a process. Called by `process.rs`.

use super::lists::parse_list;
use super::plan::Scheduler;
use super::problems::Problems;
use super::spec;

/// SCHED_* numbers (linux/sched.h).
const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

/// SCHED_FLAG_* bits (linux/sched.h).
const FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

/// The shortest runtime the kernel takes, in nanoseconds (sched(7), SCHED_DEADLINE).
const MIN_RUNTIME: u64 = 1024;

/// More CPUs than any kernel is built for (NR_CPUS is at most 8192).
const MAX_CPUS: u32 = 8192;

/// Finds a name in a table or notes what is possible.
pub fn find<T: Copy>(
    name: &str,
    table: &[(&'static str, T)],
    path: &str,
    problems: &mut Problems,
) -> Option<T> {
    let found = table.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    if found.is_none() {
        let known: Vec<&'static str> = table.iter().map(|(known, _)| *known).collect();
        let what = if name.is_empty() { "missing".to_string() } else { format!("unknown value `{name}`") };
        problems.add_unknown(path, format!("{what}: one of {}", known.join(", ")), [name], known);
    }
    found
}

/// Lowers `scheduler`.
pub fn lower(given: &spec::Scheduler, path: &str, problems: &mut Problems) -> Option<Scheduler> {
    let policy = find(&given.policy, &POLICIES, &format!("{path}.policy"), problems);
    let mut flags = 0;
    for (i, flag) in given.flags.iter().enumerate() {
        flags |= find(flag, &FLAGS, &format!("{path}.flags[{i}]"), problems).unwrap_or(0);
    }
    policy?;
    check_nice(given, path, problems);
    check_priority(given, path, problems);
    check_deadline(given, path, problems);
    Some(Scheduler {
        policy: policy?,
        flags,
        nice: given.nice,
        priority: u32::try_from(given.priority).unwrap_or(0),
        runtime: given.runtime,
        deadline: given.deadline,
        period: given.period,
    })
}

fn check_nice(given: &spec::Scheduler, path: &str, problems: &mut Problems) {
    let path = format!("{path}.nice");
    if !(-20..=19).contains(&given.nice) {
        problems.add(path, format!("{} is out of range: -20 to 19", given.nice));
    } else if given.nice != 0 && !["SCHED_OTHER", "SCHED_BATCH"].contains(&given.policy.as_str()) {
        problems.add(path, "is for SCHED_OTHER and SCHED_BATCH only");
    }
}

fn check_priority(given: &spec::Scheduler, path: &str, problems: &mut Problems) {
    let path = format!("{path}.priority");
    if ["SCHED_FIFO", "SCHED_RR"].contains(&given.policy.as_str()) {
        if !(1..=99).contains(&given.priority) {
            problems.add(path, format!("{} is out of range for {}: 1 to 99", given.priority, given.policy));
        }
    } else if given.priority != 0 {
        problems.add(path, "is for SCHED_FIFO and SCHED_RR only");
    }
}

fn check_deadline(given: &spec::Scheduler, path: &str, problems: &mut Problems) {
    let (runtime, deadline, period) = (given.runtime, given.deadline, given.period);
    if given.policy != "SCHED_DEADLINE" {
        for (value, name) in [(runtime, "runtime"), (deadline, "deadline"), (period, "period")] {
            if value != 0 {
                problems.add(format!("{path}.{name}"), "is for SCHED_DEADLINE only");
            }
        }
    } else if runtime < MIN_RUNTIME {
        problems.add(format!("{path}.runtime"), format!("{runtime} is too short: at least {MIN_RUNTIME} ns"));
    } else if runtime > deadline {
        problems.add(format!("{path}.deadline"), format!("{deadline} is less than the runtime {runtime}"));
    } else if period != 0 && deadline > period {
        problems.add(format!("{path}.period"), format!("{period} is less than the deadline {deadline}"));
    } else if period.max(deadline) >= 1 << 63 {
        problems.add(format!("{path}.period"), "must be less than 2^63 ns");
    }
}

/// Lowers `ioPriority` to the value that ioprio_set(2) takes.
pub fn lower_io_priority(given: &spec::IoPriority, path: &str, problems: &mut Problems) -> Option<u16> {
    const CLASSES: [(&str, u16); 3] =
        [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];
    let class = find(&given.class, &CLASSES, &format!("{path}.class"), problems);
    match u16::try_from(given.priority) {
        Ok(priority @ 0..=7) => Some(class? << 13 | priority),
        _ => {
            problems.add(format!("{path}.priority"), format!("{} is out of range: 0 to 7", given.priority));
            None
        }
    }
}

/// Lowers a list of `execCPUAffinity`; empty is none.
pub fn lower_cpu_list(text: &str, path: &str, problems: &mut Problems) -> Option<Vec<u32>> {
    match parse_list(text, MAX_CPUS) {
        Ok(cpus) => Some(cpus).filter(|cpus| !cpus.is_empty()),
        Err(fault) => {
            problems.add(path, fault);
            None
        }
    }
}
