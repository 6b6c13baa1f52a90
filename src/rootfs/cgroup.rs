//! Mounts of type `cgroup`: on cgroup v2 the one hierarchy, on v1 a tmpfs with a directory per
//! hierarchy and links for the controllers that share one. With a cgroup namespace the kernel shows
//! the container's part as the root; without one that part is bound (R18: nothing above it can be seen,
//! and what is mounted without a cgroup namespace is not wider). Called by `mount::mount`.

use super::Builder;
use super::mount::{clone_tree, find_target, new_filesystem, place, set_propagation};
use super::path::{Links, Missing, Root};
use crate::bundle::plan::{Mount, NamespaceKind};
use crate::cgroup::HierarchyView;
use crate::error::{Context, Doing};
use crate::sys::mount::{self as sys, Change};
use anyhow::Result;
use rustix::mount::MountAttrFlags;
use std::os::fd::OwnedFd;

/// Mounts the container's view of the cgroup tree.
pub fn mount(builder: &mut Builder, m: &Mount, data: &[(String, Option<String>)]) -> Result<()> {
    let target = find_target(builder, m, Missing::Directory, Links::Follow, None)?;
    if builder.cgroups.v2 {
        let (tree, change) = v2(builder, m, data)?;
        builder.attach_with(&tree, &target.fd, change)?;
        return set_propagation(builder, &tree, &m.propagation);
    }
    let tmpfs = v1_directory()?;
    place(builder, m, &tmpfs, &target, Change::default())?;
    let root = Root::new(rustix::io::fcntl_dupfd_cloexec(&tmpfs, 3).doing(|| "keep the cgroup directory")?);
    for hierarchy in &builder.cgroups.hierarchies {
        v1_hierarchy(builder, m, &root, hierarchy)
            .with_context(|| format!("cgroup hierarchy `{}`", hierarchy.name))?;
    }
    let readonly = m.attributes.set & u64::from(sys::MOUNT_ATTR_RDONLY);
    builder.set_attributes(&tmpfs, Change { set: readonly, ..Change::default() })
}

/// The attributes of a cgroup mount: those given, and never set-id, devices or programs.
fn attributes(m: &Mount) -> MountAttrFlags {
    let safe = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOEXEC;
    MountAttrFlags::from_bits_retain(m.attributes.set as u32 | safe)
}

fn v2(builder: &Builder, m: &Mount, data: &[(String, Option<String>)]) -> Result<(OwnedFd, Change)> {
    let view = builder.cgroups.hierarchies.first();
    if let (Some(view), false) = (view, builder.plan.namespaces.has(NamespaceKind::Cgroup)) {
        return bind(builder, m, view);
    }
    let refused = match new_filesystem("cgroup2", "cgroup", 0, data, attributes(m)) {
        Ok(tree) => return Ok((tree, Change::default())),
        Err(error) => error,
    };
    let errno = crate::error::errno_of(&refused);
    match view {
        Some(view) if matches!(errno, libc::EPERM | libc::EBUSY) => bind(builder, m, view),
        _ => Err(refused),
    }
}

fn v1_directory() -> Result<OwnedFd> {
    let data = [("mode".to_string(), Some("755".to_string()))];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    new_filesystem("tmpfs", "tmpfs", 0, &data, attributes)
}

fn v1_hierarchy(builder: &Builder, m: &Mount, root: &Root, view: &HierarchyView) -> Result<()> {
    let directory =
        root.find_or_create(&view.name, Missing::Directory, Links::Never).doing(|| "create its directory")?;
    let (tree, change) = if builder.plan.namespaces.has(NamespaceKind::Cgroup) {
        namespaced(builder, m, view)?
    } else {
        bind(builder, m, view)?
    };
    builder.attach_with(&tree, &directory.fd, change)?;
    for (name, target) in &view.symlinks {
        rustix::fs::symlinkat(target.as_str(), root.fd(), name.as_str())
            .doing(|| format!("link `{name}` to `{target}`"))?;
    }
    Ok(())
}

/// A mount of its own, whose root is the namespace's; a user namespace may not make one.
fn namespaced(builder: &Builder, m: &Mount, view: &HierarchyView) -> Result<(OwnedFd, Change)> {
    let kind = if view.mount_data.is_empty() { "cgroup2" } else { "cgroup" };
    let data: Vec<(String, Option<String>)> = view
        .mount_data
        .split(',')
        .filter(|option| !option.is_empty())
        .map(|option| match option.split_once('=') {
            Some((key, value)) => (key.to_string(), Some(value.to_string())),
            None => (option.to_string(), None),
        })
        .collect();
    match new_filesystem(kind, "cgroup", 0, &data, attributes(m)) {
        Err(error) if crate::error::errno_of(&error) == libc::EPERM => bind(builder, m, view),
        other => other.map(|tree| (tree, Change::default())),
    }
}

/// The container's own directory of the host's mount, and the options that it gets.
fn bind(builder: &Builder, m: &Mount, view: &HierarchyView) -> Result<(OwnedFd, Change)> {
    let path = &view.container_path;
    let clone = || clone_tree(path, false, false).doing(|| format!("clone `{}`", path.display()));
    let tree = builder.on_host(clone)?;
    Ok((tree, Change { set: u64::from(attributes(m).bits()), ..builder.parting }))
}
