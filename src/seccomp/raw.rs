//! A filter given as BPF, base64 of an array of `struct sock_filter`, instead of a profile. It is
//! checked as the kernel does when it loads one (`bpf_check_classic` and `seccomp_check_filter`), so
//! that what is wrong shows with its place and before anything is made. Called by `filter_of`.

use super::{Filter, Instruction, MAX_INSTRUCTIONS};
use crate::bundle::Problems;
use crate::error::{bail, ensure, shown};
use anyhow::Result;

/// Bytes of `struct sock_filter`.
const SIZE: usize = 8;
/// Bytes of `struct seccomp_data`, which loads must stay in.
const DATA_SIZE: u32 = 64;
/// Words of scratch memory (BPF_MEMWORDS).
const WORDS: u32 = 16;

// Instructions of classic BPF (linux/bpf_common.h, linux/filter.h) that the checks speak of.
const LD_W_ABS: u16 = 0x20;
const LD_MEM: u16 = 0x60;
const LDX_MEM: u16 = 0x61;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const DIV_K: u16 = 0x34;
const LSH_K: u16 = 0x64;
const RSH_K: u16 = 0x74;
const JA: u16 = 0x05;
const RET_K: u16 = 0x06;
const RET_A: u16 = 0x16;
/// JEQ, JGT, JGE and JSET, with a constant and with X.
const BRANCHES: [u16; 8] = [0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d];
/// LD and LDX of the data's length and of constants; ADD, SUB, MUL, OR, AND, XOR, with a constant and
/// with X; DIV, LSH and RSH with X; NEG; TAX and TXA. None of them can be wrong.
const HARMLESS: [u16; 22] = [
    0x80, 0x81, 0x00, 0x01, 0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x44, 0x4c, 0x54, 0x5c, 0xa4, 0xac, 0x3c,
    0x6c, 0x7c, 0x84, 0x07, 0x87,
];

/// Reads a filter; what is wrong with it goes to `problems` at `path`.
pub fn read(text: &str, path: &str, flags: u64, problems: &mut Problems) -> Filter {
    match base64(text).and_then(|bytes| program(&bytes)) {
        Ok(program) => Filter { program, flags, listener: None },
        Err(error) => {
            problems.add(path, shown(&error));
            Filter::default()
        }
    }
}

/// RFC 4648, section 4, with padding.
fn base64(text: &str) -> Result<Vec<u8>> {
    let (digits, padding) = match text.as_bytes() {
        [digits @ .., b'=', b'='] => (digits, 2),
        [digits @ .., b'='] => (digits, 1),
        digits => (digits, 0),
    };
    ensure!((digits.len() + padding).is_multiple_of(4), "not base64: its length is not a multiple of 4");
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0);
    for (i, digit) in digits.iter().enumerate() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => bail!("not base64: the byte {digit:#04x} at {i}"),
        };
        (bits, held) = (bits << 6 | u32::from(value), held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    ensure!(bits & ((1 << held) - 1) == 0, "not base64: bits are left over at its end");
    Ok(bytes)
}

/// The instructions, which the kernel will take.
fn program(bytes: &[u8]) -> Result<Vec<Instruction>> {
    ensure!(
        bytes.len().is_multiple_of(SIZE),
        "{} bytes are not instructions of {SIZE} bytes (struct sock_filter)",
        bytes.len()
    );
    let program: Vec<Instruction> = bytes
        .chunks_exact(SIZE)
        .map(|b| Instruction {
            code: u16::from_ne_bytes([b[0], b[1]]),
            jt: b[2],
            jf: b[3],
            k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
        })
        .collect();
    check(&program)?;
    Ok(program)
}

/// Refuses what the kernel would refuse.
pub fn check(program: &[Instruction]) -> Result<()> {
    let count = program.len();
    ensure!(
        (1..=MAX_INSTRUCTIONS).contains(&count),
        "{count} instructions: a filter has 1 to {MAX_INSTRUCTIONS}"
    );
    for (at, instruction) in program.iter().enumerate() {
        if let Some(fault) = fault(instruction, count - at - 1) {
            bail!("instruction {at} (code {:#04x}, k {:#x}): {fault}", instruction.code, instruction.k);
        }
    }
    if !matches!(program.last(), Some(Instruction { code: RET_K | RET_A, .. })) {
        bail!("instruction {}: the last one must return", count - 1);
    }
    check_memory(program)
}

/// What is wrong with one instruction that `after` others follow.
fn fault(instruction: &Instruction, after: usize) -> Option<&'static str> {
    let Instruction { code, jt, jf, k } = *instruction;
    let outside = "jumps behind the end of the filter";
    match code {
        LD_W_ABS => (k >= DATA_SIZE || k % 4 != 0).then_some("not a word of struct seccomp_data"),
        LD_MEM | LDX_MEM | ST | STX => (k >= WORDS).then_some("no such word of scratch memory"),
        DIV_K => (k == 0).then_some("divides by zero"),
        LSH_K | RSH_K => (k >= 32).then_some("shifts by more than a word has"),
        JA => (k as usize >= after).then_some(outside),
        RET_K | RET_A => None,
        _ if BRANCHES.contains(&code) => (usize::from(jt.max(jf)) >= after).then_some(outside),
        _ if HARMLESS.contains(&code) => None,
        _ => Some("not an instruction of seccomp filters"),
    }
}

/// Scratch memory must be written before it is read, on every way.
fn check_memory(program: &[Instruction]) -> Result<()> {
    // For each instruction the words that are written on all jumps to it.
    let mut reached = vec![u16::MAX; program.len()];
    let mut written = 0u16;
    for (at, instruction) in program.iter().enumerate() {
        let Instruction { code, jt, jf, k } = *instruction;
        written &= reached.get(at).copied().unwrap_or_default();
        let mut jump = |distance: usize, written: u16| {
            if let Some(words) = reached.get_mut(at + 1 + distance) {
                *words &= written;
            }
        };
        match code {
            ST | STX => written |= 1 << k,
            LD_MEM | LDX_MEM if written & 1 << k == 0 => {
                bail!("instruction {at}: reads word {k} of scratch memory, which may not be written yet")
            }
            JA => {
                jump(k as usize, written);
                written = u16::MAX;
            }
            _ if BRANCHES.contains(&code) => {
                jump(jt.into(), written);
                jump(jf.into(), written);
                written = u16::MAX;
            }
            _ => {}
        }
    }
    Ok(())
}
