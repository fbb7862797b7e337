"""`vswitch bisect` from its command line, over real git repositories."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_vswitch import cli

COMMAND = [
    sys.executable,
    "-c",
    "import sys; from pytest_vswitch.cli import main; sys.exit(main())",
    "bisect",
]
GUILTY = 23
REVISIONS = 40

BUILD = """#!/bin/sh
# The revision's file is what it installs; one revision has none.
set -e
test ! -e broken
mkdir "$2"
cp number "$2/number"
echo "$1" >> "{builds}"
"""

MEASURE = """#!{python}
# The number that was built, with noise of 1 %, and after DIE runs the end of who asked.
import os, pathlib, random, signal, sys
runs = pathlib.Path("{runs}")
run = len(runs.read_text().splitlines()) if runs.exists() else 0
with runs.open("a") as file:
    print(sys.argv[1], file=file)
if os.environ.get("DIE") == str(run + 1):
    os.kill(os.getppid(), signal.SIGKILL)
number = float(pathlib.Path(sys.argv[2], "number").read_text())
print("measured:")
print(number * (1 + 0.01 * random.Random(run).gauss(0, 1)))
"""


def git(repository: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", "-C", str(repository), *identity, *words],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a repository, a build hook and a measuring command."""
    repository = tmp_path / "repository"
    commits = []
    for number in range(REVISIONS + 1):
        value = "970.0" if number >= GUILTY else "1000.0"
        files = {"number": value, "count": str(number)}
        if number == GUILTY + 2:
            files["broken"] = ""
        commits.append(
            f"commit refs/heads/main\ncommitter a <a@b> {1700000000 + number} +0000\n"
            f"data <<END\nrevision {number}\nEND\n"
            + ("D broken\n" if number == GUILTY + 3 else "")
            + "".join(f"M 644 inline {name}\ndata <<END\n{v}\nEND\n" for name, v in files.items())
        )
    subprocess.run(["git", "init", "-q", "-b", "main", str(repository)], check=True, timeout=60)
    subprocess.run(
        ["git", "-C", str(repository), "fast-import", "--quiet"],
        input="\n".join(commits),
        text=True,
        check=True,
        timeout=60,
    )
    git(repository, "reset", "-q", "--hard")
    executable(tmp_path / "build", BUILD.format(builds=tmp_path / "builds.log"))
    executable(
        tmp_path / "measure",
        MEASURE.format(python=sys.executable, runs=tmp_path / "runs.log"),
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(cli.__file__).parents[2]))
    return tmp_path


def words(**others: str) -> list[str]:
    given = {
        "repository": "repository",
        "good": f"main~{REVISIONS}",
        "bad": "main",
        "build": "./build",
        "measure": "./measure",
        "better": "more",
        "state": "state",
        **others,
    }
    return [word for name, value in given.items() for word in (f"--{name}", value) if value]


def test_killed_in_the_middle_it_goes_on_and_names_the_guilty_one(bench: Path) -> None:
    """The repository with its work tree stays as it is, and git comes to the same verdict."""
    repository = bench / "repository"
    (repository / "mine").write_text("not committed")
    before = git(repository, "status", "--porcelain"), git(repository, "for-each-ref")
    killed = subprocess.run(
        [*COMMAND, *words()],
        env={**os.environ, "DIE": "10"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    kept = (bench / "state" / "bisect.jsonl").read_text().splitlines()
    assert len(kept) == 1 + 9, "the measurement that was cut short is not there"
    with (bench / "state" / "bisect.jsonl").open("a") as file:
        file.write('{"event": "measu')  # as a power cut leaves it

    ended = subprocess.run([*COMMAND, *words()], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    guilty = git(repository, "rev-parse", f"main~{REVISIONS - GUILTY}").strip()
    assert f"`{guilty}` is the guilty one: it made the value worse, by -" in ended.stdout
    runs = len((bench / "runs.log").read_text().splitlines())
    lines = [json.loads(line) for line in (bench / "state/bisect.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines].count("measured") == runs - 1
    builds = (bench / "builds.log").read_text().splitlines()
    assert len(builds) == len(set(builds)), "each revision is built once"
    assert (git(repository, "status", "--porcelain"), git(repository, "for-each-ref")) == before

    git(repository, "bisect", "replay", str(bench / "state" / "git-bisect.log"))
    assert git(repository, "rev-parse", "refs/bisect/bad").strip() == guilty
    again = subprocess.run([*COMMAND, *words()], capture_output=True, text=True, timeout=120)
    assert guilty in again.stdout
    assert len((bench / "runs.log").read_text().splitlines()) == runs, "it measured once more"


def test_a_revision_that_does_not_build_is_skipped(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the six between the ends, it is the one in the middle, where the search begins."""
    near = f"main~{REVISIONS - GUILTY - 5}"
    assert cli.main(["bisect", *words(bad=near, state="near", good=f"{near}~6")]) == 0
    said = capsys.readouterr().out
    assert "skip" in said
    assert "does not build: exit status 1" in said
    assert "is the guilty one" in said
    assert f"revision {GUILTY}\n" in said.partition("is the guilty one")[2]


def test_between_alike_ends_nobody_is_named(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = f"main~{REVISIONS - GUILTY + 1}"
    assert cli.main(["bisect", *words(bad=bad)]) == 0
    assert "nobody is named" in capsys.readouterr().out


def test_a_lab_that_breaks_down_makes_no_revision_guilty(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After six runs nothing can be measured: no revision is skipped for that."""
    text = (bench / "measure").read_text()
    quiet = text.replace("0.01 *", "0.001 *")
    broken = quiet.replace("number = ", "if run >= 6: sys.exit('the cable fell out')\nnumber = ")
    executable(bench / "measure", broken)
    assert cli.main(["bisect", *words()]) == 4
    said = capsys.readouterr().err
    assert "the good end" in said
    assert "the cable fell out" in said
    assert "skipped" not in (bench / "state" / "bisect.jsonl").read_text()
    executable(bench / "measure", text)
    assert cli.main(["bisect", *words()]) == 0
    assert "is the guilty one" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("others", "complaint"),
    [
        ({"good": "v0"}, "--good v0: repository has no such revision"),
        ({"good": "main", "bad": "main~3"}, "--bad main~3 does not come from --good main"),
        ({"good": "main"}, "are the same revision"),
        ({"repository": "."}, "not a git repository"),
        ({"measure": ""}, "--dut and --case, or --measure"),
        ({"measure": "", "dut": "sim", "case": "pvp:frame_bytes=64", "build": ""}, "either"),
        ({"measure": "", "dut": "sim", "case": "rfc2544:measurement=mrr"}, "--pytest"),
        ({"confidence": "1"}, "--confidence 1.0"),
        ({"build": "'"}, "--build '"),
    ],
)
def test_what_cannot_be_asked(
    bench: Path,
    others: dict[str, str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["bisect", *words(**others)]) == 4
    assert complaint in capsys.readouterr().err
    assert not (bench / "runs.log").exists()


def test_a_state_directory_answers_one_question(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = f"main~{REVISIONS - GUILTY + 1}"
    assert cli.main(["bisect", *words(bad=bad)]) == 0
    assert cli.main(["bisect", *words()]) == 4
    assert "is of another bisect: its bad is" in capsys.readouterr().err
    (bench / "state" / "bisect.jsonl").write_text("no JSON\n")
    assert cli.main(["bisect", *words()]) == 4
    assert "bisect.jsonl:1: is damaged" in capsys.readouterr().err
