"""A guest as a libvirt domain: what its XML says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from xml.etree import ElementTree

from pytest_vswitch.apps.domain_xml import Domain
from pytest_vswitch.apps.guest_image import Disk
from tests.apps.test_qemu import PARAMETERS

_QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"

DOMAIN = Domain(
    name="vswitch-1-guest",
    run="1",
    parameters=PARAMETERS,
    emulator="/usr/bin/qemu",
    directory="/run/guest",
)


def parsed(domain: Domain) -> ElementTree.Element:
    return ElementTree.fromstring(domain.xml())


def with_parameters(**changes: object) -> ElementTree.Element:
    parameters = dataclasses.replace(PARAMETERS, **changes)  # type: ignore[arg-type]
    return parsed(dataclasses.replace(DOMAIN, parameters=parameters))


def attributes(root: ElementTree.Element, path: str) -> list[Mapping[str, str]]:
    return [element.attrib for element in root.findall(path)]


def test_its_memory_is_shared_with_the_back_end() -> None:
    root = parsed(DOMAIN)
    assert attributes(root, "memoryBacking/access") == [{"mode": "shared"}]
    assert attributes(root, "memoryBacking/source") == [{"type": "memfd"}]
    assert attributes(root, "memoryBacking/hugepages") == []
    assert attributes(root, "cpu/numa/cell") == [
        {"id": "0", "cpus": "0-2", "memory": "1024", "unit": "MiB", "memAccess": "shared"}
    ]


def test_hugepages_are_there_from_the_start() -> None:
    root = with_parameters(hugepage_kb=2048)
    assert attributes(root, "memoryBacking/hugepages/page") == [{"size": "2048", "unit": "KiB"}]
    assert attributes(root, "memoryBacking/allocation") == [{"mode": "immediate"}]


def test_each_virtual_cpu_has_its_own() -> None:
    assert attributes(parsed(DOMAIN), "cputune/*") == []
    assert attributes(with_parameters(cpus=(1, 6, 7)), "cputune/*") == [
        {"vcpu": "0", "cpuset": "1"},
        {"vcpu": "1", "cpuset": "6"},
        {"vcpu": "2", "cpuset": "7"},
        {"cpuset": "1"},
    ]
    on_node = parsed(dataclasses.replace(DOMAIN, node=1))
    assert attributes(on_node, "numatune/memory") == [{"mode": "strict", "nodeset": "1"}]


def test_ports_in_either_direction() -> None:
    one, other = PARAMETERS.ports
    root = with_parameters(ports=[one, dataclasses.replace(other, listens=True)])
    assert attributes(root, "devices/interface/source") == [
        {"type": "unix", "path": "/run/vhost0", "mode": "client"},
        {"type": "unix", "path": "/run/vhost1", "mode": "server"},
    ]
    addresses = attributes(root, "devices/interface/address")
    assert [address["slot"] for address in addresses] == ["0x10", "0x11"]
    assert [mac["address"] for mac in attributes(root, "devices/interface/mac")] == [
        "52:54:00:02:d9:01",
        "52:54:00:02:d9:02",
    ]


def test_virtio_properties_by_libvirts_names_where_it_has_them() -> None:
    virtio = {
        "packed": "on",
        "rx_queue_size": "256",
        "mrg_rxbuf": "off",
        "guest_csum": "off",
        "host_tso4": "off",
        "host_mtu": "9000",
        "indirect_desc": "off",
        "vectors": "0",
        "speed": "10k",
    }
    root = with_parameters(virtio=virtio)
    driver = "devices/interface/driver"
    assert attributes(root, driver)[1] == {"name": "vhost", "packed": "on", "rx_queue_size": "256"}
    assert attributes(root, f"{driver}/host")[1] == {"mrg_rxbuf": "off", "tso4": "off"}
    assert attributes(root, f"{driver}/guest")[1] == {"csum": "off"}
    assert attributes(root, "devices/interface/mtu")[1] == {"size": "9000"}
    devices = root.findall(f"{_QEMU}override/{_QEMU}device")
    assert [device.attrib["alias"] for device in devices] == ["ua-port0", "ua-port1"]
    assert attributes(devices[1], f"{_QEMU}frontend/{_QEMU}property") == [
        {"name": "indirect_desc", "type": "bool", "value": "false"},
        {"name": "vectors", "type": "unsigned", "value": "0"},
        {"name": "speed", "type": "string", "value": "10k"},
    ]


def test_it_runs_as_root_and_is_confined_by_nothing() -> None:
    root = parsed(dataclasses.replace(DOMAIN, security_models=["apparmor", "dac"]))
    assert root.findtext("seclabel/label") == "+0:+0"
    assert attributes(root, "seclabel") == [
        {"type": "static", "model": "dac", "relabel": "no"},
        {"type": "none", "model": "apparmor"},
    ]


def test_its_qemu_carries_the_mark_of_the_run() -> None:
    line = parsed(DOMAIN).find(f"{_QEMU}commandline")
    assert line is not None
    assert attributes(line, "*") == [{"name": "PYTEST_VSWITCH_RUN", "value": "1"}]


def test_kernel_or_disks() -> None:
    root = parsed(DOMAIN)
    assert root.attrib["type"] == "qemu"
    assert root.findtext("os/kernel") == "/boot/vmlinuz-6.1"
    assert root.findtext("os/cmdline") == PARAMETERS.kernel_command_line
    disks = (Disk("/cache/a.qcow2", "qcow2"), Disk("/run/seed.iso", "raw", read_only=True))
    image = dataclasses.replace(PARAMETERS.image, kernel="", initramfs="", disks=disks)
    root = with_parameters(image=image, accelerator="kvm")
    assert root.attrib["type"] == "kvm"
    assert root.find("os/kernel") is None
    assert attributes(root, "devices/disk/source") == [
        {"file": "/cache/a.qcow2"},
        {"file": "/run/seed.iso"},
    ]
    assert [disk.find("readonly") is not None for disk in root.findall("devices/disk")] == [
        False,
        True,
    ]


def test_what_a_path_has_in_it_is_no_xml() -> None:
    image = dataclasses.replace(PARAMETERS.image, kernel="/boot/<a>&'b'")
    assert with_parameters(image=image).findtext("os/kernel") == "/boot/<a>&'b'"
