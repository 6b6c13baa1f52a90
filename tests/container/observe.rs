//! What is seen of a container from outside (`ps`, `events`), and several at once (`--regex`);
//! mounts of a running one, and readiness for a service manager.

use crate::harness::{Sandbox, is_oxrun, wait_until};
use crate::{config, host};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

fn running(t: &mut Sandbox) {
    t.args(&["payload", "sleep", "1000"]);
    t.create().ok();
    t.start().ok();
}

#[test]
fn ps_shows_the_processes() {
    let mut t = Sandbox::new();
    t.args(&["sh", "-c", "payload sleep 999 & payload sleep 1000; true"]);
    t.create().ok();
    t.start().ok();
    let pids = || t.runtime(&["ps", "--format", "json", &t.id]).ok().json().as_array().unwrap().clone();
    wait_until("three processes", || pids().len() == 3);
    assert!(pids().contains(&json!(t.pid())));
    let table = t.runtime(&["ps", &t.id]).ok().stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    let header: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(header, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    assert!(lines[1].starts_with("root ") && table.contains("payload sleep 999"), "{table}");
    let own = t.runtime(&["ps", &t.id, "-e", "-o", "pid,comm"]).ok().stdout;
    assert!(own.starts_with(" ") && own.contains("PID COMMAND") && own.lines().count() == 4, "{own}");
    t.runtime(&["ps", &t.id, "-e", "-o", "comm"]).failed();
    t.runtime(&["ps", &t.other_id("x")]).failed().says(&["does not exist"]);
    let init = t.pid();
    t.kill("KILL").ok();
    t.reap(init);
    wait_until("no process", || t.runtime(&["ps", &t.id]).ok().stdout.lines().count() == 1);
}

#[test]
fn statistics_once() {
    let mut t = Sandbox::new();
    t.config["linux"]["resources"]["pids"] = json!({"limit": 99});
    running(&mut t);
    let outcome = t.runtime(&["events", "--stats", &t.id]).ok();
    assert!(
        outcome.stdout.starts_with(&format!("{{\"type\":\"stats\",\"id\":\"{}\",\"data\":{{\"cpu\"", t.id))
    );
    assert_eq!(outcome.stdout.lines().count(), 1);
    let data = &outcome.json()["data"];
    assert_eq!(data["pids"], json!({"current": 1, "limit": 99}));
    assert!(data["memory"]["usage"]["usage"].as_u64().unwrap() > 0, "{data}");
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0, "{data}");
    let init = t.pid();
    t.kill("KILL").ok();
    t.reap(init);
    t.runtime(&["events", "--stats", &t.id]).failed().says(&["is not running"]);
}

#[test]
fn events_until_the_end() {
    let mut t = Sandbox::new();
    t.config["linux"]["resources"]["memory"] = json!({"limit": 20 << 20, "swap": 20 << 20});
    running(&mut t);
    let mut events = t.spawn(t.command(&["events", "--interval", "50ms", &t.id]));
    events.wait_for("\"type\":\"stats\"");
    t.runtime(&["exec", &t.id, "payload", "do", "alloc 100"]).exits(137);
    events.wait_for("\"type\":\"oom\"");
    let init = t.pid();
    t.kill("KILL").ok();
    t.reap(init);
    if !is_oxrun() {
        t.delete().ok();
    }
    let outcome = events.wait().ok();
    let lines: Vec<Value> = outcome.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let ooms: Vec<&Value> = lines.iter().filter(|l| l["type"] == "oom").collect();
    assert!(!ooms.is_empty() && ooms.iter().all(|l| **l == json!({"type": "oom", "id": t.id})), "{ooms:?}");
    t.runtime(&["events", "--interval", "0s", &t.id]).failed();
}

#[test]
fn patterns_choose_containers() {
    if !is_oxrun() {
        skip!("another runtime has no --regex");
    }
    let mut t = Sandbox::new();
    t.args(&["payload", "sleep", "1000"]).write_config();
    let ids: Vec<String> = ["a1", "a2", "b1"].iter().map(|suffix| t.other_id(suffix)).collect();
    for id in &ids {
        t.runtime(&["run", "-d", id]).ok();
    }
    let status = |id: &String| t.runtime(&["state", id]).ok().json()["status"].as_str().unwrap().to_string();
    t.runtime(&["kill", "--regex", ".a[0-9]$", "KILL"]).ok();
    wait_until("the end of two", || status(&ids[0]) == "stopped" && status(&ids[1]) == "stopped");
    assert_eq!(status(&ids[2]), "running");
    t.runtime(&["delete", "--regex", &format!("^{}", t.id)]).failed().says(&["is not stopped"]);
    assert_eq!(t.runtime(&["list", "-q"]).ok().stdout, format!("{}\n", ids[2]));
    t.runtime(&["delete", "--regex", "--force", "no-such-thing"]).ok();
    t.runtime(&["delete", "--force", "--regex", &format!("^{}", t.id)]).ok();
    assert_eq!(t.runtime(&["list", "-q"]).ok().stdout, "");
    t.runtime(&["delete", "--regex", "("]).failed().says(&["pattern"]).one_line();
}

#[test]
fn mounts_of_a_running_container() {
    if !is_oxrun() {
        skip!("another runtime has no `mounts`");
    }
    for outside in [None, Some(100_000)] {
        let mut t = Sandbox::new();
        outside.into_iter().for_each(|id| t.map_users(id));
        running(&mut t);
        let (source, list) = (t.path("source"), t.path("mounts.json"));
        fs::create_dir(&source).unwrap();
        fs::write(format!("{source}/file"), "hello").unwrap();
        let map = json!([{"containerID": 0, "hostID": outside.unwrap_or(0) + 7, "size": 10}]);
        let mounts = json!([
            {"destination": "/mapped", "type": "bind", "source": source, "options": ["bind"],
             "uidMappings": map, "gidMappings": map},
            {"destination": "/added", "type": "bind", "source": source, "options": ["rbind", "ro"]},
            {"destination": "/memory", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "mode=1777"]},
        ]);
        fs::write(&list, mounts.to_string()).unwrap();
        t.runtime(&["mounts", "add", &t.id, &list]).ok();
        let inside = |actions: &[&str]| {
            let words = ["exec", &t.id, "payload", "do"];
            let words: Vec<&str> = words.iter().chain(actions).copied().collect();
            t.runtime(&words).ok().json()
        };
        let seen = inside(&["read /added/file", "touch /added/x", "touch /memory/x", "statfs /memory"]);
        let owner = &inside(&["stat /mapped/file"])[0]["ok"]["uid"];
        assert_eq!(owner, 7);
        assert_eq!(seen, json!([{"ok": "hello"}, {"err": "EROFS"}, {"ok": true}, {"ok": "1021994"}]));
        let both = json!({"mounts": mounts});
        fs::write(&list, both.to_string()).unwrap();
        t.runtime(&["mounts", "remove", &t.id, &list]).ok();
        let seen = inside(&["read /added/file", "ls /memory"]);
        assert_eq!(seen, json!([{"err": "ENOENT"}, {"ok": []}]));
        t.runtime(&["mounts", "remove", &t.id, &list]).failed().says(&["nothing is mounted"]);
        all_or_none(&t, &list, &source);
        assert!(host::mounts_with(&[" /added ", " /memory "]).is_empty());
    }
}

fn all_or_none(t: &Sandbox, list: &str, source: &str) {
    let add = |mounts: Value| {
        fs::write(list, mounts.to_string()).unwrap();
        t.runtime(&["mounts", "add", &t.id, list])
    };
    let good = json!({"destination": "/added", "type": "bind", "source": source, "options": ["bind"]});
    for bad in [
        json!({"destination": "/x", "type": "bind", "source": "/no/such/source", "options": ["bind"]}),
        json!({"destination": "/x", "type": "nofs", "source": "x"}),
        json!({"destination": "/proc/sys", "type": "tmpfs", "source": "x"}),
        json!({"destination": "/x", "type": "tmpfs", "options": ["size=nonsense"]}),
    ] {
        add(json!([good, bad])).failed().one_line();
        let seen = t.runtime(&["exec", &t.id, "payload", "do", "read /added/file"]).ok().json();
        assert_eq!(seen, json!([{"err": "ENOENT"}]), "{bad}");
    }
    add(json!([])).failed();
    t.runtime(&["mounts", "shake", &t.id, list]).failed().says(&["add or remove"]);
    fs::write(list, json!([{"destination": "/"}]).to_string()).unwrap();
    t.runtime(&["mounts", "remove", &t.id, list]).failed();
}

/// A container that waits for a file before it says that it is ready.
fn notifying(t: &mut Sandbox) -> UnixDatagram {
    let path = t.path("manager.sock");
    let manager = UnixDatagram::bind(path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(10) * crate::harness::patience())).unwrap();
    config::drop_mount(&mut t.config, "/dev/mqueue");
    t.args(&["payload", "notify", "/tmp/go", "READY=1\nSTATUS=up"]);
    manager
}

fn told(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 1000];
    let length = manager.recv(&mut buffer).expect("the manager is told");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn readiness_is_told_by_start() {
    let mut t = Sandbox::new();
    let manager = notifying(&mut t);
    t.write_config();
    let call = |words: &[&str]| {
        let mut command = t.command(words);
        command.env("NOTIFY_SOCKET", t.path("manager.sock"));
        t.spawn(command)
    };
    call(&["create", &t.id]).wait().ok();
    let start = call(&["start", &t.id]);
    t.wait_status("running");
    let pid = t.pid();
    std::thread::sleep(Duration::from_millis(50));
    assert!(host::process_state(start.pid()).is_some_and(|s| s != 'Z'), "start waits");
    fs::write(t.rootfs().join("tmp/go"), "").unwrap();
    let mut said = told(&manager);
    if !said.contains("MAINPID") || !said.contains("READY") {
        said += &told(&manager);
    }
    assert!(
        said.contains("READY=1\n") && said.contains(&format!("MAINPID={pid}\n")) && !said.contains("STATUS"),
        "{said}"
    );
    start.wait().ok();
}

#[test]
fn readiness_is_told_by_run_in_the_foreground() {
    let mut t = Sandbox::new();
    let manager = notifying(&mut t);
    t.write_config();
    let mut command = t.command(&["run", &t.id]);
    command.env("NOTIFY_SOCKET", t.path("manager.sock"));
    let run = t.spawn(command);
    fs::write(t.rootfs().join("tmp/go"), "").unwrap();
    let said = told(&manager);
    assert!(said.contains("READY=1"), "{said}");
    if is_oxrun() {
        assert!(!said.contains("MAINPID"), "{said}");
        t.kill("KILL").ok();
        run.wait().exits(137);
        return;
    }
    t.kill("KILL").ok();
    run.wait();
}

#[test]
fn a_container_that_ends_before_it_is_ready_ends_the_wait() {
    if !is_oxrun() {
        skip!("another runtime takes a process that nobody has reaped for one that runs");
    }
    let mut t = Sandbox::new();
    let _manager = notifying(&mut t);
    t.args(&["payload", "exit", "3"]).write_config();
    let mut command = t.command(&["run", "-d", &t.id]);
    command.env("NOTIFY_SOCKET", t.path("manager.sock"));
    t.spawn(command).wait().ok();
}

#[test]
fn mounts_are_not_removed_through_a_link() {
    if !is_oxrun() {
        skip!("another runtime has no mounts");
    }
    // The container makes the place of the mount a link to one of its own masks.
    let mut t = Sandbox::new();
    let link = "mkdir /place; rmdir /place; ln -s /proc/version /place; sleep 5000";
    t.args(&["sh", "-c", link]);
    t.config["linux"]["maskedPaths"] = json!(["/proc/version"]);
    t.create().ok();
    t.start().ok();
    wait_until("the link", || t.rootfs().join("place").is_symlink());
    let list = t.path("list.json");
    let mounted = || host::mounts_of(t.pid(), "/proc/version");
    assert_eq!(mounted(), 1, "it is masked");
    for destination in ["/place", "/place/", "/../place", "/proc/self/root/proc/version"] {
        fs::write(&list, json!([{"destination": destination}]).to_string()).unwrap();
        t.runtime(&["mounts", "remove", &t.id, &list]).failed().one_line();
        assert_eq!(mounted(), 1, "{destination}");
    }
    t.finish();
}

#[test]
fn events_as_a_table_show_every_container() {
    if !is_oxrun() {
        skip!("the table is oxrun's own");
    }
    let mut t = Sandbox::new();
    t.config["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}});
    running(&mut t);
    for words in [vec!["events", "--format", "table"], vec!["events", "--format", "table", &t.id]] {
        let out = t.runtime(&words).ok().stdout;
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 2, "{out}");
        let head: Vec<&str> = lines[0].split_whitespace().collect();
        assert_eq!(head[..6], ["ID", "STATUS", "CPU%", "CPU", "TIME", "MEMORY"]);
        let row: Vec<&str> = lines[1].split_whitespace().collect();
        assert_eq!((row[0], row[1], row[2]), (t.id.as_str(), "running", "-"));
        assert!(row[3].ends_with('s') && row.len() == 12, "{row:?}");
        assert!(row[5] == "64.0M" || row[4] == "0", "{row:?}");
        assert!(!out.contains('\x1b'), "{out:?}");
    }
    t.runtime(&["kill", &t.id, "KILL"]).ok();
    t.wait_status("stopped");
    let out = t.runtime(&["events", "--format", "table"]).ok().stdout;
    assert!(out.lines().nth(1).unwrap().contains("stopped"), "{out}");
    t.runtime(&["events", "--format", "table", &t.id]).failed().says(&["is not running"]);
    t.runtime(&["events", "--format", "table", "nobody"]).failed().says(&["container does not exist"]);
    t.runtime(&["events", "--follow", &t.id]).failed().says(&["--follow is for --format table"]);
}

#[test]
fn events_as_a_table_are_followed_until_the_container_ends() {
    if !is_oxrun() {
        skip!("the table is oxrun's own");
    }
    let mut t = Sandbox::new();
    running(&mut t);
    let mut view =
        t.spawn(t.command(&["events", "--format", "table", "--follow", "--interval", "50ms", &t.id]));
    view.wait_for(" 0.0 ");
    t.runtime(&["kill", &t.id, "KILL"]).ok();
    let out = view.wait().ok().stdout;
    assert_eq!(out.matches("CPU%").count(), 1, "one head where nothing is drawn over: {out}");
    assert!(out.lines().count() > 2, "{out}");
}
