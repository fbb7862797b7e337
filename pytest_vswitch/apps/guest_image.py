"""The guest's kernel and initramfs, made in seconds from the DUT's installed packages.

The initramfs holds busybox, testpmd and iproute2 with the libraries and drivers that they
need, the kernel modules for virtio and `uio_pci_generic`, and `guest/init`. It is cached on the
host by the content of everything in it.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
import lzma
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pytest_vswitch.apps import libraries
from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts.host import Host

if TYPE_CHECKING:
    from pytest_vswitch.apps.dpdk import Dpdk

DRIVERS = ("net_virtio", "mempool_ring", "bus_pci", "bus_vdev")
"""DPDK drivers for the guest's testpmd, as in `librte_<driver>.so`."""

DRIVER_DIRECTORY = "/usr/lib/dpdk-drivers"
"""In the guest: links to the drivers. EAL aborts on a driver that it sees under two inodes."""


DPDK_MODULES = ("uio_pci_generic",)
_CONTROL_MODULES = ("virtio_pci", "virtio_console")
_NET_MODULES = ("virtio_net",)
"""The kernel's own driver of the data ports, for a guest that routes; loaded when asked for."""
_ROUTER_PROGRAMS = ("ip", "tc")
"""Of iproute2, where the host has them: busybox's do not tell what was dropped."""

_KEPT = 4
"""Images in the cache; the one used longest ago makes room."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of the guest's, a file on the host."""

    path: str
    format: str
    """`raw` or `qcow2`."""
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Login:
    """The way into a guest over SSH."""

    user: str
    port: int
    """TCP port of the host's loopback that leads to the guest's SSH server."""
    key: str
    """Path of a private key on the host."""
    host_key: str
    """Type and key; empty: whichever it shows."""
    wishes: str
    """What it is told; see `qemu.wishes`."""


@dataclass(frozen=True, slots=True)
class GuestImage:
    """What a guest boots."""

    kernel: str
    """Booted directly; empty: the first disk boots by itself."""
    initramfs: str
    release: str
    """Kernel release, e.g. `6.1.0-56-cloud-amd64`; empty: the disk's own."""
    testpmd: str | Dpdk
    """Path of testpmd in the guest, or a DPDK that has the same place there as on the host."""
    driver_directory: str = DRIVER_DIRECTORY
    """Where the guest's testpmd finds its drivers; empty: where it looks by itself."""
    arguments: str = ""
    """Of the kernel, beside ours."""
    disks: tuple[Disk, ...] = ()
    login: Login | None = None
    """How it is told over SSH what to do; None: it knows."""


@dataclass(frozen=True, slots=True)
class _Module:
    """A kernel module's file on the host."""

    name: str
    path: str
    content: bytes
    """Uncompressed."""


def prepare(
    host: Host,
    *,
    kernel: str,
    testpmd: str | Dpdk,
    drivers: Sequence[str] = DRIVERS,
    modules: Sequence[str] = DPDK_MODULES,
) -> GuestImage:
    """Find the kernel (`auto` or a path) and build the initramfs if none fits.

    `drivers` are those of its testpmd, `modules` the kernel's for devices that DPDK takes.

    Raises InputError for a kernel without its modules, HostError for a missing program.
    """
    vmlinuz = find_kernel(host, kernel)
    release = PurePosixPath(vmlinuz).name.removeprefix("vmlinuz-")
    # Two levels up: /boot/vmlinuz-X belongs to /lib/modules/X, also below a prefix.
    prefix = str(PurePosixPath(vmlinuz).parent.parent).rstrip("/")
    parts = {
        "dpdk": _modules(host, f"{prefix}/lib/modules/{release}", modules),
        "control": _modules(host, f"{prefix}/lib/modules/{release}", _CONTROL_MODULES),
    }
    net = _modules(host, f"{prefix}/lib/modules/{release}", _NET_MODULES)
    parts["net"] = [module for module in net if module not in parts["control"]]
    files, links = _programs(host, testpmd, drivers)
    init = (importlib.resources.files("pytest_vswitch") / "apps/guest/init").read_text()

    sums = host.ask(["sha256sum", "--", *files], why="is the cached guest image current?").output
    # How it is built counts as content too: this file.
    digest = hashlib.sha256((sums + init + repr(links)).encode() + Path(__file__).read_bytes())
    for module in [module for part in parts.values() for module in part]:
        digest.update(module.name.encode() + module.content)
    initramfs = f"{host.cache}/guest-{digest.hexdigest()[:16]}.cpio.gz"
    if host.exists(initramfs):
        host.run(["touch", "--", initramfs], why="the guest's initramfs; it was used last now")
    else:
        _build(host, initramfs, files, links, parts, init)
        _make_room(host, initramfs)
    if not isinstance(testpmd, str):
        if testpmd.root:
            return GuestImage(vmlinuz, initramfs, release, testpmd)
        testpmd = testpmd.program
    in_guest = host.ask(["realpath", "--", host.which(testpmd) or testpmd]).output.strip()
    return GuestImage(vmlinuz, initramfs, release, in_guest)


def has_module(host: Host, kernel: str, name: str) -> bool:
    """Whether the kernel of `prepare` has that module in a file. Raises InputError."""
    vmlinuz = PurePosixPath(find_kernel(host, kernel))
    prefix = str(vmlinuz.parent.parent).rstrip("/")
    directory = f"{prefix}/lib/modules/{vmlinuz.name.removeprefix('vmlinuz-')}"
    listing = host.ask(["find", directory, "-name", "*.ko*"]).output.splitlines()
    return name in map(_module_name, listing)


def find_kernel(host: Host, kernel: str) -> str:
    """Path of the lab's `guest.kernel`; for `auto` the newest whose modules are there too.

    Raises InputError.
    """
    if kernel != "auto":
        if not host.exists(kernel):
            raise InputError(f"{host.name}: guest.kernel {kernel} does not exist")
        return kernel
    found = [
        path
        for root in ("", f"{host.cache}/kernel")
        for path in host.glob(f"{root}/boot/vmlinuz-*")
        if host.exists(f"{root}/lib/modules/{path.rpartition('vmlinuz-')[2]}/kernel")
    ]
    if not found:
        raise InputError(
            f"{host.name}: no kernel for the guest, neither in /boot nor in {host.cache}/kernel: "
            "run `ci/setup`, install the package linux-image-cloud-amd64, or set `guest.kernel`"
        )
    return max(found, key=lambda path: [int(n) for n in re.findall(r"\d+", path)])


def _modules(host: Host, directory: str, wanted: Sequence[str]) -> list[_Module]:
    """The modules and what they depend on, in loading order.

    One that is built into the kernel is left out. Raises InputError for one that is missing.
    """
    if not host.exists(f"{directory}/kernel"):
        raise InputError(f"{host.name}: the guest's kernel has no modules in {directory}")
    listing = host.ask(["find", directory, "-name", "*.ko*"]).output.splitlines()
    paths = {_module_name(line): line for line in listing}
    builtin: set[str] = set()
    if host.exists(f"{directory}/modules.builtin"):
        builtin = set(map(_module_name, host.read_text(f"{directory}/modules.builtin").split()))
    ordered: dict[str, _Module] = {}

    def add(name: str) -> None:
        if name in ordered or name in builtin:
            return
        if name not in paths:
            raise InputError(f"{host.name}: the guest's kernel lacks {name}.ko in {directory}")
        content = _uncompressed(host, paths[name])
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for dependency in filter(None, depends[1].decode().split(",") if depends else ()):
            add(dependency.replace("-", "_"))
        ordered[name] = _Module(name, paths[name], content)

    for name in wanted:
        add(name)
    return list(ordered.values())


def _module_name(path: str) -> str:
    return PurePosixPath(path).name.split(".")[0].replace("-", "_")


def _uncompressed(host: Host, path: str) -> bytes:
    content = host.read_bytes(path)
    if path.endswith(".xz"):
        return lzma.decompress(content)
    if path.endswith(".gz"):
        return gzip.decompress(content)
    if not path.endswith(".ko"):
        raise InputError(f"{host.name}: do not know how to uncompress {path}; set `guest.kernel`")
    return content


def _programs(
    host: Host, testpmd: str | Dpdk, plugins: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """All files and links that busybox and testpmd need, and the guest's driver links."""
    name = testpmd if isinstance(testpmd, str) else testpmd.program
    program = host.which(name)
    busybox = host.which("busybox")
    if program is None or busybox is None:
        raise HostError(f"{host.name}: the guest needs the programs {name} and busybox")
    stdbuf = [host.which("stdbuf") or "stdbuf", "/usr/libexec/coreutils/libstdbuf.so"]
    routing = [path for name in _ROUTER_PROGRAMS if (path := host.which(name))]
    if isinstance(testpmd, str) or not testpmd.root:
        return libraries.needed(host, [program, *stdbuf, *routing], plugins, static=[busybox])
    files, drivers = libraries.needed_of_tree(host, testpmd, plugins)
    own, _ = libraries.needed(host, [*stdbuf, *routing], (), static=[busybox])
    return sorted({*files, *own}), drivers


def _build(
    host: Host,
    initramfs: str,
    files: Sequence[str],
    drivers: Mapping[str, str],
    modules: Mapping[str, Sequence[_Module]],
    init: str,
) -> None:
    root = f"{host.scratch}/initramfs"
    archive = f"{host.scratch}/guest.cpio"
    host.run(["rm", "-rf", root, archive, f"{archive}.gz"], why="an earlier try may have failed")
    links = {"lib": "usr/lib", "lib64": "usr/lib64"}
    links["bin/busybox"] = next(path for path in files if PurePosixPath(path).name == "busybox")
    links |= {f"{DRIVER_DIRECTORY[1:]}/librte_{name}.so": path for name, path in drivers.items()}
    directories = ["bin", "dev", "proc", "sys", "tmp", "var/run", "usr/lib", "usr/lib64", "usr/bin"]
    directories += [f"modules/{part}" for part in modules] + [DRIVER_DIRECTORY[1:]]
    host.run(
        ["mkdir", "-p", host.cache, *(f"{root}/{name}" for name in directories)],
        why="the guest's initramfs, built from this host's own packages (in place of the guide's "
        "disk image, 4.2.5)",
    )
    host.run(
        ["cp", "--parents", "--no-dereference", "--target-directory", root, *files],
        why="busybox and testpmd, with the libraries and drivers that they need",
    )
    for place, target in links.items():
        host.run(["ln", "-sf", target, f"{root}/{place}"])
    loaded = []
    for part, content in modules.items():
        for order, module in enumerate(content):
            place = f"modules/{part}/{order:02}-{module.name}.ko"
            loaded.append(place)
            _copy_module(host, module, f"{root}/{place}")
    host.write_text(f"{root}/init", init)
    host.run(["chmod", "755", f"{root}/init"])
    names = _with_parents([*directories, *links, *loaded, "init", *(file[1:] for file in files)])
    owner = ["--quiet", "--reproducible", "--owner=+0:+0"]
    argv = ["cpio", "-o", "-H", "newc", *owner, "-D", root, "-F", archive]
    host.run(
        argv, stdin="".join(f"{name}\n" for name in names), why="packed as the kernel reads it"
    )
    host.run(["gzip", "-6", archive], timeout_s=120)
    # Renamed only when whole and on disk: another run may be building the same one.
    part = f"{initramfs}.{PurePosixPath(host.scratch).name}"
    host.run(["mv", f"{archive}.gz", part])
    host.run(["sync", part], why="it is given its name when it is whole and on disk")
    host.run(["mv", part, initramfs])
    host.run(["rm", "-rf", root])


def _copy_module(host: Host, module: _Module, place: str) -> None:
    """Uncompressed: the guest's insmod takes no other."""
    packing = PurePosixPath(module.path).suffix
    if packing == ".ko":
        host.run(["cp", "--", module.path, place])
        return
    host.run(["cp", "--", module.path, f"{place}{packing}"])
    host.run(["busybox", {".xz": "unxz", ".gz": "gunzip"}[packing], f"{place}{packing}"])


def _with_parents(paths: Sequence[str]) -> list[str]:
    """The paths and every directory above them, which an archive must name first."""
    parents = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    return sorted({*paths, *parents})


def _make_room(host: Host, newest: str) -> None:
    """Remove what is in the cache beyond `_KEPT` images, of which `newest` is one."""
    others = [path for path in host.glob(f"{host.cache}/guest-*") if path != newest]
    if len(others) < _KEPT:
        return
    # One that another run is building may have got its name meanwhile.
    listed = host.ask(["ls", "-t", "--", *others], check=False).output.splitlines()
    by_age = [path for path in listed if path in others]
    host.run(["rm", "-f", "--", *by_age[_KEPT - 1 :]], why="images used longest ago make room")
