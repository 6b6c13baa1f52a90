//! The frame of every test: a bundle in its own temporary directory with its own state directory,
//! calls of the runtime that cannot hang, and a guard that on the way out (also after a panic)
//! removes what is left and fails the test if anything was.

use crate::{config, host};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// No call of the runtime takes longer than this; an emulated machine has more patience
/// (TEST_PATIENCE: how many times as much).
fn limit() -> Duration {
    Duration::from_secs(30) * patience()
}

/// How many times as long as on an idle, real machine things may take.
pub fn patience() -> u32 {
    std::env::var("TEST_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

const APPLETS: &str = "[ cat chmod cp cut df dmesg echo env false find grep head hostname id ip kill ln ls mkdir \
    mount mv nc ps pwd readlink rm rmdir sed seq sh sleep sort stat stty tail test touch true tty umount uname wc";

/// Leaves the test early and says why, even when output is captured.
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::harness::note_skip(&format!($($reason)*));
        return;
    }};
}

/// Says on the real standard error why a test is left out.
pub fn note_skip(reason: &str) {
    use std::io::Write;
    let thread = std::thread::current();
    let line = format!("SKIP {}: {reason}\n", thread.name().unwrap_or("?"));
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// The runtime under test.
pub fn runtime() -> &'static Path {
    static RUNTIME: OnceLock<PathBuf> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let chosen = std::env::var("RUNTIME").unwrap_or(env!("CARGO_BIN_EXE_oxrun").to_string());
        fs::canonicalize(&chosen).unwrap_or_else(|e| panic!("RUNTIME {chosen}: {e}"))
    })
}

/// Whether systemd is to make the cgroups (`CGROUP_MANAGER=systemd`).
pub fn by_systemd() -> bool {
    std::env::var("CGROUP_MANAGER").is_ok_and(|manager| manager == "systemd")
}

/// Leaves a test of cgroups that are paths out where they are units.
macro_rules! needs_cgroupfs {
    () => {
        if $crate::harness::by_systemd() {
            skip!("of the driver cgroupfs alone");
        }
    };
}

/// Whether the runtime under test is this crate's.
pub fn is_oxrun() -> bool {
    static FIRST_LINE: OnceLock<bool> = OnceLock::new();
    *FIRST_LINE.get_or_init(|| {
        let version = Command::new(runtime()).arg("--version").output().unwrap();
        String::from_utf8_lossy(&version.stdout).starts_with("oxrun ")
    })
}

/// The helper program of tests/payload, as built beside this test.
pub fn payload() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/payload");
    let built = fs::metadata(&path).and_then(|m| m.modified());
    let sources = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/payload")).unwrap();
    let newest = sources.flatten().filter_map(|e| e.metadata().ok()?.modified().ok()).max();
    assert!(
        built.is_ok_and(|b| newest.is_none_or(|n| b >= n)),
        "{} is missing or old: `cargo build --example payload` (plain `cargo test` does it)",
        path.display()
    );
    path
}

/// What a command said and how it ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Exit status; 128 + number after a signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    command: String,
}

impl Outcome {
    /// Asserts success.
    #[track_caller]
    pub fn ok(self) -> Outcome {
        assert_eq!(self.code, 0, "`{}` failed: {}{}", self.command, self.stderr, self.stdout);
        self
    }

    /// Asserts failure by an own decision (not by a signal or a panic).
    #[track_caller]
    pub fn failed(self) -> Outcome {
        assert!(self.code != 0, "`{}` should have failed: {}", self.command, self.stdout);
        assert!(
            self.code < 128 || self.code == 255,
            "`{}` died: {} {}",
            self.command,
            self.code,
            self.stderr
        );
        assert!(!self.stderr.contains("panicked"), "`{}` panicked: {}", self.command, self.stderr);
        self
    }

    /// Asserts an exit status.
    #[track_caller]
    pub fn exits(self, code: i32) -> Outcome {
        assert_eq!(self.code, code, "`{}`: {}{}", self.command, self.stderr, self.stdout);
        self
    }

    /// Asserts that the error has one of the texts.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Outcome {
        let found = texts.iter().any(|t| self.stderr.contains(t));
        assert!(found, "`{}` should say one of {texts:?}, said: {}", self.command, self.stderr);
        self
    }

    /// Asserts that the error has a text of oxrun's own; for other runtimes nothing.
    #[track_caller]
    pub fn says_in_oxrun(self, text: &str) -> Outcome {
        if is_oxrun() { self.says(&[text]) } else { self }
    }

    /// Asserts that the error is one line; a promise of oxrun alone.
    #[track_caller]
    pub fn one_line(self) -> Outcome {
        let lines = self.stderr.lines().count();
        assert!(!is_oxrun() || lines == 1, "`{}` should say one line: {}", self.command, self.stderr);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("`{}`: {e}: {:?} {}", self.command, self.stdout, self.stderr))
    }
}

/// A command that runs, its output in files.
pub struct Running {
    child: Child,
    command: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Waits for the end; kills and panics after the limit.
    #[track_caller]
    pub fn wait(mut self) -> Outcome {
        let end = Instant::now() + limit();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return self.outcome(status);
            }
            if Instant::now() > end {
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!("`{}` hangs; so far: {}{}", self.command, self.output(), self.errors());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn outcome(&self, status: ExitStatus) -> Outcome {
        Outcome {
            code: status.code().or(status.signal().map(|s| 128 + s)).unwrap(),
            stdout: self.output(),
            stderr: self.errors(),
            command: self.command.clone(),
        }
    }

    /// Standard output so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stdout).unwrap()).into_owned()
    }

    /// Standard error so far.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).unwrap()).into_owned()
    }

    /// Waits until the output has a text.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        wait_until(&format!("`{}` to print {text:?}", self.command), || {
            self.output().contains(text) || self.child.try_wait().unwrap().is_some()
        });
        assert!(self.output().contains(text), "`{}`: {}{}", self.command, self.output(), self.errors());
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }
}

/// Polls a condition, with a limit.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + limit() / 3;
    while !condition() {
        assert!(Instant::now() < end, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a host command to its end, with the same limit as the runtime; no bundle needed.
#[track_caller]
pub fn host_command(program: &str, args: &[&str]) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.args(args);
    spawn(&mut command, &dir.path().join("out"), &dir.path().join("err")).wait()
}

/// Runs a command and reads its output and errors from pipes to their end, as engines do, with the
/// same limit: the end only comes when nothing that it leaves running holds them.
#[track_caller]
pub fn output_of(mut command: Command) -> std::process::Output {
    let line = format!("{command:?}");
    let (done, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(command.output()));
    let output = end.recv_timeout(limit()).unwrap_or_else(|_| panic!("`{line}`: its output is kept open"));
    output.unwrap()
}

fn spawn(command: &mut Command, stdout: &Path, stderr: &Path) -> Running {
    let line = format!("{command:?}");
    command.stdout(File::create(stdout).unwrap()).stderr(File::create(stderr).unwrap());
    let child = command.spawn().unwrap_or_else(|e| panic!("{line}: {e}"));
    Running { child, command: line, stdout: stdout.into(), stderr: stderr.into() }
}

/// One test's corner of the host.
pub struct Sandbox {
    directory: tempfile::TempDir,
    /// The id of the first container; every other id of the test begins with it.
    pub id: String,
    /// config.json, written before each `create` and `run`.
    pub config: Value,
    calls: AtomicU32,
    /// What every call of the runtime begins with: root becoming an ordinary user.
    before: Vec<String>,
}

/// The user that rootless tests become when they are run by root.
const ORDINARY: &str = "1000";

impl Sandbox {
    /// A bundle with a root filesystem of busybox and the payload, and the default config.
    pub fn new() -> Sandbox {
        assert!(rustix::process::geteuid().is_root(), "these tests need root: `sudo make test`");
        Sandbox::build()
    }

    /// The same for an ordinary user, with the config that the runtime makes for one. Root becomes
    /// one for every call, and then has no cgroup and no directory of its own anywhere else.
    pub fn rootless() -> Sandbox {
        let mut sandbox = Sandbox::build();
        if rustix::process::geteuid().is_root() {
            let words = ["setpriv", "--reuid", ORDINARY, "--regid", ORDINARY, "--clear-groups", "--"];
            sandbox.before = words.map(String::from).to_vec();
            host_command("chown", &["-hR", &format!("{ORDINARY}:{ORDINARY}"), &sandbox.path("")]).ok();
        }
        sandbox.runtime(&["spec", "--rootless"]).ok();
        let text = fs::read_to_string(sandbox.bundle().join("config.json")).unwrap();
        sandbox.config = serde_json::from_str(&text).unwrap();
        sandbox.config["process"]["terminal"] = json!(false);
        sandbox
    }

    fn build() -> Sandbox {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        rustix::process::set_child_subreaper(Some(Pid::INIT)).unwrap();
        let number = COUNTER.fetch_add(1, Ordering::SeqCst);
        let directory = tempfile::Builder::new().prefix("oxt").tempdir().unwrap();
        let id = format!("oxt-{}-{number}-", std::process::id());
        let config = config::default(&id);
        // Users of a user namespace have to get to the root filesystem.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let sandbox = Sandbox { directory, id, config, calls: AtomicU32::new(0), before: Vec::new() };
        make_rootfs(&sandbox.rootfs());
        sandbox
    }

    pub fn dir(&self) -> &Path {
        self.directory.path()
    }

    pub fn bundle(&self) -> PathBuf {
        self.dir().join("bundle")
    }

    pub fn rootfs(&self) -> PathBuf {
        self.dir().join("bundle/rootfs")
    }

    /// The state directory (`--root`).
    pub fn state_dir(&self) -> PathBuf {
        self.dir().join("state")
    }

    /// A path in the temporary directory, outside the bundle.
    pub fn path(&self, name: &str) -> String {
        self.dir().join(name).display().to_string()
    }

    /// Another id of this test.
    pub fn other_id(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.id)
    }

    /// A new user namespace from `outside` up, and the root filesystem given to its root.
    pub fn map_users(&mut self, outside: u32) {
        config::add_user_namespace(&mut self.config, outside);
        let root = self.rootfs().display().to_string();
        host_command("chown", &["-hR", &format!("{outside}:{outside}"), &root]).ok();
    }

    /// Sets the program of the container.
    pub fn args(&mut self, args: &[&str]) -> &mut Sandbox {
        self.config["process"]["args"] = json!(args);
        self
    }

    pub fn write_config(&self) {
        let text = serde_json::to_string_pretty(&self.config).unwrap();
        fs::write(self.bundle().join("config.json"), text).unwrap();
    }

    /// A call of the runtime with this test's state directory, from the bundle.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut words: Vec<&str> = self.before.iter().map(String::as_str).collect();
        words.push(runtime().to_str().unwrap());
        self.command_of(&words, args)
    }

    /// The same with the payload preparing the process: `["with-umask", "077"]`.
    pub fn prepared(&self, preparation: &[&str], args: &[&str]) -> Command {
        let payload = payload();
        let mut words = vec![payload.to_str().unwrap()];
        words.extend(preparation);
        words.extend(["--", runtime().to_str().unwrap()]);
        self.command_of(&words, args)
    }

    /// The same from inside a network namespace that `ip netns` made.
    pub fn in_network(&self, namespace: &str, args: &[&str]) -> Command {
        let file = format!("--net=/run/netns/{namespace}");
        self.command_of(&["nsenter", &file, runtime().to_str().unwrap()], args)
    }

    /// The same, executed by another program.
    pub fn by_program(&self, program: &[&str], args: &[&str]) -> Command {
        let words = [program, &[runtime().to_str().unwrap()]].concat();
        self.command_of(&words, args)
    }

    /// The same as root of a user namespace, with a mount namespace that a shell script has changed
    /// first: as engines call the runtime for ordinary users.
    pub fn in_user_namespace(&self, script: &str, args: &[&str]) -> Command {
        let mut words: Vec<&str> = self.before.iter().map(String::as_str).collect();
        let script = format!("set -e; {script}; exec \"$0\" \"$@\"");
        words.extend(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &script]);
        words.push(runtime().to_str().unwrap());
        self.command_of(&words, args)
    }

    /// The same in a mount namespace of its own that a shell script has changed first.
    pub fn after_mounts(&self, script: &str, args: &[&str]) -> Command {
        let script = format!("set -e; {script}; exec \"$0\" \"$@\"");
        let mut words = vec!["unshare", "--mount", "sh", "-c", &script];
        words.extend(self.before.iter().map(String::as_str));
        words.push(runtime().to_str().unwrap());
        self.command_of(&words, args)
    }

    fn command_of(&self, words: &[&str], args: &[&str]) -> Command {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("--root").arg(self.state_dir());
        if by_systemd() && !args.contains(&"--systemd-cgroup") {
            command.arg("--systemd-cgroup");
        }
        command.args(args);
        command.current_dir(self.bundle()).env("OXRUN_TEST", &self.id).stdin(Stdio::null());
        // As developers have it; a release binary has no tables for a backtrace and must not mind.
        command.env("RUST_BACKTRACE", "1");
        if patience() > 1 {
            command.env("OXRUN_SYSTEMD_TIMEOUT", (5 * patience()).to_string());
            command.env("OXRUN_CRIU_TIMEOUT", (30 * patience()).to_string());
        }
        command
    }

    /// Starts a command with its output in files of the temporary directory.
    pub fn spawn(&self, mut command: Command) -> Running {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let (out, err) =
            (self.dir().join(format!("call{number}.out")), self.dir().join(format!("call{number}.err")));
        spawn(&mut command, &out, &err)
    }

    /// Starts a command whose standard output and error are a terminal.
    pub fn spawn_on(&self, mut command: Command, terminal: &File) -> Running {
        let line = format!("{command:?}");
        command.stdout(terminal.try_clone().unwrap()).stderr(terminal.try_clone().unwrap());
        let child = command.spawn().unwrap_or_else(|e| panic!("{line}: {e}"));
        let nothing = self.dir().join("nothing");
        File::create(&nothing).unwrap();
        Running { child, command: line, stdout: nothing.clone(), stderr: nothing }
    }

    /// Calls the runtime and waits.
    #[track_caller]
    pub fn runtime(&self, args: &[&str]) -> Outcome {
        self.spawn(self.command(args)).wait()
    }

    /// `run` in the foreground.
    #[track_caller]
    pub fn run(&self) -> Outcome {
        self.write_config();
        self.runtime(&["run", &self.id])
    }

    /// `run` of a program, its output.
    #[track_caller]
    pub fn run_args(&mut self, args: &[&str]) -> Outcome {
        self.args(args).run()
    }

    /// `run` of actions of the payload; the results.
    #[track_caller]
    pub fn actions(&mut self, actions: &[&str]) -> Value {
        let words: Vec<&str> = ["payload", "do"].iter().chain(actions).copied().collect();
        self.run_args(&words).ok().json()
    }

    /// `run` of the payload's report.
    #[track_caller]
    pub fn report(&mut self) -> Value {
        self.run_args(&["payload", "report"]).ok().json()
    }

    /// `create`; what the container prints later is found by `printed`.
    #[track_caller]
    pub fn create(&self) -> Outcome {
        self.create_with(&[])
    }

    #[track_caller]
    pub fn create_with(&self, flags: &[&str]) -> Outcome {
        self.write_config();
        let words: Vec<&str> = ["create"].iter().chain(flags).copied().chain([self.id.as_str()]).collect();
        self.runtime(&words)
    }

    #[track_caller]
    pub fn start(&self) -> Outcome {
        self.runtime(&["start", &self.id])
    }

    #[track_caller]
    pub fn state(&self) -> Value {
        self.runtime(&["state", &self.id]).ok().json()
    }

    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_string()
    }

    /// The pid of the container's process on the host.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.state()["pid"].as_i64().unwrap() as i32
    }

    #[track_caller]
    pub fn kill(&self, signal: &str) -> Outcome {
        self.runtime(&["kill", &self.id, signal])
    }

    #[track_caller]
    pub fn delete(&self) -> Outcome {
        self.runtime(&["delete", &self.id])
    }

    #[track_caller]
    pub fn wait_status(&self, status: &str) {
        wait_until(&format!("status {status}"), || self.status() == status);
    }

    /// Waits for the end of a container whose parent is this process: its exit status.
    #[track_caller]
    pub fn reap(&self, pid: i32) -> i32 {
        let mut code = None;
        wait_until("the container's end", || {
            code = waitpid(Pid::from_raw(pid), WaitOptions::NOHANG).unwrap();
            code.is_some()
        });
        let (_, status) = code.unwrap();
        status.exit_status().or(status.terminating_signal().map(|s| 128 + s)).unwrap()
    }

    /// Ends the container by force: SIGKILL, wait, delete.
    #[track_caller]
    pub fn finish(&self) {
        self.runtime(&["delete", "--force", &self.id]).ok();
    }

    /// What all calls so far, and the containers they made, have printed.
    pub fn printed(&self) -> String {
        let calls = 0..self.calls.load(Ordering::SeqCst);
        calls
            .map(|n| fs::read_to_string(self.dir().join(format!("call{n}.out"))).unwrap_or_default())
            .collect()
    }

    /// Everything on the host that belongs to this test's containers, in words.
    pub fn leftovers(&self) -> Vec<String> {
        let directory = self.dir().display().to_string();
        let mut found: Vec<String> =
            self.containers().iter().map(|c| format!("state directory {c}")).collect();
        found.extend(host::cgroups_with(&self.id).iter().map(|c| format!("cgroup {}", c.display())));
        found.extend(host::mounts_with(&[&directory, &self.id]).iter().map(|m| format!("mount {m}")));
        let processes = host::processes_with_any(&[&self.id, &directory]).into_iter();
        found.extend(processes.map(|(pid, line)| format!("process {pid} {line}")));
        found
    }

    /// Asserts that no container, cgroup, mount or process of this test exists.
    #[track_caller]
    pub fn assert_clean(&self) {
        let deadline = Instant::now() + Duration::from_secs(2) * patience();
        let mut found = self.leftovers();
        while found.iter().any(|f| f.starts_with("process")) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
            found = self.leftovers();
        }
        assert!(found.is_empty(), "left behind: {found:#?}");
    }

    /// Asserts that no state directory is there.
    #[track_caller]
    pub fn assert_no_containers(&self) {
        assert!(self.containers().is_empty(), "left behind: {:?}", self.containers());
    }

    fn containers(&self) -> Vec<String> {
        let entries =
            fs::read_dir(self.state_dir()).map(|e| e.flatten().collect::<Vec<_>>()).unwrap_or_default();
        entries.iter().map(|e| e.file_name().to_string_lossy().into_owned()).collect()
    }

    fn clean_up(&self) -> Vec<String> {
        for id in self.containers() {
            let mut command = self.command(&["delete", "--force", &id]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let Ok(mut child) = command.spawn() else { continue };
            let end = Instant::now() + limit();
            while matches!(child.try_wait(), Ok(None)) {
                if Instant::now() > end {
                    let _ = child.kill();
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let mut found = self.leftovers();
        for _ in 0..200 {
            if found.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
            found = self.leftovers();
        }
        self.remove_leftovers();
        found
    }

    pub fn remove_leftovers(&self) {
        for _ in 0..200 {
            let processes = host::processes_with(&self.id);
            if processes.is_empty() {
                break;
            }
            for (pid, _) in processes {
                let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        for line in host::mounts_with(&[&self.dir().display().to_string()]) {
            let point = line.split(' ').nth(4).unwrap_or("").to_string();
            let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
        }
        for cgroup in host::cgroups_with(&self.id).iter().rev() {
            let _ = fs::remove_dir(cgroup);
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let found = self.clean_up();
        if found.is_empty() {
            return;
        }
        if std::thread::panicking() {
            eprintln!("also left behind after `delete --force`: {found:#?}");
        } else {
            panic!("left behind after `delete --force`: {found:#?}");
        }
    }
}

/// A root filesystem. The programs are copied by a process of their own: a descriptor open for
/// writing in this one could leak into a fork of another test and make execve fail with ETXTBSY.
fn make_rootfs(root: &Path) {
    for name in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "mnt"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    let busybox = "/bin/busybox";
    assert!(Path::new(busybox).exists(), "{busybox} is missing: apt-get install busybox-static");
    let copied = Command::new("cp").arg(busybox).arg(payload()).arg(root.join("bin")).status().unwrap();
    assert!(copied.success());
    for applet in APPLETS.split_whitespace() {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let passwd =
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n2000:x:0:0::/root:/bin/sh\n";
    fs::write(root.join("etc/passwd"), passwd).unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nuser:x:1000:\n").unwrap();
}

/// Writes an executable file without keeping it open for writing in this process.
pub fn write_program(path: &Path, text: &str) {
    let mut child = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}
