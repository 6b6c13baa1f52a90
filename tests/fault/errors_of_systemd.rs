//! The errors of asking systemd for a cgroup, with a manager of the test in its place.

use crate::errors::cause_in;
use crate::fake_systemd::{self, Answer};
use crate::harness::Sandbox;
use crate::host;
use serde_json::json;

#[test]
fn unit() {
    if host::is_cgroup_v2() {
        return crate::note_skip("the cgroup of such a unit would be systemd's to make");
    }
    let table = r"
        nothing: --systemd-cgroup create ID ! host socket = EMFILE
            make a socket: too many open files
        nothing: --systemd-cgroup create ID ! host recvfrom = ENOMEM
            receive from `/run/systemd/private`: cannot allocate memory
        nothing: --systemd-cgroup create ID ! host pipe2 = EMFILE
            make a pipe: too many open files
        nothing: --systemd-cgroup create ID ! host clone3 = EAGAIN
            clone the first process of the unit: resource temporarily unavailable
        ";
    let change = |t: &mut Sandbox| {
        t.config["linux"]["cgroupsPath"] = json!(format!("system.slice:oxt:{}", t.id));
        fake_systemd::start(t, &format!("/{}fake", t.id), |_, _| Answer::Good);
    };
    cause_in(table, change, fake_systemd::command);
}
