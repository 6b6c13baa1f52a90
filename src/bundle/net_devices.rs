//! Network devices: `linux.netDevices`, names of interfaces checked. Called by `lower.rs`.

use super::plan::{NamespaceKind, Namespaces};
use super::problems::Problems;
use super::spec;

/// The longest name of an interface, in bytes (IFNAMSIZ less one).
const MAX_NAME: usize = 15;

/// Lowers `linux.netDevices` to pairs of name on the host and name in the container.
pub fn lower(linux: &spec::Linux, namespaces: &Namespaces, problems: &mut Problems) -> Vec<(String, String)> {
    let mut lowered: Vec<(String, String)> = Vec::with_capacity(linux.net_devices.len());
    if !linux.net_devices.is_empty() && !namespaces.has(NamespaceKind::Network) {
        let text = "needs a network namespace: add {\"type\":\"network\"} to linux.namespaces";
        problems.add("linux.netDevices", text);
    }
    for (name, device) in &linux.net_devices {
        let path = format!("linux.netDevices.{name}");
        let renamed = if device.name.is_empty() { name } else { &device.name };
        if let Some(fault) = fault(name).or_else(|| name.contains('%').then_some("`%` cannot be part of it"))
        {
            problems.add(&path, format!("`{name}` is not the name of an interface: {fault}"));
        }
        if renamed != name
            && let Some(fault) = fault(renamed).or_else(|| pattern_fault(renamed))
        {
            problems
                .add(format!("{path}.name"), format!("`{renamed}` is not the name of an interface: {fault}"));
        }
        if !renamed.contains('%')
            && let Some((other, _)) = lowered.iter().find(|(_, other)| other == renamed)
        {
            problems.add(format!("{path}.name"), format!("`{renamed}` is the new name of `{other}` too"));
        }
        lowered.push((name.clone(), renamed.clone()));
    }
    lowered
}

/// As the kernel's dev_valid_name().
fn fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > MAX_NAME {
        Some("longer than 15 bytes")
    } else if name == "." || name == ".." {
        Some("it is reserved")
    } else if name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_ascii_whitespace()) {
        Some("`/`, `:` and spaces cannot be part of it")
    } else {
        None
    }
}

/// `%d` once is a number that the kernel chooses; nothing else may follow a `%`.
fn pattern_fault(name: &str) -> Option<&'static str> {
    match name.split_once('%') {
        None => None,
        Some((_, rest)) if rest.starts_with('d') && !rest.contains('%') => None,
        Some(_) => Some("`%` is only possible as one `%d`"),
    }
}
