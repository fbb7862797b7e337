"""Trees of Debian packages, unpacked side by side with this system by mmdebstrap."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.host import Host

Say = Callable[[str], None]
"""Tells the person at the keyboard what is being done."""

_BUILD_S = 1200.0
"""How long downloading and unpacking may take; a slow line is not an error [s]."""


@dataclass(frozen=True, slots=True)
class Tree:
    """What mmdebstrap is asked for."""

    suite: str
    variant: str
    """`extract`: unpacked only; `essential`: a system that boots, with its scripts run."""
    packages: Sequence[str]
    options: Sequence[str] = field(default=())


def cached(host: Host, name: str, recipe: Sequence[object], build: Callable[[Path], None]) -> Path:
    """`ROOT/NAME-<digest of recipe>`, built once; what other recipes made of it is removed.

    `build` fills a directory that becomes visible only when it is whole.
    """
    root = Path(name)
    digest = hashlib.sha256(repr(recipe).encode()).hexdigest()[:16]
    made = root.with_name(f"{root.name}-{digest}")
    if made.is_dir():
        return made
    part = root.with_name(f".{root.name}.part")
    host.run(["rm", "-rf", "--one-file-system", str(part)], why="a build that was killed")
    part.mkdir(parents=True, mode=0o755)
    try:
        build(part)
        for old in root.parent.glob(f"{root.name}-*"):
            host.run(["rm", "-rf", "--one-file-system", str(old)], why="made of another recipe")
        part.rename(made)
    finally:
        host.run(["rm", "-rf", "--one-file-system", str(part)], timeout_s=120)
    return made


def unpack(host: Host, tree: Tree, directory: Path) -> None:
    """Fill `directory` with the packages. Raises HostError with mmdebstrap's last words."""
    argv = ["mmdebstrap", f"--variant={tree.variant}", f"--include={','.join(tree.packages)}"]
    argv += ["--quiet", "--format=directory", *tree.options, tree.suite, str(directory)]
    host.run(argv, timeout_s=_BUILD_S, why=f"Debian {tree.suite} packages")


def free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free


def require_space(path: Path, needed_mb: int) -> None:
    """Raise HostError where the file system is too full to build on."""
    free_mb = free_bytes(path) >> 20
    if free_mb < needed_mb:
        raise HostError(f"{path} has {free_mb} MB free; building needs {needed_mb} MB")
