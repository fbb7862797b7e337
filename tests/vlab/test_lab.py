"""`vswitch lab init`, `check` and `plan`, and a reservation, on a virtual DUT."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch import cli
from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.opening import open_host
from pytest_vswitch.lab import loader
from pytest_vswitch.vlab import ports
from tests.machines.disk import PROJECT
from tests.vlab.virtual import NAME, PORTS, Virtual, differences

pytestmark = pytest.mark.vlab

SHORT = ("--quick", "--trial-duration", "0.5", "--precision", "0.5")

LEFT_FOR_US = ("vfio", "nic-pause")
"""Required, and mended by a command on the DUT, neither by --tune nor by a boot."""

AT_BOOT = ("isolcpus", "nohz_full", "rcu_nocbs", "hugepages", "thp", "corrected-errors")
"""What a kernel command line mends. Interrupts are irqbalance's to move, afterwards."""


LATE = ("nohz_full", "rcu_nocbs")
"""Left out of the boot: an emulated CPU that gets no time for long may stall with them."""


def check(
    vlab: Virtual, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """The answer of `lab check --json`, and the state of each item."""
    capsys.readouterr()
    with contextlib.suppress(SystemExit):  # something is missing
        cli.main(["lab", "check", vlab.lab, "--json", *options])
    answer = json.loads(capsys.readouterr().out)
    return answer, {item["item"]: item["state"] for item in answer["items"]}


@pytest.fixture(scope="module")
def found(vlab: Virtual, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lab file that `lab init` makes of it."""
    vlab.ask("ip", "link", "set", "enp1s0", "down")
    before = vlab.snapshot("/etc", "/root")
    path = tmp_path_factory.mktemp("found") / "found.yaml"
    argv = ["lab", "init", f"root@{NAME}", "local", "--netns", vlab.place.netns]
    argv += ["--config", str(vlab.place.ssh_config), "--identity", str(vlab.place.identity)]
    argv += ["--known-hosts", str(vlab.place.known_hosts)]
    assert cli.main([*argv, "--probe-wiring", "-o", str(path)]) == 0
    left = differences(before, vlab.snapshot("/etc", "/root"))
    assert not re.search("^(file|link) .*", left, re.MULTILINE)
    return path


def test_init_finds_ports_and_wires(found: Path) -> None:
    """Steps: both ports are down at first. Verify: which is wired to which, what they can do."""
    lab = loader.load(str(found))
    assert [port.bdf for port in lab.ports if port.kind == "nic"] == list(PORTS)
    assert [port.generator for port in lab.ports if port.kind == "nic"] == list(ports.NAMES)
    assert {port.line_rate_gbps for port in lab.ports} == {1.0}
    assert {port.driver for port in lab.ports if port.kind == "nic"} == {"vfio-pci"}
    assert (lab.generator.host, lab.generator.netns) == ("local", f"vlab-{NAME}")
    assert lab.dut.lcores == [1, 2]


def test_init_never_offers_the_management_nic(found: Path) -> None:
    text = " ".join(found.read_text().replace("#", "").split())
    assert re.search(r"enp0s1 \(1af4:1000, virtio-pci\).{0,99}not chosen: never touched:", text)


def test_init_advises_no_more_hugepages_than_it_has_memory(found: Path) -> None:
    text = " ".join(found.read_text().replace("#", "").split())
    assert "reserve them at boot: default_hugepagesz=2M hugepagesz=2M hugepages=640" in text


def test_the_packaged_lab_is_what_init_finds(found: Path, vlab: Virtual) -> None:
    ours, theirs = loader.load(vlab.lab), loader.load(str(found))
    assert ours.dut.lcores == theirs.dut.lcores
    assert ours.ports == theirs.ports
    assert ours.generator == theirs.generator


def test_check_names_what_is_missing(vlab: Virtual, capsys: pytest.CaptureFixture[str]) -> None:
    answer, states = check(vlab, capsys)
    assert answer["polling_cpus"] == [2, 3]
    assert answer["ports"] == list(PORTS)
    assert states["isolcpus"] == states["hugepages"] == states["nic-pause"] == "required"
    assert {states[item] for item in AT_BOOT} <= {"required", "advised"}


def test_tuning_is_put_back(vlab: Virtual, capsys: pytest.CaptureFixture[str]) -> None:
    """Verify: what --tune says that it did is so in between, and by plain ssh it is as before."""
    steps = check(vlab, capsys, "--tune")[0]["tuned"]["steps"]
    [freezer] = [step["path"] for step in steps if step["item"] == "irqbalance"]
    assert vlab.ask("cat", freezer) == "0\n"
    vlab.ask("systemctl", "stop", "irqbalance")  # it moves interrupts as it likes
    paths = [step["path"] for step in steps if step["path"] != freezer]
    before = vlab.ask("cat", *paths)
    answer, states = check(vlab, capsys, "--tune")
    done = {step["item"] for step in answer["tuned"]["steps"]}
    assert done >= {"hugepages", "irq-affinity", "workqueues", "thp"}
    assert not answer["tuned"]["refused"]
    assert {states[item] for item in done} == {"ok"}
    assert {item["state"] for item in answer["tuned"]["before"]} >= {"advised", "required"}
    assert vlab.ask("cat", *paths) == before


def test_a_boot_with_the_advised_arguments_mends_the_rest(
    vlab: Virtual, capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps: `lab check`, the `lab reboot` line that it prints, `lab check` again.

    Verify: another boot, with these words, and nothing is missing that a boot can mend.
    """
    boot_id = vlab.ask("cat", "/proc/sys/kernel/random/boot_id")
    with pytest.raises(SystemExit, match="1"):
        cli.main(["lab", "check", vlab.lab])
    advice = re.search(r"^  vswitch (lab reboot .*)$", capsys.readouterr().out, re.MULTILINE)
    assert advice, "no line to reboot with"
    action, _, words = advice[1].partition(" --append ")
    assert action == f"lab reboot {vlab.lab}"
    advised = words.strip("'").split()
    assert {word.partition("=")[0] for word in advised} >= {"isolcpus", *LATE}
    words = " ".join(word for word in advised if not word.startswith(LATE))
    vlab.vswitch("reboot", "--append", words)

    assert vlab.ask("cat", "/proc/sys/kernel/random/boot_id") != boot_id
    assert vlab.ask("cat", "/proc/cmdline").endswith(f" {words}\n")
    assert vlab.ask("cat", "/sys/devices/system/cpu/isolated") == "2-3\n"
    _, states = check(vlab, capsys)
    assert {states[item] for item in AT_BOOT if item not in LATE} == {"ok"}
    missing = {name for name, state in states.items() if state == "required"}
    assert missing - set(LATE) == set(LEFT_FOR_US)


def test_two_runs_at_once(vlab: Virtual, capsys: pytest.CaptureFixture[str]) -> None:
    """Verify: the second is told who holds it, `lab status` too, and it is free afterwards."""
    lab = loader.load(vlab.alone)
    with open_host(lab, run="first"):
        with (
            pytest.raises(HostError, match=f"root@{NAME} is in use by run first of "),
            open_host(lab, run="second"),
        ):
            pass
        assert cli.main(["lab", "status", vlab.alone]) == 0
        assert f"root@{NAME} (dut): in use by run first of " in capsys.readouterr().out
    assert cli.main(["lab", "status", vlab.alone]) == 0
    assert capsys.readouterr().out == f"root@{NAME} (dut): free\n"


def test_a_plan_is_valid_shell(vlab: Virtual, tmp_path: Path) -> None:
    """Verify: a script for each host, shellcheck finds no fault in it, nothing is changed."""
    before = vlab.snapshot("/etc", "/root")
    argv = ["plan", "suites/container", "--dut", vlab.lab, "-o", str(tmp_path)]
    assert cli.main(argv) == 0
    names = {f"container-root@{NAME}.sh", "container-local.sh"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert all(bdf in (tmp_path / f"container-root@{NAME}.sh").read_text() for bdf in PORTS)
    for name in names:
        argv = ["shellcheck", str(tmp_path / name)]
        assert subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False).stdout == ""
    assert differences(before, vlab.snapshot("/etc", "/root")) == ""


def test_frames_go_through_its_ports_and_a_container(vlab: Virtual, tmp_path: Path) -> None:
    """Steps: the container suite, from TAP devices here through both NIC ports of the DUT.

    Verify: it passes, says that speed means nothing there, and leaves the DUT as it was.
    """
    vlab.ask("modprobe", "vfio-pci")  # a run leaves a module loaded
    before = vlab.snapshot("/etc", "/root")
    argv = [sys.executable, "-m", "pytest", "suites/container", "--dut", vlab.lab, *SHORT]
    argv += ["--reports", str(tmp_path), "-p", "no:cacheprovider", "--wait", "5m"]
    done = subprocess.run(
        argv, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout
    assert "the DUT is emulated in software (QEMU TCG CPU" in done.stdout
    results = next(tmp_path.glob("*/results.json")).read_text()
    assert "no measure of speed, only of functions" in results
    left = differences(before, vlab.snapshot("/etc", "/root"))
    assert [line for line in left.splitlines() if "/proc/irq/" not in line] == []
