"""memif loopback: both ends of one memif link in one testpmd, as if a cable joined two ports.

See the memif guide, "Example: testpmd memif loopback". A frame sent into port 0 goes

    port 0 -> testpmd -> server0 -> client0 -> testpmd -> port 1

and a frame sent into port 1 the other way round.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Final

from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts import hugepages
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.choices import chosen
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import lcores, ports
from pytest_vswitch.topologies.axes import Axes
from pytest_vswitch.topologies.chain import Chain, ChainWiring, Snapshot, link
from pytest_vswitch.topologies.counts import since
from pytest_vswitch.topologies.topology import Hop
from pytest_vswitch.topologies.vswitches import Order, VhostPort, testpmd

NAME: Final = "memif_loopback"
MAX_MTU: Final = 1500
AXES: Final = Axes((), vswitch="testpmd")

_CHAIN: Final = ChainWiring(NAME, ())
_SERVER, _CLIENT = "server0", "client0"


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError for what the lab or the host lacks; nothing is changed."""
    if lab.dut.mtu > MAX_MTU:
        raise InputError(
            f"{lab.where('dut', 'mtu')}: {_SERVER} -> {_CLIENT}, a hop of {NAME}, carries an MTU "
            f"of {MAX_MTU} bytes at most: DPDK's memif loses count of frames longer than a buffer"
        )
    _CHAIN.preflight(chosen(lab, vswitch="testpmd", hypervisor=None), host)


@contextlib.contextmanager
def provision(lab: Lab, host: Host) -> Iterator[Loopback]:
    """Wire and start it; everything ends with the block.

    Raises InputError for a lab that does not fit, HostError for what the host lacks,
    DutError, with its last words, for a program that does not come up.
    """
    preflight(lab, host)
    cores = lcores.plan_for(lab, host, [])
    socket = f"{host.scratch}/{_SERVER}"
    inner = (VhostPort(_SERVER, socket, "memif"), VhostPort(_CLIENT, socket, "memif-client"))
    with contextlib.ExitStack() as stack:
        pages = stack.enter_context(
            hugepages.reserve(host, lab.dut.hugepages, (lab.dut.memory_mb,))
        )
        bound = stack.enter_context(ports.bound(lab, host))
        pairs = tuple((port.name, end.name) for port, end in zip(bound.ports, inner, strict=True))
        order = Order(bound, inner, pairs, cores, pages)
        vswitch = stack.enter_context(testpmd.start(lab, host, order))
        vswitch.forward()
        yield Loopback(
            NAME,
            host,
            bound.ports,
            vswitch,
            (),
            generator_cpu=cores.generator_cpu,
            pages=pages,
            remarks=cores.remarks,
            variant={},
        )


class Loopback(Chain):
    """A chain without endpoints, whose vSwitch frames pass twice."""

    def path(self, tx_port: int, before: object, after: object) -> Sequence[Hop]:
        assert isinstance(before, Snapshot)
        assert isinstance(after, Snapshot)
        counts = {
            name: since(before.vswitch.ports[name], now)
            for name, now in after.vswitch.ports.items()
        }
        enter, leave = self.ports[tx_port].name, self.ports[self.peer(tx_port)].name
        here, there = (_SERVER, _CLIENT) if tx_port == 0 else (_CLIENT, _SERVER)
        return (
            self.switched(enter, here, counts, {}, first=True),
            link(here, there, counts[here], counts[there]),
            self.switched(there, leave, counts, {}, first=False),
        )
