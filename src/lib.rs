//! oxrun: an OCI container runtime. Arguments become a command, the command an exit status. The binary
//! calls `main`; the makers of man pages and completions are public for `make pages`. Nothing is meant for
//! other crates.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests set up and look at what they like"))]

mod bundle;
mod cgroup;
mod check;
mod cli;
mod container;
mod criu;
mod decimal;
mod doctor;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hostfs;
mod hostprogram;
mod init;
mod log;
mod namespaces;
mod near;
mod probe;
mod procfs;
mod progress;
mod rootfs;
mod seccomp;
mod sort;
mod sys;
mod trace;

pub use cli::completion::completions;
pub use cli::manual::man_pages;
pub use sys::memory::Memory;

use crate::error::bail;
use anyhow::Result;
use cli::command::{CgroupManager, Command, Global, Target};
use cli::{help, output};
use container::create::{Settings, StartBy};
use container::statedir::StateDir;
use container::{
    checkpoint, create, delete, events, gc, inspect, kill, matching, mounts, pause, ps, restore, run, start,
    top, update,
};
use std::ffi::OsString;
use std::path::PathBuf;

/// The program: takes the process's arguments, says what failed, and returns its exit status.
pub fn main(arguments: Vec<OsString>) -> i32 {
    error::open_record();
    if let Err(error) = sys::start::prepare() {
        log::failure(&error::Failed::new("prepare standard descriptors and signals", error).into());
        return 1;
    }
    let status = match invoke(arguments) {
        Ok(status) => status.into(),
        Err(error) => {
            log::failure(&error);
            1
        }
    };
    trace::flush();
    status
}

fn invoke(arguments: Vec<OsString>) -> Result<u8> {
    let invocation = cli::parse::parse(arguments.into_iter().skip(1))?;
    log::open(&invocation.global.log_settings())?;
    if let Some(file) = invocation.global.trace_file() {
        trace::open(&file, &invocation.name)?;
    }
    match invocation.command {
        Err(error) if invocation.is_exec() => Ok(no_process(&error)),
        command => {
            let name = &invocation.name;
            trace::step(name, || dispatch(&invocation.global, command?))
        }
    }
}

fn dispatch(global: &Global, command: Command) -> Result<u8> {
    let root = state_root(global)?;
    match command {
        Command::Help(topic) => output::print(&help::help(topic))?,
        Command::Version => output::print(&help::version())?,
        Command::Seccomp { profile, query } => {
            output::print(&seccomp::explain(&seccomp::read_profile(&profile)?, &query)?)?;
        }
        Command::Features => output::print(&cli::features::of_this_binary()?)?,
        Command::Doctor { json } => {
            let report = doctor::examine(&root, settings(global)?, global.criu.as_deref())?;
            output::print(&if json { report.json()? } else { report.text() })?;
            return Ok(report.status());
        }
        Command::Check(request) => {
            let report = check::check(&request, settings(global)?)?;
            let text = if request.json { report.json()? } else { report.text(output::has_colour()) };
            output::print(&text)?;
            return Ok(report.status());
        }
        Command::Spec(request) => container::spec::write(&request)?,
        Command::Create(args) => {
            let states = StateDir::open_or_create(&root)?;
            create::create(&states, settings(global)?, &args, StartBy::Socket, true)?;
        }
        Command::Run(args) => return run::run(&StateDir::open_or_create(&root)?, settings(global)?, &args),
        Command::Start { id } => start::start(&existing(&root, &id)?, &id)?,
        Command::State { id } => {
            output::print(&output::state(&inspect::state(&existing(&root, &id)?, &id)?)?)?;
        }
        Command::Kill { id: Target::One(id), signal, all } => {
            kill::kill(&existing(&root, &id)?, &id, signal.number(), all)?;
        }
        Command::Kill { id: Target::Matching(pattern), signal, all } => {
            matching::each(StateDir::open(&root)?.as_ref(), &pattern, |states, id| {
                kill::kill(states, id, signal.number(), all)
            })?;
        }
        Command::Delete { id: Target::One(id), force } => {
            delete::delete(StateDir::open(&root)?.as_ref(), &id, force)?;
        }
        Command::Delete { id: Target::Matching(pattern), force } => {
            matching::each(StateDir::open(&root)?.as_ref(), &pattern, |states, id| {
                delete::delete(Some(states), id, force)
            })?;
        }
        Command::Exec(args) => return Ok(exec_status(&root, &args)),
        Command::Pause { id } => pause::pause(&existing(&root, &id)?, &id)?,
        Command::Resume { id } => pause::resume(&existing(&root, &id)?, &id)?,
        Command::Ps { id, format, arguments } => {
            let pids = ps::pids(&existing(&root, &id)?, &id)?;
            output::print(&match format {
                cli::command::Format::Json => format!("{}\n", serde_json::to_string(&pids)?),
                cli::command::Format::Table => ps::table(&pids, &arguments)?,
            })?;
        }
        Command::Mounts { change, id, file } => {
            mounts::change(&existing(&root, &id)?, &id, change, &file)?;
        }
        Command::Checkpoint(args) => {
            checkpoint::checkpoint(&existing(&root, &args.id)?, &args, global.criu.as_deref())?;
        }
        Command::Restore(args) => {
            let (states, criu) = (StateDir::open_or_create(&root)?, global.criu.as_deref());
            return restore::restore(&states, settings(global)?, &args, criu);
        }
        Command::Update(args) => update::update(&existing(&root, &args.id)?, &args)?,
        Command::Top(view) => match (StateDir::open(&root)?, &view.id) {
            (Some(states), _) => top::show(&states, &view)?,
            (None, Some(id)) => bail!(container::error::Error::NotFound { id: id.clone() }),
            (None, None) => bail!("show containers: state directory `{}` does not exist", root.display()),
        },
        Command::Events { id, stats, interval } => {
            events::events(&existing(&root, &id)?, &id, stats, interval)?;
        }
        Command::Gc { force, format } => {
            let states = StateDir::open(&root)?;
            let garbage = states.map(|states| gc::collect(&states, force)).transpose()?;
            output::print(&output::garbage(&garbage.unwrap_or_default(), format, force)?)?;
        }
        Command::List { format, quiet } => list(global, &root, format, quiet)?,
    }
    Ok(0)
}

/// The exit status of `exec` is that of its process; 255 says that there was none.
fn exec_status(root: &std::path::Path, args: &cli::exec::Exec) -> u8 {
    let run = || container::exec::exec(&existing(root, &args.id)?, args);
    run().unwrap_or_else(|error| no_process(&error))
}

/// The exit status of an `exec` that failed.
fn no_process(error: &anyhow::Error) -> u8 {
    log::failure(error);
    255
}

/// Where the states are.
fn state_root(global: &Global) -> Result<PathBuf> {
    global.root.clone().map_or_else(|| cli::root::default_root(global.rootless), Ok)
}

/// The state directory for a command on an existing container.
fn existing(root: &std::path::Path, id: &str) -> Result<StateDir> {
    container::statedir::check_id(id)?;
    match StateDir::open(root)? {
        Some(states) => Ok(states),
        None => bail!(container::error::Error::NotFound { id: id.to_string() }),
    }
}

/// The cgroup driver is what the caller asked for.
fn settings(global: &Global) -> Result<Settings> {
    let cgroups = match (global.cgroup_manager, global.systemd_cgroup) {
        (Some(manager), _) => manager,
        (None, true) => CgroupManager::Systemd,
        (None, false) => CgroupManager::Cgroupfs,
    };
    let tolerate_missing_rights = cli::root::tolerates_missing_rights(global.rootless)?;
    Ok(Settings { cgroups, tolerate_missing_rights })
}

/// Without a state directory there is no container; one that was named must be there. The ids alone are those of
/// broken containers too, so that `delete --force` can be given each.
fn list(global: &Global, root: &std::path::Path, format: cli::command::Format, quiet: bool) -> Result<()> {
    let states = StateDir::open(root)?;
    if states.is_none() && global.root.is_some() {
        bail!("list containers: state directory `{}` does not exist", root.display());
    }
    if quiet {
        let mut ids = states.map_or_else(|| Ok(Vec::new()), |states| states.list())?;
        ids.retain(|id| container::statedir::check_id(id).is_ok());
        return output::print(&output::ids(&ids));
    }
    let views = states.map_or_else(|| Ok(Vec::new()), |states| container::list::list(&states))?;
    output::print(&output::list(&views, format)?)
}
