"""Whether KVM works: tried, not trusted.

On some machines /dev/kvm opens and every guest then hangs in its kernel. A guest that is
the kernel and nothing else decides, with a deadline, once per boot, kernel and QEMU. Only a
QEMU that refuses at once is asked again each time: that costs little, and may be mended.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath

from pytest_vswitch.apps.guest_image import GuestImage, find_kernel
from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.host import Host

DEADLINE_S = 15.0
"""A guest on a working KVM says its word within a second or two [s]."""

_WORD = "Unable to mount root fs"
"""What a kernel says that has come up, and finds nothing to run."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What runs the guest's instructions."""

    name: str
    """`kvm` or `tcg`."""
    reason: str
    """Why not KVM; empty when it is."""


def choose(host: Host, wanted: str, image: GuestImage, qemu: str) -> Accelerator:
    """The lab's choice (`auto`, `kvm`, `tcg`), held against what this host can do.

    Raises HostError when the lab asks for KVM and it does not work.
    """
    if wanted == "tcg":
        return Accelerator("tcg", "the lab asks for it")
    found = _probe_once(host, image, qemu)
    if wanted == "kvm" and found.name != "kvm":
        raise HostError(
            f"{host.name}: guest.accelerator is kvm, but {found.reason}; `auto` would take tcg"
        )
    return found


def _probe_once(host: Host, image: GuestImage, qemu: str) -> Accelerator:
    if not host.exists("/dev/kvm"):
        return Accelerator("tcg", "there is no /dev/kvm")
    if not image.kernel:  # its disk has one; whether KVM works, any tells
        kernel = find_kernel(host, "auto")
        release = PurePosixPath(kernel).name.removeprefix("vmlinuz-")
        image = replace(image, kernel=kernel, release=release)
    boot_id = host.read_text("/proc/sys/kernel/random/boot_id").strip()
    version = host.ask([qemu, "--version"]).output.partition("\n")[0]
    asked = {"boot": boot_id, "qemu": version, "kernel": image.release}
    path = f"{host.cache}/kvm.json"
    if host.exists(path):
        try:
            known = json.loads(host.read_text(path))
            if known["asked"] == asked:
                return Accelerator(**known["found"])
        except (ValueError, KeyError, TypeError):
            pass  # written by another version or cut off: ask again
    found, lasting = _probe(host, image, qemu)
    if lasting:
        part = f"{path}.{PurePosixPath(host.scratch).name}"
        host.run(["mkdir", "-p", host.cache], why="whether KVM works holds until the next boot")
        host.write_text(part, json.dumps({"asked": asked, "found": asdict(found)}))
        host.run(["mv", part, path])
    return found


def _probe(host: Host, image: GuestImage, qemu: str) -> tuple[Accelerator, bool]:
    """What is found, and whether it holds until the next boot."""
    argv = [qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    argv += ["-machine", "q35", "-accel", "kvm", "-cpu", "host", "-m", "256", "-serial", "stdio"]
    argv += ["-kernel", image.kernel, "-append", "console=ttyS0 quiet panic=-1"]
    try:
        tried = host.ask(argv, timeout_s=DEADLINE_S, check=False, why="does KVM work?")
    except HostError:
        hung = f"/dev/kvm opens, but a guest on it hung for {DEADLINE_S:g} s in its kernel"
        return Accelerator("tcg", hung), True
    if _WORD in tried.output:
        return Accelerator("kvm", ""), True
    said = tried.output.strip().splitlines()[-1:] or ["nothing"]
    if tried.status < 0:
        return Accelerator("tcg", f"QEMU crashes with a guest on /dev/kvm: {said[0]}"), True
    # A refusal, e.g. for want of a permission, may be mended before the next run.
    return Accelerator("tcg", f"QEMU refuses a guest on /dev/kvm: {said[0]}"), False
