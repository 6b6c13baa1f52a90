//! The config.json that `oxrun spec` writes: one template, and what differs for a caller that is
//! not root.

/// The template; `@…@` are the places where the two kinds differ.
const TEMPLATE: &str = include_str!("default_spec.json");

const PTS_GROUP: &str = ",\n\t\t\t\t\"gid=5\"";

const SYSFS: &str = "\t\t\t\"type\": \"sysfs\",\n\t\t\t\"source\": \"sysfs\",\n\t\t\t\"options\": [\n";

const SYS_BIND: &str =
    "\t\t\t\"type\": \"none\",\n\t\t\t\"source\": \"/sys\",\n\t\t\t\"options\": [\n\t\t\t\t\"rbind\",\n";

const NETWORK: &str = "\t\t\t{\n\t\t\t\t\"type\": \"network\"\n\t\t\t},\n";

const DENY_DEVICES: &str = "\t\t\"resources\": {\n\t\t\t\"devices\": [\n\t\t\t\t{\n\t\t\t\t\t\"allow\": false,\n\
    \t\t\t\t\t\"access\": \"rwm\"\n\t\t\t\t}\n\t\t\t]\n\t\t},\n";

/// The default configuration as JSON, indented by tabs. `rootless` has the user and group id that
/// become root in the container; `cgroup_v2` adds a cgroup namespace.
pub fn default_spec(rootless: Option<(u32, u32)>, cgroup_v2: bool) -> String {
    let mut namespaces = String::new();
    if cgroup_v2 {
        namespaces += &namespace("cgroup");
    }
    let text = match rootless {
        None => TEMPLATE
            .replace("@PTS_GROUP@", PTS_GROUP)
            .replace("@SYS@", SYSFS)
            .replace("@NETWORK@", NETWORK)
            .replace("@RESOURCES@", DENY_DEVICES),
        Some((uid, gid)) => {
            namespaces += &namespace("user");
            let maps = [map("uidMappings", uid), map("gidMappings", gid)].concat();
            TEMPLATE
                .replace("@PTS_GROUP@", "")
                .replace("@SYS@", SYS_BIND)
                .replace("@NETWORK@", "")
                .replace("@RESOURCES@", &maps)
        }
    };
    text.replace("@NAMESPACES@", &namespaces)
}

fn namespace(kind: &str) -> String {
    format!(",\n\t\t\t{{\n\t\t\t\t\"type\": \"{kind}\"\n\t\t\t}}")
}

fn map(name: &str, host: u32) -> String {
    format!(
        "\t\t\"{name}\": [\n\t\t\t{{\n\t\t\t\t\"containerID\": 0,\n\t\t\t\t\"hostID\": {host},\n\
         \t\t\t\t\"size\": 1\n\t\t\t}}\n\t\t],\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::plan::NamespaceKind;
    use crate::bundle::{Host, Options, lower, parse};

    const HOST: Host = Host { euid: 0, in_user_namespace: false, cgroup_v2: true, last_capability: 40 };

    fn check(rootless: Option<(u32, u32)>, cgroup_v2: bool, expected: &[NamespaceKind]) {
        let text = default_spec(rootless, cgroup_v2);
        assert!(!text.contains('@') && text.contains("\n\t\"process\": {\n"), "{text}");
        let spec = parse(text.as_bytes()).unwrap();
        let plan = lower(&spec, &Options::default(), &HOST).unwrap();
        assert_eq!(plan.namespaces.create, expected);
        assert_eq!(plan.warnings, Vec::<String>::new());
    }

    #[test]
    fn every_form_is_a_valid_config() {
        use NamespaceKind::*;
        check(None, false, &[Pid, Network, Ipc, Uts, Mount]);
        check(None, true, &[Pid, Network, Ipc, Uts, Mount, Cgroup]);
        check(Some((1000, 100)), false, &[Pid, Ipc, Uts, Mount, User]);
        check(Some((1000, 100)), true, &[Pid, Ipc, Uts, Mount, Cgroup, User]);
    }

    #[test]
    fn rootless_maps_the_caller_to_root() {
        let text = default_spec(Some((1000, 100)), true);
        let spec: crate::bundle::spec::Spec = parse(text.as_bytes()).unwrap();
        let map = |m: &crate::bundle::spec::IdMapping| (m.container_id, m.host_id, m.size);
        assert_eq!(map(&spec.linux.uid_mappings[0]), (Some(0), Some(1000), Some(1)));
        assert_eq!(map(&spec.linux.gid_mappings[0]), (Some(0), Some(100), Some(1)));
        assert!(spec.linux.resources.is_none() && !text.contains("gid="));
    }
}
