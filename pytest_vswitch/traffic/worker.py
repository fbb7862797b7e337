"""The generator's process: `python -m pytest_vswitch.traffic.worker memif|af_packet [--cpu N]`.

Reads one JSON object per line from its standard input and answers likewise:

    {"do": "connect", "ports": [...], "ring": 1024}
        each port {"socket", "id", "secret"} for memif, {"interface"} for af_packet;
        a memif server that sends on several queues wants as many {"rings": n}, and takes
        frames on several of them with {"queues": n};
        a memif port with {"also": [socket, ...]} floods its frames to those servers, too; one
        with {"piece": n} has buffers of n bytes, and longer frames in several
        -> {"event": "connected", "peers": [...], "numpy": "..."}
    {"do": "exchange", "frames": {"0": [hex, ...]}, "expected": {"1": [CRC-32, ...]}, "wait_s": s}
        -> {"event": "exchanged", "frames": {"0": [hex, ...], ...}}
    {"do": "start", "directions": [...], "rate_pps": r, "duration_s": s, "burst_frames": n}
        each direction {"tx", "rx", "shapes": [{"frame", "expected", "stamps"}, ...], "order",
        "flows", "macs"}, see `engine.Direction`; exact frames come with {"replay": true}
        -> {"event": "counts", "directions": [...]}
        {"patient": true}: a memif server that goes is waited for, its ring is full meanwhile
    {"do": "recount"} -> {"event": "counts", "directions": [...]}
    {"do": "finish"}  a trial under way sends no more, and is answered by its counts
    {"do": "abort"}   -> {"event": "aborted"}
    {"do": "quit"}    (as the end of its input does) ends the process

Any command but the last two may be answered by {"event": "failed", "kind": class name,
"message": "..."} instead; a trial that is aborted is answered by "aborted" alone.
It imports no more than numpy: it may run beside a DUT, on a busy machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import platform
import select
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from pytest_vswitch.errors import DutError, HostError, VswitchError
from pytest_vswitch.traffic.af_packet.port import PacketPort
from pytest_vswitch.traffic.engine import Aborted, Direction, Engine
from pytest_vswitch.traffic.generator import DirectionCounts
from pytest_vswitch.traffic.memif.chained import ChainedPort
from pytest_vswitch.traffic.memif.flood import FloodPort
from pytest_vswitch.traffic.memif.port import MemifPort
from pytest_vswitch.traffic.pattern import Shape
from pytest_vswitch.traffic.port import Port

_CONNECT_S = 10.0
_RECONNECT_S = 1.0
"""For a server that has just begun to listen."""


class _Quit(Exception):
    """Nobody wants anything any more."""


class Worker:
    """Carries out commands, one after the other, until its input ends."""

    def __init__(self, kind: str, *, spin: bool) -> None:
        self._kind = kind
        self._spin = spin
        self._input = b""
        self._poll = select.poll()
        self._poll.register(sys.stdin.fileno(), select.POLLIN)
        self._ports: list[Port] = []
        self._lost = ""
        self._patient = False
        self._away: list[MemifPort] = []
        self._engine: Engine | None = None

    def serve(self) -> None:
        """Answer commands; returns when told to quit or when standard input ends."""
        try:
            while True:
                line = self._line(wait=True)
                if line:
                    self._answer(line)
        except _Quit:
            pass
        finally:
            for port in self._ports:
                port.close()

    def _answer(self, line: bytes) -> None:
        try:
            command = json.loads(line)
            if command["do"] == "finish":
                return  # the trial ended by itself meanwhile
            reply = self._carry_out(command)
        except Aborted:
            reply = {"event": "aborted"}
        except VswitchError as error:
            reply = _failed(type(error).__name__, str(error))
        except (OSError, MemoryError) as error:
            reply = _failed("HostError", f"{self._name}: {error or 'out of memory'}")
        except (ValueError, KeyError, TypeError) as error:
            reply = _failed("HostError", f"{self._name}: cannot understand {line!r}: {error!r}")
        print(json.dumps(reply), flush=True)

    def _carry_out(self, command: Mapping[str, Any]) -> dict[str, object]:
        if command["do"] == "quit":
            raise _Quit
        if command["do"] == "abort":
            return {"event": "aborted"}
        if self._lost:
            raise DutError(self._lost)
        match command["do"]:
            case "connect":
                return self._connect(command)
            case "exchange":
                frames = {
                    int(port): [bytes.fromhex(frame) for frame in queue]
                    for port, queue in command["frames"].items()
                }
                expected = {int(port): crcs for port, crcs in command["expected"].items()}
                back = self._connected().exchange(frames, command["wait_s"], expected)
                return {
                    "event": "exchanged",
                    "frames": {
                        port: [frame.hex() for frame in queue] for port, queue in back.items()
                    },
                }
            case "start":
                return _counts(self._trial(command))
            case "recount":
                return _counts(self._connected().recount())
            case unknown:
                raise ValueError(f"no command {unknown}")

    def _trial(self, command: Mapping[str, Any]) -> Sequence[DirectionCounts]:
        directions = [
            Direction(
                tx=direction["tx"],
                rx=direction["rx"],
                shapes=[_shape(shape) for shape in direction["shapes"]],
                order=direction["order"],
                flows=direction["flows"],
                macs=direction.get("macs", 1),
                replay=direction.get("replay", False),
            )
            for direction in command["directions"]
        ]
        self._patient = command.get("patient", False)
        try:
            counts = self._connected().trial(
                directions,
                rate_pps=command["rate_pps"],
                duration_s=command["duration_s"],
                burst_frames=command["burst_frames"],
            )
        finally:
            self._patient = False
            if self._away:
                self._lost = f"{self._away[0].name}: no server answers there any more"
        if self._lost:
            raise DutError(self._lost)
        return counts

    def _connect(self, command: Mapping[str, Any]) -> dict[str, object]:
        for wanted in command["ports"]:
            port = self._port(wanted, command["ring"])
            self._ports.append(port)
            port.connect(_CONNECT_S)
            self._poll.register(port.fileno(), port.events)
        self._engine = Engine(self._ports, spin=self._spin, watch=self._watch)
        return {
            "event": "connected",
            "peers": [port.peer for port in self._ports],
            "numpy": np.__version__,
        }

    def _port(self, wanted: Mapping[str, Any], ring_size: int) -> Port:
        if self._kind == "af_packet":
            return PacketPort(wanted["interface"], ring_size=ring_size)
        links = [
            MemifPort(
                socket,
                interface_id=wanted["id"],
                secret=wanted["secret"],
                ring_size=ring_size,
                rings=wanted.get("rings", 1),
                queues=wanted.get("queues", 1),
            )
            for socket in (wanted["socket"], *wanted.get("also", ()))
        ]
        if len(links) > 1:
            return FloodPort(links, ring_size=ring_size)
        if piece := wanted.get("piece"):
            return ChainedPort(links[0], ring_size=ring_size, piece_bytes=piece)
        return links[0]

    @property
    def _name(self) -> str:
        return f"{self._kind} generator"

    def _connected(self) -> Engine:
        if self._engine is None:
            raise HostError(f"{self._name}: not connected yet")
        return self._engine

    def _watch(self) -> None:
        """During a trial: raise if it is called off, or if the DUT or pytest is gone."""
        line = self._line(wait=False)
        self._look_for_those_away()
        if self._lost:
            raise DutError(self._lost)
        if line:
            command = json.loads(line)
            if command.get("do") == "finish":
                self._connected().finish()
                return
            raise _Quit if command.get("do") == "quit" else Aborted

    def _line(self, *, wait: bool) -> bytes:
        """The next line of input, or nothing if none is complete; notices a lost DUT."""
        while b"\n" not in self._input:
            ready = self._poll.poll(None if wait else 0)
            for fd, _ in ready:
                if fd == sys.stdin.fileno():
                    data = os.read(fd, 1 << 16)
                    if not data:
                        raise _Quit
                    self._input += data
                else:
                    self._lose(fd)
            if not wait:
                break
        if b"\n" not in self._input:
            return b""
        line, _, self._input = self._input.partition(b"\n")
        return line.strip()

    def _lose(self, fd: int) -> None:
        port = next(port for port in self._ports if port.fileno() == fd)
        reason = port.lost()
        if reason:
            self._poll.unregister(fd)
            if self._patient and isinstance(port, MemifPort):
                self._away.append(port)
            else:
                self._lost = self._lost or reason

    def _look_for_those_away(self) -> None:
        """Connect to servers that are there again."""
        for port in sorted(self._away, key=self._ports.index):
            with suppress(DutError):  # not yet
                port.reconnect(_RECONNECT_S)
                self._poll.register(port.fileno(), port.events)
                self._away.remove(port)


def _shape(told: Mapping[str, Any]) -> Shape:
    frame, expected = bytes.fromhex(told["frame"]), bytes.fromhex(told["expected"])
    return Shape(frame, expected, tuple(told["stamps"]), tuple(told.get("macs", (0, 0))))


def _counts(counts: Sequence[DirectionCounts]) -> dict[str, object]:
    return {"event": "counts", "directions": [dataclasses.asdict(c) for c in counts]}


def _failed(kind: str, message: str) -> dict[str, object]:
    return {"event": "failed", "kind": kind, "message": message}


def main() -> None:
    parser = argparse.ArgumentParser(description="traffic generator of pytest-vswitch")
    parser.add_argument("kind", choices=("memif", "af_packet"), help="what its ports are")
    parser.add_argument("--cpu", type=int, help="a core for this process alone, where it polls")
    arguments = parser.parse_args()
    kind, cpu = arguments.kind, arguments.cpu
    # Ctrl-C is for pytest, which then closes our input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if kind == "memif" and platform.machine() != "x86_64":
        sys.exit("the memif generator relies on x86's order of stores; use another one here")
    if cpu is not None:
        try:
            os.sched_setaffinity(0, {cpu})
        except OSError as error:
            sys.exit(f"{kind} generator: cannot run on CPU {cpu}: {error.strerror}")
    _sleep_precisely()
    gc.disable()  # nothing here makes cycles, and a collection would delay frames
    Worker(kind, spin=cpu is not None).serve()


def _sleep_precisely() -> None:
    """The kernel may otherwise add 50 µs to every sleep, to save power."""
    try:
        with open("/proc/self/timerslack_ns", "w") as slack:
            slack.write("1")
    except OSError:
        pass  # only the pacing is coarser then


if __name__ == "__main__":
    main()
