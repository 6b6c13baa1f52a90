//! `gc`: what killed runtimes left is listed and removed, and nothing else is touched.

use crate::harness::{Outcome, Sandbox, is_oxrun, wait_until};
use crate::{config, host};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

macro_rules! needs_gc {
    () => {
        if !is_oxrun() {
            skip!("another runtime has no gc");
        }
    };
}

fn listed(outcome: &Outcome) -> Vec<(String, String)> {
    let rows = outcome.json();
    let text = |value: &Value| value.as_str().unwrap().to_string();
    rows.as_array().unwrap().iter().map(|row| (text(&row["name"]), text(&row["reason"]))).collect()
}

#[track_caller]
fn gc(t: &Sandbox, force: bool) -> Vec<(String, String)> {
    let flags: &[&str] = if force { &["gc", "--force", "--format", "json"] } else { &["gc", "-f", "json"] };
    listed(&t.runtime(flags).ok())
}

fn end(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// A `create` that was killed while a hook ran; the hook has ended too.
fn killed_create(t: &mut Sandbox) {
    let ready = t.path("ready");
    t.config["hooks"] =
        json!({"createRuntime": [config::shell_hook(&format!("touch {ready}; exec sleep 20"))]});
    t.args(&["true"]).write_config();
    let running = t.spawn(t.command(&["create", &t.id]));
    wait_until("the hook", || fs::metadata(&ready).is_ok());
    assert_eq!(gc(t, true), [], "what is being made is nobody's garbage");
    running.signal(Signal::KILL);
    running.wait();
    wait_until("the end of init", || {
        let all = host::processes_with(&t.id);
        all.iter().filter(|(_, line)| line.contains("sleep")).for_each(|(pid, _)| end(*pid));
        all.is_empty()
    });
}

#[test]
fn nothing_is_found_where_nothing_is() {
    needs_gc!();
    let t = Sandbox::new();
    assert_eq!(t.runtime(&["gc", "--format=json"]).ok().stdout, "[]\n");
    fs::create_dir(t.state_dir()).unwrap();
    fs::set_permissions(t.state_dir(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(t.runtime(&["gc", "--force", "--format=json"]).ok().stdout, "[]\n");
    assert_eq!(t.runtime(&["gc"]).ok().stdout.lines().count(), 1);
}

#[test]
fn containers_are_left_alone_in_every_state() {
    needs_gc!();
    let mut t = Sandbox::new();
    t.args(&["payload", "sleep", "5000"]).write_config();
    let ids: Vec<String> = ["c", "r", "p", "s"].iter().map(|s| t.other_id(s)).collect();
    for id in &ids {
        t.config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
        t.write_config();
        t.runtime(&["create", id]).ok();
    }
    for id in &ids[1..] {
        t.runtime(&["start", id]).ok();
    }
    t.runtime(&["pause", &ids[2]]).ok();
    t.runtime(&["kill", &ids[3], "KILL"]).ok();
    let status = |id: &str| t.runtime(&["state", id]).ok().json()["status"].clone();
    wait_until("the end", || status(&ids[3]) == "stopped");
    for force in [false, true] {
        assert_eq!(gc(&t, force), []);
    }
    let now: Vec<Value> = ids.iter().map(|id| status(id)).collect();
    assert_eq!(now, ["created", "running", "paused", "stopped"]);
    ids.iter().for_each(|id| drop(t.runtime(&["delete", "--force", id]).ok()));
    t.assert_clean();
}

#[test]
fn killed_create_is_listed_and_then_removed() {
    needs_gc!();
    let mut t = Sandbox::new();
    killed_create(&mut t);
    assert_eq!(gc(&t, false), [(t.id.clone(), "half-made".to_string())]);
    let table = t.runtime(&["gc"]).ok().stdout;
    assert!(table.contains("its create was killed"), "{table}");
    assert!(table.ends_with("Nothing was removed; `oxrun gc --force` does it.\n"), "{table}");
    let row = t.runtime(&["gc", "--format", "json"]).ok().json()[0].clone();
    let directory = t.state_dir().join(&t.id);
    assert_eq!(row["path"], directory.to_str().unwrap());
    let also: Vec<&str> = row["also"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    let cgroups = host::cgroups_with(&t.id);
    assert!(!cgroups.is_empty() && cgroups.iter().all(|c| also.contains(&c.to_str().unwrap())), "{row}");
    assert!(directory.exists() && cgroups[0].exists(), "a dry run removes nothing");
    assert_eq!(gc(&t, true), [(t.id.clone(), "half-made".to_string())]);
    assert_eq!(gc(&t, false), []);
    t.assert_clean();
}

#[test]
fn half_made_container_with_a_process_in_its_cgroup_stays() {
    needs_gc!();
    let mut t = Sandbox::new();
    killed_create(&mut t);
    let cgroups = host::cgroups_with(&t.id);
    let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    for cgroup in &cgroups {
        fs::write(cgroup.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
    }
    let outcome = t.runtime(&["gc", "--force", "--format=json"]).ok().one_line();
    assert!(outcome.stderr.contains("is in its cgroup"), "{}", outcome.stderr);
    assert_eq!(listed(&outcome), []);
    assert!(cgroups.iter().all(|c| c.exists()) && t.state_dir().join(&t.id).exists());
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert_eq!(gc(&t, true).len(), 1);
    t.assert_clean();
}

#[test]
fn what_is_locked_is_at_work() {
    needs_gc!();
    let mut t = Sandbox::new();
    killed_create(&mut t);
    let temporary = t.state_dir().join(".gone-1-2-3");
    fs::create_dir(&temporary).unwrap();
    let held = [temporary.clone(), t.state_dir().join(&t.id)].map(|path| File::open(path).unwrap());
    for file in &held {
        flock(file, FlockOperation::LockExclusive).unwrap();
    }
    for force in [false, true] {
        assert_eq!(gc(&t, force), []);
    }
    drop(held);
    let names = [".gone-1-2-3".to_string(), t.id.clone()];
    let reasons = ["temporary", "half-made"].map(String::from);
    let expected: Vec<(String, String)> = names.into_iter().zip(reasons).collect();
    assert_eq!(gc(&t, false), expected);
    assert_eq!(gc(&t, true), expected);
    t.assert_clean();
}

/// Changes a container's state.json.
fn edit(t: &Sandbox, id: &str, change: impl FnOnce(&mut Value)) {
    let path = t.state_dir().join(id).join("state.json");
    let mut state: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut state);
    fs::write(&path, state.to_string()).unwrap();
}

#[test]
fn container_of_an_earlier_boot_goes_without_its_cgroup() {
    needs_gc!();
    let mut t = Sandbox::new();
    t.args(&["payload", "sleep", "5000"]);
    t.create().ok();
    t.start().ok();
    // The same container as an earlier boot would have left it; its cgroup is another's now.
    let old = t.other_id("old");
    let from = t.state_dir().join(&t.id).display().to_string();
    let to = t.state_dir().join(&old).display().to_string();
    crate::harness::host_command("cp", &["-a", &from, &to]).ok();
    let boot = json!("00000000-0000-0000-0000-000000000000");
    edit(&t, &old, |state| {
        state["id"] = json!(old);
        state["init"]["boot_id"] = boot.clone();
        state["creator"]["boot_id"] = boot;
    });
    assert_eq!(gc(&t, true), [(old, "earlier-boot".to_string())]);
    assert!(!fs::exists(to).unwrap());
    assert_eq!(t.status(), "running");
    assert!(!host::cgroups_with(&t.id).is_empty());
    t.finish();
    t.assert_clean();
}

#[test]
fn unreadable_state_goes_only_when_older_than_this_boot() {
    needs_gc!();
    let t = Sandbox::new();
    let names = ["torn", "empty", "none"].map(|name| t.other_id(name));
    fs::create_dir(t.state_dir()).unwrap();
    fs::set_permissions(t.state_dir(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    for (name, text) in names.iter().zip([Some("{\"version\":"), Some(""), None]) {
        fs::create_dir(t.state_dir().join(name)).unwrap();
        text.iter().for_each(|text| fs::write(t.state_dir().join(name).join("state.json"), text).unwrap());
    }
    let outcome = t.runtime(&["gc", "--force", "--format=json"]).ok();
    assert_eq!(listed(&outcome), []);
    assert_eq!(outcome.stderr.matches("delete --force removes it").count(), 3, "{}", outcome.stderr);
    std::thread::sleep(Duration::from_millis(3200));
    // To a process of this time namespace the host was started a moment ago, later than that.
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let seconds: u64 = uptime.split('.').next().unwrap().parse().unwrap();
    let later = |words: &[&str]| {
        let offset = format!("-{}", seconds - 1);
        let start = ["--time", "--boottime", &offset];
        crate::harness::host_command("unshare", &[&start, words].concat())
    };
    let changed = names.iter().map(|name| fs::metadata(t.state_dir().join(name)).unwrap().ctime()).max();
    let said = later(&["grep", "btime", "/proc/stat"]).stdout;
    let boot = said.trim().strip_prefix("btime ").and_then(|time| time.parse::<i64>().ok());
    if boot <= changed {
        t.runtime(&["delete", "--force", "--regex", "."]).ok();
        skip!("the start of the host cannot be moved by a time namespace here: {boot:?}, {changed:?}");
    }
    let binary = crate::harness::runtime().to_str().unwrap();
    let root = t.state_dir().display().to_string();
    let outcome = later(&[binary, "--root", &root, "gc", "--force", "--format=json"]);
    let mut found = listed(&outcome.ok());
    found.sort();
    let mut expected = names.map(|name| (name, "unreadable".to_string())).to_vec();
    expected.sort();
    assert_eq!(found, expected);
    t.assert_clean();
}

#[test]
fn state_of_a_newer_version_is_left_alone() {
    needs_gc!();
    let mut t = Sandbox::new();
    t.args(&["true"]);
    t.create().ok();
    let path = t.state_dir().join(&t.id).join("state.json");
    let before = fs::read(&path).unwrap();
    edit(&t, &t.id, |state| {
        state["version"] = json!(99);
        state["creator"] = json!("of another shape");
    });
    let outcome = t.runtime(&["gc", "--force", "--format=json"]).ok().one_line();
    assert_eq!(listed(&outcome), []);
    assert!(outcome.stderr.contains("is left alone"), "{}", outcome.stderr);
    // Nor is the process in it forgotten, as it would be if only the directory were removed.
    t.runtime(&["delete", "--force", &t.id]).failed().one_line();
    fs::write(path, before).unwrap();
    t.finish();
    t.assert_clean();
}

#[test]
fn runtimes_killed_at_any_moment_leave_nothing_that_gc_or_delete_cannot_remove() {
    needs_gc!();
    let mut t = Sandbox::new();
    t.args(&["payload", "sleep", "5000"]).write_config();
    // A third of the moments lies in `create`, a third in `delete`, a third behind both.
    for step in 0..60u64 {
        let create = t.spawn(t.command(&["create", &t.id]));
        std::thread::sleep(Duration::from_micros(step * 700));
        create.signal(Signal::KILL);
        create.wait();
        if step % 2 == 0 && t.runtime(&["state", &t.id]).code == 0 {
            let delete = t.spawn(t.command(&["delete", "--force", &t.id]));
            std::thread::sleep(Duration::from_micros(step * 300));
            delete.signal(Signal::KILL);
            delete.wait();
        }
        // Init ends by itself when it has no creator any more; until then gc leaves it alone.
        wait_until("gc to find nothing more", || {
            gc(&t, true);
            let left = fs::read_dir(t.state_dir()).map(|d| d.flatten().count()).unwrap_or(0);
            left == 0 || t.runtime(&["state", &t.id]).ok().json()["status"] != "creating"
        });
        // What a caller was told of, or could have been, is the caller's.
        t.finish();
        t.assert_clean();
    }
}
