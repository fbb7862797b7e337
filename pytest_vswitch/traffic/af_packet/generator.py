"""The generator of a lab whose ports are those of network cards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.traffic import wired
from pytest_vswitch.traffic.wired import Wired
from pytest_vswitch.traffic.worker_generator import WorkerGenerator


@contextlib.contextmanager
def attach(lab: Lab, host: Host, topology: Wired) -> Iterator[WorkerGenerator]:
    """The generator on the interfaces of `host` that the topology's ports are wired to.

    Its interfaces are up and silent, and left as they were found. Raises InputError for a
    wire that the lab does not name or the host does not have, HostError for what the host
    refuses, DutError where there is no link.
    """
    with (
        wired.prepared(lab, host, topology) as place,
        WorkerGenerator(
            host,
            "af_packet",
            [{"interface": name} for name in place.interfaces],
            topology,
            cpu=place.cpu,
            ring_size=lab.generator.ring_size,
            command=place.command,
            place=place.told,
        ) as generator,
    ):
        yield generator
