//! The measured programs: oxrun, the others found on PATH, and the floor.

use super::spawn::Command;
use std::path::{Path, PathBuf};

/// One of them.
pub struct Runtime {
    /// What it is called in the tables.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// The directory of its containers' states; that of the floor's scripts.
    pub root: PathBuf,
    /// Whether it is the floor, which has scripts and no command line.
    pub is_floor: bool,
}

impl Runtime {
    /// A command line.
    pub fn command(&self, words: &[&str]) -> Command {
        let (path, root) = (self.path.to_string_lossy(), self.root.to_string_lossy());
        let mut all = vec![path.as_ref(), "--root", root.as_ref()];
        all.extend(words);
        Command::new(&all)
    }

    /// The floor with a script.
    pub fn script(&self, name: &str) -> Command {
        Command::new(&[self.path.to_string_lossy(), self.root.join(name).to_string_lossy()])
    }

    /// An id for one of its containers.
    pub fn id(&self, suffix: &str) -> String {
        format!("bench{}-{}-{suffix}", std::process::id(), self.name)
    }

    /// The first line of what it says about its version, without names of this machine.
    pub fn version(&self) -> String {
        let output = std::process::Command::new(&self.path).arg("--version").output();
        let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        text.lines().next().unwrap_or("").to_string()
    }

    /// How many shared libraries it is started with, and their size in bytes.
    pub fn libraries(&self) -> (usize, u64) {
        let output = std::process::Command::new("ldd").arg(&self.path).output();
        let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        let files = text.lines().filter_map(|line| line.split_whitespace().find(|w| w.starts_with('/')));
        let sizes = files.filter_map(|file| std::fs::metadata(file).ok()).map(|m| m.len());
        sizes.fold((0, 0), |(count, total), size| (count + 1, total + size))
    }
}

/// A program by its name or path.
pub fn find(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Path::new(name).exists().then(|| name.into());
    }
    let path = std::env::var_os("PATH")?;
    let directories = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    directories.map(|d| d.join(name)).find(|file| file.is_file())
}
