"""The ports of a lab, by kind: NIC ports, ports over shared memory, simulated ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from pytest_vswitch.lab.section import Matching, Section, wrong


def _full_bdf(value: object) -> object:
    """As Linux writes it: lower case, and with the domain, which is 0000 if not given."""
    if not isinstance(value, str):
        return value
    return f"0000:{value}".lower() if value.count(":") == 1 else value.lower()


BDF = r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-1][0-9a-f]\.[0-7]"
"""A PCI address as Linux writes it: domain, bus, device and function."""

_WRITTEN_BDF = r"(?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[01][0-9a-fA-F]\.[0-7]"

Bdf = Annotated[
    str,
    BeforeValidator(_full_bdf),
    Matching(BDF, "write a PCI address as lspci does, e.g. 0000:11:00.0"),
    WithJsonSchema({"type": "string", "pattern": f"^{_WRITTEN_BDF}$"}),
]
LineRate = Annotated[float, Field(gt=0, le=1600)]
Mac = Annotated[
    str,
    Matching(
        r"[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}",
        "write the MAC address of one station, e.g. 02:00:00:00:00:01",
    ),
]
PortName = Annotated[
    str, Matching(r"[a-z][a-z0-9_]{0,15}", "at most 16 of a-z, 0-9 and _, a letter first")
]
Wire = Annotated[
    str,
    BeforeValidator(lambda value: _full_bdf(value) if ":" in str(value) else value),
    Matching(
        rf"{BDF}|[^\s/:\x00-\x1f\x7f]{{1,15}}",
        "name the generator's interface, e.g. ens1f0, or its PCI address, e.g. 0000:11:00.0",
    ),
    WithJsonSchema({"type": "string", "pattern": rf"^(?:{_WRITTEN_BDF}|[^\s/:]{{1,15}})$"}),
]


class NicPortSpec(Section):
    """A port of a network card."""

    kind: Literal["nic"]
    """`nic`: a port of a network card, wired to one of the generator's ports."""
    bdf: Bdf
    """PCI address on the DUT, e.g. 0000:11:00.0 (`lspci -D`)."""
    driver: Literal["vfio-pci", "uio_pci_generic", "igb_uio", "kernel"] = "vfio-pci"
    """Driver to bind for DPDK; `kernel`: the port keeps its own (bifurcated, e.g. mlx5)."""
    generator: Wire | None = None
    """The generator's port at the other end of the wire: an interface or a PCI address."""
    name: PortName = ""
    """What reports call the port; default `nic0`, `nic1`, ... by position."""
    line_rate_gbps: LineRate
    """Speed of the link [Gbit/s]; no trial offers more."""
    mac: Mac | None = None
    """MAC address that frames to this port carry; default: the one that it has."""


class MemifPortSpec(Section):
    """A DUT port over shared memory (memif)."""

    kind: Literal["memif"]
    """`memif`: a port that a generator on the same machine reaches over shared memory."""
    name: PortName = ""
    """What reports call the port; default `memif0`, `memif1`, ... by position."""
    line_rate_gbps: LineRate = 10.0
    """Wire speed that the port stands for [Gbit/s]; no trial offers more."""


class SimPortSpec(Section):
    """A port of the simulated DUT."""

    kind: Literal["sim"]
    """`sim`: a port of the simulated DUT; it is called `sim0`, `sim1`, ... by position."""
    line_rate_gbps: LineRate = 10.0
    """Wire speed that the port stands for [Gbit/s]; no trial offers more."""


PortSpec = Annotated[NicPortSpec | MemifPortSpec | SimPortSpec, Field(discriminator="kind")]
KINDS: dict[str, type[BaseModel]] = {"nic": NicPortSpec, "memif": MemifPortSpec, "sim": SimPortSpec}


def named(ports: Sequence[PortSpec]) -> list[PortSpec]:
    """The ports, each with a name; it is a fault when two share a name, a BDF or a wire's end."""
    result = [
        port
        if port.kind == "sim" or port.name
        else port.model_copy(update={"name": f"{port.kind}{index}"})
        for index, port in enumerate(ports)
    ]
    nics = [port for port in result if port.kind == "nic"]
    for what, values in (
        ("are called", [port.name for port in result if port.kind != "sim"]),
        ("have the BDF", [port.bdf for port in nics]),
        ("are wired to the generator's", [port.generator for port in nics if port.generator]),
    ):
        if twice := next((value for value in values if values.count(value) > 1), None):
            raise wrong(f"two ports {what} `{twice}`")
    return result
