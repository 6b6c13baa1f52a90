//! The program that tests run as a container's process: it says what it sees (`report`) and tries
//! things (`do`), as JSON on standard output. A second set of verbs (`with-…`) prepares the
//! process that starts the runtime: descriptors, umask, terminal, signals. Static, like oxrun.
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![allow(missing_docs, clippy::disallowed_methods)]

mod actions;
mod agent;
mod report;
mod survive;
mod wrap;

use std::ffi::CString;

fn main() {
    let args: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.get(1).copied() {
        Some("report") => println!("{}", report::report()),
        Some("report-and-sleep") => {
            let part = format!("{}.part", words[2]);
            std::fs::write(&part, report::report().to_string()).unwrap();
            std::fs::rename(&part, words[2]).unwrap();
            std::thread::sleep(std::time::Duration::from_secs(1000));
        }
        Some("do") => println!("{}", actions::all(&words[2..])),
        Some("exit") => std::process::exit(words[2].parse().unwrap()),
        Some("raise") => raise(words[2].parse().unwrap()),
        Some("sleep") => std::thread::sleep(std::time::Duration::from_secs(words[2].parse().unwrap())),
        Some("agent") => agent::serve(words[2], words.get(3).copied().unwrap_or("0")),
        Some("trap") => wrap::trap(&words[2..]),
        Some("orphans") => wrap::orphans(words[2].parse().unwrap()),
        Some("stdio") => wrap::echo_stdin(),
        Some("notify") => wrap::notify(words[2], words[3]),
        Some("survive") => survive::survive(words[2], words[3]),
        Some("do-echo") => survive::echo(),
        Some("hold") => survive::hold(words[2], words[3]),
        Some("size") => wrap::print_sizes(),
        Some(verb) if verb.starts_with("with-") => wrap::exec_with(verb, &words[2..]),
        other => {
            eprintln!("payload: unknown verb {other:?}");
            std::process::exit(99);
        }
    }
}

/// Dies of a signal, with its default action restored.
fn raise(signal: i32) {
    // SAFETY: both calls take plain integers.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
    std::thread::sleep(std::time::Duration::from_secs(5));
}

/// A C string of an argument.
fn cstring(text: &str) -> CString {
    CString::new(text).expect("argument without NUL")
}
