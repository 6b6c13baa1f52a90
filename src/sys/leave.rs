//! The last steps of a process of the runtime: a list of system calls, done by a few instructions in a page of
//! private memory while nothing else of the program is mapped any more (R10). Nobody can then open, map or
//! execute the host's binary by way of this process, no page of it is shared, and a process that waits for
//! `start` keeps a few pages. Written by `init::last`, which decides what the calls are; when one fails the
//! other side of the runtime gets a message with the step's number and the error number.

use super::memory;
use std::io;
use std::ptr::null_mut;

/// Bytes of one step in memory, as the instructions below know it.
const STEP: usize = 12 * 8;
const PAGE: usize = 4096;
/// More than what is ever in use of the stack, the arguments of the process included.
const MAIN_STACK: usize = 16 << 20;

/// What becomes of a step's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It must not be an error.
    Must,
    /// Whatever it is.
    May,
    /// It must be this number.
    Equals(u64),
    /// When it is not an error, this many steps are skipped.
    Skip(usize),
    /// When it is 0, as clone3(2) gives it to the new process, this many steps are skipped.
    ZeroSkips(usize),
}

/// An argument of a step.
#[derive(Debug, Clone, Copy)]
pub enum Arg {
    /// A number, or a pointer that stays valid.
    Value(u64),
    /// The address of something in `Script`'s own data.
    At(usize),
}

/// One system call.
#[derive(Debug)]
struct Step {
    number: u64,
    args: [Arg; 6],
    after: After,
    /// What the step is called when it fails.
    name: u8,
    /// Where the result goes.
    store: [Option<Place>; 2],
}

/// Where a result is stored, and by that becomes an argument or a part of the data.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// The first argument of a later step, by its distance.
    FirstArgument(usize),
    /// The descriptor that failures are told on.
    Teller,
    /// Eight bytes of the data.
    At(usize),
}

/// The steps, and what they point to.
#[derive(Debug, Default)]
pub struct Script {
    steps: Vec<Step>,
    data: Vec<u8>,
    /// Offsets in `data` of words that hold an offset in `data` until the addresses are known.
    pointers: Vec<usize>,
    name: u8,
}

/// Step that only compares: the byte at the first argument with the second.
const COMPARE: u64 = u64::MAX;

impl Script {
    /// Puts bytes into the data, aligned to eight.
    pub fn bytes(&mut self, bytes: &[u8]) -> Arg {
        let at = self.data.len();
        self.data.extend_from_slice(bytes);
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        Arg::At(at)
    }

    /// Puts words into the data, of which some are addresses.
    pub fn words(&mut self, words: &[Arg]) -> Arg {
        let at = self.data.len();
        for word in words {
            let value = match *word {
                Arg::Value(value) => value,
                Arg::At(target) => {
                    self.pointers.push(self.data.len());
                    target as u64
                }
            };
            self.data.extend_from_slice(&value.to_ne_bytes());
        }
        Arg::At(at)
    }

    /// What the next steps are called.
    pub fn name(&mut self, name: u8) {
        self.name = name;
    }

    /// Adds a system call.
    pub fn call(&mut self, number: i64, args: &[Arg], after: After) {
        let mut all = [Arg::Value(0); 6];
        for (slot, arg) in all.iter_mut().zip(args) {
            *slot = *arg;
        }
        self.steps.push(Step { number: number as u64, args: all, after, name: self.name, store: [None; 2] });
    }

    /// Stores the last step's result, in two places at most.
    pub fn store(&mut self, place: Place) {
        let step = self.steps.last_mut();
        if let Some(free) = step.and_then(|step| step.store.iter_mut().find(|slot| slot.is_none())) {
            *free = Some(place);
        }
    }

    /// Adds a comparison of the byte at an address.
    pub fn compare(&mut self, at: Arg, expected: u8) {
        self.call(COMPARE as i64, &[at, Arg::Value(expected.into())], After::Must);
    }

    /// Adds the removal of all that this process needs no more: first the program itself, which must go.
    pub fn let_go(&mut self) {
        self.unmap(image(), After::Must);
        for chunk in memory::chunks() {
            self.unmap(chunk, After::May);
        }
        self.unmap(stack(), After::May);
    }

    fn unmap(&mut self, (start, length): (usize, usize), after: After) {
        self.call(libc::SYS_munmap, &[Arg::Value(start as u64), Arg::Value(length as u64)], after);
    }

    /// Does the steps; comes back only when there is no memory for them. `teller` and `failure` are
    /// the descriptor and the data of sendmsg(2) when a step fails; the error number and the step's name
    /// are written into the bytes at `text` (1 to 4, and 5).
    pub fn run(&self, teller: u64, failure: Arg, text: Arg) -> io::Result<()> {
        let code = code();
        let header = 6 * 8;
        let length = header + self.steps.len() * STEP + self.data.len();
        let place = private(PAGE + length.next_multiple_of(PAGE))?;
        let (base, steps) = (place + PAGE, place + PAGE + header);
        let data = steps + self.steps.len() * STEP;
        let address = |arg: Arg| match arg {
            Arg::Value(value) => value,
            Arg::At(at) => (data + at) as u64,
        };
        let mut words: Vec<u64> = vec![steps as u64, teller, address(failure), address(text), 0, 0];
        for (index, step) in self.steps.iter().enumerate() {
            let here = steps + index * STEP;
            let (kind, value) = match step.after {
                After::Must => (0, 0),
                After::May => (1, 0),
                After::Equals(value) => (2, value),
                After::Skip(count) => (3, (here + (count + 1) * STEP) as u64),
                After::ZeroSkips(count) => (4, (here + (count + 1) * STEP) as u64),
            };
            let place = |store| match store {
                None => 0,
                Some(Place::FirstArgument(distance)) => (here + distance * STEP + 8) as u64,
                Some(Place::Teller) => (base + 8) as u64,
                Some(Place::At(at)) => (data + at) as u64,
            };
            words.push(step.number);
            words.extend(step.args.map(address));
            words.extend([kind, value, place(step.store[0]), step.name.into(), place(step.store[1])]);
        }
        let mut all: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        all.extend_from_slice(&self.data);
        for pointer in &self.pointers {
            let at = header + self.steps.len() * STEP + pointer;
            if let Some(slot) = all.get_mut(at..at + 8) {
                let target = u64::from_ne_bytes(slot.try_into().unwrap_or_default());
                slot.copy_from_slice(&(data as u64 + target).to_ne_bytes());
            }
        }
        // SAFETY: the mapping has a page for the code, which is shorter, and room for the rest; nobody else
        // knows it. The code is jumped to with its header; it uses no stack and does not come back.
        unsafe {
            std::ptr::copy_nonoverlapping(code.as_ptr(), place as *mut u8, code.len());
            std::ptr::copy_nonoverlapping(all.as_ptr(), base as *mut u8, all.len());
            let executable = libc::PROT_READ | libc::PROT_EXEC;
            super::check(libc::mprotect(place as *mut libc::c_void, PAGE, executable).into())?;
            jump(place, base)
        }
    }
}

/// A private mapping to write to.
fn private(length: usize) -> io::Result<usize> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh anonymous mapping.
    let place = unsafe { libc::mmap(null_mut(), length, protection, flags, -1, 0) };
    if place == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(place as usize) }
}

unsafe extern "C" {
    static oxrun_last_begin: u8;
    static oxrun_last_end: u8;
    /// The ELF header, where the image begins; made by the linker.
    static __ehdr_start: u8;
    /// Where it ends, `.bss` included; made by the linker.
    static _end: u8;
}

/// The instructions below.
fn code() -> &'static [u8] {
    let (begin, end) = (&raw const oxrun_last_begin, &raw const oxrun_last_end);
    // SAFETY: both symbols are in one section, the second behind the first.
    unsafe { std::slice::from_raw_parts(begin, end as usize - begin as usize) }
}

/// Start and length of this program in memory, whole pages.
fn image() -> (usize, usize) {
    let start = (&raw const __ehdr_start) as usize & !(PAGE - 1);
    let end = (&raw const _end) as usize;
    (start, end.next_multiple_of(PAGE) - start)
}

/// Start and length of what of the stack is in use, and more below it: no other mapping is within 8 MiB
/// there, as the kernel keeps that much free for it to grow.
fn stack() -> (usize, usize) {
    // SAFETY: the C library keeps the environment's array where the kernel put it, at the top of the stack.
    let top = unsafe { libc::getauxval(libc::AT_EXECFN) } as usize;
    let here = (&raw const top) as usize;
    let start = (here & !(PAGE - 1)).saturating_sub(64 * PAGE);
    // The name of the executed file is the last thing on the stack.
    let end = (top + PAGE).next_multiple_of(PAGE);
    // Another stack than that of the process (a test's thread) is left alone.
    if here < top && top - here < MAIN_STACK { (start, end - start) } else { (start, 0) }
}

/// Jumps to the copied instructions with the address of the header.
///
/// # Safety
/// `code` holds them, `header` is followed by steps that end in one that does not come back.
unsafe fn jump(code: usize, header: usize) -> ! {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: by the caller.
    unsafe {
        std::arch::asm!("jmp {}", in(reg) code, in("rdi") header, options(noreturn))
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: by the caller. The kernel has made the instructions visible when it made them executable.
    unsafe {
        std::arch::asm!("isb", "br {0}", in(reg) code, in("x0") header, options(noreturn))
    }
}

// Registers: r15 the header (steps, descriptor for failures, its message, its text), r12 the step
// (number, six arguments, kind, value, where the result goes, name, where else). No stack is used.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .text.oxrun_last, \"ax\", @progbits",
    ".globl oxrun_last_begin",
    ".globl oxrun_last_end",
    "oxrun_last_begin:",
    "mov r15, rdi",
    "mov r12, [r15]",
    "20:",
    "mov rax, [r12]",
    "mov rdi, [r12 + 8]",
    "mov rsi, [r12 + 16]",
    "cmp rax, -1",
    "je 25f",
    "mov rdx, [r12 + 24]",
    "mov r10, [r12 + 32]",
    "mov r8, [r12 + 40]",
    "mov r9, [r12 + 48]",
    "syscall",
    "mov rcx, [r12 + 56]",
    "cmp rcx, 1",
    "je 22f",
    "cmp rax, -4095",
    "jae 26f",
    "cmp rcx, 2",
    "jne 21f",
    "cmp rax, [r12 + 64]",
    "jne 27f",
    "21:",
    "mov rdx, [r12 + 72]",
    "test rdx, rdx",
    "jz 23f",
    "mov [rdx], rax",
    "mov rdx, [r12 + 88]",
    "test rdx, rdx",
    "jz 23f",
    "mov [rdx], rax",
    "23:",
    "cmp rcx, 3",
    "je 24f",
    "cmp rcx, 4",
    "jne 22f",
    "test rax, rax",
    "jz 24f",
    "22:",
    "add r12, 96",
    "jmp 20b",
    "24:",
    "mov r12, [r12 + 64]",
    "jmp 20b",
    "25:",
    "movzx eax, byte ptr [rdi]",
    "cmp rax, rsi",
    "je 22b",
    "27:",
    "xor eax, eax",
    "26:",
    // Skip: an error is no failure.
    "mov rcx, [r12 + 56]",
    "cmp rcx, 3",
    "je 22b",
    "neg eax",
    "mov rdx, [r15 + 24]",
    "mov [rdx + 1], eax",
    "mov rcx, [r12 + 80]",
    "mov [rdx + 5], cl",
    "mov eax, 46", // sendmsg
    "mov rdi, [r15 + 8]",
    "mov rsi, [r15 + 16]",
    "mov edx, 0x4000", // MSG_NOSIGNAL
    "syscall",
    // The other side may look at this process as long as it keeps the connection.
    "mov eax, 45", // recvfrom
    "mov rdi, [r15 + 8]",
    "mov rsi, [r15 + 24]",
    "mov edx, 1",
    "xor r10d, r10d",
    "xor r8d, r8d",
    "xor r9d, r9d",
    "syscall",
    "mov eax, 231", // exit_group
    "mov edi, 1",
    "syscall",
    "ud2",
    "oxrun_last_end:",
    ".popsection",
);

// The same: x19 the header, x20 the step.
#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .text.oxrun_last, \"ax\", @progbits",
    ".globl oxrun_last_begin",
    ".globl oxrun_last_end",
    "oxrun_last_begin:",
    "mov x19, x0",
    "ldr x20, [x19]",
    "20:",
    "ldr x8, [x20]",
    "ldp x0, x1, [x20, #8]",
    "cmn x8, #1",
    "b.eq 25f",
    "ldp x2, x3, [x20, #24]",
    "ldp x4, x5, [x20, #40]",
    "svc #0",
    "ldr x9, [x20, #56]",
    "cmp x9, #1",
    "b.eq 22f",
    "cmn x0, #4095",
    "b.hs 26f",
    "cmp x9, #2",
    "b.ne 21f",
    "ldr x10, [x20, #64]",
    "cmp x0, x10",
    "b.ne 27f",
    "21:",
    "ldr x10, [x20, #72]",
    "cbz x10, 23f",
    "str x0, [x10]",
    "ldr x10, [x20, #88]",
    "cbz x10, 23f",
    "str x0, [x10]",
    "23:",
    "cmp x9, #3",
    "b.eq 24f",
    "cmp x9, #4",
    "b.ne 22f",
    "cbz x0, 24f",
    "22:",
    "add x20, x20, #96",
    "b 20b",
    "24:",
    "ldr x20, [x20, #64]",
    "b 20b",
    "25:",
    "ldrb w2, [x0]",
    "cmp x2, x1",
    "b.eq 22b",
    "27:",
    "mov x0, xzr",
    "26:",
    "ldr x9, [x20, #56]",
    "cmp x9, #3",
    "b.eq 22b",
    "neg w0, w0",
    "ldr x10, [x19, #24]",
    "strb w0, [x10, #1]",
    "lsr w0, w0, #8",
    "strb w0, [x10, #2]",
    "strb wzr, [x10, #3]",
    "strb wzr, [x10, #4]",
    "ldr x9, [x20, #80]",
    "strb w9, [x10, #5]",
    "mov x8, #211",
    "ldr x0, [x19, #8]",
    "ldr x1, [x19, #16]",
    "mov x2, #0x4000",
    "svc #0",
    "mov x8, #207",
    "ldr x0, [x19, #8]",
    "ldr x1, [x19, #24]",
    "mov x2, #1",
    "mov x3, xzr",
    "mov x4, xzr",
    "mov x5, xzr",
    "svc #0",
    "mov x8, #94",
    "mov x0, #1",
    "svc #0",
    "brk #1",
    "oxrun_last_end:",
    ".popsection",
);
