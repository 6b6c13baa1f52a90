//! How large the filter of the default profile is and how long it takes, for x86_64 with x86 and x32.
//! `cargo test --release measure -- --ignored --nocapture` prints all; docs/seccomp.md has the numbers.

use super::*;
use crate::sys::process as sys;
use std::time::{Duration, Instant};

/// Instructions that run for each listed call with arguments 0: on average and at most.
fn steps(filter: &Filter) -> (f64, usize) {
    let mut steps = Vec::new();
    for name in ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"] {
        let arch = Arch::named(name).unwrap();
        for number in (0..arch::CALLS as u16).filter_map(|call| arch.number(call)) {
            let call = Call { number, audit: arch.audit, big_endian: false, args: [0; 6] };
            steps.push(run(&filter.program, &call).unwrap().1);
        }
    }
    (steps.iter().sum::<usize>() as f64 / steps.len() as f64, *steps.iter().max().unwrap())
}

#[test]
fn docker_default_profile_fits() {
    let filter = property::compiled(&docker());
    let (average, most) = steps(&filter);
    eprintln!("{} instructions, {average:.1} steps on average, {most} at most", filter.program.len());
    assert!(filter.program.len() <= 700 && average <= 15.0 && most <= 24);
}

/// The median of many times.
fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort();
    times[times.len() / 2]
}

#[test]
#[ignore = "a measurement; run it with --release --ignored --nocapture"]
#[allow(clippy::disallowed_methods)] // a filter that is loaded stays, so each goes to a thread of its own
fn compiling_and_loading_take_little_time() {
    let spec = docker();
    let compile_once = || {
        let start = Instant::now();
        let (mut problems, mut warnings) = (Problems::default(), Warnings::default());
        std::hint::black_box(compile(&spec, "linux.seccomp", Unknown::Skipped, &mut problems, &mut warnings));
        start.elapsed()
    };
    let compiling = median((0..2000).map(|_| compile_once()));
    let filter = property::compiled(&spec);
    // Each in a thread of its own, which alone has the filter.
    let load_once = || {
        let (program, flags) = (filter.program.clone(), filter.flags);
        let thread = std::thread::spawn(move || {
            sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).unwrap();
            let start = Instant::now();
            sys::seccomp(&program, flags).unwrap();
            start.elapsed()
        });
        thread.join().unwrap()
    };
    let loading = median((0..200).map(|_| load_once()));
    let (average, most) = steps(&filter);
    eprintln!(
        "the default profile for three architectures: compile {} us, load {} us, {} instructions, \
         {average:.1} run for a call on average and {most} at most",
        compiling.as_micros(),
        loading.as_micros(),
        filter.program.len()
    );
    assert!(compiling.as_micros() <= 100 && loading.as_micros() <= 300);
}
