//! `update` as it was asked for: the same resources that config.json has, from a file or from
//! options.

use super::command::Command;
use super::parse::Matches;
use super::quantity;
use crate::bundle::spec::{BlockIo, Cpu, IntelRdt, Memory, Pids, Resources};
use crate::error::bail;
use anyhow::Result;
use std::path::PathBuf;

/// `update`.
#[derive(Debug)]
pub struct Update {
    /// Which container.
    pub id: String,
    /// The new limits.
    pub source: Source,
    /// New cache and memory bandwidth schemata; empty texts leave the old ones.
    pub intel_rdt: IntelRdt,
}

/// Where the new limits are.
#[derive(Debug)]
pub enum Source {
    /// `linux.resources` as JSON in a file.
    File(PathBuf),
    /// `linux.resources` as JSON on stdin.
    Stdin,
    /// In the options; what was not given is absent.
    Options(Box<Resources>),
}

/// Options that a file of resources excludes.
const LIMITS: [&str; 16] = [
    "blkio-weight",
    "cpu-period",
    "cpu-quota",
    "cpu-burst",
    "cpu-share",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "cpu-idle",
    "cpuset-cpus",
    "cpuset-mems",
    "memory",
    "memory-reservation",
    "memory-swap",
    "kernel-memory",
    "kernel-memory-tcp",
    "pids-limit",
];

/// From the arguments.
pub fn build(matches: &Matches) -> Result<Command> {
    let text = |long| Ok::<_, anyhow::Error>(matches.text(long)?.unwrap_or_default().to_owned());
    let intel_rdt = IntelRdt {
        l3_cache_schema: text("l3-cache-schema")?,
        mem_bw_schema: text("mem-bw-schema")?,
        ..IntelRdt::default()
    };
    Ok(Command::Update(Update { id: matches.id()?, source: source(matches)?, intel_rdt }))
}

fn source(matches: &Matches) -> Result<Source> {
    let Some(file) = matches.path("resources")? else {
        return Ok(Source::Options(Box::new(resources(matches)?)));
    };
    if let Some(option) = LIMITS.iter().find(|option| matches.last(option).is_some()) {
        bail!("`--{option}` and `--resources` exclude each other: say it in the file");
    }
    Ok(if file.as_os_str() == "-" { Source::Stdin } else { Source::File(file) })
}

/// Each group is present exactly when one of its members is.
fn resources(matches: &Matches) -> Result<Resources> {
    let text = |long| Ok::<_, anyhow::Error>(matches.text(long)?.unwrap_or_default().to_owned());
    let memory = Memory {
        limit: matches.parsed("memory", quantity::bytes)?,
        reservation: matches.parsed("memory-reservation", quantity::bytes)?,
        swap: matches.parsed("memory-swap", quantity::bytes)?,
        kernel: matches.parsed("kernel-memory", quantity::bytes)?,
        kernel_tcp: matches.parsed("kernel-memory-tcp", quantity::bytes)?,
        ..Memory::default()
    };
    let cpu = Cpu {
        shares: matches.number("cpu-share")?,
        quota: matches.number("cpu-quota")?,
        burst: matches.number("cpu-burst")?,
        period: matches.number("cpu-period")?,
        realtime_runtime: matches.number("cpu-rt-runtime")?,
        realtime_period: matches.number("cpu-rt-period")?,
        cpus: text("cpuset-cpus")?,
        mems: text("cpuset-mems")?,
        idle: matches.number("cpu-idle")?,
    };
    let pids = Pids { limit: matches.number("pids-limit")? };
    let block_io = BlockIo { weight: matches.number("blkio-weight")?, ..BlockIo::default() };
    let any =
        |prefix: &str| LIMITS.iter().any(|name| name.starts_with(prefix) && matches.last(name).is_some());
    Ok(Resources {
        memory: (any("memory") || any("kernel")).then_some(memory),
        cpu: any("cpu").then_some(cpu),
        pids: any("pids").then_some(pids),
        block_io: any("blkio").then_some(block_io),
        ..Resources::default()
    })
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;
    use std::ffi::OsString;

    fn update(line: &str) -> Result<Update> {
        let words = line.split(' ').filter(|word| !word.is_empty());
        match parse(["update"].into_iter().chain(words).map(OsString::from))?.command? {
            Command::Update(update) => Ok(update),
            other => panic!("{other:?}"),
        }
    }

    fn limits(line: &str) -> Resources {
        match update(line).unwrap().source {
            Source::Options(resources) => *resources,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn resources_from_a_file() {
        for line in ["--resources - c", "--resources=- c", "-r - c", "c -r -"] {
            assert!(matches!(update(line).unwrap().source, Source::Stdin), "{line}");
        }
        let update = update("--resources=/tmp/x c").unwrap();
        assert!(matches!(update.source, Source::File(path) if path.as_os_str() == "/tmp/x"));
    }

    #[test]
    fn every_limit() {
        let all = limits(
            "--memory 50M c --memory-reservation 33M --memory-swap -1 --pids-limit 20 --cpu-period 900000 \
             --cpu-quota -1 --cpu-share 100 --cpu-burst 500 --cpu-idle 1 --cpuset-cpus 0-1 --cpuset-mems 0 \
             --cpu-rt-period 7 --cpu-rt-runtime 8 --blkio-weight 500 --kernel-memory 1M --kernel-memory-tcp 0",
        );
        let memory = all.memory.unwrap();
        assert_eq!(
            (memory.limit, memory.reservation, memory.swap),
            (Some(50 << 20), Some(33 << 20), Some(-1))
        );
        assert_eq!((memory.kernel, memory.kernel_tcp), (Some(1 << 20), Some(0)));
        let cpu = all.cpu.unwrap();
        assert_eq!(
            (cpu.period, cpu.quota, cpu.shares, cpu.burst),
            (Some(900_000), Some(-1), Some(100), Some(500))
        );
        assert_eq!((cpu.idle, cpu.cpus.as_str(), cpu.mems.as_str()), (Some(1), "0-1", "0"));
        assert_eq!((cpu.realtime_period, cpu.realtime_runtime), (Some(7), Some(8)));
        assert_eq!((all.pids.unwrap().limit, all.block_io.unwrap().weight), (Some(20), Some(500)));
        let one = limits("c --pids-limit -1");
        assert!(one.memory.is_none() && one.cpu.is_none() && one.block_io.is_none());
        assert_eq!(one.pids.unwrap().limit, Some(-1));
        let none = limits("c");
        assert!(
            none.memory.is_none() && none.cpu.is_none() && none.pids.is_none() && none.block_io.is_none()
        );
        let schema = update("--l3-cache-schema L3:0=f --mem-bw-schema MB:0=20 c").unwrap().intel_rdt;
        assert_eq!((schema.l3_cache_schema.as_str(), schema.mem_bw_schema.as_str()), ("L3:0=f", "MB:0=20"));
    }

    #[test]
    fn wrong_use() {
        let table = [
            ("", "`oxrun update` needs <container-id>"),
            ("c d", "too many arguments for `oxrun update`"),
            ("--memory lots c", "read `--memory`: `lots` is not a size"),
            ("--cpu-share -1 c", "read the number `-1` of `--cpu-share`"),
            ("--blkio-weight 70000 c", "read the number `70000` of `--blkio-weight`"),
            ("--cpu-idle yes c", "read the number `yes` of `--cpu-idle`"),
            ("--resources - --memory 5m c", "`--memory` and `--resources` exclude each other"),
            ("--resources= c", "`--resources` is empty"),
        ];
        for (line, message) in table {
            let error = format!("{:#}", update(line).unwrap_err());
            assert!(error.starts_with(message), "{line}: {error}");
        }
    }
}
