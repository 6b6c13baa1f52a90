//! What a container's scope unit is called and which properties it has: names from
//! linux.cgroupsPath, properties from limits, device rules and annotations. Pure; used by
//! `systemd.rs`, which sends them.

use super::dbus::Value;
use super::setting::Setting;
use crate::bundle::plan::{DeviceKind, DeviceRule};
use crate::decimal;
use crate::error::{Context, bail};
use anyhow::Result;
use std::collections::BTreeMap;

/// Longest name of a unit (systemd.unit(5)).
const LONGEST: usize = 255;

/// A scope and the slice it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// `machine.slice`
    pub slice: String,
    /// `prefix-name.scope`
    pub scope: String,
}

impl Names {
    /// From linux.cgroupsPath `slice:prefix:name`; what is empty is `system.slice` (`user.slice`
    /// for a user's manager), nothing, and the container's id.
    pub fn new(path: &str, id: &str, user: bool) -> Result<Names> {
        let path = if path.is_empty() { ":oxrun:" } else { path };
        let fields: Vec<&str> = path.split(':').collect();
        let [slice, prefix, name] = fields.as_slice() else {
            bail!(
                "linux.cgroupsPath `{path}` is not of the form `slice:prefix:name`, which the systemd driver needs; \
                 use that, or --cgroup-manager cgroupfs for a path"
            );
        };
        let name = if name.is_empty() { id } else { name };
        let scope = if prefix.is_empty() { name.to_string() } else { format!("{prefix}-{name}") };
        let slice = match *slice {
            "" if user => "user.slice",
            "" => "system.slice",
            given => given,
        };
        check_slice(slice)?;
        Ok(Names { slice: slice.to_string(), scope: check_name(&format!("{scope}.scope"))? })
    }
}

impl Names {
    /// Where systemd puts the cgroup: below the root, or below what the manager of the user `uid` has.
    pub fn cgroup(&self, uid: Option<u32>) -> String {
        let mut path =
            uid.map_or(String::new(), |uid| format!("user.slice/user-{uid}.slice/user@{uid}.service/"));
        let stem = self.slice.strip_suffix(".slice").unwrap_or(&self.slice);
        if stem != "-" {
            let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
            ends.for_each(|end| path.push_str(&format!("{}.slice/", &stem[..end])));
        }
        path + &self.scope
    }
}

/// A slice's name says where it is: `a-b.slice` is below `a.slice`, `-.slice` is the root.
fn check_slice(slice: &str) -> Result<()> {
    check_name(slice)?;
    let stem = slice.strip_suffix(".slice").unwrap_or("");
    let bad = stem.is_empty() || stem.starts_with('-') || stem.ends_with('-') || stem.contains("--");
    if bad && stem != "-" {
        bail!(
            "linux.cgroupsPath: `{slice}` is not the name of a slice, such as `machine.slice` or `a-b.slice`"
        );
    }
    Ok(())
}

fn check_name(name: &str) -> Result<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    // `+` is allowed in ids and not in units; it is escaped as systemd-escape(1) does.
    let name = name.replace('+', "\\x2b");
    if name.len() > LONGEST || !name.chars().all(allowed) || name.starts_with('.') {
        bail!(
            "linux.cgroupsPath: `{name}` is not the name of a systemd unit: use letters, digits and `:-_.\\@`, \
             at most {LONGEST}"
        );
    }
    Ok(name)
}

/// The object path of a unit: all but letters and digits is escaped.
pub fn object_path(unit: &str) -> String {
    let mut path = String::from("/org/freedesktop/systemd1/unit/");
    for (i, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (byte.is_ascii_digit() && i > 0) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

/// The properties that keep these limits when systemd writes its own view of a unit to the control
/// files, as it does after `daemon-reload`. Limits without a property are in no such view.
/// `current` reads a control file, for the half of a pair that stays as it is.
pub fn limits(settings: &[Setting], current: &dyn Fn(&str) -> Option<String>) -> Vec<(String, Value)> {
    let mut out: Vec<(String, Value)> = Vec::new();
    let all = || settings.iter().filter_map(|s| s.choices.first());
    for (file, value) in all() {
        let property = match file.as_str() {
            "memory.max" => number("MemoryMax", value),
            "memory.high" => number("MemoryHigh", value),
            "memory.low" => number("MemoryLow", value),
            "memory.min" => number("MemoryMin", value),
            "memory.swap.max" => number("MemorySwapMax", value),
            "memory.limit_in_bytes" => number("MemoryLimit", value),
            "pids.max" => number("TasksMax", value),
            "cpu.weight" => number("CPUWeight", value),
            "cpu.shares" => number("CPUShares", value),
            "io.weight" | "io.bfq.weight" => number("IOWeight", value.trim_start_matches("default ")),
            "blkio.weight" | "blkio.bfq.weight" => number("BlockIOWeight", value),
            "cpuset.cpus" => bits("AllowedCPUs", value),
            "cpuset.mems" => bits("AllowedMemoryNodes", value),
            _ => None,
        };
        out.extend(property.map(|(name, value)| (name.to_string(), value)));
    }
    let set = |file: &str| all().filter(|(f, _)| f == file).map(|(_, v)| v.clone()).next_back();
    let now = |file: &str| set(file).or_else(|| current(file));
    let changed = ["cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"].iter().any(|file| set(file).is_some());
    if changed && let Some((quota, period)) = quota(now, current) {
        out.extend(quota_properties(&quota, &period).into_iter().flatten());
    }
    out
}

/// Quota and period, by cpu.max of v2, where the quota may stand alone, or by both files of v1.
fn quota(
    now: impl Fn(&str) -> Option<String>,
    current: &dyn Fn(&str) -> Option<String>,
) -> Option<(String, String)> {
    let Some(both) = now("cpu.max") else {
        return Some((now("cpu.cfs_quota_us")?, now("cpu.cfs_period_us").unwrap_or("100000".into())));
    };
    let words = |text: &str| text.split_once(' ').map(|(a, b)| (a.to_string(), b.trim().to_string()));
    let period =
        || current("cpu.max").and_then(|text| words(&text)).map_or("100000".into(), |(_, period)| period);
    Some(words(&both).unwrap_or_else(|| (both.clone(), period())))
}

/// A number; `max` and -1 are unlimited, which is the largest one.
fn number(name: &'static str, value: &str) -> Option<(&'static str, Value)> {
    let value = value.trim();
    let number = if value == "max" || value == "-1" { u64::MAX } else { value.parse().ok()? };
    Some((name, Value::U64(number)))
}

/// One percent of a second in microseconds.
const PERCENT: u64 = 10_000;

/// A quota per period as time per second. systemd keeps whole percents and rounds down; it is told
/// the next whole one, so that it never limits more than was asked for.
fn quota_properties(quota: &str, period: &str) -> Option<[(String, Value); 2]> {
    let period: u64 = period.trim().parse().ok().filter(|p| *p > 0)?;
    let per_second = match quota.trim() {
        "max" | "-1" => u64::MAX,
        quota => {
            let exact = quota.parse::<u64>().ok()?.saturating_mul(1_000_000).div_ceil(period);
            exact.div_ceil(PERCENT).saturating_mul(PERCENT)
        }
    };
    Some([
        ("CPUQuotaPerSecUSec".to_string(), Value::U64(per_second)),
        ("CPUQuotaPeriodUSec".to_string(), Value::U64(period)),
    ])
}

/// A list such as `0-3,7` as a mask, lowest byte first.
fn bits(name: &'static str, list: &str) -> Option<(&'static str, Value)> {
    let mut mask = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last >= 1 << 16 {
            return None;
        }
        for bit in first..=last {
            if mask.len() <= bit / 8 {
                mask.resize(bit / 8 + 1, 0);
            }
            mask[bit / 8] |= 1 << (bit % 8);
        }
    }
    Some((name, Value::Bytes(mask)))
}

/// Device rules as systemd knows them: nothing but what is listed. The runtime's own rules are in
/// force beside these, so what systemd cannot say exactly (a minor of every major, an access taken
/// back) may be listed too widely here. None where everything is allowed first.
pub fn devices(rules: &[DeviceRule]) -> Vec<(String, Value)> {
    let everything = |r: &DeviceRule| {
        let any = r.kind == DeviceKind::All && r.major.is_none() && r.minor.is_none();
        any && r.read && r.write && r.mknod
    };
    let start = rules.iter().rposition(everything).map_or(0, |i| if rules[i].allow { i } else { i + 1 });
    let rules = &rules[start..];
    if rules.is_empty() || rules.iter().any(|r| everything(r) && r.allow) {
        return Vec::new();
    }
    let mut allowed: BTreeMap<String, String> = BTreeMap::new();
    for rule in rules.iter().filter(|r| r.allow) {
        let classes: &[&str] = match rule.kind {
            DeviceKind::All => &["block", "char"],
            DeviceKind::Block => &["block"],
            DeviceKind::Char => &["char"],
        };
        for class in classes {
            let name = match (rule.major, rule.minor) {
                (Some(major), Some(minor)) => format!("/dev/{class}/{major}:{minor}"),
                (Some(major), None) => format!("{class}-{major}"),
                (None, _) => format!("{class}-*"),
            };
            let access = allowed.entry(name).or_default();
            for (letter, wanted) in [('r', rule.read), ('w', rule.write), ('m', rule.mknod)] {
                if wanted && !access.contains(letter) {
                    access.push(letter);
                }
            }
        }
    }
    vec![
        ("DevicePolicy".to_string(), Value::Text("strict".into())),
        ("DeviceAllow".to_string(), Value::Pairs(allowed.into_iter().collect())),
    ]
}

/// Annotations that become properties.
pub const ANNOTATION: &str = "org.systemd.property.";

/// Properties that an annotation may set, and their types: none that runs a program, changes a
/// user or a directory, or pulls in another unit (R17).
const ALLOWED: [(&str, &str); 22] = [
    ("After", "as"),
    ("Before", "as"),
    ("CPUWeight", "t"),
    ("CollectMode", "s"),
    ("Description", "s"),
    ("Documentation", "as"),
    ("IOWeight", "t"),
    ("KillMode", "s"),
    ("KillSignal", "i"),
    ("ManagedOOMMemoryPressure", "s"),
    ("ManagedOOMMemoryPressureLimit", "u"),
    ("ManagedOOMPreference", "s"),
    ("ManagedOOMSwap", "s"),
    ("MemoryHigh", "t"),
    ("MemoryLow", "t"),
    ("MemoryMin", "t"),
    ("OOMPolicy", "s"),
    ("RuntimeMaxUSec", "t"),
    ("SendSIGHUP", "b"),
    ("SendSIGKILL", "b"),
    ("TasksMax", "t"),
    ("TimeoutStopUSec", "t"),
];

/// The properties that annotations ask for.
pub fn annotations(annotations: &BTreeMap<String, String>) -> Result<Vec<(String, Value)>> {
    let ours = annotations.iter().filter_map(|(key, text)| Some((key.strip_prefix(ANNOTATION)?, text)));
    ours.map(|(name, text)| annotation(name, text).with_context(|| format!("annotations.{ANNOTATION}{name}")))
        .collect()
}

/// One property; `TimeoutStopSec` is TimeoutStopUSec in seconds.
fn annotation(name: &str, text: &str) -> Result<(String, Value)> {
    let usec = name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')).map(|stem| format!("{stem}USec"));
    let full = usec.as_deref().unwrap_or(name);
    let Some((_, kind)) = ALLOWED.iter().find(|(allowed, _)| *allowed == full) else {
        let names: Vec<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
        bail!("property `{name}` may not be set by an annotation; these may: {}", names.join(", "));
    };
    let text = text.trim();
    let value = if usec.is_some() { seconds(text) } else { parse(kind, text) };
    let value =
        value.with_context(|| format!("`{text}` is not a value of type `{kind}` in GVariant's text form"))?;
    Ok((full.to_string(), value))
}

fn seconds(text: &str) -> Option<Value> {
    Some(Value::U64(decimal::parse(unprefixed(text), 6)?))
}

/// A value in GVariant's text form, as far as the allowed properties need it.
fn parse(kind: &str, text: &str) -> Option<Value> {
    Some(match kind {
        "b" => Value::Bool(text.parse().ok()?),
        "i" => Value::I32(unprefixed(text).parse().ok()?),
        "u" => Value::U32(unprefixed(text).parse().ok()?),
        "t" => Value::U64(unprefixed(text).parse().ok()?),
        "s" => Value::Text(quoted(text)?),
        _ => {
            let inside = text.strip_prefix('[')?.strip_suffix(']')?.trim();
            let items = inside.split(',').filter(|_| !inside.is_empty());
            Value::Texts(items.map(|item| quoted(item.trim())).collect::<Option<_>>()?)
        }
    })
}

/// A number without the name of its type.
fn unprefixed(text: &str) -> &str {
    match text.split_once(' ') {
        Some(("uint64" | "int64" | "uint32" | "int32" | "double", number)) => number.trim(),
        _ => text,
    }
}

/// A text between quotes, without escapes.
fn quoted(text: &str) -> Option<String> {
    let inside = ['\'', '"'].iter().find_map(|q| text.strip_prefix(*q)?.strip_suffix(*q))?;
    (!inside.contains(['\'', '"', '\\', '\n'])).then(|| inside.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str) -> Option<(String, String)> {
        Names::new(path, "c1", false).ok().map(|n| (n.slice, n.scope))
    }

    #[test]
    fn cgroup_units_are_named_by_the_path() {
        let pair = |a: &str, b: &str| Some((a.to_string(), b.to_string()));
        assert_eq!(names("machine.slice:libpod:abc"), pair("machine.slice", "libpod-abc.scope"));
        assert_eq!(names(""), pair("system.slice", "oxrun-c1.scope"));
        assert_eq!(names("a-b.slice::x"), pair("a-b.slice", "x.scope"));
        assert_eq!(names("-.slice:p:"), pair("-.slice", "p-c1.scope"));
        assert_eq!(Names::new("", "a+b", true).unwrap().scope, "oxrun-a\\x2bb.scope");
        for bad in ["/a/b", "a:b", "a:b:c:d", "x:y:z", "a--b.slice:p:n", "-a.slice:p:n", "../x.slice:p:n"] {
            assert_eq!(names(bad), None, "{bad}");
        }
        assert_eq!(names("system.slice:p:a/b"), None);
        assert_eq!(names(&format!("system.slice:p:{}", "x".repeat(260))), None);
    }

    #[test]
    fn cgroup_units_have_their_place_in_the_tree() {
        let at = |path: &str, uid| Names::new(path, "c1", uid == Some(5)).unwrap().cgroup(uid);
        assert_eq!(at("", None), "system.slice/oxrun-c1.scope");
        assert_eq!(at("a-b-c.slice:p:n", None), "a.slice/a-b.slice/a-b-c.slice/p-n.scope");
        assert_eq!(at("-.slice:p:n", None), "p-n.scope");
        let users = "user.slice/user-5.slice/user@5.service/user.slice/oxrun-c1.scope";
        assert_eq!(at("", Some(5)), users);
    }

    #[test]
    fn cgroup_unit_paths_are_escaped() {
        assert_eq!(object_path("1a-b.scope"), "/org/freedesktop/systemd1/unit/_31a_2db_2escope");
    }

    #[test]
    fn cgroup_limits_become_properties() {
        let set = |file: &str, value: &str| Setting::new("x", file, value);
        let got = limits(
            &[
                set("memory.max", "max"),
                set("pids.max", "7"),
                set("cpu.max", "33333 70000"),
                set("cpuset.cpus", "0-2,9"),
                set("hugetlb.2MB.max", "1"),
            ],
            &|_| None,
        );
        let property = |name: &str, value| (name.to_string(), value);
        assert_eq!(
            got,
            [
                property("MemoryMax", Value::U64(u64::MAX)),
                property("TasksMax", Value::U64(7)),
                property("AllowedCPUs", Value::Bytes(vec![7, 2])),
                property("CPUQuotaPerSecUSec", Value::U64(480_000)),
                property("CPUQuotaPeriodUSec", Value::U64(70_000)),
            ]
        );
        let alone = limits(&[set("cpu.max", "1000")], &|_| Some("500 2000\n".to_string()));
        assert_eq!(alone[0], property("CPUQuotaPerSecUSec", Value::U64(500_000)));
        let v1 = limits(&[set("cpu.cfs_period_us", "4000")], &|file| match file {
            "cpu.cfs_quota_us" => Some("-1\n".to_string()),
            _ => None,
        });
        assert_eq!(v1[0], property("CPUQuotaPerSecUSec", Value::U64(u64::MAX)));
    }

    #[test]
    fn cgroup_annotations_are_typed_and_few() {
        let given = BTreeMap::from([(format!("{ANNOTATION}TasksMax"), "many".to_string())]);
        let error = format!("{:#}", annotations(&given).unwrap_err());
        let said = "annotations.org.systemd.property.TasksMax: `many` is not a value of type `t` in GVariant's text form";
        assert_eq!(error, said);
        let of = annotation;
        let usec = |n| ("TimeoutStopUSec".to_string(), Value::U64(n));
        assert_eq!(of("TimeoutStopUSec", "uint64 5").unwrap(), usec(5));
        assert_eq!(of("TimeoutStopSec", "1.5").unwrap(), usec(1_500_000));
        assert_eq!(of("CollectMode", "'inactive'").unwrap().1, Value::Text("inactive".into()));
        let list = Value::Texts(vec!["a.service".into(), "b.service".into()]);
        assert_eq!(of("After", "['a.service', \"b.service\"]").unwrap().1, list);
        assert_eq!(of("After", "[]").unwrap().1, Value::Texts(Vec::new()));
        for (name, text) in [
            ("ExecStart", "'x'"),
            ("User", "'root'"),
            ("Slice", "'x.slice'"),
            ("DeviceAllow", "[]"),
            ("SendSIGKILL", "1"),
            ("CollectMode", "inactive"),
            ("Description", "'a' 'b'"),
            ("TimeoutStopUSec", "-1"),
            ("TimeoutStopSec", "-1"),
        ] {
            assert!(of(name, text).is_err(), "{name} {text}");
        }
    }
}
