//! `gc`: finds what killed runtimes, or a new start of the host, left in the state directory and no
//! caller can own any more, and removes it when told to. A stopped container is its caller's to delete
//! and stays, and so does whatever somebody has locked or a process may still be in.
//!
//! | what | rule |
//! |---|---|
//! | a temporary name (`.new-…`, `.gone-…`) | nobody has it locked: its maker is dead, and no cgroup was made yet or all are gone |
//! | a container whose `create` was killed | it says so, its creator is dead, nobody has it locked, no process is in its cgroups; those and its unit go with it |
//! | a container of an earlier boot | its processes were ended by that; the directory alone goes, as cgroups of that name are new ones |
//! | a directory without a readable state | nobody has it locked, and it was last changed before this boot |

use super::delete::{self, cgroup_of};
use super::error::Error;
use super::identity::Identity;
use super::statedir::{Debris, Entry, Lock, Phase, State, StateDir};
use crate::cgroup::Location;
use crate::error::{Context, bail, shown};
use crate::hostfs;
use crate::progress::Progress;
use anyhow::Result;
use serde::Serialize;
use std::path::PathBuf;

/// Why something is garbage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A temporary name of a runtime that was killed.
    Temporary,
    /// Its `create` was killed.
    HalfMade,
    /// It was made before the host was started.
    EarlierBoot,
    /// Nothing can be known of it, and it is older than this boot.
    Unreadable,
}

/// One directory that is garbage, and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Garbage {
    /// Its name in the state directory: an id, or a temporary name.
    pub name: String,
    /// Why it is garbage.
    pub reason: Reason,
    /// The directory, absolute.
    pub path: PathBuf,
    /// Cgroup directories that are there, and units of systemd.
    pub also: Vec<String>,
}

/// Lists the garbage, sorted by name; `remove` removes it. What cannot be removed is a warning.
pub fn collect(states: &StateDir, remove: bool) -> Result<Vec<Garbage>> {
    let mut garbage = Vec::new();
    let progress = Progress::begin();
    for debris in states.debris()? {
        progress.tell(|| format!("looking at `{}`", debris.name()));
        garbage.extend(of_debris(states, debris, remove)?);
    }
    let ids = states.list()?;
    for (i, id) in ids.iter().enumerate() {
        progress.tell(|| format!("looked at {i} of {} containers, next is `{id}`", ids.len()));
        match of_container(states, id, remove) {
            Ok(found) => garbage.extend(found),
            Err(error) if Error::is_not_found(&error) => {}
            Err(error) => crate::warn!("`{id}` is left alone: {}", shown(&error)),
        }
    }
    Ok(garbage)
}

fn of_debris(states: &StateDir, debris: Debris, remove: bool) -> Result<Option<Garbage>> {
    let name = debris.name().to_string();
    let path = states.path_of(&name)?;
    if remove && let Err(error) = debris.remove() {
        crate::warn!("{}", shown(&error));
        return Ok(None);
    }
    Ok(Some(Garbage { name, reason: Reason::Temporary, path, also: Vec::new() }))
}

/// Decided and removed under the lock; whoever has it is at work.
fn of_container(states: &StateDir, id: &str, remove: bool) -> Result<Option<Garbage>> {
    let entry = states.open_entry(id)?;
    if !entry.try_lock(if remove { Lock::Exclusive } else { Lock::Shared })? {
        return Ok(None);
    }
    let state = match entry.state() {
        Ok(state) => Some(state),
        Err(_) if entry.is_broken()? => None,
        Err(error) => return Err(error),
    };
    let reason = match &state {
        None => unreadable(&entry)?,
        Some(state) => reason_of(state)?,
    };
    let Some(reason) = reason else { return Ok(None) };
    let half_made = state.filter(|_| reason == Reason::HalfMade);
    let also = half_made.as_ref().map(places).transpose()?.unwrap_or_default();
    let garbage = Garbage { name: id.to_string(), reason, path: states.path_of(id)?, also };
    match half_made {
        Some(state) if remove => delete::remove(entry, &state)?,
        None if remove => entry.remove()?,
        _ => {}
    }
    Ok(Some(garbage))
}

fn reason_of(state: &State) -> Result<Option<Reason>> {
    let now = |identity: &Identity| identity.is_of_this_boot();
    if !now(&state.creator)? && !state.init.as_ref().map_or(Ok(false), now)? {
        return Ok(Some(Reason::EarlierBoot));
    }
    if state.phase != Phase::Creating || state.creator.alive()?.is_some() {
        return Ok(None);
    }
    let processes = cgroup_of(state)?.processes()?;
    if let Some(pid) = processes.first() {
        bail!("its create was killed, but process {pid} is in its cgroup; end it first");
    }
    Ok(Some(Reason::HalfMade))
}

/// Of this boot it might still be a container that runs: `delete --force` is for who knows better.
fn unreadable(entry: &Entry) -> Result<Option<Reason>> {
    if entry.last_change()? < boot_time()? {
        return Ok(Some(Reason::Unreadable));
    }
    bail!("its state.json cannot be read; delete --force removes it")
}

/// When the host was started, in seconds since 1970 (proc_stat(5), btime).
fn boot_time() -> Result<i64> {
    let stat = hostfs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|time| time.trim().parse().ok()).context("read /proc/stat: no btime in it")
}

/// What a half-made container has beside its directory.
fn places(state: &State) -> Result<Vec<String>> {
    fn add(location: &Location, found: &mut Vec<String>) {
        let mut directory = |place: &crate::cgroup::Place| {
            let directory = place.directory();
            // A question only: what is removed is opened and checked by the cgroup manager.
            if hostfs::exists(&directory) {
                found.push(directory.display().to_string());
            }
        };
        match location {
            Location::None => {}
            Location::V2(place) => directory(place),
            Location::V1(places) => places.iter().for_each(directory),
            Location::Systemd { unit, cgroups } => {
                found.push(format!("unit {}", unit.name));
                add(cgroups, found);
            }
        }
    }
    let mut found = Vec::new();
    add(&cgroup_of(state)?.location(), &mut found);
    Ok(found)
}
