"""A real container behind the switch: it forwards, its end is told, and nothing is left of it."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.apps import docker
from pytest_vswitch.apps.containers import Mount, Parameters
from pytest_vswitch.hosts import hugepages, leftovers, reservation
from pytest_vswitch.hosts.opening import open_address
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure.functional import FunctionalError, check_functional
from pytest_vswitch.measure.runner import TrialRunner
from pytest_vswitch.measure.way import check_way
from pytest_vswitch.results.run import Run
from pytest_vswitch.topologies.chain import Chain
from pytest_vswitch.topologies.container import breaches, scattered
from pytest_vswitch.topologies.endpoints.container import Container
from tests.system import running
from tests.system.conftest import Start
from tests.system.machine import Machine, process, processes, wait_until
from tests.system.session import ENDLESS, SHORT, vswitch

SUITE = "suites/container"
ERROR_S = 30
"""How soon a fault has to be an error."""
WAIT_S = 300
"""For the end of another run on this machine, if there is one."""


def open_run(reports: Path, hugepages: str, **container: Any) -> Run:
    ports = [{"kind": "memif"}, {"kind": "memif"}]
    dut = {"host": "local", "hugepages": hugepages}
    lab = {"name": "it", "dut": dut, "ports": ports, "container": container}
    return running.open_run(reports, Lab.model_validate(lab), wait_s=WAIT_S)


def traces(machine: Machine, run: str) -> list[str]:
    """All that a run has left, control groups and what docker makes outside of its own, too."""
    groups = [str(path) for path in Path("/sys/fs/cgroup").rglob(f"*{run}*")]
    return [*machine.traces(run), *groups, *(path for path in docker.OWN if os.path.exists(path))]


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


@pytest.mark.parametrize(
    "container",
    [
        {"rootless": "on", "image": "built"},
        {"rootless": "off"},
        {"engine": "docker", "rootless": "on"},
        {"engine": "docker", "rootless": "off", "image": "built"},
    ],
    ids=lambda section: "-".join(section.values()),
)
def test_each_kind_of_container(
    container: dict[str, str], machine: Machine, tmp_path: Path
) -> None:
    """Steps: wire it; exchange frames, both ways at once and one by one; look at its limits.

    Verify: frames return exactly, each by its own port; it may do what it was given and no
    more; its memory in pieces is refused with the reason; no trace is left.
    """
    with open_run(tmp_path, "2M", **container) as run:
        wired = run.wired("container")
        check_functional(wired.topology, wired.generator, 64)
        check_way(wired.topology, wired.generator)
        assert breaches(wired.topology) == []
        user = wired.topology.facts.versions["container user"]
        assert user.startswith("0 " if container["rootless"] == "off" else "1900000000 ")
        run.unwire()
        assert "vhost-user carries 8, and its 128 pages of" in (scattered(run.lab, run.host) or "")
        name = run.directory.path.name
    assert traces(machine, name) == []


def test_behind_open_vswitch_it_listens(machine: Machine, tmp_path: Path) -> None:
    """Steps: wire it to a vSwitch that connects to its sockets; exchange frames.

    Verify: frames return exactly; no trace is left.
    """
    with open_run(tmp_path, "2M") as run:
        run.lab = run.lab.model_copy(
            update={"dut": run.lab.dut.model_copy(update={"vswitch": "ovs-dpdk"})}
        )
        wired = run.wired("container")
        assert any("server=1" in word for _, argv in wired.topology.facts.commands for word in argv)
        check_functional(wired.topology, wired.generator, 64)
        name = run.directory.path.name
    assert traces(machine, name) == []


def test_three_in_a_row_leave_the_machine_as_it_was(machine: Machine, tmp_path: Path) -> None:
    """Steps: wire it, exchange frames and unwire it, three times in one run.

    Verify: frames return exactly each time, on hugepages and without; each time the host has
    no process, mount or control group of it, and at the end no trace.
    """
    for pages in ("2M", "none"):
        with open_run(tmp_path, pages) as run:
            name = run.directory.path.name
            for _ in range(3 if pages == "2M" else 1):
                wired = run.wired("container")
                assert (pages == "none") == wired.topology.facts.memory.startswith("no huge")
                check_functional(wired.topology, wired.generator, 64)
                run.unwire()
                assert processes(name) == {}
                assert list(Path("/sys/fs/cgroup").rglob(f"*{name}*")) == []
                assert name not in Path("/proc/mounts").read_text()
        assert traces(machine, name) == []


# --- planted faults -----------------------------------------------------------------------


def test_a_socket_of_the_wrong_port_is_found(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps: mount each vhost-user socket for the other; frames into one port at a time.

    Verify: frames come back all the same, and the link that is wrong is named.
    """
    right = Mount.__str__

    def crossed(mount: Mount) -> str:
        other = {"/run/vhost0": "/run/vhost1", "/run/vhost1": "/run/vhost0"}
        return right(replace(mount, target=other.get(mount.target, mount.target)))

    monkeypatch.setattr(Mount, "__str__", crossed)
    with open_run(tmp_path, "auto") as run:
        wired = run.wired("container")
        check_functional(wired.topology, wired.generator, 64)
        with pytest.raises(FunctionalError, match="64 entered and 0 left at vhost0 -> virtio0"):
            check_way(wired.topology, wired.generator)
        name = run.directory.path.name
    assert traces(machine, name) == []


def test_a_throttled_container_is_where_frames_are_lost(machine: Machine, tmp_path: Path) -> None:
    """Steps: give the container 1 ms of CPU in 100; a trial.

    Verify: frames are lost, and nearly all of them where the vSwitch hands them to it.
    """
    with open_run(tmp_path, "auto") as run:
        wired = run.wired("container")
        name = run.directory.path.name
        for quota in Path("/sys/fs/cgroup").rglob(f"vswitch-{name}/*/cpu.cfs_quota_us"):
            quota.write_text("1000")
        for most in Path("/sys/fs/cgroup").rglob(f"vswitch-{name}/*/cpu.max"):
            most.write_text("1000 100000")
        runner = TrialRunner(
            wired.topology,
            wired.generator,
            64,
            record=lambda trial: None,
            progress=lambda now: None,
            margin_s=ERROR_S,
        )
        trial = runner.run(20_000, 2)
    lost = Counter[str]()
    for path in trial.paths:
        for hop in path:
            lost[hop.name] += hop.lost
    to_it = lost["host testpmd: memif0 -> vhost0"] + lost["host testpmd: memif1 -> vhost1"]
    assert sum(lost.values()) > 1000
    assert to_it > 0.9 * sum(lost.values()), lost
    assert traces(machine, name) == []


def test_more_than_it_was_given_is_found(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps: start it with one capability too few and another too many; lift its limit.

    Verify: each is told, in words.
    """
    options = Parameters.options

    def planted(given: Parameters) -> list[str]:
        words = [word for word in options(given) if word != "--cap-add=IPC_LOCK"]
        return [*words, "--cap-add=NET_RAW"]

    monkeypatch.setattr(Parameters, "options", planted)
    with open_run(tmp_path, "2M") as run:
        wired = run.wired("container")
        name = run.directory.path.name
        (limit,) = Path("/sys/fs/cgroup").rglob(f"vswitch-{name}/hugetlb.2MB.max")
        limit.write_text("max")
        assert breaches(wired.topology) == [
            "container testpmd: it lacks the capability IPC_LOCK",
            "container testpmd: it has capabilities that it was not given (0x2000)",
            "container testpmd: it has no limit of hugepages instead of 256 MiB",
        ]
    assert traces(machine, name) == []


def test_more_hugepages_than_its_limit_are_not_had(machine: Machine, tmp_path: Path) -> None:
    """Steps: free hugepages on the host; a second testpmd in the container asks for them.

    Verify: it gets none; the kernel counts that the limit was hit.
    """
    with open_run(tmp_path, "2M") as run, hugepages.reserve(run.host, "2M", [896]):
        wired = run.wired("container")
        name = run.directory.path.name
        assert isinstance(wired.topology, Chain)
        (endpoint,) = wired.topology.endpoints
        assert isinstance(endpoint, Container)
        eal = ["--in-memory", "--no-pci", "-m", "64", "--lcores", "0", "--file-prefix", "more"]
        argv = [*endpoint.limits.enter, "dpdk-testpmd", *eal, "--", "--version"]
        said = run.host.run(argv, timeout_s=ERROR_S, check=False).output
        (events,) = Path("/sys/fs/cgroup").rglob(f"vswitch-{name}/hugetlb.2MB.events")
        assert int(events.read_text().split()[1]) > 0
        assert "Cannot init memory" in said
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
        "conmon killed",
        lambda run: os.kill(process(run, "/conmon "), signal.SIGKILL),
        r"container testpmd is gone .*; its last output:\n.*testpmd>",
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


def docker_inside(run: str) -> None:
    (limit,) = Path("/sys/fs/cgroup").rglob(f"vswitch-{run}/*/pids.max")
    (pid,) = (limit.parent / "cgroup.procs").read_text().split()
    os.kill(int(pid), signal.SIGKILL)


DOCKER_FAULTS = [
    Fault(
        "its testpmd killed",
        docker_inside,
        r"container testpmd is gone \(exit status 137\); its last output:\n.*testpmd>",
    ),
    Fault(
        "dockerd killed",
        kill("dockerd "),
        r"dockerd is gone \(exit status -9\); its last output:",
    ),
    Fault(
        "docker's shim killed",
        kill("/containerd-shim"),
        r"container testpmd is gone .*; its last output:",
    ),
    Fault(
        "docker's client killed",
        kill("docker --config"),
        r"container testpmd is gone \(exit status -9\); its last output:\n.*testpmd>",
    ),
]


@pytest.fixture(scope="module")
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One run for all faults: what one leaves must not disturb the next. It holds the machine."""
    machine = Machine()
    with open_run(tmp_path_factory.mktemp("faults"), "auto", engine=request.param) as run:
        yield run
    assert traces(machine, run.directory.path.name) == []


@pytest.mark.parametrize(
    ("run", "fault"),
    [("podman", fault) for fault in FAULTS] + [("docker", fault) for fault in DOCKER_FAULTS],
    ids=lambda value: value if isinstance(value, str) else value.name,
    indirect=["run"],
)
def test_a_fault_in_a_trial(run: Run, fault: Fault) -> None:
    """Steps: kill a program in the middle of a long trial.

    Verify: within 30 s an error that names it, with its last output; nothing is left.
    """
    running.check_named(run, run.wired("container"), fault.do, fault.says)
