//! What a container has of the host, which CRIU must be told about: bind mounts, masks and device nodes,
//! namespaces joined by path, descriptors that were handed over. When a container is written, each
//! such thing gets a name in the images; when it is made again, the name gets what config.json and the
//! caller say now. Nothing that images say chooses a file of the host (R21). Used by `checkpoint` and `restore`.

use crate::bundle::plan::{MountSource, NamespaceKind, Plan, SymlinkSource};
use crate::cgroup::View;
use crate::criu::messages::{ExternalMount, InheritedFd, JoinNamespace};
use crate::error::{Context, Doing, bail, failed};
use crate::hostfs;
use crate::namespaces;
use crate::procfs::Procfs;
use crate::rootfs::path::{Links, Missing, Root};
use anyhow::Result;
use rustix::fs::{AtFlags, FileType, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The name of every masked file.
const NULL: &str = "/dev/null";

/// A part of the host's file tree in the container.
#[derive(Debug, PartialEq, Eq)]
struct Bind {
    destination: String,
    source: PathBuf,
    recursive: bool,
}

/// All of them that the plan names, in its order.
fn binds(plan: &Plan, cgroups: &View) -> Vec<Bind> {
    let namespaces = &plan.namespaces;
    let fallback = |source: &str| Some((PathBuf::from(source), true));
    let mut binds = Vec::new();
    for mount in plan.mounts.iter().filter(|m| m.destination != "/") {
        let source = match &mount.source {
            MountSource::Bind { path, recursive, symlink: SymlinkSource::Follow, .. } => {
                Some((path.clone(), *recursive))
            }
            // As `rootfs::userns` makes them.
            MountSource::Filesystem { kind, .. } if namespaces.has(NamespaceKind::User) => {
                match kind.as_str() {
                    "sysfs" if !namespaces.creates(NamespaceKind::Network) => fallback("/sys"),
                    "proc" if !namespaces.has(NamespaceKind::Pid) => fallback("/proc"),
                    _ => None,
                }
            }
            MountSource::Cgroup { .. } if !cgroups.v2 && !namespaces.has(NamespaceKind::Cgroup) => {
                binds.extend(cgroups.hierarchies.iter().map(|view| Bind {
                    destination: format!("{}/{}", mount.destination, view.name),
                    source: view.container_path.clone(),
                    recursive: false,
                }));
                None
            }
            _ => None,
        };
        let destination = mount.destination.clone();
        binds.extend(source.map(|(source, recursive)| Bind { destination, source, recursive }));
    }
    binds
}

/// One line of a mount table (proc_pid_mountinfo(5)).
#[derive(Debug, PartialEq, Eq)]
struct Line {
    id: u64,
    point: String,
}

/// A mount table.
#[derive(Debug)]
pub struct MountTable(Vec<Line>);

impl MountTable {
    /// That of a process.
    pub fn of(procfs: &Procfs, pid: &str) -> Result<MountTable> {
        let bytes = procfs.read(&format!("{pid}/mountinfo")).doing(|| "read the container's mount table")?;
        Ok(MountTable::parse(&String::from_utf8_lossy(&bytes)))
    }

    fn parse(text: &str) -> MountTable {
        let line = |line: &str| {
            let mut fields = line.split(' ');
            let id = fields.next()?.parse().ok()?;
            Some(Line { id, point: unescape(fields.nth(3)?) })
        };
        MountTable(text.lines().filter_map(line).collect())
    }

    /// The mount points beneath a path, without itself.
    fn beneath<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(|line| line.point.as_str()).filter(move |point| is_beneath(point, path))
    }

    fn has(&self, id: u64) -> bool {
        self.0.iter().any(|line| line.id == id)
    }

    /// The mount point of what is mounted on `path`, if it is mounted there.
    fn point(&self, root: &Root, path: &str) -> Result<Option<(&str, bool)>> {
        let fd = match root.open(path, OFlags::PATH, Links::Follow) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            other => other.doing(|| format!("find `{path}` in the container"))?,
        };
        let look = || format!("look at `{path}` in the container");
        let stat = rustix::fs::statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID | StatxFlags::TYPE)
            .doing(look)?;
        if !stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            return Ok(None);
        }
        let directory = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory;
        let line = self.0.iter().find(|line| line.id == stat.stx_mnt_id);
        Ok(line.map(|line| (line.point.as_str(), directory)))
    }
}

/// Spaces and the like are written in octal.
fn unescape(field: &str) -> String {
    let mut out = Vec::new();
    let bytes = field.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = field.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (byte, code) {
            (b'\\', Some(code)) => {
                out.push(code);
                at += 4;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn is_beneath(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory.trim_end_matches('/'))
        .is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
}

/// The mounts of a running container that are the host's: where they are, and their names.
pub fn mounts_to_dump(
    plan: &Plan,
    cgroups: &View,
    table: &MountTable,
    root: &Root,
) -> Result<Vec<ExternalMount>> {
    let mut found = Vec::new();
    let mut known = BTreeSet::new();
    let mut add = |known: &mut BTreeSet<String>, point: &str, name: &str| {
        if known.insert(point.to_string()) {
            found.push(ExternalMount { key: point.into(), value: name.into() });
        }
    };
    let mut others = BTreeSet::new();
    for mount in &plan.mounts {
        if mount.id_map.is_some() {
            bail!("the id-mapped mount `{}` (mounts[{}]) cannot be restored", mount.destination, mount.index);
        }
        others.extend(table.point(root, &mount.destination)?.map(|(point, _)| point.to_string()));
    }
    let binds = binds(plan, cgroups);
    for bind in &binds {
        if let Some((point, _)) = table.point(root, &bind.destination)? {
            add(&mut known, point, point);
        }
    }
    for path in &plan.masked_paths {
        match table.point(root, path)? {
            Some((point, false)) => add(&mut known, point, NULL),
            // A masked directory is a tmpfs, which CRIU makes itself.
            Some((point, true)) => drop(others.insert(point.to_string())),
            None => {}
        }
    }
    for device in &plan.devices {
        if let Some((point, false)) = table.point(root, &device.path)? {
            add(&mut known, point, &device.path);
        }
    }
    // What else was below the source of a recursive bind mount came with it.
    for bind in binds.iter().filter(|bind| bind.recursive) {
        let Some((point, _)) = table.point(root, &bind.destination)? else { continue };
        for below in table.beneath(point).filter(|below| !others.contains(*below)) {
            add(&mut known, below, below);
        }
    }
    Ok(found)
}

/// The names of such mounts, and what is mounted for them now.
pub fn mounts_to_restore(plan: &Plan, cgroups: &View, procfs: &Procfs) -> Result<Vec<ExternalMount>> {
    let host = MountTable::of(procfs, &procfs.own_name()?)?;
    let root = Root::new(
        hostfs::open(&plan.rootfs, OFlags::PATH | OFlags::DIRECTORY)
            .doing(|| format!("open the root filesystem `{}`", plan.rootfs.display()))?,
    );
    let root_path = procfs.path_of(root.fd())?;
    let mut mounts = Vec::new();
    let mut add = |name: String, source: &str| {
        mounts.push(ExternalMount { key: name, value: source.to_string() });
    };
    for bind in binds(plan, cgroups) {
        let shown = bind.source.display();
        let source = hostfs::open(&bind.source, OFlags::PATH)
            .doing(|| format!("open `{shown}`, the source of the mount on `{}`", bind.destination))?;
        let source = procfs.path_of(&source)?;
        let mut names = vec![bind.destination.clone()];
        // The destination may be a link: the name is then where that leads.
        if let Ok(target) = root.open(&bind.destination, OFlags::PATH, Links::Follow) {
            let target = procfs.path_of(&target)?;
            names
                .extend(target.strip_prefix(&root_path).filter(|t| *t != bind.destination).map(String::from));
        }
        for name in names {
            if bind.recursive {
                for below in host.beneath(&source) {
                    let rest = below.strip_prefix(source.trim_end_matches('/')).unwrap_or_default();
                    add(format!("{name}{rest}"), below);
                }
            }
            add(name, &source);
        }
    }
    add(NULL.into(), NULL);
    for device in plan.devices.iter().filter(|device| device.path != NULL) {
        add(device.path.clone(), &device.path);
    }
    Ok(mounts)
}

/// Makes the mount points that CRIU needs: in the root filesystem, and for mounts within bind mounts in
/// their sources. What is on other filesystems CRIU restores itself.
pub fn make_targets(plan: &Plan) -> Result<()> {
    for (index, mount) in plan.mounts.iter().enumerate() {
        let missing = match &mount.source {
            MountSource::Bind { symlink: SymlinkSource::Copy, .. } => continue,
            MountSource::Bind { path, .. } if !hostfs::is_directory(path) => Missing::File,
            MountSource::Remount | MountSource::Propagation => continue,
            _ => Missing::Directory,
        };
        let earlier = plan.mounts.get(..index).unwrap_or_default();
        let outer = earlier.iter().rev().find(|m| is_beneath(&mount.destination, &m.destination));
        let (base, path) = match outer.map(|outer| (&outer.source, &outer.destination)) {
            None => (plan.rootfs.as_path(), mount.destination.as_str()),
            Some((MountSource::Bind { path, .. }, destination)) => {
                (path.as_path(), mount.destination.strip_prefix(destination.as_str()).unwrap_or_default())
            }
            Some(_) => continue,
        };
        let make = || -> Result<()> {
            let base = hostfs::open(base, OFlags::PATH | OFlags::DIRECTORY).doing(|| "open what it is in")?;
            Root::new(base)
                .find_or_create(path, missing, Links::Follow)
                .doing(|| "find or create it")
                .map(drop)
        };
        make().with_context(|| format!("mount point `{}` (mounts[{}])", mount.destination, mount.index))?;
    }
    Ok(())
}

/// The name in the images of a namespace that is not written.
fn name_of(kind: NamespaceKind) -> Option<&'static str> {
    match kind {
        NamespaceKind::Network => Some("extRootNetNS"),
        NamespaceKind::Pid => Some("extRootPidNS"),
        _ => None,
    }
}

/// Namespaces joined by path that are not the container's to be written: `net[inode]:name`.
pub fn namespaces_to_dump(plan: &Plan, pid: i32) -> Result<Vec<String>> {
    let mut external = Vec::new();
    for joined in &plan.namespaces.join {
        refuse_joined(joined.kind, joined.index)?;
        let Some(name) = name_of(joined.kind) else { continue };
        let kind = joined.kind.proc_name();
        let inode = |pid: &str| hostfs::stat(format!("/proc/{pid}/ns/{kind}")).map(|stat| stat.st_ino);
        let theirs =
            inode(&pid.to_string()).doing(|| format!("look at the {} namespace", joined.kind.name()))?;
        // The runtime's own is no namespace of the container to CRIU.
        if inode("self").is_ok_and(|own| own != theirs) {
            external.push(format!("{kind}[{theirs}]:{name}"));
        }
    }
    Ok(external)
}

/// CRIU makes mount namespaces anew, and cgroup namespaces where the cgroup is.
fn refuse_joined(kind: NamespaceKind, index: usize) -> Result<()> {
    match kind {
        NamespaceKind::Mount | NamespaceKind::Cgroup => bail!(
            "the {} namespace is joined by path (linux.namespaces[{index}]): CRIU cannot restore a container into one",
            kind.name()
        ),
        _ => Ok(()),
    }
}

/// The namespaces to restore into.
#[derive(Debug, Default)]
pub struct Namespaces {
    /// By descriptor, and the name in the images.
    pub inherited: Vec<(String, OwnedFd)>,
    /// By path.
    pub joined: Vec<JoinNamespace>,
}

/// Those that config.json joins by path.
pub fn namespaces_to_restore(plan: &Plan) -> Result<Namespaces> {
    let mut found = Namespaces::default();
    for (joined, opened) in plan.namespaces.join.iter().zip(namespaces::open_joined(&plan.namespaces)?) {
        refuse_joined(joined.kind, joined.index)?;
        match name_of(joined.kind) {
            Some(name) => found.inherited.push((name.to_string(), opened.fd)),
            None => found.joined.push(JoinNamespace {
                kind: joined.kind.proc_name().into(),
                path: text(&joined.path)?.to_string(),
            }),
        }
    }
    Ok(found)
}

/// A path as protobuf can carry it.
pub fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("`{}` is not UTF-8: CRIU cannot be told of it", path.display()))
}

/// Open files of a container that are the host's.
#[derive(Debug, Default)]
pub struct HostFiles {
    /// For CRIU: `file[…]`, `tty[…]`.
    pub external: Vec<String>,
    /// For `restore`: the names of 0, 1 and 2 of the first process, then of null devices.
    pub names: Vec<String>,
}

/// Looks at the descriptors of the container's processes. A terminal of the host is CRIU's to deal with
/// when `shell_job` says so.
pub fn files_to_dump(
    procfs: &Procfs,
    table: &MountTable,
    init: i32,
    pids: &[i32],
    shell_job: bool,
) -> Result<HostFiles> {
    let mut files = HostFiles::default();
    for fd in ["0", "1", "2"] {
        let name = match describe(procfs, table, init, fd) {
            Some(Descriptor::Outside { key, terminal, null: false, .. }) if !(terminal && shell_job) => {
                files.add_external(&key);
                key
            }
            Some(Descriptor::Outside { target, .. } | Descriptor::Inside(target)) => target,
            None => String::new(),
        };
        files.names.push(name);
    }
    for pid in pids {
        for fd in descriptors_of(procfs, *pid) {
            if let Some(Descriptor::Outside { key, null: true, .. }) = describe(procfs, table, *pid, &fd)
                && !files.names.contains(&key)
            {
                files.add_external(&key);
                files.names.push(key);
            }
        }
    }
    Ok(files)
}

impl HostFiles {
    fn add_external(&mut self, key: &str) {
        if !self.external.iter().any(|known| known == key) {
            self.external.push(key.to_string());
        }
    }
}

/// What a descriptor is open on.
enum Descriptor {
    /// Something of the container, or no file at all.
    Inside(String),
    /// A file on no mount of the container.
    Outside { key: String, target: String, terminal: bool, null: bool },
}

/// None for a descriptor that is not open, or not any more.
fn describe(procfs: &Procfs, table: &MountTable, pid: i32, fd: &str) -> Option<Descriptor> {
    let link = procfs.file(&format!("{pid}/fd/{fd}"), OFlags::PATH | OFlags::NOFOLLOW).ok()?;
    let target = rustix::fs::readlinkat(&link, "", Vec::new()).ok()?.to_string_lossy().into_owned();
    if !target.starts_with('/') {
        return Some(Descriptor::Inside(target));
    }
    let info = procfs.read(&format!("{pid}/fdinfo/{fd}")).ok()?;
    let info = String::from_utf8_lossy(&info).into_owned();
    let mount: u64 = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()?;
    if table.has(mount) {
        return Some(Descriptor::Inside(target));
    }
    // Through the link, which leads to the open file itself; nothing is opened.
    let stat = hostfs::stat(format!("/proc/{pid}/fd/{fd}")).ok()?;
    let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    let terminal = device && is_terminal(stat.st_rdev);
    let key = match terminal {
        true => format!("tty[{:x}:{:x}]", stat.st_rdev, stat.st_dev),
        false => format!("file[{mount:x}:{:x}]", stat.st_ino),
    };
    let null = device && stat.st_rdev == rustix::fs::makedev(1, 3);
    Some(Descriptor::Outside { key, target, terminal, null })
}

/// Consoles, serial lines and both sides of ptys (Documentation/admin-guide/devices.txt).
fn is_terminal(device: u64) -> bool {
    matches!(rustix::fs::major(device), 4 | 5 | 136..=143)
}

/// The numbers of a process's descriptors; none when it has ended.
fn descriptors_of(procfs: &Procfs, pid: i32) -> Vec<String> {
    let names = || -> rustix::io::Result<Vec<String>> {
        let directory = procfs.file(&format!("{pid}/fd"), OFlags::RDONLY | OFlags::DIRECTORY)?;
        let entries = rustix::fs::Dir::read_from(directory)?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    names().unwrap_or_default().into_iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit())).collect()
}

/// The caller's descriptors in place of those that images name.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Names and numbers for CRIU.
    pub list: Vec<InheritedFd>,
    /// The descriptors behind the numbers.
    pub fds: Vec<OwnedFd>,
}

impl Inherited {
    /// Gives a descriptor a name; a second one of that name is not needed.
    pub fn add(&mut self, name: &str, fd: BorrowedFd<'_>) -> Result<()> {
        if self.list.iter().any(|known| known.key == name) {
            return Ok(());
        }
        let fd = rustix::io::fcntl_dupfd_cloexec(fd, 10).map_err(failed("duplicate a descriptor"))?;
        self.list.push(InheritedFd { key: name.to_string(), fd: fd.as_raw_fd() });
        self.fds.push(fd);
        Ok(())
    }

    /// Standard input, output and error for the first three of `names`, the null device for the rest.
    /// A name that is none is the image's own business. CRIU sets the position of a file; what a file
    /// gets besides is appended to it, as it may be a new one.
    pub fn add_files(&mut self, names: &[String], stdio: [BorrowedFd<'_>; 3], null: &OwnedFd) -> Result<()> {
        use std::os::fd::AsFd;
        let given = stdio.into_iter().chain(std::iter::repeat(null.as_fd()));
        for (number, (name, fd)) in names.iter().zip(given).enumerate() {
            if !is_key(name) {
                continue;
            }
            match appending(number, name, fd)? {
                Some(file) => self.add(name, file.as_fd())?,
                None => self.add(name, fd)?,
            }
        }
        Ok(())
    }
}

/// Standard output or error in place of a file, when it is one: opened again to append.
fn appending(number: usize, name: &str, fd: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    if number > 2 || !name.starts_with("file[") {
        return Ok(None);
    }
    if rustix::fs::tell(fd).is_err() {
        bail!(
            "descriptor {number} of the container's process was a file of the host: give restore a file for it, or /dev/null"
        );
    }
    let kind = FileType::from_raw_mode(rustix::fs::fstat(fd).doing(|| "look at a descriptor")?.st_mode);
    if number == 0 || kind != FileType::RegularFile {
        return Ok(None);
    }
    let access = rustix::fs::fcntl_getfl(fd).doing(|| "look at a descriptor")? & OFlags::RWMODE;
    let again = format!("/proc/self/fd/{}", fd.as_raw_fd());
    hostfs::open(again, access | OFlags::APPEND).doing(|| "open the output again").map(Some)
}

/// `pipe:[1]`, `file[1:2]` or `tty[1:2]`, and nothing else.
fn is_key(name: &str) -> bool {
    let inside = |prefix| name.strip_prefix(prefix).and_then(|rest: &str| rest.strip_suffix(']'));
    let digits = |text: &str, radix| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    let pair = |text: &str| text.split_once(':').is_some_and(|(a, b)| digits(a, 16) && digits(b, 16));
    inside("pipe:[").is_some_and(|n| digits(n, 10)) || inside("file[").or(inside("tty[")).is_some_and(pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 24 0:22 / /proc rw - proc proc rw
31 24 8:1 /srv/a\\040b /data\\040dir ro,relatime master:1 - ext4 /dev/sda1 rw
32 31 0:40 / /data\\040dir/below rw - tmpfs none rw
33 24 0:41 / /data rw - tmpfs none rw
broken line
";

    #[test]
    fn mount_tables_are_read() {
        let table = MountTable::parse(TABLE);
        assert_eq!(table.0.len(), 5);
        assert!(table.has(31) && !table.has(34));
        assert_eq!(table.0[2], Line { id: 31, point: "/data dir".into() });
        assert_eq!(table.beneath("/data dir").collect::<Vec<_>>(), ["/data dir/below"]);
        assert_eq!(table.beneath("/data").count(), 0, "a longer name is not beneath");
        assert_eq!(table.beneath("/").count(), 4);
    }

    #[test]
    fn octal_is_undone() {
        assert_eq!(unescape("a\\040b\\134c\\011"), "a b\\c\t");
        assert_eq!(unescape("plain\\"), "plain\\");
        assert_eq!(unescape("\\0"), "\\0");
        assert_eq!(unescape("\\303\\274"), "ü");
    }

    #[test]
    fn only_names_of_descriptors_are_names() {
        for good in ["pipe:[1234]", "file[1a:ff]", "tty[8800:19]"] {
            assert!(is_key(good), "{good}");
        }
        for bad in [
            "",
            "/dev/null",
            "pipe:[]",
            "pipe:[1a]",
            "pipe:[1]:x",
            "file[1]",
            "file[:1]",
            "file[1:2:3]",
            "file[g:1]",
            "extRootNetNS",
            "socket:[1]",
            "net[1]",
        ] {
            assert!(!is_key(bad), "{bad}");
        }
    }

    #[test]
    fn one_descriptor_serves_a_name() {
        use std::os::fd::AsFd;
        let null = hostfs::open(Path::new("/dev/null"), OFlags::RDWR).unwrap();
        let other = hostfs::open(Path::new("/dev/zero"), OFlags::RDWR).unwrap();
        let names =
            ["pipe:[1]", "pipe:[2]", "pipe:[2]", "file[1:2]", "file[1:2]", "nonsense"].map(String::from);
        let mut inherited = Inherited::default();
        inherited.add_files(&names, [other.as_fd(); 3], &null).unwrap();
        let keys: Vec<&str> = inherited.list.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(keys, ["pipe:[1]", "pipe:[2]", "file[1:2]"]);
        let device = |at: usize| rustix::fs::fstat(&inherited.fds[at]).unwrap().st_rdev;
        assert_eq!([device(0), device(2)], [rustix::fs::makedev(1, 5), rustix::fs::makedev(1, 3)]);
        for (one, fd) in inherited.list.iter().zip(&inherited.fds) {
            assert_eq!(one.fd, fd.as_raw_fd());
            assert!(one.fd > 2, "CRIU leaves 0 to 2 to itself");
        }
    }

    #[test]
    fn descriptors_of_the_host_are_told_from_the_containers() {
        let procfs = Procfs::open().unwrap();
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let file = hostfs::open(Path::new("/dev/null"), OFlags::RDONLY).unwrap();
        let number = file.as_raw_fd().to_string();
        let all = MountTable::of(&procfs, &own.to_string()).unwrap();
        assert!(
            matches!(describe(&procfs, &all, own, &number), Some(Descriptor::Inside(path)) if path == "/dev/null")
        );
        let none = MountTable(Vec::new());
        let Some(Descriptor::Outside { key, terminal: false, null: true, .. }) =
            describe(&procfs, &none, own, &number)
        else {
            panic!("the null device of another mount namespace")
        };
        assert!(is_key(&key), "{key}");
        assert!(descriptors_of(&procfs, own).contains(&number));
        assert!(describe(&procfs, &none, own, "987654").is_none() && descriptors_of(&procfs, -1).is_empty());
    }
}
