"""Programs of another system's tree, run by that tree's own loader: nothing is installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.host import Host

_TRIPLETS = "*-linux-gnu*"
_LIBRARIES = (
    "usr/local/lib",
    f"usr/local/lib/{_TRIPLETS}",
    "usr/local/lib64",
    f"usr/lib/{_TRIPLETS}",
    f"lib/{_TRIPLETS}",
    "usr/lib64",
    "lib64",
    "lib",
    "lib64",
    f"lib/{_TRIPLETS}",
)
_LOADER = "ld-linux-*.so.*"


@dataclass(frozen=True, slots=True)
class Tree:
    """Where the libraries of a tree are, and what loads its programs."""

    root: str
    loader: str
    """Path on the host; the tree's own, or the host's for a tree that has none."""
    libraries: tuple[str, ...]
    """Directories on the host, looked through first."""

    def command(self, program: str, *more: str) -> tuple[str, ...]:
        """What runs the program at that path on the host; `more` are further directories."""
        path = ":".join((*self.libraries, *more))
        return (self.loader, "--library-path", path, program)


def look(host: Host, root: str, *, whole: bool) -> Tree:
    """`whole`: a distribution's tree; else a prefix, whose programs use the host's libraries.

    Raises InputError when it is none.
    """
    root = root.rstrip("/")
    if not host.exists(root):
        raise InputError(f"{host.name}: there is no directory {root}")
    libraries = tuple(
        dict.fromkeys(path for part in _LIBRARIES for path in sorted(host.glob(f"{root}/{part}")))
    )
    within = (*libraries, f"{root}/lib64") if whole else ()
    loaders = [path for directory in within for path in host.glob(f"{directory}/{_LOADER}")]
    # A link with an absolute target leads out of the tree.
    real = f"{host.read_link(root)}/"
    loaders = [path for path in loaders if _real(host, path).startswith(real)]
    if whole and not loaders:
        raise InputError(
            f"{host.name}: {root} holds no system: there is no {_LOADER} in any of its library "
            "directories; a tree without one is a `prefix`"
        )
    if not whole:
        loaders = [*host.glob(f"/lib64/{_LOADER}"), *host.glob(f"/lib/{_LOADER}")]
    if not loaders:
        raise InputError(f"{host.name}: there is no dynamic loader in /lib64 or /lib")
    return Tree(root, loaders[0], libraries)


def _real(host: Host, path: str) -> str:
    """Where a link leads; empty: nowhere."""
    try:
        return host.read_link(path)
    except OSError:
        return ""


def find(host: Host, tree: Tree, names: Sequence[str], what: str) -> str:
    """The program of that tree. Raises InputError."""
    places = [
        f"{tree.root}/{directory}/{name}"
        for directory in ("usr/local/bin", "usr/bin", "bin")
        for name in names
    ]
    for place in places:
        if host.exists(place):
            return place
    raise InputError(f"{host.name}: there is no {what} in {tree.root} ({', '.join(names)})")


def refuse_writable(host: Host, path: str) -> None:
    """Raise InputError when anybody may write above `path`: EAL refuses drivers there."""
    real = PurePosixPath(host.read_link(path))
    parents = [str(real), *map(str, real.parents)]
    modes = host.ask(["stat", "--format=%A %n", "--", *parents]).output.splitlines()
    for line in modes:
        mode, _, name = line.partition(" ")
        if mode[8] == "w":
            raise InputError(
                f"{host.name}: everybody may write to {name}, and EAL refuses drivers below such "
                f"a directory: move {path} elsewhere, e.g. below {host.cache}"
            )
