//! config.json as it is written: the types of the OCI runtime specification 1.3 for Linux, and
//! nothing else. Strings stay strings here and become enums, masks and flags in `lower.rs`.
//! `Option` is used only where an absent member differs from its default. Made by
//! `bundle::parse`, read by the lowering, by `exec --process` and by `update --resources`.

use super::json::object;
use std::collections::BTreeMap;

object! {
/// config.json (spec: config.md).
Spec {
    oci_version: String = "ociVersion",
    root: Option<Root> = "root",
    process: Option<Process> = "process",
    hostname: String = "hostname",
    domainname: String = "domainname",
    mounts: Vec<Mount> = "mounts",
    hooks: Hooks = "hooks",
    annotations: BTreeMap<String, String> = "annotations",
    linux: Linux = "linux",
}
/// The root filesystem.
Root {
    path: String = "path",
    readonly: bool = "readonly",
}
/// The process to run (config.json `process`, and the file of `exec --process`).
Process {
    terminal: bool = "terminal",
    console_size: Option<ConsoleSize> = "consoleSize",
    cwd: String = "cwd",
    env: Vec<String> = "env",
    args: Vec<String> = "args",
    rlimits: Vec<Rlimit> = "rlimits",
    apparmor_profile: String = "apparmorProfile",
    capabilities: Option<Capabilities> = "capabilities",
    no_new_privileges: bool = "noNewPrivileges",
    oom_score_adj: Option<i32> = "oomScoreAdj",
    scheduler: Option<Scheduler> = "scheduler",
    selinux_label: String = "selinuxLabel",
    io_priority: Option<IoPriority> = "ioPriority",
    exec_cpu_affinity: Option<ExecCpuAffinity> = "execCPUAffinity",
    user: User = "user",
}
/// Terminal size in characters.
ConsoleSize {
    height: u64 = "height",
    width: u64 = "width",
}
/// One resource limit; 64-bit values, `u64::MAX` is unlimited.
Rlimit {
    kind: String = "type",
    soft: Option<u64> = "soft",
    hard: Option<u64> = "hard",
}
/// Capability names per set.
Capabilities {
    bounding: Vec<String> = "bounding",
    effective: Vec<String> = "effective",
    inheritable: Vec<String> = "inheritable",
    permitted: Vec<String> = "permitted",
    ambient: Vec<String> = "ambient",
}
/// sched_setattr(2); times in nanoseconds.
Scheduler {
    policy: String = "policy",
    nice: i32 = "nice",
    priority: i32 = "priority",
    flags: Vec<String> = "flags",
    runtime: u64 = "runtime",
    deadline: u64 = "deadline",
    period: u64 = "period",
}
/// ioprio_set(2).
IoPriority {
    class: String = "class",
    priority: i32 = "priority",
}
/// CPU lists of exec'd processes.
ExecCpuAffinity {
    initial: String = "initial",
    last: String = "final",
}
/// Ids inside the container.
User {
    uid: u32 = "uid",
    gid: u32 = "gid",
    umask: Option<u32> = "umask",
    additional_gids: Vec<u32> = "additionalGids",
}
/// One mount.
Mount {
    destination: String = "destination",
    source: String = "source",
    kind: String = "type",
    options: Vec<String> = "options",
    uid_mappings: Vec<IdMapping> = "uidMappings",
    gid_mappings: Vec<IdMapping> = "gidMappings",
}
/// One line of an id map.
IdMapping {
    container_id: Option<u32> = "containerID",
    host_id: Option<u32> = "hostID",
    size: Option<u32> = "size",
}
/// The six lists of hooks.
Hooks {
    prestart: Vec<Hook> = "prestart",
    create_runtime: Vec<Hook> = "createRuntime",
    create_container: Vec<Hook> = "createContainer",
    start_container: Vec<Hook> = "startContainer",
    poststart: Vec<Hook> = "poststart",
    poststop: Vec<Hook> = "poststop",
}
/// One hook; the timeout in seconds.
Hook {
    path: String = "path",
    args: Vec<String> = "args",
    env: Option<Vec<String>> = "env",
    timeout: Option<i64> = "timeout",
}
/// The `linux` object.
Linux {
    namespaces: Vec<Namespace> = "namespaces",
    uid_mappings: Vec<IdMapping> = "uidMappings",
    gid_mappings: Vec<IdMapping> = "gidMappings",
    time_offsets: BTreeMap<String, TimeOffset> = "timeOffsets",
    devices: Vec<Device> = "devices",
    net_devices: BTreeMap<String, NetDevice> = "netDevices",
    cgroups_path: String = "cgroupsPath",
    resources: Option<Resources> = "resources",
    rootfs_propagation: String = "rootfsPropagation",
    seccomp: Option<Seccomp> = "seccomp",
    masked_paths: Vec<String> = "maskedPaths",
    readonly_paths: Vec<String> = "readonlyPaths",
    mount_label: String = "mountLabel",
    sysctl: BTreeMap<String, String> = "sysctl",
    personality: Option<Personality> = "personality",
    intel_rdt: Option<IntelRdt> = "intelRdt",
    memory_policy: Option<MemoryPolicy> = "memoryPolicy",
}
/// One namespace to create, or with a path to join.
Namespace {
    kind: String = "type",
    path: String = "path",
}
/// An offset of a clock in a time namespace.
TimeOffset {
    secs: i64 = "secs",
    nanosecs: u32 = "nanosecs",
}
/// A device node.
Device {
    kind: String = "type",
    path: String = "path",
    major: Option<i64> = "major",
    minor: Option<i64> = "minor",
    file_mode: Option<u32> = "fileMode",
    uid: Option<u32> = "uid",
    gid: Option<u32> = "gid",
}
/// A network device to move in.
NetDevice {
    name: String = "name",
}
/// Control group settings (config-linux.md, Control groups).
Resources {
    devices: Vec<DeviceRule> = "devices",
    memory: Option<Memory> = "memory",
    cpu: Option<Cpu> = "cpu",
    pids: Option<Pids> = "pids",
    block_io: Option<BlockIo> = "blockIO",
    hugepage_limits: Vec<HugepageLimit> = "hugepageLimits",
    network: Option<Network> = "network",
    rdma: BTreeMap<String, Rdma> = "rdma",
    unified: BTreeMap<String, String> = "unified",
}
/// One device cgroup rule.
DeviceRule {
    allow: bool = "allow",
    kind: String = "type",
    major: Option<i64> = "major",
    minor: Option<i64> = "minor",
    access: String = "access",
}
/// Memory limits in bytes; -1 is unlimited.
Memory {
    limit: Option<i64> = "limit",
    reservation: Option<i64> = "reservation",
    swap: Option<i64> = "swap",
    kernel: Option<i64> = "kernel",
    kernel_tcp: Option<i64> = "kernelTCP",
    swappiness: Option<u64> = "swappiness",
    disable_oom_killer: Option<bool> = "disableOOMKiller",
    use_hierarchy: Option<bool> = "useHierarchy",
    check_before_update: Option<bool> = "checkBeforeUpdate",
}
/// CPU settings; times in microseconds.
Cpu {
    shares: Option<u64> = "shares",
    quota: Option<i64> = "quota",
    burst: Option<u64> = "burst",
    period: Option<u64> = "period",
    realtime_runtime: Option<i64> = "realtimeRuntime",
    realtime_period: Option<u64> = "realtimePeriod",
    cpus: String = "cpus",
    mems: String = "mems",
    idle: Option<i64> = "idle",
}
/// The limit of tasks; -1 is unlimited.
Pids {
    limit: Option<i64> = "limit",
}
/// Block I/O weights and throttles.
BlockIo {
    weight: Option<u16> = "weight",
    leaf_weight: Option<u16> = "leafWeight",
    weight_device: Vec<WeightDevice> = "weightDevice",
    throttle_read_bps_device: Vec<ThrottleDevice> = "throttleReadBpsDevice",
    throttle_write_bps_device: Vec<ThrottleDevice> = "throttleWriteBpsDevice",
    throttle_read_iops_device: Vec<ThrottleDevice> = "throttleReadIOPSDevice",
    throttle_write_iops_device: Vec<ThrottleDevice> = "throttleWriteIOPSDevice",
}
/// A weight of one block device.
WeightDevice {
    major: i64 = "major",
    minor: i64 = "minor",
    weight: Option<u16> = "weight",
    leaf_weight: Option<u16> = "leafWeight",
}
/// A throttle of one block device, bytes or operations per second.
ThrottleDevice {
    major: i64 = "major",
    minor: i64 = "minor",
    rate: u64 = "rate",
}
/// A huge page limit in bytes.
HugepageLimit {
    page_size: String = "pageSize",
    limit: u64 = "limit",
}
/// net_cls and net_prio (cgroup v1).
Network {
    class_id: Option<u32> = "classID",
    priorities: Vec<InterfacePriority> = "priorities",
}
/// A priority of one interface.
InterfacePriority {
    name: String = "name",
    priority: u32 = "priority",
}
/// RDMA limits.
Rdma {
    hca_handles: Option<u32> = "hcaHandles",
    hca_objects: Option<u32> = "hcaObjects",
}
/// A seccomp profile.
Seccomp {
    default_action: String = "defaultAction",
    default_errno_ret: Option<u32> = "defaultErrnoRet",
    architectures: Vec<String> = "architectures",
    flags: Option<Vec<String>> = "flags",
    listener_path: String = "listenerPath",
    listener_metadata: String = "listenerMetadata",
    syscalls: Vec<SyscallRule> = "syscalls",
}
/// One rule of a seccomp profile.
SyscallRule {
    names: Vec<String> = "names",
    action: String = "action",
    errno_ret: Option<u32> = "errnoRet",
    args: Vec<SyscallArg> = "args",
}
/// One condition on an argument.
SyscallArg {
    index: u32 = "index",
    value: u64 = "value",
    value_two: u64 = "valueTwo",
    op: String = "op",
}
/// personality(2).
Personality {
    domain: String = "domain",
    flags: Vec<String> = "flags",
}
/// Resource director technology.
IntelRdt {
    clos_id: String = "closID",
    l3_cache_schema: String = "l3CacheSchema",
    mem_bw_schema: String = "memBwSchema",
    schemata: Vec<String> = "schemata",
    enable_monitoring: bool = "enableMonitoring",
}
/// set_mempolicy(2).
MemoryPolicy {
    mode: String = "mode",
    nodes: String = "nodes",
    flags: Vec<String> = "flags",
}
}
