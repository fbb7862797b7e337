"""The disk of a test's machine: this machine's root, seen through an overlay in memory."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

PROJECT = Path(__file__).parents[2]
OWN = (
    "/etc/ssh", "/home", "/root", "/srv",
    "/var/cache/pytest-vswitch", "/var/lib/pytest-vswitch", "/var/tmp",
)  # fmt: skip
"""Directories of the disk in which nothing of this machine's is seen."""

FAKETIME = {
    "FAKETIME_NO_CACHE": "1",  # a change is seen at once
    "FAKETIME_DONT_FAKE_MONOTONIC": "1",
}
"""How libfaketime is told what it does, in every program's environment."""


class Disk:
    """A tmpfs in the mount namespace of process `holder`, gone with it."""

    def __init__(self, holder: int, size_mib: int) -> None:
        self._enter = ["nsenter", "--mount", "--target", str(holder)]
        self._mount(f"mode=755,size={size_mib}m", "-t", "tmpfs", "disk")
        place = Path(f"/proc/{holder}/root/mnt")
        for part in ("upper", "work", "root", "kernel"):
            (place / part).mkdir()
        self.files = place / "upper"
        """What differs from this machine's root. To be written to while the machine is off."""
        for shared in (*OWN, str(PROJECT)):
            self._hide(Path(shared))

    def resize(self, size: str) -> None:
        """It is that large from now on [bytes; m: MiB]. No less than what is on it."""
        self._mount(f"remount,size={size}")

    def fake_time(self) -> None:
        """Every program, however it is started, takes its clock from a file."""
        (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
        (self.files / "etc/ld.so.preload").write_text(f"{library}\n")
        (self.files / "etc/faketimerc").write_text("+0")
        settings = " ".join(f"{name}={value}" for name, value in FAKETIME.items())
        with (self.files / "etc/ssh/sshd_config").open("a") as config:
            config.write(f"SetEnv {settings}\n")
        sudoers = self.files / "etc/sudoers.d"
        sudoers.mkdir(0o750)
        (sudoers / "faketime").write_text(f'Defaults env_keep += "{" ".join(FAKETIME)}"\n')

    def _mount(self, options: str, *argv: str) -> None:
        subprocess.run([*self._enter, "mount", "-o", options, *argv, "/mnt"], check=True)

    def _hide(self, shared: Path) -> None:
        """Nothing is seen of a directory of this machine; there is an empty one."""
        own = self.files / shared.relative_to("/")
        own.mkdir(parents=True, exist_ok=True)
        own.chmod(shared.stat().st_mode & 0o7777 if shared.exists() else 0o755)
        os.setxattr(own, "trusted.overlay.opaque", b"y")
