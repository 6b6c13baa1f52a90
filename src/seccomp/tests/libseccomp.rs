//! Compiled programs against libseccomp's for the same profiles, where the library is installed.

use super::property::{Random, compiled, numbers, profiles};
use super::*;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

#[derive(Deserialize)]
struct Other {
    program: Vec<(u16, u8, u8, u32)>,
    unknown: Vec<String>,
    refused: usize,
}

/// What libseccomp makes of profiles; nothing if it cannot be had.
fn libseccomp(specs: &[Seccomp]) -> Option<Vec<(Vec<Instruction>, Other)>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seccomp-libseccomp.py");
    let child = Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: python3 is not installed");
        return None;
    };
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut all = Vec::new();
    for spec in specs {
        let mut line = String::new();
        let sent = writeln!(input, "{}", serde_json::to_string(spec).unwrap());
        if sent.is_err() || output.read_line(&mut line).unwrap() == 0 {
            break;
        }
        let mut other: Other = serde_json::from_str(&line).unwrap();
        let program = std::mem::take(&mut other.program);
        all.push((
            program.into_iter().map(|(code, jt, jf, k)| Instruction { code, jt, jf, k }).collect(),
            other,
        ));
    }
    drop(input);
    let status = child.wait().unwrap();
    if status.code() == Some(77) {
        eprintln!("skipped: libseccomp.so.2 is not installed");
        return None;
    }
    assert!(status.success());
    Some(all)
}

/// Architectures that share this machine's byte order, which the library cannot mix.
const COMMON: [&str; 5] =
    ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];

/// A call that libseccomp's program treats otherwise, and the profile's rules for it alone.
struct Difference {
    alone: Seccomp,
    call: Call,
    ours: u32,
    theirs: u32,
}

/// How a call's verdict compares. libseccomp has no ENOSYS for newer calls; cannot test arguments
/// of subcalls but lets them pass; and before 2.6.1 gets comparisons of several 64-bit values of
/// one argument wrong (GHSA-4q85-33p6-j5g6).
fn compare(
    spec: &Seccomp,
    arch: &Arch,
    call: &Call,
    (ours, theirs): (u32, u32),
    unknown: &[String],
) -> &'static str {
    let name = arch.call_name(call.number).unwrap_or_default();
    let rules: Vec<_> = spec.syscalls.iter().filter(|r| r.names.iter().any(|n| n == name)).collect();
    let args: Vec<_> = rules.iter().flat_map(|r| &r.args).collect();
    let ordered = args.iter().any(|a| a.op.contains("_L") || a.op.contains("_G"));
    let shared = args.iter().any(|a| args.iter().filter(|b| a.index == b.index).count() > 1);
    match () {
        () if ours == theirs => "equal",
        () if ours == policy::ERRNO | arch.enosys && rules.is_empty() => "newer than the profile",
        // 453 is common in the kernel's list; 2.5.4 has it for x86_64 alone.
        () if name == "map_shadow_stack" && arch.name == "SCMP_ARCH_X32" => "newer than the library",
        () if unknown.iter().any(|n| n == name) => "newer than the library",
        () if name == "socketcall" || name == "ipc" => "subcall",
        () if arch.wide && ordered && shared => "several 64-bit comparisons",
        () => "different",
    }
}

/// The rules of a profile for one call on one architecture.
fn alone(spec: &Seccomp, arch: &Arch, number: u32) -> Seccomp {
    let name = arch.call_name(number).unwrap_or_default();
    let mut alone = spec.clone();
    alone.architectures = vec![arch.name.to_string()];
    alone.syscalls.retain(|rule| rule.names.iter().any(|n| n == name));
    for rule in &mut alone.syscalls {
        rule.names = vec![name.to_string()];
    }
    alone
}

/// Compares profiles on `calls` calls each: how often what was found, and what is different.
fn compared(specs: &[Seccomp], calls: usize) -> Option<(BTreeMap<&'static str, usize>, Vec<Difference>)> {
    let mut random = Random(7);
    let (mut counts, mut different) = (BTreeMap::new(), Vec::new());
    for (spec, (program, other)) in specs.iter().zip(&libseccomp(specs)?) {
        let filter = compiled(spec);
        let args = spec.syscalls.iter().flat_map(|r| &r.args);
        let mentioned: Vec<u64> = args.flat_map(|a| [a.value, a.value_two]).collect();
        if other.refused > 0 {
            *counts.entry("refused").or_default() += 1;
            continue;
        }
        for i in 0..calls {
            let arch = Arch::named(COMMON[i % COMMON.len()]).unwrap();
            let all = numbers(arch);
            let number = match calls {
                1000.. => arch.first() + (i / COMMON.len()) as u32 % 600,
                _ => all[random.below(all.len())],
            };
            let args = std::array::from_fn(|_| random.value(&mentioned));
            let call = Call { number, audit: arch.audit, big_endian: arch.big_endian, args };
            let ours = run(&filter.program, &call).unwrap().0;
            let theirs = run(program, &call).unwrap().0;
            let mine = |a: &&Arch| a.audit == call.audit && (a.first()..=a.last).contains(&number);
            let arch = COMMON.iter().filter_map(|name| Arch::named(name)).find(mine).unwrap_or(arch);
            let found = compare(spec, arch, &call, (ours, theirs), &other.unknown);
            *counts.entry(found).or_default() += 1;
            if found == "different" {
                different.push(Difference { alone: alone(spec, arch, number), call, ours, theirs });
            }
        }
    }
    eprintln!("{counts:?}");
    Some((counts, different))
}

/// The library must agree about a call when it is given the rules for it alone: before 2.6.1 it
/// loses rules of some calls when a profile has many.
fn assert_library_contradicts_itself(different: &[Difference]) {
    let specs: Vec<Seccomp> = different.iter().map(|d| d.alone.clone()).collect();
    for (difference, (program, _)) in different.iter().zip(libseccomp(&specs).unwrap()) {
        let Difference { alone, call, ours, theirs } = difference;
        let (again, _) = run(&program, call).unwrap();
        assert_eq!(*ours, again, "libseccomp said {theirs:x} to {call:x?} by {alone:?}");
    }
}

#[test]
fn random_profiles_agree_with_libseccomp() {
    let mut specs = profiles(400);
    for spec in &mut specs {
        spec.architectures.retain(|a| COMMON.contains(&a.as_str()));
    }
    if let Some((counts, different)) = compared(&specs, 100) {
        assert!(counts["equal"] > 30_000 && different.len() < 30);
        assert_library_contradicts_itself(&different);
    }
}

#[test]
fn docker_default_profile_agrees_with_libseccomp() {
    let mut spec = docker();
    spec.architectures = COMMON.iter().map(|a| a.to_string()).collect();
    if let Some((counts, different)) = compared(&[spec], 20_000) {
        assert!(counts["equal"] > 15_000);
        assert_eq!(different.len(), 0);
    }
}
