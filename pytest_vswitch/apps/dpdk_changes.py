"""What changed in testpmd's command line, commands and output, DPDK 17.05 to today.

The program speaks today's words; here they become those of an older DPDK, and what that one
prints becomes today's. Each row names the commit that made the change (dpdk.org/git), by which
`since` was checked against the release tags.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pytest_vswitch.errors import InputError

Version = tuple[int, int]
"""Year and month, e.g. (22, 11)."""

TODAY: Final[Version] = (99, 11)
"""Of a DPDK that nobody asked for its version: it is taken for new."""

OLDEST: Final[Version] = (17, 5)


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between DPDK versions."""

    kind: Literal["option", "device", "command", "output"]
    """`option`: a word of the command line; `device`: an argument within `--vdev`; `command`:
    typed at the prompt; `output`: printed."""
    since: Version
    """First release with today's words."""
    today: str
    """For `output`, what the old text is replaced with; else a word, or how a command begins."""
    before: str | None
    """Older words, with spaces between several; empty: left out; None: it cannot be said. For
    `output`, a pattern."""
    source: str
    """Commit."""


CHANGES: Final = (
    Change("option", (20, 11), "-a", "-w", "db27370b57 eal: replace blacklist/whitelist options"),
    Change("option", (20, 11), "--main-lcore", "--master-lcore", "cb056611a8 eal: rename lcore"),
    Change(
        "option",
        (18, 8),
        "--in-memory",
        "--huge-unlink --no-shconf",
        "14de8734c4 eal: add --in-memory option",
    ),
    Change(
        "option",
        (18, 5),
        "--single-file-segments",
        "",  # each page size had one file for all its pages, or there was none
        "2a04139f66 eal: add single file segments option",
    ),
    Change("option", (20, 2), "--portlist", None, "2df00d562d app/testpmd: add --portlist option"),
    Change(
        "option",
        (18, 2),
        "--tx-offloads",
        None,  # --txqflags was a mask of what is not wanted
        "28da7d752b app/testpmd: remove txqflags option",
    ),
    Change(
        "device",
        (20, 11),
        "role=server",
        "role=master",
        "d250589d57 net/memif: replace master/slave arguments",
    ),
    Change(
        "device",
        (20, 11),
        "role=client",
        "role=slave",
        "d250589d57 net/memif: replace master/slave arguments",
    ),
    Change(
        "device",
        (20, 11),
        "socket-abstract=no",
        "",  # every socket was a file
        "2f865ed07b net/memif: use abstract socket address",
    ),
    Change(
        "device",
        (20, 11),
        "socket-abstract=yes",
        None,
        "2f865ed07b net/memif: use abstract socket address",
    ),
    Change("device", (16, 11), "net_vhost", "eth_vhost", "2f45703c17 drivers: make driver names"),
    Change(
        "command",
        (16, 7),
        "set fwd mac retry",
        "set fwd mac_retry",
        "bf56fce1fb app/testpmd: add retry option",
    ),
    Change(
        "command",
        (19, 5),
        "show fwd stats",
        None,  # told by `stop` only
        "53324971a1 app/testpmd: display/clear forwarding stats on demand",
    ),
    Change(
        "command",
        (20, 11),  # 22.11, and the stable releases of 20.11 and 21.11 got it, too
        "csum mac-swap off",
        None,  # it always wrote addresses of its own
        "236bc417e2 app/testpmd: fix MAC header in checksum forward engine",
    ),
    Change(
        "output",
        (23, 3),
        "(busy cycles=",
        r"\(total cycles=",  # of polls that found frames, then as now
        "99a4974aa5 app/testpmd: report lcore usage",
    ),
    Change(
        "output",
        (20, 11),
        r"\1_q\2_\3",
        r"\b(rx|tx)_q(\d+)(packets|bytes|errors)\b",
        "1372d0cb2a ethdev: fix xstat name of basic stats per queue",
    ),
)


def parse(text: str) -> Version:
    """Year and month of e.g. `22.11.11` or `25.03.0-rc1`; `TODAY` for what is no version."""
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else TODAY


def spell(argv: Sequence[str], version: Version) -> list[str]:
    """A command line of today as that DPDK takes it.

    Raises InputError for a word that it has no other word for.
    """
    spelt: list[str] = []
    for position, word in enumerate(argv):
        if position and argv[position - 1] == "--vdev":
            spelt.append(_device(word, version))
            continue
        name, equals, value = word.partition("=")
        change = _change("option", name, version)
        if change is None:
            spelt.append(word)
        elif change.before is None:
            raise _missing(word, version, change)
        elif change.before:
            *rest, last = change.before.split(" ")
            spelt += [*rest, last + equals + value]
    return spelt


def _device(text: str, version: Version) -> str:
    parts = []
    for part in text.split(","):
        name = part.rstrip("0123456789") if "=" not in part else part
        change = _change("device", name, version)
        if change is None:
            parts.append(part)
        elif change.before is None:
            raise _missing(part, version, change)
        elif change.before:
            parts.append(change.before + part.removeprefix(name))
    return ",".join(parts)


def command(text: str, version: Version) -> str:
    """A command of today as that DPDK takes it. Raises InputError if it has none."""
    for change in CHANGES:
        if change.kind == "command" and version < change.since and text.startswith(change.today):
            if change.before is None:
                raise _missing(text, version, change)
            return change.before + text.removeprefix(change.today)
    return text


def modern(output: str, version: Version) -> str:
    """What that DPDK printed, in today's words."""
    for change in CHANGES:
        if change.kind == "output" and version < change.since:
            output = re.sub(change.before or "", change.today, output)
    return output


ERRORS_ARE_DROPPED: Final[Version] = (23, 3)
"""Since then a port's `TX-dropped` of forwarding has its driver's errors in it, which are of the
same frames (c3fd1e6089 app/testpmd: fix forwarding stats for Tx dropped)."""

_ERRORS = re.compile(r"NIC statistics for port (\d+) .*?TX-errors:\s+(\d+)", re.DOTALL)
_DROPPED = re.compile(r"(Forward statistics for port (\d+) .*?TX-dropped:\s+)(\d+)", re.DOTALL)


def tx_errors(statistics: str) -> dict[int, int]:
    """By port, from `show port stats all` [frames]."""
    return {int(port): int(errors) for port, errors in _ERRORS.findall(statistics)}


def without_errors(statistics: str, before: Mapping[int, int]) -> str:
    """`TX-dropped` without the errors since forwarding began, when they were `before`."""
    now = tx_errors(statistics)

    def corrected(found: re.Match[str]) -> str:
        port = int(found[2])
        errors = now.get(port, 0) - before.get(port, 0)
        return f"{found[1]}{max(0, int(found[3]) - errors)}"

    return _DROPPED.sub(corrected, statistics)


def _change(kind: str, word: str, version: Version) -> Change | None:
    for change in CHANGES:
        if (change.kind, change.today) == (kind, word) and version < change.since:
            return change
    return None


def _missing(word: str, version: Version, change: Change) -> InputError:
    return InputError(
        f"testpmd of DPDK {_shown(version)} has no `{word}`: that came with "
        f"{_shown(change.since)} ({change.source}); take a newer DPDK here"
    )


def _shown(version: Version) -> str:
    return f"{version[0]}.{version[1]:02}"
