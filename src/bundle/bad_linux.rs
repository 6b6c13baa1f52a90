//! Tests: values in `linux` (namespaces and their ids, devices, sysctls, propagation) that the specification
//! forbids, one fault each.

use super::bad_input::{HOST, check, config, faults};
use super::spec::Spec;
use super::{Host, Options, lower, parse};

#[test]
fn namespaces() {
    let ns = "/linux/namespaces/-";
    let user = |maps: &str| {
        config(&[(ns, "{\"type\":\"user\"}"), ("/linux/gidMappings", ONE), ("/linux/uidMappings", maps)])
    };
    const ONE: &str = "[{\"containerID\":0,\"hostID\":0,\"size\":1}]";
    check(&[
        (
            "8.02",
            ns,
            "{\"type\":\"net\"}",
            "linux.namespaces[6].type",
            "unknown namespace type `net`: one of user",
        ),
        ("8.02", ns, "{}", "linux.namespaces[6].type", "missing"),
        ("8.02", ns, "{\"type\":\"pid\"}", "linux.namespaces[6].type", "`pid` is given twice"),
        (
            "8.02",
            ns,
            "{\"type\":\"pid\",\"path\":\"/x\"}",
            "linux.namespaces[6].type",
            "`pid` is given twice",
        ),
        ("8.03", ns, "{\"type\":\"time\",\"path\":\"x\"}", "linux.namespaces[6].path", "`x` is relative"),
        ("8.05", "/linux/uidMappings", ONE, "linux.uidMappings", "needs a new user namespace"),
        ("8.05", "/linux/gidMappings", ONE, "linux.gidMappings", "needs a new user namespace"),
        ("8.06", "/linux/timeOffsets/boottime/secs", "1", "linux.timeOffsets", "needs a new time namespace"),
    ]);
    for (maps, path, text) in [
        ("[]", "linux.uidMappings", "missing: a new user namespace needs"),
        ("[{}]", "linux.uidMappings[0].containerID", "missing"),
        ("[{\"containerID\":0,\"size\":1}]", "linux.uidMappings[0].hostID", "missing"),
        ("[{\"containerID\":0,\"hostID\":0}]", "linux.uidMappings[0].size", "missing"),
        ("[{\"containerID\":0,\"hostID\":0,\"size\":0}]", "linux.uidMappings[0].size", "at least 1"),
        (
            "[{\"containerID\":4294967295,\"hostID\":0,\"size\":1}]",
            "linux.uidMappings[0].containerID",
            "exceed",
        ),
        ("[{\"containerID\":0,\"hostID\":1,\"size\":4294967295}]", "linux.uidMappings[0].hostID", "exceed"),
        (
            "[{\"containerID\":5,\"hostID\":0,\"size\":2},{\"containerID\":4,\"hostID\":9,\"size\":2}]",
            "linux.uidMappings[1].containerID",
            "ids overlap those of linux.uidMappings[0]",
        ),
        (
            "[{\"containerID\":0,\"hostID\":0,\"size\":2},{\"containerID\":4,\"hostID\":1,\"size\":2}]",
            "linux.uidMappings[1].hostID",
            "ids overlap those of linux.uidMappings[0]",
        ),
    ] {
        let faults = faults(&user(maps));
        assert!(
            faults.iter().any(|f| f.starts_with(&format!("{path}: ")) && f.contains(text)),
            "{maps}: {faults:?}"
        );
    }
    for (member, path) in [("uid", "uid"), ("gid", "gid"), ("additionalGids/-", "additionalGids[0]")] {
        let members = [
            (ns, "{\"type\":\"user\"}"),
            ("/linux/gidMappings", ONE),
            ("/linux/uidMappings", ONE),
            ("/process/user/additionalGids", "[]"),
            (&format!("/process/user/{member}"), "7"),
        ];
        let faults = faults(&config(&members));
        assert!(
            faults.len() == 1 && faults[0].starts_with(&format!("process.user.{path}: 7 is not in")),
            "{faults:?}"
        );
    }
    let mounts = "{\"type\":\"mount\",\"path\":\"/proc/1/ns/mnt\"}";
    let joined = [("/linux/namespaces", "[]"), (ns, mounts), (ns, "{\"type\":\"user\"}")];
    let maps = [("/linux/gidMappings", ONE), ("/linux/uidMappings", ONE)];
    let faults = faults(&config(&[&joined[..], &maps[..]].concat()));
    let text = "linux.namespaces[0].path: cannot be joined together with a new user namespace";
    assert!(faults.iter().any(|fault| fault.starts_with(text)), "{faults:?}");
    let time = |pointer, value| self::faults(&config(&[(ns, "{\"type\":\"time\"}"), (pointer, value)]));
    let faults = time("/linux/timeOffsets/realtime", "{}");
    assert_eq!(faults, ["linux.timeOffsets.realtime: unknown clock: boottime or monotonic"]);
    let faults = time("/linux/timeOffsets/boottime/nanosecs", "1000000000");
    assert_eq!(faults, ["linux.timeOffsets.boottime.nanosecs: 1000000000 exceeds 999999999"]);
}

#[test]
fn rootless_without_a_user_namespace() {
    let spec: Spec = parse(config(&[]).as_bytes()).unwrap();
    let problems = lower(&spec, &Options::default(), &Host { euid: 1000, ..HOST }).unwrap_err();
    assert!(problems.to_string().starts_with("linux.namespaces: user 1000 is not root"), "{problems}");
}

#[test]
fn devices() {
    let at = "/linux/devices";
    let device = |members: &str| format!("[{{\"type\":\"c\",\"path\":\"/dev/x\",{members}}}]");
    let rule = "/linux/resources/devices/0";
    check(&[
        ("8.08", at, "[{\"path\":\"/d\",\"major\":1,\"minor\":1}]", "linux.devices[0].type", "missing"),
        (
            "8.08",
            at,
            "[{\"type\":\"x\",\"path\":\"/d\",\"major\":1,\"minor\":1}]",
            "linux.devices[0].type",
            "`x`",
        ),
        ("8.08", at, "[{\"type\":\"p\"}]", "linux.devices[0].path", "missing"),
        ("8.08", at, "[{\"type\":\"p\",\"path\":\"dev/x\"}]", "linux.devices[0].path", "`dev/x` is relative"),
        ("8.08", at, "[{\"type\":\"p\",\"path\":\"/..\"}]", "linux.devices[0].path", "cannot be a device"),
        ("8.08", at, &device("\"major\":1"), "linux.devices[0].minor", "missing"),
        ("8.08", at, &device("\"minor\":1"), "linux.devices[0].major", "missing"),
        (
            "8.08",
            at,
            &device("\"major\":-1,\"minor\":1"),
            "linux.devices[0].major",
            "-1 is out of range: 0 to 4095",
        ),
        ("8.08", at, &device("\"major\":4096,\"minor\":1"), "linux.devices[0].major", "out of range"),
        ("8.08", at, &device("\"major\":1,\"minor\":1048576"), "linux.devices[0].minor", "out of range"),
        (
            "12",
            at,
            &device("\"major\":1,\"minor\":1,\"fileMode\":512"),
            "linux.devices[0].fileMode",
            "more than 511",
        ),
        (
            "12",
            at,
            &device("\"major\":1,\"minor\":1,\"fileMode\":25014"), // a block device's type bits
            "linux.devices[0].fileMode",
            "more than 511",
        ),
        (
            "8.08",
            at,
            &device("\"major\":1,\"minor\":1,\"uid\":4294967295"),
            "linux.devices[0].uid",
            "not an id",
        ),
        (
            "8.08",
            at,
            "[{\"type\":\"p\",\"path\":\"/p\"},{\"type\":\"c\",\"path\":\"//p/\",\"major\":1,\"minor\":1}]",
            "linux.devices[1].path",
            "`/p` is given by linux.devices[0] already",
        ),
        ("9.01", rule, "{\"type\":\"p\",\"access\":\"r\"}", "linux.resources.devices[0].type", "a, b or c"),
        ("9.01", rule, "{\"allow\":true}", "linux.resources.devices[0].access", "missing"),
        ("9.01", rule, "{\"access\":\"rx\"}", "linux.resources.devices[0].access", "`rx` has other letters"),
        ("9.01", rule, "{\"access\":\"r\",\"major\":-2}", "linux.resources.devices[0].major", "out of range"),
        (
            "9.01",
            rule,
            "{\"access\":\"r\",\"minor\":4294967296}",
            "linux.resources.devices[0].minor",
            "out of",
        ),
    ]);
}

#[test]
fn network_devices() {
    let at = "/linux/netDevices";
    check(&[
        ("8.12", at, "{\"\":{}}", "linux.netDevices.", "it is empty"),
        ("8.12", at, "{\"a/b\":{}}", "linux.netDevices.a/b", "`a/b` is not the name of an interface"),
        ("8.12", at, "{\"..\":{}}", "linux.netDevices...", "reserved"),
        ("8.12", at, "{\"eth%d\":{}}", "linux.netDevices.eth%d", "`%` cannot be part of it"),
        ("8.12", at, "{\"aaaaaaaaaaaaaaaa\":{}}", "linux.netDevices.aaaaaaaaaaaaaaaa", "longer than 15"),
        ("8.12", at, "{\"a\":{\"name\":\"aaaaaaaaaaaaaaaa\"}}", "linux.netDevices.a.name", "longer than 15"),
        ("8.12", at, "{\"a\":{\"name\":\"b c\"}}", "linux.netDevices.a.name", "spaces"),
        ("8.12", at, "{\"a\":{\"name\":\"e%s\"}}", "linux.netDevices.a.name", "one `%d`"),
        ("8.12", at, "{\"a\":{\"name\":\"e%d%d\"}}", "linux.netDevices.a.name", "one `%d`"),
        (
            "8.12",
            at,
            "{\"a\":{\"name\":\"x\"},\"b\":{\"name\":\"x\"}}",
            "linux.netDevices.b.name",
            "new name of `a`",
        ),
    ]);
    let faults = faults(&config(&[("/linux/namespaces/1/type", "\"time\""), (at, "{\"a\":{}}")]));
    assert!(faults.len() == 1 && faults[0].starts_with("linux.netDevices: needs a network"), "{faults:?}");
}

#[test]
fn the_rest_of_linux() {
    let memory = "/linux/memoryPolicy";
    check(&[
        ("10.02", "/linux/intelRdt/closID", "\"..\"", "linux.intelRdt.closID", "`..` is not"),
        ("10.02", "/linux/intelRdt/closID", "\".\"", "linux.intelRdt.closID", "`.` is not"),
        ("10.02", "/linux/intelRdt/closID", "\"a/b\"", "linux.intelRdt.closID", "`a/b` is not"),
        (
            "10.03",
            "/linux/intelRdt/l3CacheSchema",
            "\"L3:0=f\\n\"",
            "linux.intelRdt.l3CacheSchema",
            "one line",
        ),
        (
            "10.03",
            "/linux/intelRdt/memBwSchema",
            "\"0=f\"",
            "linux.intelRdt.memBwSchema",
            "begins with `MB:`",
        ),
        ("10.03", "/linux/intelRdt/memBwSchema", "\"MB:\\n\"", "linux.intelRdt.memBwSchema", "one line"),
        ("10.03", "/linux/intelRdt/schemata", "[\"a\",\"b\\n\"]", "linux.intelRdt.schemata[1]", "one line"),
        ("10.07", memory, "{}", "linux.memoryPolicy.mode", "missing: one of MPOL_DEFAULT"),
        (
            "10.07",
            memory,
            "{\"mode\":\"INTERLEAVE\"}",
            "linux.memoryPolicy.mode",
            "unknown value `INTERLEAVE`",
        ),
        ("10.07", memory, "{\"mode\":\"MPOL_BIND\"}", "linux.memoryPolicy.nodes", "MPOL_BIND needs nodes"),
        (
            "10.07",
            memory,
            "{\"mode\":\"MPOL_DEFAULT\",\"nodes\":\"0-7\"}",
            "linux.memoryPolicy.nodes",
            "MPOL_DEFAULT takes no nodes, 8 are given",
        ),
        (
            "10.07",
            memory,
            "{\"mode\":\"MPOL_BIND\",\"nodes\":\"9876543210\"}",
            "linux.memoryPolicy.nodes",
            "9876543210 is out of range",
        ),
        (
            "10.07",
            memory,
            "{\"mode\":\"MPOL_LOCAL\",\"flags\":[\"x\"]}",
            "linux.memoryPolicy.flags[0]",
            "`x`",
        ),
        ("10.17", "/linux/rootfsPropagation", "\"x\"", "linux.rootfsPropagation", "unknown propagation `x`"),
        ("10.18", "/linux/maskedPaths", "[\"proc\"]", "linux.maskedPaths[0]", "not absolute"),
        ("10.19", "/linux/readonlyPaths", "[\"/a\",\"\"]", "linux.readonlyPaths[1]", "not absolute"),
        ("10.21", "/linux/personality", "{}", "linux.personality.domain", "missing: one of LINUX, LINUX32"),
        (
            "10.21",
            "/linux/personality/domain",
            "\"linux\"",
            "linux.personality.domain",
            "unknown value `linux`",
        ),
        (
            "10.21",
            "/linux/personality",
            "{\"domain\":\"LINUX\",\"flags\":[\"x\"]}",
            "linux.personality.flags",
            "no flags are supported",
        ),
    ]);
}

#[test]
fn sysctls() {
    let one = |key: &str| faults(&config(&[("/linux/sysctl", &format!("{{\"{key}\":\"1\"}}"))]));
    for (key, text) in [
        ("kernel.panic", "belongs to the whole machine"),
        ("vm.swappiness", "belongs to the whole machine"),
        ("fs.mqueuex.a", "belongs to the whole machine"),
        ("kernel.shmall.x", "belongs to the whole machine"),
        ("netx.a", "belongs to the whole machine"),
        ("net/../kernel/panic", "not the name of a sysctl"),
        ("net.//.kernel.panic", "not the name of a sysctl"),
        ("net..a", "not the name of a sysctl"),
        ("net.", "not the name of a sysctl"),
        ("net.a b", "not the name of a sysctl"),
        ("", "not the name of a sysctl"),
        ("kernel.hostname", "set `hostname` instead"),
        ("user.max_user_namespaces", "needs a user namespace"),
    ] {
        let faults = one(key);
        assert!(faults.len() == 1 && faults[0].contains(text), "{key}: {faults:?}");
        assert!(faults[0].starts_with(&format!("linux.sysctl.{key}: ")), "{faults:?}");
    }
    for (kind, key) in
        [("network", "net.ipv4.ip_forward"), ("ipc", "kernel.sem"), ("ipc", "fs.mqueue.msg_max")]
    {
        let index = if kind == "network" { 1 } else { 2 };
        let pointer = format!("/linux/namespaces/{index}/type");
        let faults =
            faults(&config(&[(&pointer, "\"time\""), ("/linux/sysctl", &format!("{{\"{key}\":\"1\"}}"))]));
        assert!(faults.len() == 1 && faults[0].contains(&format!("needs a {kind} namespace")), "{faults:?}");
    }
    let both = "{\"net.ipv4.ip_forward\":\"1\",\"net/ipv4/ip_forward\":\"0\"}";
    assert!(faults(&config(&[("/linux/sysctl", both)]))[0].contains("given twice"));
    let faults =
        faults(&config(&[("/domainname", "\"d\""), ("/linux/sysctl", "{\"kernel.domainname\":\"e\"}")]));
    assert!(faults.len() == 1 && faults[0].contains("contradicts `domainname`"), "{faults:?}");
}

#[test]
fn paths_and_propagation_need_a_mount_namespace() {
    let propagation = ("/linux/rootfsPropagation", "\"shared\"");
    let faults = faults(&config(&[("/linux/namespaces/4/type", "\"time\""), propagation]));
    assert_eq!(faults.len(), 3, "{faults:?}");
    for (fault, path) in faults.iter().zip(["rootfsPropagation", "maskedPaths", "readonlyPaths"]) {
        assert!(fault.starts_with(&format!("linux.{path}: needs a mount namespace")), "{fault}");
    }
}
