//! Who the process is: ids, groups, capabilities, limits, scheduling, labels and no_new_privs.
//! One small function per property, in the order in which init calls them (security R25).

use crate::bundle::plan::{Capabilities, Plan, Process, Rlimit};
use crate::error::{Context, Doing, bail, reworded};
use crate::procfs::Procfs;
use crate::rootfs::path::{Links, Root};
use crate::sys::process as sys;
use anyhow::Result;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{CpuSet, sched_setaffinity, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use std::ffi::CStr;
use std::os::fd::AsFd;

/// CAP_SYS_ADMIN, which loading a filter without no_new_privs needs.
const SYS_ADMIN: u64 = 1 << 21;
/// What the steps of `last` need: CAP_SYS_RESOURCE, CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE to part from the
/// executable file, CAP_SYS_NICE for the scheduler.
pub const LEAVING: u64 = 1 << 24 | SYS_ADMIN | 1 << 40 | 1 << 23;
/// CAP_SETPCAP, which dropping from the bounding set needs.
const SETPCAP: u64 = 1 << 8;

/// Scheduler, I/O priority, memory policy and personality.
pub fn scheduling(plan: &Plan, process: &Process, scheduler: bool) -> Result<()> {
    if let Some(value) = plan.personality {
        sys::personality(value).doing(|| "set the personality (linux.personality)")?;
    }
    if let Some(policy) = &plan.memory_policy {
        sys::set_mempolicy(policy.mode, &policy.nodes)
            .doing(|| "set the memory policy (linux.memoryPolicy)")?;
    }
    if let Some(scheduler) = process.scheduler.as_ref().filter(|_| scheduler) {
        sys::sched_setattr(scheduler).doing(|| "set the scheduler (process.scheduler)")?;
    }
    if let Some(value) = process.io_priority {
        sys::set_io_priority(value).doing(|| "set the I/O priority (process.ioPriority)")?;
    }
    Ok(())
}

/// All CPUs, whatever the caller was bound to; the kernel takes those that the cgroup allows.
pub fn all_cpus() -> Result<()> {
    let mut cpus = rustix::thread::CpuSet::new();
    for cpu in 0..rustix::thread::CpuSet::MAX_CPU {
        cpus.set(cpu);
    }
    rustix::thread::sched_setaffinity(None, &cpus).doing(|| "use all CPUs")
}

/// Labels for the next execve, written to the caller's own attributes and read back (security R4).
pub fn labels(procfs: &Procfs, process: &Process) -> Result<()> {
    if let Some(label) = &process.selinux {
        label_exec(procfs, "attr/exec", label.to_bytes(), label.to_bytes())
            .with_context(|| format!("set process.selinuxLabel `{}`", label.to_string_lossy()))?;
    }
    if let Some(profile) = &process.apparmor {
        let text = [b"exec ", profile.to_bytes()].concat();
        let result = label_exec(procfs, "attr/apparmor/exec", &text, profile.to_bytes());
        result.map_err(|error| {
            reworded(&error, |why| format!(
                "set process.apparmorProfile `{}`: {why}; load the profile, or remove the property where the kernel has no AppArmor",
                profile.to_string_lossy()
            ))
        })?;
    }
    Ok(())
}

fn label_exec(procfs: &Procfs, file: &str, text: &[u8], expected: &[u8]) -> Result<()> {
    let directory = procfs.own_name()?;
    let path = format!("{directory}/task/{directory}/{file}");
    let handle = procfs.file(&path, OFlags::RDWR | OFlags::NOFOLLOW).doing(|| format!("open {file}"))?;
    rustix::io::write(&handle, text).doing(|| format!("write {file}"))?;
    let mut back = vec![0u8; expected.len() + 64];
    let length = rustix::io::pread(&handle, &mut back, 0).doing(|| format!("read {file} back"))?;
    let back = back.get(..length).unwrap_or_default();
    if !back.starts_with(expected) {
        bail!("the kernel did not take the label: {file} reads `{}`", String::from_utf8_lossy(back).trim());
    }
    Ok(())
}

/// Resource limits, exactly as given, but those that would be in init's own way. The host side has
/// raised hard limits before.
pub fn limits(process: &Process) -> Result<()> {
    process.rlimits.iter().filter(|l| !is_in_the_way(l)).try_for_each(limit)
}

/// The others, last.
pub fn late_limits(process: &Process) -> Result<()> {
    process.rlimits.iter().filter(|l| is_in_the_way(l)).try_for_each(limit)
}

/// Whether init itself could not go on under a limit: it needs descriptors and memory.
pub fn is_in_the_way(limit: &Rlimit) -> bool {
    ["RLIMIT_NOFILE", "RLIMIT_AS", "RLIMIT_DATA"].contains(&limit.name)
}

fn limit(limit: &Rlimit) -> Result<()> {
    sys::set_rlimit(0, limit.resource, limit.soft, limit.hard).doing(|| setting_limit(limit))
}

/// What is done about a limit, in words.
pub fn setting_limit(limit: &Rlimit) -> String {
    format!(
        "set {} to {}:{} (process.rlimits; raising a hard limit needs CAP_SYS_RESOURCE on the host)",
        limit.name, limit.soft, limit.hard
    )
}

/// The CPUs of process.execCPUAffinity.
pub fn cpus(cpus: &[u32], member: &str) -> Result<()> {
    let mut set = CpuSet::new();
    cpus.iter().map(|cpu| *cpu as usize).filter(|cpu| *cpu < CpuSet::MAX_CPU).for_each(|cpu| set.set(cpu));
    sched_setaffinity(None, &set).doing(|| {
        format!("run on the CPUs of process.execCPUAffinity.{member} (none of them is there, or allowed by the cgroup)")
    })
}

/// Gives the process's own standard descriptors to its user, so that it can open them again.
/// Devices stay as they are: they may be the host's null or the caller's terminal. What cannot be
/// given is left.
pub fn own_stdio(process: &Process) -> Result<()> {
    let (input, output, errors) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for fd in [input.as_fd(), output.as_fd(), errors.as_fd()] {
        let Ok(stat) = rustix::fs::fstat(fd) else { continue };
        let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
        if stat.st_uid == process.uid || device {
            continue;
        }
        match rustix::fs::fchown(fd, Some(Uid::from_raw(process.uid)), None) {
            // An id or filesystem that cannot have another owner.
            Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS) => {}
            Err(error) => return Err(error).doing(|| "give the standard descriptors to process.user.uid"),
        }
    }
    Ok(())
}

/// What is done about supplementary groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    /// Those of process.user.additionalGids, and no others.
    Set,
    /// The user namespace denies changing them.
    Denied,
    /// The caller's stay (run.oci.keep_original_groups).
    Keep,
}

/// R9: no process of the container may look into this one, nor trace it.
pub fn forbid_tracing() -> Result<()> {
    sys::prctl(libc::PR_SET_DUMPABLE, 0).map(drop).doing(|| "forbid tracing")
}

/// Groups, group and user, keeping capabilities over the change of user.
pub fn user(process: &Process, groups: Groups) -> Result<()> {
    sys::prctl(libc::PR_SET_KEEPCAPS, 1).doing(|| "keep capabilities over the change of user")?;
    match groups {
        Groups::Set => {
            let groups: Vec<Gid> = process.groups.iter().map(|g| Gid::from_raw(*g)).collect();
            set_thread_groups(&groups).doing(|| "set process.user.additionalGids")?;
        }
        Groups::Denied if !process.groups.is_empty() => bail!(
            "set process.user.additionalGids: the user namespace denies setgroups; map the groups with newgidmap"
        ),
        Groups::Denied | Groups::Keep => {}
    }
    let (uid, gid) = (Uid::from_raw(process.uid), Gid::from_raw(process.gid));
    set_thread_res_gid(gid, gid, gid)
        .doing(|| format!("set process.user.gid to {} (is it in linux.gidMappings?)", process.gid))?;
    set_thread_res_uid(uid, uid, uid)
        .doing(|| format!("set process.user.uid to {} (is it in linux.uidMappings?)", process.uid))?;
    sys::prctl(libc::PR_SET_KEEPCAPS, 0).doing(|| "stop keeping capabilities")?;
    Ok(())
}

/// Empties the ambient set and drops what the bounding set has too much; needs CAP_SETPCAP, so it
/// comes before the change of user.
pub fn bounding(wanted: &Capabilities, last: u32) -> Result<()> {
    sys::ambient(libc::PR_CAP_AMBIENT_CLEAR_ALL, 0).doing(|| "clear the ambient capabilities")?;
    for capability in (0..=last).filter(|c| wanted.bounding & (1 << c) == 0) {
        match sys::prctl(libc::PR_CAPBSET_DROP, capability.into()) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => {
                return Err(error).doing(|| format!("drop capability {capability} from the bounding set"));
            }
        }
    }
    Ok(())
}

/// Full capabilities of the thread that may still be needed between the change of user and the
/// filter: after setresuid the effective set is empty, but the permitted one was kept.
pub fn hold_until_filter(wanted: &Capabilities) -> Result<()> {
    let now = permitted_now()?;
    let sets = wanted.permitted | wanted.effective | wanted.inheritable | wanted.ambient;
    let held = now & (sets | SETPCAP | LEAVING);
    sys::capset(held, held, wanted.inheritable & now)
        .doing(|| "hold the capabilities that loading the filter needs")
}

/// R11: the four sets that execve starts from, exactly as configured, then the ambient ones. What the runtime itself does not
/// have cannot be given and is left out of the permitted set, as the kernel would.
pub fn capabilities(wanted: &Capabilities, now: u64) -> Result<()> {
    capabilities_and(wanted, now, 0)
}

/// The same with others permitted, but not effective, that the last steps need.
pub fn capabilities_and(wanted: &Capabilities, now: u64, others: u64) -> Result<()> {
    let permitted = wanted.permitted & now;
    sys::capset(wanted.effective & permitted, permitted | others & now, wanted.inheritable & now)
        .doing(|| "set process.capabilities")?;
    for capability in (0..64).filter(|c| wanted.ambient & (1 << c) != 0) {
        // Only what is permitted and inheritable can be raised; the lowering warned about the rest.
        match sys::ambient(libc::PR_CAP_AMBIENT_RAISE, capability) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
            Err(error) => return Err(error).doing(|| format!("raise ambient capability {capability}")),
        }
    }
    Ok(())
}

/// The permitted set of the calling thread.
pub fn permitted_now() -> Result<u64> {
    let sets = rustix::thread::capabilities(None).doing(|| "read the capabilities")?;
    Ok(sets.permitted.bits())
}

/// PR_SET_NO_NEW_PRIVS.
pub fn no_new_privileges(process: &Process) -> Result<()> {
    if process.no_new_privileges {
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).doing(|| "set no_new_privs")?;
    }
    Ok(())
}

/// R8: finds the working directory without magic links, enters what was found, and checks that it is
/// inside the container (CVE-2024-21626).
pub fn enter_cwd(root: &Root, cwd: &CStr) -> Result<()> {
    let shown = cwd.to_string_lossy();
    let path = root
        .open(&shown, OFlags::PATH | OFlags::DIRECTORY, Links::Follow)
        .and_then(rustix::process::fchdir)
        .and_then(|()| rustix::process::getcwd(Vec::new()))
        .doing(|| format!("chdir to process.cwd `{shown}`"))?;
    refuse_outside(&path, &shown)
}

/// The kernel shows what cannot be reached from the root as `(unreachable)/…`.
fn refuse_outside(path: &CStr, shown: &str) -> Result<()> {
    if !path.to_bytes().starts_with(b"/") {
        bail!("process.cwd `{shown}` is outside the container");
    }
    Ok(())
}

/// The home directory that the container's passwd file gives a user id; `/` when it does not.
pub fn home(passwd: &str, uid: u32) -> String {
    passwd
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let id: u32 = fields.get(2)?.parse().ok()?;
            let home = fields.get(5)?;
            (id == uid && !home.is_empty()).then(|| (*home).to_string())
        })
        .next()
        .unwrap_or_else(|| "/".to_string())
}

#[cfg(test)]
mod tests {
    use super::{home, refuse_outside};

    #[test]
    fn a_directory_that_cannot_be_reached_is_refused() {
        assert!(refuse_outside(c"/tmp", "/tmp").is_ok());
        let error = refuse_outside(c"(unreachable)/tmp", "/proc/self/cwd").unwrap_err().to_string();
        assert_eq!(error, "process.cwd `/proc/self/cwd` is outside the container");
    }

    #[test]
    fn home_is_found_by_number_only() {
        let passwd = "root:x:0:0::/root:/bin/sh\n1000:x:0:0::/evil:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n";
        assert_eq!(home(passwd, 0), "/root");
        assert_eq!(home(passwd, 1000), "/home/u");
        assert_eq!(home(passwd, 5), "/");
    }
}
