"""How the agent gets to a host: as source, over the SSH channel that it will speak on."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest_vswitch

OLDEST = (3, 8)

BOOTED = b"\n\0vswitch-python "
"""Then the version of Python, a space, and a line's end."""

# Constant, and free of what shells of any kind take for their own but quotes and `;`.
_PROGRAM = (
    "import sys,zlib;r=sys.stdin.buffer;"
    "sys.stdout.write(chr(10)+chr(0)+'vswitch-python %d.%d '%sys.version_info[:2]+chr(10));"
    "sys.stdout.flush();"
    "exec(zlib.decompress(r.read(int(r.readline()))))"
)

COMMAND = f'exec python3 -I -X utf8 -c "{_PROGRAM}"'
SUDO_COMMAND = f'exec sudo -n -- python3 -I -X utf8 -c "{_PROGRAM}"'
_SUDO_PASSWORD = "exec sudo -S -k -p '' -- python3 -I -X utf8 -c"
SUDO_PASSWORD_COMMAND = f'{_SUDO_PASSWORD} "{_PROGRAM}"'
SUDO_PASSWORD_CHECK = f"{_SUDO_PASSWORD} pass"
"""Tells by its exit status whether sudo takes the password that its whole input is."""

# A finder for the modules below, in memory: a host with a full disk takes it too.
_LOADER = """
from importlib.abc import Loader, MetaPathFinder
from importlib.util import spec_from_loader

class Sources(MetaPathFinder, Loader):
    def find_spec(self, name, path=None, target=None):
        if name in sources:
            is_package = any(other.startswith(name + ".") for other in sources)
            return spec_from_loader(name, self, is_package=is_package)
    def exec_module(self, module):
        name = module.__name__
        exec(compile(sources[name], "<agent>/" + name, "exec"), module.__dict__)

sys.meta_path.insert(0, Sources())
from pytest_vswitch.hosts import agent
agent.main(given)
"""


def program(given: Mapping[str, object]) -> bytes:
    """What is sent once Python has said that it is there; `given` is for `agent.main`."""
    head = f"import json\nsources = json.loads({json.dumps(modules())!r})\n"
    head += f"given = json.loads({json.dumps(dict(given))!r})\n"
    packed = zlib.compress((head + _LOADER).encode())
    return b"%d\n" % len(packed) + packed


def modules() -> dict[str, str]:
    """Sources of all that the agent is, by module name: itself and what it imports of ours.

    Each of them runs on Python 3.8 with the standard library alone.
    """
    package = Path(pytest_vswitch.__file__).parent
    found = {name: _source(package, name) for name in (package.name, f"{package.name}.hosts")}
    wanted = [f"{package.name}.hosts.agent"]
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        found[name] = _source(package, name)
        for parent, names in _IMPORT.findall(found[name]):
            if parent == f"{package.name}.hosts":
                wanted += [f"{parent}.{word.strip()}" for word in names.split(",")]
            else:
                wanted.append(parent)
    return found


_IMPORT = re.compile(r"^from (pytest_vswitch\S*) import (.*)$", re.MULTILINE)


def _source(package: Path, name: str) -> str:
    path = package.parent.joinpath(*name.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
