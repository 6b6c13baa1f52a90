//! Code for number lines: balanced decision trees over intervals, of system call numbers and of
//! argument words alike. Used by `compile` and `checks.rs`.

use super::program::{Assembler, IF_AT_LEAST, IF_EQUAL, Place};

/// Writes code that finds A's interval in `line`, which is not empty and whose first interval
/// takes everything below the second; `leaf` writes the code of a verdict.
pub fn search<T: Copy + PartialEq>(
    asm: &mut Assembler,
    line: &[(u32, T)],
    leaf: &mut impl FnMut(&mut Assembler, T) -> Place,
) -> Place {
    match line {
        [(_, only)] => leaf(asm, *only),
        [(_, around), (at, inside), (after, other)] if around == other && at + 1 == *after => {
            let no = leaf(asm, *around);
            let yes = leaf(asm, *inside);
            asm.branch(IF_EQUAL, *at, yes, no)
        }
        _ => {
            let (low, high) = line.split_at(line.len() / 2);
            let yes = search(asm, high, leaf);
            let no = search(asm, low, leaf);
            asm.branch(IF_AT_LEAST, high[0].0, yes, no)
        }
    }
}
