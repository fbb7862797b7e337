"""DPDK's memif driver: its options, and what it says; see its guide, "Memif Poll Mode Driver".

Texts were captured from DPDK 22.11.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

# --- parameters ---------------------------------------------------------------------------

DRIVER: Final = "net_memif"

TELL_ALL: Final = "pmd.net.memif:debug"
"""EAL's `--log-level`: with less than that the driver keeps quiet about most refusals.

What it then says of a connection may fall into the middle of what is typed at its testpmd: type
nothing until the connection is made, or refused.
"""

TELL_ALL_NOW: Final = "set log pmd.net.memif 8"
"""The same as a command of testpmd."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One memif port. What is None is left to the driver."""

    role: Literal["server", "client"]
    socket: str
    """Path of the control socket; a name of that kind if it is abstract."""
    id: int = 0
    """The same at both ends; tells apart the interfaces of one socket."""
    bsize: int | None = None
    """Size of one packet buffer [bytes]; the client's counts. Driver: 2048."""
    rsize: int | None = None
    """Binary logarithm of the ring size; the client's counts. Driver: 10."""
    abstract: bool = False
    """Whether the socket is in Linux's abstract name space, and not in the file system."""
    mac: str | None = None
    secret: str | None = None
    """At most 24 bytes; the same at both ends."""
    zero_copy: bool | None = None
    """Of a client: it shares its mbufs. Needs EAL's `--single-file-segments`."""

    def device(self, number: int) -> str:
        """For EAL's `--vdev`. `socket-abstract` is always said: its default has changed."""
        given = [
            f"{DRIVER}{number}",
            f"role={self.role}",
            f"id={self.id}",
            f"socket={self.socket}",
            f"socket-abstract={_yes_no(self.abstract)}",
        ]
        given += [] if self.bsize is None else [f"bsize={self.bsize}"]
        given += [] if self.rsize is None else [f"rsize={self.rsize}"]
        given += [] if self.mac is None else [f"mac={self.mac}"]
        given += [] if self.secret is None else [f"secret={self.secret}"]
        given += [] if self.zero_copy is None else [f"zero-copy={_yes_no(self.zero_copy)}"]
        return ",".join(given)


def _yes_no(flag: bool) -> str:
    return "yes" if flag else "no"


# --- facts --------------------------------------------------------------------------------

_LINK = re.compile(r"^Link status: (up|down)$", re.MULTILINE)
_REFUSED = re.compile(
    # The next line is the last that is said of it.
    r"(?:Disconnect received: (?P<told>.+)\nmemif_disconnect"
    r"|memif_set_\w+\(\): (?P<option>.+)"
    r"|memif_socket_create\(\): (?P<socket>Failed .+)"
    r"|memif_connect_client\(\): (?P<connect>Failed .+))"
)


_REGION = re.compile(r"^memif_msg_send_from_queue\(\): Sent msg type 4\.$", re.MULTILINE)
"""ADD_REGION; `TELL_ALL` shows the messages."""


def parse_link(port_info: str) -> bool:
    """Whether a port is connected, from testpmd's `show port info N`."""
    found = _LINK.search(port_info)
    return found is not None and found[1] == "up"


def refusals(output: str) -> Sequence[str]:
    """What the driver would not do, or was refused by its peer, in its own words, in order."""
    return [
        next(words for words in found.groups() if words).rstrip(".")
        for found in _REFUSED.finditer(output)
    ]


def connected(output: str) -> bool:
    """Whether a client that says all has made a connection."""
    return "memif_msg_receive_connected(): Remote interface" in output


def regions(output: str) -> int:
    """Regions of memory that a client handed to its servers, as `TELL_ALL` has it say."""
    return len(_REGION.findall(output))
