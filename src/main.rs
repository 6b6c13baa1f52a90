//! The oxrun binary: everything is in the library, where tests and fuzz targets reach it too.
#![no_main]

/// Called by the C library's start, which has kept the arguments for `std::env`.
#[allow(unsafe_code, reason = "the one symbol that the C library looks for")]
#[unsafe(no_mangle)]
extern "C" fn main() -> std::ffi::c_int {
    oxrun::main()
}
