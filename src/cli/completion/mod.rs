//! Shell completions, made from the table: what may stand where, and one file for each shell that says it.
//! `tools/pages.rs` writes them to completions/; the binary itself does not use this.

mod bash;
mod fish;
mod zsh;

use super::table::{CommandRow, Flag};

/// The files for bash, zsh and fish, as name and text.
pub fn completions() -> Vec<(String, String)> {
    vec![
        ("oxrun.bash".to_string(), bash::script()),
        ("_oxrun".to_string(), zsh::script()),
        ("oxrun.fish".to_string(), fish::script()),
    ]
}

/// What a word can be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// A path.
    File,
    /// A directory.
    Directory,
    /// The id of a container under --root.
    Id,
    /// One of these.
    Words(Vec<&'static str>),
    /// Nothing that can be known.
    Free,
}

/// Signals that people send; the others are taken too.
const SIGNALS: [&str; 11] =
    ["TERM", "KILL", "HUP", "INT", "QUIT", "USR1", "USR2", "STOP", "CONT", "WINCH", "ABRT"];

/// What the value of an option can be; none for a switch.
fn of_value(flag: &Flag) -> Option<Kind> {
    Some(match (flag.value?, flag.long) {
        ("FILE" | "SOCKET" | "TARGET" | "LAYOUT[:TAG]", _) => Kind::File,
        ("DIR", "cwd") => Kind::Free,
        ("DIR", _) => Kind::Directory,
        ("FORMAT", "log-format") => Kind::Words(vec!["text", "json"]),
        ("LEVEL", _) => Kind::Words(vec!["error", "warning", "info", "debug"]),
        ("MANAGER", _) => Kind::Words(vec!["cgroupfs", "systemd", "disabled"]),
        ("MODE", _) => Kind::Words(vec!["true", "false", "auto"]),
        // Where the choices are told in the help, as in `table (default) or json`.
        ("FORMAT" | "KIND", _) => choices(flag.help).map_or(Kind::Free, Kind::Words),
        _ => Kind::Free,
    })
}

/// The words of a help text like `shape of the output: table (default) or json`.
fn choices(help: &'static str) -> Option<Vec<&'static str>> {
    let (_, list) = help.split_once(": ")?;
    let words = list.split([' ', ',']).filter(|word| !matches!(*word, "" | "or" | "(default)"));
    let words: Vec<_> = words.collect();
    let plain = |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    words.iter().all(plain).then_some(words)
}

/// What the positional arguments of a command can be, by its usage line.
fn of_arguments(row: &CommandRow) -> Vec<Kind> {
    row.arguments.split(' ').filter(|word| !word.is_empty()).map(of_argument).collect()
}

fn of_argument(word: &'static str) -> Kind {
    match word.trim_matches(['<', '>', '[', ']', '.']) {
        "container-id" => Kind::Id,
        "file" | "profile" => Kind::File,
        "bundle" | "BUNDLE" | "dir" => Kind::Directory,
        "signal" => Kind::Words(SIGNALS.to_vec()),
        name if name == word => Kind::Words(name.split('|').collect()),
        _ => Kind::Free,
    }
}

/// `-b --bundle`, as they are written on the command line.
fn spellings(flag: &Flag) -> Vec<String> {
    let short = flag.short.iter().map(|letter| format!("-{letter}"));
    short.chain([format!("--{}", flag.long)]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::super::table::{self, COMMANDS, GLOBAL};
    use super::*;

    fn kind(command: &str, long: &str) -> Kind {
        let row = table::find(command).unwrap();
        of_value(row.flags.iter().find(|flag| flag.long == long).unwrap()).unwrap()
    }

    #[test]
    fn values_and_arguments_by_the_table() {
        assert_eq!(kind("create", "bundle"), Kind::Directory);
        assert_eq!(kind("create", "config"), Kind::File);
        assert_eq!(kind("create", "preserve-fds"), Kind::Free);
        assert_eq!(kind("exec", "cwd"), Kind::Free);
        assert_eq!(kind("list", "format"), Kind::Words(vec!["table", "json"]));
        let of = |name| of_arguments(table::find(name).unwrap());
        assert_eq!(of("kill"), [Kind::Id, Kind::Words(SIGNALS.to_vec())]);
        assert_eq!(of("mounts"), [Kind::Words(vec!["add", "remove"]), Kind::Id, Kind::File]);
        assert_eq!(of("seccomp")[..2], [Kind::Words(vec!["explain"]), Kind::File]);
        assert_eq!(of("exec"), [Kind::Id, Kind::Free, Kind::Free]);
        assert!(of("list").is_empty());
    }

    #[test]
    fn the_words_that_are_offered_are_taken() {
        let accepts = |words: &[&str]| {
            let invocation = parse(words.iter().map(Into::into));
            invocation.and_then(|invocation| invocation.command).is_ok()
        };
        for flag in GLOBAL {
            for word in words(of_value(flag)) {
                assert!(accepts(&[&format!("--{}", flag.long), word, "list"]), "--{} {word}", flag.long);
            }
        }
        for row in COMMANDS {
            for flag in row.flags {
                let given: &[&str] = if row.least == 0 { &[] } else { &["c"] };
                for word in words(of_value(flag)) {
                    let option = format!("--{}", flag.long);
                    let line = [&[row.name, &option, word], given].concat();
                    assert!(accepts(&line), "{line:?}");
                }
            }
        }
        for signal in SIGNALS {
            assert!(accepts(&["kill", "c", signal]), "{signal}");
        }
        assert!(accepts(&["mounts", "add", "c", "f"]) && accepts(&["mounts", "remove", "c", "f"]));
        assert!(!accepts(&["list", "--format", "nope"]));
    }

    fn words(kind: Option<Kind>) -> Vec<&'static str> {
        match kind {
            Some(Kind::Words(words)) => words,
            _ => Vec::new(),
        }
    }
}
