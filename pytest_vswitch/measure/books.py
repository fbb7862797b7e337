"""The books of a trial: every frame is accounted for at every hop, or there is no result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_vswitch.errors import BooksError
from pytest_vswitch.topologies.topology import Hop
from pytest_vswitch.traffic.generator import DirectionCounts

Path = tuple[Hop, ...]


def full_path(counts: DirectionCounts, inner: Sequence[Hop], tx_name: str, rx_name: str) -> Path:
    """All hops of one direction: those inside the DUT and the generator's edges around them.

    `tx_name` and `rx_name` are the DUT's names of the ports where frames enter and leave it.
    """
    entered = inner[0].entered if inner else counts.sent - counts.refused
    left = inner[-1].left if inner else entered
    ours = counts.received + counts.duplicated + counts.corrupted
    # Foreign frames that the DUT did not send came from others on the wire: LLDP, neighbours.
    arrived = ours + min(counts.foreign, max(0, left - ours))
    return (
        Hop(f"generator -> {tx_name}", counts.sent, entered, {"ring full": counts.refused}),
        *inner,
        Hop(f"{rx_name} -> generator", left, arrived),
    )


def check(paths: Sequence[Path]) -> None:
    """Raises BooksError, showing every hop, unless the books of all paths balance.

    They do when at each hop `entered == left + drops`, nothing is negative, and each
    hop was entered by exactly the frames that left the one before.
    """
    if any(fault for path in paths for _, fault in _audit(path)):
        raise BooksError(
            "the counters of this trial do not reconcile, so it has no result:\n" + table(paths)
        )


def balanced(paths: Sequence[Path]) -> bool:
    """Whether `check` would find nothing wrong."""
    return not any(fault for path in paths for _, fault in _audit(path))


def table(paths: Sequence[Path]) -> str:
    """The hops of all paths, one line each, the wrong ones marked with `>>`."""
    rows = [("", "hop", "entered", "left", "drops", "")]
    for path in paths:
        for hop, fault in _audit(path):
            drops = ", ".join(f"{what}: {count}" for what, count in hop.drops.items() if count)
            mark = ">>" if fault else ""
            rows.append((mark, hop.name, f"{hop.entered}", f"{hop.left}", drops or "-", fault))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    return "\n".join(
        f"  {mark:2} {name:{widths[1]}}  {entered:>{widths[2]}}  {left:>{widths[3]}}  "
        f"{drops:{widths[4]}}  {fault}".rstrip()
        for mark, name, entered, left, drops, fault in rows
    )


def _audit(path: Path) -> Iterator[tuple[Hop, str]]:
    """Each hop with what is wrong with it; an empty text if nothing is."""
    before: Hop | None = None
    for hop in path:
        faults = []
        if before is not None and hop.entered != before.left:
            faults.append(f"{before.left} left the hop before, {hop.entered} entered here")
        if min(hop.entered, hop.left, *hop.drops.values()) < 0:
            faults.append("a counter ran backwards")
        elif hop.lost < 0:
            faults.append(f"{-hop.lost} more left than entered")
        if not hop.balanced:
            faults.append(f"{hop.lost} lost, {sum(hop.drops.values())} of them accounted for")
        yield hop, "; ".join(faults)
        before = hop
