"""The virtual DUT of the tests in this directory, from the outside."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_vswitch import cli
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab import loader
from pytest_vswitch.vlab import keys, ports
from pytest_vswitch.vlab.state import Place
from tests.machines import state

NAME = f"proof{os.getpid()}"

PORTS = ("0000:01:00.0", "0000:02:00.0")
SETTINGS = (
    "/proc/sys/vm/swappiness",
    "/proc/sys/net/ipv6/conf/enp*/disable_ipv6",
    "/sys/class/net/*/flags",
    "/sys/bus/pci/devices/*/sriov_drivers_autoprobe",
)
"""More that a run may change; see `state.SETTINGS`."""


@dataclass(frozen=True)
class Virtual:
    """The booted DUT."""

    host: Host
    place: Place
    lab: str
    """Path of its lab file."""
    alone: str
    """Of one that leaves out the generator, which is this machine: others use that, too."""
    before: dict[str, object]
    """What was on this machine before it."""

    def ask(self, *argv: str, stdin: str = "") -> str:
        """Run a command on it, by the ssh that a user has; its output."""
        command = [*keys.ssh(self.place, "BatchMode=yes"), *argv]
        return self.host.run(command, stdin=stdin, timeout_s=120).output

    def vswitch(self, action: str, *options: str) -> None:
        assert cli.main(["lab", action, self.lab, *options]) == 0

    def cut_power(self) -> None:
        """Returns when it is off; what it had not synced is lost."""
        os.kill(int(self.place.qemu_pid.read_text()), signal.SIGKILL)
        wait_for(lambda: self.place.supervisor() is None, "end of the supervisor")

    def snapshot(self, *directories: str) -> dict[str, str]:
        """Processes, mounts, files, links and settings, each with its state."""
        wanted = {"directories": list(directories), "more_settings": list(SETTINGS)}
        # ssh joins its words by spaces, for a shell there.
        program = ("python3", "-I", "-", f"'{json.dumps(wanted)}'")
        found: dict[str, str] = json.loads(
            self.ask(*program, stdin=Path(state.__file__).read_text())
        )
        return {name: what for name, what in found.items() if not _is_its_own(name)}


def _is_its_own(name: str) -> bool:
    """What of a snapshot comes and goes by itself: session of who asks, services at work."""
    return name.startswith(("process (", "process /lib/systemd/", "process python3 -I"))


def differences(before: dict[str, str], now: dict[str, str]) -> str:
    """What is not as it was, with how it was and is; a line for each."""
    names = sorted({name for name, _ in before.items() ^ now.items()})
    return "\n".join(
        f"{name}: {before.get(name, 'not there')} -> {now.get(name, 'gone')}" for name in names
    )


def lab_texts() -> tuple[str, str]:
    """`labs/vlab.yaml` for the DUT of these tests, and the same without the generator."""
    text = (loader.packaged() / "vlab.yaml").read_text()
    text = text.replace("root@vlab", f"root@{NAME}").replace("labs/vlab/", f"labs/{NAME}/")
    text = text.replace("netns: vlab-vlab", f"netns: vlab-{NAME}")
    dut, _, _ = text.partition("generator:\n  host:")
    return text, dut


def seen(name: str) -> dict[str, object]:
    """What a virtual DUT of this name may leave: processes, namespaces, interfaces, files."""
    processes = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if name in words.split("\0") or f"/{name}/" in words:
            processes.append(words)
    return {
        "processes": processes,
        "namespaces": sorted(path.name for path in Path("/run/netns").glob(f"*{name}*")),
        "interfaces": sorted({*ports.NAMES} & {*os.listdir("/sys/class/net")}),
        "files": sorted(map(str, Place(name).root.glob(f"**/*{name}*"))),
        "scratch": sorted(path.name for path in Path("/tmp").glob("vlab-*")),
    }


def wait_for(fact: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not fact():
        assert time.monotonic() < deadline, f"no {what} within 60 s"
        time.sleep(0.05)  # polls
