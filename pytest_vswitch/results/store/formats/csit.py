"""FD.io CSIT's results: one JSON file per test, of its "UTI" model, version 1.

Fields as in CSIT's own schema of such a file. A file names neither its job nor its build, so
that each test becomes a run of its own, begun when the test began. A test that failed has no
result to compare.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pytest_vswitch.errors import InputError
from pytest_vswitch.results.sample import Environment, Sample
from pytest_vswitch.results.store.formats.foreign import at, digest, number, objects, text

_UNITS = {"pps": "frames/s", "packets": "frames"}
_LOADS = {"pdr_0": "hardly any load", "pdr_10": "10 % PDR", "pdr_50": "50 % PDR"}
_LOADS["pdr_90"] = "90 % PDR"
_ROLES = {"dpdk": "host dpdk"}
"""Of versions: CSIT's word, and ours."""


def is_one(document: Mapping[str, Any]) -> bool:
    return {"version", "start_time", "hosts", "telemetry"} <= document.keys()


def samples(document: dict[str, Any], lab: str, _path: Path) -> list[Sample]:
    """None of a suite's setup or teardown, of which there are files, too. Raises InputError."""
    if "test_id" not in document or not document.get("passed"):
        return []
    name, started = text(document, "test_id"), text(document, "start_time")
    try:
        began = datetime.fromisoformat(started.replace("Z", "+00:00"))
        began = began.replace(tzinfo=began.tzinfo or timezone.utc)
    except ValueError:
        raise InputError(f"`start_time` should be an ISO date, but is {started[:60]!r}") from None
    hosts = at(document, "hosts")
    if not isinstance(hosts, list):
        raise InputError("`hosts` should be a list")
    dut = text(document, "dut_type")
    common = Sample(
        run=f"csit-{began:%Y%m%d-%H%M%S}-{digest({'test_id': name, 'hosts': hosts})}",
        lab=lab,
        at_s=began.timestamp(),
        order=0,
        suite="csit",
        case=f"csit:{name}",
        metric="",
        unit="",
        better="more",
        value=0.0,
        environment=Environment(
            {"testbed": " ".join(sorted(map(str, hosts)))},
            {_ROLES.get(dut, dut): text(document, "dut_version")},
            {
                "traffic generator": f"{text(document, 'tg_type')} {text(document, 'tg_version')}",
                "tool": f"CSIT model {text(document, 'version')}",
            },
        ),
    )
    result = objects(document, "result")
    return list(_of_result(common, result))


def _of_result(common: Sample, result: dict[str, Any]) -> Iterator[Sample]:
    for name in ("ndr", "pdr"):
        yield from _bounds(replace(common, metric=name.upper()), objects(result, name))
    yield from _bounds(
        replace(common, metric="soak: critical rate"), objects(result, "critical_rate")
    )
    yield from _rate(
        replace(common, metric="MRR: maximum receive rate"),
        objects(result, "receive_rate", "rate"),
        "avg",
    )
    for direction in ("forward", "reverse"):
        for load, shown in _LOADS.items():
            average = number(result, f"latency_{direction}", load, "avg")
            if average is not None:
                yield replace(
                    common,
                    metric=f"latency: average {direction} at {shown}",
                    unit="s",
                    better="less",
                    value=average / 1e6,
                )
    lost_s = number(result, "loss", "time", "value")
    if lost_s is not None:
        yield replace(common, metric="reconf: time lost", unit="s", better="less", value=lost_s)
    for name in ("bandwidth", "rate"):  # of a host stack
        yield from _rate(replace(common, metric=f"host stack: {name}"), objects(result, name))


def _bounds(common: Sample, bounds: dict[str, Any]) -> Iterator[Sample]:
    """Of a search. Where it has no upper bound, the lower is a figure and not a limit."""
    for one in _rate(common, objects(bounds, "lower", "rate")):
        upper = number(bounds, "upper", "rate", "value")
        yield one if upper is None else replace(one, low=one.value, high=upper)


def _rate(common: Sample, rate: dict[str, Any], name: str = "value") -> Iterator[Sample]:
    value = number(rate, name)
    if value is not None:
        unit = text(rate, "unit")
        yield replace(common, value=value, unit=_UNITS.get(unit, unit))
