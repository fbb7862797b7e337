"""The agent: our side of the door on another host, which outlives a lost connection.

It is sent over SSH as source, leaves no file, and does there what `engine` does here.
Two processes: a relay, which is what SSH started and which ends with the connection; and
the agent behind it, in a session of its own, which keeps the run's programs going until
the controller comes back. If that does not happen in time, it ends them, undoes every
change and goes. Standard library only, Python 3.8.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import wire
from pytest_vswitch.hosts.child import REACT_S, TAKE_S, Child
from pytest_vswitch.hosts.engine import LocalEngine
from pytest_vswitch.hosts.outbox import Outbox
from pytest_vswitch.hosts.reservation import boot_id, claimant_of
from pytest_vswitch.hosts.undo import Change

SILENCE_S = 15.0
"""A controller that says nothing for so long has lost its connection [s]."""

_GLANCE_S = 0.5
"""How soon a wait notices what no message tells it [s]."""

_WAITING = ("run", "status")
"""Requests that may wait for long: others are not to wait for them."""


def main(given: dict[str, Any]) -> None:
    """Begin on standard input and output; returns in the relay, when the connection ends."""
    if given.get("attach"):
        agent = socket.socket(socket.AF_UNIX)
        try:
            agent.connect(given["attach"])
        except OSError as error:
            again = " since: it has been booted again" if given["boot_id"] != boot_id() else ""
            print(f"the agent of this run is gone{again} ({error.strerror})", file=sys.stderr)
            sys.exit(wire.GONE)
        _relay(agent)
        return
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child:
        theirs.close()
        os.waitpid(child, 0)
        _relay(ours)
        return
    ours.close()
    os.setsid()
    if os.fork():  # nobody's child, so that it is not ended with who started it
        os._exit(0)
    # SSH waits until nobody holds its pipes.
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.chdir("/")
    status = 1
    try:
        engine = LocalEngine(given["run"], Path(given["state"]) if "state" in given else None)
        _Agent(engine, float(given["reconnect_s"])).serve(theirs)
        status = 0
    finally:
        os._exit(status)


def _relay(agent: socket.socket) -> None:
    """Pass bytes between SSH's pipes and the agent until either ends; does not return."""
    _write_all(1, wire.READY)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # One way must not wait for the other: each end may write before it reads.
    threading.Thread(target=_pass, args=(agent.fileno(), 1), daemon=True).start()
    _pass(0, agent.fileno())


def _pass(source: int, sink: int) -> None:
    try:
        while True:
            data = os.read(source, 1 << 16)
            if not data:
                break
            _write_all(sink, data)
    finally:
        os._exit(0)  # the relay's end, also for the other way


def _write_all(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


class _Agent:
    """Serves one controller; its main thread starts the programs, which end with it."""

    def __init__(self, engine: LocalEngine, reconnect_s: float) -> None:
        self._engine = engine
        self._reconnect_s = reconnect_s
        self._claimed = False
        self._outbox = Outbox()
        # Simple: a signal handler may put into it while the main thread waits for it.
        self._work: queue.SimpleQueue[wire.Message | None] = queue.SimpleQueue()
        self._accepted = 0
        self._cancelled: set[int] = set()
        self._children: dict[int, Child] = {}
        self._streams: dict[int, socket.socket] = {}
        self._waits: list[threading.Thread] = []
        self._leaving = False
        self._connection: socket.socket | None = None
        self._heard = time.monotonic()
        self._lock = threading.Lock()
        self._ending = ""

    def serve(self, connection: socket.socket) -> None:
        """Until the controller says good-bye, or does not come back in time."""
        signal.signal(signal.SIGTERM, lambda *_: self._end("it was told to end"))
        for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
            signal.signal(ignored, signal.SIG_IGN)
        self._attach(connection)
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        try:
            while True:
                message = self._work.get()
                if message is None:
                    break
                if message[0]["do"] in _WAITING:
                    thread = threading.Thread(target=self._answer, args=message, daemon=True)
                    thread.start()
                    self._waits = [one for one in self._waits if one.is_alive()] + [thread]
                elif not self._answer(*message):
                    break
        finally:
            taken_by = self._engine.taken() if self._claimed else ""
            self._put_in_order()
            if self._ending:
                ended = {"event": "ended", "why": self._ending, "taken_by": taken_by}
                self._outbox.put(ended, wait=False)
                self._outbox.drain(TAKE_S)

    def _end(self, why: str) -> None:
        """Also from a signal handler: nothing here may wait."""
        self._ending = why
        self._outbox.abandon()
        self._work.put(None)

    # --- the connection ---

    def _attach(self, connection: socket.socket) -> None:
        """Talk to the controller over that connection, and no longer over the one before."""
        thread = threading.Thread(target=self._listen, args=(connection,), daemon=True)
        thread.start()

    def _listen(self, connection: socket.socket) -> None:
        unpacker = wire.Unpacker(connection.recv)
        try:
            hello = unpacker.next()
            if hello is None:
                raise OSError("no greeting")
            with self._lock:
                before, self._connection = self._connection, connection
                self._heard = time.monotonic()
            if before is not None:
                _hang_up(before)
            self._outbox.connect(connection, int(hello[0]["last"]))
            while True:
                message = unpacker.next()
                if message is None:
                    break
                self._heard = time.monotonic()
                self._accept(*message)
        except (OSError, ValueError, KeyError):
            pass
        with self._lock:
            lost = self._connection is connection
            if lost:
                self._connection = None
                self._outbox.connect(None)
        connection.close()
        if lost and not self._claimed:
            self._end("the connection was lost")

    def _accept(self, header: dict[str, Any], payload: bytes) -> None:
        self._outbox.acknowledge(int(header.get("got", 0)))
        kind = header.get("do")
        if kind == "ping":
            self._outbox.put({"event": "pong"}, wait=False)
        elif kind == "cancel":
            self._cancelled.add(int(header["id"]))
        elif kind is not None:
            # The connection before may still have some to read.
            with self._lock:
                if int(header["id"]) > self._accepted:  # else: sent again
                    self._accepted = int(header["id"])
                    self._work.put((header, payload))

    def _watch(self) -> None:
        """Notice a connection that is silent, and a controller that does not come back."""
        while True:
            time.sleep(_GLANCE_S)
            silent_s = time.monotonic() - self._heard
            with self._lock:
                connection = self._connection
            if connection is not None and silent_s > SILENCE_S:
                _hang_up(connection)
            if connection is None and silent_s > self._reconnect_s:
                self._end(f"its controller did not come back within {self._reconnect_s:g} s")
                return

    def _wait_for_return(self, path: str) -> None:
        """Be there for a controller that comes back."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(4)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                self._attach(connection)

        threading.Thread(target=accept, name="return", daemon=True).start()

    # --- requests ---

    def _answer(self, header: dict[str, Any], payload: bytes) -> bool:
        """Carry out one request; whether to go on."""
        number = int(header["id"])
        reply: dict[str, Any] = {"reply": number}
        out = b""
        try:
            what: Callable[..., Any] = getattr(self, "_do_" + header["do"])
            result = what(header, payload)
            if isinstance(result, bytes):
                out = result
            elif isinstance(result, tuple):
                reply["value"], out = result
            else:
                reply["value"] = result
        except OSError as error:
            reply["error"] = "OSError"
            reply["value"] = [error.errno, error.strerror or str(error), error.filename]
        except HostError as error:
            reply["error"] = "HostError"
            reply["value"] = str(error)
        except Exception as error:
            reply["error"] = "HostError"
            reply["value"] = f"the agent cannot `{header['do']}`: {error!r}"
        for start in range(0, max(len(out), 1), wire.CHUNK):
            chunk = out[start : start + wire.CHUNK]
            last = start + wire.CHUNK >= len(out)
            self._outbox.put(reply if last else {"part": number}, chunk)
        if header["do"] == "bye":
            self._outbox.drain(TAKE_S)
            return False
        return True

    def _do_facts(self, header: dict[str, Any], payload: bytes) -> Any:
        return {
            "uid": self._engine.uid(),
            "scratch": self._engine.scratch,
            "executable": sys.executable,
            "boot_id": boot_id(),
        }

    def _do_run(self, header: dict[str, Any], payload: bytes) -> Any:
        number = int(header["id"])
        ended = self._engine.run(
            header["argv"],
            payload,
            header["limit_s"],
            lambda: number in self._cancelled or self._leaving,
        )
        return {"status": ended.status, "why": ended.why}, ended.output

    def _do_spawn(self, header: dict[str, Any], payload: bytes) -> Any:
        child = self._engine.spawn(header["argv"], header["name"])
        number = int(header["id"])
        self._children[number] = child
        self._pump(number, child.read)
        return child.pid

    def _do_status(self, header: dict[str, Any], payload: bytes) -> Any:
        child = self._children[header["of"]]
        deadline = time.monotonic() + header["within_s"]
        while not self._leaving:
            left_s = deadline - time.monotonic()
            status = child.status(max(0.0, min(left_s, _GLANCE_S)))
            if status is not None or left_s <= 0:
                return status
        return child.status()

    def _do_signal(self, header: dict[str, Any], payload: bytes) -> None:
        self._children[header["of"]].signal(header["number"])

    def _do_stop(self, header: dict[str, Any], payload: bytes) -> Any:
        child = self._children[header["of"]]
        seconds = child.stop(payload)
        return {"seconds": seconds, "status": child.status()}

    def _do_connect(self, header: dict[str, Any], payload: bytes) -> None:
        stream = self._engine.connect(header["address"])
        self._streams[int(header["id"])] = stream
        self._pump(int(header["id"]), lambda: stream.recv(65536))

    def _do_close(self, header: dict[str, Any], payload: bytes) -> None:
        _hang_up(self._streams.pop(header["of"]))

    def _do_write(self, header: dict[str, Any], payload: bytes) -> None:
        number = header["of"]
        if number in self._children:
            self._children[number].write(payload)
            return
        stream = self._streams[number]
        rest = memoryview(payload)
        while rest:  # no timeout of the socket's: that would end its reader, too
            if not select.select([], [stream], [], TAKE_S)[1]:
                raise BlockingIOError("it has stopped reading")
            with contextlib.suppress(BlockingIOError):
                rest = rest[stream.send(rest, socket.MSG_DONTWAIT) :]

    def _do_which(self, header: dict[str, Any], payload: bytes) -> Any:
        return self._engine.which(header["program"])

    def _do_read(self, header: dict[str, Any], payload: bytes) -> bytes:
        return self._engine.read(header["path"])

    def _do_read_all(self, header: dict[str, Any], payload: bytes) -> Any:
        found = self._engine.read_all(header["pattern"])
        return [[path, len(data)] for path, data in found.items()], b"".join(found.values())

    def _do_put(self, header: dict[str, Any], payload: bytes) -> None:
        (self._engine.append if header["append"] else self._engine.write)(header["path"], payload)

    def _do_read_link(self, header: dict[str, Any], payload: bytes) -> Any:
        return self._engine.read_link(header["path"])

    def _do_exists(self, header: dict[str, Any], payload: bytes) -> Any:
        return self._engine.exists(header["path"])

    def _do_glob(self, header: dict[str, Any], payload: bytes) -> Any:
        return self._engine.glob(header["pattern"])

    def _do_claim(self, header: dict[str, Any], payload: bytes) -> Any:
        claimant = claimant_of(header["claimant"])
        refusal = self._engine.claim(claimant, header["queue"])
        if refusal is None:
            self._claimed = True
            self._wait_for_return(f"{self._engine.scratch}/agent")
            return None
        return _plain(refusal)

    def _do_release(self, header: dict[str, Any], payload: bytes) -> Any:
        self._claimed = False
        return self._engine.release()

    def _do_taken(self, header: dict[str, Any], payload: bytes) -> Any:
        return self._engine.taken()

    def _do_note(self, header: dict[str, Any], payload: bytes) -> None:
        self._engine.note(Change(**header["change"]))

    def _do_undo(self, header: dict[str, Any], payload: bytes) -> Any:
        return self._engine.undo(Change(**header["change"]))

    def _do_owners(self, header: dict[str, Any], payload: bytes) -> Any:
        return _plain(self._engine.owners())

    def _do_queue(self, header: dict[str, Any], payload: bytes) -> Any:
        return _plain(self._engine.queue())

    def _do_leftovers(self, header: dict[str, Any], payload: bytes) -> Any:
        return _plain(self._engine.leftovers())

    def _do_clean(self, header: dict[str, Any], payload: bytes) -> Any:
        return self._engine.clean(header["run"])

    def _do_evict(self, header: dict[str, Any], payload: bytes) -> None:
        self._engine.evict(header["run"], header["by"], header["force"])

    def _do_bye(self, header: dict[str, Any], payload: bytes) -> None:
        """The last request; `_answer` ends with it."""

    def _pump(self, number: int, read: Callable[[], bytes]) -> None:
        def pump() -> None:
            while True:
                try:
                    data = read()
                except OSError:
                    data = b""
                self._outbox.put({"event": "output", "of": number}, data)
                if not data:
                    return

        threading.Thread(target=pump, name=f"output {number}", daemon=True).start()

    def _put_in_order(self) -> None:
        """End what still runs and undo what is still changed."""
        self._leaving = True
        self._outbox.abandon()
        for thread in self._waits:  # a command is killed by who waits for it
            thread.join(REACT_S)
        for child in reversed(list(self._children.values())):
            with contextlib.suppress(HostError, OSError):
                child.stop(b"")
        if self._claimed:
            with contextlib.suppress(HostError, OSError):  # it stands in the journal
                self._engine.release()


def _hang_up(stream: socket.socket) -> None:
    """Its reader sees the end, and closes it."""
    with contextlib.suppress(OSError):
        stream.shutdown(socket.SHUT_RDWR)


def _plain(value: Any) -> Any:
    """Data classes as dictionaries, paths as text, all the way down."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return str(value) if isinstance(value, Path) else value
