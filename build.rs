//! How the binary is linked: small, as each launch copies what it maps (`src/sys/exe.rs`).

use std::env::var;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/link.ld");
    let is = |name: &str, value: &str| var(name).as_deref() == Ok(value);
    // Rust brings its own linker on x86_64 alone; others may not know the options.
    if !is("PROFILE", "release")
        || !is("CARGO_CFG_TARGET_ARCH", "x86_64")
        || !is("CARGO_CFG_TARGET_ENV", "gnu")
    {
        return;
    }
    let directory = var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let script = Path::new(&directory).join("src/link.ld");
    let mut options =
        vec!["--icf=all".to_string(), "--no-eh-frame-hdr".into(), format!("-T,{}", script.display())];
    if relocates_relatively() {
        options.push("-z,pack-relative-relocs".into());
    }
    for option in options {
        println!("cargo:rustc-link-arg-bins=-Wl,{option}");
    }
}

/// Whether a static position-independent program can relocate itself from a DT_RELR table, which has a
/// bit where the older one has 24 bytes: from glibc 2.36 on (`getconf` says "glibc 2.36").
fn relocates_relatively() -> bool {
    let Ok(said) = std::process::Command::new("getconf").arg("GNU_LIBC_VERSION").output() else {
        return false;
    };
    let version = String::from_utf8_lossy(&said.stdout).trim().trim_start_matches("glibc ").to_string();
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    var("HOST") == var("TARGET") && version >= (2, 36)
}
