"""Every option of the memif driver, by what it does; and links whose ends die.

DPDK's "Memif Poll Mode Driver". Each test of an option would fail if it had no effect. Server
and client are testpmds, apart from any topology; what is counted is what they count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from pytest_vswitch.apps.memif import Options
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.results.run import Run
from pytest_vswitch.topologies.memif_link import Bench, End

FRAMES = 100
ROUNDS = 2
WAIT_S = 20.0
"""For what takes milliseconds on an idle machine."""


@pytest.fixture
def bench(vswitch_run: Run, lab: Lab) -> Bench:
    """The DUT, with no topology on it that would take its CPUs."""
    if lab.dut.host == "sim":
        pytest.skip("a simulation has no memif driver, whose options could be tested")
    vswitch_run.unwire()
    return Bench(lab, vswitch_run.host)


@contextmanager
def pair(bench: Bench, **of_client: object) -> Iterator[tuple[End, End]]:
    """Server and client of one link, connected; the options are the client's."""
    server_port = Options(role="server", socket=bench.socket)
    client_port = replace(server_port, role="client", **of_client)  # type: ignore[arg-type]
    with (
        bench.testpmd("server", server_port) as server,
        bench.testpmd("client", client_port) as client,
    ):
        client.wait_until_connected()
        server.wait_until_connected()
        yield server, client


def passes(sender: End, receiver: End) -> None:
    """Fail unless every frame arrives."""
    receiver.receive()
    before = receiver.received(0)
    sender.send(FRAMES)
    assert receiver.received(before + FRAMES) == before + FRAMES
    receiver.stop()


# --- role ---------------------------------------------------------------------------------


def test_role(bench: Bench) -> None:
    """Steps: connect a server and a client; send from each to the other.

    Verify: both count every frame.
    """
    with pair(bench) as (server, client):
        passes(client, server)
        passes(server, client)


def test_a_second_server_is_refused(bench: Bench) -> None:
    """Steps: start a second process with a server on the same socket.

    Verify: its driver says that the address is in use, and the first server still serves.
    """
    port = Options(role="server", socket=bench.socket)
    with bench.testpmd("server", port) as server:
        (refusal,) = bench.refusals("second", port)
        assert refusal.endswith("Address already in use")
        with bench.testpmd("client", replace(port, role="client")) as client:
            client.wait_until_connected()
            passes(client, server)


# --- rsize and bsize ----------------------------------------------------------------------


@pytest.mark.parametrize("rsize", [None, 1, 6, 14])
def test_rsize(bench: Bench, rsize: int | None) -> None:
    """Steps: send by the client while nobody reads at the server.

    Verify: the ring takes 2 to the power of `rsize` frames, 1024 by default; the server then
    receives every one of them.
    """
    with pair(bench, rsize=rsize) as (server, client):
        taken = client.fill()
        assert taken == 1 << (10 if rsize is None else rsize)
        server.receive()
        assert server.received(taken) == taken
        server.stop()


@pytest.mark.parametrize("rsize", [0, 15])
def test_rsize_out_of_range_is_refused(bench: Bench, rsize: int) -> None:
    """Steps: start a client with a ring size that is none.

    Verify: the driver names it, and the largest.
    """
    port = Options(role="client", socket=bench.socket, rsize=rsize)
    assert bench.refusals("client", port) == [f"Invalid ring size: {rsize} (max 14)"]


@pytest.mark.parametrize(("bsize", "buffers"), [(None, 1), (1400, 1), (1399, 2), (512, 3)])
def test_bsize(bench: Bench, bsize: int | None, buffers: int) -> None:
    """Steps: send frames of 1400 bytes (without FCS); then fill the ring with some.

    Verify: every frame arrives whole; the ring takes as many as its buffers hold, where one
    is chained that is longer than a buffer.
    """
    with pair(bench, bsize=bsize, rsize=8) as (server, client):
        server.receive()
        client.send(FRAMES // 2, frame_bytes=1400)
        assert server.received(FRAMES // 2) == FRAMES // 2
        assert server.received_bytes() == 1400 * (FRAMES // 2)
        server.stop()
        assert client.fill(frame_bytes=1400) == (1 << 8) // buffers


@pytest.mark.parametrize("bsize", [0, 65536])
def test_bsize_out_of_range_is_refused(bench: Bench, bsize: int) -> None:
    """Steps: start a client with a buffer size that is none.

    Verify: the driver names it.
    """
    port = Options(role="client", socket=bench.socket, bsize=bsize)
    assert bench.refusals("client", port) == [f"Invalid buffer size: {bsize}"]


# --- id -----------------------------------------------------------------------------------


def test_id(bench: Bench) -> None:
    """Steps: two servers on one socket; two clients with their ids the other way round; send
    by the clients' port 0.

    Verify: the frames arrive at the server's port 1, and none at its port 0.
    """
    ids = (7, 4_294_967_295)
    servers = [Options(role="server", socket=bench.socket, id=number) for number in ids]
    clients = [Options(role="client", socket=bench.socket, id=number) for number in ids[::-1]]
    with bench.testpmd("server", *servers) as server, bench.testpmd("client", *clients) as client:
        for port in range(2):
            client.wait_until_connected(port)
        server.receive()
        client.send(FRAMES, port=0)
        assert server.received(FRAMES, port=1) == FRAMES
        assert server.received(0, port=0) == 0
        server.stop()


def test_an_unknown_id_is_refused(bench: Bench) -> None:
    """Steps: connect a client with an id that no server has.

    Verify: the server refuses it, and says why.
    """
    port = Options(role="server", socket=bench.socket, id=1)
    with (
        bench.testpmd("server", port),
        bench.testpmd("client", replace(port, role="client", id=2), tell_all=True) as client,
    ):
        assert client.wait_until_refused() == ["ID not found"]
        assert not client.connected()


# --- socket and socket-abstract -----------------------------------------------------------


def test_socket(bench: Bench) -> None:
    """Steps: start a server; a client on another path.

    Verify: the server's socket is at its path; the client connects to nobody.
    """
    port = Options(role="server", socket=bench.socket)
    with bench.testpmd("server", port) as server:
        assert bench.host.exists(bench.socket)
        elsewhere = replace(port, role="client", socket=f"{bench.socket}-elsewhere")
        with bench.testpmd("client", elsewhere) as client:
            (refusal,) = client.wait_until_refused()
            assert refusal == f"Failed to connect socket: {elsewhere.socket}"
        assert not server.connected()


def test_socket_abstract(bench: Bench) -> None:
    """Steps: connect server and client by an abstract socket; then look for its file, and try
    a client that does.

    Verify: frames pass; the kernel knows the socket, the file system does not; the client that
    wants a file finds none.
    """
    port = Options(role="server", socket=bench.socket, abstract=True)
    with bench.testpmd("server", port) as server:
        with bench.testpmd("client", replace(port, role="client")) as client:
            client.wait_until_connected()
            passes(client, server)
        assert f"@{bench.socket}\n" in bench.host.read_text("/proc/net/unix")
        assert not bench.host.exists(bench.socket)
        with bench.testpmd("client", replace(port, role="client", abstract=False)) as client:
            (refusal,) = client.wait_until_refused()
            assert refusal == f"Failed to connect socket: {bench.socket}"


# --- mac ----------------------------------------------------------------------------------


def test_mac(bench: Bench) -> None:
    """Steps: give each end a MAC address.

    Verify: testpmd shows them.
    """
    macs = ("02:11:22:33:44:55", "02:66:77:88:99:aa")
    port = Options(role="server", socket=bench.socket, mac=macs[0])
    with (
        bench.testpmd("server", port) as server,
        bench.testpmd("client", replace(port, role="client", mac=macs[1])) as client,
    ):
        shown = [end.testpmd.port_info(0).mac.lower() for end in (server, client)]
        assert shown == list(macs)


# --- secret -------------------------------------------------------------------------------


def test_a_secret_that_matches(bench: Bench) -> None:
    """Steps: connect with the same secret at both ends.

    Verify: frames pass.
    """
    port = Options(role="server", socket=bench.socket, secret="abc123")
    with (
        bench.testpmd("server", port) as server,
        bench.testpmd("client", replace(port, role="client")) as client,
    ):
        client.wait_until_connected()
        passes(client, server)


@pytest.mark.parametrize(
    ("secret", "reason"), [("abc124", "Incorrect secret"), (None, "Secret required")]
)
def test_a_secret_that_does_not_match(bench: Bench, secret: str | None, reason: str) -> None:
    """Steps: connect with another secret, or with none.

    Verify: the server refuses it, and says why; neither end is connected.
    """
    port = Options(role="server", socket=bench.socket, secret="abc123")
    other = replace(port, role="client", secret=secret)
    with (
        bench.testpmd("server", port) as server,
        bench.testpmd("client", other, tell_all=True) as client,
    ):
        assert client.wait_until_refused() == [reason]
        assert not client.connected()
        assert not server.connected()


# --- zero-copy ----------------------------------------------------------------------------


@pytest.mark.parametrize(("zero_copy", "regions"), [(False, 1), (True, 2)])
def test_zero_copy(bench: Bench, zero_copy: bool, regions: int) -> None:
    """Steps: connect a client, with and without zero-copy; send in both directions.

    Verify: frames pass; the zero-copy client hands its server a second region of memory, its
    own, where the other copies to and from buffers beside the rings.
    """
    port = Options(role="server", socket=bench.socket)
    sharing = replace(port, role="client", zero_copy=zero_copy)
    with (
        bench.testpmd("server", port) as server,
        bench.testpmd("client", sharing, single_file_segments=zero_copy, tell_all=True) as client,
    ):
        assert client.regions() == regions
        passes(client, server)
        passes(server, client)


def test_zero_copy_needs_single_file_segments(bench: Bench) -> None:
    """Steps: start a zero-copy client without EAL's `--single-file-segments`.

    Verify: the driver refuses, and says why.
    """
    port = Options(role="client", socket=bench.socket, zero_copy=True)
    assert bench.refusals("client", port) == ["Zero-copy doesn't support multi-file segments"]


# --- the protocol's version ---------------------------------------------------------------

OTHER_VERSION = 0x0300
"""3.0; there is none."""


def foreign(bench: Bench, role: str) -> list[str]:
    """The command of a memif peer of another version; it prints what it is answered."""
    command = bench.host.python("pytest_vswitch.traffic.memif.foreign")
    return [*command, role, bench.socket, str(OTHER_VERSION)]


def test_a_client_of_another_version_is_refused(bench: Bench) -> None:
    """Steps: a client of memif 3.0 asks the server for its interface.

    Verify: the server names the reason, and still serves a client of its own version.
    """
    port = Options(role="server", socket=bench.socket)
    with bench.testpmd("server", port) as server:
        answer = bench.host.run(foreign(bench, "client")).output.strip()
        assert answer == "Incompatible memif version"
        with bench.testpmd("client", replace(port, role="client")) as client:
            client.wait_until_connected()
            passes(client, server)


def test_a_server_of_another_version_is_refused(bench: Bench) -> None:
    """Steps: a client connects to a server of memif 3.0.

    Verify: the client names the reason, and is not connected.
    """
    with (
        bench.host.changing(Change("made", bench.socket)),
        bench.host.spawn(foreign(bench, "server"), name="memif 3.0") as server,
    ):
        server.read_until(re.compile("listening\n"), timeout_s=WAIT_S, what="its socket")
        with bench.testpmd("client", Options(role="client", socket=bench.socket)) as client:
            answer = server.read_until(re.compile(".+\n"), timeout_s=WAIT_S, what="an answer")
            assert answer.strip() == "Incompatible memif version"
            assert not client.connected()


# --- reconnection -------------------------------------------------------------------------
# The end that lives does not forward meanwhile: DPDK (22.11) may crash when a memif peer goes
# away while an lcore polls its rings.


@pytest.mark.parametrize("zero_copy", [False, True], ids=["copy", "zero-copy"])
def test_the_client_dies(bench: Bench, zero_copy: bool) -> None:
    """Steps: `kill -9` the client; start it again; twice.

    Verify: the server sees the link go down, and takes the new client; frames pass both ways.
    """
    port = Options(role="server", socket=bench.socket)
    client_port = replace(port, role="client", zero_copy=zero_copy)
    with bench.testpmd("server", port) as server:
        for _ in range(ROUNDS):
            with bench.testpmd("client", client_port, single_file_segments=zero_copy) as client:
                client.wait_until_connected()
                passes(client, server)
                passes(server, client)
                client.kill()
                server.wait_until_disconnected()


def test_the_server_dies(bench: Bench) -> None:
    """Steps: `kill -9` the server; start it again, without the socket that it left; restart
    the client's port; twice.

    Verify: the client sees the link go down, and connects to the new server; frames pass.
    """
    port = Options(role="server", socket=bench.socket)
    with ExitStack() as stack:
        server = stack.enter_context(bench.testpmd("server", port))
        client = stack.enter_context(bench.testpmd("client", replace(port, role="client")))
        client.wait_until_connected()
        passes(client, server)
        for number in range(ROUNDS):
            server.kill()
            client.wait_until_disconnected()
            assert bench.host.exists(bench.socket)
            bench.remove_socket()
            server = stack.enter_context(bench.testpmd(f"server-{number + 2}", port))
            client.reconnect()
            client.wait_until_connected()
            passes(client, server)
            passes(server, client)
