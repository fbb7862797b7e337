"""A server that is started for a run, and ends with it."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.plan import PlanHost, Unanswered, script_for
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.topology import MemifPort
from pytest_vswitch.traffic.generator import Offer
from pytest_vswitch.traffic.trex.generator import TrexGenerator, attach
from pytest_vswitch.traffic.trex.server import prepared
from pytest_vswitch.traffic.trex.tunnel import tunnel
from tests.hosts.pci import PF, Kernel
from tests.traffic.crossed import Crossed
from tests.traffic.trex.bench import attached, double
from tests.traffic.trex.data_plane import Dut
from tests.traffic.trex.emulated_server import EmulatedServer
from tests.traffic.wires import ip

DEADLINE_S = 60.0


class Memif(Crossed):
    """What a generator asks of a topology of two memif ports."""

    generator_cpu: int | None = 0

    def __init__(self) -> None:
        super().__init__()
        self.ports = [MemifPort(f"memif{n}", f"/run/m{n}", 10e9) for n in range(2)]


def free_port() -> int:
    """Not one that the kernel gives to clients: who waits there for a server would take it."""
    for port in random.sample(range(10_000, 30_000), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no TCP port is free")


@contextlib.contextmanager
def started(
    host: Host, path: Path, *, generator: str | None = None, **trex: Any
) -> Iterator[TrexGenerator]:
    section = {"path": str(path), "sync_port": free_port(), "async_port": free_port(), **trex}
    lab = Lab.model_validate(
        {
            "name": "local",
            "dut": {"host": generator or "local"},
            "ports": [{"kind": "memif"}, {"kind": "memif"}],
            "trex": section,
        }
    )
    with attach(lab, host, Memif()) as attached_to:
        yield attached_to


def servers(path: Path) -> list[int]:
    """Processes that run in the folder of the release."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(process / "cwd") == str(path):
                found.append(int(process.name))
    return found


def test_a_server_lives_as_long_as_the_generator(here: LocalHost) -> None:
    release = double(here)
    configuration = Path(here.scratch) / "trex_cfg.yaml"
    with started(here, release) as generator:
        assert len(servers(release)) == 1
        assert "net_memif1,role=slave" in configuration.read_text()
        generator.start(Offer(2000.0, 0.2, 64))
        counts = generator.poll(DEADLINE_S)
        assert counts
        assert [(c.intended, c.sent, c.received) for c in counts] == [(200, 200, 200)] * 2
        assert generator.description.endswith("on local, memif ports, low end, CPU 0")
    assert servers(release) == []
    assert not configuration.exists()


def test_a_full_queue_of_a_memif_port_is_the_duts(here: LocalHost) -> None:
    """It did not empty it: the frames are refused, which is loss, as with our own generator."""
    dut = Dut(refuses_every=10, loses_every=20)
    with EmulatedServer(dut=dut) as server:
        ports: dict[str, Any] = {"sync_port": server.sync_port, "async_port": server.async_port}
        with started(here, double(here), server="running", **ports) as generator:
            generator.start(Offer(2000.0, 0.2, 64))
            counts = generator.poll(DEADLINE_S)
    assert counts
    for direction in counts:
        assert (direction.intended, direction.sent, direction.lost) == (200, 200, 30)
        assert direction.refused == 20


def test_a_server_that_is_killed_in_a_trial(here: LocalHost) -> None:
    release = double(here)
    with started(here, release) as generator:
        generator.start(Offer(2000.0, 3600.0, 64))
        assert generator.poll(0.2) is None
        for process in servers(release):
            os.kill(process, signal.SIGKILL)
        with pytest.raises(HostError, match=r"its server on local.*exit status -9.*\s.*zmq publ"):
            assert generator.poll(DEADLINE_S) is None
        with pytest.raises(HostError, match="its server on local"):
            generator.exchange({0: [bytes(60)]}, wait_s=1.0)


def test_somebody_elses_server_is_not_taken_for_ours(here: LocalHost) -> None:
    with (
        EmulatedServer() as server,
        pytest.raises(HostError, match=f"TCP port {server.sync_port} is taken.*server: running"),
        started(here, double(here), sync_port=server.sync_port),
    ):
        pass
    assert servers(double(here)) == []


def test_a_plan_starts_nothing(here: LocalHost) -> None:
    """Not on this machine either, when the server is on another one."""
    script = script_for(here, "a plan")
    planned = PlanHost(here, script, needs_answers=True)
    release = double(here)
    with pytest.raises(Unanswered), started(planned, release, generator="root@tg"):
        pass
    told = "\n".join(step.text for step in script.up)
    assert "./t-rex-64 -i" in told
    assert "net_memif1,role=slave" in told
    assert servers(release) == []


def test_a_server_that_does_not_start(here: LocalHost, tmp_path: Path) -> None:
    """Its last words are told, at once."""
    release = tmp_path / "trex"
    os.symlink(double(here), release)
    with (
        pytest.raises(HostError, match=r"ended \(exit status 2\)[\s\S]*arguments: --nonsense"),
        started(here, release, arguments=["--nonsense"]),
    ):
        pass


ABORT = """
promiscuous  : 1
assert: common_mbuf.h:105 get_last_bytes(const rte_mbuf_t*) Assertion 'm->pkt_len >= n' failed.

*** traceback follows ***

1       0x560d621d4c02 __assert_fail + 710
2       0x560d622c65fd RXLatency::handle_pkt(rte_mbuf const*, int) + 208
3       0x7f30391278ec /lib/x86_64-linux-gnu/libc.so.6(+0x1098ec) [0x7f30391278ec]


*** addr2line information follows ***

??:0
??:0
??:0


./t-rex-64: line 109: 24401 Aborted                 ./_$(basename $0) $INPUT_ARGS
"""
"""What TRex v3.08 prints, with fewer callers."""


def test_a_server_that_aborts(here: LocalHost, tmp_path: Path) -> None:
    """The one line that says why, and no addresses."""
    release = tmp_path / "trex"
    shutil.copytree(double(here), release)
    (release / "t-rex-64").write_text(f"#!/bin/sh\ncat <<'END'\n{ABORT}END\nexit 134\n")
    with pytest.raises(HostError, match="exit status 134") as caught, started(here, release):
        pass
    last = str(caught.value).splitlines()[-1]
    assert last.startswith("assert: common_mbuf.h:105")
    assert last.endswith("failed.")
    assert "promiscuous" not in str(caught.value)


def test_a_host_without_the_server(here: LocalHost, tmp_path: Path) -> None:
    release = tmp_path / "trex"
    release.mkdir()
    (release / "automation").symlink_to(double(here) / "automation")
    with (
        pytest.raises(InputError, match=f"local has no {release}/t-rex-64"),
        started(here, release),
    ):
        pass


def test_what_trexs_scripts_change_for_cards_is_prepared(
    here: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They bind cards to a driver for DPDK, and take as many hugepages as they like."""
    kernel = Kernel(tmp_path / "kernel")
    kernel.attach(monkeypatch)
    pages = kernel.sys / "devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages"
    pages.parent.mkdir(parents=True)
    pages.write_text("4\n")
    with prepared(here, [PF, "--vdev=net_memif0,role=slave"]):
        kernel.force(PF, "vfio-pci")
        pages.write_text("20\n")
        assert kernel.driver(PF) == "vfio-pci"
    assert kernel.driver(PF) == "igb"
    assert pages.read_text() == "4\n"
    absent = "0000:99:00.0"
    with pytest.raises(InputError, match=f"no PCI device {absent}"), prepared(here, [absent]):
        pass


def test_interfaces_are_up_and_silent_for_the_server(here: LocalHost) -> None:
    name = f"vtx{os.getpid()}"
    ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    try:
        flags = Path(f"/sys/class/net/{name}/flags")
        ipv6 = Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
        before = (flags.read_text(), ipv6.read_text())
        with prepared(here, [f"--vdev=net_af_packet0,iface={name}"]):
            assert int(flags.read_text(), 16) & 1
            assert ipv6.read_text() == "1\n"
        assert (flags.read_text(), ipv6.read_text()) == before
    finally:
        ip("link", "delete", name)
    gone = f"has no interface {name}"
    vdev = f"--vdev=net_af_packet0,iface={name}"
    with pytest.raises(InputError, match=gone), prepared(here, [vdev]):
        pass


def test_a_server_through_a_tunnel(here: LocalHost) -> None:
    """As on a host that is reached over SSH, whose ports are behind the one door."""
    with (
        EmulatedServer() as server,
        tunnel(here, server.sync_port) as sync_port,
        tunnel(here, server.async_port) as async_port,
    ):
        server.sync_port, server.async_port = sync_port, async_port
        with attached(here, server) as generator:
            generator.start(Offer(2000.0, 0.2, 64))
            counts = generator.poll(DEADLINE_S)
            assert counts
            assert [c.received for c in counts] == [200, 200]


def test_a_tunnel_to_nowhere_closes(here: LocalHost) -> None:
    with (
        tunnel(here, free_port()) as port,
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as end,
    ):
        assert end.recv(1) == b""
