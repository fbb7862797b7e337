"""Planted drops are found, nothing else is; what does not compare is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.results.compare.comparison import Comparison, GroupBy, Row, compare
from pytest_vswitch.results.compare.environments import Difference, differences
from pytest_vswitch.results.compare.sides import Side
from pytest_vswitch.results.sample import Environment, Sample
from pytest_vswitch.results.statistics.pair import Options
from tests.results.compare.histories import CASES, MACHINE, SETUP, environment, nights, steady

NEW = environment("DPDK 24.11.1")


def before(**options: object) -> list[Sample]:
    return nights(rates=steady(), **options)  # type: ignore[arg-type]


def after(change: float = 0.0, case: str = CASES[0], **options: object) -> list[Sample]:
    """Nights with another DPDK, in which one case has changed."""
    rates = {**steady(), case: 1e6 * (1 + change)}
    options = {"where": NEW, "first": 11, "seed": 2, **options}
    return nights(rates=rates, **options)  # type: ignore[arg-type]


def held(one: Sequence[Sample], other: Sequence[Sample], **options: object) -> Comparison:
    sides = Side("A", tuple(one)), Side("B", tuple(other))
    return compare(*sides, Options(), **options)  # type: ignore[arg-type]


def row(comparison: Comparison, case: str = CASES[0]) -> Row:
    return next(row for row in comparison.rows if row.case == case)


def test_a_drop_is_worse_and_all_else_is_not() -> None:
    found = held(before(), after(-0.05))
    assert row(found).judgement.verdict == "worse"
    assert found.tally["worse"] == 1
    assert "better" not in found.tally
    low, high = row(found).judgement.low, row(found).judgement.high
    assert low is not None
    assert high is not None
    assert low < -0.05 < high < 0


def test_sides_swapped_are_mirrored() -> None:
    one, other = before(), after(-0.05)
    forth, back = held(one, other), held(other, one)
    assert row(back).judgement.verdict == "better"
    assert row(back).median_after == row(forth).median_before
    assert back.only_before == forth.only_after == ()


def test_without_a_change_nothing_is_called_one() -> None:
    assert not held(before(), after()).tally.keys() & {"worse", "better"}


def test_the_same_runs_on_both_sides() -> None:
    found = held(before(), before())
    assert not found.tally.keys() & {"worse", "better"}
    assert {one.judgement.change for one in found.rows} == {0.0}
    assert found.doubts == ("both sides have measurements of the same run in common",)
    assert found.differences == ()


def test_a_rise_of_a_delay_is_worse() -> None:
    def delays(samples: Sequence[Sample]) -> list[Sample]:
        return [replace(s, metric="latency p99 at NDR", unit="s", better="less") for s in samples]

    found = held(delays(before()), delays(after(0.05)))
    assert row(found).judgement.verdict == "worse"


def test_results_at_line_rate_on_both_sides_are_no_change() -> None:
    def full(samples: Sequence[Sample]) -> list[Sample]:
        return [replace(s, value=1.488e6, low=1.488e6, censored=True) for s in samples]

    assert not held(full(before()), full(after())).tally.keys() & {"worse", "better"}


def test_one_value_a_side_never_says_worse() -> None:
    found = held(before(count=1), after(-0.05, count=1))
    assert set(found.tally) == {"can't tell"}
    assert "a side is one run" in found.doubts[0]


def test_what_one_side_lacks_is_listed() -> None:
    less = [sample for sample in after() if sample.case != CASES[2]]
    assert held(before(), less).only_before == (f"{CASES[2]} NDR",)
    assert held(less, before()).only_after == (f"{CASES[2]} NDR",)
    with pytest.raises(InputError, match=r"no case in common; A has memif:.* and B has pvp:"):
        held([s for s in before() if s.suite == "memif"], [s for s in after() if s.suite == "pvp"])


@pytest.mark.parametrize(
    ("grouping", "names"),
    [
        ("suite", ["memif", "pvp"]),
        ("frame size", ["64 bytes", "1518 bytes"]),
        ("hop", ["guest testpmd: virtio0 -> virtio1"]),
    ],
)
def test_groups(grouping: GroupBy, names: list[str]) -> None:
    found = held(before(), after(-0.05), group_by=grouping)
    assert [group.name for group in found.groups] == names
    assert sum(sum(group.tally.values()) for group in found.groups) == len(CASES)
    worst = next(group for group in found.groups if "worse" in group.tally)
    assert worst.rows[0].judgement.verdict == "worse"


def test_the_hop_that_loses_frames_now_is_told_beside_the_one_before() -> None:
    found = row(held(before(), after(-0.05, lossy_hop="host testpmd: vhost1 -> memif1")))
    assert found.hop_before == "guest testpmd: virtio0 -> virtio1"
    assert found.hop_after == "host testpmd: vhost1 -> memif1"


def test_the_environments_are_told_apart_by_name() -> None:
    found = held(before(), after(versions={"dpdk": "24.11"}))
    assert found.differences == (
        Difference("software", "host dpdk", "DPDK 22.11.7", "DPDK 24.11.1"),
        Difference("asked for", "dpdk", "none", "24.11"),
    )


def test_of_long_facts_only_what_differs_is_told() -> None:
    flags = " ".join(f"flag{number}" for number in range(20))
    one = before(where=environment(**{"CPU flags": flags}))
    other = before(where=environment(**{"CPU flags": f"{flags} avx512f"}))
    (told,) = differences(one, other)
    assert (told.before, told.after) == ("… (no more)", "… avx512f")


def with_setup(name: str, value: str) -> Environment:
    return Environment(MACHINE, {"host dpdk": "DPDK 22.11.7"}, {**SETUP, name: value})


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"where": environment(**{"CPU model": "EPYC 9554"})},
            "the machines differ in CPU model: Xeon 6338N → EPYC 9554",
        ),
        ({"simulated": True}, "one side is simulated, the other is real"),
        (
            {"where": with_setup("traffic generator", "TRex v3.08 on bench")},
            "the traffic generators differ: pytest-vswitch memif → TRex "
            "(e.g. in pvp:frame_bytes=64)",
        ),
        (
            {"where": with_setup("accelerator", "kvm")},
            "the accelerators differ: tcg → kvm (e.g. in pvp:frame_bytes=64)",
        ),
    ],
)
def test_what_does_not_compare_is_refused_unless_anyway(
    options: dict[str, object], reason: str
) -> None:
    one, other = before(), after(**options)  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        held(one, other)
    assert f"- {reason}\n" in str(caught.value)
    assert "--anyway" in str(caught.value)
    found = held(one, other, anyway=True)
    assert found.despite == (reason,)
    assert len(found.rows) == len(CASES)


def test_another_version_of_the_generator_compares_and_is_told() -> None:
    newer = with_setup("traffic generator", "pytest-vswitch memif 0.2.0 on CPU 1")
    found = held(before(), before(where=newer, first=11, seed=2))
    assert ("setup", "traffic generator") in {(d.part, d.name) for d in found.differences}


def test_a_side_of_several_machines_is_refused() -> None:
    mixed = [*before(), *after(where=environment(kernel="6.12"), lab="other")]
    with pytest.raises(InputError, match=r"the first side is of several machines \(labs: bench"):
        held(mixed, after(first=21))
