"""The processes of a machine, seen from this one."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.machines.network import START_S


@dataclass(frozen=True)
class Process:
    """One process of a machine."""

    pid: int
    """As the machine counts them."""
    outer_pid: int
    """As this machine counts them: to be signalled with `os.kill`."""
    uid: int
    argv: tuple[str, ...]


def processes(member: int) -> list[Process]:
    """Those of the PID namespace of process `member`, in the order of their pids there."""
    found = []
    wanted = os.readlink(f"/proc/{member}/ns/pid")
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(entry / "ns/pid") == wanted:
                lines = (entry / "status").read_text().splitlines()
                (pids,) = (line.split() for line in lines if line.startswith("NSpid:"))
                argv = (entry / "cmdline").read_bytes().decode(errors="replace")
                if argv:  # no zombie
                    words = tuple(argv.rstrip("\0").split("\0"))
                    uid = entry.stat().st_uid
                    found.append(Process(int(pids[-1]), int(entry.name), uid, words))
    return sorted(found, key=lambda process: process.pid)


def is_sshd(process: Process) -> bool:
    """Whether it is sshd's listener or one of its sessions, in any of its releases."""
    return Path(process.argv[0].split(":")[0]).name.startswith("sshd")


def end(pids: Sequence[int]) -> None:
    """Kill processes. Returns when they are dead."""
    with contextlib.ExitStack() as opened:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                handle = os.pidfd_open(pid)
                opened.callback(os.close, handle)
                os.kill(pid, signal.SIGKILL)
                assert select.select([handle], [], [], START_S)[0], f"{pid} does not die"
