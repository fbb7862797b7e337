"""A DUT keeps back what it must not forward, and still forwards the rest: or it is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from pytest_vswitch.measure.functional import FunctionalError
from pytest_vswitch.measure.refusal import check_refusal
from pytest_vswitch.topologies.sim import DutFaults, SimulatedDut
from pytest_vswitch.traffic.sim import SimulatedGenerator

FOREIGN = "00:00:5e:00:53:ff"

Frames = Mapping[int, Sequence[bytes]]


def alive(frame: bytes) -> bool:
    """Whether its time to live is not over at the next hop."""
    return frame[22] > 1


def ours(frame: bytes) -> bool:
    return frame[:6] != bytes.fromhex(FOREIGN.replace(":", ""))


class Router(SimulatedDut):
    """Forwards what `forwards` says."""

    forwards: Callable[[bytes], bool]

    def carry_frames(self, frames: Frames) -> dict[int, list[bytes]]:
        kept = {port: [one for one in sent if self.forwards(one)] for port, sent in frames.items()}
        return super().carry_frames(kept)


def router(forwards: Callable[[bytes], bool], **faults: int) -> Router:
    dut = Router(faults=DutFaults(**faults))
    dut.__dict__["forwards"] = forwards
    return dut


def check(dut: SimulatedDut, *, ttl: int = 64, dst_mac: str | None = None) -> None:
    check_refusal(dut, SimulatedGenerator(dut), 64, ttl=ttl, dst_mac=dst_mac)


def test_a_router_that_refuses_what_it_must() -> None:
    check(router(lambda frame: alive(frame) and ours(frame)), ttl=1)
    check(router(lambda frame: alive(frame) and ours(frame)), dst_mac=FOREIGN)


def test_expired_frames_that_come_out_are_counted() -> None:
    with pytest.raises(FunctionalError) as error:
        check(router(ours), ttl=1)
    assert "of those with time to live 1 none may come out" in str(error.value)
    assert "sim0 -> sim1: 64 of 64 came out" in str(error.value)
    assert "sim1 -> sim0: 64 of 64 came out" in str(error.value)
    assert error.value.exchange is not None
    assert len(error.value.exchange.sent["sim0"]) == len(error.value.exchange.came_back["sim1"])
    assert len(error.value.exchange.expected["sim1"]) == 64


def test_frames_to_others_that_come_out_are_counted() -> None:
    with pytest.raises(FunctionalError) as error:
        check(router(alive), dst_mac=FOREIGN)
    assert f"of those with destination {FOREIGN} none may come out" in str(error.value)
    assert "sim0 -> sim1: 64 of 64 came out" in str(error.value)


def test_a_single_one_is_found_wherever_it_comes_out() -> None:
    """Steps: the first frame that must not be forwarded comes back where it was sent."""

    class Reflector(Router):
        def carry_frames(self, frames: Frames) -> dict[int, list[bytes]]:
            out = super().carry_frames(frames)
            out[0].append(next(frame for frame in frames[0] if not self.forwards(frame)))
            return out

    dut = Reflector()
    dut.__dict__["forwards"] = alive
    with pytest.raises(FunctionalError, match=r"(?m)^sim0 -> sim0: 1 of 64 came out$"):
        check(dut, ttl=1)


def test_a_dut_that_forwards_nothing_does_not_pass() -> None:
    with pytest.raises(FunctionalError, match=r"64 of 64 frames that it must forward, .* not come"):
        check(router(alive, deaf_for=10**9), ttl=1)
