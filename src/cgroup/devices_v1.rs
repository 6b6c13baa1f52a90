//! Device rules on cgroup v1: the rules folded into what the kernel keeps, one default and a set
//! of exceptions, and the writes that lead there. The meaning is that of the v2 program: for each
//! access the last rule that matches decides, and what none matches is denied. A list that this
//! form cannot express is refused. Pure; used by `v1::Cgroup::set_devices`.

use crate::bundle::plan::{DeviceKind, DeviceRule};

const READ: u8 = 1;
const WRITE: u8 = 2;
const MKNOD: u8 = 4;
const ALL: u8 = READ | WRITE | MKNOD;

/// Which devices an exception is about: `b` or `c`, major, minor; none is any.
type Key = (char, Option<u32>, Option<u32>);

/// What the kernel keeps for one cgroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    allow: bool,
    /// In the order of the rules, which is the order of `devices.list`.
    exceptions: Vec<(Key, u8)>,
}

/// One write: to devices.allow or to devices.deny, and what.
pub type Write = (&'static str, String);

impl Policy {
    /// Folds rules, first to last.
    pub fn fold(rules: &[DeviceRule]) -> Result<Policy, String> {
        let mut policy = Policy::default();
        for rule in rules {
            policy.take(rule)?;
        }
        policy.complete();
        Ok(policy)
    }

    fn take(&mut self, rule: &DeviceRule) -> Result<(), String> {
        let access = access_of(rule);
        let everything = rule.kind == DeviceKind::All && rule.major.is_none() && rule.minor.is_none();
        if everything && access == ALL {
            *self = Policy { allow: rule.allow, exceptions: Vec::new() };
            return Ok(());
        }
        let kinds: &[char] = match rule.kind {
            DeviceKind::All => &['b', 'c'],
            DeviceKind::Block => &['b'],
            DeviceKind::Char => &['c'],
        };
        for kind in kinds {
            let key = (*kind, rule.major, rule.minor);
            if rule.allow == self.allow {
                self.take_back(key, access)?;
            } else {
                *self.bits_of(key) |= access;
            }
        }
        Ok(())
    }

    /// The bits of an exception, a new one at the end.
    fn bits_of(&mut self, key: Key) -> &mut u8 {
        let position = self.exceptions.iter().position(|(known, _)| *known == key);
        let index = position.unwrap_or_else(|| {
            self.exceptions.push((key, 0));
            self.exceptions.len() - 1
        });
        &mut self.exceptions[index].1
    }

    fn known(&self, key: Key) -> u8 {
        self.exceptions.iter().find(|(known, _)| *known == key).map_or(0, |(_, bits)| *bits)
    }

    /// Returns what a key covers to the default.
    fn take_back(&mut self, key: Key, access: u8) -> Result<(), String> {
        for (known, bits) in &mut self.exceptions {
            if covers(key, *known) {
                *bits &= !access;
            } else if overlaps(key, *known) && *bits & access != 0 {
                let (word, other) = if self.allow { ("allowed", "denied") } else { ("denied", "allowed") };
                return Err(format!(
                    "`{}` cannot be {word} on cgroup v1 while `{}` is {other}: list the single devices",
                    line(key, access),
                    line(*known, *bits)
                ));
            }
        }
        self.exceptions.retain(|(_, bits)| *bits != 0);
        Ok(())
    }

    /// The kernel lets an open for reading and writing pass only if a single exception has both, so a narrow
    /// exception gets what wider ones give.
    fn complete(&mut self) {
        let wide = self.exceptions.clone();
        for (key, bits) in &mut self.exceptions {
            for (other, more) in &wide {
                if covers(*other, *key) {
                    *bits |= more & (READ | WRITE);
                }
            }
        }
    }

    /// Reads devices.list; exceptions of a default that allows are not in it.
    pub fn parse(list: &str) -> Policy {
        let mut policy = Policy::default();
        for text in list.lines() {
            let mut words = text.split([' ', ':']);
            let (kind, major, minor, access) = (words.next(), words.next(), words.next(), words.next());
            let number = |n: Option<&str>| n.and_then(|n| n.parse::<u32>().ok());
            match kind {
                Some("a") => policy.allow = true,
                Some(kind @ ("b" | "c")) => {
                    let key = (if kind == "b" { 'b' } else { 'c' }, number(major), number(minor));
                    *policy.bits_of(key) |= bits(access.unwrap_or_default());
                }
                _ => {}
            }
        }
        policy
    }

    /// The writes that make `self` into `target`; between two lists of allowed devices nothing is
    /// denied on the way that both allow.
    pub fn writes_to(&self, target: &Policy) -> Vec<Write> {
        if self.allow || target.allow {
            let (reset, exception) = if target.allow { (ALLOW, DENY) } else { (DENY, ALLOW) };
            let mut writes = vec![(reset, "a".to_string())];
            writes.extend(target.exceptions.iter().map(|(key, bits)| (exception, line(*key, *bits))));
            return writes;
        }
        let missing = |from: &Policy, to: &Policy, file: &'static str| -> Vec<Write> {
            let difference = |(key, bits): &(Key, u8)| {
                let bits = bits & !from.known(*key);
                (bits != 0).then(|| (file, line(*key, bits)))
            };
            to.exceptions.iter().filter_map(difference).collect()
        };
        let mut writes = missing(self, target, ALLOW);
        writes.extend(missing(target, self, DENY));
        writes
    }
}

const ALLOW: &str = "devices.allow";
const DENY: &str = "devices.deny";

fn access_of(rule: &DeviceRule) -> u8 {
    (if rule.read { READ } else { 0 })
        | (if rule.write { WRITE } else { 0 })
        | (if rule.mknod { MKNOD } else { 0 })
}

fn bits(access: &str) -> u8 {
    access.chars().fold(0, |bits, c| {
        bits | match c {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            _ => 0,
        }
    })
}

/// Whether all devices of `narrow` are among those of `wide`.
fn covers(wide: Key, narrow: Key) -> bool {
    let part = |wide: Option<u32>, narrow: Option<u32>| wide.is_none() || wide == narrow;
    wide.0 == narrow.0 && part(wide.1, narrow.1) && part(wide.2, narrow.2)
}

/// Whether two keys have devices in common.
fn overlaps(a: Key, b: Key) -> bool {
    let part = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
    a.0 == b.0 && part(a.1, b.1) && part(a.2, b.2)
}

/// `c 1:* rw`
fn line(key: Key, access: u8) -> String {
    let number = |n: Option<u32>| n.map_or("*".to_string(), |n| n.to_string());
    let letter = |bit: u8, letter: &'static str| if access & bit != 0 { letter } else { "" };
    let access = [letter(READ, "r"), letter(WRITE, "w"), letter(MKNOD, "m")].concat();
    format!("{} {}:{} {access}", key.0, number(key.1), number(key.2))
}

/// The reader of devices.list, with the writes that lead from one list to another.
#[cfg(fuzzing)]
pub fn fuzz(text: &str) {
    let (from, to) = text.split_once("\n\n").unwrap_or((text, ""));
    let (from, to) = (Policy::parse(from), Policy::parse(to));
    for (file, line) in from.writes_to(&to) {
        assert!([ALLOW, DENY].contains(&file) && !line.contains('\n'), "{file}: {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> DeviceRule {
        let words: Vec<&str> = text.split([' ', ':']).collect();
        let kind = [("a", DeviceKind::All), ("b", DeviceKind::Block), ("c", DeviceKind::Char)];
        DeviceRule {
            allow: words[0] == "allow",
            kind: kind.iter().find(|(k, _)| *k == words[1]).unwrap().1,
            major: words[2].parse().ok(),
            minor: words[3].parse().ok(),
            read: words[4].contains('r'),
            write: words[4].contains('w'),
            mknod: words[4].contains('m'),
        }
    }

    fn fold(rules: &[&str]) -> Result<Policy, String> {
        Policy::fold(&rules.iter().map(|r| rule(r)).collect::<Vec<_>>())
    }

    fn writes(list: &str, rules: &[&str]) -> Vec<String> {
        let target = fold(rules).unwrap();
        Policy::parse(list).writes_to(&target).into_iter().map(|(f, v)| format!("{f} {v}")).collect()
    }

    #[test]
    fn cgroup_device_lists_become_few_writes() {
        let rules = ["deny a *:* rwm", "allow c *:* m", "allow c 1:3 rw", "allow c 1:3 m"];
        let want = ["devices.deny a", "devices.allow c *:* m", "devices.allow c 1:3 rwm"];
        assert_eq!(writes("a *:* rwm\n", &rules), want);
        let change = ["allow c 1:3 rwm", "allow c 1:5 r"];
        assert_eq!(
            writes("c 1:3 rwm\nc 5:* rw\n", &change),
            ["devices.allow c 1:5 r", "devices.deny c 5:* rw"]
        );
        assert!(writes("c 1:3 rwm\nc 1:5 r\n", &change).is_empty());
    }

    #[test]
    fn cgroup_later_device_rules_win() {
        assert_eq!(fold(&["allow c 1:3 rwm", "deny c *:* w"]).unwrap(), fold(&["allow c 1:3 rm"]).unwrap());
        assert_eq!(fold(&["allow c 1:3 rwm", "deny a *:* rwm"]).unwrap(), Policy::default());
        assert_eq!(fold(&["allow a *:* rw"]).unwrap(), fold(&["allow b *:* rw", "allow c *:* rw"]).unwrap());
        let most = ["allow a *:* rwm", "deny b 8:* rwm", "allow b 8:0 r"];
        assert!(fold(&most).unwrap_err().contains("`b 8:0 r` cannot be allowed"));
        assert_eq!(writes("a *:* rwm", &most[..2]), ["devices.allow a", "devices.deny b 8:* rwm"]);
    }

    #[test]
    fn cgroup_hole_in_an_allowed_range_is_refused() {
        let error = fold(&["allow c *:* rwm", "deny c 1:3 w"]).unwrap_err();
        assert!(error.contains("`c 1:3 w` cannot be denied on cgroup v1"), "{error}");
    }
}
