"""KNI in a guest: rings of the host's vSwitch as interfaces of the guest's kernel.

`ovs-ivshm-mngr` lists what memory a guest shall see, and writes metadata of it; the guest's
`rte_kni`, patched, looks for that metadata, and `kni_client` makes an interface for each port.
"""

from __future__ import annotations

import re

from pytest_vswitch.errors import DutError

METADATA = "vm_1"
"""The guide's name of it."""
MAGIC = 0x0BADC0DE
"""At its beginning, which is 16 KiB before the end of the guest's BAR 2."""
TARGET = "x86_64-ivshmem-linuxapp-gcc"
SOURCES = "/root/kni"
"""Where the guide has them in the guest."""
PATCH = "rte_kni_module_1_6.patch"
LOG = "/tmp/kni_client.log"

FOUND = "KNI: IVSHMEM metadata found"

_DEVICE = re.compile(r"QEMU cmdline for metadata '([^']+)': -device (ivshmem,\S+)")
_PART = re.compile(r"(/[^:,\s]+):(0x[0-9a-f]+):(0x[0-9a-f]+)")


def metadata_path() -> str:
    """On the host."""
    return f"/var/run/.dpdk_ivshmem_metadata_{METADATA}"


def command_line_path() -> str:
    """Where the manager keeps QEMU's words on the host, too."""
    return f"/tmp/.ovs_ivshmem_qemu_cmdline_{METADATA}"


def interface(port: str) -> str:
    """What `kni_client` calls the interface of a port."""
    return f"vEth_{port}"


def check_metadata(data: bytes, where: str) -> None:
    """Raise DutError for metadata that the guest would not find."""
    magic = int.from_bytes(data[:4], "little")
    if len(data) < 4 or magic != MAGIC:
        raise DutError(
            f"{where} is no IVSHMEM metadata: it begins with {magic:#010x} in place of "
            f"{MAGIC:#010x}; ovs-ivshm-mngr must run when the vSwitch is up, and not before"
        )


def parse_device(output: str) -> str:
    """QEMU's device, from what ovs-ivshm-mngr prints. Raises DutError.

    Its memory is a list of FILE:OFFSET:LENGTH, the metadata last, where the guest looks.
    """
    found = _DEVICE.search(output)
    if found is None or found[1] != METADATA:
        raise DutError(
            f"ovs-ivshm-mngr printed no QEMU command line for {METADATA}:\n    "
            + (output.strip().replace("\n", "\n    ") or "(nothing)")
        )
    device = found[2]
    properties = dict(word.partition("=")[::2] for word in device.split(",")[1:])
    shared = properties.get("shm", "")
    parts = _PART.findall(shared)
    if not shared.startswith("fd:") or ":".join(":".join(part) for part in parts) != shared[3:]:
        raise DutError(f"ovs-ivshm-mngr printed memory that is no list of files: {device}")
    total, size = sum(int(length, 16) for _, _, length in parts), properties.get("size", "")
    if not re.fullmatch(r"\d+M", size) or total != int(size[:-1]) << 20:
        raise DutError(
            f"ovs-ivshm-mngr printed files of {total} bytes in all for a device of {size or '?'}"
        )
    if parts[-1][0] != metadata_path():
        raise DutError(f"the memory of {METADATA} does not end with its metadata: {device}")
    return device


def build() -> list[tuple[str, str]]:
    """(command, why) for the guest's shell."""
    dpdk = f"{SOURCES}/DPDK"
    return [
        (f"patch -N -p1 -d {dpdk} -i {dpdk}/{PATCH}", "DPDK's KNI, for a guest"),
        (f"make -C {dpdk} install T={TARGET}", "DPDK and its modules, for this kernel"),
        (
            f"make -C {SOURCES}/kni_client RTE_SDK={dpdk} RTE_TARGET={TARGET}",
            "what makes the interfaces",
        ),
        (f"insmod {dpdk}/{TARGET}/kmod/rte_kni.ko", "KNI, which looks for the metadata"),
    ]


def client(ports: tuple[str, str]) -> str:
    """One line for the guest's shell: `kni_client`, which serves the interfaces."""
    named = " ".join(f"-p {port}" for port in ports)
    return f"{SOURCES}/kni_client/build/kni_client -c 0x1 -n 4 -- {named} > {LOG} 2>&1 &"
