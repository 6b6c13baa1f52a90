//! The wire format, and a peer that does not keep to it.

use super::*;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

#[test]
fn dbus_calls_are_encoded_as_the_specification_says() {
    let call = Call {
        path: "/a",
        interface: "b.c",
        method: "D",
        arguments: vec![Value::Text("xy".into()), Value::U64(7), Value::Bytes(vec![1, 2])],
    };
    let bytes = encode(1, None, &call);
    assert_eq!(message_length(&bytes).unwrap(), Some(bytes.len()));
    let message = decode(&bytes).unwrap();
    assert_eq!((message.member.as_str(), message.signature.as_str()), ("D", "stay"));
    let body = b"\x02\0\0\0xy\0\0\x07\0\0\0\0\0\0\0\x02\0\0\0\x01\x02";
    assert_eq!(message.body, body);
}

#[test]
fn dbus_properties_are_aligned() {
    let mut w = Writer::default();
    w.value(&Value::Properties(vec![
        ("A".into(), Value::Bool(true)),
        ("B".into(), Value::Pairs(vec![("c".into(), "d".into())])),
    ]));
    let want: &[u8] = b"length..\
        \x01\0\0\0A\0\x01b\0\0\0\0\x01\0\0\0\
        \x01\0\0\0B\0\x05a(ss)\0\0\0\0\x0e\0\0\0\0\0\0\0\x01\0\0\0c\0\0\0\x01\0\0\0d\0";
    // The array's own length is checked by hand: from offset 8 to the end.
    assert_eq!(w.0[..4], ((w.0.len() - 8) as u32).to_le_bytes());
    assert_eq!(w.0[8..], want[8..]);
}

#[test]
fn dbus_rubbish_is_an_error_and_no_panic() {
    let good = encode(1, Some("x"), &Call { path: "/", interface: "i.i", method: "M", arguments: vec![] });
    for cut in 0..good.len() {
        let _ = decode(&good[..cut]);
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[cut] ^= 1 << bit;
            let _ = (message_length(&bad), decode(&bad));
        }
    }
    let text = |error: anyhow::Error| format!("{error:#}");
    assert_eq!(text(decode(&good[..20]).unwrap_err()), "a D-Bus message from systemd is cut short");
    let mut odd = good.clone();
    odd[18] = b'y';
    let error = text(decode(&odd).unwrap_err());
    assert_eq!(error, "systemd sent a D-Bus message with a header field of type `y`");
    assert_eq!(
        text(message_length(&[0xff; 16]).unwrap_err()),
        "systemd sent something that is no D-Bus message"
    );
    let number = Message { signature: "u".into(), body: vec![0; 4], ..Message::default() };
    for error in [number.text().unwrap_err(), number.variant_text().unwrap_err()] {
        assert_eq!(text(error), "systemd answered with `u` instead of a text");
    }
}

#[test]
fn dbus_addresses_name_a_socket() {
    let path = socket_of("unix:abstract=/x;unix:path=/run/user/1000/bus,guid=12");
    assert_eq!(path, Some("/run/user/1000/bus".into()));
    assert_eq!(socket_of("tcp:host=localhost"), None);
}

/// What is said of a peer that answers the first bytes it gets like this, and does this then; `first`
/// before it is asked something.
fn said(answer: &'static [u8], first: bool, then: fn(UnixStream)) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bus");
    let listener = UnixListener::bind(&path).unwrap();
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 100];
        assert!(stream.read(&mut bytes).unwrap() > 0);
        stream.write_all(answer).unwrap();
        then(stream);
    });
    let call = Call { path: "/", interface: "a.b", method: "C", arguments: vec![] };
    let called =
        Connection::open(&path, false, "test", Duration::from_secs(20)).and_then(|mut connection| {
            while first && !peer.is_finished() {
                std::thread::yield_now();
            }
            connection.call(&call, "an answer")
        });
    format!("{:#}", called.unwrap_err()).replace(&path.display().to_string(), "BUS")
}

#[test]
fn dbus_peers_that_do_not_keep_to_it() {
    const GOOD: &[u8] = b"DATA\r\nOK 0123\r\n";
    assert_eq!(said(b"REJECTED\r\n", true, drop), "authenticate at `BUS`: it said `REJECTED`");
    assert_eq!(said(b"DATA\r\nERROR no\r\n", true, drop), "authenticate at `BUS`: it said `ERROR no`");
    let short = "`BUS` ended the connection instead of the answer to the authentication";
    assert_eq!(said(b"DATA", true, drop), short);
    assert_eq!(said(GOOD, true, drop), "send to `BUS`: broken pipe");
    // It goes with the call unread.
    let deaf = |stream: UnixStream| {
        rustix::net::recv(&stream, &mut [0u8; 1][..], RecvFlags::PEEK).unwrap();
    };
    assert_eq!(said(GOOD, false, deaf), "receive from `BUS`: connection reset by peer");
    let polite = |mut stream: UnixStream| assert!(stream.read(&mut [0; 1000]).unwrap() > 0);
    assert_eq!(said(GOOD, false, polite), "`BUS` ended the connection instead of an answer");
}

#[test]
fn dbus_sockets_that_are_none() {
    let open = |path: &Path| {
        let error = Connection::open(path, false, "test", Duration::from_secs(1)).unwrap_err();
        format!("{error:#}")
    };
    assert_eq!(open(Path::new("/no/such/bus")), "connect to `/no/such/bus`: no such file or directory");
    let long = PathBuf::from(format!("/{}", "x".repeat(200)));
    assert_eq!(open(&long), format!("connect to `{}`: file name too long", long.display()));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bus");
    let _deaf = UnixListener::bind(&path).unwrap();
    let error = Connection::open(&path, false, "test", Duration::from_millis(1)).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        format!("waited 0 s at `{}` for the answer to the authentication", path.display())
    );
}

/// The kernel polls no more descriptors than a process may have.
#[test]
fn a_wait_that_the_kernel_refuses() {
    let (socket, _peer) = UnixStream::pair().unwrap();
    let time = Duration::from_secs(20);
    let connection = Connection {
        socket: socket.into(),
        peer: "BUS".into(),
        bus: false,
        task: String::new(),
        progress: Progress::begin(),
        serial: 0,
        time,
        deadline: Instant::now() + time,
        input: Vec::new(),
        signals: Vec::new(),
    };
    crate::error::open_record();
    let status = crate::sys::spawn::in_child(|| {
        let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, none).unwrap();
        let error = connection.wait(PollFlags::IN, "an answer").unwrap_err();
        assert_eq!(format!("{error:#}"), "poll `BUS`: invalid argument");
    });
    assert_eq!(status, 0);
}
