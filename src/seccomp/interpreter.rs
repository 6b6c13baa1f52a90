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
            _ if !offset.is_multiple_of(4) => None,
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

/// A program in the middle of a run.
pub struct Machine<'a> {
    call: &'a Call,
    /// Index of the next instruction.
    pub at: usize,
    /// The accumulator.
    pub a: u32,
}

impl Machine<'_> {
    /// A run about to begin.
    pub fn new(call: &Call) -> Machine<'_> {
        Machine { call, at: 0, a: 0 }
    }

    /// Runs one instruction; the inner value is what the program returns, if it ends here. Nothing
    /// if the kernel would not take the instruction.
    pub fn step(&mut self, instruction: &Instruction) -> Option<Option<u32>> {
        let Instruction { code, jt, jf, k } = *instruction;
        self.at += 1;
        let branch = match code {
            LOAD => {
                self.a = self.call.word(k)?;
                return Some(None);
            }
            AND => {
                self.a &= k;
                return Some(None);
            }
            JUMP => {
                self.at += k as usize;
                return Some(None);
            }
            RETURN => return Some(Some(k)),
            IF_EQUAL => self.a == k,
            IF_GREATER => self.a > k,
            IF_AT_LEAST => self.a >= k,
            _ => return None,
        };
        self.at += usize::from(if branch { jt } else { jf });
        Some(None)
    }
}

/// The return value of a program and the number of instructions it took; nothing if the program
/// is not one the kernel would take.
pub fn run(program: &[Instruction], call: &Call) -> Option<(u32, usize)> {
    let mut machine = Machine::new(call);
    // Jumps only go ahead, so that no run is longer than the program.
    for steps in 1..=program.len() {
        if let Some(value) = machine.step(program.get(machine.at)?)? {
            return Some((value, steps));
        }
    }
    None
}
