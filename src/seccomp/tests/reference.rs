//! What a profile means, said as plainly as possible and by none of the compiler's steps: the
//! judge of what compiled programs do.

use super::*;
use crate::bundle::spec::{SyscallArg, SyscallRule};
use crate::seccomp::decision::{IPC, PARTS};

const KILL: u32 = 0;
const SOCKETCALL_NUMBER: &str = "SCMP_CMP_MASKED_EQ";

/// A rule for one number, its conditions as they can be tested.
struct Plain {
    action: u32,
    args: Vec<SyscallArg>,
}

/// The return value that a profile means for a call.
pub fn verdict(spec: &Seccomp, call: &Call) -> u32 {
    let default = value(&spec.default_action, spec.default_errno_ret);
    let listed = |a: &&Arch| a.name == NATIVE.name || spec.architectures.iter().any(|n| n == a.name);
    let same = || ARCHITECTURES.iter().filter(listed).filter(|a| a.audit == call.audit);
    let x32 = |number: u32| number >= 0x4000_0000;
    let is_x86_64 = call.audit == 0xc000_003e;
    let arch = match same().find(|a| !is_x86_64 || x32(call.number) == (a.name == "SCMP_ARCH_X32")) {
        Some(arch) => arch,
        None if call.number == u32::MAX && same().count() > 0 => same().next().unwrap(),
        None => return KILL,
    };
    let rules = plain_rules(spec, arch, call.number, default);
    if let Some(rule) = rules.iter().find(|rule| rule.args.is_empty()) {
        return rule.action;
    }
    let holding =
        rules.iter().filter(|rule| rule.args.iter().all(|a| holds(a, call.args[a.index as usize], arch)));
    match holding.min_by_key(|rule| rule.args.iter().map(rank).collect::<Vec<_>>()) {
        Some(rule) => rule.action,
        None => unlisted(spec, arch, call.number, default),
    }
}

/// Calls newer than the profile's newest return ENOSYS.
fn unlisted(spec: &Seccomp, arch: &Arch, number: u32, default: u32) -> u32 {
    let private = arch.name == "SCMP_ARCH_ARM" && number >= 0xf_0000;
    let names = spec.syscalls.iter().flat_map(|rule| &rule.names);
    let of = |name: &str| arch::call(name).and_then(|call| arch.number(call));
    let whole_of = |name: &str| {
        let (_, part) = PARTS.iter().find(|(part, _)| *part == name)?;
        of("socketcall").and(of("ipc")).and(of(if part & IPC == 0 { "socketcall" } else { "ipc" }))
    };
    let numbers = names.flat_map(|name| [of(name), whole_of(name)]).flatten();
    let newest = numbers.filter(|n| arch.name != "SCMP_ARCH_ARM" || *n < 0xf_0000).max();
    let passes = ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"].contains(&spec.default_action.as_str());
    let s390_zero = arch.name.starts_with("SCMP_ARCH_S390") && number == 0;
    match newest {
        Some(newest) if !passes && !private && (number > newest || s390_zero) => {
            value("SCMP_ACT_ERRNO", Some(arch.enosys))
        }
        _ => default,
    }
}

/// The rules for a number that differ from the default action, in the profile's order.
fn plain_rules(spec: &Seccomp, arch: &Arch, number: u32, default: u32) -> Vec<Plain> {
    let of = |name: &str| arch::call(name).and_then(|call| arch.number(call));
    let mut plain = Vec::new();
    for rule in &spec.syscalls {
        if rule.names.iter().any(|name| of(name) == Some(number)) {
            plain.extend(alternatives(rule, arch));
        }
    }
    if let (Some(socketcall), Some(ipc)) = (of("socketcall"), of("ipc")) {
        for (name, part) in PARTS {
            if number == if part & IPC == 0 { socketcall } else { ipc } {
                let args = vec![SyscallArg {
                    index: 0,
                    value: 0xffff,
                    value_two: u64::from(part & !IPC),
                    op: SOCKETCALL_NUMBER.into(),
                }];
                plain.push(Plain { action: subcall(spec, name, arch, default), args });
            }
        }
    }
    plain.retain(|rule| rule.action != default);
    plain
}

/// A rule as rules whose conditions must all hold.
fn alternatives(rule: &SyscallRule, arch: &Arch) -> Vec<Plain> {
    let action = value(&rule.action, rule.errno_ret);
    let mut args = rule.args.clone();
    args.sort_by_key(|a| a.index);
    let repeats = args.windows(2).any(|pair| pair[0].index == pair[1].index);
    for arg in &mut args {
        narrow(arg, arch);
    }
    let tests = |args: &[SyscallArg]| {
        let tested = args.iter().filter(|a| a.op != "SCMP_CMP_MASKED_EQ" || a.value != 0);
        Plain { action, args: tested.cloned().collect() }
    };
    if repeats { args.iter().map(|a| tests(std::slice::from_ref(a))).collect() } else { vec![tests(&args)] }
}

fn narrow(arg: &mut SyscallArg, arch: &Arch) {
    let max = if arch.wide { u64::MAX } else { 0xffff_ffff };
    arg.value &= max;
    arg.value_two &= max;
    if arg.op == "SCMP_CMP_MASKED_EQ" {
        arg.value_two &= arg.value;
    }
}

/// What a subcall of socketcall or ipc gets.
fn subcall(spec: &Seccomp, name: &str, arch: &Arch, default: u32) -> u32 {
    let rules = spec.syscalls.iter().filter(|rule| rule.names.iter().any(|n| n == name));
    let actions: Vec<(u32, bool)> = rules
        .map(|rule| {
            (
                value(&rule.action, rule.errno_ret),
                alternatives(rule, arch).iter().any(|rule| rule.args.is_empty()),
            )
        })
        .filter(|(action, _)| *action != default)
        .collect();
    if let Some((action, _)) = actions.iter().find(|(_, always)| *always) {
        return *action;
    }
    let strictness = |action: &u32| (action & 0xffff_0000) as i32;
    let mut strictest = default;
    for (action, _) in actions {
        if strictness(&action) < strictness(&strictest) {
            strictest = action;
        }
    }
    strictest
}

fn holds(arg: &SyscallArg, given: u64, arch: &Arch) -> bool {
    let given = if arch.wide { given } else { given & 0xffff_ffff };
    match arg.op.as_str() {
        "SCMP_CMP_NE" => given != arg.value,
        "SCMP_CMP_LT" => given < arg.value,
        "SCMP_CMP_LE" => given <= arg.value,
        "SCMP_CMP_EQ" => given == arg.value,
        "SCMP_CMP_GE" => given >= arg.value,
        "SCMP_CMP_GT" => given > arg.value,
        _ => given & arg.value == arg.value_two,
    }
}

/// Rules for higher arguments first, equality before less before greater, then by value.
fn rank(arg: &SyscallArg) -> (u32, u32, u64) {
    let (class, value) = match arg.op.as_str() {
        "SCMP_CMP_EQ" | "SCMP_CMP_NE" => (0, u64::MAX - arg.value),
        "SCMP_CMP_MASKED_EQ" => (0, u64::MAX - arg.value_two),
        "SCMP_CMP_LT" | "SCMP_CMP_LE" => (1, arg.value),
        _ => (2, u64::MAX - arg.value),
    };
    (5 - arg.index, class, value)
}

fn value(action: &str, errno: Option<u32>) -> u32 {
    let errno = errno.unwrap_or(1);
    match action {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => KILL,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | errno,
        "SCMP_ACT_NOTIFY" => 0x7fc0_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | errno,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        other => unreachable!("{other}"),
    }
}
