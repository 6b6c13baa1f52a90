//! The errors that callers tell apart; all others are messages only. They travel inside
//! `anyhow::Error` and are found by `downcast_ref`; the texts are those that engines match.

use std::fmt;

/// An error whose kind matters to a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// There is no container with this id.
    NotFound {
        /// The id asked for.
        id: String,
    },
    /// There is one already.
    Exists {
        /// The id asked for.
        id: String,
        /// It is what a killed runtime left: clean up and try again.
        debris: bool,
    },
    /// The container is there, but not in a state for this; the text says which.
    WrongState(String),
    /// The command was called in a way that can never work.
    Usage(String),
}

impl Error {
    /// Of the kind `NotFound`?
    pub fn is_not_found(error: &anyhow::Error) -> bool {
        matches!(error.downcast_ref(), Some(Error::NotFound { .. }))
    }

    /// Of the kind `Exists`, and only debris?
    pub fn is_debris(error: &anyhow::Error) -> bool {
        matches!(error.downcast_ref(), Some(Error::Exists { debris: true, .. }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotFound { id } => write!(f, "container does not exist: `{id}`"),
            Error::Exists { id, debris: false } => {
                write!(f, "container with given ID already exists: `{id}`")
            }
            Error::Exists { id, debris: true } => write!(
                f,
                "container with given ID already exists: `{id}` (left half made; delete --force removes it)"
            ),
            Error::WrongState(text) | Error::Usage(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}
