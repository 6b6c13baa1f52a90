//! What is known about a container: the contents of `state.json`, the status callers see, and what
//! may be an id. Written by `create`, read by every other command through `statedir`.

use super::error::Error;
use super::identity::Identity;
use crate::cgroup::{Location, Place};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Longest id in bytes: what a file name may have (NAME_MAX).
const LONGEST_ID: usize = 255;

/// What is known about a container: `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of this format.
    pub version: u32,
    /// `ociVersion` for the state as shown to callers.
    pub oci_version: String,
    /// The id.
    pub id: String,
    /// How far `create` has come.
    pub phase: Phase,
    /// The process that runs `create`.
    pub creator: Identity,
    /// The container's first process, as soon as there is one.
    pub init: Option<Identity>,
    /// The bundle directory, absolute.
    pub bundle: PathBuf,
    /// The root filesystem, absolute.
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339 in UTC.
    pub created: String,
    /// The uid that created it.
    pub owner: u32,
    /// The directory whose files say whether it is paused, for those who need nothing else of its
    /// cgroups; states of older versions have none.
    #[serde(default)]
    pub freezer: Option<Place>,
    /// Where its cgroups are; null is none.
    pub cgroup: Option<Location>,
    /// Its resctrl group; states of older versions have none.
    #[serde(default)]
    pub rdt: Option<super::rdt::Place>,
    /// Whether it has a pid namespace of its own, so that init's end is the end of all.
    pub own_pid_namespace: bool,
    /// Whether its mounts are in a namespace of their own, and not the host's.
    pub own_mount_namespace: bool,
    /// Without one: the mount that its root filesystem was on before, which stays when the container's
    /// goes. States of older versions have none.
    #[serde(default)]
    pub root_mount: Option<u64>,
    /// Whether its processes have a session keyring of their own.
    #[serde(default)]
    pub new_keyring: bool,
    /// Whether its process has a terminal.
    pub terminal: bool,
    /// Whether there are poststart hooks in its config.json.
    pub poststart: bool,
    /// Whether there are poststop hooks in its config.json.
    pub poststop: bool,
    /// `annotations` of config.json.
    pub annotations: BTreeMap<String, String>,
}

impl State {
    /// The version this program writes; higher ones are refused.
    pub const VERSION: u32 = 1;

    /// What its status follows from.
    pub fn processes(&self) -> Processes<'_> {
        Processes { phase: self.phase, creator: &self.creator, init: self.init.as_ref() }
    }
}

/// The part of `state.json` that a look at a container shows; what else is in it is skipped.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "as in State")]
pub struct Glance {
    pub version: u32,
    pub oci_version: String,
    pub id: String,
    pub phase: Phase,
    pub creator: Identity,
    pub init: Option<Identity>,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    pub created: String,
    pub owner: u32,
    pub freezer: Place,
    pub annotations: BTreeMap<String, String>,
}

impl Glance {
    /// What its status follows from.
    pub fn processes(&self) -> Processes<'_> {
        Processes { phase: self.phase, creator: &self.creator, init: self.init.as_ref() }
    }
}

/// What the status of a container follows from, beside start.sock.
#[derive(Debug, Clone, Copy)]
pub struct Processes<'a> {
    phase: Phase,
    creator: &'a Identity,
    init: Option<&'a Identity>,
}

impl Processes<'_> {
    /// The status; never `Paused`. `Created` and `Running` come with init's pidfd.
    pub fn status(self, waits: impl FnOnce() -> Result<bool>) -> Result<(Status, Option<OwnedFd>)> {
        if self.phase == Phase::Creating {
            let at_work = self.creator.alive()?.is_some();
            return Ok((if at_work { Status::Creating } else { Status::Stopped }, None));
        }
        match self.init.map(Identity::alive).transpose()?.flatten() {
            None => Ok((Status::Stopped, None)),
            Some(init) if waits()? => Ok((Status::Created, Some(init))),
            Some(init) => Ok((Status::Running, Some(init))),
        }
    }
}

/// How far `create` has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// `create` is at work, or was killed at it.
    Creating,
    /// `create` has succeeded.
    Created,
}

/// The status of a container as callers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Being created.
    Creating,
    /// Waits for `start`.
    Created,
    /// Its process runs.
    Running,
    /// Its cgroup is frozen; only the caller can know.
    Paused,
    /// Its process has ended.
    Stopped,
}

impl Status {
    const ALL: [Status; 5] =
        [Status::Creating, Status::Created, Status::Running, Status::Paused, Status::Stopped];

    /// The status that a word is the name of.
    pub fn named(name: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.name() == name)
    }

    /// The word in the state (runtime.md).
    pub fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// Refuses ids that are not file names or could be mistaken for ours (R14).
pub fn check_id(id: &str) -> Result<()> {
    let usage = |problem: String| {
        Err(Error::Usage(format!(
            "invalid container ID `{}`: {problem}; use letters, digits, `_`, `+`, `-` and `.`, not starting with `.`",
            id.escape_debug()
        ))
        .into())
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    match id.chars().find(|c| !allowed(*c)) {
        Some(other) => usage(format!("invalid character {other:?} in a container ID")),
        None if id.is_empty() => usage("it is empty".into()),
        None if id.starts_with('.') => usage("invalid character '.' at the start of a container ID".into()),
        None if id.len() > LONGEST_ID => usage(format!("longer than {LONGEST_ID} bytes")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_no_names_are_refused() {
        let long = "x".repeat(LONGEST_ID + 1);
        for bad in ["", ".", "..", ".foo", "this/is/invalid", "foo bar", "ü", "a\0b", "a\nb", &long] {
            let error = check_id(bad).unwrap_err();
            assert!(matches!(error.downcast_ref(), Some(Error::Usage(_))), "{bad}");
            assert!(error.to_string().starts_with("invalid container ID"));
        }
        for good in ["a", "0", "-x", "+x", "_.-+", "a..b", &long[1..]] {
            check_id(good).unwrap();
        }
    }

    #[test]
    fn the_state_in_the_fuzz_seeds_is_one() {
        let seed = include_bytes!("../../fuzz/seeds/state/stopped.json");
        assert_eq!(serde_json::from_slice::<State>(seed).unwrap().id, "a");
    }
}
