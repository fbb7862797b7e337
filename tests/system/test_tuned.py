"""`pytest --tune`: the DUT is tuned while the run lasts, and then as it was."""

from __future__ import annotations

from pathlib import Path

from tests.system.conftest import Start
from tests.system.machine import Machine
from tests.system.session import SHORT

WATCHDOGS = Path("/proc/sys/kernel")


def settings() -> dict[str, str]:
    """What `--tune` may write here: a virtual machine's kernel has little else of it."""
    paths = [*WATCHDOGS.glob("*watchdog*"), *Path("/proc/irq").glob("[0-9]*/smp_affinity")]
    paths += Path("/sys/kernel/mm").glob("*/enabled")
    return {str(path): path.read_text() for path in paths if path.is_file()}


def test_a_run_tunes_its_dut_and_puts_it_back(start: Start, machine: Machine) -> None:
    """Steps: a short run with `--tune`.

    Verify: it says what it tuned; the transcript has the writes; then all is as before.
    """
    before = settings()
    session = start("tuned", *SHORT, "--tune")
    assert session.end() == 0, session.output
    assert "local: tuned for this run: " in session.output
    assert "[writes /" in (session.directory / "transcript.log").read_text()
    assert settings() == before
    assert machine.traces(session.run) == []
