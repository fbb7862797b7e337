"""A PVP whose guest is a libvirt domain: it forwards, faults are named, and nothing is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.apps import domain_xml
from pytest_vswitch.apps.guest import Machine as GuestMachine
from pytest_vswitch.errors import VswitchError
from pytest_vswitch.hosts import leftovers
from pytest_vswitch.hosts.opening import open_address
from pytest_vswitch.lab.choices import chosen
from pytest_vswitch.measure.functional import check_functional
from pytest_vswitch.measure.runner import Progress, TrialRunner
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.results.run import Run
from pytest_vswitch.topologies.chain import Chain
from pytest_vswitch.topologies.endpoints.guest_testpmd import GuestTestpmd
from tests.apps.test_libvirt import kept
from tests.system import running
from tests.system.conftest import Start
from tests.system.machine import Machine, process, processes
from tests.system.session import ENDLESS

ERROR_S = 30
"""How soon a fault has to be an error."""


def test_a_run_that_is_killed_is_cleaned_up_after(start: Start, machine: Machine) -> None:
    """Steps: kill pytest in its second trial; clean up as the next run does.

    It comes first, as the run of the tests below holds the machine.

    Verify: of libvirtd, the domain, its QEMU and their files nothing is left.
    """
    before = kept()
    killed = start("killed", *ENDLESS, "--hypervisor", "libvirt")
    killed.wait_for_trials(1)
    run = killed.run
    assert process(run, "libvirtd --config")
    killed.process.kill()
    killed.end()
    with open_address("local") as host:
        for left in host.engine.leftovers():
            assert host.engine.clean(left.run) == []
    assert leftovers.find() == []
    assert machine.traces(run) == []
    assert kept() == before


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One run for all: what one leaves must not disturb the next."""
    before = kept()
    lab = chosen(running.local(), vswitch=None, hypervisor="libvirt")
    with running.opened(tmp_path_factory.mktemp("libvirt"), lab) as run:
        yield run
    assert kept() == before


def run_id(run: Run) -> str:
    return run.directory.path.name


def wired(run: Run) -> tuple[Chain, Any]:
    """The PVP, and its generator."""
    wired = run.wired("pvp")
    assert isinstance(wired.topology, Chain)
    return wired.topology, wired.generator


def machine_of(pvp: Chain) -> GuestMachine:
    (endpoint,) = pvp.endpoints
    assert isinstance(endpoint, GuestTestpmd)
    return endpoint.machine.guest.machine


def test_frames_return_and_nothing_is_left_of_it(run: Run) -> None:
    """Steps: bring it up twice; send frames; count.

    Verify: they return as they must; all books balance; each time nothing is left.
    """
    for _ in range(2):
        pvp, generator = wired(run)
        check_functional(pvp, generator, 64)
        trials: list[Trial] = []
        TrialRunner(pvp, generator, 64, record=trials.append, progress=_silent).run(1000, 1.0)
        (trial,) = trials
        assert trial.sent == 1000
        assert "-accel" in machine_of(pvp).command
        run.unwire()
        left = {path.name for path in Path(run.host.scratch).iterdir()}
        assert left <= {"owner.json", "undo.jsonl"}
        assert processes(run_id(run)) == {}


def _silent(progress: Progress) -> None:
    """Nobody watches."""


# --- what ends a trial --------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """What is done to a running PVP, and what has to be said about it."""

    name: str
    do: Callable[[Chain, str], object]
    """Of the topology and the run's id."""
    says: str


def kill(program: str, number: int = signal.SIGKILL) -> Callable[[Chain, str], None]:
    return lambda pvp, run: os.kill(process(run, program), number)


FAULTS = [
    Fault(
        "QEMU killed",
        kill("/usr/bin/qemu-system-x86_64 "),
        r"QEMU is gone \(libvirt says: shut off \((crashed|failed)\)\)|"
        r"QEMU cannot be asked by way of libvirt: .*domain is not running",
    ),
    Fault(
        "libvirtd killed",
        kill("libvirtd --config"),
        r"libvirtd is gone \(exit status \d+\), and its domains with it; its last output:",
    ),
    Fault(
        "libvirtd frozen",
        kill("libvirtd --config", signal.SIGSTOP),
        r"QEMU does not answer by way of libvirt within 10 s",
    ),
    Fault(
        "guest frozen",
        lambda pvp, run: machine_of(pvp).execute("stop"),
        r"the guest is frozen: QEMU says `paused`",
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_in_a_trial(run: Run, fault: Fault) -> None:
    """Steps: break something in the middle of a long trial.

    Verify: within 30 s an error that names it; nothing is left; the next fault gets a new PVP.
    """
    wired = run.wired("pvp")
    pvp = wired.topology
    assert isinstance(pvp, Chain)
    running.check_named(run, wired, lambda name: fault.do(pvp, name), fault.says)


# --- what is wrong from the start ---------------------------------------------------------


@dataclass(frozen=True)
class Mistake:
    """A word of the domain's XML that is another one, and what has to be said about it."""

    name: str
    right: str
    wrong: str
    says: str


MISTAKES = [
    Mistake(
        "memory that is not shared",
        'mode="shared"',
        'mode="private"',
        r"forwards no frame .*lost at host testpmd: memif0 -> vhost0",
    ),
    Mistake(
        "both listen on the socket",
        'mode="client"',
        'mode="server"',
        r"libvirt did not start .*QEMU waiting for connection on: .*vhost0,server=on",
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_in_the_domain(
    run: Run, mistake: Mistake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps: define the domain with one wrong word.

    Verify: an error that names the program or the hop.
    """
    xml = domain_xml.Domain.xml

    def mistaken(self: domain_xml.Domain) -> str:
        text = xml(self)
        assert mistake.right in text
        return text.replace(mistake.right, mistake.wrong).replace(' memAccess="shared"', "")

    monkeypatch.setattr(domain_xml.Domain, "xml", mistaken)
    with pytest.raises(VswitchError, match=f"(?s){mistake.says}"):
        check_functional(*wired(run), 64)
    run.unwire()
    assert processes(run_id(run)) == {}
