"""What is wrong is told in one message, with exit status 4, and nothing is begun."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugin.conftest import SUITE, Session

SIM = "dut: {host: sim}\nports: [{kind: sim}, {kind: sim}]\n"
LOCAL = "ports: [{kind: memif}, {kind: memif}]\ndut:\n  host: local\n"


def assert_refused(result: pytest.RunResult, *words: str) -> None:
    """One message that holds all `words`, and nothing else of note."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    message = "\n".join(result.errlines).strip()
    assert message.startswith("ERROR: ")
    for word in words:
        assert word in message
    everything = str(result.stdout) + message
    assert everything.count("ERROR") == 1
    assert "Traceback" not in everything
    assert "INTERNALERROR" not in everything


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: b: c\n", ["labs/mine.yaml:1:5: not valid YAML", "indentation"]),
        (b"\x00\xff\xfe", ["labs/mine.yaml:1: holds binary data", "YAML text in UTF-8"]),
        ("", ["labs/mine.yaml:1: is empty", "needs at least `dut` and `ports`"]),
        (SIM + "port: 3\n", ["labs/mine.yaml:3:1: port: unknown key; did you mean `ports`?"]),
        (SIM + "sim: {seed: x}\n", ["labs/mine.yaml:3:7: sim.seed: must be a whole number"]),
        (
            SIM + "thresholds:\n  pvp:frame_bytes=64:\n    ndr_pps: -5\n",
            ["labs/mine.yaml:5:5", "ndr_pps: must be more than 0, not `-5`"],
        ),
        (
            "dut: {host: sim}\nports: [{kind: sim}]\n",
            ["labs/mine.yaml:2", "needs 2 ports", "add another `- kind: sim`"],
        ),
        (
            LOCAL + "  lcores: [0, 9999]\n",
            ["labs/mine.yaml:4: dut.lcores names CPU 9999", "online: 0"],
        ),
        (LOCAL + "  testpmd: /nonexistent\n", ["`/nonexistent`", "apt-get install dpdk-dev"]),
        (
            LOCAL + "guest: {qemu: no-qemu}\n",
            ["`no-qemu`", "apt-get install qemu-system-x86"],
        ),
    ],
)
def test_lab_file(session: Session, text: str | bytes, words: list[str]) -> None:
    session.write("labs/mine.yaml", text)
    assert_refused(session(*SUITE, "--dut", "mine"), *words)
    session.assert_untouched()


@pytest.mark.parametrize(
    ("lab", "words"),
    [
        ("smi", ["there is no lab `smi`; did you mean `sim`?", "example, local, sim"]),
        ("./smi.yaml", ["lab file smi.yaml does not exist", "did you mean `sim`?"]),
        ("./labs/", ["labs: not a file; give the path of a lab file"]),
    ],
)
def test_lab_that_is_not_there(session: Session, lab: str, words: list[str]) -> None:
    session.path.joinpath("labs").mkdir()
    assert_refused(session(*SUITE, "--dut", lab), *words)
    session.assert_untouched()


def test_program_that_is_not_on_the_path(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(session.path))
    assert_refused(session(*SUITE, "--dut", "local"), "`dpdk-testpmd`", "apt-get install dpdk-dev")
    session.assert_untouched()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--frame-size=63", ["--frame-size 63", "between 64", "and 1518 bytes"]),
        ("--frame-size=1519", ["--frame-size 1519", "between 64", "and 1518 bytes"]),
        ("--frame-size=64,abc", ["--frame-size 'abc'", "e.g. 64 or 64,512,1518"]),
        ("--precision=0", ["precision is 0.0", "between 0 and 1, e.g. 0.01"]),
        ("--precision=-1", ["precision is -1.0", "between 0 and 1"]),
        ("--precision=2", ["precision is 2.0", "between 0 and 1"]),
        ("--precision=x", ["argument --precision: invalid float value: 'x'"]),
        ("--trial-duration=0", ["trial duration is 0.0 s", "above 0"]),
        ("--trial-duration=inf", ["--trial-duration inf", "give seconds, e.g. 5"]),
        ("--trial-duration=nan", ["trial duration is nan s", "above 0"]),
        ("--repeat=0", ["--repeat 0", "at least 1"]),
        ("--repeat=x", ["argument --repeat: invalid int value: 'x'"]),
        ("--loss-ratio=1.5", ["loss ratio of PDR is 1.5", "below 1, e.g. 0.005"]),
        ("--search=foo", ["argument --search: invalid choice: 'foo'", "mlrsearch"]),
        ("--reports=conftest.py", ["--reports conftest.py: conftest.py is not a directory"]),
        ("--reports=conftest.py/x", ["--reports conftest.py/x: conftest.py is not a directory"]),
    ],
)
def test_option(session: Session, option: str, words: list[str]) -> None:
    assert_refused(session(*SUITE, "--dut", "sim", option), *words)
    session.assert_untouched()


def test_without_a_dut_there_is_advice(session: Session) -> None:
    result = session(*SUITE)
    assert_refused(result, "say which with `--dut local`", "`--dut sim`", "`vswitch lab list`")
    session.assert_untouched()


def test_without_a_dut_a_topology_alone_gets_the_advice_too(session: Session) -> None:
    session.write("test_mine.py", "def test_mine(pvp):\n    pass\n")
    assert_refused(session(), "test_mine.py::test_mine certifies a DUT: say which with `--dut")


def test_a_fixture_that_is_not_ours_is_pytests_affair(session: Session) -> None:
    session.write("test_mine.py", "def test_mine(nothing):\n    pass\n")
    result = session()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'nothing' not found"])


def test_without_a_dut_xdist_tells_it_for_each_test(session: Session) -> None:
    """A worker cannot end the session: it would look like a crash."""
    result = session(*SUITE, "-n", "2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*say which with `--dut local`*"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    session.assert_untouched()


def test_a_lab_that_does_not_fit_is_told_by_xdist_too(session: Session) -> None:
    session.write("labs/mine.yaml", "dut: {host: sim}\nports: [{kind: sim}]\n")
    result = session(*SUITE, "--dut", "mine", "-n", "2")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["sim needs 2 ports, lab `mine` has 1 (labs/mine.yaml:2)*"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    session.assert_untouched()


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory in which every user may write."""
    path = Path(tempfile.mkdtemp(prefix="vswitch-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


def as_nobody(public: Path, *args: str) -> subprocess.CompletedProcess[str]:
    (public / "conftest.py").write_text(
        "from pytest_vswitch.hosts import reservation\nreservation.owners = lambda *state: []\n"
    )
    # May read what root may, for a checkout below a directory like /root; and no more.
    reads = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *reads]
    pytest_ = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*(nobody if os.geteuid() == 0 else []), *pytest_, *SUITE, *args],
        cwd=public,
        env={**os.environ, "HOME": str(public), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_real_dut_needs_root(public: Path) -> None:
    done = as_nobody(public, "--dut", "local")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert done.stderr.startswith("ERROR: pvp on local needs root: for hugepages, ")
    assert done.stderr.rstrip().endswith("run pytest as root, or try `--dut sim`")
    assert not (public / "reports").exists()


def test_a_simulated_dut_does_not(public: Path) -> None:
    done = as_nobody(public, "--dut", "sim")
    assert (done.returncode, done.stderr) == (0, "")
    assert (public / "reports/latest/report.html").is_file()


def test_reports_that_may_not_be_written(public: Path) -> None:
    mine = public / "mine"
    mine.mkdir(0o555)
    done = as_nobody(public, "--dut", "sim", "--reports", "mine/runs")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert done.stderr.strip() == "ERROR: --reports mine/runs: you may not write in mine"
    assert not list(mine.iterdir())


@pytest.fixture
def run(session: Session) -> Path:
    """The directory of a run that went well."""
    assert session(*SUITE, "--dut", "sim", "--search=binary").ret == 0
    return session.runs[0]


def refused(session: Session, *argv: str) -> str:
    """The one message of a `vswitch` command that ends with status 4."""
    result = session.vswitch(*argv)
    assert result.ret == 4
    assert result.outlines == []
    message = "\n".join(result.errlines)
    assert message.startswith("vswitch: error: ")
    assert "Traceback" not in message
    return message


def test_results_of_a_newer_version(session: Session, run: Path) -> None:
    results, journal = run / "results.json", run / "journal.jsonl"
    newer = results.read_text().replace('"schema_version": 1', '"schema_version": 2', 1)
    results.write_text(newer)
    journal.unlink()  # as where only the results were copied
    for argv in (["validate", str(results)], ["report", "latest"]):
        message = refused(session, *argv)
        assert "results.json" in message
        assert "upgrade" in message
    assert results.read_text() == newer


def test_a_damaged_journal_is_refused_until_it_is_repaired(session: Session, run: Path) -> None:
    journal = run / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    lines[3] = lines[3][:40] + "\x00\x00\n"  # a power cut
    journal.write_text("".join(lines)[:-20])  # and a full disk
    (run / "report.html").unlink()
    assert "journal.jsonl:4: " in refused(session, "report", "latest")
    assert not (run / "report.html").exists()
    repaired = session.vswitch("report", "latest", "--repair")
    assert repaired.ret == 0
    repaired.stdout.fnmatch_lines(["dropped: *, line 4: *", f"dropped: *, line {len(lines)}: *"])
    assert "damaged" in (run / "report.html").read_text()
    assert session.vswitch("validate", str(run / "results.json")).ret == 0
