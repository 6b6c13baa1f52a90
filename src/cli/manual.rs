//! Man pages, made from the table: oxrun(8) and one page for each command. `tools/pages.rs` writes them to
//! docs/man; the binary itself does not use this.

use super::help::VERSION;
use super::table::{COMMANDS, CommandRow, Flag, GLOBAL, HELP};

/// All pages as file name and text, in the man(7) language.
pub fn man_pages() -> Vec<(String, String)> {
    let commands = COMMANDS.iter().map(|row| (format!("oxrun-{}.8", row.name), command(row)));
    [("oxrun.8".to_string(), program())].into_iter().chain(commands).collect()
}

fn program() -> String {
    let mut text = head("OXRUN", "oxrun", "Open Container Initiative runtime");
    text += ".SH SYNOPSIS\n\\fBoxrun\\fR [\\fIglobal options\\fR] \\fIcommand\\fR [\\fIcommand options\\fR] [\\fIarguments...\\fR]\n";
    text += ".SH DESCRIPTION\n";
    text += &prose(
        "Makes and runs containers as the OCI runtime specification describes them: each from a bundle, a \
         directory with a config.json and a root filesystem. There is no daemon; every command reads the state \
         of the containers, does one thing and ends.",
    );
    text += ".SH COMMANDS\n";
    for row in COMMANDS {
        text += &format!(".TP\n\\fBoxrun\\-{}\\fR(8)\n{}", escape(row.name), prose(row.summary));
    }
    text += ".SH GLOBAL OPTIONS\nThey go before the command.\n";
    text += &options(GLOBAL.iter());
    text += ".SH EXIT STATUS\n";
    text += &prose(
        "0 when the command did what it was asked for and 1 when it failed, with the reason in one line on stderr \
         and in the log, unless the command's page says otherwise.",
    );
    text += ".SH FILES\n.TP\n\\fI/run/oxrun\\fR, \\fI$XDG_RUNTIME_DIR/oxrun\\fR\n";
    text += &prose("The states of the containers of root and of other users; see `--root`.");
    text += ".SH ENVIRONMENT\n";
    for (name, meaning) in ENVIRONMENT {
        text += &format!(".TP\n\\fB{name}\\fR\n{}", prose(meaning));
    }
    text += &see_also(COMMANDS.iter().map(|row| row.name));
    text
}

/// What oxrun reads of its environment.
const ENVIRONMENT: [(&str, &str); 2] = [
    ("XDG_RUNTIME_DIR", "Where the states of a user's containers are, and that user's systemd."),
    (
        "LISTEN_FDS, LISTEN_PID",
        "Descriptors from socket activation, which are handed over to the container's process.",
    ),
];

fn command(row: &CommandRow) -> String {
    let name = format!("oxrun-{}", row.name);
    let mut text = head(&name.to_uppercase(), &name, row.summary);
    text += &format!(
        ".SH SYNOPSIS\n\\fBoxrun {}\\fR [\\fIcommand options\\fR] {}",
        escape(row.name),
        escape(row.arguments)
    );
    text = text.trim_end().to_string() + "\n";
    text += ".SH DESCRIPTION\n";
    text += &prose(row.description);
    text += ".SH OPTIONS\n";
    text += &options(row.flags.iter().chain([&HELP]));
    text += ".PP\nThe options of \\fBoxrun\\fR(8) go before the command.\n";
    text += &see_also([]);
    text
}

fn head(title: &str, name: &str, summary: &str) -> String {
    format!(
        ".\\\" By `make pages` from src/cli/table.rs.\n.TH {} 8 \"\" \"oxrun {VERSION}\" \"System Manager's Manual\"\n.SH NAME\n{} \\- {}\n",
        escape(title),
        escape(name),
        escape(summary)
    )
}

fn options<'a>(flags: impl Iterator<Item = &'a Flag>) -> String {
    flags.map(|flag| format!(".TP\n{}\n{}", option(flag), prose(flag.help))).collect()
}

/// `--bundle DIR, -b DIR`, the option bold and its value in italics.
fn option(flag: &Flag) -> String {
    let value = flag.value.map(|name| format!(" \\fI{}\\fR", escape(name))).unwrap_or_default();
    let short = flag.short.iter().map(|letter| format!("-{letter}"));
    let names = [format!("--{}", flag.long)].into_iter().chain(short);
    names.map(|name| format!("\\fB{}\\fR{value}", escape(&name))).collect::<Vec<_>>().join(", ")
}

fn see_also<'a>(commands: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<_> = commands.into_iter().map(|name| format!("oxrun\\-{}", escape(name))).collect();
    if names.is_empty() {
        names.push("oxrun".to_string());
    }
    let references: Vec<_> = names.iter().map(|name| format!("\\fB{name}\\fR(8)")).collect();
    format!(".SH SEE ALSO\n{}\n", references.join(",\n"))
}

/// Text with `code` in bold, its lines filled by the reader.
fn prose(text: &str) -> String {
    let mut lines = String::new();
    let mut bold = false;
    for line in text.lines() {
        let mut parts = line.split('`');
        let mut out = escape(parts.next().unwrap_or_default());
        for part in parts {
            bold = !bold;
            out += if bold { "\\fB" } else { "\\fR" };
            out += &escape(part);
        }
        // A line that starts like a request would be taken as one.
        let guard = if out.starts_with(['.', '\'']) { "\\&" } else { "" };
        lines += &format!("{guard}{out}\n");
    }
    lines
}

/// Backslashes as themselves, and every dash such that it can be copied into a shell.
fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_a_request() {
        assert_eq!(
            prose(".so /etc/passwd\n'x `a-b` c\\n"),
            "\\&.so /etc/passwd\n\\&'x \\fBa\\-b\\fR c\\en\n"
        );
    }

    #[test]
    fn every_command_and_option_has_its_lines() {
        let pages = man_pages();
        assert_eq!(pages.len(), COMMANDS.len() + 1);
        for (row, (name, page)) in COMMANDS.iter().zip(&pages[1..]) {
            assert_eq!(*name, format!("oxrun-{}.8", row.name));
            for flag in row.flags.iter().chain([&HELP]) {
                assert!(page.contains(&format!("\n{}\n", option(flag))), "{name}: --{}", flag.long);
            }
            assert!(pages[0].1.contains(&format!("\\fBoxrun\\-{}\\fR(8)\n", row.name)));
        }
    }
}
