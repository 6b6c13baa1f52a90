//! A host in trouble: no memory, no space, no descriptors, no processes, no namespaces, a state directory
//! that cannot be written, a cgroup that is frozen. `create`, `run`, `exec` and `delete` then do their
//! work, or end with one line that names the step; what is left `delete --force` removes. Each limit goes
//! from less than anything can work with to enough, so that both ends are seen.

use crate::harness::{Outcome, Sandbox, by_systemd, host_command, is_oxrun};
use crate::{config, host};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A command under a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Create,
    Run,
    Exec,
    Delete,
}
const VERBS: [Verb; 4] = [Verb::Create, Verb::Run, Verb::Exec, Verb::Delete];

/// How a command ended that had too little of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Worked,
    /// One line that names the step and the reason.
    Failed,
    /// The kernel ended it, or it had no memory for a word.
    Died,
}

impl Verb {
    fn args(self, t: &Sandbox) -> Vec<&str> {
        match self {
            Verb::Create => vec!["create", &t.id],
            Verb::Run => vec!["run", &t.id],
            Verb::Exec => vec!["exec", &t.id, "true"],
            Verb::Delete => vec!["delete", "--force", &t.id],
        }
    }

    /// Brings the container to where the command finds it.
    #[track_caller]
    fn prepare(self, t: &mut Sandbox) {
        t.args(if self == Verb::Run { &["true"] } else { &["payload", "sleep", "1000"] });
        t.write_config();
        if matches!(self, Verb::Exec | Verb::Delete) {
            t.create().ok();
            t.start().ok();
        }
    }

    /// What must be so after the command, by how it ended.
    #[track_caller]
    fn judge(self, t: &Sandbox, outcome: &Outcome, reasons: &[&str]) -> End {
        assert!(!outcome.stderr.contains("backtrace"), "{self:?}: {}", outcome.stderr);
        let end = match outcome.code {
            0 => End::Worked,
            code if (128..255).contains(&code) => End::Died,
            _ => {
                let failed = outcome.clone().failed().one_line();
                assert!(is_oxrun() || !failed.stderr.is_empty());
                if is_oxrun() {
                    names_the_step(&failed.stderr, reasons);
                }
                End::Failed
            }
        };
        match (self, end) {
            (Verb::Create, End::Worked) => assert_eq!(t.status(), "created"),
            (Verb::Run | Verb::Delete, End::Worked) => nothing_left(t),
            (Verb::Create | Verb::Run, End::Failed) => nothing_left(t),
            (Verb::Exec, _) => {
                let pids = t.runtime(&["ps", "--format", "json", &t.id]).ok().json();
                assert_eq!(pids.as_array().unwrap().len(), 1, "{outcome:?} left {pids}");
            }
            _ => {}
        }
        end
    }

    /// The command, after something that a shell does; then the host is well again.
    #[track_caller]
    fn under(self, t: &mut Sandbox, trouble: &str, reasons: &[&str]) -> (End, Outcome) {
        self.while_lasts(t, trouble, ":", reasons)
    }

    /// The same with words for the shell that end the trouble.
    #[track_caller]
    fn while_lasts(self, t: &mut Sandbox, trouble: &str, end: &str, reasons: &[&str]) -> (End, Outcome) {
        self.prepare(t);
        let outcome = t.spawn(after(trouble, &t.command(&self.args(t)))).wait();
        let met = self.judge(t, &outcome, reasons);
        host_command("sh", &["-c", end]).ok();
        t.finish();
        nothing_left(t);
        (met, outcome)
    }
}

/// Nothing but what the test itself has mounted; whoever was killed may still be going.
#[track_caller]
fn nothing_left(t: &Sandbox) {
    let own = |line: &String| line.contains(" - tmpfs oxrun-small ") || line.contains("directory .fill");
    let mut left = Vec::new();
    for _ in 0..400 {
        left = t.leftovers();
        left.retain(|line| !own(line));
        if !left.iter().any(|line| line.starts_with("process")) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(left.is_empty(), "left behind: {left:#?}");
}

/// An error is `step: … : reason`, and more than the reason.
#[track_caller]
fn names_the_step(line: &str, reasons: &[&str]) {
    let found = reasons.iter().find_map(|reason| line.to_lowercase().find(&reason.to_lowercase()));
    let Some(at) = found else { panic!("should give a reason of {reasons:?}: {line}") };
    let before = line[..at].rsplit("msg=").next().unwrap_or_default();
    assert!(before.trim_matches([' ', '"', ':']).contains(' '), "should name the step: {line}");
}

/// A command that a shell executes when it has done something.
fn after(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("set -e; {script}; exec \"$0\" \"$@\"")]).arg(command.get_program());
    shell.args(command.get_args()).stdin(Stdio::null());
    command.get_current_dir().map(|directory| shell.current_dir(directory));
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    shell
}

/// Both ends must have been seen, else the sweep shows nothing.
#[track_caller]
fn both_ends(verb: Verb, ends: &[End]) {
    let seen = |wanted: &[End]| ends.iter().any(|end| wanted.contains(end));
    assert!(seen(&[End::Worked]), "{verb:?}: the last one should be enough: {ends:?}");
    assert!(seen(&[End::Failed, End::Died]), "{verb:?}: the first one should be too little: {ends:?}");
}

macro_rules! of_oxrun {
    () => {
        if !is_oxrun() {
            skip!("only oxrun promises one line and nothing left");
        }
    };
}

// ---- descriptors ------------------------------------------------------------------------------

#[test]
fn too_few_descriptors() {
    of_oxrun!();
    let mut t = Sandbox::new();
    for verb in VERBS {
        let mut ends = Vec::new();
        for limit in (3..32).chain([40, 64]) {
            let (end, outcome) =
                verb.under(&mut t, &format!("ulimit -S -n {limit}"), &["too many open files"]);
            assert!(end != End::Died, "{verb:?} with {limit}: {outcome:?}");
            ends.push(end);
        }
        both_ends(verb, &ends);
        let first = ends.iter().position(|end| *end == End::Worked).unwrap();
        assert!(ends[first..].iter().all(|end| *end == End::Worked), "{verb:?}: more is worse: {ends:?}");
    }
}

// ---- memory -----------------------------------------------------------------------------------

/// What a command says that gets no memory; the language's own words where it was for the heap.
const NO_MEMORY: [&str; 3] = ["cannot allocate memory", "memory allocation of", "was killed"];

#[test]
fn too_little_address_space() {
    of_oxrun!();
    let mut t = Sandbox::new();
    // The container's own program has as much as it wants.
    let unlimited = json!({"type": "RLIMIT_AS", "soft": u64::MAX, "hard": u64::MAX});
    t.config["process"]["rlimits"] = json!([unlimited]);
    let sizes =
        [256, 512, 1024, 2048, 2560, 3072, 3584, 4096, 5120, 6144, 8192, 16384, 32768, 65536, 1 << 20];
    for verb in VERBS {
        let limits = sizes.iter().map(|size| format!("ulimit -S -v {size}"));
        let ends: Vec<End> = limits.map(|limit| verb.under(&mut t, &limit, &NO_MEMORY).0).collect();
        both_ends(verb, &ends);
    }
}

/// A cgroup for the runtime, removed at the end.
struct Group(PathBuf);

impl Group {
    fn new(t: &Sandbox, controller: &str) -> Group {
        let top = Path::new("/sys/fs/cgroup");
        let path = match host::is_cgroup_v2() {
            true => {
                let _ = fs::write(top.join("cgroup.subtree_control"), format!("+{controller}"));
                top.join(Group::name(t))
            }
            false => top.join(controller).join(Group::name(t)),
        };
        fs::create_dir(&path).unwrap();
        Group(path)
    }

    /// Not the id, by which is found what a container leaves.
    fn name(t: &Sandbox) -> String {
        t.id.replace("oxt-", "oxh-")
    }

    fn set(&self, file: &str, value: &str) {
        let path = self.0.join(file);
        fs::write(&path, value).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// The shell's words to go there.
    fn enter(&self) -> String {
        format!("echo $$ >{}/cgroup.procs", self.0.display())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whoever was killed may still be going.
        for _ in 0..500 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

#[test]
fn little_memory_in_the_callers_cgroup() {
    of_oxrun!();
    needs_cgroupfs!();
    if !host::has_controller("memory") {
        skip!("needs the memory controller");
    }
    let mut t = Sandbox::new();
    t.config["linux"]["cgroupsPath"] = json!(format!("/{}own", t.id));
    for verb in VERBS {
        let mut ends = Vec::new();
        for size in ["128k", "256k", "384k", "512k", "1m", "2m", "4m", "64m"] {
            // Not left in it by the one before, which may have been killed.
            let group = Group::new(&t, "memory");
            group.set(if host::is_cgroup_v2() { "memory.max" } else { "memory.limit_in_bytes" }, size);
            ends.push(verb.under(&mut t, &group.enter(), &NO_MEMORY).0);
        }
        both_ends(verb, &ends);
    }
}

// ---- processes --------------------------------------------------------------------------------

const NO_PROCESS: [&str; 1] = ["resource temporarily unavailable"];

#[test]
fn too_few_processes_in_the_callers_cgroup() {
    of_oxrun!();
    needs_cgroupfs!();
    if !host::has_controller("pids") {
        skip!("needs the pids controller");
    }
    let mut t = Sandbox::new();
    t.config["linux"]["cgroupsPath"] = json!(format!("/{}own", t.id));
    t.config["hooks"]["createRuntime"] = json!([{"path": "/bin/true"}]);
    for verb in VERBS {
        let mut ends = Vec::new();
        for limit in 1..5 {
            let group = Group::new(&t, "pids");
            group.set("pids.max", &limit.to_string());
            let (end, outcome) = verb.under(&mut t, &group.enter(), &NO_PROCESS);
            assert!(end != End::Died, "{verb:?} with {limit}: {outcome:?}");
            ends.push(end);
        }
        assert_eq!(ends.last(), Some(&End::Worked), "{verb:?}: {ends:?}");
        // On cgroup v2 the new process is born in the container's cgroup, and delete makes none.
        if matches!(verb, Verb::Create | Verb::Run) {
            both_ends(verb, &ends);
        }
    }
}

/// So many containers that more than one process looks at them, where there are two CPUs; without room for
/// another one, this one looks at all.
#[test]
fn list_of_many_containers() {
    of_oxrun!();
    let mut t = Sandbox::new();
    t.config["annotations"] = json!({"some": "thing", "other": "ü\n"});
    t.args(&["true"]).write_config();
    let ids: Vec<String> = (100..150).map(|number| t.other_id(&number.to_string())).collect();
    for id in &ids {
        t.runtime(&["run", "--keep", id]).ok();
    }
    let one_by_one = json!(ids.iter().map(|id| t.runtime(&["state", id]).ok().json()).collect::<Vec<_>>());
    let as_json = ["list", "--format", "json"];
    assert_eq!(t.runtime(&as_json).ok().json(), one_by_one);
    assert_eq!(t.runtime(&["list"]).ok().stdout.lines().count(), 51);
    if host::has_controller("pids") && !by_systemd() {
        let group = Group::new(&t, "pids");
        group.set("pids.max", "1");
        let alone = t.spawn(after(&group.enter(), &t.command(&as_json))).wait().ok();
        assert_eq!(alone.json(), one_by_one);
    }
    // A broken one is a warning, whoever looks at it.
    let file = t.state_dir().join(&ids[45]).join("state.json");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, "{").unwrap();
    let rest = t.runtime(&as_json).ok().says(&[&ids[45]]);
    assert_eq!(rest.json().as_array().unwrap().len(), 49);
    fs::write(&file, whole).unwrap();
    t.runtime(&["delete", "--force", "--regex", &format!("^{}", t.id)]).ok();
    t.finish();
}

/// A container of an ordinary user in such a namespace, with namespaces of all kinds.
fn for_own_host() -> Sandbox {
    let mut t = Sandbox::rootless();
    for kind in ["network", "cgroup"] {
        config::drop_namespace(&mut t.config, kind);
        t.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": kind}));
    }
    // The user is its root.
    for map in ["uidMappings", "gidMappings"] {
        t.config["linux"][map] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    }
    t
}

/// Runs the commands in a user namespace of an ordinary user, where limits of the host can be set that
/// are for it alone: words for the shell, in which `$oxrun` is the runtime.
fn in_own_host(t: &Sandbox, script: &str) -> Outcome {
    let command =
        t.in_user_namespace(&format!("oxrun=\"$0 --root {}\"; {script}", t.state_dir().display()), &["list"]);
    t.spawn(command).wait()
}

#[test]
fn no_more_processes_of_the_user() {
    of_oxrun!();
    if !user_namespaces() {
        skip!("ordinary users may not make user namespaces here");
    }
    let mut t = for_own_host();
    t.args(&["true"]).write_config();
    let script = |limit: u32| {
        // Counted are the processes of the user in this namespace: the shell, then the runtime.
        format!("exec prlimit --nproc={limit}:{limit} $oxrun run {}", t.id)
    };
    let mut ends = Vec::new();
    for limit in [1, 2, 3, 8] {
        let outcome = in_own_host(&t, &script(limit));
        ends.push(Verb::Run.judge(&t, &outcome, &NO_PROCESS));
    }
    both_ends(Verb::Run, &ends);
}

// ---- namespaces -------------------------------------------------------------------------------

fn user_namespaces() -> bool {
    let words = ["--reuid", "1000", "--clear-groups", "--", "unshare", "--user", "--map-root-user", "true"];
    host_command("setpriv", &words).code == 0
}

#[test]
fn no_more_namespaces() {
    of_oxrun!();
    if !user_namespaces() {
        skip!("ordinary users may not make user namespaces here");
    }
    let kinds = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];
    let mut t = for_own_host();
    t.args(&["true"]).write_config();
    for kind in kinds {
        let limit = format!("echo 0 >/proc/sys/user/max_{kind}_namespaces");
        let outcome = in_own_host(&t, &format!("{limit}; exec $oxrun run {}", t.id));
        assert!(outcome.code != 0, "without {kind}: {outcome:?}");
        Verb::Run.judge(&t, &outcome, &["no space left on device"]);
        outcome.says(&["namespace"]);
    }
    in_own_host(&t, &format!("exec $oxrun run {}", t.id)).ok();
    t.assert_clean();
}

#[test]
fn no_more_namespaces_for_a_container_that_is_there() {
    of_oxrun!();
    if !user_namespaces() {
        skip!("ordinary users may not make user namespaces here");
    }
    let mut t = for_own_host();
    t.args(&["payload", "sleep", "1000"]).write_config();
    let none = "for max in /proc/sys/user/max_*_namespaces; do echo 0 >$max; done";
    let id = &t.id;
    let outcome = in_own_host(
        &t,
        &format!(
            "$oxrun create {id}; $oxrun start {id}; {none}; $oxrun exec {id} echo entered; \
             $oxrun kill {id} KILL; $oxrun delete --force {id}"
        ),
    );
    assert!(outcome.ok().stdout.starts_with("entered\n"));
    t.assert_clean();
}

// ---- space ------------------------------------------------------------------------------------

const NO_SPACE: [&str; 1] = ["no space left on device"];

/// A tmpfs on a directory of the test.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn new(path: PathBuf, options: &str) -> Tmpfs {
        fs::create_dir_all(&path).unwrap();
        let options = format!("mode=700,{options}");
        host_command("mount", &["-t", "tmpfs", "-o", &options, "oxrun-small", path.to_str().unwrap()]).ok();
        Tmpfs(path)
    }

    /// Words for the shell that take all its space.
    fn fill(&self) -> String {
        format!("head -c 16777216 /dev/zero >{}/.fill 2>/dev/null || true", self.0.display())
    }

    /// Words for the shell that take all its files and directories.
    fn use_up(&self) -> String {
        format!("n=0; while mkdir {0}/.fill-$n 2>/dev/null; do n=$((n+1)); done", self.0.display())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn too_little_space_for_the_state() {
    of_oxrun!();
    for verb in [Verb::Create, Verb::Run] {
        for (unit, values) in
            [("size", ["4k", "8k", "12k", "16k", "64k"]), ("nr_inodes", ["1", "2", "3", "4", "16"])]
        {
            let mut ends = Vec::new();
            for value in values {
                let mut t = Sandbox::new();
                let _small = Tmpfs::new(t.state_dir(), &format!("{unit}={value}"));
                let (end, outcome) = verb.under(&mut t, ":", &NO_SPACE);
                assert!(end != End::Died, "{verb:?} with {unit}={value}: {outcome:?}");
                ends.push(end);
            }
            both_ends(verb, &ends);
        }
    }
}

#[test]
fn no_space_left_beside_the_state() {
    of_oxrun!();
    for options in ["size=64k", "nr_inodes=32"] {
        for verb in VERBS {
            let mut t = Sandbox::new();
            let small = Tmpfs::new(t.state_dir(), options);
            let trouble = if options.starts_with("size") { small.fill() } else { small.use_up() };
            let end = format!("rm -rf {0}/.fill*", small.0.display());
            let (met, outcome) = verb.while_lasts(&mut t, &trouble, &end, &NO_SPACE);
            // Who only enters or removes a container needs no space.
            let wanted = if matches!(verb, Verb::Exec | Verb::Delete) { End::Worked } else { End::Failed };
            assert_eq!(met, wanted, "{verb:?} with {options}: {outcome:?}");
        }
    }
}

#[test]
fn a_state_directory_that_is_read_only() {
    of_oxrun!();
    for verb in VERBS {
        let mut t = Sandbox::new();
        let small = Tmpfs::new(t.state_dir(), "size=1m");
        let mount = |how: &str| format!("mount -o remount,{how} {}", small.0.display());
        let (met, outcome) = verb.while_lasts(&mut t, &mount("ro"), &mount("rw"), &["read-only file system"]);
        let wanted = if verb == Verb::Exec { End::Worked } else { End::Failed };
        assert_eq!(met, wanted, "{verb:?}: {outcome:?}");
    }
}

#[test]
fn no_space_for_what_is_made_in_the_root() {
    of_oxrun!();
    type Spoil = fn(&mut Sandbox);
    let spoils: [(&str, Spoil); 4] = [
        ("a directory", |t| config::add_mount(&mut t.config, "/small/new", "tmpfs", "tmpfs", &[])),
        ("a file", |t| config::add_mount(&mut t.config, "/small/new", "bind", "/etc/hostname", &["bind"])),
        ("a device", |t| {
            t.config["linux"]["devices"] =
                json!([{"path": "/small/new", "type": "c", "major": 1, "minor": 3}]);
        }),
        ("the working directory", |t| t.config["process"]["cwd"] = json!("/small/new")),
    ];
    for (what, spoil) in spoils {
        for verb in [Verb::Create, Verb::Run] {
            let mut t = Sandbox::new();
            let small = Tmpfs::new(t.dir().join("small"), "nr_inodes=8");
            host_command("sh", &["-c", &small.use_up()]).ok();
            config::add_mount(&mut t.config, "/small", "bind", small.0.to_str().unwrap(), &["bind"]);
            spoil(&mut t);
            // chdir tells of a working directory that could not be made.
            let (end, outcome) = verb.under(&mut t, ":", &[NO_SPACE[0], "no such file or directory"]);
            assert_eq!(end, End::Failed, "{what}: {outcome:?}");
            assert!(outcome.stderr.contains("/small"), "{what}: {outcome:?}");
        }
    }
}

#[test]
fn no_space_for_the_pid_file_and_the_log() {
    of_oxrun!();
    for options in ["size=4k", "nr_inodes=8"] {
        let mut t = Sandbox::new();
        let small = Tmpfs::new(t.dir().join("small"), options);
        let words = if options.starts_with("size") { small.fill() } else { small.use_up() };
        host_command("sh", &["-c", &words]).ok();
        let (pid, log) = (t.path("small/pid"), t.path("small/log"));
        t.args(&["payload", "sleep", "1000"]);
        t.create_with(&["--pid-file", &pid]).failed().one_line().says(&["write pid file"]).says(&NO_SPACE);
        nothing_left(&t);
        t.create().ok();
        t.start().ok();
        let exec = ["exec", "--detach", "--pid-file", &pid, &t.id, "sleep", "1000"];
        t.runtime(&exec).failed().one_line().says(&["write pid file"]).says(&NO_SPACE);
        assert_eq!(t.runtime(&["ps", "--format", "json", &t.id]).ok().json().as_array().unwrap().len(), 1);
        t.finish();
        // A log that takes no line hinders nothing; the error is on standard error as well.
        t.runtime(&["--log", "/dev/full", "--debug", "create", &t.id]).ok();
        t.runtime(&["--log", "/dev/full", "create", &t.id]).failed().one_line().says(&["exist"]);
        t.finish();
        if options.starts_with("nr_inodes") {
            t.runtime(&["--log", &log, "create", &t.id]).failed().one_line().says(&NO_SPACE);
        }
        nothing_left(&t);
    }
}

// ---- frozen cgroups ---------------------------------------------------------------------------

/// Freezes and thaws a cgroup beside the runtime.
struct Freezer {
    group: Group,
    file: &'static str,
    words: [&'static str; 2],
}

impl Freezer {
    fn new(t: &Sandbox) -> Freezer {
        let (file, words) = match host::is_cgroup_v2() {
            true => ("cgroup.freeze", ["1", "0"]),
            false => ("freezer.state", ["FROZEN", "THAWED"]),
        };
        Freezer { group: Group::new(t, "freezer"), file, words }
    }

    fn freeze(&self) {
        self.group.set(self.file, self.words[0]);
        let (file, frozen) = match host::is_cgroup_v2() {
            true => ("cgroup.events", "frozen 1"),
            false => (self.file, self.words[0]),
        };
        let state = || fs::read_to_string(self.group.0.join(file)).unwrap();
        crate::harness::wait_until("the cgroup to freeze", || state().lines().any(|line| line == frozen));
    }

    fn thaw(&self) {
        self.group.set(self.file, self.words[1]);
    }
}

#[test]
fn a_frozen_cgroup_above() {
    of_oxrun!();
    needs_cgroupfs!();
    let mut t = Sandbox::new();
    let freezer = Freezer::new(&t);
    t.config["linux"]["cgroupsPath"] = json!(format!("/{}/{}own", Group::name(&t), t.id));
    freezer.freeze();
    for verb in [Verb::Create, Verb::Run] {
        let (end, outcome) = verb.under(&mut t, ":", &["frozen"]);
        assert_eq!(end, End::Failed, "{outcome:?}");
    }
    freezer.thaw();
    t.args(&["payload", "sleep", "1000"]);
    t.create().ok();
    freezer.freeze();
    t.start().failed().one_line().says(&["paused"]);
    freezer.thaw();
    t.start().ok();
    freezer.freeze();
    t.runtime(&["exec", &t.id, "true"]).failed().one_line().says(&["paused"]);
    t.delete().failed().one_line().says(&["paused"]);
    freezer.thaw();
    t.finish();
    t.assert_clean();
}

#[test]
fn a_container_that_nothing_can_end() {
    // A stand-in for a process in uninterruptible sleep: it heeds SIGKILL alone, and cannot while a cgroup
    // above its own is frozen (cgroup v1).
    of_oxrun!();
    needs_cgroupfs!();
    if host::is_cgroup_v2() {
        skip!("a frozen process of cgroup v2 can be killed");
    }
    let mut t = Sandbox::new();
    let freezer = Freezer::new(&t);
    t.config["linux"]["cgroupsPath"] = json!(format!("/{}/{}own", Group::name(&t), t.id));
    t.args(&["sh", "-c", "trap '' HUP INT QUIT TERM USR1 USR2; sleep 1000; sleep 1000"]);
    t.create().ok();
    t.start().ok();
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        t.kill(signal).ok();
    }
    freezer.freeze();
    t.kill("KILL").ok();
    // In time, with what to look at; it can be asked again.
    for _ in 0..2 {
        t.runtime(&["delete", "--force", &t.id]).failed().one_line().says(&["has not ended"]);
        assert_eq!(t.status(), "paused");
    }
    freezer.thaw();
    t.finish();
    t.assert_clean();
}
