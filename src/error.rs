//! How a failed system call becomes an error text: what was being done, and why it failed in the
//! lower-case words that callers match (`no such file or directory`). Used everywhere.

use rustix::io::Errno;
use std::fmt;
use std::io;

/// A failed system call and what it was for.
#[derive(Debug)]
pub struct Failed {
    doing: String,
    error: io::Error,
    /// The reason, where it is not the error number's own text.
    reason: Option<String>,
    /// What is known beside it.
    note: Option<String>,
}

impl Failed {
    /// Something failed with this number.
    pub fn new(doing: impl Into<String>, error: impl Into<io::Error>) -> Failed {
        Failed { doing: doing.into(), error: error.into(), reason: None, note: None }
    }

    /// Says the reason in these words.
    pub fn because(self, reason: String) -> Failed {
        Failed { reason: Some(reason), ..self }
    }

    /// Adds in brackets what else is known.
    pub fn with_note(self, note: Option<String>) -> Failed {
        Failed { note, ..self }
    }

    /// The error number; 0 when there is none.
    pub fn errno(&self) -> i32 {
        self.error.raw_os_error().unwrap_or(0)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.reason.clone().unwrap_or_else(|| why(&self.error));
        write!(f, "{}: {reason}", self.doing)?;
        self.note.as_ref().map_or(Ok(()), |note| write!(f, " ({note})"))
    }
}

impl std::error::Error for Failed {}

/// Adds to a failed call what was being done.
pub trait Doing<T> {
    /// `doing: why it failed`.
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> anyhow::Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> anyhow::Result<T> {
        self.map_err(|error| Failed::new(doing(), error).into())
    }
}

/// Turns an error number into an error: `.map_err(failed("open `x`"))`.
pub fn failed(doing: impl fmt::Display) -> impl FnOnce(Errno) -> anyhow::Error {
    move |errno| Failed::new(doing.to_string(), errno).into()
}

/// The reason of an error number: `no such file or directory`.
pub fn text(errno: Errno) -> String {
    why(&errno.into())
}

/// The reason in lower case without the number: `no such file or directory`.
pub fn why(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_ascii_lowercase().to_string() + letters.as_str()).unwrap_or_default()
}

/// The error number at the root of an error chain; 0 when it was no system call.
pub fn errno_of(error: &anyhow::Error) -> i32 {
    error.chain().find_map(|cause| cause.downcast_ref::<Failed>()).map(Failed::errno).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_lower_case_and_carry_the_number_aside() {
        let failed: Result<(), _> = Err(io::Error::from_raw_os_error(libc::ENOENT));
        let error = failed.doing(|| "open `x`").unwrap_err();
        assert_eq!(error.to_string(), "open `x`: no such file or directory");
        assert_eq!(errno_of(&error.context("create")), libc::ENOENT);
    }
}
