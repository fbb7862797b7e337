"""A DUT of two interfaces that takes its time: `python delayer.py MILLISECONDS d0 d1`.

Each frame that arrives at one leaves by the other so much later, its MAC addresses swapped.
Says `ready` first; for each line of its standard input, how long each frame really took since
the last such line [ns], from the kernel's time of arrival to after it was sent, a list for
each interface; `stall MILLISECONDS` makes it freeze once, later. Ends with its standard input.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from collections import deque

_TIMESTAMPNS = 35
STALL_AFTER = 100
"""Frames of the first interface that pass before it freezes."""


def open_port(name: str) -> socket.socket:
    door = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    door.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING
    door.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    door.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)
    door.setblocking(False)
    door.bind((name, 3))
    return door


def receive(door: socket.socket) -> tuple[int, bytes] | None:
    """When the next frame arrived [ns, Unix time] and the frame; None if there is none."""
    try:
        frame, beside, _, _ = door.recvmsg(65536, 128)
    except BlockingIOError:
        return None
    seconds, nanoseconds = struct.unpack("qq", beside[0][2])
    return seconds * 10**9 + nanoseconds, frame[6:12] + frame[:6] + frame[12:]


def main() -> None:
    delay_ns = int(float(sys.argv[1]) * 1e6)
    ports = list(map(open_port, sys.argv[2:]))
    with open("/proc/self/timerslack_ns", "w") as slack:
        slack.write("1")
    under_way: list[deque[tuple[int, bytes]]] = [deque(), deque()]
    took: list[list[int]] = [[], []]
    stall_s = 0.0
    print("ready", flush=True)
    while True:
        due_ns = [queue[0][0] + delay_ns for queue in under_way if queue]
        wait_s = max(0.0, (min(due_ns) - time.time_ns()) / 1e9) if due_ns else None
        ready = select.select([sys.stdin, *ports], [], [], wait_s)[0]
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                return
            stall_s = float(line.split()[1]) / 1e3 if line.startswith("stall") else 0.0
            print(json.dumps(took), flush=True)
            took = [[], []]
        for door, queue in zip(ports, under_way, strict=True):
            while (arrived := receive(door)) is not None:
                queue.append(arrived)
        if stall_s and len(took[0]) >= STALL_AFTER:
            time.sleep(stall_s)
            stall_s = 0.0
        for number, queue in enumerate(under_way):
            while queue and queue[0][0] + delay_ns <= time.time_ns():
                arrived_ns, frame = queue.popleft()
                ports[1 - number].send(frame)
                took[number].append(time.time_ns() - arrived_ns)


if __name__ == "__main__":
    main()
