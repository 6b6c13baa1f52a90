//! Reads the arguments by the table. Options are taken in any order and any number of times, with
//! two dashes or one, before and after positional arguments; `--` ends them. Called by `main`
//! first of all.

use super::command::{Command, Global};
use super::help::Topic;
use super::table::{self, CommandRow, Flag, GLOBAL, HELP};
use crate::error::{Context, anyhow, bail};
use anyhow::Result;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

/// The arguments as types. The command is a result of its own, so that its error can be logged
/// where the global options say.
#[derive(Debug)]
pub struct Invocation {
    /// Options before the command.
    pub global: Global,
    /// What to do.
    pub command: Result<Command>,
    /// The command's name; empty without one.
    pub name: String,
}

impl Invocation {
    /// Whether the command is `exec`, whose failures have an exit status of their own.
    pub fn is_exec(&self) -> bool {
        self.name == "exec"
    }
}

/// Reads the arguments, without the program's name.
pub fn parse<I>(arguments: I) -> Result<Invocation>
where
    I: IntoIterator<Item = OsString>,
{
    let mut parser = lexopt::Parser::from_args(arguments.into_iter().collect::<Vec<_>>());
    let mut matches = Matches::new("oxrun".into(), GLOBAL);
    matches.read(&mut parser, Some(1))?;
    let global = Global::build(&matches)?;
    let command = command(&matches, &mut parser);
    let name = matches.arguments.first().map_or(String::new(), |name| name.to_string_lossy().into_owned());
    Ok(Invocation { global, command, name })
}

/// The command after the global options.
fn command(global: &Matches, parser: &mut lexopt::Parser) -> Result<Command> {
    if global.switch("version") {
        return Ok(Command::Version);
    }
    let Some(name) = global.arguments.first() else {
        return Ok(Command::Help(Topic::Global));
    };
    let name = name.to_string_lossy();
    if matches!(&*name, "help" | "h") {
        return help(parser);
    }
    let row = table::find(&name).ok_or_else(|| no_topic(&name))?;
    if global.switch("help") {
        return Ok(Command::Help(Topic::Command(row)));
    }
    let mut matches = Matches::new(format!("oxrun {}", row.name), row.flags);
    matches.read(parser, row.raw_after)?;
    if matches.switch("help") {
        return Ok(Command::Help(Topic::Command(row)));
    }
    matches.check_arguments(row)?;
    (row.build)(&matches)
}

/// `help [command]`.
fn help(parser: &mut lexopt::Parser) -> Result<Command> {
    let mut matches = Matches::new("oxrun help".into(), &[]);
    matches.read(parser, None)?;
    let Some(name) = matches.arguments.first() else {
        return Ok(Command::Help(Topic::Global));
    };
    let name = name.to_string_lossy();
    let row = table::find(&name).ok_or_else(|| no_topic(&name))?;
    Ok(Command::Help(Topic::Command(row)))
}

fn no_topic(name: &str) -> anyhow::Error {
    anyhow!("No help topic for '{name}': there is no such command, see `oxrun --help`")
}

/// What was given to the program, or to one command of it.
#[derive(Debug)]
pub struct Matches {
    /// The name for messages: `oxrun`, `oxrun create`.
    scope: String,
    /// The options it has, besides `--help`.
    known: &'static [Flag],
    /// The options given, in order; a switch has `true` or `false`.
    given: Vec<(&'static Flag, OsString)>,
    /// The positional arguments.
    arguments: Vec<OsString>,
}

impl Matches {
    fn new(scope: String, known: &'static [Flag]) -> Matches {
        Matches { scope, known, given: Vec::new(), arguments: Vec::new() }
    }

    /// Reads options and positional arguments. After `raw_after` positional arguments the rest of
    /// a command is taken as it is; the global scope leaves it to the command.
    fn read(&mut self, parser: &mut lexopt::Parser, raw_after: Option<usize>) -> Result<()> {
        loop {
            if raw_after.is_some_and(|count| self.arguments.len() >= count) {
                if !std::ptr::eq(self.known, GLOBAL) {
                    self.arguments.extend(parser.raw_args().map_err(usage)?);
                }
                return Ok(());
            }
            if self.take_single_dash(parser)? {
                continue;
            }
            if parser.try_raw_args().is_some_and(|mut raw| raw.next_if(|next| next == "--").is_some()) {
                self.arguments.extend(parser.raw_args().map_err(usage)?);
                return Ok(());
            }
            let flag = match parser.next().map_err(|error| self.wrong(error))? {
                None => return Ok(()),
                Some(lexopt::Arg::Value(argument)) => {
                    self.arguments.push(argument);
                    continue;
                }
                Some(lexopt::Arg::Long(name)) => {
                    let flag = self.find_long(name).ok_or_else(|| self.unknown(&format!("--{name}")))?;
                    let inline = if flag.value.is_none() { parser.optional_value() } else { None };
                    (flag, inline)
                }
                Some(lexopt::Arg::Short(letter)) => {
                    (self.find_short(letter).ok_or_else(|| self.unknown(&format!("-{letter}")))?, None)
                }
            };
            self.take(flag.0, flag.1, parser)?;
        }
    }

    /// Takes `-name`, `-name=value` and `-x=value`, which lexopt would read as a cluster.
    fn take_single_dash(&mut self, parser: &mut lexopt::Parser) -> Result<bool> {
        let Some(mut raw) = parser.try_raw_args() else { return Ok(false) };
        let Some((flag, inline)) = raw.peek().and_then(|next| self.find_single_dash(next)) else {
            return Ok(false);
        };
        raw.next();
        self.take(flag, inline, parser)?;
        Ok(true)
    }

    fn find_single_dash(&self, argument: &OsStr) -> Option<(&'static Flag, Option<OsString>)> {
        let rest = argument.as_bytes().strip_prefix(b"-")?;
        let (name, inline) = match rest.iter().position(|b| *b == b'=') {
            Some(at) => (&rest[..at], Some(OsStr::from_bytes(&rest[at + 1..]).to_owned())),
            None => (rest, None),
        };
        let name = std::str::from_utf8(name).ok()?;
        let mut letters = name.chars();
        let flag = match (letters.next()?, letters.next(), &inline) {
            (letter, None, Some(_)) => self.find_short(letter)?,
            (_, None, None) => return None,
            _ => self.find_long(name)?,
        };
        Some((flag, inline))
    }

    /// Notes one option, with the value that follows it.
    fn take(
        &mut self,
        flag: &'static Flag,
        inline: Option<OsString>,
        parser: &mut lexopt::Parser,
    ) -> Result<()> {
        let value = match (flag.value, inline) {
            (Some(_), Some(inline)) => inline,
            (Some(name), None) => parser.value().map_err(|_| {
                anyhow!(
                    "option `--{}` of `{}` requires an argument: give {name} after it",
                    flag.long,
                    self.scope
                )
            })?,
            (None, inline) => switch_value(flag, inline.as_deref())?.into(),
        };
        if !flag.repeatable {
            self.given.retain(|(other, _)| *other != flag);
        }
        self.given.push((flag, value));
        Ok(())
    }

    fn find_long(&self, name: &str) -> Option<&'static Flag> {
        self.known.iter().chain([&HELP]).find(|flag| flag.long == name)
    }

    fn find_short(&self, letter: char) -> Option<&'static Flag> {
        self.known.iter().chain([&HELP]).find(|flag| flag.short.contains(&letter))
    }

    fn unknown(&self, option: &str) -> anyhow::Error {
        let name = option.trim_start_matches('-');
        if GLOBAL.iter().any(|flag| flag.long == name) {
            return anyhow!("option `{option}` is for all commands: put it before the command's name");
        }
        anyhow!("unknown option `{option}`: see `{} --help`", self.scope)
    }

    fn wrong(&self, error: lexopt::Error) -> anyhow::Error {
        anyhow!("{error}: see `{} --help`", self.scope)
    }

    fn check_arguments(&self, row: &CommandRow) -> Result<()> {
        let count = self.arguments.len();
        if count < row.least {
            bail!("`{0}` needs {1}: see `{0} --help`", self.scope, row.arguments);
        }
        if count > row.most {
            let extra = self.arguments[row.most].display();
            bail!("too many arguments for `{0}`, beginning with `{extra}`: see `{0} --help`", self.scope);
        }
        if row.least > 0 && self.arguments[0].is_empty() {
            bail!("invalid container ID: it is empty; give {}", row.arguments);
        }
        Ok(())
    }

    /// A positional argument, which must be UTF-8.
    pub fn argument(&self, index: usize) -> Result<Option<String>> {
        self.arguments.get(index).map(|argument| utf8(argument).map(str::to_owned)).transpose()
    }

    /// The container's id, the first positional argument.
    pub fn id(&self) -> Result<String> {
        self.argument(0)?.with_context(|| format!("`{}` needs <container-id>", self.scope))
    }

    /// The positional arguments after the id.
    pub fn arguments_after_id(&self) -> &[OsString] {
        self.arguments.get(1..).unwrap_or_default()
    }

    /// Whether a switch is on.
    pub fn switch(&self, long: &str) -> bool {
        self.last(long).is_some_and(|value| value == "true")
    }

    /// The text of an option, which must be UTF-8.
    pub fn text(&self, long: &str) -> Result<Option<&str>> {
        self.last(long).map(|value| utf8(value).with_context(|| format!("read `--{long}`"))).transpose()
    }

    /// The texts of an option that may be repeated.
    pub fn texts(&self, long: &str) -> Result<Vec<String>> {
        let read = |value| utf8(value).map(str::to_owned).with_context(|| format!("read `--{long}`"));
        self.all(long).map(read).collect()
    }

    /// A path; an empty one is an error.
    pub fn path(&self, long: &str) -> Result<Option<PathBuf>> {
        let Some(value) = self.last(long) else { return Ok(None) };
        if value.is_empty() {
            bail!("`--{long}` is empty: name a path or leave the option out");
        }
        Ok(Some(PathBuf::from(value)))
    }

    /// A number in decimal, the whole text.
    pub fn number<T: FromStr>(&self, long: &str) -> Result<Option<T>>
    where
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        let Some(text) = self.text(long)? else { return Ok(None) };
        let number = text.parse().with_context(|| format!("read the number `{text}` of `--{long}`"))?;
        Ok(Some(number))
    }

    /// An option whose text is turned into something by `read`, which reports what is allowed.
    pub fn parsed<T>(&self, long: &str, read: impl Fn(&str) -> Result<T>) -> Result<Option<T>> {
        self.text(long)?.map(|text| read(text).with_context(|| format!("read `--{long}`"))).transpose()
    }

    /// The value as given, not necessarily UTF-8.
    pub fn last(&self, long: &str) -> Option<&OsStr> {
        self.all(long).last()
    }

    /// All values as given, in order.
    pub fn all(&self, long: &str) -> impl Iterator<Item = &OsStr> {
        debug_assert!(self.find_long(long).is_some(), "--{long} is not in the table");
        self.given.iter().filter(move |(flag, _)| flag.long == long).map(|(_, value)| value.as_os_str())
    }
}

fn usage(error: lexopt::Error) -> anyhow::Error {
    anyhow!("{error}: see `oxrun --help`")
}

fn utf8(text: &OsStr) -> Result<&str> {
    text.to_str().with_context(|| format!("`{}` is not UTF-8", text.display()))
}

/// `--switch`, `--switch=true`, `--switch=false`, with the other spellings that callers use.
fn switch_value(flag: &Flag, given: Option<&OsStr>) -> Result<&'static str> {
    let Some(given) = given else { return Ok("true") };
    match given.to_str().map(str::to_ascii_lowercase).as_deref() {
        Some("true" | "t" | "1") => Ok("true"),
        Some("false" | "f" | "0") => Ok("false"),
        _ => bail!("`--{}={}` is neither true nor false", flag.long, given.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::{Create, Format, MountsChange, Rootless, Run, Target};
    use super::super::table::COMMANDS;
    use super::*;
    use crate::log;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').filter(|word| !word.is_empty()).map(|word| word.trim_matches('\'').into()).collect()
    }

    /// Parses a line of words; `''` is an empty word.
    fn line(line: &str) -> Result<Command> {
        parse(words(line)).and_then(|invocation| invocation.command)
    }

    fn global(line: &str) -> Result<Global> {
        parse(words(line)).map(|invocation| invocation.global)
    }

    fn create(text: &str) -> Create {
        match line(text).unwrap() {
            Command::Create(create) => create,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn as_the_shim_calls() {
        let text = "--root /run/r/k8s --log /b/log.json --log-format json create --bundle /b --pid-file /b/init.pid ID";
        let expected = Create {
            id: "ID".into(),
            bundle: Some("/b".into()),
            pid_file: Some("/b/init.pid".into()),
            ..Create::default()
        };
        assert_eq!(create(text), expected);
        let expected = Global {
            root: Some("/run/r/k8s".into()),
            log: Some(log::Target::File("/b/log.json".into())),
            log_format: log::Format::Json,
            ..Global::default()
        };
        assert_eq!(global(text).unwrap(), expected);
        let Command::Kill { id, signal, all } = line("--root=/r kill --all ID 9").unwrap() else { panic!() };
        assert_eq!((id, signal.number(), all), (Target::One("ID".into()), 9, true));
        let Command::Delete { id, force } = line("delete --force ID").unwrap() else { panic!() };
        assert_eq!((id, force), (Target::One("ID".into()), true));
        let Command::Delete { id, .. } = line("delete -f --regex ^a.*").unwrap() else { panic!() };
        assert_eq!(id, Target::Matching("^a.*".into()));
        assert!(matches!(line("--log-format=json --log /x features").unwrap(), Command::Features));
    }

    #[test]
    fn options_in_every_form() {
        let bundle = |text: &str| create(text).bundle.unwrap().display().to_string();
        for text in [
            "create --bundle /b c",
            "create --bundle=/b c",
            "create -bundle /b c",
            "create -bundle=/b c",
            "create -b /b c",
            "create -b=/b c",
            "create -b/b c",
            "create c --bundle /b",
            "create c -b /b",
            "create --bundle /a --bundle /b c",
            "create -b /a c -bundle=/b",
            "create --bundle /b -- c",
            "create -b /b --no-pivot=false c",
        ] {
            assert_eq!(bundle(text), "/b", "{text}");
            assert_eq!(create(text).id, "c", "{text}");
        }
        assert_eq!(bundle("create --bundle --no-pivot c"), "--no-pivot");
        assert!(create("create -no-subreaper c").no_subreaper);
        assert!(create("create -no-subreaper --no-subreaper c").no_subreaper);
        assert!(create("create --no-pivot=TRUE c").no_pivot);
        assert!(!create("create --no-pivot --no-pivot=0 c").no_pivot);
        assert_eq!(create("create -- --odd").id, "--odd");
        assert_eq!(create("create -- -no-pivot").id, "-no-pivot");
    }

    #[test]
    fn run_takes_clusters_and_single_letters() {
        let Command::Run(run) = line("run -d=true -b /b --keep c --preserve-fds 3").unwrap() else {
            panic!()
        };
        let create =
            Create { id: "c".into(), bundle: Some("/b".into()), preserve_fds: 3, ..Create::default() };
        assert_eq!(run, Run { create, detach: true, keep: true });
        let Command::Run(run) = line("run -db /b c").unwrap() else { panic!() };
        assert!(run.detach && run.create.bundle == Some("/b".into()));
    }

    #[test]
    fn small_commands() {
        assert!(matches!(line("start c").unwrap(), Command::Start { id } if id == "c"));
        assert!(
            matches!(line("mounts remove c f").unwrap(), Command::Mounts { change: MountsChange::Remove, id, .. } if id == "c")
        );
        assert!(matches!(line("state c").unwrap(), Command::State { id } if id == "c"));
        assert!(matches!(line("list").unwrap(), Command::List { format: Format::Table, quiet: false }));
        assert!(matches!(
            line("list -q -f json").unwrap(),
            Command::List { format: Format::Json, quiet: true }
        ));
        assert!(matches!(line("list --format=json").unwrap(), Command::List { format: Format::Json, .. }));
        assert!(
            matches!(line("spec").unwrap(), Command::Spec(request) if request.bundle.is_none() && !request.rootless)
        );
        assert!(matches!(line("kill c").unwrap(), Command::Kill { signal, .. } if signal.number() == 15));
        assert!(
            matches!(line("kill c SIGKILL").unwrap(), Command::Kill { signal, .. } if signal.number() == 9)
        );
        assert!(
            matches!(line("kill -a c 0").unwrap(), Command::Kill { signal, all: true, .. } if signal.number() == 0)
        );
    }

    #[test]
    fn help_and_version() {
        for text in ["", "--help", "-h", "help", "h", "--root /x", "-help"] {
            assert!(matches!(line(text).unwrap(), Command::Help(Topic::Global)), "{text}");
        }
        for row in COMMANDS {
            for text in
                [format!("{0} --help", row.name), format!("{0} -h", row.name), format!("help {0}", row.name)]
            {
                let command = line(&text).unwrap();
                assert!(
                    matches!(command, Command::Help(Topic::Command(of)) if of.name == row.name),
                    "{text}"
                );
            }
        }
        for text in ["--version", "-v", "-V", "-version", "--debug -v create"] {
            assert!(matches!(line(text).unwrap(), Command::Version), "{text}");
        }
        for text in ["foo -h", "foo", "help foo", "''"] {
            assert!(line(text).unwrap_err().to_string().starts_with("No help topic for '"), "{text}");
        }
    }

    #[test]
    fn global_options() {
        let all = global(
            "--debug --systemd-cgroup --cgroup-manager=disabled --rootless true --log-level warn --log syslog:x state c",
        );
        let all = all.unwrap();
        assert!(all.debug && all.systemd_cgroup);
        assert_eq!(all.cgroup_manager, Some(super::super::command::CgroupManager::Disabled));
        assert_eq!((all.rootless, all.log_level), (Rootless::True, Some(log::Level::Warning)));
        assert_eq!(global("--root /a --root /b list").unwrap().root, Some("/b".into()));
        assert_eq!(global("-debug=false list").unwrap(), Global::default());
    }

    #[test]
    fn usage_errors_are_one_line_that_helps() {
        let table = [
            ("create", "`oxrun create` needs <container-id>: see `oxrun create --help`"),
            ("create ''", "invalid container ID: it is empty; give <container-id>"),
            ("create a b", "too many arguments for `oxrun create`, beginning with `b`"),
            ("create --nope a", "unknown option `--nope`: see `oxrun create --help`"),
            ("create -x a", "unknown option `-x`: see `oxrun create --help`"),
            ("create -nope a", "unknown option `-n`: see `oxrun create --help`"),
            (
                "create a --bundle",
                "option `--bundle` of `oxrun create` requires an argument: give DIR after it",
            ),
            ("create a -bundle", "option `--bundle` of `oxrun create` requires an argument"),
            ("create a -b", "option `--bundle` of `oxrun create` requires an argument"),
            ("create --bundle '' a", "`--bundle` is empty: name a path or leave the option out"),
            ("create --bundle= a", "`--bundle` is empty"),
            ("create --preserve-fds x a", "read the number `x` of `--preserve-fds`"),
            ("create --preserve-fds -1 a", "read the number `-1` of `--preserve-fds`"),
            ("create --preserve-fds 4294967296 a", "read the number `4294967296`"),
            ("create --no-pivot=maybe a", "`--no-pivot=maybe` is neither true nor false"),
            ("state a --root /x", "option `--root` is for all commands: put it before the command's name"),
            ("state a --force", "unknown option `--force`: see `oxrun state --help`"),
            ("list a", "too many arguments for `oxrun list`, beginning with `a`"),
            ("list --format xml", "read `--format`: invalid format option `xml`: use table or json"),
            ("kill a NOPE", "unknown signal \"NOPE\""),
            ("kill -- a -all", "unknown signal \"-all\""),
            ("kill a 1 2", "too many arguments for `oxrun kill`, beginning with `2`"),
            ("kill --all", "`oxrun kill` needs <container-id> [signal]"),
            ("run -dx a", "unknown option `-x`"),
            ("--root '' list", "`--root` is empty"),
            ("--root", "option `--root` of `oxrun` requires an argument: give DIR after it"),
            ("--nope list", "unknown option `--nope`: see `oxrun --help`"),
            (
                "--log-format invalid list",
                "read `--log-format`: unknown log format `invalid`: use text or json",
            ),
            ("--log-level loud list", "read `--log-level`: unknown log level `loud`"),
            ("--log=invalid:/path list", "unknown log target `invalid:/path`"),
            ("--log '' list", "nothing named in the log target"),
            ("--rootless maybe list", "read `--rootless`: unknown mode `maybe`: use true, false or auto"),
            ("--cgroup-manager x list", "read `--cgroup-manager`: unknown cgroup manager `x`"),
        ];
        for (text, message) in table {
            let error = format!("{:#}", line(text).expect_err(text));
            assert!(error.starts_with(message) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn an_error_of_the_command_keeps_the_log() {
        let invocation = parse(words("--log /x/log --debug create --nope")).unwrap();
        assert!(invocation.command.is_err());
        assert_eq!(invocation.global.log, Some(log::Target::File("/x/log".into())));
    }

    #[test]
    fn paths_need_not_be_utf8_but_ids_must() {
        let odd = OsStr::from_bytes(b"/b\xff").to_owned();
        let arguments = ["create".into(), "--bundle".into(), odd.clone(), "c".into()];
        let command = parse(arguments).unwrap().command.unwrap();
        assert!(matches!(command, Command::Create(create) if create.bundle == Some(odd.clone().into())));
        let error = parse(["state".into(), odd]).unwrap().command.unwrap_err().to_string();
        assert!(error.contains("is not UTF-8"), "{error}");
        let bad = OsStr::from_bytes(b"-\xff\xfe").to_owned();
        assert!(parse(["state".into(), bad]).unwrap().command.is_err());
    }

    /// A value that each kind of option takes, unlike any default.
    fn sample(name: &str) -> &'static str {
        match name {
            "DIR" | "FILE" | "SOCKET" | "LAYOUT[:TAG]" | "PROGRAM" => "/x",
            "KIND" => "service",
            "N" => "3",
            "FORMAT" => "json",
            "LEVEL" => "info",
            "MANAGER" => "cgroupfs",
            "MODE" => "true",
            "TARGET" => "/x",
            "ARCH" => "x86",
            "SIZE" => "5m",
            "DURATION" => "7s",
            "NAME=VALUE" => "A=1",
            "UID[:GID]" => "3:4",
            "GID" => "3",
            "CGROUPS" => "full",
            "NAMESPACE" => "network",
            "ADDRESS:PORT" => "192.0.2.7:27277",
            "METHOD" => "skip",
            "TYPE:NAME" => "apparmor:x",
            "CONTEXT" => "x",
            "NAME" | "LIST" | "SCHEMA" | "[CONTROLLER:]PATH" => "x",
            other => panic!("no sample for {other}"),
        }
    }

    fn with(flag: &Flag) -> String {
        flag.value.map_or(format!("--{}", flag.long), |name| format!("--{}={}", flag.long, sample(name)))
    }

    #[test]
    fn no_option_is_parsed_and_ignored() {
        for row in COMMANDS {
            let arguments = match row.name {
                "seccomp" => "explain c",
                "exec" => "c sh",
                "mounts" => "add c /x",
                "events" => "c",
                _ if row.least > 0 => "c",
                _ => "",
            };
            let bare = format!("{:?}", line(&format!("{} {arguments}", row.name)).unwrap());
            for flag in row.flags {
                let arguments = if flag.long == "process" { "c" } else { arguments };
                let text = match (row.name, flag.long) {
                    ("events", "format") => "events --format table c".to_string(),
                    ("events", "follow") => "events --format table --follow c".to_string(),
                    _ => format!("{} {} {arguments}", row.name, with(flag)),
                };
                assert_ne!(format!("{:?}", line(&text).unwrap()), bare, "{text}");
            }
        }
        for flag in &GLOBAL[..GLOBAL.len() - 2] {
            assert_ne!(global(&format!("{} list", with(flag))).unwrap(), Global::default(), "{}", flag.long);
        }
    }
}
