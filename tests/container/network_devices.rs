//! linux.netDevices: devices of the host that the container gets. The runtime runs in a network
//! namespace of the test, with devices of the test; those of the machine are never touched.

use crate::config;
use crate::harness::{Outcome, Sandbox, host_command, is_oxrun};
use serde_json::json;
use std::sync::atomic::{AtomicU32, Ordering};

/// A network namespace with a pair of veth devices, `left` and `right`.
struct Network {
    name: String,
}

impl Network {
    fn new() -> Network {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::SeqCst);
        let network = Network { name: format!("oxt-{}-{number}", std::process::id()) };
        host_command("ip", &["netns", "add", &network.name]).ok();
        network.ip(&[
            "link",
            "add",
            "left",
            "address",
            "02:00:00:00:00:01",
            "type",
            "veth",
            "peer",
            "name",
            "right",
        ]);
        network
    }

    #[track_caller]
    fn ip(&self, args: &[&str]) -> String {
        let words = [&["-n", self.name.as_str()], args].concat();
        host_command("ip", &words).ok().stdout
    }

    /// `left` with addresses of three kinds, its own MTU, and up.
    fn dress_left(&self) {
        self.ip(&["link", "set", "left", "mtu", "1400", "up"]);
        self.ip(&["link", "set", "right", "up"]);
        for address in ["192.0.2.5/24", "192.0.2.6/24", "198.51.100.1/32"] {
            self.ip(&["addr", "add", address, "dev", "left"]);
        }
        self.ip(&["addr", "add", "10.9.9.9/8", "scope", "link", "dev", "left"]);
        self.ip(&["addr", "add", "2001:db8::5/64", "nodad", "dev", "left"]);
    }

    fn devices(&self) -> String {
        self.ip(&["-o", "link"])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        host_command("ip", &["netns", "del", &self.name]);
    }
}

fn give(t: &mut Sandbox, devices: serde_json::Value) {
    t.config["ociVersion"] = json!("1.3.0");
    t.config["linux"]["netDevices"] = devices;
    // A sysfs of the container's network namespace, and its own words.
    t.config["process"]["args"] = json!(["sh", "-c", "ip addr; ip -6 addr"]);
}

#[track_caller]
fn run_in(t: &Sandbox, network: &Network) -> Outcome {
    t.write_config();
    t.spawn(t.in_network(&network.name, &["run", &t.id])).wait()
}

macro_rules! only_oxrun {
    () => {
        if !is_oxrun() {
            skip!("network devices are newer than this runtime");
        }
    };
}

#[test]
fn device_arrives_renamed_with_addresses_and_up() {
    only_oxrun!();
    let (mut t, network) = (Sandbox::new(), Network::new());
    network.dress_left();
    give(&mut t, json!({"left": {"name": "net7"}}));
    let seen = run_in(&t, &network).ok().stdout;
    let link = seen.lines().find(|l| l.contains(": net7@")).unwrap_or_else(|| panic!("{seen}"));
    assert!(link.contains("mtu 1400") && link.contains(",UP"), "{link}");
    for words in ["02:00:00:00:00:01", "192.0.2.5/24", "192.0.2.6/24", "198.51.100.1/32", "2001:db8::5/64"] {
        assert!(seen.contains(words), "{words} is lost: {seen}");
    }
    assert!(!seen.contains("10.9.9.9"), "only global addresses are kept: {seen}");
    assert!(!seen.contains("left") && !seen.contains("right"), "{seen}");
    t.assert_clean();
}

#[test]
fn name_is_kept_when_none_is_given() {
    only_oxrun!();
    let (mut t, network) = (Sandbox::new(), Network::new());
    give(&mut t, json!({"left": {}, "right": {"name": ""}}));
    let seen = run_in(&t, &network).ok().stdout;
    assert!(seen.contains(": left@") && seen.contains(": right@"), "{seen}");
    assert!(!network.devices().contains("left"));
}

#[test]
fn kernel_chooses_the_number() {
    only_oxrun!();
    let (mut t, network) = (Sandbox::new(), Network::new());
    give(&mut t, json!({"left": {"name": "eth%d"}, "right": {"name": "eth%d"}}));
    let seen = run_in(&t, &network).ok().stdout;
    assert!(seen.contains(": eth0@eth1") && seen.contains(": eth1@eth0"), "{seen}");
}

#[test]
fn sysctls_can_be_about_the_device() {
    only_oxrun!();
    let (mut t, network) = (Sandbox::new(), Network::new());
    give(&mut t, json!({"left": {"name": "net7"}}));
    t.config["linux"]["sysctl"] = json!({"net.ipv4.conf.net7.log_martians": "1"});
    t.args(&["cat", "/proc/sys/net/ipv4/conf/net7/log_martians"]);
    assert_eq!(run_in(&t, &network).ok().stdout, "1\n");
}

#[test]
fn user_namespace_and_joined_namespaces_get_devices_too() {
    only_oxrun!();
    let (mut t, network) = (Sandbox::new(), Network::new());
    give(&mut t, json!({"left": {"name": "net7"}}));
    t.map_users(100_000);
    let seen = run_in(&t, &network).ok().stdout;
    assert!(seen.contains(": net7@"), "{seen}");

    let (mut t, other) = (Sandbox::new(), Network::new());
    other.dress_left();
    give(&mut t, json!({"left": {"name": "net7"}}));
    let joined = Network::new();
    config::add_namespace(&mut t.config, "network", &format!("/run/netns/{}", joined.name));
    let seen = run_in(&t, &other).ok().stdout;
    assert!(seen.contains(": net7@") && seen.contains("192.0.2.5/24"), "{seen}");
    t.assert_clean();
    assert!(joined.devices().contains(": net7@"), "delete does not move devices back");
}

#[test]
fn deleted_container_takes_its_devices_along() {
    only_oxrun!();
    let (mut t, network) = (Sandbox::new(), Network::new());
    give(&mut t, json!({"left": {}}));
    t.args(&["sleep", "5000"]);
    t.write_config();
    t.spawn(t.in_network(&network.name, &["create", &t.id])).wait().ok();
    assert!(!network.devices().contains(" left@"), "{}", network.devices());
    t.finish();
    let left = || network.devices().contains("left");
    // The kernel ends a network namespace, and virtual devices with it, a little later.
    crate::harness::wait_until("the end of the device", || !network.devices().contains("right"));
    assert!(!left());
}

#[test]
fn failing_create_puts_devices_back() {
    only_oxrun!();
    let (mut t, network) = (Sandbox::new(), Network::new());
    network.dress_left();
    let before = network.ip(&["-o", "addr", "show", "left", "scope", "global"]);
    give(&mut t, json!({"left": {"name": "net7"}, "right": {"name": "net8"}}));
    t.config["linux"]["sysctl"] = json!({"net.ipv4.conf.net7.log_martians": "nonsense"});
    run_in(&t, &network).failed().says(&["log_martians"]).one_line();
    t.assert_clean();
    let words = |text: &str| text.split_whitespace().map(str::to_string).collect::<Vec<_>>();
    let strip = |text: &str| words(text).into_iter().filter(|w| !w.ends_with(':')).collect::<Vec<_>>();
    assert_eq!(strip(&network.ip(&["-o", "addr", "show", "left", "scope", "global"])), strip(&before));
    assert!(
        network.devices().lines().any(|l| l.contains(": right@left") && l.contains(",UP")),
        "{}",
        network.devices()
    );
}

#[test]
fn second_device_fails_and_the_first_returns() {
    only_oxrun!();
    let (mut t, network) = (Sandbox::new(), Network::new());
    give(&mut t, json!({"left": {"name": "net7"}, "missing": {}}));
    let said = run_in(&t, &network).failed().one_line();
    said.says(&["linux.netDevices.missing"]).says(&["there is no such device"]);
    assert!(network.devices().contains(": left@right"), "{}", network.devices());
    t.assert_clean();
}

#[test]
fn name_that_exists_there() {
    only_oxrun!();
    let (mut t, network) = (Sandbox::new(), Network::new());
    give(&mut t, json!({"left": {"name": "lo"}}));
    run_in(&t, &network).failed().says(&["linux.netDevices.left): a device named `lo` exists there"]);
    let joined = Network::new();
    config::add_namespace(&mut t.config, "network", &format!("/run/netns/{}", joined.name));
    give(&mut t, json!({"left": {}}));
    run_in(&t, &network).failed().says(&["a device named `left` exists there"]);
    assert!(network.devices().contains(": left@right"));
    t.assert_clean();
}

#[test]
fn devices_that_cannot_be_moved() {
    only_oxrun!();
    let (mut t, network) = (Sandbox::new(), Network::new());
    give(&mut t, json!({"lo": {"name": "other"}}));
    run_in(&t, &network).failed().says(&["linux.netDevices.lo): move it: "]).one_line();
    give(&mut t, json!({"left": {}}));
    config::add_namespace(&mut t.config, "network", &format!("/run/netns/{}", network.name));
    run_in(&t, &network)
        .failed()
        .says(&["linux.netDevices: the container's network namespace is the host's"]);
    config::drop_namespace(&mut t.config, "network");
    run_in(&t, &network).failed().says(&["linux.netDevices: needs a network namespace"]);
    t.assert_clean();
}
