//! Tables of Markdown that name tests by `area::file::function`: their cells, and whether a test exists.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The words in backticks of one cell of each row of the tables.
pub fn cells(document: &str, column: usize) -> Vec<String> {
    let rows = document.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| row.split('|').nth(column + 1));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_string)).collect()
}

/// Those of the tests that do not exist.
pub fn missing_tests(names: &[String]) -> Vec<String> {
    let mut sources = BTreeMap::new();
    let mut missing = Vec::new();
    for name in names {
        let [area, files @ .., function] = &name.split("::").collect::<Vec<_>>()[..] else {
            panic!("`{name}` is not AREA::FILE::FUNCTION");
        };
        let directory = match *area {
            "container" => "tests/container",
            "container_src" => "src/container",
            "bundle" | "cgroup" | "cli" | "init" | "rootfs" | "seccomp" | "sys" => &format!("src/{area}"),
            other => panic!("`{other}` of `{name}` is no known directory"),
        };
        let path = format!("{directory}/{}.rs", files.join("/"));
        let source = sources.entry(path.clone()).or_insert_with(|| read(&path));
        let before =
            source.find(&format!("\nfn {function}(")).or(source.find(&format!("    fn {function}(")));
        if before.is_none_or(|at| !source[..at].trim_end().ends_with("#[test]")) {
            missing.push(name.clone());
        }
    }
    missing
}
