"""memif's control channel, the client's side: how shared memory is handed to a server.

Messages are 128 bytes on a Unix SOCK_SEQPACKET socket, laid out as in DPDK's
drivers/net/memif/memif.h (memif 2.0). The server speaks first:

    HELLO, INIT + ACK, ADD_REGION + ACK, ADD_RING + ACK for each ring, CONNECT + CONNECTED

Either side may send DISCONNECT, with a reason, at any time.
"""

from __future__ import annotations

import array
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from pytest_vswitch.errors import DutError

VERSION = 0x0200
"""memif 2.0, the only one in use."""
MESSAGE_BYTES = 128

ACK, HELLO, INIT, ADD_REGION, ADD_RING, CONNECT, CONNECTED, DISCONNECT = range(1, 9)

_TYPE = struct.Struct("<H")
_HELLO = struct.Struct("<32sHHHHHB")
_INIT = struct.Struct("<HIB24s32s")
_ADD_REGION = struct.Struct("<HQ")
_ADD_RING = struct.Struct("<HHHIBH")
_NAME = struct.Struct("<32s")
_DISCONNECT = struct.Struct("<I96s")

_ETHERNET = 0
_TO_SERVER = 1  # the only flag of ADD_RING
_SECRET_BYTES = 24
_ADVICE = {
    None: "its id and secret must be those of the topology's port",
    ADD_RING: "it must have as many queues as the generator, see `generator.queues`",
}
"""By what was refused."""
_NAMES = {
    ACK: "ACK",
    HELLO: "HELLO",
    INIT: "INIT",
    ADD_REGION: "ADD_REGION",
    ADD_RING: "ADD_RING",
    CONNECT: "CONNECT",
    CONNECTED: "CONNECTED",
    DISCONNECT: "DISCONNECT",
}


@dataclass(frozen=True, slots=True)
class RingOffer:
    """One ring inside the region, as ADD_RING announces it."""

    to_server: bool
    offset: int
    """From the start of the region [bytes]."""
    log2_size: int
    interrupt_fd: int
    """Event descriptor that the producer of the ring signals, unless masked."""


class Control:
    """One connected memif interface; while it is open, the server uses the memory."""

    def __init__(self, path: str, *, interface_id: int = 0, secret: str = "") -> None:
        self._path = path
        self._id = interface_id
        self._secret = secret.encode()
        if len(self._secret) > _SECRET_BYTES:
            raise DutError(f"memif {path}: a secret has at most {_SECRET_BYTES} bytes")
        self.peer = ""
        """What the server calls itself, e.g. `DPDK 22.11.11`."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def connect(
        self, region_fd: int, region_bytes: int, rings: Sequence[RingOffer], *, timeout_s: float
    ) -> None:
        """Hand over the region (number 0) and its rings.

        Raises DutError with the server's reason when it refuses, and when it says
        nothing for `timeout_s`.
        """
        self._socket.settimeout(timeout_s)
        try:
            self._shake_hands(region_fd, region_bytes, rings)
        except BaseException:
            self._socket.close()
            raise
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def lost(self) -> str:
        """Why the server is gone, without waiting; empty while it is there."""
        try:
            message = self._socket.recv(MESSAGE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return ""
        except OSError as error:
            return f"memif {self._path}: the connection broke ({error.strerror})"
        if not message:
            return f"memif {self._path}: the server ({self.peer}) closed the connection; it died"
        kind = _kind(message)
        if kind == DISCONNECT:
            return f"memif {self._path}: the server disconnected: {_reason(message)}"
        return f"memif {self._path}: the server sent {_name(kind)} after CONNECTED"

    def close(self) -> None:
        """Say good-bye, if the server still listens."""
        with suppress(OSError):  # it may have gone first
            self._send(DISCONNECT, _DISCONNECT.pack(0, b"done"))
        self._socket.close()

    def _shake_hands(self, region_fd: int, region_bytes: int, rings: Sequence[RingOffer]) -> None:
        try:
            self._socket.connect(self._path)
        except OSError as error:
            raise DutError(
                f"memif {self._path}: no server answers there ({error.strerror or error})"
            ) from None
        self._greet(max(ring.log2_size for ring in rings))
        name = b"pytest-vswitch"
        self._ask(INIT, _INIT.pack(VERSION, self._id, _ETHERNET, self._secret, name))
        self._ask(ADD_REGION, _ADD_REGION.pack(0, region_bytes), region_fd)
        indices = {True: 0, False: 0}
        for ring in rings:
            flags = _TO_SERVER if ring.to_server else 0
            body = _ADD_RING.pack(flags, indices[ring.to_server], 0, ring.offset, ring.log2_size, 0)
            indices[ring.to_server] += 1
            self._ask(ADD_RING, body, ring.interrupt_fd)
        self._ask(CONNECT, _NAME.pack(name), answer=CONNECTED)

    def _greet(self, log2_size: int) -> None:
        hello = self._receive(HELLO)
        name, oldest, newest, _, _, _, largest = _HELLO.unpack_from(hello, _TYPE.size)
        self.peer = _text(name)
        if not oldest <= VERSION <= newest:
            raise DutError(
                f"memif {self._path}: the server ({self.peer}) speaks memif "
                f"{_version(oldest)} to {_version(newest)}, this generator {_version(VERSION)}"
            )
        if log2_size > largest:
            raise DutError(
                f"memif {self._path}: the server ({self.peer}) takes rings of up to "
                f"{1 << largest} frames, not {1 << log2_size}"
            )

    def _ask(self, kind: int, body: bytes, fd: int | None = None, answer: int = ACK) -> None:
        with suppress(OSError):  # the answer, or its absence, tells more
            self._send(kind, body, fd)
        self._receive(answer, after=kind)

    def _send(self, kind: int, body: bytes, fd: int | None = None) -> None:
        message = (_TYPE.pack(kind) + body).ljust(MESSAGE_BYTES, b"\0")
        fds = array.array("i", [] if fd is None else [fd])
        self._socket.sendmsg(
            [message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)] if fds else []
        )

    def _receive(self, expected: int, after: int | None = None) -> bytes:
        doing = "on connecting" if after is None else f"after {_name(after)}"
        try:
            message = self._socket.recv(MESSAGE_BYTES)
        except TimeoutError:
            raise DutError(
                f"memif {self._path}: the server said nothing {doing}, {_name(expected)} was due"
            ) from None
        except OSError as error:
            raise DutError(
                f"memif {self._path}: the connection broke {doing} ({error.strerror})"
            ) from None
        if not message:
            raise DutError(f"memif {self._path}: the server closed the connection {doing}")
        kind = _kind(message)
        if kind == DISCONNECT:
            raise DutError(
                f"memif {self._path}: the server refused interface id {self._id} {doing}: "
                f"{_reason(message)}; {_ADVICE.get(after, _ADVICE[None])}"
            )
        if kind != expected or len(message) != MESSAGE_BYTES:
            raise DutError(
                f"memif {self._path}: the server answered {_name(kind)} of {len(message)} bytes "
                f"{doing}, {_name(expected)} of {MESSAGE_BYTES} bytes was due"
            )
        return message


def _kind(message: bytes) -> int:
    return int(_TYPE.unpack_from(message.ljust(_TYPE.size, b"\0"))[0])


def _name(kind: int) -> str:
    return _NAMES.get(kind, f"message type {kind}")


def _version(number: int) -> str:
    return f"{number >> 8}.{number & 0xFF}"


def _reason(message: bytes) -> str:
    code, text = _DISCONNECT.unpack_from(message.ljust(MESSAGE_BYTES, b"\0"), _TYPE.size)
    return f"{_text(text) or 'no reason given'} (code {code})"


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("ascii", "replace")
