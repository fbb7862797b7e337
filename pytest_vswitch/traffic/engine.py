"""Running a trial on connected ports: pacing, sleeping, waiting for stragglers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic_ns
from zlib import crc32

from pytest_vswitch.errors import DutError
from pytest_vswitch.traffic.frames import is_tagged
from pytest_vswitch.traffic.generator import DirectionCounts
from pytest_vswitch.traffic.pattern import Shape
from pytest_vswitch.traffic.pieces import read_exact
from pytest_vswitch.traffic.port import Port
from pytest_vswitch.traffic.replay import Replay
from pytest_vswitch.traffic.stream import Stream

_MS = 1_000_000

_LONGEST_TICK_NS = 100_000
"""What sleeping may add to a frame's latency."""
_SHORTEST_TICK_NS = 25_000
"""Waking up takes so long that below this only polling keeps time."""
_LINGER_NS = 30_000
"""How long to wait awake for frames just sent; more than a fast DUT needs."""
_MOST_IN_VAIN = 8
"""A slow DUT is waited for at every 256th tick only."""
_BURST = 32
"""Frames per tick and direction, at most, while sleeping: a usual DPDK burst."""
_CHECK_NS = 5 * _MS
"""How often to look whether the DUT and pytest are still there."""
_QUIET_NS = 30 * _MS
"""Nothing came for so long: what is missing is taken for lost, unless a recount finds it.
A few time slices, where the programs in the path share two cores."""
_DRAIN_NS = 1000 * _MS
"""Longest wait for stragglers, e.g. when the DUT floods or freezes."""
_EXACT_PPS = 20_000
"""Up to this load of all directions, ports have time to note each frame's own [frames/s]."""
_SETTLE_NS = 2000 * _MS
"""Longest wait for a DUT to take the frames of before."""


class Aborted(Exception):
    """Raised by `watch`: the trial is called off."""


@dataclass(frozen=True, slots=True)
class Direction:
    """What one direction of a trial sends and expects, by port number."""

    tx: int
    rx: int
    shapes: Sequence[Shape]
    """One of each size."""
    order: Sequence[int] = (0,)
    """The sizes that frames have in turn, as places in `shapes`."""
    flows: int = 1
    macs: int = 1
    """MAC addresses that frames have in turn, see `Profile`."""
    replay: bool = False
    """Whether the shapes are exact frames, without stamps, to be sent in turn."""


class Engine:
    """The ports and their use, in one thread on one core.

    `spin=False` shares the core: at rates that permit it, the engine sleeps up to
    100 µs between two looks at the rings. A delay of less than 30 µs is still seen as
    it is; a longer one may seem up to 100 µs longer. `spin=True` always polls.

    `watch` is called every few milliseconds; what it raises ends the trial.
    """

    def __init__(self, ports: Sequence[Port], *, spin: bool, watch: Callable[[], None]) -> None:
        self._ports = ports
        self._spin = spin
        self._watch = watch
        self._watched_ns = 0
        self._in_vain = 0
        self._attempt_in = 0
        self._trials = 0
        self._finishing = False
        self._directions: Sequence[Direction] = ()
        self._streams: Sequence[Stream | Replay] = ()

    def exchange(
        self,
        frames: Mapping[int, Sequence[bytes]],
        wait_s: float,
        expected: Mapping[int, Sequence[int]],
    ) -> dict[int, list[bytes]]:
        """Send exact frames, by port; return what comes back, by port.

        Ends when all `expected` frames (their CRC-32, by port) have come back; or when as
        many have as were sent, and no more come: on a wire there are frames of others, too;
        or after `wait_s`. Raises DutError when the DUT is gone or does not take the frames
        of before.
        """
        self._settle()
        longest = max((len(frame) for queue in frames.values() for frame in queue), default=64)
        tagged = any(is_tagged(frame) for queue in frames.values() for frame in queue)
        for port in self._ports:
            port.keep_tags(tagged)
            port.check_length(longest)
            port.tx.lay_out(longest)
            port.rx.lay_out(max(longest, 2048))
        queues = {number: list(queue) for number, queue in frames.items()}
        missing = sum(len(queue) for queue in queues.values())
        awaited = {number: Counter(expected.get(number, ())) for number in range(len(self._ports))}
        back: dict[int, list[bytes]] = {number: [] for number in range(len(self._ports))}
        came = monotonic_ns()
        deadline = came + int(wait_s * 1e9)
        while any(awaited.values()) and (now := monotonic_ns()) < deadline:
            if missing <= 0 and now - came > _QUIET_NS:
                break
            for number, queue in queues.items():
                _send_exact(self._ports[number], queue)
            for number, port in enumerate(self._ports):
                arrived = read_exact(port.rx)
                back[number] += arrived
                missing -= len(arrived)
                if arrived:
                    came = now
                    awaited[number] -= Counter(map(crc32, arrived))
            self._rest(_LONGEST_TICK_NS)
        # A link whose frames come back nowhere may be slower; its counters are read next.
        while any(port.tx.pending() for port in self._ports) and monotonic_ns() < deadline:
            self._rest(_LONGEST_TICK_NS)
        return back

    def trial(
        self,
        directions: Sequence[Direction],
        *,
        rate_pps: float | None,
        duration_s: float,
        burst_frames: int = 1,
        timed: bool = True,
    ) -> list[DirectionCounts]:
        """Offer `rate_pps`, over all directions, for `duration_s`; return what became of it.

        Each direction's frames come due evenly, `burst_frames` at a time. Not offered
        (`sent < intended`) is what comes due while the engine is late by more than a ring: a
        wire would have brought these frames one by one, so the DUT must not be blamed. Of
        what is offered, the frames that find the ring full are `refused`: the DUT
        did not take them, as a NIC misses frames when nobody empties its queue.

        `rate_pps=None` sends whatever the DUT has room for; then nothing is refused
        and `intended` is 0. Raises DutError when the DUT is gone.
        """
        self._settle()
        total = round((rate_pps or 0) * duration_s)
        self._trials += 1
        streams: list[Stream | Replay] = []
        for number, direction in enumerate(directions):
            longest = max(direction.shapes, key=lambda shape: len(shape.frame))
            self._ports[direction.tx].check_length(len(longest.frame))
            self._ports[direction.rx].check_length(len(longest.expected))
            tagged = any(is_tagged(shape.expected) for shape in direction.shapes)
            self._ports[direction.rx].keep_tags(tagged)
            share = total * (number + 1) // len(directions) - total * number // len(directions)
            stream_id = (self._trials * len(directions) + number) & 0xFFFF
            exact = timed and rate_pps is not None and rate_pps <= _EXACT_PPS
            self._ports[direction.tx].tx.keep_times(exact)
            self._ports[direction.rx].rx.keep_times(exact)
            streams.append(self._stream(direction, share, stream_id, timed=timed))
        try:
            self._send(streams, rate_pps, int(duration_s * 1e9), burst_frames)
        except Aborted:
            # What is under way would come back in the next trial.
            with suppress(DutError):
                self._drain(streams)
            raise
        self._directions, self._streams = directions, streams
        return self.recount()

    def _stream(
        self, direction: Direction, intended: int, stream_id: int, *, timed: bool
    ) -> Stream | Replay:
        tx, rx = self._ports[direction.tx], self._ports[direction.rx]
        if direction.replay:
            sent = [shape.frame for shape in direction.shapes]
            expected = [shape.expected for shape in direction.shapes]
            return Replay(tx, rx, sent, expected, intended)
        return Stream(
            tx,
            rx,
            direction.shapes,
            order=direction.order,
            flows=direction.flows,
            macs=direction.macs,
            stream_id=stream_id,
            intended=intended,
            timed=timed,
        )

    def finish(self) -> None:
        """For `watch`: the trial under way sends no more; what was due by now is `intended`."""
        self._finishing = True

    def recount(self) -> list[DirectionCounts]:
        """Wait for stragglers of the last trial once more; return what became of it by now.

        Raises DutError when the DUT is gone, HostError when a port lost frames itself.
        """
        self._drain(self._streams)
        for port in self._ports:
            port.check_kept_up()
        return [
            stream.counts(direction.tx, direction.rx)
            for stream, direction in zip(self._streams, self._directions, strict=True)
        ]

    def _send(
        self,
        streams: Sequence[Stream | Replay],
        rate_pps: float | None,
        duration_ns: int,
        burst_frames: int,
    ) -> None:
        tick_ns = self._tick_ns(rate_pps, len(streams))
        start = monotonic_ns()
        self._finishing = False
        while True:
            if self._finishing:
                for stream in streams:
                    stream.intended = stream.accounted
                return
            now = monotonic_ns()
            elapsed = min(now - start, duration_ns)
            for stream in streams:
                stream.collect()
                if rate_pps is None:
                    stream.fill()
                else:
                    due = stream.intended * elapsed // duration_ns
                    if elapsed < duration_ns:
                        due -= due % burst_frames
                    stream.offer(due, start + elapsed)
            if elapsed == duration_ns:
                return
            if tick_ns:
                self._linger(streams)
                self._rest(min(now + tick_ns, start + duration_ns) - monotonic_ns())
            else:
                self._rest(0)

    def _linger(self, streams: Sequence[Stream | Replay]) -> None:
        """Before sleeping: wait awake for a fast DUT, whose latency is less than a tick.

        A DUT that is slower gets the CPU instead: each time in vain, the next
        attempt is put off for twice as many ticks.
        """
        if self._attempt_in:
            self._attempt_in -= 1
            return
        deadline = monotonic_ns() + _LINGER_NS
        while monotonic_ns() < deadline:
            for stream in streams:
                stream.collect()
            if all(stream.caught_up for stream in streams):
                self._in_vain = 0
                return
        self._in_vain = min(self._in_vain + 1, _MOST_IN_VAIN)
        self._attempt_in = 1 << self._in_vain

    def _drain(self, streams: Sequence[Stream | Replay]) -> None:
        """Collect until all frames are back, or nothing has moved for the quiet time."""
        moved = start = monotonic_ns()
        pending = sum(stream.pending for stream in streams)
        while not all(stream.complete for stream in streams):
            arrived = sum(stream.collect() for stream in streams)
            left = sum(stream.pending for stream in streams)
            now = monotonic_ns()
            if arrived or left != pending:
                moved, pending = now, left
            # Frames that the DUT has not even taken yet cannot be lost in it.
            if (now - moved > _QUIET_NS and not left) or now - start > _DRAIN_NS:
                return
            self._rest(_LONGEST_TICK_NS)

    def _settle(self) -> None:
        """Wait until the DUT has taken all frames of before; forget what it has sent."""
        self._streams = self._directions = ()
        deadline = monotonic_ns() + _SETTLE_NS
        while True:
            for port in self._ports:
                port.discard()
            stuck = [port for port in self._ports if port.tx.pending()]
            if not stuck:
                return
            if monotonic_ns() > deadline:
                raise DutError(
                    f"{stuck[0].name}: the DUT has left {stuck[0].tx.pending()} frames in "
                    f"its receive ring for {_SETTLE_NS / 1e9:.0f} s; it does not forward"
                )
            self._rest(_LONGEST_TICK_NS)

    def _tick_ns(self, rate_pps: float | None, directions: int) -> int:
        if self._spin or not rate_pps:
            return 0
        tick = min(_LONGEST_TICK_NS, int(_BURST * directions * 1e9 / rate_pps))
        return tick if tick >= _SHORTEST_TICK_NS else 0

    def _rest(self, pause_ns: int) -> None:
        """Sleep, if the core is shared; look after the DUT and pytest from time to time."""
        if pause_ns > 0 and not self._spin:
            time.sleep(pause_ns / 1e9)
        now = monotonic_ns()
        if now - self._watched_ns > _CHECK_NS:
            self._watched_ns = now
            self._watch()


def _send_exact(port: Port, queue: list[bytes]) -> None:
    count = min(len(queue), port.tx.size - port.tx.pending())
    for number, frame in enumerate(queue[:count]):
        slot = port.tx.slot + number & (port.tx.size - 1)
        port.tx.frame(slot)[: len(frame)] = memoryview(frame)
        port.tx.lengths[slot] = len(frame) << 32
    del queue[:count]
    if count:
        port.tx.give(count)
