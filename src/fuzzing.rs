//! What the fuzz targets in `fuzz/` call: each reader of bytes that oxrun did not write itself, with what
//! must hold for any input. Built by cargo-fuzz alone (`cfg(fuzzing)`); never part of the binary.

use crate::bundle::{self, Host, Options, Problems, Warnings, spec};
use crate::container::state::State;
use crate::init::identity;

/// Machines to lower for: root on the host, root in a user namespace, an ordinary user; v1 and v2.
fn hosts() -> [Host; 3] {
    let host =
        |euid, in_user_namespace, cgroup_v2| Host { euid, in_user_namespace, cgroup_v2, last_capability: 40 };
    [host(0, false, false), host(0, true, true), host(1000, false, true)]
}

/// Problems are lines: each has a text, and neither path nor text breaks the line or a terminal.
fn check(problems: &Problems) {
    assert!(!problems.is_empty(), "refused without a reason");
    let shown = problems.to_string();
    assert!(!shown.is_empty() && !shown.contains(['\n', '\r', '\x1b', '\0']), "{shown:?}");
}

/// config.json to Plan.
pub fn config(data: &[u8]) {
    let spec = match bundle::parse::<spec::Spec>(data) {
        Ok(spec) => spec,
        Err(problems) => return check(&problems),
    };
    let again = serde_json::to_vec(&spec).ok().and_then(|text| bundle::parse::<spec::Spec>(&text).ok());
    assert!(again.is_some_and(|again| again == spec), "what was read is not what is written: {spec:?}");
    let options = Options { bundle: "/bundle".into(), ..Options::default() };
    for host in hosts() {
        if let Err(problems) = bundle::lower(&spec, &options, &host) {
            check(&problems);
        }
    }
}

/// process.json to Process.
pub fn process(data: &[u8]) {
    let process = match bundle::parse::<spec::Process>(data) {
        Ok(process) => process,
        Err(problems) => return check(&problems),
    };
    for host in hosts() {
        let (mut problems, mut warnings) = (Problems::default(), Warnings::default());
        let lowered = bundle::lower_process(&process, "", &host, &mut problems, &mut warnings);
        if problems.is_empty() {
            assert!(!lowered.args.is_empty(), "{process:?}");
        } else {
            check(&problems);
        }
    }
}

/// state.json: what is read survives being written.
pub fn state(data: &[u8]) {
    if let Ok(state) = serde_json::from_slice::<State>(data) {
        let again =
            serde_json::to_vec(&state).ok().and_then(|text| serde_json::from_slice::<State>(&text).ok());
        assert_eq!(again.as_ref(), Some(&state));
        let _ = crate::container::statedir::check_id(&state.id);
    }
}

/// A seccomp profile to BPF, executed; and a filter given as BPF.
pub fn seccomp(data: &[u8]) {
    crate::seccomp::fuzzing::fuzz(data);
    let _ = std::str::from_utf8(data).map(crate::seccomp::fuzzing::fuzz_raw);
}

/// Mount options: one per line.
pub fn mount_options(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let options: Vec<String> = text.split('\n').map(str::to_string).collect();
    bundle::fuzz_mount_options(&options);
}

/// cgroup files, mountinfo, and the lists of config.json that end in them.
pub fn cgroup_files(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    crate::cgroup::fuzz_files(text);
    if let Ok(list) = bundle::lists::parse_list(text, 8192) {
        assert!(list.iter().all(|n| *n < 8192), "{list:?}");
    }
}

/// Messages of a service manager or bus.
pub fn dbus(data: &[u8]) {
    crate::cgroup::fuzz_dbus(data);
}

/// Messages of init, datagrams of NOTIFY_SOCKET, and the image's passwd file.
pub fn messages(data: &[u8]) {
    crate::init::sync::fuzz(data);
    let _ = crate::container::notify::fuzz(data);
    let home = identity::home(&String::from_utf8_lossy(data), 1000);
    assert!(!home.is_empty() && !home.contains('\n'), "{home:?}");
}
