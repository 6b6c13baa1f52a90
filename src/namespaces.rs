//! Namespaces: which flags the clone gets, what init joins or makes itself, and the id maps that the
//! host side writes. The decision is made before the clone; the steps only read it.

use crate::bundle::plan::{IdMap, NamespaceKind, Namespaces};
use crate::error::{Context, Doing, bail, errno_of};
use crate::procfs::Procfs;
use crate::sys::clone::{namespace_type, setns, unshare};
use crate::{hostfs, hostprogram};
use anyhow::Result;
use rustix::fs::OFlags;
use std::ffi::CString;
use std::os::fd::OwnedFd;

/// An opened namespace to join.
#[derive(Debug)]
pub struct Joined {
    /// Its kind.
    pub kind: NamespaceKind,
    /// The namespace file.
    pub fd: OwnedFd,
}

/// Opens what is joined, on the host side, and checks that each file is a namespace of its kind.
pub fn open_joined(namespaces: &Namespaces) -> Result<Vec<Joined>> {
    namespaces
        .join
        .iter()
        .map(|j| open_one(j.kind, &j.path).with_context(|| format!("linux.namespaces[{}]", j.index)))
        .collect()
}

fn open_one(kind: NamespaceKind, path: &std::path::Path) -> Result<Joined> {
    let name = kind.name();
    let shown = path.display();
    let fd = hostfs::open(path, OFlags::RDONLY).doing(|| format!("open the {name} namespace `{shown}`"))?;
    match namespace_type(&fd) {
        Ok(flag) if flag == kind.flag() => Ok(Joined { kind, fd }),
        _ => {
            bail!("join the {name} namespace: `{shown}` is not a namespace of type {name}")
        }
    }
}

/// Whether init needs to become another process: it joins a user namespace, and a pid namespace
/// below that one is created or joined, which only children of a member can enter; or it joins a pid
/// namespace that the host side could not leave again.
pub fn needs_successor(namespaces: &Namespaces) -> bool {
    match namespaces.joins(NamespaceKind::User) {
        true => namespaces.has(NamespaceKind::Pid),
        false => joins_pid_itself(namespaces),
    }
}

/// Leaving a pid namespace needs privileges in the one outside, which root of a user namespace has
/// not. (In a new user namespace init would not be allowed to join.)
fn joins_pid_itself(namespaces: &Namespaces) -> bool {
    namespaces.confined
        && namespaces.joins(NamespaceKind::Pid)
        && !namespaces.creates(NamespaceKind::User)
        && !namespaces.joins(NamespaceKind::User)
}

/// The CLONE_NEW… flags of the clone itself. With a joined user namespace everything new must
/// belong to that one, so init makes it after joining; the cgroup namespace is made when init is in
/// its cgroup, the time namespace by the host side, which must set its clocks first.
pub fn clone_flags(namespaces: &Namespaces) -> u64 {
    if namespaces.joins(NamespaceKind::User) {
        return 0;
    }
    created_flags(namespaces)
}

/// Flags of everything new except cgroup and time.
fn created_flags(namespaces: &Namespaces) -> u64 {
    namespaces
        .create
        .iter()
        .filter(|kind| !matches!(kind, NamespaceKind::Cgroup | NamespaceKind::Time))
        .fold(0, |flags, kind| flags | kind.flag())
}

/// Flags that init unshares after it joined a user namespace, the pid namespace among them, which
/// its successor then is in.
pub fn flags_after_join(namespaces: &Namespaces) -> u64 {
    if namespaces.joins(NamespaceKind::User) { created_flags(namespaces) } else { 0 }
}

/// What the host side enters for the time of the clone: because only children are moved, or because
/// init, in a user namespace of its own from its birth on, may not enter what others own.
pub fn is_for_children(namespaces: &Namespaces, kind: NamespaceKind) -> bool {
    use NamespaceKind::{Cgroup, Ipc, Network, Pid, Time, User, Uts};
    match kind {
        Pid => !namespaces.joins(User) && !joins_pid_itself(namespaces),
        Time => true,
        Network | Ipc | Uts | Cgroup => namespaces.creates(User),
        _ => false,
    }
}

/// Whether the host side could not return from what it enters for the clone: that needs privileges
/// over the namespaces it came from, which root of a user namespace has not. Nor can it clone into the
/// container's cgroup from a cgroup namespace.
pub fn is_one_way(namespaces: &Namespaces) -> bool {
    let mut entered =
        namespaces.join.iter().map(|j| j.kind).filter(|kind| is_for_children(namespaces, *kind));
    if namespaces.confined {
        return entered.next().is_some() || namespaces.creates(NamespaceKind::Time);
    }
    entered.any(|kind| kind == NamespaceKind::Cgroup)
}

/// Init joins what the host side did not: first all that its present privileges allow, then the
/// user namespace, then the rest, which that user namespace owns.
pub fn join(joined: &[Joined], namespaces: &Namespaces) -> Result<()> {
    let mine = |j: &&Joined| !is_for_children(namespaces, j.kind) && j.kind != NamespaceKind::User;
    let mut later = Vec::new();
    for one in joined.iter().filter(mine) {
        match join_one(one) {
            Err(error) if errno_of(&error) == libc::EPERM && namespaces.joins(NamespaceKind::User) => {
                later.push(one);
            }
            other => other?,
        }
    }
    joined.iter().filter(|j| j.kind == NamespaceKind::User).try_for_each(join_one)?;
    later.into_iter().try_for_each(join_one)
}

/// setns(2).
pub fn join_one(one: &Joined) -> Result<()> {
    setns(&one.fd, one.kind.flag()).doing(|| format!("join the {} namespace", one.kind.name()))
}

/// CLONE_NEW… flags of the namespaces that `pid` has and the caller has not; those that were made for it are
/// not looked at, as entering one's own again changes nothing, but for the user namespace, where it is an
/// error (setns(2)). What is compared is inodes, so the caller must know that the process was there all the
/// time.
pub fn differing(pid: i32, made: &[NamespaceKind]) -> Result<u64> {
    let mut flags = 0;
    for kind in NamespaceKind::ALL {
        if kind != NamespaceKind::User && made.contains(&kind) {
            flags |= kind.flag();
            continue;
        }
        let name = kind.proc_name();
        let (own, other) = (format!("/proc/self/ns/{name}"), format!("/proc/{pid}/ns/{name}"));
        let identity = |path: &str| hostfs::stat(path).map(|stat| (stat.st_dev, stat.st_ino));
        match identity(&own) {
            // A kernel without this kind.
            Err(rustix::io::Errno::NOENT) => continue,
            own => {
                let own = own.doing(|| format!("examine the runtime's {} namespace", kind.name()))?;
                let other = identity(&other)
                    .doing(|| format!("examine the container's {} namespace", kind.name()))?;
                flags |= if own == other { 0 } else { kind.flag() };
            }
        }
    }
    Ok(flags)
}

/// Namespaces of the host side that are put back after the clone.
#[derive(Debug, Default)]
pub struct Detour {
    back: Vec<Joined>,
}

impl Detour {
    /// Enters, for children only, the pid and time namespaces of the plan; makes a new time
    /// namespace with its offsets.
    pub fn enter(namespaces: &Namespaces, joined: &[Joined], procfs: &Procfs) -> Result<Detour> {
        let mut detour = Detour { back: Vec::new() };
        for one in joined.iter().filter(|j| is_for_children(namespaces, j.kind)) {
            detour.remember(one.kind)?;
            join_one(one)?;
        }
        if namespaces.creates(NamespaceKind::Time) {
            detour.remember(NamespaceKind::Time)?;
            unshare(NamespaceKind::Time.flag()).doing(|| "create the time namespace")?;
            write_offsets(namespaces, procfs)?;
        }
        Ok(detour)
    }

    fn remember(&mut self, kind: NamespaceKind) -> Result<()> {
        let path = std::path::PathBuf::from(format!("/proc/self/ns/{}", kind.proc_name()));
        self.back.push(open_one(kind, &path)?);
        Ok(())
    }

    /// Returns to where the host side was.
    pub fn leave(self) -> Result<()> {
        for one in self.back {
            setns(&one.fd, one.kind.flag()).doing(|| format!("leave the {} namespace", one.kind.name()))?;
        }
        Ok(())
    }
}

fn write_offsets(namespaces: &Namespaces, procfs: &Procfs) -> Result<()> {
    let clocks = [("monotonic", namespaces.monotonic), ("boottime", namespaces.boottime)];
    let file = format!("{}/timens_offsets", procfs.own_name()?);
    for (clock, offset) in clocks {
        let Some((secs, nanos)) = offset else { continue };
        procfs
            .write(&file, format!("{clock} {secs} {nanos}\n").as_bytes())
            .doing(|| format!("set the {clock} clock's offset (linux.timeOffsets)"))?;
    }
    Ok(())
}

/// Writes the id maps of a new user namespace, for the process `pid` that is in it. What the caller
/// may not map, newuidmap(1) and newgidmap(1) may, which know the ids that are the caller's.
pub fn write_id_maps(procfs: &Procfs, pid: i32, namespaces: &Namespaces, may_set_groups: bool) -> Result<()> {
    if !namespaces.creates(NamespaceKind::User) {
        return Ok(());
    }
    // An ordinary user may map just the own group, and only where groups cannot be left any more.
    let own_group = rustix::process::getegid().as_raw();
    if !may_set_groups
        && matches!(namespaces.gid_map.as_slice(), [one] if one.size == 1 && one.outside == own_group)
    {
        procfs
            .write(&format!("{pid}/setgroups"), b"deny")
            .doing(|| "deny setgroups in the user namespace")?;
    }
    for (which, map) in [("uid", &namespaces.uid_map), ("gid", &namespaces.gid_map)] {
        match write_map(procfs, pid, which, map) {
            Err(error) if !may_set_groups && errno_of(&error) == libc::EPERM => {
                map_by_helper(pid, which, map)?
            }
            other => other?,
        }
    }
    Ok(())
}

/// Where the helpers are found; the caller's PATH may be empty.
pub const HELPER_PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin:/usr/local/sbin";

fn map_by_helper(pid: i32, which: &str, map: &[IdMap]) -> Result<()> {
    let name = format!("new{which}map");
    let Some(path) = crate::probe::program(&name) else {
        bail!(
            "the {which} map (linux.{which}Mappings) needs {name}, which is not there: install it (uidmap)"
        );
    };
    let numbers = map.iter().flat_map(|line| [line.inside, line.outside, line.size]);
    let words = [pid.to_string()].into_iter().chain(numbers.map(|number| number.to_string()));
    let words: Vec<CString> = words.map(CString::new).collect::<Result<_, _>>()?;
    // R16: a program of the host, with an empty environment.
    let output = hostprogram::output(&path, words, &[]).doing(|| format!("run {name}"))?;
    if !output.success {
        let said = output.stderr.trim().replace('\n', "; ");
        bail!(
            "the {which} map (linux.{which}Mappings) is refused by {name}: {said}; \
             the ids that are this user's are in /etc/sub{which}"
        );
    }
    Ok(())
}

/// Whether setgroups(2) is denied in the user namespace that this process is in.
pub fn setgroups_denied(procfs: &Procfs) -> Result<bool> {
    let file = format!("{}/setgroups", procfs.own_name()?);
    Ok(procfs.read(&file).doing(|| "read whether setgroups is denied")?.starts_with(b"deny"))
}

/// The kernel takes a map in one write of less than a page (user_namespaces(7)).
const MAX_MAP: usize = 4096;

fn write_map(procfs: &Procfs, pid: i32, which: &str, map: &[IdMap]) -> Result<()> {
    let text = map_text(map);
    if text.len() >= MAX_MAP {
        bail!(
            "the {which} map (linux.{which}Mappings) has {} bytes as text; the kernel takes less than {MAX_MAP}",
            text.len()
        );
    }
    procfs
        .write(&format!("{pid}/{which}_map"), text.as_bytes())
        .doing(|| format!("write the {which} map (linux.{which}Mappings)"))
}

/// The lines of an id map as the kernel takes them.
pub fn map_text(map: &[IdMap]) -> String {
    map.iter().map(|line| format!("{} {} {}\n", line.inside, line.outside, line.size)).collect()
}
