//! A developer's view of a profile: its size, the verdict for every range of system calls, and
//! for one call with arguments the way through the program. Called by `oxrun seccomp explain`.

use super::arch::{self, ARCHITECTURES, Arch, NATIVE};
use super::decision::{Case, Line, Verdict};
use super::interpreter::{Call, Machine, run};
use super::policy::{ACTION_MASK, ACTIONS, Condition, ERRNO, Policy, TRACE, Test};
use super::program::{AND, IF_AT_LEAST, IF_EQUAL, JUMP, LOAD, RETURN};
use super::{Instruction, MAX_INSTRUCTIONS, RAW, Unknown, assemble, groups};
use crate::bundle::json;
use crate::bundle::spec::Seccomp;
use crate::bundle::{Problems, Warnings};
use crate::decimal;
use crate::error::{Context, bail, ensure};
use anyhow::Result;
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;

/// What to explain.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// `SCMP_ARCH_*`, also in lower case and without the prefix; the native one if not given.
    pub arch: Option<String>,
    /// A system call by name or number; the whole profile if not given.
    pub syscall: Option<String>,
    /// Its arguments; those not given are 0.
    pub args: Vec<u64>,
}

/// Reads a profile from a file: `linux.seccomp` alone, or a config.json that has it.
pub fn read_profile(path: &Path) -> Result<Seccomp> {
    let shown = path.display();
    let text = crate::hostfs::read(path).with_context(|| format!("read `{shown}`"))?;
    let value: Value = serde_json::from_slice(&text).with_context(|| format!("read `{shown}`"))?;
    if ["ociVersion", "linux"].iter().all(|member| value.get(member).is_none()) {
        ensure!(!is_an_engine_s(&value), "{}", NOT_OCI.replace("{}", &shown.to_string()));
        return json::parse(&text).with_context(|| format!("read `{shown}`"));
    }
    let raw = value.get("annotations").is_some_and(|annotations| annotations.get(RAW).is_some());
    ensure!(!raw, "read `{shown}`: annotations.{RAW} stands in for the profile, and is BPF already");
    let profile = value.pointer("/linux/seccomp");
    let profile = profile.with_context(|| format!("read `{shown}`: the config has no linux.seccomp"))?;
    json::parse(&serde_json::to_vec(profile)?).with_context(|| format!("read linux.seccomp of `{shown}`"))
}

const NOT_OCI: &str = "read `{}`: this is a profile for container engines, with rules that depend on the \
    container; give the config.json that an engine made of it";

/// Whether a profile has what engines resolve before a runtime sees it; here it would be ignored.
fn is_an_engine_s(profile: &Value) -> bool {
    let rules = profile.get("syscalls").and_then(Value::as_array);
    let depends = |rule: &Value| {
        ["includes", "excludes"].iter().filter_map(|m| rule.get(m)?.as_object()).any(|on| !on.is_empty())
    };
    profile.get("archMap").is_some() || rules.is_some_and(|rules| rules.iter().any(depends))
}

/// Explains a profile, or what it does to one call. An error says what is wrong with the profile
/// or the query.
pub fn explain(spec: &Seccomp, query: &Query) -> Result<String> {
    let (mut problems, mut warnings) = (Problems::default(), Warnings::default());
    let policy = Policy::read(spec, "linux.seccomp", Unknown::Skipped, &mut problems, &mut warnings);
    ensure!(problems.is_empty(), "{problems}");
    let program = assemble(&policy);
    let mut text = String::new();
    for warning in &warnings.0 {
        writeln!(text, "{warning}")?;
    }
    match &query.syscall {
        Some(syscall) => explain_call(&mut text, &policy, &program, query, syscall)?,
        None => explain_profile(&mut text, &policy, &program, query)?,
    }
    Ok(text)
}

/// The architecture asked for.
fn asked(query: &Query) -> Result<Option<&'static Arch>> {
    let Some(name) = &query.arch else { return Ok(None) };
    let full = format!("SCMP_ARCH_{}", name.to_uppercase().trim_start_matches("SCMP_ARCH_"));
    Arch::named(&full).map(Some).with_context(|| {
        format!("find architecture `{name}`: must be one of {}", super::architectures().join(", "))
    })
}

fn explain_profile(text: &mut String, policy: &Policy, program: &[Instruction], query: &Query) -> Result<()> {
    let (average, most) = steps(policy, program);
    let average = decimal::show(average, 1);
    writeln!(
        text,
        "{} instructions of {MAX_INSTRUCTIONS}; {average} run for a call on average, {most} at most \
         (arguments 0); default {}; flags {:#x}",
        program.len(),
        action(policy.default),
        policy.flags
    )?;
    let only = asked(query)?;
    for group in groups(policy) {
        if only.is_some_and(|arch| group.iter().all(|a| a.name != arch.name)) {
            continue;
        }
        let line = Line::of(policy, &group);
        let names: Vec<&str> = group.iter().map(|arch| arch.name).collect();
        writeln!(text, "\n{} (audit {:#010x})", names.join(" and "), group[0].audit)?;
        for (i, (start, verdict)) in line.intervals.iter().enumerate() {
            let end = line.intervals.get(i + 1).map_or(u32::MAX, |(next, _)| next - 1);
            write!(text, "  {:24} ", range(&group, *start, end))?;
            match verdict {
                Verdict::Return(value) => writeln!(text, "{}", action(*value))?,
                Verdict::Check(check) => explain_cases(text, &line.checks[*check].cases, policy.default)?,
            }
        }
    }
    Ok(())
}

/// How many instructions run for a listed call with arguments 0: on average, in tenths, and at most.
fn steps(policy: &Policy, program: &[Instruction]) -> (u64, usize) {
    let (mut total, mut most, mut count) = (0, 0, 0);
    for arch in &policy.arches {
        for number in (0..arch::CALLS as u16).filter_map(|call| arch.number(call)) {
            let call = Call { number, audit: arch.audit, big_endian: arch.big_endian, args: [0; 6] };
            let steps = run(program, &call).map_or(0, |(_, steps)| steps);
            (total, most, count) = (total + steps, most.max(steps), count + 1);
        }
    }
    (decimal::ratio(total as u64, count, 10), most)
}

/// Numbers with the names at their ends.
fn range(group: &[&'static Arch], start: u32, end: u32) -> String {
    let name = |number| match group.iter().find_map(|arch| arch.call_name(number)) {
        Some(name) => format!("{number} {name}"),
        None if number < 0x1000 => number.to_string(),
        None => format!("{number:#x}"),
    };
    if start == end { name(start) } else { format!("{} to {}", name(start), name(end)) }
}

fn explain_cases(text: &mut String, cases: &[Case], default: u32) -> Result<()> {
    for case in cases {
        let conditions: Vec<String> = case.conditions.iter().map(condition).collect();
        write!(text, "{} if {}, else ", action(case.action), conditions.join(" and "))?;
    }
    writeln!(text, "{}", action(default))?;
    Ok(())
}

fn condition(condition: &Condition) -> String {
    let arg = format!("arg{}", condition.index);
    match condition.test {
        Test::Equal(v) => format!("{arg} == {v:#x}"),
        Test::NotEqual(v) => format!("{arg} != {v:#x}"),
        Test::Less(v) => format!("{arg} < {v:#x}"),
        Test::AtMost(v) => format!("{arg} <= {v:#x}"),
        Test::AtLeast(v) => format!("{arg} >= {v:#x}"),
        Test::Greater(v) => format!("{arg} > {v:#x}"),
        Test::Masked(mask, v) => format!("{arg} & {mask:#x} == {v:#x}"),
    }
}

fn action(value: u32) -> String {
    let name = ACTIONS.iter().rev().find(|(_, action)| *action == value & ACTION_MASK);
    let name = name.map_or("?", |(name, _)| *name);
    match value & ACTION_MASK {
        ERRNO | TRACE => format!("{name}({})", value & !ACTION_MASK),
        _ => name.to_string(),
    }
}

fn explain_call(
    text: &mut String,
    policy: &Policy,
    program: &[Instruction],
    query: &Query,
    syscall: &str,
) -> Result<()> {
    let arch = asked(query)?.unwrap_or(NATIVE);
    let number = number(arch, syscall)?;
    ensure!(query.args.len() <= 6, "explain `{syscall}`: a call has at most 6 arguments");
    let mut args = [0; 6];
    args[..query.args.len()].copy_from_slice(&query.args);
    let call = Call { number, audit: arch.audit, big_endian: arch.big_endian, args };
    let Some((value, steps)) = run(program, &call) else {
        bail!("run the program for `{syscall}`: it does not end");
    };
    let name = arch.call_name(number).unwrap_or("(no such call)");
    writeln!(text, "{name} ({number:#x}) on {}: {} after {steps} instructions", arch.name, action(value))?;
    if !policy.arches.iter().any(|a| a.name == arch.name) {
        writeln!(text, "the profile does not list {}", arch.name)?;
    }
    way(text, program, &call)
}

/// The number of a call given by name or number.
fn number(arch: &Arch, syscall: &str) -> Result<u32> {
    let parsed = match syscall.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => syscall.parse(),
    };
    if let Ok(number) = parsed {
        return Ok(number);
    }
    let call =
        arch::call(syscall).with_context(|| format!("find system call `{syscall}`: no kernel has it"))?;
    if let Some(number) = arch.number(call) {
        return Ok(number);
    }
    let has = |a: &&Arch| a.number(call).is_some();
    let others: Vec<&str> = ARCHITECTURES.iter().filter(has).map(|a| a.name).collect();
    bail!("find system call `{syscall}` on {}: it exists on {}", arch.name, others.join(", "))
}

/// Every instruction that runs for a call.
fn way(text: &mut String, program: &[Instruction], call: &Call) -> Result<()> {
    let mut machine = Machine::new(call);
    while let Some(instruction) = program.get(machine.at) {
        let (at, before) = (machine.at, machine.a);
        let ended = machine.step(instruction);
        let k = instruction.k;
        let branch = |sign: &str| {
            let yes = machine.at == at + 1 + usize::from(instruction.jt);
            format!("{before:#x} {sign} {k:#x}? {}", if yes { "yes" } else { "no" })
        };
        let line = match instruction.code {
            LOAD => format!("load {}: {:#x}", word(k, call.big_endian), machine.a),
            AND => format!("and {k:#x}: {:#x}", machine.a),
            JUMP => format!("go to {}", machine.at),
            RETURN => format!("return {}", action(k)),
            IF_EQUAL => branch("=="),
            IF_AT_LEAST => branch(">="),
            _ => branch(">"),
        };
        writeln!(text, "  {at:4}  {line}")?;
        if ended.is_none_or(|end| end.is_some()) {
            break;
        }
    }
    Ok(())
}

/// What a word of `struct seccomp_data` is.
fn word(offset: u32, big_endian: bool) -> String {
    match offset {
        0 => "number".into(),
        4 => "architecture".into(),
        _ => {
            let half = if (offset % 8 == 4) == big_endian { "low" } else { "high" };
            format!("arg{} {half}", offset.saturating_sub(16) / 8)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_explained_is_an_error() {
        let error = |profile: &str, args: Vec<u64>| {
            let query = Query { arch: None, syscall: Some("read".into()), args };
            explain(&json::parse(profile.as_bytes()).unwrap(), &query).unwrap_err().to_string()
        };
        let many = error(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#, vec![0; 7]);
        assert_eq!(many, "explain `read`: a call has at most 6 arguments");
        assert!(error(r#"{"defaultAction":"SCMP_ACT_NOPE"}"#, Vec::new()).contains("SCMP_ACT_NOPE"));
    }

    #[test]
    fn a_program_without_an_end_is_not_explained() {
        let spec: Seccomp = json::parse(br#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).unwrap();
        let policy =
            Policy::read(&spec, "", Unknown::Skipped, &mut Problems::default(), &mut Warnings::default());
        let query = Query { arch: None, syscall: None, args: Vec::new() };
        let error = explain_call(&mut String::new(), &policy, &[], &query, "read").unwrap_err();
        assert_eq!(error.to_string(), "run the program for `read`: it does not end");
    }
}
