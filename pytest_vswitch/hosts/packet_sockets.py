"""What a program's packet sockets have dropped: `python -m ... PID` prints `INTERFACE FRAMES`.

Only the sockets themselves tell that, and count from 0 again when asked (packet(7),
PACKET_STATISTICS): this takes a copy of each from the program (pidfd_getfd(2), Linux 5.6).
Runs on the DUT: standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import sys

_PIDFD_OPEN = 434
_PIDFD_GETFD = 438
_SOL_PACKET = 263
_PACKET_STATISTICS = 6


def dropped(pid: int) -> dict[str, int]:
    """Frames since it was last asked, by interface. Raises OSError."""
    counts: dict[str, int] = {}
    program = _call(_PIDFD_OPEN, pid, 0)
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                if not os.readlink(entry.path).startswith("socket:"):
                    continue
                number = _call(_PIDFD_GETFD, program, int(entry.name), 0)
                with socket.socket(fileno=number) as copy:
                    if copy.family == socket.AF_PACKET:
                        name = copy.getsockname()[0]
                        counts[name] = counts.get(name, 0) + _statistics(copy)
    finally:
        os.close(program)
    return counts


def _statistics(packets: socket.socket) -> int:
    _, drops = struct.unpack("II", packets.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
    return int(drops)


def _call(number: int, *arguments: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


if __name__ == "__main__":
    for interface, frames in sorted(dropped(int(sys.argv[1])).items()):
        print(interface, frames)
