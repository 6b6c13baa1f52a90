//! A seccomp agent: answers the notifications of the listener on standard input, all in one way,
//! and prints the number of each call.

use std::io::Error;

/// `errno N`, `value N`, `continue` or `die` (at the first notification, without an answer).
pub fn serve(how: &str, number: &str) {
    let number: i32 = number.parse().unwrap();
    while let Some(asked) = receive() {
        println!("{} {}", asked.data.nr, asked.pid);
        let (error, val, flags) = match how {
            "errno" => (-number, 0, 0),
            "value" => (0, i64::from(number), 0),
            "continue" => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            _ => std::process::exit(0),
        };
        let mut answer = libc::seccomp_notif_resp { id: asked.id, val, error, flags };
        // SAFETY: the descriptor is a listener, the structure is valid and of its type.
        let sent = unsafe { libc::ioctl(0, libc::SECCOMP_IOCTL_NOTIF_SEND, &mut answer) };
        let error = Error::last_os_error();
        // The one who asked may have died.
        assert!(sent == 0 || error.raw_os_error() == Some(libc::ENOENT), "send: {error}");
    }
}

/// The next notification; none when nobody is left who could ask.
fn receive() -> Option<libc::seccomp_notif> {
    loop {
        let mut poll = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd; seccomp_notif is plain data, which the kernel wants as zeros.
        let (received, asked) = unsafe {
            assert_eq!(libc::poll(&mut poll, 1, 60_000), 1, "nobody asks");
            if poll.revents & libc::POLLIN == 0 {
                return None;
            }
            let mut asked: libc::seccomp_notif = std::mem::zeroed();
            (libc::ioctl(0, libc::SECCOMP_IOCTL_NOTIF_RECV, &mut asked), asked)
        };
        match (received, Error::last_os_error().raw_os_error()) {
            (0, _) => return Some(asked),
            (_, Some(libc::ENOENT | libc::EINTR)) => {}
            (_, error) => unreachable!("receive: {error:?}"),
        }
    }
}
