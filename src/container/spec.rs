//! `spec`: writes the default config.json into a bundle.

use crate::bundle::Host;
use crate::bundle::default_spec::default_spec;
use crate::error::Doing;
use anyhow::Result;
use rustix::fs::{CWD, Mode, OFlags};
use std::io::Write;
use std::path::Path;

/// Writes config.json into `bundle` (the working directory when none); one that is there is kept.
pub fn write(bundle: Option<&Path>, rootless: bool) -> Result<()> {
    let path = bundle.unwrap_or(Path::new("")).join("config.json");
    let caller = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let text = default_spec(rootless.then_some(caller), Host::probe()?.cgroup_v2);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let doing = || format!("write `{}` (a file that is there is kept: remove it first)", path.display());
    let file = rustix::fs::openat(CWD, &path, flags, Mode::from_raw_mode(0o666)).doing(doing)?;
    std::fs::File::from(file).write_all(text.as_bytes()).doing(doing)
}
