"""Every benchmark of RFC 2544 and of those that mend it, on any topology (`--topology NAME`).

RFC 2544 section 26, RFC 9004 (back-to-back), RFC 6201 (reset), RFC 2285 section 3.6.2
(forwarding rate at maximum offered load). Each figure comes with the interval in which the true
value lies.
"""

from __future__ import annotations

import pytest

from pytest_vswitch.fixtures import Measure, Threshold
from pytest_vswitch.results.certification import Wired


def test_frames_return_exactly(wired: Wired, measure: Measure, frame_bytes: int) -> None:
    """Steps: send a few hundred distinct frames into each port.

    Verify: each comes out of the other port once, every byte as the topology says.
    """
    measure.functional(wired, frame_bytes=frame_bytes)


def test_throughput(wired: Wired, measure: Measure, threshold: Threshold, frame_bytes: int) -> None:
    """Steps: search the no-drop and the partial drop rate, both directions at once (26.1).

    Verify: the counters of every hop reconcile in every trial; each threshold that the
    lab sets for this case is met.
    """
    threshold.check(measure.throughput(wired, frame_bytes=frame_bytes))


def test_latency(wired: Wired, measure: Measure, threshold: Threshold, frame_bytes: int) -> None:
    """Steps: offer 90, 50 and 10 % of the throughput, several times each; time every frame
    (26.2, RFC 8219 section 7.2, RFC 5481).

    Verify: frames come back at each load, books balance; each threshold of the lab for this
    case is met.
    """
    case, _ = measure.latency(wired, frame_bytes=frame_bytes)
    threshold.check(case)


def test_frame_loss(wired: Wired, measure: Measure, threshold: Threshold, frame_bytes: int) -> None:
    """Steps: offer the line rate, then less and less, until two trials in a row lose nothing
    (26.3).

    Verify: books balance at every load; each threshold of the lab for this case is met.
    """
    case, _ = measure.frame_loss(wired, frame_bytes=frame_bytes)
    threshold.check(case)


def test_back_to_back(
    wired: Wired, measure: Measure, threshold: Threshold, frame_bytes: int
) -> None:
    """Steps: search the longest burst that loses nothing, again and again (RFC 9004).

    Verify: there is one; each threshold of the lab for this case is met.
    """
    case, found = measure.back_to_back(wired, frame_bytes=frame_bytes)
    assert found.burst.least > 0, "even the shortest burst lost frames"
    threshold.check(case)


def test_system_recovery(
    wired: Wired, measure: Measure, threshold: Threshold, frame_bytes: int
) -> None:
    """Steps: offer 110 % of the throughput for a minute, then half of that (26.5).

    Verify: frames stop being lost; each threshold of the lab for this case is met.
    """
    case, found = measure.recovery(wired, frame_bytes=frame_bytes)
    assert found.recovered, "frames were still lost a minute after the overload"
    threshold.check(case)


def test_reset(wired: Wired, measure: Measure, threshold: Threshold, frame_bytes: int) -> None:
    """Steps: restart each component that can be, amid traffic at half the throughput (26.6,
    RFC 6201).

    Verify: frames pass again, each exactly; each threshold of the lab for this case is met.
    """
    components = measure.components(wired)
    if not components:
        pytest.skip(f"{wired.name} has no component that can be restarted alone")
    for component in components:
        case, _ = measure.reset(wired, component, frame_bytes=frame_bytes)
        measure.functional(wired, frame_bytes=frame_bytes)
        threshold.check(case)


def test_maximum_receive_rate(
    wired: Wired, measure: Measure, threshold: Threshold, frame_bytes: int
) -> None:
    """Steps: offer the line rate, several times (RFC 2285 section 3.6.2).

    Verify: books balance; each threshold of the lab for this case is met.
    """
    case, _ = measure.mrr(wired, frame_bytes=frame_bytes)
    threshold.check(case)


def test_soak(wired: Wired, measure: Measure, threshold: Threshold, frame_bytes: int) -> None:
    """Steps: offer 90 % of the throughput for as long as `--soak` says.

    Verify: books balance in every slice; each threshold of the lab for this case is met.
    """
    case, _ = measure.soak(wired, frame_bytes=frame_bytes)
    threshold.check(case)
