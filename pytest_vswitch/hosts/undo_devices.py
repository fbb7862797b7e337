"""The way back for PCI devices, network interfaces and mounts.

Runs on the DUT: standard library only, Python 3.8.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pytest_vswitch.hosts import knobs
from pytest_vswitch.hosts.change import ChangedByOthers, shown
from pytest_vswitch.hosts.undo_files import Mount, mounted

_COMMAND_S = 30.0
"""How long `ip` and `umount` may take [s]."""


def bind_back(bdf: str, before: str, after: str | None) -> None:
    """Bind a PCI device to the driver `before`, or to none, and no longer force `after` on it.

    A device that is gone is as good as undone. Raises ChangedByOthers; OSError, e.g. when
    a program has it open: the kernel would wait until it lets go.
    """
    device = _pci(bdf)
    if not device.exists():
        return
    now = _driver(device)
    override = str(device / "driver_override")
    forced = _read(override)
    if after is not None:
        if now not in ("", before, after):
            names = [driver or "unbound" for driver in (before, after, now)]
            raise ChangedByOthers(f"the driver of {bdf}", *names)
        if forced not in ("", before, after):
            raise ChangedByOthers(f"driver_override of {bdf}", before, after, forced)
    if now != before:
        _check_unused([device])
        if forced and forced != before:
            knobs.poke(override, "")
        if now:
            knobs.poke(str(device / "driver/unbind"), bdf)
        if before:
            _bind(bdf, before, override)
        if _driver(device) != before:
            is_now = _driver(device) or "no driver"
            raise OSError(errno.ENODEV, f"is bound to {is_now}, not to {before or 'none'}", bdf)
    elif forced and forced == after:
        knobs.poke(override, "")


def _bind(bdf: str, driver: str, override: str) -> None:
    bind = knobs.SYS / "bus/pci/drivers" / driver / "bind"
    if not bind.exists():
        raise OSError(errno.ENOENT, f"its driver is not loaded: modprobe {driver}", bdf)
    try:
        knobs.poke(str(bind), bdf)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        knobs.poke(override, driver)  # a driver that takes it only when forced
        knobs.poke(str(bind), bdf)
        knobs.poke(override, "")


def set_functions(bdf: str, before: str, after: str | None) -> None:
    """Give a PCI device its former number of virtual functions, new ones if not none.

    Raises ChangedByOthers; OSError, e.g. when a program has one open.
    """
    knob = _pci(bdf) / "sriov_numvfs"
    if not knob.exists():
        return
    now = int(_read(str(knob)))
    if now == int(before):
        return
    if after is not None and now not in (0, int(after)):
        what = f"the number of virtual functions of {bdf}"
        raise ChangedByOthers(what, before, after, str(now))
    _check_unused(sorted(_pci(bdf).glob("virtfn*")))
    if now:
        knobs.poke(str(knob), "0")  # the kernel takes no other number before
    if int(before):
        knobs.poke(str(knob), before)


def put_back_in_namespace(place: str, before: str, after: str | None) -> None:
    """Write `before` into a kernel's file as a network namespace sees it, `NETNS:/PATH`.

    Namespace or file gone is as good as undone. Raises ChangedByOthers, OSError.
    """
    netns, _, path = place.partition(":")
    if not Path("/run/netns", netns).exists():
        return
    there = ["ip", "netns", "exec", netns]
    if _run([*there, "test", "-e", path])[0]:
        return
    failed, now = _run([*there, "cat", "--", path])
    if not failed and not knobs.same(path, now, before):
        if after is not None and not knobs.is_ours(path, now, before, after):
            raise ChangedByOthers(place, before, after, now)
        failed, now = _run([*there, "tee", "--", path], before)
    if failed:
        raise OSError(errno.EIO, now.strip(), place)


def delete_interface(name: str, after: str | None) -> None:
    """Delete a network interface, whatever it is called by now, if its index is the run's.

    Raises ChangedByOthers, OSError.
    """
    if after is not None:
        try:
            name = socket.if_indextoname(int(after))
        except OSError:
            if name in _interfaces():
                ours = f"interface {after}"
                now = f"interface {socket.if_nametoindex(name)}"
                raise ChangedByOthers(name, "not there", ours, now) from None
            return
    if name in _interfaces():
        failed = _failure(["ip", "link", "delete", "dev", name])
        if failed:
            raise OSError(errno.EIO, failed, name)


def delete_namespace(name: str) -> None:
    """Delete a network namespace, and with it the interfaces that were made in it.

    Gone is as good as undone. Raises OSError.
    """
    if not Path("/run/netns", name).exists():
        return
    failed = _failure(["ip", "netns", "delete", name])
    if failed:
        raise OSError(errno.EIO, failed, name)


def delete_filter(place: str) -> None:
    """Delete a filter of a network card, `NETNS INTERFACE LOCATION`.

    What is gone is as good as undone. Raises OSError.
    """
    netns, interface, location = place.split(" ")
    if not (there := _at(netns, interface)):
        return
    rule = ["rule", location]
    if _run([*there, "ethtool", "-n", interface, *rule])[0]:  # there is none
        return
    if failed := _failure([*there, "ethtool", "-N", interface, "delete", location]):
        raise OSError(errno.EIO, failed, f"filter {location} of {interface}")


def set_feature(place: str, value: str) -> None:
    """Switch a feature of a network card, `NETNS INTERFACE NAME`, on or off. Raises OSError."""
    netns, interface, name = place.split(" ")
    if not (there := _at(netns, interface)):
        return
    if failed := _failure([*there, "ethtool", "-K", interface, name, value]):
        raise OSError(errno.EIO, failed, f"{name} of {interface}")


def _at(netns: str, interface: str) -> list[str]:
    """What goes before a command about an interface; empty where there is none."""
    there = ["ip", "netns", "exec", netns] if netns else ["env", "--"]
    return [] if _run([*there, "ip", "link", "show", "dev", interface])[0] else there


def unmount(target: str, before: str, after: str | None) -> str:
    """Unmount what the run mounted; a remark if something still uses it.

    Raises ChangedByOthers; OSError when something else is mounted over it.
    """
    there = [mount for mount in mounted() if mount.target == target]
    if len(there) <= int(before):
        return ""
    if after is not None and not _is_mount(there[-1], after):
        now = f"{there[-1].fstype} {there[-1].source}"
        if any(_is_mount(mount, after) for mount in there[int(before) : -1]):
            raise OSError(errno.EBUSY, f"{now} is mounted over it", target)
        raise ChangedByOthers(target, "not mounted", after, now)
    failed = _failure(["umount", target])
    if not failed:
        return ""
    lazily = _failure(["umount", "--lazy", target])
    if lazily:
        raise OSError(errno.EBUSY, lazily, target)
    return f"{shown(target)} is in use ({failed}): detached, gone when that ends"


def _is_mount(mount: Mount, after: str) -> bool:
    """Whether it is what `after`, a type and a source, describes."""
    fstype, _, source = after.partition(" ")
    if fstype != "bind":
        return mount.fstype == fstype and mount.source in (source, os.path.realpath(source))
    if mount.root.endswith("//deleted"):
        return True
    try:
        return os.path.samestat(os.stat(source), os.stat(mount.target))
    except OSError:
        return False


def _pci(bdf: str) -> Path:
    return knobs.SYS / "bus/pci/devices" / bdf


def _driver(device: Path) -> str:
    link = device / "driver"
    return os.path.basename(os.readlink(link)) if link.is_symlink() else ""


def _read(path: str) -> str:
    """A value; nothing where the kernel says that there is none."""
    try:
        with open(path) as file:
            text = file.read().strip()
    except FileNotFoundError:
        return ""
    return "" if text == "(null)" else text


def _check_unused(devices: Sequence[Path]) -> None:
    """Raise OSError, naming them, while programs have one of these PCI devices open."""
    for device in devices:
        users = _users(_nodes(device))
        if users:
            raise OSError(errno.EBUSY, f"in use by {', '.join(users)}", device.resolve().name)


def _nodes(device: Path) -> set[str]:
    """The files in /dev through which a program drives a PCI device itself."""
    nodes = {f"/dev/{uio.name}" for uio in device.glob("uio/uio*")}
    nodes |= {f"/dev/vfio/devices/{vfio.name}" for vfio in device.glob("vfio-dev/vfio*")}
    group = device / "iommu_group"
    if group.is_symlink():
        number = os.path.basename(os.readlink(group))
        nodes |= {f"/dev/vfio/{number}", f"/dev/vfio/noiommu-{number}"}
    return nodes


def _users(nodes: set[str]) -> list[str]:
    users = []
    for process in knobs.PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended
            opened = {os.readlink(handle.path) for handle in os.scandir(process / "fd")}
            if opened & nodes:
                users.append(f"{(process / 'comm').read_text().strip()} (pid {process.name})")
    return users


def _interfaces() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def _failure(argv: list[str]) -> str:
    """Carry out a command; what it said if it failed."""
    failed, said = _run(argv)
    return (said.strip() or f"`{argv[0]}` failed") if failed else ""


def _run(argv: list[str], text: str = "") -> tuple[bool, str]:
    """Carry out a command: whether it failed, and what it said."""
    try:
        ended = subprocess.run(
            argv,
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_COMMAND_S,
        )
    except subprocess.TimeoutExpired:
        return True, f"`{argv[0]}` did not end within {_COMMAND_S:g} s"
    return ended.returncode != 0, ended.stdout.decode(errors="backslashreplace")
