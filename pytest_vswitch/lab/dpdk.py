"""The lab's `dpdk` and `qemu` sections: versions beside the distribution's, by name."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pytest_vswitch.lab.section import Matching, Section, wrong

SYSTEM = "system"
"""The distribution's own, which is always there."""

Version = Annotated[
    str,
    Matching(
        r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,63}", "letters, digits, `.`, `_`, `+`, `~` and `-` only"
    ),
]
Directory = Annotated[
    str, Matching(r"/[^\x00-\x1f\x7f:,]+", "give an absolute path on the DUT, without `:` and `,`")
]
Image = Annotated[str, Matching(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,255}", "name a container image")]
Word = Annotated[str, Matching(r"[^\x00-\x1f\x7f]+", "write each word of the command by itself")]


class DpdkVersion(Section):
    """A DPDK beside the distribution's: exactly one of the ways to have it."""

    prefix: Directory | None = None
    """An installed tree on the DUT, e.g. of `meson install`; the system's libraries are its own."""
    rootfs: Directory | None = None
    """A tree on the DUT with a whole distribution's `/usr`, e.g. one that mmdebstrap made."""
    image: Image | None = None
    """A container image that podman has on the DUT; its files are used, it is never run."""
    build: Annotated[list[Word], Field(min_length=1)] | None = None
    """A command of yours on the DUT; REVISION and DIRECTORY are added, it installs into the
    DIRECTORY."""
    revision: Version | None = None
    """What `build` is asked for: a tag or a commit; what it made is kept by that name."""

    @model_validator(mode="after")
    def _one_way(self) -> DpdkVersion:
        ways = [way for way in (self.prefix, self.rootfs, self.image, self.build) if way]
        if len(ways) != 1:
            raise wrong("give exactly one of prefix, rootfs, image, build")
        if (self.build is None) != (self.revision is None):
            raise wrong("`build` and `revision` go together")
        return self


class QemuVersion(Section):
    """A QEMU beside the distribution's: one of the ways to have it."""

    prefix: Directory | None = None
    """An installed tree on the DUT; the system's libraries are its own."""
    rootfs: Directory | None = None
    """A tree on the DUT with a whole distribution's `/usr`, e.g. one that mmdebstrap made."""

    @model_validator(mode="after")
    def _one_way(self) -> QemuVersion:
        if (self.prefix is None) == (self.rootfs is None):
            raise wrong("give either prefix or rootfs")
        return self
