"""A guest with two MEMNIC ports, whose kernel routes between them (MEMNIC guide)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Final

from pytest_vswitch.apps import ivshmem, memnic, ovdk, qemu_versions
from pytest_vswitch.apps.guest import Guest
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.ovdk import Ovdk
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.endpoints import Place, ovdk_guest
from pytest_vswitch.topologies.endpoints.ovdk_guest import OvdkGuest
from pytest_vswitch.topologies.vswitches import ovdk as vswitch

WHERE: Final = "guest"
MAX_MTU: Final = 1500

vcpus = ovdk_guest.vcpus
memory_mb = ovdk_guest.memory_mb


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError for what the guest needs and lab or host lack."""
    ovdk_guest.preflight(lab, host, _files(vswitch.section(lab)))


def _files(own: Ovdk) -> dict[str, str]:
    """What the guest builds of, by its place on the FAT disk."""
    patch = f"{own.path}/guest/memnic/{memnic.MAC_PATCH}"
    return {"": f"{own.sources}/.", memnic.MAC_PATCH: patch}


class Driver:
    """The guest's `memnic.ko`; see `ovdk_guest.Driver`."""

    def __init__(self, host: Host, guest: Guest, regions: Sequence[ivshmem.Region]) -> None:
        self._host = host
        self._guest = guest
        self._regions = regions

    def check_metadata(self) -> None:
        """The driver has found both regions, and is loaded (guide: `dmesg`)."""
        count = len(self._regions)
        ovdk_guest.require(
            self._guest,
            f"dmesg | grep -c '{memnic.FOUND}'",
            f"the guest's MEMNIC driver did not find metadata of {count} ports: has each of its "
            "devices memory of the vSwitch (`ls /dev/shm` on the host)?",
            said=rf"^{count}$",
            why="is it in the kernel's log, for each port?",
        )
        ovdk_guest.require(
            self._guest,
            f"dmesg | grep '{memnic.LOADED}'",
            "the guest's MEMNIC driver is not loaded",
            said=memnic.LOADED,
            why="is it in the kernel's log?",
        )

    def check_shared(self) -> None:
        """Each region has its metadata, and the vSwitch has answered the guest's driver there.

        Before that it carries no frame. Raises DutError.
        """
        for region in self._regions:
            header = memnic.read_header(self._host, region.path)
            if header and not header.valid:
                raise DutError(
                    f"the vSwitch has not answered the guest's driver: {region.path} is not valid"
                )

    def check_alive(self) -> None:
        """It is a part of the guest's kernel."""


@contextlib.contextmanager
def start(lab: Lab, host: Host, place: Place) -> Iterator[OvdkGuest]:
    """Raises HostError, DutError."""
    ports = [ovdk.guest_port("memnic", index) for index in range(len(place.vhosts))]
    regions = [memnic.region(port.number) for port in ports]
    files = _files(vswitch.section(lab))
    devices = ivshmem.argv(regions, _form(lab, host))
    with ovdk_guest.boot(lab, host, place, devices, files) as (guest, accelerator):
        ovdk_guest.fetch(guest, "/mnt/memnic", memnic.SOURCES)
        before = guest.run("ls /sys/class/net", why="the interfaces before the driver's")
        ovdk_guest.build(guest, memnic.build())
        driver = Driver(host, guest, regions)
        driver.check_metadata()
        after = guest.run("ls /sys/class/net", why="and with them: two more")
        names = memnic.interfaces(before, after)
        router = ovdk_guest.route(guest, names, place)
        endpoint = OvdkGuest("guest kernel", guest, router, driver, accelerator)
        endpoint.check_interfaces()
        endpoint.check_routes()
        driver.check_shared()
        yield endpoint


def _form(lab: Lab, host: Host) -> ivshmem.Form:
    """The release's QEMU is of 2014; the lab's is asked. Raises DutError."""
    if vswitch.section(lab).qemu == "vswitch":
        return "ivshmem"
    return ivshmem.form(qemu_versions.version(host, [ovdk_guest.program(lab, host)]))
