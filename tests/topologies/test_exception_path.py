"""The exception path: what needs no DUT, and what a kernel's namespaces tell for real."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_vswitch.apps.testpmd import PortCounters
from pytest_vswitch.errors import DutError, InputError, NotHere
from pytest_vswitch.hosts import changes, packet_sockets
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.lab import loader
from pytest_vswitch.measure import conversation
from pytest_vswitch.topologies import exception_link, exception_path, exception_ways
from pytest_vswitch.topologies.exception_link import Link, Setup, Snapshot
from pytest_vswitch.topologies.exception_ways import AF_PACKET, TAP, VIRTIO_USER, Interface
from tests.hosts.machine import machine

ROOT = Path(__file__).parents[2]
CAPTURES = ROOT / "tests/apps/captures"


def test_devices() -> None:
    """As the guide and the drivers' own pages write them."""
    assert VIRTIO_USER.device(0, queues=2, queue_size=1024) == (
        "net_virtio_user0,path=/dev/vhost-net,iface=tap0,queues=2,queue_size=1024"
    )
    assert TAP.device(1) == "net_tap1,iface=tap1"
    assert AF_PACKET.device(1, queues=2) == "net_af_packet1,iface=port1,qpairs=2"


def test_queues_of_virtio_user() -> None:
    text = (CAPTURES / "testpmd-22.11.11-xstats-virtio-user.txt").read_text()
    assert exception_link.parse_queues(text) == ({0: 3020}, {0: 568})


def test_no_queues() -> None:
    with pytest.raises(DutError, match="no queues of two ports"):
        exception_link.parse_queues("testpmd> ")


class Elsewhere(LocalHost):
    """This machine, without one file."""

    def exists(self, path: str) -> bool:
        return path != exception_ways.VHOST_NET and super().exists(path)


def test_a_kernel_without_vhost_net(tmp_path: Path) -> None:
    """Verify: the way is not there, which is no fault of the lab; what to do is said."""
    with machine(tmp_path) as host:
        host.__class__ = Elsewhere
        lab = loader.load("local", loader.search_path(ROOT))
        with pytest.raises(NotHere, match=r"modprobe vhost_net.*--dut vlab"):
            exception_path.VHOST_NET.preflight(lab, host)
        exception_path.TAP.preflight(lab, host)


def test_a_port_that_stays_the_kernel_s(tmp_path: Path) -> None:
    text = (
        (ROOT / "labs/vlab.yaml")
        .read_text()
        .replace("- kind: nic", "- kind: nic\n    driver: kernel")
    )
    (tmp_path / "kernel.yaml").write_text(text)
    lab = loader.load(str(tmp_path / "kernel.yaml"))
    with machine(tmp_path) as host, pytest.raises(InputError, match="give it `driver: vfio-pci`"):
        exception_path.TAP.preflight(lab, host)


def test_offloads_without_vhost_net(tmp_path: Path) -> None:
    lab = loader.load("local", loader.search_path(ROOT))
    with machine(tmp_path) as host, pytest.raises(InputError, match="has no offloads"):
        exception_link.preflight(Setup(TAP, offloads=True), lab, host)


def test_what_a_packet_socket_dropped(tmp_path: Path) -> None:
    """Steps: a program has a packet socket that it never reads, and frames come to it.

    Verify: those that did not fit are counted, once, though it is another program that asks.
    """
    name = f"vswitch-drops-{tmp_path.name[-20:]}"
    program = (
        "import socket, sys; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0);"
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1); s.bind(('lo', 3));"
        "r, u = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in 'ru');"
        "r.bind(('127.0.0.1', 9));"
        "[u.sendto(bytes(1000), ('127.0.0.1', 9)) for _ in range(100)];"
        "print('sent', flush=True); sys.stdin.read()"
    )
    with machine(tmp_path) as host, changes.namespace(host, name):
        argv = ["ip", "netns", "exec", name, sys.executable, "-c", program]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout
            assert child.stdout.readline() == b"sent\n"
            first, again = packet_sockets.dropped(child.pid), packet_sockets.dropped(child.pid)
            child.kill()
    assert first.keys() == {"lo"}
    # Each goes out and comes in; some fit.
    assert 100 <= first["lo"] <= 200
    assert again == {"lo": 0}


def test_no_packet_socket() -> None:
    with socket.socket() as other, subprocess.Popen(["sleep", "100"]) as child:
        del other
        assert packet_sockets.dropped(child.pid) == {}
        child.kill()


# --- what is said of a conversation that goes wrong ---


def snapshot(**lost: int) -> Snapshot:
    """1000 frames each way, less those that `lost` says."""

    def kernel(bad: int, rx: int) -> dict[str, int]:
        return {"rx": rx, "tx": 1000, "rx dropped": 0, "tx dropped": 0, "bad checksums": bad}

    arrived = 1000 - lost.get("wire", 0)
    ports = {
        port: PortCounters(
            rx_packets=1000,
            rx_missed=0,
            rx_errors=0,
            rx_nombuf=0,
            tx_packets=1000,
            tx_errors=0,
            rx_dropped=0,
            tx_dropped=0,
        )
        for port in (0, 1)
    }
    return Snapshot((kernel(0, 1000), kernel(lost.get("bad", 0), arrived)), ports, ({}, {}))


NOTHING = Snapshot(
    ({"rx": 0, "tx": 0, "rx dropped": 0, "tx dropped": 0, "bad checksums": 0},) * 2,
    {port: PortCounters(0, 0, 0, 0, 0, 0, 0, 0) for port in (0, 1)},
    ({}, {}),
)


@pytest.mark.parametrize(
    ("lost", "says"),
    [
        ({"bad": 7}, "refused 7 TCP segments for their checksums"),
        ({"wire": 3}, r"net_tap1 -> tap1 lost 3 of 1000 frames \(not counted there\)"),
        ({}, "no hop lost a frame"),
    ],
)
def test_what_is_blamed(tmp_path: Path, lost: dict[str, int], says: str) -> None:
    ends = [Interface(f"tap{end}", "", "none", "") for end in (0, 1)]
    with machine(tmp_path) as host:
        link = Link(host, Setup(TAP), None, None, ends)  # type: ignore[arg-type]
        found = conversation._where(link, NOTHING, snapshot(**lost))
    assert re.search(says, found), found
