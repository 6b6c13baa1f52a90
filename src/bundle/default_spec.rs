//! The config.json that `oxrun spec` writes: one template, and what a `Form` of it says otherwise. Called by
//! `container/spec.rs`.

use std::collections::BTreeMap;

/// The template; `@…@` are the places that a form fills.
const TEMPLATE: &str = include_str!("default_spec.json");

const PTS_GROUP: &str = ",\n\t\t\t\t\"gid=5\"";

const SYSFS: &str = "\t\t\t\"type\": \"sysfs\",\n\t\t\t\"source\": \"sysfs\",\n\t\t\t\"options\": [\n";

const SYS_BIND: &str =
    "\t\t\t\"type\": \"none\",\n\t\t\t\"source\": \"/sys\",\n\t\t\t\"options\": [\n\t\t\t\t\"rbind\",\n";

const NETWORK: &str = "\t\t\t{\n\t\t\t\t\"type\": \"network\"\n\t\t\t},\n";

const NO_DEVICES: &str = "\n\t\t\t\"devices\": [\n\t\t\t\t{\n\t\t\t\t\t\"allow\": false,\n\
    \t\t\t\t\t\"access\": \"rwm\"\n\t\t\t\t}\n\t\t\t]";

/// Where programs are looked for when nothing else is said.
pub const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a config.json is to say.
#[derive(Debug, Clone)]
pub struct Form {
    /// The user and group id that become root in the container; none is for root.
    pub rootless: Option<(u32, u32)>,
    /// The host has cgroup v2: the container gets a cgroup namespace.
    pub cgroup_v2: bool,
    /// The network is the host's.
    pub host_network: bool,
    /// `process.terminal`
    pub terminal: bool,
    /// `process.user`: user, group and further groups.
    pub user: (u32, u32, Vec<u32>),
    /// `process.args`
    pub args: Vec<String>,
    /// `process.env`
    pub env: Vec<String>,
    /// `process.cwd`
    pub cwd: String,
    /// Names of the bounding, effective and permitted capabilities.
    pub capabilities: &'static [&'static str],
    /// `root.readonly`
    pub readonly: bool,
    /// Mounts after the usual ones.
    pub mounts: Vec<ExtraMount>,
    /// Bytes of memory and number of processes that the container may have.
    pub limits: Option<(u64, u32)>,
    /// `annotations`
    pub annotations: BTreeMap<String, String>,
}

/// A mount after the usual ones.
#[derive(Debug, Clone)]
pub struct ExtraMount {
    /// Where.
    pub destination: String,
    /// `type`
    pub kind: &'static str,
    /// What.
    pub source: &'static str,
    /// `options`
    pub options: Vec<String>,
}

impl Form {
    /// The usual form: a shell on a terminal. Arguments as of the members.
    pub fn shell(rootless: Option<(u32, u32)>, cgroup_v2: bool) -> Form {
        Form {
            rootless,
            cgroup_v2,
            host_network: rootless.is_some(),
            terminal: true,
            user: (0, 0, Vec::new()),
            args: vec!["sh".into()],
            env: vec![PATH.into(), "TERM=xterm".into()],
            cwd: "/".into(),
            capabilities: &["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            readonly: true,
            mounts: Vec::new(),
            limits: None,
            annotations: BTreeMap::new(),
        }
    }

    /// The text of config.json, indented by tabs.
    pub fn text(&self) -> String {
        let (uid, gid, groups) = &self.user;
        let groups = match groups.as_slice() {
            [] => String::new(),
            ids => format!(",\n\t\t\t\"additionalGids\": {}", block(ids.iter().map(u32::to_string), 3)),
        };
        let network = if self.host_network { "" } else { NETWORK };
        let sys = if self.rootless.is_some() { SYS_BIND } else { SYSFS };
        let mounts: String = self.mounts.iter().map(mount).collect();
        TEMPLATE
            .replace("@TERMINAL@", if self.terminal { "true" } else { "false" })
            .replace("@UID@", &uid.to_string())
            .replace("@GID@", &gid.to_string())
            .replace("@GROUPS@", &groups)
            .replace("@READONLY@", if self.readonly { "true" } else { "false" })
            .replace("@PTS_GROUP@", if self.rootless.is_some() { "" } else { PTS_GROUP })
            .replace("@SYS@", sys)
            .replace("@NETWORK@", network)
            .replace("@RESOURCES@", &(self.resources() + &self.maps()))
            .replace("@NAMESPACES@", &self.namespaces())
            .replace("@CAPABILITIES@", &self.capabilities())
            // Texts of others come last and from the end, as they may look like a place to fill.
            .replacen("@ANNOTATIONS@", &self.annotations(), 1)
            .replacen("@MOUNTS@", &mounts, 1)
            .replacen("@CWD@", &quoted(&self.cwd), 1)
            .replacen("@ENV@", &strings(&self.env, 2), 1)
            .replacen("@ARGS@", &strings(&self.args, 2), 1)
    }

    /// `linux.resources`: without root there are none to be had by default.
    fn resources(&self) -> String {
        let mut members = Vec::new();
        if self.rootless.is_none() {
            members.push(NO_DEVICES.to_string());
        }
        if let Some((memory, pids)) = self.limits {
            members.push(format!("\n\t\t\t\"memory\": {{\n\t\t\t\t\"limit\": {memory}\n\t\t\t}}"));
            members.push(format!("\n\t\t\t\"pids\": {{\n\t\t\t\t\"limit\": {pids}\n\t\t\t}}"));
        }
        if members.is_empty() {
            return String::new();
        }
        format!("\t\t\"resources\": {{{}\n\t\t}},\n", members.join(","))
    }

    fn capabilities(&self) -> String {
        let names = || block(self.capabilities.iter().map(|name| quoted(name)), 3);
        let set = |set: &str| format!("\t\t\t\"{set}\": {}", names());
        ["bounding", "effective", "permitted"].map(set).join(",\n")
    }

    fn maps(&self) -> String {
        let map = |name: &str, host: u32| {
            format!(
                "\t\t\"{name}\": [\n\t\t\t{{\n\t\t\t\t\"containerID\": 0,\n\t\t\t\t\"hostID\": {host},\n\
                 \t\t\t\t\"size\": 1\n\t\t\t}}\n\t\t],\n"
            )
        };
        self.rootless.map(|(uid, gid)| map("uidMappings", uid) + &map("gidMappings", gid)).unwrap_or_default()
    }

    fn namespaces(&self) -> String {
        let namespace = |kind: &str| format!(",\n\t\t\t{{\n\t\t\t\t\"type\": \"{kind}\"\n\t\t\t}}");
        let kinds = [("cgroup", self.cgroup_v2), ("user", self.rootless.is_some())];
        kinds.into_iter().filter(|(_, wanted)| *wanted).map(|(kind, _)| namespace(kind)).collect()
    }

    fn annotations(&self) -> String {
        if self.annotations.is_empty() {
            return String::new();
        }
        let line = |(key, value): (&String, &String)| format!("\n\t\t{}: {}", quoted(key), quoted(value));
        let lines: Vec<String> = self.annotations.iter().map(line).collect();
        format!("\n\t\"annotations\": {{{}\n\t}},", lines.join(","))
    }
}

fn mount(mount: &ExtraMount) -> String {
    format!(
        ",\n\t\t{{\n\t\t\t\"destination\": {},\n\t\t\t\"type\": {},\n\t\t\t\"source\": {},\n\
         \t\t\t\"options\": {}\n\t\t}}",
        quoted(&mount.destination),
        quoted(mount.kind),
        quoted(mount.source),
        strings(&mount.options, 3),
    )
}

/// A JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn strings(list: &[String], depth: usize) -> String {
    block(list.iter().map(|text| quoted(text)), depth)
}

/// A list, an item a line, that begins at a depth.
fn block(items: impl Iterator<Item = String>, depth: usize) -> String {
    let indent = "\t".repeat(depth);
    let lines: Vec<String> = items.map(|item| format!("\n{indent}\t{item}")).collect();
    if lines.is_empty() { "[]".into() } else { format!("[{}\n{indent}]", lines.join(",")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::plan::NamespaceKind;
    use crate::bundle::{Host, Options, lower, parse};

    const HOST: Host = Host { euid: 0, in_user_namespace: false, cgroup_v2: true, last_capability: 40 };

    fn check(rootless: Option<(u32, u32)>, cgroup_v2: bool, expected: &[NamespaceKind]) {
        let text = Form::shell(rootless, cgroup_v2).text();
        assert!(!text.contains('@') && text.contains("\n\t\"process\": {\n"), "{text}");
        let spec = parse(text.as_bytes()).unwrap();
        let plan = lower(&spec, &Options::default(), &HOST).unwrap();
        assert_eq!(plan.namespaces.create, expected);
        assert!(plan.warnings.0.is_empty(), "{:?}", plan.warnings);
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
        let text = Form::shell(Some((1000, 100)), true).text();
        let spec: crate::bundle::spec::Spec = parse(text.as_bytes()).unwrap();
        let map = |m: &crate::bundle::spec::IdMapping| (m.container_id, m.host_id, m.size);
        assert_eq!(map(&spec.linux.uid_mappings[0]), (Some(0), Some(1000), Some(1)));
        assert_eq!(map(&spec.linux.gid_mappings[0]), (Some(0), Some(100), Some(1)));
        assert!(spec.linux.resources.is_none() && !text.contains("gid="));
    }

    #[test]
    fn everything_of_a_form_is_in_its_text() {
        let odd = "@ENV@ \"\\\n\u{1b}".to_string();
        let form = Form {
            host_network: true,
            terminal: false,
            user: (7, 8, vec![9, 10]),
            args: vec![odd.clone(), String::new()],
            env: vec![format!("A={odd}")],
            cwd: "/@CWD@".into(),
            readonly: false,
            mounts: vec![ExtraMount {
                destination: "/a b".into(),
                kind: "tmpfs",
                source: "tmpfs",
                options: vec!["ro".into()],
            }],
            limits: Some((1 << 20, 5)),
            annotations: [("k".to_string(), odd.clone())].into(),
            ..Form::shell(None, true)
        };
        let spec: crate::bundle::spec::Spec = parse(form.text().as_bytes()).unwrap();
        let process = spec.process.unwrap();
        assert_eq!((process.args, process.env), (form.args, form.env));
        assert_eq!((process.user.uid, process.user.gid, process.user.additional_gids), (7, 8, vec![9, 10]));
        assert_eq!((process.terminal, process.cwd.as_str()), (false, "/@CWD@"));
        assert!(!spec.root.unwrap().readonly && spec.linux.namespaces.iter().all(|n| n.kind != "network"));
        assert_eq!(spec.mounts.last().unwrap().destination, "/a b");
        let resources = spec.linux.resources.unwrap();
        assert_eq!(resources.memory.unwrap().limit, Some(1 << 20));
        assert_eq!(spec.annotations["k"], odd);
    }
}
