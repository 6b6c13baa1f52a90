//! Devices: the nodes in /dev and the device rules of the cgroup, those of config.json and those
//! that every container has. Called by `lower.rs`.

use super::json::NUL;
use super::lists::normalise;
use super::plan::{Device, DeviceKind, DeviceRule};
use super::problems::{Problems, Warnings};
use super::spec;

/// Devices of every container (config-linux.md, Default Devices): path, major and minor number.
const DEFAULT_DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Character devices that every container may use: the default ones, /dev/ptmx and terminals
/// (none as minor number is any).
const DEFAULT_RULES: [(u32, Option<u32>); 8] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(2)),
    (136, None),
];

/// The kernel's device numbers have 12 and 20 bits (linux/kdev_t.h).
const MAX_MAJOR: i64 = (1 << 12) - 1;
const MAX_MINOR: i64 = (1 << 20) - 1;

/// Lowers `linux.devices` and adds the default ones that it does not name. /dev/ptmx is left to
/// the container's devpts, and /dev/console to the terminal where there is one.
pub fn lower_nodes(
    devices: &[spec::Device],
    terminal: bool,
    problems: &mut Problems,
    warnings: &mut Warnings,
) -> Vec<Device> {
    let mut given: Vec<Device> = Vec::with_capacity(devices.len());
    for (i, device) in devices.iter().enumerate() {
        let Some(node) = lower_node(device, &format!("linux.devices[{i}]"), problems) else { continue };
        if node.path == "/dev/ptmx" || terminal && node.path == "/dev/console" {
            continue;
        }
        if is_new(&given, &node, problems, warnings) {
            given.push(node);
        }
    }
    let defaults =
        DEFAULT_DEVICES.iter().map(default_node).filter(|d| given.iter().all(|g| g.path != d.path));
    defaults.chain(given.iter().cloned()).collect()
}

fn default_node((path, major, minor): &(&str, u32, u32)) -> Device {
    Device {
        origin: "default device".into(),
        path: path.to_string(),
        kind: libc::S_IFCHR,
        major: *major,
        minor: *minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    }
}

fn lower_node(device: &spec::Device, path: &str, problems: &mut Problems) -> Option<Device> {
    let before = problems.0.len();
    let kind = lower_kind(&device.kind, path, problems);
    let target = lower_path(&device.path, path, problems);
    let fifo = kind == Some(libc::S_IFIFO);
    let major = lower_number(device.major, MAX_MAJOR, fifo, &format!("{path}.major"), problems);
    let minor = lower_number(device.minor, MAX_MINOR, fifo, &format!("{path}.minor"), problems);
    let mode = lower_mode(device.file_mode.unwrap_or(0o666), kind, path, problems);
    for (id, name) in [(device.uid, "uid"), (device.gid, "gid")] {
        if id == Some(u32::MAX) {
            problems.add(format!("{path}.{name}"), "4294967295 is not an id");
        }
    }
    let (kind, target) = (kind?, target?);
    (problems.0.len() == before).then(|| Device {
        origin: path.to_string(),
        path: target,
        kind,
        major,
        minor,
        mode,
        uid: device.uid.unwrap_or(0),
        gid: device.gid.unwrap_or(0),
    })
}

fn lower_kind(kind: &str, path: &str, problems: &mut Problems) -> Option<u32> {
    match kind {
        "c" | "u" => Some(libc::S_IFCHR),
        "b" => Some(libc::S_IFBLK),
        "p" => Some(libc::S_IFIFO),
        "" => {
            problems.add(format!("{path}.type"), "missing: c, b, u or p");
            None
        }
        other => {
            problems.add(format!("{path}.type"), format!("unknown device type `{other}`: c, b, u or p"));
            None
        }
    }
}

fn lower_path(given: &str, path: &str, problems: &mut Problems) -> Option<String> {
    let path = format!("{path}.path");
    let target = normalise(given);
    if given.is_empty() {
        problems.add(path, "missing: the absolute path in the container");
    } else if given.contains('\0') {
        problems.add(path, NUL);
    } else if !given.starts_with('/') {
        problems.add(path, format!("`{given}` is relative: must be absolute"));
    } else if target == "/" {
        problems.add(path, "`/` cannot be a device");
    } else {
        return Some(target);
    }
    None
}

fn lower_number(given: Option<i64>, max: i64, fifo: bool, path: &str, problems: &mut Problems) -> u32 {
    match given {
        _ if fifo => 0,
        None => {
            problems.add(path, "missing: only a fifo (type p) has no device number");
            0
        }
        Some(number) if !(0..=max).contains(&number) => {
            problems.add(path, format!("{number} is out of range: 0 to {max}"));
            0
        }
        Some(number) => u32::try_from(number).unwrap_or(0),
    }
}

/// The permission bits; the file type bits of stat(2) are tolerated where they agree.
fn lower_mode(given: u32, kind: Option<u32>, path: &str, problems: &mut Problems) -> u32 {
    let type_bits = given & libc::S_IFMT;
    let mode = if kind == Some(type_bits) { given & !libc::S_IFMT } else { given };
    if mode > 0o777 {
        let text = format!("{given} (0{given:o}) is more than 511 (0777), the permissions");
        problems.add(format!("{path}.fileMode"), text);
    }
    mode
}

/// Whether no device of this path is there yet; the same one twice is tolerated.
fn is_new(given: &[Device], node: &Device, problems: &mut Problems, warnings: &mut Warnings) -> bool {
    let same = |a: &Device| (a.kind, a.major, a.minor) == (node.kind, node.major, node.minor);
    if let Some(other) = given.iter().find(|other| other.path == node.path) {
        if !same(other) || (other.mode, other.uid, other.gid) != (node.mode, node.uid, node.gid) {
            let text = format!("`{}` is given by {} already, and differently", node.path, other.origin);
            problems.add(format!("{}.path", node.origin), text);
        }
        return false;
    }
    if node.kind != libc::S_IFIFO
        && let Some(other) = given.iter().find(|other| same(other))
    {
        warnings.note(&node.origin, format!("the same device as {} under another path", other.origin));
    }
    true
}

/// Lowers `linux.resources.devices` and adds what every container may do: make any device node,
/// and use the default devices and terminals.
pub fn lower_rules(rules: &[spec::DeviceRule], problems: &mut Problems) -> Vec<DeviceRule> {
    let mut lowered = Vec::with_capacity(rules.len() + DEFAULT_RULES.len() + 2);
    for (i, rule) in rules.iter().enumerate() {
        lower_rule(rule, &format!("linux.resources.devices[{i}]"), problems, &mut lowered);
    }
    let any = DeviceRule {
        allow: true,
        kind: DeviceKind::Char,
        major: None,
        minor: None,
        read: false,
        write: false,
        mknod: true,
    };
    lowered.extend([any, DeviceRule { kind: DeviceKind::Block, ..any }]);
    lowered.extend(DEFAULT_RULES.map(|(major, minor)| DeviceRule {
        major: Some(major),
        minor,
        read: true,
        write: true,
        ..any
    }));
    lowered
}

/// Type `a` stands for everything only without numbers and with every access; otherwise it is two
/// rules, because cgroup v1 ignores the rest of a line that begins with `a`.
fn lower_rule(rule: &spec::DeviceRule, path: &str, problems: &mut Problems, lowered: &mut Vec<DeviceRule>) {
    let kind = match rule.kind.as_str() {
        "" | "a" => Some(DeviceKind::All),
        "b" => Some(DeviceKind::Block),
        "c" => Some(DeviceKind::Char),
        other => {
            problems.add(format!("{path}.type"), format!("unknown device type `{other}`: a, b or c"));
            None
        }
    };
    let major = lower_wildcard(rule.major, &format!("{path}.major"), problems);
    let minor = lower_wildcard(rule.minor, &format!("{path}.minor"), problems);
    check_access(&rule.access, path, problems);
    let Some(kind) = kind else { return };
    let has = |letter| rule.access.contains(letter);
    let (read, write, mknod) = (has('r'), has('w'), has('m'));
    let whole = DeviceRule { allow: rule.allow, kind, major, minor, read, write, mknod };
    let everything = major.is_none() && minor.is_none() && read && write && mknod;
    if kind == DeviceKind::All && !everything {
        lowered.extend([DeviceKind::Block, DeviceKind::Char].map(|kind| DeviceRule { kind, ..whole }));
    } else {
        lowered.push(whole);
    }
}

fn lower_wildcard(given: Option<i64>, path: &str, problems: &mut Problems) -> Option<u32> {
    match given {
        None | Some(-1) => None,
        Some(number) => match u32::try_from(number) {
            Ok(number) => Some(number),
            Err(_) => {
                problems.add(path, format!("{number} is out of range: 0 to 4294967295, or absent for all"));
                None
            }
        },
    }
}

fn check_access(access: &str, path: &str, problems: &mut Problems) {
    let path = format!("{path}.access");
    if access.is_empty() {
        problems.add(path, "missing: letters of rwm");
    } else if !access.chars().all(|c| "rwm".contains(c)) {
        problems.add(path, format!("`{access}` has other letters than r, w and m"));
    }
}
