//! Things to try inside a container. One argument is one action (words separated by blanks);
//! the result is `{"ok": value}` or `{"err": "ENAME"}`, for several actions an array of them.

use crate::cstring;
use serde_json::{Value, json};
use std::fs;
use std::io::{Error, ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

type Attempt = Result<Value, Error>;

/// Runs all actions in order.
pub fn all(actions: &[&str]) -> Value {
    actions.iter().map(|action| outcome(one(action))).collect()
}

fn outcome(attempt: Attempt) -> Value {
    match attempt {
        Ok(value) => json!({ "ok": value }),
        Err(error) => json!({ "err": errno_name(&error) }),
    }
}

fn one(action: &str) -> Attempt {
    let words: Vec<&str> = action.split_whitespace().collect();
    let path = words.get(1).copied().unwrap_or("");
    match words[0] {
        "touch" => {
            fs::OpenOptions::new().write(true).create(true).truncate(false).open(path).map(|_| json!(true))
        }
        "read" => read(path),
        "write" => write(path, &words[2..].join(" ")),
        "mkdir" => fs::create_dir(path).map(|_| json!(true)),
        "rmdir" => fs::remove_dir(path).map(|_| json!(true)),
        "rm" => fs::remove_file(path).map(|_| json!(true)),
        "ls" => list(path),
        "stat" => fs::symlink_metadata(path).map(|m| describe(&m)),
        "statl" => fs::metadata(path).map(|m| describe(&m)),
        "statfs" => file_system_type(path),
        "readlink" => fs::read_link(path).map(|l| json!(l.display().to_string())),
        "open" => open(path, words[2]),
        "chmod" => {
            let mode = u32::from_str_radix(words[2], 8).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).map(|_| json!(true))
        }
        "chown" => {
            std::os::unix::fs::chown(path, words[2].parse().ok(), words[3].parse().ok()).map(|_| json!(true))
        }
        "chdir" => std::env::set_current_dir(path).map(|_| json!(true)),
        "connect" => std::os::unix::net::UnixStream::connect(path).map(|_| json!(true)),
        "exec" => std::process::Command::new(path)
            .args(&words[2..])
            .output()
            .map(|o| json!({"code": o.status.code(), "out": String::from_utf8_lossy(&o.stdout)})),
        "mknod" => mknod(&words),
        "mount" => mount(&words),
        "umount" => umount(path),
        "sethostname" => {
            call(libc::SYS_sethostname, [cstring(path).as_ptr() as i64, path.len() as i64, 0, 0, 0, 0])
        }
        "setuid" => call(libc::SYS_setresuid, [number(path); 6]),
        "ptmx" => pseudo_terminal(),
        "access" => access(path, words[2]),
        "bind-port" => std::net::TcpListener::bind(path).map(|_| json!(true)),
        "lo" => loopback(),
        "syscall" => raw(&words),
        "alloc" => Ok(json!(allocate(number(path) as usize))),
        "forks" => forks(number(path)),
        "raw-socket" => call(libc::SYS_socket, [2, 3, 1, 0, 0, 0]),
        "umask" => Ok(json!(umask())),
        "scheduler" => scheduler(),
        // IOPRIO_WHO_PROCESS, the caller.
        "ioprio" => call(libc::SYS_ioprio_get, [1, 0, 0, 0, 0, 0]),
        "uptime" => Ok(json!([clock(libc::CLOCK_MONOTONIC), clock(libc::CLOCK_BOOTTIME)])),
        "report-fds" => Ok(crate::report::descriptors(path)),
        other => Ok(json!(format!("unknown action {other}"))),
    }
}

fn number(text: &str) -> i64 {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).unwrap() as i64,
        None => text.parse().unwrap(),
    }
}

fn read(path: &str) -> Attempt {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(1 << 18).read_to_end(&mut bytes)?;
    Ok(json!(String::from_utf8_lossy(&bytes)))
}

/// Writes without creating: what is to be written to is expected to be there.
fn write(path: &str, text: &str) -> Attempt {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(json!(true))
}

fn list(path: &str) -> Attempt {
    let mut names: Vec<String> =
        fs::read_dir(path)?.flatten().map(|e| e.file_name().to_string_lossy().into()).collect();
    names.sort();
    Ok(json!(names))
}

fn describe(meta: &fs::Metadata) -> Value {
    let kind = meta.file_type();
    let name = match () {
        () if kind.is_symlink() => "link",
        () if kind.is_dir() => "dir",
        () if kind.is_char_device() => "char",
        () if kind.is_block_device() => "block",
        () if kind.is_fifo() => "fifo",
        () if kind.is_socket() => "socket",
        () => "file",
    };
    json!({
        "type": name,
        "mode": format!("{:o}", meta.permissions().mode() & 0o7777),
        "uid": meta.uid(),
        "gid": meta.gid(),
        "major": libc::major(meta.rdev()),
        "minor": libc::minor(meta.rdev()),
        "size": meta.size(),
        "device": meta.dev(),
        "inode": meta.ino(),
    })
}

fn file_system_type(path: &str) -> Attempt {
    // SAFETY: statfs is plain data, for which zero is valid, and the call fills it.
    let (result, data) = unsafe {
        let mut data: libc::statfs = std::mem::zeroed();
        (libc::statfs(cstring(path).as_ptr(), &mut data), data)
    };
    check(result as i64)?;
    Ok(json!(format!("{:x}", data.f_type)))
}

fn open(path: &str, how: &str) -> Attempt {
    let mut options = fs::OpenOptions::new();
    options.read(how.contains('r')).write(how.contains('w')).open(path).map(|_| json!(true))
}

fn mknod(words: &[&str]) -> Attempt {
    let kind = match words[2] {
        "c" => libc::S_IFCHR,
        "b" => libc::S_IFBLK,
        _ => libc::S_IFIFO,
    };
    let device = libc::makedev(number(words[3]) as u32, number(words[4]) as u32);
    // SAFETY: a valid C string and integers.
    check(unsafe { libc::mknod(cstring(words[1]).as_ptr(), kind | 0o600, device) } as i64)
}

/// `mount SOURCE TARGET TYPE FLAGS`, flags as a number.
fn mount(words: &[&str]) -> Attempt {
    let (source, target, kind) = (cstring(words[1]), cstring(words[2]), cstring(words[3]));
    let flags = number(words[4]) as libc::c_ulong;
    // SAFETY: valid C strings; null data is allowed.
    check(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, std::ptr::null()) }
        as i64)
}

fn umount(path: &str) -> Attempt {
    // SAFETY: a valid C string.
    check(unsafe { libc::umount2(cstring(path).as_ptr(), libc::MNT_DETACH) } as i64)
}

/// Opens a pair from /dev/ptmx and gives the name of the other end.
fn pseudo_terminal() -> Attempt {
    let master = fs::OpenOptions::new().read(true).write(true).open("/dev/ptmx")?;
    let mut number = 0u32;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&master);
    // SAFETY: TIOCGPTN writes one unsigned int.
    check(unsafe { libc::ioctl(fd, libc::TIOCGPTN, &mut number as *mut u32) } as i64)?;
    let path = format!("/dev/pts/{number}");
    fs::metadata(&path)
        .map(|m| json!({"path": path, "gid": m.gid(), "mode": format!("{:o}", m.mode() & 0o777)}))
}

fn access(path: &str, how: &str) -> Attempt {
    let mode = how.bytes().fold(0, |mode, c| {
        mode | match c {
            b'r' => libc::R_OK,
            b'w' => libc::W_OK,
            _ => libc::X_OK,
        }
    });
    // SAFETY: a valid C string.
    check(unsafe { libc::access(cstring(path).as_ptr(), mode) } as i64)
}

/// Whether packets reach the own loopback address.
fn loopback() -> Attempt {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let address = socket.local_addr()?;
    std::net::UdpSocket::bind("127.0.0.1:0")?.send_to(b"x", address)?;
    socket.set_read_timeout(Some(std::time::Duration::from_secs(2)))?;
    let mut byte = [0; 1];
    socket.recv(&mut byte).map(|_| json!(true))
}

/// `syscall NR [ARG…]`: the result or the errno; only calls that take integers or null make sense.
fn raw(words: &[&str]) -> Attempt {
    let mut arguments = [0i64; 6];
    for (place, word) in arguments.iter_mut().zip(&words[2..]) {
        *place = number(word);
    }
    call(number(words[1]), arguments)
}

fn call(nr: i64, a: [i64; 6]) -> Attempt {
    // SAFETY: the kernel checks what it gets; the arguments are integers or null.
    check(unsafe { libc::syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]) })
}

fn check(result: i64) -> Attempt {
    if result == -1 { Err(Error::last_os_error()) } else { Ok(json!(result)) }
}

/// Touches that many MiB; the process is killed when its limit is lower.
fn allocate(mib: usize) -> usize {
    let mut memory = vec![0u8; mib << 20];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    memory.iter().map(|byte| *byte as usize).sum()
}

/// Starts that many children that live at once, says how many it could.
fn forks(count: i64) -> Attempt {
    let mut children = Vec::new();
    let mut error = None;
    for _ in 0..count {
        // SAFETY: the child only sleeps and exits; the process has one thread.
        match unsafe { libc::fork() } {
            0 => loop {
                std::thread::sleep(std::time::Duration::from_secs(5000));
            },
            -1 => error = Some(errno_name(&Error::last_os_error())),
            pid => children.push(pid),
        }
    }
    for pid in &children {
        // SAFETY: integers and a null status, which is allowed.
        unsafe {
            libc::kill(*pid, libc::SIGKILL);
            libc::waitpid(*pid, std::ptr::null_mut(), 0);
        }
    }
    Ok(json!({"made": children.len(), "err": error}))
}

/// sched_getattr(2) of the caller.
fn scheduler() -> Attempt {
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let mut now = Attributes::default();
    let size = std::mem::size_of::<Attributes>();
    // SAFETY: the kernel fills at most `size` bytes.
    check(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &mut now, size, 0) })?;
    let times = [now.runtime, now.deadline, now.period];
    Ok(
        json!({"policy": now.policy, "flags": now.flags, "nice": now.nice, "priority": now.priority, "times": times}),
    )
}

fn umask() -> String {
    // SAFETY: umask takes an integer and cannot fail.
    let mask = unsafe { libc::umask(0) };
    format!("{mask:o}")
}

fn clock(which: i32) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result.
    unsafe { libc::clock_gettime(which, &mut time) };
    time.tv_sec
}

/// The symbol of an error number; the number itself for rare ones.
fn errno_name(error: &Error) -> String {
    let Some(code) = error.raw_os_error() else {
        return if error.kind() == ErrorKind::WriteZero { "ESHORT".into() } else { format!("{error}") };
    };
    let names = [
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::ESRCH, "ESRCH"),
        (libc::EIO, "EIO"),
        (libc::ENXIO, "ENXIO"),
        (libc::EBADF, "EBADF"),
        (libc::ECHILD, "ECHILD"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EACCES, "EACCES"),
        (libc::EFAULT, "EFAULT"),
        (libc::EBUSY, "EBUSY"),
        (libc::EEXIST, "EEXIST"),
        (libc::ENODEV, "ENODEV"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::EISDIR, "EISDIR"),
        (libc::EINVAL, "EINVAL"),
        (libc::ENOTTY, "ENOTTY"),
        (libc::ETXTBSY, "ETXTBSY"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::EROFS, "EROFS"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::ELOOP, "ELOOP"),
        (libc::EOVERFLOW, "EOVERFLOW"),
        (libc::ENETDOWN, "ENETDOWN"),
        (libc::ECONNREFUSED, "ECONNREFUSED"),
    ];
    names.iter().find(|(n, _)| *n == code).map_or(format!("E{code}"), |(_, name)| name.to_string())
}
