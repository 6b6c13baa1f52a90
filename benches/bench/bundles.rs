//! What is run: bundles in a temporary directory of their own, on a tmpfs in this process's mount
//! namespace, so that nothing is left of them. The programs are a few bytes of machine code: what is
//! measured is the runtime, not the start of a C library.

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// What Docker hands to its runtime; the same file that the tests use.
const DOCKER: &str = include_str!("../../tests/data/docker-config.json");

/// The directory of everything.
pub struct Bundles {
    directory: PathBuf,
    default: Value,
}

impl Bundles {
    /// Makes the root filesystem and the default bundle, from what `oxrun spec` writes.
    pub fn new(directory: &Path, default: &str) -> Result<Bundles, String> {
        let mut config: Value = serde_json::from_str(default).map_err(|e| format!("default spec: {e}"))?;
        let root = directory.join("rootfs");
        for path in ["bin", "proc", "dev", "sys", "etc", "tmp", "mnt"] {
            fs::create_dir_all(root.join(path)).map_err(|e| format!("make the root filesystem: {e}"))?;
        }
        for name in ["resolv.conf", "hostname", "hosts"] {
            write(&root.join("etc").join(name), b"")?;
            write(&directory.join(name), b"x\n")?;
        }
        program(&root.join("bin/true"), TRUE)?;
        program(&root.join("bin/pause"), PAUSE)?;
        // A version that all runtimes take, and no terminal.
        config["ociVersion"] = json!("1.0.2");
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/bin/true"]);
        config["root"]["path"] = json!(root.to_str());
        Ok(Bundles { directory: directory.to_path_buf(), default: config })
    }

    /// The default spec, running `true`.
    pub fn default_config(&self) -> Value {
        self.default.clone()
    }

    /// The default spec, running until it is killed.
    pub fn pausing(&self) -> Value {
        let mut config = self.default.clone();
        config["process"]["args"] = json!(["/bin/pause"]);
        config
    }

    /// What Docker writes, with what names things of its host pointed to what is here; without its
    /// hook, which is a program of Docker's own.
    pub fn docker(&self) -> Result<Value, String> {
        let mut config: Value = serde_json::from_str(DOCKER).map_err(|e| format!("Docker's config: {e}"))?;
        config["ociVersion"] = json!("1.0.2");
        config["root"]["path"] = self.default["root"]["path"].clone();
        config["process"]["args"] = json!(["/bin/true"]);
        let members = config.as_object_mut().ok_or("Docker's config is no object")?;
        members.remove("hooks");
        if let Some(linux) = config["linux"].as_object_mut() {
            linux.remove("cgroupsPath");
        }
        if !Path::new("/sys/kernel/security/apparmor").exists()
            && let Some(process) = config["process"].as_object_mut()
        {
            process.remove("apparmorProfile");
        }
        let limit = limit_of_descriptors();
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": limit, "hard": limit}]);
        for mount in config["mounts"].as_array_mut().into_iter().flatten() {
            if mount["type"] == "bind" {
                let name = mount["source"].as_str().and_then(|s| s.rsplit('/').next()).unwrap_or("hosts");
                mount["source"] = json!(self.directory.join(name).to_str());
            }
        }
        Ok(config)
    }

    /// The default spec with this many bind mounts more.
    pub fn with_binds(&self, count: usize) -> Result<Value, String> {
        let mut config = self.default.clone();
        let root = self.directory.join("rootfs/mnt");
        let source = self.directory.join("source");
        for directory in [&root, &source] {
            fs::create_dir_all(directory).map_err(|e| format!("make {}: {e}", directory.display()))?;
        }
        for index in 0..count {
            fs::create_dir_all(root.join(index.to_string())).map_err(|e| format!("make a target: {e}"))?;
            let mount = json!({
                "destination": format!("/mnt/{index}"), "type": "bind", "source": source.to_str(),
                "options": ["rbind", "rprivate"],
            });
            config["mounts"].as_array_mut().ok_or("the default spec has no mounts")?.push(mount);
        }
        Ok(config)
    }

    /// The default spec with this many environment variables.
    pub fn with_environment(&self, count: usize) -> Value {
        let mut config = self.default.clone();
        let entries = (0..count).map(|index| json!(format!("VARIABLE_{index}=value {index}")));
        config["process"]["env"] = entries.collect();
        config
    }

    /// Writes a bundle.
    pub fn write(&self, name: &str, config: &Value) -> Result<PathBuf, String> {
        let bundle = self.directory.join(name);
        fs::create_dir_all(&bundle).map_err(|e| format!("make {}: {e}", bundle.display()))?;
        write(&bundle.join("config.json"), config.to_string().as_bytes())?;
        Ok(bundle)
    }

    /// Mounts that are there before any container: on the host as runtimes see it, which is this
    /// process's own mount namespace.
    pub fn mount_on_host(&self, from: usize, to: usize) -> Result<(), String> {
        for index in from..to {
            let place = self.directory.join(format!("host/{index}"));
            fs::create_dir_all(&place).map_err(|e| format!("make a mount point: {e}"))?;
            super::mounts::tmpfs(&place)?;
        }
        Ok(())
    }

    /// Removes them again.
    pub fn unmount_on_host(&self, count: usize) {
        for index in 0..count {
            super::mounts::unmount(&self.directory.join(format!("host/{index}")));
        }
    }
}

fn write(path: &Path, content: &[u8]) -> Result<(), String> {
    fs::write(path, content).map_err(|e| format!("write {}: {e}", path.display()))
}

/// Docker's limit, or this process's own where it is lower.
fn limit_of_descriptors() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives during the call.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_max.min(1_048_576)
}

/// exit_group(0)
#[cfg(target_arch = "x86_64")]
const TRUE: &[u8] = &[0xb8, 0xe7, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];
/// again: pause(); goto again
#[cfg(target_arch = "x86_64")]
const PAUSE: &[u8] = &[0xb8, 0x22, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7];
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;

/// exit_group(0)
#[cfg(target_arch = "aarch64")]
const TRUE: &[u8] = &[0, 0, 0x80, 0xd2, 0xc8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4];
/// again: ppoll(0, 0, 0, 0); goto again
#[cfg(target_arch = "aarch64")]
const PAUSE: &[u8] = &[
    0, 0, 0x80, 0xd2, 1, 0, 0x80, 0xd2, 2, 0, 0x80, 0xd2, 3, 0, 0x80, 0xd2, 0x28, 9, 0x80, 0xd2, 1, 0, 0,
    0xd4, 0xfa, 0xff, 0xff, 0x17,
];
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

/// A whole executable: the ELF header, one segment, the code.
fn program(path: &Path, code: &[u8]) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
    file.extend(MACHINE.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    for word in [BASE + HEADERS, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    const LOAD: u32 = 1;
    const READ_EXECUTE: u32 = 5;
    file.extend(LOAD.to_le_bytes());
    file.extend(READ_EXECUTE.to_le_bytes());
    let length = HEADERS + code.len() as u64;
    for word in [0, BASE, BASE, length, length, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    write(path, &file)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(|e| format!("chmod: {e}"))
}
