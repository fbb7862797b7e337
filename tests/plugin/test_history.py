"""A session learns from the one before, says so, and can be told not to."""

from __future__ import annotations

from pytest_vswitch.measure.hint import Hint
from pytest_vswitch.results import schema
from pytest_vswitch.results.record import Measurement
from tests.plugin.conftest import SUITE, Session

SIM = (*SUITE, "--dut", "sim", "-k", "test_throughput")


def measured(session: Session, *options: str) -> dict[int, Measurement]:
    """The last search of each frame size, of a new session."""
    before = set(session.runs)
    assert session(*SIM, "--history", "auto", *options).ret == 0
    (run,) = set(session.runs) - before
    cases = schema.load(run / "results.json").cases
    return {int(case.parameters["frame_bytes"]): case.measurements[-1] for case in cases}


def source(measurement: Measurement) -> str:
    assert isinstance(measurement.hint, Hint)
    return measurement.hint.source


def test_a_session_starts_where_the_last_one_ended(session: Session) -> None:
    sizes = ("--frame-size", "64,128")
    first = measured(session, *sizes)
    assert first[64].hint is None
    assert source(first[128]) == "case pvp:frame_bytes=64"
    second = measured(session, *sizes)
    (earlier, _) = session.runs
    for size in (64, 128):
        assert source(second[size]) == f"run {earlier.name}"
        assert second[size].results[0].lower_pps is not None
    assert len(second[64].trials) < len(first[64].trials)


def test_a_session_can_be_told_to_learn_from_nothing_or_from_elsewhere(session: Session) -> None:
    first = measured(session)
    session.path.joinpath("reports").rename(session.path / "kept")
    assert measured(session)[64].hint is None
    off = measured(session, "--history", "off")
    assert off[64].hint is None
    before = set(session.runs)
    assert session(*SIM).ret == 0
    (unasked,) = set(session.runs) - before
    assert schema.load(unasked / "results.json").cases[0].measurements[-1].hint is None
    assert len(off[64].trials) == len(first[64].trials)
    elsewhere = measured(session, "--history", "kept")[64]
    (kept,) = (run for run in session.path.glob("kept/*") if not run.is_symlink())
    assert source(elsewhere) == f"run {kept.name}"


def test_repeats_and_searches_by_the_letter_know_nothing_before(session: Session) -> None:
    measured(session)
    for options in (("--repeat", "2"), ("--search", "nfvbench")):
        assert measured(session, *options)[64].hint is None


def test_several_loss_ratios(session: Session) -> None:
    results = measured(session, "--loss-ratio", "0.005,0.0001,0.005")[64].results
    found = [(result.goal.name, result.goal.loss_ratio) for result in results]
    assert found == [("NDR", 0.0), ("PDR", 0.005), ("PDR2", 0.0001)]


def test_a_history_that_is_not_there(session: Session) -> None:
    result = session(*SIM, "--history", "nowhere")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*--history nowhere: give `auto`, `off`, or a directory of runs*"])


def test_a_loss_ratio_that_is_none(session: Session) -> None:
    result = session(*SIM, "--loss-ratio", "0.1,x")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*--loss-ratio 'x': give shares of frames, e.g. 0.005*"])
