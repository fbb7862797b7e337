"""IVSHMEM: which device each QEMU has, and what the real QEMU makes of the words for it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_vswitch.apps import ivshmem, memnic
from pytest_vswitch.apps.guest_image import Disk, GuestImage, Login
from pytest_vswitch.apps.ivshmem import Form, Region
from pytest_vswitch.apps.ovdk_qemu import CommandLine
from pytest_vswitch.apps.qemu import Parameters
from pytest_vswitch.errors import DutError

PAUSED = ["-S", "-accel", "tcg"]


def asked(argv: Sequence[str], *commands: str) -> list[object]:
    """What the real QEMU, paused, answers by QMP before it is told to quit."""
    lines = ["qmp_capabilities", *commands, "quit"]
    done = subprocess.run(
        [*argv, *PAUSED],
        input="".join(json.dumps({"execute": line}) + "\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return [answer["return"] for answer in answers if "return" in answer][1:-1]


@pytest.mark.parametrize(
    ("version", "form"),
    [
        ("0.13.0", "ivshmem"),
        ("1.6.2", "ivshmem"),
        ("2.5.1", "ivshmem"),
        ("2.6.0", "ivshmem-plain"),
        ("3.1.0", "ivshmem-plain"),
        ("4.0.0", "ivshmem-plain"),
        ("7.2.22", "ivshmem-plain"),
        ("10.0", "ivshmem-plain"),
    ],
)
def test_each_version_has_its_device(version: str, form: Form) -> None:
    assert ivshmem.form(version) == form


@pytest.mark.parametrize("version", ["0.12.5", "unknown"])
def test_a_qemu_without_one_is_told(version: str) -> None:
    with pytest.raises(DutError, match=f"QEMU {version} has no IVSHMEM device: take 0.13 or later"):
        ivshmem.form(version)


def test_the_words_of_the_guide() -> None:
    regions = [memnic.region(48), memnic.region(49)]
    guide = "-device ivshmem,size=16,shm=/ovs_dpdk_48 -device ivshmem,size=16,shm=/ovs_dpdk_49"
    assert ivshmem.argv(regions, "ivshmem") == guide.split()


@pytest.fixture
def region(tmp_path: Path) -> Region:
    """A MEMNIC region whose file is not in /dev/shm, which others use."""
    path = tmp_path / "ovs_dpdk_48"
    path.write_bytes(bytes(memnic.SIZE_MB << 20))

    class Elsewhere(Region):
        @property
        def path(self) -> str:
            return str(path)

    return Elsewhere("ovs_dpdk_48", memnic.SIZE_MB)


def test_todays_qemu_takes_the_plain_device(region: Region) -> None:
    argv = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-qmp", "stdio", "-m", "16"]
    (memory, pci) = asked(
        [*argv, *ivshmem.argv([region], "ivshmem-plain")], "query-memdev", "query-pci"
    )
    assert isinstance(memory, list)
    assert ("shared0", 16 << 20, True) in [(one["id"], one["size"], one["share"]) for one in memory]
    assert isinstance(pci, list)
    ids = {
        f"{device['id']['vendor']:x}:{device['id']['device']:x}": device
        for device in pci[0]["devices"]
    }
    bars = ids[ivshmem.PCI_ID]["regions"]
    assert [bar["size"] for bar in bars if bar["bar"] == 2] == [16 << 20]


def test_todays_qemu_knows_the_guides_device_no_more(region: Region) -> None:
    """If one does again, the table of versions is wrong."""
    argv = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-m", "16"]
    done = subprocess.run(
        [*argv, *ivshmem.argv([region], "ivshmem"), *PAUSED],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "'ivshmem' is not a valid device model name" in done.stderr


# --- the guest's command line ---------------------------------------------------------------


def command_line(tmp_path: Path, region: Region, *, login: bool) -> CommandLine:
    for name in ("disk.qcow2", "seed.iso"):
        form = "qcow2" if name.endswith("qcow2") else "raw"
        path = str(tmp_path / name)
        subprocess.run(["qemu-img", "create", "-q", "-f", form, path, "1M"], check=True)
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "Makefile").write_text("all:\n")
    image = GuestImage(
        kernel="",
        initramfs="",
        release="",
        testpmd="",
        disks=(
            Disk(str(tmp_path / "disk.qcow2"), "qcow2"),
            *(() if login else (Disk(str(tmp_path / "seed.iso"), "raw", read_only=True),)),
        ),
        login=Login("root", 20999, "/key", "", "") if login else None,
    )
    guest = Parameters(
        image=image,
        accelerator="tcg",
        vcpus=2,
        memory_mb=16,
        hugepage_kb=None,
        guest_hugepages=0,
        ports=(),
    )
    devices = ivshmem.argv([region], "ivshmem-plain")
    return CommandLine(guest=guest, share=str(tmp_path / "share"), devices=devices)


@pytest.mark.parametrize("login", [False, True])
def test_todays_qemu_takes_the_whole_command_line(
    tmp_path: Path, region: Region, login: bool
) -> None:
    line = command_line(tmp_path, region, login=login)
    argv = line.argv("qemu-system-x86_64", str(tmp_path))
    answers = asked([*argv, "-qmp", "stdio"], "query-status", "query-block", "query-chardev")
    status, blocks, chardevs = answers
    assert isinstance(status, dict)
    assert isinstance(blocks, list)
    assert isinstance(chardevs, list)
    assert status["status"] == "prelaunch"
    assert [one["device"] for one in blocks][:2] == ["ide0-hd0", "ide0-hd1"]
    assert {"shell", "testpmd"} <= {one["label"] for one in chardevs}


def test_the_releases_own_is_a_process_of_dpdks(tmp_path: Path, region: Region) -> None:
    line = command_line(tmp_path, region, login=False)
    own = CommandLine(guest=line.guest, share=line.share, devices=line.devices, eal_cores=(4, 5))
    argv = own.argv("/opt/qemu", "/run/it")
    assert argv[:8] == ["/opt/qemu", *["-c", "0x30", "--proc-type", "secondary", "-n", "4", "--"]]
    assert argv[8:] == line.argv("/opt/qemu", "/run/it")[1:]
