"""What a person may call a side, and what is taken for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.results import run_directory, schema
from pytest_vswitch.results.compare.sides import Where, find
from tests import records
from tests.results.compare.histories import CASES, Histories, environment, nights, steady

NEW = environment("DPDK 24.11.1")


@pytest.fixture
def where(tmp_path: Path) -> Where:
    """Five nights with 22.11.7, then five with 24.11.1."""
    history = Histories([*nights(rates=steady()), *nights(rates=steady(), first=6, where=NEW)])
    return Where(history=history, reports=tmp_path)


def history(where: Where) -> Histories:
    assert isinstance(where.history, Histories)
    return where.history


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("latest", [10]),
        ("night-003", [3]),
        ("night-003, night-001,night-003", [1, 3]),
        ("22.11", [1, 2, 3, 4, 5]),
        ("v22.11.7", [1, 2, 3, 4, 5]),
        ("dpdk=24.11", [6, 7, 8, 9, 10]),
        ("qemu=7.2", [*range(1, 11)]),
        ("22.11,latest", [1, 2, 3, 4, 5, 10]),
    ],
)
def test_names(where: Where, name: str, runs: list[int]) -> None:
    assert find(name, where).runs == tuple(f"night-{night:03}" for night in runs)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("22.1", "nothing was measured with `22.1`.* of host dpdk the versions DPDK 22.11.7, DPDK"),
        ("2.11", "nothing was measured"),
        ("qemu=8", "of qemu the versions QEMU 7.2.11"),
        ("yesterday", "no run and no version `yesterday`; .* night-009, night-010 and 6 older"),
        (" , ", "empty name"),
        ("", "empty name"),
        ("dpdk=", "nothing was measured"),
    ],
)
def test_a_name_of_nothing(where: Where, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find(name, where)


def test_no_run_at_all(tmp_path: Path) -> None:
    for name in ("latest", "22.11"):
        with pytest.raises(InputError, match="no run is kept; `pytest suites/pvp --dut LAB`"):
            find(name, Where(history=Histories(), reports=tmp_path))


def test_two_versions_of_one_run_are_two_sides(where: Where) -> None:
    """Interleaved: each sample says which it is of, whatever the programs call themselves."""
    for version, rate in (("lts", 1e6), ("new", 2e6)):
        both = nights(rates=steady(rate), count=1, first=11, versions={"dpdk": version})
        history(where).all += both
    sides = [find(f"dpdk={version}", where) for version in ("lts", "new")]
    assert [side.runs for side in sides] == [("night-011",)] * 2
    assert all(sample.value < 1.5e6 for sample in sides[0].samples)
    assert all(sample.value > 1.5e6 for sample in sides[1].samples)


def test_a_name_goes_before_what_programs_call_themselves(where: Where) -> None:
    """A changed 24.11 that a run names `slow` is not the one that it names `24.11`."""
    for version, rate in (("24.11", 1e6), ("slow", 2e6)):
        both = nights(rates=steady(rate), count=1, first=11, versions={"dpdk": version}, where=NEW)
        history(where).all += both
    side = find("dpdk=24.11", where)
    assert side.runs == ("night-011",)
    assert all(sample.value < 1.5e6 for sample in side.samples)


def test_a_version_is_its_newest_runs(where: Where) -> None:
    few = replace(where, runs_of_a_version=2)
    side = find("22.11", few)
    assert side.runs == ("night-004", "night-005")
    assert side.left_out == ("22.11: the newest 2 of 5 runs",)


def test_a_version_is_of_one_machine_and_one_lab(where: Where) -> None:
    """That of its newest run; older runs on another kernel are told, and left out."""
    renewed = environment(kernel="6.1.0-40-amd64")
    history(where).all += nights(rates=steady(), count=3, first=11, where=renewed)
    history(where).all += nights(rates=steady(), count=1, first=2, lab="other", run="elsewhere")
    side = find("22.11", where)
    assert side.runs == ("night-011", "night-012", "night-013")
    assert side.left_out == ("22.11: without 5 older runs, made when the machine was another",)
    assert find("22.11", replace(where, lab="other")).runs == ("elsewhere",)


def test_what_is_read_does_not_grow_with_the_history(where: Where) -> None:
    history(where).all += nights(rates=steady(), count=300, first=11)
    find("22.11", where)
    assert all(0 < len(selection.runs) <= 20 for selection in history(where).asked)


def test_a_run_that_is_no_part_of_the_history(where: Where, tmp_path: Path) -> None:
    run = run_directory.create(tmp_path / "elsewhere", records.RUN.id)
    schema.dump(records.record(), run.results)
    for name in (str(run.path), str(run.results)):
        side = find(name, where)
        assert side.runs == (records.RUN.id,)
        assert {sample.metric for sample in side.samples} == {"NDR", "PDR", "latency p99 at NDR"}


def test_the_run_under_way_is_no_side(where: Where) -> None:
    assert find("latest", replace(where, but="night-010")).runs == ("night-009",)


def test_what_is_wanted_of_a_side(where: Where) -> None:
    assert {s.case for s in find("latest", replace(where, cases="*=64")).samples} == {
        CASES[0],
        CASES[2],
    }
    with pytest.raises(InputError, match=r"its cases are pvp:frame_bytes=64, .* its metrics NDR"):
        find("latest", replace(where, metrics=("PDR",)))
