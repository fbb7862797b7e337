"""PVP: the arithmetic of its path, what it does to a frame, and what it needs of a host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.apps.testpmd import PortCounters
from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies import pvp
from pytest_vswitch.topologies.pvp import Pvp, Snapshot
from pytest_vswitch.topologies.topology import MemifPort
from tests.hosts.machine import machine

NONE = PortCounters(**dict.fromkeys((f.name for f in fields(PortCounters)), 0))
PORTS = [MemifPort(f"memif{index}", f"/run/memif{index}", 10e9) for index in range(2)]


def wired() -> Pvp:
    """Enough of one for arithmetic."""
    made: Any = object.__new__(Pvp)
    made.ports = PORTS
    return made  # type: ignore[no-any-return]


def counters(**counts: int) -> PortCounters:
    return replace(NONE, **counts)


def snapshot(sent: tuple[int, int], scale: int = 1) -> Snapshot:
    """After `sent[i]` frames into port i; every hop drops a few, by a number of its own.

    Into port 0: 10 at vhost0, 7 missed by the guest, 2 errors there, 5 in the guest's
    forwarding, 4 missed by vhost1, 3 at memif1. Into port 1: the same, times two.
    """

    def after(index: int) -> tuple[int, int, int, int, int, int]:
        times = (index + 1) * scale
        entered = sent[index]
        vhost = entered - 10 * times
        virtio = vhost - 9 * times
        forwarded = virtio - 5 * times
        returned = forwarded - 4 * times
        return entered, vhost, virtio, forwarded, returned, returned - 3 * times

    there, back = after(0), after(1)

    def memif(mine: tuple[int, ...], other: tuple[int, ...], times: int) -> PortCounters:
        return counters(rx_packets=mine[0], tx_packets=other[5], tx_dropped=3 * times * scale)

    def vhost(mine: tuple[int, ...], other: tuple[int, ...], own: int, others: int) -> PortCounters:
        return counters(
            tx_packets=mine[1],
            tx_dropped=10 * own * scale,
            rx_packets=other[4],
            rx_missed=4 * others * scale,
        )

    def virtio(
        mine: tuple[int, ...], other: tuple[int, ...], own: int, others: int
    ) -> PortCounters:
        return counters(
            rx_packets=mine[2],
            rx_missed=7 * own * scale,
            rx_errors=2 * own * scale,
            tx_packets=other[3],
            tx_dropped=5 * others * scale,
        )

    return Snapshot(
        {
            0: memif(there, back, 2),
            1: memif(back, there, 1),
            2: vhost(there, back, 1, 2),
            3: vhost(back, there, 2, 1),
        },
        {0: virtio(there, back, 1, 2), 1: virtio(back, there, 2, 1)},
    )


BEFORE = snapshot((1000, 2000))
AFTER = snapshot((5000, 7000), scale=3)


@pytest.mark.parametrize("tx_port", [0, 1])
def test_a_path_without_faults_balances(tx_port: int) -> None:
    path = wired().path(tx_port, BEFORE, AFTER)
    assert all(hop.balanced for hop in path)
    assert path[0].entered == (4000, 5000)[tx_port]
    times = 2 * (tx_port + 1)
    lost = [10 * times, 9 * times, 5 * times, 4 * times, 3 * times]
    assert [hop.lost for hop in path] == lost
    # What leaves one hop enters the next.
    assert [hop.left for hop in path[:-1]] == [hop.entered for hop in path[1:]]


def test_the_hops_are_those_of_the_drawing() -> None:
    names = [hop.name for hop in wired().path(0, BEFORE, AFTER)]
    assert names == [
        "host testpmd: memif0 -> vhost0",
        "vhost0 -> virtio0",
        "guest testpmd: virtio0 -> virtio1",
        "virtio1 -> vhost1",
        "host testpmd: vhost1 -> memif1",
    ]
    back = [hop.name for hop in wired().path(1, BEFORE, AFTER)]
    swapped = str.maketrans("01", "10")
    assert back == [name.translate(swapped) for name in names]


@pytest.mark.parametrize("tx_port", [0, 1])
@pytest.mark.parametrize(
    ("where", "ports", "counter", "hops"),
    [
        ("host", (0, 1), "rx_packets", [0]),
        ("host", (2, 3), "tx_dropped", [0]),
        ("host", (2, 3), "tx_packets", [0, 1]),
        ("guest", (0, 1), "rx_missed", [1]),
        ("guest", (0, 1), "rx_errors", [1]),
        ("guest", (0, 1), "rx_packets", [1, 2]),
        ("guest", (1, 0), "tx_dropped", [2]),
        ("guest", (1, 0), "tx_packets", [2, 3]),
        ("host", (3, 2), "rx_missed", [3]),
        ("host", (3, 2), "rx_packets", [3, 4]),
        ("host", (1, 0), "tx_dropped", [4]),
        ("host", (1, 0), "tx_packets", [4]),
    ],
)
def test_one_wrong_counter_breaks_its_hops_only(
    tx_port: int, where: str, ports: tuple[int, int], counter: str, hops: list[int]
) -> None:
    """`ports`: the port that counts, by the port that is sent into."""
    port = ports[tx_port]
    counts = dict(getattr(AFTER, where))
    counts[port] = replace(counts[port], **{counter: getattr(counts[port], counter) + 1})
    wrong = replace(AFTER, **{where: counts})

    path = wired().path(tx_port, BEFORE, wrong)
    assert [number for number, hop in enumerate(path) if not hop.balanced] == hops
    # The other direction has counters of its own.
    assert all(hop.balanced for hop in wired().path(1 - tx_port, BEFORE, wrong))


def test_frames_come_out_of_the_other_port_with_their_addresses_swapped() -> None:
    frame = bytes.fromhex("0200000000aa 0200000000bb 0800") + bytes(range(46))
    made = wired()
    assert made.transform(frame) == (
        bytes.fromhex("0200000000bb 0200000000aa 0800") + bytes(range(46))
    )
    assert made.transform(made.transform(frame)) == frame
    assert [made.peer(0), made.peer(1)] == [1, 0]


# --- preflight ----------------------------------------------------------------------------


def lab(**sections: Any) -> Lab:
    ports = [{"kind": "memif"}, {"kind": "memif"}]
    return Lab.model_validate({"name": "it", "dut": {"host": "local"}, "ports": ports, **sections})


class Elsewhere(LocalHost):
    """A machine that has what PVP needs, unless a test takes it away."""

    lacks = ""
    root = True
    meminfo = "MemAvailable: 9999999 kB"

    def which(self, program: str) -> str | None:
        return None if program == self.lacks else f"/usr/bin/{program}"

    def is_root(self) -> bool:
        return self.root

    def exists(self, path: str) -> bool:
        return True

    def glob(self, pattern: str) -> list[str]:
        return ["/boot/vmlinuz-6.1"] if pattern.startswith("/boot") else []

    def read_text(self, path: str) -> str:
        return {
            "/proc/meminfo": self.meminfo,
            "/proc/self/status": "Name: x\nCpus_allowed_list:\t0-3,8\n",
        }[path]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Elsewhere]:
    with machine(tmp_path) as here:
        other = object.__new__(Elsewhere)
        other.__dict__.update(here.__dict__)
        yield other


def test_a_machine_that_has_everything(host: Elsewhere) -> None:
    pvp.preflight(lab(), host)


@pytest.mark.parametrize(
    ("program", "package"),
    [
        ("dpdk-testpmd", "dpdk-dev"),
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("busybox", "busybox-static"),
        ("cpio", "cpio"),
    ],
)
def test_a_missing_program_is_told_with_its_package(
    host: Elsewhere, program: str, package: str
) -> None:
    host.lacks = program
    message = f"local has no program `{program}`: apt-get install {package}$"
    with pytest.raises(InputError, match=message):
        pvp.preflight(lab(), host)


def test_the_labs_own_testpmd_is_looked_for(host: Elsewhere) -> None:
    host.lacks = "/opt/dpdk/testpmd"
    with pytest.raises(InputError, match="local has no program `/opt/dpdk/testpmd`"):
        pvp.preflight(lab(dut={"host": "local", "testpmd": "/opt/dpdk/testpmd"}), host)


def test_without_root(host: Elsewhere) -> None:
    host.root = False
    with pytest.raises(InputError, match=r"pvp on local needs root: .*try `--dut sim`"):
        pvp.preflight(lab(), host)


def test_one_port_is_too_few(host: Elsewhere) -> None:
    with pytest.raises(InputError, match="pvp needs 2 ports, lab `it` has 1"):
        pvp.preflight(lab(ports=[{"kind": "memif"}]), host)


def test_cpus_that_are_not_there(host: Elsewhere) -> None:
    with pytest.raises(InputError, match=r"dut.lcores names CPU 4, .*; online: 0-3,8"):
        pvp.preflight(lab(dut={"host": "local", "lcores": [0, 4]}), host)
    with pytest.raises(InputError, match=r"generator.cpu names CPU 7, "):
        pvp.preflight(lab(generator={"cpu": 7}), host)
    with pytest.raises(InputError, match=r"dut.lcores needs at least two"):
        pvp.preflight(lab(dut={"host": "local", "lcores": [8]}), host)


def test_too_little_memory(host: Elsewhere) -> None:
    host.meminfo = "MemTotal: 1 kB\nMemAvailable:    1000000 kB\n"
    message = "guest and testpmd need 1536 MB, 976 MB are available; lower guest.memory_mb"
    with pytest.raises(InputError, match=message):
        pvp.preflight(lab(), host)


def test_preflight_changes_nothing(host: Elsewhere, tmp_path: Path) -> None:
    pvp.preflight(lab(), host)
    assert not (tmp_path / "transcript.log").exists()
    assert sorted(path.name for path in Path(host.scratch).iterdir()) == ["owner.json"]
