from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_vswitch import __version__, cli
from pytest_vswitch.hosts import reservation
from pytest_vswitch.hosts.reservation import Claimant
from pytest_vswitch.hosts.undo import Change, UndoJournal
from pytest_vswitch.lab import loader
from pytest_vswitch.results import run_directory, schema
from pytest_vswitch.results.journal import Journal, RunBegun
from pytest_vswitch.results.record import Record
from pytest_vswitch.results.run_directory import RunDirectory
from tests.records import case, measurement, record

COMMAND = [
    sys.executable,
    "-c",
    "import sys; from pytest_vswitch.cli import main; sys.exit(main())",
]
LAB = "# mine\ndut: {host: local}\nports:\n  - kind: memif\n  - kind: memif\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Child processes find the package also where it is not installed.
    monkeypatch.setenv("PYTHONPATH", str(Path(cli.__file__).parents[1]))
    Path("labs").mkdir()


def run_of(record: Record) -> RunDirectory:
    """A run in `reports/` with this record."""
    run = run_directory.create(Path("reports"), record.run.id)
    schema.dump(record, run.results)
    return run


def begin(run: RunDirectory) -> None:
    """Give the run a journal that ends before its first case."""
    first = record()
    with Journal(run.journal) as journal:
        journal.append(RunBegun(first.run, first.lab, first.host))


def local_lab() -> Path:
    path = Path("labs/local.yaml")
    path.write_text(LAB)
    return path


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"pytest-vswitch {__version__}\n"


@pytest.mark.parametrize(
    "command",
    [
        "lab show",
        "lab list",
        "lab init",
        "lab schema",
        "topologies",
        "report",
        "threshold",
        "store",
        "store show",
        "store sync",
        "store rebuild",
        "store export",
        "store import",
        "compare",
        "trend",
        "bisect",
        "validate",
        "dpdk",
        "dpdk add",
        "dpdk list",
        "dpdk remove",
        "doctor",
    ],
)
def test_each_command_teaches_by_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([*command.split(), "--help"])
    assert caught.value.code == 0
    assert f"example:\n  vswitch {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [[], ["lab"], ["store"], ["foo"], ["threshold"], ["lab", "show"]]
)
def test_a_wrong_command_line_exits_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: vswitch" in capsys.readouterr().err


def test_help_imports_no_library() -> None:
    code = (
        "import sys; from pytest_vswitch.cli import _parser; _parser().format_help(); "
        "print([m for m in ('pydantic', 'ruamel.yaml', 'jinja2', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_lab_show_prints_what_loads_as_the_same_lab(capsys: pytest.CaptureFixture[str]) -> None:
    local_lab()
    assert cli.main(["lab", "show", "local"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("# lab `local`, from labs/local.yaml\n")
    assert "  memory_mb: 512\n" in shown
    again = loader.parse_lab(shown, Path("local.yaml"))
    assert again.model_dump() == loader.load("local").model_dump()


def test_lab_list_tells_a_wrong_one(capsys: pytest.CaptureFixture[str]) -> None:
    Path("labs/bad.yaml").write_text("dut: {host: local}\nport: 1\n")
    assert cli.main(["lab", "list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert set(lines) >= {"bad", "local", "sim", "example"}
    assert "labs/bad.yaml  error: labs/bad.yaml:1:1: `ports` is missing" in lines["bad"]
    assert lines["sim"].endswith("a simulated DUT, for trying the tool")


def test_an_input_error_is_one_message_and_status_4(capsys: pytest.CaptureFixture[str]) -> None:
    Path("labs/bad.yaml").write_text("dut: {host: local, lcores: 1}\nports: []\n")
    assert cli.main(["lab", "show", "bad"]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "vswitch: error: labs/bad.yaml:1:20: dut.lcores: must be `auto` or a list of lcore "
        "numbers, e.g. [2, 3]\n"
        "  labs/bad.yaml:2:1: ports: is an empty list; give at least one entry, "
        "e.g. `- kind: memif`\n"
    )


def test_validate(capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(record())
    assert cli.main(["validate", str(run.results)]) == 0
    assert capsys.readouterr().out == f"{run.results}: valid: run {run.path.name}, 1 case\n"
    run.results.write_text("{}")
    assert cli.main(["validate", str(run.results)]) == 4
    assert "has no `schema_version`" in capsys.readouterr().err


def test_report_is_made_again_from_the_journal(capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(record())
    written = run.results.read_text()
    begin(run)
    assert cli.main(["report", "latest", "-o", "there.html"]) == 0
    assert capsys.readouterr().out == "there.html\n"
    assert "<html" in Path("there.html").read_text()
    assert not run.report.exists()
    assert run.results.read_text() == written
    assert cli.main(["report", "latest"]) == 0
    assert capsys.readouterr().out == f"reports/{run.path.name}/report.html\n"
    assert "<html" in run.report.read_text()
    assert schema.load(run.results).cases == ()


def test_a_damaged_journal_is_refused_until_it_is_repaired(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = run_of(record())
    begin(run)
    with run.journal.open("a") as file:
        file.write('{"event": "ca')
    assert cli.main(["report", "latest"]) == 4
    assert "journal.jsonl:2: ends in the middle" in capsys.readouterr().err
    assert cli.main(["report", "latest", "--repair"]) == 0
    assert capsys.readouterr().out.startswith("dropped: journal.jsonl.damaged, line 2: ends in")
    assert cli.main(["report", "latest", "--repair"]) == 0


def test_thresholds_are_written_into_the_lab_of_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lab = local_lab()
    run_of(record(case(measurements=[measurement(capacity_pps=4e4)])))
    assert cli.main(["threshold", "--from-run", "latest", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "\n+    ndr_pps: 37770\n+    pdr_pps: 38110\n" in out
    assert out.endswith("labs/local.yaml is left as it was (--dry-run)\n")
    assert lab.read_text() == LAB
    assert cli.main(["threshold", "--from-run", "latest"]) == 0
    assert capsys.readouterr().out.endswith("labs/local.yaml changed\n")
    assert lab.read_text() == (
        LAB + "\nthresholds:\n  pvp:frame_bytes=64:\n    ndr_pps: 37770\n    pdr_pps: 38110\n"
    )
    assert cli.main(["threshold", "--from-run", "latest"]) == 0
    assert capsys.readouterr().out == "labs/local.yaml has these thresholds already\n"


def test_thresholds_of_a_simulation_are_not_for_a_real_lab(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lab = local_lab()
    run_of(record(simulated=True))
    assert cli.main(["threshold", "--from-run", "latest"]) == 4
    assert "is simulated, lab `local` (labs/local.yaml:2) is real" in capsys.readouterr().err
    assert lab.read_text() == LAB


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from-run", "latest", "--margin", "-1"], "--margin -1: give a percentage below 100"),
        (["--from-run", "nothing"], "no run `nothing` in reports"),
        (["--from-run", "latest", "--lab", "nowhere"], "there is no lab `nowhere`"),
    ],
)
def test_thresholds_refuse_what_is_wrong(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_of(record())
    assert cli.main(["threshold", *arguments]) == 4
    assert message in capsys.readouterr().err


def test_doctor_shows_and_cleans_what_dead_runs_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state, made = tmp_path / "state", tmp_path / "made"
    monkeypatch.setattr(reservation, "STATE", state)
    local_lab()
    assert cli.main(["doctor", "local"]) == 0
    assert capsys.readouterr().out == "nothing is left of earlier runs\n"
    made.write_text("")
    dead = state / "dead"
    dead.mkdir(parents=True)
    UndoJournal(dead / "undo.jsonl").note(Change("made", str(made)))
    alive = Claimant("alive", "mona@here", "pytest", reservation.this_program())
    assert reservation.claim(state / "alive", alive) is None

    assert cli.main(["doctor", "local"]) == 0
    out = capsys.readouterr().out
    assert f"local: alive: run alive of mona@here (pid {os.getpid()} there, since " in out
    assert f"local: run dead is dead and left:\n  change {made} (made)\n  directory {dead}\n" in out
    assert out.endswith("`vswitch doctor local --clean` removes it\n")
    assert cli.main(["doctor", "sim"]) == 0
    assert capsys.readouterr().out == "nothing is left of earlier runs\n"
    assert made.exists()

    assert cli.main(["doctor", "local", "--clean", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["alive"] == ["alive"]
    assert [leftover["run"] for leftover in told["leftovers"]] == ["dead"]
    assert not made.exists()
    assert [path.name for path in state.iterdir()] == ["alive"]


def test_ctrl_c_is_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loader, "load", interrupted)
    assert cli.main(["lab", "show", "local"]) == 130


def test_a_closed_pipe_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, "lab", "show", "sim"], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colour_is_for_terminals_whose_user_wants_it(
    environment: dict[str, str], coloured: bool
) -> None:
    master, slave = pty.openpty()
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}
    subprocess.run(
        [*COMMAND, "lab", "show", "nowhere"], stderr=slave, env=kept | environment, check=False
    )
    os.close(slave)
    told = os.read(master, 4096).decode()
    os.close(master)
    assert told.startswith(
        "vswitch: \033[31merror:\033[0m there" if coloured else "vswitch: error: "
    )
