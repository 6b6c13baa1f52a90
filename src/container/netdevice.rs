//! `linux.netDevices`: network devices of the host that the container gets. Each is moved into its
//! network namespace, renamed, given back the addresses that the kernel takes away on the way, and
//! set up. Done by the host side when init is in its namespaces; what was moved goes back when
//! `create` fails. After that they are the container's: deleting it does not touch them.

use super::rtnetlink::{Address, Client};
use crate::bundle::plan::NamespaceKind;
use crate::error::{Context, Doing, bail, shown};
use crate::sys::clone::setns;
use anyhow::Result;
use rustix::fs::OFlags;
use std::os::fd::{AsFd, OwnedFd};

/// The devices that were moved, to be put back.
#[derive(Debug)]
pub struct Moved {
    outside: Side,
    inside: Side,
    devices: Vec<Device>,
}

/// A network namespace and a conversation about it.
#[derive(Debug)]
struct Side {
    namespace: OwnedFd,
    client: Client,
}

/// A device as it was.
#[derive(Debug)]
struct Device {
    name: String,
    index_inside: u32,
    addresses: Vec<Address>,
    up: bool,
}

/// Moves `devices` (name on the host, name in the container) into the network namespace of the
/// process `pid`. When one cannot be moved, none is.
pub fn give(devices: &[(String, String)], pid: i32) -> Result<Moved> {
    let mut moved = enter(pid).context("linux.netDevices")?;
    for (name, inside) in devices {
        if let Err(error) = moved.give(name, inside) {
            moved.put_back();
            let place = format!("move network device `{name}` into the container (linux.netDevices.{name})");
            return Err(error).context(place);
        }
    }
    Ok(moved)
}

/// The same for a container that is restored: what came back with its network namespace is left alone.
pub fn give_missing(devices: &[(String, String)], pid: i32) -> Result<Option<Moved>> {
    if devices.is_empty() {
        return Ok(None);
    }
    let there = enter(pid).context("linux.netDevices")?;
    let mut missing = Vec::new();
    for device in devices {
        if there.inside.client.index(&device.1)?.is_none() {
            missing.push(device.clone());
        }
    }
    drop(there);
    if missing.is_empty() { Ok(None) } else { give(&missing, pid).map(Some) }
}

/// Brings the loopback interface of a process's network namespace up, as `create` does in a new one.
pub fn bring_loopback_up(pid: i32) -> Result<()> {
    let inside = enter(pid)?.inside;
    let index = inside.client.index("lo")?.context("the network namespace has no loopback interface")?;
    inside.client.set_up(index)
}

fn enter(pid: i32) -> Result<Moved> {
    let outside = Side { namespace: namespace_of("self")?, client: Client::open()? };
    let namespace = namespace_of(&pid.to_string())?;
    let inode =
        |fd: &OwnedFd| rustix::fs::fstat(fd).map(|s| s.st_ino).doing(|| "look at a network namespace");
    if inode(&namespace)? == inode(&outside.namespace)? {
        bail!("the container's network namespace is the host's: a device cannot be moved there");
    }
    let flag = NamespaceKind::Network.flag();
    setns(&namespace, flag)
        .doing(|| "enter the container's network namespace (this needs root on the host)")?;
    let client = Client::open();
    setns(&outside.namespace, flag).doing(|| "return to the host's network namespace")?;
    Ok(Moved { outside, inside: Side { namespace, client: client? }, devices: Vec::new() })
}

fn namespace_of(pid: &str) -> Result<OwnedFd> {
    crate::hostfs::open(format!("/proc/{pid}/ns/net"), OFlags::RDONLY).doing(|| "open the network namespace")
}

impl Moved {
    fn give(&mut self, name: &str, inside: &str) -> Result<()> {
        let Some(index) = self.outside.client.index(name)? else {
            bail!("there is no such device in the runtime's network namespace");
        };
        if !inside.contains('%') && self.inside.client.index(inside)?.is_some() {
            bail!("a device named `{inside}` exists there already: give another name, or one with `%d`");
        }
        let addresses = self.outside.client.addresses(index)?;
        let up = self.outside.client.is_up(index)?;
        // Under this name it can be found again: its number may change on the way.
        let passing = format!("ox{:07x}n{}", std::process::id(), self.devices.len());
        let moved = self.outside.client.move_link(index, self.inside.namespace.as_fd(), &passing);
        let device =
            |index_inside| Device { name: name.to_string(), index_inside, addresses: addresses.clone(), up };
        let found = moved.and_then(|()| self.inside.client.index(&passing));
        match found.and_then(|index| index.context("it is not where it was moved to")) {
            Ok(index) => self.devices.push(device(index)),
            Err(error) => {
                // Asked once more, as it has to be put back, also where only the answer was not heard.
                let again = self.inside.client.index(&passing).ok().flatten();
                self.devices.extend(again.map(device));
                return Err(error);
            }
        }
        let index_inside = self.devices.last().context("no device was moved")?.index_inside;
        self.inside.client.rename(index_inside, inside)?;
        settle(&self.inside.client, index_inside, &addresses, true)
    }

    /// Puts all devices back as they were; what cannot be put back is told.
    pub fn put_back(&mut self) {
        while let Some(device) = self.devices.pop() {
            if let Err(error) = self.put_one_back(&device) {
                crate::warn!("put network device `{}` back: {}", device.name, shown(&error));
            }
        }
    }

    fn put_one_back(&self, device: &Device) -> Result<()> {
        self.inside.client.move_link(device.index_inside, self.outside.namespace.as_fd(), &device.name)?;
        let index = self.outside.client.index(&device.name)?.context("it did not arrive")?;
        settle(&self.outside.client, index, &device.addresses, device.up)
    }
}

/// Addresses, and up.
fn settle(client: &Client, index: u32, addresses: &[Address], up: bool) -> Result<()> {
    for address in addresses {
        client.add_address(index, address)?;
    }
    if up { client.set_up(index) } else { Ok(()) }
}
