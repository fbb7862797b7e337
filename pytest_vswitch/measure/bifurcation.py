"""Who got which frames: the kernel and DPDK behind one port, both measured at once."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import Any, Final

from pytest_vswitch.apps.ethtool import Refusal
from pytest_vswitch.apps.ethtool_filters import Rule
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.bifurcated_port import STATION_MAC
from pytest_vswitch.topologies.flow_bifurcation import Snapshot, Topology, started
from pytest_vswitch.traffic.generator import Generator

FRAMES: Final = 32
"""Of each kind."""
VXLAN_PORT: Final = 8472
"""Of Linux's vxlan, which the guide's NIC is told of (RFC 7348 has 4789)."""

_BACK_S: Final = 2.0
_LINK_S: Final = 30.0
_SETTLED_S: Final = 2.0
"""How long counters may take to show what has come [s]."""


@dataclass(frozen=True, slots=True)
class Inside:
    """Of a VXLAN frame: what cloud filters look at."""

    mac: str
    vlan: int | None = None
    vni: int = 8
    outer_mac: str = ""
    """Empty: the PF's."""


@dataclass(frozen=True, slots=True)
class Shares:
    """What became of one exchange. All counts are frames."""

    kernel: int
    """That the kernel took."""
    kernel_queues: Mapping[int, int]
    """That the PF's driver received, by queue."""
    vfs: Mapping[int, int]
    """That each VF received."""
    vf_queues: Mapping[tuple[int, int], int]
    """That testpmd took, by VF and queue."""
    answered: int
    """Echo requests that the kernel answered, each once and right."""
    returned: Mapping[int, int]
    """Frames that came back as testpmd forwards what that VF received, by VF."""


@dataclass(frozen=True, slots=True)
class Missed:
    """Something that is not as it must be."""

    what: str
    expected: object
    found: object


class BifurcationError(AssertionError):
    """Frames did not go where they belong, or a wrong filter was not refused."""

    def __init__(self, missed: Sequence[Missed]) -> None:
        self.missed = tuple(missed)
        lines = (f"{m.what}: expected {m.expected}, found {m.found}" for m in missed)
        super().__init__("\n".join(lines))


def hold(**checks: tuple[object, object]) -> None:
    """Each check, by what it says with `_` for spaces: what is expected, what was found.

    Raises BifurcationError, with all that are missed.
    """
    if missed := [
        Missed(name.replace("_", " "), expected, found)
        for name, (expected, found) in checks.items()
        if expected != found
    ]:
        raise BifurcationError(missed)


@dataclass(frozen=True, slots=True)
class Bench:
    """A DUT for flow bifurcation, and where the other end of its wire is."""

    lab: Lab
    host: Host
    generator_host: Host
    attach: Callable[[Lab, Host, Any], AbstractContextManager[Generator]]
    """Of the lab's generator."""

    @contextlib.contextmanager
    def started(self) -> Iterator[Setup]:
        """Without filters yet; the kernel answers. Raises what `started` raises, DutError."""
        with (
            started(self.lab, self.host) as topology,
            self.attach(self.lab, self.generator_host, topology) as generator,
        ):
            setup = Setup(topology, generator)
            setup.wait_for_link()
            yield setup


@dataclass(slots=True)
class Setup:
    """testpmd on the VFs, the kernel on the PF, the generator on their wire."""

    topology: Topology
    generator: Generator
    _serial: int = field(default=0)

    def wait_for_link(self) -> None:
        """Ping the kernel until it answers: links take seconds. Raises DutError."""
        deadline = time.monotonic() + _LINK_S
        while True:
            ping = self.echoes()[:1]
            back = Counter(self.generator.exchange({0: ping}, wait_s=1.0).get(0, []))
            if _answered(ping, back, self.topology.mac):
                return
            self.topology.check_alive()
            if time.monotonic() > deadline:
                pf = self.topology.pf
                raise DutError(
                    f"{pf.host.name}: the kernel behind {pf.name} does not answer pings from the "
                    f"wire within {_LINK_S:g} s: is the generator's port "
                    f"({self.topology.ports[0].generator}) wired to it, and has it a link?"
                )

    def filtering(self, rule: Rule) -> AbstractContextManager[None]:
        """With a filter, which the block's end deletes. Raises HostError if it is refused."""
        return self.topology.pf.filtering(rule)

    @contextlib.contextmanager
    def attempting(self, rule: Rule) -> Iterator[tuple[Refusal | None, bool]]:
        """With a filter that should be refused: who refused it, and whether the table has it."""
        with self.topology.pf.attempting(rule) as refusal:
            yield refusal, self.topology.pf.holds(rule.location)

    # --- frames, all to the PF's address unless they say otherwise ---

    def udp(self, src_ip: str, dst_ip: str) -> list[bytes]:
        """Distinct UDP frames between two hosts."""
        from scapy.layers.inet import IP, UDP
        from scapy.layers.l2 import Ether

        header = Ether(src=STATION_MAC, dst=self.topology.mac) / IP(src=src_ip, dst=dst_ip)
        return [
            bytes(header / UDP(sport=5000 + n, dport=6000) / self._stamp()) for n in range(FRAMES)
        ]

    def tcp(self, src_ip: str, dst_ip: str) -> list[bytes]:
        """Distinct TCP segments between two hosts, of a protocol that no filter here names."""
        from scapy.layers.inet import IP, TCP
        from scapy.layers.l2 import Ether

        header = Ether(src=STATION_MAC, dst=self.topology.mac) / IP(src=src_ip, dst=dst_ip)
        return [
            bytes(header / TCP(sport=5000 + n, dport=6000, flags="A") / self._stamp())
            for n in range(FRAMES)
        ]

    def echoes(self) -> list[bytes]:
        """Requests that the kernel answers."""
        from scapy.layers.inet import ICMP, IP
        from scapy.layers.l2 import Ether

        card = self.topology.card
        header = Ether(src=STATION_MAC, dst=self.topology.mac)
        header /= IP(src=card.station_ip, dst=card.kernel_ip)
        return [bytes(header / ICMP(type=8, id=7, seq=n) / self._stamp()) for n in range(FRAMES)]

    def tunnelled(self, inside: Inside) -> list[bytes]:
        """VXLAN frames to the kernel's address; the outer UDP source port differs (RFC 7348)."""
        from scapy.layers.inet import IP, UDP
        from scapy.layers.l2 import Dot1Q, Ether
        from scapy.layers.vxlan import VXLAN

        card = self.topology.card
        inner = Ether(src=STATION_MAC, dst=inside.mac)
        if inside.vlan is not None:
            inner /= Dot1Q(vlan=inside.vlan)
        inner /= IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=5000, dport=6000)
        outer = Ether(src=STATION_MAC, dst=inside.outer_mac or self.topology.mac)
        outer /= IP(src=card.station_ip, dst=card.kernel_ip)
        return [
            bytes(
                outer
                / UDP(sport=49152 + n, dport=VXLAN_PORT, chksum=0)
                / VXLAN(vni=inside.vni, flags="Instance")
                / inner
                / self._stamp()
            )
            for n in range(FRAMES)
        ]

    def _stamp(self) -> bytes:
        """No two frames are the same."""
        self._serial += 1
        return b"vswitch" + self._serial.to_bytes(8, "big") + bytes(32)

    # --- an exchange ---

    def send(self, *kinds: Sequence[bytes]) -> Shares:
        """All kinds at once, one frame of each in turn; who got how many."""
        frames = [f for f in chain.from_iterable(zip_longest(*kinds)) if f is not None]
        before = self.topology.snapshot()
        back = Counter(self.generator.exchange({0: frames}, wait_s=_BACK_S).get(0, []))
        self.topology.check_alive()
        after = self._settled(before, len(frames))
        return Shares(
            after.kernel - before.kernel,
            _since(before.kernel_queues, after.kernel_queues),
            {vf: now.rx_packets - before.ports[vf].rx_packets for vf, now in after.ports.items()},
            _since(before.queues, after.queues),
            _answered(frames, back, self.topology.mac),
            {vf: sum(back[self.topology.forwarded(f, vf)] for f in frames) for vf in (0, 1)},
        )

    def _settled(self, before: Snapshot, sent: int) -> Snapshot:
        """Counters that account for all frames, or do not in time."""
        deadline = time.monotonic() + _SETTLED_S
        while True:
            now = self.topology.snapshot()
            seen = now.kernel - before.kernel
            seen += sum(p.rx_packets - before.ports[vf].rx_packets for vf, p in now.ports.items())
            if seen >= sent or time.monotonic() > deadline:
                return now
            time.sleep(0.1)  # the condition: all are accounted for


def _since(before: Mapping[Any, int], after: Mapping[Any, int]) -> dict[Any, int]:
    """What has grown, by its key."""
    grown = {key: count - before.get(key, 0) for key, count in after.items()}
    return {key: count for key, count in grown.items() if count}


def _answered(requests: Sequence[bytes], back: Mapping[bytes, int], mac: str) -> int:
    """How many echo requests have exactly one reply from that MAC address (RFC 792).

    A reply has the request's identifier, number and data; of its IP header all else may differ.
    """
    addresses = bytes.fromhex((STATION_MAC + mac).replace(":", ""))
    replies: Counter[bytes] = Counter()
    for frame, count in back.items():
        if frame[:12] == addresses and _icmp(frame) == _REPLY:
            replies[frame[_ICMP_AT + 4 :]] += count
    return sum(
        replies[frame[_ICMP_AT + 4 :]] == 1 for frame in requests if _icmp(frame) == _REQUEST
    )


_REPLY, _REQUEST = 0, 8
_ICMP_AT: Final = 34
"""After Ethernet and an IPv4 header without options [bytes]."""


def _icmp(frame: bytes) -> int | None:
    """Type of the ICMP message in a frame."""
    if frame[12:14] != b"\x08\x00" or frame[23] != 1:
        return None
    return frame[_ICMP_AT]
