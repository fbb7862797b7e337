"""Imports the official TRex client, as it was released, with the newest scapy and pyzmq.

The client puts its own libraries first on the path: scapy 2.4.3, which does not run on Python
3.13, and an old binding of zmq, which is not even thread-safe with a new one beside it. So this
is for a process of its own: nothing else may have imported scapy, zmq or yaml there before.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType

from pytest_vswitch.errors import InputError

_PLACES = (
    ".",
    "automation/trex_control_plane/interactive",  # a release, beside its t-rex-64
    "scripts/automation/trex_control_plane/interactive",  # the source
    "trex_client/interactive",  # the archive trex_client_VERSION.tar.gz
    "interactive",
)
_REPLACED = {"scapy": "scapy", "zmq": "pyzmq"}
"""What the client brings along and must not use, and who provides the newer one."""
_REPLACED_IF_INSTALLED = ("yaml",)


def locate(path: Path) -> Path:
    """The folder, at or below `path`, from which `import trex.stl.api` works.

    Raises InputError, with the places that were looked at.
    """
    for place in _PLACES:
        if (path / place / "trex" / "stl" / "api.py").is_file():
            return path / place
    looked = ", ".join(str(path / place) for place in _PLACES)
    raise InputError(
        f"{path} has no TRex client: name the folder of a TRex release, the one with "
        f"t-rex-64; `trex/stl/api.py` was looked for in {looked}"
    )


def load(path: Path) -> ModuleType:
    """The module `trex.stl.api` of the client at `path`.

    Raises InputError when there is none, or when it cannot be imported here.
    """
    for module, package in _REPLACED.items():
        if importlib.util.find_spec(module) is None:
            raise InputError(
                f"the TRex client needs {package} here: pip install 'pytest-vswitch[trex]'"
            )
    theirs = [name for name in _REPLACED_IF_INSTALLED if importlib.util.find_spec(name) is None]
    sys.path.insert(1, str(locate(path)))
    before = set(sys.path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old code on a new Python
            importlib.import_module("trex")
            sys.path[:] = [
                entry
                for entry in sys.path
                if entry in before or not _brings(entry, replaced=theirs)
            ]
            api = importlib.import_module("trex.stl.api")
    except Exception as error:  # whatever old code may raise on a new Python
        raise InputError(
            f"the TRex client at {path} cannot be imported on Python "
            f"{'.'.join(map(str, sys.version_info[:3]))}: {type(error).__name__}: {error}"
        ) from error
    return api


def _brings(entry: str, *, replaced: list[str]) -> bool:
    """Whether a folder of the client has a module of which a newer one is to be used."""
    names = {*_REPLACED, *_REPLACED_IF_INSTALLED} - set(replaced)
    return any((Path(entry) / name).is_dir() for name in names)
