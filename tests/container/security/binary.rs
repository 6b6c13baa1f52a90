//! The runtime's own binary: written, read and mapped from inside (R10, R24).

use super::{Owner, everywhere, sha256};
use crate::config;
use crate::harness::{Sandbox, is_oxrun, runtime, write_program};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt;

#[test]
fn own_binary_is_out_of_reach() {
    let before = sha256(runtime());
    let mut t = Sandbox::new();
    config::drop_namespace(&mut t.config, "pid");
    config::set_capabilities(&mut t.config, &["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE"]);
    // The entry point is the runtime itself, as an interpreter.
    write_program(&t.rootfs().join("entry"), "#!/proc/self/exe\n");
    t.run_args(&["/entry"]);
    t.run_args(&["/proc/self/exe", "--version"]);
    assert_eq!(sha256(runtime()), before);
    t.assert_clean();
}

#[test]
fn exe_of_a_created_container_cannot_be_written() {
    let before = sha256(runtime());
    let mut first = Sandbox::new();
    first.args(&["payload", "sleep", "5000"]);
    first.create().ok();
    // A second container in the same pid namespace, with every capability, tries the first's init.
    let mut second = Sandbox::new();
    config::add_namespace(&mut second.config, "pid", &format!("/proc/{}/ns/pid", first.pid()));
    config::set_capabilities(&mut second.config, &["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN"]);
    let result = second.actions(&["open /proc/1/exe w", "open /proc/1/exe rw", "readlink /proc/1/exe"]);
    for answer in &result.as_array().unwrap()[..2] {
        let errors = ["ETXTBSY", "EROFS", "EPERM", "EACCES"];
        assert!(errors.iter().any(|e| answer["err"] == *e), "{result}");
    }
    assert_eq!(sha256(runtime()), before);
    let host_exe = fs::metadata(runtime()).unwrap();
    let exe = fs::metadata(format!("/proc/{}/exe", first.pid())).unwrap();
    if !is_oxrun() {
        skip!("another runtime protects its file by a read-only mount instead of a copy");
    }
    assert!((exe.dev(), exe.ino()) != (host_exe.dev(), host_exe.ino()), "init runs from the host's own file");
}

#[test]
fn own_binary_is_out_of_reach_in_any_variant() {
    let before = sha256(runtime());
    everywhere(|t, dev, _| {
        write_program(&t.rootfs().join("entry"), "#!/proc/self/exe\n");
        for args in [&["/entry"][..], &["/proc/self/exe", "--version"]] {
            let outcome = t.run_args(args);
            assert!(outcome.code != 0 && !outcome.stdout.contains("version") || !is_oxrun(), "{outcome:?}");
        }
        if dev == super::Dev::Link {
            return;
        }
        t.args(&["payload", "sleep", "5000"]);
        t.create().ok();
        t.start().ok();
        for args in [&["/entry"][..], &["/proc/self/exe", "--version"]] {
            let outcome = t.runtime(&[&["exec", &t.id], args].concat());
            assert!(outcome.code != 0 && !outcome.stdout.contains("version") || !is_oxrun(), "{outcome:?}");
        }
        t.finish();
    });
    assert_eq!(sha256(runtime()), before);
}

/// Lines of a process's memory map that are of the runtime's own file.
fn pages_of_the_binary(maps: &str) -> Vec<String> {
    let inode = fs::metadata(runtime()).unwrap().ino().to_string();
    let is_own = |line: &&str| line.split_whitespace().nth(4) == Some(&inode);
    maps.lines().filter(is_own).map(str::to_string).collect()
}

fn shares_nothing(pid: i32, who: &str) {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    assert!(!maps.is_empty(), "{who} has memory");
    assert_eq!(pages_of_the_binary(&maps), [""; 0], "{who} shares pages with the host's binary");
    let (exe, host) = (fs::metadata(format!("/proc/{pid}/exe")).unwrap(), fs::metadata(runtime()).unwrap());
    assert!((exe.dev(), exe.ino()) != (host.dev(), host.ino()), "{who} runs from the host's file");
}

#[test]
fn no_page_of_the_binary_is_in_a_process_that_a_container_can_reach() {
    if !is_oxrun() {
        skip!("another runtime maps its file, or a copy on a filesystem over it");
    }
    let own = fs::read_to_string("/proc/self/maps").unwrap();
    assert_eq!(pages_of_the_binary(&own), [""; 0]);
    for owner in [Owner::Root, Owner::UserNamespace, Owner::Rootless] {
        let mut t = if owner == Owner::Rootless { Sandbox::rootless() } else { Sandbox::new() };
        if owner == Owner::UserNamespace {
            t.map_users(100_000);
        }
        t.args(&["payload", "sleep", "5000"]);
        t.create().ok();
        shares_nothing(t.pid(), "init that waits");
        t.start().ok();
        // The caller's side of exec stays out of the container: nobody there sees it.
        let mut exec = t.spawn(t.command(&["exec", &t.id, "sh", "-c", "echo up; sleep 5000"]));
        exec.wait_for("up");
        for kind in ["cgroup", "ipc", "mnt", "net", "pid", "uts", "user"] {
            let of = |who: &str| fs::read_link(format!("/proc/{who}/ns/{kind}")).unwrap();
            assert_eq!(of(&exec.pid().to_string()), of("self"), "exec that waits");
        }
        t.finish();
        exec.wait().exits(137);
    }
}

#[test]
fn a_waiting_init_is_small_and_holds_nothing_of_the_program() {
    if !is_oxrun() {
        skip!("another runtime waits with its whole program");
    }
    let mut t = Sandbox::new();
    t.args(&["payload", "sleep", "60"]);
    t.create().ok();
    let pid = t.pid();
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert_eq!(command, format!("oxrun init {}", t.id));
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Rss:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib <= 200, "{rollup}");
    t.start().ok();
    t.finish();
    // What joins another's processes, or has hooks to run, waits with a copy of the program.
    let mut first = Sandbox::new();
    first.args(&["payload", "sleep", "60"]);
    first.create().ok();
    let mut second = Sandbox::new();
    config::add_namespace(&mut second.config, "pid", &format!("/proc/{}/ns/pid", first.pid()));
    second.args(&["true"]);
    second.create().ok();
    shares_nothing(second.pid(), "init beside another");
    let pid = second.pid();
    second.runtime(&["delete", "--force", &second.id]).ok();
    // The first process of the namespace cannot end before this one is reaped.
    second.reap(pid);
    first.finish();
}

#[test]
fn maps_of_a_waiting_init_show_nothing_from_inside() {
    if !is_oxrun() {
        skip!("another runtime shows a map of its binary");
    }
    let mut first = Sandbox::new();
    first.args(&["payload", "sleep", "5000"]);
    first.create().ok();
    let mut second = Sandbox::new();
    config::add_namespace(&mut second.config, "pid", &format!("/proc/{}/ns/pid", first.pid()));
    config::set_capabilities(
        &mut second.config,
        &["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"],
    );
    let result: Value = second.actions(&["read /proc/1/maps", "ls /proc/1/map_files"]);
    let maps = result[0]["ok"].as_str().unwrap_or_default();
    assert_eq!(pages_of_the_binary(maps), [""; 0]);
    // With every capability the files can be listed; none of them is the host's.
    let name = runtime().file_name().unwrap().to_str().unwrap();
    for file in result[1]["ok"].as_array().into_iter().flatten() {
        let link = second.actions(&[&format!("readlink /proc/1/map_files/{}", file.as_str().unwrap())]);
        assert!(!link[0]["ok"].as_str().unwrap_or_default().ends_with(&format!("/{name}")), "{link}");
    }
    first.finish();
}

#[test]
fn nothing_is_loaded_at_run_time() {
    if !is_oxrun() {
        skip!("another runtime is a dynamic program");
    }
    // elf(5): a program header of type PT_INTERP (3) names the dynamic linker.
    let elf = fs::read(runtime()).unwrap();
    let number = |at: usize, size: usize| {
        elf[at..at + size].iter().rev().fold(0usize, |number, byte| number << 8 | usize::from(*byte))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    assert!(count > 0);
    assert!((0..count).all(|index| number(table + index * size, 4) != 3), "it has an interpreter");
}
