from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_vswitch.results import schema
from pytest_vswitch.results.record import Record

SUITE = ("suites/pvp", "--quick")
"""What a user types, but for `--dut`; `suites/pvp` is the packaged suite."""

FREE_MACHINE = """
from pytest_vswitch.hosts import reservation

# Another run on this machine is told before all else; it is not what is tested here.
reservation.owners = lambda *state: []
"""


class Session:
    """A user's directory, and the pytest that runs in it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self.path.joinpath("conftest.py").write_text(FREE_MACHINE)

    def __call__(self, *args: str) -> pytest.RunResult:
        return self.pytester.runpytest_subprocess(*args)

    def vswitch(self, *args: str) -> pytest.RunResult:
        main = "import sys; from pytest_vswitch.cli import main; sys.exit(main())"
        return self.pytester.run(sys.executable, "-c", main, *args)

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def sim_lab(self, *, thresholds: str = "", seed: int = 1) -> Path:
        """`--dut mine`: a simulated DUT of some 9.2 Mpps."""
        return self.write(
            "labs/mine.yaml",
            "dut: {host: sim}\nports: [{kind: sim}, {kind: sim}]\n"
            f"sim: {{seed: {seed}}}\n" + (f"thresholds: {thresholds}\n" if thresholds else ""),
        )

    @property
    def runs(self) -> list[Path]:
        return sorted(path for path in self.path.glob("reports/*") if not path.is_symlink())

    @property
    def record(self) -> Record:
        """Of the only run there is."""
        (run,) = self.runs
        return schema.load(run / "results.json")

    def assert_untouched(self) -> None:
        """No run was begun, and not even a transcript of a command exists."""
        assert not (self.path / "reports").exists()
        assert not list(self.path.rglob("transcript.log"))


@pytest.fixture
def session(pytester: pytest.Pytester) -> Session:
    return Session(pytester)


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same terminal for everybody: 80 columns, no colours, not a CI."""
    for name in ("CI", "BUILD_NUMBER", "FORCE_COLOR", "PY_COLORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
