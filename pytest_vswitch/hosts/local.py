"""This machine, as a host: its engine is called directly."""

from __future__ import annotations

from pathlib import Path

from pytest_vswitch.hosts.engine import LocalEngine
from pytest_vswitch.hosts.open_host import OpenHost
from pytest_vswitch.hosts.transcript import Transcript


class LocalHost(OpenHost):
    """This machine, for one run."""

    def __init__(self, run_id: str, transcript: Transcript, state: Path | None = None) -> None:
        super().__init__("local", LocalEngine(run_id, state), run_id, transcript)

    def __enter__(self) -> LocalHost:
        super().__enter__()
        return self
