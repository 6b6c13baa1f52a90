//! Code for calls whose arguments decide. Each argument is tested once on every path: the values
//! of an argument are cut into intervals at every number its conditions mention, each interval
//! keeps the rules that can still hold, and equal intervals merge. Used by `compile`.

use super::decision::{Case, Check};
use super::policy::{Condition, Test};
use super::program::{Assembler, IF_EQUAL, Place};
use super::tree;
use crate::sort::sort;

/// Offset of the first argument in `struct seccomp_data` (linux/seccomp.h).
const ARGUMENTS: u32 = 16;
/// How many tests may follow one another when each argument is to be tested once.
const DEPTH: usize = 32;
/// How many conditions are looked at together; more would hardly fit a program.
const CONDITIONS: usize = 4096;

/// Writes the code of a check; `otherwise` is the action when no case holds.
pub fn write(asm: &mut Assembler, check: &Check, otherwise: u32) -> Place {
    let start = asm.len();
    let layout = Layout { wide: check.wide, big_endian: check.big_endian };
    let conditions: usize = check.cases.iter().map(|case| case.conditions.len()).sum();
    let limit = start + 64 + 12 * conditions;
    let gave_up = conditions > CONDITIONS;
    let mut writer = Writer { layout, otherwise, limit, gave_up, written: Vec::new() };
    let place = writer.cases(asm, &check.cases, 0);
    if !writer.gave_up {
        return place;
    }
    asm.truncate(start);
    writer.in_turn(asm, &check.cases)
}

/// Where the words of an argument are.
#[derive(Clone, Copy)]
struct Layout {
    wide: bool,
    big_endian: bool,
}

impl Layout {
    fn low(self, index: u8) -> u32 {
        ARGUMENTS + 8 * u32::from(index) + if self.big_endian { 4 } else { 0 }
    }

    fn high(self, index: u8) -> u32 {
        ARGUMENTS + 8 * u32::from(index) + if self.big_endian { 0 } else { 4 }
    }

    /// The largest value.
    fn max(self) -> u64 {
        if self.wide { u64::MAX } else { u64::from(u32::MAX) }
    }
}

struct Writer {
    layout: Layout,
    otherwise: u32,
    /// Length of the program at which testing each argument once is given up.
    limit: usize,
    gave_up: bool,
    /// Code that is there already.
    written: Vec<(Vec<Case>, Place)>,
}

impl Writer {
    /// Code for cases that can still hold, testing the first condition of the first one for all.
    fn cases(&mut self, asm: &mut Assembler, cases: &[Case], depth: usize) -> Place {
        let Some(first) = cases.first() else { return asm.ret(self.otherwise) };
        let Some(condition) = first.conditions.first() else { return asm.ret(first.action) };
        if let Some((_, place)) = self.written.iter().find(|(known, _)| known == cases) {
            return *place;
        }
        self.gave_up |= asm.len() > self.limit || depth > DEPTH;
        if self.gave_up {
            return asm.ret(self.otherwise);
        }
        let place = match condition.test {
            Test::Masked(mask, value) => {
                let no = self.cases(asm, &assume(cases, |c| (c == condition).then_some(false)), depth + 1);
                let yes = self.cases(asm, &assume(cases, |c| (c == condition).then_some(true)), depth + 1);
                masked(asm, self.layout, condition.index, (mask, value), yes, no)
            }
            _ => self.split(asm, cases, condition.index, depth),
        };
        self.written.push((cases.to_vec(), place));
        place
    }

    /// Code that finds the interval of an argument and goes on with the cases left there.
    fn split(&mut self, asm: &mut Assembler, cases: &[Case], index: u8, depth: usize) -> Place {
        let mut left: Vec<Vec<Case>> = Vec::new();
        let mut line: Vec<(u64, usize)> = Vec::new();
        for start in turns(cases, index, self.layout.max()) {
            let here = assume(cases, |c| if c.index == index { holds(c.test, start) } else { None });
            if left.last() != Some(&here) {
                left.push(here);
                line.push((start, left.len() - 1));
            }
        }
        argument(asm, self.layout, index, &line, &mut |asm, i| self.cases(asm, &left[i], depth + 1))
    }

    /// Code that tests one case after the other.
    fn in_turn(&self, asm: &mut Assembler, cases: &[Case]) -> Place {
        let mut next = asm.ret(self.otherwise);
        for case in cases.iter().rev() {
            let no = next;
            next = asm.ret(case.action);
            for condition in case.conditions.iter().rev() {
                next = one(asm, self.layout, condition, next, no);
            }
        }
        next
    }
}

/// What is left of cases when some conditions are known: those that do not hold take their case
/// with them, and a case without conditions makes all that follow it unreachable.
fn assume(cases: &[Case], known: impl Fn(&Condition) -> Option<bool>) -> Vec<Case> {
    let mut left = Vec::new();
    for case in cases {
        if case.conditions.iter().any(|c| known(c) == Some(false)) {
            continue;
        }
        let conditions: Vec<Condition> =
            case.conditions.iter().filter(|c| known(c).is_none()).copied().collect();
        let last = conditions.is_empty();
        left.push(Case { action: case.action, conditions });
        if last {
            break;
        }
    }
    left
}

/// Whether a test holds for a value; a masked one is left open.
fn holds(test: Test, value: u64) -> Option<bool> {
    Some(match test {
        Test::Equal(v) => value == v,
        Test::NotEqual(v) => value != v,
        Test::Less(v) => value < v,
        Test::AtMost(v) => value <= v,
        Test::AtLeast(v) => value >= v,
        Test::Greater(v) => value > v,
        Test::Masked(..) => return None,
    })
}

/// Every value of an argument at which some test changes its answer, and 0.
fn turns(cases: &[Case], index: u8, max: u64) -> Vec<u64> {
    let mut turns = vec![0];
    for condition in cases.iter().flat_map(|case| &case.conditions).filter(|c| c.index == index) {
        let (at, after) = match condition.test {
            Test::Equal(v) | Test::NotEqual(v) => (Some(v), v.checked_add(1)),
            Test::Less(v) | Test::AtLeast(v) => (Some(v), None),
            Test::AtMost(v) | Test::Greater(v) => (None, v.checked_add(1)),
            Test::Masked(..) => (None, None),
        };
        turns.extend(at.into_iter().chain(after).filter(|turn| *turn <= max));
    }
    sort(&mut turns);
    turns.dedup();
    turns
}

/// Code for one condition.
fn one(asm: &mut Assembler, layout: Layout, condition: &Condition, yes: Place, no: Place) -> Place {
    if let Test::Masked(mask, value) = condition.test {
        return masked(asm, layout, condition.index, (mask, value), yes, no);
    }
    let case = Case { action: 0, conditions: vec![*condition] };
    let mut line: Vec<(u64, bool)> = turns(&[case], condition.index, layout.max())
        .into_iter()
        .map(|start| (start, holds(condition.test, start) == Some(true)))
        .collect();
    line.dedup_by_key(|(_, holds)| *holds);
    argument(asm, layout, condition.index, &line, &mut |_, holds| if holds { yes } else { no })
}

/// Code for `argument & mask == value`, where mask has bits and value has no others.
fn masked(
    asm: &mut Assembler,
    layout: Layout,
    index: u8,
    (mask, value): (u64, u64),
    yes: Place,
    no: Place,
) -> Place {
    let low = (layout.low(index), mask as u32, value as u32);
    let high = (layout.high(index), (mask >> 32) as u32, (value >> 32) as u32);
    let mut place = yes;
    for (offset, mask, value) in [low, high] {
        if mask != 0 && yes != no {
            place = asm.branch(IF_EQUAL, value, place, no);
            if mask != u32::MAX {
                place = asm.and(mask, place);
            }
            place = asm.load(offset, place);
        }
    }
    place
}

/// Code that finds an argument's interval in `line`, which begins with 0, high word first.
fn argument<T: Copy + PartialEq>(
    asm: &mut Assembler,
    layout: Layout,
    index: u8,
    line: &[(u64, T)],
    leaf: &mut impl FnMut(&mut Assembler, T) -> Place,
) -> Place {
    if let [(_, only)] = line {
        return leaf(asm, *only);
    }
    if !layout.wide {
        let line: Vec<(u32, T)> = line.iter().map(|(start, t)| (*start as u32, *t)).collect();
        return low_word(asm, layout, index, &line, leaf);
    }
    let lows = by_high_word(line);
    let highs: Vec<(u32, usize)> = lows.iter().enumerate().map(|(i, (high, _))| (*high, i)).collect();
    let place = tree::search(asm, &highs, &mut |asm, i| low_word(asm, layout, index, &lows[i].1, leaf));
    if highs.len() > 1 { asm.load(layout.high(index), place) } else { place }
}

fn low_word<T: Copy + PartialEq>(
    asm: &mut Assembler,
    layout: Layout,
    index: u8,
    line: &[(u32, T)],
    leaf: &mut impl FnMut(&mut Assembler, T) -> Place,
) -> Place {
    let place = tree::search(asm, line, leaf);
    if line.len() > 1 { asm.load(layout.low(index), place) } else { place }
}

/// Cuts a line of 64-bit values into lines of low words, each for the high words from its own up
/// to the next one's.
fn by_high_word<T: Copy + PartialEq>(line: &[(u64, T)]) -> Vec<(u32, Vec<(u32, T)>)> {
    let mut lines: Vec<(u32, Vec<(u32, T)>)> = Vec::new();
    let mut before = line[0].1;
    for group in line.chunk_by(|a, b| a.0 >> 32 == b.0 >> 32) {
        let high = (group[0].0 >> 32) as u32;
        let mut lows: Vec<(u32, T)> = vec![(0, before)];
        lows.extend(group.iter().map(|(start, t)| (*start as u32, *t)));
        if lows[1].0 == 0 {
            lows.remove(0);
        }
        before = lows[lows.len() - 1].1;
        let several = lows.len() > 1;
        // What was pushed for the high words after the last group may begin here.
        lines.pop_if(|(start, _)| *start == high);
        push(&mut lines, high, lows);
        if several && high < u32::MAX {
            push(&mut lines, high + 1, vec![(0, before)]);
        }
    }
    lines
}

fn push<T: PartialEq>(lines: &mut Vec<(u32, Vec<(u32, T)>)>, high: u32, lows: Vec<(u32, T)>) {
    if lines.last().is_none_or(|(_, last)| *last != lows) {
        lines.push((high, lows));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::Instruction;
    use crate::seccomp::interpreter::{Call, run};

    fn random(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (*seed >> 33) % 4
    }

    /// Cases with a masked and an ordered condition each, on small values.
    fn check(cases: u32, seed: &mut u64) -> Check {
        let case = |action| {
            let test = Test::Masked(1 + random(seed), random(seed));
            let masked = Condition { index: random(seed) as u8, test };
            let ordered = Condition { index: 4, test: Test::Greater(random(seed)) };
            Case { action, conditions: vec![masked, ordered] }
        };
        Check { wide: true, big_endian: false, cases: (1..=cases).map(case).collect() }
    }

    fn in_turn(check: &Check) -> Vec<Instruction> {
        let mut asm = Assembler::default();
        let layout = Layout { wide: true, big_endian: false };
        let writer = Writer { layout, otherwise: 0, limit: 0, gave_up: true, written: Vec::new() };
        let place = writer.in_turn(&mut asm, &check.cases);
        asm.load(0, place);
        asm.finish()
    }

    #[test]
    fn both_ways_of_testing_agree() {
        let mut seed = 1;
        for _ in 0..200 {
            let check = check(6, &mut seed);
            let mut asm = Assembler::default();
            let place = write(&mut asm, &check, 0);
            asm.load(0, place);
            let (together, in_turn) = (asm.finish(), in_turn(&check));
            for _ in 0..50 {
                let args = std::array::from_fn(|_| random(&mut seed));
                let call = Call { number: 0, audit: 0, big_endian: false, args };
                let verdict = |program| run(program, &call).map(|(value, _)| value);
                assert_eq!(verdict(&together), verdict(&in_turn), "{call:?} {check:?}");
            }
        }
    }

    #[test]
    fn code_does_not_explode() {
        let cases = (0..60).map(|i| {
            let condition = |index, bit: u32| Condition { index, test: Test::Masked(1 << bit, 1 << bit) };
            Case { action: i, conditions: vec![condition(0, i), condition(1, i), condition(2, i)] }
        });
        let check = Check { wide: true, big_endian: false, cases: cases.collect() };
        let mut asm = Assembler::default();
        write(&mut asm, &check, 0);
        assert!(asm.len() < 1000, "{}", asm.len());
    }
}
