//! Which errors of the source no test has seen, and which of them none can: `tests/data/errors-not-seen.txt`
//! has these with the reasons. `make errors` runs all tests with a record of the errors that they met
//! (`record`) and then the check here; that the list names what there is, every test run checks.

use super::page::{Place, places, root};
use std::collections::BTreeSet;
use std::fs;

/// A line of the list: `src/init/mod.rs: wait for the begin`, and whether a reason stands above it.
struct Entry {
    name: String,
    has_reason: bool,
}

fn list() -> Vec<Entry> {
    let text = fs::read_to_string(root().join("tests/data/errors-not-seen.txt")).unwrap();
    let (mut entries, mut has_reason) = (Vec::new(), false);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match line.strip_prefix("    ") {
            Some(name) => entries.push(Entry { name: name.to_string(), has_reason }),
            None => has_reason = !line.trim().is_empty(),
        }
    }
    entries
}

/// How the list names it: by its text, or where that is made elsewhere by its line in the source.
fn name(place: &Place) -> String {
    format!("{}: {}", place.file, place.text.as_ref().unwrap_or(&place.source))
}

#[test]
fn the_list_of_errors_not_seen_names_errors_with_reasons() {
    let names: BTreeSet<String> = places().iter().map(name).collect();
    let mut before = BTreeSet::new();
    for Entry { name, has_reason } in list() {
        assert!(names.contains(&name), "no longer in the source, take it off the list: {name}");
        assert!(has_reason, "without a reason above it: {name}");
        assert!(before.insert(name.clone()), "twice in the list: {name}");
    }
}

/// Run by `make errors` after all other tests; the file has a line for each error that one of them saw.
#[test]
#[ignore = "needs the record of a whole test run"]
fn errors_that_no_test_has_seen() {
    let seen = fs::read_to_string(root().join("target/errors-seen")).unwrap();
    let seen: BTreeSet<&str> = seen.lines().collect();
    let all = places();
    let unseen: Vec<&Place> = all
        .iter()
        .filter(|place| !seen.contains(format!("{}:{}", place.file, place.line).as_str()))
        .collect();
    let listed: BTreeSet<String> = list().into_iter().map(|entry| entry.name).collect();
    let names: BTreeSet<String> = unseen.iter().map(|place| name(place)).collect();
    let surprises: Vec<&&Place> = unseen.iter().filter(|place| !listed.contains(&name(place))).collect();
    for place in &surprises {
        let text = place.text.as_ref().unwrap_or(&place.source);
        println!("not seen: {}:{}: {text}", place.file, place.line);
    }
    let seen_after_all: Vec<&String> = listed.difference(&names).collect();
    for name in &seen_after_all {
        println!("on the list, but seen: {name}");
    }
    let excused = unseen.len() - surprises.len();
    println!(
        "{} of {} errors were seen by a test, {excused} are on the list",
        all.len() - unseen.len(),
        all.len()
    );
    assert!(surprises.is_empty() && seen_after_all.is_empty(), "see tests/data/errors-not-seen.txt");
}
