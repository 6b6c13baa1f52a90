//! Processes: `process` of config.json or the file of `exec --process`, made C strings, ids and
//! masks (R13: ids are whole numbers and never names). Called by `lower.rs` for init and by `exec`.

use super::host::Host;
use super::json::NUL;
use super::plan::{Process, Rlimit};
use super::problems::{Problems, Warnings};
use super::{capabilities, scheduler, spec};
use std::collections::BTreeSet;
use std::ffi::CString;

/// RLIMIT_* by number (asm-generic/resource.h, the same for x86_64 and aarch64).
const RLIMITS: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

/// The most supplementary groups (NGROUPS_MAX).
const MAX_GROUPS: usize = 65536;

/// Lowers a process; `path` is where it is in its document (`process`, or empty).
pub fn lower(
    process: &spec::Process,
    path: &str,
    host: &Host,
    problems: &mut Problems,
    warnings: &mut Warnings,
) -> Process {
    let at = |member: &str| super::json::join(path, member);
    let affinity = process.exec_cpu_affinity.clone().unwrap_or_default();
    let mut cpus = |list: &str, member: &str| {
        scheduler::lower_cpu_list(list, &at(&format!("execCPUAffinity.{member}")), problems)
    };
    let (initial, last) = (cpus(&affinity.initial, "initial"), cpus(&affinity.last, "final"));
    Process {
        terminal: process.terminal,
        console_size: lower_console_size(process, &at("consoleSize"), problems),
        cwd: lower_cwd(&process.cwd, &at("cwd"), problems),
        env: lower_env(&process.env, &at("env"), problems),
        args: lower_args(&process.args, &at("args"), problems),
        rlimits: lower_rlimits(&process.rlimits, &at("rlimits"), problems),
        apparmor: lower_label(&process.apparmor_profile, &at("apparmorProfile"), problems),
        capabilities: process
            .capabilities
            .as_ref()
            .map(|sets| capabilities::lower(sets, &at("capabilities"), host, warnings)),
        no_new_privileges: process.no_new_privileges,
        oom_score_adj: lower_oom_score_adj(process.oom_score_adj, &at("oomScoreAdj"), problems),
        scheduler: process.scheduler.as_ref().and_then(|s| scheduler::lower(s, &at("scheduler"), problems)),
        selinux: lower_label(&process.selinux_label, &at("selinuxLabel"), problems),
        io_priority: process
            .io_priority
            .as_ref()
            .and_then(|io| scheduler::lower_io_priority(io, &at("ioPriority"), problems)),
        exec_affinity_initial: initial,
        exec_affinity_final: last,
        uid: lower_id(process.user.uid, &at("user.uid"), problems),
        gid: lower_id(process.user.gid, &at("user.gid"), problems),
        umask: lower_umask(process.user.umask, &at("user.umask"), problems),
        groups: lower_groups(&process.user.additional_gids, &at("user.additionalGids"), problems),
    }
}

/// A C string; a NUL byte is a problem at the path.
pub fn c_string(text: &str, path: impl Fn() -> String, problems: &mut Problems) -> Option<CString> {
    let string = CString::new(text).ok();
    if string.is_none() {
        problems.add(path(), NUL);
    }
    string
}

/// C strings of a list.
pub fn c_strings(list: &[String], path: &str, problems: &mut Problems) -> Vec<CString> {
    let item = |(i, text): (usize, &String)| c_string(text, || format!("{path}[{i}]"), problems);
    list.iter().enumerate().filter_map(item).collect()
}

fn lower_args(args: &[String], path: &str, problems: &mut Problems) -> Vec<CString> {
    match args.first().map(String::as_str) {
        None => problems.add(path, "missing: the program to run and its arguments"),
        Some("") => problems.add(format!("{path}[0]"), "empty: must be the program to run"),
        Some(_) => {}
    }
    c_strings(args, path, problems)
}

/// Each name once; the last of several wins.
fn lower_env(env: &[String], path: &str, problems: &mut Problems) -> Vec<CString> {
    let mut names = BTreeSet::new();
    let mut lowered = Vec::with_capacity(env.len() + 1);
    for (i, variable) in env.iter().enumerate().rev() {
        match variable.split_once('=') {
            None => {
                problems.add(format!("{path}[{i}]"), format!("`{}` is not NAME=VALUE", shorten(variable)))
            }
            Some(("", _)) => problems.add(format!("{path}[{i}]"), "the name before `=` is empty"),
            Some((name, _)) if names.insert(name) => {
                lowered.extend(c_string(variable, || format!("{path}[{i}]"), problems));
            }
            Some(_) => {}
        }
    }
    lowered.reverse();
    lowered
}

/// At most 64 characters of a text, for messages.
fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(64).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn lower_cwd(cwd: &str, path: &str, problems: &mut Problems) -> CString {
    if cwd.is_empty() {
        problems.add(path, "missing: the absolute path of the working directory");
    } else if !cwd.starts_with('/') {
        problems.add(path, format!("`{}` is relative: must be absolute", shorten(cwd)));
    }
    c_string(cwd, || path.to_string(), problems).unwrap_or_default()
}

fn lower_label(label: &str, path: &str, problems: &mut Problems) -> Option<CString> {
    if label.is_empty() { None } else { c_string(label, || path.to_string(), problems) }
}

/// Ignored without a terminal, as the specification says.
fn lower_console_size(process: &spec::Process, path: &str, problems: &mut Problems) -> Option<(u16, u16)> {
    let size = process.console_size.as_ref().filter(|_| process.terminal)?;
    let mut side = |given: u64, name: &str| {
        u16::try_from(given).unwrap_or_else(|_| {
            problems.add(format!("{path}.{name}"), format!("{given} is out of range: 0 to 65535 characters"));
            0
        })
    };
    Some((side(size.height, "height"), side(size.width, "width")))
}

fn lower_rlimits(rlimits: &[spec::Rlimit], path: &str, problems: &mut Problems) -> Vec<Rlimit> {
    let mut lowered: Vec<Rlimit> = Vec::with_capacity(rlimits.len());
    for (i, rlimit) in rlimits.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let Some(rlimit) = lower_rlimit(rlimit, &path, problems) else { continue };
        if lowered.iter().any(|other| other.resource == rlimit.resource) {
            problems.add(format!("{path}.type"), format!("`{}` is given twice", rlimit.name));
        } else {
            lowered.push(rlimit);
        }
    }
    lowered
}

fn lower_rlimit(rlimit: &spec::Rlimit, path: &str, problems: &mut Problems) -> Option<Rlimit> {
    let known = (0..).zip(RLIMITS).find(|(_, name)| *name == rlimit.kind);
    if known.is_none() {
        let text = match rlimit.kind.as_str() {
            "" => format!("missing: one of {}", RLIMITS.join(", ")),
            kind => format!("unknown limit `{}`: one of {}", shorten(kind), RLIMITS.join(", ")),
        };
        problems.add_unknown(format!("{path}.type"), text, [&rlimit.kind], RLIMITS);
    }
    for (value, name) in [(rlimit.soft, "soft"), (rlimit.hard, "hard")] {
        if value.is_none() {
            problems.add(format!("{path}.{name}"), "missing: a limit needs soft and hard");
        }
    }
    let (soft, hard) = (rlimit.soft?, rlimit.hard?);
    if soft > hard {
        problems.add(format!("{path}.soft"), format!("{soft} is above the hard limit {hard}"));
    }
    let (resource, name) = known?;
    Some(Rlimit { resource, name, soft, hard })
}

fn lower_oom_score_adj(given: Option<i32>, path: &str, problems: &mut Problems) -> Option<i32> {
    let value = given?;
    if !(-1000..=1000).contains(&value) {
        problems.add(path, format!("{value} is out of range: -1000 to 1000"));
    }
    given
}

/// 4294967295 means "unchanged" to setresuid(2) and is nobody's id.
fn lower_id(id: u32, path: &str, problems: &mut Problems) -> u32 {
    if id == u32::MAX {
        problems.add(path, "4294967295 is not an id");
    }
    id
}

fn lower_umask(umask: Option<u32>, path: &str, problems: &mut Problems) -> Option<u32> {
    if let Some(mask) = umask.filter(|mask| *mask > 0o777) {
        problems.add(path, format!("{mask} (0{mask:o}) is more than 511 (0777)"));
    }
    umask
}

fn lower_groups(groups: &[u32], path: &str, problems: &mut Problems) -> Vec<u32> {
    if groups.len() > MAX_GROUPS {
        problems.add(path, format!("{} groups; the kernel takes at most {MAX_GROUPS}", groups.len()));
    }
    groups.iter().enumerate().map(|(i, id)| lower_id(*id, &format!("{path}[{i}]"), problems)).collect()
}
