//! What the host looks like from outside the containers: mounts, control groups and processes
//! that belong to one test, and features that some hosts lack.

use std::fs;
use std::path::{Path, PathBuf};

const CGROUPS: &str = "/sys/fs/cgroup";

/// Lines of the mount table that mention any of the words.
pub fn mounts_with(words: &[&str]) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|line| words.iter().any(|w| line.contains(w))).map(str::to_string).collect()
}

/// Control groups, in all hierarchies, with the word in their name; parents before children.
pub fn cgroups_with(word: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(Path::new(CGROUPS), 0, &mut |path| {
        if path.file_name().is_some_and(|n| n.to_string_lossy().contains(word)) {
            found.push(path.to_path_buf());
        }
    });
    found
}

/// All control groups.
pub fn cgroups() -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(Path::new(CGROUPS), 0, &mut |path| found.push(path.to_path_buf()));
    found.sort();
    found
}

fn walk(directory: &Path, depth: usize, see: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if depth < 8 && entry.file_type().is_ok_and(|t| t.is_dir()) {
            see(&entry.path());
            walk(&entry.path(), depth + 1, see);
        }
    }
}

/// Live processes whose command line, environment or control group mentions the word.
pub fn processes_with(word: &str) -> Vec<(i32, String)> {
    processes_with_any(&[word])
}

/// Those that mention one of the words. Zombies are left out: only their parent can remove them.
pub fn processes_with_any(words: &[&str]) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        if pid != std::process::id() as i32
            && belongs(pid, words)
            && process_state(pid).is_some_and(|s| s != 'Z')
        {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            found.push((pid, format!("{line}({} {:?})", process_status(pid, "Name"), process_state(pid))));
        }
    }
    found
}

fn belongs(pid: i32, words: &[&str]) -> bool {
    ["cmdline", "environ", "cgroup"].iter().any(|file| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        words.iter().any(|word| text.contains(word))
    })
}

/// The letter of /proc/PID/stat; none when the process is gone.
pub fn process_state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The value of a field in /proc/PID/status.
pub fn process_status(pid: i32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or("").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether this process has a capability (capability.h numbers).
pub fn has_capability(number: u32) -> bool {
    let effective = process_status(std::process::id() as i32, "CapEff");
    u64::from_str_radix(&effective, 16).unwrap() & (1 << number) != 0
}

/// Whether cgroup v2 alone is mounted.
pub fn is_cgroup_v2() -> bool {
    Path::new(CGROUPS).join("cgroup.controllers").exists()
}

/// The directory of a container's control group for a v1 controller, or in the v2 tree.
pub fn cgroup_of(pid: i32, controller: &str) -> Option<PathBuf> {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    if is_cgroup_v2() {
        let path = table.lines().find_map(|l| l.strip_prefix("0::"))?;
        return Some(Path::new(CGROUPS).join(path.trim_start_matches('/')));
    }
    table.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (parts.next()?, parts.next()?);
        let first = names.split(',').find(|name| *name == controller)?;
        Some(Path::new(CGROUPS).join(first).join(path.trim_start_matches('/')))
    })
}

/// Whether a controller can be used.
pub fn has_controller(name: &str) -> bool {
    if is_cgroup_v2() {
        let list = fs::read_to_string(format!("{CGROUPS}/cgroup.controllers")).unwrap_or_default();
        return list.split_whitespace().any(|c| c == name);
    }
    Path::new(CGROUPS).join(name).is_dir()
}

/// Whether cgroups of a controller have a control file; looked for in one made for it.
pub fn has_cgroup_file(controller: &str, file: &str, name: &str) -> bool {
    let root = Path::new(CGROUPS);
    let hierarchy = if is_cgroup_v2() { root.to_path_buf() } else { root.join(controller) };
    if is_cgroup_v2() {
        // As the runtime does for a limit; an error shows by the file that is not there.
        let _ = fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    let directory = hierarchy.join(format!("{name}probe"));
    if fs::create_dir(&directory).is_err() {
        return false;
    }
    let there = directory.join(file).exists();
    fs::remove_dir(&directory).unwrap();
    there
}

/// Whether the kernel is at least of this version.
pub fn is_linux(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-', '+']).map(|word| word.trim().parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

/// Whether systemd manages this host (sd_booted(3)).
pub fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// How many mounts a process has on a path of its own.
pub fn mounts_of(pid: i32, path: &str) -> usize {
    let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    table.lines().filter(|line| line.split(' ').nth(4) == Some(path)).count()
}
