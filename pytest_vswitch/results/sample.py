"""One measured number as histories keep it: what compare, trend, baseline and bisect work on.

A record tells how a number came about; a sample says what it is comparable with. Versions are
no part of its case: two samples of one case may be of two DPDKs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from json import dumps
from typing import Literal

from pytest_vswitch.measure.cycles import cycles_per_frame
from pytest_vswitch.measure.goals import GoalResult
from pytest_vswitch.measure.outcome import Figure
from pytest_vswitch.results import verdict
from pytest_vswitch.results.environment import stable_facts
from pytest_vswitch.results.findings import first_failing, trials_at
from pytest_vswitch.results.record import Case, Measurement, Record
from pytest_vswitch.topologies.topology import CYCLES_PER_FRAME

VERSION_PARAMETERS = ("dpdk", "guest_dpdk", "qemu")
"""Parameters of a case that say what is compared, not what is comparable."""

Better = Literal["more", "less"]


@dataclass(frozen=True)
class Environment:
    """What a number was measured on and with, by name, for readers and for the comparison."""

    machine: Mapping[str, str]
    """`environment.stable_facts`: numbers of two machines that differ here do not compare."""
    software: Mapping[str, str]
    """Versions by role, as the running programs told them: `host dpdk`, `qemu`, ..."""
    setup: Mapping[str, str] = field(default_factory=dict)
    """`NIC`, `accelerator`, `memory`, `virtio features`, `traffic generator`, `tool`."""

    @cached_property
    def digest(self) -> str:
        """Sixteen hexadecimal digits; alike when all of it is."""
        text = dumps([dict(self.machine), dict(self.software), dict(self.setup)], sort_keys=True)
        return sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One number of one measurement of one run."""

    run: str
    """Id of the run."""
    lab: str
    at_s: float
    """When its run began [Unix time, s]."""
    order: int
    """Counts the measurements of a run from 0, in the order they were made."""
    suite: str
    case: str
    """The case's id without `VERSION_PARAMETERS`, e.g. `pvp:frame_bytes=64`."""
    metric: str
    """`NDR`, `PDR`, `latency p99 at NDR`, or `measurement: figure`, e.g. `MRR: rate`."""
    unit: str
    """As in `measure.outcome.Figure`."""
    better: Better
    value: float
    """The reported number."""
    low: float | None = None
    """The true value is not below this; None: nothing is stated."""
    high: float | None = None
    """The true value is not above this; None with a `low`: nothing limits it."""
    censored: bool = False
    """The DUT could have done better: the line or the generator was at its end."""
    lossy_hop: str = ""
    """Where frames were lost first above this rate; empty when nobody knows."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """The case's `VERSION_PARAMETERS`, e.g. `{"dpdk": "24.11"}`; empty: the machine's own."""
    environment: Environment
    simulated: bool = False


def samples(record: Record) -> Iterator[Sample]:
    """Every number of a run that can be compared; of cases that ended with an error, none."""
    order = 0
    for case in record.cases:
        environment = _environment(record, case)
        for measurement in case.measurements:
            if case.verdict != "error":
                made = order if measurement.order is None else measurement.order
                yield from _of_measurement(record, case, measurement, environment, made)
            order += 1


def began_s(record: Record) -> float:
    """When the run began [Unix time, s]."""
    # Python 3.10 does not know ISO 8601's `Z`.
    return datetime.fromisoformat(record.run.started.replace("Z", "+00:00")).timestamp()


def comparable(case: Case) -> str:
    """The case's id without its versions."""
    words = ",".join(
        f"{name}={value}"
        for name, value in sorted(case.parameters.items())
        if name not in VERSION_PARAMETERS
    )
    return f"{case.suite}:{words}"


def _of_measurement(
    record: Record, case: Case, measurement: Measurement, environment: Environment, order: int
) -> Iterator[Sample]:
    common = Sample(
        run=record.run.id,
        lab=str(record.lab.get("name", "")),
        at_s=began_s(record),
        order=order,
        suite=case.suite,
        case=comparable(case),
        metric="",
        unit="",
        better="less",
        value=0.0,
        versions={
            name: str(case.parameters[name])
            for name in VERSION_PARAMETERS
            if name in case.parameters
        },
        environment=environment,
        simulated=case.simulated,
    )
    for result in measurement.results:
        if result.lower_pps is not None:
            yield _of_search(common, measurement, result)
    if measurement.results and (p99_us := verdict.p99_us(measurement)) is not None:
        yield replace(common, metric="latency p99 at NDR", unit="s", value=p99_us / 1e6)
    if (cycles := _cycles_at_ndr(measurement)) is not None:
        yield replace(common, metric=f"{CYCLES_PER_FRAME} at NDR", unit="cycles", value=cycles)
    if measurement.outcome:
        for figure in measurement.outcome.figures:
            if figure.value is not None and _compared(figure, measurement):
                yield _of_figure(common, measurement, figure)


def _cycles_at_ndr(measurement: Measurement) -> float | None:
    """What a frame cost the vSwitch in the trials that the NDR rests on."""
    for result in measurement.results:
        if result.goal.name == "NDR":
            return cycles_per_frame(trials_at(measurement, result))
    return None


def _of_search(common: Sample, measurement: Measurement, result: GoalResult) -> Sample:
    assert result.lower_pps is not None
    failing = first_failing(measurement, result)
    hop = failing.lossy_hop if failing else None
    return replace(
        common,
        metric=result.goal.name,
        unit="frames/s",
        better="more",
        value=result.lower_pps,
        low=result.lower_pps,
        high=result.upper_pps,
        censored=result.limited_by in ("line rate", "generator"),
        lossy_hop=hop.name if hop else "",
    )


def _compared(figure: Figure, measurement: Measurement) -> bool:
    """The first figure says how it went, the others how it was done; of delays, each says it."""
    assert measurement.outcome is not None
    if measurement.search == "latency" or figure.name == CYCLES_PER_FRAME:
        return True
    return figure is measurement.outcome.figures[0]


def _of_figure(common: Sample, measurement: Measurement, figure: Figure) -> Sample:
    assert figure.value is not None
    more = figure.unit in _RATES or measurement.search in _MORE_IS_BETTER
    return replace(
        common,
        metric=f"{measurement.search}: {figure.name}",
        unit=figure.unit,
        better="more" if more else "less",
        value=figure.value,
        low=figure.low,
        high=figure.high,
    )


_RATES = ("frames/s", "flows", "flows/s", "cores", "queues", "guests")
"""Units of what is better when it is more; times, losses and costs are better when less."""
_MORE_IS_BETTER = ("back-to-back", "noisy neighbour")
"""Measurements of a buffer's time, and of the part of the throughput that is kept."""


def _environment(record: Record, case: Case) -> Environment:
    facts = case.facts
    setup = {
        "NIC": facts.nic,
        "accelerator": facts.accelerator,
        "memory": facts.memory,
        "virtio features": facts.virtio_features,
        "traffic generator": case.traffic_generator,
        "tool": record.run.tool_version,
    }
    return Environment(stable_facts(record.host), dict(facts.versions), setup)
