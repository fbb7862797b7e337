"""VFd's functions that every NIC has, each by what it does to frames (guide, 5.2).

VF 0 swaps the MAC addresses of what it receives and sends it back; VF 1 only receives. A check
raises EffectMissing for an effect that does not show, NotSupported when NIC or driver refuse,
and leaves everything as it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

from pytest_vswitch.apps import vf_control
from pytest_vswitch.measure.vf_bench import BROADCAST, FRAMES, Bench, Commanded

NEW_MAC = "A0:36:9F:7B:C3:51"
"""The guide's (5.2.2)."""
OWN, OTHER, THIRD = 100, 200, 300
"""VLAN ids."""


def tx_loopback(bench: Bench) -> None:
    """(5.2.1)"""
    loops_back(bench, lambda on: vf_control.tx_loopback(0, on))


def loops_back(bench: Bench, command: Callable[[bool], str]) -> None:
    """Frames from VF 0 to VF 1 stay inside with it, and go by the wire without."""
    sender, receiver = bench.vfs

    def seen() -> tuple[int, int]:
        burst = bench.send(bench.frames(sender.mac, receiver.mac))
        return burst.received[1], len(burst.back)

    with bench.afterwards(command(True)):
        bench.set(command(True))
        inside, wire = seen()
        bench.expect("TX loopback on: VF 1 receives what VF 0 sends it", inside, FRAMES)
        bench.expect("TX loopback on: none of it is on the wire", wire, 0)
        bench.set(command(False))
        inside, wire = seen()
        bench.expect("TX loopback off: VF 1 receives nothing of VF 0", inside, 0)
        bench.expect("TX loopback off: all of it is on the wire", wire, FRAMES)


def mac_address(bench: Bench) -> None:
    """(5.2.2)"""
    changes_address(bench, lambda mac: vf_control.mac_address(0, 0, mac))


def changes_address(bench: Bench, command: Callable[[str], str]) -> None:
    """A VF receives by the address that it was given, and by no other."""
    vf = bench.vfs[0]
    old = vf.mac

    def received(mac: str) -> int:
        return bench.send(bench.frames(mac)).received[0]

    def give(mac: str) -> None:
        bench.set(command(mac))
        vf.restart()

    try:
        give(NEW_MAC)
        bench.expect("VF MAC address: the VF's driver has the new one", vf.mac, NEW_MAC)
        bench.expect("VF MAC address: frames to the new one arrive", received(NEW_MAC), FRAMES)
        bench.expect("VF MAC address: frames to the old one do not", received(old), 0)
    finally:
        give(old)
    bench.expect("VF MAC address restored: frames to it arrive", received(old), FRAMES)
    bench.expect("VF MAC address restored: frames to the other do not", received(NEW_MAC), 0)


def mac_antispoof(bench: Bench) -> None:
    """A VF that forwards frames as they are sends by others' addresses (5.2.3).

    Broadcast ones: a frame to the VF itself, sent on, would not leave the NIC.
    """
    vf = bench.vfs[0]

    @contextlib.contextmanager
    def as_they_are() -> Iterator[str]:
        try:
            vf.control.forward("io")
            yield BROADCAST
        finally:
            vf.control.forward("macswap")

    holds_back(bench, lambda on: vf_control.mac_antispoof(0, 0, on), as_they_are())


def holds_back(
    bench: Bench, command: Callable[[bool], str], foreign: AbstractContextManager[str]
) -> None:
    """What VF 0, while it is `foreign`, sends on of frames to an address, which that yields."""
    with bench.afterwards(command(False)):
        bench.set(command(True))
        own = bench.send(bench.frames(bench.vfs[0].mac))
        bench.expect("MAC anti-spoofing on: frames by its own address pass", len(own.back), FRAMES)
        with foreign as to:
            held = bench.send(bench.frames(to))
            bench.expect("MAC anti-spoofing on: by another address none", len(held.back), 0)
            bench.expect("MAC anti-spoofing on: VF 0 received them", held.received[0], FRAMES)
            bench.set(command(False))
            allowed = bench.send(bench.frames(to))
            bench.expect("MAC anti-spoofing off: those pass, too", len(allowed.back), FRAMES)


def vlan_antispoof(bench: Bench) -> None:
    """(5.2.4) The 82599 checks VLANs only together with addresses (PFVFSPOOF)."""

    def check(checked: bool) -> None:
        bench.set(vf_control.vlan_filter(0, 0, OWN, True))
        bench.set(vf_control.vlan_strip(0, 0, True))
        bench.set(vf_control.mac_antispoof(0, 0, True))
        bench.set(vf_control.vlan_antispoof(0, 0, checked))

    with bench.afterwards(
        vf_control.vlan_antispoof(0, 0, False),
        vf_control.mac_antispoof(0, 0, False),
        vf_control.vlan_strip(0, 0, False),
        vf_control.vlan_filter(0, 0, OWN, False),
    ):
        holds_back_vlans(bench, check)


def holds_back_vlans(bench: Bench, check: Callable[[bool], None]) -> None:
    """Frames come in by a VLAN that the VF has, and its driver sends them into another.

    The NIC strips the tag, and the driver has it insert one.
    """
    vf = bench.vfs[0]

    def out(vlan: int, checked: bool) -> tuple[int, list[int | None]]:
        vf.control.insert_vlan(vlan)  # its port starts anew, and so may its settings
        check(checked)
        seen = bench.send(bench.frames(vf.mac, vlan=OWN))
        return len(seen.back), seen.vlans

    try:
        own, held = out(OWN, checked=True), out(OTHER, checked=True)
        bench.expect("VLAN anti-spoofing on: its own VLAN passes", own, (FRAMES, [OWN]))
        bench.expect("VLAN anti-spoofing on: of another none", held, (0, []))
        passed = out(OTHER, checked=False)
        bench.expect("VLAN anti-spoofing off: that passes", passed, (FRAMES, [OTHER]))
    finally:
        vf.control.insert_vlan(0)


def vlan_insert(bench: Bench) -> None:
    """(5.2.5)"""

    def out() -> tuple[int, list[int | None]]:
        seen = bench.send(bench.frames(bench.vfs[0].mac))
        return len(seen.back), seen.vlans

    with bench.afterwards(vf_control.vlan_insert(0, 0, 0)):
        for vlan in (OWN, OTHER):
            bench.set(vf_control.vlan_insert(0, 0, vlan))
            bench.expect(f"VLAN insertion {vlan}: frames have that tag", out(), (FRAMES, [vlan]))
        bench.set(vf_control.vlan_insert(0, 0, 0))
        bench.expect("VLAN insertion 0: frames have no tag", out(), (FRAMES, [None]))


def vlan_strip(bench: Bench) -> None:
    """(5.2.6)"""

    def out() -> tuple[int, list[int | None]]:
        seen = bench.send(bench.frames(bench.vfs[0].mac, vlan=OWN))
        return len(seen.back), seen.vlans

    with bench.afterwards(
        vf_control.vlan_strip(0, 0, False), vf_control.vlan_filter(0, 0, OWN, False)
    ):
        bench.set(vf_control.vlan_filter(0, 0, OWN, True))
        bench.set(vf_control.vlan_strip(0, 0, True))
        bench.expect("VLAN stripping on: the tag is gone", out(), (FRAMES, [None]))
        bench.set(vf_control.vlan_strip(0, 0, False))
        bench.expect("VLAN stripping off: the tag is there", out(), (FRAMES, [OWN]))


def vlan_filter(bench: Bench) -> None:
    """(5.2.7)"""
    filters(bench, lambda vlan, add: vf_control.vlan_filter(0, 0, vlan, add))


def filters(bench: Bench, command: Callable[[int, bool], str], on: Commanded | None = None) -> None:
    """Of tagged frames a VF receives those of its VLANs; there is always one left."""
    vf = bench.vfs[0]

    def received(vlan: int) -> int:
        return bench.send(bench.frames(vf.mac, vlan=vlan)).received[0]

    with bench.afterwards(command(OTHER, False), on=on):
        bench.set(command(OTHER, True), on=on)
        bench.set(command(OWN, True), on=on)
        bench.expect("VLAN filtering: an added VLAN is received", received(OWN), FRAMES)
        bench.expect("VLAN filtering: another added one, too", received(OTHER), FRAMES)
        bench.expect("VLAN filtering: one that was not added is not", received(THIRD), 0)
        bench.set(command(OWN, False), on=on)
        bench.expect("VLAN filtering: a removed VLAN is not received", received(OWN), 0)
        bench.expect("VLAN filtering: the one that is left still is", received(OTHER), FRAMES)


def accepts(
    bench: Bench,
    name: str,
    to: str,
    command: Callable[[bool], str],
    *,
    normally: bool,
    others: Sequence[bytes] | None = None,
    on: Commanded | None = None,
) -> None:
    """VF 0 receives frames to an address while a mode is on, and `others` always.

    `normally` is how the driver leaves it; the others are those to the VF's own address.
    """

    def received(frames: Sequence[bytes]) -> int:
        return bench.send(frames).received[0]

    with bench.afterwards(command(normally), on=on):
        bench.set(command(True), on=on)
        bench.expect(f"{name} on: VF 0 receives", received(bench.frames(to)), FRAMES)
        bench.set(command(False), on=on)
        bench.expect(f"{name} off: VF 0 does not", received(bench.frames(to)), 0)
        always = bench.frames(bench.vfs[0].mac) if others is None else others
        bench.expect(f"{name} off: others still arrive", received(always), FRAMES)
