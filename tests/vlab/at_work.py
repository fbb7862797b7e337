"""A run that changes a virtual DUT in every way that a run can, up to a step; then it waits.

`python -m tests.vlab.at_work ADDRESS SSH LAST`: LAST is the last step, SSH the lab's section as
JSON. It says `step NAME` after each.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

from pytest_vswitch.hosts import changes
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.opening import open_address
from pytest_vswitch.lab.remote import Ssh

RUN = "at-work"

_PORTS = ("0000:01:00.0", "0000:02:00.0")
_PCI = "/sys/bus/pci/devices"
_PAGES = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
_SERIAL_IRQ = 4
_PLACE = "/root/at-work"


def _function(host: Host) -> str:
    return host.read_link(f"{_PCI}/{_PORTS[1]}/virtfn0").rpartition("/")[2]


def _more_pages(host: Host) -> str:
    return f"{int(host.read_text(_PAGES)) + 16}\n"


STEPS: dict[str, Callable[[Host], AbstractContextManager[object]]] = {
    "binding": lambda host: changes.binding(host, _PORTS[0], "vfio-pci"),
    "functions": lambda host: changes.virtual_functions(host, _PORTS[1], 2),
    "binding a function": lambda host: changes.binding(host, _function(host), "vfio-pci"),
    "hugepages": lambda host: changes.rewriting(host, _PAGES, _more_pages(host)),
    "interrupt": lambda host: changes.irq_affinity(host, _SERIAL_IRQ, [1]),
    "sysctl": lambda host: changes.sysctl(host, "vm.swappiness", "7"),
    "directory": lambda host: changes.making_directory(host, _PLACE),
    "mount": lambda host: changes.mounting(host, "at-work", _PLACE, "tmpfs"),
    "bridge": lambda host: changes.interface(host, "br-at-work", "bridge"),
    "tap": lambda host: changes.interface(host, "tap-at-work", "tap"),
    "new file": lambda host: changes.writing_file(host, "/etc/at-work.conf", b"ours\n"),
    "file": lambda host: changes.writing_file(host, "/etc/hosts", b"ours\n" * 1000),
    "program": lambda host: host.spawn(["sleep", "3600"], name="sleep"),
}
"""What each changes, in order."""


def main(address: str, ssh: str, last: str) -> None:
    with (
        open_address(address, Ssh.model_validate_json(ssh), run=RUN) as host,
        contextlib.ExitStack() as stack,
    ):
        for name, step in STEPS.items():
            stack.enter_context(step(host))
            print(f"step {name}", flush=True)
            if name == last:
                break
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
