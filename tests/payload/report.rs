//! What the process sees of itself: ids, capabilities, limits, descriptors, namespaces, mounts.
//! A file of /proc that can't be read is `null`.

use serde_json::{Map, Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Everything, as one object.
pub fn report() -> Value {
    json!({
        "pid": std::process::id(),
        "ppid": ids(libc::getppid),
        "sid": session(),
        "pgid": ids(libc::getpgrp),
        "args": std::env::args().collect::<Vec<_>>(),
        "env": environment(),
        "cwd": std::env::current_dir().map(|d| d.display().to_string()).unwrap_or_default(),
        "status": status("/proc/self/status"),
        "limits": limits(),
        "fds": descriptors("/proc/self/fd"),
        "namespaces": namespaces(),
        "mounts": mounts(),
        "hostname": text("/proc/sys/kernel/hostname"),
        "domainname": text("/proc/sys/kernel/domainname"),
        "oom_score_adj": text("/proc/self/oom_score_adj"),
        "personality": text("/proc/self/personality"),
        "timens": text("/proc/self/timens_offsets"),
        "uid_map": text("/proc/self/uid_map"),
        "gid_map": text("/proc/self/gid_map"),
        "setgroups": text("/proc/self/setgroups"),
        "cgroups": text("/proc/self/cgroup"),
        "machine": machine(),
        "tty": [tty(0), tty(1), tty(2)],
        "pdeathsig": parent_death_signal(),
        "comm": text("/proc/self/comm"),
        "wait_child": first_child_exists(),
    })
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|t| t.trim_end().to_string())
}

fn ids(call: unsafe extern "C" fn() -> i32) -> i32 {
    // SAFETY: getppid and getpgrp take nothing and cannot fail.
    unsafe { call() }
}

fn session() -> i32 {
    // SAFETY: takes a plain integer.
    unsafe { libc::getsid(0) }
}

/// The environment as it is, in order, not deduplicated.
fn environment() -> Vec<String> {
    let raw = fs::read("/proc/self/environ").unwrap_or_default();
    let entries = raw.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
    let from_proc: Vec<String> = entries.map(|entry| String::from_utf8_lossy(entry).into_owned()).collect();
    if from_proc.is_empty() {
        return std::env::vars().map(|(key, value)| format!("{key}={value}")).collect();
    }
    from_proc
}

/// /proc/PID/status as an object of strings.
pub fn status(path: &str) -> Value {
    let mut object = Map::new();
    for line in text(path).unwrap_or_default().lines() {
        if let Some((key, value)) = line.split_once(':') {
            let words: Vec<&str> = value.split_whitespace().collect();
            object.insert(key.to_string(), json!(words.join(" ")));
        }
    }
    Value::Object(object)
}

/// Soft and hard value of each limit, as the kernel prints them.
fn limits() -> Value {
    let names = [
        ("RLIMIT_CPU", libc::RLIMIT_CPU),
        ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE),
        ("RLIMIT_DATA", libc::RLIMIT_DATA),
        ("RLIMIT_STACK", libc::RLIMIT_STACK),
        ("RLIMIT_CORE", libc::RLIMIT_CORE),
        ("RLIMIT_RSS", libc::RLIMIT_RSS),
        ("RLIMIT_NPROC", libc::RLIMIT_NPROC),
        ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE),
        ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK),
        ("RLIMIT_AS", libc::RLIMIT_AS),
        ("RLIMIT_LOCKS", libc::RLIMIT_LOCKS),
        ("RLIMIT_SIGPENDING", libc::RLIMIT_SIGPENDING),
        ("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE),
        ("RLIMIT_NICE", libc::RLIMIT_NICE),
        ("RLIMIT_RTPRIO", libc::RLIMIT_RTPRIO),
        ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME),
    ];
    let mut object = Map::new();
    for (name, number) in names {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is a valid place for the result.
        if unsafe { libc::getrlimit(number, &mut limit) } == 0 {
            object.insert(name.to_string(), json!([limit.rlim_cur, limit.rlim_max]));
        }
    }
    Value::Object(object)
}

/// Open descriptors and what they point to, without the one that lists them.
pub fn descriptors(directory: &str) -> Value {
    let Ok(entries) = fs::read_dir(directory) else { return Value::Null };
    let numbers: Vec<String> =
        entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    let mut object = Map::new();
    for number in numbers {
        // The descriptor of the listing itself is closed by now.
        if let Ok(target) = fs::read_link(format!("{directory}/{number}")) {
            object.insert(number, json!(target.display().to_string()));
        }
    }
    Value::Object(object)
}

fn namespaces() -> Value {
    let mut object = Map::new();
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        let link = fs::read_link(format!("/proc/self/ns/{name}"));
        object.insert(name.to_string(), json!(link.ok().map(|l| l.display().to_string())));
    }
    Value::Object(object)
}

/// /proc/self/mountinfo, one object per line (proc_pid_mountinfo(5)).
fn mounts() -> Value {
    let Some(table) = text("/proc/self/mountinfo") else { return Value::Null };
    table.lines().filter_map(mount_line).collect()
}

fn mount_line(line: &str) -> Option<Value> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    Some(json!({
        "id": left[0],
        "device": left[2],
        "root": left[3],
        "point": left[4].replace("\\040", " "),
        "options": left[5].split(',').collect::<Vec<_>>(),
        "propagation": left[6..].join(" "),
        "type": right[0],
        "source": right.get(1),
        "super": right.get(2).map(|o| o.split(',').collect::<Vec<_>>()),
    }))
}

fn machine() -> String {
    // SAFETY: utsname is plain bytes, for which zero is valid, and uname fills it.
    let name = unsafe {
        let mut name: libc::utsname = std::mem::zeroed();
        libc::uname(&mut name);
        name
    };
    name.machine.iter().take_while(|c| **c != 0).map(|c| *c as u8 as char).collect()
}

/// Whether a descriptor is a terminal, and its device number and name.
fn tty(number: i32) -> Value {
    // SAFETY: takes a plain integer.
    let is_terminal = unsafe { libc::isatty(number) } == 1;
    let meta = fs::metadata(format!("/proc/self/fd/{number}")).ok();
    json!({
        "terminal": is_terminal,
        "major": meta.as_ref().map(|m| libc::major(m.rdev())),
        "minor": meta.as_ref().map(|m| libc::minor(m.rdev())),
        "uid": meta.as_ref().map(|m| m.uid()),
        "gid": meta.as_ref().map(|m| m.gid()),
        "link": fs::read_link(format!("/proc/self/fd/{number}")).ok().map(|l| l.display().to_string()),
    })
}

fn parent_death_signal() -> i32 {
    let mut signal = 0i32;
    // SAFETY: PR_GET_PDEATHSIG writes one int to the address.
    unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &mut signal as *mut i32) };
    signal
}

/// Whether the process was born with children (waitpid says anything but ECHILD).
fn first_child_exists() -> bool {
    // SAFETY: a null status is allowed.
    unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) != -1 }
}
