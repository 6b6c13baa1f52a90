//! Container ids: the one type that may become a path below the state directory or a cgroup name.
//! Made from the command line by every command.

use std::fmt;

/// The longest id, in bytes.
pub const MAX_LENGTH: usize = 1024;

/// A checked id: letters, digits and `_+-.`, not beginning with `.`, at most 1024 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerId(String);

impl ContainerId {
    /// Takes an id as it was given.
    pub fn new(id: &str) -> anyhow::Result<ContainerId> {
        match fault(id) {
            None => Ok(ContainerId(id.to_string())),
            Some(fault) => anyhow::bail!("invalid container ID `{}`: {fault}", shown(id)),
        }
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn fault(id: &str) -> Option<&'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    if id.is_empty() {
        Some("it is empty")
    } else if id.len() > MAX_LENGTH {
        Some("longer than 1024 bytes")
    } else if id.starts_with('.') {
        Some("must not begin with `.`")
    } else if !id.chars().all(allowed) {
        Some("only letters, digits, `_`, `+`, `-` and `.` are allowed")
    } else {
        None
    }
}

/// The id for a message: one line, not too long.
fn shown(id: &str) -> String {
    let mut text: String = id.chars().take(64).flat_map(char::escape_debug).collect();
    if id.chars().count() > 64 {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_callers_use() {
        for id in ["a", "0", "_x", "+1", "-x", "a.b..c", &"x".repeat(1024), "0123abc-infra_1"] {
            assert_eq!(ContainerId::new(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn refuses_what_could_be_a_path() {
        for (id, why) in [
            ("", "it is empty"),
            (".", "must not begin with `.`"),
            ("..", "must not begin with `.`"),
            (".x", "must not begin with `.`"),
            ("a/b", "only letters"),
            ("../x", "must not begin"),
            ("a b", "only letters"),
            ("a\nb", "only letters"),
            ("a\0b", "only letters"),
            ("é", "only letters"),
            (&"x".repeat(1025), "longer than 1024"),
        ] {
            let error = ContainerId::new(id).unwrap_err().to_string();
            assert!(error.starts_with("invalid container ID `") && error.contains(why), "{error}");
            assert!(!error.contains('\n') && error.len() < 400);
        }
    }
}
