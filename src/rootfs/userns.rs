//! What stands in for a filesystem that a user namespace may not mount: sysfs needs a network
//! namespace of the same owner, proc a pid namespace. The host's own is bound then, where that shows
//! the same; the sysfs of a joined network namespace is mounted by the host side. Called by
//! `mount::filesystem` after the kernel refused.

use super::Builder;
use super::device::clone_host;
use crate::bundle::plan::NamespaceKind;
use crate::error::reworded;
use anyhow::Result;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The host's /sys or /proc when it is what the container would see anyway, the sysfs of the network
/// namespace that is joined; else the kernel's refusal. `index` is that of the mount.
pub fn fallback(builder: &mut Builder, kind: &str, index: usize, refused: anyhow::Error) -> Result<OwnedFd> {
    let namespaces = &builder.plan.namespaces;
    match kind {
        "sysfs" if namespaces.joins(NamespaceKind::Network) => builder.source_from_host(index),
        "sysfs" if !namespaces.creates(NamespaceKind::Network) => clone_host(Path::new("/sys")),
        "proc" if !namespaces.has(NamespaceKind::Pid) => clone_host(Path::new("/proc")),
        "sysfs" | "proc" => Err(reworded(&refused, |why| {
            format!(
                "the host's own {kind} is partly covered, so a user namespace may not mount a new one: {why}"
            )
        })),
        _ => Err(refused),
    }
}
