//! The machine in a few words: nothing that names it or its users.

use std::fs;

/// Lines for the report.
pub fn describe() -> Vec<(&'static str, String)> {
    vec![
        ("Processor", processor()),
        ("Memory", memory()),
        ("Kernel", kernel()),
        ("Distribution", distribution()),
        ("Control groups", cgroups().to_string()),
    ]
}

fn field(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_once([':', '=']).map(|(_, value)| value.trim().trim_matches('"').to_string())
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = field(&text, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_string());
    let count = text.lines().filter(|line| line.starts_with("processor")).count();
    let virtual_machine = field(&text, "flags").is_some_and(|f| f.split(' ').any(|f| f == "hypervisor"));
    format!("{count} × {model}{}", if virtual_machine { ", a virtual machine" } else { "" })
}

fn memory() -> String {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: f64 =
        field(&text, "MemTotal").and_then(|v| v.split(' ').next()?.parse().ok()).unwrap_or_default();
    format!("{:.0} GiB", kib / 1_048_576.0)
}

fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // What follows the version may name the machine's owner.
    release.trim().split('-').next().unwrap_or("").to_string()
}

fn distribution() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    field(&text, "PRETTY_NAME").unwrap_or_default()
}

fn cgroups() -> &'static str {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let has = |kind: &str| mounts.lines().any(|line| line.contains(&format!(" - {kind} ")));
    match (has("cgroup"), has("cgroup2")) {
        (true, true) => "v1 with cgroup2 beside it (hybrid)",
        (true, false) => "v1",
        (false, true) => "v2",
        _ => "none",
    }
}
