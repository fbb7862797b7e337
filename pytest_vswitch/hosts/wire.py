"""What controller and agent say to each other: messages of a JSON header and raw bytes.

On the wire: length of the header and of the payload (4 bytes each, big-endian), the
header, the payload. Text that is not UTF-8 (file names, arguments) travels as Python's
surrogate escapes, so that it arrives as it was. Runs on the DUT: Python 3.8.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Callable, Dict, Tuple

READY = b"\n\0vswitch-agent\0\n"
"""What the agent says first: all before it is noise of a login shell."""

GONE = 86
"""Exit status of a relay that finds no agent."""

CHUNK = 1 << 18
"""Payload of one message, but for a command's input [bytes]."""

_LENGTHS = struct.Struct(">II")
_HEADER_LIMIT = 1 << 24
_PAYLOAD_LIMIT = 1 << 28

Message = Tuple[Dict[str, Any], bytes]


def pack(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """Raises ValueError for what is too long."""
    words = json.dumps(header).encode()
    if len(words) > _HEADER_LIMIT or len(payload) > _PAYLOAD_LIMIT:
        raise ValueError(f"a message of {len(words)} + {len(payload)} bytes is too long")
    return _LENGTHS.pack(len(words), len(payload)) + words + payload


class Unpacker:
    """Messages out of a stream of bytes."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        """`read` blocks for at most that many bytes, and returns none at the end."""
        self._read = read
        self._buffer = bytearray()

    def next(self) -> Message | None:
        """The next message; None at the end of the stream. Raises ValueError for nonsense."""
        lengths = self._take(_LENGTHS.size)
        if lengths is None:
            return None
        header_bytes, payload_bytes = _LENGTHS.unpack(lengths)
        if header_bytes > _HEADER_LIMIT or payload_bytes > _PAYLOAD_LIMIT:
            raise ValueError(f"not a message: {bytes(lengths)!r}")
        header = self._take(header_bytes)
        payload = self._take(payload_bytes)
        if header is None or payload is None:
            return None
        return json.loads(header), payload

    def skip_to(self, marker: bytes, limit: int) -> bytes | None:
        """What comes before `marker`, which is passed over; None if the stream ends first.

        Raises ValueError when it does not come within `limit` bytes.
        """
        while marker not in self._buffer:
            if len(self._buffer) > limit:
                raise ValueError(bytes(self._buffer[:limit]))
            if not self._more():
                return None
        before, _, rest = bytes(self._buffer).partition(marker)
        self._buffer = bytearray(rest)
        return before

    def unread(self) -> bytes:
        """What has come in and is not part of a whole message."""
        return bytes(self._buffer)

    def _take(self, size: int) -> bytes | None:
        while len(self._buffer) < size:
            if not self._more():
                return None
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _more(self) -> bool:
        data = self._read(1 << 16)
        self._buffer += data
        return bool(data)
