//! What the policy decides for each system call number of an architecture, as a line of intervals:
//! the precedence of rules, the calls that hide behind socketcall and ipc, and the ENOSYS for
//! calls newer than the profile. Made for `compile` and `explain`; `tree.rs` turns it into code.

use super::arch::{self, Arch, CALLS, X32_BIT};
use super::policy::{ACTION_MASK, Condition, ERRNO, KILL_THREAD, Policy, Rule, Test};
use super::policy::{ALLOW, LOG, TRACE};
use crate::sort::{sort, sort_by};
use std::cmp::Ordering;

/// What happens to a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// This return value.
    Return(u32),
    /// The arguments decide: an index into `Line::checks`.
    Check(usize),
}

/// An action and all that must hold for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The return value.
    pub action: u32,
    /// All must hold.
    pub conditions: Vec<Condition>,
}

/// The whole number line of one `AUDIT_ARCH_*` value.
#[derive(Debug, Default)]
pub struct Line {
    /// First number and verdict; each holds up to the next one. Begins with 0.
    pub intervals: Vec<(u32, Verdict)>,
    /// Lists of cases, of which the first that holds decides; if none does, the default action.
    pub checks: Vec<Check>,
}

/// The cases of a call and the architecture whose arguments they look at.
#[derive(Debug, PartialEq)]
pub struct Check {
    /// Layout of the arguments.
    pub wide: bool,
    /// Layout of the arguments.
    pub big_endian: bool,
    /// In the order of their precedence.
    pub cases: Vec<Case>,
}

/// One rule that speaks of a number. With `part`, it speaks of that subcall of socketcall or ipc.
#[derive(Debug, Clone, Copy)]
struct Entry {
    number: u32,
    part: u8,
    rule: u32,
}

impl Line {
    /// The line of architectures that share one `AUDIT_ARCH_*` value: x86_64 and x32, or one.
    pub fn of(policy: &Policy, arches: &[&'static Arch]) -> Line {
        let mut line = Line::default();
        if arches[0].first() > 0 {
            line.push(0, Verdict::Return(KILL_THREAD));
        }
        for arch in arches {
            line.add(policy, arch);
        }
        if arches.len() == 1 && arches[0].last == X32_BIT - 1 {
            // Calls of x32, which the profile does not list, but -1, a call that a tracer took away.
            let unknown = line.verdict(X32_BIT - 1);
            line.push(X32_BIT, Verdict::Return(KILL_THREAD));
            line.push(u32::MAX, unknown);
        }
        line
    }

    /// What happens to a number.
    pub fn verdict(&self, number: u32) -> Verdict {
        let after = self.intervals.partition_point(|(start, _)| *start <= number);
        self.intervals[after - 1].1
    }

    fn push(&mut self, start: u32, verdict: Verdict) {
        match self.intervals.last() {
            Some((_, last)) if *last == verdict => {}
            _ => self.intervals.push((start, verdict)),
        }
    }

    fn add(&mut self, policy: &Policy, arch: &'static Arch) {
        let (mut entries, newest) = entries(policy, arch);
        // Stable: rules stay in the profile's order.
        sort_by(&mut entries, |a, b| (a.number, a.part) < (b.number, b.part));
        let unlisted = Unlisted::new(policy, arch, newest);
        let mut next = arch.first();
        for group in entries.chunk_by(|a, b| a.number == b.number) {
            let number = group[0].number;
            unlisted.fill(self, next, number);
            let cases = cases(policy, group, arch);
            let verdict = self.decide(policy, cases, arch);
            self.push(number, verdict);
            next = number + 1;
        }
        let end = if arch.last == X32_BIT - 1 { X32_BIT } else { u32::MAX };
        unlisted.fill(self, next, end);
        if end == u32::MAX {
            self.push(end, unlisted.verdict(end));
        }
    }

    /// The verdict of cases in order of precedence.
    fn decide(&mut self, policy: &Policy, cases: Vec<Case>, arch: &Arch) -> Verdict {
        match cases.first() {
            None => return Verdict::Return(policy.default),
            Some(first) if first.conditions.is_empty() => return Verdict::Return(first.action),
            Some(_) => {}
        }
        let check = Check { wide: arch.wide, big_endian: arch.big_endian, cases };
        let known = self.checks.iter().position(|c| *c == check);
        Verdict::Check(known.unwrap_or_else(|| {
            self.checks.push(check);
            self.checks.len() - 1
        }))
    }
}

/// What happens to numbers that no rule names.
struct Unlisted {
    default: Verdict,
    newer: Verdict,
    /// The newest number the profile knows.
    newest: u32,
    last: u32,
    zero_is_newer: bool,
}

impl Unlisted {
    /// Calls newer than every call the profile names return ENOSYS, so that programs fall back to
    /// an older one, unless the default action lets such calls through or passes them to a tracer.
    fn new(policy: &Policy, arch: &Arch, newest: Option<u32>) -> Unlisted {
        let default = Verdict::Return(policy.default);
        let passes = matches!(policy.default & ACTION_MASK, ALLOW | LOG | TRACE);
        let newest = newest.filter(|_| !passes);
        Unlisted {
            default,
            newer: Verdict::Return(ERRNO | arch.enosys),
            newest: newest.unwrap_or(arch.last),
            last: arch.last,
            zero_is_newer: newest.is_some() && arch.unknown_is_zero(),
        }
    }

    fn verdict(&self, number: u32) -> Verdict {
        let newer = number > self.newest && number <= self.last || number == 0 && self.zero_is_newer;
        if newer { self.newer } else { self.default }
    }

    /// Pushes the numbers from `start` to before `end`.
    fn fill(&self, line: &mut Line, start: u32, end: u32) {
        if start >= end {
            return;
        }
        let mut turns = [start, 1, self.newest.saturating_add(1), self.last.saturating_add(1)];
        sort(&mut turns);
        for turn in turns.into_iter().filter(|t| (start..end).contains(t)) {
            line.push(turn, self.verdict(turn));
        }
    }
}

/// The rules by number, without those that only repeat the default action; and the newest number
/// that any rule names.
fn entries(policy: &Policy, arch: &Arch) -> (Vec<Entry>, Option<u32>) {
    let parts = Parts::of(arch);
    let mut entries = Vec::with_capacity(CALLS);
    let mut newest = None;
    for (i, rule) in policy.rules.iter().enumerate() {
        for call in &rule.calls {
            let whole = arch.number(*call).map(|number| (number, 0));
            let part = parts.as_ref().and_then(|parts| parts.part(*call));
            for (number, part) in whole.into_iter().chain(part) {
                newest = newest.max(Some(number).filter(|n| *n <= arch.last));
                if rule.action != policy.default {
                    entries.push(Entry { number, part, rule: i as u32 });
                }
            }
        }
    }
    (entries, newest)
}

/// The cases for one number in order of precedence: the first rule without conditions alone, or
/// all rules with conditions.
fn cases(policy: &Policy, group: &[Entry], arch: &Arch) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for part in group.chunk_by(|a, b| a.part == b.part) {
        if part[0].part > 0 {
            cases.extend(part_case(policy, part, arch));
            continue;
        }
        for entry in part {
            let rule = &policy.rules[entry.rule as usize];
            let conditions = tests(rule, arch);
            if conditions.is_empty() {
                return vec![Case { action: rule.action, conditions }];
            }
            cases.push(Case { action: rule.action, conditions });
        }
    }
    sort_by(&mut cases, |a, b| precedence(&a.conditions, &b.conditions).is_lt());
    cases
}

/// A subcall of socketcall or ipc keeps its arguments in memory, where a filter cannot look. It
/// gets what its first rule without conditions says, or else the strictest that its rules could.
fn part_case(policy: &Policy, part: &[Entry], arch: &Arch) -> Option<Case> {
    let rules = || part.iter().map(|entry| &policy.rules[entry.rule as usize]);
    let unconditional = |rule: &&Rule| tests(rule, arch).is_empty();
    let action = match rules().find(unconditional) {
        Some(rule) => rule.action,
        None => rules().map(|rule| rule.action).fold(policy.default, stricter),
    };
    // The high half of ipc's number is a version.
    let test = Test::Masked(0xffff, u64::from(part[0].part));
    (action != policy.default).then(|| Case { action, conditions: vec![Condition { index: 0, test }] })
}

/// The stricter of two actions, in the kernel's order.
fn stricter(a: u32, b: u32) -> u32 {
    if ((b & ACTION_MASK) as i32) < ((a & ACTION_MASK) as i32) { b } else { a }
}

/// The conditions of a rule that need a test.
fn tests(rule: &Rule, arch: &Arch) -> Vec<Condition> {
    rule.conditions.iter().map(|c| narrow(*c, arch.wide)).filter(|c| !always(c)).collect()
}

/// A condition as the architecture can test it: on one without 64-bit arguments, argument and
/// value modulo 2^32; values of a masked test without what the mask hides.
fn narrow(condition: Condition, wide: bool) -> Condition {
    let word = |v: u64| if wide { v } else { v & 0xffff_ffff };
    let test = match condition.test {
        Test::Equal(v) => Test::Equal(word(v)),
        Test::NotEqual(v) => Test::NotEqual(word(v)),
        Test::Less(v) => Test::Less(word(v)),
        Test::AtMost(v) => Test::AtMost(word(v)),
        Test::AtLeast(v) => Test::AtLeast(word(v)),
        Test::Greater(v) => Test::Greater(word(v)),
        Test::Masked(mask, v) => Test::Masked(word(mask), word(mask & v)),
    };
    Condition { test, ..condition }
}

fn always(condition: &Condition) -> bool {
    matches!(condition.test, Test::Masked(0, _))
}

/// Which of two rules with conditions comes first where both hold: condition by condition, the
/// higher argument, then equality before "less" before "greater", then the narrower bound or the
/// higher value; of two that agree so far the one with fewer conditions, then the earlier one.
fn precedence(a: &[Condition], b: &[Condition]) -> Ordering {
    a.iter().map(rank).cmp(b.iter().map(rank))
}

fn rank(condition: &Condition) -> (u8, u8, u64) {
    let (class, value) = match condition.test {
        Test::Equal(v) | Test::NotEqual(v) | Test::Masked(_, v) => (0, !v),
        Test::Less(v) | Test::AtMost(v) => (1, v),
        Test::AtLeast(v) | Test::Greater(v) => (2, !v),
    };
    (5 - condition.index, class, value)
}

/// The subcalls of socketcall (linux/net.h) and ipc (linux/ipc.h) by call.
struct Parts {
    socketcall: u32,
    ipc: u32,
    /// 0 is none; those of ipc have the high bit.
    parts: Box<[u8; CALLS]>,
}

/// Marks the subcalls of ipc.
pub const IPC: u8 = 0x80;
/// The subcalls by name.
#[rustfmt::skip]
pub static PARTS: [(&str, u8); 32] = [
    ("socket", 1), ("bind", 2), ("connect", 3), ("listen", 4), ("accept", 5), ("getsockname", 6),
    ("getpeername", 7), ("socketpair", 8), ("send", 9), ("recv", 10), ("sendto", 11), ("recvfrom", 12),
    ("shutdown", 13), ("setsockopt", 14), ("getsockopt", 15), ("sendmsg", 16), ("recvmsg", 17),
    ("accept4", 18), ("recvmmsg", 19), ("sendmmsg", 20),
    ("semop", IPC | 1), ("semget", IPC | 2), ("semctl", IPC | 3), ("semtimedop", IPC | 4),
    ("msgsnd", IPC | 11), ("msgrcv", IPC | 12), ("msgget", IPC | 13), ("msgctl", IPC | 14),
    ("shmat", IPC | 21), ("shmdt", IPC | 22), ("shmget", IPC | 23), ("shmctl", IPC | 24),
];

impl Parts {
    /// Nothing where the architecture has neither call.
    fn of(arch: &Arch) -> Option<Parts> {
        let number = |name| arch::call(name).and_then(|call| arch.number(call));
        let (socketcall, ipc) = (number("socketcall")?, number("ipc")?);
        let mut parts = Box::new([0; CALLS]);
        for (name, part) in PARTS {
            if let Some(call) = arch::call(name) {
                parts[usize::from(call)] = part;
            }
        }
        Some(Parts { socketcall, ipc, parts })
    }

    fn part(&self, call: u16) -> Option<(u32, u8)> {
        match self.parts[usize::from(call)] {
            0 => None,
            part if part & IPC != 0 => Some((self.ipc, part & !IPC)),
            part => Some((self.socketcall, part)),
        }
    }
}
