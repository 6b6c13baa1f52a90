//! `linux.intelRdt`: the resctrl group (a class of service of the CPU's caches and memory bandwidth)
//! that the container's process is put into, and a monitoring group. Found before anything is made,
//! made by `create`, entered between the clone and Begin, removed by `delete`. Without the property
//! resctrl is never touched.

use crate::bundle::spec::IntelRdt;
use crate::cgroup::rdt_stats;
use crate::error::{Context, Doing, bail, reworded, shown};
use crate::hostfs;
use anyhow::Result;
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Where a container is in resctrl, and what of it is its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Directory of the class of service.
    pub group: PathBuf,
    /// Whether that directory is removed with the container: only when no `closID` names it.
    pub own_group: bool,
    /// Directory of the monitoring group, removed with the container.
    pub monitor: Option<PathBuf>,
    /// What this process has made, for an undo.
    #[serde(skip)]
    made: Vec<PathBuf>,
}

/// Makes a place where there is one to make.
pub fn make(place: Option<&mut Place>, rdt: Option<&IntelRdt>) -> Result<()> {
    match (place, rdt) {
        (Some(place), Some(rdt)) => place.make(rdt),
        _ => Ok(()),
    }
}

impl Place {
    /// The place of a container; none without the property. Fails where resctrl is not mounted.
    pub fn find(rdt: Option<&IntelRdt>, id: &str) -> Result<Option<Place>> {
        let Some(rdt) = rdt else { return Ok(None) };
        let mounts = hostfs::read_to_string("/proc/self/mountinfo").doing(|| "read the mount table")?;
        let root = mount_point(&mounts).context(
            "linux.intelRdt: no resctrl filesystem is mounted: mount one (`mount -t resctrl resctrl \
             /sys/fs/resctrl`, on a CPU with this feature), or leave the property out",
        )?;
        Ok(Some(Place::below(&root, rdt, id)))
    }

    fn below(root: &Path, rdt: &IntelRdt, id: &str) -> Place {
        let group = match rdt.clos_id.as_str() {
            "" => root.join(id),
            "/" => root.to_path_buf(),
            name => root.join(name),
        };
        let monitor = rdt.enable_monitoring.then(|| group.join("mon_groups").join(id));
        Place { group, own_group: rdt.clos_id.is_empty(), monitor, made: Vec::new() }
    }

    /// Makes what is missing and sets the schemata. After a failure nothing is left.
    fn make(&mut self, rdt: &IntelRdt) -> Result<()> {
        let result = self.try_make(rdt).context("linux.intelRdt");
        if result.is_err() {
            self.undo();
        }
        result
    }

    fn try_make(&mut self, rdt: &IntelRdt) -> Result<()> {
        let exists = hostfs::is_directory(&self.group);
        let shown = self.group.display().to_string();
        match (exists, self.own_group) {
            (true, true) => bail!("the group `{shown}` exists already and is not this container's"),
            (true, false) => self.compare(rdt)?,
            (false, false) if lines(rdt).is_empty() => {
                bail!("closID `{}` has no group: make `{shown}`, or give a schema", rdt.clos_id)
            }
            (false, _) => self.make_directory(self.group.clone())?,
        }
        let to_write = if exists { rdt.schemata.clone() } else { lines(rdt) };
        for line in to_write {
            self.write("schemata", &line)
                .with_context(|| format!("set `{line}` in the schemata of `{shown}`"))?;
        }
        match self.monitor.clone() {
            Some(monitor) => self.make_directory(monitor).context("enableMonitoring"),
            None => Ok(()),
        }
    }

    fn make_directory(&mut self, path: PathBuf) -> Result<()> {
        hostfs::make_directory(&path, Mode::from_raw_mode(0o755))
            .doing(|| format!("make the group `{}`", path.display()))
            .map_err(|error| self.explain(error))?;
        self.made.push(path);
        Ok(())
    }

    /// The schemas of a group that others have made must be what the configuration expects.
    fn compare(&self, rdt: &IntelRdt) -> Result<()> {
        let expected = [&rdt.l3_cache_schema, &rdt.mem_bw_schema];
        if expected.iter().all(|line| line.is_empty()) {
            return Ok(());
        }
        let path = self.group.join("schemata");
        let actual = hostfs::read_to_string(&path).doing(|| format!("read `{}`", path.display()))?;
        match expected.iter().find(|line| !line.is_empty() && !holds(&actual, line)) {
            None => Ok(()),
            Some(line) => bail!(
                "closID `{}` exists with other schemata than `{line}`: {}",
                rdt.clos_id,
                actual.split_whitespace().collect::<Vec<_>>().join(" ")
            ),
        }
    }

    /// Puts a process into the group and its monitoring group; its children inherit them.
    pub fn join(&self, pid: i32) -> Result<()> {
        for directory in [Some(&self.group), self.monitor.as_ref()].into_iter().flatten() {
            write_to(&directory.join("tasks"), &pid.to_string())
                .doing(|| format!("linux.intelRdt: enter the group `{}`", directory.display()))?;
        }
        Ok(())
    }

    /// Sets other schemata, all lines or none.
    pub fn update(&self, lines: &[&str]) -> Result<()> {
        let path = self.group.join("schemata");
        let before = hostfs::read_to_string(&path).doing(|| format!("read `{}`", path.display()))?;
        for line in lines {
            if let Err(error) = self.write("schemata", line) {
                // What was in force is taken again, and the first error is the one to tell.
                let _ = before.lines().map(str::trim).try_for_each(|line| self.write("schemata", line));
                return Err(error).context(format!("set `{line}` in `{}`", path.display()));
            }
        }
        Ok(())
    }

    /// What resctrl says about the container's group.
    pub fn stats(&self) -> rdt_stats::IntelRdt {
        // The root has `info`; the group is the root or directly below it.
        let root = self.group.ancestors().find(|above| hostfs::is_directory(&above.join("info")));
        rdt_stats::of(root.unwrap_or(&self.group), &self.group, self.monitor.as_deref())
    }

    /// Removes what this process has made; what cannot be removed is told.
    pub fn undo(&mut self) {
        while let Some(path) = self.made.pop() {
            if let Err(error) = remove_directory(&path) {
                crate::warn!("{}", shown(&error));
            }
        }
    }

    /// Removes what belongs to the container, when it is deleted.
    pub fn remove(&self) -> Result<()> {
        if let Some(monitor) = &self.monitor {
            remove_directory(monitor)?;
        }
        if self.own_group { remove_directory(&self.group) } else { Ok(()) }
    }

    fn write(&self, file: &str, line: &str) -> Result<()> {
        write_to(&self.group.join(file), &format!("{line}\n"))
            .doing(|| format!("write to {file}"))
            .map_err(|error| self.explain(error))
    }

    /// Adds the reason that resctrl itself gives for what it refused last.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let above = self.group.ancestors().take(3);
        let said = above.filter_map(|d| hostfs::read_to_string(d.join("info/last_cmd_status")).ok()).next();
        match said.as_deref().map(str::trim) {
            None | Some("" | "ok") => error,
            Some(text) => reworded(&error, |why| format!("{why} ({text})")),
        }
    }
}

fn write_to(path: &Path, text: &str) -> io::Result<()> {
    // One write(2): each is one command.
    hostfs::write(path, text)
}

fn remove_directory(path: &Path) -> Result<()> {
    match hostfs::remove_directory(path) {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        other => other.doing(|| format!("remove the resctrl group `{}`", path.display())),
    }
}

/// What is written to `schemata`, in this order.
fn lines(rdt: &IntelRdt) -> Vec<String> {
    let first = [&rdt.l3_cache_schema, &rdt.mem_bw_schema].into_iter();
    first.chain(&rdt.schemata).filter(|line| !line.is_empty()).cloned().collect()
}

/// The first mount of resctrl in the text of mountinfo.
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        filesystem.starts_with("resctrl ").then(|| PathBuf::from(point.replace("\\040", " ")))
    })
}

/// Whether `actual` (the text of a schemata file) says at least what `expected` says: the same
/// masks or percentages for each cache or node that `expected` names. Leading zeroes don't count.
fn holds(actual: &str, expected: &str) -> bool {
    let Some((resource, wanted)) = parse(expected) else { return false };
    let Some((_, found)) = actual.lines().filter_map(parse).find(|(name, _)| *name == resource) else {
        return false;
    };
    wanted.iter().all(|pair| found.contains(pair))
}

/// `L3:0=ff;1=0f` as the resource and its pairs.
fn parse(line: &str) -> Option<(&str, Vec<(String, String)>)> {
    let (resource, rest) = line.trim().split_once(':')?;
    let plain = |text: &str| {
        let trimmed = text.trim().trim_start_matches('0').to_ascii_lowercase();
        if trimmed.is_empty() { "0".to_string() } else { trimmed }
    };
    let pair = |text: &str| text.split_once('=').map(|(id, value)| (plain(id), plain(value)));
    let pairs: Option<Vec<_>> = rest.split(';').filter(|t| !t.trim().is_empty()).map(pair).collect();
    Some((resource.trim(), pairs?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rdt(clos_id: &str, monitoring: bool) -> IntelRdt {
        IntelRdt { clos_id: clos_id.into(), enable_monitoring: monitoring, ..IntelRdt::default() }
    }

    #[test]
    fn mount_is_found_by_its_type() {
        let text = "23 1 0:22 / /sys rw shared:7 - sysfs sysfs rw\n\
            40 23 0:39 / /sys/fs/re\\040sctrl rw,nosuid shared:9 - resctrl resctrl rw,cdp\n";
        assert_eq!(mount_point(text), Some("/sys/fs/re sctrl".into()));
        assert_eq!(mount_point("23 1 0:22 / /resctrl rw - sysfs resctrl rw\n"), None);
    }

    #[test]
    fn groups_have_their_names_and_owners() {
        let root = Path::new("/r");
        let own = Place::below(root, &rdt("", true), "box");
        assert_eq!((own.group, own.own_group), ("/r/box".into(), true));
        assert_eq!(own.monitor, Some("/r/box/mon_groups/box".into()));
        let given = Place::below(root, &rdt("gold", true), "box");
        assert_eq!((given.group, given.own_group), ("/r/gold".into(), false));
        assert_eq!(given.monitor, Some("/r/gold/mon_groups/box".into()));
        let default = Place::below(root, &rdt("/", false), "box");
        assert_eq!((default.group, default.own_group, default.monitor), ("/r".into(), false, None));
    }

    #[test]
    fn schemata_are_written_in_their_order() {
        let all = IntelRdt {
            l3_cache_schema: "L3:0=f".into(),
            mem_bw_schema: "MB:0=20".into(),
            schemata: vec!["L2:0=1".into(), "L3:1=3".into()],
            ..IntelRdt::default()
        };
        assert_eq!(lines(&all), ["L3:0=f", "MB:0=20", "L2:0=1", "L3:1=3"]);
        assert!(lines(&rdt("x", true)).is_empty());
    }

    #[test]
    fn schemata_are_updated_line_by_line() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::below(root.path(), &rdt("gold", false), "box");
        let error = format!("{:#}", place.update(&["L3:0=f"]).unwrap_err());
        assert!(error.starts_with("read `") && error.contains("/gold/schemata`"), "{error}");
        std::fs::create_dir(&place.group).unwrap();
        let file = place.group.join("schemata");
        std::fs::write(&file, "L3:0=ff\n").unwrap();
        place.update(&["L3:0=0f"]).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "L3:0=0f\n");
        // Each line is one write at the start of the file, as resctrl wants it.
        place.update(&["L3:0=f0", "MB:0=20"]).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "MB:0=20\n");
    }

    /// What is said of a place below `root` that cannot be made, `root` left out.
    fn refusal(root: &Path, rdt: &IntelRdt) -> String {
        let error = Place::below(root, rdt, "box").make(rdt).unwrap_err();
        format!("{error:#}").replace(&root.display().to_string(), "ROOT")
    }

    #[test]
    fn places_that_cannot_be_made() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let schema = |name: &str| IntelRdt { l3_cache_schema: "L3:0=f".into(), ..rdt(name, false) };
        assert_eq!(
            refusal(root, &rdt("gold", false)),
            "linux.intelRdt: closID `gold` has no group: make `ROOT/gold`, or give a schema"
        );
        assert_eq!(
            refusal(root, &schema("a/b")),
            "linux.intelRdt: make the group `ROOT/a/b`: no such file or directory"
        );
        // A directory of another filesystem has no `schemata`; what resctrl says is added.
        std::fs::create_dir(root.join("info")).unwrap();
        std::fs::write(root.join("info/last_cmd_status"), "no luck today\n").unwrap();
        assert_eq!(
            refusal(root, &schema("gold")),
            "linux.intelRdt: set `L3:0=f` in the schemata of `ROOT/gold`: write to schemata: no such file or directory \
             (no luck today)"
        );
        assert!(!root.join("gold").exists(), "what was made is removed");
        std::fs::create_dir(root.join("box")).unwrap();
        assert_eq!(
            refusal(root, &rdt("", false)),
            "linux.intelRdt: the group `ROOT/box` exists already and is not this container's"
        );
        assert_eq!(
            refusal(root, &rdt("box", true)),
            "linux.intelRdt: enableMonitoring: make the group `ROOT/box/mon_groups/box`: no such file or directory \
             (no luck today)"
        );
        assert_eq!(
            refusal(root, &schema("box")),
            "linux.intelRdt: read `ROOT/box/schemata`: no such file or directory"
        );
        std::fs::write(root.join("box/schemata"), "    L3:0=ff\n").unwrap();
        assert_eq!(
            refusal(root, &schema("box")),
            "linux.intelRdt: closID `box` exists with other schemata than `L3:0=f`: L3:0=ff"
        );
    }

    #[test]
    fn places_that_cannot_be_used() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let said = |error: anyhow::Error| format!("{error:#}").replace(&root.display().to_string(), "ROOT");
        let place = Place::below(root, &rdt("", false), "box");
        std::fs::create_dir_all(root.join("box/more")).unwrap();
        assert_eq!(
            said(place.join(7).unwrap_err()),
            "linux.intelRdt: enter the group `ROOT/box`: no such file or directory"
        );
        assert_eq!(
            said(place.remove().unwrap_err()),
            "remove the resctrl group `ROOT/box`: directory not empty"
        );
        std::fs::write(root.join("box/schemata"), "L3:0=ff\n").unwrap();
        // No room for the new line, nor for the old one.
        let full = Place { group: "/dev".into(), ..place };
        assert!(said(full.update(&["L3:0=f"]).unwrap_err()).starts_with("read `/dev/schemata`"));
    }

    #[test]
    fn schemata_are_compared_by_their_meaning() {
        let actual = "    MB:0= 70;1=100\n    L3:0=00ff;1=7FFF\n";
        for (expected, holding) in [
            ("L3:0=ff;1=7fff", true),
            ("L3:1=7fff", true),
            ("L3:0=ff;1=7ff", false),
            ("L3:2=ff", false),
            ("MB:0=70", true),
            ("MB:0=7", false),
            ("L2:0=ff", false),
            ("nonsense", false),
        ] {
            assert_eq!(holds(actual, expected), holding, "{expected}");
        }
    }
}
