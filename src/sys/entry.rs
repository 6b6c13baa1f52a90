//! The symbol that the C library's start calls, a module of the binary alone: tests and fuzz targets
//! that link the library have their own.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, arguments: *const *const c_char) -> c_int {
    // SAFETY: the C library gives `count` C strings, which stay as they are.
    let argument = |i| unsafe { CStr::from_ptr(*arguments.add(i)) };
    let owned = |i| -> OsString { OsStr::from_bytes(argument(i).to_bytes()).to_owned() };
    oxrun::main((0..usize::try_from(count).unwrap_or(0)).map(owned).collect())
}

/// abort(3), called when there is no memory and after a panic: the C library's would go on for ever in the
/// first process of a pid namespace that is traced, which neither a signal of its own nor a fault ends.
#[cfg(not(debug_assertions))]
#[unsafe(no_mangle)]
extern "C" fn abort() -> ! {
    // SAFETY: plain integers, and a set of signals that lives until the call; the process ends here.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut set, libc::SIGABRT);
        libc::signal(libc::SIGABRT, libc::SIG_DFL);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::raise(libc::SIGABRT);
        libc::_exit(128 + libc::SIGABRT)
    }
}

/// Takes the place of the C library's unwinder: the program prints no backtrace and never unwinds, so the
/// linker can leave out all that would do it, 250 KB.
#[cfg(not(debug_assertions))]
mod unwinder {
    use std::ffi::{c_int, c_void};

    /// Calls nobody back.
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Backtrace(_callback: *const c_void, _argument: *const c_void) -> c_int {
        0
    }

    /// What a callback would ask.
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_GetIPInfo(_context: *const c_void, _before: *const c_int) -> usize {
        0
    }

    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_GetIP(_context: *const c_void) -> usize {
        0
    }

    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_GetCFA(_context: *const c_void) -> usize {
        0
    }

    /// Nothing is ever unwound, so nothing goes on being.
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Resume(_exception: *const c_void) -> ! {
        std::process::abort()
    }

    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_FindEnclosingFunction(_address: *const c_void) -> *const c_void {
        std::ptr::null()
    }
}
