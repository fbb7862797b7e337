"""A virtual DUT, booted for real: its ports, its disk, its doors."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from pytest_vswitch.vlab import keys, ports
from tests.vlab.virtual import NAME, Virtual, wait_for

pytestmark = pytest.mark.vlab

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
    vlab.ask("tee", f"{device}/sriov_numvfs", stdin="0\n")


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
