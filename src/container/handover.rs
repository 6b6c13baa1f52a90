//! Descriptors that the caller hands to the process: from 3 on those of socket activation
//! (sd_listen_fds(3)), then those of `--preserve-fds`. Asked first by `create`, `run` and `exec`.

use crate::error::bail;
use anyhow::Result;
use std::ffi::CString;

/// How many descriptors from 3 on the process keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handover {
    /// By LISTEN_FDS.
    pub listening: u32,
    /// With those of `--preserve-fds`.
    pub all: u32,
}

impl Handover {
    /// What the caller of `create` or `run` hands over.
    pub fn to_container(preserve: u32) -> Result<Handover> {
        let variable = |name| std::env::var(name).ok();
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let listening = activated(own, variable("LISTEN_PID").as_deref(), variable("LISTEN_FDS").as_deref());
        checked(listening, preserve)
    }

    /// What the caller of `exec` hands over: what listens is for the container's first process.
    pub fn to_process(preserve: u32) -> Result<Handover> {
        checked(0, preserve)
    }

    /// Tells the container's process, whose id is 1 as far as it can know, of what listens.
    pub fn announce(self, env: &mut Vec<CString>) {
        if self.listening > 0 {
            env.retain(|e| {
                !e.to_bytes().starts_with(b"LISTEN_FDS=") && !e.to_bytes().starts_with(b"LISTEN_PID=")
            });
            env.extend(CString::new(format!("LISTEN_FDS={}", self.listening)));
            env.extend(CString::new("LISTEN_PID=1"));
        }
    }
}

/// LISTEN_FDS counts only for the process that LISTEN_PID names; callers leave both in the
/// environment of others.
fn activated(own: i32, pid: Option<&str>, count: Option<&str>) -> u32 {
    let ours = pid.and_then(|pid| pid.parse().ok()) == Some(own);
    count.filter(|_| ours).and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// A descriptor that is missing would be one of the runtime's own by the time it is handed over.
fn checked(listening: u32, preserve: u32) -> Result<Handover> {
    let all = listening.saturating_add(preserve);
    for number in 3..all.saturating_add(3) {
        if !crate::sys::process::is_inherited(number as i32) {
            let source = if number - 3 < listening {
                format!("LISTEN_FDS={listening}")
            } else {
                format!("--preserve-fds {preserve}")
            };
            bail!("{source}: descriptor {number} is not open; pass {all} descriptors from 3 on");
        }
    }
    Ok(Handover { listening, all })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_meant_for_this_process_counts() {
        assert_eq!(activated(7, Some("7"), Some("2")), 2);
        for (pid, count) in
            [(Some("8"), Some("2")), (None, Some("2")), (Some("7"), None), (Some("7"), Some("-1"))]
        {
            assert_eq!(activated(7, pid, count), 0, "{pid:?} {count:?}");
        }
    }

    #[test]
    fn the_process_is_told_once() {
        let mut env = vec![c"LISTEN_FDS=9".into(), c"A=1".into()];
        Handover { listening: 2, all: 3 }.announce(&mut env);
        assert_eq!(env, [c"A=1".into(), CString::from(c"LISTEN_FDS=2"), c"LISTEN_PID=1".into()]);
        Handover { listening: 0, all: 3 }.announce(&mut env);
        assert_eq!(env.len(), 3);
    }
}
