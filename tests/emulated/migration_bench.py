"""The suite's topology on emulated servers, and the generator at their switch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_vswitch.apps import qmp_console, socket_file
from pytest_vswitch.apps.guest_image import GuestImage
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure import culprit, outage, vf_migration
from pytest_vswitch.topologies import bonded_migration, sriov_migration, sriov_migration_wiring
from pytest_vswitch.topologies.sriov_migration import SriovMigration
from pytest_vswitch.traffic import frames as templates
from pytest_vswitch.traffic.generator import Announcement, DirectionCounts, Offer, Silence
from pytest_vswitch.traffic.profile import Capabilities
from tests.emulated.migration_host import Host
from tests.emulated.migration_qemu import RARP
from tests.emulated.migration_world import GENERATOR, World

IMAGE = GuestImage(
    "/boot/vmlinuz-6.1.0-37-amd64",
    "/var/cache/emulated/guest-vf.cpio.gz",
    "6.1.0-37-amd64",
    "/usr/bin/dpdk-testpmd",
)
_SILENCES = 16


def lab(*, two: bool = False, **sections: Any) -> Lab:
    """One server with both PFs, or two with one each."""
    ports = [
        {
            "kind": "nic",
            "bdf": bdf,
            "driver": "kernel",
            "line_rate_gbps": 10,
            **({"generator": "e0"} if number == 0 else {}),
        }
        for number, bdf in enumerate(("0000:09:00.0", "0000:06:00.0"))
    ]
    guest = {"nic": "sriov", "accelerator": "tcg"}
    dut = {"host": "root@dut1" if two else "local", "hugepages": "none"}
    target = {"target": {"host": "root@dut2"}} if two else {}
    return Lab.model_validate(
        {"name": "it", "dut": dut, "guest": guest, "ports": ports, **target, **sections}
    )


def hosts(world: World, *, two: bool = False) -> list[Host]:
    if two:
        return [Host(world, "dut1", (0,)), Host(world, "dut2", (1,))]
    return [Host(world, "dut1", (0, 1))]


@dataclass
class Generator:
    """A port of the switch, where frames are due each millisecond; see `generator.Generator`."""

    world: World
    topology: SriovMigration
    description: str = "generator at an emulated switch"
    simulated: bool = True
    capabilities: Capabilities = field(default_factory=Capabilities)

    def __post_init__(self) -> None:
        self._offered: bytes | None = None
        self._every_ms = 1.0
        self._expected: dict[bytes, float] = {}
        self._sent = 0
        self._came: dict[bytes, int] = {}
        self._corrupted = 0
        self._last_ms = 0.0
        self._silences: list[Silence] = []
        self._announced: list[Announcement] = []
        self._back: list[bytes] = []
        self.world.arrived, self.world.due = self._arrived, self._due

    # --- exact frames ---

    def exchange(
        self, frames: Mapping[int, Sequence[bytes]], *, wait_s: float
    ) -> Mapping[int, list[bytes]]:
        self._back = []
        for frame in frames[0]:
            self.world.switch.receive(GENERATOR, frame)
        return {0: self._back}

    # --- trials ---

    def start(self, offer: Offer) -> None:
        self.__post_init__()
        self._offered = templates.template(self.topology.flow(0), offer.frame_bytes)
        self._every_ms = 1e3 / offer.rate_pps
        self._last_ms = self.world.now_ms

    def _due(self) -> None:
        if self._offered is None:
            return
        frame = self._offered[:-4] + self._sent.to_bytes(4, "big")
        self._sent += 1
        self._expected[self.topology.transform(frame, 0)] = self.world.now_ms
        self.world.switch.receive(GENERATOR, frame)

    def _arrived(self, frame: bytes) -> None:
        self._back.append(frame)
        if frame[12:14] == RARP:
            mac = frame[6:12].hex(":")
            self._announced.append(Announcement(self.world.now_ms / 1e3, 0, mac))
        elif frame in self._expected:
            self._came[frame] = self._came.get(frame, 0) + 1
            if (length := self.world.now_ms - self._last_ms) > self._every_ms:
                self._silences.append(Silence(self._last_ms / 1e3, length))
            self._last_ms = self.world.now_ms
        elif self._offered is not None and not frame[0] & 1:
            self._corrupted += 1

    def finish(self) -> None:
        self._counted = self.recount()
        self._offered = None

    def poll(self, timeout_s: float) -> Sequence[DirectionCounts] | None:
        return None if self._offered is not None else self._counted

    def recount(self) -> Sequence[DirectionCounts]:
        longest = sorted(self._silences, key=lambda one: -one.length_ms)[:_SILENCES]
        return [
            DirectionCounts(
                tx_port=0,
                rx_port=0,
                intended=self._sent,
                sent=self._sent,
                refused=0,
                received=len(self._came),
                duplicated=sum(self._came.values()) - len(self._came),
                reordered=0,
                corrupted=self._corrupted,
                foreign=len(self._announced),
                silences=tuple(longest),
                announcements=tuple(self._announced),
            )
        ]

    def abort(self) -> None:
        self._offered = None


def set_clock(world: World, patch: pytest.MonkeyPatch) -> None:
    """Who waits lets virtual time pass; nothing takes long."""
    clock = SimpleNamespace(
        time=lambda: world.now_ms / 1e3,
        monotonic=lambda: world.now_ms / 1e3,
        sleep=lambda s: world.advance(max(1, s * 1e3)),
    )
    for module in (culprit, outage, vf_migration, qmp_console, socket_file, sriov_migration):
        patch.setattr(module, "time", clock)
    patch.setattr(outage, "_LEAD_S", 0.02)
    patch.setattr(vf_migration, "DWELL_S", 0.04)
    patch.setattr(vf_migration, "AFTER_S", 0.04)
    patch.setattr(sriov_migration_wiring, "_image", lambda lab, host: IMAGE)


@contextlib.contextmanager
def running(
    world: World,
    patch: pytest.MonkeyPatch,
    *,
    two: bool = False,
    spoils: Sequence[Callable[[World, list[Host]], None]] = (),
) -> Iterator[tuple[SriovMigration, Generator, list[Host]]]:
    """As `suites/live_migration --nic sriov` brings it up."""
    set_clock(world, patch)
    servers: list[Any] = hosts(world, two=two)
    for spoil in spoils:
        spoil(world, servers)
    chosen = lab(two=two)
    provided = (
        bonded_migration.provision_between(chosen, *servers)
        if two
        else bonded_migration.provision(chosen, *servers)
    )
    with provided as topology:
        assert isinstance(topology, SriovMigration)
        yield topology, Generator(world, topology), servers
