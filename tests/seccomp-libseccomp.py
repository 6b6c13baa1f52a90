#!/usr/bin/env python3
"""Compiles profiles with the system's libseccomp: one profile (linux.seccomp as JSON) per input line,
one line of JSON out: {"program": [[code, jt, jf, k], ...], "unknown": [name, ...], "refused": number of rules}.
Used by the tests of src/seccomp to compare with. Exits 77 if there is no libseccomp."""

import ctypes
import json
import os
import struct
import sys

ACTIONS = {
    "KILL": 0, "KILL_THREAD": 0, "KILL_PROCESS": 0x80000000, "TRAP": 0x30000, "ERRNO": 0x50000,
    "NOTIFY": 0x7FC00000, "TRACE": 0x7FF00000, "LOG": 0x7FFC0000, "ALLOW": 0x7FFF0000,
}
OPERATORS = {"NE": 1, "LT": 2, "LE": 3, "EQ": 4, "GE": 5, "GT": 6, "MASKED_EQ": 7}


class Arg(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def library():
    try:
        lib = ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        print(error, file=sys.stderr)
        sys.exit(77)
    pointer, u32 = ctypes.c_void_p, ctypes.c_uint32
    lib.seccomp_init.restype, lib.seccomp_init.argtypes = pointer, [u32]
    lib.seccomp_rule_add_array.argtypes = [pointer, u32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(Arg)]
    lib.seccomp_arch_add.argtypes = [pointer, u32]
    lib.seccomp_arch_resolve_name.restype = u32
    lib.seccomp_export_bpf.argtypes = [pointer, ctypes.c_int]
    lib.seccomp_release.argtypes = [pointer]
    return lib


def action(name, errno):
    value = ACTIONS[name.removeprefix("SCMP_ACT_")]
    return value | (1 if errno is None else errno) if value in (0x50000, 0x7FF00000) else value


def add_rule(lib, context, call, value, args):
    array = (Arg * max(1, len(args)))()
    for i, arg in enumerate(args):
        operator = OPERATORS[arg["op"].removeprefix("SCMP_CMP_")]
        array[i] = Arg(arg["index"], operator, arg["value"], arg.get("valueTwo") or 0)
    return lib.seccomp_rule_add_array(context, value, call, len(args), array)


def add_rules(lib, context, profile, default):
    unknown, refused = set(), 0
    for rule in profile["syscalls"]:
        value, args = action(rule["action"], rule.get("errnoRet")), rule.get("args") or []
        repeats = len({a["index"] for a in args}) < len(args)
        for name in rule["names"]:
            call = lib.seccomp_syscall_resolve_name(name.encode())
            if call == -1:
                unknown.add(name)
            elif value != default:
                for alternative in [[a] for a in args] if repeats else [args]:
                    refused += add_rule(lib, context, call, value, alternative) != 0
    return unknown, refused


def export(lib, context):
    fd = os.memfd_create("program")
    if lib.seccomp_export_bpf(context, fd) != 0:
        sys.exit("seccomp_export_bpf failed")
    size = os.lseek(fd, 0, os.SEEK_END)
    program = os.pread(fd, size, 0)
    os.close(fd)
    return [struct.unpack_from("HBBI", program, at) for at in range(0, size, 8)]


def compile_profile(lib, profile):
    default = action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    context = lib.seccomp_init(default)
    for name in profile.get("architectures") or []:
        lib.seccomp_arch_add(context, lib.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode()))
    unknown, refused = add_rules(lib, context, profile, default)
    program = export(lib, context)
    lib.seccomp_release(context)
    return {"program": program, "unknown": sorted(unknown), "refused": refused}


def main():
    lib = library()
    for line in sys.stdin:
        print(json.dumps(compile_profile(lib, json.loads(line))), flush=True)


main()
