"""A guest that routes, for real: it does it right, and each planted fault is found at its hop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_vswitch.measure.functional import FunctionalError, check_functional
from pytest_vswitch.measure.refusal import check_refusal
from pytest_vswitch.results.certification import Wired
from pytest_vswitch.results.run import Run
from pytest_vswitch.topologies.chain import Chain
from tests.system import running
from tests.system.conftest import Start
from tests.system.machine import Machine, process
from tests.system.session import SHORT

ERROR_S = 30
"""How soon a fault has to be an error."""

ROUTER_HOP = "guest kernel: virtio0 -> virtio1"


def test_a_certificate(start: Start, machine: Machine) -> None:
    """Steps: the suite, a quick search each for the guest's kernel and its testpmd.

    Verify: it passes; the books of every trial balance at every hop, the router's too;
    nothing is left.
    """
    session = start("certified", *SHORT, suite="suites/phy_vm_phy")
    assert session.end(300) == 0, session.output
    kernel, testpmd = session.record["cases"]
    assert kernel["id"] == "phy_vm_phy:frame_bytes=64"
    assert testpmd["id"] == "phy_vm_phy_testpmd:frame_bytes=64"
    assert [node["name"] for node in kernel["nodes"]][-1] == "guest kernel"
    assert "guest dpdk" not in kernel["facts"]["versions"]
    assert len(kernel["measurements"][0]["trials"]) > 1
    for trial in session.trials:
        for path in trial["paths"]:
            assert any(hop["name"].startswith("guest ") for hop in path)
            for hop in path:
                assert hop["entered"] == hop["left"] + sum(hop["drops"].values()), hop
    assert machine.traces(session.run) == []


# --- one run for all that follows: what one leaves must not disturb the next --------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with running.opened(tmp_path_factory.mktemp("router")) as run:
        yield run


def wired(run: Run) -> tuple[Wired, Any]:
    """The wired topology, and a shell in its guest."""
    wired = run.wired("phy_vm_phy")
    assert isinstance(wired.topology, Chain)
    endpoint: Any = wired.topology.endpoints[0]
    return wired, endpoint.machine.guest.run


@pytest.mark.parametrize("frame_bytes", [64, 1518])
def test_the_good_system_passes(run: Run, frame_bytes: int) -> None:
    now, _ = wired(run)
    check_functional(now.topology, now.generator, frame_bytes)
    check_refusal(now.topology, now.generator, frame_bytes, ttl=1)
    check_refusal(now.topology, now.generator, frame_bytes, dst_mac="00:00:5e:00:53:ff")


@dataclass(frozen=True)
class Planted:
    """A fault of the router's configuration."""

    name: str
    plant: str
    """For the guest's shell, with the words of its set-up."""
    take_back: str
    says: str
    """A regular expression."""


PLANTED = [
    Planted(
        "it does not route",
        "echo 0 > /proc/sys/net/ipv4/ip_forward",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
        rf"memif0 -> memif1: 64 of 64 .*\n(.*\n)* +lost at {ROUTER_HOP}: 64 \(InAddrErrors: 64\)",
    ),
    Planted(
        "no route",
        "$ip route del default",
        "$ip route add default via 3.3.3.2 dev $port1",
        rf"memif0 -> memif1: 64 of 64 .*\n(.*\n)* +lost at {ROUTER_HOP}: 64 \(InNoRoutes: 64\)$",
    ),
    Planted(
        "reverse path filter",
        "echo 1 > /proc/sys/net/ipv4/conf/$port0/rp_filter",
        "echo 0 > /proc/sys/net/ipv4/conf/$port0/rp_filter",
        r"memif0 -> memif1: 64 of 64 .*\n"
        rf"(.*\n)* +lost at {ROUTER_HOP}: 64 \(IPReversePathFilter: 64\)$",
    ),
    Planted(
        "swapped MAC of the neighbour",
        "$ip neigh replace 3.3.3.2 lladdr de:ad:be:ef:fe:ca nud permanent dev $port1",
        "$ip neigh replace 3.3.3.2 lladdr de:ad:be:ef:ca:fe nud permanent dev $port1",
        r"memif0 -> memif1: 64 frames came back changed; in the first of them\n"
        r"    byte 4 \(Ethernet destination\) is 0xfe, it should be 0xca",
    ),
    Planted(
        "a backlog of one frame",
        "echo 1 > /sys/class/net/$port0/queues/rx-0/rps_cpus && "
        "echo 1 > /proc/sys/net/core/netdev_max_backlog",
        "echo 0 > /sys/class/net/$port0/queues/rx-0/rps_cpus && "
        "echo 1000 > /proc/sys/net/core/netdev_max_backlog",
        rf"memif0 -> memif1: \d+ of 64 .*\n(.*\n)* +lost at {ROUTER_HOP}: \d+ \(rx dropped: \d+\)$",
    ),
]


@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.name)
def test_a_planted_fault(run: Run, fault: Planted) -> None:
    """Steps: change the guest's configuration; send frames; change it back; send frames.

    Verify: the first ones are not right, and the error names the hop and the kernel's own
    word, or the field; the others are.
    """
    now, shell = wired(run)
    shell(fault.plant)
    try:
        with pytest.raises(FunctionalError, match=f"(?m){fault.says}"):
            check_functional(now.topology, now.generator, 64, 64, wait_s=1.0)
    finally:
        shell(fault.take_back)
    check_functional(now.topology, now.generator, 64, 64)


def test_a_guest_that_routes_what_it_must_not(run: Run) -> None:
    """Steps: let the guest's ports take the MAC address that is nobody's; send frames to it.

    Verify: they come out, and that is told.
    """
    now, shell = wired(run)
    shell("$ip link set $port0 address 00:00:5e:00:53:ff")
    try:
        with pytest.raises(FunctionalError, match="memif0 -> memif1: 64 of 64 came out"):
            check_refusal(now.topology, now.generator, 64, dst_mac="00:00:5e:00:53:ff")
    finally:
        shell(
            "$ip link set $port0 address 52:54:00:02:d9:01 && "
            # The kernel forgets its neighbours with the address.
            "$ip neigh replace 2.2.2.2 lladdr de:ad:be:ef:ca:fd nud permanent dev $port0"
        )
    check_functional(now.topology, now.generator, 64, 64)


def test_a_slow_guest_is_where_the_loss_is(run: Run) -> None:
    """Steps: a trial at a low rate, in which QEMU gets no CPU for a second.

    Verify: the books balance, and most is lost where the guest does not take frames.
    """
    now, _ = wired(run)
    qemu = process(run.directory.path.name, "qemu-system-x86_64 ")
    trial = running.trial_with_pause(now, qemu, 1.0, 4000)
    assert trial.lost > 1000
    assert trial.lossy_hop
    assert trial.lossy_hop.name in {f"host testpmd: memif{n} -> vhost{n}" for n in (0, 1)}
    assert trial.lossy_hop.drops["TX-dropped"] == trial.lossy_hop.lost


# --- killed in a trial --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("do", "says"),
    [
        (running.kill("qemu-system-x86_64 "), r"QEMU is gone \(exit status -9\)"),
        (
            running.kill("dpdk-testpmd "),
            r"host testpmd is gone \(exit status -9\)",
        ),
    ],
    ids=["QEMU", "host testpmd"],
)
def test_a_program_killed_in_a_trial(run: Run, do: Callable[[str], None], says: str) -> None:
    """Steps: `kill -9` in the middle of a long trial.

    Verify: within 30 s an error that names it; nothing is left, and the next topology is
    as good as new.
    """
    now, _ = wired(run)
    running.check_named(run, now, do, says)
    again, _ = wired(run)
    check_functional(again.topology, again.generator, 64)
