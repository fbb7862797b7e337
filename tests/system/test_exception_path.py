"""Exception paths, for real: each fault, and each death, is found and put where it belongs."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator

import pytest

from pytest_vswitch.errors import DutError, VswitchError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.measure.conversation import converse
from pytest_vswitch.measure.functional import FunctionalError, check_functional
from pytest_vswitch.results.certification import Wired
from pytest_vswitch.results.run import Run
from pytest_vswitch.topologies.chain import Chain
from pytest_vswitch.topologies.exception_link import Setup, linked
from pytest_vswitch.topologies.exception_ways import AF_PACKET, TAP
from tests.system.conftest import Start
from tests.system.machine import Machine
from tests.system.running import ERROR_S, check_named, kill, local, opened, trial
from tests.system.session import SHORT

LOCAL = ("exception_path_tap", "exception_path_af_packet")
"""Those that need no vhost-net, which this machine may lack."""


def test_a_certificate(start: Start, machine: Machine) -> None:
    """Steps: the suite's two ways that run everywhere, routed and with TCP; a quick search.

    Verify: it passes; the books of every trial balance at every hop, the kernel's too; one
    table compares the ways; nothing is left.
    """
    options = ("-k", "not vhost_net", *SHORT, "--wait", "5m")
    session = start("certified", *options, suite="suites/exception_path")
    assert session.end(300) == 0, session.output
    ids = [case["id"] for case in session.record["cases"]]
    assert ids == [f"{name}:frame_bytes=64,way={name[15:]}" for name in LOCAL]
    for measured in session.trials:
        for path in measured["paths"]:
            assert any(hop["name"].startswith("host kernel: ") for hop in path)
            for hop in path:
                assert hop["entered"] == hop["left"] + sum(hop["drops"].values()), hop
    table = session.output.partition("exception paths compared")[2]
    assert re.search(r"\ntap +routed by the kernel, +64 bytes: NDR [\d,]+ frames/s", table)
    assert re.search(r"\naf_packet +TCP, offloads off, queues used 2 of 2: +[\d.]+ Mbit/s", table)
    assert (session.directory / "exception_path.json").exists()
    assert machine.traces(session.run) == []


# --- one run for all that follows: what one leaves must not disturb the next --------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with opened(tmp_path_factory.mktemp("exception")) as run:
        yield run


def kernel_command(wired: Wired, *argv: str) -> None:
    """In the namespace of the kernel's ends."""
    assert isinstance(wired.topology, Chain)
    endpoint: object = wired.topology.endpoints[0]
    host: Host = endpoint._host  # type: ignore[attr-defined]
    name: str = endpoint._namespace  # type: ignore[attr-defined]
    host.run(["ip", "netns", "exec", name, *argv])


@pytest.mark.parametrize("name", LOCAL)
def test_the_good_system_passes_and_its_books_balance_under_overload(run: Run, name: str) -> None:
    """Verify: also when most frames are lost, every hop says how many it dropped."""
    wired = run.wired(name)
    check_functional(wired.topology, wired.generator, 64)
    measured = trial(wired, 400_000, 1.0)
    assert measured.lost > 0
    for path in measured.paths:
        for hop in path:
            assert hop.balanced, hop


@pytest.mark.parametrize("name", LOCAL)
def test_an_interface_that_is_down(run: Run, name: str) -> None:
    """Verify: it is named, before any frame is measured."""
    wired = run.wired(name)
    inner = "tap1" if name == LOCAL[0] else "veth1"
    kernel_command(wired, "ip", "link", "set", "dev", inner, "down")
    with pytest.raises(DutError, match=f"host kernel: its interface {inner} is down"):
        wired.topology.check_alive()
    run.unwire()


def test_a_kernel_that_does_not_route(run: Run) -> None:
    wired = run.wired(LOCAL[0])
    kernel_command(wired, "sysctl", "-q", "-w", "net.ipv4.ip_forward=0")
    before = wired.topology.snapshot()
    with pytest.raises(FunctionalError, match="256 of 256 frames did not come back right"):
        check_functional(wired.topology, wired.generator, 64)
    hops = wired.topology.path(0, before, wired.topology.snapshot())
    (lossy,) = [hop for hop in hops if hop.lost]
    assert (lossy.name, lossy.lost) == ("host kernel: tap0 -> tap1", 256)
    run.unwire()


def test_a_wrong_portlist(run: Run) -> None:
    """Steps: testpmd passes frames from port to port, none to the kernel.

    Verify: the frames come back, but not as the kernel would have sent them; no frame has
    entered the kernel.
    """
    wired = run.wired(LOCAL[0])
    assert isinstance(wired.topology, Chain)
    switch = wired.topology.vswitch.testpmd  # type: ignore[attr-defined]
    for command in ("stop", "set portlist 0,1,2,3", "start"):
        switch.command(command)
    before = wired.topology.snapshot()
    with pytest.raises(FunctionalError, match="256 of 256 frames did not come back right"):
        check_functional(wired.topology, wired.generator, 64)
    hops = wired.topology.path(0, before, wired.topology.snapshot())
    first = next(hop for hop in hops if hop.lost or not hop.balanced)
    assert first.name == "host testpmd: memif0 -> net_tap0"
    run.unwire()


def test_a_shrunk_queue(run: Run) -> None:
    """Steps: the TAP's queue holds two frames, in place of 1000; a burst for it.

    Verify: frames are lost, and it is the kernel, at that TAP, that could not send them.
    """
    wired = run.wired(LOCAL[0])
    kernel_command(wired, "ip", "link", "set", "dev", "tap1", "txqueuelen", "2")
    measured = trial(wired, 40_000, 1.0)
    hop = max((hop for path in measured.paths for hop in path), key=lambda hop: hop.lost)
    assert hop.name == "host kernel: tap0 -> tap1"
    assert hop.drops["tx dropped"] > 0
    run.unwire()


@pytest.mark.parametrize("name", LOCAL)
def test_testpmd_killed(run: Run, name: str) -> None:
    """Verify: within 30 s an error that names it; the next topology comes up."""
    wired = run.wired(name)
    says = r"host testpmd is gone \(exit status -9\); its last output:\n.*\n    testpmd>"
    check_named(run, wired, kill("dpdk-testpmd "), says)


# --- TCP ----------------------------------------------------------------------------------


def test_an_offload_that_is_left_out(run: Run) -> None:
    """Steps: the sending kernel leaves checksums open, and a packet socket passes them on so.

    Verify: TCP fails, and it is said whose fault that is; with the offload off it works.
    """
    run.unwire()
    with linked(local(), run.host, Setup(AF_PACKET, forward_mode="io")) as link:
        assert link.ping().received == 10
        with pytest.raises(FunctionalError, match=r"TCP segments for their checksums"):
            converse(link)
    with linked(local(), run.host, Setup(AF_PACKET)) as link:
        assert converse(link, duration_s=1).goodput_bps > 0


def test_an_end_that_is_down(run: Run) -> None:
    run.unwire()
    with linked(local(), run.host, Setup(TAP)) as link:
        end = link.interfaces[1]
        run.host.run(["ip", "-n", end.namespace, "link", "set", "dev", end.name, "down"])
        with pytest.raises(DutError, match="kernel: its interface tap1 is down"):
            converse(link)


@pytest.mark.parametrize(
    ("who", "says"),
    [
        ("testpmd", r"host testpmd is gone \(exit status -9\)"),
        ("server", r"iperf3 server is gone \(exit status -9\)"),
    ],
)
def test_a_death_during_tcp(run: Run, who: str, says: str) -> None:
    """Steps: kill -9 in the middle of a long transfer. Verify: named within 30 s; the next
    conversation works.
    """
    run.unwire()
    setup = Setup(TAP)
    with linked(local(), run.host, setup) as link, link.server() as server:
        victim = link.process if who == "testpmd" else server
        killing = threading.Timer(1.0, victim.signal, [signal.SIGKILL])
        killing.start()
        with pytest.raises(VswitchError, match=says):
            link.transfer(server, link.client(ERROR_S - 20))
        killing.join()
    with linked(local(), run.host, setup) as link:
        assert converse(link, duration_s=1).goodput_bps > 0
