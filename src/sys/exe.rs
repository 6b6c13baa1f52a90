//! Parting from the executable file (security R10): /proc/PID/exe is pointed at an empty, sealed memory file,
//! so that nothing inside a container can open the host's binary, execute it as an interpreter, or share a
//! page with it. The kernel allows that when nothing of the file is mapped any more. Mostly that is so at the
//! very end (`replace`, for `leave`); where a process that others could look at still needs the program, its
//! text, data and read-only data are moved to private memory before (`part_from_executable`).

use super::check;
use super::leave::{After, Arg, Script};
use linux_raw_sys::prctl::prctl_mm_map;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// One mapping of the executable.
struct Segment {
    start: usize,
    length: usize,
    protection: i32,
}

/// Moves the whole image to private memory and replaces the executable file of this process. Where
/// it is not root of its user namespace, the second half is left until it (or its child) `will_be`.
pub fn part_from_executable(will_be: bool) -> io::Result<Option<Parting>> {
    let maps = crate::hostfs::read_to_string("/proc/self/maps")?;
    for segment in image_segments(&maps) {
        privatise(&segment)?;
    }
    let file = empty_sealed_file()?;
    if replace_alone(&file).is_ok() {
        return Ok(None);
    }
    let parting = Parting { map: memory_map(&file)?, file };
    match parting.finish() {
        Err(error) if will_be && error.raw_os_error() == Some(libc::EPERM) => Ok(Some(parting)),
        done => done.map(|()| None),
    }
}

/// prctl(PR_SET_MM, PR_SET_MM_EXE_FILE): the executable file and nothing else. Needs CAP_SYS_RESOURCE
/// on the host.
fn replace_alone(file: &OwnedFd) -> io::Result<()> {
    // SAFETY: plain integers; the kernel refuses while a mapping of the old file is left.
    unsafe {
        check(libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_EXE_FILE, file.as_raw_fd(), 0u64, 0u64).into())?
    };
    Ok(())
}

/// What is left of parting from the executable file.
#[derive(Debug)]
pub struct Parting {
    map: prctl_mm_map,
    file: OwnedFd,
}

impl Parting {
    /// The descriptor that `finish` needs.
    pub fn fd(&self) -> &OwnedFd {
        &self.file
    }

    /// prctl(PR_SET_MM, PR_SET_MM_MAP) with everything as it is but the executable file. Needs
    /// CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN in the current user namespace.
    pub fn finish(&self) -> io::Result<()> {
        // SAFETY: sbrk(0) only reads the current program break.
        let brk = unsafe { libc::sbrk(0) };
        if brk as isize <= 0 {
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        let map = prctl_mm_map { brk: brk as u64, ..self.map };
        // SAFETY: the block describes this process as it is and outlives the call.
        unsafe {
            check(
                libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP, &raw const map, size_of_val(&map), 0u64)
                    .into(),
            )?
        };
        Ok(())
    }
}

/// The file mappings that hold this function's own file, found by the inode that maps the text.
fn image_segments(maps: &str) -> Vec<Segment> {
    let here = part_from_executable as *const () as usize;
    let parsed: Vec<(Segment, (&str, &str))> = maps.lines().filter_map(parse_mapping).collect();
    let own =
        parsed.iter().find(|(s, _)| (s.start..s.start + s.length).contains(&here)).map(|(_, file)| *file);
    parsed.into_iter().filter(|(_, file)| Some(*file) == own).map(|(segment, _)| segment).collect()
}

/// `start-end perms offset dev inode path`: the range, and device and inode as the file's name.
fn parse_mapping(line: &str) -> Option<(Segment, (&str, &str))> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?.as_bytes();
    let (device, inode) = (fields.nth(1)?, fields.next()?);
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    let mut protection = libc::PROT_NONE;
    for (flag, bit) in [(b'r', libc::PROT_READ), (b'w', libc::PROT_WRITE), (b'x', libc::PROT_EXEC)] {
        if permissions.contains(&flag) {
            protection |= bit;
        }
    }
    (inode != "0").then_some((Segment { start, length: end - start, protection }, (device, inode)))
}

/// Copies one mapping into anonymous memory and moves the copy over it.
fn privatise(segment: &Segment) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh anonymous mapping of the segment's length; the copy reads the mapped segment
    // (all segments of an executable are readable); mremap replaces the segment in one step by
    // identical bytes with identical protection, so running code and live data stay valid.
    unsafe {
        let copy = libc::mmap(std::ptr::null_mut(), segment.length, protection, flags, -1, 0);
        if copy == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        std::ptr::copy_nonoverlapping(segment.start as *const u8, copy.cast(), segment.length);
        check(libc::mprotect(copy, segment.length, segment.protection).into())?;
        let moved = libc::mremap(
            copy,
            segment.length,
            segment.length,
            libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
            segment.start as *mut libc::c_void,
        );
        if moved == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Adds the replacement of the executable file to the last steps of a process, which has let go of all
/// mappings of it; `name` is what it is called from then on.
pub fn replace(script: &mut Script, file: &OwnedFd, name: &[u8]) {
    let text = script.bytes(name);
    let Arg::At(begin) = text else { return };
    let (start, end) = (Arg::At(begin), Arg::At(begin + name.len()));
    // The kernel wants the break to be behind the data; nobody will move it.
    let brk = Arg::At(begin + name.len() + 1);
    // struct prctl_mm_map: code, data, break, stack, arguments, environment, auxiliary vector, file.
    let map = [start, end, start, start, brk, brk, start, start, end, end, end];
    let rest = [0, (file.as_raw_fd() as u64) << 32].map(Arg::Value);
    let map = script.words(&[map.as_slice(), &rest].concat());
    let length = Arg::Value(size_of::<prctl_mm_map>() as u64);
    let option = Arg::Value(libc::PR_SET_MM as u64);
    let whole = [option, Arg::Value(libc::PR_SET_MM_MAP as u64), map, length];
    // Needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN in the user namespace; the other way CAP_SYS_RESOURCE.
    script.call(libc::SYS_prctl, &whole, After::Skip(1));
    let fd = Arg::Value(file.as_raw_fd() as u64);
    let alone = [option, Arg::Value(libc::PR_SET_MM_EXE_FILE as u64), fd];
    script.call(libc::SYS_prctl, &alone, After::Must);
}

/// An empty memory file that nobody can ever write to.
pub fn empty_sealed_file() -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags};
    let file = rustix::fs::memfd_create("oxrun", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file)
}

/// This process's memory map as it is, but for the executable file; the break is read when it is set.
fn memory_map(file: &OwnedFd) -> io::Result<prctl_mm_map> {
    let stat = crate::hostfs::read_to_string("/proc/self/stat")?;
    let fields: Vec<u64> = stat
        .rsplit_once(") ")
        .map(|(_, rest)| rest.split(' ').map(|f| f.trim().parse().unwrap_or(0)).collect())
        .unwrap_or_default();
    // proc_pid_stat(5) numbers fields from 1; the first one after the name is number 3.
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    Ok(prctl_mm_map {
        start_code: field(26),
        end_code: field(27),
        start_data: field(45),
        end_data: field(46),
        start_brk: field(47),
        brk: 0,
        start_stack: field(28),
        arg_start: field(48),
        arg_end: field(49),
        env_start: field(50),
        env_end: field(51),
        auxv: std::ptr::null_mut(),
        auxv_size: 0,
        exe_fd: file.as_raw_fd() as u32,
    })
}
