//! How a failure becomes an error: what was being done, to what, and why it failed in the lower-case
//! words that callers match (`no such file or directory`). Every error knows the line it was made on;
//! from that follow its step and its code, see `step`. Used everywhere, in place of anyhow's macros.

mod record;
mod step;
mod words;

#[cfg(test)]
mod page;
#[cfg(test)]
mod unseen;

use crate::bundle::Problems;
pub use record::open as open_record;
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::panic::Location;
pub use step::{Kind, Step};

/// A failure: its text, the error number behind it, and where in the source it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    text: String,
    errno: i32,
    /// `src/rootfs/mount.rs:51`, and after blanks what it was caused by.
    sites: String,
}

impl Failed {
    /// Something failed with this error: `doing: why`.
    #[track_caller]
    pub fn new(doing: impl fmt::Display, error: impl Into<io::Error>) -> Failed {
        let error = error.into();
        Failed::at(Location::caller(), format!("{doing}: {}", why(&error)), &error)
    }

    fn at(site: &Location, text: String, error: &io::Error) -> Failed {
        let failed = Failed { text, errno: error.raw_os_error().unwrap_or(0), sites: name(site) };
        record::seen(&failed.sites);
        failed
    }

    /// Says the reason in other words than those of the error number.
    #[track_caller]
    pub fn because(doing: impl fmt::Display, reason: impl fmt::Display, errno: Errno) -> Failed {
        Failed::at(Location::caller(), format!("{doing}: {reason}"), &errno.into())
    }

    /// Adds in brackets what else is known.
    pub fn with_note(mut self, note: Option<String>) -> Failed {
        if let Some(note) = note {
            self.text = format!("{} ({note})", self.text);
        }
        self
    }

    /// An error of another process of the runtime.
    pub fn told(errno: i32, sites: String, text: String) -> Failed {
        Failed { text, errno, sites }
    }

    /// What the other side of the runtime is told about an error: number, places in the source, text.
    pub fn of(error: &anyhow::Error) -> Failed {
        let sites = error.downcast_ref::<Failed>().map(|failed| failed.sites.clone());
        Failed { text: crate::log::describe(error), errno: errno_of(error), sites: sites.unwrap_or_default() }
    }

    /// What was being done when an error happened; it knows the places of both.
    fn around(site: &Location, error: &anyhow::Error, text: String, errno: i32) -> Failed {
        let site = name(site);
        record::seen(&site);
        let sites = match error.downcast_ref::<Failed>() {
            Some(inner) => format!("{site} {}", inner.sites),
            None => site,
        };
        Failed { text, errno, sites }
    }

    /// The error number; 0 when there is none.
    pub fn errno(&self) -> i32 {
        self.errno
    }

    /// Where in the source it was made.
    pub fn sites(&self) -> &str {
        &self.sites
    }
}

/// Something was noted here that becomes part of an error later, or an error of a type of its own made.
pub fn noted(site: &Location) {
    if cfg!(debug_assertions) {
        record::reported(&name(site));
    }
}

/// The text of an error that only is warned about.
pub fn shown(error: &anyhow::Error) -> String {
    let failed = Failed::of(error);
    record::reported(&failed.sites);
    failed.text
}

/// An error in other words, which hold its text (`log::describe`); error number and places stay.
#[track_caller]
pub fn reworded(error: &anyhow::Error, text: impl FnOnce(&str) -> String) -> anyhow::Error {
    let text = text(&crate::log::describe(error));
    Failed::around(Location::caller(), error, text, errno_of(error)).into()
}

/// `src/rootfs/mount.rs:51`.
fn name(site: &Location) -> String {
    format!("{}:{}", site.file(), site.line())
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failed {}

/// An error in words, without an error number; the macros make it.
#[track_caller]
pub fn said(text: String) -> anyhow::Error {
    let failed = Failed { text, errno: 0, sites: name(Location::caller()) };
    record::seen(&failed.sites);
    failed.into()
}

/// An error of a type of its own; the macro makes it.
#[track_caller]
pub fn typed(error: impl Into<anyhow::Error>) -> anyhow::Error {
    noted(Location::caller());
    error.into()
}

/// Returns an error: a text with arguments, or a value of an error type.
macro_rules! bail {
    ($format:literal $($rest:tt)*) => { return Err($crate::error::said(format!($format $($rest)*))) };
    ($error:expr) => { return Err($crate::error::typed($error)) };
}

/// Makes an error from a text with arguments.
macro_rules! anyhow {
    ($format:literal $($rest:tt)*) => { $crate::error::said(format!($format $($rest)*)) };
}

/// Returns an error unless something holds.
macro_rules! ensure {
    ($holds:expr, $($error:tt)+) => { if !$holds { $crate::error::bail!($($error)+) } };
}

pub(crate) use {anyhow, bail, ensure};

/// Adds to an error what was being done, or makes one of a value that is missing.
pub trait Context<T> {
    /// `text: why`.
    fn context(self, text: impl fmt::Display) -> anyhow::Result<T>;
    /// `text: why`, the text made only when it is needed.
    fn with_context<S: fmt::Display>(self, text: impl FnOnce() -> S) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Context<T> for Result<T, E> {
    #[track_caller]
    fn context(self, text: impl fmt::Display) -> anyhow::Result<T> {
        self.with_context(|| text)
    }

    #[track_caller]
    fn with_context<S: fmt::Display>(self, text: impl FnOnce() -> S) -> anyhow::Result<T> {
        let site = Location::caller();
        self.map_err(|error| {
            let error = error.into();
            let failed = Failed::around(site, &error, text().to_string(), 0);
            error.context(failed)
        })
    }
}

impl<T> Context<T> for Option<T> {
    #[track_caller]
    fn context(self, text: impl fmt::Display) -> anyhow::Result<T> {
        self.with_context(|| text)
    }

    #[track_caller]
    fn with_context<S: fmt::Display>(self, text: impl FnOnce() -> S) -> anyhow::Result<T> {
        let site = Location::caller();
        self.ok_or_else(|| {
            let sites = name(site);
            record::seen(&sites);
            Failed { text: text().to_string(), errno: 0, sites }.into()
        })
    }
}

/// Adds to a failed call what was being done.
pub trait Doing<T> {
    /// `doing: why it failed`.
    fn doing<S: fmt::Display>(self, doing: impl FnOnce() -> S) -> anyhow::Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    #[track_caller]
    fn doing<S: fmt::Display>(self, doing: impl FnOnce() -> S) -> anyhow::Result<T> {
        let site = Location::caller();
        self.map_err(|error| {
            let error = error.into();
            Failed::at(site, format!("{}: {}", doing(), why(&error)), &error).into()
        })
    }
}

/// Turns an error number into an error: `.map_err(failed("open `x`"))`.
#[track_caller]
pub fn failed(doing: impl fmt::Display) -> impl FnOnce(Errno) -> anyhow::Error {
    let site = Location::caller();
    move |errno| Failed::at(site, format!("{doing}: {}", text(errno)), &errno.into()).into()
}

/// The reason of an error number: `no such file or directory`.
pub fn text(errno: Errno) -> String {
    why(&errno.into())
}

/// The reason in lower case without the number: `no such file or directory`.
pub fn why(error: &io::Error) -> String {
    if let Some(words) = error.raw_os_error().and_then(words::of) {
        return words.to_string();
    }
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_ascii_lowercase().to_string() + letters.as_str()).unwrap_or_default()
}

/// The error number at the root of an error chain; 0 when it was no system call.
pub fn errno_of(error: &anyhow::Error) -> i32 {
    let number = |cause: &(dyn std::error::Error + 'static)| {
        let failed = cause.downcast_ref::<Failed>().map(Failed::errno);
        let io = || cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        let errno = || cause.downcast_ref::<Errno>().map(|errno| errno.raw_os_error());
        failed.or_else(io).or_else(errno).filter(|errno| *errno != 0)
    };
    error.chain().find_map(number).or_else(|| error.downcast_ref().map(Failed::errno)).unwrap_or(0)
}

/// What is said about an error beside its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Where it went wrong.
    pub step: Step,
    /// How.
    pub kind: Kind,
    /// The first thing in backquotes: a path, an id; of config.json the JSON path.
    pub object: Option<String>,
    /// The error number; 0 when there is none.
    pub errno: i32,
}

impl About {
    /// Looks at an error.
    pub fn of(error: &anyhow::Error) -> About {
        let failed = error.downcast_ref::<Failed>();
        let (step, kind) = step::of_typed(error).unwrap_or_else(|| {
            let step = failed.map_or(Step::Runtime, |failed| Step::of_file(&failed.sites));
            match (step, errno_of(error)) {
                (Step::Usage | Step::Config, 0) => (step, Kind::Invalid),
                (_, errno) => (step, Kind::of(errno)),
            }
        });
        record::reported(&Failed::of(error).sites);
        let problem = error.downcast_ref::<Problems>().and_then(|problems| problems.0.first());
        let object = problem.map(|problem| problem.path.clone()).filter(|path| !path.is_empty());
        let object = object.or_else(|| failed.and_then(|failed| quoted(&failed.text)));
        let object = object.or_else(|| quoted(&crate::log::describe(error)));
        About { step, kind, object, errno: errno_of(error) }
    }

    /// The stable name of this kind of failure: `mount-not-found`.
    pub fn code(&self) -> String {
        format!("{}-{}", self.step.name(), self.kind.name())
    }
}

/// What stands between the first two backquotes.
fn quoted(text: &str) -> Option<String> {
    text.split('`').nth(1).filter(|object| !object.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::error::Error;

    #[test]
    fn texts_are_lower_case_and_carry_the_number_aside() {
        let failed: Result<(), _> = Err(io::Error::from_raw_os_error(libc::ENOENT));
        let error = failed.doing(|| "open `x`").unwrap_err();
        assert_eq!(error.to_string(), "open `x`: no such file or directory");
        assert_eq!(errno_of(&error.context("create")), libc::ENOENT);
        let refused =
            Failed::because("exec `x`", "not in $PATH", Errno::NOENT).with_note(Some("try y".into()));
        assert_eq!((refused.to_string().as_str(), refused.errno()), ("exec `x`: not in $PATH (try y)", 2));
    }

    #[test]
    fn errors_know_where_they_were_made() {
        let here = |error: &anyhow::Error| Failed::of(error).sites().to_string();
        let io = || Err::<(), _>(io::Error::from_raw_os_error(libc::EPERM));
        let made = |line: u32| format!("{}:{line}", file!());
        let first = line!();
        let errors = [
            io().doing(|| "a").unwrap_err(),
            failed("b")(Errno::PERM),
            said("c".into()),
            anyhow!("{}", "d"),
            None::<()>.context("e").unwrap_err(),
            (|| -> anyhow::Result<()> { bail!("f") })().unwrap_err(),
        ];
        for (error, line) in errors.iter().zip(first + 2..) {
            assert_eq!(here(error), made(line), "{error}");
        }
        let outer = Err::<(), _>(said("inner".into())).context("outer").unwrap_err();
        assert_eq!(crate::log::describe(&outer), "outer: inner");
        assert_eq!(here(&outer), format!("{0} {0}", made(line!() - 2)));
        let outermost =
            reworded(&Err::<(), _>(outer).context("outermost").unwrap_err(), |why| format!("{why} (a note)"));
        assert_eq!(outermost.to_string(), "outermost: outer: inner (a note)");
        assert_eq!(here(&outermost).split(' ').count(), 4, "each of them knows where it was made");
    }

    #[test]
    fn codes_steps_and_objects() {
        let about = |error: anyhow::Error| About::of(&error);
        let told =
            |sites: &str, errno| anyhow::Error::from(Failed::told(errno, sites.into(), "do `x`: y".into()));
        let mount = about(told("src/rootfs/mount.rs:51", libc::ENOENT));
        assert_eq!((mount.code().as_str(), mount.errno), ("mount-not-found", 2));
        assert_eq!(mount.object.as_deref(), Some("x"));
        assert_eq!(about(told("src/cgroup/v2.rs:1 src/sys/bpf.rs:3", libc::EBUSY)).code(), "cgroup-busy");
        assert_eq!(about(told("src/new/file.rs:1", 0)).code(), "runtime-refused");
        assert_eq!(about(Error::NotFound { id: "web".into() }.into()).code(), "state-not-found");
        let nested = anyhow::Error::from(Error::WrongState("container not running".into())).context("kill");
        assert_eq!(about(nested).code(), "state-wrong-state");
        assert_eq!(about(anyhow::anyhow!("plain")).code(), "runtime-refused");
    }
}
