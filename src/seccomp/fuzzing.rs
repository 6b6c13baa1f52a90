//! What the fuzz target of profiles checks: a profile that compiles gives a program that the kernel takes
//! and that does, call by call, what the profile means by the plain evaluator of the tests.

use super::*;
use crate::bundle::spec::{SyscallArg, SyscallRule};
use crate::bundle::{Problems, Warnings};

/// Names that meet: ordinary calls, new ones, those behind socketcall and ipc, one of arm alone.
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

/// Bytes taken one after the other; zeros when they are used up.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n.max(1)
    }

    /// Small numbers, corners and any number.
    fn number(&mut self) -> u64 {
        let byte = self.byte();
        match byte >> 6 {
            0 => u64::from(byte & 63),
            1 => (1u64 << (byte & 63)).wrapping_sub(1),
            2 => 1u64 << (byte & 63),
            _ => (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte())),
        }
    }
}

/// A profile of bytes, valid in most cases.
fn profile(bytes: &mut Bytes) -> Seccomp {
    let action = |bytes: &mut Bytes| {
        let (name, _) = ACTIONS[bytes.below(ACTIONS.len())];
        let errno = (name == "SCMP_ACT_ERRNO" || name == "SCMP_ACT_TRACE") && bytes.byte() & 1 == 1;
        (name.to_string(), errno.then(|| (bytes.number() & 0xfff) as u32))
    };
    let (default_action, default_errno_ret) = action(bytes);
    let architectures = (0..bytes.below(4))
        .map(|_| ARCHITECTURES[bytes.below(ARCHITECTURES.len())].name.to_string())
        .collect();
    let mut syscalls = Vec::new();
    for _ in 0..bytes.below(12) {
        let (action, errno_ret) = action(bytes);
        let names = (0..=bytes.below(3)).map(|_| NAMES[bytes.below(NAMES.len())].to_string()).collect();
        let arg = |bytes: &mut Bytes| SyscallArg {
            index: bytes.below(6) as u32,
            value: bytes.number(),
            value_two: bytes.number(),
            op: OPERATORS[bytes.below(OPERATORS.len())].to_string(),
        };
        let args = (0..bytes.below(4)).map(|_| arg(bytes)).collect();
        syscalls.push(SyscallRule { names, action, errno_ret, args });
    }
    Seccomp {
        default_action,
        default_errno_ret,
        architectures,
        syscalls,
        listener_path: "/run/agent".into(),
        ..Seccomp::default()
    }
}

/// A profile as JSON or made of the bytes, compiled and run.
pub fn fuzz(data: &[u8]) {
    let mut bytes = Bytes(data);
    let spec = if data.first() == Some(&b'{') {
        let Ok(spec) = crate::bundle::parse::<Seccomp>(data) else { return };
        bytes = Bytes(data.get(data.len() / 2..).unwrap_or_default());
        spec
    } else {
        profile(&mut bytes)
    };
    let (mut problems, mut warnings) = (Problems::default(), Warnings::default());
    let filter = compile(&spec, "linux.seccomp", Unknown::Skipped, &mut problems, &mut warnings);
    if !problems.is_empty() {
        return;
    }
    let taken = raw::check(&filter.program);
    assert!(taken.is_ok(), "the kernel would refuse it: {taken:?}");
    let mentioned: Vec<u64> =
        spec.syscalls.iter().flat_map(|r| &r.args).flat_map(|a| [a.value, a.value_two]).collect();
    for _ in 0..16 {
        let arch = &ARCHITECTURES[bytes.below(ARCHITECTURES.len())];
        let named = arch::call(NAMES[bytes.below(NAMES.len())]).and_then(|call| arch.number(call));
        let number = named.unwrap_or(0).wrapping_add(bytes.below(3) as u32).wrapping_sub(1);
        let args = std::array::from_fn(|_| match mentioned.get(bytes.below(mentioned.len() + 1)) {
            Some(value) => value.wrapping_add(bytes.below(3) as u64).wrapping_sub(1),
            None => bytes.number(),
        });
        let call = Call { number, audit: arch.audit, big_endian: arch.big_endian, args };
        let is = interpreter::run(&filter.program, &call).map(|(value, _)| value);
        assert_eq!(is, Some(reference::verdict(&spec, &call)), "{call:x?} by {spec:?}");
    }
}

/// A filter given as base64 of instructions.
pub fn fuzz_raw(text: &str) {
    let mut problems = Problems::default();
    let filter = raw::read(text, "annotations", 0, &mut problems);
    if problems.is_empty() {
        let call = Call { number: 1, audit: NATIVE.audit, big_endian: false, args: [1; 6] };
        let _ = interpreter::run(&filter.program, &call);
    }
}
