"""From what the server counts to the counts of a direction."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.traffic.generator import DirectionCounts
from pytest_vswitch.traffic.trex.counting import PortCounters, by_ports, direction, without


def both(sent: Sequence[int], back: Sequence[int]) -> list[DirectionCounts]:
    return [
        direction(port, 1 - port, intended=1000, sent=sent[port], back=back[port])
        for port in range(2)
    ]


def test_each_port_has_the_frames_that_its_driver_did_not_take() -> None:
    """Not in proportion to what is missing: the DUT may lose more of one than of the other."""
    counted = PortCounters(dropped=30, left={0: 1000, 1: 970})
    first, second = without(counted, both([1000, 1000], [900, 960]), refused=True)
    assert (first.refused, second.refused) == (0, 30)
    assert (first.sent, second.sent) == (1000, 1000)
    first, second = without(counted, both([1000, 1000], [900, 960]), refused=False)
    assert (first.sent, second.sent) == (1000, 970)


def test_where_others_frames_leave_too_they_are_divided() -> None:
    """A card's driver counts what the card's owner sends besides: ARP, LLDP."""
    counted = PortCounters(dropped=28, left={0: 1003, 1: 975})
    counts = without(counted, both([1000, 1000], [900, 960]), refused=True)
    assert [c.refused for c in counts] == [20, 8]


def test_nothing_refused_is_nothing_changed() -> None:
    counts = both([1000, 1000], [900, 960])
    assert without(PortCounters(left={0: 1000, 1: 1000}), counts, refused=True) == counts


def test_what_is_sent_beyond_what_was_due_was_due() -> None:
    """Streams that are stopped, or endless, end between two frames."""
    counts = direction(0, 1, intended=1000, sent=1003, back=1003)
    assert (counts.intended, counts.sent, counts.lost) == (1003, 1003, 0)


@pytest.mark.parametrize(
    ("left", "dropped", "sent", "refused"),
    [
        ((1000, 500), 0, (1000, 500), (0, 0)),
        ((990, 460), 50, (1000, 500), (10, 40)),
        ((600, 300), 50, (633, 317), (33, 17)),  # stopped early
    ],
)
def test_counted_by_ports(
    left: tuple[int, int], dropped: int, sent: tuple[int, int], refused: tuple[int, int]
) -> None:
    counters = PortCounters(dropped, dict(enumerate(left)), {0: left[1] - 7, 1: left[0]})
    counts = by_ports([(0, 1), (1, 0)], [1000, 500], [1000, 500], counters)
    assert tuple(c.sent for c in counts) == sent
    assert tuple(c.refused for c in counts) == refused
    assert [c.lost - c.refused for c in counts] == [0, 7]
    assert [c.latency for c in counts] == [None, None]


def test_what_trex_answers_itself_is_no_frame_of_ours() -> None:
    """Measured: v3.08 answers ARP requests for 0.0.0.0 that come to a port."""
    counters = PortCounters(0, {0: 1000, 1: 1003}, {0: 1003, 1: 1000})
    with pytest.raises(HostError, match="3 frames more left its port 1 than were asked for"):
        by_ports([(0, 1), (1, 0)], [1000, 1000], [1000, 1000], counters)


def test_counters_are_of_one_trial() -> None:
    before = PortCounters(5, {0: 10, 1: 20}, {0: 1, 1: 2})
    now = PortCounters(7, {0: 15, 1: 20}, {0: 4, 1: 2})
    assert now - before == PortCounters(2, {0: 5, 1: 0}, {0: 3, 1: 0})
