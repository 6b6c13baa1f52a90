//! What is said when systemd refuses, or does something else than it should: against a manager that does so
//! on purpose (`fake_systemd`). The real one is in `systemd`.

use crate::fake_systemd::{self, Answer};
use crate::harness::{Sandbox, is_oxrun};
use crate::host;
use serde_json::json;

macro_rules! needs_cgroup_v1 {
    () => {
        if !is_oxrun() {
            skip!("texts of oxrun");
        }
        if host::is_cgroup_v2() {
            skip!("the cgroup of such a unit would be systemd's to make");
        }
    };
}

fn sandbox() -> Sandbox {
    let mut t = Sandbox::new();
    t.config["linux"]["cgroupsPath"] = json!(format!("system.slice:oxt:{}", t.id));
    t.args(&["payload", "sleep", "5000"]);
    t.write_config();
    t
}

/// Where the unit's cgroup is said to be.
fn cgroup(t: &Sandbox) -> String {
    format!("/{}fake", t.id)
}

#[test]
fn a_start_that_systemd_refuses() {
    needs_cgroup_v1!();
    let table = [
        ("StartTransientUnit", Answer::Error("NoSuchUnit", "no luck today"), "no luck today"),
        ("StartTransientUnit", Answer::Error("LoadFailed", ""), "org.freedesktop.systemd1.LoadFailed"),
        (
            "StartTransientUnit",
            Answer::Error("UnitExists", "unit was already loaded"),
            "choose another linux.cgroupsPath or stop the unit: unit was already loaded",
        ),
        ("StartTransientUnit", Answer::Job("failed"), "its start job ended as `failed`: see `journalctl -u"),
        ("StartTransientUnit", Answer::Number, "systemd answered with `u` instead of a text"),
        ("StartTransientUnit", Answer::Hangup, "ended the connection instead of the start to be accepted"),
        ("StartTransientUnit", Answer::Garbage, "systemd sent something that is no D-Bus message"),
        ("Get", Answer::Number, "systemd answered with `u` instead of a text"),
        ("Get", Answer::Error("NoSuchUnit", "gone"), "gone"),
    ];
    for (bad, answer, says) in table {
        let t = sandbox();
        fake_systemd::start(&t, &cgroup(&t), move |method, _| match method == bad {
            true => answer.clone(),
            false => Answer::Good,
        });
        let outcome =
            t.spawn(fake_systemd::command(&t, &["--systemd-cgroup", "create", &t.id])).wait().failed();
        outcome.says(&[says]).says(&[&format!("start systemd unit `oxt-{}.scope`: ", t.id)]).one_line();
        t.assert_clean();
    }
    let t = sandbox();
    fake_systemd::start(&t, "", |_, _| Answer::Good);
    let outcome = t.spawn(fake_systemd::command(&t, &["--systemd-cgroup", "create", &t.id])).wait().failed();
    outcome.says(&["systemd made no cgroup for it"]).one_line();
    t.assert_clean();
}

/// The container is made by one answer after the other, and then systemd changes its mind.
#[test]
fn later_calls_that_systemd_refuses() {
    needs_cgroup_v1!();
    let t = sandbox();
    fake_systemd::start(&t, &cgroup(&t), |method, earlier| match (method, earlier) {
        ("SetUnitProperties", _) => Answer::Error("NoSuchUnit", "no such property"),
        ("StopUnit", 0) => Answer::Error("NotSupported", "not today"),
        ("StopUnit", _) => Answer::Error("NoSuchUnit", "it has gone"),
        _ => Answer::Good,
    });
    let call = |words: &[&str]| t.spawn(fake_systemd::command(&t, words)).wait();
    call(&["--systemd-cgroup", "create", &t.id]).ok();
    let unit = format!("systemd unit `oxt-{}.scope`", t.id);
    let update = call(&["update", "--pids-limit", "77", &t.id]).failed().one_line();
    update.says(&[&format!("set properties of {unit}: no such property")]);
    let deleted = call(&["delete", "--force", &t.id]).failed().one_line();
    deleted.says(&[&format!("stop {unit}: not today")]);
    call(&["delete", "--force", &t.id]).ok();
    t.assert_clean();
}
