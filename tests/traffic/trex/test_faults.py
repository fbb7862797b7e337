"""A TRex generator's own faults are named as such: bars 1 and 7."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.errors import DutError, HostError, InputError
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.traffic.generator import Offer
from pytest_vswitch.traffic.trex.generator import TrexGenerator, attach
from tests.traffic.trex.bench import attached, double, lab
from tests.traffic.trex.data_plane import Dut
from tests.traffic.trex.emulated_server import EmulatedServer
from tests.traffic.wires import Topology

DEADLINE_S = 60.0
ENDLESS = Offer(2000.0, 3600.0, 128)
SHORT = Offer(2000.0, 0.2, 128)


@pytest.fixture
def server() -> Iterator[EmulatedServer]:
    with EmulatedServer() as server:
        yield server


def wait_for_the_end(generator: TrexGenerator) -> None:
    """Whatever ends the trial that runs."""
    assert generator.poll(DEADLINE_S) is None, "the trial ended without a word"


def test_it_says_who_it_is(here: LocalHost, server: EmulatedServer) -> None:
    with attached(here, server) as generator:
        assert generator.description.startswith("TRex v3.08 (scapy 2.")
        assert "pyzmq 2" in generator.description


def test_pytests_own_scapy_stays(here: LocalHost, server: EmulatedServer) -> None:
    """What the client imports, and puts on its path, is no business of this process."""
    import scapy

    before, path = scapy, list(sys.path)
    with attached(here, server) as generator:
        generator.start(SHORT)
        assert generator.poll(DEADLINE_S)
        import scapy

        assert scapy is before
        assert sys.path == path
        assert not [name for name in sys.modules if name.split(".")[0] == "trex"]


def test_ports_are_given_back_as_they_were(here: LocalHost, server: EmulatedServer) -> None:
    with attached(here, server), server.lock:
        assert [port.owner for port in server.plane.ports] == ["pytest-vswitch"] * 2
        assert all(port.promiscuous for port in server.plane.ports)
    with server.lock:
        assert [port.owner for port in server.plane.ports] == ["", ""]
        assert not any(port.promiscuous for port in server.plane.ports)
        assert not any(port.streams for port in server.plane.ports)


def test_who_holds_a_port_is_named(here: LocalHost, server: EmulatedServer) -> None:
    server.rpc.take(1, "alice")
    with (
        pytest.raises(HostError, match=r"port 1 .* is held by 'alice'.*`trex\.force: true`"),
        attached(here, server),
    ):
        pass
    assert server.plane.ports[1].owner == "alice"
    assert server.plane.ports[0].owner == ""


def test_a_port_is_taken_only_when_the_lab_says_so(here: LocalHost, server: EmulatedServer) -> None:
    server.rpc.take(1, "alice")
    with attached(here, server, force=True) as generator:
        assert server.plane.ports[1].owner == "pytest-vswitch"
        generator.start(SHORT)
        assert generator.poll(DEADLINE_S)


def test_a_port_that_is_taken_in_a_trial(here: LocalHost, server: EmulatedServer) -> None:
    with attached(here, server) as generator:
        generator.start(ENDLESS)
        assert generator.poll(0.2) is None
        with server.lock:
            server.rpc.take(0, "bob")
        with pytest.raises(HostError, match="trex generator: its port 0 was taken by 'bob'"):
            wait_for_the_end(generator)


def test_a_link_that_goes_down_in_a_trial(here: LocalHost, server: EmulatedServer) -> None:
    with attached(here, server) as generator:
        generator.start(ENDLESS)
        assert generator.poll(0.2) is None
        with server.lock:
            server.rpc.link(1, up=False)
        with pytest.raises(DutError, match="no link at port 1 of the TRex server"):
            wait_for_the_end(generator)
        generator.start(SHORT)
        with pytest.raises(DutError, match="no link at port 1"):
            wait_for_the_end(generator)
        with server.lock:
            server.rpc.link(1, up=True)


def test_a_gateway_that_does_not_answer_arp(here: LocalHost, server: EmulatedServer) -> None:
    server.plane.ports[0].ipv4 = {"state": "unresolved", "src": "1.1.1.1", "dst": "1.1.1.2"}
    with pytest.raises(HostError, match=r"port 0 .* no answer to its ARP"), attached(here, server):
        pass


def test_crossed_wires(here: LocalHost) -> None:
    with EmulatedServer(dut=Dut(crossed=True)) as server, attached(here, server) as generator:
        generator.start(SHORT)
        with pytest.raises(HostError, match=r"sent into its port 0 came back at port 0.*crossed"):
            wait_for_the_end(generator)


def test_no_server(here: LocalHost, server: EmulatedServer) -> None:
    server.kill()
    with (
        pytest.raises(HostError, match=r"no TRex server answers at 127\.0\.0\.1:\d+"),
        attached(here, server),
    ):
        pass


def test_a_client_that_is_too_new_for_the_server(here: LocalHost, server: EmulatedServer) -> None:
    server.rpc.api["major"] = 4
    server.rpc.version = "v2.50"
    with (
        pytest.raises(HostError, match=r"client does not fit the server .*v2\.50.*mismatch"),
        attached(here, server),
    ):
        pass


def test_a_server_of_the_other_mode(here: LocalHost, server: EmulatedServer) -> None:
    server.rpc.mode = "ASTF"
    with (
        pytest.raises(HostError, match=r"runs in mode ASTF: .*without --astf"),
        attached(here, server),
    ):
        pass


def test_a_worker_that_is_killed(here: LocalHost, server: EmulatedServer) -> None:
    with attached(here, server) as generator:
        generator.start(ENDLESS)
        os.kill(generator.pid, signal.SIGKILL)
        with pytest.raises(HostError, match=r"trex generator on local died \(exit status -9\)"):
            wait_for_the_end(generator)


def test_what_could_not_be_sent_in_time_is_no_loss(here: LocalHost, server: EmulatedServer) -> None:
    server.plane.capacity_pps = 500.0
    with attached(here, server) as generator:
        generator.start(Offer(4000.0, 1.0, 64))
        counts = generator.poll(DEADLINE_S)
        assert counts
        for direction in counts:
            assert direction.intended == 2000
            assert 0 < direction.sent < direction.intended
            assert direction.lost == 0


def test_a_full_queue_of_a_card_is_no_loss(here: LocalHost) -> None:
    """The server counts such frames as sent."""
    dut = Dut(refuses_every=10, loses_every=20)
    with EmulatedServer(dut=dut) as server, attached(here, server) as generator:
        for _ in range(2):
            generator.start(SHORT)
            counts = generator.poll(DEADLINE_S)
            assert counts
            for direction in counts:
                assert (direction.intended, direction.sent, direction.lost) == (200, 180, 10)
                assert direction.refused == 0


def test_finish_says_what_was_due(here: LocalHost, server: EmulatedServer) -> None:
    with attached(here, server) as generator:
        generator.start(ENDLESS)
        assert generator.poll(0.5) is None
        generator.finish()
        counts = generator.poll(DEADLINE_S)
        assert counts
        for direction in counts:
            assert 0 < direction.intended < 2000 * 60
            assert direction.received == direction.sent > 0


def test_a_topology_of_more_ports_than_there_are(here: LocalHost) -> None:
    with (
        EmulatedServer(ports=1) as server,
        pytest.raises(InputError, match="server has 1 ports, the topology 2"),
        attached(here, server),
    ):
        pass


def test_ports_in_the_order_of_the_lab(here: LocalHost) -> None:
    with EmulatedServer(ports=4) as server, attached(here, server, ports=[3, 2]) as generator:
        generator.start(SHORT)
        counts = generator.poll(DEADLINE_S)
        assert counts
        assert [(c.tx_port, c.rx_port, c.received) for c in counts] == [(0, 1, 200), (1, 0, 200)]
        with server.lock:
            assert [port.opackets for port in server.plane.ports] == [0, 0, 200, 200]


def test_the_command_line_of_the_emulated_server() -> None:
    """It serves another process, too."""
    argv = [sys.executable, "-m", "tests.traffic.trex.emulated_server", "--help"]
    root = Path(__file__).parents[3]
    told = subprocess.run(argv, cwd=root, capture_output=True, text=True, timeout=60, check=True)
    assert "sync_port" in told.stdout


def test_traffic_that_somebody_left_running_is_stopped(
    here: LocalHost, server: EmulatedServer
) -> None:
    with attached(here, server) as generator:
        generator.start(ENDLESS)
        assert generator.poll(0.2) is None
        with server.lock:
            server.rpc.take(0, "alice")
            server.rpc.take(1, "alice")
        with pytest.raises(HostError, match="'alice'"):
            wait_for_the_end(generator)
    assert all(port.began for port in server.plane.ports)
    with attached(here, server, force=True) as generator:
        generator.start(SHORT)
        counts = generator.poll(DEADLINE_S)
        assert counts
        assert [(c.sent, c.received) for c in counts] == [(200, 200), (200, 200)]


def test_a_network_namespace_is_refused(here: LocalHost, tmp_path: Path) -> None:
    there = lab(tmp_path)
    generator = there.generator.model_copy(update={"netns": "blue"})
    there = there.model_copy(update={"generator": generator})
    with pytest.raises(InputError, match="take `netns` out"), attach(there, here, Topology()):
        pass


def test_a_release_without_a_client(
    here: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TREX_CLIENT", raising=False)
    with (
        pytest.raises(InputError, match=r"has no TRex client.*t-rex-64"),
        attach(lab(tmp_path), here, Topology()),
    ):
        pass
    assert double(here).is_dir()
