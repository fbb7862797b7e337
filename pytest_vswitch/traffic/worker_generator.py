"""A generator as the rest of the house sees it: a worker process behind a contract."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol
from zlib import crc32

import pytest_vswitch
from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.topologies.topology import Flow
from pytest_vswitch.traffic import flows, frames, macs, mpls
from pytest_vswitch.traffic.generator import (
    Announcement,
    DirectionCounts,
    Latency,
    Offer,
    Silence,
)
from pytest_vswitch.traffic.profile import Capabilities, Profile
from pytest_vswitch.traffic.worker_process import REPLY_S, Silent, WorkerProcess, portions

_START_S = 30.0
_TICK_US = 100.0
"""How long a worker that shares its core may sleep between two looks; see `engine`."""
_TAGS = 2
_FLOWS_TRIED = 16
_MAC_PLACES = {"source": 6, "destination": 0}


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
        self._kind = kind
        self._name = f"{kind} generator"
        self._ports = ports
        self._place = place
        self._way = way
        self._cpu = cpu
        self._ring_size = ring_size
        # One thread is all it needs: numpy's would only take the DUT's cores.
        argv = [*command, "env", "OPENBLAS_NUM_THREADS=1"]
        argv += [*host.python("pytest_vswitch.traffic.worker"), kind]
        argv += [] if cpu is None else ["--cpu", str(cpu)]
        self._worker = WorkerProcess(host, self._name, argv)
        self._numpy = ""
        self.peers: Sequence[str] = ()
        """What the other end of each port calls itself, e.g. `DPDK 22.11.11`."""

    @property
    def capabilities(self) -> Capabilities:
        """A burst must fit the ring; see docs/profiles.md."""
        return Capabilities(
            latency_resolution_us=_TICK_US if self._cpu is None else 0.0,
            mixed_sizes=True,
            max_flows=flows.MOST,
            max_burst_frames=self._ring_size,
            max_tags=_TAGS,
            max_labels=mpls.MOST,
            replay=True,
            vxlan=True,
            max_macs=macs.MOST,
        )

    @property
    def description(self) -> str:
        cpu = f"CPU {self._cpu}" if self._cpu is not None else "a shared CPU"
        where = f"{self._place}, {cpu}" if self._place else cpu
        numpy = f", numpy {self._numpy}" if self._numpy else ""
        version = pytest_vswitch.__version__
        return f"pytest-vswitch {self._kind} {version} on {where}, ring {self._ring_size}{numpy}"

    @property
    def pid(self) -> int:
        """Of the worker."""
        return self._worker.pid

    def __enter__(self) -> WorkerGenerator:
        self._worker.__enter__()
        try:
            self._worker.command(do="connect", ports=self._ports, ring=self._ring_size)
            connected = self._worker.event(_START_S, "connected")
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
        self._worker.__exit__(kind, error, trace)

    def exchange(
        self, frames: Mapping[int, Sequence[bytes]], *, wait_s: float
    ) -> Mapping[int, list[bytes]]:
        """Send exact frames (without FCS), by port; return what came back, by port.

        Ends as soon as each frame sent has come back, or as many as were sent and no more
        come, or after `wait_s`.
        """
        self.abort()
        back: dict[int, list[bytes]] = {port: [] for port in range(len(self._ports))}
        for batch in portions(frames):
            queues = {port: [frame.hex() for frame in queue] for port, queue in batch.items()}
            expected = {
                self._way.peer(port): [crc32(self._way.transform(frame, port)) for frame in queue]
                for port, queue in batch.items()
            }
            self._worker.command(do="exchange", frames=queues, expected=expected, wait_s=wait_s)
            event = self._worker.event(wait_s + REPLY_S, "exchanged")
            for port, queue in event["frames"].items():
                back[int(port)] += [bytes.fromhex(frame) for frame in queue]
        return back

    def start(self, offer: Offer) -> None:
        """Begin one trial; returns at once.

        Raises InputError for a profile that it cannot send, a frame size that no template
        has, or when the topology's transform destroys the stamps.
        """
        if lack := self.capabilities.lacks(offer.profile):
            raise InputError(f"the {self._name} {lack}")
        self.abort()
        directions = [self._direction(port, offer) for port in range(len(self._ports))]
        self._worker.command(
            do="start",
            directions=directions,
            rate_pps=offer.rate_pps,
            duration_s=offer.duration_s,
            burst_frames=offer.profile.burst_frames,
            patient=offer.patient,
        )
        self._worker.in_trial = True

    def poll(self, timeout_s: float) -> Sequence[DirectionCounts] | None:
        """Wait up to `timeout_s` for the trial's end: its counts, or None if it still runs."""
        try:
            event = self._worker.event(timeout_s, "counts")
        except Silent:
            return None
        self._worker.in_trial = False
        return [_counts(direction) for direction in event["directions"]]

    def finish(self) -> None:
        """Send no more; `poll` tells what became of the trial, `intended` is what was due."""
        if self._worker.in_trial:
            self._worker.command(do="finish")

    def recount(self) -> Sequence[DirectionCounts]:
        """Look for stragglers of the trial that ended; its counts by now."""
        self._worker.command(do="recount")
        event = self._worker.event(REPLY_S, "counts")
        return [_counts(direction) for direction in event["directions"]]

    def abort(self) -> None:
        """Stop sending at once; the trial's counts are thrown away."""
        self._worker.abort()

    def _direction(self, tx_port: int, offer: Offer) -> dict[str, object]:
        profile = offer.profile
        if profile.replay:
            return self._replay(tx_port, profile.replay.frames)
        order = profile.sizes or (offer.frame_bytes,)
        sizes = sorted(set(order))
        return {
            "tx": tx_port,
            "rx": self._way.peer(tx_port),
            "shapes": [self._shape(tx_port, size, profile) for size in sizes],
            "order": [sizes.index(size) for size in order],
            "flows": profile.flows,
            "macs": profile.macs,
        }

    def _replay(self, tx_port: int, exact: Sequence[bytes]) -> dict[str, object]:
        shapes = [
            {
                "frame": frame.hex(),
                "expected": self._way.transform(frame, tx_port).hex(),
                "stamps": [0, 0],
            }
            for frame in exact
        ]
        rx_port = self._way.peer(tx_port)
        base = {"tx": tx_port, "rx": rx_port, "order": [], "flows": 1}
        return {**base, "shapes": shapes, "replay": True}

    def _shape(self, tx_port: int, frame_bytes: int, profile: Profile) -> dict[str, object]:
        flow = self._way.flow(tx_port)
        frame = frames.template(flow, frame_bytes, profile.tags, profile.vxlan, profile.labels)
        source, place = frame[6:12], _MAC_PLACES[profile.macs_as]
        frame = macs.put(frame, source, 0, place)
        expected = self._way.transform(frame, tx_port)
        stamps = [frames.stamp_offset(frame), frames.stamp_offset(expected)]
        if profile.flows > 1:
            for number in range(0, profile.flows, -(-profile.flows // _FLOWS_TRIED)):
                made = self._way.transform(flows.put(frame, stamps[0], number), tx_port)
                if made != flows.put(expected, stamps[1], number):
                    raise InputError(
                        "flows: the topology's transform() changes a frame's source address or "
                        "UDP source port, so what comes back cannot be told apart"
                    )
        shape: dict[str, object] = {
            "frame": frame.hex(),
            "expected": expected.hex(),
            "stamps": stamps,
        }
        if profile.macs > 1:
            other = self._way.transform(macs.put(frame, source, profile.macs - 1, place), tx_port)
            for there in _MAC_PLACES.values():
                if other == macs.put(expected, source, profile.macs - 1, there):
                    return {**shape, "macs": [place, there]}
            raise InputError(
                f"{profile.macs} MAC addresses: the topology's transform() does not leave them in "
                "a frame, so what comes back cannot be told apart"
            )
        return shape


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
