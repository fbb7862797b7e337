"""What engine, stream and worker ask of a port, whatever carries its frames."""

from __future__ import annotations

from typing import Protocol

from pytest_vswitch.errors import InputError
from pytest_vswitch.traffic.ring import Ring


class Port(Protocol):
    """Two rings, and something that empties the one and fills the other."""

    events: int
    """The events of `fileno` after which `lost` may have something to say; see poll(2)."""

    @property
    def name(self) -> str:
        """What errors call it, e.g. `memif /run/.../memif0`."""

    @property
    def tx(self) -> Ring:
        """The frames to be sent."""

    @property
    def rx(self) -> Ring:
        """The frames that have arrived."""

    @property
    def peer(self) -> str:
        """What the other end calls itself; empty if it does not tell."""

    def connect(self, timeout_s: float) -> None:
        """Raises DutError when there is nobody at the other end."""

    def fileno(self) -> int: ...

    def lost(self) -> str:
        """Why the other end is gone, without waiting; empty while it is there."""

    def check_length(self, longest: int) -> None:
        """Raise InputError if it cannot carry frames of so many bytes, without FCS."""

    def keep_tags(self, tagged: bool) -> None:
        """Whether frames will come with VLAN tags, which are to stay in them."""

    def check_kept_up(self) -> None:
        """Raise HostError if frames that arrived since `discard` were lost before it read them."""

    def discard(self) -> None:
        """Throw away what has arrived and nobody has read."""

    def close(self) -> None: ...


def refuse_length(name: str, longest: int, most: int, advice: str = "") -> None:
    """Raise InputError if `longest` is more than `most`, both in bytes without FCS."""
    if longest > most:
        raise InputError(f"{name}: a frame of {longest} bytes is longer than {most}{advice}")
