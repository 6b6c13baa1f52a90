//! Whether cgroups are frozen, asked for many containers in a row: each hierarchy is opened and checked
//! once, and each cgroup costs a file or two. Used by `list` and `state`.

use super::node::{Node, Place, field, read_below};
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
        let read = |name: &str| {
            let file = format!("{}/{name}", place.path);
            match read_below(root.as_fd(), &file) {
                Ok(text) => Ok(Some(text)),
                Err(Errno::NOENT | Errno::NODEV) => Ok(None),
                Err(errno) => Err(crate::error::failed(format!(
                    "read `{}`",
                    place.mountpoint.join(file).display()
                ))(errno)),
            }
        };
        if !place.is_v2() {
            return Ok(read("freezer.state")?.is_some_and(|state| state.trim() != "THAWED"));
        }
        // Told to freeze, or frozen with a cgroup above it.
        let Some(told) = read("cgroup.freeze")? else { return Ok(false) };
        Ok(told.trim() != "0"
            || read("cgroup.events")?.is_some_and(|events| field(&events, "frozen") == Some("1")))
    }

    /// The directory of its hierarchy, once opened.
    fn root(&self, place: &Place) -> Option<&OwnedFd> {
        Some(&self.0.iter().find(|(mountpoint, _)| *mountpoint == place.mountpoint)?.1)
    }
}
