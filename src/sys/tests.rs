//! The error path of every wrapper: what the kernel refuses arrives as its error number, and nothing
//! that was given is lost. What changes the process is done in a child.

use super::leave::{After, Arg, Place, Script};
use super::spawn::{Program, deny, in_child, start};
use super::{bpf, clone, exe, mount, netlink, process, pty, signal};
use crate::bundle::plan::Scheduler;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

fn null() -> OwnedFd {
    crate::hostfs::open("/dev/null", OFlags::RDWR).unwrap()
}

fn own_pidfd() -> OwnedFd {
    let flags = rustix::process::PidfdFlags::empty();
    rustix::process::pidfd_open(rustix::process::getpid(), flags).unwrap()
}

#[track_caller]
fn fails<T>(result: io::Result<T>, errors: &[i32]) {
    let error = result.err().and_then(|e| e.raw_os_error());
    assert!(error.is_some_and(|e| errors.contains(&e)), "{error:?} is not one of {errors:?}");
}

#[track_caller]
fn refused<T>(result: Result<T, Errno>, error: Errno) {
    assert_eq!(result.err(), Some(error));
}

/// The same in a child in which these calls are unknown.
#[track_caller]
fn unknown(calls: &[libc::c_long], test: impl FnOnce()) {
    let status = in_child(|| {
        deny(calls);
        test();
    });
    assert_eq!(status, 0);
}

#[test]
fn device_programs() {
    // Without instructions there is no program; /dev/null is neither a cgroup nor a program.
    assert!(bpf::load_device_program(&[], "none").is_err());
    let (cgroup, program) = (null(), null());
    assert!(bpf::attach(cgroup.as_fd(), program.as_fd(), None).is_err());
    assert!(bpf::attach(cgroup.as_fd(), program.as_fd(), Some(program.as_fd())).is_err());
    assert!(bpf::detach(cgroup.as_fd(), program.as_fd()).is_err());
    assert!(bpf::attached(cgroup.as_fd()).is_err());
}

#[test]
fn clones_and_namespaces() {
    fails(clone::clone3(libc::CLONE_THREAD as u64, None), &[libc::EINVAL]);
    fails(clone::clone3(0, Some(&null())), &[libc::EBADF]);
    fails(clone::setns(null(), libc::CLONE_NEWNET as u64), &[libc::EINVAL]);
    fails(clone::unshare(libc::CLONE_PARENT as u64), &[libc::EINVAL]);
    fails(clone::namespace_type(null()), &[libc::ENOTTY]);
}

#[test]
fn parting_from_the_executable() {
    unknown(&[libc::SYS_memfd_create], || {
        fails(exe::part_from_executable(false), &[libc::ENOSYS]);
    });
    // Who is not root of its user namespace yet keeps the second half for later.
    let status = in_child(|| {
        let nobody = rustix::process::Uid::from_raw(65_534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        process::prctl(libc::PR_SET_DUMPABLE, 1).unwrap();
        fails(exe::part_from_executable(false), &[libc::EPERM]);
        let parting = exe::part_from_executable(true).unwrap().expect("the second half");
        fails(parting.finish(), &[libc::EPERM]);
        fails(rustix::io::write(parting.fd(), b"x").map_err(io::Error::from), &[libc::EPERM]);
    });
    assert_eq!(status, 0);
}

/// The exit status of a child that keeps all descriptors.
fn forked(test: impl FnOnce()) -> i32 {
    // SAFETY: as in `in_child`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        test();
        process::exit_now(99);
    }
    let mut status = 0;
    // SAFETY: waits for the child just made; the pointer lives during the call.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    libc::WEXITSTATUS(status) + 256 * libc::WTERMSIG(status)
}

/// A message for the case that a step fails: a byte, the error number, the step.
fn failure(script: &mut Script) -> (Arg, Arg) {
    let text = script.bytes(b"f.....");
    let part = script.words(&[text, Arg::Value(6)]);
    let zero = Arg::Value(0);
    (script.words(&[zero, zero, part, Arg::Value(1), zero, zero, zero]), text)
}

fn number(fd: &OwnedFd) -> u64 {
    std::os::fd::AsRawFd::as_raw_fd(fd) as u64
}

/// What a child says that does a script: its bytes, and its exit status.
fn said(make: impl FnOnce(&mut Script, Arg)) -> (Vec<u8>, i32) {
    let (read, write) = rustix::pipe::pipe().unwrap();
    let status = forked(|| {
        let mut script = Script::default();
        let (failure, text) = failure(&mut script);
        make(&mut script, Arg::Value(number(&write)));
        let _ = script.run(number(&write), failure, text);
    });
    drop(write);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(read), &mut bytes).unwrap();
    (bytes, status)
}

/// Says one byte.
fn say(script: &mut Script, to: Arg, byte: u8) {
    let text = script.bytes(&[byte]);
    script.call(libc::SYS_write, &[to, text, Arg::Value(1)], After::Equals(1));
}

fn end(script: &mut Script, status: u64) {
    script.call(libc::SYS_exit_group, &[Arg::Value(status)], After::Must);
}

#[test]
fn last_steps_go_on_without_the_program() {
    let (bytes, status) = said(|script, to| {
        script.let_go();
        say(script, to, b'a');
        // An error that may be; one that would skip what comes next, and a success that does.
        script.call(libc::SYS_close, &[Arg::Value(9_999)], After::May);
        script.call(libc::SYS_close, &[Arg::Value(9_999)], After::Skip(1));
        say(script, to, b'b');
        script.call(libc::SYS_getpid, &[], After::Skip(1));
        say(script, to, b'x');
        // Results become arguments and data.
        script.call(libc::SYS_dup, &[to], After::Must);
        let text = script.bytes(b"c.......d");
        script.store(Place::FirstArgument(1));
        script.store(Place::At(match text {
            Arg::At(at) => at,
            Arg::Value(_) => unreachable!(),
        }));
        script.call(libc::SYS_write, &[Arg::Value(0), text, Arg::Value(9)], After::Equals(9));
        script.compare(text, 0xff);
        end(script, 0);
    });
    // The last comparison failed; a pipe takes no message, so nothing more is there.
    assert_eq!((bytes.len(), status), (2 + 9, 1));
    assert_eq!((&bytes[..2], bytes[10]), (&b"ab"[..], b'd'));
}

#[test]
fn last_steps_clone() {
    let (bytes, status) = said(|script, to| {
        script.let_go();
        let flags = (libc::CLONE_VM | libc::CLONE_VFORK) as u64;
        let mut args = [Arg::Value(0); 8];
        (args[0], args[4]) = (Arg::Value(flags), Arg::Value(libc::SIGCHLD as u64));
        let args = script.words(&args);
        script.call(libc::SYS_clone3, &[args, Arg::Value(64)], After::ZeroSkips(2));
        say(script, to, b'2');
        end(script, 7);
        say(script, to, b'1');
        end(script, 0);
    });
    assert_eq!((bytes.as_slice(), status), (&b"12"[..], 7));
}

#[test]
fn a_last_step_that_fails_is_told() {
    let (ours, theirs) = crate::init::sync::Channel::pair().unwrap();
    // The child waits until it need not be looked at any more.
    ours.say_no_more().unwrap();
    let status = forked(|| {
        let mut script = Script::default();
        let (failure, text) = failure(&mut script);
        script.let_go();
        script.name(42);
        script.call(libc::SYS_close, &[Arg::Value(9_999)], After::Must);
        let _ = script.run(number(theirs.fd()), failure, text);
    });
    let mut told = [0; 16];
    let (length, _) = rustix::net::recv(ours.fd(), &mut told, rustix::net::RecvFlags::empty()).unwrap();
    let errno = libc::EBADF.to_le_bytes();
    assert_eq!(told[..length], [b'f', errno[0], errno[1], errno[2], errno[3], 42]);
    assert_eq!(status, 1);
}

#[test]
fn last_steps_need_memory() {
    let status = in_child(|| {
        process::set_rlimit(0, libc::RLIMIT_AS, 0, 0).unwrap();
        let (mut script, nothing) = (Script::default(), Arg::Value(0));
        script.call(libc::SYS_exit_group, &[Arg::Value(9)], After::Must);
        fails(script.run(0, nothing, nothing), &[libc::ENOMEM]);
        fails(clone::told_pid(), &[libc::ENOMEM]);
    });
    assert_eq!(status, 0);
    unknown(&[libc::SYS_memfd_create], || fails(exe::empty_sealed_file(), &[libc::ENOSYS]));
}

#[test]
fn mounts() {
    let change = mount::Change { set: u64::from(mount::MOUNT_ATTR_RDONLY), ..mount::Change::default() };
    fails(mount::mount_setattr(null(), change), &[libc::EINVAL]);
    fails(mount::mount_idmap(null(), null(), false), &[libc::EINVAL]);
    fails(mount::mount_flags(c"/nowhere", libc::MS_PRIVATE), &[libc::ENOENT]);
    assert!(mount::probe_mount_setattr());
    unknown(&[libc::SYS_mount_setattr], || assert!(!mount::probe_mount_setattr()));
}

#[test]
fn sockets_and_terminals() {
    fails(netlink::extended_ack(null()), &[libc::ENOTSOCK]);
    fails(process::loopback_up(null()), &[libc::ENOTTY]);
    let status = in_child(|| {
        let above_two = rustix::io::fcntl_dupfd_cloexec(null(), 10).unwrap();
        refused(pty::attach(above_two), Errno::NOTTY);
        deny(&[libc::SYS_dup3]);
        refused(pty::connect(null()), Errno::NOSYS);
    });
    assert_eq!(status, 0);
}

#[test]
fn programs_and_descriptors() {
    fails(process::real_path(c"/nowhere/.."), &[libc::ENOENT]);
    assert_eq!(process::execve(c"/nowhere", &[], &[]), Errno::NOENT);
    unknown(&[libc::SYS_close_range], || {
        fails(process::cloexec_from(3), &[libc::ENOSYS]);
        let mut keep = vec![0, 1, 2];
        fails(process::close_all_but(&mut keep), &[libc::ENOSYS]);
    });
    assert!(!process::is_inherited(-1) && !process::is_inherited(1_000_000));
}

#[test]
fn processes() {
    fails(process::pidfd_send_signal(null(), 0), &[libc::EBADF]);
    fails(process::pidfd_send_signal(own_pidfd(), 65), &[libc::EINVAL]);
    fails(process::wait_pidfd(own_pidfd()), &[libc::ECHILD]);
    fails(process::wait_pidfd(null()), &[libc::EBADF]);
    fails(process::prctl(-1, 0), &[libc::EINVAL]);
    fails(process::ambient(libc::PR_CAP_AMBIENT_RAISE, 63), &[libc::EINVAL]);
    // More effective than permitted.
    fails(process::capset(1, 0, 0), &[libc::EPERM]);
    fails(process::set_rlimit(0, libc::RLIMIT_NOFILE, 2, 1), &[libc::EINVAL]);
    fails(process::set_rlimit(0, 99, 1, 1), &[libc::EINVAL]);
    fails(process::get_rlimit(99), &[libc::EINVAL]);
    let scheduler =
        Scheduler { policy: 99, flags: 0, nice: 0, priority: 0, runtime: 0, deadline: 0, period: 0 };
    fails(process::sched_setattr(&scheduler), &[libc::EINVAL]);
    fails(process::set_io_priority(u16::MAX), &[libc::EINVAL]);
    fails(process::set_mempolicy(99, &[]), &[libc::EINVAL, libc::ENOSYS]);
    unknown(&[libc::SYS_personality, libc::SYS_keyctl], || {
        fails(process::personality(0), &[libc::ENOSYS]);
        fails(process::join_session_keyring(c"_ses.x"), &[libc::ENOSYS]);
    });
    let long = "x".repeat(65);
    fails(process::sethostname(&long), &[libc::EINVAL]);
    fails(process::setdomainname(&long), &[libc::EINVAL]);
}

#[test]
fn filters() {
    fails(process::seccomp(&[], 0), &[libc::EINVAL]);
    fails(process::seccomp(&[], 1 << 30), &[libc::EINVAL]);
    fails(process::seccomp_listener(&[], 0), &[libc::EINVAL]);
    assert!(!process::seccomp_has_flag(1 << 30));
}

#[test]
fn signals() {
    refused(signal::set_default(0), Errno::INVAL);
    refused(signal::set_default(signal::LAST + 1), Errno::INVAL);
    let write_only = crate::hostfs::open("/dev/null", OFlags::WRONLY).unwrap();
    refused(signal::next(&write_only), Errno::BADF);
    refused(signal::send(null().as_fd(), libc::SIGTERM), Errno::BADF);
    unknown(&[libc::SYS_rt_sigprocmask], || {
        refused(signal::set_mask(signal::Set::NONE), Errno::NOSYS);
        refused(signal::block_all(), Errno::NOSYS);
        refused(signal::block(signal::Set::ALL), Errno::NOSYS);
    });
    unknown(&[libc::SYS_rt_sigaction, libc::SYS_signalfd4], || {
        refused(signal::reset_for_exec(), Errno::NOSYS);
        refused(signal::default_dispositions(), Errno::NOSYS);
        refused(signal::is_ignored(libc::SIGINT), Errno::NOSYS);
        assert_eq!(signal::PipeIgnored::new().err(), Some(Errno::NOSYS));
        refused(signal::descriptor(signal::Set::ALL), Errno::NOSYS);
    });
}

#[test]
fn programs_that_cannot_be_started() {
    let status = in_child(|| {
        let null = null();
        let stdio = [null.as_fd(); 3];
        let env: [CString; 0] = [];
        let args = [CString::from(c"x")];
        let program =
            |path, cwd| Program { path, args: &args, env: &env, cwd, stdio, ends_with_caller: false };
        for (path, cwd, step) in
            [(c"/nowhere", None, "execute"), (c"/bin/true", Some(c"/nowhere"), "change directory")]
        {
            let child = start(&program(path, cwd)).unwrap();
            assert_ne!(process::wait_pidfd(&child.pidfd).unwrap(), process::Exit::Code(0));
            let refusal = child.refusal().expect("it was not executed");
            assert_eq!((refusal.step, refusal.errno), (step, Errno::NOENT));
        }
        deny(&[libc::SYS_clone3, libc::SYS_clone]);
        assert_eq!(start(&program(c"/bin/true", None)).err(), Some(Errno::NOSYS));
    });
    assert_eq!(status, 0);
}

#[test]
fn the_start_opens_what_is_missing() {
    refused(signal::ignore(libc::SIGKILL), Errno::INVAL);
    unknown(&[libc::SYS_rt_sigaction], || fails(super::start::prepare(), &[libc::ENOSYS]));
    let status = in_child(|| {
        // SAFETY: nobody in this child uses the descriptor.
        assert_eq!(unsafe { libc::close(0) }, 0);
        super::start::prepare().unwrap();
        let stat = rustix::fs::fstat(std::io::stdin()).unwrap();
        assert_eq!(stat.st_rdev, rustix::fs::fstat(null()).unwrap().st_rdev);
    });
    assert_eq!(status, 0);
}

/// Every wrapper that can fail is called here where it fails: on one line with what sees the error.
#[test]
fn no_wrapper_is_left_out() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sys");
    let here = std::fs::read_to_string(directory.join("tests.rs")).unwrap();
    let sees = ["fails(", "refused(", ".is_err()", ".err()"];
    let failures: Vec<&str> =
        here.lines().filter(|line| sees.iter().any(|word| line.contains(word))).collect();
    for entry in std::fs::read_dir(&directory).unwrap().flatten() {
        let source = std::fs::read_to_string(entry.path()).unwrap();
        let name = entry.file_name().to_string_lossy().trim_end_matches(".rs").to_string();
        let functions = source.split("pub fn ").skip(1).filter_map(|rest| {
            let signature = rest.split('{').next()?;
            signature.contains("Result<").then(|| signature.split('(').next().unwrap_or_default())
        });
        for function in functions {
            let called =
                ["{name}::", ".", " ", "("].map(|before| before.replace("{name}", &name) + function + "(");
            let special = (name.as_str(), function) == ("signal", "new");
            assert!(
                special || failures.iter().any(|line| called.iter().any(|call| line.contains(call.as_str()))),
                "sys::{name}::{function} has no test of its error"
            );
        }
    }
}
