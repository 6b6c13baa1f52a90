//! The lowering: a `Spec` becomes a `Plan`. Pure. Every member is checked once, and all problems
//! are reported at once in the order of the specification (R12: a value that cannot be applied exactly is
//! an error, never left out). Called by `create` and `run`.

use super::host::Host;
use super::json::NUL;
use super::lists::normalise;
use super::plan::{CgroupPlan, IdMap, Mount, MountSource, NamespaceKind, Namespaces, Plan, Process};
use super::problems::{Problems, Warnings};
use super::{
    annotations, devices, hooks, id_maps, memory_policy, mounts, namespaces, net_devices, process, spec,
    sysctl,
};
use crate::seccomp::{Filter, Unknown};
use linux_raw_sys::general::MOUNT_ATTR_RDONLY;
use std::path::{Path, PathBuf};

/// What the command line says about the container.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The bundle directory, absolute, without symbolic links.
    pub bundle: PathBuf,
    /// `--no-pivot`
    pub no_pivot: bool,
}

/// The longest host name, in bytes (HOST_NAME_MAX).
const MAX_HOSTNAME: usize = 64;

const NEEDS_MOUNT_NAMESPACE: &str = "needs a mount namespace: add {\"type\":\"mount\"} to linux.namespaces";

/// Turns config.json into what is to be done, or says everything that is wrong with it.
pub fn lower(spec: &spec::Spec, options: &Options, host: &Host) -> Result<Plan, Problems> {
    let (plan, problems) = lower_all(spec, options, host);
    if problems.is_empty() { Ok(plan) } else { Err(problems) }
}

/// The same for one who only looks: with problems, the plan is what could be made of the rest.
pub fn lower_all(spec: &spec::Spec, options: &Options, host: &Host) -> (Plan, Problems) {
    let (mut problems, mut warnings) = (Problems::default(), Warnings::default());
    let (p, w) = (&mut problems, &mut warnings);
    let linux = &spec.linux;

    check_version(&spec.oci_version, p, w);
    let rootfs = lower_root(spec.root.as_ref(), &options.bundle, p);
    let process = spec.process.as_ref().map(|process| process::lower(process, "process", host, p, w));
    check_scheduler(spec, p);
    // Needed by much of what is before it in the document: its problems are added in their place.
    let mut later = Problems::default();
    let mut namespaces = namespaces::lower(linux, &mut later, w);
    namespaces.confined = host.in_user_namespace;
    let hostname = lower_hostname(&spec.hostname, "hostname", &namespaces, p);
    let domainname = lower_hostname(&spec.domainname, "domainname", &namespaces, p);
    let context =
        mounts::Context { bundle: &options.bundle, user_namespace: namespaces.has(NamespaceKind::User) };
    let mounts = mounts::lower(&spec.mounts, &context, p, w);
    let hooks = hooks::lower(&spec.hooks, p);
    let extensions = annotations::lower(spec, p, w);
    p.0.append(&mut later.0);
    check_caller(&namespaces, host, p);
    check_ids(process.as_ref(), &namespaces, extensions.keep_groups, p);
    let terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
    let devices = devices::lower_nodes(&linux.devices, terminal, p, w);
    let net_devices = net_devices::lower(linux, &namespaces, p);
    let delegate = delegate(&namespaces, &mounts, process.as_ref(), host);
    let plan = Plan {
        oci_version: spec.oci_version.clone(),
        bundle: options.bundle.clone(),
        rootfs,
        root_readonly: spec.root.as_ref().is_some_and(|root| root.readonly),
        no_pivot: options.no_pivot,
        hostname,
        domainname,
        mounts,
        devices,
        net_devices,
        cgroup: lower_cgroup(linux, delegate, host, p),
        root_propagation: lower_propagation(&linux.rootfs_propagation, &namespaces, p),
        seccomp: lower_seccomp(spec, p, w),
        masked_paths: lower_paths(&linux.masked_paths, "linux.maskedPaths", &namespaces, p),
        readonly_paths: lower_paths(&linux.readonly_paths, "linux.readonlyPaths", &namespaces, p),
        mount_label: Some(linux.mount_label.clone()).filter(|label| !label.is_empty()),
        sysctls: sysctl::lower(spec, &namespaces, p),
        personality: linux.personality.as_ref().and_then(|given| memory_policy::lower_personality(given, p)),
        intel_rdt: lower_intel_rdt(linux.intel_rdt.as_ref(), p),
        memory_policy: linux.memory_policy.as_ref().and_then(|given| memory_policy::lower(given, p)),
        namespaces,
        process,
        hooks,
        extensions,
        annotations: spec.annotations.clone(),
        warnings,
    };
    (plan, problems)
}

/// `ociVersion` is SemVer 2.0.0 of the major version 1; newer minor versions add members only.
fn check_version(version: &str, problems: &mut Problems, warnings: &mut Warnings) {
    let path = "ociVersion";
    if version.is_empty() {
        return problems.add(path, "missing: the version of the specification, such as 1.3.0");
    }
    let Some((major, minor)) = parse_version(version) else {
        return problems.add(path, format!("`{version}` is not a version such as 1.3.0 (SemVer 2.0.0)"));
    };
    if major != 1 {
        problems.add(path, format!("`{version}` is not supported: 1.0.0 to 1.3.x are"));
    } else if minor > 3 {
        warnings.note(path, format!("{version} is newer than 1.3; what it adds is ignored"));
    }
}

/// Major and minor number of a semantic version.
fn parse_version(version: &str) -> Option<(u64, u64)> {
    let (version, build) = version.split_once('+').map_or((version, None), |(v, b)| (v, Some(b)));
    let (core, pre) = version.split_once('-').map_or((version, None), |(v, p)| (v, Some(p)));
    let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let numeric = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let number = |text: &str| {
        let plain = numeric(text) && (text == "0" || !text.starts_with('0'));
        if plain { text.parse::<u64>().ok() } else { None }
    };
    let pre_part = |text: &str| word(text) && (!numeric(text) || number(text).is_some());
    let suffixes =
        pre.is_none_or(|p| p.split('.').all(pre_part)) && build.is_none_or(|b| b.split('.').all(word));
    let numbers: Option<Vec<u64>> = core.split('.').map(number).collect();
    match numbers?.as_slice() {
        [major, minor, _] if suffixes => Some((*major, *minor)),
        _ => None,
    }
}

fn lower_root(root: Option<&spec::Root>, bundle: &Path, problems: &mut Problems) -> PathBuf {
    match root {
        None => {
            problems.add("root", "missing: {\"path\":\"rootfs\"} for the directory `rootfs` of the bundle")
        }
        Some(root) if root.path.is_empty() => {
            problems.add("root.path", "missing: the root directory, such as `rootfs`");
        }
        Some(root) if root.path.contains('\0') => problems.add("root.path", NUL),
        Some(root) => return bundle.join(&root.path),
    }
    PathBuf::new()
}

/// The kernel keeps deadline tasks off a part of the CPUs (sched(7)).
fn check_scheduler(spec: &spec::Spec, problems: &mut Problems) {
    let deadline =
        |process: &spec::Process| process.scheduler.as_ref().is_some_and(|s| s.policy == "SCHED_DEADLINE");
    let cpu = spec.linux.resources.as_ref().and_then(|resources| resources.cpu.as_ref());
    if spec.process.as_ref().is_some_and(deadline) && cpu.is_some_and(|cpu| !cpu.cpus.is_empty()) {
        let text = "SCHED_DEADLINE cannot be used together with linux.resources.cpu.cpus: leave one out";
        problems.add("process.scheduler.policy", text);
    }
}

fn lower_hostname(
    name: &str,
    path: &str,
    namespaces: &Namespaces,
    problems: &mut Problems,
) -> Option<String> {
    if name.is_empty() {
        return None;
    }
    if !namespaces.has(NamespaceKind::Uts) {
        problems.add(path, "needs a uts namespace: add {\"type\":\"uts\"} to linux.namespaces");
    }
    if name.len() > MAX_HOSTNAME {
        problems.add(path, format!("{} bytes are too long: at most {MAX_HOSTNAME}", name.len()));
    }
    Some(name.to_string())
}

fn lower_seccomp(spec: &spec::Spec, problems: &mut Problems, warnings: &mut Warnings) -> Option<Filter> {
    let unknown = match annotations::switch(spec, crate::seccomp::NO_UNKNOWN, problems) {
        true => Unknown::Refused,
        false => Unknown::Skipped,
    };
    crate::seccomp::filter_of(spec, unknown, problems, warnings)
}

/// The ids of the process are among those that its new user namespace has.
fn check_ids(process: Option<&Process>, namespaces: &Namespaces, keep_groups: bool, problems: &mut Problems) {
    let Some(process) = process.filter(|_| namespaces.creates(NamespaceKind::User)) else { return };
    let mut check = |id: u32, map: &[IdMap], path: String, maps: &str| {
        if !map.is_empty() && id != u32::MAX && id_maps::outside(map, id).is_none() {
            problems.add(path, format!("{id} is not in {maps}: map it, or name an id that is mapped"));
        }
    };
    check(process.uid, &namespaces.uid_map, "process.user.uid".into(), "linux.uidMappings");
    check(process.gid, &namespaces.gid_map, "process.user.gid".into(), "linux.gidMappings");
    for (i, gid) in process.groups.iter().enumerate().filter(|_| !keep_groups) {
        check(*gid, &namespaces.gid_map, format!("process.user.additionalGids[{i}]"), "linux.gidMappings");
    }
}

fn check_caller(namespaces: &Namespaces, host: &Host, problems: &mut Problems) {
    if host.euid != 0 && !namespaces.has(NamespaceKind::User) {
        let text = format!(
            "user {} is not root and needs a user namespace: add {{\"type\":\"user\"}} with uidMappings and \
             gidMappings, or make the config by `oxrun spec --rootless`",
            host.euid
        );
        problems.add("linux.namespaces", text);
    }
}

/// The host's id of the process' user, exactly when cgroup files are to belong to it
/// (config-linux.md, Cgroup ownership).
fn delegate(
    namespaces: &Namespaces,
    mounts: &[Mount],
    process: Option<&Process>,
    host: &Host,
) -> Option<u32> {
    let writable = |mount: &Mount| {
        let attributes = mount.attributes.set | mount.attributes.recursive_set;
        matches!(mount.source, MountSource::Cgroup { .. })
            && mount.destination == "/sys/fs/cgroup"
            && attributes & u64::from(MOUNT_ATTR_RDONLY) == 0
    };
    if !host.cgroup_v2 || !namespaces.creates(NamespaceKind::Cgroup) || !mounts.iter().any(writable) {
        return None;
    }
    let uid = process?.uid;
    match namespaces {
        n if n.creates(NamespaceKind::User) => id_maps::outside(&n.uid_map, uid),
        n if n.joins(NamespaceKind::User) => None,
        _ => Some(uid),
    }
}

fn lower_cgroup(
    linux: &spec::Linux,
    delegate: Option<u32>,
    host: &Host,
    problems: &mut Problems,
) -> CgroupPlan {
    let resources = linux.resources.clone().unwrap_or_default();
    crate::cgroup::check(&resources, host.cgroup_v2, problems);
    let devices = devices::lower_rules(&resources.devices, problems);
    CgroupPlan { path: linux.cgroups_path.clone(), resources, devices, delegate }
}

/// Without a mount namespace it would be the host's.
fn lower_propagation(name: &str, namespaces: &Namespaces, problems: &mut Problems) -> u64 {
    let flags = |name| match name {
        "shared" => Some(libc::MS_SHARED),
        "slave" => Some(libc::MS_SLAVE),
        "private" => Some(libc::MS_PRIVATE),
        "unbindable" => Some(libc::MS_UNBINDABLE),
        _ => None,
    };
    if name.is_empty() {
        return 0;
    }
    if !namespaces.has(NamespaceKind::Mount) {
        problems.add("linux.rootfsPropagation", NEEDS_MOUNT_NAMESPACE);
    }
    match (flags(name), name.strip_prefix('r').and_then(flags)) {
        (Some(flag), _) => flag,
        (None, Some(flag)) => flag | libc::MS_REC,
        (None, None) => {
            let text = format!("unknown propagation `{name}`: shared, slave, private or unbindable");
            let known =
                ["shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable"];
            problems.add_unknown("linux.rootfsPropagation", text, [name], known);
            0
        }
    }
}

/// Masked or read-only paths, each once.
fn lower_paths(
    paths: &[String],
    path: &str,
    namespaces: &Namespaces,
    problems: &mut Problems,
) -> Vec<String> {
    if !paths.is_empty() && !namespaces.has(NamespaceKind::Mount) {
        problems.add(path, NEEDS_MOUNT_NAMESPACE);
    }
    let mut lowered: Vec<String> = Vec::with_capacity(paths.len());
    for (i, given) in paths.iter().enumerate() {
        if !given.starts_with('/') {
            problems.add(format!("{path}[{i}]"), format!("`{given}` is not absolute: must begin with `/`"));
        } else if given.contains('\0') {
            problems.add(format!("{path}[{i}]"), NUL);
        }
        let normal = normalise(given);
        if !lowered.contains(&normal) {
            lowered.push(normal);
        }
    }
    lowered
}

fn lower_intel_rdt(given: Option<&spec::IntelRdt>, problems: &mut Problems) -> Option<spec::IntelRdt> {
    let rdt = given?;
    let path = "linux.intelRdt";
    let id = rdt.clos_id.as_str();
    if id == "." || id == ".." || id.contains('/') && id != "/" {
        problems.add(format!("{path}.closID"), format!("`{id}` is not the name of a directory, nor `/`"));
    }
    let newline = "must be one line";
    if rdt.l3_cache_schema.contains('\n') {
        problems.add(format!("{path}.l3CacheSchema"), newline);
    }
    if !rdt.mem_bw_schema.is_empty()
        && (!rdt.mem_bw_schema.starts_with("MB:") || rdt.mem_bw_schema.contains('\n'))
    {
        problems.add(format!("{path}.memBwSchema"), "must be one line that begins with `MB:`");
    }
    for (i, line) in rdt.schemata.iter().enumerate() {
        if line.contains('\n') {
            problems.add(format!("{path}.schemata[{i}]"), newline);
        }
    }
    given.cloned()
}
