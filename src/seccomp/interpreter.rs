//! Runs a filter as the kernel does, on calls that are only described. Used by `explain` and, as
//! the judge of compiled programs, by the tests.

use super::Instruction;
use super::program::{AND, IF_AT_LEAST, IF_EQUAL, IF_GREATER, JUMP, LOAD, RETURN};

/// A system call as a filter sees it (`struct seccomp_data`, linux/seccomp.h).
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Number.
    pub number: u32,
    /// `AUDIT_ARCH_*`
    pub audit: u32,
    /// The architecture is big-endian.
    pub big_endian: bool,
    /// Arguments.
    pub args: [u64; 6],
}

impl Call {
    /// The word at an offset; the instruction pointer is 0.
    fn word(&self, offset: u32) -> Option<u32> {
        match offset {
            _ if offset % 4 != 0 => None,
            0 => Some(self.number),
            4 => Some(self.audit),
            8 | 12 => Some(0),
            16..64 => {
                let arg = self.args[(offset as usize - 16) / 8];
                let high = (offset % 8 == 4) != self.big_endian;
                Some(if high { (arg >> 32) as u32 } else { arg as u32 })
            }
            _ => None,
        }
    }
}

/// The return value of a program and the number of instructions it took; nothing if the program
/// is not one the kernel would take.
pub fn run(program: &[Instruction], call: &Call) -> Option<(u32, usize)> {
    let (mut at, mut a, mut steps) = (0, 0u32, 0);
    loop {
        let Instruction { code, jt, jf, k } = *program.get(at)?;
        (at, steps) = (at + 1, steps + 1);
        let branch = match code {
            LOAD => {
                a = call.word(k)?;
                continue;
            }
            AND => {
                a &= k;
                continue;
            }
            JUMP => {
                at += k as usize;
                continue;
            }
            RETURN => return Some((k, steps)),
            IF_EQUAL => a == k,
            IF_GREATER => a > k,
            IF_AT_LEAST => a >= k,
            _ => return None,
        };
        at += usize::from(if branch { jt } else { jf });
    }
}
