//! Why the kernel refused to execute a program, in words: its error number alone says too little. Looked
//! at only after the failure, by the process that was refused, with its own rights and beneath its own
//! root, or by the other side of the conversation beneath the root that came with the message; what is read
//! there is the container's and not trusted. Called by `program`, and by the last steps of `process` and `last`.

use super::image::{self, Elf, Image};
use crate::bundle::plan::Process;
use crate::near;
use crate::rootfs::path::{Links, Root};
use crate::seccomp::Filter;
use rustix::fs::{Access, AtFlags, CWD, Dir, FileType, OFlags, StatVfsMountFlags};
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::OwnedFd;

/// Interpreters of interpreters that are looked at; the kernel takes four.
const MAX_DEPTH: usize = 5;
/// Names of one directory that are compared with a missing one.
const MAX_NAMES: usize = 4096;
/// Letters of a path that are shown.
const MAX_SHOWN: usize = 256;
/// Bytes that one argument or variable may have, its end included (MAX_ARG_STRLEN).
const MAX_STRING: usize = 128 * 1024;
/// Bytes that all may have together, whatever RLIMIT_STACK says: three quarters of 8 MiB.
const MAX_STRINGS: u64 = 6 << 20;

/// Whether a filter lets a process look at files; one that kills would hide the failure itself.
pub fn may_look(filter: Option<&Filter>) -> bool {
    let calls = [
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_fstat,
        libc::SYS_newfstatat,
        libc::SYS_fstatfs,
        libc::SYS_faccessat2,
        libc::SYS_pread64,
        libc::SYS_readlinkat,
        libc::SYS_getdents64,
        libc::SYS_getcwd,
        libc::SYS_geteuid,
        libc::SYS_fcntl,
        libc::SYS_close,
    ];
    filter.is_none_or(|filter| calls.into_iter().all(|call| filter.allows(call)))
}

/// Where and for whom is looked.
#[derive(Debug)]
pub struct View<'a> {
    root: &'a Root,
    /// The working directory; none when it cannot be known.
    cwd: Option<String>,
    /// The effective user.
    user: u32,
    /// This is the process itself, and its root the process's own.
    inside: bool,
}

impl<'a> View<'a> {
    /// What this process sees in its root.
    pub fn own(root: &'a Root) -> View<'a> {
        let cwd = rustix::process::getcwd(Vec::new()).ok().and_then(|cwd| cwd.into_string().ok());
        View { root, cwd, user: rustix::process::geteuid().as_raw(), inside: true }
    }

    /// What another process sees.
    pub fn of(root: &'a Root, process: &Process) -> View<'a> {
        let cwd = Some(process.cwd.to_string_lossy().into_owned());
        View { root, cwd, user: process.uid, inside: false }
    }

    /// Whether a file may not be executed for its mode or owner.
    fn may_not_execute(&self, path: &str, mode: u32) -> bool {
        match self.inside {
            true => rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) == Err(Errno::ACCESS),
            false => mode & 0o111 == 0,
        }
    }

    fn open(&self, path: &str, flags: OFlags, links: Links) -> rustix::io::Result<OwnedFd> {
        self.root.open(path, flags, links)
    }
}

/// Why the file at `path` was refused with `errno`; none when nothing is to be seen.
pub fn explain(view: &View, path: &[u8], errno: Errno) -> Option<String> {
    explain_at(view, path, errno, 0)
}

fn explain_at(view: &View, path: &[u8], errno: Errno, depth: usize) -> Option<String> {
    let path = absolute(view, path)?;
    match view.open(&path, OFlags::PATH, Links::Follow) {
        Ok(file) => of_file(view, &path, &file, errno, depth),
        Err(Errno::NOENT | Errno::NOTDIR) => missing(view, &path),
        Err(Errno::ACCESS) => Some(format!("user {} may not search a directory on the way", view.user)),
        Err(_) => None,
    }
}

/// Relative paths begin at the working directory.
fn absolute(view: &View, path: &[u8]) -> Option<String> {
    let path = str::from_utf8(path).ok()?;
    if path.starts_with('/') {
        return Some(path.to_string());
    }
    Some(format!("{}/{path}", view.cwd.as_deref()?.trim_end_matches('/')))
}

fn of_file(view: &View, path: &str, file: &OwnedFd, errno: Errno, depth: usize) -> Option<String> {
    let stat = rustix::fs::fstat(file).ok()?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Some("is a directory".to_string()),
        _ => return Some("is no regular file".to_string()),
    }
    if errno == Errno::ACCESS {
        if rustix::fs::fstatvfs(file).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::NOEXEC)) {
            return Some("it is on a mount with the option noexec".to_string());
        }
        let mode = stat.st_mode & 0o7777;
        if view.may_not_execute(path, mode) {
            return Some(format!("user {} may not execute it, its mode is {mode:04o}: chmod +x", view.user));
        }
    }
    if errno == Errno::TXTBSY {
        return Some("another process has it open for writing".to_string());
    }
    of_content(view, path, errno, depth)
}

fn of_content(view: &View, path: &str, errno: Errno, depth: usize) -> Option<String> {
    if depth >= MAX_DEPTH {
        return Some("interpreters that are scripts themselves, too many of them".to_string());
    }
    // Regular when it was looked at; should it be a device by now, this process may open that anyway.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = view.open(path, flags, Links::Follow).ok()?;
    let image = image::look(|offset, length| {
        let mut bytes = vec![0; length];
        let read = rustix::io::pread(&file, &mut bytes, offset).unwrap_or(0);
        bytes.truncate(read);
        bytes
    });
    let text = match image {
        Image::Empty => "the file is empty",
        Image::Marked => "it begins with a byte order mark, and `#!` after that: save it without",
        Image::Windows => "it is a program for Windows",
        Image::MacOs => "it is a program for macOS",
        Image::Text => "it is text, but its first line does not name an interpreter, like `#!/bin/sh`",
        Image::Other => "it is neither a program (ELF) nor a script (`#!`)",
        Image::Script { cut: true, .. } => "the name of the interpreter in its first line is too long",
        Image::Script { interpreter, .. } if interpreter.is_empty() => "its first line names no interpreter",
        Image::Script { interpreter, carriage_return, .. } => {
            return of_script(view, &interpreter, carriage_return, errno, depth);
        }
        Image::Elf(elf) => return of_program(view, &elf, errno, depth),
    };
    Some(text.to_string())
}

fn of_script(view: &View, path: &[u8], carriage_return: bool, errno: Errno, depth: usize) -> Option<String> {
    let shown = show(path);
    if carriage_return && path.ends_with(b"\r") {
        return Some(format!(
            "its first line names the interpreter `{shown}`, which ends in a carriage return: save the script \
             with Unix line ends"
        ));
    }
    let why = explain_at(view, path, errno, depth + 1)?;
    Some(format!("the interpreter `{shown}` of its first line: {why}"))
}

fn of_program(view: &View, elf: &Elf, errno: Errno, depth: usize) -> Option<String> {
    let (own, machine) = (elf.architecture(), std::env::consts::ARCH);
    if !elf.runs_on(machine) {
        return Some(format!("it was built for {own}, and this machine is {machine}"));
    }
    if !matches!(elf.kind, 2 | 3) {
        return Some("it is an object file or a core dump, not a program".to_string());
    }
    if errno == Errno::NOEXEC && own != machine {
        return Some(format!("it was built for {own}, which this {machine} kernel does not execute"));
    }
    let loader = elf.loader.as_deref()?;
    let why = explain_at(view, loader, errno, depth + 1)?;
    let shown = show(loader);
    let hint = match () {
        () if shown.contains("ld-musl") => ": it was linked against musl, as on Alpine",
        () if shown.contains("ld-linux") => ": it was linked against glibc, as on Debian or Fedora",
        () if shown.starts_with("/nix/") => ": it was built by Nix",
        () => "",
    };
    Some(format!("its loader `{shown}`: {why}{hint}; use a build for this image or a static one"))
}

/// What of a path is not there, and what is there instead.
fn missing(view: &View, path: &str) -> Option<String> {
    let mut parent = String::from("/");
    let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    for (index, name) in names.iter().enumerate() {
        let here = format!("{}/{name}", parent.trim_end_matches('/'));
        match view.open(&here, OFlags::PATH, Links::Follow) {
            Ok(_) => parent = here,
            Err(Errno::NOTDIR) => return Some(format!("`{}` is not a directory", show(parent.as_bytes()))),
            Err(_) => return Some(nothing_at(view, &parent, name, index + 1 == names.len())),
        }
    }
    None
}

fn nothing_at(view: &View, parent: &str, name: &str, last: bool) -> String {
    let parent = parent.trim_end_matches('/');
    let here = show(format!("{parent}/{name}").as_bytes());
    let link = view.open(&format!("{parent}/{name}"), OFlags::PATH, Links::NotLast);
    if let Some(target) = link.ok().and_then(|fd| rustix::fs::readlinkat(&fd, "", Vec::new()).ok()) {
        return format!("`{here}` is a symbolic link to `{}`, which leads nowhere", show(target.to_bytes()));
    }
    let names = names(view, if parent.is_empty() { "/" } else { parent });
    let near = near::nearest(name, names.iter().map(String::as_str));
    match near.map(|near| show(format!("{parent}/{near}").as_bytes())) {
        Some(near) => format!("there is `{near}`"),
        None if last => "it is not in the container".to_string(),
        None => format!("`{here}` is not in the container"),
    }
}

/// A program with almost this name in the directories of PATH.
pub fn near_in_path(view: &View, path: &[u8], name: &str) -> Option<String> {
    let directories =
        path.split(|byte| *byte == b':').take(32).filter_map(|directory| absolute(view, directory));
    let found: Vec<String> = directories.flat_map(|directory| names(view, &directory)).collect();
    near::nearest(name, found.iter().map(String::as_str)).map(|near| show(near.as_bytes()))
}

/// Names in a directory; none when it cannot be read.
fn names(view: &View, path: &str) -> Vec<String> {
    let opened = view.open(path, OFlags::RDONLY | OFlags::DIRECTORY, Links::Follow);
    let Some(directory) = opened.ok().and_then(|fd| Dir::new(fd).ok()) else { return Vec::new() };
    let entries = directory.flatten().take(MAX_NAMES);
    entries.filter_map(|entry| entry.file_name().to_str().map(str::to_owned).ok()).collect()
}

/// Which of the kernel's limits on arguments and environment is exceeded (execve(2)).
pub fn too_long(args: &[CString], env: &[CString]) -> String {
    let strings = || args.iter().chain(env).map(|string| string.as_bytes_with_nul().len());
    let longest = strings().max().unwrap_or(0);
    if longest > MAX_STRING {
        return format!(
            "one argument or variable has {longest} bytes, and {MAX_STRING} are possible: hand it over in a file"
        );
    }
    let stack = rustix::process::getrlimit(rustix::process::Resource::Stack).current;
    let limit = stack.map_or(MAX_STRINGS, |stack| (stack / 4).clamp(MAX_STRING as u64, MAX_STRINGS));
    let pointers = (args.len() + env.len()) * size_of::<usize>();
    let total = strings().sum::<usize>() + pointers;
    format!(
        "arguments and environment have {total} bytes, and {limit} are possible: a quarter of RLIMIT_STACK, at \
         most 6 MiB"
    )
}

/// A path for a message: bounded, without what drives a terminal.
fn show(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let shown = text.chars().take(MAX_SHOWN).flat_map(|c| {
        let escaped = c.is_control().then(|| c.escape_default().collect::<Vec<_>>());
        escaped.unwrap_or_else(|| vec![c])
    });
    shown.collect()
}
