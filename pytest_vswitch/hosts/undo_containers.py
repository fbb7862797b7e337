"""The way back for containers that podman or docker runs, kept in a directory of the run's own.

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
from typing import Callable, Iterator

from pytest_vswitch.hosts import knobs, undo_files

SETTINGS = "containers.conf"
"""Podman's settings, in the directory of such a store."""

DAEMON = "daemon.json"
"""Docker's, instead."""
SOCKET = "docker.sock"

_DOCKER = re.compile(rb"dockerd?|containerd|containerd-shim\S*")
"""Names of the programs that docker consists of."""

_REMOVAL_S = 60.0
"""How long an engine may take to kill and forget a container [s]."""


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


def docker(directory: str) -> list[str]:
    """The first words of a docker command for the daemon that keeps all in `directory`."""
    return ["/usr/bin/docker", f"--config={directory}", f"--host=unix://{directory}/{SOCKET}"]


def remove(directory: str, cgroup: str) -> None:
    """Kill the containers kept in `directory`; remove it, and the control group they were in.

    Raises OSError.
    """
    if os.path.exists(f"{directory}/{DAEMON}"):
        _kill_all(directory, lambda: _docker_processes(directory))
        _kill_all(directory, lambda: _members(cgroup))
        for address in Path(directory, "exec").glob("containerd/daemon/*/*/*/address"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(address.read_text().partition("unix://")[2])
    else:
        _remove_podman(directory)
    undo_files.remove(directory, None)
    if cgroup:
        _remove_cgroup(cgroup)


def take_back(path: str, controller: str) -> None:
    """Limit groups by `controller` no more: `path` is their parent's `cgroup.subtree_control`.

    Left so if others have come to want it. Raises OSError.
    """
    if controller not in Path(path).read_text().split():
        return
    try:
        knobs.poke(path, f"-{controller}")
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise


# --- podman -------------------------------------------------------------------------------


def _remove_podman(directory: str) -> None:
    # What looks after a container would clean up, too, at the same time as we.
    _kill_all(directory, lambda: _podman_processes(directory))
    if os.path.exists(f"{directory}/{SETTINGS}"):
        _kill_containers(directory)
        # podman 4.3 finds only by failing that a container is dead whose conmon is, too.
        argv = [*podman(directory), "rm", "--all", "--force"]
        failed = _failure(argv) and _failure(argv)
        if failed:
            raise OSError(errno.EIO, f"`podman rm` failed: {failed}", directory)


def _podman_processes(directory: str) -> list[int]:
    """podman's own; what runs in its containers does not get its settings."""
    wanted = os.fsencode(f"CONTAINERS_CONF={directory}/{SETTINGS}")
    return [pid for pid, words in _words("environ") if wanted in words]


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


# --- docker -------------------------------------------------------------------------------


def _docker_processes(directory: str) -> list[int]:
    """Its daemons and clients, which have a path in that directory among their words."""
    place = os.fsencode(f"{directory}/")
    return [
        pid
        for pid, words in _words("cmdline")
        if _DOCKER.fullmatch(os.path.basename(words[0])) and any(place in word for word in words)
    ]


def _members(cgroup: str) -> list[int]:
    """All that runs in a control group, or in one of its own."""
    found: set[int] = set()
    for group in _groups(cgroup) if cgroup else ():
        for listing in group.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):  # gone meanwhile
                found.update(map(int, listing.read_text().split()))
    return sorted(found)


# --- both ---------------------------------------------------------------------------------


def _words(what: str) -> Iterator[tuple[int, list[bytes]]]:
    """Of all processes, by pid: `cmdline` or `environ`."""
    for entry in knobs.PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone meanwhile, or a zombie
            yield int(entry.name), (entry / what).read_bytes().split(b"\0")


def _kill_all(directory: str, find: Callable[[], list[int]]) -> None:
    """Kill what `find` finds until it finds nothing."""
    deadline = time.monotonic() + _REMOVAL_S
    while True:
        pids = find()
        if not pids:
            return
        if time.monotonic() > deadline:
            raise OSError(errno.EBUSY, f"process {pids[0]} cannot be killed", directory)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)  # the kernel takes a moment to reap a killed process


def _remove_cgroup(name: str) -> None:
    """In the one hierarchy of version 2, or in each one of version 1."""
    for group in _groups(name):
        for inner, _, _ in os.walk(group, topdown=False):
            os.rmdir(inner)


def _groups(name: str) -> list[Path]:
    top = knobs.SYS / "fs/cgroup"
    return [*top.glob(name), *top.glob(f"*/{name}")]
