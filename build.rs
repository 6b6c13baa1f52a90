//! How the binary is linked: small, as each launch copies what it maps (`src/sys/exe.rs`).

use std::env::var;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/link.ld");
    let is = |name: &str, value: &str| var(name).as_deref() == Ok(value);
    // The linker that comes with Rust: for musl called by itself (.cargo/config.toml), else on x86_64
    // by the C compiler; another one may not know the options.
    let musl = is("CARGO_CFG_TARGET_ENV", "musl");
    if !is("PROFILE", "release") || !musl && !is("CARGO_CFG_TARGET_ARCH", "x86_64") {
        return;
    }
    let script = Path::new(&var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("src/link.ld");
    // What src/sys/entry.rs defines comes before what the unwinder's library has of the same name.
    let mut options =
        vec!["--icf=all".to_string(), "-zmuldefs".to_string(), format!("-T{}", script.display())];
    // The table of relocations with a bit for each and not 24 bytes, which glibc reads from 2.36 on.
    if musl {
        options.push("-zpack-relative-relocs".to_string());
    }
    let prefix = if musl { "" } else { "-Wl," };
    for option in options {
        println!("cargo:rustc-link-arg-bins={prefix}{option}");
    }
}
