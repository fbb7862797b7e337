"""dpdk-vhost with one choice of its options at a time, a guest behind it, frames on the wire.

For what each option does: the topology `vhost_switch` shows how fast its defaults are.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from pytest_vswitch.apps import vhost_switch, vhost_switch_build
from pytest_vswitch.apps.vhost_switch import DeviceStatistics, Options
from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure.functional import build_frames
from pytest_vswitch.topologies.topology import Flow
from pytest_vswitch.topologies.vhost_switch import GuestOptions, Snapshot, Topology, started
from pytest_vswitch.traffic.generator import Generator

STATION: Final = "02:00:c6:12:00:01"
"""MAC address that the frames on the wire come from."""

DEFAULTS: Final = Options()
SWAPPING: Final = GuestOptions()

_BACK_S: Final = 3.0
"""How long frames may take through an emulated DUT [s]."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A kind of frame that came out on the wire, and how many of it."""

    dst: str
    src: str
    vlan: int | None
    frame_bytes: int
    """FCS included."""
    count: int


@dataclass(frozen=True, slots=True)
class Bench:
    """A DUT for dpdk-vhost, and where the other end of its wire is."""

    lab: Lab
    host: Host
    generator_host: Host
    attach: Callable[[Lab, Host, Any], AbstractContextManager[Generator]]
    """Of the lab's generator."""

    @contextlib.contextmanager
    def started(
        self,
        options: Options = DEFAULTS,
        guest: GuestOptions = SWAPPING,
        *,
        vdevs: Sequence[str] = (),
    ) -> Iterator[Setup]:
        """Raises what `vhost_switch.started` raises."""
        with (
            started(self.lab, self.host, options, guest, vdevs=vdevs) as topology,
            self.attach(self.lab, self.generator_host, topology) as generator,
        ):
            yield Setup(topology, generator)

    def refusals(self, *words: str, vdevs: Sequence[str] = ()) -> list[str]:
        """What the program itself says to such options of its own; it needs no NIC for that.

        Raises HostError when it does not refuse.
        """
        built = vhost_switch_build.prepare(self.host)
        prefix = f"vswitch-{self.host.scratch.rpartition('/')[2]}-refused"
        argv = [built.path, "--no-huge", "--no-pci", "-m", "64", "--lcores", "0", "-n", "1"]
        argv += ["--file-prefix", prefix]
        argv += [word for vdev in vdevs for word in ("--vdev", vdev)]
        with self.host.changing(Change("made", f"/var/run/dpdk/{prefix}")):
            done = self.host.run([*argv, "--", *words], check=False, timeout_s=60)
        if done.status == 0:
            raise HostError(f"{vhost_switch.NAME} did not refuse {' '.join(words)}:\n{done.output}")
        return vhost_switch.refusals(done.output)


@dataclass(frozen=True, slots=True)
class Setup:
    """dpdk-vhost and a guest that run, with the generator on their wire."""

    topology: Topology
    generator: Generator

    def send(
        self, dst: str, vlan: int | None, count: int = 32, frame_bytes: int = 128
    ) -> list[Seen]:
        """Frames from the wire to that address and VLAN; what comes out meanwhile, by kind."""
        flow = Flow(STATION, dst, "198.18.0.1", "198.19.0.1", vlan)
        frames = build_frames(flow, frame_bytes, count)
        back = self.generator.exchange({0: frames}, wait_s=_BACK_S)[0]
        kinds = [_kind(frame) for frame in back]
        return [
            Seen(dst, src, tag, size, kinds.count((dst, src, tag, size)))
            for dst, src, tag, size in dict.fromkeys(kinds)
        ]

    def snapshot(self) -> Snapshot:
        return self.topology.snapshot()

    def device(self, number: int) -> DeviceStatistics:
        """What the sample counts of a virtio port, by the guest's number."""
        return self.topology.switch.statistics()[self.topology.learned[number].device]

    def guest_received(self, port: int, frames: int, *, within_s: float = 20.0) -> int:
        """What a port of the guest has received; waits until it is as many."""
        deadline = time.monotonic() + within_s
        while True:
            received = self.topology.guest.counters()[port].rx_packets
            if received >= frames or time.monotonic() > deadline:
                return received
            time.sleep(0.2)  # the condition: the frames are there

    def capabilities(self, port: int = 0) -> str:
        """The TX offloads that a virtio port offers to the guest."""
        return self.topology.guest.command(f"show port {port} tx_offload capabilities")


def _kind(frame: bytes) -> tuple[str, str, int | None, int]:
    tagged = frame[12:14] == b"\x81\x00"
    vlan = int.from_bytes(frame[14:16], "big") & 0xFFF if tagged else None
    return frame[:6].hex(":"), frame[6:12].hex(":"), vlan, len(frame) + 4
