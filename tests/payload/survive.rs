//! A program to be written to images and made again: each round it uses all that it has (a file it
//! appends to, one that was removed, pipes to a child, a TCP socket, memory) and writes its number
//! down, so that a gap, a repetition or a loss shows.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

const PAGE: usize = 4096;
const PAGES: usize = 1024;

/// Counts into `journal` until the file `stop` is there, then ends with status 7.
#[allow(clippy::zombie_processes)] // both end with the container
pub fn survive(journal: &str, stop: &str) {
    let mut journal = OpenOptions::new().create(true).append(true).open(journal).unwrap();
    let mut gone =
        OpenOptions::new().create(true).read(true).write(true).truncate(true).open("/tmp/gone").unwrap();
    gone.write_all(b"still here").unwrap();
    fs::remove_file("/tmp/gone").unwrap();
    let mut child = Command::new("/bin/payload")
        .args(["do-echo"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut to, mut from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let listener = TcpListener::bind("127.0.0.1:7000").unwrap();
    listener.set_nonblocking(true).unwrap();
    // What cannot be written, where a test wants that.
    let _outside = std::os::unix::net::UnixStream::connect("/outside.sock");
    let mut memory = vec![0u8; PAGES * PAGE];
    for number in 0u64.. {
        // Half of the pages are written once, the others again and again.
        let page = if number < PAGES as u64 { number as usize } else { (number as usize) % (PAGES / 2) };
        memory[page * PAGE..][..8].copy_from_slice(&number.to_le_bytes());
        assert!(u64::from_le_bytes(memory[page * PAGE..][..8].try_into().unwrap()) == number);
        for before in (0..page).filter(|_| number < PAGES as u64) {
            assert_eq!(memory[before * PAGE..][..8], (before as u64).to_le_bytes(), "page {before}");
        }
        writeln!(to, "{number}").unwrap();
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{number}\n"), "the child");
        let mut text = String::new();
        gone.seek(SeekFrom::Start(0)).unwrap();
        gone.read_to_string(&mut text).unwrap();
        assert_eq!(text, "still here");
        if let Ok((mut caller, _)) = listener.accept() {
            writeln!(caller, "round {number}").unwrap();
        }
        writeln!(journal, "{number}").unwrap();
        if fs::metadata(stop).is_ok() {
            std::process::exit(7);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Says back each line that it hears.
pub fn echo() {
    for line in std::io::stdin().lines() {
        println!("{}", line.unwrap());
    }
}

/// Holds what only an option lets be written: a lock, a unix socket of the host, a connection.
pub fn hold(what: &str, path: &str) {
    let lock;
    let socket;
    let streams;
    match what {
        "lock" => {
            lock = fs::File::create(path).unwrap();
            // SAFETY: a descriptor that is open and a plain integer.
            assert_eq!(unsafe { libc::flock(std::os::fd::AsRawFd::as_raw_fd(&lock), libc::LOCK_EX) }, 0);
        }
        "unix" => {
            socket = std::os::unix::net::UnixStream::connect(path).unwrap();
            std::mem::forget(socket);
        }
        "tcp" => {
            let listener = TcpListener::bind("127.0.0.1:7001").unwrap();
            let client = std::net::TcpStream::connect("127.0.0.1:7001").unwrap();
            streams = (listener.accept().unwrap().0, client, listener);
            std::mem::forget(streams);
        }
        "removed" => {
            // A name for the file that is left is what link-remap is about.
            let file = fs::File::create(path).unwrap();
            fs::hard_link(path, format!("{path}-other")).unwrap();
            fs::remove_file(path).unwrap();
            std::mem::forget(file);
        }
        other => panic!("hold {other}?"),
    }
    fs::write("/tmp/holding", "").unwrap();
    std::thread::sleep(Duration::from_secs(600));
}
