//! Tests: what valid configs become, member by member, and what is a warning.

use super::bad_input::{HOST, config, plan};
use super::plan::*;
use super::spec::Spec;
use super::{Host, Options, Warnings, lower, lower_process, parse};
use std::path::PathBuf;

/// Warnings as they are logged.
fn said(warnings: &Warnings) -> Vec<String> {
    warnings.0.iter().map(|w| format!("{}: {}", w.path, w.text)).collect()
}

fn changed(pointer: &str, value: &str) -> Plan {
    plan(&config(&[(pointer, value)])).unwrap()
}

#[test]
fn the_default_config() {
    let plan = plan(&config(&[])).unwrap();
    let process = plan.process.unwrap();
    assert_eq!(process.args, [c"sh".to_owned()]);
    assert_eq!(process.cwd, c"/".to_owned());
    let caps = 1 << 5 | 1 << 10 | 1 << 29;
    let sets = Capabilities { bounding: caps, effective: caps, permitted: caps, inheritable: 0, ambient: 0 };
    assert_eq!(process.capabilities, Some(sets));
    assert!(process.terminal && process.no_new_privileges);
    let nofile = Rlimit { resource: 7, name: "RLIMIT_NOFILE", soft: 1024, hard: 1024 };
    assert_eq!(process.rlimits, [nofile]);
    assert_eq!((plan.rootfs, plan.root_readonly), (PathBuf::from("/bundle/rootfs"), true));
    assert_eq!(plan.hostname.as_deref(), Some("oxrun"));
    assert_eq!(plan.mounts.len(), 7);
    assert!(matches!(&plan.mounts[6].source, MountSource::Cgroup { data } if data.is_empty()));
    assert_eq!(plan.mounts[6].attributes, MountAttributes { set: 0xf, clear: 0x70, ..Default::default() });
    assert_eq!(plan.masked_paths.len(), 11);
    assert_eq!(plan.cgroup.devices.len(), 11);
    assert_eq!(plan.cgroup.delegate, None, "the cgroup mount is read-only");
}

#[test]
fn a_config_of_an_engine() {
    let text = include_bytes!("../../tests/data/docker-config.json");
    let spec: Spec = parse(text).unwrap();
    let plan = lower(&spec, &Options::default(), &HOST).unwrap();
    assert_eq!(said(&plan.warnings), [""; 0]);
    let hook = &plan.hooks.prestart[0];
    assert_eq!((hook.args.len(), &hook.env, hook.timeout), (4, &None, None));
    assert_eq!(hook.args[0], c"libnetwork-setkey".to_owned(), "args are the whole argv");
    assert_eq!(plan.process.unwrap().groups, [0, 10]);
    let ports = ("net/ipv4/ip_unprivileged_port_start".to_string(), "0".to_string());
    assert_eq!(plan.sysctls[0], ports);
    assert_eq!(plan.cgroup.devices.len(), 8 + 10);
    let MountSource::Bind { recursive, .. } = plan.mounts[7].source else { panic!() };
    assert!(recursive);
    assert_eq!(plan.mounts[7].propagation, [libc::MS_PRIVATE | libc::MS_REC]);
}

#[test]
fn versions() {
    for version in ["1.0.0", "1.0.2-dev", "1.3.0", "1.2.1+build.01", "1.1.0-rc.1"] {
        let plan = changed("/ociVersion", &format!("\"{version}\""));
        assert!(plan.warnings.0.is_empty() && plan.oci_version == version);
    }
    assert!(changed("/ociVersion", "\"1.4.0\"").warnings.0[0].text.contains("1.4.0 is newer than 1.3"));
}

#[test]
fn unknown_members_and_null_are_no_errors() {
    for pointer in ["/windows", "/vm", "/x", "/process/x", "/linux/x", "/linux/resources/memory/x"] {
        changed(pointer, "{\"a\":[1,\"b\\u0000\"]}");
    }
    for pointer in ["/mounts", "/hooks", "/annotations", "/linux/seccomp", "/linux/devices", "/hostname"] {
        changed(pointer, "null");
    }
    changed("/annotations", "{\"literally\\\\u0000\":\"\",\"run.x\":\"\"}");
    let warnings = changed("/annotations", "{\"run.oci.x\":\"\",\"run.oci.hooks.stdout\":\"/f\"}").warnings;
    assert_eq!(said(&warnings), ["annotations.run.oci.x: unknown and without effect"]);
}

#[test]
fn unknown_members_are_found() {
    let unknown = |changes: &[(&str, &str)]| {
        let mut warnings = Warnings::default();
        super::json::unknown_members::<Spec>(config(changes).as_bytes(), &mut warnings);
        warnings.0.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(unknown(&[("/windows", "{}"), ("/process/user/username", "\"x\"")]), [""; 0]);
    let found =
        unknown(&[("/linux/maskedpaths", "[]"), ("/mounts/0/x", "1"), ("/linux/netDevices/e/mtu", "1")]);
    let text = "unknown member, which has no effect";
    let expected = [
        format!("linux.maskedpaths: {text} (did you mean `maskedPaths`?)"),
        format!("linux.netDevices.e.mtu: {text}"),
        format!("mounts[0].x: {text}"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_root_elsewhere_and_no_process() {
    assert_eq!(changed("/root/path", "\"/abs/r\"").rootfs, PathBuf::from("/abs/r"));
    assert_eq!(changed("/root/path", "\"../r\"").rootfs, PathBuf::from("/bundle/../r"));
    assert!(changed("/process", "-").process.is_none());
}

#[test]
fn environment_keeps_the_last_of_each_name() {
    let process = changed("/process/env", "[\"A=1\",\"B=\",\"A=2\\n=\",\"C=3\"]").process.unwrap();
    assert_eq!(process.env, [c"B=".to_owned(), c"A=2\n=".to_owned(), c"C=3".to_owned()]);
}

#[test]
fn capabilities_that_are_unknown_are_a_warning() {
    let plan = changed("/process/capabilities/bounding", "[\"CAP_CHOWN\",\"CAP_FUTURE\",\"cap_bpf\"]");
    assert_eq!(plan.process.unwrap().capabilities.unwrap().bounding, 1 | 1 << 39);
    assert_eq!(said(&plan.warnings), ["process.capabilities: unknown capabilities are ignored: CAP_FUTURE"]);

    let spec: Spec =
        parse(config(&[("/process/capabilities/bounding", "[\"CAP_BPF\"]")]).as_bytes()).unwrap();
    let plan = lower(&spec, &Options::default(), &Host { last_capability: 38, ..HOST }).unwrap();
    assert_eq!(plan.process.unwrap().capabilities.unwrap().bounding, 0, "the kernel lacks it");
    assert!(plan.warnings.0[0].text.contains("CAP_BPF"));
}

#[test]
fn process_attributes() {
    let text = r#"{"args":["a"],"cwd":"/","terminal":true,"consoleSize":{"height":10,"width":110},
        "user":{"uid":4294967294,"umask":63},"oomScoreAdj":-1000,
        "scheduler":{"policy":"SCHED_DEADLINE","flags":["SCHED_FLAG_RESET_ON_FORK","SCHED_FLAG_DL_OVERRUN"],
            "runtime":2000,"deadline":3000,"period":4000},
        "ioPriority":{"class":"IOPRIO_CLASS_BE","priority":4},"execCPUAffinity":{"initial":"0-1","final":""},
        "apparmorProfile":"p","selinuxLabel":"l","rlimits":[{"type":"RLIMIT_RTTIME","soft":0,"hard":18446744073709551615}]}"#;
    let spec: super::spec::Process = parse(text.as_bytes()).unwrap();
    let (mut problems, mut warnings) = Default::default();
    let process = lower_process(&spec, "", &HOST, &mut problems, &mut warnings);
    assert!(problems.is_empty() && warnings.0.is_empty(), "{problems}");
    assert_eq!(process.console_size, Some((10, 110)));
    assert_eq!((process.uid, process.umask, process.oom_score_adj), (u32::MAX - 1, Some(0o77), Some(-1000)));
    let scheduler =
        Scheduler { policy: 6, flags: 5, nice: 0, priority: 0, runtime: 2000, deadline: 3000, period: 4000 };
    assert_eq!(process.scheduler, Some(scheduler));
    assert_eq!(process.io_priority, Some(2 << 13 | 4));
    assert_eq!((process.exec_affinity_initial, process.exec_affinity_final), (Some(vec![0, 1]), None));
    assert_eq!((process.apparmor, process.selinux), (Some(c"p".to_owned()), Some(c"l".to_owned())));
    assert_eq!((process.rlimits[0].resource, process.rlimits[0].hard), (15, u64::MAX));

    let spec: super::spec::Process = parse(b"{\"consoleSize\":{\"height\":70000}}").unwrap();
    lower_process(&spec, "", &HOST, &mut problems, &mut warnings);
    let paths: Vec<_> = problems.0.iter().map(|p| p.path.as_str()).collect();
    assert_eq!(paths, ["cwd", "args"], "the size is ignored without a terminal");
}

fn mount(text: &str) -> (Mount, Warnings) {
    let mut plan = changed("/mounts/-", text);
    (plan.mounts.pop().unwrap(), plan.warnings)
}

#[test]
fn mount_sources() {
    let bind = |source: &str| {
        mount(&format!("{{\"destination\":\"/x\",\"type\":\"bind\",\"source\":\"{source}\"}}")).0
    };
    for (given, expected) in [(".", "/bundle/."), ("d/e", "/bundle/d/e"), ("/abs", "/abs")] {
        let MountSource::Bind { path, recursive, symlink, given: text } = bind(given).source else {
            panic!()
        };
        assert_eq!((path, recursive, symlink), (PathBuf::from(expected), false, SymlinkSource::Follow));
        assert_eq!(text, given);
    }
    let kind = |text: &str| mount(&format!("{{\"destination\":\"/x\",\"source\":\"/s\",{text}}}")).0.source;
    use MountSource::*;
    assert!(matches!(kind(r#""type":"tmpfs","options":["rbind"]"#), Bind { recursive: true, .. }));
    assert!(matches!(
        kind(r#""options":["bind","copy-symlink"]"#),
        Bind { symlink: SymlinkSource::Copy, .. }
    ));
    assert!(
        matches!(kind(r#""type":"cgroup2","options":["nsdelegate"]"#), Cgroup { data } if data.len() == 1)
    );
    assert!(matches!(kind(r#""options":["bind","remount","ro"]"#), Remount));
    assert!(matches!(kind(r#""options":["rshared"]"#), Propagation));
    assert!(matches!(kind(r#""type":"none","options":["ro"]"#), Propagation));
    let Filesystem { kind, source, super_flags, data } =
        kind(r#""type":"overlay","options":["ro","a=b=c","d"]"#)
    else {
        panic!()
    };
    assert_eq!((kind.as_str(), source.as_str(), super_flags), ("overlay", "/s", libc::MS_RDONLY));
    assert_eq!(data, [("a".to_string(), Some("b=c".to_string())), ("d".to_string(), None)]);
    let (none, _) = mount(r#"{"destination":"/x","type":"tmpfs"}"#);
    assert!(matches!(none.source, Filesystem { source, .. } if source == "none"));
}

#[test]
fn mount_destinations() {
    let (one, warnings) =
        mount(r#"{"destination":"//a/./b/../c//","type":"tmpfs","options":["dest-nofollow"]}"#);
    assert_eq!((one.destination.as_str(), one.follow_destination, one.index), ("/a/c", false, 7));
    assert!(warnings.0.is_empty());
    let (one, warnings) = mount(r#"{"destination":"../a","type":"tmpfs","options":["tmpcopyup"]}"#);
    assert_eq!((one.destination.as_str(), one.follow_destination, one.copy_up), ("/a", true, true));
    assert_eq!(said(&warnings), ["mounts[7].destination: `../a` is relative, taken as `/a`"]);
    let (_, warnings) = mount(r#"{"destination":"/a","source":"/s","options":["bind","sync"]}"#);
    assert_eq!(
        said(&warnings),
        ["mounts[7].options: `sync` without effect: only a new filesystem has these"]
    );
    for options in ["\"bind\",\"mode=1\"", "\"remount\",\"mode=1\"", "\"shared\",\"mode=1\""] {
        let (_, warnings) =
            mount(&format!("{{\"destination\":\"/a\",\"source\":\"/s\",\"options\":[{options}]}}"));
        assert!(
            warnings.0.len() == 1
                && said(&warnings)[0].starts_with("mounts[7].options: `mode` has no effect"),
            "{warnings:?}"
        );
    }
}

#[test]
fn id_mapped_mounts() {
    let map = r#"[{"containerID":0,"hostID":1000,"size":2},{"containerID":2,"hostID":1,"size":1}]"#;
    let own = |options: &str| {
        format!(
            r#"{{"destination":"/x","source":"/s","options":["bind"{options}],"uidMappings":{map},"gidMappings":{map}}}"#
        )
    };
    let lines = [IdMap { inside: 0, outside: 1000, size: 2 }, IdMap { inside: 2, outside: 1, size: 1 }];
    for (options, recursive) in [("", false), (",\"idmap\"", false), (",\"ridmap\"", true)] {
        let id_map = mount(&own(options)).0.id_map.unwrap();
        assert_eq!((id_map.uid_map.as_slice(), id_map.recursive), (lines.as_slice(), recursive));
        assert_eq!(id_map.gid_map, lines);
    }
    let user = "{\"type\":\"user\",\"path\":\"/ns\"}";
    let bind = r#"{"destination":"/x","source":"/s","options":["bind","ridmap"]}"#;
    let plan = plan(&config(&[("/linux/namespaces/-", user), ("/mounts/-", bind)])).unwrap();
    let id_map = plan.mounts[7].id_map.as_ref().unwrap();
    assert!(id_map.uid_map.is_empty() && id_map.recursive, "the container's own map");
}

const MAP: &str = "[{\"containerID\":0,\"hostID\":100000,\"size\":65536}]";

#[test]
fn namespaces_to_create_and_to_join() {
    let plan = plan(&config(&[
        ("/linux/namespaces/0/path", "\"/proc/1/ns/pid\""),
        ("/linux/namespaces/-", "{\"type\":\"user\"}"),
        ("/linux/namespaces/-", "{\"type\":\"time\"}"),
        (
            "/linux/timeOffsets",
            "{\"boottime\":{\"secs\":-9223372036854775808},\"monotonic\":{\"nanosecs\":1}}",
        ),
        ("/linux/uidMappings", MAP),
        ("/linux/gidMappings", MAP),
    ]))
    .unwrap();
    use NamespaceKind::*;
    assert_eq!(plan.namespaces.create, [Network, Ipc, Uts, Mount, Cgroup, User, Time]);
    assert_eq!(
        plan.namespaces.join,
        [crate::bundle::plan::Join { kind: Pid, path: PathBuf::from("/proc/1/ns/pid"), index: 0 }]
    );
    assert_eq!((plan.namespaces.boottime, plan.namespaces.monotonic), (Some((i64::MIN, 0)), Some((0, 1))));
    let line = IdMap { inside: 0, outside: 100_000, size: 65536 };
    assert_eq!((plan.namespaces.uid_map, plan.namespaces.gid_map), (vec![line], vec![line]));
}

#[test]
fn maps_of_a_joined_user_namespace_are_its_own() {
    let user = "{\"type\":\"user\",\"path\":\"/ns\"}";
    let plan = plan(&config(&[("/linux/namespaces/-", user), ("/linux/uidMappings", MAP)])).unwrap();
    assert!(plan.namespaces.uid_map.is_empty());
    assert!(said(&plan.warnings)[0].starts_with("linux.uidMappings: not written"));
}

#[test]
fn devices_and_default_devices() {
    let plan = changed(
        "/linux/devices",
        r#"[{"type":"c","path":"/dev/fuse/","major":10,"minor":229,"fileMode":438,"uid":1,"gid":2},
            {"type":"c","path":"/dev/null","major":1,"minor":3,"fileMode":384},
            {"type":"c","path":"/dev/tty","major":5,"minor":0,"fileMode":8630},
            {"type":"c","path":"/dev/ptmx","major":5,"minor":2},
            {"type":"u","path":"/dev/console","major":5,"minor":1},
            {"type":"b","path":"/x/disk","major":8,"minor":1},{"type":"b","path":"/x/same","major":8,"minor":1},
            {"type":"p","path":"/dev/fifo","major":7},{"type":"p","path":"/dev/fifo"}]"#,
    );
    let line = |d: &Device| {
        format!("{} {:o} {}:{} {:o} {}:{}", d.path, d.kind, d.major, d.minor, d.mode, d.uid, d.gid)
    };
    let lines: Vec<String> = plan.devices.iter().map(line).collect();
    let expected = [
        "/dev/zero 20000 1:5 666 0:0",
        "/dev/full 20000 1:7 666 0:0",
        "/dev/random 20000 1:8 666 0:0",
        "/dev/urandom 20000 1:9 666 0:0",
        "/dev/fuse 20000 10:229 666 1:2",
        "/dev/null 20000 1:3 600 0:0",
        "/dev/tty 20000 5:0 666 0:0",
        "/x/disk 60000 8:1 666 0:0",
        "/x/same 60000 8:1 666 0:0",
        "/dev/fifo 10000 0:0 666 0:0",
    ];
    assert_eq!(lines, expected);
    assert_eq!(
        said(&plan.warnings),
        ["linux.devices[6]: the same device as linux.devices[5] under another path"]
    );
    assert_eq!(plan.devices[0].origin, "default device");
}

#[test]
fn a_console_device_without_a_terminal() {
    let device = r#"[{"type":"c","path":"/dev/console","major":5,"minor":1}]"#;
    let plan = plan(&config(&[("/process/terminal", "false"), ("/linux/devices", device)])).unwrap();
    assert_eq!(plan.devices.last().unwrap().path, "/dev/console");
}

#[test]
fn device_rules() {
    let plan = changed(
        "/linux/resources/devices",
        r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":-1,"access":"mr"},
            {"allow":true,"type":"a","major":1,"access":"rwm"},{"allow":false,"type":"a","access":"w"}]"#,
    );
    let number = |n: Option<u32>| n.map_or("*".to_string(), |n| n.to_string());
    let line = |d: &DeviceRule| {
        let access = [(d.read, 'r'), (d.write, 'w'), (d.mknod, 'm')];
        let access: String = access.iter().filter(|a| a.0).map(|a| a.1).collect();
        format!("{} {:?} {}:{} {access}", d.allow, d.kind, number(d.major), number(d.minor))
    };
    let lines: Vec<String> = plan.cgroup.devices.iter().map(line).collect();
    let expected = [
        "false All *:* rwm",
        "true Char 10:* rm",
        "true Block 1:* rwm",
        "true Char 1:* rwm",
        "false Block *:* w",
        "false Char *:* w",
        "true Char *:* m",
        "true Block *:* m",
        "true Char 1:3 rwm",
        "true Char 1:5 rwm",
        "true Char 1:7 rwm",
        "true Char 1:8 rwm",
        "true Char 1:9 rwm",
        "true Char 5:0 rwm",
        "true Char 5:2 rwm",
        "true Char 136:* rwm",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn cgroup_files_are_delegated_exactly_when_specified() {
    let rw = ("/mounts/6/options", "[\"nosuid\"]");
    let uid = ("/process/user/uid", "5");
    let delegate = |changes: &[(&str, &str)]| plan(&config(changes)).unwrap().cgroup.delegate;
    assert_eq!(delegate(&[rw, uid]), Some(5));
    assert_eq!(delegate(&[uid]), None, "read-only");
    assert_eq!(delegate(&[("/mounts/6/options", "[\"rro\"]"), uid]), None, "read-only");
    assert_eq!(delegate(&[rw, uid, ("/mounts/6/destination", "\"/cg\"")]), None, "elsewhere");
    assert_eq!(delegate(&[rw, uid, ("/mounts/6/type", "\"tmpfs\"")]), None, "not a cgroup");
    assert_eq!(delegate(&[rw, uid, ("/linux/namespaces/5/path", "\"/ns\"")]), None, "not a new namespace");
    assert_eq!(delegate(&[rw, ("/process", "-")]), None, "no process");
    let user = ("/linux/namespaces/-", "{\"type\":\"user\"}");
    let maps = [("/linux/uidMappings", MAP), ("/linux/gidMappings", MAP)];
    assert_eq!(delegate(&[&[rw, uid, user], maps.as_slice()].concat()), Some(100_005));
    let spec: Spec = parse(config(&[rw, uid]).as_bytes()).unwrap();
    let v1 = lower(&spec, &Options::default(), &Host { cgroup_v2: false, ..HOST }).unwrap();
    assert_eq!(v1.cgroup.delegate, None, "never on v1");
}

#[test]
fn hooks() {
    let plan = changed(
        "/hooks",
        r#"{"createRuntime":[{"path":"/a"},{"path":"/b","args":["x","y"],"env":[],"timeout":4294967295}],
            "startContainer":[{"path":"/c","env":["A=1"]}]}"#,
    );
    let b = Hook {
        path: c"/b".to_owned(),
        args: vec![c"x".to_owned(), c"y".to_owned()],
        env: Some(vec![]),
        timeout: Some(u32::MAX),
    };
    assert_eq!(plan.hooks.create_runtime[0].args, [c"/a".to_owned()]);
    assert_eq!(plan.hooks.create_runtime[1], b);
    assert_eq!(plan.hooks.start_container[0].env, Some(vec![c"A=1".to_owned()]));
}

#[test]
fn sysctls() {
    let same = [("/domainname", "\"d\""), ("/linux/sysctl", r#"{"kernel.domainname":"d"}"#)];
    assert_eq!(plan(&config(&same)).unwrap().domainname.as_deref(), Some("d"));
    let plan = changed(
        "/linux/sysctl",
        r#"{"net.ipv4.conf.eth0/1.forwarding":"1","net/ipv4/conf/a.b/c":"2","kernel.msgmax":"3",
            "fs.mqueue.msg_max":"4","kernel.domainname":"d","kernel.shm_rmid_forced":""}"#,
    );
    let mut names: Vec<&str> = plan.sysctls.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let expected = [
        "fs/mqueue/msg_max",
        "kernel/domainname",
        "kernel/msgmax",
        "kernel/shm_rmid_forced",
        "net/ipv4/conf/a.b/c",
        "net/ipv4/conf/eth0.1/forwarding",
    ];
    assert_eq!(names, expected);
}

#[test]
fn the_rest_of_linux() {
    for (name, flags) in
        [("shared", 1 << 20), ("rslave", 1 << 19 | 1 << 14), ("unbindable", 1 << 17), ("", 0)]
    {
        assert_eq!(changed("/linux/rootfsPropagation", &format!("\"{name}\"")).root_propagation, flags);
    }
    assert_eq!(changed("/linux/personality/domain", "\"LINUX32\"").personality, Some(8));
    assert_eq!(changed("/linux/personality/domain", "\"LINUX\"").personality, Some(0));
    let policy = r#"{"mode":"MPOL_BIND","nodes":"0, 2-3","flags":["MPOL_F_STATIC_NODES"]}"#;
    let policy = changed("/linux/memoryPolicy", policy).memory_policy.unwrap();
    assert_eq!(policy, MemoryPolicy { mode: 2 | 1 << 15, nodes: vec![0, 2, 3] });
    changed("/linux/memoryPolicy", r#"{"mode":"MPOL_PREFERRED"}"#);
    assert_eq!(changed("/linux/intelRdt/closID", "\"/\"").intel_rdt.unwrap().clos_id, "/");
    let paths = changed("/linux/maskedPaths", "[\"/a\",\"/a/\",\"//b\"]").masked_paths;
    assert_eq!(paths, ["/a", "/b"]);
    assert_eq!(changed("/linux/mountLabel", "\"l\"").mount_label.as_deref(), Some("l"));
    let devices =
        changed("/linux/netDevices", r#"{"eth0":{"name":"up%d"},"eth1":{},"eth2":{"name":"up%d"}}"#);
    let devices: Vec<_> = devices.net_devices.iter().map(|(a, b)| format!("{a} {b}")).collect();
    assert_eq!(devices, ["eth0 up%d", "eth1 eth1", "eth2 up%d"]);
}
