"""An emulated Intel DPDK vSwitch with a guest behind it, and a generator at its NICs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn

from pytest_vswitch import registry
from pytest_vswitch.hosts.hugepages import Hugepages
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.chain import Chain
from pytest_vswitch.topologies.endpoints import Place
from pytest_vswitch.topologies.endpoints.ovdk_guest import OvdkGuest
from pytest_vswitch.topologies.lcores import LcorePlan
from pytest_vswitch.topologies.phy_vm_phy import OVDK
from pytest_vswitch.topologies.ports import SwitchPorts
from pytest_vswitch.topologies.topology import NicPort
from pytest_vswitch.topologies.vswitches import Order, VhostPort
from pytest_vswitch.topologies.vswitches.ovdk import Switch
from pytest_vswitch.traffic.generator import DirectionCounts, Offer
from pytest_vswitch.traffic.profile import Capabilities
from tests.emulated.ovdk_host import ROOT, SOURCES, OvdkHost

Transport = Literal["memnic", "kni"]
TRANSPORTS: tuple[Transport, ...] = ("memnic", "kni")
BDFS = ("0000:05:00.0", "0000:05:00.1")
CORES = LcorePlan((0, 1, 2, 3, 8), 4, (), False, None, ())


def lab(transport: Transport, **ovdk: object) -> Lab:
    """With a built release, two NICs, and an image for the guest."""
    ports = [{"kind": "nic", "bdf": bdf, "line_rate_gbps": 10} for bdf in BDFS]
    section = {"path": ROOT, "ports": transport, "sources": SOURCES[transport], **ovdk}
    return Lab.model_validate(
        {
            "name": "it",
            "dut": {"host": "local", "vswitch": "ovdk"},
            "guest": {"image": "/images/fedora.qcow2", "boot_timeout_s": 0.1},
            "ports": ports,
            "ovdk": section,
        }
    )


def order(transport: Transport) -> Order:
    """Two NICs, and two ports towards a guest."""
    nics = [NicPort(f"nic{n}", bdf, "", 1e10) for n, bdf in enumerate(BDFS)]
    vhosts = [VhostPort(f"{transport}{n}", "", transport) for n in range(2)]
    pairs = [("nic0", f"{transport}0"), ("nic1", f"{transport}1")]
    return Order(SwitchPorts(nics, BDFS), vhosts, pairs, CORES, Hugepages(2048, "it"))


@dataclass(frozen=True)
class Wired:
    """A chain that is up on the emulated host."""

    host: OvdkHost
    chain: Chain
    switch: Switch
    guest: OvdkGuest

    @property
    def generator(self) -> Wire:
        return Wire(self.host)


@contextlib.contextmanager
def wired(host: OvdkHost, transport: Transport) -> Iterator[Wired]:
    """As `ChainWiring.provision` brings it up, hugepages and bound NICs taken for granted."""
    chosen, wanted = lab(transport), order(transport)
    wiring = OVDK[transport]
    vswitch, endpoint = registry.vswitch("ovdk"), registry.endpoint(wiring.endpoints[0])
    vswitch.preflight(chosen, host)
    endpoint.preflight(chosen, host)
    place = Place(0, wanted.vhosts, not vswitch.LISTENS, 2, (4, 5), wanted.pages)
    with contextlib.ExitStack() as stack:
        switch = stack.enter_context(vswitch.start(chosen, host, wanted))
        guest = stack.enter_context(endpoint.start(chosen, host, place))
        switch.forward()
        assert isinstance(switch, Switch)
        assert isinstance(guest, OvdkGuest)
        chain = Chain(
            wiring.name,
            host,
            wanted.ports.ports,
            switch,
            [guest],
            generator_cpu=None,
            pages=wanted.pages,
            remarks=(),
            variant={},
            link=wiring.link,
        )
        try:
            yield Wired(host, chain, switch, guest)
        finally:
            guest.guest.machine.close()


class Wire:
    """A generator that puts frames on the emulated NICs' wires; see `generator.Generator`."""

    description = "wires of an emulated host"
    simulated = True
    capabilities = Capabilities()

    def __init__(self, host: OvdkHost) -> None:
        self._host = host

    def exchange(
        self, frames: Mapping[int, Sequence[bytes]], *, wait_s: float
    ) -> Mapping[int, list[bytes]]:
        came: dict[int, list[bytes]] = {port: [] for port in frames}
        for port, sent in frames.items():
            for frame in sent:
                for number, back in self._host.switch.receive(16 + port, frame):
                    came[number - 16].append(back)
        return came

    def start(self, offer: Offer) -> NoReturn:
        raise NotImplementedError("nothing is measured on an emulated host")

    def poll(self, timeout_s: float) -> Sequence[DirectionCounts] | None:
        raise NotImplementedError

    def recount(self) -> Sequence[DirectionCounts]:
        raise NotImplementedError

    def abort(self) -> None: ...
