//! What commands write to stdout: the state of a container, the list of containers, and that of what
//! killed runtimes left. Filled in by `container/`, printed by `main`.

use super::command::Format;
use crate::cgroup::Usage;
use crate::container::gc::{Garbage, Reason};
use crate::container::top::Row;
use crate::decimal;
use crate::error::Context;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};

/// A container as `state` and `list` show it; the order of members is what callers know. It holds
/// all that the specification's state has (spec: runtime.md, State).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateView {
    /// Version of the specification that this state follows.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Its process in the caller's pid namespace; 0 when stopped.
    pub pid: i32,
    /// creating, created, running, paused or stopped.
    pub status: &'static str,
    /// The bundle directory, absolute.
    pub bundle: String,
    /// The root filesystem on the host, absolute.
    pub rootfs: String,
    /// When it was created, as `log::rfc3339` writes it.
    pub created: String,
    /// The annotations of config.json.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Name of the user whom the state belongs to, see `Owners`.
    pub owner: String,
}

/// Writes to stdout, all of it.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("write to stdout")
}

/// The output of `state`.
pub fn state(view: &StateView) -> Result<String> {
    let text = serde_json::to_string_pretty(view)?;
    Ok(text + "\n")
}

/// The output of `list --quiet`.
pub fn ids(ids: &[String]) -> String {
    ids.iter().map(|id| format!("{id}\n")).collect()
}

/// The output of `list`: a table, or one line of JSON, which is `null` without containers.
pub fn list(views: &[StateView], format: Format) -> Result<String> {
    match format {
        Format::Table => Ok(table(views)),
        Format::Json if views.is_empty() => Ok("null\n".to_owned()),
        Format::Json => Ok(serde_json::to_string(views)? + "\n"),
    }
}

/// At least 12 columns per cell, three of them blank behind the longest; the last is as it is.
fn table(views: &[StateView]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    aligned(&std::iter::once(head).chain(views.iter().map(cells)).collect::<Vec<_>>(), 12)
}

/// Columns of at least so many characters.
pub fn aligned<const COLUMNS: usize>(rows: &[[String; COLUMNS]], least: usize) -> String {
    let width = |column: usize| {
        let longest = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        (longest + 3).max(least)
    };
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut out = String::new();
    for row in rows {
        let (padded, last) = row.split_at(COLUMNS - 1);
        for (cell, width) in padded.iter().zip(widths) {
            out.push_str(&format!("{cell:width$}"));
        }
        out.push_str(&last.concat());
        out.push('\n');
    }
    out
}

/// Control characters, which a path may hold, would break a row or drive the terminal.
pub fn cell(text: &str) -> String {
    text.replace(|c: char| c.is_control(), "?")
}

fn cells(view: &StateView) -> [String; 6] {
    [
        cell(&view.id),
        view.pid.to_string(),
        view.status.to_owned(),
        cell(&view.bundle),
        cell(&view.created),
        cell(&view.owner),
    ]
}

/// The output of `gc`: a table, with a last line that says how to remove what it lists, or one line of
/// JSON.
pub fn garbage(found: &[Garbage], format: Format, removed: bool) -> Result<String> {
    if format == Format::Json {
        return Ok(serde_json::to_string(found)? + "\n");
    }
    let head = ["NAME", if removed { "REMOVED BECAUSE" } else { "WHY" }, "WITH"].map(str::to_owned);
    let row = |one: &Garbage| {
        let why = match one.reason {
            Reason::Temporary => "its maker was killed",
            Reason::HalfMade => "its create was killed",
            Reason::EarlierBoot => "of an earlier boot",
            Reason::Unreadable => "unreadable, of an earlier boot",
        };
        let with = if one.also.is_empty() { "-".to_owned() } else { cell(&one.also.join(" ")) };
        [cell(&one.name), why.to_owned(), with]
    };
    let mut out = aligned(&std::iter::once(head).chain(found.iter().map(row)).collect::<Vec<_>>(), 12);
    if !removed && !found.is_empty() {
        out.push_str("Nothing was removed; `oxrun gc --force` does it.\n");
    }
    Ok(out)
}

/// Whether standard output is a terminal.
pub fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Whether text on standard output may have colour: on a terminal, and unless NO_COLOR forbids it.
pub fn has_colour() -> bool {
    is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The table of `events --format table`. `in_place` draws it over the last one on a terminal; otherwise the
/// head is there the `first` time alone.
pub fn usage(rows: &[Row], first: bool, in_place: bool) -> String {
    let head = [
        "ID", "STATUS", "CPU%", "CPU TIME", "MEMORY", "LIMIT", "PIDS", "READ", "WRITTEN", "WAIT CPU",
        "WAIT MEM", "WAIT I/O",
    ];
    let table: Vec<[String; 12]> =
        std::iter::once(head.map(str::to_owned)).chain(rows.iter().map(usage_cells)).collect();
    let text = aligned(&table, 0);
    if !in_place {
        let rows = text.split_once('\n').map_or("", |(_, rows)| rows);
        return if first { text.clone() } else { rows.to_string() };
    }
    // To the top left corner, clearing the whole screen once and later what is behind and below the text.
    let start = if first { "\x1b[H\x1b[2J" } else { "\x1b[H" };
    format!("{start}{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

fn usage_cells(row: &Row) -> [String; 12] {
    let none = || "-".to_string();
    let percent = |tenths: Option<u64>| tenths.map_or_else(none, |tenths| decimal::show(tenths, 1));
    let of = |show: &dyn Fn(&Usage) -> String| row.usage.as_ref().map_or_else(none, show);
    let wait = |i: usize| percent(row.usage.as_ref().and_then(|usage| usage.waits[i]));
    [
        cell(&row.id),
        row.status.to_owned(),
        percent(row.percent),
        of(&|usage| decimal::show(decimal::ratio(usage.cpu, 10_000_000, 1), 2) + "s"),
        of(&|usage| bytes(usage.memory)),
        of(&|usage| usage.limit.map_or_else(none, bytes)),
        of(&|usage| usage.pids.to_string()),
        of(&|usage| bytes(usage.io.0)),
        of(&|usage| bytes(usage.io.1)),
        wait(0),
        wait(1),
        wait(2),
    ]
}

/// `12.3M`, in powers of 1024.
fn bytes(count: u64) -> String {
    let (mut one, mut unit) = (1u64, "");
    for next in ["K", "M", "G", "T", "P"] {
        if count / one < 1024 {
            break;
        }
        (one, unit) = (one << 10, next);
    }
    if unit.is_empty() { count.to_string() } else { decimal::show(decimal::ratio(count, one, 10), 1) + unit }
}

/// Names of users by the host's /etc/passwd, each looked for once.
#[derive(Debug, Default)]
pub struct Owners(Vec<(u32, String)>);

impl Owners {
    /// The name, or `#UID`.
    pub fn name(&mut self, uid: u32) -> String {
        if let Some((_, name)) = self.0.iter().find(|(known, _)| *known == uid) {
            return name.clone();
        }
        // Bytes, as a passwd file need not be UTF-8; without one, all users are numbers.
        let passwd = crate::hostfs::read("/etc/passwd").unwrap_or_default();
        let name = owner_in(uid, &String::from_utf8_lossy(&passwd));
        self.0.push((uid, name.clone()));
        name
    }
}

fn owner_in(uid: u32, passwd: &str) -> String {
    let named = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    };
    passwd.lines().find_map(named).unwrap_or_else(|| format!("#{uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(id: &str, bundle: &str) -> StateView {
        StateView {
            oci_version: "1.3.0".into(),
            id: id.into(),
            pid: 8134,
            status: "running",
            bundle: bundle.into(),
            rootfs: format!("{bundle}/rootfs"),
            created: "2026-11-23T21:12:57.656551227Z".into(),
            owner: "root".into(),
            ..StateView::default()
        }
    }

    #[test]
    fn table_is_aligned() {
        let out = list(&[view("a-longer-name", "/b"), view("web", "/tmp/clib")], Format::Table).unwrap();
        let expected = "\
ID              PID         STATUS      BUNDLE      CREATED                          OWNER
a-longer-name   8134        running     /b          2026-11-23T21:12:57.656551227Z   root
web             8134        running     /tmp/clib   2026-11-23T21:12:57.656551227Z   root
";
        assert_eq!(out, expected);
        let empty = list(&[], Format::Table).unwrap();
        assert_eq!(empty, "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
        let odd = list(&[view("a", "/x\n\x1b[2J")], Format::Table).unwrap();
        assert_eq!(odd.lines().count(), 2);
        assert!(odd.contains("/x??[2J "));
    }

    #[test]
    fn json_and_quiet() {
        let mut one = view("web", "/b");
        one.annotations.insert("k".into(), "v<".into());
        let out = list(&[view("a", "/a"), one], Format::Json).unwrap();
        assert_eq!(out.lines().count(), 1);
        assert!(out.starts_with("[{\"ociVersion\":\"1.3.0\",\"id\":\"a\",\"pid\":8134,\"status\":\"running\",\"bundle\":\"/a\",\"rootfs\":\"/a/rootfs\",\"created\":\"2026-11-23T21:12:57.656551227Z\",\"owner\":\"root\"},{"), "{out}");
        assert!(out.ends_with(",\"annotations\":{\"k\":\"v<\"},\"owner\":\"root\"}]\n"), "{out}");
        assert_eq!(list(&[], Format::Json).unwrap(), "null\n");
        assert_eq!(ids(&["a".into(), "web".into()]), "a\nweb\n");
        assert_eq!(ids(&[]), "");
    }

    #[test]
    fn state_is_pretty() {
        let mut view = view("web", "/b");
        view.annotations.insert("k".into(), "v".into());
        let expected = r#"{
  "ociVersion": "1.3.0",
  "id": "web",
  "pid": 8134,
  "status": "running",
  "bundle": "/b",
  "rootfs": "/b/rootfs",
  "created": "2026-11-23T21:12:57.656551227Z",
  "annotations": {
    "k": "v"
  },
  "owner": "root"
}
"#;
        assert_eq!(state(&view).unwrap(), expected);
    }

    #[test]
    fn garbage_says_why_and_how_to_remove_it() {
        let one = |name: &str, reason, also: &[&str]| Garbage {
            name: name.into(),
            reason,
            path: format!("/run/oxrun/{name}").into(),
            also: also.iter().map(|a| (*a).to_owned()).collect(),
        };
        let found = [
            one(".gone-1-2-3", Reason::Temporary, &[]),
            one("web", Reason::HalfMade, &["/sys/fs/cgroup/web", "unit x.scope"]),
            one("old", Reason::EarlierBoot, &[]),
        ];
        let expected = "\
NAME          WHY                     WITH
.gone-1-2-3   its maker was killed    -
web           its create was killed   /sys/fs/cgroup/web unit x.scope
old           of an earlier boot      -
Nothing was removed; `oxrun gc --force` does it.
";
        assert_eq!(garbage(&found, Format::Table, false).unwrap(), expected);
        assert!(!garbage(&found, Format::Table, true).unwrap().contains("Nothing"));
        let json = r#"[{"name":"old","reason":"earlier-boot","path":"/run/oxrun/old","also":[]}]"#;
        assert_eq!(garbage(&found[2..], Format::Json, false).unwrap(), format!("{json}\n"));
        assert_eq!(garbage(&[], Format::Json, true).unwrap(), "[]\n");
    }

    #[test]
    fn owners() {
        let passwd = "# comment\n\nroot:x:0:0:root:/root:/bin/sh\nbad\n:x:5:5::/:\nann:x:1000:1000::/:\ntwo:x:1000:1::/:\n";
        for (uid, name) in [(0, "root"), (1000, "ann"), (5, "#5"), (7, "#7"), (u32::MAX, "#4294967295")] {
            assert_eq!(owner_in(uid, passwd), name);
        }
        assert_eq!(owner_in(0, ""), "#0");
        assert_eq!(Owners::default().name(0), "root");
    }
}
