//! A program that cannot be executed: one line says why, in words that engines match, from `create`,
//! `start`, `run` and `exec` alike.

use crate::config;
use crate::harness::{Sandbox, host_command, is_oxrun, write_program};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

/// Runs a program in every way there is; each failure has all of the texts.
#[track_caller]
fn refused(t: &mut Sandbox, args: &[&str], texts: &[&str]) {
    if !is_oxrun() {
        skip!("the words are oxrun's own");
    }
    let check = |outcome: crate::harness::Outcome| {
        let mut outcome = outcome.failed().one_line();
        for text in texts {
            outcome = outcome.says(&[text]);
        }
    };
    check(t.run_args(args));
    t.assert_clean();
    let created = t.create();
    if created.code == 0 {
        check(t.start());
        t.runtime(&["delete", "--force", &t.id]).ok();
    } else {
        check(created);
    }
    t.args(&["sleep", "5000"]).create().ok();
    t.start().ok();
    let words: Vec<&str> = ["exec", t.id.as_str()].iter().chain(args).copied().collect();
    check(t.runtime(&words).exits(255));
    t.finish();
    t.assert_clean();
}

/// Puts bytes into a program file; copied by a process of its own, so that no descriptor that is open
/// for writing leaks into a fork of another test.
fn program(t: &Sandbox, name: &str, bytes: &[u8]) {
    let (new, place) = (t.path("new"), t.rootfs().join(name).display().to_string());
    fs::write(&new, bytes).unwrap();
    host_command("install", &["-m", "755", &new, &place]).ok();
}

/// The smallest image with a loader.
fn image(machine: u16, loader: &str) -> Vec<u8> {
    let mut bytes = vec![0; 120];
    bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    bytes[16] = 2;
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    (bytes[20], bytes[32], bytes[52], bytes[54], bytes[56]) = (1, 64, 64, 56, 1);
    (bytes[64], bytes[72]) = (3, 120);
    let length = loader.len() as u64 + 1;
    bytes[96..104].copy_from_slice(&length.to_le_bytes());
    bytes[104..112].copy_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(loader.as_bytes());
    bytes.push(0);
    bytes
}

#[test]
fn not_in_path_with_near_misses() {
    let mut t = Sandbox::new();
    let says = "executable file not found in $PATH (/usr/local/bin:/usr/bin:/bin): ";
    refused(&mut t, &["slep"], &["exec `slep`", says, "there is `sleep`"]);
    refused(&mut t, &["nothing-like-it"], &[says, "check process.args and PATH in process.env"]);
    refused(&mut t, &["echo hello world"], &[says, "each argument is a string of its own in process.args"]);
}

#[test]
fn missing_program() {
    let mut t = Sandbox::new();
    symlink("gone", t.rootfs().join("bin/dangling")).unwrap();
    let missing = "no such file or directory";
    refused(&mut t, &["/bin/slep"], &["exec `/bin/slep`", missing, "there is `/bin/sleep`"]);
    refused(&mut t, &["/bin/nothing-like-it"], &[missing, "it is not in the container"]);
    refused(&mut t, &["/opt/app/run"], &[missing, "`/opt` is not in the container"]);
    refused(&mut t, &["./bin/slep"], &[missing, "there is `/bin/sleep`"]);
    refused(
        &mut t,
        &["/bin/dangling"],
        &[missing, "`/bin/dangling` is a symbolic link to `gone`, which leads"],
    );
    refused(&mut t, &["/etc/passwd/x"], &["not a directory", "`/etc/passwd` is not a directory"]);
}

#[test]
fn scripts() {
    let mut t = Sandbox::new();
    write_program(&t.rootfs().join("windows"), "#!/bin/sh\r\necho hello\r\n");
    write_program(&t.rootfs().join("bash"), "#!/bin/bash\necho hello\n");
    write_program(&t.rootfs().join("plain"), "echo hello\n");
    write_program(&t.rootfs().join("none"), "#!\necho hello\n");
    write_program(&t.rootfs().join("marked"), "\u{feff}#!/bin/sh\n");
    write_program(&t.rootfs().join("empty"), "");
    write_program(&t.rootfs().join("nested"), "#!/bash\n");
    write_program(&t.rootfs().join("unreadable"), "#!/etc/passwd\n");
    let (missing, format) = ("no such file or directory", "exec format error");
    let returns = "which ends in a carriage return: save the script with Unix line ends";
    refused(&mut t, &["/windows"], &["exec `/windows`", missing, returns]);
    refused(&mut t, &["/bash"], &[missing, "the interpreter `/bin/bash` of its first line: it is not in"]);
    refused(&mut t, &["/nested"], &[missing, "`/bash` of its first line: the interpreter `/bin/bash`"]);
    refused(&mut t, &["/plain"], &[format, "does not name an interpreter, like `#!/bin/sh`"]);
    refused(&mut t, &["/none"], &[format, "its first line names no interpreter"]);
    refused(&mut t, &["/marked"], &[format, "byte order mark"]);
    refused(&mut t, &["/empty"], &[format, "the file is empty"]);
    refused(
        &mut t,
        &["/unreadable"],
        &[
            "permission denied",
            "`/etc/passwd` of its first line: user 0 may not execute it, its mode is 0644",
        ],
    );
}

#[test]
fn loaders_and_architectures() {
    let mut t = Sandbox::new();
    let (own, other, name) = match std::env::consts::ARCH {
        "x86_64" => (62, 183, "aarch64"),
        "aarch64" => (183, 62, "x86_64"),
        other => skip!("no images for {other} here"),
    };
    program(&t, "musl", &image(own, "/lib/ld-musl-x86_64.so.1"));
    program(&t, "foreign", &image(other, "/lib/ld.so"));
    let mut object = image(own, "/lib/ld.so");
    object[16] = 1;
    program(&t, "object", &object);
    program(&t, "setup.exe", b"MZ\x90\0\x03\0");
    program(&t, "wasm", b"\0asm\x01\0\0\0");
    program(&t, "dynamic", &fs::read("/bin/true").unwrap());
    write_program(&t.rootfs().join("script"), "#!/dynamic\n");
    let (missing, format) = ("no such file or directory", "exec format error");
    let remedy = "use a build for this image or a static one";
    refused(&mut t, &["/musl"], &[missing, "its loader `/lib/ld-musl-x86_64.so.1`", "against musl", remedy]);
    refused(&mut t, &["/foreign"], &[format, &format!("it was built for {name}, and this machine is")]);
    refused(&mut t, &["/object"], &[format, "an object file or a core dump, not a program"]);
    refused(&mut t, &["/setup.exe"], &[format, "it is a program for Windows"]);
    refused(&mut t, &["/wasm"], &[format, "neither a program (ELF) nor a script"]);
    refused(&mut t, &["/dynamic"], &[missing, "its loader `/lib", "against glibc", remedy]);
    refused(
        &mut t,
        &["/script"],
        &[missing, "the interpreter `/dynamic` of its first line: its loader `/lib"],
    );
}

#[test]
fn permissions() {
    let mut t = Sandbox::new();
    fs::write(t.rootfs().join("plain"), "#!/bin/sh\n").unwrap();
    let closed = t.rootfs().join("closed");
    fs::create_dir(&closed).unwrap();
    write_program(&closed.join("tool"), "#!/bin/sh\n");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let denied = "permission denied";
    refused(&mut t, &["/plain"], &[denied, "user 0 may not execute it, its mode is 0644: chmod +x"]);
    refused(&mut t, &["/tmp"], &[denied, "is a directory"]);
    refused(&mut t, &["/dev/null"], &[denied, "is no regular file"]);
    t.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    refused(&mut t, &["/closed/tool"], &[denied, "user 1000 may not search a directory on the way"]);
}

#[test]
fn mount_without_execution() {
    let mut t = Sandbox::new();
    fs::create_dir(t.path("tools")).unwrap();
    write_program(&t.dir().join("tools/tool"), "#!/bin/sh\necho hello\n");
    let source = t.path("tools");
    config::add_mount(&mut t.config, "/mnt", "bind", &source, &["bind", "noexec"]);
    refused(&mut t, &["/mnt/tool"], &["permission denied", "it is on a mount with the option noexec"]);
}

#[test]
fn too_many_arguments() {
    let mut t = Sandbox::new();
    let long = "x".repeat(131_072);
    t.args(&["true", &long]);
    let says = "argument list too long (one argument or variable has 131073 bytes, and 131072 are possible";
    t.run().failed().says(&["argument list too long"]).says_in_oxrun(says);
    let part = &long[1..];
    let many: Vec<&str> = ["true"].into_iter().chain([part; 60]).collect();
    t.args(&many);
    t.run().failed().says(&["argument list too long"]).says_in_oxrun("arguments and environment have 78");
    t.assert_clean();
}

#[test]
fn a_filter_that_forbids_looking_hides_the_explanation_at_most() {
    let mut t = Sandbox::new();
    write_program(&t.rootfs().join("bash"), "#!/bin/bash\n");
    let rules = json!([{"names": ["openat2", "pread64"], "action": "SCMP_ACT_KILL_PROCESS"}]);
    t.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
    // The other side looks, whom the filter does not bind.
    t.run_args(&["/bash"]).failed().says_in_oxrun("the interpreter `/bin/bash` of its first line");
    // With hooks under the filter it is the process itself.
    t.config["hooks"] = json!({"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", ":"]}]});
    for action in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"] {
        let rules = json!([{"names": ["openat2", "pread64"], "action": action}]);
        t.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
        let outcome = t.run_args(&["/bash"]).failed().says(&["no such file or directory"]);
        assert!(!outcome.stderr.contains("interpreter"), "{}", outcome.stderr);
        t.assert_clean();
    }
}
