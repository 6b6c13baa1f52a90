//! Writes the man pages to docs/man and the shell completions to completions/, from the table of commands
//! and options: `make pages`. tests/pages.rs fails when one of them is stale.
#![allow(clippy::disallowed_methods, reason = "a tool that writes files of the repository")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Result;
use std::path::Path;

fn main() -> Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    write(&repository.join("docs/man"), &oxrun::man_pages())?;
    write(&repository.join("completions"), &oxrun::completions())
}

/// The files, and no others.
fn write(directory: &Path, files: &[(String, String)]) -> Result<()> {
    fs::create_dir_all(directory)?;
    let wanted: BTreeSet<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_none_or(|name| !wanted.contains(name)) {
            fs::remove_file(entry.path())?;
        }
    }
    files.iter().try_for_each(|(name, text)| fs::write(directory.join(name), text))
}
