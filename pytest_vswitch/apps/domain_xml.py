"""A guest as a libvirt domain: the XML that defines it (guide, 4.2.5, "Libvirt way").

Elements as in libvirt 9.0 (formatdomain); QEMU's properties that have no element are handed
through (`qemu:override`, since libvirt 8.2).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, register_namespace, tostring

from pytest_vswitch.apps.guest import device_id
from pytest_vswitch.apps.guest_image import Disk
from pytest_vswitch.apps.qemu import Parameters, VhostUserPort
from pytest_vswitch.hosts.leftovers import MARK

_QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"

_DRIVER = ("event_idx", "ioeventfd", "packed", "page_per_vq", "rx_queue_size", "tx_queue_size")
"""Properties of virtio-net-pci that are attributes of `<driver>`, of the same name."""

_OFFLOADS = {
    **{name: ("host", name) for name in ("csum", "gso", "mrg_rxbuf")},
    **{
        f"{side}_{name}": (side, name)
        for side in ("host", "guest")
        for name in ("tso4", "tso6", "ecn", "ufo")
    },
    "guest_csum": ("guest", "csum"),
}
"""Those that are attributes of `<host>` or `<guest>` in `<driver>`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A guest, and what of its domain is the run's own."""

    name: str
    """Of the domain; no two on a host have the same."""
    run: str
    """Id of the run: the domain's QEMU carries its mark."""
    parameters: Parameters
    emulator: str
    """Path of QEMU."""
    directory: str
    """Takes the consoles and the guest's kernel log."""
    node: int | None = None
    """NUMA node that the memory is taken from; None: any."""
    security_models: Sequence[str] = ()
    """What confines domains on the host, e.g. `apparmor`."""

    def xml(self) -> str:
        """The definition, for `virsh define`."""
        register_namespace("qemu", _QEMU)
        it = self.parameters
        root = Element("domain", type="kvm" if it.accelerator == "kvm" else "qemu")
        _add(root, "name", self.name)
        _add(root, "memory", str(it.memory_mb), unit="MiB")
        self._memory(root)
        _add(root, "vcpu", str(it.vcpus), placement="static")
        if it.cpus:
            tune = _add(root, "cputune")
            for vcpu, number in enumerate(it.cpus):
                _add(tune, "vcpupin", vcpu=str(vcpu), cpuset=str(number))
            _add(tune, "emulatorpin", cpuset=str(it.cpus[0]))
        if self.node is not None:
            _add(_add(root, "numatune"), "memory", mode="strict", nodeset=str(self.node))
        self._system(root)
        cpu = _add(root, "cpu", mode="host-passthrough" if it.accelerator == "kvm" else "maximum")
        cell = {"id": "0", "cpus": f"0-{it.vcpus - 1}", "memory": str(it.memory_mb)}
        # Without `shared` the back-end sees no memory of the guest, and forwards nothing.
        _add(_add(cpu, "numa"), "cell", **cell, unit="MiB", memAccess="shared")
        for event in ("on_poweroff", "on_reboot", "on_crash"):
            _add(root, event, "destroy")
        self._devices(root)
        # Root, as the vhost-user sockets are; and nothing of the run's files is given away.
        label = _add(root, "seclabel", type="static", model="dac", relabel="no")
        _add(label, "label", "+0:+0")
        for model in self.security_models:
            if model != "dac":
                _add(root, "seclabel", type="none", model=model)
        self._qemu_only(root)
        indent(root)
        return tostring(root, encoding="unicode") + "\n"

    def _memory(self, root: Element) -> None:
        """Shared with the back-end, on hugepages where the host has them."""
        backing = _add(root, "memoryBacking")
        if self.parameters.hugepage_kb:
            size = str(self.parameters.hugepage_kb)
            _add(_add(backing, "hugepages"), "page", size=size, unit="KiB")
        _add(backing, "source", type="memfd")
        _add(backing, "access", mode="shared")
        if self.parameters.hugepage_kb:
            _add(backing, "allocation", mode="immediate")

    def _system(self, root: Element) -> None:
        image = self.parameters.image
        system = _add(root, "os")
        _add(system, "type", "hvm", arch="x86_64", machine="q35")
        if image.kernel:
            _add(system, "kernel", image.kernel)
            if image.initramfs:
                _add(system, "initrd", image.initramfs)
            _add(system, "cmdline", self.parameters.kernel_command_line)
        features = _add(root, "features")
        _add(features, "acpi")
        _add(features, "apic")

    def _devices(self, root: Element) -> None:
        devices = _add(root, "devices")
        _add(devices, "emulator", self.emulator)
        _add(devices, "controller", type="usb", model="none")
        _slot(_add(devices, "controller", type="virtio-serial", index="0"), 0x02)
        for index, disk in enumerate(self.parameters.image.disks):
            _disk(devices, disk, index)
        for index, port in enumerate(self.parameters.ports):
            _interface(devices, port, index, self.parameters)
        serial = _add(devices, "serial", type="file")
        _add(serial, "source", path=f"{self.directory}/guest-kernel.log")
        for name in ("shell", "testpmd"):
            channel = _add(devices, "channel", type="unix")
            _add(channel, "source", mode="bind", path=f"{self.directory}/{name}")
            _add(channel, "target", type="virtio", name=f"vswitch.{name}")
        _add(devices, "memballoon", model="none")

    def _qemu_only(self, root: Element) -> None:
        line = _qemu(root, "commandline")
        for word in self.parameters.login_argv:
            _qemu(line, "arg", value=word)
        _qemu(line, "env", name=MARK, value=self.run)
        others = {
            name: value
            for name, value in self.parameters.virtio.items()
            if name not in (*_DRIVER, *_OFFLOADS, "host_mtu")
        }
        if not others:
            return
        override = _qemu(root, "override")
        for index in range(len(self.parameters.ports)):
            device = _qemu(override, "device", alias=device_id(index))
            frontend = _qemu(device, "frontend")
            for name, text in others.items():
                kind, value = _typed(text)
                _qemu(frontend, "property", name=name, type=kind, value=value)


def _interface(devices: Element, port: VhostUserPort, index: int, parameters: Parameters) -> None:
    interface = _add(devices, "interface", type="vhostuser")
    _add(interface, "mac", address=port.mac)
    mode = "server" if port.listens else "client"
    _add(interface, "source", type="unix", path=port.socket, mode=mode)
    _add(interface, "model", type="virtio")
    driver = _add(interface, "driver", name="vhost")
    if parameters.queues > 1:
        driver.set("queues", str(parameters.queues))
    virtio = parameters.virtio
    sides: dict[str, Element] = {}
    for name, value in virtio.items():
        if name in _DRIVER:
            driver.set(name, value)
        elif name in _OFFLOADS:
            side, attribute = _OFFLOADS[name]
            if side not in sides:
                sides[side] = _add(driver, side)
            sides[side].set(attribute, value)
    if mtu := virtio.get("host_mtu"):
        _add(interface, "mtu", size=mtu)
    _add(interface, "alias", name=device_id(index))
    _slot(interface, port.slot)


def _disk(devices: Element, disk: Disk, index: int) -> None:
    element = _add(devices, "disk", type="file", device="disk")
    _add(element, "driver", name="qemu", type=disk.format)
    _add(element, "source", file=disk.path)
    _add(element, "target", dev=f"vd{'abcdefgh'[index]}", bus="virtio")
    if disk.read_only:
        _add(element, "readonly")
    _slot(element, 0x04 + index)


def _typed(text: str) -> tuple[str, str]:
    """A property's value as `qemu:property` wants it: type and text."""
    if text in ("on", "off"):
        return "bool", "true" if text == "on" else "false"
    return ("unsigned" if re.fullmatch(r"\d+", text) else "string"), text


def _slot(device: Element, slot: int) -> None:
    """On the root bus, where the guest finds it under the same address as QEMU's own."""
    place = {"domain": "0x0000", "bus": "0x00", "slot": f"{slot:#04x}", "function": "0x0"}
    _add(device, "address", type="pci", **place)


def _add(parent: Element, tag: str, text: str | None = None, /, **attributes: str) -> Element:
    child = SubElement(parent, tag, attributes)
    child.text = text
    return child


def _qemu(parent: Element, tag: str, /, **attributes: str) -> Element:
    return SubElement(parent, f"{{{_QEMU}}}{tag}", attributes)
