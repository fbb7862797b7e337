"""VFd's functions that every NIC has, each by what it does to frames (guide, 5.2).

VF 0 swaps the MAC addresses of what it receives and sends it back; VF 1 only receives. A check
raises EffectMissing for an effect that does not show, NotSupported when NIC or driver refuse,
and leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytest_vswitch.apps import vf_control
from pytest_vswitch.measure.vf_bench import BROADCAST, FRAMES, Bench

NEW_MAC = "A0:36:9F:7B:C3:51"
"""The guide's (5.2.2)."""
OWN, OTHER, THIRD = 100, 200, 300
"""VLAN ids."""


def tx_loopback(bench: Bench) -> None:
    """Frames from VF 0 to VF 1 stay inside with it, and go by the wire without (5.2.1)."""
    sender, receiver = bench.vfs

    def seen() -> tuple[int, int]:
        burst = bench.send(bench.frames(sender.mac, receiver.mac))
        return burst.received[1], len(burst.back)

    with bench.afterwards(vf_control.tx_loopback(0, True)):
        bench.set(vf_control.tx_loopback(0, True))
        inside, wire = seen()
        bench.expect("TX loopback on: VF 1 receives what VF 0 sends it", inside, FRAMES)
        bench.expect("TX loopback on: none of it is on the wire", wire, 0)
        bench.set(vf_control.tx_loopback(0, False))
        inside, wire = seen()
        bench.expect("TX loopback off: VF 1 receives nothing of VF 0", inside, 0)
        bench.expect("TX loopback off: all of it is on the wire", wire, FRAMES)


def mac_address(bench: Bench) -> None:
    """A VF receives by the address that it was given, and by no other (5.2.2)."""
    vf = bench.vfs[0]
    old = vf.mac

    def back(mac: str) -> int:
        return len(bench.send(bench.frames(mac)).back)

    def give(mac: str) -> None:
        bench.set(vf_control.mac_address(0, 0, mac))
        vf.restart()

    try:
        give(NEW_MAC)
        bench.expect("VF MAC address: the VF's driver has the new one", vf.mac, NEW_MAC)
        bench.expect("VF MAC address: frames to the new one arrive", back(NEW_MAC), FRAMES)
        bench.expect("VF MAC address: frames to the old one do not", back(old), 0)
    finally:
        give(old)
    bench.expect("VF MAC address restored: frames to it arrive", back(old), FRAMES)
    bench.expect("VF MAC address restored: frames to the other do not", back(NEW_MAC), 0)


def mac_antispoof(bench: Bench) -> None:
    """A VF that forwards frames as they are sends by others' addresses (5.2.3).

    Broadcast ones: a frame to the VF itself, sent on, would not leave the NIC.
    """
    vf = bench.vfs[0]
    with bench.afterwards(vf_control.mac_antispoof(0, 0, False)):
        bench.set(vf_control.mac_antispoof(0, 0, True))
        own = bench.send(bench.frames(vf.mac))
        bench.expect("MAC anti-spoofing on: frames by its own address pass", len(own.back), FRAMES)
        try:
            vf.control.forward("io")
            foreign = bench.send(bench.frames(BROADCAST))
            bench.expect("MAC anti-spoofing on: by another address none", len(foreign.back), 0)
            bench.expect("MAC anti-spoofing on: VF 0 received them", foreign.received[0], FRAMES)
            bench.set(vf_control.mac_antispoof(0, 0, False))
            allowed = bench.send(bench.frames(BROADCAST))
            bench.expect("MAC anti-spoofing off: those pass, too", len(allowed.back), FRAMES)
        finally:
            vf.control.forward("macswap")


def vlan_antispoof(bench: Bench) -> None:
    """Frames come in by a VLAN that the VF has, and its driver sends them into another (5.2.4).

    The NIC strips the tag, and the driver has it insert one. The 82599 checks VLANs only
    together with addresses (PFVFSPOOF).
    """
    vf = bench.vfs[0]
    with bench.afterwards(
        vf_control.vlan_antispoof(0, 0, False),
        vf_control.mac_antispoof(0, 0, False),
        vf_control.vlan_strip(0, 0, False),
        vf_control.vlan_filter(0, 0, OWN, False),
    ):

        def out(vlan: int, checked: bool) -> tuple[int, list[int | None]]:
            vf.control.insert_vlan(vlan)  # its port starts anew, and so may its settings
            bench.set(vf_control.vlan_filter(0, 0, OWN, True))
            bench.set(vf_control.vlan_strip(0, 0, True))
            bench.set(vf_control.mac_antispoof(0, 0, True))
            bench.set(vf_control.vlan_antispoof(0, 0, checked))
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
    """Of tagged frames a VF receives those of its VLANs; there is always one left (5.2.7)."""
    vf = bench.vfs[0]

    def received(vlan: int) -> int:
        return bench.send(bench.frames(vf.mac, vlan=vlan)).received[0]

    with bench.afterwards(vf_control.vlan_filter(0, 0, OTHER, False)):
        bench.set(vf_control.vlan_filter(0, 0, OTHER, True))
        bench.set(vf_control.vlan_filter(0, 0, OWN, True))
        bench.expect("VLAN filtering: an added VLAN is received", received(OWN), FRAMES)
        bench.expect("VLAN filtering: another added one, too", received(OTHER), FRAMES)
        bench.expect("VLAN filtering: one that was not added is not", received(THIRD), 0)
        bench.set(vf_control.vlan_filter(0, 0, OWN, False))
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
) -> None:
    """VF 0 receives frames to an address while a mode is on, and `others` always.

    `normally` is how the driver leaves it; the others are those to the VF's own address.
    """

    def received(frames: Sequence[bytes]) -> int:
        return bench.send(frames).received[0]

    with bench.afterwards(command(normally)):
        bench.set(command(True))
        bench.expect(f"{name} on: VF 0 receives", received(bench.frames(to)), FRAMES)
        bench.set(command(False))
        bench.expect(f"{name} off: VF 0 does not", received(bench.frames(to)), 0)
        always = bench.frames(bench.vfs[0].mac) if others is None else others
        bench.expect(f"{name} off: others still arrive", received(always), FRAMES)
