"""What an event costs its traffic: figures from counts, books, and a trial around an event."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from pytest_vswitch.apps.migration import Statistics
from pytest_vswitch.errors import BooksError, DutError, HostError, InputError
from pytest_vswitch.measure import books, outage
from pytest_vswitch.measure.migration import Migration, noted
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.results import verdict
from pytest_vswitch.results.record import Measurement
from pytest_vswitch.topologies.move import Moved
from pytest_vswitch.topologies.topology import Hop, MemifPort
from pytest_vswitch.traffic.generator import (
    Announcement,
    DirectionCounts,
    Generator,
    Offer,
    Silence,
)
from pytest_vswitch.traffic.profile import Capabilities

MAC = "52:54:00:02:d9:01"


def counts(tx_port: int = 0, **changes: Any) -> DirectionCounts:
    """1000 frames, all back, and a silence of 100 ms."""
    right = DirectionCounts(
        tx_port=tx_port,
        rx_port=1 - tx_port,
        intended=1000,
        sent=1000,
        refused=0,
        received=1000,
        duplicated=0,
        reordered=0,
        corrupted=0,
        foreign=0,
        silences=(Silence(100.0, 100.0), Silence(90.0, 10.0)),
    )
    return replace(right, **changes)


def trial(*directions: DirectionCounts, rate_pps: float = 2000.0) -> Trial:
    return Trial(
        number=1,
        frame_bytes=64,
        intended_pps=rate_pps,
        duration_s=1.0,
        overhead_s=0.0,
        directions=directions,
        paths=((Hop("first", 1, 1, facts={"kept": "yes"}),), (Hop("second", 1, 1),)),
    )


# --- figures ------------------------------------------------------------------------------


def test_an_outage_in_time_and_in_frames() -> None:
    lossy = counts(1, received=940, duplicated=3, reordered=2)
    one, two = outage.of(trial(counts(), lossy))
    assert (one.tx_port, two.tx_port) == (0, 1)
    assert one.spacing_ms == two.spacing_ms == 1.0
    assert one.silence_ms == pytest.approx(99.0)
    assert (one.lost, one.lost_ms) == (0, 0.0)
    assert (two.lost, two.lost_ms, two.duplicated, two.reordered) == (60, 60.0, 3, 2)


def test_no_silence_is_none() -> None:
    (one,) = outage.of(trial(counts(silences=())))
    assert one.silence is None
    assert one.silence_ms == 0.0


def test_an_event_is_told_from_what_was_before() -> None:
    """What ended before it began is what the machine costs; what came after may be its doing."""
    event, after = Silence(100.0, 100.0), Silence(100.2, 150.0)
    usual, shorter = Silence(90.0, 10.0), Silence(80.0, 5.0)
    seen = outage.of(trial(counts(silences=(after, event, usual, shorter))))
    assert outage.meanwhile(seen, 100.02, 100.08) == event
    assert outage.meanwhile(seen, 100.11, 100.12) is None
    assert outage.resolution_ms(seen, event) == 10.0
    assert outage.resolution_ms(seen, shorter) == seen[0].spacing_ms == 0.5


def migration(*directions: DirectionCounts) -> Migration:
    """The guest stood still from 100.02 to 100.08, and is at place 1."""
    moved = Moved(
        guest=cast("Any", None),
        stack=cast("Any", None),
        statistics=Statistics("completed", total_ms=3400, downtime_ms=55, rounds=3),
        stopped_s=100.02,
        resumed_s=100.08,
    )
    made = trial(*directions)
    return Migration(moved, 1, outage.of(made), (MAC,), made)


def announced(link: int = 1, mac: str = MAC) -> DirectionCounts:
    return counts(announcements=(Announcement(100.2, link, mac),))


def test_a_good_migration_has_no_fault() -> None:
    assert migration(announced(), counts(1)).faults() == []


@pytest.mark.parametrize(
    ("direction", "fault"),
    [
        (counts(), f"{MAC} was not announced from where the guest is now"),
        (announced(link=0), f"{MAC} was not announced"),
        (announced(mac="00:11:22:33:44:55"), "announced were 00:11:22:33:44:55"),
        (replace(announced(), duplicated=2), "port 0: 2 frames came back twice"),
        (replace(announced(), corrupted=1), "1 frames came back changed"),
        (
            replace(announced(), silences=(Silence(100.0, 10.0),)),
            r"no silence longer than 9.5 ms, though QEMU says that .* for 60.0 ms",
        ),
    ],
)
def test_what_a_migration_must_not_do(direction: DirectionCounts, fault: str) -> None:
    (found,) = migration(direction).faults()
    assert re.search(fault, found)


def test_where_a_silence_longer_than_qemus_came_from() -> None:
    found = migration(announced(), counts(1))
    assert found.difference.startswith(
        "20.0 ms before QEMU stopped the guest, 60.0 ms until it ran again, 20.0 ms until"
    )
    told = found.account
    assert told["no frame for"] == "99.0 ms and 99.0 ms"
    assert told["QEMU's downtime"] == "55 ms"
    assert told["resolution"] == (
        "1 ms between two frames; up to 10.0 ms without one before the guest was stopped"
    )
    assert told["beside QEMU's downtime"] == "+44.0 ms: they differ"
    assert told["QEMU's events"] == "60.0 ms from STOP to RESUME"


@pytest.mark.parametrize(
    ("length_ms", "told"),
    [
        (65.9, "+9.9 ms: they agree"),
        (67.0, "+11.0 ms: they differ"),
        (46.0, "-10.0 ms: they agree"),
    ],
)
def test_whether_the_generator_and_qemu_agree(length_ms: float, told: str) -> None:
    """As far as is usual where the frames go: 10 ms."""
    silences = (Silence(100.0, length_ms), Silence(90.0, 10.0))
    found = migration(counts(silences=silences), counts(1, silences=silences))
    assert found.account["beside QEMU's downtime"] == told


def test_a_silence_at_another_time_is_not_taken_for_it() -> None:
    elsewhere = counts(silences=(Silence(50.0, 1000.0),))
    assert "busy with something else" in migration(elsewhere).difference


def test_the_facts_are_kept_with_the_trial() -> None:
    told = noted(trial(counts()), {"QEMU's downtime": "55 ms"})
    assert told.paths[0][0].facts == {"kept": "yes", "QEMU's downtime": "55 ms"}
    assert told.paths[1][0].facts == {}


def test_an_outage_is_held_against_the_labs_threshold() -> None:
    """The longest of any direction; a search has none."""
    moved = Measurement(1, "migration", (), (trial(counts(), counts(1)),))
    (met,) = verdict.check({"outage_ms": 100.0}, [moved], 1e6)
    assert met.met
    assert met.measured == pytest.approx(99.0)
    (missed,) = verdict.check({"outage_ms": 50.0}, [moved], 1e6)
    assert missed.message.startswith(
        "outage 99.0 ms: 49.0 ms (98.0 %) above the threshold of 50.0 ms"
    )
    (none,) = verdict.check({"outage_ms": 50.0}, [], 1e6)
    assert none.message == "no outage: no guest was moved; the threshold is 50.0 ms"


def test_silences_of_a_step() -> None:
    silences = (Silence(1.0, 1000.0), Silence(5.0, 200.0))
    assert outage.longest(silences, 1.5, 1.6) == 1000.0
    assert outage.longest(silences, 1.9, 6.0) == 1000.0
    assert outage.longest(silences, 4.0, 6.0) == pytest.approx(200.0)
    assert outage.longest(silences, 3.0, 4.0) == 0.0


# --- books --------------------------------------------------------------------------------


class Dut:
    """Two ports; `left` frames of 1000 come out of each, announcements among them."""

    name = "dut"
    variant: Mapping[str, str] = {}
    ports = (MemifPort("memif0", "", 1e10), MemifPort("memif1", "", 1e10))

    def __init__(self, left: int = 1000) -> None:
        self.left = left
        self.dead = ""

    def snapshot(self) -> object:
        return None

    def road(self, tx_port: int, before: object, after: object, *, announced: int) -> Sequence[Hop]:
        del tx_port, before, after
        left = self.left - announced
        return [Hop("dut", 1000, left, {"dropped": 1000 - left})]

    def links(self, before: object, after: object) -> Sequence[tuple[Hop, Hop]]:
        del before, after
        return [
            (Hop("one in", 1000, 700, {"dropped": 300}), Hop("one out", 700, 700)),
            (Hop("two in", 1000, 400, {"dropped": 600}), Hop("two out", 400, 400)),
        ]

    def check_alive(self) -> None:
        if self.dead:
            raise DutError(f"{self.dead} is gone")


def test_announcements_are_in_the_books() -> None:
    """One frame more came out than went in, and it is known which."""
    dut = cast("Any", Dut(left=1001))
    one = counts(foreign=1, announcements=(Announcement(1.0, 1, MAC),))
    books.check(outage.moving(dut)([one], None, None))
    with pytest.raises(BooksError):
        books.check(outage.moving(dut)([counts(foreign=1)], None, None))


def test_each_link_has_books_of_its_own() -> None:
    audit = outage.by_link(cast("Any", Dut()))
    books.check(audit([counts(duplicated=100)], None, None))
    with pytest.raises(BooksError, match="links -> generator"):
        books.check(audit([counts(duplicated=101)], None, None))


# --- a trial around an event --------------------------------------------------------------


class Sender:
    """A generator that notes what it is told."""

    description = "a sender"
    simulated = False
    capabilities = Capabilities()

    def __init__(self, result: Sequence[DirectionCounts] = (), *, early: bool = False) -> None:
        self.told: list[str] = []
        self._result = result
        self._over = early

    def start(self, offer: Offer) -> None:
        assert offer.duration_s == outage.LONGEST_S
        self.told.append("start")

    def finish(self) -> None:
        self._over = True
        self.told.append("finish")

    def poll(self, timeout_s: float) -> Sequence[DirectionCounts] | None:
        del timeout_s
        return self._result if self._over else None

    def recount(self) -> Sequence[DirectionCounts]:
        return self._result

    def abort(self) -> None:
        self.told.append("abort")

    def exchange(
        self, frames: Mapping[int, Sequence[bytes]], *, wait_s: float
    ) -> Mapping[int, list[bytes]]:
        del frames, wait_s
        return {}


def during(dut: Dut, sender: Generator, event: Callable[[Callable[[], None]], str]) -> Trial:
    topology = cast("Any", dut)
    happened, made = outage.during(
        topology,
        sender,
        event,
        audit=outage.moving(topology),
        rate_pps=2000,
        frame_bytes=64,
        after_s=0.1,
    )
    assert happened == "done"
    return made


def test_a_trial_ends_with_its_event() -> None:
    sender = Sender([counts(), counts(1)])
    made = during(Dut(), sender, lambda watch: "done")
    assert sender.told == ["start", "finish"]
    assert made.received == 2000
    assert [path[1].name for path in made.paths] == ["dut", "dut"]


def test_a_program_that_dies_meanwhile_is_named() -> None:
    dut, sender = Dut(), Sender([counts()])

    def event(watch: Callable[[], None]) -> str:
        dut.dead = "QEMU"
        while True:
            watch()

    with pytest.raises(DutError, match="QEMU is gone"):
        during(dut, sender, event)
    assert sender.told == ["start", "abort"]


def test_a_generator_that_ends_early_is_an_error() -> None:
    with pytest.raises(HostError, match="a sender ended its trial before the event did"):
        during(Dut(), Sender([counts()], early=True), lambda watch: "done")


def test_a_generator_that_cannot_end_early_is_refused() -> None:
    class Plain:
        description = "a plain one"

    sender = cast("Any", Plain())
    with pytest.raises(InputError, match="a plain one cannot end a trial"):
        during(Dut(), sender, lambda watch: "done")
