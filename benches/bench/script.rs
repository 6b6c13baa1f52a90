//! Scripts for the floor: a config.json turned into the bare system calls that make its container
//! (see floor.rs for the lines). What a runtime would find out on the way, this finds out before.

use serde_json::Value;
use std::fs;
use std::path::Path;

/// One hierarchy of control groups as this host has it.
#[derive(Clone)]
pub struct Hierarchy {
    /// Name of the directory in /sys/fs/cgroup; empty on a host with cgroup2 alone.
    name: String,
    /// What it is mounted with; empty for cgroup2.
    controllers: String,
    /// The caller's own cgroup there, as a directory.
    own: String,
}

/// All hierarchies of the host.
pub fn hierarchies() -> Vec<Hierarchy> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut found = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next(), parts.next(), parts.next());
        let (controllers, path) = (controllers.unwrap_or(""), path.unwrap_or("/").trim_end_matches('/'));
        let names = match controllers {
            "" => vec!["unified".to_string(), String::new()],
            named if named.starts_with("name=") => vec![named["name=".len()..].to_string()],
            other => vec![other.to_string()],
        };
        for name in names {
            let directory = format!("/sys/fs/cgroup/{name}");
            let has = |file: &str| Path::new(&format!("{directory}/{file}")).exists();
            if has("cgroup.procs") {
                let controllers = match controllers.strip_prefix("name=") {
                    Some(_) => format!("none,{controllers}"),
                    None => controllers.to_string(),
                };
                let directory = directory.trim_end_matches('/');
                found.push(Hierarchy { name, controllers, own: format!("{directory}{path}") });
                break;
            }
        }
    }
    found
}

/// Removes control groups of this process's containers that something left: a script that failed
/// ends where it is.
pub fn sweep() {
    let prefix = format!("bench{}-", std::process::id());
    for hierarchy in hierarchies() {
        for entry in fs::read_dir(&hierarchy.own).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                // One with a process in it is still somebody's.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// Writes a script.
#[derive(Default)]
pub struct Script {
    text: Vec<u8>,
}

impl Script {
    /// Adds a line.
    pub fn line(&mut self, fields: &[&str]) -> &mut Script {
        for (index, field) in fields.iter().enumerate() {
            if index > 0 {
                self.text.push(b'\t');
            }
            self.text.extend_from_slice(field.as_bytes());
            self.text.push(0);
        }
        self.text.push(b'\n');
        self
    }

    fn mount(&mut self, source: &str, target: &str, kind: &str, flags: u64, data: &str) {
        self.line(&[
            "mount",
            source,
            target,
            kind,
            &flags.to_string(),
            if data.is_empty() { "-" } else { data },
        ]);
    }

    /// Writes it to a file.
    pub fn save(&self, path: &Path) -> Result<(), String> {
        fs::write(path, &self.text).map_err(|e| format!("write {}: {e}", path.display()))
    }
}

/// What a script is made from.
pub struct Source<'a> {
    /// The container's config.
    pub config: &'a Value,
    /// Its id.
    pub id: &'a str,
    /// Where its pid and its fifo are kept.
    pub state: &'a str,
    /// A finished filter, where there is one.
    pub filter: Option<&'a str>,
}

const DEVICES: [(&str, u64, u64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

impl Source<'_> {
    fn has_namespace(&self, kind: &str) -> bool {
        let list = self.config["linux"]["namespaces"].as_array();
        list.is_some_and(|list| list.iter().any(|n| n["type"] == kind))
    }

    fn cgroups(&self) -> Vec<(Hierarchy, String)> {
        hierarchies().into_iter().map(|h| (h.clone(), format!("{}/{}", h.own, self.id))).collect()
    }

    /// Everything for a container in the foreground: made, run, waited for, removed.
    pub fn run(&self) -> Script {
        let mut s = Script::default();
        self.make_cgroups(&mut s);
        self.clone_init(&mut s);
        self.surround(&mut s);
        self.become_process(&mut s);
        self.execute(&mut s);
        s.line(&["parent"]).line(&["wait"]);
        self.remove_cgroups(&mut s);
        s
    }

    /// Until it waits for the start.
    pub fn create(&self) -> Script {
        let mut s = Script::default();
        s.line(&["mkdir", self.state, "448"]);
        self.make_cgroups(&mut s);
        s.line(&["fifo", &format!("{}/start", self.state)]).line(&["ready"]);
        self.clone_init(&mut s);
        self.surround(&mut s);
        self.become_process(&mut s);
        s.line(&["say-ready"]).line(&["await-start"]);
        self.execute(&mut s);
        s.line(&["parent"]).line(&["await-ready"]);
        s.line(&["save-pid", &format!("{}/pid", self.state)]);
        s
    }

    /// Made and run, and left running.
    pub fn run_detached(&self) -> Script {
        let mut s = Script::default();
        s.line(&["mkdir", self.state, "448"]);
        self.make_cgroups(&mut s);
        s.line(&["fifo", &format!("{}/start", self.state)]).line(&["ready"]);
        self.clone_init(&mut s);
        self.surround(&mut s);
        self.become_process(&mut s);
        self.execute(&mut s);
        s.line(&["parent"]).line(&["await-exec"]);
        s.line(&["save-pid", &format!("{}/pid", self.state)]);
        s
    }

    /// Lets it run.
    pub fn start(&self) -> Script {
        let mut s = Script::default();
        s.line(&["say-start", &format!("{}/start", self.state)]);
        s
    }

    /// Removes what has ended.
    pub fn delete(&self) -> Script {
        let mut s = Script::default();
        self.remove_cgroups(&mut s);
        self.remove_state(&mut s);
        s
    }

    /// Ends and removes what runs.
    pub fn delete_running(&self) -> Script {
        let mut s = Script::default();
        s.line(&["pidfd", &format!("{}/pid", self.state)]).line(&["signal", "9"]).line(&["await-end"]);
        self.remove_cgroups(&mut s);
        self.remove_state(&mut s);
        s
    }

    /// Another process in it.
    pub fn exec(&self, terminal: bool) -> Script {
        let mut s = Script::default();
        s.line(&["pidfd", &format!("{}/pid", self.state)]);
        self.open_files(&mut s);
        let flags: u64 = self.namespace_flags() | if self.has_namespace("cgroup") { CGROUP } else { 0 };
        s.line(&["setns", &flags.to_string()]);
        if terminal {
            s.line(&["open-terminal"]);
        }
        s.line(&["clone", "0"]).line(&["enter"]).line(&["setsid"]);
        if terminal {
            s.line(&["take-terminal"]);
        }
        self.become_process(&mut s);
        self.execute(&mut s);
        s.line(&["parent"]).line(&["wait"]);
        s
    }

    /// Where it is and whether it runs.
    pub fn state(&self) -> Script {
        let mut s = Script::default();
        s.line(&["stat", &format!("{}/pid", self.state)]);
        s
    }

    /// A signal to its first process.
    pub fn kill(&self, signal: i32) -> Script {
        let mut s = Script::default();
        s.line(&["pidfd", &format!("{}/pid", self.state)]).line(&["signal", &signal.to_string()]);
        s
    }

    /// Freezes or thaws it.
    pub fn freeze(&self, frozen: bool) -> Script {
        let mut s = Script::default();
        let cgroups = self.cgroups();
        match cgroups.iter().find(|(h, _)| h.controllers == "freezer") {
            Some((_, path)) => {
                let (file, value) =
                    (format!("{path}/freezer.state"), if frozen { "FROZEN" } else { "THAWED" });
                s.line(&["write", &file, value]).line(&["await-text", &file, value]);
            }
            None => {
                let path = cgroups.first().map_or("", |(_, path)| path);
                s.line(&["write", &format!("{path}/cgroup.freeze"), if frozen { "1" } else { "0" }]);
                let wanted = if frozen { "frozen 1" } else { "frozen 0" };
                s.line(&["await-text", &format!("{path}/cgroup.events"), wanted]);
            }
        }
        s
    }

    /// Changes the limit of processes.
    pub fn update(&self, limit: u32) -> Script {
        let mut s = Script::default();
        let cgroups = self.cgroups();
        let pids = cgroups.iter().find(|(h, _)| h.controllers == "pids").or(cgroups.first());
        let path = pids.map_or("", |(_, path)| path);
        s.line(&["write", &format!("{path}/pids.max"), &limit.to_string()]);
        s
    }

    fn remove_state(&self, s: &mut Script) {
        s.line(&["unlink", &format!("{}/start", self.state)]);
        s.line(&["unlink", &format!("{}/pid", self.state)]).line(&["rmdir", self.state]);
    }

    fn make_cgroups(&self, s: &mut Script) {
        for (hierarchy, path) in self.cgroups() {
            s.line(&["mkdir", &path, "493"]);
            match hierarchy.controllers.as_str() {
                "" if hierarchy.name.is_empty() => self.limits_v2(s, &path),
                "" => {}
                "cpuset" => {
                    for file in ["cpuset.cpus", "cpuset.mems"] {
                        let value =
                            fs::read_to_string(format!("{}/{file}", hierarchy.own)).unwrap_or_default();
                        s.line(&["write", &format!("{path}/{file}"), value.trim()]);
                    }
                }
                "devices" => {
                    s.line(&["write", &format!("{path}/devices.deny"), "a"]);
                    let allowed = ["c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm"];
                    for rule in
                        allowed.into_iter().chain(["c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm"])
                    {
                        s.line(&["write", &format!("{path}/devices.allow"), rule]);
                    }
                }
                controllers => self.limits_v1(s, controllers, &path),
            }
        }
        self.open_files(s);
    }

    fn limits_v1(&self, s: &mut Script, controllers: &str, path: &str) {
        let resources = &self.config["linux"]["resources"];
        let table = [
            ("memory", "memory.limit_in_bytes", &resources["memory"]["limit"]),
            ("memory", "memory.memsw.limit_in_bytes", &resources["memory"]["swap"]),
            ("cpu", "cpu.shares", &resources["cpu"]["shares"]),
            ("cpu", "cpu.cfs_period_us", &resources["cpu"]["period"]),
            ("cpu", "cpu.cfs_quota_us", &resources["cpu"]["quota"]),
            ("pids", "pids.max", &resources["pids"]["limit"]),
        ];
        for (controller, file, value) in table {
            if controllers.split(',').any(|c| c == controller) && !value.is_null() {
                s.line(&["write", &format!("{path}/{file}"), &value.to_string()]);
            }
        }
    }

    fn limits_v2(&self, s: &mut Script, path: &str) {
        let resources = &self.config["linux"]["resources"];
        let table =
            [("memory.max", &resources["memory"]["limit"]), ("pids.max", &resources["pids"]["limit"])];
        for (file, value) in table {
            if !value.is_null() {
                s.line(&["write", &format!("{path}/{file}"), &value.to_string()]);
            }
        }
    }

    fn open_files(&self, s: &mut Script) {
        if let Some(filter) = self.filter {
            s.line(&["load-filter", filter]);
        }
        for (hierarchy, path) in self.cgroups() {
            match hierarchy.controllers.is_empty() {
                true => s.line(&["into", &path]),
                false => s.line(&["tasks", &format!("{path}/tasks")]),
            };
        }
    }

    fn remove_cgroups(&self, s: &mut Script) {
        for (_, path) in self.cgroups() {
            s.line(&["rmdir", &path]);
        }
    }

    /// All that a clone makes: not the cgroup namespace, whose root would be the caller's cgroup.
    fn namespace_flags(&self) -> u64 {
        let table = [
            ("mount", libc::CLONE_NEWNS),
            ("uts", libc::CLONE_NEWUTS),
            ("ipc", libc::CLONE_NEWIPC),
            ("pid", libc::CLONE_NEWPID),
            ("network", libc::CLONE_NEWNET),
        ];
        table.iter().filter(|(kind, _)| self.has_namespace(kind)).map(|(_, flag)| *flag as u64).sum()
    }

    fn clone_init(&self, s: &mut Script) {
        s.line(&["clone", &self.namespace_flags().to_string()]).line(&["enter"]);
        if self.has_namespace("cgroup") {
            s.line(&["unshare", &CGROUP.to_string()]);
        }
        s.line(&["loopback"]).line(&["keyring", &format!("_ses.{}", self.id)]).line(&["umask", "0"]);
        if let Some(name) = self.config["hostname"].as_str() {
            s.line(&["hostname", name]);
        }
    }

    /// Mounts, devices, the new root, and what is hidden in it.
    fn surround(&self, s: &mut Script) {
        let root = self.config["root"]["path"].as_str().unwrap_or("");
        s.mount("-", "/", "-", libc::MS_SLAVE | libc::MS_REC, "");
        s.mount(root, root, "-", libc::MS_BIND | libc::MS_REC, "");
        for mount in self.config["mounts"].as_array().into_iter().flatten() {
            self.mount(s, root, mount);
        }
        for (name, major, minor) in DEVICES {
            let mode = (libc::S_IFCHR | 0o666).to_string();
            s.line(&[
                "mknod",
                &format!("{root}/dev/{name}"),
                &mode,
                &libc::makedev(major as u32, minor as u32).to_string(),
            ]);
        }
        let links = [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1")];
        for (name, target) in links.into_iter().chain([("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx")]) {
            s.line(&["symlink", target, &format!("{root}/dev/{name}")]);
        }
        s.line(&["pivot", root]).line(&["setsid"]);
        for (key, value) in self.config["linux"]["sysctl"].as_object().into_iter().flatten() {
            s.line(&["write", &format!("/proc/sys/{}", key.replace('.', "/")), value.as_str().unwrap_or("")]);
        }
        self.hide(s);
    }

    fn mount(&self, s: &mut Script, root: &str, mount: &Value) {
        let text = |key: &str| mount[key].as_str().unwrap_or("");
        let target = format!("{root}{}", text("destination"));
        let (flags, data) = options(mount);
        match text("type") {
            "bind" => {
                s.mount(text("source"), &target, "-", libc::MS_BIND | libc::MS_REC, "");
                s.mount("-", &target, "-", libc::MS_PRIVATE | libc::MS_REC, "");
            }
            "cgroup" if hierarchies().iter().all(|h| h.name.is_empty()) => {
                s.mount("cgroup", &target, "cgroup2", flags, "");
            }
            "cgroup" => {
                s.mount("tmpfs", &target, "tmpfs", flags & !libc::MS_RDONLY, "mode=755");
                for (hierarchy, path) in self.cgroups() {
                    let place = format!("{target}/{}", hierarchy.name);
                    s.line(&["mkdir", &place, "493"]);
                    if self.has_namespace("cgroup") {
                        let kind = if hierarchy.controllers.is_empty() { "cgroup2" } else { "cgroup" };
                        s.mount("cgroup", &place, kind, flags, &hierarchy.controllers);
                    } else {
                        s.mount(&path, &place, "-", libc::MS_BIND, "");
                        s.mount("-", &place, "-", flags | libc::MS_BIND | libc::MS_REMOUNT, "");
                    }
                }
                s.mount("-", &target, "-", flags | libc::MS_BIND | libc::MS_REMOUNT, "");
            }
            kind => {
                if text("destination").starts_with("/dev/") {
                    s.line(&["mkdir", &target, "493"]);
                }
                s.mount(text("source"), &target, kind, flags, &data);
            }
        }
    }

    fn hide(&self, s: &mut Script) {
        let linux = &self.config["linux"];
        let paths = |key: &str| -> Vec<String> {
            let list = linux[key].as_array().into_iter().flatten().filter_map(Value::as_str);
            list.filter(|path| Path::new(path).exists()).map(str::to_string).collect()
        };
        for path in paths("readonlyPaths") {
            s.mount(&path, &path, "-", libc::MS_BIND | libc::MS_REC, "");
            let safe = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            s.mount("-", &path, "-", libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY | safe, "");
        }
        for path in paths("maskedPaths") {
            match Path::new(&path).is_dir() {
                true => s.mount("tmpfs", &path, "tmpfs", libc::MS_RDONLY, "size=0k,nr_inodes=1"),
                false => s.mount("/dev/null", &path, "-", libc::MS_BIND, ""),
            }
        }
        if self.config["root"]["readonly"] == true {
            s.mount("-", "/", "-", libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY, "");
        }
    }

    /// Limits, groups, capabilities, filter.
    fn become_process(&self, s: &mut Script) {
        let process = &self.config["process"];
        s.line(&["umask", "18"]);
        let capabilities = capability_mask(&process["capabilities"]["permitted"]);
        let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
        s.line(&["bounding", last.trim(), &capabilities.to_string()]);
        if process["noNewPrivileges"] == true {
            s.line(&["nonewprivs"]);
        }
        let groups = process["user"]["additionalGids"].as_array().cloned().unwrap_or_default();
        let groups: Vec<String> = groups.iter().map(Value::to_string).collect();
        let words: Vec<&str> = std::iter::once("groups").chain(groups.iter().map(String::as_str)).collect();
        s.line(&words);
        if self.filter.is_some() {
            s.line(&["filter"]);
        }
        s.line(&["capset", &capabilities.to_string()]);
    }

    fn execute(&self, s: &mut Script) {
        let process = &self.config["process"];
        for limit in process["rlimits"].as_array().into_iter().flatten() {
            let number = libc::RLIMIT_NOFILE.to_string();
            s.line(&["rlimit", &number, &limit["soft"].to_string(), &limit["hard"].to_string()]);
        }
        let words = |first, list: &Value| -> Vec<String> {
            let list = list.as_array().into_iter().flatten().filter_map(Value::as_str);
            [first].into_iter().chain(list).map(str::to_string).collect()
        };
        for words in [words("env", &process["env"]), words("exec", &process["args"])] {
            s.line(&words.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}

const CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;

/// mount(2)'s flags and the rest.
fn options(mount: &Value) -> (u64, String) {
    let (mut flags, mut data) = (0, Vec::new());
    for option in mount["options"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        flags |= match option {
            "ro" => libc::MS_RDONLY,
            "nosuid" => libc::MS_NOSUID,
            "nodev" => libc::MS_NODEV,
            "noexec" => libc::MS_NOEXEC,
            "strictatime" => libc::MS_STRICTATIME,
            "relatime" => libc::MS_RELATIME,
            other => {
                data.push(other);
                0
            }
        };
    }
    (flags, data.join(","))
}

fn capability_mask(names: &Value) -> u64 {
    const NUMBERS: [(&str, u32); 14] = [
        ("CAP_CHOWN", 0),
        ("CAP_DAC_OVERRIDE", 1),
        ("CAP_FOWNER", 3),
        ("CAP_FSETID", 4),
        ("CAP_KILL", 5),
        ("CAP_SETGID", 6),
        ("CAP_SETUID", 7),
        ("CAP_SETPCAP", 8),
        ("CAP_NET_BIND_SERVICE", 10),
        ("CAP_NET_RAW", 13),
        ("CAP_SYS_CHROOT", 18),
        ("CAP_MKNOD", 27),
        ("CAP_AUDIT_WRITE", 29),
        ("CAP_SETFCAP", 31),
    ];
    let given: Vec<&str> = names.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    NUMBERS.iter().filter(|(name, _)| given.contains(name)).map(|(_, number)| 1 << number).sum()
}
