"""`vswitch topologies`: which vSwitch, endpoint and hypervisor go together, and run on a lab."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pytest_vswitch.cli.command import Commands, command

if TYPE_CHECKING:
    from pytest_vswitch.hosts.host import Host
    from pytest_vswitch.lab.schema import Lab


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    topologies = command(
        commands,
        "topologies",
        "list the topologies, and which vSwitch and hypervisor each can have",
        "Prints a line for each topology with each vSwitch (`--vswitch`) and each hypervisor\n"
        "(`--hypervisor`) that it can have, and whether a lab's hosts have what it needs. They\n"
        "are looked at; nothing on them is changed.",
        "vswitch topologies\n  vswitch topologies --dut lab1 | grep ovs-dpdk",
    )
    topologies.add_argument("--dut", metavar="LAB", default="local", help="default: local")
    topologies.add_argument("--json", action="store_true", help="print a JSON list instead")
    topologies.set_defaults(command=_topologies)


@dataclass(frozen=True, slots=True)
class _Row:
    topology: str
    vswitch: str
    endpoints: str
    hypervisor: str
    refusal: str
    """Why it does not run on the lab; empty if it does."""


def _topologies(arguments: argparse.Namespace) -> None:
    import json

    from pytest_vswitch.hosts.opening import open_host
    from pytest_vswitch.lab.loader import load

    lab = load(arguments.dut)
    if lab.dut.host == "sim":
        print(f"lab `{lab.name}` is a simulation: any suite runs, on a model of a DUT")
        return
    with open_host(lab) as host:
        rows = list(_rows(lab, host))
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    head = ("TOPOLOGY", "VSWITCH", "BEHIND IT", "HYPERVISOR", f"ON {lab.name}")
    table = [head]
    for row in rows:
        runs = f"no: {row.refusal}" if row.refusal else "yes"
        table.append((row.topology, row.vswitch, row.endpoints, row.hypervisor, runs))
    widths = [max(len(line[column]) for line in table) for column in range(4)]
    for line in table:
        cells = (f"{cell:{width}}" for cell, width in zip(line, [*widths, 0], strict=True))
        print("  ".join(cells).rstrip())


def _rows(lab: Lab, host: Host) -> Iterator[_Row]:
    from pytest_vswitch import registry
    from pytest_vswitch.errors import VswitchError
    from pytest_vswitch.lab.choices import chosen

    vswitches = registry.Registered(registry.VSWITCHES).names()
    hypervisors = registry.Registered(registry.HYPERVISORS).names()
    for name in registry.Registered(registry.TOPOLOGIES).names():
        wiring = registry.topology(name)
        if (axes := wiring.AXES) is None:
            continue
        for vswitch in vswitches if axes.vswitch is None else [axes.vswitch]:
            for hypervisor in hypervisors if axes.hypervisor else [None]:
                choice = vswitch if axes.vswitch is None else None
                refusal = ""
                try:
                    wiring.preflight(chosen(lab, vswitch=choice, hypervisor=hypervisor), host)
                except VswitchError as error:
                    refusal = " ".join(str(error).split())
                behind = ", ".join(axes.endpoints) or "-"
                yield _Row(name, vswitch, behind, hypervisor or "-", refusal)
