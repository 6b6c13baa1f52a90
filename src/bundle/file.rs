//! The bundle directory and its config.json on disk: finding, reading and parsing it. Called by
//! `create`, `run` and the other commands that take `--bundle`.

use super::json;
use super::spec::Spec;
use crate::error::{Context, Doing, bail};
use crate::hostfs;
use rustix::fs::{FileType, OFlags};
use std::fs::File;
use std::io::Read;
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
    let path = hostfs::canonical(directory).with_context(|| {
        format!("open bundle `{}`: give the directory with config.json by --bundle", directory.display())
    })?;
    let about = hostfs::stat(&path).doing(|| format!("open bundle `{}`", path.display()))?;
    if FileType::from_raw_mode(about.st_mode) != FileType::Directory {
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
    match hostfs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).map_err(std::io::Error::from)
    {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!(
                "open `{}`: no such file; make one by `oxrun spec`, or name the bundle by --bundle",
                path.display()
            )
        }
        other => other.map(File::from).with_context(|| format!("open `{}`", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::default_spec::Form;

    /// A directory that is removed again.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let path = std::env::temp_dir().join(format!("oxrun-bundle-{}-{name}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Directory(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn error(directory: &Path, config: Option<&Path>) -> String {
        let error = format!("{:#}", read(directory, config).unwrap_err());
        assert!(!error.contains('\n'), "{error}");
        error
    }

    #[test]
    fn reads_a_bundle() {
        let directory = Directory::new("good");
        let text = Form::shell(None, true).text();
        std::fs::write(directory.0.join("config.json"), &text).unwrap();
        std::fs::write(directory.0.join("other"), "{}").unwrap();
        std::os::unix::fs::symlink(".", directory.0.join("link")).unwrap();
        let bundle = read(&directory.0.join("link"), None).unwrap();
        assert_eq!((bundle.path, bundle.text), (directory.0.canonicalize().unwrap(), text.into_bytes()));
        assert_eq!(bundle.spec.hostname, "oxrun");
        assert_eq!(read(&directory.0, Some(Path::new("other"))).unwrap().spec, Spec::default());
    }

    #[test]
    fn says_what_is_missing() {
        let directory = Directory::new("bad");
        let path = directory.0.canonicalize().unwrap();
        let (shown, config) = (path.display(), path.join("config.json"));
        let expected = "give the directory with config.json by --bundle: No such file or directory";
        assert!(error(&path.join("none"), None).contains(expected));
        assert!(
            error(&path, None).contains(&format!("open `{shown}/config.json`: no such file; make one by"))
        );
        std::fs::write(&config, "{\"root\":1,\"hostname\":2}").unwrap();
        let wrong = "/config.json`: root: invalid type: number, expected an object; hostname: invalid type";
        assert!(error(&path, None).contains(wrong), "{}", error(&path, None));
        assert!(error(&config, None).contains("not a directory"));
        std::fs::File::options().write(true).open(&config).unwrap().set_len(MAX_CONFIG_SIZE + 1).unwrap();
        assert!(error(&path, None).contains("larger than 64 MiB"));
        std::fs::remove_file(&config).unwrap();
        std::fs::create_dir(&config).unwrap();
        assert!(error(&path, None).contains("config.json`: not a regular file"));
        std::fs::remove_dir(&config).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &config, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(error(&path, None).contains("config.json`: not a regular file"), "and does not hang");
    }
    #[test]
    fn says_what_cannot_be_opened_or_read() {
        let directory = Directory::new("unread");
        let config = directory.0.join("config.json");
        std::os::unix::fs::symlink("config.json", &config).unwrap();
        assert!(error(&directory.0, None).contains("config.json`: Too many levels of symbolic links"));
        std::fs::remove_file(&config).unwrap();
        // A regular file that cannot be read at its beginning.
        std::os::unix::fs::symlink("/proc/self/mem", &config).unwrap();
        let said = error(&directory.0, None);
        assert!(said.starts_with("read `") && said.contains("Input/output error"), "{said}");
    }
}
