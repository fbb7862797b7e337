"""The lab file: what its keys are, their units, defaults and ranges.

Importing this module imports pydantic; only what loads a lab does so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

CASE_ID = re.compile(r"[a-z][a-z0-9_-]*(:[a-z][a-z0-9_]*=[^\s,=]+(,[a-z][a-z0-9_]*=[^\s,=]+)*)?")
"""`suite:name=value,name=value`, e.g. `pvp:frame_bytes=64`."""


def _wrong(message: str) -> PydanticCustomError:
    # Braces would be taken for fields of pydantic's message template.
    return PydanticCustomError("lab", "{message}", {"message": message})


def _matching(pattern: str, hint: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise _wrong(f"{text!r} will not do: {hint}")
        return text

    return AfterValidator(check)


def _power_of_two(number: int) -> int:
    if number & (number - 1):
        raise _wrong(f"must be a power of two, e.g. {1 << (number.bit_length() - 1)}")
    return number


def _lcores(value: object) -> object:
    if value == "auto":
        return value
    if isinstance(value, list) and value and all(type(n) is int and n >= 0 for n in value):
        return value
    raise _wrong("must be `auto` or a list of lcore numbers, e.g. [2, 3]")


def _on_off(value: object) -> object:
    """QEMU's words for YAML's: `true` is `on`, and a number is its digits."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if isinstance(value, int) else value


Program = Annotated[str, _matching(r"[^\s\x00-\x1f\x7f-][^\x00-\x1f\x7f]*", "name a program")]
PortName = Annotated[
    str, _matching(r"[a-z][a-z0-9_]{0,15}", "at most 16 of a-z, 0-9 and _, a letter first")
]
Property = Annotated[
    str, _matching(r"[A-Za-z0-9][A-Za-z0-9_.-]*", "letters, digits, `_`, `.` and `-` only")
]
CaseId = Annotated[
    str,
    _matching(CASE_ID.pattern, "a case is written suite:name=value, e.g. pvp:frame_bytes=64"),
]
Memory = Annotated[int, Field(ge=64, le=1_048_576)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
LineRate = Annotated[float, Field(gt=0, le=1600)]


class _Section(BaseModel):
    """A mapping of the lab file: no unknown keys, no silent conversions."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_is_absent(cls, data: object) -> object:
        """A known key without a value (all below it commented out) takes its default."""
        if not isinstance(data, Mapping):
            return data
        return {k: v for k, v in data.items() if v is not None or k not in cls.model_fields}


class Dut(_Section):
    """The device under test: where the data plane runs, and what it may use."""

    host: Literal["local", "sim"]
    """`local`: this machine, with real programs; `sim`: a simulation, labelled as one."""
    lcores: Annotated[Literal["auto"] | list[int], BeforeValidator(_lcores)] = "auto"
    """CPUs for the host's testpmd, the first for its command line; `auto` chooses."""
    hugepages: Literal["auto", "none", "2M", "1G"] = "auto"
    """Page size of DPDK and guest memory; `auto` takes what the DUT has, or none."""
    memory_mb: Memory = 512
    """Memory for the host's testpmd [MiB]."""
    testpmd: Program = "dpdk-testpmd"
    """The DPDK to certify: its testpmd, a name on PATH or a path."""

    @field_validator("lcores")
    @classmethod
    def _once_each(cls, lcores: Literal["auto"] | list[int]) -> Literal["auto"] | list[int]:
        if len(set(lcores)) != len(lcores) and lcores != "auto":
            raise _wrong("names an lcore twice")
        return lcores


class Guest(_Section):
    """The virtual machine of the topologies that have one."""

    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    """`kvm` needs a working /dev/kvm; `tcg` is emulation: slow, runs anywhere."""
    memory_mb: Annotated[int, Field(ge=256, le=1_048_576)] = 1024
    """Memory of the guest [MiB]."""
    vcpus: Annotated[int, Field(ge=1, le=256)] = 3
    """Virtual CPUs of the guest: one for Linux, the others forward."""
    qemu: Program = "qemu-system-x86_64"
    """QEMU, a name on PATH or a path."""
    kernel: str = "auto"
    """`auto`, or the path of a vmlinuz; its modules are found by its version."""
    virtio: dict[Property, Annotated[Property, BeforeValidator(_on_off)]] = {}
    """Properties of QEMU's virtio-net-pci device, e.g. `mrg_rxbuf: off`."""

    @field_validator("kernel")
    @classmethod
    def _kernel_path(cls, kernel: str) -> str:
        if kernel != "auto" and not re.fullmatch(r"/[^\x00-\x1f\x7f]+", kernel):
            raise _wrong("must be `auto` or the absolute path of a vmlinuz")
        return kernel


class MemifPortSpec(_Section):
    """A DUT port over shared memory (memif)."""

    kind: Literal["memif"]
    """`memif`: a port that a generator on the same machine reaches over shared memory."""
    name: PortName = ""
    """What reports call the port; default `memif0`, `memif1`, ... by position."""
    line_rate_gbps: LineRate = 10.0
    """Wire speed that the port stands for [Gbit/s]; no trial offers more."""


class SimPortSpec(_Section):
    """A port of the simulated DUT."""

    kind: Literal["sim"]
    """`sim`: a port of the simulated DUT; it is called `sim0`, `sim1`, ... by position."""
    line_rate_gbps: LineRate = 10.0
    """Wire speed that the port stands for [Gbit/s]; no trial offers more."""


class Generator(_Section):
    """The traffic generator."""

    kind: Literal["memif", "sim"]
    """`memif` for memif ports, `sim` for simulated ones; default: as the DUT needs."""
    cpu: Annotated[int, Field(ge=0)] | None = None
    """CPU that the generator is pinned to; default: chosen apart from the DUT's lcores."""
    ring_size: Annotated[int, Field(ge=64, le=16384), AfterValidator(_power_of_two)] = 1024
    """Frames that a memif port queues in each direction, like a NIC's descriptors."""


class SimModel(_Section):
    """How the simulated DUT behaves."""

    seed: Annotated[int, Field(ge=0, lt=2**64)] = 1
    """Start of its random numbers; the same seed gives the same results."""
    capacity_pps: Annotated[float, Field(ge=1e3, le=1e8)] = 1e7
    """Frames of 64 bytes that it can forward, sum of both directions [frames/s]."""


class Limits(_Section):
    """The thresholds of one case; at least one."""

    ndr_pps: Positive | None = None
    """Least no-drop rate, sum of all directions [frames/s]."""
    pdr_pps: Positive | None = None
    """Least partial-drop rate, sum of all directions [frames/s]."""
    line_rate_percent: Annotated[float, Field(gt=0, le=100)] | None = None
    """Least no-drop rate [% of line rate]."""
    latency_p99_us: Positive | None = None
    """Largest 99th percentile of one-way latency at the no-drop rate [µs]."""
    loss_ratio: Annotated[float, Field(ge=0, le=1)] | None = None
    """Largest share of frames lost at the highest load tried, 0 to 1."""

    @model_validator(mode="after")
    def _at_least_one(self) -> Limits:
        if not self.model_fields_set:
            raise _wrong(f"sets no threshold; give at least one of {', '.join(LIMITS)}")
        return self


LIMITS = tuple(Limits.model_fields)


class Lab(_Section):
    """A lab: DUT, ports, generator, and what is asked of each case."""

    name: str
    """The lab file's name without `.yaml`; not a key of the file."""
    description: str = ""
    """For readers of reports: where it stands, whose it is."""
    dut: Dut
    """The device under test."""
    guest: Guest = Guest()
    """The virtual machine of the topologies that have one."""
    ports: Annotated[
        list[Annotated[MemifPortSpec | SimPortSpec, Field(discriminator="kind")]],
        Field(min_length=1),
    ]
    """Where the generator attaches, in order; frames into the first come out of the second."""
    generator: Generator
    """The traffic generator; default: the one that fits the ports."""
    sim: SimModel | None = None
    """How the simulated DUT behaves; only with `dut.host: sim`."""
    thresholds: dict[CaseId, Limits] = {}
    """What each case must reach, by case id; `vswitch threshold` writes them."""

    _path: Path | None = PrivateAttr(default=None)
    _marks: Mapping[tuple[str | int, ...], tuple[int, int]] = PrivateAttr(default={})

    @property
    def path(self) -> Path | None:
        """The file that this lab was read from; None if it was made in code."""
        return self._path

    def where(self, *key: str | int) -> str:
        """`FILE:LINE` of a key, e.g. `where("ports", 0)`, or of the nearest one above it."""
        if self._path is None:
            return f"lab `{self.name}`"
        while key and key not in self._marks:
            key = key[:-1]
        return f"{shown(self._path)}:{self._marks.get(key, (1, 1))[0]}"

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_host(cls, data: Any) -> Any:
        """Fill in the generator, and the model of a simulated DUT."""
        if not isinstance(data, Mapping):
            return data
        dut, generator = data.get("dut"), data.get("generator")
        sim = isinstance(dut, Mapping) and dut.get("host") == "sim"
        filled = dict(data)
        if generator is None or isinstance(generator, Mapping):
            filled["generator"] = dict(generator or {})
            filled["generator"].setdefault("kind", "sim" if sim else "memif")
        if sim and filled.get("sim") is None:
            filled["sim"] = {}
        return filled

    @field_validator("ports")
    @classmethod
    def _name_the_ports(
        cls, ports: list[MemifPortSpec | SimPortSpec]
    ) -> list[MemifPortSpec | SimPortSpec]:
        named = [
            port.model_copy(update={"name": f"memif{index}"})
            if isinstance(port, MemifPortSpec) and not port.name
            else port
            for index, port in enumerate(ports)
        ]
        names = [port.name for port in named if isinstance(port, MemifPortSpec)]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise _wrong(f"two ports are called `{twice}`")
        return named

    @field_validator("ports", "generator", "sim")
    @classmethod
    def _one_world(cls, value: Any, info: ValidationInfo) -> Any:
        """Simulated and real parts do not mix: a simulated number must never pass for a real."""
        if not (dut := info.data.get("dut")):
            return value
        kind = "sim" if dut.host == "sim" else "memif"
        with_host = f"with `dut.host: {dut.host}`"
        if info.field_name == "sim" and kind != "sim":
            raise _wrong(f"{with_host} there is no simulated DUT; take `sim` out")
        if info.field_name == "ports" and any(port.kind != kind for port in value):
            raise _wrong(f"{with_host} every port is of kind `{kind}`")
        if info.field_name == "generator" and value.kind != kind:
            raise _wrong(f"{with_host} the generator is of kind `{kind}`, not `{value.kind}`")
        return value


def shown(path: Path) -> str:
    """The path as messages show it: relative when it is below the current directory."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
