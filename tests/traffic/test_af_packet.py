"""The generator on interfaces, against a DUT that is a real testpmd or errs on purpose."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.errors import DutError, HostError, InputError
from pytest_vswitch.hosts.host_process import HostProcess
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.traffic.generator import DirectionCounts, Generator, Offer
from tests.traffic.conftest import DEADLINE_S, run_trial
from tests.traffic.reflector import EVERY, LLDP
from tests.traffic.wires import Topology, Wires, attached, ip, program, reflector, swap, wires

OFFER = Offer(rate_pps=2000.0, duration_s=0.25, frame_bytes=128)
FRAMES = 250  # per direction
ENDLESS = Offer(rate_pps=1000.0, duration_s=600.0, frame_bytes=64)


@pytest.fixture
def where() -> Iterator[Wires]:
    with wires() as made:
        yield made


@contextlib.contextmanager
def macswap(host: LocalHost, where: Wires) -> Iterator[HostProcess]:
    prefix = Path(host.scratch).name
    argv = ["ip", "netns", "exec", where.dut, "stdbuf", "-oL", "dpdk-testpmd", "-l", "0,1"]
    argv += ["--main-lcore", "0", "-n", "1", "--no-pci", "--no-huge", "--no-shconf", "-m", "512"]
    argv += ["--file-prefix", prefix]
    for number in range(2):
        argv += ["--vdev", f"net_af_packet{number},iface=d{number}"]
    argv += ["--", "-i", "--total-num-mbufs=8192", "--forward-mode=macswap", "--auto-start"]
    try:
        with host.spawn(argv, name="testpmd", stop_with="stop\nquit\n") as program:
            program.read_until(re.compile("testpmd> "), timeout_s=DEADLINE_S, what="a prompt")
            yield program
    finally:
        shutil.rmtree(Path("/var/run/dpdk") / prefix, ignore_errors=True)


def wrong(counts: DirectionCounts) -> dict[str, int]:
    """What is not as it should be."""
    names = ("refused", "lost", "duplicated", "reordered", "corrupted", "foreign")
    return {name: getattr(counts, name) for name in names if getattr(counts, name)}


def test_through_testpmd(host: LocalHost, where: Wires) -> None:
    """Exchanges and trials of several frame sizes: every frame comes back, and none else."""
    with macswap(host, where), attached(host, where) as worker:
        generator: Generator = worker
        assert not generator.simulated
        assert re.fullmatch(
            rf"pytest-vswitch af_packet \S+ on g0 and g1 in {where.generator}, a shared CPU, "
            r"ring 1024, numpy \S+",
            generator.description,
        )
        sent = [bytes([number]) * 1514 for number in range(100)]
        back = generator.exchange({0: sent, 1: sent[:3]}, wait_s=30.0)
        assert back == {0: [swap(f) for f in sent[:3]], 1: [swap(f) for f in sent]}
        for size in (64, 65, 512, 1518, 64):
            counts = run_trial(generator, Offer(2000.0, 0.2, size))
            for direction, port in zip(counts, (0, 1), strict=True):
                assert (direction.tx_port, direction.rx_port) == (port, 1 - port)
                assert direction.intended == direction.sent == direction.received == 200
                assert not wrong(direction)
                assert direction.latency is not None
                assert direction.latency.samples == 200
                assert 0 < direction.latency.min_us <= direction.latency.max_us


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("none", {}),
        ("drop", {"lost": FRAMES // EVERY}),
        ("corrupt", {"lost": FRAMES // EVERY, "corrupted": FRAMES // EVERY}),
        ("longer", {"lost": FRAMES // EVERY, "corrupted": FRAMES // EVERY}),
        ("duplicate", {"duplicated": FRAMES // EVERY}),
        ("reorder", {"reordered": FRAMES // EVERY}),
        ("chatter", {"foreign": FRAMES // EVERY}),
        ("silent", {"lost": FRAMES}),
    ],
)
def test_each_fault_is_counted(
    host: LocalHost, where: Wires, fault: str, seen: dict[str, int]
) -> None:
    with reflector(where, fault), attached(host, where) as generator:
        counts = run_trial(generator, OFFER)
    assert [c.sent for c in counts] == [FRAMES, FRAMES]
    assert [wrong(c) for c in counts] == [seen, seen]


def test_chatter_does_not_end_an_exchange(host: LocalHost, where: Wires) -> None:
    """As many frames of others as of ours come before them: ours are still waited for."""
    sent = [bytes([number]) * 100 for number in range(20)]
    with reflector(where, "chatter first"), attached(host, where) as generator:
        back = generator.exchange({0: sent}, wait_s=30.0)[1]
    assert [frame for frame in back if frame != LLDP] == [swap(frame) for frame in sent]


def test_a_silent_dut_is_not_in_the_way_of_the_next(host: LocalHost, where: Wires) -> None:
    with attached(host, where) as generator:
        with reflector(where, "silent"):
            assert [c.received for c in run_trial(generator, OFFER)] == [0, 0]
        with reflector(where):
            assert [c.received for c in run_trial(generator, OFFER)] == [FRAMES, FRAMES]


def test_frames_that_the_kernel_does_not_take_are_refused(host: LocalHost, where: Wires) -> None:
    """A TAP whose reader sleeps: its queue fills, then our ring, then frames are refused."""
    for name in ("t0", "t1"):
        ip("-n", where.generator, "tuntap", "add", "dev", name, "mode", "tap")
    with contextlib.ExitStack() as stack:
        for name in ("t0", "t1"):
            stack.enter_context(program(where.generator, "-c", SLEEPING_READER, name))
        generator = stack.enter_context(attached(host, where, Topology(("t0", "t1"))))
        for _ in range(2):
            for counts in run_trial(generator, Offer(40_000.0, 0.5, 64)):
                assert counts.received == 0
                assert counts.refused > 0
                assert counts.lost == counts.sent
                # No more than queue and ring were taken.
                assert counts.sent - counts.refused <= 1024 + 1000


SLEEPING_READER = """
import fcntl, struct, sys
tap = open("/dev/net/tun", "r+b", 0)
fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", sys.argv[1].encode(), 0x1002))
print("ready", flush=True)
sys.stdin.read()
"""
"""Has a TAP open, and never reads."""


def test_frames_longer_than_the_mtu(host: LocalHost, where: Wires) -> None:
    advice = r"g0: a frame of 8996 bytes is longer than 1514 \(MTU 1500\); .*dev g0 mtu 8982"
    with reflector(where), attached(host, where) as generator:
        generator.start(Offer(1000.0, 0.1, 9000))
        with pytest.raises(InputError, match=advice):
            generator.poll(30.0)
        with pytest.raises(InputError, match=advice):
            generator.exchange({0: [bytes(8996)]}, wait_s=1.0)
        for space, side in ((where.generator, "g"), (where.dut, "d")):
            for end in "01":
                ip("-n", space, "link", "set", "dev", f"{side}{end}", "mtu", "8982")
        counts = run_trial(generator, Offer(1000.0, 0.1, 9000))
        assert [c.received for c in counts] == [50, 50]
        frame = bytes(range(256)) * 35 + bytes(36)
        assert generator.exchange({1: [frame]}, wait_s=30.0)[0] == [swap(frame)]


def test_an_interface_disappears_in_a_trial(host: LocalHost, where: Wires) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(reflector(where))
        generator = stack.enter_context(attached(host, where))
        generator.start(ENDLESS)
        assert generator.poll(0.2) is None
        ip("-n", where.generator, "link", "delete", "dev", "g1")
        with pytest.raises(DutError, match="the interface g1 went down or away while frames"):
            generator.poll(30.0)


def test_an_interface_goes_down_between_trials(host: LocalHost, where: Wires) -> None:
    with reflector(where), attached(host, where) as generator:
        run_trial(generator, OFFER)
        ip("-n", where.generator, "link", "set", "dev", "g0", "down")
        with pytest.raises(DutError, match="the interface g0 went down or away"):
            run_trial(generator, OFFER)


def test_no_link(host: LocalHost, where: Wires) -> None:
    ip("-n", where.dut, "link", "set", "dev", "d1", "down")
    with pytest.raises(DutError, match="g1 has had no link for 10 s"), attached(host, where):
        pytest.fail("attached")


def test_the_worker_needs_root() -> None:
    argv = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", sys.executable]
    done = subprocess.run(
        [*argv, "-m", "pytest_vswitch.traffic.worker", "af_packet"],
        cwd=Path(__file__).parents[2],
        input='{"do": "connect", "ports": [{"interface": "lo"}], "ring": 64}\n',
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert "lo: sending frames needs root (the capability CAP_NET_RAW)" in done.stdout


def test_not_root(host: LocalHost, where: Wires, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "is_root", lambda: False)
    with (
        pytest.raises(HostError, match="local: sending frames on network interfaces needs root"),
        attached(host, where),
    ):
        pytest.fail("attached")
