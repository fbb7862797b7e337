"""The plugin is loaded by every pytest of its environment, and is cheap there."""

from __future__ import annotations

import json

import pytest

from tests.plugin.conftest import Session

HEAVY = [
    "jinja2",
    "MLRsearch",
    "numpy",
    "pandas",
    "paramiko",
    "pydantic",
    "qemu",
    "ruamel",
    "scapy",
    "sqlalchemy",
    "zmq",
]

LIST_MODULES = """
import json, sys

def pytest_unconfigure():
    with open("modules.json", "w") as file:
        json.dump(sorted(sys.modules), file)
"""


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-n", "1"]])
def test_a_plain_pytest_imports_nothing_heavy(session: Session, arguments: list[str]) -> None:
    session.write("conftest.py", LIST_MODULES)
    session.write("test_empty.py", "def test_nothing():\n    pass\n")
    # pytest-html imports jinja2 on its own account, with or without this plugin.
    assert session("-p", "no:html", *arguments).ret == 0
    modules = json.loads((session.path / "modules.json").read_text())
    ours = [name for name in modules if name.startswith("pytest_vswitch")]
    assert ours == ["pytest_vswitch", "pytest_vswitch.errors", "pytest_vswitch.plugin"]
    assert not {name.partition(".")[0] for name in modules} & set(HEAVY)


def test_a_plain_pytest_is_left_alone(session: Session) -> None:
    session.write("test_empty.py", "def test_nothing():\n    pass\n")
    result = session()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("vswitch:*")
    result.stdout.no_fnmatch_line("*certificate*")
    session.assert_untouched()


def test_with_a_dut_a_session_without_measurements_makes_no_run(session: Session) -> None:
    session.write("test_empty.py", "def test_nothing():\n    pass\n")
    result = session("--dut", "local")
    result.assert_outcomes(passed=1)
    session.assert_untouched()
