//! Help and version, printed from the table. Asked for by `main`.

use super::table::{COMMANDS, CommandRow, Flag, GLOBAL, HELP};
use std::fmt::Write;

/// What help was asked for.
#[derive(Debug, Clone, Copy)]
pub enum Topic {
    /// The program.
    Global,
    /// One command.
    Command(&'static CommandRow),
}

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The newest version of the OCI runtime specification that is supported.
pub const SPEC_VERSION: &str = "1.3.0";
/// The commit this was built from, as the Makefile says.
pub const COMMIT: &str = match option_env!("OXRUN_COMMIT") {
    Some(commit) if !commit.is_empty() => commit,
    _ => "unknown",
};

/// The three lines of `--version`.
pub fn version() -> String {
    format!("oxrun version {VERSION}\ncommit: {COMMIT}\nspec: {SPEC_VERSION}\n")
}

/// The text of `--help`.
pub fn help(topic: Topic) -> String {
    match topic {
        Topic::Global => global(),
        Topic::Command(row) => command(row),
    }
}

fn global() -> String {
    let commands: Vec<_> = COMMANDS
        .iter()
        .map(|row| (row.name.to_owned(), row.summary))
        .chain([("help".to_owned(), "show this help, or that of a command")])
        .collect();
    let options: Vec<_> = GLOBAL.iter().map(|flag| (option(flag), flag.help)).collect();
    format!(
        "NAME:\n   oxrun - Open Container Initiative runtime\n\n\
         USAGE:\n   oxrun [global options] command [command options] [arguments...]\n\n\
         VERSION:\n   {VERSION}\n   commit: {COMMIT}\n   spec: {SPEC_VERSION}\n\n\
         COMMANDS:\n{}\nGLOBAL OPTIONS:\n{}",
        columns(&commands),
        columns(&options),
    )
}

fn command(row: &CommandRow) -> String {
    let options: Vec<_> = row.flags.iter().chain([&HELP]).map(|flag| (option(flag), flag.help)).collect();
    let usage = format!("oxrun {} [command options] {}", row.name, row.arguments);
    format!(
        "NAME:\n   oxrun {} - {}\n\nUSAGE:\n   {}\n\nDESCRIPTION:\n   {}\n\nOPTIONS:\n{}",
        row.name,
        row.summary,
        usage.trim_end(),
        row.description.replace('\n', "\n   "),
        columns(&options),
    )
}

/// `--bundle DIR, -b DIR`.
fn option(flag: &Flag) -> String {
    let value = flag.value.map(|name| format!(" {name}")).unwrap_or_default();
    let mut text = format!("--{}{value}", flag.long);
    for letter in flag.short {
        // Writing to a String cannot fail.
        let _ = write!(text, ", -{letter}{value}");
    }
    text
}

fn columns(rows: &[(String, &str)]) -> String {
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    rows.iter().map(|(left, right)| format!("   {left:width$}  {right}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_help_in_the_known_layout() {
        for row in COMMANDS {
            let text = help(Topic::Command(row));
            let lines: Vec<_> = text.lines().collect();
            assert_eq!(lines[0], "NAME:");
            assert_eq!(lines[1], format!("   oxrun {} - {}", row.name, row.summary));
            assert_eq!(
                lines[3..5].join(""),
                format!("USAGE:   oxrun {} [command options] {}", row.name, row.arguments).trim_end()
            );
            assert!(text.contains("\nOPTIONS:\n"));
            for flag in row.flags {
                assert!(text.contains(&format!("   --{}", flag.long)), "{}", flag.long);
            }
            assert!(text.lines().all(|line| line.len() <= 120), "{text}");
        }
    }

    #[test]
    fn global_help_lists_all() {
        let text = help(Topic::Global);
        assert!(text.starts_with("NAME:\n   oxrun - Open Container Initiative runtime\n"));
        assert!(COMMANDS.iter().all(|row| text.contains(&format!("\n   {} ", row.name))));
        assert!(text.contains("--version, -v, -V "));
        assert!(text.contains("--log TARGET "));
    }

    #[test]
    fn version_has_three_lines() {
        let text = version();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], format!("oxrun version {VERSION}"));
        assert!(lines[1].starts_with("commit: ") && lines[1].len() > 8);
        assert_eq!(lines[2], "spec: 1.3.0");
    }
}
