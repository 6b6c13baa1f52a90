//! Tests of the manager on this machine's own cgroup hierarchies, whichever they are: each makes
//! cgroups below `/oxrun-test-…` and removes them. Skipped, saying so, where none can be made.

use super::*;
use crate::bundle::plan::DeviceKind;
use std::io::Write;
use std::process::{Child, Command, Stdio};

/// A cgroup of a test; gone when dropped.
struct Sandbox {
    manager: Manager,
    children: Vec<Child>,
}

impl Sandbox {
    fn new(name: &str) -> Option<Sandbox> {
        let mut manager = manager(&path(name, "c"));
        match manager.create() {
            Ok(()) => Some(Sandbox { manager, children: Vec::new() }),
            Err(error) if error.downcast_ref::<crate::cgroup::node::NotPermitted>().is_some() => {
                println!("skipped: {error}");
                None
            }
            Err(error) => panic!("{error:#}"),
        }
    }

    /// Starts a shell in the cgroup; it waits for a line before it runs the script.
    fn shell(&mut self, script: &str) -> i32 {
        let child = Command::new("sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id().cast_signed();
        self.manager.add_process(pid).unwrap();
        self.children.push(child);
        pid
    }

    fn go(&mut self) {
        self.children.last_mut().unwrap().stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn status(&mut self) -> std::process::ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.children.last_mut().unwrap().try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the process does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn v2(&self) -> bool {
        matches!(self.manager, Manager::V2(_))
    }

    /// What a control file holds.
    fn value(&self, file: &str) -> String {
        let controller = file.split('.').next().unwrap();
        std::fs::read_to_string(self.manager.path_of(controller).unwrap().join(file))
            .unwrap()
            .trim()
            .to_string()
    }

    fn apply(&self, json: &str) -> Result<()> {
        self.manager.apply(&serde_json::from_str(json).unwrap(), &[])
    }

    fn frees(mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        assert!(self.manager.remove().unwrap(), "still busy");
        assert!(!self.manager.exists());
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.manager.kill(libc::SIGKILL);
        let _ = self.manager.thaw();
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = self.manager.remove();
    }
}

fn path(name: &str, leaf: &str) -> String {
    format!("/oxrun-test-{}-{name}/{leaf}", std::process::id())
}

fn manager(path: &str) -> Manager {
    let plan = CgroupPlan { path: path.to_string(), ..CgroupPlan::default() };
    Manager::new(&Layout::probe().unwrap(), &plan, "id").unwrap()
}

fn device(allow: bool, minor: Option<u32>) -> DeviceRule {
    let major = minor.map(|_| 1);
    let kind = if minor.is_some() { DeviceKind::Char } else { DeviceKind::All };
    DeviceRule { allow, kind, major, minor, read: true, write: true, mknod: true }
}

#[test]
fn cgroup_lives_and_leaves_nothing() {
    let Some(mut sandbox) = Sandbox::new("life") else { return };
    let parent = sandbox.manager.path_of("memory").unwrap().parent().unwrap().to_path_buf();
    assert!(parent.is_dir());
    let pid = sandbox.shell("sleep 100");
    assert_eq!(sandbox.manager.processes().unwrap(), [pid]);

    let json = serde_json::to_string(&sandbox.manager.location()).unwrap();
    let mut later = Manager::from_location(&serde_json::from_str(&json).unwrap());
    assert!(later.exists());
    assert!(!later.is_frozen().unwrap());
    later.freeze().unwrap();
    assert!(later.is_frozen().unwrap());
    later.thaw().unwrap();
    assert!(!later.is_frozen().unwrap());

    later.freeze().unwrap();
    later.kill(libc::SIGKILL).unwrap();
    sandbox.status();
    assert!(later.remove().unwrap());
    assert!(!later.exists() && !parent.exists());
    assert!(later.remove().unwrap());
}

#[test]
fn cgroup_that_cannot_be_made_leaves_no_parent() {
    let Some(sandbox) = Sandbox::new("made") else { return };
    let other = manager(&path("unmade", "c"));
    // The kernel takes no name with a line end.
    let json = serde_json::to_string(&other.location()).unwrap().replace("-unmade/c", "-unmade/a\\nb");
    let mut other = Manager::from_location(&serde_json::from_str(&json).unwrap());
    let error = other.create().unwrap_err();
    assert!(error.to_string().contains("invalid argument"), "{error:#}");
    let top = std::path::Path::new("/sys/fs/cgroup");
    for hierarchy in std::fs::read_dir(top).unwrap().map(|entry| entry.unwrap().path()).chain([top.into()]) {
        let parent = hierarchy.join(format!("oxrun-test-{}-unmade", std::process::id()));
        assert!(!parent.exists(), "{}", parent.display());
    }
    sandbox.frees();
}

#[test]
fn a_freezer_that_cannot_be_read_is_an_error() {
    // Another filesystem where the hierarchy was.
    for controllers in [vec![], vec!["freezer".to_string()]] {
        let place = Place { controllers, mountpoint: "/".into(), path: "c".into(), made: 0 };
        let location = if place.is_v2() { Location::V2(place) } else { Location::V1(vec![place]) };
        let error = Manager::from_location(&location).is_frozen().unwrap_err();
        assert!(error.to_string().contains("something is mounted over it"), "{error:#}");
    }
}

#[test]
fn cgroup_below_a_frozen_one_is_frozen() {
    let Some(sandbox) = Sandbox::new("above") else { return };
    let mut inner = manager(&format!("{}/inner", path("above", "c")));
    inner.create().unwrap();
    let place = inner.freezer().unwrap();
    let frozen = || (inner.is_frozen().unwrap(), Freezers::default().is_frozen(&place).unwrap());
    assert_eq!(frozen(), (false, false));
    sandbox.manager.freeze().unwrap();
    assert_eq!(frozen(), (true, true));
    sandbox.manager.thaw().unwrap();
    assert_eq!(frozen(), (false, false));
    assert!(inner.remove().unwrap());
    sandbox.frees();
}

#[test]
fn cgroup_that_is_in_use_or_frozen_is_refused() {
    let Some(mut sandbox) = Sandbox::new("busy") else { return };
    let mut second = manager(&path("busy", "c"));
    second.create().unwrap();
    sandbox.manager.freeze().unwrap();
    let error = manager(&path("busy", "c")).create().unwrap_err().to_string();
    assert!(error.contains("container's cgroup unexpectedly frozen"), "{error}");
    sandbox.manager.thaw().unwrap();
    let pid = sandbox.shell("sleep 100");
    let below = sandbox.manager.path_of("freezer").unwrap().join("below");
    std::fs::create_dir(&below).unwrap();
    let mut third = manager(&path("busy", "c"));
    let error = third.create().unwrap_err().to_string();
    assert!(third.remove().unwrap() && below.is_dir());
    assert!(error.contains("container's cgroup is not empty") && error.contains(&pid.to_string()), "{error}");
    assert!(sandbox.manager.exists());
    sandbox.frees();
}

#[test]
fn cgroup_of_others_stays_when_removed() {
    let Some(mut sandbox) = Sandbox::new("others") else { return };
    sandbox.shell("sleep 100");
    assert!(!manager(&path("others", "c")).remove().unwrap());
    assert_eq!(sandbox.manager.processes().unwrap().len(), 1);
    sandbox.frees();
}

#[test]
fn cgroup_limits_arrive_and_can_be_changed_and_restored() {
    let Some(sandbox) = Sandbox::new("limits") else { return };
    let (limit, shares, pids) = if sandbox.v2() {
        ("memory.max", "cpu.weight", "pids.max")
    } else {
        ("memory.limit_in_bytes", "cpu.shares", "pids.max")
    };
    let first = r#"{"memory":{"limit":33554432,"swap":50331648},"cpu":{"shares":512,"quota":20000,"period":50000,
        "cpus":"0"},"pids":{"limit":33}}"#;
    sandbox.apply(first).unwrap();
    assert_eq!(sandbox.value(limit), "33554432");
    assert_eq!(sandbox.value(shares), if sandbox.v2() { "59" } else { "512" });
    assert_eq!(sandbox.value(pids), "33");
    assert_eq!(sandbox.value("cpuset.cpus"), "0");
    if sandbox.v2() {
        assert_eq!(sandbox.value("cpu.max"), "20000 50000");
    } else {
        assert_eq!(sandbox.value("cpu.cfs_quota_us"), "20000");
    }

    // Up beyond the old memory+swap limit, then down again: each needs another order on v1.
    let second = r#"{"memory":{"limit":67108864,"swap":83886080},"pids":{"limit":-1}}"#;
    let olds = sandbox.manager.snapshot(&serde_json::from_str(second).unwrap());
    sandbox.apply(second).unwrap();
    assert_eq!(sandbox.value(limit), "67108864");
    assert_eq!(sandbox.value(pids), "max");
    sandbox.manager.restore(&olds).unwrap();
    assert_eq!(sandbox.value(limit), "33554432");
    assert_eq!(sandbox.value(pids), "33");
    if sandbox.v2() {
        assert_eq!(sandbox.value("memory.swap.max"), "16777216");
    } else {
        assert_eq!(sandbox.value("memory.memsw.limit_in_bytes"), "50331648");
    }
    sandbox.frees();
}

#[test]
fn cgroup_limit_that_is_refused_names_its_path() {
    let Some(sandbox) = Sandbox::new("refused") else { return };
    let refused = [
        (r#"{"cpu":{"period":100}}"#, "linux.resources.cpu.period"),
        (r#"{"cpu":{"cpus":"4000"}}"#, "linux.resources.cpu.cpus"),
        (r#"{"hugepageLimits":[{"pageSize":"3MB","limit":1}]}"#, "linux.resources.hugepageLimits[0]"),
    ];
    for (json, path) in refused {
        let error = format!("{:#}", sandbox.apply(json).unwrap_err());
        assert!(error.contains(path), "{error}");
    }
    let error = sandbox.apply(r#"{"memory":{"limit":1,"checkBeforeUpdate":true}}"#);
    assert!(error.is_ok() || format!("{error:?}").contains("rejecting memory limit"));
    sandbox.frees();
}

#[test]
fn cgroup_devices_are_denied_and_allowed() {
    let Some(mut sandbox) = Sandbox::new("devices") else { return };
    let script = "(: </dev/null) || exit 2; (: </dev/zero) 2>/dev/null && exit 3; exit 0";
    sandbox.manager.apply(&Resources::default(), &[device(false, None), device(true, Some(3))]).unwrap();
    sandbox.shell(script);
    sandbox.go();
    assert_eq!(sandbox.status().code(), Some(0));

    // A later runtime changes the rules of the same cgroup: the old ones must not stay in force.
    let later = Manager::from_location(&sandbox.manager.location());
    let rules = [device(false, None), device(true, Some(3)), device(true, Some(5))];
    later.apply(&Resources::default(), &rules).unwrap();
    sandbox.shell(script);
    sandbox.go();
    assert_eq!(sandbox.status().code(), Some(if sandbox.v2() { replaced(&sandbox) } else { 3 }));
    sandbox.frees();
}

/// The status that a replaced program gives, after a look at how many there are.
fn replaced(sandbox: &Sandbox) -> i32 {
    let Manager::V2(cgroup) = &sandbox.manager else { return -1 };
    let programs = crate::sys::bpf::attached(cgroup.node.directory().unwrap()).unwrap();
    assert_eq!(programs.len(), 1);
    3
}

#[test]
fn cgroup_nests_deeply_and_is_still_removed() {
    let Some(mut sandbox) = Sandbox::new("deep") else { return };
    let mut deep = sandbox.manager.path_of("freezer").unwrap();
    for _ in 0..100 {
        deep.push("d");
    }
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::create_dir(sandbox.manager.path_of("freezer").unwrap().join("e")).unwrap();
    let pid = sandbox.shell("sleep 100");
    std::fs::write(deep.join("cgroup.procs"), pid.to_string()).unwrap();
    assert_eq!(sandbox.manager.processes().unwrap(), [pid]);
    sandbox.manager.kill(libc::SIGKILL).unwrap();
    sandbox.status();
    sandbox.frees();
}

#[test]
fn cgroup_kill_reaches_what_forks() {
    let Some(mut sandbox) = Sandbox::new("forks") else { return };
    sandbox.apply(r#"{"pids":{"limit":40}}"#).unwrap();
    sandbox.shell("while :; do sh -c 'sleep 0.01; sleep 100' & sleep 0.002; done 2>/dev/null");
    sandbox.go();
    let deadline = Instant::now() + Duration::from_secs(10);
    while sandbox.manager.processes().unwrap().len() <= 5 {
        assert!(Instant::now() < deadline, "no processes");
        std::thread::sleep(Duration::from_millis(1));
    }
    sandbox.manager.kill(libc::SIGKILL).unwrap();
    sandbox.status();
    assert!(sandbox.manager.remove().unwrap());
}

#[test]
fn cgroup_is_joined_by_tasks_or_by_directory() {
    let Some(mut sandbox) = Sandbox::new("join") else { return };
    let join = sandbox.manager.join().unwrap();
    assert_eq!(join.tasks.is_empty(), sandbox.v2());
    let child = Command::new("sleep").arg("100").spawn().unwrap();
    let pid = child.id().to_string();
    sandbox.children.push(child);
    for tasks in &join.tasks {
        rustix::io::write(tasks, pid.as_bytes()).unwrap();
    }
    if let Some(into) = &join.into {
        node::write_at(into.as_fd(), "cgroup.procs", &pid).unwrap();
    }
    let lines = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let view = sandbox.manager.view();
    assert_eq!(lines.lines().filter(|l| l.ends_with(&path("join", "c"))).count(), view.hierarchies.len());
    sandbox.frees();
}

#[test]
fn cgroup_stats_show_what_is_used() {
    let Some(mut sandbox) = Sandbox::new("stats") else { return };
    sandbox.apply(r#"{"memory":{"limit":33554432},"pids":{"limit":12}}"#).unwrap();
    sandbox.shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec sleep 100");
    sandbox.go();
    let stats = || serde_json::to_value(sandbox.manager.stats().unwrap()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while stats()["cpu"]["usage"]["user"].as_u64().unwrap() == 0 {
        assert!(Instant::now() < deadline, "{}", stats());
    }
    let now = stats();
    assert_eq!(now["memory"]["usage"]["limit"], 33_554_432);
    assert_eq!(now["pids"]["limit"], 12);
    assert!(now["pids"]["current"].as_u64().unwrap() >= 1);
    assert!(now["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
    assert!(now["memory"]["raw"]["pgfault"].is_u64());
    assert_eq!(now["cpu"]["psi"].is_object(), sandbox.v2());
    assert_eq!(sandbox.manager.oom_kill_count(), Some(0));
    println!("{now}");
    sandbox.frees();
}

#[test]
fn cgroup_is_handed_over_on_v2_alone() {
    use std::os::unix::fs::MetadataExt;
    let Some(sandbox) = Sandbox::new("delegate") else { return };
    sandbox.manager.delegate(1234).unwrap();
    let owner = |file: &str| sandbox.manager.path_of("memory").unwrap().join(file).metadata().unwrap().uid();
    let uid = if sandbox.v2() { 1234 } else { 0 };
    let other = if sandbox.v2() { "cgroup.max.depth" } else { "tasks" };
    assert_eq!((owner("."), owner("cgroup.procs"), owner(other)), (uid, uid, 0));
    sandbox.frees();
}

#[test]
fn cgroup_v2_with_processes_gives_no_controllers() {
    let Some(mut sandbox) = Sandbox::new("inner") else { return };
    if !sandbox.v2() {
        return println!("skipped: needs cgroup v2");
    }
    sandbox.shell("sleep 100");
    let inner = format!("{}/inner", path("inner", "c"));
    let mut second = manager(&inner);
    second.create().unwrap();
    for (json, path) in [
        (r#"{"cpu":{"shares":512}}"#, "linux.resources.cpu.shares"),
        (r#"{"memory":{"limit":1048576}}"#, "linux.resources.memory.limit"),
    ] {
        let error = format!("{:#}", second.apply(&serde_json::from_str(json).unwrap(), &[]).unwrap_err());
        assert!(error.contains("no-internal-process") && error.contains(path), "{error}");
    }
    second.apply(&Resources::default(), &[]).unwrap();
    let pid = sandbox.shell("sleep 100");
    second.add_process(pid).unwrap();
    second.kill(libc::SIGKILL).unwrap();
    assert!(second.remove().unwrap());
    sandbox.frees();
}

#[test]
fn cgroup_paths_are_below_or_beside_the_own_one() {
    let layout = Layout::probe().unwrap();
    for bad in ["/", "/.", "../x", "/a/../../b"] {
        let plan = CgroupPlan { path: bad.to_string(), ..CgroupPlan::default() };
        assert!(Manager::new(&layout, &plan, "id").is_err(), "{bad}");
    }
    let named = manager("");
    assert!(named.path_of("memory").unwrap().ends_with("id"));
}

#[test]
fn cgroup_that_is_none_is_said_to_be() {
    let place = |path: &str| Place {
        controllers: vec!["memory".into()],
        mountpoint: "/tmp".into(),
        path: path.into(),
        made: 0,
    };
    let error = Node::new(place("x")).directory().unwrap_err().to_string();
    let said = "`/tmp` is not a cgroup filesystem of the expected version: something is mounted over it";
    assert_eq!(error, said);
    let none = v1::Cgroup { nodes: Vec::new(), unified: None };
    let error = |rules: &[DeviceRule]| format!("{:#}", none.apply(&Resources::default(), rules).unwrap_err());
    assert_eq!(
        error(&[device(false, None)]),
        "linux.resources.devices: cgroup controller `devices` is not there: this host has no such v1 hierarchy mounted"
    );
    let any = DeviceRule { kind: DeviceKind::Char, ..device(true, None) };
    let one = DeviceRule { read: false, mknod: false, ..device(false, Some(3)) };
    let said = error(&[any, one]);
    assert!(said.contains("linux.resources.devices: `c 1:3 w` cannot be denied on cgroup v1"), "{said}");
}

/// The host's cgroup2 hierarchy, also where its controllers are those of cgroup v1.
fn second_version() -> Option<Layout> {
    let found = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .find(|path| crate::hostfs::filesystem_type(*path) == Ok(layout::CGROUP2_MAGIC));
    let Some(path) = found else {
        println!("skipped: no cgroup2 is mounted");
        return None;
    };
    Some(Layout { legacy: Vec::new(), unified: Some((path.into(), String::new())) })
}

fn second(layout: &Layout, path: &str) -> v2::Cgroup {
    let plan = CgroupPlan { path: path.to_string(), ..CgroupPlan::default() };
    v2::Cgroup::new(layout, &plan, "id").unwrap()
}

#[test]
fn cgroup_v2_that_takes_no_container() {
    let plan = |path: &str| CgroupPlan { path: path.into(), ..CgroupPlan::default() };
    let error = v2::Cgroup::new(&Layout::default(), &plan("/x"), "id").unwrap_err().to_string();
    assert_eq!(error, "cgroup v2 is not mounted");
    let Some(layout) = second_version() else { return };
    let error = v2::Cgroup::new(&layout, &plan("/."), "id").unwrap_err().to_string();
    assert_eq!(error, "cgroup path `/.` is the root cgroup: name one below it (linux.cgroupsPath)");
    let mut first = second(&layout, &path("second", "c"));
    if let Err(error) = first.create() {
        return println!("skipped: {error:#}");
    }
    first.node.write("cgroup.freeze", "1").unwrap();
    let frozen = second(&layout, &path("second", "c")).create().unwrap_err().to_string();
    first.thaw().unwrap();
    first.node.write("cgroup.type", "threaded").unwrap();
    let below = second(&layout, &path("second", "c/below")).create().unwrap_err().to_string();
    let directory = first.node.place.directory();
    assert!(first.node.remove(Instant::now()).unwrap());
    assert_eq!(frozen, "container's cgroup unexpectedly frozen: thaw it or choose another linux.cgroupsPath");
    let said =
        format!("cgroup `{}/below` is of type `domain invalid`: a parent is threaded", directory.display());
    assert!(below.starts_with(&said), "{below}");
}

#[test]
fn cgroup_v2_controllers_that_are_not_there() {
    let Some(layout) = second_version() else { return };
    let mut cgroup = second(&layout, &path("without", "c"));
    if let Err(error) = cgroup.create() {
        return println!("skipped: {error:#}");
    }
    let resources = serde_json::from_str(r#"{"unified":{"nonsense.max":"1"}}"#).unwrap();
    let error = cgroup.apply(&resources, &[]).unwrap_err();
    assert!(cgroup.node.remove(Instant::now()).unwrap());
    let error = format!("{error:#}");
    let said = "linux.resources.unified.nonsense.max: enable cgroup controller `nonsense` in `";
    assert!(
        error.starts_with(said) && error.contains("the controller is not there: the kernel or"),
        "{error}"
    );
}
