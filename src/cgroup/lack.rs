//! What a container's cgroup would lack on this host: rights, controllers, systemd. Looked at by `check` before
//! anything is made; nothing is changed here.

use super::limits_v1;
use super::limits_v2;
use super::node::{Node, Place};
use super::setting::Setting;
use super::{Manager, dbus, has_limits};
use crate::bundle::Problems;
use crate::bundle::spec::Resources;
use crate::hostfs;
use rustix::fs::{Access, AtFlags, CWD};
use std::path::{Path, PathBuf};

/// What is missing: the JSON path of what asks for it, and what it is.
pub type Lack = (String, String);

/// Everything that the cgroup of a manager that has made nothing yet would lack. `tolerate`: without rights
/// a container that asks for nothing goes without cgroup.
pub fn lacks(manager: &Manager, resources: &Resources, named: bool, tolerate: bool) -> Vec<Lack> {
    let does_without = tolerate && !named && !has_limits(resources);
    match manager {
        Manager::None if has_limits(resources) => {
            vec![("linux.resources".into(), "limits need a cgroup, and cgroups are disabled".into())]
        }
        Manager::None => Vec::new(),
        Manager::Systemd(scope) => match systemd(scope.unit.user) {
            Ok(_) => Vec::new(),
            Err(error) => vec![("linux.cgroupsPath".into(), crate::log::describe(&error))],
        },
        Manager::V1(cgroup) => {
            let settings = limits_v1::settings(resources, &mut Problems::default());
            let missing = |s: &&Setting| !s.optional && cgroup.node(s.controller()).is_err();
            let controllers = settings.iter().filter(missing).map(|s| {
                (
                    s.json.clone(),
                    format!("this host has no cgroup v1 hierarchy with the controller `{}`", s.controller()),
                )
            });
            let mut all: Vec<Lack> = controllers.collect();
            all.extend(
                cgroup.nodes.iter().chain(&cgroup.unified).find_map(refused).filter(|_| !does_without),
            );
            all
        }
        Manager::V2(cgroup) => {
            let mut all: Vec<Lack> = refused(&cgroup.node).filter(|_| !does_without).into_iter().collect();
            if all.is_empty() {
                let settings = limits_v2::settings(resources, &|_| None, &mut Problems::default());
                all.extend(controllers(&cgroup.node.place, &settings));
            }
            all
        }
    }
}

/// Connects to systemd, of the system or of the user: its version.
pub fn systemd(user: bool) -> anyhow::Result<String> {
    let (task, time) = ("tell its version", dbus::time()?);
    let mut bus = match user {
        true => dbus::Connection::user(task, time)?,
        false => dbus::Connection::system(task, time)?,
    };
    let call = dbus::Call {
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.DBus.Properties",
        method: "Get",
        arguments: vec![
            dbus::Value::Text("org.freedesktop.systemd1.Manager".into()),
            dbus::Value::Text("Version".into()),
        ],
    };
    bus.call(&call, "systemd's version")?.variant_text()
}

/// The deepest cgroup on the way that is there.
fn existing(place: &Place) -> PathBuf {
    let directory = place.directory();
    let found = directory.ancestors().find(|path| hostfs::is_directory(path) || *path == place.mountpoint);
    found.unwrap_or(&place.mountpoint).to_path_buf()
}

/// Whether the caller may not make the cgroup.
fn refused(node: &Node) -> Option<Lack> {
    let (wanted, there) = (node.place.directory(), existing(&node.place));
    let parent = if wanted == there { return None } else { &there };
    let allowed = rustix::fs::accessat(CWD, parent, Access::WRITE_OK, AtFlags::EACCESS);
    let errno = allowed.err()?;
    let (wanted, parent, why) = (wanted.display(), parent.display(), crate::error::text(errno));
    let text = format!(
        "cgroup `{wanted}` cannot be made in `{parent}`: {why}; delegate one to this user, or use --systemd-cgroup"
    );
    Some(("linux.cgroupsPath".into(), text))
}

/// Controllers of cgroup v2 that cannot be enabled on the way to the cgroup.
fn controllers(place: &Place, settings: &[Setting]) -> Vec<Lack> {
    let there = existing(place);
    let available = words(&there, "cgroup.controllers");
    let enabled = words(&there, "cgroup.subtree_control");
    let is_inner = hostfs::exists(&there.join("cgroup.type")) && !words(&there, "cgroup.procs").is_empty();
    let lack = |setting: &Setting| {
        let controller = setting.controller();
        let has = |list: &[String]| list.iter().any(|name| name == controller);
        let shown = there.display();
        if controller == "cgroup" || setting.optional || there == place.directory() && has(&available) {
            None
        } else if !has(&available) {
            let given = available.join(" ");
            Some((
                setting.json.clone(),
                format!("`{shown}` has no cgroup controller `{controller}`: there are `{given}`"),
            ))
        } else if !has(&enabled) && is_inner {
            Some((
                setting.json.clone(),
                format!(
                    "`{shown}` has processes of its own and cannot give the controller `{controller}` to cgroups below it"
                ),
            ))
        } else {
            None
        }
    };
    settings.iter().filter_map(lack).collect()
}

fn words(directory: &Path, file: &str) -> Vec<String> {
    let text = hostfs::read_to_string(directory.join(file)).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}
