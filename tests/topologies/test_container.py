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
        (("podman", "dockerd"), "has no program `podman`: apt-get install podman$"),
        (("runc", "crun"), "has neither `runc` nor `crun`, .*: apt-get install runc$"),
    ],
)
def test_a_missing_program_is_told_with_its_package(
    host: Elsewhere, lacks: tuple[str, ...], says: str
) -> None:
    host.lacks = lacks
    with pytest.raises(InputError, match=f"local {says}"):
        container.preflight(lab(), host)


def test_docker_is_taken_where_there_is_no_podman(host: Elsewhere) -> None:
    host.lacks = ("podman", "crun", "/usr/bin/docker")
    with pytest.raises(InputError, match=r"has no program `/usr/bin/docker`: apt-get .* docker.io"):
        container.preflight(lab(), host)


def test_rootless_that_cannot_be_is_refused(host: Elsewhere) -> None:
    with pytest.raises(InputError, match=r"rootless is on, but local cannot: its kernel"):
        container.preflight(lab(container={"rootless": "on"}), host)


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

    def exists(self, path: str) -> bool:
        """Without the interfaces of another Open vSwitch."""
        return not path.startswith("/sys/class/net/") and super().exists(path)

    def read_texts(self, pattern: str) -> Any:
        return {} if "/cpu" in pattern else super().read_texts(pattern)


def planned(directory: Path, hugepages: str, **section: Any) -> Script:
    server = Server("plan-test", Transcript(directory / "log"), directory / "state")
    made = script_for(server, "A test's.")
    host = PlanHost(server, made)
    dut = {"host": "local", "hugepages": hugepages, "vswitch": section.pop("vswitch", "testpmd")}
    with container.provision(lab(dut=dut, container=section), host) as topology:
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
    told = [step.text for step in script.up if step.text.endswith(r"$'start\n'")]
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


def test_a_rootless_container_may_connect_to_the_sockets(script: Script) -> None:
    steps = [step.text for step in script.up]
    for index in range(2):
        assert f"chown 1900000000:1900000000 -- {script.run}/vhost{index}" in steps
    assert "--uidmap=0:1900000000:65536" in start(script)


def test_with_root_the_sockets_are_left(tmp_path: Path) -> None:
    script = planned(tmp_path, "none", rootless="off")
    assert not [step.text for step in script.up if step.text.startswith("chown")]
    assert "--uidmap" not in start(script)


def test_an_image_is_imported_from_what_testpmd_needs(tmp_path: Path) -> None:
    script = planned(tmp_path, "none", image="built")
    steps = [re.sub(r" \\\n\s+", " ", step.text) for step in script.up]
    archive = f"{script.run}/podman/image.tar"
    packed = f"tar --create --file={archive} --owner=+0 --group=+0 -C {script.run}/podman/root ."
    order = [
        next(n for n, step in enumerate(steps) if step.startswith("cp --parents")),
        steps.index(packed),
        next(n for n, step in enumerate(steps) if f"import --quiet {archive} localhost/" in step),
    ]
    assert order == sorted(order)
    assert "--pull=never localhost/vswitch" in start(script)
    assert "--volume=/usr:" not in start(script)


def test_docker_has_a_daemon_of_its_own(tmp_path: Path) -> None:
    script = planned(tmp_path, "none", engine="docker")
    started = [step.text.split()[1] for step in script.up if step.text.startswith("start ")]
    assert started == ["host-testpmd", "dockerd", "container-testpmd"]
    assert f"--host=unix://{script.run}/docker/docker.sock run" in start(script)
    assert "--user=1900000000:1900000000" in start(script)
    undone = [step.text for step in script.undo]
    removed = undone.index(f"remove_containers {script.run}/docker vswitch-vswitch-plan")
    assert [text.split()[1] for text in undone[:removed] if text.startswith("stop ")] == [
        "container-testpmd",
        "dockerd",
    ]


def test_its_hugepages_have_a_limit(tmp_path: Path) -> None:
    """Where the kernel counts them by control group, as this one does."""
    script = planned(tmp_path, "2M", memory_mb=128)
    (said,) = [step.text for step in script.up if "hugetlb.2MB" in step.text]
    assert str(128 << 20) in said
    assert "/vswitch-vswitch-plan/hugetlb.2MB." in said


def test_it_listens_where_the_switch_connects(tmp_path: Path) -> None:
    """Open vSwitch's ports are clients: the sockets are the container's to make."""
    script = planned(tmp_path, "none", vswitch="ovs-dpdk")
    steps = [step.text for step in script.up]
    for index in range(2):
        own = f"{script.run}/podman/vhost{index}"
        assert f"ln -s -- {own}/socket {script.run}/vhost{index}" in steps
        assert f"--volume={own}:/run/vhost{index}:rw" in start(script)
        assert f"path=/run/vhost{index}/socket,server=1," in start(script)


@pytest.mark.parametrize("engine", ["podman", "docker"])
def test_it_is_valid_shell(tmp_path: Path, engine: str) -> None:
    script = planned(tmp_path, "2M", engine=engine)
    checked = subprocess.run(
        ["shellcheck", "-"], input=script.text(), stdout=subprocess.PIPE, text=True
    )
    assert checked.returncode == 0, checked.stdout
