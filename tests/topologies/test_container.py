"""Container: what it needs of a host, and what would be done to one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.plan import PlanHost, script_for
from pytest_vswitch.hosts.shell_script import Script
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.topologies import container, lcores
from pytest_vswitch.topologies.lcores import Wanted
from tests.hosts.test_plan import Untouchable
from tests.topologies.elsewhere import Elsewhere, host, lab

__all__ = ["host"]


# --- what it needs ------------------------------------------------------------------------


def test_a_machine_that_has_everything_is_not_changed(host: Elsewhere, tmp_path: Path) -> None:
    container.preflight(lab(), host)
    assert not (tmp_path / "transcript.log").exists()
    assert sorted(path.name for path in Path(host.scratch).iterdir()) == ["owner.json"]


@pytest.mark.parametrize(
    ("lacks", "says"),
    [
        (("dpdk-testpmd",), "has no program `dpdk-testpmd`: apt-get install dpdk-dev$"),
        (("podman",), "has no program `podman`: apt-get install podman$"),
        (("runc", "crun"), "has neither `runc` nor `crun`, .*: apt-get install runc$"),
    ],
)
def test_a_missing_program_is_told_with_its_package(
    host: Elsewhere, lacks: tuple[str, ...], says: str
) -> None:
    host.lacks = lacks
    with pytest.raises(InputError, match=f"local {says}"):
        container.preflight(lab(), host)


def test_without_root(host: Elsewhere) -> None:
    host.root = False
    with pytest.raises(InputError, match=r"container on local needs root: .*try `--dut sim`"):
        container.preflight(lab(), host)


def test_one_port_is_too_few(host: Elsewhere) -> None:
    with pytest.raises(InputError, match="container needs 2 ports, lab `it` has 1"):
        container.preflight(lab(ports=[{"kind": "memif"}]), host)


def test_cpus_that_are_not_there(host: Elsewhere) -> None:
    with pytest.raises(InputError, match=r"dut.lcores names CPU 4, .*; online: 0-3,8"):
        container.preflight(lab(dut={"host": "local", "lcores": [0, 4]}), host)


def test_too_little_memory(host: Elsewhere) -> None:
    host.meminfo = "MemTotal: 1 kB\nMemAvailable:    700000 kB\n"
    message = "container needs 768 MB, 683 MB are available; lower dut.memory_mb"
    with pytest.raises(InputError, match=message):
        container.preflight(lab(), host)


def test_who_shares_cpus_is_told(host: Elsewhere) -> None:
    def remarks(cpus: int) -> tuple[str, ...]:
        return lcores.plan(
            range(cpus), lcores=None, endpoints=[Wanted("container", 2)], generator_cpu=None
        ).remarks

    shared = "the vSwitch, the container and the traffic generator share 2 CPUs; "
    assert remarks(2)[0].startswith(shared)
    assert remarks(4) == ("1 forwarding lcore in the host instead of the guide's 4",)
    assert remarks(7) == ()


# --- what would be done -------------------------------------------------------------------


class Server(Untouchable):
    """This machine with eight CPUs."""

    def read_bytes(self, path: str) -> bytes:
        if path == "/proc/self/status":
            return b"Name: x\nCpus_allowed_list:\t0-7\n"
        return super().read_bytes(path)

    def read_text(self, path: str) -> str:
        return self.read_bytes(path).decode()

    def read_texts(self, pattern: str) -> Any:
        return {} if "/cpu" in pattern else super().read_texts(pattern)


def planned(directory: Path, hugepages: str) -> Script:
    server = Server("plan-test", Transcript(directory / "log"), directory / "state")
    made = script_for(server, "A test's.")
    host = PlanHost(server, made)
    with container.provision(lab(dut={"host": "local", "hugepages": hugepages}), host) as topology:
        host.up()
        assert topology.nodes[-1].where == "container"
        assert topology.nodes[-1].name == "container testpmd"
    return made


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Script:
    return planned(tmp_path_factory.mktemp("server"), "none")


def start(script: Script) -> str:
    """The command that starts the container, on one line."""
    (found,) = [step.text for step in script.up if step.text.startswith("start container")]
    return re.sub(r" \\\n\s+", " ", found)


def test_the_switch_comes_first_and_goes_last(script: Script) -> None:
    started = [step.text.split()[1] for step in script.up if step.text.startswith("start ")]
    assert started == ["host-testpmd", "container-testpmd"]
    stopped = [step.text.split()[1] for step in script.undo if step.text.startswith("stop ")]
    assert stopped == ["container-testpmd", "host-testpmd"]
    removed = f"remove_containers {script.run}/podman vswitch-vswitch-plan"
    assert removed in [step.text for step in script.undo]


def test_both_forward_at_the_end_the_container_first(script: Script) -> None:
    told = [step.text for step in script.up if step.text.startswith("tell")]
    assert told[-2:] == [r"tell container-testpmd $'start\n'", r"tell host-testpmd $'start\n'"]


def test_its_lcores_are_its_only_cpus(script: Script) -> None:
    argv = start(script)
    lcores = re.search(r"--lcores (\S+)", argv)
    limit = re.search(r"--cpuset-cpus=(\S+)", argv)
    assert lcores
    assert limit
    cpus = [place.partition("@")[2] for place in lcores[1].split(",")]
    assert [place.partition("@")[0] for place in lcores[1].split(",")] == ["0", "1"]
    assert sorted(cpus) == limit[1].split(",")


@pytest.mark.parametrize(("hugepages", "single_file"), [("none", False), ("2M", True)])
def test_its_memory_can_be_shared(tmp_path: Path, hugepages: str, single_file: bool) -> None:
    """The vhost takes eight regions, which pages of 2 MB in files of their own would exceed."""
    argv = start(planned(tmp_path, hugepages))
    assert ("--single-file-segments" in argv) == single_file
    assert ("--no-huge" in argv) == (not single_file)


def test_it_has_a_port_for_each_socket(script: Script) -> None:
    argv = start(script)
    for index in range(2):
        assert f"--volume={script.run}/vhost{index}:/run/vhost{index}:rw" in argv
        assert f"net_virtio_user{index},path=/run/vhost{index},queues=1,mac=" in argv


def test_it_is_valid_shell(script: Script) -> None:
    checked = subprocess.run(
        ["shellcheck", "-"], input=script.text(), stdout=subprocess.PIPE, text=True
    )
    assert checked.returncode == 0, checked.stdout
