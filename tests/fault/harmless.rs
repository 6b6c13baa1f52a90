//! What a command may do after a fault other than fail and say so, and why. A success is believed only
//! when all that can be seen then is as it is without a fault (`Scenario::observe`).
#![allow(non_upper_case_globals)]

use crate::tracer::{Action, Call};
use libc::*;

/// How many calls the C library makes before the program's first line.
const START_UP: usize = 6;

/// Why a command may succeed although this call failed; none: it may not.
pub fn reason(role: &str, index: usize, call: &Call, action: Action) -> Option<&'static str> {
    if action == Action::Kill {
        return match role {
            _ if call.number == SYS_exit_group => Some("it had done everything"),
            "host/1" => Some("the owner of an id map only has to be there for a moment"),
            "init" => Some("its parent had reaped it: whether it had executed its program cannot be seen"),
            _ => None,
        };
    }
    if role == "host" && index < START_UP {
        return Some("start-up code of the C library, which goes on without");
    }
    if role == "host/1" {
        return Some("the owner of an id map only has to be there for a moment");
    }
    let cgroup = call.object.starts_with("/sys/fs/cgroup") || call.object.ends_with("/cgroup");
    match call.number {
        SYS_rt_sigaction => Some(
            "a disposition that is not put back after a hook is reset before the program, or goes with the process",
        ),
        SYS_capget if role == "host" => Some("the mount namespace is made in the older way"),
        SYS_open if role == "host" && call.object.ends_with("/rootfs") => {
            Some("the mount namespace is made in the older way")
        }
        SYS_close => Some("the descriptor is closed whatever the call says"),
        SYS_readlinkat if call.object.ends_with("/proc/self") => Some("HOME is / then"),
        SYS_clone3 if role == "host/0" => Some("exec's process goes into the container another way"),
        SYS_sigaltstack | SYS_munmap => Some("memory that is not given back goes with the process"),
        SYS_fsopen | SYS_fsconfig | SYS_fsmount | SYS_open_tree | SYS_mount_setattr | SYS_move_mount => {
            Some("an older way to mount is tried")
        }
        SYS_statx | SYS_statfs | SYS_fstatfs | SYS_newfstatat | SYS_stat | SYS_fstat | SYS_open
        | SYS_openat | SYS_openat2 | SYS_read
            if cgroup =>
        {
            Some("the cgroup is found another way, or what could not be read is not needed")
        }
        SYS_open | SYS_openat | SYS_openat2 | SYS_read | SYS_fstat
            if ["/etc/passwd", "/fd"].iter().any(|end| call.object.ends_with(end))
                || call.object.contains("/fd/") =>
        {
            Some("HOME is / then")
        }
        SYS_newfstatat | SYS_faccessat2 | SYS_fchdir | SYS_chdir if call.object.contains("bin/") => {
            Some("the program is found in another directory of PATH")
        }
        SYS_openat2 if call.object == "/" => Some("the working directory is opened again as its user"),
        SYS_write if call.object.ends_with("/freezer.state") => {
            Some("a killed process that has ended need not be thawed")
        }
        SYS_unlinkat if cgroup => Some("cgroups that are not removed at once are removed with a second try"),
        SYS_fcntl if call.object.ends_with(" 0x2") => Some("the C library repeats what O_CLOEXEC has done"),
        SYS_close_range => Some("in a hook's process descriptors are closed one by one then"),
        SYS_fchdir if call.object == "/" || call.object.ends_with("/rootfs") => {
            Some("the working directory is entered again as its user")
        }
        SYS_prctl if call.object == "0x23" => {
            Some("the executable file is replaced with all of the memory map")
        }
        SYS_readlinkat if call.object == "/proc/self" => Some("HOME is / then"),
        SYS_setsid => Some("it leads a session already"),
        SYS_setpgid => Some("both the hook's process and its maker do it"),
        SYS_getcwd => Some("the working directory is entered again as its user"),
        SYS_read if call.object.starts_with("pipe:") => Some("what a hook prints only goes into an error"),
        SYS_mknodat => Some("the host's device is mounted instead, as in a user namespace"),
        SYS_socket => Some("a socket of another family brings the loopback interface up as well"),
        SYS_fchown => Some("who may not own its standard streams uses them as they are"),
        SYS_openat2 if call.object == "/proc/kcore" => Some("without it /dev/core is not made"),
        SYS_read | SYS_openat | SYS_openat2 if call.object.ends_with("/stat") => {
            Some("only asked to tell a killed process from one that executed its program")
        }
        SYS_statx | SYS_fstat | SYS_lseek => Some("the size of a file is only a hint for reading it"),
        _ => None,
    }
}

/// Whether the process may die of a signal: where memory is wanted for the heap, and in start-up code.
pub fn may_die(role: &str, index: usize, call: &Call) -> bool {
    let memory = [SYS_mmap, SYS_brk, SYS_mremap, SYS_munmap, SYS_mprotect];
    (role == "host" && index < START_UP) || memory.contains(&call.number)
}

/// Errors that have words of their own instead of the kernel's.
pub fn tells_otherwise(role: &str, call: &Call, line: &str) -> bool {
    let told = |text| line.contains(text);
    match call.number {
        // Nobody closes the other end but by ending.
        SYS_sendmsg => told("was killed before its program was executed"),
        // Before start could ask it.
        SYS_accept4 | SYS_close_range if role == "init" => {
            told("cannot start a container that has stopped")
                || told("was killed before its program was executed")
        }
        // The second way is refused for another reason.
        SYS_prctl => told("part from the runtime's executable: operation not permitted"),
        // brk(2) has no error: what was read of it is not taken then.
        SYS_brk => {
            told("memory allocation of") || told("part from the runtime's executable: invalid argument")
        }
        _ => told("memory allocation of"),
    }
}
