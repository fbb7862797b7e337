"""A pytest that certifies, as a child process: started, watched, killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.system.machine import wait_until

ROOT = Path(__file__).parents[2]

SHORT = ("--quick", "--trial-duration", "0.5", "--precision", "0.2")
"""A search of some ten trials."""
ENDLESS = ("--quick", "--trial-duration", "2", "--precision", "0.001")
"""A search that goes on until somebody ends it."""


class Session:
    """`pytest suites/pvp`, its reports and its output in a directory of its own."""

    def __init__(
        self,
        directory: Path,
        *options: str,
        lab: str = "local",
        suite: str = "suites/pvp",
        reports: Path | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.reports = reports or directory / "reports"
        self._output = directory / "output"
        argv = [sys.executable, "-m", "pytest", suite, "--dut", lab, *options]
        argv += ["--reports", str(self.reports), "-p", "no:cacheprovider", "--color", "no"]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                argv,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(),
            )

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    @property
    def run(self) -> str:
        """Its run id, which the header tells."""
        pattern = re.compile(r", run (\S+)$", re.MULTILINE)
        self.wait(lambda: pattern.search(self.output), "the header's run id")
        found = pattern.search(self.output)
        assert found
        return found[1]

    @property
    def directory(self) -> Path:
        return self.reports / self.run

    @property
    def events(self) -> list[dict[str, Any]]:
        """The journal's whole lines."""
        journal = self.directory / "journal.jsonl"
        raw = journal.read_bytes() if journal.exists() else b""
        return [json.loads(line) for line in raw.split(b"\n")[:-1]]

    @property
    def trials(self) -> list[dict[str, Any]]:
        return [event["trial"] for event in self.events if event["event"] == "trial"]

    @property
    def record(self) -> dict[str, Any]:
        """`results.json`."""
        return dict(json.loads((self.directory / "results.json").read_text()))

    def wait(self, fact: Callable[[], object], what: str, timeout_s: float = 120.0) -> None:
        """Wait for a fact that can only come true while it runs."""
        wait_until(lambda: fact() or self.process.poll() is not None, what, timeout_s)
        assert fact(), f"it ended with status {self.process.poll()} before {what}:\n{self.output}"

    def wait_for_trials(self, count: int) -> None:
        self.wait(lambda: len(self.trials) >= count, f"{count} trials in its journal")

    def end(self, timeout_s: float = 120.0) -> int:
        """Its exit status."""
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """For a test that failed: end it, with all that it started."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def environment() -> dict[str, str]:
    """Without what this pytest has told its own children."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
    return {**kept, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


def vswitch(*arguments: str) -> str:
    """Output of a `vswitch` command that succeeds."""
    main = "import sys; from pytest_vswitch import cli; sys.exit(cli.main())"
    done = subprocess.run(
        [sys.executable, "-c", main, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(),
        timeout=60,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
