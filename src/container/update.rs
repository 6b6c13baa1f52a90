//! `update`: new limits for a container that is there, all or none. What cannot be set is undone
//! from what the control files held before; device rules and the kept config.json stay as they are.

use super::delete::cgroup_of;
use super::error::Error;
use super::state::{State, Status};
use super::statedir::{Lock, StateDir};
use crate::bundle;
use crate::bundle::spec::{self, IntelRdt, Resources};
use crate::cli::update::{Source, Update};
use crate::error::{Doing, anyhow, bail, reworded, shown};
use anyhow::Result;
use serde_json::Value;
use std::io::Read;

/// The largest document of resources that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// Changes the limits of a container.
pub fn update(states: &StateDir, args: &Update) -> Result<()> {
    let resources = match &args.source {
        Source::Options(resources) => (**resources).clone(),
        Source::Stdin => read(std::io::stdin().lock(), "standard input")?,
        Source::File(path) => {
            let name = format!("`{}`", path.display());
            read(crate::hostfs::file(path).doing(|| format!("open {name} (--resources)"))?, &name)?
        }
    };
    let entry = states.open_entry(&args.id)?;
    entry.lock(Lock::Exclusive)?;
    let state = entry.state()?;
    if !matches!(entry.status(&state)?.0, Status::Created | Status::Running) {
        bail!(Error::WrongState("container not running".into()));
    }
    let cgroup = cgroup_of(&state)?;
    let olds = cgroup.snapshot(&resources);
    let applied = cgroup.apply(&resources, &[]).and_then(|()| set_schemata(&state, &args.intel_rdt));
    let Err(error) = applied else { return Ok(()) };
    match cgroup.restore(&olds) {
        Ok(()) => Err(error),
        Err(undoing) => Err(reworded(&error, |why| {
            format!("{why}; and the old limits could not be set again: {}", shown(&undoing))
        })),
    }
}

/// Reads `linux.resources`. Names of members may be written in any case, as callers do. Device rules
/// in it are the engine's copy of those in force and change nothing.
fn read(from: impl Read, name: &str) -> Result<Resources> {
    let mut text = Vec::new();
    from.take(MAX_FILE).read_to_end(&mut text).doing(|| format!("read resources from {name}"))?;
    let wrong = |why: String| anyhow!("read resources from {name}: {why}");
    let mut value: Value = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    let names = member_names().map_err(|error| wrong(error.to_string()))?;
    rename_members(&mut value, &names);
    bundle::parse(value.to_string().as_bytes()).map_err(|problems| wrong(problems.to_string()))
}

/// The names of all members of resources, from one that has something everywhere.
fn member_names() -> serde_json::Result<Vec<String>> {
    let full = Resources {
        devices: vec![spec::DeviceRule::default()],
        memory: Some(spec::Memory::default()),
        cpu: Some(spec::Cpu::default()),
        pids: Some(spec::Pids::default()),
        block_io: Some(spec::BlockIo {
            weight_device: vec![spec::WeightDevice::default()],
            throttle_read_bps_device: vec![spec::ThrottleDevice::default()],
            ..spec::BlockIo::default()
        }),
        hugepage_limits: vec![spec::HugepageLimit::default()],
        network: Some(spec::Network {
            priorities: vec![spec::InterfacePriority::default()],
            ..spec::Network::default()
        }),
        ..Resources::default()
    };
    let mut names = Vec::new();
    collect_names(&serde_json::to_value(full)?, &mut names);
    Ok(names)
}

fn collect_names(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_names(item, names)),
        Value::Object(members) => {
            for (name, member) in members {
                if !names.contains(name) {
                    names.push(name.clone());
                }
                collect_names(member, names);
            }
        }
        _ => {}
    }
}

/// Gives every member that has a known name but for its case that name. Below `rdma` and `unified`
/// are names of devices and files, which have a case.
fn rename_members(value: &mut Value, names: &[String]) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| rename_members(item, names)),
        Value::Object(members) => {
            for (name, mut member) in std::mem::take(members) {
                let known = names.iter().find(|known| known.eq_ignore_ascii_case(&name)).cloned();
                if !matches!(known.as_deref(), Some("rdma" | "unified")) {
                    rename_members(&mut member, names);
                }
                members.insert(known.unwrap_or(name), member);
            }
        }
        _ => {}
    }
}

/// New schemata for the container's group of resctrl.
fn set_schemata(state: &State, wanted: &IntelRdt) -> Result<()> {
    let given = [&wanted.l3_cache_schema, &wanted.mem_bw_schema].into_iter().filter(|line| !line.is_empty());
    let given: Vec<&str> = given.map(String::as_str).collect();
    match &state.rdt {
        _ if given.is_empty() => Ok(()),
        Some(place) => place.update(&given),
        None => bail!("--l3-cache-schema and --mem-bw-schema need a container made with linux.intelRdt"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_members_have_no_case() {
        let text = br#"{"CPU": {"Cpus": "0-1", "MEMS": "0", "realtimeruntime": 7}, "Memory": {"checkbeforeupdate": true},
            "BLOCKio": {"throttlereadiopsdevice": [{"Major": 8, "rate": 5}]},
            "hugepageLimits": [{"pagesize": "2MB", "Limit": 4}],
            "Unified": {"CPU.weight": "7"}, "rdma": {"Limit": {"hcaHandles": 3}}}"#;
        let read = read(&text[..], "x").unwrap();
        let cpu = read.cpu.unwrap();
        assert_eq!((cpu.cpus.as_str(), cpu.mems.as_str(), cpu.realtime_runtime), ("0-1", "0", Some(7)));
        assert_eq!(read.memory.unwrap().check_before_update, Some(true));
        let throttle = &read.block_io.unwrap().throttle_read_iops_device[0];
        assert_eq!((throttle.major, throttle.rate), (8, 5));
        assert_eq!(read.hugepage_limits[0].page_size, "2MB");
        assert_eq!(read.unified["CPU.weight"], "7");
        assert!(read.rdma.contains_key("Limit"));
    }

    #[test]
    fn what_is_no_document_of_resources_is_refused() {
        for (text, why) in [
            ("", "EOF"),
            ("[]", "expected an object"),
            ("{\"memory\":{\"limit\":\"5M\"}}", "memory.limit"),
            ("{\"PIDS\":7}", "pids"),
        ] {
            let error = format!("{:#}", read(text.as_bytes(), "`f`").unwrap_err());
            assert!(error.starts_with("read resources from `f`: ") && error.contains(why), "{text}: {error}");
        }
    }
}
