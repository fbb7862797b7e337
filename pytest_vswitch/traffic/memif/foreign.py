"""A memif peer of another protocol version, to be refused.

`python -m pytest_vswitch.traffic.memif.foreign client|server SOCKET VERSION` says hello to the
server, or to the first client, of that Unix socket, and prints its answer: the reason of a
DISCONNECT, or the number of another message. VERSION is a number as on the wire, 0x200 for 2.0.
Exits with status 1, and says why, if there is no answer.
"""

from __future__ import annotations

import argparse
import socket
import struct
import sys

from pytest_vswitch.traffic.memif.protocol import DISCONNECT, HELLO, INIT, MESSAGE_BYTES

_WAIT_S = 20.0
_HELLO = struct.Struct("<H32sHHHHHB")
_INIT = struct.Struct("<HHIB24s32s")
_LARGEST = (255, 255, 255, 14)
"""Rings in each direction, regions, and binary logarithm of the ring size."""


def main(arguments: list[str]) -> int:
    """The process's exit status."""
    parser = argparse.ArgumentParser(prog="foreign")
    parser.add_argument("role", choices=("client", "server"))
    parser.add_argument("socket")
    parser.add_argument("version", type=lambda text: int(text, 0))
    given = parser.parse_args(arguments)
    ask = _as_client if given.role == "client" else _as_server
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as opened:
            opened.settimeout(_WAIT_S)
            answer = ask(opened, given.socket, given.version)
    except OSError as error:
        print(f"memif {given.socket}: no answer: {error}")
        return 1
    print(_words(answer))
    return 0


def _as_client(opened: socket.socket, path: str, version: int) -> bytes:
    opened.connect(path)
    opened.recv(MESSAGE_BYTES)  # HELLO
    opened.send(_INIT.pack(INIT, version, 0, 0, b"", b"foreign").ljust(MESSAGE_BYTES, b"\0"))
    return opened.recv(MESSAGE_BYTES)


def _as_server(opened: socket.socket, path: str, version: int) -> bytes:
    opened.bind(path)
    opened.listen()
    print("listening", flush=True)
    client, _ = opened.accept()
    with client:
        client.settimeout(_WAIT_S)
        hello = _HELLO.pack(HELLO, b"foreign", version, version, *_LARGEST)
        client.send(hello.ljust(MESSAGE_BYTES, b"\0"))
        return client.recv(MESSAGE_BYTES)


def _words(answer: bytes) -> str:
    if len(answer) != MESSAGE_BYTES:
        return f"a message of {len(answer)} bytes"
    kind, _, reason = struct.unpack_from("<HI96s", answer)
    if kind == DISCONNECT:
        return str(reason.split(b"\0", 1)[0].decode("ascii", "replace"))
    return f"message {kind}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
