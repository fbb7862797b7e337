from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.lab.loader import parse_lab
from pytest_vswitch.lab.ports import SimPortSpec
from pytest_vswitch.lab.preflight import check_lcores, ranges, require_ports
from pytest_vswitch.lab.schema import Dut, Generator, Lab

LAB = parse_lab(
    "dut:\n  host: local\n  lcores: [0, 5, 7]\nports:\n  - kind: memif\ngenerator:\n  cpu: 9\n",
    Path("labs/x.yaml"),
)


def test_too_few_ports_are_told_with_the_line() -> None:
    require_ports(LAB, "exception_path", 1)
    with pytest.raises(InputError) as caught:
        require_ports(LAB, "pvp", 2)
    assert str(caught.value) == (
        "pvp needs 2 ports, lab `x` has 1 (labs/x.yaml:4): "
        "add another `- kind: memif` below `ports:`"
    )


def test_a_lab_made_in_code_is_told_by_its_name() -> None:
    lab = Lab(
        name="mine",
        dut=Dut(host="sim"),
        ports=[SimPortSpec(kind="sim")],
        generator=Generator(kind="sim"),
    )
    assert lab.path is None
    with pytest.raises(InputError, match=r"has 1 \(lab `mine`\): add 2 more `- kind: sim`"):
        require_ports(lab, "pvp", 3)
    check_lcores(lab, set())


def test_lcores_that_are_not_there_are_told_with_the_line() -> None:
    check_lcores(LAB, set(range(10)))
    with pytest.raises(InputError) as caught:
        check_lcores(LAB, {0, 1, 2, 3, 9})
    assert str(caught.value) == (
        "labs/x.yaml:3: dut.lcores names CPUs 5, 7, which this DUT does not have; online: 0-3,9"
    )
    with pytest.raises(InputError, match=r"^labs/x.yaml:7: generator.cpu names CPU 9, which"):
        check_lcores(LAB, set(range(8)))


def test_a_generators_own_host_has_other_cpus() -> None:
    text = "dut: {host: dut1}\ngenerator: {host: tg, cpu: 40}\n"
    port = "ports: [{kind: nic, bdf: '11:00.0', line_rate_gbps: 10}]\n"
    check_lcores(parse_lab(text + port, Path("x.yaml")), {0, 1})
    with pytest.raises(InputError, match=r"^x.yaml:2: generator.cpu names CPU 40, which"):
        check_lcores(parse_lab(text.replace("host: tg, ", "") + port, Path("x.yaml")), {0, 1})


def test_ranges() -> None:
    assert ranges({8, 0, 1, 2, 10, 11}) == "0-2,8,10-11"
