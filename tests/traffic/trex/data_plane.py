"""What stands behind the emulated TRex server: ports, streams, and a DUT that may err."""

from __future__ import annotations

import base64
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

LATENCY_US = 20
"""Delay of every frame that the emulated DUT returns."""
KEPT = 10_000
"""Frames of port 0, as bytes, that are kept for a test to look at."""


@dataclass
class Dut:
    """What becomes of frames between the ports. All is exact, so that a test can ask for it."""

    loses_every: int = 0
    """Every so-manyth frame of a port is lost; 0: none."""
    duplicates_every: int = 0
    refuses_every: int = 0
    """Every so-manyth frame finds the port's queue full: it counts as sent, and is not."""
    refusing: Sequence[int] = (0, 1)
    """The ports that this happens to."""
    late_s: float = 0.0
    """Frames come back so much later."""
    crossed: bool = False
    """Frames come back to the port that sent them."""
    transform: Callable[[bytes], bytes] = bytes

    def peer(self, port: int) -> int:
        return port if self.crossed else port ^ 1

    def returned(self, port: int, frames: int) -> int:
        """How many frames come back of so many that a port sent."""
        lost = frames // self.loses_every if self.loses_every else 0
        refused = self.refused(port, frames)
        copies = frames // self.duplicates_every if self.duplicates_every else 0
        return frames - lost - refused + copies

    def refused(self, port: int, frames: int) -> int:
        there = self.refuses_every and port in self.refusing
        return frames // self.refuses_every if there else 0


@dataclass
class Stream:
    """A stream as `add_stream` gave it; counts are of one run of its port."""

    definition: Mapping[str, Any]
    next_id: int
    sent: int = 0

    @property
    def pg_id(self) -> int | None:
        stats = self.definition["flow_stats"]
        return int(stats["stream_id"]) if stats["enabled"] else None

    @property
    def latency(self) -> bool:
        return bool(self.definition["flow_stats"].get("rule_type") == "latency")

    @property
    def total(self) -> float:
        """Frames in all; a continuous stream has no end."""
        mode = self.definition["mode"]
        if mode["type"] == "single_burst":
            return float(mode["total_pkts"])
        if mode["type"] == "multi_burst":
            return float(mode["pkts_per_burst"] * mode["count"])
        return float("inf")

    def frame(self, number: int) -> bytes:
        """What the server sends as the stream's frame of that number."""
        frame = bytearray(base64.b64decode(self.definition["packet"]["binary"]))
        assert self.definition["flags"] & 0b111 == 0b011, "the frame's own addresses are to stay"
        values: dict[str, tuple[int, int]] = {}
        for step in self.definition["vm"]["instructions"]:
            if step["type"] == "tuple_flow_var":
                flow = number % step["limit_flows"] if step["limit_flows"] else number
                addresses = step["ip_max"] - step["ip_min"] + 1
                port = step["port_min"] + flow // addresses
                assert port <= step["port_max"], "fewer addresses and ports than flows"
                values[step["name"] + ".ip"] = (step["ip_min"] + flow % addresses, 4)
                values[step["name"] + ".port"] = (port, 2)
            elif step["type"] == "flow_var":
                assert step["min_value"] == step["max_value"], "no other kind is made here"
                values[step["name"]] = (step["min_value"], step["size"])
            elif step["type"] == "write_flow_var":
                value, size = values[step["name"]]
                at = step["pkt_offset"]
                frame[at : at + size] = value.to_bytes(size, "big")
        return bytes(frame)

    def due(self, elapsed_s: float) -> float:
        """Frames due by then, at most `total`."""
        mode = self.definition["mode"]
        pps = mode["rate"]["value"]
        elapsed_s -= self.definition["isg"] / 1e6
        if elapsed_s <= 0:
            return 0
        if mode["type"] != "multi_burst":
            return float(min(self.total, elapsed_s * pps))
        period_s = mode["pkts_per_burst"] / pps + mode["ibg"] / 1e6
        bursts = int(elapsed_s / period_s)
        begun = min(mode["pkts_per_burst"], (elapsed_s - bursts * period_s) * pps)
        return float(min(self.total, bursts * mode["pkts_per_burst"] + begun))

    @property
    def mean_pps(self) -> float:
        """Pauses between bursts included."""
        if self.total == float("inf"):
            return float(self.definition["mode"]["rate"]["value"])
        return self.total / self.duration_s

    @property
    def duration_s(self) -> float:
        mode = self.definition["mode"]
        pause_s = mode["ibg"] / 1e6 * mode["count"] if mode["type"] == "multi_burst" else 0
        return float(self.total / mode["rate"]["value"] + pause_s + self.definition["isg"] / 1e6)


@dataclass
class Cursor:
    """Where a port is in streams of which one leads to the next."""

    number: int
    """Of the stream whose turn it is; none of the port's: it has ended."""
    began_s: float = 0.0
    """When its turn began, after the port's start."""
    sent: int = 0
    """In this turn."""
    followed: Counter[int] = field(default_factory=Counter)
    """How often each stream has led on."""

    def turn(self, stream: Stream) -> None:
        """To the next stream; the last of a loop counts how often it has been there."""
        limit = stream.definition["action_count"]
        self.followed[self.number] += 1
        self.began_s += stream.duration_s
        over = limit and self.followed[self.number] == limit
        self.number, self.sent = -1 if over else stream.next_id, 0


@dataclass
class EmulatedPort:
    """One port: who holds it, what it sends."""

    number: int
    owner: str = ""
    handler: str = ""
    session: int = 0
    up: bool = True
    promiscuous: bool = False
    service: bool = False
    ipv4: dict[str, str] = field(default_factory=lambda: {"state": "none"})
    streams: dict[int, Stream] = field(default_factory=dict)
    began: float | None = None
    until: float | None = None
    cursors: list[Cursor] = field(default_factory=list)
    counting: bool = True
    """Whether frames of its packet groups that come back are counted."""
    opackets: int = 0
    ipackets: int = 0

    @property
    def state(self) -> str:
        if self.began is not None:
            return "TX"
        return "STREAMS" if self.streams else "IDLE"


@dataclass
class Capture:
    ports: frozenset[int]
    limit: int
    packets: list[dict[str, Any]] = field(default_factory=list)
    active: bool = True


class DataPlane:
    """Counts frames as time goes by; `advance` must be called before anything is read."""

    def __init__(self, ports: int = 2, dut: Dut | None = None) -> None:
        self.ports = [EmulatedPort(number) for number in range(ports)]
        self.dut = dut or Dut()
        self.capacity_pps = float("inf")
        """What a port can send; asked for more, it is slower by as much [frames/s]."""
        self.queue_drops = 0
        self.kept: list[bytes] = []
        """The frames that port 0 sent, at most `KEPT`."""
        self.tx: dict[int, Counter[int]] = defaultdict(Counter)
        self.rx: dict[int, Counter[int]] = defaultdict(Counter)
        self.versions: Counter[int] = Counter()
        self.latency_groups: set[int] = set()
        self.captures: dict[int, Capture] = {}
        self._sent: Counter[int] = Counter()
        # When, of which port and group, to which port, how many.
        self._late: deque[tuple[float, EmulatedPort, int | None, int, int]] = deque()

    def start(self, port: EmulatedPort, duration_s: float) -> None:
        now = time.monotonic()
        port.began, port.until = now, now + duration_s if duration_s >= 0 else None
        port.counting = True
        first = [n for n, stream in port.streams.items() if stream.definition["self_start"]]
        port.cursors = [Cursor(number) for number in first]
        self._sent[port.number] = 0
        for stream in port.streams.values():
            stream.sent = 0
            if stream.pg_id is not None:
                self._forget(stream.pg_id)
                self.versions[stream.pg_id] += 1
                if stream.latency:
                    self.latency_groups.add(stream.pg_id)

    def stop(self, port: EmulatedPort) -> None:
        self.advance()
        port.began = None

    def advance(self) -> Iterable[EmulatedPort]:
        """Send what is due by now; the ports that have just ended."""
        ended = []
        now = time.monotonic()
        while self._late and self._late[0][0] <= now:
            self._return(*self._late.popleft()[1:])
        for port in self.ports:
            if port.began is None:
                continue
            until = now if port.until is None else min(now, port.until)
            asked_pps = sum(stream.mean_pps for stream in port.streams.values())
            slowdown = max(1.0, asked_pps / self.capacity_pps)
            self._send(port, (until - port.began) / slowdown)
            over = port.until is not None and now >= port.until
            if over or all(cursor.number not in port.streams for cursor in port.cursors):
                port.began = None
                ended.append(port)
        return ended

    def push(self, port: int, frames: Iterable[bytes]) -> int:
        """Frames of `push_pkts`, at once; they go through the DUT as bytes."""
        batch = list(frames)
        self.ports[port].opackets += (count := len(batch))
        if port == 0:
            self.kept += batch[: KEPT - len(self.kept)]
        back = self.dut.peer(port)
        if not (self.ports[port].up and self.ports[back].up):
            return count
        for number, frame in enumerate(batch, start=1):
            lost = self.dut.loses_every and number % self.dut.loses_every == 0
            copied = self.dut.duplicates_every and number % self.dut.duplicates_every == 0
            for _ in range(0 if lost else 2 if copied else 1):
                self._arrive(back, self.dut.transform(frame))
        return count

    def _arrive(self, port: int, frame: bytes) -> None:
        self.ports[port].ipackets += 1
        for capture in self.captures.values():
            if capture.active and port in capture.ports and len(capture.packets) < capture.limit:
                capture.packets.append(
                    {
                        "binary": base64.b64encode(frame).decode(),
                        "origin": "RX",
                        "port": port,
                        "ts": time.monotonic(),
                        "index": len(capture.packets),
                        "wirelen": len(frame),
                    }
                )

    def _send(self, port: EmulatedPort, elapsed_s: float) -> None:
        for cursor in port.cursors:
            while cursor.number in port.streams:
                stream = port.streams[cursor.number]
                new = int(stream.due(elapsed_s - cursor.began_s)) - cursor.sent
                if new > 0:
                    if port.number == 0 and len(self.kept) < KEPT:
                        self.kept += [stream.frame(stream.sent + n) for n in range(min(new, KEPT))]
                    stream.sent += new
                    cursor.sent += new
                    self._count(port, stream, new)
                if cursor.sent < stream.total:
                    break
                cursor.turn(stream)

    def _count(self, port: EmulatedPort, stream: Stream, frames: int) -> None:
        back = self.dut.peer(port.number)
        arrives = port.up and self.ports[back].up
        group = stream.pg_id
        before = self._sent[port.number]
        self._sent[port.number] += frames
        after, number = before + frames, port.number
        returned = self.dut.returned(number, after) - self.dut.returned(number, before)
        returned = returned if arrives else 0
        refused = self.dut.refused(number, after) - self.dut.refused(number, before)
        self.queue_drops += refused
        port.opackets += frames - refused
        if group is not None:
            self.tx[group][port.number] += frames
        if self.dut.late_s:
            self._late.append((time.monotonic() + self.dut.late_s, port, group, back, returned))
        else:
            self._return(port, group, back, returned)

    def _return(self, port: EmulatedPort, group: int | None, back: int, frames: int) -> None:
        """Frames that `port` sent have come to port `back`."""
        self.ports[back].ipackets += frames
        if group is not None and port.counting:
            self.rx[group][back] += frames

    def _forget(self, group: int) -> None:
        self.tx.pop(group, None)
        self.rx.pop(group, None)

    def statistics(self, groups: Iterable[int]) -> dict[str, Any]:
        """As `get_pgid_stats` says it; no groups: all."""
        self.advance()
        known = [g for g in (list(groups) or list(self.versions)) if g in self.versions]
        flow: dict[str, Any] = {"g": {}}
        latency: dict[str, Any] = {"g": {"old_flow": 0, "bad_hdr": 0}}
        numbers = [port.number for port in self.ports]
        for group in known:
            sent = {str(n): self.tx[group][n] for n in numbers}
            received = {str(n): self.rx[group][n] for n in numbers}
            nothing = dict.fromkeys(sent, 0.0)
            flow[str(group)] = {
                "tp": sent,
                "rp": received,
                "tb": {n: count * 64 for n, count in sent.items()},
                "rb": {n: count * 64 for n, count in received.items()},
                **dict.fromkeys(("tbs", "tps", "rbs", "rps"), nothing),
            }
            if group in self.latency_groups:
                count, total = sum(received.values()), sum(sent.values())
                latency[str(group)] = {
                    "er": {
                        "drp": max(0, total - count),
                        "dup": max(0, count - total),
                        "ooo": 0,
                        "sth": 0,
                        "stl": 0,
                    },
                    "lat": {
                        "average": LATENCY_US,
                        "jit": 1,
                        "total_max": LATENCY_US + 5,
                        "total_min": LATENCY_US,
                        "last_max": LATENCY_US + 5,
                        "histogram": {str(LATENCY_US): count} if count else {},
                    },
                }
        versions = {str(group): self.versions[group] for group in known}
        return {"flow_stats": flow, "latency": latency, "ver_id": versions}
