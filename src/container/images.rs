//! The directories of a checkpoint: that of the images and that of logs and passing files. Images may
//! come from anywhere, so before CRIU reads them the directory is looked through: it may hold regular
//! files, and as the link `parent` the way to the images before them, which must lie beside it (R21). Used
//! by `checkpoint` and `restore`.

use crate::cli::checkpoint::Common;
use crate::error::{Context, Doing, bail, failed};
use anyhow::Result;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// What stands for the descriptors that the processes had of the host, as a list of names: those of 0, 1
/// and 2 of the first process, then those that are the host's null device.
const DESCRIPTORS: &str = "descriptors.json";
/// Longest list of descriptors that is read, in bytes.
const LONGEST_LIST: u64 = 1 << 20;
/// The link to the images before.
const PARENT: &str = "parent";
/// Longest chain of images.
const LONGEST_CHAIN: usize = 100;

/// The opened directories.
#[derive(Debug)]
pub struct Directories {
    /// Of the images.
    pub images: OwnedFd,
    /// Of logs and passing files; may be the same.
    pub work: OwnedFd,
    /// Their paths, absolute.
    images_path: PathBuf,
    work_path: PathBuf,
}

impl Directories {
    /// Opens both, and makes those that are missing.
    pub fn to_write(args: &Common) -> Result<Directories> {
        let path = images_path(args);
        make(&path).doing(|| format!("make the directory `{}` (--image-path)", path.display()))?;
        let directories = Directories::open(args, &path)?;
        check_files(&directories.images)
            .with_context(|| format!("`{}` (--image-path)", path.display()))
            .map(|()| directories)
    }

    /// Opens both for a restore: there must be images, and nothing else.
    pub fn to_read(args: &Common) -> Result<Directories> {
        let path = images_path(args);
        let directories = Directories::open(args, &path)?;
        chain(&directories.images).with_context(|| format!("`{}` (--image-path)", path.display()))?;
        match rustix::fs::statat(&directories.images, "pstree.img", AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(directories),
            Err(_) => bail!(
                "`{}` (--image-path) is no checkpoint: it has no pstree.img (a pre-dump alone cannot be restored)",
                path.display()
            ),
        }
    }

    fn open(args: &Common, path: &Path) -> Result<Directories> {
        let images = open(path).doing(|| format!("open `{}` (--image-path)", path.display()))?;
        let work_path = match &args.work {
            None => path.to_path_buf(),
            Some(path) => {
                make(path).doing(|| format!("make the directory `{}` (--work-path)", path.display()))?;
                path.clone()
            }
        };
        let work = open(&work_path).doing(|| format!("open `{}` (--work-path)", work_path.display()))?;
        let absolute = |path: &Path| std::path::absolute(path).context("find the directory");
        Ok(Directories { images, work, images_path: absolute(path)?, work_path: absolute(&work_path)? })
    }

    /// The same directories by their paths in the mount namespace that this process is in now.
    pub fn opened_again(&self) -> Result<Directories> {
        let again = |before: &OwnedFd, path: &Path| -> Result<OwnedFd> {
            let doing = || format!("open `{}` again", path.display());
            let fd = open(path).doing(doing)?;
            let which = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|s| (s.st_dev, s.st_ino)).doing(doing);
            if which(before)? != which(&fd)? {
                bail!("{}: it was replaced by another directory meanwhile", doing());
            }
            Ok(fd)
        };
        Ok(Directories {
            images: again(&self.images, &self.images_path)?,
            work: again(&self.work, &self.work_path)?,
            images_path: self.images_path.clone(),
            work_path: self.work_path.clone(),
        })
    }

    /// Removes an earlier log of this name, so that CRIU writes to no other file through it.
    pub fn new_log(&self, name: &str) -> Result<()> {
        match rustix::fs::unlinkat(&self.work, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => {
                Err(failed(format!("remove the old log `{}`", self.log_path(name).display()))(errno))
            }
        }
    }

    /// Where a log is, for messages.
    pub fn log_path(&self, name: &str) -> PathBuf {
        self.work_path.join(name)
    }

    /// Removes the link of an earlier dump, which CRIU would take for that of the new one.
    pub fn forget_parent(&self) -> Result<()> {
        match rustix::fs::unlinkat(&self.images, PARENT, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("remove the old link `parent` beside the images")(errno)),
        }
    }

    /// Sees that the parent images of `--parent-path` are there, where `restore` would take them too.
    pub fn check_parent(&self, parent: &Path) -> Result<()> {
        open_parent(&self.images, parent)
            .with_context(|| format!("`{}` (--parent-path)", parent.display()))
            .map(drop)
    }

    /// Lets a group into the directories of the images: CRIU reads some of them as root of the container's
    /// user namespace, whose group that is. What is open to all, or belongs to others, is left alone.
    pub fn let_in(&self, gid: u32) -> Result<()> {
        for directory in chain(&self.images)? {
            let stat = rustix::fs::fstat(&directory).doing(|| "look at the images")?;
            if stat.st_mode & 0o001 != 0 || stat.st_uid != rustix::process::geteuid().as_raw() {
                continue;
            }
            let group = Some(rustix::fs::Gid::from_raw(gid));
            let mode = Mode::from_raw_mode((stat.st_mode & 0o7700) | 0o010);
            rustix::fs::fchown(&directory, None, group)
                .and_then(|()| rustix::fs::fchmod(&directory, mode))
                .doing(|| format!("let group {gid}, the user namespace's root, into the images"))?;
        }
        Ok(())
    }

    /// Writes the names of the host's descriptors.
    pub fn write_descriptors(&self, names: &[String]) -> Result<()> {
        let write = || -> Result<()> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&self.images, DESCRIPTORS, flags, Mode::RUSR | Mode::WUSR)
                .doing(|| "open it")?;
            serde_json::to_writer(std::fs::File::from(file), names)?;
            Ok(())
        };
        write().with_context(|| format!("write {DESCRIPTORS} beside the images"))
    }

    /// Reads them; images of others may be without.
    pub fn read_descriptors(&self) -> Result<Vec<String>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.images, DESCRIPTORS, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            other => other.doing(|| format!("open {DESCRIPTORS} of the images"))?,
        };
        let mut bytes = Vec::new();
        let read = std::fs::File::from(file).take(LONGEST_LIST).read_to_end(&mut bytes);
        read.doing(|| format!("read {DESCRIPTORS} of the images"))?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("{DESCRIPTORS} of the images is no list of names"))
    }
}

fn images_path(args: &Common) -> PathBuf {
    args.images.clone().unwrap_or_else(|| PathBuf::from("checkpoint"))
}

/// Images hold all the memory of a container: they are the caller's alone.
fn make(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
}

/// The images and all before them, looked through.
fn chain(images: &OwnedFd) -> Result<Vec<OwnedFd>> {
    let mut chain = vec![rustix::io::fcntl_dupfd_cloexec(images, 3).doing(|| "keep the directory")?];
    while let Some(last) = chain.last().filter(|_| chain.len() <= LONGEST_CHAIN) {
        check_files(last)?;
        let target = match rustix::fs::readlinkat(last, PARENT, Vec::new()) {
            Err(Errno::NOENT) => return Ok(chain),
            other => other.doing(|| "read the link `parent`")?,
        };
        let target = PathBuf::from(target.to_string_lossy().into_owned());
        let parent = open_parent(last, &target)
            .with_context(|| format!("the link `{PARENT}` to `{}`", target.display()))?;
        chain.push(parent);
    }
    bail!("more than {LONGEST_CHAIN} images are chained by the link `{PARENT}`")
}

/// Nothing but regular files, and the one link.
fn check_files(images: &OwnedFd) -> Result<()> {
    for entry in Dir::read_from(images).doing(|| "list the images")? {
        let name = entry.doing(|| "list the images")?.file_name().to_owned();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(images, &name, AtFlags::SYMLINK_NOFOLLOW)
            .doing(|| format!("look at `{}`", name.to_string_lossy()))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        // A socket is what a lazy restore listens on.
        let harmless = matches!(kind, FileType::RegularFile | FileType::Socket | FileType::Directory);
        let parent = kind == FileType::Symlink && name.to_bytes() == PARENT.as_bytes();
        if !(harmless || parent) {
            bail!(
                "`{}` is no regular file: images are read from regular files only",
                crate::criu::clean(&name.to_string_lossy())
            );
        }
    }
    Ok(())
}

/// The directory that the link `parent` leads to: beneath the images' own, or `../` and a path beneath
/// the directory that they are in.
fn open_parent(images: &OwnedFd, target: &Path) -> Result<OwnedFd> {
    if target.is_absolute() {
        bail!("it is absolute, but must be relative to the images");
    }
    let mut rest = target.components();
    let (start, rest) = match rest.next() {
        Some(Component::ParentDir) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let above = rustix::fs::openat(images, "..", flags, Mode::empty()).doing(|| "open `..`")?;
            (above, rest.as_path())
        }
        _ => (rustix::io::fcntl_dupfd_cloexec(images, 3).doing(|| "keep the directory")?, target),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let rest = if rest.as_os_str().is_empty() { Path::new(".") } else { rest };
    match rustix::fs::openat2(&start, rest, flags, Mode::empty(), resolve) {
        Err(Errno::XDEV) => bail!("it leads out of the directory that the images are in"),
        Err(Errno::LOOP) => bail!("there is a symbolic link on the way"),
        other => other.doing(|| "open it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn common(images: PathBuf) -> Common {
        Common { images: Some(images), ..Common::default() }
    }

    fn refusal(images: &Path) -> String {
        format!("{:#}", Directories::to_read(&common(images.into())).unwrap_err())
    }

    #[test]
    fn images_are_regular_files_alone() {
        let dir = tempfile::tempdir().unwrap();
        let images = dir.path().join("images");
        std::fs::create_dir(&images).unwrap();
        assert!(refusal(&images).contains("no pstree.img"));
        std::fs::write(images.join("pstree.img"), "").unwrap();
        Directories::to_read(&common(images.clone())).unwrap();
        for name in ["pages-1.img", "restore.log", "descriptors.json"] {
            symlink("/etc/shadow", images.join(name)).unwrap();
            assert!(refusal(&images).contains(&format!("`{name}` is no regular file")), "{name}");
            assert!(Directories::to_write(&common(images.clone())).is_err(), "{name}");
            std::fs::remove_file(images.join(name)).unwrap();
        }
        rustix::fs::mknodat(CWD, images.join("core-1.img"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(refusal(&images).contains("is no regular file"));
    }

    #[test]
    fn parents_lie_beside_the_images() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["images", "pre", "far/away"] {
            std::fs::create_dir_all(dir.path().join("here").join(name)).unwrap();
        }
        let images = dir.path().join("here/images");
        std::fs::write(images.join("pstree.img"), "").unwrap();
        let set = |target: &str| {
            let _ = std::fs::remove_file(images.join(PARENT));
            symlink(target, images.join(PARENT)).unwrap();
        };
        for good in ["../pre", "../far/away", "../pre/", "../pre/../far/away"] {
            set(good);
            Directories::to_read(&common(images.clone())).unwrap();
        }
        for (bad, why) in [
            ("/etc", "absolute"),
            ("../..", "leads out"),
            ("../../../etc", "leads out"),
            ("../pre/../../here", "leads out"),
            ("../missing", "no such file"),
            ("../images", "chained"),
        ] {
            set(bad);
            assert!(refusal(&images).contains(why), "{bad}: {}", refusal(&images));
        }
        set("../pre");
        symlink("/etc/shadow", dir.path().join("here/pre/pages-1.img")).unwrap();
        assert!(refusal(&images).contains("`pages-1.img` is no regular file"));
        std::fs::remove_file(dir.path().join("here/pre/pages-1.img")).unwrap();
        symlink("/etc", dir.path().join("here/link")).unwrap();
        set("../link");
        assert!(refusal(&images).contains("symbolic link on the way"));
    }

    #[test]
    fn descriptors_are_read_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let directories = Directories::to_write(&common(dir.path().join("a/b"))).unwrap();
        assert!(directories.read_descriptors().unwrap().is_empty());
        directories.write_descriptors(&["/dev/null".into(), "pipe:[7]".into()]).unwrap();
        assert_eq!(directories.read_descriptors().unwrap(), ["/dev/null", "pipe:[7]"]);
        std::fs::write(dir.path().join("a/b/descriptors.json"), "{}").unwrap();
        assert!(directories.read_descriptors().unwrap_err().to_string().contains("no list of names"));
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(dir.path().join("a/b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn an_old_log_is_removed_and_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let (images, work) = (dir.path().join("images"), dir.path().join("work"));
        let args = Common { work: Some(work.clone()), ..common(images) };
        let directories = Directories::to_write(&args).unwrap();
        symlink(dir.path().join("victim"), work.join("dump.log")).unwrap();
        directories.new_log("dump.log").unwrap();
        directories.new_log("dump.log").unwrap();
        assert!(work.join("dump.log").symlink_metadata().is_err());
        assert_eq!(directories.log_path("dump.log"), work.join("dump.log"));
    }
}
