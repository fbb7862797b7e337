"""What lies between two revisions of a git repository, and a copy of it to build in.

The user's repository is read only: its work tree, index and refs stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts.host import Completed, Host
from pytest_vswitch.results.bisect.posterior import Flags

GIT_S = 300.0
"""How long one git command may take: a check-out of a large tree on a slow disk."""
MOST_REVISIONS = 20_000
"""What is held in memory as a square; DPDK has had some 1,500 between two releases."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One commit."""

    hash: str
    parents: tuple[str, ...]
    subject: str

    def __str__(self) -> str:
        return f"{self.hash[:12]} {self.subject}"


@dataclass(frozen=True)
class History:
    """The revisions that come from `good` or stand beside it, up to `bad`, oldest first."""

    repository: Path
    good: Revision
    revisions: tuple[Revision, ...]
    """Parents before children; the last is the bad end. The good end is not among them."""

    @cached_property
    def contains(self) -> Flags:
        """`[i, k]`: whether revision i is k or comes from it."""
        number = {revision.hash: i for i, revision in enumerate(self.revisions)}
        contains = np.zeros((len(number), len(number)), dtype=bool)
        for i, revision in enumerate(self.revisions):
            for parent in revision.parents:
                if parent in number:
                    contains[i] |= contains[number[parent]]
            contains[i, i] = True
        return contains

    def revision(self, number: int | None) -> Revision:
        """None: the good end."""
        return self.good if number is None else self.revisions[number]


def read(host: Host, repository: Path, good: str, bad: str) -> History:
    """Raises InputError when there is no such history."""
    ends = []
    for option, name in (("--good", good), ("--bad", bad)):
        asked = _git(host, repository, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if asked.status:
            inside = _git(host, repository, "rev-parse", "--git-dir")
            if inside.status:
                raise InputError(f"--repository {repository}: {inside.output.strip()}")
            raise InputError(f"{option} {name}: {repository} has no such revision")
        ends.append(asked.output.split()[-1])
    if _git(host, repository, "merge-base", "--is-ancestor", *ends).status:
        raise InputError(
            f"--bad {bad} does not come from --good {good}: what lies between them is not known"
        )
    first = _revisions(host, repository, "--max-count=1", ends[0])[0]
    between = _revisions(host, repository, "--reverse", "--topo-order", f"{ends[0]}..{ends[1]}")
    if not between:
        raise InputError(f"--good {good} and --bad {bad} are the same revision")
    if len(between) > MOST_REVISIONS:
        raise InputError(
            f"there are {len(between)} revisions between {good} and {bad}, and no more than "
            f"{MOST_REVISIONS} are searched: try a release between them first"
        )
    return History(repository, first, tuple(between))


def copy(host: Host, repository: Path, target: Path) -> None:
    """A clone that shares the objects; its work tree is empty at first. Raises HostError."""
    if not (target / ".git").exists():
        argv = ["git", "clone", "--quiet", "--shared", "--no-checkout"]
        host.run(
            [*argv, "--", str(repository.resolve()), str(target)],
            timeout_s=GIT_S,
            why="revisions are built here: the repository itself is left as it is",
        )


def check_out(host: Host, source: Path, revision: Revision) -> None:
    """Raises HostError."""
    asked = _git(host, source, "checkout", "--quiet", "--force", "--detach", revision.hash)
    if asked.status:
        raise HostError(f"cannot check out {revision} in {source}: {asked.output.strip()}")


def _git(host: Host, repository: Path, *words: str) -> Completed:
    argv = ["git", "-C", str(repository), *words]
    return host.ask(argv, check=False, timeout_s=GIT_S, why="the history that is searched")


def _revisions(host: Host, repository: Path, *words: str) -> list[Revision]:
    asked = _git(host, repository, "log", "--format=%H%x09%P%x09%s", *words, "--")
    if asked.status:
        raise HostError(f"git cannot tell the history of {repository}: {asked.output.strip()}")
    found = []
    for line in asked.output.splitlines():
        revision, parents, subject = line.split("\t", 2)
        found.append(Revision(revision, tuple(parents.split()), subject))
    return found
