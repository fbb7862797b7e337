"""KNI in a guest: what ovs-ivshm-mngr prints, and what is asked of the metadata."""

from __future__ import annotations

import subprocess

import pytest

from pytest_vswitch.apps import kni
from pytest_vswitch.errors import DutError

GUIDE = (
    "APP: QEMU cmdline for metadata 'vm_1': -device ivshmem,size=64M,shm=fd:"
    "/dev/hugepages/rtemap_0:0x0:0x200000:/dev/hugepages/rtemap_1:0xa00000:0x3200000:"
    "/dev/hugepages/rtemap_2:0x0:0x200000:/dev/zero:0x0:0x9fc000:"
    "/var/run/.dpdk_ivshmem_metadata_vm_1:0x0:0x4000"
)
"""As the guide prints it."""


def test_the_guides_output_is_taken() -> None:
    device = kni.parse_device(f"EAL: Detected 8 lcore(s)\n{GUIDE} \n")
    assert device == GUIDE.partition("-device ")[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("vm_1': ", "vm_2': "), "printed no QEMU command line for vm_1"),
        (("ivshmem,", "virtio,"), "printed no QEMU command line for vm_1"),
        (("shm=fd:", "shm="), "printed memory that is no list of files"),
        ((":0x9fc000", ""), "printed memory that is no list of files"),
        (("0x3200000", "0x3000000"), r"files of 65011712 bytes in all for a device of 64M"),
        (("size=64M", "size=32M"), "files of 67108864 bytes in all for a device of 32M"),
        (("size=64M,", ""), r"for a device of \?"),
        (("metadata_vm_1", "metadata_vm_9"), "the memory of vm_1 does not end with its metadata"),
    ],
)
def test_what_would_not_work_is_told(change: tuple[str, str], message: str) -> None:
    with pytest.raises(DutError, match=message):
        kni.parse_device(GUIDE.replace(*change))


def test_silence_is_told() -> None:
    with pytest.raises(DutError, match=r"for vm_1:\s+\(nothing\)"):
        kni.parse_device("")


def test_metadata_begins_with_its_magic_number() -> None:
    kni.check_metadata(bytes.fromhex("dec0ad0b") + bytes(100), "it")
    for data in (b"", b"\xde\xc0\xad", bytes.fromhex("0badc0de")):
        with pytest.raises(DutError, match="it is no IVSHMEM metadata: it begins with 0x"):
            kni.check_metadata(data, "it")


def test_not_found_is_not_taken_for_found() -> None:
    log = "[1.0] KNI: IVSHMEM metadata NOT found\n"
    done = subprocess.run(["grep", kni.FOUND], input=log, text=True, check=False)
    assert done.returncode == 1


def test_the_client_serves_the_ports_that_are_shared() -> None:
    line = kni.client(("port32", "port33"))
    assert line.startswith("/root/kni/kni_client/build/kni_client -c 0x1 -n 4 -- ")
    assert " -p port32 -p port33 > /tmp/kni_client.log 2>&1 &" in line
    subprocess.run(["sh", "-n", "-c", line], check=True)
    assert kni.interface("port32") == "vEth_port32"
