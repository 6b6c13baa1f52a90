//! bpf(2) for cgroup device programs: load, attach with replacement, query, detach. Called by
//! `cgroup::v2` alone; numbers and layouts are those of linux/bpf.h.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 1 << 1;
const F_REPLACE: u32 = 1 << 2;

/// The kernel's limit of programs attached to one cgroup (BPF_CGROUP_MAX_PROGS).
const MAX_PROGRAMS: usize = 64;

/// One instruction as the kernel takes it (`struct bpf_insn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high ones.
    pub registers: u8,
    /// Jump or memory offset.
    pub offset: i16,
    /// Immediate operand.
    pub immediate: i32,
}

#[derive(Default)]
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

#[derive(Default)]
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
    pad: u32,
}

#[derive(Default)]
#[repr(C)]
struct Query {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    pad: u32,
    attach_flags_array: u64,
}

#[derive(Default)]
#[repr(C)]
struct GetFd {
    id: u32,
    next: u32,
    flags: u32,
    pad: u32,
}

#[derive(Default)]
#[repr(C)]
struct GetInfo {
    fd: u32,
    size: u32,
    info: u64,
}

/// The head of `struct bpf_prog_info`, up to the name.
#[derive(Default)]
#[repr(C)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_size: u32,
    translated_size: u32,
    jited: u64,
    translated: u64,
    load_time: u64,
    uid: u32,
    map_count: u32,
    maps: u64,
    name: [u8; 16],
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_long> {
    let size = size_of::<T>();
    // SAFETY: `attributes` is a live, fully initialised repr(C) struct of `size` bytes without
    // padding; the addresses inside point to buffers the callers keep alive over the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

fn own(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just returned this descriptor and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Loads a device program under a name of at most 15 bytes. On refusal the error holds the
/// verifier's last line where it wrote one.
pub fn load_device_program(instructions: &[Instruction], name: &str) -> io::Result<OwnedFd> {
    let mut attributes = Load {
        kind: PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        attach_type: ATTACH_CGROUP_DEVICE,
        ..Load::default()
    };
    for (to, from) in attributes.name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    match bpf(PROG_LOAD, &mut attributes) {
        Ok(fd) => own(fd),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Err(error),
        Err(error) => Err(verifier_error(attributes, error)),
    }
}

fn verifier_error(mut attributes: Load, error: io::Error) -> io::Error {
    let mut log = vec![0u8; 65536];
    attributes.log = log.as_mut_ptr() as u64;
    attributes.log_size = 65536;
    attributes.log_level = 1;
    if let Ok(fd) = bpf(PROG_LOAD, &mut attributes) {
        drop(own(fd));
    }
    let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[..end]);
    match text.lines().rfind(|l| !l.is_empty() && !l.starts_with("processed")) {
        Some(line) => io::Error::new(error.kind(), format!("{error}: {line}")),
        None => error,
    }
}

/// Attaches a program to a cgroup beside those already there (all of them must allow), taking
/// the place of `replaced` in one step where that is given.
pub fn attach(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut attributes = Attach {
        target: raw(cgroup),
        program: raw(program),
        kind: ATTACH_CGROUP_DEVICE,
        flags: F_ALLOW_MULTI | if replaced.is_some() { F_REPLACE } else { 0 },
        replaced: replaced.map_or(0, raw),
        pad: 0,
    };
    bpf(PROG_ATTACH, &mut attributes).map(drop)
}

/// Takes a program off a cgroup.
pub fn detach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = Attach {
        target: raw(cgroup),
        program: raw(program),
        kind: ATTACH_CGROUP_DEVICE,
        ..Attach::default()
    };
    bpf(PROG_DETACH, &mut attributes).map(drop)
}

/// The device programs attached to this very cgroup: name and descriptor.
pub fn attached(cgroup: BorrowedFd<'_>) -> io::Result<Vec<(String, OwnedFd)>> {
    let mut ids = [0u32; MAX_PROGRAMS];
    let mut attributes = Query {
        target: raw(cgroup),
        kind: ATTACH_CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: MAX_PROGRAMS as u32,
        ..Query::default()
    };
    bpf(PROG_QUERY, &mut attributes)?;
    let mut programs = Vec::new();
    for id in ids.iter().take(attributes.count as usize) {
        let fd = match bpf(PROG_GET_FD_BY_ID, &mut GetFd { id: *id, ..GetFd::default() }) {
            Ok(fd) => own(fd)?,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
            Err(error) => return Err(error),
        };
        programs.push((name_of(&fd)?, fd));
    }
    Ok(programs)
}

fn name_of(program: &OwnedFd) -> io::Result<String> {
    let mut info = ProgramInfo::default();
    let mut attributes = GetInfo {
        fd: program.as_raw_fd().unsigned_abs(),
        size: size_of::<ProgramInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attributes)?;
    let end = info.name.iter().position(|b| *b == 0).unwrap_or(info.name.len());
    Ok(String::from_utf8_lossy(&info.name[..end]).into_owned())
}
