"""The frames of failed functional checks, kept in the run's directory as pcap files."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from pytest_vswitch.errors import HostError
from pytest_vswitch.measure.exchange import Exchange
from pytest_vswitch.measure.functional import FunctionalError

DIRECTORY = "captures"
"""Of a run: below it a directory for each test that failed."""
FILE = re.compile(rf"(?<= ){DIRECTORY}/[\w./-]+\.pcap$", re.MULTILINE | re.ASCII)
"""How an error message names such a file: alone on its line, relative to the run's directory."""
_ETHERNET = 1
"""The link type of the files (LINKTYPE_ETHERNET)."""


def keep_those_of(error: FunctionalError, run: Path, test: str) -> None:
    """Keep the frames of a failed check below the run's directory; its message names the files.

    A disk that is full hides no finding: the message tells that, too.
    """
    exchange, error.exchange = error.exchange, None
    if exchange is None:
        return
    try:
        kept = keep(exchange, run, test)
    except HostError as refused:
        error.add(f"    its frames are not kept: {refused}")
        return
    files = "".join(f"\n        {path.relative_to(run)}" for path in kept)
    error.add(f"    its frames are kept in {run}:{files}")


def keep(exchange: Exchange, run: Path, test: str) -> list[Path]:
    """Write `PORT-sent.pcap`, `PORT-expected.pcap` and `PORT-came-back.pcap` of each port.

    They go to a new directory below `run`, named after the test. A frame's time in them is
    its number, from 0, in microseconds: the frames of `sent` and `expected` belong together
    by it. A side without frames has a file without frames. Raises HostError if it cannot.
    """
    base = run / DIRECTORY / (re.sub(r"[^A-Za-z0-9_.]+", "-", test).strip("-.")[-100:] or "test")
    kept = []
    try:
        directory = _new(base)
        for side, frames in (
            ("sent", exchange.sent),
            ("expected", exchange.expected),
            ("came-back", exchange.came_back),
        ):
            for port, queue in frames.items():
                name = re.sub(r"[^A-Za-z0-9_.]+", "-", port)
                kept.append(directory / f"{name}-{side}.pcap")
                _write(kept[-1], queue)
    except OSError as error:
        raise HostError(f"cannot keep the frames in {base}: {error.strerror}") from error
    return sorted(kept)


def _new(base: Path) -> Path:
    """`base`, or with a number after it, made now: a test may fail in several ways."""
    base.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        path = base if number == 1 else base.with_name(f"{base.name}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        break
    return path


def _write(path: Path, frames: Sequence[bytes]) -> None:
    from scapy.utils import RawPcapWriter

    with RawPcapWriter(str(path), linktype=_ETHERNET) as file:
        file.write_header(None)
        for number, frame in enumerate(frames):
            file.write_packet(frame, sec=number // 10**6, usec=number % 10**6)
