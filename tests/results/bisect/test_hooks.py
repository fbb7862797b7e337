"""How a revision is measured by a pytest run against a lab."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import pytest_vswitch
from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.opening import open_address
from pytest_vswitch.lab import loader
from pytest_vswitch.results.bisect.history import Revision
from pytest_vswitch.results.bisect.hooks import (
    Command,
    Failed,
    Run,
    derived_lab,
    pytest_of,
    value_of,
)
from pytest_vswitch.results.bisect.state import Question, State, opened
from tests.records import case, measurement, record

ROOT = Path(pytest_vswitch.__file__).resolve().parents[1]
REVISION = Revision("0123456789abcdef", (), "a change")
QUESTION = Question("/repository", "good", "bad", "pvp:frame_bytes=64", "NDR", {})
LAB = """
dut:
  host: local
  dpdk: mine
ports:
  - kind: memif
  - kind: memif
dpdk:
  mine:
    build: [/opt/build]
    revision: v24.11
"""


@pytest.fixture
def host() -> Iterator[Host]:
    with open_address("local") as opened_host:
        yield opened_host


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with opened(tmp_path / "state", QUESTION) as kept:
        yield kept


def test_a_value_is_that_of_the_case_of_a_run(
    state: State, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    suite = (f"{ROOT}/suites/pvp", "-k", "throughput", "--quick")
    run = Run(state, "sim", QUESTION.case, "NDR", suite, dpdk="", wait="1s", timeout_s=300)
    measured = run(host, REVISION, None)
    # The simulated DUT forwards 10 Mpps, of which its knee takes 4 %.
    assert measured == pytest.approx(9.6e6, rel=0.06)
    assert (state.reports / "latest" / "journal.jsonl").exists()


def test_the_number_is_that_of_the_case() -> None:
    ended = record(case(measurements=[measurement()]))
    assert value_of(ended, "pvp:frame_bytes=64", "NDR") == measurement().results[0].lower_pps
    with pytest.raises(InputError, match=r"--case pvp:frame_bytes=65: the run has pvp:.*=64"):
        value_of(ended, "pvp:frame_bytes=65", "NDR")
    with pytest.raises(InputError, match=r"--metric MDR: the case .* has NDR, PDR"):
        value_of(ended, "pvp:frame_bytes=64", "MDR")
    broken = record(replace(case(), verdict="error", error="its guest died"))
    with pytest.raises(Failed, match="its guest died"):
        value_of(broken, "pvp:frame_bytes=64", "NDR")


def test_a_run_that_measures_nothing_has_failed(state: State, host: Host, tmp_path: Path) -> None:
    broken = tmp_path / "suite"
    broken.mkdir()
    nothing = Run(state, "sim", "a:b=1", "NDR", [str(broken)], "", wait="1s", timeout_s=300)
    with pytest.raises(Failed, match="is not measured: exit status 5"):
        nothing(host, REVISION, None)


def test_the_lab_file_certifies_what_was_built(tmp_path: Path) -> None:
    given = tmp_path / "bench.yaml"
    given.write_text(LAB)
    prefix = tmp_path / "builds" / "0123"
    lab = loader.load(str(derived_lab(str(given), tmp_path / "lab", REVISION, prefix, "")))
    assert lab.name == "bench"
    assert lab.dut.dpdk == "bisect"
    assert lab.dpdk["bisect"].prefix == str(prefix)


def test_or_what_the_lab_builds_itself(tmp_path: Path) -> None:
    given = tmp_path / "bench.yaml"
    given.write_text(LAB)
    lab = loader.load(str(derived_lab(str(given), tmp_path / "lab", REVISION, None, "mine")))
    assert lab.dut.dpdk == "mine"
    assert lab.dpdk["mine"].revision == REVISION.hash
    with pytest.raises(InputError, match="--dpdk other"):
        derived_lab(str(given), tmp_path / "lab", REVISION, None, "other")


def test_what_pytest_is_given_for_a_case() -> None:
    assert pytest_of("pvp:frame_bytes=64") == ["suites/pvp", "--frame-size", "64"]
    with pytest.raises(InputError, match="measurement"):
        pytest_of("rfc2544:frame_bytes=64,measurement=mrr")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo fast", "printed no line with a number: exit status 0: fast"),
        ("echo nan", "printed no line with a number"),
        ("echo 5; exit 3", "exit status 3: 5"),
        ("kill -9 $$", "signal 9"),
        ("sleep 600", "within|deadline|took|long"),
    ],
)
def test_a_command_that_gives_no_value_has_failed(script: str, words: str, host: Host) -> None:
    timeout_s = 1.0 if "sleep" in script else 60.0
    with pytest.raises(Failed, match=words):
        Command(["bash", "-c", script], timeout_s)(host, REVISION, None)


def test_a_command_gets_the_revision_and_its_build(host: Host) -> None:
    script = 'echo; echo "$#"; echo noise >&2; echo "$(echo -n "$1$2" | wc -c).5"; echo done'
    value = Command(["bash", "-c", script, "-"], 60.0)(host, REVISION, Path("/build"))
    assert value == len(REVISION.hash) + len("/build") + 0.5
