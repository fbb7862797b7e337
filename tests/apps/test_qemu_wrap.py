"""The equivalent of the guide's qemu-wrap.py, judged by the real QEMU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_vswitch.apps import qemu_wrap
from pytest_vswitch.apps.qemu_wrap import OFFLOADS, hugetlbfs, wrapped

MOUNTS = """\
proc /proc proc rw 0 0
nodev /mnt/two\\040words hugetlbfs rw,pagesize=2M 0 0
nodev /dev/hugepages hugetlbfs rw 0 0
"""

GUIDE = [
    *("-machine", "q35,accel=tcg", "-m", "64"),
    *("-netdev", "user,id=hostnet1", "-device", "virtio-net-pci,netdev=hostnet1,id=net1"),
]


def test_the_first_hugetlbfs_is_found() -> None:
    assert hugetlbfs(MOUNTS) == "/mnt/two words"
    with pytest.raises(ValueError, match=r"no hugetlbfs is mounted: .*mount -t hugetlbfs"):
        hugetlbfs("proc /proc proc rw 0 0\n")


def test_offloads_are_off_and_memory_is_shared() -> None:
    made = wrapped(GUIDE, "/dev/hugepages")
    assert made[: len(GUIDE) - 1] == GUIDE[:-1]
    assert made[len(GUIDE) - 1] == (
        "virtio-net-pci,netdev=hostnet1,id=net1,"
        "csum=off,gso=off,guest_tso4=off,guest_tso6=off,guest_ecn=off"
    )
    assert made[len(GUIDE) :] == [
        "-object",
        "memory-backend-file,id=vhost-memory,size=64M,mem-path=/dev/hugepages,share=on,prealloc=on",
        "-machine",
        "memory-backend=vhost-memory",
    ]


@pytest.mark.parametrize(
    ("size", "memory_mb"), [("2G", 2048), ("512", 512), ("size=1g,slots=2", 1024), ("2048k", 2)]
)
def test_every_way_to_say_how_much_memory(size: str, memory_mb: int) -> None:
    assert f"size={memory_mb}M," in wrapped(["-m", size], "/x")[3]


def test_what_a_user_chose_is_left_as_it_is() -> None:
    chosen = [
        *("-object", "memory-backend-memfd,id=mine,size=64M,share=on"),
        *("-device", "virtio-net-pci,netdev=a,csum=on", "-device", "virtio-blk-pci,drive=b"),
    ]
    made = wrapped(chosen, "/x")
    assert made[:3] == chosen[:3]
    assert made[3].startswith("virtio-net-pci,netdev=a,csum=on,gso=off")
    assert made[5:] == ["virtio-blk-pci,drive=b"]
    libvirts = ["-object", '{"qom-type":"memory-backend-file","id":"ram","mem-path":"/y"}']
    assert wrapped(libvirts, "/x") == libvirts
    for question in (["-version"], ["-S", "-machine", "none,accel=kvm:tcg"]):
        assert wrapped(question, "/x") == question


def test_a_size_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot read the size of memory in `-m much`"):
        wrapped(["-m", "much"], "/x")


def test_qemu_takes_it_so(tmp_path: Path) -> None:
    """The real QEMU: memory lies in that directory, shared; every offload is off."""
    argv = wrapped(GUIDE, str(tmp_path))
    asked = [
        {"execute": "qmp_capabilities"},
        {"execute": "query-memdev"},
        *(
            {
                "execute": "qom-get",
                "arguments": {"path": "/machine/peripheral/net1", "property": name},
            }
            for name in OFFLOADS
        ),
        {"execute": "quit"},
    ]
    done = subprocess.run(
        ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", "-qmp", "stdio", *argv],
        input="".join(json.dumps(line) + "\n" for line in asked),
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    returned = [answer["return"] for answer in answers if "return" in answer]
    (memory,) = returned[1]
    assert (memory["id"], memory["size"], memory["share"]) == ("vhost-memory", 64 << 20, True)
    assert memory["prealloc"] is True
    assert returned[2 : 2 + len(OFFLOADS)] == [False] * len(OFFLOADS)


def test_it_becomes_qemu_and_says_what_it_lacks(tmp_path: Path) -> None:
    emulator = tmp_path / "qemu"
    emulator.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    emulator.chmod(0o755)
    command = [sys.executable, "-m", qemu_wrap.__name__, "-version"]
    mounted = "hugetlbfs" in Path("/proc/filesystems").read_text()
    assert mounted, "this kernel has no hugetlbfs"
    space = ["unshare", "--mount", "sh", "-c", 'mount -t hugetlbfs none "$1" && shift && exec "$@"']
    environment = {**os.environ, qemu_wrap.EMULATOR: str(emulator)}
    (tmp_path / "huge").mkdir()
    done = subprocess.run(
        [*space, "sh", str(tmp_path / "huge"), *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "-version\n"
