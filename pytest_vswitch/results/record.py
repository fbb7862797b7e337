"""The record of a run: the schema of `results.json`, in data classes.

Plain data classes, so that reading a definition costs no import; pydantic
validates them and writes their JSON Schema in `schema`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pytest_vswitch.measure.goals import Goal, GoalResult
from pytest_vswitch.measure.hint import Hint
from pytest_vswitch.measure.outcome import Outcome
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.results.contention import Contention
from pytest_vswitch.topologies.topology import Facts, Node

SCHEMA_VERSION = 1

Verdict = Literal["passed", "failed", "measured", "error", "incomplete"]


@dataclass(frozen=True, slots=True)
class Run:
    """One pytest session against one lab."""

    id: str
    """E.g. `20261121-024500-1234`; the name of its directory."""
    started: str
    """ISO 8601, UTC."""
    command: tuple[str, ...]
    """The command line that began it."""
    tool_version: str
    """Of pytest-vswitch."""
    simulated: bool
    """Whether the lab's DUT exists in software models only."""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The DUT as found. What changes with a reboot is left out of `fingerprint`."""

    hostname: str
    cpu_model: str
    cpu_mhz: float
    """Frequency when the run began [MHz]; 0 if the host does not tell."""
    cpu_flags: tuple[str, ...]
    cores: int
    """Logical CPUs that are online."""
    numa_nodes: int
    memory_kb: int
    """MemTotal of /proc/meminfo [kB]."""
    kernel: str
    """Release, e.g. `6.1.0-18-amd64`."""
    kernel_command_line: str
    hugepages: Mapping[str, int]
    """Pages allocated before the run, by size, e.g. `{"2048 kB": 0}`."""
    governor: str
    turbo: str
    microcode: str
    hypervisor: str
    """Of the DUT itself when it is a virtual machine; `none` on bare metal."""
    operating_system: str
    fingerprint: str
    """Digest of everything here that makes two results comparable."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One search of one case (`--repeat` makes several), or what was measured in its place."""

    repeat: int
    """Counts from 1."""
    search: str
    """`mlrsearch`, `binary`, `nfvbench`, or the name of another measurement, e.g. `frame loss`."""
    results: tuple[GoalResult, ...]
    """One per goal; none when the search was cut short."""
    trials: tuple[Trial, ...]
    """In the order they were made."""
    elapsed_s: float | None = None
    """Wall time of the whole search [s]; None when it was cut short."""
    contention: Contention | None = None
    """Where the DUT's CPU time went meanwhile; None when it does not tell."""
    outcome: Outcome | None = None
    """Of a measurement that is no search: its figures and curves."""
    hint: Hint | None = None
    """Where the search looked first; None where it began as if nothing were known."""
    order: int | None = field(default=None, compare=False)
    """Counts the measurements of the run from 0, in the order they were made; None: not known."""


@dataclass(frozen=True, slots=True)
class ThresholdCheck:
    """One threshold of the lab file held against what was measured."""

    name: str
    """As in the lab file, e.g. `ndr_pps`."""
    limit: float
    """In the unit that the name ends with; a ratio: 0 to 1."""
    measured: float | None
    """In the same unit; None when the measurement does not have the value."""
    met: bool
    message: str
    """For a reader: number, threshold, shortfall, lossy hop."""


@dataclass(frozen=True, slots=True)
class BaselineCheck:
    """One number of the case held against the same of earlier runs (`--baseline`)."""

    baseline: str
    """As it was asked for: a run or a version."""
    runs: tuple[str, ...]
    """Ids of the runs with that number; none when there are none to hold it against."""
    metric: str
    """E.g. `NDR`; empty when the baseline lacks the whole case, or does not compare."""
    verdict: Literal["better", "same", "worse", "can't tell"]
    met: bool
    """False only when it is worse, by more than the drop that is allowed."""
    message: str
    """For a reader: number, baseline, change with its interval, lossy hop."""
    unit: str = ""
    measured: float | None = None
    """Median of the repeats, in that unit."""
    reference: float | None = None
    """Median of the baseline, in the same unit."""
    change: float | None = None
    """Relative, e.g. -0.03."""
    low: float | None = None
    """The change is not below this, with the confidence of the judgement; None: unlimited."""
    high: float | None = None
    """The change is not above this."""
    p_value: float | None = None
    """That chance alone made a change as large; None: not testable."""


@dataclass(frozen=True, slots=True)
class Case:
    """Suite, topology and parameters: what is comparable across runs."""

    id: str
    """E.g. `pvp:frame_bytes=64`; thresholds and comparisons go by it."""
    suite: str
    topology: str
    parameters: Mapping[str, str | int | float]
    goals: tuple[Goal, ...]
    ports: tuple[str, ...]
    """The DUT's ports, where the generator attaches, as the DUT calls them."""
    line_rate_pps: float
    """Sum over all directions [frames/s] for this frame size."""
    traffic_generator: str
    """Its description, with version."""
    simulated: bool
    """Whether no frame of this case ever existed; everything that shows it says so."""
    facts: Facts
    nodes: tuple[Node, ...]
    """The boxes of the drawing, from the generator's side inwards."""
    measurements: tuple[Measurement, ...] = ()
    checks: tuple[ThresholdCheck, ...] = ()
    baseline: tuple[BaselineCheck, ...] = ()
    verdict: Verdict = "measured"
    """`measured`: no threshold is set; `incomplete`: the run ended before this case did."""
    error: str = ""
    """What went wrong, when the verdict is `error`."""
    template: Mapping[str, str] = field(default_factory=dict)
    """The eleven lines of chapter 4.4, in order."""


@dataclass(frozen=True, slots=True)
class Record:
    """Everything in `results.json`."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = {
        "extra": "forbid",
        "use_attribute_docstrings": True,
        "allow_inf_nan": False,
    }

    schema_version: int
    """Version of this schema; a reader refuses one newer than its own."""
    run: Run
    lab: Mapping[str, object]
    """The lab file as read, without comments."""
    host: HostFacts
    cases: tuple[Case, ...]
    """In the order they began; a case that was run again stands here again."""
    finished: bool
    """False when the run ended before its last case (killed, interrupted, host gone)."""
    damage: tuple[str, ...] = ()
    """What a repaired journal has lost, one sentence per line; empty normally."""
