//! Random profiles, compiled, against what they mean; and Docker's default profile over all numbers.

use super::*;
use crate::bundle::spec::{SyscallArg, SyscallRule};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Few enough that rules meet: ordinary calls, old and new ones, those behind socketcall and ipc,
/// ones of one architecture only, and one that no kernel has.
const NAMES: [&str; 16] = [
    "read",
    "openat",
    "clone",
    "socket",
    "bind",
    "socketcall",
    "ipc",
    "semop",
    "shmat",
    "execve",
    "personality",
    "set_tls",
    "clone3",
    "futex_waitv",
    "arch_prctl",
    "no_such_call",
];
pub const VALUES: [u64; 14] = [
    0,
    1,
    2,
    5,
    16,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0005,
    0x8000_0000_0000_0000,
    u64::MAX,
];

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => proptest::sample::select(&VALUES), 1 => any::<u64>(), 1 => 0..20u64]
}

fn action(notify: bool) -> impl Strategy<Value = (String, Option<u32>)> {
    let known = ACTIONS.iter().map(|(name, _)| *name).filter(move |n| notify || *n != "SCMP_ACT_NOTIFY");
    let errno = prop_oneof![Just(None), Just(Some(0)), Just(Some(38)), (0..4096u32).prop_map(Some)];
    (proptest::sample::select(known.collect::<Vec<_>>()), errno).prop_map(|(name, errno)| {
        let errno = errno.filter(|_| matches!(name, "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE"));
        (name.to_string(), errno)
    })
}

fn arg() -> impl Strategy<Value = SyscallArg> {
    (0..3u32, number(), number(), proptest::sample::select(&OPERATORS))
        .prop_map(|(index, value, value_two, op)| SyscallArg { index, value, value_two, op: op.to_string() })
}

fn rule() -> impl Strategy<Value = SyscallRule> {
    let names = proptest::collection::vec(proptest::sample::select(&NAMES), 1..5);
    (names, action(true), proptest::collection::vec(arg(), 0..4)).prop_map(
        |(names, (action, errno_ret), args)| SyscallRule {
            names: names.iter().map(|n| n.to_string()).collect(),
            action,
            errno_ret,
            args,
        },
    )
}

fn profile() -> impl Strategy<Value = Seccomp> {
    let arches = ARCHITECTURES.iter().map(|a| a.name.to_string()).collect::<Vec<_>>();
    let rules = proptest::collection::vec(rule(), 0..12);
    (action(false), proptest::sample::subsequence(arches, 0..5), rules).prop_map(
        |((default_action, default_errno_ret), architectures, syscalls)| Seccomp {
            default_action,
            default_errno_ret,
            architectures,
            syscalls,
            listener_path: "/run/agent".into(),
            ..Seccomp::default()
        },
    )
}

/// A small generator for the calls, which are too many for proptest's trees.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 ^ (self.0 >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    /// A value on, just beside, or nowhere near one that the profile mentions.
    pub fn value(&mut self, mentioned: &[u64]) -> u64 {
        let base = match self.below(8) {
            0 => self.next(),
            1..4 => VALUES[self.below(VALUES.len())],
            _ if mentioned.is_empty() => 1,
            _ => mentioned[self.below(mentioned.len())],
        };
        base.wrapping_add(self.below(3) as u64).wrapping_sub(1)
    }
}

/// Numbers worth asking for: every name's, their neighbours, and the corners.
pub fn numbers(arch: &Arch) -> Vec<u32> {
    let named = NAMES.iter().filter_map(|name| arch.number(arch::call(name)?));
    let mut numbers: Vec<u32> = named.flat_map(|n| [n.wrapping_sub(1), n, n + 1]).collect();
    numbers.extend([0, 1, 600, 0x3fff_ffff, 0x4000_0000, 0x4000_0400, 0xe_ffff, 0xf_0000, 0x7fff_ffff]);
    numbers.extend([0x8000_0000, 0xffff_fffe, 0xffff_ffff]);
    numbers
}

pub fn compiled(spec: &Seccomp) -> Filter {
    let mut problems = Problems::default();
    let filter = compile(spec, "linux.seccomp", Unknown::Skipped, &mut problems, &mut Warnings::default());
    assert!(problems.is_empty(), "{problems}");
    filter
}

/// The difference between what a program does and what its profile means, if there is one.
pub fn wrong(spec: &Seccomp, program: &[Instruction], call: &Call) -> Option<String> {
    let should = reference::verdict(spec, call);
    match run(program, call) {
        Some((is, _)) if is == should => None,
        is => Some(format!("{call:x?} should be {should:x}, is {is:x?}")),
    }
}

fn runner() -> TestRunner {
    let config = Config { cases: 5000, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::XorShift))
}

/// The same random profiles each time.
pub fn profiles(count: usize) -> Vec<Seccomp> {
    let mut runner = runner();
    (0..count).map(|_| profile().new_tree(&mut runner).unwrap().current()).collect()
}

#[test]
fn random_profiles_do_what_they_mean() {
    runner()
        .run(&(profile(), any::<u64>()), |(spec, seed)| {
            let filter = compiled(&spec);
            let mentioned: Vec<u64> =
                spec.syscalls.iter().flat_map(|r| &r.args).flat_map(|a| [a.value, a.value_two]).collect();
            let mut random = Random(seed);
            for _ in 0..60 {
                let listed = random.below(3) > 0 && !spec.architectures.is_empty();
                let name = if listed {
                    &spec.architectures[random.below(spec.architectures.len())]
                } else {
                    ARCHITECTURES[random.below(ARCHITECTURES.len())].name
                };
                let arch = Arch::named(name).unwrap();
                let numbers = numbers(arch);
                let args = std::array::from_fn(|_| random.value(&mentioned));
                let number = numbers[random.below(numbers.len())];
                let call = Call { number, audit: arch.audit, big_endian: arch.big_endian, args };
                if let Some(wrong) = wrong(&spec, &filter.program, &call) {
                    return Err(TestCaseError::fail(wrong));
                }
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn many_rules_for_one_call_do_what_they_mean() {
    let arch = Arch::named("SCMP_ARCH_X86_64").unwrap();
    let number = arch.number(arch::call("clone").unwrap()).unwrap();
    let mut random = Random(5);
    for spec in profiles(2000).chunks(20).map(|chunk| {
        let mut spec = chunk[0].clone();
        spec.syscalls = chunk.iter().flat_map(|spec| spec.syscalls.clone()).collect();
        spec.syscalls.retain(|rule| rule.args.len() > 1);
        spec.syscalls.iter_mut().for_each(|rule| rule.names = vec!["clone".into()]);
        spec
    }) {
        let program = compiled(&spec).program;
        let args = spec.syscalls.iter().flat_map(|r| &r.args);
        let mentioned: Vec<u64> = args.flat_map(|a| [a.value, a.value_two]).collect();
        for _ in 0..100 {
            let args = std::array::from_fn(|_| random.value(&mentioned));
            let call = Call { number, audit: arch.audit, big_endian: false, args };
            assert_eq!(wrong(&spec, &program, &call), None);
        }
    }
}

#[test]
fn docker_default_profile_over_all_numbers() {
    let mut spec = docker();
    spec.architectures = ARCHITECTURES.iter().map(|a| a.name.to_string()).collect();
    let filter = compiled(&spec);
    let mut random = Random(1);
    let mentioned: Vec<u64> = spec.syscalls.iter().flat_map(|r| &r.args).map(|a| a.value).collect();
    for arch in &ARCHITECTURES {
        let base = arch.number(arch::call("exit").unwrap()).unwrap() & !0xfff;
        for number in (0..600).map(|n| n + base).chain([0xf0002, u32::MAX]) {
            let args = std::array::from_fn(|_| random.value(&mentioned));
            let call = Call { number, audit: arch.audit, big_endian: arch.big_endian, args };
            assert_eq!(wrong(&spec, &filter.program, &call), None);
        }
    }
}
