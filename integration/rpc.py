#!/usr/bin/python3
"""Calls one method of the container runtime interface and prints the answer as JSON.

    rpc.py SOCKET METHOD [JSON]           CRI call; the request and the answer are JSON
    rpc.py SOCKET exec ID tty|pipes CMD…  CRI exec as kubectl does it: stdin goes in, output comes out
    rpc.py SOCKET attach ID tty|pipes     the same for the container's own process
    rpc.py SOCKET update-task NAMESPACE ID JSON   containerd's task service with OCI LinuxResources
The generated messages (rpc_pb2) are on PYTHONPATH. An error prints its text and exits with 1.
"""
import base64
import json
import os
import socket
import struct
import sys
import threading
import urllib.parse

import grpc
from google.protobuf import json_format

import rpc_pb2 as pb

# method: (request, answer)
METHODS = {
    "Version": (pb.VersionRequest, pb.VersionResponse),
    "RunPodSandbox": (pb.RunPodSandboxRequest, pb.RunPodSandboxResponse),
    "StopPodSandbox": (pb.PodSandboxRequest, pb.Empty),
    "RemovePodSandbox": (pb.PodSandboxRequest, pb.Empty),
    "PodSandboxStatus": (pb.PodSandboxRequest, pb.PodSandboxStatusResponse),
    "ListPodSandbox": (pb.Empty, pb.ListPodSandboxResponse),
    "CreateContainer": (pb.CreateContainerRequest, pb.CreateContainerResponse),
    "StartContainer": (pb.ContainerRequest, pb.Empty),
    "StopContainer": (pb.StopContainerRequest, pb.Empty),
    "RemoveContainer": (pb.ContainerRequest, pb.Empty),
    "ContainerStatus": (pb.ContainerRequest, pb.ContainerStatusResponse),
    "UpdateContainerResources": (pb.UpdateContainerResourcesRequest, pb.Empty),
    "ExecSync": (pb.ExecSyncRequest, pb.ExecSyncResponse),
    "Exec": (pb.ExecRequest, pb.UrlResponse),
    "Attach": (pb.AttachRequest, pb.UrlResponse),
    "ContainerStats": (pb.ContainerRequest, pb.ContainerStatsResponse),
}
SECONDS = 60


def call(channel, path, request, answer, metadata=None):
    """One unary call."""
    stub = channel.unary_unary(
        path, request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
    )
    return stub(request, timeout=SECONDS, metadata=metadata)


def cri(channel, method, fields):
    request, answer = METHODS[method]
    message = json_format.ParseDict(fields, request())
    return call(channel, "/runtime.v1.RuntimeService/" + method, message, answer)


def update_task(channel, namespace, container, resources):
    request = pb.UpdateTaskRequest(
        container_id=container,
        resources=pb.Resources(
            type_url="types.containerd.io/opencontainers/runtime-spec/1/LinuxResources", value=resources.encode()
        ),
    )
    metadata = (("containerd-namespace", namespace),)
    call(channel, "/containerd.services.tasks.v1.Tasks/Update", request, pb.Empty, metadata)


class WebSocket:
    """The client side of the streaming protocol: binary frames whose first byte is the stream's number."""

    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.sock = socket.create_connection((parts.hostname, parts.port), timeout=SECONDS)
        key = base64.b64encode(os.urandom(16)).decode()
        path = parts.path + ("?" + parts.query if parts.query else "")
        self.sock.sendall(
            (
                f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                f"Origin: http://{parts.netloc}\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
                "Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
            ).encode()
        )
        self.stream = self.sock.makefile("rb")
        status = self.stream.readline().decode().strip()
        if " 101 " not in status + " ":
            raise RuntimeError("the stream was refused: " + status)
        while self.stream.readline().strip():
            pass

    def send(self, channel, data):
        payload = bytes([channel]) + data
        mask = os.urandom(4)
        size = len(payload)
        head = b"\x82" + (bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size))
        self.sock.sendall(head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload)))

    def frames(self):
        while True:
            head = self.stream.read(2)
            if len(head) < 2:
                return
            size = head[1] & 0x7F
            if size == 126:
                size = struct.unpack(">H", self.stream.read(2))[0]
            elif size == 127:
                size = struct.unpack(">Q", self.stream.read(8))[0]
            data = self.stream.read(size)
            if head[0] & 0x0F == 8:
                return
            if data:
                yield data[0], data[1:]


def stream(url):
    """Copies stdin to the stream and the stream to stdout and stderr; returns the exit status."""
    ws = WebSocket(url)

    def feed():
        while chunk := os.read(0, 4096):
            ws.send(0, chunk)

    threading.Thread(target=feed, daemon=True).start()
    status = 0
    for channel, data in ws.frames():
        if channel in (1, 2):
            os.write(channel, data)
        elif channel == 3:
            status = exit_status(json.loads(data))
    return status


def exit_status(answer):
    if answer.get("status") == "Success":
        return 0
    for cause in answer.get("details", {}).get("causes", []):
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    print(answer.get("message", answer), file=sys.stderr)
    return 1


def main(address, method, *args):
    with grpc.insecure_channel("unix://" + address) as channel:
        if method == "update-task":
            update_task(channel, *args)
        elif method in ("exec", "attach"):
            fields = {"containerId": args[0], "stdin": True, "stdout": True, "tty": args[1] == "tty"}
            fields["stderr"] = not fields["tty"]
            if method == "exec":
                fields["cmd"] = list(args[2:])
            return stream(cri(channel, method.capitalize(), fields).url)
        else:
            answer = cri(channel, method, json.loads(args[0]) if args else {})
            print(json.dumps(json_format.MessageToDict(answer, including_default_value_fields=True)))
    return 0


if __name__ == "__main__":
    try:
        code = main(*sys.argv[1:])
    except grpc.RpcError as error:
        print(error.details(), file=sys.stderr)
        code = 1
    sys.stdout.flush()
    os._exit(code)
