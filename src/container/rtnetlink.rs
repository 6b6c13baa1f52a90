//! A small rtnetlink(7) client: links that are moved, renamed and set up, and their addresses. One
//! request and its answer at a time, on a socket of the network namespace it was made in. Called by
//! `netdevice`.

use crate::error::Doing;
use anyhow::Result;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socket_with};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

const HEADER: usize = 16;
/// Size of struct ifinfomsg.
const LINK: usize = 16;
/// Size of struct ifaddrmsg.
const ADDRESS: usize = 8;
/// What the kernel puts into one datagram at most (netlink(7) advises 8 KiB; dumps use up to 32).
const BUFFER: usize = 64 << 10;
/// Set in the flags of an acknowledgement that has attributes (linux/netlink.h).
const ACK_TLVS: u16 = 0x200;
/// The error's text among the attributes of an acknowledgement.
const ACK_TEXT: u16 = 1;
/// An address' place in the kernel's order (linux/if_addr.h).
const IFA_RT_PRIORITY: u16 = 9;
const IFA_PROTO: u16 = 11;
/// Flags of an address that the one who adds it may give: NODAD, HOMEADDRESS, MANAGETEMPADDR,
/// NOPREFIXROUTE and MCAUTOJOIN.
const OWN_ADDRESS_FLAGS: u32 = 0x02 | 0x10 | 0x100 | 0x200 | 0x400;

/// A conversation with the kernel about one network namespace.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
}

/// A permanent address of global scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// AF_INET or AF_INET6.
    family: u8,
    /// Bits of the network.
    prefix: u8,
    /// IFA_F_* that are not the kernel's own.
    flags: u32,
    /// Attributes as the kernel gave them: the addresses, and the priority of their route.
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Client {
    /// Opens a socket (NETLINK_ROUTE is protocol 0) in the network namespace that the caller is in.
    pub fn open() -> Result<Client> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .doing(|| "open an rtnetlink socket")?;
        crate::sys::netlink::extended_ack(&socket).doing(|| "set up the rtnetlink socket")?;
        Ok(Client { socket })
    }

    /// The number of an interface; none when there is no such name.
    pub fn index(&self, name: &str) -> Result<Option<u32>> {
        match rustix::net::netdevice::name_to_index(&self.socket, name) {
            Ok(index) => Ok(Some(index)),
            Err(rustix::io::Errno::NODEV) => Ok(None),
            Err(error) => Err(error).doing(|| format!("look up `{name}`")),
        }
    }

    /// Whether an interface is up (IFF_UP).
    pub fn is_up(&self, index: u32) -> Result<bool> {
        let request = message(libc::RTM_GETLINK, 0, &link(index, 0), &[]);
        let answers = self.call(request).doing(|| "read its flags")?;
        let flags = answers.iter().find_map(|m| word(m, HEADER + 8));
        Ok(flags.is_some_and(|flags| flags & libc::IFF_UP as u32 != 0))
    }

    /// Moves an interface into another network namespace, under a name that is free there.
    pub fn move_link(&self, index: u32, namespace: BorrowedFd, name: &str) -> Result<()> {
        let namespace = namespace.as_raw_fd().to_ne_bytes();
        let attributes = [(libc::IFLA_NET_NS_FD, namespace.to_vec()), (libc::IFLA_IFNAME, text(name))];
        self.call(message(libc::RTM_NEWLINK, libc::NLM_F_ACK, &link(index, 0), &attributes))
            .doing(|| "move it")?;
        Ok(())
    }

    /// Renames an interface that is down; the kernel replaces `%d` by a free number.
    pub fn rename(&self, index: u32, name: &str) -> Result<()> {
        let attributes = [(libc::IFLA_IFNAME, text(name))];
        self.call(message(libc::RTM_NEWLINK, libc::NLM_F_ACK, &link(index, 0), &attributes))
            .doing(|| format!("rename it to `{name}`"))?;
        Ok(())
    }

    /// Sets an interface up.
    pub fn set_up(&self, index: u32) -> Result<()> {
        let up = link(index, libc::IFF_UP as u32);
        self.call(message(libc::RTM_NEWLINK, libc::NLM_F_ACK, &up, &[])).doing(|| "set it up")?;
        Ok(())
    }

    /// The permanent addresses of global scope of an interface, in their order.
    pub fn addresses(&self, index: u32) -> Result<Vec<Address>> {
        let any = [0u8; ADDRESS];
        let answers = self
            .call(message(libc::RTM_GETADDR, libc::NLM_F_DUMP, &any, &[]))
            .doing(|| "read its addresses")?;
        Ok(answers.iter().filter_map(|m| address(m, index)).collect())
    }

    /// Gives an address to an interface.
    pub fn add_address(&self, index: u32, address: &Address) -> Result<()> {
        let mut head = vec![address.family, address.prefix, 0, libc::RT_SCOPE_UNIVERSE];
        head.extend(index.to_ne_bytes());
        let mut attributes = address.attributes.clone();
        attributes.push((libc::IFA_FLAGS, address.flags.to_ne_bytes().to_vec()));
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        self.call(message(libc::RTM_NEWADDR, flags, &head, &attributes))
            .doing(|| "give it the addresses that it had")?;
        Ok(())
    }

    /// Sends a request and collects the messages of its answer.
    fn call(&self, request: Vec<u8>) -> io::Result<Vec<Vec<u8>>> {
        rustix::net::send(&self.socket, &request, SendFlags::empty())?;
        // A single answer ends with itself, a dump with a message of its own, anything else with
        // an acknowledgement.
        let flags = half(&request, 6).unwrap_or_default();
        let single = flags & (libc::NLM_F_ACK | libc::NLM_F_DUMP) as u16 == 0;
        let mut answers = Vec::new();
        let mut buffer = vec![0u8; BUFFER];
        loop {
            let (length, _) = match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            for part in messages(buffer.get(..length).unwrap_or_default()) {
                match i32::from(half(part, 4).unwrap_or_default()) {
                    libc::NLMSG_ERROR => return refusal(part).map(|()| answers),
                    libc::NLMSG_DONE => return Ok(answers),
                    _ => answers.push(part.to_vec()),
                }
            }
            if single && !answers.is_empty() {
                return Ok(answers);
            }
        }
    }
}

/// A name with its final null byte.
fn text(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

/// struct ifinfomsg: which interface, and flags to set.
fn link(index: u32, flags: u32) -> [u8; LINK] {
    let mut head = [0u8; LINK];
    for (place, value) in [(4, index), (8, flags), (12, flags)] {
        if let Some(slot) = head.get_mut(place..place + 4) {
            slot.copy_from_slice(&value.to_ne_bytes());
        }
    }
    head
}

/// struct nlmsghdr, the request's own head and its attributes.
fn message(kind: u16, flags: i32, head: &[u8], attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = head.to_vec();
    for (kind, value) in attributes {
        body.extend((value.len() as u16 + 4).to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let flags = flags | libc::NLM_F_REQUEST;
    let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((flags as u16).to_ne_bytes());
    message.extend([0u8; 8]);
    message.extend(body);
    message
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The messages of a datagram, each from its header on.
fn messages(mut datagram: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some(length) = word(datagram, 0).map(|l| l as usize).filter(|l| *l >= HEADER) {
        let Some(one) = datagram.get(..length) else { break };
        found.push(one);
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// The attributes after a message's head.
fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let Some(length) = half(bytes, 0).map(usize::from).filter(|l| *l >= 4) {
        let (Some(kind), Some(value)) = (half(bytes, 2), bytes.get(4..length)) else { break };
        found.push((kind & 0x3fff, value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// An acknowledgement is an error message with number 0.
fn refusal(message: &[u8]) -> io::Result<()> {
    let errno = -(word(message, HEADER).unwrap_or_default() as i32);
    if errno == 0 {
        return Ok(());
    }
    let error = io::Error::from_raw_os_error(errno);
    match half(message, 6).filter(|flags| flags & ACK_TLVS != 0).and_then(|_| kernel_text(message)) {
        Some(text) => Err(io::Error::new(error.kind(), format!("{} ({text})", crate::error::why(&error)))),
        None => Err(error),
    }
}

/// The kernel's words: after the number come the request's header (the refused request itself is
/// left out or not, by NLM_F_CAPPED) and the attributes.
fn kernel_text(message: &[u8]) -> Option<String> {
    const CAPPED: u16 = 0x100;
    let capped = half(message, 6)? & CAPPED != 0;
    let request = if capped { HEADER } else { word(message, HEADER + 4)? as usize };
    let rest = message.get(HEADER + 4 + request.next_multiple_of(4)..)?;
    let (_, text) = attributes(rest).into_iter().find(|(kind, _)| *kind == ACK_TEXT)?;
    Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_string())
}

/// The address in an RTM_NEWADDR message, if it is permanent, global and of that interface.
fn address(message: &[u8], index: u32) -> Option<Address> {
    let head = message.get(HEADER..HEADER + ADDRESS)?;
    let &[family, prefix, short_flags, scope, ..] = head else { return None };
    let all = attributes(message.get(HEADER + ADDRESS..)?);
    let long_flags =
        all.iter().find(|(kind, _)| *kind == libc::IFA_FLAGS).and_then(|(_, value)| word(value, 0));
    let flags = long_flags.unwrap_or(short_flags.into());
    let wanted = word(head, 4) == Some(index)
        && scope == libc::RT_SCOPE_UNIVERSE
        && flags & libc::IFA_F_PERMANENT != 0;
    let kept = [libc::IFA_ADDRESS, libc::IFA_LOCAL, libc::IFA_BROADCAST, IFA_RT_PRIORITY, IFA_PROTO];
    wanted.then(|| Address {
        family,
        prefix,
        flags: flags & OWN_ADDRESS_FLAGS,
        attributes: all
            .into_iter()
            .filter(|(kind, _)| kept.contains(kind))
            .map(|(kind, value)| (kind, value.to_vec()))
            .collect(),
    })
}
