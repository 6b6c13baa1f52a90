//! The commands into which faults are put: what stands before each, the command itself, and what can be
//! seen when it has done its work.

use crate::harness::{Sandbox, host_command, wait_until};
use crate::{config, host};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// A command of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Create,
    Start,
    Exec,
    ExecDetached,
    Delete,
    DeleteForce,
    Kill,
    Pause,
    Resume,
    Update,
}

/// A command with all that belongs to it.
pub struct Scenario {
    pub name: &'static str,
    pub verb: Verb,
    pub t: Sandbox,
    /// A network namespace with a device to give away.
    network: Option<String>,
    console: Option<UnixListener>,
}

/// The container's program: says what it sees, and stays.
const PROGRAM: &str = "payload report > /out/new && mv /out/new /out/report && exec sleep 1000";

impl Scenario {
    pub fn new(name: &'static str, verb: Verb) -> Scenario {
        let mut t = Sandbox::new();
        let out = t.path("out");
        fs::create_dir(&out).unwrap();
        std::os::unix::fs::chown(&out, Some(0), Some(0)).unwrap();
        config::add_mount(&mut t.config, "/out", "bind", &out, &["bind"]);
        t.args(&["sh", "-c", PROGRAM]);
        Scenario { name, verb, t, network: None, console: None }
    }

    /// With hooks of all kinds, a terminal, a filter, limits, sysctls and a network device.
    pub fn with_everything(mut self) -> Scenario {
        let socket = PathBuf::from(self.t.path("console"));
        self.console = Some(UnixListener::bind(&socket).unwrap());
        self.console.as_ref().unwrap().set_nonblocking(true).unwrap();
        let network = self.t.id.replace("oxt-", "oxn-");
        host_command("ip", &["netns", "add", &network]).ok();
        // Where tools/fault finds what to remove when this is interrupted.
        fs::write(self.t.path("network"), &network).unwrap();
        self.network = Some(network);
        let hook = json!([{"path": "/bin/true"}]);
        let kinds =
            ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
        let config = &mut self.t.config;
        kinds.iter().for_each(|kind| config["hooks"][kind] = hook.clone());
        // In the container's files there is no other program.
        config["hooks"]["startContainer"] = json!([{"path": "/bin/busybox", "args": ["true"]}]);
        config["ociVersion"] = json!("1.3.0");
        config["domainname"] = json!("fault");
        config["process"]["terminal"] = json!(true);
        config["process"]["oomScoreAdj"] = json!(100);
        config["process"]["user"]["additionalGids"] = json!([5, 6]);
        config["process"]["capabilities"]["inheritable"] = json!(["CAP_KILL"]);
        config["process"]["capabilities"]["ambient"] = json!(["CAP_KILL"]);
        let linux = &mut config["linux"];
        linux["netDevices"] = json!({"left": {"name": "eth7"}});
        linux["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "9000"});
        linux["resources"]["memory"] = json!({"limit": 512 << 20, "swap": 1024 << 20});
        linux["resources"]["pids"] = json!({"limit": 100});
        linux["resources"]["cpu"] = json!({"shares": 512, "quota": 100_000, "period": 100_000});
        linux["devices"] = json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0}]);
        linux["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]});
        config["root"]["readonly"] = json!(true);
        self
    }

    /// In a user namespace, with a mount whose ids are mapped.
    pub fn with_users(mut self) -> Scenario {
        self.t.map_users(100_000);
        std::os::unix::fs::chown(self.t.path("out"), Some(100_000), Some(100_000)).unwrap();
        let data = self.t.path("data");
        fs::create_dir(&data).unwrap();
        fs::create_dir(self.t.rootfs().join("data")).unwrap();
        config::add_mount(&mut self.t.config, "/data", "bind", &data, &["bind", "idmap"]);
        let last = self.t.config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
        last["uidMappings"] = json!([{"containerID": 0, "hostID": 7000, "size": 1000}]);
        last["gidMappings"] = last["uidMappings"].clone();
        self
    }

    /// In the host's mount namespace, where mounts could be left.
    pub fn without_mount_namespace(mut self) -> Scenario {
        config::share_mounts(&mut self.t.config);
        self
    }

    fn pid_file(&self) -> PathBuf {
        PathBuf::from(self.t.path("pid"))
    }

    /// The container's first process, as create wrote it down.
    pub fn init(&self) -> Option<i32> {
        fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()
    }

    /// Brings the container to where the command finds it; the init that it will talk to.
    pub fn prepare(&self) -> Option<i32> {
        for name in ["out/report", "out/exec", "pid", "exec-pid"] {
            let _ = fs::remove_file(self.t.dir().join(name));
        }
        self.make_device();
        self.drain_console();
        if self.verb == Verb::Create {
            return None;
        }
        self.create();
        if self.verb == Verb::Start {
            return self.init();
        }
        self.runtime(&["start", &self.t.id]);
        self.wait_for("out/report");
        match self.verb {
            Verb::Delete => {
                self.runtime(&["kill", &self.t.id, "KILL"]);
                self.wait_stopped();
            }
            Verb::Resume => self.runtime(&["pause", &self.t.id]),
            _ => {}
        }
        None
    }

    fn create(&self) {
        let outcome = self.t.spawn(self.create_command()).wait();
        assert_eq!(outcome.code, 0, "create before {}: {}", self.name, outcome.stderr);
    }

    fn runtime(&self, args: &[&str]) {
        self.t.runtime(args).ok();
    }

    /// Waits for a file that the container makes.
    fn wait_for(&self, name: &str) {
        let path = self.t.dir().join(name);
        wait_until(&format!("{}: {}", self.name, path.display()), || path.exists());
    }

    fn wait_stopped(&self) {
        let init = self.init().unwrap();
        wait_until("the container's end", || host::process_state(init).is_none_or(|state| state == 'Z'));
    }

    fn create_command(&self) -> Command {
        let (pid, console) = (self.t.path("pid"), self.t.path("console"));
        let mut args = vec!["create", "--pid-file", &pid];
        if self.console.is_some() {
            args.extend(["--console-socket", &console]);
        }
        args.push(&self.t.id);
        self.command_of(&args)
    }

    fn command_of(&self, args: &[&str]) -> Command {
        match &self.network {
            Some(network) => self.t.in_network(network, args),
            None => self.t.command(args),
        }
    }

    /// The command that meets the faults.
    pub fn command(&self) -> Command {
        let (id, pid) = (self.t.id.as_str(), self.t.path("exec-pid"));
        match self.verb {
            Verb::Create => self.create_command(),
            Verb::Start => self.command_of(&["start", id]),
            Verb::Exec => self.command_of(&["exec", id, "payload", "report"]),
            Verb::ExecDetached => {
                // Of one process: others of its own would survive it when exec fails after it began.
                let program = ["payload", "report-and-sleep", "/out/exec"];
                self.command_of(&[&["exec", "--detach", "--pid-file", &pid, id], &program[..]].concat())
            }
            Verb::Delete => self.command_of(&["delete", id]),
            Verb::DeleteForce => self.command_of(&["delete", "--force", id]),
            Verb::Kill => self.command_of(&["kill", id, "KILL"]),
            Verb::Pause => self.command_of(&["pause", id]),
            Verb::Resume => self.command_of(&["resume", id]),
            Verb::Update => self.command_of(&["update", "--memory", "300m", "--pids-limit", "77", id]),
        }
    }

    /// What can be seen when the command has succeeded; the same every time.
    pub fn observe(&self, stdout: &str) -> Value {
        match self.verb {
            Verb::Create => {
                let created = self.t.status();
                let limits = self.limits();
                self.runtime(&["start", &self.t.id]);
                json!([created, limits, self.report("out/report")])
            }
            Verb::Start => json!([self.report("out/report"), self.limits(), self.t.status()]),
            Verb::Exec => serde_json::from_str(stdout).map_or_else(|_| json!(stdout), |v| self.normal(v)),
            Verb::ExecDetached => {
                let written = fs::read_to_string(self.t.path("exec-pid")).is_ok();
                json!([self.report("out/exec"), written])
            }
            // What it killed may still be going.
            Verb::Delete | Verb::DeleteForce => {
                let end = Instant::now() + Duration::from_secs(2);
                let mut left = self.t.leftovers();
                while !left.is_empty() && Instant::now() < end {
                    std::thread::sleep(Duration::from_millis(5));
                    left = self.t.leftovers();
                }
                json!(left)
            }
            Verb::Kill => {
                self.wait_stopped();
                json!("stopped")
            }
            Verb::Pause | Verb::Resume => json!(self.t.status()),
            Verb::Update => self.limits(),
        }
    }

    /// After a failure: what is not as it has to be. (Besides, `delete --force` must remove all.)
    pub fn wrong_after_failure(&self) -> Option<String> {
        let wrong =
            |is: &str, should: &str| (is != should).then(|| format!("it is {is} instead of {should}"));
        match self.verb {
            Verb::Create => {
                let left = self.t.leftovers();
                let pid = self.pid_file().exists().then_some("the pid file".to_string());
                let device = self.network.is_some() && !self.has_device();
                let device = device.then_some("(the network device is not back)".to_string());
                let left: Vec<String> = left.into_iter().chain(pid).chain(device).collect();
                (!left.is_empty()).then(|| format!("create failed and left {left:?}"))
            }
            Verb::Exec | Verb::ExecDetached => {
                // What the container itself has begun with may still be going.
                let end = Instant::now() + Duration::from_secs(1);
                loop {
                    let lines = self.t.runtime(&["ps", "--format", "json", &self.t.id]).stdout;
                    match lines.contains(',') {
                        false => return None,
                        true if Instant::now() > end => {
                            return Some(format!("exec failed and left processes: {lines}"));
                        }
                        true => std::thread::sleep(Duration::from_millis(5)),
                    }
                }
            }
            Verb::Pause => wrong(&self.t.status(), "running"),
            Verb::Resume => None,
            Verb::Update => {
                let memory = &self.limits()["memory.limit_in_bytes"];
                let changed = memory.as_str() == Some("314572800") || self.limits()["pids.max"] == "77";
                changed.then(|| format!("update failed and changed limits: {}", self.limits()))
            }
            Verb::Start | Verb::Delete | Verb::DeleteForce | Verb::Kill => None,
        }
    }

    fn report(&self, file: &str) -> Value {
        self.wait_for(file);
        let text = fs::read_to_string(self.t.dir().join(file)).unwrap();
        serde_json::from_str(&text).map_or_else(|_| json!(text), |report| self.normal(report))
    }

    /// A report without what differs from run to run.
    fn normal(&self, mut report: Value) -> Value {
        let object = report.as_object_mut().unwrap();
        for key in ["pid", "ppid", "sid", "pgid", "wait_child"] {
            object.remove(key);
        }
        let varies = |key: &str| {
            ["Vm", "Rss", "HugetlbPages", "voluntary", "nonvoluntary", "Threads", "SigQ"]
                .iter()
                .any(|prefix| key.starts_with(prefix))
                || ["Pid", "PPid", "Tgid", "NStgid", "NSpid", "NSpgid", "NSsid", "Ngid", "State"]
                    .contains(&key)
                || ["x86_Thread_features", "x86_Thread_features_locked", "Kthread", "FDSize"].contains(&key)
        };
        // HOME comes from a file of the image, and is / when that cannot be read.
        object["env"].as_array_mut().unwrap().retain(|line| !line.as_str().unwrap().starts_with("HOME="));
        object["status"].as_object_mut().unwrap().retain(|key, _| !varies(key));
        for (kind, link) in object["namespaces"].as_object_mut().unwrap() {
            let of_host = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
            *link = json!(*link == of_host);
        }
        if let Some(mounts) = object["mounts"].as_array_mut() {
            for mount in mounts {
                // The source of a cgroup2 mount is a word that depends on the way it was made.
                let v2 = mount["type"] == "cgroup2";
                for key in ["id", "device", "propagation"].iter().chain(v2.then_some(&"source")) {
                    mount.as_object_mut().unwrap().remove(*key);
                }
            }
        }
        let text = report.to_string();
        // Numbers of calls, pipes and terminals.
        let mut kept = String::new();
        let mut rest = text.as_str();
        while let Some(at) =
            ["/call", "pipe:[", "/dev/pts/"].iter().filter_map(|w| Some(rest.find(w)? + w.len())).min()
        {
            kept.push_str(&rest[..at]);
            rest = rest[at..].trim_start_matches(|c: char| c.is_ascii_digit());
        }
        kept.push_str(rest);
        serde_json::from_str(&kept).unwrap()
    }

    /// The container's cgroup in numbers.
    fn limits(&self) -> Value {
        let Some(init) = self.init() else { return Value::Null };
        let files = [
            ("devices", "devices.list"),
            ("memory", "memory.limit_in_bytes"),
            ("memory", "memory.memsw.limit_in_bytes"),
            ("pids", "pids.max"),
            ("cpu", "cpu.shares"),
            ("cpu", "cpu.cfs_quota_us"),
            ("cpuset", "cpuset.cpus"),
            ("freezer", "freezer.state"),
            ("memory", "memory.max"),
        ];
        let read = |(controller, file): &(&str, &str)| {
            let directory = host::cgroup_of(init, controller)?;
            let text = fs::read_to_string(directory.join(file)).ok()?;
            Some((file.to_string(), json!(text.trim())))
        };
        Value::Object(files.iter().filter_map(read).collect())
    }

    fn has_device(&self) -> bool {
        let Some(network) = &self.network else { return true };
        host_command("ip", &["-n", network, "link", "show", "left"]).code == 0
    }

    /// A device to give away. One whose namespace goes takes its time.
    pub fn make_device(&self) {
        let Some(network) = &self.network else { return };
        let add = ["-n", network, "link", "add", "left", "type", "veth", "peer", "right"];
        wait_until("a network device", || {
            let there = self.has_device() || host_command("ip", &add).code == 0;
            if !there {
                host_command("ip", &["-n", network, "link", "del", "right"]);
            }
            there
        });
    }

    /// Closes terminals that the runtime has sent.
    fn drain_console(&self) {
        let Some(listener) = &self.console else { return };
        while let Ok((connection, _)) = listener.accept() {
            drop(connection);
        }
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        if let Some(network) = &self.network {
            host_command("ip", &["netns", "del", network]);
        }
    }
}
