//! The policy: `linux.seccomp` checked and resolved, actions as the kernel's return values, names
//! as rows of the table. Made by `compile` and `explain`; every fault of the profile is found here.

use super::arch::{self, ARCHITECTURES, Arch, NATIVE};
use super::{Listener, NO_UNKNOWN, Unknown};
use crate::bundle::spec::{Seccomp, SyscallArg, SyscallRule};
use crate::bundle::{Problems, Warnings};
use crate::sort::sort_by;

/// SECCOMP_RET_KILL_PROCESS (linux/seccomp.h), and so on.
pub const KILL_PROCESS: u32 = 0x8000_0000;
/// SECCOMP_RET_KILL_THREAD
pub const KILL_THREAD: u32 = 0x0000_0000;
/// SECCOMP_RET_TRAP
pub const TRAP: u32 = 0x0003_0000;
/// SECCOMP_RET_ERRNO; the error in the low 16 bits.
pub const ERRNO: u32 = 0x0005_0000;
/// SECCOMP_RET_USER_NOTIF
pub const NOTIFY: u32 = 0x7fc0_0000;
/// SECCOMP_RET_TRACE; a message in the low 16 bits.
pub const TRACE: u32 = 0x7ff0_0000;
/// SECCOMP_RET_LOG
pub const LOG: u32 = 0x7ffc_0000;
/// SECCOMP_RET_ALLOW
pub const ALLOW: u32 = 0x7fff_0000;
/// The action of a filter's return value (SECCOMP_RET_ACTION_FULL).
pub const ACTION_MASK: u32 = 0xffff_0000;

/// Every action of the specification.
pub static ACTIONS: [(&str, u32); 9] = [
    ("SCMP_ACT_KILL", KILL_THREAD),
    ("SCMP_ACT_KILL_PROCESS", KILL_PROCESS),
    ("SCMP_ACT_KILL_THREAD", KILL_THREAD),
    ("SCMP_ACT_TRAP", TRAP),
    ("SCMP_ACT_ERRNO", ERRNO),
    ("SCMP_ACT_TRACE", TRACE),
    ("SCMP_ACT_ALLOW", ALLOW),
    ("SCMP_ACT_LOG", LOG),
    ("SCMP_ACT_NOTIFY", NOTIFY),
];

/// Every operator of the specification.
pub static OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];

const FLAG_LOG: u64 = 1 << 1;
const FLAG_SPEC_ALLOW: u64 = 1 << 2;
const FLAG_NEW_LISTENER: u64 = 1 << 3;
const FLAG_WAIT_KILLABLE: u64 = 1 << 5;

/// What filters are loaded with when nothing is said about flags.
pub const FLAGS_IF_NONE: u64 = FLAG_SPEC_ALLOW;

/// Every flag of the specification. TSYNC needs no bit: init has one thread when it loads.
pub static FLAGS: [(&str, u64); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", 0),
    ("SECCOMP_FILTER_FLAG_LOG", FLAG_LOG),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", FLAG_SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", FLAG_WAIT_KILLABLE),
];

/// The largest error a filter can return (MAX_ERRNO, linux/err.h).
const MAX_ERRNO: u32 = 4095;
/// What ERRNO and TRACE carry unless told otherwise.
const EPERM: u32 = 1;

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// `==`
    Equal(u64),
    /// `!=`
    NotEqual(u64),
    /// `<`
    Less(u64),
    /// `<=`
    AtMost(u64),
    /// `>=`
    AtLeast(u64),
    /// `>`
    Greater(u64),
    /// `argument & mask == value`
    Masked(u64, u64),
}

/// One condition of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub index: u8,
    /// What must hold.
    pub test: Test,
}

/// One rule: if all conditions hold for one of the calls, the action.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The filter's return value.
    pub action: u32,
    /// The calls, as indices into the table.
    pub calls: Vec<u16>,
    /// All must hold; by rising index, no index twice.
    pub conditions: Vec<Condition>,
}

/// A profile, resolved.
#[derive(Debug, Default)]
pub struct Policy {
    /// What happens to calls no rule speaks of.
    pub default: u32,
    /// The architectures, the native one among them, in the order of `ARCHITECTURES`.
    pub arches: Vec<&'static Arch>,
    /// The rules in the profile's order.
    pub rules: Vec<Rule>,
    /// SECCOMP_FILTER_FLAG_* bits.
    pub flags: u64,
    /// The agent, when a rule notifies.
    pub listener: Option<Listener>,
}

impl Policy {
    /// Reads a profile. What is wrong goes to `problems` with its path below `path`, names of
    /// calls that no kernel has to `warnings`; with problems the policy is not to be used.
    pub fn read(
        spec: &Seccomp,
        path: &str,
        names: Unknown,
        problems: &mut Problems,
        warnings: &mut Warnings,
    ) -> Policy {
        let mut policy = Policy {
            default: default_action(spec, path, problems),
            arches: architectures(spec, path, problems),
            ..Policy::default()
        };
        let mut unknown = Vec::new();
        for (i, rule) in spec.syscalls.iter().enumerate() {
            read_rule(rule, &At { path, rule: i }, &mut policy.rules, problems, &mut unknown);
        }
        let list = unknown.join(", ");
        match names {
            _ if unknown.is_empty() => {}
            Unknown::Skipped => {
                let text = format!("skipped system calls that are not known: {list}");
                warnings.note_unknown(path, text, unknown, arch::names());
            }
            Unknown::Refused => {
                let text = format!("unknown system calls, which annotations.{NO_UNKNOWN} forbids: {list}");
                problems.add_unknown(format!("{path}.syscalls"), text, unknown, arch::names());
            }
        }
        policy.listener = listener(spec, path, problems);
        policy.flags = flags(spec, policy.listener.is_some(), path, problems, warnings);
        policy
    }
}

/// Where in the document a rule is; the text is only made when something is wrong.
struct At<'a> {
    path: &'a str,
    rule: usize,
}

impl At<'_> {
    fn member(&self, member: &str) -> String {
        format!("{}.syscalls[{}].{member}", self.path, self.rule)
    }
}

fn default_action(spec: &Seccomp, path: &str, problems: &mut Problems) -> u32 {
    let at = |member: &str| format!("{path}.{member}");
    if spec.default_action == "SCMP_ACT_NOTIFY" {
        problems.add(
            at("defaultAction"),
            "SCMP_ACT_NOTIFY cannot be the default: the agent's own start would wait for it",
        );
    }
    action(
        &spec.default_action,
        spec.default_errno_ret,
        || at("defaultAction"),
        || at("defaultErrnoRet"),
        problems,
    )
}

/// The return value for an action with its errno.
fn action(
    name: &str,
    errno: Option<u32>,
    at_action: impl Fn() -> String,
    at_errno: impl Fn() -> String,
    problems: &mut Problems,
) -> u32 {
    let Some((_, action)) = ACTIONS.iter().find(|(known, _)| *known == name) else {
        let known = super::action_names();
        problems.add_unknown(at_action(), not_one_of("action", name, &known), [name], known);
        return KILL_PROCESS;
    };
    let limit = match *action {
        ERRNO => MAX_ERRNO,
        TRACE => u32::from(u16::MAX),
        _ if errno.is_some() => {
            problems
                .add(at_errno(), format!("{name} has no errno: only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do"));
            return *action;
        }
        _ => return *action,
    };
    let errno = errno.unwrap_or(EPERM);
    if errno > limit {
        problems.add(at_errno(), format!("{errno} is more than {name} can carry, which is {limit}"));
    }
    action | (errno & 0xffff)
}

fn not_one_of(what: &str, given: &str, allowed: &[&str]) -> String {
    if given.is_empty() {
        return format!("{what} is required: one of {}", allowed.join(", "));
    }
    format!("unknown {what} `{given}`: must be one of {}", allowed.join(", "))
}

/// The listed architectures and the native one, without which nothing here could run.
fn architectures(spec: &Seccomp, path: &str, problems: &mut Problems) -> Vec<&'static Arch> {
    let mut listed = vec![NATIVE];
    for (i, name) in spec.architectures.iter().enumerate() {
        match Arch::named(name) {
            Some(arch) => listed.push(arch),
            None => {
                let known = super::architectures();
                let text = not_one_of("architecture", name, &known);
                problems.add_unknown(format!("{path}.architectures[{i}]"), text, [name], known);
            }
        }
    }
    ARCHITECTURES.iter().filter(|a| listed.iter().any(|l| l.name == a.name)).collect()
}

fn read_rule(
    rule: &SyscallRule,
    at: &At,
    rules: &mut Vec<Rule>,
    problems: &mut Problems,
    unknown: &mut Vec<String>,
) {
    let action =
        action(&rule.action, rule.errno_ret, || at.member("action"), || at.member("errnoRet"), problems);
    if rule.names.is_empty() {
        problems.add(at.member("names"), "must have at least one name");
    }
    let mut calls = Vec::with_capacity(rule.names.len());
    for (i, name) in rule.names.iter().enumerate() {
        if action == NOTIFY && name == "write" {
            problems.add(
                at.member(&format!("names[{i}]")),
                "SCMP_ACT_NOTIFY cannot be used for the write syscall, with which runtimes hand the listener over",
            );
        }
        match arch::call_after(calls.last().copied().unwrap_or_default(), name) {
            Some(call) => calls.push(call),
            None => unknown.push(name.clone()),
        }
    }
    let mut conditions: Vec<Condition> =
        rule.args.iter().enumerate().filter_map(|(i, arg)| condition(arg, i, at, problems)).collect();
    if repeats_an_argument(&conditions) {
        for condition in conditions {
            rules.push(Rule { action, calls: calls.clone(), conditions: vec![condition] });
        }
    } else {
        sort_by(&mut conditions, |a, b| a.index < b.index);
        rules.push(Rule { action, calls, conditions });
    }
}

/// Conditions of one rule must all hold, but a rule that names an argument twice means any of
/// them: what the specification leaves open and profiles have always relied on.
fn repeats_an_argument(conditions: &[Condition]) -> bool {
    conditions.iter().enumerate().any(|(i, c)| conditions[..i].iter().any(|other| other.index == c.index))
}

fn condition(arg: &SyscallArg, number: usize, at: &At, problems: &mut Problems) -> Option<Condition> {
    let test = match arg.op.as_str() {
        "SCMP_CMP_NE" => Test::NotEqual(arg.value),
        "SCMP_CMP_LT" => Test::Less(arg.value),
        "SCMP_CMP_LE" => Test::AtMost(arg.value),
        "SCMP_CMP_EQ" => Test::Equal(arg.value),
        "SCMP_CMP_GE" => Test::AtLeast(arg.value),
        "SCMP_CMP_GT" => Test::Greater(arg.value),
        "SCMP_CMP_MASKED_EQ" => Test::Masked(arg.value, arg.value_two),
        other => {
            let text = not_one_of("operator", other, &OPERATORS);
            problems.add_unknown(at.member(&format!("args[{number}].op")), text, [other], OPERATORS);
            return None;
        }
    };
    if arg.index > 5 {
        problems.add(
            at.member(&format!("args[{number}].index")),
            format!("is {}, but arguments are numbered 0 to 5", arg.index),
        );
        return None;
    }
    Some(Condition { index: arg.index as u8, test })
}

fn listener(spec: &Seccomp, path: &str, problems: &mut Problems) -> Option<Listener> {
    let notifies = spec.syscalls.iter().any(|rule| rule.action == "SCMP_ACT_NOTIFY");
    if spec.listener_path.is_empty() {
        if !spec.listener_metadata.is_empty() {
            problems.add(format!("{path}.listenerMetadata"), "is given without listenerPath");
        }
        if notifies {
            problems
                .add(format!("{path}.listenerPath"), "is required: a rule has the action SCMP_ACT_NOTIFY");
        }
        return None;
    }
    notifies.then(|| Listener { path: spec.listener_path.clone(), metadata: spec.listener_metadata.clone() })
}

fn flags(
    spec: &Seccomp,
    notifies: bool,
    path: &str,
    problems: &mut Problems,
    warnings: &mut Warnings,
) -> u64 {
    let mut bits = if notifies { FLAG_NEW_LISTENER } else { 0 };
    let Some(names) = &spec.flags else { return bits | FLAGS_IF_NONE };
    for (i, name) in names.iter().enumerate() {
        match FLAGS.iter().find(|(known, _)| known == name) {
            // The kernel refuses it without a listener, and there is no wait it could change.
            Some((_, FLAG_WAIT_KILLABLE)) if !notifies => {
                warnings
                    .note(format!("{path}.flags[{i}]"), format!("{name} has no effect: no rule notifies"));
            }
            Some((_, bit)) => bits |= bit,
            None => {
                let text = not_one_of("flag", name, &super::flags());
                problems.add_unknown(format!("{path}.flags[{i}]"), text, [name], super::flags());
            }
        }
    }
    bits
}
