"""What the runs of a lab will use of its DUT: what checks look at, and tuning mends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from pytest_vswitch.apps.guest_image import GuestImage
from pytest_vswitch.apps.qemu import Parameters
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.machine import facts, tune
from pytest_vswitch.machine.checks import check
from pytest_vswitch.machine.needs import Needs, Port
from pytest_vswitch.topologies import lcores


def needs_of(lab: Lab, host: Host, frame_bytes: int = 1518) -> Needs:
    """For frames of up to `frame_bytes`, FCS included. Raises InputError for a wrong lab."""
    plan = lcores.plan_for(lab, host)
    own = not plan.shared
    main, *forwarding = plan.host_cpus
    [guest] = plan.endpoints
    generator = [] if plan.generator_cpu is None else [plan.generator_cpu]
    return Needs(
        polling=tuple(sorted({*forwarding, *guest.cpus[1:], *generator})),
        other=(main,) if own else (),
        shared="" if own else plan.remarks[0],
        ports=tuple(
            Port(port.bdf, port.driver, port.line_rate_gbps)
            for port in lab.ports
            if port.kind == "nic"
        ),
        hugepages=lab.dut.hugepages,
        memory_mb=(lab.dut.memory_mb, lab.guest.memory_mb),
        frame_bytes=frame_bytes,
        vcpus=guest.vcpus,
        guest_command_line=_guest_command_line(lab, guest.vcpus),
    )


def _guest_command_line(lab: Lab, vcpus: int) -> str:
    return Parameters(
        image=GuestImage("", "", "", ""),
        accelerator="kvm",
        vcpus=vcpus,
        memory_mb=lab.guest.memory_mb,
        hugepage_kb=None,
        guest_hugepages=1,
        ports=[],
    ).kernel_command_line


@contextlib.contextmanager
def tuned(lab: Lab, host: Host, tell: Callable[[str], None]) -> Iterator[None]:
    """The DUT as the lab's runs need it, as far as that goes without a reboot.

    `tell` is told what was done. It is put back at the end. Raises HostError.
    """
    needs, machine = needs_of(lab, host), facts.read(host)
    with tune.tuned(host, tune.steps(machine, needs, check(machine, needs))) as done:
        items = dict.fromkeys(step.check for step in done.steps)
        tell(f"{host.name}: tuned for this run: {', '.join(items) or 'nothing to do'}")
        for refusal in done.refused:
            tell(f"{host.name}: the kernel refused {refusal}")
        yield
