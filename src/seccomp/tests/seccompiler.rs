//! Compiled programs against those of the seccompiler crate, on what it can express: one default,
//! one action, one architecture, rules that all name different calls or differ in their arguments.

use super::property::{Random, compiled, numbers, profiles};
use super::*;
use crate::bundle::spec::SyscallArg;
use ::seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use std::collections::BTreeMap;

fn condition(arg: &SyscallArg) -> SeccompCondition {
    let (op, value) = match arg.op.as_str() {
        "SCMP_CMP_NE" => (SeccompCmpOp::Ne, arg.value),
        "SCMP_CMP_LT" => (SeccompCmpOp::Lt, arg.value),
        "SCMP_CMP_LE" => (SeccompCmpOp::Le, arg.value),
        "SCMP_CMP_EQ" => (SeccompCmpOp::Eq, arg.value),
        "SCMP_CMP_GE" => (SeccompCmpOp::Ge, arg.value),
        "SCMP_CMP_GT" => (SeccompCmpOp::Gt, arg.value),
        _ => (SeccompCmpOp::MaskedEq(arg.value), arg.value_two),
    };
    SeccompCondition::new(arg.index as u8, SeccompCmpArgLen::Qword, op, value).unwrap()
}

/// The crate's program for a profile for x86_64; it numbers calls itself and knows no ENOSYS.
fn other(spec: &Seccomp) -> Vec<Instruction> {
    let arch = Arch::named("SCMP_ARCH_X86_64").unwrap();
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut always = Vec::new();
    for rule in &spec.syscalls {
        let repeats =
            rule.args.iter().enumerate().any(|(i, a)| rule.args[..i].iter().any(|b| a.index == b.index));
        let alternatives: Vec<Vec<SeccompCondition>> = if repeats {
            rule.args.iter().map(|a| vec![condition(a)]).collect()
        } else {
            vec![rule.args.iter().map(condition).collect()]
        };
        for number in rule.names.iter().filter_map(|name| arch.number(arch::call(name)?)) {
            for conditions in &alternatives {
                let known = rules.entry(i64::from(number)).or_default();
                match conditions.as_slice() {
                    [] => always.push(i64::from(number)),
                    _ => known.push(SeccompRule::new(conditions.clone()).unwrap()),
                }
            }
        }
    }
    for number in always {
        rules.insert(number, vec![]);
    }
    let filter =
        SeccompFilter::new(rules, SeccompAction::Errno(1), SeccompAction::Allow, TargetArch::x86_64).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    program.iter().map(|i| Instruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect()
}

#[test]
fn random_allow_lists_agree_with_seccompiler() {
    let mut random = Random(3);
    let arch = Arch::named("SCMP_ARCH_X86_64").unwrap();
    let mut compared = 0;
    for mut spec in profiles(500) {
        spec.default_action = "SCMP_ACT_ERRNO".into();
        spec.default_errno_ret = Some(1);
        spec.architectures.clear();
        for rule in &mut spec.syscalls {
            rule.action = "SCMP_ACT_ALLOW".into();
            rule.errno_ret = None;
        }
        let (ours, theirs) = (compiled(&spec).program, other(&spec));
        let args = spec.syscalls.iter().flat_map(|r| &r.args);
        let mentioned: Vec<u64> = args.flat_map(|a| [a.value, a.value_two]).collect();
        let numbers = numbers(arch);
        for _ in 0..60 {
            let number = numbers[random.below(numbers.len())];
            let args = std::array::from_fn(|_| random.value(&mentioned));
            let call = Call { number, audit: arch.audit, big_endian: false, args };
            let (ours, theirs) = (run(&ours, &call).unwrap().0, run(&theirs, &call).unwrap().0);
            // Newer than the profile and x32 are not the crate's.
            if ours != policy::ERRNO | 38 && number <= arch.last {
                assert_eq!(ours, theirs, "{call:x?} by {spec:?}");
                compared += 1;
            }
        }
    }
    assert!(compared > 15_000, "{compared}");
}
