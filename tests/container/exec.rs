//! `exec`: every option seen from inside, in created, running and paused containers, and what it
//! leaves when it fails.

use crate::console::{self, receive, receive_fd};
use crate::harness::{Outcome, Running, Sandbox, is_oxrun, wait_until, write_program};
use crate::{config, host};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A running container that does nothing.
fn running(t: &mut Sandbox) {
    t.args(&["payload", "sleep", "1000"]);
    t.create().ok();
    t.start().ok();
}

fn words<'a>(t: &'a Sandbox, flags: &[&'a str], args: &[&'a str]) -> Vec<&'a str> {
    ["exec"].iter().chain(flags).copied().chain([t.id.as_str()]).chain(args.iter().copied()).collect()
}

#[track_caller]
fn exec(t: &Sandbox, flags: &[&str], args: &[&str]) -> Outcome {
    t.runtime(&words(t, flags, args))
}

/// The payload's report from inside.
#[track_caller]
fn report(t: &Sandbox, flags: &[&str]) -> Value {
    exec(t, flags, &["payload", "report"]).ok().json()
}

/// `exec --process` with the given members; the rest as config.json has it.
#[track_caller]
fn exec_process(t: &Sandbox, flags: &[&str], members: Value) -> Outcome {
    let mut process = json!({"cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"]});
    process["args"] = json!(["payload", "report"]);
    for (key, value) in members.as_object().unwrap() {
        process[key] = value.clone();
    }
    let path = t.path("process.json");
    fs::write(&path, process.to_string()).unwrap();
    let flags: Vec<&str> = ["--process", &path].iter().chain(flags).copied().collect();
    exec(t, &flags, &[])
}

fn variable(report: &Value, name: &str) -> Option<String> {
    let env = report["env"].as_array().unwrap();
    env.iter().find_map(|e| e.as_str()?.strip_prefix(name)?.strip_prefix('=').map(str::to_string))
}

#[test]
fn exit_status_and_streams() {
    let mut t = Sandbox::new();
    running(&mut t);
    exec(&t, &[], &["true"]).exits(0);
    exec(&t, &[], &["false"]).exits(1);
    let both = exec(&t, &[], &["sh", "-c", "echo out; echo err >&2; exit 42"]).exits(42);
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("out\n", "err\n"));
    exec(&t, &[], &["sh", "-c", "kill -9 $$"]).exits(137);
    let mut command = t.command(&words(&t, &[], &["payload", "stdio"]));
    let typed = t.path("typed");
    fs::write(&typed, "one\n").unwrap();
    command.stdin(fs::File::open(typed).unwrap());
    assert_eq!(t.spawn(command).wait().ok().stdout, "got one\nend\n");
}

#[test]
fn it_is_in_all_namespaces_and_cgroups_of_the_container() {
    let mut t = Sandbox::new();
    config::add_namespace(&mut t.config, "cgroup", "");
    running(&mut t);
    let inside = report(&t, &[]);
    let pid = t.pid();
    for (name, value) in inside["namespaces"].as_object().unwrap() {
        let link = fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert_eq!(value.as_str().unwrap(), link.display().to_string(), "{name}");
    }
    assert_eq!(inside["ppid"], 0, "its parent is outside");
    assert_eq!(inside["sid"], inside["pid"], "a session of its own");
    assert_eq!(inside["wait_child"], false);
    let init = exec(&t, &[], &["cat", "/proc/1/cgroup"]).ok().stdout;
    assert_eq!(inside["cgroups"].as_str().unwrap(), init.trim_end());
    assert_eq!(inside["hostname"], t.config["hostname"]);
}

#[test]
fn identity_is_as_the_container_has_it() {
    let mut t = Sandbox::new();
    t.config["process"]["user"] = json!({"uid": 1000, "gid": 1001, "umask": 63, "additionalGids": [7]});
    t.config["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 111, "hard": 222}]);
    t.config["process"]["oomScoreAdj"] = json!(321);
    config::set_capabilities(&mut t.config, &["CAP_KILL"]);
    running(&mut t);
    let status = &report(&t, &[])["status"];
    assert_eq!(status["Uid"], "1000 1000 1000 1000");
    assert_eq!(status["Gid"], "1001 1001 1001 1001");
    assert_eq!(status["Groups"], "7");
    assert!(status["Umask"] == "0077" || !is_oxrun(), "another runtime sets it for init alone");
    assert_eq!(status["CapBnd"], format!("{:016x}", 1 << 5));
    assert_eq!(status["CapInh"], "0000000000000000");
    assert_eq!(status["NoNewPrivs"], "1");
    let inside = report(&t, &[]);
    assert_eq!(inside["limits"]["RLIMIT_CORE"], json!([111, 222]));
    assert_eq!(inside["oom_score_adj"], "321");
}

#[test]
fn options_change_the_process() {
    let mut t = Sandbox::new();
    t.config["process"]["noNewPrivileges"] = json!(false);
    t.config["process"]["env"] = json!(["PATH=/bin", "A=1", "B=2"]);
    config::set_capabilities(&mut t.config, &["CAP_KILL"]);
    running(&mut t);
    let inside = report(&t, &["--env", "A=x=y", "--env", "C=", "--cwd", "/tmp", "--no-new-privs"]);
    let get = |name| variable(&inside, name);
    assert_eq!([get("A"), get("B"), get("C")].map(Option::unwrap), ["x=y", "2", ""]);
    assert_eq!(
        inside["env"].as_array().unwrap().iter().filter(|e| e.as_str().unwrap().starts_with("A=")).count(),
        1
    );
    assert_eq!(inside["cwd"], "/tmp");
    assert_eq!(inside["status"]["NoNewPrivs"], "1");
    assert_eq!(report(&t, &[])["status"]["NoNewPrivs"], "0");
    let inside = report(&t, &["--cap", "CAP_CHOWN", "--cap", "CAP_SYS_CHROOT"]);
    let bits = format!("{:016x}", (1u64 << 5) | 1 | (1 << 18));
    for set in ["CapBnd", "CapPrm", "CapEff"] {
        assert_eq!(inside["status"][set], bits, "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(inside["status"][set], "0000000000000000", "{set}");
    }
}

#[test]
fn user_option() {
    let mut t = Sandbox::new();
    running(&mut t);
    for (text, uid, gid) in [("1", 1, 0), ("1:2", 1, 2), ("0", 0, 0), ("2147483647", 2_147_483_647u32, 0)] {
        let status = &report(&t, &["--user", text])["status"];
        assert_eq!(status["Uid"], [uid; 4].map(|id| id.to_string()).join(" "), "{text}");
        assert_eq!(status["Gid"], [gid; 4].map(|id: u32| id.to_string()).join(" "), "{text}");
    }
    let groups = &report(&t, &["-u", "1000:1000", "--additional-gids", "100", "--additional-gids", "65534"])
        ["status"]["Groups"];
    let mut groups: Vec<&str> = groups.as_str().unwrap().split(' ').collect();
    groups.sort_unstable();
    assert_eq!(groups, ["100", "65534"]);
    assert_eq!(variable(&report(&t, &["-u", "1000"]), "HOME").unwrap(), "/home/user");
    assert_eq!(variable(&report(&t, &["-u", "3"]), "HOME").unwrap(), "/");
    if is_oxrun() {
        for bad in ["", "-1", "1:", " 1", "4294967295", "4294967296", "root", "0x1", "1:-1"] {
            exec(&t, &["--user", bad], &["true"]).failed();
        }
    }
}

#[test]
fn process_file() {
    let mut t = Sandbox::new();
    t.config["process"]["env"] = json!(["PATH=/bin", "CONFIG=1"]);
    running(&mut t);
    let members = json!({
        "cwd": "/tmp",
        "env": ["PATH=/bin", "FILE=1"],
        "user": {"uid": 5, "gid": 6, "additionalGids": [8]},
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}],
        "capabilities": {"bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"]},
        "noNewPrivileges": true,
    });
    let inside = exec_process(&t, &[], members).ok().json();
    assert_eq!(inside["cwd"], "/tmp");
    assert_eq!([variable(&inside, "FILE"), variable(&inside, "CONFIG")], [Some("1".into()), None]);
    assert_eq!(inside["status"]["Uid"], "5 5 5 5");
    assert_eq!(inside["status"]["Groups"], "8");
    assert_eq!(inside["status"]["CapBnd"], format!("{:016x}", 1));
    assert_eq!(inside["limits"]["RLIMIT_CORE"], json!([1, 2]));
    exec_process(&t, &[], json!({"args": []})).failed();
    exec_process(&t, &[], json!({"args": ["nope"]})).exits(255).says(&["executable file not found"]);
    exec_process(&t, &[], json!({"cwd": "relative"})).failed();
    fs::write(t.path("broken.json"), "{\"args\":").unwrap();
    exec(&t, &["--process", &t.path("broken.json")], &[]).failed();
    exec(&t, &["--process", &t.path("none.json")], &[]).failed().says(&["no such file"]);
}

#[test]
fn process_file_schedules() {
    if !is_oxrun() {
        skip!("another runtime knows no scheduler, ioPriority or execCPUAffinity");
    }
    let mut t = Sandbox::new();
    running(&mut t);
    let schedule = |members: Value| {
        let mut members = members;
        members["args"] =
            json!(["payload", "do", "read /proc/self/sched", "syscall 252 1 0", "read /proc/self/status"]);
        exec_process(&t, &[], members).ok().json()
    };
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    let last = online.trim().rsplit(['-', ',']).next().unwrap();
    let inside = schedule(json!({
        "scheduler": {"policy": "SCHED_BATCH", "nice": 19},
        "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0},
        "execCPUAffinity": {"initial": "0", "final": last},
    }));
    assert_eq!(inside[1]["ok"], 3 << 13, "ioprio_get");
    let field = |name: &str| {
        let text = inside[2]["ok"].as_str().unwrap();
        text.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_string()
    };
    assert_eq!(field("Cpus_allowed_list:"), last);
    let sched = inside[0]["ok"].as_str().unwrap();
    let policy = sched.lines().find(|l| l.starts_with("policy")).unwrap();
    assert_eq!(policy.split_whitespace().last(), Some("3"), "SCHED_BATCH: {policy}");
    exec_process(&t, &[], json!({"execCPUAffinity": {"final": "999"}})).exits(255);
}

#[test]
fn seccomp_and_personality_are_the_containers() {
    let mut t = Sandbox::new();
    t.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 100}],
    });
    running(&mut t);
    let inside = exec(&t, &[], &["payload", "do", "mkdir /tmp/x"]).ok().json();
    assert_eq!(inside, json!([{"err": "ENETDOWN"}]));
    t.config["process"]["noNewPrivileges"] = json!(false);
    t.finish();
    running(&mut t);
    let inside = exec(&t, &["-u", "1000"], &["payload", "do", "mkdir /tmp/x"]).ok().json();
    assert_eq!(inside, json!([{"err": "ENETDOWN"}]));
    if is_oxrun() {
        t.config["linux"]["personality"] = json!({"domain": "LINUX32"});
        t.finish();
        running(&mut t);
        assert_eq!(report(&t, &[])["machine"], "i686");
    }
}

#[test]
fn created_containers_stay_created() {
    let mut t = Sandbox::new();
    t.args(&["payload", "sleep", "1000"]);
    t.create().ok();
    assert_eq!(exec(&t, &[], &["pwd"]).ok().stdout, "/\n");
    assert_eq!(t.status(), "created");
    t.start().ok();
    assert_eq!(t.status(), "running");
}

#[test]
fn stopped_unknown_and_paused_containers_are_refused() {
    let mut t = Sandbox::new();
    running(&mut t);
    t.runtime(&["exec", &t.other_id("x"), "true"]).failed().says(&["does not exist"]).one_line();
    t.runtime(&["pause", &t.id]).ok();
    let pid_file = t.path("exec.pid");
    exec(&t, &["--pid-file", &pid_file], &["true"])
        .exits(255)
        .says(&["cannot exec in a paused container"])
        .one_line();
    let waiting = t.spawn(t.command(&words(&t, &["--ignore-paused"], &["echo", "went on"])));
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(waiting.output(), "");
    t.runtime(&["resume", &t.id]).ok();
    assert_eq!(waiting.wait().ok().stdout, "went on\n");
    t.kill("KILL").ok();
    t.wait_status("stopped");
    exec(&t, &["--pid-file", &pid_file], &["true"]).exits(255).says(&["cannot exec in a stopped container"]);
    assert!(!Path::new(&pid_file).exists());
}

#[test]
fn a_container_on_its_way_out_is_not_running() {
    let mut t = Sandbox::new();
    running(&mut t);
    let pid_file = t.path("exec.pid");
    exec(&t, &["--detach", "--pid-file", &pid_file], &["sleep", "100"]).ok();
    let (init, other) = (t.pid(), fs::read_to_string(&pid_file).unwrap().parse().unwrap());
    t.kill("KILL").ok();
    // It has left its namespaces, and waits until the other process, which it ended, is reaped.
    let namespace = format!("/proc/{init}/ns/mnt");
    wait_until("the first process to leave its namespaces", || fs::read_link(&namespace).is_err());
    exec(&t, &[], &["true"]).exits(255).says_in_oxrun("container not running").one_line();
    t.reap(other);
    t.wait_status("stopped");
}

#[test]
fn failures_exit_255_with_one_line_and_no_pid_file() {
    let mut t = Sandbox::new();
    write_program(&t.rootfs().join("bad-script"), "#!/nope\n");
    fs::create_dir(t.rootfs().join("directory")).unwrap();
    running(&mut t);
    let pid_file = t.path("exec.pid");
    for (flags, args, says) in [
        (&["-d"][..], &["nope"][..], "executable file not found in $PATH"),
        (&[], &["/bin/nope"], "no such file or directory"),
        (&["-d"], &["/bad-script"], "no such file or directory"),
        (&[], &["/directory"], "permission denied"),
        (&[], &["/bad-script"], "no such file or directory"),
        (&["--cwd", "/nope"], &["true"], "no such file or directory"),
        (&["--cwd", "/proc/self/fd/7"], &["true"], ""),
        (&["--cwd", "/proc/self/exe"], &["true"], ""),
        (&["--user", "1:x"], &["true"], "x"),
        (&["--env", "A"], &["true"], ""),
    ] {
        let flags: Vec<&str> = flags.iter().chain(&["--pid-file", pid_file.as_str()]).copied().collect();
        if flags[0] == "-d" && !is_oxrun() {
            // another runtime does not wait for the execve.
            continue;
        }
        if flags[0] == "--env" && !is_oxrun() {
            // another runtime passes on what is no variable.
            continue;
        }
        let outcome = exec(&t, &flags, args).failed().says(&[says]).one_line();
        assert!(!is_oxrun() || outcome.code == 255, "{args:?}: {}", outcome.code);
        assert!(!is_oxrun() || !Path::new(&pid_file).exists(), "{args:?}");
    }
    exec(&t, &["--pid-file", "/nope/pid"], &["true"]).failed().says(&["no such file or directory"]);
    assert_eq!(host::processes_with(&t.id).len(), 1, "only init is left");
}

#[test]
fn detached_process_is_the_callers_child() {
    let mut t = Sandbox::new();
    running(&mut t);
    let pid_file = t.path("exec.pid");
    exec(&t, &["-d", "--pid-file", &pid_file], &["sh", "-c", "read x < /dev/zero; exit 1"]).ok();
    let text = fs::read_to_string(&pid_file).unwrap();
    let pid: i32 = text.parse().unwrap();
    assert_ne!(pid, t.pid());
    let parent: u32 = host::process_status(pid, "PPid").parse().unwrap();
    assert_eq!(parent, std::process::id());
    let pids = t.runtime(&["ps", "-f", "json", &t.id]).ok().json();
    assert_eq!(pids, json!([t.pid().min(pid), t.pid().max(pid)]));
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    assert_eq!(t.reap(pid), 143);
}

#[test]
fn signals_reach_the_process() {
    let mut t = Sandbox::new();
    running(&mut t);
    let mut running: Running = t.spawn(t.command(&words(&t, &[], &["payload", "trap", "10", "15"])));
    running.wait_for("ready");
    running.signal(Signal::USR1);
    running.wait_for("signal 10");
    running.signal(Signal::TERM);
    assert_eq!(running.wait().ok().stdout, "ready\nsignal 10\nsignal 15\n");
}

#[test]
fn terminal_over_a_socket() {
    let mut t = Sandbox::new();
    running(&mut t);
    let path = t.path("console.sock");
    let listener = console::listen(path.as_ref());
    let pid_file = t.path("exec.pid");
    let flags = ["-d", "-t", "-u", "1000", "--console-socket", &path, "--pid-file", &pid_file];
    exec(&t, &flags, &["payload", "report"]).ok();
    let (mut master, data) = receive(&listener);
    assert!(!data.is_empty());
    let inside: Value = serde_json::from_str(master.rest().trim()).unwrap();
    for number in 0..3 {
        let tty = &inside["tty"][number];
        assert_eq!(
            (&tty["terminal"], &tty["uid"], &tty["gid"]),
            (&json!(true), &json!(1000), &json!(5)),
            "{tty}"
        );
    }
    t.reap(fs::read_to_string(&pid_file).unwrap().parse().unwrap());
    exec(&t, &["-d", "-t"], &["true"]).failed().says(&["console"]);
    exec(&t, &["-d", "-t", "--console-socket", &t.path("none.sock")], &["true"]).failed();
}

#[test]
fn terminal_of_the_process_file_has_its_size() {
    let mut t = Sandbox::new();
    running(&mut t);
    let path = t.path("console.sock");
    let listener = console::listen(path.as_ref());
    let members =
        json!({"terminal": true, "consoleSize": {"height": 10, "width": 110}, "args": ["stty", "size"]});
    let pid_file = t.path("exec.pid");
    exec_process(&t, &["-d", "--console-socket", &path, "--pid-file", &pid_file], members).ok();
    let (mut master, _) = receive(&listener);
    master.wait_for("10 110\r\n");
    t.reap(fs::read_to_string(&pid_file).unwrap().parse().unwrap());
}

#[test]
fn terminal_in_the_foreground() {
    let mut t = Sandbox::new();
    running(&mut t);
    let (mut master, other) = console::pair();
    master.resize(20, 70);
    let mut command = t.prepared(&["with-tty"], &words(&t, &["-t"], &["payload", "size"]));
    command.stdin(other.try_clone().unwrap());
    let call = t.spawn_on(command, &other);
    master.wait_for("size ");
    if is_oxrun() {
        master.wait_for("size 20x70");
    }
    master.resize(33, 44);
    master.wait_for("size 33x44");
    // Ctrl-C is the container's own business.
    master.write("\x03");
    assert_eq!(call.wait().code, 130);
}

#[test]
fn preserved_descriptors() {
    let mut t = Sandbox::new();
    running(&mut t);
    let file = t.path("given");
    fs::write(&file, "x").unwrap();
    let open = |preparation: &str, flags: &[&str]| {
        let words = words(&t, flags, &["payload", "report"]);
        let inside = t.spawn(t.prepared(&["with-fd", preparation], &words)).wait().ok().json();
        inside["fds"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(open(&format!("{file},3,4,5"), &[]), ["0", "1", "2"]);
    assert_eq!(open(&format!("{file},3,4,5"), &["--preserve-fds", "2"]), ["0", "1", "2", "3", "4"]);
}

#[test]
fn pidfd_goes_to_a_socket() {
    if !is_oxrun() {
        skip!("another runtime has no --pidfd-socket");
    }
    let mut t = Sandbox::new();
    running(&mut t);
    let path = t.path("pidfd.sock");
    let listener = console::listen(path.as_ref());
    let pid_file = t.path("exec.pid");
    exec(&t, &["-d", "--pidfd-socket", &path, "--pid-file", &pid_file], &["payload", "sleep", "5000"]).ok();
    let (pidfd, _) = receive_fd(&listener);
    rustix::process::pidfd_send_signal(&pidfd, Signal::TERM).unwrap();
    assert_eq!(t.reap(fs::read_to_string(&pid_file).unwrap().parse().unwrap()), 143);
}

#[test]
fn sub_cgroups() {
    let mut t = Sandbox::new();
    running(&mut t);
    let pid = t.pid();
    exec(&t, &["--cgroup", ".."], &["true"]).failed().says(&["bad sub cgroup path", "not a sub cgroup path"]);
    exec(&t, &["--cgroup", "nope"], &["true"]).failed().says(&["no such file or directory"]);
    if host::is_cgroup_v2() {
        let own = host::cgroup_of(pid, "").unwrap();
        fs::create_dir(own.join("sub")).unwrap();
        assert!(
            exec(&t, &["--cgroup", "sub"], &["cat", "/proc/self/cgroup"])
                .ok()
                .stdout
                .trim()
                .ends_with("/sub")
        );
        return;
    }
    exec(&t, &["--cgroup", "nope:/"], &["true"]).failed().says(&["unknown controller"]);
    for controller in ["pids", "memory"] {
        fs::create_dir(host::cgroup_of(pid, controller).unwrap().join("sub")).unwrap();
    }
    let lines = |flags: &[&str]| exec(&t, flags, &["cat", "/proc/self/cgroup"]).ok().stdout;
    let in_sub = |text: &str, name: &str| {
        text.lines().any(|line| line.split(':').nth(1) == Some(name) && line.ends_with("/sub"))
    };
    let text = lines(&["--cgroup", "pids:sub"]);
    assert!(in_sub(&text, "pids") && !in_sub(&text, "memory"), "{text}");
    let text = lines(&["--cgroup", "pids,memory:/sub"]);
    assert!(in_sub(&text, "pids") && in_sub(&text, "memory"), "{text}");
    let text = lines(&["--cgroup", "/"]);
    assert_eq!(text, exec(&t, &[], &["cat", "/proc/1/cgroup"]).ok().stdout);
}

#[test]
fn user_namespaces_are_entered() {
    let mut t = Sandbox::new();
    t.map_users(100_000);
    running(&mut t);
    let inside = report(&t, &["-u", "7:8"]);
    assert_eq!(inside["status"]["Uid"], "7 7 7 7");
    assert_eq!(
        inside["uid_map"].as_str().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["0", "100000", "65536"]
    );
    let pid_file = t.path("exec.pid");
    exec(&t, &["-d", "--pid-file", &pid_file, "-u", "5"], &["payload", "sleep", "5000"]).ok();
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    assert_eq!(host::process_status(pid, "Uid"), "100005 100005 100005 100005");
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    t.reap(pid);
    t.finish();
    config::add_namespace(&mut t.config, "cgroup", "");
    config::add_namespace(&mut t.config, "time", "");
    if is_oxrun() {
        running(&mut t);
        assert_eq!(report(&t, &[])["status"]["Uid"], "0 0 0 0");
    }
}

#[test]
fn shared_namespaces_of_the_host() {
    let mut t = Sandbox::new();
    for kind in ["pid", "network", "ipc", "uts"] {
        config::drop_namespace(&mut t.config, kind);
    }
    t.config.as_object_mut().unwrap().remove("hostname");
    running(&mut t);
    let inside = report(&t, &[]);
    let own = fs::read_link("/proc/self/ns/pid").unwrap().display().to_string();
    assert_eq!(inside["namespaces"]["pid"], own);
    assert_eq!(
        exec(&t, &[], &["ls", "/"]).ok().stdout,
        exec(&t, &[], &["ls", "/proc/self/root"]).ok().stdout
    );
}

#[test]
fn null_of_the_host_keeps_its_owner_and_other_files_change_it() {
    let mut t = Sandbox::new();
    running(&mut t);
    use std::os::unix::fs::MetadataExt;
    let before = fs::metadata("/dev/null").unwrap();
    let path = t.path("output");
    let output = fs::File::create(&path).unwrap();
    let pid_file = t.path("exec.pid");
    let command = t.command(&words(&t, &["-u", "1000", "-d", "--pid-file", &pid_file], &["true"]));
    t.spawn_on(command, &output).wait().ok();
    t.reap(fs::read_to_string(&pid_file).unwrap().parse().unwrap());
    assert_eq!(fs::metadata("/dev/null").unwrap().uid(), before.uid());
    assert_eq!(fs::metadata(&path).unwrap().uid(), 1000);
}

#[test]
fn nothing_of_the_host_shows_while_it_enters() {
    // CVE-2016-9962: a process of the container looks at every other one all the time.
    let mut t = Sandbox::new();
    let script = "while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] && continue; \
                  ls -l $p/fd $p/root $p/cwd 2>/dev/null | grep -e 'oxt' -e state -e start.sock; done; done";
    t.args(&["sh", "-c", script]);
    t.create().ok();
    t.start().ok();
    for _ in 0..100 {
        exec(&t, &[], &["true"]).ok();
    }
    t.finish();
    let found = t.printed();
    assert!(!is_oxrun() || found.lines().all(|l| l.contains(".out") || l.contains(".err")), "{found}");
}

#[test]
fn the_runtimes_binary_cannot_be_reached() {
    let mut t = Sandbox::new();
    write_program(&t.rootfs().join("self"), "#!/proc/self/exe\n");
    running(&mut t);
    let before = fs::read(crate::harness::runtime()).unwrap();
    exec(&t, &[], &["/self"]);
    assert!(fs::read(crate::harness::runtime()).unwrap() == before);
    exec(&t, &[], &["true"]).ok();
}

/// The process hides until its program runs, which takes two for a moment; where there is no room for that
/// it comes in by another way.
#[test]
fn a_container_with_room_for_one_more_process() {
    let mut t = Sandbox::new();
    t.config["linux"]["resources"]["pids"] = json!({"limit": 2});
    running(&mut t);
    exec(&t, &[], &["true"]).ok();
    let outcome = exec(&t, &[], &["/nowhere"]);
    assert_eq!(outcome.code, 255, "{outcome:?}");
    outcome.says(&["no such file or directory"]).one_line();
}

#[test]
fn many_at_once() {
    let mut t = Sandbox::new();
    running(&mut t);
    let calls: Vec<Running> =
        (0..20).map(|n| t.spawn(t.command(&words(&t, &[], &["sh", "-c", &format!("exit {n}")])))).collect();
    let codes: Vec<i32> = calls.into_iter().map(|call| call.wait().code).collect();
    assert_eq!(codes, (0..20).collect::<Vec<_>>());
    wait_until("only init to be left", || host::processes_with(&t.id).len() == 1);
}
