"""The lab's `trex` section: which TRex drives the ports, and how it is started."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from pytest_vswitch.lab.section import Matching, Section, wrong

TcpPort = Annotated[int, Field(ge=1, le=65535)]
Path = Annotated[
    str, Matching(r"/[^\x00-\x1f\x7f,]*", "give an absolute path on the generator's host")
]
Argument = Annotated[
    str, Matching(r"[^\s\x00-\x1f\x7f]+", "write each word of the command line by itself")
]
User = Annotated[str, Matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "a name without spaces")]


class Trex(Section):
    """TRex as traffic generator; with this section `generator.kind` is `trex` by default."""

    path: Path | None = None
    """Folder of a TRex release on the generator's host, with `t-rex-64` in it."""
    server: Literal["start", "running"] = "start"
    """`start`: its server is started for each run; `running`: one that already runs is used."""
    sync_port: TcpPort = 4501
    """TCP port of the server's requests; 4501 unless its configuration says otherwise."""
    async_port: TcpPort = 4500
    """TCP port of the server's events."""
    ports: list[Annotated[int, Field(ge=0, le=63)]] = Field(default_factory=list)
    """TRex's numbers of the ports, in the lab's order; default: by PCI address, or 0, 1, ..."""
    force: bool = False
    """Take ports that somebody else holds. Only with `server: running`."""
    user: User = "pytest-vswitch"
    """What others see as holder of the ports."""
    low_end: bool | None = None
    """One core for all of TRex, little memory; default: for memif ports."""
    cores: Annotated[int, Field(ge=1, le=64)] = 1
    """Cores that send and receive, for each pair of ports; not with low end."""
    lcores: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list)
    """CPUs: for control, for latency, then `cores` that send; low end: one; default: chosen."""
    memory_mb: Annotated[int, Field(ge=256, le=1_048_576)] | None = None
    """Memory of the server [MiB]; default: as much as TRex itself takes."""
    start_timeout_s: Annotated[float, Field(gt=0, le=600)] = 60.0
    """How long the server may take until it answers [s]."""
    arguments: list[Argument] = Field(default_factory=list)
    """More words for t-rex-64, e.g. `[--software]`."""

    @field_validator("ports", "lcores")
    @classmethod
    def _once_each(cls, numbers: list[int]) -> list[int]:
        if len(set(numbers)) != len(numbers):
            raise wrong("names a number twice")
        return numbers
