"""A memif server that forwards between two interfaces and errs on purpose.

Written from the protocol's description alone, not with the code under test. It
copies each frame from a ring that its client fills, lets a fault make of it what
it likes, and puts the outcome into the other client's ring of the same number.
"""

from __future__ import annotations

import array
import mmap
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

Fault = Callable[[int, int, bytes], Sequence[bytes]]
"""(port that received it, its number on that port from 0, frame) -> frames to send on."""

ACK, HELLO, INIT, ADD_REGION, ADD_RING, CONNECT, CONNECTED, DISCONNECT = range(1, 9)
DEADLINE_S = 20.0


def message(kind: int, form: str = "<", *values: object) -> bytes:
    return struct.pack("<H" + form.lstrip("<"), kind, *values).ljust(128, b"\0")


def hello(oldest: int = 0x200, newest: int = 0x200, log2_size: int = 14) -> bytes:
    return message(
        HELLO, "<32sHHHHHB", b"errs on purpose", oldest, newest, 255, 255, 255, log2_size
    )


def disconnect(reason: str) -> bytes:
    return message(DISCONNECT, "<I96s", 7, reason.encode())


class Ring:
    def __init__(self, region: mmap.mmap, offset: int, size: int) -> None:
        self.region = region
        self.offset = offset
        self.size = size
        self.next = 0
        cookie, self.flags = struct.unpack_from("<IH", region, offset)
        assert cookie == 0x3E31F20
        # Unlike struct, which goes byte by byte, a view moves the 16 bits at once.
        self._pointers = memoryview(region)[offset : offset + 128].cast("H")
        self._pointers[3] = self._pointers[32] = 0

    def free(self) -> int:
        """Slots between the client's head and here."""
        return (self._pointers[3] - self.next) & 0xFFFF

    def _slot(self) -> int:
        return self.offset + 128 + 16 * (self.next % self.size)

    def take(self) -> bytes:
        flags, region, length, offset = struct.unpack_from("<HHII", self.region, self._slot())
        assert (flags, region) == (0, 0)
        frame = self.region[offset : offset + length]
        self._advance()  # now the client may write there
        return frame

    def put(self, frame: bytes) -> None:
        """In as many buffers as it needs."""
        start, rest, pieces = self.next, frame, list[tuple[int, int, int]]()
        while rest or not pieces:
            _, _, room, offset = struct.unpack_from("<HHII", self.region, self._slot())
            piece, rest = rest[:room], rest[room:]
            self.region[offset : offset + len(piece)] = piece
            pieces.append((self._slot(), 1 if rest else 0, len(piece)))
            self.next += 1
        for slot, flags, length in pieces:
            struct.pack_into("<HHI", self.region, slot, flags, 0, length)
        self.next = start
        self._advance(len(pieces))

    def _advance(self, count: int = 1) -> None:
        self.next = (self.next + count) & 0xFFFF
        self._pointers[32] = self.next


class Interface:
    """One listening socket and the client that connects to it."""

    def __init__(self, path: Path) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(path))
        self.listener.listen()
        self.listener.settimeout(DEADLINE_S)
        self.rings: dict[bool, list[Ring]] = {True: [], False: []}
        """By whether they lead here, from queue 0 on."""

    def serve(self) -> None:
        self.control, _ = self.listener.accept()
        self.control.settimeout(DEADLINE_S)
        self.control.send(hello())
        region: mmap.mmap | None = None
        offers = []
        while True:
            data, fds, _, _ = socket.recv_fds(self.control, 128, 1)
            (kind,) = struct.unpack_from("<H", data)
            if kind == ADD_REGION:
                index, size = struct.unpack_from("<HQ", data, 2)
                assert index == 0
                region = mmap.mmap(fds[0], size)
            elif kind == ADD_RING:
                offers.append(struct.unpack_from("<HHHIBH", data, 2))
            for fd in fds:
                os.close(fd)
            if kind == CONNECT:
                break
            assert kind in (INIT, ADD_REGION, ADD_RING)
            self.control.send(message(ACK))
        assert region is not None
        for flags, index, number, offset, log2_size, _ in offers:
            mine = self.rings[flags == 1]
            assert (index, number) == (len(mine), 0)
            mine.append(Ring(region, offset, 1 << log2_size))
        self.control.send(message(CONNECTED, "<32s", b"errs"))


class Server:
    """Two interfaces and a thread that forwards between them; use it in a `with` block."""

    def __init__(self, paths: Sequence[Path], fault: Fault) -> None:
        self._interfaces = [Interface(path) for path in paths]
        self._fault = fault
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.error: BaseException | None = None
        self.seen = [0, 0]
        """Frames received by each port."""
        self.by_queue: tuple[dict[int, list[bytes]], dict[int, list[bytes]]] = ({}, {})
        """The frames themselves, by port and queue."""

    def die(self) -> None:
        """Close all connections without a word."""
        self._stop.set()
        self._thread.join(DEADLINE_S)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.die()
        if self.error and kind is None:
            raise self.error

    def _run(self) -> None:
        try:
            for interface in self._interfaces:
                interface.serve()
            while not self._stop.is_set():
                if not any(self._forward(port) for port in range(2)):
                    time.sleep(0.0005)
        except BaseException as error:
            self.error = error
        finally:
            for interface in self._interfaces:
                interface.listener.close()
                if hasattr(interface, "control"):
                    interface.control.close()

    def _forward(self, port: int) -> bool:
        sources = self._interfaces[port].rings[True]
        targets = self._interfaces[1 - port].rings[False]
        moved = False
        for queue, (source, target) in enumerate(zip(sources, targets, strict=True)):
            # Room for what a fault may add: nothing is lost but on purpose.
            while source.free() and target.free() > 16:
                frame = source.take()
                self.by_queue[port].setdefault(queue, []).append(frame)
                for made in self._fault(port, self.seen[port], frame):
                    target.put(made)
                self.seen[port] += 1
                moved = True
        return moved


class Refuser(threading.Thread):
    """Accepts one client and says these messages, one before and one after each of its own.

    An empty one stands for silence.
    """

    def __init__(self, path: Path, script: Sequence[bytes]) -> None:
        super().__init__()
        self._script = script
        self.received: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(DEADLINE_S)

    def run(self) -> None:
        control, _ = self._listener.accept()
        with control, self._listener:
            control.settimeout(DEADLINE_S)
            for answer in self._script:
                if answer:
                    control.send(answer)
                data, fds, _, _ = socket.recv_fds(control, 128, 1)
                for fd in array.array("i", fds):
                    os.close(fd)
                if not data:
                    return
                self.received.append(data)
