//! Lists of CPUs and NUMA nodes in the kernel's format (`0-3,7`), and the paths inside a container.
//! Used by every file of the lowering that has either.

use crate::sort::sort;

/// Numbers of a list such as `0-3,7` (cpuset(7), List format), sorted, each once; spaces are
/// skipped. The error says what is wrong with it.
pub fn parse_list(text: &str, limit: u32) -> Result<Vec<u32>, String> {
    let mut numbers = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first, limit)?, number(last, limit)?);
        if first > last {
            return Err(format!("range `{part}` ends before it begins"));
        }
        numbers.extend(first..=last);
    }
    sort(&mut numbers);
    numbers.dedup();
    Ok(numbers)
}

fn number(text: &str, limit: u32) -> Result<u32, String> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("`{text}` is not a number; write a list such as `0-3,7`"));
    }
    match text.parse::<u32>() {
        Ok(number) if number < limit => Ok(number),
        _ => Err(format!("{text} is out of range: 0 to {} are possible", limit - 1)),
    }
}

/// A path in a container made absolute and plain: no `.`, `..`, `//` or slash at the end. `..` at
/// the top stays at the top; symbolic links are not looked at.
pub fn normalise(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists() {
        for (text, expected) in [
            ("", vec![]),
            ("0", vec![0]),
            ("0-3,7", vec![0, 1, 2, 3, 7]),
            ("7, 0-1", vec![0, 1, 7]),
            ("1,1-2,", vec![1, 2]),
        ] {
            assert_eq!(parse_list(text, 1024).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn refuses_other_lists() {
        for (text, why) in [
            ("a", "`a` is not a number"),
            ("1-", "`` is not a number"),
            ("-1", "`` is not a number"),
            ("3-1", "ends before"),
            ("1-2-3", "`2-3` is not a number"),
            ("1024", "1024 is out of range: 0 to 1023"),
            ("9876543210", "out of range"),
            ("0-4294967295", "out of range"),
            ("+1", "not a number"),
        ] {
            assert!(parse_list(text, 1024).unwrap_err().contains(why), "{text}");
        }
    }

    #[test]
    fn normalises_paths() {
        for (path, expected) in [
            ("/", "/"),
            ("//a///b/", "/a/b"),
            ("a/./b", "/a/b"),
            ("/a/../../b", "/b"),
            ("/..", "/"),
            ("", "/"),
        ] {
            assert_eq!(normalise(path), expected, "{path}");
        }
    }
}
