"""Chains of no guest and of two, and frames of 9000 bytes, with the real programs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.measure.functional import FunctionalError, check_functional
from pytest_vswitch.measure.way import check_way
from pytest_vswitch.results.certification import Wired
from pytest_vswitch.results.run import Run
from tests.system.conftest import Start
from tests.system.machine import Machine, processes
from tests.system.running import check_named, kill, local, opened, trial, trial_with_pause
from tests.system.session import SHORT


@pytest.mark.parametrize(("suite", "hops"), [("p2p", 1), ("pvvp", 9)])
def test_a_certificate(start: Start, machine: Machine, suite: str, hops: int) -> None:
    """Steps: the suite, a quick search.

    Verify: it passes; the books of every trial balance at every hop; nothing is left.
    """
    session = start("certified", *SHORT, suite=f"suites/{suite}")
    assert session.end(300) == 0, session.output
    (case,) = session.record["cases"]
    assert case["id"] == f"{suite}:frame_bytes=64"
    for found in session.trials:
        for path in found["paths"]:
            assert len(path) == 2 + hops  # with the generator's edges
            for hop in path:
                assert hop["entered"] == hop["left"] + sum(hop["drops"].values()), hop
    assert machine.traces(session.run) == []


def second_qemu(run: str) -> int:
    (pid,) = [pid for pid, argv in processes(run).items() if "guest-2,debug" in argv]
    return pid


@pytest.fixture(scope="class")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with opened(tmp_path_factory.mktemp("chain")) as run:
        yield run


class TestPvvp:
    """One bring-up for what leaves it as it was, a second after the kill."""

    @pytest.fixture
    def wired(self, run: Run) -> Wired:
        return run.wired("pvvp")

    def test_the_good_system_passes(self, wired: Wired) -> None:
        check_functional(wired.topology, wired.generator, 1518)
        check_way(wired.topology, wired.generator)

    def test_wires_that_are_crossed(self, wired: Wired) -> None:
        """Steps: exchange the two ports in the vSwitch's portlist; exchange them again.

        Verify: every frame comes back all the same, but not by its port's way, and it is
        said where it was missed first.
        """
        testpmd: Any = wired.topology.vswitch.testpmd  # type: ignore[attr-defined]

        def chain(portlist: str) -> None:
            for command in ("stop", f"set portlist {portlist}", "start"):
                testpmd.command(command)

        chain("1,2,3,4,0,5")
        try:
            with pytest.raises(FunctionalError, match=r"memif0, 64 entered and 0 left at host"):
                check_way(wired.topology, wired.generator)
        finally:
            chain("0,2,3,4,1,5")
        check_way(wired.topology, wired.generator)

    def test_a_second_guest_that_is_slow(self, run: Run, wired: Wired) -> None:
        """Steps: a trial at a low rate, in which the second guest gets no CPU for a second.

        Verify: the books balance, and most is lost before that guest, not before the first.
        """
        qemu = second_qemu(run.directory.path.name)
        found = trial_with_pause(wired, qemu, 1.0, 3000)
        assert found.lost > 500
        assert found.lossy_hop
        assert found.lossy_hop.name in {
            "host testpmd: vhost1 -> vhost2",
            "host testpmd: memif1 -> vhost3",
        }

    def test_a_second_guest_that_is_killed(self, run: Run, wired: Wired) -> None:
        def do(name: str) -> None:
            os.kill(second_qemu(name), signal.SIGKILL)

        check_named(run, wired, do, r"QEMU 2 is gone \(exit status -9\)")


class TestP2p:
    @pytest.fixture
    def wired(self, run: Run) -> Wired:
        return run.wired("p2p")

    def test_it_is_used_again_when_it_is_clean(self, run: Run, wired: Wired) -> None:
        check_functional(wired.topology, wired.generator, 64)
        assert run.wired("p2p") is wired

    def test_a_vswitch_that_only_receives(self, run: Run, wired: Wired) -> None:
        """Steps: set a forwarding mode that sends nothing.

        Verify: it is said where frames are lost; the topology is no longer clean, so the
        next test gets a new one.
        """
        testpmd: Any = wired.topology.vswitch.testpmd  # type: ignore[attr-defined]
        for command in ("stop", "set fwd rxonly", "start"):
            testpmd.command(command)
        with pytest.raises(FunctionalError, match=r"64 entered and 0 left at host testpmd: memif0"):
            check_way(wired.topology, wired.generator)
        again = run.wired("p2p")
        assert again is not wired
        check_way(again.topology, again.generator)

    def test_a_vswitch_that_is_killed(self, run: Run, wired: Wired) -> None:
        check_named(run, wired, kill("dpdk-testpmd "), r"host testpmd is gone \(exit status -9\)")


@pytest.mark.parametrize("topology", ["p2p", "container", "pvp"])
def test_frames_of_9000_bytes(tmp_path: Path, topology: str) -> None:
    """Steps: a chain of MTU 9000; frames of every size up to 9018 bytes.

    Verify: they come back byte for byte, and in a trial none is lost.
    """
    lab = local()
    lab = lab.model_copy(update={"dut": lab.dut.model_copy(update={"mtu": 9000})})
    with opened(tmp_path, lab) as run:
        wired = run.wired(topology)
        for frame_bytes in (64, 1518, 4096, 9018):
            check_functional(wired.topology, wired.generator, frame_bytes, 64)
        found = trial(wired, 1000, 1.0, 9018)
        assert found.lost == 0


def test_two_queue_pairs(tmp_path: Path) -> None:
    """Steps: a guest whose ports have two queue pairs, behind Open vSwitch.

    Verify: guest and vSwitch have agreed on two of each, and frames come back.
    """
    lab = local()
    lab = lab.model_copy(
        update={
            "dut": lab.dut.model_copy(update={"vswitch": "ovs-dpdk"}),
            "guest": lab.guest.model_copy(update={"queues": 2}),
        }
    )
    with opened(tmp_path, lab) as run:
        wired = run.wired("pvp")
        endpoint: Any = wired.topology.endpoints[0]  # type: ignore[attr-defined]
        for port in (0, 1):
            info = endpoint.forwarder.command(f"show port info {port}")
            assert "Current number of RX queues: 2" in info
        check_functional(wired.topology, wired.generator, 64)
        assert trial(wired, 1000, 1.0).lost == 0
