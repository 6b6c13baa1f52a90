//! docs/errors.md, made from the source: every place that makes an error, by step, and the tables of
//! `step`. `make pages` writes it, `make docs` compares it; `unseen` asks which of the places a test has reached.

use super::step::{Kind, Step};
use regex_lite::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// A place that makes an error.
pub struct Place {
    /// `src/rootfs/mount.rs`
    pub file: String,
    pub line: usize,
    /// The reason follows from an error number.
    has_reason: bool,
    /// The text, `…` for what is filled in; none where it is made elsewhere.
    pub text: Option<String>,
    /// Its first line in the source.
    pub source: String,
}

/// The directory of the source.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of the program, without tests.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let tests =
        ["tests", "tests.rs", "live_tests.rs", "bad_input.rs", "good_input.rs", "edges.rs", "oracle.rs"];
    let own = root().join("src/error");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if tests.contains(&name) || path == own {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path));
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// All of them.
pub fn places() -> Vec<Place> {
    let opening = r"\.doing\(|\b(failed|reworded|typed)\(|\b(bail|anyhow|ensure)!\(|\.(with_)?context\(|\bFailed::(new|because)\(|\.add(_unknown)?\(";
    let opening = Regex::new(opening).unwrap();
    let mut places = Vec::new();
    for path in sources(&root().join("src")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let file = path.strip_prefix(root()).unwrap().display().to_string();
        for found in opening.find_iter(text) {
            let line_start = text[..found.start()].rfind('\n').map_or(0, |at| at + 1);
            let before = text[line_start..found.start()].trim_start();
            if before.starts_with("//") || before.contains("fn ") {
                continue;
            }
            let called = found.as_str();
            if called == ".add(" && !text[..found.start()].trim_end().ends_with("problems") {
                continue;
            }
            let line_end = text[found.start()..].find('\n').map_or(text.len(), |at| found.start() + at);
            places.push(Place {
                file: file.clone(),
                line: text[..found.start()].matches('\n').count() + 1,
                has_reason: called.contains("doing") || called.contains("ailed"),
                text: longest_literal(&text[found.end()..]),
                source: text[line_start..line_end].trim().to_string(),
            });
        }
    }
    places
}

/// The longest string literal up to the closing parenthesis, as it is shown.
fn longest_literal(text: &str) -> Option<String> {
    let (mut depth, mut literals, mut literal): (usize, Vec<String>, Option<String>) = (1, Vec::new(), None);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (&mut literal, letter) {
            (Some(_), '"') => literals.extend(literal.take()),
            (Some(open), '\\') => match letters.next() {
                Some('\n') => while letters.next_if(|c| c.is_whitespace()).is_some() {},
                Some(other) => open.push(other),
                None => {}
            },
            (Some(open), other) => open.push(other),
            (None, '"') => literal = Some(String::new()),
            (None, '\'') => {
                // A character literal; a lifetime has no quote after its first letter.
                let mut ahead = letters.clone();
                if ahead.next() != Some('\\') && ahead.next() == Some('\'') {
                    letters.nth(1);
                }
            }
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    let longest = literals.into_iter().max_by_key(String::len)?;
    let filled = Regex::new(r"\{[^{}]*\}").unwrap();
    let plain = longest.replace("{{", "\u{1}").replace("}}", "\u{2}");
    let shown = filled.replace_all(&plain, "…").replace('\u{1}', "{").replace('\u{2}', "}");
    (shown.chars().filter(|c| c.is_alphabetic()).count() > 2).then_some(shown)
}

/// The page.
fn page() -> String {
    let mut texts: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for place in places() {
        if let Some(text) = place.text {
            let why = if place.has_reason && !text.contains(": ") { ": *why*" } else { "" };
            let text = text.trim_end_matches(": ").to_string();
            texts.entry(Step::of_file(&place.file).name()).or_default().insert(format!("`` {text} ``{why}"));
        }
    }
    let mut page = String::from(HEAD);
    for (kind, cause, remedy) in Kind::ALL {
        writeln!(page, "| `{}` | {} | {cause} | {remedy} |", kind.name(), numbers(*kind)).unwrap();
    }
    for (step, what, remedy) in Step::ALL {
        writeln!(page, "\n## {}\n\n{what} {remedy}\n", step.name()).unwrap();
        for text in texts.get(step.name()).into_iter().flatten() {
            writeln!(page, "* {text}").unwrap();
        }
    }
    page
}

/// The error numbers of a kind.
fn numbers(kind: Kind) -> String {
    let names = [
        ("ENOENT", libc::ENOENT),
        ("ENOTDIR", libc::ENOTDIR),
        ("ENXIO", libc::ENXIO),
        ("ENODEV", libc::ENODEV),
        ("ESRCH", libc::ESRCH),
        ("EPERM", libc::EPERM),
        ("EACCES", libc::EACCES),
        ("EROFS", libc::EROFS),
        ("EEXIST", libc::EEXIST),
        ("ENOTEMPTY", libc::ENOTEMPTY),
        ("EBUSY", libc::EBUSY),
        ("ETXTBSY", libc::ETXTBSY),
        ("EMFILE", libc::EMFILE),
        ("ENFILE", libc::ENFILE),
        ("ENOSPC", libc::ENOSPC),
        ("ENOMEM", libc::ENOMEM),
        ("EDQUOT", libc::EDQUOT),
        ("EAGAIN", libc::EAGAIN),
        ("E2BIG", libc::E2BIG),
        ("EUSERS", libc::EUSERS),
        ("ENOSYS", libc::ENOSYS),
        ("EOPNOTSUPP", libc::EOPNOTSUPP),
        ("ENOEXEC", libc::ENOEXEC),
        ("EPROTONOSUPPORT", libc::EPROTONOSUPPORT),
        ("EAFNOSUPPORT", libc::EAFNOSUPPORT),
        ("EINVAL", libc::EINVAL),
        ("ELOOP", libc::ELOOP),
        ("ENAMETOOLONG", libc::ENAMETOOLONG),
        ("EBADF", libc::EBADF),
        ("EISDIR", libc::EISDIR),
        ("ERANGE", libc::ERANGE),
        ("EDOM", libc::EDOM),
        ("ENOTTY", libc::ENOTTY),
        ("ETIMEDOUT", libc::ETIMEDOUT),
        ("EPIPE", libc::EPIPE),
        ("ECONNREFUSED", libc::ECONNREFUSED),
        ("ECONNRESET", libc::ECONNRESET),
        ("ENOTCONN", libc::ENOTCONN),
    ];
    let of_kind: Vec<&str> =
        names.iter().filter(|(_, n)| Kind::of(*n) == kind).map(|(name, _)| *name).collect();
    of_kind.join(" ")
}

const HEAD: &str = "\
# Errors

This page is made from the source: `make pages` writes it, `make docs` fails when it is stale.

An error is one line: what was being done, to what, why it failed, and what to do about it. With
`--log-format json` the line has, beside `level`, `msg` and `time`:

| member | |
|---|---|
| `code` | the step and the kind, `mount-not-found`; stable, texts are not |
| `step` | the part of the work that failed, one of the sections below |
| `object` | what it failed on, where the text names something: a path, an id, of config.json the JSON path |
| `errno` | the kernel's error number, where there is one |

## Kinds

| kind | error numbers | cause | remedy |
|---|---|---|---|
";

#[test]
#[ignore = "run by `make pages` and `make docs`"]
fn the_page_is_up_to_date() {
    let file = root().join("docs/errors.md");
    if std::env::var_os("OXRUN_WRITE_DOCS").is_some() {
        std::fs::write(&file, page()).unwrap();
    }
    let same = std::fs::read_to_string(&file).is_ok_and(|text| text == page());
    assert!(same, "docs/errors.md is stale: run `make pages`");
}

#[test]
fn literals_are_found() {
    for (text, expected) in [
        (r#"|| format!("open `{}`", path))?; "later and longer""#, Some("open `…`")),
        (r#""a", "unknown `{x}`: \"b\" {{}}")"#, Some("unknown `…`: \"b\" {}")),
        (r#"'"', "text (in brackets)")"#, Some("text (in brackets)")),
        ("doing)", None),
    ] {
        assert_eq!(longest_literal(text).as_deref(), expected, "{text}");
    }
}

#[test]
fn every_step_and_kind_is_in_use() {
    let places = places();
    for (step, ..) in Step::ALL {
        let used = places.iter().any(|place| Step::of_file(&place.file) == *step);
        assert!(used || *step == Step::Checkpoint, "{}", step.name());
    }
    let names: BTreeSet<&str> = Step::ALL.iter().map(|(step, ..)| step.name()).collect();
    assert_eq!(names.len(), Step::ALL.len());
    assert!(Kind::ALL.iter().all(|(kind, ..)| !numbers(*kind).is_empty()
        || matches!(kind, Kind::WrongState | Kind::Refused | Kind::Failed)));
}
