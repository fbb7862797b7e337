"""The kernel's command line: what is on it, and what it would be with more."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_vswitch.machine.cpulist import parse_list

_PAGES = ("hugepagesz", "hugepages")
"""`hugepages=` counts pages of the size that the `hugepagesz=` before it names."""

_BOOT_LOADER = ("BOOT_IMAGE", "initrd")
"""What the boot loader adds by itself."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Arguments of a kernel, in order."""

    arguments: tuple[str, ...]
    """Without those for init, which follow ` -- `."""
    init: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> CommandLine:
        """Split as the kernel does: at spaces outside double quotes."""
        words = re.findall(r'(?:[^\s"]|"[^"]*"?)+', text)
        at = words.index("--") if "--" in words else len(words)
        return cls(tuple(words[:at]), tuple(words[at + 1 :]))

    def values(self, name: str) -> tuple[str, ...]:
        """What each `name=` gives, in order; an empty text for a bare `name`."""
        split = (argument.partition("=") for argument in self.arguments)
        return tuple(value.strip('"') for key, _, value in split if _same(key, name))

    def cpus(self, name: str) -> frozenset[int]:
        """The CPUs of the last `name=[FLAG,]LIST`, e.g. of `isolcpus`."""
        given = self.values(name)
        if not given:
            return frozenset()
        parts = given[-1].split(",")
        return parse_list(",".join(part for part in parts if part[:1].isdigit()))

    def pages(self, size: str) -> int:
        """Hugepages of `size` (`2M`, `1G`) that are reserved at boot."""
        count, current = 0, ""
        for argument in self.arguments:
            key, _, value = argument.partition("=")
            if key == "default_hugepagesz" or key == "hugepagesz":
                current = value
            elif key == "hugepages" and current == size and value.isdigit():
                count = int(value)
        return count

    def adding(self, wanted: Sequence[str]) -> CommandLine:
        """With each of `wanted`; one of the same name is replaced where it stands.

        `hugepagesz=1G hugepages=6` is one word of `wanted`: a size and its count.
        """
        arguments = list(self.arguments)
        for word in wanted:
            name = word.partition("=")[0]
            if name == "hugepagesz":
                _put_pages(arguments, *word.split(" "))
                continue
            places = [i for i, old in enumerate(arguments) if _same(old.partition("=")[0], name)]
            if not places:
                arguments.append(word)
                continue
            arguments[places[0]] = word
            for place in reversed(places[1:]):
                del arguments[place]
        return CommandLine(tuple(arguments), self.init)

    def __str__(self) -> str:
        """As a boot loader is given it."""
        own = [a for a in self.arguments if a.partition("=")[0] not in _BOOT_LOADER]
        return " ".join([*own, *(("--", *self.init) if self.init else ())])


def _put_pages(arguments: list[str], size: str, count: str) -> None:
    """Put a size and its count in, in the place of an older count of the same size."""
    if size not in arguments:
        arguments += [size, count]
        return
    at = arguments.index(size) + 1
    if at < len(arguments) and arguments[at].startswith("hugepages="):
        arguments[at] = count
    else:
        arguments.insert(at, count)


def _same(one: str, other: str) -> bool:
    """The kernel takes `-` and `_` in a name for the same."""
    return one.replace("-", "_") == other.replace("-", "_")
