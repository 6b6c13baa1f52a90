//! The oxrun binary: everything is in the library, where tests and fuzz targets reach it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    oxrun::main()
}
