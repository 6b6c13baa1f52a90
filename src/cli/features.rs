//! The features structure (spec: features.md and features-linux.md): what this binary supports,
//! whatever the host. Printed by `features`; engines decide by it what they ask of the runtime, so
//! each entry must be true. Lists come from the tables that the lowering and seccomp work with.

use super::help::{COMMIT, SPEC_VERSION, VERSION};
use crate::bundle::plan::NamespaceKind;
use crate::sort::sort;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;

/// What the rest of the binary can do, beyond what the lists say.
struct Supported {
    cgroup_v1: bool,
    cgroup_v2: bool,
    systemd_cgroup: bool,
    systemd_user_cgroup: bool,
    rdma: bool,
    apparmor: bool,
    selinux: bool,
    intel_rdt: bool,
    intel_rdt_schemata: bool,
    intel_rdt_monitoring: bool,
    id_mapped_mounts: bool,
    net_devices: bool,
}

const SUPPORTED: Supported = Supported {
    cgroup_v1: true,
    cgroup_v2: true,
    systemd_cgroup: true,
    systemd_user_cgroup: true,
    rdma: true,
    apparmor: true,
    selinux: true,
    intel_rdt: true,
    intel_rdt_schemata: true,
    intel_rdt_monitoring: true,
    id_mapped_mounts: true,
    net_devices: true,
};

/// The oldest version of the specification whose configurations run.
const OLDEST_SPEC: &str = "1.0.0";

const HOOKS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// Annotations that change what the runtime does on the host; those ending in `.` are prefixes.
const UNSAFE_ANNOTATIONS: &[&str] = &[crate::cgroup::SYSTEMD_ANNOTATION, "run.oci.", "org.criu.config"];

/// The names that other parts know.
#[derive(Debug, Default)]
pub struct Lists<'a> {
    /// Mount options, without those of single filesystems.
    pub mount_options: Vec<&'a str>,
    /// `CAP_…`
    pub capabilities: Vec<&'a str>,
    /// `MPOL_…`
    pub memory_modes: Vec<&'a str>,
    /// `MPOL_F_…`
    pub memory_flags: Vec<&'a str>,
    /// seccomp.
    pub seccomp: Seccomp<'a>,
}

/// What seccomp knows.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seccomp<'a> {
    /// Whether there is seccomp at all.
    pub enabled: bool,
    /// `SCMP_ACT_…`
    pub actions: Vec<&'a str>,
    /// `SCMP_CMP_…`
    pub operators: Vec<&'a str>,
    /// `SCMP_ARCH_…`
    pub archs: Vec<&'a str>,
    /// `SECCOMP_FILTER_FLAG_…` that are not errors.
    pub known_flags: Vec<&'a str>,
    /// Those of them that can be used.
    pub supported_flags: Vec<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Features<'a> {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: [&'static str; 6],
    mount_options: Vec<&'a str>,
    linux: Linux<'a>,
    annotations: BTreeMap<&'static str, &'static str>,
    potentially_unsafe_config_annotations: &'static [&'static str],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux<'a> {
    namespaces: Vec<&'static str>,
    capabilities: Vec<&'a str>,
    cgroup: Cgroup,
    seccomp: Seccomp<'a>,
    apparmor: Switch,
    selinux: Switch,
    intel_rdt: IntelRdt,
    memory_policy: MemoryPolicy<'a>,
    mount_extensions: MountExtensions,
    net_devices: Switch,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Serialize)]
struct Switch {
    enabled: bool,
}

#[derive(Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Serialize)]
struct MemoryPolicy<'a> {
    modes: Vec<&'a str>,
    flags: Vec<&'a str>,
}

#[derive(Serialize)]
struct MountExtensions {
    idmap: Switch,
}

/// The output of `features` for this binary.
pub fn of_this_binary() -> Result<String> {
    let options = crate::bundle::mount_option_names();
    features(Lists {
        mount_options: options.iter().map(|o| &**o).collect(),
        capabilities: crate::bundle::capability_names().to_vec(),
        memory_modes: crate::bundle::memory_policy::MODES.iter().map(|(name, _)| *name).collect(),
        memory_flags: crate::bundle::memory_policy::FLAGS.iter().map(|(name, _)| *name).collect(),
        seccomp: Seccomp {
            enabled: true,
            actions: crate::seccomp::action_names(),
            operators: crate::seccomp::operators(),
            archs: crate::seccomp::architectures(),
            known_flags: crate::seccomp::flags(),
            supported_flags: crate::seccomp::flags(),
        },
    })
}

/// The features structure as JSON.
fn features(lists: Lists) -> Result<String> {
    let features = Features {
        oci_version_min: OLDEST_SPEC,
        oci_version_max: SPEC_VERSION,
        hooks: HOOKS,
        mount_options: sorted(lists.mount_options),
        linux: Linux {
            namespaces: sorted(NamespaceKind::ALL.map(NamespaceKind::name).to_vec()),
            capabilities: lists.capabilities,
            cgroup: Cgroup {
                v1: SUPPORTED.cgroup_v1,
                v2: SUPPORTED.cgroup_v2,
                systemd: SUPPORTED.systemd_cgroup,
                systemd_user: SUPPORTED.systemd_user_cgroup,
                rdma: SUPPORTED.rdma,
            },
            seccomp: lists.seccomp,
            apparmor: Switch { enabled: SUPPORTED.apparmor },
            selinux: Switch { enabled: SUPPORTED.selinux },
            intel_rdt: IntelRdt {
                enabled: SUPPORTED.intel_rdt,
                schemata: SUPPORTED.intel_rdt_schemata,
                monitoring: SUPPORTED.intel_rdt_monitoring,
            },
            memory_policy: MemoryPolicy { modes: lists.memory_modes, flags: lists.memory_flags },
            mount_extensions: MountExtensions { idmap: Switch { enabled: SUPPORTED.id_mapped_mounts } },
            net_devices: Switch { enabled: SUPPORTED.net_devices },
        },
        annotations: BTreeMap::from([
            ("oxrun.version", VERSION),
            ("oxrun.commit", COMMIT),
            // The name that engines look for.
            ("org.opencontainers.runc.checkpoint.enabled", "true"),
        ]),
        potentially_unsafe_config_annotations: UNSAFE_ANNOTATIONS,
    };
    Ok(serde_json::to_string_pretty(&features)? + "\n")
}

fn sorted(mut names: Vec<&str>) -> Vec<&str> {
    sort(&mut names);
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_structure_is_the_specification_s() {
        let lists = Lists {
            mount_options: vec!["ro", "bind", "rro", "bind"],
            capabilities: vec!["CAP_CHOWN"],
            memory_modes: vec!["MPOL_BIND"],
            memory_flags: vec!["MPOL_F_STATIC_NODES"],
            seccomp: Seccomp {
                enabled: true,
                known_flags: vec!["SECCOMP_FILTER_FLAG_LOG"],
                ..Seccomp::default()
            },
        };
        let text = features(lists).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["ociVersionMin"], "1.0.0");
        assert_eq!(value["ociVersionMax"], "1.3.0");
        assert_eq!(value["hooks"].as_array().unwrap().len(), 6);
        assert_eq!(value["mountOptions"], json!(["bind", "ro", "rro"]));
        let unsafe_annotations = json!(["org.systemd.property.", "run.oci.", "org.criu.config"]);
        assert_eq!(value["potentiallyUnsafeConfigAnnotations"], unsafe_annotations);
        assert_eq!(value["annotations"]["oxrun.version"], VERSION);
        let linux = &value["linux"];
        let namespaces = json!(["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]);
        assert_eq!(linux["namespaces"], namespaces);
        assert_eq!(linux["capabilities"], json!(["CAP_CHOWN"]));
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(keys(&linux["cgroup"]), "rdma systemd systemdUser v1 v2");
        assert_eq!(keys(&linux["seccomp"]), "actions archs enabled knownFlags operators supportedFlags");
        assert_eq!(keys(&linux["intelRdt"]), "enabled monitoring schemata");
        assert_eq!(linux["mountExtensions"], json!({"idmap": {"enabled": SUPPORTED.id_mapped_mounts}}));
        assert_eq!(linux["netDevices"], json!({"enabled": SUPPORTED.net_devices}));
        assert_eq!(linux["memoryPolicy"], json!({"modes": ["MPOL_BIND"], "flags": ["MPOL_F_STATIC_NODES"]}));
        assert_eq!(
            keys(linux),
            "apparmor capabilities cgroup intelRdt memoryPolicy mountExtensions namespaces netDevices seccomp selinux"
        );
    }
}
