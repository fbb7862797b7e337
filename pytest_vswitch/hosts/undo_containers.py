"""The way back for containers that podman runs in a store of the run's own.

Runs on the DUT: standard library only, Python 3.8.
"""

from __future__ import annotations

import errno
import os
import subprocess

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
    if os.path.exists(f"{directory}/{SETTINGS}"):
        argv = [*podman(directory), "rm", "--all", "--force"]
        try:
            ended = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_REMOVAL_S,
            )
        except subprocess.TimeoutExpired:
            why = f"`podman rm` did not end within {_REMOVAL_S:g} s"
            raise OSError(errno.ETIMEDOUT, why, directory) from None
        if ended.returncode:
            said = ended.stdout.decode(errors="backslashreplace").strip()
            raise OSError(errno.EIO, f"`podman rm` failed: {said}", directory)
    undo_files.remove(directory, None)
    if cgroup:
        _remove_cgroup(cgroup)


def _remove_cgroup(name: str) -> None:
    """In the one hierarchy of version 2, or in each one of version 1."""
    top = knobs.SYS / "fs/cgroup"
    for group in [*top.glob(name), *top.glob(f"*/{name}")]:
        for inner, _, _ in os.walk(group, topdown=False):
            os.rmdir(inner)
