"""A guest with two KNI ports over DPDK's rings, whose kernel routes between them (KNI guide)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Final

from pytest_vswitch.apps import kni, ovdk
from pytest_vswitch.apps.guest import Guest
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts import changes
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

_MANAGER_S = 60.0
_MANAGER_CORE = 0


def preflight(lab: Lab, host: Host) -> None:
    """Raise InputError for what the guest needs and lab or host lack."""
    ovdk_guest.preflight(lab, host, _files(vswitch.section(lab)))


def _files(own: Ovdk) -> dict[str, str]:
    """What the guest builds of, by its place on the FAT disk."""
    beside = f"{own.path}/guest/kni"
    return {
        "DPDK": f"{own.sources}/.",
        f"DPDK/{kni.PATCH}": f"{beside}/{kni.PATCH}",
        "kni_client": f"{beside}/kni_client/.",
    }


class Driver:
    """The guest's `rte_kni.ko` and its `kni_client`; see `ovdk_guest.Driver`."""

    def __init__(self, host: Host, guest: Guest) -> None:
        self._host = host
        self._guest = guest

    def check_shared(self) -> None:
        check_shared(self._host)

    def check_metadata(self) -> None:
        """Asked before an interface is touched: without metadata that panics the guest."""
        ovdk_guest.require(
            self._guest,
            f"dmesg | grep '{kni.FOUND}'",
            "the guest's KNI found no IVSHMEM metadata, and an interface brought up without it "
            f"panics the guest: is DPDK in the guest patched ({kni.PATCH}), and built anew?",
            said=kni.FOUND,
            why="is it in the kernel's log?",
        )

    def check_alive(self) -> None:
        ovdk_guest.require(
            self._guest,
            "pgrep -x kni_client",
            f"the guest's kni_client is gone; {kni.LOG} in the guest says why",
            said=r"^\d+$",
            why="does what serves the interfaces run?",
        )


@contextlib.contextmanager
def start(lab: Lab, host: Host, place: Place) -> Iterator[OvdkGuest]:
    """Raises HostError, DutError."""
    files = _files(vswitch.section(lab))
    one, other = (ovdk.guest_port("kni", index).name for index in range(len(place.vhosts)))
    with contextlib.ExitStack() as stack:
        for path in (kni.metadata_path(), kni.command_line_path()):
            stack.enter_context(changes.making(host, path))
        device = share(host, vswitch.release(lab, host), (one, other))
        guest, accelerator = stack.enter_context(
            ovdk_guest.boot(lab, host, place, ["-device", device], files)
        )
        ovdk_guest.fetch(guest, "/mnt/kni", kni.SOURCES)
        ovdk_guest.build(guest, kni.build())
        driver = Driver(host, guest)
        driver.check_metadata()
        guest.run(kni.client((one, other)), why="what makes and serves the interfaces")
        names = (kni.interface(one), kni.interface(other))
        for name in names:
            guest.run(
                f"timeout 30 sh -c 'until [ -e /sys/class/net/{name} ]; do sleep 0.1; done'",
                timeout_s=40.0,
                why="it takes a moment",
            )
        driver.check_alive()
        router = ovdk_guest.route(guest, names, place)
        endpoint = OvdkGuest("guest kernel", guest, router, driver, accelerator)
        endpoint.check_interfaces()
        endpoint.check_routes()
        yield endpoint


def share(host: Host, release: ovdk.Release, ports: Sequence[str]) -> str:
    """Have the guest's metadata written; QEMU's device for it. Raises DutError, HostError."""
    argv = ovdk.share(release, _MANAGER_CORE, kni.METADATA, ports)
    said = host.run(argv, timeout_s=_MANAGER_S, why="what of its memory the guest sees").output
    if not said:  # a plan has nobody who answers
        return "ivshmem,size=64M,shm=WHAT-OVS-IVSHM-MNGR-PRINTS"
    device = kni.parse_device(said)
    check_shared(host)
    return device


def check_shared(host: Host) -> None:
    """The metadata is there, and begins as the guest looks for it. Raises DutError."""
    path = kni.metadata_path()
    try:
        kni.check_metadata(host.read_bytes(path), path)
    except OSError as error:
        raise DutError(f"ovs-ivshm-mngr wrote no {path}: {error.strerror}") from None
