"""`suites/live_migration --nic sriov` on emulated servers: the good ones pass, each mutant fails.

For every assertion there is a mutant that makes exactly that one fail; whatever breaks, the
servers are left as they were.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.errors import DutError, HostError, InputError
from pytest_vswitch.measure import bonded
from pytest_vswitch.measure.functional import FunctionalError, check_functional
from pytest_vswitch.measure.vf_migration import EffectMissing, VfMove, under_traffic
from pytest_vswitch.results.certification import Wired
from pytest_vswitch.topologies.move import MigrationError
from suites.live_migration.test_live_migration import test_bonded_migration as the_suites_test
from tests.emulated.migration_bench import running
from tests.emulated.migration_faults import MUTANTS, Spoil, learns_once, never_lets_go, of
from tests.emulated.migration_guest import Testpmd
from tests.emulated.migration_qemu import Qemu
from tests.emulated.migration_world import Kind, Switch, World

KINDS: tuple[Kind, ...] = ("ixgbe", "i40e")
PAGE = Path(__file__).parents[2] / "docs/live_migration.md"
FRAMES = 8
"""Of a check for exact frames."""


class Measuring:
    """Carries out what the suite measures; see `fixtures.Measure`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.move: VfMove | None = None

    def functional(self, wired: Wired, *, frame_bytes: int) -> None:
        check_functional(wired.topology, wired.generator, frame_bytes, FRAMES)

    def bonded_migration(self, wired: Wired, *, frame_bytes: int) -> tuple[None, VfMove]:
        self._world.busy = True
        move, _ = bonded.under_traffic(wired.topology, wired.generator, frame_bytes=frame_bytes)
        self._world.busy = False
        assert isinstance(move, VfMove)
        self.move = move
        return None, move

    def check(self, case: None) -> None:
        """A threshold: the lab sets none."""


def outcome(world: World, *spoils: Spoil, two: bool = False) -> tuple[list[str], list[str]]:
    """Assertions that failed, and those that were held."""
    measuring: Any = Measuring(world)
    with (
        pytest.MonkeyPatch.context() as patch,
        running(world, patch, two=two, spoils=spoils) as (
            topology,
            generator,
            _,
        ),
    ):
        wired = Wired("bonded_migration", topology, generator)
        try:
            the_suites_test(wired, measuring, measuring, 64)
        except EffectMissing as missing:
            return [missing.assertion], []
        except FunctionalError:
            return [f"frames return exactly at {'the end' if measuring.move else 'first'}"], []
        except AssertionError:
            assert measuring.move is not None
            return [fault.partition(":")[0] for fault in measuring.move.faults()], []
        held = measuring.move.asserted
        return [], [f"frames return exactly at {when}" for when in ("first", "the end")] + held


@pytest.mark.parametrize("two", [False, True], ids=["one server", "two servers"])
@pytest.mark.parametrize("kind", KINDS)
def test_good_servers_pass(kind: Kind, two: bool) -> None:
    failed, held = outcome(World(kind), two=two)
    assert failed == []
    assert len(held) > 20


def test_a_switch_that_floods_is_the_guides() -> None:
    """ "The switch is configured to broadcast traffic on all the NIC ports" (1.2)."""
    world = World()
    world.switch.learn = lambda source, port: None  # type: ignore[method-assign]
    assert outcome(world)[0] == []


@pytest.mark.parametrize(
    ("assertion", "spoil"), MUTANTS, ids=[f"{n} {name}" for n, (name, _) in enumerate(MUTANTS)]
)
def test_a_mutant_fails_that_assertion_and_no_other(assertion: str, spoil: Spoil) -> None:
    assert outcome(World(), spoil)[0] == [assertion]


def test_every_assertion_has_its_mutant() -> None:
    assert set(outcome(World())[1]) == {assertion for assertion, _ in MUTANTS}


def test_the_pages_figures() -> None:
    page = " ".join(PAGE.read_text().split())
    held = {assertion for assertion, _ in MUTANTS}
    assert f"It has {len(held)} assertions and {len(MUTANTS)} mutants" in page
    assert f"At each of {len(steps())} kinds of steps" in page


def test_outage_losses_and_steps_are_told() -> None:
    world = World()
    with pytest.MonkeyPatch.context() as patch, running(world, patch) as (topology, generator, _):
        move, trial = under_traffic(topology, generator, frame_bytes=64)
    assert [step.what.partition(" (")[0] for step in move.steps] == [
        "VF out of the bond",
        "device_del",
        "migrate",
        "device_add",
        "VF in the bond",
        "virtio out of the bond",
        "virtio in the bond",
    ]
    still = next(step for step in move.steps if step.what.startswith("migrate"))
    assert move.moved.stopped_ms == pytest.approx(60)
    assert 60 <= still.silence_ms <= 70
    told = trial.paths[0][0].facts
    assert told["switch"] == "has learned where the guest is"
    assert told["QEMU's downtime"] == "60 ms"
    assert trial.lost == move.outage.lost > 60
    assert move.outage.duplicated == 0


def test_it_moves_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(World(), monkeypatch, two=True) as (topology, generator, _):
        for place in (1, 0):
            move, _ = under_traffic(topology, generator, frame_bytes=64)
            assert move.faults() == []
            assert topology.here is topology.stops[place]
            assert move.moved.stopped_ms is None  # of two clocks


def test_a_switch_that_does_not_learn_is_found_on_the_way_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running(World(), monkeypatch) as (topology, generator, hosts):
        under_traffic(topology, generator, frame_bytes=64)
        of(Switch, learn=learns_once)(hosts[0].world, hosts)
        with pytest.raises(EffectMissing, match=r"that of the target: it goes on sending"):
            under_traffic(topology, generator, frame_bytes=64)


# --- what goes wrong -------------------------------------------------------------------------


def refused(self: Any, *words: str) -> str:
    return "it is no port\n"


WRONG: dict[str, tuple[Spoil, str]] = {
    "a slave that stays": (of(Testpmd, remove=refused), "did not let port 1 go: it is no port"),
    "a slave that is not taken": (of(Testpmd, add=refused), "did not take port 0: it is no port"),
    "another primary": (of(Testpmd, set_primary=refused), "did not make port 1 its primary"),
    "a VF that stays": (of(Qemu, device_del=never_lets_go), "no end of vf1, which the guest must"),
    "a VF that cannot be attached": (of(Testpmd, attach=refused), "testpmd: it is no port"),
    "a VF that is not detached": (of(Testpmd, detach=refused), "testpmd: it is no port"),
    "an address that is refused": (
        of(Testpmd, add_address=refused),
        "refused `mac_addr add port 1 vf 0 02:00:c6:12:d9:01`: it is no port",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil, message = WRONG[name]
    with pytest.raises(DutError, match=re.escape(message)):
        outcome(World("ixgbe"), spoil)


def test_a_move_that_fails_leaves_the_guest_where_it_forwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Steps: the target's QEMU is another machine than the source's."""
    world = World()

    def other(part: object) -> None:
        if isinstance(part, Qemu) and part.status == "inmigrate":
            part.shape = ["less"]

    world.spoil = other
    with running(world, monkeypatch) as (topology, generator, _):
        with pytest.raises(MigrationError, match="not moved to the target: Unable to write"):
            under_traffic(topology, generator, frame_bytes=64)
        check_functional(topology, generator, 64, FRAMES)
        assert topology.here is topology.stops[0]


def test_a_vf_that_is_left_in_cannot_be_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(World(), monkeypatch) as (topology, generator, _):
        with pytest.raises(MigrationError, match="refused: VFIO migration is not supported"):
            topology.migrate()
        check_functional(topology, generator, 64, FRAMES)


# --- faults at each step ---------------------------------------------------------------------

UNHEARD = {
    "refusal": r"dut1: (printenv|ip link show dev vs-).*|QMP .*quit.*|testpmd> ",
    "time-out": r"QMP .*quit.*",
    "nonsense": r"dut1: (mkdir|ss|printenv|ip -o address|ip link set|sysctl) .*|QMP .*quit.*",
    "lost": r"never",
}
"""By fault: steps that need no answer, or whose refusal says what was asked (it is not there), or
after which all is over (`quit`)."""


def _kind(step: str) -> str:
    """Steps that differ in a number only are of one kind."""
    return re.sub(r'"id": \d+|vswitch-\d+|\d{5,}', "", step)


def steps(*, two: bool = False) -> list[int]:
    """The first of each kind, in a good run."""
    world = World()
    outcome(world, two=two)
    seen: dict[str, int] = {}
    for number, step in enumerate(world.steps):
        seen.setdefault(_kind(step), number)
    return sorted(seen.values())


@pytest.mark.parametrize(("fault", "two"), [*((fault, False) for fault in UNHEARD), ("lost", True)])
def test_whatever_breaks_is_one_error_and_all_is_undone(fault: str, two: bool) -> None:
    first = steps(two=two)
    assert len(first) > 80
    for number in first:
        world = World()
        world.fault = (number, fault)
        before: list[tuple[Any, object]] = []

        def remember(world: World, hosts: list[Any], before: list[Any] = before) -> None:
            before += [(host, host.state()) for host in hosts]

        error: Exception | None = None
        try:
            failed, _ = outcome(world, remember, two=two)
        except (DutError, HostError, InputError) as raised:
            error = raised
        step = world.steps[number]
        if error is None and not failed:
            assert re.fullmatch(UNHEARD[fault], step), f"{fault} at `{step}` goes unheard"
        if error is not None:
            assert re.search("dut[12]|testpmd|QEMU|qmp|guest|vf1", str(error)), f"`{step}`: {error}"
        for host, state in before:
            assert host.state() == state, f"{fault} at `{step}`"
