"""QEMUs beside the system's: a prefix or another distribution's rootfs, by name or version."""

from __future__ import annotations

import hashlib
import re
import shlex
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pytest_vswitch.apps import dpdk_trees, trees
from pytest_vswitch.apps.dpdk import of_version
from pytest_vswitch.errors import DutError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_vswitch.hosts.host import Host
    from pytest_vswitch.lab.schema import Lab

PROGRAM = "qemu-system-x86_64"
_VERSION_S = 60.0


def program(lab: Lab, host: Host) -> str:
    """What `guest.qemu` means on this host: a program on its PATH, or a path.

    Of a QEMU in a tree, the path of a script in the host's cache that becomes it: libvirt, too,
    takes one word. Raises InputError.
    """
    name = lab.guest.qemu
    if name in lab.qemu:
        given = lab.qemu[name]
        try:
            return _script(host, command(host, given.rootfs or given.prefix or "", given.prefix))
        except InputError as error:
            raise InputError(f"{lab.where('qemu', name)}: {error}") from None
    added = [one for one in dpdk_trees.added(host) if one.qemu]
    if not re.fullmatch(r"\d+(\.\d+)*", name) and name not in {one.name for one in added}:
        return name
    for one in added:
        if name == one.name or of_version(one.qemu, name):
            return _script(host, command(host, one.root))
    system = version(host, [PROGRAM]) if host.which(PROGRAM) else ""
    if system and of_version(system, name):
        return PROGRAM
    known = [*lab.qemu, *([f"{PROGRAM} ({system})"] if system else [])]
    known += [f"{one.name} ({one.qemu})" for one in added]
    raise InputError(
        f"{lab.where('guest', 'qemu')}: {host.name} has no QEMU `{name}`; there are "
        f"{', '.join(known)}: `vswitch dpdk add RELEASE --qemu` brings others, "
        "or apt-get install qemu-system-x86"
    )


def command(host: Host, root: str, prefix: str | None = None) -> tuple[str, ...]:
    """What runs the QEMU of a tree, without arguments. Raises InputError."""
    tree = trees.look(host, root, whole=prefix is None)
    found = trees.find(host, tree, (PROGRAM,), "QEMU")
    more = [
        f"{directory}/{part}"
        for directory in tree.libraries
        for part in ("pulseaudio", "systemd")
        if host.exists(f"{directory}/{part}")
    ]
    modules = [path for directory in tree.libraries for path in host.glob(f"{directory}/qemu")]
    environment = ("env", f"QEMU_MODULE_DIR={modules[0]}") if modules else ()
    firmware = [
        word
        for part in ("usr/share/qemu", "usr/share/seabios", "share/qemu")
        if host.exists(f"{tree.root}/{part}")
        for word in ("-L", f"{tree.root}/{part}")
    ]
    return (*environment, *tree.command(found, *more), *firmware)


def version(host: Host, argv: Sequence[str]) -> str:
    """E.g. `7.2.22`. Raises DutError when it does not start."""
    said = host.ask([*argv, "--version"], timeout_s=_VERSION_S, check=False).output
    if found := re.search(r"version (\d+(?:\.\d+)+)", said):
        return found[1]
    last = said.strip().replace("\n", "\n    ") or "(nothing)"
    raise DutError(f"{host.name}: {argv[-1]} does not start; it says:\n    {last}")


def _script(host: Host, argv: Sequence[str]) -> str:
    text = f'#!/bin/sh\nexec {shlex.join(argv)} "$@"\n'
    path = f"{host.cache}/qemu-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if not host.exists(path):
        part = f"{path}.{PurePosixPath(host.scratch).name}"
        host.run(["mkdir", "-p", "--", host.cache], why="one word for a QEMU in a tree")
        host.write_text(part, text)
        host.run(["chmod", "755", "--", part])
        host.run(["mv", "--", part, path])
    return path
