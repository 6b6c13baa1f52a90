//! `mounts add` and `mounts remove`: mounts of a running container changed from outside. Sources of
//! bind mounts are cloned on the host, everything else happens in a process born inside.

use super::delete::cgroup_of;
use super::entrance::Entrance;
use super::error::Error;
use super::launch;
use super::statedir::{Entry, Lock, State, StateDir, Status};
use crate::bundle::lists::normalise;
use crate::bundle::plan::{MountSource, Plan, SymlinkSource};
use crate::bundle::{self, Host, spec};
use crate::cli::command::MountsChange;
use crate::error::{Context, Doing, anyhow, bail};
use crate::init::remount::{self, Change, Job};
use crate::init::sync::{Channel, Message};
use crate::procfs::Procfs;
use crate::rootfs::MountFeatures;
use crate::rootfs::mount::clone_tree;
use crate::sys::clone::{Forked, clone3};
use crate::sys::{process as sys, signal};
use anyhow::Result;
use serde_json::Value;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The largest file of mounts that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// Adds the mounts that a file lists, or removes what is mounted on their destinations.
pub fn change(states: &StateDir, id: &str, change: MountsChange, file: &Path) -> Result<()> {
    let mounts = read(file)?;
    let entry = states.open_entry(id)?;
    entry.lock(Lock::Exclusive)?;
    let state = entry.state()?;
    let (Status::Created | Status::Running, Some(pidfd)) = entry.status(&state)? else {
        bail!(Error::WrongState("container not running".into()));
    };
    if !state.own_mount_namespace {
        bail!("the container has the host's mount namespace: mount on the host");
    }
    let host = Host::probe()?;
    let plan = plan_with(&entry, &state, &mounts, change, &host)?;
    let destinations: Vec<String> = mounts.iter().map(|m| normalise(&m.destination)).collect();
    let pid = state.init.as_ref().map_or(0, |init| init.pid);
    let procfs = Procfs::open()?;
    let what = match change {
        MountsChange::Add => Change::Add {
            trees: sources(&plan, &procfs, pid)?,
            plan: &plan,
            view: cgroup_of(&state)?.view(),
            features: MountFeatures::probe(),
        },
        MountsChange::Remove => {
            if let Some(bad) = mounts.iter().find(|m| normalise(&m.destination) == "/") {
                bail!("remove the mount on `{}`: that is the root of the container", bad.destination);
            }
            Change::Remove(&destinations)
        }
    };
    let entrance = Entrance::open(&plan, pid, pidfd, &host)?;
    do_inside(entrance, procfs, what)
}

/// Reads an array of mounts, or an object with `mounts`, as in config.json.
fn read(file: &Path) -> Result<Vec<spec::Mount>> {
    let doing = || format!("read mounts from `{}`", file.display());
    let mut text = Vec::new();
    let opened = crate::hostfs::file(file).doing(doing)?;
    opened.take(MAX_FILE).read_to_end(&mut text).doing(doing)?;
    let mut value: Value = serde_json::from_slice(&text).with_context(doing)?;
    if value.is_array() {
        value = serde_json::json!({ "mounts": value });
    }
    let parsed: spec::Spec =
        bundle::parse(value.to_string().as_bytes()).map_err(|problems| anyhow!("{}: {problems}", doing()))?;
    if parsed.mounts.is_empty() {
        bail!("{}: it lists none", doing());
    }
    Ok(parsed.mounts)
}

/// The container's plan with other mounts, for what they depend on.
fn plan_with(
    entry: &Entry,
    state: &State,
    mounts: &[spec::Mount],
    change: MountsChange,
    host: &Host,
) -> Result<Plan> {
    let mut spec = super::spec_of(entry, state)?;
    spec.mounts = if change == MountsChange::Add { mounts.to_vec() } else { Vec::new() };
    super::lower_again(&spec, state, host)
}

/// Clones the sources of bind mounts while the host's files can be seen.
fn sources(plan: &Plan, procfs: &Procfs, init: i32) -> Result<Vec<Option<OwnedFd>>> {
    let mut trees = Vec::new();
    for mount in &plan.mounts {
        let MountSource::Bind { path, recursive, symlink, .. } = &mount.source else { continue };
        if *symlink == SymlinkSource::Copy {
            bail!("mounts[{}]: copy-symlink is for the creation of a container alone", mount.index);
        }
        let tree = clone_tree(path, *recursive, *symlink == SymlinkSource::NoFollow)
            .doing(|| format!("open the source `{}` (mounts[{}])", path.display(), mount.index))?;
        if let Some(map) = &mount.id_map {
            launch::map_ids(&tree, map, procfs, init).with_context(|| format!("mounts[{}]", mount.index))?;
        }
        trees.resize_with(mount.index + 1, || None);
        if let Some(place) = trees.get_mut(mount.index) {
            *place = Some(tree);
        }
    }
    Ok(trees)
}

fn do_inside(entrance: Entrance, procfs: Procfs, change: Change) -> Result<()> {
    let (ours, theirs) = Channel::pair()?;
    signal::block_all().doing(|| "block signals")?;
    entrance.enter()?;
    match clone3(0, None).doing(|| "clone a process into the container")? {
        Forked::Child => {
            drop(ours);
            crate::trace::begin_inside(crate::trace::is_on());
            remount::run(Job { way: entrance.way, channel: theirs, procfs, change })
        }
        Forked::Parent { pidfd, .. } => {
            drop(theirs);
            let said = ours.receive()?;
            sys::wait_pidfd(&pidfd).doing(|| "wait for the process in the container")?;
            match said {
                Some((Message::Ready, _)) => Ok(()),
                Some((Message::Failed(failed), _)) => bail!(failed),
                _ => bail!("the process in the container was killed"),
            }
        }
    }
}
