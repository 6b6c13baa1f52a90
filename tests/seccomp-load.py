#!/usr/bin/env python3
"""Loads a filter in a child and makes one call there: reads {"program": [[code, jt, jf, k], ...],
"flags": bits, "number": n, "args": [...]} and writes what became of the child as one word:
"returned N", "errno N", "signal N" or "notified N" (N: what the agent, this script, saw and answers).
Given {"programs": [program, ...]} it writes which of them the kernel takes.
Used by the tests of src/seccomp. Exits 77 where filters cannot be loaded."""

import ctypes
import errno
import fcntl
import json
import os
import resource
import struct
import sys
import threading

SECCOMP, NEW_LISTENER = 317, 8
NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101
ANSWER = 99
libc = ctypes.CDLL(None, use_errno=True)


def load(program, flags):
    instructions = b"".join(struct.pack("HBBI", *i) for i in program)
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer)))
    if libc.prctl(38, 1, 0, 0, 0) != 0:
        sys.exit("no_new_privs failed")
    result = libc.syscall(SECCOMP, 1, ctypes.c_uint(flags), fprog)
    if result < 0:
        sys.exit(77 if ctypes.get_errno() in (errno.ENOSYS, errno.EACCES) else f"errno {ctypes.get_errno()}")
    return result


def answer(fd):
    notification = bytearray(80)
    fcntl.ioctl(fd, NOTIF_RECV, notification)
    (cookie,) = struct.unpack_from("Q", notification)
    (number,) = struct.unpack_from("i", notification, 16)
    fcntl.ioctl(fd, NOTIF_SEND, bytearray(struct.pack("QqiI", cookie, 0, -ANSWER, 0)))
    return number


def call_as_thread(job, write):
    """With a listener only this thread has the filter, so that the main thread can answer."""
    listening, done = [], threading.Event()

    def body():
        listening.append(load(job["program"], job["flags"]))
        done.set()
        result = libc.syscall(job["number"], *map(ctypes.c_ulong, job["args"]))
        listening.append(ctypes.get_errno() if result < 0 else 0)

    thread = threading.Thread(target=body)
    thread.start()
    done.wait()
    number = answer(listening[0])
    thread.join()
    write(f"notified {number} errno {listening[1]}")


def child(job, write):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if job["flags"] & NEW_LISTENER:
        call_as_thread(job, write)
        return
    load(job["program"], job["flags"])
    result = libc.syscall(job["number"], *map(ctypes.c_ulong, job["args"]))
    write(f"errno {ctypes.get_errno()}" if result < 0 else f"returned {result}")


def loads(program):
    """Whether the kernel takes a program; only a child has it then, and may die of it."""
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            load(program, 0)
        except SystemExit:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return status == 0 or os.WIFSIGNALED(status)


def main():
    job = json.load(sys.stdin)
    if "programs" in job:
        print(json.dumps([loads(program) for program in job["programs"]]))
        return
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        child(job, lambda text: os.write(writer, text.encode()))
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        print("signal", os.WTERMSIG(status))
    else:
        print(os.read(reader, 100).decode())
        sys.exit(os.WEXITSTATUS(status))


main()
