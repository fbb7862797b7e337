"""A virtual DUT, booted for real: once for all tests of this file, which run in this order."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_vswitch import cli
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.lab import loader
from pytest_vswitch.vlab import keys, ports
from pytest_vswitch.vlab.state import Place

NAME = f"test{os.getpid()}"

RECEIVE = """
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88b5))
s.bind(("{interface}", 0x88b5))
s.settimeout(60)
print("listening", flush=True)
print(s.recv(2000)[14:].decode(), flush=True)
"""
SEND = """
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("{interface}", 0))
s.send(b"\\xff" * 6 + bytes(6) + b"\\x88\\xb5" + b"{text}".ljust(50, b"."))
"""


@dataclass(frozen=True)
class Virtual:
    """The booted DUT."""

    host: Host
    place: Place
    lab: str
    """Path of its lab file."""
    before: dict[str, object]
    """What was on this machine before it."""

    def ask(self, *argv: str, stdin: str = "") -> str:
        """Run a command on it, by the ssh that a user has; its output."""
        command = [*keys.ssh(self.place, "BatchMode=yes"), *argv]
        return self.host.run(command, stdin=stdin, timeout_s=120).output

    def vswitch(self, action: str, *options: str) -> None:
        assert cli.main(["lab", action, self.lab, *options]) == 0


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


@pytest.fixture(scope="module")
def vlab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Virtual]:
    directory = tmp_path_factory.mktemp("vlab")
    text = (loader.packaged() / "vlab.yaml").read_text()
    text = text.replace("root@vlab", f"root@{NAME}").replace("labs/vlab/", f"labs/{NAME}/")
    file = directory / f"{NAME}.yaml"
    file.write_text(text.replace("netns: vlab-vlab", f"netns: vlab-{NAME}"))
    virtual = Virtual(LocalHost("test", Transcript(directory)), Place(NAME), str(file), seen(NAME))
    virtual.vswitch("up")
    try:
        yield virtual
    finally:
        cli.main(["lab", "down", str(file)])


def test_its_ports_are_real_ones(vlab: Virtual) -> None:
    """Verify: two ports with virtual functions and IOMMU groups, and one NIC for SSH."""
    for bdf in ("0000:01:00.0", "0000:02:00.0"):
        device = f"/sys/bus/pci/devices/{bdf}"
        assert vlab.ask("cat", f"{device}/sriov_totalvfs") == "7\n"
        assert re.search(r"/iommu_groups/\d+\n$", vlab.ask("readlink", f"{device}/iommu_group"))
        assert vlab.ask("readlink", f"{device}/driver").endswith("/igb\n")
    assert "default via 10.0.2.2 dev enp0s1" in vlab.ask("ip", "route")


def test_a_virtual_function_can_be_given_to_vfio(vlab: Virtual) -> None:
    """Steps: make a virtual function, bind it to vfio-pci. Verify: VFIO offers its group."""
    device = "/sys/bus/pci/devices/0000:02:00.0"
    vlab.ask("modprobe", "vfio-pci")
    vlab.ask("tee", f"{device}/sriov_numvfs", stdin="1\n")
    function = vlab.ask("readlink", f"{device}/virtfn0").strip().rpartition("/")[2]
    function_device = f"/sys/bus/pci/devices/{function}"
    vlab.ask("tee", f"{function_device}/driver_override", stdin="vfio-pci\n")
    vlab.ask("tee", f"{function_device}/driver/unbind", stdin=function)
    vlab.ask("tee", "/sys/bus/pci/drivers_probe", stdin=function)
    group = vlab.ask("readlink", f"{function_device}/iommu_group").strip().rpartition("/")[2]
    assert group in vlab.ask("ls", "/dev/vfio").split()
    assert not vlab.ask(
        "cat", "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
    ).startswith("Y")


def test_hugepages_can_be_had(vlab: Virtual) -> None:
    vlab.ask("tee", "/proc/sys/vm/nr_hugepages", stdin="256\n")
    assert re.search(r"HugePages_Total: +256\n", vlab.ask("cat", "/proc/meminfo"))
    vlab.ask("tee", "/proc/sys/vm/nr_hugepages", stdin="0\n")


def test_frames_go_both_ways_between_generator_and_port(vlab: Virtual, tmp_path: Path) -> None:
    """Steps: send one frame each way. Verify: it arrives at the other end of that wire."""
    vlab.ask("ip", "link", "set", "enp1s0", "up")
    netns = ["ip", "netns", "exec", vlab.place.netns]
    local = [*netns, sys.executable, "-u", "-"]
    carrier = [*netns, "cat", f"/sys/class/net/{ports.NAMES[0]}/carrier"]
    assert vlab.host.run(carrier).output == "1\n"
    wait_for(lambda: "state UP" in vlab.ask("ip", "link", "show", "enp1s0"), "link of enp1s0")

    vlab.ask("tee", "/root/receive.py", stdin=RECEIVE.format(interface="enp1s0"))
    argv = [*keys.ssh(vlab.place), "python3", "/root/receive.py"]
    with vlab.host.spawn(argv, name="receiver") as receiver:
        receiver.read_until(re.compile("listening"), timeout_s=60, what="receiver")
        vlab.host.run(local, stdin=SEND.format(interface=ports.NAMES[0], text="to the DUT"))
        receiver.read_until(re.compile(r"to the DUT\."), timeout_s=60, what="frame")

    script = tmp_path / "receive.py"
    script.write_text(RECEIVE.format(interface=ports.NAMES[0]))
    argv = [*netns, sys.executable, str(script)]
    with vlab.host.spawn(argv, name="receiver") as receiver:
        receiver.read_until(re.compile("listening"), timeout_s=60, what="receiver")
        vlab.ask("python3", "-", stdin=SEND.format(interface="enp1s0", text="from the DUT"))
        receiver.read_until(re.compile(r"from the DUT\."), timeout_s=60, what="frame")


def test_it_reaches_nothing_of_this_machine(vlab: Virtual) -> None:
    """Verify: its way out ends at QEMU, also to this machine's loopback (10.0.2.2)."""
    port = vlab.place.hardware().ssh_port  # type: ignore[union-attr]
    script = f"""
import socket
try:
    print(socket.create_connection(("10.0.2.2", {port}), 5))
except OSError as error:
    print("refused", error)
"""
    assert vlab.ask("python3", "-", stdin=script).startswith("refused")


def test_its_keys_are_its_own_and_private(vlab: Virtual) -> None:
    assert vlab.place.directory.stat().st_mode & 0o777 == 0o700
    assert vlab.place.identity.stat().st_mode & 0o777 == 0o600
    mode = vlab.ask("stat", "-c", "%a", "/etc/ssh/ssh_host_ed25519_key")
    assert mode == "600\n"
    assert (
        "Host key verification failed"
        in vlab.host.run(
            [*keys.ssh(vlab.place, "UserKnownHostsFile=/dev/null"), "true"], check=False
        ).output
    )


def test_up_again_changes_nothing(vlab: Virtual, capsys: pytest.CaptureFixture[str]) -> None:
    before = vlab.ask("cat", "/proc/sys/kernel/random/boot_id")
    vlab.vswitch("up")
    out, err = capsys.readouterr()
    assert out == f"ssh -F {vlab.place.ssh_config} {NAME}\n"
    assert "it is up" in err
    assert vlab.ask("cat", "/proc/sys/kernel/random/boot_id") == before


def test_a_reboot_takes_the_new_kernel_command_line(vlab: Virtual) -> None:
    """Steps: reboot with another word. Verify: the kernel runs with it, and acts on it."""
    before = vlab.ask("cat", "/proc/sys/kernel/random/boot_id")
    vlab.vswitch("reboot", "--append", "isolcpus=2,3 hugepages=16")
    assert vlab.ask("cat", "/proc/sys/kernel/random/boot_id") != before
    assert vlab.ask("cat", "/proc/cmdline").endswith(" isolcpus=2,3 hugepages=16\n")
    assert vlab.ask("cat", "/sys/devices/system/cpu/isolated") == "2-3\n"


def test_a_power_cut_keeps_what_was_synced(vlab: Virtual) -> None:
    """Steps: write two files, sync one, kill QEMU, boot. Verify: the synced one is there."""
    vlab.ask("tee", "/root/synced", stdin="kept")
    vlab.ask("sync", "/root/synced")
    vlab.ask("tee", "/root/written", stdin="lost")
    os.kill(int(vlab.place.qemu_pid.read_text()), signal.SIGKILL)
    wait_for(lambda: vlab.place.supervisor() is None, "end of the supervisor")
    vlab.vswitch("up")
    assert vlab.ask("cat", "/root/synced") == "kept"
    assert "written" not in vlab.ask("ls", "/root").split()
    assert "isolcpus=2,3" in vlab.ask("cat", "/proc/cmdline")


def test_a_killed_supervisor_takes_the_machine_with_it(vlab: Virtual) -> None:
    qemu, supervisor = int(vlab.place.qemu_pid.read_text()), vlab.place.supervisor()
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{qemu}").exists(), "end of QEMU")


def test_down_leaves_nothing(vlab: Virtual) -> None:
    """Verify: no process, namespace, interface or file more than before `lab up`."""
    assert seen(NAME) != vlab.before
    vlab.vswitch("down")
    assert seen(NAME) == vlab.before


def wait_for(fact: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not fact():
        assert time.monotonic() < deadline, f"no {what} within 60 s"
        time.sleep(0.05)  # polls
