//! `list`: all containers of a state directory. Nearly all of its time goes into the kernel's answers, so many
//! containers are looked at by several processes at once: each further one is a clone of this that looks at its
//! part of them, leaves what it saw in a file in memory, and ends. Called by the command; `inspect` looks.

use super::inspect;
use super::statedir::{StateDir, Status};
use crate::cli::output::StateView;
use crate::sys::clone::{Forked, clone3};
use crate::sys::process::{exit_now, wait_pidfd};
use anyhow::Result;
use rustix::fs::MemfdFlags;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// How many containers are worth another process, which costs as much as looking at a few.
const WORTH: usize = 24;
/// The most processes, whatever there is.
const MOST: usize = 8;

/// All containers that can be read, sorted by id; one that is being made or removed is left out, a broken one
/// is a warning.
pub fn list(states: &StateDir) -> Result<Vec<StateView>> {
    let ids = states.list()?;
    let mut parts = ids.chunks(ids.len().div_ceil(processes(ids.len())).max(1));
    let own = parts.next().unwrap_or_default();
    let helpers: Vec<Helper> = parts.map(|part| Helper::start(states, part)).collect();
    let mut views = inspect::look_at(states, own);
    for helper in helpers {
        views.extend(helper.finish(states));
    }
    Ok(views)
}

/// How many processes look at so many containers.
fn processes(containers: usize) -> usize {
    match containers / WORTH {
        0 | 1 => 1,
        worth => worth.min(cpus()).clamp(1, MOST),
    }
}

/// How many CPUs this process may use.
fn cpus() -> usize {
    rustix::thread::sched_getaffinity(None).map_or(1, |cpus| cpus.count() as usize)
}

/// A new process may wait on its maker's CPU until that one has done its own part: it goes to the others.
/// Where it cannot, it is only later.
fn move_away(pid: i32) {
    let Ok(mut cpus) = rustix::thread::sched_getaffinity(None) else { return };
    cpus.unset(rustix::thread::sched_getcpu());
    let _ = rustix::thread::sched_setaffinity(rustix::process::Pid::from_raw(pid), &cpus);
}

/// A process that looks at a part.
struct Helper<'a> {
    part: &'a [String],
    /// None where it could not be made.
    work: Option<(OwnedFd, File)>,
}

impl<'a> Helper<'a> {
    fn start(states: &StateDir, part: &'a [String]) -> Helper<'a> {
        let start = || -> io::Result<(OwnedFd, File)> {
            let seen = File::from(rustix::fs::memfd_create("list", MemfdFlags::CLOEXEC)?);
            match clone3(0, None)? {
                Forked::Parent { pid, pidfd } => {
                    move_away(pid);
                    Ok((pidfd, seen))
                }
                Forked::Child => {
                    let told = seen.write_all_at(&encode(&inspect::look_at(states, part)), 0);
                    exit_now(told.is_err().into())
                }
            }
        };
        Helper { part, work: start().ok() }
    }

    /// What it saw. What cannot be had from it is looked at here.
    fn finish(self, states: &StateDir) -> Vec<StateView> {
        let told = self.work.and_then(|(pidfd, seen)| {
            // Where ended children are not kept for their parents this is an error; the file tells.
            let _ = wait_pidfd(&pidfd);
            let mut bytes = vec![0; usize::try_from(seen.metadata().ok()?.len()).ok()?];
            seen.read_exact_at(&mut bytes, 0).ok()?;
            decode(&bytes)
        });
        told.unwrap_or_else(|| inspect::look_at(states, self.part))
    }
}

/// The views one after the other, behind their number.
fn encode(views: &[StateView]) -> Vec<u8> {
    let mut out = Vec::with_capacity(views.len() * 512);
    put_number(&mut out, views.len());
    for view in views {
        let StateView { oci_version, id, pid, status, bundle, rootfs, created, annotations, owner } = view;
        for text in [oci_version, id, &pid.to_string(), *status, bundle, rootfs, created, owner] {
            put_text(&mut out, text);
        }
        put_number(&mut out, annotations.len());
        for text in annotations.iter().flat_map(|(name, value)| [name, value]) {
            put_text(&mut out, text);
        }
    }
    out
}

fn put_number(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&(number as u32).to_ne_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// None when it is not the whole of what `encode` wrote.
fn decode(bytes: &[u8]) -> Option<Vec<StateView>> {
    let mut rest = Rest(bytes);
    let views = (0..rest.number()?).map(|_| rest.view()).collect();
    rest.0.is_empty().then_some(views)?
}

/// What is not decoded yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn number(&mut self) -> Option<usize> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_ne_bytes(*number) as usize)
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(std::str::from_utf8(text).ok()?.to_owned())
    }

    fn view(&mut self) -> Option<StateView> {
        Some(StateView {
            oci_version: self.text()?,
            id: self.text()?,
            pid: self.text()?.parse().ok()?,
            status: self.text().and_then(|name| Status::named(&name))?.name(),
            bundle: self.text()?,
            rootfs: self.text()?,
            created: self.text()?,
            owner: self.text()?,
            annotations: self.annotations()?,
        })
    }

    fn annotations(&mut self) -> Option<BTreeMap<String, String>> {
        (0..self.number()?).map(|_| Some((self.text()?, self.text()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(id: &str) -> StateView {
        let annotations = [("", "empty name"), ("ü\0\n", ""), ("a", "b")];
        StateView {
            oci_version: "1.3.0".into(),
            id: id.into(),
            pid: -1,
            status: Status::Paused.name(),
            bundle: "/b".into(),
            rootfs: String::new(),
            created: "then".into(),
            annotations: annotations.map(|(name, value)| (name.into(), value.into())).into(),
            owner: "root".into(),
        }
    }

    #[test]
    fn what_was_seen_comes_back() {
        let views = vec![view("one"), StateView { annotations: BTreeMap::new(), ..view("two") }];
        assert_eq!(decode(&encode(&views)), Some(views));
        assert_eq!(decode(&encode(&[])), Some(Vec::new()));
    }

    #[test]
    fn a_part_of_it_is_nothing() {
        let whole = encode(&[view("one"), view("two")]);
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "{length} of {}", whole.len());
        }
        assert_eq!(decode(&[whole.as_slice(), b"x"].concat()), None);
    }

    #[test]
    fn few_containers_are_no_work_for_two() {
        for (containers, least, most) in [(0, 1, 1), (1, 1, 1), (47, 1, 1), (48, 1, 2), (100_000, 1, MOST)] {
            let processes = processes(containers);
            assert!((least..=most).contains(&processes), "{containers}: {processes}");
            assert!(processes <= cpus());
        }
    }
}
