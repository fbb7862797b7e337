"""libvirt: one of the run's own, the host's, and a guest that it defines, starts and forgets."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_vswitch.apps import domain_xml, libvirt
from pytest_vswitch.apps.guest import Guest
from pytest_vswitch.apps.guest_image import GuestImage
from pytest_vswitch.apps.libvirt import LibvirtMachine
from pytest_vswitch.apps.qemu import Parameters, VhostUserPort
from pytest_vswitch.errors import DutError, InputError
from pytest_vswitch.hosts import undo, undo_domains
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.undo import Change
from pytest_vswitch.lab import loader
from tests.apps.test_qemu import QEMU, plain
from tests.hosts.machine import DEADLINE_S, machine, wait_until
from tests.system.machine import process, processes

PLACES = ("/etc/libvirt", "/run/libvirt", "/var/lib/libvirt", "/var/log/libvirt")


def boot(host: LocalHost, parameters: Parameters) -> contextlib.AbstractContextManager[Guest]:
    return libvirt.boot(host, parameters, program=QEMU, timeout_s=3 * DEADLINE_S)


def kept() -> set[str]:
    """What the host's libvirt keeps."""
    return {str(path) for place in PLACES for path in [Path(place), *Path(place).rglob("*")]}


def run_of(host: LocalHost) -> str:
    return Path(host.scratch).name


@pytest.fixture(scope="module")
def guest(image: GuestImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A guest that runs, pinned; nothing of it stays."""
    before = kept()
    with machine(tmp_path_factory.mktemp("domain")) as here:
        cpu = min(os.sched_getaffinity(0))
        parameters = dataclasses.replace(plain(image), cpus=(cpu, cpu))
        with boot(here, parameters) as up:
            yield up
        assert processes(run_of(here)) == {}
        assert not os.path.exists(f"{here.scratch}/libvirt")
        # Where libvirt is, its own directories were there before.
        assert {path for path in kept() if path not in before} <= set()


# --- what it says -------------------------------------------------------------------------

LOG = """\
2026-11-21 09:23:49.886+0000: starting up libvirt version: 9.0.0, package: 9.0.0-4+deb12u2 (Debian)
LC_ALL=C \\
/usr/bin/qemu-system-x86_64 \\
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny \\
-msg timestamp=on
2026-11-21 09:23:49.886+0000: Domain id=1 is tainted: high-privileges
2026-11-21T09:23:50.1Z qemu-system-x86_64: -chardev socket,id=c0,path=/v: No such file or directory
2026-11-21 09:24:05.458+0000: shutting down, reason=failed
"""


def test_the_last_words_of_its_qemu() -> None:
    assert libvirt.last_words(LOG).splitlines() == LOG.splitlines()[-2:]
    assert libvirt.last_words(LOG, 1).splitlines() == LOG.splitlines()[-1:]
    assert libvirt.last_words("") == ""


# --- a running guest ----------------------------------------------------------------------


def test_a_guest_runs(guest: Guest, image: GuestImage) -> None:
    assert guest.run("uname -r").strip() == image.release
    assert guest.run("cat /proc/sys/vm/nr_hugepages").strip() == "8"
    assert guest.version.split()[0] in guest._host.run([QEMU, "--version"]).output
    guest.check_alive()


def test_its_command_is_what_runs(guest: Guest) -> None:
    command = guest.machine.command
    assert command[0].endswith(QEMU)
    assert "-kernel" in command
    assert any("memory-backend-memfd" in word and '"share":true' in word for word in command)


def test_its_virtual_cpus_are_pinned(guest: Guest) -> None:
    run = Path(guest._kernel_log).parent.parent.name
    threads = Path(f"/proc/{process(run, '/usr/bin/qemu-system')}/task")
    pinned = [
        os.sched_getaffinity(int(thread.name))
        for thread in threads.iterdir()
        if (thread / "comm").read_text().startswith("CPU ")
    ]
    assert pinned == [{min(os.sched_getaffinity(0))}] * 2


def test_a_stopped_guest_is_frozen(guest: Guest) -> None:
    guest.machine.execute("stop")
    guest._checked = 0.0
    with pytest.raises(DutError, match="the guest is frozen: QEMU says `paused`"):
        guest.check_alive()
    guest.machine.execute("cont")
    guest._checked = 0.0
    guest.check_alive()


def test_a_refusal_of_qemu(guest: Guest) -> None:
    with pytest.raises(DutError, match=r"QEMU refuses `qom-get`: Property .*nonsense"):
        guest.machine.execute("qom-get", path="/machine", property="nonsense")


def test_a_qemu_that_does_not_answer(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libvirt, "_ANSWER_S", 1.0)
    pid = process(Path(guest._kernel_log).parent.parent.name, "/usr/bin/qemu-system")
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(DutError, match="QEMU does not answer by way of libvirt within 1 s"):
            guest.machine.execute("query-status")
    finally:
        os.kill(pid, signal.SIGCONT)
    monkeypatch.undo()
    guest.machine.execute("query-status")


# --- what ends ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("/usr/bin/qemu-system", r"QEMU is gone \(libvirt says: shut off \((crashed|failed)\)\)"),
        ("libvirtd --config", r"libvirtd is gone \(exit status \d+\), and its domains with it"),
    ],
)
def test_killed(host: LocalHost, image: GuestImage, program: str, says: str) -> None:
    with boot(host, plain(image)) as guest:
        os.kill(process(run_of(host), program), signal.SIGKILL)
        wait_until(lambda: guest.shell.ended, "end of the guest's shell")

        def gone() -> bool:
            guest._checked = 0.0
            with pytest.raises(DutError) as caught:
                guest.check_alive()
            return "is gone" in str(caught.value) and "running" not in str(caught.value)

        wait_until(gone, "libvirt's notice of it")
        with pytest.raises(DutError, match=says):
            guest.check_alive()
    assert processes(run_of(host)) == {}
    assert not host.exists(f"{host.scratch}/guest")


def test_a_domain_that_does_not_start_is_told_in_the_words_of_libvirt(
    host: LocalHost, image: GuestImage
) -> None:
    missing = VhostUserPort(f"{host.scratch}/none", "52:54:00:02:d9:01", 0x10)
    parameters = dataclasses.replace(plain(image), ports=[missing])
    with (
        pytest.raises(DutError, match=r"(?s)libvirt did not start .*-guest: .*none.*No such file"),
        boot(host, parameters),
    ):
        pass
    assert processes(run_of(host)) == {}


def test_a_domain_that_libvirt_does_not_take_is_told(host: LocalHost, image: GuestImage) -> None:
    parameters = dataclasses.replace(
        plain(image),
        ports=[VhostUserPort(f"{host.scratch}/none", "52:54:00:02:d9:01", 0x10)],
        virtio={"packed": "perhaps"},
    )
    with (
        pytest.raises(DutError, match=r"(?s)libvirt did not define .*-guest: .*"),
        boot(host, parameters),
    ):
        pass


# --- the host's own libvirt ---------------------------------------------------------------


def test_the_hosts_own_libvirt_is_used_where_it_runs(
    host: LocalHost, image: GuestImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second libvirtd stands for the host's."""
    with libvirt.running(host, f"{host.scratch}/of-the-host") as system:
        monkeypatch.setattr(libvirt, "SYSTEM", system.uri)
        monkeypatch.setattr(libvirt, "SOCKETS", (undo_domains.private_socket(system.uri),))
        with libvirt.running(host, f"{host.scratch}/unused") as found:
            assert found.process is None
        log = Path(f"{host.scratch}/of-the-host/var/log/qemu")
        monkeypatch.setattr(libvirt, "SYSTEM_LOGS", str(log))
        with boot(host, plain(image)) as guest:
            assert isinstance(guest.machine, LibvirtMachine)
            assert guest.run("true") == ""
            assert len(list(log.glob("*-guest.log"))) == 1
            assert system.run("list", "--name").output.split() == [f"vswitch-{run_of(host)}-guest"]
        assert system.run("list", "--all", "--name").output.split() == []
        assert list(log.iterdir()) == []
        assert not os.path.exists(f"{host.scratch}/unused")


# --- a domain that is left ----------------------------------------------------------------


def define(system: libvirt.Libvirt, image: GuestImage, name: str) -> None:
    domain = domain_xml.Domain(
        name=name,
        run="1",
        parameters=plain(image),
        emulator=str(system.host.which(QEMU)),
        directory=system.host.scratch,
    )
    path = f"{system.host.scratch}/{name}.xml"
    system.host.write_text(path, domain.xml())
    system.run("define", path, check=True)


def test_a_domain_is_forgotten_once_and_others_are_left(
    host: LocalHost, image: GuestImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with libvirt.running(host, f"{host.scratch}/libvirt") as system:
        define(system, image, "mine")
        define(system, image, "other")
        system.run("start", "mine", check=True)
        change = Change("domain", "mine", after=system.uri)
        undo.undo(change)
        undo.undo(change)
        assert system.run("list", "--all", "--name").output.split() == ["other"]
        os.kill(process(run_of(host), "libvirtd --config"), signal.SIGKILL)
        assert system.process is not None
        assert system.process.status(within_s=DEADLINE_S) is not None
        # Its libvirtd was the run's own, and took it along.
        undo.undo(Change("domain", "other", after=system.uri))


def test_a_host_whose_libvirt_does_not_answer_keeps_the_domain(tmp_path: Path) -> None:
    uri = f"qemu+unix:///system?mode=direct&socket={tmp_path}/none"
    with pytest.raises(OSError, match=r"(?s)libvirt does not answer: .*none"):
        undo.undo(Change("domain", "mine", after=uri))


def test_a_directory_to_mount_on_is_removed_if_it_is_still_empty(tmp_path: Path) -> None:
    for directory, inside in (("empty", None), ("used", "used/file")):
        (tmp_path / directory).mkdir()
        if inside:
            (tmp_path / inside).touch()
        undo.undo(Change("directory", str(tmp_path / directory)))
        undo.undo(Change("directory", str(tmp_path / directory)))
    assert [path.name for path in tmp_path.iterdir()] == ["used"]


# --- preflight ----------------------------------------------------------------------------


def without(*missing: str) -> Callable[[LocalHost, str], str | None]:
    return lambda self, program: None if program in missing else f"/usr/bin/{program}"


@pytest.mark.parametrize("program", ["virsh", "libvirtd"])
def test_a_host_without_libvirt_is_told(
    host: LocalHost, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    lab = loader.load("local")
    monkeypatch.setattr(libvirt, "SOCKETS", ())
    libvirt.preflight(lab, host)
    monkeypatch.setattr(LocalHost, "which", without(program))
    with pytest.raises(InputError, match=f"no program `{program}`: apt-get install libvirt-"):
        libvirt.preflight(lab, host)


def test_a_libvirtd_that_does_not_come_up_is_told(
    host: LocalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libvirt, "_LIBVIRTD_CONF", "nonsense nonsense\n")
    with (
        pytest.raises(DutError, match=r"(?s)libvirtd ended before .*load config file"),
        libvirt.running(host, f"{host.scratch}/libvirt"),
    ):
        pass
    assert processes(run_of(host)) == {}
