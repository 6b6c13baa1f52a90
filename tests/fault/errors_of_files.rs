//! The errors of making the container's files: mounts, devices, hidden paths, and entering the root.

use crate::config;
use crate::errors::{cause, cause_in};
use crate::harness::{Sandbox, host_command};
use crate::host;
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

fn changed(table: &str, change: impl FnOnce(&mut Sandbox)) {
    cause_in(table, change, Sandbox::command);
}

fn mount(t: &mut Sandbox, destination: &str, kind: &str, source: &str, options: &[&str]) {
    config::add_mount(&mut t.config, destination, kind, source, options);
}

#[test]
fn new_filesystems() {
    cause(
        r"
        nothing: create ID ! host/0 fsopen = EPERM
            mount `proc` on `/proc` (mounts[0]): open the filesystem: operation not permitted
        nothing: create ID ! host/0 fsconfig source = ENOMEM
            mount `proc` on `/proc` (mounts[0]): set the source: cannot allocate memory
        nothing: create ID ! host/0 fsconfig ro = ENOMEM
            mount `sysfs` on `/sys` (mounts[5]): set option `ro`: cannot allocate memory
        nothing: create ID ! host/0 fsconfig #1 = ENOMEM
            mount `proc` on `/proc` (mounts[0]): create the filesystem: cannot allocate memory
        nothing: create ID ! host/0 fsmount = ENOMEM
            mount `proc` on `/proc` (mounts[0]): make the mount: cannot allocate memory
        nothing: create ID ! host/0 fstatfs /dev = EIO
            on `/dev` (mounts[1]): look at the filesystem of the target: input/output error
        nothing: create ID ! host/0 fstat /dev = EIO
            on `/dev` (mounts[1]): look at the kind of the target: input/output error
        nothing: create ID ! host/0 move_mount /proc/ = ENOMEM
            on `/proc` (mounts[0]): attach the mount to its target: cannot allocate memory
    ",
    );
}

#[test]
fn bind_mounts() {
    let table = r"
        nothing: create ID ! host/0 move_mount /rootfs/ #1 = ENOMEM
            on `/` (mounts[0]): attach the mount to the root: attach the mount to its target: cannot allocate memory
        nothing: create ID ! host/0 open_tree /tree = EMFILE
            on `/tree` (mounts[8]): open the source: too many open files
        nothing: create ID ! host/0 fstat / = EIO
            on `/` (mounts[0]): look at the source: input/output error
        nothing: create ID ! host/0 fstatfs / = EIO
            on `/tree` (mounts[8]): read the mount's flags: input/output error
        nothing: create ID ! host/0 readlinkat /pointer = EIO
            on `/new/link` (mounts[9]): read the source: input/output error
        nothing: create ID ! host/0 openat2 /new = EMFILE
            on `/new/link` (mounts[9]): create the target's directory: too many open files
        nothing: create ID ! host/0 fstat /uptime = EIO
            on `/proc/uptime` (mounts[10]): look at the target below /proc: input/output error
        nothing: create ID ! host/0 readlinkat /proc/self = EIO
            on `/proc/uptime` (mounts[10]): read /proc/self: input/output error
        nothing: create ID ! host/0 openat2 /fd/7 = EMFILE
            on `/proc/uptime` (mounts[10]): find the path of a descriptor: too many open files
        nothing: create ID ! host/0 readlinkat /fd/7/ = EIO
            on `/proc/uptime` (mounts[10]): read the path of a descriptor: input/output error
        nothing: create ID ! host/0 fstatfs / #1 = EIO
            on `/proc/uptime` (mounts[10]): look at the filesystem of the source: input/output error
        nothing: create ID ! host/0 fstatfs / #3 = EIO
            on `/proc` (mounts[11]): look at the filesystem that is to be /proc: input/output error
        ";
    changed(table, |t| {
        let root = t.rootfs().display().to_string();
        let whole = json!({"destination": "/", "type": "bind", "source": root, "options": ["rbind"]});
        t.config["mounts"].as_array_mut().unwrap().insert(0, whole);
        let (tree, pointer, uptime) = (t.path("tree"), t.path("pointer"), t.path("uptime"));
        fs::create_dir(&tree).unwrap();
        symlink("/etc/passwd", &pointer).unwrap();
        fs::write(&uptime, "1 1").unwrap();
        mount(t, "/tree", "bind", &tree, &["rbind", "ro"]);
        mount(t, "/new/link", "bind", &pointer, &["bind", "copy-symlink"]);
        mount(t, "/proc/uptime", "bind", &uptime, &["bind"]);
        mount(t, "/proc", "bind", "/proc", &["rbind"]);
    });
}

#[test]
fn cgroup_v1() {
    if host::is_cgroup_v2() {
        skip!("this host has cgroup v2");
    }
    let table = r"
        nothing: create ID ! host/0 fcntl /sys/fs/cgroup 0x406 = EMFILE
            mount `cgroup` on `/sys/fs/cgroup` (mounts[6]): keep the cgroup directory: too many open files
        nothing: create ID ! host/0 mkdirat /sys/fs/cgroup/pids = ENOSPC
            cgroup hierarchy `pids`: create its directory: no space left on device
        nothing: create ID ! host/0 move_mount /sys/fs/cgroup/pids/ = ENOMEM
            cgroup hierarchy `pids`: attach the mount to its target: cannot allocate memory
        nothing: create ID ! host/0 open_tree /pids/ID = EMFILE
            cgroup hierarchy `pids`: clone `/sys/fs/cgroup/pids/ID`: too many open files
        ";
    changed(table, |t| config::drop_namespace(&mut t.config, "cgroup"));
}

#[test]
fn a_tmpfs_is_filled() {
    let table = r"
        nothing: create ID ! host/0 fstat /copied #1 = EIO
            on `/copied` (mounts[7]): look at the target's mode: input/output error
        nothing: create ID ! host/0 openat /copied/. = EMFILE
            copy the target's content into the tmpfs: open the directory: too many open files
        nothing: create ID ! host/0 openat //. = EMFILE
            open the tmpfs: too many open files
        nothing: create ID ! host/0 openat /copied/. #1 = EMFILE
            read the directory: too many open files
        nothing: create ID ! host/0 getdents64 /copied = EIO
            read the directory: input/output error
        nothing: create ID ! host/0 newfstatat /copied/text = EIO
            look at `text`: input/output error
        nothing: create ID ! host/0 openat /copied/below = EMFILE
            open `below`: too many open files
        nothing: create ID ! host/0 mkdirat /below = ENOSPC
            create `below`: no space left on device
        nothing: create ID ! host/0 openat /below #1 = EMFILE
            open `below`: too many open files
        nothing: create ID ! host/0 fchown /below = EPERM
            set owner, mode and times of `below`: operation not permitted
        nothing: create ID ! host/0 readlinkat /copied/link = EIO
            read `link`: input/output error
        nothing: create ID ! host/0 symlinkat /link = ENOSPC
            create `link`: no space left on device
        nothing: create ID ! host/0 fchownat /link = EPERM
            set the owner of `link`: operation not permitted
        nothing: create ID ! host/0 sendfile /text = ENOSPC
            copy `text`: no space left on device
        nothing: create ID ! host/0 fchmod /text = EPERM
            set owner, mode and times of `text`: operation not permitted
        nothing: create ID ! host/0 mknodat /fifo = ENOSPC
            create `fifo`: no space left on device
        nothing: create ID ! host/0 fchownat /fifo = EPERM
            set the owner of `fifo`: operation not permitted
        ";
    changed(table, |t| {
        let image = t.rootfs().join("copied");
        fs::create_dir_all(image.join("below")).unwrap();
        fs::write(image.join("text"), "text").unwrap();
        symlink("text", image.join("link")).unwrap();
        host_command("mkfifo", &[&image.join("fifo").display().to_string()]).ok();
        mount(t, "/copied", "tmpfs", "tmpfs", &["tmpcopyup"]);
    });
}

#[test]
fn devices() {
    let table = r"
        nothing: create ID ! host/0 openat2 /dev #1 = EMFILE
            create device `/dev/null` (default device): open its directory (symbolic links are not followed there): too many open files
        nothing: create ID ! host/0 openat2 /dev #8 = EMFILE
            open /dev of the container: too many open files
        nothing: create ID ! host/0 fchownat /mine/ = EPERM
            create device `/dev/mine` (linux.devices[0]): set its owner: operation not permitted
        nothing: create ID ! host/0 openat /mine = EMFILE
            create device `/dev/mine` (linux.devices[0]): open the node: too many open files
        nothing: create ID ! host/0 fstat /there = EIO
            create device `/there` (linux.devices[1]): look at what is there: input/output error
        nothing: create ID ! host/0 unlinkat /dev/ptmx = EROFS
            remove /dev/ptmx of the image: read-only file system
        nothing: create ID ! host/0 symlinkat /dev/ptmx = ENOSPC
            link /dev/ptmx to pts/ptmx: no space left on device
        nothing: create ID ! host/0 symlinkat /dev/stdin = ENOSPC
            link /dev/stdin to /proc/self/fd/0: no space left on device
        ";
    changed(table, |t| {
        let mine =
            json!({"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "uid": 7, "fileMode": 438});
        t.config["linux"]["devices"] = json!([mine, {"path": "/there", "type": "p", "fileMode": 438}]);
        host_command("mkfifo", &[&t.rootfs().join("there").display().to_string()]).ok();
    });
}

#[test]
fn in_a_user_namespace() {
    let table = r"
        nothing: create ID ! host open_tree /data = EMFILE
            open the source on the host: 
        nothing: create ID ! host/0 open_tree /sys = EMFILE
            mount `sysfs` on `/sys` (mounts[5]): clone `/sys` of the host: too many open files
        nothing: create ID ! host/0 open /dev/full = EMFILE
            open the device on the host, as device nodes cannot be made in a user namespace: too many open files
        nothing: create ID ! host/0 open_tree /dev/full/ = EMFILE
            clone the host's device: too many open files
        nothing: create ID ! host/0 openat /dev/full = ENOSPC
            create `full`: no space left on device
        nothing: create ID ! host/0 fstat /dev/full #1 = EIO
            look at the target: input/output error
        nothing: create ID ! host/0 move_mount /dev/full/ = ENOMEM
            bind the host's device: attach the mount to its target: cannot allocate memory
        ";
    changed(table, |t| {
        t.map_users(100_000);
        config::drop_namespace(&mut t.config, "network");
        let data = t.path("data");
        fs::create_dir(&data).unwrap();
        mount(t, "/data", "bind", &data, &["bind", "idmap"]);
        let last = t.config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
        last["uidMappings"] = json!([{"containerID": 0, "hostID": 7000, "size": 1000}]);
        last["gidMappings"] = last["uidMappings"].clone();
    });
}

#[test]
fn the_root_is_attached_and_entered() {
    let table = r"
        nothing: create ID ! host/0 mount / = ENOMEM
            set the propagation of the mount namespace: cannot allocate memory
        nothing: create ID ! host/0 open_tree /rootfs/ = EMFILE
            clone the root filesystem `DIR/bundle/rootfs`: too many open files
        nothing: create ID ! host/0 move_mount /rootfs/ = ENOMEM
            attach the root filesystem `DIR/bundle/rootfs`: cannot allocate memory
        nothing: create ID ! host/0 open / = EMFILE
            open the old root: too many open files
        nothing: create ID ! host/0 fchdir /rootfs = EACCES
            enter the root filesystem: permission denied
        nothing: create ID ! host/0 pivot_root = EINVAL
            pivot_root (a root filesystem on initramfs needs --no-pivot): invalid argument
        nothing: create ID ! host/0 fchdir / = EACCES
            return to the old root: permission denied
        nothing: create ID ! host/0 mount . = ENOMEM
            part from the host's mounts: cannot allocate memory
        nothing: create ID ! host/0 umount2 . = ENOMEM
            detach the old root: cannot allocate memory
        nothing: create ID ! host/0 chdir / = EACCES
            enter the new root: permission denied
        nothing: create ID ! host/0 mount / #1 = ENOMEM
            set the propagation of the root: cannot allocate memory
        nothing: create ID ! host/0 open / #1 = EMFILE
            open the new root: too many open files
        ";
    changed(table, |t| t.config["linux"]["rootfsPropagation"] = json!("private"));
}

/// Paths that every image of these tests has.
fn hidden(t: &mut Sandbox) {
    t.config["linux"]["maskedPaths"] = json!(["/etc/passwd", "/etc/group", "/root", "/mnt"]);
    t.config["linux"]["readonlyPaths"] = json!(["/etc"]);
    t.config["root"]["readonly"] = json!(true);
}

#[test]
fn hidden_and_read_only_paths() {
    let table = r"
        nothing: create ID ! host/0 open /dev/null = EACCES
            open /dev/null of the host: permission denied
        nothing: create ID ! host/0 fstat /dev/null = EIO
            check /dev/null of the host: input/output error
        nothing: create ID ! host/0 open_tree /dev/null/ = EMFILE
            clone /dev/null of the host: too many open files
        nothing: create ID ! host/0 mount_setattr // = EPERM
            make the mask read-only: operation not permitted
        nothing: create ID ! host/0 openat2 /etc = EMFILE
            make `/etc` read-only (linux.readonlyPaths[0]): find it: too many open files
        nothing: create ID ! host/0 open_tree /etc/ = EMFILE
            clone it: too many open files
        nothing: create ID ! host/0 mount_setattr // #1 = EPERM
            set it read-only: operation not permitted
        nothing: create ID ! host/0 move_mount /etc/ = ENOMEM
            attach it: cannot allocate memory
        nothing: create ID ! host/0 fstat /etc/group = EIO
            mask `/etc/group` (linux.maskedPaths[1]): look at the path: input/output error
        nothing: create ID ! host/0 move_mount /etc/passwd/ = ENOMEM
            mask `/etc/passwd` (linux.maskedPaths[0]): cover it: cannot allocate memory
        nothing: create ID ! host/0 open_tree /etc/passwd/ = EMFILE
            clone the null device: too many open files
        nothing: create ID ! host/0 move_mount /etc/group/ = ENOMEM
            mask `/etc/group` (linux.maskedPaths[1]): cover it: cannot allocate memory
        nothing: create ID ! host/0 move_mount /root/ = ENOMEM
            mask `/root` (linux.maskedPaths[2]): cover it: cannot allocate memory
        nothing: create ID ! host/0 open_tree /root/ = EMFILE
            clone the empty directory: too many open files
        nothing: create ID ! host/0 move_mount /mnt/ = ENOMEM
            mask `/mnt` (linux.maskedPaths[3]): cover it: cannot allocate memory
        nothing: create ID ! host/0 mount_setattr // #2 = EPERM
            make the root read-only: operation not permitted
        ";
    changed(table, hidden);
}

fn without_mount_setattr(t: &Sandbox, words: &[&str]) -> Command {
    let mut command = t.command(words);
    command.env("OXRUN_WITHOUT", "mount_setattr");
    command
}

#[test]
fn an_old_kernel() {
    let table = r"
        nothing: create ID ! host/0 fcntl / 0x406 = EMFILE
            mount `DIR/tree` on `/tree` (mounts[6]): keep the mount: too many open files
        nothing: create ID ! host/0 openat2 /fd = EMFILE
            open the own descriptors: too many open files
        nothing: create ID ! host/0 fchdir /fd = EACCES
            enter the own descriptors: permission denied
        nothing: create ID ! host/0 mount #2 = EPERM
            set the mount's options (which Linux 5.12 or newer can do before attaching): operation not permitted
        nothing: create ID ! host/0 mount #1 = EPERM
            set the propagation: operation not permitted
        nothing: create ID ! host/0 move_mount /etc/ = ENOMEM
            attach it: cannot allocate memory
        nothing: create ID ! host/0 fstatfs /etc = EIO
            look at it: input/output error
        nothing: create ID ! host/0 mount #4 = EPERM
            set it read-only: set its flags: operation not permitted
        nothing: create ID ! host/0 mount #5 = EPERM
            make the mask read-only: set its flags: operation not permitted
        nothing: create ID ! host/0 fstatfs / = EIO
            look at the root: input/output error
        nothing: create ID ! host/0 mount / #1 = EPERM
            make the root read-only: operation not permitted
        ";
    let change = |t: &mut Sandbox| {
        hidden(t);
        let tree = t.path("tree");
        fs::create_dir(&tree).unwrap();
        mount(t, "/tree", "bind", &tree, &["bind", "ro", "shared"]);
        config::drop_mount(&mut t.config, "/sys/fs/cgroup");
    };
    cause_in(table, change, without_mount_setattr);
    if host::is_cgroup_v2() {
        return;
    }
    let table = r"
        nothing: create ID ! host/0 move_mount /sys/fs/cgroup/pids/ = ENOMEM
            cgroup hierarchy `pids`: attach the mount to its target: cannot allocate memory
        ";
    cause_in(table, |_| {}, without_mount_setattr);
}

#[test]
fn the_root_is_moved() {
    let table = r"
        nothing: create --no-pivot ID ! host/0 fchdir /rootfs = EACCES
            enter the root filesystem to find its mount: permission denied
        nothing: create --no-pivot ID ! host/0 mount . = ENOMEM
            make the parent of the root filesystem private: cannot allocate memory
        nothing: create --no-pivot ID ! host/0 fchdir /rootfs #1 = EACCES
            enter the root filesystem: permission denied
        nothing: create --no-pivot ID ! host/0 open /self/mountinfo = EMFILE
            read the mount table: too many open files
        nothing: create --no-pivot ID ! host/0 getcwd = ENOMEM
            find the root filesystem: cannot allocate memory
        nothing: create --no-pivot ID ! host/0 mount /sys = ENOMEM
            part from the host's `/sys`: cannot allocate memory
        nothing: create --no-pivot ID ! host/0 umount2 /sys = ENOMEM
            detach the host's `/sys`: cannot allocate memory
        nothing: create --no-pivot ID ! host/0 mount / #1 = ENOMEM
            move the root filesystem over the old root: cannot allocate memory
        nothing: create --no-pivot ID ! host/0 chroot = EPERM
            change the root directory: operation not permitted
        ";
    changed(table, |t| t.config["linux"]["rootfsPropagation"] = json!("shared"));
}

#[test]
fn the_root_is_only_changed() {
    let table = r"
        nothing: create ID ! host/0 fchdir /rootfs = EACCES
            enter the root filesystem to find its mount: permission denied
        nothing: create ID ! host/0 mount . = EPERM
            make the mount on the root filesystem private: operation not permitted
        nothing: create ID ! host/0 fchdir /rootfs #1 = EACCES
            enter the root filesystem: permission denied
        running: exec ID true ! host/0 fchdir /rootfs = EACCES
            enter the container's root: permission denied
        ";
    changed(table, |t| config::share_mounts(&mut t.config));
}

#[test]
fn a_mount_is_taken_away() {
    let table = r"
        running: mounts remove ID DIR/mounts ! host/0 close_range = ENOMEM
            close inherited descriptors: cannot allocate memory
        running: mounts remove ID DIR/mounts ! host/0 openat2 /dev/shm = EMFILE
            unmount `/dev/shm`: too many open files
        running: mounts remove ID DIR/mounts ! host/0 umount2 = ENOMEM
            unmount `/dev/shm`: cannot allocate memory
        ";
    changed(table, |t| fs::write(t.path("mounts"), r#"[{"destination": "/dev/shm"}]"#).unwrap());
}
