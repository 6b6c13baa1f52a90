//! The floor: what the kernel asks for a container, with no runtime around it. It does one script of
//! system calls, a line each, fields parted by tabs; `bench` writes the scripts, with everything
//! that a runtime has to find out already decided: no JSON, no checks, nothing looked for, nothing
//! undone. What it takes is what no runtime can go below.
//!
//! A script is straight: after `clone` the child goes on with the next line and never passes `exec`,
//! the caller goes on after the line `parent`. The C library's start is part of the time, as it is of
//! any program's; the scenario "an empty program" shows how much that is.
#![allow(clippy::disallowed_methods)]
#![no_main]

use libc::{c_char, c_int, c_long};

/// Longest script, in bytes.
const MOST: usize = 4 << 20;

/// The fields of a line.
type Line<'a> = &'a [&'a [u8]];

/// What lines leave for later ones.
#[derive(Default)]
struct State {
    /// `tasks` files of cgroup v1, opened.
    tasks: Vec<usize>,
    /// The cgroup2 directory to be cloned into.
    into: Option<usize>,
    /// The child, or the process that `pidfd` opened, and its pidfd.
    pid: usize,
    pidfd: usize,
    /// The pipe that says Ready, and the fifo that says Start.
    ready: [c_int; 2],
    fifo: usize,
    /// The terminal's slave end.
    terminal: usize,
    /// The filter's instructions.
    code: Vec<u8>,
    /// What is executed with.
    env: Vec<usize>,
}

/// `floor SCRIPT`: 0 when all of it was done.
///
/// # Safety
/// Called by the C library alone, with its arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    if argc < 2 {
        return 0;
    }
    // SAFETY: the C library passes argc pointers to strings that live as long as the process.
    let path = unsafe { *argv.add(1) } as usize;
    let script = read_script(path);
    let mut state = State::default();
    let mut skipping = false;
    for line in script.split_mut(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let fields = split(line);
        if skipping {
            skipping = fields[0] != b"parent\0";
            continue;
        }
        skipping = step(&mut state, &fields);
    }
    0
}

/// The file's lines; a null byte follows each in place of the newline once it was split.
fn read_script(path: usize) -> &'static mut [u8] {
    let file = call(&[b"open\0"], libc::SYS_open, [path, 0, 0, 0, 0, 0]);
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let place = call(&[b"map\0"], libc::SYS_mmap, [0, MOST, protection, flags, usize::MAX, 0]);
    let length = call(&[b"read\0"], libc::SYS_read, [file, place, MOST - 1, 0, 0, 0]);
    call(&[b"close\0"], libc::SYS_close, [file, 0, 0, 0, 0, 0]);
    // SAFETY: the mapping is MOST bytes long, was just made, and nobody else knows it.
    unsafe { std::slice::from_raw_parts_mut(place as *mut u8, length) }
}

/// The fields of a line, each with a null byte at its end: the script ends each field with `\0`
/// before the tab, and each line too.
fn split(line: &[u8]) -> Vec<&[u8]> {
    line.split(|b| *b == b'\t').collect()
}

fn address(field: &[u8]) -> usize {
    // A dash is no string at all.
    if field == b"-\0" { 0 } else { field.as_ptr() as usize }
}

fn number(field: &[u8]) -> usize {
    field.iter().take_while(|b| b.is_ascii_digit()).fold(0, |n, b| n * 10 + usize::from(b - b'0'))
}

/// One system call; what fails ends the process.
fn call(what: Line, id: c_long, a: [usize; 6]) -> usize {
    // SAFETY: addresses are those of null-terminated fields of the script or of local variables that
    // outlive the call; the process has one thread.
    let result = unsafe { libc::syscall(id, a[0], a[1], a[2], a[3], a[4], a[5]) };
    if result < 0 {
        let error = std::io::Error::last_os_error();
        let text = format!("floor: {}: {error}\n", name(what));
        // SAFETY: the text lives during the call, and the process ends here.
        unsafe {
            libc::write(2, text.as_ptr().cast(), text.len());
            libc::_exit(1)
        }
    }
    result as usize
}

fn name(fields: &[&[u8]]) -> String {
    let words: Vec<_> = fields.iter().map(|f| String::from_utf8_lossy(f).replace('\0', "")).collect();
    words.join(" ")
}

/// One line; true when the caller goes on after `parent`.
fn step(state: &mut State, f: Line) -> bool {
    let (text, num) = (|i: usize| address(f[i]), |i: usize| number(f[i]));
    let run = |id, a: &[usize]| {
        let mut args = [0; 6];
        args[..a.len()].copy_from_slice(a);
        call(f, id, args)
    };
    const HERE: usize = libc::AT_FDCWD as usize;
    match &f[0][..f[0].len() - 1] {
        b"mkdir" => {
            run(libc::SYS_mkdirat, &[HERE, text(1), num(2)]);
        }
        b"rmdir" => {
            run(libc::SYS_unlinkat, &[HERE, text(1), libc::AT_REMOVEDIR as usize]);
        }
        b"unlink" => {
            run(libc::SYS_unlinkat, &[HERE, text(1)]);
        }
        b"write" => write_file(f, text(1), f[2]),
        b"cat" => cat(f, text(1)),
        b"mount" => {
            run(libc::SYS_mount, &[text(1), text(2), text(3), num(4), text(5)]);
        }
        b"mknod" => {
            run(libc::SYS_mknodat, &[HERE, text(1), num(2), num(3)]);
        }
        b"symlink" => {
            run(libc::SYS_symlinkat, &[text(1), HERE, text(2)]);
        }
        b"pivot" => pivot(f, text(1)),
        b"hostname" => {
            run(libc::SYS_sethostname, &[text(1), f[1].len() - 1]);
        }
        b"unshare" => {
            run(libc::SYS_unshare, &[num(1)]);
        }
        b"loopback" => loopback(f),
        b"keyring" => {
            run(libc::SYS_keyctl, &[libc::KEYCTL_JOIN_SESSION_KEYRING as usize, text(1)]);
        }
        b"setsid" => {
            run(libc::SYS_setsid, &[]);
        }
        b"umask" => {
            run(libc::SYS_umask, &[num(1)]);
        }
        b"chdir" => {
            run(libc::SYS_chdir, &[text(1)]);
        }
        b"rlimit" => {
            let limit = [num(2), num(3)];
            run(libc::SYS_prlimit64, &[0, num(1), limit.as_ptr() as usize, 0]);
        }
        b"bounding" => {
            for capability in (0..=num(1)).filter(|c| num(2) & (1 << c) == 0) {
                run(libc::SYS_prctl, &[libc::PR_CAPBSET_DROP as usize, capability]);
            }
        }
        b"nonewprivs" => {
            run(libc::SYS_prctl, &[libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0]);
        }
        b"groups" => {
            let groups: Vec<u32> = f[1..].iter().map(|g| number(g) as u32).collect();
            run(libc::SYS_setgroups, &[groups.len(), groups.as_ptr() as usize]);
        }
        b"capset" => capset(f, num(1)),
        b"load-filter" => state.code = read_code(f, text(1)),
        b"filter" => filter(f, &mut state.code),
        b"tasks" => state.tasks.push(run(libc::SYS_openat, &[HERE, text(1), FLAGS_WRITE])),
        b"into" => state.into = Some(run(libc::SYS_openat, &[HERE, text(1), FLAGS_DIRECTORY])),
        b"enter" => {
            for tasks in &state.tasks {
                run(libc::SYS_write, &[*tasks, c"0".as_ptr() as usize, 1]);
            }
        }
        b"clone" => return clone(f, state, num(1)),
        b"parent" => die("the child passed the end of its part"),
        b"wait" => wait_child(f, state.pid),
        b"ready" => {
            run(libc::SYS_pipe2, &[(&raw mut state.ready) as usize, libc::O_CLOEXEC as usize]);
        }
        b"say-ready" => {
            run(libc::SYS_write, &[state.ready[1] as usize, c"r".as_ptr() as usize, 1]);
        }
        b"await-ready" => {
            let byte = [0u8];
            run(libc::SYS_read, &[state.ready[0] as usize, byte.as_ptr() as usize, 1]);
        }
        b"await-exec" => {
            close(state.ready[1] as usize);
            let byte = [0u8];
            run(libc::SYS_read, &[state.ready[0] as usize, byte.as_ptr() as usize, 1]);
        }
        b"fifo" => {
            run(libc::SYS_mknodat, &[HERE, text(1), libc::S_IFIFO as usize | 0o600]);
            state.fifo = run(libc::SYS_openat, &[HERE, text(1), FLAGS_BOTH]);
        }
        b"await-start" => {
            let byte = [0u8];
            run(libc::SYS_read, &[state.fifo, byte.as_ptr() as usize, 1]);
        }
        b"say-start" => write_file(f, text(1), b"s\0"),
        b"save-pid" => write_new(f, text(1), format!("{}", state.pid).as_bytes()),
        b"pidfd" => {
            state.pid = saved_pid(f, text(1));
            state.pidfd = run(libc::SYS_pidfd_open, &[state.pid]);
        }
        b"stat" => cat(f, format!("/proc/{}/stat\0", saved_pid(f, text(1))).as_ptr() as usize),
        b"setns" => {
            run(libc::SYS_setns, &[state.pidfd, num(1)]);
        }
        b"signal" => {
            run(libc::SYS_pidfd_send_signal, &[state.pidfd, num(1)]);
        }
        b"await-end" => {
            let mut poll = libc::pollfd { fd: state.pidfd as c_int, events: libc::POLLIN, revents: 0 };
            run(libc::SYS_ppoll, &[(&raw mut poll) as usize, 1]);
        }
        b"await-text" => await_text(f, text(1), f[2]),
        b"open-terminal" => state.terminal = open_terminal(f),
        b"take-terminal" => take_terminal(f, state.terminal),
        b"env" => state.env.extend(f[1..].iter().map(|e| e.as_ptr() as usize)),
        b"exec" => {
            state.env.push(0);
            let args: Vec<usize> = f[1..].iter().map(|a| address(a)).chain([0]).collect();
            run(libc::SYS_execve, &[args[0], args.as_ptr() as usize, state.env.as_ptr() as usize]);
        }
        _ => die(&name(f)),
    }
    false
}

const FLAGS_WRITE: usize = (libc::O_WRONLY | libc::O_CLOEXEC) as usize;
const FLAGS_READ: usize = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
const FLAGS_BOTH: usize = (libc::O_RDWR | libc::O_CLOEXEC) as usize;
const FLAGS_DIRECTORY: usize = (libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) as usize;

fn die(what: &str) -> ! {
    let text = format!("floor: {what}\n");
    // SAFETY: the text lives during the call, and the process ends here.
    unsafe {
        libc::write(2, text.as_ptr().cast(), text.len());
        libc::_exit(1)
    }
}

fn open(what: Line, path: usize, flags: usize) -> usize {
    call(what, libc::SYS_openat, [libc::AT_FDCWD as usize, path, flags, 0o600, 0, 0])
}

fn close(fd: usize) {
    call(&[b"close\0"], libc::SYS_close, [fd, 0, 0, 0, 0, 0]);
}

fn write_file(what: Line, path: usize, value: &[u8]) {
    let fd = open(what, path, FLAGS_WRITE);
    call(what, libc::SYS_write, [fd, value.as_ptr() as usize, value.len() - 1, 0, 0, 0]);
    close(fd);
}

fn write_new(what: Line, path: usize, value: &[u8]) {
    let fd = open(what, path, FLAGS_WRITE | (libc::O_CREAT | libc::O_TRUNC) as usize);
    call(what, libc::SYS_write, [fd, value.as_ptr() as usize, value.len(), 0, 0, 0]);
    close(fd);
}

/// The beginning of a file.
fn read_file(what: Line, path: usize) -> ([u8; 4096], usize) {
    let mut buffer = [0; 4096];
    let fd = open(what, path, FLAGS_READ);
    let length = call(what, libc::SYS_read, [fd, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0]);
    close(fd);
    (buffer, length)
}

fn cat(what: Line, path: usize) {
    let (buffer, length) = read_file(what, path);
    call(what, libc::SYS_write, [1, buffer.as_ptr() as usize, length, 0, 0, 0]);
}

fn saved_pid(what: Line, path: usize) -> usize {
    number(&read_file(what, path).0)
}

/// Reads a file until it holds the text.
fn await_text(what: Line, path: usize, wanted: &[u8]) {
    let wanted = &wanted[..wanted.len() - 1];
    loop {
        let (buffer, length) = read_file(what, path);
        if buffer[..length].windows(wanted.len()).any(|w| w == wanted) {
            return;
        }
    }
}

fn pivot(what: Line, root: usize) {
    let old = open(what, c"/".as_ptr() as usize, FLAGS_DIRECTORY);
    let dot = c".".as_ptr() as usize;
    call(what, libc::SYS_chdir, [root, 0, 0, 0, 0, 0]);
    call(what, libc::SYS_pivot_root, [dot, dot, 0, 0, 0, 0]);
    call(what, libc::SYS_fchdir, [old, 0, 0, 0, 0, 0]);
    let slave = (libc::MS_SLAVE | libc::MS_REC) as usize;
    call(what, libc::SYS_mount, [0, dot, 0, slave, 0, 0]);
    call(what, libc::SYS_umount2, [dot, libc::MNT_DETACH as usize, 0, 0, 0, 0]);
    call(what, libc::SYS_chdir, [c"/".as_ptr() as usize, 0, 0, 0, 0, 0]);
    close(old);
}

fn loopback(what: Line) {
    let kind = (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC) as usize;
    let socket = call(what, libc::SYS_socket, [libc::AF_INET as usize, kind, 0, 0, 0, 0]);
    let mut request = [0u8; 40];
    request[..2].copy_from_slice(b"lo");
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    let address = request.as_ptr() as usize;
    call(what, libc::SYS_ioctl, [socket, libc::SIOCSIFFLAGS as usize, address, 0, 0, 0]);
    close(socket);
}

/// The same mask as effective and permitted set.
fn capset(what: Line, mask: usize) {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let (low, high) = (mask as u32, (mask >> 32) as u32);
    let data = [low, low, 0, high, high, 0];
    call(what, libc::SYS_capset, [header.as_ptr() as usize, data.as_ptr() as usize, 0, 0, 0, 0]);
}

/// A file of finished instructions.
fn read_code(what: Line, path: usize) -> Vec<u8> {
    let mut code = vec![0u8; 4096 * 8];
    let fd = open(what, path, FLAGS_READ);
    let length = call(what, libc::SYS_read, [fd, code.as_mut_ptr() as usize, code.len(), 0, 0, 0]);
    close(fd);
    code.truncate(length);
    code
}

fn filter(what: Line, code: &mut [u8]) {
    let program = libc::sock_fprog { len: (code.len() / 8) as u16, filter: code.as_mut_ptr().cast() };
    let mode = libc::SECCOMP_SET_MODE_FILTER as usize;
    call(what, libc::SYS_seccomp, [mode, 0, (&raw const program) as usize, 0, 0, 0]);
}

/// clone3(2) with a pidfd; true in the caller.
fn clone(what: Line, state: &mut State, flags: usize) -> bool {
    let mut pidfd: c_int = -1;
    let mut flags = flags as u64 | libc::CLONE_PIDFD as u64;
    let cgroup = state.into.unwrap_or(0) as u64;
    if state.into.is_some() {
        const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
        flags |= CLONE_INTO_CGROUP;
    }
    let args = [flags, (&raw mut pidfd) as u64, 0, 0, libc::SIGCHLD as u64, 0, 0, 0, 0, 0, cgroup];
    let pid = call(what, libc::SYS_clone3, [args.as_ptr() as usize, size_of_val(&args), 0, 0, 0, 0]);
    if pid == 0 {
        return false;
    }
    state.pid = pid;
    state.pidfd = pidfd as usize;
    for tasks in std::mem::take(&mut state.tasks) {
        close(tasks);
    }
    true
}

fn wait_child(what: Line, pid: usize) {
    let mut status: c_int = 0;
    call(what, libc::SYS_wait4, [pid, (&raw mut status) as usize, 0, 0, 0, 0]);
    if status != 0 {
        die(&format!("{}: the child ended with status {status:#x}", name(what)));
    }
}

/// A new terminal of the container's devpts; the caller keeps the master end, so that it lives.
fn open_terminal(what: Line) -> usize {
    let flags = FLAGS_BOTH | libc::O_NOCTTY as usize;
    let master = open(what, c"/dev/pts/ptmx".as_ptr() as usize, flags);
    let mut locked: c_int = 0;
    let address = (&raw mut locked) as usize;
    call(what, libc::SYS_ioctl, [master, libc::TIOCSPTLCK as usize, address, 0, 0, 0]);
    call(what, libc::SYS_ioctl, [master, libc::TIOCGPTPEER as usize, flags, 0, 0, 0])
}

/// Makes it descriptors 0 to 2 and the controlling terminal.
fn take_terminal(what: Line, slave: usize) {
    call(what, libc::SYS_ioctl, [slave, libc::TIOCSCTTY as usize, 0, 0, 0, 0]);
    for target in 0..3 {
        call(what, libc::SYS_dup3, [slave, target, 0, 0, 0, 0]);
    }
}
