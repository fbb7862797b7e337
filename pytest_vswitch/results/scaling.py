"""How a lab and a topology change along an axis of scalability: cores, queues, guests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pytest_vswitch import registry
from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure.scalability import Axis
from pytest_vswitch.results.certification import Wired
from pytest_vswitch.topologies import lcores

Over = Literal["cores", "queues", "guests"]

AXES: Mapping[Over, Axis] = {
    "cores": Axis("forwarding cores", "cores", each=True),
    "queues": Axis("queues of each virtio port", "queues"),
    "guests": Axis("guests in a row", "guests"),
}
_SIMULATED_CORES = 32
_MOST_QUEUES = 8
_BY_GUESTS = {1: "pvp", 2: "pvvp"}


def most(lab: Lab, host: Host, wired: Wired, over: Over) -> int:
    """The end of the axis; 1 where there is no more than a point of it."""
    simulated = lab.dut.host == "sim"
    if over == "guests":
        return max(_BY_GUESTS) if wired.name == _BY_GUESTS[1] and not simulated else 1
    if over == "cores":
        return _SIMULATED_CORES if simulated else _most_cores(lab, host)
    axes = None if simulated else registry.topology(wired.name).AXES
    alone = lab.dut.vswitch == "testpmd" and lab.ports[0].kind == "memif"
    if axes is None or not axes.hypervisor or alone:
        return 1
    return min(_MOST_QUEUES, lab.guest.vcpus - 1)


def points(most: int) -> tuple[int, ...]:
    """1, 2, 4, ... and `most`. Raises InputError if that is 1."""
    if most < 2:
        raise InputError("scalability wants two points at least, and there is one")
    count, found = 1, []
    while count < most:
        found.append(count)
        count *= 2
    return (*found, most)


def changed(lab: Lab, name: str, over: Over, count: int) -> tuple[str, Lab]:
    """The topology's name and the lab at a point of the axis."""
    if over == "guests":
        return _BY_GUESTS[count], lab
    section, key = {"cores": ("dut", "forwarding"), "queues": ("guest", "queues")}[over]
    other = getattr(lab, section).model_copy(update={key: count})
    return name, lab.model_copy(update={section: other})


def _most_cores(lab: Lab, host: Host) -> int:
    """As many as the lab gives, or as the DUT has; testpmd's may share, others want their own."""
    if lab.dut.lcores != "auto":
        return len(lab.dut.lcores) - 1
    cpus = len(lcores.available(host))
    return cpus if lab.dut.vswitch == "testpmd" else cpus - 1
