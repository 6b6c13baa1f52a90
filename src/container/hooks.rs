//! Running hooks: the state on stdin, nothing of the runtime's or the container's environment unless
//! the caller says so, its own process group, a deadline that kills the group, and what it printed in
//! the error (R16). Called by the host side for prestart, createRuntime, poststart and poststop, and
//! by init for createContainer and startContainer.

use crate::bundle::plan::{Hook, Plan};
use crate::error::{Context, Doing, anyhow, bail, shown};
use crate::error::{failed, text};
use crate::hostfs;
use crate::sys::{signal, spawn};
use crate::trace;
use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How much of what a hook prints is kept for the error, in bytes; the end is kept.
const KEPT_OUTPUT: usize = 4096;

/// The environment of a hook whose config gives none.
#[derive(Debug, Clone, Copy)]
pub enum EnvWhenAbsent<'a> {
    /// The caller's own: for hooks in the runtime's namespaces.
    Inherit,
    /// This one: for hooks in the container.
    Given(&'a [CString]),
}

/// What all hooks of one run share.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The state as JSON (runtime.md), given to each hook on stdin.
    pub state: &'a [u8],
    /// The environment of a hook that has none of its own.
    pub env: EnvWhenAbsent<'a>,
    /// The working directory: the bundle; none leaves the caller's.
    pub cwd: Option<&'a Path>,
    /// Where standard output goes; none keeps its end for the error.
    pub stdout: Option<BorrowedFd<'a>>,
    /// Where standard error goes; none keeps its end for the error.
    pub stderr: Option<BorrowedFd<'a>>,
}

/// Runs hooks of one kind ("createRuntime") in order and stops at the first that fails.
pub fn run(hooks: &[Hook], kind: &str, setting: &Setting<'_>) -> Result<()> {
    for (index, hook) in hooks.iter().enumerate() {
        traced(hook, kind, setting).with_context(|| named(kind, index, hook)).map_err(one_line)?;
    }
    Ok(())
}

/// Runs all poststop hooks whatever happens; returns what failed, for the caller to warn about.
fn run_poststop(hooks: &[Hook], setting: &Setting<'_>) -> Vec<anyhow::Error> {
    let run = |(index, hook): (usize, &Hook)| {
        traced(hook, "poststop", setting)
            .with_context(|| named("poststop", index, hook))
            .map_err(one_line)
            .err()
    };
    hooks.iter().enumerate().filter_map(run).collect()
}

/// The state that hooks read on standard input (runtime.md, State).
pub fn state_json(plan: &Plan, id: &str, status: &str, pid: i32) -> Result<Vec<u8>> {
    let mut state = serde_json::json!({
        "ociVersion": crate::cli::help::SPEC_VERSION,
        "id": id,
        "status": status,
        "pid": pid,
        "bundle": plan.bundle.to_string_lossy(),
    });
    if let (Some(members), false) = (state.as_object_mut(), plan.annotations.is_empty()) {
        members.insert("annotations".into(), serde_json::to_value(&plan.annotations)?);
    }
    Ok(serde_json::to_vec(&state)?)
}

/// The files that the annotations run.oci.hooks.stdout and stderr name, opened by the host side.
#[derive(Debug, Default)]
pub struct Outputs {
    /// For standard output.
    pub stdout: Option<OwnedFd>,
    /// For standard error.
    pub stderr: Option<OwnedFd>,
}

impl Outputs {
    /// Opens or makes the files; what hooks print is appended.
    pub fn open(plan: &Plan) -> Result<Outputs> {
        let given = &plan.extensions;
        let open = |path: &Option<PathBuf>, name: &str| {
            let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOCTTY;
            let open = |path: &PathBuf| {
                hostfs::open_or_create(path, flags, Mode::RUSR | Mode::WUSR).doing(|| {
                    format!(
                        "open `{}` for the output of hooks (annotations.run.oci.hooks.{name})",
                        path.display()
                    )
                })
            };
            path.as_ref().map(open).transpose()
        };
        Ok(Outputs {
            stdout: open(&given.hook_stdout, "stdout")?,
            stderr: open(&given.hook_stderr, "stderr")?,
        })
    }

    /// Both, where given.
    pub fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        self.stdout.iter().chain(&self.stderr)
    }
}

/// The setting of hooks in the runtime's namespaces.
fn outside<'a>(plan: &'a Plan, state: &'a [u8], outputs: &'a Outputs) -> Setting<'a> {
    let stdout = outputs.stdout.as_ref().map(AsFd::as_fd);
    let stderr = outputs.stderr.as_ref().map(AsFd::as_fd);
    Setting { state, env: EnvWhenAbsent::Inherit, cwd: Some(&plan.bundle), stdout, stderr }
}

/// prestart and createRuntime hooks, when the namespaces and mounts are there.
pub fn before_pivot(plan: &Plan, id: &str, pid: i32) -> Result<()> {
    let (state, outputs) = (state_json(plan, id, "creating", pid)?, Outputs::open(plan)?);
    run(&plan.hooks.prestart, "prestart", &outside(plan, &state, &outputs))?;
    run(&plan.hooks.create_runtime, "createRuntime", &outside(plan, &state, &outputs))
}

/// poststart hooks, when the program was executed.
pub fn poststart(plan: &Plan, id: &str, pid: i32) -> Result<()> {
    if plan.hooks.poststart.is_empty() {
        return Ok(());
    }
    let (state, outputs) = (state_json(plan, id, "running", pid)?, Outputs::open(plan)?);
    run(&plan.hooks.poststart, "poststart", &outside(plan, &state, &outputs))
}

/// poststop hooks, when the container is gone; what fails is only a warning.
pub fn poststop(plan: &Plan, id: &str) {
    if plan.hooks.poststop.is_empty() {
        return;
    }
    match state_json(plan, id, "stopped", 0).and_then(|state| Ok((state, Outputs::open(plan)?))) {
        Ok((state, outputs)) => {
            for error in run_poststop(&plan.hooks.poststop, &outside(plan, &state, &outputs)) {
                crate::warn!("{}", shown(&error));
            }
        }
        Err(error) => crate::warn!("poststop hooks of `{id}` cannot run: {}", shown(&error)),
    }
}

fn named(kind: &str, index: usize, hook: &Hook) -> String {
    format!("error running {kind} hook #{index}: `{}`", hook.path.to_string_lossy())
}

/// One message instead of a chain, so that it reads the same however it is printed.
fn one_line(error: anyhow::Error) -> anyhow::Error {
    crate::error::Failed::of(&error).into()
}

fn traced(hook: &Hook, kind: &str, setting: &Setting<'_>) -> Result<()> {
    let name = if trace::is_on() { format!("{kind} hook") } else { String::new() };
    trace::step_of(&name, || hook.path.to_string_lossy().into_owned(), || run_one(hook, setting))
}

fn run_one(hook: &Hook, setting: &Setting<'_>) -> Result<()> {
    // A disposition inherited as "ignored" would make the kernel throw the exit status away.
    signal::set_default(libc::SIGCHLD).map_err(failed("reset SIGCHLD"))?;
    let _pipe_ignored = signal::PipeIgnored::new().map_err(failed("ignore SIGPIPE"))?;
    let deadline = hook.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let (stdin, feed) = pipe()?;
    let (output, printed) = pipe()?;
    let child = start(hook, setting, stdin.as_fd(), printed.as_fd())?;
    drop((stdin, printed));
    let mut attendance = Attendance {
        child: &child,
        feed: Some(feed),
        rest: setting.state,
        output: Some(output),
        kept: vec![],
    };
    let in_time = attendance.until_ended(deadline);
    if !matches!(in_time, Ok(true)) {
        child.kill();
    }
    let status = reap(&child)?;
    attendance.drain();
    if !in_time? {
        bail!("timed out after {} s{}", hook.timeout.unwrap_or_default(), attendance.said());
    }
    verdict(&child, &status, &attendance.said())
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    pipe_with(PipeFlags::CLOEXEC).map_err(failed("make a pipe for the hook"))
}

fn start(
    hook: &Hook,
    setting: &Setting<'_>,
    stdin: BorrowedFd<'_>,
    out: BorrowedFd<'_>,
) -> Result<spawn::Child> {
    let inherited;
    let env: &[CString] = match (&hook.env, setting.env) {
        (Some(own), _) => own,
        (None, EnvWhenAbsent::Given(env)) => env,
        (None, EnvWhenAbsent::Inherit) => {
            inherited = own_environment();
            &inherited
        }
    };
    let path_alone = [hook.path.clone()];
    let cwd = setting.cwd.map(|path| CString::new(path.as_os_str().as_bytes())).transpose()?;
    // Descriptors 0 to 2 of the caller may be given as outputs; they must survive being replaced.
    let [stdin, stdout, stderr] =
        [stdin, setting.stdout.unwrap_or(out), setting.stderr.unwrap_or(out)].map(above_stdio);
    let (stdin, stdout, stderr) = (stdin?, stdout?, stderr?);
    let program = spawn::Program {
        path: &hook.path,
        args: if hook.args.is_empty() { &path_alone } else { &hook.args },
        env,
        cwd: cwd.as_deref(),
        stdio: [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        // Those in the container end with init, which `delete` kills.
        ends_with_caller: matches!(setting.env, EnvWhenAbsent::Inherit),
    };
    spawn::start(&program).map_err(failed("start a process for it"))
}

fn above_stdio(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    fcntl_dupfd_cloexec(fd, 3).map_err(failed("duplicate a descriptor for the hook"))
}

/// What the caller gave this process.
pub fn own_environment() -> Vec<CString> {
    let line = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        let bytes = [name.into_vec(), b"=".to_vec(), value.into_vec()].concat();
        CString::new(bytes).ok() // what the kernel gave us holds no null byte
    };
    std::env::vars_os().filter_map(line).collect()
}

/// Looking after one running hook.
struct Attendance<'a> {
    child: &'a spawn::Child,
    feed: Option<OwnedFd>,
    rest: &'a [u8],
    output: Option<OwnedFd>,
    kept: Vec<u8>,
}

impl Attendance<'_> {
    /// Feeds the state and keeps the output until the hook has ended (true) or the deadline (false).
    fn until_ended(&mut self, deadline: Option<Instant>) -> Result<bool> {
        for fd in [&self.feed, &self.output].into_iter().flatten() {
            nonblocking(fd)?;
        }
        loop {
            let [ended, feed, output] = match self.wait(deadline)? {
                Some(ready) => ready,
                None => return Ok(false),
            };
            if feed {
                self.feed_some()?;
            }
            if output {
                self.keep_some();
            }
            if ended {
                return Ok(true);
            }
        }
    }

    /// Waits for one of: the end, room for the state, output. None when the deadline has passed.
    fn wait(&self, deadline: Option<Instant>) -> Result<Option<[bool; 3]>> {
        let timeout = match deadline {
            None => None,
            Some(deadline) => match deadline.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return Ok(None),
                left => Some(Timespec {
                    tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                    tv_nsec: left.subsec_nanos().into(),
                }),
            },
        };
        let never = &self.child.pidfd; // polled for nothing where there is no descriptor
        let entry = |fd: &Option<OwnedFd>, events| match fd {
            Some(_) => events,
            None => PollFlags::empty(),
        };
        let mut fds = [
            PollFd::new(&self.child.pidfd, PollFlags::IN),
            PollFd::new(self.feed.as_ref().unwrap_or(never), entry(&self.feed, PollFlags::OUT)),
            PollFd::new(self.output.as_ref().unwrap_or(never), entry(&self.output, PollFlags::IN)),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("wait for the hook")(errno)),
        }
        Ok(Some([0, 1, 2].map(|i| !fds[i].revents().is_empty())))
    }

    /// Writes what the pipe takes. A hook need not read its state.
    fn feed_some(&mut self) -> Result<()> {
        let Some(feed) = &self.feed else { return Ok(()) };
        match rustix::io::write(feed, self.rest) {
            Ok(written) => self.rest = &self.rest[written..],
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::PIPE) => self.rest = &[],
            Err(errno) => return Err(failed("write the state to its stdin")(errno)),
        }
        if self.rest.is_empty() {
            self.feed = None;
        }
        Ok(())
    }

    /// Reads some output and keeps the last of it; false when there is none now.
    fn keep_some(&mut self) -> bool {
        let Some(output) = &self.output else { return false };
        let mut buffer = [0u8; KEPT_OUTPUT];
        match rustix::io::read(output, &mut buffer) {
            Ok(length @ 1..) => {
                self.kept.extend_from_slice(&buffer[..length]);
                let surplus = self.kept.len().saturating_sub(KEPT_OUTPUT);
                self.kept.drain(..surplus);
                true
            }
            Err(Errno::INTR) => true,
            Err(Errno::AGAIN) => false,
            Ok(_) | Err(_) => {
                self.output = None;
                false
            }
        }
    }

    /// Takes what is in the pipe after the end, without waiting for what the hook left running.
    fn drain(&mut self) {
        for _ in 0..64 {
            if !self.keep_some() {
                break;
            }
        }
    }

    /// ": " and what the hook printed, on one line; nothing if it printed nothing.
    fn said(&self) -> String {
        let printed = String::from_utf8_lossy(&self.kept);
        let lines: Vec<&str> = printed.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if lines.is_empty() { String::new() } else { format!(": {}", lines.join("; ")) }
    }
}

fn nonblocking(fd: &OwnedFd) -> Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd).map_err(failed("read the flags of a pipe"))?;
    rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK).map_err(failed("set up a pipe"))
}

fn reap(child: &spawn::Child) -> Result<WaitIdStatus> {
    loop {
        match waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(Some(status)) => return Ok(status),
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("wait for the hook")(errno)),
        }
    }
}

fn verdict(child: &spawn::Child, status: &WaitIdStatus, said: &str) -> Result<()> {
    if let Some(refusal) = child.refusal() {
        bail!("{}: {}", refusal.step, text(refusal.errno));
    }
    match (status.exit_status().unwrap_or(255), status.terminating_signal()) {
        (_, Some(number)) => bail!("killed by signal {number} ({}){said}", signal::words(number)),
        (0, None) => Ok(()),
        (code, None) => bail!("exit status {code}{said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn shell(script: &str) -> Hook {
        let args = ["sh", "-c", script].map(|arg| CString::new(arg).unwrap()).to_vec();
        Hook { path: c"/bin/sh".into(), args, env: Some(vec![]), timeout: None }
    }

    const SETTING: Setting = Setting {
        state: b"{\"id\":\"x\"}",
        env: EnvWhenAbsent::Given(&[]),
        cwd: None,
        stdout: None,
        stderr: None,
    };

    fn error(hook: Hook) -> String {
        run(&[hook], "createRuntime", &SETTING).unwrap_err().to_string()
    }

    /// Runs a hook and returns what it printed.
    fn output(hook: &Hook, setting: &Setting) -> String {
        let (mut reader, writer) = std::io::pipe().unwrap();
        run(std::slice::from_ref(hook), "prestart", &Setting { stdout: Some(writer.as_fd()), ..*setting })
            .unwrap();
        drop(writer);
        let mut printed = String::new();
        reader.read_to_string(&mut printed).unwrap();
        printed
    }

    #[test]
    fn gets_the_state_and_its_arguments() {
        let mut hook = shell("cat; echo \" $0 $*\"");
        hook.args.extend([c"zero".into(), c"one".into()]);
        assert_eq!(output(&hook, &SETTING), "{\"id\":\"x\"} zero one\n");
    }

    #[test]
    fn runs_in_the_given_directory_and_environment() {
        let setting =
            Setting { cwd: Some(Path::new("/usr")), env: EnvWhenAbsent::Given(&[c"A=b".into()]), ..SETTING };
        let hook = Hook { env: None, ..shell("/usr/bin/env | grep -v ^_=; pwd") };
        let printed = output(&hook, &setting);
        assert!(printed.lines().any(|line| line == "A=b"), "{printed}");
        assert!(printed.ends_with("/usr\n"), "{printed}");
        assert!(!printed.contains("CARGO"), "{printed}");
        let own = output(&Hook { env: Some(vec![c"C=d".into()]), ..shell("echo $A$C") }, &setting);
        assert_eq!(own, "d\n");
        let inherited = output(
            &Hook { env: None, ..shell("echo $CARGO_MANIFEST_DIR") },
            &Setting { env: EnvWhenAbsent::Inherit, ..SETTING },
        );
        assert_eq!(inherited.trim_end(), env!("CARGO_MANIFEST_DIR"));
    }

    #[test]
    fn has_a_clean_process_of_its_own() {
        // std ignores SIGPIPE and the test harness holds descriptors open.
        let leak = rustix::fs::open("/", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
        assert_eq!(rustix::io::fcntl_getfd(&leak).unwrap(), rustix::io::FdFlags::empty());
        let hook = shell(
            "ls /proc/self/fd | wc -l; grep -E '^Sig(Ign|Blk)' /proc/self/status; ps -o pgid= -p $$; echo $$",
        );
        let printed = output(&hook, &SETTING);
        let fields: Vec<&str> = printed.split_whitespace().collect();
        assert_eq!(fields[..5], ["4", "SigBlk:", "0000000000000000", "SigIgn:", "0000000000000000"]);
        assert_eq!(fields[5], fields[6], "leads its own process group");
    }

    #[test]
    fn a_state_larger_than_a_pipe_is_written_and_need_not_be_read() {
        let state = vec![b'x'; 1 << 20];
        let setting = Setting { state: &state, ..SETTING };
        assert_eq!(output(&shell("wc -c"), &setting), "1048576\n");
        run(&[shell("exec <&-; sleep 0.1")], "prestart", &setting).unwrap();
        // One that talks before it reads, more than a pipe holds, stops neither side.
        run(&[shell("head -c 200000 /dev/zero | tr '\\0' y; cat > /dev/null")], "prestart", &setting)
            .unwrap();
    }

    #[test]
    fn failures_name_hook_and_reason() {
        assert_eq!(
            error(shell("echo one; echo two >&2; exit 3")),
            "error running createRuntime hook #0: `/bin/sh`: exit status 3: one; two"
        );
        let hooks = [shell("exit 0"), shell("kill -SYS $$"), shell("exit 9")];
        let second = run(&hooks, "startContainer", &SETTING).unwrap_err().to_string();
        let expected =
            "error running startContainer hook #1: `/bin/sh`: killed by signal 31 (bad system call)";
        assert_eq!(second, expected);
        let missing = Hook { path: c"/no/such".into(), ..shell("") };
        assert!(error(missing).ends_with("`/no/such`: execute: no such file or directory"));
        let setting = Setting { cwd: Some(Path::new("/no/such")), ..SETTING };
        let elsewhere = run(&[shell("")], "prestart", &setting).unwrap_err().to_string();
        assert!(elsewhere.ends_with("change directory: no such file or directory"), "{elsewhere}");
    }

    #[test]
    fn only_the_end_of_long_output_is_kept() {
        let text = error(shell("head -c 100000 /dev/zero | tr '\\0' a; echo end; exit 1"));
        assert!(text.ends_with("aend") && text.len() < KEPT_OUTPUT + 100, "{}", text.len());
    }

    #[test]
    fn the_timeout_kills_the_whole_group() {
        let (reader, writer) = std::io::pipe().unwrap();
        let hook = Hook { timeout: Some(1), ..shell("sleep 5000 & echo started >&2; wait") };
        let setting = Setting { stdout: Some(writer.as_fd()), ..SETTING };
        let text = run(&[hook], "prestart", &setting).unwrap_err().to_string();
        assert!(text.ends_with("timed out after 1 s: started"), "{text}");
        drop(writer);
        // End of file only comes when the background process, which holds the other end, is dead.
        let limit = Timespec { tv_sec: 30, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&reader, PollFlags::IN)], Some(&limit)).unwrap();
        assert_eq!(ended, 1, "the background process holds the pipe");
    }

    #[test]
    fn what_a_hook_leaves_running_is_not_waited_for() {
        // The background process keeps standard error, so the pipe never reaches its end.
        let left = output(&shell("sleep 5000 > /dev/null & echo $!"), &SETTING);
        let left = rustix::process::Pid::from_raw(left.trim_end().parse().unwrap()).unwrap();
        rustix::process::kill_process(left, rustix::process::Signal::KILL).expect("it is still there");
    }

    #[test]
    fn poststop_goes_on_after_a_failure() {
        let mark = std::env::temp_dir().join(format!("oxrun-poststop-{}", std::process::id()));
        let hooks = [shell("exit 4"), shell(&format!("echo done > {}", mark.display()))];
        let failures = run_poststop(&hooks, &SETTING);
        let made = std::fs::remove_file(&mark);
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0].to_string(), "error running poststop hook #0: `/bin/sh`: exit status 4");
        made.unwrap();
    }
}
