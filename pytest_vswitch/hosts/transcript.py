"""Every command of a run, with its output, exit status and time."""

from __future__ import annotations

import os
import re
import shlex
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

from pytest_vswitch.errors import HostError


class Transcript:
    """`transcript.log` of a run, and one log beside it for each long-running program."""

    def __init__(self, directory: Path | None) -> None:
        """None: nothing is kept, for one who only looks."""
        self._directory = directory
        self._path = directory / "transcript.log" if directory else Path(os.devnull)
        self._lock = threading.Lock()
        self._lost = 0

    def command(
        self,
        host: str,
        argv: Sequence[str],
        *,
        status: object,
        output: str,
        seconds: float,
        why: str,
    ) -> None:
        """A command that ended."""
        reason = f"# {why}\n" if why else ""
        output += "\n" if output and not output.endswith("\n") else ""
        self._write(
            host, f"{reason}$ {shlex.join(argv)}\n{output}[status {status}, {seconds:.3f} s]"
        )

    def program(
        self,
        host: str,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        why: str = "",
    ) -> BinaryIO:
        """A long-running program that begins; what it prints goes to the log returned.

        Raises HostError when there can be no log.
        """
        if self._directory is None:
            return open(os.devnull, "ab", buffering=0)
        log = self._directory / "logs" / f"{_word(host)}-{_word(name)}.log"
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            file = log.open("ab", buffering=0)
        except OSError as error:
            raise HostError(f"cannot write {log}: {error.strerror}") from None
        words = [*(f"{key}={value}" for key, value in (env or {}).items()), *argv]
        reason = f"# {why}\n" if why else ""
        told = f"[{name} runs; its output: logs/{log.name}]"
        self._write(host, f"{reason}$ {shlex.join(words)}\n{told}")
        return file

    def note(self, host: str, text: str) -> None:
        """Anything else that changed or asked the host: a file written, a program ended."""
        self._write(host, text)

    def _write(self, host: str, text: str) -> None:
        now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        entry = f"--- {now} {host}\n{text}\n"
        with self._lock:
            if self._lost:
                entry = f"--- lost, as they could not be written: {self._lost} entries\n{entry}"
            try:
                with self._path.open("a", encoding="utf-8", errors="backslashreplace") as log:
                    log.write(entry)
                self._lost = 0
            except OSError:
                # A full disk must not keep a host from being put in order. It is the run's
                # journal that makes an error of it.
                self._lost += 1


def _word(name: str) -> str:
    """As a part of a file's name: of `root@dut1:2222`, too."""
    return re.sub(r"[^A-Za-z0-9._@-]+", "-", name)
