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
