//! What the host offers beside system calls: cgroups and who may make them, systemd, security modules, ids of this
//! user, CRIU, the state directory. Called by `doctor`.

use super::report::{Rows, State};
use crate::bundle::Host;
use crate::cgroup::{self, Layout};
use crate::cli::output;
use crate::container::create::Settings;
use crate::container::rdt;
use crate::criu::{self, Swrk, messages::Features};
use crate::error::shown;
use crate::hostfs;
use crate::probe;
use anyhow::Result;
use rustix::fs::{Access, AtFlags, CWD};
use std::path::Path;

/// Looks at all of it.
pub fn look(host: &Host, root: &Path, settings: Settings, criu: Option<&Path>, rows: &mut Rows) {
    cgroups(host, settings, rows);
    security(rows);
    ids(host, rows);
    programs(criu, rows);
    state(root, rows);
}

/// Controllers that limits of config.json are made of.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "hugetlb", "memory", "pids"];

fn cgroups(host: &Host, settings: Settings, rows: &mut Rows) {
    rows.area("cgroups");
    let offer = Layout::probe().map(|layout| layout.offer());
    let (state, meaning) = match &offer {
        Ok(offer) => {
            (State::from(!offer.controllers.is_empty() || offer.version == "v2"), offer.version.to_owned())
        }
        Err(error) => (State::No, shown(error)),
    };
    rows.add_row(
        "hierarchy",
        state,
        meaning,
        "mount cgroup2 on /sys/fs/cgroup, or use --cgroup-manager disabled",
    );
    let Ok(offer) = offer else { return };
    let has = |name: &&str| offer.controllers.iter().any(|controller| controller == name);
    let block = if host.cgroup_v2 { "io" } else { "blkio" };
    let missing: Vec<&str> = CONTROLLERS.into_iter().chain([block]).filter(|name| !has(name)).collect();
    let state = if missing.is_empty() { State::Yes } else { State::Partly };
    let remedy = match host.is_privileged() {
        true => format!("missing: {}; the kernel was built or started without them", missing.join(" ")),
        false => format!("missing: {}; as root, name them in Delegate= of user@.service", missing.join(" ")),
    };
    rows.add_row("controllers", state, offer.controllers.join(" "), remedy);
    let may_make = rustix::fs::accessat(CWD, &offer.parent, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    let state = match may_make {
        true => State::Yes,
        false if settings.tolerate_missing_rights => State::Partly,
        false => State::No,
    };
    let remedy =
        "use --systemd-cgroup, or have root give this user a cgroup; without one there are no limits";
    rows.add_row("cgroups of this user", state, format!("made in `{}`", offer.parent.display()), remedy);
    let user = !host.is_privileged();
    let (state, meaning) = match cgroup::ask_systemd(user) {
        Ok(version) => {
            (State::Yes, format!("version {version}, of the {}", if user { "user" } else { "system" }))
        }
        Err(error) => (State::Partly, shown(&error)),
    };
    rows.add_row("systemd", state, meaning, "only --systemd-cgroup needs it");
    if host.cgroup_v2 && host.is_privileged() {
        let loaded = cgroup::can_load_device_rules();
        rows.add_row(
            "device rules",
            loaded,
            "linux.resources.devices, as a BPF program",
            "use a kernel that is built with CONFIG_CGROUP_BPF",
        );
        rows.essential();
    }
    let rdt = rdt::Place::find(Some(&crate::bundle::spec::IntelRdt::default()), "doctor").is_ok();
    let state = if rdt { State::Yes } else { State::Partly };
    rows.add_row(
        "resctrl",
        state,
        "linux.intelRdt",
        "mount -t resctrl resctrl /sys/fs/resctrl, on a CPU that has it",
    );
}

fn security(rows: &mut Rows) {
    rows.area("security");
    let partly = |there: bool| if there { State::Yes } else { State::Partly };
    let remedy = "start the kernel with it (lsm=…,apparmor); bundles that name a profile fail without";
    rows.add_row("AppArmor", partly(probe::has_apparmor()), "process.apparmorProfile", remedy);
    let remedy = "start the kernel with it (lsm=…,selinux); bundles that name a label fail without";
    rows.add_row(
        "SELinux",
        partly(probe::has_selinux()),
        "process.selinuxLabel and linux.mountLabel",
        remedy,
    );
}

fn ids(host: &Host, rows: &mut Rows) {
    rows.area("ids");
    let uid = rustix::process::geteuid().as_raw();
    let name = output::Owners::default().name(uid);
    if host.is_privileged() {
        rows.add_row("id maps", State::Yes, "root maps any ids", "");
        return;
    }
    for which in ["uid", "gid"] {
        let helper = format!("new{which}map");
        let found = probe::program(&helper);
        let state = if found.is_some() { State::Yes } else { State::Partly };
        rows.add_row(&helper, state, "maps more ids than the own one", "install it (package uidmap)");
        let has = if host.euid == 0 { probe::own_map(which) } else { probe::subordinate(which, uid, &name) };
        let ranges: Vec<String> =
            has.iter().map(|ids| format!("{} to {}", ids.first, ids.first + ids.count - 1)).collect();
        let state = if has.is_empty() { State::Partly } else { State::Yes };
        let meaning = if has.is_empty() { "the own id alone".to_owned() } else { ranges.join(", ") };
        rows.add_row(
            format!("{which}s of `{name}`"),
            state,
            meaning,
            format!("as root: usermod --add-sub{which}s 100000-165535 {name}"),
        );
    }
}

fn programs(criu: Option<&Path>, rows: &mut Rows) {
    rows.area("programs");
    let (state, meaning, remedy) = match criu_offer(criu) {
        Ok((version, Ok(features))) => (State::Yes, format!("{version}, {features}"), String::new()),
        Ok((version, Err(error))) => (State::Partly, version, shown(&error)),
        Err(error) => (State::Partly, "checkpoint and restore".into(), shown(&error)),
    };
    rows.add_row("CRIU", state, meaning, remedy);
}

/// Version and features, by its own word. It may tell the former, and then fail to look at the kernel for
/// the latter.
fn criu_offer(program: Option<&Path>) -> Result<(String, Result<String>)> {
    let criu = Swrk::start(&criu::find(program)?, &criu::Setting::default())?;
    let version = criu.version()?;
    let features = || {
        let features = criu.features(Features { memory_tracking: Some(true), lazy_pages: Some(true) })?;
        let has = |there: Option<bool>| if there == Some(true) { "with" } else { "without" };
        let (tracking, lazy) = (has(features.memory_tracking), has(features.lazy_pages));
        Ok(format!("{tracking} --pre-dump, {lazy} --lazy-pages"))
    };
    Ok((format!("{}.{}", version.major, version.minor), features()))
}

fn state(root: &Path, rows: &mut Rows) {
    rows.area("state");
    let there = root.ancestors().find(|path| hostfs::is_directory(path)).unwrap_or(Path::new("/"));
    let writable = rustix::fs::accessat(CWD, there, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    let why = writable.err().map(crate::error::text).unwrap_or_default();
    let remedy =
        format!("`{}`: {why}; name another directory by --root, or set XDG_RUNTIME_DIR", there.display());
    rows.add_row("state directory", writable.is_ok(), format!("`{}`", root.display()), remedy);
    rows.essential();
}
