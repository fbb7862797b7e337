"""Our door to a test's machine, and what a run does behind it."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import changes
from pytest_vswitch.hosts.host_process import HostProcess
from pytest_vswitch.hosts.open_host import OpenHost
from pytest_vswitch.hosts.opening import LOOK, open_address
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.lab.remote import Ssh
from tests.machines.machine import Machine
from tests.machines.network import START_S

KNOB = "/sys/kernel/mm/ksm/run"
"""A setting that a reboot forgets."""
FILE = "/etc/vfio.conf"
"""A file that a reboot keeps."""
MADE = "/root/made"
"""A directory that the run makes."""
KERNEL_FILES = {KNOB: "0\n"}

PATIENT_S = 300.0
"""A `reconnect_s` that no test waits for."""
HASTY_S = 3.0
"""One that tests wait for."""

IN_ORDER_S = 20.0
"""How long a host may take to put itself in order, once nobody holds it [s]."""

_MAY_DIFFER = {
    "file /run/pytest-vswitch",  # these two stay, empty, for the next run
    "file /var/lib/pytest-vswitch/.queue",
    "file /run/sshd.pid",  # and these the tests themselves change
    "file /etc/ssh/ssh_host_ed25519_key",
    *("mount /", "mount /run", "mount /tmp", "mount /dev/shm"),  # in size
}

Facts = dict[str, str]


def reached(machine: Machine, **given: Any) -> Ssh:
    """A lab's `ssh` section for the machine."""
    section = {
        "config": "none",
        "identity": str(machine.client_key),
        "known_hosts": str(machine.known_hosts),
        "connect_timeout_s": 2.0,
        "keepalive_s": 1.0,
        "reconnect_s": PATIENT_S,
    }
    return Ssh(**{**section, **given})


@contextlib.contextmanager
def opened(
    machine: Machine,
    run: str = "run-1",
    *,
    user: str = "root",
    transcript: Transcript | None = None,
    wait_s: float = 0.0,
    tell: Callable[[str], None] = print,
    **given: Any,
) -> Iterator[OpenHost]:
    """The machine over SSH; with a `run`, held for it."""
    with open_address(
        f"{user}@{machine.address}",
        reached(machine, **given),
        run=run,
        transcript=transcript,
        wait_s=wait_s,
        tell=tell,
    ) as host:
        yield host


def looked_at(machine: Machine, **given: Any) -> contextlib.AbstractContextManager[OpenHost]:
    """The machine over SSH, by one who only looks."""
    return opened(machine, LOOK, **given)


@contextlib.contextmanager
def at_work(host: OpenHost) -> Iterator[HostProcess]:
    """A run in its midst: settings and files changed, a program running."""
    with (
        changes.rewriting(host, KNOB, "1\n"),
        changes.writing_file(host, FILE, b"ours"),
        changes.making_directory(host, MADE),
        host.spawn(["cat"], name="cat") as program,
    ):
        yield program


@contextlib.contextmanager
def failing(words: str) -> Iterator[list[str]]:
    """The block ends with a HostError that says so (a regular expression); yields what it says."""
    said: list[str] = []
    try:
        yield said
    except HostError as error:
        said.append(str(error))
        assert re.search(words, said[0]), said[0]
    assert said, f"nothing failed with: {words}"


def wait_until_as_found(machine: Machine, before: Facts) -> None:
    """Until nothing of any run is left on the machine, seen without any door of ours."""
    differs: set[str] = set()

    def is_as_found() -> bool:
        nonlocal differs
        now = machine.snapshot()
        changed = {name for name, _ in before.items() ^ now.items()}
        differs = {name for name in changed - _MAY_DIFFER if not _is_not_ours(name)}
        return not differs

    deadline = time.monotonic() + IN_ORDER_S
    while not is_as_found():
        assert time.monotonic() < deadline, f"left there: {sorted(differs)}"
        time.sleep(0.05)  # polls


def _is_not_ours(name: str) -> bool:
    """Whether it is a setting of the machine that the tests run on, or sudo's own file."""
    if name.startswith("file /run/sudo"):
        return True
    return name.startswith("setting ") and name.partition(" ")[2] not in KERNEL_FILES


class InBackground:
    """Something that takes its time, in a thread; what came of it at the end of the block."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:
            self._error = error

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> Any:
        """Raises what the work raised."""
        self._thread.join(START_S)
        assert self.done, "it does not come to an end"
        if self._error:
            raise self._error
        return self._value
