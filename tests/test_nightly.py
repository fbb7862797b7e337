"""The nightly pipelines: linted as their systems would, and the script they share run for real."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_vswitch

ROOT = Path(pytest_vswitch.__file__).resolve().parents[1]
NIGHTLY = ROOT / "ci" / "nightly"
SCRIPT = NIGHTLY / "nightly"
PIPELINES = ("github.yml", "gitlab.yml", "Jenkinsfile", "vswitch-nightly.service")

PYTEST = """#!/bin/bash
# Stands for pytest: makes a run, unless told not to, and ends as told.
while [ $# -gt 0 ]; do
    case $1 in --reports) reports=$2 ;; --junitxml) junit=$2 ;; esac
    shift
done
if [ -z "${NO_RUN:-}" ]; then
    runs=("$reports"/run-*/)
    run=run-${#runs[@]}-$$
    mkdir "$reports/$run"
    echo report > "$reports/$run/report.html"
    echo '{}' > "$reports/$run/results.json"
    ln -sfn "$run" "$reports/latest"
    echo '<testsuites/>' > "$junit"
fi
exit "${PYTEST_STATUS:-0}"
"""
VSWITCH = """#!/bin/bash
echo "compared: $*"
exit "${COMPARE_STATUS:-0}"
"""


def check(*argv: str) -> None:
    """Raise AssertionError, with its words, when a linter complains."""
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def night(
    directory: Path, *words: str, path: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """One night with history and publication in `directory`."""
    programs = path or Path(sys.executable).parent
    given = ["--dut", "sim", "--history", "history", "--publish", "published", *words]
    return subprocess.run(
        [str(SCRIPT), *given],
        cwd=directory,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """A PATH folder whose pytest and vswitch do as they are told."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("pytest", PYTEST), ("vswitch", VSWITCH)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


# --- linters ------------------------------------------------------------------------------


def test_the_script_is_clean_bash() -> None:
    check("shellcheck", str(SCRIPT))


@pytest.mark.parametrize(
    ("schema", "name"),
    [("vendor.github-workflows", "github.yml"), ("vendor.gitlab-ci", "gitlab.yml")],
)
def test_pipelines_follow_their_schemas(schema: str, name: str, tmp_path: Path) -> None:
    lint = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema]
    check(*lint, str(NIGHTLY / name))
    wrong = tmp_path / name
    wrong.write_text((NIGHTLY / name).read_text().replace("timeout", "timeuot"))
    with pytest.raises(AssertionError, match="timeuot"):
        check(*lint, str(wrong))


def test_units_are_understood_by_systemd(tmp_path: Path) -> None:
    for name in ("vswitch-nightly.service", "vswitch-nightly.timer"):
        text = (NIGHTLY / name).read_text()
        assert "/opt/pytest-vswitch/ci/nightly/nightly" in text or name.endswith("timer")
        (tmp_path / name).write_text(text)
    lint = ["systemd-analyze", "verify", "--man=no"]
    check(*lint, str(tmp_path / "vswitch-nightly.timer"))
    check("systemd-analyze", "calendar", "*-*-* 01:17:00")
    (tmp_path / "vswitch-nightly.service").write_text("[Service]\nType=oneshit\nExecStart=true\n")
    broken = subprocess.run(
        [*lint, str(tmp_path / "vswitch-nightly.service")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "oneshit" in broken.stderr


def test_the_jenkinsfile_is_whole_as_far_as_one_can_tell_without_jenkins() -> None:
    """Its linter is a Jenkins server: checked are its sections, brackets, and its shell lines."""
    text = re.sub(r"//.*", "", (NIGHTLY / "Jenkinsfile").read_text())
    shell = re.findall(r"sh '''(.*?)'''", text, re.DOTALL)
    assert len(shell) == 1
    check("bash", "-n", "-c", shell[0])
    plain = re.sub(r"'''.*?'''|'[^'\n]*'", "", text, flags=re.DOTALL)
    assert "'" not in plain
    depth = 0
    sections = []
    for token in re.findall(r"(\w+)\s*\{|([{}])", plain):
        if token[0]:
            depth += 1
            sections.append((depth, token[0]))
        else:
            depth += {"{": 1, "}": -1}[token[1]]
    assert depth == 0
    assert plain.count("(") == plain.count(")")
    assert sections[0] == (1, "pipeline")
    assert [name for level, name in sections if level == 2] == [
        *("agent", "triggers", "options", "stages", "post")
    ]


@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines_are_thin(name: str) -> None:
    """Each calls the script, once, with options that it has."""
    text = (NIGHTLY / name).read_text()
    calls = re.findall(r"ci/nightly/nightly (--.*?) -- suites/pvp", text, re.DOTALL)
    assert len(calls) == 1
    assert set(re.findall(r"--[a-z]+", calls[0])) == {"--dut", "--wait", "--history", "--publish"}
    assert not re.search(r"(?i)password|token|secret", text)


# --- the script ---------------------------------------------------------------------------


def test_two_nights_on_a_simulated_lab(tmp_path: Path) -> None:
    """Steps: two real runs against the simulation. Verify: both are good, and the second is
    held against the first; HTML and JUnit are published, and who is to know is told."""
    suite = ["--", f"{ROOT}/suites/pvp", "-k", "throughput", "--quick", "-q"]
    first = night(tmp_path, *suite)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "the first good night" in first.stdout
    second = night(tmp_path, *suite, NOTIFY_COMMAND="tee told.md")
    assert second.returncode == 0, second.stdout + second.stderr
    told = (tmp_path / "told.md").read_text()
    assert told.startswith("# sim: passed; not worse than the last good nights")
    assert r"frame\_bytes=64" in told
    published = tmp_path / "published"
    assert 'failures="0"' in (published / "junit.xml").read_text()
    assert "<html" in (published / "report.html").read_text()
    assert "<html" in (published / "compare.html").read_text()
    good = (tmp_path / "history" / "last-good").read_text().split()
    assert len(good) == 2
    assert all((tmp_path / "history" / run / "journal.jsonl").exists() for run in good)


@pytest.mark.parametrize(
    ("pytest_status", "compare_status", "status", "words"),
    [
        ("0", "0", 0, "passed; not worse"),
        ("1", "0", 1, "failed: thresholds missed"),
        ("1", "1", 1, "worse than the last good"),
        ("0", "1", 3, "worse than the last good"),
        ("0", "4", 5, "cannot be compared"),
        ("4", "0", 4, "no result: pytest ended with status 4"),
    ],
)
def test_how_a_night_ends(
    pytest_status: str, compare_status: str, status: int, words: str, tmp_path: Path, stubs: Path
) -> None:
    """Only a good night is one that later nights are held against."""
    assert night(tmp_path, "--", "suite", path=stubs).returncode == 0
    second = night(
        tmp_path,
        *("--", "suite"),
        path=stubs,
        PYTEST_STATUS=pytest_status,
        COMPARE_STATUS=compare_status,
        NOTIFY_COMMAND="tee told.md",
    )
    assert second.returncode == status, second.stderr
    assert words in (tmp_path / "told.md").read_text()
    good = (tmp_path / "history" / "last-good").read_text().split()
    assert len(good) == (2 if status == 0 else 1)


def test_of_many_good_nights_the_last_are_compared_with(tmp_path: Path, stubs: Path) -> None:
    for _ in range(4):
        last = night(tmp_path, "--good", "2", "--", "suite", path=stubs)
    runs = (tmp_path / "history" / "last-good").read_text().split()
    assert len(set(runs)) == 4
    assert f"compared: compare {runs[1]},{runs[2]} {runs[3]} " in last.stdout


def test_what_an_earlier_night_published_does_not_stand_for_this_one(
    tmp_path: Path, stubs: Path
) -> None:
    night(tmp_path, "--", "suite", path=stubs)
    assert (tmp_path / "published" / "junit.xml").exists()
    ended = night(tmp_path, "--", "suite", path=stubs, NO_RUN="1", PYTEST_STATUS="4")
    assert ended.returncode == 4
    assert [path.name for path in (tmp_path / "published").iterdir()] == ["summary.md"]


def test_a_notification_that_fails_is_told_and_hides_no_verdict(
    tmp_path: Path, stubs: Path
) -> None:
    ended = night(tmp_path, "--", "suite", path=stubs, NOTIFY_COMMAND="false")
    assert ended.returncode == 6
    assert "the notification failed: false" in ended.stderr
    failed = night(tmp_path, "--", "suite", path=stubs, NOTIFY_COMMAND="false", PYTEST_STATUS="1")
    assert failed.returncode == 1


def test_no_shell_reads_the_notification_command(tmp_path: Path, stubs: Path) -> None:
    night(tmp_path, "--", "suite", path=stubs, NOTIFY_COMMAND="tee told.md; touch $(echo pwned)")
    assert not (tmp_path / "pwned").exists()
    assert (tmp_path / "told.md;").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--good", "0", "--", "suite"], "--good 0"),
        (["--frequency", "--", "suite"], "what is --frequency"),
        (["--wait"], "--wait wants a value"),
        ([], "no suite"),
    ],
)
def test_what_the_script_refuses(
    words: list[str], complaint: str, tmp_path: Path, stubs: Path
) -> None:
    ended = night(tmp_path, *words, path=stubs)
    assert ended.returncode == 4
    assert complaint in ended.stderr
    assert "Usage: ci/nightly/nightly" in ended.stderr
    assert not (tmp_path / "history").exists()
