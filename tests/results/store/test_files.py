"""Results out of a store into files, and back."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.results import schema
from pytest_vswitch.results.sample import Sample, samples
from pytest_vswitch.results.store import export, importing, open_store, partitions
from pytest_vswitch.results.store.history import Selection
from pytest_vswitch.results.store.sql import SqlStore
from tests.records import record
from tests.results.store.made import FIRST_S, NEW, NIGHT_S, SAMPLE, in_order, night, nights
from tests.results.store.test_contract import hostile

ENDINGS = (".jsonl", ".csv", ".parquet")


def all_of(store: SqlStore) -> list[Sample]:
    return in_order(list(store.samples(Selection())))


@pytest.fixture
def full(tmp_path: Path) -> SqlStore:
    store = SqlStore(str(tmp_path / "full.sqlite"))
    store.add([*nights(3), *night(3, environment=NEW, lab="lab2"), *hostile()])
    return store


@pytest.fixture
def empty(tmp_path: Path) -> SqlStore:
    return SqlStore(str(tmp_path / "empty.sqlite"))


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_exported_is_imported_once(
    full: SqlStore, empty: SqlStore, tmp_path: Path, ending: str
) -> None:
    file = tmp_path / f"results{ending}"
    count = export.write(file, full)
    assert count == len(all_of(full))
    assert importing.add(empty, file)[1] == count
    assert all_of(empty) == all_of(full)
    assert importing.add(empty, file)[1] == 0
    assert importing.add(full, file)[1] == 0
    again = tmp_path / f"again{ending}"
    export.write(again, empty)
    if ending != ".parquet":
        assert again.read_bytes() == file.read_bytes()


@pytest.mark.parametrize("ending", ENDINGS)
def test_one_lab_can_be_exported_and_none_at_all(
    full: SqlStore, empty: SqlStore, tmp_path: Path, ending: str
) -> None:
    file = tmp_path / f"results{ending}"
    assert export.write(file, empty) == 0
    assert importing.add(empty, file)[1] == 0
    assert export.write(file, full, ["lab2"]) == 6
    assert importing.add(empty, file)[1] == 6
    assert all_of(empty) == in_order(night(3, environment=NEW, lab="lab2"))


def test_csv_that_was_sorted_is_imported(full: SqlStore, empty: SqlStore, tmp_path: Path) -> None:
    file = tmp_path / "results.csv"
    export.write(file, full)
    with file.open(newline="") as text:
        head, *rows = csv.reader(text)
    with file.open("w", newline="") as text:
        csv.writer(text).writerows([head, *reversed(rows)])
    importing.add(empty, file)
    assert all_of(empty) == all_of(full)


def test_json_lines_are_readable_by_jq_and_joined_by_cat(
    full: SqlStore, empty: SqlStore, tmp_path: Path
) -> None:
    file = tmp_path / "results.jsonl"
    export.write(file, full)
    twice = tmp_path / "twice.jsonl"
    twice.write_bytes(file.read_bytes() * 2)
    importing.add(empty, twice)
    assert all_of(empty) == all_of(full)
    for line in file.read_text().splitlines():
        assert isinstance(json.loads(line), dict)


def test_partitions_are_by_lab_and_month_and_are_written_again(
    full: SqlStore, empty: SqlStore, tmp_path: Path
) -> None:
    full.add([replace(SAMPLE, run="later", at_s=FIRST_S + 60 * NIGHT_S)])
    lake = tmp_path / "lake"
    partitions.write(lake, full, ["lab1"])
    there = sorted(str(path.relative_to(lake)) for path in lake.rglob("*.parquet"))
    assert there == [
        "lab=lab1/month=2023-11/results.parquet",
        "lab=lab1/month=2024-01/results.parquet",
    ]
    # Another store adds to it, and takes nothing away.
    empty.add([replace(SAMPLE, run="of another", at_s=FIRST_S + 1), *night(0)])
    for _ in range(2):
        partitions.write(lake, empty)
        partitions.write(lake, full, ["lab1"])
        with open_store(f"parquet:{lake}") as history:
            assert [one.run for one in history.runs()] == [
                "night-0000", "of another", "night-0001", "night-0002", "later",
            ]  # fmt: skip
    fresh = SqlStore(str(tmp_path / "fresh.sqlite"))
    assert importing.add(fresh, lake) == ("partitioned Parquet", 20)
    assert not list(lake.rglob(".*"))


def test_a_results_json_is_imported(empty: SqlStore, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    schema.dump(record(), file)
    assert importing.add(empty, file)[1] == len(list(samples(record())))


def test_a_results_json_without_a_time_is_told(empty: SqlStore, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    whole = record()
    schema.dump(replace(whole, run=replace(whole.run, started="yesterday")), file)
    with pytest.raises(InputError, match=r"results.json: `started`: Invalid isoformat"):
        importing.add(empty, file)


def test_an_ending_that_says_nothing_is_told(full: SqlStore, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.jsonl, \.csv or \.parquet"):
        export.write(tmp_path / "results.txt", full)


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_export_that_cannot_be_written_is_told_and_leaves_nothing(
    full: SqlStore, tmp_path: Path, ending: str
) -> None:
    with pytest.raises(HostError, match=f"cannot write .*results{ending}"):
        export.write(tmp_path / f"none/results{ending}", full)
    with pytest.raises(HostError, match="cannot"):
        partitions.write(tmp_path / "full.sqlite", full)


def line(**change: object) -> bytes:
    """JSON lines with one result, but for this."""
    values = {
        "run": "r",
        "lab": "l",
        "at_s": 1e9,
        "order": 0,
        "suite": "pvp",
        "case": "pvp:",
        "metric": "NDR",
        "unit": "frames/s",
        "better": "more",
        "value": 1.0,
        "environment": "e",
        **change,
    }
    head = (
        '{"format": "pytest-vswitch results", "version": 1}\n'
        '{"defines": "e", "machine": {}, "software": {}, "setup": {}}\n'
    )
    return f"{head}{json.dumps(values)}\n".encode()


def csv_of(**change: str) -> bytes:
    values = {
        "run": "r",
        "lab": "l",
        "at_s": "1e9",
        "order": "0",
        "suite": "pvp",
        "case": "pvp:",
        "metric": "NDR",
        "unit": "frames/s",
        "better": "more",
        "value": "1.0",
        "low": "",
        "high": "",
        "censored": "false",
        "lossy_hop": "",
        "simulated": "false",
        "versions": "{}",
        "environment": "e",
        "machine": "{}",
        "software": "{}",
        "setup": "{}",
        **change,
    }
    return f"{','.join(values)}\n{','.join(values.values())}\n".encode()


def test_the_templates_of_the_next_test_are_right(empty: SqlStore, tmp_path: Path) -> None:
    for number, content in enumerate((line(), csv_of(run="s"))):
        file = tmp_path / str(number)
        file.write_bytes(content)
        assert importing.add(empty, file)[1] == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is none of"),
        (b"\0" * 100, "is none of"),
        (b"{", "is none of"),
        (b"[" * 200_000, "is none of"),
        (b'{"a": ' * 50_000, "is none of"),
        (b"[1, 2]", "is none of"),
        (b'{"a": 1}', r"is none of .* \['a'\]"),
        (b"run,lab\n1,2\n", "is none of"),
        (b"PAR1" + b"x" * 50, "damaged"),
        (b"PAR1", "damaged"),
        (line(value=float("nan")), ":3: .*not finite"),
        (line(low=float("-inf")), ":3: .*not finite"),
        (line(value=10**400), ":3: .*too large"),
        (line(value="1"), ":3: `value` should be a number, but is '1'"),
        (line(value=True), ":3: `value` should be a number"),
        (line(value=None), ":3: `value` should be a number"),
        (line(order=1.5), ":3: `order` should be a whole number"),
        (line(order=-1), ":3: .*order -1"),
        (line(at_s=1e300), ":3: .*no time"),
        (line(run=["<b>"]), ":3: `run` should be text"),
        (line(lossy_hop=1), ":3: `lossy_hop` should be text"),
        (line(better="most"), ":3: `better` should be `more` or `less`"),
        (line(censored=0), ":3: `censored` should be true or false"),
        (line(versions={"dpdk": 1}), ":3: `versions` should be an object of texts"),
        (line(versions=[]), ":3: `versions` should be an object of texts"),
        (line(environment="f"), ":3: its environment, 'f', stands in no line before it"),
        (line(environment={}), ":3: its environment, {}"),
        (line(extra="<script>"), ":3: has extra, which is no field"),
        (line(case="\ud800"), "not Unicode"),
        (line(case="\0"), "NUL"),
        (line(case="x" * 2000), "2000 bytes"),
        (line(case="x" * 5_000_000), ":3: is longer than"),
        (line() + b"[" * 200_000 + b"\n", ":4: is not JSON"),
        (line() + b"7\n", ":4: should be a JSON object"),
        (line() + b"\xff\xfe\n", ":4: is not JSON"),
        (line() + b'{"defines": "f", "machine": {"a": {}}}\n', ":4: `machine` should be"),
        (line().replace(b'"version": 1', b'"version": 2'), ":1: is of format .* version 2"),
        (line() + line(value=2.0), "other content|differs"),
        (csv_of(value="nan"), ":2: .*not finite"),
        (csv_of(value="much"), ":2: `value` should be a number, but is 'much'"),
        (csv_of(value=""), ":2: `value` should be a number"),
        (csv_of(order="1.0"), ":2: `order` should be a whole number"),
        (csv_of(simulated="maybe"), ":2: `simulated` should be true or false"),
        (csv_of(machine="[]"), ":2: `machine` should be an object of texts"),
        (csv_of(machine="{"), ":2: `machine` should be a JSON object"),
        (csv_of(machine=""), ":2: no row says what its environment is"),
        (csv_of(versions=""), ":2: `versions` should be a JSON object"),
        (csv_of() + b"1,2\n", ":3: has 2 fields, not 20"),
        (csv_of() + b"\xff\n", "is not CSV in UTF-8"),
        (csv_of() + b'"' + b"x" * 200_000 + b"\n", "is not CSV in UTF-8"),
        (csv_of().replace(b"lossy_hop", b"hop"), ":1: has no column lossy_hop"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else len(value),
)
def test_a_hostile_file_is_told_once_with_its_place_and_adds_nothing(
    settled: SqlStore, tmp_path: Path, content: bytes, told: str
) -> None:
    file = tmp_path / "results"
    file.write_bytes(content)
    with pytest.raises(InputError, match=told) as caught:
        importing.add(settled, file)
    assert str(caught.value).startswith(str(file))
    assert len(str(caught.value)) < 600
    assert all_of(settled) == in_order(night(0))


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> SqlStore:
    store = SqlStore(str(tmp_path_factory.mktemp("settled") / "store.sqlite"))
    store.add(night(0))
    return store


def test_parquet_of_other_columns_is_told(settled: SqlStore, tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    file = tmp_path / "results.parquet"
    parquet.write_table(pyarrow.table({"run": [1]}), file)
    with pytest.raises(InputError, match=r"results.parquet: has no column lab, at_s"):
        importing.add(settled, file)
    export.write(file, settled)
    wrong = parquet.read_table(file).set_column(9, "value", pyarrow.array(["1"] * 6))
    parquet.write_table(wrong, file)
    with pytest.raises(InputError, match=r"row 1: `value` should be a number, but is '1'"):
        importing.add(settled, file)


def test_what_is_no_file_is_told(settled: SqlStore, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: cannot be read: No such file"):
        importing.add(settled, tmp_path / "none")
    with pytest.raises(InputError, match="has no lab="):
        importing.add(settled, tmp_path)


def test_a_damaged_partition_is_told(full: SqlStore, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    partitions.write(lake, full, ["lab1"])
    (file,) = lake.rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:-100])
    with open_store(f"parquet:{lake}") as history, pytest.raises(HostError, match="parquet:"):
        history.runs()
    with pytest.raises(HostError, match="cannot be read, move it away"):
        partitions.write(lake, full)
