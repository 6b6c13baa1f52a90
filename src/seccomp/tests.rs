//! Tests of the compiler as a whole: what is refused, and what compiled programs do.

mod libseccomp;
mod property;
mod reference;

use super::arch::{self, Arch};
use super::interpreter::{Call, run};
use super::*;

fn docker() -> Seccomp {
    serde_json::from_str(include_str!("../../tests/data/docker-seccomp-oci.json")).unwrap()
}

fn call(arch: &str, name: &str, args: [u64; 6]) -> Call {
    let arch = Arch::named(arch).unwrap();
    let number = arch.number(arch::call(name).unwrap()).unwrap();
    Call { number, audit: arch.audit, big_endian: arch.big_endian, args }
}

#[test]
fn docker_default_profile_fits() {
    let mut problems = Problems::default();
    let filter = compile(&docker(), "linux.seccomp", &mut problems, &mut vec![]);
    assert!(problems.is_empty(), "{problems}");
    let (mut total, mut most, mut count) = (0, 0, 0);
    for name in ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"] {
        let arch = Arch::named(name).unwrap();
        for call in (0..arch::CALLS as u16).filter_map(|call| arch.number(call)) {
            let call = Call { number: call, audit: arch.audit, big_endian: false, args: [0; 6] };
            let (_, steps) = run(&filter.program, &call).unwrap();
            (total, most, count) = (total + steps, most.max(steps), count + 1);
        }
    }
    let average = f64::from(total as u32) / f64::from(count);
    eprintln!("{} instructions, {average:.1} steps on average, {most} at most", filter.program.len());
    assert!(filter.program.len() <= 700 && average <= 15.0 && most <= 24);
}

#[test]
fn timing() {
    let spec = docker();
    let start = std::time::Instant::now();
    for _ in 0..100 {
        let f = compile(&spec, "linux.seccomp", &mut Problems::default(), &mut vec![]);
        assert!(f.program.len() > 10);
    }
    eprintln!("{:?} each", start.elapsed() / 100);
}
