"""VFd's functions that ixgbe has, each by what it does to frames (guide, 5.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytest_vswitch.apps import vf_control
from pytest_vswitch.apps.vf_control import RxMode
from pytest_vswitch.measure.vf_bench import BROADCAST, FRAMES, MULTICAST, Bench
from pytest_vswitch.measure.vf_functions import accepts
from pytest_vswitch.topologies.vfd_programs import RING

LIMIT_MBPS = 10
"""The guide's (5.3.3)."""
OFFERED_MBPS = 40
HASHED_MAC = "02:00:C6:12:34:56"
VLAN = 100


def all_queues_drop(bench: Bench) -> None:
    """Without it, a VF that nobody polls holds up the whole port (5.3.1)."""
    with bench.afterwards(vf_control.all_queues_drop(0, True)):
        bench.set(vf_control.all_queues_drop(0, False))
        _held_up(bench, "all queues drop", lambda on: vf_control.all_queues_drop(0, on))


def split_drop(bench: Bench) -> None:
    """The same for one VF: the one that nobody polls (5.3.2)."""
    with bench.afterwards(vf_control.split_drop(0, 1, False), vf_control.all_queues_drop(0, True)):
        bench.set(vf_control.all_queues_drop(0, False))
        bench.set(vf_control.split_drop(0, 1, False))
        _held_up(bench, "VF packet drop", lambda on: vf_control.split_drop(0, 1, on))


def _held_up(bench: Bench, name: str, command: Callable[[bool], str]) -> None:
    """Fill the ring of VF 1, which is off: it was told to hold up, not to drop."""
    polled, idle = bench.vfs
    idle.control.testpmd.stop()
    try:
        bench.send(bench.frames(idle.mac, count=2 * RING))
        held = bench.send(bench.frames(polled.mac))
        bench.expect(f"{name} off: VF 0 waits behind the full ring of VF 1", len(held.back), 0)
        bench.set(command(True))
        passed = bench.send(bench.frames(polled.mac))
        bench.expect(f"{name} on: VF 0 receives beside it", len(passed.back), FRAMES)
    finally:
        idle.control.testpmd.start()


def rate_limit(bench: Bench) -> None:
    """Of the one TX queue that VF 0 has (5.3.3)."""
    limits_rate(bench, lambda mbps: vf_control.rate_limit(0, 0, mbps, 1))


def limits_rate(bench: Bench, command: Callable[[int], str], limit_mbps: int = LIMIT_MBPS) -> None:
    """What VF 0 sends, by so many Mbit/s, of four times that; 0 ends it."""
    offered_mbps = OFFERED_MBPS / LIMIT_MBPS * limit_mbps
    with bench.afterwards(command(0)):
        bench.set(command(limit_mbps))
        carried = bench.carried_mbps(offered_mbps)
        bench.expect_between("VF rate limit: no more [Mbit/s]", carried, 0, 1.1 * limit_mbps)
        bench.expect_between(
            "VF rate limit: and no less [Mbit/s]", carried, 0.85 * limit_mbps, offered_mbps
        )
        bench.set(command(0))
        carried = bench.carried_mbps(offered_mbps)
        bench.expect_between(
            "VF rate limit 0: all passes [Mbit/s]", carried, 0.98 * offered_mbps, offered_mbps + 1
        )


def rx_enabling(bench: Bench) -> None:
    """(5.3.4)"""
    first, other = bench.vfs

    def received(mac: str, vf: int) -> int:
        return bench.send(bench.frames(mac)).received[vf]

    with bench.afterwards(vf_control.traffic(0, 0, "rx", True)):
        bench.set(vf_control.traffic(0, 0, "rx", False))
        bench.expect("VF RX off: it receives nothing", received(first.mac, 0), 0)
        bench.expect("VF RX off: the other VF receives", received(other.mac, 1), FRAMES)
        bench.set(vf_control.traffic(0, 0, "rx", True))
        bench.expect("VF RX on: it receives", received(first.mac, 0), FRAMES)


def tx_enabling(bench: Bench) -> None:
    """(5.3.5)"""
    vf = bench.vfs[0]
    with bench.afterwards(vf_control.traffic(0, 0, "tx", True)):
        bench.set(vf_control.traffic(0, 0, "tx", False))
        seen = bench.send(bench.frames(vf.mac))
        bench.expect("VF TX off: nothing comes out", len(seen.back), 0)
        bench.expect("VF TX off: it still receives", seen.received[0], FRAMES)
        bench.set(vf_control.traffic(0, 0, "tx", True))
        # What waited in the VF's ring may come, too: it is not of this burst.
        seen = bench.send(bench.frames(vf.mac))
        bench.expect("VF TX on: all come out", len(seen.back), FRAMES)


def rx_mode_untagged(bench: Bench) -> None:
    """AUPE: untagged frames; tagged ones of its VLAN arrive always (5.3.6)."""
    mac = bench.vfs[0].mac
    with bench.afterwards(vf_control.vlan_filter(0, 0, VLAN, False)):
        bench.set(vf_control.vlan_filter(0, 0, VLAN, True))
        tagged = bench.frames(mac, vlan=VLAN)
        _mode(bench, "AUPE", mac, normally=True, others=tagged)


def rx_mode_hashed(bench: Bench) -> None:
    """ROPE: unicast frames that the port's hash table lets in (5.3.6)."""
    with bench.afterwards(vf_control.unicast_hash(0, HASHED_MAC, False)):
        bench.set(vf_control.unicast_hash(0, HASHED_MAC, True))
        _mode(bench, "ROPE", HASHED_MAC, normally=False)


def rx_mode_broadcast(bench: Bench) -> None:
    """BAM (5.3.6)."""
    _mode(bench, "BAM", BROADCAST, normally=True)


def rx_mode_multicast(bench: Bench) -> None:
    """MPE: every multicast address (5.3.6)."""
    _mode(bench, "MPE", MULTICAST, normally=False)


def _mode(
    bench: Bench,
    mode: RxMode,
    to: str,
    *,
    normally: bool,
    others: Sequence[bytes] | None = None,
) -> None:
    """`normally` is how the driver leaves it."""
    name = f"RX mode {mode}"
    accepts(
        bench,
        name,
        to,
        lambda on: vf_control.rx_mode(0, 0, mode, on),
        normally=normally,
        others=others,
    )
