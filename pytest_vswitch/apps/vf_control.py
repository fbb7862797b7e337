"""The functions of a virtual function that testpmd sets on its PF: commands, answers, counters.

DPDK's "How To" guides, chapter 5 (VFd). Each command is rendered here and nowhere else; what is
otherwise in older DPDKs is in `dpdk_changes`. Answers are those of app/test-pmd/cmdline.c and
config.c, captured from 20.11, 22.11 and 24.11.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pytest_vswitch.apps.testpmd import Testpmd
from pytest_vswitch.errors import DutError, VswitchError

RxMode = Literal["AUPE", "ROPE", "BAM", "MPE"]
"""Untagged frames; unicast by the hash table; broadcast; multicast promiscuous (82599 VMOLR)."""


class NotSupported(VswitchError):
    """The NIC, or its driver, has no such function; nothing was set."""


# --- commands -----------------------------------------------------------------------------


def _switch(on: bool) -> str:
    return "on" if on else "off"


def tx_loopback(port: int, on: bool) -> str:
    """Whether functions of the port reach each other without the wire (5.2.1)."""
    return f"set tx loopback {port} {_switch(on)}"


def mac_address(port: int, vf: int, mac: str) -> str:
    """In place of any other (5.2.2); the VF's driver learns it when it starts."""
    return f"set vf mac addr {port} {vf} {mac}"


def mac_antispoof(port: int, vf: int, on: bool) -> str:
    """(5.2.3)"""
    return f"set vf mac antispoof {port} {vf} {_switch(on)}"


def vlan_antispoof(port: int, vf: int, on: bool) -> str:
    """(5.2.4)"""
    return f"set vf vlan antispoof {port} {vf} {_switch(on)}"


def vlan_insert(port: int, vf: int, vlan: int) -> str:
    """0 ends it (5.2.5)."""
    return f"set vf vlan insert {port} {vf} {vlan}"


def vlan_strip(port: int, vf: int, on: bool) -> str:
    """(5.2.6)"""
    return f"set vf vlan stripq {port} {vf} {_switch(on)}"


def vlan_filter(port: int, vf: int, vlan: int, add: bool) -> str:
    """Add or remove one (5.2.7); testpmd takes a mask of VFs."""
    return f"rx_vlan {'add' if add else 'rm'} {vlan} port {port} vf {1 << vf:#x}"


def all_queues_drop(port: int, on: bool) -> str:
    """Of the PF and all VFs (5.3.1); the guide leaves out the port, no testpmd does."""
    return f"set all queues drop {port} {_switch(on)}"


def split_drop(port: int, vf: int, on: bool) -> str:
    """Of one VF (5.3.2)."""
    return f"set vf split drop {port} {vf} {_switch(on)}"


def rate_limit(port: int, vf: int, mbps: int, queue_mask: int) -> str:
    """Of each queue of the mask [Mbit/s] (5.3.3); 0 ends it."""
    return f"set port {port} vf {vf} rate {mbps} queue_mask {queue_mask:#x}"


def traffic(port: int, vf: int, direction: Literal["rx", "tx"], on: bool) -> str:
    """(5.3.4, 5.3.5)"""
    return f"set port {port} vf {vf} {direction} {_switch(on)}"


def rx_mode(port: int, vf: int, mode: RxMode, on: bool) -> str:
    """(5.3.6)"""
    return f"set port {port} vf {vf} rxmode {mode} {_switch(on)}"


def unicast_hash(port: int, mac: str, on: bool) -> str:
    """An address of the hash table, for `ROPE`."""
    return f"set port {port} uta {mac} {_switch(on)}"


def show_statistics(port: int, vf: int) -> str:
    """(5.4.1)"""
    return f"show vf stats {port} {vf}"


def clear_statistics(port: int, vf: int) -> str:
    """(5.4.2)"""
    return f"clear vf stats {port} {vf}"


def link(port: int, up: bool) -> str:
    """The physical link, of which the VFs are told (5.4.3)."""
    return f"set link-{'up' if up else 'down'} port {port}"


def broadcast(port: int, vf: int, on: bool) -> str:
    """(5.4.4)"""
    return f"set vf broadcast {port} {vf} {_switch(on)}"


def all_multicast(port: int, vf: int, on: bool) -> str:
    """(5.4.5)"""
    return f"set vf allmulti {port} {vf} {_switch(on)}"


def promiscuous(port: int, vf: int, on: bool) -> str:
    """(5.4.6)"""
    return f"set vf promisc {port} {vf} {_switch(on)}"


def max_bandwidth(port: int, vf: int, mbps: int) -> str:
    """What a VF may send [Mbit/s] (5.4.7); 0 ends it."""
    return f"set vf tx max-bandwidth {port} {vf} {mbps}"


def tc_min_bandwidth(port: int, vf: int, shares: Sequence[int]) -> str:
    """Of each traffic class [%], together 100 (5.4.8)."""
    return f"set vf tc tx min-bandwidth {port} {vf} ({','.join(map(str, shares))})"


def tc_max_bandwidth(port: int, vf: int, tc: int, mbps: int) -> str:
    """Of one traffic class [Mbit/s] (5.4.9); 0 ends it."""
    return f"set vf tc tx max-bandwidth {port} {vf} {tc} {mbps}"


def strict_priority(port: int, classes: int) -> str:
    """Bitmap of the traffic classes that go first (5.4.10)."""
    return f"set tx strict-link-priority {port} {classes:#x}"


def own_vlan(port: int, vlan: int, add: bool) -> str:
    """On a VF's own driver, which asks its PF for it."""
    return f"rx_vlan {'add' if add else 'rm'} {vlan} {port}"


def own_group(port: int, mac: str, join: bool) -> str:
    """A multicast address that a VF's own driver wants to receive."""
    return f"mcast_addr {'add' if join else 'remove'} {port} {mac}"


def own_all_multicast(port: int, on: bool) -> str:
    """On a VF's own driver."""
    return f"set allmulti {port} {_switch(on)}"


def own_promiscuous(port: int, on: bool) -> str:
    """On a VF's own driver."""
    return f"set promisc {port} {_switch(on)}"


def data_center_bridging(port: int, classes: int) -> str:
    """Traffic classes by the priority of a VLAN tag; the port must be stopped."""
    return f"port config {port} dcb vt on {classes} pfc off"


# --- answers ------------------------------------------------------------------------------

_NOT_SUPPORTED: Final = re.compile(
    r"not implemented|not supported|diag=-95|return code = -95|Operation not supported"
)
_CHATTER: Final = re.compile(
    # What it does.
    r"\s*(?:Stopping ports\.\.\.|Checking link statuses\.\.\.|Done|Configuring Port .*"
    r"|Port \d+: [0-9A-F:]{17}|Port \d+: link state change event"
    r"|Set \w+ packet forwarding mode"
    # Of one that was given up already.
    r"|multicast address not filtered by port \d+"
    # What drivers log meanwhile: what fails, testpmd tells in its own words, too.
    r"|[\w.]+\(\): .*|(?:EAL|PMD|ETHDEV|TELEMETRY): .*)?\s*"
)


def check_answer(command: str, answer: str) -> None:
    """A setting that was made is answered with nothing.

    Raises NotSupported for what NIC or driver cannot do, DutError for any other answer.
    """
    said = [line for line in answer.splitlines() if not _CHATTER.fullmatch(line)]
    if not said:
        return
    words = "; ".join(line.strip() for line in said)
    if _NOT_SUPPORTED.search(answer):
        raise NotSupported(f"`{command}` is not supported here: {words}")
    raise DutError(f"testpmd did not carry out `{command}`: {words}")


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counters of a port, or of a VF as its PF sees it. Bytes are as the NIC counts them."""

    rx_packets: int
    rx_bytes: int
    tx_packets: int
    tx_bytes: int


_COUNT: Final = re.compile(r"([RT]X-\w+):\s+(\d+)")
_STATISTICS: Final = re.compile(r"NIC statistics for port \d+.*?#\n(.*?)\n +#{20}", re.DOTALL)


def parse_statistics(output: str) -> Statistics:
    """From `show port stats N` and `show vf stats N M`. Raises NotSupported, DutError."""
    first = output.lstrip().partition("\n")[0]
    if _NOT_SUPPORTED.search(first):  # then a table of zeros follows
        raise NotSupported(f"statistics of a VF are not supported here: {first}")
    found = _STATISTICS.search(output)
    counts = {name: int(count) for name, count in _COUNT.findall(found[1])} if found else {}
    try:
        return Statistics(
            rx_packets=counts["RX-packets"],
            rx_bytes=counts["RX-bytes"],
            tx_packets=counts["TX-packets"],
            tx_bytes=counts["TX-bytes"],
        )
    except KeyError as missing:
        raise DutError(f"testpmd printed statistics without {missing}:\n{output}") from None


_STREAM: Final = re.compile(
    r"TX Port= ?\d+/Queue= ?(\d+) -+\n\s+RX-packets: \d+\s+TX-packets: (\d+)"
)


def parse_sent_by_queue(output: str) -> dict[int, int]:
    """Frames by TX queue, from `show fwd stats all` of a port with several queues."""
    return {int(queue): int(count) for queue, count in _STREAM.findall(output)}


_EXTENDED: Final = re.compile(r"^(\w+): (\d+)$", re.MULTILINE)


def parse_extended(output: str) -> dict[str, int]:
    """From `show port xstats N`, by name."""
    return {name: int(count) for name, count in _EXTENDED.findall(output)}


def parse_link(output: str) -> bool:
    """Whether the link is up, from `show port info N`. Raises DutError."""
    if found := re.search(r"^Link status: (up|down)$", output, re.MULTILINE):
        return found[1] == "up"
    raise DutError(f"testpmd printed port information without `Link status`:\n{output}")


# --- running ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Control:
    """The testpmd of a port, PF or VF, as its port 0."""

    testpmd: Testpmd

    def set(self, command: str, *, why: str = "") -> None:
        """Raises NotSupported, or DutError when testpmd does not carry it out."""
        check_answer(command, self.testpmd.command(command, why=why))

    def forward(self, mode: str) -> None:
        """Begin anew, in that mode."""
        self.testpmd.command("stop")
        self.set(f"set fwd {mode}")
        self.testpmd.start()

    def statistics(self) -> Statistics:
        return parse_statistics(self.testpmd.command("show port stats 0"))

    def vf_statistics(self, vf: int) -> Statistics:
        """As the PF sees them (5.4.1). Raises NotSupported."""
        return parse_statistics(self.testpmd.command(show_statistics(0, vf)))

    def sent_by_queue(self) -> dict[int, int]:
        """Frames that each TX queue took since forwarding began."""
        return parse_sent_by_queue(self.testpmd.command("show fwd stats all"))

    def link_is_up(self) -> bool:
        return parse_link(self.testpmd.command("show port info 0"))

    def extended(self) -> dict[str, int]:
        """Counters that its driver names itself."""
        return parse_extended(self.testpmd.command("show port xstats 0"))

    def clear_statistics(self) -> None:
        """Of its own port."""
        self.testpmd.command("clear port stats 0")

    def insert_vlan(self, vlan: int) -> None:
        """Into each frame it sends, by the port's own driver; 0 ends it."""
        with self._stopped():
            self.set(f"tx_vlan set 0 {vlan}" if vlan else "tx_vlan reset 0")

    def take_address(self, mac: str) -> str:
        """Its driver asks the PF to receive by it, and sends by it; why it does not, if so."""
        with self._stopped():
            return self.testpmd.command(f"mac_addr set 0 {mac}").strip()

    def filter_vlans(self, on: bool) -> None:
        """Whether its driver can ask the PF for VLANs."""
        with self._stopped():
            self.set(f"port config 0 rx_offload vlan_filter {_switch(on)}")

    @contextlib.contextmanager
    def _stopped(self) -> Iterator[None]:
        """For what a port takes only while it is stopped."""
        self.testpmd.command("stop")
        self.set("port stop 0")
        yield
        self.set("port start 0")
        self.testpmd.start()
