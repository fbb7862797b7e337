"""Do two kernels reach each other through an exception path, and how fast? ping and TCP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_vswitch.errors import DutError
from pytest_vswitch.measure.functional import FunctionalError
from pytest_vswitch.topologies.exception_link import Link, Snapshot
from pytest_vswitch.topologies.topology import Hop


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was found."""

    rtt_mean_ms: float
    goodput_bps: float
    retransmits: int
    queues_used: int
    """Of those by which testpmd receives from the client."""


def converse(link: Link, *, duration_s: int = 2, streams: int = 1) -> Conversation:
    """ping, then TCP for so long.

    Raises FunctionalError, with the hop or the kernel that shows it, when an answer is
    missing or TCP gets nowhere; DutError for a program that is gone.
    """
    before = link.snapshot()
    answers = link.ping()
    after = link.snapshot()
    link.check_alive()
    if answers.received < answers.sent or answers.rtt_mean_ms is None:
        raise FunctionalError(
            f"{answers.sent - answers.received} of {answers.sent} pings through "
            f"{link.setup.way.what} were not answered: {_where(link, before, after)}"
        )
    before = after
    with link.server() as server:
        try:
            transfer = link.transfer(server, link.client(duration_s, streams))
        except DutError as error:
            if server.status() is not None:
                raise
            link.check_alive()
            raise FunctionalError(
                f"TCP through {link.setup.way.what} fails ({error}): "
                f"{_where(link, before, link.snapshot())}"
            ) from None
    after = link.snapshot()
    if bad := _bad_checksums(before, after):
        raise FunctionalError(f"TCP through {link.setup.way.what} crawls: {bad}")
    used = sum(count > before.queues[0].get(queue, 0) for queue, count in after.queues[0].items())
    return Conversation(answers.rtt_mean_ms, transfer.goodput_bps, transfer.retransmits, used)


def _where(link: Link, before: Snapshot, after: Snapshot) -> str:
    """Which hop lost most, or whose checksums are wrong."""
    if bad := _bad_checksums(before, after):
        return bad
    hops = [hop for sender in (0, 1) for hop in link.path(sender, before, after)]
    worst = max(hops, key=lambda hop: hop.lost)
    return _loss(worst) if worst.lost else _silent(hops)


def _loss(hop: Hop) -> str:
    words = ", ".join(f"{word} {count}" for word, count in hop.drops.items() if count)
    return f"{hop.name} lost {hop.lost} of {hop.entered} frames ({words or 'not counted there'})"


def _silent(hops: Sequence[Hop]) -> str:
    idle = [hop.name for hop in hops if not hop.entered]
    return f"no hop lost a frame; none at all entered {idle[0] if idle else 'wrongly'}"


def _bad_checksums(before: Snapshot, after: Snapshot) -> str:
    counts = [
        now["bad checksums"] - then["bad checksums"]
        for then, now in zip(before.kernels, after.kernels, strict=True)
    ]
    if not any(counts):
        return ""
    return (
        f"the receiving kernel refused {sum(counts)} TCP segments for their checksums "
        "(InCsumErrors): the sending kernel leaves them open for an offload that nobody "
        "carries out; forward with `csum` and TX offloads, or switch the offload off "
        "(`ethtool -K IFACE tx off`)"
    )
