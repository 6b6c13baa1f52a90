//! docs/security.md: every rule is there and named in the code that keeps it, every advisory is there,
//! every test it names exists, and its counts are right. `make test-security` prints the counts and,
//! with WRITE_COUNTS set, writes them.
#![allow(missing_docs, clippy::disallowed_methods)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use tables::{cells, missing_tests, read, repository};

const DOCUMENT: &str = "docs/security.md";
const CANNOT: &str = "cannot apply: ";

/// The rows of both tables, as trimmed cells.
fn tables() -> (Vec<Vec<String>>, Vec<Vec<String>>) {
    let document = read(DOCUMENT);
    let section = |title: &str| {
        let after = document.split(&format!("\n## {title}\n")).nth(1).unwrap_or_else(|| panic!("{title}"));
        after.split("\n## ").next().unwrap_or_default().to_string()
    };
    let (rules, advisories) = (section("Rules"), section("Advisories"));
    let rows = |text: &str| -> Vec<Vec<String>> {
        let rows = text.lines().filter(|line| line.starts_with("| ") && !line.contains("|---"));
        let cells = |row: &str| row.split('|').map(|cell| cell.trim().to_string()).collect::<Vec<_>>();
        rows.map(|row| cells(row)[1..5].to_vec()).skip(1).collect()
    };
    (rows(&rules), rows(&advisories))
}

fn words(cell: &str) -> Vec<String> {
    cells(&format!("| {cell} |"), 0)
}

/// Which files name which rules: `R7` as a word of its own.
fn mentions() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut pending = vec!["src".to_string(), "clippy.toml".to_string()];
    while let Some(path) = pending.pop() {
        if repository(&path).is_dir() {
            let entries = fs::read_dir(repository(&path)).unwrap().flatten();
            pending.extend(entries.map(|e| format!("{path}/{}", e.file_name().to_string_lossy())));
            continue;
        }
        let text = read(&path);
        for word in text.split(|c: char| !c.is_alphanumeric() && c != '_') {
            if word.strip_prefix('R').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
            {
                found.entry(word.to_string()).or_default().insert(path.clone());
            }
        }
    }
    found
}

#[test]
fn every_rule_is_named_in_the_code_that_keeps_it() {
    let (rules, _) = tables();
    let names: Vec<&str> = rules.iter().map(|row| row[0].as_str()).collect();
    let all: Vec<String> = (1..=25).map(|n| format!("R{n}")).collect();
    assert_eq!(names, all);
    let mentions = mentions();
    for row in &rules {
        let (rule, files, tests) = (&row[0], words(&row[2]), words(&row[3]));
        let named = mentions.get(rule).cloned().unwrap_or_default();
        // A rule about what no command does has no code; as soon as it has, it is to be listed.
        assert!(
            files.is_empty() == named.is_empty(),
            "{rule} is named in {named:?}, the table says {files:?}"
        );
        assert!(files.is_empty() == tests.is_empty(), "{rule} has code or tests, but not both");
        for file in files {
            assert!(named.contains(&file), "{rule} is not named in {file}, but in {named:?}");
        }
    }
    let unknown: Vec<_> = mentions.keys().filter(|rule| !all.contains(rule)).collect();
    assert!(unknown.is_empty(), "no such rule: {unknown:?}");
}

#[test]
fn every_advisory_has_a_test_or_a_reason() {
    let (_, advisories) = tables();
    let told: BTreeSet<&str> = advisories.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(told.len(), advisories.len(), "an advisory has two rows");
    let known = read("tests/data/advisories.txt");
    let missing: Vec<&str> = known.lines().filter(|line| !told.contains(line)).collect();
    assert!(missing.is_empty(), "{DOCUMENT} says nothing of {missing:?}");
    for row in &advisories {
        let tests = words(&row[3]);
        let reason = row[3].strip_prefix(CANNOT).is_some_and(|reason| reason.len() > 10);
        assert!(reason != row[3].contains("::"), "{} has neither a test nor a reason, or both", row[0]);
        assert!(reason || !tests.is_empty(), "{}", row[0]);
    }
}

fn named_tests() -> BTreeSet<String> {
    let (rules, advisories) = tables();
    let cells = rules.iter().chain(advisories.iter().filter(|row| !row[3].starts_with(CANNOT)));
    cells.flat_map(|row| words(&row[3])).collect()
}

#[test]
fn tests_that_are_named_exist() {
    let missing = missing_tests(&named_tests().into_iter().collect::<Vec<_>>());
    assert!(missing.is_empty(), "{DOCUMENT} names tests that do not exist: {missing:?}");
}

#[test]
fn every_security_test_is_named() {
    let named = named_tests();
    for entry in fs::read_dir(repository("tests/container/security")).unwrap().flatten() {
        let file = entry.file_name().to_string_lossy().trim_end_matches(".rs").to_string();
        let source = fs::read_to_string(entry.path()).unwrap();
        for test in source.split("#[test]\nfn ").skip(1) {
            let name = format!("container::security::{file}::{}", test.split('(').next().unwrap());
            assert!(named.contains(&name), "{DOCUMENT} does not name {name}");
        }
    }
}

#[test]
fn counts_are_those_of_the_tables() {
    let (rules, advisories) = tables();
    let cannot = advisories.iter().filter(|row| row[3].starts_with(CANNOT)).count();
    let line = format!(
        "Counts: {} rules, {} advisories ({} tested, {cannot} that cannot apply), {} tests named.",
        rules.len(),
        advisories.len(),
        advisories.len() - cannot,
        named_tests().len()
    );
    println!("{line}");
    let document = read(DOCUMENT);
    let old = document.lines().find(|line| line.starts_with("Counts: ")).expect("the line of counts");
    if std::env::var_os("WRITE_COUNTS").is_some() {
        fs::write(repository(DOCUMENT), document.replace(old, &line)).unwrap();
    } else {
        assert_eq!(old, line, "run `make test-security`, which writes it");
    }
}
