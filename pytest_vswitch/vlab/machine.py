"""A virtual DUT as a whole: up, reboot, down."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import time
from collections.abc import Callable

from pytest_vswitch.errors import DeadlineError, DutError, HostError, InputError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.vlab import disk, image, keys, ports, qemu10, supervisor
from pytest_vswitch.vlab.debian import Say
from pytest_vswitch.vlab.state import Hardware, Place, locked

NEEDED = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "setpriv": "util-linux",
}
"""Programs that it takes, and the Debian packages that have them."""

BOOT_S = 240.0
"""How long it may take until sshd answers; some 15 s on a quiet machine [s]."""

_START_S = 30.0
"""How long the supervisor may take to start; half a second on a quiet machine [s]."""

_QUIET_S = 60.0
"""After this, ssh is tried even if the console says nothing: it need not be on ttyS0 [s]."""

_STOP_S = 20.0
"""How long supervisor and QEMU may take to end [s]."""

_BOOT_ID = ["cat", "/proc/sys/kernel/random/boot_id"]


def up(host: Host, place: Place, say: Say) -> None:
    """Boot it, from its own disk if there is one, else from a new one; ssh then works.

    Raises InputError for what is missing here, HostError or DutError when it does not boot:
    then nothing new is left.
    """
    _require(host)
    with locked(place.root, say):
        if place.supervisor() is not None:
            say("it is up")
            return
        hardware = Hardware(
            qemu=str(qemu10.prepare(host, place.root, say)),
            ssh_port=free_port(place.hardware()),
            netns=place.netns,
        )
        _require_memory(host, hardware.memory_mb)
        new = not place.disk.exists()
        try:
            if new:
                _make_disk(host, place, say)
            place.write_hardware(hardware)
            keys.write_config(place, hardware)
            ports.make(host, hardware.netns)
            say("booting")
            seen = _console_length(place)
            supervisor.start(place, host.python("pytest_vswitch.vlab.supervisor"))
            _wait_for_boot(host, place, seen=seen)
        except BaseException:
            stop(place)
            if new:
                _remove(host, place)
            raise


def reboot(host: Host, place: Place, say: Say, *, append: str = "") -> None:
    """Restart its kernel, with more words on its command line; wait until ssh works again.

    Raises InputError when it is not up, DutError when it does not come back.
    """
    require_up(place)
    before = host.ask([*keys.ssh(place), *_BOOT_ID]).output
    if append:
        now = host.ask([*keys.ssh(place), "cat", image.CMDLINE]).output
        write = [*keys.ssh(place), "tee", image.CMDLINE]
        host.run(write, stdin=f"{with_words(now, append)}\n", why="for the next boot")
    say("rebooting")
    seen = _console_length(place)
    # The connection may go before the command's status is told.
    host.run([*keys.ssh(place), "systemctl", "reboot"], check=False)
    _wait_for_boot(host, place, seen=seen, since=before)


def with_words(cmdline: str, words: str) -> str:
    """A kernel command line with `words` in place of those of the same name."""
    names = {word.partition("=")[0] for word in words.split()}
    kept = [word for word in cmdline.split() if word.partition("=")[0] not in names]
    return " ".join([*kept, *words.split()])


def down(host: Host, place: Place, say: Say) -> None:
    """End it and remove all that is its own: disk, keys, namespace, processes.

    Raises HostError when something of it is in use.
    """
    with locked(place.root, say):
        if place.supervisor() is None and not place.directory.exists():
            say("it is not up, and nothing is left of it")
        stop(place)
        _remove(host, place)


def stop(place: Place) -> None:
    """End supervisor and QEMU, as a power cut does. Raises HostError."""
    deadline = time.monotonic() + _STOP_S
    signals = [signal.SIGTERM, signal.SIGKILL]
    while (pid := place.supervisor()) is not None:
        if signals:
            os.kill(pid, signals.pop(0))
        _until(lambda: place.supervisor() is None, min(deadline, time.monotonic() + _STOP_S / 2))
        if time.monotonic() > deadline:
            raise HostError(f"the supervisor of {place.name} (pid {pid}) cannot be ended")
    # One that was killed takes QEMU with it a moment later.
    _until(lambda: not _holds_disk(place), deadline)


def require_up(place: Place) -> None:
    """Raise InputError unless it runs."""
    if place.supervisor() is None:
        raise InputError(f"{place.name} is not up: `vswitch lab up {place.name}` boots it")


def _require(host: Host) -> None:
    if not host.is_root():
        raise InputError("a virtual DUT needs root here, for its network namespace: use sudo")
    missing = {package for program, package in NEEDED.items() if not host.which(program)}
    if missing:
        raise InputError(
            f"a virtual DUT needs {', '.join(sorted(missing))}: "
            f"`apt install {' '.join(sorted(missing))}`"
        )
    if not host.exists("/dev/net/tun"):
        raise InputError("this kernel has no TAP devices (/dev/net/tun): `modprobe tun`")


def _require_memory(host: Host, needed_mb: int) -> None:
    found = re.search(r"MemAvailable:\s+(\d+) kB", host.read_text("/proc/meminfo"))
    available_mb = int(found[1]) // 1024 if found else 0
    if available_mb < needed_mb:
        raise InputError(f"the virtual DUT has {needed_mb} MB; only {available_mb} MB are free")


def free_port(before: Hardware | None) -> int:
    """A free TCP port of the loopback, the one from before if it is still free."""
    for port in (before.ssh_port if before else 0, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise HostError("no TCP port of 127.0.0.1 is free")


def _make_disk(host: Host, place: Place, say: Say) -> None:
    base = image.prepare(host, place.root, say)
    host.run(["rm", "-rf", str(place.directory)], why="an earlier try")
    place.directory.mkdir(parents=True, mode=0o700)
    for source, target in ((base.kernel, place.kernel), (base.initrd, place.initrd)):
        host.run(["cp", str(source), str(target)])
    part = place.disk.with_suffix(".part")
    disk.copy(host, base.disk, part)
    keys.make(host, place, part)
    part.rename(place.disk)


def _wait_for_boot(host: Host, place: Place, *, seen: int, since: str = "") -> None:
    """Wait until ssh works and the boot is another one than `since`.

    `seen` is how long its console's log was before [bytes]. Raises DutError, with what the
    machine said, when it is off or takes too long.
    """
    deadline = time.monotonic() + BOOT_S
    ask_anyway = time.monotonic() + _QUIET_S
    argv = [*keys.ssh(place, "ConnectTimeout=30", "BatchMode=yes"), *_BOOT_ID]
    started_by = time.monotonic() + _START_S
    while True:
        alive = place.supervisor() is not None
        started_by = 0.0 if alive else started_by
        if time.monotonic() > deadline:
            raise DeadlineError(f"{place.name} did not boot within {BOOT_S:g} s{_said(place)}")
        if not alive and time.monotonic() > started_by:
            raise DutError(f"{place.name} did not boot{_said(place)}")
        if _is_ready(place, seen) or time.monotonic() > ask_anyway:
            done = host.ask(argv, timeout_s=60, check=False)
            if done.status == 0 and done.output != since:
                return
            ask_anyway = time.monotonic() + _QUIET_S / 10
        time.sleep(0.1)  # polls its console's log


def _console_length(place: Place) -> int:
    return place.console.stat().st_size if place.console.exists() else 0


def _is_ready(place: Place, seen: int) -> bool:
    if not place.console.exists():
        return False
    with place.console.open("rb") as log:
        log.seek(seen)
        return image.READY.encode() in log.read()


def _said(place: Place) -> str:
    text = ""
    for path in (place.log, place.console):
        try:
            lines = path.read_text(errors="replace").splitlines()[-8:]
        except OSError:
            continue
        text += f"\n{path}:\n" + "\n".join(f"    {line.rstrip()}" for line in lines)
    return text


def _holds_disk(place: Place) -> bool:
    """Whether a process has the disk open."""
    wanted = str(place.disk)
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                for descriptor in os.scandir(f"{entry.path}/fd"):
                    if os.readlink(descriptor.path) == wanted:
                        return True
            except OSError:  # gone meanwhile
                continue
    return False


def _until(fact: Callable[[], bool], deadline: float) -> None:
    while not fact() and time.monotonic() < deadline:
        time.sleep(0.02)  # polls for the end of a process


def _remove(host: Host, place: Place) -> None:
    ports.remove(host, place.netns)
    host.run(["rm", "-rf", "--one-file-system", str(place.directory)])
    with contextlib.suppress(OSError):  # another one's is there
        place.directory.parent.rmdir()


def login(place: Place) -> str:
    """The command that a user types to log in."""
    return shlex.join(keys.ssh(place))
