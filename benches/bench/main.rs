//! `make bench`: measures oxrun and other runtimes side by side and writes docs/benchmarks.md.
//!
//! In every scenario the runtimes take turns (A B C A B C …), so that what else happens on the
//! machine happens to all of them. Each command is started by posix_spawn(3) from this one-threaded
//! process and timed from before the start until it has ended.
#![allow(clippy::disallowed_methods)]

mod bundles;
mod filter;
mod machine;
mod memory;
mod mounts;
mod plot;
mod report;
mod results;
mod runtime;
mod scenarios;
mod script;
mod spawn;
mod terminal;

use results::{Curve, Measured, Series, Unit};
use runtime::Runtime;
use spawn::Spawner;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What was asked for.
#[derive(Default)]
pub struct Options {
    oxrun: PathBuf,
    floor: PathBuf,
    peers: String,
    docs: PathBuf,
    commit: String,
    quick: bool,
    only: Vec<String>,
}

/// One measurement of the runtime with this index, in microseconds; none where the scenario is not
/// for it.
pub type Once<'a> = dyn FnMut(&mut Bench, usize) -> Option<Result<f64, String>> + 'a;

/// Everything that is measured with.
pub struct Bench {
    options: Options,
    spawner: Spawner,
    bundles: bundles::Bundles,
    work: PathBuf,
    /// Whether the host's cgroup2 is not seen.
    hidden_unified: bool,
    /// oxrun first, the floor last.
    who: Vec<Runtime>,
    measured: Vec<Measured>,
    curves: Vec<Curve>,
    begin: Instant,
}

fn main() {
    let begin = Instant::now();
    let mut bench = match parse().and_then(Bench::new) {
        Ok(bench) => bench,
        Err(error) => {
            eprintln!("bench: {error}");
            return;
        }
    };
    scenarios::all(&mut bench);
    bench.spawner.reap();
    script::sweep();
    if let Err(error) = report::write(&bench) {
        eprintln!("bench: {error}");
    }
    mounts::unmount(&bench.work);
    // Seen empty from here: what was in it went with the mount.
    let _ = std::fs::remove_dir(&bench.work);
    eprintln!("took {:.0} s", begin.elapsed().as_secs_f64());
}

fn parse() -> Result<Options, String> {
    let mut options = Options { peers: "crun runc".into(), ..Options::default() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--oxrun" => options.oxrun = value()?.into(),
            "--floor" => options.floor = value()?.into(),
            "--peers" => options.peers = value()?,
            "--docs" => options.docs = value()?.into(),
            "--commit" => options.commit = value()?,
            "--quick" => options.quick = true,
            name if !name.starts_with('-') => options.only.push(name.to_string()),
            _ => return Err(format!("unknown option {word}")),
        }
    }
    Ok(options)
}

impl Bench {
    fn new(options: Options) -> Result<Bench, String> {
        mounts::leave_host()?;
        let hidden = mounts::hide_unified();
        let work = std::env::temp_dir().join(format!("oxrun-bench-{}", std::process::id()));
        std::fs::create_dir_all(&work).map_err(|e| format!("make {}: {e}", work.display()))?;
        mounts::tmpfs(&work)?;
        let mut named = vec![("oxrun".to_string(), Some(options.oxrun.clone()))];
        for peer in options.peers.split_whitespace() {
            let name = peer.rsplit('/').next().unwrap_or(peer).to_string();
            named.push((name, runtime::find(peer)));
        }
        named.push(("floor".to_string(), Some(options.floor.clone())));
        let mut who = Vec::new();
        for (name, path) in named {
            let Some(path) = path.and_then(|p| std::fs::canonicalize(p).ok()) else {
                eprintln!("{name}: not found, left out");
                continue;
            };
            let root = work.join(&name);
            std::fs::create_dir_all(&root).map_err(|e| format!("make {}: {e}", root.display()))?;
            who.push(Runtime { is_floor: name == "floor", name, path, root });
        }
        let spec = work.join("spec");
        std::fs::create_dir_all(&spec).map_err(|e| format!("make {}: {e}", spec.display()))?;
        let status =
            std::process::Command::new(&options.oxrun).arg("spec").arg("--bundle").arg(&spec).status();
        let text = std::fs::read_to_string(spec.join("config.json"))
            .map_err(|e| format!("`oxrun spec` ({status:?}): {e}"))?;
        let bundles = bundles::Bundles::new(&work, &text)?;
        let spawner = Spawner::new();
        Ok(Bench {
            options,
            spawner,
            bundles,
            work,
            hidden_unified: hidden,
            who,
            measured: Vec::new(),
            curves: Vec::new(),
            begin: Instant::now(),
        })
    }

    /// Whether this scenario is to be done.
    fn wants(&self, names: &[&str]) -> bool {
        self.options.only.is_empty() || names.iter().any(|n| self.options.only.iter().any(|o| o == n))
    }

    /// Fewer rounds in a quick run.
    fn rounds(&self, full: usize) -> usize {
        if self.options.quick { full.div_ceil(8).max(3) } else { full }
    }

    /// Takes turns: each measures `once` per round, after one round that does not count.
    fn turns(&mut self, name: &str, title: &str, rounds: usize, once: &mut Once) -> Measured {
        // A whole run takes less than 12 minutes, also on a busy machine.
        let late = self.begin.elapsed() > Duration::from_secs(300);
        let patience = Duration::from_secs(if self.options.quick || late { 8 } else { 25 });
        let begin = Instant::now();
        let mut series: Vec<Series> = Vec::new();
        for runtime in &self.who {
            series.push(Series { who: runtime.name.clone(), samples: Vec::new(), error: None });
        }
        let count = series.len();
        for round in 0..=self.rounds(rounds) {
            if begin.elapsed() > patience && round > 3 {
                break;
            }
            for turn in 0..count {
                let index = (turn + round) % count;
                if series[index].error.is_some() {
                    continue;
                }
                match once(self, index) {
                    Some(Ok(micros)) if round > 0 => series[index].samples.push(micros),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        eprintln!("{name}: {}: {error}", series[index].who);
                        series[index].error = Some(error);
                    }
                    None => series[index].error = Some(String::new()),
                }
            }
        }
        let measured = Measured { title: title.to_string(), unit: Unit::Time, series };
        report::say(&measured);
        measured
    }

    /// The same, kept for the report.
    fn measure(&mut self, name: &str, title: &str, rounds: usize, once: &mut Once) {
        let measured = self.turns(name, title, rounds, once);
        self.measured.push(measured);
    }

    /// Times one command.
    fn time(&mut self, command: &spawn::Command) -> Result<f64, String> {
        self.spawner.time(command)
    }

    /// A bundle and the floor's script for it.
    fn floor_source<T>(
        &self,
        config: &serde_json::Value,
        id: &str,
        make: impl FnOnce(&script::Source) -> T,
    ) -> T {
        let state = self.work.join("floor-state").join(id);
        let filter = self.work.join("filter.bpf");
        let filter = config["linux"]["seccomp"].is_object().then(|| filter.to_string_lossy().into_owned());
        let source =
            script::Source { config, id, state: &state.to_string_lossy(), filter: filter.as_deref() };
        make(&source)
    }
}

/// The path as text.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
