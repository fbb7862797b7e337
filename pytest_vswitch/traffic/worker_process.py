"""Talking to a generator's worker: commands out, events in, and what it says when it dies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from pytest_vswitch import errors
from pytest_vswitch.errors import DeadlineError, DutError, HostError, VswitchError
from pytest_vswitch.hosts.host import Host, Process

REPLY_S = 15.0
"""Beyond the time that a command itself may take."""
LINE_BYTES = 1 << 17
"""Of frames in one command: a longer line of JSON is hard to handle."""

_EVENT = re.compile(r'^\{"event": .*\}\r?\n', re.MULTILINE)
_AT_ONCE = 64
_DYING_S = 1.0
"""A program's pipes close before it has ended: the kernel frees its memory between."""


class Silent(HostError):
    """The worker lives, but has not said anything yet."""


class WorkerProcess:
    """A process that takes commands and reports events, a line of JSON each.

    Its `with` block starts and ends it.
    """

    def __init__(
        self, host: Host, name: str, argv: Sequence[str], *, watch: Callable[[], None] | None = None
    ) -> None:
        """`watch` is called when the worker reports a fault: it may know a better reason."""
        self._host = host
        self._name = name
        self._argv = argv
        self._watch = watch
        self._process: Process | None = None
        self.in_trial = False
        """Whether a trial is under way."""

    @property
    def pid(self) -> int:
        return self._running.pid

    def __enter__(self) -> WorkerProcess:
        self._process = self._host.spawn(self._argv, name=self._name, stop_with='{"do": "quit"}\n')
        self._process.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process, self._process, self.in_trial = self._process, None, False
        if process is not None:
            process.__exit__(kind, error, trace)

    def command(self, **command: object) -> None:
        """Raises HostError when the worker is gone."""
        process = self._running
        try:
            process.write(json.dumps(command) + "\n")
        except VswitchError:
            raise self._died() from None

    def event(self, timeout_s: float, wanted: str) -> dict[str, Any]:
        """The next event, which must be `wanted`.

        Raises what the worker reports otherwise, Silent when it does not report within
        `timeout_s`, HostError when it died.
        """
        process = self._running
        while True:
            try:
                text = process.read_until(_EVENT, timeout_s=timeout_s, what=wanted)
            except DeadlineError:
                raise Silent(
                    f"{self._name}: no {wanted!r} within {timeout_s:g} s; its last output:\n"
                    f"{process.tail()}"
                ) from None
            except DutError:
                raise self._died() from None
            event = self._parse(text)
            if event["event"] == wanted:
                return event
            if wanted == "aborted":
                continue  # how the trial ended, just before it was aborted
            self.in_trial = False
            if event["event"] == "failed":
                if self._watch:
                    self._watch()
                reason = getattr(errors, str(event["kind"]), HostError)
                raise reason(event["message"])
            raise HostError(f"{self._name}: {event['event']!r} in place of {wanted!r}")

    def abort(self) -> None:
        """Stop a trial that is under way, and wait until it is."""
        if self.in_trial:
            self.in_trial = False
            self.command(do="abort")
            self.event(REPLY_S, "aborted")

    @property
    def _running(self) -> Process:
        if self._process is None:
            raise HostError(f"the {self._name} is not running (use it in a `with` block)")
        return self._process

    def _parse(self, text: str) -> dict[str, Any]:
        line = text.strip().splitlines()[-1]
        try:
            event = json.loads(line)
            event["event"]
        except (ValueError, KeyError, TypeError):
            raise HostError(f"{self._name}: cannot understand its answer {line!r}") from None
        return dict(event)

    def _died(self) -> HostError:
        process = self._running
        self.in_trial = False
        status = process.status(within_s=_DYING_S)
        how = "does not read its commands" if status is None else f"died (exit status {status})"
        return HostError(
            f"the {self._name} on {self._host.name} {how}; its last output:\n{process.tail()}"
        )


def portions(frames: Mapping[int, Sequence[bytes]]) -> Iterator[dict[int, Sequence[bytes]]]:
    """The frames of each port, as many at once as one command may hold."""
    longest = max((len(frame) for queue in frames.values() for frame in queue), default=1)
    size = min(_AT_ONCE, max(1, LINE_BYTES // longest))
    for first in range(0, max(map(len, frames.values()), default=0), size):
        yield {port: queue[first : first + size] for port, queue in frames.items()}
