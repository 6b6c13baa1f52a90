//! The one netlink socket option that rustix lacks. Called by `container::rtnetlink`.

use super::check;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// NETLINK_EXT_ACK (netlink(7)): refusals carry the kernel's words.
pub fn extended_ack(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the value outlives the call and its size is passed along.
    unsafe {
        check(
            libc::setsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_NETLINK,
                libc::NETLINK_EXT_ACK,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            )
            .into(),
        )?
    };
    Ok(())
}
