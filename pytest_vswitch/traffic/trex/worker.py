"""The official TRex client's process: `python -m pytest_vswitch.traffic.trex.worker`.

Reads one JSON object per line from its standard input and answers likewise:

    {"do": "connect", "client": path, "server": name, "sync_port": n, "async_port": n,
     "user": name, "force": bool, "wait_s": s}
        -> {"event": "connected", "version": "v3.08", "ports": [{"number", "pci", ...}],
            "scapy": "2.8.0", "zmq": "27.3.0"}
    {"do": "acquire", "ports": [0, 1]} -> {"event": "acquired"}
    {"do": "exchange", "frames": {"0": [hex, ...]}, "wait_s": s}
        -> {"event": "exchanged", "frames": {"0": [hex, ...], ...}}
    {"do": "start", "directions": [[from, to], ...], "streams": [...], "intended": [n, ...],
     "duration_s": s, "refusing": bool}
        -> {"event": "counts", "directions": [...]}
    {"do": "recount"} -> {"event": "counts", "directions": [...]}
    {"do": "finish"}  a trial under way sends no more, and is answered by its counts
    {"do": "abort"}   -> {"event": "aborted"}
    {"do": "quit"}    (as the end of its input does) gives the ports back and ends the process

Any command but the last two may be answered by {"event": "failed", "kind": class name,
"message": "..."} instead; a trial that is aborted is answered by "aborted" alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from pytest_vswitch.errors import HostError, VswitchError
from pytest_vswitch.traffic.trex.driver import Driver, Where
from pytest_vswitch.traffic.trex.loading import load

_LOOK_S = 0.05
_LATE_PART, _LATE_S = 0.02, 0.2
"""A trial may last longer than asked by this part of it and this many seconds: events take a
while. Frames that are not sent by then are ones that the server could not offer."""


class _Quit(Exception):
    """Nobody wants anything any more."""


class _Aborted(Exception):
    """The trial under way is not wanted any more."""


class Worker:
    """Carries out commands, one after the other, until its input ends."""

    def __init__(self, answers: TextIO) -> None:
        self._answers = answers
        self._commands: queue.Queue[Mapping[str, Any] | None] = queue.Queue()
        self._driver: Driver | None = None
        self._intended: list[int] = []
        threading.Thread(target=self._read, name="commands", daemon=True).start()

    def serve(self) -> None:
        with contextlib.suppress(_Quit):
            while True:
                command = self._next()
                if command is not None:
                    self._answer(command)
        if self._driver is not None:
            self._driver.close()

    def _read(self) -> None:
        for line in sys.stdin:
            try:
                self._commands.put(json.loads(line))
            except ValueError as error:
                self._say(event="failed", kind="HostError", message=f"{line!r}: {error}")
        self._commands.put({"do": "quit"})

    def _next(self, timeout_s: float | None = None) -> Mapping[str, Any] | None:
        try:
            command = self._commands.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if command is not None and command.get("do") == "quit":
            raise _Quit
        return command

    def _answer(self, command: Mapping[str, Any]) -> None:
        try:
            match command["do"]:
                case "connect":
                    self._connect(command)
                case "acquire":
                    self._connected().acquire(command["ports"])
                    self._say(event="acquired")
                case "exchange":
                    self._exchange(command)
                case "start":
                    self._trial(command)
                case "recount":
                    self._say_counts()
                case "abort":
                    self._say(event="aborted")
                case "finish":
                    pass  # the trial ended by itself meanwhile
                case unknown:
                    raise HostError(f"trex generator: no command {unknown}")
        except _Aborted:
            self._connected().stop()
            self._say(event="aborted")
        except VswitchError as error:
            self._say(event="failed", kind=type(error).__name__, message=str(error))
        except (KeyError, TypeError, ValueError, OSError) as error:
            message = f"trex generator: {command.get('do')}: {error!r}"
            self._say(event="failed", kind="HostError", message=message)

    def _connect(self, command: Mapping[str, Any]) -> None:
        api = load(Path(command["client"]))
        where = Where(
            server=command["server"],
            sync_port=command["sync_port"],
            async_port=command["async_port"],
            user=command["user"],
            force=command["force"],
            wait_s=command["wait_s"],
        )
        driver = Driver(api, where, self._patience)
        driver.connect()
        self._driver = driver
        self._say(
            event="connected",
            version=driver.version,
            ports=driver.ports(),
            scapy=importlib.metadata.version("scapy"),
            zmq=importlib.metadata.version("pyzmq"),
        )

    def _exchange(self, command: Mapping[str, Any]) -> None:
        frames = {
            int(port): [bytes.fromhex(frame) for frame in queued]
            for port, queued in command["frames"].items()
        }
        back = self._connected().exchange(frames, command["wait_s"])
        self._say(
            event="exchanged",
            frames={port: [frame.hex() for frame in queued] for port, queued in back.items()},
        )

    def _trial(self, command: Mapping[str, Any]) -> None:
        driver, duration_s = self._connected(), command["duration_s"]
        self._intended = list(command["intended"])
        driver.start(
            [(tx, rx) for tx, rx in command["directions"]],
            command["streams"],
            duration_s=duration_s,
            refusing=command["refusing"],
        )
        latest_s = time.monotonic() + duration_s * (1 + _LATE_PART) + _LATE_S
        while driver.sending():
            asked = self._next(_LOOK_S)
            if asked is not None and asked["do"] == "finish":
                share = min(1.0, driver.stop() / duration_s)
                self._intended = [int(due * share) for due in self._intended]
                break
            if asked is not None:
                raise _Aborted
            if time.monotonic() > latest_s:
                driver.stop()
                break
        self._say_counts()

    def _say_counts(self) -> None:
        counts = self._connected().counts(self._intended)
        self._say(event="counts", directions=[dataclasses.asdict(c) for c in counts])

    def _patience(self) -> None:
        """While something is waited for: whether it is still wanted."""
        asked = self._next(0)
        if asked is not None and asked["do"] == "abort":
            raise _Aborted

    def _connected(self) -> Driver:
        if self._driver is None:
            raise HostError("trex generator: not connected yet")
        return self._driver

    def _say(self, **event: Any) -> None:
        print(json.dumps(event), file=self._answers, flush=True)


def main() -> None:
    # Ctrl-C is for pytest, which then closes our input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The client prints what it likes; only answers may reach our standard output.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        Worker(answers).serve()
    finally:
        # A thread of the client may wait for a server that is gone.
        answers.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
