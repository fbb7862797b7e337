"""QEMU: its command line, what the real one makes of it, and a guest that boots."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.apps import qemu
from pytest_vswitch.apps.guest import Guest, version_text
from pytest_vswitch.apps.guest_image import GuestImage
from pytest_vswitch.apps.qemu import Parameters, QemuMachine, Qmp, VhostUserPort
from pytest_vswitch.apps.testpmd import ENDED
from pytest_vswitch.errors import DutError, HostError
from pytest_vswitch.hosts import hugepages
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.undo import Change
from tests.hosts.machine import DEADLINE_S, machine, wait_until

QEMU = "qemu-system-x86_64"

PARAMETERS = Parameters(
    image=GuestImage("/boot/vmlinuz-6.1", "/cache/guest.cpio.gz", "6.1", "/usr/bin/dpdk-testpmd"),
    accelerator="tcg",
    vcpus=3,
    memory_mb=1024,
    hugepage_kb=None,
    guest_hugepages=160,
    ports=[VhostUserPort(f"/run/vhost{i}", f"52:54:00:02:d9:0{i + 1}", 0x10 + i) for i in (0, 1)],
)


def option(argv: list[str], name: str) -> list[str]:
    """Every value of one option."""
    return [value for key, value in itertools.pairwise(argv) if key == name]


# --- the command line ---------------------------------------------------------------------


def test_a_guest_without_hugepages_or_kvm() -> None:
    argv = PARAMETERS.argv("/opt/qemu", "/run/guest")
    assert argv[0] == "/opt/qemu"
    assert option(argv, "-accel") == ["tcg"]
    assert option(argv, "-cpu") == ["max"]
    assert option(argv, "-smp") == ["3"]
    assert option(argv, "-object") == ["memory-backend-memfd,id=memory,size=1024M,share=on"]
    assert option(argv, "-append") == [
        "console=ttyS0 quiet panic=-1 nmi_watchdog=0 isolcpus=1-2 rcu_nocbs=1-2 irqaffinity=0 "
        "vswitch.ports=0000:00:10.0,0000:00:11.0 vswitch.hugepages=160"
    ]
    assert option(argv, "-netdev") == [
        "vhost-user,id=net0,chardev=vhost0",
        "vhost-user,id=net1,chardev=vhost1",
    ]
    assert option(argv, "-device")[1] == (
        "virtio-net-pci,netdev=net1,id=ua-port1,mac=52:54:00:02:d9:02,addr=0x11"
    )


def test_a_guest_on_kvm_and_hugepages() -> None:
    argv = dataclasses.replace(
        PARAMETERS, accelerator="kvm", hugepage_kb=1048576, vcpus=1, virtio={"mrg_rxbuf": "off"}
    ).argv(QEMU, "/run/guest")
    assert option(argv, "-accel") == ["kvm"]
    assert option(argv, "-cpu") == ["host"]
    assert option(argv, "-object") == [
        "memory-backend-memfd,id=memory,size=1024M,share=on,"
        "hugetlb=on,hugetlbsize=1048576k,prealloc=on"
    ]
    assert "isolcpus" not in option(argv, "-append")[0]
    assert all(device.endswith(",mrg_rxbuf=off") for device in option(argv, "-device")[:2])


def test_version_text() -> None:
    numbers = {"major": 7, "minor": 2, "micro": 22}
    assert version_text({"qemu": numbers, "package": ""}) == "7.2.22"
    package = " (Debian 1:7.2+dfsg-7+deb12u18)"
    text = version_text({"qemu": numbers, "package": package})
    assert text == "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"


# --- the real program ---------------------------------------------------------------------


def plain(image: GuestImage) -> Parameters:
    """A guest without ports, so without a host's testpmd."""
    return dataclasses.replace(
        PARAMETERS, image=image, vcpus=2, memory_mb=256, guest_hugepages=8, ports=[]
    )


@contextlib.contextmanager
def frozen(host: LocalHost, parameters: Parameters) -> Iterator[Qmp]:
    """The real QEMU, stopped before the first instruction of its guest (`-S`)."""
    argv = [*parameters.argv(QEMU, host.scratch), "-S"]
    with host.spawn(argv, name="qemu") as process:
        wait_until(
            lambda: process.status() is not None or host.exists(f"{host.scratch}/qmp"), "QMP socket"
        )
        assert process.status() is None, process.tail()
        qmp = Qmp(host, f"{host.scratch}/qmp")
        try:
            yield qmp
        finally:
            qmp.close()


@pytest.mark.parametrize("huge", [False, True], ids=["pages", "hugepages"])
def test_the_real_one_takes_the_arguments(host: LocalHost, image: GuestImage, huge: bool) -> None:
    with hugepages.reserve(host, "2M" if huge else "none", [256]) as pages:
        parameters = dataclasses.replace(plain(image), vcpus=3, hugepage_kb=pages.size_kb)
        with frozen(host, parameters) as qmp:
            [memory] = qmp.execute("query-memdev")
            assert memory["size"] == 256 << 20
            assert memory["share"] is True
            assert memory["prealloc"] is huge
            assert len(qmp.execute("query-cpus-fast")) == 3
            assert qmp.execute("query-status")["status"] == "prelaunch"


@pytest.mark.parametrize(
    "virtio",
    [
        {},
        {"mrg_rxbuf": "off"},
        {"packed": "on", "event_idx": "off", "indirect_desc": "off"},
        {"csum": "off", "guest_csum": "off", "host_tso4": "off"},
    ],
)
def test_the_real_one_takes_ports_and_their_properties(
    host: LocalHost, image: GuestImage, virtio: dict[str, str]
) -> None:
    """With a back-end that testpmd serves: QEMU asks it before it makes the device."""
    port = VhostUserPort(f"{host.scratch}/vhost0", "52:54:00:02:d9:01", 0x10)
    parameters = dataclasses.replace(plain(image), ports=[port], virtio=virtio)
    prefix = f"vswitch-{os.path.basename(host.scratch)}"
    backend = ["dpdk-testpmd", "--lcores", "0@(0),1@(0)", "--no-huge", "-m", "128", "--no-pci"]
    backend += ["--file-prefix", prefix, "--vdev", f"net_vhost0,iface={port.socket},client=0"]
    backend += ["--", "-i", "--total-num-mbufs=4096"]
    with (
        host.changing(Change("made", f"/var/run/dpdk/{prefix}")),
        host.spawn(backend, name="back-end", stop_with="quit\n") as process,
    ):
        wait_until(lambda: "testpmd>" in process.tail(), "back-end")
        with frozen(host, parameters) as qmp:
            for name, value in {"mrg_rxbuf": "on", **virtio}.items():
                path = "/machine/peripheral/ua-port0"
                assert qmp.execute("qom-get", path=path, property=name) is (value == "on")
            path = "/machine/peripheral/ua-port0"
            assert qmp.execute("qom-get", path=path, property="addr") == 0x10 << 3
            with pytest.raises(DutError, match=r"QEMU on its QMP socket: .*nonsense"):
                qmp.execute("qom-get", path=path, property="nonsense")


def boot(host: LocalHost, parameters: Parameters) -> contextlib.AbstractContextManager[Guest]:
    return qemu.boot(host, parameters, program=QEMU, timeout_s=2 * DEADLINE_S)


def test_a_qemu_that_refuses_its_arguments_is_told_in_its_words(
    host: LocalHost, image: GuestImage
) -> None:
    missing = VhostUserPort(f"{host.scratch}/none", "52:54:00:02:d9:01", 0x10)
    parameters = dataclasses.replace(plain(image), ports=[missing])
    with (
        pytest.raises(DutError, match=r"(?s)QEMU did not start:.*none.*No such file"),
        boot(host, parameters),
    ):
        pass


def test_a_qemu_that_fails_late_is_told_in_its_words(host: LocalHost, image: GuestImage) -> None:
    """It opens its QMP socket before it looks for its kernel."""
    parameters = dataclasses.replace(
        plain(image), image=dataclasses.replace(image, kernel="/no/kernel")
    )
    with (
        pytest.raises(DutError, match=r"(?s)(did not start|did not boot).*/no/kernel"),
        boot(host, parameters),
    ):
        pass


def test_a_guest_that_does_not_boot_shows_its_console(host: LocalHost, image: GuestImage) -> None:
    empty = Path(host.scratch) / "empty.cpio.gz"
    empty.write_bytes(b"")
    parameters = dataclasses.replace(
        plain(image), image=dataclasses.replace(image, initramfs=str(empty))
    )
    with (
        pytest.raises(DutError, match=r"(?s)the guest did not boot: .*Kernel panic"),
        boot(host, parameters),
    ):
        pass


@pytest.fixture(scope="module")
def guest(image: GuestImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A guest that runs, pinned to one CPU; the tests below leave it as it was."""
    cpu = min(os.sched_getaffinity(0))
    parameters = dataclasses.replace(plain(image), cpus=(cpu, cpu))
    with machine(tmp_path_factory.mktemp("guest")) as here, boot(here, parameters) as up:
        yield up


def test_a_command_in_the_guest(guest: Guest, image: GuestImage) -> None:
    assert guest.run("uname -r").strip() == image.release
    assert guest.run("cat /proc/sys/vm/nr_hugepages").strip() == "8"
    assert guest.run("printf unfinished") == "unfinished"
    assert guest.run("true") == ""
    with pytest.raises(DutError, match="guest: `cat /none` failed with status 1: cat: can't open"):
        guest.run("cat /none")
    assert guest.run("echo still there").strip() == "still there"


def test_the_guests_testpmd_ends_in_words(guest: Guest) -> None:
    guest.check_alive()
    guest.start(["sh", "-c", "exit"])
    wait_until(lambda: guest.testpmd.seen(ENDED), "end of the program")
    with pytest.raises(DutError, match=r"guest testpmd is gone \(exit status 0\)"):
        guest.check_alive()
    guest.testpmd.read_until(ENDED, timeout_s=DEADLINE_S, what="its end")
    guest._checked = 0.0
    guest.check_alive()


def test_the_running_one_tells_its_version_and_properties(guest: Guest) -> None:
    program = guest._host.run([QEMU, "--version"]).output
    assert guest.version.split()[0] in program


def test_virtual_cpus_are_pinned(guest: Guest) -> None:
    cpu = min(os.sched_getaffinity(0))
    threads = [vcpu["thread-id"] for vcpu in guest.machine.execute("query-cpus-fast")]
    assert len(threads) == 2
    assert all(os.sched_getaffinity(thread) == {cpu} for thread in threads)


def test_a_stopped_guest_is_frozen(guest: Guest) -> None:
    guest.machine.execute("stop")
    guest._checked = 0.0
    with pytest.raises(DutError, match="the guest is frozen: QEMU says `paused`"):
        guest.check_alive()
    guest.machine.execute("cont")
    guest._checked = 0.0
    guest.check_alive()


def qmp_threads() -> int:
    return [thread.name for thread in threading.enumerate()].count("qmp")


def test_a_killed_qemu_is_gone(host: LocalHost, image: GuestImage) -> None:
    before = qmp_threads()
    with boot(host, plain(image)) as guest:
        assert isinstance(guest.machine, QemuMachine)
        os.kill(guest.machine.process.pid, signal.SIGKILL)
        wait_until(guest.machine.end, "end of QEMU")
        with pytest.raises(DutError, match=r"QEMU is gone \(exit status -9\)"):
            guest.check_alive()
        with pytest.raises(DutError, match=r"guest shell (ended before|no longer takes input)"):
            guest.run("true")
        with pytest.raises(DutError, match="QEMU on its QMP socket"):
            guest.version  # noqa: B018
    assert qmp_threads() == before
    assert not host.exists(f"{host.scratch}/guest")


# --- QMP ----------------------------------------------------------------------------------


def test_a_qemu_that_does_not_answer(
    host: LocalHost, image: GuestImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = qmp_threads()
    with frozen(host, plain(image)) as qmp:
        pid = qmp.execute("query-cpus-fast")[0]["thread-id"]
        group = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[2])
        monkeypatch.setattr(qemu, "_ANSWER_S", 0.5)
        os.killpg(group, signal.SIGSTOP)
        with pytest.raises(DutError, match=r"does not answer on its QMP socket within 0.5 s"):
            qmp.execute("query-status")
        qmp.close()
        qmp.close()
    assert qmp_threads() == before


def test_a_socket_that_is_not_qmp(host: LocalHost) -> None:
    before, path = qmp_threads(), f"{host.scratch}/other"
    with pytest.raises(HostError, match="cannot connect"):
        Qmp(host, path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen(1)

        def greet() -> None:
            with server.accept()[0] as peer:
                peer.sendall(b"SSH-2.0\n")

        peer = threading.Thread(target=greet)
        peer.start()
        with pytest.raises(DutError, match="QEMU on its QMP socket"):
            Qmp(host, path)
        peer.join()
    assert qmp_threads() == before
