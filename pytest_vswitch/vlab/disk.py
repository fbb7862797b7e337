"""Reading and writing files on a virtual DUT's disk while the machine is off (e2fsprogs)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.host import Host


def copy(host: Host, base: Path, disk: Path) -> None:
    """A disk of its own; what is a hole in `base` stays one."""
    argv = ["cp", "--reflink=auto", "--sparse=always", str(base), str(disk)]
    host.run(argv, timeout_s=300, why="a disk of its own")


def replay(host: Host, disk: Path) -> None:
    """Bring in what the file system's journal holds, as the kernel does when it mounts.

    After a reset or a power cut a file that was synced may be in the journal only.
    """
    argv = ["e2fsck", "-E", "journal_only", "-p", str(disk)]
    done = host.run(argv, timeout_s=120, check=False)
    if done.status > 1:  # 1: mended
        raise HostError(f"{disk} is damaged: {done.output.strip()[-500:]}")


def read(host: Host, disk: Path, path: str) -> str:
    """A file of the disk. Raises HostError when there is none."""
    # debugfs tells its version and its errors beside the content, and always ends with 0.
    with_errors = host.run(["debugfs", "-R", f"stat {path}", str(disk)]).output
    if "Inode:" not in with_errors:
        raise HostError(f"there is no {path} on the disk {disk}: {with_errors.strip()[-200:]}")
    output = host.run(["debugfs", "-R", f"cat {path}", str(disk)]).output
    return output.partition("\n")[2] if output.startswith("debugfs ") else output


def write(host: Host, disk: Path, files: Mapping[str, tuple[Path, int]]) -> None:
    """Put files on the disk: path there -> (file here, mode). They belong to root.

    Raises HostError when one is not there afterwards.
    """
    words = []
    for path, (source, mode) in files.items():
        words += [f"rm {path}", f"write {source} {path}", f"sif {path} mode 0100{mode:03o}"]
        words += [f"sif {path} uid 0", f"sif {path} gid 0"]
    said = host.run(["debugfs", "-w", "-f", "-", str(disk)], stdin="\n".join(words) + "\n")
    for path in files:
        if "Inode:" not in host.run(["debugfs", "-R", f"stat {path}", str(disk)]).output:
            raise HostError(f"could not write {path} to {disk}: {said.output.strip()[-500:]}")
