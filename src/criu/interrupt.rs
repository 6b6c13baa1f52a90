//! The signals that ask a command to end while CRIU works for it: held back, so that CRIU is told first and
//! undoes what it has begun. Used by `swrk`.

use crate::error::failed;
use crate::sys::signal::{self, Set};
use anyhow::Result;
use std::os::fd::OwnedFd;

/// What a terminal, a user or an engine sends; ignored ones stay so.
const ASKING: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// While this lives these signals do not end the process.
#[derive(Debug)]
pub struct Interrupts {
    signals: OwnedFd,
    before: Set,
}

impl Interrupts {
    /// Begins to hold them back.
    pub fn hold() -> Result<Interrupts> {
        let mut asking = Set::NONE;
        for signal in ASKING {
            if !signal::is_ignored(signal).map_err(failed("look at a signal"))? {
                asking.0 |= 1 << (signal - 1);
            }
        }
        let before = signal::block(asking).map_err(failed("block signals"))?;
        match signal::descriptor(asking) {
            Ok(signals) => Ok(Interrupts { signals, before }),
            Err(errno) => {
                // The mask was valid a moment ago; there is no way for this to fail.
                let _ = signal::set_mask(before);
                Err(failed("make a descriptor for signals")(errno))
            }
        }
    }

    /// Does something during which they end the process as always.
    pub fn let_through<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let held = signal::set_mask(self.before).map_err(failed("let signals through"))?;
        let done = work();
        signal::set_mask(held).map_err(failed("block signals"))?;
        done
    }

    /// Readable when one has come.
    pub fn descriptor(&self) -> &OwnedFd {
        &self.signals
    }

    /// The one that has come.
    pub fn next(&self) -> Result<Option<i32>> {
        signal::next(&self.signals).map_err(failed("read a signal"))
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        // The mask was valid a moment ago; there is no way for this to fail.
        let _ = signal::set_mask(self.before);
    }
}
