"""The process that keeps one virtual DUT running after `vswitch lab up` has ended.

QEMU is started anew at each reset of the machine, with the kernel command line that is on the
disk by then. A power-off, or a QEMU that was killed (a power cut), ends both; so does SIGTERM.
Should the supervisor be killed, the kernel kills QEMU.

    python -m pytest_vswitch.vlab.supervisor ROOT NAME

It starts QEMU itself, not through a host: what a host starts ends with the command that asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_vswitch.errors import HostError, VswitchError
from pytest_vswitch.hosts.leftovers import MARK
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.vlab import disk, image, ports, qemu10
from pytest_vswitch.vlab.state import Hardware, Place

RESET = "guest-reset"
"""QMP's reason when the machine was rebooted from within."""

_END_S = 10.0
"""How long QEMU may take to end after its last word [s]."""

KILLED = "killed"
"""Our word for a QEMU that went without telling why."""


def start(place: Place, python: Sequence[str]) -> None:
    """Start the supervisor of a machine that is off; it belongs to no run, and runs on."""
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    with place.log.open("ab") as log:
        subprocess.run(
            ["setsid", "--fork", *python, str(place.root), place.name],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=environment,
            check=True,
        )


def main(root: str, name: str) -> int:
    """Run the machine until it is off. What goes wrong is told on standard error."""
    place = Place(name, Path(root))
    try:
        place.supervise()
        hardware = place.hardware()
        if hardware is None:
            raise HostError(f"{name} has no hardware.json: `vswitch lab up {name}` makes it")
        while True:
            why = _boot(place, hardware)
            print(f"supervisor: the machine is off: {why}", file=sys.stderr, flush=True)
            if why != RESET:
                return 0
    except VswitchError as error:
        print(f"supervisor: error: {error}", file=sys.stderr, flush=True)
        return 4
    finally:
        place.qemu_pid.unlink(missing_ok=True)


def _boot(place: Place, hardware: Hardware) -> str:
    """From power-on to the end of QEMU; why it ended, in QMP's words. Raises HostError."""
    with tempfile.TemporaryDirectory(prefix="vlab-") as scratch:
        host = LocalHost("vlab", Transcript(Path(scratch)))
        disk.replay(host, place.disk)
        cmdline = " ".join(disk.read(host, place.disk, image.CMDLINE).split())
    print(f"supervisor: boots with `{cmdline}`", file=sys.stderr, flush=True)
    taps = ports.open_taps(hardware.netns)
    ours, theirs = socket.socketpair()
    try:
        descriptors = qemu10.Descriptors(theirs.fileno(), taps)
        argv = [
            *("setpriv", "--pdeathsig", "KILL", "--"),
            *qemu10.program(Path(hardware.qemu)),
            *qemu10.arguments(place, hardware, cmdline, descriptors),
        ]
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, pass_fds=[descriptors.qmp, *taps], cwd="/"
        )
    finally:
        theirs.close()
        for tap in taps:
            os.close(tap)
    place.qemu_pid.write_text(f"{process.pid}\n")
    try:
        why = asyncio.run(_follow(ours))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
        return why
    finally:
        process.kill()
        process.wait()
        place.qemu_pid.unlink(missing_ok=True)


async def _follow(stream: socket.socket) -> str:
    """Why QEMU ended: the reason of its SHUTDOWN event, or `KILLED`."""
    from qemu.qmp import EventListener, QMPClient, QMPError

    client = QMPClient("vlab")
    listener = EventListener(names=["SHUTDOWN"])
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with client.listen(listener):
        with contextlib.suppress(QMPError, EOFError, OSError):
            await client.connect(stream)
            await client.runstate_changed()
            await client.disconnect()
        events = listener.clear()
    return reason(events[0]) if events else KILLED


def reason(shutdown: Mapping[str, Any]) -> str:
    """Why the machine went down, from QMP's SHUTDOWN event."""
    return str(shutdown["data"]["reason"])


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
        sys.exit(main(*sys.argv[1:]))
