"""The contract catches a generator that breaks it; a third party's is found and may be chosen."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch import registry
from pytest_vswitch.errors import InputError
from pytest_vswitch.lab.loader import load
from pytest_vswitch.topologies.sim import SimulatedDut
from pytest_vswitch.traffic import contract
from pytest_vswitch.traffic.contract import Loop
from pytest_vswitch.traffic.generator import DirectionCounts, Offer
from pytest_vswitch.traffic.profile import Capabilities, Profile
from pytest_vswitch.traffic.sim import SimulatedGenerator
from tests.traffic.benches import Simulated

Broken = (AssertionError, pytest.fail.Exception)


class Liar(SimulatedGenerator):
    """Keeps the contract but for what it is told to change in its counts."""

    lie: Callable[[DirectionCounts], Mapping[str, Any]] = staticmethod(lambda counts: {})

    def poll(self, timeout_s: float) -> Sequence[DirectionCounts] | None:
        counts = SimulatedGenerator.poll(self, timeout_s)
        self._counts = [dataclasses.replace(one, **self.lie(one)) for one in counts or ()]
        return self._counts


def attached(kind: type[Liar]) -> Loop:
    generator = kind(SimulatedDut(), max_pps=1e5)

    def err(fault: str) -> None:
        with Simulated().loop() as loop:
            loop.err(fault)
            assert isinstance(loop.generator, SimulatedGenerator)
            generator.dut = loop.generator.dut

    return Loop(generator, err)


@pytest.fixture(autouse=True)
def _short_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "DEADLINE_S", 0.05)


def counting(lie: Callable[[DirectionCounts], Mapping[str, Any]]) -> Loop:
    return attached(type("Counting", (Liar,), {"lie": staticmethod(lie)}))


def test_who_keeps_it_passes() -> None:
    bench, loop = Simulated(), counting(lambda counts: {})
    contract.test_it_says_what_it_is(loop)
    contract.test_every_frame_of_a_trial_is_counted(bench, loop)
    contract.test_what_it_cannot_offer_is_no_loss(bench, loop)
    contract.test_each_fault_of_the_dut_is_counted_exactly(bench, loop, "drop")


@pytest.mark.parametrize(
    "lie",
    [
        lambda counts: {"received": counts.received - 1},
        lambda counts: {"sent": counts.sent + 1, "received": counts.received + 1},
        lambda counts: {"duplicated": 1},
        lambda counts: {"reordered": 1},
        lambda counts: {"foreign": 1},
        lambda counts: {"refused": 1},
        lambda counts: {"rx_port": counts.tx_port},
    ],
    ids=["lost", "one more", "duplicated", "reordered", "foreign", "refused", "port"],
)
def test_counts_that_are_off_by_one(lie: Callable[[DirectionCounts], dict[str, int]]) -> None:
    with pytest.raises(Broken):
        contract.test_every_frame_of_a_trial_is_counted(Simulated(), counting(lie))


def test_a_loss_that_is_hidden() -> None:
    loop = counting(lambda counts: {"received": counts.sent})
    contract.test_every_frame_of_a_trial_is_counted(Simulated(), loop)
    with pytest.raises(Broken):
        contract.test_each_fault_of_the_dut_is_counted_exactly(Simulated(), loop, "drop")


def test_what_was_not_sent_taken_for_loss() -> None:
    loop = counting(lambda counts: {"sent": counts.intended})
    with pytest.raises(Broken):
        contract.test_what_it_cannot_offer_is_no_loss(Simulated(), loop)


def test_latency_that_is_not_told() -> None:
    with pytest.raises(Broken):
        contract.test_latency_is_told_by_those_who_say_so(
            Simulated(), counting(lambda counts: {"latency": None})
        )


def test_latency_told_against_its_word() -> None:
    class Modest(Liar):
        @property
        def capabilities(self) -> Capabilities:
            return Capabilities(latency=False)

    with pytest.raises(Broken):
        contract.test_latency_is_told_by_those_who_say_so(Simulated(), attached(Modest))


def test_a_boast() -> None:
    class Boasting(Liar):
        @property
        def capabilities(self) -> Capabilities:
            return Capabilities(mixed_sizes=True, max_flows=10**6, max_tags=2)

        def start(self, offer: Offer) -> None:
            if offer.profile.tags:
                raise RuntimeError("never tried")
            SimulatedGenerator.start(self, offer)

    with pytest.raises(RuntimeError):
        contract.test_what_it_says_that_it_can_send_it_can(
            Simulated(), attached(Boasting), Profile(tags=(100,))
        )


def test_an_offer_beyond_it_that_is_taken() -> None:
    class Obliging(Liar):
        def start(self, offer: Offer) -> None:
            self._offer = dataclasses.replace(offer, profile=Profile())

    for what in ("flows", "burst_frames", "tags"):
        with pytest.raises(Broken):
            contract.test_one_more_than_it_can_is_refused(Simulated(), attached(Obliging), what)
    with pytest.raises(Broken):
        contract.test_what_it_says_that_it_can_send_it_can(
            Simulated(), attached(Obliging), Profile(tags=(100,))
        )


def test_frames_that_are_not_those_of_the_profile() -> None:
    frame = bytes(12) + b"\x08\x00" + bytes(110)
    for profile in (Profile(flows=2), Profile(tags=(1,)), Profile(sizes=(64, 128))):
        with pytest.raises(AssertionError):
            contract.check_frames([frame] * 250, profile)
    contract.check_frames([frame] * 250, Profile())


def test_an_exchange_that_changes_a_frame() -> None:
    class Careless(Liar):
        def exchange(
            self, frames: Mapping[int, Sequence[bytes]], *, wait_s: float
        ) -> Mapping[int, list[bytes]]:
            back = dict(SimulatedGenerator.exchange(self, frames, wait_s=wait_s))
            back[1] = [frame[:-1] + b"\xff" for frame in back[1]]
            return back

    with pytest.raises(Broken):
        contract.test_exact_frames_come_back_exactly(Simulated(), attached(Careless))


def test_a_simulation_that_does_not_say_so() -> None:
    class Posing(Liar):
        @property
        def description(self) -> str:
            return "hardware tester"

    with pytest.raises(Broken):
        contract.test_it_says_what_it_is(attached(Posing))


def test_a_trial_that_goes_on_after_its_abort() -> None:
    class Stubborn(Liar):
        def start(self, offer: Offer) -> None:
            if self._offer is None:
                SimulatedGenerator.start(self, offer)

        def abort(self) -> None: ...

    with pytest.raises(Broken):
        contract.test_an_aborted_trial_leaves_no_trace(Simulated(), attached(Stubborn))


# --- a third party's ---


@contextlib.contextmanager
def attach(lab: object, host: object, topology: SimulatedDut) -> Iterator[SimulatedGenerator]:
    """What somebody else's package has."""
    yield SimulatedGenerator(topology)


LAB = """
dut: {host: local}
ports: [{kind: nic, bdf: '11:00.0', line_rate_gbps: 1}]
generator: {kind: KIND}
"""


def test_a_generator_of_another_package_may_be_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = tmp_path / "their_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        f"[{registry.GENERATORS}]\ntheirs = {__name__}:attach\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    file = tmp_path / "lab.yaml"
    file.write_text(LAB.replace("KIND", "theirs"))
    lab = load(str(file), ())
    assert registry.generator(lab.generator.kind) is attach


def test_a_generator_that_nobody_has(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(LAB.replace("KIND", "ixia"))
    with pytest.raises(
        InputError, match=r"lab.yaml:4:1: .*no generator is called `ixia`; there are af_packet, "
    ):
        load(str(file), ())
