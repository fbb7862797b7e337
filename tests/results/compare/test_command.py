"""`vswitch compare`, from runs in a reports directory to its exit status."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pytest_vswitch import cli
from pytest_vswitch.results import run_directory, schema
from tests import records

BEGAN = datetime(2026, 11, 1, 2, 45, tzinfo=timezone.utc)
RATES = (37_216.0, 37_301.0, 37_150.0, 37_260.0)
"""Of four nights; four more with another DPDK are 8 % slower."""


@pytest.fixture(autouse=True)
def _nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTEST_VSWITCH_STORE", raising=False)
    for night, rate in enumerate([*RATES, *(0.92 * rate for rate in RATES)]):
        dpdk = "DPDK 22.11.5" if night < len(RATES) else "DPDK 24.11.1"
        keep(night, rate, dpdk)


def keep(night: int, rate_pps: float, dpdk: str, kernel: str = "6.1.0-18-amd64") -> None:
    facts = replace(records.FACTS, versions={**records.FACTS.versions, "host dpdk": dpdk})
    done = [records.measurement(capacity_pps=rate_pps)]
    made = records.record(records.case(measurements=done, facts=facts))
    started = (BEGAN + timedelta(days=night)).isoformat()
    run = run_directory.create(Path("reports"), f"night-{night}")
    named = replace(made.run, id=f"night-{night}", started=started)
    schema.dump(replace(made, run=named, host=replace(made.host, kernel=kernel)), run.results)


def test_versions_from_runs_on_disk(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", "22.11", "24.11", "--html", "c.html"]) == 1
    told = capsys.readouterr().out
    assert "differs: software: host dpdk: DPDK 22.11.5 → DPDK 24.11.1" in told
    assert "\n  worse " in told
    assert "\x1b" not in told
    assert Path("c.html").read_text().startswith("<!DOCTYPE html>")
    assert cli.main(["compare", "24.11", "22.11", "--metric", "NDR"]) == 0
    assert cli.main(["compare", "night-0,night-1", "night-2,night-3"]) == 0


def test_a_format_on_the_output_stands_there_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", "22.11", "latest", "--json", "-", "--metric", "NDR"]) == 1
    assert json.loads(capsys.readouterr().out)["tally"] == {"worse": 1}
    assert cli.main(["compare", "22.11", "latest", "--markdown", "-", "--metric", "NDR"]) == 1
    assert capsys.readouterr().out.startswith("# 22.11 → latest\n")


def test_another_machine_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    keep(9, RATES[0], "DPDK 24.11.1", kernel="6.12.1")
    assert cli.main(["compare", "night-0", "latest"]) == 4
    assert "- the machines differ in kernel: 6.1.0-18-amd64 → 6.12.1\n" in capsys.readouterr().err
    assert cli.main(["compare", "night-0", "latest", "--anyway"]) == 0
    assert "NOT COMPARABLE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["21.11", "latest"], "nothing was measured with `21.11`; there are the runs night-4, "),
        (["latest", "nothing"], "there is no run and no version `nothing`; there are the runs"),
        (["latest", "night-1", "--case", "x*"], "its cases are pvp:frame_bytes=64, its metrics"),
        (["latest", "night-1", "--runs", "0"], "--runs 0: must be at least 1"),
        (["latest", "night-1", "--confidence", "49%"], "--confidence 49%: must be at least 50%"),
        (["latest", "night-1", "--minimum-effect", "x"], "--minimum-effect x: give a percentage"),
        (["latest", "night-1", "--html", "no/c.html"], "cannot write no/c.html: No such file"),
    ],
)
def test_what_is_wrong_is_told(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", *arguments]) == 4
    assert message in capsys.readouterr().err


def test_files_compare_without_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who only reads leaves nothing behind."""
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    files = [f"../reports/night-{night}/results.json" for night in (0, 1)]
    assert cli.main(["compare", *files]) == 0
    assert not list(Path().iterdir())
