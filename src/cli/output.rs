//! What commands write to stdout.
use anyhow::{Context, Result};
use std::io::Write;

/// Writes to stdout, all of it.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("write to stdout")
}
