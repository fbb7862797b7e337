"""Whatever dies or freezes in a trial: an error, within 30 s, that names it; nothing is left."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch import __version__
from pytest_vswitch.errors import DutError, HostError
from pytest_vswitch.lab import loader
from pytest_vswitch.measure.runner import Progress, TrialRunner
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.results import record, run_directory
from pytest_vswitch.results.run import Run
from pytest_vswitch.topologies.chain import Chain
from tests.system.machine import Machine, process, processes
from tests.system.session import ROOT

ERROR_S = 30
"""How soon a fault has to be an error."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One run for all faults: what one leaves must not disturb the next."""
    machine = Machine()
    facts = record.Run(
        id=run_directory.new_id(),
        started="",
        command=tuple(sys.argv),
        tool_version=__version__,
        simulated=False,
    )
    lab = loader.load("local", loader.search_path(ROOT))
    with Run(lab, facts, tmp_path_factory.mktemp("faults")) as run:
        yield run
    assert machine.traces(facts.id) == []


@dataclass(frozen=True)
class Fault:
    """What is done to a running PVP, and what has to be said about it."""

    name: str
    do: Callable[[Any, str], object]
    """Of the topology and the run's id."""
    says: str
    """A regular expression."""


def kill(program: str, number: signal.Signals = signal.SIGKILL) -> Callable[[Any, str], None]:
    return lambda pvp, run: os.kill(process(run, program), number)


FAULTS = [
    Fault(
        "QEMU killed",
        kill("qemu-system-x86_64 "),
        r"QEMU is gone \(exit status -9\); its last output:\n    \(none\)",
    ),
    Fault(
        "host testpmd killed",
        kill("dpdk-testpmd "),
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
        kill("qemu-system-x86_64 ", signal.SIGSTOP),
        r"QEMU does not answer on its QMP socket",
    ),
    Fault(
        "memif socket removed",
        lambda pvp, run: os.unlink(pvp.ports[0].socket),
        r"the socket of memif0, /run/\S+/memif0, was removed .*; its last output:\n.*testpmd>",
    ),
    Fault(
        "generator killed",
        kill("traffic.worker"),
        r"the memif generator on local died \(exit status -9\); its last output:\n.*counts",
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_in_a_trial(run: Run, fault: Fault) -> None:
    """Steps: one whole trial; break something in the middle of a second, long one.

    Verify: within 30 s an error that names what broke, with its last output; the first
    trial is kept; the topology ends without a trace, and the next fault gets a new one.
    """
    trials: list[Trial] = []
    running = threading.Event()

    def progress(now: Progress) -> None:
        if now.number == 2 and now.elapsed_s > 0.5:
            running.set()

    wired = run.wired("pvp")
    pvp = wired.topology
    assert isinstance(pvp, Chain)
    runner = TrialRunner(
        pvp, wired.generator, 64, record=trials.append, progress=progress, margin_s=ERROR_S
    )
    runner.run(2000, 0.5)
    with ThreadPoolExecutor(1) as pool:
        trial = pool.submit(runner.run, 2000, 2 * ERROR_S)
        assert running.wait(ERROR_S)
        fault.do(pvp, run.directory.path.name)
        error = trial.exception(timeout=ERROR_S)
    assert isinstance(error, DutError | HostError), error
    with pytest.raises(type(error), match=f"(?s){fault.says}"):
        raise error
    assert len(trials) == 1

    run.unwire()
    left = {path.name for path in Path(run.host.scratch).iterdir()}
    assert left <= {"owner.json", "undo.jsonl"}
    assert processes(run.directory.path.name) == {}
