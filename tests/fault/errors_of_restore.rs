//! The errors of restore, and of checkpoints whose containers are made in another way than the default one,
//! with the program of `errors_of_checkpoint` in CRIU's place.

use crate::config;
use crate::errors::cause_in;
use crate::errors_of_checkpoint::{faked, with_fake};
use crate::harness::{Sandbox, host_command};
use serde_json::json;
use std::fs;

/// Restores, with another container or another program in CRIU's place.
#[track_caller]
fn restoring(table: &str, change: impl FnOnce(&mut Sandbox)) {
    let change = |t: &mut Sandbox| {
        with_fake(t);
        change(t);
    };
    cause_in(table, change, faked);
}

#[test]
fn interruptions() {
    let table = r"
        nothing: restore -d --image-path DIR/images ID ! host rt_sigaction #2 = EINVAL
            look at a signal: invalid argument
        nothing: restore -d --image-path DIR/images ID ! host rt_sigprocmask = EINVAL
            block signals: invalid argument
        nothing: restore -d --image-path DIR/images ID ! host signalfd4 = EMFILE
            make a descriptor for signals: too many open files
        nothing: restore -d --image-path DIR/images ID ! host read [signalfd] = EIO
            read a signal: input/output error
        nothing: restore -d --image-path DIR/images ID ! host rt_sigprocmask #1 = EINVAL
            let signals through: invalid argument
        nothing: restore -d --image-path DIR/images ID ! host rt_sigprocmask #2 = EINVAL
            block signals: invalid argument
        ";
    restoring(table, |t| fs::write(t.path("mode"), "step-what-7").unwrap());
}

#[test]
fn the_root_and_its_mount_points() {
    let table = r"
        nothing: restore -d --image-path DIR/images ID ! host mkdirat /new = ENOSPC
            mount point `/new` (mounts[7]): find or create it: no space left on device
        nothing: restore -d --image-path DIR/images ID ! host open /rootfs = EMFILE
            mount point `/proc` (mounts[0]): open what it is in: too many open files
        nothing: --root ../state restore -d --image-path DIR/images ID ! host getcwd #1 = ENOMEM
            find the state directory: cannot allocate memory
        nothing: restore -d --image-path DIR/images ID ! host open /rootfs #5 = EMFILE
            open the root filesystem `DIR/bundle/rootfs`: too many open files
        nothing: restore -d --image-path DIR/images ID ! host open /rootfs #4 = EMFILE
            open the root filesystem `DIR/bundle/rootfs`: too many open files
        nothing: restore -d --image-path DIR/images ID ! host move_mount = EPERM
            restore `ID`: attach the root filesystem `DIR/bundle/rootfs`: operation not permitted
        nothing: restore -d --no-pivot --image-path DIR/images ID ! host open_tree #1 = EMFILE
            restore `ID`: clone the ramdisk's mounts: too many open files
        nothing: restore -d --no-pivot --image-path DIR/images ID ! host open / #1 = EMFILE
            restore `ID`: open the ramdisk: too many open files
        nothing: restore -d --no-pivot --image-path DIR/images ID ! host move_mount #1 = EPERM
            restore `ID`: attach the clone: operation not permitted
        nothing: restore -d --no-pivot --image-path DIR/images ID ! host fchdir = EIO
            restore `ID`: enter the clone: input/output error
        nothing: restore -d --image-path DIR/images ID ! host fstat DIR/images = EIO
            open `DIR/images` again: input/output error
        nothing: restore -d --image-path ../images ID ! host getcwd = ENOMEM
            find the directory: cannot allocate memory
        ";
    restoring(table, |t| config::add_mount(&mut t.config, "/new", "tmpfs", "tmpfs", &[]));
}

#[test]
fn standard_descriptors() {
    let table = r"
        nothing: restore -d --image-path DIR/images ID ! host fstat /traced.out = EIO
            look at a descriptor: input/output error
        nothing: restore -d --image-path DIR/images ID ! host fcntl /traced.out 0x3 = EIO
            look at a descriptor: input/output error
        nothing: restore -d --image-path DIR/images ID ! host open /proc/self/fd/1 = EACCES
            open the output again: permission denied
        nothing: restore -d --image-path DIR/images ID ! host fcntl /traced.out 0x406 = EMFILE
            duplicate a descriptor: too many open files
        nothing: restore -d --image-path DIR/images ID ! host lseek = EIO
            descriptor 1 of the container's process was a file of the host: give restore a file for it, or /dev/null
        ";
    restoring(table, |t| {
        fs::write(t.path("images/descriptors.json"), "[\"\", \"file[1:2]\"]").unwrap();
    });
}

/// Another container, whose process is to be the restored one: its end is that of the restore.
fn in_place_of_the_restored(step: &str, table: &str) {
    let mut other = Sandbox::new();
    other.args(&["payload", "sleep", "600"]);
    other.create().ok();
    let mode = format!("step-{step}-{}", other.pid());
    restoring(table, |t| {
        fs::write(t.path("mode"), mode).unwrap();
        t.config["linux"]["netDevices"] = json!({"oxt-none": {}});
    });
    other.finish();
}

#[test]
fn the_restored_process() {
    let table = r"
        nothing: restore -d --image-path DIR/images ID ! host setns #1 = EPERM
            enter the container's mount namespace: operation not permitted
        ";
    in_place_of_the_restored("post-restore", table);
    let table = r"
        nothing: restore -d --image-path DIR/images ID ! host open / #2 = EMFILE
            open the container's root: too many open files
        ";
    in_place_of_the_restored("post-restore", table);
    let table = r"
        nothing: restore -d --image-path DIR/images ID ! host unlinkat /criu-root = EROFS
            remove the mount point: read-only file system
        ";
    in_place_of_the_restored("post-restore", table);
    let table = r"
        nothing: restore -d --image-path DIR/images ID ! host open /ns/net #1 = EMFILE
            linux.netDevices: 
        ";
    in_place_of_the_restored("setup-namespaces", table);
    let table = r"
        nothing: restore -d --empty-ns network --image-path DIR/images ID ! host setns #1 = EPERM
            --empty-ns network: 
        ";
    in_place_of_the_restored("setup-namespaces", table);
}

#[test]
fn checkpoints() {
    let table = r"
        running: checkpoint --image-path DIR/images ID ! host openat2 /mnt = EMFILE
            find `/mnt` in the container: too many open files
        running: checkpoint --image-path DIR/images ID ! host statx #5 = EIO
            in the container: input/output error
        running: checkpoint --image-path DIR/images ID ! host newfstatat /ns/net = EACCES
            look at the network namespace: permission denied
        running: checkpoint --image-path DIR/images ID ! host unlinkat /parent = EROFS
            remove the old link `parent` beside the images: read-only file system
        running: checkpoint --image-path DIR/images ID ! host openat DIR/images/. = EMFILE
            list the images: too many open files
        running: checkpoint --image-path DIR/images --parent-path ../images ID ! host openat DIR/images/.. = EMFILE
            open `..`: too many open files
        running: checkpoint --image-path DIR/images --parent-path . ID ! host fcntl DIR/images 0x406 = EMFILE
            keep the directory: too many open files
        running: checkpoint --image-path DIR/images/new ID ! host mkdir = ENOSPC
            make the directory `DIR/images/new` (--image-path): no space left on device
        running: checkpoint --image-path DIR/images --work-path DIR/work ID ! host mkdir DIR/work = ENOSPC
            make the directory `DIR/work` (--work-path): no space left on device
        running: checkpoint --image-path DIR/images --work-path DIR/fake ID ! host openat DIR/fake = EACCES
            open `DIR/fake` (--work-path): permission denied
        running: checkpoint --image-path DIR/images ID ! host/0 setpgid = EPERM
            make a process group: operation not permitted
        ";
    let change = |t: &mut Sandbox| {
        config::drop_namespace(&mut t.config, "network");
        config::add_namespace(&mut t.config, "network", "/proc/self/ns/net");
        let data = t.path("images");
        config::add_mount(&mut t.config, "/mnt", "bind", &data, &["bind"]);
    };
    restoring(table, change);
    let table = r"
        nothing: restore -d --image-path DIR/images ID ! host fstat DIR/images = EIO
            look at the images: input/output error
        nothing: restore -d --image-path DIR/images ID ! host fchown DIR/images = EPERM
            let group 100000, the user namespace's root, into the images: operation not permitted
        ";
    restoring(table, |t| {
        t.map_users(100_000);
        host_command("chmod", &["700", &t.path("images")]).ok();
    });
}

/// What cannot be restored is refused before CRIU is asked.
#[test]
fn what_cannot_be_restored() {
    let change_of = |change: &dyn Fn(&mut Sandbox)| {
        let mut t = Sandbox::new();
        t.args(&["payload", "sleep", "600"]);
        with_fake(&mut t);
        change(&mut t);
        t.write_config();
        t
    };
    let refused = |t: &Sandbox, says: &str| {
        let images = t.path("images");
        let command = faked(t, &["restore", "-d", "--image-path", &images, &t.id]);
        t.spawn(command).wait().failed().says(&[says]).one_line();
        t.assert_clean();
    };
    let joined = |t: &mut Sandbox| config::add_namespace(&mut t.config, "cgroup", "/proc/self/ns/cgroup");
    refused(&change_of(&joined), "the cgroup namespace is joined by path");
    let on_host = |t: &mut Sandbox| {
        config::drop_namespace(&mut t.config, "mount");
        (t.config["linux"]["maskedPaths"], t.config["linux"]["readonlyPaths"]) = (json!([]), json!([]));
        t.config["mounts"] = json!([]);
    };
    refused(
        &change_of(&on_host),
        "a container without a mount namespace (linux.namespaces) cannot be restored",
    );
    let terminal = |t: &mut Sandbox| fs::write(t.path("mode"), "step-orphan-pts-master-7").unwrap();
    refused(&change_of(&terminal), "the images have a terminal, which nobody would hold");
}
