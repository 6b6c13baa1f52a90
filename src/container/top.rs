//! `events --format table`: what all containers use, a row each; with `--follow` again and again, in place on
//! a terminal, as further lines otherwise.

use super::delete::cgroup_of;
use super::error::Error;
use super::inspect::with_paused;
use super::state::Status;
use super::statedir::StateDir;
use crate::cgroup::Usage;
use crate::cli::output;
use crate::decimal;
use crate::error::bail;
use anyhow::Result;
use std::time::{Duration, Instant};

/// What is shown of whom, and how often.
#[derive(Debug)]
pub struct View {
    /// The container; none is all.
    pub id: Option<String>,
    /// Again at each interval; none is once.
    pub interval: Option<Duration>,
}

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    /// The id.
    pub id: String,
    /// The status.
    pub status: &'static str,
    /// What it uses; nothing when it has stopped or has no cgroup.
    pub usage: Option<Usage>,
    /// CPU time per time since the last look, in tenths of a percent of one CPU.
    pub percent: Option<u64>,
}

/// The CPU time of each container, in ns, and when it was read.
type Before = Vec<(String, u64, Instant)>;

/// Shows the table until the container is gone, or for all of them until interrupted.
pub fn show(states: &StateDir, view: &View) -> Result<()> {
    let in_place = view.interval.is_some() && output::is_terminal();
    let mut before = Before::new();
    let mut first = true;
    loop {
        let rows = match look(states, view.id.as_deref(), &mut before) {
            Err(error) if !first && Error::is_not_found(&error) => return Ok(()),
            rows => rows?,
        };
        let ended = rows.iter().all(|row| row.status == Status::Stopped.name());
        if view.id.is_some() && ended {
            return if first { not_running(view) } else { Ok(()) };
        }
        output::print(&output::usage(&rows, first, in_place))?;
        let Some(interval) = view.interval else { return Ok(()) };
        first = false;
        std::thread::sleep(interval);
    }
}

fn not_running(view: &View) -> Result<()> {
    let id = view.id.as_deref().unwrap_or_default();
    bail!(Error::WrongState(format!("container with id {id} is not running")))
}

/// A row for each container, or for the one; containers that go meanwhile are left out.
fn look(states: &StateDir, wanted: Option<&str>, before: &mut Before) -> Result<Vec<Row>> {
    let ids = match wanted {
        Some(id) => vec![id.to_string()],
        None => states.list()?,
    };
    let mut rows = Vec::with_capacity(ids.len());
    for id in ids {
        match row(states, id, before) {
            Ok(row) => rows.push(row),
            Err(error) if wanted.is_none() && Error::is_not_found(&error) => {}
            Err(error) => return Err(error),
        }
    }
    before.retain(|(id, ..)| rows.iter().any(|row| row.id == *id));
    Ok(rows)
}

fn row(states: &StateDir, id: String, before: &mut Before) -> Result<Row> {
    let entry = states.open_entry(&id)?;
    let state = entry.state()?;
    let (status, init) = entry.status(&state)?;
    let status = with_paused(status, &state)?.name();
    if init.is_none() {
        return Ok(Row { id, status, usage: None, percent: None });
    }
    let usage = cgroup_of(&state)?.stats().map(|stats| stats.usage());
    let now = Instant::now();
    let used = usage.as_ref().map_or(0, |usage| usage.cpu);
    let last = before.iter().position(|(known, ..)| *known == id).map(|at| before.swap_remove(at));
    before.push((id.clone(), used, now));
    let percent = last.map(|(_, then, when)| {
        decimal::ratio(used.saturating_sub(then), now.duration_since(when).as_nanos() as u64, 1000)
    });
    Ok(Row { id, status, percent: percent.filter(|_| usage.is_some()), usage })
}
