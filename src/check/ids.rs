//! Whether the caller may map the ids that a new user namespace wants: the own id, the subordinate ones of
//! /etc/subuid and /etc/subgid by their helpers, or those of the user namespace it is in. Called by `check`.

use super::Subject;
use super::report::Findings;
use crate::bundle::plan::{IdMap, NamespaceKind};
use crate::cli::output;
use crate::probe::{self, Ids};

/// Looks at both maps.
pub fn look(subject: &Subject, findings: &mut Findings) {
    let namespaces = &subject.plan.namespaces;
    if !namespaces.creates(NamespaceKind::User) || subject.host.is_privileged() {
        return;
    }
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    for (which, own, map) in [("uid", uid, &namespaces.uid_map), ("gid", gid, &namespaces.gid_map)] {
        if subject.host.may_set_groups() {
            inner(which, map, findings);
        } else if !is_own(map, own) {
            subordinate(which, uid, own, map, findings);
        }
    }
}

/// The kernel lets everybody map the own id alone.
fn is_own(map: &[IdMap], own: u32) -> bool {
    matches!(map, [one] if one.size == 1 && one.outside == own)
}

/// Root of a user namespace may map what that one has.
fn inner(which: &str, map: &[IdMap], findings: &mut Findings) {
    let has = probe::own_map(which);
    for (i, line) in map.iter().enumerate() {
        if !has.iter().any(|ids| ids.holds(line.outside.into(), line.size.into())) {
            let text = format!(
                "{} are not all in the user namespace that oxrun runs in (/proc/self/{which}_map)",
                show(line)
            );
            findings.host(format!("linux.{which}Mappings[{i}]"), text);
        }
    }
}

/// An ordinary user needs the helper, and ranges.
fn subordinate(which: &str, uid: u32, own: u32, map: &[IdMap], findings: &mut Findings) {
    let (helper, path) = (format!("new{which}map"), format!("linux.{which}Mappings"));
    if probe::program(&helper).is_none() {
        findings.host(path, format!("needs {helper}, which is not there"));
        findings.suggest("install it (package uidmap), or map the own id alone");
        return;
    }
    let name = output::Owners::default().name(uid);
    let has = probe::subordinate(which, uid, &name);
    let mine = Ids { first: own.into(), count: 1 };
    for (i, line) in map.iter().enumerate() {
        let held = |ids: &Ids| ids.holds(line.outside.into(), line.size.into());
        if !has.iter().chain([&mine]).any(held) {
            findings.host(format!("{path}[{i}]"), format!("{} are not this user's", show(line)));
            findings.suggest(match has.first() {
                Some(ids) => {
                    format!("/etc/sub{which} gives `{name}` {} to {}", ids.first, ids.first + ids.count - 1)
                }
                None => format!("as root: usermod --add-sub{which}s 100000-165535 {name}"),
            });
        }
    }
}

fn show(line: &IdMap) -> String {
    format!("ids {} to {}", line.outside, u64::from(line.outside) + u64::from(line.size) - 1)
}
