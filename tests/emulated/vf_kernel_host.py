"""A server whose NIC its kernel's driver has: as `sriov_host`, with `ip link`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pytest_vswitch.hosts.host import Completed
from tests.emulated.ip_link import PF_NAME, IpLink
from tests.emulated.sriov_host import Server, server
from tests.emulated.vf_kernel import KernelDut
from tests.hosts import pci

DOWN = "0x1002\n"
"""Flags of an interface."""
UP = "0x1003\n"


class KernelServer(Server):
    """This machine, but for its sysfs, its NIC, its testpmd and its `ip`."""

    addresses = ""
    """What `ip address` tells of its interface."""
    dut: KernelDut

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | bytes = "",
        timeout_s: float = 30.0,
        check: bool = True,
        why: str = "",
    ) -> Completed:
        words = list(argv)
        if words == ["uname", "-r"]:
            return Completed(tuple(argv), 0, "6.1.0\n")
        if "link" not in words and words[:2] != ["ip", "-o"]:
            return super().run(argv, stdin=stdin, timeout_s=timeout_s, check=check, why=why)
        if words[1] == "-o":
            return Completed(tuple(argv), 0, self.addresses)
        self.on_step(" ".join(words))
        done = IpLink(self.dut).run(words, timeout_s=timeout_s, check=check)
        if words[-1] in ("up", "down"):
            (self.kernel.sys / f"class/net/{PF_NAME}/flags").write_text(
                UP if words[-1] == "up" else DOWN
            )
        return done

    def ask(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 30.0,
        check: bool = True,
        why: str = "",
    ) -> Completed:
        if "link" in argv or list(argv[:2]) in (["ip", "-o"], ["uname", "-r"]):
            return self.run(argv, timeout_s=timeout_s, check=check, why=why)
        return super().ask(argv, timeout_s=timeout_s, check=check, why=why)


@contextlib.contextmanager
def kernel_server(
    path: Path, monkeypatch: pytest.MonkeyPatch, driver: str = "igb"
) -> Iterator[KernelServer]:
    """With the port 0000:03:00.0 and its kernel driver; its interface is down."""
    with server(path, monkeypatch, KernelDut("igb")) as made:
        made.kernel.knows["ixgbe"] = set()
        made.kernel.knows[driver] = {pci.PF}
        made.kernel.write(str(made.kernel.pci / "devices" / pci.PF / "driver/unbind"), pci.PF)
        made.kernel.probe(pci.PF)
        (made.kernel.pci / "devices" / pci.PF / "net" / PF_NAME).mkdir(parents=True)
        interface = made.kernel.sys / "class/net" / PF_NAME
        interface.mkdir(parents=True)
        (interface / "flags").write_text(DOWN)
        host = object.__new__(KernelServer)
        host.__dict__.update(made.__dict__)
        yield host
