"""A generator as the rest of the house sees it: a worker process behind a contract."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol
from zlib import crc32

import pytest_vswitch
from pytest_vswitch import errors
from pytest_vswitch.errors import DeadlineError, DutError, HostError, VswitchError
from pytest_vswitch.hosts.host import Host, Process
from pytest_vswitch.topologies.topology import Flow
from pytest_vswitch.traffic import frames
from pytest_vswitch.traffic.generator import (
    Announcement,
    DirectionCounts,
    Latency,
    Offer,
    Silence,
)

_EVENT = re.compile(r'^\{"event": .*\}\r?\n', re.MULTILINE)
_START_S = 30.0
_REPLY_S = 15.0
"""Beyond the time that a command itself may take."""
_AT_ONCE = 64
_AT_ONCE_BYTES = 1 << 17
"""Frames per port, and their bytes, that one command exchanges: a longer line of JSON is hard
to handle."""
_DYING_S = 1.0
"""A program's pipes close before it has ended: the kernel frees its memory between."""


class Way(Protocol):
    """What becomes of frames between two ports; see `topology.Topology`."""

    def transform(self, frame: bytes, port: int) -> bytes: ...
    def peer(self, port: int) -> int: ...
    def flow(self, port: int) -> Flow: ...


class Attachable(Way, Protocol):
    """What a generator asks of a topology, besides its ports."""

    @property
    def generator_cpu(self) -> int | None:
        """CPU of the DUT left for the generator; None if it shares the others'."""


class WorkerGenerator:
    """Sends and checks frames on a topology's ports, from one core of a host.

    Use it as a context manager: on entering, its worker process starts on `host` and
    connects to the ports; on leaving, it disconnects and ends.

    `kind` and `ports` are the worker's, see there; `command` runs it somewhere, e.g. in a
    network namespace; `place` tells a reader where the ports are, if that needs telling.
    `way` is the topology's. Without `cpu`, the worker shares the
    machine: at low rates it sleeps up to 100 µs between ticks, by which latencies above
    30 µs may seem too long. With `cpu`, it polls on that core, which should be its own.
    `ring_size` is in frames per port and direction.

    Raises HostError when the worker does not start or dies, and DutError when what is at
    the other end of a port is missing, refuses, or goes away.
    """

    simulated = False

    def __init__(
        self,
        host: Host,
        kind: str,
        ports: Sequence[Mapping[str, object]],
        way: Way,
        *,
        cpu: int | None = None,
        ring_size: int = 1024,
        command: Sequence[str] = (),
        place: str = "",
    ) -> None:
        self._host = host
        self._kind = kind
        self._name = f"{kind} generator"
        self._ports = ports
        self._prefix = command
        self._place = place
        self._way = way
        self._cpu = cpu
        self._ring_size = ring_size
        self._process: Process | None = None
        self._running = False
        self._numpy = ""
        self.peers: Sequence[str] = ()
        """What the other end of each port calls itself, e.g. `DPDK 22.11.11`."""

    @property
    def description(self) -> str:
        cpu = f"CPU {self._cpu}" if self._cpu is not None else "a shared CPU"
        where = f"{self._place}, {cpu}" if self._place else cpu
        numpy = f", numpy {self._numpy}" if self._numpy else ""
        version = pytest_vswitch.__version__
        return f"pytest-vswitch {self._kind} {version} on {where}, ring {self._ring_size}{numpy}"

    def __enter__(self) -> WorkerGenerator:
        self._process = self._spawn()
        self._process.__enter__()
        try:
            self._command(do="connect", ports=self._ports, ring=self._ring_size)
            connected = self._event(_START_S, "connected")
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        self._numpy = connected["numpy"]
        self.peers = tuple(connected["peers"])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process, self._process, self._running = self._process, None, False
        if process is not None:
            process.__exit__(kind, error, trace)

    def exchange(
        self, frames: Mapping[int, Sequence[bytes]], *, wait_s: float
    ) -> Mapping[int, list[bytes]]:
        """Send exact frames (without FCS), by port; return what came back, by port.

        Ends as soon as each frame sent has come back, or as many as were sent and no more
        come, or after `wait_s`.
        """
        self.abort()
        back: dict[int, list[bytes]] = {port: [] for port in range(len(self._ports))}
        longest = max((len(frame) for queue in frames.values() for frame in queue), default=1)
        size = min(_AT_ONCE, max(1, _AT_ONCE_BYTES // longest))
        for first in range(0, max(map(len, frames.values()), default=0), size):
            batch = {port: queue[first : first + size] for port, queue in frames.items()}
            queues = {port: [frame.hex() for frame in queue] for port, queue in batch.items()}
            expected = {
                self._way.peer(port): [crc32(self._way.transform(frame, port)) for frame in queue]
                for port, queue in batch.items()
            }
            self._command(do="exchange", frames=queues, expected=expected, wait_s=wait_s)
            event = self._event(wait_s + _REPLY_S, "exchanged")
            for port, queue in event["frames"].items():
                back[int(port)] += [bytes.fromhex(frame) for frame in queue]
        return back

    def start(self, offer: Offer) -> None:
        """Begin one trial; returns at once.

        Raises InputError for a frame size that no template has, or when the topology's
        transform destroys the stamps.
        """
        self.abort()
        directions = [self._direction(port, offer.frame_bytes) for port in range(len(self._ports))]
        self._command(
            do="start",
            directions=directions,
            rate_pps=offer.rate_pps,
            duration_s=offer.duration_s,
        )
        self._running = True

    def poll(self, timeout_s: float) -> Sequence[DirectionCounts] | None:
        """Wait up to `timeout_s` for the trial's end: its counts, or None if it still runs."""
        try:
            event = self._event(timeout_s, "counts")
        except _Silent:
            return None
        self._running = False
        return [_counts(direction) for direction in event["directions"]]

    def finish(self) -> None:
        """Send no more; `poll` tells what became of the trial, `intended` is what was due."""
        if self._running:
            self._command(do="finish")

    def recount(self) -> Sequence[DirectionCounts]:
        """Look for stragglers of the trial that ended; its counts by now."""
        self._command(do="recount")
        return [_counts(direction) for direction in self._event(_REPLY_S, "counts")["directions"]]

    def abort(self) -> None:
        """Stop sending at once; the trial's counts are thrown away."""
        if self._running:
            self._running = False
            self._command(do="abort")
            self._event(_REPLY_S, "aborted")

    def _spawn(self) -> Process:
        # One thread is all it needs: numpy's would only take the DUT's cores.
        argv = [*self._prefix, "env", "OPENBLAS_NUM_THREADS=1"]
        argv += [*self._host.python("pytest_vswitch.traffic.worker"), self._kind]
        if self._cpu is not None:
            argv += ["--cpu", str(self._cpu)]
        return self._host.spawn(argv, name=self._name, stop_with='{"do": "quit"}\n')

    def _direction(self, tx_port: int, frame_bytes: int) -> dict[str, object]:
        rx_port = self._way.peer(tx_port)
        frame = frames.template(self._way.flow(tx_port), frame_bytes)
        expected = self._way.transform(frame, tx_port)
        return {
            "tx": tx_port,
            "rx": rx_port,
            "frame": frame.hex(),
            "expected": expected.hex(),
            "stamps": [frames.stamp_offset(frame), frames.stamp_offset(expected)],
        }

    def _command(self, **command: object) -> None:
        if self._process is None:
            raise HostError(f"the {self._name} is not running (use it in a `with` block)")
        try:
            self._process.write(json.dumps(command) + "\n")
        except VswitchError:
            raise self._died() from None

    def _event(self, timeout_s: float, wanted: str) -> dict[str, Any]:
        """The worker's next event, which must be `wanted`; raises what it reports otherwise."""
        if self._process is None:
            raise HostError(f"the {self._name} is not running (use it in a `with` block)")
        while True:
            try:
                text = self._process.read_until(_EVENT, timeout_s=timeout_s, what=wanted)
            except DeadlineError:
                raise _Silent(
                    f"{self._name}: no {wanted!r} within {timeout_s:g} s; "
                    f"its last output:\n{self._process.tail()}"
                ) from None
            except DutError:
                raise self._died() from None
            event = self._parse(text)
            if event["event"] == wanted:
                return event
            if wanted == "aborted":
                continue  # how the trial ended, just before it was aborted
            self._running = False
            if event["event"] == "failed":
                kind = getattr(errors, str(event["kind"]), HostError)
                raise kind(event["message"])
            raise HostError(f"{self._name}: {event['event']!r} in place of {wanted!r}")

    def _parse(self, text: str) -> dict[str, Any]:
        line = text.strip().splitlines()[-1]
        try:
            event = json.loads(line)
            event["event"]
        except (ValueError, KeyError, TypeError):
            raise HostError(f"{self._name}: cannot understand its answer {line!r}") from None
        return dict(event)

    def _died(self) -> HostError:
        process = self._process
        assert process is not None
        self._running = False
        status = process.status(within_s=_DYING_S)
        how = "does not read its commands" if status is None else f"died (exit status {status})"
        return HostError(
            f"the {self._name} on {self._host.name} {how}; its last output:\n{process.tail()}"
        )


class _Silent(HostError):
    """The worker lives, but has not said anything yet."""


def _counts(direction: Mapping[str, Any]) -> DirectionCounts:
    latency = direction["latency"]
    return DirectionCounts(
        **{
            **direction,
            "latency": None if latency is None else Latency(**latency),
            "silences": tuple(Silence(**silence) for silence in direction["silences"]),
            "announcements": tuple(Announcement(**seen) for seen in direction["announcements"]),
        }
    )
