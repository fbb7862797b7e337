from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.results import schema
from tests.records import case, measurement, record

Edit = Callable[[Any], object]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / "results.json"
    schema.dump(record(case(measurements=[measurement(1), measurement(2)])), path)
    return path


def fault(path: Path) -> str:
    """The one message for a file that cannot be used."""
    with pytest.raises(InputError) as caught:
        schema.load(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(f"{path}: ")


def test_what_is_written_is_read_back_equal(results: Path) -> None:
    loaded = schema.load(results)
    assert loaded == record(case(measurements=[measurement(1), measurement(2)]))
    assert list(loaded.cases[0].template)[-1] == "Result"
    assert [p.name for p in results.parent.iterdir()] == ["results.json"]


def test_packaged_json_schema_is_what_the_classes_generate() -> None:
    again = (
        "python -c 'from pytest_vswitch.results import schema; "
        "schema.SCHEMA_FILE.write_text(schema.json_schema_text())'"
    )
    assert schema.SCHEMA_FILE.read_text("utf-8") == schema.json_schema_text(), again


def test_json_schema_accepts_a_record_and_refuses_a_wrong_one(results: Path) -> None:
    definition = json.loads(schema.SCHEMA_FILE.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(definition)
    content = json.loads(results.read_text())
    jsonschema.validate(content, definition)
    content["cases"][0]["colour"] = "red"
    with pytest.raises(jsonschema.ValidationError, match="colour"):
        jsonschema.validate(content, definition)


def test_json_schema_describes_the_fields_with_their_units() -> None:
    properties = schema.json_schema()["$defs"]["GoalResult"]["properties"]
    assert "[frames/s]" in properties["lower_pps"]["description"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda r: r["cases"][0]["measurements"][1]["trials"][3]["directions"][0].update(
                sent="9"
            ),
            "cases[0].measurements[1].trials[3].directions[0].sent should be a valid integer, "
            'but is "9"',
        ),
        (lambda r: r["cases"][0].pop("nodes"), "cases[0].nodes is missing"),
        (
            lambda r: r["cases"][0].update(colour="red"),
            "cases[0].colour is not a field of this schema: remove it, or upgrade pytest-vswitch",
        ),
        (
            lambda r: r["cases"][0].update(verdict="good"),
            "cases[0].verdict should be 'passed', 'failed', 'measured', 'error' or 'incomplete', "
            'but is "good"',
        ),
        (
            lambda r: r["cases"][0]["parameters"].update(cores=[1]),
            "cases[0].parameters.cores should be a valid string, but is [1]",
        ),
        (
            lambda r: r.update(host=None, finished="yes"),
            "host should be an object, but is null (and 1 more fault)",
        ),
        (lambda r: r.pop("schema_version"), "is not a results file: it has no `schema_version`"),
        (
            lambda r: r.update(schema_version=2, novelty=1),
            "written by a newer pytest-vswitch (schema 2; this one reads up to 1): upgrade",
        ),
    ],
)
def test_one_message_says_where_and_what_would_be_right(
    results: Path, edit: Edit, message: str
) -> None:
    content = json.loads(results.read_text())
    edit(content)
    results.write_text(json.dumps(content))
    assert fault(results) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; `vswitch report RUN` writes it again"),
        (b" \n", "is empty; `vswitch report RUN` writes it again"),
        (b'{"schema_version": 1,', "ends in the middle, at line 1"),
        (b'{"schema_version": 1, "run": {"id": "2026', "ends in the middle, at line 1"),
        (b'{\n"a": 1 "b"}', "line 2, column 8: is not JSON"),
        (b"\x89PNG\r\n\x1a\n\xff", "is not text: a results file is JSON in UTF-8"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is not a results file"),
        (b'{"schema_version": true}', "is not a results file"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(content)
    assert fault(path).startswith(message)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    assert fault(tmp_path / "no.json") == "does not exist"
    assert fault(tmp_path) == "cannot be read: Is a directory"


def test_truncation_anywhere_is_one_clear_message(results: Path) -> None:
    whole = results.read_bytes()
    for length in range(0, len(whole) - 2, 997):
        results.write_bytes(whole[:length])
        assert "empty" in fault(results) or "ends in the middle" in fault(results)


def test_failed_write_leaves_the_old_file(results: Path) -> None:
    before = results.read_bytes()
    (results.parent / f".{results.name}.{os.getpid()}").mkdir()
    with pytest.raises(HostError, match=r"cannot write .*results\.json"):
        schema.dump(record(), results)
    assert results.read_bytes() == before
