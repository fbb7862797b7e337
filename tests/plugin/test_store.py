"""`--store`: a run's results go where all are, and a store that is gone fails no run."""

from __future__ import annotations

import pytest

from pytest_vswitch.results.store.history import Selection
from pytest_vswitch.results.store.sql import SqlStore
from tests.plugin.conftest import SUITE, Session

ONE = (*SUITE, "--dut", "mine", "--frame-size", "64", "-k", "throughput")


def test_a_run_is_in_the_store_when_it_ends(session: Session) -> None:
    session.sim_lab()
    place = f"sqlite:///{session.path}/team/store.sqlite"
    result = session(*ONE, "--store", place)
    assert result.ret == pytest.ExitCode.OK
    assert "not in the store" not in str(result.stdout)
    with SqlStore(place) as store:
        (run,) = store.runs()
        assert run.run == session.record.run.id
        assert run.simulated
        assert {one.metric for one in store.samples(Selection())} >= {"NDR"}
    assert not (session.path / "reports/store.sqlite").exists()


def test_a_store_that_does_not_answer_is_told_and_fails_nothing(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.sim_lab()
    place = "postgresql://joe:geheim@127.0.0.1:1/results"
    result = session(*ONE, "--store", place)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["not in the store: *refused*nothing is lost: `vswitch store sync --reports *"]
    )
    (run,) = session.runs
    everything = str(result.stdout) + str(result.stderr)
    everything += "".join(path.read_text() for path in run.rglob("*") if path.is_file())
    assert "postgresql://joe:***@127.0.0.1:1/results" in everything
    assert "geheim" not in everything


def test_a_wrong_store_is_told_before_anything_starts(session: Session) -> None:
    session.sim_lab()
    result = session(*ONE, "--store", "mysql://joe:geheim@host/results")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    told = str(result.stdout) + str(result.stderr)
    assert "mysql://joe:***@host/results: give a path" in told
    assert "geheim" not in told
    assert session.runs == []
