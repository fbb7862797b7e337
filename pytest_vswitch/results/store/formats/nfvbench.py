"""NFVbench's results: what `nfvbench --json FILE` writes, also within a REST answer.

Its date has no time zone; it is taken for UTC. Rates are those of both directions together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pytest_vswitch.errors import InputError
from pytest_vswitch.results.sample import Environment, Sample
from pytest_vswitch.results.store.formats.foreign import digest, number, objects, text


def is_one(document: Mapping[str, Any]) -> bool:
    return "nfvbench_version" in _content(document)


def samples(document: dict[str, Any], lab: str, _path: Path) -> list[Sample]:
    """One measurement for each chain and frame size. Raises InputError."""
    content = _content(document)
    date = text(content, "date")
    try:
        began = datetime.strptime(date, "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
    except ValueError:
        raise InputError(
            f"`date` should be like 2026-11-21 02:45:00, but is {date[:60]!r}"
        ) from None
    network = objects(content, "benchmarks", "network")
    versions = objects(network, "versions")
    common = Sample(
        run=f"nfvbench-{began:%Y%m%d-%H%M%S}-{digest(content)}",
        lab=lab,
        at_s=began.timestamp(),
        order=0,
        suite="nfvbench",
        case="",
        metric="",
        unit="frames/s",
        better="more",
        value=0.0,
        environment=Environment(
            {},
            {name: text(versions, name) for name in versions},
            {
                "vswitch": text(content, "openstack_spec", "vswitch"),
                "traffic generator": text(content, "config", "tg-tool"),
                "tool": f"NFVbench {text(content, 'nfvbench_version')}",
            },
        ),
    )
    made: list[Sample] = []
    order = 0
    chains = objects(network, "service_chain")
    for chain in chains:
        traffic = objects(chains, chain, "result")
        words = [f"chain={chain}"]
        words += (
            f"{name}={text(traffic, name)}"
            for name in ("bidirectional", "flow_count", "service_chain_count")
            if name in traffic
        )
        sizes = objects(traffic, "result")
        for size in sizes:
            if size == "warning":
                continue
            case = f"nfvbench:{','.join((*words, f'frame_bytes={size}'))}"
            found = objects(sizes, size)
            made += _of_size(replace(common, order=order, case=case), found)
            order += 1
    return made


def _of_size(common: Sample, found: dict[str, Any]) -> Iterator[Sample]:
    for name in ("ndr", "pdr"):
        rate = number(found, name, "rate_pps")
        if rate is not None:
            yield replace(common, metric=name.upper(), value=rate)
        delay_us = number(found, name, "stats", "overall", "avg_delay_usec")
        if delay_us is not None:
            yield _less(common, f"latency average at {name.upper()}", "s", delay_us / 1e6)
    percent = number(found, "stats", "overall", "drop_rate_percent")
    if percent is not None:
        yield _less(common, "fixed rate: loss", "ratio", percent / 100)
    delay_us = number(found, "stats", "overall", "rx", "avg_delay_usec")
    if delay_us is not None:
        yield _less(common, "fixed rate: latency average", "s", delay_us / 1e6)


def _less(common: Sample, metric: str, unit: str, value: float) -> Sample:
    return replace(common, metric=metric, unit=unit, better="less", value=value)


def _content(document: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = document.get("result")
    return inner if isinstance(inner, dict) and "status" in document else document
