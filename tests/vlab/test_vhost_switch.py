"""dpdk-vhost on the virtual DUT's 82576: planted faults, killed programs, nothing left."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from pytest_vswitch import registry
from pytest_vswitch.apps.vhost_switch import Options
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.opening import open_host
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.lab import loader
from pytest_vswitch.measure.functional import FunctionalError, check_functional, losses
from pytest_vswitch.measure.runner import TrialRunner
from pytest_vswitch.measure.vhost_switch_bench import Bench, Setup
from pytest_vswitch.topologies.vhost_switch import FAR_MAC, GuestOptions, guest_mac
from tests.vlab.virtual import Virtual, differences

pytestmark = pytest.mark.vlab

RUN = "vhost-proof"
FRAMES = 32
ERROR_S = 30
"""How soon a killed program has to be an error."""
DIRECTORIES = ("/run/dpdk", "/run/pytest-vswitch", "/dev/hugepages", "/tmp", "/root")

BETWEEN = GuestOptions(mode="mac", topology="loop", peers={0: guest_mac(1), 1: FAR_MAC})


@pytest.fixture(scope="module")
def bench(vlab: Virtual, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("vhost")
    (directory / "state").mkdir()
    lab = loader.load(vlab.lab)
    with (
        open_host(lab, run=RUN, transcript=Transcript(directory)) as dut,
        LocalHost(RUN, Transcript(directory / "state"), directory / "state") as here,
    ):
        yield Bench(lab, dut, here, registry.generator(lab.generator.kind))


# --- planted faults -----------------------------------------------------------------------


def test_a_good_system_passes(bench: Bench) -> None:
    with bench.started() as setup:
        check_functional(setup.topology, setup.generator, 128, 32)


def test_frames_for_a_pool_that_nobody_polls(bench: Bench) -> None:
    """Steps: send to the guest's second address, in its VLAN.

    Verify: none comes back, and the loss is between the NIC and the sample: an 82576 puts
    them into queue 1, and the sample looks into queue 2 for them.
    """
    with bench.started() as setup:
        before = setup.snapshot()
        assert setup.send(guest_mac(1), 1001, FRAMES) == []
        (line,) = losses(setup.topology, before)
        assert f"nic0 -> VMDq pool of vhost0: {FRAMES}" in line


def test_a_slow_guest_without_retries(bench: Bench) -> None:
    """Steps: `--rx-retry 0`; the guest stops to forward; more frames than its ring holds.

    Verify: the functional test fails, and names the hop towards the guest and its counter.
    """
    with bench.started(Options(rx_retry=0)) as setup:
        setup.topology.guest.command("stop")
        with pytest.raises(FunctionalError, match=r"dpdk-vhost: vhost0 -> virtio0.*RX dropped"):
            check_functional(setup.topology, setup.generator, 128, 512, wait_s=1.0)


def test_switching_in_software_is_off(bench: Bench) -> None:
    """Steps: `--vm2vm 0` where a guest is to reach another one.

    Verify: the frames are on the wire in place of the other guest, which gets none.
    """
    with bench.started(Options(vm2vm=0), BETWEEN) as setup:
        before = setup.snapshot()
        (seen,) = setup.send(guest_mac(0), 1000, FRAMES)
        after = setup.snapshot()
        assert (seen.dst, seen.vlan) == (guest_mac(1), 1000)
        assert after.devices[1].rx_total == before.devices[1].rx_total


# --- killed programs ----------------------------------------------------------------------


def kill(bench: Bench, setup: Setup, program: str) -> float:
    """Kill -9 in the midst of a trial; how long it took to be named [s]."""
    process = {
        "dpdk-vhost": setup.topology.switch.process,
        "guest testpmd": setup.topology.guest_process,
    }[program]
    runner = TrialRunner(
        setup.topology,
        setup.generator,
        128,
        record=lambda trial: None,
        progress=lambda progress: None,
    )
    killed: list[float] = []

    def later() -> None:
        bench.host.run(["kill", "-KILL", str(process.pid)])
        killed.append(time.monotonic())

    timer = threading.Timer(4.0, later)
    timer.start()
    try:
        with pytest.raises(DutError, match=f"{program} is gone"):
            runner.run(200, 120.0)
        ended = time.monotonic()
    finally:
        timer.join()
    return ended - killed[0]


@pytest.mark.parametrize("program", ["dpdk-vhost", "guest testpmd"])
def test_a_killed_program_is_named_and_the_next_case_runs(bench: Bench, program: str) -> None:
    with bench.started() as setup:
        assert kill(bench, setup, program) < ERROR_S
    with bench.started() as setup:
        check_functional(setup.topology, setup.generator, 128, 32)


# --- nothing is left ----------------------------------------------------------------------


def test_set_ups_and_tear_downs_leave_the_dut_as_it_was(bench: Bench, vlab: Virtual) -> None:
    """Rounds: 2, or as many as VHOST_SWITCH_ROUNDS says."""
    with bench.started():  # builds the program, loads modules
        pass
    before = vlab.snapshot(*DIRECTORIES)
    for _ in range(int(os.environ.get("VHOST_SWITCH_ROUNDS", "2"))):
        with bench.started() as setup:
            assert [seen.count for seen in setup.send(guest_mac(0), 1000, FRAMES)] == [FRAMES]
    deadline = time.monotonic() + ERROR_S
    while left := differences(before, vlab.snapshot(*DIRECTORIES)):
        assert time.monotonic() < deadline, left
