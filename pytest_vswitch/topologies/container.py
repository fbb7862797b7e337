"""Container: physical port - container - physical port, the guide's chapter 6."""

from __future__ import annotations

from typing import Final

from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.chain import Chain, ChainWiring
from pytest_vswitch.topologies.endpoints.container import Container
from pytest_vswitch.topologies.topology import Topology

CHAIN: Final = ChainWiring("container", ("container",))

AXES = CHAIN.axes
preflight = CHAIN.preflight
provision = CHAIN.provision


def breaches(topology: Topology) -> list[str]:
    """What its containers may do more, or less, than they were given, a sentence each.

    None in a simulation, which has no container. Raises HostError, DutError.
    """
    endpoints = topology.endpoints if isinstance(topology, Chain) else ()
    return [
        f"{endpoint.name}: {breach}"
        for endpoint in endpoints
        if isinstance(endpoint, Container)
        for breach in endpoint.limits.breaches()
    ]


def scattered(lab: Lab, host: Host) -> str | None:
    """What is said when the container's memory is in a file for each page (guide, 6.3).

    Empty if nothing is; None where its pages are not of 2 MB, and too few to matter.
    Raises HostError, DutError.
    """
    section = lab.container.model_copy(update={"single_file_segments": False})
    try:
        with provision(lab.model_copy(update={"container": section}), host) as chain:
            return "" if chain.facts.memory.startswith("2048 kB") else None
    except InputError as error:
        return str(error)
