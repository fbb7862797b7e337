"""The way back for containers that podman runs in a store of the run's own.

Runs on the DUT: standard library only, Python 3.8.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from pytest_vswitch.hosts import knobs, undo_files

SETTINGS = "containers.conf"
"""Podman's settings, in the directory of such a store."""

_REMOVAL_S = 60.0
"""How long podman may take to kill and forget a container [s]."""


def podman(directory: str) -> list[str]:
    """The first words of a podman command that keeps all it has in `directory`.

    Neither the user's settings nor the user's containers are seen by it.
    """
    return [
        "env",
        f"CONTAINERS_CONF={directory}/{SETTINGS}",
        "podman",
        f"--root={directory}/store",
        f"--runroot={directory}",  # of 50 characters at most
        "--storage-driver=vfs",
    ]


def remove(directory: str, cgroup: str) -> None:
    """Kill the containers kept in `directory`; remove it, and the control group they were in.

    Raises OSError.
    """
    _kill_podman(directory)
    if os.path.exists(f"{directory}/{SETTINGS}"):
        _kill_containers(directory)
        # podman 4.3 finds only by failing that a container is dead whose conmon is, too.
        argv = [*podman(directory), "rm", "--all", "--force"]
        failed = _failure(argv) and _failure(argv)
        if failed:
            raise OSError(errno.EIO, f"`podman rm` failed: {failed}", directory)
    undo_files.remove(directory, None)
    if cgroup:
        _remove_cgroup(cgroup)


def _kill_podman(directory: str) -> None:
    """What looks after a container would clean up, too, at the same time as we."""
    deadline = time.monotonic() + _REMOVAL_S
    while True:
        pids = _processes(directory)
        if not pids:
            return
        if time.monotonic() > deadline:
            raise OSError(errno.EBUSY, f"podman (pid {pids[0]}) cannot be killed", directory)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)  # the kernel takes a moment to reap a killed process


def _processes(directory: str) -> list[int]:
    """podman's own; what runs in its containers does not get its settings."""
    wanted = os.fsencode(f"CONTAINERS_CONF={directory}/{SETTINGS}")
    found = []
    for entry in knobs.PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone meanwhile, or a zombie
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def _kill_containers(directory: str) -> None:
    """podman 4.3 does not have a container forgotten by its runtime if conmon died first."""
    settings = Path(directory, SETTINGS).read_text()
    runtime = re.search(r'^runtime = "(.+)"$', settings, re.MULTILINE)
    for container in Path(directory, "vfs-containers").glob("[0-9a-f]*"):
        if runtime and container.is_dir():
            failed = _failure([runtime.group(1), "delete", "--force", container.name])
            if failed:
                raise OSError(errno.EIO, f"`{runtime.group(1)}` failed: {failed}", directory)


def _failure(argv: list[str]) -> str:
    """Carry out a command; what it said if it failed."""
    try:
        ended = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_REMOVAL_S,
        )
    except subprocess.TimeoutExpired:
        return f"it did not end within {_REMOVAL_S:g} s"
    said = ended.stdout.decode(errors="backslashreplace").strip()
    return (said or f"status {ended.returncode}") if ended.returncode else ""


def _remove_cgroup(name: str) -> None:
    """In the one hierarchy of version 2, or in each one of version 1."""
    top = knobs.SYS / "fs/cgroup"
    for group in [*top.glob(name), *top.glob(f"*/{name}")]:
        for inner, _, _ in os.walk(group, topdown=False):
            os.rmdir(inner)
