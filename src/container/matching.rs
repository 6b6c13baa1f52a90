//! Doing something to every container whose id matches a pattern: `kill --regex`, `delete --regex`.

use super::statedir::StateDir;
use crate::error::{Context, bail, shown};
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
    let matching = states.list()?.into_iter().filter(|id| pattern.is_match(id));
    let failures: Vec<String> = matching
        .filter_map(|id| act(states, &id).err().map(|error| format!("`{id}`: {}", shown(&error))))
        .collect();
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    Ok(())
}
