//! Capabilities: names made bit masks. Called by `process.rs`; `features` prints the names.

use super::host::Host;
use super::plan::Capabilities;
use super::problems::Warnings;
use super::spec;
use std::collections::BTreeSet;

/// Names by number (linux/capability.h).
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// All names known here, by number.
pub fn names() -> &'static [&'static str] {
    &NAMES
}

/// The number of a capability by name (`CAP_…`, in any case).
pub fn number(name: &str) -> Option<u32> {
    let i = NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))?;
    u32::try_from(i).ok()
}

/// Lowers the five sets. A name that is unknown here or to the kernel is a warning and not an
/// error (config.md, Linux Process).
pub fn lower(sets: &spec::Capabilities, path: &str, host: &Host, warnings: &mut Warnings) -> Capabilities {
    let mut unknown = BTreeSet::new();
    let mut mask = |names: &[String]| {
        let mut mask = 0;
        for name in names {
            match number(name).filter(|number| *number <= host.last_capability) {
                Some(number) => mask |= 1 << number,
                None => {
                    unknown.insert(name.clone());
                }
            }
        }
        mask
    };
    let capabilities = Capabilities {
        bounding: mask(&sets.bounding),
        effective: mask(&sets.effective),
        inheritable: mask(&sets.inheritable),
        permitted: mask(&sets.permitted),
        ambient: mask(&sets.ambient),
    };
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.into_iter().collect();
        let text = format!("unknown capabilities are ignored: {}", names.join(", "));
        warnings.note_unknown(path, text, names, NAMES);
    }
    capabilities
}
