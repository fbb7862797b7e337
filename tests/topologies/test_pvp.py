"""PVP: what it needs of a host."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.topologies import pvp
from tests.topologies.elsewhere import Elsewhere, host, lab

__all__ = ["host"]


def test_a_machine_that_has_everything(host: Elsewhere) -> None:
    pvp.preflight(lab(), host)


@pytest.mark.parametrize(
    ("program", "package"),
    [
        ("dpdk-testpmd", "dpdk-dev"),
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("busybox", "busybox-static"),
        ("cpio", "cpio"),
    ],
)
def test_a_missing_program_is_told_with_its_package(
    host: Elsewhere, program: str, package: str
) -> None:
    host.lacks = (program,)
    message = f"local has no program `{program}`: apt-get install {package}$"
    with pytest.raises(InputError, match=message):
        pvp.preflight(lab(), host)


def test_the_labs_own_testpmd_is_looked_for(host: Elsewhere) -> None:
    host.lacks = ("/opt/dpdk/testpmd",)
    with pytest.raises(InputError, match="local has no program `/opt/dpdk/testpmd`"):
        pvp.preflight(lab(dut={"host": "local", "testpmd": "/opt/dpdk/testpmd"}), host)


def test_without_root(host: Elsewhere) -> None:
    host.root = False
    with pytest.raises(InputError, match=r"pvp on local needs root: .*try `--dut sim`"):
        pvp.preflight(lab(), host)


def test_one_port_is_too_few(host: Elsewhere) -> None:
    with pytest.raises(InputError, match="pvp needs 2 ports, lab `it` has 1"):
        pvp.preflight(lab(ports=[{"kind": "memif"}]), host)


def test_cpus_that_are_not_there(host: Elsewhere) -> None:
    with pytest.raises(InputError, match=r"dut.lcores names CPU 4, .*; online: 0-3,8"):
        pvp.preflight(lab(dut={"host": "local", "lcores": [0, 4]}), host)
    with pytest.raises(InputError, match=r"generator.cpu names CPU 7, "):
        pvp.preflight(lab(generator={"cpu": 7}), host)
    with pytest.raises(InputError, match=r"dut.lcores needs at least two"):
        pvp.preflight(lab(dut={"host": "local", "lcores": [8]}), host)


def test_too_little_memory(host: Elsewhere) -> None:
    host.meminfo = "MemTotal: 1 kB\nMemAvailable:    1000000 kB\n"
    message = "pvp needs 1536 MB, 976 MB are available; lower dut.memory_mb or guest"
    with pytest.raises(InputError, match=message):
        pvp.preflight(lab(), host)


def test_preflight_changes_nothing(host: Elsewhere, tmp_path: Path) -> None:
    pvp.preflight(lab(), host)
    assert not (tmp_path / "transcript.log").exists()
    assert sorted(path.name for path in Path(host.scratch).iterdir()) == ["owner.json"]
