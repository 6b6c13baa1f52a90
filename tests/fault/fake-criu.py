#!/usr/bin/env python3
# Speaks CRIU's protocol far enough for one checkpoint or restore that goes well, or as FAKE_MODE says.
import os, socket, sys

mode = os.environ.get("FAKE_MODE", "")
s = socket.socket(fileno=int(sys.argv[2]))
GOOD = b"\x10\x01"
DUMP, RESTORE, FEATURES, VERSION = 1, 2, 9, 10


def answer(kind):
    if mode == f"other-{kind}":
        return b"\x08\x03" + GOOD
    if mode == f"bare-{kind}":
        return b"\x08" + bytes([kind]) + GOOD
    if kind == VERSION:
        return b"\x08\x0a" + GOOD + b"\x52\x04\x08\x04\x10\x01"
    if kind == FEATURES:
        return b"\x08\x09" + GOOD + b"\x42\x04\x08\x01\x10\x01"
    return b"\x08" + bytes([kind]) + GOOD


while True:
    request = s.recv(1 << 20)
    if not request:
        break
    kind = request[1]
    if kind == RESTORE and mode.startswith("step-"):
        # step-NAME-PID
        name, pid = mode[5:].rsplit("-", 1)
        pid = int(pid)
        number = b""
        while pid > 127:
            number += bytes([pid & 127 | 128])
            pid >>= 7
        step = b"\x0a" + bytes([len(name)]) + name.encode() + b"\x10" + number + bytes([pid])
        step = b"\x08\x06" + GOOD + b"\x2a" + bytes([len(step)]) + step
        fds = [os.open("/dev/null", os.O_RDWR)] if name == "orphan-pts-master" else []
        socket.send_fds(s, [step], fds)
        s.recv(1000)
    s.send(answer(kind))
