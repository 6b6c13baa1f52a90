//! The bundle directory and its config.json on disk: finding, reading and parsing it. Called by
//! `create`, `run` and the other commands that take `--bundle`.

use super::json;
use super::spec::Spec;
use anyhow::{Context, bail};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The largest config.json that is read, in bytes; engines write some 10 to 50 KiB.
pub const MAX_CONFIG_SIZE: u64 = 64 << 20;

/// A bundle as it was read.
#[derive(Debug)]
pub struct Bundle {
    /// The directory, absolute, without symbolic links.
    pub path: PathBuf,
    /// config.json, byte for byte.
    pub text: Vec<u8>,
    /// config.json, parsed.
    pub spec: Spec,
}

/// Reads the bundle in `directory`, its configuration from `config` where that is not
/// `config.json` in it.
pub fn read(directory: &Path, config: Option<&Path>) -> anyhow::Result<Bundle> {
    let path = directory.canonicalize().with_context(|| {
        format!("open bundle `{}`: give the directory with config.json by --bundle", directory.display())
    })?;
    if !path.is_dir() {
        bail!("open bundle `{}`: not a directory; give the one that holds config.json", path.display());
    }
    let config = path.join(config.unwrap_or(Path::new("config.json")));
    let text = read_config(&config)?;
    let spec = json::parse(&text).with_context(|| format!("read `{}`", config.display()))?;
    Ok(Bundle { path, text, spec })
}

fn read_config(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut file = open(path)?;
    let about = file.metadata().with_context(|| format!("examine `{}`", path.display()))?;
    if !about.is_file() {
        bail!("open `{}`: not a regular file", path.display());
    }
    let mut text = Vec::with_capacity(usize::try_from(about.len().min(MAX_CONFIG_SIZE))? + 1);
    Read::by_ref(&mut file)
        .take(MAX_CONFIG_SIZE + 1)
        .read_to_end(&mut text)
        .with_context(|| format!("read `{}`", path.display()))?;
    if text.len() as u64 > MAX_CONFIG_SIZE {
        bail!(
            "read `{}`: larger than {} MiB, which no container needs",
            path.display(),
            MAX_CONFIG_SIZE >> 20
        );
    }
    Ok(text)
}

/// Opens without waiting for the other end where it is a fifo.
fn open(path: &Path) -> anyhow::Result<File> {
    match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!(
                "open `{}`: no such file; make one by `oxrun spec`, or name the bundle by --bundle",
                path.display()
            )
        }
        other => other.with_context(|| format!("open `{}`", path.display())),
    }
}
