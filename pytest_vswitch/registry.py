"""Topologies, vSwitches, generators and the like by name, from any package (entry points)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pytest_vswitch.errors import InputError

if TYPE_CHECKING:
    from pytest_vswitch.apps.guest import Guest
    from pytest_vswitch.apps.qemu import Parameters
    from pytest_vswitch.hosts.host import Host
    from pytest_vswitch.lab.schema import Lab
    from pytest_vswitch.topologies import endpoints, vswitches
    from pytest_vswitch.topologies.axes import Axes
    from pytest_vswitch.topologies.topology import Topology
    from pytest_vswitch.traffic.generator import Generator

TOPOLOGIES = "pytest_vswitch.topologies"
VSWITCHES = "pytest_vswitch.vswitches"
ENDPOINTS = "pytest_vswitch.endpoints"
HYPERVISORS = "pytest_vswitch.hypervisors"
GENERATORS = "pytest_vswitch.generators"


class Wiring(Protocol):
    """What an entry point of `pytest_vswitch.topologies` names: a module with these."""

    @property
    def AXES(self) -> Axes | None:
        """What may be chosen; None for a simulation, which has nothing of it."""

    def preflight(self, lab: Lab, host: Host) -> None:
        """Raise InputError for what can be known to be missing; change nothing."""

    def provision(self, lab: Lab, host: Host) -> AbstractContextManager[Topology]:
        """Wire and start it; everything ends with the block."""


@runtime_checkable
class Spanning(Protocol):
    """A wiring whose DUT may be two servers, the second of which is the lab's `target`."""

    def provision_between(
        self, lab: Lab, host: Host, there: Host
    ) -> AbstractContextManager[Topology]:
        """As `Wiring.provision`."""


class Hypervisor(Protocol):
    """What an entry point of `pytest_vswitch.hypervisors` names: a module with these."""

    def preflight(self, lab: Lab, host: Host) -> None:
        """Raise InputError for what the lab or the host lacks; change nothing."""

    def boot(
        self, host: Host, parameters: Parameters, *, program: str, timeout_s: float
    ) -> AbstractContextManager[Guest]:
        """A guest whose shell answers; `program` is QEMU.

        Raises DutError, with its last words, when it takes longer than `timeout_s`.
        """


Attach = Callable[["Lab", "Host", Any], AbstractContextManager["Generator"]]
"""What an entry point of `pytest_vswitch.generators` names: attach to a running topology."""


@dataclass(frozen=True, slots=True)
class Registered:
    """The names in one entry point group, none of them loaded yet."""

    group: str

    def names(self) -> list[str]:
        return sorted(point.name for point in entry_points(group=self.group))

    def load(self, name: str) -> Any:
        """Raises InputError, with the names that there are."""
        found: list[EntryPoint] = list(entry_points(group=self.group, name=name))
        if not found:
            raise InputError(
                f"no `{name}` among {self.group}: there are {', '.join(self.names()) or 'none'}"
            )
        return found[0].load()


def topology(name: str) -> Wiring:
    wiring: Wiring = Registered(TOPOLOGIES).load(name)
    return wiring


def vswitch(name: str) -> vswitches.Kind:
    kind: vswitches.Kind = Registered(VSWITCHES).load(name)
    return kind


def endpoint(name: str) -> endpoints.Kind:
    kind: endpoints.Kind = Registered(ENDPOINTS).load(name)
    return kind


def hypervisor(name: str) -> Hypervisor:
    module: Hypervisor = Registered(HYPERVISORS).load(name)
    return module


def generator(kind: str) -> Attach:
    attach: Attach = Registered(GENERATORS).load(kind)
    return attach
