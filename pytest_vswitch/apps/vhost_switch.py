"""dpdk-vhost, DPDK's vhost sample: its command line by version, what it says, a running one.

DPDK's "Vhost Sample Application". Texts were captured from DPDK 22.11; which version knows
which option was read from the sample's own history, 1.8 to 25.11.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_vswitch.errors import DeadlineError, DutError, InputError
from pytest_vswitch.hosts.host import Process

# --- parameters ---------------------------------------------------------------------------

Version = tuple[int, int]
"""Year and month of a DPDK release, e.g. (22, 11)."""

OPTIONS: Final[Mapping[str, tuple[Version, Version | None]]] = {
    "vm2vm": ((1, 8), None),
    "mergeable": ((1, 8), None),
    "stats": ((1, 8), None),
    "rx-retry": ((1, 8), None),
    "rx-retry-num": ((1, 8), None),
    "rx-retry-delay": ((1, 8), None),
    "dev-basename": ((1, 8), (16, 11)),
    "zero-copy": ((1, 8), (16, 7)),
    "rx-desc-num": ((1, 8), (16, 7)),
    "tx-desc-num": ((1, 8), (16, 7)),
    "vlan-strip": ((2, 0), (16, 11)),
    "tx-csum": ((16, 4), None),
    "tso": ((16, 4), None),
    "client": ((16, 7), None),
    "socket-file": ((16, 11), None),
    "dequeue-zero-copy": ((16, 11), (20, 11)),
    "builtin-net-driver": ((17, 5), None),
    "dma-type": ((20, 11), (22, 3)),
    "dmas": ((20, 11), None),
    "total-num-mbufs": ((22, 3), None),
}
"""Each option: the first version that has it, and the first that has it no more."""

MEMORY_MB: Final = 512
"""For its pool of 147,456 mbufs, which no option makes smaller, and its rings [MiB]."""


def version_of(text: str) -> Version:
    """(22, 11) of `22.11.11`. Raises InputError."""
    if found := re.match(r"(\d+)\.(\d+)", text):
        return int(found[1]), int(found[2])
    raise InputError(f"`{text}` is no version of DPDK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the guide lets a user choose; None leaves the program's own default."""

    vm2vm: int | None = None
    """0: to the NIC always; 1 (default): in software; 2: by the NIC's own switch."""
    mergeable: int | None = None
    stats_s: int = 1
    """How often it prints its counters; 0: never [s]."""
    rx_retry: int | None = None
    rx_retry_num: int | None = None
    rx_retry_delay_us: int | None = None
    tso: int | None = None
    tx_csum: int | None = None
    vlan_strip: int | None = None
    promiscuous: bool = False
    """`-P`: broadcast and multicast frames too."""
    client: bool = False
    """It connects to the guests' sockets, instead of listening on them."""
    builtin_net_driver: bool = False
    dequeue_zero_copy: bool = False
    dmas: str = ""
    """Copies by DMA devices, e.g. `[txd0@0000:00:04.0]`."""
    total_num_mbufs: int | None = None

    def words(self, version: Version) -> list[str]:
        """Its command line. Raises InputError for an option that this version does not have."""
        numbers = {
            "vm2vm": self.vm2vm,
            "mergeable": self.mergeable,
            "stats": self.stats_s,
            "rx-retry": self.rx_retry,
            "rx-retry-num": self.rx_retry_num,
            "rx-retry-delay": self.rx_retry_delay_us,
            "tso": self.tso,
            "tx-csum": self.tx_csum,
            "vlan-strip": self.vlan_strip,
            "dmas": self.dmas or None,
            "total-num-mbufs": self.total_num_mbufs,
        }
        switches = {
            "client": self.client,
            "builtin-net-driver": self.builtin_net_driver,
            "dequeue-zero-copy": self.dequeue_zero_copy,
        }
        words = ["-P"] if self.promiscuous else []
        for name, value in numbers.items():
            if value is not None:
                require(name, version)
                words += [f"--{name}", str(value)]
        for name, wanted in switches.items():
            if wanted:
                require(name, version)
                words.append(f"--{name}")
        return words


def require(option: str, version: Version) -> None:
    """Raise InputError when this version of the sample does not have that option."""
    since, until = OPTIONS[option]
    if version < since:
        raise InputError(
            f"dpdk-vhost of DPDK {_text(version)} has no --{option}: it came with {_text(since)}"
        )
    if until is not None and version >= until:
        raise InputError(
            f"dpdk-vhost of DPDK {_text(version)} has no --{option} any more: "
            f"{_text(until)} removed it"
        )


def _text(version: Version) -> str:
    year, month = version
    return f"{year}.{month:02}" if year >= 16 else f"{year}.{month}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What dpdk-vhost is started with (EAL first, then its own, as the guide names them)."""

    lcores: str
    """EAL `--lcores`; the first is the main lcore, the others switch."""
    memory_mb: int
    file_prefix: str
    hugepages: bool
    device: str
    """PCI address of the NIC port, or a virtual device."""
    vdevs: Sequence[str] = ()
    """Further virtual devices, e.g. `dma_skeleton`."""
    sockets: Sequence[str]
    options: Options = Options()

    def argv(self, program: str, version: Version = (22, 11)) -> list[str]:
        """Line-buffered (`stdbuf`), as a console's reader needs it without a terminal."""
        eal = ["-v", "--lcores", self.lcores, "-n", "1", "--file-prefix", self.file_prefix]
        eal += ["-m", str(self.memory_mb)]
        eal += ["--in-memory"] if self.hugepages else ["--no-huge"]
        if ":" in self.device and "," not in self.device:
            eal += ["-a" if version >= (20, 11) else "-w", self.device]
        else:
            eal += ["--no-pci", "--vdev", self.device]
        eal += [word for vdev in self.vdevs for word in ("--vdev", vdev)]
        name = "socket-file" if version >= (16, 11) else "dev-basename"
        own = ["-p", "0x1"]
        own += [word for socket in self.sockets for word in (f"--{name}", socket)]
        return ["stdbuf", "-oL", program, *eal, "--", *own, *self.options.words(version)]


# --- facts --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Registered:
    """A guest's port whose address it has learned."""

    device: int
    mac: str
    vlan: int
    """Tag that its frames have on the wire."""


@dataclass(frozen=True, slots=True)
class DeviceStatistics:
    """Of one guest's port, in frames; RX is towards the guest, as the guest sees it."""

    tx_total: int
    """That the guest sent, and that went somewhere."""
    tx_dropped: int
    """Of those: copies of broadcasts that another guest did not take."""
    rx_total: int
    """Meant for the guest."""
    rx_dropped: int
    """That the guest had no room for."""


_REGISTERED = re.compile(
    r"\((\d+)\) (?:MAC_ADDRESS|mac) ((?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2})"
    r" and (?:VLAN_TAG|vlan) (\d+) registered"
)
_DEVICE = re.compile(
    r"Statistics for device (\d+)\s*\n-+\n"
    r"TX total:\s*(\d+)\s*\nTX dropped:\s*(\d+)\s*\nTX successful:\s*\d+\s*\n"
    r"RX total:\s*(\d+)\s*\nRX dropped:\s*(\d+)\s*\nRX successful:"
)
TABLE: Final = re.compile(r"Device statistics =+\n(?:.*?\n)??={40,}\n", re.DOTALL)
READY: Final = re.compile(
    r"(?:binding succeeded.*?){%d}|(?:vhost-user client: socket created.*?){%d}", re.DOTALL
)
_FEATURES = re.compile(r"negotiated Virtio features: (0x[0-9a-f]+)")
_ENDS = re.compile(r"EAL: Error - exiting with code: \d+\s+Cause: (.*)")
_REFUSALS = (
    re.compile(r"(unrecognized option '[^']*')"),
    re.compile(r"VHOST_CONFIG: (Invalid argument for .*|Invalid portmask|Wrong DMA args)"),
    re.compile(r"VHOST_CONFIG: (Fail to find DMA .*)"),
    re.compile(r"VHOST_CONFIG: (\(.*failed to bind: .*)"),
    re.compile(r"VHOST_PORT: (Failed to .*|Fail to .*)"),
    re.compile(r"VHOST_PORT: \n?(Current enabled port number .*|Specified port.*)"),
    re.compile(r"EAL: (Cannot set up .*|Requested device .*|.*No such device.*)"),
)


def parse_registered(output: str) -> list[Registered]:
    """The addresses that it says it has learned (guide: "Passing Traffic ...")."""
    return [
        Registered(int(device), mac.lower(), int(vlan))
        for device, mac, vlan in _REGISTERED.findall(output)
    ]


def parse_statistics(table: str) -> dict[int, DeviceStatistics]:
    """By device number, from one whole table of `--stats`."""
    return {
        int(device): DeviceStatistics(*map(int, counts))
        for device, *counts in _DEVICE.findall(table.replace("\r", ""))
    }


def parse_features(output: str) -> list[int]:
    """What was negotiated with each guest's port (virtio 1.1, 5.1.3), in order."""
    return [int(features, 16) for features in _FEATURES.findall(output)]


def refusals(output: str) -> list[str]:
    """Why it does not start, in its own words; the last one is what it ended for."""
    found = [(m.start(), m[1].strip()) for p in _REFUSALS for m in p.finditer(output)]
    found += [(m.start(), m[1].strip()) for m in _ENDS.finditer(output)]
    return [text for _, text in sorted(found)]


# --- running ------------------------------------------------------------------------------

NAME: Final = "dpdk-vhost"
_LINES: Final = 400
"""As much of its output as is kept."""
_TABLE_S: Final = 60.0
"""How long a table of `--stats 1` may take on a busy machine [s]."""


class VhostSwitch:
    """A running dpdk-vhost; its console is all that it says."""

    def __init__(self, process: Process, *, sockets: int, start_timeout_s: float = 60.0) -> None:
        """Waits until each socket is bound, or made as a client.

        Raises DutError with the program's own refusal: after one it prints `exiting` and
        goes on running, as its lcores never end (DPDK 22.11).
        """
        self.process = process
        ready = re.compile(f"{READY.pattern % (sockets, sockets)}|{_ENDS.pattern}", re.DOTALL)
        self._said = process.read_until(
            ready, timeout_s=start_timeout_s, what="its vhost-user sockets"
        )
        if _ENDS.search(self._said):
            raise DutError(f"{NAME} refused to start: {'; '.join(refusals(self._said))}")

    @property
    def version(self) -> str:
        found = re.search(r"RTE Version: '(?:DPDK )?([^']+)'", self._said)
        return found[1] if found else "unknown"

    def registered(self, count: int, *, timeout_s: float) -> list[Registered]:
        """The first `count` addresses that it learned; none in a plan.

        Raises DutError, DeadlineError.
        """
        known = len(parse_registered(self._said))
        if known < count:
            more = re.compile(f"(?:{_REGISTERED.pattern}.*?){{{count - known}}}", re.DOTALL)
            what = f"the addresses of {count} guests' ports"
            self._said += self.process.read_until(more, timeout_s=timeout_s, what=what)
        return parse_registered(self._said)[:count]

    def features(self) -> list[int]:
        return parse_features(self._said)

    def heard(self, pattern: re.Pattern[str], *, within_s: float) -> bool:
        """Whether it says something of that form. Raises DutError when it ends."""
        try:
            self._said += self.process.read_until(pattern, timeout_s=within_s, what="its words")
        except DeadlineError:
            return False
        return True

    def statistics(self) -> dict[int, DeviceStatistics]:
        """Of each device, printed after this was asked. Raises DutError, DeadlineError."""
        # What it printed meanwhile is old, and a table may be on its way: the second one
        # that has to be waited for is new.
        while self.heard(TABLE, within_s=0.0):
            pass
        for _ in range(2):
            table = self.process.read_until(TABLE, timeout_s=_TABLE_S, what="its statistics")
        return parse_statistics(table)


# --- the NIC below it ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NicStatistics:
    """Of the NIC port, which only DPDK's telemetry tells."""

    rx: int
    tx: int
    missed: int
    errors: int
    no_mbuf: int


_ANSWER = re.compile(r'\{"/ethdev/stats": (\{.*\})\}')


def telemetry(file_prefix: str) -> list[str]:
    """The command that asks a running DPDK program; it reads questions from its input."""
    return ["env", "PYTHONUNBUFFERED=1", "dpdk-telemetry.py", "-f", file_prefix]


def parse_nic(answer: str) -> NicStatistics:
    """From an answer to `/ethdev/stats,0`. Raises DutError."""
    found = _ANSWER.search(answer)
    if not found:
        raise DutError(f"DPDK's telemetry gave no NIC statistics:\n{answer}")
    told = json.loads(found[1])
    return NicStatistics(
        rx=told["ipackets"],
        tx=told["opackets"],
        missed=told["imissed"],
        errors=told["ierrors"],
        no_mbuf=told["rx_nombuf"],
    )


def nic_statistics(console: Process) -> NicStatistics:
    """Ask a running `telemetry`. Raises DutError, DeadlineError."""
    console.write("/ethdev/stats,0\n")
    return parse_nic(console.read_until(_ANSWER, timeout_s=_TABLE_S, what="the NIC's statistics"))
