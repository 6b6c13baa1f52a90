//! What an image asks for: the configuration of an image in an OCI image layout (a directory with
//! `oci-layout`, `index.json` and `blobs`) put into a `Form`. Called by `spec --from`. The layout is not
//! trusted: blobs are found beneath its directory by well-formed digests, and labels that would change what
//! the runtime does are left out. Mapping: OCI image specification, conversion.md.

use crate::bundle::default_spec::{ExtraMount, Form, PATH};
use crate::error::{Context, anyhow, bail, ensure, failed};
use crate::rootfs::path::{Links, Root};
use crate::warn;
use anyhow::Result;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

/// No index, manifest or configuration is nearly as long, in bytes.
const LONGEST: u64 = 4 << 20;
/// Indexes in indexes.
const DEEPEST: usize = 4;
/// Annotations that the runtime acts on: an image is not asked.
const OURS: [&str; 3] = ["run.oci.", "org.systemd.property.", "org.criu."];
/// What programs of images are used to have.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// A manifest or an index: what of them is looked at.
#[derive(Debug, Deserialize)]
struct Document {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
}

/// Where a blob is and what it is for.
#[derive(Debug, Clone, Deserialize)]
struct Descriptor {
    digest: String,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// The configuration of an image.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Image {
    architecture: String,
    os: String,
    author: String,
    created: String,
    config: Option<Config>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Config {
    user: String,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: String,
    stop_signal: String,
    labels: Option<BTreeMap<String, String>>,
    volumes: Option<BTreeMap<String, IgnoredAny>>,
    exposed_ports: Option<BTreeMap<String, IgnoredAny>>,
}

/// Fills a form with what the image in `layout` (`DIR` or `DIR:TAG`) asks for. Names of users are looked up
/// in the unpacked `rootfs`.
pub fn fill(form: &mut Form, layout: &Path, rootfs: &Path) -> Result<()> {
    let image = Layout::open(layout)?.image()?;
    let config = image.config.unwrap_or_default();
    form.args = [config.entrypoint, config.cmd].into_iter().flatten().flatten().collect();
    ensure!(
        !form.args.is_empty(),
        "read image `{}`: it has neither Entrypoint nor Cmd: write process.args by hand",
        layout.display()
    );
    form.env = config.env.unwrap_or_default();
    if !form.env.iter().any(|variable| variable.starts_with("PATH=")) {
        form.env.insert(0, PATH.into());
    }
    if !config.working_dir.is_empty() {
        form.cwd = config.working_dir;
    }
    form.user = user(&config.user, rootfs)?;
    if form.rootless.is_some() && form.user.0 != 0 {
        bail!("the image's user is {}, but --rootless maps your own id alone, as 0", form.user.0);
    }
    form.terminal = false;
    form.readonly = false;
    form.capabilities = &CAPABILITIES;
    form.mounts.extend(config.volumes.unwrap_or_default().into_keys().map(volume));
    form.annotations.extend(labels(config.labels.unwrap_or_default()));
    let ports: Vec<String> = config.exposed_ports.unwrap_or_default().into_keys().collect();
    for (name, value) in [
        ("architecture", image.architecture),
        ("author", image.author),
        ("created", image.created),
        ("exposedPorts", ports.join(",")),
        ("os", image.os),
        ("stopSignal", config.stop_signal),
    ] {
        if !value.is_empty() {
            form.annotations.insert(format!("org.opencontainers.image.{name}"), value);
        }
    }
    Ok(())
}

/// Labels as annotations, without those that would do something here.
fn labels(labels: BTreeMap<String, String>) -> impl Iterator<Item = (String, String)> {
    labels.into_iter().filter(|(name, _)| {
        let ours = OURS.iter().any(|prefix| name.starts_with(prefix));
        if ours {
            warn!("the image's label `{name}` is left out: it would change what the runtime does");
        }
        !ours && !name.is_empty()
    })
}

/// A volume is a place to write to that begins with what the image has there.
fn volume(destination: String) -> ExtraMount {
    let options = ["nosuid", "nodev", "tmpcopyup"].map(String::from).to_vec();
    ExtraMount { destination, kind: "tmpfs", source: "tmpfs", options }
}

/// A layout, and the tag that is asked for.
struct Layout {
    directory: OwnedFd,
    shown: String,
    tag: Option<String>,
}

impl Layout {
    fn open(given: &Path) -> Result<Layout> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &Path| rustix::fs::openat(CWD, path, flags, Mode::empty());
        let shown = given.display().to_string();
        match (open(given), shown.rsplit_once(':')) {
            (Ok(directory), _) => Ok(Layout { directory, shown, tag: None }),
            (Err(_), Some((path, tag))) if open(Path::new(path)).is_ok() => {
                Ok(Layout { directory: open(Path::new(path))?, shown: path.into(), tag: Some(tag.into()) })
            }
            (Err(errno), _) => Err(failed(format!("open image layout `{shown}` (--from)"))(errno)),
        }
    }

    /// The configuration of the one image that is meant.
    fn image(&self) -> Result<Image> {
        let index = self.read("index.json").with_context(|| {
            format!("`{}` must be an OCI image layout, as `skopeo copy … oci:{0}` makes it", self.shown)
        })?;
        let mut document: Document = self.parse("index.json", &index)?;
        let mut tag = self.tag.as_deref();
        for _ in 0..DEEPEST {
            if let Some(config) = document.config {
                return self.blob(&config.digest);
            }
            let chosen = self.choose(&document.manifests, tag.take())?;
            document = self.blob(&chosen.digest)?;
        }
        bail!("read image layout `{}`: indexes within indexes", self.shown)
    }

    /// The manifest with the tag, for this machine.
    fn choose<'m>(&self, manifests: &'m [Descriptor], tag: Option<&str>) -> Result<&'m Descriptor> {
        let name = |m: &Descriptor| m.annotations.get("org.opencontainers.image.ref.name").cloned();
        let fits = |m: &&Descriptor| {
            tag.is_none_or(|tag| name(m).as_deref() == Some(tag))
                && m.platform.as_ref().is_none_or(|p| p.os == "linux" && p.architecture == architecture())
        };
        let found: Vec<&Descriptor> = manifests.iter().filter(fits).collect();
        let shown = &self.shown;
        match found.as_slice() {
            [one] => Ok(one),
            [] => bail!("read image layout `{shown}`: no image{} for linux/{}", tagged(tag), architecture()),
            several => {
                let names: Vec<String> = several.iter().filter_map(|m| name(m)).collect();
                bail!(
                    "read image layout `{shown}`: {} images: choose one with --from {shown}:TAG (tags: {})",
                    several.len(),
                    names.join(", ")
                )
            }
        }
    }

    /// A document by its digest, `ALGORITHM:HEX`.
    fn blob<T: for<'de> Deserialize<'de>>(&self, digest: &str) -> Result<T> {
        let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
        let Some((algorithm, hex)) = digest.split_once(':').filter(|(a, h)| word(a) && word(h)) else {
            bail!("read image layout `{}`: `{}` is no digest", self.shown, digest.escape_debug());
        };
        let name = format!("blobs/{algorithm}/{hex}");
        self.parse(&name, &self.read(&name)?)
    }

    fn parse<T: for<'de> Deserialize<'de>>(&self, name: &str, bytes: &[u8]) -> Result<T> {
        serde_json::from_slice(bytes).with_context(|| format!("read `{}/{name}`", self.shown))
    }

    /// A file beneath the layout's directory.
    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let doing = || format!("read `{}/{name}`", self.shown);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = rustix::fs::openat2(&self.directory, name, flags, Mode::empty(), how)
            .map_err(|errno| failed(doing())(errno))?;
        read_regular(file).with_context(doing)
    }
}

fn tagged(tag: Option<&str>) -> String {
    tag.map(|tag| format!(" `{tag}`")).unwrap_or_default()
}

/// The whole of a regular file of bounded length.
fn read_regular(file: OwnedFd) -> Result<Vec<u8>> {
    let stat = rustix::fs::fstat(&file)?;
    ensure!(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile, "it is not a regular file");
    let mut bytes = Vec::new();
    File::from(file).take(LONGEST + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= LONGEST, "it is longer than {LONGEST} bytes");
    Ok(bytes)
}

/// This machine's name in the platform of an image.
const fn architecture() -> &'static str {
    if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }
}

/// User, group and further groups of `USER[:GROUP]`, numbers or names. What is all digits is an id (R13).
fn user(text: &str, rootfs: &Path) -> Result<(u32, u32, Vec<u32>)> {
    if text.is_empty() {
        return Ok((0, 0, Vec::new()));
    }
    let (user, group) = text.split_once(':').map_or((text, None), |(u, g)| (u, Some(g)));
    let accounts = Accounts::read(rootfs);
    let (uid, name, own) = accounts.user(user)?;
    match group.filter(|group| !group.is_empty()) {
        Some(group) => Ok((uid, accounts.group(group)?, Vec::new())),
        None => Ok((uid, own, name.map(|name| accounts.groups_of(&name, own)).unwrap_or_default())),
    }
}

/// The image's passwd and group files; empty where they are not.
struct Accounts {
    passwd: String,
    group: String,
    rootfs: String,
}

impl Accounts {
    fn read(rootfs: &Path) -> Accounts {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, rootfs, flags, Mode::empty()).ok().map(Root::new);
        let file = |path: &str| {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let file = root.as_ref()?.open(path, flags, Links::Follow).ok()?;
            Some(String::from_utf8_lossy(&read_regular(file).ok()?).into_owned())
        };
        Accounts {
            passwd: file("/etc/passwd").unwrap_or_default(),
            group: file("/etc/group").unwrap_or_default(),
            rootfs: rootfs.display().to_string(),
        }
    }

    /// Id, name and group of a user.
    fn user(&self, wanted: &str) -> Result<(u32, Option<String>, u32)> {
        let id = number(wanted)?;
        let found = self.passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let (uid, gid) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
            let is = id.map_or(*fields.first()? == wanted, |id| id == uid);
            is.then(|| (uid, Some(fields[0].to_string()), gid))
        });
        match (found, id) {
            (Some(found), _) => Ok(found),
            (None, Some(id)) => Ok((id, None, 0)),
            (None, None) => Err(self.unknown("user", wanted, "passwd")),
        }
    }

    fn group(&self, wanted: &str) -> Result<u32> {
        if let Some(id) = number(wanted)? {
            return Ok(id);
        }
        let mut lines = self.group.lines().map(|line| line.split(':').collect::<Vec<_>>());
        lines
            .find(|fields| fields.first() == Some(&wanted))
            .and_then(|fields| fields.get(2)?.parse().ok())
            .ok_or_else(|| self.unknown("group", wanted, "group"))
    }

    /// The groups that list a user as a member.
    fn groups_of(&self, name: &str, own: u32) -> Vec<u32> {
        let member = |line: &str| {
            let fields: Vec<&str> = line.split(':').collect();
            let listed = fields.get(3)?.split(',').any(|member| member == name);
            fields.get(2)?.parse().ok().filter(|gid| listed && *gid != own)
        };
        self.group.lines().filter_map(member).collect()
    }

    fn unknown(&self, kind: &str, name: &str, file: &str) -> anyhow::Error {
        anyhow!(
            "the image's {kind} `{}` is not in `{}/etc/{file}`: unpack the image there first",
            name.escape_debug(),
            self.rootfs
        )
    }
}

/// The id that a text of digits is.
fn number(text: &str) -> Result<Option<u32>> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(id) if id < u32::MAX => Ok(Some(id)),
        _ => bail!("the image's id {text} is out of range: at most {}", u32::MAX - 1),
    }
}
