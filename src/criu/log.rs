//! CRIU's log: the lines that say why something failed. A log of a failed dump has thousands of lines, of
//! which the first errors are the reason and the last only say that all was given up.

use rustix::fs::{Mode, OFlags};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;

/// How many bytes at the end of a log are looked at.
const TAIL: u64 = 4 << 20;
/// How many errors are told.
const MOST: usize = 3;
/// Longest error told, in characters.
const LONGEST: usize = 300;

/// The decisive errors of the log `name` in the work directory, one after the other; none if there
/// is no log, or no error in it.
pub fn decisive(work: &OwnedFd, name: &str) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut log = std::fs::File::from(rustix::fs::openat(work, name, flags, Mode::empty()).ok()?);
    let length = log.metadata().ok()?.len();
    log.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut bytes = Vec::new();
    log.take(TAIL).read_to_end(&mut bytes).ok()?;
    errors(&String::from_utf8_lossy(&bytes))
}

/// The first errors of a log, without time, place and repetition.
fn errors(log: &str) -> Option<String> {
    let mut found: Vec<String> = Vec::new();
    for text in log.lines().filter_map(error) {
        if found.len() < MOST && !found.contains(&text) {
            found.push(text);
        }
    }
    (!found.is_empty()).then(|| found.join("; "))
}

/// The text of a line like `(00.012345) 1: Error (criu/mount.c:1088): mnt: text`.
fn error(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("Error (")?;
    let (_, text) = rest.split_once("): ")?;
    let text = text.trim();
    // The last words of a failure, which say nothing of its reason.
    if text.is_empty() || text.ends_with("FAILED.") {
        return None;
    }
    Some(clean(text))
}

/// Names in the log are the container's: what could confuse a terminal or a log is left out.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
(00.000000) Version: 4.1.1 (gitid v4.1.1)
(00.021318) mnt: Inspecting sharing on 73 shared_id 0 master_id 1 (@./data)
(00.024003) Error (criu/sk-unix.c:834): unix: Can't dump half of stream unix connection.
(00.024050) Error (criu/cr-dump.c:1669): Dump files (pid: 423) failed with -1
(00.024051) Error (criu/cr-dump.c:1669): Dump files (pid: 423) failed with -1
(00.031000)      1: Error (criu/files.c:1): third
(00.031001) Error (criu/files.c:2): fourth
(00.047310) Error (criu/cr-dump.c:2093): Dumping FAILED.
";

    #[test]
    fn the_first_errors_are_told() {
        assert_eq!(
            errors(LOG).unwrap(),
            "unix: Can't dump half of stream unix connection.; Dump files (pid: 423) failed with -1; third"
        );
        assert_eq!(errors("(00.0) all is well\n"), None);
        assert_eq!(errors("Error (x): \nError (criu/cr-dump.c:2093): Dumping FAILED.\n"), None);
    }

    #[test]
    fn what_the_container_put_there_does_no_harm() {
        let long = format!("Error (a.c:1): {}\u{1b}[2J\r{}\n", "x".repeat(200), "y".repeat(500));
        let text = errors(&long).unwrap();
        assert!(text.chars().count() <= LONGEST && !text.chars().any(char::is_control), "{text}");
    }

    #[test]
    fn a_log_that_is_no_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let fd = rustix::fs::open(dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        assert_eq!(decisive(&fd, "dump.log"), None);
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("dump.log")).unwrap();
        assert_eq!(decisive(&fd, "dump.log"), None);
        std::fs::write(dir.path().join("restore.log"), LOG).unwrap();
        assert!(decisive(&fd, "restore.log").unwrap().starts_with("unix: Can't"));
    }
}
