//! Long-running roles inside a container (`trap`, `orphans`, `stdio`), and on the host the
//! preparations of a process that then becomes the runtime: `with-… -- PROGRAM ARG…`.

use crate::cstring;
use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicI32, Ordering};

static RECEIVED: AtomicI32 = AtomicI32::new(0);

extern "C" fn note(signal: i32) {
    RECEIVED.store(signal, Ordering::SeqCst);
}

/// Prints `ready`, then the number of every signal named, exits 0 after the last of them.
pub fn trap(signals: &[&str]) {
    let numbers: Vec<i32> = signals.iter().map(|s| s.parse().unwrap()).collect();
    for number in &numbers {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(*number, note as *const () as usize) };
    }
    say("ready");
    for _ in &numbers {
        while RECEIVED.load(Ordering::SeqCst) == 0 {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        say(&format!("signal {}", RECEIVED.swap(0, Ordering::SeqCst)));
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

/// Leaves grandchildren without a parent behind and sleeps.
pub fn orphans(count: i32) {
    for _ in 0..count {
        // SAFETY: the process has one thread; children only fork, sleep and exit.
        unsafe {
            if libc::fork() == 0 {
                if libc::fork() == 0 {
                    std::thread::sleep(std::time::Duration::from_secs(5000));
                }
                libc::_exit(0);
            }
        }
    }
    say("ready");
    std::thread::sleep(std::time::Duration::from_secs(5000));
}

/// Waits for a file, says a datagram on NOTIFY_SOCKET, and sleeps.
pub fn notify(file: &str, text: &str) {
    while !std::path::Path::new(file).exists() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
    socket.send_to(text.as_bytes(), std::env::var("NOTIFY_SOCKET").unwrap()).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(5000));
}

/// Gives back each line of standard input with `got ` before it, until the end of file.
pub fn echo_stdin() {
    for line in std::io::stdin().lock().lines() {
        say(&format!("got {}", line.unwrap()));
    }
    say("end");
}

/// Prints the size of the terminal now and after each SIGWINCH, for ever.
pub fn print_sizes() {
    // SAFETY: the handler only stores to an atomic.
    unsafe { libc::signal(libc::SIGWINCH, note as *const () as usize) };
    loop {
        let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: TIOCGWINSZ fills a winsize.
        unsafe { libc::ioctl(0, libc::TIOCGWINSZ, &mut size as *mut libc::winsize) };
        say(&format!("size {}x{}", size.ws_row, size.ws_col));
        while RECEIVED.swap(0, Ordering::SeqCst) == 0 {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

/// `with-tty -- …`, `with-umask 077 -- …`: prepares this process and executes the rest.
pub fn exec_with(verb: &str, words: &[&str]) {
    let split = words.iter().position(|w| *w == "--").expect("-- before the program");
    let argument = words[..split].first().copied().unwrap_or("");
    // SAFETY: plain integers; the strings live until the call is over; one thread.
    unsafe {
        match verb {
            "with-tty" => {
                libc::setsid();
                assert_eq!(libc::ioctl(0, libc::TIOCSCTTY, 0), 0, "TIOCSCTTY");
            }
            "with-session" => assert!(libc::setsid() > 0),
            "with-groups" => {
                let groups: Vec<u32> = argument.split(',').map(|n| n.parse().unwrap()).collect();
                assert_eq!(libc::setgroups(groups.len(), groups.as_ptr()), 0);
            }
            "with-umask" => {
                libc::umask(u32::from_str_radix(argument, 8).unwrap());
            }
            "with-ignored" => {
                argument.split(',').for_each(|n| {
                    libc::signal(n.parse().unwrap(), libc::SIG_IGN);
                });
            }
            "with-blocked" => block(argument),
            "with-enosys" => without_calls(argument),
            "with-einval" => without_flags(argument),
            "with-pdeathsig" => assert_eq!(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), 0),
            "with-fd" => leak(argument),
            "with-listen" => {
                leak(argument);
                std::env::set_var("LISTEN_FDS", "1");
                std::env::set_var("LISTEN_PID", std::process::id().to_string());
            }
            "with-nofile" => {
                let limit =
                    libc::rlimit { rlim_cur: argument.parse().unwrap(), rlim_max: argument.parse().unwrap() };
                assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
            }
            "with-oom" => std::fs::write("/proc/self/oom_score_adj", argument).unwrap(),
            "with-closed" => {
                argument.split(',').for_each(|n| {
                    libc::close(n.parse().unwrap());
                });
            }
            "with-cpu" => {
                let mut set: libc::cpu_set_t = std::mem::zeroed();
                libc::CPU_SET(argument.parse().unwrap(), &mut set);
                assert_eq!(libc::sched_setaffinity(0, std::mem::size_of_val(&set), &set), 0);
            }
            other => {
                eprintln!("payload: unknown verb {other}");
                std::process::exit(99);
            }
        }
    }
    exec(&words[split + 1..]);
}

/// Blocks the signals of a comma separated list.
///
/// # Safety
/// None beyond integers; unsafe for the C calls inside.
unsafe fn block(list: &str) {
    // SAFETY: sigset_t is plain data which sigemptyset initialises.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        list.split(',').for_each(|n| {
            libc::sigaddset(&mut set, n.parse().unwrap());
        });
        assert_eq!(libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()), 0);
    }
}

/// Makes system calls of a comma separated list of numbers answer ENOSYS, as an old kernel would.
///
/// # Safety
/// None beyond the C calls inside; the filter lives until it is loaded.
unsafe fn without_calls(list: &str) {
    let step = |code: u32, jt: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf: 0, k };
    let numbers: Vec<u32> = list.split(',').map(|n| n.parse().unwrap()).collect();
    let refuse = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let mut filter = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for (index, number) in numbers.iter().enumerate() {
        let over = numbers.len() - index;
        filter.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, over as u8, *number));
    }
    filter.push(step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW));
    filter.push(step(libc::BPF_RET | libc::BPF_K, 0, refuse));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its length describe the vector, which outlives the call.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program), 0, "seccomp");
    }
}

/// `CALL,INDEX,MASK`: the system call with that number answers EINVAL when its argument INDEX has a bit
/// of MASK, as an older kernel would that does not know the flag.
///
/// # Safety
/// None beyond the C calls inside; the filter lives until it is loaded.
unsafe fn without_flags(list: &str) {
    let numbers: Vec<u32> = list.split(',').map(|n| n.parse().unwrap()).collect();
    let [call, index, mask] = numbers[..] else { panic!("with-einval CALL,INDEX,MASK") };
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let mut filter = [
        step(load, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 2, call),
        // The low half of the argument (struct seccomp_data).
        step(load, 0, 0, 16 + 8 * index),
        step(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 1, 0, mask),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its length describe the array, which outlives the call.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program), 0, "seccomp");
    }
}

/// Opens the file on the descriptors of a comma separated list `PATH,N,N…`, all inheritable.
///
/// # Safety
/// None beyond integers; unsafe for the C calls inside.
unsafe fn leak(list: &str) {
    let mut words = list.split(',');
    let path = cstring(words.next().unwrap());
    // SAFETY: a valid C string and integers.
    unsafe {
        let low = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        assert!(low >= 0, "open {path:?}");
        let fd = libc::fcntl(low, libc::F_DUPFD_CLOEXEC, 900);
        libc::close(low);
        words.for_each(|n| assert!(libc::dup2(fd, n.parse().unwrap()) >= 0));
    }
}

/// execv(3) itself: the standard library would reset signals first.
fn exec(words: &[&str]) {
    let strings: Vec<std::ffi::CString> = words.iter().map(|w| cstring(w)).collect();
    let mut pointers: Vec<*const libc::c_char> = strings.iter().map(|s| s.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: a null-terminated array of C strings that outlive the call.
    unsafe { libc::execv(pointers[0], pointers.as_ptr()) };
    eprintln!("payload: exec {}: {}", words[0], std::io::Error::last_os_error());
    std::process::exit(98);
}
