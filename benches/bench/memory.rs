//! Sizes instead of times: of the binaries, of the memory that they need, and the smallest memory
//! limit that a container starts under.

use super::results::{Measured, Series, Unit};
use super::scenarios::Containers;
use super::{Bench, report};
use serde_json::json;
use std::fs;
use std::time::Duration;

fn measured(title: &str, unit: Unit, series: Vec<Series>) -> Measured {
    Measured { title: title.to_string(), unit, series }
}

fn series(who: &str, samples: Result<Vec<f64>, String>) -> Series {
    let (samples, error) = match samples {
        Ok(samples) => (samples, None),
        Err(error) => {
            eprintln!("{who}: {error}");
            (Vec::new(), Some(error))
        }
    };
    Series { who: who.to_string(), samples, error }
}

fn keep(bench: &mut Bench, result: Measured) {
    report::say(&result);
    bench.measured.push(result);
}

/// Of the files that are executed.
pub fn sizes(bench: &mut Bench) {
    let size = |who: &super::runtime::Runtime| {
        fs::metadata(&who.path).map(|m| vec![m.len() as f64]).map_err(|e| e.to_string())
    };
    let all = bench.who.iter().filter(|w| !w.is_floor).map(|who| series(&who.name, size(who))).collect();
    keep(bench, measured("size of the binary", Unit::Bytes, all));
}

/// Of `run` at its highest, and of the process that waits for `start`.
pub fn memory(bench: &mut Bench) {
    let config = bench.bundles.pausing();
    let commands = super::scenarios::run_commands(bench, "peak", &config);
    let made = Containers::new(bench, "parked", &config);
    let (Ok(commands), Ok(made)) = (commands, made) else {
        eprintln!("memory: no bundles");
        return;
    };
    let rounds = bench.rounds(24);
    let (mut peaks, mut parked) = (Vec::new(), Vec::new());
    for (index, command) in commands.iter().enumerate() {
        let peak = (0..rounds).map(|_| peak(bench, index, command)).collect();
        peaks.push(series(&bench.who[index].name, peak));
        let waiting = (0..rounds).map(|_| waiting(bench, index, &made)).collect();
        parked.push(series(&bench.who[index].name, waiting));
    }
    keep(bench, measured("peak memory of `run`, the runtime's process", Unit::Kib, peaks));
    let title = "private memory of init waiting for `start`";
    keep(bench, measured(title, Unit::Kib, parked));
}

/// The high-water mark of resident memory while the container runs.
fn peak(bench: &mut Bench, index: usize, command: &super::spawn::Command) -> Result<f64, String> {
    let pid = bench.spawner.start(command)?;
    let child = running_child(pid)?;
    let peak = status_field(pid, "VmHWM:");
    // SAFETY: plain numbers; the process is a child of one of ours, which still waits for it.
    unsafe { libc::kill(child, libc::SIGKILL) };
    bench.spawner.wait(pid);
    let who = &bench.who[index];
    if !who.is_floor {
        let force = who.command(&["delete", "--force", &who.id("peak")]);
        // Most removed it themselves when it ended.
        let _ = bench.time(&force);
    } else {
        super::script::sweep();
    }
    peak
}

/// The container's first process, once it runs `pause`.
fn running_child(runtime: i32) -> Result<i32, String> {
    for _ in 0..2000 {
        std::thread::sleep(Duration::from_millis(2));
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let parent = status_field(pid, "PPid:").ok();
            if parent == Some(f64::from(runtime))
                && fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "pause")
            {
                return Ok(pid);
            }
        }
    }
    Err("the container does not run".to_string())
}

fn status_field(pid: i32, key: &str) -> Result<f64, String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|e| e.to_string())?;
    let line = status.lines().find(|l| l.starts_with(key)).ok_or(format!("no {key} of {pid}"))?;
    line.split_whitespace().nth(1).and_then(|v| v.parse().ok()).ok_or(line.to_string())
}

/// Private memory of a created container's init, KiB.
fn waiting(bench: &mut Bench, index: usize, made: &Containers) -> Result<f64, String> {
    made.create(bench, index)?;
    let private = made.pid(index).and_then(|pid| {
        let file = format!("/proc/{pid}/smaps_rollup");
        let rollup = fs::read_to_string(file).map_err(|e| e.to_string())?;
        let private = rollup.lines().filter(|l| l.starts_with("Private_"));
        Ok(private.filter_map(|l| l.split_whitespace().nth(1)?.parse::<f64>().ok()).sum())
    });
    made.end(bench, index)?;
    private
}

/// The search's step, KiB.
const STEP: u64 = 16;

/// The smallest linux.resources.memory.limit with which `run` of `true` works three times in a row.
pub fn smallest_limit(bench: &mut Bench) {
    let all = (0..bench.who.len())
        .map(|index| {
            let found = smallest(bench, index).map(|kib| vec![kib as f64]);
            series(&bench.who[index].name, found)
        })
        .collect();
    keep(bench, measured("smallest memory limit that a container starts under", Unit::Kib, all));
}

fn smallest(bench: &mut Bench, index: usize) -> Result<u64, String> {
    let (mut fails, mut works) = (0, 32);
    while !starts_under(bench, index, works)? {
        (fails, works) = (works, works * 2);
        if works > 65_536 {
            return Err("no limit up to 64 MiB works".to_string());
        }
    }
    while works - fails > STEP {
        let middle = (works + fails) / 2 / STEP * STEP;
        let middle = if middle == fails { fails + STEP } else { middle };
        match starts_under(bench, index, middle)? {
            true => works = middle,
            false => fails = middle,
        }
    }
    Ok(works)
}

fn starts_under(bench: &mut Bench, index: usize, kib: u64) -> Result<bool, String> {
    let mut config = bench.bundles.default_config();
    config["linux"]["resources"]["memory"] = json!({"limit": kib * 1024});
    let commands = super::scenarios::run_commands(bench, "limit", &config)?;
    for _ in 0..3 {
        if bench.time(&commands[index]).is_err() {
            let who = &bench.who[index];
            let id = who.id("limit");
            if who.is_floor {
                super::script::sweep();
            } else {
                // What a runtime leaves when its container could not be made, if anything.
                let remove = who.command(&["delete", "--force", &id]);
                let _ = bench.time(&remove);
            }
            return Ok(false);
        }
    }
    Ok(true)
}
