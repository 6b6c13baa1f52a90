//! The errors of giving network devices to a container, in a network namespace of the test.

use crate::config;
use crate::errors::cause_in;
use crate::harness::{Sandbox, host_command};
use serde_json::json;
use std::process::Command;

fn network(t: &Sandbox) -> String {
    t.id.replace("oxt-", "oxe-")
}

/// In the namespace, where a device `left` is made when it is missing.
fn inside(t: &Sandbox, words: &[&str]) -> Command {
    let network = network(t);
    host_command("ip", &["-n", &network, "link", "del", "right"]);
    crate::harness::wait_until("a network device", || {
        let add = ["-n", &network, "link", "add", "left", "type", "veth", "peer", "right"];
        host_command("ip", &add).code == 0
    });
    host_command("ip", &["-n", &network, "address", "add", "192.0.2.7/24", "dev", "left"]).ok();
    t.in_network(&network, words)
}

#[test]
fn devices() {
    let mut name = String::new();
    let table = r"
        nothing: create ID ! host open /proc/self/ns/net = EMFILE
            linux.netDevices: open the network namespace: too many open files
        nothing: create ID ! host socket #1 = EMFILE
            linux.netDevices: open an rtnetlink socket: too many open files
        nothing: create ID ! host setsockopt = ENOMEM
            linux.netDevices: set up the rtnetlink socket: cannot allocate memory
        nothing: create ID ! host fstat ] = EIO
            linux.netDevices: look at a network namespace: input/output error
        nothing: create ID ! host setns = EPERM
            linux.netDevices: enter the container's network namespace (this needs root on the host): operation not permitted
        nothing: create ID ! host setns #1 = EPERM
            linux.netDevices: return to the host's network namespace: operation not permitted
        nothing: create ID ! host ioctl = EIO
            look up `left`: input/output error
        nothing: create ID ! host ioctl #2 = ENODEV
            (linux.netDevices.left): it is not where it was moved to
        nothing: create ID ! host sendto #0 = ENOBUFS
            (linux.netDevices.left): read its addresses: no buffer space available
        nothing: create ID ! host sendto #1 = ENOBUFS
            (linux.netDevices.left): read its flags: no buffer space available
        nothing: create ID ! host sendto #2 = ENOBUFS
            (linux.netDevices.left): move it: no buffer space available
        nothing: create ID ! host sendto #3 = ENOBUFS
            (linux.netDevices.left): rename it to `eth7`: no buffer space available
        nothing: create ID ! host sendto #4 = ENOBUFS
            (linux.netDevices.left): give it the addresses that it had: no buffer space available
        nothing: create ID ! host sendto #5 = ENOBUFS
            (linux.netDevices.left): set it up: no buffer space available
        ";
    let change = |t: &mut Sandbox| {
        name = network(t);
        host_command("ip", &["netns", "add", &name]).ok();
        t.config["linux"]["netDevices"] = json!({"left": {"name": "eth7"}});
    };
    let caused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cause_in(table, change, inside)));
    host_command("ip", &["netns", "del", &name]);
    if let Err(panic) = caused {
        std::panic::resume_unwind(panic);
    }
}

/// The sysfs of a network that the container's user namespace does not own is mounted by the host side.
#[test]
fn sysfs_of_the_host_s_network() {
    let table = r"
        nothing: create ID ! host open /proc/self/ns/net #1 = EMFILE
            keep the network namespace: too many open files
        nothing: create ID ! host setns #2 = EPERM
            enter the container's network namespace: operation not permitted
        nothing: create ID ! host setns #3 = EPERM
            return to the host's network namespace: operation not permitted
        ";
    let mut name = String::new();
    let change = |t: &mut Sandbox| {
        name = network(t);
        host_command("ip", &["netns", "add", &name]).ok();
        t.map_users(100_000);
        config::add_namespace(&mut t.config, "network", &format!("/run/netns/{name}"));
    };
    let caused =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cause_in(table, change, Sandbox::command)));
    host_command("ip", &["netns", "del", &name]);
    if let Err(panic) = caused {
        std::panic::resume_unwind(panic);
    }
}
