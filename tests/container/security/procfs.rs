//! Writes that must reach the real procfs, whatever is mounted (R3, R4, R15).

use super::{everywhere, safe};
use crate::config;
use crate::harness::{Sandbox, is_oxrun};
use serde_json::json;
use std::fs;

#[test]
fn label_writes_need_a_real_proc() {
    if !is_oxrun() {
        skip!("another runtime accepts some of these mounts");
    }
    let mut t = Sandbox::new();
    let fake = t.path("fake");
    fs::create_dir_all(format!("{fake}/self/attr")).unwrap();
    fs::write(format!("{fake}/self/attr/exec"), "").unwrap();
    config::add_mount(&mut t.config, "/proc", "bind", &fake, &["bind"]);
    t.args(&["true"]);
    t.create().failed().one_line();
    t.assert_clean();
    let mut t = Sandbox::new();
    config::add_mount(&mut t.config, "/proc/self/attr", "tmpfs", "tmpfs", &[]);
    t.args(&["true"]);
    t.create().failed().one_line();
    t.assert_clean();
}

#[test]
fn sysctls_are_written_to_the_real_proc() {
    let mut t = Sandbox::new();
    t.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    // The image's own /proc holds a file of that name.
    fs::create_dir_all(t.rootfs().join("proc/sys/net/ipv4")).unwrap();
    fs::write(t.rootfs().join("proc/sys/net/ipv4/ip_forward"), "image").unwrap();
    config::drop_mount(&mut t.config, "/proc");
    t.config["linux"]["maskedPaths"] = json!([]);
    t.config["linux"]["readonlyPaths"] = json!([]);
    let outcome = t.run_args(&["true"]);
    if !is_oxrun() {
        skip!("another runtime cannot do without /proc");
    }
    outcome.ok();
    assert_eq!(fs::read_to_string(t.rootfs().join("proc/sys/net/ipv4/ip_forward")).unwrap(), "image");
}

#[test]
fn nothing_may_cover_proc_in_any_variant() {
    if !is_oxrun() {
        skip!("another runtime accepts some of these mounts");
    }
    everywhere(|t, _, _| {
        let fake = t.path("fake");
        fs::create_dir_all(format!("{fake}/self/attr")).unwrap();
        fs::write(format!("{fake}/self/attr/exec"), "").unwrap();
        let file = t.path("fake/self/attr/exec");
        for (destination, kind, source) in [
            ("/proc", "bind", fake.as_str()),
            ("/proc", "tmpfs", "tmpfs"),
            ("/proc/self/attr", "tmpfs", "tmpfs"),
            ("/proc/sys", "tmpfs", "tmpfs"),
            ("/proc/sys/net", "bind", &fake),
            ("/proc/sysrq-trigger", "bind", &file),
            ("/proc/self/attr/exec", "bind", &file),
            ("/proc/../proc/./self/attr", "tmpfs", "tmpfs"),
        ] {
            let good = t.config.clone();
            config::add_mount(
                &mut t.config,
                destination,
                kind,
                source,
                &["rbind"][..usize::from(kind == "bind")],
            );
            t.args(&["true"]);
            let outcome = t.create().failed().one_line();
            assert!(!outcome.stderr.is_empty(), "{destination}");
            t.config = good;
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "");
        safe(t.run_args(&["true"]));
    });
}
