//! `checkpoint` and `restore`: their options as types.

use super::command::{Command, Create};
use super::parse::Matches;
use crate::criu::messages::{CgroupsMode, NetworkLock, PageServer};
use crate::error::{Context, bail};
use anyhow::Result;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// What both commands take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Common {
    /// The directory of the images; none is `checkpoint` in the current one.
    pub images: Option<PathBuf>,
    /// The directory of logs and other passing files; none is that of the images.
    pub work: Option<PathBuf>,
    /// Keep TCP connections.
    pub tcp_established: bool,
    /// Close TCP connections.
    pub tcp_close: bool,
    /// Unix sockets may have a peer outside.
    pub external_unix_sockets: bool,
    /// The terminal, or the session's leader, may be outside.
    pub shell_job: bool,
    /// Keep file locks.
    pub file_locks: bool,
    /// Transfer memory when it is touched.
    pub lazy_pages: bool,
    /// Free pages of older images.
    pub auto_dedup: bool,
    /// How cgroups below the container's are kept; none is softly.
    pub cgroups: Option<CgroupsMode>,
    /// Leave the content of the network namespace out.
    pub empty_network: bool,
}

/// `checkpoint`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which container.
    pub id: String,
    /// What `restore` has too.
    pub common: Common,
    /// The images of the pre-dump before, relative to these.
    pub parent: Option<PathBuf>,
    /// Let the container go on.
    pub leave_running: bool,
    /// Write memory alone, and let the container go on.
    pub pre_dump: bool,
    /// Leave out TCP connections that are not accepted yet.
    pub tcp_skip_in_flight: bool,
    /// Give removed files that are still open a name.
    pub link_remap: bool,
    /// Gets a null byte when pages are served.
    pub status_fd: Option<RawFd>,
    /// Where pages go to, or are served.
    pub page_server: Option<PageServer>,
    /// How packets are held back.
    pub network_lock: Option<NetworkLock>,
}

/// `restore`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restore {
    /// How the container is made.
    pub create: Create,
    /// What `checkpoint` has too.
    pub common: Common,
    /// Do not wait for the process.
    pub detach: bool,
    /// `type:name` of the LSM profile.
    pub lsm_profile: Option<String>,
    /// SELinux context of mounts.
    pub lsm_mount_context: Option<String>,
}

/// `checkpoint`.
pub fn checkpoint(matches: &Matches) -> Result<Command> {
    Ok(Command::Checkpoint(Checkpoint {
        id: matches.id()?,
        common: common(matches)?,
        parent: matches.path("parent-path")?,
        leave_running: matches.switch("leave-running"),
        pre_dump: matches.switch("pre-dump"),
        tcp_skip_in_flight: matches.switch("tcp-skip-in-flight"),
        link_remap: matches.switch("link-remap"),
        status_fd: matches.number("status-fd")?,
        page_server: matches.parsed("page-server", page_server)?,
        network_lock: matches.parsed("network-lock", network_lock)?,
    }))
}

impl Checkpoint {
    /// Refuses what excludes each other or would be without effect.
    pub fn check(&self) -> Result<()> {
        match &self.parent {
            Some(path) if path.is_absolute() => {
                bail!("--parent-path `{}` is absolute: give it relative to --image-path", path.display())
            }
            _ if self.common.lazy_pages && self.pre_dump => {
                bail!("--lazy-pages and --pre-dump exclude each other: a pre-dump writes all pages")
            }
            _ if self.common.lazy_pages && self.page_server.is_none() => {
                bail!("--lazy-pages needs --page-server ADDRESS:PORT, where the pages are served")
            }
            _ if self.status_fd.is_some() && !self.common.lazy_pages => {
                bail!("--status-fd needs --lazy-pages: it tells when pages are served")
            }
            _ => Ok(()),
        }
    }
}

/// `restore`.
pub fn restore(matches: &Matches) -> Result<Command> {
    Ok(Command::Restore(Restore {
        create: Create {
            id: matches.id()?,
            bundle: matches.path("bundle")?,
            console_socket: matches.path("console-socket")?,
            pid_file: matches.path("pid-file")?,
            pidfd_socket: matches.path("pidfd-socket")?,
            no_pivot: matches.switch("no-pivot"),
            no_new_keyring: matches.switch("no-new-keyring"),
            no_subreaper: matches.switch("no-subreaper"),
            ..Create::default()
        },
        common: common(matches)?,
        detach: matches.switch("detach"),
        lsm_profile: matches.parsed("lsm-profile", lsm_profile)?,
        lsm_mount_context: matches.text("lsm-mount-context")?.map(str::to_owned),
    }))
}

fn common(matches: &Matches) -> Result<Common> {
    Ok(Common {
        images: matches.path("image-path")?,
        work: matches.path("work-path")?,
        tcp_established: matches.switch("tcp-established"),
        tcp_close: matches.switch("tcp-close"),
        external_unix_sockets: matches.switch("ext-unix-sk"),
        shell_job: matches.switch("shell-job"),
        file_locks: matches.switch("file-locks"),
        lazy_pages: matches.switch("lazy-pages"),
        auto_dedup: matches.switch("auto-dedup"),
        cgroups: matches.parsed("manage-cgroups-mode", cgroups_mode)?,
        empty_network: matches.parsed("empty-ns", empty_namespace)?.is_some(),
    })
}

fn cgroups_mode(name: &str) -> Result<CgroupsMode> {
    match name {
        "soft" => Ok(CgroupsMode::Soft),
        "full" => Ok(CgroupsMode::Full),
        "strict" => Ok(CgroupsMode::Strict),
        "ignore" => Ok(CgroupsMode::Ignore),
        _ => bail!("unknown mode `{name}`: use soft, full, strict or ignore"),
    }
}

fn network_lock(name: &str) -> Result<NetworkLock> {
    match name {
        "iptables" => Ok(NetworkLock::Iptables),
        "nftables" => Ok(NetworkLock::Nftables),
        "skip" => Ok(NetworkLock::Skip),
        _ => bail!("unknown method `{name}`: use iptables, nftables or skip"),
    }
}

fn empty_namespace(name: &str) -> Result<()> {
    match name {
        "network" => Ok(()),
        _ => bail!("namespace `{name}` cannot be left empty: only network can"),
    }
}

fn page_server(text: &str) -> Result<PageServer> {
    let split = || {
        let (address, port) = text.rsplit_once(':')?;
        let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
        // CRIU takes an IPv6 address without its brackets.
        let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
        (!address.is_empty()).then(|| PageServer { address: Some(address.into()), port: Some(port.into()) })
    };
    split().with_context(|| format!("`{text}` is not ADDRESS:PORT, such as 192.0.2.7:27277"))
}

fn lsm_profile(text: &str) -> Result<String> {
    match text.split_once(':') {
        Some(("apparmor" | "selinux", name)) if !name.is_empty() => Ok(text.to_owned()),
        _ => bail!("`{text}` is not TYPE:NAME: the type is apparmor or selinux"),
    }
}
