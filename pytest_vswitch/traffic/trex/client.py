"""Where the official client comes from: the environment, the lab, or the generator's host."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.open_host import OpenHost
from pytest_vswitch.traffic.trex.loading import locate

VARIABLE = "TREX_CLIENT"
"""Environment variable: a TRex release, or its client, on this machine."""
_PARTS = ("automation/trex_control_plane/interactive", "external_libs")
"""What of a release the client is."""
_FETCH_S = 300.0


def find(host: Host, path: str | None, *, here: bool, where: str) -> Path:
    """The client, on this machine.

    `path` is the release on the generator's `host`, which is this machine if `here`; `where`
    is its place in the lab. Raises InputError when there is none, HostError when it cannot
    be fetched.
    """
    named = os.environ.get(VARIABLE)
    if named:
        locate(Path(named))
        return Path(named)
    if path is None:
        raise InputError(
            f"{where}: where is the TRex client? Name a TRex release on {host.name} as "
            f"`trex.path`, or one on this machine in the environment variable {VARIABLE}"
        )
    if not here:
        return fetched(host, path)
    if isinstance(host, OpenHost):  # a plan may be for another machine
        locate(Path(path))
    return Path(path)


def fetched(host: Host, path: str) -> Path:
    """The client of the release at `path` on a host, copied here unless an earlier run did."""
    looked = host.ask(
        [
            "find",
            "-L",
            *(f"{path}/{part}" for part in _PARTS),
            "-type",
            "f",
            "-printf",
            r"%P %s %T@\n",
        ],
        check=False,
        why="which TRex client it has",
    )
    if looked.status:
        raise InputError(
            f"{host.name}: {path} is no TRex release, it lacks {' or '.join(_PARTS)}: "
            f"{looked.output.strip()[-200:]}"
        )
    digest = hashlib.sha256(looked.output.encode()).hexdigest()[:12]
    release = re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(path).name) or "trex"
    kept = _cache() / f"{release}-{digest}"
    if not kept.is_dir():
        _fetch(host, path, kept)
    locate(kept)
    return kept


def _fetch(host: Host, path: str, kept: Path) -> None:
    """A copy that is there is complete: it gets its name at the end."""
    packed = host.run(
        ["tar", "-C", path, "-chzf", "-", *_PARTS], timeout_s=_FETCH_S, why="its TRex client"
    )
    kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=kept.parent) as begun:
        half = Path(begun) / "client"
        half.mkdir()
        unpack(packed.raw, half, host.name)
        with contextlib.suppress(FileExistsError, OSError):  # another run was faster
            os.rename(half, kept)
    if not kept.is_dir():
        raise HostError(f"the TRex client of {host.name} cannot be kept at {kept}")


def unpack(packed: bytes, folder: Path, name: str) -> None:
    """The regular files of a tar archive; what would land outside of `folder` is refused.

    Raises HostError.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
            for member in archive:
                inside = PurePosixPath(member.name)
                if inside.is_absolute() or ".." in inside.parts:
                    raise HostError(f"{name}: a TRex client with a file {member.name!r}")
                content = archive.extractfile(member) if member.isfile() else None
                if content is None:
                    continue
                target = folder / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                with content, target.open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise HostError(f"{name}: its TRex client did not arrive whole: {error}") from None


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "pytest-vswitch" / "trex"
