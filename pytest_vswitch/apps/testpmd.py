"""dpdk-testpmd: its command line, what it prints, and its console.

Texts were captured from DPDK 22.11; `dpdk_changes` has what is otherwise in others.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from pytest_vswitch.apps import dpdk_changes
from pytest_vswitch.errors import DutError

if TYPE_CHECKING:
    from pytest_vswitch.apps.dpdk import Dpdk

# --- parameters ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What testpmd is started with (EAL first, then its own, as its guide names them)."""

    lcores: str
    """EAL `--lcores`, e.g. `0@0,1@2`; the first is the main lcore."""
    memory_mb: int
    file_prefix: str
    hugepages: bool
    """Whether EAL memory lies on hugepages."""
    single_file_segments: bool = False
    """Few files for all of its hugepages: virtio-user can share eight with a vhost (guide, 6.3)."""
    devices: Sequence[str] = ()
    """Addresses of the PCI devices that it may take; they come before the virtual ones."""
    vf_token: str = ""
    """UUID by which vfio-pci knows the programs of a PF and of its VFs; empty: none is needed."""
    vdevs: Sequence[str] = ()
    """E.g. `net_vhost0,iface=/run/vhost0`. If there are any, `devices` are all it takes."""
    driver_directory: str = ""
    """Where the drivers are, if not where DPDK was configured to look."""
    forward_mode: Literal["io", "mac", "macswap", "csum"]
    portlist: Sequence[int] = ()
    """Order of forwarding: frames go between the first and the second, and so on."""
    port_topology: Literal["paired", "chained", "loop"] = "paired"
    forwarding_cores: int = 1
    queues: int = 1
    """RX and TX queues of each port."""
    options: Sequence[str] = ()
    """Further ones of its own, e.g. `--enable-lro`."""
    mbufs: int = 16384
    """Size of the mbuf pool [mbufs]."""
    mtu: int = 1500
    """Largest IP packet [bytes]: an mbuf holds its frame whole."""
    takes_mtu: bool = True
    """Whether all of its ports can be told; memif's driver refuses (22.11), and carries it."""
    descriptors: int | None = None
    """Per RX and TX ring; None leaves the driver's own choice."""
    log_level: str = ""
    """What its drivers tell, as EAL takes it, e.g. `pmd.net.memif:debug`; empty: its default."""

    def argv(self, dpdk: str | Dpdk) -> list[str]:
        """For a DPDK, or a testpmd of today at a path.

        Line-buffered (`stdbuf`), as a console's reader needs it without a terminal. Raises
        InputError for what that DPDK cannot do.
        """
        drivers = self.driver_directory or ("" if isinstance(dpdk, str) else dpdk.drivers)
        eal = ["-v", "--lcores", self.lcores, "-n", "1", "--file-prefix", self.file_prefix]
        eal += ["-m", str(self.memory_mb)]
        eal += ["--in-memory"] if self.hugepages else ["--no-huge"]
        eal += ["--single-file-segments"] if self.single_file_segments else []
        eal += [word for device in self.devices for word in ("-a", device)]
        eal += ["--vfio-vf-token", self.vf_token] if self.vf_token else []
        eal += ["--no-pci"] if self.vdevs and not self.devices else []
        eal += [word for vdev in self.vdevs for word in ("--vdev", vdev)]
        eal += ["-d", drivers] if drivers else []
        eal += [f"--log-level={self.log_level}"] if self.log_level else []
        own = ["-i", f"--forward-mode={self.forward_mode}"]
        own += [f"--portlist={','.join(map(str, self.portlist))}"] if self.portlist else []
        own += [
            f"--port-topology={self.port_topology}",
            f"--rxq={self.queues}",
            f"--txq={self.queues}",
        ]
        own += [f"--nb-cores={self.forwarding_cores}", f"--total-num-mbufs={self.mbufs}"]
        if self.mtu > 1500:
            frame_bytes = self.mtu + 18
            own += [f"--max-pkt-len={frame_bytes}"] if self.takes_mtu else []
            own += [f"--mbuf-size={_mbuf_bytes(frame_bytes)}"]
        if self.descriptors:
            own += [f"--rxd={self.descriptors}", f"--txd={self.descriptors}"]
        own += self.options
        if isinstance(dpdk, str):
            return ["stdbuf", "-oL", dpdk, *eal, "--", *own]
        words = dpdk_changes.spell([*eal, "--", *own], dpdk.words)
        return ["stdbuf", "-oL", *dpdk.command, *words]


_HEADROOM_BYTES = 128
"""Before the frame in each mbuf (RTE_PKTMBUF_HEADROOM)."""


def _mbuf_bytes(frame_bytes: int) -> int:
    """For a frame of so many bytes, in whole kilobytes: drivers round down."""
    return -(-(frame_bytes + _HEADROOM_BYTES) // 1024) * 1024


# --- facts --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PortCounters:
    """Counters of one port since testpmd began to forward [frames]."""

    rx_packets: int
    rx_missed: int
    rx_errors: int
    rx_nombuf: int
    tx_packets: int
    tx_errors: int
    rx_dropped: int
    """Received, and dropped by the forwarding engine."""
    tx_dropped: int
    """Handed to this port by the forwarding engine, and not taken."""


@dataclass(frozen=True, slots=True)
class Cycles:
    """What forwarding took of the cores since testpmd began to forward."""

    total: int
    """Of all cores, in rounds that received a frame: polling in vain is not counted."""
    packets: int
    """Frames received, at all ports."""
    clock_hz: float


@dataclass(frozen=True, slots=True)
class PortInfo:
    """What `show port info` says of one port."""

    device: str
    driver: str
    mac: str


_NUMBER = re.compile(r"(\S+):\s+(\d+)")
_STATISTICS = re.compile(r"#+ NIC statistics for port (\d+) +#+\n(.*?)\n *\n", re.DOTALL)
_CYCLES = re.compile(
    r"CPU cycles/packet=\S+ \(busy cycles=(\d+) / total \S+ packets=(\d+)\) at (\d+) MHz Clock"
)
_FORWARDED = re.compile(r"-+ Forward statistics for port (\d+) +-+\n(.*?)\n *-+", re.DOTALL)


def parse_counters(output: str) -> Mapping[int, PortCounters]:
    """By port number, from `show port stats all` and `show fwd stats all` together.

    Raises DutError when the output is not of that form.
    """
    statistics = {
        int(port): dict(_NUMBER.findall(text)) for port, text in _STATISTICS.findall(output)
    }
    forwarded = {
        int(port): dict(_NUMBER.findall(text)) for port, text in _FORWARDED.findall(output)
    }
    if not statistics or statistics.keys() != forwarded.keys():
        raise DutError(
            f"testpmd printed NIC statistics for ports {sorted(statistics)} "
            f"and forward statistics for ports {sorted(forwarded)}:\n{output}"
        )
    try:
        return {
            port: PortCounters(
                rx_packets=int(seen["RX-packets"]),
                rx_missed=int(seen["RX-missed"]),
                rx_errors=int(seen["RX-errors"]),
                rx_nombuf=int(seen["RX-nombuf"]),
                tx_packets=int(seen["TX-packets"]),
                tx_errors=int(seen["TX-errors"]),
                rx_dropped=int(forwarded[port]["RX-dropped"]),
                tx_dropped=int(forwarded[port]["TX-dropped"]),
            )
            for port, seen in statistics.items()
        }
    except KeyError as missing:
        raise DutError(f"testpmd printed statistics without {missing}:\n{output}") from None


def parse_cycles(output: str) -> Cycles | None:
    """From `show fwd stats all`; None before the first frame, or when cycles are not recorded."""
    if found := _CYCLES.search(output):
        total, packets, clock_mhz = map(int, found.groups())
        return Cycles(total, packets, clock_mhz * 1e6)
    return None


def parse_rx_bytes(output: str) -> int:
    """Bytes that a port received, without FCS, from `show port stats N`. Raises DutError."""
    if found := re.search(r"RX-bytes:\s+(\d+)", output):
        return int(found[1])
    raise DutError(f"testpmd printed statistics without `RX-bytes`:\n{output}")


def parse_port_info(output: str) -> PortInfo:
    """From `show port info N`. Raises DutError when the output is not of that form."""

    def field(name: str) -> str:
        if found := re.search(rf"^{name}: (.*)$", output, re.MULTILINE):
            return found[1].strip()
        raise DutError(f"testpmd printed port information without `{name}`:\n{output}")

    return PortInfo(field("Device name"), field("Driver name"), field("MAC address"))


def parse_version(banner: str) -> str:
    """E.g. `22.11.11`, from what EAL prints with `-v`."""
    found = re.search(r"RTE Version: '(?:DPDK )?([^']+)'", banner)
    return found[1] if found else "unknown"


# --- running ------------------------------------------------------------------------------

_NOT_MADE = re.compile(r"vdev_probe\(\): failed to initialize (\S+) device")
PROMPT = "testpmd> "

_REFUSED = re.compile(r"^(Bad arguments|Command not found|Ambiguous command|Invalid port)", re.M)

ENDED = re.compile(r"vswitch: testpmd ended with status (\d+)")
"""What a terminal that outlives its testpmd says when that ends."""


class Terminal(Protocol):
    """Where testpmd's console is: a process on the host, or a serial port of the guest."""

    @property
    def name(self) -> str: ...
    def write(self, text: str, *, why: str = "") -> None: ...
    def read_until(self, pattern: re.Pattern[str], *, timeout_s: float, what: str) -> str: ...
    def tail(self, lines: int = 15) -> str: ...


class Testpmd:
    """The console of a testpmd that was started on `terminal`."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    def __init__(self, terminal: Terminal, *, start_timeout_s: float = 60.0) -> None:
        """Waits for the prompt. Raises DutError with testpmd's own words."""
        self.terminal = terminal
        banner = self._read(re.escape(PROMPT), start_timeout_s, "testpmd prompt")
        for before, line in itertools.pairwise(banner.splitlines()):
            if lacks := _NOT_MADE.search(line):  # it goes on without, and numbers others as before
                raise DutError(f"{terminal.name} could not make {lacks[1]}: {before.strip()}")
        self.version = parse_version(banner)
        words = dpdk_changes.parse(self.version)
        self._errors_are_dropped = dpdk_changes.ERRORS_ARE_DROPPED <= words < dpdk_changes.TODAY
        self._errors: Mapping[int, int] = {}
        """By port, when forwarding began."""

    def command(self, text: str, *, timeout_s: float = 10.0, why: str = "") -> str:
        """Type one command; its output. Raises DutError when testpmd does not understand it."""
        words = dpdk_changes.parse(self.version)
        text = dpdk_changes.command(text, words)
        self.terminal.write(f"{text}\n", why=why)
        pattern = f"{re.escape(text)}\n(.*?){re.escape(PROMPT)}"
        output = self._read(pattern, timeout_s, f"answer to `{text}`")
        output = output.partition(f"{text}\n")[2].removesuffix(PROMPT)
        if _REFUSED.search(output):
            raise DutError(f"{self.terminal.name} refused `{text}`: {output.strip()}")
        return dpdk_changes.modern(output, words)

    def start(self) -> None:
        """Begin to forward."""
        if self._errors_are_dropped:
            self._errors = dpdk_changes.tx_errors(self.command("show port stats all"))
        self.command("start", why="it forwards from here on")

    def stop(self) -> None:
        """End forwarding; what it counted is told until it begins again."""
        self.command("stop", why="it stops forwarding")

    def keep_waiting(self) -> None:
        """From now on `start` does not throw away, uncounted, the frames that wait."""
        self.command("set flush_rx off")

    def record_cycles(self) -> None:
        """From the next `start` on; one that cannot (before 20.08) tells no cycles."""
        with contextlib.suppress(DutError):
            self.command("set record-core-cycles on", why="what a frame costs its cores")

    def statistics(self) -> str:
        """All that it counts since it began to forward; see `parse_counters`, `parse_cycles`."""
        told = self.command("show port stats all") + self.command("show fwd stats all")
        if self._errors_are_dropped:
            told = dpdk_changes.without_errors(told, self._errors)
        return told

    def counters(self) -> Mapping[int, PortCounters]:
        """By port number, since it began to forward."""
        return parse_counters(self.statistics())

    def port_info(self, port: int) -> PortInfo:
        return parse_port_info(self.command(f"show port info {port}"))

    def _read(self, pattern: str, timeout_s: float, what: str) -> str:
        either = re.compile(f"{pattern}|{ENDED.pattern}", re.DOTALL)
        text = self.terminal.read_until(either, timeout_s=timeout_s, what=what)
        if ended := ENDED.search(text):
            last = self.terminal.tail().replace("\n", "\n    ")
            raise DutError(
                f"{self.terminal.name} ended with status {ended[1]} before {what}; "
                f"its last output:\n    {last}"
            )
        return text
