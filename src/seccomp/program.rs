//! The assembler: builds a BPF program from its last instruction to its first, so that the length
//! of every jump is known when it is written and nothing is patched. Used by `tree.rs` and
//! `checks.rs` through `compile`.

use super::Instruction;

/// Load the 32-bit word at `k` of `struct seccomp_data` (linux/bpf_common.h).
pub const LOAD: u16 = 0x20;
/// A &= k.
pub const AND: u16 = 0x54;
/// Jump ahead by k.
pub const JUMP: u16 = 0x05;
/// Branch on A == k.
pub const IF_EQUAL: u16 = 0x15;
/// Branch on A > k.
pub const IF_GREATER: u16 = 0x25;
/// Branch on A >= k.
pub const IF_AT_LEAST: u16 = 0x35;
/// Return k.
pub const RETURN: u16 = 0x06;

/// A place in the program under construction, counted from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(usize);

/// A program under construction: `reversed[0]` is its last instruction.
#[derive(Debug, Default)]
pub struct Assembler {
    reversed: Vec<Instruction>,
    /// The nearest return of each action.
    returns: Vec<(u32, Place)>,
}

impl Assembler {
    /// How many instructions there are.
    pub fn len(&self) -> usize {
        self.reversed.len()
    }

    /// The finished program.
    pub fn finish(mut self) -> Vec<Instruction> {
        self.reversed.reverse();
        self.reversed
    }

    /// Takes back everything written since there were `len` instructions.
    pub fn truncate(&mut self, len: usize) {
        self.reversed.truncate(len);
        self.returns.clear();
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Place {
        self.reversed.push(Instruction { code, jt, jf, k });
        Place(self.reversed.len() - 1)
    }

    /// How far a jump written next would have to go.
    fn distance(&self, to: Place) -> usize {
        self.reversed.len() - 1 - to.0
    }

    /// A place that returns `action`: an earlier one if there is one.
    pub fn ret(&mut self, action: u32) -> Place {
        match self.returns.iter().find(|(a, _)| *a == action) {
            Some((_, place)) => *place,
            None => self.new_return(action),
        }
    }

    fn new_return(&mut self, action: u32) -> Place {
        let place = self.push(RETURN, 0, 0, action);
        self.returns.retain(|(a, _)| *a != action);
        self.returns.push((action, place));
        place
    }

    /// `A = word at offset`, then on to `next`.
    pub fn load(&mut self, offset: u32, next: Place) -> Place {
        self.fall_to(next);
        self.push(LOAD, 0, 0, offset)
    }

    /// `A &= mask`, then on to `next`.
    pub fn and(&mut self, mask: u32, next: Place) -> Place {
        self.fall_to(next);
        self.push(AND, 0, 0, mask)
    }

    /// Makes the instruction written next be followed by `next`.
    fn fall_to(&mut self, next: Place) {
        if next.0 + 1 != self.reversed.len() {
            self.bridge(next);
        }
    }

    /// An instruction right here that leads to `to`: a copy if it returns, otherwise a jump.
    fn bridge(&mut self, to: Place) -> Place {
        let target = self.reversed[to.0];
        if target.code == RETURN {
            return self.new_return(target.k);
        }
        let distance = self.distance(to) as u32;
        self.push(JUMP, 0, 0, distance)
    }

    /// Branches on A: to `yes` if the comparison holds, otherwise to `no`.
    pub fn branch(&mut self, code: u16, k: u32, yes: Place, no: Place) -> Place {
        if yes == no {
            return yes;
        }
        let (mut yes, mut no) = (yes, no);
        // A bridge moves the branch by one, which can put the other target out of reach.
        for _ in 0..2 {
            if self.distance(no) > 255 {
                no = self.bridge(no);
            }
            if self.distance(yes) > 255 {
                yes = self.bridge(yes);
            }
        }
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.push(code, jt, jf, k)
    }
}
