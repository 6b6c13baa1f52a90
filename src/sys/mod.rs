//! The unsafe fence: system calls that rustix lacks.

pub mod bpf;
