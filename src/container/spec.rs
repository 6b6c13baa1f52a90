//! `spec`: writes a config.json to start from into a bundle: the usual one, an example of a kind, or what an
//! image's configuration asks for (`image.rs`).

use super::image;
use crate::bundle::Host;
use crate::bundle::default_spec::{ExtraMount, Form};
use crate::error::Doing;
use crate::hostfs;
use anyhow::Result;
use rustix::fs::{CWD, Mode, OFlags};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What `--example` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Example {
    /// A shell on a terminal.
    Shell,
    /// A program that goes on until it is told to end: no terminal, limits, and places to write to.
    Service,
    /// Like `shell`, in the network of the host.
    HostNetwork,
}

/// What `spec` is asked for.
#[derive(Debug, Default)]
pub struct Request {
    /// The bundle; none is the working directory.
    pub bundle: Option<PathBuf>,
    /// Works without root.
    pub rootless: bool,
    /// `--example`
    pub example: Option<Example>,
    /// `--from`: an OCI image layout, with the tag of an image in it.
    pub from: Option<PathBuf>,
}

/// Bytes of memory and number of processes that the example of a service may have.
const SERVICE_LIMITS: (u64, u32) = (256 << 20, 256);

/// Its program: it says that it is there, and ends when it is told to.
const SERVICE: &str = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 1; done";

/// Writes config.json; one that is there is kept.
pub fn write(request: &Request) -> Result<()> {
    let bundle = request.bundle.as_deref().unwrap_or(Path::new(""));
    let caller = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let mut form = Form::shell(request.rootless.then_some(caller), Host::probe()?.cgroup_v2);
    match request.example {
        None | Some(Example::Shell) => {}
        Some(Example::Service) => service(&mut form),
        Some(Example::HostNetwork) => host_network(&mut form),
    }
    if let Some(layout) = &request.from {
        image::fill(&mut form, layout, &bundle.join("rootfs"))?;
    }
    let path = bundle.join("config.json");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let doing = || format!("write `{}` (a file that is there is kept: remove it first)", path.display());
    let file = rustix::fs::openat(CWD, &path, flags, Mode::from_raw_mode(0o666)).doing(doing)?;
    std::fs::File::from(file).write_all(form.text().as_bytes()).doing(doing)
}

fn service(form: &mut Form) {
    form.terminal = false;
    form.args = ["sh", "-c", SERVICE].map(String::from).to_vec();
    form.mounts = ["/run", "/tmp"].map(scratch).to_vec();
    // Without root limits need a cgroup that was delegated, which not everybody has.
    form.limits = form.rootless.is_none().then_some(SERVICE_LIMITS);
}

/// An empty place to write to, which is gone with the container.
fn scratch(destination: &str) -> ExtraMount {
    ExtraMount {
        destination: destination.into(),
        kind: "tmpfs",
        source: "tmpfs",
        options: ["nosuid", "nodev", "mode=1777", "size=65536k"].map(String::from).to_vec(),
    }
}

fn host_network(form: &mut Form) {
    form.host_network = true;
    for source in ["/etc/resolv.conf", "/etc/hosts"] {
        if hostfs::exists(Path::new(source)) {
            form.mounts.push(ExtraMount {
                destination: source.into(),
                kind: "bind",
                source,
                options: ["bind", "ro", "nosuid", "noexec", "nodev"].map(String::from).to_vec(),
            });
        }
    }
}
