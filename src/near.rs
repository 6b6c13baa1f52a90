//! The nearest of some names to one that was mistyped. Pure; called where an error can suggest what was
//! meant: names in config.json, programs in the container.

/// Longer names are not compared, in bytes.
const LONGEST: usize = 64;

/// The candidate that differs from `name` by the fewest edits, if those are few for its length: one in
/// three letters. Upper and lower case count as the same letter.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (name.chars().count() / 3).max(1);
    let near = candidates.into_iter().filter(|candidate| *candidate != name);
    let measured = near.filter_map(|candidate| Some((edits(name, candidate, most)?, candidate)));
    measured.min_by_key(|(edits, _)| *edits).map(|(_, candidate)| candidate)
}

/// How many letters must be inserted, removed, changed or swapped with their neighbour (optimal string
/// alignment distance); none when more than `most`.
fn edits(a: &str, b: &str, most: usize) -> Option<usize> {
    if a.len() > LONGEST || b.len() > LONGEST {
        return None;
    }
    let letters = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<Vec<char>>();
    let (a, b) = (letters(a), letters(b));
    if a.is_empty() || b.is_empty() || a.len().abs_diff(b.len()) > most {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut cost =
                (at(&above, j) + usize::from(x != y)).min(at(&above, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                cost = cost.min(at(&before, j - 1) + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().filter(|cost| *cost <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        let table = [
            ("network", "ntwork", Some(1)),
            ("bash", "bahs", Some(1)),
            ("sh", "SH", Some(0)),
            ("pid", "user", None),
            ("mount", "mounts", Some(1)),
            ("abc", "cab", Some(2)),
            ("", "x", None),
        ];
        for (a, b, expected) in table {
            assert_eq!(edits(a, b, 2), expected, "{a} {b}");
            assert_eq!(edits(b, a, 2), expected, "{b} {a}");
        }
        assert_eq!(edits(&"a".repeat(65), &"a".repeat(65), 2), None);
    }

    #[test]
    fn suggests_only_what_is_near() {
        let kinds = ["user", "mount", "network", "pid"];
        assert_eq!(nearest("netwrk", kinds), Some("network"));
        assert_eq!(nearest("Pid", kinds), Some("pid"));
        assert_eq!(nearest("mount", kinds), None, "the name itself is no suggestion");
        assert_eq!(nearest("xyz", kinds), None);
        assert_eq!(nearest("", kinds), None);
    }
}
