//! Which cgroups an exec'd process goes to: the container's, those below it that `--cgroup` names,
//! or on cgroup v2 the one that init is in now. Called by `exec`.

use crate::cgroup::{Join, Location, Manager, Place};
use crate::cli::exec::SubCgroup;
use crate::error::{Context, anyhow, bail};
use crate::hostfs;
use anyhow::Result;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::os::fd::OwnedFd;

/// Opens what the process needs to get in.
pub fn join(location: &Location, wanted: &[SubCgroup], init: i32) -> Result<Join> {
    let location = location.files();
    if !wanted.is_empty() {
        let below = below(location.clone(), wanted)?;
        return Manager::from_location(&below).join().context("adding the process to cgroups");
    }
    match Manager::from_location(location).join() {
        Ok(join) => Ok(join),
        // Somebody inside removed the container's cgroup after moving init below.
        Err(error) => match (location, of_init(location, init)) {
            (Location::V2(_), Some(into)) => Ok(Join { into: Some(into), tasks: Vec::new() }),
            _ => Err(error),
        },
    }
}

/// The cgroup2 directory that init is in now; none where it cannot be found.
pub fn of_init(location: &Location, init: i32) -> Option<OwnedFd> {
    let mountpoint = match location.files() {
        Location::None | Location::Systemd { .. } => return None,
        Location::V2(place) => &place.mountpoint,
        Location::V1(places) => &places.iter().find(|place| place.is_v2())?.mountpoint,
    };
    let text = hostfs::read_to_string(format!("/proc/{init}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = hostfs::open(mountpoint, flags).ok()?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let path = if path.is_empty() { "." } else { path };
    rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve).ok()
}

/// The same hierarchies, with the sub-cgroups' paths. Paths have no `..` (checked by the parser).
fn below(location: Location, wanted: &[SubCgroup]) -> Result<Location> {
    match location {
        Location::None | Location::Systemd { .. } => {
            bail!("--cgroup: the container has no cgroup of its own: leave the option out")
        }
        Location::V2(mut place) => {
            for sub in wanted {
                if let Some(name) = sub.controllers.first() {
                    bail!(
                        "--cgroup: unknown controller `{name}`: cgroup v2 has one hierarchy; give the path alone"
                    );
                }
            }
            if let [_, second, ..] = wanted {
                bail!("--cgroup: `{}` is a second path: cgroup v2 has one hierarchy", second.path);
            }
            wanted.iter().for_each(|sub| append(&mut place, &sub.path));
            Ok(Location::V2(place))
        }
        Location::V1(mut places) => {
            for sub in wanted {
                add_v1(&mut places, sub)?;
            }
            Ok(Location::V1(places))
        }
    }
}

fn add_v1(places: &mut [Place], sub: &SubCgroup) -> Result<()> {
    if sub.controllers.is_empty() {
        places
            .iter_mut()
            .filter(|place| !place.is_v2() || has(place, &sub.path))
            .for_each(|p| append(p, &sub.path));
        return Ok(());
    }
    for name in &sub.controllers {
        let wanted = |place: &&mut Place| {
            place.controllers.iter().any(|c| c == name || c.strip_prefix("name=") == Some(name.as_str()))
        };
        match places.iter_mut().find(wanted) {
            Some(place) => append(place, &sub.path),
            None => bail!("--cgroup: unknown controller `{name}`: the container has no cgroup of it"),
        }
    }
    Ok(())
}

/// On a hybrid host the path may be made in the v1 hierarchies alone.
fn has(place: &Place, path: &str) -> bool {
    hostfs::is_directory(&place.directory().join(path.trim_matches('/')))
}

fn append(place: &mut Place, path: &str) {
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if !place.path.is_empty() {
            place.path.push('/');
        }
        place.path.push_str(part);
    }
}

/// Whether clone3 failed because processes may not be in that cgroup, or no more.
pub fn may_be_elsewhere(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::ENODEV | libc::ENOENT))
}

/// An error of clone3 into a cgroup.
pub fn explain(error: std::io::Error) -> anyhow::Error {
    let hint = match error.raw_os_error() {
        Some(libc::EAGAIN) => "; the limit of processes (RLIMIT_NPROC or pids.max) is reached",
        _ => "",
    };
    anyhow!("adding the process to cgroups: {}{hint}", crate::error::why(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_name_no_cgroup_are_refused() {
        let sub = |controllers: &[&str], path: &str| SubCgroup {
            controllers: controllers.iter().map(|c| c.to_string()).collect(),
            path: path.into(),
        };
        let place = |controllers: &[&str]| Place {
            controllers: controllers.iter().map(|c| c.to_string()).collect(),
            mountpoint: "/cgroup".into(),
            path: "c".into(),
            made: 0,
        };
        let second = || Location::V2(place(&[]));
        for (location, wanted, said) in [
            (
                Location::None,
                vec![sub(&[], "a")],
                "the container has no cgroup of its own: leave the option out",
            ),
            (
                second(),
                vec![sub(&["pids"], "a")],
                "unknown controller `pids`: cgroup v2 has one hierarchy; give the path alone",
            ),
            (
                second(),
                vec![sub(&[], "a"), sub(&[], "b")],
                "`b` is a second path: cgroup v2 has one hierarchy",
            ),
            (
                Location::V1(vec![place(&["cpu"])]),
                vec![sub(&["pids"], "a")],
                "unknown controller `pids`: the container has no cgroup of it",
            ),
        ] {
            assert_eq!(below(location, &wanted).unwrap_err().to_string(), format!("--cgroup: {said}"));
        }
        assert_eq!(
            below(second(), &[sub(&[], "a/./b")]).unwrap(),
            Location::V2(Place { path: "c/a/b".into(), ..place(&[]) })
        );
    }
}
