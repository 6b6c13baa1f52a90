//! What stands in for a filesystem that a user namespace may not mount: sysfs needs a network
//! namespace of the same owner, proc a pid namespace. The host's own is bound then, where that shows
//! the same. Called by `mount::filesystem` after the kernel refused.

use super::Builder;
use super::device::clone_host;
use crate::bundle::plan::NamespaceKind;
use anyhow::Result;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A clone of the host's /sys or /proc when it is what the container would see anyway; else the
/// kernel's refusal.
pub fn fallback(builder: &Builder, kind: &str, refused: anyhow::Error) -> Result<OwnedFd> {
    let namespaces = &builder.plan.namespaces;
    match kind {
        "sysfs" if !namespaces.creates(NamespaceKind::Network) => clone_host(Path::new("/sys")),
        "proc" if !namespaces.has(NamespaceKind::Pid) => clone_host(Path::new("/proc")),
        "sysfs" | "proc" => Err(refused.context(format!(
            "the host's own {kind} is partly covered, so a user namespace may not mount a new one"
        ))),
        _ => Err(refused),
    }
}
