//! The errors of checkpoint and restore, with a program in CRIU's place that says that all went well.

use crate::config;
use crate::errors::cause_in;
use crate::harness::{Sandbox, write_program};
use serde_json::json;
use std::fs;
use std::process::Command;

/// The command that finds the program, which does what the file `mode` says.
pub fn faked(t: &Sandbox, words: &[&str]) -> Command {
    let mut command = t.command(words);
    if let Ok(mode) = fs::read_to_string(t.path("mode")) {
        command.env("FAKE_MODE", mode);
    }
    command.env("PATH", format!("{}:{}", t.path("fake"), std::env::var("PATH").unwrap()));
    command
}

/// Puts the program and something like images there.
pub fn with_fake(t: &mut Sandbox) {
    fs::create_dir(t.path("fake")).unwrap();
    write_program(&t.dir().join("fake/criu"), include_str!("fake-criu.py"));
    fs::create_dir(t.path("images")).unwrap();
    fs::write(t.path("images/pstree.img"), "").unwrap();
    fs::write(t.path("images/descriptors.json"), "[\"\", \"file[1:2]\"]").unwrap();
}

#[test]
fn checkpoint() {
    let table = r"
        running: checkpoint --image-path DIR/images ID ! host open /root = EMFILE
            open the container's root: too many open files
        running: checkpoint --image-path DIR/images ID ! host openat2 /mountinfo = EMFILE
            read the container's mount table: too many open files
        running: checkpoint --image-path DIR/images ID ! host openat DIR/images = EMFILE
            open `DIR/images` (--image-path): too many open files
        running: checkpoint --image-path DIR/images ID ! host getdents64 DIR/images = EIO
            `DIR/images` (--image-path): list the images: input/output error
        running: checkpoint --image-path DIR/images ID ! host newfstatat /pstree.img = EIO
            `DIR/images` (--image-path): look at `pstree.img`: input/output error
        running: checkpoint --image-path DIR/images ID ! host openat /descriptors.json = EROFS
            write descriptors.json beside the images: open it: read-only file system
        running: checkpoint --image-path DIR/images ID ! host unlinkat /dump.log = EROFS
            remove the old log `DIR/images/dump.log`: read-only file system
        running: checkpoint --image-path DIR/images ID ! host newfstatat /notify = EIO
            look at the directory for NOTIFY_SOCKET: input/output error
        running: checkpoint --image-path DIR/images ID ! host socketpair = EMFILE
            checkpoint `ID`: make the socket pair to CRIU: too many open files
        running: checkpoint --image-path DIR/images ID ! host memfd_create = EMFILE
            checkpoint `ID`: make a file for CRIU's messages: too many open files
        running: checkpoint --image-path DIR/images ID ! host clone3 = EAGAIN
            checkpoint `ID`: start `DIR/fake/criu`: resource temporarily unavailable
        running: checkpoint --image-path DIR/images ID ! host sendto = ENOBUFS
            checkpoint `ID`: send a request to CRIU: no buffer space available
        running: checkpoint --image-path DIR/images ID ! host recvmsg = ENOMEM
            checkpoint `ID`: receive an answer of CRIU: cannot allocate memory
        running: checkpoint --image-path DIR/images ID ! host ppoll #1 = ENOMEM
            checkpoint `ID`: wait for CRIU: cannot allocate memory
        running: checkpoint --image-path DIR/images ID ! host/0 open /dev/null = EMFILE
            CRIU ended with status 127: open /dev/null: too many open files
        running: checkpoint --image-path DIR/images ID ! host/0 dup2 #0 = EMFILE
            CRIU ended with status 127: set standard input: too many open files
        running: checkpoint --image-path DIR/images ID ! host/0 dup2 #1 = EMFILE
            CRIU ended with status 127: set standard output: too many open files
        running: checkpoint --image-path DIR/images ID ! host/0 dup2 #2 = EMFILE
            CRIU ended with status 127: set standard error: too many open files
        running: checkpoint --image-path DIR/images ID ! host/0 close_range = ENOMEM
            CRIU ended with status 127: close descriptors: cannot allocate memory
        running: checkpoint --image-path DIR/images ID ! host/0 fcntl ] 0x2 = EIO
            CRIU ended with status 127: keep a descriptor: input/output error
        running: checkpoint --image-path DIR/images ID ! host/0 rt_sigprocmask = EINVAL
            CRIU ended with status 127: reset signals: invalid argument
        running: checkpoint --image-path DIR/images ID ! host/0 execve = ENOMEM
            CRIU ended with status 127: execute `DIR/fake/criu`: cannot allocate memory
        ";
    cause_in(table, with_fake, faked);
}

#[test]
fn restore() {
    let table = r"
        nothing: restore --image-path DIR/images ID ! host rt_sigprocmask = EINVAL
            block signals: invalid argument
        nothing: restore -d --image-path DIR/images ID ! host fcntl DIR/images 0x406 = EMFILE
            `DIR/images` (--image-path): keep the directory: too many open files
        nothing: restore -d --image-path DIR/images ID ! host readlinkat /parent = EIO
            `DIR/images` (--image-path): read the link `parent`: input/output error
        nothing: restore -d --image-path DIR/images ID ! host mkdirat /criu-root = ENOSPC
            restore `ID`: make a mount point for the root filesystem: no space left on device
        nothing: restore -d --image-path DIR/images ID ! host unshare = EPERM
            restore `ID`: create a mount namespace for CRIU: operation not permitted
        nothing: restore -d --image-path DIR/images ID ! host open /proc/self/ns/mnt = EMFILE
            restore `ID`: keep the mount namespace: too many open files
        nothing: restore -d --image-path DIR/images ID ! host open / = EMFILE
            restore `ID`: keep the root directory: too many open files
        nothing: restore -d --image-path DIR/images ID ! host open . = EMFILE
            restore `ID`: keep the working directory: too many open files
        nothing: restore -d --image-path DIR/images ID ! host setns = EPERM
            restore `ID`: return to the host's mount namespace: operation not permitted
        nothing: restore -d --image-path DIR/images ID ! host fchdir = EIO
            restore `ID`: return to the root directory: input/output error
        nothing: restore -d --image-path DIR/images ID ! host fchdir #1 = EIO
            restore `ID`: return to the working directory: input/output error
        nothing: restore -d --image-path DIR/images ID ! host mount / = EPERM
            restore `ID`: set the propagation of CRIU's mounts: operation not permitted
        nothing: restore -d --image-path DIR/images ID ! host open /criu-root = EMFILE
            restore `ID`: open the mount point for it: too many open files
        nothing: restore -d --image-path DIR/images ID ! host open_tree = EPERM
            restore `ID`: clone the root filesystem `DIR/bundle/rootfs`: operation not permitted
        nothing: restore -d --image-path DIR/images ID ! host openat DIR/images #2 = EMFILE
            open `DIR/images` again: too many open files
        nothing: restore -d --image-path DIR/images ID ! host open /dev/null = EMFILE
            restore `ID`: open /dev/null: too many open files
        nothing: restore -d --image-path DIR/images ID ! host openat /descriptors.json = EMFILE
            restore `ID`: open descriptors.json of the images: too many open files
        nothing: restore -d --image-path DIR/images ID ! host read /descriptors.json = EIO
            restore `ID`: read descriptors.json of the images: input/output error
        nothing: restore -d --image-path DIR/images ID ! host open /data = EMFILE
            restore `ID`: open `DIR/data`, the source of the mount on `/mnt`: too many open files
        nothing: restore -d --image-path DIR/images ID ! host/0 write /tasks = EPERM
            CRIU ended with status 127: enter the container's cgroup: operation not permitted
        ";
    let change = |t: &mut Sandbox| {
        with_fake(t);
        fs::create_dir(t.path("data")).unwrap();
        let data = t.path("data");
        config::add_mount(&mut t.config, "/mnt", "bind", &data, &["bind"]);
        t.config["hostname"] = json!("restored");
    };
    cause_in(table, change, faked);
}

/// A program that does not keep to the protocol.
#[test]
fn answers() {
    let mut t = Sandbox::new();
    t.args(&["payload", "sleep", "600"]);
    with_fake(&mut t);
    t.write_config();
    let images = t.path("images");
    let call = |mode: &str, words: &[&str]| {
        let mut command = faked(&t, words);
        command.env("FAKE_MODE", mode);
        t.spawn(command).wait().failed().one_line()
    };
    let restore = ["restore", "-d", "--image-path", &images, &t.id];
    for (mode, says) in [
        ("", "CRIU restored no process"),
        ("bare-10", "CRIU did not tell its version"),
        ("other-10", "to Version"),
        ("step-post-restore-0", "CRIU names no process"),
        ("step-post-restore-4194303", "open the restored process: no such process"),
    ] {
        call(mode, &restore).says(&[says]);
        t.assert_clean();
    }
    t.runtime(&["run", "-d", &t.id]).ok();
    let checkpoint = ["checkpoint", "--pre-dump", "--image-path", &images, &t.id];
    call("bare-9", &checkpoint).says(&["CRIU did not tell its features"]);
    call("other-9", &checkpoint).says(&["to FeatureCheck"]);
    t.finish();
}
