"""A suite's tests, carried out without a DUT: what they would send, type and expect.

A test gets recorders in place of its fixtures. What it tells a program is recorded by the
planned host; what it sends and expects is said here.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_vswitch.errors import VswitchError
from pytest_vswitch.hosts.plan import PlanHost
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.rehearsal.benches import FIXTURES, talk
from pytest_vswitch.rehearsal.measures import Measure, Threshold
from pytest_vswitch.rehearsal.unknown import Generator
from pytest_vswitch.results.certification import Wired
from pytest_vswitch.topologies.topology import NicPort, Topology


def rehearse(
    lab: Lab,
    function: Callable[..., None],
    parameters: Mapping[str, Any],
    fixtures: Sequence[str],
    topology: Topology,
    host: PlanHost,
) -> bool:
    """Carry `function` out on a planned topology; what it does is recorded by `host`.

    A test that wants a fixture unknown here has its docstring, and no more. False for one that
    is for another driver than the first port's.
    """

    def say(text: str) -> None:
        host.record("", text)

    wired = SimpleNamespace(name=topology.name, topology=topology, generator=Generator())
    known: dict[str, Any] = {
        topology.name: wired,
        "wired": wired,
        "lab": lab,
        "measure": Measure(say, topology, host),
        "threshold": Threshold(say, topology, lab),
        "frame_bytes": 64,
        **parameters,
    }
    for fixture, make in FIXTURES.items():
        if fixture in fixtures:
            known[fixture] = make(topology, say)
    if "talk" in fixtures:
        known["talk"] = lambda setup: talk(lab, host, setup)
    wanted = _arguments(function)
    known |= {name: wired for name, kind in wanted.items() if kind in ("Wired", Wired)}
    module = getattr(function, "__globals__", {})
    road = getattr(topology, "road", None)
    if isinstance(road, str) and road != module.get("ROAD", "dpdk"):
        return False
    driver = module.get("DRIVER")
    port = topology.ports[0]
    if driver and isinstance(port, NicPort) and host.found_driver(port.bdf) != driver:
        return False
    if not set(wanted) <= set(known):
        return True
    try:
        function(**{name: known[name] for name in wanted})
    except pytest.skip.Exception as reason:
        say(f"skipped: {reason}")
    except (pytest.fail.Exception, Exception) as error:
        # An answer that nobody gave may end it anywhere; what came before is recorded.
        for missed in getattr(error, "missed", ()):
            say(f"expect {missed.what}: {missed.expected}")
    return True


def _arguments(function: Callable[..., None]) -> dict[str, object]:
    """What a test wants, and what it is said to be."""
    found = inspect.signature(function).parameters.values()
    return {one.name: one.annotation for one in found if one.name != "self"}


def counters(topology: Any) -> None:
    """Have a topology ask for the counters of each of its programs."""
    parts = [topology.snapshot]
    if hasattr(topology, "endpoints"):
        parts = [topology.vswitch.read, *(end.counts for end in topology.endpoints)]
    for read in parts:
        # The first answer that is not there ends it; of `Vfd` and the like it is the only one.
        with contextlib.suppress(Exception):
            read()


def traffic(topology: Topology) -> list[str]:
    """What a generator sends in trials, and what its frames become, by port."""
    lines = ["The generator sends, in trials at an even rate, frames of UDP over IPv4:"]
    for index, port in enumerate(topology.ports):
        with contextlib.suppress(VswitchError):
            flow = topology.flow(index)
            tag = f", VLAN {flow.vlan}" if flow.vlan is not None else ""
            lines += [
                f"- into {port.name}: {flow.src_mac} to {flow.dst_mac}{tag}, {flow.src_ip} to "
                f"{flow.dst_ip},",
                f"  ports 49184; out of {topology.ports[topology.peer(index)].name} they come back",
            ]
    lines += [
        f"- {vf.mac} stands for the address of VF {vf.number}: `show port info 0` there tells it"
        for vf in getattr(topology, "vfs", ())
    ]
    lines += [
        "After the headers each has its number and its time of sending, so that what comes back",
        "is counted as received, doubled, reordered, changed or foreign: lost is what was sent",
        "and is not received when nothing more has come for a while.",
    ]
    return lines
