//! Sizes at the edge, on the real kernel: many variables, long strings, many mounts.

use crate::config;
use crate::harness::Sandbox;
use serde_json::json;

#[test]
fn ten_thousand_variables_arrive() {
    let mut t = Sandbox::new();
    let env: Vec<String> = (0..10_000).map(|i| format!("V{i}={i}")).collect();
    t.config["process"]["env"] = json!(env);
    let report = t.report();
    let seen = report["env"].as_array().unwrap();
    let own = seen.iter().filter(|line| line.as_str().is_some_and(|line| line.starts_with('V')));
    assert_eq!(own.count(), 10_000);
}

#[test]
fn strings_of_64_kib_arrive_or_are_named() {
    let mut t = Sandbox::new();
    let long = "x".repeat(64 << 10);
    t.config["process"]["env"] = json!(["PATH=/bin", format!("LONG={long}")]);
    t.config["annotations"] = json!({"org.example.long": long});
    let report = t.report();
    let seen = report["env"].as_array().unwrap().iter().filter_map(|line| line.as_str());
    assert!(seen.into_iter().any(|line| line.len() == (64 << 10) + 5), "the variable is cut");
    t.args(&["payload", "sleep", "5000", &long]);
    t.create().ok();
    assert_eq!(t.state()["annotations"]["org.example.long"], long);
    t.finish();
    for (pointer, name) in [("/process/cwd", "cwd"), ("/root/path", "root"), ("/hostname", "hostname")] {
        let mut t = Sandbox::new();
        t.args(&["true"]);
        *t.config.pointer_mut(pointer).unwrap() = json!(format!("/{long}"));
        let outcome = t.run().failed();
        assert!(
            outcome.stderr.contains(name) || outcome.stderr.contains("too long"),
            "{}",
            &outcome.stderr[..200]
        );
        t.assert_clean();
    }
}

#[test]
fn a_thousand_mounts_are_made_in_order() {
    let mut t = Sandbox::new();
    for i in 0..1_000 {
        // Each lies in the one before of the same ten, so the order matters.
        let destination = format!(
            "/many/{}",
            (0..=i / 100).map(|d| format!("{}", d * 100 + i % 100)).collect::<Vec<_>>().join("/")
        );
        config::add_mount(&mut t.config, &destination, "tmpfs", "tmpfs", &["mode=755", "size=64k"]);
    }
    let report = t.report();
    let seen = report["mounts"].as_array().unwrap();
    let own = seen.iter().filter(|m| m["point"].as_str().is_some_and(|point| point.starts_with("/many/")));
    assert_eq!(own.count(), 1_000);
    t.assert_clean();
}
