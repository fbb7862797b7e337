"""scapy's process: `python -m pytest_vswitch.traffic.scapy.worker [--cpu N]`.

Reads one JSON object per line from its standard input and answers likewise:

    {"do": "connect", "ports": [interface, ...]} -> {"event": "connected", "scapy": "2.5.0"}
    {"do": "exchange", "frames": {"0": [hex, ...]}, "expected": {"1": [hex, ...]}, "wait_s": s}
        -> {"event": "exchanged", "frames": {"0": [hex, ...], ...}}
    {"do": "direction", "tx": 0, "rx": 1, "intended": n, "order": [0],
     "forms": [[hex, hex, at, at], ...], "replay": false}
        for each direction of the next trial, and again for more of its forms; no answer
    {"do": "start", "duration_s": s, "burst": 1, "ring": 1024}
        -> {"event": "counts", "directions": [...]}
    {"do": "recount"} -> {"event": "counts", "directions": [...]}
    {"do": "abort"}   -> {"event": "aborted"}
    {"do": "quit"}    (as the end of its input does) ends the process

Any command but the last two may be answered by {"event": "failed", "kind": class name,
"message": "..."} instead; a trial that is aborted is answered by "aborted" alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from time import monotonic_ns
from typing import Any

from pytest_vswitch.errors import VswitchError
from pytest_vswitch.traffic.scapy.replay import Replay
from pytest_vswitch.traffic.scapy.stream import Form, Stream

try:
    import scapy

    from pytest_vswitch.traffic.scapy.port import ScapyPort
except ImportError as missing:
    sys.exit(f"scapy generator: {missing}: install scapy 2.5 or newer here (python3-scapy)")

_MS = 1_000_000
_CONNECT_S = 10.0
_AT_ONCE = 32
"""Frames of a direction sent before one looks what has come: a usual DPDK burst."""
_TICK_S = 0.0005
_QUIET_NS = 100 * _MS
"""Nothing came for so long: what is missing is taken for lost, unless a recount finds it."""
_DRAIN_NS = 1000 * _MS
"""Longest wait for stragglers, or for a queue that is full."""


class _Quit(Exception):
    """Nobody wants anything any more."""


class _Aborted(Exception):
    """The trial is called off."""


class Worker:
    """Carries out commands, one after the other, until its input ends."""

    def __init__(self) -> None:
        self._input = b""
        self._ports: list[ScapyPort] = []
        self._streams: list[Stream | Replay] = []
        self._next: dict[int, dict[str, Any]] = {}
        self._trials = 0

    def serve(self) -> None:
        """Answer commands; returns when told to quit or when standard input ends."""
        try:
            while True:
                if line := self._line(wait=True):
                    self._answer(line)
        except _Quit:
            pass
        finally:
            for port in self._ports:
                port.close()

    def _answer(self, line: bytes) -> None:
        try:
            reply = self._carry_out(json.loads(line))
        except _Aborted:
            reply = {"event": "aborted"}
        except VswitchError as error:
            reply = {"event": "failed", "kind": type(error).__name__, "message": str(error)}
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            message = f"scapy generator: cannot carry out {line[:200]!r}: {error!r}"
            reply = {"event": "failed", "kind": "HostError", "message": message}
        if reply:
            print(json.dumps(reply), flush=True)

    def _carry_out(self, command: Mapping[str, Any]) -> dict[str, object]:
        match command["do"]:
            case "quit":
                raise _Quit
            case "abort":
                return {"event": "aborted"}
            case "connect":
                for name in command["ports"]:
                    self._ports.append(ScapyPort(name))
                    self._ports[-1].connect(_CONNECT_S)
                return {"event": "connected", "scapy": scapy.__version__}
            case "exchange":
                back = self._exchange(
                    _from_hex(command["frames"]),
                    _from_hex(command["expected"]),
                    command["wait_s"],
                )
                frames = {port: [frame.hex() for frame in queue] for port, queue in back.items()}
                return {"event": "exchanged", "frames": frames}
            case "direction":
                kept = self._next.setdefault(command["tx"], {**command, "forms": []})
                kept["forms"] += command["forms"]
                return {}
            case "start":
                return self._trial(command["duration_s"], command["burst"], command["ring"])
            case "recount":
                return self._recount()
            case unknown:
                raise ValueError(f"no command {unknown}")

    def _exchange(
        self,
        frames: Mapping[int, Sequence[bytes]],
        expected: Mapping[int, Sequence[bytes]],
        wait_s: float,
    ) -> dict[int, list[bytes]]:
        """Until all that is expected has come, or as many frames as were sent and no more."""
        self._settle()
        for number, queue in frames.items():
            self._ports[number].check_length(max(map(len, queue), default=0))
        queues = {number: list(queue) for number, queue in frames.items()}
        awaited = {number: Counter(queue) for number, queue in expected.items()}
        missing = sum(map(len, queues.values()))
        back: dict[int, list[bytes]] = {number: [] for number in range(len(self._ports))}
        came = now = monotonic_ns()
        deadline = now + int(wait_s * 1e9)
        while any(awaited.values()) and now < deadline:
            if missing <= 0 and now - came > _QUIET_NS:
                break
            for number, queue in queues.items():
                while queue and self._ports[number].send(queue[0]):
                    del queue[0]
            for number, port in enumerate(self._ports):
                if arrived := port.receive():
                    back[number] += arrived
                    missing -= len(arrived)
                    came = now
                    if number in awaited:
                        awaited[number] -= Counter(arrived)
            self._rest()
            now = monotonic_ns()
        return back

    def _trial(self, duration_s: float, burst: int, ring: int) -> dict[str, object]:
        self._settle()
        wanted, self._next = self._next, {}
        self._trials += 1
        streams = [
            self._stream(direction, (self._trials * len(wanted) + number) & 0xFFFF)
            for number, (_, direction) in enumerate(sorted(wanted.items()))
        ]
        try:
            self._send(streams, int(duration_s * 1e9), burst, ring)
        except _Aborted:
            with contextlib.suppress(VswitchError):  # else it comes back in the next trial
                self._drain(streams)
            raise
        self._streams = streams
        return self._recount()

    def _stream(self, wanted: Mapping[str, Any], stream_id: int) -> Stream | Replay:
        """Raises InputError for frames that are too long for a port."""
        tx, rx, intended = wanted["tx"], wanted["rx"], wanted["intended"]
        forms = [
            Form(bytes.fromhex(frame), bytes.fromhex(expected), (at, there))
            for frame, expected, at, there in wanted["forms"]
        ]
        frames = [form.frame for form in forms]
        expected = [form.expected for form in forms]
        self._ports[tx].check_length(max(map(len, frames)))
        self._ports[rx].check_length(max(map(len, expected)))
        if wanted["replay"]:
            return Replay(tx, rx, frames, expected, intended=intended)
        order = wanted["order"]
        return Stream(tx, rx, forms, stream_id=stream_id, intended=intended, order=order)

    def _send(
        self, streams: Sequence[Stream | Replay], duration_ns: int, burst: int, ring: int
    ) -> None:
        """Offer each stream's frames as they come due, `burst` together.

        What comes due while the generator is late by more than a `ring` is not offered, or
        refused if it is the interface that takes no more.
        """
        start = monotonic_ns()
        while True:
            elapsed = monotonic_ns() - start
            over = elapsed >= duration_ns
            late = False
            for stream in streams:
                due = stream.intended
                if not over:
                    due = due * elapsed // duration_ns // burst * burst
                full = self._offer(stream, due)
                excess = due - stream.accounted - ring
                if elapsed > duration_ns + _DRAIN_NS:
                    excess = due - stream.accounted
                if excess > 0 and full:
                    stream.refused += excess
                elif excess > 0:
                    stream.not_offered += excess
                late |= stream.accounted < due
            self._collect(streams)
            if over and not late:
                return
            self._rest(0.0 if late else _TICK_S)

    def _offer(self, stream: Stream | Replay, due: int) -> bool:
        """Send a few of the frames that are due; whether the interface takes no more."""
        port = self._ports[stream.tx]
        for _ in range(min(_AT_ONCE, due - stream.accounted)):
            if not port.send(stream.next_frame()):
                return True
            stream.sent += 1
        return False

    def _recount(self) -> dict[str, object]:
        """Wait for stragglers of the last trial; what became of it by now."""
        self._drain(self._streams)
        for port in self._ports:
            port.check_kept_up()
        return {"event": "counts", "directions": [stream.counts() for stream in self._streams]}

    def _drain(self, streams: Sequence[Stream | Replay]) -> None:
        """Collect until all frames are back, or nothing has come for the quiet time."""
        came = start = now = monotonic_ns()
        while not all(stream.complete for stream in streams):
            if self._collect(streams):
                came = now
            if now - came > _QUIET_NS or now - start > _DRAIN_NS:
                return
            self._rest()
            now = monotonic_ns()

    def _collect(self, streams: Sequence[Stream | Replay]) -> int:
        arrived = 0
        for stream in streams:
            for frame in self._ports[stream.rx].receive():
                stream.judge(frame)
                arrived += 1
        return arrived

    def _settle(self) -> None:
        self._streams = []
        for port in self._ports:
            port.discard()

    def _rest(self, at_most_s: float = _TICK_S) -> None:
        """Sleep until a frame comes, or the time is over; raise if the trial is called off."""
        ready = select.select([sys.stdin, *self._ports], [], [], at_most_s)[0]
        if sys.stdin not in ready and b"\n" not in self._input:
            return
        if line := self._line(wait=False):
            raise _Quit if json.loads(line).get("do") == "quit" else _Aborted

    def _line(self, *, wait: bool) -> bytes:
        """The next line of input, or nothing if none is complete."""
        while b"\n" not in self._input:
            if not wait and not select.select([sys.stdin], [], [], 0)[0]:
                return b""
            data = os.read(sys.stdin.fileno(), 1 << 16)
            if not data:
                raise _Quit
            self._input += data
        line, _, self._input = self._input.partition(b"\n")
        return line.strip()


def _from_hex(queues: Mapping[str, Sequence[str]]) -> dict[int, list[bytes]]:
    return {int(port): list(map(bytes.fromhex, queue)) for port, queue in queues.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="scapy generator of pytest-vswitch")
    parser.add_argument("--cpu", type=int, help="the core that it runs on")
    cpu = parser.parse_args().cpu
    # Ctrl-C is for pytest, which then closes our input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if cpu is not None:
        try:
            os.sched_setaffinity(0, {cpu})
        except OSError as error:
            sys.exit(f"scapy generator: cannot run on CPU {cpu}: {error.strerror}")
    Worker().serve()


if __name__ == "__main__":
    main()
