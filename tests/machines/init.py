"""Process 1 of a test's machine: makes its mounts, says that they are there, then stays.

Started in new namespaces, with a `Boot` as JSON for its argument. The machine's disk is this
machine's root, seen through an overlay: whatever is written goes to the test's tmpfs. What a
reboot forgets (/dev, /run, /tmp) is made anew.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

DISK = Path("/mnt")
"""Where the test's tmpfs is mounted: `upper` (what was written), `work`, `root`, `kernel`."""

NODES = ("null", "zero", "full", "random", "urandom", "tty", "kvm", "net/tun", "vhost-net", "fuse")
LINKS = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1"}


def mount(*argv: str | Path) -> None:
    subprocess.run(["mount", *map(str, argv)], check=True)


def tmpfs(place: Path, mode: str) -> None:
    mount("-t", "tmpfs", "-o", f"mode={mode},size=256m", "tmpfs", place)


def devices(dev: Path) -> None:
    """A /dev of its own with the nodes that this machine has."""
    tmpfs(dev, "755")
    for node in NODES:
        if (Path("/dev") / node).exists():
            (dev / node).parent.mkdir(exist_ok=True)
            (dev / node).touch()
            mount("--bind", f"/dev/{node}", dev / node)
    for name, target in LINKS.items():
        (dev / name).symlink_to(target)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620,gid=5", "devpts", dev / "pts")
    tmpfs(dev / "shm", "1777")


def kernel_files(root: Path, files: dict[str, str]) -> None:
    """Files of /proc and /sys that are the machine's own: plain ones, mounted over the real."""
    for number, (path, text) in enumerate(files.items()):
        own = DISK / "kernel" / str(number)
        own.write_text(text)
        mount("--bind", own, f"{root}{path}")


def boot(name: str, files: dict[str, str], read_only: list[str]) -> None:
    """Everything up to an idle machine; `read_only` directories are shown as they are here."""
    root = DISK / "root"
    lower, upper, work = "lowerdir=/", f"upperdir={DISK}/upper", f"workdir={DISK}/work"
    mount("-t", "overlay", "-o", f"{lower},{upper},{work}", "disk", root)
    mount("-t", "proc", "proc", root / "proc")
    mount("-t", "sysfs", "sysfs", root / "sys")
    devices(root / "dev")
    tmpfs(root / "run", "755")
    tmpfs(root / "tmp", "1777")
    (root / "run/sshd").mkdir()
    (root / "run/lock").mkdir(mode=0o1777)
    for place in read_only:
        Path(f"{root}{place}").mkdir(parents=True, exist_ok=True)
        mount("--bind", "-o", "ro", place, f"{root}{place}")
    kernel_files(root, files)
    subprocess.run(["ip", "link", "set", "dev", "lo", "up"], check=True)
    socket.sethostname(name)
    os.chdir(root)
    subprocess.run(["pivot_root", ".", "mnt"], check=True)
    os.chdir("/")
    subprocess.run(["umount", "--lazy", "/mnt"], check=True)


if __name__ == "__main__":
    outer_pid = os.readlink("/proc/self")  # still the /proc of where it was started
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    boot(**json.loads(sys.argv[1]))
    # Orphans become its children: so told, the kernel reaps them by itself.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print(outer_pid, flush=True)
    os.close(1)
    while True:
        signal.pause()
