"""What the suites of VFd, flow bifurcation and exception paths work with, in words."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from pytest_vswitch.apps import vf_control
from pytest_vswitch.errors import VswitchError
from pytest_vswitch.hosts.plan import PlanHost
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure import vf_bench
from pytest_vswitch.rehearsal.unknown import Say, Unknown

# --- what a suite of virtual functions checks -----------------------------------------------


class VfBench(vf_bench.Bench):
    """Says what is sent and expected; what is set is typed."""

    say: Say

    def expect(self, assertion: str, saw: object, wanted: object) -> None:
        self.say(f"expect {assertion}: {wanted}")

    def expect_between(self, assertion: str, saw: float, least: float, most: float) -> None:
        self.say(f"expect {assertion}: {least:g} to {most:g}")

    def send(self, frames: Sequence[bytes]) -> vf_bench.Seen:
        self.say(f"send {described(frames)}; type `show port stats 0` to each VF before and after")
        return vf_bench.Seen([], [_NOTHING for _ in self.vfs])

    def carried_mbps(self, offered_mbps: float) -> float:
        self.say(
            f"offer {offered_mbps:g} Mbit/s of {vf_bench.RATE_FRAME_BYTES}-byte frames to VF 0 "
            f"for {self.trial_s:g} s"
        )
        return 0.0

    def shares(self, vf: Any) -> dict[int, float]:
        self.say(
            f"type `show fwd stats all` to VF {vf.number} twice, {self.sample:,} frames apart: "
            "TX-packets of each queue"
        )
        return {}


_NOTHING = vf_control.Statistics(0, 0, 0, 0)


class _Control:
    """A testpmd whose questions are typed; of answers there are none."""

    def __init__(self, real: vf_control.Control) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def vf_statistics(self, vf: int) -> vf_control.Statistics:
        self._real.testpmd.command(vf_control.show_statistics(0, vf))
        return _NOTHING

    def link_is_up(self) -> bool:
        self._real.testpmd.command("show port info 0")
        return True


class _Vf:
    notice_s = 0.0

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    @property
    def control(self) -> _Control:
        return _Control(self._real.control)


class _Vfd:
    def __init__(self, real: Any) -> None:
        self._real = real
        self.vfs = [_Vf(vf) for vf in real.vfs]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    @property
    def pf(self) -> _Control:
        return _Control(self._real.pf)


def _shows(topology: Any, say: Say) -> vf_bench.Shows:
    bench: Any = VfBench(_Vfd(topology), Unknown())  # type: ignore[arg-type]
    bench.say = say
    return lambda check: check(bench)


_VXLAN = 8472
"""UDP port, of Linux (guide, 3.2)."""


def described(frames: Sequence[bytes]) -> str:
    """How many, from where to where, of what."""
    first = frames[0]
    return f"{len(frames)} frames of {len(first) + 4} bytes, {_layers(first)}"


def _layers(frame: bytes) -> str:
    """From Ethernet inwards, as far as these suites send."""
    said = f"{frame[6:12].hex(':')} to {frame[:6].hex(':')}"
    rest = frame[12:]
    while rest[:2] == b"\x81\x00":
        said += f", VLAN {int.from_bytes(rest[2:4], 'big') & 0xFFF}"
        if priority := rest[2] >> 5:
            said += f" priority {priority}"
        rest = rest[4:]
    if rest[:2] != b"\x08\x00":
        return f"{said}, type 0x{rest[:2].hex()}"
    packet = rest[2:]
    source, target = (".".join(map(str, packet[at : at + 4])) for at in (12, 16))
    inside = packet[20:]
    ports = [int.from_bytes(inside[at : at + 2], "big") for at in (0, 2)]
    match packet[9]:
        case 1:
            return f"{said}, ping from {source} to {target}"
        case 6:
            return f"{said}, TCP {source} port {ports[0]} and up to {target} port {ports[1]}"
        case 17 if ports[1] == _VXLAN:
            vni = int.from_bytes(inside[12:15], "big")
            return f"{said}, {source} to {target}, VXLAN {vni}, in it {_layers(inside[16:])}"
        case _:
            return f"{said}, UDP {source} port {ports[0]} and up to {target} port {ports[1]}"


# --- flow bifurcation -------------------------------------------------------------------------


def _split(topology: Any, say: Say) -> Any:
    from pytest_vswitch.measure.bifurcation import Setup

    class Split(Setup):
        def send(self, *kinds: Sequence[bytes]) -> Any:
            for frames in kinds:
                say(f"send {described(frames)}")
            return Unknown()

        @contextlib.contextmanager
        def attempting(self, rule: Any) -> Any:
            with self.topology.pf.attempting(rule):
                say(f"then `ethtool -n {self.topology.pf.name} rule {rule.location}`")
                yield Unknown(), Unknown()

    say("first, delete the filters that are there: each test has its own")
    return Split(topology, Unknown())  # type: ignore[arg-type]


# --- two kernels that talk --------------------------------------------------------------------


def talk(lab: Lab, host: PlanHost, setup: Any) -> Any:
    """As `measure.conversation` has them talk."""
    from pytest_vswitch.topologies import exception_link

    streams = 16 if setup.queues > 1 else 1
    with exception_link.linked(lab, host, setup) as link:
        with contextlib.suppress(VswitchError):
            link.ping()
        with link.server() as server, contextlib.suppress(VswitchError):
            link.transfer(server, link.client(2, streams))
        with contextlib.suppress(VswitchError):
            link.testpmd.command("show port xstats all")
    return SimpleNamespace(queues_used=setup.queues)


FIXTURES: dict[str, Callable[[Any, Say], Any]] = {
    "shows": _shows,
    "split": _split,
    "switch": lambda topology, say: topology.vswitch,
    "guest": lambda topology, say: topology.endpoints[0],
}
"""Fixtures of this project's suites that stand for more than a topology."""
