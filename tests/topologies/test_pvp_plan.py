"""PVP on a planned host: all of it is written down, in order, and none of it is done."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from fnmatch import fnmatch

import pytest

from pytest_vswitch.hosts.plan import PlanHost, script_for
from pytest_vswitch.hosts.shell_script import Script
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.machine import cpus
from pytest_vswitch.topologies import pvp
from tests.apps.conftest import KERNEL
from tests.hosts.test_plan import Untouchable


class Server(Untouchable):
    """This machine with eight CPUs, and without a guest image in its cache."""

    def read_bytes(self, path: str) -> bytes:
        if path == "/proc/self/status":
            return b"Name: x\nCpus_allowed_list:\t0-7\n"
        return super().read_bytes(path)

    def read_texts(self, pattern: str) -> Mapping[str, str]:
        if pattern.startswith(cpus.ROOT):
            return {path: "0-7\n" for path in [f"{cpus.ROOT}/online"] if fnmatch(path, pattern)}
        return super().read_texts(pattern)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Script:
    directory = tmp_path_factory.mktemp("server")
    server = Server("plan-test", Transcript(directory / "log"), directory / "state")
    server.cache = str(directory / "cache")
    (directory / "cache").mkdir()
    (directory / "cache/kernel").symlink_to(KERNEL)
    ports = [{"kind": "memif"}, {"kind": "memif"}]
    guest = {"accelerator": "tcg", "virtio": {"mrg_rxbuf": "off"}}
    lab = Lab.model_validate(
        {"name": "it", "dut": {"host": "local"}, "guest": guest, "ports": ports}
    )
    made = script_for(server, "A test's.")
    host = PlanHost(server, made)
    with pvp.provision(lab, host) as topology:
        host.up()
        assert topology.generator_cpu == 7
        sockets = [getattr(port, "socket", None) for port in topology.ports]
        assert sockets == [f"{made.run}/memif{index}" for index in range(2)]
    assert sorted(path.name for path in directory.rglob("cache/*")) == ["kernel"]
    return made


def verbs(script: Script, wanted: str) -> list[str]:
    """The first words of those steps that begin as `wanted`."""
    found = [step.text.split()[:2] for step in script.up]
    return [" ".join(words) for words in found if re.fullmatch(wanted, words[0])]


def test_programs_start_from_the_switch_inwards(script: Script) -> None:
    assert verbs(script, "start|connect|appears") == [
        "start host-testpmd",
        "start qemu",
        f"appears {script.run}/guest/qmp",
        "connect guest-shell",
        "connect guest-testpmd",
    ]
    stops = [step.text.split()[1] for step in script.undo if step.text.startswith("stop")]
    assert stops == ["guest-testpmd", "guest-shell", "qemu", "host-testpmd"]


def test_each_virtual_cpu_is_pinned_after_the_guest_is_up(script: Script) -> None:
    texts = [step.text for step in script.up]
    pins = [text for text in texts if text.startswith("pin")]
    assert pins == [f"pin qemu 'CPU {vcpu}/TCG' {cpu}" for vcpu, cpu in ((0, 0), (1, 5), (2, 6))]
    up = next(index for index, text in enumerate(texts) if text.startswith("await guest-shell"))
    assert texts.index(pins[0]) > up


def test_both_forward_at_the_end_the_guest_first(script: Script) -> None:
    told = [step.text for step in script.up if step.text.endswith(r"$'start\n'")]
    assert told[-2:] == [r"tell guest-testpmd $'start\n'", r"tell host-testpmd $'start\n'"]
    assert script.up[-1].text.startswith("await host-testpmd")


def test_the_guests_image_is_made_by_commands(script: Script) -> None:
    texts = "\n".join(step.text for step in script.up)
    for made in ("cp --parents", "uio_pci_generic.ko", "#!/bin/busybox sh", "cpio -o", "gzip"):
        assert made in texts
    assert "base64" not in texts


def test_whatever_is_made_is_removed(script: Script) -> None:
    undone = [step.text for step in script.undo]
    for path in ("memif0", "memif1", "vhost0", "vhost1", "guest"):
        assert f"rm -rf -- {script.run}/{path}" in undone
    assert any(re.fullmatch(r"rm -rf -- /var/run/dpdk/\S+", text) for text in undone)


def test_every_program_has_its_reason(script: Script) -> None:
    for step in script.up:
        if step.text.startswith(("start", "connect", "tell", "pin")):
            assert step.why, step.text


def test_it_is_valid_shell(script: Script) -> None:
    checked = subprocess.run(
        ["shellcheck", "-"], input=script.text(), stdout=subprocess.PIPE, text=True
    )
    assert checked.returncode == 0, checked.stdout
