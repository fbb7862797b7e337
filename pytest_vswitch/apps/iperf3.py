"""iperf3: its command lines, and the JSON that its client prints.

Texts were captured from iperf 3.12.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from pytest_vswitch.errors import DutError

# --- parameters ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Server:
    """A server, which listens at one address only."""

    address: str

    def argv(self) -> list[str]:
        """It says so when it listens."""
        return ["iperf3", "--server", "--bind", self.address, "--forceflush"]


LISTENS = r"Server listening on \d+"
"""What a server says then."""


@dataclass(frozen=True, slots=True)
class Client:
    """A client that sends TCP to a server."""

    address: str
    duration_s: int = 3
    streams: int = 1
    """Connections at once."""
    connect_timeout_s: float = 5.0

    def argv(self) -> list[str]:
        return [
            *("iperf3", "--client", self.address, "--json", "--time", str(self.duration_s)),
            *("--parallel", str(self.streams)),
            *("--connect-timeout", f"{1000 * self.connect_timeout_s:.0f}"),
        ]


# --- facts --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a client sent."""

    goodput_bps: float
    """What the server received of the payload [bit/s]."""
    retransmits: int
    """TCP segments that were sent again."""


def parse(output: str) -> Transfer:
    """Raises DutError with the client's own reason when the transfer failed."""
    try:
        answer = json.loads(output)
        if reason := answer.get("error"):
            raise DutError(f"iperf3: {reason}")
        end = answer["end"]
        return Transfer(
            goodput_bps=float(end["sum_received"]["bits_per_second"]),
            retransmits=int(end["sum_sent"]["retransmits"]),
        )
    except (ValueError, KeyError, AttributeError) as error:
        last = output.strip()[-500:]
        raise DutError(f"iperf3 printed no result ({error!r}): {last}") from None
