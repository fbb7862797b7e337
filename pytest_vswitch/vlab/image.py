"""The disk that a virtual DUT starts from: Debian with sshd, DPDK and a slimmed kernel.

Built from the distribution's packages without a loop mount, and without any key: what makes
one machine differ from another is written to its own copy (`keys`).
"""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from pathlib import Path

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.vlab import debian
from pytest_vswitch.vlab.debian import Say, Tree

DISK_MB = 4096
"""Size of the disk; a hole in the file where nothing is written [MiB]."""

CMDLINE = "/etc/kernel/cmdline"
"""The whole kernel command line, on one line; each boot reads it (kernel-install(8))."""

NEEDED_MB = 3000
"""Room that building takes, for a while [MiB]."""

READY = "vlab: sshd is up"
"""What it prints on its console: asking its sshd again and again would slow the boot down."""

_SYSTEM = Path(__file__).parent / "system"
"""What it is made of: `packages`, what of them is `left-out` or yet `kept`, `masked` units, and
`files` of its own."""

_WANTED_UNITS = ("management-network.service", "vlab-ready.service")


@dataclass(frozen=True, slots=True)
class Base:
    """A built image; it is only ever copied."""

    disk: Path
    kernel: Path
    initrd: Path


def prepare(host: Host, root: Path, say: Say) -> Base:
    """The image below `root`, built if there is none. Raises HostError."""

    def build(directory: Path) -> None:
        say("building the DUT's disk from Debian packages: a minute or two, once")
        debian.require_space(root, NEEDED_MB)
        _build(host, directory)

    # How it is built counts as content, too: this file.
    sources = sorted(path for path in _SYSTEM.rglob("*") if path.is_file())
    recipe = [(path.name, path.read_bytes()) for path in (Path(__file__), *sources)]
    made = debian.cached(host, str(root / "base"), recipe, build)
    return Base(made / "disk.ext4", made / "vmlinux", made / "initrd.img")


def _build(host: Host, directory: Path) -> None:
    overlay, tree = directory / "overlay", directory / "tree"
    _lay_out(host, overlay)
    # mmdebstrap's own hook commands, not the shell's.
    options = [f"--essential-hook=sync-in {overlay} /", "--dpkgopt=force-unsafe-io"]
    options += [f"--dpkgopt=path-exclude={path}" for path in _words("left-out")]
    options += [f"--dpkgopt=path-include={path}" for path in _words("kept")]
    debian.unpack(host, Tree("bookworm", "essential", _words("packages"), options), tree)
    for key in (tree / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    # The packages are as new as the system: systemd need not bring it up to date at boot.
    host.run(["touch", str(tree / "etc/.updated"), str(tree / "var/.updated")])
    boot = tree / "boot"
    try:
        (directory / "vmlinux").write_bytes(uncompressed(next(boot.glob("vmlinuz-*"))))
        host.run(["cp", str(next(boot.glob("initrd.img-*"))), str(directory / "initrd.img")])
    except StopIteration:
        raise HostError(f"the packages made no kernel or no initramfs in {boot}") from None
    disk = str(directory / "disk.ext4")
    make = ["mke2fs", "-q", "-t", "ext4", "-L", "vlab", "-d", str(tree), disk, f"{DISK_MB}M"]
    host.run(make, timeout_s=300, why="a file system without mounting one")
    for left in (overlay, tree):
        host.run(["rm", "-rf", "--one-file-system", str(left)], timeout_s=120)


def uncompressed(vmlinuz: Path) -> bytes:
    """The kernel itself, which QEMU boots directly (PVH): unpacking it takes the machine 2 s.

    Raises HostError for one that is not packed by xz, as Debian's are.
    """
    packed = vmlinuz.read_bytes()
    at = packed.find(b"\xfd7zXZ\0")
    try:
        kernel = lzma.LZMADecompressor().decompress(packed[at:]) if at >= 0 else b""
    except lzma.LZMAError:
        kernel = b""
    if not kernel.startswith(b"\x7fELF"):
        raise HostError(f"cannot unpack the kernel {vmlinuz}: it has no ELF image packed by xz")
    return kernel


def _lay_out(host: Host, overlay: Path) -> None:
    """Our own files of the system, there before its packages are installed."""
    host.run(["cp", "-r", "--no-preserve=all", str(_SYSTEM / "files"), str(overlay)])
    host.run(["chmod", "-R", "u=rwX,go=rX", str(overlay)])
    (overlay / "root/.ssh").mkdir(parents=True)
    for private in (overlay / "root", overlay / "root/.ssh"):
        private.chmod(0o700)
    units = overlay / "etc/systemd/system"
    for unit in _words("masked"):
        (units / unit).symlink_to("/dev/null")
    wants = units / "multi-user.target.wants"
    wants.mkdir()
    for unit in _WANTED_UNITS:
        (wants / unit).symlink_to(f"/etc/systemd/system/{unit}")


def _words(name: str) -> list[str]:
    """The lines of one of our lists, without comments."""
    lines = (_SYSTEM / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]
