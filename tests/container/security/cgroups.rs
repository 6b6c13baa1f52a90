//! Control groups from inside (R5, R18).

use super::{everywhere, safe};
use crate::{config, host};
use serde_json::Value;

#[test]
fn control_groups_cannot_be_written_from_inside() {
    everywhere(|t, _, owner| {
        config::drop_namespace(&mut t.config, "cgroup");
        if owner != super::Owner::Rootless {
            config::set_capabilities(&mut t.config, &["CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"]);
        }
        let top = if host::is_cgroup_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/pids" };
        let words = [
            format!("mkdir {top}/oxrun-made"),
            format!("write {top}/cgroup.procs 1"),
            format!("write {top}/release_agent /bin/sh"),
            format!("write {top}/notify_on_release 1"),
        ];
        let mut args = vec!["payload", "do"];
        args.extend(words.iter().map(String::as_str));
        let outcome = safe(t.run_args(&args));
        if outcome.code == 0 {
            let result: Value = outcome.json();
            assert!(result.as_array().unwrap().iter().all(|answer| answer["err"].is_string()), "{result}");
        }
    });
}
