"""TRex's statistics: what its stateless client's `get_stats()` returns, written as JSON.

It says neither when nor what was measured: the time is that of the file, and a case is told
by its ports and the mean bytes of what was sent, as TRex counts them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_vswitch.errors import InputError
from pytest_vswitch.results.sample import Environment, Sample
from pytest_vswitch.results.store.formats.foreign import digest, number, objects


def is_one(document: Mapping[str, Any]) -> bool:
    return {"global", "total"} <= document.keys()


def samples(document: dict[str, Any], lab: str, path: Path) -> list[Sample]:
    """One measurement. Raises InputError, also when nothing was sent; OSError."""
    sent = number(document, "total", "opackets")
    received = number(document, "total", "ipackets")
    sent_bytes = number(document, "total", "obytes")
    if not sent or sent < 0 or received is None or sent_bytes is None:
        raise InputError("`total` should have opackets (not 0), ipackets and obytes")
    ports = sum(name.isdigit() for name in document)
    common = Sample(
        run=f"trex-{digest(document)}",
        lab=lab,
        at_s=float(int(path.stat().st_mtime)),
        order=0,
        suite="trex",
        case=f"trex:ports={ports},sent_bytes={round(sent_bytes / sent)}",
        metric="fixed rate: loss",
        unit="ratio",
        better="less",
        # Frames that were under way, or of others, can make it less than nothing.
        value=max(0.0, 1 - received / sent),
        environment=Environment({}, {}, {"traffic generator": "TRex"}),
    )
    return [common, *_others(common, document)]


def _others(common: Sample, document: dict[str, Any]) -> Iterator[Sample]:
    rate = number(document, "total", "rx_pps")
    if rate:
        yield replace(
            common, metric="fixed rate: receive rate", unit="frames/s", better="more", value=rate
        )
    for stream in objects(document, "latency"):
        if stream != "global":
            average_us = number(document, "latency", stream, "latency", "average")
            if average_us is not None:
                metric = f"latency: average of stream {stream}"
                yield replace(common, metric=metric, unit="s", value=average_us / 1e6)
