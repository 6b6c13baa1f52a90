//! config.json `process`: ids, umask, capabilities, limits, environment, working directory,
//! program; and the clean state the program starts in.

use crate::harness::{Sandbox, is_oxrun, write_program};
use crate::{config, host};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

fn environment(report: &Value) -> Vec<String> {
    report["env"].as_array().unwrap().iter().map(|e| e.as_str().unwrap().to_string()).collect()
}

/// The value of a variable; asserts that it is there once at most.
fn variable(report: &Value, name: &str) -> Option<String> {
    let all: Vec<String> = environment(report)
        .iter()
        .filter_map(|e| e.strip_prefix(name)?.strip_prefix('=').map(str::to_string))
        .collect();
    assert!(all.len() <= 1, "{name} is there {} times", all.len());
    all.into_iter().next()
}

#[test]
fn user_and_groups() {
    let mut t = Sandbox::new();
    t.config["process"]["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 65534, 100000]});
    let status = &t.report()["status"];
    assert_eq!(status["Uid"], "1000 1000 1000 1000");
    assert_eq!(status["Gid"], "1001 1001 1001 1001");
    let groups: BTreeSet<&str> = status["Groups"].as_str().unwrap().split(' ').collect();
    assert_eq!(groups, BTreeSet::from(["5", "65534", "100000"]));
}

#[test]
fn no_groups_of_the_caller() {
    let mut t = Sandbox::new();
    assert_eq!(t.report()["status"]["Groups"], "");
}

#[test]
fn numeric_names_in_passwd_are_not_looked_up() {
    let mut t = Sandbox::new();
    t.config["process"]["user"] = json!({"uid": 2000, "gid": 0});
    assert_eq!(t.report()["status"]["Uid"], "2000 2000 2000 2000");
}

#[test]
fn umask_is_set() {
    let mut t = Sandbox::new();
    t.config["process"]["user"]["umask"] = json!(63);
    assert_eq!(t.actions(&["umask"]), json!([{"ok": "77"}]));
    assert_eq!(t.report()["status"]["Umask"], "0077");
    t.config["process"]["user"]["umask"] = json!(0);
    assert_eq!(t.report()["status"]["Umask"], "0000");
}

#[test]
fn umask_does_not_disturb_the_making_of_the_root() {
    let mut t = Sandbox::new();
    t.config["process"]["user"]["umask"] = json!(0o777);
    t.config["process"]["cwd"] = json!("/made/here");
    config::add_mount(&mut t.config, "/target/deep", "tmpfs", "tmpfs", &["mode=755"]);
    let command = t.prepared(&["with-umask", "077"], &["run", &t.id]);
    t.args(&["payload", "do", "stat /target", "stat /dev/null", "readlink /dev/fd"]).write_config();
    let result = t.spawn(command).wait().ok().json();
    assert_eq!(result[1]["ok"]["mode"], "666");
    assert_eq!(result[2]["ok"], "/proc/self/fd");
    if !is_oxrun() && result[0]["ok"]["mode"] != "755" {
        skip!("another runtime makes mount targets with the umask of its caller");
    }
    assert_eq!(result[0]["ok"]["mode"], "755");
}

#[test]
fn capabilities_of_the_five_sets() {
    let mut t = Sandbox::new();
    t.config["process"]["noNewPrivileges"] = json!(false);
    t.config["process"]["capabilities"] = json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SYS_CHROOT", "CAP_NET_RAW"],
        "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_SYS_CHROOT"],
        "effective": ["CAP_CHOWN", "CAP_KILL", "CAP_SYS_CHROOT"],
        "inheritable": ["CAP_KILL", "CAP_SYS_CHROOT"],
        "ambient": ["CAP_KILL"],
    });
    t.config["process"]["user"]["uid"] = json!(1000);
    let status = &t.report()["status"];
    let (kill, chroot, chown, raw) = (1 << 5, 1 << 18, 1, 1 << 13);
    let hex = |bits: u64| format!("{bits:016x}");
    assert_eq!(status["CapBnd"], hex(kill | chroot | chown | raw));
    assert_eq!(status["CapInh"], hex(kill | chroot));
    assert_eq!(status["CapAmb"], hex(kill));
    // execve by a user that is not root keeps what is ambient.
    assert_eq!(status["CapPrm"], hex(kill));
    assert_eq!(status["CapEff"], hex(kill));
}

#[test]
fn root_gets_what_is_bounding_and_nothing_inheritable() {
    let mut t = Sandbox::new();
    let status = &t.report()["status"];
    let bits = format!("{:016x}", (1u64 << 29) | (1 << 5) | (1 << 10));
    for set in ["CapBnd", "CapPrm", "CapEff"] {
        assert_eq!(status[set], bits, "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
}

#[test]
fn no_capabilities_object_means_none() {
    let mut t = Sandbox::new();
    t.config["process"].as_object_mut().unwrap().remove("capabilities");
    if !is_oxrun() {
        skip!("with no capabilities object another runtime keeps all");
    }
    t.config["process"]["capabilities"] = json!({});
    let status = &t.report()["status"];
    for set in ["CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
}

#[test]
fn unknown_capability_is_no_error() {
    let mut t = Sandbox::new();
    config::set_capabilities(&mut t.config, &["CAP_KILL", "CAP_UNKNOWN"]);
    let status = &t.report()["status"];
    assert_eq!(status["CapBnd"], format!("{:016x}", 1 << 5));
}

#[test]
fn file_capability_check_uses_final_identity() {
    let mut t = Sandbox::new();
    write_program(&t.rootfs().join("secret"), "#!/bin/sh\necho ran\n");
    fs::set_permissions(t.rootfs().join("secret"), fs::Permissions::from_mode(0o644)).unwrap();
    t.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    t.run_args(&["/secret"]).failed().says(&["permission denied"]);
    t.assert_clean();
}

#[test]
fn no_new_privileges() {
    let mut t = Sandbox::new();
    assert_eq!(t.report()["status"]["NoNewPrivs"], "1");
    t.config["process"]["noNewPrivileges"] = json!(false);
    assert_eq!(t.report()["status"]["NoNewPrivs"], "0");
}

#[test]
fn limits_are_exactly_as_given() {
    let mut t = Sandbox::new();
    t.config["process"]["rlimits"] = json!([
        {"type": "RLIMIT_NOFILE", "soft": 111, "hard": 222},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_NPROC", "soft": 1000, "hard": 2000},
        {"type": "RLIMIT_FSIZE", "soft": 18446744073709551615u64, "hard": 18446744073709551615u64},
        {"type": "RLIMIT_STACK", "soft": 1048576, "hard": 2097152},
    ]);
    let limits = &t.report()["limits"];
    assert_eq!(limits["RLIMIT_NOFILE"], json!([111, 222]));
    assert_eq!(limits["RLIMIT_CORE"], json!([0, 0]));
    assert_eq!(limits["RLIMIT_NPROC"], json!([1000, 2000]));
    assert_eq!(limits["RLIMIT_FSIZE"], json!([u64::MAX, u64::MAX]));
    assert_eq!(limits["RLIMIT_STACK"], json!([1048576, 2097152]));
}

#[test]
fn limit_above_the_callers_hard_limit() {
    if !host::has_capability(24) {
        skip!("root has no CAP_SYS_RESOURCE on this host");
    }
    let mut t = Sandbox::new();
    config::set_capabilities(&mut t.config, &["CAP_SYS_RESOURCE"]);
    t.config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 4000, "hard": 5000}]);
    t.args(&["payload", "report"]).write_config();
    let command = t.prepared(&["with-nofile", "256"], &["run", &t.id]);
    let report = t.spawn(command).wait().ok().json();
    assert_eq!(report["limits"]["RLIMIT_NOFILE"], json!([4000, 5000]));
}

#[test]
fn oom_score_is_set_or_left_alone() {
    let mut t = Sandbox::new();
    t.config["process"]["oomScoreAdj"] = json!(345);
    assert_eq!(t.report()["oom_score_adj"], "345");
    t.config["process"].as_object_mut().unwrap().remove("oomScoreAdj");
    t.args(&["payload", "report"]).write_config();
    let command = t.prepared(&["with-oom", "123"], &["run", &t.id]);
    assert_eq!(t.spawn(command).wait().ok().json()["oom_score_adj"], "123");
}

#[test]
fn oom_score_in_a_user_namespace() {
    let mut t = Sandbox::new();
    config::add_user_namespace(&mut t.config, 100_000);
    t.config["process"]["oomScoreAdj"] = json!(345);
    assert_eq!(t.report()["oom_score_adj"], "345");
}

#[test]
fn environment_is_the_configured_one() {
    let mut t = Sandbox::new();
    let marker = format!("OXRUN_TEST={}", t.id);
    t.config["process"]["env"] = json!(["PATH=/bin", marker, "HOME=/h", "A=b=c", "EMPTY=", "NL=one\ntwo"]);
    let report = t.report();
    let all: BTreeSet<String> = environment(&report).into_iter().collect();
    let expected = ["PATH=/bin", &marker, "HOME=/h", "A=b=c", "EMPTY=", "NL=one\ntwo"];
    assert_eq!(all, expected.iter().map(|s| s.to_string()).collect());
}

#[test]
fn last_of_duplicate_variables_wins() {
    let mut t = Sandbox::new();
    let marker = format!("OXRUN_TEST={}", t.id);
    t.config["process"]["env"] = json!(["PATH=/bin", marker, "DUP=first", "DUP=second", "DUP=third"]);
    let report = t.report();
    if !is_oxrun() && environment(&report).iter().filter(|e| e.starts_with("DUP=")).count() > 1 {
        skip!("another runtime passes duplicates on");
    }
    assert_eq!(variable(&report, "DUP").as_deref(), Some("third"));
}

#[test]
fn home_comes_from_passwd() {
    let mut t = Sandbox::new();
    assert_eq!(variable(&t.report(), "HOME").as_deref(), Some("/root"));
    t.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    assert_eq!(variable(&t.report(), "HOME").as_deref(), Some("/home/user"));
    t.config["process"]["user"] = json!({"uid": 4321, "gid": 1000});
    assert_eq!(variable(&t.report(), "HOME").as_deref(), Some("/"));
    t.config["process"]["env"].as_array_mut().unwrap().push(json!("HOME=/set"));
    assert_eq!(variable(&t.report(), "HOME").as_deref(), Some("/set"));
}

#[test]
fn empty_home_is_replaced() {
    let mut t = Sandbox::new();
    t.config["process"]["env"].as_array_mut().unwrap().push(json!("HOME="));
    assert_eq!(variable(&t.report(), "HOME").as_deref(), Some("/root"));
}

#[test]
fn hostile_passwd_does_not_hang_or_break() {
    let mut t = Sandbox::new();
    fs::remove_file(t.rootfs().join("etc/passwd")).unwrap();
    assert_eq!(variable(&t.report(), "HOME").as_deref(), Some("/"));
    fs::write(t.rootfs().join("etc/passwd"), b"\xff\xfe\n::\nroot:x:0\nnonsense").unwrap();
    assert!(variable(&t.report(), "HOME").is_some());
    fs::remove_file(t.rootfs().join("etc/passwd")).unwrap();
    symlink("/proc/1/environ", t.rootfs().join("etc/passwd")).unwrap();
    assert!(variable(&t.report(), "HOME").is_some());
}

#[test]
fn working_directory_is_set_and_made() {
    let mut t = Sandbox::new();
    t.config["process"]["cwd"] = json!("/tmp");
    assert_eq!(t.report()["cwd"], "/tmp");
    t.config["process"]["cwd"] = json!("/made/for/you");
    assert_eq!(t.report()["cwd"], "/made/for/you");
    assert!(t.rootfs().join("made/for/you").is_dir());
}

#[test]
fn working_directory_may_be_a_link_inside() {
    let mut t = Sandbox::new();
    symlink("/tmp", t.rootfs().join("link")).unwrap();
    t.config["process"]["cwd"] = json!("/link");
    assert_eq!(t.report()["cwd"], "/tmp");
}

#[test]
fn working_directory_that_only_root_may_enter() {
    let mut t = Sandbox::new();
    fs::create_dir(t.rootfs().join("closed")).unwrap();
    fs::set_permissions(t.rootfs().join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    t.config["process"]["cwd"] = json!("/closed");
    t.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    t.config["process"]["env"] = json!(["PATH=/bin", format!("OXRUN_TEST={}", t.id)]);
    t.run_args(&["pwd"]).ok();
}

#[test]
fn program_is_found_by_path_of_the_container() {
    let mut t = Sandbox::new();
    fs::create_dir_all(t.rootfs().join("opt/tools")).unwrap();
    write_program(&t.rootfs().join("opt/tools/greet"), "#!/bin/sh\necho hello\n");
    t.config["process"]["env"] = json!(["PATH=/nowhere:/opt/tools:/bin", format!("OXRUN_TEST={}", t.id)]);
    assert_eq!(t.run_args(&["greet"]).ok().stdout, "hello\n");
}

#[test]
fn relative_programs_start_at_cwd() {
    let mut t = Sandbox::new();
    fs::create_dir_all(t.rootfs().join("opt/tools")).unwrap();
    write_program(&t.rootfs().join("opt/tools/greet"), "#!/bin/sh\necho hello\n");
    t.config["process"]["cwd"] = json!("/opt");
    assert_eq!(t.run_args(&["./tools/greet"]).ok().stdout, "hello\n");
    assert_eq!(t.run_args(&["tools/greet"]).ok().stdout, "hello\n");
}

#[test]
fn arguments_arrive_unchanged() {
    let mut t = Sandbox::new();
    let args = ["payload", "report", "", " a b ", "ü", "x\ny"];
    let report = t.run_args(&args).ok().json();
    assert_eq!(report["args"], json!(args));
}

#[test]
fn missing_program_fails_create() {
    let mut t = Sandbox::new();
    for program in ["no-such-program", "/no/such/program", "./no-such-program"] {
        t.args(&[program]);
        let outcome = t.create().failed().says(&["executable file not found", "no such file or directory"]);
        assert!(outcome.stderr.contains("no-such-program") || outcome.stderr.contains("/no/such/program"));
        outcome.one_line();
        t.assert_clean();
    }
    t.args(&["no-such-program"]).create().failed().says(&["executable file not found in $PATH"]);
}

#[test]
fn program_without_execute_permission_fails_create() {
    let mut t = Sandbox::new();
    fs::write(t.rootfs().join("plain"), "text").unwrap();
    t.args(&["/plain"]);
    t.create().failed().says(&["permission denied"]).one_line();
    t.args(&["/tmp"]);
    t.create().failed().says(&["permission denied", "is a directory"]).one_line();
    t.assert_clean();
}

#[test]
fn process_starts_clean() {
    let mut t = Sandbox::new();
    t.args(&["payload", "report"]).write_config();
    let report = t.run().ok().json();
    assert_eq!(report["pdeathsig"], 0);
    assert_eq!(report["wait_child"], false);
    assert_eq!(report["pid"], 1);
    assert_eq!(report["sid"], 1);
    assert_eq!(report["pgid"], 1);
}

#[test]
fn signal_state_of_the_caller_does_not_arrive() {
    let mut t = Sandbox::new();
    // busybox changes no dispositions before `cat` reads the file.
    t.args(&["grep", "^Sig[BI]", "/proc/self/status"]).write_config();
    for preparation in [["with-ignored", "13,2,10"], ["with-blocked", "10,12,15"]] {
        let command = t.prepared(&preparation, &["run", &t.id]);
        let text = t.spawn(command).wait().ok().stdout;
        let clean = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";
        if !is_oxrun() && text != clean {
            skip!("another runtime passes on {preparation:?}");
        }
        assert_eq!(text, clean, "{preparation:?}");
    }
}

#[test]
fn parent_death_signal_of_the_caller_does_not_arrive() {
    let mut t = Sandbox::new();
    t.args(&["payload", "report"]).write_config();
    let command = t.prepared(&["with-pdeathsig"], &["run", &t.id]);
    assert_eq!(t.spawn(command).wait().ok().json()["pdeathsig"], 0);
}

#[test]
fn only_standard_descriptors_are_open() {
    let mut t = Sandbox::new();
    t.args(&["payload", "report"]).write_config();
    let secret = t.path("secret");
    fs::write(&secret, "x").unwrap();
    let leak = format!("{secret},3,4,5,9,40,200");
    let command = t.prepared(&["with-fd", &leak], &["run", &t.id]);
    let report = t.spawn(command).wait().ok().json();
    let open: Vec<&String> = report["fds"].as_object().unwrap().keys().collect();
    assert_eq!(open, ["0", "1", "2"], "{}", report["fds"]);
}

#[test]
fn created_process_holds_nothing_of_the_caller() {
    let mut t = Sandbox::new();
    t.args(&["payload", "sleep", "5000"]).write_config();
    let secret = t.path("secret");
    fs::write(&secret, "x").unwrap();
    let leak = format!("{secret},3,4,5,9,40,200");
    let command = t.prepared(&["with-fd", &leak], &["create", &t.id]);
    t.spawn(command).wait().ok();
    let pid = t.pid();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap().display().to_string();
        assert!(!target.contains("secret"), "{} -> {target}", entry.path().display());
    }
}

#[test]
fn preserved_descriptors_arrive() {
    let mut t = Sandbox::new();
    t.args(&["payload", "report"]).write_config();
    let secret = t.path("gift");
    fs::write(&secret, "x").unwrap();
    let leak = format!("{secret},3,4,5");
    let command = t.prepared(&["with-fd", &leak], &["run", "--preserve-fds", "2", &t.id]);
    let report = t.spawn(command).wait().ok().json();
    let open: Vec<&String> = report["fds"].as_object().unwrap().keys().collect();
    assert_eq!(open, ["0", "1", "2", "3", "4"], "{}", report["fds"]);
    assert!(report["fds"]["3"].as_str().unwrap().ends_with("gift"));
}

#[test]
fn missing_preserved_descriptors_bring_nothing_else() {
    let mut t = Sandbox::new();
    t.args(&["payload", "report"]).write_config();
    let outcome = t.runtime(&["run", "--preserve-fds", "3", &t.id]);
    if !is_oxrun() {
        skip!("another runtime passes on what is its own there");
    }
    // An error and an empty place are both fine; a descriptor of the runtime is not.
    if outcome.code == 0 {
        let report = outcome.json();
        let open: Vec<&String> = report["fds"].as_object().unwrap().keys().collect();
        assert_eq!(open, ["0", "1", "2"], "{}", report["fds"]);
    }
    t.assert_clean();
}

#[test]
fn closed_standard_descriptors_do_no_harm() {
    let mut t = Sandbox::new();
    t.args(&["true"]).write_config();
    if !is_oxrun() {
        skip!("another runtime fails with closed standard streams in its own ways");
    }
    let command = t.prepared(&["with-closed", "0"], &["run", &t.id]);
    t.spawn(command).wait().ok();
    let command = t.prepared(&["with-closed", "0,1,2"], &["run", &t.id]);
    assert_eq!(t.spawn(command).wait().code, 0);
}

#[test]
fn listen_fds_are_passed() {
    let mut t = Sandbox::new();
    t.args(&["payload", "report"]).write_config();
    let gift = t.path("gift");
    fs::write(&gift, "x").unwrap();
    let command = t.prepared(&["with-listen", &format!("{gift},3,4")], &["run", &t.id]);
    let report = t.spawn(command).wait().ok().json();
    assert_eq!(variable(&report, "LISTEN_FDS").as_deref(), Some("1"));
    assert_eq!(variable(&report, "LISTEN_PID").as_deref(), Some("1"));
    let open: Vec<&String> = report["fds"].as_object().unwrap().keys().collect();
    assert_eq!(open, ["0", "1", "2", "3"], "{}", report["fds"]);
}

#[test]
fn restricted_cpu_affinity_of_the_caller_does_not_arrive() {
    let mut t = Sandbox::new();
    let all = host::process_status(std::process::id() as i32, "Cpus_allowed_list");
    if all == "0" {
        skip!("one processor only");
    }
    t.args(&["payload", "report"]).write_config();
    let command = t.prepared(&["with-cpu", "0"], &["run", &t.id]);
    let report = t.spawn(command).wait().ok().json();
    if !is_oxrun() && report["status"]["Cpus_allowed_list"] != all {
        skip!("another runtime passes its affinity on");
    }
    assert_eq!(report["status"]["Cpus_allowed_list"], all);
}

#[test]
fn personality_is_set() {
    let mut t = Sandbox::new();
    t.config["linux"]["personality"] = json!({"domain": "LINUX32"});
    let report = t.report();
    if !is_oxrun() && report["machine"] == "x86_64" {
        skip!("another runtime knows no personality");
    }
    assert_eq!(report["machine"], "i686");
    t.config["linux"]["personality"] = json!({"domain": "LINUX"});
    assert_eq!(t.report()["machine"], "x86_64");
}
