//! The architectures a profile can name: their `SCMP_ARCH_` names, the value the kernel puts in
//! `seccomp_data.arch`, how they number calls and how wide and in which order they keep arguments.
//! Read by `policy.rs` to resolve names and by `decision.rs` and `checks.rs` to lay out the filter.

use super::syscalls::{self, ARM_PRIVATE, COLUMNS, NONE};
use std::cmp::Ordering;

/// Start of the calls private to arm (`__ARM_NR_BASE`, arch/arm/include/uapi/asm/unistd.h).
const ARM_PRIVATE_BASE: u32 = 0x000f_0000;
/// Bit that tells x32 calls from x86_64 calls (`__X32_SYSCALL_BIT`).
pub const X32_BIT: u32 = 0x4000_0000;

/// One architecture.
#[derive(Debug)]
pub struct Arch {
    /// Name in a profile.
    pub name: &'static str,
    /// `AUDIT_ARCH_*` (linux/audit.h).
    pub audit: u32,
    /// Column of the table.
    column: usize,
    /// Added to the numbers of the table.
    base: u32,
    /// Last number of the ordinary calls, listed or not.
    pub last: u32,
    /// Arguments are 64 bits wide; otherwise only their low words are looked at.
    pub wide: bool,
    /// The high word of an argument comes first.
    pub big_endian: bool,
    /// ENOSYS in the numbering of this architecture.
    pub enosys: u32,
}

const fn arch(name: &'static str, audit: u32, column: usize) -> Arch {
    let (wide, big_endian) = (audit & 0x8000_0000 != 0, audit & 0x4000_0000 == 0);
    Arch { name, audit, column, base: 0, last: u32::MAX, wide, big_endian, enosys: 38 }
}

const fn mips(name: &'static str, audit: u32, column: usize, base: u32) -> Arch {
    Arch { base, enosys: 89, ..arch(name, audit, column) }
}

const fn parisc(name: &'static str, audit: u32, column: usize) -> Arch {
    Arch { enosys: 251, ..arch(name, audit, column) }
}

/// Every architecture of the specification, in the order of a filter's blocks.
pub static ARCHITECTURES: [Arch; 23] = [
    Arch { last: X32_BIT - 1, ..arch("SCMP_ARCH_X86_64", 0xc000_003e, syscalls::X86_64) },
    arch("SCMP_ARCH_X86", 0x4000_0003, syscalls::X86),
    Arch { base: X32_BIT, wide: false, ..arch("SCMP_ARCH_X32", 0xc000_003e, syscalls::X32) },
    arch("SCMP_ARCH_AARCH64", 0xc000_00b7, syscalls::AARCH64),
    Arch { last: ARM_PRIVATE_BASE - 1, ..arch("SCMP_ARCH_ARM", 0x4000_0028, syscalls::ARM) },
    arch("SCMP_ARCH_RISCV64", 0xc000_00f3, syscalls::RISCV64),
    arch("SCMP_ARCH_LOONGARCH64", 0xc000_0102, syscalls::LOONGARCH64),
    mips("SCMP_ARCH_MIPS", 0x0000_0008, syscalls::MIPS_O32, 4000),
    mips("SCMP_ARCH_MIPS64", 0x8000_0008, syscalls::MIPS_N64, 5000),
    Arch { wide: false, ..mips("SCMP_ARCH_MIPS64N32", 0xa000_0008, syscalls::MIPS_N32, 6000) },
    mips("SCMP_ARCH_MIPSEL", 0x4000_0008, syscalls::MIPS_O32, 4000),
    mips("SCMP_ARCH_MIPSEL64", 0xc000_0008, syscalls::MIPS_N64, 5000),
    Arch { wide: false, ..mips("SCMP_ARCH_MIPSEL64N32", 0xe000_0008, syscalls::MIPS_N32, 6000) },
    arch("SCMP_ARCH_PPC", 0x0000_0014, syscalls::PPC),
    arch("SCMP_ARCH_PPC64", 0x8000_0015, syscalls::PPC64),
    arch("SCMP_ARCH_PPC64LE", 0xc000_0015, syscalls::PPC64),
    arch("SCMP_ARCH_S390", 0x0000_0016, syscalls::S390),
    arch("SCMP_ARCH_S390X", 0x8000_0016, syscalls::S390X),
    parisc("SCMP_ARCH_PARISC", 0x0000_000f, syscalls::PARISC),
    parisc("SCMP_ARCH_PARISC64", 0x8000_000f, syscalls::PARISC64),
    arch("SCMP_ARCH_SH", 0x4000_002a, syscalls::SH),
    arch("SCMP_ARCH_SHEB", 0x0000_002a, syscalls::SH),
    arch("SCMP_ARCH_M68K", 0x0000_0004, syscalls::M68K),
];

/// The architecture this binary is built for.
#[cfg(target_arch = "x86_64")]
pub static NATIVE: &Arch = &ARCHITECTURES[0];
/// The architecture this binary is built for.
#[cfg(target_arch = "aarch64")]
pub static NATIVE: &Arch = &ARCHITECTURES[3];

impl Arch {
    /// The architecture of that name in a profile.
    pub fn named(name: &str) -> Option<&'static Arch> {
        ARCHITECTURES.iter().find(|a| a.name == name)
    }

    /// The number of a call here, as the kernel puts it in `seccomp_data.nr`.
    pub fn number(&self, call: u16) -> Option<u32> {
        match NUMBERS[self.column][usize::from(call)] {
            NONE => None,
            n if n >= ARM_PRIVATE => Some(ARM_PRIVATE_BASE + u32::from(n - ARM_PRIVATE)),
            n => Some(self.base + u32::from(n)),
        }
    }

    /// The first number that belongs to this architecture among those of its `audit` value.
    pub fn first(&self) -> u32 {
        if self.base == X32_BIT { X32_BIT } else { 0 }
    }

    /// Whether this is s390 or s390x, where the kernel shows the number 0 for calls that its
    /// table does not have.
    pub fn unknown_is_zero(&self) -> bool {
        self.audit & 0xffff == 0x16
    }

    /// The name of a call by number; slow, for people to read.
    pub fn call_name(&self, number: u32) -> Option<&'static str> {
        (0..CALLS as u16).find(|call| self.number(*call) == Some(number)).map(name)
    }
}

/// The call of that name, as an index into the table.
pub fn call(name: &str) -> Option<u16> {
    let (mut first, mut end) = (0, CALLS as u16);
    while first < end {
        let middle = first.midpoint(end);
        match self::name(middle).cmp(name) {
            Ordering::Less => first = middle + 1,
            Ordering::Equal => return Some(middle),
            Ordering::Greater => end = middle,
        }
    }
    None
}

/// `call`, faster when names come in order: looks just after the call found last first.
pub fn call_after(last: u16, name: &str) -> Option<u16> {
    let mut near = last..(last + 8).min(CALLS as u16);
    if name < self::name(near.start) || name > self::name(near.end - 1) {
        return call(name);
    }
    near.find(|call| self::name(*call) == name)
}

/// The names of all calls.
pub fn names() -> impl Iterator<Item = &'static str> {
    (0..CALLS as u16).map(name)
}

/// The name of a call.
pub fn name(call: u16) -> &'static str {
    let at = |index: usize| usize::from(ENDS[index]);
    let call = usize::from(call);
    NAMES.get(at(call)..at(call + 1)).unwrap_or_default()
}

/// How many calls there are.
pub const CALLS: usize = syscalls::TABLE.len();

/// The table as it is in the binary: the numbers of one architecture side by side, as one is mostly asked
/// for, and all names in one text, as each pointer to a name would be written at every start.
static NUMBERS: [[u16; CALLS]; COLUMNS] = {
    let mut numbers = [[NONE; CALLS]; COLUMNS];
    let mut call = 0;
    while call < CALLS {
        let mut column = 0;
        while column < COLUMNS {
            numbers[column][call] = syscalls::TABLE[call].1[column];
            column += 1;
        }
        call += 1;
    }
    numbers
};

/// Where each name begins in `NAMES`, and the last one ends.
static ENDS: [u16; CALLS + 1] = ENDS_OF_NAMES;

const ENDS_OF_NAMES: [u16; CALLS + 1] = {
    let mut ends = [0; CALLS + 1];
    let mut call = 0;
    while call < CALLS {
        ends[call + 1] = ends[call] + syscalls::TABLE[call].0.len() as u16;
        call += 1;
    }
    ends
};

static NAMES: &str = {
    const BYTES: [u8; ENDS_OF_NAMES[CALLS] as usize] = {
        let mut bytes = [0; ENDS_OF_NAMES[CALLS] as usize];
        let (mut call, mut at) = (0, 0);
        while call < CALLS {
            let name = syscalls::TABLE[call].0.as_bytes();
            let mut i = 0;
            while i < name.len() {
                bytes[at] = name[i];
                (i, at) = (i + 1, at + 1);
            }
            call += 1;
        }
        bytes
    };
    match std::str::from_utf8(&BYTES) {
        Ok(names) => names,
        Err(_) => "",
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    fn number(arch: &str, name: &str) -> Option<u32> {
        Arch::named(arch).unwrap().number(call(name).unwrap())
    }

    #[test]
    fn numbers_are_the_kernels() {
        assert!(syscalls::TABLE.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(number("SCMP_ARCH_X86_64", "clone3"), Some(435));
        assert_eq!(number("SCMP_ARCH_X86_64", "socketcall"), None);
        assert_eq!(number("SCMP_ARCH_X86", "socket"), Some(359));
        assert_eq!(number("SCMP_ARCH_X32", "execve"), Some(X32_BIT + 520));
        assert_eq!(number("SCMP_ARCH_ARM", "set_tls"), Some(0xf0005));
        assert_eq!(number("SCMP_ARCH_ARM", "sync_file_range2"), Some(341));
        assert_eq!(number("SCMP_ARCH_AARCH64", "openat"), Some(56));
        assert_eq!(number("SCMP_ARCH_MIPS64", "read"), Some(5000));
        assert_eq!(number("SCMP_ARCH_S390", "chown32"), Some(212));
        assert_eq!(number("SCMP_ARCH_RISCV64", "rseq_slice_yield"), Some(471));
    }

    #[test]
    fn widths_follow_the_audit_values() {
        let of = |name| Arch::named(name).unwrap();
        assert!(of("SCMP_ARCH_S390X").wide && of("SCMP_ARCH_S390X").big_endian);
        assert!(!of("SCMP_ARCH_X32").wide && !of("SCMP_ARCH_X32").big_endian);
        assert!(!of("SCMP_ARCH_PPC").wide && of("SCMP_ARCH_PPC").big_endian);
        assert!(of("SCMP_ARCH_PPC64LE").wide && !of("SCMP_ARCH_PPC64LE").big_endian);
    }
}
