//! The protections of config.json, once more, on mounts that came from the images of a checkpoint: the
//! options of mounts, read-only and masked paths, the read-only root. Images may come from anywhere, and
//! CRIU forgets the options of a mount when another one of the same filesystem has the same. Only
//! protections are added; nothing is loosened. Called for a restored container before it goes on.

use super::path::{Links, Root};
use super::{Builder, hide};
use crate::error::{Context, Doing};
use crate::sys::mount::{self as sys, Change};
use anyhow::Result;
use rustix::fs::{AtFlags, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// Options that protect somebody.
const PROTECTIONS: u64 = (sys::MOUNT_ATTR_RDONLY
    | sys::MOUNT_ATTR_NOSUID
    | sys::MOUNT_ATTR_NODEV
    | sys::MOUNT_ATTR_NOEXEC
    | sys::MOUNT_ATTR_NOSYMFOLLOW) as u64;
/// Those of a mask.
const MASK: u64 = (sys::MOUNT_ATTR_RDONLY | sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NOEXEC) as u64;

/// Protects the root that this process is in. `null` is what masks a file that is not masked.
pub fn reseal(builder: &Builder, null: Option<&OwnedFd>) -> Result<()> {
    let plan = builder.plan;
    for mount in plan.mounts.iter().filter(|mount| mount.destination != "/") {
        let named = || format!("protect the mount on `{}` (mounts[{}])", mount.destination, mount.index);
        let links = if mount.follow_destination { Links::Follow } else { Links::NotLast };
        let Some(fd) = mounted(&builder.root, &mount.destination, links).with_context(named)? else {
            continue;
        };
        for (options, recursive) in [(mount.attributes.set, false), (mount.attributes.recursive_set, true)] {
            let change = Change { set: options & PROTECTIONS, recursive, ..Change::default() };
            builder.set_attributes(&fd, change).with_context(named)?;
        }
    }
    let readonly = protect(builder, &plan.readonly_paths, u64::from(sys::MOUNT_ATTR_RDONLY), true)?;
    hide::make_readonly(&builder.root, &readonly, builder.procfs, builder.host)?;
    let unmasked = protect(builder, &plan.masked_paths, MASK, false)?;
    hide::mask(&builder.root, &unmasked, null, builder.procfs, builder.host)?;
    if plan.root_readonly { super::make_readonly(&builder.root, builder.host) } else { Ok(()) }
}

/// Protects the mounts on these paths; the paths that have none.
fn protect(builder: &Builder, paths: &[String], set: u64, recursive: bool) -> Result<Vec<String>> {
    let mut without = Vec::new();
    for path in paths {
        match mounted(&builder.root, path, Links::Follow).with_context(|| format!("protect `{path}`"))? {
            Some(fd) => {
                let change = Change { set, recursive, ..Change::default() };
                builder.set_attributes(&fd, change).with_context(|| format!("protect `{path}`"))?;
            }
            None => without.push(path.clone()),
        }
    }
    Ok(without)
}

/// The mount on a path, if something is mounted there.
fn mounted(root: &Root, path: &str, links: Links) -> Result<Option<OwnedFd>> {
    let fd = match root.open(path, OFlags::PATH, links) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        other => other.doing(|| "find it")?,
    };
    let stat = rustix::fs::statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::TYPE).doing(|| "look at it")?;
    Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT).then_some(fd))
}
