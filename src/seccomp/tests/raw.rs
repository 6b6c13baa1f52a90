//! Filters given as BPF: what is refused, and that the kernel refuses the same.

use super::super::raw::{check, read};
use super::property::Random;
use super::*;
use std::io::Write;
use std::process::{Command, Stdio};

/// The problem of a text, or the program.
fn raw(text: &str) -> Result<Vec<Instruction>, String> {
    let mut problems = Problems::default();
    let filter = read(text, "annotations.x", 4, &mut problems);
    match problems.0.first() {
        Some(problem) => Err(format!("{}: {}", problem.path, problem.text)),
        None => Ok(filter.program),
    }
}

#[test]
fn base64_is_read_and_faults_have_their_place() {
    let allow = Instruction { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 };
    assert_eq!(raw("BgAAAAAA/38="), Ok(vec![allow]));
    let load = Instruction { code: 0x20, jt: 0, jf: 0, k: 4 };
    assert_eq!(raw("IAAAAAQAAAAGAAAAAAD/fw=="), Ok(vec![load, allow]));
    for (text, fault) in [
        ("", "0 instructions: a filter has 1 to 4096"),
        ("BgAAAAAA/38", "not base64: its length is not a multiple of 4"),
        ("BgAAAAAA/3-=", "not base64: the byte 0x2d at 10"),
        ("BgAAAAAA/39=", "not base64: bits are left over at its end"),
        ("BgAA=AAA/38=", "not base64: the byte 0x3d at 4"),
        ("BgAAAAAA/w==", "7 bytes are not instructions of 8 bytes (struct sock_filter)"),
        ("IAAAAAQAAAA=", "instruction 0: the last one must return"),
        ("IAAAAEAAAAAGAAAAAAD/fw==", "instruction 0 (code 0x20, k 0x40): not a word of struct seccomp_data"),
        ("BQAAAAEAAAAGAAAAAAD/fw==", "instruction 0 (code 0x05, k 0x1): jumps behind the end of the filter"),
        (
            "lAAAAAEAAAAGAAAAAAD/fw==",
            "instruction 0 (code 0x94, k 0x1): not an instruction of seccomp filters",
        ),
        (
            "YAAAAAEAAAAGAAAAAAD/fw==",
            "instruction 0: reads word 1 of scratch memory, which may not be written yet",
        ),
    ] {
        assert_eq!(raw(text), Err(format!("annotations.x: {fault}")), "{text}");
    }
    let long = vec![allow; MAX_INSTRUCTIONS + 1];
    assert!(check(&long).is_err() && check(&long[1..]).is_ok());
}

/// Which programs the kernel takes; nothing where no filter can be loaded.
fn kernel_takes(programs: &[Vec<Instruction>]) -> Option<Vec<bool>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seccomp-load.py");
    let mut command = Command::new("python3");
    command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let tuples: Vec<Vec<_>> =
        programs.iter().map(|p| p.iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect()).collect();
    write!(child.stdin.take().unwrap(), "{}", json!({"programs": tuples})).unwrap();
    let output = child.wait_with_output().unwrap();
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// A program of a few instructions, most of which are right.
fn random_program(random: &mut Random) -> Vec<Instruction> {
    let mut program = Vec::new();
    for _ in 0..random.below(8) {
        let instruction = Instruction {
            code: random.below(0xb0) as u16,
            jt: random.below(4) as u8,
            jf: random.below(4) as u8,
            k: [0, 1, 2, 4, 15, 16, 31, 32, 60, 64, 1 << 31][random.below(11)],
        };
        let (jump, alone) = (instruction.code & 7 == 5, [instruction, RETURN_ALLOW, RETURN_ALLOW]);
        if jump || check(&alone).is_ok() || matches!(instruction.code, 0x60 | 0x61) || random.below(20) == 0 {
            program.push(instruction);
        }
    }
    if random.below(20) > 0 {
        program.push(RETURN_ALLOW);
    }
    program
}

const RETURN_ALLOW: Instruction = Instruction { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 };

#[test]
fn the_kernel_refuses_the_same() {
    // Every code alone, then random programs.
    let alone = |code: u16| vec![Instruction { code, jt: 0, jf: 0, k: 0 }, RETURN_ALLOW];
    let mut programs: Vec<_> = (0..0x100).map(alone).collect();
    let mut random = Random(20_261_123);
    programs.extend((0..800).map(|_| random_program(&mut random)));
    let Some(taken) = kernel_takes(&programs).filter(|taken| taken.contains(&true)) else {
        eprintln!("skipped: filters cannot be loaded here");
        return;
    };
    for (program, taken) in programs.iter().zip(&taken) {
        assert_eq!(check(program).is_ok(), *taken, "{program:x?}: {:?}", check(program));
    }
    let count = taken.iter().filter(|taken| **taken).count();
    assert!((200..900).contains(&count), "{count} of {} are taken", taken.len());
}
