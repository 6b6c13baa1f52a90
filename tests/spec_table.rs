//! docs/spec.md: every property of the specification is in its tables or among its exceptions, and
//! every test it names exists.
#![allow(missing_docs, clippy::disallowed_methods)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod tables;

use std::collections::BTreeSet;
use tables::{cells, missing_tests, read};

/// `a.{b,c}.d` as `a.b.d` and `a.c.d`.
fn expand(pattern: &str) -> Vec<String> {
    let Some(open) = pattern.find('{') else { return vec![pattern.to_string()] };
    let close = pattern[open..].find('}').map(|at| open + at).expect("a closing brace");
    let choices = pattern[open + 1..close].split(',');
    let whole = |choice: &str| format!("{}{choice}{}", &pattern[..open], &pattern[close + 1..]);
    choices.flat_map(|choice| expand(&whole(choice))).collect()
}

#[test]
fn every_property_is_in_the_table_or_an_exception() {
    let document = read("docs/spec.md");
    let (tables, exceptions) = document.split_once("## Exceptions").expect("the exceptions");
    let mut told: BTreeSet<String> = cells(tables, 1).iter().flat_map(|p| expand(p)).collect();
    told.extend(cells(exceptions, 0).iter().flat_map(|p| expand(p)));
    let properties = read("tests/data/spec-properties.txt");
    let missing: Vec<&str> = properties.lines().filter(|line| !told.contains(*line)).collect();
    assert!(missing.is_empty(), "docs/spec.md says nothing of {missing:?}");
    assert!(properties.lines().count() > 200);
}

#[test]
fn every_line_without_a_test_is_an_exception() {
    let document = read("docs/spec.md");
    let (tables, exceptions) = document.split_once("## Exceptions").unwrap();
    let excepted: BTreeSet<String> = cells(exceptions, 0).iter().flat_map(|p| expand(p)).collect();
    for row in tables.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Line")) {
        if !cells(row, 2).is_empty() {
            continue;
        }
        let properties = cells(row, 1);
        assert!(!properties.is_empty(), "neither a test nor a property: {row}");
        for property in properties.iter().flat_map(|p| expand(p)) {
            assert!(excepted.contains(&property), "{property} has neither a test nor a reason");
        }
    }
}

#[test]
fn tests_that_are_named_exist() {
    let document = read("docs/spec.md");
    let (tables, _) = document.split_once("## Exceptions").unwrap();
    let missing = missing_tests(&cells(tables, 2));
    assert!(missing.is_empty(), "docs/spec.md names tests that do not exist: {missing:?}");
}

#[test]
fn expansion_of_braces() {
    assert_eq!(expand("a.{b,c}[].{d,e}"), ["a.b[].d", "a.b[].e", "a.c[].d", "a.c[].e"]);
}
