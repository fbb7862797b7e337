"""The way back for a libvirt domain.

Runs on the DUT: standard library only, Python 3.8.
"""

from __future__ import annotations

import errno
import os
import subprocess

_ANSWER_S = 60.0
"""How long libvirt may take to kill a QEMU that does not want to end [s]."""


def virsh(uri: str) -> list[str]:
    """The first words of a command for the libvirt at `uri`."""
    return ["virsh", "--quiet", "--connect", uri]


def private_socket(uri: str) -> str:
    """The socket of a libvirtd that a run started for itself; empty: it is the host's own."""
    return uri.partition("?socket=")[2]


def remove(name: str, uri: str) -> None:
    """Destroy and undefine a domain, if it is there. Raises OSError.

    A run's own libvirtd takes its domains with it: where it is gone, they are.
    """
    listed, failed = _output([*virsh(uri), "list", "--all", "--name"])
    if failed:
        if private_socket(uri):
            return
        raise OSError(errno.EIO, f"libvirt does not answer: {listed}", name)
    if name not in listed.split():
        return
    _output([*virsh(uri), "destroy", name])  # fails where it does not run
    said, failed = _output([*virsh(uri), "undefine", name])
    listed, unanswered = _output([*virsh(uri), "list", "--all", "--name"])
    if failed and (unanswered or name in listed.split()):
        raise OSError(errno.EIO, f"`virsh undefine` failed: {said}", name)


def _output(argv: list[str]) -> tuple[str, bool]:
    """What a command said, and whether it failed."""
    try:
        ended = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_ANSWER_S,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_ANSWER_S:g} s", True
    return os.fsdecode(ended.stdout).strip(), ended.returncode != 0
