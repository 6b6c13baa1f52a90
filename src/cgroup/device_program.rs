//! Device rules on cgroup v2: the rules, in order, as an eBPF program of type CGROUP_DEVICE. For
//! each of the accesses asked for, the last rule that matches decides; what no rule matches is
//! denied. Made by `v2::Cgroup::set_devices`; pure.

use crate::bundle::plan::{DeviceKind, DeviceRule};
use crate::sys::bpf::Instruction;

// linux/bpf.h: access bits and device types of `struct bpf_cgroup_dev_ctx`.
const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;
const ALL: i32 = MKNOD | READ | WRITE;
const BLOCK: i32 = 1;
const CHAR: i32 = 2;

// The few operations used: 32-bit loads and arithmetic, so that device numbers compare unsigned.
const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const MOVE: u8 = 0xb4;
const MOVE_REGISTER: u8 = 0xbc;
const JUMP_EQUAL: u8 = 0x16;
const JUMP_NOT_EQUAL: u8 = 0x56;
const EXIT: u8 = 0x95;

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const PENDING: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// Compiles rules. Registers hold what is asked for; the rules are tried from the last to the
/// first, an allowing one takes its accesses off the pending ones, a denying one ends it.
pub fn compile(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut program = vec![
        load(KIND, 0),
        load(MAJOR, 4),
        load(MINOR, 8),
        op(MOVE_REGISTER, PENDING | (KIND << 4), 0),
        op(AND, KIND, 0xffff),
        op(SHIFT_RIGHT, PENDING, 16),
    ];
    for rule in rules.iter().rev() {
        let access = access_of(rule);
        if access == 0 {
            continue;
        }
        let decision = decide(rule.allow, access);
        let conditions = conditions(rule);
        let unconditional = conditions.is_empty() && access == ALL;
        let count = conditions.len();
        for (i, (register, value)) in conditions.into_iter().enumerate() {
            program.push(jump(JUMP_NOT_EQUAL, register, value, count - 1 - i + decision.len()));
        }
        program.extend(decision);
        if unconditional {
            return program;
        }
    }
    program.extend(finish(false));
    program
}

fn access_of(rule: &DeviceRule) -> i32 {
    (if rule.mknod { MKNOD } else { 0 })
        | (if rule.read { READ } else { 0 })
        | (if rule.write { WRITE } else { 0 })
}

fn conditions(rule: &DeviceRule) -> Vec<(u8, i32)> {
    let kind = match rule.kind {
        DeviceKind::All => None,
        DeviceKind::Block => Some(BLOCK),
        DeviceKind::Char => Some(CHAR),
    };
    let number = |n: Option<u32>| n.map(u32::cast_signed);
    [(KIND, kind), (MAJOR, number(rule.major)), (MINOR, number(rule.minor))]
        .into_iter()
        .filter_map(|(register, value)| Some((register, value?)))
        .collect()
}

fn decide(allow: bool, access: i32) -> Vec<Instruction> {
    if access == ALL {
        return finish(allow).to_vec();
    }
    let mut code = if allow {
        vec![op(AND, PENDING, ALL & !access), jump(JUMP_NOT_EQUAL, PENDING, 0, 2)]
    } else {
        vec![
            op(MOVE_REGISTER, RESULT | (PENDING << 4), 0),
            op(AND, RESULT, access),
            jump(JUMP_EQUAL, RESULT, 0, 2),
        ]
    };
    code.extend(finish(allow));
    code
}

fn finish(allow: bool) -> [Instruction; 2] {
    [op(MOVE, RESULT, i32::from(allow)), op(EXIT, 0, 0)]
}

fn load(register: u8, offset: i16) -> Instruction {
    Instruction { code: LOAD_WORD, registers: register | (CONTEXT << 4), offset, immediate: 0 }
}

fn op(code: u8, registers: u8, immediate: i32) -> Instruction {
    Instruction { code, registers, offset: 0, immediate }
}

fn jump(code: u8, register: u8, immediate: i32, over: usize) -> Instruction {
    // At most three conditions and five instructions are ever jumped over.
    Instruction { code, registers: register, offset: over as i16, immediate }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device access as the kernel asks.
    #[derive(Debug, Clone, Copy)]
    struct Request {
        kind: i32,
        major: u32,
        minor: u32,
        access: i32,
    }

    /// The rule list's meaning, said plainly: per access, the last matching rule decides.
    fn evaluate(rules: &[DeviceRule], request: Request) -> bool {
        [MKNOD, READ, WRITE].into_iter().filter(|bit| request.access & bit != 0).all(|bit| {
            let last = rules.iter().rfind(|rule| {
                let kind = match rule.kind {
                    DeviceKind::All => true,
                    DeviceKind::Block => request.kind == BLOCK,
                    DeviceKind::Char => request.kind == CHAR,
                };
                kind && rule.major.is_none_or(|n| n == request.major)
                    && rule.minor.is_none_or(|n| n == request.minor)
                    && access_of(rule) & bit != 0
            });
            last.is_some_and(|rule| rule.allow)
        })
    }

    /// Runs a program on a request; every jump must stay inside and every register be written.
    fn interpret(program: &[Instruction], request: Request) -> bool {
        let context =
            [(request.access << 16) | request.kind, request.major.cast_signed(), request.minor.cast_signed()];
        let mut registers = [None::<i32>; 10];
        let mut at = 0;
        loop {
            let i = program[at];
            at += 1;
            let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            match i.code {
                LOAD_WORD => {
                    assert_eq!(from, usize::from(CONTEXT));
                    registers[to] = Some(context[usize::try_from(i.offset).unwrap() / 4]);
                }
                AND => registers[to] = Some(registers[to].unwrap() & i.immediate),
                SHIFT_RIGHT => {
                    registers[to] =
                        Some((registers[to].unwrap().cast_unsigned() >> i.immediate).cast_signed());
                }
                MOVE => registers[to] = Some(i.immediate),
                MOVE_REGISTER => registers[to] = registers[from],
                JUMP_EQUAL if registers[to].unwrap() == i.immediate => {
                    at += usize::try_from(i.offset).unwrap()
                }
                JUMP_NOT_EQUAL if registers[to].unwrap() != i.immediate => {
                    at += usize::try_from(i.offset).unwrap()
                }
                JUMP_EQUAL | JUMP_NOT_EQUAL => {}
                EXIT => return registers[0].unwrap() == 1,
                other => panic!("unknown operation {other:#x}"),
            }
        }
    }

    /// A small deterministic generator (xorshift).
    struct Random(u64);

    impl Random {
        fn below(&mut self, n: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % n
        }

        fn number(&mut self) -> u32 {
            [0, 1, 5, u32::MAX][self.below(4) as usize]
        }

        fn rule(&mut self) -> DeviceRule {
            DeviceRule {
                allow: self.below(2) == 0,
                kind: [DeviceKind::All, DeviceKind::Block, DeviceKind::Char][self.below(3) as usize],
                major: (self.below(3) > 0).then(|| self.number()),
                minor: (self.below(3) > 0).then(|| self.number()),
                read: self.below(2) == 0,
                write: self.below(2) == 0,
                mknod: self.below(2) == 0,
            }
        }
    }

    #[test]
    fn cgroup_device_program_means_what_the_rules_mean() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for _ in 0..3000 {
            let rules: Vec<_> = (0..random.below(7)).map(|_| random.rule()).collect();
            let program = compile(&rules);
            for _ in 0..40 {
                let request = Request {
                    kind: [BLOCK, CHAR][random.below(2) as usize],
                    major: random.number(),
                    minor: random.number(),
                    access: 1 + random.below(7) as i32,
                };
                assert_eq!(interpret(&program, request), evaluate(&rules, request), "{rules:?} {request:?}");
            }
        }
    }

    #[test]
    fn cgroup_device_program_has_no_dead_end() {
        let all = DeviceRule {
            allow: true,
            kind: DeviceKind::All,
            major: None,
            minor: None,
            read: true,
            write: true,
            mknod: true,
        };
        assert_eq!(compile(&[DeviceRule { allow: false, ..all }, all]).len(), 8);
    }
}
