#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oxrun::fuzzing::cgroup_files(data));
