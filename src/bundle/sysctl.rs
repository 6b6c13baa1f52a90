//! Sysctls: which may be set, and which namespace makes each the container's own. Called by
//! `lower.rs`.

use super::json::NUL;
use super::plan::{NamespaceKind, Namespaces};
use super::problems::Problems;
use super::spec;

/// Sysctls of the IPC namespace (ipc_namespaces(7)) below kernel/; fs/mqueue/ is one too.
const IPC: [&str; 9] = [
    "kernel/auto_msgmni",
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// Lowers `linux.sysctl` to paths below /proc/sys.
pub fn lower(spec: &spec::Spec, namespaces: &Namespaces, problems: &mut Problems) -> Vec<(String, String)> {
    let mut lowered: Vec<(String, String)> = Vec::with_capacity(spec.linux.sysctl.len());
    for (key, value) in &spec.linux.sysctl {
        let path = format!("linux.sysctl.{key}");
        let name = file_name(key);
        if let Some(fault) = fault((&name, value), spec, namespaces) {
            problems.add(path, fault);
        } else if value.contains('\0') {
            problems.add(path, NUL);
        } else if lowered.iter().any(|(other, _)| *other == name) {
            problems.add(path, "given twice, with dots and with slashes");
        } else {
            lowered.push((name, value.clone()));
        }
    }
    lowered
}

/// The path below /proc/sys. Both `net.ipv4.conf.eth0/1.x` and `net/ipv4/conf/eth0.1/x` are
/// spellings of one file (sysctl(8)): the first separator says which.
fn file_name(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(i) if key[i..].starts_with('.') => key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
        _ => key.to_string(),
    }
}

fn fault((name, value): (&str, &str), spec: &spec::Spec, namespaces: &Namespaces) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/');
    if !name.chars().all(allowed) || name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Some("not the name of a sysctl: letters, digits, `_`, `-` and `.` between names".into());
    }
    let Some(kind) = namespace_of(name) else {
        return Some("belongs to the whole machine, not to a namespace: set it on the host".into());
    };
    if !namespaces.has(kind) {
        let kind = kind.name();
        return Some(format!("needs a {kind} namespace: add {{\"type\":\"{kind}\"}} to linux.namespaces"));
    }
    match name {
        "kernel/hostname" => Some("set `hostname` instead".into()),
        "kernel/domainname" if !spec.domainname.is_empty() && spec.domainname != value => {
            Some("contradicts `domainname`: leave one out".into())
        }
        _ => None,
    }
}

/// The namespace whose sysctl this is; none where it is the machine's (R15).
fn namespace_of(name: &str) -> Option<NamespaceKind> {
    if name.starts_with("net/") {
        Some(NamespaceKind::Network)
    } else if IPC.contains(&name) || name.starts_with("fs/mqueue/") {
        Some(NamespaceKind::Ipc)
    } else if matches!(name, "kernel/hostname" | "kernel/domainname") {
        Some(NamespaceKind::Uts)
    } else if name.starts_with("user/") {
        Some(NamespaceKind::User)
    } else {
        None
    }
}
