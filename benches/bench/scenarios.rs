//! What is measured. Each function is a scenario or a few that share their containers; what has to be
//! there before is made outside of the measured time, and removed after it.

use super::spawn::Command;
use super::terminal::Terminal;
use super::{Bench, text};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Measures some of them.
type Part = fn(&mut Bench) -> Result<(), String>;

/// All of them, in the order of the table.
pub fn all(bench: &mut Bench) {
    let parts: [(&[&str], Part); 13] = [
        (&["start"], start),
        (&["run"], run),
        (&["docker", "docker-cold"], docker),
        (&["quiet"], quiet),
        (&["lifecycle"], lifecycle),
        (&["exec", "exec-tty", "state", "kill", "pause", "update"], on_running),
        (&["delete"], delete),
        (&["env"], environment),
        (&["runs-8"], parallel_runs),
        (&["starts-8"], parallel_starts),
        (&["binds", "own-mounts"], own_mounts),
        (&["host-mounts"], host_mounts),
        (&["list", "containers"], containers),
    ];
    for (names, part) in parts {
        if bench.wants(names)
            && let Err(error) = part(bench)
        {
            eprintln!("{}: {error}", names[0]);
        }
    }
    if bench.wants(&["sizes"]) {
        super::memory::sizes(bench);
    }
    if bench.wants(&["memory"]) {
        super::memory::memory(bench);
    }
    if bench.wants(&["limit"]) {
        super::memory::smallest_limit(bench);
    }
}

/// Commands, one for each participant.
fn each(bench: &Bench, make: impl Fn(&super::runtime::Runtime) -> Command) -> Vec<Command> {
    bench.who.iter().map(make).collect()
}

/// `run` of a config: the command of each, with the floor's script saved.
pub fn run_commands(bench: &Bench, name: &str, config: &Value) -> Result<Vec<Command>, String> {
    let bundle = text(&bench.bundles.write(name, config)?);
    for floor in bench.who.iter().filter(|w| w.is_floor) {
        let script = bench.floor_source(config, &floor.id(name), |s| s.run());
        script.save(&floor.root.join(name))?;
    }
    Ok(each(bench, |who| match who.is_floor {
        true => who.script(name),
        false => who.command(&["run", "--bundle", &bundle, &who.id(name)]),
    }))
}

fn start(bench: &mut Bench) -> Result<(), String> {
    let commands = each(bench, |who| match who.is_floor {
        true => Command::new(&[text(&who.path)]),
        false => Command::new(&[text(&who.path), "--version".to_string()]),
    });
    bench.measure("start", "`--version`; floor: an empty program", 200, &mut |b, i| {
        Some(b.time(&commands[i]))
    });
    Ok(())
}

fn run(bench: &mut Bench) -> Result<(), String> {
    let config = bench.bundles.default_config();
    let commands = run_commands(bench, "run", &config)?;
    bench.measure("run", "run `true`, default spec", 150, &mut |b, i| Some(b.time(&commands[i])));
    Ok(())
}

fn docker(bench: &mut Bench) -> Result<(), String> {
    let mut config = bench.bundles.docker()?;
    if let Err(error) = save_filter(bench, &mut config) {
        eprintln!("docker: the floor has no filter: {error}");
    }
    let commands = run_commands(bench, "docker", &config)?;
    if bench.wants(&["docker"]) {
        let title = "run `true`, Docker's config and seccomp profile";
        bench.measure("docker", title, 120, &mut |b, i| Some(b.time(&commands[i])));
    }
    // Some keep compiled filters beside their states.
    let caches: Vec<_> = bench.who.iter().map(|who| who.root.join(".cache")).collect();
    if bench.wants(&["docker-cold"]) && caches.iter().any(|cache| cache.exists()) {
        let title = "the same, caches of filters emptied";
        bench.measure("docker-cold", title, 60, &mut |b, i| {
            // Most have none.
            let _ = std::fs::remove_dir_all(&caches[i]);
            Some(b.time(&commands[i]))
        });
    }
    Ok(())
}

/// Saves the filter that oxrun makes of the config for the floor.
fn save_filter(bench: &mut Bench, config: &mut Value) -> Result<(), String> {
    let program = config["process"]["args"].clone();
    config["process"]["args"] = serde_json::json!(["/bin/pause"]);
    let bundle = text(&bench.bundles.write("filter", config)?);
    config["process"]["args"] = program;
    let (id, pid_file) = (bench.who[0].id("filter"), bench.work.join("filter.pid"));
    let words = ["run", "--detach", "--pid-file", &text(&pid_file), "--bundle", &bundle, &id];
    let (make, remove) = (bench.who[0].command(&words), bench.who[0].command(&["delete", "--force", &id]));
    bench.time(&make)?;
    let saved = read_pid(&pid_file).and_then(|pid| super::filter::save(pid, &bench.work.join("filter.bpf")));
    bench.time(&remove)?;
    saved
}

/// The number in a pid file.
pub fn read_pid(file: &Path) -> Result<i32, String> {
    let read = std::fs::read_to_string(file).map_err(|e| format!("read the pid file: {e}"))?;
    read.trim().parse().map_err(|e| format!("the pid file: {e}"))
}

fn quiet(bench: &mut Bench) -> Result<(), String> {
    let config = bench.bundles.default_config();
    let commands = run_commands(bench, "quiet", &config)?;
    bench.measure("quiet", "a single `run` after 100 ms of quiet", 40, &mut |b, i| {
        std::thread::sleep(Duration::from_millis(100));
        Some(b.time(&commands[i]))
    });
    Ok(())
}

fn lifecycle(bench: &mut Bench) -> Result<(), String> {
    let config = bench.bundles.default_config();
    let made = Containers::new(bench, "life", &config)?;
    bench.measure("lifecycle", "create, start, wait, delete: four processes", 100, &mut |b, i| {
        Some(made.live(b, i))
    });
    Ok(())
}

/// One container per participant, and the commands for its life.
pub struct Containers {
    create: Vec<Command>,
    start: Vec<Command>,
    delete: Vec<Command>,
    force: Vec<Command>,
    pid_files: Vec<std::path::PathBuf>,
}

impl Containers {
    /// Prepares; makes nothing yet.
    pub fn new(bench: &Bench, name: &str, config: &Value) -> Result<Containers, String> {
        let bundle = text(&bench.bundles.write(name, config)?);
        for floor in bench.who.iter().filter(|w| w.is_floor) {
            let id = floor.id(name);
            let parent = bench.work.join("floor-state");
            std::fs::create_dir_all(&parent).map_err(|e| format!("make a directory: {e}"))?;
            for (step, script) in bench.floor_source(config, &id, |s| {
                [
                    ("create", s.create()),
                    ("start", s.start()),
                    ("delete", s.delete()),
                    ("force", s.delete_running()),
                ]
            }) {
                script.save(&floor.root.join(format!("{name}-{step}")))?;
            }
        }
        let command = |step: &str, words: &[&str]| {
            each(bench, |who| match who.is_floor {
                true => who.script(&format!("{name}-{step}")),
                false => {
                    let id = who.id(name);
                    let pid_file = text(&who.root.join(format!("{name}.pid")));
                    let words: Vec<&str> = words
                        .iter()
                        .map(|word| match *word {
                            "ID" => &id,
                            "PID" => &pid_file,
                            other => other,
                        })
                        .collect();
                    who.command(&words)
                }
            })
        };
        let pid_file = |who: &super::runtime::Runtime| match who.is_floor {
            true => bench.work.join("floor-state").join(who.id(name)).join("pid"),
            false => who.root.join(format!("{name}.pid")),
        };
        Ok(Containers {
            create: command("create", &["create", "--bundle", &bundle, "--pid-file", "PID", "ID"]),
            start: command("start", &["start", "ID"]),
            delete: command("delete", &["delete", "ID"]),
            force: command("force", &["delete", "--force", "ID"]),
            pid_files: bench.who.iter().map(pid_file).collect(),
        })
    }

    /// Makes and starts it.
    pub fn begin(&self, bench: &mut Bench, index: usize) -> Result<(), String> {
        bench.time(&self.create[index])?;
        bench.time(&self.start[index]).map(drop)
    }

    /// Makes it, to be started.
    pub fn create(&self, bench: &mut Bench, index: usize) -> Result<f64, String> {
        bench.time(&self.create[index])
    }

    /// The pid of its first process.
    pub fn pid(&self, index: usize) -> Result<i32, String> {
        read_pid(&self.pid_files[index])
    }

    /// Kills and removes it.
    pub fn end(&self, bench: &mut Bench, index: usize) -> Result<f64, String> {
        bench.time(&self.force[index])
    }

    /// From create to delete; the container ends by itself.
    fn live(&self, bench: &mut Bench, index: usize) -> Result<f64, String> {
        let mut micros = bench.time(&self.create[index])?;
        let pid = self.pid(index)?;
        let begin = std::time::Instant::now();
        bench.time(&self.start[index])?;
        bench.spawner.wait(pid);
        micros += begin.elapsed().as_secs_f64() * 1e6;
        Ok(micros + bench.time(&self.delete[index])?)
    }
}

/// Everything that is done to a container that runs.
fn on_running(bench: &mut Bench) -> Result<(), String> {
    let config = bench.bundles.pausing();
    let made = Containers::new(bench, "up", &config)?;
    let mut exec_config = config.clone();
    exec_config["process"]["args"] = serde_json::json!(["/bin/true"]);
    for floor in bench.who.iter().filter(|w| w.is_floor) {
        let scripts = bench.floor_source(&exec_config, &floor.id("up"), |s| {
            [
                ("exec", s.exec(false)),
                ("exec-tty", s.exec(true)),
                ("state", s.state()),
                ("kill", s.kill(libc::SIGCONT)),
                ("pause", s.freeze(true)),
                ("resume", s.freeze(false)),
                ("update", s.update(100)),
            ]
        });
        for (name, script) in scripts {
            script.save(&floor.root.join(name))?;
        }
    }
    let running: Vec<bool> = (0..bench.who.len())
        .map(|index| made.begin(bench, index).inspect_err(|error| eprintln!("running: {error}")).is_ok())
        .collect();
    let command = |b: &Bench, name: &str, words: &[&str]| {
        each(b, |who| match who.is_floor {
            true => who.script(name),
            false => {
                let id = who.id("up");
                let words: Vec<&str> = words.iter().map(|w| if *w == "ID" { &id } else { *w }).collect();
                who.command(&words)
            }
        })
    };
    let simple: [(&str, &str, &[&str]); 4] = [
        ("exec", "exec `true`", &["exec", "ID", "/bin/true"]),
        ("state", "state", &["state", "ID"]),
        ("kill", "kill (a signal that does nothing)", &["kill", "ID", "CONT"]),
        ("update", "update (the limit of processes)", &["update", "--pids-limit", "100", "ID"]),
    ];
    for (name, title, words) in simple {
        if bench.wants(&[name]) {
            let commands = command(bench, name, words);
            bench.measure(name, title, 150, &mut |b, i| running[i].then(|| b.time(&commands[i])));
        }
        if name == "exec" && bench.wants(&["exec-tty"]) {
            let terminal = Terminal::new()?;
            let commands = command(bench, "exec-tty", &["exec", "--tty", "ID", "/bin/true"]);
            bench.measure("exec-tty", "exec `true` with a terminal", 100, &mut |b, i| {
                let time = running[i].then(|| b.spawner.time_with(&commands[i], terminal.stdio()));
                let printed = terminal.printed();
                time.map(|time| time.map_err(|error| error + &printed))
            });
        }
    }
    if bench.wants(&["pause"]) {
        let (pause, resume) =
            (command(bench, "pause", &["pause", "ID"]), command(bench, "resume", &["resume", "ID"]));
        bench.measure("pause", "pause and resume: two processes", 100, &mut |b, i| {
            running[i].then(|| Ok(b.time(&pause[i])? + b.time(&resume[i])?))
        });
    }
    for (index, _) in running.iter().enumerate().filter(|(_, running)| **running) {
        made.end(bench, index)?;
    }
    Ok(())
}

fn delete(bench: &mut Bench) -> Result<(), String> {
    let config = bench.bundles.pausing();
    let made = Containers::new(bench, "del", &config)?;
    bench.measure("delete", "delete of a running container", 60, &mut |b, i| {
        Some(made.begin(b, i).and_then(|()| made.end(b, i)))
    });
    Ok(())
}

fn environment(bench: &mut Bench) -> Result<(), String> {
    let config = bench.bundles.with_environment(10_000);
    let commands = run_commands(bench, "env", &config)?;
    bench.measure("env", "run `true` with 10,000 environment variables", 40, &mut |b, i| {
        Some(b.time(&commands[i]))
    });
    Ok(())
}

/// Many commands per participant, each with an id of its own.
fn many(
    bench: &Bench,
    name: &str,
    count: usize,
    words: &[&str],
    floor: impl Fn(&super::script::Source) -> super::script::Script,
    config: &Value,
) -> Result<Vec<Vec<Command>>, String> {
    let mut all = Vec::new();
    for who in &bench.who {
        let mut commands = Vec::new();
        for number in 0..count {
            let id = who.id(&format!("{name}{number}"));
            if who.is_floor {
                let file = format!("{name}{number}-{}", words[0]);
                bench.floor_source(config, &id, &floor).save(&who.root.join(&file))?;
                commands.push(who.script(&file));
            } else {
                let words: Vec<&str> = words.iter().map(|w| if *w == "ID" { &id } else { *w }).collect();
                commands.push(who.command(&words));
            }
        }
        all.push(commands);
    }
    Ok(all)
}

fn parallel_runs(bench: &mut Bench) -> Result<(), String> {
    let config = bench.bundles.default_config();
    let bundle = text(&bench.bundles.write("run", &config)?);
    let words = ["run", "--bundle", &bundle, "ID"];
    let commands = many(bench, "par", 50, &words, |s| s.run(), &config)?;
    bench.measure("runs-8", "50 runs of `true`, eight at a time", 12, &mut |b, i| {
        Some(b.spawner.time_parallel(&commands[i], 8))
    });
    Ok(())
}

fn parallel_starts(bench: &mut Bench) -> Result<(), String> {
    let config = bench.bundles.pausing();
    let bundle = text(&bench.bundles.write("pausing", &config)?);
    std::fs::create_dir_all(bench.work.join("floor-state")).map_err(|e| format!("make a directory: {e}"))?;
    let count = if bench.options.quick { 50 } else { 200 };
    let words = ["run", "--detach", "--bundle", &bundle, "ID"];
    let start = many(bench, "many", count, &words, |s| s.run_detached(), &config)?;
    let delete = many(bench, "many", count, &["delete", "--force", "ID"], |s| s.delete_running(), &config)?;
    let title = format!("start of {count} containers that stay, eight at a time");
    bench.measure("starts-8", &title, 3, &mut |b, i| {
        let time = b.spawner.time_parallel(&start[i], 8);
        Some(time.and_then(|time| b.spawner.time_parallel(&delete[i], 8).map(|_| time)))
    });
    Ok(())
}

/// One point of each line of a curve.
fn add_points(curve: &mut super::Curve, at: usize, measured: &super::Measured) {
    for series in &measured.series {
        let Some(median) = series.median() else { continue };
        let point = (at as f64, median / 1000.0);
        match curve.lines.iter_mut().find(|(who, _)| *who == series.who) {
            Some((_, points)) => points.push(point),
            None => curve.lines.push((series.who.clone(), vec![point])),
        }
    }
}

fn own_mounts(bench: &mut Bench) -> Result<(), String> {
    let mut curve = super::Curve {
        name: "own-mounts",
        title: "run `true` with bind mounts in its config",
        axis: "bind mounts",
        lines: Vec::new(),
    };
    for count in [0, 10, 50, 100, 200] {
        let config = bench.bundles.with_binds(count)?;
        let commands = run_commands(bench, "binds", &config)?;
        let (title, rounds) =
            (format!("run `true` with {count} bind mounts"), if count == 200 { 60 } else { 20 });
        let measured = bench.turns("binds", &title, rounds, &mut |b, i| Some(b.time(&commands[i])));
        add_points(&mut curve, count, &measured);
        if count == 200 {
            bench.measured.push(measured);
        }
    }
    bench.curves.push(curve);
    Ok(())
}

fn host_mounts(bench: &mut Bench) -> Result<(), String> {
    let config = bench.bundles.default_config();
    let commands = run_commands(bench, "host", &config)?;
    let mut curve = super::Curve {
        name: "host-mounts",
        title: "run `true` on a host with many mounts",
        axis: "mounts on the host",
        lines: Vec::new(),
    };
    let mut there = 0;
    for count in [0, 100, 300, 1000] {
        bench.bundles.mount_on_host(there, count)?;
        there = count;
        let rounds = if count == 1000 { 50 } else { 15 };
        let title = format!("run `true` with {count} mounts on the host");
        let measured = bench.turns("host-mounts", &title, rounds, &mut |b, i| Some(b.time(&commands[i])));
        add_points(&mut curve, count, &measured);
        if count == 1000 {
            bench.measured.push(measured);
        }
    }
    bench.bundles.unmount_on_host(there);
    bench.curves.push(curve);
    Ok(())
}

/// `list`, and `run` beside many other containers of the same runtime.
fn containers(bench: &mut Bench) -> Result<(), String> {
    let (pausing, config) = (bench.bundles.pausing(), bench.bundles.default_config());
    let bundle = text(&bench.bundles.write("pausing", &pausing)?);
    std::fs::create_dir_all(bench.work.join("floor-state")).map_err(|e| format!("make a directory: {e}"))?;
    let levels: &[usize] = if bench.options.quick { &[1, 10, 100] } else { &[1, 10, 100, 300, 1000] };
    let most = levels.last().copied().unwrap_or(0);
    let words = ["create", "--bundle", &bundle, "ID"];
    let create = many(bench, "list", most, &words, |s| s.create(), &pausing)?;
    let force = ["delete", "--force", "ID"];
    let delete = many(bench, "list", most, &force, |s| s.delete_running(), &pausing)?;
    let run = run_commands(bench, "beside", &config)?;
    let list = each(bench, |who| who.command(&["list"]));
    let curve = |name, title, axis| super::Curve { name, title, axis, lines: Vec::new() };
    let mut lists = curve("containers-list", "list", "containers");
    let mut runs = curve("containers-run", "run `true` beside other containers", "containers");
    let mut there = vec![0; bench.who.len()];
    for count in levels.iter().copied() {
        for index in 0..bench.who.len() {
            match bench.spawner.time_parallel(&create[index][there[index]..count], 4) {
                Ok(_) => there[index] = count,
                Err(error) => eprintln!("containers: {error}"),
            }
        }
        let floor = bench.who.iter().position(|w| w.is_floor);
        let title = format!("list of {count} containers");
        let measured = bench.turns("list", &title, if count < 300 { 60 } else { 16 }, &mut |b, i| {
            (Some(i) != floor).then(|| b.time(&list[i]))
        });
        add_points(&mut lists, count, &measured);
        if [1, 100, 1000].contains(&count) {
            bench.measured.push(measured);
        }
        let title = format!("run `true` beside {count} containers");
        let measured = bench.turns("containers", &title, 16, &mut |b, i| Some(b.time(&run[i])));
        add_points(&mut runs, count, &measured);
        if count == 1000 {
            bench.measured.push(measured);
        }
    }
    for (index, there) in there.into_iter().enumerate() {
        if let Err(error) = bench.spawner.time_parallel(&delete[index][..there], 4) {
            eprintln!("containers: {error}");
        }
    }
    bench.curves.extend([lists, runs]);
    Ok(())
}
