"""The scapy generator of a lab, for whatever interfaces its ports are wired to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest_vswitch
from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.traffic import mpls, wired
from pytest_vswitch.traffic.frames import stamp_offset
from pytest_vswitch.traffic.generator import DirectionCounts, Offer
from pytest_vswitch.traffic.profile import Capabilities
from pytest_vswitch.traffic.scapy import forms
from pytest_vswitch.traffic.wired import Wired
from pytest_vswitch.traffic.worker_process import (
    LINE_BYTES,
    REPLY_S,
    Silent,
    WorkerProcess,
    portions,
)

_NAME = "scapy generator"
_START_S = 60.0


@contextlib.contextmanager
def attach(lab: Lab, host: Host, topology: Wired) -> Iterator[ScapyGenerator]:
    """The generator on the interfaces of `host` that the topology's ports are wired to.

    They are up and silent, and left as they were found. Raises InputError for a wire that
    the lab does not name or the host does not have, HostError for what the host refuses or
    lacks, DutError where there is no link.
    """
    with wired.prepared(lab, host, topology) as place:
        argv = [*place.command, *host.python("pytest_vswitch.traffic.scapy.worker")]
        if place.cpu is not None:
            argv += ["--cpu", str(place.cpu)]
        with WorkerProcess(host, _NAME, argv) as worker:
            yield ScapyGenerator(worker, topology, place, ring=lab.generator.ring_size)


class ScapyGenerator:
    """A `Generator` whose frames are built and carried by scapy, at modest rates.

    It tells no latency: a program in Python, woken by the kernel, would tell its own.
    """

    simulated = False
    capabilities = Capabilities(
        latency=False,
        mixed_sizes=True,
        max_flows=256,
        max_burst_frames=1024,
        max_tags=2,
        max_labels=mpls.MOST,
        replay=True,
        vxlan=True,
    )

    def __init__(self, worker: WorkerProcess, way: Wired, place: wired.Place, *, ring: int) -> None:
        """Connects; raises what the worker reports. `ring` is how late it may be [frames]."""
        self._worker = worker
        self._way = way
        self._place = place
        self._ring = ring
        worker.command(do="connect", ports=place.interfaces)
        self._scapy = worker.event(_START_S, "connected")["scapy"]

    @property
    def pid(self) -> int:
        """Of the worker."""
        return self._worker.pid

    @property
    def description(self) -> str:
        version, place = pytest_vswitch.__version__, self._place
        cpu = "a shared CPU" if place.cpu is None else f"CPU {place.cpu}"
        return (
            f"pytest-vswitch scapy {version} on {place.told}, {cpu}, ring {self._ring}, "
            f"scapy {self._scapy}"
        )

    def exchange(
        self, frames: Mapping[int, Sequence[bytes]], *, wait_s: float
    ) -> Mapping[int, list[bytes]]:
        """Send exact frames (without FCS), by port; return what came back, by port.

        Ends as soon as each frame sent has come back, or as many as were sent and no more
        come, or after `wait_s`.
        """
        self.abort()
        back: dict[int, list[bytes]] = {port: [] for port in range(len(self._way.ports))}
        for batch in portions(frames):
            queues = {port: [frame.hex() for frame in queue] for port, queue in batch.items()}
            expected = {
                self._way.peer(port): [self._way.transform(frame, port).hex() for frame in queue]
                for port, queue in batch.items()
            }
            self._worker.command(do="exchange", frames=queues, expected=expected, wait_s=wait_s)
            event = self._worker.event(wait_s + REPLY_S, "exchanged")
            for port, queue in event["frames"].items():
                back[int(port)] += [bytes.fromhex(frame) for frame in queue]
        return back

    def start(self, offer: Offer) -> None:
        """Begin one trial; returns at once.

        Raises InputError for a profile that it cannot send, a frame size that does not
        exist, or when the topology's transform destroys the stamps.
        """
        if lacking := self.capabilities.lacks(offer.profile):
            raise InputError(f"the {_NAME} {lacking}")
        self.abort()
        total = round(offer.rate_pps * offer.duration_s)
        ports = len(self._way.ports)
        directions = [
            {
                "do": "direction",
                "tx": port,
                "rx": self._way.peer(port),
                "intended": total * (port + 1) // ports - total * port // ports,
                "replay": offer.profile.replay is not None,
                "order": forms.order(offer.frame_bytes, offer.profile),
                "forms": self._forms(port, offer),
            }
            for port in range(ports)
        ]
        for direction in directions:
            for part in _parts(direction):
                self._worker.command(**part)
        burst = offer.profile.burst_frames
        self._worker.command(do="start", duration_s=offer.duration_s, burst=burst, ring=self._ring)
        self._worker.in_trial = True

    def poll(self, timeout_s: float) -> Sequence[DirectionCounts] | None:
        """Wait up to `timeout_s` for the trial's end: its counts, or None if it still runs."""
        if not self._worker.in_trial:
            raise RuntimeError("poll() without start()")
        try:
            event = self._worker.event(timeout_s, "counts")
        except Silent:
            return None
        self._worker.in_trial = False
        return [DirectionCounts(**direction) for direction in event["directions"]]

    def recount(self) -> Sequence[DirectionCounts]:
        """Look for stragglers of the trial that ended; its counts by now."""
        self._worker.command(do="recount")
        event = self._worker.event(REPLY_S, "counts")
        return [DirectionCounts(**direction) for direction in event["directions"]]

    def abort(self) -> None:
        """Stop sending at once; the trial's counts are thrown away."""
        self._worker.abort()

    def _forms(self, port: int, offer: Offer) -> list[tuple[str, str, int, int]]:
        if exact := offer.profile.replay:
            transform = self._way.transform
            return [(frame.hex(), transform(frame, port).hex(), 0, 0) for frame in exact.frames]
        made = []
        for frame in forms.build(self._way.flow(port), offer.frame_bytes, offer.profile):
            expected = self._way.transform(frame, port)
            places = stamp_offset(frame), stamp_offset(expected)
            made.append((frame.hex(), expected.hex(), *places))
        return made


def _parts(direction: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The same in commands of bearable length."""
    part: list[Any] = []
    size = 0
    for form in direction["forms"]:
        part.append(form)
        size += len(form[0])
        if size > LINE_BYTES:
            yield {**direction, "forms": part}
            part, size = [], 0
    if part:
        yield {**direction, "forms": part}
