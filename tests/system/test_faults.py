"""Whatever dies or freezes in a trial: an error, within 30 s, that names it; nothing is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_vswitch.results.run import Run
from pytest_vswitch.topologies.chain import Chain
from tests.system.running import check_named, kill, opened


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One run for all faults: what one leaves must not disturb the next."""
    with opened(tmp_path_factory.mktemp("faults")) as run:
        yield run


@dataclass(frozen=True)
class Fault:
    """What is done to a running PVP, and what has to be said about it."""

    name: str
    do: Callable[[Any, str], object]
    """Of the topology and the run's id."""
    says: str
    """A regular expression."""


FAULTS = [
    Fault(
        "QEMU killed",
        lambda pvp, run: kill("qemu-system-x86_64 ")(run),
        r"QEMU is gone \(exit status -9\); its last output:\n    \(none\)",
    ),
    Fault(
        "host testpmd killed",
        lambda pvp, run: kill("dpdk-testpmd ")(run),
        r"host testpmd is gone \(exit status -9\); its last output:\n.*\n    testpmd>",
    ),
    Fault(
        "guest testpmd killed",
        lambda pvp, run: pvp.endpoints[0].machine.guest.run("killall -9 dpdk-testpmd"),
        r"guest testpmd is gone \(exit status 137\); its last output:\n.*Killed",
    ),
    Fault(
        "guest frozen",
        lambda pvp, run: pvp.endpoints[0].machine.guest.machine.execute("stop"),
        r"the guest is frozen: QEMU says `paused`; its last output:\n.*\n    testpmd>",
    ),
    Fault(
        "QEMU frozen",
        lambda pvp, run: kill("qemu-system-x86_64 ", signal.SIGSTOP)(run),
        r"QEMU does not answer on its QMP socket",
    ),
    Fault(
        "memif socket removed",
        lambda pvp, run: os.unlink(pvp.ports[0].socket),
        r"the socket of memif0, /run/\S+/memif0, was removed while host testpmd listened on it",
    ),
    Fault(
        "generator killed",
        lambda pvp, run: kill("traffic.worker")(run),
        r"the memif generator on local died \(exit status -9\); its last output:\n.*counts",
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_in_a_trial(run: Run, fault: Fault) -> None:
    """Steps: one whole trial; break something in the middle of a second, long one.

    Verify: within 30 s an error that names what broke, with its last output; the first
    trial is kept; the topology ends without a trace, and the next fault gets a new one.
    """
    wired = run.wired("pvp")
    assert isinstance(wired.topology, Chain)
    check_named(run, wired, lambda name: fault.do(wired.topology, name), fault.says)
