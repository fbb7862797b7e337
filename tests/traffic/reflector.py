"""A DUT of two interfaces that errs on purpose: `python reflector.py ERROR d0 d1`.

Each frame that arrives at one leaves by the other with its MAC addresses swapped, unless
the error says otherwise. Says `ready` first, and again for each line of its standard input,
which is another error from now on; ends with its standard input.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
from collections.abc import Callable, Sequence

Fault = Callable[[int, int, bytes], Sequence[bytes]]
"""(port that received it, its number there from 0, swapped frame) -> frames to send on."""

LLDP = b"\x01\x80\xc2\0\0\x0e" + b"\x02\0\0\0\0\x99" + b"\x88\xcc" + bytes(46)
EVERY = 10
"""One frame in so many meets the fault."""


def at(times: Callable[[bytes], Sequence[bytes]]) -> Fault:
    return lambda port, number, frame: times(frame) if number % EVERY == 3 else (frame,)


def reorder(port: int, number: int, frame: bytes) -> Sequence[bytes]:
    """A frame comes after the one that follows it."""
    if number % EVERY == 3:
        held[port] = frame
        return ()
    late = held.pop(port, None)
    return (frame,) if late is None else (frame, late)


held: dict[int, bytes] = {}
FAULTS: dict[str, Fault] = {
    "none": lambda port, number, frame: (frame,),
    "silent": lambda port, number, frame: (),
    "drop": at(lambda frame: ()),
    "corrupt": at(lambda frame: (frame[:-1] + bytes([frame[-1] ^ 1]),)),
    "longer": at(lambda frame: (frame + b"more",)),
    "duplicate": at(lambda frame: (frame, frame)),
    "chatter": at(lambda frame: (LLDP, frame)),
    "chatter first": lambda port, number, frame: (*[LLDP] * (20 if not number else 0), frame),
    "reorder": reorder,
}


def receive(door: socket.socket) -> bytes:
    """The next frame, with the VLAN tag that the kernel takes out (packet(7))."""
    frame, beside, _, _ = door.recvmsg(65536, 128)
    for level, kind, data in beside:
        status, *_, tag, protocol = struct.unpack_from("IIIHHHH", data)
        if (level, kind) == (263, 8) and status & 0x10:  # TP_STATUS_VLAN_VALID
            frame = frame[:12] + struct.pack("!HH", protocol or 0x8100, tag) + frame[12:]
    return frame


def open_port(name: str) -> socket.socket:
    door = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    door.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING
    door.setsockopt(263, 8, 1)  # PACKET_AUXDATA
    door.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    door.bind((name, 3))
    return door


def main() -> None:
    fault = FAULTS[sys.argv[1]]
    ports = list(map(open_port, sys.argv[2:]))
    seen = [0, 0]
    print("ready", flush=True)
    while True:
        ready = select.select([sys.stdin, *ports], [], [])[0]
        if sys.stdin in ready:
            if not (line := sys.stdin.readline()):
                return
            fault = FAULTS[line.strip()]
            seen = [0, 0]
            held.clear()
            print("ready", flush=True)
        for port in range(2):
            if ports[port] not in ready:
                continue
            frame = receive(ports[port])
            swapped = frame[6:12] + frame[:6] + frame[12:]
            for made in fault(port, seen[port], swapped):
                ports[1 - port].send(made)
            seen[port] += 1


if __name__ == "__main__":
    main()
