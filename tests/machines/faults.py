"""What goes wrong on a host, done to a test's machine. The cable's faults are in `network`.

Undone by their counterpart, or with the machine.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.machines.machine import Machine
from tests.machines.network import START_S

GROWN_MIB = 1024
"""What a file system that was full gets [MiB]."""

FILLER = "full"
"""A file on a file system that is full."""

PASSWORD = "correct horse"
"""Of every ordinary user; tests look for it where no secret may be."""


@dataclass(frozen=True)
class User:
    """A user of a machine who is not root, and logs in with the machine's client key."""

    name: str
    password: str


def fill_disk(machine: Machine, path: str = "/") -> None:
    """No space is left on the file system of `path` (`/`, `/run`, `/tmp` or `/dev/shm`)."""
    Path(f"{machine.root}{path}", FILLER).write_bytes(bytes(4096))  # size 0 means no limit
    use = os.statvfs(f"{machine.root}{path}")
    _resize(machine, path, f"{(use.f_blocks - use.f_bfree) * use.f_frsize}")


def empty_disk(machine: Machine, path: str = "/") -> None:
    """There is space again."""
    _resize(machine, path, f"{GROWN_MIB}m")
    Path(f"{machine.root}{path}", FILLER).unlink()


def read_only(machine: Machine, path: str = "/") -> None:
    """The file system that is mounted on `path` takes no more changes.

    Waits until no file on it is open for writing: Linux refuses until then.
    """
    deadline = time.monotonic() + START_S
    argv = ["mount", "-o", "remount,ro", path]
    while (tried := machine.run(argv, check=False)).returncode:
        assert time.monotonic() < deadline, tried.stdout.decode()
        time.sleep(0.05)  # polls


def writable(machine: Machine, path: str = "/") -> None:
    """It takes changes again."""
    machine.run(["mount", "-o", "remount,rw", path])


def shift_clock(machine: Machine, hours: float) -> None:
    """Its wall clock is that far from this machine's, from now on; its monotonic clock is not.

    For programs that load a C library and that were given their environment by sshd, sudo or
    `Machine.run`; others see it within 10 s. Not for the kernel: a file's time is not shifted.
    """
    assert "FAKETIME_NO_CACHE" in machine.environment, "it was made without faketime"
    (machine.root / "etc/faketimerc").write_text(f"{hours * 3600:+.0f}")


def ordinary_user(
    machine: Machine,
    name: str,
    sudo: Literal["none", "nopasswd", "password"] = "none",
    login_shell: str = "/bin/bash",
) -> User:
    """Add a user, with or without the right to become root with sudo."""
    machine.run(["useradd", "--create-home", "--shell", login_shell, name])
    machine.run(["chpasswd"], stdin=f"{name}:{PASSWORD}\n")
    keys = f"/home/{name}/.ssh"
    machine.run(["cp", "-r", "/root/.ssh", keys])
    machine.run(["chown", "-R", f"{name}:", keys])
    if sudo != "none":
        tag = "NOPASSWD: " if sudo == "nopasswd" else ""
        rule = f"/etc/sudoers.d/{name}"
        machine.run(["tee", rule], stdin=f"{name} ALL=(ALL:ALL) {tag}ALL\n")
        machine.run(["chmod", "440", rule])
    return User(name, PASSWORD)


def _resize(machine: Machine, path: str, size: str) -> None:
    if path == "/":
        machine.disk.resize(size)
    else:
        machine.run(["mount", "-o", f"remount,size={size}", path])
