//! Whether the files that a bundle names are there: the root filesystem and the program in it, what is bound
//! from the host, hooks. Looked at without following anything out of the root filesystem (R1). Called by
//! `check`.

use super::Subject;
use super::report::{Findings, Level};
use crate::bundle::plan::{Mount, MountSource, Process, SymlinkSource};
use crate::hostfs;
use crate::init::refusal::{self, View};
use crate::near;
use crate::rootfs::path::{Links, Root};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Where programs are looked for when the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Looks at all of them.
pub fn look(subject: &Subject, findings: &mut Findings) {
    root(subject, findings);
    sources(subject, findings);
    hooks(subject, findings);
}

fn root(subject: &Subject, findings: &mut Findings) {
    let rootfs = &subject.plan.rootfs;
    if rootfs.as_os_str().is_empty() {
        return;
    }
    match hostfs::open(rootfs, OFlags::PATH | OFlags::DIRECTORY) {
        Ok(fd) => {
            if let Some(process) = &subject.plan.process {
                program(subject, &Root::new(fd), process, findings);
            }
        }
        Err(errno) => {
            let why = crate::error::text(errno);
            findings.error("root.path", format!("open the root filesystem `{}`: {why}", rootfs.display()));
            findings.suggest_name(near_name(rootfs));
        }
    }
}

/// The program: found as init will find it, and what the kernel needs to execute it.
fn program(subject: &Subject, root: &Root, process: &Process, findings: &mut Findings) {
    let Some(name) = process.args.first().and_then(|name| name.to_str().ok()).filter(|name| !name.is_empty())
    else {
        return;
    };
    let variable = process.env.iter().find_map(|v| v.to_str().ok()?.strip_prefix("PATH="));
    let path = variable.unwrap_or(DEFAULT_PATH);
    let directories: Vec<&str> = if name.contains('/') { vec![""] } else { path.split(':').collect() };
    let cwd = process.cwd.to_string_lossy();
    let candidates: Vec<String> =
        directories.iter().map(|directory| in_container(&cwd, directory, name)).collect();
    if candidates.iter().any(|candidate| may_be_covered(subject, candidate)) {
        return;
    }
    // What a hook may bring is no error.
    let level = if subject.has_early_hooks() { Level::Warning } else { Level::Error };
    let mut push = |text: String| findings.push(level, "process.args[0]", text);
    match candidates.iter().find(|candidate| is_program(root, candidate)) {
        Some(found) => match refusal::explain(&View::of(root, process), found.as_bytes(), Errno::NOENT) {
            Some(why) if !is_emulated(&why) => push(format!("`{found}` cannot be executed: {why}")),
            _ => {}
        },
        None => match candidates
            .iter()
            .find(|candidate| root.open(candidate, OFlags::PATH, Links::Follow).is_ok())
        {
            Some(there) => {
                push(format!("`{there}` is no regular file that may be executed: chmod +x, or another path"))
            }
            None if name.contains('/') => {
                let why =
                    refusal::explain(&View::of(root, process), candidates.concat().as_bytes(), Errno::NOENT);
                let why = why.unwrap_or_else(|| "it is not in the container".to_owned());
                push(format!("`{name}` cannot be executed: {why}"));
            }
            None => {
                push(format!("`{name}` is in no directory of PATH ({path})"));
                findings.suggest_name(refusal::near_in_path(&View::of(root, process), path.as_bytes(), name));
            }
        },
    }
}

/// The path of a program from the container's root.
fn in_container(cwd: &str, directory: &str, name: &str) -> String {
    let path = Path::new("/").join(cwd).join(directory).join(name);
    path.to_string_lossy().into_owned()
}

fn is_program(root: &Root, path: &str) -> bool {
    let stat = root.open(path, OFlags::PATH, Links::Follow).and_then(rustix::fs::fstat);
    stat.is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::RegularFile && s.st_mode & 0o111 != 0)
}

/// Directories with programs and what those need; a mount on one hides what the root filesystem has there.
const PROGRAMS: [&str; 8] = ["/bin", "/gnu", "/lib", "/lib64", "/nix", "/opt", "/sbin", "/usr"];

fn may_be_covered(subject: &Subject, path: &str) -> bool {
    let on_way = |mount: &Mount| {
        let destination = Path::new(&mount.destination);
        Path::new(path).starts_with(destination)
            || PROGRAMS.iter().any(|directory| destination.starts_with(directory))
    };
    subject.plan.mounts.iter().any(on_way)
}

/// Whether a kernel with other formats (binfmt_misc) may execute what this machine cannot.
fn is_emulated(why: &str) -> bool {
    let other = why.starts_with("it was built for") || why.starts_with("it is ");
    let formats = hostfs::names(Path::new("/proc/sys/fs/binfmt_misc")).unwrap_or_default();
    other && formats.iter().any(|name| name != "register" && name != "status")
}

/// Sources of bind mounts.
fn sources(subject: &Subject, findings: &mut Findings) {
    for mount in &subject.plan.mounts {
        let MountSource::Bind { path, symlink, .. } = &mount.source else { continue };
        let follow = if *symlink == SymlinkSource::Follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        let Err(errno) = hostfs::open(path, OFlags::PATH | follow) else { continue };
        // Hooks come after the mounts, so none can bring it.
        let at = format!("mounts[{}].source", mount.index);
        findings.host(at, format!("`{}`: {}", path.display(), crate::error::text(errno)));
        findings.suggest_name(near_name(path));
    }
}

/// Programs of hooks; those in the container are left to `create`.
fn hooks(subject: &Subject, findings: &mut Findings) {
    let hooks = &subject.plan.hooks;
    let lists = [
        (&hooks.prestart, "prestart", Level::Host),
        (&hooks.create_runtime, "createRuntime", Level::Host),
        (&hooks.create_container, "createContainer", Level::Host),
        (&hooks.poststart, "poststart", Level::Host),
        (&hooks.poststop, "poststop", Level::Warning),
    ];
    for (list, name, level) in lists {
        for (i, hook) in list.iter().enumerate() {
            let path = Path::new(std::ffi::OsStr::from_bytes(hook.path.to_bytes()));
            if let Some(why) = no_program(path) {
                findings.push(
                    level,
                    format!("hooks.{name}[{i}].path"),
                    format!("`{}`: {why}", path.display()),
                );
                findings.suggest_name(near_name(path));
            }
        }
    }
}

fn no_program(path: &Path) -> Option<String> {
    match hostfs::stat(path) {
        Err(errno) => Some(crate::error::text(errno)),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
            Some("is no regular file".to_owned())
        }
        Ok(stat) if stat.st_mode & 0o111 == 0 => Some("may not be executed: chmod +x".to_owned()),
        Ok(_) => None,
    }
}

/// The name beside a missing path that is nearest to it, as a path.
fn near_name(path: &Path) -> Option<String> {
    let (parent, name) = (path.parent()?, path.file_name()?.to_str()?);
    let names = hostfs::names(parent).ok()?;
    let near = near::nearest(name, names.iter().map(String::as_str))?;
    Some(parent.join(near).display().to_string())
}
