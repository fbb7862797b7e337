"""The virtual functions of `vfd`, and the testpmds on the PF and on each of them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from pytest_vswitch.apps import dpdk
from pytest_vswitch.apps.testpmd import Parameters, Testpmd, parse_port_info
from pytest_vswitch.apps.vf_control import Control
from pytest_vswitch.errors import DutError, HostError
from pytest_vswitch.hosts import changes, knobs
from pytest_vswitch.hosts.host import Host, Process, check_runs
from pytest_vswitch.hosts.hugepages import Hugepages
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.lcores import LcorePlan

VFS: Final = 2
PF: Final = -1
RING: Final = 256
"""Descriptors of each RX ring of a VF."""
CLASSES: Final = 4
"""Traffic classes, where there are any."""

_MODES: Final = ("macswap", "rxonly")
"""How the VFs' programs forward, by number."""

MEMORY_MB: Final = 256
"""Of each testpmd."""
_START_S: Final = 60.0


class Program:
    """A testpmd that can be ended and started again."""

    def __init__(self, spawn: Callable[[int], AbstractContextManager[Process]]) -> None:
        """`spawn` is told how many queues its port has."""
        self._spawn = spawn
        self._stack = contextlib.ExitStack()
        self._process: Process | None = None
        self._control: Control | None = None

    @property
    def control(self) -> Control:
        if self._control is None:
            raise DutError("testpmd is not running: it did not come up again")
        return self._control

    def start(self, queues: int) -> None:
        """Raises DutError, with its last words, when it does not come up."""
        self._process = self._stack.enter_context(self._spawn(queues))
        self._control = Control(Testpmd(self._process, start_timeout_s=_START_S))

    def end(self) -> None:
        self._control = self._process = None
        self._stack.close()

    def check_alive(self) -> None:
        if self._process is not None:
            check_runs(self._process)


@dataclass(slots=True)
class Vf:
    """A virtual function, and the testpmd that has it."""

    number: int
    program: Program
    notice_s: float = 10.0
    """How long its driver may take to notice a change of the link [s]."""

    @property
    def control(self) -> Control:
        return self.program.control

    @property
    def mac(self) -> str:
        told = self.control.testpmd.command("show port info 0")
        # In a plan nobody says anything.
        return parse_port_info(told).mac if told else f"02:00:c6:12:f0:{self.number:02x}"

    def start(self, queues: int = 1) -> None:
        """It receives by its own address only, and forwards."""
        self.program.start(queues)
        self.control.testpmd.command("set promisc 0 off", why="testpmd turns it on")
        self.control.testpmd.command("set allmulti 0 off")
        self.control.testpmd.command(f"set fwd {_MODES[self.number]}")
        self.control.testpmd.start()

    def restart(self) -> None:
        """Its driver asks the PF for its settings anew. Raises DutError."""
        self.program.end()
        self.start()


@contextlib.contextmanager
def functions(host: Host, bdf: str, driver: str) -> Iterator[list[str]]:
    """VFs of a PF that DPDK drives, bound to the same driver, by address. Raises HostError."""
    with contextlib.ExitStack() as stack:
        make = _by_igb_uio if driver == "igb_uio" else _by_vfio
        made = stack.enter_context(make(host, bdf))
        for function in made:
            if driver == "igb_uio":
                stack.enter_context(changes.binding(host, function, driver))
                continue
            # vfio-pci takes the VFs of its PFs by itself, as they come.
            stack.enter_context(host.changing(Change("bound", function, "", driver)))
            link = f"{knobs.SYS}/bus/pci/devices/{function}/driver"
            now = host.read_link(link).rpartition("/")[2] if host.exists(link) else "no driver"
            if now != driver:
                raise HostError(
                    f"{host.name}: {function}, a VF of {bdf}, has {now}, not {driver}, which takes "
                    "the VFs of its PFs since Linux 5.7"
                )
        yield made


@contextlib.contextmanager
def _by_vfio(host: Host, bdf: str) -> Iterator[list[str]]:
    switch = f"{knobs.SYS}/module/vfio_pci/parameters/enable_sriov"
    with contextlib.ExitStack() as stack:
        if host.exists(switch):
            stack.enter_context(changes.rewriting(host, switch, "Y\n"))
        else:  # a plan, on a host whose module is not loaded yet
            stack.enter_context(host.changing(Change("rewrote", switch, "N\n", "Y\n")))
            host.write_text(switch, "Y\n")
        yield stack.enter_context(changes.virtual_functions(host, bdf, VFS))


@contextlib.contextmanager
def _by_igb_uio(host: Host, bdf: str) -> Iterator[list[str]]:
    """No driver of the kernel takes them meanwhile."""
    device = f"{knobs.SYS}/bus/pci/devices/{bdf}"
    knob = f"{device}/max_vfs"
    with (
        changes.rewriting(host, f"{device}/sriov_drivers_autoprobe", "0\n"),
        host.changing(Change("functions", bdf, "0", str(VFS))),
        host.changing(Change("rewrote", knob, "0\n", f"{VFS}\n")),
    ):
        host.write_text(knob, f"{VFS}\n")
        links = [f"{device}/virtfn{number}" for number in range(VFS)]
        yield [host.read_link(link).rpartition("/")[2] for link in links]


@dataclass(frozen=True, slots=True)
class Testpmds:
    """What starts the testpmds of a run."""

    lab: Lab
    host: Host
    cores: LcorePlan
    pages: Hugepages
    driver: str
    addresses: Sequence[str]
    """Of the PF and the VFs."""

    @staticmethod
    def name(number: int) -> str:
        return "PF testpmd" if number == PF else f"VF {number} testpmd"

    def argv(self, number: int, queues: int) -> list[str]:
        prefix = self._prefix(number)
        parameters = Parameters(
            lcores=self._lcores(number),
            memory_mb=MEMORY_MB,
            file_prefix=prefix,
            hugepages=self.pages.size_kb is not None,
            devices=[self.addresses[1 + number]],
            vf_token=self._token if self.driver == "vfio-pci" else "",
            forward_mode="io",
            port_topology="loop",
            queues=queues,
            # Of the PF, which polls nothing: DCB wants a lcore for each traffic class.
            forwarding_cores=CLASSES if number == PF else 1,
            mbufs=8192,
            descriptors=None if number == PF else RING,
        )
        return parameters.argv(dpdk.of_host(self.lab, self.host))

    def of(self, number: int) -> Callable[[int], AbstractContextManager[Process]]:
        """Starts the testpmd of a function, with so many queues."""

        @contextlib.contextmanager
        def spawn(queues: int) -> Iterator[Process]:
            what = "the PF, on which the functions are set" if number == PF else f"VF {number}"
            left = Change("made", f"/var/run/dpdk/{self._prefix(number)}")
            with (
                self.host.changing(left),
                self.host.spawn(
                    self.argv(number, queues),
                    name=self.name(number),
                    stop_with="quit\n",
                    why=f"{what} (guide, 5.1)",
                ) as process,
            ):
                yield process

        return spawn

    @property
    def _run(self) -> str:
        return self.host.scratch.rpartition("/")[2]

    @property
    def _token(self) -> str:
        """Ties the VFs to their PF: vfio-pci wants all their programs to know it."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, self._run))

    def _prefix(self, number: int) -> str:
        return f"vswitch-{self._run}-{'pf' if number == PF else f'vf{number}'}"

    def _lcores(self, number: int) -> str:
        spread = ",".join(map(str, self.cores.host_cpus))
        if number == PF:
            return ",".join(f"{lcore}@({spread})" for lcore in range(1 + CLASSES))
        cpus = self.cores.endpoints[number].cpus
        if not cpus:
            return f"0@({spread}),1@({spread})"
        return ",".join(f"{lcore}@{cpu}" for lcore, cpu in enumerate(cpus))
