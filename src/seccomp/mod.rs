//! seccomp: the policy of `linux.seccomp` compiled to a BPF program. `bundle::lower` compiles, init
//! loads. On the way a profile is a `Policy` (checked, `policy.rs`), per architecture a `Line` of
//! verdicts (`decision.rs`), and code (`tree.rs`, `checks.rs`) of a program (`program.rs`). R19: no flag
//! is dropped, calls newer than the profile get ENOSYS, and nothing is cached between containers.

mod arch;
mod checks;
mod decision;
mod explain;
mod interpreter;
pub mod notify;
mod policy;
mod program;
mod raw;
mod syscalls;
mod tree;

use crate::bundle::spec::{Seccomp, Spec};
use crate::bundle::{Problems, Warnings};
pub use explain::{Query, explain, read_profile};

use arch::{ARCHITECTURES, Arch, NATIVE};
use decision::{Line, Verdict};
use interpreter::Call;
use policy::{ACTIONS, FLAGS, KILL_THREAD, OPERATORS, Policy};
use program::{Assembler, IF_EQUAL, Place};

/// Instructions in the longest program the kernel takes (BPF_MAXINSNS, linux/bpf_common.h).
const MAX_INSTRUCTIONS: usize = 4096;
/// Offset of the call's number in `struct seccomp_data` (linux/seccomp.h).
const NUMBER: u32 = 0;
/// Offset of the architecture.
const ARCHITECTURE: u32 = 4;

/// A compiled filter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The program.
    pub program: Vec<Instruction>,
    /// SECCOMP_FILTER_FLAG_* bits to load it with.
    pub flags: u64,
    /// Where the listener goes, when the policy notifies.
    pub listener: Option<Listener>,
}

impl Filter {
    /// What the filter returns for a call of this machine with arguments 0; none for a program with
    /// instructions that `compile` never makes.
    fn verdict(&self, number: i64) -> Option<u32> {
        let number = u32::try_from(number).ok()?;
        let call = Call { number, audit: NATIVE.audit, big_endian: NATIVE.big_endian, args: [0; 6] };
        interpreter::run(&self.program, &call).map(|(value, _)| value & policy::ACTION_MASK)
    }

    /// Whether the filter is known to end a call, or its caller.
    pub fn denies(&self, number: i64) -> bool {
        use policy::{ERRNO, KILL_PROCESS, TRAP};
        self.verdict(number).is_some_and(|v| [KILL_PROCESS, KILL_THREAD, TRAP, ERRNO].contains(&v))
    }

    /// Whether the filter is known to let a call pass.
    pub fn allows(&self, number: i64) -> bool {
        self.verdict(number).is_some_and(|v| [policy::ALLOW, policy::LOG].contains(&v))
    }
}

/// One BPF instruction, laid out as `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Jump distance when true.
    pub jt: u8,
    /// Jump distance when false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

impl Instruction {
    /// As it is in memory.
    pub fn bytes(self) -> [u8; 8] {
        let ([a, b], [w, x, y, z]) = (self.code.to_ne_bytes(), self.k.to_ne_bytes());
        [a, b, self.jt, self.jf, w, x, y, z]
    }
}

/// The agent of SCMP_ACT_NOTIFY.
#[derive(Debug, Clone, Default)]
pub struct Listener {
    /// Path of its unix stream socket.
    pub path: String,
    /// `listenerMetadata`.
    pub metadata: String,
}

/// The annotation with a filter that stands in for `linux.seccomp`: base64 of `struct sock_filter`s.
pub const RAW: &str = "run.oci.seccomp_bpf_data";
/// The annotation by which unknown names of system calls are errors.
pub const NO_UNKNOWN: &str = "run.oci.seccomp_fail_unknown_syscall";

/// What becomes of names that no kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// They are left out, with a warning.
    Skipped,
    /// They are errors.
    Refused,
}

/// The filter of a config: `linux.seccomp` as its annotations have it. Problems as of `compile`.
pub fn filter_of(
    spec: &Spec,
    unknown: Unknown,
    problems: &mut Problems,
    warnings: &mut Warnings,
) -> Option<Filter> {
    let path = "linux.seccomp";
    if let Some(data) = spec.annotations.get(RAW) {
        if spec.linux.seccomp.is_some() {
            warnings.note(path, format!("has no effect, as annotations.{RAW} stands in for it"));
        }
        return Some(raw::read(data, &format!("annotations.{RAW}"), policy::FLAGS_IF_NONE, problems));
    }
    spec.linux.seccomp.as_ref().map(|profile| compile(profile, path, unknown, problems, warnings))
}

/// Compiles a profile. What is wrong with it goes to `problems` with paths below `path`, and then
/// the filter is not to be used; what has no effect goes to `warnings`.
pub fn compile(
    spec: &Seccomp,
    path: &str,
    unknown: Unknown,
    problems: &mut Problems,
    warnings: &mut Warnings,
) -> Filter {
    let before = problems.0.len();
    let policy = Policy::read(spec, path, unknown, problems, warnings);
    if problems.0.len() > before {
        return Filter::default();
    }
    let program = assemble(&policy);
    if program.len() > MAX_INSTRUCTIONS {
        problems.add(
            path,
            format!(
                "the filter needs {} instructions, but the kernel takes {MAX_INSTRUCTIONS}: \
                 list fewer architectures or test fewer arguments",
                program.len()
            ),
        );
    }
    Filter { program, flags: policy.flags, listener: policy.listener }
}

/// The program of a policy: a block of code for each architecture, the native one first.
fn assemble(policy: &Policy) -> Vec<Instruction> {
    let mut asm = Assembler::default();
    let mut place = asm.ret(KILL_THREAD);
    for group in groups(policy).iter().rev() {
        let block = block(&mut asm, policy, group);
        place = asm.branch(IF_EQUAL, group[0].audit, block, place);
    }
    asm.load(ARCHITECTURE, place);
    asm.finish()
}

/// The architectures of a policy, those that share an `AUDIT_ARCH_*` value together.
fn groups(policy: &Policy) -> Vec<Vec<&'static Arch>> {
    let mut groups: Vec<Vec<&'static Arch>> = vec![vec![]];
    for arch in &policy.arches {
        if arch.audit == NATIVE.audit {
            groups[0].push(arch);
            continue;
        }
        match groups.iter_mut().find(|group| group.first().is_some_and(|a| a.audit == arch.audit)) {
            Some(group) => group.push(arch),
            None => groups.push(vec![arch]),
        }
    }
    groups
}

/// The code for one `AUDIT_ARCH_*` value.
fn block(asm: &mut Assembler, policy: &Policy, group: &[&'static Arch]) -> Place {
    let line = Line::of(policy, group);
    let place = tree::search(asm, &line.intervals, &mut |asm, verdict| match verdict {
        Verdict::Return(action) => asm.ret(action),
        Verdict::Check(i) => checks::write(asm, &line.checks[i], policy.default),
    });
    asm.load(NUMBER, place)
}

/// The actions that can be compiled.
pub fn action_names() -> Vec<&'static str> {
    ACTIONS.iter().map(|(name, _)| *name).collect()
}

/// The operators that can be compiled.
pub fn operators() -> Vec<&'static str> {
    OPERATORS.to_vec()
}

/// The architectures that can be compiled for.
pub fn architectures() -> Vec<&'static str> {
    ARCHITECTURES.iter().map(|arch| arch.name).collect()
}

/// The flags that are understood; whether the kernel has them shows when the filter is loaded.
pub fn flags() -> Vec<&'static str> {
    FLAGS.iter().map(|(name, _)| *name).collect()
}

/// The flags in `bits` that a profile can ask for, with their names.
pub fn flag_names(bits: u64) -> impl Iterator<Item = (u64, &'static str)> {
    FLAGS.iter().filter(move |(_, bit)| bits & bit != 0).map(|(name, bit)| (*bit, *name))
}

#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(fuzzing)]
#[path = "tests/reference.rs"]
mod reference;
#[cfg(test)]
mod tests;
