"""An SSH connection by OpenSSH's client that stays open: what is said to it comes back."""

from __future__ import annotations

import os
import select
import subprocess

from tests.machines.machine import Machine
from tests.machines.network import START_S


class Session:
    """`cat` on a machine, over SSH."""

    def __init__(self, machine: Machine) -> None:
        self._client = subprocess.Popen(
            machine.ssh("cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert self.says("hello") == "hello"

    def says(self, word: str) -> str:
        """What comes back for a word, newline excluded; raises TimeoutError."""
        assert self._client.stdin is not None
        self._client.stdin.write(word.encode() + b"\n")
        return self.hears(START_S)

    def hears(self, within_s: float) -> str:
        """The next that comes back; empty at the end. Raises TimeoutError if nothing does."""
        assert self._client.stdout is not None
        if not select.select([self._client.stdout], [], [], within_s)[0]:
            raise TimeoutError(f"silence for {within_s:g} s")
        return os.read(self._client.stdout.fileno(), 65536).decode().strip()

    def whispers(self, word: str) -> None:
        """Say something and wait for no answer."""
        assert self._client.stdin is not None
        self._client.stdin.write(word.encode() + b"\n")

    def ended(self) -> int:
        """The client's exit status, once it has one."""
        return self._client.wait(START_S)

    def is_open(self) -> bool:
        """Whether the client believes in the connection."""
        return self._client.poll() is None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.kill()
        self._client.wait(START_S)
        for pipe in (self._client.stdin, self._client.stdout):
            assert pipe is not None
            pipe.close()
