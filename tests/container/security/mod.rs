//! Known ways out of a container, each with the losing state set up beforehand and the safe outcome
//! asserted on the host before and after: create fails, or works, but nothing outside is touched.
//! docs/security.md lists the advisories and rules with the tests that hold them.

mod binary;
mod callers;
mod cgroups;
mod descriptors;
mod kernels;
mod masks;
mod paths;
mod procfs;
mod races;
mod terminals;

use crate::config;
use crate::harness::{Outcome, Sandbox, host_command};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

/// How the container's /dev comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dev {
    /// A tmpfs, as usual.
    Mounted,
    /// That of the image.
    Absent,
    /// That of the image, which is a link out of the root.
    Link,
}

/// As whom the container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The host's root.
    Root,
    /// Root of a user namespace that the host's root made.
    UserNamespace,
    /// An ordinary user.
    Rootless,
}

/// The nine variants, each in a sandbox of its own. `test` gets the container to spoil and run; the
/// directory outside must then be as it was, and nothing left.
#[track_caller]
pub fn everywhere(test: impl Fn(&mut Sandbox, Dev, Owner)) {
    for owner in [Owner::Root, Owner::UserNamespace, Owner::Rootless] {
        for dev in [Dev::Mounted, Dev::Absent, Dev::Link] {
            let mut t = if owner == Owner::Rootless { Sandbox::rootless() } else { Sandbox::new() };
            let place = outside(&t);
            let target = if owner == Owner::Root { place.clone() } else { "../../outside".to_string() };
            match dev {
                Dev::Mounted => {}
                Dev::Absent => without_dev(&mut t),
                Dev::Link => {
                    without_dev(&mut t);
                    replace_by_link(&t, "dev", &target);
                }
            }
            match owner {
                Owner::Root => {}
                Owner::UserNamespace => t.map_users(100_000),
                // What is outside could be written by the user, but not through the container.
                Owner::Rootless => drop(host_command("chown", &["-hR", "1000:1000", &place]).ok()),
            }
            let before = snapshot(&place);
            test(&mut t, dev, owner);
            assert_eq!(snapshot(&place), before, "/dev {dev:?}, {owner:?}");
            t.assert_clean();
        }
    }
}

/// `create` or `run` may fail, but by an own decision and in one line.
#[track_caller]
pub fn safe(outcome: Outcome) -> Outcome {
    if outcome.code == 0 { outcome } else { outcome.failed().one_line() }
}

/// Leaves /dev to the image.
pub fn without_dev(t: &mut Sandbox) {
    for destination in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
        config::drop_mount(&mut t.config, destination);
    }
}

/// A directory outside the root filesystem with files that must stay as they are.
pub fn outside(t: &Sandbox) -> String {
    let path = t.path("outside");
    fs::create_dir_all(format!("{path}/pts")).unwrap();
    for name in ["ptmx", "null", "fd", "stdin", "console", "marker"] {
        fs::write(format!("{path}/{name}"), name).unwrap();
    }
    path
}

/// Names, kinds, sizes and modification of everything in a directory.
pub fn snapshot(path: &str) -> BTreeMap<String, (u32, u64, i64, u64)> {
    let entries = fs::read_dir(path).unwrap().flatten();
    entries
        .map(|e| {
            let meta = fs::symlink_metadata(e.path()).unwrap();
            (
                e.file_name().to_string_lossy().into_owned(),
                (meta.mode(), meta.size(), meta.mtime(), meta.ino()),
            )
        })
        .collect()
}

/// Replaces a directory of the root filesystem by a link.
pub fn replace_by_link(t: &Sandbox, name: &str, target: &str) {
    let path = t.rootfs().join(name);
    let _ = fs::remove_dir_all(&path);
    symlink(target, path).unwrap();
}

pub fn sha256(path: &Path) -> String {
    let out = host_command("sha256sum", &[path.to_str().unwrap()]).ok().stdout;
    out.split(' ').next().unwrap().to_string()
}
