//! Settings: values on their way into control files. `limits_v1.rs` and `limits_v2.rs` turn the
//! resources of config.json into settings; here they are written, in an order that the kernel
//! accepts, and the old values are read for an update that may have to be undone.

use super::node::Node;
use crate::error::{anyhow, text};
use anyhow::Result;
use rustix::io::Errno;

/// One value for one control file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Where it comes from, as a JSON path.
    pub json: String,
    /// The control files that can take it, the best first, and the value for each.
    pub choices: Vec<(String, String)>,
    /// It may be left out where the kernel has none of the files.
    pub optional: bool,
    /// The line of the file it changes (`8:0`, an RDMA device, an interface), where the file has
    /// one line for each.
    pub key: Option<String>,
}

impl Setting {
    /// A setting of a whole file.
    pub fn new(json: &str, file: &str, value: impl ToString) -> Setting {
        let choices = vec![(file.to_string(), value.to_string())];
        Setting { json: format!("linux.resources.{json}"), choices, optional: false, key: None }
    }

    /// The controller of the control file: what is before the first dot.
    pub fn controller(&self) -> &str {
        self.choices.first().map_or("", |(file, _)| file.split('.').next().unwrap_or(file))
    }

    fn choose<'a>(&'a self, node: &Node) -> Option<&'a (String, String)> {
        match self.choices.as_slice() {
            [only] if !self.optional => Some(only),
            several => several.iter().find(|(file, _)| node.has(file)),
        }
    }

    fn write(&self, node: &Node) -> Result<(), Errno> {
        match self.choose(node) {
            Some((file, value)) => node.try_write(file, value),
            None if self.optional => Ok(()),
            None => Err(Errno::NOENT),
        }
    }

    fn explain(&self, node: &Node, errno: Errno) -> anyhow::Error {
        let (file, value) = self.choose(node).or(self.choices.first()).cloned().unwrap_or_default();
        let path = node.place.directory().join(&file);
        let why = match errno {
            Errno::NOENT => ": the kernel has no such control file here".to_string(),
            Errno::BUSY if self.controller() == "memory" => usage(node),
            Errno::NOSPC if self.controller() == "cpuset" => {
                ": a cpuset with processes needs CPUs and memory nodes".to_string()
            }
            Errno::ACCESS | Errno::INVAL if self.controller() == "cpuset" => {
                ": the CPUs or memory nodes are not all among those of the parent cgroup".to_string()
            }
            Errno::INVAL | Errno::RANGE => ": the kernel refuses the value".to_string(),
            _ => String::new(),
        };
        anyhow!("{}: write `{}` to `{}`: {}{why}", self.json, value.trim_end(), path.display(), text(errno))
    }
}

fn usage(node: &Node) -> String {
    let file = if node.place.is_v2() { "memory.current" } else { "memory.usage_in_bytes" };
    let usage = node.read_if_any(file).unwrap_or_default();
    format!(": {} bytes are in use and cannot be reclaimed", usage.trim())
}

/// An old value of a control file: what to write to have it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Old {
    /// The control file.
    pub file: String,
    /// What to write.
    pub value: String,
}

/// Writes settings. Some files check their value against another one (memory and memory+swap,
/// quota and period), so those refused are tried again as long as others got through.
pub fn write_all<'a>(settings: &[Setting], node_of: impl Fn(&Setting) -> Result<&'a Node>) -> Result<()> {
    let mut pending: Vec<&Setting> = settings.iter().collect();
    while !pending.is_empty() {
        let mut refused = Vec::new();
        let mut first = None;
        for setting in &pending {
            let node = match node_of(setting) {
                Ok(node) => node,
                Err(_) if setting.optional => continue,
                Err(error) => return Err(error),
            };
            match setting.write(node) {
                Ok(()) => {}
                Err(errno @ (Errno::INVAL | Errno::BUSY)) => {
                    first.get_or_insert_with(|| setting.explain(node, errno));
                    refused.push(*setting);
                }
                Err(errno) => return Err(setting.explain(node, errno)),
            }
        }
        if let Some(error) = first
            && refused.len() == pending.len()
        {
            return Err(error);
        }
        pending = refused;
    }
    Ok(())
}

/// What the files of settings hold now, to be written back by `restore`.
pub fn snapshot<'a>(settings: &[Setting], node_of: impl Fn(&Setting) -> Result<&'a Node>) -> Vec<Old> {
    let mut olds: Vec<Old> = Vec::new();
    for setting in settings {
        let Ok(node) = node_of(setting) else { continue };
        let Some((file, _)) = setting.choose(node) else { continue };
        let Some(text) = node.read_if_any(file) else { continue };
        let value = match &setting.key {
            Some(key) => old_line(file, key, &text),
            None if file == "memory.oom_control" => {
                super::node::field(&text, "oom_kill_disable").unwrap_or("0").to_string()
            }
            // A table of lines that `unified` writes one by one.
            None if text.trim_end().contains('\n') => text.lines().map(|line| format!("{line}\n")).collect(),
            None => text.trim_end().to_string(),
        };
        let old = Old { file: file.clone(), value };
        if !olds.contains(&old) {
            olds.push(old);
        }
    }
    olds
}

/// The line of a keyed file, or the one that means no limit.
fn old_line(file: &str, key: &str, text: &str) -> String {
    let known = text.lines().find(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(' ')));
    if let Some(line) = known {
        return line.to_string();
    }
    match file {
        "io.max" => format!("{key} rbps=max wbps=max riops=max wiops=max"),
        "io.weight" => format!("{key} default"),
        "misc.max" => format!("{key} max"),
        "io.latency" => format!("{key} target=0"),
        "rdma.max" => format!("{key} hca_handle=max hca_object=max"),
        _ => format!("{key} 0"),
    }
}

/// The reader of keyed files.
#[cfg(fuzzing)]
pub fn fuzz(text: &str) {
    let (key, text) = text.split_once('\n').unwrap_or(("8:0", text));
    for file in ["io.max", "io.weight", "misc.max", "io.latency", "rdma.max", "hugetlb.2MB.max"] {
        assert!(old_line(file, key, text).starts_with(key));
    }
}

/// Settings that bring old values back.
pub fn restoring(olds: &[Old]) -> Vec<Setting> {
    olds.iter()
        .flat_map(|old| {
            let lines: Vec<&str> = if old.value.is_empty() { vec![""] } else { old.value.lines().collect() };
            lines.into_iter().map(|line| Setting::new("(old value)", &old.file, line)).collect::<Vec<_>>()
        })
        .collect()
}

/// The value that a limit of config.json has in a file where -1 is written `max`.
pub fn max_or(value: i64) -> String {
    if value == -1 { "max".to_string() } else { value.to_string() }
}
