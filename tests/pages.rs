//! The man pages and shell completions in the repository: as the table of commands and options has them, and
//! understood by the programs that read them.
#![allow(missing_docs, clippy::disallowed_methods)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The directory has these files and no others.
fn compare(directory: &str, files: &[(String, String)]) {
    let mut names: Vec<_> = files.iter().map(|(name, _)| name.clone()).collect();
    let entries = fs::read_dir(repository(directory)).unwrap();
    let mut found: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    found.sort();
    assert_eq!(found, names, "{directory} is stale: run `make pages`");
    for (name, text) in files {
        let path = format!("{directory}/{name}");
        assert!(fs::read_to_string(repository(&path)).unwrap() == *text, "{path} is stale: run `make pages`");
    }
}

/// The output, or none with a line where the program is not installed.
fn output(program: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(output),
        Err(_) => {
            println!("SKIP {program} is not installed");
            None
        }
    }
}

#[test]
fn man_pages_are_those_of_the_table() {
    compare("docs/man", &oxrun::man_pages());
}

#[test]
fn completions_are_those_of_the_table() {
    compare("completions", &oxrun::completions());
}

#[test]
fn man_pages_are_formatted_without_a_warning() {
    for (name, _) in oxrun::man_pages() {
        let path = repository("docs/man").join(&name);
        let Some(output) = output("groff", &["-man", "-ww", "-Tascii", "-P-c", path.to_str().unwrap()])
        else {
            return;
        };
        assert!(output.status.success() && output.stderr.is_empty(), "{name}: {output:?}");
        assert!(String::from_utf8(output.stdout).unwrap().contains("System Manager's Manual"), "{name}");
    }
}

/// What bash offers for the last word; two containers exist, and a file `file` in the directory `dir`.
fn bash(words: &[&str]) -> Vec<String> {
    let scratch = tempfile::tempdir().unwrap();
    fs::create_dir(scratch.path().join("dir")).unwrap();
    fs::write(scratch.path().join("a file"), "").unwrap();
    let script = r#"source "$1"; cd "$2"; shift 2
        oxrun() { [[ "$*" == 'list -q' ]] && printf 'one\ntwo\n' || echo "from $*"; }
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _oxrun
        for reply in "${COMPREPLY[@]}"; do echo "$reply"; done"#;
    let source = repository("completions/oxrun.bash");
    let output = Command::new("bash")
        .args(["-uc", script, "bash"])
        .args([source.as_path(), scratch.path()])
        .args(words)
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_string).collect()
}

#[test]
fn bash_completes() {
    let table: &[(&[&str], &[&str])] = &[
        (&["oxrun", "cr"], &["create"]),
        (&["oxrun", "--debug", "--log", "x", "sta"], &["start", "state"]),
        (&["oxrun", "--log-fo"], &["--log-format"]),
        (&["oxrun", "--log-format", ""], &["text", "json"]),
        (&["oxrun", "--log-format", "=", "j"], &["json"]),
        (&["oxrun", "--log-format", "="], &["text", "json"]),
        (&["oxrun", "-log-level", "w"], &["warning"]),
        (&["oxrun", "--debug", "=", "t"], &["true"]),
        (&["oxrun", "kill", ""], &["one", "two"]),
        (&["oxrun", "--root", "/state", "kill", "f"], &["from"]),
        (&["oxrun", "--root", "=", "/state", "kill", "/"], &["/state"]),
        (&["oxrun", "kill", "one", "K"], &["KILL"]),
        (&["oxrun", "create", "--bu"], &["--bundle"]),
        (&["oxrun", "create", "-b", ""], &["dir"]),
        (&["oxrun", "create", "--pid-file", ""], &["a file", "dir"]),
        (&["oxrun", "create", "--no-pivot", "t"], &["two"]),
        (&["oxrun", "exec", "-u", "0", "t"], &["two"]),
        (&["oxrun", "exec", "one", "--e"], &[]),
        (&["oxrun", "mounts", "a"], &["add"]),
        (&["oxrun", "mounts", "add", "o"], &["one"]),
        (&["oxrun", "mounts", "add", "one", "a"], &["a file"]),
        (&["oxrun", "seccomp", "explain", "a"], &["a file"]),
        (&["oxrun", "help", "ki"], &["kill"]),
        (&["oxrun", "list", "x"], &[]),
    ];
    for (words, wanted) in table {
        let mut got = bash(words);
        if got.iter().any(|reply| reply == "dir") {
            got.sort();
        }
        assert_eq!(got, *wanted, "{words:?}");
    }
}

#[test]
fn zsh_and_fish_can_read_theirs() {
    for (shell, file) in [("zsh", "completions/_oxrun"), ("fish", "completions/oxrun.fish")] {
        let path = repository(file);
        let Some(output) = output(shell, &["-n", path.to_str().unwrap()]) else { continue };
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    let path = repository("completions/oxrun.fish");
    let line = |text: &str| format!("source {}; complete -C '{text}'", path.display());
    for (text, wanted) in [
        ("oxrun cre", "create\tcreate a container\n"),
        ("oxrun kill one SI", ""),
        ("oxrun --root /nowhere kill one K", "KILL\n"),
        ("oxrun list --for", "--format\tshape of the output: table (default) or json\n"),
    ] {
        let Some(output) = output("fish", &["--no-config", "-c", &line(text)]) else { return };
        assert_eq!(String::from_utf8(output.stdout).unwrap(), wanted, "{text}");
    }
}
