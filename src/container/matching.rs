//! Doing something to every container whose id matches a pattern: `kill --regex`, `delete --regex`.

use super::statedir::StateDir;
use crate::error::{Context, bail, shown};
use crate::progress::Progress;
use anyhow::Result;
use regex_lite::Regex;

/// Does it to each container with a matching id, in order. One that fails does not spare the next;
/// all failures together are the error.
pub fn each(
    states: Option<&StateDir>,
    pattern: &str,
    act: impl Fn(&StateDir, &str) -> Result<()>,
) -> Result<()> {
    let pattern = Regex::new(pattern).with_context(|| format!("read the pattern `{pattern}` (--regex)"))?;
    let Some(states) = states else { return Ok(()) };
    let matching: Vec<String> = states.list()?.into_iter().filter(|id| pattern.is_match(id)).collect();
    let progress = Progress::begin();
    let mut failures = Vec::new();
    for (i, id) in matching.iter().enumerate() {
        progress.tell(|| format!("{i} of {} containers done, next is `{id}`", matching.len()));
        if let Err(error) = act(states, id) {
            failures.push(format!("`{id}`: {}", shown(&error)));
        }
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    Ok(())
}
