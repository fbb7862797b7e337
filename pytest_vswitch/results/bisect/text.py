"""A bisect's verdict in words, and its answers as `git bisect replay` takes them."""

from __future__ import annotations

from pytest_vswitch.results.bisect.history import History, Revision
from pytest_vswitch.results.bisect.search import Verdict
from pytest_vswitch.results.sample import Better

MOST_NAMED = 20
"""Of several revisions, so many are named."""


def told(verdict: Verdict, history: History, runs: int, better: Better | None) -> str:
    """Markdown, a paragraph and, of several revisions, a list."""
    noise = f"; noise of one run {verdict.noise:.2%}, {runs} runs"
    change = f"{verdict.change:+.1%}"
    if verdict.kind == "no change":
        return (
            f"No change between the good and the bad end that would matter "
            f"(probability {verdict.probability:.1%}{noise}): nobody is named."
        )
    effect = "it changed the value"
    if better:
        worse = (verdict.change < 0) == (better == "more")
        effect = f"it made the value {'worse' if worse else '**better**'},"
    where = [f"- `{revision.hash}` {revision.subject}" for revision in _named(verdict, history)]
    if len(verdict.revisions) > len(where):
        where.append(f"- and {len(verdict.revisions) - len(where)} more")
    if verdict.kind == "can't tell":
        return "\n".join(
            [
                f"Can't tell yet which revision it is{noise}. One of these, with a probability of "
                f"{verdict.probability:.1%}; `--most-runs` allows more runs, and the same command "
                "goes on:",
                "",
                *where,
            ]
        )
    sure = f"{effect} by {change} (probability {verdict.probability:.1%}{noise})"
    if len(verdict.revisions) == 1:
        revision = history.revision(verdict.revisions[0])
        return f"`{revision.hash}` is the guilty one: {sure}.\n\n    {revision.subject}"
    return "\n".join(
        [f"One of these is the guilty one, and those between cannot be tried: {sure}.", "", *where]
    )


def _named(verdict: Verdict, history: History) -> list[Revision]:
    return [history.revision(number) for number in verdict.revisions[:MOST_NAMED]]


def git_log(verdict: Verdict, history: History, skipped: list[int]) -> str:
    """What `git bisect replay FILE` comes to the same verdict by.

    Of a single guilty revision, it is bad and its parents are good; else the ends alone.
    """
    lines = ["git bisect start", f"git bisect good {history.good.hash}"]
    lines.append(f"git bisect bad {history.revisions[-1].hash}")
    if verdict.kind == "found":
        first = min(verdict.revisions)
        known_bad = max(verdict.revisions)
        lines.append(f"git bisect bad {history.revisions[known_bad].hash}")
        lines += [f"git bisect good {parent}" for parent in history.revisions[first].parents]
        lines += [
            f"git bisect skip {history.revisions[number].hash}"
            for number in verdict.revisions
            if number in skipped
        ]
    return "\n".join(lines) + "\n"
