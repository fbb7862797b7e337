"""The controller's end of an agent: requests and answers that survive a lost connection."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pytest_vswitch.errors import HostError, ReservationLost, VswitchError
from pytest_vswitch.hosts import bootstrap, wire

PING_S = 2.0
"""How often the agent is asked whether it is there [s]."""

SILENCE_S = 10.0
"""An agent that says nothing for so long is cut off [s]."""

ANSWER_S = 30.0
"""How long the agent may take to answer, beyond what the request itself may take [s]."""

BEGIN_S = 60.0
"""How long a shell, a Python and the agent may take to be there [s]."""

_NOISE_BYTES = 1 << 16
"""What a login shell may print before the agent speaks [bytes]."""

_ACKNOWLEDGE_BYTES = 1 << 20
"""So much is acknowledged at once, not only with the next ping [bytes]."""

_PAUSE_S = 0.5
"""Between two tries to connect again [s]."""


class Stream(Protocol):
    """A program on the other host, by its standard input and output."""

    def read(self, size: int) -> bytes: ...
    def write(self, data: bytes) -> None: ...
    def stderr_tail(self) -> str: ...
    def exit_status(self, within_s: float) -> int | None: ...
    def close(self) -> None: ...


Open = Callable[[Mapping[str, object]], "tuple[Stream, wire.Unpacker]"]
"""Starts an agent, or a relay to one, with what is `given` to it; Raises HostError."""


class AgentGone(HostError):
    """There is no agent to come back to."""


def begin(stream: Stream, given: Mapping[str, object], first: bytes = b"") -> wire.Unpacker:
    """Start an agent on a stream that runs one of `bootstrap`'s commands.

    `first` goes before all else (a password for sudo). Raises HostError with what the
    other side says when that is not an agent.
    """
    unpacker = wire.Unpacker(stream.read)
    alarm = threading.Timer(BEGIN_S, stream.close)  # whoever reads from it sees its end
    alarm.daemon = True
    alarm.start()
    try:
        if first:
            stream.write(first)
        _await(unpacker, bootstrap.BOOTED, stream, "there is no python3 that answers")
        version = _await(unpacker, b" \n", stream, "python3 does not say its version").decode()
        if tuple(map(int, version.split("."))) < bootstrap.OLDEST:
            oldest = ".".join(map(str, bootstrap.OLDEST))
            raise HostError(f"its python3 is {version}; {oldest} or later is needed")
        stream.write(bootstrap.program(given))
        _await(unpacker, wire.READY, stream, "the agent did not start")
    except BaseException:
        stream.close()
        raise
    finally:
        alarm.cancel()
    return unpacker


def _await(unpacker: wire.Unpacker, marker: bytes, stream: Stream, otherwise: str) -> bytes:
    try:
        before = unpacker.skip_to(marker, _NOISE_BYTES)
    except ValueError as noise:
        said = noise.args[0][-500:].decode(errors="replace")
        raise HostError(f"{otherwise}; its shell prints without end:\n{said}") from None
    if before is None:
        status = stream.exit_status(1.0)
        said = unpacker.unread()[-500:].decode(errors="replace") + stream.stderr_tail()
        if status == wire.GONE:
            raise AgentGone(said.strip())
        how = "" if status is None else f" (exit status {status})"
        raise HostError(f"{otherwise}{how}: {said.strip() or 'it said nothing'}")
    return before


@dataclass(slots=True)
class _Request:
    message: bytes
    answered: threading.Event = field(default_factory=threading.Event)
    parts: list[bytes] = field(default_factory=list)
    header: Mapping[str, Any] = field(default_factory=dict)


class Link:
    """One agent, for one run. Requests may come from several threads."""

    def __init__(self, name: str, open_: Open, given: Mapping[str, object]) -> None:
        """`given` is for the agent. Raises HostError."""
        self.name = name
        self._open = open_
        self._reconnect_s = 0.0
        self._attach: Mapping[str, object] = {}
        self._numbers = itertools.count(1)
        self._requests: dict[int, _Request] = {}
        self._outputs: dict[int, queue.SimpleQueue[bytes]] = {}
        self._received = 0
        self._unacknowledged = 0
        self._heard = time.monotonic()
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._closed = threading.Event()
        self._hurry = threading.Event()
        """Set for a ping at once."""
        self._cancelled: set[int] = set()
        self._failure: HostError | None = None
        self.interruptions: list[float] = []
        """How long each lost connection was missed [s]."""
        self._stream, self._unpacker = open_(given)
        self._stream.write(wire.pack({"last": 0}))
        self._threads = [
            threading.Thread(target=work, name=f"{name} {work.__name__}", daemon=True)
            for work in (self._listen, self._ping, self._watch)
        ]
        for thread in self._threads:
            thread.start()

    def keep(self, given: Mapping[str, object], reconnect_s: float) -> None:
        """From now on a lost connection is restored, with what is `given` to a relay.

        The agent waits for `reconnect_s`.
        """
        self._attach, self._reconnect_s = given, reconnect_s

    def call(
        self, do: str, payload: bytes = b"", *, timeout_s: float = 0.0, **arguments: Any
    ) -> tuple[Any, bytes]:
        """Value and bytes of the answer. Raises what the agent reports: OSError, HostError."""
        return self.finish(self.send(do, payload, **arguments), do, timeout_s=timeout_s)

    def send(self, do: str, payload: bytes = b"", **arguments: Any) -> int:
        """Begin a request; its number, for `finish`."""
        with self._sending:
            number = next(self._numbers)
            message = wire.pack({"do": do, "id": number, **arguments}, payload)
            with self._lock:
                self._check()
                self._requests[number] = _Request(message)
                stream = self._stream
            with contextlib.suppress(HostError, OSError):  # sent again over the next connection
                stream.write(message)
        return number

    def finish(self, number: int, do: str, *, timeout_s: float = 0.0) -> tuple[Any, bytes]:
        """Wait for the answer to a request."""
        with self._lock:
            request = self._requests[number]
        deadline = time.monotonic() + timeout_s + ANSWER_S
        try:
            while not request.answered.wait(max(0.0, deadline - time.monotonic())):
                if self._attach and self._silent_s() > 2 * PING_S:  # it is being looked for
                    deadline = time.monotonic() + ANSWER_S
                    continue
                raise HostError(
                    f"{self.name}: the agent did not answer `{do}` "
                    f"within {timeout_s + ANSWER_S:g} s"
                )
        except BaseException:  # Ctrl-C
            self._cancel(number)
            raise
        finally:
            with self._lock:
                self._requests.pop(number, None)
        if not request.header:
            self._check()
        header = request.header
        value: Any = header.get("value")
        if header.get("error") == "OSError":
            code, text, path = value
            raise OSError(text) if code is None else OSError(code, text, path)
        if header.get("error"):
            raise HostError(f"{self.name}: {value}")
        return value, b"".join(request.parts)

    def output(self, number: int) -> queue.SimpleQueue[bytes]:
        """What the program or stream of that request says; nothing at its end."""
        with self._lock:
            lines = self._outputs.setdefault(number, queue.SimpleQueue())
            if self._failure:
                lines.put(b"")
            return lines

    def close(self) -> None:
        """Say good-bye; the agent ends. Done twice it does no harm."""
        if self._closed.is_set():
            return
        with contextlib.suppress(HostError, OSError):
            self.call("bye")
        self._closed.set()
        self._hurry.set()
        self._fail(HostError(f"{self.name}: the connection is closed"))
        self._stream.close()
        for thread in self._threads:
            thread.join(PING_S)

    # --- threads ---

    def _listen(self) -> None:
        while not self._closed.is_set():
            try:
                message = self._unpacker.next()
            except (HostError, OSError, ValueError, EOFError):
                message = None
            if message is not None:
                self._take(*message)
            elif not self._closed.is_set() and not self._reconnect():
                return

    def _take(self, header: Mapping[str, Any], payload: bytes) -> None:
        self._heard = time.monotonic()
        if int(header["seq"]) <= self._received:
            return  # told again
        self._received = int(header["seq"])
        number = header.get("reply", header.get("part"))
        if number is not None:
            with self._lock:
                request = self._requests.get(number)
            if request is not None:
                request.parts.append(payload)
                if "reply" in header:
                    request.header = header
                    request.answered.set()
        elif header.get("event") == "output":
            self.output(header["of"]).put(payload)
        elif header.get("event") == "ended":
            self._attach = {}
            if by := header["taken_by"]:
                self._fail(ReservationLost(f"{self.name} was taken from this run, by {by}"))
            why = f"{self.name}: the agent has ended this run there: {header['why']}"
            self._fail(HostError(why))
        self._unacknowledged += len(payload)
        if self._unacknowledged > _ACKNOWLEDGE_BYTES:
            # Not from here: who reads must never wait for who writes.
            self._hurry.set()

    def _ping(self) -> None:
        while not self._closed.is_set():
            self._hurry.wait(PING_S)
            self._hurry.clear()
            if not self._closed.is_set():
                self._say({"do": "ping"})

    def _watch(self) -> None:
        """Cut off a connection that is silent; it never writes, so that nothing holds it up."""
        while not self._closed.wait(PING_S):
            if self._silent_s() > SILENCE_S:
                self._stream.close()  # which `_listen` notices

    def _say(self, header: dict[str, object]) -> None:
        self._unacknowledged = 0
        with contextlib.suppress(HostError, OSError), self._sending:
            self._stream.write(wire.pack({**header, "got": self._received}))

    def _reconnect(self) -> bool:
        """Find the agent again; whether it was found in time."""
        lost = time.monotonic()
        self._stream.close()
        reason = self._stream.stderr_tail().strip() or "the connection was lost"
        deadline = self._heard + self._reconnect_s
        while self._attach and not self._closed.is_set():
            try:
                stream, unpacker = self._open(self._attach)
                with self._sending:
                    stream.write(wire.pack({"last": self._received}))
                    with self._lock:
                        waiting = [request.message for _, request in sorted(self._requests.items())]
                        self._stream, self._unpacker = stream, unpacker
                        self._heard = time.monotonic()
                    for message in waiting:
                        stream.write(message)
                    for number in self._cancelled:
                        stream.write(wire.pack({"do": "cancel", "id": number}))
            except (VswitchError, OSError) as error:
                reason = str(error)
                if time.monotonic() > deadline or isinstance(error, AgentGone):
                    break
                self._closed.wait(_PAUSE_S)
                continue
            self.interruptions.append(time.monotonic() - lost)
            return True
        self._fail(HostError(f"{self.name}: lost {self._silent_s():.0f} s ago: {reason}"))
        return False

    # --- the rest ---

    def _silent_s(self) -> float:
        return time.monotonic() - self._heard

    def _cancel(self, number: int) -> None:
        self._cancelled.add(number)
        self._say({"do": "cancel", "id": number})

    def _check(self) -> None:
        if self._failure:
            raise type(self._failure)(str(self._failure))

    def _fail(self, why: HostError) -> None:
        """End every wait with that reason, now and from now on."""
        with self._lock:
            self._failure = self._failure or why
            for request in self._requests.values():
                request.answered.set()
            for lines in self._outputs.values():
                lines.put(b"")
