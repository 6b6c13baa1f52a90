//! `doctor`: what this host offers to containers, as a table with remedies. Each row is found out by
//! calling the kernel or the program in question, never by a version number, and changes nothing:
//! `kernel.rs` for what is called, `services.rs` for cgroups, systemd, security modules, ids, CRIU and
//! the state directory. Called by `main`.

mod kernel;
mod report;
mod services;

pub use report::Report;

use crate::bundle::Host;
use crate::container::create::Settings;
use anyhow::Result;
use report::Rows;
use std::path::Path;

/// Looks at everything; `root` is where states would be kept, `criu` the program given for it.
pub fn examine(root: &Path, settings: Settings, criu: Option<&Path>) -> Result<Report> {
    let host = Host::probe()?;
    let mut rows = Rows::default();
    kernel::look(&host, &mut rows);
    services::look(&host, root, settings, criu, &mut rows);
    Ok(rows.into_report())
}
