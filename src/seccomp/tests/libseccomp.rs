//! Compiled programs against libseccomp's for the same profiles, where the library is installed.

use super::property::{VALUES, Random, compiled, numbers, profiles};
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
        all.push((program.into_iter().map(|(code, jt, jf, k)| Instruction { code, jt, jf, k }).collect(), other));
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

#[test]
fn explore() {
    let mut specs = profiles(3000);
    for spec in &mut specs {
        spec.architectures.retain(|a| !["SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K", "SCMP_ARCH_SH", "SCMP_ARCH_SHEB"].contains(&a.as_str()));
    }
    let Some(others) = libseccomp(&specs) else { return };
    let mut random = Random(7);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut shown = 0;
    for (spec, (program, other)) in specs.iter().zip(&others) {
        let filter = compiled(spec);
        let mentioned: Vec<u64> = spec.syscalls.iter().flat_map(|r| &r.args).flat_map(|a| [a.value, a.value_two]).collect();
        if other.refused > 0 { *counts.entry("refused").or_default() += 1; continue }
        for _ in 0..60 {
            let name = if spec.architectures.is_empty() { "SCMP_ARCH_X86_64" } else { &spec.architectures[random.below(spec.architectures.len())] };
            let arch = Arch::named(name).unwrap();
            let all = numbers(arch);
            let number = all[random.below(all.len())];
            let call = Call { number, audit: arch.audit, big_endian: arch.big_endian, args: std::array::from_fn(|_| random.value(&mentioned)) };
            let ours = run(&filter.program, &call).unwrap().0;
            let theirs = run(program, &call).unwrap().0;
            let named = arch.call_name(number);
            let enosys = ours == policy::ERRNO | arch.enosys && named.is_none_or(|n| !spec.syscalls.iter().any(|r| r.names.iter().any(|x| x == n)));
            let kind = if ours == theirs { "equal" } else if enosys { "enosys" } else if named.is_some_and(|n| other.unknown.iter().any(|u| u == n)) { "unknown" }
              else if named == Some("socketcall") || named == Some("ipc") { "mux" } else { "different" };
            *counts.entry(kind).or_default() += 1;
            if kind == "different" && shown < 12 {
                shown += 1;
                let rules: Vec<_> = spec.syscalls.iter().filter(|r| r.names.iter().any(|n| Some(n.as_str()) == named)).map(|r| (&r.action, r.errno_ret, r.args.iter().map(|a| format!("{} {} {:x} {:x}", a.index, a.op, a.value, a.value_two)).collect::<Vec<_>>())).collect();
                println!("{name} {named:?} {call:x?} ours {ours:x} theirs {theirs:x} default {} {rules:#?}", spec.default_action);
            }
        }
    }
    let _ = VALUES;
    println!("{counts:?}");
}
