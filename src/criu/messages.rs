//! The messages of CRIU's RPC, as far as they are used: the field numbers are those of its
//! images/rpc.proto (MIT), which documents the interface. Encoded and decoded by prost; written by
//! hand, so that building needs no protobuf compiler. Used by `swrk` and by those who fill `Options`.

use prost::{Enumeration, Message};

/// What a request is about, and its answer: `criu_req_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum Kind {
    /// An answer to a request that was not understood.
    Empty = 0,
    /// Write a process tree to images.
    Dump = 1,
    /// Make one from images.
    Restore = 2,
    /// Write memory alone and let the tree run.
    PreDump = 13,
    /// A step was reached; CRIU waits for the answer.
    Notify = 6,
    /// What this kernel can do.
    FeatureCheck = 9,
    /// Which CRIU it is.
    Version = 10,
}

/// How cgroups are written and made: `criu_cg_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum CgroupsMode {
    /// Not at all: processes stay where CRIU is.
    Ignore = 0,
    /// Make those that are missing, with their properties.
    Soft = 3,
    /// Set the properties of all.
    Full = 4,
    /// Refuse those that are there.
    Strict = 5,
}

/// How packets are held back while TCP connections are written: `criu_network_lock_method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum NetworkLock {
    /// By iptables.
    Iptables = 1,
    /// By nftables.
    Nftables = 2,
    /// Not at all.
    Skip = 3,
}

/// `criu_req`.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// What is asked.
    #[prost(enumeration = "Kind", required, tag = "1")]
    pub kind: i32,
    /// With which options.
    #[prost(message, optional, tag = "2")]
    pub options: Option<Box<Options>>,
    /// The answer to a notification: go on.
    #[prost(bool, optional, tag = "3")]
    pub notify_success: Option<bool>,
    /// Another request will follow.
    #[prost(bool, optional, tag = "4")]
    pub keep_open: Option<bool>,
    /// Which features are asked about.
    #[prost(message, optional, tag = "5")]
    pub features: Option<Features>,
}

/// `criu_resp`.
#[derive(Clone, PartialEq, Message)]
pub struct Response {
    /// What it is about.
    #[prost(enumeration = "Kind", required, tag = "1")]
    pub kind: i32,
    /// How it went.
    #[prost(bool, required, tag = "2")]
    pub success: bool,
    /// The process that was restored.
    #[prost(message, optional, tag = "4")]
    pub restored: Option<Restored>,
    /// The step that was reached.
    #[prost(message, optional, tag = "5")]
    pub notify: Option<Notify>,
    /// Why not, as an error number.
    #[prost(int32, optional, tag = "7")]
    pub errno: Option<i32>,
    /// What there is of the features asked about.
    #[prost(message, optional, tag = "8")]
    pub features: Option<Features>,
    /// The first error in the log.
    #[prost(string, optional, tag = "9")]
    pub error: Option<String>,
    /// The version asked about.
    #[prost(message, optional, tag = "10")]
    pub version: Option<Version>,
}

/// `criu_restore_resp`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Restored {
    /// The first process, as CRIU sees it.
    #[prost(int32, required, tag = "1")]
    pub pid: i32,
}

/// `criu_notify`.
#[derive(Clone, PartialEq, Message)]
pub struct Notify {
    /// The name of the step.
    #[prost(string, optional, tag = "1")]
    pub step: Option<String>,
    /// The first process, at steps where it is known.
    #[prost(int32, optional, tag = "2")]
    pub pid: Option<i32>,
}

/// `criu_features`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Features {
    /// Pages written since a dump can be told.
    #[prost(bool, optional, tag = "1")]
    pub memory_tracking: Option<bool>,
    /// Pages can be fetched when they are touched.
    #[prost(bool, optional, tag = "2")]
    pub lazy_pages: Option<bool>,
}

/// `criu_version`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Message)]
pub struct Version {
    /// 4 of 4.1.1.
    #[prost(int32, required, tag = "1")]
    pub major: i32,
    /// 1 of 4.1.1.
    #[prost(int32, required, tag = "2")]
    pub minor: i32,
}

/// `criu_page_server_info`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PageServer {
    /// Its address.
    #[prost(string, optional, tag = "1")]
    pub address: Option<String>,
    /// Its port.
    #[prost(int32, optional, tag = "2")]
    pub port: Option<i32>,
}

/// `ext_mount_map`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ExternalMount {
    /// Dump: where it is in the container; restore: its name.
    #[prost(string, required, tag = "1")]
    pub key: String,
    /// Dump: its name; restore: what is mounted there.
    #[prost(string, required, tag = "2")]
    pub value: String,
}

/// `join_namespace`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct JoinNamespace {
    /// Its kind, as in config.json.
    #[prost(string, required, tag = "1")]
    pub kind: String,
    /// Its file.
    #[prost(string, required, tag = "2")]
    pub path: String,
}

/// `inherit_fd`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct InheritedFd {
    /// What it takes the place of.
    #[prost(string, required, tag = "1")]
    pub key: String,
    /// Its number in CRIU.
    #[prost(int32, required, tag = "2")]
    pub fd: i32,
}

/// `cgroup_root`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CgroupRoot {
    /// The controller; none is all.
    #[prost(string, optional, tag = "1")]
    pub controller: Option<String>,
    /// The cgroup that takes the place of the first process's.
    #[prost(string, required, tag = "2")]
    pub path: String,
}

/// `criu_opts`.
#[derive(Clone, PartialEq, Message)]
pub struct Options {
    /// A descriptor of the requesting process.
    #[prost(int32, required, tag = "1")]
    pub images: i32,
    /// The first process to dump.
    #[prost(int32, optional, tag = "2")]
    pub pid: Option<i32>,
    /// Let the tree run after a dump.
    #[prost(bool, optional, tag = "3")]
    pub leave_running: Option<bool>,
    /// Sockets may have a peer outside.
    #[prost(bool, optional, tag = "4")]
    pub external_unix_sockets: Option<bool>,
    /// Keep TCP connections.
    #[prost(bool, optional, tag = "5")]
    pub tcp_established: Option<bool>,
    /// A device's path may have come to show something else.
    #[prost(bool, optional, tag = "6")]
    pub evasive_devices: Option<bool>,
    /// The session's leader, or the terminal's user, may be outside.
    #[prost(bool, optional, tag = "7")]
    pub shell_job: Option<bool>,
    /// Keep file locks.
    #[prost(bool, optional, tag = "8")]
    pub file_locks: Option<bool>,
    /// 4 is everything.
    #[prost(int32, optional, tag = "9")]
    pub log_level: Option<i32>,
    /// A name in the work directory.
    #[prost(string, optional, tag = "10")]
    pub log_file: Option<String>,
    /// Where pages go to, or are served from.
    #[prost(message, optional, tag = "11")]
    pub page_server: Option<PageServer>,
    /// Tell the steps.
    #[prost(bool, optional, tag = "12")]
    pub notify: Option<bool>,
    /// The root filesystem, a mount point.
    #[prost(string, optional, tag = "13")]
    pub root: Option<String>,
    /// The images before these, relative to them.
    #[prost(string, optional, tag = "14")]
    pub parent_images: Option<String>,
    /// Begin to tell which pages are written.
    #[prost(bool, optional, tag = "15")]
    pub track_memory: Option<bool>,
    /// Free pages of older images.
    #[prost(bool, optional, tag = "16")]
    pub auto_dedup: Option<bool>,
    /// A descriptor of the requesting process.
    #[prost(int32, optional, tag = "17")]
    pub work: Option<i32>,
    /// Give removed files that are still open a name.
    #[prost(bool, optional, tag = "18")]
    pub link_remap: Option<bool>,
    /// Mounts of the host.
    #[prost(message, repeated, tag = "23")]
    pub external_mounts: Vec<ExternalMount>,
    /// Where cgroups are restored.
    #[prost(message, repeated, tag = "25")]
    pub cgroup_roots: Vec<CgroupRoot>,
    /// The first process becomes the requesting process's child.
    #[prost(bool, optional, tag = "26")]
    pub restore_as_sibling: Option<bool>,
    /// Descriptors that take the place of those in the images.
    #[prost(message, repeated, tag = "27")]
    pub inherited_fds: Vec<InheritedFd>,
    /// Mounts may propagate from outside.
    #[prost(bool, optional, tag = "30")]
    pub external_masters: Option<bool>,
    /// Cgroups.
    #[prost(enumeration = "CgroupsMode", optional, tag = "34")]
    pub manage_cgroups: Option<i32>,
    /// What else belongs to the host: `file[…]`, `net[…]:name`.
    #[prost(string, repeated, tag = "37")]
    pub external: Vec<String>,
    /// Namespaces whose content is left out, CLONE_NEW….
    #[prost(uint32, optional, tag = "38")]
    pub empty_namespaces: Option<u32>,
    /// Namespaces to join.
    #[prost(message, repeated, tag = "39")]
    pub join_namespaces: Vec<JoinNamespace>,
    /// The cgroup to freeze.
    #[prost(string, optional, tag = "44")]
    pub freeze_cgroup: Option<String>,
    /// Leave out connections that are not accepted yet.
    #[prost(bool, optional, tag = "46")]
    pub tcp_skip_in_flight: Option<bool>,
    /// Transfer pages later.
    #[prost(bool, optional, tag = "48")]
    pub lazy_pages: Option<bool>,
    /// The terminal's user is outside.
    #[prost(bool, optional, tag = "50")]
    pub orphan_terminals: Option<bool>,
    /// Read options from this file too.
    #[prost(string, optional, tag = "51")]
    pub config_file: Option<String>,
    /// Close TCP connections.
    #[prost(bool, optional, tag = "52")]
    pub tcp_close: Option<bool>,
    /// `type:name` of the processes' LSM profile.
    #[prost(string, optional, tag = "53")]
    pub lsm_profile: Option<String>,
    /// SELinux context of mounts.
    #[prost(string, optional, tag = "63")]
    pub lsm_mount_context: Option<String>,
    /// How packets are held back.
    #[prost(enumeration = "NetworkLock", optional, tag = "64")]
    pub network_lock: Option<i32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that protobuf's own encoding rules give for these fields (protobuf.dev, Encoding).
    #[test]
    fn requests_have_the_documented_bytes() {
        let version = Request { kind: Kind::Version.into(), keep_open: Some(true), ..Request::default() };
        assert_eq!(version.encode_to_vec(), [0x08, 10, 0x20, 1]);
        let options = Options {
            images: 5,
            pid: Some(300),
            log_file: Some("dump.log".into()),
            external_mounts: vec![ExternalMount { key: "/a".into(), value: "b".into() }],
            manage_cgroups: Some(CgroupsMode::Soft.into()),
            network_lock: Some(NetworkLock::Skip.into()),
            ..Options::default()
        };
        let bytes = options.encode_to_vec();
        let expected: &[&[u8]] = &[
            &[0x08, 5, 0x10, 0xac, 0x02],
            &[0x52, 8],
            b"dump.log",
            &[0xba, 0x01, 7, 0x0a, 2],
            b"/a",
            &[0x12, 1],
            b"b",
            &[0x90, 0x02, 3, 0x80, 0x04, 3],
        ];
        assert_eq!(bytes, expected.concat());
    }

    /// An answer of a newer CRIU may have fields that are not known here.
    #[test]
    fn responses_are_read_and_what_is_unknown_is_skipped() {
        let bytes = [
            &[0x08, 6, 0x10, 1, 0x2a, 16, 0x0a, 12][..],
            b"post-restore",
            &[0x10, 7],
            &[0x58, 0, 0xfa, 0x07, 1, 9],
        ]
        .concat();
        let response = Response::decode(&bytes[..]).unwrap();
        assert_eq!((response.kind(), response.success), (Kind::Notify, true));
        let notify = response.notify.unwrap();
        assert_eq!((notify.step.as_deref(), notify.pid), (Some("post-restore"), Some(7)));
        let failed = Response::decode(&[0x08, 1, 0x10, 0, 0x38, 3, 0x4a, 2, b'h', b'i'][..]).unwrap();
        assert_eq!((failed.success, failed.errno, failed.error.as_deref()), (false, Some(3), Some("hi")));
    }

    #[test]
    fn hostile_responses_are_errors() {
        for bytes in [&[0x0a, 0xff][..], &[0x2a, 0x7f, 0], &[0xff; 40], &[0x08], &[0x4a, 1, 0xff]] {
            assert!(Response::decode(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn versions_are_ordered() {
        let version = |major, minor| Version { major, minor };
        assert!(version(3, 17) < version(4, 0) && version(3, 9) < version(3, 17));
    }
}
