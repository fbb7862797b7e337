"""`vswitch trend` on a store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_vswitch import cli
from pytest_vswitch.results.store import open_store
from tests.results.trend.histories import step


@pytest.fixture
def asked(tmp_path: Path) -> list[str]:
    """The command on a store with a case that fell by a tenth, 20 nights before the newest."""
    url = f"sqlite:///{tmp_path}/store.sqlite"
    with open_store(url) as store:
        store.add([*step()])  # type: ignore[union-attr]
    return ["trend", "--store", url, "--reports", str(tmp_path / "reports")]


def test_changes_are_shown_and_written(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, table = tmp_path / "made" / "trend", tmp_path / "changes.csv"
    assert cli.main([*asked, "--html", str(page), "--csv", str(table)]) == 0
    assert "worse  -10.0 %  pvp:frame_bytes=64  NDR" in capsys.readouterr().out
    assert "pvp:frame_bytes=64" in (page / "index.html").read_text("utf-8")
    assert len(table.read_text("utf-8").splitlines()) == 2


def test_json_alone_goes_to_the_output(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*asked, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "pytest-vswitch trend"


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (["--fail-on-worse", "20"], 1),
        (["--fail-on-worse", "18"], 0),
        (["--fail-on-worse"], 0),
        ([], 0),
        (["--fail-on-worse", "20", "--case", "pvp:*"], 1),
        (["--fail-on-worse", "20", "--case", "p2p:*"], 0),
        (["--fail-on-worse", "20", "--metric", "PDR"], 0),
        (["--fail-on-worse", "20", "--lab", "elsewhere"], 0),
        (["--fail-on-worse", "20", "--since", "3w"], 1),
        (["--fail-on-worse", "20", "--since", "10d"], 0),
        (["--fail-on-worse", "20", "--minimum-effect", "20%"], 0),
    ],
)
def test_it_fails_on_what_became_worse_of_late(
    asked: list[str], options: list[str], status: int
) -> None:
    assert cli.main([*asked, *options]) == status


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--since", "soon"], "--since soon: give a number of days or weeks, e.g. 90d or 12w"),
        (["--minimum-effect", "many"], "--minimum-effect many: give a percentage"),
        (["--json", "-", "--csv", "-"], "only one of them"),
    ],
)
def test_what_makes_no_sense_is_an_error(
    asked: list[str], options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*asked, *options]) == cli.ERROR
    assert message in capsys.readouterr().err


def test_a_dashboard_that_cannot_be_written_is_an_error(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert cli.main([*asked, "--html", str(tmp_path / "file" / "trend")]) == cli.ERROR
    assert "cannot create" in capsys.readouterr().err
