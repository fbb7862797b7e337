"""A run of `vfd` that brings it up and sets every function, step by step; then it waits or ends.

`python -m tests.vlab.vfd_at_work LAB LAST`: after each step it says `step NUMBER WHAT`. It stops
at the first step whose text has LAST in it, or whose number it is; without such a step it ends.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, cast

from pytest_vswitch.apps import ip_link_vf
from pytest_vswitch.hosts.host import Completed, Host, Process
from pytest_vswitch.hosts.opening import open_host
from pytest_vswitch.lab import loader
from pytest_vswitch.topologies import vfd

RUN = "vfd-at-work"
RECONNECT_S = 2.0
"""How soon the DUT takes a controller that is gone for dead."""
FUNCTIONS = (
    ip_link_vf.mac_address(0, "A0:36:9F:7B:C3:51"),
    ip_link_vf.trust(0, True),
    ip_link_vf.spoof_check(0, False),
    ip_link_vf.rate_limit(0, 10),
    ip_link_vf.vlan(0, 100, 3),
    ip_link_vf.port(False),
    ip_link_vf.port(True),
)


class Stepping:
    """A host that says what is done to it."""

    def __init__(self, host: Host, last: str) -> None:
        self._host = host
        self._last = last
        self._steps = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        done = self._host.run(argv, **options)
        self._step(" ".join(argv))
        return done

    def spawn(self, argv: Sequence[str], **options: Any) -> Process:
        process = self._host.spawn(argv, **options)
        self._step(f"start {options['name']}")
        return process

    def write_text(self, path: str, text: str) -> None:
        self._host.write_text(path, text)
        self._step(f"{path} = {text.strip()}")

    def write_bytes(self, path: str, data: bytes) -> None:
        self._host.write_bytes(path, data)
        self._step(f"{path} = {data.decode().strip()}")

    def _step(self, what: str) -> None:
        self._steps += 1
        print(f"step {self._steps} {what}", flush=True)
        if self._last == str(self._steps) or (not self._last.isdecimal() and self._last in what):
            sys.stdin.read()


def main(path: str, last: str) -> None:
    lab = loader.load(path)
    assert lab.dut.ssh is not None
    ssh = lab.dut.ssh.model_copy(update={"reconnect_s": RECONNECT_S})
    lab = lab.model_copy(update={"dut": lab.dut.model_copy(update={"ssh": ssh})})
    with open_host(lab, run=RUN) as host:
        stepping = cast(Host, Stepping(host, last))
        with vfd.provision(lab, stepping) as topology:
            for words in FUNCTIONS:
                topology.pf.set(words)
            print("set", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
