"""A TRex release with a client in it that behaves as the official one does when it is imported."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

PACKAGE = """
import os
import sys

LIBRARIES = os.path.join(os.path.dirname(__file__), *[os.pardir] * 4, "external_libs")
for library in ("pyyaml-3.11", "scapy-2.4.3", "pyzmq-ctypes"):
    folder = os.path.normpath(os.path.join(LIBRARIES, library))
    if not os.path.exists(folder):
        raise Exception("Unable to find required external library: " + library)
    sys.path.insert(1, folder)
"""
SERVER = f"""#!/bin/sh
PYTHONPATH={Path(__file__).parents[3]} exec {sys.executable} -m tests.traffic.trex.t_rex_64 "$@"
"""
POISON = "raise ImportError(\"No module named 'cgi'\")\n"


def make_release(folder: Path) -> Path:
    """Write it: libraries that nobody should import first on the path, as in the real one."""
    package = folder / "automation/trex_control_plane/interactive/trex"
    files = {
        folder / "t-rex-64": SERVER,
        package / "__init__.py": PACKAGE,
        package / "stl/__init__.py": "",
        folder / "external_libs/pyyaml-3.11/yaml/__init__.py": POISON,
        folder / "external_libs/scapy-2.4.3/scapy/__init__.py": POISON,
        folder / "external_libs/pyzmq-ctypes/zmq/__init__.py": POISON,
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "t-rex-64").chmod(0o755)
    here = Path(__file__).parent
    shutil.copy(here / "client_double.py", package / "stl/api.py")
    shutil.copy(here / "trex_stl_streams.py", package / "stl/trex_stl_streams.py")
    return folder
