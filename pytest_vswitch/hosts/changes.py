"""The changes that topologies, tuning and the virtual lab make to a host, each undone.

Every function here is a context manager: what it is going to change is in the host's undo
journal first, with how it was; the end of the block, or whoever comes after a crash, puts
it back. All raise HostError.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator, Sequence

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import knobs
from pytest_vswitch.hosts.change import Change, to_bytes, to_text
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.undo_files import mounts

CONTENTS_LIMIT = 1 << 20
"""A file that holds more is not kept in a journal, so it is not rewritten [bytes]."""


@contextlib.contextmanager
def rewriting(host: Host, path: str, text: str) -> Iterator[str]:
    """`text` in a file that is there, e.g. a value of the kernel; yields how it reads then.

    The file that a symbolic link leads to is rewritten, not the link.
    """
    with _faults(host, f"cannot set {path} to {text.strip()!r}"):
        path = host.read_link(path)
        before = _keep(host, path)
    with host.changing(Change("rewrote", path, before, text)):
        with _faults(host, f"cannot set {path} to {text.strip()!r}"):
            host.write_bytes(path, to_bytes(text))
            now = to_text(host.read_bytes(path))
        if now == text or knobs.same(path, now, text) or knobs.same(path, now, before):
            yield now
            return
        # The kernel has made something else of it, which is ours, too.
        with host.changing(Change("rewrote", path, before, now)):
            yield now


@contextlib.contextmanager
def writing_file(host: Host, path: str, data: bytes) -> Iterator[None]:
    """A file with these contents, be there one already or not."""
    fault = f"cannot write {path}"
    if host.exists(path):
        with _faults(host, fault):
            path = host.read_link(path)
            before = _keep(host, path)
        change = Change("rewrote", path, before, to_text(data))
    else:
        after = to_text(data) if len(data) <= CONTENTS_LIMIT else None
        change = Change("made", path, after=after)
    with host.changing(change):
        with _faults(host, fault):
            host.write_bytes(path, data)
        yield


@contextlib.contextmanager
def making(host: Host, path: str) -> Iterator[None]:
    """Whatever the block, or a program it starts, makes there is removed at its end."""
    if host.exists(path):
        raise HostError(f"{host.name}: {path} is there already, and is not this run's to remove")
    with host.changing(Change("made", path)):
        yield


@contextlib.contextmanager
def making_directory(host: Host, path: str) -> Iterator[None]:
    """A new directory, removed with all that is in it."""
    with making(host, path):
        host.run(["mkdir", "--", path])
        yield


@contextlib.contextmanager
def binding(host: Host, bdf: str, driver: str) -> Iterator[None]:
    """A PCI device bound to `driver`, even if that does not know the device by itself."""
    device = f"{_pci()}/devices/{bdf}"
    if not host.exists(device):
        raise HostError(f"{host.name}: there is no PCI device {bdf}")
    before = _driver(host, device)
    if before == driver:
        yield
        return
    if not host.exists(f"{_pci()}/drivers/{driver}"):
        raise HostError(f"{host.name}: there is no driver {driver} for {bdf}: modprobe {driver}")
    with (
        rewriting(host, f"{device}/driver_override", driver),
        host.changing(Change("bound", bdf, before, driver)),
    ):
        with _faults(host, f"cannot bind {bdf} to {driver}"):
            if before:
                host.write_text(f"{device}/driver/unbind", bdf)
            host.write_text(f"{_pci()}/drivers_probe", bdf)
        now = _driver(host, device)
        if now != driver:
            raise HostError(
                f"{host.name}: {driver} did not take {bdf}, it has {now or 'no driver'}; "
                "the kernel's log (dmesg) says why"
            )
        yield


@contextlib.contextmanager
def virtual_functions(host: Host, bdf: str, count: int) -> Iterator[list[str]]:
    """`count` virtual functions of a PCI device; yields their addresses, in order.

    Those that were there before get their drivers back, but not their MAC addresses.
    """
    device = f"{_pci()}/devices/{bdf}"
    knob = f"{device}/sriov_numvfs"
    with contextlib.ExitStack() as stack:
        with _faults(host, f"{bdf} cannot have virtual functions"):
            before = int(host.read_text(knob))
            most = int(host.read_text(f"{device}/sriov_totalvfs"))
        if count > most:
            raise HostError(f"{host.name}: {bdf} can have {most} virtual functions, not {count}")
        if before != count:
            for function in _functions(host, device):
                driver = _driver(host, f"{_pci()}/devices/{function}")
                stack.enter_context(host.changing(Change("bound", function, driver)))
            stack.enter_context(host.changing(Change("functions", bdf, str(before), str(count))))
            with _faults(host, f"cannot give {bdf} {count} virtual functions"):
                for number in [0] * bool(before) + [count] * bool(count):
                    host.write_text(knob, str(number))
        yield _functions(host, device)


@contextlib.contextmanager
def mounting(
    host: Host, source: str, target: str, fstype: str, options: str = ""
) -> Iterator[None]:
    """A file system at `target`; of type `bind`: the directory or file `source` there."""
    with _faults(host, f"cannot mount at {target}"):
        target = host.read_link(target)
        there = mounts(host.read_bytes("/proc/self/mountinfo"))
        source = host.read_link(source) if fstype == "bind" else source
    before = sum(mount.target == target for mount in there)
    how = ["-t", fstype] if fstype != "bind" else []
    words = [*(["bind"] if fstype == "bind" else []), *([options] if options else [])]
    with host.changing(Change("mounted", target, str(before), f"{fstype} {source}")):
        chosen = ["-o", ",".join(words)] if words else []
        host.run(["mount", *how, *chosen, "--", source, target])
        yield


@contextlib.contextmanager
def interface(
    host: Host, name: str, kind: str, options: Sequence[str] = (), *, link: str = ""
) -> Iterator[None]:
    """A network interface as `ip link add ... type KIND OPTIONS` makes it, e.g. a bridge.

    `link`: the interface that it lies on. `tap` and `tun` work, too. It is down at first.
    """
    if host.ask(["ip", "link", "show", "dev", name], check=False).status == 0:
        raise HostError(f"{host.name}: there is an interface {name} already")
    if kind in ("tap", "tun"):  # these take no number
        with host.changing(Change("linked", name)):
            host.run(["ip", "tuntap", "add", "dev", name, "mode", kind, *options])
            yield
        return
    # Tells it from one of the same name that somebody else makes.
    index = str(1 << 30 | zlib.crc32(os.fsencode(name)) >> 2)
    with host.changing(Change("linked", name, after=index)):
        on = ["link", link] if link else []
        host.run(["ip", "link", "add", *on, "name", name, "index", index, "type", kind, *options])
        yield


@contextlib.contextmanager
def namespace(host: Host, name: str) -> Iterator[None]:
    """A network namespace of that name, as ip-netns(8) keeps it; its loopback is up."""
    if host.exists(f"/run/netns/{name}"):
        raise HostError(f"{host.name}: there is a network namespace {name} already")
    with host.changing(Change("namespace", name)):
        host.run(["ip", "netns", "add", name])
        host.run(["ip", "-n", name, "link", "set", "dev", "lo", "up"])
        yield


@contextlib.contextmanager
def sysctl(host: Host, name: str, value: str) -> Iterator[str]:
    """A kernel setting, named as sysctl(8) does; yields how it reads afterwards."""
    separators = [letter for letter in name if letter in "./"]
    if separators[:1] == ["."]:  # then a slash stands for a dot in a name, e.g. eth0/100
        name = name.translate(str.maketrans("./", "/."))
    with rewriting(host, f"{knobs.PROC}/sys/{name}", value) as now:
        yield now


@contextlib.contextmanager
def irq_affinity(host: Host, irq: int, cpus: Sequence[int]) -> Iterator[str]:
    """An interrupt on these CPUs only; yields the list that the kernel made of it."""
    wanted = ",".join(str(cpu) for cpu in sorted(cpus))
    with rewriting(host, f"{knobs.PROC}/irq/{irq}/smp_affinity_list", wanted) as now:
        yield now


def _pci() -> str:
    return f"{knobs.SYS}/bus/pci"


def _keep(host: Host, path: str) -> str:
    """What a file holds, for the journal."""
    data = host.read_bytes(path)
    if len(data) > CONTENTS_LIMIT:
        raise HostError(f"{host.name}: {path} is too large to be put back ({len(data)} bytes)")
    return to_text(data)


def _driver(host: Host, device: str) -> str:
    """The driver that a PCI device is bound to; empty: none."""
    link = f"{device}/driver"
    return os.path.basename(host.read_link(link)) if host.exists(link) else ""


def _functions(host: Host, device: str) -> list[str]:
    """The addresses of a device's virtual functions, in order."""
    found = list(host.glob(f"{device}/virtfn*"))
    found.sort(key=lambda path: int(path.rpartition("virtfn")[2]))
    return [os.path.basename(host.read_link(path)) for path in found]


@contextlib.contextmanager
def _faults(host: Host, what: str) -> Iterator[None]:
    """Tell what the operating system refuses as a fault of the host."""
    try:
        yield
    except OSError as error:
        raise HostError(f"{host.name}: {what}: {error.strerror or error}") from None
