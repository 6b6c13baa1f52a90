//! seccomp: the policy of `linux.seccomp` compiled to a BPF program, and its loading.

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

/// The agent of SCMP_ACT_NOTIFY.
#[derive(Debug, Clone, Default)]
pub struct Listener {
    /// Path of its unix stream socket.
    pub path: String,
    /// `listenerMetadata`.
    pub metadata: String,
}

/// Stand-in until the compiler is merged.
pub fn compile(
    _: &crate::bundle::spec::Seccomp,
    _: &str,
    _: &mut crate::bundle::Problems,
    _: &mut Vec<String>,
) -> Filter {
    Filter::default()
}
