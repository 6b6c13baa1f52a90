//! What was asked for, as types: the global options and one variant per command, each made from
//! the parsed arguments by the function that the table names. Read by `main` and handed on to the
//! commands of `container/`.

use super::checkpoint::{Checkpoint, Restore};
use super::exec::Exec;
use super::help::Topic;
use super::parse::Matches;
use super::quantity;
use super::signal::Signal;
use super::update::Update;
use crate::check;
use crate::container::spec::{Example, Request};
use crate::container::top::View;
use crate::error::{Context, bail};
use crate::log;
use crate::seccomp::Query;
use anyhow::Result;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The options before the command.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Global {
    /// Where the containers' states are; none is `root::default_root`.
    pub root: Option<PathBuf>,
    /// Where log lines go; none is stderr.
    pub log: Option<log::Target>,
    /// The shape of log lines.
    pub log_format: log::Format,
    /// The least important level that is logged.
    pub log_level: Option<log::Level>,
    /// Log everything.
    pub debug: bool,
    /// Where the steps of the command and their times go.
    pub trace: Option<PathBuf>,
    /// The same as cgroup manager systemd.
    pub systemd_cgroup: bool,
    /// What manages cgroups.
    pub cgroup_manager: Option<CgroupManager>,
    /// Whether missing rights to cgroups are tolerated.
    pub rootless: Rootless,
    /// The program CRIU; none is `criu`.
    pub criu: Option<PathBuf>,
}

/// Which containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The one with this id.
    One(String),
    /// All whose id has a match of this regular expression (`--regex`).
    Matching(String),
}

impl Target {
    fn of(matches: &Matches) -> Result<Target> {
        let id = matches.id()?;
        Ok(if matches.switch("regex") { Target::Matching(id) } else { Target::One(id) })
    }
}

/// What `mounts` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountsChange {
    /// Mount what is listed.
    Add,
    /// Unmount what is on the destinations listed.
    Remove,
}

/// `--cgroup-manager`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupManager {
    /// Directories made here.
    Cgroupfs,
    /// Units made by systemd.
    Systemd,
    /// No cgroup at all.
    Disabled,
}

/// `--rootless`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rootless {
    /// Decided by the user id and the user namespace.
    #[default]
    Auto,
    /// Yes.
    True,
    /// No.
    False,
}

/// One command.
#[derive(Debug)]
pub enum Command {
    /// Make a container.
    Create(Create),
    /// Make a container, run it, remove it.
    Run(Run),
    /// Run the program of a created container.
    Start {
        /// Which container.
        id: String,
    },
    /// Show a container.
    State {
        /// Which container.
        id: String,
    },
    /// Send a signal.
    Kill {
        /// Which container.
        id: Target,
        /// What is sent.
        signal: Signal,
        /// To all its processes.
        all: bool,
    },
    /// Remove a container.
    Delete {
        /// Which container.
        id: Target,
        /// Kill it first; an unknown one is no error.
        force: bool,
    },
    /// Show all containers.
    List {
        /// The shape of the output.
        format: Format,
        /// Ids alone.
        quiet: bool,
    },
    /// List or remove what killed runtimes left.
    Gc {
        /// Remove it.
        force: bool,
        /// The shape of the output.
        format: Format,
    },
    /// Look at the host.
    Doctor {
        /// Print JSON.
        json: bool,
    },
    /// Look at a bundle.
    Check(check::Request),
    /// Write a config.json.
    Spec(Request),
    /// Explain a seccomp profile.
    Seccomp {
        /// The file it is in.
        profile: PathBuf,
        /// What is asked.
        query: Query,
    },
    /// Run another process in a container.
    Exec(Exec),
    /// Stop all processes for a while.
    Pause {
        /// Which container.
        id: String,
    },
    /// Let paused processes go on.
    Resume {
        /// Which container.
        id: String,
    },
    /// Show the processes.
    Ps {
        /// Which container.
        id: String,
        /// The shape of the output.
        format: Format,
        /// For ps(1).
        arguments: Vec<OsString>,
    },
    /// Change the mounts of a running container.
    Mounts {
        /// How.
        change: MountsChange,
        /// Which container.
        id: String,
        /// A list of mounts as JSON.
        file: PathBuf,
    },
    /// Write a running container to images.
    Checkpoint(Checkpoint),
    /// Make a container from images.
    Restore(Restore),
    /// Change limits.
    Update(Update),
    /// What containers use, as a table.
    Top(View),
    /// Show events and statistics.
    Events {
        /// Which container.
        id: String,
        /// Statistics once, then end.
        stats: bool,
        /// Between two statistics.
        interval: Duration,
    },
    /// Show what the binary supports.
    Features,
    /// Show the version.
    Version,
    /// Show help.
    Help(Topic),
}

/// What `create` and `run` share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Create {
    /// The new container's id.
    pub id: String,
    /// The bundle directory; none is the current one.
    pub bundle: Option<PathBuf>,
    /// Read instead of the bundle's config.json.
    pub config: Option<PathBuf>,
    /// Unix socket that gets the terminal.
    pub console_socket: Option<PathBuf>,
    /// File that gets the process id, relative to the caller's directory.
    pub pid_file: Option<PathBuf>,
    /// Unix socket that gets a pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// Descriptors handed over, from 3 on (after those of LISTEN_FDS).
    pub preserve_fds: u32,
    /// Change the root without pivot_root.
    pub no_pivot: bool,
    /// Keep the session keyring.
    pub no_new_keyring: bool,
    /// Do not become a subreaper.
    pub no_subreaper: bool,
}

/// `run`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// How the container is made.
    pub create: Create,
    /// Do not wait for the process.
    pub detach: bool,
    /// Do not delete the container afterwards.
    pub keep: bool,
}

/// The shape of `list`, `ps` and `gc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Columns for people.
    Table,
    /// JSON for programs.
    Json,
}

impl Global {
    /// From the options before the command.
    pub fn build(matches: &Matches) -> Result<Global> {
        Ok(Global {
            root: matches.path("root")?,
            log: matches.last("log").map(log::Target::parse).transpose()?,
            log_format: matches.parsed("log-format", log::Format::parse)?.unwrap_or_default(),
            log_level: matches.parsed("log-level", log::Level::parse)?,
            debug: matches.switch("debug"),
            trace: matches.path("trace")?,
            systemd_cgroup: matches.switch("systemd-cgroup"),
            cgroup_manager: matches.parsed("cgroup-manager", cgroup_manager)?,
            rootless: matches.parsed("rootless", rootless)?.unwrap_or_default(),
            criu: matches.path("criu")?,
        })
    }

    /// The file to trace into, by the option or, for callers that nobody can give one, the environment.
    pub fn trace_file(&self) -> Option<PathBuf> {
        let from_environment = || std::env::var_os("OXRUN_TRACE").filter(|path| !path.is_empty());
        self.trace.clone().or_else(|| from_environment().map(PathBuf::from))
    }

    /// What the log is opened with.
    pub fn log_settings(&self) -> log::Settings<'_> {
        log::Settings {
            target: self.log.as_ref(),
            format: self.log_format,
            level: self.log_level,
            debug: self.debug,
        }
    }
}

fn cgroup_manager(name: &str) -> Result<CgroupManager> {
    match name {
        "cgroupfs" => Ok(CgroupManager::Cgroupfs),
        "systemd" => Ok(CgroupManager::Systemd),
        "disabled" => Ok(CgroupManager::Disabled),
        _ => bail!("unknown cgroup manager `{name}`: use cgroupfs, systemd or disabled"),
    }
}

fn rootless(text: &str) -> Result<Rootless> {
    match text.to_ascii_lowercase().as_str() {
        "auto" => Ok(Rootless::Auto),
        "true" | "t" | "1" => Ok(Rootless::True),
        "false" | "f" | "0" => Ok(Rootless::False),
        _ => bail!("unknown mode `{text}`: use true, false or auto"),
    }
}

/// `create`.
pub fn create(matches: &Matches) -> Result<Command> {
    Ok(Command::Create(create_options(matches)?))
}

fn create_options(matches: &Matches) -> Result<Create> {
    Ok(Create {
        id: matches.id()?,
        bundle: matches.path("bundle")?,
        config: matches.path("config")?,
        console_socket: matches.path("console-socket")?,
        pid_file: matches.path("pid-file")?,
        pidfd_socket: matches.path("pidfd-socket")?,
        preserve_fds: matches.number("preserve-fds")?.unwrap_or(0),
        no_pivot: matches.switch("no-pivot"),
        no_new_keyring: matches.switch("no-new-keyring"),
        no_subreaper: matches.switch("no-subreaper"),
    })
}

/// `run`.
pub fn run(matches: &Matches) -> Result<Command> {
    Ok(Command::Run(Run {
        create: create_options(matches)?,
        detach: matches.switch("detach"),
        keep: matches.switch("keep"),
    }))
}

/// `start`.
pub fn start(matches: &Matches) -> Result<Command> {
    Ok(Command::Start { id: matches.id()? })
}

/// `state`.
pub fn state(matches: &Matches) -> Result<Command> {
    Ok(Command::State { id: matches.id()? })
}

/// `kill`.
pub fn kill(matches: &Matches) -> Result<Command> {
    let signal = match matches.argument(1)? {
        Some(name) => Signal::parse(&name)?,
        None => Signal::TERM,
    };
    Ok(Command::Kill { id: Target::of(matches)?, signal, all: matches.switch("all") })
}

/// `delete`.
pub fn delete(matches: &Matches) -> Result<Command> {
    Ok(Command::Delete { id: Target::of(matches)?, force: matches.switch("force") })
}

/// `list`.
pub fn list(matches: &Matches) -> Result<Command> {
    Ok(Command::List { format: format(matches)?, quiet: matches.switch("quiet") })
}

fn format(matches: &Matches) -> Result<Format> {
    let read = |name: &str| match name {
        "table" => Ok(Format::Table),
        "json" => Ok(Format::Json),
        _ => bail!("invalid format option `{name}`: use table or json"),
    };
    Ok(matches.parsed("format", read)?.unwrap_or(Format::Table))
}

/// `gc`.
pub fn gc(matches: &Matches) -> Result<Command> {
    Ok(Command::Gc { force: matches.switch("force"), format: format(matches)? })
}

/// `spec`.
pub fn spec(matches: &Matches) -> Result<Command> {
    let example = |kind: &str| match kind {
        "shell" | "rootless" => Ok(Example::Shell),
        "service" => Ok(Example::Service),
        "host-network" => Ok(Example::HostNetwork),
        _ => bail!("unknown example `{kind}`: use shell, service, rootless or host-network"),
    };
    let (example, from) = (matches.parsed("example", example)?, matches.path("from")?);
    if example.is_some() && from.is_some() {
        bail!("--example and --from cannot be used together");
    }
    Ok(Command::Spec(Request {
        bundle: matches.path("bundle")?,
        rootless: matches.switch("rootless") || matches.text("example")? == Some("rootless"),
        example,
        from,
    }))
}

/// `doctor`.
pub fn doctor(matches: &Matches) -> Result<Command> {
    Ok(Command::Doctor { json: format(matches)? == Format::Json })
}

/// `check`.
pub fn check(matches: &Matches) -> Result<Command> {
    let json = match matches.text("format")? {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => bail!("invalid format option `{other}`: use text or json"),
    };
    let bundle = match (matches.path("bundle")?, matches.argument(0)?) {
        (Some(_), Some(_)) => bail!("the bundle is given twice: by --bundle, and as an argument"),
        (flag, argument) => flag.or_else(|| argument.map(PathBuf::from)),
    };
    Ok(Command::Check(check::Request { bundle, config: matches.path("config")?, json }))
}

/// `features`.
pub fn features(_: &Matches) -> Result<Command> {
    Ok(Command::Features)
}

/// `mounts`.
pub fn mounts(matches: &Matches) -> Result<Command> {
    let argument = |index| Ok::<_, anyhow::Error>(matches.argument(index)?.unwrap_or_default());
    let change = match argument(0)?.as_str() {
        "add" => MountsChange::Add,
        "remove" => MountsChange::Remove,
        other => bail!("unknown action `{other}` of mounts: use add or remove"),
    };
    Ok(Command::Mounts { change, id: argument(1)?, file: argument(2)?.into() })
}

/// `seccomp`.
pub fn seccomp(matches: &Matches) -> Result<Command> {
    let what = matches.argument(0)?.unwrap_or_default();
    if what != "explain" {
        bail!("unknown command `seccomp {what}`: there is `seccomp explain`");
    }
    let [profile, given @ ..] = matches.arguments_after_id() else {
        bail!("`seccomp explain` needs a profile: a file with linux.seccomp, or a config.json");
    };
    let mut args = Vec::new();
    for index in 3..given.len() + 2 {
        args.extend(matches.argument(index)?.as_deref().map(argument_of_call).transpose()?);
    }
    let query = Query { arch: matches.text("arch")?.map(str::to_owned), syscall: matches.argument(2)?, args };
    Ok(Command::Seccomp { profile: profile.into(), query })
}

/// An argument of a system call: decimal, hexadecimal after `0x`, or negative.
fn argument_of_call(text: &str) -> Result<u64> {
    let number = match (text.strip_prefix("0x"), text.starts_with('-')) {
        (Some(digits), _) => u64::from_str_radix(digits, 16),
        (None, true) => text.parse::<i64>().map(i64::cast_unsigned),
        (None, false) => text.parse(),
    };
    number.with_context(|| format!("read the argument `{text}`: a number in 64 bits, such as 38 or 0x26"))
}

/// `pause`.
pub fn pause(matches: &Matches) -> Result<Command> {
    Ok(Command::Pause { id: matches.id()? })
}

/// `resume`.
pub fn resume(matches: &Matches) -> Result<Command> {
    Ok(Command::Resume { id: matches.id()? })
}

/// `ps`.
pub fn ps(matches: &Matches) -> Result<Command> {
    let arguments = matches.arguments_after_id().to_vec();
    Ok(Command::Ps { id: matches.id()?, format: format(matches)?, arguments })
}

/// `events`.
pub fn events(matches: &Matches) -> Result<Command> {
    let interval = matches.parsed("interval", quantity::duration)?.unwrap_or(Duration::from_secs(5));
    let table = match matches.text("format")? {
        None | Some("json") => false,
        Some("table") => true,
        Some(other) => bail!("invalid format option `{other}`: use json or table"),
    };
    let follow = matches.switch("follow");
    if !table {
        if follow {
            bail!("--follow is for --format table: JSON events are followed without it");
        }
        return Ok(Command::Events { id: matches.id()?, stats: matches.switch("stats"), interval });
    }
    if matches.switch("stats") {
        bail!("--stats is for JSON: leave it out with --format table");
    }
    Ok(Command::Top(View { id: matches.argument(0)?, interval: follow.then_some(interval) }))
}
