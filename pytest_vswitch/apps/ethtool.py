"""ethtool: which driver a port has, its features, and its filters (`-N`), put in and read back.

Texts were captured from ethtool 6.1; what a filter is made of is in `ethtool_filters`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from pytest_vswitch.apps.ethtool_filters import Rule
from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import netns
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.undo import Change

PROGRAM: Final = "ethtool"
NTUPLE: Final = "ntuple-filters"
"""What `-k` calls the feature that `-K ... ntuple on` sets."""

# --- facts --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Driver:
    """What `ethtool -i` says of a port."""

    name: str
    """E.g. `i40e`."""
    version: str
    """Of the module: the kernel's release where it came with the kernel (since Linux 5.8)."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A filter that was not put in."""

    by: Literal["ethtool", "driver"]
    """`ethtool`: its words are wrong, and no NIC was asked."""
    reason: str


_LINE = re.compile(r"^\s*([^:\n]+):[ \t]*(.*)$", re.MULTILINE)
_SYNTAX = re.compile(r"bad command line argument|unrecognized option|Invalid \S+ value", re.I)
_REFUSED = re.compile(r"Cannot (?:insert|delete|get) (?:RX )?class(?:ification)? rule: (.+)")


def parse_driver(output: str) -> Driver:
    """From `ethtool -i`. Raises HostError when the output is not of that form."""
    told = dict(_LINE.findall(output))
    if "driver" not in told:
        raise HostError(f"`{PROGRAM} -i` told no driver: {output.strip() or '(nothing)'}")
    return Driver(told["driver"].strip(), told.get("version", "").strip())


def parse_feature(output: str, name: str) -> tuple[bool, bool]:
    """Whether a feature is on, and whether it can be changed, from `ethtool -k`.

    Raises HostError when it is not listed.
    """
    if found := re.search(rf"^\s*{re.escape(name)}: (on|off)( \[fixed\])?", output, re.MULTILINE):
        return found[1] == "on", not found[2]
    raise HostError(f"`{PROGRAM} -k` told nothing of {name}: {output.strip() or '(nothing)'}")


def parse_action(output: str) -> str:
    """Where a filter directs frames to, in ethtool's words, from `-n INTERFACE rule LOCATION`.

    Raises HostError when there is none.
    """
    if found := re.search(r"^\s*Action: (.+)$", output, re.MULTILINE):
        return found[1].strip()
    raise HostError(f"`{PROGRAM} -n` told no action: {output.strip() or '(nothing)'}")


def parse_refusal(output: str) -> Refusal | None:
    """Why `ethtool -N` did not put a filter in; None: it said nothing of the kind.

    With `loc` it ends with status 0 even then (6.1), so its words are all there is.
    """
    if _SYNTAX.search(output):
        return Refusal("ethtool", output.strip().splitlines()[0])
    if found := _REFUSED.search(output):
        return Refusal("driver", found[1].strip())
    return None


def parse_queues(output: str) -> dict[int, int]:
    """Frames received, by queue of the kernel's port, from `ethtool -S`.

    ixgbe says `rx_queue_0_packets`, i40e `rx-0.packets` (before 5.x `rx-0.rx_packets`).
    """
    pattern = r"^\s*(?:rx_queue_(\d+)_packets|rx-(\d+)\.(?:rx_)?packets): (\d+)$"
    return {
        int(ours or theirs): int(count)
        for ours, theirs, count in re.findall(pattern, output, re.MULTILINE)
    }


# --- at work ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Port:
    """An interface of the kernel, and the network namespace that it is in."""

    host: Host
    space: str
    name: str

    def command(self, option: str, *words: str) -> list[str]:
        return [*netns.command(self.space), PROGRAM, option, self.name, *words]

    def queues(self) -> dict[int, int]:
        """Frames received, by queue. Raises HostError."""
        return parse_queues(self.host.ask(self.command("-S")).output)

    @contextlib.contextmanager
    def ntuple(self) -> Iterator[None]:
        """Filters allowed; as before at the end. Raises HostError where they cannot be."""
        on, changeable = parse_feature(self.host.ask(self.command("-k")).output, NTUPLE)
        if on:
            yield
            return
        if not changeable:
            raise HostError(
                f"{self.host.name}: {self.name} has no filters: its {NTUPLE} are off, and "
                f"its driver cannot turn them on ({PROGRAM} -k {self.name})"
            )
        with self.host.changing(Change("feature", f"{self.space} {self.name} ntuple", "off", "on")):
            self.host.run(self.command("-K", "ntuple", "on"), why="allow filters (guide, 3.1)")
            yield

    @contextlib.contextmanager
    def filtering(self, rule: Rule, why: str = "") -> Iterator[None]:
        """With a filter, which is read back. Raises HostError when the port does not have it."""
        place = f"{self.space} {self.name} {rule.location}"
        with self.host.changing(Change("filtered", place)):
            said = self.host.run(self.command("-N", *rule.words), why=why).output
            if refusal := parse_refusal(said):
                raise HostError(
                    f"{self.host.name}: the filter `{' '.join(rule.words)}` was refused by "
                    f"{_who(refusal, self.name)}: {refusal.reason}"
                )
            shown = self.host.run(
                self.command("-n", "rule", str(rule.location)),
                why="is it there? a refused filter ends ethtool with status 0, too",
            ).output
            if shown and (now := parse_action(shown)) != rule.action:
                raise HostError(
                    f"{self.host.name}: {self.name} has the filter {rule.location} with the "
                    f"action `{now}`, not `{rule.action}`"
                )
            yield

    @contextlib.contextmanager
    def attempting(self, rule: Rule) -> Iterator[Refusal | None]:
        """Try to put a filter in that should be refused; None if it was not."""
        place = f"{self.space} {self.name} {rule.location}"
        with self.host.changing(Change("filtered", place)):
            said = self.host.run(self.command("-N", *rule.words), check=False).output
            yield parse_refusal(said)

    def holds(self, location: int) -> bool:
        """Whether there is a filter at a location."""
        argv = self.command("-n", "rule", str(location))
        return self.host.ask(argv, check=False).status == 0


def _who(refusal: Refusal, name: str) -> str:
    return "ethtool itself" if refusal.by == "ethtool" else f"the driver of {name}"
