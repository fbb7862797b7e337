"""The lab's `container` section: what runs a container, and what it may use."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from pytest_vswitch.lab.section import Section, on_off


class Container(Section):
    """The container of the topologies that have one."""

    engine: Literal["auto", "podman", "docker"] = "auto"
    """What runs it; `auto` takes podman if the DUT has it, else docker."""
    rootless: Annotated[
        Literal["auto", "on", "off"],
        BeforeValidator(on_off),
        WithJsonSchema({"anyOf": [{"enum": ["auto", "on", "off"]}, {"type": "boolean"}]}),
    ] = "auto"
    """Whether its programs run without root's rights on the DUT; `auto`: if that is possible."""
    image: Literal["own", "built"] = "own"
    """`own`: the DUT's /usr is mounted; `built`: an image with what testpmd needs of it."""
    lcores: Annotated[int, Field(ge=2, le=256)] = 2
    """CPUs that it may use: one for its testpmd's command line, the others forward."""
    memory_mb: Annotated[int, Field(ge=64, le=1_048_576)] = 256
    """Memory that its testpmd shares with the vSwitch, and its limit of hugepages [MiB]."""
    single_file_segments: bool = True
    """Few files for all hugepages; without, pages of 2 MB are more than vhost-user carries."""
