//! Where states are kept when `--root` is not given, and who counts as an ordinary user. Used by `main`.

use super::command::Rootless;
use crate::bundle::host::in_user_namespace;
use anyhow::Result;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// `/run/oxrun`, or `$XDG_RUNTIME_DIR/oxrun` for a caller without root. All commands on one
/// container must come to the same answer, also from engines that pass no variable but
/// XDG_RUNTIME_DIR, or that one empty.
pub fn default_root(rootless: Rootless) -> Result<PathBuf> {
    Ok(choose(&Caller {
        root: rustix::process::geteuid().is_root(),
        in_user_namespace: in_user_namespace()?,
        runtime_dir: std::env::var_os("XDG_RUNTIME_DIR"),
        user: std::env::var_os("USER"),
        rootless,
    }))
}

/// Whether missing rights to cgroups are tolerated: by default for everyone but the host's root.
pub fn tolerates_missing_rights(rootless: Rootless) -> Result<bool> {
    match rootless {
        Rootless::True => Ok(true),
        Rootless::False => Ok(false),
        Rootless::Auto => Ok(!rustix::process::geteuid().is_root() || in_user_namespace()?),
    }
}

/// What the choice depends on.
struct Caller {
    root: bool,
    in_user_namespace: bool,
    runtime_dir: Option<OsString>,
    user: Option<OsString>,
    rootless: Rootless,
}

fn choose(caller: &Caller) -> PathBuf {
    let own = match caller.rootless {
        Rootless::True => true,
        Rootless::False => false,
        Rootless::Auto if !caller.root => true,
        // Root of a user namespace: of one user, unless it calls itself root.
        Rootless::Auto => caller.in_user_namespace && caller.user.as_deref() != Some(OsStr::new("root")),
    };
    match &caller.runtime_dir {
        Some(dir) if own && Path::new(dir).is_absolute() => Path::new(dir).join("oxrun"),
        _ => PathBuf::from("/run/oxrun"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice() {
        let (auto, on, off) = (Rootless::Auto, Rootless::True, Rootless::False);
        let (host, own) = ("/run/oxrun", "/run/user/7/oxrun");
        let dir = Some("/run/user/7");
        let table = [
            // root, in a user namespace, XDG_RUNTIME_DIR, USER, --rootless
            (true, false, None, None, auto, host),
            (true, false, dir, Some("root"), auto, host),
            (true, false, dir, None, auto, host),
            (true, true, dir, None, auto, own),
            (true, true, dir, Some("ann"), auto, own),
            (true, true, dir, Some("root"), auto, host),
            (true, true, Some(""), None, auto, host),
            (false, false, dir, Some("ann"), auto, own),
            (false, true, dir, Some("root"), auto, own),
            (false, false, Some(""), None, auto, host),
            (false, false, Some("relative"), None, auto, host),
            (false, false, None, None, auto, host),
            (true, false, dir, None, on, own),
            (false, false, dir, None, off, host),
        ];
        for (root, in_user_namespace, runtime_dir, user, rootless, expected) in table {
            let caller = Caller {
                root,
                in_user_namespace,
                runtime_dir: runtime_dir.map(OsString::from),
                user: user.map(OsString::from),
                rootless,
            };
            assert_eq!(
                choose(&caller),
                Path::new(expected),
                "{root} {in_user_namespace} {runtime_dir:?} {user:?}"
            );
        }
    }
}
