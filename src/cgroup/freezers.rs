//! Whether cgroups are frozen, asked for many containers in a row: each hierarchy is opened and checked
//! once, and each cgroup costs one file. Used by `list` and `state`.

use super::node::{Node, Place, read_line_below};
use anyhow::Result;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// Hierarchies that were opened.
#[derive(Debug, Default)]
pub struct Freezers(Vec<(PathBuf, OwnedFd)>);

impl Freezers {
    /// Whether the cgroup of `Manager::freezer` is frozen; one that is gone is not.
    pub fn is_frozen(&mut self, place: &Place) -> Result<bool> {
        if self.root(place).is_none() {
            let root = match Node::new(place.clone()).root() {
                Ok(root) => root,
                // Without the hierarchy nothing can be frozen.
                Err(_) if crate::hostfs::filesystem_type(&place.mountpoint) == Err(Errno::NOENT) => {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            };
            self.0.push((place.mountpoint.clone(), root));
        }
        let Some(root) = self.root(place) else { return Ok(false) };
        let (name, running) =
            if place.is_v2() { ("cgroup.freeze", "0") } else { ("freezer.state", "THAWED") };
        let file = format!("{}/{name}", place.path);
        match read_line_below(root.as_fd(), &file) {
            Ok(line) => Ok(line != running),
            Err(Errno::NOENT | Errno::NODEV) => Ok(false),
            Err(errno) => {
                Err(crate::error::failed(format!("read `{}`", place.mountpoint.join(file).display()))(errno))
            }
        }
    }

    /// The directory of its hierarchy, once opened.
    fn root(&self, place: &Place) -> Option<&OwnedFd> {
        Some(&self.0.iter().find(|(mountpoint, _)| *mountpoint == place.mountpoint)?.1)
    }
}
