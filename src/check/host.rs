//! What a bundle asks of the kernel and of this host, and does not get: namespaces, filesystems, security
//! modules, system-wide limits, devices. Each rule asks the kernel itself. Called by `check`.

use super::Subject;
use super::report::Findings;
use crate::bundle::plain_mount_options;
use crate::bundle::plan::{MountSource, NamespaceKind, Namespaces};
use crate::container::rdt;
use crate::error::shown;
use crate::hostfs;
use crate::namespaces;
use crate::near;
use crate::probe::{self, Presence};
use crate::rootfs::mount::try_options;
use crate::seccomp;
use crate::sys::process as sys;
use std::path::Path;

/// Looks for all of it.
pub fn look(subject: &Subject, findings: &mut Findings) {
    let rules = [
        new_namespaces,
        joined_namespaces,
        filesystems,
        apparmor,
        selinux,
        seccomp_flags,
        rlimits,
        sysctls,
        devices,
        network_devices,
        intel_rdt,
    ];
    for rule in rules {
        rule(subject, findings);
    }
}

fn new_namespaces(subject: &Subject, findings: &mut Findings) {
    for (i, given) in subject.spec.linux.namespaces.iter().enumerate() {
        let kind =
            NamespaceKind::ALL.into_iter().find(|kind| kind.name() == given.kind && given.path.is_empty());
        let Some(kind) = kind else { continue };
        let at = format!("linux.namespaces[{i}].type");
        if !probe::has_namespaces(kind) {
            findings.host(at, format!("this kernel has no {} namespaces", kind.name()));
        } else if probe::most_namespaces(kind) == Some(0) {
            let file = probe::most_namespaces_file(kind);
            findings.host(at, format!("no {} namespace may be made: `{file}` is 0", kind.name()));
            findings.suggest("as root, write a larger number to it (sysctl)");
        }
    }
}

fn joined_namespaces(subject: &Subject, findings: &mut Findings) {
    for join in &subject.plan.namespaces.join {
        let one = Namespaces { join: vec![join.clone()], ..Namespaces::default() };
        if let Err(error) = namespaces::open_joined(&one) {
            let path = format!("linux.namespaces[{}].path", join.index);
            findings.host(path, format!("{:#}", error.root_cause()));
        }
    }
}

fn filesystems(subject: &Subject, findings: &mut Findings) {
    for mount in &subject.plan.mounts {
        let MountSource::Filesystem { kind, super_flags, data, .. } = &mount.source else { continue };
        if probe::filesystem(kind) == Presence::Missing {
            let at = format!("mounts[{}].type", mount.index);
            findings.host(at, format!("this kernel has no filesystem `{kind}`, nor a module for it"));
            let known = probe::filesystems();
            findings.suggest_name(near::nearest(kind, known.iter().map(String::as_str)).map(str::to_owned));
        } else if subject.host.is_privileged()
            && probe::filesystem(kind) == Presence::Ready
            && let Err(error) = try_options(kind, *super_flags, data)
        {
            let given = data.iter().map(|(key, _)| key.as_str());
            let near = given.filter_map(|key| near::nearest(key, mount_options()));
            findings.host(format!("mounts[{}].options", mount.index), shown(&error));
            findings.suggest_name(near.map(str::to_owned).next());
        }
    }
}

/// Options that may have been meant, and those of tmpfs.
fn mount_options() -> impl Iterator<Item = &'static str> {
    let of_tmpfs = ["gid", "huge", "mode", "mpol", "nr_blocks", "nr_inodes", "size", "uid"];
    plain_mount_options().chain(of_tmpfs)
}

fn apparmor(subject: &Subject, findings: &mut Findings) {
    let Some(profile) = subject.plan.process.as_ref().and_then(|process| process.apparmor.as_ref()) else {
        return;
    };
    let (path, profile) = ("process.apparmorProfile", profile.to_string_lossy());
    if !probe::has_apparmor() {
        findings.host(path, format!("`{profile}` cannot be used: the kernel runs without AppArmor"));
        findings.suggest("leave the property out on this host");
    } else if let Some(loaded) = probe::apparmor_profiles()
        && profile != "unconfined"
        && !loaded.iter().any(|name| *name == profile)
    {
        findings.host(path, format!("no profile `{profile}` is loaded"));
        findings.suggest("load it by apparmor_parser");
        findings.suggest_name(near::nearest(&profile, loaded.iter().map(String::as_str)).map(str::to_owned));
    }
}

fn selinux(subject: &Subject, findings: &mut Findings) {
    let process = subject.plan.process.as_ref().and_then(|process| process.selinux.as_ref());
    let labels = [
        ("process.selinuxLabel", process.is_some()),
        ("linux.mountLabel", subject.plan.mount_label.is_some()),
    ];
    for (path, _) in labels.into_iter().filter(|(_, given)| *given && !probe::has_selinux()) {
        findings.host(path, "cannot be used: the kernel runs without SELinux");
        findings.suggest("leave the property out on this host");
    }
}

fn seccomp_flags(subject: &Subject, findings: &mut Findings) {
    let Some(filter) = &subject.plan.seccomp else { return };
    let missing = seccomp::flag_names(filter.flags).find(|(bit, _)| !sys::seccomp_has_flag(*bit));
    if let Some((_, name)) = missing {
        findings.host("linux.seccomp.flags", format!("this kernel does not have {name}"));
        findings.suggest("leave it out");
    }
}

fn rlimits(subject: &Subject, findings: &mut Findings) {
    let most =
        hostfs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|text| text.trim().parse::<u64>().ok());
    for (i, limit) in subject.plan.process.iter().flat_map(|process| &process.rlimits).enumerate() {
        let at = format!("process.rlimits[{i}].hard");
        let own = sys::get_rlimit(limit.resource).map_or(u64::MAX, |(_, hard)| hard);
        if limit.name == "RLIMIT_NOFILE" && most.is_some_and(|most| limit.hard > most) {
            let most = most.unwrap_or_default();
            findings.host(at, format!("{} is above /proc/sys/fs/nr_open, which is {most}", limit.hard));
        } else if !subject.host.is_privileged() && limit.hard > own {
            findings.host(
                at,
                format!(
                    "{} is above the caller's own hard limit {own}, and only root may raise it",
                    limit.hard
                ),
            );
        }
    }
}

/// Only those of the machine's first network namespace can be compared; names of interfaces come later.
fn sysctls(subject: &Subject, findings: &mut Findings) {
    for (name, _) in &subject.plan.sysctls {
        let path = Path::new("/proc/sys").join(name);
        let of_interface = ["/conf/", "/neigh/"].iter().any(|part| name.contains(part));
        if of_interface || subject.plan.namespaces.joins(NamespaceKind::Network) || hostfs::exists(&path) {
            continue;
        }
        let given =
            subject.spec.linux.sysctl.keys().find(|key| key.replace('.', "/") == *name || *key == name);
        findings.host(
            format!("linux.sysctl.{}", given.unwrap_or(name)),
            format!("this kernel has no `{}`", path.display()),
        );
        let parent = path.parent().and_then(|parent| hostfs::names(parent).ok()).unwrap_or_default();
        let last = path.file_name().and_then(|last| last.to_str()).unwrap_or_default();
        findings.suggest_name(near::nearest(last, parent.iter().map(String::as_str)).map(str::to_owned));
    }
}

/// In a user namespace, and without root, the host's device is bound, so it must be there.
fn devices(subject: &Subject, findings: &mut Findings) {
    let bound = subject.is_confined();
    for device in subject.plan.devices.iter().filter(|device| bound && device.kind != libc::S_IFIFO) {
        if !hostfs::exists(Path::new(&device.path)) {
            let text = format!("`{}` is not on this host, from where it would be bound", device.path);
            findings.host(&device.origin, text);
        }
    }
}

fn network_devices(subject: &Subject, findings: &mut Findings) {
    for (name, _) in &subject.plan.net_devices {
        let all = hostfs::names(Path::new("/sys/class/net")).unwrap_or_default();
        if !all.is_empty() && !all.contains(name) {
            findings.host(format!("linux.netDevices.{name}"), format!("no interface `{name}` on this host"));
            findings.suggest_name(near::nearest(name, all.iter().map(String::as_str)).map(str::to_owned));
        }
    }
}

fn intel_rdt(subject: &Subject, findings: &mut Findings) {
    if let Err(error) = rdt::Place::find(subject.plan.intel_rdt.as_ref(), "check") {
        let text = shown(&error);
        findings.host("linux.intelRdt", text.strip_prefix("linux.intelRdt: ").unwrap_or(&text));
    }
}
