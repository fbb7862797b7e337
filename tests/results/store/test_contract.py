"""What every store does, whatever keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.results.sample import Sample
from pytest_vswitch.results.store import open_store, partitions
from pytest_vswitch.results.store.history import History, Selection
from pytest_vswitch.results.store.sql import SqlStore
from tests.results.store.made import FIRST_S, NEW, NIGHT_S, SAMPLE, in_order, night, nights


def told(history: History, **wanted: object) -> list[Sample]:
    return in_order(list(history.samples(Selection(**wanted))))  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "parquet"])
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> History:
    """A history of two labs, three nights each, the last with another DPDK."""
    samples = [*night(0), *night(1), *night(2, environment=NEW)]
    samples += [replace(one, lab="lab2", at_s=one.at_s + 1) for one in samples]
    samples += [replace(SAMPLE, run="a simulation", at_s=FIRST_S + 10 * NIGHT_S, simulated=True)]
    return _made(request, tmp_path_factory.mktemp("kept"), samples)


def _made(request: pytest.FixtureRequest, tmp_path: Path, samples: Iterable[Sample]) -> History:
    if request.param == "postgresql":
        place = request.getfixturevalue("server").new_database()
    else:
        place = str(tmp_path / "store.sqlite")
    store = open_store(place)
    request.addfinalizer(store.close)
    assert isinstance(store, SqlStore)
    store.add(samples)
    if request.param != "parquet":
        return store
    partitions.write(tmp_path / "lake", store)
    read = open_store(f"parquet:{tmp_path}/lake")
    request.addfinalizer(read.close)
    return read


def test_runs_are_told_oldest_first(kept: History) -> None:
    runs = kept.runs()
    assert [(one.run, one.lab) for one in runs] == [
        ("night-0000", "lab1"),
        ("night-0000", "lab2"),
        ("night-0001", "lab1"),
        ("night-0001", "lab2"),
        ("night-0002", "lab1"),
        ("night-0002", "lab2"),
        ("a simulation", "lab1"),
    ]
    assert [one.samples for one in runs] == [6] * 6 + [1]
    assert [one.simulated for one in runs] == [False] * 6 + [True]
    assert runs[0].at_s == FIRST_S
    assert runs[0].software["host dpdk"] == "DPDK 22.11.5"
    assert runs[4].software["host dpdk"] == "DPDK 24.11.1"
    assert kept.runs("lab2") == [one for one in runs if one.lab == "lab2"]


def test_samples_come_back_as_they_were_and_in_order(kept: History) -> None:
    found = list(kept.samples(Selection()))
    assert found == in_order(found)
    assert [one for one in found if one.lab == "lab1"][:6] == in_order(night(0))
    assert len(found) == 37
    assert found[-1].simulated
    assert type(found[0].censored) is bool


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ({"labs": ("lab2",)}, 18),
        ({"runs": ("night-0001",)}, 12),
        ({"runs": ("night-0001", "night-0002"), "labs": ("lab1",)}, 12),
        ({"cases": ("pvp:frame_bytes=128",)}, 12),
        ({"cases": ("pvp:frame_bytes=128", "pvp:frame_bytes=192"), "metrics": ("NDR",)}, 12),
        ({"metrics": ("NDR",)}, 19),
        ({"since_s": FIRST_S + NIGHT_S}, 25),
        ({"until_s": FIRST_S + NIGHT_S}, 12),
        ({"since_s": FIRST_S + 1, "until_s": FIRST_S + 1.5}, 6),
        ({"simulated": True}, 1),
        ({"simulated": False}, 36),
        ({"cases": ("of nowhere",)}, 0),
        ({"runs": ("of nowhere",)}, 0),
        ({"labs": ("lab1'; DROP TABLE run; --",)}, 0),
    ],
)
def test_a_selection_gives_what_it_says(
    kept: History, wanted: dict[str, object], count: int
) -> None:
    found = told(kept, **wanted)
    assert len(found) == count

    def holds(one: Sample) -> bool:
        since, until = (wanted.get(name) for name in ("since_s", "until_s"))
        return all(
            (
                one.lab in wanted.get("labs", (one.lab,)),  # type: ignore[operator]
                one.run in wanted.get("runs", (one.run,)),  # type: ignore[operator]
                one.case in wanted.get("cases", (one.case,)),  # type: ignore[operator]
                one.metric in wanted.get("metrics", (one.metric,)),  # type: ignore[operator]
                since is None or one.at_s >= since,  # type: ignore[operator]
                until is None or one.at_s < until,  # type: ignore[operator]
                one.simulated == wanted.get("simulated", one.simulated),
            )
        )

    assert found == [one for one in told(kept) if holds(one)]


@pytest.fixture(scope="module")
def settled(new_place: Callable[[], str]) -> Iterator[SqlStore]:
    """For tests that must not change it."""
    with SqlStore(new_place()) as store:
        store.add([*night(1), SAMPLE])
        yield store


def test_adding_again_adds_nothing(store: SqlStore) -> None:
    assert store.add(nights(3)) == 18
    assert store.add(nights(3)) == 0
    assert store.add(reversed(list(nights(4)))) == 6
    assert store.add([]) == 0
    assert told(store) == in_order(list(nights(4)))
    assert [one.samples for one in store.runs()] == [6] * 4


def test_a_run_that_grew_is_completed(store: SqlStore) -> None:
    whole = night(0)
    assert store.add(whole[:3]) == 3
    assert store.add(whole) == 3
    assert told(store) == in_order(whole)
    assert store.runs()[0].samples == 6
    # Its digest is that of the whole, too: a run that is there is not read again.
    assert store.add(whole) == 0
    assert store.add(whole[:2]) == 0


def test_the_order_that_samples_come_in_does_not_matter(store: SqlStore) -> None:
    by_case = sorted(nights(5), key=lambda one: (one.case, one.metric))
    assert store.add(by_case) == 30
    assert store.add(nights(5)) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"value": 999_999.0},
        {"at_s": FIRST_S + 1},
        {"case": "pvp:frame_bytes=9000"},
        {"case": "pvp:frame_bytes=9000", "metric": "PDR"},
        {"environment": NEW},
        {"simulated": True},
        {"lossy_hop": "elsewhere"},
        {"versions": {}},
        {"high": None},
    ],
)
def test_a_run_of_other_content_is_refused(settled: SqlStore, change: dict[str, object]) -> None:
    before = told(settled)
    other = replace(SAMPLE, **change)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"{SAMPLE.run} of lab lab1 .* other content"):
        settled.add([*night(2), other])
    assert told(settled) == before


def test_two_different_measurements_in_one_place_are_refused(store: SqlStore) -> None:
    with pytest.raises(InputError, match="measurement 0, NDR"):
        store.add([SAMPLE, replace(SAMPLE, value=2.0, low=None)])
    assert store.runs() == []


def test_two_labs_may_have_runs_of_one_id(store: SqlStore) -> None:
    store.add([SAMPLE, replace(SAMPLE, lab="lab2", value=1.0, low=None)])
    assert len(store.runs()) == 2


def test_numbers_are_kept_exactly(store: SqlStore) -> None:
    odd = [0.1 + 0.2, -0.0, 5e-324, 1.7976931348623157e308, 2**53 + 2.0, 3]
    made = [
        replace(SAMPLE, order=order, value=value, low=value, high=None)
        for order, value in enumerate(odd)
    ]
    store.add(made)
    # SQLite keeps no sign of a zero.
    expected = [repr(float(value) + 0.0) for value in odd]
    assert [repr(one.value + 0.0) for one in told(store)] == expected
    assert store.add(made) == 0


NASTY = (
    "<script>alert(1)</script>",
    "'; DROP TABLE sample; --",
    "../../etc/passwd",
    "a/b=c",
    "%2F%00",
    "ö \u2028 \U0001f600 \u202e",
    "line\nbreak\ttab\r",
    '"quoted", commas',
    " ",
    "",
    "*?[a]{b}",
    "__HIVE_DEFAULT_PARTITION__",
    "NULL",
    ".",
)


def hostile() -> list[Sample]:
    return [
        replace(
            SAMPLE,
            run=f"{number}{name}",
            lab=name,
            suite=name,
            case=name,
            metric=name,
            unit=name,
            lossy_hop=name,
            versions={name: name},
            environment=replace(SAMPLE.environment, setup={name: name}),
        )
        for number, name in enumerate(NASTY)
    ]


def check_hostile(history: History) -> None:
    assert told(history) == in_order(hostile())
    for name in NASTY:
        assert [one.lab for one in told(history, labs=(name,))] == [name]
        assert [one.lab for one in history.runs(name)] == [name]


def test_hostile_names_come_back_unharmed(store: SqlStore) -> None:
    store.add(hostile())
    check_hostile(store)


def test_hostile_names_come_back_from_partitions(tmp_path: Path) -> None:
    with SqlStore(f"{tmp_path}/store.sqlite") as store:
        store.add(hostile())
        partitions.write(tmp_path / "lake", store)
    assert {path.name for path in tmp_path.iterdir()} == {"lake", "store.sqlite"}
    with open_store(f"parquet:{tmp_path}/lake") as history:
        check_hostile(history)


@pytest.mark.parametrize(
    ("change", "told_as"),
    [
        ({"value": float("nan")}, "not finite"),
        ({"low": float("-inf")}, "not finite"),
        ({"at_s": float("inf")}, "not finite"),
        ({"at_s": -1.0}, "no time of a run"),
        ({"at_s": 1e15}, "no time of a run"),
        ({"order": -1}, "order -1"),
        ({"order": 2**31}, "order 2147483648"),
        ({"low": 2.0, "high": 1.0}, "lies above"),
        ({"case": "a\0b"}, "NUL"),
        ({"run": "\ud800"}, "not Unicode"),
        ({"lab": "x" * 1001}, "1001 bytes"),
        ({"lossy_hop": "ö" * 501}, "1002 bytes"),
        ({"versions": {"dpdk": "9" * 1001}}, "bytes"),
    ],
)
def test_what_no_database_keeps_is_refused(
    settled: SqlStore, change: dict[str, object], told_as: str
) -> None:
    before = told(settled)
    bad = replace(night(2)[0], **change)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=told_as):
        settled.add([*night(2)[2:], bad])
    assert told(settled) == before
