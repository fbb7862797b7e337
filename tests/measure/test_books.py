"""The books: a direction's full path, and what an imbalance looks like to its reader."""

from __future__ import annotations

import pytest

from pytest_vswitch.errors import BooksError
from pytest_vswitch.measure import books
from pytest_vswitch.topologies.topology import Hop
from pytest_vswitch.traffic.generator import DirectionCounts


def counts(
    received: int = 85, duplicated: int = 0, corrupted: int = 0, foreign: int = 0
) -> DirectionCounts:
    return DirectionCounts(
        tx_port=0,
        rx_port=1,
        intended=100,
        sent=100,
        refused=10,
        received=received,
        duplicated=duplicated,
        reordered=0,
        corrupted=corrupted,
        foreign=foreign,
    )


INNER = (Hop("in -> out", 90, 85, {"rx missed": 5}),)


def test_full_path_has_the_generators_edges() -> None:
    path = books.full_path(counts(), INNER, "memif0", "memif1")
    assert path == (
        Hop("generator -> memif0", 100, 90, {"ring full": 10}),
        *INNER,
        Hop("memif1 -> generator", 85, 85),
    )
    books.check([path])
    assert books.balanced([path])


def test_all_that_arrives_counts_at_the_last_edge() -> None:
    direction = counts(received=80, duplicated=1, corrupted=3, foreign=1)
    books.check([books.full_path(direction, INNER, "a", "b")])


def test_foreign_frames_that_the_dut_did_not_send_are_of_others_on_the_wire() -> None:
    path = books.full_path(counts(foreign=7), INNER, "a", "b")
    assert path[-1] == Hop("b -> generator", 85, 85)
    books.check([path])
    with pytest.raises(BooksError, match="2 more left than entered"):
        books.check([books.full_path(counts(received=87, foreign=7), INNER, "a", "b")])


def test_a_dut_without_hops_is_a_wire() -> None:
    books.check([books.full_path(counts(received=90), (), "a", "b")])


def broken(*hops: Hop) -> str:
    """The one line that is marked in the table of these inner hops."""
    good = books.full_path(counts(), INNER, "a", "b")
    path = books.full_path(counts(), hops, "a", "b")
    with pytest.raises(BooksError) as error:
        books.check([good, path])
    assert not books.balanced([good, path])
    lines = str(error.value).splitlines()
    assert len(lines) == 2 + len(good) + len(path)
    (marked,) = [line for line in lines if line.lstrip().startswith(">>")]
    return marked


def test_unexplained_loss_inside() -> None:
    marked = broken(Hop("first", 90, 90), Hop("second", 90, 85, {"rx missed": 2}))
    assert "second" in marked
    assert "5 lost, 2 of them accounted for" in marked


def test_frames_that_vanish_between_hops() -> None:
    marked = broken(Hop("first", 90, 90), Hop("second", 85, 85))
    assert "second" in marked
    assert "90 left the hop before, 85 entered here" in marked


def test_frames_that_vanish_on_the_way_back() -> None:
    marked = broken(Hop("only", 90, 90))
    assert "b -> generator" in marked
    assert "5 lost, 0 of them accounted for" in marked


def test_more_frames_than_entered_are_wrong_even_if_the_sum_is_right() -> None:
    marked = broken(Hop("first", 90, 95, {"reset": -5}), Hop("second", 95, 85, {"full": 10}))
    assert "first" in marked
    assert "a counter ran backwards" in marked


def test_more_left_than_entered() -> None:
    marked = broken(Hop("first", 90, 91), Hop("second", 91, 85, {"full": 6}))
    assert "1 more left than entered" in marked
