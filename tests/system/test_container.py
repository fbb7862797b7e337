"""A real container behind the switch: it forwards, its end is told, and nothing is left of it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_vswitch import __version__
from pytest_vswitch.errors import DutError, VswitchError
from pytest_vswitch.hosts import leftovers, reservation
from pytest_vswitch.hosts.opening import open_address
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure.functional import check_functional
from pytest_vswitch.measure.runner import Progress, TrialRunner
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.results import record, run_directory
from pytest_vswitch.results.run import Run
from tests.system.conftest import Start
from tests.system.machine import Machine, process, processes, wait_until
from tests.system.session import ENDLESS, SHORT, vswitch

SUITE = "suites/container"
ERROR_S = 30
"""How soon a fault has to be an error."""


def open_run(reports: Path, hugepages: str) -> Run:
    facts = record.Run(
        id=run_directory.new_id(),
        started="",
        command=tuple(sys.argv),
        tool_version=__version__,
        simulated=False,
    )
    ports = [{"kind": "memif"}, {"kind": "memif"}]
    dut = {"host": "local", "hugepages": hugepages}
    return Run(Lab.model_validate({"name": "it", "dut": dut, "ports": ports}), facts, reports)


def traces(machine: Machine, run: str) -> list[str]:
    """All that a run has left, control groups too."""
    groups = [str(path) for path in Path("/sys/fs/cgroup").rglob(f"*{run}*")]
    return [*machine.traces(run), *groups]


# --- it forwards --------------------------------------------------------------------------


def test_a_certificate(start: Start, machine: Machine) -> None:
    """Steps: a quick search, with the lab's defaults.

    Verify: frames return exactly, the books of every trial balance, the container's own
    versions are in the record; nothing is left.
    """
    session = start("certified", *SHORT, suite=SUITE)
    assert session.end() == 0, session.output
    (case,) = session.record["cases"]
    assert case["id"] == "container:frame_bytes=64"
    assert {"container dpdk", "podman", "container runtime"} <= case["facts"]["versions"].keys()
    assert [node["name"] for node in case["nodes"]][-1] == "container testpmd"
    for trial in session.trials:
        for path in trial["paths"]:
            assert any(hop["name"].startswith("container testpmd: virtio") for hop in path)
            for hop in path:
                assert hop["entered"] == hop["left"] + sum(hop["drops"].values()), hop
    assert traces(machine, session.run) == []


def test_three_in_a_row_leave_the_machine_as_it_was(machine: Machine, tmp_path: Path) -> None:
    """Steps: wire it, exchange frames and unwire it, three times in one run.

    Verify: frames return exactly each time, on hugepages and without; each time the host has
    no process, mount or control group of it, and at the end no trace.
    """
    for hugepages in ("2M", "none"):
        with open_run(tmp_path, hugepages) as run:
            name = run.directory.path.name
            for _ in range(3 if hugepages == "2M" else 1):
                wired = run.wired("container")
                assert (hugepages == "none") == wired.topology.facts.memory.startswith("no huge")
                check_functional(wired.topology, wired.generator, 64)
                run.unwire()
                assert processes(name) == {}
                assert list(Path("/sys/fs/cgroup").rglob(f"*{name}*")) == []
                assert name not in Path("/proc/mounts").read_text()
        assert traces(machine, name) == []


# --- killed runs --------------------------------------------------------------------------


def test_doctor_removes_what_a_killed_run_left(start: Start, machine: Machine) -> None:
    """Steps: `kill -9` pytest in its third trial; `vswitch doctor local --clean`.

    Verify: doctor names the containers; then no process, file, mount or control group is left.
    """
    killed = start("killed", *ENDLESS, suite=SUITE)
    killed.wait_for_trials(2)
    run = killed.run
    killed.process.kill()
    assert killed.end() == -signal.SIGKILL
    assert f"change {reservation.RUNTIME}/{run}/podman (containers)" in vswitch("doctor", "local")
    assert "cleaned" in vswitch("doctor", "local", "--clean")
    assert traces(machine, run) == []


def test_a_stopped_container_is_removed_too(start: Start, machine: Machine) -> None:
    """Steps: stop what runs in the container, so that it does not see the end of its input;
    `kill -9` pytest and podman; clean up.

    Verify: it survives pytest, and not the cleaning.
    """
    killed = start("stopped", *ENDLESS, suite=SUITE)
    killed.wait_for_trials(1)
    run = killed.run
    conmon = process(run, "/conmon ")
    (inside,) = Path(f"/proc/{conmon}/task/{conmon}/children").read_text().split()
    os.kill(int(inside), signal.SIGSTOP)
    killed.process.kill()
    killed.end()
    wait_until(lambda: len(processes(run)) <= 2, "the end of all but conmon and testpmd")
    assert set(processes(run)) == {conmon, int(inside)}
    with open_address("local") as host:
        for left in host.engine.leftovers():
            assert {pid for pid, _ in left.processes} == {conmon, int(inside)}
            assert host.engine.clean(left.run) == []
    assert traces(machine, run) == []


def test_interrupted(start: Start, machine: Machine) -> None:
    """Steps: Ctrl-C in its second trial.

    Verify: nothing is left, and nothing is left to clean.
    """
    session = start("interrupted", *ENDLESS, suite=SUITE)
    session.wait_for_trials(1)
    session.process.send_signal(signal.SIGINT)
    assert session.end() == 2, session.output
    assert traces(machine, session.run) == []
    assert leftovers.find() == []


# --- what ends a trial --------------------------------------------------------------------


def kill(program: str) -> Callable[[str], None]:
    return lambda run: os.kill(process(run, program), signal.SIGKILL)


@dataclass(frozen=True)
class Fault:
    """What is done to a running container, and what has to be said about it."""

    name: str
    do: Callable[[str], None]
    """Of the run's id."""
    says: str


def kill_inside(run: str) -> None:
    """The testpmd in the container: the one whose parent is conmon."""
    conmon = process(run, "/conmon ")
    (pid,) = Path(f"/proc/{conmon}/task/{conmon}/children").read_text().split()
    os.kill(int(pid), signal.SIGKILL)


FAULTS = [
    Fault(
        "its testpmd killed",
        kill_inside,
        r"container testpmd is gone \(exit status 137\); its last output:\n.*testpmd>",
    ),
    Fault(
        "podman killed",
        lambda run: os.kill(podman(run), signal.SIGKILL),
        r"container testpmd is gone \(exit status -9\); its last output:\n.*testpmd>",
    ),
    Fault(
        "host testpmd killed",
        kill("net_vhost0,"),
        r"host testpmd is gone \(exit status -9\); its last output:\n.*testpmd>",
    ),
]


def podman(run: str) -> int:
    (pid,) = [pid for pid, argv in processes(run).items() if argv.startswith("podman ")]
    return pid


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One run for all faults: what one leaves must not disturb the next. It holds the machine."""
    machine = Machine()
    with open_run(tmp_path_factory.mktemp("faults"), "auto") as run:
        yield run
    assert traces(machine, run.directory.path.name) == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_in_a_trial(run: Run, fault: Fault) -> None:
    """Steps: kill a program in the middle of a long trial.

    Verify: within 30 s an error that names it, with its last output; nothing is left.
    """
    trials: list[Trial] = []
    running = threading.Event()

    def progress(now: Progress) -> None:
        if now.elapsed_s > 0.5:
            running.set()

    wired = run.wired("container")
    runner = TrialRunner(
        wired.topology,
        wired.generator,
        64,
        record=trials.append,
        progress=progress,
        margin_s=ERROR_S,
    )
    with ThreadPoolExecutor(1) as pool:
        trial = pool.submit(runner.run, 2000, 2 * ERROR_S)
        assert running.wait(ERROR_S)
        fault.do(run.directory.path.name)
        error = trial.exception(timeout=ERROR_S)
    assert isinstance(error, VswitchError), error
    with pytest.raises(DutError, match=f"(?s){fault.says}"):
        raise error
    assert trials == []

    run.unwire()
    left = {path.name for path in Path(run.host.scratch).iterdir()}
    assert left <= {"owner.json", "undo.jsonl"}
    assert processes(run.directory.path.name) == {}
