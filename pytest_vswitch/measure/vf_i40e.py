"""VFd's functions that i40e has, each by what it does to frames (guide, 5.4)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from pytest_vswitch.apps import vf_control
from pytest_vswitch.measure.vf_bench import BROADCAST, FRAMES, MULTICAST, Bench
from pytest_vswitch.measure.vf_functions import accepts
from pytest_vswitch.topologies.vfd_programs import CLASSES, Vf

LIMIT_MBPS = 2000
"""The guide's (5.4.7)."""
OFFERED_MBPS = 4000
SHARES = (20, 20, 20, 40)
"""The guide's (5.4.8) [%]."""
EQUAL = (25, 25, 25, 25)
TOLERANCE = 0.05
"""By which a class may miss its share, of all that is sent."""
TC_LIMIT_MBPS = 1000
_KEPT = 0.2
"""Of the time in which a VF has to notice a change, how long it must stay."""
UNKNOWN_MAC = "9E:AC:72:49:43:11"


def vf_statistics(bench: Bench) -> None:
    """What the PF counts of a VF (5.4.1)."""
    before = bench.topology.pf.vf_statistics(0)
    burst = bench.frames(bench.vfs[0].mac)
    bench.send(burst)
    after = bench.topology.pf.vf_statistics(0)
    bench.expect("VF statistics: RX frames", after.rx_packets - before.rx_packets, FRAMES)
    bench.expect("VF statistics: TX frames", after.tx_packets - before.tx_packets, FRAMES)
    least = sum(map(len, burst))
    most = least + 4 * FRAMES  # some firmware counts the FCS
    rx_bytes, tx_bytes = after.rx_bytes - before.rx_bytes, after.tx_bytes - before.tx_bytes
    bench.expect_between("VF statistics: RX bytes", rx_bytes, least, most)
    bench.expect_between("VF statistics: TX bytes", tx_bytes, least, most)


def vf_statistics_reset(bench: Bench) -> None:
    """(5.4.2)"""
    vf = bench.vfs[0]
    bench.send(bench.frames(vf.mac))
    bench.set(vf_control.clear_statistics(0, 0))
    found = bench.topology.pf.vf_statistics(0)
    bench.expect("VF statistics reset: RX frames", found.rx_packets, 0)
    bench.expect("VF statistics reset: TX frames", found.tx_packets, 0)
    bench.send(bench.frames(vf.mac))
    found = bench.topology.pf.vf_statistics(0)
    bench.expect("VF statistics reset: they count again", found.rx_packets, FRAMES)


def link_status(bench: Bench) -> None:
    """(5.4.3)"""
    notifies(bench, lambda up: vf_control.link(0, up))
    bench.expect("link up: frames pass", passing(bench), FRAMES)


def notifies(bench: Bench, command: Callable[[bool], str]) -> None:
    """The PF's link goes down and up; both VFs are told."""
    with bench.afterwards(command(True)):
        bench.set(command(False))
        for vf in bench.vfs:
            bench.expect(f"link down: VF {vf.number} is told", link_of(vf, up=False), False)
        bench.set(command(True))
        for vf in bench.vfs:
            bench.expect(f"link up: VF {vf.number} is told", link_of(vf, up=True), True)


def link_of(vf: Vf, *, up: bool) -> bool:
    """What the VF's driver says; it has a while to say that, and must keep to it."""
    told = _says(vf, not up, vf.notice_s)
    return told if told != up else _says(vf, up, _KEPT * vf.notice_s)


def _says(vf: Vf, up: bool, at_most_s: float) -> bool:
    """What it says when that has changed, or after so long."""
    deadline = time.monotonic() + at_most_s
    while (now := vf.control.link_is_up()) == up and time.monotonic() < deadline:
        time.sleep(0.05)  # polls
    return now


def passing(bench: Bench) -> int:
    """Frames of a burst that come back; the generator's link may take a while, too."""
    vf = bench.vfs[0]
    deadline = time.monotonic() + vf.notice_s
    while True:
        back = len(bench.send(bench.frames(vf.mac)).back)
        if back == FRAMES or time.monotonic() >= deadline:
            return back


def broadcast(bench: Bench) -> None:
    """(5.4.4)"""
    accepts(bench, "broadcast", BROADCAST, lambda on: vf_control.broadcast(0, 0, on), normally=True)


def all_multicast(bench: Bench) -> None:
    """(5.4.5)"""
    accepts(
        bench,
        "multicast promiscuous",
        MULTICAST,
        lambda on: vf_control.all_multicast(0, 0, on),
        normally=False,
    )


def promiscuous(bench: Bench) -> None:
    """(5.4.6)"""
    accepts(
        bench,
        "unicast promiscuous",
        UNKNOWN_MAC,
        lambda on: vf_control.promiscuous(0, 0, on),
        normally=False,
    )


def max_bandwidth(bench: Bench) -> None:
    """(5.4.7)"""
    with bench.afterwards(vf_control.max_bandwidth(0, 0, 0)):
        bench.set(vf_control.max_bandwidth(0, 0, LIMIT_MBPS))
        carried = bench.carried_mbps(OFFERED_MBPS)
        bench.expect_between("VF max bandwidth: no more [Mbit/s]", carried, 0, 1.1 * LIMIT_MBPS)
        bench.expect_between(
            "VF max bandwidth: and no less [Mbit/s]", carried, 0.85 * LIMIT_MBPS, OFFERED_MBPS
        )
        bench.set(vf_control.max_bandwidth(0, 0, 0))
        carried = bench.carried_mbps(OFFERED_MBPS)
        bench.expect_between(
            "VF max bandwidth 0: all passes [Mbit/s]",
            carried,
            0.98 * OFFERED_MBPS,
            OFFERED_MBPS + 1,
        )


def tc_min_bandwidth(bench: Bench) -> None:
    """All classes of VF 0 have more to send than the VF may (5.4.8)."""
    with _flooding(bench) as vf, bench.afterwards(vf_control.max_bandwidth(0, 0, 0)):
        bench.set(vf_control.max_bandwidth(0, 0, LIMIT_MBPS))
        for shares in (SHARES, EQUAL):
            bench.set(vf_control.tc_min_bandwidth(0, 0, shares))
            found = bench.shares(vf)
            worst = max(abs(found.get(tc, 0) - share / 100) for tc, share in enumerate(shares))
            bench.expect_between(
                f"TC bandwidth {shares}: how far a class is off", worst, 0, TOLERANCE
            )


def tc_max_bandwidth(bench: Bench) -> None:
    """One class of VF 0 has a limit, and leaves the rest of the link to the others (5.4.9)."""
    line_mbps = bench.topology.ports[0].line_rate_bps / 1e6
    with _flooding(bench) as vf:
        with bench.afterwards(vf_control.tc_max_bandwidth(0, 0, 0, 0)):
            bench.set(vf_control.tc_max_bandwidth(0, 0, 0, TC_LIMIT_MBPS))
            limited = bench.shares(vf)
            share = TC_LIMIT_MBPS / line_mbps
            _share(bench, "TC max bandwidth: class 0", limited.get(0, 0), share)
            rest = (1 - share) / (CLASSES - 1)
            _share(bench, "TC max bandwidth: class 3 has of the rest", limited.get(3, 0), rest)
        free = bench.shares(vf)
        _share(bench, "TC max bandwidth 0: class 0 as the others", free.get(0, 0), 1 / CLASSES)


def tc_strict_priority(bench: Bench) -> None:
    """A strict class goes first on a link that all classes would fill (5.4.10)."""
    with _flooding(bench) as vf:
        with bench.afterwards(vf_control.strict_priority(0, 0)):
            bench.set(vf_control.strict_priority(0, 1 << 2))
            strict = bench.shares(vf)
            _share(bench, "TC strict priority: class 2 has all", strict.get(2, 0), 1)
        equal = bench.shares(vf)
        _share(bench, "TC strict priority off: class 2 has its part", equal.get(2, 0), 1 / CLASSES)


def _share(bench: Bench, assertion: str, saw: float, wanted: float) -> None:
    bench.expect_between(assertion, saw, wanted - TOLERANCE, wanted + TOLERANCE)


@contextlib.contextmanager
def _flooding(bench: Bench) -> Iterator[Vf]:
    """VF 0 sends all it can by a queue for each traffic class, until the end of the block."""
    with bench.topology.traffic_classes():
        vf = bench.vfs[0]
        vf.control.forward("txonly")
        try:
            yield vf
        finally:
            vf.control.testpmd.stop()
