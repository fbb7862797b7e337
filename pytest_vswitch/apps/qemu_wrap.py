"""What the guide's `qemu-wrap.py` does, for vhost-user: QEMU with what dpdk-vhost needs.

    python -m pytest_vswitch.apps.qemu_wrap -m 4096 -device virtio-net-pci,netdev=... ...

puts the guest's memory on the hugetlbfs that is mounted, shared and allocated at once, turns
the offloads of each virtio-net device off, and becomes QEMU. All else is passed on. libvirt
calls it as `<emulator>`: point a link or a two-line script there. Its environment says which
QEMU (`QEMU_WRAP_EMULATOR`, default qemu-system-x86_64).

DPDK's "Vhost Sample Application", QEMU Wrapper Script. It runs where QEMU does, by itself.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

OFFLOADS = ("csum", "gso", "guest_tso4", "guest_tso6", "guest_ecn")
"""Of a virtio-net device, which the sample's guide wants off."""

EMULATOR = "QEMU_WRAP_EMULATOR"

_MEMORY = re.compile(r"(?:size=)?(\d+)([kKmMgG]?)")
_MB = {"": 1, "k": 1 / 1024, "m": 1, "g": 1024}


def hugetlbfs(mounts: str) -> str:
    """Where the first hugetlbfs of /proc/mounts is mounted. Raises ValueError."""
    for line in mounts.splitlines():
        _, target, kind, *_ = line.split()
        if kind == "hugetlbfs":
            return target.replace("\\040", " ")
    raise ValueError(
        "no hugetlbfs is mounted: mkdir -p /dev/hugepages; mount -t hugetlbfs nodev /dev/hugepages"
    )


def wrapped(argv: Sequence[str], mount: str) -> list[str]:
    """QEMU's options as dpdk-vhost needs them.

    What already says where memory lies, or has an offload, is left as it is. Raises
    ValueError for a size of memory that cannot be read.
    """
    words = [_without_offloads(argv[n - 1] if n else "", word) for n, word in enumerate(argv)]
    asks_only = {"-help", "--help", "-h", "-version", "--version"} & set(words)
    # libvirt asks a QEMU without a machine what it can do.
    asks_only |= {word for word in words if re.match(r"none(,|$)", word)}
    if asks_only or any(_memory_is_placed(word) for word in words):
        return words
    memory_mb = _memory_mb(words)
    backend = f"memory-backend-file,id=vhost-memory,size={memory_mb}M,mem-path={mount}"
    words += ["-object", f"{backend},share=on,prealloc=on"]
    # QEMU merges several -machine.
    return [*words, "-machine", "memory-backend=vhost-memory"]


def _without_offloads(option: str, word: str) -> str:
    if option not in ("-device", "--device") or not word.startswith("virtio-net-pci"):
        return word
    named = {part.partition("=")[0] for part in word.split(",")}
    return ",".join([word, *(f"{name}=off" for name in OFFLOADS if name not in named)])


def _memory_is_placed(word: str) -> bool:
    return word.startswith(("-mem-path", "--mem-path", "memory-backend-")) or (
        '"qom-type":"memory-backend' in word.replace(" ", "")
    )


def _memory_mb(words: Sequence[str]) -> int:
    """What `-m` says; QEMU's own default is 128 MB."""
    for option, value in itertools.pairwise(words):
        if option in ("-m", "--m"):
            found = _MEMORY.match(value)
            if not found:
                raise ValueError(f"cannot read the size of memory in `-m {value}`")
            return max(1, int(int(found[1]) * _MB[found[2].lower()]))
    return 128


def main(argv: Sequence[str]) -> int:
    """Become QEMU; returns only when that cannot be."""
    program = os.environ.get(EMULATOR, "qemu-system-x86_64")
    try:
        words = wrapped(argv, hugetlbfs(Path("/proc/mounts").read_text()))
        os.execvp(program, [program, *words])
    except (ValueError, OSError) as error:
        print(f"qemu_wrap: error: {error}", file=sys.stderr)
    return 4


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
